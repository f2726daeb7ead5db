/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's one clock, and timers on it.
 *
 * Guest time runs in nanoseconds from 0 at power-on, follows CLOCK_MONOTONIC while the machine runs, and stands still
 * while it is paused. Every device, the TSC and the APIC timers derive from it, so they can never disagree.
 *
 * Threads: clock_ns() any. Timers: device lock held; callbacks run on the machine's I/O thread with the device lock held.
 */
#ifndef STEELYARD_CLOCK_H
#define STEELYARD_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct timer {
	uint64_t deadline_ns; /* guest time */
	void (*fire)(void *ctx);
	void *ctx;
	struct clock *clock;
	int heap_index;	      /* -1: not armed */
};

#define CLOCK_MAX_TIMERS 320
struct clock {
	_Atomic int64_t offset_ns; /* guest ns = host monotonic ns + offset, while running */
	_Atomic uint64_t stopped_at_ns;
	_Atomic bool running;
	uint64_t tsc_khz;	   /* host TSC frequency, measured once at clock_init */
	bool is_virtual;	   /* clock_make_virtual */
	struct timer *heap[CLOCK_MAX_TIMERS];
	unsigned nheap;
	void (*wake)(void *ctx);   /* called when the earliest deadline moves forward: wakes the I/O thread */
	void *wake_ctx;
};

void clock_init(struct clock *c); /* stopped at 0 */
/* From now on time is what clock_set_virtual says, whatever the host's clocks do: the machine becomes a function of its
 * inputs. The TSC counts nanoseconds. Before the first clock_start, which has no effect then. */
void clock_make_virtual(struct clock *c);
void clock_set_virtual(struct clock *c, uint64_t ns);
/* Leaves the timers alone, which need a lock: whoever sleeps for them must be woken. */
void clock_start(struct clock *c);
void clock_stop(struct clock *c);
uint64_t clock_ns(const struct clock *c);
/* Guest TSC at this moment = clock in TSC ticks; host TSC + this = guest TSC while the clock runs. */
int64_t clock_tsc_offset(const struct clock *c);
/* What guest TSC = this + tsc_offset is made of: the host's counter, or virtual time. */
static inline uint64_t clock_tsc(const struct clock *c)
{
	if (__builtin_expect(c->is_virtual, 0))
		return atomic_load_explicit(&c->stopped_at_ns, memory_order_relaxed);
	return __builtin_ia32_rdtsc();
}
static inline uint64_t clock_ns_to_tsc(const struct clock *c, uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * c->tsc_khz / 1000000u);
}
static inline uint64_t clock_tsc_to_ns(const struct clock *c, uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)tsc * 1000000u / c->tsc_khz);
}

void timer_init(struct timer *t, struct clock *c, void (*fire)(void *), void *ctx);
void timer_arm(struct timer *t, uint64_t deadline_ns); /* re-arms when armed; a past deadline fires at once */
void timer_cancel(struct timer *t);
static inline bool timer_armed(const struct timer *t)
{
	return t->heap_index >= 0;
}
/* Fires everything due; returns the next deadline in guest ns, or UINT64_MAX. I/O thread. */
uint64_t clock_run_timers(struct clock *c);

#endif
