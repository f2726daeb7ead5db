// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One path's run of the micro-suite. The child says lines (eval/workloads/machine/measure.c has their grammar); each is timed
 * when it arrives, so that the image's clock is checked by the host's, and the process's CPU time is known for each item.
 *
 * A path that cannot do an item may hang, die or say so. The item is known by its "@try" line. It gets the reason, and another child
 * starts with the items that have no answer yet. Where children do not come as far as any "@try", all items have that reason.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "engine/status.h"
#include "eval/run/machine.h"

static const struct machine_row rows[] = {
#define X(name, family, batch, grow, native, what) {#name, family, native, what},
#include "eval/workloads/machine/machine.def"
#undef X
};
_Static_assert(ARRAY_LEN(rows) <= MACHINE_ROWS_MAX, "rows");

enum kind { KIND_NATIVE, KIND_OWN, KIND_QEMU };
struct path_row {
	struct machine_path path;
	enum kind kind;
	const char *accel;  /* --path, or QEMU's -accel */
	const char *cpu[2]; /* QEMU's -cpu: the second where the first does not start */
};
static const struct path_row paths[] = {
	{{"native", "the twin on the host, in ring 3"}, KIND_NATIVE, "", {NULL}},
	{{"kvm", "the processor, through KVM"}, KIND_OWN, "kvm", {NULL}},
	{{"bt", "our translator"}, KIND_OWN, "bt", {NULL}},
	{{"interp", "our interpreter"}, KIND_OWN, "interp", {NULL}},
	{{"qemu-tcg", "QEMU's translator"}, KIND_QEMU, "tcg", {"max"}},
	{{"qemu-kvm", "QEMU on KVM"}, KIND_QEMU, "kvm", {"host", "qemu64"}},
};

/* Time without a line from the child, beside what its budget explains. */
#define SILENT_MS 4000
#define LINE_BYTES 4096
/* A path on which so many items hang is given up: each costs SILENT_MS. */
#define HANGS_MAX 6
/* Starts in a row that come to nothing. */
#define STARTS_MAX 3

const struct machine_row *machine_row_at(unsigned i)
{
	return i < ARRAY_LEN(rows) ? &rows[i] : NULL;
}

const struct machine_row *machine_row_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	return NULL;
}

const struct machine_path *machine_path_at(unsigned i)
{
	return i < ARRAY_LEN(paths) ? &paths[i].path : NULL;
}

const struct machine_path *machine_path_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++)
		if (!strcmp(paths[i].path.name, name))
			return &paths[i].path;
	return NULL;
}

static double now_ns(clockid_t clock)
{
	struct timespec t = {0};

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* TSC ticks in a nanosecond, against the clock that nobody slews. */
static double tsc_rate(void)
{
	struct timespec pause = {.tv_nsec = 50000000};
	double ns = now_ns(CLOCK_MONOTONIC_RAW);
	uint64_t tsc = __rdtsc();

	nanosleep(&pause, NULL);
	return (double)(__rdtsc() - tsc) / (now_ns(CLOCK_MONOTONIC_RAW) - ns);
}

/* One child and what it has said. */
struct watch {
	const struct machine_path *path;
	const struct machine_request *rq;
	struct machine_cost *cost;
	struct machine_cost *trying; /* since its "@try"; NULL: none */
	bool tried;                  /* any */
	bool end, silent;
	double rate;
	clockid_t cpu_clock;
	double start_ns, start_cpu, last_ns;
	char complaint[200]; /* first line on stderr */
	char why[240];       /* of a child that could not be started */
};

static void settle(struct watch *w, struct machine_cost *c)
{
	if (w->rq->done)
		w->rq->done(w->rq->ctx, w->path, c);
	if (c == w->trying)
		w->trying = NULL;
}

static void settle_why(struct watch *w, struct machine_cost *c, const char *why)
{
	c->ok = false;
	snprintf(c->why, sizeof(c->why), "%s", why);
	settle(w, c);
}

/* The number behind " NAME=" of the line. */
static bool field(const char *line, const char *name, double *v)
{
	char key[24], *end;
	const char *at;

	snprintf(key, sizeof(key), " %s=", name);
	at = strstr(line, key);
	if (!at)
		return false;
	*v = strtod(at + strlen(key), &end);
	return end != at + strlen(key) && (*end == ' ' || *end == ',' || !*end) && *v >= 0 && *v < 1e18;
}

/* Thousandths of ticks to ns. */
static double to_ns(const struct watch *w, double milliticks)
{
	return milliticks / 1000 / w->rate;
}

static void take_values(struct watch *w, struct machine_cost *c, const char *line)
{
	const char *at = strstr(line, " values=");

	if (!at)
		return;
	for (at += 8; c->nvalues < MACHINE_VALUES; at++) {
		char *end;
		double v = strtod(at, &end);

		if (end == at)
			return;
		c->values[c->nvalues++] = to_ns(w, v);
		at = end;
		if (*at != ',')
			return;
	}
}

static void take_item(struct watch *w, struct machine_cost *c, const char *line)
{
	static const struct figure {
		const char *name;
		size_t offset;
	} figures[] = {
		{"min", offsetof(struct machine_cost, min)},   {"p50", offsetof(struct machine_cost, p50)},
		{"p95", offsetof(struct machine_cost, p95)},   {"p99", offsetof(struct machine_cost, p99)},
		{"mean", offsetof(struct machine_cost, mean)},
	};
	double n, batch;
	bool good = field(line, "batches", &n) && field(line, "batch", &batch) && n >= 1 && batch >= 1;

	for (unsigned i = 0; good && i < ARRAY_LEN(figures); i++) {
		double v;

		good = field(line, figures[i].name, &v);
		*(double *)((char *)c + figures[i].offset) = good ? to_ns(w, v) : 0;
	}
	if (!good) {
		settle_why(w, c, "its line cannot be read");
		return;
	}
	c->n = (uint64_t)n;
	c->batch = (uint64_t)batch;
	take_values(w, c, line);
	c->cpu_mean /= n * batch;
	c->ok = true;
	settle(w, c);
}

static void take_stop(struct watch *w, struct machine_cost *c, const char *ticks)
{
	double off;

	c->guest_ns = strtod(ticks, NULL) / w->rate;
	c->host_ns = w->last_ns - w->start_ns;
	c->cpu_mean = w->start_cpu > 0 ? now_ns(w->cpu_clock) - w->start_cpu : 0;
	off = c->guest_ns > c->host_ns ? c->guest_ns - c->host_ns : c->host_ns - c->guest_ns;
	c->clock_differs = off > c->host_ns * 0.005 && off > 2e6;
}

/* A line of the child; its words are NAME and the rest. */
static void take_line(struct watch *w, char *line)
{
	char *name = strchr(line, ' '), *rest;
	struct machine_cost *c = NULL;

	w->last_ns = now_ns(CLOCK_MONOTONIC_RAW);
	if (!strcmp(line, "@end"))
		w->end = true;
	if (*line != '@' || !name)
		return;
	*name++ = 0;
	rest = name + strcspn(name, " ");
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (w->cost[i].row && !w->cost[i].ok && !w->cost[i].why[0] &&
		    strlen(rows[i].name) == (size_t)(rest - name) &&
		    !strncmp(rows[i].name, name, (size_t)(rest - name)))
			c = &w->cost[i];
	if (!c)
		return;
	if (!strcmp(line, "@try")) {
		w->trying = c;
		w->tried = true;
	} else if (c != w->trying) {
		return;
	} else if (!strcmp(line, "@start")) {
		w->start_ns = w->last_ns;
		w->start_cpu = now_ns(w->cpu_clock);
	} else if (!strcmp(line, "@stop")) {
		take_stop(w, c, rest);
	} else if (!strcmp(line, "@item")) {
		take_item(w, c, rest);
	} else if (!strcmp(line, "@none")) {
		settle_why(w, c, *rest ? rest + 1 : "no reason given");
	}
}

struct stream {
	int fd;
	unsigned len;
	char line[LINE_BYTES];
};

/* false: end of file */
static bool drain(struct watch *w, struct stream *s, bool is_stderr)
{
	char buf[4096];
	ssize_t n = read(s->fd, buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n' && buf[i] != '\r') {
			if (s->len < LINE_BYTES - 1)
				s->line[s->len++] = buf[i];
			continue;
		}
		s->line[s->len] = 0;
		if (s->len && !is_stderr)
			take_line(w, s->line);
		else if (s->len && !w->complaint[0])
			snprintf(w->complaint, sizeof(w->complaint), "%.*s", (int)sizeof(w->complaint) - 1, s->line);
		s->len = 0;
	}
	return true;
}

static pid_t spawn(char *const *argv, int out, int err)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(out, 1);
	dup2(err, 2);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Why the child has no more to say. */
static void conclude(struct watch *w, int wstatus, double silent_ms)
{
	const char *said = w->complaint;

	if (!strncmp(said, "steelyard: ", 11))
		said += 11;
	if (w->silent)
		snprintf(w->why, sizeof(w->why), "hangs: nothing for %.0f s", silent_ms / 1000);
	else if (WIFSIGNALED(wstatus))
		snprintf(w->why, sizeof(w->why), "ended by signal %d%s%s", WTERMSIG(wstatus), *said ? ": " : "", said);
	else
		snprintf(w->why, sizeof(w->why), "ended with status %d%s%s", WEXITSTATUS(wstatus), *said ? ": " : "",
			 said);
}

/* All items that wait have the same answer. */
static void settle_all(struct watch *w, const char *why)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (w->cost[i].row && !w->cost[i].ok && !w->cost[i].why[0])
			settle_why(w, &w->cost[i], why);
}

static void observe(struct watch *w, char *const *argv)
{
	struct stream out = {0}, err = {0};
	int po[2] = {-1, -1}, pe[2] = {-1, -1}, wstatus = 0;
	double limit_ms = SILENT_MS + 20 * w->rq->budget_ms;
	pid_t pid = -1;

	if (!pipe2(po, O_CLOEXEC) && !pipe2(pe, O_CLOEXEC))
		pid = spawn(argv, po[1], pe[1]);
	if (pid < 0)
		snprintf(w->why, sizeof(w->why), "no process: %s", strerror(errno));
	else if (clock_getcpuclockid(pid, &w->cpu_clock))
		w->cpu_clock = CLOCK_PROCESS_CPUTIME_ID;
	close(po[1]);
	close(pe[1]);
	out.fd = po[0];
	err.fd = pe[0];
	w->last_ns = now_ns(CLOCK_MONOTONIC_RAW);
	while (pid > 0 && !w->silent && !w->end && (out.fd >= 0 || err.fd >= 0)) {
		struct pollfd p[2] = {{.fd = out.fd, .events = POLLIN}, {.fd = err.fd, .events = POLLIN}};
		double left = limit_ms - (now_ns(CLOCK_MONOTONIC_RAW) - w->last_ns) / 1e6;

		w->silent = left <= 0;
		if (w->silent || poll(p, 2, (int)left + 1) < 0)
			continue;
		if (p[0].revents && !drain(w, &out, false))
			out.fd = -1;
		if (p[1].revents && !drain(w, &err, true))
			err.fd = -1;
	}
	if (pid > 0) {
		if (w->silent || w->end)
			kill(pid, SIGKILL);
		while (waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
			;
		if (!w->end)
			conclude(w, wstatus, limit_ms);
	}
	close(po[0]);
	close(pe[0]);
}

static void start(struct watch *w, const struct path_row *p, const char *cpu)
{
	char image[4200], args[2048], budget[48];
	size_t n;

	snprintf(image, sizeof(image), "%s/%s", w->rq->images,
		 p->kind == KIND_NATIVE ? "machine-native" : "machine.elf");
	snprintf(budget, sizeof(budget), "budget=%.0f", w->rq->budget_ms * 1e6 * w->rate);
	n = (size_t)snprintf(args, sizeof(args), "%s items=", budget);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (w->cost[i].row && !w->cost[i].ok && !w->cost[i].why[0])
			n += (size_t)snprintf(args + n, sizeof(args) - n, "%s%s", args[n - 1] == '=' ? "" : ",",
					      rows[i].name);

	char *native[] = {image, args, NULL};
	char *own[] = {(char *)w->rq->self,
		       "run",
		       "--path",
		       (char *)p->accel,
		       "--memory",
		       "64M",
		       "--multiboot",
		       image,
		       "--append",
		       args,
		       "--serial",
		       "stdio",
		       "--no-reboot",
		       "--no-fallback",
		       "--control",
		       "none",
		       "--debug-exit",
		       "0xf4",
		       strcmp(p->accel, "kvm") ? NULL : "--kvm-trust",
		       NULL};
	char *qemu[] = {"qemu-system-x86_64",
			"-accel",
			(char *)p->accel,
			"-M",
			"pc",
			"-cpu",
			(char *)cpu,
			"-m",
			"64",
			"-nodefaults",
			"-display",
			"none",
			"-no-reboot",
			"-debugcon",
			"stdio",
			"-device",
			"isa-debug-exit,iobase=0xf4,iosize=1",
			"-kernel",
			image,
			"-append",
			args,
			NULL};

	observe(w, p->kind == KIND_NATIVE ? native : p->kind == KIND_OWN ? own : qemu);
}

/* Items that have neither figure nor reason. */
static unsigned waiting(const struct machine_cost *cost)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		n += cost[i].row && !cost[i].ok && !cost[i].why[0];
	return n;
}

void machine_run(const struct machine_path *path, const struct machine_request *rq, struct machine_cost *cost)
{
	const struct path_row *p = paths;
	double rate = tsc_rate();
	unsigned model = 0, hung = 0, again = STARTS_MAX - 1;
	char note[160] = "";

	while (&p->path != path)
		p++;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		bool wanted = !rq->items;

		for (unsigned k = 0; rq->items && k < rq->nitems; k++)
			wanted |= !strcmp(rq->items[k], rows[i].name);
		cost[i] = (struct machine_cost){.row = wanted ? &rows[i] : NULL};
	}
	while (waiting(cost)) {
		struct watch w = {.path = path, .rq = rq, .cost = cost, .rate = rate};

		for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
			if (*note && !cost[i].ok && !cost[i].why[0])
				snprintf(cost[i].note, sizeof(cost[i].note), "%s", note);
		start(&w, p, p->cpu[model]);
		hung += w.silent;
		if (w.trying)
			settle_why(&w, w.trying, w.why[0] ? w.why : "the child ended without a word of it");
		if (hung >= HANGS_MAX)
			settle_all(&w, "not tried: too many items before it have hung on this path");
		else if (w.tried || !w.why[0])
			again = STARTS_MAX - 1;
		else if (!w.silent && !model && p->cpu[1])
			snprintf(note, sizeof(note), "-cpu %s, for %s: %.100s", p->cpu[1], p->cpu[0], w.why), model = 1;
		else if (again)
			again--; /* some start only now and then */
		else
			settle_all(&w, w.why);
		if (w.end)
			settle_all(&w, "the program does not know it: make builds both again");
	}
}
