/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sieve of Eratosthenes over 100 000 bytes: strided byte stores. */
#include "workload.h"

#define N 100000
static uint8_t composite[N];

uint64_t wl_sieve(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 14 * scale; rep++) {
		uint32_t primes = 0, last = 0;

		for (uint32_t i = 0; i < N; i++)
			composite[i] = 0;
		for (uint32_t i = 2; i < N; i++) {
			if (composite[i])
				continue;
			primes++;
			last = i;
			for (uint32_t j = 2 * i; j < N; j += i)
				composite[j] = 1;
		}
		sum = wl_mix(sum, primes + ((uint64_t)last << 32) + rep);
	}
	return sum;
}
