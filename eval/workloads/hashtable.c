/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An open-addressing hash table of 32 768 slots: insert, find, delete. */
#include "workload.h"

#define SLOTS 32768u
struct slot {
	uint64_t key; /* 0: free, 1: deleted */
	uint64_t value;
};
static struct slot table[SLOTS];

static uint32_t slot_of(uint64_t key)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 49);
}

static void insert(uint64_t key, uint64_t value)
{
	uint32_t i = slot_of(key);

	while (table[i].key > 1 && table[i].key != key)
		i = (i + 1) & (SLOTS - 1);
	table[i].key = key;
	table[i].value = value;
}

static struct slot *find(uint64_t key)
{
	for (uint32_t i = slot_of(key);; i = (i + 1) & (SLOTS - 1)) {
		if (table[i].key == key)
			return &table[i];
		if (!table[i].key)
			return NULL;
	}
}

uint64_t wl_hashtable(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t rep = 0; rep < 4 * scale; rep++) {
		uint64_t seed = 1000 + rep, again = seed;
		uint32_t hits = 0;

		for (unsigned i = 0; i < SLOTS; i++)
			table[i].key = 0;
		for (unsigned i = 0; i < 20000; i++)
			insert(wl_random(&seed) | 2, i);
		for (unsigned i = 0; i < 20000; i++) {
			struct slot *s = find(wl_random(&again) | 2);

			if (s && (s->value & 3) == 0)
				s->key = 1;
			hits += s != NULL;
		}
		for (unsigned i = 0; i < 20000; i++) {
			struct slot *s = find(i * 77777ull + 2);

			hits += s != NULL;
		}
		sum = wl_mix(sum, hits);
	}
	return sum;
}
