// SPDX-License-Identifier: GPL-2.0-or-later
/* The built-in specs, one row each, and the workloads with their groups: names from the table that they are built from. */
#include <string.h>

#include "engine/status.h"
#include "eval/run/macro.h"
#include "eval/suites.h"

static const struct eval_group groups[] = {
#define G(group, title, bench, flat) {#group, title, bench, flat},
#include "eval/workloads/table.def"
#define MG(group, title) {#group, title, false, false},
#include "eval/workloads/macro.def"
};

static const struct {
	const char *name, *group, *what;
} workloads[] = {
#define W(name, group, what) {#name, #group, what},
#include "eval/workloads/table.def"
#define MW(name, group, packages, amount, least, input, bytes, command, what) {#name, #group, what},
#include "eval/workloads/macro.def"
};

#define SUITE "int,fp,mem,os,gen"
static const struct eval_suite suites[] = {
	{.name = "quick",
	 .what = "eight workloads and the boot",
	 .workloads = "sieve,fib,sha256,quicksort,interp,hashtable,matmul,strings",
	 .paths = "bt,interp,kvm,qemu-tcg",
	 .blocks = 4,
	 .blocks_max = 4,
	 .peer_blocks = 2,
	 .together = 8,
	 .scale = 20,
	 .iterations = 4,
	 .wait_s = 10},
	{.name = "bench",
	 .what = "the whole suite by groups, boot and memory of the monitor",
	 .groups = SUITE,
	 .paths = "bt,qemu-tcg,qemu-microvm",
	 .blocks = 5,
	 .blocks_max = 5,
	 .together = 12,
	 .scale = 30,
	 .wait_s = 60},
	{.name = "smp",
	 .what = "parallel work, threads and hand-overs with one processor and with several",
	 .workloads = "parproc,parthread,atomics,barrier,shootdown,thread,pingpong,crosspipe,handover,fork",
	 .paths = "bt",
	 .blocks = 5,
	 .blocks_max = 5,
	 .together = 10,
	 .scale = 25,
	 .cpus = 2,
	 .wait_s = 60},
	{.name = "cpu",
	 .what = "integer, floating point and memory workloads; blocks by a pilot",
	 .groups = "int,fp,mem",
	 .paths = "bt,interp,kvm,qemu-tcg,qemu-kvm,unicorn",
	 .blocks = 6,
	 .blocks_max = 30,
	 .pilot_blocks = 2,
	 .together = 8,
	 .scale = 30,
	 .iterations = 4,
	 .wait_s = 600},
	{.name = "os",
	 .what = "operating-system workloads; blocks by a pilot",
	 .groups = "os",
	 .paths = "bt,interp,kvm,qemu-tcg,qemu-kvm",
	 .blocks = 6,
	 .blocks_max = 30,
	 .pilot_blocks = 2,
	 .together = 8,
	 .scale = 30,
	 .iterations = 4,
	 .wait_s = 600},
	{.name = "macro",
	 .what = "programs of Debian in a Debian tree (make macro-tree); blocks by a pilot",
	 .groups = "compress,crypto,compile,lang,data,system,io",
	 .paths = "bt,kvm,qemu-tcg,qemu-kvm",
	 .blocks = 6,
	 .blocks_max = 30,
	 .pilot_blocks = 2,
	 .together = 8,
	 .scale = 30,
	 .memory_mb = MACRO_MEMORY_MB,
	 .iterations = 2,
	 .wait_s = 600},
	{.name = "machine",
	 .what = "what single operations cost: exits, faults, page tables, interrupts",
	 .groups = "",
	 .paths = "kvm,bt,interp,qemu-tcg,qemu-kvm",
	 .blocks = 3,
	 .blocks_max = 3,
	 .machine = 3,
	 .together = 8,
	 .scale = 30,
	 .wait_s = 60},
	{.name = "full",
	 .what = "all but the macro suite, on every path and peer, and the machine suite; half an hour",
	 .groups = SUITE,
	 .paths = "bt,interp,kvm,hybrid,qemu-tcg,qemu-kvm,qemu-microvm,unicorn",
	 .blocks = 8,
	 .blocks_max = 8,
	 .peer_blocks = 3,
	 .peer_iterations = 2,
	 .machine = 2,
	 .together = 8,
	 .scale = 15,
	 .longer = "pchase,randupd,pagehop",
	 .longer_scale = 40,
	 .iterations = 4,
	 .series = "lexer,sha256,fork,bigstart",
	 .series_iterations = 10,
	 .wait_s = 1800},
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
