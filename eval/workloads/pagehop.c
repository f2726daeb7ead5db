/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One word on each of 4096 pages (256 at small scales), round and round: what the processor's TLB thinks of it. */
#include "workload.h"

#define MAX 4096u
#define STEP (4096u + 64u) /* another cache set for each page */
static uint8_t area[MAX * STEP];

uint64_t wl_pagehop(uint64_t scale)
{
	uint32_t n = scale >= 20 ? MAX : MAX / 16;
	uint64_t reps = 120 * scale * (MAX / n), sum = 0;

	for (uint32_t i = 0; i < n; i++)
		*(uint32_t *)(void *)&area[i * STEP] = i;
	for (uint64_t rep = 0; rep < reps; rep++) {
		uint32_t last = (uint32_t)rep;

		for (uint32_t i = 0; i < n; i++) {
			uint32_t *word = (uint32_t *)(void *)&area[i * STEP];

			last += *word;
			*word = last ^ i;
		}
		sum = wl_mix(sum, last);
	}
	return sum;
}
