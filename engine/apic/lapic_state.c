/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's registers as one page, in and out: for a kernel that does its work for a while, and for whoever saves a
 * machine. World stopped, device lock held: nobody else looks at the APIC meanwhile.
 */
#include <string.h>

#include "engine/apic/lapic_int.h"

static uint32_t get32(const uint8_t *page, unsigned off)
{
	uint32_t v;

	memcpy(&v, page + off, 4);
	return v;
}

static void put32(uint8_t *page, unsigned off, uint32_t v)
{
	memcpy(page + off, &v, 4);
}

/* The registers that are fields, but for those that other rules govern below. */
static const struct reg_row {
	uint16_t off, at;
} atomic_regs[] = {
	{LR_TPR, offsetof(struct lapic, tpr)}, {LR_LDR, offsetof(struct lapic, ldr)},
	{LR_DFR, offsetof(struct lapic, dfr)}, {LR_SVR, offsetof(struct lapic, svr)},
};

static _Atomic uint32_t *reg_at(struct lapic *l, const struct reg_row *r)
{
	return (_Atomic uint32_t *)((char *)l + r->at);
}

void lapic_save(struct lapic *l, uint8_t page[LAPIC_PAGE_BYTES])
{
	memset(page, 0, LAPIC_PAGE_BYTES);
	put32(page, LR_ID, lapic_x2apic(l) ? l->v->id : lapic_get(&l->id));
	put32(page, LR_VERSION, LAPIC_VERSION);
	for (unsigned i = 0; i < ARRAY_LEN(atomic_regs); i++)
		put32(page, atomic_regs[i].off, lapic_get(reg_at(l, &atomic_regs[i])));
	if (lapic_x2apic(l))
		put32(page, LR_LDR, lapic_x2apic_ldr(l));
	for (unsigned i = 0; i < 8; i++) {
		unsigned shift = (i & 1) * 32;

		put32(page, LR_ISR + 16 * i, (uint32_t)(l->isr[i / 2] >> shift));
		put32(page, LR_TMR + 16 * i, (uint32_t)(atomic_load(&l->tmr[i / 2]) >> shift));
		put32(page, LR_IRR + 16 * i, (uint32_t)(atomic_load(&l->irr[i / 2]) >> shift));
	}
	put32(page, LR_ESR, l->esr);
	put32(page, LR_ICR, l->icr_low);
	put32(page, LR_ICR_HIGH, l->icr_high);
	for (unsigned i = 0; i < LVT_COUNT; i++)
		put32(page, LR_LVT + 16 * i, lapic_get(&l->lvt[i]));
	put32(page, LR_TIMER_INITIAL, l->timer_initial);
	put32(page, LR_TIMER_CURRENT, lapic_timer_left(l));
	put32(page, LR_TIMER_DIVIDE, l->timer_divide);
}

void lapic_load(struct lapic *l, uint64_t base, const uint8_t page[LAPIC_PAGE_BYTES], uint64_t tsc_deadline)
{
	atomic_store(&l->base, base);
	if (!lapic_x2apic(l))
		atomic_store(&l->id, get32(page, LR_ID) & 0xff000000u);
	for (unsigned i = 0; i < ARRAY_LEN(atomic_regs); i++)
		atomic_store(reg_at(l, &atomic_regs[i]), get32(page, atomic_regs[i].off));
	for (unsigned i = 0; i < 4; i++) {
		unsigned off = 32 * i;

		l->isr[i] = get32(page, LR_ISR + off) | (uint64_t)get32(page, LR_ISR + off + 16) << 32;
		atomic_store(&l->tmr[i], get32(page, LR_TMR + off) | (uint64_t)get32(page, LR_TMR + off + 16) << 32);
		atomic_store(&l->irr[i], get32(page, LR_IRR + off) | (uint64_t)get32(page, LR_IRR + off + 16) << 32);
	}
	atomic_store(&l->esr_new, 0);
	l->esr = get32(page, LR_ESR);
	l->icr_low = get32(page, LR_ICR);
	l->icr_high = get32(page, LR_ICR_HIGH);
	for (unsigned i = 0; i < LVT_COUNT; i++)
		atomic_store(&l->lvt[i], get32(page, LR_LVT + 16 * i));
	lapic_timer_load(l, get32(page, LR_TIMER_INITIAL), get32(page, LR_TIMER_CURRENT), get32(page, LR_TIMER_DIVIDE));
	lapic_deadline_load(l, tsc_deadline);
	vcpu_kick(l->v, REQ_EVENT);
}

void lapic_lend(struct lapic *l)
{
	lapic_timer_load(l, 0, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		atomic_store(&l->irr[i], 0);
}

void lapic_note_base(struct lapic *l, uint64_t val)
{
	atomic_store(&l->base, val);
}

bool lapic_init_pending(const struct lapic *l)
{
	return atomic_load(&l->startup) & LAPIC_STARTUP_INIT;
}

bool lapic_sipi_awaited(const struct lapic *l, bool waits)
{
	uint32_t startup = atomic_load(&l->startup);

	return (waits || (startup & LAPIC_STARTUP_INIT)) && !(startup & LAPIC_STARTUP_SIPI);
}
