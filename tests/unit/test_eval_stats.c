// SPDX-License-Identifier: GPL-2.0-or-later
/* eval/stats.c: quantiles against the printed tables, ratios and intervals against numbers worked out by hand. */
#include <math.h>
#include <stdio.h>

#include "eval/stats.h"

static unsigned passed, failed;

static void near(const char *what, double got, double want, double within)
{
	if (fabs(got - want) <= within) {
		passed++;
		return;
	}
	failed++;
	printf("FAIL %s: %.9g instead of %.9g\n", what, got, want);
}

int main(void)
{
	static const struct {
		unsigned df;
		double t975, t95;
	} row[] = {{1, 12.706205, 6.313752}, {2, 4.302653, 2.919986},  {3, 3.182446, 2.353363},
		   {4, 2.776445, 2.131847},  {9, 2.262157, 1.833113},  {10, 2.228139, 1.812461},
		   {30, 2.042272, 1.697261}, {120, 1.979930, 1.657651}};
	char name[32];

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		snprintf(name, sizeof(name), "t(0.975, %u)", row[i].df);
		near(name, stats_t_quantile(0.975, row[i].df), row[i].t975, 2e-6);
		snprintf(name, sizeof(name), "t(0.95, %u)", row[i].df);
		near(name, stats_t_quantile(0.95, row[i].df), row[i].t95, 2e-6);
	}

	struct stats_ratio r = stats_ratio((double[]){0}, 0);
	near("nothing", r.n + r.ratio, 0, 0);
	r = stats_ratio((double[]){log(2)}, 1);
	near("one block", r.ratio, 2, 1e-12);
	near("one block has no interval", r.hi, 0, 0);
	r = stats_ratio((double[]){log(1), log(4)}, 2);
	near("geometric mean", r.ratio, 2, 1e-12);
	/* deviations of +-log 2: standard error log 2 */
	near("lower bound", r.lo, 2 * exp(-log(2) * 12.706205), 1e-6);
	near("upper bound", r.hi / (2 * exp(log(2) * 12.706205)), 1, 1e-5);
	near("one-sided bound", r.upper / (2 * exp(log(2) * 6.313752)), 1, 1e-5);
	r = stats_ratio((double[]){0.5, 0.5, 0.5}, 3);
	near("no scatter, no width", r.hi - r.lo, 0, 1e-12);
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
