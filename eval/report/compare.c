// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The blocks of two runs have nothing to do with each other, so their logarithms are two independent samples: Welch's interval
 * and test for the difference of means. Many rows are looked at together; which differences count is decided by the false-discovery
 * rate over all of them.
 */
#include "eval/report/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/effects.h"

#define MAX_BLOCKS 1024

/* Keeps what is a number. */
static unsigned only_numbers(double *x, unsigned n)
{
	unsigned m = 0;

	for (unsigned i = 0; i < n; i++)
		if (isfinite(x[i]))
			x[m++] = x[i];
	return m;
}

static void welch(struct compare_row *row, const double *x, unsigned nx, const double *y, unsigned ny)
{
	double vx = stats_variance(x, nx) / nx, vy = stats_variance(y, ny) / ny, err = sqrt(vx + vy);
	double diff = stats_mean(y, ny) - stats_mean(x, nx), df;

	row->a = exp(stats_mean(x, nx));
	row->b = exp(stats_mean(y, ny));
	row->ratio = (struct stats_ratio){.n = nx < ny ? nx : ny, .ratio = exp(diff)};
	row->p = 1;
	if (nx < 2 || ny < 2)
		return;
	if (!(err > 0)) {
		row->ratio.lo = row->ratio.hi = row->ratio.upper = row->ratio.ratio;
		row->p = diff == 0 ? 1 : 0;
		return;
	}
	df = (vx + vy) * (vx + vy) / (vx * vx / (nx - 1) + vy * vy / (ny - 1));
	unsigned whole = df < 1 ? 1 : (unsigned)df; /* rounded down: a little too careful */

	row->ratio.lo = exp(diff - err * stats_t_quantile(0.975, whole));
	row->ratio.hi = exp(diff + err * stats_t_quantile(0.975, whole));
	row->ratio.upper = exp(diff + err * stats_t_quantile(0.95, whole));
	row->p = stats_t_two_sided(diff / err, whole);
}

/* One more element; NULL: no memory. */
static void *more(void **array, unsigned *n, size_t size)
{
	void *p = realloc(*array, (*n + 1) * size);

	if (!p)
		return NULL;
	*array = p;
	return memset((char *)p + (*n)++ * size, 0, size);
}

static bool compare_path(struct comparison *c, unsigned p)
{
	const struct results *a = c->a, *b = c->b;
	int q = results_find_path(b, a->path[p].name, a->path[p].cpus);
	double x[MAX_BLOCKS], y[MAX_BLOCKS];

	for (unsigned w = 0; w < a->nworkloads; w++) {
		int v = results_find_workload(b, a->workload[w].name);

		for (enum results_phase ph = 0; ph < PHASES; ph++) {
			unsigned nx = only_numbers(x, effect_blocks(a, (int)p, w, ph, METRIC_CPU, x, MAX_BLOCKS)),
				 ny = 0;
			struct compare_row *row;

			if (q >= 0 && v >= 0)
				ny = only_numbers(y, effect_blocks(b, q, (unsigned)v, ph, METRIC_CPU, y, MAX_BLOCKS));
			if (nx && !ny)
				c->only_a++;
			else if (ny && !nx)
				c->only_b++;
			if (!nx || !ny)
				continue;
			row = more((void **)&c->row, &c->nrows, sizeof(*row));
			if (!row)
				return false;
			row->path = a->path[p].label;
			row->workload = a->workload[w].name;
			row->phase = ph;
			row->scale_a = effect_scale(a, (int)p, w, ph);
			row->scale_b = effect_scale(b, q, (unsigned)v, ph);
			c->nscales += row->scale_a != row->scale_b;
			welch(row, x, nx, y, ny);
		}
	}
	return true;
}

/* Pairs that only b has: paths and workloads that a does not know at all. */
static void count_new(struct comparison *c)
{
	double y[MAX_BLOCKS];

	for (unsigned q = 0; q < c->b->npaths; q++)
		for (unsigned v = 0; v < c->b->nworkloads; v++) {
			if (results_find_path(c->a, c->b->path[q].name, c->b->path[q].cpus) >= 0 &&
			    results_find_workload(c->a, c->b->workload[v].name) >= 0)
				continue;
			for (enum results_phase ph = 0; ph < PHASES; ph++)
				c->only_b += only_numbers(y, effect_blocks(c->b, (int)q, v, ph, METRIC_CPU, y,
									   MAX_BLOCKS)) > 0;
		}
}

static bool note_change(struct comparison *c, const char *where, const char *key, json_t *x, json_t *y)
{
	struct compare_change *d;
	char *tx, *ty;

	if (json_equal(x, y))
		return true;
	d = more((void **)&c->change, &c->nchanges, sizeof(*d));
	if (!d)
		return false;
	tx = x ? json_dumps(x, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	ty = y ? json_dumps(y, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	snprintf(d->what, sizeof(d->what), "%.20s %.40s", where, key);
	snprintf(d->a, sizeof(d->a), "%.190s", tx ? tx : "-");
	snprintf(d->b, sizeof(d->b), "%.190s", ty ? ty : "-");
	free(tx);
	free(ty);
	return true;
}

/* Objects are gone into, one level deeper for maps such as the hashes. */
static bool note_changes(struct comparison *c, const char *where, json_t *x, json_t *y, bool deeper)
{
	const char *key;
	json_t *e;
	bool ok = true;

	json_object_foreach(x, key, e)
	{
		json_t *other = json_object_get(y, key);

		if (deeper && json_is_object(e) && json_is_object(other))
			ok = ok && note_changes(c, key, e, other, false);
		else
			ok = ok && note_change(c, where, key, e, other);
	}
	json_object_foreach(y, key, e) if (!json_object_get(x, key)) ok = ok && note_change(c, where, key, NULL, e);
	return ok;
}

struct comparison *comparison_make(const struct results *a, const struct results *b)
{
	static const char *const objects[] = {"environment", "probe", "spec"};
	struct comparison *c = calloc(1, sizeof(*c));
	double *q;
	bool ok = c != NULL;

	if (!ok)
		return NULL;
	c->a = a;
	c->b = b;
	for (unsigned p = 0; ok && p < a->npaths; p++)
		ok = compare_path(c, p);
	count_new(c);
	for (unsigned i = 0; ok && i < sizeof(objects) / sizeof(objects[0]); i++)
		ok = note_changes(c, objects[i], json_object_get(a->head, objects[i]),
				  json_object_get(b->head, objects[i]), true);
	q = malloc((c->nrows + 1) * sizeof(*q));
	for (unsigned i = 0; q && i < c->nrows; i++)
		q[i] = c->row[i].p;
	ok = ok && q && stats_benjamini_hochberg(q, c->nrows);
	for (unsigned i = 0; ok && i < c->nrows; i++) {
		struct compare_row *row = &c->row[i];

		row->q = q[i];
		/* one block cannot tell */
		row->significant = row->ratio.n > 1 && row->q <= COMPARE_RATE;
		c->nsignificant += row->significant;
	}
	free(q);
	if (ok)
		return c;
	comparison_free(c);
	return NULL;
}

void comparison_free(struct comparison *c)
{
	if (!c)
		return;
	free(c->row);
	free(c->change);
	free(c);
}
