// SPDX-License-Identifier: GPL-2.0-or-later
/* Near branches, software interrupts, BOUND, the invalid opcodes. Far transfers are in far.c. */
#include "translator/int_op.h"

static ALWAYS_INLINE uint64_t next_rip(const struct vcpu *v, const struct insn *i)
{
	uint64_t rip = v->regs.rip + i->len;

	return i->code_bits == 64 ? rip : (uint32_t)rip;
}

static ALWAYS_INLINE enum xr branch(struct vcpu *v, const struct insn *i)
{
	return rip_set(v, v->regs.rip + i->len + i->imm[0], i->stacksize) ? XR_JUMP : XR_FAULT;
}

/* Target of a near JMP or CALL. */
static ALWAYS_INLINE bool target(struct vcpu *v, const struct insn *i, uint64_t *to)
{
	if (i->op[0].kind == OPK_REL) {
		*to = v->regs.rip + i->len + i->imm[0];
		return true;
	}
	return op_read(v, i, 0, to);
}

enum xr int_jmp(struct vcpu *v, const struct insn *i)
{
	uint64_t to;

	if (!target(v, i, &to))
		return XR_FAULT;
	return rip_set(v, to, i->opsize) ? XR_JUMP : XR_FAULT;
}

enum xr int_jcc(struct vcpu *v, const struct insn *i)
{
	return cond_true(v->regs.rflags, i->opcode & 15) ? branch(v, i) : XR_NEXT;
}

enum xr int_jcxz(struct vcpu *v, const struct insn *i)
{
	return gpr_read(v, R_CX, i->addrsize) == 0 ? branch(v, i) : XR_NEXT;
}

/* E0 LOOPNE, E1 LOOPE, E2 LOOP. CX is put back when the target faults. */
enum xr int_loop(struct vcpu *v, const struct insn *i)
{
	uint64_t old = v->regs.gpr[R_CX], cx = trunc_to(old - 1, i->addrsize);
	bool zf = v->regs.rflags & FL_ZF;
	enum xr x;

	gpr_write(v, R_CX, i->addrsize, cx);
	if (!cx || (i->opcode == 0xe0 && zf) || (i->opcode == 0xe1 && !zf))
		return XR_NEXT;
	x = branch(v, i);
	if (x == XR_FAULT)
		v->regs.gpr[R_CX] = old;
	return x;
}

/* The target is checked before the return address is stored. */
enum xr int_call(struct vcpu *v, const struct insn *i)
{
	uint64_t to, sp = stack_sp(v), old = v->regs.rip, next = next_rip(v, i);

	if (!target(v, i, &to) || !rip_set(v, to, i->opsize))
		return XR_FAULT;
	if (!stack_push(v, &sp, next, i->stacksize)) {
		v->regs.rip = old;
		return XR_FAULT;
	}
	stack_commit(v, sp);
	return XR_JUMP;
}

enum xr int_ret(struct vcpu *v, const struct insn *i)
{
	uint64_t to, sp = stack_sp(v);

	if (!stack_pop(v, &sp, &to, i->stacksize) || !rip_set(v, to, i->stacksize))
		return XR_FAULT;
	stack_commit(v, sp);
	if (i->nops)
		stack_commit(v, stack_sp(v) + (uint16_t)i->imm[0]);
	return XR_JUMP;
}

/* ---- interrupts by instruction ---- */

enum xr int_int(struct vcpu *v, const struct insn *i)
{
	return event_soft(v, (uint8_t)i->imm[0], next_rip(v, i));
}

enum xr int_int3(struct vcpu *v, const struct insn *i)
{
	return event_soft(v, VEC_BP, next_rip(v, i));
}

enum xr int_into(struct vcpu *v, const struct insn *i)
{
	return v->regs.rflags & FL_OF ? event_soft(v, VEC_OF, next_rip(v, i)) : XR_NEXT;
}

/* ICEBP: a #DB trap without DR6 bits and without a DPL check (SDM 3A 6.12.1.2 applies to INT n, INT3 and INTO only). */
enum xr int_int1(struct vcpu *v, const struct insn *i)
{
	struct x86_fault f = {.vector = VEC_DB, .trap = true};

	v->regs.rip = next_rip(v, i);
	return event_exception(v, &f);
}

/* Two signed bounds of the operand size, inclusive. */
enum xr int_bound(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	int64_t x = (int64_t)sext_from(opreg_read(v, &i->op[0]), n);
	uint64_t off = op_ea(v, i), lo = 0, hi = 0;

	if (!mem_load(v, i->seg, off, &lo, n) || !mem_load(v, i->seg, trunc_to(off + n, i->addrsize), &hi, n))
		return XR_FAULT;
	if (x < (int64_t)sext_from(lo, n) || x > (int64_t)sext_from(hi, n))
		return fault_set(v, VEC_BR);
	return XR_NEXT;
}

enum xr int_ud(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return fault_set(v, VEC_UD);
}
