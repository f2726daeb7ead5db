/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the time went that a path took more than native: the difference of CPU times, in parts. Pure functions of struct
 * results. The parts are rows of one table (overhead_part_at), the cross-check by counts and costs another.
 */
#ifndef STEELYARD_EVAL_OVERHEAD_H
#define STEELYARD_EVAL_OVERHEAD_H

#include "eval/report/results.h"

#define OVERHEAD_PARTS 14

struct overhead_part {
	const char *key, *title, *what;
	const char *counters; /* of a sample's counters, in ns, added up; separated by spaces */
};
const struct overhead_part *overhead_part_at(unsigned i); /* NULL past the last */

/* One event that is counted, and what one of it costs: a part's time, estimated without looking at it. */
struct overhead_estimate {
	const char *part, *counter, *item;
};
const struct overhead_estimate *overhead_estimate_at(unsigned i);

struct overhead {
	unsigned n;   /* samples of the path that went in; 0: nothing is known */
	bool sampled; /* the parts were measured (run --sample, or KVM's exits); else estimated, or 0 */
	double path_ns, native_ns, over_ns;
	double part_ns[OVERHEAD_PARTS];
	double estimate_ns[OVERHEAD_PARTS]; /* counts x costs; 0 where there is no estimate */
	double copy_ns;                     /* guest instructions that run as they are: native's work */
	double copy_kernel_ns;              /* of that: code of the guest's kernel, summed over samples */
	double residual_ns; /* over_ns - parts: what these instructions take more than natively, and what nobody saw */
	bool small;         /* over_ns is below OVERHEAD_SMALL of native: nothing to explain */
	double explained;   /* 1 - (|residual| + unseen) / over_ns; meaningless when small */
	double covered;     /* the same, but only a positive residual counts: see overhead.c */
};
#define OVERHEAD_SMALL 0.02

struct overhead overhead_workload(const struct results *r, int path, unsigned workload, enum results_phase phase);
/* Sums over the group's workloads whose overhead is not small. explained = 1 - sum of (|residual| + unseen) / sum of over_ns:
 * residuals of different signs do not cancel. n: workloads that went in. */
struct overhead overhead_group(const struct results *r, int path, const char *group, enum results_phase phase);

/* Median over the blocks of a cost's p50 (or another quantile) in ns; 0: not measured. */
enum cost_figure { COST_P50, COST_P95, COST_P99, COST_MIN, COST_MEAN };
double cost_of(const struct results *r, int path, const char *item, enum cost_figure f);

#endif
