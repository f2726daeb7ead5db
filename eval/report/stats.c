// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Paired log ratios. A block gives one logarithm of (path / native); the effect is the exponential of their mean, the
 * interval Student's (Kalibera & Jones 2013 for blocks as the unit; Abramowitz & Stegun 26.7.3-4 for the distribution).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/stats.h"

/* P(|T| <= t) for whole df: a finite sum, exact. */
static double t_inside(double t, unsigned df)
{
	double theta = atan(t / sqrt(df)), c = cos(theta), s = sin(theta), term, sum;

	if (df % 2) {
		sum = theta;
		term = s * c;
		for (unsigned i = 3; i <= df; i += 2) {
			sum += term;
			term *= c * c * (i - 1) / i;
		}
		return sum * 2 / M_PI;
	}
	sum = 0;
	term = s;
	for (unsigned i = 2; i <= df; i += 2) {
		sum += term;
		term *= c * c * (i - 1) / i;
	}
	return sum;
}

double stats_t_two_sided(double t, unsigned df)
{
	double p = 1 - t_inside(fabs(t), df);

	return p < 0 ? 0 : p;
}

double stats_t_quantile(double p, unsigned df)
{
	double lo = 0, hi = 1e6;

	for (unsigned i = 0; i < 200; i++) {
		double mid = (lo + hi) / 2;

		if (t_inside(mid, df) < 2 * p - 1)
			lo = mid;
		else
			hi = mid;
	}
	return (lo + hi) / 2;
}

double stats_normal_cdf(double x)
{
	return erfc(-x * M_SQRT1_2) / 2;
}

double stats_normal_quantile(double p)
{
	double lo = -40, hi = 40;

	for (unsigned i = 0; i < 100; i++) {
		double mid = (lo + hi) / 2;

		if (stats_normal_cdf(mid) < p)
			lo = mid;
		else
			hi = mid;
	}
	return (lo + hi) / 2;
}

double stats_mean(const double *x, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += x[i];
	return n ? sum / n : 0;
}

double stats_variance(const double *x, unsigned n)
{
	double mean = stats_mean(x, n), sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (x[i] - mean) * (x[i] - mean);
	return n > 1 ? sum / (n - 1) : 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void stats_sort(double *x, unsigned n)
{
	qsort(x, n, sizeof(*x), by_value);
}

double stats_sorted_quantile(const double *sorted, unsigned n, double p)
{
	double at = p * (n - 1);
	unsigned i = (unsigned)at;

	if (i + 1 >= n)
		return sorted[n - 1];
	return sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]);
}

double stats_median(const double *x, unsigned n)
{
	double *copy = n ? malloc(n * sizeof(*copy)) : NULL, m;

	if (!copy)
		return 0;
	memcpy(copy, x, n * sizeof(*copy));
	stats_sort(copy, n);
	m = stats_sorted_quantile(copy, n, 0.5);
	free(copy);
	return m;
}

struct stats_ratio stats_ratio(const double *logs, unsigned n)
{
	struct stats_ratio r = {.n = n};
	double mean = stats_mean(logs, n), err;

	if (!n)
		return r;
	r.ratio = exp(mean);
	if (n == 1)
		return r;
	err = sqrt(stats_variance(logs, n) / n);
	r.lo = exp(mean - err * stats_t_quantile(0.975, n - 1));
	r.hi = exp(mean + err * stats_t_quantile(0.975, n - 1));
	r.upper = exp(mean + err * stats_t_quantile(0.95, n - 1));
	return r;
}

static const struct stats_class classes[] = {
	{"near-native", "near-native (at most 1.05)", 1.05},
	{"within-1.25", "at most 1.25", 1.25},
	{"within-2", "at most 2", 2},
	{"over-2", "more than 2", 0},
};

const struct stats_class *stats_class_at(unsigned i)
{
	return i < sizeof(classes) / sizeof(classes[0]) ? &classes[i] : NULL;
}

const struct stats_class *stats_class(const struct stats_ratio *r)
{
	const struct stats_class *c = classes;

	if (r->n < 2)
		return NULL;
	while (c->limit && !(r->upper <= c->limit))
		c++;
	return c;
}

double stats_p_value(const double *logs, unsigned n, double ratio)
{
	double mean = stats_mean(logs, n) - log(ratio), err;

	if (n < 2)
		return 1;
	err = sqrt(stats_variance(logs, n) / n);
	if (!(err > 0))
		return mean == 0 ? 1 : 0;
	return stats_t_two_sided(mean / err, n - 1);
}

struct ranked {
	double p;
	unsigned at;
};

static int by_p(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	return (x->p > y->p) - (x->p < y->p);
}

int stats_benjamini_hochberg(double *p, unsigned n)
{
	struct ranked *r = n ? malloc(n * sizeof(*r)) : NULL;
	double least = 1;

	if (!r)
		return n == 0;
	for (unsigned i = 0; i < n; i++)
		r[i] = (struct ranked){p[i], i};
	qsort(r, n, sizeof(*r), by_p);
	for (unsigned i = n; i > 0; i--) {
		double q = r[i - 1].p * n / i;

		if (q < least)
			least = q;
		p[r[i - 1].at] = least;
	}
	free(r);
	return 1;
}
