/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * workloads: every kernel in one static binary, the same one in the guest and on the host.
 *
 *   workloads                            list them
 *   workloads [--mark | --port] [--one-cpu | --cpus N] [--repeat N] [--slower P] NAME [SCALE]
 *
 * --mark writes "@start NAME SCALE" before and "@stop NAME CHECKSUM" behind the work, so that whoever reads the output
 * can take the time on the host's clock. The last line is "RESULT NAME CHECKSUM WALL_NS CPU_NS CHILDREN_NS SYS_NS" by the clocks
 * here; CPU_NS is without the children, whose time no clock of this process shows from outside. A sixth number, SYS_NS, is what of both
 * was spent in the kernel.
 * --port is for guests: the markers go to port 0xe9 where there is one, and an empty line in front of @stop is its moment.
 * --slower goes on behind the work for P percent of the CPU time that it has taken: what is measured then is a known slowdown.
 * --repeat does the same work N times between the markers; the checksum is that of one.
 * --one-cpu keeps to the CPU it is on: workloads of several processes or threads then run as on a machine with one;
 * --cpus N keeps to N.
 * --clocks FILE watches the guest's time until FILE exists (clocks.c).
 * --nothing and --big are what the workloads "exec" and "bigstart" execute.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "workload.h"

static const struct workload table[] = {
#define W(name, group, what) {#name, #group, what, wl_##name},
#include "table.def"
};

int main(int argc, char **argv)
{
	const struct workload *w = NULL;
	enum mark_way way = MARK_NOT;
	bool stays = true;
	double slower = 0;
	unsigned long repeat = 1, scale = 100;
	uint64_t sum = 0, wall, cpu, children, sys;
	char line[128];
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--mark"))
			way = MARK_OUTPUT;
		else if (!strcmp(argv[i], "--port"))
			way = mark_by_port();
		else if (!strcmp(argv[i], "--slower") && i + 1 < argc)
			slower = strtod(argv[++i], NULL);
		else if (!strcmp(argv[i], "--one-cpu"))
			stays = stay_on_cpus(1);
		else if (!strcmp(argv[i], "--cpus") && i + 1 < argc)
			stays = stay_on_cpus((unsigned)strtoul(argv[++i], NULL, 10));
		else if (!strcmp(argv[i], "--nothing"))
			return 7;
		else if (!strcmp(argv[i], "--clocks") && i + 1 < argc)
			return wl_clocks(argv[i + 1]);
		else if (!strcmp(argv[i], "--big"))
			return (int)(wl_big_program() & 127);
		else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
			repeat = strtoul(argv[++i], NULL, 10);
		else
			break;
	}
	if (!stays) {
		fprintf(stderr, "workloads: there are not so many CPUs\n");
		return 1;
	}
	if (i == argc) {
		for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++)
			printf("%-12s %-4s %s\n", table[n].name, table[n].group, table[n].what);
		return 0;
	}
	for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++)
		if (!strcmp(argv[i], table[n].name))
			w = &table[n];
	if (i + 1 < argc)
		scale = strtoul(argv[i + 1], NULL, 10);
	if (!w || i + 2 < argc || !scale || scale > 100000 || !repeat) {
		fprintf(stderr, "usage: workloads [--mark | --port] [--one-cpu | --cpus N] [--repeat N] [--slower P] "
				"NAME [SCALE 1..100000]; without "
				"arguments: the names\n");
		return 2;
	}
	snprintf(line, sizeof(line), "@start %s %lu\n", w->name, scale);
	mark(way, line);
	wall = wall_ns();
	cpu = cpu_ns();
	children = children_ns();
	sys = system_ns();
	for (unsigned long n = 0; n < repeat; n++)
		sum = w->run(scale);
	if (slower > 0)
		go_on(cpu + children, slower);
	cpu = cpu_ns() - cpu;
	children = children_ns() - children;
	sys = system_ns() - sys;
	wall = wall_ns() - wall;
	mark(way, "\n");
	snprintf(line, sizeof(line), "@stop %s %016" PRIx64 "\n", w->name, sum);
	mark(way, line);
	printf("RESULT %s %016" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", w->name, sum, wall, cpu,
	       children, sys);
	return 0;
}
