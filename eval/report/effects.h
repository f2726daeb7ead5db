/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ratios of a run: a path to native, native to native again, the injected slowdown, means of groups, one path to another.
 * Pure functions of struct results. Only valid, timed samples that are not of the pilot count, and only those of native with the same
 * work in the same block.
 */
#ifndef STEELYARD_EVAL_EFFECTS_H
#define STEELYARD_EVAL_EFFECTS_H

#include "eval/report/bootstrap.h"
#include "eval/report/results.h"

/* Whose logarithms are taken: samples of a path, or of native in some passes. */
struct effect_side {
	int path;        /* index or RESULTS_NATIVE */
	unsigned passes; /* for RESULTS_NATIVE: 1 << enum results_pass, or-ed */
	unsigned cpus;   /* for RESULTS_NATIVE */
	enum results_phase phase;
};

struct effect {
	struct stats_ratio t;      /* Student's interval: what is reported */
	struct stats_ratio boot;   /* the bootstrap's: the cross-check */
	double p;                  /* that the ratio is 1; 1 when it cannot be told */
	double path_ns, native_ns; /* geometric means; 0 for a group */
	bool wrong;                /* a checksum of the path is not native's */
	unsigned nfailed;          /* group: workloads without a valid result; then t.n = 0 */
	int failed[64];            /* the first of them */
};

/* A path over native in the same phase. */
struct effect effect_workload(const struct results *r, int path, unsigned workload, enum results_phase phase,
			      enum results_metric m);
/* Geometric mean over the workloads of a group (results_group_at); blocks are the units. */
struct effect effect_group(const struct results *r, int path, const char *group, enum results_phase phase,
			   enum results_metric m);
/* Native, second pass over first; workload -1: mean over the group. */
struct effect effect_control(const struct results *r, int workload, const char *group, unsigned cpus,
			     enum results_phase phase, enum results_metric m);
/* Native with more work over native; workload and group likewise. */
struct effect effect_inject(const struct results *r, int workload, const char *group, enum results_phase phase,
			    enum results_metric m);
/* Path p over path q, mean over the group. */
struct effect effect_versus(const struct results *r, int p, int q, const char *group, enum results_phase phase,
			    enum results_metric m);
/* First execution over later ones on one path (RESULTS_NATIVE too): what translation and empty caches cost. */
struct effect effect_warmup(const struct results *r, int path, unsigned workload, enum results_metric m);
/* Geometric mean of boot times in seconds, of memory beside guest RAM in MiB. */
enum boot_figure { BOOT_CPU, BOOT_WALL, BOOT_START, BOOT_KERNEL, BOOT_INIT, BOOT_MEMORY, BOOT_FIGURES };
struct stats_ratio effect_boot(const struct results *r, int path, enum boot_figure f);

/* Is there a sample (not of the pilot) of this workload on this path in this phase, good or bad? */
bool effect_has(const struct results *r, int path, int workload, enum results_phase phase);
/* The logarithms per block that effect_workload() is made of, by block: NAN where there is none. max: room. Returns blocks. */
unsigned effect_blocks(const struct results *r, int path, unsigned workload, enum results_phase phase,
		       enum results_metric m, double *logs, unsigned max);
/* The work that its samples did, in percent; 0: there are none. */
unsigned effect_scale(const struct results *r, int path, unsigned workload, enum results_phase phase);
double sample_value(const struct results_sample *s, enum results_metric m);

/* What the run can show at all. */
struct verdict {
	enum results_metric metric; /* the ratios that lead: CPU time */
	const char *group;          /* that is judged: "cpu" where the run has one, else "all" */
	struct effect control;      /* of that group, steady where there is such a phase */
	struct effect inject;
	enum results_phase phase;
	double resolution; /* fraction: the farthest end of the control's interval from 1, at least 0.01; 0: unknown */
	bool sufficient;   /* the control lies within 1 %, and the slowdown was found as what it is */
	bool inject_found; /* its interval excludes 1 */
	bool inject_holds; /* and holds what was injected */
	unsigned clock, unquiet, untimed, invalid; /* samples with these flaws */
	char text[700];
};
struct verdict verdict_of(const struct results *r);
/* The same by group: is the resolution of this group within 1 %? */
struct effect verdict_group(const struct results *r, const char *group, enum results_phase phase,
			    enum results_metric m);

#endif
