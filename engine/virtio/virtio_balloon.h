/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that comes and goes (virtio 1.2, 5.5): a balloon that the host may ask the guest to fill, and reports of free pages,
 * which go back to the host at once. Device lock, or no vCPU runs.
 */
#ifndef STEELYARD_VIRTIO_BALLOON_H
#define STEELYARD_VIRTIO_BALLOON_H

#include "engine/virtio/virtio.h"

/* NULL and *e: no memory, no thread. */
struct virtio *virtio_balloon_new(const struct dma *dma, struct error *e);
/* How many 4 KiB pages the guest shall give, and how many it has given. Any thread. */
void virtio_balloon_ask(struct virtio *v, uint32_t pages);
uint32_t virtio_balloon_given(struct virtio *v);

#endif
