/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The LPC bridge of Intel's ICH9, by which firmware finds ACPI's registers. Private to the board. */
#ifndef STEELYARD_PCI_ISA_H
#define STEELYARD_PCI_ISA_H

#include "engine/pci/pci.h"

/* At slot 31, where the chipset has it. pm_port: where the ACPI registers are, and stay. */
enum status pci_isa_add(struct pci_bus *b, uint16_t pm_port, struct error *e);

#endif
