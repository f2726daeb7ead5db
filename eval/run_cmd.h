/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs of "steelyard eval" that belong to the runner. */
#ifndef STEELYARD_EVAL_RUN_CMD_H
#define STEELYARD_EVAL_RUN_CMD_H

#include <stdio.h>

/* As eval_main; -1: argv[1] is none of them. */
int run_cmd(int argc, char **argv);
void run_cmd_usage(FILE *f);

#endif
