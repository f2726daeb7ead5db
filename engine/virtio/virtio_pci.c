// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtio over PCI (virtio 1.2, 4.1). A transitional device has the interface of old drivers too, in a BAR of ports:
 * engine/virtio/virtio_legacy.c; what follows is the modern one. One BAR holds the four structures a page apart:
 *
 *     0000 common configuration   1000 ISR status   2000 device configuration   3000 notification, 4 bytes for a queue
 *
 * A fifth capability reaches the same registers through configuration space (4.1.4.9). The common structure is a table of
 * fields: a read makes an image of it and takes the bytes, a write changes the bytes of an image and hands each field that
 * was touched to its function.
 *
 * Interrupts: MSI-X while the guest has it on; else ISR bits and INTA, which a worker can raise without the device lock.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/virtio/virtio_pci_int.h"

#define VENDOR_VIRTIO 0x1af4u
#define DEVICE_MODERN 0x1040u
#define SUBSYSTEM_BASE 0x1100u
#define CAP_VENDOR 9u
#define BAR_MSIX 1u
#define BAR_REGS 4u
#define REGS_BYTES 16384u
#define PAGE 4096u
#define NOTIFY_BYTES 4u
#define ISR_QUEUE 1u
#define ISR_CONFIG 2u

enum cap_type { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };
#define CAP_BYTES 16u

/* 4.1.4.3 */
struct common {
	uint32_t offered_select, offered, driver_select, driver;
	uint16_t config_vector, num_queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, notify_off;
	uint64_t queue_desc, queue_driver, queue_device;
};
_Static_assert(sizeof(struct common) == 56, "the structure as the driver sees it");

struct virtio_queue *virtio_pci_selected(struct virtio_pci *p)
{
	return p->queue_select < p->v->nqueues ? &p->v->queue[p->queue_select] : NULL;
}

static void image(struct virtio_pci *p, struct common *c)
{
	struct virtio *v = p->v;
	struct virtio_queue *q = virtio_pci_selected(p);

	*c = (struct common){
		.offered_select = p->offered_select,
		.offered = p->offered_select < 2 ? (uint32_t)(v->offered >> 32 * p->offered_select) : 0,
		.driver_select = p->driver_select,
		.driver = p->driver_select < 2 ? (uint32_t)(v->features >> 32 * p->driver_select) : 0,
		.config_vector = atomic_load(&p->config_vector),
		.num_queues = (uint16_t)v->nqueues,
		.status = virtio_status(v),
		.generation = atomic_load(&v->generation),
		.queue_select = p->queue_select,
	};
	if (!q)
		return;
	c->queue_size = q->size;
	c->queue_vector = atomic_load(&q->vector);
	c->queue_enable = q->enabled;
	c->notify_off = p->queue_select;
	c->queue_desc = q->desc;
	c->queue_driver = q->driver;
	c->queue_device = q->device;
}

/* ---- fields that can be written ---- */

uint16_t virtio_pci_vector(const struct virtio_pci *p, uint16_t n)
{
	return n < p->f->msix_n ? n : VIRTIO_NO_VECTOR;
}

static void set_selects(struct virtio_pci *p, const struct common *c)
{
	p->offered_select = c->offered_select;
	p->driver_select = c->driver_select;
	p->queue_select = c->queue_select;
}

static void set_driver(struct virtio_pci *p, const struct common *c)
{
	unsigned shift = 32 * p->driver_select;

	if (p->driver_select < 2 && !(p->v->status & VIRTIO_FEATURES_OK) && !p->v->started)
		p->v->features = (p->v->features & ~(0xffffffffull << shift)) | (uint64_t)c->driver << shift;
}

static void set_config_vector(struct virtio_pci *p, const struct common *c)
{
	atomic_store(&p->config_vector, virtio_pci_vector(p, c->config_vector));
}

void virtio_pci_quiet(struct virtio_pci *p)
{
	atomic_store(&p->config_vector, VIRTIO_NO_VECTOR);
	atomic_store(&p->isr, 0);
	pci_intx(p->f, false);
}

static void set_status(struct virtio_pci *p, const struct common *c)
{
	virtio_set_status(p->v, c->status);
	if (!c->status)
		virtio_pci_quiet(p);
}

static void set_queue_vector(struct virtio_pci *p, const struct common *c)
{
	if (virtio_pci_selected(p))
		atomic_store(&virtio_pci_selected(p)->vector, virtio_pci_vector(p, c->queue_vector));
}

/* A queue is set up before the device starts, and before it is enabled (4.1.4.3.2). */
static void set_queue(struct virtio_pci *p, const struct common *c)
{
	struct virtio_queue *q = virtio_pci_selected(p);

	if (!q || q->enabled || p->v->started)
		return;
	if (c->queue_size <= q->size_max)
		q->size = c->queue_size;
	q->desc = c->queue_desc;
	q->driver = c->queue_driver;
	q->device = c->queue_device;
	q->enabled = c->queue_enable == 1;
}

#define FIELD(name) offsetof(struct common, name), sizeof(((struct common *)0)->name)
static const struct field {
	size_t off, bytes;
	void (*set)(struct virtio_pci *p, const struct common *c);
} fields[] = {
	{FIELD(offered_select), set_selects}, {FIELD(driver_select), set_selects},
	{FIELD(driver), set_driver},          {FIELD(config_vector), set_config_vector},
	{FIELD(status), set_status},          {FIELD(queue_select), set_selects},
	{FIELD(queue_size), set_queue},       {FIELD(queue_vector), set_queue_vector},
	{FIELD(queue_enable), set_queue},     {FIELD(queue_desc), set_queue},
	{FIELD(queue_driver), set_queue},     {FIELD(queue_device), set_queue},
};

static void common_write(struct virtio_pci *p, unsigned off, unsigned size, uint64_t val)
{
	struct common c;

	if (off + size > sizeof(c))
		return;
	image(p, &c);
	memcpy((uint8_t *)&c + off, &val, size);
	for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
		if (off < fields[i].off + fields[i].bytes && fields[i].off < off + size)
			fields[i].set(p, &c);
}

/* ---- the BAR ---- */

uint8_t virtio_pci_isr(struct virtio_pci *p)
{
	pci_intx(p->f, false); /* first: what a worker adds from here on raises it again */
	return atomic_exchange(&p->isr, 0);
}

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *p = dev;
	struct common c;
	uint64_t val = 0;

	switch (off / PAGE) {
	case 0:
		image(p, &c);
		virtio_config_copy(&c, sizeof(c), (unsigned)off, (uint8_t *)&val, size);
		break;
	case 1:
		return off == PAGE ? virtio_pci_isr(p) : 0;
	case 2:
		if (p->v->ops->config_read)
			p->v->ops->config_read(p->v->dev, (unsigned)off - 2 * PAGE, (uint8_t *)&val, size);
		break;
	}
	return val;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct virtio_pci *p = dev;

	switch (off / PAGE) {
	case 0:
		common_write(p, (unsigned)off, size, val);
		break;
	case 2:
		if (p->v->ops->config_write)
			p->v->ops->config_write(p->v->dev, (unsigned)off - 2 * PAGE, (const uint8_t *)&val, size);
		break;
	case 3:
		virtio_notify(p->v, (unsigned)(off - 3 * PAGE) / NOTIFY_BYTES);
		break;
	}
}

static const struct io_ops regs_ops = {"virtio", regs_read, regs_write};

/* ---- interrupts: any thread ---- */

static void interrupt(struct virtio_pci *p, uint8_t isr, uint16_t vec)
{
	if (pci_msix_enabled(p->f)) {
		if (vec != VIRTIO_NO_VECTOR)
			pci_msix_raise(p->f, vec);
		return;
	}
	atomic_fetch_or(&p->isr, isr);
	pci_intx_later(p->f, true);
}

static void signal_queue(struct virtio *v, unsigned q)
{
	interrupt(v->transport, ISR_QUEUE, atomic_load_explicit(&v->queue[q].vector, memory_order_relaxed));
}

static void signal_config(struct virtio *v)
{
	struct virtio_pci *p = v->transport;

	interrupt(p, ISR_CONFIG, atomic_load(&p->config_vector));
}

/* ---- the window in configuration space ---- */

/* BAR, offset and length as the driver has set them; false: not one of ours. */
static bool window(const struct virtio_pci *p, uint32_t *off, uint32_t *len)
{
	*off = pci_get32(p->f, p->window + 8);
	*len = pci_get32(p->f, p->window + 12);
	return p->f->config[p->window + 4] == BAR_REGS && (*len == 1 || *len == 2 || *len == 4) && *off % *len == 0 &&
	       *off < REGS_BYTES;
}

static bool touches_data(const struct virtio_pci *p, unsigned off, unsigned size)
{
	return off < p->window + CAP_BYTES + 4 && off + size > p->window + CAP_BYTES;
}

static void config_reading(struct pci_function *f, unsigned off, unsigned size)
{
	struct virtio_pci *p = f->dev;
	uint32_t at, len;

	if (touches_data(p, off, size) && window(p, &at, &len))
		pci_set32(f, p->window + CAP_BYTES, (uint32_t)regs_read(p, at, len));
}

static void config_written(struct pci_function *f, unsigned off, unsigned size)
{
	struct virtio_pci *p = f->dev;
	uint32_t at, len;

	if (touches_data(p, off, size) && window(p, &at, &len))
		regs_write(p, at, len, pci_get32(f, p->window + CAP_BYTES) & (len == 4 ? ~0u : (1u << 8 * len) - 1));
	/* Notifications that came while the device might not access memory have found nothing. */
	if (off <= PCI_COMMAND && off + size > PCI_COMMAND && atomic_load(&f->master))
		for (unsigned q = 0; q < p->v->nqueues; q++)
			virtio_notify(p->v, q);
}

/* ---- life ---- */

static void reset(struct pci_function *f)
{
	struct virtio_pci *p = f->dev;

	virtio_reset(p->v);
	p->offered_select = p->driver_select = 0;
	p->queue_select = 0;
	atomic_store(&p->config_vector, VIRTIO_NO_VECTOR);
	atomic_store(&p->isr, 0);
}

static void free_function(struct pci_function *f)
{
	struct virtio_pci *p = f->dev;

	virtio_reset(p->v);
	p->v->ops->free(p->v->dev);
	free(p);
}

static const struct pci_ops pci_ops = {
	.config_written = config_written, .config_reading = config_reading, .reset = reset, .free = free_function};

static unsigned add_cap(struct pci_function *f, enum cap_type type, uint32_t off, uint32_t bytes, unsigned more)
{
	unsigned at = pci_capability(f, CAP_VENDOR, CAP_BYTES + more);

	f->config[at + 2] = (uint8_t)(CAP_BYTES + more);
	f->config[at + 3] = (uint8_t)type;
	f->config[at + 4] = BAR_REGS;
	pci_set32(f, at + 8, off);
	pci_set32(f, at + 12, bytes);
	return at;
}

struct pci_function *virtio_pci_new(struct virtio *v, bool transitional)
{
	struct virtio_pci *p = calloc(1, sizeof(*p));
	bool old = transitional && v->ops->old_device;
	uint16_t device = old ? v->ops->old_device : (uint16_t)(DEVICE_MODERN + v->ops->id);
	struct pci_function *f = p ? pci_function_new(&pci_ops, p, VENDOR_VIRTIO, device, v->ops->class) : NULL;
	unsigned at;

	if (!f) {
		free(p);
		return NULL;
	}
	p->v = v;
	p->f = f;
	v->transport = p;
	v->signal = signal_queue;
	v->signal_config = signal_config;
	v->master = &f->master;
	atomic_store(&p->config_vector, VIRTIO_NO_VECTOR);
	f->config[PCI_REVISION] = old ? 0 : 1;
	pci_set16(f, PCI_SUBSYSTEM_VENDOR, VENDOR_VIRTIO);
	pci_set16(f, PCI_SUBSYSTEM, (uint16_t)((old ? 0 : SUBSYSTEM_BASE) + v->ops->id)); /* old drivers go by it */
	if (old)
		virtio_legacy_bar(p);
	pci_wants_intx(f);
	pci_bar(f, BAR_REGS, PCI_BAR_MEM64, REGS_BYTES, &regs_ops, p);
	_Static_assert(VIRTIO_QUEUES_MAX <= PCI_DOORBELLS, "a doorbell for each queue");
	for (unsigned q = 0; q < v->nqueues && v->ops->doorbell; q++)
		pci_doorbell(f, BAR_REGS, 3 * PAGE + q * NOTIFY_BYTES, v->ops->doorbell(v->dev, q));
	pci_msix(f, BAR_MSIX, v->nqueues + 1);
	add_cap(f, CAP_COMMON, 0, sizeof(struct common), 0);
	add_cap(f, CAP_ISR, PAGE, 1, 0);
	add_cap(f, CAP_DEVICE, 2 * PAGE, PAGE, 0);
	at = add_cap(f, CAP_NOTIFY, 3 * PAGE, v->nqueues * NOTIFY_BYTES, 4);
	pci_set32(f, at + CAP_BYTES, NOTIFY_BYTES);
	p->window = add_cap(f, CAP_PCI, 0, 0, 4);
	f->config[p->window + 4] = 0;
	f->writable[p->window + 4] = 0xff;
	memset(f->writable + p->window + 8, 0xff, CAP_BYTES - 8 + 4);
	pci_express(f);
	return f;
}
