/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the PCI bus share: pci.c, pci_decode.c, pci_irq.c. Device lock held everywhere. */
#ifndef STEELYARD_PCI_INT_H
#define STEELYARD_PCI_INT_H

#include "engine/pci/pci.h"

/* pci_decode.c: BARs or a command register changed. */
void pci_decode_update(struct pci_bus *b);
/* The address in BAR n, whether it decodes or not. */
uint64_t pci_bar_address(const struct pci_function *f, unsigned n);

/* pci_irq.c: the message control word was written; a reset. */
void pci_msix_control(struct pci_function *f);
void pci_msix_reset(struct pci_function *f);

#endif
