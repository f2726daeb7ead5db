/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address spaces: page faults of anonymous memory, maps and unmaps. Large pages are refused: every page is to fault. */
#include <stdlib.h>
#include <sys/mman.h>

#include "workload.h"

static uint8_t *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

uint64_t wl_pagefault(uint64_t scale)
{
	const size_t bytes = 1u << 20;
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 5 * scale; rep++) {
		uint8_t *p = map(bytes);

		madvise(p, bytes, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < bytes; i += 4096) {
			sum += p[i]; /* zero, by contract */
			p[i + 8] = (uint8_t)rep;
		}
		sum += p[(rep % 256) * 4096 + 8];
		munmap(p, bytes);
	}
	return wl_mix(sum, scale);
}

uint64_t wl_mmap(uint64_t scale)
{
	const size_t bytes = 16384;
	uint64_t good = 0;

	for (uint64_t rep = 0; rep < 900 * scale; rep++) {
		uint8_t *p = map(bytes);

		good += munmap(p, bytes) == 0;
	}
	return wl_mix(good, scale);
}
