// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The timer is armed by the first byte that waits and then left alone: a flush by newline does not cancel it, it just
 * finds nothing to do. So a stream of short lines re-arms it a thousand times a second at most.
 */
#include "engine/pc/outbuf.h"

void outbuf_flush(struct outbuf *o)
{
	unsigned n = o->n;

	o->n = 0;
	if (n)
		chardev_write(o->chr, o->buf, n);
}

static void outbuf_fire(void *ctx)
{
	outbuf_flush(ctx);
}

void outbuf_put(struct outbuf *o, uint8_t b)
{
	if (!o->chr)
		return;
	o->buf[o->n++] = b;
	if (b == '\n' || o->n == OUTBUF_BYTES)
		outbuf_flush(o);
	else if (!timer_armed(&o->timer))
		timer_arm(&o->timer, clock_ns(o->clock) + OUTBUF_DELAY_NS);
}

void outbuf_init(struct outbuf *o, struct clock *clock)
{
	*o = (struct outbuf){.clock = clock};
	timer_init(&o->timer, clock, outbuf_fire, o);
}

void outbuf_fini(struct outbuf *o)
{
	outbuf_flush(o);
	timer_cancel(&o->timer);
}
