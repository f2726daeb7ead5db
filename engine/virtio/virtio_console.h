/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial ports over virtio (virtio 1.2, 5.3): the first is the guest's hvc0. Device lock, or no vCPU runs. */
#ifndef STEELYARD_VIRTIO_CONSOLE_H
#define STEELYARD_VIRTIO_CONSOLE_H

#include "engine/virtio/virtio.h"

#define VIRTIO_CONSOLE_PORTS 15u
#define VIRTIO_CONSOLE_NAME 64u

struct virtio_console_port {
	const char *where; /* "file:F": what the guest says; "unix:F": a server that takes one client at a time */
	const char *name;  /* for the guest's /dev/virtio-ports, shorter than VIRTIO_CONSOLE_NAME; NULL: none */
};

/* NULL and *e: a port's host end does not open, no memory, no thread. */
struct virtio *virtio_console_new(const struct virtio_console_port *port, unsigned n, const struct dma *dma,
				  struct error *e);

#endif
