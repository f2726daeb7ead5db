// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A resample draws as many blocks as there are, with replacement, and in each of them its items again; a block with a
 * single item has nothing to draw from. The interval is bias-corrected and accelerated: z0 from where the estimate lies
 * among the resamples, the acceleration from leaving out one block at a time (Efron & Tibshirani 1993, 14.3).
 */
#include <math.h>
#include <stdlib.h>

#include "eval/report/bootstrap.h"

static uint64_t rotl(uint64_t x, unsigned k)
{
	return x << k | x >> (64 - k);
}

void rng_seed(struct rng *r, uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		r->s[i] = z ^ z >> 31;
	}
}

uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

double rng_uniform(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

double rng_normal(struct rng *r)
{
	double u = 1 - rng_uniform(r), v = rng_uniform(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static double drawn_mean(struct rng *r, const double *x, unsigned n)
{
	double sum = 0;

	if (n == 1)
		return x[0];
	for (unsigned i = 0; i < n; i++)
		sum += x[rng_below(r, n)];
	return sum / n;
}

static double block_value(const struct boot_block *b)
{
	return stats_mean(b->path, b->npath) - stats_mean(b->native, b->nnative);
}

static double one_resample(struct rng *r, const struct boot_block *b, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct boot_block *d = &b[rng_below(r, n)];

		sum += drawn_mean(r, d->path, d->npath) - drawn_mean(r, d->native, d->nnative);
	}
	return sum / n;
}

/* Of the mean, from leaving out one block at a time. */
static double acceleration(const struct boot_block *b, unsigned n, double mean)
{
	double cubes = 0, squares = 0;

	for (unsigned i = 0; i < n; i++) {
		double d = (block_value(&b[i]) - mean) / (n - 1); /* of the jackknife values' mean and this one */

		cubes += d * d * d;
		squares += d * d;
	}
	return squares > 0 ? cubes / (6 * pow(squares, 1.5)) : 0;
}

static double bca_at(const double *sorted, unsigned resamples, double z0, double a, double p)
{
	double z = z0 + stats_normal_quantile(p), q = stats_normal_cdf(z0 + z / (1 - a * z));

	return stats_sorted_quantile(sorted, resamples, q);
}

struct stats_ratio bootstrap_ratio(const struct boot_block *b, unsigned n, unsigned resamples, uint64_t seed)
{
	struct stats_ratio r = {.n = n};
	double *draw, mean = 0, z0, a, below = 0;
	struct rng rng;

	for (unsigned i = 0; i < n; i++)
		mean += block_value(&b[i]) / n;
	if (n)
		r.ratio = exp(mean);
	if (n < 2)
		return r;
	draw = malloc(resamples * sizeof(*draw));
	if (!draw)
		return (struct stats_ratio){0};
	rng_seed(&rng, seed);
	for (unsigned k = 0; k < resamples; k++) {
		draw[k] = one_resample(&rng, b, n);
		below += draw[k] < mean ? 1 : draw[k] == mean ? 0.5 : 0;
	}
	stats_sort(draw, resamples);
	/* no resample below or none above: no correction that could be trusted */
	z0 = below > 0 && below < resamples ? stats_normal_quantile(below / resamples) : 0;
	a = acceleration(b, n, mean);
	r.lo = exp(bca_at(draw, resamples, z0, a, 0.025));
	r.hi = exp(bca_at(draw, resamples, z0, a, 0.975));
	r.upper = exp(bca_at(draw, resamples, z0, a, 0.95));
	free(draw);
	return r;
}

struct stats_ratio bootstrap_logs(const double *logs, unsigned n, unsigned resamples, uint64_t seed)
{
	static const double zero[1] = {0};
	struct boot_block *b = n ? malloc(n * sizeof(*b)) : NULL;
	struct stats_ratio r = {0};

	if (!b)
		return r;
	for (unsigned i = 0; i < n; i++)
		b[i] = (struct boot_block){&logs[i], zero, 1, 1};
	r = bootstrap_ratio(b, n, resamples, seed);
	free(b);
	return r;
}
