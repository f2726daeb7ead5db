/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recursive Fibonacci: calls, returns and the stack. */
#include "workload.h"

static __attribute__((noinline)) uint32_t fib(uint32_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

uint64_t wl_fib(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 160 * scale; rep++)
		sum = wl_mix(sum, fib(18 + (uint32_t)(rep & 3)));
	return sum;
}
