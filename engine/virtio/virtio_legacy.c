// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The interface of drivers from before virtio 1.0 (virtio 1.2, 4.1.4.10 and the "Legacy Interface" sections), which a
 * transitional device has beside the modern one: registers in ports, 32 feature bits, rings in one piece at a page.
 *
 *     0 device features  4 driver features  8 queue's page  12 queue size  14 queue select  16 notify  18 status  19 ISR
 *     20 and 22, while MSI-X is on: vectors of configuration and queue      then the device's configuration
 *
 * Drivers of that time differ from the rules of today: they use queues before they say DRIVER_OK (Linux before 3.19 reads a
 * disk's partition table so), never say FEATURES_OK, and some forget to let the device access memory. So the first
 * notification starts the device, and the command register's bit does not count.
 */
#include <string.h>

#include "engine/virtio/virtio_pci_int.h"

#define BAR_LEGACY 0u
#define BAR_BYTES 128u
#define RING_PAGE 4096u
#define DESC_BYTES 16u
#define F_ANY_LAYOUT (1u << 27) /* none of our devices minds how a request is cut into descriptors */

enum reg {
	REG_OFFERED = 0,
	REG_DRIVER = 4,
	REG_PAGE = 8,
	REG_SIZE = 12,
	REG_SELECT = 14,
	REG_NOTIFY = 16,
	REG_STATUS = 18,
	REG_ISR = 19,
	REG_CONFIG_VECTOR = 20,
	REG_QUEUE_VECTOR = 22,
	REG_END = 24,
};

/* Where the device's own configuration begins */
static unsigned config_at(const struct virtio_pci *p)
{
	return pci_msix_enabled(p->f) ? REG_END : REG_CONFIG_VECTOR;
}

static uint64_t legacy_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *p = dev;
	struct virtio_queue *q = virtio_pci_selected(p);
	struct __attribute__((packed)) {
		uint32_t offered, driver, page;
		uint16_t size, select, notify;
		uint8_t status, isr;
		uint16_t config_vector, queue_vector;
		uint8_t more[8];
	} image = {
		.offered = (uint32_t)p->v->offered | F_ANY_LAYOUT,
		.driver = (uint32_t)p->v->features,
		.page = q && q->enabled ? (uint32_t)(q->desc / RING_PAGE) : 0,
		.size = q ? q->size_max : 0,
		.select = p->queue_select,
		.status = virtio_status(p->v),
		.config_vector = atomic_load(&p->config_vector),
		.queue_vector = q ? atomic_load(&q->vector) : VIRTIO_NO_VECTOR,
	};
	uint64_t val = 0;

	_Static_assert(offsetof(typeof(image), more) == REG_END, "the registers as the driver sees them");
	if (off >= config_at(p)) {
		if (p->v->ops->config_read)
			p->v->ops->config_read(p->v->dev, (unsigned)off - config_at(p), (uint8_t *)&val, size);
		return val;
	}
	if (off <= REG_ISR && off + size > REG_ISR)
		image.isr = virtio_pci_isr(p);
	memcpy(&val, (const uint8_t *)&image + off, size);
	return val;
}

/* One piece: descriptors, available ring, and at the next page the used ring (2.7.2). Zero: the queue is not used. */
static void set_page(struct virtio_pci *p, uint32_t page)
{
	struct virtio_queue *q = virtio_pci_selected(p);

	if (!q || p->v->started)
		return;
	q->size = q->size_max;
	q->desc = (uint64_t)page * RING_PAGE;
	q->driver = q->desc + DESC_BYTES * q->size;
	q->device = (q->driver + 6 + 2u * q->size + RING_PAGE - 1) / RING_PAGE * RING_PAGE;
	q->enabled = page;
}

static void set_vector(struct virtio_pci *p, _Atomic uint16_t *vector, uint64_t val)
{
	if (vector && pci_msix_enabled(p->f))
		atomic_store(vector, virtio_pci_vector(p, (uint16_t)val));
}

static void write_reg(struct virtio_pci *p, uint64_t off, uint64_t val)
{
	struct virtio_queue *q = virtio_pci_selected(p);

	switch (off) {
	case REG_DRIVER:
		virtio_legacy_features(p->v, (uint32_t)val & ~F_ANY_LAYOUT);
		break;
	case REG_PAGE:
		set_page(p, (uint32_t)val);
		break;
	case REG_SELECT:
		p->queue_select = (uint16_t)val;
		break;
	case REG_NOTIFY:
		virtio_legacy_start(p->v);
		virtio_notify(p->v, (uint16_t)val);
		break;
	case REG_STATUS:
		virtio_legacy_status(p->v, (uint8_t)val);
		if (!(uint8_t)val)
			virtio_pci_quiet(p);
		break;
	case REG_CONFIG_VECTOR:
		set_vector(p, &p->config_vector, val);
		break;
	case REG_QUEUE_VECTOR:
		set_vector(p, q ? &q->vector : NULL, val);
		break;
	}
}

static void legacy_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct virtio_pci *p = dev;

	if (off < config_at(p))
		write_reg(p, off, val);
	else if (p->v->ops->config_write)
		p->v->ops->config_write(p->v->dev, (unsigned)off - config_at(p), (const uint8_t *)&val, size);
}

static const struct io_ops legacy_ops = {"virtio legacy", legacy_read, legacy_write};

void virtio_legacy_bar(struct virtio_pci *p)
{
	pci_bar(p->f, BAR_LEGACY, PCI_BAR_IO, BAR_BYTES, &legacy_ops, p);
}
