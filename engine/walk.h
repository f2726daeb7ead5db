/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A page walk for people: what translates a linear address, entry by entry, and what is behind it (SDM 3A chapter 4). Nothing is
 * changed: no accessed flag, no TLB. For the walk that guests run on, see translator/mmu.h.
 *
 * Threads: any, while the vCPU is outside guest code.
 */
#ifndef STEELYARD_WALK_H
#define STEELYARD_WALK_H

#include <jansson.h>

#include "engine/vm.h"

#define WALK_LEVELS 5

struct walk_step {
	const char *name; /* "PML4E", ... */
	uint64_t at;      /* guest-physical address of the entry */
	unsigned index;
	uint64_t value;
	bool memory;         /* the entry is in RAM or ROM; else value is all ones */
	uint64_t maps_bytes; /* what one entry of this level covers */
	bool leaf;
};

struct walk {
	const char *mode; /* "4-level", "PAE", "32-bit", "off" */
	uint64_t linear, cr3;
	struct walk_step step[WALK_LEVELS];
	unsigned n;
	bool mapped;
	const char *why; /* when not */
	uint64_t physical, page_bytes;
	bool user, write, execute; /* what the entries together allow; CR0.WP, SMEP and SMAP aside */
	const char *memory;        /* "RAM", "ROM", "nothing", or the device's name */
};

void walk_page(const struct vcpu *v, uint64_t linear, struct walk *w);
/* The walk as docs/explain.md describes it; the caller's reference. */
json_t *walk_json(const struct walk *w, unsigned vcpu);

#endif
