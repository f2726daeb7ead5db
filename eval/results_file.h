/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of a folder's results.jsonl, also when it is compressed. */
#ifndef STEELYARD_EVAL_RESULTS_FILE_H
#define STEELYARD_EVAL_RESULTS_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* DIR/results.jsonl, else .zst, else .xz; DIR may also be such a file itself. *data is malloc'd, for the caller to free.
 * false: text says in one line what is wrong. */
bool results_file_read(const char *dir, char **data, size_t *len, char *text, unsigned n);

#endif
