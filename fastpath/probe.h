/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `steelyard probe`: what this host offers for running guests, measured, and what `--path auto` makes of it.
 *
 * Two levels. Facts (struct host_facts) are read: CPUID, modules, may /dev/kvm be opened; no guest runs. The verdict
 * (struct probe_verdict) is measured: tiny guests in each processor mode, costs, conformance; in child processes, under
 * watchdogs. Needs no privileges but the device's. Threads: call from one thread at a time; a measurement forks.
 */
#ifndef STEELYARD_PROBE_H
#define STEELYARD_PROBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

#define PROBE_KVM_DEVICE "/dev/kvm"

enum kvm_access { KVM_ABSENT, KVM_NO_PERMISSION, KVM_BROKEN, KVM_OLD_API, KVM_OPENS };

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
	const char *kvm_device; /* the caller's, or PROBE_KVM_DEVICE */
	enum kvm_access kvm;
	int kvm_errno;
	int kvm_api;         /* KVM_GET_API_VERSION, or -1 */
	char kvm_group[64];  /* group of the device, for the advice; its number when it has no name */
	char kvm_module[64]; /* kvm_intel, kvm_amd, another one, or "" */
	bool kvm_vendor_module;
	uint64_t memory_bytes, memory_free_bytes;
	char kernel[200];
	char kernel_build[100]; /* `uname -v` */
	char boot_id[40];
	bool perf_counters;
	int perf_errno;
};

/* ---- verdict ---- */

#define MODE(id, ...) PROBE_##id,
enum probe_mode {
#include "fastpath/probe_items.def"
	PROBE_MODES
};
#define ITEM(id, ...) PROBE_ITEM_##id,
enum probe_item {
#include "fastpath/probe_items.def"
	PROBE_ITEMS
};
#define COST(id, ...) PROBE_COST_##id,
enum probe_cost {
#include "fastpath/probe_items.def"
	PROBE_COSTS
};

enum probe_level {
	PROBE_UNKNOWN, /* not measured */
	PROBE_UNUSABLE,
	PROBE_PARTIAL,
	PROBE_NATIVE,
};
/* Who makes KVM's machines run: needs flag and module; the device alone is PROBE_SOFTWARE. */
enum probe_vendor { PROBE_NO_KVM, PROBE_SOFTWARE, PROBE_VTX, PROBE_AMDV };
enum probe_outcome { PROBE_UNTRIED, PROBE_HOLDS, PROBE_FAILS, PROBE_INAPPLICABLE };

#define PROBE_TEXT 240
struct probe_mode_result {
	bool tried, runs;          /* runs: entered as asked, and the results were right */
	double ns_per_insn, ratio; /* ratio to the host's own; 0: not measured */
	char evidence[PROBE_TEXT];
	/* by probe_judge */
	enum probe_level level;
	char reason[2 * PROBE_TEXT];
};
struct probe_item_result {
	enum probe_outcome outcome;
	char evidence[PROBE_TEXT];
};
struct probe_cost_result {
	unsigned samples; /* 0: not measured, evidence says why */
	double median_ns, p95_ns;
	char evidence[PROBE_TEXT];
};

/* Of probe --ring3: CPU time of a loop in 64-bit ring 3 over the host's own time for the same code, one of each block. */
enum probe_loop { PROBE_LOOP_INT, PROBE_LOOP_SSE, PROBE_LOOP_AVX2, PROBE_LOOP_X87, PROBE_LOOPS };
#define PROBE_LOOP_BLOCKS 21
struct probe_loop_result {
	unsigned blocks;
	double ratio[PROBE_LOOP_BLOCKS], control[PROBE_LOOP_BLOCKS]; /* control: the host against itself */
	char evidence[PROBE_TEXT];
};

struct probe_verdict {
	enum probe_vendor vendor;
	bool measured; /* guests ran; else the reason says why not */
	bool quick, cached;
	int64_t measured_at; /* seconds since 1970 */
	double seconds;      /* that the measurement took */
	double host_ns_per_insn;
	struct probe_mode_result mode[PROBE_MODES];
	struct probe_item_result item[PROBE_ITEMS];
	struct probe_cost_result cost[PROBE_COSTS];
	struct probe_loop_result loop[PROBE_LOOPS]; /* of probe_ring3 alone: neither judged nor cached */
	/* by probe_judge */
	enum probe_level level;
	char reason[2 * PROBE_TEXT];
	bool auto_ok; /* good enough for --path auto */
	char auto_why[PROBE_TEXT];
};

/* Facts about the host; device NULL means PROBE_KVM_DEVICE. The string must live as long as *f. */
void probe_host(struct host_facts *f);
void probe_host_device(struct host_facts *f, const char *device);
/* One sentence on why the device is not usable, with what to do; false when it is. */
bool probe_device_trouble(const struct host_facts *f, char *buf, size_t n);
enum probe_vendor probe_vendor(const struct host_facts *f);
enum probe_effort { PROBE_CACHED_ONLY, PROBE_QUICK, PROBE_FULL };
struct probe_options {
	enum probe_effort effort;
	bool fresh; /* ignore what is in the cache */
	unsigned patience; /* so many times the time for each test and for all of it; 0: once */
};
/* The verdict on the host of these facts: from the cache when that is at least as thorough, else measured (at most 2 s
 * with PROBE_QUICK, 20 s with PROBE_FULL) and then cached. Without a usable device, and with PROBE_CACHED_ONLY and an empty
 * cache, measured is false and reason says why. Returns what v->level is. */
enum probe_level probe_verdict_for(const struct host_facts *f, const struct probe_options *o, struct probe_verdict *v);
/* The same for this host and /dev/kvm, quick. */
enum probe_level probe_verdict(struct probe_verdict *v);

/* The path that `auto` takes on such a host, and *v with the reason in v->auto_why. Runs guests only where the facts show VT-x or
 * AMD-V and no verdict is in the cache. */
const char *probe_choose(const struct host_facts *f, struct probe_verdict *v);
/* The verdict in short, as `probe --json` and results have it: level, vendor, modes, what fails, what auto takes and why. The
 * caller's reference; NULL: no memory. */
json_t *probe_summary(const struct host_facts *f, const struct probe_verdict *v);

const char *probe_level_name(enum probe_level l);
const char *probe_vendor_name(enum probe_vendor v);
const char *probe_mode_name(enum probe_mode m);
const char *probe_item_name(enum probe_item i);
const char *probe_cost_name(enum probe_cost c);

/* The verb. argv[0] is "probe". Returns the exit status. */
int probe_main(int argc, char **argv);

#endif
