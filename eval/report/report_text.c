// SPDX-License-Identifier: GPL-2.0-or-later
/* The tables for a terminal: what may be believed first. CPU time leads: wall time on a shared host measures its neighbours too. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/report.h"
#include "eval/report/scaling.h"

#define COLUMN 22

static void print_figure(FILE *f, const struct figure *g)
{
	char v[32], iv[64], both[100] = "-";

	if (g) {
		figure_text(g, v, sizeof(v));
		figure_interval(g, iv, sizeof(iv));
		snprintf(both, sizeof(both), "%s%s%s", v, iv[0] ? " " : "", iv);
	}
	fprintf(f, " %-*s", COLUMN, both);
}

static bool in_ratios(const struct results *r, unsigned p, enum results_phase ph)
{
	return !r->path[p].boot_only && effect_has(r, (int)p, -1, ph);
}

static void print_header(FILE *f, const struct results *r, const char *first, enum results_phase ph)
{
	fprintf(f, "%-12s %9s ", first, "native");
	for (unsigned p = 0; p < r->npaths; p++)
		if (in_ratios(r, p, ph))
			fprintf(f, " %-*s", COLUMN, r->path[p].label);
	fprintf(f, " native again\n");
}

static void print_ratios(FILE *f, const struct results *r, const struct figures *g, enum results_phase ph,
			 enum results_metric m)
{
	const char *phase = phase_name(ph), *metric = metric_name(m), *last = NULL, *group;

	fprintf(f, "\nRatio to native, %s time, %s (95 %% interval over the blocks)\n",
		m == METRIC_CPU ? "CPU" : "wall", phase);
	print_header(f, r, "workload", ph);
	for (unsigned w = 0; w < r->nworkloads; w++) {
		const char *name = r->workload[w].name;
		const struct figure *native = figures_find(g, "native/%s/%s/%s", phase, metric, name);

		if (r->ngroups > 1 && (!last || strcmp(last, r->workload[w].group)))
			fprintf(f, "-- %s\n", last = r->workload[w].group);
		fprintf(f, "%-12s %6.1f ms ", name, native ? native->value : 0);
		for (unsigned p = 0; p < r->npaths; p++) {
			struct effect e;

			if (!in_ratios(r, p, ph))
				continue;
			e = effect_workload(r, (int)p, w, ph, m);
			if (e.wrong)
				fprintf(f, " %-*s", COLUMN, "checksum differs");
			else
				print_figure(
					f, figures_find(g, "ratio/%s/%s/%s/%s", phase, metric, r->path[p].label, name));
		}
		print_figure(f, figures_find(g, "control/%s/%s/%s", phase, metric, name));
		fprintf(f, "\n");
	}
	fprintf(f, "-- geometric means\n");
	for (unsigned i = 0; (group = results_group_at(r, i)); i++) {
		bool any = false;

		for (unsigned w = 0; w < r->nworkloads; w++)
			any |= results_in_group(r, w, group);
		/* one group is the same as all */
		if (!any || (r->ngroups == 1 && strcmp(group, "all")))
			continue;
		fprintf(f, "%-12s %9s ", group, "");
		for (unsigned p = 0; p < r->npaths; p++)
			if (in_ratios(r, p, ph))
				print_figure(
					f, figures_find(g, "mean/%s/%s/%s/%s", phase, metric, r->path[p].label, group));
		print_figure(f, figures_find(g, "control/%s/%s/group %s", phase, metric, group));
		fprintf(f, "\n");
	}
}

static void print_classes(FILE *f, const struct results *r, const struct figures *g, enum results_phase ph)
{
	for (unsigned p = 0; p < r->npaths; p++) {
		const struct figure *u = figures_find(g, "upper/%s/cpu/%s/all", phase_name(ph), r->path[p].label);
		struct stats_ratio s = {.n = u ? u->n : 0, .upper = u ? u->value : 0};
		const struct stats_class *c = stats_class(&s);

		if (c)
			fprintf(f, "%s: %s (the one-sided 95 %% bound of the mean is %.3f).\n", r->path[p].label,
				c->text, u->value);
	}
}

static void print_boot(FILE *f, const struct results *r, const struct figures *g)
{
	static const struct {
		const char *key, *title;
	} row[] = {{"cpu", "CPU s"}, {"wall", "wall s"}, {"memory", "MiB beside RAM"}};
	bool any = false;

	for (unsigned p = 0; p < r->npaths; p++)
		any |= figures_find(g, "boot/%s/wall", r->path[p].label) != NULL;
	if (!any)
		return;
	fprintf(f, "\nBoot of the guest's kernel to the first line of init\n%-15s", "");
	for (unsigned p = 0; p < r->npaths; p++)
		if (figures_find(g, "boot/%s/wall", r->path[p].label))
			fprintf(f, " %-*s", COLUMN, r->path[p].label);
	fprintf(f, "\n");
	for (unsigned k = 0; k < sizeof(row) / sizeof(row[0]); k++) {
		fprintf(f, "%-15s", row[k].title);
		for (unsigned p = 0; p < r->npaths; p++)
			if (figures_find(g, "boot/%s/wall", r->path[p].label))
				print_figure(f, figures_find(g, "boot/%s/%s", r->path[p].label, row[k].key));
		fprintf(f, "\n");
	}
}

static void print_overhead(FILE *f, const struct results *r, const struct figures *g, enum results_phase ph)
{
	const char *group;
	bool title = false;

	for (unsigned p = 0; p < r->npaths; p++)
		for (unsigned i = 0; (group = results_group_at(r, i)); i++) {
			const struct figure *e =
				figures_find(g, "explained/%s/%s/group %s", phase_name(ph), r->path[p].label, group);

			if (!e)
				continue;
			if (!title)
				fprintf(f, "\nOverhead explained, %s\n", phase_name(ph));
			title = true;
			fprintf(f, "%-12s %-8s %5.1f %% (covered %.1f %%):", r->path[p].label, group, e->value,
				figures_find(g, "covered/%s/%s/group %s", phase_name(ph), r->path[p].label, group)
					->value);
			for (unsigned k = 0; overhead_part_at(k); k++) {
				const struct figure *part =
					figures_find(g, "part/%s/%s/group %s/%s", phase_name(ph), r->path[p].label,
						     group, overhead_part_at(k)->key);
				const struct figure *over =
					figures_find(g, "over/%s/%s/group %s", phase_name(ph), r->path[p].label, group);

				if (part && over && over->value > 0 && fabs(part->value) > 0.01 * over->value)
					fprintf(f, " %s %.0f %%", overhead_part_at(k)->key,
						100 * part->value / over->value);
			}
			fprintf(f, "\n");
		}
}

static void print_versus(FILE *f, const struct results *r, const struct figures *g, enum results_phase ph)
{
	int bt = results_find_path(r, "bt", 1), tcg = results_find_path(r, "qemu-tcg", 1);
	const struct figure *v, *b, *t;
	const char *group;
	char text[32], iv[64];

	if (bt < 0 || tcg < 0)
		return;
	fprintf(f, "\n");
	for (unsigned i = 0; (group = results_group_at(r, i)); i++) {
		v = figures_find(g, "versus/%s/cpu/qemu-tcg/bt/%s", phase_name(ph), group);
		if (!v)
			continue;
		figure_text(v, text, sizeof(text));
		figure_interval(v, iv, sizeof(iv));
		fprintf(f, "%s: qemu-tcg needs %s%s%s times the CPU time of bt (geometric mean, %u paired block%s).\n",
			group, text, iv[0] ? " " : "", iv, v->n, v->n == 1 ? "" : "s");
	}
	b = figures_find(g, "boot/bt/cpu");
	t = figures_find(g, "boot/qemu-tcg/cpu");
	if (b && t)
		fprintf(f, "bt boots with %.2f times the CPU time of qemu-tcg.\n", b->value / t->value);
}

/* Is the group left out as a whole, for this reason? One workload is no group. */
static bool whole_group(const struct results *r, int path, const char *group, const char *why)
{
	unsigned n = 0;

	for (unsigned w = 0; w < r->nworkloads; w++) {
		const char *other = strcmp(r->workload[w].group, group) ? why : results_left_out(r, path, w);

		n += !strcmp(r->workload[w].group, group);
		if (!other || strcmp(other, why))
			return false;
	}
	return n > 1;
}

/* Is w the first workload of its group? */
static bool leads_group(const struct results *r, unsigned w)
{
	for (unsigned v = 0; v < w; v++)
		if (!strcmp(r->workload[v].group, r->workload[w].group))
			return false;
	return true;
}

void left_out_text(FILE *f, const struct results *r, int path, const char *head)
{

	for (unsigned w = 0; w < r->nworkloads; w++) {
		const char *why = results_left_out(r, path, w), *comma = "";
		bool said = !why;

		for (unsigned v = 0; v < w && !said; v++) {
			const char *other = results_left_out(r, path, v);

			said = other && !strcmp(other, why); /* with that one */
		}
		if (said)
			continue;
		fprintf(f, "%s leaves out ", head);
		for (unsigned v = w; v < r->nworkloads; v++) {
			const char *other = results_left_out(r, path, v), *group = r->workload[v].group;
			bool whole = other && !strcmp(other, why) && whole_group(r, path, group, why);

			if (!other || strcmp(other, why) || (whole && !leads_group(r, v)))
				continue;
			fprintf(f, "%s%s%s", comma, whole ? "group " : "", whole ? group : r->workload[v].name);
			comma = ", ";
		}
		fprintf(f, ": %s.\n", why);
	}
}

/* A mean over fewer blocks than the run has, or one workload that keeps it from being there. */
static void print_mean_remarks(FILE *f, const struct results *r, const struct figures *g, int p)
{
	const struct figure *mean =
		figures_find(g, "mean/%s/cpu/%s/all", phase_name(g->verdict.phase), r->path[p].label);
	struct effect e = effect_group(r, p, "all", g->verdict.phase, METRIC_CPU);
	const char *comma = "";

	if (mean && mean->n < r->nblocks)
		fprintf(f,
			mean->n > 1 ? "%s: intervals over %u of %u blocks.\n"
				    : "%s: %u of %u blocks, so no intervals.\n",
			r->path[p].label, mean->n, r->nblocks);
	for (unsigned k = 0; k < e.nfailed && k < sizeof(e.failed) / sizeof(e.failed[0]); k++) {
		if (results_left_out(r, p, (unsigned)e.failed[k]))
			continue;
		if (!*comma)
			fprintf(f, "%s has no mean of all workloads, because of", r->path[p].label);
		fprintf(f, "%s %s", comma, r->workload[e.failed[k]].name);
		comma = ",";
	}
	if (*comma)
		fprintf(f, ".\n");
}

static void print_remarks(FILE *f, const struct results *r, const struct figures *g)
{
	const struct verdict *v = &g->verdict;

	for (unsigned p = 0; p < r->npaths; p++) {
		if (r->path[p].why)
			fprintf(f, "%s: %s\n", r->path[p].label, r->path[p].why);
		print_mean_remarks(f, r, g, (int)p);
		left_out_text(f, r, (int)p, r->path[p].label);
	}
	if (v->untimed)
		fprintf(f,
			"%u samples have a result but no time: both markers had waited for a busy host. More work "
			"(--scale) helps.\n",
			v->untimed);
	if (v->clock)
		fprintf(f, "%u samples: the guest's clock and the host's differ by more than 0.5 %% and 1 ms.\n",
			v->clock);
	if (v->unquiet)
		fprintf(f, "%u samples were taken while the host was not quiet.\n", v->unquiet);
	for (unsigned i = 0; i < r->nevents; i++)
		if (!strcmp(r->event[i].what, "unlike"))
			fprintf(f, "The hosts of this sweep are not alike: %s.\n", r->event[i].why);
	for (unsigned i = 0; i < r->nproblems && i < 5; i++)
		fprintf(f, "line %u of the results is left out: %s\n", r->problem[i].line, r->problem[i].text);
	if (r->bad_lines > 5)
		fprintf(f, "%u lines of the results are left out.\n", r->bad_lines);
}

static bool has_costs(const struct results *r, int path)
{
	for (unsigned i = 0; i < r->ncosts; i++)
		if (r->cost[i].path == path && r->cost[i].ok)
			return true;
	return false;
}

static void print_costs(FILE *f, const struct results *r, const struct figures *g)
{
	if (!r->ncosts)
		return;
	fprintf(f, "\nOperations of the machine, median in ns\n%-20s", "");
	for (int p = RESULTS_NATIVE; p < (int)r->npaths; p++)
		if (has_costs(r, p))
			fprintf(f, " %12s", results_path_label(r, p));
	fprintf(f, "\n");
	for (unsigned i = 0; i < r->ncosts; i++) {
		bool first = true;

		for (unsigned k = 0; k < i; k++)
			first = first && strcmp(r->cost[k].item, r->cost[i].item);
		if (!first)
			continue;
		fprintf(f, "%-20s", r->cost[i].item);
		for (int p = RESULTS_NATIVE; p < (int)r->npaths; p++) {
			const struct figure *c =
				figures_find(g, "cost/%s/%s/p50", results_path_label(r, p), r->cost[i].item);

			if (!has_costs(r, p))
				continue;
			if (c)
				fprintf(f, " %12.*f", c->value < 100 ? 1 : 0, c->value);
			else
				fprintf(f, " %12s", "-");
		}
		fprintf(f, "\n");
	}
}

void report_text(FILE *f, const struct results *r, const struct figures *g)
{
	enum results_phase ph = g->verdict.phase, other = ph == PHASE_COLD ? PHASE_STEADY : PHASE_COLD;

	fprintf(f, "\nSteelyard, spec %s, run %s: %u block%s, guest memory %u MiB, seed %llu%s\n", r->spec, r->run,
		r->nblocks, r->nblocks == 1 ? "" : "s", r->memory_mb, (unsigned long long)r->seed,
		r->complete ? "" : "; NOT COMPLETE");
	fprintf(f, "%s\n", g->verdict.text);
	if (effect_has(r, RESULTS_NATIVE, -1, ph)) {
		print_ratios(f, r, g, ph, METRIC_CPU);
		print_ratios(f, r, g, ph, METRIC_WALL);
	}
	if (effect_has(r, RESULTS_NATIVE, -1, other))
		print_ratios(f, r, g, other, METRIC_CPU);
	print_classes(f, r, g, ph);
	scaling_text(f, r);
	print_boot(f, r, g);
	print_overhead(f, r, g, ph);
	print_costs(f, r, g);
	print_versus(f, r, g, ph);
	print_remarks(f, r, g);
}

void compare_text(FILE *f, const struct comparison *c)
{
	fprintf(f, "Run %s (A) and run %s (B): ratio to native, CPU time; B over A below 1 is faster\n", c->a->run,
		c->b->run);
	fprintf(f, "%-12s %-14s %-6s %9s %9s  %-24s %s\n", "workload", "path", "phase", "A", "B", "B over A", "q");
	for (unsigned i = 0; i < c->nrows; i++) {
		const struct compare_row *row = &c->row[i];
		char iv[64] = "";

		if (row->ratio.n > 1)
			snprintf(iv, sizeof(iv), " [%.3f, %.3f]", row->ratio.lo, row->ratio.hi);
		fprintf(f, "%-12s %-14s %-6s %9.3f %9.3f  %5.3f%-19s%6.3g%s\n", row->workload, row->path,
			phase_name(row->phase), row->a, row->b, row->ratio.ratio, iv, row->q,
			row->significant ? "  *" : "");
	}
	fprintf(f,
		"%u of %u differ (*) at a false-discovery rate of %g %% (Benjamini and Hochberg); %u pairs only in A, "
		"%u only in B.\n",
		c->nsignificant, c->nrows, COMPARE_RATE * 100, c->only_a, c->only_b);
	for (unsigned i = 0, said = 0; i < c->nrows && !said; i++)
		if (c->row[i].scale_a != c->row[i].scale_b && ++said)
			fprintf(f,
				"%u of %u compare other amounts of work, as %s on %s with %u %% and %u %%: that alone may be the "
				"difference.\n",
				c->nscales, c->nrows, c->row[i].workload, c->row[i].path, c->row[i].scale_a, c->row[i].scale_b);
	for (unsigned i = 0; i < c->nchanges; i++)
		fprintf(f, "not the same: %s: %s -> %s\n", c->change[i].what, c->change[i].a, c->change[i].b);
}
