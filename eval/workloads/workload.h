/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A workload kernel: fixed work, deterministic, the same checksum on every processor and in 32 and 64 bits.
 * One file each; the table is in wmain.c. scale is a percentage: 100 is about 0.3 s on a processor of 2023, and the work
 * is proportional to it, so that a path 100 times slower can be given a hundredth.
 */
#ifndef STEELYARD_WORKLOAD_H
#define STEELYARD_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

struct workload {
	const char *name;
	const char *what;
	uint64_t (*run)(uint64_t scale);
};

uint64_t wl_sieve(uint64_t scale);
uint64_t wl_fib(uint64_t scale);
uint64_t wl_sha256(uint64_t scale);
uint64_t wl_quicksort(uint64_t scale);
uint64_t wl_interp(uint64_t scale);
uint64_t wl_hashtable(uint64_t scale);
uint64_t wl_matmul(uint64_t scale);
uint64_t wl_strings(uint64_t scale);
uint64_t wl_lz(uint64_t scale);
uint64_t wl_nbody(uint64_t scale);
uint64_t wl_mandelbrot(uint64_t scale);
uint64_t wl_memstream(uint64_t scale);
uint64_t wl_pchase(uint64_t scale);
uint64_t wl_records(uint64_t scale);
uint64_t wl_calls(uint64_t scale);
uint64_t wl_bignum(uint64_t scale);

/* xorshift64*: a fixed sequence from a fixed seed. */
static inline uint64_t wl_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}
static inline uint64_t wl_mix(uint64_t sum, uint64_t value)
{
	sum ^= value;
	sum *= 0x9e3779b97f4a7c15ull;
	return sum ^ (sum >> 29);
}

#endif
