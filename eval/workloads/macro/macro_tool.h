/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the driver "macro" (macro.c). One process, single thread; everything on its stack or its heap. */
#ifndef STEELYARD_MACRO_TOOL_H
#define STEELYARD_MACRO_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- inputs.c ---- */
enum macro_input { INPUT_none, INPUT_text, INPUT_mixed, INPUT_numbers, INPUT_source, INPUT_resp };
/* Writes the input of this kind to f: so many bytes (text, mixed, numbers: to the end of the line in which they end), functions (source)
 * or commands (resp). The same on every machine. false: an error is on f. */
bool input_write(FILE *f, enum macro_input kind, uint64_t amount);

/* ---- enter.c ---- */
/* Goes on in a child process whose root the folder is, with /proc, /sys, a few devices and an empty /tmp, seen by nobody else, and processes
 * and a network of its own; without privileges where the host allows user namespaces. The caller waits for the child's end and exits
 * with its status. false: why says what the host refused. */
bool tree_enter(const char *folder, char *why, size_t n);
/* The loopback device answers. false: errno says why not. */
bool loopback_up(void);

/* ---- sum.c ---- */
/* Sum of the bytes and their number; the same on every machine. false: the file cannot be read. */
bool sum_file(int fd, uint64_t *sum);

#endif
