/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest time is CLOCK_MONOTONIC plus an offset; a stop keeps the reading, a start makes the offset anew. Timers are a
 * binary heap by deadline: a machine has a handful per vCPU and per device, and only the earliest matters.
 *
 * The frequency of the TSC comes from the processor or the hypervisor where they tell it (CPUID 15H, or leaf 40000010H
 * that VMware defined and others adopted); else it is measured against CLOCK_MONOTONIC, which takes 20 ms.
 */
#include "engine/clock.h"

#include <cpuid.h>
#include <time.h>

#include "engine/status.h"

#define NS_PER_SEC 1000000000ull
#define MEASURE_NS 20000000ull

static uint64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* CPUID 15H: TSC = crystal * EBX / EAX; the crystal's own frequency in ECX may be missing (SDM 2A CPUID). */
static uint64_t tsc_khz_told(void)
{
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	if (c >> 31) {
		__cpuid(0x40000000u, a, b, c, d);
		if (a >= 0x40000010u && a < 0x40010000u) {
			__cpuid(0x40000010u, a, b, c, d);
			if (a > 100000u && a < 20000000u)
				return a;
		}
	}
	if (__get_cpuid_max(0, NULL) >= 0x15) {
		__cpuid_count(0x15, 0, a, b, c, d);
		if (a && b && c)
			return (uint64_t)c * b / a / 1000;
	}
	return 0;
}

/* A (time, TSC) pair read close together: the best of a few tries, so that a preemption does not spoil it. */
static void sample(uint64_t *ns, uint64_t *tsc)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t t0 = host_tsc(), n = host_ns(), t1 = host_tsc();

		if (t1 - t0 < best) {
			best = t1 - t0;
			*ns = n;
			*tsc = t0 + (t1 - t0) / 2;
		}
	}
}

static uint64_t tsc_khz_measured(void)
{
	struct timespec nap = {.tv_nsec = (long)MEASURE_NS};
	uint64_t n0 = 0, t0 = 0, n1 = 0, t1 = 0;

	sample(&n0, &t0);
	nanosleep(&nap, NULL);
	sample(&n1, &t1);
	if (n1 <= n0 || t1 <= t0)
		return 1000000; /* a host without a usable TSC: 1 GHz is as good as any lie */
	return (uint64_t)((unsigned __int128)(t1 - t0) * 1000000u / (n1 - n0));
}

void clock_init(struct clock *c)
{
	*c = (struct clock){0};
	c->tsc_khz = tsc_khz_told();
	if (!c->tsc_khz)
		c->tsc_khz = tsc_khz_measured();
}

void clock_make_virtual(struct clock *c)
{
	c->is_virtual = true;
	c->tsc_khz = 1000000;
}

void clock_set_virtual(struct clock *c, uint64_t ns)
{
	BUG_ON(!c->is_virtual);
	atomic_store(&c->stopped_at_ns, ns);
}

void clock_start(struct clock *c)
{
	if (c->is_virtual || atomic_load(&c->running))
		return;
	atomic_store(&c->offset_ns, (int64_t)(atomic_load(&c->stopped_at_ns) - host_ns()));
	atomic_store(&c->running, true);
}

void clock_stop(struct clock *c)
{
	if (!atomic_load(&c->running))
		return;
	atomic_store(&c->stopped_at_ns, clock_ns(c));
	atomic_store(&c->running, false);
}

uint64_t clock_ns(const struct clock *c)
{
	if (!atomic_load_explicit(&c->running, memory_order_acquire))
		return atomic_load(&c->stopped_at_ns);
	return host_ns() + (uint64_t)atomic_load_explicit(&c->offset_ns, memory_order_relaxed);
}

int64_t clock_tsc_offset(const struct clock *c)
{
	uint64_t ns = 0, tsc = 0;

	if (c->is_virtual)
		return 0;
	sample(&ns, &tsc);
	ns = atomic_load(&c->running) ? ns + (uint64_t)atomic_load(&c->offset_ns) : atomic_load(&c->stopped_at_ns);
	return (int64_t)(clock_ns_to_tsc(c, ns) - tsc);
}

/* ---- timers ---- */

static void heap_put(struct clock *c, unsigned i, struct timer *t)
{
	c->heap[i] = t;
	t->heap_index = (int)i;
}

static void heap_up(struct clock *c, unsigned i, struct timer *t)
{
	while (i > 0 && c->heap[(i - 1) / 2]->deadline_ns > t->deadline_ns) {
		heap_put(c, i, c->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(c, i, t);
}

static void heap_down(struct clock *c, unsigned i, struct timer *t)
{
	for (;;) {
		unsigned k = 2 * i + 1;

		if (k >= c->nheap)
			break;
		if (k + 1 < c->nheap && c->heap[k + 1]->deadline_ns < c->heap[k]->deadline_ns)
			k++;
		if (c->heap[k]->deadline_ns >= t->deadline_ns)
			break;
		heap_put(c, i, c->heap[k]);
		i = k;
	}
	heap_put(c, i, t);
}

void timer_init(struct timer *t, struct clock *c, void (*fire)(void *), void *ctx)
{
	*t = (struct timer){.fire = fire, .ctx = ctx, .clock = c, .heap_index = -1};
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
	struct clock *c = t->clock;
	uint64_t earliest = c->nheap ? c->heap[0]->deadline_ns : UINT64_MAX;

	timer_cancel(t);
	BUG_ON(c->nheap == CLOCK_MAX_TIMERS);
	t->deadline_ns = deadline_ns;
	heap_up(c, c->nheap++, t);
	if (c->heap[0] == t && deadline_ns < earliest && c->wake)
		c->wake(c->wake_ctx);
}

void timer_cancel(struct timer *t)
{
	struct clock *c = t->clock;
	unsigned i;
	struct timer *last;

	if (!timer_armed(t))
		return;
	i = (unsigned)t->heap_index;
	t->heap_index = -1;
	last = c->heap[--c->nheap];
	if (last == t)
		return;
	if (i > 0 && c->heap[(i - 1) / 2]->deadline_ns > last->deadline_ns)
		heap_up(c, i, last);
	else
		heap_down(c, i, last);
}

uint64_t clock_run_timers(struct clock *c)
{
	/* One reading and a budget for the round: a timer that arms itself for the past again and again must not keep
	 * the I/O thread, which has terminals to serve. */
	uint64_t now = clock_ns(c);
	unsigned budget = 4 * CLOCK_MAX_TIMERS;

	while (c->nheap && c->heap[0]->deadline_ns <= now && budget--) {
		struct timer *t = c->heap[0];

		timer_cancel(t);
		t->fire(t->ctx);
	}
	return c->nheap ? c->heap[0]->deadline_ns : UINT64_MAX;
}
