/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board's PCI bus: which devices are on it, and its wires. Owner: struct board. Device lock held, or no vCPU runs.
 */
#ifndef STEELYARD_BOARD_PCI_H
#define STEELYARD_BOARD_PCI_H

#include "engine/board_map.h"
#include "engine/dma.h"
#include "engine/pci/pci.h"

struct vm;

/* What the board lends: the wires of line n at the two interrupt controllers. */
struct board_pci {
	struct vm *vm;
	struct pci_bus bus;
	struct dma dma;
	struct ioapic *ioapic;
	struct pic *pic;
	unsigned pic_count[BOARD_PCI_IRQS]; /* lines that hold each 8259 input up */
};

/* The bus with its bridge, what the rest of both buses is. */
enum status board_pci_init(struct board_pci *p, struct vm *vm, struct pic *pic, struct ioapic *ioapic, struct error *e);
/* Also after board_pci_init failed, or was never called on zeroes. Waits for the devices' workers. */
void board_pci_fini(struct board_pci *p);
void board_pci_reset(struct board_pci *p);
/* What a firmware would have done: BARs, ECAM, interrupt lines, level-triggered 8259 inputs. */
void board_pci_place(struct board_pci *p);

#endif
