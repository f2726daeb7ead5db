// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory controller hub of Intel's Q35 (3 series chipset datasheet, 5.1), as far as software looks for it: the
 * identifiers, by which firmware knows how to find ECAM, and the register PCIEXBAR. What the PAM registers of the real
 * one would hide is always visible here.
 */
#include "engine/pci/pci_host.h"
#include "engine/pci/pci_int.h"

#include <string.h>

#define VENDOR_INTEL 0x8086u
#define DEVICE_Q35_MCH 0x29c0u
#define CLASS_HOST_BRIDGE 0x060000u
#define PCIEXBAR 0x60u
#define PCIEXBAR_ENABLE 1u
#define PCIEXBAR_LENGTH 6u /* 256, 128 or 64 MiB */
#define ECAM_BYTES (256ull << 20)

static void ecam_update(struct pci_bus *b)
{
	const struct pci_function *f = b->slot[0];
	uint64_t reg = pci_get32(f, PCIEXBAR) | (uint64_t)pci_get32(f, PCIEXBAR + 4) << 32;
	unsigned length = (unsigned)(reg & PCIEXBAR_LENGTH) >> 1;

	b->ecam_bytes = ECAM_BYTES >> (length < 3 ? length : 0);
	b->ecam_base = reg & PCIEXBAR_ENABLE ? reg & ~(b->ecam_bytes - 1) : 0;
	pci_decode_update(b);
}

static void host_written(struct pci_function *f, unsigned off, unsigned size)
{
	if (off < PCIEXBAR + 8 && off + size > PCIEXBAR)
		ecam_update(f->bus);
}

static void host_reset(struct pci_function *f)
{
	f->bus->ecam_base = 0;
}

static const struct pci_ops host_ops = {.config_written = host_written, .reset = host_reset};

enum status pci_host_add(struct pci_bus *b, struct error *e)
{
	static const uint8_t mask[8] = {0x07, 0, 0, 0xfc, 0x0f, 0, 0, 0};
	struct pci_function *f = pci_function_new(&host_ops, NULL, VENDOR_INTEL, DEVICE_Q35_MCH, CLASS_HOST_BRIDGE);

	if (!f)
		return error_set(e, ST_NO_MEMORY, "no memory for the PCI host bridge");
	memcpy(f->writable + PCIEXBAR, mask, sizeof(mask));
	return pci_add(b, f, 0, e);
}

void pci_host_set_ecam(struct pci_bus *b, uint64_t base)
{
	pci_set32(b->slot[0], PCIEXBAR, (uint32_t)base | PCIEXBAR_ENABLE);
	pci_set32(b->slot[0], PCIEXBAR + 4, (uint32_t)(base >> 32));
	ecam_update(b);
}
