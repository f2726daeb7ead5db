// SPDX-License-Identifier: GPL-2.0-or-later
/* Clocks, processors and markers of the programs that run workloads; wmain.c says what the markers look like. */
#include "harness.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "port.h"

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t wall_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t children_ns(void)
{
	struct rusage u;

	getrusage(RUSAGE_CHILDREN, &u);
	return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
	       ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

uint64_t system_ns(void)
{
	struct rusage u, c;

	getrusage(RUSAGE_SELF, &u);
	getrusage(RUSAGE_CHILDREN, &c);
	return (uint64_t)(u.ru_stime.tv_sec + c.ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(u.ru_stime.tv_usec + c.ru_stime.tv_usec) * 1000u;
}

bool stay_on_cpus(unsigned n)
{
	int cpu = sched_getcpu();
	cpu_set_t may, set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(may), &may))
		return false;
	for (int i = 0; i < CPU_SETSIZE && n; i++) {
		int k = ((cpu < 0 ? 0 : cpu) + i) % CPU_SETSIZE;

		if (CPU_ISSET(k, &may)) {
			CPU_SET(k, &set);
			n--;
		}
	}
	return !n && !sched_setaffinity(0, sizeof(set), &set);
}

enum mark_way mark_by_port(void)
{
	return port_open() ? MARK_PORT_E9 : MARK_OUTPUT;
}

void mark(enum mark_way way, const char *line)
{
	if (way == MARK_PORT_E9) {
		port_say(line);
		return;
	}
	if (way == MARK_NOT || line[0] == '\n')
		return;
	fputs(line, stdout);
	fflush(stdout);
	if (isatty(STDOUT_FILENO))
		tcdrain(STDOUT_FILENO); /* what waits in a buffer is not on the host's clock */
}

void go_on(uint64_t since_ns, double percent)
{
	uint64_t now = cpu_ns() + children_ns(), until = now + (uint64_t)((double)(now - since_ns) * percent / 100);

	while (cpu_ns() + children_ns() < until)
		;
}
