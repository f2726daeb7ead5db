// SPDX-License-Identifier: GPL-2.0-or-later
/* Flag bits, hints, fences, cache-line instructions, random numbers. */
#include "translator/int_op.h"

enum xr int_clc(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.rflags &= ~(uint64_t)FL_CF;
	return XR_NEXT;
}

enum xr int_stc(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.rflags |= FL_CF;
	return XR_NEXT;
}

enum xr int_cmc(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.rflags ^= FL_CF;
	return XR_NEXT;
}

enum xr int_cld(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.rflags &= ~(uint64_t)FL_DF;
	return XR_NEXT;
}

enum xr int_std(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.rflags |= FL_DF;
	return XR_NEXT;
}

/* NOP in all its forms, PREFETCHh: a memory operand is not looked at. */
enum xr int_nop(struct vcpu *v, const struct insn *i)
{
	(void)v;
	(void)i;
	return XR_NEXT;
}

enum xr int_pause(struct vcpu *v, const struct insn *i)
{
	(void)i;
	vcpu_pause(v);
	return XR_NEXT;
}

enum xr int_fence(struct vcpu *v, const struct insn *i)
{
	(void)v;
	(void)i;
	atomic_thread_fence(memory_order_seq_cst);
	return XR_NEXT;
}

/* CLFLUSH, CLFLUSHOPT, CLWB fault as a byte load does (SDM 2A CLFLUSH); guest memory needs no flushing. */
enum xr int_clflush(struct vcpu *v, const struct insn *i)
{
	uint64_t lin, off = op_ea(v, i);
	unsigned acc = ACC_READ | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	struct mmu_page page;

	if (!seg_linear(v, i->seg, off, 1, acc, &lin) || !mmu_translate(v, lin, acc, &page))
		return XR_FAULT;
	return XR_NEXT;
}

#define RANDOM(fn, name, feature)                                                             \
	enum xr fn(struct vcpu *v, const struct insn *i)                                      \
	{                                                                                     \
		uint64_t val = 0;                                                             \
		bool ok;                                                                      \
                                                                                              \
		if (!cpuid_has(v->vm, feature))                                               \
			return fault_set(v, VEC_UD);                                          \
		switch (i->op[0].bytes) {                                                     \
		case 2:                                                                       \
			asm volatile(name " %w0\n\tsetc %1" : "=r"(val), "=qm"(ok) : : "cc"); \
			break;                                                                \
		case 4:                                                                       \
			asm volatile(name " %k0\n\tsetc %1" : "=r"(val), "=qm"(ok) : : "cc"); \
			break;                                                                \
		default:                                                                      \
			asm volatile(name " %q0\n\tsetc %1" : "=r"(val), "=qm"(ok) : : "cc"); \
			break;                                                                \
		}                                                                             \
		opreg_write(v, &i->op[0], val);                                               \
		flags_put(v, ok ? FL_CF : 0, FL_ARITH);                                       \
		return XR_NEXT;                                                               \
	}
RANDOM(int_rdrand, "rdrand", CF_RDRAND)
RANDOM(int_rdseed, "rdseed", CF_RDSEED)
