/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XSAVE image as cases hold it. The area is in the standard format, as the kernel and struct vcpu keep it. */
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
