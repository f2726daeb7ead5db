/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System control port A (0x92) of the PS/2: a fast A20 gate and a fast reset. Threads: device lock held. */
#ifndef STEELYARD_PORT92_H
#define STEELYARD_PORT92_H

#include "engine/bus.h"

/* Lives in its owner; port92_init once, port92_reset at each reset. */
struct port92 {
	bool *a20; /* the gate's state, shared with the keyboard controller */
	void (*reset)(void *ctx);
	void *ctx;
	uint8_t latch;
};

void port92_init(struct port92 *p, bool *a20, void (*reset)(void *ctx), void *ctx);
void port92_reset(struct port92 *p);

extern const struct io_ops port92_ops; /* 1 port */

#endif
