// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Initialization as virtio 1.2, 3.1 has it: the driver accepts features, which FEATURES_OK freezes; sets up queues; says
 * DRIVER_OK, which starts the device. A status of zero stops it and forgets everything.
 */
#include "engine/virtio/virtio.h"

#include <string.h>

#define RING_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_PACKED)

void virtio_init(struct virtio *v, const struct virtio_ops *ops, void *dev, const struct dma *dma, uint64_t offered,
		 unsigned nqueues, unsigned size)
{
	BUG_ON(nqueues > VIRTIO_QUEUES_MAX || size > VRING_SIZE_MAX);
	*v = (struct virtio){
		.ops = ops, .dev = dev, .dma = dma, .offered = offered | RING_FEATURES, .nqueues = nqueues};
	for (unsigned i = 0; i < nqueues; i++)
		v->queue[i].size_max = (uint16_t)size;
	virtio_reset(v);
}

void virtio_reset(struct virtio *v)
{
	if (v->started)
		v->ops->stop(v->dev);
	v->started = v->legacy = false;
	v->status = 0;
	v->features = 0;
	atomic_store(&v->needs_reset, false);
	for (unsigned i = 0; i < v->nqueues; i++) {
		struct virtio_queue *q = &v->queue[i];

		q->size = q->size_max;
		q->enabled = false;
		q->desc = q->driver = q->device = 0;
		atomic_store(&q->vector, VIRTIO_NO_VECTOR);
		q->ring = (struct vring){.broken = true};
	}
}

static void start(struct virtio *v)
{
	for (unsigned i = 0; i < v->nqueues; i++) {
		struct virtio_queue *q = &v->queue[i];
		const struct vring_config cfg = {.size = q->size,
						 .desc = q->desc,
						 .driver = q->driver,
						 .device = q->device,
						 .features = v->features};

		if (q->enabled && !vring_init(&q->ring, v->dma, v->legacy ? NULL : v->master, &cfg)) {
			virtio_fail(v);
			return;
		}
	}
	v->started = true;
	v->ops->start(v->dev);
}

uint8_t virtio_status(const struct virtio *v)
{
	return v->status | (atomic_load(&v->needs_reset) ? VIRTIO_NEEDS_RESET : 0);
}

void virtio_set_status(struct virtio *v, uint8_t status)
{
	uint8_t risen = status & (uint8_t)~v->status;

	if (status == 0) {
		virtio_reset(v);
		return;
	}
	if (v->legacy) { /* it runs by the old rules, until it is reset */
		virtio_legacy_status(v, status);
		return;
	}
	if ((risen & VIRTIO_FEATURES_OK) && ((v->features & ~v->offered) || !(v->features & VIRTIO_F_VERSION_1)))
		risen &= (uint8_t)~VIRTIO_FEATURES_OK; /* the driver reads it back and sees that it may not (3.1.1) */
	if (!((v->status | risen) & VIRTIO_FEATURES_OK))
		risen &= (uint8_t)~VIRTIO_DRIVER_OK;
	v->status |= risen & (uint8_t)~VIRTIO_NEEDS_RESET;
	if ((risen & VIRTIO_DRIVER_OK) && !atomic_load(&v->needs_reset))
		start(v);
}

/* ---- the rules from before virtio 1.0 ---- */

void virtio_legacy_features(struct virtio *v, uint32_t features)
{
	if (!v->started && !(v->status & VIRTIO_FEATURES_OK))
		v->features = features & (uint32_t)v->offered;
}

void virtio_legacy_start(struct virtio *v)
{
	if (v->started || !(v->status & VIRTIO_DRIVER) || (v->status & VIRTIO_FEATURES_OK) ||
	    atomic_load(&v->needs_reset))
		return;
	v->legacy = true;
	v->features &= (uint32_t)v->offered; /* no FEATURES_OK has checked what the modern register was given */
	start(v);
}

void virtio_legacy_status(struct virtio *v, uint8_t status)
{
	uint8_t risen = status & (uint8_t)~v->status;

	if (status == 0) {
		virtio_reset(v);
		return;
	}
	v->status |= risen & (uint8_t) ~(VIRTIO_NEEDS_RESET | VIRTIO_FEATURES_OK);
	if (risen & VIRTIO_DRIVER_OK)
		virtio_legacy_start(v);
}

void virtio_notify(struct virtio *v, unsigned q)
{
	if (v->started && q < v->nqueues)
		v->ops->notify(v->dev, q);
}

void virtio_signal(struct virtio *v, unsigned q)
{
	if (vring_should_signal(&v->queue[q].ring) && v->signal)
		v->signal(v, q);
}

void virtio_config_changed(struct virtio *v)
{
	atomic_fetch_add(&v->generation, 1);
	if (v->signal_config)
		v->signal_config(v);
}

void virtio_fail(struct virtio *v)
{
	if (!atomic_exchange(&v->needs_reset, true) && v->signal_config)
		v->signal_config(v);
}

void virtio_config_copy(const void *config, unsigned bytes, unsigned off, uint8_t *buf, unsigned len)
{
	memset(buf, 0, len);
	if (off < bytes)
		memcpy(buf, (const uint8_t *)config + off, len < bytes - off ? len : bytes - off);
}
