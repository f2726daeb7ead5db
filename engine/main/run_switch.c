/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers of the machine's clock that ask for another path: at given times, or again and again at random ones. The random
 * mode is for tests: what a guest computes must not depend on when and how often it changes paths.
 */
#include "engine/main/run_switch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/main/verbs.h"

#define NS_PER_SEC 1e9
#define NS_PER_MS 1e6
#define MAX_SECONDS 1e9

bool run_path_named(const char *name, size_t len, enum path_id *out)
{
	for (unsigned i = 0; i < PATH_COUNT; i++) {
		if (!exec_paths[i] || strlen(exec_paths[i]->name) != len || memcmp(exec_paths[i]->name, name, len) != 0)
			continue;
		*out = (enum path_id)i;
		return true;
	}
	return false;
}

int run_switch_after(struct run_switch *r, const char *arg)
{
	char *end;
	double s = strtod(arg, &end);
	struct run_switch_at *at = &r->after[r->nafter];

	if (r->nafter == RUN_SWITCH_MAX)
		return verb_usage("--switch-after %s: %d of them are the most", arg, RUN_SWITCH_MAX);
	if (end == arg || *end != ':' || !isfinite(s) || s < 0 || s > MAX_SECONDS ||
	    !run_path_named(end + 1, strlen(end + 1), &at->path))
		return verb_usage("--switch-after %s: give seconds and a path, such as 1.5:interp", arg);
	at->at_ns = (uint64_t)(s * NS_PER_SEC);
	r->nafter++;
	return EXIT_OK;
}

int run_switch_every(struct run_switch *r, const char *arg)
{
	char *end;
	double ms = strtod(arg, &end);
	bool ok = end != arg && *end == ':' && ms >= 0.01 && ms <= 1e6;

	r->nlist = 0;
	r->random = 1;
	while (ok && (*end == ':' || *end == ',')) {
		const char *name = end + 1;
		size_t len = strcspn(name, ",:");

		if (*end == ':' && r->nlist) {
			r->random = strtoull(name, &end, 0);
			ok = end != name && r->random;
			break;
		}
		ok = r->nlist < ARRAY_LEN(r->list) && run_path_named(name, len, &r->list[r->nlist]);
		r->nlist++;
		end = (char *)name + len;
	}
	if (!ok || *end)
		return verb_usage("--switch-every %s: give milliseconds, paths, and perhaps a seed above 0, "
				  "such as 20:bt,interp:7",
				  arg);
	r->every_ns = (uint64_t)(ms * NS_PER_MS);
	return EXIT_OK;
}

static void after_fire(void *ctx)
{
	struct run_switch_at *at = ctx;
	struct error e = {0};

	if (vm_switch_path(at->all->vm, -1, at->path, "--switch-after", &e) == ST_OK)
		return;
	at->all->failed++;
	fprintf(stderr, "steelyard: --switch-after: %s\n", e.msg);
}

/* xorshift64: Marsaglia, "Xorshift RNGs", 2003 */
static uint64_t next_random(struct run_switch *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random;
}

static void every_fire(void *ctx)
{
	struct run_switch *r = ctx;
	enum path_id to = r->list[next_random(r) % r->nlist];
	unsigned who = (unsigned)(next_random(r) % (r->vm->ncpus + 1));
	struct error e = {0};

	if (vm_switch_path(r->vm, who == r->vm->ncpus ? -1 : (int)who, to, "--switch-every", &e) != ST_OK) {
		if (!r->failed++)
			fprintf(stderr, "steelyard: --switch-every: %s\n", e.msg);
	}
	timer_arm(&r->timer, clock_ns(&r->vm->clock) + 1 + next_random(r) % (2 * r->every_ns));
}

void run_switch_begin(struct run_switch *r, struct vm *vm)
{
	r->vm = vm;
	for (unsigned i = 0; i < r->nafter; i++) {
		r->after[i].all = r;
		timer_init(&r->after[i].timer, &vm->clock, after_fire, &r->after[i]);
		timer_arm(&r->after[i].timer, r->after[i].at_ns);
	}
	timer_init(&r->timer, &vm->clock, every_fire, r);
	if (r->every_ns)
		timer_arm(&r->timer, r->every_ns);
}

void run_switch_end(struct run_switch *r)
{
	for (unsigned i = 0; i < r->nafter; i++)
		timer_cancel(&r->after[i].timer);
	timer_cancel(&r->timer);
}
