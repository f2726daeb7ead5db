/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How often the rows of the instruction tables were executed: vcpu->row_count, kept where vm_config.count_rows asks for it.
 *
 * An instruction counts when it begins, whether it ends or faults; on bt one that a kick has interrupted begins again. What
 * no row describes (#UD by the decoder) counts nowhere.
 */
#ifndef STEELYARD_ROWS_H
#define STEELYARD_ROWS_H

#include <stdio.h>

#include "engine/vm.h"

/* Adds the counts of all vCPUs of vm, which stand still, to sum. */
void rows_add(uint64_t sum[VCPU_ROWS], const struct vm *vm);
/* Writes "NAME COUNT", a line for every row that was executed. */
void rows_write(const uint64_t sum[VCPU_ROWS], FILE *f);

#endif
