/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's time stamp counter in KVM.
 *
 * On every path and every vCPU it is the host's counter plus the vCPU's offset (struct x86_regs.tsc_offset), so it may not be scaled: a
 * guest that comes from another path would find another rate. KVM holds an offset too and takes it as it is (KVM_VCPU_TSC_OFFSET,
 * Linux 5.16): then all agree to the tick. IA32_TSC and IA32_TSC_ADJUST are rows of engine/msr.c on this path as well, and KVM's own
 * copies of them are never seen.
 *
 * Without that attribute the vCPU is given the value of the moment. KVM equates values that are written close together, so vCPUs
 * agree; against the other paths the counter is late by the time that the request took. It never goes back: that time is over when
 * the guest reads.
 *
 * The rate. KVM counts at the host's unless it believes the host's to be another, which happens where the TSC is not constant. Then it is
 * told ours (KVM_SET_TSC_KHZ, with KVM_CAP_TSC_CONTROL), and an offset would mean something else than here, so values are used.
 */
#include "fastpath/kvm_int.h"

/* Two measurements of one frequency differ by less. */
#define SAME_RATE_PER_MILLE 5

static const struct tsc_row {
	const char *name, *why;
} rows[KVM_TSC_HOW_COUNT] = {
	[KVM_TSC_OFFSET] = {"offset", "KVM has the machine's offset: the same to the tick on all paths and vCPUs"},
	[KVM_TSC_VALUE] = {"value", "KVM takes no offset (KVM_VCPU_TSC_OFFSET, Linux 5.16): the value of the moment, late by some microseconds"},
	[KVM_TSC_SCALED] = {"scaled", "KVM counted at another rate than this host and was told the right one; the value of the moment"},
	[KVM_TSC_OTHER_RATE] = {"other-rate", "KVM counts at another rate than this host and cannot be told: the guest's clock changes its pace with the path"},
};

static bool same_rate(const struct kvm_cpu *c, int khz)
{
	int64_t ours = (int64_t)c->v->vm->clock.tsc_khz, off = khz - ours;

	return khz <= 0 || (off < 0 ? -off : off) * 1000 <= ours * SAME_RATE_PER_MILLE;
}

static enum kvm_tsc_how find_out(struct kvm_cpu *c)
{
	struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};
	const struct kvm_machine *m = c->m;

	if (!same_rate(c, kvm_cpu_ioctl(c, KVM_GET_TSC_KHZ, NULL))) {
		if (m->sys->ioctl(m->sys, m->dev, KVM_CHECK_EXTENSION, (void *)(uintptr_t)KVM_CAP_TSC_CONTROL) <= 0)
			return KVM_TSC_OTHER_RATE;
		return kvm_cpu_ioctl(c, KVM_SET_TSC_KHZ, (void *)(uintptr_t)c->v->vm->clock.tsc_khz) == 0 ? KVM_TSC_SCALED : KVM_TSC_OTHER_RATE;
	}
	return kvm_cpu_ioctl(c, KVM_HAS_DEVICE_ATTR, &attr) == 0 ? KVM_TSC_OFFSET : KVM_TSC_VALUE;
}

void kvm_tsc_init(struct kvm_cpu *c)
{
	enum kvm_tsc_how how = find_out(c);

	c->tsc_by_offset = how == KVM_TSC_OFFSET;
	atomic_store(&c->m->tsc, (int)how);
}

bool kvm_tsc_send(struct kvm_cpu *c)
{
	uint64_t offset = (uint64_t)c->v->regs.tsc_offset;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};
	struct kvm_one_msr one = {.head.nmsrs = 1, .entry = {.index = MSR_TSC}};

	c->tsc_offset = c->v->regs.tsc_offset;
	if (c->tsc_by_offset && kvm_cpu_ioctl(c, KVM_SET_DEVICE_ATTR, &attr) == 0)
		return true;
	one.entry.data = clock_tsc(&c->v->vm->clock) + offset;
	return kvm_cpu_ioctl(c, KVM_SET_MSRS, &one) == 1;
}

const char *kvm_tsc(struct vm *vm, const char **why)
{
	const struct kvm_machine *m = vm->path_vm[PATH_KVM];
	int how = m ? atomic_load(&m->tsc) : KVM_TSC_NOT_YET;

	*why = rows[how].why;
	return rows[how].name;
}
