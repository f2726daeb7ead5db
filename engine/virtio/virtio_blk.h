/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtio disk (virtio 1.2, 5.2) on an image. Device lock, or no vCPU runs. */
#ifndef STEELYARD_VIRTIO_BLK_H
#define STEELYARD_VIRTIO_BLK_H

#include "engine/block/block.h"
#include "engine/virtio/virtio.h"

#define VIRTIO_BLK_SERIAL 20u

struct virtio_blk_config {
	struct blk_image *image; /* becomes the device's, also when virtio_blk_new fails */
	const char *serial;      /* at most VIRTIO_BLK_SERIAL characters, or NULL */
	unsigned queues;         /* 1 to 8 */
};

/* NULL and *e: no memory, no threads. */
struct virtio *virtio_blk_new(const struct virtio_blk_config *cfg, const struct dma *dma, struct error *e);

#endif
