/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The C library's own string functions, which choose their instructions by CPUID, on strings of 1 to 2000 bytes. */
#include <string.h>

#include "workload.h"

#define BYTES 8192
static char from[BYTES], to[BYTES];

uint64_t wl_libcstr(uint64_t scale)
{
	uint64_t seed = 31, sum = 0;

	for (unsigned i = 0; i < BYTES - 1; i++)
		from[i] = (char)('a' + (wl_random(&seed) >> 40) % 25);
	for (uint64_t rep = 0; rep < 60000 * scale; rep++) {
		uint64_t r = wl_random(&seed), all;
		size_t n = (r >> 20 & 7) ? 1 + (r >> 24 & 63) : 1 + (r >> 24) % 2000, at = (r >> 40) % 4096;
		const char *z;

		memcpy(to + (r >> 56), from + at, n);
		to[(r >> 56) + n] = 0;
		all = strlen(to + (r >> 56));
		z = memchr(from + at, 'a' + (int)(r & 31), n);
		all = all * 3 + (z ? (uint64_t)(z - from) : 7);
		all = all * 3 + (uint64_t)(memcmp(from + at, to + (r >> 56), n) == 0);
		all = all * 3 + (uint64_t)(strncmp(from + at, from + (r >> 50 & 1023), n) < 0);
		memset(to + (r >> 56), (int)(r & 15), n / 2);
		sum = wl_mix(sum, all + (uint8_t)to[(r >> 56) + n / 3]);
	}
	return sum;
}
