// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The interpreter's loop.
 *
 * Code is decoded into runs (interp_cache.c) and executed one function call per instruction. Between runs, and before
 * an instruction that follows one with an interrupt shadow, the loop looks at what came from outside: requests, NMIs,
 * interrupts. Whenever something must be watched instruction by instruction (TF, RF, breakpoints, a shadow) it goes
 * through interp_step.
 *
 * Interrupts: REQ_EVENT says "look". What is found but cannot be taken yet (IF clear, NMIs blocked) keeps in->look set,
 * so that every boundary looks again until it has been taken.
 *
 * Deviations: a data breakpoint is noticed for the explicit memory operand and string operands of an instruction, not
 * for pushes, pops and descriptor-table accesses (SDM 3B 18.2.5).
 */
#include <stdio.h>
#include <stdlib.h>

#include <Zydis/Mnemonic.h>

#include "translator/interp_cache.h"
#include "translator/vec.h"

/* ---- checks that depend on mode ---- */

static enum xr mode_check(struct vcpu *v, const struct insn *i)
{
	uint32_t fl;

	if (!i->row)
		return fault_set(v, VEC_UD);
	fl = i->row->flags;
	if ((fl & ISA_NO64) && i->code_bits == 64)
		return fault_set(v, VEC_UD);
	if ((fl & ISA_ONLY64) && i->code_bits != 64)
		return fault_set(v, VEC_UD);
	if (((fl & ISA_NOREAL) || i->enc == ENC_VEX || i->enc == ENC_EVEX) && (vcpu_real_mode(v) || vcpu_v86(v)))
		return fault_set(v, VEC_UD);
	if (i->lock && (!(fl & ISA_LOCKABLE) || i->op[0].kind != OPK_MEM))
		return fault_set(v, VEC_UD);
	if ((fl & ISA_PRIV) && vcpu_cpl(v) != 0)
		return fault_gp0(v);
	return XR_NEXT;
}

enum xr insn_precheck(struct vcpu *v, const struct insn *i)
{
	enum xr x = mode_check(v, i);

	return x == XR_NEXT ? vec_precheck(v, i) : x;
}

/* The functions of vector instructions do vec_precheck themselves. */
enum xr interp_exec_checked(struct vcpu *v, const struct insn *i)
{
	enum xr x = mode_check(v, i);

	return x == XR_NEXT ? i->row->exec(v, i) : x;
}

static void count_row(struct vcpu *v, const struct insn *i)
{
	if (i->row)
		v->row_count[isa_row_number(i->row)]++;
}

void interp_count_next(struct vcpu *v, struct interp *in)
{
	const struct insn *i = interp_fetch(v, in);

	if (i)
		count_row(v, i);
}

static ALWAYS_INLINE void advance_rip(struct vcpu *v, const struct insn *i)
{
	uint64_t rip = v->regs.rip + i->len;

	v->regs.rip = i->code_bits == 64 ? rip : (uint32_t)rip;
}

enum xr interp_exec(struct vcpu *v, const struct insn *i)
{
	enum xr x;

	v->int_shadow = false;
	v->count.insns_interp++;
	x = interp_exec_checked(v, i);
	if (x == XR_NEXT) {
		advance_rip(v, i);
		return XR_JUMP;
	}
	if (x == XR_HLT)
		advance_rip(v, i);
	return x;
}

/* ---- debug registers (SDM 3B 18.2) ---- */

static bool dr_enabled(uint64_t dr7, unsigned n)
{
	return dr7 >> (n * 2) & 3;
}

/* Enabled breakpoints of the kinds in `kinds` (bit R/W) that [lin, lin + n) touches, as DR6 bits. */
static unsigned dr_match(const struct vcpu *v, uint64_t lin, unsigned n, unsigned kinds)
{
	static const uint8_t len_of[4] = {1, 2, 8, 4};
	uint64_t dr7 = v->regs.dr[7];
	unsigned hit = 0;

	for (unsigned k = 0; k < 4; k++) {
		unsigned rw = dr7 >> (16 + k * 4) & 3, len = len_of[dr7 >> (18 + k * 4) & 3];
		uint64_t at = v->regs.dr[k] & ~(uint64_t)(len - 1);

		if (dr_enabled(dr7, k) && (kinds >> rw & 1) && lin < at + len && at < lin + n)
			hit |= 1u << k;
	}
	return hit;
}

#define DR_EXEC (1u << 0)
#define DR_WRITE (1u << 1)
#define DR_PORT (1u << 2)
#define DR_READ_WRITE (1u << 3)

/* Breakpoints on ports that i is about to hit: they exist with CR4.DE. */
static unsigned dr_port(const struct vcpu *v, const struct insn *i)
{
	uint16_t port = 0;
	unsigned n = v->regs.cr4 & CR4_DE ? insn_ports(v, i, &port) : 0;

	return n ? dr_match(v, port, n, DR_PORT) : 0;
}

/* Data breakpoints that i is about to hit. Its address is computed before it runs and may fault: then nothing is hit.
 */
static unsigned dr_data(struct vcpu *v, const struct insn *i)
{
	bool store = i->op[0].kind == OPK_MEM && !(i->row->flags & ISA_DST_READ);
	bool movs = i->row->exec == int_movs;
	uint64_t lin, off;
	unsigned hit = 0, n = 0;

	if (!i->has_mem || i->row->bt == BT_LEA || i->row->exec == int_nop)
		return 0;
	for (unsigned k = 0; k < i->nops; k++) {
		if (i->op[k].kind == OPK_MEM)
			n = i->op[k].bytes;
	}
	off = insn_ea(v, i);
	if (n && seg_linear(v, i->seg, off, n, ACC_READ, &lin))
		hit = dr_match(v, lin, n, store && !movs ? DR_WRITE | DR_READ_WRITE : DR_READ_WRITE);
	if (movs && seg_linear(v, SEG_ES, gpr_read(v, R_DI, i->addrsize), n, ACC_READ, &lin))
		hit |= dr_match(v, lin, n, DR_WRITE | DR_READ_WRITE);
	return hit;
}

/* ---- one instruction ---- */

static bool is_iret(const struct insn *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_IRET || i->mnemonic == ZYDIS_MNEMONIC_IRETD ||
	       i->mnemonic == ZYDIS_MNEMONIC_IRETQ;
}

static bool is_soft_interrupt(const struct insn *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_INT || i->mnemonic == ZYDIS_MNEMONIC_INT3 ||
	       i->mnemonic == ZYDIS_MNEMONIC_INTO || i->mnemonic == ZYDIS_MNEMONIC_INT1;
}

/*
 * Does an instruction that began with these flags end in a single-step trap? SYSCALL loads RFLAGS under FMASK, and it is the result that
 * counts: a debugger's step over it ends in ring 3, where SYSRET or IRET brings TF back, and not at the first instruction of the kernel.
 */
static bool steps(const struct vcpu *v, const struct insn *i, uint64_t flags)
{
	return (flags & FL_TF) && (i->mnemonic != ZYDIS_MNEMONIC_SYSCALL || (v->regs.rflags & FL_TF));
}

/* After an instruction that began with TF set or touched a watched address (SDM 3B 18.3.1.4, 18.3.1.2). */
static enum xr trap_after(struct vcpu *v, struct interp *in, const struct insn *i, bool tf, unsigned hit, enum xr x)
{
	bool ss_shadow = v->int_shadow && i->mnemonic != ZYDIS_MNEMONIC_STI;

	if (ss_shadow) {
		in->held = (uint8_t)hit; /* until the next instruction is done (SDM 3A 6.8.3) */
		return x;
	}
	if (tf || hit) {
		struct x86_fault f = {.vector = VEC_DB, .trap = true, .addr = hit | (tf ? DR6_BS : 0)};
		return event_exception(v, &f);
	}
	return x;
}

enum xr interp_step(struct vcpu *v, struct interp *in)
{
	uint64_t flags = v->regs.rflags;
	bool watch = (v->regs.dr[7] & 0xff) != 0;
	const struct insn *i;
	unsigned hit = 0, held = v->int_shadow ? in->held : 0;
	bool jumped;
	enum xr x;

	in->held = 0;
	if (watch && !(flags & FL_RF)) {
		uint64_t lin = vcpu_code64(v) ? v->regs.rip : (uint32_t)(v->regs.seg[SEG_CS].base + v->regs.rip);

		hit = dr_match(v, lin, 1, DR_EXEC);
		if (hit && !v->int_shadow) {
			v->fault = (struct x86_fault){.vector = VEC_DB, .addr = hit};
			return event_exception(v, &v->fault);
		}
		hit = 0;
	}
	i = interp_fetch(v, in);
	if (!i) {
		v->int_shadow = false;
		return event_exception(v, &v->fault);
	}
	v->int_shadow = false;
	if (UNLIKELY(in->count_rows))
		count_row(v, i);
	if (watch && i->row)
		hit = dr_data(v, i) | dr_port(v, i) | held;
	v->count.insns_interp++;
	v->insn_clock++;
	x = interp_exec_checked(v, i);
	jumped = x != XR_NEXT;
	switch (x) {
	case XR_NEXT:
		advance_rip(v, i);
		x = XR_JUMP;
		break;
	case XR_HLT:
		advance_rip(v, i);
		break;
	case XR_FAULT:
		return event_exception(v, &v->fault);
	case XR_SHUTDOWN:
	case XR_CANNOT:
		return x;
	default:
		break;
	}
	/* RF covers one instruction, unless that one loaded it (SDM 3B 18.3.1.1) */
	if ((flags & FL_RF) && !is_iret(i) && x != XR_AGAIN)
		v->regs.rflags &= ~(uint64_t)FL_RF;
	/* a software interrupt that was taken has cleared TF; INTO may not have been */
	if (((flags & FL_TF) || hit) && !(jumped && is_soft_interrupt(i)))
		return trap_after(v, in, i, steps(v, i, flags), hit, x);
	return x;
}

/* ---- runs ---- */

static ALWAYS_INLINE bool must_step(const struct vcpu *v)
{
	return (v->regs.rflags & (FL_TF | FL_RF)) || (v->regs.dr[7] & 0xff) || v->int_shadow;
}

/* Executes runs until something is to be looked at. counted is a constant to every caller. */
static ALWAYS_INLINE enum xr execute_runs(struct vcpu *v, struct interp *in, bool counted)
{
	for (;;) {
		const struct run *r = interp_find(v, in);
		const struct dinsn *d, *end;
		uint64_t rip_mask;
		enum xr x = XR_JUMP;

		if (UNLIKELY(!r))
			return interp_step(v, in);
		rip_mask = r->bits == 64 ? ~0ull : 0xffffffff;
		for (d = r->insn, end = d + r->n; d < end; d++) {
			x = d->fn(v, &d->i);
			if (UNLIKELY(x != XR_NEXT)) {
				d++;
				break;
			}
			v->regs.rip = (v->regs.rip + d->i.len) & rip_mask;
			/* somebody, or this very instruction, wrote into the page */
			if (UNLIKELY(!run_fresh(r))) {
				d++;
				break;
			}
		}
		v->count.insns_interp += (uint64_t)(d - r->insn);
		v->insn_clock += (uint64_t)(d - r->insn);
		if (counted)
			for (const struct dinsn *n = r->insn; n < d; n++)
				count_row(v, &n->i);
		switch (x) {
		case XR_NEXT:
		case XR_JUMP:
			break;
		case XR_FAULT:
			return event_exception(v, &v->fault);
		case XR_HLT:
			advance_rip(v, &d[-1].i);
			return x;
		default:
			return x;
		}
		if (UNLIKELY(atomic_load_explicit(&v->request, memory_order_relaxed) || in->look || must_step(v)))
			return XR_JUMP;
	}
}

static enum xr interp_runs(struct vcpu *v, struct interp *in)
{
	return execute_runs(v, in, false);
}

static enum xr interp_runs_counted(struct vcpu *v, struct interp *in)
{
	return execute_runs(v, in, true);
}

/* ---- what comes from outside ---- */

/* true: leave run() (x filled in). */
static bool take_requests(struct vcpu *v, struct interp *in, struct exit *x)
{
	uint32_t req = atomic_load(&v->request);
	enum xr r = XR_JUMP;

	if (req & REQ_EXIT) {
		x->reason = EXIT_KICK;
		return true;
	}
	if (req & REQ_FLUSH) {
		atomic_fetch_and(&v->request, ~REQ_FLUSH);
		mmu_flush_all(v);
	}
	if (req & REQ_EVENT) {
		atomic_fetch_and(&v->request, ~REQ_EVENT);
		in->look = true;
	}
	if (!in->look)
		return false;
	if (!vcpu_has_event(v)) {
		in->look = v->int_shadow || atomic_load(&v->nmi_pending) || vcpu_interrupt_pending(v);
		return false;
	}
	if (atomic_load(&v->nmi_pending) && !v->nmi_blocked) {
		atomic_store(&v->nmi_pending, false);
		r = event_nmi(v);
	} else {
		int vec = vcpu_take_interrupt(v);

		if (vec >= 0)
			r = event_interrupt(v, (uint8_t)vec);
	}
	if (r == XR_SHUTDOWN) {
		x->reason = EXIT_SHUTDOWN;
		return true;
	}
	return false;
}

static void cannot(struct vcpu *v, struct interp *in, struct exit *x)
{
	const struct insn *i = interp_fetch(v, in);
	int n;

	vcpu_vec_sync(v); /* for snprintf */
	x->reason = EXIT_CANNOT;
	n = snprintf(x->text, sizeof(x->text), "interp: cannot execute %s at %04x:%llx, bytes",
		     i && i->row ? i->row->name : "the instruction", v->regs.seg[SEG_CS].sel,
		     (unsigned long long)v->regs.rip);
	for (unsigned k = 0; i && k < i->len && n > 0 && (size_t)n + 4 < sizeof(x->text); k++)
		n += snprintf(x->text + n, sizeof(x->text) - (size_t)n, " %02x", i->raw[k]);
}

static void interp_run(struct vcpu *v, struct exit *x)
{
	struct interp *in = v->path[PATH_INTERP];
	enum xr (*const runs)(struct vcpu *, struct interp *) = in->count_rows ? interp_runs_counted : interp_runs;
	enum xr r;

	in->look = true;
	x->text[0] = 0;
	if (v->inject.kind != INJECT_NONE && event_inject(v) == XR_SHUTDOWN) {
		x->reason = EXIT_SHUTDOWN;
		return;
	}
	for (;;) {
		if (take_requests(v, in, x))
			return;
		r = must_step(v) ? interp_step(v, in) : runs(v, in);
		switch (r) {
		case XR_JUMP:
		case XR_AGAIN:
			break;
		case XR_HLT:
			if (vcpu_has_event(v)) {
				in->look = true;
				break;
			}
			x->reason = EXIT_HLT;
			return;
		case XR_SHUTDOWN:
			x->reason = EXIT_SHUTDOWN;
			return;
		default:
			cannot(v, in, x);
			return;
		}
	}
}

/* ---- the path ---- */

static enum status interp_available(struct error *e)
{
	(void)e;
	return ST_OK;
}

static enum status interp_vm_init(struct vm *vm, struct error *e)
{
	enum status st;

	if (vm->codemap)
		return ST_OK;
	st = codemap_create(&vm->codemap, mem_span(&vm->mem), e);
	if (st == ST_OK)
		vm->path_vm[PATH_INTERP] = vm->codemap;
	return st;
}

/* Frees the map of code pages when this path made it. */
static void interp_vm_fini(struct vm *vm)
{
	if (vm->path_vm[PATH_INTERP] && vm->path_vm[PATH_INTERP] == vm->codemap) {
		codemap_free(vm->codemap);
		vm->codemap = NULL;
	}
	vm->path_vm[PATH_INTERP] = NULL;
}

static enum status interp_vcpu_init(struct vcpu *v, struct error *e)
{
	struct interp *in;

	if (mmu_init(v) != ST_OK)
		return error_set(e, ST_NO_MEMORY, "not enough memory for a vCPU's address translation");
	in = interp_new(v);
	if (!in) {
		mmu_fini(v);
		return error_set(e, ST_NO_MEMORY,
				 "not enough memory for the interpreter's cache of decoded instructions");
	}
	in->runs = true;
	v->path[PATH_INTERP] = in;
	in->count_rows = v->vm->cfg.count_rows;
	return ST_OK;
}

static void interp_vcpu_fini(struct vcpu *v)
{
	interp_free(v->path[PATH_INTERP]);
	v->path[PATH_INTERP] = NULL;
	mmu_fini(v);
}

static void interp_mem_dirty(struct vm *vm, uint64_t gpa, uint64_t len)
{
	uint64_t off = mem_ram_offset(&vm->mem, gpa);

	if (vm->codemap && off != UINT64_MAX && len)
		codemap_written(vm->codemap, NULL, off, len);
}

const struct exec_ops interp_ops = {
	.name = "interp",
	.what = "interpreter: every instruction by a function, slow and exact",
	.available = interp_available,
	.vm_init = interp_vm_init,
	.vm_fini = interp_vm_fini,
	.vcpu_init = interp_vcpu_init,
	.vcpu_fini = interp_vcpu_fini,
	.run = interp_run,
	.mem_dirty = interp_mem_dirty,
	.dirty_start = codemap_dirty_start,
	.dirty_fetch = codemap_dirty_fetch,
	.dirty_stop = codemap_dirty_stop,
};
