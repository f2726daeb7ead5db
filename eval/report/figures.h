/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every number that a report shows, once, under a name. The terminal, the page, the CSV files, the pictures and the paper look
 * numbers up here; summary.json is this list. docs/report.md has the names.
 *
 * Owner: the caller of figures_build(), until figures_free().
 */
#ifndef STEELYARD_EVAL_FIGURES_H
#define STEELYARD_EVAL_FIGURES_H

#include <jansson.h>

#include "eval/report/effects.h"
#include "eval/report/overhead.h"
#include "eval/report/results.h"

#define FIGURE_KEY 112

struct figure {
	char key[FIGURE_KEY];
	double value, lo, hi; /* lo = hi = 0: no interval */
	unsigned n;           /* blocks, or whatever it was made of */
	const char *unit;     /* "", "ms", "s", "MiB", "ns", "%" */
};
struct figures {
	struct figure *f;
	unsigned n;
	json_t *index; /* key -> place */
	struct verdict verdict;
};

/* NULL: no memory. */
struct figures *figures_build(const struct results *r);
void figures_free(struct figures *f);
/* NULL: there is no such figure. */
const struct figure *figures_find(const struct figures *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The whole summary: figures, verdict, failures, identity of the run. A new reference; NULL: no memory. */
json_t *figures_json(const struct figures *f, const struct results *r);

/* As many digits as mean something, for people: ratios 1.023, 12.4; others likewise; fewer where the interval is wide. */
void figure_text(const struct figure *f, char *out, unsigned n);
/* "[lo, hi]", or empty. */
void figure_interval(const struct figure *f, char *out, unsigned n);

#endif
