/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID for a vCPU in KVM: the guest sees there what it sees on every path (engine/cpuid.c).
 *
 * KVM fills in by itself what depends on the vCPU's state of the moment: OSXSAVE, the APIC's enable bit, the sizes that follow XCR0.
 * The APIC's ID it does not.
 */
#include "engine/cpuid.h"
#include "fastpath/kvm_int.h"

bool kvm_cpuid_send(const struct kvm_sys *sys, int fd, const struct vcpu *v)
{
	const struct cpuid_table *t = &v->vm->cpuid;
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[CPUID_MAX_ENTRIES];
	} all = {.head.nent = t->n};

	for (unsigned i = 0; i < t->n; i++) {
		const struct cpuid_entry *from = &t->entry[i];
		uint32_t r[4];

		cpuid_query(v, from->leaf, from->subleaf, r);
		all.entry[i] = (struct kvm_cpuid_entry2){.function = from->leaf,
							 .index = from->subleaf,
							 .flags = from->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
							 .eax = r[0],
							 .ebx = r[1],
							 .ecx = r[2],
							 .edx = r[3]};
	}
	return sys->ioctl(sys, fd, KVM_SET_CPUID2, &all) == 0;
}
