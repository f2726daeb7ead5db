/* SPDX-License-Identifier: GPL-2.0-or-later */
/* steelyard run --lockstep: the same guest on two paths at once, compared (docs/lockstep.md). */
#ifndef STEELYARD_MAIN_LOCKSTEP_H
#define STEELYARD_MAIN_LOCKSTEP_H

#include <stdint.h>

#include "engine/status.h"

struct vm_config;

struct lockstep_options {
	const struct vm_config *cfg;
	uint64_t max_insns; /* ends the run; 0: the guest does */
	double timeout_s;   /* of host time; 0: none */
	const char *serial; /* stdio, none or file:F */
};

/* "interp,bt" in either order. */
bool lockstep_paths_ok(const char *arg);
/* Exit status: 0 no difference, EXIT_DIFFERENT, EXIT_TIMEOUT, else as verb_fail. Reports on stderr. */
int lockstep_main(const struct lockstep_options *o);

#endif
