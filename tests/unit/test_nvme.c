/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NVMe controller without a guest: through its registers from enable to shutdown, commands that are right and ones that
 * are not, lists of pages that lead nowhere, full completion queues, interrupts by MSI-X and by INTA.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/nvme/nvme.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define REGS 0xc0000000u
#define PAGE 4096u
#define ASQ 0x10000u
#define ACQ 0x11000u
#define SQ 0x12000u
#define CQ 0x13000u
#define LIST 0x20000u
#define DATA 0x100000u
#define ADMIN 8u /* entries */
#define ENTRIES 4u
#define DISK_BYTES (4u << 20)
#define DNR 0x4000u

enum { CC = 0x14, CSTS = 0x1c, AQA = 0x24, REG_ASQ = 0x28, REG_ACQ = 0x30 };
enum { EN = 1, SIZES = 0x460000, SHN = 0x4000 };

/* A queue pair as the driver sees it. */
struct pair {
	uint64_t sq, cq;
	unsigned entries, tail, head, id, cid;
	bool phase;
};

struct disk {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
	struct pci_function *f;
	_Atomic unsigned msis, wakes, outside;
	bool line;
	int fd;
	struct pair admin, io;
};

struct command {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid, cdw2, cdw3;
	uint64_t mptr, prp1, prp2;
	uint32_t cdw[6]; /* 10 to 15 */
};

static void on_wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	struct disk *d = ctx;

	if (!dma_at(&d->dma, gpa, len))
		atomic_fetch_add(&d->outside, 1);
}

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)address, (void)data;
	atomic_fetch_add(&((struct disk *)ctx)->msis, 1);
}

static void on_wake(void *ctx)
{
	atomic_fetch_add(&((struct disk *)ctx)->wakes, 1);
}

static void on_line(void *ctx, unsigned n, bool level)
{
	(void)n;
	((struct disk *)ctx)->line = level;
}

static uint8_t *ram(struct disk *d, uint64_t gpa)
{
	return d->mem.ram_hva + gpa;
}

static uint64_t rd(struct disk *d, unsigned off, unsigned size)
{
	return pci_mem_ops.read(&d->bus, REGS + off, size);
}

static void wr(struct disk *d, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&d->bus, REGS + off, size, val);
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static struct disk *disk_new(bool threads, bool readonly, enum blk_cache cache, bool snapshot)
{
	struct disk *d = calloc(1, sizeof(*d));
	const struct pci_bus_config cfg = {.msi = on_msi, .intx = on_line, .intx_wake = on_wake, .ctx = d};
	struct nvme_config nvme = {.serial = "SN-1", .queues = 2};
	char file[64];
	struct blk_config image = {
		.file = file, .threads = threads, .readonly = readonly, .cache = cache, .snapshot = snapshot};
	struct error e;

	if (!d || mem_init(&d->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	d->dma = (struct dma){.mem = &d->mem, .wrote = on_wrote, .ctx = d};
	d->fd = memfd_create("disk", 0);
	if (d->fd < 0 || ftruncate(d->fd, DISK_BYTES) != 0)
		abort();
	snprintf(file, sizeof(file), "/proc/self/fd/%d", d->fd);
	pci_bus_init(&d->bus, &cfg);
	CHECK(blk_image_open(&image, &nvme.image, &e) == ST_OK);
	d->f = nvme_new(&nvme, &d->dma, &e);
	CHECK(d->f && pci_add(&d->bus, d->f, -1, &e) == ST_OK);
	pci_reset(&d->bus);
	pci_place(&d->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	return d;
}

static void disk_free(struct disk *d)
{
	pci_bus_fini(&d->bus);
	CHECK(atomic_load(&d->outside) == 0);
	close(d->fd);
	mem_fini(&d->mem);
	free(d);
}

/* ---- queues ---- */

static void submit(struct disk *d, struct pair *p, struct command c)
{
	c.cid = (uint16_t)++p->cid;
	memcpy(ram(d, p->sq + 64 * p->tail), &c, sizeof(c));
	p->tail = (p->tail + 1) % p->entries;
	wr(d, 0x1000 + 8 * p->id, 4, p->tail);
}

/* The next completion's status, DNR cut off, or 0xffff when none comes. The driver gives it back. */
static unsigned complete(struct disk *d, struct pair *p, uint32_t *result)
{
	const uint8_t *e = ram(d, p->cq + 16 * p->head);

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t high = __atomic_load_n((const uint64_t *)(e + 8), __ATOMIC_ACQUIRE);

		if ((high >> 48 & 1) == p->phase) {
			if (result)
				memcpy(result, e, 4);
			p->head = (p->head + 1) % p->entries;
			p->phase ^= p->head == 0;
			wr(d, 0x1004 + 8 * p->id, 4, p->head);
			return (unsigned)(high >> 49) & ~DNR;
		}
		nap();
	}
	return 0xffff;
}

static unsigned ask(struct disk *d, struct pair *p, struct command c, uint32_t *result)
{
	submit(d, p, c);
	return complete(d, p, result);
}

#define ADM(...) ask(d, &d->admin, (struct command){__VA_ARGS__}, NULL)
#define IO(...) ask(d, &d->io, (struct command){.nsid = 1, __VA_ARGS__}, NULL)

static bool enable(struct disk *d)
{
	wr(d, CC, 4, 0);
	memset(ram(d, ASQ), 0, 0x10000);
	wr(d, AQA, 4, (ADMIN - 1) | (ADMIN - 1) << 16);
	wr(d, REG_ASQ, 8, ASQ);
	wr(d, REG_ACQ, 4, ACQ);
	wr(d, REG_ACQ + 4, 4, 0);
	d->admin = (struct pair){.sq = ASQ, .cq = ACQ, .entries = ADMIN, .phase = true};
	d->io = (struct pair){.sq = SQ, .cq = CQ, .entries = ENTRIES, .phase = true, .id = 1};
	wr(d, CC, 4, EN | SIZES);
	return rd(d, CSTS, 4) == 1;
}

static void make_queues(struct disk *d)
{
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {1 | (ENTRIES - 1) << 16, 3 | 1 << 16}) == 0);
	CHECK(ADM(.opcode = 1, .prp1 = SQ, .cdw = {1 | (ENTRIES - 1) << 16, 1 | 1 << 16}) == 0);
}

/* ---- tests ---- */

static void test_registers(struct disk *d)
{
	CHECK(pci_config_read(&d->bus, 0, 8, 8, 4) >> 8 == 0x010802);
	CHECK((rd(d, 0, 8) & 0x1ffff) == 0x103ff && rd(d, 4, 4) == 0x20 && rd(d, 8, 4) == 0x10400);
	CHECK(rd(d, 0x1000, 4) == 0 && rd(d, 0x3ff8, 8) == 0);
	CHECK(enable(d));
	CHECK(rd(d, REG_ASQ, 8) == ASQ && rd(d, AQA, 4) == 0x70007);
	wr(d, CC, 4, 0);
	CHECK(rd(d, CSTS, 4) == 0);
	for (unsigned i = 0; i < 6;
	     i++) { /* what cannot be: the controller says that it failed, until the next reset */
		static const struct {
			uint32_t cc, aqa;
			uint64_t asq, acq;
		} bad[] = {
			{EN | 0x80, 0x70007, ASQ, ACQ},         /* pages of 8 KiB */
			{EN | 0x10, 0x70007, ASQ, ACQ},         /* another command set */
			{EN, 0x00007, ASQ, ACQ},                /* one entry */
			{EN, 0x70007, ASQ + 8, ACQ},            /* alignment */
			{EN, 0x70007, ASQ, RAM_BYTES},          /* past RAM */
			{EN, 0xfff0fff, RAM_BYTES - PAGE, ACQ}, /* its end past RAM */
		};

		wr(d, AQA, 4, bad[i].aqa);
		wr(d, REG_ASQ, 8, bad[i].asq);
		wr(d, REG_ACQ, 8, bad[i].acq);
		wr(d, CC, 4, bad[i].cc | SIZES);
		CHECK(rd(d, CSTS, 4) == 2);
		wr(d, 0x1000, 4, 1);
		wr(d, CC, 4, 0);
		CHECK(rd(d, CSTS, 4) == 0);
	}
	CHECK(enable(d));
}

static void test_identify(struct disk *d)
{
	const uint8_t *p = ram(d, DATA);
	uint64_t blocks;

	CHECK(ADM(.opcode = 6, .prp1 = DATA, .cdw = {1}) == 0);
	CHECK(!memcmp(p + 4, "SN-1                ", 20) && p[77] == 7 && p[512] == 0x66 && p[516] == 1 &&
	      (p[525] & 1));
	CHECK(ADM(.opcode = 6, .nsid = 1, .prp1 = DATA + 0x800, .prp2 = DATA + PAGE) == 0); /* over two pages */
	memcpy(&blocks, p + 0x800, 8);
	CHECK(blocks == DISK_BYTES / 512 && p[0x800 + 130] == 9);
	CHECK(ADM(.opcode = 6, .prp1 = DATA, .cdw = {2}) == 0 && p[0] == 1 && p[4] == 0);
	CHECK(ADM(.opcode = 6, .nsid = 1, .prp1 = DATA, .cdw = {2}) == 0 && p[0] == 0);
	CHECK(ADM(.opcode = 6, .nsid = 1, .prp1 = DATA, .cdw = {3}) == 0 && p[0] == 1 && p[1] == 8);
	CHECK(ADM(.opcode = 6, .nsid = 2, .prp1 = DATA) == 0x0b);
	CHECK(ADM(.opcode = 6, .prp1 = DATA, .cdw = {0x77}) == 0x02);
	CHECK(ADM(.opcode = 6, .prp1 = RAM_BYTES, .cdw = {1}) == 0x04);
	CHECK(ADM(.opcode = 6, .prp1 = DATA + 1, .cdw = {1}) == 0x13);
	CHECK(ADM(.opcode = 6, .flags = 0x40, .prp1 = DATA, .cdw = {1}) == 0x02);
	CHECK(ADM(.opcode = 0x7f) == 0x01);
}

static void test_features(struct disk *d)
{
	uint32_t val = 0;

	CHECK(ask(d, &d->admin, (struct command){.opcode = 9, .cdw = {7, 0x00070007}}, &val) == 0 && val == 0x10001);
	CHECK(ask(d, &d->admin, (struct command){.opcode = 10, .cdw = {7}}, &val) == 0 && val == 0x10001);
	CHECK(ADM(.opcode = 9, .cdw = {7, 0xffff}) == 0x02);
	CHECK(ADM(.opcode = 9, .cdw = {6, 0}) == 0);
	CHECK(ask(d, &d->admin, (struct command){.opcode = 10, .cdw = {6}}, &val) == 0 && val == 0);
	CHECK(ADM(.opcode = 9, .cdw = {6 | 1u << 31, 1}) == 0x10d);
	CHECK(ADM(.opcode = 9, .cdw = {6, 1}) == 0);
	CHECK(ADM(.opcode = 10, .cdw = {0x55}) == 0x02);
	CHECK(ADM(.opcode = 9, .cdw = {9, 9}) == 0x02);
	CHECK(ask(d, &d->admin, (struct command){.opcode = 8, .cdw = {1}}, &val) == 0 && val == 1);
	CHECK(ADM(.opcode = 2, .nsid = ~0u, .prp1 = DATA, .cdw = {2 | 127 << 16}) == 0 && ram(d, DATA)[3] == 100);
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {3 | 127 << 16, 0, 8}) == 0 && ram(d, DATA)[0] == '1');
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {0x99 | 127 << 16}) == 0x109);
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {1 | 0xffffu << 16}) == 0x02);
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {1 | 127 << 16, 0, 1 << 20}) == 0x02);
}

static void test_queues(struct disk *d)
{
	const uint32_t size = (ENTRIES - 1) << 16;

	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {0 | size, 1}) == 0x101);
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {3 | size, 1}) == 0x101);
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {1, 1}) == 0x102);
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {1 | 0x400u << 16, 1}) == 0x102);
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {1 | size, 3 | 3 << 16}) == 0x108);
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {1 | size, 2}) == 0x02); /* scattered */
	CHECK(ADM(.opcode = 5, .prp1 = CQ + 64, .cdw = {1 | size, 1}) == 0x13);
	CHECK(ADM(.opcode = 5, .prp1 = 1ull << 50, .cdw = {1 | size, 1}) == 0x02);
	CHECK(ADM(.opcode = 1, .prp1 = SQ, .cdw = {1 | size, 1 | 1 << 16}) == 0x100);
	CHECK(ADM(.opcode = 1, .prp1 = SQ, .cdw = {1 | size, 1}) == 0x100); /* the admin queue's is not for I/O */
	make_queues(d);
	CHECK(ADM(.opcode = 5, .prp1 = CQ, .cdw = {1 | size, 1}) == 0x101);
	CHECK(ADM(.opcode = 1, .prp1 = SQ, .cdw = {1 | size, 1 | 1 << 16}) == 0x101);
	CHECK(ADM(.opcode = 4, .cdw = {1}) == 0x10c); /* somebody answers there */
	CHECK(ADM(.opcode = 0, .cdw = {2}) == 0x101);
	CHECK(ADM(.opcode = 0, .cdw = {1}) == 0 && ADM(.opcode = 4, .cdw = {1}) == 0);
	CHECK(ADM(.opcode = 4, .cdw = {1}) == 0x101);
	wr(d, 0x1008, 4, 1); /* a doorbell of a queue that there is not */
	d->io = (struct pair){.sq = SQ, .cq = CQ, .entries = ENTRIES, .phase = true, .id = 1};
	memset(ram(d, CQ), 0, PAGE);
	make_queues(d);
}

static void test_io(struct disk *d)
{
	static uint8_t file[600 << 10];

	for (unsigned i = 0; i < sizeof(file); i++)
		ram(d, DATA)[i] = (uint8_t)(i * 7 >> 3);
	CHECK(IO(.opcode = 1, .prp1 = DATA, .cdw = {3, 0, 0}) == 0);
	CHECK(pread(d->fd, file, 512, 3 * 512) == 512 && !memcmp(file, ram(d, DATA), 512));
	CHECK(IO(.opcode = 1, .prp1 = DATA + 0x204, .prp2 = DATA + PAGE, .cdw = {8, 0, 13 | 1 << 30}) == 0); /* FUA */
	CHECK(pread(d->fd, file, 7168, 4096) == 7168 && !memcmp(file, ram(d, DATA + 0x204), 7168));
	/* 512 KiB by a list, its pages in the other order, the list over two pages */
	for (unsigned i = 0; i < 4; i++)
		((uint64_t *)ram(d, LIST + PAGE - 32))[i] = i < 3 ? DATA + (127 - i) * PAGE : LIST + 0x3000;
	for (unsigned i = 0; i < 124; i++)
		((uint64_t *)ram(d, LIST + 0x3000))[i] = DATA + (124 - i) * PAGE;
	CHECK(IO(.opcode = 1, .prp1 = DATA, .prp2 = LIST + PAGE - 32, .cdw = {1024, 0, 1023}) == 0);
	CHECK(pread(d->fd, file, 512 << 10, 1024 * 512) == 512 << 10);
	CHECK(!memcmp(file, ram(d, DATA), PAGE) && !memcmp(file + PAGE, ram(d, DATA + 127 * PAGE), PAGE));
	CHECK(!memcmp(file + 4 * PAGE, ram(d, DATA + 124 * PAGE), PAGE) &&
	      !memcmp(file + 127 * PAGE, ram(d, DATA + PAGE), PAGE));
	memset(ram(d, DATA), 0, 128 * PAGE);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .prp2 = LIST + PAGE - 32, .cdw = {1024, 0, 1023}) == 0);
	CHECK(!memcmp(file, ram(d, DATA), PAGE) && !memcmp(file + PAGE, ram(d, DATA + 127 * PAGE), PAGE));
	CHECK(IO(.opcode = 0) == 0 && ask(d, &d->io, (struct command){.nsid = ~0u}, NULL) == 0);
	CHECK(IO(.opcode = 8, .cdw = {1024, 0, 7}) == 0);
	CHECK(pread(d->fd, file, 8192, 1024 * 512) == 8192 && !file[0] && !file[4095] && file[4096 + 9]);
	/* deallocation of two ranges */
	memset(ram(d, DATA), 0, 32);
	*(uint32_t *)ram(d, DATA + 4) = 8;
	*(uint64_t *)ram(d, DATA + 8) = 1032;
	*(uint32_t *)ram(d, DATA + 20) = 1;
	*(uint64_t *)ram(d, DATA + 24) = 3;
	CHECK(IO(.opcode = 9, .prp1 = DATA, .cdw = {1, 4}) == 0);
	CHECK(pread(d->fd, file, 8192, 1024 * 512) == 8192 && !file[4096 + 9]);
	*(uint64_t *)ram(d, DATA + 24) = DISK_BYTES / 512;
	CHECK(IO(.opcode = 9, .prp1 = DATA, .cdw = {1, 4}) == 0x80);
}

static void test_bad_io(struct disk *d)
{
	uint64_t *list = (uint64_t *)ram(d, LIST);

	CHECK(IO(.opcode = 2, .prp1 = DATA, .cdw = {DISK_BYTES / 512, 0, 0}) == 0x80);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .cdw = {DISK_BYTES / 512 - 1, 0, 1}) == 0x80);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .cdw = {~0u, ~0u, 0}) == 0x80);
	CHECK(IO(.opcode = 8, .cdw = {1, 0, 0xffff}) == 0x80);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .cdw = {0, 0, 1024}) == 0x02); /* more than MDTS */
	CHECK(IO(.opcode = 2, .flags = 1, .prp1 = DATA) == 0x02 &&
	      IO(.opcode = 2, .flags = 0x40, .prp1 = DATA) == 0x02);
	CHECK(IO(.opcode = 0x55) == 0x01);
	CHECK(ask(d, &d->io, (struct command){.opcode = 2, .nsid = 2, .prp1 = DATA}, NULL) == 0x0b);
	CHECK(ask(d, &d->io, (struct command){.opcode = 2, .nsid = ~0u, .prp1 = DATA}, NULL) == 0x0b);
	CHECK(IO(.opcode = 2, .prp1 = DATA + 2) == 0x13);
	CHECK(IO(.opcode = 2, .prp1 = RAM_BYTES - PAGE, .prp2 = RAM_BYTES, .cdw = {0, 0, 15}) == 0x04);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .prp2 = DATA + 512, .cdw = {0, 0, 15}) == 0x13);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .prp2 = LIST + 4, .cdw = {0, 0, 63}) == 0x13);
	CHECK(IO(.opcode = 2, .prp1 = DATA, .prp2 = ~0xfffull, .cdw = {0, 0, 63}) == 0x04);
	CHECK(IO(.opcode = 2, .prp1 = MEM_HOLE_START, .cdw = {0, 0, 0}) == 0x04);
	for (unsigned i = 0; i < 512; i++)
		list[i] = DATA + 8;
	CHECK(IO(.opcode = 2, .prp1 = DATA, .prp2 = LIST, .cdw = {0, 0, 63}) == 0x13);
	for (unsigned i = 0; i < 512; i++) /* a list that is its own data, and leads to itself */
		list[i] = LIST;
	CHECK(IO(.opcode = 1, .prp1 = LIST, .prp2 = LIST + PAGE - 8, .cdw = {0, 0, 1023}) == 0);
	CHECK(ftruncate(d->fd, PAGE) == 0 && IO(.opcode = 2, .prp1 = DATA, .cdw = {100, 0, 0}) == 0x281);
	CHECK(ftruncate(d->fd, DISK_BYTES) == 0 && IO(.opcode = 2, .prp1 = DATA, .cdw = {100, 0, 0}) == 0);
}

/* More commands than the completion queue has room for: none is lost. */
static void test_full(struct disk *d)
{
	struct pair *p = &d->io;
	unsigned seen = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < ENTRIES - 1; i++)
			submit(d, p,
			       (struct command){.opcode = 2,
						.nsid = 1,
						.prp1 = DATA + (3 * round + i) * PAGE,
						.cdw = {i, 0, 0}});
		for (unsigned i = 0; i < 20; i++)
			nap();
		if (round == 0)
			continue; /* the first three fill it; the next three have to wait */
		for (unsigned i = 0; i < ENTRIES - 1; i++)
			seen += complete(d, p, NULL) == 0;
	}
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		seen += complete(d, p, NULL) == 0;
	CHECK(seen == 9);
}

static void test_events(struct disk *d)
{
	uint32_t event = 0;

	/* the doorbell of a queue that was deleted, from before */
	CHECK(ask(d, &d->admin, (struct command){.opcode = 12}, &event) == 0 && event == 0x10000);
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {1 | 15 << 16}) == 0 && ram(d, DATA)[0] == 1);
	for (unsigned i = 0; i < 4; i++)
		submit(d, &d->admin, (struct command){.opcode = 12});
	CHECK(ADM(.opcode = 12) == 0x105);
	wr(d, 0x1008, 4, ENTRIES); /* no such entry */
	CHECK(complete(d, &d->admin, &event) == 0 && event == 0x10100);
	wr(d, 0x1030, 4, 0); /* no such queue; not told before the log has been read */
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {1 | 15 << 16}) == 0 && ram(d, DATA)[0] >= 2);
	CHECK(complete(d, &d->admin, &event) == 0 && event == 0x10000);
	wr(d, 0x100c, 4, (d->io.head + 1) % ENTRIES); /* gives back what it has not got */
	CHECK(ADM(.opcode = 2, .prp1 = DATA, .cdw = {1 | 15 << 16}) == 0);
	CHECK(complete(d, &d->admin, &event) == 0 && event == 0x10100);
}

static void test_interrupts(struct disk *d)
{
	unsigned cap = d->f->msix_cap;

	/* INTA: up while something is unread, by admin at once, by a worker after its wake */
	submit(d, &d->admin, (struct command){.opcode = 10, .cdw = {1}});
	CHECK(d->line);
	wr(d, 0x0c, 4, 1);
	CHECK(!d->line && rd(d, 0x0c, 4) == 1);
	wr(d, 0x10, 4, 1);
	CHECK(d->line && rd(d, 0x10, 4) == 0);
	CHECK(complete(d, &d->admin, NULL) == 0 && !d->line);
	atomic_store(&d->wakes, 0);
	submit(d, &d->io, (struct command){.nsid = 1});
	for (unsigned i = 0; i < 10000 && !atomic_load(&d->wakes); i++)
		nap();
	pci_intx_update(&d->bus);
	CHECK(d->line);
	CHECK(complete(d, &d->io, NULL) == 0 && !d->line);
	/* MSI-X */
	pci_config_write(&d->bus, 0, 8, cap + 2, 2, 0x8000);
	for (unsigned v = 0; v < 3; v++)
		pci_mem_ops.write(&d->bus, (pci_config_read(&d->bus, 0, 8, PCI_BAR(4), 4) & ~15u) + 16 * v + 12, 4, 0);
	atomic_store(&d->msis, 0);
	CHECK(ADM(.opcode = 10, .cdw = {1}) == 0 && atomic_load(&d->msis) == 1);
	CHECK(IO(.opcode = 0) == 0 && !d->line);
	for (unsigned i = 0; i < 10000 && atomic_load(&d->msis) < 2; i++)
		nap();
	CHECK(atomic_load(&d->msis) == 2);
	pci_config_write(&d->bus, 0, 8, cap + 2, 2, 0);
}

static void test_master(struct disk *d)
{
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	submit(d, &d->admin, (struct command){.opcode = 10, .cdw = {1}});
	submit(d, &d->io, (struct command){.nsid = 1});
	nap();
	CHECK(!(ram(d, CQ + 16 * d->io.head)[14] & 1) == d->io.phase); /* nothing has come */
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	CHECK(complete(d, &d->admin, NULL) == 0 && complete(d, &d->io, NULL) == 0);
}

static void test_shutdown(struct disk *d)
{
	wr(d, CC, 4, EN | SIZES | SHN);
	for (unsigned i = 0; i < 10000 && (rd(d, CSTS, 4) & 0xc) != 8; i++)
		nap();
	CHECK(rd(d, CSTS, 4) == 9);
	CHECK(enable(d));
	make_queues(d);
	submit(d, &d->io, (struct command){.opcode = 1, .nsid = 1, .prp1 = DATA}); /* a reset with a write under way */
	pci_reset(&d->bus);
	pci_place(&d->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	CHECK(rd(d, CSTS, 4) == 0 && rd(d, CC, 4) == 0 && enable(d));
	make_queues(d);
	CHECK(IO(.opcode = 0) == 0);
}

static void test_whole(bool threads)
{
	struct disk *d = disk_new(threads, false, BLK_WRITEBACK, false);

	test_registers(d);
	test_identify(d);
	test_features(d);
	test_queues(d);
	test_io(d);
	test_bad_io(d);
	test_full(d);
	test_events(d);
	test_interrupts(d);
	test_master(d);
	test_shutdown(d);
	disk_free(d);
}

static void test_modes(void)
{
	struct disk *d = disk_new(true, true, BLK_WRITEBACK, false);

	CHECK(enable(d));
	make_queues(d);
	CHECK(ADM(.opcode = 6, .nsid = 1, .prp1 = DATA) == 0 && ram(d, DATA)[99] == 1);
	CHECK(IO(.opcode = 2, .prp1 = DATA) == 0 && IO(.opcode = 1, .prp1 = DATA) == 0x20);
	CHECK(IO(.opcode = 8) == 0x20);
	disk_free(d);
	d = disk_new(true, false, BLK_WRITETHROUGH, false);
	CHECK(enable(d));
	CHECK(ADM(.opcode = 6, .prp1 = DATA, .cdw = {1}) == 0 && !(ram(d, DATA)[525] & 1));
	CHECK(ADM(.opcode = 10, .cdw = {6}) == 0x02);
	disk_free(d);
	d = disk_new(false, false, BLK_WRITEBACK, true);
	CHECK(enable(d));
	make_queues(d);
	memset(ram(d, DATA), 0x77, 512);
	*(uint32_t *)ram(d, DATA + PAGE + 4) = 8;
	CHECK(IO(.opcode = 1, .prp1 = DATA) == 0 && IO(.opcode = 9, .prp1 = DATA + PAGE, .cdw = {0, 4}) == 0);
	CHECK(IO(.opcode = 2, .prp1 = DATA + 512) == 0 && ram(d, DATA + 512)[511] == 0x77);
	disk_free(d);
}

int main(void)
{
	test_whole(false);
	test_whole(true);
	test_modes();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
