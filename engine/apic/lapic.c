/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC (SDM 3A chapter 11 of 2023 editions, 10 before).
 *
 * Registers are the owner thread's, with two exceptions. What a sender must know to find its destination (base, ID,
 * LDR, DFR, SVR, TPR) is atomic and read by any thread. What a sender changes (IRR, TMR, start-up latch, error bits) is
 * set atomically and followed by a kick of the owner, who alone moves vectors from IRR to ISR.
 *
 * The timer counts at 1 GHz, so a count at divide-by-1 is a nanosecond of guest time; its state is under the device
 * lock because it fires on the I/O thread.
 *
 * Deviations: at RESET the bootstrap processor's LINT0 is ExtINT and LINT1 NMI, both unmasked, which the manual leaves
 * to the firmware: guests that we start without firmware expect the 8259 to reach the processor. A level-triggered
 * message is latched like an edge one and told apart at the end of interrupt only. Arbitration priority is not
 * modelled: lowest priority goes to the lowest TPR, then the lowest ID. SMI is ignored. A periodic timer is never
 * faster than 20 us.
 */
#include "engine/apic/lapic_int.h"

#include <stdlib.h>

#include "engine/cpuid.h"
#include "engine/apic/ioapic.h"

#define ESR_SEND_ILLEGAL (1u << 5)
#define ESR_RECEIVE_ILLEGAL (1u << 6)
#define ICR_LOGICAL (1u << 11)
#define ICR_ASSERT (1u << 14)
#define ICR_LEVEL (1u << 15)
#define STARTUP_VECTOR_SHIFT 8
#define BASE_BSP (1ull << 8)
#define BASE_RESET 0xfee00000ull
#define LVT_DELIVERY 0x700u

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

uint32_t lapic_ppr(const struct lapic *l)
{
	int isrv = highest(l->isr);
	uint32_t tpr = lapic_get(&l->tpr), in_service = isrv < 0 ? 0 : (uint32_t)isrv & 0xf0;

	return (tpr & 0xf0) >= in_service ? tpr : in_service;
}

int lapic_pending(struct lapic *l)
{
	int vec = highest_irr(l);

	if (vec < 0 || !lapic_hw_enabled(l) || ((uint32_t)vec & 0xf0) <= (lapic_ppr(l) & 0xf0))
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
void lapic_look_again(struct lapic *l)
{
	if (lapic_pending(l) >= 0)
		vcpu_kick(l->v, REQ_EVENT);
}

void lapic_set_error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt = lapic_get(&l->lvt[LVT_ERROR]);

	atomic_fetch_or(&l->esr_new, bit);
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_deliver(l, (uint8_t)lvt, false);
}

void lapic_deliver(struct lapic *l, uint8_t vector, bool level)
{
	uint64_t bit = 1ull << vector % 64;

	if (!lapic_hw_enabled(l) || !(lapic_get(&l->svr) & SVR_ENABLED))
		return;
	if (vector < 16) {
		lapic_set_error(l, ESR_RECEIVE_ILLEGAL);
		return;
	}
	if (level)
		atomic_fetch_or(&l->tmr[vector / 64], bit);
	else
		atomic_fetch_and(&l->tmr[vector / 64], ~bit);
	atomic_fetch_or(&l->irr[vector / 64], bit);
	vcpu_kick(l->v, REQ_EVENT);
}

void lapic_end_of_interrupt(struct lapic *l)
{
	int vec = highest(l->isr);

	if (vec < 0)
		return;
	l->isr[vec / 64] &= ~(1ull << vec % 64);
	if ((atomic_load(&l->tmr[vec / 64]) >> vec % 64 & 1) && l->vm->ioapic) {
		pthread_mutex_lock(&l->vm->dev_lock);
		ioapic_eoi(l->vm->ioapic, (uint8_t)vec);
		pthread_mutex_unlock(&l->vm->dev_lock);
	} else if (l->vm->ioapic && ioapic_watches(l->vm->ioapic, (uint8_t)vec)) {
		pthread_mutex_lock(&l->vm->dev_lock);
		ioapic_ended(l->vm->ioapic);
		pthread_mutex_unlock(&l->vm->dev_lock);
	}
	lapic_look_again(l);
}

/* ---- messages ---- */

uint32_t lapic_x2apic_ldr(const struct lapic *l)
{
	return (l->v->id >> 4) << 16 | 1u << (l->v->id & 15);
}

static bool logical_match(const struct lapic *l, uint32_t dest, bool wide)
{
	uint32_t ldr;

	if (lapic_x2apic(l)) {
		ldr = lapic_x2apic_ldr(l);
		if (dest == (wide ? 0xffffffffu : 0xffu))
			return true;
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	if (dest > 0xff)
		return wide && dest == 0xffffffffu;
	ldr = lapic_get(&l->ldr) >> 24;
	if (lapic_get(&l->dfr) >> 28 == 0xf) /* flat model */
		return dest & ldr;
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (dest & ldr & 0xf);
}

/* wide: the sender is in x2APIC mode and dest has 32 bits (SDM 3A 11.6.2, 11.12.9). */
static bool dest_match(const struct lapic *l, bool logical, uint32_t dest, bool wide)
{
	if (!lapic_hw_enabled(l))
		return false;
	if (logical)
		return logical_match(l, dest, wide);
	if (dest == (wide ? 0xffffffffu : 0xffu))
		return true;
	return dest == (lapic_x2apic(l) ? l->v->id : lapic_get(&l->id) >> 24);
}

/* The last of several SIPIs that nobody took yet wins; an INIT before it stays pending. */
void lapic_latch_sipi(struct lapic *l, uint8_t vector)
{
	uint32_t old = atomic_load(&l->startup), val;

	do
		val = (old & LAPIC_STARTUP_INIT) | LAPIC_STARTUP_SIPI | (uint32_t)vector << STARTUP_VECTOR_SHIFT;
	while (!atomic_compare_exchange_weak(&l->startup, &old, val));
	vcpu_kick(l->v, REQ_EXIT | REQ_EVENT);
}

void lapic_latch_init(struct lapic *l)
{
	atomic_store(&l->startup, LAPIC_STARTUP_INIT);
	vcpu_kick(l->v, REQ_EXIT | REQ_EVENT);
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
		lapic_latch_init(l);
		break;
	case DELIVER_SIPI:
		lapic_latch_sipi(l, vector);
		break;
	case DELIVER_EXTINT:
		vcpu_kick(l->v, REQ_EVENT);
		break;
	case DELIVER_SMI:
	case DELIVER_RSVD:
		break;
	}
}

static void send_except(struct vm *vm, const struct lapic *except, uint8_t vector, enum apic_delivery mode,
			bool logical, uint32_t dest, bool level, bool wide)
{
	struct lapic *lowest = NULL;

	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct lapic *l = vm->vcpu[i] ? vm->vcpu[i]->lapic : NULL;

		if (!l || l == except || !dest_match(l, logical, dest, wide))
			continue;
		if (mode != DELIVER_LOWEST)
			accept(l, vector, mode, level);
		else if ((lapic_get(&l->svr) & SVR_ENABLED) &&
			 (!lowest || lapic_get(&l->tpr) < lapic_get(&lowest->tpr)))
			lowest = l;
	}
	if (lowest)
		accept(lowest, vector, DELIVER_FIXED, level);
}

void lapic_send(struct vm *vm, uint8_t vector, enum apic_delivery mode, bool logical, uint32_t dest, bool level,
		bool x2apic_dest)
{
	const struct msi_lent *lent;

	pthread_rwlock_rdlock(&vm->msi_gate);
	lent = vm->msi_lent;
	if (lent)
		lent->send(lent->ctx, vector, mode, logical, dest, level);
	else
		send_except(vm, NULL, vector, mode, logical, dest, level, x2apic_dest);
	pthread_rwlock_unlock(&vm->msi_gate);
}

void lapic_icr_send(struct lapic *l, uint32_t icr, uint32_t dest)
{
	static const uint32_t everybody = 0xffffffffu;
	enum apic_delivery mode = (enum apic_delivery)(icr >> 8 & 7);
	uint8_t vector = (uint8_t)icr;
	bool level = icr & ICR_LEVEL;

	if ((mode == DELIVER_FIXED || mode == DELIVER_LOWEST) && vector < 16) {
		lapic_set_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	if (mode == DELIVER_INIT && level && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert only set arbitration IDs, long ago */
	switch (icr >> 18 & 3) {
	case 0:
		send_except(l->vm, NULL, vector, mode, icr & ICR_LOGICAL, dest, level, lapic_x2apic(l));
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

	return (struct lapic_startup){
		.init = s & LAPIC_STARTUP_INIT, .sipi = s & LAPIC_STARTUP_SIPI, .vector = (uint8_t)(s >> STARTUP_VECTOR_SHIFT)};
}

bool lapic_accepts_extint(const struct lapic *l)
{
	uint32_t lvt = lapic_get(&l->lvt[LVT_LINT0]);

	return !lapic_hw_enabled(l) || (lvt & (LVT_MASKED | LVT_DELIVERY)) == (uint32_t)DELIVER_EXTINT << 8;
}

bool lapic_accepts_nmi(const struct lapic *l)
{
	uint32_t lvt = lapic_get(&l->lvt[LVT_LINT1]);

	return !lapic_hw_enabled(l) || (lvt & (LVT_MASKED | LVT_DELIVERY)) == (uint32_t)DELIVER_NMI << 8;
}

/* ---- life ---- */

struct lapic *lapic_new(struct vcpu *v)
{
	struct lapic *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->v = v;
	l->vm = v->vm;
	timer_init(&l->timer, &v->vm->clock, lapic_timer_fire, l);
	lapic_reset(l);
	return l;
}

void lapic_free(struct lapic *l)
{
	if (l)
		timer_cancel(&l->timer);
	free(l);
}

void lapic_quiet(struct lapic *l)
{
	bool bsp = l->v->id == 0;

	timer_cancel(&l->timer);
	l->timer_initial = l->timer_divide = 0;
	atomic_store(&l->tsc_deadline, 0);
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

void lapic_reset_init(struct lapic *l)
{
	pthread_mutex_lock(&l->vm->dev_lock);
	lapic_quiet(l);
	pthread_mutex_unlock(&l->vm->dev_lock);
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
		vcpu_kick(l->v,
			  REQ_EVENT | REQ_FLUSH); /* the window at the old and the new address changed its meaning */
	return true;
}

uint8_t lapic_cr8(const struct lapic *l)
{
	return (uint8_t)(lapic_get(&l->tpr) >> 4 & 0xf);
}

void lapic_set_tpr(struct lapic *l, uint32_t val)
{
	uint32_t old = lapic_get(&l->tpr);

	atomic_store(&l->tpr, val & 0xff);
	if ((val & 0xff) < old)
		lapic_look_again(l);
}

void lapic_set_cr8(struct lapic *l, uint8_t v)
{
	lapic_set_tpr(l, (uint32_t)(v & 0xf) << 4);
}
