/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How often the translator's blocks are entered: kept where vm_config.count_blocks asks for it, written as JSON that
 * `steelyard explain block` draws (docs/explain.md has the fields).
 */
#ifndef STEELYARD_HOT_H
#define STEELYARD_HOT_H

#include <stdio.h>

#include "engine/vm.h"

#define HOT_BLOCKS_MAX 256

/* The n blocks (at most HOT_BLOCKS_MAX) in which most instructions were begun, of a machine whose vCPUs stand still. */
void hot_write(const struct vm *vm, unsigned n, FILE *f);

#endif
