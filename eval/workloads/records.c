/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What business code does all day: records with strings, small procedures, comparisons, linked lists. */
#include "workload.h"

enum kind { KIND_A, KIND_B, KIND_C };
struct record {
	struct record *next;
	enum kind kind;
	int32_t count, total;
	char name[32];
};
static struct record pool[64];

static __attribute__((noinline)) int same_name(const char *a, const char *b)
{
	for (unsigned i = 0; i < 32; i++) {
		if (a[i] != b[i])
			return 0;
		if (!a[i])
			break;
	}
	return 1;
}

static __attribute__((noinline)) enum kind next_kind(enum kind k, int32_t count)
{
	switch (k) {
	case KIND_A:
		return count > 100 ? KIND_B : KIND_C;
	case KIND_B:
		return KIND_A;
	default:
		return count & 1 ? KIND_A : KIND_B;
	}
}

static __attribute__((noinline)) void update(struct record *r, const struct record *from, int32_t by)
{
	struct record tmp = *r;

	tmp.count += by;
	tmp.total = (tmp.total * 3 + from->count) / 2 % 10007;
	tmp.kind = next_kind(from->kind, tmp.count);
	*r = tmp;
}

uint64_t wl_records(uint64_t scale)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < 64; i++) {
		const char *base = "RECORD IN THE LIST, NUMBER ";
		unsigned l = 0;

		pool[i] = (struct record){.next = &pool[(i * 13 + 1) % 64], .kind = i % 3, .count = (int32_t)i};
		for (; base[l]; l++)
			pool[i].name[l] = base[l];
		pool[i].name[l] = (char)('A' + i % 16);
	}
	for (uint64_t rep = 0; rep < 14000 * scale; rep++) {
		struct record *r = &pool[rep % 64];

		for (unsigned i = 0; i < 8; i++) {
			if (same_name(r->name, r->next->name))
				update(r, r->next, 1);
			else
				update(r->next, r, -(int32_t)(i & 1));
			r = r->next;
		}
		sum = wl_mix(sum, (uint64_t)(uint32_t)r->total << 32 | (uint32_t)r->count);
	}
	return sum;
}
