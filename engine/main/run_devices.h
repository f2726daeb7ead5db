/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of run that add devices: "key=value,flag,..." into a list of struct device_config. */
#ifndef STEELYARD_RUN_DEVICES_H
#define STEELYARD_RUN_DEVICES_H

#include "engine/devices.h"

#define RUN_DEVICES_TEXTS 64

struct run_devices {
	struct device_config list[DEVICES_MAX];
	unsigned n;
	bool snapshot;                 /* of all disks */
	char *text[RUN_DEVICES_TEXTS]; /* owned copies of arguments, into which the list points */
	unsigned ntexts;
};

/* EXIT_OK, or what verb_usage returns after its message. */
int run_disk_option(struct run_devices *d, const char *arg);
int run_cdrom_option(struct run_devices *d, const char *arg);
int run_net_option(struct run_devices *d, const char *arg);
/* A device without words: --rng, --balloon. */
int run_plain_option(struct run_devices *d, const char *option, enum device_kind kind);
/* One more port of the console device, which the first makes. */
int run_console_option(struct run_devices *d, const char *arg);
int run_vsock_option(struct run_devices *d, const char *arg);
/* After the last option. */
void run_devices_finish(struct run_devices *d);
void run_devices_free(struct run_devices *d);

#endif
