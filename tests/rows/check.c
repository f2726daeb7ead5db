/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * No row without a test. A row has one when
 *  - a form of tests/diff decodes to it: the processor itself is its oracle; or
 *  - the table of guests (tests/guest/rows.tbl) names a guest for it, and that guest, just run, has executed it; or
 *  - it is an exception (tests/rows/exceptions.tbl), with the reason why it cannot have one.
 * What a table says is checked too: a guest that does not execute what it is named for fails, as does an exception that a
 * form reaches.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/rows/rows.h"

#define BLANKS " \t\r\n"

struct check {
	bool *form, *guest, *except;
	unsigned passed, failed;
};

static void fail(struct check *c, const char *what, const char *name)
{
	printf("FAIL %s: %s\n", name, what);
	c->failed++;
}

/* Calls line(c, text, arg) for each line that is not a comment. */
static bool for_lines(struct check *c, const char *file, const char *arg, void (*line)(struct check *, char *, const char *))
{
	FILE *f = fopen(file, "r");
	char *text = NULL;
	size_t cap = 0;

	if (!f) {
		fail(c, strerror(errno), file);
		return false;
	}
	while (getline(&text, &cap, f) > 0)
		if (text[0] != '#' && text[strspn(text, BLANKS)])
			line(c, text, arg);
	free(text);
	fclose(f);
	return true;
}

/* GUEST ROW... */
static void guest_line(struct check *c, char *text, const char *folder)
{
	uint64_t *counts = calloc(nrows, sizeof(*counts));
	char *save = NULL, *guest = strtok_r(text, BLANKS, &save), file[600];

	snprintf(file, sizeof(file), "%s/%s", folder, guest);
	if (!counts || !counts_read(file, counts)) {
		fail(c, "no counts of this guest: did it run?", guest);
		free(counts);
		return;
	}
	for (char *name; (name = strtok_r(NULL, BLANKS, &save));) {
		int r = row_find(name);

		if (r < 0) {
			fail(c, "the table of guests names it, but there is no such row", name);
		} else if (!counts[r]) {
			printf("FAIL %s: the table of guests says that %s executes it, which it does not\n", name, guest);
			c->failed++;
		} else {
			c->guest[r] = true;
		}
	}
	free(counts);
}

/* ROW REASON */
static void except_line(struct check *c, char *text, const char *arg)
{
	char *save = NULL, *name = strtok_r(text, BLANKS, &save), *reason = strtok_r(NULL, "\n", &save);
	int r = row_find(name);

	(void)arg;
	if (r < 0)
		fail(c, "an exception, but there is no such row", name);
	else if (!reason)
		fail(c, "an exception without a reason", name);
	else if (c->form[r] || c->guest[r])
		fail(c, "an exception, but it has a test", name);
	else
		c->except[r] = true;
}

static void judge(struct check *c)
{
	for (unsigned f = 0; f < ROW_FILES; f++) {
		unsigned n = 0, form = 0, guest = 0, except = 0;

		for (unsigned r = 0; r < nrows; r++) {
			if (rows[r].file != f)
				continue;
			n++;
			form += c->form[r];
			guest += !c->form[r] && c->guest[r];
			except += c->except[r];
			if (c->form[r] || c->guest[r] || c->except[r])
				c->passed++;
			else
				fail(c, "a row without a test: give it a form in tests/diff/forms*.def, or a guest in "
					"tests/guest/rows.tbl", rows[r].name);
		}
		printf("%s: %u of %u rows have a test (%u by forms of tests/diff, %u by guests), %u exceptions\n",
		       row_file_name[f], form + guest, n, form, guest, except);
	}
}

int rows_check(const char *guests, const char *exceptions, const char *folder)
{
	struct check c = {.form = calloc(nrows, 1), .guest = calloc(nrows, 1), .except = calloc(nrows, 1)};

	if (!c.form || !c.guest || !c.except || !forms_reach(c.form)) {
		printf("not enough memory\n");
		return 3;
	}
	for_lines(&c, guests, folder, guest_line);
	for_lines(&c, exceptions, NULL, except_line);
	judge(&c);
	printf("%u passed, %u failed\n", c.passed, c.failed);
	free(c.form);
	free(c.guest);
	free(c.except);
	return c.failed != 0;
}
