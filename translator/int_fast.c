// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Handlers of the most common shapes of the most common 64-bit instructions: operand kinds and sizes are constants
 * here, which makes each a few dozen host instructions. They do exactly what the rows' functions do; whatever is not as
 * usual (a TLB miss, MMIO, LOCK) those do.
 */
#include "translator/int_op.h"

#include <Zydis/Mnemonic.h>

enum shape { SH_RR, SH_RM, SH_MR, SH_RI, SH_MI, SH_COUNT };

/* op_ea for 64-bit addressing */
static ALWAYS_INLINE uint64_t ea64(const struct vcpu *v, const struct insn *i)
{
	uint64_t ea = (uint64_t)i->disp;

	if (i->base != NO_REG)
		ea += v->regs.gpr[i->base];
	if (i->index != NO_REG)
		ea += v->regs.gpr[i->index] * i->scale;
	if (i->rip_rel)
		ea += v->regs.rip + i->len;
	return ea;
}

static ALWAYS_INLINE bool load64(struct vcpu *v, const struct insn *i, unsigned n, uint64_t *val)
{
	uint64_t ea = ea64(v, i);
	const uint8_t *p = mem_hit(v, true, i->seg, ea, n, ACC_READ);

	if (LIKELY(p != NULL)) {
		*val = host_load(p, n);
		return true;
	}
	*val = 0;
	return mem_load(v, i->seg, ea, val, n);
}

static ALWAYS_INLINE bool store64(struct vcpu *v, const struct insn *i, unsigned n, uint64_t val)
{
	uint64_t ea = ea64(v, i);
	uint8_t *p = mem_hit(v, true, i->seg, ea, n, ACC_WRITE);

	if (LIKELY(p != NULL)) {
		host_store(p, val, n);
		tlb_note_write(v, p, n);
		return true;
	}
	return mem_store(v, i->seg, ea, &val, n);
}

/* ---- two-operand arithmetic ---- */

static ALWAYS_INLINE enum xr alu_shape(struct vcpu *v, const struct insn *i, enum alu op, enum shape sh, unsigned n)
{
	bool writes = op != ALU_CMP && op != ALU_TEST;
	uint64_t a, b, fl = v->regs.rflags;
	uint8_t *p;

	if (sh == SH_RI || sh == SH_MI)
		b = i->imm[0];
	else if (sh == SH_RM) {
		if (!load64(v, i, n, &b))
			return XR_FAULT;
	} else
		b = v->regs.gpr[i->op[1].reg];

	if (sh == SH_MR || sh == SH_MI) {
		p = mem_hit(v, true, i->seg, ea64(v, i), n, writes ? ACC_WRITE : ACC_READ);
		if (UNLIKELY(!p))
			return i->row->exec(v, i);
		a = alu2(op, n, host_load(p, n), b, &fl);
		if (writes) {
			host_store(p, a, n);
			tlb_note_write(v, p, n);
		}
	} else {
		a = alu2(op, n, v->regs.gpr[i->op[0].reg], b, &fl);
		if (writes)
			gpr_write(v, i->op[0].reg, n, a);
	}
	v->regs.rflags = fl;
	return XR_NEXT;
}

#define ALU_FN(op, sh, n)                                                           \
	static enum xr fast_##op##_##sh##_##n(struct vcpu *v, const struct insn *i) \
	{                                                                           \
		return alu_shape(v, i, ALU_##op, SH_##sh, n);                       \
	}
#define ALU_SIZES(op, sh) ALU_FN(op, sh, 1) ALU_FN(op, sh, 4) ALU_FN(op, sh, 8)
#define ALU_SHAPES(op) ALU_SIZES(op, RR) ALU_SIZES(op, RM) ALU_SIZES(op, MR) ALU_SIZES(op, RI) ALU_SIZES(op, MI)
#define ALU_NAMES(op, sh)                                                        \
	{                                                                        \
		fast_##op##_##sh##_1, fast_##op##_##sh##_4, fast_##op##_##sh##_8 \
	}
#define ALU_TABLE(op)                              \
	[ALU_##op] = {[SH_RR] = ALU_NAMES(op, RR), \
		      [SH_RM] = ALU_NAMES(op, RM), \
		      [SH_MR] = ALU_NAMES(op, MR), \
		      [SH_RI] = ALU_NAMES(op, RI), \
		      [SH_MI] = ALU_NAMES(op, MI)}

ALU_SHAPES(ADD)
ALU_SHAPES(OR)
ALU_SHAPES(ADC)
ALU_SHAPES(SBB)
ALU_SHAPES(AND)
ALU_SHAPES(SUB)
ALU_SHAPES(XOR)
ALU_SHAPES(CMP)
ALU_SHAPES(TEST)

static insn_fn *const alu_fast[ALU_COUNT][SH_COUNT][3] = {
	ALU_TABLE(ADD), ALU_TABLE(OR),  ALU_TABLE(ADC), ALU_TABLE(SBB),  ALU_TABLE(AND),
	ALU_TABLE(SUB), ALU_TABLE(XOR), ALU_TABLE(CMP), ALU_TABLE(TEST),
};

/* ---- MOV, MOVZX, MOVSX, LEA ---- */

static ALWAYS_INLINE enum xr mov_shape(struct vcpu *v, const struct insn *i, enum shape sh, unsigned n)
{
	uint64_t val;

	if (sh == SH_RM) {
		if (!load64(v, i, n, &val))
			return XR_FAULT;
	} else {
		val = sh == SH_RI || sh == SH_MI ? i->imm[0] : v->regs.gpr[i->op[1].reg];
	}
	if (sh == SH_MR || sh == SH_MI)
		return store64(v, i, n, val) ? XR_NEXT : XR_FAULT;
	gpr_write(v, i->op[0].reg, n, val);
	return XR_NEXT;
}

#define MOV_FN(sh, n)                                                            \
	static enum xr fast_mov_##sh##_##n(struct vcpu *v, const struct insn *i) \
	{                                                                        \
		return mov_shape(v, i, SH_##sh, n);                              \
	}
#define MOV_SIZES(sh) MOV_FN(sh, 1) MOV_FN(sh, 4) MOV_FN(sh, 8)
MOV_SIZES(RR)
MOV_SIZES(RM)
MOV_SIZES(MR)
MOV_SIZES(RI)
MOV_SIZES(MI)
#define MOV_NAMES(sh) [SH_##sh] = {fast_mov_##sh##_1, fast_mov_##sh##_4, fast_mov_##sh##_8}
static insn_fn *const mov_fast[SH_COUNT][3] = {MOV_NAMES(RR), MOV_NAMES(RM), MOV_NAMES(MR), MOV_NAMES(RI),
					       MOV_NAMES(MI)};

/* a 4-byte destination is an 8-byte one with a zero upper half */
#define EXTEND_FN(name, from, convert)                                             \
	static enum xr fast_##name##_m##from(struct vcpu *v, const struct insn *i) \
	{                                                                          \
		uint64_t val;                                                      \
                                                                                   \
		if (!load64(v, i, from, &val))                                     \
			return XR_FAULT;                                           \
		gpr_write(v, i->op[0].reg, i->op[0].bytes, convert(val, from));    \
		return XR_NEXT;                                                    \
	}                                                                          \
	static enum xr fast_##name##_r##from(struct vcpu *v, const struct insn *i) \
	{                                                                          \
		uint64_t val = gpr_read(v, i->op[1].reg, from);                    \
                                                                                   \
		gpr_write(v, i->op[0].reg, i->op[0].bytes, convert(val, from));    \
		return XR_NEXT;                                                    \
	}
EXTEND_FN(movzx, 1, trunc_to)
EXTEND_FN(movzx, 2, trunc_to)
EXTEND_FN(movsx, 1, sext_from)
EXTEND_FN(movsx, 2, sext_from)
EXTEND_FN(movsx, 4, sext_from)

static enum xr fast_lea_8(struct vcpu *v, const struct insn *i)
{
	v->regs.gpr[i->op[0].reg] = ea64(v, i);
	return XR_NEXT;
}

static enum xr fast_lea_4(struct vcpu *v, const struct insn *i)
{
	v->regs.gpr[i->op[0].reg] = (uint32_t)ea64(v, i);
	return XR_NEXT;
}

/* ---- INC, DEC, shifts by an immediate ---- */

#define UNARY_FN(name, alu_op, n)                                                          \
	static enum xr fast_##name##_##n(struct vcpu *v, const struct insn *i)             \
	{                                                                                  \
		uint64_t fl = 0, val = alu2(alu_op, n, v->regs.gpr[i->op[0].reg], 1, &fl); \
                                                                                           \
		gpr_write(v, i->op[0].reg, n, val);                                        \
		flags_put(v, fl, FL_ARITH & ~FL_CF);                                       \
		return XR_NEXT;                                                            \
	}
UNARY_FN(inc, ALU_ADD, 4)
UNARY_FN(inc, ALU_ADD, 8)
UNARY_FN(dec, ALU_SUB, 4)
UNARY_FN(dec, ALU_SUB, 8)

#define SHIFT_FN(name, n, sfx, mod)                                                                            \
	static enum xr fast_##name##_##n(struct vcpu *v, const struct insn *i)                                 \
	{                                                                                                      \
		uint64_t ax, val = v->regs.gpr[i->op[0].reg];                                                  \
                                                                                                               \
		asm(#name #sfx " %%cl, %" #mod "1" TAKE_FLAGS : "=&a"(ax), "+r"(val) : "c"(i->imm[0]) : "cc"); \
		gpr_write(v, i->op[0].reg, n, val);                                                            \
		flags_put(v, flags_of_ax(ax), FL_ARITH);                                                       \
		return XR_NEXT;                                                                                \
	}
SHIFT_FN(shl, 4, l, k)
SHIFT_FN(shl, 8, q, q)
SHIFT_FN(shr, 4, l, k)
SHIFT_FN(shr, 8, q, q)
SHIFT_FN(sar, 4, l, k)
SHIFT_FN(sar, 8, q, q)

/* ---- stack and branches ---- */

static enum xr fast_push_r(struct vcpu *v, const struct insn *i)
{
	uint64_t sp = v->regs.gpr[R_SP] - 8;
	uint8_t *p = mem_hit(v, true, SEG_SS, sp, 8, ACC_WRITE);

	if (UNLIKELY(!p))
		return i->row->exec(v, i);
	host_store(p, v->regs.gpr[i->op[0].reg], 8);
	v->regs.gpr[R_SP] = sp;
	tlb_note_write(v, p, 8);
	return XR_NEXT;
}

static enum xr fast_pop_r(struct vcpu *v, const struct insn *i)
{
	uint64_t sp = v->regs.gpr[R_SP];
	const uint8_t *p = mem_hit(v, true, SEG_SS, sp, 8, ACC_READ);

	if (UNLIKELY(!p))
		return i->row->exec(v, i);
	v->regs.gpr[R_SP] = sp + 8;
	v->regs.gpr[i->op[0].reg] = host_load(p, 8);
	return XR_NEXT;
}

/* Relative targets: non-canonical ones are rip_set's business. */
static ALWAYS_INLINE enum xr jump_rel(struct vcpu *v, const struct insn *i)
{
	uint64_t to = v->regs.rip + i->len + i->imm[0];

	if (UNLIKELY((uint64_t)((int64_t)(to << 16) >> 16) != to))
		return rip_set(v, to, 8) ? XR_JUMP : XR_FAULT;
	v->regs.rip = to;
	return XR_JUMP;
}

static enum xr fast_jmp_rel(struct vcpu *v, const struct insn *i)
{
	return jump_rel(v, i);
}

#define JCC_FN(cc)                                                               \
	static enum xr fast_jcc_##cc(struct vcpu *v, const struct insn *i)       \
	{                                                                        \
		return cond_true(v->regs.rflags, cc) ? jump_rel(v, i) : XR_NEXT; \
	}
JCC_FN(0)
JCC_FN(1)
JCC_FN(2)
JCC_FN(3)
JCC_FN(4)
JCC_FN(5)
JCC_FN(6)
JCC_FN(7)
JCC_FN(8)
JCC_FN(9)
JCC_FN(10)
JCC_FN(11)
JCC_FN(12)
JCC_FN(13)
JCC_FN(14)
JCC_FN(15)
static insn_fn *const jcc_fast[16] = {
	fast_jcc_0, fast_jcc_1, fast_jcc_2,  fast_jcc_3,  fast_jcc_4,  fast_jcc_5,  fast_jcc_6,  fast_jcc_7,
	fast_jcc_8, fast_jcc_9, fast_jcc_10, fast_jcc_11, fast_jcc_12, fast_jcc_13, fast_jcc_14, fast_jcc_15,
};

static enum xr fast_call_rel(struct vcpu *v, const struct insn *i)
{
	uint64_t sp = v->regs.gpr[R_SP] - 8, to = v->regs.rip + i->len + i->imm[0];
	uint8_t *p = mem_hit(v, true, SEG_SS, sp, 8, ACC_WRITE);

	if (UNLIKELY(!p || (uint64_t)((int64_t)(to << 16) >> 16) != to))
		return i->row->exec(v, i);
	host_store(p, v->regs.rip + i->len, 8);
	v->regs.gpr[R_SP] = sp;
	v->regs.rip = to;
	tlb_note_write(v, p, 8);
	return XR_JUMP;
}

static enum xr fast_ret(struct vcpu *v, const struct insn *i)
{
	uint64_t sp = v->regs.gpr[R_SP], to;
	const uint8_t *p = mem_hit(v, true, SEG_SS, sp, 8, ACC_READ);

	if (UNLIKELY(!p))
		return i->row->exec(v, i);
	to = host_load(p, 8);
	if (UNLIKELY((uint64_t)((int64_t)(to << 16) >> 16) != to))
		return i->row->exec(v, i);
	v->regs.gpr[R_SP] = sp + 8;
	v->regs.rip = to;
	return XR_JUMP;
}

/* ---- the choice ---- */

static int size_index(unsigned bytes)
{
	return bytes == 1 ? 0 : bytes == 4 ? 1 : bytes == 8 ? 2 : -1;
}

static int shape_of(const struct insn *i)
{
	const struct insn_op *d = &i->op[0], *s = &i->op[1];

	if (i->nops != 2 || d->high8 || s->high8)
		return -1;
	if (d->kind == OPK_GPR)
		return s->kind == OPK_GPR ? SH_RR : s->kind == OPK_MEM ? SH_RM : s->kind == OPK_IMM ? SH_RI : -1;
	if (d->kind == OPK_MEM)
		return s->kind == OPK_GPR ? SH_MR : s->kind == OPK_IMM ? SH_MI : -1;
	return -1;
}

static insn_fn *alu_choice(const struct insn *i, enum alu op)
{
	int sh = shape_of(i), size = size_index(i->op[0].bytes);

	return sh < 0 || size < 0 ? NULL : alu_fast[op][sh][size];
}

static insn_fn *extend_choice(const struct insn *i)
{
	bool sign = i->mnemonic != ZYDIS_MNEMONIC_MOVZX, mem = i->op[1].kind == OPK_MEM;

	if (i->op[0].bytes == 2 || i->op[1].high8)
		return NULL;
	switch (i->op[1].bytes) {
	case 1:
		return sign ? mem ? fast_movsx_m1 : fast_movsx_r1 : mem ? fast_movzx_m1 : fast_movzx_r1;
	case 2:
		return sign ? mem ? fast_movsx_m2 : fast_movsx_r2 : mem ? fast_movzx_m2 : fast_movzx_r2;
	case 4:
		return sign ? mem ? fast_movsx_m4 : fast_movsx_r4 : NULL;
	default:
		return NULL;
	}
}

static insn_fn *shift_choice(const struct insn *i, insn_fn *f4, insn_fn *f8)
{
	unsigned n = i->op[0].bytes;

	if (i->op[0].kind != OPK_GPR || i->op[1].kind != OPK_IMM || n < 4 || !(i->imm[0] & (n == 8 ? 63 : 31)))
		return NULL;
	return n == 8 ? f8 : f4;
}

static insn_fn *unary_choice(const struct insn *i, insn_fn *f4, insn_fn *f8)
{
	if (i->op[0].kind != OPK_GPR)
		return NULL;
	return i->op[0].bytes == 8 ? f8 : i->op[0].bytes == 4 ? f4 : NULL;
}

/* NULL: the row's function. */
insn_fn *int_fast(const struct insn *i)
{
	int sh, size;

	if (i->code_bits != 64 || i->lock || (i->has_mem && i->addrsize != 8))
		return NULL;
	if (i->row->bt == BT_JCC)
		return jcc_fast[i->opcode & 15];
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_ADD:
		return alu_choice(i, ALU_ADD);
	case ZYDIS_MNEMONIC_OR:
		return alu_choice(i, ALU_OR);
	case ZYDIS_MNEMONIC_ADC:
		return alu_choice(i, ALU_ADC);
	case ZYDIS_MNEMONIC_SBB:
		return alu_choice(i, ALU_SBB);
	case ZYDIS_MNEMONIC_AND:
		return alu_choice(i, ALU_AND);
	case ZYDIS_MNEMONIC_SUB:
		return alu_choice(i, ALU_SUB);
	case ZYDIS_MNEMONIC_XOR:
		return alu_choice(i, ALU_XOR);
	case ZYDIS_MNEMONIC_CMP:
		return alu_choice(i, ALU_CMP);
	case ZYDIS_MNEMONIC_TEST:
		return alu_choice(i, ALU_TEST);
	case ZYDIS_MNEMONIC_MOV:
		if (i->row->exec != int_mov)
			return NULL;
		sh = shape_of(i);
		size = size_index(i->op[0].bytes);
		return sh < 0 || size < 0 ? NULL : mov_fast[sh][size];
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		return extend_choice(i);
	case ZYDIS_MNEMONIC_LEA:
		if (i->addrsize != 8)
			return NULL;
		return i->op[0].bytes == 8 ? fast_lea_8 : i->op[0].bytes == 4 ? fast_lea_4 : NULL;
	case ZYDIS_MNEMONIC_INC:
		return unary_choice(i, fast_inc_4, fast_inc_8);
	case ZYDIS_MNEMONIC_DEC:
		return unary_choice(i, fast_dec_4, fast_dec_8);
	case ZYDIS_MNEMONIC_SHL:
		return shift_choice(i, fast_shl_4, fast_shl_8);
	case ZYDIS_MNEMONIC_SHR:
		return shift_choice(i, fast_shr_4, fast_shr_8);
	case ZYDIS_MNEMONIC_SAR:
		return shift_choice(i, fast_sar_4, fast_sar_8);
	case ZYDIS_MNEMONIC_PUSH:
		return i->op[0].kind == OPK_GPR && i->stacksize == 8 ? fast_push_r : NULL;
	case ZYDIS_MNEMONIC_POP:
		return i->op[0].kind == OPK_GPR && i->stacksize == 8 ? fast_pop_r : NULL;
	case ZYDIS_MNEMONIC_JMP:
		return i->op[0].kind == OPK_REL ? fast_jmp_rel : NULL;
	case ZYDIS_MNEMONIC_CALL:
		return i->op[0].kind == OPK_REL ? fast_call_rel : NULL;
	case ZYDIS_MNEMONIC_RET:
		return i->nops == 0 && i->row->bt == BT_RET ? fast_ret : NULL;
	default:
		return NULL;
	}
}
