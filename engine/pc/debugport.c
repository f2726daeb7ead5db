// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The debug console is the one of Bochs: a byte written appears on the host, a read returns the port's own number. A
 * write to the exit port ends the machine; the process's exit status is the caller's affair.
 */
#include "engine/pc/debugport.h"

#define CONSOLE_PRESENT 0xe9u

static uint64_t console_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return CONSOLE_PRESENT;
}

static void console_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct debugport *d = dev;

	(void)off;
	(void)size;
	outbuf_put(&d->console, (uint8_t)val);
}

static uint64_t exit_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static void exit_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct debugport *d = dev;

	(void)off;
	(void)size;
	if (d->exit)
		d->exit(d->ctx, (uint32_t)val);
}

static uint64_t post_read(void *dev, uint64_t off, unsigned size)
{
	const struct debugport *d = dev;

	(void)off;
	(void)size;
	return d->post;
}

static void post_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct debugport *d = dev;

	(void)off;
	(void)size;
	d->post = (uint8_t)val;
}

const struct io_ops debugport_console_ops = {"debug console", console_read, console_write};
const struct io_ops debugport_exit_ops = {"debug exit", exit_read, exit_write};
const struct io_ops debugport_post_ops = {"post", post_read, post_write};

void debugport_init(struct debugport *d, struct clock *clock, void (*exit_fn)(void *ctx, uint32_t value), void *ctx)
{
	*d = (struct debugport){.exit = exit_fn, .ctx = ctx};
	outbuf_init(&d->console, clock);
}

void debugport_fini(struct debugport *d)
{
	outbuf_fini(&d->console);
}
