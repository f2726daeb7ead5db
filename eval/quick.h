/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One evaluation: what was asked, every sample, and what follows from them. Private to eval/.
 * Owner: quick_main on its stack (heap); single thread.
 */
#ifndef STEELYARD_EVAL_QUICK_H
#define STEELYARD_EVAL_QUICK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "eval/stats.h"

#define EVAL_SCHEMA 1
#define EVAL_MAX_WORKLOADS 64
#define EVAL_MAX_PATHS 8
#define EVAL_MAX_BLOCKS 32

/* ---- eval/suites.c: constant tables; *_at return NULL past the last row, *_find when there is none ---- */
struct eval_group {
	const char *name, *title;
	bool in_bench; /* the whole suite has it: the others are for more than one processor */
};
const struct eval_group *group_at(unsigned i);
const struct eval_group *group_find(const char *name);
const char *workload_at(unsigned i);
const char *workload_what(unsigned i);
const struct eval_group *workload_group(const char *name);
/* A kind of evaluation: the defaults of its options. */
struct eval_suite {
	const char *name, *what;
	const char *workloads; /* NULL: all */
	const char *paths;
	unsigned blocks, scale;
	bool by_group; /* means for each group; native first and last in a block */
	const char *out_dir;
	unsigned cpus; /* each path, and native, with one processor and with so many (eval/scaling.c); 0: with one */
	/* of eval run */
	const char *groups; /* when workloads is NULL */
	unsigned blocks_max, pilot_blocks, together, wait_s;
};
const struct eval_suite *suite_at(unsigned i);
const struct eval_suite *suite_find(const char *name);

/* How a path is started, one row each (eval/paths.c). */
enum eval_peer { PEER_STEELYARD, PEER_QEMU };
struct eval_path {
	const char *name;
	const char *what;
	enum eval_peer peer;
	const char *accel;   /* --path, or QEMU's -accel */
	const char *machine; /* QEMU's -M */
	bool slow;           /* gets the small scale and one block */
	bool boot_only;      /* is ended at the first line of init */
	unsigned timeout_s;  /* for one boot with all its workloads */
	unsigned boot_s;     /* a boot that takes longer hangs */
	unsigned slowdown;   /* a workload that takes so many times as long as natively, and 15 s, hangs */
};
const struct eval_path *eval_path_find(const char *name);
const struct eval_path *eval_path_at(unsigned i); /* NULL past the last */

struct eval_sample {
	bool ok;    /* the workload ended and gave a checksum */
	bool timed; /* and the host's clock could tell its beginning from its end; else wall_ns and cpu_ns are 0 */
	char checksum[20];
	uint64_t wall_ns, cpu_ns; /* host clock between the markers; CPU time of the whole process between them */
	uint64_t guest_wall_ns;   /* by the guest's own clock: a cross-check */
	unsigned repeat;          /* wall_ns and cpu_ns are already divided by it */
};
/* One start of a path, or one pass of native runs. */
struct eval_run {
	bool ran, ok;
	char why[240];                      /* when not ok */
	int status;                         /* exit status; 128 + signal */
	uint64_t boot_wall_ns, boot_cpu_ns; /* from exec to the line "STEELYARD INIT" */
	uint64_t ram_kb, over_ram_kb;       /* then resident: guest RAM touched, everything else; 0: unknown */
	unsigned order;                     /* position in the whole evaluation */
	struct eval_sample w[EVAL_MAX_WORKLOADS];
};

struct eval {
	/* what was asked */
	const struct eval_suite *suite;
	const char *workload[EVAL_MAX_WORKLOADS];
	unsigned nworkloads;
	const struct eval_path *path[EVAL_MAX_PATHS];
	unsigned path_cpus[EVAL_MAX_PATHS];
	unsigned npaths;
	unsigned nblocks, scale, slow_scale, memory_mb;
	unsigned cpus; /* as in suite; then path[2k] has one, path[2k + 1] so many, and so have native[][0] and [1] */
	uint64_t seed;
	const char *out_dir;
	bool json;
	char guest_dir[4096], self[4096], command[1024], run_id[40];
	/* samples */
	struct eval_run path_run[EVAL_MAX_BLOCKS][EVAL_MAX_PATHS];
	struct eval_run native[EVAL_MAX_BLOCKS][2];
	struct eval_run native_slow[EVAL_MAX_BLOCKS];
	unsigned norder;
	double load_before, load_after;
};

/* ---- eval/child.c: one process under observation ---- */
struct child_spec {
	char *const *argv;
	unsigned timeout_s;
	const char *const *workload; /* names that may appear in markers */
	unsigned nworkloads;
	unsigned repeat;
	bool native;          /* what a workload says of its children's CPU time counts: nobody else knows it */
	bool boot_only;       /* is ended at the first line of init */
	uint64_t ram_bytes;   /* of the guest; 0: not a machine */
	const char *ram_name; /* of the mapping; NULL: to be found by its size */
};
/* Runs it to its end; fills ran, ok, why, status, boot times, memory and the samples whose markers appeared. Adds to r->w. */
void child_observe(const struct child_spec *s, struct eval_run *r);

/* ---- eval/resident.c ---- */
/* Resident memory of a process in KiB: the guest's RAM (the mapping of that name; NULL: of that size), and all else. false: cannot be read. */
bool resident_read(pid_t pid, const char *ram_name, uint64_t ram_bytes, uint64_t *ram_kb, uint64_t *other_kb);

/* ---- eval/paths.c ---- */
void path_run_block(struct eval *ev, const struct eval_path *p, unsigned cpus, struct eval_run *r, const unsigned *order);
void native_run(struct eval *ev, struct eval_run *r, unsigned scale, unsigned cpus, const unsigned *order);

/* ---- eval/analysis.c: what the samples say ---- */
enum metric { METRIC_CPU, METRIC_WALL };
/* Ratio of path p to native for workload w over the blocks in which both are valid. */
struct stats_ratio analysis_ratio(const struct eval *ev, unsigned p, unsigned w, enum metric m);
/* Geometric mean over the workloads of a group (NULL: all); n = 0 when one of them has failed in some block. A block in which
 * one was too short to be timed is left out. */
struct stats_ratio analysis_suite(const struct eval *ev, unsigned p, const struct eval_group *g, enum metric m);
/* Path p over path q, geometric mean as above, blocks paired. Both must have the same scale. */
struct stats_ratio analysis_versus(const struct eval *ev, unsigned p, unsigned q, const struct eval_group *g,
				   enum metric m);
/* Is any workload of the group asked for? */
bool analysis_group_used(const struct eval *ev, const struct eval_group *g);
/* Native over native in the same block: the resolution of this host. */
struct stats_ratio analysis_control(const struct eval *ev, unsigned w, enum metric m);
struct stats_ratio analysis_control_suite(const struct eval *ev, const struct eval_group *g, enum metric m);
/* The smallest difference that this run can show, as a fraction: how far the control's interval reaches from 1, at least
 * 0.01. 0: unknown, because a native run failed or there was one block. */
double analysis_resolution(const struct eval *ev);
/* Geometric mean of a path's boot times in seconds with interval. */
struct stats_ratio analysis_boot(const struct eval *ev, unsigned p, enum metric m);
struct stats_ratio analysis_boot_versus(const struct eval *ev, unsigned p, unsigned q, enum metric m);
/* Geometric mean in MiB of what the process holds beside guest RAM after the boot. */
struct stats_ratio analysis_memory(const struct eval *ev, unsigned p);
/* Native milliseconds at the scale of path p (npaths: the common scale). */
double analysis_native_ms(const struct eval *ev, unsigned w, enum metric m);
/* A checksum of workload w on path p that is not the native one? */
bool analysis_checksum_differs(const struct eval *ev, unsigned p, unsigned w);
/* No sample and no boot at all: the path has nothing to show but its reason. */
bool analysis_path_empty(const struct eval *ev, unsigned p);
/* What went wrong on a path, or NULL. */
const char *analysis_path_failure(const struct eval *ev, unsigned p);
/* Samples whose guest clock disagrees with the host's by more than 0.5 % (and 1 ms: markers pass a serial line). */
unsigned analysis_clock_disagreements(const struct eval *ev);
/* Samples, native ones too, with a result but no time. */
unsigned analysis_untimed(const struct eval *ev);
/* "near-native", "within 1.25", ... from the upper bound; "-" without interval. */
const char *analysis_class(const struct stats_ratio *r);

/* ---- eval/scaling.c: what more processors give ---- */
/* Time with one over time with many for path 2 * k (k < 0: native), over the blocks in which both are valid and have the same
 * checksum as native. For METRIC_WALL this is the speed-up; for METRIC_CPU below 1 by what the others cost. */
struct stats_ratio scaling_ratio(const struct eval *ev, int k, unsigned w, enum metric m);
/* Is there a checksum on path 2 * k that is not the one of native, or not the same with one and with many? */
bool scaling_differs(const struct eval *ev, int k, unsigned w);
/* The tables for a terminal. */
void scaling_table(const struct eval *ev);

/* ---- reports ---- */
void report_table(const struct eval *ev);
int report_jsonl(const struct eval *ev, const char *path);
int report_html(const struct eval *ev, const char *path);
void report_summary_json(const struct eval *ev);
struct json_t;
struct json_t *environment_json(const struct eval *ev);

#endif
