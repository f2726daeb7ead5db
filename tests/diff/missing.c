/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rows of the policy table (translator/isa_*.def) have forms here: every form of every mode is encoded many times,
 * and what the project's own decoder makes of it is a row that has a test. diff --missing prints the others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/diff/forms.h"
#include "translator/insn.h"

#define ENCODINGS 64 /* of each form: one opcode can be sixteen instructions */

static void mark(const struct dcase *c, bool *seen)
{
	struct insn i;

	for (unsigned at = 0; at < c->len; at += i.len) {
		if (insn_decode(&i, c->code + at, c->len - at, c->mode) != DECODE_OK)
			return;
		for (unsigned k = 0; i.row && k < isa_row_count(); k++)
			if (isa_row(k) == i.row)
				seen[k] = true;
	}
}

static bool mark_mode(unsigned mode, bool *seen)
{
	struct form_table t = {.ok = {true, true, true, true, true}};
	struct dcase *c = calloc(CODE_STATES, sizeof(*c));
	bool ok = c && forms_build(&t, mode);

	for (unsigned f = 0; ok && f < t.n; f++)
		for (unsigned n = 0; n < ENCODINGS && !t.form[f].seq; n++) {
			gen_cases(&t, f, n * 0x9e3779b97f4a7c15ull, 0, c);
			mark(c, seen);
		}
	forms_free(&t);
	free(c);
	return ok;
}

int missing_print(void)
{
	unsigned n = isa_row_count(), have = 0, all = 0;
	bool *seen = calloc(n, sizeof(*seen));

	if (!seen || !mark_mode(64, seen) || !mark_mode(32, seen) || !mark_mode(16, seen)) {
		free(seen);
		return 3;
	}
	for (unsigned k = 0; k < n; k++) {
		const struct isa_row *row = isa_row(k);

		if (!row)
			continue;
		all++;
		have += seen[k];
		if (!seen[k])
			printf("%s\n", row->name);
	}
	printf("%u of %u rows of the policy table have forms\n", have, all);
	free(seen);
	return 0;
}
