/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a device reaches guest memory: the one place where an address that a guest has written down becomes a pointer.
 *
 * Only RAM is reached, and a range is all RAM or refused. RAM never moves while the machine exists, so a pointer may be
 * kept; what is behind it may change at any moment, for vCPUs run meanwhile: read once, check the copy. Whoever has
 * written says so with dma_wrote before he tells the guest: code that a path has decoded from there is then forgotten.
 *
 * Threads: any; the device lock is not needed.
 */
#ifndef STEELYARD_DMA_H
#define STEELYARD_DMA_H

#include "engine/mem.h"

struct dma {
	const struct mem *mem;
	/* [gpa, gpa+len) has been written. NULL: nobody wants to know */
	void (*wrote)(void *ctx, uint64_t gpa, uint64_t len);
	void *ctx;
};

/* Host address of [gpa, gpa+len), or NULL where not all of it is RAM. */
static inline void *dma_at(const struct dma *d, uint64_t gpa, uint64_t len)
{
	return mem_ram(d->mem, gpa, len);
}

/* [hva, hva+len), which dma_at has given, has been written. */
static inline void dma_wrote(const struct dma *d, const void *hva, uint64_t len)
{
	uint64_t off = (uint64_t)((const uint8_t *)hva - d->mem->ram_hva);

	if (d->wrote && len)
		d->wrote(d->ctx, mem_ram_gpa(d->mem, off), len);
}

#endif
