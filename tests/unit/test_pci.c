/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI bus: configuration space, sizing, decoding that moves, overlaps, MSI-X with its masks, shared INTx lines. */
#include <stdlib.h>
#include <string.h>

#include "engine/pci/pci_host.h"
#include "tests/unit/check.h"

struct wires {
	unsigned msis, level[PCI_INTX_LINES], wakes;
	uint64_t address;
	uint32_t data;
	struct doorbell bell[BUS_MAX_DOORBELLS];
	unsigned nbells;
};

static void on_doorbells(void *ctx, const struct doorbell *list, unsigned n)
{
	struct wires *w = ctx;

	memcpy(w->bell, list, n * sizeof(*list));
	w->nbells = n;
}

/* Where does a store ring this eventfd? 0: nowhere. */
static uint64_t rings(const struct wires *w, int fd)
{
	for (unsigned i = 0; i < w->nbells; i++)
		if (w->bell[i].fd == fd)
			return w->bell[i].gpa;
	return 0;
}

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct wires *w = ctx;

	w->msis++;
	w->address = address;
	w->data = data;
}

static void on_intx(void *ctx, unsigned n, bool level)
{
	((struct wires *)ctx)->level[n] = level;
}

static void on_wake(void *ctx)
{
	((struct wires *)ctx)->wakes++;
}

static uint8_t name_of(unsigned n)
{
	return (uint8_t)(n % 2 ? 11 : 10);
}

/* A register file: reads give the tag and the offset, writes are remembered. */
struct regs {
	uint64_t tag, off, val;
};

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	(void)size;
	return ((struct regs *)dev)->tag + off;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct regs *r = dev;

	(void)size;
	r->off = off;
	r->val = val;
}

static const struct io_ops regs_ops = {"registers", regs_read, regs_write};
static const struct pci_ops plain = {0};

static struct pci_bus *bus_new(struct wires *w)
{
	const struct pci_bus_config cfg = {
		.msi = on_msi, .intx = on_intx, .intx_wake = on_wake, .intx_name = name_of, .doorbells = on_doorbells, .ctx = w};
	struct pci_bus *b = calloc(1, sizeof(*b));
	struct error e;

	if (!b)
		abort();
	pci_bus_init(b, &cfg);
	CHECK(pci_host_add(b, &e) == ST_OK);
	return b;
}

static struct pci_function *device(struct pci_bus *b, struct regs *mem, struct regs *io)
{
	struct pci_function *f = pci_function_new(&plain, NULL, 0x1af4, 0x1042, 0x010000);
	struct error e;

	pci_bar(f, 0, PCI_BAR_IO, 32, &regs_ops, io);
	pci_bar(f, 4, PCI_BAR_MEM64, 16384, &regs_ops, mem);
	pci_doorbell(f, 4, 0x3000, 100 + (int)mem->tag);
	pci_msix(f, 1, 3);
	pci_wants_intx(f);
	pci_express(f);
	CHECK(pci_add(b, f, -1, &e) == ST_OK);
	return f;
}

#define DEVFN(slot) ((slot) << 3)
static uint32_t rd(struct pci_bus *b, unsigned slot, unsigned off, unsigned size)
{
	return pci_config_read(b, 0, DEVFN(slot), off, size);
}
static void wr(struct pci_bus *b, unsigned slot, unsigned off, unsigned size, uint32_t val)
{
	pci_config_write(b, 0, DEVFN(slot), off, size, val);
}

static void test_header(struct pci_bus *b)
{
	CHECK(rd(b, 0, 0, 4) == 0x29c08086 && rd(b, 0, 0x0a, 2) == 0x0600);
	CHECK(rd(b, 1, 0, 4) == 0x10421af4);
	CHECK(rd(b, 20, 0, 4) == ~0u && pci_config_read(b, 1, DEVFN(1), 0, 4) == ~0u);
	CHECK(pci_config_read(b, 0, DEVFN(1) + 1, 0, 4) == ~0u);
	wr(b, 1, 0, 4, 0); /* identifiers do not change */
	CHECK(rd(b, 1, 0, 4) == 0x10421af4);
	CHECK(rd(b, 1, 0x100, 4) == 0); /* no extended capabilities */
	CHECK(rd(b, 0, 0x100, 4) == 0);
}

static void test_sizing(struct pci_bus *b)
{
	wr(b, 1, PCI_BAR(0), 4, ~0u);
	wr(b, 1, PCI_BAR(1), 4, ~0u);
	wr(b, 1, PCI_BAR(4), 4, ~0u);
	wr(b, 1, PCI_BAR(5), 4, ~0u);
	CHECK(rd(b, 1, PCI_BAR(0), 4) == (0xffffffe0u | 1));
	CHECK(rd(b, 1, PCI_BAR(1), 4) == 0xfffff000u);
	CHECK(rd(b, 1, PCI_BAR(4), 4) == (0xffffc000u | 4) && rd(b, 1, PCI_BAR(5), 4) == ~0u);
	CHECK(rd(b, 1, PCI_BAR(2), 4) == 0);
}

static uint64_t mem(struct pci_bus *b, uint64_t addr)
{
	return pci_mem_ops.read(b, addr, 4);
}

static void test_decode(struct pci_bus *b)
{
	struct pci_ranges r = {0xc0000000u, 0xe0000000u, 0xc000, 0x10000};
	uint64_t at;

	pci_reset(b);
	CHECK(b->nmem == 0 && b->nio == 0);
	pci_place(b, &r);
	CHECK(rd(b, 1, PCI_COMMAND, 2) == (PCI_CMD_IO | PCI_CMD_MEMORY) && rd(b, 1, PCI_INTERRUPT_LINE, 1) == 11);
	at = rd(b, 1, PCI_BAR(4), 4) & ~15u;
	CHECK(at >= r.mem_base && at % 16384 == 0 && mem(b, at + 8) == 0x1008);
	CHECK(pci_io_ops.read(b, (rd(b, 1, PCI_BAR(0), 4) & ~3u) + 4, 2) == 0x2004);
	wr(b, 1, PCI_COMMAND, 2, PCI_CMD_IO);
	CHECK(mem(b, at + 8) == 0xffffffffu);
	wr(b, 1, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	wr(b, 1, PCI_BAR(5), 4, 0x12); /* above 4 GiB */
	CHECK(mem(b, at + 8) == 0xffffffffu && mem(b, (0x12ull << 32) + at + 8) == 0x1008);
	CHECK(pci_mem_ops.read(b, (0x12ull << 32) + at + 16382, 4) >> 16 == 0xffff); /* half of it lies in the BAR */
	wr(b, 1, PCI_BAR(5), 4, 0);
}

static void test_overlap(struct pci_bus *b)
{
	wr(b, 1, PCI_BAR(4), 4, 0xd0000000u);
	wr(b, 2, PCI_BAR(4), 4, 0xd0000000u);
	wr(b, 2, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	CHECK(mem(b, 0xd0000000u) == 0x1000); /* the lower slot answers */
	wr(b, 1, PCI_COMMAND, 2, 0);
	CHECK(mem(b, 0xd0000000u) == 0x3000);
	wr(b, 2, PCI_BAR(4), 4, 0);
	CHECK(b->nmem == 0 || mem(b, 0) == 0xffffffffu);
}

/* A doorbell is where a store reaches it, and nowhere else. */
static void test_doorbells(struct pci_bus *b, const struct wires *w)
{
	const int first = 100 + 0x1000, second = 100 + 0x3000;

	wr(b, 1, PCI_BAR(5), 4, 0);
	wr(b, 1, PCI_BAR(4), 4, 0xd0000000u);
	wr(b, 1, PCI_COMMAND, 2, 0);
	CHECK(!rings(w, first));
	wr(b, 1, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	CHECK(rings(w, first) == 0xd0003000u);
	wr(b, 1, PCI_BAR(5), 4, 3);
	CHECK(rings(w, first) == 0x3d0003000u);
	wr(b, 1, PCI_BAR(5), 4, 0);
	wr(b, 2, PCI_BAR(4), 4, 0xd0000000u); /* behind the first: its own is hidden */
	wr(b, 2, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	CHECK(rings(w, first) == 0xd0003000u && !rings(w, second));
	wr(b, 1, PCI_COMMAND, 2, 0);
	CHECK(!rings(w, first) && rings(w, second) == 0xd0003000u);
	wr(b, 0, 0x60, 4, 0xd0000001u); /* configuration space comes before both */
	CHECK(!rings(w, first) && !rings(w, second));
	wr(b, 0, 0x60, 4, 0);
	CHECK(rings(w, second) == 0xd0003000u);
	pci_reset(b);
	CHECK(!w->nbells);
}

static void test_ecam(struct pci_bus *b)
{
	pci_host_set_ecam(b, 0xe0000000u);
	CHECK(mem(b, 0xe0008000u) == 0x10421af4 && mem(b, 0xe00a0000u) == 0xffffffffu);
	CHECK(mem(b, 0xe0108000u) == 0xffffffffu); /* bus 1 */
	pci_mem_ops.write(b, 0xe000803cu, 1, 0x5a);
	CHECK(rd(b, 1, PCI_INTERRUPT_LINE, 1) == 0x5a);
	CHECK(pci_mem_ops.read(b, 0xe0008002u, 4) == 0xffffffffu); /* not aligned */
	wr(b, 0, 0x60, 4, 0xb0000001u);
	CHECK(mem(b, 0xb0008000u) == 0x10421af4 && mem(b, 0xe0008000u) == 0xffffffffu);
	wr(b, 0, 0x60, 4, 0);
	CHECK(mem(b, 0xb0008000u) == 0xffffffffu);
}

static void test_msix(struct pci_bus *b, struct wires *w)
{
	struct pci_function *f = b->slot[1];
	unsigned cap = f->msix_cap;
	uint64_t table = 0xd1000000u;

	pci_reset(b);
	CHECK(rd(b, 1, cap, 1) == 0x11 && rd(b, 1, cap + 2, 2) == 2);
	wr(b, 1, PCI_BAR(1), 4, (uint32_t)table);
	wr(b, 1, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	CHECK(mem(b, table + 12) == 1); /* masked after a reset */
	pci_mem_ops.write(b, table + 16, 8, 0xfee01000u);
	pci_mem_ops.write(b, table + 24, 4, 0x41);
	CHECK(pci_mem_ops.read(b, table + 16, 8) == 0xfee01000u);
	w->msis = 0;
	pci_msix_raise(f, 1);
	CHECK(w->msis == 0 && mem(b, table + 2048) == 0); /* off: nothing is remembered */
	wr(b, 1, cap + 2, 2, 0xc000);
	CHECK(rd(b, 1, cap + 2, 2) == 0xc002 && pci_msix_enabled(f));
	pci_msix_raise(f, 1);
	CHECK(w->msis == 0 && mem(b, table + 2048) == 2);
	wr(b, 1, cap + 2, 2, 0x8000);
	CHECK(w->msis == 0); /* the entry is masked still */
	pci_mem_ops.write(b, table + 28, 4, 0);
	CHECK(w->msis == 1 && w->address == 0xfee01000u && w->data == 0x41 && mem(b, table + 2048) == 0);
	pci_msix_raise(f, 1);
	CHECK(w->msis == 2);
	pci_msix_raise(f, 3);
	pci_msix_raise(f, 63);
	CHECK(w->msis == 2); /* vectors that there are not */
	wr(b, 1, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	pci_msix_raise(f, 1);
	CHECK(w->msis == 2);                         /* a message is an access to memory: not without bus mastering */
	pci_mem_ops.write(b, table + 48, 4, 0x1234); /* behind the last entry */
	CHECK(mem(b, table + 48) == 0);
}

static void test_intx(struct pci_bus *b, struct wires *w)
{
	pci_reset(b);
	pci_intx(b->slot[1], true);
	CHECK(w->level[1] == 1 && (rd(b, 1, PCI_STATUS, 2) & 8) && (rd(b, 1, PCI_COMMAND, 4) & 8 << 16));
	pci_intx(b->slot[9], true);
	pci_intx(b->slot[1], false);
	CHECK(w->level[1] == 1); /* slot 9 shares the line */
	wr(b, 9, PCI_COMMAND, 2, PCI_CMD_INTX_OFF);
	CHECK(w->level[1] == 0);
	wr(b, 9, PCI_COMMAND, 2, 0);
	CHECK(w->level[1] == 1);
	w->wakes = 0;
	pci_intx_later(b->slot[9], false);
	CHECK(w->level[1] == 1 && w->wakes == 1);
	pci_intx_later(b->slot[9], false);
	CHECK(w->wakes == 1);
	pci_intx_update(b);
	CHECK(w->level[1] == 0);
	pci_intx(b->slot[2], true);
	CHECK(w->level[2] == 1);
	wr(b, 2, b->slot[2]->msix_cap + 2, 2, 0x8000); /* MSI-X takes over from the line */
	CHECK(w->level[2] == 0);
	pci_reset(b);
}

static void test_flr(struct pci_bus *b)
{
	unsigned exp = b->slot[1]->express;

	wr(b, 1, PCI_COMMAND, 2, PCI_CMD_MASTER);
	wr(b, 1, exp + 8, 2, 0x8000);
	CHECK(rd(b, 1, PCI_COMMAND, 2) == 0 && rd(b, 1, exp + 8, 2) == 0);
	CHECK((rd(b, 1, exp + 4, 4) & 1u << 28) && (rd(b, 1, exp + 2, 2) >> 4) == 9);
}

int main(void)
{
	struct regs m1 = {.tag = 0x1000}, i1 = {.tag = 0x2000}, m2 = {.tag = 0x3000}, i2 = {.tag = 0x4000};
	struct regs m9 = {.tag = 0x5000}, i9 = {.tag = 0x6000};
	struct wires w = {0};
	struct pci_bus *b = bus_new(&w);
	struct pci_function *more;
	struct error e;

	device(b, &m1, &i1);
	device(b, &m2, &i2);
	for (unsigned i = 3; i < 10; i++)
		device(b, &m9, &i9);
	test_header(b);
	test_sizing(b);
	test_decode(b);
	test_overlap(b);
	test_doorbells(b, &w);
	test_ecam(b);
	test_msix(b, &w);
	test_intx(b, &w);
	test_flr(b);
	for (unsigned i = 10; i < PCI_SLOTS; i++)
		device(b, &m9, &i9);
	more = pci_function_new(&plain, NULL, 0x1af4, 0x1042, 0x010000);
	CHECK(pci_add(b, more, -1, &e) == ST_TOO_BIG);
	pci_function_free(more);
	pci_bus_fini(b);
	free(b);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
