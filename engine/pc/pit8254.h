/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254 interval timer of a PC and port 0x61, which gates and shows its channel 2.
 * Threads: device lock held.
 */
#ifndef STEELYARD_PIT8254_H
#define STEELYARD_PIT8254_H

#include "engine/bus.h"
#include "engine/clock.h"
#include "engine/irq.h"

#define PIT_HZ 1193182u

struct pit;

/* irq: channel 0's output. NULL when the host has no memory. */
struct pit *pit_new(struct clock *clock, struct irq_line irq);
void pit_free(struct pit *p);
void pit_reset(struct pit *p);
/* The guest has ended channel 0's interrupt. For lines that are heard (engine/irq.h). */
void pit_ended(void *pit);

extern const struct io_ops pit_ops;        /* 4 ports */
extern const struct io_ops pit_port61_ops; /* 1 port */

#endif
