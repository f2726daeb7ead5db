// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a log holds, as far as going on with it needs to know. An execution is named by its item, workload, scale and iteration; it is
 * done when it has a record, whatever that record says. What is missing is what the plan has and this does not.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "eval/run/runner.h"

static const char *str(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static unsigned num(json_t *o, const char *key)
{
	return (unsigned)json_integer_value(json_object_get(o, key));
}

static bool has_flag(json_t *o, const char *flag)
{
	size_t i;
	json_t *f;

	json_array_foreach(json_object_get(o, "flags"), i, f) if (!strcmp(json_string_value(f), flag)) return true;
	return false;
}

bool ledger_init(struct ledger *l)
{
	*l = (struct ledger){.done = json_object(),
			     .given_up = json_object(),
			     .checksum = json_object(),
			     .native_s = json_object(),
			     .pilot = json_array(),
			     .merged = json_object(),
			     .block = -1};
	return l->merged && l->done && l->given_up && l->checksum && l->native_s && l->pilot;
}

void ledger_free(struct ledger *l)
{
	json_decref(l->spec);
	json_decref(l->environment);
	json_decref(l->done);
	json_decref(l->given_up);
	json_decref(l->checksum);
	json_decref(l->native_s);
	json_decref(l->pilot);
	json_decref(l->merged);
	json_decref(l->like);
	*l = (struct ledger){0};
}

static void key_execution(char *key, size_t n, unsigned order, const char *workload, unsigned scale, unsigned iteration)
{
	snprintf(key, n, "%u/%s/%u/%u", order, workload, scale, iteration);
}

static void key_path(char *key, size_t n, const char *path, unsigned cpus, const char *workload)
{
	snprintf(key, n, "%s/%u/%s", path, cpus, workload);
}

static void take_sample(struct ledger *l, json_t *o)
{
	const char *workload = str(o, "workload"), *pass = str(o, "pass");
	bool ok = json_is_true(json_object_get(o, "ok"));
	unsigned scale = num(o, "scale");
	char key[200];

	key_execution(key, sizeof(key), num(o, "order"), workload, scale, num(o, "iteration"));
	json_object_set_new(l->done, key, json_true());
	l->samples++;
	l->failed += !ok;
	l->invalid += ok && !json_is_true(json_object_get(o, "valid"));
	snprintf(key, sizeof(key), "%s/%u", workload, scale);
	if (!strcmp(pass, "reference") && ok) {
		json_object_set(l->checksum, key, json_object_get(o, "checksum"));
		json_object_set_new(l->native_s, key,
				    json_real((double)json_integer_value(json_object_get(o, "wall_ns")) * 1e-9));
	}
	if (has_flag(o, "pilot") && num(o, "iteration") && json_is_true(json_object_get(o, "timed")) &&
	    json_is_true(json_object_get(o, "valid")))
		json_array_append(l->pilot, o);
}

static void take_part(struct ledger *l, json_t *o)
{
	l->part = (struct ledger_part){num(o, "block"), num(o, "records"), 0};
	l->nparts++;
	l->unlike += json_object_get(o, "unlike") != NULL;
	if (!l->like)
		l->like = json_incref(json_object_get(o, "environment"));
}

/* A record of the part that is being merged is one less to come. */
static void count_part(struct ledger *l, bool part)
{
	char key[20];

	if (!part && l->part.seen >= l->part.records)
		return;
	l->part.seen += !part;
	snprintf(key, sizeof(key), "%u", l->part.block);
	if (l->part.seen == l->part.records)
		json_object_set_new(l->merged, key, json_true());
}

bool ledger_merged(const struct ledger *l, unsigned block)
{
	char key[20];

	snprintf(key, sizeof(key), "%u", block);
	return json_object_get(l->merged, key);
}

static void take_event(struct ledger *l, json_t *o)
{
	char key[200];

	if (!strcmp(str(o, "what"), "given-up") || !strcmp(str(o, "what"), "left-out")) {
		key_path(key, sizeof(key), str(o, "path"), num(o, "cpus"), str(o, "workload"));
		json_object_set_new(l->given_up, key, json_true());
	} else if (!strcmp(str(o, "what"), "submitted")) {
		snprintf(l->job, sizeof(l->job), "%s", str(o, "job"));
	}
}

bool ledger_take(void *ctx, json_t *o)
{
	struct ledger *l = ctx;
	const char *type = str(o, "type");
	char key[200];

	l->ended = false;
	if (!strcmp(type, "run")) {
		l->spec = json_incref(json_object_get(o, "spec"));
		l->environment = json_incref(json_object_get(o, "environment"));
		if (json_object_get(o, "block"))
			l->block = (int)num(o, "block");
	} else if (!strcmp(type, "part")) {
		take_part(l, o);
	} else if (!strcmp(type, "plan")) {
		l->plan[json_is_true(json_object_get(o, "pilot"))] =
			(struct ledger_plan){true, num(o, "blocks"), num(o, "items"), num(o, "first")};
	} else if (!strcmp(type, "boot")) {
		snprintf(key, sizeof(key), "%u", num(o, "order"));
		json_object_set_new(l->done, key, json_true());
	} else if (!strcmp(type, "sample")) {
		take_sample(l, o);
	} else if (!strcmp(type, "cost")) {
		key_execution(key, sizeof(key), num(o, "order"), str(o, "item"), 0, 0);
		json_object_set_new(l->done, key, json_true());
		l->costs++;
	} else if (!strcmp(type, "event")) {
		take_event(l, o);
	} else if (!strcmp(type, "end")) {
		l->ended = true;
		l->complete = json_is_true(json_object_get(o, "complete"));
	}
	count_part(l, !strcmp(type, "part"));
	return true;
}

bool ledger_boot_done(const struct ledger *l, const struct plan_item *it)
{
	char key[20];

	snprintf(key, sizeof(key), "%u", it->order);
	return json_object_get(l->done, key);
}

bool ledger_done(const struct ledger *l, const struct plan_item *it, const char *workload, unsigned scale,
		 unsigned iteration)
{
	char key[200];

	key_execution(key, sizeof(key), it->order, workload, scale, iteration);
	return json_object_get(l->done, key);
}

bool ledger_given_up(const struct ledger *l, const struct spec_path *p, const char *workload)
{
	char key[200];

	key_path(key, sizeof(key), p->row->name, p->cpus, workload ? workload : "");
	return json_object_get(l->given_up, key);
}

/* ---- how many blocks ---- */

/* The mean logarithm of what a path, or native pass 0, took for a workload in a block of the pilot. false: nothing. */
static bool pilot_mean(json_t *pilot, const char *path, unsigned cpus, const char *workload, unsigned block,
		       double *mean)
{
	unsigned n = 0;
	size_t i;
	json_t *o;

	*mean = 0;
	json_array_foreach(pilot, i, o)
	{
		if (num(o, "block") != block || num(o, "cpus") != cpus || strcmp(str(o, "path"), path) ||
		    strcmp(str(o, "workload"), workload) || (*str(o, "pass") && strcmp(str(o, "pass"), "0")))
			continue;
		*mean += log((double)json_integer_value(json_object_get(o, "cpu_ns")));
		n++;
	}
	*mean /= n ? n : 1;
	return n > 0;
}

/* Standard deviation of the log ratio over the pilot's blocks; false below two. */
static bool pilot_spread(const struct ledger *l, const struct eval_spec *s, const struct spec_path *p,
			 const char *workload, double *sd)
{
	double sum = 0, squares = 0;
	unsigned n = 0;

	for (unsigned b = 0; b < s->pilot_blocks; b++) {
		double a, of;

		if (!pilot_mean(l->pilot, p->row->name, p->cpus, workload, b, &a) ||
		    !pilot_mean(l->pilot, "native", p->cpus, workload, b, &of))
			continue;
		sum += a - of;
		squares += (a - of) * (a - of);
		n++;
	}
	if (n < 2)
		return false;
	*sd = sqrt(fmax(0, (squares - sum * sum / n) / (n - 1)));
	return true;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

unsigned ledger_blocks(const struct ledger *l, const struct eval_spec *s, char *why, size_t n)
{
	double sd[SPEC_MAX_PATHS * SPEC_MAX_WORKLOADS], wanted;
	unsigned count = 0, blocks = s->blocks;

	if (!s->pilot_blocks) {
		snprintf(why, n, "the spec says so");
		return s->blocks;
	}
	for (unsigned p = 0; p < s->npaths; p++)
		for (unsigned w = 0; w < s->nworkloads; w++)
			count += pilot_spread(l, s, &s->path[p], s->workload[w].name, &sd[count]);
	if (!count) {
		snprintf(why, n, "the pilot has no two ratios to compare: the spec's fewest");
		return s->blocks;
	}
	qsort(sd, count, sizeof(*sd), by_size);
	/* Three quarters of the ratios are to reach the target. Student's quantile for this many blocks is about 2.2. */
	wanted = 2.2 * sd[(count - 1) * 3 / 4] * 100 / s->target;
	wanted = ceil(wanted * wanted);
	blocks = wanted > s->blocks_max ? s->blocks_max : wanted < s->blocks ? s->blocks : (unsigned)wanted;
	snprintf(why, n,
		 "the pilot's %u ratios vary by %.1f %% from block to block (third quartile): +-%.3g %% needs %.0f "
		 "blocks, the spec allows %u to %u",
		 count, sd[(count - 1) * 3 / 4] * 100, s->target, wanted, s->blocks, s->blocks_max);
	return blocks;
}
