/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program's own verbs, and what they share. */
#ifndef STEELYARD_VERBS_H
#define STEELYARD_VERBS_H

#include <stdio.h>

#include "engine/status.h"

/* Exit statuses of every verb. */
#define EXIT_OK 0
#define EXIT_HOST 1
#define EXIT_USAGE 2
#define EXIT_DIFFERENT 3 /* lockstep */
#define EXIT_TRIPLE_FAULT 4
#define EXIT_TIMEOUT 124
#define EXIT_SIGNAL_BASE 128

/* argv[0] is the verb. */
int run_main(int argc, char **argv);
int vm_main(int argc, char **argv);
int explain_main(int argc, char **argv);

/* "steelyard: MSG" to stderr; returns the exit status that fits. */
int verb_fail(const struct error *e);
int verb_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
