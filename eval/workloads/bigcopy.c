/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies and fills of 4 MiB (256 KiB at small scales) by the C library. */
#include <string.h>

#include "workload.h"

#define MAX (4u << 20)
static uint8_t a[MAX + 64], b[MAX + 64];

uint64_t wl_bigcopy(uint64_t scale)
{
	uint32_t n = scale >= 20 ? MAX : MAX / 16;
	uint64_t reps = 16 * scale * (MAX / n), sum = 0;

	memset(a, 1, n + 8);
	memset(b, 2, n + 8);
	for (uint64_t rep = 0; rep < reps; rep++) {
		a[(rep * 4099) % n] += (uint8_t)(rep | 1);
		memcpy(b + rep % 7, a, n);
		memset(a + n / 2, (int)(rep & 0xff), n / 8);
		sum = wl_mix(sum, b[(rep * 65537) % n] + ((uint64_t)b[rep % 7 + (rep * 4099) % n] << 8));
	}
	return sum;
}
