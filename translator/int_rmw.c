// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Read-modify-write: the uncommon cases of int_op.h.
 *
 * A locked instruction is one host compare-exchange wherever its operand lies in one page of RAM, split cache lines
 * included. What remains (two pages, MMIO) is done under the machine's split lock.
 *
 * Deviation: those are atomic among each other, and not towards other accesses, locked or not, to one of the two pages.
 * No operating system relies on more.
 */
#include "translator/int_op.h"

static void split_lock(struct vcpu *v)
{
	while (atomic_exchange_explicit(&v->vm->split_lock, 1, memory_order_acquire))
		asm volatile("pause");
}

static void split_unlock(struct vcpu *v)
{
	atomic_store_explicit(&v->vm->split_lock, 0, memory_order_release);
}

bool rmw_begin_slow(struct vcpu *v, const struct insn *i, struct rmw *r)
{
	unsigned acc = ACC_WRITE | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	uint64_t lin;

	(void)i;
	if (!seg_linear(v, r->seg, r->off, r->bytes, acc, &lin))
		return false;
	if (!mmu_rmw_ptr(v, lin, r->bytes, acc, &r->host))
		return false;
	if (r->host && !((v->regs.rflags & FL_AC) && (v->regs.cr0 & CR0_AM))) {
		r->old = host_load(r->host, r->bytes);
		return true;
	}
	/* mem_load and mem_store do the rest, #AC included */
	r->host = NULL;
	r->old = 0;
	if (r->lock)
		split_lock(v);
	if (mem_load(v, r->seg, r->off, &r->old, r->bytes))
		return true;
	if (r->lock)
		split_unlock(v);
	return false;
}

void rmw_end_slow(struct vcpu *v, const struct insn *i, struct rmw *r, uint64_t val)
{
	(void)i;
	r->failed = !mem_store(v, r->seg, r->off, &val, r->bytes);
	if (r->lock)
		split_unlock(v);
}

/* false: memory had changed; r->old is what is there now. */
bool rmw_exchange(struct rmw *r, uint64_t val)
{
	switch (r->bytes) {
	case 1: {
		uint8_t old = (uint8_t)r->old;
		bool ok = __atomic_compare_exchange_n((uint8_t *)r->host, &old, (uint8_t)val, false, __ATOMIC_SEQ_CST,
						      __ATOMIC_SEQ_CST);
		r->old = old;
		return ok;
	}
	case 2: {
		uint16_t old = (uint16_t)r->old;
		bool ok = __atomic_compare_exchange_n((uint16_t *)r->host, &old, (uint16_t)val, false, __ATOMIC_SEQ_CST,
						      __ATOMIC_SEQ_CST);
		r->old = old;
		return ok;
	}
	case 4: {
		uint32_t old = (uint32_t)r->old;
		bool ok = __atomic_compare_exchange_n((uint32_t *)r->host, &old, (uint32_t)val, false, __ATOMIC_SEQ_CST,
						      __ATOMIC_SEQ_CST);
		r->old = old;
		return ok;
	}
	default:
		return __atomic_compare_exchange_n((uint64_t *)r->host, &r->old, val, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
	}
}
