// SPDX-License-Identifier: GPL-2.0-or-later
/* eval/report/changepoint.c on series whose levels are known. */
#include <math.h>
#include <stdio.h>

#include "eval/report/bootstrap.h"
#include "eval/report/changepoint.h"
#include "tests/unit/check.h"

#define N 120

struct level {
	unsigned n;
	double mean;
};

/* Levels with normal noise of the given deviation; ends with n = 0. */
static unsigned series(struct rng *r, const struct level *l, double deviation, double *x)
{
	unsigned n = 0;

	for (; l->n; l++)
		for (unsigned i = 0; i < l->n; i++)
			x[n++] = l->mean + deviation * rng_normal(r);
	return n;
}

/* How many of 200 series get the class, with the last change within two of where it is. */
static double right(const struct level *l, double deviation, enum series_class want, unsigned from)
{
	unsigned good = 0;
	struct rng r;

	rng_seed(&r, 99);
	for (unsigned k = 0; k < 200; k++) {
		struct changepoints c;
		double x[N];
		unsigned n = series(&r, l, deviation, x);

		changepoint_classify(x, n, &c);
		good += c.class == want &&
			(c.steady_from == n || (c.steady_from + 2 >= from && c.steady_from <= from + 2));
	}
	return good / 200.0;
}

int main(void)
{
	static const struct level flat[] = {{100, 10}, {0, 0}}, warmup[] = {{1, 50}, {99, 10}, {0, 0}},
				  stairs[] = {{10, 30}, {20, 15}, {70, 10}, {0, 0}},
				  slowdown[] = {{40, 10}, {60, 12}, {0, 0}}, late[] = {{90, 10}, {10, 14}, {0, 0}},
				  small[] = {{1, 14}, {11, 10}, {0, 0}}, eight[] = {{8, 10}, {0, 0}};
	struct changepoints c;
	double x[N], p;

	printf("flat %.3f of 200 series\n", p = right(flat, 0.2, SERIES_FLAT, 0));
	CHECK(p >= 0.98);
	printf("one cold value %.3f\n", p = right(warmup, 0.2, SERIES_WARMUP, 1));
	CHECK(p >= 0.97);
	printf("stairs %.3f\n", p = right(stairs, 0.5, SERIES_WARMUP, 30));
	CHECK(p >= 0.97);
	printf("slowdown %.3f\n", p = right(slowdown, 0.4, SERIES_SLOWDOWN, 40));
	CHECK(p >= 0.95);
	printf("late change %.3f\n", p = right(late, 0.3, SERIES_NO_STEADY, 100));
	CHECK(p >= 0.97);
	printf("a dozen values, one cold %.3f\n", p = right(small, 0.1, SERIES_WARMUP, 1));
	CHECK(p >= 0.9);
	printf("eight equal values %.3f\n", p = right(eight, 0.1, SERIES_FLAT, 0));
	CHECK(p >= 0.9);

	/* one visit of another process is no level */
	struct rng r;

	rng_seed(&r, 3);
	series(&r, flat, 0.1, x);
	x[37] = 80;
	changepoint_classify(x, 100, &c);
	CHECK(c.class == SERIES_FLAT && c.outliers == 1 && fabs(c.steady_mean - 10) < 0.1);
	/* values without noise */
	for (unsigned i = 0; i < 40; i++)
		x[i] = i < 10 ? 20 : 10;
	changepoint_classify(x, 40, &c);
	CHECK(c.class == SERIES_WARMUP && c.steady_from == 10 && c.nsegments == 2 && c.steady_mean == 10);
	for (unsigned i = 0; i < 40; i++)
		x[i] = 0;
	changepoint_classify(x, 40, &c);
	CHECK(c.class == SERIES_FLAT);
	/* more levels than there is room for */
	for (unsigned i = 0; i < N; i++)
		x[i] = 10 * (1 + i / 2);
	changepoint_classify(x, N, &c);
	CHECK(c.class == SERIES_NO_STEADY && c.nsegments <= CHANGEPOINT_MAX_SEGMENTS);
	for (unsigned n = 0; n < CHANGEPOINT_MIN; n++) {
		changepoint_classify(x, n, &c);
		CHECK(c.class == SERIES_SHORT && c.nsegments == 0 && c.steady_from == n);
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
