/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Five bodies under gravity, leapfrog steps in scalar doubles: multiplies, divisions, square roots. */
#include <emmintrin.h>

#include "workload.h"

struct body {
	double x[3], v[3], mass;
};

static double root(double x)
{
	return _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x)));
}

uint64_t wl_nbody(uint64_t scale)
{
	struct body b[5];
	uint64_t sum = 0;

	for (unsigned i = 0; i < 5; i++) {
		for (unsigned d = 0; d < 3; d++) {
			b[i].x[d] = (double)((i * 37 + d * 11) % 19) - 9.0;
			b[i].v[d] = ((double)((i * 13 + d * 7) % 11) - 5.0) * 0.01;
		}
		b[i].mass = 1.0 / (1.0 + i);
	}
	for (uint64_t step = 0; step < 36000 * scale; step++) {
		for (unsigned i = 0; i < 5; i++)
			for (unsigned j = i + 1; j < 5; j++) {
				double d[3], r2 = 0.01, f;

				for (unsigned l = 0; l < 3; l++) {
					d[l] = b[i].x[l] - b[j].x[l];
					r2 += d[l] * d[l];
				}
				f = 0.001 / (r2 * root(r2));
				for (unsigned l = 0; l < 3; l++) {
					b[i].v[l] -= d[l] * b[j].mass * f;
					b[j].v[l] += d[l] * b[i].mass * f;
				}
			}
		for (unsigned i = 0; i < 5; i++)
			for (unsigned l = 0; l < 3; l++)
				b[i].x[l] += b[i].v[l] * 0.001;
	}
	for (unsigned i = 0; i < 5; i++)
		for (unsigned l = 0; l < 3; l++)
			sum = wl_mix(sum, (uint64_t)(int64_t)(b[i].x[l] * 1e6));
	return sum;
}
