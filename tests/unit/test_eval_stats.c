// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * eval/report/stats.c: quantiles against the printed tables, ratios and intervals against numbers worked out by hand, the classes
 * at their limits, Benjamini and Hochberg's own example.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/report/stats.h"
#include "tests/unit/check.h"

static void classes(void)
{
	static const struct {
		double upper;
		const char *name;
	} row[] = {{0.9, "near-native"},  {1.05, "near-native"}, {1.0501, "within-1.25"},
		   {1.25, "within-1.25"}, {1.2501, "within-2"},  {2, "within-2"},
		   {2.0001, "over-2"},    {HUGE_VAL, "over-2"},  {NAN, "over-2"}};

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct stats_ratio r = {.n = 5, .ratio = 1, .upper = row[i].upper};

		CHECK(!strcmp(stats_class(&r)->name, row[i].name));
	}
	CHECK(!stats_class(&(struct stats_ratio){.n = 1, .ratio = 1}));
	CHECK(stats_class_at(3) && !stats_class_at(4));
}

static void discoveries(void)
{
	/* Benjamini & Hochberg 1995, table 1: four of fifteen hypotheses are rejected at 0.05 */
	double p[15] = {0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
			0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
	unsigned found = 0;

	CHECK(stats_benjamini_hochberg(p, 15));
	for (unsigned i = 0; i < 15; i++) {
		found += p[i] <= 0.05;
		CHECK(i == 0 || p[i] >= p[i - 1]);
	}
	CHECK(found == 4);
	near("adjusted", p[3], 0.0095 * 15 / 4, 1e-12);
	/* any order */
	double q[3] = {0.04, 0.01, 0.02};

	CHECK(stats_benjamini_hochberg(q, 3));
	near("adjusted first", q[0], 0.04, 1e-12);
	near("adjusted second", q[1], 0.03, 1e-12);
	near("adjusted third", q[2], 0.03, 1e-12);
	CHECK(stats_benjamini_hochberg(NULL, 0));
}

static void tables(void)
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
	near("t two-sided", stats_t_two_sided(2.262157, 9), 0.05, 1e-6);
	near("t two-sided of nothing", stats_t_two_sided(0, 5), 1, 1e-12);
	near("normal quantile", stats_normal_quantile(0.975), 1.959963985, 1e-8);
	near("normal cdf", stats_normal_cdf(-1.644853627), 0.05, 1e-9);
	near("median of four", stats_median((double[]){4, 1, 3, 2}, 4), 2.5, 0);
	near("median of nothing", stats_median(NULL, 0), 0, 0);
	near("variance", stats_variance((double[]){2, 4, 4, 4, 5, 5, 7, 9}, 8), 32.0 / 7, 1e-12);
	near("quartile", stats_sorted_quantile((double[]){1, 2, 3, 4}, 4, 0.25), 1.75, 1e-12);
}

static void ratios(void)
{
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
	near("p of a mean one t(0.975, 1) away", stats_p_value((double[]){log(1), log(4)}, 2, r.lo), 0.05, 1e-6);
	near("p of the mean itself", stats_p_value((double[]){log(1), log(4)}, 2, 2), 1, 1e-9);
	near("p of one block", stats_p_value((double[]){3}, 1, 1), 1, 0);
	near("p without scatter", stats_p_value((double[]){3, 3}, 2, 1), 0, 0);
	r = stats_ratio((double[]){0.5, 0.5, 0.5}, 3);
	near("no scatter, no width", r.hi - r.lo, 0, 1e-12);
}

int main(void)
{
	tables();
	ratios();
	classes();
	discoveries();
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
