/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processor's string instructions with a repeat prefix, on pieces of 8 to 4096 bytes. */
#include "workload.h"

#define BYTES 16384
static uint8_t from[BYTES], to[BYTES];

static void move_bytes(void *d, const void *s, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

static void move_words(void *d, const void *s, size_t n)
{
	__asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}

static void fill(void *d, uint32_t value, size_t n)
{
	__asm__ volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(value) : "memory");
}

static size_t scan(const void *d, uint8_t byte, size_t n)
{
	size_t left = n;

	__asm__ volatile("test %0, %0\n\trepne scasb" : "+D"(d), "+c"(left) : "a"(byte) : "cc", "memory");
	return n - left;
}

static size_t compare(const void *d, const void *s, size_t n)
{
	size_t left = n;

	__asm__ volatile("cmp %0, %0\n\trepe cmpsb" : "+D"(d), "+S"(s), "+c"(left) : : "cc", "memory");
	return n - left;
}

uint64_t wl_repstr(uint64_t scale)
{
	uint64_t seed = 77, sum = 0;

	for (unsigned i = 0; i < BYTES; i++)
		from[i] = (uint8_t)(wl_random(&seed) >> 56 & 0x7f);
	for (uint64_t rep = 0; rep < 20000 * scale; rep++) {
		uint64_t r = wl_random(&seed);
		size_t n = 8u << (r >> 60) % 10, a = (r >> 20) % (BYTES - 4096), b = (r >> 40) % (BYTES - 4096);

		move_bytes(to + a, from + b, n);
		move_words(to + b, from + a, n / 4);
		fill(to + (a & ~3u), (uint32_t)r, n / 8);
		sum = wl_mix(sum, scan(from + a, (uint8_t)(r & 0xff), n / 4) + ((uint64_t)to[a] << 32));
		sum = wl_mix(sum, compare(from + b, to + b, n / 4));
	}
	return sum;
}
