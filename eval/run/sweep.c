// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A run whose blocks are measured by tasks of a launcher, perhaps on many hosts. Blocks follow from spec and seed one by one
 * (eval/run/plan.c), so a task needs nothing but the run record in the folder, and its number:
 *
 *   DIR/results.jsonl     the run record; in the end the merged records (eval/run/merge.c)
 *   DIR/sweep.sh          what each task runs: steelyard eval part DIR K
 *   DIR/parts/K/          a results folder with block K; K.log: what its tasks said
 *
 * The folder is shared by all hosts. What is done is a part that is whole, nothing else: a launcher's word that a task ended well
 * counts for nothing. There is no pilot: it would have to end before anybody knows how many tasks there are.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/run/runner.h"

#define LOOK_MS 2000
#define LOOKS_IN_VAIN 30

static bool fail(struct runner *r, const char *what, const char *why)
{
	snprintf(r->log.error, sizeof(r->log.error), "%.3900s: %s", what, why);
	return false;
}

/* A word for a shell, whatever is in it. */
static void put_quoted(FILE *f, const char *word)
{
	fputc('\'', f);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", f);
		else
			fputc(*word, f);
	fputc('\'', f);
}

static bool write_script(struct runner *r, const char *dir, const char *path)
{
	char *guest = realpath(r->guest_dir, NULL);
	FILE *f = fopen(path, "we");
	bool fine;

	if (f) {
		fprintf(f, "#!/bin/sh\n# Task K of the sweep measures block K.\nexec ");
		put_quoted(f, r->self);
		fprintf(f, " eval part ");
		put_quoted(f, dir);
		fprintf(f, " %s --guest ", r->launcher->script_task);
		put_quoted(f, guest ? guest : r->guest_dir);
		fputc('\n', f);
	}
	free(guest);
	fine = f && !ferror(f);
	if (f && fclose(f))
		fine = false;
	return fine && !chmod(path, 0755) ? true : fail(r, path, strerror(errno));
}

/* Blocks without a whole part, as "0-2,5"; their number. */
static unsigned missing_blocks(const struct runner *r, char *text, size_t n)
{
	unsigned count = 0, end;
	size_t at = 0;

	text[0] = 0;
	for (unsigned b = 0; b < r->spec.blocks; b = end + 1) {
		end = b;
		if (merge_has(r, b))
			continue;
		while (end + 1 < r->spec.blocks && !merge_has(r, end + 1))
			end++;
		count += end - b + 1;
		if (at < n)
			at += (size_t)snprintf(text + at, n - at, end > b ? "%s%u-%u" : "%s%u", at ? "," : "", b, end);
	}
	return count;
}

static bool submit(struct runner *r, const char *blocks, unsigned count)
{
	char *dir = realpath(r->dir, NULL), parts[4200], script[4200], job[LAUNCHER_JOB], why[500], text[400];
	struct launch l = {.dir = dir, .script = script, .tasks = blocks, .args = r->launcher_args};
	bool fine;

	if (!dir)
		return fail(r, r->dir, strerror(errno));
	snprintf(parts, sizeof(parts), "%.4000s/parts", dir);
	snprintf(script, sizeof(script), "%.4000s/sweep.sh", dir);
	if (mkdir(parts, 0777) && errno != EEXIST) {
		free(dir);
		return fail(r, "parts", strerror(errno));
	}
	fine = write_script(r, dir, script);
	if (fine && !r->launcher->submit(&l, job, text, sizeof(text)))
		fine = fail(r, text, "nothing was submitted");
	free(dir);
	if (!fine)
		return false;
	snprintf(why, sizeof(why), "%s job %s: %u task%s, for blocks %.300s", r->launcher->name, job, count,
		 count == 1 ? "" : "s", blocks);
	fprintf(stderr, "%s\n", why);
	return runner_put(
		r, "event",
		json_pack("{s:s, s:o, s:s, s:s}", "what", "submitted", "at", runner_now(), "why", why, "job", job));
}

/* A line whenever something has changed. */
static void say_state(const struct runner *r, const struct launch_state *s, struct launch_state *said, bool first)
{
	if (!first && s->waiting == said->waiting && s->running == said->running && !strcmp(s->reason, said->reason))
		return;
	*said = *s;
	fprintf(stderr, "%s job %s: %u running, %u waiting%s%s%s\n", r->launcher->name, r->ledger.job, s->running,
		s->waiting, s->reason[0] ? " (" : "", s->reason, s->reason[0] ? ")" : "");
}

/* Until no task of the job is left. false: a signal, or the launcher cannot be asked. */
static bool wait_for_job(struct runner *r)
{
	struct pollfd p = {.fd = r->stop_fd, .events = POLLIN};
	struct launch_state now, said = {0};
	unsigned in_vain = 0;
	char text[400];

	for (bool first = true;; first = false) {
		if (runner_stopped(r)) {
			r->launcher->cancel(r->ledger.job);
			fprintf(stderr, "%s job %s is cancelled\n", r->launcher->name, r->ledger.job);
			return false;
		}
		if (r->launcher->look(r->ledger.job, &now, text, sizeof(text))) {
			in_vain = 0;
			if (!now.waiting && !now.running)
				return true;
			say_state(r, &now, &said, first);
		} else if (++in_vain == LOOKS_IN_VAIN) {
			fprintf(stderr,
				"steelyard eval: %s; job %s goes on without us: steelyard eval resume %s waits for it "
				"again\n",
				text, r->ledger.job, r->dir);
			r->detached = true;
			return false;
		}
		poll(&p, 1, LOOK_MS);
	}
}

/* The last line of a task's log, which says what went wrong. */
static void last_words(const struct runner *r, unsigned block, char *text, size_t n)
{
	char path[4300], line[400];
	FILE *f;

	text[0] = 0;
	snprintf(path, sizeof(path), "%.4100s/parts/%u.log", r->dir, block);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		for (char *c = line; *c; c++)
			if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
				*c = '?';
		if (line[0])
			snprintf(text, n, "%.200s", line);
	}
	if (f)
		fclose(f);
}

/* Names what the job left undone. */
static bool put_failed(struct runner *r)
{
	for (unsigned b = 0; b < r->spec.blocks; b++) {
		char why[700], last[300];

		if (ledger_merged(&r->ledger, b))
			continue;
		last_words(r, b, last, sizeof(last));
		snprintf(why, sizeof(why), "block %u is not whole: parts/%u.log %s%s", b, b,
			 last[0] ? "ends with: " : "says nothing", last);
		fprintf(stderr, "steelyard eval: %s\n", why);
		if (!runner_put(r, "event",
				json_pack("{s:s, s:o, s:s, s:i, s:s}", "what", "failed-task", "at", runner_now(), "why",
					  why, "block", (int)b, "job", r->ledger.job)))
			return false;
	}
	return true;
}

/* Is there a job of an earlier launcher that goes on? What cannot be asked is not started twice. */
static bool job_lives(struct runner *r, bool *lives)
{
	struct launch_state s;
	char text[400];

	*lives = false;
	if (!r->ledger.job[0])
		return true;
	if (!r->launcher->look(r->ledger.job, &s, text, sizeof(text)))
		return fail(r, text, "so nobody knows whether its tasks still run");
	*lives = s.waiting || s.running;
	return true;
}

/* Waits; what is whole when that is cut short is merged, but nothing while tasks go on. */
static bool wait_or_keep(struct runner *r)
{
	if (wait_for_job(r))
		return true;
	if (!r->detached)
		merge_parts(r);
	return false;
}

bool sweep_run(struct runner *r)
{
	char blocks[8192];
	unsigned first, count;
	bool lives;

	if (!runner_plan(r, false, r->spec.blocks, "the spec says so: a sweep has no pilot", &first) ||
	    !job_lives(r, &lives))
		return false;
	/* The tasks of an earlier launcher first: what they leave is submitted. */
	count = missing_blocks(r, blocks, sizeof(blocks));
	if (count && lives && !r->detach) {
		if (!wait_or_keep(r))
			return false;
		count = missing_blocks(r, blocks, sizeof(blocks));
		lives = false;
	}
	if (count && !lives && !submit(r, blocks, count))
		return false;
	if (count && r->detach) {
		fprintf(stderr, "steelyard eval resume %s waits for it and merges\n", r->dir);
		r->detached = true;
		return false;
	}
	if (count && !wait_or_keep(r))
		return false;
	if (!merge_parts(r))
		return false;
	if (!missing_blocks(r, blocks, sizeof(blocks)))
		return true;
	if (put_failed(r))
		fprintf(stderr, "steelyard eval: what was measured is kept: steelyard eval resume %s does the rest\n",
			r->dir);
	return false;
}

/* ---- a task ---- */

/* Of a part: another host began it, or nobody got as far as its first record. Then it is put aside. */
static bool put_aside(const char *dir, json_t *environment, const char *node)
{
	json_t *head = merge_head(dir);
	const char *then = json_string_value(json_object_get(head, "node"));
	char aside[4400], results[4300], what[400];
	bool same = false, fine = true;

	if (head) {
		merge_unlike(environment, json_object_get(head, "environment"), what, sizeof(what));
		same = then && !strcmp(then, node) && !what[0];
	}
	json_decref(head);
	snprintf(results, sizeof(results), "%.4200s/results.jsonl", dir);
	if (same || access(results, F_OK))
		return true;
	for (unsigned i = 1; i < 1000; i++) {
		snprintf(aside, sizeof(aside), "%.4200s.%u", dir, i);
		if (!access(aside, F_OK))
			continue;
		fine = !rename(dir, aside);
		printf("%s: another host began it; it is %s now\n", dir, aside);
		return fine;
	}
	return false;
}

static int complain(const char *dir, const char *why)
{
	fprintf(stderr, "steelyard eval: %s: %s\n", dir, why);
	return 1;
}

int sweep_part(struct runner *r, unsigned block)
{
	json_t *head = merge_head(r->dir), *environment;
	struct utsname u;
	char text[600] = "", dir[4096], results[4200];
	bool whole, fine = head && json_object_get(head, "launcher") &&
			   spec_from_json(json_object_get(head, "spec"), &r->spec, text, sizeof(text));

	if (!fine || block >= r->spec.blocks || uname(&u)) {
		json_decref(head);
		return complain(r->dir, text[0] ? text
					: fine  ? "its sweep has no such block"
						: "there is no sweep in it");
	}
	snprintf(dir, sizeof(dir), "%s", r->dir);
	r->ledger.spec = json_incref(json_object_get(head, "spec"));
	r->ledger.environment = json_incref(json_object_get(head, "environment"));
	whole = merge_has(r, block);
	ledger_free(&r->ledger);
	if (!ledger_init(&r->ledger) || !runner_ready(r, true, text, sizeof(text)) ||
	    !runner_same_files(r, json_object_get(head, "environment"))) {
		json_decref(head);
		return text[0] ? complain(dir, text) : 1;
	}
	json_decref(head);
	if (whole) {
		printf("%s: block %u is whole\n", dir, block);
		return 0;
	}
	r->part = (int)block;
	if (snprintf(r->dir, sizeof(r->dir), "%.4000s/parts/%u", dir, block) >= (int)sizeof(r->dir))
		return complain(dir, "the name is too long");
	environment = environment_object(r);
	fine = put_aside(r->dir, environment, u.nodename);
	json_decref(environment);
	if (!fine)
		return complain(r->dir, "another host began it, and it cannot be put aside");
	snprintf(r->command, sizeof(r->command), "steelyard eval part %.1900s %u", dir, block);
	snprintf(results, sizeof(results), "%.4096s/results.jsonl", r->dir);
	return access(results, F_OK) ? runner_run(r) : runner_resume(r);
}
