// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * PCI configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2): only a 32-bit access to the address port is the
 * bridge's; narrower ones go to what else is there, which is the reset control register (Intel PIIX4, RCR). Data is a
 * configuration cycle while the address enables it; without a bus, and past a word's end, it is ones.
 */
#include "engine/pc/pciconf.h"

#define OFF_RCR 1
#define OFF_DATA 4
#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_MASK 0x80fffffcu
#define RCR_CPU 0x04u
#define RCR_MASK 0x0eu

static bool is_cycle(const struct pciconf *p, uint64_t off, unsigned size)
{
	return off >= OFF_DATA && off - OFF_DATA + size <= 4 && (p->address & ADDRESS_ENABLE) && p->read;
}

static uint64_t pciconf_read(void *dev, uint64_t off, unsigned size)
{
	const struct pciconf *p = dev;

	if (off == 0 && size == 4)
		return p->address;
	if (off == OFF_RCR && size == 1)
		return p->reset_control;
	if (is_cycle(p, off, size))
		return p->read(p->bus, p->address >> 16 & 0xff, p->address >> 8 & 0xff,
			       (p->address & 0xfc) + (unsigned)off - OFF_DATA, size);
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
	} else if (is_cycle(p, off, size)) {
		p->write(p->bus, p->address >> 16 & 0xff, p->address >> 8 & 0xff, (p->address & 0xfc) + (unsigned)off - OFF_DATA,
			 size, (uint32_t)val);
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
