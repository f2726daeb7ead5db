/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands in results.jsonl: types of records and their fields, one row each. The runner writes by it, "eval verify" checks by it,
 * docs/results.md derives from it ("steelyard eval schema"). Constant tables; every function may be called from any thread.
 */
#ifndef STEELYARD_EVAL_SCHEMA_H
#define STEELYARD_EVAL_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define EVAL_SCHEMA_VERSION 2
#define SCHEMA_VALUES_MAX 64   /* elements of a list of numbers */
#define SCHEMA_BLOCKS_MAX 1000 /* a run has no more: readers have an element for each */

enum schema_type {
	SCHEMA_BOOL,
	SCHEMA_UINT,
	SCHEMA_BLOCK, /* a whole number below SCHEMA_BLOCKS_MAX */
	SCHEMA_REAL,  /* a whole number is one too */
	SCHEMA_STRING,
	SCHEMA_TIME,    /* a string: UTC as 2026-11-22T18:55:43Z */
	SCHEMA_WORD,    /* a string of the row's words */
	SCHEMA_WORDS,   /* a list of such */
	SCHEMA_STRINGS, /* a list */
	SCHEMA_REALS,
	SCHEMA_OBJECT,     /* with the fields of the row */
	SCHEMA_OBJECTS,    /* a list of such */
	SCHEMA_MAP_STRING, /* an object with keys of its own: of strings */
	SCHEMA_MAP_UINT,
	SCHEMA_MAP_OBJECT, /* of objects with the fields of the row */
};

/* Required; or may be absent; or must be there but may be null. */
enum schema_need { SCHEMA_REQUIRED, SCHEMA_OPTIONAL, SCHEMA_NULLABLE };

struct schema_field {
	const char *name;
	enum schema_type type;
	enum schema_need need;
	const char *unit; /* "" where there is none */
	const char *what;
	const char *const *words;       /* SCHEMA_WORD, SCHEMA_WORDS: ends with NULL */
	const struct schema_field *sub; /* SCHEMA_OBJECT and its kin: ends with a row without a name */
	const char *sub_name;           /* the heading of that table in docs/results.md */
};
struct schema_record {
	const char *type, *what;
	const struct schema_field *fields; /* without the common ones */
};

/* NULL past the last, or when there is none. */
const struct schema_record *schema_record_at(unsigned i);
const struct schema_record *schema_record_find(const char *type);
/* schema, run, type, seq: of every record. Ends with a row without a name. */
const struct schema_field *schema_common(void);
/* Is this a record of this version? The text says in one sentence what is wrong. Borrows obj. */
bool schema_check(json_t *obj, char *text, size_t n);
/* The same for an object and rows of one's own, e.g. of a spec file. where is the beginning of the sentence. */
bool schema_check_fields(const struct schema_field *fields, json_t *obj, const char *where, char *text, size_t n);
/* The rows of a spec, as in the run record; a spec file has the same words (eval/run/spec_file.c). */
const struct schema_field *schema_spec(void);
/* The tables as Markdown. */
void schema_print(FILE *f);

#endif
