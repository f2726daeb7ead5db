/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a results folder to what people read: terminal, page, pictures, tables, summary. Nothing of a run but its folder is needed. */
#ifndef STEELYARD_EVAL_REPORT_H
#define STEELYARD_EVAL_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "eval/report/compare.h"
#include "eval/report/figures.h"

/* NULL: the usual place in the folder (report.html, tables, figures, summary.json); "": not written. */
struct report_options {
	const char *html, *csv_dir, *svg_dir, *summary;
	const char *other; /* a second results folder for the page's comparison, or NULL */
	bool json;         /* the summary on stdout in place of the table */
	bool quiet;        /* nothing on stdout */
};

/* Reads DIR, writes what is asked for. 0, or 1 with one line on stderr. */
int eval_report(const char *dir, const struct report_options *o);
/* Is DIR/summary.json, where there is one, what the records give? false: text says what is not. */
bool summary_verify(const char *dir, char *text, size_t n);
/* Verbs: argv[0] is "report" or "compare". Exit status. */
int report_main(int argc, char **argv);
int compare_main(int argc, char **argv);

/* eval/report/report_text.c */
/* A line, which begins with head, for each reason why a path leaves workloads out; whole groups by their names. */
void left_out_text(FILE *f, const struct results *r, int path, const char *head);
void report_text(FILE *f, const struct results *r, const struct figures *figures);
void compare_text(FILE *f, const struct comparison *c);
/* eval/report/report_csv.c: tables as comma-separated values, one row each. */
struct csv_table {
	const char *name;
	void (*write)(FILE *f, const struct results *r, const struct figures *figures);
};
const struct csv_table *csv_table_at(unsigned i); /* NULL past the last */

#endif
