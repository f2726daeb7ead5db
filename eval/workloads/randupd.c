/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random updates of a table of 16 MiB (512 KiB at small scales), as in the GUPS benchmark: every one another page. */
#include "workload.h"

#define MAX (1u << 21)
static uint64_t table[MAX];

uint64_t wl_randupd(uint64_t scale)
{
	uint64_t mask = (scale >= 20 ? MAX : MAX / 32) - 1, seed = 12, sum = 0;

	for (uint64_t i = 0; i <= mask; i++)
		table[i] = i;
	for (uint64_t i = 0; i < 200000 * scale; i++) {
		uint64_t r = wl_random(&seed);

		table[r >> 40 & mask] ^= r;
	}
	for (uint64_t i = 0; i <= mask; i += 4096)
		sum = wl_mix(sum, table[i]);
	return sum;
}
