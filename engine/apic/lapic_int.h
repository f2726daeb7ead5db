/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the three files of the local APIC share: lapic.c (vectors, messages, life), lapic_timer.c, lapic_regs.c. Nobody
 * else includes this. Owners and threads: the comment in lapic.c.
 */
#ifndef STEELYARD_LAPIC_INT_H
#define STEELYARD_LAPIC_INT_H

#include "engine/apic/lapic.h"
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

/* no EOI-broadcast suppression; KVM's APIC says the same */
#define LAPIC_VERSION (0x14u | (LVT_COUNT - 1) << 16)
#define LVT_MASKED (1u << 16)

#define LAPIC_STARTUP_INIT (1u << 0)
#define LAPIC_STARTUP_SIPI (1u << 1)
#define BASE_EXTD (1ull << 10)
#define BASE_EN (1ull << 11)
#define SVR_ENABLED (1u << 8)

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

static inline uint32_t lapic_get(const _Atomic uint32_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static inline bool lapic_hw_enabled(const struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_EN;
}

static inline bool lapic_x2apic(const struct lapic *l)
{
	return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_EXTD;
}

/* lapic.c; owner thread */
uint32_t lapic_ppr(const struct lapic *l);
/* Something on the owner's side changed that may have uncovered a vector. */
void lapic_look_again(struct lapic *l);
void lapic_set_tpr(struct lapic *l, uint32_t val);
void lapic_end_of_interrupt(struct lapic *l);
uint32_t lapic_x2apic_ldr(const struct lapic *l);
/* Sends what the interrupt command register says; dest is right-aligned. */
void lapic_icr_send(struct lapic *l, uint32_t icr, uint32_t dest);
/* Any thread. */
void lapic_set_error(struct lapic *l, uint32_t bit);

/* lapic_timer.c. The I/O thread, device lock held: */
void lapic_timer_fire(void *lapic);
/* The owner thread, device lock not held: */
void lapic_timer_lvt_write(struct lapic *l, uint32_t val);
void lapic_timer_write(struct lapic *l, uint32_t off, uint32_t val);
uint32_t lapic_timer_read(struct lapic *l, uint32_t off);
/* The device lock held: the timer as registers say it, counting from `current`; the current count; the deadline. */
void lapic_timer_load(struct lapic *l, uint32_t initial, uint32_t current, uint32_t divide);
uint32_t lapic_timer_left(const struct lapic *l);
void lapic_deadline_load(struct lapic *l, uint64_t guest_tsc);

#endif
