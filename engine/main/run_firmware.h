/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of run that concern firmware: --bios and --boot, into a struct vm_config. */
#ifndef STEELYARD_RUN_FIRMWARE_H
#define STEELYARD_RUN_FIRMWARE_H

#include "engine/vm.h"

struct run_firmware {
	char bios[4096], vars[4096], order[8]; /* into which the configuration points */
};

/* EXIT_OK, or what verb_usage and verb_fail return after their message. */
int run_bios_option(struct run_firmware *f, struct vm_config *cfg, const char *arg);
int run_boot_option(struct run_firmware *f, struct vm_config *cfg, const char *arg);

#endif
