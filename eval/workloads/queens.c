/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many ways are there to place ten queens? Bit masks, recursion, unpredictable branches. */
#include "workload.h"

#define N 10

static __attribute__((noinline)) uint32_t place(uint32_t columns, uint32_t left, uint32_t right)
{
	uint32_t free = ~(columns | left | right) & ((1u << N) - 1), found = 0;

	if (columns == (1u << N) - 1)
		return 1;
	while (free) {
		uint32_t bit = free & -free;

		free ^= bit;
		found += place(columns | bit, (left | bit) << 1, (right | bit) >> 1);
	}
	return found;
}

uint64_t wl_queens(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 25 * scale; rep++)
		sum = wl_mix(sum, place(0, 0, 0) + rep);
	return sum;
}
