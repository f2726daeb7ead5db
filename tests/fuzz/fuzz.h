/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fuzz target is one function. libFuzzer calls it (make fuzz); tests/fuzz/replay.c calls it with the files that are
 * kept (make check), where the compiler gives each target's function a name of its own. A bug ends the process.
 */
#ifndef STEELYARD_FUZZ_H
#define STEELYARD_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_FAIL(...)                        \
	do {                                  \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		abort();                      \
	} while (0)

#endif
