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
/* Probability that |T| is as large as t or larger. */
double stats_t_two_sided(double t, unsigned df);
/* The standard normal distribution; 0 < p < 1. */
double stats_normal_cdf(double x);
double stats_normal_quantile(double p);

/* Mean; sum of squared deviations over n - 1 (0 for n < 2). */
double stats_mean(const double *x, unsigned n);
double stats_variance(const double *x, unsigned n);
void stats_sort(double *x, unsigned n);
/* Quantile 0 <= p <= 1 of sorted values, linear between them (Hyndman & Fan 1996, type 7). n >= 1. */
double stats_sorted_quantile(const double *sorted, unsigned n, double p);
/* Median of unsorted values, by a copy; 0 for n = 0 and when memory is short. */
double stats_median(const double *x, unsigned n);

/* How near to native: a row each, by the one-sided 95 % upper bound. */
struct stats_class {
	const char *name, *text;
	double limit; /* the upper bound is at most this; 0: no limit */
};
/* NULL without an interval. */
const struct stats_class *stats_class(const struct stats_ratio *r);
const struct stats_class *stats_class_at(unsigned i); /* NULL past the last */

/* Is the mean of the logarithms another than that of log(ratio)? Two-sided p-value; 1 when it cannot be told (n < 2). */
double stats_p_value(const double *logs, unsigned n, double ratio);
/* Benjamini & Hochberg 1995: p[] becomes the adjusted values (the false-discovery rates at which each would be found). false: no memory. */
int stats_benjamini_hochberg(double *p, unsigned n);

#endif
