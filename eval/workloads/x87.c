/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integrals of 4 / (1 + x * x) and of a root in 80-bit floating point: the x87 register stack. */
#include "workload.h"

static long double root(long double x)
{
	__asm__("fsqrt" : "+t"(x));
	return x;
}

uint64_t wl_x87(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 360 * scale; rep++) {
		const unsigned n = 2000;
		long double h = 1.0L / n, s = 0, t = (long double)(rep & 7);

		for (unsigned i = 0; i < n; i++) {
			long double x = h * ((long double)i + 0.5L);

			s += 4.0L / (1.0L + x * x);
			t += root(1.0L - x * x) * h;
		}
		sum = wl_mix(sum, (uint64_t)(s * h * 1e12L) + (uint64_t)(t * 1e12L));
	}
	return sum;
}
