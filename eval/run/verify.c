// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Is a folder what it says? Every record fits the schema and follows its predecessor, "valid" is what the reference checksums make of
 * each sample, a run that says "complete" has every record of the plan that its spec and seed give, and the files are those of
 * SHA256SUMS, no more and no less. What is wrong is a line each; the first of a kind is enough.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "eval/results_file.h"
#include "eval/run/runner.h"
#include "eval/seal.h"

struct check {
	struct runner r;
	uint64_t seq;
	char run[64];
	unsigned wrong, samples, boots;
	const char *why; /* of a record that is none of this run */
};

static void complain(struct check *c, const char *what)
{
	c->wrong++;
	printf("wrong: %s\n", what);
}

static bool valid_agrees(const struct check *c, json_t *o)
{
	char key[80];
	json_t *want;
	bool right;

	snprintf(key, sizeof(key), "%.40s/%u", json_string_value(json_object_get(o, "workload")),
		 (unsigned)json_integer_value(json_object_get(o, "scale")));
	want = json_object_get(c->r.ledger.checksum, key);
	right = json_is_true(json_object_get(o, "ok")) && want && json_equal(want, json_object_get(o, "checksum"));
	return right == json_is_true(json_object_get(o, "valid"));
}

static bool take(void *ctx, json_t *o)
{
	struct check *c = ctx;
	const char *type = json_string_value(json_object_get(o, "type"));
	const char *run = json_string_value(json_object_get(o, "run"));

	if ((uint64_t)json_integer_value(json_object_get(o, "seq")) != c->seq)
		c->why = "its seq is not the next";
	else if (!c->seq != !strcmp(type, "run"))
		c->why = "the first record, and no other, is of type run";
	else if (c->seq && strcmp(run, c->run))
		c->why = "it is of another run";
	if (c->why)
		return false;
	if (!c->seq++)
		snprintf(c->run, sizeof(c->run), "%.63s", run);
	ledger_take(&c->r.ledger, o);
	c->samples += !strcmp(type, "sample");
	c->boots += !strcmp(type, "boot");
	if (!strcmp(type, "sample") && !valid_agrees(c, o)) {
		c->why = "\"valid\" is not what its checksum says";
		return false;
	}
	return true;
}

static void check_plan(struct check *c)
{
	struct runner *r = &c->r;
	char text[300];
	unsigned missing = 0;

	if (!spec_from_json(r->ledger.spec, &r->spec, text, sizeof(text))) {
		printf("note:  the spec is not of this program (%s): records are not counted\n", text);
		return;
	}
	if (!plan_add_reference(&r->plan, &r->spec))
		return;
	for (unsigned pilot = 2; pilot-- > 0;) {
		const struct ledger_plan *p = &r->ledger.plan[pilot];

		if (!p->known || !p->blocks)
			continue;
		if (p->blocks > SPEC_MAX_BLOCKS || p->first != r->plan.n ||
		    !plan_add_blocks(&r->plan, &r->spec, pilot, 0, p->blocks) || r->plan.n - p->first != p->items) {
			complain(c, "the record \"plan\" is not what the spec and the seed give");
			return;
		}
	}
	for (unsigned i = 0; i < r->plan.n; i++)
		missing += runner_owns(r, &r->plan.item[i]) && item_pending(r, &r->plan.item[i]);
	if (!r->ledger.plan[0].known)
		missing++;
	if (r->ledger.part.seen < r->ledger.part.records)
		missing++;
	if (missing && r->ledger.ended && r->ledger.complete) {
		snprintf(text, sizeof(text), "it says that it is complete, and %u items of its plan are not", missing);
		complain(c, text);
	} else if (missing) {
		printf("note:  %u items are missing: steelyard eval resume goes on\n", missing);
	}
}

int verify_folder(const char *dir, const char *found)
{
	struct check *c = calloc(1, sizeof(*c));
	char text[600], line_text[900], *data = NULL;
	size_t len = 0;
	unsigned line, wrong;
	uint64_t good;
	size_t torn;

	if (!c || !ledger_init(&c->r.ledger)) {
		free(c);
		fprintf(stderr, "steelyard eval: out of memory\n");
		return 1;
	}
	if (!results_file_read(dir, &data, &len, text, sizeof(text))) {
		complain(c, text);
	} else if (!record_scan_text(data, len, take, c, &good, &torn, &line, text, sizeof(text))) {
		snprintf(line_text, sizeof(line_text), "results.jsonl, line %u: %s", line, c->why ? c->why : text);
		complain(c, line_text);
	} else if (!c->seq) {
		complain(c, "results.jsonl has no record");
	} else {
		if (torn)
			printf("note:  the last line is torn (%zu bytes): steelyard eval resume cuts it off\n", torn);
		check_plan(c);
		if (!c->r.ledger.ended)
			printf("note:  the run has no end: it was killed, or goes on\n");
		else if (!seal_verify(dir, SEAL_ONLY, text, sizeof(text)))
			complain(c, text);
	}
	if (found)
		complain(c, found);
	if (!c->wrong)
		printf("%s: %llu records, %u boots, %u samples of which %u failed and %u have a wrong checksum: all "
		       "right\n",
		       dir, (unsigned long long)c->seq, c->boots, c->samples, c->r.ledger.failed, c->r.ledger.invalid);
	wrong = c->wrong;
	free(data);
	plan_free(&c->r.plan);
	ledger_free(&c->r.ledger);
	free(c);
	return wrong ? 1 : 0;
}
