// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Do intervals of 95 % cover the truth 95 times of a hundred? Simulated runs of a known ratio with normal, lognormal and
 * skewed noise, from fixed seeds, so that every run of this test sees the same numbers. And does the harness see what it must:
 * a slowdown of 3 % under noise of 2 %, nothing where there is nothing.
 */
#include <math.h>
#include <stdio.h>

#include "eval/report/bootstrap.h"
#include "eval/report/stats.h"
#include "tests/unit/check.h"

#define RUNS 1500
#define ITERATIONS 3

/* Noise of one block or iteration, mean zero. */
static double normal(struct rng *r)
{
	return 0.02 * rng_normal(r);
}
/* on the scale of times, lognormal with heavy tail: the logarithm's noise is normal and wide */
static double wide(struct rng *r)
{
	return 0.3 * rng_normal(r);
}
/* neighbours that come by: exponential, skewness 2 */
static double skewed(struct rng *r)
{
	return 0.03 * (-log(1 - rng_uniform(r)) - 1);
}

struct cover {
	double t, boot, upper, below, above;
};

static struct cover simulate(double (*noise)(struct rng *), unsigned blocks, double ratio, uint64_t seed)
{
	struct cover c = {0};
	struct rng rng;

	rng_seed(&rng, seed);
	for (unsigned k = 0; k < RUNS; k++) {
		double path[40][ITERATIONS], native[40][2], logs[40];
		struct boot_block b[40];

		for (unsigned i = 0; i < blocks; i++) {
			double host = 0.5 * rng_normal(&rng), own = noise(&rng); /* the host's drift is in both */

			for (unsigned n = 0; n < ITERATIONS; n++)
				path[i][n] = host + own + log(ratio) + noise(&rng) / 4;
			for (unsigned n = 0; n < 2; n++)
				native[i][n] = host + noise(&rng) / 4;
			b[i] = (struct boot_block){path[i], native[i], ITERATIONS, 2};
			logs[i] = stats_mean(path[i], ITERATIONS) - stats_mean(native[i], 2);
		}
		struct stats_ratio t = stats_ratio(logs, blocks), s = bootstrap_ratio(b, blocks, 400, seed + k);

		c.t += t.lo <= ratio && ratio <= t.hi;
		c.upper += ratio <= t.upper;
		c.boot += s.lo <= ratio && ratio <= s.hi;
		c.below += s.hi < ratio;
		c.above += s.lo > ratio;
	}
	c.t /= RUNS, c.boot /= RUNS, c.upper /= RUNS, c.below /= RUNS, c.above /= RUNS;
	return c;
}

static void coverage(const char *name, double (*noise)(struct rng *), unsigned blocks, uint64_t seed, double t_least,
		     double upper_least, double boot_least)
{
	struct cover c = simulate(noise, blocks, 1.37, seed);

	printf("%-10s %2u blocks: t %.3f, one-sided bound %.3f, BCa %.3f (misses below %.3f, above %.3f)\n", name,
	       blocks, c.t, c.upper, c.boot, c.below, c.above);
	CHECK(c.t >= t_least && c.t <= 0.975);
	CHECK(c.upper >= upper_least && c.upper <= 0.975);
	CHECK(c.boot >= boot_least && c.boot <= 0.975);
}

/* Of many runs with 20 blocks: how often is the injected slowdown found, how often one that is not there? */
static void detection(void)
{
	struct rng rng;
	unsigned found = 0, alarms = 0, inside = 0;

	rng_seed(&rng, 7);
	for (unsigned k = 0; k < RUNS; k++) {
		double slow[20], same[20];
		struct stats_ratio a, s;

		for (unsigned i = 0; i < 20; i++) {
			slow[i] = log(1.03) + normal(&rng);
			same[i] = normal(&rng) / 2;
		}
		s = stats_ratio(slow, 20);
		a = stats_ratio(same, 20);
		found += s.lo > 1;
		alarms += a.lo > 1 || a.hi < 1;
		inside += a.lo >= 0.99 && a.hi <= 1.01;
	}
	printf("3 %% under 2 %% of noise, 20 blocks: found in %.3f of the runs; false alarms %.3f; control inside 1 %% "
	       "%.3f\n",
	       (double)found / RUNS, (double)alarms / RUNS, (double)inside / RUNS);
	CHECK(found > 0.99 * RUNS);
	CHECK(alarms > 0.03 * RUNS && alarms < 0.07 * RUNS);
	CHECK(inside > 0.97 * RUNS);
}

static void repeatable(void)
{
	double logs[6] = {0.1, 0.3, 0.15, 0.22, 0.4, 0.18};
	struct stats_ratio a = bootstrap_logs(logs, 6, 1000, 5), b = bootstrap_logs(logs, 6, 1000, 5),
			   c = bootstrap_logs(logs, 6, 1000, 6);

	CHECK(a.lo == b.lo && a.hi == b.hi && a.upper == b.upper);
	CHECK(a.lo != c.lo || a.hi != c.hi);
	CHECK(fabs(a.lo - c.lo) < 0.02 && fabs(a.hi - c.hi) < 0.02);
	CHECK(a.lo < a.ratio && a.ratio < a.upper && a.upper <= a.hi);
	a = bootstrap_logs(logs, 1, 1000, 5);
	CHECK(a.n == 1 && a.hi == 0);
	CHECK(bootstrap_logs(logs, 0, 1000, 5).n == 0);
	a = bootstrap_logs((double[]){0.5, 0.5, 0.5}, 3, 500, 1);
	CHECK(fabs(a.lo - exp(0.5)) < 1e-12 && fabs(a.hi - exp(0.5)) < 1e-12);
}

/* The generator against the moments of what it promises. */
static void generator(void)
{
	struct rng r;
	double sum = 0, squares = 0, u = 0;
	unsigned die[6] = {0}, n = 60000;

	rng_seed(&r, 1);
	for (unsigned i = 0; i < n; i++) {
		double x = rng_normal(&r);

		sum += x;
		squares += x * x;
		u += rng_uniform(&r);
		die[rng_below(&r, 6)]++;
	}
	CHECK(fabs(sum / n) < 0.02 && fabs(squares / n - 1) < 0.03 && fabs(u / n - 0.5) < 0.01);
	for (unsigned i = 0; i < 6; i++)
		CHECK(die[i] > 9600 && die[i] < 10400);
}

int main(void)
{
	generator();
	repeatable();
	coverage("normal", normal, 31, 1, 0.935, 0.935, 0.92);
	coverage("normal", normal, 8, 2, 0.935, 0.935, 0.87);
	coverage("lognormal", wide, 31, 3, 0.935, 0.935, 0.92);
	coverage("skewed", skewed, 31, 4, 0.925, 0.9, 0.905);
	detection();
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
