/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's I/O thread: guest timers, the host ends of serial lines, signals. One thread, one ppoll.
 *
 * Threads: io_new, io_add, io_take_signals and io_free before the thread starts or after it ended; io_wake any.
 */
#ifndef STEELYARD_IO_H
#define STEELYARD_IO_H

#include <poll.h>

#include "engine/status.h"

struct io;
struct vm;

/* Something that the I/O thread polls. Both are called on the I/O thread with the device lock held. */
struct io_source {
	/* Says what to wait for: fills p->fd and p->events, or leaves p->fd at -1. */
	void (*prepare)(void *ctx, struct pollfd *p);
	/* Called after every wait, with p->revents as poll left it (0 when nothing happened). */
	void (*ready)(void *ctx, const struct pollfd *p);
	void *ctx;
};

#define IO_MAX_SOURCES 8

/* vm->io becomes valid; vm->clock wakes it from now on. */
enum status io_new(struct vm *vm, struct error *e);
void io_free(struct vm *vm);
/* BUG_ON more than IO_MAX_SOURCES: the callers are our own code. */
void io_add(struct io *io, const struct io_source *s);
/* SIGTERM, SIGINT and SIGHUP end the machine with VM_STOPPED and the signal's number as value. The caller has blocked
 * them in every thread of the process; only one machine of a process may take them. */
enum status io_take_signals(struct io *io, struct error *e);

enum status io_start(struct io *io, struct error *e);
void io_stop(struct io *io);
/* The thread looks at its sources and timers again. Any thread. */
void io_wake(struct io *io);
/* CPU time of the thread so far, in ns. Any thread. */
uint64_t io_cpu_ns(struct io *io);

#endif
