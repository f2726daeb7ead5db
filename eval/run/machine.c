// SPDX-License-Identifier: GPL-2.0-or-later
/* steelyard eval machine: what single operations of a machine cost on each path, as Adams & Agesen 2006 asked. */
#include "eval/run/machine.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/status.h"

#define MAX_PATHS 8
#define DEFAULT_PATHS "native,kvm,bt,interp,qemu-tcg,qemu-kvm"

struct machine_eval {
	const struct machine_path *path[MAX_PATHS];
	unsigned npaths;
	const char *items[MACHINE_ROWS_MAX];
	char images[4096], self[4096];
	struct machine_request rq;
	struct machine_cost cost[MAX_PATHS][MACHINE_ROWS_MAX];
	bool json;
};

static void usage(FILE *f)
{
	fprintf(f,
		"usage: steelyard eval machine [options]\n"
		"  --paths A,B       which paths and peers (default: %s)\n"
		"  --items A,B       which items (default: all; --list names them)\n"
		"  --budget MS       time for each item's batches, 1..10000 (default 20)\n"
		"  --images DIR      machine.elf and machine-native (default: machine beside the program)\n"
		"  --json            `cost` records, one a line, instead of the table\n"
		"  --list            the items: family, name, what one operation is\n",
		DEFAULT_PATHS);
}

static void list(void)
{
	printf("A: Adams & Agesen 2006, S: SimBench 2017, K: vmexit of kvm-unit-tests, B: baseline\n");
	for (unsigned i = 0; machine_row_at(i); i++) {
		const struct machine_row *r = machine_row_at(i);

		printf("%-4s%-15s %s\n", r->family, r->name, r->what);
		if (r->native && *r->native)
			printf("    %-15s native: %s\n", "", r->native);
	}
}

static bool fail(const char *what, const char *word)
{
	fprintf(stderr, "steelyard eval: %s \"%.40s\"; see steelyard eval machine --%s\n", what, word,
		strstr(what, "item") ? "list" : "help");
	return false;
}

static bool parse_paths(struct machine_eval *m, char *names)
{
	char *save = NULL;

	for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		const struct machine_path *p = machine_path_find(name);

		if (!p)
			return fail("no path is called", name);
		for (unsigned i = 0; i < m->npaths; i++)
			if (m->path[i] == p)
				p = NULL;
		if (p && m->npaths < MAX_PATHS)
			m->path[m->npaths++] = p;
	}
	return m->npaths || fail("no path in", names);
}

static bool parse_items(struct machine_eval *m, char *names)
{
	char *save = NULL;

	for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (!machine_row_find(name))
			return fail("no item is called", name);
		if (m->rq.nitems < MACHINE_ROWS_MAX)
			m->items[m->rq.nitems++] = machine_row_find(name)->name;
	}
	m->rq.items = m->items;
	return m->rq.nitems || fail("no item in", names);
}

static bool parse_budget(struct machine_eval *m, const char *s)
{
	char *end;

	m->rq.budget_ms = strtod(s, &end);
	if (end == s || *end || !(m->rq.budget_ms >= 1 && m->rq.budget_ms <= 10000))
		return fail("--budget is a number of milliseconds from 1 to 10000, not", s);
	return true;
}

/* The folder beside the program, and the program. */
static bool find_files(struct machine_eval *m)
{
	ssize_t n = readlink("/proc/self/exe", m->self, sizeof(m->self) - 1);
	char file[4200];

	m->self[n > 0 ? n : 0] = 0;
	if (!m->images[0]) {
		const char *slash = strrchr(m->self, '/');

		snprintf(m->images, sizeof(m->images), "%.*s/machine", slash ? (int)(slash - m->self) : 0, m->self);
	}
	for (unsigned i = 0; i < 2; i++) {
		snprintf(file, sizeof(file), "%s/%s", m->images, i ? "machine-native" : "machine.elf");
		if (access(file, R_OK)) {
			fprintf(stderr, "steelyard eval: no %s: `make` builds it, --images says where it is\n", file);
			return false;
		}
	}
	m->rq.self = m->self;
	m->rq.images = m->images;
	return true;
}

static void dump(json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	putchar('\n');
	fflush(stdout);
	json_decref(o);
}

static json_t *record(const struct machine_path *path, const struct machine_cost *c, const char *unit)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b}", "type", "cost", "path", path->name, "item",
			 c->row->name, "unit", unit, "n", (json_int_t)c->n, "batch", (json_int_t)c->batch, "ok", c->ok);
}

/* One for the host's time; another for CPU time, of which the mean alone is known. */
static void print_record(void *ctx, const struct machine_path *path, const struct machine_cost *c)
{
	json_t *o = record(path, c, "ns"), *values;

	(void)ctx;
	if (c->note[0])
		json_object_set_new(o, "note", json_string(c->note));
	if (!c->ok) {
		json_object_set_new(o, "why", json_string(c->why));
		dump(o);
		return;
	}
	values = json_array();
	for (unsigned i = 0; i < c->nvalues; i++)
		json_array_append_new(values, json_real(c->values[i]));
	json_object_set_new(o, "min", json_real(c->min));
	json_object_set_new(o, "p50", json_real(c->p50));
	json_object_set_new(o, "p95", json_real(c->p95));
	json_object_set_new(o, "p99", json_real(c->p99));
	json_object_set_new(o, "mean", json_real(c->mean));
	json_object_set_new(o, "values", values);
	if (c->clock_differs)
		json_object_set_new(o, "flags", json_pack("[s]", "clock"));
	dump(o);
	if (c->cpu_mean > 0 && !c->clock_differs) {
		o = record(path, c, "cpu_ns");
		json_object_set_new(o, "mean", json_real(c->cpu_mean));
		dump(o);
	}
}

static void figure(char *out, size_t size, double ns)
{
	snprintf(out, size, ns < 10 ? "%.2f" : ns < 100 ? "%.1f" : "%.0f", ns);
}

static void print_cell(const struct machine_cost *c)
{
	char p50[32], p95[32], text[80];

	figure(p50, sizeof(p50), c->p50);
	figure(p95, sizeof(p95), c->p95);
	snprintf(text, sizeof(text), "%s (%s)", p50, p95);
	printf(" %18s", c->ok ? text : "-");
}

/* Reasons, each once for all items of a path that share it. */
static void print_reasons(const struct machine_eval *m, unsigned p)
{
	for (unsigned i = 0; i < MACHINE_ROWS_MAX; i++) {
		const struct machine_cost *c = &m->cost[p][i];
		const char *sep = "";
		bool first = true;

		if (!c->row || c->ok)
			continue;
		for (unsigned k = 0; k < i; k++)
			first &= !m->cost[p][k].row || m->cost[p][k].ok || strcmp(m->cost[p][k].why, c->why);
		if (!first)
			continue;
		printf("%s: ", m->path[p]->name);
		for (unsigned k = i; k < MACHINE_ROWS_MAX; k++)
			if (m->cost[p][k].row && !m->cost[p][k].ok && !strcmp(m->cost[p][k].why, c->why)) {
				printf("%s%s", sep, m->cost[p][k].row->name);
				sep = ", ";
			}
		printf(": %s\n", c->why);
	}
}

/* How the path had to be started; the same for all its items. */
static void print_note(const struct machine_eval *m, unsigned p)
{
	for (unsigned i = 0; i < MACHINE_ROWS_MAX; i++)
		if (m->cost[p][i].row && m->cost[p][i].note[0]) {
			printf("%s: %s\n", m->path[p]->name, m->cost[p][i].note);
			return;
		}
}

static void print_table(const struct machine_eval *m)
{
	unsigned off = 0;
	double load = 0;

	printf("\nns for one operation: median (95th percentile) of batches\n%-15s", "");
	for (unsigned p = 0; p < m->npaths; p++)
		printf(" %18s", m->path[p]->name);
	printf("\n");
	for (unsigned i = 0; machine_row_at(i); i++) {
		if (!m->cost[0][i].row)
			continue;
		printf("%-15s", machine_row_at(i)->name);
		for (unsigned p = 0; p < m->npaths; p++) {
			print_cell(&m->cost[p][i]);
			off += m->cost[p][i].clock_differs;
		}
		printf("\n");
	}
	for (unsigned p = 0; p < m->npaths; p++) {
		print_reasons(m, p);
		print_note(m, p);
	}
	if (off)
		printf("%u figures whose clock inside differs from the host's by more than 0.5 %% and 2 ms (a busy "
		       "host reads markers late)\n",
		       off);
	if (getloadavg(&load, 1) == 1)
		printf("load of this host at the end: %.2f\n", load);
}

/* What is under way, on a terminal only. */
static void progress(void *ctx, const struct machine_path *path, const struct machine_cost *c)
{
	(void)ctx;
	if (isatty(2))
		fprintf(stderr, "\r%-10s %-16s", path->name, c->row->name);
}

int machine_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"paths", required_argument, NULL, 'p'},  {"items", required_argument, NULL, 'i'},
		{"budget", required_argument, NULL, 'b'}, {"images", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},         {"list", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
	};
	struct machine_eval *m = calloc(1, sizeof(*m));
	char *paths = strdup(DEFAULT_PATHS);
	int status = 2, o = 0;
	bool good = m && paths;

	if (good)
		m->rq.budget_ms = 20;
	optind = 1;
	while (good && (o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (o) {
		case 'p':
			free(paths);
			paths = strdup(optarg);
			good = paths != NULL;
			break;
		case 'i':
			good = parse_items(m, optarg);
			break;
		case 'b':
			good = parse_budget(m, optarg);
			break;
		case 'd':
			snprintf(m->images, sizeof(m->images), "%s", optarg);
			break;
		case 'j':
			m->json = true;
			break;
		case 'l':
		case 'h':
			o == 'l' ? list() : usage(stdout);
			status = 0;
			good = false;
			break;
		default:
			fprintf(stderr, "steelyard eval machine: %.60s %s; see --help\n", argv[optind - 1],
				o == ':' ? "needs a value" : "is not an option");
			good = false;
		}
	}
	if (good && optind < argc)
		good = fail("no argument is expected:", argv[optind]);
	if (good && parse_paths(m, paths)) {
		status = 1;
		if (find_files(m)) {
			m->rq.done = m->json ? print_record : progress;
			for (unsigned p = 0; p < m->npaths; p++)
				machine_run(m->path[p], &m->rq, m->cost[p]);
			if (!m->json) {
				fprintf(stderr, isatty(2) ? "\r%30s\r" : "", "");
				print_table(m);
			}
			status = 0;
		}
	}
	free(paths);
	free(m);
	return status;
}
