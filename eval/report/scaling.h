/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What more processors give: time with one over time with several, per workload, natively and on each path. */
#ifndef STEELYARD_EVAL_SCALING_H
#define STEELYARD_EVAL_SCALING_H

#include <stdio.h>

#include "eval/report/results.h"
#include "eval/report/stats.h"

/* Time with one processor over time with cpus of them, steady executions paired by block: the speed-up for METRIC_WALL. Path:
 * the name, or "native". n = 0: nothing to compare. */
struct stats_ratio scaling_ratio(const struct results *r, const char *path, unsigned cpus, unsigned workload,
				 enum results_metric m);
/* Tables for a terminal, for every number of processors that was run beside one; nothing when there is none. */
void scaling_text(FILE *f, const struct results *r);

#endif
