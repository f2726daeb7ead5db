// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The machine micro-suite as an item of a plan: one path, all rows of eval/workloads/machine/machine.def, a cost record for each as
 * soon as it is known. A row that hangs or cannot be done on a path is a record with its reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "eval/run/machine.h"
#include "eval/run/runner.h"

#define BUDGET_MS 20 /* of batches, for a row */

struct machine_item {
	struct runner *r;
	const struct plan_item *it;
	bool failed;
};

static const char *name_of(const struct runner *r, const struct plan_item *it)
{
	return it->path < 0 ? "native" : r->spec.path[it->path].row->name;
}

bool machine_item_pending(const struct runner *r, const struct plan_item *it)
{
	for (unsigned i = 0; machine_row_at(i); i++)
		if (!ledger_done(&r->ledger, it, machine_row_at(i)->name, 0, 0))
			return true;
	return false;
}

static json_t *cost_json(const struct machine_item *m, const struct machine_cost *c, const char *unit)
{
	return json_pack("{s:i, s:s, s:i, s:i, s:s, s:s, s:I, s:I, s:b}", "block", (int)m->it->block, "path",
			 name_of(m->r, m->it), "cpus", 1, "order", (int)m->it->order, "item", c->row->name, "unit",
			 unit, "n", (json_int_t)c->n, "batch", (json_int_t)c->batch, "ok", c->ok);
}

static void put_cost(void *ctx, const struct machine_path *path, const struct machine_cost *c)
{
	struct machine_item *m = ctx;
	json_t *o, *values, *flags;

	(void)path;
	if (m->failed || ledger_done(&m->r->ledger, m->it, c->row->name, 0, 0))
		return;
	/* The other unit first: the row is done when "ns" is there. */
	if (c->ok && c->cpu_mean > 0 && !c->clock_differs) {
		o = cost_json(m, c, "cpu_ns");
		json_object_set_new(o, "mean", json_real(c->cpu_mean));
		json_object_set_new(o, "flags", item_flags(m->r, m->it, false));
		m->failed = !runner_put(m->r, "cost", o);
	}
	o = cost_json(m, c, "ns");
	flags = item_flags(m->r, m->it, false);
	if (c->ok) {
		values = json_array();
		for (unsigned i = 0; i < c->nvalues; i++)
			json_array_append_new(values, json_real(c->values[i]));
		json_object_set_new(o, "p50", json_real(c->p50));
		json_object_set_new(o, "p95", json_real(c->p95));
		json_object_set_new(o, "p99", json_real(c->p99));
		json_object_set_new(o, "min", json_real(c->min));
		json_object_set_new(o, "mean", json_real(c->mean));
		json_object_set_new(o, "values", values);
		if (c->clock_differs)
			json_array_append_new(flags, json_string("clock"));
	} else {
		json_object_set_new(o, "why", json_string(c->why));
	}
	json_object_set_new(o, "flags", flags);
	m->failed |= !runner_put(m->r, "cost", o);
}

bool machine_item_run(struct runner *r, const struct plan_item *it)
{
	const char *slash = strrchr(r->self, '/'), *items[MACHINE_ROWS_MAX];
	struct machine_cost *cost = calloc(MACHINE_ROWS_MAX, sizeof(*cost));
	struct machine_item m = {.r = r, .it = it};
	char images[4200];
	struct machine_request rq = {
		.self = r->self, .images = images, .budget_ms = BUDGET_MS, .items = items, .done = put_cost, .ctx = &m};

	snprintf(images, sizeof(images), "%.*s/machine", slash ? (int)(slash - r->self) : 0, r->self);
	/* All at once: what hangs too often is not tried row by row. A signal is heard behind it. */
	for (unsigned i = 0; machine_row_at(i) && rq.nitems < MACHINE_ROWS_MAX; i++)
		if (!ledger_done(&r->ledger, it, machine_row_at(i)->name, 0, 0))
			items[rq.nitems++] = machine_row_at(i)->name;
	if (cost)
		machine_run(machine_path_find(name_of(r, it)), &rq, cost);
	free(cost);
	return cost && !m.failed;
}
