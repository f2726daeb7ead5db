/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * workloads: every kernel in one static binary, the same one in the guest and on the host.
 *
 *   workloads                            list them
 *   workloads [--mark] [--repeat N] NAME [SCALE]
 *
 * --mark writes "@start NAME SCALE" before and "@stop NAME CHECKSUM" behind the work, so that whoever reads the output
 * can take the time on the host's clock. The last line is "RESULT NAME CHECKSUM WALL_NS CPU_NS" by the clocks here.
 * --repeat does the same work N times between the markers; the checksum is that of one.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

static const struct workload table[] = {
	{"sieve", "sieve of Eratosthenes, strided byte stores", wl_sieve},
	{"fib", "recursive Fibonacci, calls and returns", wl_fib},
	{"sha256", "SHA-256, rotates and adds", wl_sha256},
	{"quicksort", "quicksort of random words", wl_quicksort},
	{"interp", "bytecode interpreter, indirect branches", wl_interp},
	{"hashtable", "open-addressing hash table", wl_hashtable},
	{"matmul", "matrices of doubles, SSE2", wl_matmul},
	{"strings", "byte strings: length, compare, scan, copy", wl_strings},
	{"lz", "LZ compression and expansion", wl_lz},
	{"nbody", "planets, scalar doubles", wl_nbody},
	{"mandelbrot", "Mandelbrot set, scalar doubles", wl_mandelbrot},
	{"memstream", "triad over arrays larger than a cache", wl_memstream},
	{"pchase", "pointer chase in random order", wl_pchase},
	{"records", "linked records, small calls, string compares", wl_records},
	{"calls", "calls through function pointers", wl_calls},
	{"bignum", "multiplication of long numbers, carries", wl_bignum},
};

static uint64_t now_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void mark(const char *line)
{
	fputs(line, stdout);
	fflush(stdout);
	if (isatty(STDOUT_FILENO))
		tcdrain(STDOUT_FILENO); /* what waits in a buffer is not on the host's clock */
}

int main(int argc, char **argv)
{
	const struct workload *w = NULL;
	bool marks = false;
	unsigned long repeat = 1, scale = 100;
	uint64_t sum = 0, wall, cpu;
	char line[128];
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--mark"))
			marks = true;
		else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
			repeat = strtoul(argv[++i], NULL, 10);
		else
			break;
	}
	if (i == argc) {
		for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++)
			printf("%-12s %s\n", table[n].name, table[n].what);
		return 0;
	}
	for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++)
		if (!strcmp(argv[i], table[n].name))
			w = &table[n];
	if (i + 1 < argc)
		scale = strtoul(argv[i + 1], NULL, 10);
	if (!w || i + 2 < argc || !scale || scale > 100000 || !repeat) {
		fprintf(stderr, "usage: workloads [--mark] [--repeat N] NAME [SCALE 1..100000]; without arguments: the "
				"names\n");
		return 2;
	}
	snprintf(line, sizeof(line), "@start %s %lu\n", w->name, scale);
	if (marks)
		mark(line);
	wall = now_ns(CLOCK_MONOTONIC);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned long n = 0; n < repeat; n++)
		sum = w->run(scale);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = now_ns(CLOCK_MONOTONIC) - wall;
	snprintf(line, sizeof(line), "@stop %s %016" PRIx64 "\n", w->name, sum);
	if (marks)
		mark(line);
	printf("RESULT %s %016" PRIx64 " %" PRIu64 " %" PRIu64 "\n", w->name, sum, wall, cpu);
	return 0;
}
