/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts by row of the instruction tables, gathered and written: see rows.h. */
#include "translator/rows.h"

#include <inttypes.h>

#include "translator/insn.h"

void rows_add(uint64_t sum[VCPU_ROWS], const struct vm *vm)
{
	for (unsigned c = 0; c < vm->ncpus; c++)
		for (unsigned n = 0; n < isa_row_count(); n++)
			sum[n] += vm->vcpu[c]->row_count[n];
}

void rows_write(const uint64_t sum[VCPU_ROWS], FILE *f)
{
	for (unsigned n = 0; n < isa_row_count(); n++)
		if (isa_row(n) && sum[n])
			fprintf(f, "%s %" PRIu64 "\n", isa_row(n)->name, sum[n]);
}
