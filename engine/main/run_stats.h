/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counters of a machine for people and for programs. */
#ifndef STEELYARD_RUN_STATS_H
#define STEELYARD_RUN_STATS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

struct vm;

/* What the program around the machine knows. */
struct run_context {
	const char *path;
	const char *path_why; /* why this one: the reason of `auto`, or that it was asked for */
	const json_t *probe;  /* probe_summary of this host; NULL: not known */
	uint64_t setup_ns; /* making the machine and loading the guest */
	uint64_t wall_ns;  /* running */
};

/* A table. Any thread: counters of running vCPUs may be a little behind. */
void run_stats_print(struct vm *vm, const struct run_context *c, FILE *f);
/* The same as JSON; the caller's reference. Any thread. */
json_t *run_stats_object(struct vm *vm, const struct run_context *c);
/* The counters alone, by name. */
json_t *run_stats_counters(struct vm *vm);
/* One line of JSON, with the end. outcome: enum vm_outcome by name; status: the exit status. */
void run_stats_json(struct vm *vm, const struct run_context *c, const char *outcome, int status, FILE *f);

#endif
