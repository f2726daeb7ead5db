/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verb "eval": how close does each execution path come to the bare machine? */
#ifndef STEELYARD_EVAL_H
#define STEELYARD_EVAL_H

/* argv[0] is the verb, argv[1] the kind of evaluation. Returns the exit status: 0, 1 host failure, 2 usage. */
int eval_main(int argc, char **argv);

#endif
