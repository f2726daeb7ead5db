/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 96 x 96 matrices of doubles multiplied with AVX2's 256-bit arithmetic. A processor without it runs plain code: all
 * values are small multiples of 1/32, every sum is exact, and so the checksum is the same.
 */
#include <immintrin.h>

#include "workload.h"

#define N 96
static double a[N][N] __attribute__((aligned(32))), b[N][N] __attribute__((aligned(32))),
	c[N][N] __attribute__((aligned(32)));

static __attribute__((target("avx2"))) void multiply_avx2(void)
{
	for (unsigned i = 0; i < N; i++)
		for (unsigned j = 0; j < N; j += 8) {
			__m256d s0 = _mm256_setzero_pd(), s1 = _mm256_setzero_pd();

			for (unsigned l = 0; l < N; l++) {
				__m256d x = _mm256_broadcast_sd(&a[i][l]);

				s0 = _mm256_add_pd(s0, _mm256_mul_pd(x, _mm256_load_pd(&b[l][j])));
				s1 = _mm256_add_pd(s1, _mm256_mul_pd(x, _mm256_load_pd(&b[l][j + 4])));
			}
			_mm256_store_pd(&c[i][j], s0);
			_mm256_store_pd(&c[i][j + 4], s1);
		}
	_mm256_zeroupper();
}

static void multiply_plain(void)
{
	for (unsigned i = 0; i < N; i++)
		for (unsigned j = 0; j < N; j++) {
			double s = 0;

			for (unsigned l = 0; l < N; l++)
				s += a[i][l] * b[l][j];
			c[i][j] = s;
		}
}

uint64_t wl_matavx2(uint64_t scale)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < N; i++)
		for (unsigned j = 0; j < N; j++) {
			a[i][j] = (double)((i * 5 + j * 3) % 13) * 0.25;
			b[i][j] = (double)((i * 7 + j * 11) % 19) * 0.125;
		}
	for (uint64_t rep = 0; rep < 28 * scale; rep++) {
		a[rep % N][(rep * 7) % N] += 0.5;
		if (__builtin_cpu_supports("avx2"))
			multiply_avx2();
		else
			multiply_plain();
		sum = wl_mix(sum, (uint64_t)(c[rep % N][(rep * 31) % N] * 32));
	}
	return sum;
}
