/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coverage by row of the instruction tables (translator/isa_*.def).
 *
 *   rows check GUESTS EXCEPTIONS FOLDER    no row without a test: see check.c
 *   rows report FOLDER TEXT HTML           what was executed where: see report.c
 */
#include "tests/rows/rows.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/status.h"
#include "tests/diff/forms.h"
#include "translator/insn.h"

#define ENCODINGS 64 /* of each form: what a form leaves open (condition, prefixes) is drawn at random */

const char *const row_file_name[ROW_FILES] = {"isa_int.def", "isa_sys.def", "isa_vec.def"};

const struct row rows[] = {
#define ROW(m, fn, policy, fl) {#m, ROWS_INT},
#define FORM(f, fn, policy, fl) {#f, ROWS_INT},
#include "translator/isa_int.def"
#undef ROW
#undef FORM
#define ROW(m, fn, policy, fl) {#m, ROWS_SYS},
#define FORM(f, fn, policy, fl) {#f, ROWS_SYS},
#include "translator/isa_sys.def"
#undef ROW
#undef FORM
#define ROW(m, fn, policy, fl) {#m, ROWS_VEC},
#define FORM(f, fn, policy, fl) {#f, ROWS_VEC},
#include "translator/isa_vec.def"
#undef ROW
#undef FORM
};
const unsigned nrows = ARRAY_LEN(rows);

int row_find(const char *name)
{
	for (unsigned i = 0; i < nrows; i++)
		if (!strcmp(rows[i].name, name))
			return (int)i;
	return -1;
}

bool counts_read(const char *file, uint64_t *counts)
{
	FILE *f = fopen(file, "r");
	char name[64];
	uint64_t n;
	int got;

	if (!f) {
		printf("%s: %s\n", file, strerror(errno));
		return false;
	}
	while ((got = fscanf(f, "%63s %" SCNu64, name, &n)) == 2) {
		int r = row_find(name);

		if (r < 0) {
			printf("%s: no row is called %s\n", file, name);
			break;
		}
		counts[r] += n;
	}
	fclose(f);
	if (got != EOF)
		printf("%s is not a file of row counts\n", file);
	return got == EOF;
}

/* All instructions of one encoding. */
static void decode_code(const struct dcase *c, bool *reached)
{
	struct insn i;

	for (unsigned at = 0; at < c->len; at += i.len) {
		if (insn_decode(&i, c->code + at, SLOT_BYTES - at < 15 ? SLOT_BYTES - at : 15, c->mode) != DECODE_OK)
			return;
		if (i.row)
			reached[row_find(i.row->name)] = true;
	}
}

bool forms_reach(bool *reached)
{
	static const unsigned modes[] = {16, 32, 64};

	for (unsigned m = 0; m < ARRAY_LEN(modes); m++) {
		struct form_table t = {.compat = true, .ok = {true, true, true, true, true}};
		struct dcase cases[CODE_STATES];

		if (!forms_build(&t, modes[m]))
			return false;
		for (unsigned f = 0; f < t.n; f++) {
			if (t.form[f].seq) /* made of others */
				continue;
			for (unsigned k = 0; k < ENCODINGS; k++) {
				gen_cases(&t, f, 0x632be59bd9b4e019ull * k + f, 0, cases);
				decode_code(&cases[0], reached);
			}
		}
		forms_free(&t);
	}
	return true;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "check"))
		return rows_check(argv[2], argv[3], argv[4]);
	if (argc == 5 && !strcmp(argv[1], "report"))
		return rows_report(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: rows check GUESTS EXCEPTIONS FOLDER | rows report FOLDER TEXT HTML\n");
	return 2;
}
