/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices that a machine is asked to have, as data, and the table that makes PCI functions of them. The caller of
 * vm_create owns the strings, which live as long as the machine.
 */
#ifndef STEELYARD_DEVICES_H
#define STEELYARD_DEVICES_H

#include "engine/block/block.h"
#include "engine/net/net.h"
#include "engine/virtio/virtio_console.h"
#include "engine/virtio/virtio_vsock.h"

struct dma;
struct pci_bus;

#define DEVICES_MAX 30u

enum device_kind { DEVICE_DISK, DEVICE_CDROM, DEVICE_NET, DEVICE_RNG, DEVICE_BALLOON, DEVICE_CONSOLE, DEVICE_VSOCK, DEVICE_KINDS };
enum disk_bus { DISK_VIRTIO, DISK_NVME };

struct device_disk {
	struct blk_config image;
	const char *serial; /* NULL: made from the disk's number */
	unsigned queues;    /* 0: as many as vCPUs, at most 4 */
	enum disk_bus bus;
};

struct device_console {
	struct virtio_console_port port[VIRTIO_CONSOLE_PORTS];
	unsigned nports;
};

struct device_config {
	enum device_kind kind;
	bool transitional; /* a virtio device that old drivers know too */
	union {
		struct device_disk disk; /* of a CD the image alone, read-only */
		struct net_config net;
		struct device_console console;
		struct virtio_vsock_config vsock;
	};
};

/* What devices need of the machine. */
struct devices_env {
	const struct dma *dma; /* lives as long as the bus */
	unsigned ncpus;
	struct blk_tell disk_tell; /* news of disks, on any thread */
};

/* Puts n devices on the bus, in this order. No vCPU runs. */
enum status devices_add(struct pci_bus *bus, const struct devices_env *env, const struct device_config *list,
			unsigned n, struct error *e);

#endif
