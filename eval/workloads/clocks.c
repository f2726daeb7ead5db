/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "workloads --clocks FILE": watches time until FILE exists, and complains when it is not what time should be. Not a workload:
 * tests let it run in a guest whose vCPUs are paused, moved and switched meanwhile.
 *
 * One process on each CPU:
 *   - the TSC never goes back; CLOCK_MONOTONIC goes back neither here nor below what any other CPU has read before
 *   - a nap lasts as long as was asked for, at least
 *   - a periodic timer fires as often as its period fits into the time since it was set: the number that has been counted when
 *     read() returns lies between what was due before and what was due after the call. Exact, however late the host was.
 *   - the same for a timer that sends signals, with the kernel's count of those that ran into each other
 *   - the kernel's tick goes on: CLOCK_MONOTONIC_COARSE, which only ticks move, is within three ticks of the clock. When the
 *     host keeps a CPU from running it is late, so the best of many looks counts, with naps between them
 * The last line is "CLOCKS RIGHT cpus=N reads=N naps=N timers=N signals=N"; each complaint is a line "CLOCKS WRONG ...".
 */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define PERIOD_NS 10000000
#define NAP_NS 2000000
#define READS_AT_ONCE 500
#define LOOKS_AT_TICK 100
#define COMPLAINTS_MAX 20

struct shared {
	_Alignas(8) _Atomic uint64_t latest_ns; /* what anybody has read of CLOCK_MONOTONIC */
	_Alignas(8) _Atomic uint64_t reads, naps, timers, signals;
	_Atomic unsigned wrong;
};

struct watch {
	struct shared *s;
	const char *until;
	int cpu, timer_fd;
	timer_t timer;
	uint64_t timer_begin_ns, signal_begin_ns, last_ns, last_tsc;
	uint64_t fired, signalled; /* counted since they were set */
	bool coarse_seen;
};

static uint64_t clock_now(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now(void)
{
	return clock_now(CLOCK_MONOTONIC);
}

static void wrong(struct watch *w, const char *what, uint64_t is, uint64_t least, uint64_t most)
{
	if (w->s->wrong++ < COMPLAINTS_MAX)
		printf("CLOCKS WRONG cpu %d: %s: %" PRIu64 ", should be %" PRIu64 " to %" PRIu64 "\n", w->cpu, what, is, least, most);
	fflush(stdout);
}

static void look_at_clocks(struct watch *w)
{
	for (unsigned i = 0; i < READS_AT_ONCE; i++) {
		uint64_t others = w->s->latest_ns, ns = now(), tsc;

		__builtin_ia32_lfence();
		tsc = __builtin_ia32_rdtsc();
		if (tsc < w->last_tsc)
			wrong(w, "the TSC went back", tsc, w->last_tsc, UINT64_MAX);
		if (ns < w->last_ns)
			wrong(w, "CLOCK_MONOTONIC went back", ns, w->last_ns, UINT64_MAX);
		if (ns < others)
			wrong(w, "CLOCK_MONOTONIC is behind another CPU's", ns, others, UINT64_MAX);
		w->last_tsc = tsc;
		w->last_ns = ns;
		while (others < ns && !__atomic_compare_exchange_n((uint64_t *)&w->s->latest_ns, &others, ns, false,
								   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
	}
	w->s->reads += READS_AT_ONCE;
}

static void nap(struct watch *w)
{
	uint64_t begin = now(), end;

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = NAP_NS}, NULL))
		;
	end = now();
	if (end - begin < NAP_NS)
		wrong(w, "a nap was too short, ns", end - begin, NAP_NS, UINT64_MAX);
	w->s->naps++;
}

static void look_at_timer(struct watch *w)
{
	uint64_t before = now(), n = 0, after, least, most;

	if (read(w->timer_fd, &n, sizeof(n)) != sizeof(n))
		return;
	after = now();
	w->fired += n;
	least = (before - w->timer_begin_ns) / PERIOD_NS;
	most = (after - w->timer_begin_ns) / PERIOD_NS;
	if (w->fired < least || w->fired > most)
		wrong(w, "expirations of the periodic timer", w->fired, least, most);
	w->s->timers += n;
}

static void look_at_signal(struct watch *w)
{
	uint64_t before = now(), after, least, most;
	sigset_t set;
	siginfo_t si;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (sigwaitinfo(&set, &si) != SIGUSR1)
		return;
	after = now();
	w->signalled += 1 + (uint64_t)si.si_overrun;
	least = (before - w->signal_begin_ns) / PERIOD_NS;
	most = (after - w->signal_begin_ns) / PERIOD_NS;
	if (w->signalled < least || w->signalled > most)
		wrong(w, "signals of the periodic timer", w->signalled, least, most);
	w->s->signals += 1 + (uint64_t)si.si_overrun;
}

static void look_at_tick(struct watch *w)
{
	struct timespec res;
	uint64_t lag = 0, tick;

	clock_getres(CLOCK_MONOTONIC_COARSE, &res);
	tick = (uint64_t)res.tv_nsec;
	for (unsigned i = 0; i < LOOKS_AT_TICK; i++) {
		uint64_t coarse = clock_now(CLOCK_MONOTONIC_COARSE), fine = now();

		if (coarse > fine) {
			wrong(w, "CLOCK_MONOTONIC_COARSE is ahead", coarse, 0, fine);
			return;
		}
		lag = fine - coarse;
		if (lag <= 3 * tick)
			return;
		nap(w); /* the CPU that keeps the time may itself be kept from running */
	}
	wrong(w, "the tick is late, ns", lag, 0, 3 * tick);
}

static uint64_t begin_at(struct itimerspec *its)
{
	uint64_t begin = now();

	its->it_value.tv_sec = (time_t)((begin + PERIOD_NS) / 1000000000u);
	its->it_value.tv_nsec = (long)((begin + PERIOD_NS) % 1000000000u);
	its->it_interval.tv_sec = 0;
	its->it_interval.tv_nsec = PERIOD_NS;
	return begin;
}

static int watch_cpu(struct watch *w)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec its;
	cpu_set_t set;
	sigset_t block;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (sched_setaffinity(0, sizeof(set), &set) || w->timer_fd < 0 || timer_create(CLOCK_MONOTONIC, &ev, &w->timer))
		return 1;
	w->timer_begin_ns = begin_at(&its);
	if (timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &its, NULL))
		return 1;
	w->signal_begin_ns = begin_at(&its);
	if (timer_settime(w->timer, TIMER_ABSTIME, &its, NULL))
		return 1;
	while (access(w->until, F_OK)) {
		look_at_clocks(w);
		nap(w);
		look_at_timer(w);
		look_at_signal(w);
		look_at_tick(w);
	}
	return 0;
}

int wl_clocks(const char *until)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cpu_set_t may;
	int cpus = 0, status, bad = 0;

	if (s == MAP_FAILED || sched_getaffinity(0, sizeof(may), &may))
		return 1;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		struct watch w = {.s = s, .until = until, .cpu = i};
		pid_t pid = CPU_ISSET(i, &may) ? fork() : -1;

		if (pid == 0)
			_exit(watch_cpu(&w));
		cpus += pid > 0;
	}
	for (int i = 0; i < cpus; i++)
		if (wait(&status) < 0 || status)
			bad++;
	if (bad || s->wrong)
		printf("CLOCKS WRONG: %d of %d watchers failed, %u complaints\n", bad, cpus, s->wrong);
	else
		printf("CLOCKS RIGHT cpus=%d reads=%" PRIu64 " naps=%" PRIu64 " timers=%" PRIu64 " signals=%" PRIu64 "\n", cpus,
		       s->reads, s->naps, s->timers, s->signals);
	return bad || s->wrong;
}
