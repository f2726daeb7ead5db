/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The instructions that move the state as a whole: FXSAVE, FXRSTOR, the XSAVE family, LDMXCSR, STMXCSR.
 *
 * They work on the image in v->regs.xsave, whose standard format is the one that the guest sees for its own areas: the
 * component offsets in the guest's CPUID 0DH are the host's.
 *
 * Deviations: XSAVEOPT has the init optimization alone (the others are permitted, not required, SDM 1 13.9); x87 and
 * SSE count as in use always; FCS and FDS are stored as zero, as processors with CPUID.7.0:EBX[13] do; instruction and
 * operand pointers are stored only when an x87 exception is pending, as AMD's processors do.
 */
#include <Zydis/Mnemonic.h>

#include "translator/system.h"
#include "translator/vec.h"

/* ---- pieces of guest memory ---- */

static bool store_bytes(struct vcpu *v, const struct insn *i, uint64_t off, const uint8_t *src, unsigned n)
{
	for (unsigned k = 0; k < n; k += 32)
		if (!mem_store(v, i->seg, off + k, src + k, n - k < 32 ? n - k : 32))
			return false;
	return true;
}

static bool load_bytes(struct vcpu *v, const struct insn *i, uint64_t off, uint8_t *dst, unsigned n)
{
	for (unsigned k = 0; k < n; k += 32)
		if (!mem_load(v, i->seg, off + k, dst + k, n - k < 32 ? n - k : 32))
			return false;
	return true;
}

/* Registers XMM8-15 exist in 64-bit mode only; elsewhere their place in memory is neither read nor written. */
static unsigned xmm_bytes(const struct insn *i)
{
	return i->code_bits == 64 ? 16 * 16 : 8 * 16;
}

/* Control bytes 0-23: with REX.W the pointers have 64 bits, else 32 bits and a selector. */
static void control_out(uint8_t out[24], const uint8_t *x, bool wide)
{
	vec_copy(out, x, 24);
	if (!wide) {
		vec_put32(out + XS_FIP + 4, 0);
		vec_put32(out + XS_FDP + 4, 0);
	}
	out[5] = 0;
}

static void control_in(uint8_t *x, const uint8_t in[24], bool wide)
{
	vec_copy(x, in, 24);
	x[5] = 0;
	vec_put16(x + XS_FCW, vec_x87_fcw(vec_get16(in)));
	if (!wide) {
		vec_put32(x + XS_FIP + 4, 0);
		vec_put32(x + XS_FDP + 4, 0);
	}
	vec_put16(x + XS_FOP, vec_get16(x + XS_FOP) & 0x7ff);
	vec_update_es(x);
}

/* ST(i): 10 bytes each; the rest of the 16 is reserved and must not travel. */
static void st_in(uint8_t *x, const uint8_t *in)
{
	for (unsigned k = 0; k < 8; k++) {
		vec_copy(x + XS_ST + 16 * k, in + 16 * k, 8);
		vec_put64(x + XS_ST + 16 * k + 8, vec_get16(in + 16 * k + 8));
	}
}

static bool wide_form(const struct insn *i)
{
	return (i->rex & 8) != 0;
}

/* With EFER.FFXSR, FXSAVE and FXRSTOR leave the XMM registers out at CPL 0 in 64-bit mode (APM 2 11.4.4.2). */
static bool fast_fxsr(const struct vcpu *v, const struct insn *i)
{
	return (v->regs.efer & EFER_FFXSR) && i->code_bits == 64 && vcpu_cpl(v) == 0;
}

/* ---- FXSAVE, FXRSTOR (SDM 2A) ---- */

enum xr vec_fxsave(struct vcpu *v, const struct insn *i)
{
	uint8_t head[32], *x;
	uint64_t off;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	if (!vec_mem_aligned(v, i, XS_LEGACY_BYTES, 16, ACC_WRITE, &off))
		return XR_FAULT;
	x = vec_image(v);
	control_out(head, x, wide_form(i));
	vec_put32(head + XS_MXCSR, vec_get32(x + XS_MXCSR));
	vec_put32(head + XS_MXCSR_MASK, v->vec->mxcsr_mask);
	if (!store_bytes(v, i, off, head, sizeof(head)) || !store_bytes(v, i, off + XS_ST, x + XS_ST, XS_XMM - XS_ST))
		return XR_FAULT;
	if (!fast_fxsr(v, i) && !store_bytes(v, i, off + XS_XMM, x + XS_XMM, xmm_bytes(i)))
		return XR_FAULT;
	return XR_NEXT;
}

enum xr vec_fxrstor(struct vcpu *v, const struct insn *i)
{
	uint8_t in[XS_LEGACY_BYTES], *x;
	bool sse = v->regs.cr4 & CR4_OSFXSR, xmm = sse && !fast_fxsr(v, i);
	uint64_t off;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	if (!vec_mem_aligned(v, i, XS_LEGACY_BYTES, 16, ACC_READ, &off) ||
	    !load_bytes(v, i, off, in, XS_XMM + (xmm ? xmm_bytes(i) : 0)))
		return XR_FAULT;
	if (sse && (vec_get32(in + XS_MXCSR) & ~v->vec->mxcsr_mask))
		return fault_gp0(v);
	x = vec_image(v);
	control_in(x, in, wide_form(i));
	st_in(x, in + XS_ST);
	if (sse)
		vec_put32(x + XS_MXCSR, vec_get32(in + XS_MXCSR));
	if (xmm)
		vec_copy(x + XS_XMM, in + XS_XMM, xmm_bytes(i));
	return XR_NEXT;
}

/* ---- XSAVE, XSAVEC, XSAVEOPT (SDM 1 13.7, 13.9, 13.10) ---- */

static uint64_t requested(const struct vcpu *v)
{
	return v->regs.xcr0 & ((v->regs.gpr[R_DX] << 32) | (uint32_t)v->regs.gpr[R_AX]) & v->vec->mask;
}

static bool compacts(const struct insn *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_XSAVEC || i->mnemonic == ZYDIS_MNEMONIC_XSAVEC64;
}

/* Components in their initial state are not written. */
static bool init_optimized(const struct insn *i)
{
	return compacts(i) || i->mnemonic == ZYDIS_MNEMONIC_XSAVEOPT || i->mnemonic == ZYDIS_MNEMONIC_XSAVEOPT64;
}

enum xr vec_xsave(struct vcpu *v, const struct insn *i)
{
	uint64_t off, rfbm, in_use, bv = 0;
	bool compact = compacts(i);
	uint8_t head[32], zero[32], hdr[64], *x, *up;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	if (!vec_mem_aligned(v, i, XS_HEADER_END, 64, ACC_WRITE, &off))
		return XR_FAULT;
	rfbm = requested(v);
	x = vec_image(v);
	up = vec_upper(v, false);
	in_use = XC_X87 | XC_SSE | (up ? XC_AVX : 0);
	vec_zero(zero, sizeof(zero));
	if (!compact && !load_bytes(v, i, off + XS_XSTATE_BV, (uint8_t *)&bv, 8))
		return XR_FAULT;
	if (rfbm & XC_X87) {
		control_out(head, x, wide_form(i));
		if (!store_bytes(v, i, off, head, 24) || !store_bytes(v, i, off + XS_ST, x + XS_ST, XS_XMM - XS_ST))
			return XR_FAULT;
	}
	if (rfbm & (compact ? XC_SSE : XC_SSE | XC_AVX)) {
		vec_put32(head, vec_get32(x + XS_MXCSR));
		vec_put32(head + 4, v->vec->mxcsr_mask);
		if (!store_bytes(v, i, off + XS_MXCSR, head, 8))
			return XR_FAULT;
	}
	if ((rfbm & XC_SSE) && !store_bytes(v, i, off + XS_XMM, x + XS_XMM, xmm_bytes(i)))
		return XR_FAULT;
	if ((rfbm & XC_AVX) && (up || !init_optimized(i))) {
		/* the first extended component of a compacted area lies right behind the header */
		uint64_t at = off + (compact ? XS_HEADER_END : v->vec->avx_offset);

		for (unsigned k = 0; k < xmm_bytes(i); k += 32)
			if (!mem_store(v, i->seg, at + k, up ? up + k : zero, 32))
				return XR_FAULT;
	}
	vec_zero(hdr, sizeof(hdr));
	if (compact) {
		vec_put64(hdr, in_use & rfbm);
		vec_put64(hdr + 8, rfbm | 1ull << 63);
		return store_bytes(v, i, off + XS_XSTATE_BV, hdr, 16) ? XR_NEXT : XR_FAULT;
	}
	vec_put64(hdr, (bv & ~rfbm) | (in_use & rfbm));
	return store_bytes(v, i, off + XS_XSTATE_BV, hdr, 8) ? XR_NEXT : XR_FAULT;
}

/* ---- XRSTOR (SDM 1 13.8) ---- */

/* Is this header one that XRSTOR takes with the guest's XCR0? */
static bool header_ok(const struct vcpu *v, const uint8_t *hdr)
{
	uint64_t bv = vec_get64(hdr), comp = vec_get64(hdr + 8);

	for (unsigned k = 16; k < 64; k += 8)
		if (vec_get64(hdr + k) && (k == 16 || (comp >> 63)))
			return false;
	if (!(comp >> 63))
		return comp == 0 && !(bv & ~v->regs.xcr0);
	return ((v->vec->features >> IF_XSAVEC) & 1) && !((comp & ~(1ull << 63)) & ~v->regs.xcr0) && !(bv & ~comp) &&
	       !(bv >> 63);
}

enum xr vec_xrstor(struct vcpu *v, const struct insn *i)
{
	uint8_t legacy[XS_LEGACY_BYTES], avx[AVX_BYTES], hdr[64], *x, *up;
	uint64_t off, rfbm, bv, comp;
	unsigned nx = xmm_bytes(i);
	uint32_t mxcsr = MXCSR_INIT;
	bool compact, mxcsr_loaded;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	if (!vec_mem_aligned(v, i, XS_HEADER_END, 64, ACC_READ, &off) ||
	    !load_bytes(v, i, off + XS_XSTATE_BV, hdr, sizeof(hdr)))
		return XR_FAULT;
	if (!header_ok(v, hdr))
		return fault_gp0(v);
	rfbm = requested(v);
	bv = vec_get64(hdr);
	comp = vec_get64(hdr + 8);
	compact = comp >> 63;
	/* everything is read before anything changes */
	if (!load_bytes(v, i, off, legacy, XS_XMM + nx))
		return XR_FAULT;
	if ((rfbm & bv & XC_AVX) && !load_bytes(v, i, off + (compact ? XS_HEADER_END : v->vec->avx_offset), avx, nx))
		return XR_FAULT;
	mxcsr_loaded = compact ? (rfbm & XC_SSE) != 0 : (rfbm & (XC_SSE | XC_AVX)) != 0;
	if (mxcsr_loaded && (!compact || (bv & XC_SSE))) {
		mxcsr = vec_get32(legacy + XS_MXCSR);
		if (mxcsr & ~v->vec->mxcsr_mask)
			return fault_gp0(v);
	}

	x = vec_image(v);
	if (rfbm & XC_X87) {
		if (bv & XC_X87) {
			control_in(x, legacy, wide_form(i));
			st_in(x, legacy + XS_ST);
		} else {
			vec_zero(x, XS_MXCSR);
			vec_zero(x + XS_ST, XS_XMM - XS_ST);
			vec_put16(x + XS_FCW, FCW_INIT);
		}
	}
	if (mxcsr_loaded)
		vec_put32(x + XS_MXCSR, mxcsr);
	if (rfbm & XC_SSE) {
		if (bv & XC_SSE)
			vec_copy(x + XS_XMM, legacy + XS_XMM, nx);
		else
			vec_zero(x + XS_XMM, nx);
	}
	if (rfbm & XC_AVX) {
		up = vec_upper(v, (bv & XC_AVX) != 0);
		if (up && (bv & XC_AVX))
			vec_copy(up, avx, nx);
		else if (up && nx < AVX_BYTES)
			vec_zero(up, nx);
		else
			vec_put64(x + XS_XSTATE_BV, vec_get64(x + XS_XSTATE_BV) & ~(uint64_t)XC_AVX);
	}
	return XR_NEXT;
}

enum xr vec_ldmxcsr(struct vcpu *v, const struct insn *i)
{
	uint32_t val;
	uint8_t *x;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	if (!mem_load(v, i->seg, insn_ea(v, i), &val, 4))
		return XR_FAULT;
	if (val & ~v->vec->mxcsr_mask)
		return fault_gp0(v);
	x = vec_image(v);
	vec_put32(x + XS_MXCSR, val);
	return XR_NEXT;
}

enum xr vec_stmxcsr(struct vcpu *v, const struct insn *i)
{
	uint32_t val;
	enum xr r = vec_precheck(v, i);

	if (r != XR_NEXT)
		return r;
	val = vec_get32(vec_image(v) + XS_MXCSR);
	return mem_store(v, i->seg, insn_ea(v, i), &val, 4) ? XR_NEXT : XR_FAULT;
}
