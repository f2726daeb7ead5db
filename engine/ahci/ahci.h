/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SATA controller with one port and a CD drive on it, from which firmware boots and installers read (AHCI 1.3.1; SFF-8020i
 * and MMC-3 for the drive). Owner of the function: the PCI bus. Device lock, or no vCPU runs.
 */
#ifndef STEELYARD_AHCI_H
#define STEELYARD_AHCI_H

#include "engine/block/block.h"
#include "engine/dma.h"
#include "engine/pci/pci.h"

/* Takes over the image, also when it fails: NULL and *e. */
struct pci_function *ahci_new(struct blk_image *img, const struct dma *dma, struct error *e);

/* ---- atapi.c: what a drive answers to a packet ---- */

#define ATAPI_SECTOR 2048u
#define ATAPI_ANSWER_MAX 256u

struct atapi {
	uint64_t sectors;
	uint8_t sense_key, sense_code; /* of the last packet that failed */
};

/* Either a few bytes, or a piece of the image. */
struct atapi_answer {
	uint8_t data[ATAPI_ANSWER_MAX];
	uint32_t len;
	uint64_t sector, sectors;
};

/* false: it cannot be done, the sense says why. */
bool atapi_packet(struct atapi *a, const uint8_t packet[12], struct atapi_answer *out);
void atapi_identify(uint8_t out[512]);

#endif
