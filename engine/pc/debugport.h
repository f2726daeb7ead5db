/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports that exist for people who debug: the debug console (0xe9), the debug exit, and the POST code port with the
 * delay port. Threads: device lock held.
 */
#ifndef STEELYARD_DEBUGPORT_H
#define STEELYARD_DEBUGPORT_H

#include "engine/bus.h"
#include "engine/pc/outbuf.h"

/* Lives in its owner. */
struct debugport {
	struct outbuf console;
	void (*exit)(void *ctx, uint32_t value); /* value as the guest wrote it */
	void *ctx;
	uint8_t post;
};

void debugport_init(struct debugport *d, struct clock *clock, void (*exit_fn)(void *ctx, uint32_t value), void *ctx);
void debugport_fini(struct debugport *d);

extern const struct io_ops debugport_console_ops; /* reads give E9H: the console is here */
extern const struct io_ops debugport_exit_ops;
extern const struct io_ops debugport_post_ops;

#endif
