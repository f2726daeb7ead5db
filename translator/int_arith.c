// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Integer arithmetic and logic. Every result and flag is computed by the host's own instruction, but for DIV and IDIV:
 * these are checked first, so that no guest operand can make the host trap.
 *
 * Deviation: DIV and IDIV leave the flags alone (they are undefined).
 */
#include "translator/int_op.h"

/* Both operands are read before anything is written; CMP and TEST write nothing. */
static ALWAYS_INLINE enum xr binary(struct vcpu *v, const struct insn *i, enum alu op)
{
	unsigned n = i->op[0].bytes;
	uint64_t a, b, fl, res;
	struct rmw r;

	/* of two operands one at most is memory; a memory source may fault before a register is changed */
	if (!op_read(v, i, 1, &b))
		return XR_FAULT;
	if (op == ALU_CMP || op == ALU_TEST) {
		if (!op_read(v, i, 0, &a))
			return XR_FAULT;
		alu2(op, n, a, b, &v->regs.rflags);
		return XR_NEXT;
	}
	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	do {
		fl = v->regs.rflags;
		res = alu2(op, n, r.old, b, &fl);
	} while (!rmw_end(v, i, &r, res));
	if (r.failed)
		return XR_FAULT;
	v->regs.rflags = fl;
	return XR_NEXT;
}

#define BINARY(name, op)                                   \
	enum xr name(struct vcpu *v, const struct insn *i) \
	{                                                  \
		return binary(v, i, op);                   \
	}
BINARY(int_add, ALU_ADD)
BINARY(int_or, ALU_OR)
BINARY(int_adc, ALU_ADC)
BINARY(int_sbb, ALU_SBB)
BINARY(int_and, ALU_AND)
BINARY(int_sub, ALU_SUB)
BINARY(int_xor, ALU_XOR)
BINARY(int_cmp, ALU_CMP)
BINARY(int_test, ALU_TEST)

/* INC and DEC keep CF; NEG is 0 - x; NOT changes no flag. */
enum unary { UN_INC, UN_DEC, UN_NEG, UN_NOT };

static ALWAYS_INLINE enum xr unary(struct vcpu *v, const struct insn *i, enum unary op)
{
	unsigned n = i->op[0].bytes;
	uint64_t fl = 0, res;
	struct rmw r;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	do {
		switch (op) {
		case UN_INC:
			res = alu2(ALU_ADD, n, r.old, 1, &fl);
			break;
		case UN_DEC:
			res = alu2(ALU_SUB, n, r.old, 1, &fl);
			break;
		case UN_NEG:
			res = alu2(ALU_SUB, n, 0, r.old, &fl);
			break;
		default:
			res = ~r.old;
			break;
		}
	} while (!rmw_end(v, i, &r, res));
	if (r.failed)
		return XR_FAULT;
	flags_put(v, fl, op == UN_NOT ? 0 : op == UN_NEG ? FL_ARITH : FL_ARITH & ~FL_CF);
	return XR_NEXT;
}

enum xr int_inc(struct vcpu *v, const struct insn *i)
{
	return unary(v, i, UN_INC);
}

enum xr int_dec(struct vcpu *v, const struct insn *i)
{
	return unary(v, i, UN_DEC);
}

enum xr int_neg(struct vcpu *v, const struct insn *i)
{
	return unary(v, i, UN_NEG);
}

enum xr int_not(struct vcpu *v, const struct insn *i)
{
	return unary(v, i, UN_NOT);
}

/* ---- multiplication ---- */

#define MUL_HOST(name, sfx, mod)                                                               \
	asm(GIVE_FLAGS "mov %4, %%rax\n\t" name #sfx " %" #mod "3\n\tmov %%rax, %2" TAKE_FLAGS \
	    : "+&a"(ax), "=&d"(hi), "=&r"(lo)                                                  \
	    : "r"(b), "r"(a)                                                                   \
	    : "cc")

/* DX:AX = AX * operand 0; 8 bits: AX = AL * operand. */
static ALWAYS_INLINE enum xr mul_wide(struct vcpu *v, const struct insn *i, bool is_signed)
{
	unsigned n = i->op[0].bytes;
	uint64_t a = gpr_read(v, R_AX, n), b, ax = ax_of_flags(v->regs.rflags), hi, lo;

	if (!op_read(v, i, 0, &b))
		return XR_FAULT;
	switch (n) {
	case 1:
		if (is_signed)
			MUL_HOST("imul", b, b);
		else
			MUL_HOST("mul", b, b);
		gpr_write(v, R_AX, 2, lo);
		break;
	case 2:
		if (is_signed)
			MUL_HOST("imul", w, w);
		else
			MUL_HOST("mul", w, w);
		break;
	case 4:
		if (is_signed)
			MUL_HOST("imul", l, k);
		else
			MUL_HOST("mul", l, k);
		break;
	default:
		if (is_signed)
			MUL_HOST("imul", q, q);
		else
			MUL_HOST("mul", q, q);
		break;
	}
	if (n > 1) {
		gpr_write(v, R_AX, n, lo);
		gpr_write(v, R_DX, n, hi);
	}
	flags_put(v, flags_of_ax(ax), FL_ARITH);
	return XR_NEXT;
}

enum xr int_mul(struct vcpu *v, const struct insn *i)
{
	return mul_wide(v, i, false);
}

enum xr int_imul_one(struct vcpu *v, const struct insn *i)
{
	return mul_wide(v, i, true);
}

/* IMUL r, r/m and IMUL r, r/m, imm */
enum xr int_imul(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t a, b, ax = ax_of_flags(v->regs.rflags);

	if (!op_read(v, i, 1, &b))
		return XR_FAULT;
	a = i->nops >= 3 ? i->imm[0] : opreg_read(v, &i->op[0]);
	switch (n) {
	case 2:
		asm(GIVE_FLAGS "imulw %w2, %w1" TAKE_FLAGS : "+&a"(ax), "+r"(a) : "r"(b) : "cc");
		break;
	case 4:
		asm(GIVE_FLAGS "imull %k2, %k1" TAKE_FLAGS : "+&a"(ax), "+r"(a) : "r"(b) : "cc");
		break;
	default:
		asm(GIVE_FLAGS "imulq %q2, %q1" TAKE_FLAGS : "+&a"(ax), "+r"(a) : "r"(b) : "cc");
		break;
	}
	opreg_write(v, &i->op[0], a);
	flags_put(v, flags_of_ax(ax), FL_ARITH);
	return XR_NEXT;
}

/* RDX is read before either result is written; the same register twice holds the high half (SDM 2B MULX). */
enum xr int_mulx(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t a = gpr_read(v, R_DX, n), b;
	unsigned __int128 p;

	if (!op_read(v, i, 2, &b))
		return XR_FAULT;
	p = (unsigned __int128)a * b;
	opreg_write(v, &i->op[1], (uint64_t)p);
	opreg_write(v, &i->op[0], (uint64_t)(p >> (n * 8)));
	return XR_NEXT;
}

/* ---- division ---- */

static void div_results(struct vcpu *v, unsigned n, uint64_t q, uint64_t rem)
{
	if (n == 1) {
		gpr_write(v, R_AX, 2, (q & 0xff) | (rem & 0xff) << 8);
	} else {
		gpr_write(v, R_AX, n, q);
		gpr_write(v, R_DX, n, rem);
	}
}

/* hi:lo / d with hi < d: cannot overflow, hence cannot trap. */
static uint64_t div128(uint64_t hi, uint64_t lo, uint64_t d, uint64_t *rem)
{
	uint64_t q;

	asm("divq %4" : "=a"(q), "=d"(*rem) : "0"(lo), "1"(hi), "r"(d) : "cc");
	return q;
}

enum xr int_div(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t d, q, rem;

	if (!op_read(v, i, 0, &d))
		return XR_FAULT;
	if (!d)
		return fault_set(v, VEC_DE);
	if (n == 8) {
		if (v->regs.gpr[R_DX] >= d)
			return fault_set(v, VEC_DE);
		q = div128(v->regs.gpr[R_DX], v->regs.gpr[R_AX], d, &rem);
	} else {
		uint64_t a = n == 1 ? gpr_read(v, R_AX, 2) : gpr_read(v, R_DX, n) << (n * 8) | gpr_read(v, R_AX, n);

		q = a / d;
		rem = a % d;
		if (q >> (n * 8))
			return fault_set(v, VEC_DE);
	}
	div_results(v, n, q, rem);
	return XR_NEXT;
}

enum xr int_idiv(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t d, q, rem, limit;
	unsigned __int128 a;
	bool neg_a, neg_d;

	if (!op_read(v, i, 0, &d))
		return XR_FAULT;
	if (!d)
		return fault_set(v, VEC_DE);
	/* magnitudes and signs, so that no intermediate overflows */
	d = sext_from(d, n);
	neg_d = (int64_t)d < 0;
	if (neg_d)
		d = 0 - d;
	if (n == 8)
		a = (unsigned __int128)v->regs.gpr[R_DX] << 64 | v->regs.gpr[R_AX];
	else if (n == 1)
		a = (unsigned __int128)(__int128)(int16_t)v->regs.gpr[R_AX];
	else
		a = (unsigned __int128)(__int128)(int64_t)sext_from(
			gpr_read(v, R_DX, n) << (n * 8) | gpr_read(v, R_AX, n), 2 * n);
	neg_a = (__int128)a < 0;
	if (neg_a)
		a = 0 - a;
	if ((uint64_t)(a >> 64) >= d)
		return fault_set(v, VEC_DE);
	q = div128((uint64_t)(a >> 64), (uint64_t)a, d, &rem);
	limit = (1ull << (n * 8 - 1)) - (neg_a == neg_d);
	if (q > limit)
		return fault_set(v, VEC_DE);
	if (neg_a != neg_d)
		q = 0 - q;
	if (neg_a)
		rem = 0 - rem;
	div_results(v, n, q, rem);
	return XR_NEXT;
}

/* ---- carry chains, CRC ---- */

enum xr int_adcx(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t b, fl = v->regs.rflags, a = opreg_read(v, &i->op[0]);

	if (!op_read(v, i, 1, &b))
		return XR_FAULT;
	a = alu2(ALU_ADC, n, a, b, &fl);
	opreg_write(v, &i->op[0], a);
	flags_put(v, fl, FL_CF);
	return XR_NEXT;
}

enum xr int_adox(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->op[0].bytes;
	uint64_t b, fl = v->regs.rflags & FL_OF ? FL_CF : 0, a = opreg_read(v, &i->op[0]);

	if (!op_read(v, i, 1, &b))
		return XR_FAULT;
	a = alu2(ALU_ADC, n, a, b, &fl);
	opreg_write(v, &i->op[0], a);
	flags_put(v, fl & FL_CF ? FL_OF : 0, FL_OF);
	return XR_NEXT;
}

/* The source's size is that of operand 1; the destination is 32 or 64 bits. */
enum xr int_crc32(struct vcpu *v, const struct insn *i)
{
	uint64_t b, a = opreg_read(v, &i->op[0]);

	NEED_HOST(v, "sse4.2");
	if (!op_read(v, i, 1, &b))
		return XR_FAULT;
	switch (i->op[1].bytes) {
	case 1:
		asm("crc32b %b1, %k0" : "+r"(a) : "r"(b));
		break;
	case 2:
		asm("crc32w %w1, %k0" : "+r"(a) : "r"(b));
		break;
	case 4:
		asm("crc32l %k1, %k0" : "+r"(a) : "r"(b));
		break;
	default:
		asm("crc32q %q1, %q0" : "+r"(a) : "r"(b));
		break;
	}
	opreg_write(v, &i->op[0], (uint32_t)a);
	return XR_NEXT;
}
