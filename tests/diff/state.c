/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XSAVE image as cases hold it, in the standard format, as the kernel and struct vcpu keep it; and small helpers. */
#include <Zydis/Zydis.h>
#include <string.h>

#include "tests/diff/diff.h"

#define XSAVE_BV 512
#define XCOMP_FP 1u
#define XCOMP_SSE 2u
#define XCOMP_AVX 4u

/* Offset of the upper YMM halves in the standard format (SDM 1 13.4.3); native_start checks it with CPUID.0DH.2:EBX. */
#define XSAVE_YMMH 576

void xsave_to_state(const uint8_t *xsave, struct dstate *st)
{
	uint64_t bv;

	memcpy(&bv, xsave + XSAVE_BV, 8);
	memcpy(st->fx, xsave, FX_BYTES);
	if (!(bv & XCOMP_FP)) {
		uint32_t mxcsr;

		memcpy(&mxcsr, xsave + 24, 4);
		memset(st->fx, 0, 160);
		st->fx[0] = 0x7f;
		st->fx[1] = 3;
		memcpy(st->fx + 24, &mxcsr, 4);
	}
	if (!(bv & XCOMP_SSE))
		memset(st->fx + 160, 0, 256);
	if (bv & XCOMP_AVX)
		memcpy(st->ymmh, xsave + XSAVE_YMMH, YMMH_BYTES);
	else
		memset(st->ymmh, 0, YMMH_BYTES);
}

void xsave_from_state(uint8_t *xsave, const struct dstate *st)
{
	uint64_t bv;
	uint32_t mask;

	memcpy(&bv, xsave + XSAVE_BV, 8);
	bv |= XCOMP_FP | XCOMP_SSE | XCOMP_AVX;
	memcpy(xsave + XSAVE_BV, &bv, 8);
	memcpy(&mask, xsave + 28, 4); /* MXCSR_MASK is the processor's */
	memcpy(xsave, st->fx, FX_BYTES);
	memcpy(xsave + 28, &mask, 4);
	memcpy(xsave + XSAVE_YMMH, st->ymmh, YMMH_BYTES);
}

uint64_t step_hash(const struct dcase *c, const struct dstate *st)
{
	bool wide = st->seg[SEG_CS] == SEL_CODE64;
	uint64_t h = st->rflags & ~(uint64_t)c->fl_undef & ~(uint64_t)FL_RF;

	for (unsigned i = 0; i < (c->mode == 64 ? 16 : 8); i++) {
		uint64_t v = wide && c->mode == 64 ? st->gpr[i] : st->gpr[i] & 0xffffffff;

		if (i == c->undef_reg)
			v &= ~(uint64_t)c->undef_bits;
		if (!(c->undef_regs & 1u << i))
			h = (h ^ v) * 0x9e3779b97f4a7c15ull + (h >> 29);
	}
	for (unsigned i = 0; i < SEG_COUNT; i++)
		h = (h ^ (st->seg[i] < 4 ? 0 : st->seg[i])) * 0x94d049bb133111ebull + (h >> 31);
	return h;
}

void case_decoder(ZydisDecoder *d, unsigned mode)
{
	if (mode == 64)
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (mode == 32)
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
}
