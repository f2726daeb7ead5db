// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where guest code could not just go on: event -> path -> who handled it, with counts, and times where they are known. Counters are
 * rows here, KVM's exits name themselves.
 *
 * Known times are what KVM's exits took outside. For the rest --costs gives estimates: count times the cost of the item of the
 * machine micro-suite that stands for the counter (eval/report/overhead.c), on the same path. They are marked "~", for an exit in a program need not
 * cost what it costs in a loop.
 */
#include <inttypes.h>
#include <string.h>

#include "engine/main/explain.h"
#include "eval/report/overhead.h"

struct flow {
	const char *counter, *event, *handler, *item;
	enum explain_kind kind;
};

/* By counter of README.md; item: only where eval/report/overhead.c, which must not count an event twice, has none. Not here: counters that say how much, not how often something was left (bytes, instructions). */
static const struct flow flows[] = {
	{"io_reads", "IN, INS", "port bus: a device reads", NULL, EXPLAIN_EXIT},
	{"io_writes", "OUT, OUTS", "port bus: a device writes", NULL, EXPLAIN_EXIT},
	{"mmio_reads", "load from device memory", "memory bus: a device reads", NULL, EXPLAIN_EXIT},
	{"mmio_writes", "store to device memory", "memory bus: a device writes", NULL, EXPLAIN_EXIT},
	{"interrupts", "external interrupt", "delivery through the IDT", NULL, EXPLAIN_EXIT},
	{"exceptions", "fault or trap", "delivery through the IDT", NULL, EXPLAIN_EXIT},
	{"halts", "HLT", "the vCPU's thread sleeps", NULL, EXPLAIN_EXIT},
	{"kicks", "a kick: somebody wants the vCPU", "looks at its requests", NULL, EXPLAIN_EXIT},
	{"tlb_fills", "address not in the soft TLB", "page walk", NULL, EXPLAIN_HELPER},
	{"tlb_flushes", "CR3, INVLPG, mode change", "soft TLB and windows are emptied", NULL, EXPLAIN_HELPER},
	{"bt_cold", "code that has run rarely", "interpreter", NULL, EXPLAIN_HELPER},
	{"bt_blocks", "code that has run often enough", "translator", NULL, EXPLAIN_HELPER},
	{"bt_lookups", "target that no link knows", "dispatcher: block by address", NULL, EXPLAIN_HELPER},
	{"bt_indirect_misses", "indirect branch not in the jump cache", "dispatcher: block by address", NULL,
	 EXPLAIN_HELPER},
	{"bt_callouts", "instruction that is not translated", "the interpreter's function", "cpuid", EXPLAIN_HELPER},
	{"bt_site_fills", "access outside its window", "walk, and a new window", NULL, EXPLAIN_CHECK},
	{"bt_slow_access", "access that no window can serve", "the interpreter's access", NULL, EXPLAIN_HELPER},
	{"bt_smc", "store into translated code", "blocks are invalidated", NULL, EXPLAIN_HELPER},
	{"bt_cache_flushes", "the code cache is full", "all translations are forgotten", NULL, EXPLAIN_HELPER},
};

struct flow_path {
	char name[24];
	uint64_t count[ARRAY_LEN(flows)];
	json_t *exits; /* name: {count, ns} */
};
#define PATHS_MAX 16
struct exits {
	struct explain *x;
	struct flow_path path[PATHS_MAX];
	unsigned npaths;
	json_t *costs; /* records */
};

static struct flow_path *path_of(struct exits *g, const char *name)
{
	for (unsigned i = 0; i < g->npaths; i++)
		if (!strcmp(g->path[i].name, name))
			return &g->path[i];
	if (g->npaths == PATHS_MAX || strlen(name) >= sizeof(g->path[0].name))
		return NULL;
	snprintf(g->path[g->npaths].name, sizeof(g->path[0].name), "%s", name);
	g->path[g->npaths].exits = json_object();
	return &g->path[g->npaths++];
}

static double number_of(const json_t *o, const char *field)
{
	const json_t *v = json_object_get(o, field);

	return json_is_number(v) && json_number_value(v) > 0 ? json_number_value(v) : 0;
}

static void add_exit(json_t *exits, const char *name, const json_t *e)
{
	json_t *old = json_object_get(exits, name);
	double ns = number_of(e, "ns") + number_of(e, "outside_s") * 1e9;
	json_int_t n = json_integer_value(json_object_get(e, "count"));

	if (n <= 0 || n > INT64_MAX / 4)
		return;
	json_object_set_new(exits, name,
			    json_pack("{s:I, s:f}", "count", n + json_integer_value(json_object_get(old, "count")),
				      "ns", ns + number_of(old, "ns")));
}

/* A record with counters, of run --json or of a results file: added to its path. */
static void add_record(struct exits *g, const json_t *o)
{
	json_t *counters = json_object_get(o, "counters"), *exits = json_object_get(o, "exits"), *e;
	const char *name = json_string_value(json_object_get(o, "path")), *key;
	struct flow_path *p;

	if (!json_is_object(exits))
		exits = json_object_get(json_object_get(o, "kvm"), "exits");
	if (!name || (!json_is_object(counters) && !json_is_object(exits)) || !(p = path_of(g, name)))
		return;
	for (unsigned i = 0; i < ARRAY_LEN(flows); i++) {
		json_int_t n = json_integer_value(json_object_get(counters, flows[i].counter));

		p->count[i] += n > 0 ? (uint64_t)n : 0;
	}
	json_object_foreach(exits, key, e) add_exit(p->exits, key, e);
}

/* p50 of the item on the path, 0 when it is not known. */
static double cost_ns(const struct exits *g, const char *path, const char *item)
{
	size_t i;
	json_t *o;

	json_array_foreach(g->costs, i, o)
	{
		const char *p = json_string_value(json_object_get(o, "path")),
			   *t = json_string_value(json_object_get(o, "item"));

		if (p && t && item && !strcmp(p, path) && !strcmp(t, item) && json_is_true(json_object_get(o, "ok")) &&
		    number_of(o, "p50") > 0)
			return number_of(o, "p50");
	}
	return 0;
}

static const char *item_of(const struct flow *w)
{
	const struct overhead_estimate *e;

	for (unsigned i = 0; (e = overhead_estimate_at(i)); i++)
		if (!strcmp(e->counter, w->counter))
			return e->item;
	return w->item;
}

static void time_text(double ns, char *out, size_t n)
{
	if (ns < 1e3)
		snprintf(out, n, "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(out, n, "%.1f us", ns / 1e3);
	else if (ns < 1e9)
		snprintf(out, n, "%.1f ms", ns / 1e6);
	else
		snprintf(out, n, "%.2f s", ns / 1e9);
}

/* Wider for more: a point for each power of ten. */
static double pen(uint64_t n)
{
	double w = 0.7;

	for (; n >= 10; n /= 10)
		w += 0.7;
	return w;
}

/* One event's way. The event and the handler have nodes of their own for each path: lines that cross say nothing. */
static void draw_flow(struct exits *g, unsigned p, const char *id, const char *event, const char *handler,
		      enum explain_kind kind, uint64_t n, double ns, bool estimate)
{
	FILE *f = g->x->dot;
	char t[40] = "";

	if (ns > 0)
		time_text(ns, t, sizeof(t));
	fprintf(f, "\"e%u.%s\" [label=\"", p, id);
	explain_quoted(f, event);
	fprintf(f, "\"];\n\"h%u.%s\" [fillcolor=\"%s\", label=\"", p, handler, explain_kinds[kind].colour);
	explain_quoted(f, handler);
	fprintf(f, "\"];\n\"e%u.%s\" -> p%u [label=\"%" PRIu64 "\", penwidth=%.1f];\n", p, id, p, n, pen(n));
	fprintf(f, "p%u -> \"h%u.%s\" [label=\"%" PRIu64 "%s%s%s\", penwidth=%.1f];\n", p, p, handler, n,
		*t ? "\\n" : "", *t && estimate ? "~" : "", t, pen(n));
	fprintf(g->x->text, "%14" PRIu64 "  %-38s %-34s %s%s\n", n, event, handler, *t && estimate ? "~" : "", t);
}

static bool draw_path(struct exits *g, unsigned i)
{
	struct flow_path *p = &g->path[i];
	const char *key;
	json_t *e;
	bool any = false;

	fprintf(g->x->dot, "p%u [shape=ellipse, fontsize=14, label=\"", i);
	explain_quoted(g->x->dot, p->name);
	fprintf(g->x->dot, "\"];\n");
	fprintf(g->x->text, "path %s\n", p->name);
	json_object_foreach(p->exits, key, e)
	{
		char id[64], event[96];

		snprintf(id, sizeof(id), "kvm.%.40s", key);
		for (char *s = id; *s; s++)
			*s = *s == '"' || *s == '\\' ? '_' : *s;
		snprintf(event, sizeof(event), "KVM exit: %.60s", key);
		draw_flow(g, i, id, event, "run loop: handles KVM's exit", EXPLAIN_EXIT,
			  (uint64_t)json_integer_value(json_object_get(e, "count")), number_of(e, "ns"), false);
		any = true;
	}
	for (unsigned k = 0; k < ARRAY_LEN(flows); k++) {
		const struct flow *w = &flows[k];

		if (!p->count[k])
			continue;
		draw_flow(g, i, w->counter, w->event, w->handler, w->kind, p->count[k],
			  (double)p->count[k] * cost_ns(g, p->name, item_of(w)), true);
		any = true;
	}
	return any;
}

enum status explain_exits(struct explain *x, const char *from)
{
	struct exits g = {.x = x};
	json_t *all, *o;
	size_t i;

	all = explain_load_lines(x, from);
	if (all && x->costs && !(g.costs = explain_load_lines(x, x->costs))) {
		json_decref(all);
		all = NULL;
	}
	if (!all)
		return x->e.status;
	json_array_foreach(all, i, o) add_record(&g, o);
	json_decref(all);
	if (g.npaths) {
		explain_begin(x, "exits", "LR");
		for (unsigned p = 0; p < g.npaths; p++)
			draw_path(&g, p);
		explain_end(x, 1u << EXPLAIN_CHECK | 1u << EXPLAIN_HELPER | 1u << EXPLAIN_EXIT);
	} else {
		error_set(&x->e, ST_BAD_FILE,
			  "%s has no counters: give the stderr of \"run --json\", or a folder of \"eval\"", from);
	}
	for (unsigned p = 0; p < g.npaths; p++)
		json_decref(g.path[p].exits);
	json_decref(g.costs);
	return x->e.status;
}
