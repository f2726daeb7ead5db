/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The edit distance of two texts of 256 letters: one row of a table from the row before, a minimum of three each. */
#include "workload.h"

#define N 256
static uint8_t a[N], b[N];
static uint16_t row[N + 1];

static uint32_t distance(void)
{
	for (unsigned j = 0; j <= N; j++)
		row[j] = (uint16_t)j;
	for (unsigned i = 1; i <= N; i++) {
		uint32_t diagonal = row[0];

		row[0] = (uint16_t)i;
		for (unsigned j = 1; j <= N; j++) {
			uint32_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (diagonal + 1 < best)
				best = diagonal + 1;
			if (row[j - 1] + 1u < best)
				best = row[j - 1] + 1u;
			row[j] = (uint16_t)best;
		}
	}
	return row[N];
}

uint64_t wl_edit(uint64_t scale)
{
	uint64_t seed = 17, sum = 0;

	for (unsigned i = 0; i < N; i++) {
		a[i] = (uint8_t)(wl_random(&seed) >> 62);
		b[i] = (uint8_t)(wl_random(&seed) >> 62);
	}
	for (uint64_t rep = 0; rep < 40 * scale; rep++) {
		a[rep % N] ^= 1;
		sum = wl_mix(sum, distance());
	}
	return sum;
}
