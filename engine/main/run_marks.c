// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Marks: a guest writes a line to port 0xe9, and the host notes what it knows at that moment - its clock, the CPU time of the
 * vCPUs' threads and of the I/O thread and of the whole process, the counters. The vCPU that wrote waits meanwhile, so what it
 * has counted is exact; other vCPUs' counters may be a little behind. One line of JSON goes to the file for each line:
 *
 *   {"mark":"@start sieve 25","host_ns":...,"cpu_ns":...,"vcpu_ns":...,"io_ns":...,"counters":{...},"exits":{...}}
 *
 * An empty line is a moment without text: the next line gets the clocks of it. So a guest can mark an end first and say later
 * what ended. The device hands over whole lines (engine/pc/outbuf.c). Nothing waits here: a pipe that is full loses the line.
 */
#include "engine/main/run_marks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/io.h"
#include "engine/main/run_stats.h"
#include "engine/run.h"
#include "fastpath/kvm.h"

static uint64_t clock_of(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct mark_stamp stamp(struct vm *vm)
{
	struct mark_stamp s = {.host_ns = clock_of(CLOCK_MONOTONIC), .cpu_ns = clock_of(CLOCK_PROCESS_CPUTIME_ID)};

	for (unsigned i = 0; vm && i < vm->ncpus; i++)
		s.vcpu_ns += run_cpu_ns(vm, i);
	s.io_ns = vm ? io_cpu_ns(vm->io) : 0;
	return s;
}

static json_t *exits_json(struct vm *vm)
{
	json_t *o = json_object();
	struct kvm_exit_count k;

	for (unsigned i = 0; kvm_exit_row(vm, i, &k); i++)
		json_object_set_new(o, k.name,
				    json_pack("{s:I, s:I}", "count", (json_int_t)k.count, "ns", (json_int_t)k.ns));
	return o;
}

static void put(struct run_marks *m, const char *text, const struct mark_stamp *s)
{
	json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I}", "mark", text, "host_ns", (json_int_t)s->host_ns, "cpu_ns",
			      (json_int_t)s->cpu_ns, "vcpu_ns", (json_int_t)s->vcpu_ns, "io_ns", (json_int_t)s->io_ns);
	char buf[8192];
	size_t n;

	if (!o) /* bytes that are no UTF-8: no mark of anybody's */
		return;
	if (m->vm) {
		json_object_set_new(o, "counters", run_stats_counters(m->vm));
		if (m->vm->paths_begun & 1u << PATH_KVM)
			json_object_set_new(o, "exits", exits_json(m->vm));
	}
	n = json_dumpb(o, buf, sizeof(buf) - 1, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(o);
	if (!n || n >= sizeof(buf)) {
		m->failed = true;
		return;
	}
	buf[n++] = '\n';
	m->failed |= write(m->fd, buf, n) != (ssize_t)n;
}

static void take_line(struct run_marks *m)
{
	struct mark_stamp now = stamp(m->vm);

	m->line[m->len] = 0;
	if (m->len)
		put(m, m->line, m->has_moment ? &m->moment : &now);
	m->moment = now;
	m->has_moment = !m->len;
	m->len = 0;
}

/* The device's lock is held: one line at a time, whichever vCPU writes. */
static void marks_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
	struct run_marks *m = c->backend;

	for (unsigned i = 0; i < len; i++) {
		if (buf[i] == '\n')
			take_line(m);
		else if (m->len < sizeof(m->line) - 1)
			m->line[m->len++] = (char)buf[i];
	}
}

enum status run_marks_open(struct run_marks *m, struct error *e)
{
	m->fd = open(m->path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666);
	if (m->fd < 0)
		return error_errno(e, ST_DENIED, "cannot write the file of --marks, %s", m->path);
	m->opened = true;
	m->chr = (struct chardev){.write = marks_write, .backend = m};
	return ST_OK;
}

void run_marks_start(struct run_marks *m, struct vm *vm)
{
	struct mark_stamp now;

	if (!m->path)
		return;
	m->vm = vm;
	vm->debugcon = &m->chr;
	board_connect(vm);
	now = stamp(vm);
	put(m, "@power-on", &now);
}

void run_marks_stop(struct run_marks *m)
{
	if (!m->vm)
		return;
	m->vm->debugcon = NULL;
	board_connect(m->vm);
	m->vm = NULL;
}

bool run_marks_close(struct run_marks *m)
{
	bool fine = !m->failed;

	if (!m->opened)
		return true;
	m->opened = false;
	return !close(m->fd) && fine;
}
