/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bootstrap intervals for paired log ratios: the cross-check of Student's. Levels as they were sampled: blocks, then
 * what stands beside each other in a block (Kalibera & Jones 2013, 6.3). The same seed gives the same interval.
 */
#ifndef STEELYARD_EVAL_BOOTSTRAP_H
#define STEELYARD_EVAL_BOOTSTRAP_H

#include <stdint.h>

#include "eval/report/stats.h"

/* xoshiro256** (Blackman & Vigna 2018), seeded by splitmix64. */
struct rng {
	uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
double rng_uniform(struct rng *r);             /* 0 <= x < 1 */
unsigned rng_below(struct rng *r, unsigned n); /* 0 .. n - 1, n >= 1 */
double rng_normal(struct rng *r);

/* Logarithms of one block: of the path's items, of the native ones. The caller's arrays; both not empty. */
struct boot_block {
	const double *path, *native;
	unsigned npath, nnative;
};

#define BOOTSTRAP_RESAMPLES 2000

/* Mean over blocks of (mean of path - mean of native), exponentiated; lo and hi are the BCa interval of 95 % (Efron 1987),
 * upper the one-sided bound. n < 2 blocks: no interval, as stats_ratio(). n = 0 in the result: no memory. */
struct stats_ratio bootstrap_ratio(const struct boot_block *b, unsigned n, unsigned resamples, uint64_t seed);
/* The same for one number a block. */
struct stats_ratio bootstrap_logs(const double *logs, unsigned n, unsigned resamples, uint64_t seed);

#endif
