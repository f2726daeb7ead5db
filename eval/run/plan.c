// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What runs when.
 *
 * A block has every workload once on every path and natively twice. One boot for each workload would pair best, and spend more
 * time in boots than in work; one boot for all workloads of a block puts minutes between a workload and its native twin, in
 * which a shared host changes. So the block's workloads, shuffled, are cut into hands of spec.together. A hand is booted once on each
 * path, and with it go the two native passes and the one with the injected slowdown.
 *
 * Native passes are cheap, and everything is compared with them, so each comes twice: in shuffled order, and behind that in the
 * same order backwards (A I B ... B I A). The middle of each pass is then the middle of the hand, and what changes steadily
 * while a hand is played - a neighbour who comes or goes, a clock that falls - is in all of them alike. The paths, shuffled, are spread
 * over the gaps. Each item has its own order of the hand's workloads.
 *
 * Slow paths, whose boot alone may take half a minute, get one boot for all workloads in block 0, and a native pass of the same
 * small work beside it.
 *
 * The numbers come from the seed, the block's number and whether it is the pilot's, so that a block of a sweep is the same
 * wherever it runs. (splitmix64: Steele, Lea, Flood 2014; shuffle: Fisher & Yates.)
 */
#include "eval/run/plan.h"

#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "eval/run/machine.h"

static uint64_t next_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void swap_items(struct plan_item *a, struct plan_item *b)
{
	struct plan_item t = *a;

	*a = *b;
	*b = t;
}

static void shuffle_items(struct plan_item *a, unsigned n, uint64_t *seed)
{
	for (unsigned i = n; i > 1; i--)
		swap_items(&a[i - 1], &a[next_random(seed) % i]);
}

static void shuffle_numbers(unsigned *a, unsigned n, uint64_t *seed)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned j = (unsigned)(next_random(seed) % i), t = a[i - 1];

		a[i - 1] = a[j];
		a[j] = t;
	}
}

static struct plan_item *add_item(struct plan *p, struct plan_item item)
{
	if (p->n == p->allocated) {
		unsigned more = p->allocated ? 2 * p->allocated : 64;
		struct plan_item *grown = realloc(p->item, more * sizeof(*grown));

		if (!grown)
			return NULL;
		p->item = grown;
		p->allocated = more;
	}
	p->item[p->n] = item;
	return &p->item[p->n++];
}

static struct plan_item with(const unsigned *workload, unsigned n, struct plan_item item)
{
	memcpy(item.workload, workload, n * sizeof(*workload));
	item.nworkloads = n;
	return item;
}

/* One half of the hand's native passes: two for each number of processors, and the slower one. */
static unsigned native_passes(const struct eval_spec *s, struct plan_item like, struct plan_item *out)
{
	bool want[65] = {[1] = true}; /* inject is compared with one processor */
	unsigned n = 0;

	for (unsigned i = 0; i < s->npaths; i++)
		want[s->path[i].cpus] |= !s->path[i].row->slow && !s->path[i].row->boot_only;
	like.path = -1;
	like.cpus = 1;
	like.pass = PLAN_PASS_INJECT;
	if (s->inject > 0)
		out[n++] = like;
	for (unsigned cpus = 1; cpus < ARRAY_LEN(want); cpus++)
		for (unsigned k = 0; k < 2 && want[cpus]; k++) {
			like.cpus = cpus;
			like.pass = k ? PLAN_PASS_1 : PLAN_PASS_0;
			out[n++] = like;
		}
	return n;
}

static unsigned hand_paths(const struct eval_spec *s, struct plan_item like, struct plan_item *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->npaths; i++) {
		if (s->path[i].row->slow || s->path[i].row->boot_only)
			continue;
		if (s->path[i].row->peer == PEER_QEMU && s->peer_blocks && like.block >= s->peer_blocks)
			continue;
		like.path = (int)i;
		like.cpus = s->path[i].cpus;
		out[n++] = like;
	}
	return n;
}

/* There and back through the native passes, the paths between them. */
static bool add_hand(struct plan *p, const struct eval_spec *s, struct plan_item like, const unsigned *hand, unsigned n,
		     uint64_t *seed)
{
	struct plan_item *native = calloc(2 * SPEC_MAX_PATHS + 3 + SPEC_MAX_PATHS, sizeof(*native)), *path;
	unsigned nnative, npaths, next = 0;
	bool fine = native != NULL;

	if (!fine)
		return false;
	like = with(hand, n, like);
	nnative = native_passes(s, like, native);
	path = native + nnative;
	npaths = hand_paths(s, like, path);
	shuffle_items(native, nnative, seed);
	shuffle_items(path, npaths, seed);
	for (unsigned i = 0; i < 2 * nnative && fine; i++) {
		fine = add_item(p, native[i < nnative ? i : 2 * nnative - 1 - i]) != NULL;
		/* the paths' middles on the gaps between the passes: a single path stands in the middle of the hand */
		for (; fine && next < npaths && (2 * next + 1) * (2 * nnative - 1) < 2 * (i + 1) * npaths; next++)
			fine = add_item(p, path[next]) != NULL;
	}
	free(native);
	return fine;
}

/* What a block has once, whatever the hands: boots without work, and slow paths in the first. */
static bool add_singles(struct plan *p, const struct eval_spec *s, struct plan_item like, const unsigned *all)
{
	bool fine = true;

	for (unsigned i = 0; i < s->npaths && fine; i++) {
		like.path = (int)i;
		like.cpus = s->path[i].cpus;
		like.slow = s->path[i].row->slow;
		if (s->path[i].row->boot_only)
			fine = add_item(p, like);
		if (!like.slow || like.block || like.pilot || !fine || !s->nworkloads)
			continue;
		fine = add_item(p, with(all, s->nworkloads, like));
		like.path = -1;
		like.pass = PLAN_PASS_SLOW;
		fine = fine && add_item(p, with(all, s->nworkloads, like));
		like.pass = PLAN_PASS_NONE;
	}
	return fine;
}

/* The machine micro-suite natively and on each path that it knows. */
static bool add_machine(struct plan *p, const struct eval_spec *s, struct plan_item like)
{
	bool fine = true;

	like.machine = true;
	like.path = -1;
	fine = add_item(p, like);
	for (unsigned i = 0; i < s->npaths && fine; i++) {
		like.path = (int)i;
		if (s->path[i].cpus == 1 && machine_path_find(s->path[i].row->name))
			fine = add_item(p, like);
	}
	return fine;
}

static bool add_block(struct plan *p, const struct eval_spec *s, bool pilot, unsigned block)
{
	uint64_t seed = s->seed ^ (uint64_t)block << 32 ^ (pilot ? 0x70696c6f74ull : 0);
	struct plan_item like = {.block = block, .path = -1, .cpus = 1, .pilot = pilot};
	unsigned order[SPEC_MAX_WORKLOADS], from = p->n;
	bool singles_first;

	next_random(&seed);
	for (unsigned i = 0; i < s->nworkloads; i++)
		order[i] = i;
	shuffle_numbers(order, s->nworkloads, &seed);
	singles_first = next_random(&seed) & 1;
	if (singles_first && !add_singles(p, s, like, order))
		return false;
	for (unsigned at = 0; at < s->nworkloads; at += s->together) {
		unsigned n = s->nworkloads - at < s->together ? s->nworkloads - at : s->together;

		if (!add_hand(p, s, like, order + at, n, &seed))
			return false;
	}
	if (!singles_first && !add_singles(p, s, like, order))
		return false;
	if (!pilot && block < s->machine) {
		unsigned first = p->n;

		if (!add_machine(p, s, like))
			return false;
		shuffle_items(p->item + first, p->n - first, &seed);
	}
	for (unsigned i = from; i < p->n; i++) {
		p->item[i].order = i;
		shuffle_numbers(p->item[i].workload, p->item[i].nworkloads, &seed);
	}
	return true;
}

bool plan_add_blocks(struct plan *p, const struct eval_spec *s, bool pilot, unsigned first, unsigned n)
{
	for (unsigned b = first; b < first + n; b++)
		if (!add_block(p, s, pilot, b))
			return false;
	return true;
}

bool plan_add_reference(struct plan *p, const struct eval_spec *s)
{
	struct plan_item item = {.order = p->n, .path = -1, .pass = PLAN_PASS_REFERENCE, .cpus = 1, .pilot = true};

	for (unsigned i = 0; i < s->npaths; i++)
		item.slow |= s->path[i].row->slow;
	for (unsigned i = 0; i < s->nworkloads; i++)
		item.workload[i] = i;
	item.nworkloads = s->nworkloads;
	return add_item(p, item) != NULL;
}

void plan_free(struct plan *p)
{
	free(p->item);
	*p = (struct plan){0};
}

const char *plan_pass_name(enum plan_pass pass)
{
	static const char *const name[] = {NULL, "0", "1", "slow", "inject", "reference"};

	return (unsigned)pass < ARRAY_LEN(name) ? name[pass] : NULL;
}
