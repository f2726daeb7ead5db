/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A source of entropy (virtio 1.2, 5.4). Device lock, or no vCPU runs. */
#ifndef STEELYARD_VIRTIO_RNG_H
#define STEELYARD_VIRTIO_RNG_H

#include "engine/virtio/virtio.h"

/* NULL and *e: no memory, no thread. */
struct virtio *virtio_rng_new(const struct dma *dma, struct error *e);

#endif
