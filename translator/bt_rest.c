// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A machine that rests gives the translator's memory back.
 *
 * A boot leaves some 150 MB of code, records and windows behind, of which a machine that then waits for its users needs
 * next to nothing. When a vCPU halts, and over the last BT_REST_NS this process has used less than one part in
 * BT_REST_SHARE of a processor, and the code cache holds more than BT_REST_KEEP, everything is forgotten, the host gets
 * the memory back, and what runs on is translated again. Making BT_REST_KEEP of code takes several times the CPU time that a
 * machine at rest may use, so this cannot happen again and again: a machine that has to translate that much does not rest.
 */
#include <time.h>

#include "translator/bt_int.h"

#define BT_REST_NS 10000000000ull
#define BT_REST_SHARE 20
#define BT_REST_KEEP (8u << 20)

static uint64_t read_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bt_rest(struct vcpu *v)
{
	struct bt_cpu *cpu = bt_cpu(v);
	uint64_t now, used;
	bool rests;

	/* Where guest time does not pass by itself, nothing may depend on the host's. */
	if (v->vm->cfg.virtual_time || cpu->bt->single)
		return;
	now = read_ns(CLOCK_MONOTONIC);
	if (now - cpu->rest_since_ns < BT_REST_NS)
		return;
	used = read_ns(CLOCK_PROCESS_CPUTIME_ID);
	rests = cpu->rest_since_ns && (used - cpu->rest_used_ns) * BT_REST_SHARE < now - cpu->rest_since_ns;
	cpu->rest_since_ns = now;
	cpu->rest_used_ns = used;
	if (rests && bt_cache_used(cpu->bt) > BT_REST_KEEP)
		bt_flush_cache(v);
}
