// SPDX-License-Identifier: GPL-2.0-or-later
/* The built-in specs, one row each, and the workloads with their groups: names from the table that they are built from. */
#include <string.h>

#include "engine/status.h"
#include "eval/suites.h"

static const struct eval_group groups[] = {
#define G(group, title, bench) {#group, title, bench},
#include "eval/workloads/table.def"
};

static const struct {
	const char *name, *group, *what;
} workloads[] = {
#define W(name, group, what) {#name, #group, what},
#include "eval/workloads/table.def"
};

#define SUITE "int,fp,mem,os,gen"
static const struct eval_suite suites[] = {
	{"quick", "eight workloads and the boot", "sieve,fib,sha256,quicksort,interp,hashtable,matmul,strings", NULL,
	 "bt,interp,kvm,qemu-tcg", 4, 4, 0, 8, 25, 0, 10},
	{"bench", "the whole suite by groups, boot and memory of the monitor", NULL, SUITE, "bt,qemu-tcg,qemu-microvm",
	 5, 5, 0, 12, 30, 0, 60},
	{"smp", "parallel work, threads and hand-overs with one processor and with several",
	 "parproc,parthread,atomics,barrier,shootdown,thread,pingpong,crosspipe,handover,fork", NULL, "bt", 5, 5, 0, 10,
	 25, 2, 60},
	{"cpu", "integer, floating point and memory workloads; blocks by a pilot", NULL, "int,fp,mem",
	 "bt,interp,kvm,qemu-tcg,qemu-kvm", 6, 30, 2, 8, 30, 0, 600},
	{"os", "operating-system workloads; blocks by a pilot", NULL, "os", "bt,interp,kvm,qemu-tcg,qemu-kvm", 6, 30, 2,
	 8, 30, 0, 600},
	{"full", "everything, on every path and peer; blocks by a pilot", NULL, SUITE,
	 "bt,interp,kvm,qemu-tcg,qemu-kvm,qemu-microvm", 6, 30, 2, 8, 30, 0, 1800},
};

const struct eval_suite *suite_at(unsigned i)
{
	return i < ARRAY_LEN(suites) ? &suites[i] : NULL;
}

const struct eval_suite *suite_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(suites); i++)
		if (!strcmp(suites[i].name, name))
			return &suites[i];
	return NULL;
}

const struct eval_group *group_at(unsigned i)
{
	return i < ARRAY_LEN(groups) ? &groups[i] : NULL;
}

const struct eval_group *group_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(groups); i++)
		if (!strcmp(groups[i].name, name))
			return &groups[i];
	return NULL;
}

const char *workload_at(unsigned i)
{
	return i < ARRAY_LEN(workloads) ? workloads[i].name : NULL;
}

const char *workload_what(unsigned i)
{
	return i < ARRAY_LEN(workloads) ? workloads[i].what : NULL;
}

const struct eval_group *workload_group(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(workloads); i++)
		if (!strcmp(workloads[i].name, name))
			return group_find(workloads[i].group);
	return NULL;
}
