// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tasks as one job array of Slurm, by its commands sbatch, squeue and scancel: libslurm's interface changes with every release, that of
 * the commands does not. Task K of the array is block K. Nodes are asked for alone (--exclusive): a neighbour on the same caches
 * would be measured too; --slurm-args stands behind it and may say otherwise, but not what array it is and where its logs go.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wordexp.h>

#include "engine/status.h"
#include "eval/run/launcher.h"
#include "eval/run/observe.h"

#define ARGS_MAX 64

/* In front of each command: what it says on stderr is wanted too, and a controller that is away must not hang us. */
static const char *const prefix[] = {"sh", "-c", "exec timeout -k 5 90 \"$@\" 2>&1", "sh"};

struct words {
	const char *argv[ARGS_MAX + ARRAY_LEN(prefix) + 1];
	unsigned n;
};

static bool add(struct words *w, const char *word)
{
	if (w->n + 1 >= ARRAY_LEN(w->argv))
		return false;
	w->argv[w->n++] = word;
	w->argv[w->n] = NULL;
	return true;
}

static bool begin(struct words *w, const char *program)
{
	w->n = 0;
	for (unsigned i = 0; i < ARRAY_LEN(prefix); i++)
		add(w, prefix[i]);
	return add(w, program);
}

static bool output(const struct words *w, char *out, size_t n)
{
	return observe_output((char *const *)w->argv, out, n);
}

/* The last line that a failed command said, without the names in front of it. */
static void say_why(const char *program, char *out, char *text, size_t n)
{
	static const char *const dull[] = {"sbatch: ", "squeue: ", "error: ", "Batch job submission failed: "};
	char *line, *save = NULL, *last = (char *)"it said nothing, or not within 90 s";

	for (line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		last = line;
	for (unsigned i = 0; i < ARRAY_LEN(dull); i++)
		if (!strncmp(last, dull[i], strlen(dull[i])))
			last += strlen(dull[i]);
	snprintf(text, n, "slurm: %s: %.200s", program, last);
}

static bool ready(char *text, size_t n)
{
	static const char *const programs[] = {"sbatch", "squeue", "scancel"};
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)"command -v \"$0\"", NULL, NULL};
	char out[400];

	for (unsigned i = 0; i < ARRAY_LEN(programs); i++) {
		argv[3] = (char *)programs[i];
		if (observe_output(argv, out, sizeof(out)))
			continue;
		snprintf(text, n,
			 "slurm: there is no %s here; its client programs (Debian: slurm-client) are needed, or "
			 "--launcher local",
			 programs[i]);
		return false;
	}
	return true;
}

/* --parsable: the job's number, on a cluster of several with ";" and its name behind it. Warnings may stand before it. */
static bool take_job(char *out, char job[LAUNCHER_JOB])
{
	char *save = NULL;

	job[0] = 0;
	for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (isdigit((unsigned char)line[0]) && strspn(line, "0123456789") < LAUNCHER_JOB)
			snprintf(job, LAUNCHER_JOB, "%.*s", (int)strspn(line, "0123456789"), line);
	return job[0];
}

static bool submit(const struct launch *l, char job[LAUNCHER_JOB], char *text, size_t n)
{
	char array[8300], chdir[4200], out[8192], said[8192];
	struct words w;
	wordexp_t user;
	bool fine = begin(&w, "sbatch") && add(&w, "--exclusive");

	if (wordexp(l->args, &user, WRDE_NOCMD)) {
		snprintf(text, n,
			 "slurm: \"%.100s\": these arguments cannot be split into words; quote them as for a shell",
			 l->args);
		return false;
	}
	snprintf(array, sizeof(array), "--array=%s", l->tasks);
	snprintf(chdir, sizeof(chdir), "--chdir=%.4100s", l->dir);
	for (size_t i = 0; i < user.we_wordc && fine; i++)
		fine = add(&w, user.we_wordv[i]);
	fine = fine && add(&w, "--parsable") && add(&w, "--job-name=steelyard") && add(&w, array) && add(&w, chdir) &&
	       add(&w, "--output=parts/%a.log") && add(&w, "--open-mode=append") && add(&w, l->script);
	if (!fine) {
		snprintf(text, n, "slurm: more than %u arguments", ARGS_MAX);
	} else {
		fine = output(&w, out, sizeof(out));
		snprintf(said, sizeof(said), "%s", out);
		fine = fine && take_job(out, job);
		if (!fine)
			say_why("sbatch", said, text, n);
	}
	wordfree(&user);
	return fine;
}

/* Of squeue's states, those in which nothing runs any more, or not yet; in all others something does. */
static const struct {
	const char *name;
	bool waits;
} states[] = {
	{"PENDING", true},    {"REQUEUED", true},   {"REQUEUE_HOLD", true}, {"SPECIAL_EXIT", true},
	{"BOOT_FAIL", false}, {"CANCELLED", false}, {"COMPLETED", false},   {"DEADLINE", false},
	{"FAILED", false},    {"NODE_FAIL", false}, {"PREEMPTED", false},   {"OUT_OF_MEMORY", false},
	{"TIMEOUT", false},   {"REVOKED", false},
};

static void count_task(struct launch_state *s, char *line)
{
	char *reason = strchr(line, ' ');

	if (reason)
		*reason++ = 0;
	for (unsigned i = 0; i < ARRAY_LEN(states); i++) {
		if (strcmp(line, states[i].name))
			continue;
		s->waiting += states[i].waits;
		if (states[i].waits && reason)
			snprintf(s->reason, sizeof(s->reason), "%s", reason);
		return;
	}
	s->running++;
}

static bool look(const char *job, struct launch_state *s, char *text, size_t n)
{
	size_t size = 256 * 1024; /* a thousand tasks, a line each */
	char *out = malloc(size), jobs[60], *save = NULL;
	struct words w;
	bool fine = out != NULL;

	*s = (struct launch_state){0};
	snprintf(jobs, sizeof(jobs), "--jobs=%s", job);
	begin(&w, "squeue");
	if (fine && add(&w, "--noheader") && add(&w, "--array") && add(&w, jobs) && add(&w, "--format=%T %r")) {
		fine = output(&w, out, size);
		if (!fine && strstr(out, "Invalid job id")) /* ended so long ago that it is forgotten */
			fine = true;
		else if (!fine)
			say_why("squeue", out, text, n);
		else
			for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
				count_task(s, line);
	} else {
		snprintf(text, n, "out of memory");
	}
	free(out);
	return fine;
}

static void cancel(const char *job)
{
	char out[1000];
	struct words w;

	if (begin(&w, "scancel") && add(&w, job))
		output(&w, out, sizeof(out));
}

const struct launcher launcher_slurm = {
	.name = "slurm",
	.what = "a job array of Slurm: a task for each block",
	.script_task = "\"$SLURM_ARRAY_TASK_ID\"",
	.ready = ready,
	.submit = submit,
	.look = look,
	.cancel = cancel,
};
