/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The report as one HTML file that opens from file:// and asks nobody for anything. Every number in it that is a figure carries the
 * figure's key and value (data-key, data-value), so that a test can compare the page with summary.json.
 */
#ifndef STEELYARD_EVAL_PAGE_H
#define STEELYARD_EVAL_PAGE_H

#include <stdio.h>

#include "eval/report/compare.h"
#include "eval/report/figures.h"
#include "eval/report/pictures.h"

struct page {
	FILE *f;
	const struct results *r;
	const struct figures *figures;
	const struct comparison *compare; /* or NULL */
};

/* Writes the whole page. Errors of the stream are the caller's to look at. */
void page_write(const struct page *p);

/* eval/report/page_style.c */
extern const char page_style[], page_script[];

/* ---- private to the page_*.c files ---- */
/* A figure, or a dash for NULL; interval: with its interval behind it. */
void page_figure(const struct page *p, const struct figure *g, bool interval);
/* <td class=n> with that, and what the column is sorted by. */
void page_cell(const struct page *p, const struct figure *g, bool interval);
void page_text(const struct page *p, const char *s);
void page_legend(const struct page *p, enum results_phase phase);

/* Sections; each writes nothing when it has nothing to say (page_parts.c). */
void page_overhead(const struct page *p);
void page_samples(const struct page *p);
void page_warmup(const struct page *p);
void page_boot(const struct page *p);
void page_machine(const struct page *p);
void page_compare(const struct page *p);
void page_environment(const struct page *p);

#endif
