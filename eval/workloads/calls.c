/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls through function pointers, the target drawn from data: what object-oriented code does. */
#include "workload.h"

typedef uint32_t step_fn(uint32_t x);

#define STEP(name, expr)                                           \
	static __attribute__((noinline)) uint32_t name(uint32_t x) \
	{                                                          \
		return expr;                                       \
	}
STEP(step0, x + 0x1234567)
STEP(step1, x * 33 + 1)
STEP(step2, x ^ x >> 13)
STEP(step3, x << 7 | x >> 25)
STEP(step4, x - (x >> 3))
STEP(step5, ~x)
STEP(step6, x * 5)
STEP(step7, (x & 0xffff) * 40503u + (x >> 16))

static step_fn *const volatile table[8] = {step0, step1, step2, step3, step4, step5, step6, step7};

uint64_t wl_calls(uint64_t scale)
{
	uint64_t seed = 3, sum = 0;
	uint8_t which[1024];

	for (unsigned i = 0; i < sizeof(which); i++)
		which[i] = (uint8_t)(wl_random(&seed) >> 60) & 7;
	for (uint64_t rep = 0; rep < 380 * scale; rep++) {
		uint32_t x = (uint32_t)rep;

		for (unsigned i = 0; i < sizeof(which); i++)
			x = table[which[i]](x);
		sum = wl_mix(sum, x);
	}
	return sum;
}
