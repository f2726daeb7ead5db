/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A chain of cache lines in random order, 2 MiB (128 KiB at small scales): every load waits for the one before. */
#include "workload.h"

#define MAX 32768u
struct node {
	struct node *next;
	uint32_t id;
} __attribute__((aligned(64)));
static struct node node[MAX];
static uint32_t order[MAX];

uint64_t wl_pchase(uint64_t scale)
{
	uint32_t n = scale >= 20 ? MAX : MAX / 16;
	uint64_t seed = 5, sum = 0, steps = 180000 * scale;
	struct node *p = node;

	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(wl_random(&seed) % i), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (uint32_t i = 0; i < n; i++) {
		node[order[i]].next = &node[order[(i + 1) % n]];
		node[order[i]].id = i;
	}
	for (uint64_t i = 0; i < steps; i++) {
		p = p->next;
		if ((i & 0xffff) == 0)
			sum = wl_mix(sum, p->id);
	}
	return wl_mix(sum, p->id);
}
