/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of everything: a list of items, each one boot of a path or one native pass. Private to eval/.
 * The same spec, seed and number of blocks give the same plan: resume and the tasks of a sweep make it again.
 */
#ifndef STEELYARD_EVAL_PLAN_H
#define STEELYARD_EVAL_PLAN_H

#include "eval/run/spec.h"

enum plan_pass { PLAN_PASS_NONE, PLAN_PASS_0, PLAN_PASS_1, PLAN_PASS_SLOW, PLAN_PASS_INJECT, PLAN_PASS_REFERENCE };

struct plan_item {
	unsigned order, block;
	int path; /* index into the spec's; -1: native */
	enum plan_pass pass;
	unsigned cpus;
	bool slow;    /* the slow scale */
	bool pilot;   /* has no say in ratios */
	bool machine; /* the machine micro-suite: no workloads */
	unsigned workload[SPEC_MAX_WORKLOADS], nworkloads;
};
struct plan {
	struct plan_item *item; /* owned */
	unsigned n, allocated;
};

/* Blocks first..first + n - 1 behind what is there, with numbers of order from the last one on. The pilot's are others than the
 * run's. false: out of memory. */
bool plan_add_blocks(struct plan *p, const struct eval_spec *s, bool pilot, unsigned first, unsigned n);
/* The native pass that says which checksums are right: the first item of a run. */
bool plan_add_reference(struct plan *p, const struct eval_spec *s);
void plan_free(struct plan *p);
/* "0", "slow", ...; NULL for PLAN_PASS_NONE. */
const char *plan_pass_name(enum plan_pass pass);

#endif
