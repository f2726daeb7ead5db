// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The LPC bridge of the ICH9 (Intel I/O Controller Hub 9 datasheet, 13.1), as far as firmware programs it: the base of the ACPI
 * registers, and the routing of interrupt pins. Both are fixed on this board. Firmware writes and reads back what it
 * wants; SeaBIOS and OVMF want the ACPI registers where they are.
 */
#include "engine/pci/pci_isa.h"

#define VENDOR_INTEL 0x8086u
#define DEVICE_ICH9_LPC 0x2918u
#define CLASS_ISA_BRIDGE 0x060100u
#define SLOT 31

#define PMBASE 0x40u
#define PMBASE_IO 1u
#define ACPI_CNTL 0x44u
#define ACPI_ENABLE 0x80u
#define PIRQ_A 0x60u
#define PIRQ_E 0x68u
#define PIRQ_OFF 0x80u
#define RCBA 0xf0u

static const struct pci_ops isa_ops = {0};

enum status pci_isa_add(struct pci_bus *b, uint16_t pm_port, struct error *e)
{
	struct pci_function *f = pci_function_new(&isa_ops, NULL, VENDOR_INTEL, DEVICE_ICH9_LPC, CLASS_ISA_BRIDGE);

	if (!f)
		return error_set(e, ST_NO_MEMORY, "no memory for the LPC bridge");
	f->writable[PCI_COMMAND] |= PCI_CMD_IO | PCI_CMD_MEMORY; /* always decoded; OVMF asks for them */
	pci_set32(f, PMBASE, pm_port | PMBASE_IO);
	f->config[ACPI_CNTL] = ACPI_ENABLE;
	f->writable[ACPI_CNTL] = 0xff;
	for (unsigned i = 0; i < 4; i++) {
		f->config[PIRQ_A + i] = f->config[PIRQ_E + i] = PIRQ_OFF;
		f->writable[PIRQ_A + i] = f->writable[PIRQ_E + i] = 0xff;
	}
	for (unsigned i = 0; i < 4; i++)
		f->writable[RCBA + i] = 0xff;
	return pci_add(b, f, SLOT, e);
}
