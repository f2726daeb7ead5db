/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who starts the tasks of a sweep: one for each block of a run (eval/run/sweep.c). A launcher is a row of the table in eval/run/launcher.c;
 * one without submit() is this process itself. Private to eval/; single thread; no state.
 */
#ifndef STEELYARD_EVAL_LAUNCHER_H
#define STEELYARD_EVAL_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>

#define LAUNCHER_JOB 40 /* bytes of a name that a launcher gives its tasks */

struct launch {
	const char *dir;    /* the results folder, absolute; tasks write parts/K.log in it */
	const char *script; /* absolute; run once for each task, with its number where script_task says */
	const char *tasks;  /* "0-2,5" */
	const char *args;   /* what the user added */
};
struct launch_state {
	unsigned waiting, running;
	char reason[80]; /* why one waits, or "" */
};
struct launcher {
	const char *name, *what;
	const char *script_task; /* shell word: the task's number */
	/* All but cancel() return false with one line in text. */
	bool (*ready)(char *text, size_t n); /* are its programs here? */
	bool (*submit)(const struct launch *l, char job[LAUNCHER_JOB], char *text, size_t n);
	/* What is left of the tasks; nothing of those that have ended or that nobody knows. */
	bool (*look)(const char *job, struct launch_state *s, char *text, size_t n);
	void (*cancel)(const char *job);
};

/* NULL past the last, or when there is none. */
const struct launcher *launcher_at(unsigned i);
const struct launcher *launcher_find(const char *name);

extern const struct launcher launcher_slurm; /* eval/run/slurm.c */

#endif
