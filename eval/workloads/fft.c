/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fast Fourier transform of 1024 complex doubles, in place; strides of every power of two. */
#include <emmintrin.h>

#include "workload.h"

#define N 1024
struct complex {
	double re, im;
};
static struct complex v[N], w[N / 2];

static double root(double x)
{
	return _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x)));
}

/* Unit roots by halving angles from a right one: no library whose last bit depends on the processor. */
static void unit_roots(void)
{
	w[0] = (struct complex){1, 0};
	double c = 0; /* cos of a quarter turn */

	for (unsigned step = N / 4; step; step /= 2) {
		double s = root(1 - c * c);

		w[step] = (struct complex){c, -s};
		for (unsigned i = 2 * step; i + step < N / 2; i += 2 * step)
			w[i + step] = (struct complex){w[i].re * c + w[i].im * s, w[i].im * c - w[i].re * s};
		c = root((1 + c) / 2);
	}
}

static void transform(void)
{
	for (unsigned i = 0, j = 0; i < N; i++) {
		unsigned bit = N / 2;

		if (i < j) {
			struct complex t = v[i];

			v[i] = v[j];
			v[j] = t;
		}
		for (; j & bit; bit /= 2)
			j ^= bit;
		j |= bit;
	}
	for (unsigned half = 1; half < N; half *= 2)
		for (unsigned base = 0; base < N; base += 2 * half)
			for (unsigned k = 0; k < half; k++) {
				struct complex r = w[k * (N / 2 / half)], x = v[base + k], y = v[base + k + half];
				struct complex t = {r.re * y.re - r.im * y.im, r.re * y.im + r.im * y.re};

				v[base + k] = (struct complex){x.re + t.re, x.im + t.im};
				v[base + k + half] = (struct complex){x.re - t.re, x.im - t.im};
			}
}

uint64_t wl_fft(uint64_t scale)
{
	uint64_t sum = 0;

	unit_roots();
	for (uint64_t rep = 0; rep < 300 * scale; rep++) {
		for (unsigned i = 0; i < N; i++)
			v[i] = (struct complex){(double)((i * 7 + rep) % 31), (double)(i % 5)};
		transform();
		sum = wl_mix(sum, (uint64_t)(int64_t)(v[rep % N].re * 1e6) ^ (uint64_t)(int64_t)(v[rep % N].im * 1e6));
	}
	return sum;
}
