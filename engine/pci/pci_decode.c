// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who answers at an address, and where BARs are put.
 *
 * The two lists of windows are made anew whenever a BAR or a command register changes, in the order in which functions
 * answer; they are short, so an access walks them. A BAR whose address would wrap or that is all zeros or all ones in the
 * bits it decodes (a BAR while it is being sized) is left out: zero is "not placed" to every firmware and kernel.
 *
 * Placement: the biggest BARs first, each at a multiple of its size.
 */
#include <string.h>

#include "engine/pci/pci_int.h"

uint64_t pci_bar_address(const struct pci_function *f, unsigned n)
{
	uint64_t a = pci_get32(f, PCI_BAR(n));

	switch (f->bar[n].kind) {
	case PCI_BAR_IO:
		return a & ~3ull;
	case PCI_BAR_MEM32:
		return a & ~15ull;
	case PCI_BAR_MEM64:
		return (a & ~15ull) | (uint64_t)pci_get32(f, PCI_BAR(n + 1)) << 32;
	case PCI_BAR_NONE:
		break;
	}
	return 0;
}

static void decode_bar(struct pci_bus *b, const struct pci_function *f, unsigned n)
{
	const struct pci_bar *bar = &f->bar[n];
	bool io = bar->kind == PCI_BAR_IO;
	uint64_t a = pci_bar_address(f, n), last = a + bar->bytes - 1;
	uint64_t top = io ? 0xffff : bar->kind == PCI_BAR_MEM32 ? UINT32_MAX : UINT64_MAX;

	if (!bar->kind || !(pci_get16(f, PCI_COMMAND) & (io ? PCI_CMD_IO : PCI_CMD_MEMORY)))
		return;
	if (a == 0 || last < a || last >= top)
		return;
	(io ? b->io : b->mem)[io ? b->nio++ : b->nmem++] =
		(struct pci_window){.base = a, .end = last, .ops = bar->ops, .dev = bar->dev};
}

void pci_high_span(const struct pci_bus *b, uint64_t from, uint64_t *first, uint64_t *last)
{
	*first = *last = 0;
	for (unsigned i = 0; i < b->nmem; i++) {
		const struct pci_window *w = &b->mem[i];

		if (w->base < from)
			continue;
		*first = *first && *first < w->base ? *first : w->base;
		*last = w->end > *last ? w->end : *last;
	}
}

/* ---- accesses ---- */

static const struct pci_window *window_at(const struct pci_window *w, unsigned n, uint64_t addr)
{
	for (unsigned i = 0; i < n; i++)
		if (addr >= w[i].base && addr <= w[i].end)
			return &w[i];
	return NULL;
}

static uint64_t ones(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << size * 8) - 1;
}

static uint64_t windows_read(const struct pci_window *list, unsigned n, uint64_t addr, unsigned size)
{
	const struct pci_window *w = window_at(list, n, addr);
	uint64_t val = 0;

	if (w && w->end - addr >= size - 1)
		return w->ops->read ? w->ops->read(w->dev, addr - w->base, size) & ones(size) : ones(size);
	if (size == 1 || (!w && !window_at(list, n, addr + size - 1)))
		return ones(size);
	for (unsigned i = 0; i < size; i++)
		val |= windows_read(list, n, addr + i, 1) << 8 * i;
	return val;
}

static void windows_write(const struct pci_window *list, unsigned n, uint64_t addr, unsigned size, uint64_t val)
{
	const struct pci_window *w = window_at(list, n, addr);

	if (w && w->end - addr >= size - 1) {
		if (w->ops->write)
			w->ops->write(w->dev, addr - w->base, size, val & ones(size));
		return;
	}
	if (size == 1 || (!w && !window_at(list, n, addr + size - 1)))
		return;
	for (unsigned i = 0; i < size; i++)
		windows_write(list, n, addr + i, 1, val >> 8 * i & 0xff);
}

/* Bits 27-20 of an ECAM offset are the bus, 19-12 the function, 11-0 the register (PCI Express 3.1 table 7-1). */
static bool ecam(const struct pci_bus *b, uint64_t addr, unsigned size)
{
	return b->ecam_base && addr >= b->ecam_base && addr - b->ecam_base < b->ecam_bytes &&
	       b->ecam_bytes - (addr - b->ecam_base) >= size;
}

/* A doorbell rings where it is the one that a store reaches. */
static bool rings(const struct pci_bus *b, const struct pci_function *f, const struct pci_doorbell *bell, uint64_t *at)
{
	const struct pci_bar *bar = &f->bar[bell->bar];
	uint64_t base = pci_bar_address(f, bell->bar);
	const struct pci_window *w = window_at(b->mem, b->nmem, base + bell->off);

	*at = base + bell->off;
	return w && w->base == base && w->dev == bar->dev && w->ops == bar->ops && !ecam(b, *at, 1);
}

static void find_doorbells(struct pci_bus *b)
{
	struct doorbell list[BUS_MAX_DOORBELLS];
	unsigned n = 0;

	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned i = 0; b->slot[s] && i < b->slot[s]->ndoorbells && n < BUS_MAX_DOORBELLS; i++) {
			list[n].fd = b->slot[s]->doorbell[i].fd;
			n += rings(b, b->slot[s], &b->slot[s]->doorbell[i], &list[n].gpa);
		}
	b->cfg.doorbells(b->cfg.ctx, list, n);
}

void pci_decode_update(struct pci_bus *b)
{
	b->nmem = b->nio = 0;
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned n = 0; b->slot[s] && n < PCI_BARS; n++)
			decode_bar(b, b->slot[s], n);
	if (b->cfg.doorbells)
		find_doorbells(b);
}

static uint64_t pci_mem_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_bus *b = dev;
	uint64_t rel = off - b->ecam_base;

	if (!ecam(b, off, size))
		return windows_read(b->mem, b->nmem, off, size);
	if (size > 4 || (rel & 3) + size > 4)
		return ones(size); /* the root complex takes aligned words only (PCI Express 3.1 7.2.2) */
	return pci_config_read(b, (unsigned)(rel >> 20), rel >> 12 & 0xff, rel & 0xfff, size);
}

static void pci_mem_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_bus *b = dev;
	uint64_t rel = off - b->ecam_base;

	if (!ecam(b, off, size))
		windows_write(b->mem, b->nmem, off, size, val);
	else if (size <= 4 && (rel & 3) + size <= 4)
		pci_config_write(b, (unsigned)(rel >> 20), rel >> 12 & 0xff, rel & 0xfff, size, (uint32_t)val);
}

static uint64_t pci_io_read(void *dev, uint64_t off, unsigned size)
{
	struct pci_bus *b = dev;

	return windows_read(b->io, b->nio, off, size);
}

static void pci_io_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_bus *b = dev;

	windows_write(b->io, b->nio, off, size, val);
}

const struct io_ops pci_mem_ops = {"pci memory", pci_mem_read, pci_mem_write};
const struct io_ops pci_io_ops = {"pci ports", pci_io_read, pci_io_write};

/* ---- placement ---- */

static void set_bar(struct pci_function *f, unsigned n, uint64_t a)
{
	pci_set32(f, PCI_BAR(n), (uint32_t)a | (f->initial[PCI_BAR(n)] & 15u));
	if (f->bar[n].kind == PCI_BAR_MEM64)
		pci_set32(f, PCI_BAR(n + 1), (uint32_t)(a >> 32));
}

/* The biggest BAR of this sort below `limit` bytes. */
static uint64_t next_size(const struct pci_bus *b, bool io, uint64_t limit)
{
	uint64_t best = 0;

	for (unsigned s = 0; s < PCI_SLOTS; s++)
		for (unsigned n = 0; b->slot[s] && n < PCI_BARS; n++) {
			const struct pci_bar *bar = &b->slot[s]->bar[n];

			if (bar->kind && (bar->kind == PCI_BAR_IO) == io && bar->bytes < limit && bar->bytes > best)
				best = bar->bytes;
		}
	return best;
}

static void place_all(struct pci_bus *b, bool io, uint64_t base, uint64_t end)
{
	for (uint64_t size = next_size(b, io, UINT64_MAX); size; size = next_size(b, io, size))
		for (unsigned s = 0; s < PCI_SLOTS; s++)
			for (unsigned n = 0; b->slot[s] && n < PCI_BARS; n++) {
				struct pci_function *f = b->slot[s];
				uint64_t at = (base + size - 1) & ~(size - 1);

				if (!f->bar[n].kind || (f->bar[n].kind == PCI_BAR_IO) != io || f->bar[n].bytes != size)
					continue;
				if (at < base || at >= end || end - at < size)
					continue;
				set_bar(f, n, at);
				f->config[PCI_COMMAND] |= io ? PCI_CMD_IO : PCI_CMD_MEMORY;
				base = at + size;
			}
}

void pci_place(struct pci_bus *b, const struct pci_ranges *r)
{
	place_all(b, false, r->mem_base, r->mem_end);
	place_all(b, true, r->io_base, r->io_end);
	for (unsigned s = 0; s < PCI_SLOTS; s++)
		if (b->slot[s] && b->slot[s]->config[PCI_INTERRUPT_PIN] && b->cfg.intx_name)
			b->slot[s]->config[PCI_INTERRUPT_LINE] = b->cfg.intx_name(pci_intx_line(s, 0));
	pci_decode_update(b);
}
