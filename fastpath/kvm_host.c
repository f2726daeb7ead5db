/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host's KVM may be trusted with.
 *
 * /dev/kvm says nothing about what is behind it. With VT-x or AMD-V in CPUID and the vendor's module loaded it is the
 * processor, and trusted but for what `steelyard probe` has seen fail. Anything else is a KVM made by software, of which we know that some do wrong what the rows below name, without
 * an error: the guest would go astray. So before the vCPU gets to the point where it depends on such a thing it leaves
 * the path (EXIT_UNSOUND), and another one goes on. struct vm_config.kvm_trust does without that: to look at such a KVM.
 *
 * Measured on one such KVM: SYSCALL jumps to LSTAR and stays at CPL 3; CR0.PG with 32-bit paging is dropped from SET_SREGS
 * and #GP in the guest; no interrupt shadow behind STI; a store across two pages writes the first although the second
 * faults; single-stepped REP instructions trap once; INT n, INT3, IRET, LAR and CMPXCHG16B are unknown in places.
 */
#include <stdlib.h>
#include <string.h>

#include "fastpath/kvm_int.h"
#include "fastpath/probe.h"

static bool needs_syscall(const struct vcpu *v)
{
	return (v->regs.efer & EFER_SCE) && (v->regs.lstar || v->regs.cstar || v->regs.star);
}

/* Code that is not bound for long mode may turn 32-bit paging on, and nobody would be asked. */
static bool needs_paging32(const struct vcpu *v)
{
	return !(v->regs.efer & EFER_LME);
}

static bool needs_kernel(const struct vcpu *v)
{
	return vcpu_cpl(v) != 3;
}

static const struct flaw_row {
	bool (*needs)(const struct vcpu *v);
	const char *text;
} flaws[FLAW_COUNT] = {
	[FLAW_SYSCALL] = {needs_syscall, "the guest sets up SYSCALL, which does not change the privilege level on this host's KVM"},
	[FLAW_PAGING32] = {needs_paging32, "the guest may turn on 32-bit paging, which this host's KVM refuses"},
	[FLAW_KERNEL] = {needs_kernel, "a KVM made by software: it emulates kernel code, slowly and not exactly"},
};

/* A processor's own virtualization is trusted, but for what this boot's probe has seen fail; nothing is measured here. */
static void judge_native(const struct host_facts *f, struct kvm_host *h)
{
	const struct probe_options o = {.effort = PROBE_CACHED_ONLY};
	struct probe_verdict *v = calloc(1, sizeof(*v));

	if (!v)
		return;
	probe_verdict_for(f, &o, v);
	if (v->measured) {
		h->flaw[FLAW_SYSCALL] = v->item[PROBE_ITEM_SYSCALL].outcome == PROBE_FAILS;
		h->flaw[FLAW_PAGING32] = v->item[PROBE_ITEM_PG32].outcome == PROBE_FAILS;
		h->flaw[FLAW_KERNEL] = v->mode[PROBE_LONG0].level == PROBE_UNUSABLE;
	}
	free(v);
}

void kvm_host_judge(struct kvm_host *h)
{
	struct host_facts f;

	memset(h, 0, sizeof(*h));
	probe_host(&f);
	h->native = probe_vendor(&f) == PROBE_VTX || probe_vendor(&f) == PROBE_AMDV;
	for (unsigned i = 0; i < FLAW_COUNT; i++)
		h->flaw[i] = !h->native;
	if (h->native)
		judge_native(&f, h);
}

const char *kvm_host_unsound(const struct kvm_machine *m, const struct vcpu *v)
{
	for (unsigned i = 0; i < FLAW_COUNT && !m->vm->cfg.kvm_trust; i++)
		if (m->host.flaw[i] && flaws[i].needs(v))
			return flaws[i].text;
	return NULL;
}

const char *kvm_host_unsound_msr(const struct kvm_machine *m, const struct vcpu *v, uint32_t index, uint64_t val)
{
	(void)v;
	if (m->vm->cfg.kvm_trust)
		return NULL;
	if (m->host.flaw[FLAW_SYSCALL] &&
	    (index == MSR_LSTAR || index == MSR_CSTAR || index == MSR_STAR || (index == MSR_EFER && (val & EFER_SCE))))
		return flaws[FLAW_SYSCALL].text;
	return NULL;
}
