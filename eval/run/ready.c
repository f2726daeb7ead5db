// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Is there on this host what a spec needs? Asked before an hour is spent.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "eval/run/runner.h"

static bool check_file(const char *dir, const char *name, const char *make, char *text, size_t n)
{
	char path[4300];

	snprintf(path, sizeof(path), "%.4100s/%s", dir, name);
	if (!access(path, R_OK))
		return true;
	snprintf(text, n, "%.300s: %s; \"%s\" builds it%s", path, strerror(errno), make,
		 strcmp(make, "make") ? ", --guest names another folder" : "");
	return false;
}

static bool check_files(struct runner *r, char *text, size_t n)
{
	const char *slash = strrchr(r->self, '/');
	char dir[4200];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - r->self) : 0, r->self);
	if (r->spec.machine && !(check_file(dir, "machine/machine.elf", "make", text, n) &&
				 check_file(dir, "machine/machine-native", "make", text, n)))
		return false;
	if (!r->spec.nworkloads)
		return true;
	if (!check_file(r->guest_dir, "vmlinuz", "make guest", text, n))
		return false;
	if (spec_is_macro(&r->spec))
		return macro_files_find(r->guest_dir, &r->macro, text, n);
	return check_file(r->guest_dir, "initrd", "make guest", text, n) &&
	       check_file(r->guest_dir, "workloads", "make guest", text, n);
}

/* What the host does not have cannot be compared with it. */
static bool check_cpus(const struct runner *r, char *text, size_t n)
{
	cpu_set_t set;
	int have = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	for (unsigned i = 0; i < r->spec.npaths; i++)
		if (r->spec.path[i].cpus > (unsigned)have) {
			snprintf(text, n, "%u processors: this host lets us use %d; compare with what it has",
				 r->spec.path[i].cpus, have);
			return false;
		}
	return true;
}

bool runner_ready(struct runner *r, bool here, char *text, size_t n)
{
	return check_files(r, text, n) && (!here || check_cpus(r, text, n));
}
