/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 2048-bit numbers multiplied the school way: wide multiplies and carry chains. */
#include "workload.h"

#if __SIZEOF_POINTER__ == 8
typedef uint64_t limb;
typedef unsigned __int128 wide;
#else
typedef uint32_t limb;
typedef uint64_t wide;
#endif
#define LIMB_BITS (8 * sizeof(limb))
#define N (2048 / LIMB_BITS)

static void multiply(limb r[2 * N], const limb a[N], const limb b[N])
{
	for (unsigned i = 0; i < 2 * N; i++)
		r[i] = 0;
	for (unsigned i = 0; i < N; i++) {
		limb carry = 0;

		for (unsigned j = 0; j < N; j++) {
			wide t = (wide)a[i] * b[j] + r[i + j] + carry;

			r[i + j] = (limb)t;
			carry = (limb)(t >> LIMB_BITS);
		}
		r[i + N] = carry;
	}
}

uint64_t wl_bignum(uint64_t scale)
{
	uint64_t seed = 11, sum = 0;
	limb a[N], b[N], r[2 * N];

	for (unsigned i = 0; i < 2048 / 64; i++) {
		uint64_t x = wl_random(&seed), y = wl_random(&seed);

		for (unsigned l = 0; l < 64 / LIMB_BITS; l++) {
			a[i * (64 / LIMB_BITS) + l] = (limb)(x >> (l * LIMB_BITS % 64));
			b[i * (64 / LIMB_BITS) + l] = (limb)(y >> (l * LIMB_BITS % 64));
		}
	}
	for (uint64_t rep = 0; rep < 2800 * scale; rep++) {
		multiply(r, a, b);
		for (unsigned i = 0; i < N; i++)
			a[i] = r[i] ^ r[i + N];
		sum = wl_mix(sum, (uint32_t)a[N / 2]);
	}
	return sum;
}
