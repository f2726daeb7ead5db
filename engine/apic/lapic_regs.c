/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC's registers: one set, seen through MMIO in xAPIC mode and through MSRs in x2APIC mode. Owner thread.
 */
#include "engine/apic/lapic_int.h"

#define ESR_ILLEGAL_REGISTER (1u << 7)
#define ICR_WRITABLE 0x000ccfffu

/* bits that software may set in each LVT entry */
static const uint32_t lvt_writable[LVT_COUNT] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

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
		*val = lapic_x2apic(l) ? l->v->id : lapic_get(&l->id);
		return true;
	case LR_VERSION:
		*val = LAPIC_VERSION;
		return true;
	case LR_TPR:
		*val = lapic_get(&l->tpr);
		return true;
	case LR_APR:
	case LR_EOI:
		*val = 0;
		return true;
	case LR_PPR:
		*val = lapic_ppr(l);
		return true;
	case LR_LDR:
		*val = lapic_x2apic(l) ? lapic_x2apic_ldr(l) : lapic_get(&l->ldr);
		return true;
	case LR_DFR:
		*val = lapic_get(&l->dfr);
		return true;
	case LR_SVR:
		*val = lapic_get(&l->svr);
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
		*val = lapic_get(&l->lvt[(off - LR_LVT) >> 4]);
		return true;
	case LR_TIMER_INITIAL:
	case LR_TIMER_CURRENT:
	case LR_TIMER_DIVIDE:
		*val = lapic_timer_read(l, off);
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
	if (!(lapic_get(&l->svr) & SVR_ENABLED))
		val |= LVT_MASKED;
	if (i == LVT_TIMER)
		lapic_timer_lvt_write(l, val);
	else
		atomic_store(&l->lvt[i], val);
	if (i == LVT_LINT0 && !(val & LVT_MASKED))
		vcpu_kick(l->v, REQ_EVENT); /* the 8259 may have waited behind the mask */
}

static bool reg_write(struct lapic *l, uint32_t off, uint32_t val)
{
	switch (off) {
	case LR_TPR:
		lapic_set_tpr(l, val);
		return true;
	case LR_EOI:
		lapic_end_of_interrupt(l);
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
		lapic_timer_write(l, off, val);
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
		lapic_set_error(l, ESR_ILLEGAL_REGISTER);
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
		lapic_icr_send(l, l->icr_low, l->icr_high >> 24);
		break;
	case LR_ICR_HIGH:
		l->icr_high = v32 & 0xff000000u;
		break;
	default:
		if (!reg_write(l, (uint32_t)off, v32))
			lapic_set_error(l, ESR_ILLEGAL_REGISTER);
	}
}

/* ---- x2APIC (SDM 3A 11.12.1.2, table 11-6) ---- */

bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val)
{
	uint32_t off = (msr - MSR_X2APIC_BASE) << 4, v32;

	if (!lapic_x2apic(l) || msr - MSR_X2APIC_BASE > 0xff)
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

	if (!lapic_x2apic(l) || msr - MSR_X2APIC_BASE > 0xff)
		return false;
	vcpu_vec_sync(l->v);
	if (off == LR_ICR) {
		if (val & ~(uint64_t)ICR_WRITABLE & 0xffffffffu)
			return false;
		l->icr_low = (uint32_t)val;
		l->icr_high = (uint32_t)(val >> 32);
		lapic_icr_send(l, l->icr_low, l->icr_high);
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
		lapic_icr_send(l, (uint32_t)val | 1u << 18, 0);
		return true;
	}
	return reg_write(l, off, (uint32_t)val);
}
