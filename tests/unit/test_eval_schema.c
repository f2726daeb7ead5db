// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * eval/schema.c: a record made of the rows passes, and each way to be wrong - a field missing, of another type, unknown, a word
 * that is none - is found and named, for every row of every table. The golden folder, which other tests read too, holds.
 */
#include <stdlib.h>
#include <string.h>

#include "eval/schema.h"
#include "tests/unit/check.h"

static json_t *object_of(const struct schema_field *f);

/* A value of the row's type, the least one that may be. */
static json_t *value_of(const struct schema_field *f)
{
	json_t *v;

	switch (f->type) {
	case SCHEMA_BOOL:
		return json_true();
	case SCHEMA_UINT:
	case SCHEMA_BLOCK:
		return json_integer(7);
	case SCHEMA_REAL:
		return json_real(0.5);
	case SCHEMA_STRING:
		return json_string("text");
	case SCHEMA_TIME:
		return json_string("2026-11-22T18:55:43Z");
	case SCHEMA_WORD:
		return json_string(f->words[0]);
	case SCHEMA_WORDS:
		return json_pack("[s]", f->words[0]);
	case SCHEMA_STRINGS:
		return json_pack("[s]", "text");
	case SCHEMA_REALS:
		return json_pack("[i]", 7);
	case SCHEMA_OBJECT:
		return object_of(f->sub);
	case SCHEMA_OBJECTS:
		v = json_array();
		json_array_append_new(v, object_of(f->sub));
		return v;
	case SCHEMA_MAP_STRING:
		return json_pack("{s:s}", "key", "text");
	case SCHEMA_MAP_UINT:
		return json_pack("{s:i}", "key", 7);
	case SCHEMA_MAP_OBJECT:
		v = json_object();
		json_object_set_new(v, "key", object_of(f->sub));
		return v;
	}
	return NULL;
}

static json_t *object_of(const struct schema_field *f)
{
	json_t *o = json_object();

	for (; f->name; f++)
		json_object_set_new(o, f->name, value_of(f));
	return o;
}

static json_t *record_of(const struct schema_record *r)
{
	json_t *o = object_of(schema_common());

	json_object_update_new(o, object_of(r->fields));
	json_object_set_new(o, "schema", json_integer(EVAL_SCHEMA_VERSION));
	json_object_set_new(o, "type", json_string(r->type));
	return o;
}

/* With so many fields wrong at the place to which at points inside record: each is found, and its name said. */
static void break_fields(json_t *record, json_t *at, const struct schema_field *f)
{
	char text[400], quoted[80];

	for (; f->name; f++) {
		json_t *was = json_incref(json_object_get(at, f->name));

		if (!strcmp(f->name, "schema") || !strcmp(f->name, "type")) {
			json_decref(was);
			continue;
		}
		snprintf(quoted, sizeof(quoted), "\"%s\"", f->name);
		json_object_del(at, f->name);
		CHECK(schema_check(record, text, sizeof(text)) == (f->need == SCHEMA_OPTIONAL));
		CHECK(f->need == SCHEMA_OPTIONAL || strstr(text, quoted));
		json_object_set_new(at, f->name, json_null());
		CHECK(schema_check(record, text, sizeof(text)) == (f->need == SCHEMA_NULLABLE));
		/* No row takes this: a list with a list. */
		json_object_set_new(at, f->name, json_pack("[[]]"));
		CHECK(!schema_check(record, text, sizeof(text)) && strstr(text, quoted));
		if (f->type == SCHEMA_WORD || f->type == SCHEMA_TIME) {
			json_object_set_new(at, f->name, json_string("no such word"));
			CHECK(!schema_check(record, text, sizeof(text)) && strstr(text, quoted));
		} else if (f->type == SCHEMA_UINT || f->type == SCHEMA_BLOCK) {
			json_object_set_new(at, f->name, json_integer(-1));
			CHECK(!schema_check(record, text, sizeof(text)) && strstr(text, quoted));
			json_object_set_new(at, f->name, json_integer(SCHEMA_BLOCKS_MAX));
			CHECK(schema_check(record, text, sizeof(text)) == (f->type == SCHEMA_UINT));
		} else if (f->type == SCHEMA_MAP_UINT || f->type == SCHEMA_MAP_STRING) {
			json_object_set_new(at, f->name, json_pack("{s:[]}", "key"));
			CHECK(!schema_check(record, text, sizeof(text)) && strstr(text, quoted));
		}
		json_object_set(at, f->name, was);
		if (f->sub)
			break_fields(record,
				     f->type == SCHEMA_OBJECTS      ? json_array_get(was, 0)
				     : f->type == SCHEMA_MAP_OBJECT ? json_object_get(was, "key")
								    : was,
				     f->sub);
		json_decref(was);
	}
	json_object_set_new(at, "nosuchfield", json_integer(1));
	CHECK(!schema_check(record, text, sizeof(text)) && strstr(text, "nosuchfield"));
	json_object_del(at, "nosuchfield");
	CHECK(schema_check(record, text, sizeof(text)));
}

static void test_rows(void)
{
	char text[400];
	unsigned n = 0;

	for (const struct schema_record *r; (r = schema_record_at(n)); n++) {
		json_t *o = record_of(r);
		bool fine = schema_check(o, text, sizeof(text));

		CHECK(fine);
		if (!fine)
			printf("     %s: %s\n", r->type, text);
		CHECK(schema_record_find(r->type) == r);
		break_fields(o, o, schema_common());
		break_fields(o, o, r->fields);
		json_object_set_new(o, "type", json_string("rumour"));
		CHECK(!schema_check(o, text, sizeof(text)));
		json_object_set_new(o, "type", json_string(r->type));
		json_object_set_new(o, "schema", json_integer(EVAL_SCHEMA_VERSION - 1));
		CHECK(!schema_check(o, text, sizeof(text)) && strstr(text, "schema 1"));
		json_object_del(o, "schema");
		CHECK(!schema_check(o, text, sizeof(text)));
		json_decref(o);
	}
	CHECK(n >= 7 && !schema_record_find("rumour") && !schema_record_find(NULL));
}

/* A page of Markdown tables: a | in a row would be a column, a row without a meaning tells nothing. */
static void test_page(void)
{
	char *page = NULL, *save = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&page, &size);
	unsigned rows = 0;

	schema_print(f);
	fclose(f);
	for (char *line = strtok_r(page, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned bars = 0;

		if (line[0] != '|')
			continue;
		for (const char *p = line; *p; p++)
			bars += *p == '|';
		CHECK(bars == 6);
		rows++;
	}
	CHECK(rows > 100);
	free(page);
}

static void test_golden(void)
{
	FILE *f = fopen("tests/golden/eval/example/results.jsonl", "r");
	char line[65536], text[400];
	json_int_t seq = 0;

	CHECK(f);
	while (f && fgets(line, sizeof(line), f)) {
		json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		bool fine = o && schema_check(o, text, sizeof(text));

		CHECK(fine && json_integer_value(json_object_get(o, "seq")) == seq);
		if (!fine)
			printf("     line %d: %s\n", (int)seq + 1, o ? text : "not JSON");
		seq++;
		json_decref(o);
	}
	CHECK(seq > 50);
	if (f)
		fclose(f);
}

int main(void)
{
	test_rows();
	test_page();
	test_golden();
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
