// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Shifts and rotates, by the host's own instructions.
 *
 * With a masked count of zero no flag changes (SDM 2B "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR"), but the destination is
 * still written: a 32-bit register is zero-extended.
 */
#include "translator/int_op.h"

enum shift { SH_SHL, SH_SHR, SH_SAR, SH_ROL, SH_ROR, SH_RCL, SH_RCR };

#define SHIFT_HOST(name)                                                   \
	do {                                                               \
		switch (n) {                                               \
		case 1:                                                    \
			asm("bt $0, %k3\n\t" name "b %%cl, %b1" TAKE_FLAGS \
			    : "=&a"(ax), "+q"(a)                           \
			    : "c"(count), "r"(carry)                       \
			    : "cc");                                       \
			break;                                             \
		case 2:                                                    \
			asm("bt $0, %k3\n\t" name "w %%cl, %w1" TAKE_FLAGS \
			    : "=&a"(ax), "+r"(a)                           \
			    : "c"(count), "r"(carry)                       \
			    : "cc");                                       \
			break;                                             \
		case 4:                                                    \
			asm("bt $0, %k3\n\t" name "l %%cl, %k1" TAKE_FLAGS \
			    : "=&a"(ax), "+r"(a)                           \
			    : "c"(count), "r"(carry)                       \
			    : "cc");                                       \
			break;                                             \
		default:                                                   \
			asm("bt $0, %k3\n\t" name "q %%cl, %q1" TAKE_FLAGS \
			    : "=&a"(ax), "+r"(a)                           \
			    : "c"(count), "r"(carry)                       \
			    : "cc");                                       \
			break;                                             \
		}                                                          \
	} while (0)

static uint64_t shift_host(enum shift op, unsigned n, uint64_t a, uint64_t count, uint64_t carry, uint64_t *fl)
{
	uint64_t ax;

	switch (op) {
	case SH_SHL:
		SHIFT_HOST("shl");
		break;
	case SH_SHR:
		SHIFT_HOST("shr");
		break;
	case SH_SAR:
		SHIFT_HOST("sar");
		break;
	case SH_ROL:
		SHIFT_HOST("rol");
		break;
	case SH_ROR:
		SHIFT_HOST("ror");
		break;
	case SH_RCL:
		SHIFT_HOST("rcl");
		break;
	default:
		SHIFT_HOST("rcr");
		break;
	}
	*fl = flags_of_ax(ax);
	return a;
}

static uint64_t shift_count(const struct vcpu *v, const struct insn *i, unsigned k)
{
	uint64_t c = i->op[k].kind == OPK_IMM ? i->imm[0] : v->regs.gpr[R_CX];

	return c & (i->op[0].bytes == 8 ? 63 : 31);
}

static ALWAYS_INLINE enum xr shift(struct vcpu *v, const struct insn *i, enum shift op)
{
	uint64_t count = shift_count(v, i, 1), fl = 0, res;
	struct rmw r;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	do
		res = count ? shift_host(op, i->op[0].bytes, r.old, count, v->regs.rflags, &fl) : r.old;
	while (!rmw_end(v, i, &r, res));
	if (r.failed)
		return XR_FAULT;
	if (count)
		flags_put(v, fl, op >= SH_ROL ? FL_CF | FL_OF : FL_ARITH);
	return XR_NEXT;
}

enum xr int_shl(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_SHL);
}

enum xr int_shr(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_SHR);
}

enum xr int_sar(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_SAR);
}

enum xr int_rol(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_ROL);
}

enum xr int_ror(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_ROR);
}

enum xr int_rcl(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_RCL);
}

enum xr int_rcr(struct vcpu *v, const struct insn *i)
{
	return shift(v, i, SH_RCR);
}

#define DOUBLE_HOST(name)                                                                                         \
	do {                                                                                                      \
		switch (n) {                                                                                      \
		case 2:                                                                                           \
			asm(name "w %%cl, %w2, %w1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "c"(count) : "cc"); \
			break;                                                                                    \
		case 4:                                                                                           \
			asm(name "l %%cl, %k2, %k1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "c"(count) : "cc"); \
			break;                                                                                    \
		default:                                                                                          \
			asm(name "q %%cl, %q2, %q1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "c"(count) : "cc"); \
			break;                                                                                    \
		}                                                                                                 \
	} while (0)

static ALWAYS_INLINE enum xr shift_double(struct vcpu *v, const struct insn *i, bool left)
{
	uint64_t count = shift_count(v, i, 2), b = opreg_read(v, &i->op[1]), a, ax = 0;
	unsigned n = i->op[0].bytes;
	struct rmw r;

	if (!rmw_begin(v, i, &r))
		return XR_FAULT;
	a = r.old;
	if (count) {
		if (left)
			DOUBLE_HOST("shld");
		else
			DOUBLE_HOST("shrd");
	}
	rmw_end(v, i, &r, a);
	if (r.failed)
		return XR_FAULT;
	if (count)
		flags_put(v, flags_of_ax(ax), FL_ARITH);
	return XR_NEXT;
}

enum xr int_shld(struct vcpu *v, const struct insn *i)
{
	return shift_double(v, i, true);
}

enum xr int_shrd(struct vcpu *v, const struct insn *i)
{
	return shift_double(v, i, false);
}

/* ---- BMI2: no flags; the count is the last operand, masked by the size ---- */

static bool shiftx_operands(struct vcpu *v, const struct insn *i, uint64_t *a, unsigned *count)
{
	if (!op_read(v, i, 1, a))
		return false;
	*count =
		(unsigned)(i->op[2].kind == OPK_IMM ? i->imm[0] : v->regs.gpr[i->op[2].reg]) & (i->op[0].bytes * 8 - 1);
	return true;
}

enum xr int_sarx(struct vcpu *v, const struct insn *i)
{
	unsigned count;
	uint64_t a;

	if (!shiftx_operands(v, i, &a, &count))
		return XR_FAULT;
	opreg_write(v, &i->op[0], (uint64_t)((int64_t)sext_from(a, i->op[0].bytes) >> count));
	return XR_NEXT;
}

enum xr int_shlx(struct vcpu *v, const struct insn *i)
{
	unsigned count;
	uint64_t a;

	if (!shiftx_operands(v, i, &a, &count))
		return XR_FAULT;
	opreg_write(v, &i->op[0], a << count);
	return XR_NEXT;
}

enum xr int_shrx(struct vcpu *v, const struct insn *i)
{
	unsigned count;
	uint64_t a;

	if (!shiftx_operands(v, i, &a, &count))
		return XR_FAULT;
	opreg_write(v, &i->op[0], a >> count);
	return XR_NEXT;
}

enum xr int_rorx(struct vcpu *v, const struct insn *i)
{
	unsigned count, bits = i->op[0].bytes * 8;
	uint64_t a;

	if (!shiftx_operands(v, i, &a, &count))
		return XR_FAULT;
	opreg_write(v, &i->op[0], count ? a >> count | a << (bits - count) : a);
	return XR_NEXT;
}
