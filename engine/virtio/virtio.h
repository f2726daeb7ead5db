/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio device without its bus (virtio 1.2, chapters 2 and 3): status, features, queues, and the contract of a device.
 *
 * The transport (engine/virtio/virtio_pci.c) calls virtio_*; they call the device's ops. A device works in a worker of its
 * own, between start and stop, on rings that nobody else touches meanwhile; it is notified by a callback and answers with
 * virtio_signal. Nothing that a driver writes reaches further than virtio_fail: the device then asks to be reset.
 *
 * Threads: under the device lock, but what says "any thread".
 */
#ifndef STEELYARD_VIRTIO_H
#define STEELYARD_VIRTIO_H

#include <stdatomic.h>

#include "engine/dma.h"
#include "engine/pci/pci.h"
#include "engine/virtio/virtio_ring.h"

#define VIRTIO_QUEUES_MAX 34u
#define VIRTIO_NO_VECTOR 0xffffu

/* Device status (2.1) */
#define VIRTIO_ACKNOWLEDGE 1u
#define VIRTIO_DRIVER 2u
#define VIRTIO_DRIVER_OK 4u
#define VIRTIO_FEATURES_OK 8u
#define VIRTIO_NEEDS_RESET 64u
#define VIRTIO_FAILED 128u

struct virtio;

struct virtio_ops {
	const char *name;
	uint16_t id;         /* virtio device number (chapter 5) */
	uint32_t class;      /* of PCI: base, subclass, interface */
	uint16_t old_device; /* PCI device number before virtio 1.0; 0: there was no such device */
	/* Device configuration. off + len may pass the end: what is there. NULL: none */
	void (*config_read)(void *dev, unsigned off, uint8_t *buf, unsigned len);
	void (*config_write)(void *dev, unsigned off, const uint8_t *buf, unsigned len);
	/* The driver is ready: v->features and the rings are set. Rings of queues that it has not enabled are broken. */
	void (*start)(void *dev);
	/* On return nothing of the guest's memory is touched any more. Only after start. */
	void (*stop)(void *dev);
	/* The driver has put something into queue q. Between start and stop; cheap: it runs on a vCPU's thread */
	void (*notify)(void *dev, unsigned q);
	/* An eventfd to which a write does what notify does, and nothing between stop and start; the same one as long as the
	 * device lives. NULL: there is none */
	int (*doorbell)(void *dev, unsigned q);
	void (*free)(void *dev);
};

struct virtio_queue {
	uint16_t size_max; /* the device's */
	uint16_t size;
	bool enabled;
	uint64_t desc, driver, device;
	_Atomic uint16_t vector;
	struct vring ring;
};

struct virtio {
	const struct virtio_ops *ops;
	void *dev;
	const struct dma *dma;
	uint64_t offered;  /* VIRTIO_F_* of the rings are added by virtio_init */
	uint64_t features; /* the driver's; final from start to stop */
	uint8_t status;
	bool started;
	bool legacy; /* its driver uses the interface from before virtio 1.0; final from start to stop */
	_Atomic bool needs_reset;
	_Atomic uint8_t generation; /* of the configuration */
	unsigned nqueues;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
	/* the transport's */
	void (*signal)(struct virtio *v, unsigned q);
	void (*signal_config)(struct virtio *v);
	const _Atomic bool *master;
	void *transport;
};

/* ---- devices ---- */

/* Fills v, which lives in the device. offered: the device's own features. Queues have size_max size until the device says
 * otherwise. */
void virtio_init(struct virtio *v, const struct virtio_ops *ops, void *dev, const struct dma *dma, uint64_t offered,
		 unsigned nqueues, unsigned size);
/* Tells the driver of what has been pushed, if it wants to know. The queue's worker. */
void virtio_signal(struct virtio *v, unsigned q);
/* The configuration has changed. Any thread. */
void virtio_config_changed(struct virtio *v);
/* The driver broke the rules. Any thread. */
void virtio_fail(struct virtio *v);
static inline bool virtio_has(const struct virtio *v, uint64_t feature)
{
	return v->features & feature;
}
/* Copies what lies at off of a configuration structure; zeroes behind its end. */
void virtio_config_copy(const void *config, unsigned bytes, unsigned off, uint8_t *buf, unsigned len);

/* ---- transports ---- */

uint8_t virtio_status(const struct virtio *v);
void virtio_set_status(struct virtio *v, uint8_t status);
void virtio_reset(struct virtio *v);
void virtio_notify(struct virtio *v, unsigned q);

/* The same by the rules from before virtio 1.0. */
void virtio_legacy_features(struct virtio *v, uint32_t features);
void virtio_legacy_status(struct virtio *v, uint8_t status);
/* The driver uses a queue, whatever its status. */
void virtio_legacy_start(struct virtio *v);

/* The device as a PCI function, which owns it from here on; transitional: for old drivers too, where there were any for
 * this device. NULL: no memory; the device stays the caller's. */
struct pci_function *virtio_pci_new(struct virtio *v, bool transitional);

#endif
