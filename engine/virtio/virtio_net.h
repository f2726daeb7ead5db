/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtio network card (virtio 1.2, 5.1) in front of a backend. Device lock, or no vCPU runs. */
#ifndef STEELYARD_VIRTIO_NET_H
#define STEELYARD_VIRTIO_NET_H

#include "engine/net/net.h"
#include "engine/virtio/virtio.h"

/* n becomes the device's, also on failure (NULL and *e). */
struct virtio *virtio_net_new(struct net *n, const uint8_t mac[6], const struct dma *dma, struct error *e);

#endif
