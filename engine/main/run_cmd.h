/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One "steelyard run" between its options and its end. Private to engine/main/run_cmd.c, which owns it, and run_options.c; main thread. */
#ifndef STEELYARD_RUN_CMD_H
#define STEELYARD_RUN_CMD_H

#include <jansson.h>
#include <stdio.h>

#include "engine/main/run_control.h"
#include "engine/main/run_devices.h"
#include "engine/main/run_firmware.h"
#include "engine/main/run_marks.h"
#include "engine/main/run_stats.h"
#include "engine/main/run_switch.h"
#include "engine/vm.h"

struct run_cmd {
	struct vm_config cfg;
	const char *serial, *debugcon;
	const char *insn_rows, *hot_blocks;
	double timeout_s;
	bool stats, json, help, lockstep, path_auto;
	uint64_t lockstep_insns;
	char *flat; /* owned copy of F in F@ADDR */
	struct run_firmware firmware;
	struct vm *vm;
	struct chardev *serial_dev, *debugcon_dev;
	FILE *rows_file, *hot_file; /* of insn_rows, hot_blocks */
	struct run_marks marks;
	struct timer timer;
	struct run_switch change;
	struct run_control control;
	struct run_devices devices;
	struct run_context context;
	char path_why[sizeof(((struct error *)0)->msg)];
	json_t *probe; /* probe_summary */
	uint64_t start_ns;
};

/* Zeroed before. 0, or EXIT_USAGE with one line on stderr; r->help: nothing else is to be done. Strings are argv's. */
int run_options_parse(struct run_cmd *r, int argc, char **argv);
void run_options_help(FILE *f);

#endif
