/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The eight ports at 0xcf8: PCI configuration mechanism 1, and the chipset's reset control at 0xcf9,
 * which shares an address with the second byte of the configuration address. Threads: device lock held.
 */
#ifndef STEELYARD_PCICONF_H
#define STEELYARD_PCICONF_H

#include "engine/bus.h"

/* Lives in its owner. */
struct pciconf {
	uint32_t address;
	uint8_t reset_control;
	void (*reset)(void *ctx);
	void *ctx;
	/* The bus's configuration cycles; NULL: an empty bus. Set after pciconf_init, kept by pciconf_reset */
	uint32_t (*read)(void *bus, unsigned nr, unsigned devfn, unsigned off, unsigned size);
	void (*write)(void *bus, unsigned nr, unsigned devfn, unsigned off, unsigned size, uint32_t val);
	void *bus;
};

void pciconf_init(struct pciconf *p, void (*reset)(void *ctx), void *ctx);
void pciconf_reset(struct pciconf *p);

extern const struct io_ops pciconf_ops; /* 8 ports */

#endif
