/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of path that the command line asks for: --switch-after and --switch-every of steelyard run. */
#ifndef STEELYARD_RUN_SWITCH_H
#define STEELYARD_RUN_SWITCH_H

#include "engine/vm.h"

#define RUN_SWITCH_MAX 32

struct run_switch {
	struct vm *vm;
	struct run_switch_at {
		struct run_switch *all;
		struct timer timer;
		uint64_t at_ns; /* guest time */
		enum path_id path;
	} after[RUN_SWITCH_MAX];
	unsigned nafter;
	/* --switch-every: a random vCPU, or all of them, to a random path of the list, at random moments */
	struct timer timer;
	uint64_t every_ns; /* on average; 0: no */
	enum path_id list[8];
	unsigned nlist;
	uint64_t random;
	unsigned failed;   /* requests that were refused */
};

/* T:PATH, and MS:PATH,PATH...[:SEED]. EXIT_OK, or EXIT_USAGE with a line on stderr. */
int run_switch_after(struct run_switch *r, const char *arg);
int run_switch_every(struct run_switch *r, const char *arg);
/* Before vm_run, and after it. */
void run_switch_begin(struct run_switch *r, struct vm *vm);
void run_switch_end(struct run_switch *r);
/* The path with this name; false: there is none of it in this build. */
bool run_path_named(const char *name, size_t len, enum path_id *out);

#endif
