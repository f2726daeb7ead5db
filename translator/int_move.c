// SPDX-License-Identifier: GPL-2.0-or-later
/* Data movement: MOV and its family, exchanges, conditional moves, segment registers. */
#include "translator/int_op.h"

enum xr int_mov(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 1, &val) || !op_write(v, i, 0, val))
		return XR_FAULT;
	return XR_NEXT;
}

enum xr int_movzx(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 1, &val))
		return XR_FAULT;
	opreg_write(v, &i->op[0], val);
	return XR_NEXT;
}

/* MOVSX, MOVSXD */
enum xr int_movsx(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 1, &val))
		return XR_FAULT;
	opreg_write(v, &i->op[0], sext_from(val, i->op[1].bytes));
	return XR_NEXT;
}

static uint64_t swap_bytes(uint64_t val, unsigned n)
{
	return n == 2   ? __builtin_bswap16((uint16_t)val)
	       : n == 4 ? __builtin_bswap32((uint32_t)val)
			: __builtin_bswap64(val);
}

enum xr int_movbe(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 1, &val) || !op_write(v, i, 0, swap_bytes(val, i->op[0].bytes)))
		return XR_FAULT;
	return XR_NEXT;
}

/* 16-bit BSWAP is undefined (SDM 2A); processors give zero. */
enum xr int_bswap(struct vcpu *v, const struct insn *i)
{
	const struct insn_op *o = &i->op[0];
	uint64_t val = opreg_read(v, o);

	opreg_write(v, o, o->bytes == 2 ? 0 : swap_bytes(val, o->bytes));
	return XR_NEXT;
}

/* The memory operand, if any, may be either one; with memory it locks, prefix or not (SDM 2B XCHG). */
enum xr int_xchg(struct vcpu *v, const struct insn *i)
{
	unsigned m = i->op[1].kind == OPK_MEM ? 1 : 0;
	uint64_t val = opreg_read(v, &i->op[1 - m]);
	struct rmw r;

	if (i->op[m].kind == OPK_GPR) {
		opreg_write(v, &i->op[1], opreg_read(v, &i->op[0]));
		opreg_write(v, &i->op[0], val);
		return XR_NEXT;
	}
	if (!rmw_begin_at(v, i, &r, i->seg, op_ea(v, i), i->op[m].bytes))
		return XR_FAULT;
	if (r.host)
		r.lock = true;
	while (!rmw_end(v, i, &r, val))
		;
	if (r.failed)
		return XR_FAULT;
	opreg_write(v, &i->op[1 - m], r.old);
	return XR_NEXT;
}

enum xr int_xadd(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t b = opreg_read(v, &i->op[1]), fl, sum;
	struct rmw r;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	if (r.reg) {
		/* the destination is written last: XADD r, r doubles */
		sum = alu2(ALU_ADD, n, r.old, b, &v->regs.rflags);
		opreg_write(v, &i->op[1], r.old);
		opreg_write(v, &i->op[0], sum);
		return XR_NEXT;
	}
	do {
		fl = v->regs.rflags;
		sum = alu2(ALU_ADD, n, r.old, b, &fl);
	} while (!rmw_end(v, i, &r, sum));
	if (r.failed)
		return XR_FAULT;
	opreg_write(v, &i->op[1], r.old);
	v->regs.rflags = fl;
	return XR_NEXT;
}

/* The destination is written in any case, with its old value when the comparison fails (SDM 2A CMPXCHG). */
enum xr int_cmpxchg(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t acc = gpr_read(v, R_AX, n), src = opreg_read(v, &i->op[1]), fl;
	struct rmw r;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	do {
		fl = v->regs.rflags;
		alu2(ALU_CMP, n, acc, r.old, &fl);
		/* a register destination keeps its upper half when nothing is stored: not rewritten then */
		if (r.reg && !(fl & FL_ZF))
			break;
	} while (!rmw_end(v, i, &r, fl & FL_ZF ? src : r.old));
	if (r.failed)
		return XR_FAULT;
	if (!(fl & FL_ZF))
		gpr_write(v, R_AX, n, r.old);
	v->regs.rflags = fl;
	return XR_NEXT;
}

enum xr int_cmpxchg8b(struct vcpu *v, const struct insn *i)
{
	uint64_t want = gpr_read(v, R_DX, 4) << 32 | gpr_read(v, R_AX, 4);
	uint64_t val = gpr_read(v, R_CX, 4) << 32 | gpr_read(v, R_BX, 4);
	struct rmw r;
	bool same;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	do
		same = r.old == want;
	while (!rmw_end(v, i, &r, same ? val : r.old));
	if (r.failed)
		return XR_FAULT;
	if (!same) {
		gpr_write(v, R_AX, 4, r.old);
		gpr_write(v, R_DX, 4, r.old >> 32);
	}
	flags_put(v, same ? FL_ZF : 0, FL_ZF);
	return XR_NEXT;
}

/* 16-byte aligned or #GP(0), hence always in one page. On MMIO: two accesses, atomic only among such instructions. */
enum xr int_cmpxchg16b(struct vcpu *v, const struct insn *i)
{
	unsigned acc = ACC_WRITE | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	uint64_t *lo = &v->regs.gpr[R_AX], *hi = &v->regs.gpr[R_DX];
	uint64_t lin, off = op_ea(v, i), mem[2];
	void *host;
	bool same;

	if (!seg_linear(v, i->seg, off, 16, acc, &lin))
		return XR_FAULT;
	if (lin & 15)
		return fault_gp0(v);
	if (!mmu_rmw_ptr(v, lin, 16, acc, &host))
		return XR_FAULT;
	if (host) {
		asm volatile("lock cmpxchg16b %1\n\tsete %0"
			     : "=q"(same), "+m"(*(unsigned __int128 *)host), "+a"(*lo), "+d"(*hi)
			     : "b"(v->regs.gpr[R_BX]), "c"(v->regs.gpr[R_CX])
			     : "cc", "memory");
		tlb_note_write(v, host, 16);
	} else {
		if (!mem_load(v, i->seg, off, mem, 16))
			return XR_FAULT;
		same = mem[0] == *lo && mem[1] == *hi;
		if (same) {
			mem[0] = v->regs.gpr[R_BX];
			mem[1] = v->regs.gpr[R_CX];
		}
		if (!mem_store(v, i->seg, off, mem, 16))
			return XR_FAULT;
		if (!same) {
			*lo = mem[0];
			*hi = mem[1];
		}
	}
	flags_put(v, same ? FL_ZF : 0, FL_ZF);
	return XR_NEXT;
}

enum xr int_lea(struct vcpu *v, const struct insn *i)
{
	opreg_write(v, &i->op[0], op_ea(v, i));
	return XR_NEXT;
}

enum xr int_xlat(struct vcpu *v, const struct insn *i)
{
	uint64_t val, off = trunc_to(v->regs.gpr[R_BX] + gpr_read(v, R_AX, 1), i->addrsize);

	if (!seg_read(v, i, i->seg, off, 1, &val))
		return XR_FAULT;
	gpr_write(v, R_AX, 1, val);
	return XR_NEXT;
}

#define AH_FLAGS (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)

enum xr int_lahf(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.gpr[R_AX] = (v->regs.gpr[R_AX] & ~0xff00ull) | ((v->regs.rflags & AH_FLAGS) | FL_ONE) << 8;
	return XR_NEXT;
}

enum xr int_sahf(struct vcpu *v, const struct insn *i)
{
	(void)i;
	flags_put(v, v->regs.gpr[R_AX] >> 8, AH_FLAGS);
	return XR_NEXT;
}

/* CBW CWDE CDQE: AX, EAX, RAX from its lower half */
enum xr int_cbw(struct vcpu *v, const struct insn *i)
{
	gpr_write(v, R_AX, i->opsize, sext_from(v->regs.gpr[R_AX], i->opsize / 2));
	return XR_NEXT;
}

/* CWD CDQ CQO: DX becomes AX's sign */
enum xr int_cwd(struct vcpu *v, const struct insn *i)
{
	bool neg = (int64_t)sext_from(v->regs.gpr[R_AX], i->opsize) < 0;

	gpr_write(v, R_DX, i->opsize, neg ? ~0ull : 0);
	return XR_NEXT;
}

/* The source is read and may fault whatever the condition; a 32-bit destination is zero-extended whatever it is. */
enum xr int_cmov(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 1, &val))
		return XR_FAULT;
	if (!cond_true(v->regs.rflags, i->opcode & 15))
		val = opreg_read(v, &i->op[0]);
	opreg_write(v, &i->op[0], val);
	return XR_NEXT;
}

enum xr int_setcc(struct vcpu *v, const struct insn *i)
{
	return op_write(v, i, 0, cond_true(v->regs.rflags, i->opcode & 15)) ? XR_NEXT : XR_FAULT;
}

/* ---- segment registers ---- */

enum xr int_mov_to_sreg(struct vcpu *v, const struct insn *i)
{
	uint64_t sel;

	if (i->op[0].reg == SEG_CS)
		return fault_set(v, VEC_UD);
	if (i->op[1].kind == OPK_GPR)
		sel = v->regs.gpr[i->op[1].reg];
	else if (!seg_read(v, i, i->seg, op_ea(v, i), 2, &sel))
		return XR_FAULT;
	if (!seg_load(v, i->op[0].reg, (uint16_t)sel))
		return XR_FAULT;
	if (i->op[0].reg == SEG_SS)
		v->int_shadow = true;
	return XR_NEXT;
}

/* To a register: zero-extended to the operand size; to memory: 16 bits. */
enum xr int_mov_from_sreg(struct vcpu *v, const struct insn *i)
{
	uint64_t sel = v->regs.seg[i->op[1].reg].sel;

	if (i->op[0].kind == OPK_GPR) {
		opreg_write(v, &i->op[0], sel);
		return XR_NEXT;
	}
	return seg_write(v, i, i->seg, op_ea(v, i), 2, sel) ? XR_NEXT : XR_FAULT;
}
