/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `steelyard probe`: what this host offers for running guests, and what `--path auto` makes of it.
 * Reads only; needs no privileges. Threads: none of its own.
 */
#ifndef STEELYARD_PROBE_H
#define STEELYARD_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum kvm_access { KVM_ABSENT, KVM_NO_PERMISSION, KVM_BROKEN, KVM_OPENS };

#define PROBE_MAX_FEATURES 32
struct host_facts {
	char vendor[13];
	char model[49];
	unsigned family, model_number, stepping;
	unsigned cpus;
	unsigned nfeatures;
	struct {
		const char *name;
		bool present;
	} feature[PROBE_MAX_FEATURES];
	bool vmx, svm;   /* the instructions are there */
	bool hypervisor; /* this host is a virtual machine itself */
	char hypervisor_name[13];
	enum kvm_access kvm;
	int kvm_errno;
	int kvm_api;         /* KVM_GET_API_VERSION, or -1 */
	char kvm_group[64];  /* group of /dev/kvm, for the advice */
	char kvm_module[64]; /* kvm_intel, kvm_amd, another one, or "" */
	bool kvm_vendor_module;
	uint64_t memory_bytes, memory_free_bytes;
	char kernel[200];
	bool perf_counters;
	int perf_errno;
};

void probe_host(struct host_facts *f);
/* The path that `auto` takes on such a host, and the reason as one sentence. */
const char *probe_choose(const struct host_facts *f, const char **why);

/* The verb. argv[0] is "probe". Returns the exit status. */
int probe_main(int argc, char **argv);

#endif
