/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the device tests share: the tally, wires that remember, a clock that stands still until the test moves it, a
 * wall clock that follows it, and a chardev that captures.
 */
#ifndef STEELYARD_TESTS_DEVICE_TEST_H
#define STEELYARD_TESTS_DEVICE_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bus.h"
#include "engine/chardev.h"
#include "engine/clock.h"
#include "engine/irq.h"

#define MS 1000000ull
#define SEC 1000000000ull

struct tally {
	unsigned passed, failed;
};

/* A wire that remembers what happened on it. */
struct wire {
	bool level;
	unsigned rises;
};

static inline void check_eq(struct tally *t, uint64_t got, uint64_t want, const char *what, const char *file, int line)
{
	if (got == want) {
		t->passed++;
		return;
	}
	t->failed++;
	printf("%s:%d: %s: got 0x%llx, want 0x%llx\n", file, line, what, (unsigned long long)got,
	       (unsigned long long)want);
}
#define EQ(got, want) check_eq(t, (uint64_t)(got), (uint64_t)(want), #got, __FILE__, __LINE__)
#define TRUE(cond) check_eq(t, !!(cond), 1, #cond, __FILE__, __LINE__)

static inline void wire_set(void *ctx, unsigned n, bool level)
{
	struct wire *w = ctx;

	(void)n;
	if (level && !w->level)
		w->rises++;
	w->level = level;
}

static inline struct irq_line line_to(struct wire *w)
{
	return (struct irq_line){.set = wire_set, .ctx = w};
}

static inline void intr_set(void *ctx, bool level)
{
	wire_set(ctx, 0, level);
}

static inline void count_call(void *ctx)
{
	++*(unsigned *)ctx;
}

static inline struct clock *fake_clock(void)
{
	struct clock *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->tsc_khz = 1000000;
	return c;
}

static inline void advance(struct clock *c, uint64_t ns)
{
	uint64_t target = clock_ns(c) + ns;

	while (c->nheap && c->heap[0]->deadline_ns <= target) {
		if (c->heap[0]->deadline_ns > clock_ns(c))
			atomic_store(&c->stopped_at_ns, c->heap[0]->deadline_ns);
		clock_run_timers(c);
	}
	atomic_store(&c->stopped_at_ns, target);
}

static inline uint8_t in8(const struct io_ops *ops, void *dev, unsigned off)
{
	return (uint8_t)ops->read(dev, off, 1);
}

static inline void out8(const struct io_ops *ops, void *dev, unsigned off, uint8_t val)
{
	ops->write(dev, off, 1, val);
}

struct wall {
	struct clock *clock;
	int64_t base_ns;
};

static inline int64_t wall_now(void *ctx)
{
	const struct wall *w = ctx;

	return w->base_ns + (int64_t)clock_ns(w->clock);
}

struct capture {
	struct chardev chr;
	char text[4096];
	unsigned n, writes, resumes;
};

static inline void capture_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
	struct capture *cap = c->backend;

	cap->writes++;
	if (len < sizeof(cap->text) - cap->n) {
		memcpy(cap->text + cap->n, buf, len);
		cap->n += len;
	}
}

static inline void capture_resume(struct chardev *c)
{
	((struct capture *)c->backend)->resumes++;
}

static inline void capture_init(struct capture *cap)
{
	*cap = (struct capture){.chr = {.write = capture_write, .resume_input = capture_resume, .backend = cap}};
}

#endif
