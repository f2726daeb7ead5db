// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * results.jsonl into memory. A line is parsed, checked against eval/schema.c, and only then believed: everything behind that
 * check may take fields for what the schema says. The last line of a run that was killed has no end; it is left out, as every line
 * is that cannot be read, and the report says so.
 */
#include "eval/report/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/results_file.h"
#include "eval/schema.h"

static const char *const phases[] = {"cold", "steady"};
static const char *const metrics[] = {"cpu", "wall"};
static const char *const passes[] = {"", "0", "1", "slow", "inject", "reference"};

const char *phase_name(enum results_phase p)
{
	return phases[p];
}

const char *metric_name(enum results_metric m)
{
	return metrics[m];
}

/* Room for one more element; NULL: no memory. The new element is zero. */
static void *grow(void **array, unsigned *n, size_t size)
{
	/* powers of two: a new size whenever n is one */
	if ((*n & (*n - 1)) == 0) {
		void *p = realloc(*array, (*n ? *n * 2 : 1) * size);

		if (!p)
			return NULL;
		*array = p;
	}
	return memset((char *)*array + (*n)++ * size, 0, size);
}
#define GROW(array, n) ((__typeof__(array))grow((void **)&(array), &(n), sizeof(*(array))))

static const char *text_of(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static double number_of(json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static unsigned small_of(json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v > 1000000000 ? 1000000000 : (unsigned)v;
}

static bool true_of(json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static bool has_flag(json_t *o, const char *flag)
{
	json_t *flags = json_object_get(o, "flags"), *f;
	size_t i;

	json_array_foreach(flags, i, f) if (!strcmp(json_string_value(f), flag)) return true;
	return false;
}

int results_find_workload(const struct results *r, const char *name)
{
	for (unsigned i = 0; i < r->nworkloads; i++)
		if (!strcmp(r->workload[i].name, name))
			return (int)i;
	return -1;
}

int results_find_path(const struct results *r, const char *name, unsigned cpus)
{
	for (unsigned i = 0; i < r->npaths; i++)
		if (r->path[i].cpus == cpus && !strcmp(r->path[i].name, name))
			return (int)i;
	return -1;
}

const char *results_left_out(const struct results *r, int path, unsigned workload)
{
	for (unsigned i = 0; i < r->nevents; i++) {
		const struct results_event *e = &r->event[i];

		if (path >= 0 && e->path == path && e->workload && e->why && !strcmp(e->what, "left-out") &&
		    !strcmp(e->workload, r->workload[workload].name))
			return e->why;
	}
	return NULL;
}

const char *results_path_label(const struct results *r, int path)
{
	return path == RESULTS_NATIVE ? "native" : r->path[path].label;
}

/* Sets of groups that have a name of their own. */
static const struct {
	const char *name, *groups;
} sets[] = {{"cpu", " int fp mem gen "}, {"all", NULL}};
#define NSETS (sizeof(sets) / sizeof(sets[0]))

const char *results_group_at(const struct results *r, unsigned i)
{
	return i < r->ngroups ? r->group[i] : i < r->ngroups + NSETS ? sets[i - r->ngroups].name : NULL;
}

bool results_in_group(const struct results *r, unsigned workload, const char *group)
{
	const char *of = r->workload[workload].group;
	char word[64];

	if (!strcmp(group, of))
		return true;
	snprintf(word, sizeof(word), " %.60s ", of);
	for (unsigned i = 0; i < NSETS; i++)
		if (!strcmp(group, sets[i].name))
			return !sets[i].groups || strstr(sets[i].groups, word);
	return false;
}

static bool take_group(struct results *r, const char *name)
{
	const char **g;

	for (unsigned i = 0; i < r->ngroups; i++)
		if (!strcmp(r->group[i], name))
			return true;
	g = GROW(r->group, r->ngroups);
	if (g)
		*g = name;
	return g != NULL;
}

/* Index of the workload, new ones behind those of the spec; -1: no memory. */
static int take_workload(struct results *r, const char *name, const char *group)
{
	int i = results_find_workload(r, name);
	struct results_workload *w;

	if (i >= 0)
		return i;
	w = GROW(r->workload, r->nworkloads);
	if (!w || !take_group(r, group))
		return -1;
	*w = (struct results_workload){name, group};
	return (int)r->nworkloads - 1;
}

/* -2: no memory. */
static int take_path(struct results *r, const char *name, unsigned cpus)
{
	struct results_path *p;
	int i;

	if (!strcmp(name, "native"))
		return RESULTS_NATIVE;
	i = results_find_path(r, name, cpus);
	if (i >= 0)
		return i;
	p = GROW(r->path, r->npaths);
	if (!p)
		return -2;
	p->name = name;
	p->cpus = cpus;
	if (cpus > 1)
		snprintf(p->label, sizeof(p->label), "%.32s x%u", name, cpus);
	else
		snprintf(p->label, sizeof(p->label), "%.40s", name);
	return (int)r->npaths - 1;
}

static void path_failed(struct results *r, int path, const char *why)
{
	if (path >= 0 && !r->path[path].why)
		r->path[path].why = why ? why : "failed without a reason";
}

static void count_block(struct results *r, unsigned block, bool pilot)
{
	if (!pilot && block >= r->nblocks)
		r->nblocks = block + 1;
}

static bool take_run(struct results *r, json_t *o)
{
	json_t *spec = json_object_get(o, "spec"), *e;
	size_t i;

	r->head = o;
	r->run = text_of(o, "run");
	r->spec = text_of(spec, "name");
	r->command = text_of(o, "command");
	r->started = text_of(o, "started");
	r->seed = (uint64_t)json_integer_value(json_object_get(spec, "seed"));
	r->inject = number_of(spec, "inject");
	r->blocks = small_of(spec, "blocks");
	r->memory_mb = small_of(spec, "memory_mb");
	json_array_foreach(json_object_get(spec, "workloads"), i,
			   e) if (take_workload(r, text_of(e, "name"), text_of(e, "group")) < 0) return false;
	json_array_foreach(json_object_get(spec, "paths"), i, e)
	{
		int p = take_path(r, text_of(e, "name"), small_of(e, "cpus"));

		if (p == -2)
			return false;
		if (p >= 0) {
			r->path[p].slow = true_of(e, "slow");
			r->path[p].boot_only = true_of(e, "boot_only");
		}
	}
	return true;
}

static bool take_sample(struct results *r, json_t *o)
{
	int w = take_workload(r, text_of(o, "workload"), text_of(o, "group"));
	int p = take_path(r, text_of(o, "path"), small_of(o, "cpus"));
	json_t *threads = json_object_get(o, "threads");
	const char *pass = text_of(o, "pass");
	struct results_sample *s;

	if (w < 0 || p == -2 || !(s = GROW(r->sample, r->nsamples)))
		return false;
	s->seq = small_of(o, "seq");
	s->block = small_of(o, "block");
	s->cpus = small_of(o, "cpus");
	s->workload = (unsigned)w;
	s->scale = small_of(o, "scale");
	s->iteration = small_of(o, "iteration");
	s->order = small_of(o, "order");
	s->repeat = small_of(o, "repeat") ? small_of(o, "repeat") : 1;
	s->path = p;
	for (unsigned i = 0; pass && i < sizeof(passes) / sizeof(passes[0]); i++)
		if (!strcmp(pass, passes[i]))
			s->pass = (enum results_pass)i;
	s->phase = strcmp(text_of(o, "phase"), "cold") ? PHASE_STEADY : PHASE_COLD;
	s->ok = true_of(o, "ok");
	s->valid = s->ok && true_of(o, "valid");
	s->wall_ns = number_of(o, "wall_ns");
	s->cpu_ns = number_of(o, "cpu_ns");
	s->timed = true_of(o, "timed") && s->wall_ns > 0 && s->cpu_ns > 0;
	s->guest_wall_ns = number_of(o, "guest_wall_ns");
	s->sys_ns = json_object_get(o, "sys_ns") ? number_of(o, "sys_ns") : -1;
	s->vcpu_ns = number_of(threads, "vcpu_ns");
	s->io_ns = number_of(threads, "io_ns");
	s->other_ns = number_of(threads, "other_ns");
	s->pilot = has_flag(o, "pilot");
	s->unquiet = has_flag(o, "unquiet");
	s->clock = has_flag(o, "clock");
	s->late = has_flag(o, "late");
	s->checksum = text_of(o, "checksum");
	s->why = text_of(o, "why");
	s->counters = json_object_get(o, "counters");
	s->exits = json_object_get(o, "exits");
	count_block(r, s->block, s->pilot);
	if (!s->valid && !s->pilot)
		path_failed(r, p, s->why ? s->why : s->ok ? "a checksum is not the native one" : NULL);
	return true;
}

static bool take_boot(struct results *r, json_t *o)
{
	int p = take_path(r, text_of(o, "path"), small_of(o, "cpus"));
	json_t *split = json_object_get(o, "split");
	struct results_boot *b;

	if (p == -2 || !(b = GROW(r->boot, r->nboots)))
		return false;
	b->block = small_of(o, "block");
	b->order = small_of(o, "order");
	b->path = p;
	b->ok = true_of(o, "ok");
	b->why = text_of(o, "why");
	b->pilot = has_flag(o, "pilot");
	b->wall_ns = number_of(o, "wall_ns");
	b->cpu_ns = number_of(o, "cpu_ns");
	b->ram_kb = number_of(o, "ram_kb");
	b->over_ram_kb = number_of(o, "over_ram_kb");
	b->start_ns = number_of(split, "start_ns");
	b->kernel_ns = number_of(split, "kernel_ns");
	b->init_ns = number_of(split, "init_ns");
	b->counters = json_object_get(o, "counters");
	count_block(r, b->block, b->pilot);
	if (!b->ok || b->why)
		path_failed(r, p, b->why);
	return true;
}

static bool take_cost(struct results *r, json_t *o)
{
	int p = take_path(r, text_of(o, "path"), json_object_get(o, "cpus") ? small_of(o, "cpus") : 1);
	struct results_cost *c;

	if (p == -2 || !(c = GROW(r->cost, r->ncosts)))
		return false;
	c->block = small_of(o, "block");
	count_block(r, c->block, has_flag(o, "pilot"));
	c->path = p;
	c->item = text_of(o, "item");
	c->unit = text_of(o, "unit");
	c->ok = true_of(o, "ok");
	c->why = text_of(o, "why");
	c->n = small_of(o, "n");
	c->batch = small_of(o, "batch");
	c->p50 = number_of(o, "p50");
	c->p95 = number_of(o, "p95");
	c->p99 = number_of(o, "p99");
	c->min = number_of(o, "min");
	c->mean = number_of(o, "mean");
	return true;
}

static bool take_event(struct results *r, json_t *o)
{
	struct results_event *e = GROW(r->event, r->nevents);
	const char *name = text_of(o, "path");

	if (!e)
		return false;
	e->what = text_of(o, "what");
	e->why = text_of(o, "why");
	e->at = text_of(o, "at");
	e->workload = text_of(o, "workload");
	e->path = name && json_object_get(o, "cpus") ? results_find_path(r, name, small_of(o, "cpus")) : RESULTS_NATIVE;
	if (!strcmp(e->what, "given-up"))
		path_failed(r, e->path, e->why);
	return true;
}

static bool take_end(struct results *r, json_t *o)
{
	r->end = o;
	r->finished = text_of(o, "finished");
	r->complete = true_of(o, "complete");
	return true;
}

static bool take_nothing(struct results *r, json_t *o)
{
	(void)r, (void)o;
	return true;
}

/* A host of a sweep that is not like the first is something that happened. */
static bool take_part(struct results *r, json_t *o)
{
	const char *unlike = text_of(o, "unlike");
	struct results_event *e = unlike ? GROW(r->event, r->nevents) : NULL;

	if (unlike && !e)
		return false;
	/* Where the launcher ran nobody measured. */
	if (!r->nparts++) {
		json_object_set(r->head, "environment", json_object_get(o, "environment"));
		json_object_set(r->head, "probe", json_object_get(o, "probe"));
	}
	if (e)
		*e = (struct results_event){
			.path = RESULTS_NATIVE, .what = "unlike", .why = unlike, .at = text_of(o, "started")};
	return true;
}

static const struct {
	const char *type;
	bool (*take)(struct results *r, json_t *o);
} takers[] = {
	{"run", take_run},   {"plan", take_nothing}, {"boot", take_boot},   {"sample", take_sample},
	{"cost", take_cost}, {"part", take_part},    {"event", take_event}, {"end", take_end},
};

static void problem(struct results *r, unsigned line, const char *text)
{
	struct results_problem *p;

	r->bad_lines++;
	if (r->nproblems == RESULTS_MAX_PROBLEMS || !(p = GROW(r->problem, r->nproblems)))
		return;
	p->line = line;
	snprintf(p->text, sizeof(p->text), "%s", text);
}

/* One line. false: no memory. */
static bool take_line(struct results *r, const char *line, size_t len, unsigned number)
{
	json_error_t err;
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err), **keep;
	char why[200];

	if (!o) {
		snprintf(why, sizeof(why), "not JSON: %.150s", err.text);
		problem(r, number, why);
		return true;
	}
	if (!schema_check(o, why, sizeof(why))) {
		problem(r, number, why);
		json_decref(o);
		return true;
	}
	const char *type = text_of(o, "type"), *run = text_of(o, "run");

	if (!r->head != !strcmp(type, "run")) {
		problem(r, number, r->head ? "a second run record" : "the first record is not a run record");
		json_decref(o);
		return true;
	}
	if (r->head && strcmp(run, r->run)) {
		problem(r, number, "of another run");
		json_decref(o);
		return true;
	}
	keep = GROW(r->record, r->nrecords);
	if (!keep) {
		json_decref(o);
		return false;
	}
	*keep = o;
	for (unsigned i = 0; i < sizeof(takers) / sizeof(takers[0]); i++)
		if (!strcmp(type, takers[i].type))
			return takers[i].take(r, o);
	return true;
}

static bool index_samples(struct results *r)
{
	r->by_workload = malloc((r->nsamples + 1) * sizeof(*r->by_workload));
	r->first = calloc(r->nworkloads + 2, sizeof(*r->first));
	if (!r->by_workload || !r->first)
		return false;
	/* first[w + 1] is where w's next one goes; behind the loop it is where w's end */
	for (unsigned i = 0; i < r->nsamples; i++)
		if (r->sample[i].workload + 2 <= r->nworkloads)
			r->first[r->sample[i].workload + 2]++;
	for (unsigned w = 2; w <= r->nworkloads; w++)
		r->first[w] += r->first[w - 1];
	for (unsigned i = 0; i < r->nsamples; i++)
		r->by_workload[r->first[r->sample[i].workload + 1]++] = i;
	return true;
}

void results_free(struct results *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->nrecords; i++)
		json_decref(r->record[i]);
	free(r->record);
	free(r->path);
	free(r->workload);
	free(r->group);
	free(r->sample);
	free(r->boot);
	free(r->cost);
	free(r->event);
	free(r->problem);
	free(r->by_workload);
	free(r->first);
	free(r);
}

struct results *results_parse(const char *data, size_t len, const char *name, char *text, unsigned n)
{
	struct results *r = calloc(1, sizeof(*r));
	unsigned number = 0;

	while (r && len) {
		const char *end = memchr(data, '\n', len);
		size_t line = end ? (size_t)(end - data) : len;

		number++;
		if (!end)
			problem(r, number, "torn: the run was killed while it wrote this line");
		else if (line && !take_line(r, data, line, number))
			break;
		data += line + (end != NULL);
		len -= line + (end != NULL);
	}
	if (!r || len || !index_samples(r)) {
		snprintf(text, n, "%s: not enough memory", name);
	} else if (!r->head) {
		snprintf(text, n, "%s has no run record%s%s: is it a result of steelyard eval with schema %d?", name,
			 r->nproblems ? "; line 1: " : "", r->nproblems ? r->problem[0].text : "", EVAL_SCHEMA_VERSION);
	} else {
		return r;
	}
	results_free(r);
	return NULL;
}

struct results *results_load(const char *dir, char *text, unsigned n)
{
	struct results *r = NULL;
	char *data;
	size_t len;

	if (results_file_read(dir, &data, &len, text, n)) {
		r = results_parse(data, len, dir, text, n);
		free(data);
	}
	return r;
}
