// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Decimal adjustment (SDM 2A AAA ... 2D DAS), not in 64-bit mode, so the host cannot do it for us.
 *
 * Undefined flags: SF, ZF, PF follow AL; OF is cleared.
 */
#include "translator/int_op.h"

static void flags_of_al(struct vcpu *v, uint64_t extra, uint64_t mask)
{
	uint8_t al = (uint8_t)v->regs.gpr[R_AX];
	uint64_t fl = extra;

	if (!al)
		fl |= FL_ZF;
	if (al & 0x80)
		fl |= FL_SF;
	if (!__builtin_parity(al))
		fl |= FL_PF;
	flags_put(v, fl, mask | FL_ZF | FL_SF | FL_PF);
}

/* AL's low digit after an addition (sign +1) or subtraction (-1) of unpacked digits. */
static enum xr ascii_adjust(struct vcpu *v, int sign)
{
	uint64_t ax = v->regs.gpr[R_AX];
	bool adjust = (ax & 15) > 9 || (v->regs.rflags & FL_AF);

	if (adjust)
		ax = sign > 0 ? ax + 0x106 : ax - 0x106;
	gpr_write(v, R_AX, 2, ax & 0xff0f);
	flags_of_al(v, adjust ? FL_AF | FL_CF : 0, FL_ARITH);
	return XR_NEXT;
}

enum xr int_aaa(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return ascii_adjust(v, 1);
}

enum xr int_aas(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return ascii_adjust(v, -1);
}

static enum xr decimal_adjust(struct vcpu *v, int sign)
{
	uint8_t old = (uint8_t)v->regs.gpr[R_AX], al = old;
	bool cf = v->regs.rflags & FL_CF;
	uint64_t fl = 0;

	if ((old & 15) > 9 || (v->regs.rflags & FL_AF)) {
		al = (uint8_t)(al + sign * 6);
		fl |= FL_AF;
		/* DAS: a borrow out of AL sets CF as well */
		if (sign < 0 && old < 6)
			fl |= FL_CF;
		if (cf)
			fl |= FL_CF;
	}
	if (old > 0x99 || cf) {
		al = (uint8_t)(al + sign * 0x60);
		fl |= FL_CF;
	}
	gpr_write(v, R_AX, 1, al);
	flags_of_al(v, fl, FL_ARITH);
	return XR_NEXT;
}

enum xr int_daa(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return decimal_adjust(v, 1);
}

enum xr int_das(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return decimal_adjust(v, -1);
}

enum xr int_aam(struct vcpu *v, const struct insn *i)
{
	uint8_t base = (uint8_t)i->imm[0], al = (uint8_t)v->regs.gpr[R_AX];

	if (!base)
		return fault_set(v, VEC_DE);
	gpr_write(v, R_AX, 2, (uint64_t)(al / base) << 8 | al % base);
	flags_of_al(v, 0, FL_ARITH);
	return XR_NEXT;
}

enum xr int_aad(struct vcpu *v, const struct insn *i)
{
	uint64_t ax = v->regs.gpr[R_AX];

	gpr_write(v, R_AX, 2, (ax + (ax >> 8 & 0xff) * (uint8_t)i->imm[0]) & 0xff);
	flags_of_al(v, 0, FL_ARITH);
	return XR_NEXT;
}

/* SALC (undocumented): AL = CF ? FFH : 0 */
enum xr int_salc(struct vcpu *v, const struct insn *i)
{
	(void)i;
	gpr_write(v, R_AX, 1, v->regs.rflags & FL_CF ? 0xff : 0);
	return XR_NEXT;
}
