/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes on their way from a device to a chardev, gathered so that a line of text costs the host one write: they go
 * at a newline, when the buffer is full, or OUTBUF_DELAY_NS after the first of them. Threads: device lock held.
 */
#ifndef STEELYARD_OUTBUF_H
#define STEELYARD_OUTBUF_H

#include "engine/chardev.h"
#include "engine/clock.h"

#define OUTBUF_BYTES 512
#define OUTBUF_DELAY_NS 1000000u /* below what a person who types can feel */

/* Lives in its owner. */
struct outbuf {
	struct chardev *chr; /* NULL: bytes are dropped */
	struct timer timer;
	struct clock *clock;
	unsigned n;
	uint8_t buf[OUTBUF_BYTES];
};

void outbuf_init(struct outbuf *o, struct clock *clock);
/* Flushes and disarms. */
void outbuf_fini(struct outbuf *o);
void outbuf_flush(struct outbuf *o);
void outbuf_put(struct outbuf *o, uint8_t b);

#endif
