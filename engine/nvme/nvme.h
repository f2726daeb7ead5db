/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NVMe controller (NVM Express 1.4) with one namespace, on an image; a PCI function. Device lock, or no vCPU runs.
 */
#ifndef STEELYARD_NVME_H
#define STEELYARD_NVME_H

#include "engine/block/block.h"
#include "engine/dma.h"
#include "engine/pci/pci.h"

#define NVME_SERIAL 20u

struct nvme_config {
	struct blk_image *image; /* becomes the controller's, also when nvme_new fails */
	const char *serial;      /* at most NVME_SERIAL characters */
	unsigned index;          /* of the controller among the machine's: names that have to differ are made of it */
	unsigned queues;         /* pairs of I/O queues, 1 to 8 */
};

/* NULL and *e: no memory, no threads. dma outlives the function. */
struct pci_function *nvme_new(const struct nvme_config *cfg, const struct dma *dma, struct error *e);

#endif
