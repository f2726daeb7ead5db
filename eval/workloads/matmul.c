/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 96 x 96 matrices of doubles multiplied with SSE2 packed arithmetic. */
#include <emmintrin.h>

#include "workload.h"

#define N 96
static double a[N][N] __attribute__((aligned(16))), b[N][N] __attribute__((aligned(16))),
	c[N][N] __attribute__((aligned(16)));

uint64_t wl_matmul(uint64_t scale)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < N; i++)
		for (unsigned j = 0; j < N; j++) {
			a[i][j] = (double)((i * 7 + j * 3) % 11) * 0.25;
			b[i][j] = (double)((i * 5 + j * 13) % 17) * 0.125;
		}
	for (uint64_t rep = 0; rep < 16 * scale; rep++) {
		a[rep % N][(rep * 7) % N] += 0.5;
		for (unsigned i = 0; i < N; i++)
			for (unsigned j = 0; j < N; j += 4) {
				__m128d s0 = _mm_setzero_pd(), s1 = _mm_setzero_pd();

				for (unsigned l = 0; l < N; l++) {
					__m128d x = _mm_set1_pd(a[i][l]);

					s0 = _mm_add_pd(s0, _mm_mul_pd(x, _mm_load_pd(&b[l][j])));
					s1 = _mm_add_pd(s1, _mm_mul_pd(x, _mm_load_pd(&b[l][j + 2])));
				}
				_mm_store_pd(&c[i][j], s0);
				_mm_store_pd(&c[i][j + 2], s1);
			}
		sum = wl_mix(sum, (uint64_t)(c[rep % N][(rep * 31) % N] * 32));
	}
	return sum;
}
