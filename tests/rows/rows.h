/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The instruction tables' rows as the tests see them: which have a test, which were executed. */
#ifndef STEELYARD_TESTS_ROWS_H
#define STEELYARD_TESTS_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/vcpu.h"

/* The files that hold the rows. */
enum row_file { ROWS_INT, ROWS_SYS, ROWS_VEC, ROW_FILES };
extern const char *const row_file_name[ROW_FILES];

struct row {
	const char *name;
	enum row_file file;
};
/* In the order of the files. */
extern const struct row rows[];
extern const unsigned nrows;

/* Index into rows, or -1. */
int row_find(const char *name);

/* Adds the counts of a file that rows_write() (translator/rows.h) has written; false, with a line on stdout, when that
 * cannot be. */
bool counts_read(const char *file, uint64_t *counts);

/* Sets reached[row] for every row that a form of tests/diff decodes to. */
bool forms_reach(bool *reached);

/* check.c: every row has a form, a guest that names it (guests: a table; folder: what each guest executed), or is an
 * exception. Exit status. */
int rows_check(const char *guests, const char *exceptions, const char *folder);
/* report.c: what the files of folder say, as text and HTML. Exit status. */
int rows_report(const char *folder, const char *text, const char *html);

#endif
