// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Paired log ratios. A block gives one logarithm of (path / native); the effect is the exponential of their mean, the
 * interval Student's (Kalibera & Jones 2013 for blocks as the unit; Abramowitz & Stegun 26.7.3-4 for the distribution).
 */
#include <math.h>

#include "eval/stats.h"

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

struct stats_ratio stats_ratio(const double *logs, unsigned n)
{
	struct stats_ratio r = {.n = n};
	double mean = 0, var = 0, err;

	if (!n)
		return r;
	for (unsigned i = 0; i < n; i++)
		mean += logs[i] / n;
	r.ratio = exp(mean);
	if (n == 1)
		return r;
	for (unsigned i = 0; i < n; i++)
		var += (logs[i] - mean) * (logs[i] - mean) / (n - 1);
	err = sqrt(var / n);
	r.lo = exp(mean - err * stats_t_quantile(0.975, n - 1));
	r.hi = exp(mean + err * stats_t_quantile(0.975, n - 1));
	r.upper = exp(mean + err * stats_t_quantile(0.95, n - 1));
	return r;
}
