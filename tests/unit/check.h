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

/* |got - want| <= within; a NaN fails. */
static inline void near(const char *what, double got, double want, double within)
{
	if (got - want <= within && want - got <= within) {
		passed++;
		return;
	}
	failed++;
	printf("FAIL %s: %.9g instead of %.9g\n", what, got, want);
}

#endif
