/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two runs against each other: ratio of ratios by workload and path, so that what is common to both hosts cancels in native.
 * Owner: the caller of comparison_make(), until comparison_free(). Strings belong to the two runs.
 */
#ifndef STEELYARD_EVAL_COMPARE_H
#define STEELYARD_EVAL_COMPARE_H

#include "eval/report/results.h"
#include "eval/report/stats.h"

/* The rate of false discoveries at which a difference counts. */
#define COMPARE_RATE 0.05

struct compare_row {
	const char *path, *workload; /* path is a label */
	enum results_phase phase;
	double a, b;              /* ratio to native in each run */
	struct stats_ratio ratio; /* b over a; n: blocks of the smaller run */
	unsigned scale_a, scale_b; /* percent of the full work: ratios of other amounts of work may differ for that alone */
	double p, q;              /* p-value that they are the same; adjusted (Benjamini & Hochberg) */
	bool significant;
};
struct compare_change {
	char what[64], a[200], b[200];
};
struct comparison {
	const struct results *a, *b;
	struct compare_row *row;
	struct compare_change *change; /* what is not the same in environment and spec */
	unsigned nrows, nchanges, nsignificant;
	unsigned nscales; /* rows with other amounts of work */
	unsigned only_a, only_b; /* pairs of workload and path that the other has not got */
};
/* CPU time. NULL: no memory. */
struct comparison *comparison_make(const struct results *a, const struct results *b);
void comparison_free(struct comparison *c);

#endif
