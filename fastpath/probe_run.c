/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who runs the tiny guests, and for how long.
 *
 * Some hosts do not come back from KVM_RUN. So there are two watchdogs. A timer of the test's own process sends a signal
 * to its thread and sets immediate_exit, again and again: whatever heeds signals ends with "no end inside KVM_RUN" as the
 * test's result. For what does not, tests run in a child process; when one test overstays, the parent kills the child,
 * takes the loss as the test's result, and starts another child with the next test. Results are in memory that both
 * share, so what was measured before stays.
 *
 * Processor time tells a guest that goes on and on from one that a busy host does not let run; wall time counts only when
 * it is many times the budget, or the deadline of all tests is reached. A child stops before a test that would begin after
 * the deadline and is killed a moment later; what was not reached is said to be "not measured: no time left". A child that survives SIGKILL is left behind, and nothing else is tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/coverage.h"
#include "fastpath/probe_int.h"

#define QUICK_NS 1500000000ull
#define FULL_NS 17000000000ull
#define GRACE_NS 150000000ull /* from a test's last chance to SIGKILL */
#define REAP_NS 100000000ull  /* from SIGKILL to giving the child up */
/* The whole is promised in 2 s and 20 s. A child that is still running at the deadline is killed after the grace, and given up
 * after the reaping: what is left is for reading facts before, and for the answer behind. */
_Static_assert(QUICK_NS + GRACE_NS + REAP_NS <= 1800000000ull, "--quick keeps its 2 s");
_Static_assert(FULL_NS + GRACE_NS + REAP_NS <= 19500000000ull, "the whole probe keeps its 20 s");
#define NO_TIME "not measured: no time left"
#define STARVED 8             /* a test that gets no processor has so many times its budget */
#define TICK_NS 5000000

/* Shared by parent and children. */
struct board {
	_Atomic unsigned now; /* the test that runs, or n */
	_Atomic unsigned begun; /* how many have had their turn, or have it now */
	struct beat beat;
	struct probe_verdict v;
};

static uint64_t cpu_clock_ns(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void beat_now(struct beat *b)
{
	b->cpu_ns = cpu_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	b->wall_ns = probe_now_ns();
}

static void sigev_to_me(struct sigevent *ev)
{
	ev->sigev_notify = SIGEV_THREAD_ID;
	ev->_sigev_un._tid = gettid();
}

/* Expired is who has had the processor for half the budget without an end, or has waited several budgets for it. */
static void on_alarm(int sig, siginfo_t *si, void *uc)
{
	struct watchdog *d = si->si_value.sival_ptr;
	uint64_t waited = probe_now_ns() - d->started_ns;
	int saved = errno;

	(void)sig;
	(void)uc;
	if (waited < d->budget_ns || (waited < STARVED * d->budget_ns && probe_cpu_ns() < d->cpu_limit_ns))
		return;
	d->expired = 1;
	if (d->run)
		d->run->immediate_exit = 1;
	errno = saved;
}

static bool watchdog_make(struct watchdog *d)
{
	struct sigaction sa = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigevent ev = {.sigev_signo = SIGUSR1, .sigev_value.sival_ptr = d};

	sigaction(SIGUSR1, &sa, NULL);
	sigev_to_me(&ev);
	return timer_create(CLOCK_MONOTONIC, &ev, &d->timer) == 0;
}

void watchdog_rearm(struct probe *p)
{
	struct watchdog *d = &p->dog;
	const struct itimerspec when = {
		.it_value = {.tv_sec = (time_t)(d->budget_ns / 1000000000),
			     .tv_nsec = (long)(d->budget_ns % 1000000000)},
		.it_interval.tv_nsec = TICK_NS,
	};

	timer_settime(d->timer, 0, &when, NULL);
	d->started_ns = probe_now_ns();
	d->cpu_limit_ns = probe_cpu_ns() + d->budget_ns / 2;
	d->expired = 0;
	if (d->beat)
		beat_now(d->beat);
}

static void watchdog_stop(struct watchdog *d)
{
	timer_settime(d->timer, 0, &(struct itimerspec){0}, NULL);
	d->run = NULL;
}

/* ---- the child ---- */

static void child(pid_t parent, const struct host_facts *f, bool quick, const struct probe_test *t, unsigned first,
		  unsigned n, uint64_t deadline_ns, struct board *b)
{
	struct probe p = {.facts = f, .quick = quick, .g = {.vm = -1, .cpu = -1}, .v = &b->v};
	sigset_t ours;

	/* whoever started the program may have left signals blocked; the watchdog lives on them */
	sigemptyset(&ours);
	sigaddset(&ours, SIGUSR1);
	sigaddset(&ours, SIGUSR2);
	sigprocmask(SIG_UNBLOCK, &ours, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it has gone already */
		_exit(1);
	prctl(PR_SET_NAME, "probe");
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	p.dog.beat = &b->beat;
	p.sys = open(f->kvm_device, O_RDWR | O_CLOEXEC);
	if (!watchdog_make(&p.dog))
		_exit(1);
	for (unsigned i = first; i < n && probe_now_ns() < deadline_ns; i++) {
		beat_now(&b->beat);
		b->now = i;
		b->begun = i + 1;
		p.dog.budget_ns = t[i].budget_ms * 1000000ull;
		watchdog_rearm(&p);
		t[i].run(&p, &t[i]);
		watchdog_stop(&p.dog);
		guest_end(&p);
	}
	b->now = n;
	coverage_write();
	_exit(0);
}

/* ---- the parent ---- */

static void sleep_ns(long ns)
{
	nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

/* false: it does not even die. */
static bool end_child(pid_t pid)
{
	const uint64_t until = probe_now_ns() + REAP_NS;

	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (probe_now_ns() > until)
			return false;
		sleep_ns(500000);
	}
	return true;
}

enum child_end { CHILD_THROUGH, CHILD_DIED, CHILD_KILLED, CHILD_UNKILLABLE, CHILD_LATE };

/* A test that has used twice its budget, when half of it was to end it, does not hear signals. */
static bool overstays(pid_t pid, const struct probe_test *t, const struct beat *b)
{
	const uint64_t budget = t->budget_ms * 1000000ull, wall = probe_now_ns() - b->wall_ns;
	clockid_t clock;
	uint64_t cpu = 0;

	if (wall < 2 * budget + GRACE_NS)
		return false;
	if (clock_getcpuclockid(pid, &clock) == 0)
		cpu = cpu_clock_ns(clock);
	return wall > STARVED * budget + GRACE_NS || cpu > b->cpu_ns + 2 * budget;
}

static enum child_end watch(pid_t pid, const struct probe_test *t, unsigned n, uint64_t deadline_ns, struct board *b,
			    int *status)
{
	for (;;) {
		pid_t got = waitpid(pid, status, WNOHANG);
		unsigned i = b->now;

		if (got == pid)
			return i == n && WIFEXITED(*status) ? CHILD_THROUGH : CHILD_DIED;
		if (got < 0 && errno != EINTR)
			return CHILD_DIED;
		if (probe_now_ns() > deadline_ns + GRACE_NS)
			return end_child(pid) ? CHILD_LATE : CHILD_UNKILLABLE;
		if (i < n && overstays(pid, &t[i], &b->beat))
			return end_child(pid) ? CHILD_KILLED : CHILD_UNKILLABLE;
		sleep_ns(1000000);
	}
}

static void say_lost(enum child_end end, int status, char *buf, size_t n)
{
	switch (end) {
	case CHILD_KILLED:
		snprintf(buf, n, "KVM_RUN does not come back for a signal; its process had to be killed");
		break;
	case CHILD_UNKILLABLE:
		snprintf(buf, n, "KVM_RUN does not come back, and its process cannot be killed");
		break;
	case CHILD_LATE:
		snprintf(buf, n, "still running when the time for all of it was up");
		break;
	default:
		if (WIFSIGNALED(status))
			snprintf(buf, n, "the process that ran it ended by signal %d (%s)", WTERMSIG(status),
				 strsignal(WTERMSIG(status)));
		else
			snprintf(buf, n, "the process that ran it ended with status %d", WEXITSTATUS(status));
	}
}

unsigned probe_run_tests(const struct host_facts *f, bool quick, const struct probe_test *t, unsigned n,
			 uint64_t deadline_ns, struct probe_verdict *v)
{
	struct board *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct sigaction plain = {.sa_handler = SIG_DFL};
	const pid_t parent = getpid();
	struct sigaction before;
	unsigned first = 0, lost = 0;
	enum child_end end = CHILD_DIED;
	const char *rest = NO_TIME;
	char why[PROBE_TEXT];
	int status = 0;
	pid_t pid;

	if (b == MAP_FAILED) {
		for (unsigned i = 0; i < n; i++)
			t[i].lost(v, &t[i], "not measured: no memory for it", true);
		return 0;
	}
	b->v = *v;
	sigaction(SIGCHLD, &plain, &before); /* where it is ignored, there is nothing to wait for */
	while (first < n && probe_now_ns() < deadline_ns) {
		b->now = first;
		b->beat.wall_ns = probe_now_ns();
		b->beat.cpu_ns = 0;
		fflush(NULL); /* or the child's copy of what is buffered might come out twice */
		pid = fork();
		if (pid < 0) {
			rest = "not measured: no process could be started for it";
			break;
		}
		if (pid == 0)
			child(parent, f, quick, t, first, n, deadline_ns, b);
		end = watch(pid, t, n, deadline_ns, b, &status);
		if (end == CHILD_THROUGH)
			break;
		first = b->now;
		if (first < n) {
			b->begun = b->begun > first ? b->begun : first + 1;
			say_lost(end, status, why, sizeof(why));
			t[first].lost(&b->v, &t[first], why, end == CHILD_LATE);
			lost += end != CHILD_LATE;
		}
		if (end == CHILD_UNKILLABLE)
			rest = "not measured: a process before it cannot be killed";
		if (end == CHILD_UNKILLABLE || end == CHILD_LATE)
			break;
		first++;
	}
	sigaction(SIGCHLD, &before, NULL);
	/* none is left out in silence */
	for (unsigned i = b->begun; i < n; i++)
		t[i].lost(&b->v, &t[i], rest, true);
	*v = b->v;
	/* a child that lives on may still write here: then the memory stays */
	if (end != CHILD_UNKILLABLE)
		munmap(b, sizeof(*b));
	return lost;
}

/* ---- the tests that there are ---- */

static void run_mode(struct probe *p, const struct probe_test *t)
{
	struct probe_mode_result *r = &p->v->mode[t->index];

	probe_mode_test(p, (enum probe_mode)t->index, r);
}

static void lost_mode(struct probe_verdict *v, const struct probe_test *t, const char *why, bool late)
{
	struct probe_mode_result *r = &v->mode[t->index];

	*r = (struct probe_mode_result){.tried = !late};
	snprintf(r->evidence, sizeof(r->evidence), "%s", why);
}

static probe_item_fn *const item_fn[PROBE_ITEMS] = {
#define ITEM(id, name, modes, need, quick, fn, what) fn,
#include "fastpath/probe_items.def"
};
static probe_cost_fn *const cost_fn[PROBE_COSTS] = {
#define COST(id, name, quick, fn, arg, what) fn,
#include "fastpath/probe_items.def"
};
static const unsigned cost_arg[PROBE_COSTS] = {
#define COST(id, name, quick, fn, arg, what) arg,
#include "fastpath/probe_items.def"
};

static void run_item(struct probe *p, const struct probe_test *t)
{
	item_fn[t->index](p, (enum probe_item)t->index, &p->v->item[t->index]);
}

static void lost_item(struct probe_verdict *v, const struct probe_test *t, const char *why, bool late)
{
	item_fails(&v->item[t->index], "%s", why);
	if (late)
		v->item[t->index].outcome = PROBE_UNTRIED;
}

static void run_cost(struct probe *p, const struct probe_test *t)
{
	cost_fn[t->index](p, (enum probe_cost)t->index, &p->v->cost[t->index], t->arg);
}

static void lost_cost(struct probe_verdict *v, const struct probe_test *t, const char *why, bool late)
{
	struct probe_cost_result *r = &v->cost[t->index];

	(void)late;
	r->samples = 0;
	snprintf(r->evidence, sizeof(r->evidence), "%s", why);
}

/* Four digits say all there is; and what comes back from the cache is then what was measured, bit for bit. */
static void round_to_four(double *d)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%.4g", *d);
	*d = strtod(buf, NULL);
}

static void round_all(struct probe_verdict *v)
{
	round_to_four(&v->seconds);
	round_to_four(&v->host_ns_per_insn);
	for (unsigned m = 0; m < PROBE_MODES; m++) {
		round_to_four(&v->mode[m].ns_per_insn);
		round_to_four(&v->mode[m].ratio);
	}
	for (unsigned c = 0; c < PROBE_COSTS; c++) {
		round_to_four(&v->cost[c].median_ns);
		round_to_four(&v->cost[c].p95_ns);
	}
}

void probe_measure(const struct host_facts *f, bool quick, unsigned patience, struct probe_verdict *v)
{
	struct probe_test t[PROBE_MODES + PROBE_ITEMS + PROBE_COSTS];
	const uint64_t begin = probe_now_ns();
	const unsigned times = patience ? patience : 1, budget = times * (quick ? 80 : 300);
	unsigned n = 0;

	for (unsigned m = 0; m < PROBE_MODES; m++)
		t[n++] = (struct probe_test){run_mode, lost_mode, m, 0, times * (quick ? 100 : 400)};
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		if (probe_items[i].quick || !quick)
			t[n++] = (struct probe_test){run_item, lost_item, i, 0, budget};
	for (unsigned c = 0; c < PROBE_COSTS; c++)
		if (probe_costs[c].quick || !quick)
			t[n++] = (struct probe_test){run_cost, lost_cost, c, cost_arg[c], times * (quick ? 100 : 600)};
	v->measured = true;
	v->quick = quick;
	v->measured_at = (int64_t)time(NULL);
	probe_run_tests(f, quick, t, n, begin + times * (quick ? QUICK_NS : FULL_NS), v);
	v->seconds = (double)(probe_now_ns() - begin) / 1e9;
	round_all(v);
}
