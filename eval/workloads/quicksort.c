/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Quicksort of 16 384 random words: unpredictable branches, swaps. */
#include "workload.h"

#define N 16384
static uint32_t a[N];

static void sort(uint32_t *lo, uint32_t *hi)
{
	while (hi - lo > 12) {
		uint32_t pivot = lo[(hi - lo) / 2], *i = lo, *j = hi;

		while (i <= j) {
			while (*i < pivot)
				i++;
			while (*j > pivot)
				j--;
			if (i <= j) {
				uint32_t t = *i;

				*i++ = *j;
				*j-- = t;
			}
		}
		if (j - lo < hi - i) {
			sort(lo, j);
			lo = i;
		} else {
			sort(i, hi);
			hi = j;
		}
	}
	for (uint32_t *p = lo + 1; p <= hi; p++) {
		uint32_t v = *p, *q = p;

		for (; q > lo && q[-1] > v; q--)
			*q = q[-1];
		*q = v;
	}
}

uint64_t wl_quicksort(uint64_t scale)
{
	uint64_t seed = 42, sum = 0;

	for (uint64_t rep = 0; rep < 4 * scale; rep++) {
		for (unsigned i = 0; i < N; i++)
			a[i] = (uint32_t)wl_random(&seed);
		sort(a, a + N - 1);
		for (unsigned i = 0; i < N; i += 61)
			sum = wl_mix(sum, a[i]);
	}
	return sum;
}
