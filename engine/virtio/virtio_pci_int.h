/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two interfaces of a virtio device on PCI share: virtio_pci.c, virtio_legacy.c. Device lock held everywhere. */
#ifndef STEELYARD_VIRTIO_PCI_INT_H
#define STEELYARD_VIRTIO_PCI_INT_H

#include "engine/virtio/virtio.h"

struct virtio_pci {
	struct virtio *v;
	struct pci_function *f;
	uint32_t offered_select, driver_select;
	uint16_t queue_select;
	_Atomic uint16_t config_vector; /* any thread reads */
	_Atomic uint8_t isr;            /* any thread */
	unsigned window;                /* where the capability of type CAP_PCI is */
};

/* The queue that the driver has selected, or NULL. */
struct virtio_queue *virtio_pci_selected(struct virtio_pci *p);
/* n where there is such a vector. */
uint16_t virtio_pci_vector(const struct virtio_pci *p, uint16_t n);
/* Reads the ISR status, which clears it. */
uint8_t virtio_pci_isr(struct virtio_pci *p);
/* After a reset by the driver: no vectors, no interrupt. */
void virtio_pci_quiet(struct virtio_pci *p);

/* virtio_legacy.c: the BAR of ports. Before pci_add. */
void virtio_legacy_bar(struct virtio_pci *p);

#endif
