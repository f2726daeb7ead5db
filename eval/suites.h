/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What can be measured, in constant tables: workloads and their groups, built-in specs, paths and peers. Private to eval/. */
#ifndef STEELYARD_EVAL_SUITES_H
#define STEELYARD_EVAL_SUITES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* *_at return NULL past the last row, *_find when there is none. */
struct eval_group {
	const char *name, *title;
	bool in_bench; /* the whole suite has it: the others are for more than one processor */
	bool flat;     /* its workloads ask the system for memory, clocks and output only */
};
const struct eval_group *group_at(unsigned i);
const struct eval_group *group_find(const char *name);
const char *workload_at(unsigned i);
const char *workload_what(unsigned i);
const struct eval_group *workload_group(const char *name);

/* A built-in spec: where it differs from the others. What is the same for all is in spec_builtin (eval/run/spec.c). */
struct eval_suite {
	const char *name, *what;
	const char *workloads; /* NULL: those of groups */
	const char *groups;
	const char *paths;
	unsigned blocks, blocks_max, pilot_blocks, together, scale;
	unsigned cpus;       /* each path, and native, with one processor and with so many; 0: with one */
	unsigned wait_s;     /* for a quiet host */
	unsigned machine;    /* blocks with the machine micro-suite */
	unsigned memory_mb;  /* 0: 512 */
	unsigned iterations; /* 0: 3 */
	const char *series;  /* workloads that are executed more often, so that their warm-up can be classed; or NULL */
	unsigned series_iterations;
	const char *longer; /* workloads that are shorter than the others at the same scale; or NULL */
	unsigned longer_scale;
	unsigned peer_blocks,
		peer_iterations; /* of QEMU, whose work takes many times as long as ours; 0: as the others */
};
const struct eval_suite *suite_at(unsigned i);
const struct eval_suite *suite_find(const char *name);

/* How a path is started (eval/run/paths.c). */
enum eval_peer { PEER_STEELYARD, PEER_QEMU, PEER_UNICORN };
extern const char *const eval_peer_words[]; /* by enum eval_peer, NULL behind the last */
struct eval_path {
	const char *name;
	const char *what;
	enum eval_peer peer;
	const char *accel;   /* --path, or QEMU's -accel */
	const char *machine; /* QEMU's -M */
	bool slow;           /* gets the small scale and one block */
	bool boot_only;      /* is ended at the first line of init */
	bool flat;           /* no machine and no boot: the workloads' program in flat memory */
	unsigned boot_s;     /* a boot that takes longer hangs */
	unsigned slowdown;   /* a workload that takes so many times as long as natively, and 15 s, hangs */
};
const struct eval_path *eval_path_at(unsigned i);
const struct eval_path *eval_path_find(const char *name);
/* NULL, or why this path leaves the workload out, whatever the host. */
const char *eval_path_leaves_out(const struct eval_path *p, const char *workload);

/* eval/run/resident.c: resident memory of a process in KiB: the guest's RAM (the mapping of that name; NULL: of that size), and all
 * else. false: cannot be read. */
bool resident_read(pid_t pid, const char *ram_name, uint64_t ram_bytes, uint64_t *ram_kb, uint64_t *other_kb);

#endif
