/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's timer (SDM 3A 11.5.4): one-shot, periodic, TSC deadline. Its state is under the device lock, because
 * it fires on the I/O thread.
 */
#include "engine/apic/lapic_int.h"

#define TIMER_ONE_SHOT (0u << 17)
#define TIMER_PERIODIC (1u << 17)
#define TIMER_TSC_DEADLINE (2u << 17)
#define TIMER_MIN_PERIOD_NS 20000u
#define LVT_TIMER_MODE (3u << 17)

/* ---- device lock held ---- */

static unsigned divisor(const struct lapic *l)
{
	unsigned code = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static uint32_t timer_mode(const struct lapic *l)
{
	return lapic_get(&l->lvt[LVT_TIMER]) & LVT_TIMER_MODE;
}

void lapic_timer_fire(void *ctx)
{
	struct lapic *l = ctx;
	uint32_t lvt = lapic_get(&l->lvt[LVT_TIMER]);

	if (timer_mode(l) == TIMER_PERIODIC && l->timer_period_ns) {
		uint64_t next = l->timer.deadline_ns + l->timer_period_ns, now = clock_ns(&l->vm->clock);

		/* Ticks that the host was too late for are lost, not sent in a burst. */
		if (next <= now)
			next += (now - next + l->timer_period_ns) / l->timer_period_ns * l->timer_period_ns;
		timer_arm(&l->timer, next);
	}
	atomic_store(&l->tsc_deadline, 0);
	if (!(lvt & LVT_MASKED))
		lapic_deliver(l, (uint8_t)lvt, false);
}

/* The period that count, divisor and mode give. */
static void period_set(struct lapic *l)
{
	l->timer_period_ns = (uint64_t)l->timer_initial * divisor(l);
	if (timer_mode(l) == TIMER_PERIODIC && l->timer_initial && l->timer_period_ns < TIMER_MIN_PERIOD_NS)
		l->timer_period_ns = TIMER_MIN_PERIOD_NS;
}

/* Starts the counter from its initial count (SDM 3A 11.5.4). */
static void timer_start(struct lapic *l)
{
	timer_cancel(&l->timer);
	period_set(l);
	if (!l->timer_initial || timer_mode(l) == TIMER_TSC_DEADLINE)
		return;
	timer_arm(&l->timer, clock_ns(&l->vm->clock) + l->timer_period_ns);
}

static uint32_t timer_current(const struct lapic *l)
{
	uint64_t now = clock_ns(&l->vm->clock), left;

	if (!timer_armed(&l->timer) || timer_mode(l) == TIMER_TSC_DEADLINE)
		return 0;
	left = l->timer.deadline_ns > now ? l->timer.deadline_ns - now : 0;
	if (!left && timer_mode(l) == TIMER_PERIODIC)
		left = l->timer_period_ns - (now - l->timer.deadline_ns) % l->timer_period_ns;
	left /= divisor(l);
	return left < l->timer_initial ? (uint32_t)left : l->timer_initial;
}

void lapic_timer_lvt_write(struct lapic *l, uint32_t val)
{
	uint32_t old = timer_mode(l);

	pthread_mutex_lock(&l->vm->dev_lock);
	atomic_store(&l->lvt[LVT_TIMER], val);
	if ((old == TIMER_TSC_DEADLINE) != ((val & LVT_TIMER_MODE) == TIMER_TSC_DEADLINE)) {
		timer_cancel(&l->timer);
		atomic_store(&l->tsc_deadline, 0);
		l->timer_initial = 0;
	}
	period_set(l); /* a one-shot timer that runs may be a periodic one from now on */
	pthread_mutex_unlock(&l->vm->dev_lock);
}

uint64_t lapic_tsc_deadline(const struct lapic *l)
{
	return timer_mode(l) == TIMER_TSC_DEADLINE ? atomic_load(&l->tsc_deadline) : 0;
}

/* false: it has passed already. Device lock held. */
static bool deadline_arm(struct lapic *l, uint64_t guest_tsc)
{
	uint64_t now_tsc = clock_tsc(&l->vm->clock) + (uint64_t)l->v->regs.tsc_offset, delta = guest_tsc - now_tsc;
	struct clock *c = &l->vm->clock;
	uint64_t now, ns;

	timer_cancel(&l->timer);
	atomic_store(&l->tsc_deadline, 0);
	if (guest_tsc == 0)
		return true;
	if (guest_tsc <= now_tsc)
		return false;
	now = clock_ns(c);
	ns = delta > UINT64_MAX / 4 ? UINT64_MAX / 4 : clock_tsc_to_ns(c, delta);
	atomic_store(&l->tsc_deadline, guest_tsc);
	timer_arm(&l->timer, now + (ns < UINT64_MAX / 4 ? ns : UINT64_MAX / 4));
	return true;
}

static void deadline_passed(struct lapic *l)
{
	uint32_t lvt = lapic_get(&l->lvt[LVT_TIMER]);

	if (!(lvt & LVT_MASKED))
		lapic_deliver(l, (uint8_t)lvt, false);
}

void lapic_set_tsc_deadline(struct lapic *l, uint64_t guest_tsc)
{
	bool ahead;

	if (timer_mode(l) != TIMER_TSC_DEADLINE)
		return; /* SDM 3A 11.5.4.1: ignored in the other modes */
	vcpu_vec_sync(l->v);
	pthread_mutex_lock(&l->vm->dev_lock);
	ahead = deadline_arm(l, guest_tsc);
	pthread_mutex_unlock(&l->vm->dev_lock);
	if (!ahead)
		deadline_passed(l);
}

void lapic_tsc_moved(struct lapic *l)
{
	uint64_t deadline;
	bool ahead;

	if (!lapic_tsc_deadline(l))
		return;
	vcpu_vec_sync(l->v);
	pthread_mutex_lock(&l->vm->dev_lock);
	deadline = lapic_tsc_deadline(l);
	ahead = !deadline || deadline_arm(l, deadline);
	pthread_mutex_unlock(&l->vm->dev_lock);
	if (!ahead)
		deadline_passed(l);
}

void lapic_deadline_load(struct lapic *l, uint64_t guest_tsc)
{
	if (timer_mode(l) == TIMER_TSC_DEADLINE && !deadline_arm(l, guest_tsc))
		deadline_passed(l);
}

/* A count that runs goes on from where it is, at the new rate. */
static void divide_set(struct lapic *l, uint32_t divide)
{
	uint32_t left = timer_current(l);
	bool runs = timer_armed(&l->timer) && timer_mode(l) != TIMER_TSC_DEADLINE;

	l->timer_divide = divide;
	period_set(l);
	if (runs)
		timer_arm(&l->timer, clock_ns(&l->vm->clock) + (uint64_t)left * divisor(l));
}

void lapic_timer_write(struct lapic *l, uint32_t off, uint32_t val)
{
	pthread_mutex_lock(&l->vm->dev_lock);
	if (off == LR_TIMER_INITIAL && timer_mode(l) != TIMER_TSC_DEADLINE) {
		l->timer_initial = val;
		timer_start(l);
	} else if (off == LR_TIMER_DIVIDE) {
		divide_set(l, val & 0xb);
	}
	pthread_mutex_unlock(&l->vm->dev_lock);
}

uint32_t lapic_timer_read(struct lapic *l, uint32_t off)
{
	uint32_t val = 0;

	pthread_mutex_lock(&l->vm->dev_lock);
	if (off == LR_TIMER_INITIAL)
		val = l->timer_initial;
	else if (off == LR_TIMER_CURRENT)
		val = timer_current(l);
	else
		val = l->timer_divide;
	pthread_mutex_unlock(&l->vm->dev_lock);
	return val;
}

uint32_t lapic_timer_left(const struct lapic *l)
{
	return timer_current(l);
}

void lapic_timer_load(struct lapic *l, uint32_t initial, uint32_t current, uint32_t divide)
{
	timer_cancel(&l->timer);
	atomic_store(&l->tsc_deadline, 0);
	l->timer_initial = initial;
	l->timer_divide = divide & 0xb;
	period_set(l);
	if (initial && current && timer_mode(l) != TIMER_TSC_DEADLINE)
		timer_arm(&l->timer, clock_ns(&l->vm->clock) + (uint64_t)current * divisor(l));
}
