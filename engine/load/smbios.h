/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBIOS tables (DMTF DSP0134): what dmidecode shows. Pure functions. */
#ifndef STEELYARD_SMBIOS_H
#define STEELYARD_SMBIOS_H

#include "engine/status.h"

#define SMBIOS_MAX_BYTES 8192
#define SMBIOS_ANCHOR_BYTES 31

struct smbios {
	uint32_t len;
	uint8_t bytes[SMBIOS_MAX_BYTES];
	uint8_t anchor[SMBIOS_ANCHOR_BYTES]; /* the 2.8 entry point; the address of the tables in it is `at` */
};
/* memory_bytes: all of RAM; ncpus: 1 to 64; at: where the tables will be (firmware that moves them corrects the anchor). */
void smbios_build(struct smbios *s, uint64_t memory_bytes, unsigned ncpus, uint32_t at);

#endif
