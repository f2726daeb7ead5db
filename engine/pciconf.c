// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * PCI configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2): only a 32-bit access to the address port is the
 * bridge's; narrower ones go to what else is there, which is the reset control register (Intel PIIX4, RCR). No device
 * answers a configuration cycle, so all data is ones.
 */
#include "engine/pciconf.h"

#define OFF_RCR 1
#define ADDRESS_MASK 0x80fffffcu
#define RCR_CPU 0x04u
#define RCR_MASK 0x0eu

static uint64_t pciconf_read(void *dev, uint64_t off, unsigned size)
{
	const struct pciconf *p = dev;

	if (off == 0 && size == 4)
		return p->address;
	if (off == OFF_RCR && size == 1)
		return p->reset_control;
	return ~0ull;
}

static void pciconf_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pciconf *p = dev;
	uint8_t old = p->reset_control;

	if (off == 0 && size == 4) {
		p->address = (uint32_t)val & ADDRESS_MASK;
	} else if (off == OFF_RCR && size == 1) {
		p->reset_control = val & RCR_MASK;
		/* Bit 2 rising resets; bit 1 tells a hard from a soft reset, and they are the same here. */
		if ((val & RCR_CPU) && !(old & RCR_CPU))
			p->reset(p->ctx);
	}
}

const struct io_ops pciconf_ops = {"pci configuration", pciconf_read, pciconf_write};

void pciconf_init(struct pciconf *p, void (*reset)(void *ctx), void *ctx)
{
	*p = (struct pciconf){.reset = reset, .ctx = ctx};
}

void pciconf_reset(struct pciconf *p)
{
	p->address = 0;
	p->reset_control = 0;
}
