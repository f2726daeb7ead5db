/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stay in ring 3: the vCPU's state into KVM, KVM_RUN with page faults answered on the way, the state back.
 *
 * Every event of ring 3 ends in a stub's OUT with the processor's frame on the hidden stack, and most of them in giving the vCPU back
 * where the frame says: faults are precise (SDM 3A 6.6), so the translator executes the same instruction again and raises
 * for the guest what belongs to the guest. What is not a fault is brought in front of its instruction first:
 *
 *   SYSCALL    is noticed at its target; RCX has the way back, R11 the flags, and both are about to be overwritten again
 *   INT3       is a trap: one byte back (two for CD 03)
 *   #DB        behind an instruction that ran with TF is handed over as an event half delivered
 *
 * Signals end KVM_RUN at an instruction boundary. The translator's handler, which runs for every kick and barrier, sets
 * immediate_exit (vcpu->exit_now), so it does not matter whether it comes before KVM_RUN or inside.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "engine/cpuid.h"
#include "fastpath/ring3_int.h"

/* In XSAVE's image (SDM 1 13.4): what travels. */
#define XSAVE_BYTES 832
#define XSAVE_BV 512
#define XSAVE_STATES 7u

/* KVM_RUNs that only finish what was begun, and page faults at the same place, before something is wrong. */
#define FINISH_MAX 64
#define SAME_MAX 3

#define INSN_INT3 0xcc
#define INSN_INT 0xcd
#define INSN_ICEBP 0xf1
#define SYSCALL_BYTES 2

#define ALL_SYNCED (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

uint64_t ring3_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct ring3 *ring3(const void *direct)
{
	return (struct ring3 *)(uintptr_t)direct;
}

/* ---- may it? ---- */

/* The guest's ring 3 must look like the one that KVM runs. One row each. */
#define CR0_NEEDED (CR0_PE | CR0_PG | CR0_NE | CR0_AM)
#define CR4_NEEDED (CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE)

static bool other_mode(const struct vcpu *v)
{
	return !vcpu_code64(v) || vcpu_cpl(v) != 3;
}
static bool other_controls(const struct vcpu *v)
{
	const struct x86_regs *r = &v->regs;

	return (r->cr0 & CR0_NEEDED) != CR0_NEEDED || (r->cr0 & (CR0_EM | CR0_TS)) || (r->cr4 & CR4_NEEDED) != CR4_NEEDED ||
	       (r->cr4 & (CR4_TSD | CR4_LA57 | CR4_PKE)) || !(r->efer & EFER_NXE) || !(r->efer & EFER_SCE);
}
static bool other_xcr0(const struct vcpu *v)
{
	return v->regs.xcr0 != cpuid_xcr0_mask(v->vm);
}
static bool other_selectors(const struct vcpu *v)
{
	const struct x86_seg *s = v->regs.seg;

	return s[SEG_CS].sel != R3_CS || s[SEG_SS].sel != R3_SS || s[SEG_DS].sel || s[SEG_ES].sel || s[SEG_FS].sel || s[SEG_GS].sel;
}
static bool other_flags(const struct vcpu *v)
{
	return (v->regs.rflags & (FL_TF | FL_IF | FL_IOPL | FL_NT | FL_VM)) != FL_IF;
}
static bool breakpoints(const struct vcpu *v)
{
	return (v->regs.dr[7] & 0xff) != 0;
}
static bool events(const struct vcpu *v)
{
	return v->int_shadow || v->inject.kind != INJECT_NONE;
}

static const struct unfit_row {
	bool (*is)(const struct vcpu *v);
	const char *why;
} unfit[] = {
	{other_mode, "not 64-bit ring 3"},
	{other_controls, "control registers that ring 3 would notice"},
	{other_xcr0, "XCR0 without all of the guest's state"},
	{other_selectors, "segment selectors that are not the host's"},
	{other_flags, "RFLAGS with TF, IOPL or NT, or without IF"},
	{breakpoints, "breakpoints"},
	{events, "an event between two instructions"},
};

const char *ring3_unfit(const void *direct)
{
	const struct ring3 *r = direct;

	if (r->broken)
		return "the host's KVM did not go on";
	for (unsigned i = 0; i < ARRAY_LEN(unfit); i++)
		if (unfit[i].is(r->v))
			return unfit[i].why;
	return NULL;
}

/* ---- KVM_RUN ---- */

void ring3_send(struct ring3 *r, unsigned root, uint64_t fs_base, uint64_t gs_base)
{
	struct kvm_sregs *s = &r->run->s.regs.sregs;

	*s = r->user;
	s->cr3 = ring3_table_entry(&r->map, root) & ~0xfffull;
	s->fs.base = fs_base;
	s->gs.base = gs_base;
	r->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

/* Vectors that push an error code (SDM 3A 6.15), those of virtualization and CET included. */
static bool has_error(unsigned vector)
{
	return vector < 32 && (0x60227d00u >> vector & 1);
}

/* The processor's frame on the hidden stack, into the registers. */
static void take_frame(struct ring3 *r, struct ring3_event *ev, unsigned vector)
{
	struct kvm_regs *g = &r->run->s.regs.regs;
	uint64_t frame[6] = {0};
	unsigned n = has_error(vector) ? 6 : 5, at = (unsigned)(g->rsp - R3_AT(R3_STACK));

	ev->vector = (uint8_t)vector;
	ev->cr2 = r->run->s.regs.sregs.cr2;
	if (at > 4096 - n * 8) {
		ev->stop = R3_STRANGE;
		return;
	}
	memcpy(frame + 6 - n, (const uint8_t *)ring3_page(&r->map, R3_STACK) + at, n * 8);
	ev->stop = R3_VECTOR;
	ev->error = (uint32_t)frame[0];
	ev->cs = (uint16_t)frame[2];
	g->rip = frame[1];
	g->rflags = frame[3];
	g->rsp = frame[4];
}

/* Back in front of the instruction. */
static void take_syscall(struct ring3 *r, struct ring3_event *ev)
{
	struct kvm_regs *g = &r->run->s.regs.regs;

	ev->stop = R3_SYSCALL;
	ev->cs = R3_CS;
	g->rip = g->rcx - SYSCALL_BYTES;
	g->rflags = g->r11;
}

static bool at_landing(const struct ring3 *r, const struct ring3_event *ev)
{
	const struct kvm_regs *g = &r->run->s.regs.regs;

	return ev->vector == VEC_PF && g->rip == R3_AT(R3_LANDING) && ev->cr2 == g->rip && (ev->error & PF_I) && !(g->rflags & FL_IF);
}

/* Where the vCPU is when KVM_RUN came back without an exit of ours: in ring 3, or on its way to a stub. */
static void where(struct ring3 *r, struct ring3_event *ev, enum ring3_stop in_ring3)
{
	const struct kvm_sregs *s = &r->run->s.regs.sregs;
	uint64_t rip = r->run->s.regs.regs.rip;

	ev->stop = in_ring3;
	ev->cs = s->cs.selector;
	if (s->cs.dpl == 3 || s->ss.dpl == 3) {
		if (rip == R3_AT(R3_LANDING) && !(r->run->s.regs.regs.rflags & FL_IF)) /* behind SYSCALL, the fetch has not faulted yet */
			take_syscall(r, ev);
		return;
	}
	if (rip >= R3_AT(R3_STUBS) && rip < R3_AT(R3_STUBS + 1))
		take_frame(r, ev, (unsigned)(rip - R3_AT(R3_STUBS)) / R3_STUB_BYTES);
	else if (rip - R3_AT(R3_LANDING) < R3_STUB_BYTES)
		take_syscall(r, ev);
	else
		ev->stop = R3_STRANGE;
}

static bool event_begun(const struct ring3 *r)
{
	const struct kvm_vcpu_events *e = &r->run->s.regs.events;

	return e->exception.injected || e->exception.pending;
}

void ring3_enter(struct ring3 *r, struct ring3_event *ev)
{
	int ret;

	*ev = (struct ring3_event){0};
	r->run->kvm_valid_regs = ALL_SYNCED;
	if (r->run->kvm_dirty_regs)
		r->sent = r->run->s.regs;
	ret = r->sys->ioctl(r->sys, r->fd, KVM_RUN, NULL);
	for (unsigned i = 0; ret != 0 && (errno == EINTR || errno == EAGAIN) && !r->run->kvm_dirty_regs && event_begun(r) && i < FINISH_MAX; i++) {
		r->run->immediate_exit = 0;
		ret = r->sys->ioctl(r->sys, r->fd, KVM_RUN, NULL);
	}
	if (ret != 0 && errno != EINTR && errno != EAGAIN) {
		if (r->run->kvm_dirty_regs) /* KVM stores what it has, even when it did not take what it was given */
			r->run->s.regs = r->sent;
		where(r, ev, R3_STRANGE);
		return;
	}
	r->run->kvm_dirty_regs = 0;
	if (ret != 0) {
		where(r, ev, R3_INTERRUPTED);
	} else if (r->run->exit_reason == KVM_EXIT_IO && r->run->io.direction == KVM_EXIT_IO_OUT) {
		if (r->run->io.port == R3_PORT_LANDING)
			take_syscall(r, ev);
		else
			take_frame(r, ev, r->run->io.port);
	} else {
		where(r, ev, R3_STRANGE);
	}
	if (ev->stop == R3_VECTOR && at_landing(r, ev))
		take_syscall(r, ev);
}

/* ---- state ---- */

static const uint8_t gpr_at[16] = {
	offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx), offsetof(struct kvm_regs, rdx), offsetof(struct kvm_regs, rbx),
	offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp), offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi),
	offsetof(struct kvm_regs, r8),	offsetof(struct kvm_regs, r9),	offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
	offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13), offsetof(struct kvm_regs, r14), offsetof(struct kvm_regs, r15),
};

static bool load(struct ring3 *r)
{
	struct kvm_regs *g = &r->run->s.regs.regs;
	const struct x86_regs *v = &r->v->regs;

	for (unsigned i = 0; i < 16; i++)
		*(uint64_t *)((char *)g + gpr_at[i]) = v->gpr[i];
	g->rip = v->rip;
	g->rflags = v->rflags & ~(uint64_t)FL_RF; /* it is for instruction breakpoints, of which there are none */
	return kvm_xsave_send(&r->xsave, r->fd, v->xsave);
}

static bool store(struct ring3 *r, const struct ring3_event *ev)
{
	const struct kvm_sync_regs *s = &r->run->s.regs;
	struct x86_regs *v = &r->v->regs;
	uint64_t bv;

	for (unsigned i = 0; i < 16; i++)
		v->gpr[i] = *(const uint64_t *)((const char *)&s->regs + gpr_at[i]);
	v->rip = s->regs.rip;
	v->rflags = (s->regs.rflags & ~(uint64_t)FL_RF) | FL_ONE;
	v->seg[SEG_FS].base = s->sregs.fs.base;
	v->seg[SEG_GS].base = s->sregs.gs.base;
	if (ev->cs == R3_CS32) { /* a far transfer by the host's descriptors, which the guest's are like */
		struct x86_seg *cs = &v->seg[SEG_CS];

		cs->sel = R3_CS32;
		cs->attr = (uint16_t)((cs->attr & ~SA_L) | SA_DB);
	}
	if (!kvm_xsave_fetch(&r->xsave, r->fd, v->xsave, XSAVE_BYTES))
		return false;
	memcpy(&bv, v->xsave + XSAVE_BV, sizeof(bv));
	bv &= XSAVE_STATES;
	memcpy(v->xsave + XSAVE_BV, &bv, sizeof(bv));
	return true;
}

/* ---- a stay ---- */

static enum direct_end breakpoint(struct ring3 *r)
{
	struct kvm_regs *g = &r->run->s.regs.regs;
	uint8_t last = 0, before = 0;

	ring3_map_peek(&r->map, g->rip - 1, &last);
	ring3_map_peek(&r->map, g->rip - 2, &before);
	if (last == INSN_INT3)
		g->rip--;
	else if (last == VEC_BP && before == INSN_INT)
		g->rip -= 2;
	return DIRECT_EXCEPTION;
}

static enum direct_end debug_trap(struct ring3 *r)
{
	struct kvm_regs *g = &r->run->s.regs.regs;
	struct vcpu *v = r->v;
	uint8_t here = 0, last = 0;

	ring3_map_peek(&r->map, g->rip, &here);
	ring3_map_peek(&r->map, g->rip - 1, &last);
	if (!(g->rflags & FL_TF)) { /* ICEBP: some KVMs report it in front, processors behind */
		if (here != INSN_ICEBP && last == INSN_ICEBP)
			g->rip--;
		return DIRECT_EXCEPTION;
	}
	v->regs.dr[6] |= DR6_BS;
	v->inject = (struct x86_inject){.kind = INJECT_EXCEPTION, .vector = VEC_DB};
	return DIRECT_TRAP;
}

static enum direct_end filled(enum ring3_fill f)
{
	return f == R3_UNFIT_CODE ? DIRECT_CODE : f == R3_CODE_STORE ? DIRECT_STORE : DIRECT_FAULT;
}

struct stay {
	uint64_t rip, cr2; /* of the last page fault */
	unsigned same;
};

/* true: go on in ring 3. */
static bool page_fault(struct ring3 *r, struct stay *s, const struct ring3_event *ev, struct direct_run *out, enum direct_end *end)
{
	struct kvm_sync_regs *g = &r->run->s.regs;
	enum ring3_fill f;
	unsigned root;

	s->same = s->rip == g->regs.rip && s->cr2 == ev->cr2 ? s->same + 1 : 0;
	s->rip = g->regs.rip;
	s->cr2 = ev->cr2;
	f = s->same > SAME_MAX ? R3_REFUSED : ring3_map_fill(&r->map, ev->cr2, ev->error);
	root = f == R3_FILLED ? ring3_map_root(&r->map) : 0;
	*end = filled(f);
	if (r->map.full) { /* begin anew: the next stay finds empty tables */
		out->resets++;
		ring3_map_forget(&r->map);
		if (!ring3_zap(r))
			r->broken = true;
		*end = r->broken ? DIRECT_BROKEN : DIRECT_FAULT;
		return false;
	}
	if (!root)
		return false;
	out->fills++;
	ring3_send(r, root, g->sregs.fs.base, g->sregs.gs.base);
	return true;
}

static enum direct_end stay(struct ring3 *r, struct ring3_event *ev, struct direct_run *out)
{
	struct stay s = {0};
	enum direct_end end;

	for (;;) {
		__atomic_store_n(&r->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (atomic_load(&r->v->request) && !r->run->kvm_dirty_regs)
			return DIRECT_REQUEST;
		if (atomic_load(&r->v->request)) { /* the registers of ring 3 are in the page already */
			ev->cs = r->run->s.regs.sregs.cs.selector;
			return DIRECT_REQUEST;
		}
		ring3_enter(r, ev);
		switch (ev->stop) {
		case R3_INTERRUPTED:
			continue;
		case R3_SYSCALL:
			return DIRECT_SYSCALL;
		case R3_STRANGE:
			r->broken = true;
			return DIRECT_BROKEN;
		case R3_VECTOR:
			break;
		}
		if (ev->cs != R3_CS)
			return DIRECT_EXCEPTION;
		if (ev->vector == VEC_BP)
			return breakpoint(r);
		if (ev->vector == VEC_DB)
			return debug_trap(r);
		if (ev->vector != VEC_PF)
			return DIRECT_EXCEPTION;
		if (!page_fault(r, &s, ev, out, &end))
			return end;
	}
}

enum direct_end ring3_run(void *direct, struct direct_run *out)
{
	struct ring3 *r = ring3(direct);
	const struct x86_regs *regs = &r->v->regs;
	struct ring3_event ev = {.cs = R3_CS};
	uint64_t begin = ring3_cpu_ns();
	enum direct_end end;
	unsigned root;

	*out = (struct direct_run){0};
	root = ring3_map_root(&r->map);
	if (!root) {
		out->resets++;
		ring3_map_forget(&r->map);
		if (!ring3_zap(r) || !(root = ring3_map_root(&r->map))) {
			r->broken = true;
			return DIRECT_BROKEN;
		}
	}
	if (!load(r)) {
		r->broken = true;
		return DIRECT_BROKEN;
	}
	ring3_send(r, root, regs->seg[SEG_FS].base, regs->seg[SEG_GS].base);
	r->v->exit_now = &r->run->immediate_exit;
	end = stay(r, &ev, out);
	r->v->exit_now = NULL;
	if (!store(r, &ev)) {
		vm_end(r->v->vm, VM_FAILED, 0, "hybrid: the host's KVM does not give the vCPU's XSAVE state back");
		end = DIRECT_BROKEN;
	}
	out->cpu_ns = ring3_cpu_ns() - begin;
	return end;
}
