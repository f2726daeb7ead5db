/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device's worker: one thread that sleeps until it is kicked, or until a file descriptor is ready.
 *
 * Kicking a worker that is awake costs one atomic exchange; kicking one that sleeps a write to its eventfd. A worker with
 * nothing to do sleeps in poll without a timeout: an idle machine costs nothing. The worker never takes the machine's
 * device lock, so whoever holds that may wait for it.
 *
 * Threads: worker_kick any. worker_new, worker_free, worker_start, worker_stop: one at a time, under the device lock or
 * while no vCPU runs.
 */
#ifndef STEELYARD_WORKER_H
#define STEELYARD_WORKER_H

#include <poll.h>
#include <stdatomic.h>

#include "engine/status.h"

#define WORKER_FDS 512u

struct worker;
struct worker_ops {
	/* Says what to wait for besides kicks: fills p[0..max-1], returns how many; lowers *timeout_ms. NULL: nothing. */
	unsigned (*prepare)(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms);
	/* After every wait and every kick; p as prepare filled it, with revents (none on the way from a kick to an awake
	 * worker). Returns true to be called again before sleeping. */
	bool (*run)(void *ctx, const struct pollfd *p, unsigned n);
	/* Told to stop: returns when what is under way has ended. NULL: nothing ever is. */
	void (*drain)(void *ctx);
};

/* name: at most 15 characters. The thread begins stopped. NULL and *e: no thread. */
struct worker *worker_new(const char *name, const struct worker_ops *ops, void *ctx, struct error *e);
void worker_free(struct worker *w);
/* From here on run is called. */
void worker_start(struct worker *w);
/* On return run is not being called, drain has been, and neither will be until worker_start. */
void worker_stop(struct worker *w);
void worker_kick(struct worker *w);
/* An eventfd whose writers wake the worker, for completions of the kernel's. Owned by the worker. */
int worker_eventfd(struct worker *w);

#endif
