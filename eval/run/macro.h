/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The macro suite as the evaluation sees it: which workloads belong to it, and with what they are started. Private to eval/; constant
 * tables and plain functions, any thread.
 */
#ifndef STEELYARD_EVAL_MACRO_H
#define STEELYARD_EVAL_MACRO_H

#include <stdbool.h>
#include <stddef.h>

/* The tree lies in the guest's RAM, for a moment twice, and programs want some too. */
#define MACRO_MEMORY_MB 1536

struct macro_group {
	const char *name, *title;
};
struct macro_workload {
	const char *name, *group, *packages, *command, *what;
	unsigned long amount, least, input_bytes;
	const char *input;
};
/* Rows of eval/workloads/macro.def in their order; NULL past the last. */
const struct macro_group *macro_group_at(unsigned i);
const struct macro_workload *macro_workload_at(unsigned i);
bool macro_knows(const char *workload);

/* What "make macro-tree" leaves beside the guest's files. */
struct macro_files {
	char driver[4200], tree[4200], initrd[4200], manifest[4200];
};
/* guest_dir is the folder of vmlinuz. false: one is missing, and why says what to do. */
bool macro_files_find(const char *guest_dir, struct macro_files *f, char *why, size_t n);

/* The native twin: the first words of its command line, which those of "workloads" follow (--mark, --cpus N, --repeat N, NAME, PERCENT).
 * Returns how many, at most 3; f must outlive argv. In a guest that booted f->initrd init starts the driver by itself. */
unsigned macro_native_argv(const struct macro_files *f, const char **argv);

#endif
