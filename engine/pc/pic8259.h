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

/* ended(ctx): software has ended IR0's interrupt, or its acknowledge was the end (automatic EOI). May set lines. */
void pic_watch_ir0(struct pic *p, void (*ended)(void *ctx), void *ctx);
/* Would an edge of IR0 be asked for now? Not while the chips are lent. */
bool pic_hears_ir0(const struct pic *p);
/* n 0-15; 2 is the cascade and ignored. Fits struct irq_line.set with ctx = the pic. */
void pic_set_line(void *pic, unsigned n, bool level);
/* The state of INTR. */
bool pic_intr(const struct pic *p);
/* The INTA cycle: the vector. With nothing pending: the spurious IRQ 7 (or 15), without an in-service bit. */
int pic_ack(struct pic *p);

/* What is in the chips, for whoever takes over or saves them. Names as in the data sheet. */
struct pic_chip_state {
	uint8_t irr, imr, isr, line, elcr, base, lowest;
	uint8_t init_step; /* 0: done; 2, 3, 4: waits for that ICW */
	bool has_icw4, single, read_isr, poll, special_mask, sfnm, aeoi, rotate_aeoi;
};
struct pic_state {
	struct pic_chip_state chip[2]; /* master, slave */
};
void pic_save(const struct pic *p, struct pic_state *s);
/* INTR follows. The levels of the inputs stay as they are: those belong to the devices. */
void pic_load(struct pic *p, const struct pic_state *s);
/* While out is set, somebody else does the chips' work: the levels of the inputs are kept here and handed on to it, and nothing
 * else happens. NULL ends that. */
void pic_lend(struct pic *p, void (*out)(void *ctx, unsigned n, bool level), void *ctx);

extern const struct io_ops pic_master_ops, pic_slave_ops; /* 2 ports */
extern const struct io_ops pic_elcr_ops;                  /* 2 ports */

#endif
