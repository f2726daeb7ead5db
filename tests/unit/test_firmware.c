/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware finds: fw_cfg by port and by DMA, ACPI tables that a loader moves, SMBIOS structures, flash, the VGA's registers and its
 * screen as text. The loader's instructions are carried out here as firmware does it, at an address that nobody knew.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/pc/fwcfg.h"
#include "engine/load/loader.h"
#include "engine/pc/pflash.h"
#include "engine/load/smbios.h"
#include "engine/pc/vga.h"
#include "engine/vm.h"
#include "tests/unit/check.h"

#define MIB (1ull << 20)

static void port_write(struct fwcfg *f, uint64_t off, unsigned size, uint64_t v)
{
	fwcfg_ops.write(f, off, size, v);
}

static uint8_t sum(const uint8_t *p, uint64_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* ---- fw_cfg ---- */

struct told {
	unsigned times;
	uint64_t gpa, len;
};

static void on_written(void *ctx, uint64_t gpa, uint64_t len)
{
	struct told *t = ctx;

	t->times++;
	t->gpa = gpa;
	t->len = len;
}

/* Starts a request at gpa 0x1000; returns what control holds then. */
static uint32_t dma(struct fwcfg *f, struct mem *m, uint32_t control, uint32_t length, uint64_t address)
{
	struct {
		uint32_t control, length;
		uint64_t address;
	} rq = {htobe32(control), htobe32(length), htobe64(address)};

	mem_write(m, 0x1000, &rq, sizeof(rq));
	port_write(f, 4, 4, 0);
	port_write(f, 8, 4, htobe32(0x1000));
	mem_read(m, 0x1000, &rq, sizeof(rq));
	return be32toh(rq.control);
}

static void test_fwcfg(void)
{
	struct told told = {0};
	struct mem m;
	struct error e;
	struct fwcfg_config cfg = {.mem = &m, .ram_written = on_written, .ctx = &told};
	struct fwcfg *f;
	uint8_t dir[4 + 2 * 64], buf[32], name[80];
	uint64_t v = 0;

	CHECK(mem_init(&m, 16 * MIB, &e) == ST_OK);
	f = fwcfg_new(&cfg);
	CHECK(f != NULL);
	CHECK(fwcfg_add_file(f, "etc/one", "first", 5, &e) == ST_OK);
	CHECK(fwcfg_add_file(f, "etc/two", "second", 6, &e) == ST_OK);
	CHECK(fwcfg_add_file(f, "etc/one", "FIRST!!", 7, &e) == ST_OK); /* in the place of the first */

	port_write(f, 0, 2, FWCFG_SIGNATURE);
	for (unsigned i = 0; i < 4; i++)
		v |= fwcfg_ops.read(f, 1, 1) << 8 * i;
	CHECK(v == 0x554d4551); /* "QEMU" */
	CHECK(fwcfg_ops.read(f, 1, 1) == 0); /* past the end */
	CHECK(fwcfg_ops.read(f, 4, 4) == 0x554d4551 && fwcfg_ops.read(f, 8, 4) == 0x47464320);
	CHECK(fwcfg_ops.read(f, 4, 1) == 'Q' && fwcfg_ops.read(f, 11, 1) == 'G');

	port_write(f, 0, 2, FWCFG_FILE_DIR);
	for (unsigned i = 0; i < sizeof(dir); i++)
		dir[i] = (uint8_t)fwcfg_ops.read(f, 1, 1);
	CHECK(dir[3] == 2 && !dir[0] && !dir[1] && !dir[2]);
	CHECK(dir[7] == 7 && dir[9] == 0x20 && !strcmp((char *)dir + 12, "etc/one"));
	CHECK(dir[71] == 6 && dir[73] == 0x21 && !strcmp((char *)dir + 76, "etc/two"));

	/* select, skip and read by DMA; behind the end there are zeros */
	memset(buf, 0xaa, sizeof(buf));
	mem_write(&m, 0x2000, buf, sizeof(buf));
	CHECK(dma(f, &m, 0x20u << 16 | 8 | 4, 1, 0) == 0);
	CHECK(dma(f, &m, 2, 10, 0x2000) == 0);
	CHECK(told.times && told.gpa == 0x1000 && told.len == 4);
	mem_read(&m, 0x2000, buf, sizeof(buf));
	CHECK(!memcmp(buf, "IRST!!\0\0\0\0\xaa", 11));
	CHECK(dma(f, &m, 0x21u << 16 | 8 | 2, 6, 0x2000) == 0);
	mem_read(&m, 0x2000, buf, 6);
	CHECK(!memcmp(buf, "second", 6));

	/* what cannot be done */
	CHECK(dma(f, &m, 0x21u << 16 | 8 | 16, 6, 0x2000) == 1);            /* a write */
	CHECK(dma(f, &m, 0x21u << 16 | 8 | 2, 6, 64 * MIB) == 1);           /* to where no memory is */
	CHECK(dma(f, &m, 0x21u << 16 | 8 | 2, 6, ~0ull - 3) == 1);          /* around the end of all addresses */
	CHECK(dma(f, &m, 0x21u << 16 | 8 | 2, 0xffffffff, 0x2000) == 1);    /* four GiB of zeros */
	port_write(f, 4, 4, 0xffffffff);
	port_write(f, 8, 4, 0xffffffff); /* a request that is nowhere: nothing happens */
	CHECK(dma(f, &m, 0x7777u << 16 | 8 | 2, 4, 0x2000) == 0);           /* no such item: zeros */
	mem_read(&m, 0x2000, buf, 4);
	CHECK(!memcmp(buf, "\0\0\0\0", 4));

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	CHECK(fwcfg_add_file(f, (char *)name, "", 0, &e) == ST_TOO_BIG);
	for (unsigned i = 2; i < 64; i++) {
		snprintf((char *)name, sizeof(name), "etc/%u", i);
		CHECK(fwcfg_add_file(f, (char *)name, &i, 4, &e) == ST_OK);
	}
	CHECK(fwcfg_add_file(f, "etc/one-more", "", 0, &e) == ST_TOO_BIG);
	fwcfg_free(f);
	mem_fini(&m);
}

/* ---- ACPI ---- */

static const uint8_t *table_of(const struct acpi_image *t, uint32_t gpa, const char *sig)
{
	const uint8_t *p = t->bytes + (gpa - t->origin);

	CHECK(gpa >= t->origin && gpa - t->origin < t->used && !memcmp(p, sig, 4));
	CHECK(get32(p + 4) <= t->used - (gpa - t->origin));
	return p;
}

/* Follows the pointers from the RSDP on, and checks every sum. */
static void walk(const struct acpi_image *t)
{
	const uint8_t *xsdt, *rsdt, *fadt = NULL;
	unsigned n;

	CHECK(!memcmp(t->rsdp, "RSD PTR ", 8) && !sum(t->rsdp, 20) && !sum(t->rsdp, ACPI_RSDP_BYTES));
	rsdt = table_of(t, get32(t->rsdp + ACPI_RSDP_RSDT), "RSDT");
	xsdt = table_of(t, (uint32_t)get64(t->rsdp + ACPI_RSDP_XSDT), "XSDT");
	n = (get32(xsdt + 4) - 36) / 8;
	CHECK(n == (get32(rsdt + 4) - 36) / 4 && n >= 3);
	CHECK(!sum(xsdt, get32(xsdt + 4)) && !sum(rsdt, get32(rsdt + 4)));
	for (unsigned i = 0; i < n; i++) {
		uint32_t at = (uint32_t)get64(xsdt + 36 + 8 * i);
		const uint8_t *p = t->bytes + (at - t->origin);

		CHECK(at == get32(rsdt + 36 + 4 * i));
		CHECK(at - t->origin < t->used && !sum(p, get32(p + 4)));
		if (!memcmp(p, "FACP", 4))
			fadt = p;
	}
	CHECK(fadt != NULL);
	if (fadt) {
		table_of(t, get32(fadt + 36), "FACS");
		CHECK(!sum(table_of(t, get32(fadt + 40), "DSDT"), get32(table_of(t, get32(fadt + 40), "DSDT") + 4)));
		CHECK(get64(fadt + 140) == get32(fadt + 40));
	}
}

/* As firmware places what was built for address 0. */
static void move(struct acpi_image *t, uint32_t to)
{
	for (unsigned i = 0; i < t->nfixes; i++) {
		uint8_t *p = t->bytes + t->fix[i].at;

		if (t->fix[i].kind != ACPI_FIX_POINTER)
			continue;
		CHECK(t->fix[i].at + t->fix[i].len <= t->used);
		if (t->fix[i].len == 8)
			put64(p, get64(p) + to);
		else
			put32(p, get32(p) + to);
	}
	put32(t->rsdp + ACPI_RSDP_RSDT, get32(t->rsdp + ACPI_RSDP_RSDT) + to);
	put64(t->rsdp + ACPI_RSDP_XSDT, get64(t->rsdp + ACPI_RSDP_XSDT) + to);
	for (unsigned i = 0; i < t->nfixes; i++)
		if (t->fix[i].kind == ACPI_FIX_CHECKSUM) {
			uint8_t *p = t->bytes + t->fix[i].at;

			CHECK(t->fix[i].start + t->fix[i].len <= t->used);
			*p = (uint8_t)(*p - sum(t->bytes + t->fix[i].start, t->fix[i].len));
		}
	t->rsdp[8] = (uint8_t)(t->rsdp[8] - sum(t->rsdp, 20));
	t->rsdp[32] = (uint8_t)(t->rsdp[32] - sum(t->rsdp, ACPI_RSDP_BYTES));
	t->origin = to;
}

/* MCFG names it, and the windows of the host bridge leave it out. */
static void check_place(const struct acpi_image *t, uint32_t ecam)
{
	unsigned windows = 0, high = 0;

	for (uint32_t i = 0; i + 60 <= t->used; i++) {
		if (!memcmp(t->bytes + i, "MCFG", 4))
			CHECK(get64(t->bytes + i + 44) == ecam);
		if (t->bytes[i] == 0x8a && t->bytes[i + 1] == 43 && !t->bytes[i + 2] && !t->bytes[i + 3]) {
			uint64_t first = get64(t->bytes + i + 14), last = get64(t->bytes + i + 22);

			high++;
			CHECK(first >= 1ull << 32 && first % (1 << 30) == 0 && get64(t->bytes + i + 38) == last - first + 1);
		}
		/* DWORD memory range: tag, length 23, type 0 */
		if (t->bytes[i] == 0x87 && t->bytes[i + 1] == 23 && !t->bytes[i + 2] && !t->bytes[i + 3]) {
			uint32_t first = get32(t->bytes + i + 10), last = get32(t->bytes + i + 14);

			windows++;
			CHECK(first < last && first >= 0x80000000 && last < 0xfec00000);
			CHECK(last < ecam || first >= ecam + 0x10000000);
			CHECK(get32(t->bytes + i + 22) == last - first + 1);
		}
	}
	CHECK(windows == 2 && high == 1);
}

static void test_acpi(void)
{
	static const struct {
		uint64_t gpa;
		uint32_t told;
	} ecam[] = {{0xb0000000, 0xb0000000}, {0x80000000, 0x80000000}, {0xe0000000, 0xe0000000},
		    {0x10000000, 0xe0000000}, {0xf0000000, 0xe0000000}, {1ull << 40, 0xe0000000}};
	struct acpi_image *t = malloc(sizeof(*t));
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->mem.hole_start = 0x80000000;
	for (unsigned ncpus = 1; ncpus <= VM_MAX_CPUS; ncpus += 21) {
		struct acpi_place place = acpi_place(vm, 0, 0, 0);
		uint32_t used;

		vm->ncpus = ncpus;
		acpi_build(vm, t, LOW_ACPI, &place);
		walk(t);
		check_place(t, 0xe0000000);
		used = t->used;
		acpi_build(vm, t, 0, &place);
		move(t, 0x1fff8000);
		walk(t);
		/* where SeaBIOS puts it, right behind RAM, and where it cannot be: the tables keep their length */
		for (unsigned i = 0; i < ARRAY_LEN(ecam); i++) {
			place = acpi_place(vm, ecam[i].gpa, i % 2 ? 0x380000000000 : 0, i % 2 ? 0x380000003fff : 0);
			acpi_build(vm, t, LOW_ACPI, &place);
			walk(t);
			check_place(t, ecam[i].told);
			CHECK(t->used == used);
		}
	}
	free(vm);
	free(t);
}

/* ---- SMBIOS ---- */

static void test_smbios_of(uint64_t bytes, unsigned ncpus)
{
	static struct smbios s;
	unsigned count = 0, cpus = 0, longest = 0;
	uint64_t kib = 0;
	bool ended = false;
	uint32_t at = 0;

	smbios_build(&s, bytes, ncpus, 0x12345678);
	CHECK(!memcmp(s.anchor, "_SM_", 4) && !sum(s.anchor, SMBIOS_ANCHOR_BYTES) && !sum(s.anchor + 16, 15));
	CHECK(get32(s.anchor + 24) == 0x12345678 && get16(s.anchor + 22) == s.len);
	while (at + 4 <= s.len && !ended) {
		const uint8_t *p = s.bytes + at;
		uint32_t end = at + p[1];

		CHECK(p[1] >= 4 && end + 2 <= s.len);
		while (end + 2 <= s.len && (s.bytes[end] || s.bytes[end + 1]))
			end++;
		end += 2;
		count++;
		cpus += p[0] == 4;
		if (p[0] == 16)
			kib = get32(p + 7) != 0x80000000u ? get32(p + 7) : get64(p + 15) / 1024;
		ended = p[0] == 127;
		longest = end - at > longest ? end - at : longest;
		at = end;
	}
	CHECK(ended && at == s.len);
	CHECK(count == get16(s.anchor + 28) && longest == get16(s.anchor + 8));
	CHECK(cpus == ncpus && kib == bytes / 1024);
}

/* ---- VGA ---- */

static void reg(struct vga *g, unsigned port, unsigned i, unsigned v)
{
	vga_ops.write(g, port - 0x3b0, 2, v << 8 | i);
}

static void attr(struct vga *g, unsigned i, unsigned v)
{
	vga_ops.read(g, 0x3da - 0x3b0, 1); /* the next one is an index */
	vga_ops.write(g, 0x3c0 - 0x3b0, 1, i);
	vga_ops.write(g, 0x3c0 - 0x3b0, 1, v);
}

static void text_mode(struct vga *g)
{
	reg(g, 0x3d4, 0x11, 0);
	reg(g, 0x3d4, 0x01, 79);
	reg(g, 0x3d4, 0x07, 0x1f); /* bit 8 of the last line shown */
	reg(g, 0x3d4, 0x12, 0x8f); /* 400 lines */
	reg(g, 0x3d4, 0x09, 0x4f); /* of 16 */
	reg(g, 0x3d4, 0x13, 40);
	reg(g, 0x3d4, 0x0c, 0);
	reg(g, 0x3d4, 0x0d, 0);
	reg(g, 0x3ce, 0x06, 0x0e);
	attr(g, 0x10, 0x0c);
	vga_ops.read(g, 0x3da - 0x3b0, 1);
	vga_ops.write(g, 0x3c0 - 0x3b0, 1, 0x20);
}

static void say(struct mem *m, unsigned cell, const char *s)
{
	for (; *s; s++, cell++) {
		uint8_t c[2] = {(uint8_t)*s, 7};

		mem_write(m, 0xb8000 + 2 * (uint64_t)cell, c, 2);
	}
}

static void test_vga(void)
{
	static char text[VGA_TEXT_BYTES];
	struct vga_screen s;
	struct clock clock;
	struct error e;
	struct mem m;
	struct vga *g;
	unsigned blanks = 0, retraces = 0;

	CHECK(mem_init(&m, 16 * MIB, &e) == ST_OK);
	clock_init(&clock);
	clock_make_virtual(&clock);
	g = vga_new(&clock, &m);
	vga_screen(g, &s, text);
	CHECK(!s.text && !*text); /* dark */
	text_mode(g);
	say(&m, 0, "Hello");
	say(&m, 80 + 2, "\xc9\xcd\xbb"); /* a frame */
	say(&m, 24 * 80 + 79, "!");
	reg(g, 0x3d4, 0x0e, 0);
	reg(g, 0x3d4, 0x0f, 85);
	vga_screen(g, &s, text);
	CHECK(s.text && s.columns == 80 && s.rows == 25 && s.cursor_row == 1 && s.cursor_column == 5);
	CHECK(!strncmp(text, "Hello\n  \u2554\u2550\u2557\n\n", 19));
	CHECK(strlen(text) > 2 && !strcmp(text + strlen(text) - 2, "!\n"));

	/* scrolled by a line: the start moves, the cursor with it */
	reg(g, 0x3d4, 0x0d, 80);
	vga_screen(g, &s, text);
	CHECK(!strncmp(text, "  \u2554", 5) && s.cursor_row == 0);

	/* wild values: every register at its most, and no byte too many */
	for (unsigned i = 0; i < 32; i++)
		reg(g, 0x3d4, i == 0x11 ? 0x10 : i, 0xff);
	memset(text, 0x55, sizeof(text));
	for (uint64_t a = 0xb8000; a < 0xc0000; a++)
		mem_write(&m, a, "\xdb", 1);
	vga_screen(g, &s, text);
	CHECK(s.columns <= VGA_MAX_COLUMNS && s.rows <= VGA_MAX_ROWS && strlen(text) < VGA_TEXT_BYTES);

	/* protected CRT registers; the palette's own counters; what is not there */
	reg(g, 0x3d4, 0x11, 0x80);
	reg(g, 0x3d4, 0x00, 0x12);
	vga_ops.write(g, 0x24, 1, 0);
	CHECK(vga_ops.read(g, 0x25, 1) == 0xff);
	vga_ops.write(g, 0x18, 1, 255);
	for (unsigned i = 0; i < 6; i++)
		vga_ops.write(g, 0x19, 1, i + 1);
	vga_ops.write(g, 0x17, 1, 255);
	CHECK(vga_ops.read(g, 0x19, 1) == 1 && vga_ops.read(g, 0x19, 1) == 2 && vga_ops.read(g, 0x19, 1) == 3 &&
	      vga_ops.read(g, 0x19, 1) == 4);
	CHECK(vga_ops.read(g, 0x04, 1) == 0xff); /* the monochrome one does not answer */
	vga_ops.write(g, 0x12, 1, 0);
	CHECK(vga_ops.read(g, 0x24, 1) == 0xff && vga_ops.read(g, 0x04, 1) != 0xff);

	/* both kinds of blanking are seen in a frame */
	for (unsigned i = 0; i < 5000; i++) {
		uint8_t st;

		clock_set_virtual(&clock, 3000ull * i);
		st = (uint8_t)vga_ops.read(g, 0x0a, 1);
		blanks += st == 1;
		retraces += st == 9;
	}
	CHECK(blanks && retraces && blanks + retraces < 5000);
	vga_reset(g);
	vga_screen(g, &s, text);
	CHECK(!s.text);
	vga_free(g);
	mem_fini(&m);
}

/* ---- flash ---- */

static uint8_t fr(struct pflash *p, uint64_t off)
{
	return (uint8_t)pflash_ops.read(p, off, 1);
}

static void fw(struct pflash *p, uint64_t off, uint8_t v)
{
	pflash_ops.write(p, off, 1, v);
}

static void write_file(const char *name, const uint8_t *data, size_t n)
{
	FILE *f = fopen(name, "w");

	CHECK(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static void test_pflash(void)
{
	char dir[] = "/tmp/steelyard-flash.XXXXXX", first[64], file[64];
	static uint8_t image[2 * PFLASH_BLOCK];
	struct pflash *p = NULL, *q = NULL;
	struct error e = {0};

	CHECK(mkdtemp(dir) != NULL);
	snprintf(first, sizeof(first), "%s/first", dir);
	snprintf(file, sizeof(file), "%s/vars", dir);
	memset(image, 0xff, sizeof(image));
	image[5] = 0x5a;
	write_file(first, image, sizeof(image));
	CHECK(pflash_new("/nonexistent/vars", NULL, &p, &e) == ST_NOT_FOUND);
	CHECK(pflash_new(first, file, &p, &e) == ST_OK && pflash_bytes(p) == sizeof(image));
	CHECK(pflash_new(first, file, &q, &e) == ST_BUSY);
	CHECK(fr(p, 5) == 0x5a && pflash_ops.read(p, 4, 4) == 0xffff5aff);

	/* OVMF's question: flash, RAM or ROM? */
	fw(p, 5, 0x50);
	CHECK(fr(p, 5) == 0x5a);
	fw(p, 5, 0x70);
	CHECK(fr(p, 5) == 0);
	fw(p, 5, 0xff);
	CHECK(fr(p, 5) == 0x5a);

	/* a byte is programmed: ones become zeros, zeros stay */
	fw(p, 0x1001, 0x10);
	fw(p, 0x1001, 0x3c);
	CHECK(fr(p, 0) == 0x80); /* the status, wherever one reads */
	fw(p, 0x1001, 0x40);
	fw(p, 0x1001, 0xc7);
	fw(p, 0, 0xff);
	CHECK(fr(p, 0x1001) == 0x04);
	/* an erased block is all ones, the other as it was */
	fw(p, 5, 0x20);
	fw(p, 5, 0xff);
	CHECK(fr(p, 5) == 0xb0); /* a wrong second cycle */
	fw(p, 5, 0x20);
	fw(p, 5, 0xd0);
	fw(p, 5, 0xff);
	CHECK(fr(p, 5) == 0xff && fr(p, 0x1001) == 0x04);
	/* words are no cycles of this chip, and outside there is nothing */
	pflash_ops.write(p, 8, 4, 0x40);
	fw(p, sizeof(image), 0x40);
	CHECK(fr(p, 8) == 0xff && pflash_ops.read(p, sizeof(image) - 2, 8) == 0 && pflash_ops.read(p, ~0ull - 2, 4) == 0);
	fw(p, 7, 0x40);
	pflash_reset(p);
	CHECK(fr(p, 7) == 0xff);
	pflash_free(p);

	/* the file keeps it; one of another size is none */
	CHECK(pflash_new(first, file, &p, &e) == ST_OK && fr(p, 0x1001) == 0x04 && fr(p, 5) == 0xff);
	pflash_free(p);
	write_file(file, image, PFLASH_BLOCK);
	CHECK(pflash_new(first, file, &p, &e) == ST_BAD_FILE);
	CHECK(pflash_new(first, dir, &p, &e) != ST_OK);
	CHECK(pflash_new(first, NULL, &p, &e) == ST_OK && fr(p, 5) == 0x5a);
	pflash_free(p);
	unlink(first);
	unlink(file);
	rmdir(dir);
}

int main(void)
{
	test_pflash();
	test_fwcfg();
	test_acpi();
	test_smbios_of(16 * MIB, 1);
	test_smbios_of(3 * 1024 * MIB + 4096, 2);
	test_smbios_of(4096ull * 1024 * MIB, 64);
	test_vga();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
