/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The spectral norm of a matrix that is computed, not stored: a division for every element. */
#include "workload.h"

#define N 100
static double u[N], v[N], t[N];

static double element(unsigned i, unsigned j)
{
	return 1.0 / (double)((i + j) * (i + j + 1) / 2 + i + 1);
}

static void times(const double *x, double *y)
{
	for (unsigned i = 0; i < N; i++) {
		y[i] = 0;
		for (unsigned j = 0; j < N; j++)
			y[i] += element(i, j) * x[j];
	}
}

static void times_transposed(const double *x, double *y)
{
	for (unsigned i = 0; i < N; i++) {
		y[i] = 0;
		for (unsigned j = 0; j < N; j++)
			y[i] += element(j, i) * x[j];
	}
}

uint64_t wl_spectral(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 60 * scale; rep++) {
		double uv = 0, vv = 0;

		for (unsigned i = 0; i < N; i++)
			u[i] = 1 + (double)(rep & 3);
		times(u, t);
		times_transposed(t, v);
		times(v, t);
		times_transposed(t, u);
		for (unsigned i = 0; i < N; i++) {
			uv += u[i] * v[i];
			vv += v[i] * v[i];
		}
		sum = wl_mix(sum, (uint64_t)(uv / vv * 1e9));
	}
	return sum;
}
