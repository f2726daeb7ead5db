/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU's state into KVM and back.
 *
 * General, segment and control registers and events travel in the shared page (KVM_CAP_SYNC_REGS): no system call. The rest
 * costs one each, so it stays in KVM until somebody asks (kvm_pull), and goes in only then again.
 *
 * What KVM's interface cannot hold, and what becomes of it:
 *   - an interrupt shadow is one bit here; KVM gets it as "by MOV SS", which VMX accepts whatever IF says (SDM 3C 26.3.1.5)
 *   - of a null segment only selector, base, limit and DPL come back; the other attribute bits are KVM's affair
 *   - a segment above 1 MiB without G gets G, as VMX wants it (SDM 3C 26.3.1.2)
 *   - KVM on AMD-V says G of a segment above 1 MiB and of no other; nobody sees that bit, LAR reads the descriptor in memory
 *   - SYSENTER_ESP and _EIP have 32 bits on AMD
 *   - x87 instruction and data pointers come back from KVM and are dropped by bt
 *   - a software interrupt or exception half delivered is dropped: its instruction has not been passed and runs again
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/cpuid.h"
#include "engine/apic/lapic.h"
#include "fastpath/kvm_int.h"

/* MSRs with a field that KVM switches. EFER and the FS and GS bases travel with the segment registers, the TSC apart. */
static const struct msr_field {
	uint32_t index;
	uint16_t off;
	bool optional; /* a KVM that has not got it is all right while the value is 0 */
	const char *name;
} msr_fields[] = {
#define FIELD(i, f, optional) {i, offsetof(struct x86_regs, f), optional, #f}
	FIELD(MSR_SYSENTER_CS, sysenter_cs, false),
	FIELD(MSR_SYSENTER_ESP, sysenter_esp, false),
	FIELD(MSR_SYSENTER_EIP, sysenter_eip, false),
	FIELD(MSR_STAR, star, false),
	FIELD(MSR_LSTAR, lstar, false),
	FIELD(MSR_CSTAR, cstar, false),
	FIELD(MSR_FMASK, fmask, false),
	FIELD(MSR_KERNEL_GS_BASE, kernel_gs_base, false),
	FIELD(MSR_PAT, pat, true),
	FIELD(MSR_TSC_AUX, tsc_aux, true),
#undef FIELD
};

static uint64_t *field(struct vcpu *v, const struct msr_field *f)
{
	return (uint64_t *)((char *)&v->regs + f->off);
}

/* ---- segments ---- */

static struct kvm_segment seg_out(const struct x86_seg *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SA_TYPE,
		.present = !!(s->attr & SA_P),
		.dpl = (s->attr & SA_DPL) >> SA_DPL_SHIFT,
		.db = !!(s->attr & SA_DB),
		.s = !!(s->attr & SA_S),
		.l = !!(s->attr & SA_L),
		.g = (s->attr & SA_G) || s->limit > 0xfffff,
		.avl = !!(s->attr & SA_AVL),
		.unusable = !(s->attr & SA_P),
	};
}

static struct x86_seg seg_in(const struct kvm_segment *k)
{
	unsigned attr = (k->type & SA_TYPE) | (k->s ? SA_S : 0) | (unsigned)(k->dpl & 3) << SA_DPL_SHIFT |
			(k->present && !k->unusable ? SA_P : 0) | (k->avl ? SA_AVL : 0) | (k->l ? SA_L : 0) |
			(k->db ? SA_DB : 0) | (k->g ? SA_G : 0);

	return (struct x86_seg){.sel = k->selector, .attr = (uint16_t)attr, .limit = k->limit, .base = k->base};
}

static const size_t seg_at[SEG_COUNT] = {
	[SEG_ES] = offsetof(struct kvm_sregs, es), [SEG_CS] = offsetof(struct kvm_sregs, cs),
	[SEG_SS] = offsetof(struct kvm_sregs, ss), [SEG_DS] = offsetof(struct kvm_sregs, ds),
	[SEG_FS] = offsetof(struct kvm_sregs, fs), [SEG_GS] = offsetof(struct kvm_sregs, gs),
};

static struct kvm_segment *seg_of(struct kvm_sregs *s, unsigned i)
{
	return (struct kvm_segment *)((char *)s + seg_at[i]);
}

/* ---- the shared page ---- */

static const size_t gpr_at[16] = {
	offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx), offsetof(struct kvm_regs, rdx),
	offsetof(struct kvm_regs, rbx), offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp),
	offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi), offsetof(struct kvm_regs, r8),
	offsetof(struct kvm_regs, r9),	offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
	offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13), offsetof(struct kvm_regs, r14),
	offsetof(struct kvm_regs, r15),
};

static void events_out(const struct vcpu *v, struct kvm_vcpu_events *e)
{
	const struct x86_inject *in = &v->inject;

	*e = (struct kvm_vcpu_events){.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING};
	e->interrupt.shadow = v->int_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0;
	e->nmi.masked = v->nmi_blocked;
	switch ((enum inject_kind)in->kind) {
	case INJECT_NONE:
		break;
	case INJECT_INTERRUPT:
		e->interrupt.injected = 1;
		e->interrupt.nr = in->vector;
		break;
	case INJECT_NMI:
		e->nmi.injected = 1;
		break;
	case INJECT_EXCEPTION:
		e->exception.injected = 1;
		e->exception.nr = in->vector;
		e->exception.has_error_code = in->has_error;
		e->exception.error_code = in->error;
		break;
	}
}

static void events_in(struct vcpu *v, const struct kvm_vcpu_events *e)
{
	v->int_shadow = e->interrupt.shadow != 0;
	v->nmi_blocked = e->nmi.masked;
	v->inject = (struct x86_inject){0};
	if (e->nmi.pending)
		atomic_store(&v->nmi_pending, true);
	if ((e->exception.injected || e->exception.pending) && e->exception.nr != VEC_BP && e->exception.nr != VEC_OF)
		v->inject = (struct x86_inject){.kind = INJECT_EXCEPTION,
						.vector = e->exception.nr,
						.has_error = e->exception.has_error_code,
						.error = e->exception.error_code};
	else if (e->nmi.injected)
		v->inject = (struct x86_inject){.kind = INJECT_NMI, .vector = VEC_NMI};
	else if (e->interrupt.injected && !e->interrupt.soft)
		v->inject = (struct x86_inject){.kind = INJECT_INTERRUPT, .vector = e->interrupt.nr};
}

static void synced_out(const struct vcpu *v, struct kvm_sync_regs *s)
{
	const struct x86_regs *r = &v->regs;

	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		*(uint64_t *)((char *)&s->regs + gpr_at[i]) = r->gpr[i];
	s->regs.rip = r->rip;
	s->regs.rflags = r->rflags;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		*seg_of(&s->sregs, i) = seg_out(&r->seg[i]);
	s->sregs.tr = seg_out(&r->tr);
	s->sregs.ldt = seg_out(&r->ldtr);
	s->sregs.gdt = (struct kvm_dtable){.base = r->gdtr.base, .limit = r->gdtr.limit};
	s->sregs.idt = (struct kvm_dtable){.base = r->idtr.base, .limit = r->idtr.limit};
	s->sregs.cr0 = r->cr0;
	s->sregs.cr2 = r->cr2;
	s->sregs.cr3 = r->cr3;
	s->sregs.cr4 = r->cr4;
	s->sregs.cr8 = lapic_cr8(v->lapic);
	s->sregs.efer = r->efer;
	s->sregs.apic_base = lapic_base(v->lapic);
	events_out(v, &s->events);
}

void kvm_store_event_state(struct kvm_cpu *c)
{
	const struct kvm_sync_regs *s = &c->run->s.regs;
	struct vcpu *v = c->v;

	v->regs.rflags = s->regs.rflags | FL_ONE;
	v->int_shadow = s->events.interrupt.shadow != 0;
	v->nmi_blocked = s->events.nmi.masked;
}

void kvm_store_synced(struct kvm_cpu *c)
{
	struct kvm_sync_regs *s = &c->run->s.regs;
	struct vcpu *v = c->v;
	struct x86_regs *r = &v->regs;

	for (unsigned i = 0; i < 16; i++)
		r->gpr[i] = *(uint64_t *)((char *)&s->regs + gpr_at[i]);
	r->rip = s->regs.rip;
	r->rflags = s->regs.rflags | FL_ONE;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		r->seg[i] = seg_in(seg_of(&s->sregs, i));
	r->tr = seg_in(&s->sregs.tr);
	r->ldtr = seg_in(&s->sregs.ldt);
	r->gdtr = (struct x86_dtable){.base = s->sregs.gdt.base, .limit = s->sregs.gdt.limit};
	r->idtr = (struct x86_dtable){.base = s->sregs.idt.base, .limit = s->sregs.idt.limit};
	r->cr0 = s->sregs.cr0;
	r->cr2 = s->sregs.cr2;
	r->cr3 = s->sregs.cr3;
	r->cr4 = s->sregs.cr4;
	r->efer = s->sregs.efer;
	if (c->m->chips)
		lapic_note_base(v->lapic, s->sregs.apic_base);
	events_in(v, &s->events);
	if (!c->run->kvm_dirty_regs) /* else KVM_RUN has not taken it yet */
		c->last = *s;
}

/* ---- the rest ---- */

static bool fail(struct kvm_cpu *c, struct exit *x, const char *what)
{
	kvm_leave(c, x, EXIT_CANNOT, "this host's KVM does not take the vCPU's %s (%s)", what, strerror(errno));
	return false;
}

static bool msr_load(struct kvm_cpu *c, struct exit *x, const struct msr_field *f)
{
	struct kvm_one_msr one = {.head.nmsrs = 1, .entry = {.index = f->index, .data = *field(c->v, f)}};
	int n = kvm_cpu_ioctl(c, KVM_SET_MSRS, &one);

	return n == 1 || (n == 0 && f->optional && (!one.entry.data || f->index == MSR_PAT)) || fail(c, x, f->name);
}

static bool msrs_load(struct kvm_cpu *c, struct exit *x)
{
	for (unsigned i = 0; i < ARRAY_LEN(msr_fields); i++)
		if (!msr_load(c, x, &msr_fields[i]))
			return false;
	return true;
}

bool kvm_msr_written(struct kvm_cpu *c, struct exit *x, uint32_t index)
{
	for (unsigned i = 0; i < ARRAY_LEN(msr_fields); i++)
		if (msr_fields[i].index == index)
			return msr_load(c, x, &msr_fields[i]);
	return true;
}

/* The truth is in KVM and KVM does not give it: there is nothing that the guest could go on from. */
static void lost(struct kvm_cpu *c, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), "kvm, vCPU %u: the host does not give the vCPU's %s back (%s)", c->v->id, what,
		 strerror(errno));
	vm_end(c->v->vm, VM_FAILED, 0, text);
}

static void msrs_store(struct kvm_cpu *c)
{
	for (unsigned i = 0; i < ARRAY_LEN(msr_fields); i++) {
		struct kvm_one_msr one = {.head.nmsrs = 1, .entry = {.index = msr_fields[i].index}};

		if (kvm_cpu_ioctl(c, KVM_GET_MSRS, &one) == 1)
			*field(c->v, &msr_fields[i]) = one.entry.data;
		else if (!msr_fields[i].optional)
			lost(c, msr_fields[i].name);
	}
}

static bool tsc_load(struct kvm_cpu *c, struct exit *x)
{
	return kvm_tsc_send(c) || fail(c, x, "time stamp counter");
}

/* A pause of the machine moves the offset of all vCPUs. */
static bool tsc_holds(struct kvm_cpu *c, struct exit *x)
{
	return c->tsc_offset == c->v->regs.tsc_offset || tsc_load(c, x);
}

static bool vector_load(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = c->v->regs.xcr0}};

	if (kvm_cpu_ioctl(c, KVM_SET_XCRS, &xcrs) != 0)
		return fail(c, x, "XCR0");
	return kvm_xsave_send(&c->xsave, c->fd, c->v->regs.xsave) || fail(c, x, "XSAVE state");
}

static bool debug_load(struct kvm_cpu *c, struct exit *x)
{
	const uint64_t *dr = c->v->regs.dr;
	struct kvm_debugregs d = {.db = {dr[0], dr[1], dr[2], dr[3]}, .dr6 = dr[6], .dr7 = dr[7]};

	return kvm_cpu_ioctl(c, KVM_SET_DEBUGREGS, &d) == 0 || fail(c, x, "debug registers");
}

static bool pae(const struct vcpu *v)
{
	return (v->regs.cr0 & CR0_PG) && (v->regs.cr4 & CR4_PAE) && !(v->regs.efer & EFER_LMA);
}

/* PAE's four registers are of the moment of the CR3 load, memory may have changed (SDM 3A 4.4.1). */
static bool pdptes_load(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_sregs2 s;

	if (!pae(c->v) || !c->m->has_sregs2)
		return true;
	if (kvm_cpu_ioctl(c, KVM_SET_SREGS, &c->run->s.regs.sregs) != 0 || kvm_cpu_ioctl(c, KVM_GET_SREGS2, &s) != 0)
		return fail(c, x, "control registers");
	memcpy(s.pdptrs, c->v->regs.pdpte, sizeof(s.pdptrs));
	s.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
	return kvm_cpu_ioctl(c, KVM_SET_SREGS2, &s) == 0 || fail(c, x, "page-directory pointers");
}

static void pdptes_store(struct kvm_cpu *c)
{
	struct vcpu *v = c->v;
	struct kvm_sregs2 s;

	if (!pae(v))
		return;
	if (c->m->has_sregs2 && kvm_cpu_ioctl(c, KVM_GET_SREGS2, &s) == 0 && (s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
		memcpy(v->regs.pdpte, s.pdptrs, sizeof(v->regs.pdpte));
	else if (!mem_read(&v->vm->mem, v->regs.cr3 & 0xffffffe0u, v->regs.pdpte, sizeof(v->regs.pdpte)))
		memset(v->regs.pdpte, 0, sizeof(v->regs.pdpte));
}

/* Did the host take the control registers? Some drop what they do not like. Software KVMs only: it costs a call. */
static bool controls_hold(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_sregs got, *want = &c->run->s.regs.sregs;

	if (c->m->host.native)
		return true;
	if (kvm_cpu_ioctl(c, KVM_SET_SREGS, want) != 0 || kvm_cpu_ioctl(c, KVM_GET_SREGS, &got) != 0)
		return fail(c, x, "control registers");
	if (got.cr0 == want->cr0 && got.cr4 == want->cr4 && got.efer == want->efer && got.cr3 == want->cr3)
		return true;
	kvm_leave(c, x, EXIT_CANNOT,
		  "this host's KVM keeps CR0 %llx CR4 %llx EFER %llx where the guest has %llx %llx %llx",
		  (unsigned long long)got.cr0, (unsigned long long)got.cr4, (unsigned long long)got.efer,
		  (unsigned long long)want->cr0, (unsigned long long)want->cr4, (unsigned long long)want->efer);
	return false;
}

/* With PAE and KVM_SET_SREGS2 the control registers have gone already, and sent again would read the pointers from memory. */
static void send_all(struct kvm_cpu *c)
{
	bool gone = pae(c->v) && c->m->has_sregs2;

	c->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS | (gone ? 0 : KVM_SYNC_X86_SREGS);
}

bool kvm_load(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_sync_regs *s = &c->run->s.regs;
	const char *unsound;

	synced_out(c->v, s);
	c->run->kvm_dirty_regs = 0;
	if (c->loaded && c->fresh) {
		send_all(c);
		return tsc_holds(c, x);
	}
	if (c->loaded) {
		if (memcmp(&s->regs, &c->last.regs, sizeof(s->regs)) != 0)
			c->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
		if (memcmp(&s->sregs, &c->last.sregs, sizeof(s->sregs)) != 0)
			c->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
		if (memcmp(&s->events, &c->last.events, sizeof(s->events)) != 0)
			c->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
		return tsc_holds(c, x);
	}
	if (lapic_mmio_gpa(c->v->lapic) != UINT64_MAX && mem_ram(&c->v->vm->mem, lapic_mmio_gpa(c->v->lapic), 1)) {
		kvm_leave(c, x, EXIT_CANNOT, "the guest has put its local APIC over memory");
		return false;
	}
	unsound = kvm_host_unsound(c->m, c->v);
	if (unsound) {
		kvm_leave(c, x, EXIT_UNSOUND, "%s", unsound);
		return false;
	}
	/* XSAVE before the control registers would not be possible if CR4.OSXSAVE decided about it: it does not */
	if (!controls_hold(c, x) || !vector_load(c, x) || !msrs_load(c, x) || !tsc_load(c, x) || !debug_load(c, x) ||
	    !pdptes_load(c, x))
		return false;
	if (!kvm_mp_load(c))
		return fail(c, x, "halt state");
	send_all(c);
	c->loaded = c->fresh = true;
	return true;
}

/* What the shared page has for KVM_RUN, without one: the thread may be another than the vCPU's. */
static bool send_synced(struct kvm_cpu *c)
{
	struct kvm_sync_regs *s = &c->run->s.regs;
	uint64_t dirty = c->run->kvm_dirty_regs;

	c->run->kvm_dirty_regs = 0;
	return (!(dirty & KVM_SYNC_X86_REGS) || kvm_cpu_ioctl(c, KVM_SET_REGS, &s->regs) == 0) &&
	       (!(dirty & KVM_SYNC_X86_SREGS) || kvm_cpu_ioctl(c, KVM_SET_SREGS, &s->sregs) == 0) &&
	       (!(dirty & KVM_SYNC_X86_EVENTS) || kvm_cpu_ioctl(c, KVM_SET_VCPU_EVENTS, &s->events) == 0);
}

/* INIT and SIPI that came to the kernel's APIC and that the vCPU has not taken: it takes them when it is asked for its
 * state, and then its registers are others than those of the last exit. A KVM_RUN would fetch them too, but it would finish an
 * instruction that another path is to do. */
static void startup_store(struct kvm_cpu *c)
{
	struct kvm_sync_regs *s = &c->run->s.regs;

	if (!send_synced(c)) {
		lost(c, "registers");
		return;
	}
	if (!kvm_mp_store(c)) {
		lost(c, "halt state");
		return;
	}
	atomic_store(&c->v->nmi_pending, false); /* an NMI that still waits is in what comes; INIT has dropped any other */
	if (kvm_cpu_ioctl(c, KVM_GET_REGS, &s->regs) == 0 && kvm_cpu_ioctl(c, KVM_GET_SREGS, &s->sregs) == 0 &&
	    kvm_cpu_ioctl(c, KVM_GET_VCPU_EVENTS, &s->events) == 0)
		kvm_store_synced(c);
	else
		lost(c, "registers");
}

static void store_all(struct kvm_cpu *c)
{
	struct vcpu *v = c->v;
	struct kvm_xcrs xcrs = {0};
	struct kvm_debugregs d;

	if (c->m->chips)
		startup_store(c);
	msrs_store(c);
	pdptes_store(c);
	if (kvm_cpu_ioctl(c, KVM_GET_XCRS, &xcrs) != 0)
		lost(c, "XCR0");
	for (unsigned i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			v->regs.xcr0 = xcrs.xcrs[i].value;
	if (!kvm_xsave_fetch(&c->xsave, c->fd, v->regs.xsave, sizeof(v->regs.xsave)))
		lost(c, "XSAVE state");
	if (kvm_cpu_ioctl(c, KVM_GET_DEBUGREGS, &d) == 0) {
		memcpy(v->regs.dr, d.db, sizeof(d.db));
		v->regs.dr[6] = d.dr6;
		v->regs.dr[7] = d.dr7;
	} else {
		lost(c, "debug registers");
	}
}

void kvm_pull(struct vcpu *v)
{
	struct kvm_cpu *c = kvm_cpu(v);

	if (!c || !c->loaded)
		return;
	c->loaded = false;
	kvm_watch_stop(c);
	if (!c->fresh)
		store_all(c);
	c->fresh = false;
	if (!kvm_mp_mark(c))
		lost(c, "halt state");
}
