// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The parts of a sweep become records of the run. parts/K is a results folder of its own: a run record with its host, the native
 * reference pass there, block K. The rule by which they are merged:
 *
 * - Parts that are whole, in the order of their blocks; what a later resume brings stands behind them.
 * - In front of each stands a record "part" with its host, and says how many of the next records are its own: its boots, samples,
 *   costs and events as they are but for run and seq, which are the run's; not its run, plan and end.
 * - Its reference samples come with it and stand in front of the others: processors differ in what libm does, and each host's
 *   checksums are the right ones for its own block.
 * - Ratios are made inside of a block, so on one host. A host that is not like that of the first part is said in "part", and its records
 *   have the flag "unlike".
 *
 * Everything is appended, so a launcher that dies in between leaves a part of which some records are missing: merge_mend() appends
 * them, before anything else is written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "eval/run/runner.h"

struct part {
	json_t *head, *records;
	bool ended, complete;
};

/* What a ratio of one host would not be on another. */
static const char *const alike[] = {"cpu",         "microcode",   "hypervisor", "kvm_module", "kernel",
				    "mitigations", "clocksource", "thp",        "governor",   "ncpus"};

void merge_unlike(json_t *environment, json_t *other, char *text, size_t n)
{
	size_t at = 0;

	text[0] = 0;
	for (unsigned i = 0; i < ARRAY_LEN(alike); i++) {
		json_t *a = json_object_get(environment, alike[i]), *b = json_object_get(other, alike[i]);

		if (json_equal(a, b) || at >= n)
			continue;
		if (json_is_string(a) && json_is_string(b))
			at += (size_t)snprintf(text + at, n - at, "%s%s: \"%.60s\", not \"%.60s\"", at ? "; " : "",
					       alike[i], json_string_value(a), json_string_value(b));
		else
			at += (size_t)snprintf(text + at, n - at, "%s%s", at ? "; other " : "other ", alike[i]);
	}
}

static bool take(void *ctx, json_t *o)
{
	static const char *const merged[] = {"boot", "sample", "cost", "event"};
	struct part *p = ctx;
	const char *type = json_string_value(json_object_get(o, "type"));

	p->ended = !strcmp(type, "end");
	p->complete = p->ended && json_is_true(json_object_get(o, "complete"));
	if (!p->head)
		p->head = json_incref(o);
	for (unsigned i = 0; i < ARRAY_LEN(merged); i++)
		if (!strcmp(type, merged[i]))
			json_array_append(p->records, o);
	return true;
}

static void part_free(struct part *p)
{
	json_decref(p->head);
	json_decref(p->records);
}

/* false: it is not there, or not to be read. */
static bool part_read(const char *dir, struct part *p)
{
	char path[4300], text[400];
	unsigned line;
	uint64_t good;
	size_t torn;

	*p = (struct part){.records = json_array()};
	snprintf(path, sizeof(path), "%.4200s/results.jsonl", dir);
	return p->records && record_scan(path, take, p, &good, &torn, &line, text, sizeof(text)) && p->head &&
	       !strcmp(json_string_value(json_object_get(p->head, "type")), "run");
}

json_t *merge_head(const char *dir)
{
	struct part p;
	json_t *head = part_read(dir, &p) ? json_incref(p.head) : NULL;

	part_free(&p);
	return head;
}

/* Whole, and of this run: its block, the same spec, the same program and guest. */
static bool part_fits(const struct runner *r, unsigned block, struct part *p)
{
	char dir[4200];
	json_t *spec, *hashes, *of = json_object_get(r->ledger.environment, "hashes");
	bool fine;

	snprintf(dir, sizeof(dir), "%.4000s/parts/%u", r->dir, block);
	fine = part_read(dir, p) && p->complete;
	spec = json_object_get(p->head, "spec");
	hashes = json_object_get(json_object_get(p->head, "environment"), "hashes");
	return fine && json_equal(spec, r->ledger.spec) && json_equal(hashes, of) &&
	       json_object_get(p->head, "block") &&
	       (unsigned)json_integer_value(json_object_get(p->head, "block")) == block;
}

bool merge_has(const struct runner *r, unsigned block)
{
	struct part p;
	bool has = ledger_merged(&r->ledger, block) || part_fits(r, block, &p);

	if (!ledger_merged(&r->ledger, block))
		part_free(&p);
	return has;
}

static bool put_record(struct runner *r, json_t *from, bool unlike)
{
	static const char *const own[] = {"schema", "run", "type", "seq"};
	json_t *o = json_deep_copy(from), *flags;

	for (unsigned i = 0; i < ARRAY_LEN(own); i++)
		json_object_del(o, own[i]);
	flags = json_object_get(o, "flags");
	if (unlike && strcmp(json_string_value(json_object_get(from, "type")), "event")) {
		if (!flags)
			json_object_set_new(o, "flags", flags = json_array());
		json_array_append_new(flags, json_string("unlike"));
	}
	return runner_put(r, json_string_value(json_object_get(from, "type")), o);
}

/* Its records from the given one on. */
static bool put_rest(struct runner *r, const struct part *p, unsigned from, bool unlike)
{
	for (size_t i = from; i < json_array_size(p->records); i++)
		if (!put_record(r, json_array_get(p->records, i), unlike))
			return false;
	return true;
}

static void how_unlike(const struct runner *r, const struct part *p, char *text, size_t n)
{
	char what[300];

	text[0] = 0;
	if (r->ledger.like)
		merge_unlike(json_object_get(p->head, "environment"), r->ledger.like, what, sizeof(what));
	if (r->ledger.like && what[0])
		snprintf(text, n, "block %d, on %s: %s", (int)json_integer_value(json_object_get(p->head, "block")),
			 json_string_value(json_object_get(p->head, "node")), what);
}

static bool put_part(struct runner *r, unsigned block, const struct part *p)
{
	json_t *node = json_object_get(p->head, "node"), *o = json_object();
	char unlike[500];

	how_unlike(r, p, unlike, sizeof(unlike));
	json_object_set_new(o, "block", json_integer(block));
	json_object_set_new(o, "records", json_integer((json_int_t)json_array_size(p->records)));
	json_object_set_new(o, "node", node ? json_incref(node) : json_string("unknown"));
	json_object_set(o, "part_run", json_object_get(p->head, "run"));
	json_object_set(o, "started", json_object_get(p->head, "started"));
	json_object_set(o, "environment", json_object_get(p->head, "environment"));
	json_object_set(o, "probe", json_object_get(p->head, "probe"));
	if (unlike[0]) {
		json_object_set_new(o, "unlike", json_string(unlike));
		fprintf(stderr, "%s\n", unlike);
	}
	return runner_put(r, "part", o) && put_rest(r, p, 0, unlike[0]);
}

bool merge_mend(struct runner *r)
{
	const struct ledger_part had = r->ledger.part;
	char unlike[500];
	struct part p;
	bool fine;

	if (had.seen == had.records)
		return true;
	fine = part_fits(r, had.block, &p) && json_array_size(p.records) == had.records;
	if (!fine)
		snprintf(r->log.error, sizeof(r->log.error),
			 "%.3900s/parts/%u is not the part of which %u records are in results.jsonl: bring it back",
			 r->dir, had.block, had.seen);
	if (fine) {
		how_unlike(r, &p, unlike, sizeof(unlike));
		fine = put_rest(r, &p, had.seen, unlike[0]);
	}
	part_free(&p);
	return fine;
}

bool merge_parts(struct runner *r)
{
	bool fine = true;

	for (unsigned b = 0; b < r->spec.blocks && fine; b++) {
		struct part p;

		if (ledger_merged(&r->ledger, b))
			continue;
		if (part_fits(r, b, &p))
			fine = put_part(r, b, &p);
		part_free(&p);
	}
	return fine;
}
