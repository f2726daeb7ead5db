// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The list of named figures. A key is made of parts with a slash between them:
 *
 *   ratio/PHASE/METRIC/PATH/WORKLOAD     mean/PHASE/METRIC/PATH/GROUP     (GROUP "all": every workload)
 *   bootstrap/... upper/...              the same two, by bootstrap and as one-sided bound
 *   native/PHASE/METRIC/WORKLOAD (ms)    time/PHASE/METRIC/PATH/WORKLOAD (ms)
 *   control/PHASE/METRIC/GROUP           inject/PHASE/METRIC/GROUP        resolution (%)
 *   versus/PHASE/METRIC/PATH/PATH/GROUP  warmup/PATH/WORKLOAD
 *   boot/PATH/WHAT (s, MiB)              cost/PATH/ITEM/QUANTILE (ns)
 *   over/PHASE/PATH/WORKLOAD (ms), part/PHASE/PATH/WORKLOAD/PART, estimate/..., residual/...,
 *   explained/... (%), covered/... (%): see overhead.c
 *   count/WHAT
 */
#include "eval/report/figures.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	enum boot_figure f;
	const char *key, *unit;
} boot_rows[] = {
	{BOOT_CPU, "cpu", "s"},       {BOOT_WALL, "wall", "s"}, {BOOT_START, "start", "s"},
	{BOOT_KERNEL, "kernel", "s"}, {BOOT_INIT, "init", "s"}, {BOOT_MEMORY, "memory", "MiB"},
};

static const struct {
	enum cost_figure f;
	const char *key;
} cost_rows[] = {{COST_P50, "p50"}, {COST_P95, "p95"}, {COST_P99, "p99"}, {COST_MIN, "min"}};

static bool add(struct figures *f, const struct stats_ratio *r, double scale, const char *unit, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static bool add(struct figures *f, const struct stats_ratio *r, double scale, const char *unit, const char *fmt, ...)
{
	struct figure *g;
	va_list ap;

	if (!r->n || !isfinite(r->ratio))
		return true;
	if ((f->n & (f->n - 1)) == 0) {
		g = realloc(f->f, (f->n ? 2 * f->n : 1) * sizeof(*g));
		if (!g)
			return false;
		f->f = g;
	}
	g = &f->f[f->n];
	va_start(ap, fmt);
	vsnprintf(g->key, sizeof(g->key), fmt, ap);
	va_end(ap);
	g->value = r->ratio * scale;
	g->lo = isfinite(r->lo) && isfinite(r->hi) ? r->lo * scale : 0;
	g->hi = isfinite(r->lo) && isfinite(r->hi) ? r->hi * scale : 0;
	g->n = r->n;
	g->unit = unit;
	if (json_object_get(f->index, g->key))
		return true; /* two workloads of one name in different groups: the first */
	return !json_object_set_new(f->index, g->key, json_integer(f->n++));
}

static bool add_value(struct figures *f, double value, unsigned n, const char *unit, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static bool add_value(struct figures *f, double value, unsigned n, const char *unit, const char *fmt, ...)
{
	struct stats_ratio r = {.n = n, .ratio = value};
	char key[FIGURE_KEY];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(key, sizeof(key), fmt, ap);
	va_end(ap);
	return add(f, &r, 1, unit, "%s", key);
}

/* An effect under its names. kind: "ratio" or "mean"; rest: what stands behind it. */
static bool add_effect(struct figures *f, const struct effect *e, const char *kind, const char *rest)
{
	struct stats_ratio upper = {.n = e->t.n > 1 ? e->t.n : 0, .ratio = e->t.upper};

	return add(f, &e->t, 1, "", "%s/%s", kind, rest) && add(f, &e->boot, 1, "", "bootstrap/%s", rest) &&
	       add(f, &upper, 1, "", "upper/%s", rest);
}

static bool add_ratios(struct figures *f, const struct results *r, unsigned p, enum results_phase ph,
		       enum results_metric m)
{
	const char *label = r->path[p].label, *group;
	char rest[FIGURE_KEY];
	struct effect e;
	bool ok = true;

	for (unsigned w = 0; ok && w < r->nworkloads; w++) {
		e = effect_workload(r, (int)p, w, ph, m);
		snprintf(rest, sizeof(rest), "%s/%s/%s/%s", phase_name(ph), metric_name(m), label, r->workload[w].name);
		ok = add_effect(f, &e, "ratio", rest);
		if (e.t.n)
			ok = ok && add_value(f, e.path_ns * 1e-6, e.t.n, "ms", "time/%s", rest);
	}
	for (unsigned g = 0; ok && (group = results_group_at(r, g)); g++) {
		e = effect_group(r, (int)p, group, ph, m);
		snprintf(rest, sizeof(rest), "%s/%s/%s/%s", phase_name(ph), metric_name(m), label, group);
		ok = add_effect(f, &e, "mean", rest);
	}
	for (unsigned q = 0; ok && q < r->npaths; q++)
		for (unsigned g = 0; ok && (group = results_group_at(r, g)); g++) {
			if (q == p || r->path[q].slow != r->path[p].slow || r->path[q].cpus != r->path[p].cpus)
				continue;
			e = effect_versus(r, (int)p, (int)q, group, ph, m);
			ok = add(f, &e.t, 1, "", "versus/%s/%s/%s/%s/%s", phase_name(ph), metric_name(m), label,
				 r->path[q].label, group);
		}
	return ok;
}

/* Native times: of the first path that has them, else of the control. */
static bool add_native(struct figures *f, const struct results *r, enum results_phase ph, enum results_metric m)
{
	const char *group;
	bool ok = true;

	for (unsigned w = 0; ok && w < r->nworkloads; w++) {
		struct effect e = effect_control(r, (int)w, NULL, 1, ph, m), j = effect_inject(r, (int)w, NULL, ph, m);
		const char *name = r->workload[w].name;

		if (e.t.n)
			ok = add_value(f, e.native_ns * 1e-6, e.t.n, "ms", "native/%s/%s/%s", phase_name(ph),
				       metric_name(m), name);
		ok = ok && add(f, &e.t, 1, "", "control/%s/%s/%s", phase_name(ph), metric_name(m), name) &&
		     add(f, &j.t, 1, "", "inject/%s/%s/%s", phase_name(ph), metric_name(m), name);
	}
	for (unsigned g = 0; ok && (group = results_group_at(r, g)); g++) {
		struct effect e = effect_control(r, -1, group, 1, ph, m), j = effect_inject(r, -1, group, ph, m);

		ok = add(f, &e.t, 1, "", "control/%s/%s/group %s", phase_name(ph), metric_name(m), group) &&
		     add(f, &j.t, 1, "", "inject/%s/%s/group %s", phase_name(ph), metric_name(m), group);
	}
	return ok;
}

static bool add_one_overhead(struct figures *f, const struct overhead *o, const char *rest)
{
	bool ok = add_value(f, o->over_ns * 1e-6, o->n, "ms", "over/%s", rest), known = o->sampled;

	for (unsigned i = 0; ok && i < OVERHEAD_PARTS; i++) {
		const char *key = overhead_part_at(i)->key;

		known |= o->estimate_ns[i] > 0;
		if (o->part_ns[i] != 0)
			ok = add_value(f, o->part_ns[i] * 1e-6, o->n, "ms", "part/%s/%s", rest, key);
		if (o->estimate_ns[i] > 0)
			ok = ok && add_value(f, o->estimate_ns[i] * 1e-6, o->n, "ms", "estimate/%s/%s", rest, key);
	}
	ok = ok && add_value(f, o->residual_ns * 1e-6, o->n, "ms", "residual/%s", rest);
	if (o->copy_ns > 0)
		ok = ok && add_value(f, o->copy_ns * 1e-6, o->n, "ms", "copy/%s", rest);
	/* without samples and without costs of this path nothing is explained, which is not the same as badly */
	if (!o->small && o->over_ns > 0 && known)
		ok = ok && add_value(f, o->explained * 100, o->n, "%", "explained/%s", rest) &&
		     add_value(f, o->covered * 100, o->n, "%", "covered/%s", rest);
	return ok;
}

static bool add_overheads(struct figures *f, const struct results *r, unsigned p, enum results_phase ph)
{
	char rest[FIGURE_KEY];
	const char *group;
	bool ok = true;

	for (unsigned w = 0; ok && w < r->nworkloads; w++) {
		struct overhead o = overhead_workload(r, (int)p, w, ph);

		snprintf(rest, sizeof(rest), "%s/%s/%s", phase_name(ph), r->path[p].label, r->workload[w].name);
		ok = !o.n || add_one_overhead(f, &o, rest);
	}
	for (unsigned g = 0; ok && (group = results_group_at(r, g)); g++) {
		struct overhead o = overhead_group(r, (int)p, group, ph);

		snprintf(rest, sizeof(rest), "%s/%s/group %s", phase_name(ph), r->path[p].label, group);
		ok = !o.n || add_one_overhead(f, &o, rest);
	}
	return ok;
}

static bool add_path(struct figures *f, const struct results *r, unsigned p)
{
	const char *label = r->path[p].label;
	bool ok = true;

	for (enum results_phase ph = 0; ok && ph < PHASES; ph++) {
		for (enum results_metric m = 0; ok && m < METRICS; m++)
			ok = add_ratios(f, r, p, ph, m);
		ok = ok && add_overheads(f, r, p, ph);
	}
	for (unsigned w = 0; ok && w < r->nworkloads; w++) {
		struct effect e = effect_warmup(r, (int)p, w, METRIC_CPU);

		ok = add(f, &e.t, 1, "", "warmup/%s/%s", label, r->workload[w].name);
	}
	for (unsigned i = 0; ok && i < sizeof(boot_rows) / sizeof(boot_rows[0]); i++) {
		struct stats_ratio b = effect_boot(r, (int)p, boot_rows[i].f);

		ok = add(f, &b, 1, boot_rows[i].unit, "boot/%s/%s", label, boot_rows[i].key);
	}
	return ok;
}

static bool add_costs(struct figures *f, const struct results *r)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < r->ncosts; i++) {
		const struct results_cost *c = &r->cost[i];

		for (unsigned k = 0; ok && k < sizeof(cost_rows) / sizeof(cost_rows[0]); k++) {
			double v = c->ok ? cost_of(r, c->path, c->item, cost_rows[k].f) : 0;

			if (v > 0)
				ok = add_value(f, v, c->n, "ns", "cost/%s/%s/%s", results_path_label(r, c->path),
					       c->item, cost_rows[k].key);
		}
	}
	return ok;
}

static bool add_counts(struct figures *f, const struct results *r)
{
	const struct verdict *v = &f->verdict;

	return (!v->resolution || add_value(f, v->resolution * 100, v->control.t.n, "%", "resolution")) &&
	       add_value(f, r->nsamples, 1, "", "count/samples") && add_value(f, r->nboots, 1, "", "count/boots") &&
	       add_value(f, r->ncosts, 1, "", "count/costs") && add_value(f, r->nblocks, 1, "", "count/blocks") &&
	       add_value(f, r->nworkloads, 1, "", "count/workloads") && add_value(f, v->clock, 1, "", "count/clock") &&
	       add_value(f, v->unquiet, 1, "", "count/unquiet") && add_value(f, v->untimed, 1, "", "count/untimed") &&
	       add_value(f, v->invalid, 1, "", "count/invalid") && add_value(f, r->bad_lines, 1, "", "count/bad_lines");
}

struct figures *figures_build(const struct results *r)
{
	struct figures *f = calloc(1, sizeof(*f));
	bool ok;

	if (!f)
		return NULL;
	f->index = json_object();
	f->verdict = verdict_of(r);
	ok = f->index && add_counts(f, r);
	for (enum results_phase ph = 0; ok && ph < PHASES; ph++)
		for (enum results_metric m = 0; ok && m < METRICS; m++)
			ok = add_native(f, r, ph, m);
	for (unsigned p = 0; ok && p < r->npaths; p++)
		ok = add_path(f, r, p);
	ok = ok && add_costs(f, r);
	if (ok)
		return f;
	figures_free(f);
	return NULL;
}

void figures_free(struct figures *f)
{
	if (!f)
		return;
	json_decref(f->index);
	free(f->f);
	free(f);
}

const struct figure *figures_find(const struct figures *f, const char *fmt, ...)
{
	char key[FIGURE_KEY];
	json_t *at;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(key, sizeof(key), fmt, ap);
	va_end(ap);
	at = json_object_get(f->index, key);
	return at ? &f->f[json_integer_value(at)] : NULL;
}

/* ---- text ---- */

/* Decimals with which x has so many significant digits, and at most most. */
static int decimals(double x, int digits, int most)
{
	int d = digits - 1;

	for (x = fabs(x); x >= 10 && d > 0; d--)
		x /= 10;
	for (; x > 0 && x < 1 && d < most; d++)
		x *= 10;
	return d < most ? d : most;
}

/* One end so many times the other that no number of decimals fits both. */
static bool is_wide(const struct figure *f)
{
	return f->lo > 0 && f->hi > 8 * f->lo;
}

static int digits_of_value(const struct figure *f)
{
	double v = fabs(f->value);

	if (!strcmp(f->unit, "%"))
		return 1;
	if (!f->unit[0] && !strncmp(f->key, "count/", 6))
		return 0;
	return v < 2 ? 3 : v < 20 ? 2 : v < 200 ? 1 : 0;
}

/* What the size gives, and no more than the interval bears: half its width has two significant digits. */
static int digits_of(const struct figure *f)
{
	int most = digits_of_value(f);

	if (!(f->hi > f->lo))
		return most;
	return is_wide(f) ? decimals(f->value, 2, most) : decimals((f->hi - f->lo) / 2, 2, most);
}

void figure_text(const struct figure *f, char *out, unsigned n)
{
	snprintf(out, n, "%.*f", digits_of(f), f->value);
}

void figure_interval(const struct figure *f, char *out, unsigned n)
{
	int d = digits_of(f), lo = is_wide(f) ? decimals(f->lo, 2, 4) : d, hi = is_wide(f) ? decimals(f->hi, 2, 4) : d;

	out[0] = 0;
	if (f->hi != 0 || f->lo != 0)
		snprintf(out, n, "[%.*f, %.*f]", lo, f->lo, hi, f->hi);
}

/* ---- summary.json ---- */

static json_t *failures_json(const struct results *r)
{
	json_t *a = json_array();

	for (unsigned p = 0; p < r->npaths; p++) {
		for (unsigned w = 0; w < r->nworkloads; w++)
			for (unsigned i = r->first[w]; i < r->first[w + 1]; i++) {
				const struct results_sample *s = &r->sample[r->by_workload[i]];

				if (s->path != (int)p || s->valid || s->pilot)
					continue;
				json_array_append_new(a, json_pack("{s:s, s:s, s:i, s:s}", "path", r->path[p].label,
								   "workload", r->workload[w].name, "block", s->block,
								   "why",
								   s->why  ? s->why
								   : s->ok ? "wrong checksum"
									   : "no result"));
				break;
			}
		if (r->path[p].why)
			json_array_append_new(a, json_pack("{s:s, s:n, s:n, s:s}", "path", r->path[p].label, "workload",
							   "block", "why", r->path[p].why));
	}
	return a;
}

json_t *figures_json(const struct figures *f, const struct results *r)
{
	json_t *o, *list = json_array();

	for (unsigned i = 0; i < f->n; i++) {
		const struct figure *g = &f->f[i];
		json_t *e =
			json_pack("{s:s, s:f, s:i, s:s}", "key", g->key, "value", g->value, "n", g->n, "unit", g->unit);

		if (e && (g->lo != 0 || g->hi != 0)) {
			json_object_set_new(e, "lo", json_real(g->lo));
			json_object_set_new(e, "hi", json_real(g->hi));
		}
		json_array_append_new(list, e);
	}
	o = json_pack("{s:i, s:s, s:s, s:s, s:s, s:b, s:{s:b, s:b, s:b, s:s, s:s}, s:o, s:o}", "schema", 2, "run",
		      r->run, "spec", r->spec, "command", r->command, "started", r->started, "complete", r->complete,
		      "verdict", "sufficient", f->verdict.sufficient, "inject_found", f->verdict.inject_found,
		      "inject_holds", f->verdict.inject_holds, "group", f->verdict.group, "text", f->verdict.text,
		      "failures", failures_json(r), "figures", list);
	return o;
}
