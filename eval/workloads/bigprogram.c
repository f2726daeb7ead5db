/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The big program behind "bigstart": 4096 different functions, about 400 KiB of code, each run once. The start of a large
 * program looks like this: much code, little repetition, page faults on the file.
 */
#include "workload.h"

static uint32_t word[64];

#define F(n)                                                          \
	static __attribute__((noinline)) uint32_t big_##n(uint32_t x) \
	{                                                             \
		x = x * (2u * 0x##n + 1) + (x >> (0x##n % 13 + 3));   \
		if (x & (1u << 0x##n % 31))                           \
			x ^= word[(x + 0x##n) & 63]++;                \
		else                                                  \
			x += word[0x##n & 63] ^ 0x##n * 77u;          \
		for (uint32_t i = 0; i != (0x##n & 3); i++)           \
			x = (x << (0x##n % 7 + 1)) ^ (x >> 11) ^ i;   \
		return x;                                             \
	}
#define NAME(n) big_##n,
#define HEX1(M, n)                                                                                              \
	M(n##0)                                                                                                 \
	M(n##1)                                                                                                 \
	M(n##2) M(n##3) M(n##4) M(n##5) M(n##6) M(n##7) M(n##8) M(n##9) M(n##a) M(n##b) M(n##c) M(n##d) M(n##e) \
		M(n##f)
#define HEX2(M, n)                                                                                        \
	HEX1(M, n##0)                                                                                     \
	HEX1(M, n##1)                                                                                     \
	HEX1(M, n##2) HEX1(M, n##3) HEX1(M, n##4) HEX1(M, n##5) HEX1(M, n##6) HEX1(M, n##7) HEX1(M, n##8) \
		HEX1(M, n##9) HEX1(M, n##a) HEX1(M, n##b) HEX1(M, n##c) HEX1(M, n##d) HEX1(M, n##e) HEX1(M, n##f)
#define HEX3(M)                                                                                                       \
	HEX2(M, 0)                                                                                                    \
	HEX2(M, 1)                                                                                                    \
	HEX2(M, 2) HEX2(M, 3) HEX2(M, 4) HEX2(M, 5) HEX2(M, 6) HEX2(M, 7) HEX2(M, 8) HEX2(M, 9) HEX2(M, a) HEX2(M, b) \
		HEX2(M, c) HEX2(M, d) HEX2(M, e) HEX2(M, f)

HEX3(F)
static uint32_t (*const function[])(uint32_t) = {HEX3(NAME)};

uint32_t wl_big_program(void)
{
	uint32_t x = 1;

	for (unsigned i = 0; i < sizeof(function) / sizeof(function[0]); i++)
		x = function[i](x);
	return x;
}
