// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One item of the plan: a native pass, one machine with its hand of workloads, or the workloads of a path without a machine. Only what has no record yet is recorded, so an
 * item that was interrupted is finished by running what is missing of it.
 *
 * A workload that hangs or takes its machine with it is one failed record and an event; those behind it run in another machine.
 * A machine that does not reach the first line of init gives up its path: it would fail in every block, slowly.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "eval/run/runner.h"

#define NATIVE_LIMIT_S 120
#define MIN_REPEAT_SCALE 20 /* native work smaller than this is repeated, or the clock could not tell it */

unsigned item_scale(const struct runner *r, const struct plan_item *it, unsigned w)
{
	const struct spec_workload *wl = &r->spec.workload[it->workload[w]];

	return it->slow && it->pass != PLAN_PASS_REFERENCE ? wl->slow_scale : wl->scale;
}

static const struct spec_path *path_of(const struct runner *r, const struct plan_item *it)
{
	return it->path < 0 ? NULL : &r->spec.path[it->path];
}

/* QEMU's work takes many times as long as ours, and its ratios are large: fewer will do. A series that is to show how a machine warms up is of the machine only: natively nothing is translated. */
static unsigned iterations(const struct runner *r, const struct plan_item *it, unsigned w)
{
	unsigned more = r->spec.workload[it->workload[w]].iterations;

	if (it->pass == PLAN_PASS_REFERENCE)
		return 1;
	if (it->path >= 0 && path_of(r, it)->row->peer == PEER_QEMU && r->spec.peer_iterations)
		return r->spec.peer_iterations;
	return it->path >= 0 && !it->slow && more > r->spec.iterations ? more : r->spec.iterations;
}

/* Is the w-th workload of the item to be run? */
static bool workload_pending(const struct runner *r, const struct plan_item *it, unsigned w)
{
	const struct spec_workload *wl = &r->spec.workload[it->workload[w]];

	if (it->path >= 0 && ledger_given_up(&r->ledger, path_of(r, it), wl->name))
		return false;
	for (unsigned i = 0; i < iterations(r, it, w); i++)
		if (!ledger_done(&r->ledger, it, wl->name, item_scale(r, it, w), i))
			return true;
	return it->pass == PLAN_PASS_REFERENCE && it->slow && !ledger_done(&r->ledger, it, wl->name, wl->slow_scale, 0);
}

bool item_pending(const struct runner *r, const struct plan_item *it)
{
	if (it->machine)
		return machine_item_pending(r, it);
	if (it->path >= 0 && ledger_given_up(&r->ledger, path_of(r, it), NULL))
		return false;
	if (it->path >= 0 && !path_of(r, it)->row->flat && !ledger_boot_done(&r->ledger, it))
		return true;
	for (unsigned w = 0; w < it->nworkloads; w++)
		if (workload_pending(r, it, w))
			return true;
	return false;
}

/* ---- records ---- */

json_t *item_flags(const struct runner *r, const struct plan_item *it, bool again)
{
	json_t *f = json_array();

	if (it->pilot)
		json_array_append_new(f, json_string("pilot"));
	if (r->unquiet)
		json_array_append_new(f, json_string("unquiet"));
	if (again)
		json_array_append_new(f, json_string("again"));
	if (r->late)
		json_array_append_new(f, json_string("late"));
	return f;
}

static void set(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static json_t *time_json(bool known, uint64_t ns)
{
	return known ? json_integer((json_int_t)ns) : json_null();
}

static json_t *threads_json(uint64_t vcpu_ns, uint64_t io_ns, uint64_t other_ns)
{
	return json_pack("{s:I, s:I, s:I}", "vcpu_ns", (json_int_t)vcpu_ns, "io_ns", (json_int_t)io_ns, "other_ns",
			 (json_int_t)other_ns);
}

/* Is the guest's clock another than the host's? Markers that pass a serial line may be a millisecond late. */
static bool clocks_differ(const struct observed_run *run)
{
	uint64_t a = run->wall_ns, b = run->guest_wall_ns, far = a > b ? a - b : b - a;

	return run->timed && b && far > 1000000 && far > a / 200;
}

/* Sets valid and, when it is not, why. */
static void judge(const struct runner *r, json_t *o, const struct plan_item *it, const struct observed_run *run,
		  unsigned scale)
{
	char key[80], why[240];
	const char *want;

	snprintf(key, sizeof(key), "%s/%u", run->workload, scale);
	want = json_string_value(json_object_get(r->ledger.checksum, key));
	if (run->ok && (it->pass == PLAN_PASS_REFERENCE || (want && !strcmp(want, run->checksum)))) {
		json_object_set_new(o, "valid", json_true());
		return;
	}
	json_object_set_new(o, "valid", json_false());
	if (!run->ok)
		snprintf(why, sizeof(why), "%s", run->why);
	else if (want)
		snprintf(why, sizeof(why), "wrong checksum: natively it is %s", want);
	else
		snprintf(why, sizeof(why), "there is no native checksum to compare with");
	json_object_set_new(o, "why", json_string(why));
}

static bool put_sample(struct runner *r, const struct plan_item *it, const struct observed_run *run, unsigned scale,
		       unsigned repeat, bool again)
{
	json_t *o = json_object(), *flags = item_flags(r, it, again);
	const char *pass = plan_pass_name(it->pass);

	if (ledger_done(&r->ledger, it, run->workload, scale, run->iteration)) {
		json_decref(o);
		json_decref(flags);
		return true;
	}
	if (it->path >= 0 && clocks_differ(run))
		json_array_append_new(flags, json_string("clock"));
	set(o, "block", it->block);
	json_object_set_new(o, "path", json_string(it->path < 0 ? "native" : path_of(r, it)->row->name));
	if (pass)
		json_object_set_new(o, "pass", json_string(pass));
	set(o, "cpus", it->cpus);
	json_object_set_new(o, "workload", json_string(run->workload));
	json_object_set_new(o, "group", json_string(workload_group(run->workload)->name));
	set(o, "scale", scale);
	json_object_set_new(o, "phase", json_string(run->iteration ? "steady" : "cold"));
	set(o, "iteration", run->iteration);
	set(o, "order", it->order);
	json_object_set_new(o, "ok", json_boolean(run->ok));
	json_object_set_new(o, "timed", json_boolean(run->timed));
	json_object_set_new(o, "checksum", run->ok ? json_string(run->checksum) : json_null());
	judge(r, o, it, run, scale);
	json_object_set_new(o, "wall_ns", time_json(run->timed, run->wall_ns));
	json_object_set_new(o, "cpu_ns", time_json(run->timed, run->cpu_ns));
	if (run->timed && run->has_threads)
		json_object_set_new(o, "threads", threads_json(run->vcpu_ns, run->io_ns, run->other_ns));
	if (run->timed && run->has_sys)
		set(o, "sys_ns", run->sys_ns);
	if (run->guest_wall_ns)
		set(o, "guest_wall_ns", run->guest_wall_ns);
	set(o, "repeat", repeat);
	json_object_set_new(o, "flags", flags);
	if (run->counters)
		json_object_set(o, "counters", run->counters);
	if (run->exits)
		json_object_set(o, "exits", run->exits);
	return runner_put(r, "sample", o);
}

static json_t *split_json(const struct observe *ob)
{
	json_t *o = json_object();

	if (ob->kernel_ns) {
		set(o, "start_ns", ob->start_ns);
		set(o, "kernel_ns", ob->kernel_ns);
	}
	if (ob->init_ns)
		set(o, "init_ns", ob->init_ns);
	return o;
}

static bool put_boot(struct runner *r, const struct plan_item *it, const struct observe *ob, bool again)
{
	json_t *o = json_object();

	if (!again && ledger_boot_done(&r->ledger, it)) {
		json_decref(o);
		return true;
	}
	set(o, "block", it->block);
	json_object_set_new(o, "path", json_string(path_of(r, it)->row->name));
	set(o, "cpus", it->cpus);
	set(o, "order", it->order);
	json_object_set_new(o, "ok", json_boolean(ob->booted));
	if (ob->why[0])
		json_object_set_new(o, "why", json_string(ob->why));
	set(o, "status", (unsigned)ob->status);
	json_object_set_new(o, "wall_ns", time_json(ob->booted, ob->boot_wall_ns));
	json_object_set_new(o, "cpu_ns", time_json(ob->booted, ob->boot_cpu_ns));
	if (ob->booted && ob->ram_kb) {
		set(o, "ram_kb", ob->ram_kb);
		set(o, "over_ram_kb", ob->over_ram_kb);
	}
	if (ob->booted && (ob->kernel_ns || ob->init_ns))
		json_object_set_new(o, "split", split_json(ob));
	if (ob->booted && ob->init.exact) {
		uint64_t known = ob->init.vcpu_ns + ob->init.io_ns;

		json_object_set_new(o, "threads",
				    threads_json(ob->init.vcpu_ns, ob->init.io_ns,
						 ob->init.cpu_ns > known ? ob->init.cpu_ns - known : 0));
	}
	if (ob->booted && ob->init.counters)
		json_object_set(o, "counters", ob->init.counters);
	json_object_set_new(o, "flags", item_flags(r, it, again));
	return runner_put(r, "boot", o);
}

static bool put_event(struct runner *r, const struct plan_item *it, const char *what, const char *workload,
		      const char *why)
{
	json_t *o = json_pack("{s:s, s:o, s:s, s:i, s:s, s:i}", "what", what, "at", runner_now(), "why", why, "order",
			      (int)it->order, "path", path_of(r, it)->row->name, "cpus", (int)it->cpus);

	if (workload)
		json_object_set_new(o, "workload", json_string(workload));
	return runner_put(r, "event", o);
}

static bool put_given_up(struct runner *r, const struct plan_item *it, const char *workload, const char *why)
{
	return put_event(r, it, "given-up", workload, why);
}

static void note_stop(struct runner *r, const struct observe *ob)
{
	if (ob->stopped && !r->stop_signal)
		r->stop_signal = -1; /* which one is read from the descriptor by the runner */
}

/* ---- native ---- */

static bool native_one(struct runner *r, const struct plan_item *it, const char *name, unsigned scale,
		       unsigned iteration)
{
	bool repeats = it->pass == PLAN_PASS_SLOW && scale < MIN_REPEAT_SCALE;
	unsigned times = repeats ? (MIN_REPEAT_SCALE + scale - 1) / scale : 1;
	struct observed_run run = {.workload = name, .iteration = iteration, .limit_s = NATIVE_LIMIT_S};
	char binary[4200], ncpus[16], repeat[16], percent[16], slower[32], what[40];
	const char *argv[16] = {binary}, *const rest[] = {"--mark",   "--cpus", ncpus, "--repeat", repeat,
							  "--slower", slower,   what,  percent,    NULL};
	unsigned words = spec_is_macro(&r->spec) ? macro_native_argv(&r->macro, argv) : 1;
	struct observe ob = {.argv = (char *const *)argv,
			     .boot_limit_s = NATIVE_LIMIT_S,
			     .repeat = times,
			     .native = true,
			     .stop_fd = r->stop_fd,
			     .run = &run,
			     .nruns = 1};
	bool fine;

	snprintf(binary, sizeof(binary), "%s/workloads", r->guest_dir);
	snprintf(ncpus, sizeof(ncpus), "%u", it->cpus);
	snprintf(repeat, sizeof(repeat), "%u", times);
	snprintf(percent, sizeof(percent), "%u", scale);
	snprintf(slower, sizeof(slower), "%g", it->pass == PLAN_PASS_INJECT ? r->spec.inject : 0);
	snprintf(what, sizeof(what), "%s", name);
	memcpy(argv + words, rest, sizeof(rest));
	observe(&ob);
	note_stop(r, &ob);
	if (ob.stopped) {
		observe_free(&ob);
		return false;
	}
	if (!run.ok && !run.why[0])
		snprintf(run.why, sizeof(run.why), "%s", ob.why[0] ? ob.why : "it ended without a result");
	fine = put_sample(r, it, &run, scale, times, false);
	observe_free(&ob);
	return fine;
}

static bool run_native(struct runner *r, const struct plan_item *it)
{
	for (unsigned w = 0; w < it->nworkloads; w++) {
		const struct spec_workload *wl = &r->spec.workload[it->workload[w]];
		unsigned scale = item_scale(r, it, w);

		for (unsigned i = 0; i < iterations(r, it, w); i++)
			if (!ledger_done(&r->ledger, it, wl->name, scale, i) && !native_one(r, it, wl->name, scale, i))
				return false;
		if (it->pass == PLAN_PASS_REFERENCE && it->slow && wl->slow_scale != scale &&
		    !ledger_done(&r->ledger, it, wl->name, wl->slow_scale, 0) &&
		    !native_one(r, it, wl->name, wl->slow_scale, 0))
			return false;
	}
	return true;
}

/* ---- flat paths ---- */

/* Executions of one workload by the program that stands for the machine. Its clocks are the host's, as natively. */
static bool flat_one(struct runner *r, const struct plan_item *it, const char *name, unsigned scale, unsigned times)
{
	struct observed_run *run = calloc(times, sizeof(*run));
	char program[4200], binary[4200], again[16], ncpus[16], percent[16], key[80];
	char *argv[] = {program, (char *)"--times", again,   binary, (char *)"--mark", (char *)"--cpus",
			ncpus,   (char *)name,      percent, NULL};
	struct observe ob = {.argv = argv,
			     .boot_limit_s = path_of(r, it)->row->boot_s,
			     .repeat = 1,
			     .native = true,
			     .stop_fd = r->stop_fd,
			     .run = run,
			     .nruns = times};
	bool fine = run && path_flat_program(program, sizeof(program));
	double native;

	snprintf(key, sizeof(key), "%s/%u", name, scale);
	native = json_real_value(json_object_get(r->ledger.native_s, key));
	snprintf(binary, sizeof(binary), "%s/workloads", r->guest_dir);
	snprintf(again, sizeof(again), "%u", times);
	snprintf(ncpus, sizeof(ncpus), "%u", it->cpus);
	snprintf(percent, sizeof(percent), "%u", scale);
	for (unsigned i = 0; fine && i < times; i++)
		run[i] = (struct observed_run){
			.workload = name, .iteration = i, .limit_s = 15 + native * path_of(r, it)->row->slowdown};
	if (fine)
		observe(&ob);
	note_stop(r, &ob);
	for (unsigned i = 0; fine && i < times && !ob.stopped; i++) {
		if (!run[i].ok && !run[i].why[0])
			snprintf(run[i].why, sizeof(run[i].why), "%s",
				 ob.why[0] ? ob.why : "it ended without a result");
		fine = put_sample(r, it, &run[i], scale, 1, false);
	}
	fine = fine && !ob.stopped;
	if (run)
		observe_free(&ob);
	free(run);
	return fine;
}

static bool run_flat(struct runner *r, const struct plan_item *it)
{
	const struct eval_path *row = path_of(r, it)->row;
	char text[200];
	bool fine = true;

	if (path_why_not(row, text, sizeof(text)))
		return put_given_up(r, it, NULL, text);
	for (unsigned w = 0; w < it->nworkloads && fine; w++) {
		const char *name = r->spec.workload[it->workload[w]].name;
		const char *why = eval_path_leaves_out(row, name);

		if (!workload_pending(r, it, w))
			continue;
		fine = why ? put_event(r, it, "left-out", name, why)
			   : flat_one(r, it, name, item_scale(r, it, w), iterations(r, it, w));
	}
	return fine;
}

/* ---- machines ---- */

struct hand {
	struct observed_run run[SPEC_MAX_WORKLOADS * 4];
	unsigned scale[SPEC_MAX_WORKLOADS * 4];
	unsigned n;
	char words[2048];
};

/* What is missing, as runs and as words for init. false: it does not fit. */
static bool deal(const struct runner *r, const struct plan_item *it, struct hand *h)
{
	const struct eval_path *row = path_of(r, it)->row;
	size_t at = 0;

	h->n = 0;
	h->words[0] = 0;
	for (unsigned w = 0; w < it->nworkloads; w++) {
		const struct spec_workload *wl = &r->spec.workload[it->workload[w]];
		unsigned scale = item_scale(r, it, w), times = iterations(r, it, w);
		char key[80];
		double native;

		if (!workload_pending(r, it, w))
			continue;
		snprintf(key, sizeof(key), "%s/%u", wl->name, scale);
		native = json_real_value(json_object_get(r->ledger.native_s, key));
		if (h->n + times > ARRAY_LEN(h->run))
			return false;
		for (unsigned i = 0; i < times; i++) {
			h->scale[h->n] = scale;
			h->run[h->n++] = (struct observed_run){
				.workload = wl->name, .iteration = i, .limit_s = 15 + native * row->slowdown};
		}
		at += (size_t)snprintf(h->words + at, sizeof(h->words) - at, "%s%s:%ux%u",
				       at ? "," : "steelyard.exec=usleep+100000 steelyard.run=", wl->name, scale,
				       times);
		if (at >= sizeof(h->words))
			return false;
	}
	return true;
}

/* A workload behind which nothing of the machine was seen: all its executions have that reason. */
static void spread_reason(struct hand *h, unsigned culprit)
{
	const char *workload = h->run[culprit].workload;

	for (unsigned i = 0; i < h->n; i++)
		if (i != culprit && !strcmp(h->run[i].workload, workload) && !h->run[i].ok && !h->run[i].why[0])
			memcpy(h->run[i].why, h->run[culprit].why, sizeof(h->run[i].why));
}

/* The records of one machine. *more: something has not been run and may be in another machine. */
static bool put_machine(struct runner *r, const struct plan_item *it, const struct observe *ob, struct hand *h,
			bool again, bool *more)
{
	const char *culprit = ob->culprit >= 0 ? h->run[ob->culprit].workload : NULL;
	unsigned put = 0, left = 0;
	bool fine = (ob->stopped && !ob->booted) || put_boot(r, it, ob, again);

	*more = false;
	if (ob->stopped)
		culprit = NULL;
	if (culprit)
		spread_reason(h, (unsigned)ob->culprit);
	for (unsigned i = 0; i < h->n; i++) {
		put += (h->run[i].ok || h->run[i].why[0]) &&
		       !ledger_done(&r->ledger, it, h->run[i].workload, h->scale[i], h->run[i].iteration);
		left += !h->run[i].ok && !h->run[i].why[0];
	}
	/* Nothing would come of another try: this one brought nothing that was not there. */
	if (!put && ob->booted && !ob->stopped)
		for (unsigned i = 0; i < h->n; i++)
			snprintf(h->run[i].why, sizeof(h->run[i].why), "%s", ob->why);
	for (unsigned i = 0; i < h->n && fine; i++)
		if (h->run[i].ok || (h->run[i].why[0] && !ob->stopped))
			fine = put_sample(r, it, &h->run[i], h->scale[i], 1, again);
	if (fine && culprit)
		fine = put_given_up(r, it, culprit, h->run[ob->culprit].why);
	if (fine && !ob->booted && !ob->stopped)
		fine = put_given_up(r, it, NULL, ob->why[0] ? ob->why : "no first line of init");
	*more = fine && put && left && !ob->stopped && ob->booted;
	return fine && !ob->stopped;
}

static bool run_machine(struct runner *r, const struct plan_item *it)
{
	const struct spec_path *p = path_of(r, it);
	struct path_command *c = calloc(1, sizeof(*c));
	struct hand *h = calloc(1, sizeof(*h));
	bool fine = c && h, more = true;
	char why[200];

	if (fine && path_why_not(p->row, why, sizeof(why))) {
		fine = put_given_up(r, it, NULL, why);
		more = false;
	}
	for (bool again = false; fine && more; again = true) {
		double total = p->row->boot_s + 15;

		fine = deal(r, it, h);
		if (!fine)
			snprintf(r->log.error, sizeof(r->log.error),
				 "too many workloads share a boot: say a smaller \"together\"");
		for (unsigned i = 0; fine && i < h->n; i++)
			total += h->run[i].limit_s;
		fine = fine && path_command(r, p, h->words, (unsigned)total, c);
		if (!fine)
			break;
		c->observe.run = h->run;
		c->observe.nruns = h->n;
		observe(&c->observe);
		note_stop(r, &c->observe);
		fine = put_machine(r, it, &c->observe, h, again, &more);
		observe_free(&c->observe);
	}
	free(c);
	free(h);
	return fine;
}

bool item_run(struct runner *r, const struct plan_item *it)
{
	if (it->machine)
		return machine_item_run(r, it);
	if (it->path < 0)
		return run_native(r, it);
	return path_of(r, it)->row->flat ? run_flat(r, it) : run_machine(r, it);
}
