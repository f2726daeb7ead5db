/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kvm path: the host's processor executes the guest, through /dev/kvm.
 *
 * The machine's own devices and interrupt controllers serve it; KVM sees memory slots, registers and events. Threads: as
 * engine/exec.h says.
 */
#ifndef STEELYARD_KVM_H
#define STEELYARD_KVM_H

#include <stddef.h>
#include <sys/types.h>

#include "engine/exec.h"

extern const struct exec_ops kvm_ops;

/* What the path asks of the host kernel, so that tests can be the kernel. As the system calls: -1 and errno. */
struct kvm_sys {
	int (*open)(const struct kvm_sys *sys, const char *path);
	int (*close)(const struct kvm_sys *sys, int fd);
	int (*ioctl)(const struct kvm_sys *sys, int fd, unsigned long request, void *arg);
	void *(*map)(const struct kvm_sys *sys, int fd, size_t bytes); /* NULL on failure */
	void (*unmap)(const struct kvm_sys *sys, void *p, size_t bytes);
	ssize_t (*read)(const struct kvm_sys *sys, int fd, void *buf, size_t bytes, uint64_t off); /* pread */
};
extern const struct kvm_sys kvm_sys_host;

/* How often a vCPU left KVM_RUN for this reason (with the host's name for it), and the time until it was back in. Rows that
 * never happened are left out: false past the last. Any thread. */
struct kvm_exit_count {
	const char *name;
	uint64_t count, ns;
};
bool kvm_exit_row(struct vm *vm, unsigned i, struct kvm_exit_count *out);
/* What the kernel itself counts (KVM_GET_STATS_FD), the vCPUs' figures added up; those that are 0 and histograms are left
 * out. Returns how many there are, of which the first max are in out. Any thread. */
struct kvm_kernel_stat {
	char name[64];
	bool machine; /* of the machine, not of its vCPUs */
	uint64_t value;
};
unsigned kvm_kernel_stats(struct vm *vm, struct kvm_kernel_stat *out, unsigned max);
/* Whose interrupt controllers serve the path, "kernel" or "user", and why; NULL while the path has not begun. */
const char *kvm_irqchip(struct vm *vm, const char **why);
/* How the vCPUs' time stamp counter is kept the same as on the other paths: a word, and what it means; NULL while KVM has no vCPU. */
const char *kvm_tsc(struct vm *vm, const char **why);
/* How many doorbells (engine/doorbell.h) are in the kernel now. Any thread. */
unsigned kvm_doorbells(struct vm *vm);
/* Time inside KVM_RUN, all vCPUs. */
uint64_t kvm_inside_ns(struct vm *vm);

#endif
