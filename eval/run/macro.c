// SPDX-License-Identifier: GPL-2.0-or-later
/* The rows of the macro suite, and where its files are. */
#include "eval/run/macro.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/status.h"

static const struct macro_group groups[] = {
#define MG(name, title) {#name, title},
#include "eval/workloads/macro.def"
};

static const struct macro_workload workloads[] = {
#define MW(name, group, packages, amount, least, input, bytes, command, what) \
	{#name, #group, packages, command, what, amount, least, bytes, #input},
#include "eval/workloads/macro.def"
};

const struct macro_group *macro_group_at(unsigned i)
{
	return i < ARRAY_LEN(groups) ? &groups[i] : NULL;
}

const struct macro_workload *macro_workload_at(unsigned i)
{
	return i < ARRAY_LEN(workloads) ? &workloads[i] : NULL;
}

bool macro_knows(const char *workload)
{
	for (unsigned i = 0; i < ARRAY_LEN(workloads); i++)
		if (!strcmp(workloads[i].name, workload))
			return true;
	return false;
}

bool macro_files_find(const char *guest_dir, struct macro_files *f, char *why, size_t n)
{
	const char *const need[] = {f->driver, f->tree, f->initrd, f->manifest};

	snprintf(f->driver, sizeof(f->driver), "%s/../macro/macro", guest_dir);
	snprintf(f->tree, sizeof(f->tree), "%s/../macro/tree", guest_dir);
	snprintf(f->initrd, sizeof(f->initrd), "%s/../macro/initrd", guest_dir);
	snprintf(f->manifest, sizeof(f->manifest), "%s/../macro/MANIFEST", guest_dir);
	for (unsigned i = 0; i < ARRAY_LEN(need); i++) {
		if (!access(need[i], R_OK))
			continue;
		snprintf(why, n, "there is no %s: \"make macro-tree\" makes it", need[i]);
		return false;
	}
	return true;
}

unsigned macro_native_argv(const struct macro_files *f, const char **argv)
{
	argv[0] = f->driver;
	argv[1] = "--tree";
	argv[2] = f->tree;
	return 3;
}
