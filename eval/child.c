// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A process under observation: its output is read line by line, and at each marker the host's clock and the process's CPU
 * time are taken. The same code watches the native binary, our own paths and QEMU, so that the method cannot differ.
 *
 * Markers: "STEELYARD INIT" ends the boot; "@start NAME SCALE", "@stop NAME CHECKSUM", and
 * "RESULT NAME CHECKSUM WALL CPU CHILDREN" by the guest's own clock. They may stand anywhere in a line: a kernel may have left
 * something in front of them.
 *
 * A marker's time is when it is read. A busy host may let both markers of a workload be written before this process runs again:
 * they come out of the pipe together, and what lies between them is below what this clock can tell. The workload has its
 * result all the same; its sample says that it has no time.
 */
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

#include "eval/quick.h"

#define LINE_MAX_BYTES 1024

struct stream {
	int fd;
	char line[LINE_MAX_BYTES];
	unsigned len;
	bool more; /* the last read did not empty the pipe */
};

struct watch {
	const struct child_spec *spec;
	struct eval_run *run;
	clockid_t cpu_clock;
	pid_t pid;
	bool enough; /* boot_only has what it wants */
	uint64_t start_wall, mark_wall, mark_cpu;
	unsigned long arrival, mark_arrival; /* what was in the pipe at once arrived together: one number */
	int running;                         /* index of the workload between its markers, or -1 */
	char complaint[200];                 /* the last line of stderr that begins with the program's name, or the last one */
	bool named;                          /* complaint begins so */
};

static uint64_t clock_read_ns(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int find_workload(const struct child_spec *s, const char *name)
{
	for (unsigned i = 0; i < s->nworkloads; i++)
		if (!strcmp(s->workload[i], name))
			return (int)i;
	return -1;
}

/* The workload whose start was marked has ended now. */
static void take_time(const struct watch *w, struct eval_sample *s, uint64_t wall, uint64_t cpu)
{
	s->timed = w->arrival != w->mark_arrival && wall >= w->mark_wall + s->repeat && cpu >= w->mark_cpu + s->repeat;
	s->wall_ns = s->timed ? (wall - w->mark_wall) / s->repeat : 0;
	s->cpu_ns = s->timed ? (cpu - w->mark_cpu) / s->repeat : 0;
}

static void take_line(struct watch *w, const char *line)
{
	struct eval_run *r = w->run;
	uint64_t wall = clock_read_ns(CLOCK_MONOTONIC), cpu = clock_read_ns(w->cpu_clock);
	char name[32], sum[20];
	uint64_t gwall, gcpu, children;
	const char *p;
	int i;

	if (!r->boot_wall_ns && strstr(line, "STEELYARD INIT")) {
		r->boot_wall_ns = wall - w->start_wall;
		r->boot_cpu_ns = cpu;
		w->enough = w->spec->boot_only;
		if (w->spec->ram_bytes)
			resident_read(w->pid, w->spec->ram_name, w->spec->ram_bytes, &r->ram_kb, &r->over_ram_kb);
	} else if ((p = strstr(line, "@start ")) && sscanf(p, "@start %31s", name) == 1) {
		w->running = find_workload(w->spec, name);
		w->mark_wall = wall;
		w->mark_cpu = cpu;
		w->mark_arrival = w->arrival;
	} else if ((p = strstr(line, "@stop ")) && sscanf(p, "@stop %31s %19s", name, sum) == 2) {
		i = find_workload(w->spec, name);
		if (i >= 0 && i == w->running) {
			struct eval_sample *s = &r->w[i];

			s->repeat = w->spec->repeat;
			take_time(w, s, wall, cpu);
			memcpy(s->checksum, sum, sizeof(s->checksum));
			s->ok = true;
		}
		w->running = -1;
	} else if ((p = strstr(line, "RESULT ")) && sscanf(p, "RESULT %31s %19s %" SCNu64 " %" SCNu64 " %" SCNu64, name,
							   sum, &gwall, &gcpu, &children) == 5) {
		i = find_workload(w->spec, name);
		if (i >= 0)
			r->w[i].guest_wall_ns = gwall / w->spec->repeat;
		if (i >= 0 && w->spec->native && r->w[i].timed)
			r->w[i].cpu_ns += children / w->spec->repeat;
	}
}

/* A line of stderr. What a program says of itself explains more than what it dumps behind that. */
static void take_complaint(struct watch *w, const char *line)
{
	const char *path = w->spec->argv[0], *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strlen(name);
	bool named = !strncmp(line, name, n) && line[n] == ':';

	if (w->named && !named)
		return;
	w->named = named;
	snprintf(w->complaint, sizeof(w->complaint), "%.*s", (int)sizeof(w->complaint) - 1, line);
}

/* false at the end of the stream. */
static bool drain(struct watch *w, struct stream *s, bool is_stderr)
{
	char buf[4096];
	ssize_t n = read(s->fd, buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	if (!is_stderr && !s->more)
		w->arrival++;
	s->more = n == (ssize_t)sizeof(buf);
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n' && buf[i] != '\r') {
			if (s->len < LINE_MAX_BYTES - 1)
				s->line[s->len++] = buf[i];
			continue;
		}
		s->line[s->len] = 0;
		if (s->len && is_stderr)
			take_complaint(w, s->line);
		else if (s->len)
			take_line(w, s->line);
		s->len = 0;
	}
	return true;
}

static pid_t spawn(char *const *argv, int out[2], int err[2])
{
	pid_t parent = getpid(), pid = fork();
	int null;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(out[1], 1);
	dup2(err[1], 2);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* The first sentence of what went wrong, for the table. */
static void conclude(struct watch *w, int wstatus, bool expired)
{
	struct eval_run *r = w->run;
	unsigned missing = 0;

	for (unsigned i = 0; !w->spec->boot_only && i < w->spec->nworkloads; i++)
		missing += !r->w[i].ok;
	r->status = WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus);
	if (expired)
		snprintf(r->why, sizeof(r->why), "no end within %u s%s", w->spec->timeout_s,
			 r->boot_wall_ns ? "" : ", no first line of init");
	else if (r->status && !w->enough)
		snprintf(r->why, sizeof(r->why), "status %d%s%s", r->status, w->complaint[0] ? ": " : "", w->complaint);
	else if (w->spec->boot_only && !w->enough)
		snprintf(r->why, sizeof(r->why), "ended before the first line of init");
	else if (missing)
		snprintf(r->why, sizeof(r->why), "ended without the results of %u workloads", missing);
	r->ok = !r->why[0];
}

void child_observe(const struct child_spec *s, struct eval_run *r)
{
	struct watch w = {.spec = s, .run = r, .running = -1};
	struct stream out = {0}, err = {0};
	int po[2], pe[2], wstatus = 0;
	bool expired = false;
	uint64_t deadline;
	pid_t pid;

	r->ran = true;
	if (pipe2(po, O_CLOEXEC)) {
		snprintf(r->why, sizeof(r->why), "pipe: %s", strerror(errno));
		return;
	}
	if (pipe2(pe, O_CLOEXEC)) {
		snprintf(r->why, sizeof(r->why), "pipe: %s", strerror(errno));
		close(po[0]);
		close(po[1]);
		return;
	}
	w.start_wall = clock_read_ns(CLOCK_MONOTONIC);
	deadline = w.start_wall + s->timeout_s * 1000000000ull;
	pid = spawn(s->argv, po, pe);
	close(po[1]);
	close(pe[1]);
	if (pid < 0 || clock_getcpuclockid(pid, &w.cpu_clock)) {
		snprintf(r->why, sizeof(r->why), "fork: %s", strerror(errno));
		expired = pid > 0;
	}
	w.pid = pid;
	out.fd = po[0];
	err.fd = pe[0];
	while (pid > 0 && !expired && !w.enough && (out.fd >= 0 || err.fd >= 0)) {
		struct pollfd p[2] = {{.fd = out.fd, .events = POLLIN}, {.fd = err.fd, .events = POLLIN}};
		uint64_t now = clock_read_ns(CLOCK_MONOTONIC);

		expired = now >= deadline;
		if (expired || poll(p, 2, (int)((deadline - now) / 1000000 + 1)) < 0)
			continue;
		if (p[0].revents && !drain(&w, &out, false))
			out.fd = -1;
		if (p[1].revents && !drain(&w, &err, true))
			err.fd = -1;
	}
	if (pid > 0) {
		if (expired || w.enough)
			kill(pid, SIGKILL);
		while (waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
			;
		conclude(&w, wstatus, expired);
	}
	close(po[0]);
	close(pe[0]);
}
