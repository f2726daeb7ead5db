/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine micro-suite, seen by the runner: items of eval/workloads/machine/machine.def on one path, a cost each. The image (or
 * its native twin) is a child process; where it dies or falls silent, the item that it was at has no figure but a reason, and a new
 * child goes on behind it. Single thread.
 */
#ifndef STEELYARD_EVAL_MACHINE_H
#define STEELYARD_EVAL_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#define MACHINE_VALUES 64

struct machine_row {
	const char *name, *family, *native, *what; /* as in machine.def; native NULL: not in ring 3 */
};
/* NULL past the last, or when there is none of this name. */
const struct machine_row *machine_row_at(unsigned i);
const struct machine_row *machine_row_find(const char *name);

struct machine_path {
	const char *name, *what;
};
const struct machine_path *machine_path_at(unsigned i);
const struct machine_path *machine_path_find(const char *name);

/* What one operation costs, in ns of the host's time: percentiles of batches. */
struct machine_cost {
	const struct machine_row *row;
	bool ok;
	char why[240];     /* when not ok: one line */
	uint64_t n, batch; /* batches timed, and operations in each */
	double min, p50, p95, p99, mean;
	double cpu_mean;          /* CPU time of the whole process in ns, for one operation; 0: unknown */
	double guest_ns, host_ns; /* the batches together, by the TSC inside and by the host's clock outside */
	char note[160];           /* how the path had to be started, or empty */
	bool clock_differs;       /* these two by more than 0.5 % and 2 ms */
	unsigned nvalues;         /* batches, evenly taken, in the order in which they ran */
	double values[MACHINE_VALUES];
};

struct machine_request {
	const char *self;         /* this program */
	const char *images;       /* folder of machine.elf and machine-native */
	double budget_ms;         /* time for an item's batches; > 0 */
	const char *const *items; /* names, of machine.def; NULL: all */
	unsigned nitems;
	/* Called for each item, in the table's order within one child, as soon as it is known. May be NULL. */
	void (*done)(void *ctx, const struct machine_path *path, const struct machine_cost *cost);
	void *ctx;
};

/* cost[i] is for row i of the table; row NULL where the item was not asked for. ncost >= the table's rows. */
void machine_run(const struct machine_path *path, const struct machine_request *rq, struct machine_cost *cost);
#define MACHINE_ROWS_MAX 64

/* The verb `eval machine`. */
int machine_main(int argc, char **argv);

#endif
