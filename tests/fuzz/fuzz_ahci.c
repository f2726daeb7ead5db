/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the SATA controller with its CD drive behind PCI, driven by a guest that does what the input says: memory (command
 * headers, tables, lists of buffers), registers, configuration space, resets. A short operation brings the port up properly, another
 * one gives a packet of the input's making with buffers of its choice, so that inputs get to the drive soon.
 *
 * The worker is a thread of its own, which the end of the input waits for.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/ahci/ahci.h"
#include "tests/fuzz/fuzz.h"

#define RAM_BYTES MEM_MIN_BYTES
#define WINDOW 0x8000u /* where the input writes */
#define LIST 0x0000u   /* command headers, received FISes, a table for each slot that a proper command uses */
#define FISES 0x0800u
#define TABLE(slot) (0x1000u + (slot) * 0x400u)
#define REGS 0xc0000000u
#define PORT(off) (0x100u + (off))
#define DEVFN 8u
#define OPS_MAX 512u
#define SECTORS 32u

enum op { OP_MEMORY, OP_REGISTER, OP_PORT, OP_START, OP_CONFIG, OP_STOP, OP_READ, OP_WAIT, OP_PACKET, OP_COMMAND, OPS };

struct input {
	const uint8_t *p;
	size_t left;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t val = 0;

	for (unsigned k = 0; k < bytes && in->left; k++, in->left--)
		val |= (uint64_t)*in->p++ << 8 * k;
	return val;
}

struct machine {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
};

static void wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	struct machine *m = ctx;

	if (!dma_at(&m->dma, gpa, len))
		FUZZ_FAIL("a write outside RAM: %llx, %llu bytes", (unsigned long long)gpa, (unsigned long long)len);
}

static struct pci_function *make_drive(struct machine *m, bool threads, struct error *e)
{
	struct blk_config cfg = {.threads = threads, .readonly = true};
	struct blk_image *img;
	int fd = memfd_create("cd", 0);
	char file[64];

	if (fd < 0 || ftruncate(fd, SECTORS * ATAPI_SECTOR) != 0)
		return NULL;
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	cfg.file = file;
	if (blk_image_open(&cfg, &img, e) != ST_OK)
		return NULL;
	close(fd);
	return ahci_new(img, &m->dma, e);
}

/* ---- a guest ---- */

static void reg(struct machine *m, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&m->bus, REGS + off, size, val);
}

static void put(struct machine *m, unsigned at, uint64_t val, unsigned bytes)
{
	memcpy(m->mem.ram_hva + at, &val, bytes);
}

static void start(struct machine *m)
{
	reg(m, 0x04, 4, 1u << 31 | 2);
	reg(m, PORT(0x00), 4, LIST);
	reg(m, PORT(0x04), 4, 0);
	reg(m, PORT(0x08), 4, FISES);
	reg(m, PORT(0x0c), 4, 0);
	reg(m, PORT(0x10), 4, ~0u);
	reg(m, PORT(0x14), 4, ~0u);
	reg(m, PORT(0x18), 4, 0x11);
}

/* A command in the next slot by the book; the input says the packet, and of each buffer where it is and how long. */
static void packet(struct machine *m, struct input *in, unsigned slot, uint8_t ata)
{
	unsigned nprd = (unsigned)take(in, 1) % 8, table = TABLE(slot);

	put(m, LIST + slot * 32, 5 | (uint64_t)nprd << 16, 8);
	put(m, LIST + slot * 32 + 8, table, 8);
	put(m, table, 0x27 | 0x8000 | (uint64_t)ata << 16, 8);
	for (unsigned i = 0; i < 12; i++)
		m->mem.ram_hva[table + 0x40 + i] = (uint8_t)take(in, 1);
	for (unsigned i = 0; i < nprd; i++) {
		put(m, table + 0x80 + 16 * i, take(in, 3), 8);
		put(m, table + 0x80 + 16 * i + 12, take(in, 2), 4);
	}
	reg(m, PORT(0x38), 4, 1u << slot);
}

static void operate(struct machine *m, struct input *in)
{
	uint8_t code = (uint8_t)take(in, 1);
	unsigned size = 1u << (code >> 6), off, n;

	switch ((enum op)((code & 0x1f) % OPS)) {
	case OP_MEMORY:
		off = (unsigned)take(in, 2) % WINDOW;
		for (n = (unsigned)take(in, 1) % 64; n && in->left; n--)
			m->mem.ram_hva[off++] = (uint8_t)take(in, 1);
		break;
	case OP_REGISTER:
		off = (unsigned)take(in, 2) % (0x1000 - 8);
		reg(m, off, size, take(in, size));
		break;
	case OP_PORT:
		reg(m, PORT((unsigned)take(in, 1) % 0x80 & ~3u), 4, take(in, 4));
		break;
	case OP_START:
		start(m);
		break;
	case OP_CONFIG:
		off = (unsigned)take(in, 1) & ~(size < 4 ? size - 1 : 3u);
		if (off >= PCI_BAR(0) && off < PCI_BAR(6))
			break; /* the registers stay where we look for them */
		pci_config_write(&m->bus, 0, DEVFN, off, size < 4 ? size : 4, (uint32_t)take(in, 4));
		break;
	case OP_STOP:
		reg(m, PORT(0x18), 4, code & 0x20 ? 0x08 : 0);
		break;
	case OP_READ:
		pci_mem_ops.read(&m->bus, REGS + (unsigned)take(in, 2) % (0x1000 - 8), size);
		pci_config_read(&m->bus, 0, DEVFN, code & 0xfc, 4);
		break;
	case OP_WAIT:
		usleep(100);
		break;
	case OP_PACKET:
		packet(m, in, code >> 5, 0xa0);
		break;
	case OP_COMMAND:
		packet(m, in, code >> 5, (uint8_t)take(in, 1));
		break;
	case OPS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pci_bus_config cfg = {0};
	struct input in = {.p = data, .left = size};
	bool threads = take(&in, 1) & 1;
	struct machine *m = calloc(1, sizeof(*m));
	struct pci_function *f;
	struct error e;

	if (!m || mem_init(&m->mem, RAM_BYTES, &e) != ST_OK)
		FUZZ_FAIL("no machine");
	m->dma = (struct dma){.mem = &m->mem, .wrote = wrote, .ctx = m};
	pci_bus_init(&m->bus, &cfg);
	f = make_drive(m, threads, &e);
	if (!f || pci_add(&m->bus, f, -1, &e) != ST_OK)
		FUZZ_FAIL("no device");
	pci_reset(&m->bus);
	pci_place(&m->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&m->bus, 0, DEVFN, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	for (unsigned k = 0; in.left && k < OPS_MAX; k++)
		operate(m, &in);
	pci_bus_fini(&m->bus);
	mem_fini(&m->mem);
	free(m);
	return 0;
}
