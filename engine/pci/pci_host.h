/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host bridge, function 0 of slot 0: its identity and PCIEXBAR, which says where memory accesses become configuration
 * cycles (ECAM). Device lock held.
 */
#ifndef STEELYARD_PCI_HOST_H
#define STEELYARD_PCI_HOST_H

#include "engine/pci/pci.h"

/* Puts the bridge on the bus. */
enum status pci_host_add(struct pci_bus *b, struct error *e);
/* What a firmware writes there: 256 MiB from base (a multiple of that), for 256 buses. */
void pci_host_set_ecam(struct pci_bus *b, uint64_t base);

#endif
