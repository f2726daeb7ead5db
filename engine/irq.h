/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An interrupt line as the device that drives it sees it: a level, and nobody else. The board connects lines. */
#ifndef STEELYARD_IRQ_H
#define STEELYARD_IRQ_H

#include <stdbool.h>

struct irq_line {
	void (*set)(void *ctx, unsigned n, bool level);
	/* May an edge get to a processor now, and will its end be told? NULL: not known. */
	bool (*heard)(void *ctx, unsigned n);
	void *ctx;
	unsigned n;
};

/* Device lock held. A line that is not connected is legal. */
static inline void irq_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->ctx, l->n, level);
}

#endif
