/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is to be measured: workloads, paths, blocks, and how. Built-in specs are rows of eval/suites.c; a file in JSON
 * (eval/run/spec_file.c) begins with one of them; options change either. Private to eval/. Plain data, single thread.
 */
#ifndef STEELYARD_EVAL_SPEC_H
#define STEELYARD_EVAL_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "eval/schema.h"
#include "eval/suites.h"

#define SPEC_MAX_WORKLOADS 128
#define SPEC_MAX_PATHS 16
#define SPEC_MAX_BLOCKS SCHEMA_BLOCKS_MAX

struct eval_spec {
	char name[40];
	struct spec_workload {
		const char *name; /* of the table in suites.c */
		const struct eval_group *group;
		unsigned scale, slow_scale;
		unsigned iterations; /* in one machine, where it is more than the spec's; else 0 */
	} workload[SPEC_MAX_WORKLOADS];
	unsigned nworkloads;
	struct spec_path {
		const struct eval_path *row;
		unsigned cpus;
	} path[SPEC_MAX_PATHS];
	unsigned npaths;
	unsigned blocks, blocks_max, pilot_blocks, together, iterations, memory_mb, machine;
	unsigned peer_blocks, peer_iterations; /* 0: as the others */
	double target, inject;                 /* percent */
	uint64_t seed;
	struct spec_quiet {
		double max_load, max_steal; /* CPUs, percent */
		unsigned wait_s;
	} quiet;
	/* Not in the file: what the last --scale, --slow-scale and --cpus said, for workloads and paths yet to come. */
	unsigned scale, slow_scale, cpus;
};

/* All return false with one line in text. */
bool spec_builtin(const struct eval_suite *s, struct eval_spec *spec, char *text, size_t n);
bool spec_read(const char *file, struct eval_spec *spec, char *text, size_t n);
/* The same from an object: a spec file's, or that of a run record. */
bool spec_from_json(json_t *obj, struct eval_spec *spec, char *text, size_t n);
/* Lists with commas, as options have them. A path may be NAME or NAME:CPUS. */
bool spec_workloads(struct eval_spec *spec, const char *list, char *text, size_t n);
/* More executions of those workloads of the list that are in the spec: their warm-up can be classed. */
bool spec_series(struct eval_spec *spec, const char *list, unsigned iterations, char *text, size_t n);
bool spec_groups(struct eval_spec *spec, const char *list, char *text, size_t n);
bool spec_paths(struct eval_spec *spec, const char *list, char *text, size_t n);
/* One of the numbers of the table in spec.c by the name that it has in files; options have - for _. */
bool spec_set(struct eval_spec *spec, const char *key, double value, char *text, size_t n);
/* Row i of that table for usage and tests; false past the last. whole: no fractions. */
bool spec_number_at(unsigned i, const char **key, const char **what, double *lo, double *hi, bool *whole);
/* Programs of the macro suite: another RAM disk, and another native program. */
bool spec_is_macro(const struct eval_spec *spec);
/* Is the whole of it sound? */
bool spec_check(const struct eval_spec *spec, char *text, size_t n);
/* As in the run record. */
json_t *spec_json(const struct eval_spec *spec);

#endif
