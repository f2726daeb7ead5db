/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * steelyard run: the choice of a path, the machine's life, its outcome into an exit status.
 *
 * Everything that goes to a person at the end is gathered in memory while the machine exists, and printed when the
 * machine is gone and the terminal is itself again.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/chardev_host.h"
#include "engine/io.h"
#include "engine/load/boot.h"
#include "engine/main/lockstep.h"
#include "engine/main/run_cmd.h"
#include "engine/main/verbs.h"
#include "engine/switch.h"
#include "engine/vm.h"
#include "fastpath/probe.h"
#include "translator/hot.h"
#include "translator/rows.h"

#define NS_PER_SEC 1e9

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* kvm where the probe's verdict says that it is native and right, unless instructions are to be counted; bt else; interp
 * where bt cannot run. A path that was asked for stays, and this boot's verdict is recorded with it all the same. */
static void choose_path(struct run_cmd *r)
{
	struct probe_verdict v;
	struct host_facts f;
	struct error e = {0};
	const char *path;

	probe_host(&f);
	if (!r->path_auto || r->insn_rows) {
		probe_verdict_for(&f, &(struct probe_options){.effort = PROBE_CACHED_ONLY}, &v);
		path = r->path_auto ? "bt" : exec_paths[r->cfg.path]->name;
		snprintf(r->path_why, sizeof(r->path_why), "%s", r->path_auto ? "--insn-rows counts on bt and interp" : "asked for");
	} else {
		path = probe_choose(&f, &v);
		snprintf(r->path_why, sizeof(r->path_why), "%s", v.auto_why);
	}
	r->probe = probe_summary(&f, &v);
	if (!r->path_auto)
		return;
	r->cfg.path = PATH_BT;
	if (!strcmp(path, "kvm") && exec_paths[PATH_KVM]->available(&e) == ST_OK)
		r->cfg.path = PATH_KVM;
	else if (exec_paths[PATH_BT]->available(&e) != ST_OK)
		r->cfg.path = PATH_INTERP;
	if (e.msg[0])
		snprintf(r->path_why, sizeof(r->path_why), "%s", e.msg);
}

/* ---- life ---- */

static void timeout_fire(void *ctx)
{
	vm_end(ctx, VM_TIMEOUT, 0, "the time is over");
}

/* Ctrl-A s: the terminal is raw, so lines need their carriage returns. */
static void show_stats(void *ctx)
{
	struct run_cmd *r = ctx;
	struct run_context now = r->context;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	now.wall_ns = now_ns() - r->start_ns;
	run_stats_print(r->vm, &now, f);
	fclose(f);
	fputs("\r\n", stderr);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			fputc('\r', stderr);
		fputc(text[i], stderr);
	}
	free(text);
}

/* Clients of the control socket hear of every change; one that nobody asked for is news on the terminal too. That may be raw:
 * a carriage return does no harm to one that is not. */
static void on_switch(void *ctx, struct vm *vm, const struct switch_event *ev)
{
	struct run_cmd *r = ctx;
	char text[320];

	run_control_switched(&r->control, vm, ev);
	if (ev->cause == SWITCH_ASKED || ev->cause == SWITCH_BACK)
		return;
	fprintf(stderr, "steelyard: %s%s\n", switch_event_text(vm, ev, text, sizeof(text)), isatty(2) ? "\r" : "");
}

static void on_stall(void *ctx, struct vm *vm, unsigned vcpu, const char *text)
{
	struct run_cmd *r = ctx;

	run_control_stalled(&r->control, vm, vcpu, text);
	fprintf(stderr, "steelyard: %s%s\n", text, isatty(2) ? "\r" : "");
}

static void on_disk(void *ctx, struct vm *vm, const char *text)
{
	struct run_cmd *r = ctx;

	run_control_disk(&r->control, vm, text);
	fprintf(stderr, "steelyard: %s%s\n", text, isatty(2) ? "\r" : "");
}

/* For the control socket, on its thread. */
static json_t *stats_json(void *ctx)
{
	struct run_cmd *r = ctx;
	struct run_context now = r->context;

	now.wall_ns = now_ns() - r->start_ns;
	return run_stats_object(r->vm, &now);
}

/* The signals that end a machine come to its I/O thread, so nobody may die of them before. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static enum status open_lines(struct run_cmd *r, struct error *e)
{
	enum status st = chardev_open(r->serial, &r->serial_dev, e);

	if (st != ST_OK)
		return st;
	chardev_on_stats(r->serial_dev, show_stats, r);
	r->cfg.serial = r->cfg.debugcon = r->serial_dev;
	if (r->marks.path) {
		r->cfg.debugcon = NULL; /* run_marks_start connects it: it is no host end that an I/O thread serves */
		return run_marks_open(&r->marks, e);
	}
	if (!strcmp(r->debugcon, "serial"))
		return ST_OK;
	st = chardev_open(r->debugcon, &r->debugcon_dev, e);
	r->cfg.debugcon = r->debugcon_dev;
	return st;
}

static enum status make(struct run_cmd *r, struct error *e)
{
	enum status st;

	if ((st = boot_check(&r->cfg, e)) != ST_OK)
		return st;
	if (r->insn_rows && !(r->rows_file = fopen(r->insn_rows, "we")))
		return error_errno(e, ST_DENIED, "cannot write the file of --insn-rows, %s", r->insn_rows);
	if (r->hot_blocks && !(r->hot_file = fopen(r->hot_blocks, "we")))
		return error_errno(e, ST_DENIED, "cannot write the file of --hot-blocks, %s", r->hot_blocks);
	r->cfg.on_switch = on_switch;
	r->cfg.on_stall = on_stall;
	r->cfg.on_disk = on_disk;
	r->cfg.on_switch_ctx = r->cfg.on_stall_ctx = r->cfg.on_disk_ctx = r;
	if ((st = run_control_open(&r->control, stats_json, r, e)) != ST_OK || (st = open_lines(r, e)) != ST_OK)
		return st;
	run_control_listen(&r->control, &r->cfg);
	if ((st = vm_create(&r->vm, &r->cfg, e)) != ST_OK || (st = io_take_signals(r->vm->io, e)) != ST_OK)
		return st;
	timer_init(&r->timer, &r->vm->clock, timeout_fire, r->vm);
	if (r->timeout_s > 0)
		timer_arm(&r->timer, (uint64_t)(r->timeout_s * NS_PER_SEC));
	run_switch_begin(&r->change, r->vm);
	return ST_OK;
}

static const char *outcome_name(enum vm_outcome o)
{
	static const char *const name[] = {"running", "poweroff", "debug-exit", "triple-fault",
					   "reset",   "stopped",  "timeout",    "failed"};

	return (unsigned)o < ARRAY_LEN(name) ? name[o] : "unknown";
}

static int outcome_status(const struct vm *vm, enum vm_outcome o)
{
	int value = atomic_load(&vm->exit_value);

	switch (o) {
	case VM_POWEROFF:
	case VM_RESET_REQUEST:
		return EXIT_OK;
	case VM_DEBUG_EXIT:
		return (int)((unsigned)value << 1 | 1) & 0xff;
	case VM_TRIPLE_FAULT:
		return EXIT_TRIPLE_FAULT;
	case VM_STOPPED:
		return value ? EXIT_SIGNAL_BASE + value : EXIT_OK;
	case VM_TIMEOUT:
		return EXIT_TIMEOUT;
	case VM_RUNNING:
	case VM_FAILED:
		break;
	}
	return EXIT_HOST;
}

static void report(struct run_cmd *r, enum vm_outcome o, int status, FILE *f)
{
	struct vm *vm = r->vm;

	if (o == VM_TRIPLE_FAULT || o == VM_FAILED) {
		fprintf(f, "steelyard: %s\n", vm->end_text);
		for (unsigned i = 0; i < vm->ncpus; i++)
			vcpu_dump(vm->vcpu[i], f);
	} else if (o == VM_TIMEOUT) {
		fprintf(f, "steelyard: ended after %g seconds as --timeout says\n", r->timeout_s);
	}
	if (r->stats)
		run_stats_print(vm, &r->context, f);
	if (r->json)
		run_stats_json(vm, &r->context, outcome_name(o), status, f);
}

/* false when the file could not take it. */
static bool write_rows(struct run_cmd *r)
{
	uint64_t sum[VCPU_ROWS] = {0};
	FILE *f = r->rows_file;

	r->rows_file = NULL;
	if (!f)
		return true;
	rows_add(sum, r->vm);
	rows_write(sum, f);
	return !ferror(f) & !fclose(f);
}

#define HOT_BLOCKS_WRITTEN 64
static bool write_hot(struct run_cmd *r)
{
	FILE *f = r->hot_file;

	r->hot_file = NULL;
	if (!f)
		return true;
	hot_write(r->vm, HOT_BLOCKS_WRITTEN, f);
	return !ferror(f) & !fclose(f);
}

static void close_lines(struct run_cmd *r)
{
	chardev_close(r->debugcon_dev);
	chardev_close(r->serial_dev);
	run_control_close(&r->control);
	run_marks_close(&r->marks);
	if (r->rows_file)
		fclose(r->rows_file);
	if (r->hot_file)
		fclose(r->hot_file);
}

/* A vCPU is still in guest code, and may come back at any moment to what it knows: nothing is freed, the process ends. The terminal
 * is restored by its child. */
static void leave_lost(struct run_cmd *r, const char *text)
{
	vm_destroy(r->vm);
	run_control_close(&r->control);
	fputs(text ? text : "", stderr);
	fflush(NULL);
	_exit(EXIT_HOST);
}

static int run_machine(struct run_cmd *r)
{
	uint64_t begin = now_ns(), wall_ns;
	struct error e = {0};
	enum vm_outcome o;
	enum status st;
	char *text = NULL;
	size_t len = 0;
	int status;
	FILE *f;

	block_signals();
	st = make(r, &e);
	if (st == ST_OK) {
		r->start_ns = now_ns();
		r->context = (struct run_context){.path = exec_paths[r->cfg.path]->name,
						  .path_why = r->path_why,
						  .probe = r->probe,
						  .setup_ns = r->start_ns - begin};
		st = run_control_start(&r->control, r->vm, &e);
	}
	if (st != ST_OK) {
		vm_destroy(r->vm);
		close_lines(r);
		return verb_fail(&e);
	}
	run_marks_start(&r->marks, r->vm);
	o = vm_run(r->vm);
	wall_ns = now_ns() - r->start_ns;
	status = outcome_status(r->vm, o);
	run_control_stop(&r->control, r->vm, outcome_name(o), status); /* from here on the machine is this thread's alone */
	r->context.wall_ns = wall_ns;
	timer_cancel(&r->timer);
	run_switch_end(&r->change);
	f = open_memstream(&text, &len);
	if (f) {
		report(r, o, status, f);
		fclose(f);
	}
	if (!write_rows(r)) {
		error_set(&e, ST_IO, "cannot write all of --insn-rows to %s: is the disk full?", r->insn_rows);
		status = EXIT_HOST;
	}
	if (!write_hot(r)) {
		error_set(&e, ST_IO, "cannot write all of --hot-blocks to %s: is the disk full?", r->hot_blocks);
		status = EXIT_HOST;
	}
	run_marks_stop(&r->marks);
	if (r->vm->lost)
		leave_lost(r, text);
	vm_destroy(r->vm);
	if (!run_marks_close(&r->marks)) {
		error_set(&e, ST_IO, "cannot write all of --marks to %s: is the disk full?", r->marks.path);
		status = EXIT_HOST;
	}
	close_lines(r);
	if (text)
		fputs(text, stderr);
	free(text);
	return e.msg[0] ? verb_fail(&e) : status;
}

int run_main(int argc, char **argv)
{
	struct run_cmd r = {0};
	int status = run_options_parse(&r, argc, argv);

	if (r.insn_rows)
		r.cfg.bt_cold = 0; /* what is not translated would not be counted */
	run_devices_finish(&r.devices);
	r.cfg.devices = r.devices.list;
	r.cfg.ndevices = r.devices.n;
	if (status == EXIT_OK && !r.help)
		choose_path(&r);
	if (status == EXIT_OK && !r.help && r.insn_rows && (r.lockstep || r.cfg.path == PATH_KVM || r.cfg.path == PATH_HYBRID))
		status = verb_usage("--insn-rows counts on the paths interp and bt, one at a time");
	if (status == EXIT_OK && !r.help && r.hot_blocks && (r.lockstep || r.cfg.path != PATH_BT))
		status = verb_usage("--hot-blocks counts on the path bt: say --path bt");
	if (r.help)
		run_options_help(stdout);
	else if (status == EXIT_OK && r.lockstep && (r.control.name || r.control.path))
		status = verb_usage("--lockstep runs without a control socket: leave out --name and --control");
	else if (status == EXIT_OK && r.marks.path && (r.lockstep || strcmp(r.debugcon, "serial")))
		status = verb_usage("--marks takes port 0xe9 for itself: leave out --debugcon and --lockstep");
	else if (status == EXIT_OK && r.lockstep && r.cfg.ndevices)
		status = verb_usage("--lockstep compares machines that nothing from outside disturbs: leave out the devices");
	else if (status == EXIT_OK && r.lockstep)
		status = lockstep_main(&(struct lockstep_options){.cfg = &r.cfg,
								  .max_insns = r.lockstep_insns,
								  .timeout_s = r.timeout_s,
								  .serial = r.serial});
	else if (status == EXIT_OK)
		status = run_machine(&r);
	json_decref(r.probe);
	free(r.flat);
	run_devices_free(&r.devices);
	return status;
}
