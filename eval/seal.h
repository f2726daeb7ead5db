/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The seals of a results folder: SHA256SUMS and ro-crate-metadata.json. Any thread; false with text: what is wrong. */
#ifndef STEELYARD_EVAL_SEAL_H
#define STEELYARD_EVAL_SEAL_H

#include <stdbool.h>
#include <stddef.h>

bool seal_write(const char *dir, char *text, size_t n);
/* The files of SHA256SUMS; and no others, though results may be compressed since; and under these very names. */
enum seal_how { SEAL_FILES, SEAL_ONLY, SEAL_EXACT };
/* Compares. */
bool seal_verify(const char *dir, enum seal_how how, char *text, size_t n);
/* SHA-256 of a file in hexadecimal; "" when it cannot be read. */
void seal_hash(const char *file, char out[65]);

#endif
