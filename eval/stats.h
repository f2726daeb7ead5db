/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Statistics of paired ratios: everything is done on logarithms (Fleming & Wallace 1986). Pure functions. */
#ifndef STEELYARD_EVAL_STATS_H
#define STEELYARD_EVAL_STATS_H

/* exp(mean of logs) with its two-sided 95 % t-interval, and the one-sided 95 % upper bound. n = 0: all zero; n = 1: no
 * interval (lo = hi = upper = 0). */
struct stats_ratio {
	unsigned n;
	double ratio, lo, hi, upper;
};
struct stats_ratio stats_ratio(const double *logs, unsigned n);
/* Quantile of Student's t, 0.5 < p < 1, df >= 1. */
double stats_t_quantile(double p, unsigned df);

#endif
