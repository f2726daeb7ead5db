/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CD drive through its controller's registers, as a driver programs them: identification, packets, data over several buffers,
 * errors and the way out of them; then a driver that writes anything anywhere.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/ahci/ahci.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define REGS 0xe0000000u
#define LIST 0x1000u
#define FISES 0x2000u
#define TABLE 0x3000u
#define DATA 0x10000u
#define SECTORS 100u
#define PORT(off) (0x100u + (off))

struct cd {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
	int fd;
	unsigned wrote;
	bool line;
};

static void on_wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	struct cd *d = ctx;

	(void)gpa, (void)len;
	__atomic_fetch_add(&d->wrote, 1, __ATOMIC_RELAXED);
}

static void on_line(void *ctx, unsigned n, bool level)
{
	struct cd *d = ctx;

	(void)n;
	d->line = level;
}

static uint32_t rd(struct cd *d, unsigned off)
{
	return (uint32_t)pci_mem_ops.read(&d->bus, REGS + off, 4);
}

static void wr(struct cd *d, unsigned off, uint32_t v)
{
	pci_mem_ops.write(&d->bus, REGS + off, 4, v);
}

static struct cd *cd_new(void)
{
	static const struct pci_bus_config cfg = {.intx = on_line};
	struct cd *d = calloc(1, sizeof(*d));
	struct blk_image *img = NULL;
	struct pci_function *f;
	struct error e = {0};
	char name[64];

	if (!d || mem_init(&d->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	d->dma = (struct dma){.mem = &d->mem, .wrote = on_wrote, .ctx = d};
	d->fd = memfd_create("cd", 0);
	if (d->fd < 0 || ftruncate(d->fd, SECTORS * ATAPI_SECTOR) != 0)
		abort();
	for (unsigned i = 0; i < SECTORS; i++)
		if (pwrite(d->fd, &i, sizeof(i), i * ATAPI_SECTOR + 4) != sizeof(i))
			abort();
	snprintf(name, sizeof(name), "/proc/self/fd/%d", d->fd);
	CHECK(blk_image_open(&(struct blk_config){.file = name, .readonly = true}, &img, &e) == ST_OK);
	pci_bus_init(&d->bus, &cfg);
	d->bus.cfg.ctx = d;
	f = ahci_new(img, &d->dma, &e);
	CHECK(f && pci_add(&d->bus, f, -1, &e) == ST_OK);
	pci_reset(&d->bus);
	pci_place(&d->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	return d;
}

static void cd_free(struct cd *d)
{
	pci_bus_fini(&d->bus);
	mem_fini(&d->mem);
	close(d->fd);
	free(d);
}

static void port_up(struct cd *d)
{
	wr(d, 0x04, 1u << 31 | 2);
	wr(d, PORT(0x00), LIST);
	wr(d, PORT(0x08), FISES);
	wr(d, PORT(0x10), ~0u);
	wr(d, 0x08, ~0u);
	wr(d, PORT(0x14), 0x40000003);
	wr(d, PORT(0x18), 0x11);
}

static void port_down(struct cd *d)
{
	wr(d, PORT(0x18), 0);
}

struct prd {
	uint64_t address;
	uint32_t reserved, count;
};

/* Gives a command in slot 3 and waits for its end; true when it went well. */
static bool command(struct cd *d, uint8_t ata, const uint8_t packet[12], const struct prd *prd, unsigned nprd)
{
	uint8_t fis[64] = {0x27, 0x80, ata}, pk[16] = {0};
	uint32_t header[8] = {5 | nprd << 16, 0, TABLE};

	if (packet)
		memcpy(pk, packet, 12);
	mem_write(&d->mem, LIST + 3 * 32, header, sizeof(header));
	mem_write(&d->mem, TABLE, fis, sizeof(fis));
	mem_write(&d->mem, TABLE + 0x40, pk, sizeof(pk));
	for (unsigned i = 0; i < nprd; i++)
		mem_write(&d->mem, TABLE + 0x80 + 16 * i, &prd[i], sizeof(prd[i]));
	wr(d, PORT(0x10), ~0u);
	wr(d, 0x08, ~0u);
	wr(d, PORT(0x38), 8);
	for (unsigned i = 0; i < 5000; i++) {
		if (rd(d, PORT(0x10)))
			return !(rd(d, PORT(0x10)) & 1u << 30);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	CHECK(false); /* no answer */
	return false;
}

static uint32_t moved(struct cd *d)
{
	uint32_t v = 0;

	mem_read(&d->mem, LIST + 3 * 32 + 4, &v, 4);
	return v;
}

static uint32_t word(struct cd *d, uint64_t gpa)
{
	uint32_t v = 0;

	mem_read(&d->mem, gpa, &v, 4);
	return v;
}

static void test_drive(void)
{
	const struct prd one = {DATA, 0, 0x3fff};
	const struct prd three[3] = {{DATA, 0, 511}, {DATA + 0x2000, 0, 1023}, {DATA + 0x4000, 0, 0x2fff}};
	const struct prd nowhere = {1ull << 40, 0, 0x3fff};
	const uint8_t ready[12] = {0}, inquiry[12] = {0x12, 0, 0, 0, 36}, capacity[12] = {0x25}, sense[12] = {3, 0, 0, 0, 18};
	const uint8_t read2[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 2}, last[12] = {0xa8, 0, 0, 0, 0, 99, 0, 0, 0, 1};
	const uint8_t past[12] = {0x28, 0, 0, 0, 0, 99, 0, 0, 2}, wild[12] = {0xa8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t toc[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 100}, none[12] = {0x2a};
	struct cd *d = cd_new();
	uint8_t buf[64];

	CHECK(rd(d, 0x0c) == 1 && rd(d, PORT(0x24)) == 0xeb140101 && rd(d, PORT(0x28)) == 0x113 && !(rd(d, PORT(0x20)) & 0x88));
	wr(d, PORT(0x38), 8);
	CHECK(rd(d, PORT(0x38)) == 0); /* the port has not been started */
	port_up(d);
	CHECK((rd(d, PORT(0x18)) & 0xc011) == 0xc011);

	/* who it is; a disk it is not, and the port has to be started again after an error */
	CHECK(command(d, 0xa1, NULL, &one, 1) && moved(d) == 512 && (word(d, DATA) & 0xffff) == 0x85c0);
	CHECK((word(d, FISES + 0x20) & 0xff) == 0x5f && rd(d, PORT(0x38)) == 0);
	pci_intx_update(&d->bus);
	CHECK(d->line);
	wr(d, PORT(0x10), ~0u);
	wr(d, 0x08, ~0u);
	CHECK(!d->line);
	CHECK(!command(d, 0xec, NULL, &one, 1) && rd(d, PORT(0x38)) == 8 && (rd(d, PORT(0x20)) & 1));
	CHECK(word(d, FISES + 0x44) << 8 == 0xeb140100);
	port_down(d);
	CHECK(rd(d, PORT(0x38)) == 0 && !(rd(d, PORT(0x18)) & 0xc000));
	port_up(d);

	CHECK(command(d, 0xa0, ready, NULL, 0) && moved(d) == 0 && (word(d, FISES + 0x40) & 0xff) == 0x34);
	CHECK(command(d, 0xa0, inquiry, &one, 1) && moved(d) == 36 && (word(d, DATA) & 0xff) == 5);
	CHECK(command(d, 0xa0, capacity, &one, 1) && word(d, DATA) == __builtin_bswap32(SECTORS - 1) &&
	      word(d, DATA + 4) == __builtin_bswap32(ATAPI_SECTOR));
	CHECK(command(d, 0xa0, toc, &one, 1) && moved(d) == 20);

	/* two sectors over three buffers */
	CHECK(command(d, 0xa0, read2, three, 3) && moved(d) == 4096);
	CHECK(word(d, DATA + 4) == 7 && word(d, DATA + 0x4000 + 512 + 4) == 8);
	CHECK(command(d, 0xa0, last, &one, 1) && word(d, DATA + 4) == 99);

	/* what cannot be done, and the sense of it */
	CHECK(!command(d, 0xa0, past, &one, 1) && (rd(d, PORT(0x20)) >> 8) == 0x54);
	port_down(d);
	port_up(d);
	CHECK(command(d, 0xa0, sense, &one, 1));
	mem_read(&d->mem, DATA, buf, 18);
	CHECK(buf[2] == 5 && buf[12] == 0x21);
	CHECK(!command(d, 0xa0, wild, &one, 1));
	port_down(d);
	port_up(d);
	CHECK(!command(d, 0xa0, none, &one, 1));
	port_down(d);
	port_up(d);
	CHECK(!command(d, 0xa0, read2, &nowhere, 1)); /* buffers that are no memory */
	port_down(d);
	port_up(d);
	CHECK(!command(d, 0xa0, read2, three, 2)); /* and too few */
	port_down(d);
	port_up(d);
	CHECK(command(d, 0xa0, last, &one, 1) && d->wrote);

	/* no right to reach memory: the command waits for it */
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY);
	wr(d, PORT(0x10), ~0u);
	wr(d, PORT(0x38), 8);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	CHECK(rd(d, PORT(0x38)) == 8 && !rd(d, PORT(0x10)));
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	for (unsigned i = 0; i < 5000 && rd(d, PORT(0x38)); i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	CHECK(rd(d, PORT(0x38)) == 0);
	wr(d, 0x04, 1);
	CHECK(rd(d, 0x04) == 1u << 31 && rd(d, PORT(0x18)) == 0);
	cd_free(d);
}

/* Anything in the registers and in what they point to. Nothing but RAM may be touched, and every reset comes back. */
static void test_hostile(void)
{
	static const uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8};
	static const uint8_t atas[] = {0xa0, 0xa0, 0xa0, 0xa1, 0xec, 0x08, 0xef};
	struct cd *d = cd_new();
	uint64_t s = 88172645463325252ull;

	for (unsigned i = 0; i < 40000; i++) {
		unsigned off;

		s ^= s << 13, s ^= s >> 7, s ^= s << 17;
		off = (unsigned)(s >> 20) % 0x40 & ~3u;
		switch (s % 8) {
		case 0:
			port_up(d);
			break;
		case 1:
			wr(d, (s & 256 ? PORT(off) : off), (uint32_t)(s >> 32));
			break;
		case 2:
			d->mem.ram_hva[LIST + (s >> 32) % 0x400] = (uint8_t)(s >> 24);
			break;
		case 3:
			d->mem.ram_hva[TABLE + (s >> 32) % 0x200] = (uint8_t)(s >> 24);
			break;
		case 4: {
			struct prd prd = {s >> 30 & 0x1ffffff, 0, (uint32_t)(s >> 8)};
			uint8_t fis[4] = {0x27, 0x80, atas[(s >> 40) % sizeof(atas)]};
			uint32_t header[4] = {5 | (uint32_t)(s >> 50) << 16, 0, TABLE, 0};

			mem_write(&d->mem, LIST + (s >> 24 & 31) * 32, header, sizeof(header));
			mem_write(&d->mem, TABLE, fis, sizeof(fis));
			d->mem.ram_hva[TABLE + 0x40] = opcodes[(s >> 44) % sizeof(opcodes)];
			mem_write(&d->mem, TABLE + 0x80, &prd, sizeof(prd));
			break;
		}
		case 5:
			wr(d, PORT(0x38), (uint32_t)(s >> 32));
			break;
		case 6:
			rd(d, (unsigned)(s >> 32) % 4092);
			pci_intx_update(&d->bus);
			break;
		default:
			if (s & 0xf000)
				break;
			pci_reset(&d->bus);
			pci_place(&d->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
			pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
			break;
		}
	}
	pci_reset(&d->bus);
	CHECK(d->bus.slot[1]->config[PCI_COMMAND] == 0);
	cd_free(d);
}

int main(void)
{
	test_drive();
	test_hostile();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
