/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair of 8259A interrupt controllers of a PC, master and slave on IR2, with the edge/level registers (ELCR).
 *
 * Threads: everything with the device lock held, except pic_intr (any thread, no lock).
 */
#ifndef STEELYARD_PIC8259_H
#define STEELYARD_PIC8259_H

#include "engine/bus.h"

struct pic;

/* intr: called when the INTR output changes. NULL when the host has no memory. */
struct pic *pic_new(void (*intr)(void *ctx, bool level), void *ctx);
void pic_free(struct pic *p);
void pic_reset(struct pic *p);

/* n 0-15; 2 is the cascade and ignored. Fits struct irq_line.set with ctx = the pic. */
void pic_set_line(void *pic, unsigned n, bool level);
/* The state of INTR. */
bool pic_intr(const struct pic *p);
/* The INTA cycle: the vector. With nothing pending: the spurious IRQ 7 (or 15), without an in-service bit. */
int pic_ack(struct pic *p);

extern const struct io_ops pic_master_ops, pic_slave_ops; /* 2 ports */
extern const struct io_ops pic_elcr_ops;                  /* 2 ports */

#endif
