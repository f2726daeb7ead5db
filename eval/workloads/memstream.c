/* SPDX-License-Identifier: GPL-2.0-or-later */
/* a[i] = b[i] + s * c[i] over three arrays of 1 MiB each (128 KiB at small scales): streaming loads and stores. */
#include "workload.h"

#define MAX (1u << 17)
static double a[MAX], b[MAX], c[MAX];

uint64_t wl_memstream(uint64_t scale)
{
	uint32_t n = scale >= 20 ? MAX : MAX / 8;
	uint64_t reps = 52 * scale * (MAX / n), sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		b[i] = i & 1023;
		c[i] = i % 7;
	}
	for (uint64_t rep = 0; rep < reps; rep++) {
		double s = (double)(rep & 15);

		for (uint32_t i = 0; i < n; i++)
			a[i] = b[i] + s * c[i];
		sum = wl_mix(sum, (uint64_t)a[(rep * 4099) % n]);
	}
	return sum;
}
