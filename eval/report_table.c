// SPDX-License-Identifier: GPL-2.0-or-later
/* The near-native table for a terminal. CPU time leads: wall time on a shared host measures its neighbours too. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/quick.h"

#define COLUMN 21

static void print_ratio(const struct stats_ratio *r)
{
	char text[64];

	if (!r->n)
		snprintf(text, sizeof(text), "-");
	else if (r->n == 1)
		snprintf(text, sizeof(text), r->ratio < 100 ? "%.2f" : "%.0f", r->ratio);
	else
		snprintf(text, sizeof(text), r->ratio < 100 ? "%.2f [%.2f, %.2f]" : "%.0f [%.0f, %.0f]", r->ratio,
			 r->lo, r->hi);
	printf(" %-*s", COLUMN, text);
}

/* Has path p a column? ratios: in the tables of ratios. */
static bool shown(const struct eval *ev, unsigned p, bool ratios)
{
	return !analysis_path_empty(ev, p) && !(ratios && ev->path[p]->boot_only);
}

static void print_header(const struct eval *ev, const char *first, bool native)
{
	printf("%-11s", first);
	if (native)
		printf(" %9s ", "native");
	for (unsigned p = 0; p < ev->npaths; p++)
		if (shown(ev, p, native))
			printf(" %-*s", COLUMN, ev->path[p]->name);
	printf(" %s\n", native ? "native again" : "");
}

static void print_workload(const struct eval *ev, unsigned w, enum metric m)
{
	struct stats_ratio control = analysis_control(ev, w, m);

	printf("%-11s %6.1f ms ", ev->workload[w], analysis_native_ms(ev, w, m));
	for (unsigned p = 0; p < ev->npaths; p++) {
		struct stats_ratio r = analysis_ratio(ev, p, w, m);

		if (!shown(ev, p, true))
			continue;
		if (analysis_checksum_differs(ev, p, w))
			printf(" %-*s", COLUMN, "checksum differs");
		else
			print_ratio(&r);
	}
	print_ratio(&control);
	printf("\n");
}

static void print_mean(const struct eval *ev, const char *name, const struct eval_group *g, enum metric m)
{
	struct stats_ratio control = analysis_control_suite(ev, g, m);

	printf("%-11s %9s ", name, "");
	for (unsigned p = 0; p < ev->npaths; p++) {
		struct stats_ratio r = analysis_suite(ev, p, g, m);

		if (shown(ev, p, true))
			print_ratio(&r);
	}
	print_ratio(&control);
	printf("\n");
}

static void print_metric(const struct eval *ev, enum metric m)
{
	const struct eval_group *g = NULL, *last = NULL;

	printf("\nRatio to native, %s time (95 %% interval over the blocks)\n", m == METRIC_CPU ? "CPU" : "wall");
	print_header(ev, "workload", true);
	for (unsigned w = 0; w < ev->nworkloads; w++, last = g) {
		g = workload_group(ev->workload[w]);
		if (ev->suite->by_group && g && g != last)
			printf("-- %s\n", g->title);
		print_workload(ev, w, m);
	}
	if (ev->suite->by_group) {
		printf("-- geometric means\n");
		for (unsigned i = 0; (g = group_at(i)); i++)
			if (analysis_group_used(ev, g))
				print_mean(ev, g->name, g, m);
		return;
	}
	print_mean(ev, "geom. mean", NULL, m);
	if (m == METRIC_WALL)
		return;
	printf("%-11s %9s ", "class", "");
	for (unsigned p = 0; p < ev->npaths; p++) {
		struct stats_ratio r = analysis_suite(ev, p, NULL, m);

		if (shown(ev, p, true))
			printf(" %-*s", COLUMN, analysis_class(&r));
	}
	printf("\n");
}

static void print_boot(const struct eval *ev)
{
	static const char *const name[] = {"CPU", "wall"};
	unsigned columns = 0;

	for (unsigned p = 0; p < ev->npaths; p++)
		columns += shown(ev, p, false);
	if (!columns)
		return;
	printf("\nBoot of the Debian kernel to the first line of init, in seconds\n");
	print_header(ev, "", false);
	for (int m = METRIC_CPU; m <= METRIC_WALL; m++) {
		printf("%-11s", name[m]);
		for (unsigned p = 0; p < ev->npaths; p++) {
			struct stats_ratio r = analysis_boot(ev, p, (enum metric)m);

			if (!analysis_path_empty(ev, p))
				print_ratio(&r);
		}
		printf("\n");
	}
	printf("\nResident memory of the process beside the guest's RAM, then, in MiB\n");
	print_header(ev, "", false);
	printf("%-11s", "MiB");
	for (unsigned p = 0; p < ev->npaths; p++) {
		struct stats_ratio r = analysis_memory(ev, p);

		if (shown(ev, p, false))
			print_ratio(&r);
	}
	printf("\n");
}

/* Our translator against QEMU's, when both ran. */
static void print_versus(const struct eval *ev)
{
	unsigned bt = EVAL_MAX_PATHS, tcg = EVAL_MAX_PATHS;
	struct stats_ratio work, boot;

	for (unsigned p = 0; p < ev->npaths; p++) {
		if (!strcmp(ev->path[p]->name, "bt"))
			bt = p;
		if (!strcmp(ev->path[p]->name, "qemu-tcg"))
			tcg = p;
	}
	if (bt == EVAL_MAX_PATHS || tcg == EVAL_MAX_PATHS)
		return;
	boot = analysis_boot_versus(ev, bt, tcg, METRIC_CPU);
	printf("\n");
	for (unsigned i = 0; !i || group_at(i - 1); i++) {
		const struct eval_group *g = i ? group_at(i - 1) : NULL; /* all workloads, then by group */

		if (i && (!ev->suite->by_group || !analysis_group_used(ev, g)))
			continue;
		work = analysis_versus(ev, tcg, bt, g, METRIC_CPU);
		if (work.n)
			printf("%s: qemu-tcg needs %.2f times the CPU time of bt (geometric mean of the workloads, %u "
			       "paired blocks).\n",
			       g ? g->title : "all", work.ratio, work.n);
	}
	if (boot.n)
		printf("bt boots with %.2f times the CPU time of qemu-tcg.\n", boot.ratio);
}

void report_table(const struct eval *ev)
{
	struct stats_ratio control = analysis_control_suite(ev, NULL, METRIC_CPU);
	double resolution = analysis_resolution(ev);
	unsigned clocks = analysis_clock_disagreements(ev);
	bool slow = false;

	printf("\nSteelyard, eval %s: %u block%s, work %u %%, guest memory %u MiB, seed %llu\n", ev->suite->name,
	       ev->nblocks, ev->nblocks == 1 ? "" : "s", ev->scale, ev->memory_mb, (unsigned long long)ev->seed);
	if (!control.n)
		printf("Resolution unknown: no block has a time of every workload in both native runs%s%s.\n",
		       ev->native[0][0].why[0] ? "; " : "", ev->native[0][0].why);
	else if (!resolution)
		printf("Resolution unknown: one block has no interval.\n");
	else
		printf("%s: native against itself gives %.3f [%.3f, %.3f]; differences below %.0f %% mean nothing "
		       "here.\n",
		       resolution > 0.01 ? "RESOLUTION INSUFFICIENT for 1 %" : "Resolution 1 %", control.ratio,
		       control.lo, control.hi, ceil(resolution * 100));
	print_metric(ev, METRIC_CPU);
	print_metric(ev, METRIC_WALL);
	print_boot(ev);
	print_versus(ev);
	for (unsigned p = 0; p < ev->npaths; p++) {
		const char *why = analysis_path_failure(ev, p);

		if (why)
			printf("%s %s: %s\n", ev->path[p]->name,
			       analysis_path_empty(ev, p) ? "cannot run here" : "failed", why);
		slow |= ev->path[p]->slow;
	}
	if (slow && ev->slow_scale != ev->scale)
		printf("interp does %u %% of the work in one block; its ratio is to native with the same work.\n",
		       ev->slow_scale);
	if (analysis_untimed(ev))
		printf("%u samples have a result but no time: both markers had waited for a busy host. More work "
		       "(--scale) "
		       "helps.\n",
		       analysis_untimed(ev));
	if (clocks)
		printf("%u samples: the guest's clock and the host's differ by more than 0.5 %% and 1 ms (markers that "
		       "waited for a busy host, or a guest clock that is wrong).\n",
		       clocks);
}
