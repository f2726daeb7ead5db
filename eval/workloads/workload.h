/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A workload kernel: fixed work, deterministic, the same checksum on every processor and in 32 and 64 bits.
 * The table is table.def. scale is a percentage: 100 is about 0.3 s on a processor of 2023, and the work
 * is proportional to it, so that a path 100 times slower can be given a hundredth.
 */
#ifndef STEELYARD_WORKLOAD_H
#define STEELYARD_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

struct workload {
	const char *name, *group, *what;
	uint64_t (*run)(uint64_t scale);
};

#define W(name, group, what) uint64_t wl_##name(uint64_t scale);
#include "table.def"

/* What "workloads --big" runs, for bigstart. */
uint32_t wl_big_program(void);

/* What "workloads --clocks FILE" does: clocks.c. Its exit status. */
int wl_clocks(const char *until);

/* One byte n times there and back through two pipes; place, unless NULL, is called first in this process (side 0) and in the
 * other one (side 1). */
uint64_t wl_hops(uint64_t n, void (*place)(const void *arg, unsigned side), const void *arg);

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
