/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A results folder in memory: what eval/schema.c describes, with names turned into numbers. Everything that follows from a
 * run is computed from this and nothing else.
 *
 * Owner: whoever called results_load(), until results_free(). Strings and JSON inside belong to it. Read-only afterwards,
 * from any thread.
 */
#ifndef STEELYARD_EVAL_RESULTS_H
#define STEELYARD_EVAL_RESULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define RESULTS_NATIVE (-1) /* in the place of a path's index */

enum results_phase { PHASE_COLD, PHASE_STEADY, PHASES };
enum results_pass { PASS_PATH, PASS_0, PASS_1, PASS_SLOW, PASS_INJECT, PASS_REFERENCE };
enum results_metric { METRIC_CPU, METRIC_WALL, METRICS };
const char *phase_name(enum results_phase p);
const char *metric_name(enum results_metric m);

/* A path as it was run: the same name with another number of CPUs is another one. */
struct results_path {
	const char *name;
	unsigned cpus;
	char label[48]; /* name, with "xN" where there is more than one CPU */
	bool slow, boot_only;
	const char *why; /* what went wrong with it first, or NULL */
};
struct results_workload {
	const char *name, *group;
};

struct results_sample {
	unsigned seq, block, cpus, workload, scale, iteration, order, repeat;
	int path; /* index, or RESULTS_NATIVE */
	enum results_pass pass;
	enum results_phase phase;
	bool ok, timed, valid;
	bool pilot, unquiet, clock, late; /* pilot: kept and shown, in no ratio */
	double wall_ns, cpu_ns;           /* divided by repeat already */
	double guest_wall_ns;             /* 0: unknown */
	double sys_ns;                    /* of native's cpu_ns: in the kernel; negative: unknown */
	double vcpu_ns, io_ns, other_ns;  /* of cpu_ns; vcpu_ns 0: unknown */
	const char *checksum, *why;       /* or NULL */
	json_t *counters, *exits;         /* or NULL; borrowed; sums over all repetitions */
};
struct results_boot {
	unsigned block, order;
	int path;
	bool ok, pilot;
	const char *why;
	double wall_ns, cpu_ns, ram_kb, over_ram_kb; /* 0: unknown */
	double start_ns, kernel_ns, init_ns;         /* 0: unknown */
	json_t *counters;
};
struct results_cost {
	unsigned block;
	int path;
	const char *item, *unit, *why;
	bool ok;
	unsigned n, batch;
	double p50, p95, p99, min, mean; /* 0: not recorded */
};
struct results_event {
	int path;             /* that it is about, or RESULTS_NATIVE */
	const char *workload; /* or NULL */
	const char *what, *why, *at;
};
struct results_problem {
	unsigned line; /* of results.jsonl, from 1 */
	char text[200];
};

struct results {
	const char *run, *spec, *command, *started, *finished; /* finished: NULL without an end record */
	bool complete;
	uint64_t seed;
	double inject; /* percent; 0: no such pass */
	unsigned blocks, memory_mb;
	json_t *head, *end; /* the run and end records; end may be NULL */
	struct results_path *path;
	struct results_workload *workload;
	const char **group;
	struct results_sample *sample;
	struct results_boot *boot;
	struct results_cost *cost;
	struct results_event *event;
	struct results_problem *problem; /* lines that could not be read, at most RESULTS_MAX_PROBLEMS */
	unsigned npaths, nworkloads, ngroups, nsamples, nboots, ncosts, nevents, nproblems;
	unsigned nparts; /* of a sweep; then the environment and the probe in head are those of its first part */
	unsigned bad_lines, nblocks; /* nblocks: highest block of a record that counts, + 1 */
	json_t **record;             /* every record that was read, kept alive */
	unsigned nrecords;
	unsigned *by_workload,
		*first; /* samples of workload w in file order: by_workload[first[w] .. first[w + 1] - 1] */
};
#define RESULTS_MAX_PROBLEMS 50

/* Reads DIR/results.jsonl, or .zst, or .xz. NULL: text says what is wrong and what to do. Lines that are not records are
 * counted and described, and change nothing else. */
struct results *results_load(const char *dir, char *text, unsigned n);
/* The same from memory; name is for messages. */
struct results *results_parse(const char *data, size_t len, const char *name, char *text, unsigned n);
void results_free(struct results *r);

/* -1: none. */
int results_find_workload(const struct results *r, const char *name);
int results_find_path(const struct results *r, const char *name, unsigned cpus);
/* Names to make means for: the run's groups, then sets of them ("cpu": everything that runs in user mode alone), then "all".
 * NULL past the last. */
const char *results_group_at(const struct results *r, unsigned i);
bool results_in_group(const struct results *r, unsigned workload, const char *group);
/* "native" for RESULTS_NATIVE. */
/* Why a path leaves a workload out that it cannot run on any host; NULL: it does not. */
const char *results_left_out(const struct results *r, int path, unsigned workload);
const char *results_path_label(const struct results *r, int path);

#endif
