// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What more processors give: the same fixed work with one and with several, in the same block. Wall time is what a second
 * processor is for, and on a host whose CPUs have other work too it is the first to suffer: the host's own figure for the same
 * binary, kept to as many of its CPUs, stands beside it as the bound. CPU time says what the processors of a machine cost each
 * other - locks, shoot-downs, looking for the end of a wait - and hardly depends on who else runs.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "eval/quick.h"

#define COLUMN 21

static const struct eval_sample *sample_of(const struct eval *ev, int k, unsigned b, unsigned w, bool many)
{
	return k < 0 ? &ev->native[b][many].w[w] : &ev->path_run[b][2 * k + many].w[w];
}

/* Another amount of work than native's has another checksum. */
static bool same_work(const struct eval *ev, int k)
{
	return k < 0 || !ev->path[2 * k]->slow || ev->slow_scale == ev->scale;
}

static bool differs(const struct eval *ev, int k, unsigned b, unsigned w, bool many)
{
	const struct eval_sample *s = sample_of(ev, k, b, w, many), *one = sample_of(ev, k, b, w, false),
				 *native = sample_of(ev, -1, b, w, false);

	if (!s->ok)
		return false;
	return (one->ok && strcmp(s->checksum, one->checksum)) ||
	       (native->ok && same_work(ev, k) && strcmp(s->checksum, native->checksum));
}

struct stats_ratio scaling_ratio(const struct eval *ev, int k, unsigned w, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++) {
		const struct eval_sample *one = sample_of(ev, k, b, w, false), *many = sample_of(ev, k, b, w, true);

		if (!one->timed || !many->timed || differs(ev, k, b, w, false) || differs(ev, k, b, w, true))
			continue;
		logs[n++] = m == METRIC_CPU ? log((double)one->cpu_ns / (double)many->cpu_ns)
					    : log((double)one->wall_ns / (double)many->wall_ns);
	}
	return stats_ratio(logs, n);
}

bool scaling_differs(const struct eval *ev, int k, unsigned w)
{
	for (unsigned b = 0; b < ev->nblocks; b++)
		if (differs(ev, k, b, w, false) || differs(ev, k, b, w, true))
			return true;
	return false;
}

static void print_cell(const struct eval *ev, int k, unsigned w, enum metric m)
{
	struct stats_ratio r = scaling_ratio(ev, k, w, m);
	char text[64];

	if (scaling_differs(ev, k, w))
		snprintf(text, sizeof(text), "checksum differs");
	else if (!r.n)
		snprintf(text, sizeof(text), "-");
	else if (r.n == 1)
		snprintf(text, sizeof(text), "%.2f", r.ratio);
	else
		snprintf(text, sizeof(text), "%.2f [%.2f, %.2f]", r.ratio, r.lo, r.hi);
	printf(" %-*s", COLUMN, text);
}

/* Geometric mean of the milliseconds that path k took with one processor. */
static double alone_ms(const struct eval *ev, int k, unsigned w)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		if (sample_of(ev, k, b, w, false)->timed)
			logs[n++] = log((double)sample_of(ev, k, b, w, false)->wall_ns);
	return stats_ratio(logs, n).ratio * 1e-6;
}

static const char *name_of(const struct eval *ev, int k)
{
	return k < 0 ? "native" : ev->path[2 * k]->name;
}

static void print_metric(const struct eval *ev, enum metric m)
{
	int npaths = (int)ev->npaths / 2;

	printf("%-11s", "workload");
	for (int k = -1; k < npaths; k++)
		printf(" %-*s", COLUMN, name_of(ev, k));
	for (unsigned w = 0; w < ev->nworkloads; w++) {
		printf("\n%-11s", ev->workload[w]);
		for (int k = -1; k < npaths; k++)
			print_cell(ev, k, w, m);
	}
	printf("\n");
}

void scaling_table(const struct eval *ev)
{
	int npaths = (int)ev->npaths / 2;

	printf("\nSteelyard, eval %s: %u block%s, work %u %%, guest memory %u MiB, seed %llu, load %.1f before and "
	       "%.1f "
	       "after\n",
	       ev->suite->name, ev->nblocks, ev->nblocks == 1 ? "" : "s", ev->scale, ev->memory_mb,
	       (unsigned long long)ev->seed, ev->load_before, ev->load_after);
	printf("\nHow many times faster with %u processors: wall time with 1 over wall time with %u (95 %% interval)\n",
	       ev->cpus, ev->cpus);
	print_metric(ev, METRIC_WALL);
	printf("\nThe same of CPU time: below 1 the work costs more\n");
	print_metric(ev, METRIC_CPU);
	printf("\nMilliseconds with 1\n%-11s", "workload");
	for (int k = -1; k < npaths; k++)
		printf(" %12s", name_of(ev, k));
	for (unsigned w = 0; w < ev->nworkloads; w++) {
		printf("\n%-11s", ev->workload[w]);
		for (int k = -1; k < npaths; k++)
			printf(" %12.1f", alone_ms(ev, k, w));
	}
	printf("\n\nnative is the same binary on the host, kept to 1 and to %u of its %ld CPUs.\n", ev->cpus,
	       sysconf(_SC_NPROCESSORS_ONLN));
	if (analysis_untimed(ev))
		printf("%u samples have no time: both markers had waited for a busy host.\n", analysis_untimed(ev));
	for (unsigned p = 0; p < ev->npaths; p++)
		if (analysis_path_failure(ev, p))
			printf("%s with %u: %s\n", ev->path[p]->name, ev->path_cpus[p], analysis_path_failure(ev, p));
}
