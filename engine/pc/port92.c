// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * System control port A (IBM PS/2 Hardware Interface Technical Reference). Bit 0 going from 0 to 1 resets the
 * processor; bit 1 is the A20 gate; the others are latched.
 */
#include "engine/pc/port92.h"

#define P92_RESET 0x01u
#define P92_A20 0x02u

static uint64_t port92_read(void *dev, uint64_t off, unsigned size)
{
	const struct port92 *p = dev;

	(void)off;
	(void)size;
	return (p->latch & (uint8_t)~P92_A20) | (*p->a20 ? P92_A20 : 0);
}

static void port92_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct port92 *p = dev;
	uint8_t old = p->latch;

	(void)off;
	(void)size;
	p->latch = (uint8_t)val;
	*p->a20 = val & P92_A20;
	if ((val & P92_RESET) && !(old & P92_RESET))
		p->reset(p->ctx);
}

const struct io_ops port92_ops = {"port92", port92_read, port92_write};

void port92_init(struct port92 *p, bool *a20, void (*reset)(void *ctx), void *ctx)
{
	*p = (struct port92){.a20 = a20, .reset = reset, .ctx = ctx};
}

void port92_reset(struct port92 *p)
{
	p->latch = 0;
}
