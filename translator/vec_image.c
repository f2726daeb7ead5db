/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The register image in v->regs.xsave as something to read and write, and its value after RESET.
 */
#include "translator/mmu.h"
#include "translator/system.h"
#include "translator/vec.h"

void vec_reset(struct vcpu *v)
{
	uint8_t *x = v->regs.xsave;

	vcpu_vec_sync(v);
	vec_zero(x, XSAVE_AREA_BYTES);
	vec_put16(x + XS_FCW, 0x0040);
	x[XS_FTW] = 0xff; /* tag word 5555H: every register holds zero, none is empty */
	vec_put32(x + XS_MXCSR, MXCSR_INIT);
	vec_put64(x + XS_XSTATE_BV, XC_X87 | XC_SSE);
	v->regs.xcr0 = XC_X87;
}

uint8_t *vec_image(struct vcpu *v)
{
	uint8_t *x = v->regs.xsave;
	uint64_t bv;

	vcpu_vec_sync(v);
	bv = vec_get64(x + XS_XSTATE_BV);
	if (!(bv & XC_X87)) {
		vec_zero(x, XS_MXCSR);
		vec_zero(x + XS_ST, XS_XMM - XS_ST);
		vec_put16(x + XS_FCW, FCW_INIT);
	}
	if (!(bv & XC_SSE))
		vec_zero(x + XS_XMM, 16 * 16);
	vec_put64(x + XS_XSTATE_BV, bv | XC_X87 | XC_SSE);
	/* without a pending exception the pointers are not saved, as on AMD's processors (APM 2 11.4.4.3): a copy's
	 * would be the host's */
	if (!(vec_get16(x + XS_FSW) & FSW_ES)) {
		vec_put16(x + XS_FOP, 0);
		vec_zero(x + XS_FIP, 16);
	}
	return x;
}

uint8_t *vec_upper(struct vcpu *v, bool write)
{
	struct vec *c = vec_get(v);
	uint64_t bv = vec_get64(v->regs.xsave + XS_XSTATE_BV);
	uint8_t *p;

	if (!c || !(c->mask & XC_AVX))
		return NULL;
	p = v->regs.xsave + c->avx_offset;
	if (bv & XC_AVX)
		return p;
	if (!write)
		return NULL;
	vec_zero(p, AVX_BYTES);
	vec_put64(v->regs.xsave + XS_XSTATE_BV, bv | XC_AVX);
	return p;
}

void vec_read_reg(struct vcpu *v, unsigned n, uint8_t buf[32])
{
	const uint8_t *x = vec_image(v) + XS_XMM + 16 * (n & 15), *up = vec_upper(v, false);

	vec_copy(buf, x, 16);
	if (up)
		vec_copy(buf + 16, up + 16 * (n & 15), 16);
	else
		vec_zero(buf + 16, 16);
}

void vec_write_reg(struct vcpu *v, unsigned n, const uint8_t *buf, unsigned bytes)
{
	uint8_t *x = vec_image(v) + XS_XMM + 16 * (n & 15), *up;

	vec_copy(x, buf, 16);
	if (bytes < 32)
		return;
	up = vec_upper(v, vec_get64(buf + 16) || vec_get64(buf + 24));
	if (up)
		vec_copy(up + 16 * (n & 15), buf + 16, 16);
}

void vec_set_top(uint8_t *image, unsigned top)
{
	uint16_t fsw = vec_get16(image + XS_FSW);
	unsigned shift = (top - (fsw >> 11)) & 7;
	uint8_t old[128];

	vec_copy(old, image + XS_ST, sizeof(old));
	for (unsigned k = 0; k < 8; k++)
		vec_copy(image + XS_ST + 16 * k, old + 16 * ((k + shift) & 7), 16);
	vec_put16(image + XS_FSW, (uint16_t)((fsw & ~0x3800) | (top & 7) << 11));
}

void vec_update_es(uint8_t *image)
{
	uint16_t fsw = vec_get16(image + XS_FSW) & ~(FSW_ES | FSW_B);

	if (fsw & ~vec_get16(image + XS_FCW) & 0x3f)
		fsw |= FSW_ES | FSW_B;
	vec_put16(image + XS_FSW, fsw);
}

bool vec_mem_aligned(struct vcpu *v, const struct insn *i, unsigned n, unsigned align, unsigned acc, uint64_t *off)
{
	uint64_t lin, base = vcpu_code64(v) && i->seg < SEG_FS ? 0 : v->regs.seg[i->seg].base;

	*off = insn_ea(v, i);
	if (align <= 1)
		return true;
	/*
	 * Alignment comes before the stack segment's limit, which would be #SS, not #GP. Of FXSAVE's image, though,
	 * processors look at the beginning first.
	 */
	bool bad = (base + *off) & (align - 1);

	if (bad && n == XS_LEGACY_BYTES && !seg_linear(v, i->seg, *off, 4, acc, &lin))
		return false;
	if (bad) {
		fault_gp0(v);
		return false;
	}
	return seg_linear(v, i->seg, *off, n, acc, &lin);
}

bool vec_probe_write(struct vcpu *v, unsigned seg, uint64_t off, unsigned n)
{
	struct mmu_page pg;
	unsigned acc = ACC_WRITE | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	uint64_t lin, last;

	if (!seg_linear(v, seg, off, n, ACC_WRITE, &lin))
		return false;
	if (!mmu_translate(v, lin, acc, &pg))
		return false;
	last = lin + n - 1;
	if (!vcpu_long_mode(v))
		last = (uint32_t)last;
	/* a fault in the second page is one at its first byte */
	return (lin >> 12) == (last >> 12) || mmu_translate(v, last & ~(uint64_t)(PAGE_SIZE_4K - 1), acc, &pg);
}
