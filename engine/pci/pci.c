// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Configuration space: bytes with three masks - what can be written, what a 1 clears, what a reset restores. BARs size
 * themselves by their write mask (PCI 3.0 6.2.5.1). What decodes and who interrupts follows from the bytes after each
 * write: engine/pci/pci_decode.c, engine/pci/pci_irq.c.
 */
#include "engine/pci/pci.h"

#include <stdlib.h>
#include <string.h>

#include "engine/pci/pci_int.h"

#define CAP_FIRST 0x40u
#define CAP_EXPRESS 0x10u
#define STATUS_CAPABILITIES 0x10u
#define STATUS_ERRORS 0xf900u /* the error bits that software clears */
#define HEADER_BYTES 0x40u
#define CONFIG_OLD_BYTES 256u
#define EXP_DEVICE_CAP 4u
#define EXP_DEVICE_CONTROL 8u
#define EXP_CAP_FLR (1u << 28)
#define EXP_CAP_ROLE_ERRORS (1u << 15)
#define EXP_CONTROL_FLR 0x8000u

/* ---- bytes ---- */

void pci_set16(struct pci_function *f, unsigned off, uint16_t val)
{
	memcpy(f->config + off, &val, sizeof(val));
}

void pci_set32(struct pci_function *f, unsigned off, uint32_t val)
{
	memcpy(f->config + off, &val, sizeof(val));
}

uint16_t pci_get16(const struct pci_function *f, unsigned off)
{
	uint16_t val;

	memcpy(&val, f->config + off, sizeof(val));
	return val;
}

uint32_t pci_get32(const struct pci_function *f, unsigned off)
{
	uint32_t val;

	memcpy(&val, f->config + off, sizeof(val));
	return val;
}

static void writable16(struct pci_function *f, unsigned off, uint16_t mask)
{
	memcpy(f->writable + off, &mask, sizeof(mask));
}

/* ---- making a function ---- */

struct pci_function *pci_function_new(const struct pci_ops *ops, void *dev, uint16_t vendor, uint16_t device,
				      uint32_t class)
{
	struct pci_function *f = calloc(1, sizeof(*f));
	uint16_t errors = STATUS_ERRORS;

	if (!f)
		return NULL;
	f->ops = ops;
	f->dev = dev;
	f->config_bytes = CONFIG_OLD_BYTES;
	f->cap_end = CAP_FIRST;
	pthread_mutex_init(&f->msix_lock, NULL);
	pci_set16(f, PCI_VENDOR, vendor);
	pci_set16(f, PCI_DEVICE, device);
	for (unsigned i = 0; i < 3; i++)
		f->config[PCI_CLASS + i] = (uint8_t)(class >> 8 * i);
	writable16(f, PCI_COMMAND, PCI_CMD_MASTER | PCI_CMD_INTX_OFF);
	memcpy(f->clear + PCI_STATUS, &errors, sizeof(errors));
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
	f->writable[0x0c] = 0xff; /* cache line size: a scratch register (PCI Express 3.1 7.5.1.3) */
	return f;
}

void pci_function_free(struct pci_function *f)
{
	if (!f)
		return;
	if (f->ops->free)
		f->ops->free(f);
	pthread_mutex_destroy(&f->msix_lock);
	free(f);
}

void pci_bar(struct pci_function *f, unsigned n, enum pci_bar_kind kind, uint64_t bytes, const struct io_ops *ops,
	     void *dev)
{
	bool wide = kind == PCI_BAR_MEM64;
	uint64_t mask = ~(bytes - 1);
	uint32_t low, high;

	BUG_ON(n + wide >= PCI_BARS || f->bar[n].kind || (bytes & (bytes - 1)) ||
	       bytes < (kind == PCI_BAR_IO ? 4 : 16));
	f->bar[n] = (struct pci_bar){.kind = kind, .bytes = bytes, .ops = ops, .dev = dev};
	low = (uint32_t)mask;
	high = (uint32_t)(mask >> 32);
	memcpy(f->writable + PCI_BAR(n), &low, sizeof(low));
	f->config[PCI_BAR(n)] = kind == PCI_BAR_IO ? 1 : wide ? 4 : 0;
	if (wide)
		memcpy(f->writable + PCI_BAR(n + 1), &high, sizeof(high));
	f->writable[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEMORY;
}

void pci_doorbell(struct pci_function *f, unsigned n, uint32_t off, int fd)
{
	BUG_ON(f->ndoorbells == PCI_DOORBELLS);
	f->doorbell[f->ndoorbells++] = (struct pci_doorbell){n, off, fd};
}

unsigned pci_capability(struct pci_function *f, uint8_t id, unsigned bytes)
{
	unsigned at = f->cap_end;

	BUG_ON(at + bytes > CONFIG_OLD_BYTES);
	f->config[at] = id;
	f->config[f->cap_last ? f->cap_last + 1 : PCI_CAPABILITIES] = (uint8_t)at;
	f->config[PCI_STATUS] |= STATUS_CAPABILITIES;
	f->cap_last = at;
	f->cap_end = (at + bytes + 3) & ~3u;
	return at;
}

void pci_wants_intx(struct pci_function *f)
{
	f->config[PCI_INTERRUPT_PIN] = 1;
}

void pci_express(struct pci_function *f)
{
	unsigned at = pci_capability(f, CAP_EXPRESS, 60);

	f->express = at;
	f->config_bytes = PCI_CONFIG_BYTES;
	pci_set16(f, at + 2, 2 | 9 << 4); /* version 2, root complex integrated endpoint */
	pci_set32(f, at + EXP_DEVICE_CAP, EXP_CAP_FLR | EXP_CAP_ROLE_ERRORS);
	writable16(f, at + EXP_DEVICE_CONTROL, 0x7fff);
}

/* ---- the bus ---- */

void pci_bus_init(struct pci_bus *b, const struct pci_bus_config *cfg)
{
	*b = (struct pci_bus){.cfg = *cfg};
}

void pci_bus_fini(struct pci_bus *b)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		pci_function_free(b->slot[i]);
	*b = (struct pci_bus){0};
}

enum status pci_add(struct pci_bus *b, struct pci_function *f, int slot, struct error *e)
{
	for (unsigned i = 1; slot < 0 && i < PCI_SLOTS; i++)
		if (!b->slot[i])
			slot = (int)i;
	if (slot < 0 || b->slot[slot])
		return error_set(e, ST_TOO_BIG, "no PCI slot is free for one more device: give at most %u",
				 PCI_SLOTS - 1);
	f->bus = b;
	f->slot = (unsigned)slot;
	memcpy(f->initial, f->config, sizeof(f->initial));
	b->slot[slot] = f;
	return ST_OK;
}

static void function_reset(struct pci_function *f)
{
	pci_intx(f, false);
	atomic_store(&f->master, false);
	if (f->ops->reset)
		f->ops->reset(f);
	/* The masks of what writes may touch say what a reset has to restore, and the function's own registers lie there too. */
	memcpy(f->config, f->initial, sizeof(f->config));
	pci_msix_reset(f);
	pci_intx(f, false); /* a worker may have raised it before it stopped */
}

void pci_reset(struct pci_bus *b)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		if (b->slot[i])
			function_reset(b->slot[i]);
	pci_decode_update(b);
}

/* ---- configuration cycles ---- */

static struct pci_function *find(struct pci_bus *b, unsigned bus, unsigned devfn, unsigned off, unsigned size)
{
	struct pci_function *f = bus == 0 && (devfn & 7) == 0 && devfn < 8 * PCI_SLOTS ? b->slot[devfn >> 3] : NULL;

	return f && off + size <= f->config_bytes ? f : NULL;
}

uint32_t pci_config_read(struct pci_bus *b, unsigned bus, unsigned devfn, unsigned off, unsigned size)
{
	struct pci_function *f = find(b, bus, devfn, off, size);
	uint32_t val = 0;

	if (!f) {
		/* Registers past the end of an old function's space read as zero (PCI Express 3.1 7.2.1 leaves it open). */
		return off < CONFIG_OLD_BYTES || !find(b, bus, devfn, 0, 4) ? ~0u : 0;
	}
	if (f->ops->config_reading)
		f->ops->config_reading(f, off, size);
	memcpy(&val, f->config + off, size);
	if (off + size > PCI_STATUS && off <= PCI_STATUS && atomic_load(&f->intx))
		val |= 0x08u << 8 * (PCI_STATUS - off); /* interrupt status */
	return val;
}

static bool touches(unsigned off, unsigned size, unsigned reg, unsigned reg_size)
{
	return off < reg + reg_size && reg < off + size;
}

void pci_config_write(struct pci_bus *b, unsigned bus, unsigned devfn, unsigned off, unsigned size, uint32_t val)
{
	struct pci_function *f = find(b, bus, devfn, off, size);

	if (!f)
		return;
	if (f->express && touches(off, size, f->express + EXP_DEVICE_CONTROL + 1, 1) &&
	    (val >> 8 * (f->express + EXP_DEVICE_CONTROL + 1 - off) & EXP_CONTROL_FLR >> 8)) {
		function_reset(f);
		pci_decode_update(b);
		return;
	}
	for (unsigned i = 0; i < size; i++) {
		uint8_t v = (uint8_t)(val >> 8 * i), *c = &f->config[off + i];

		*c = (uint8_t)((*c & ~f->writable[off + i]) | (v & f->writable[off + i]));
		*c &= (uint8_t) ~(v & f->clear[off + i]);
	}
	if (touches(off, size, PCI_COMMAND, 2)) {
		atomic_store(&f->master, pci_get16(f, PCI_COMMAND) & PCI_CMD_MASTER);
		pci_intx_update(b);
	}
	if (touches(off, size, PCI_COMMAND, 2) || touches(off, size, PCI_BAR(0), 4 * PCI_BARS))
		pci_decode_update(b);
	if (f->msix_cap && touches(off, size, f->msix_cap, 4))
		pci_msix_control(f);
	if (f->ops->config_written)
		f->ops->config_written(f, off, size);
}
