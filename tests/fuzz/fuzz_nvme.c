/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the NVMe controller behind PCI, driven by a guest that does what the input says: memory (commands, lists of
 * pages), registers, doorbells, configuration space, resets. A short operation brings it up properly, with a pair of I/O
 * queues, and another one puts a command of the input's making into a queue, so that inputs get to the commands soon.
 *
 * Workers are threads of their own, which the end of the input waits for.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/nvme/nvme.h"
#include "tests/fuzz/fuzz.h"

#define RAM_BYTES MEM_MIN_BYTES
#define WINDOW 0x8000u /* where the input writes; queues and lists of a proper start are in it */
#define REGS 0xc0000000u
#define DEVFN 8u
#define OPS_MAX 512u
#define ENTRIES 8u
#define DISK_BYTES (1 << 16)

enum op {
	OP_MEMORY,
	OP_REGISTER,
	OP_DOORBELL,
	OP_START,
	OP_CONFIG,
	OP_RESET,
	OP_READ,
	OP_WAIT,
	OP_COMMAND,
	OP_DATA,
	OPS
};

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
	unsigned tail[3];
};

static void wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	struct machine *m = ctx;

	if (!dma_at(&m->dma, gpa, len))
		FUZZ_FAIL("a write outside RAM: %llx, %llu bytes", (unsigned long long)gpa, (unsigned long long)len);
}

static void ignore_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)ctx, (void)address, (void)data;
}

static struct pci_function *make_disk(struct machine *m, uint8_t which, struct error *e)
{
	struct nvme_config cfg = {.serial = "fuzz", .queues = 2};
	struct blk_config image = {.threads = which & 1, .readonly = which & 2, .snapshot = which & 4};
	int fd = memfd_create("disk", 0);
	char file[64];

	if (fd < 0 || ftruncate(fd, DISK_BYTES) != 0)
		return NULL;
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	image.file = file;
	if (blk_image_open(&image, &cfg.image, e) != ST_OK)
		return NULL;
	close(fd);
	return nvme_new(&cfg, &m->dma, e);
}

/* ---- a guest ---- */

static void reg(struct machine *m, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&m->bus, REGS + off, size, val);
}

/* Queue q: 0 admin, 1 and 2 I/O; each has a page for submissions and one for completions. */
static void command(struct machine *m, unsigned q, const uint8_t c[64])
{
	memcpy(m->mem.ram_hva + q * 0x2000 + 64 * m->tail[q], c, 64);
	m->tail[q] = (m->tail[q] + 1) % ENTRIES;
	reg(m, 0x1000 + 8 * q, 4, m->tail[q]);
}

static void start(struct machine *m)
{
	reg(m, 0x14, 4, 0);
	memset(m->tail, 0, sizeof(m->tail));
	reg(m, 0x24, 4, (ENTRIES - 1) | (ENTRIES - 1) << 16);
	reg(m, 0x28, 8, 0);
	reg(m, 0x30, 8, 0x1000);
	reg(m, 0x14, 4, 0x460001);
	for (unsigned q = 1; q < 3; q++) {
		uint8_t cq[64] = {5}, sq[64] = {1};

		cq[25] = (uint8_t)(q * 0x20 + 0x10);
		sq[25] = (uint8_t)(q * 0x20);
		cq[40] = sq[40] = (uint8_t)q;
		cq[42] = sq[42] = ENTRIES - 1;
		cq[44] = 3;
		cq[46] = (uint8_t)q;
		sq[44] = 1;
		sq[46] = (uint8_t)q;
		command(m, 0, cq);
		command(m, 0, sq);
	}
}

static void operate(struct machine *m, struct input *in)
{
	uint8_t code = (uint8_t)take(in, 1), bytes[64] = {0};
	unsigned size = 1u << (code >> 6), off, n;
	uint64_t val;

	switch ((enum op)((code & 0x1f) % OPS)) {
	case OP_MEMORY:
		off = (unsigned)take(in, 2) % WINDOW;
		for (n = (unsigned)take(in, 1) % 64; n && in->left; n--)
			m->mem.ram_hva[off++] = (uint8_t)take(in, 1);
		break;
	case OP_REGISTER:
		off = (unsigned)take(in, 1);
		reg(m, off, size, take(in, size));
		break;
	case OP_DOORBELL:
		off = 0x1000 + (unsigned)take(in, 1) % 64;
		reg(m, off, 4, take(in, 2));
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
	case OP_RESET:
		reg(m, 0x14, 4, 0);
		break;
	case OP_READ:
		off = (unsigned)take(in, 2) % (0x4000 - 8);
		pci_mem_ops.read(&m->bus, REGS + off, size);
		pci_config_read(&m->bus, 0, DEVFN, off & 0xfc, 4);
		break;
	case OP_WAIT:
		usleep(100);
		break;
	case OP_COMMAND:
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)take(in, 1);
		command(m, (code >> 6) % 3, bytes);
		break;
	case OP_DATA: /* one that is nearly right: opcode, block, count, data */
		bytes[0] = (uint8_t)take(in, 1);
		bytes[4] = 1;
		val = take(in, 2) * 4;
		memcpy(bytes + 24, &val, 8);
		val = take(in, 2) * 8;
		memcpy(bytes + 32, &val, 8);
		bytes[40] = (uint8_t)take(in, 1);
		bytes[44] = 4;
		val = take(in, 2) % 1025;
		memcpy(bytes + 48, &val, 4);
		command(m, 1 + (code >> 7), bytes);
		break;
	case OPS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pci_bus_config cfg = {.msi = ignore_msi};
	struct input in = {.p = data, .left = size};
	uint8_t which = (uint8_t)take(&in, 1);
	struct machine *m = calloc(1, sizeof(*m));
	struct pci_function *f;
	struct error e;

	if (!m || mem_init(&m->mem, RAM_BYTES, &e) != ST_OK)
		FUZZ_FAIL("no machine");
	m->dma = (struct dma){.mem = &m->mem, .wrote = wrote, .ctx = m};
	pci_bus_init(&m->bus, &cfg);
	f = make_disk(m, which, &e);
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
