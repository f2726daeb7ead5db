/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steelyard explain: pictures of what a machine does, in Graphviz's language, with the same in words. Private to explain_*.c.
 * Everything is read from JSON, whoever wrote it: what does not fit is an error with one line.
 */
#ifndef STEELYARD_EXPLAIN_H
#define STEELYARD_EXPLAIN_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/status.h"

/* What a box or a line of code stands for; one colour each. */
enum explain_kind {
	EXPLAIN_GUEST,   /* the guest's own */
	EXPLAIN_COPIED,  /* runs as it is */
	EXPLAIN_CHECK,   /* done in between, in the same code */
	EXPLAIN_HELPER,  /* a C function does it */
	EXPLAIN_EXIT,    /* leaves guest code */
	EXPLAIN_COUNTER, /* only there because it is being counted */
	EXPLAIN_KINDS
};
struct explain_kind_row {
	const char *colour, *word;
};
extern const struct explain_kind_row explain_kinds[EXPLAIN_KINDS];

struct explain {
	FILE *dot, *text;  /* the picture; the same in words */
	unsigned top;      /* how many blocks */
	const char *costs; /* exits: a file of cost records, or NULL */
	int vcpu;          /* walk */
	int timeout_ms;
	struct error e; /* what went wrong */
};

/* The three pictures. ST_OK, or x->e says why not. */
enum status explain_exits(struct explain *x, const char *from);
enum status explain_block(struct explain *x, const char *file);
/* name: of a machine; or a file, and address NULL. */
enum status explain_walk(struct explain *x, const char *name, const char *address);

/* ---- shared ---- */
/* Begins and ends the graph; the legend has the kinds of the mask. */
void explain_begin(struct explain *x, const char *name, const char *rankdir);
void explain_end(struct explain *x, unsigned kinds);
/* Between quotes, and between the tags of an HTML-like label. */
void explain_quoted(FILE *f, const char *s);
void explain_html(FILE *f, const char *s);
/* The JSON in a file; the JSON objects that are lines of a file, or of a results folder, in an array. NULL: x->e. */
json_t *explain_load(struct explain *x, const char *file);
json_t *explain_load_lines(struct explain *x, const char *from);
/* "0x..." of a field; false when it is none. */
bool explain_address(const json_t *o, const char *field, uint64_t *v);

#endif
