// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SSE and AVX instructions in the interpreter's cached code, the quick way.
 *
 * vec_exec (vec_exec.c) loads and saves the whole vector state around one instruction, which costs hundreds of
 * nanoseconds. Here a stub per cached instruction loads only the registers that the instruction names from the image in
 * v->regs.xsave, executes it, and stores its destination. Whatever is not as usual - a TLB miss, MMIO, an operand that
 * is not aligned, unmasked exceptions, state not in the image, CR0.TS - is left to vec_exec, before anything has been
 * changed.
 *
 * Arithmetic instructions run with the guest's MXCSR; all its exceptions are masked, or vec_exec does it. Legacy SSE
 * runs with clean upper halves in the host's registers, and AVX stubs end with VZEROUPPER, so no transition penalty
 * occurs.
 */
#include "translator/interp_cache.h"
#include "translator/recode.h"
#include "translator/vec.h"

#include <Zydis/Mnemonic.h>

/* Calls of the C ABI: rdi the image, rsi the memory operand, rdx the general register (or where flags go), rcx the
 * host's MXCSR, r8 the upper halves. */
typedef void stub_fn(uint8_t *image, void *mem, uint64_t *gpr, const uint32_t *mxcsr, uint8_t *upper);

static const uint32_t host_mxcsr = MXCSR_INIT;

/* ---- which instructions ---- */

static bool name_begins(const char *name, const char *with)
{
	while (*with) {
		if (*name++ != *with++)
			return false;
	}
	return true;
}

/* Moves, logic, integers: MXCSR is neither used nor changed. When in doubt: it is. */
static bool ignores_mxcsr(const struct insn *i)
{
	static const char *const stem[] = {"P",    "MOV",   "AND", "OR",  "XOR", "SHUF",  "UNPCK",  "INSERT",
					   "EXTR", "BLEND", "AES", "SHA", "GF2", "LDDQU", "BROADC", "ZERO"};
	const char *name = i->row->name;

	if (i->enc == ENC_VEX && name[0] == 'V')
		name++;
	for (unsigned k = 0; k < ARRAY_LEN(stem); k++) {
		if (name_begins(name, stem[k]))
			return true;
	}
	return false;
}

/* Instructions with registers that their encoding does not name. */
static bool has_hidden_registers(const struct insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_BLENDVPD:
	case ZYDIS_MNEMONIC_BLENDVPS:
	case ZYDIS_MNEMONIC_PBLENDVB:
	case ZYDIS_MNEMONIC_SHA256RNDS2:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRM:
	case ZYDIS_MNEMONIC_VPCMPISTRI:
	case ZYDIS_MNEMONIC_VPCMPISTRM:
		return true;
	default:
		return false;
	}
}

static bool alignment_free(const struct insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
		return true;
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return false;
	default:
		return i->enc == ENC_VEX;
	}
}

struct shape {
	int gpr, mem;    /* operand numbers, -1: none */
	bool vex, store; /* store: the memory operand is written, and only written */
	bool mxcsr, flags;
};

static bool classify(const struct insn *i, struct shape *s)
{
	*s = (struct shape){.gpr = -1, .mem = -1, .vex = i->enc == ENC_VEX};
	if (i->row->exec != vec_exec || !(i->row->flags & (ISA_SSE | ISA_AVX)) || i->enc > ENC_VEX || !i->nops ||
	    i->nops > INSN_MAX_OPS || has_hidden_registers(i) || i->vsib)
		return false;
	for (unsigned k = 0; k < i->nops; k++) {
		switch (i->op[k].kind) {
		case OPK_XMM:
		case OPK_YMM:
		case OPK_IMM:
			if (i->op[k].kind != OPK_IMM && i->op[k].reg >= 16)
				return false;
			break;
		case OPK_GPR:
			if (s->gpr >= 0)
				return false;
			s->gpr = (int)k;
			break;
		case OPK_MEM:
			if (i->op[k].bytes > 32 || !i->op[k].bytes)
				return false;
			s->mem = (int)k;
			break;
		default:
			return false;
		}
	}
	if (s->mem == 0) {
		if (!(i->row->flags & ISA_DST_WRITE))
			return false;
		s->store = true;
	}
	s->mxcsr = !ignores_mxcsr(i);
	s->flags = (i->fl_write & FL_ARITH) != 0;
	return !(s->flags && s->gpr >= 0);
}

/* ---- the stub ---- */

/* [V]MOVUPS between xmm n and [rdi + disp]; opcode 10 loads, 11 stores */
static void emit_movups(struct emit *e, bool vex, uint8_t opcode, unsigned n, int32_t disp)
{
	if (vex) {
		emit8(e, 0xc5);
		emit8(e, n >= 8 ? 0x78 : 0xf8);
	} else {
		if (n >= 8)
			emit8(e, 0x44);
		emit8(e, 0x0f);
	}
	emit8(e, opcode);
	emit8(e, 0x87 | (n & 7) << 3);
	emit32(e, (uint32_t)disp);
}

/* VINSERTF128 ymm n, ymm n, [r8 + 16 n], 1 (opcode 18) and VEXTRACTF128 [r8 + 16 n], ymm n, 1 (opcode 19) */
static void emit_upper(struct emit *e, uint8_t opcode, unsigned n)
{
	emit8(e, 0xc4);
	emit8(e, (n >= 8 ? 0x43 : 0xc3)); /* R as needed, X none, B for r8, map 0F3A */
	emit8(e, (opcode == 0x18 ? (~n & 15) << 3 : 0x78) | 4 | 1);
	emit8(e, opcode);
	emit8(e, 0x80 | (n & 7) << 3);
	emit32(e, 16 * n);
	emit8(e, 1);
}

static bool emit_stub(struct emit *e, const struct insn *i, const struct shape *s)
{
	static const uint8_t load_gpr[] = {0x48, 0x8b, 0x02};              /* mov (%rdx), %rax */
	static const uint8_t store_gpr[] = {0x48, 0x89, 0x02};             /* mov %rax, (%rdx) */
	static const uint8_t take_flags[] = {0x0f, 0x90, 0xc0, 0x9f};      /* seto %al; lahf */
	static const uint8_t load_mxcsr[] = {0x0f, 0xae, 0x57, XS_MXCSR};  /* ldmxcsr 24(%rdi) */
	static const uint8_t store_mxcsr[] = {0x0f, 0xae, 0x5f, XS_MXCSR}; /* stmxcsr 24(%rdi) */
	static const uint8_t back_mxcsr[] = {0x0f, 0xae, 0x11};            /* ldmxcsr (%rcx) */
	static const uint8_t vzeroupper[] = {0xc5, 0xf8, 0x77};
	const struct insn_op *d = &i->op[0];
	struct recode r;
	bool wide = false;

	recode_identity(&r);
	/* all or none: one register may be both an XMM and a YMM operand */
	for (unsigned k = 0; k < i->nops; k++)
		wide |= i->op[k].kind == OPK_YMM;
	for (unsigned k = 0; k < i->nops; k++) {
		if (i->op[k].kind != OPK_XMM && i->op[k].kind != OPK_YMM)
			continue;
		emit_movups(e, s->vex, 0x10, i->op[k].reg, XS_XMM + 16 * i->op[k].reg);
		if (wide)
			emit_upper(e, 0x18, i->op[k].reg);
	}
	if (s->gpr >= 0) {
		r.gpr[i->op[s->gpr].reg] = R_AX;
		emit_bytes(e, load_gpr, sizeof(load_gpr));
	}
	if (s->mem >= 0) {
		r.mem_base = R_SI;
		r.mem_disp = 0;
	}
	if (s->mxcsr)
		emit_bytes(e, load_mxcsr, sizeof(load_mxcsr));
	if (!recode_insn(e, i, &r))
		return false;
	if (s->flags)
		emit_bytes(e, take_flags, sizeof(take_flags));
	if (s->mxcsr) {
		emit_bytes(e, store_mxcsr, sizeof(store_mxcsr));
		emit_bytes(e, back_mxcsr, sizeof(back_mxcsr));
	}
	if (s->gpr == 0 || s->flags)
		emit_bytes(e, store_gpr, sizeof(store_gpr));
	if ((d->kind == OPK_XMM || d->kind == OPK_YMM) && !(i->row->flags & ISA_DST_READ)) {
		emit_movups(e, s->vex, 0x11, d->reg, XS_XMM + 16 * d->reg);
		if (s->vex)
			emit_upper(e, 0x19, d->reg);
	}
	if (s->vex)
		emit_bytes(e, vzeroupper, sizeof(vzeroupper));
	emit8(e, 0xc3);
	return !e->overflow;
}

/* ---- running it ---- */

#define BV_BYTES (XS_XSTATE_BV)

static ALWAYS_INLINE bool usual_state(const struct vcpu *v, bool vex, bool mxcsr)
{
	const struct x86_regs *r = &v->regs;
	uint32_t mx = vec_get32(r->xsave + XS_MXCSR);

	if (v->vec_live || (r->cr0 & (CR0_EM | CR0_TS)) || !(vec_get64(r->xsave + BV_BYTES) & XC_SSE))
		return false;
	if (vex ? !(r->cr4 & CR4_OSXSAVE) || (r->xcr0 & 6) != 6 : !(r->cr4 & CR4_OSFXSR))
		return false;
	return !mxcsr || ((mx & MXCSR_MASKS) == MXCSR_MASKS && !(mx >> 16));
}

/* The image's upper halves, made valid. */
static uint8_t *upper_halves(struct vcpu *v)
{
	uint8_t *x = v->regs.xsave, *up = x + v->vec->avx_offset;
	uint64_t bv = vec_get64(x + BV_BYTES);

	if (!(bv & XC_AVX)) {
		vec_zero(up, AVX_BYTES);
		vec_put64(x + BV_BYTES, bv | XC_AVX);
	}
	return up;
}

static ALWAYS_INLINE enum xr run_stub(struct vcpu *v, const struct insn *i, bool vex, bool with_mxcsr)
{
	const struct dinsn *d = (const struct dinsn *)((const uint8_t *)i - offsetof(struct dinsn, i));
	const struct vec_plan *p = &d->plan;
	stub_fn *stub = (stub_fn *)p->stub;
	uint64_t fl = 0, *gpr = &fl;
	uint8_t *mem = NULL, *up = NULL;

	if (UNLIKELY(!usual_state(v, vex, with_mxcsr)))
		return vec_exec(v, i);
	if (p->mem_bytes) {
		uint64_t ea = op_ea(v, i);

		mem = mem_hit(v, i->code_bits == 64, i->seg, ea, p->mem_bytes, p->store ? ACC_WRITE : ACC_READ);
		if (UNLIKELY(!mem || ((uintptr_t)mem & p->align_mask)))
			return vec_exec(v, i);
	}
	if (p->gpr != NO_REG)
		gpr = &v->regs.gpr[p->gpr];
	if (vex)
		up = upper_halves(v);
	stub(v->regs.xsave, mem, gpr, &host_mxcsr, up);
	if (p->store)
		tlb_note_write(v, mem, p->mem_bytes);
	if (p->flags)
		flags_put(v, flags_of_ax(fl), FL_ARITH);
	return XR_NEXT;
}

static enum xr run_sse(struct vcpu *v, const struct insn *i)
{
	return run_stub(v, i, false, false);
}

static enum xr run_sse_mxcsr(struct vcpu *v, const struct insn *i)
{
	return run_stub(v, i, false, true);
}

static enum xr run_avx(struct vcpu *v, const struct insn *i)
{
	return run_stub(v, i, true, false);
}

static enum xr run_avx_mxcsr(struct vcpu *v, const struct insn *i)
{
	return run_stub(v, i, true, true);
}

/* VZEROUPPER: the component goes into its initial state. */
static enum xr run_vzeroupper(struct vcpu *v, const struct insn *i)
{
	uint8_t *x = v->regs.xsave;

	if (UNLIKELY(!usual_state(v, true, false)))
		return vec_exec(v, i);
	vec_put64(x + BV_BYTES, vec_get64(x + BV_BYTES) & ~(uint64_t)XC_AVX);
	return XR_NEXT;
}

/* ---- the choice ---- */

insn_fn *interp_vec_plan(struct vcpu *v, struct interp *in, struct dinsn *d)
{
	const struct insn *i = &d->i;
	struct shape s;
	struct emit e;

	if (!i->row || i->code_bits == 16 || !(i->row->flags & (ISA_SSE | ISA_AVX)) || i->lock)
		return NULL;
	if (!vec_host_runs(v, i) || v->vec->fx)
		return NULL;
	if (i->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER && i->code_bits == 64)
		return run_vzeroupper;
	if (!in->stubs || !classify(i, &s) || (s.vex && !(v->vec->mask & XC_AVX)))
		return NULL;
	emit_init(&e, in->stubs + in->stubs_used, STUB_POOL_BYTES - in->stubs_used);
	if (!emit_stub(&e, i, &s))
		return NULL;
	d->plan = (struct vec_plan){.stub = e.start, .gpr = NO_REG, .store = s.store, .flags = s.flags};
	if (s.gpr >= 0)
		d->plan.gpr = i->op[s.gpr].reg;
	if (s.mem >= 0) {
		d->plan.mem_bytes = i->op[s.mem].bytes;
		if (d->plan.mem_bytes >= 16 && !alignment_free(i))
			d->plan.align_mask = d->plan.mem_bytes - 1;
	}
	in->stubs_used += (uint64_t)(e.p - e.start);
	if (s.vex)
		return s.mxcsr ? run_avx_mxcsr : run_avx;
	return s.mxcsr ? run_sse_mxcsr : run_sse;
}
