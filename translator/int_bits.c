// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bit tests, bit scans and counts, BMI1 and BMI2.
 *
 * BT and its kin with a memory operand and the bit offset in a register address a bit string: the signed offset selects
 * the operand-sized unit as well as the bit in it (SDM 2A BT). Flags of BSF, BSR and the BMI instructions are the
 * host's.
 */
#include "translator/int_op.h"

enum bit_op { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static ALWAYS_INLINE uint64_t bit_apply(enum bit_op op, uint64_t val, unsigned bit)
{
	switch (op) {
	case BIT_SET:
		return val | 1ull << bit;
	case BIT_RESET:
		return val & ~(1ull << bit);
	case BIT_COMPLEMENT:
		return val ^ 1ull << bit;
	default:
		return val;
	}
}

static void put_carry(struct vcpu *v, uint64_t val, unsigned bit)
{
	flags_put(v, val >> bit & 1, FL_CF);
}

static enum xr bit_rmw(struct vcpu *v, const struct insn *i, enum bit_op op, unsigned bit, struct rmw *r)
{
	while (!rmw_end(v, i, r, bit_apply(op, r->old, bit)))
		;
	if (r->failed)
		return XR_FAULT;
	put_carry(v, r->old, bit);
	return XR_NEXT;
}

static unsigned bit_offset(const struct vcpu *v, const struct insn *i)
{
	uint64_t o = i->op[1].kind == OPK_IMM ? i->imm[0] : v->regs.gpr[i->op[1].reg];

	return (unsigned)o & (i->op[0].bytes * 8 - 1);
}

enum xr int_bt(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!op_read(v, i, 0, &val))
		return XR_FAULT;
	put_carry(v, val, bit_offset(v, i));
	return XR_NEXT;
}

static ALWAYS_INLINE enum xr bit_change(struct vcpu *v, const struct insn *i, enum bit_op op)
{
	struct rmw r;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	return bit_rmw(v, i, op, bit_offset(v, i), &r);
}

enum xr int_bts(struct vcpu *v, const struct insn *i)
{
	return bit_change(v, i, BIT_SET);
}

enum xr int_btr(struct vcpu *v, const struct insn *i)
{
	return bit_change(v, i, BIT_RESET);
}

enum xr int_btc(struct vcpu *v, const struct insn *i)
{
	return bit_change(v, i, BIT_COMPLEMENT);
}

/* Address of the unit that holds the bit; *bit: within it. */
static uint64_t bit_unit(const struct vcpu *v, const struct insn *i, unsigned *bit)
{
	unsigned n = i->op[0].bytes;
	int64_t off = (int64_t)sext_from(v->regs.gpr[i->op[1].reg], n);

	*bit = (unsigned)off & (n * 8 - 1);
	off >>= n == 8 ? 6 : n == 4 ? 5 : 4;
	return trunc_to(op_ea(v, i) + (uint64_t)off * n, i->addrsize);
}

enum xr int_bt_string(struct vcpu *v, const struct insn *i)
{
	uint64_t val, off;
	unsigned bit;

	off = bit_unit(v, i, &bit);
	if (!seg_read(v, i, i->seg, off, i->op[0].bytes, &val))
		return XR_FAULT;
	put_carry(v, val, bit);
	return XR_NEXT;
}

enum xr int_btx_string(struct vcpu *v, const struct insn *i)
{
	/* 0F AB, B3, BB: bits 4-3 of the opcode tell them apart as the /5, /6, /7 of 0F BA do */
	enum bit_op op = i->opcode == 0xab ? BIT_SET : i->opcode == 0xb3 ? BIT_RESET : BIT_COMPLEMENT;
	struct rmw r;
	unsigned bit;
	uint64_t off = bit_unit(v, i, &bit);

	if (!rmw_begin_at(v, i, &r, i->seg, off, i->op[0].bytes))
		return XR_FAULT;
	return bit_rmw(v, i, op, bit, &r);
}

/* ---- one source, flags by the host ---- */

#define HOST_SCAN(name)                                                                            \
	switch (i->op[0].bytes) {                                                                  \
	case 2:                                                                                    \
		asm(GIVE_FLAGS name "w %w2, %w1" TAKE_FLAGS : "+&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                             \
	case 4:                                                                                    \
		asm(GIVE_FLAGS name "l %k2, %k1" TAKE_FLAGS : "+&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                             \
	default:                                                                                   \
		asm(GIVE_FLAGS name "q %q2, %q1" TAKE_FLAGS : "+&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                             \
	}

#define SCAN(fn, name, feature)                                                             \
	enum xr fn(struct vcpu *v, const struct insn *i)                                    \
	{                                                                                   \
		uint64_t ax = ax_of_flags(v->regs.rflags), b, a = opreg_read(v, &i->op[0]); \
                                                                                            \
		NEED_HOST(v, feature);                                                      \
		if (!op_read(v, i, 1, &b))                                                  \
			return XR_FAULT;                                                    \
		HOST_SCAN(name)                                                             \
		opreg_write(v, &i->op[0], a);                                               \
		flags_put(v, flags_of_ax(ax), FL_ARITH);                                    \
		return XR_NEXT;                                                             \
	}
SCAN(int_tzcnt, "tzcnt", "bmi")
SCAN(int_lzcnt, "lzcnt", "popcnt") /* came with it */
SCAN(int_popcnt, "popcnt", "popcnt")

/* A source of zero leaves the destination alone, its upper half included. */
static ALWAYS_INLINE enum xr bit_scan(struct vcpu *v, const struct insn *i, bool forward)
{
	uint64_t ax = ax_of_flags(v->regs.rflags), b, a = v->regs.gpr[i->op[0].reg];

	if (!op_read(v, i, 1, &b))
		return XR_FAULT;
	if (forward) {
		HOST_SCAN("bsf")
	} else {
		HOST_SCAN("bsr")
	}
	if (b)
		opreg_write(v, &i->op[0], a);
	flags_put(v, flags_of_ax(ax), FL_ARITH);
	return XR_NEXT;
}

enum xr int_bsf(struct vcpu *v, const struct insn *i)
{
	return bit_scan(v, i, true);
}

enum xr int_bsr(struct vcpu *v, const struct insn *i)
{
	return bit_scan(v, i, false);
}

/* ---- BMI1, BMI2: 32 or 64 bits ---- */

#define BMI_UNARY(fn, name)                                                                     \
	enum xr fn(struct vcpu *v, const struct insn *i)                                        \
	{                                                                                       \
		uint64_t ax, a, b;                                                              \
                                                                                                \
		NEED_HOST(v, "bmi");                                                            \
		if (!op_read(v, i, 1, &b))                                                      \
			return XR_FAULT;                                                        \
		if (i->op[0].bytes == 8)                                                        \
			asm(name " %q2, %q1" TAKE_FLAGS : "=&a"(ax), "=&r"(a) : "r"(b) : "cc"); \
		else                                                                            \
			asm(name " %k2, %k1" TAKE_FLAGS : "=&a"(ax), "=&r"(a) : "r"(b) : "cc"); \
		opreg_write(v, &i->op[0], a);                                                   \
		flags_put(v, flags_of_ax(ax), FL_ARITH);                                        \
		return XR_NEXT;                                                                 \
	}
BMI_UNARY(int_blsi, "blsi")
BMI_UNARY(int_blsmsk, "blsmsk")
BMI_UNARY(int_blsr, "blsr")

/* first, second: operands in AT&T order of the host instruction, first being the one that may be memory */
#define BMI_BINARY(fn, name, feature, first, second, flags)                                                  \
	enum xr fn(struct vcpu *v, const struct insn *i)                                                     \
	{                                                                                                    \
		uint64_t ax, a, x, y;                                                                        \
                                                                                                             \
		NEED_HOST(v, feature);                                                                       \
		if (!op_read(v, i, first, &x) || !op_read(v, i, second, &y))                                 \
			return XR_FAULT;                                                                     \
		if (i->op[0].bytes == 8)                                                                     \
			asm(name " %q2, %q3, %q1" TAKE_FLAGS : "=&a"(ax), "=&r"(a) : "r"(x), "r"(y) : "cc"); \
		else                                                                                         \
			asm(name " %k2, %k3, %k1" TAKE_FLAGS : "=&a"(ax), "=&r"(a) : "r"(x), "r"(y) : "cc"); \
		opreg_write(v, &i->op[0], a);                                                                \
		flags_put(v, flags_of_ax(ax), flags);                                                        \
		return XR_NEXT;                                                                              \
	}
BMI_BINARY(int_andn, "andn", "bmi", 2, 1, FL_ARITH)
BMI_BINARY(int_pdep, "pdep", "bmi2", 2, 1, 0)
BMI_BINARY(int_pext, "pext", "bmi2", 2, 1, 0)
/* in AT&T order the control register comes first here */
BMI_BINARY(int_bextr, "bextr", "bmi", 2, 1, FL_ARITH)
BMI_BINARY(int_bzhi, "bzhi", "bmi2", 2, 1, FL_ARITH)
