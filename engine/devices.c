// SPDX-License-Identifier: GPL-2.0-or-later
/* From a device's configuration to a function on the bus: a row for each kind. */
#include "engine/devices.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "engine/ahci/ahci.h"
#include "engine/nvme/nvme.h"
#include "engine/pci/pci.h"
#include "engine/virtio/virtio_balloon.h"
#include "engine/virtio/virtio_blk.h"
#include "engine/virtio/virtio_net.h"
#include "engine/virtio/virtio_rng.h"

#define DISK_QUEUES_MAX 4u
#define NVME_QUEUES_LEAST 2u /* OVMF's driver has two and takes no controller with less */

struct making {
	const struct dma *dma;
	const struct devices_env *env;
	unsigned index; /* of the device among its kind */
};

static enum status on_pci(struct virtio *v, const struct device_config *d, struct pci_function **f, struct error *e)
{
	if (!v)
		return e ? e->status : ST_NO_MEMORY;
	*f = virtio_pci_new(v, d->transitional);
	if (*f)
		return ST_OK;
	v->ops->free(v->dev);
	return error_set(e, ST_NO_MEMORY, "no memory for a PCI device");
}

static enum status open_image(const struct making *m, const struct device_config *d, struct blk_image **img,
			      struct error *e)
{
	struct blk_config cfg = d->disk.image;

	cfg.ram = m->dma->mem;
	cfg.tell = m->env->disk_tell;
	return blk_image_open(&cfg, img, e);
}

static enum status make_disk(const struct making *m, const struct device_config *d, struct pci_function **f,
			     struct error *e)
{
	unsigned queues = m->env->ncpus < DISK_QUEUES_MAX ? m->env->ncpus : DISK_QUEUES_MAX;
	const char *serial = d->disk.serial;
	struct virtio_blk_config blk = {.queues = d->disk.queues ? d->disk.queues : queues};
	struct nvme_config nvme = {.index = m->index, .queues = blk.queues};
	enum status st = open_image(m, d, &blk.image, e);
	char made[32];

	if (st != ST_OK)
		return st;
	snprintf(made, sizeof(made), "steelyard-%u", m->index);
	blk.serial = nvme.serial = serial ? serial : made;
	nvme.image = blk.image;
	if (!d->disk.queues && nvme.queues < NVME_QUEUES_LEAST)
		nvme.queues = NVME_QUEUES_LEAST;
	if (d->disk.bus == DISK_VIRTIO)
		return on_pci(virtio_blk_new(&blk, m->dma, e), d, f, e);
	*f = nvme_new(&nvme, m->dma, e);
	return *f ? ST_OK : e ? e->status : ST_NO_MEMORY;
}

/* User networks are worlds of their own, where every machine may have the same address; wires are shared. */
static void choose_mac(uint8_t mac[6], const struct net_config *n, unsigned index)
{
	static const uint8_t first[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

	memcpy(mac, first, sizeof(first));
	mac[5] = (uint8_t)(mac[5] + index);
	if (n->kind != NET_USER && getrandom(mac + 3, 3, 0) != 3)
		mac[4] = (uint8_t)index;
	if (n->mac_given)
		memcpy(mac, n->mac, sizeof(n->mac));
}

static enum status make_net(const struct making *m, const struct device_config *d, struct pci_function **f,
			    struct error *e)
{
	struct net *n = NULL;
	uint8_t mac[6];
	enum status st = net_open(&d->net, &n, e);

	choose_mac(mac, &d->net, m->index);
	return st == ST_OK ? on_pci(virtio_net_new(n, mac, m->dma, e), d, f, e) : st;
}

static enum status make_cdrom(const struct making *m, const struct device_config *d, struct pci_function **f,
			      struct error *e)
{
	struct blk_image *img = NULL;
	enum status st = open_image(m, d, &img, e);

	if (st != ST_OK)
		return st;
	*f = ahci_new(img, m->dma, e);
	return *f ? ST_OK : ST_NO_MEMORY;
}

static enum status make_rng(const struct making *m, const struct device_config *d, struct pci_function **f,
			    struct error *e)
{
	return on_pci(virtio_rng_new(m->dma, e), d, f, e);
}

static enum status make_balloon(const struct making *m, const struct device_config *d, struct pci_function **f,
				struct error *e)
{
	return on_pci(virtio_balloon_new(m->dma, e), d, f, e);
}

static enum status make_console(const struct making *m, const struct device_config *d, struct pci_function **f,
				struct error *e)
{
	return on_pci(virtio_console_new(d->console.port, d->console.nports, m->dma, e), d, f, e);
}

static enum status make_vsock(const struct making *m, const struct device_config *d, struct pci_function **f,
			      struct error *e)
{
	return on_pci(virtio_vsock_new(&d->vsock, m->dma, e), d, f, e);
}

static enum status (*const make[DEVICE_KINDS])(const struct making *m, const struct device_config *d,
					       struct pci_function **f, struct error *e) = {
	[DEVICE_DISK] = make_disk,       [DEVICE_CDROM] = make_cdrom,
	[DEVICE_NET] = make_net,         [DEVICE_RNG] = make_rng,
	[DEVICE_BALLOON] = make_balloon, [DEVICE_CONSOLE] = make_console,
	[DEVICE_VSOCK] = make_vsock,
};

enum status devices_add(struct pci_bus *bus, const struct devices_env *env, const struct device_config *list,
			unsigned n, struct error *e)
{
	unsigned seen[DEVICE_KINDS] = {0};

	for (unsigned i = 0; i < n; i++) {
		const struct making m = {.dma = env->dma, .env = env, .index = seen[list[i].kind]++};
		struct pci_function *f = NULL;
		enum status st = make[list[i].kind](&m, &list[i], &f, e);

		if (st != ST_OK)
			return st;
		st = pci_add(bus, f, -1, e);
		if (st != ST_OK) {
			pci_function_free(f);
			return st;
		}
	}
	return ST_OK;
}
