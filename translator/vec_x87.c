/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FNSTENV, FLDENV, FNSAVE, FRSTOR: the x87 environment in the four layouts that mode and operand size choose
 * (SDM 1 figures 8-9 to 8-12). In 64-bit mode the layout is the 32-bit protected one.
 *
 * The image keeps one tag bit a register (empty or not); the two-bit tags of the environment are computed from the
 * registers' contents, as FNSTENV itself does after an FXRSTOR (SDM 2A FXSAVE, "recreating FSAVE format").
 */
#include "translator/system.h"
#include "translator/vec.h"

#define ENV_MAX 28
#define ST_BYTES 80

static unsigned env_bytes(const struct insn *i)
{
	bool small = i->code_bits == 16 ? !i->pfx66 : i->pfx66;

	return small && !(i->rex & 8) ? 14 : 28;
}

static bool real_layout(const struct vcpu *v)
{
	return vcpu_real_mode(v) || vcpu_v86(v);
}

/* Two bits a physical register: 0 valid, 1 zero, 2 special, 3 empty. */
static uint16_t full_tag_word(const uint8_t *x)
{
	unsigned top = (vec_get16(x + XS_FSW) >> 11) & 7;
	uint16_t tags = 0;

	for (unsigned phys = 0; phys < 8; phys++) {
		const uint8_t *st = x + XS_ST + 16 * ((phys - top) & 7);
		uint64_t mant = vec_get64(st);
		unsigned exp = vec_get16(st + 8) & 0x7fff, tag;

		if (!((x[XS_FTW] >> phys) & 1))
			tag = 3;
		else if (exp == 0 && mant == 0)
			tag = 1;
		else if (exp == 0 || exp == 0x7fff || !(mant >> 63))
			tag = 2;
		else
			tag = 0;
		tags |= tag << (2 * phys);
	}
	return tags;
}

static void env_out(const struct vcpu *v, const uint8_t *x, uint8_t *e, unsigned n)
{
	uint16_t fcw = vec_get16(x + XS_FCW), fsw = vec_get16(x + XS_FSW), ftw = full_tag_word(x);
	uint32_t ip = vec_get32(x + XS_FIP), dp = vec_get32(x + XS_FDP), op = vec_get16(x + XS_FOP) & 0x7ff;

	if (n == 28) {
		vec_put32(e, 0xffff0000u | fcw);
		vec_put32(e + 4, 0xffff0000u | fsw);
		vec_put32(e + 8, 0xffff0000u | ftw);
		if (real_layout(v)) {
			vec_put32(e + 12, 0xffff0000u | (ip & 0xffff));
			vec_put32(e + 16, (ip >> 16 << 12) | op);
			vec_put32(e + 20, 0xffff0000u | (dp & 0xffff));
			vec_put32(e + 24, dp >> 16 << 12);
		} else {
			vec_put32(e + 12, ip);
			vec_put32(e + 16, op << 16);
			vec_put32(e + 20, dp);
			vec_put32(e + 24, 0xffff0000u);
		}
		return;
	}
	vec_put16(e, fcw);
	vec_put16(e + 2, fsw);
	vec_put16(e + 4, ftw);
	vec_put16(e + 6, (uint16_t)ip);
	vec_put16(e + 8, real_layout(v) ? (uint16_t)((ip >> 16 << 12) | op) : 0);
	vec_put16(e + 10, (uint16_t)dp);
	vec_put16(e + 12, real_layout(v) ? (uint16_t)(dp >> 16 << 12) : 0);
}

static void env_in(const struct vcpu *v, uint8_t *x, const uint8_t *e, unsigned n)
{
	unsigned w = n == 28 ? 4 : 2;
	uint16_t ftw = vec_get16(e + 2 * w);
	uint64_t ip, dp;
	uint32_t op = 0;
	uint8_t abridged = 0;

	for (unsigned phys = 0; phys < 8; phys++)
		if (((ftw >> (2 * phys)) & 3) != 3)
			abridged |= 1u << phys;
	if (n == 28 && !real_layout(v)) {
		ip = vec_get32(e + 12);
		op = vec_get16(e + 18) & 0x7ff;
		dp = vec_get32(e + 20);
	} else if (n == 28) {
		ip = vec_get16(e + 12) | ((uint64_t)(vec_get32(e + 16) >> 12) << 16);
		op = vec_get32(e + 16) & 0x7ff;
		dp = vec_get16(e + 20) | ((uint64_t)(vec_get32(e + 24) >> 12) << 16);
	} else {
		ip = vec_get16(e + 6);
		dp = vec_get16(e + 10);
		if (real_layout(v)) {
			ip |= (uint64_t)(vec_get16(e + 8) >> 12) << 16;
			op = vec_get16(e + 8) & 0x7ff;
			dp |= (uint64_t)(vec_get16(e + 12) >> 12) << 16;
		}
	}
	vec_put16(x + XS_FCW, vec_x87_fcw(vec_get16(e)));
	vec_set_top(x, vec_get16(e + w) >> 11);
	vec_put16(x + XS_FSW, vec_get16(e + w));
	x[XS_FTW] = abridged;
	x[XS_FTW + 1] = 0;
	vec_put16(x + XS_FOP, (uint16_t)op);
	vec_put64(x + XS_FIP, ip);
	vec_put64(x + XS_FDP, dp);
	vec_update_es(x);
}

static void mask_all(uint8_t *x)
{
	vec_put16(x + XS_FCW, vec_get16(x + XS_FCW) | 0x3f);
	vec_update_es(x);
}

enum xr vec_fnstenv(struct vcpu *v, const struct insn *i)
{
	uint8_t e[ENV_MAX], *x;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	x = vec_image(v);
	env_out(v, x, e, env_bytes(i));
	if (!mem_store(v, i->seg, insn_ea(v, i), e, env_bytes(i)))
		return XR_FAULT;
	mask_all(x);
	return XR_NEXT;
}

enum xr vec_fldenv(struct vcpu *v, const struct insn *i)
{
	uint8_t e[ENV_MAX], *x;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	x = vec_image(v);
	r = vec_check_pending(v);
	if (r != XR_NEXT)
		return r;
	if (!mem_load(v, i->seg, insn_ea(v, i), e, env_bytes(i)))
		return XR_FAULT;
	x = vec_image(v);
	env_in(v, x, e, env_bytes(i));
	return XR_NEXT;
}

enum xr vec_fnsave(struct vcpu *v, const struct insn *i)
{
	uint8_t b[ENV_MAX + ST_BYTES + 8], *x;
	unsigned n = env_bytes(i), total = n + ST_BYTES;
	uint64_t off;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	x = vec_image(v);
	env_out(v, x, b, n);
	for (unsigned k = 0; k < 8; k++) {
		vec_put64(b + n + 10 * k, vec_get64(x + XS_ST + 16 * k));
		vec_put16(b + n + 10 * k + 8, vec_get16(x + XS_ST + 16 * k + 8));
	}
	off = insn_ea(v, i);
	/* both pieces are stored again when the second one faults: nothing else has changed by then */
	if (!mem_store(v, i->seg, off, b, 54) || !mem_store(v, i->seg, off + 54, b + 54, total - 54))
		return XR_FAULT;
	x = vec_image(v);
	vec_set_top(x, 0);
	vec_zero(x, XS_MXCSR); /* FNINIT, which leaves the data registers alone but for their tags */
	vec_put16(x + XS_FCW, FCW_INIT);
	return XR_NEXT;
}

enum xr vec_frstor(struct vcpu *v, const struct insn *i)
{
	uint8_t b[ENV_MAX + ST_BYTES + 8], *x;
	unsigned n = env_bytes(i), total = n + ST_BYTES;
	uint64_t off;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	vec_image(v);
	r = vec_check_pending(v);
	if (r != XR_NEXT)
		return r;
	off = insn_ea(v, i);
	if (!mem_load(v, i->seg, off, b, 54) || !mem_load(v, i->seg, off + 54, b + 54, total - 54))
		return XR_FAULT;
	x = vec_image(v);
	env_in(v, x, b, n);
	for (unsigned k = 0; k < 8; k++) {
		vec_put64(x + XS_ST + 16 * k, vec_get64(b + n + 10 * k));
		vec_put64(x + XS_ST + 16 * k + 8, vec_get16(b + n + 10 * k + 8));
	}
	return XR_NEXT;
}
