/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bus is a sorted array of ranges. An access that lies inside one range goes to its device whole; one that straddles
 * an edge is split into bytes, as a PC's bridges do with an access that their target cannot take at once.
 */
#include "engine/bus.h"

static uint64_t ones(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

void bus_add(struct bus *b, uint64_t base, uint64_t len, const struct io_ops *ops, void *dev)
{
	unsigned i = b->nranges;

	BUG_ON(len == 0 || base + (len - 1) < base);
	BUG_ON(b->nranges == BUS_MAX_RANGES);
	while (i > 0 && b->range[i - 1].base > base) {
		b->range[i] = b->range[i - 1];
		i--;
	}
	BUG_ON(i > 0 && base - b->range[i - 1].base < b->range[i - 1].len);
	BUG_ON(i < b->nranges && b->range[i + 1].base - base < len);
	b->range[i] = (struct bus_range){.base = base, .len = len, .ops = ops, .dev = dev};
	b->nranges++;
}

void bus_set_rest(struct bus *b, const struct io_ops *ops, void *dev)
{
	b->rest_ops = ops;
	b->rest = dev;
}

/* The last range that begins at or below addr, if addr lies in it. */
static const struct bus_range *bus_find(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->nranges;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (b->range[mid].base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0 || addr - b->range[lo - 1].base >= b->range[lo - 1].len)
		return NULL;
	return &b->range[lo - 1];
}

bool bus_claimed(const struct bus *b, uint64_t addr)
{
	return bus_find(b, addr) != NULL;
}

/* Does [addr, addr+size) touch no range at all, or stay inside the one of its first byte? */
static bool bus_whole(const struct bus *b, const struct bus_range *r, uint64_t addr, unsigned size)
{
	if (r)
		return addr - r->base + size <= r->len;
	for (unsigned i = 1; i < size; i++)
		if (bus_find(b, addr + i))
			return false;
	return true;
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
	const struct bus_range *r = bus_find(b, addr);
	uint64_t val = 0;

	if (bus_whole(b, r, addr, size)) {
		if (!r && b->rest_ops)
			return b->rest_ops->read(b->rest, addr, size) & ones(size);
		if (!r)
			b->unclaimed++;
		if (!r || !r->ops->read)
			return ones(size);
		return r->ops->read(r->dev, addr - r->base, size) & ones(size);
	}
	for (unsigned i = 0; i < size; i++)
		val |= bus_read(b, addr + i, 1) << (i * 8);
	return val;
}

void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val)
{
	const struct bus_range *r = bus_find(b, addr);

	if (bus_whole(b, r, addr, size)) {
		if (!r && b->rest_ops)
			b->rest_ops->write(b->rest, addr, size, val & ones(size));
		else if (!r)
			b->unclaimed++;
		else if (r->ops->write)
			r->ops->write(r->dev, addr - r->base, size, val & ones(size));
		return;
	}
	for (unsigned i = 0; i < size; i++)
		bus_write(b, addr + i, 1, val >> (i * 8) & 0xff);
}
