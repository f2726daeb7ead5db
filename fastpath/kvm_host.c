/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host's KVM may be trusted with.
 *
 * /dev/kvm says nothing about what is behind it. With VT-x or AMD-V in CPUID and the vendor's module loaded it is the
 * processor. Anything else is a KVM made by software, of which we know that some do wrong what the rows below name, without
 * an error: the guest would go astray. So before the vCPU gets to the point where it depends on such a thing it leaves
 * the path (EXIT_UNSOUND), and another one goes on. struct vm_config.kvm_trust does without that: to look at such a KVM.
 *
 * Measured on one such KVM: SYSCALL jumps to LSTAR and stays at CPL 3; CR0.PG with 32-bit paging is dropped from SET_SREGS
 * and #GP in the guest; no interrupt shadow behind STI; a store across two pages writes the first although the second
 * faults; single-stepped REP instructions trap once; INT n, INT3, IRET, LAR and CMPXCHG16B are unknown in places.
 */
#include <cpuid.h>
#include <string.h>
#include <unistd.h>

#include "fastpath/kvm_int.h"

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

static bool host_has_extension(void)
{
	uint32_t a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5)) /* VMX */
		return true;
	return __get_cpuid(0x80000001u, &a, &b, &c, &d) && (c & 1u << 2); /* SVM */
}

void kvm_host_judge(struct kvm_host *h)
{
	memset(h, 0, sizeof(*h));
	h->native = host_has_extension() &&
		    (access("/sys/module/kvm_intel", F_OK) == 0 || access("/sys/module/kvm_amd", F_OK) == 0);
	for (unsigned i = 0; i < FLAW_COUNT; i++)
		h->flaw[i] = !h->native;
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
