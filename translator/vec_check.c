/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * May this x87/MMX/SSE/AVX instruction run now? (SDM 3A table 2-2 and 13.1; SDM 2A 2.4 for VEX; SDM 2B for each one.)
 *
 * What decides is the encoding and the operands, not the mnemonic alone: PADDB on MMX registers looks at CR0.EM and
 * CR0.TS, on XMM registers at CR4.OSFXSR too, and its EVEX form does not exist on the guest's processor.
 *
 * Deviation: a feature is there when the host has it; a guest that executes an instruction which its CPUID does not
 * show gets the result instead of #UD, as on real processors whose CPUID is masked by a hypervisor.
 */
#include "translator/vec.h"

#include <cpuid.h>
#include <sys/mman.h>
#include <Zydis/Mnemonic.h>

#include "engine/status.h"
#include "translator/system.h"

/* ---- the host's features ---- */

#define CODE_BYTES (VEC_STUBS * VEC_STUB_BYTES)

static const struct {
	uint8_t feature;
	uint8_t reg; /* 0-3: eax ebx ecx edx */
	uint8_t bit;
	uint32_t leaf, subleaf;
} feature_rows[] = {
	{IF_SSE3, 2, 0, 1, 0},
	{IF_SSSE3, 2, 9, 1, 0},
	{IF_SSE41, 2, 19, 1, 0},
	{IF_SSE42, 2, 20, 1, 0},
	{IF_SSE4A, 2, 6, 0x80000001u, 0},
	{IF_AES, 2, 25, 1, 0},
	{IF_PCLMUL, 2, 1, 1, 0},
	{IF_SHA, 1, 29, 7, 0},
	{IF_GFNI, 2, 8, 7, 0},
	{IF_AVX, 2, 28, 1, 0},
	{IF_AVX2, 1, 5, 7, 0},
	{IF_FMA, 2, 12, 1, 0},
	{IF_F16C, 2, 29, 1, 0},
	{IF_VAES, 2, 9, 7, 0},
	{IF_VPCLMUL, 2, 10, 7, 0},
	{IF_AVX_VNNI, 0, 4, 7, 1},
	{IF_XSAVE, 2, 27, 1, 0},
	{IF_XSAVEC, 0, 1, 0xd, 1},
	{IF_XSAVEOPT, 0, 0, 0xd, 1},
};

static bool host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	return __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]) != 0;
}

static void probe_host(struct vec *c)
{
	uint32_t r[4], lo, hi;
	uint64_t xcr0 = XC_X87 | XC_SSE, avx;

	c->features = 1u << IF_NONE;
	for (unsigned k = 0; k < ARRAY_LEN(feature_rows); k++)
		if (host_cpuid(feature_rows[k].leaf, feature_rows[k].subleaf, r) &&
		    ((r[feature_rows[k].reg] >> feature_rows[k].bit) & 1))
			c->features |= 1ull << feature_rows[k].feature;
	c->sha_unaligned = host_cpuid(0, 0, r) && (r[1] == 0x68747541 || r[1] == 0x6f677948); /* Auth, Hygo */
	c->fx = !(c->features & (1ull << IF_XSAVE));
	if (!c->fx) {
		__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		xcr0 = lo;
	}
	c->mask = xcr0 & XC_ALL;
	if ((c->mask & XC_AVX) && host_cpuid(0xd, 2, r) && r[0] == AVX_BYTES && r[1] >= XS_HEADER_END &&
	    r[1] + AVX_BYTES <= VEC_AREA_BYTES)
		c->avx_offset = r[1];
	else
		c->mask &= ~XC_AVX;
	avx = 1ull << IF_AVX | 1ull << IF_AVX2 | 1ull << IF_FMA | 1ull << IF_F16C | 1ull << IF_VAES |
	      1ull << IF_VPCLMUL | 1ull << IF_AVX_VNNI;
	if (!(c->mask & XC_AVX))
		c->features &= ~avx;
	if (c->features & (1ull << IF_AVX))
		c->features |= 1ull << IF_AVX_INT;
	/* the host's own image of the state names the MXCSR bits that exist (SDM 1 11.6.6) */
	__asm__ volatile("fxsave64 %0" : "=m"(c->out));
	c->mxcsr_mask = vec_get32(c->out + XS_MXCSR_MASK);
	if (!c->mxcsr_mask)
		c->mxcsr_mask = 0xffbf;
}

struct vec *vec_get(struct vcpu *v)
{
	struct vec *c = v->vec;
	void *code;

	if (c)
		return c;
	vcpu_vec_sync(v);
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED)
		return NULL;
	code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED) {
		munmap(c, sizeof(*c));
		return NULL;
	}
	c->code = code;
	probe_host(c);
	vec_put16(c->init + XS_FCW, FCW_INIT);
	vec_put32(c->init + XS_MXCSR, MXCSR_INIT);
	v->vec = c;
	return c;
}

void vec_free(struct vcpu *v)
{
	if (!v->vec)
		return;
	munmap(v->vec->code, CODE_BYTES);
	munmap(v->vec, sizeof(*v->vec));
	v->vec = NULL;
}

/* ---- checks ---- */

static bool has_kind(const struct insn *i, enum op_kind kind)
{
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++)
		if (i->op[k].kind == kind)
			return true;
	return false;
}

/* Does the host run this form? Some mnemonics are older with XMM than with YMM operands. */
static bool host_runs(const struct vec *c, const struct insn *i)
{
	unsigned need = i->row->flags >> ISA_NEEDS_SHIFT;
	bool ymm = has_kind(i, OPK_YMM);

#define HAVE(f) ((c->features >> (f)) & 1)
	switch (need) {
	case IF_AVX_INT:
		return HAVE(ymm ? IF_AVX2 : IF_AVX);
	case IF_VAES:
		return ymm ? HAVE(IF_VAES) : HAVE(IF_AES) && HAVE(IF_AVX);
	case IF_VPCLMUL:
		return ymm ? HAVE(IF_VPCLMUL) : HAVE(IF_PCLMUL) && HAVE(IF_AVX);
	case IF_GFNI:
		return HAVE(IF_GFNI) && (i->enc != ENC_VEX || HAVE(IF_AVX));
	case IF_AVX:
		if ((i->mnemonic == ZYDIS_MNEMONIC_VBROADCASTSS || i->mnemonic == ZYDIS_MNEMONIC_VBROADCASTSD) &&
		    !i->has_mem)
			return HAVE(IF_AVX2);
		return HAVE(IF_AVX);
	default:
		return HAVE(need);
	}
#undef HAVE
}

bool vec_host_runs(struct vcpu *v, const struct insn *i)
{
	struct vec *c = vec_get(v);

	return c && i->enc != ENC_EVEX && i->enc != ENC_OTHER && host_runs(c, i);
}

enum xr vec_precheck(struct vcpu *v, const struct insn *i)
{
	uint32_t f = i->row ? i->row->flags : 0;
	uint64_t cr0 = v->regs.cr0, cr4 = v->regs.cr4;
	struct vec *c;

	if (!(f & (ISA_FPU | ISA_MMX | ISA_SSE | ISA_AVX)) && !(f >> ISA_NEEDS_SHIFT))
		return XR_NEXT;
	if (i->enc == ENC_EVEX || i->enc == ENC_OTHER)
		return fault_set(v, VEC_UD);
	c = vec_get(v);
	if (!c)
		return XR_CANNOT;
	if (!host_runs(c, i))
		return fault_set(v, VEC_UD);
	if (f & ISA_AVX) {
		if (vcpu_real_mode(v) || vcpu_v86(v) || !(cr4 & CR4_OSXSAVE) ||
		    (v->regs.xcr0 & (XC_SSE | XC_AVX)) != (XC_SSE | XC_AVX))
			return fault_set(v, VEC_UD);
	} else if (f & ISA_FPU) {
		/* WAIT stops for TS only together with MP (SDM 3A 2.5) */
		if (i->mnemonic == ZYDIS_MNEMONIC_FWAIT)
			return (cr0 & CR0_MP) && (cr0 & CR0_TS) ? fault_set(v, VEC_NM) : XR_NEXT;
		if (cr0 & CR0_EM)
			return fault_set(v, VEC_NM);
	} else if (f & (ISA_MMX | ISA_SSE)) {
		bool sse = (f & ISA_SSE) && (!(f & ISA_MMX) || has_kind(i, OPK_XMM));

		if ((cr0 & CR0_EM) || (sse && !(cr4 & CR4_OSFXSR)))
			return fault_set(v, VEC_UD);
	} else {
		if (!(cr4 & CR4_OSXSAVE)) /* XSAVE and its family */
			return fault_set(v, VEC_UD);
	}
	return cr0 & CR0_TS ? fault_set(v, VEC_NM) : XR_NEXT;
}

enum xr vec_check_pending(struct vcpu *v)
{
	const uint8_t *x = v->regs.xsave;

	/* With CR0.NE clear the error goes out on FERR# and comes back as IRQ 13 on a PC; the exception stands for
	 * both. */
	return vec_get16(x + XS_FSW) & ~vec_get16(x + XS_FCW) & 0x3f ? fault_set(v, VEC_MF) : XR_NEXT;
}
