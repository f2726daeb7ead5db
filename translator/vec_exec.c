/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One x87, MMX, SSE or AVX instruction, executed by the host processor on the guest's state.
 *
 * recode_insn() writes the instruction again with its memory operand in a bounce buffer; the stub (that and a RET) is
 * kept by the instruction's bytes. vec_enter() loads the guest's vector state from a copy of the image, calls the stub
 * with the guest's general registers and saves the state to a second copy; only when everything has gone well - no
 * unmasked SIMD exception, the store has reached guest memory - is that copy taken over. So every fault leaves the
 * state as it was.
 *
 * No exception may reach the host:
 *  - a waiting x87 instruction is not started while an exception is pending: #MF instead. One that raises an exception
 * itself only sets ES; the host's own state is loaded by XRSTOR, which does not wait;
 *  - SIMD exceptions are all masked while the instruction runs. If it raised one that the guest has not masked, the
 * result is thrown away and the guest gets its flags and #XM (#UD without CR4.OSXMMEXCPT).
 *
 * Deviations, all of them about MXCSR flags beside those of the exception that is delivered: with several SIMD
 * exceptions at once, MXCSR gets the flags that come before the operation when one of these is unmasked, and all of
 * them otherwise; DPPS and DPPD, which round more than once, do not stop after their first step, and the precision flag
 * beside their unmasked overflow or underflow is that of the masked result.
 */
#include <stddef.h>
#include <Zydis/Mnemonic.h>

#include "engine/status.h"
#include "translator/recode.h"
#include "translator/system.h"
#include "translator/vec.h"

_Static_assert(offsetof(struct vec_run, rflags) == 128 && offsetof(struct vec_run, stub) == 136 &&
		       offsetof(struct vec_run, in) == 144 && offsetof(struct vec_run, out) == 152 &&
		       offsetof(struct vec_run, init) == 160 && offsetof(struct vec_run, mask) == 168 &&
		       offsetof(struct vec_run, fx) == 172,
	       "vec_enter.S");

/* ---- what kind of access the memory operand is ---- */

struct vec_mem {
	unsigned bytes; /* 0: no memory operand */
	bool load, store;
	unsigned align; /* #GP(0) when the linear address is not a multiple */
};

static bool unaligned_legacy(uint16_t mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return true;
	default:
		return false;
	}
}

/* Moves that want alignment in their VEX form, and in the legacy form even with MXCSR.MM. */
static bool aligned_move(uint16_t mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return true;
	default:
		return false;
	}
}

static void classify_mem(struct vec_mem *m, const struct insn *i, const struct vec *c, uint32_t mxcsr)
{
	*m = (struct vec_mem){0};
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++) {
		if (i->op[k].kind != OPK_MEM)
			continue;
		m->bytes = i->op[k].bytes;
		m->store = k == 0 && !(i->row->flags & ISA_DST_READ);
		m->load = k > 0 || !(i->row->flags & ISA_DST_WRITE);
	}
	if (m->bytes < 16 || m->bytes > 32)
		return;
	if (i->row->flags >> ISA_NEEDS_SHIFT == IF_SHA && c->sha_unaligned)
		return;
	if (aligned_move(i->mnemonic))
		m->align = m->bytes;
	else if (i->enc == ENC_LEGACY && (i->row->flags & ISA_SSE) && !unaligned_legacy(i->mnemonic) &&
		 !(mxcsr & MXCSR_MM))
		m->align = 16;
}

/* ---- stubs ---- */

/* Where the guest's registers are in the stub: at home, but RSP's content is in R8 and the bounce buffer's address in
 * RSI or, when RSI is an operand, in RDI. No vector instruction names more than one general register in its encoding.
 */
static void choose_registers(const struct insn *i, struct recode *r)
{
	recode_identity(r);
	r->gpr[R_SP] = R_8;
	if (!i->has_mem)
		return;
	r->mem_base = R_SI;
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++)
		if (i->op[k].kind == OPK_GPR && i->op[k].reg == R_SI)
			r->mem_base = R_DI;
}

static void *find_stub(struct vec *c, const struct insn *i, const struct recode *r)
{
	uint32_t h = i->len * 31u + i->code_bits;
	struct vec_stub_key *key;
	uint8_t *code;
	struct emit e;
	bool same;

	for (unsigned k = 0; k < i->len; k++)
		h = (h ^ i->raw[k]) * 0x01000193u;
	h = (h ^ (h >> 15)) % VEC_STUBS;
	key = &c->key[h];
	code = c->code + h * VEC_STUB_BYTES;
	same = key->len == i->len && key->code_bits == i->code_bits;
	for (unsigned k = 0; same && k < i->len; k++)
		same = key->raw[k] == i->raw[k];
	if (same)
		return code;
	key->len = 0;
	emit_init(&e, code, VEC_STUB_BYTES);
	if (!recode_insn(&e, i, r))
		return NULL;
	emit8(&e, 0xc3);
	if (e.overflow)
		return NULL;
	for (unsigned k = 0; k < i->len; k++)
		key->raw[k] = i->raw[k];
	key->code_bits = i->code_bits;
	key->len = i->len;
	return code;
}

/* ---- around the run ---- */

/* The part of the image that the host manages, with a header that XRSTOR cannot refuse. */
static void load_state(const struct vcpu *v, struct vec *c, uint32_t mxcsr)
{
	const uint8_t *x = v->regs.xsave;
	uint64_t bv = vec_get64(x + XS_XSTATE_BV) & c->mask;

	vec_copy(c->in, x, XS_LEGACY_BYTES);
	vec_put32(c->in + XS_MXCSR, mxcsr & c->mxcsr_mask);
	vec_zero(c->in + XS_XSTATE_BV, XS_HEADER_END - XS_XSTATE_BV);
	vec_put64(c->in + XS_XSTATE_BV, bv);
	if (bv & XC_AVX)
		vec_copy(c->in + c->avx_offset, x + c->avx_offset, AVX_BYTES);
	vec_zero(c->out + XS_XSTATE_BV, XS_HEADER_END - XS_XSTATE_BV);
}

static void take_state(struct vcpu *v, struct vec *c, uint32_t mxcsr)
{
	uint8_t *x = v->regs.xsave;
	uint64_t bv = vec_get64(x + XS_XSTATE_BV),
		 got = c->fx ? XC_X87 | XC_SSE : vec_get64(c->out + XS_XSTATE_BV) & c->mask;

	/* XSAVE has written the bytes of x87 and SSE even where they are in the initial state */
	vec_copy(x, c->out, XS_MXCSR);
	vec_copy(x + XS_ST, c->out + XS_ST, XS_LEGACY_BYTES - XS_ST - 96);
	vec_put32(x + XS_MXCSR, mxcsr);
	vec_put64(x + XS_XSTATE_BV, (bv & ~(uint64_t)c->mask) | got | XC_X87 | XC_SSE);
	if (got & XC_AVX)
		vec_copy(x + c->avx_offset, c->out + c->avx_offset, AVX_BYTES);
}

/* x87 pointers: the guest's, not the stub's (SDM 1 8.1.8). Control instructions leave them alone. */
static void set_pointers(struct vcpu *v, const struct insn *i, uint8_t *x, uint64_t ea)
{
	if (!(vec_get16(x + XS_FSW) & FSW_ES))
		return;
	vec_put16(x + XS_FOP, (uint16_t)(((i->opcode & 7) << 8) | i->modrm));
	vec_put64(x + XS_FIP, v->regs.rip);
	if (i->has_mem)
		vec_put64(x + XS_FDP, ea);
}

/* Outside 64-bit mode VZEROALL and VZEROUPPER leave registers 8-15 alone (SDM 2C VZEROALL); the stub runs in 64-bit mode. */
static void keep_high_registers(struct vec *c, const struct insn *i)
{
	uint8_t *up = c->out + c->avx_offset;

	if (i->code_bits == 64 || (i->mnemonic != ZYDIS_MNEMONIC_VZEROALL && i->mnemonic != ZYDIS_MNEMONIC_VZEROUPPER))
		return;
	vec_copy(c->out + XS_XMM + 128, c->in + XS_XMM + 128, 128);
	if (!(vec_get64(c->in + XS_XSTATE_BV) & XC_AVX))
		return;
	vec_zero(up, AVX_BYTES / 2);
	vec_copy(up + AVX_BYTES / 2, c->in + c->avx_offset + AVX_BYTES / 2, AVX_BYTES / 2);
	vec_put64(c->out + XS_XSTATE_BV, vec_get64(c->out + XS_XSTATE_BV) | XC_AVX);
}

static bool x87_control(uint16_t mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
		return true; /* these do not wait either */
	default:
		return false;
	}
}

/* MMX registers are the x87 stack: MMX instructions, and the SSE conversions that have one as operand, wait. */
static bool waits(const struct insn *i)
{
	uint32_t f = i->row->flags;

	if (f & ISA_FPU)
		return !x87_control(i->mnemonic);
	if (!(f & ISA_MMX))
		return false;
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++)
		if (i->op[k].kind == OPK_MM)
			return true;
	return !(f & ISA_SSE);
}

/* Raised by the instruction and not masked: what the guest's MXCSR becomes, and the fault. */
static enum xr simd_fault(struct vcpu *v, uint32_t mxcsr, uint32_t raised)
{
	uint32_t unmasked = raised & ~(mxcsr >> 7) & MXCSR_FLAGS;

	if (unmasked & 7) /* invalid, denormal, zero divide come before the operation: it has not taken place */
		raised &= 7;
	vec_put32(v->regs.xsave + XS_MXCSR, mxcsr | raised);
	return fault_set(v, v->regs.cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
}

static void write_back(struct vcpu *v, const struct insn *i, const struct recode *r, const struct vec_run *run)
{
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++)
		if (i->op[k].kind == OPK_GPR)
			v->regs.gpr[i->op[k].reg & 15] = run->gpr[r->gpr[i->op[k].reg & 15]];
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPISTRI:
		v->regs.gpr[R_CX] = run->gpr[R_CX];
		break;
	default:
		break;
	}
	if ((i->fl_write | i->fl_undef) & FL_ARITH)
		v->regs.rflags = (v->regs.rflags & ~(uint64_t)FL_ARITH) | (run->rflags & FL_ARITH);
}

enum xr vec_exec(struct vcpu *v, const struct insn *i)
{
	enum xr res = vec_precheck(v, i);
	uint32_t mxcsr, raised;
	struct vec_mem mem;
	struct vec_run run;
	struct recode r;
	struct vec *c;
	uint8_t pattern[64];
	uint64_t ea = 0;
	uint8_t *x;

	if (res != XR_NEXT)
		return res;
	c = vec_get(v);
	x = vec_image(v);
	if (waits(i)) {
		res = vec_check_pending(v);
		if (res != XR_NEXT)
			return res;
		/* after AND with the masks nothing is pending: ES must agree, or the processor would see an exception
		 */
		vec_update_es(x);
	}
	mxcsr = vec_get32(x + XS_MXCSR);
	classify_mem(&mem, i, c, mxcsr);
	if (mem.bytes > sizeof(c->bounce))
		return XR_CANNOT;
	if (mem.bytes) {
		if (!vec_mem_aligned(v, i, mem.bytes, mem.align, mem.store ? ACC_WRITE : ACC_READ, &ea))
			return XR_FAULT;
		for (unsigned k = 0; k < sizeof(pattern); k++)
			c->bounce[k] = pattern[k] = (uint8_t)(0xa5 + 73 * k);
		if (mem.load && !mem_load(v, i->seg, ea, c->bounce, mem.bytes))
			return XR_FAULT;
	}
	choose_registers(i, &r);
	run.stub = find_stub(c, i, &r);
	if (!run.stub)
		return fault_set(v, VEC_UD);

	for (unsigned n = 0; n < 16; n++)
		run.gpr[n] = v->regs.gpr[n];
	run.gpr[R_8] = v->regs.gpr[R_8];
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++)
		if (i->op[k].kind == OPK_GPR && i->op[k].reg == R_SP)
			run.gpr[R_8] = v->regs.gpr[R_SP];
	if (mem.bytes)
		run.gpr[r.mem_base] = (uint64_t)(uintptr_t)c->bounce;
	run.rflags = FL_ONE | FL_IF | (v->regs.rflags & FL_ARITH);
	run.in = c->in;
	run.out = c->out;
	run.init = c->init;
	run.mask = c->mask;
	run.fx = c->fx;
	/* Masked underflow is tiny and inexact, unmasked underflow tiny alone: with FTZ every tiny result is reported,
	 * and where there is none FTZ changes nothing. */
	load_state(v, c, (mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS | (mxcsr & MXCSR_UM ? 0 : MXCSR_FTZ));
	vec_enter(&run);

	if (i->row->flags & ISA_FPU) {
		raised = 0;
	} else {
		raised = vec_get32(c->out + XS_MXCSR) & MXCSR_FLAGS;
		/* the masked answer has set PE for the overflow or underflow itself */
		if (raised & ~(mxcsr >> 7) & (MXCSR_OE | MXCSR_UE) && !(raised & (mxcsr >> 7) & (MXCSR_OE | MXCSR_UE)) &&
		    vec_inexact(c, i, mxcsr) == 0)
			raised &= ~MXCSR_PE;
		if (raised & ~(mxcsr >> 7)) {
			if (mem.store && !vec_probe_write(v, i->seg, ea, mem.bytes))
				return XR_FAULT;
			return simd_fault(v, mxcsr, raised);
		}
	}
	if (mem.store) {
		bool written = !(i->row->flags & ISA_FPU) || !(vec_get16(c->out + XS_FSW) & FSW_ES);

		/* an x87 store whose exception is unmasked leaves memory alone, but looks for the page */
		for (unsigned k = 0; !written && k < mem.bytes; k++)
			written = c->bounce[k] != pattern[k];
		if (written ? !mem_store(v, i->seg, ea, c->bounce, mem.bytes)
			    : !vec_probe_write(v, i->seg, ea, mem.bytes))
			return XR_FAULT;
	}
	keep_high_registers(c, i);
	take_state(v, c, mxcsr | raised);
	if ((i->row->flags & ISA_FPU) && !x87_control(i->mnemonic))
		set_pointers(v, i, v->regs.xsave, ea);
	write_back(v, i, &r, &run);
	return XR_NEXT;
}
