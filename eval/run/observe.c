// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A process under observation. The same code watches the native binary, our own machines and QEMU, so that the method cannot
 * differ between them where they are compared.
 *
 * Markers are lines: "@init" ends the boot, "@start NAME SCALE" and "@stop NAME CHECKSUM" stand around a workload, and
 * "RESULT NAME CHECKSUM WALL CPU CHILDREN" behind it says what the guest's own clock saw. Guests write the first three to port
 * 0xe9. What is behind that port depends on the machine:
 *
 *   ours     steelyard run --marks puts a line of JSON into a pipe for each, with host clock, CPU time by threads and counters as
 *            they were when the guest wrote: exact, however late this process runs
 *   QEMU     the bytes come through the pipe; the time is when they are read, the CPU time is the process's then
 *   native   there is no port, and the program's clocks are the host's: what it says in RESULT is exact, its children included
 *   others   a guest that finds no port writes to its console, which is read as QEMU's port is
 *
 * An empty line in front of "@stop" is its moment: the text that follows takes time to write. A busy host may let both markers
 * of a workload wait in a pipe: what came out of it at once lies closer together than this clock can tell. The workload has its
 * result all the same, its sample no time.
 */
#include "eval/run/observe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/suites.h"

#define LINE_BYTES 16384

enum { IN_MARKS, IN_OUT, IN_ERR, INPUTS };

struct stream {
	int fd;
	char line[LINE_BYTES];
	unsigned len;
	bool more; /* the last read did not empty the pipe */
};

struct watch {
	struct observe *o;
	struct stream in[INPUTS];
	clockid_t cpu_clock;
	pid_t pid;
	bool enough; /* boot_only has what it wants */
	uint64_t start_ns, deadline_ns, power_on_ns;
	unsigned long arrival;
	int running; /* index of the run between its markers, or -1 */
	struct stamp start, now, moment;
	bool has_moment;
	char complaint[200]; /* the last line of stderr that begins with the program's name, or the last one */
	bool named;          /* complaint begins so */
};

static uint64_t clock_read_ns(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- stamps ---- */

static void stamp_drop(struct stamp *s)
{
	json_decref(s->counters);
	json_decref(s->exits);
	*s = (struct stamp){0};
}

static void stamp_set(struct stamp *to, const struct stamp *from)
{
	struct stamp old = *to;

	*to = *from;
	json_incref(to->counters);
	json_incref(to->exits);
	stamp_drop(&old);
}

static uint64_t since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

/* What each name has more in b than in a. */
static json_t *counters_delta(json_t *a, json_t *b)
{
	json_t *d = json_object(), *v;
	const char *key;

	json_object_foreach(b, key, v)
	{
		json_int_t more = json_integer_value(v) - json_integer_value(json_object_get(a, key));

		json_object_set_new(d, key, json_integer(more > 0 ? more : 0));
	}
	return d;
}

static json_t *exits_delta(json_t *a, json_t *b)
{
	json_t *d = json_object(), *v;
	const char *key;

	json_object_foreach(b, key, v) json_object_set_new(d, key, counters_delta(json_object_get(a, key), v));
	return d;
}

/* ---- markers ---- */

static void set_deadline(struct watch *w, double seconds)
{
	w->deadline_ns = clock_read_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
}

static void take_init(struct watch *w)
{
	struct observe *o = w->o;

	if (o->booted || o->native)
		return;
	o->booted = true;
	o->boot_wall_ns = since(w->now.wall_ns, w->start_ns);
	o->boot_cpu_ns = w->now.cpu_ns;
	stamp_set(&o->init, &w->now);
	if (w->power_on_ns) {
		o->start_ns = since(w->power_on_ns, w->start_ns);
		o->kernel_ns = since(w->now.wall_ns, w->power_on_ns);
	}
	w->enough = o->boot_only;
	if (o->ram_bytes)
		resident_read(w->pid, o->ram_name, o->ram_bytes, &o->ram_kb, &o->over_ram_kb);
	set_deadline(w, o->boot_limit_s);
}

static void take_start(struct watch *w, const char *name)
{
	struct observe *o = w->o;

	w->running = -1;
	for (unsigned i = 0; i < o->nruns && w->running < 0; i++)
		if (!o->run[i].begun && !strcmp(o->run[i].workload, name))
			w->running = (int)i;
	if (w->running < 0)
		return;
	o->run[w->running].begun = true;
	if (!o->init_ns && o->booted)
		o->init_ns = since(w->now.wall_ns, o->init.wall_ns);
	stamp_set(&w->start, &w->now);
	set_deadline(w, o->run[w->running].limit_s);
}

static void take_time(struct watch *w, struct observed_run *r, const struct stamp *stop)
{
	const struct stamp *start = &w->start;
	unsigned repeat = w->o->repeat;

	r->timed = start->exact == stop->exact && (stop->exact || stop->arrival != start->arrival) &&
		   stop->wall_ns >= start->wall_ns + repeat && stop->cpu_ns >= start->cpu_ns + repeat;
	if (!r->timed)
		return;
	r->wall_ns = (stop->wall_ns - start->wall_ns) / repeat;
	r->cpu_ns = (stop->cpu_ns - start->cpu_ns) / repeat;
	r->has_threads = stop->exact;
	if (!stop->exact)
		return;
	r->vcpu_ns = since(stop->vcpu_ns, start->vcpu_ns) / repeat;
	r->io_ns = since(stop->io_ns, start->io_ns) / repeat;
	r->other_ns = since(r->cpu_ns, r->vcpu_ns + r->io_ns);
	r->counters = counters_delta(start->counters, stop->counters);
	if (json_object_size(stop->exits))
		r->exits = exits_delta(start->exits, stop->exits);
}

static void take_stop(struct watch *w, const char *name, const char *sum)
{
	struct observe *o = w->o;
	struct observed_run *r = w->running >= 0 ? &o->run[w->running] : NULL;

	if (!r || strcmp(r->workload, name))
		return;
	take_time(w, r, w->has_moment ? &w->moment : &w->now);
	snprintf(r->checksum, sizeof(r->checksum), "%s", sum);
	r->ok = true;
	w->running = -1;
	set_deadline(w, o->boot_limit_s);
}

/* By the clocks of whoever ran the workload, behind its @stop. */
static void take_result(struct watch *w, const char *line)
{
	struct observe *o = w->o;
	uint64_t wall, cpu, children, sys;
	char name[32], sum[20];
	struct observed_run *r = NULL;

	int fields = sscanf(line, "RESULT %31s %19s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, name, sum, &wall,
			    &cpu, &children, &sys);

	if (fields < 5)
		return;
	/* The console may be behind the marks by a workload or two. */
	for (unsigned i = 0; i < o->nruns && !r; i++)
		if (o->run[i].ok && !o->run[i].guest_wall_ns && !strcmp(o->run[i].workload, name))
			r = &o->run[i];
	if (!r)
		return;
	r->guest_wall_ns = wall / o->repeat;
	if (!o->native)
		return;
	r->wall_ns = wall / o->repeat;
	r->cpu_ns = (cpu + children) / o->repeat;
	r->timed = r->wall_ns && r->cpu_ns;
	r->has_sys = r->timed && fields == 6;
	r->sys_ns = r->has_sys ? sys / o->repeat : 0;
}

static void take_failed(struct watch *w, const char *name)
{
	struct observe *o = w->o;

	for (unsigned i = 0; i < o->nruns; i++)
		if (!o->run[i].ok && !o->run[i].why[0] && !strcmp(o->run[i].workload, name)) {
			snprintf(o->run[i].why, sizeof(o->run[i].why), "it failed in the guest");
			if (w->running == (int)i)
				w->running = -1;
			set_deadline(w, o->boot_limit_s);
			return;
		}
}

/* A line at w->now. */
static void take_mark(struct watch *w, const char *line)
{
	char name[32], sum[20];

	if (!line[0]) {
		stamp_set(&w->moment, &w->now);
		w->has_moment = true;
		return;
	}
	if (!strncmp(line, "@init", 5))
		take_init(w);
	else if (!strncmp(line, "@power-on", 9))
		w->power_on_ns = w->now.wall_ns;
	else if (sscanf(line, "@start %31s", name) == 1)
		take_start(w, name);
	else if (sscanf(line, "@stop %31s %19s", name, sum) == 2)
		take_stop(w, name, sum);
	w->has_moment = false;
}

/* What our own machine says: the line and what was known when the guest wrote it. */
static void take_exact(struct watch *w, const char *line)
{
	json_t *o = json_loads(line, 0, NULL);
	struct stamp s = {.wall_ns = (uint64_t)json_integer_value(json_object_get(o, "host_ns")),
			  .cpu_ns = (uint64_t)json_integer_value(json_object_get(o, "cpu_ns")),
			  .vcpu_ns = (uint64_t)json_integer_value(json_object_get(o, "vcpu_ns")),
			  .io_ns = (uint64_t)json_integer_value(json_object_get(o, "io_ns")),
			  .exact = true,
			  .counters = json_object_get(o, "counters"),
			  .exits = json_object_get(o, "exits")};
	const char *mark = json_string_value(json_object_get(o, "mark"));

	if (mark) {
		stamp_set(&w->now, &s);
		w->has_moment = false;
		take_mark(w, mark);
	}
	json_decref(o);
}

static void take_console(struct watch *w, const char *line)
{
	char name[32];
	const char *p;

	if (strstr(line, "STEELYARD INIT"))
		take_init(w);
	else if ((p = strstr(line, "@start ")) || (p = strstr(line, "@stop ")))
		take_mark(w, p);
	else if ((p = strstr(line, "RESULT ")))
		take_result(w, p);
	else if ((p = strstr(line, "FAILED ")) && sscanf(p, "FAILED %31s", name) == 1)
		take_failed(w, name);
}

/* A line of stderr. What a program says of itself explains more than what it dumps behind that. */
static void take_complaint(struct watch *w, const char *line)
{
	const char *path = w->o->argv[0], *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strlen(name);
	bool named = !strncmp(line, name, n) && line[n] == ':';

	if (!line[0] || (w->named && !named))
		return;
	w->named = named;
	snprintf(w->complaint, sizeof(w->complaint), "%.*s", (int)sizeof(w->complaint) - 1, line);
}

static void take_line(struct watch *w, unsigned from, const char *line)
{
	if (from == IN_ERR) {
		take_complaint(w, line);
		return;
	}
	if (from == IN_MARKS && line[0] == '{') {
		take_exact(w, line);
		return;
	}
	stamp_set(&w->now, &(struct stamp){.wall_ns = clock_read_ns(CLOCK_MONOTONIC),
					   .cpu_ns = clock_read_ns(w->cpu_clock),
					   .arrival = w->arrival});
	if (from == IN_MARKS)
		take_mark(w, line);
	else
		take_console(w, line);
}

/* false at the end of the stream. */
static bool drain(struct watch *w, unsigned from)
{
	struct stream *s = &w->in[from];
	char buf[4096];
	ssize_t n = read(s->fd, buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	if (from != IN_ERR && !s->more)
		w->arrival++;
	s->more = n == (ssize_t)sizeof(buf);
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] == '\r')
			continue;
		if (buf[i] != '\n') {
			if (s->len < LINE_BYTES - 1)
				s->line[s->len++] = buf[i];
			continue;
		}
		s->line[s->len] = 0;
		s->len = 0;
		take_line(w, from, s->line);
	}
	return true;
}

/* ---- the process ---- */

/* Its own process group: Ctrl-C is for the runner, and what a native workload forks is ended with it. */
static pid_t spawn(char *const *argv, int marks, int out, int err)
{
	pid_t parent = getpid(), pid = fork();
	sigset_t none;
	int null;

	if (pid > 0)
		setpgid(pid, pid);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGXFSZ, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	null = open("/dev/null", O_RDONLY);
	/* The targets of dup2 may be what a source is: away from there first. */
	marks = fcntl(marks, F_DUPFD_CLOEXEC, 10);
	out = fcntl(out, F_DUPFD_CLOEXEC, 10);
	err = fcntl(err, F_DUPFD_CLOEXEC, 10);
	dup2(null, 0);
	dup2(out, 1);
	dup2(err, 2);
	dup2(marks, 3);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* The first sentence of what went wrong. */
static void conclude(struct watch *w, int wstatus, bool expired)
{
	struct observe *o = w->o;
	unsigned missing = 0;

	o->status = WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus);
	for (unsigned i = 0; i < o->nruns; i++)
		missing += !o->run[i].ok;
	if (o->stopped || w->enough)
		return;
	if (expired && w->running >= 0)
		snprintf(o->why, sizeof(o->why), "%s: no end within %.0f s", o->run[w->running].workload,
			 o->run[w->running].limit_s);
	else if (expired)
		snprintf(o->why, sizeof(o->why), "%s within %u s",
			 o->booted ? "no next workload" : "no first line of init", o->boot_limit_s);
	else if (o->status)
		snprintf(o->why, sizeof(o->why), "status %d%s%s", o->status, w->complaint[0] ? ": " : "", w->complaint);
	else if (!o->native && !o->booted)
		snprintf(o->why, sizeof(o->why), "it ended before the first line of init");
	else if (missing)
		snprintf(o->why, sizeof(o->why), "it ended without the results of %u workloads", missing);
	if (w->running < 0)
		return;
	o->culprit = w->running;
	snprintf(o->run[w->running].why, sizeof(o->run[w->running].why), "%s", o->why);
}

/* Until all streams have ended, time is up, or there is enough. Returns whether time was up. */
static bool follow(struct watch *w)
{
	struct observe *o = w->o;

	while (!w->enough && (w->in[IN_OUT].fd >= 0 || w->in[IN_ERR].fd >= 0)) {
		struct pollfd p[INPUTS + 1];
		uint64_t now = clock_read_ns(CLOCK_MONOTONIC);

		if (now >= w->deadline_ns)
			return true;
		for (unsigned i = 0; i < INPUTS; i++)
			p[i] = (struct pollfd){.fd = w->in[i].fd, .events = POLLIN};
		p[INPUTS] = (struct pollfd){.fd = o->stop_fd, .events = POLLIN};
		if (poll(p, INPUTS + 1, (int)((w->deadline_ns - now) / 1000000 + 1)) < 0)
			continue;
		if (p[INPUTS].revents) {
			o->stopped = true;
			return false;
		}
		/* Marks before the console: the same moment is exact there. */
		for (unsigned i = 0; i < INPUTS; i++)
			if (p[i].revents && !drain(w, i)) {
				close(w->in[i].fd);
				w->in[i].fd = -1;
			}
	}
	return false;
}

static bool open_pipes(struct watch *w, int theirs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++) {
		int fd[2];

		if (pipe2(fd, O_CLOEXEC)) {
			snprintf(w->o->why, sizeof(w->o->why), "pipe: %s", strerror(errno));
			return false;
		}
		w->in[i].fd = fd[0];
		theirs[i] = fd[1];
	}
	return true;
}

/* Its streams have ended; so will it, or is ended when its time is up: then false. */
static bool await_end(struct watch *w)
{
	siginfo_t info;

	for (;;) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0 && errno != EINTR)
			return true;
		if (info.si_pid == w->pid)
			return true;
		if (clock_read_ns(CLOCK_MONOTONIC) >= w->deadline_ns) {
			kill(w->pid, SIGKILL);
			while (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
				;
			return false;
		}
		usleep(500);
	}
}

static void watch_process(struct watch *w, int theirs[INPUTS])
{
	struct observe *o = w->o;
	bool expired = false;
	int wstatus = 0;

	w->start_ns = clock_read_ns(CLOCK_MONOTONIC);
	set_deadline(w, o->boot_limit_s);
	w->pid = spawn(o->argv, theirs[IN_MARKS], theirs[IN_OUT], theirs[IN_ERR]);
	for (unsigned i = 0; i < INPUTS; i++) {
		close(theirs[i]);
		theirs[i] = -1;
	}
	if (w->pid < 0) {
		snprintf(o->why, sizeof(o->why), "fork: %s", strerror(errno));
		return;
	}
	if (!clock_getcpuclockid(w->pid, &w->cpu_clock))
		expired = follow(w);
	if (expired || w->enough || o->stopped)
		kill(w->pid, SIGKILL);
	expired |= !await_end(w);
	kill(-w->pid, SIGKILL); /* what it has left behind; it is not reaped yet, so the number is still its own */
	while (waitpid(w->pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	conclude(w, wstatus, expired);
}

void observe(struct observe *o)
{
	struct watch *w = calloc(1, sizeof(*w));
	int theirs[INPUTS] = {-1, -1, -1};

	o->culprit = -1;
	if (!w) {
		snprintf(o->why, sizeof(o->why), "out of memory");
		return;
	}
	*w = (struct watch){.o = o, .running = -1, .in = {{.fd = -1}, {.fd = -1}, {.fd = -1}}};
	if (open_pipes(w, theirs))
		watch_process(w, theirs);
	for (unsigned i = 0; i < INPUTS; i++) {
		if (theirs[i] >= 0)
			close(theirs[i]);
		if (w->in[i].fd >= 0)
			close(w->in[i].fd);
	}
	stamp_drop(&w->start);
	stamp_drop(&w->now);
	stamp_drop(&w->moment);
	free(w);
}

void observe_free(struct observe *o)
{
	stamp_drop(&o->init);
	for (unsigned i = 0; i < o->nruns; i++) {
		json_decref(o->run[i].counters);
		json_decref(o->run[i].exits);
		o->run[i].counters = o->run[i].exits = NULL;
	}
}

bool observe_output(char *const *argv, char *out, size_t n)
{
	int fd[2], wstatus = 1, null;
	size_t at = 0;
	ssize_t got;
	pid_t pid;

	out[0] = 0;
	if (pipe2(fd, O_CLOEXEC))
		return false;
	pid = fork();
	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 2);
		dup2(fd[1], 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fd[1]);
	while (pid > 0 && at < n - 1 && ((got = read(fd[0], out + at, n - 1 - at)) > 0 || (got < 0 && errno == EINTR)))
		at += got > 0 ? (size_t)got : 0;
	out[at] = 0;
	close(fd[0]);
	while (pid > 0 && waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(wstatus) && !WEXITSTATUS(wstatus);
}
