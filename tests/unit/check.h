/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counts that a unit test prints at its end, and the check that makes them. */
#ifndef STEELYARD_CHECK_H
#define STEELYARD_CHECK_H

#include <stdio.h>

static unsigned passed, failed;

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (cond) {                                                    \
			passed++;                                              \
		} else {                                                       \
			failed++;                                              \
			printf("FAIL %s:%d: %s\n", __FILE__, __LINE__, #cond); \
		}                                                              \
	} while (0)

#endif
