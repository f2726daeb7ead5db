/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte strings: lengths, scans, comparisons and copies over 16 KiB of words. */
#include "workload.h"

#define BYTES 16384
static char text[BYTES], copy[BYTES];

static __attribute__((noinline)) size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static __attribute__((noinline)) int compare(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (uint8_t)*a - (uint8_t)*b;
}

static __attribute__((noinline)) const char *scan(const char *p, const char *end, char c)
{
	while (p < end && *p != c)
		p++;
	return p;
}

static __attribute__((noinline)) void copy_bytes(char *to, const char *from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		to[i] = from[i];
		__asm__ volatile("" : : : "memory"); /* a byte at a time, as old code does */
	}
}

uint64_t wl_strings(uint64_t scale)
{
	uint64_t seed = 99, sum = 0;

	for (unsigned i = 0; i < BYTES - 1; i++) {
		uint32_t r = (uint32_t)(wl_random(&seed) >> 40);

		text[i] = r % 9 == 0 ? 0 : (char)('a' + r % 23);
	}
	for (uint64_t rep = 0; rep < 70 * scale; rep++) {
		uint64_t words = 0, less = 0, e = 0;

		for (size_t i = 0; i < BYTES - 1; i += length(text + i) + 1)
			words++;
		for (size_t i = 0, j = BYTES / 2; j < BYTES - 1; i++, j++)
			less += compare(text + i, text + j) < 0;
		for (const char *p = text; p < text + BYTES; p++, e++)
			p = scan(p, text + BYTES, 'e');
		copy_bytes(copy, text, BYTES);
		text[(rep * 7919) % (BYTES - 1)] ^= 1;
		sum = wl_mix(sum, words + (less << 20) + (e << 40) + (uint8_t)copy[rep % BYTES]);
	}
	return sum;
}
