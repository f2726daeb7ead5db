/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel counts of a machine and its vCPUs: the files of KVM_GET_STATS_FD, which describe themselves.
 *
 * A file is a header, a table of descriptors with names, and the values. All of it is read afresh for each answer, which is
 * asked for by people; nothing in it is believed that would lead outside of what was read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastpath/kvm_int.h"

#define NAME_MAX_BYTES 256
#define DESC_MAX 1024

/* Adds a figure to the one of its name. */
static void add(struct kvm_kernel_stat *out, unsigned max, unsigned *n, const char *name, bool machine, uint64_t value)
{
	unsigned i, known = *n < max ? *n : max;

	for (i = 0; i < known; i++)
		if (out[i].machine == machine && !strncmp(out[i].name, name, sizeof(out[i].name) - 1))
			break;
	if (i < known) {
		out[i].value += value;
		return;
	}
	if (*n < max) {
		snprintf(out[i].name, sizeof(out[i].name), "%.63s", name);
		out[i].machine = machine;
		out[i].value = value;
	}
	++*n;
}

static bool take(const struct kvm_sys *sys, int fd, void *buf, size_t bytes, uint64_t off)
{
	return sys->read(sys, fd, buf, bytes, off) == (ssize_t)bytes;
}

static void read_file(const struct kvm_sys *sys, int fd, bool machine, struct kvm_kernel_stat *out, unsigned max, unsigned *n)
{
	struct kvm_stats_header h;
	size_t one;
	char *all;

	if (fd < 0 || !take(sys, fd, &h, sizeof(h), 0) || h.name_size < 1 || h.name_size > NAME_MAX_BYTES || h.num_desc > DESC_MAX)
		return;
	one = sizeof(struct kvm_stats_desc) + h.name_size;
	all = malloc(h.num_desc * one + 1);
	if (all && take(sys, fd, all, h.num_desc * one, h.desc_offset)) {
		for (unsigned i = 0; i < h.num_desc; i++) {
			struct kvm_stats_desc d;
			char name[NAME_MAX_BYTES];
			uint64_t value;

			memcpy(&d, all + i * one, sizeof(d));
			memcpy(name, all + i * one + sizeof(d), h.name_size);
			name[h.name_size - 1] = 0;
			if (d.size == 1 && take(sys, fd, &value, sizeof(value), (uint64_t)h.data_offset + d.offset) && value)
				add(out, max, n, name, machine, value);
		}
	}
	free(all);
}

unsigned kvm_kernel_stats(struct vm *vm, struct kvm_kernel_stat *out, unsigned max)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];
	unsigned n = 0;

	if (!m)
		return 0;
	read_file(m->sys, m->stats_fd, true, out, max, &n);
	for (unsigned i = 0; i < VM_MAX_CPUS; i++) {
		const struct kvm_cpu *c = __atomic_load_n(&m->cpu[i], __ATOMIC_ACQUIRE);

		if (c)
			read_file(m->sys, c->stats_fd, false, out, max, &n);
	}
	return n;
}

const char *kvm_irqchip(struct vm *vm, const char **why)
{
	const struct kvm_machine *m = vm->path_vm[PATH_KVM];

	if (!m || !m->chips_why)
		return NULL;
	*why = m->chips_why;
	return m->chips ? "kernel" : "user";
}
