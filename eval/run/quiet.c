// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The quiet gate: nothing of ours runs between two items, so whatever keeps CPUs busy then is somebody else, and what the hypervisor
 * took away (steal time) is somebody else's too. Both are looked at for a quarter of a second in front of each item. A host that
 * is not quiet is waited for, half a second at a time, until the run's whole budget for waiting is spent; from then on items
 * are run all the same and their records say so. Nothing is dropped for it: CPU time bears a neighbour, wall time does not.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "eval/run/runner.h"

#define LOOK_MS 250
#define WAIT_MS 500

struct cpu_ticks {
	uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
};

static bool read_ticks(struct cpu_ticks *t)
{
	FILE *f = fopen("/proc/stat", "re");
	bool fine =
		f && fscanf(f,
			    "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			    " %" SCNu64,
			    &t->user, &t->nice, &t->system, &t->idle, &t->iowait, &t->irq, &t->softirq, &t->steal) == 8;

	if (f)
		fclose(f);
	return fine;
}

/* Sleeps, but not through a signal. */
static void rest(const struct runner *r, int ms)
{
	struct pollfd p = {.fd = r->stop_fd, .events = POLLIN};

	poll(&p, 1, ms);
}

static bool stopped(const struct runner *r)
{
	struct pollfd p = {.fd = r->stop_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* CPUs that are busy, and percent of the time stolen. false: this kernel does not say. */
static bool look(const struct runner *r, double *busy, double *steal)
{
	struct cpu_ticks a, b;
	double seconds = LOOK_MS * 1e-3, hz = (double)sysconf(_SC_CLK_TCK), all;

	if (!read_ticks(&a))
		return false;
	rest(r, LOOK_MS);
	if (!read_ticks(&b))
		return false;
	*busy = (double)(b.user - a.user + b.nice - a.nice + b.system - a.system + b.irq - a.irq + b.softirq -
			 a.softirq) /
		hz / seconds;
	all = hz * seconds * (double)sysconf(_SC_NPROCESSORS_ONLN);
	*steal = 100 * (double)(b.steal - a.steal) / all;
	return true;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool put_event(struct runner *r, const struct plan_item *it, const char *what, const char *why, uint64_t wall_ns)
{
	return runner_put(r, "event",
			  json_pack("{s:s, s:o, s:s, s:i, s:I}", "what", what, "at", runner_now(), "why", why, "order",
				    (int)it->order, "wall_ns", (json_int_t)wall_ns));
}

bool quiet_gate(struct runner *r, const struct plan_item *it)
{
	const struct spec_quiet *q = &r->spec.quiet;
	uint64_t begin = now_ns(), limit = q->wait_s * 1000000000ull, waited = 0;
	double busy = 0, steal = 0;
	char why[200];
	bool noisy;

	r->unquiet = false;
	if (q->max_load >= (double)sysconf(_SC_NPROCESSORS_ONLN) && q->max_steal >= 100)
		return true; /* no host can be beyond that: there is nothing to look for */
	for (;;) {
		noisy = look(r, &busy, &steal) && (busy > q->max_load || steal > q->max_steal);
		if (!noisy || stopped(r) || r->waited_ns + waited >= limit)
			break;
		if (!r->wait_said) {
			r->wait_said = true;
			progress_waits(r, busy, steal);
		}
		rest(r, WAIT_MS);
		waited = now_ns() - begin;
	}
	r->waited_ns += waited;
	r->unquiet = noisy;
	snprintf(why, sizeof(why),
		 "others keep %.1f CPUs busy (limit %g) and %.1f %% of the time is stolen (limit %g %%)", busy,
		 q->max_load, steal, q->max_steal);
	if (noisy && !r->unquiet_said && !stopped(r)) {
		r->unquiet_said = true;
		return put_event(r, it, "unquiet", why, r->waited_ns);
	}
	if (!noisy && waited)
		return put_event(r, it, "waited", "until the host was quiet", waited);
	return true;
}
