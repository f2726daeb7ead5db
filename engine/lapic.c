/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC (SDM 3A chapter 11 of 2023 editions, 10 before).
 *
 * Registers are the owner thread's, with two exceptions. What a sender must know to find its destination (base, ID, LDR,
 * DFR, SVR, TPR) is atomic and read by any thread. What a sender changes (IRR, TMR, start-up latch, error bits) is set
 * atomically and followed by a kick of the owner, who alone moves vectors from IRR to ISR.
 *
 * The timer counts at 1 GHz, so a count at divide-by-1 is a nanosecond of guest time; its state is under the device lock
 * because it fires on the I/O thread.
 *
 * Deviations: at RESET the bootstrap processor's LINT0 is ExtINT and LINT1 NMI, both unmasked, which the manual leaves to
 * the firmware: guests that we start without firmware expect the 8259 to reach the processor. A level-triggered message is
 * latched like an edge one and told apart at the end of interrupt only. Arbitration priority is not modelled: lowest
 * priority goes to the lowest TPR, then the lowest ID. SMI is ignored. A periodic timer is never faster than 20 us.
 */
#include "engine/lapic.h"

#include <stdlib.h>

#include "engine/cpuid.h"
#include "engine/ioapic.h"
#include "engine/vm.h"

enum lapic_reg {
	LR_ID = 0x020,
	LR_VERSION = 0x030,
	LR_TPR = 0x080,
	LR_APR = 0x090,
	LR_PPR = 0x0a0,
	LR_EOI = 0x0b0,
	LR_LDR = 0x0d0,
	LR_DFR = 0x0e0,
	LR_SVR = 0x0f0,
	LR_ISR = 0x100,
	LR_TMR = 0x180,
	LR_IRR = 0x200,
	LR_ESR = 0x280,
	LR_ICR = 0x300,
	LR_ICR_HIGH = 0x310,
	LR_LVT = 0x320, /* timer, thermal, performance, LINT0, LINT1, error */
	LR_TIMER_INITIAL = 0x380,
	LR_TIMER_CURRENT = 0x390,
	LR_TIMER_DIVIDE = 0x3e0,
	LR_SELF_IPI = 0x3f0,
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LVT_MASKED (1u << 16)
#define LVT_DELIVERY 0x700u
#define LVT_TIMER_MODE (3u << 17)
#define TIMER_ONE_SHOT (0u << 17)
#define TIMER_PERIODIC (1u << 17)
#define TIMER_TSC_DEADLINE (2u << 17)
#define TIMER_MIN_PERIOD_NS 20000u

/* bits that software may set in each LVT entry */
static const uint32_t lvt_writable[LVT_COUNT] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

#define BASE_BSP (1ull << 8)
#define BASE_EXTD (1ull << 10)
#define BASE_EN (1ull << 11)
#define BASE_RESET 0xfee00000ull
#define SVR_ENABLED (1u << 8)
#define VERSION (0x14u | (LVT_COUNT - 1) << 16)

#define ESR_SEND_ILLEGAL (1u << 5)
#define ESR_RECEIVE_ILLEGAL (1u << 6)
#define ESR_ILLEGAL_REGISTER (1u << 7)

#define ICR_LOGICAL (1u << 11)
#define ICR_ASSERT (1u << 14)
#define ICR_LEVEL (1u << 15)
#define ICR_WRITABLE 0x000ccfffu

#define STARTUP_INIT (1u << 0)
#define STARTUP_SIPI (1u << 1)
#define STARTUP_VECTOR_SHIFT 8

struct lapic {
	struct vcpu *v;
	struct vm *vm;
	/* read by senders on any thread */
	_Atomic uint64_t base;
	_Atomic uint32_t id, ldr, dfr, svr, tpr;
	/* written by senders on any thread */
	_Atomic uint64_t irr[4], tmr[4];
	_Atomic uint32_t startup;
	_Atomic uint32_t esr_new;
	_Atomic uint32_t lvt[LVT_COUNT];
	/* owner thread */
	uint64_t isr[4];
	uint32_t esr, icr_low, icr_high;
	/* device lock */
	struct timer timer;
	uint32_t timer_initial, timer_divide;
	uint64_t timer_period_ns;
	_Atomic uint64_t tsc_deadline;
};

static uint32_t get(const _Atomic uint32_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static bool hw_enabled(const struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_EN;
}

static bool x2apic(const struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_EXTD;
}

/* ---- vectors ---- */

/* Highest bit set in 256, or -1. */
static int highest(const uint64_t w[4])
{
	for (int i = 3; i >= 0; i--)
		if (w[i])
			return i * 64 + 63 - __builtin_clzll(w[i]);
	return -1;
}

static int highest_irr(const struct lapic *l)
{
	for (int i = 3; i >= 0; i--) {
		uint64_t w = atomic_load_explicit(&l->irr[i], memory_order_acquire);

		if (w)
			return i * 64 + 63 - __builtin_clzll(w);
	}
	return -1;
}

static uint32_t ppr(const struct lapic *l)
{
	int isrv = highest(l->isr);
	uint32_t tpr = get(&l->tpr), in_service = isrv < 0 ? 0 : (uint32_t)isrv & 0xf0;

	return (tpr & 0xf0) >= in_service ? tpr : in_service;
}

int lapic_pending(struct lapic *l)
{
	int vec = highest_irr(l);

	if (vec < 0 || !hw_enabled(l) || ((uint32_t)vec & 0xf0) <= (ppr(l) & 0xf0))
		return -1;
	return vec;
}

int lapic_ack(struct lapic *l)
{
	int vec = lapic_pending(l);

	if (vec < 0)
		return -1;
	atomic_fetch_and(&l->irr[vec / 64], ~(1ull << vec % 64));
	l->isr[vec / 64] |= 1ull << vec % 64;
	return vec;
}

/* Something on the owner's side changed that may have uncovered a vector. */
static void look_again(struct lapic *l)
{
	if (lapic_pending(l) >= 0)
		vcpu_kick(l->v, REQ_EVENT);
}

static void set_error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt = get(&l->lvt[LVT_ERROR]);

	atomic_fetch_or(&l->esr_new, bit);
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_deliver(l, (uint8_t)lvt, false);
}

void lapic_deliver(struct lapic *l, uint8_t vector, bool level)
{
	uint64_t bit = 1ull << vector % 64;

	if (!hw_enabled(l) || !(get(&l->svr) & SVR_ENABLED))
		return;
	if (vector < 16) {
		set_error(l, ESR_RECEIVE_ILLEGAL);
		return;
	}
	if (level)
		atomic_fetch_or(&l->tmr[vector / 64], bit);
	else
		atomic_fetch_and(&l->tmr[vector / 64], ~bit);
	atomic_fetch_or(&l->irr[vector / 64], bit);
	vcpu_kick(l->v, REQ_EVENT);
}

static void end_of_interrupt(struct lapic *l)
{
	int vec = highest(l->isr);

	if (vec < 0)
		return;
	l->isr[vec / 64] &= ~(1ull << vec % 64);
	if ((atomic_load(&l->tmr[vec / 64]) >> vec % 64 & 1) && l->vm->ioapic) {
		pthread_mutex_lock(&l->vm->dev_lock);
		ioapic_eoi(l->vm->ioapic, (uint8_t)vec);
		pthread_mutex_unlock(&l->vm->dev_lock);
	}
	look_again(l);
}

/* ---- messages ---- */

static uint32_t x2apic_ldr(const struct lapic *l)
{
	return (l->v->id >> 4) << 16 | 1u << (l->v->id & 15);
}

static bool logical_match(const struct lapic *l, uint32_t dest, bool wide)
{
	uint32_t ldr;

	if (x2apic(l)) {
		ldr = x2apic_ldr(l);
		if (dest == (wide ? 0xffffffffu : 0xffu))
			return true;
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	if (dest > 0xff)
		return wide && dest == 0xffffffffu;
	ldr = get(&l->ldr) >> 24;
	if (get(&l->dfr) >> 28 == 0xf) /* flat model */
		return dest & ldr;
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (dest & ldr & 0xf);
}

/* wide: the sender is in x2APIC mode and dest has 32 bits (SDM 3A 11.6.2, 11.12.9). */
static bool dest_match(const struct lapic *l, bool logical, uint32_t dest, bool wide)
{
	if (!hw_enabled(l))
		return false;
	if (logical)
		return logical_match(l, dest, wide);
	if (dest == (wide ? 0xffffffffu : 0xffu))
		return true;
	return dest == (x2apic(l) ? l->v->id : get(&l->id) >> 24);
}

/* The last of several SIPIs that nobody took yet wins; an INIT before it stays pending. */
static void sipi_latch(struct lapic *l, uint8_t vector)
{
	uint32_t old = atomic_load(&l->startup), val;

	do
		val = (old & STARTUP_INIT) | STARTUP_SIPI | (uint32_t)vector << STARTUP_VECTOR_SHIFT;
	while (!atomic_compare_exchange_weak(&l->startup, &old, val));
}

static void accept(struct lapic *l, uint8_t vector, enum apic_delivery mode, bool level)
{
	switch (mode) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		lapic_deliver(l, vector, level);
		break;
	case DELIVER_NMI:
		atomic_store(&l->v->nmi_pending, true);
		vcpu_kick(l->v, REQ_EVENT);
		break;
	case DELIVER_INIT:
		atomic_store(&l->startup, STARTUP_INIT);
		vcpu_kick(l->v, REQ_EXIT | REQ_EVENT);
		break;
	case DELIVER_SIPI:
		sipi_latch(l, vector);
		vcpu_kick(l->v, REQ_EXIT | REQ_EVENT);
		break;
	case DELIVER_EXTINT:
		vcpu_kick(l->v, REQ_EVENT);
		break;
	case DELIVER_SMI:
	case DELIVER_RSVD:
		break;
	}
}

static void send_except(struct vm *vm, const struct lapic *except, uint8_t vector, enum apic_delivery mode, bool logical,
			uint32_t dest, bool level, bool wide)
{
	struct lapic *lowest = NULL;

	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct lapic *l = vm->vcpu[i] ? vm->vcpu[i]->lapic : NULL;

		if (!l || l == except || !dest_match(l, logical, dest, wide))
			continue;
		if (mode != DELIVER_LOWEST)
			accept(l, vector, mode, level);
		else if ((get(&l->svr) & SVR_ENABLED) && (!lowest || get(&l->tpr) < get(&lowest->tpr)))
			lowest = l;
	}
	if (lowest)
		accept(lowest, vector, DELIVER_FIXED, level);
}

void lapic_send(struct vm *vm, uint8_t vector, enum apic_delivery mode, bool logical, uint32_t dest, bool level,
		bool x2apic_dest)
{
	send_except(vm, NULL, vector, mode, logical, dest, level, x2apic_dest);
}

static void icr_send(struct lapic *l, uint32_t icr, uint32_t dest)
{
	static const uint32_t everybody = 0xffffffffu;
	enum apic_delivery mode = (enum apic_delivery)(icr >> 8 & 7);
	uint8_t vector = (uint8_t)icr;
	bool level = icr & ICR_LEVEL;

	if ((mode == DELIVER_FIXED || mode == DELIVER_LOWEST) && vector < 16) {
		set_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	if (mode == DELIVER_INIT && level && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert only set arbitration IDs, long ago */
	switch (icr >> 18 & 3) {
	case 0:
		send_except(l->vm, NULL, vector, mode, icr & ICR_LOGICAL, dest, level, x2apic(l));
		break;
	case 1:
		if (mode == DELIVER_FIXED) /* the manual allows no other to self (table 11-3) */
			lapic_deliver(l, vector, level);
		break;
	case 2:
		send_except(l->vm, NULL, vector, mode, false, everybody, level, true);
		break;
	case 3:
		send_except(l->vm, l, vector, mode, false, everybody, level, true);
		break;
	}
}

struct lapic_startup lapic_take_startup(struct lapic *l)
{
	uint32_t s = atomic_load(&l->startup) ? atomic_exchange(&l->startup, 0) : 0;

	return (struct lapic_startup){ .init = s & STARTUP_INIT,
				       .sipi = s & STARTUP_SIPI,
				       .vector = (uint8_t)(s >> STARTUP_VECTOR_SHIFT) };
}

bool lapic_accepts_extint(const struct lapic *l)
{
	uint32_t lvt = get(&l->lvt[LVT_LINT0]);

	return !hw_enabled(l) || (lvt & (LVT_MASKED | LVT_DELIVERY)) == (uint32_t)DELIVER_EXTINT << 8;
}

bool lapic_accepts_nmi(const struct lapic *l)
{
	uint32_t lvt = get(&l->lvt[LVT_LINT1]);

	return !hw_enabled(l) || (lvt & (LVT_MASKED | LVT_DELIVERY)) == (uint32_t)DELIVER_NMI << 8;
}

/* ---- timer: device lock held ---- */

static unsigned divisor(const struct lapic *l)
{
	unsigned code = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static uint32_t timer_mode(const struct lapic *l)
{
	return get(&l->lvt[LVT_TIMER]) & LVT_TIMER_MODE;
}

static void timer_fire(void *ctx)
{
	struct lapic *l = ctx;
	uint32_t lvt = get(&l->lvt[LVT_TIMER]);

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

/* Starts the counter from its initial count (SDM 3A 11.5.4). */
static void timer_start(struct lapic *l)
{
	timer_cancel(&l->timer);
	l->timer_period_ns = (uint64_t)l->timer_initial * divisor(l);
	if (!l->timer_initial || timer_mode(l) == TIMER_TSC_DEADLINE)
		return;
	if (timer_mode(l) == TIMER_PERIODIC && l->timer_period_ns < TIMER_MIN_PERIOD_NS)
		l->timer_period_ns = TIMER_MIN_PERIOD_NS;
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

static void lvt_timer_write(struct lapic *l, uint32_t val)
{
	uint32_t old = timer_mode(l);

	pthread_mutex_lock(&l->vm->dev_lock);
	atomic_store(&l->lvt[LVT_TIMER], val);
	if ((old == TIMER_TSC_DEADLINE) != ((val & LVT_TIMER_MODE) == TIMER_TSC_DEADLINE)) {
		timer_cancel(&l->timer);
		atomic_store(&l->tsc_deadline, 0);
		l->timer_initial = 0;
	}
	pthread_mutex_unlock(&l->vm->dev_lock);
}

uint64_t lapic_tsc_deadline(const struct lapic *l)
{
	return timer_mode(l) == TIMER_TSC_DEADLINE ? atomic_load(&l->tsc_deadline) : 0;
}

void lapic_set_tsc_deadline(struct lapic *l, uint64_t guest_tsc)
{
	uint64_t now_tsc = __builtin_ia32_rdtsc() + (uint64_t)l->v->regs.tsc_offset, delta;
	uint32_t lvt = get(&l->lvt[LVT_TIMER]);
	struct clock *c = &l->vm->clock;

	if (timer_mode(l) != TIMER_TSC_DEADLINE)
		return; /* SDM 3A 11.5.4.1: ignored in the other modes */
	vcpu_vec_sync(l->v);
	pthread_mutex_lock(&l->vm->dev_lock);
	timer_cancel(&l->timer);
	delta = guest_tsc - now_tsc;
	if (guest_tsc == 0 || guest_tsc <= now_tsc) {
		atomic_store(&l->tsc_deadline, 0);
	} else {
		uint64_t now = clock_ns(c), ns = delta > UINT64_MAX / 4 ? UINT64_MAX / 4 : clock_tsc_to_ns(c, delta);

		atomic_store(&l->tsc_deadline, guest_tsc);
		timer_arm(&l->timer, now + (ns < UINT64_MAX / 4 ? ns : UINT64_MAX / 4));
	}
	pthread_mutex_unlock(&l->vm->dev_lock);
	if (guest_tsc != 0 && guest_tsc <= now_tsc && !(lvt & LVT_MASKED))
		lapic_deliver(l, (uint8_t)lvt, false);
}

static void timer_reg_write(struct lapic *l, uint32_t off, uint32_t val)
{
	pthread_mutex_lock(&l->vm->dev_lock);
	if (off == LR_TIMER_INITIAL && timer_mode(l) != TIMER_TSC_DEADLINE) {
		l->timer_initial = val;
		timer_start(l);
	} else if (off == LR_TIMER_DIVIDE) {
		l->timer_divide = val & 0xb;
	}
	pthread_mutex_unlock(&l->vm->dev_lock);
}

static uint32_t timer_reg_read(struct lapic *l, uint32_t off)
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

/* ---- life ---- */

struct lapic *lapic_new(struct vcpu *v)
{
	struct lapic *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->v = v;
	l->vm = v->vm;
	timer_init(&l->timer, &v->vm->clock, timer_fire, l);
	lapic_reset(l);
	return l;
}

void lapic_free(struct lapic *l)
{
	if (l)
		timer_cancel(&l->timer);
	free(l);
}

void lapic_reset_init(struct lapic *l)
{
	bool bsp = l->v->id == 0;

	pthread_mutex_lock(&l->vm->dev_lock);
	timer_cancel(&l->timer);
	l->timer_initial = l->timer_divide = 0;
	atomic_store(&l->tsc_deadline, 0);
	pthread_mutex_unlock(&l->vm->dev_lock);
	atomic_store(&l->ldr, 0);
	atomic_store(&l->dfr, 0xffffffffu);
	atomic_store(&l->svr, 0xff);
	atomic_store(&l->tpr, 0);
	for (unsigned i = 0; i < 4; i++) {
		atomic_store(&l->irr[i], 0);
		atomic_store(&l->tmr[i], 0);
		l->isr[i] = 0;
	}
	for (unsigned i = 0; i < LVT_COUNT; i++)
		atomic_store(&l->lvt[i], LVT_MASKED);
	if (bsp) {
		atomic_store(&l->lvt[LVT_LINT0], (uint32_t)DELIVER_EXTINT << 8);
		atomic_store(&l->lvt[LVT_LINT1], (uint32_t)DELIVER_NMI << 8);
	}
	atomic_store(&l->esr_new, 0);
	l->esr = l->icr_low = l->icr_high = 0;
}

void lapic_reset(struct lapic *l)
{
	atomic_store(&l->base, BASE_RESET | BASE_EN | (l->v->id == 0 ? BASE_BSP : 0));
	atomic_store(&l->id, l->v->id << 24);
	atomic_store(&l->startup, 0);
	lapic_reset_init(l);
}

uint64_t lapic_base(const struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed);
}

uint64_t lapic_mmio_gpa(const struct lapic *l)
{
	uint64_t base = lapic_base(l);

	return (base & (BASE_EN | BASE_EXTD)) == BASE_EN ? base & ~0xfffull : UINT64_MAX;
}

bool lapic_set_base(struct lapic *l, uint64_t val)
{
	uint64_t old = lapic_base(l);
	uint32_t width[4];

	cpuid_query(l->v, 0x80000008u, 0, width);
	if (val & (0x2ffu | ~0ull << (width[0] & 0xff ? width[0] & 0x3f : 36)))
		return false;
	if ((val & BASE_EXTD) && !cpuid_has(l->vm, CF_X2APIC))
		return false;
	switch (val & (BASE_EN | BASE_EXTD)) { /* SDM 3A 11.12.5: figure 11-27 */
	case BASE_EXTD:
		return false;
	case BASE_EN:
		if (old & BASE_EXTD)
			return false;
		break;
	case BASE_EN | BASE_EXTD:
		if (!(old & BASE_EN))
			return false;
		break;
	}
	vcpu_vec_sync(l->v);
	val = (val & ~BASE_BSP) | (old & BASE_BSP);
	atomic_store(&l->base, val);
	if ((old & BASE_EN) && !(val & BASE_EN)) {
		lapic_reset_init(l);
		atomic_store(&l->id, l->v->id << 24);
	}
	if (val != old)
		vcpu_kick(l->v, REQ_EVENT | REQ_FLUSH); /* the window at the old and the new address changed its meaning */
	return true;
}

uint8_t lapic_cr8(const struct lapic *l)
{
	return (uint8_t)(get(&l->tpr) >> 4 & 0xf);
}

static void set_tpr(struct lapic *l, uint32_t val)
{
	uint32_t old = get(&l->tpr);

	atomic_store(&l->tpr, val & 0xff);
	if ((val & 0xff) < old)
		look_again(l);
}

void lapic_set_cr8(struct lapic *l, uint8_t v)
{
	set_tpr(l, (uint32_t)(v & 0xf) << 4);
}

/* ---- registers, common to MMIO and MSRs ---- */

static uint32_t word_of(const _Atomic uint64_t w[4], uint32_t off)
{
	unsigned i = off >> 4 & 7;

	return (uint32_t)(atomic_load_explicit(&w[i / 2], memory_order_relaxed) >> (i & 1) * 32);
}

/* false: there is no such register. */
static bool reg_read(struct lapic *l, uint32_t off, uint32_t *val)
{
	unsigned i = off >> 4 & 7;

	switch (off) {
	case LR_ID:
		*val = x2apic(l) ? l->v->id : get(&l->id);
		return true;
	case LR_VERSION:
		*val = VERSION;
		return true;
	case LR_TPR:
		*val = get(&l->tpr);
		return true;
	case LR_APR:
	case LR_EOI:
		*val = 0;
		return true;
	case LR_PPR:
		*val = ppr(l);
		return true;
	case LR_LDR:
		*val = x2apic(l) ? x2apic_ldr(l) : get(&l->ldr);
		return true;
	case LR_DFR:
		*val = get(&l->dfr);
		return true;
	case LR_SVR:
		*val = get(&l->svr);
		return true;
	case LR_ISR ... LR_ISR + 0x70:
		*val = (uint32_t)(l->isr[i / 2] >> (i & 1) * 32);
		return true;
	case LR_TMR ... LR_TMR + 0x70:
		*val = word_of(l->tmr, off);
		return true;
	case LR_IRR ... LR_IRR + 0x70:
		*val = word_of(l->irr, off);
		return true;
	case LR_ESR:
		*val = l->esr;
		return true;
	case LR_ICR:
		*val = l->icr_low;
		return true;
	case LR_ICR_HIGH:
		*val = l->icr_high;
		return true;
	case LR_LVT ... LR_LVT + 0x50:
		*val = get(&l->lvt[(off - LR_LVT) >> 4]);
		return true;
	case LR_TIMER_INITIAL:
	case LR_TIMER_CURRENT:
	case LR_TIMER_DIVIDE:
		*val = timer_reg_read(l, off);
		return true;
	default:
		*val = 0;
		return false;
	}
}

static void svr_write(struct lapic *l, uint32_t val)
{
	atomic_store(&l->svr, val & 0x3ff);
	if (!(val & SVR_ENABLED)) /* SDM 3A 11.4.7.2 */
		for (unsigned i = 0; i < LVT_COUNT; i++)
			atomic_fetch_or(&l->lvt[i], LVT_MASKED);
}

static void lvt_write(struct lapic *l, unsigned i, uint32_t val)
{
	val &= lvt_writable[i];
	if (!(get(&l->svr) & SVR_ENABLED))
		val |= LVT_MASKED;
	if (i == LVT_TIMER)
		lvt_timer_write(l, val);
	else
		atomic_store(&l->lvt[i], val);
	if (i == LVT_LINT0 && !(val & LVT_MASKED))
		vcpu_kick(l->v, REQ_EVENT); /* the 8259 may have waited behind the mask */
}

static bool reg_write(struct lapic *l, uint32_t off, uint32_t val)
{
	switch (off) {
	case LR_TPR:
		set_tpr(l, val);
		return true;
	case LR_EOI:
		end_of_interrupt(l);
		return true;
	case LR_SVR:
		svr_write(l, val);
		return true;
	case LR_ESR:
		l->esr = atomic_exchange(&l->esr_new, 0);
		return true;
	case LR_LVT ... LR_LVT + 0x50:
		if (off & 0xf)
			return false;
		lvt_write(l, (off - LR_LVT) >> 4, val);
		return true;
	case LR_TIMER_INITIAL:
	case LR_TIMER_DIVIDE:
		timer_reg_write(l, off, val);
		return true;
	default:
		return false;
	}
}

/* ---- xAPIC ---- */

uint64_t lapic_mmio_read(void *lapic, uint64_t off, unsigned size)
{
	struct lapic *l = lapic;
	uint32_t val;

	if ((off & 0xf) + size > 4) /* only the first four bytes of each sixteen are a register */
		return size >= 8 ? ~0ull : (1ull << size * 8) - 1;
	if (!reg_read(l, off & 0xff0, &val))
		set_error(l, ESR_ILLEGAL_REGISTER);
	val >>= (off & 3) * 8;
	return size >= 4 ? val : val & ((1u << size * 8) - 1);
}

void lapic_mmio_write(void *lapic, uint64_t off, unsigned size, uint64_t val)
{
	struct lapic *l = lapic;
	uint32_t v32 = (uint32_t)val;

	if (size != 4 || (off & 0xf))
		return;
	switch (off) {
	case LR_ID:
		atomic_store(&l->id, v32 & 0xff000000u);
		break;
	case LR_LDR:
		atomic_store(&l->ldr, v32 & 0xff000000u);
		break;
	case LR_DFR:
		atomic_store(&l->dfr, v32 | 0x0fffffffu);
		break;
	case LR_ICR:
		l->icr_low = v32 & ICR_WRITABLE;
		icr_send(l, l->icr_low, l->icr_high >> 24);
		break;
	case LR_ICR_HIGH:
		l->icr_high = v32 & 0xff000000u;
		break;
	default:
		if (!reg_write(l, (uint32_t)off, v32))
			set_error(l, ESR_ILLEGAL_REGISTER);
	}
}

/* ---- x2APIC (SDM 3A 11.12.1.2, table 11-6) ---- */

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val)
{
	uint32_t off = (msr - MSR_X2APIC_BASE) << 4, v32;

	if (!x2apic(l) || msr - MSR_X2APIC_BASE > 0xff)
		return false;
	switch (off) {
	case LR_APR:
	case LR_EOI:
	case LR_DFR:
	case LR_ICR_HIGH:
	case LR_SELF_IPI:
		return false;
	case LR_ICR:
		*val = (uint64_t)l->icr_high << 32 | l->icr_low;
		return true;
	default:
		if (!reg_read(l, off, &v32))
			return false;
		*val = v32;
		return true;
	}
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val)
{
	uint32_t off = (msr - MSR_X2APIC_BASE) << 4;

	if (!x2apic(l) || msr - MSR_X2APIC_BASE > 0xff)
		return false;
	vcpu_vec_sync(l->v);
	if (off == LR_ICR) {
		if (val & ~(uint64_t)ICR_WRITABLE & 0xffffffffu)
			return false;
		l->icr_low = (uint32_t)val;
		l->icr_high = (uint32_t)(val >> 32);
		icr_send(l, l->icr_low, l->icr_high);
		return true;
	}
	if (val >> 32)
		return false;
	switch (off) {
	case LR_EOI:
	case LR_ESR:
		if (val)
			return false;
		break;
	case LR_TPR:
	case LR_SELF_IPI:
		if (val > 0xff)
			return false;
		break;
	case LR_SVR:
		if (val & ~0x1ffull)
			return false;
		break;
	case LR_LVT ... LR_LVT + 0x50:
		/* the delivery status bit is read-only, the others outside the entry's fields are reserved */
		if (val & ~(uint64_t)(lvt_writable[(off - LR_LVT) >> 4] | 1u << 12 | 1u << 14))
			return false;
		break;
	}
	if (off == LR_SELF_IPI) {
		icr_send(l, (uint32_t)val | 1u << 18, 0);
		return true;
	}
	return reg_write(l, off, (uint32_t)val);
}
