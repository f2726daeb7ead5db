/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Doorbells in the kernel (KVM_IOEVENTFD): a store to one wakes the device's thread and the guest goes on, where else it would be an exit,
 * the device lock and a wake-up on the vCPU's time.
 *
 * They come with the kernel's interrupt controllers, where the host is worth it (kvm_irqchip.c). Of any length (KVM_CAP_IOEVENTFD_ANY_LENGTH):
 * KVM then need not decode the store where the processor tells its address.
 *
 * The other direction needs nothing more. A device's thread sends its message by KVM_SIGNAL_MSI, one system call and no exit; an
 * irqfd is one system call too, as fast (1.0 and 1.1 us on a software KVM), and would have to be given another route whenever the guest
 * writes its MSI-X table.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fastpath/kvm_int.h"

static bool attach(void *ctx, uint64_t gpa, int fd, bool on)
{
	struct kvm_machine *m = ctx;
	struct kvm_ioeventfd bell = {.addr = gpa, .fd = fd, .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};
	char text[120];

	if (kvm_vm_ioctl(m, KVM_IOEVENTFD, &bell) == 0) {
		atomic_fetch_add(&m->doorbells, on ? 1 : -1u);
		return true;
	}
	if (!on) { /* it would swallow what is another one's from now on */
		snprintf(text, sizeof(text), "kvm: the host does not give a doorbell back (%s)", strerror(errno));
		vm_end(m->vm, VM_FAILED, 0, text);
	}
	return false;
}

static bool has(const struct kvm_machine *m, int cap)
{
	return m->sys->ioctl(m->sys, m->dev, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap) > 0;
}

void kvm_doorbells_enter(struct kvm_machine *m)
{
	if (!m->chips || !has(m, KVM_CAP_IOEVENTFD) || !has(m, KVM_CAP_IOEVENTFD_ANY_LENGTH))
		return;
	pthread_mutex_lock(&m->vm->dev_lock);
	doorbells_lend(&m->vm->doorbells, attach, m);
	pthread_mutex_unlock(&m->vm->dev_lock);
}

void kvm_doorbells_leave(struct kvm_machine *m)
{
	pthread_mutex_lock(&m->vm->dev_lock);
	if (m->vm->doorbells.ctx == m)
		doorbells_lend(&m->vm->doorbells, NULL, NULL);
	pthread_mutex_unlock(&m->vm->dev_lock);
}

unsigned kvm_doorbells(struct vm *vm)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];

	return m ? atomic_load(&m->doorbells) : 0;
}
