// SPDX-License-Identifier: GPL-2.0-or-later
/* The stack: PUSH, POP, their "all" and flags forms, ENTER, LEAVE. SP moves only when everything else has succeeded. */
#include "translator/int_op.h"

static ALWAYS_INLINE enum xr push_value(struct vcpu *v, const struct insn *i, uint64_t val)
{
	uint64_t sp = stack_sp(v);

	if (!stack_push(v, &sp, val, i->stacksize))
		return XR_FAULT;
	stack_commit(v, sp);
	return XR_NEXT;
}

/* PUSH SP stores the old value (286 and later). */
enum xr int_push(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 0, &val))
		return XR_FAULT;
	return push_value(v, i, val);
}

/* POP mem computes its address with the new SP (SDM 2B POP); POP SP leaves the popped value. */
enum xr int_pop(struct vcpu *v, const struct insn *i)
{
	uint64_t old = v->regs.gpr[R_SP], sp = stack_sp(v), val;

	if (!stack_pop(v, &sp, &val, i->stacksize))
		return XR_FAULT;
	stack_commit(v, sp);
	if (op_write(v, i, 0, val))
		return XR_NEXT;
	v->regs.gpr[R_SP] = old;
	return XR_FAULT;
}

enum xr int_push_sreg(struct vcpu *v, const struct insn *i)
{
	return push_value(v, i, v->regs.seg[i->op[0].reg].sel);
}

enum xr int_pop_sreg(struct vcpu *v, const struct insn *i)
{
	uint64_t old = v->regs.gpr[R_SP], sp = stack_sp(v), val;

	if (!stack_pop(v, &sp, &val, i->stacksize))
		return XR_FAULT;
	/* before the load: the new SS may have another stack size */
	stack_commit(v, sp);
	if (!seg_load(v, i->op[0].reg, (uint16_t)val)) {
		v->regs.gpr[R_SP] = old;
		return XR_FAULT;
	}
	if (i->op[0].reg == SEG_SS)
		v->int_shadow = true;
	return XR_NEXT;
}

enum xr int_pusha(struct vcpu *v, const struct insn *i)
{
	uint64_t sp = stack_sp(v);

	for (unsigned r = R_AX; r <= R_DI; r++) {
		if (!stack_push(v, &sp, v->regs.gpr[r], i->opsize))
			return XR_FAULT;
	}
	stack_commit(v, sp);
	return XR_NEXT;
}

/* SP's slot is skipped. */
enum xr int_popa(struct vcpu *v, const struct insn *i)
{
	uint64_t sp = stack_sp(v), val[8];

	for (unsigned r = 0; r < 8; r++) {
		if (!stack_pop(v, &sp, &val[R_DI - r], i->opsize))
			return XR_FAULT;
	}
	for (unsigned r = R_AX; r <= R_DI; r++) {
		if (r != R_SP)
			gpr_write(v, r, i->opsize, val[r]);
	}
	stack_commit(v, sp);
	return XR_NEXT;
}

static bool v86_denied(const struct vcpu *v)
{
	return vcpu_v86(v) && (v->regs.rflags & FL_IOPL) != FL_IOPL;
}

/* VM and RF read as zero (SDM 2B PUSHF). Without CR4.VME, v86 mode needs IOPL 3. */
enum xr int_pushf(struct vcpu *v, const struct insn *i)
{
	if (v86_denied(v))
		return fault_gp0(v);
	return push_value(v, i, v->regs.rflags & ~(uint64_t)(FL_RF | FL_VM));
}

enum xr int_popf(struct vcpu *v, const struct insn *i)
{
	uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID | FL_RF, sp = stack_sp(v), val;
	unsigned iopl = (v->regs.rflags & FL_IOPL) >> FL_IOPL_SHIFT;

	if (v86_denied(v))
		return fault_gp0(v);
	if (!stack_pop(v, &sp, &val, i->stacksize))
		return XR_FAULT;
	stack_commit(v, sp);
	if (vcpu_cpl(v) == 0)
		mask |= FL_IOPL | FL_IF | FL_VIF | FL_VIP;
	else if (vcpu_cpl(v) <= iopl || vcpu_v86(v))
		mask |= FL_IF;
	if (i->stacksize == 2)
		mask &= 0xffff;
	rflags_write(v, val & ~(uint64_t)(FL_RF | FL_VIF | FL_VIP), mask);
	return XR_NEXT;
}

/* SDM 2A ENTER. The frame pointers are read through SS with BP of the stack's size. */
enum xr int_enter(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->stacksize, level = i->imm[1] & 31;
	uint64_t sp = stack_sp(v), bp = v->regs.gpr[R_BP], frame, link, old = v->regs.gpr[R_SP];
	unsigned sp_bytes = vcpu_code64(v) ? 8 : v->regs.seg[SEG_SS].attr & SA_DB ? 4 : 2;
	uint8_t probe;

	if (!stack_push(v, &sp, bp, n))
		return XR_FAULT;
	/* a 16-bit stack leaves the upper half of ESP alone, and EBP gets all of it */
	frame = sp_bytes == 2 ? (old & 0xffff0000) | sp : sp;
	if (level) {
		for (unsigned k = 1; k < level; k++) {
			bp = trunc_to(bp - n, sp_bytes);
			link = 0;
			if (!mem_load(v, SEG_SS, bp, &link, n) || !stack_push(v, &sp, link, n))
				return XR_FAULT;
		}
		if (!stack_push(v, &sp, frame, n))
			return XR_FAULT;
	}
	sp = trunc_to(sp - (uint16_t)i->imm[0], sp_bytes);
	/* a final SP that cannot be written faults now (SDM 2A ENTER, operation) */
	stack_commit(v, sp);
	if (!mem_load(v, SEG_SS, sp, &probe, 1) || !mem_store(v, SEG_SS, sp, &probe, 1)) {
		v->regs.gpr[R_SP] = old;
		return XR_FAULT;
	}
	gpr_write(v, R_BP, n, frame);
	return XR_NEXT;
}

enum xr int_leave(struct vcpu *v, const struct insn *i)
{
	uint64_t old = v->regs.gpr[R_SP], sp, val;

	/* SP = BP in the stack's size */
	stack_commit(v, v->regs.gpr[R_BP]);
	sp = stack_sp(v);
	if (!stack_pop(v, &sp, &val, i->stacksize)) {
		v->regs.gpr[R_SP] = old;
		return XR_FAULT;
	}
	stack_commit(v, sp);
	gpr_write(v, R_BP, i->stacksize, val);
	return XR_NEXT;
}
