// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What more processors give: the same fixed work with one and with several, in the same block. Wall time is what a second
 * processor is for, and on a host whose CPUs have other work too it is the first to suffer: the host's own figure for the same
 * binary, kept to as many of its CPUs, stands beside it as the bound. CPU time says what the processors of a machine cost each
 * other - locks, shoot-downs, looking for the end of a wait - and hardly depends on who else runs.
 */
#include "eval/report/scaling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN 21
#define MAX_CPUS 64

/* The mean logarithm of the steady executions of one block; false: there is none that is valid and timed. */
static bool block_mean(const struct results *r, const char *path, unsigned cpus, unsigned workload, unsigned block,
		       enum results_metric m, double *mean)
{
	unsigned n = 0;

	*mean = 0;
	for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++) {
		const struct results_sample *s = &r->sample[r->by_workload[i]];
		const char *name = s->path == RESULTS_NATIVE ? "native" : r->path[s->path].name;

		if (s->block != block || s->cpus != cpus || s->phase != PHASE_STEADY || s->pilot || !s->timed ||
		    !s->valid || (s->pass != PASS_PATH && s->pass != PASS_0) || strcmp(name, path))
			continue;
		*mean += log(m == METRIC_CPU ? s->cpu_ns : s->wall_ns);
		n++;
	}
	*mean /= n ? n : 1;
	return n > 0;
}

struct stats_ratio scaling_ratio(const struct results *r, const char *path, unsigned cpus, unsigned workload,
				 enum results_metric m)
{
	double *logs = calloc(r->nblocks + 1, sizeof(*logs)), one, many;
	struct stats_ratio ratio = {0};
	unsigned n = 0;

	for (unsigned b = 0; logs && b < r->nblocks; b++)
		if (block_mean(r, path, 1, workload, b, m, &one) && block_mean(r, path, cpus, workload, b, m, &many))
			logs[n++] = one - many;
	if (logs)
		ratio = stats_ratio(logs, n);
	free(logs);
	return ratio;
}

static void cell(FILE *f, const struct stats_ratio *r)
{
	char text[64];

	if (!r->n)
		snprintf(text, sizeof(text), "-");
	else if (r->n == 1)
		snprintf(text, sizeof(text), "%.2f", r->ratio);
	else
		snprintf(text, sizeof(text), "%.2f [%.2f, %.2f]", r->ratio, r->lo, r->hi);
	fprintf(f, " %-*s", COLUMN, text);
}

/* Has the path of index p its twin with one processor? */
static bool has_one(const struct results *r, unsigned p)
{
	return results_find_path(r, r->path[p].name, 1) >= 0;
}

static void table(FILE *f, const struct results *r, unsigned cpus, enum results_metric m)
{
	fprintf(f, "%-11s %-*s", "workload", COLUMN, "native");
	for (unsigned p = 0; p < r->npaths; p++)
		if (r->path[p].cpus == cpus && has_one(r, p))
			fprintf(f, " %-*s", COLUMN, r->path[p].name);
	fputc('\n', f);
	for (unsigned w = 0; w < r->nworkloads; w++) {
		struct stats_ratio ratio = scaling_ratio(r, "native", cpus, w, m);

		fprintf(f, "%-11s", r->workload[w].name);
		cell(f, &ratio);
		for (unsigned p = 0; p < r->npaths; p++) {
			if (r->path[p].cpus != cpus || !has_one(r, p))
				continue;
			ratio = scaling_ratio(r, r->path[p].name, cpus, w, m);
			cell(f, &ratio);
		}
		fputc('\n', f);
	}
}

void scaling_text(FILE *f, const struct results *r)
{
	for (unsigned cpus = 2; cpus <= MAX_CPUS; cpus++) {
		bool any = false;

		for (unsigned p = 0; p < r->npaths; p++)
			any |= r->path[p].cpus == cpus && has_one(r, p);
		if (!any)
			continue;
		fprintf(f,
			"\nHow many times faster with %u processors: wall time with 1 over wall time with %u (95 %% "
			"interval)\n",
			cpus, cpus);
		table(f, r, cpus, METRIC_WALL);
		fprintf(f, "\nThe same of CPU time: below 1 the work costs more\n");
		table(f, r, cpus, METRIC_CPU);
	}
}
