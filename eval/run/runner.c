// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A run from its first record to its last. There is no state but the folder: the plan follows from the spec, the seed and the number
 * of blocks, all of which are in the first records, and whatever has a record is done. So a new run and a resumed one are the
 * same loop over the same plan; a resumed one finds less missing.
 *
 *   reference   every workload once natively: the checksums that are right, and how long to wait for the others
 *   pilot       blocks that only decide how many follow (spec.pilot_blocks)
 *   blocks
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/run/runner.h"
#include "eval/seal.h"

json_t *runner_now(void)
{
	time_t t = time(NULL);
	struct tm tm;
	char text[40];

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	return json_string(text);
}

bool runner_put(struct runner *r, const char *type, json_t *fields)
{
	json_t *keep = json_incref(fields);
	bool fine = record_put(&r->log, type, fields);

	json_object_set_new(keep, "type", json_string(type));
	if (fine)
		ledger_take(&r->ledger, keep);
	json_decref(keep);
	return fine;
}

/* ---- signals ---- */

static bool take_signals(struct runner *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGXFSZ, SIG_IGN); /* a limit on the file's size is like a full disk: write says it */
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return false;
	r->stop_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->stop_fd >= 0;
}

bool runner_stopped(struct runner *r)
{
	struct signalfd_siginfo info;

	if (r->stop_signal <= 0 && read(r->stop_fd, &info, sizeof(info)) == sizeof(info))
		r->stop_signal = (int)info.ssi_signo;
	return r->stop_signal != 0;
}

/* ---- the loop ---- */

static const char *said_of(const struct runner *r, const struct plan_item *it, const struct ledger *before, char *text,
			   size_t n)
{
	unsigned failed = r->ledger.failed - before->failed, invalid = r->ledger.invalid - before->invalid;

	text[0] = 0;
	if (it->path >= 0 && ledger_given_up(&r->ledger, &r->spec.path[it->path], NULL))
		snprintf(text, n, "given up, its record says why");
	else if (failed || invalid)
		snprintf(text, n, "%u failed, %u with a wrong checksum", failed, invalid);
	return text;
}

bool runner_owns(const struct runner *r, const struct plan_item *it)
{
	return r->ledger.block < 0 || it->pass == PLAN_PASS_REFERENCE ||
	       (!it->pilot && it->block == (unsigned)r->ledger.block);
}

/* Items from..plan.n that have something missing. false: the run ends here. */
static bool run_items(struct runner *r, unsigned from)
{
	for (unsigned i = from; i < r->plan.n; i++) {
		const struct plan_item *it = &r->plan.item[i];
		struct ledger before = r->ledger;
		char said[100];

		if (!runner_owns(r, it) || !item_pending(r, it))
			continue;
		if (runner_stopped(r))
			return false;
		if (it->pass != PLAN_PASS_REFERENCE && !quiet_gate(r, it))
			return false;
		progress_item(r, it, i, r->plan.n);
		if (!item_run(r, it) || r->stop_signal) {
			runner_stopped(r);
			return false;
		}
		progress_done(r, it, said_of(r, it, &before, said, sizeof(said)));
	}
	return true;
}

static bool put_plan(struct runner *r, bool pilot, unsigned blocks, unsigned first, const char *why)
{
	if (r->ledger.plan[pilot].known)
		return true;
	return runner_put(r, "plan",
			  json_pack("{s:b, s:i, s:i, s:i, s:s}", "pilot", pilot, "blocks", (int)blocks, "items",
				    (int)(r->plan.n - first), "first", (int)first, "why", why));
}

bool runner_plan(struct runner *r, bool pilot, unsigned blocks, const char *why, unsigned *first)
{
	*first = r->plan.n;
	if (r->ledger.plan[pilot].known)
		blocks = r->ledger.plan[pilot].blocks;
	r->progress.blocks = pilot ? 0 : blocks;
	if (!plan_add_blocks(&r->plan, &r->spec, pilot, 0, blocks)) {
		snprintf(r->log.error, sizeof(r->log.error), "out of memory");
		return false;
	}
	return put_plan(r, pilot, blocks, *first, why);
}

/* Some of the plan: its record, then what is missing of it. */
static bool run_blocks(struct runner *r, bool pilot, unsigned blocks, const char *why)
{
	unsigned first;

	return runner_plan(r, pilot, blocks, why, &first) && run_items(r, first);
}

static bool run_all(struct runner *r)
{
	char why[300] = "the spec says so";
	unsigned blocks;

	if (!plan_add_reference(&r->plan, &r->spec)) {
		snprintf(r->log.error, sizeof(r->log.error), "out of memory");
		return false;
	}
	if (r->ledger.block >= 0)
		r->plan.item[0].block = (unsigned)r->ledger.block; /* every part has its own reference */
	if (r->launcher)
		return sweep_run(r);
	if (!run_items(r, 0) || (r->spec.pilot_blocks && !run_blocks(r, true, r->spec.pilot_blocks, why)))
		return false;
	blocks = ledger_blocks(&r->ledger, &r->spec, why, sizeof(why));
	return run_blocks(r, false, blocks, why);
}

/* The end of the file, whatever brought it about. */
static int finish(struct runner *r, bool complete)
{
	char text[400];
	double load = 0;

	progress_end(r);
	if (r->log.error[0]) {
		fprintf(stderr, "steelyard eval: %s; what was measured is kept: steelyard eval resume %s goes on\n",
			r->log.error, r->dir);
		return 1;
	}
	if (r->detached)
		return r->detach ? 0 : 1;
	if (r->stop_signal > 0) {
		snprintf(text, sizeof(text), "signal %d (%s)", r->stop_signal, strsignal(r->stop_signal));
		runner_put(r, "event",
			   json_pack("{s:s, s:o, s:s}", "what", "interrupted", "at", runner_now(), "why", text));
	}
	if (getloadavg(&load, 1) != 1)
		load = 0;
	if (!runner_put(
		    r, "end",
		    json_pack("{s:o, s:f, s:b}", "finished", runner_now(), "load_after", load, "complete", complete)))
		fprintf(stderr, "steelyard eval: %s\n", r->log.error);
	if (!seal_write(r->dir, text, sizeof(text))) {
		fprintf(stderr, "steelyard eval: %s\n", text);
		complete = false;
	}
	if (r->stop_signal > 0)
		fprintf(stderr, "interrupted; what was measured is kept: steelyard eval resume %s goes on\n", r->dir);
	return r->stop_signal > 0 ? 128 + r->stop_signal : complete ? 0 : 1;
}

static int go(struct runner *r)
{
	int rc;

	if (!take_signals(r)) {
		fprintf(stderr, "steelyard eval: signals: %s\n", strerror(errno));
		return 1;
	}
	progress_begin(r);
	rc = finish(r, run_all(r));
	close(r->stop_fd);
	return rc;
}

/* The host's name, as Slurm and people call it. */
static json_t *node_name(void)
{
	struct utsname u;

	return json_string(uname(&u) || !u.nodename[0] ? "unknown" : u.nodename);
}

int runner_run(struct runner *r)
{
	char id[64], text[40];
	time_t t = time(NULL);
	struct tm tm;
	json_t *o;

	strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", gmtime_r(&t, &tm));
	snprintf(id, sizeof(id), "%s-%" PRIu64, text, r->spec.seed);
	if (!record_create(&r->log, r->dir, id)) {
		fprintf(stderr, "steelyard eval: %s\n", r->log.error);
		return 1;
	}
	o = json_pack("{s:o, s:s, s:o, s:o, s:o}", "spec", spec_json(&r->spec), "command", r->command, "started",
		      runner_now(), "environment", environment_object(r), "probe", environment_probe(r));
	if (r->launcher) {
		json_object_set_new(o, "launcher", json_string(r->launcher->name));
		json_object_set_new(o, "launcher_args", json_string(r->launcher_args));
	}
	if (r->part >= 0) {
		json_object_set_new(o, "block", json_integer(r->part));
		json_object_set_new(o, "node", node_name());
	}
	return runner_put(r, "run", o) ? go(r) : finish(r, false);
}

/* The program and the guest's files must be those that the run began with: else it would compare two things. */
bool runner_same_files(const struct runner *r, json_t *environment)
{
	json_t *now = environment_object(r), *then = json_object_get(environment, "hashes"), *v;
	const char *key, *differs = NULL;

	json_object_foreach(then, key, v) if (!json_equal(v, json_object_get(json_object_get(now, "hashes"), key)))
		differs = key;
	if (differs)
		fprintf(stderr,
			"steelyard eval: %s is not the one that this run began with: the rest would be another "
			"measurement\n",
			differs);
	json_decref(now);
	return !differs;
}

struct resume {
	struct runner *r;
	json_t *environment, *launcher, *args;
};

static bool take_record(void *ctx, json_t *o)
{
	struct resume *s = ctx;

	if (!s->environment) {
		s->environment = json_incref(json_object_get(o, "environment"));
		s->launcher = json_incref(json_object_get(o, "launcher"));
		s->args = json_incref(json_object_get(o, "launcher_args"));
	}
	return ledger_take(&s->r->ledger, o);
}

/* A sweep goes on as a sweep, by arguments that may be others than at first. */
static bool resume_sweep(struct runner *r, const struct resume *s)
{
	const char *args = json_string_value(s->args), *name = json_string_value(s->launcher);
	char text[300];

	if (!name)
		return true;
	r->launcher = launcher_find(name);
	if (args && !r->launcher_args[0])
		snprintf(r->launcher_args, sizeof(r->launcher_args), "%s", args);
	if (r->launcher && r->launcher->submit && r->launcher->ready(text, sizeof(text)))
		return true;
	if (!r->launcher || !r->launcher->submit)
		snprintf(text, sizeof(text), "no launcher of this program is called \"%.40s\"", name);
	fprintf(stderr, "steelyard eval: %s\n", text);
	return false;
}

int runner_resume(struct runner *r)
{
	struct resume s = {.r = r};
	char text[500];
	size_t torn;
	bool fine;

	if (!record_reopen(&r->log, r->dir, take_record, &s, &torn)) {
		fprintf(stderr, "steelyard eval: %s\n", r->log.error);
		json_decref(s.environment);
		json_decref(s.launcher);
		json_decref(s.args);
		return 1;
	}
	fine = r->ledger.spec && spec_from_json(r->ledger.spec, &r->spec, text, sizeof(text));
	if (!fine)
		fprintf(stderr, "steelyard eval: %s: %s\n", r->log.path,
			r->ledger.spec ? text : "there is no run in it: nothing to resume");
	if (fine && r->ledger.ended && r->ledger.complete) {
		printf("%s: nothing is missing\n", r->dir);
		json_decref(s.environment);
		json_decref(s.launcher);
		json_decref(s.args);
		return 0;
	}
	if (fine && spec_is_macro(&r->spec) && !macro_files_find(r->guest_dir, &r->macro, text, sizeof(text))) {
		fprintf(stderr, "steelyard eval: %s\n", text);
		fine = false;
	}
	fine = fine && runner_same_files(r, s.environment) && resume_sweep(r, &s);
	json_decref(s.environment);
	json_decref(s.launcher);
	json_decref(s.args);
	if (!fine)
		return 1;
	r->late = true;
	if (r->launcher && !merge_mend(r))
		return finish(r, false);
	snprintf(text, sizeof(text), torn ? "a torn line of %zu bytes was cut off" : "where it stopped", torn);
	if (!runner_put(r, "event", json_pack("{s:s, s:o, s:s}", "what", "resumed", "at", runner_now(), "why", text)))
		return finish(r, false);
	return go(r);
}
