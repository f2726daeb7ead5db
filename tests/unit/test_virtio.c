/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio without a guest: the rings against a driver that is right and one that is hostile, split and packed; and a disk
 * through its PCI registers, from feature negotiation to data, errors, a broken device and its reset.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/virtio/virtio_blk.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define DESC 0x1000u
#define DRIVER 0x2000u
#define DEVICE 0x3000u
#define TABLE 0x4000u
#define DATA 0x10000u
#define SIZE 8u

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct guest {
	struct mem mem;
	struct dma dma;
	unsigned wrote;
	_Atomic bool page[RAM_BYTES >> 12]; /* said to have been written */
	uint16_t avail, packed_at;
	bool wrap;
};

static void on_wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	struct guest *g = ctx;

	__atomic_fetch_add(&g->wrote, 1, __ATOMIC_RELAXED);
	for (uint64_t p = gpa >> 12; p <= (gpa + len - 1) >> 12; p++)
		atomic_store(&g->page[p], true);
}

/* Has the device said that it wrote there, since it was last asked? */
static bool told(struct guest *g, uint64_t gpa)
{
	return atomic_exchange(&g->page[gpa >> 12], false);
}

static struct guest *guest_new(void)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct error e;

	if (!g || mem_init(&g->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	g->dma = (struct dma){.mem = &g->mem, .wrote = on_wrote, .ctx = g};
	g->wrap = true;
	return g;
}

static void guest_free(struct guest *g)
{
	mem_fini(&g->mem);
	free(g);
}

static void put(struct guest *g, uint64_t gpa, uint64_t val, unsigned bytes)
{
	memcpy(g->mem.ram_hva + gpa, &val, bytes);
}

static uint64_t get(const struct guest *g, uint64_t gpa, unsigned bytes)
{
	uint64_t val = 0;

	memcpy(&val, g->mem.ram_hva + gpa, bytes);
	return val;
}

static void desc(struct guest *g, uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	put(g, table + 16 * i, addr, 8);
	put(g, table + 16 * i + 8, len, 4);
	put(g, table + 16 * i + 12, flags, 2);
	put(g, table + 16 * i + 14, next, 2);
}

static void offer(struct guest *g, uint16_t head)
{
	put(g, DRIVER + 4 + 2 * (g->avail % SIZE), head, 2);
	put(g, DRIVER + 2, ++g->avail, 2);
}

static struct vring ring_of(struct guest *g, uint64_t features)
{
	const struct vring_config cfg = {SIZE, DESC, DRIVER, DEVICE, features | VIRTIO_F_VERSION_1};
	struct vring r;

	memset(g->mem.ram_hva + DESC, 0, 0x4000);
	g->avail = 0;
	g->packed_at = 0;
	g->wrap = true;
	CHECK(vring_init(&r, &g->dma, NULL, &cfg));
	return r;
}

/* ---- split ---- */

static void test_split(struct guest *g)
{
	struct vring r = ring_of(g, 0);
	struct vchain c;
	char text[8] = "";

	CHECK(vring_pop(&r, &c) == VRING_EMPTY);
	memcpy(g->mem.ram_hva + DATA, "hello", 5);
	desc(g, DESC, 2, DATA, 2, NEXT, 5);
	desc(g, DESC, 5, DATA + 2, 3, NEXT, 1);
	desc(g, DESC, 1, DATA + 0x100, 16, WRITE, 0);
	offer(g, 2);
	CHECK(vring_pop(&r, &c) == VRING_GOT && c.id == 2 && c.nout == 2 && c.nin == 1);
	CHECK(c.out_bytes == 5 && c.in_bytes == 16);
	CHECK(vchain_read(&c, 1, text, 7) == 4 && !memcmp(text, "ello", 4));
	CHECK(vchain_write(&c, &g->dma, 14, "xyz", 3) == 2 && !memcmp(g->mem.ram_hva + DATA + 0x10e, "xy", 2));
	CHECK(g->wrote == 1);
	vring_unpop(&r, &c);
	CHECK(vring_pop(&r, &c) == VRING_GOT && c.id == 2);
	CHECK(!told(g, DEVICE));
	vring_push(&r, &c, 16);
	CHECK(told(g, DEVICE));
	CHECK(get(g, DEVICE + 2, 2) == 1 && get(g, DEVICE + 4, 4) == 2 && get(g, DEVICE + 8, 4) == 16);
	CHECK(vring_should_signal(&r) && !vring_should_signal(&r));
	put(g, DRIVER, 1, 2); /* no interrupts */
	offer(g, 2);
	CHECK(vring_pop(&r, &c) == VRING_GOT);
	vring_push(&r, &c, 0);
	CHECK(!vring_should_signal(&r));
	vring_want_notify(&r, false);
	CHECK(get(g, DEVICE, 2) == 1 && told(g, DEVICE));
	offer(g, 2);
	CHECK(vring_want_notify(&r, true) && get(g, DEVICE, 2) == 0); /* it came meanwhile */
}

static void test_event_idx(struct guest *g)
{
	struct vring r = ring_of(g, VIRTIO_F_EVENT_IDX);
	struct vchain c;

	desc(g, DESC, 0, DATA, 4, 0, 0);
	put(g, DRIVER + 4 + 2 * SIZE, 2, 2); /* tell me behind the third */
	for (unsigned i = 0; i < 4; i++) {
		offer(g, 0);
		CHECK(vring_pop(&r, &c) == VRING_GOT);
		vring_push(&r, &c, 0);
		CHECK(vring_should_signal(&r) == (i == 2));
	}
	CHECK(told(g, DEVICE) && !told(g, DEVICE));
	CHECK(!vring_want_notify(&r, true) && get(g, DEVICE + 4 + 8 * SIZE, 2) == 4 && told(g, DEVICE));
}

static bool breaks(struct guest *g, struct vring *r)
{
	struct vchain c;

	(void)g;
	return vring_pop(r, &c) == VRING_BROKEN && vring_pop(r, &c) == VRING_EMPTY && !vring_should_signal(r) &&
	       !vring_want_notify(r, true);
}

static void test_hostile_split(struct guest *g)
{
	static const struct {
		const char *what;
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} bad[] = {
		{"past RAM", RAM_BYTES - 4, 8, 0, 0},
		{"nowhere", 1ull << 63, 8, 0, 0},
		{"wraps", ~0ull - 3, 8, 0, 0},
		{"in the hole", MEM_HOLE_START, 8, 0, 0},
		{"length", 0, ~0u, 0, 0},
		{"loop", DATA, 4, NEXT, 0},
		{"next", DATA, 4, NEXT, SIZE},
		{"indirect, not negotiated", TABLE, 16, INDIRECT, 0},
	};
	struct vring r;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r = ring_of(g, 0);
		desc(g, DESC, 0, bad[i].addr, bad[i].len, bad[i].flags, bad[i].next);
		offer(g, 0);
		if (!breaks(g, &r)) {
			failed++;
			printf("FAIL hostile: %s\n", bad[i].what);
		} else {
			passed++;
		}
	}
	r = ring_of(g, 0);
	offer(g, SIZE); /* a head that there is not */
	CHECK(breaks(g, &r));
	r = ring_of(g, 0);
	put(g, DRIVER + 2, SIZE + 1, 2); /* more than the ring holds */
	CHECK(breaks(g, &r));
	r = ring_of(g, 0);
	desc(g, DESC, 0, DATA, 4, WRITE | NEXT, 1);
	desc(g, DESC, 1, DATA, 4, 0, 0); /* readable behind writable */
	offer(g, 0);
	CHECK(breaks(g, &r));
}

static void test_indirect(struct guest *g)
{
	struct vring r = ring_of(g, VIRTIO_F_INDIRECT);
	struct vchain c;

	desc(g, TABLE, 0, DATA, 4, NEXT, 2);
	desc(g, TABLE, 2, DATA, 0, NEXT, 1); /* nothing in it */
	desc(g, TABLE, 1, DATA, 8, WRITE, 0);
	desc(g, DESC, 3, TABLE, 48, INDIRECT, 0);
	offer(g, 3);
	CHECK(vring_pop(&r, &c) == VRING_GOT && c.nout == 1 && c.nin == 1 && c.in_bytes == 8);
	desc(g, TABLE, 1, DATA, 8, WRITE | NEXT, 3); /* past the table */
	offer(g, 3);
	CHECK(breaks(g, &r));
	r = ring_of(g, VIRTIO_F_INDIRECT);
	desc(g, TABLE, 0, TABLE, 16, INDIRECT, 0); /* a table in a table */
	desc(g, DESC, 0, TABLE, 16, INDIRECT, 0);
	offer(g, 0);
	CHECK(breaks(g, &r));
	r = ring_of(g, VIRTIO_F_INDIRECT);
	desc(g, TABLE, 0, DATA, 1, NEXT, 0);
	desc(g, DESC, 0, TABLE, 16, INDIRECT, 0); /* a loop */
	offer(g, 0);
	CHECK(breaks(g, &r));
	for (unsigned len = 1; len < 40; len += 7) { /* no whole table */
		r = ring_of(g, VIRTIO_F_INDIRECT);
		desc(g, DESC, 0, TABLE, len, INDIRECT, 0);
		offer(g, 0);
		CHECK(breaks(g, &r));
	}
}

static void test_setup(struct guest *g)
{
	const struct vring_config good = {SIZE, DESC, DRIVER, DEVICE, VIRTIO_F_VERSION_1};
	struct vring_config c;
	struct vring r;
	_Atomic bool master = false;
	struct vchain chain;

	CHECK((c = good, c.size = 0, !vring_init(&r, &g->dma, NULL, &c)));
	CHECK((c = good, c.size = 6, !vring_init(&r, &g->dma, NULL, &c)));
	CHECK((c = good, c.size = 512, !vring_init(&r, &g->dma, NULL, &c)));
	CHECK((c = good, c.desc = DESC + 8, !vring_init(&r, &g->dma, NULL, &c)));
	CHECK((c = good, c.driver = DRIVER + 1, !vring_init(&r, &g->dma, NULL, &c)));
	CHECK((c = good, c.device = RAM_BYTES - 4, !vring_init(&r, &g->dma, NULL, &c) && r.broken));
	CHECK(vring_pop(&r, &chain) == VRING_EMPTY);
	r = ring_of(g, 0);
	CHECK(vring_init(&r, &g->dma, &master, &good));
	desc(g, DESC, 0, DATA, 4, 0, 0);
	offer(g, 0);
	CHECK(vring_pop(&r, &chain) == VRING_EMPTY); /* no bus mastering */
	atomic_store(&master, true);
	CHECK(vring_pop(&r, &chain) == VRING_GOT);
}

/* ---- packed ---- */

static void packed_desc(struct guest *g, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	uint64_t at = DESC + 16u * g->packed_at;

	put(g, at, addr, 8);
	put(g, at + 8, len, 4);
	put(g, at + 12, id, 2);
	put(g, at + 14, flags | (g->wrap ? 1u << 7 : 1u << 15), 2);
	if (++g->packed_at == SIZE) {
		g->packed_at = 0;
		g->wrap = !g->wrap;
	}
}

static void test_packed(struct guest *g)
{
	struct vring r = ring_of(g, VIRTIO_F_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT);
	struct vchain c, first;

	CHECK(vring_pop(&r, &c) == VRING_EMPTY);
	for (unsigned round = 0; round < 5; round++) { /* three descriptors each: it wraps inside a chain */
		unsigned at = r.next_used;
		bool wrap = r.used_wrap;

		packed_desc(g, DATA, 4, 0, NEXT);
		packed_desc(g, DATA + 8, 4, 0, NEXT | WRITE);
		packed_desc(g, DATA + 16, 4, (uint16_t)(40 + round), WRITE);
		CHECK(vring_pop(&r, &c) == VRING_GOT && c.id == 40 + round && c.slots == 3 && c.nout == 1 &&
		      c.nin == 2);
		vring_unpop(&r, &c);
		CHECK(vring_pop(&r, &c) == VRING_GOT && c.id == 40 + round);
		CHECK(vring_pop(&r, &first) == VRING_EMPTY);
		CHECK(!told(g, DESC));
		vring_push(&r, &c, 8);
		CHECK(told(g, DESC));
		CHECK(get(g, DESC + 16 * at + 12, 2) == 40 + round && get(g, DESC + 16 * at + 8, 4) == 8);
		CHECK((get(g, DESC + 16 * at + 14, 2) & 0x8080) == (wrap ? 0x8080 : 0));
		CHECK(vring_should_signal(&r));
	}
	put(g, DRIVER + 2, 1, 2); /* interrupts off */
	packed_desc(g, DATA, 4, 7, 0);
	CHECK(vring_pop(&r, &c) == VRING_GOT);
	vring_push(&r, &c, 0);
	CHECK(!vring_should_signal(&r));
	CHECK(!vring_want_notify(&r, true) && get(g, DEVICE + 2, 2) == 2 && told(g, DEVICE));
	packed_desc(g, DATA, 4, 7, 0);
	CHECK(vring_want_notify(&r, true));
	desc(g, TABLE, 0, DATA, 4, 0, WRITE); /* packed: flags are the second word */
	desc(g, TABLE, 1, DATA, 4, 0, WRITE);
	packed_desc(g, TABLE, 32, 9, INDIRECT);
	CHECK(vring_pop(&r, &c) == VRING_GOT && c.id == 7);
	first = c;
	CHECK(vring_pop(&r, &c) == VRING_GOT && c.id == 9 && c.nin == 2 && c.slots == 1);
	{ /* two at once: the driver sees nothing before the first of them */
		uint64_t flags_at = DESC + 16 * r.next_used + 14;
		uint64_t before = get(g, flags_at, 2);

		vring_fill(&r, &first, 4, 0);
		vring_fill(&r, &c, 4, 1);
		CHECK(get(g, flags_at, 2) == before);
		told(g, DESC);
		vring_publish(&r, 2);
		CHECK(get(g, flags_at, 2) != before && told(g, DESC));
	}
}

static void test_hostile_packed(struct guest *g)
{
	struct vring r = ring_of(g, VIRTIO_F_PACKED);

	for (unsigned i = 0; i < SIZE; i++) /* a chain without an end */
		packed_desc(g, DATA, 1, 0, NEXT);
	CHECK(breaks(g, &r));
	r = ring_of(g, VIRTIO_F_PACKED);
	packed_desc(g, RAM_BYTES, 1, 0, 0);
	CHECK(breaks(g, &r));
	r = ring_of(g, VIRTIO_F_PACKED);
	packed_desc(g, TABLE, 16, 0, INDIRECT);
	CHECK(breaks(g, &r));
}

/* ---- a disk through its registers ---- */

#define REGS 0xc0000000u
#define NOTIFY (REGS + 0x3000u)

struct disk {
	struct guest *g;
	struct pci_bus bus;
	_Atomic unsigned msis, wakes;
	int fd;
};

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)address, (void)data;
	atomic_fetch_add(&((struct disk *)ctx)->msis, 1);
}

static void on_wake(void *ctx)
{
	atomic_fetch_add(&((struct disk *)ctx)->wakes, 1);
}

static uint64_t rd(struct disk *d, unsigned off, unsigned size)
{
	return pci_mem_ops.read(&d->bus, REGS + off, size);
}

static void wr(struct disk *d, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&d->bus, REGS + off, size, val);
}

static void disk_make(struct disk *d, bool threads, bool readonly)
{
	const struct pci_bus_config cfg = {.msi = on_msi, .intx_wake = on_wake, .ctx = d};
	struct virtio_blk_config blk = {.serial = "SN", .queues = 1};
	char file[64];
	struct blk_config image = {.file = file, .threads = threads, .readonly = readonly};
	struct virtio *v;
	struct error e;

	d->fd = memfd_create("disk", 0);
	if (d->fd < 0 || ftruncate(d->fd, 1 << 20) != 0)
		abort();
	snprintf(file, sizeof(file), "/proc/self/fd/%d", d->fd);
	pci_bus_init(&d->bus, &cfg);
	CHECK(blk_image_open(&image, &blk.image, &e) == ST_OK);
	v = virtio_blk_new(&blk, &d->g->dma, &e);
	CHECK(v && pci_add(&d->bus, virtio_pci_new(v, false), -1, &e) == ST_OK);
	pci_reset(&d->bus);
	pci_place(&d->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&d->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
}

static void disk_free(struct disk *d)
{
	pci_bus_fini(&d->bus);
	close(d->fd);
}

/* From reset to DRIVER_OK; returns the status read back. */
static unsigned negotiate(struct disk *d, uint64_t features)
{
	memset(d->g->mem.ram_hva + DESC, 0, 0x4000);
	d->g->avail = 0;
	wr(d, 20, 1, 0);
	wr(d, 20, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		wr(d, 8, 4, i);
		wr(d, 12, 4, (uint32_t)(features >> 32 * i));
	}
	wr(d, 20, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	if (!(rd(d, 20, 1) & VIRTIO_FEATURES_OK))
		return (unsigned)rd(d, 20, 1);
	wr(d, 22, 2, 0);
	wr(d, 24, 2, SIZE);
	wr(d, 32, 4, DESC);
	wr(d, 36, 4, 0);
	wr(d, 40, 8, DRIVER);
	wr(d, 48, 8, DEVICE);
	wr(d, 28, 2, 1);
	wr(d, 20, 1, 15);
	return (unsigned)rd(d, 20, 1);
}

static bool wait_used(struct disk *d, uint16_t n)
{
	for (unsigned i = 0; i < 10000; i++) {
		if (get(d->g, DEVICE + 2, 2) == n)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

static bool wait_status(struct disk *d, unsigned bit)
{
	for (unsigned i = 0; i < 10000; i++) {
		if (rd(d, 20, 1) & bit)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

/* One request; returns its status byte, or 0xee when it did not come back. */
static uint8_t request(struct disk *d, uint32_t type, uint64_t sector, uint32_t bytes, bool write)
{
	struct guest *g = d->g;

	put(g, DATA, type, 8);
	put(g, DATA + 8, sector, 8);
	put(g, DATA + 0x20, 0xee, 1);
	desc(g, DESC, 0, DATA, 16, NEXT, bytes ? 1 : 2);
	desc(g, DESC, 1, DATA + 0x1000, bytes, NEXT | (write ? 0 : WRITE), 2);
	desc(g, DESC, 2, DATA + 0x20, 1, WRITE, 0);
	offer(g, 0);
	pci_mem_ops.write(&d->bus, NOTIFY, 2, 0);
	wait_used(d, g->avail);
	return (uint8_t)get(g, DATA + 0x20, 1);
}

/* Bytes of the disk's file that are there; what was written counts at once. */
static long long allocated(const struct disk *d)
{
	struct stat st;

	CHECK(fsync(d->fd) == 0 && fstat(d->fd, &st) == 0);
	return (long long)st.st_blocks * 512;
}

/* Zeroes with and without the wish to give their space back. */
static void test_zeroes(struct disk *d)
{
	struct guest *g = d->g;
	uint8_t file[4096];
	long long before;

	memset(g->mem.ram_hva + DATA + 0x1000, 0xa5, 4096);
	CHECK(request(d, 1, 64, 4096, true) == 0);
	before = allocated(d);
	put(g, DATA + 0x1000, 64, 8);
	put(g, DATA + 0x1008, 8, 4);
	put(g, DATA + 0x100c, 0, 4);
	CHECK(request(d, 13, 0, 16, true) == 0 && allocated(d) == before);
	CHECK(pread(d->fd, file, 4096, 64 * 512) == 4096 && file[0] == 0 && file[4095] == 0);
	put(g, DATA + 0x100c, 1, 4); /* unmap */
	CHECK(request(d, 13, 0, 16, true) == 0 && allocated(d) == before - 4096);
	CHECK(pread(d->fd, file, 4096, 64 * 512) == 4096 && file[0] == 0 && file[4095] == 0);
	put(g, DATA + 0x100c, 2, 4);
	CHECK(request(d, 13, 0, 16, true) == 2);
}

static void test_disk(struct guest *g, bool threads)
{
	struct disk *d = calloc(1, sizeof(*d));
	const uint64_t features = VIRTIO_F_VERSION_1 | 1ull << 9 | 1ull << 13 | 1ull << 14;
	uint8_t file[1024];

	d->g = g;
	disk_make(d, threads, false);
	CHECK(pci_config_read(&d->bus, 0, 8, 0, 4) == 0x10421af4u);
	CHECK(rd(d, 18, 2) == 1 && rd(d, 0x2000, 8) == 2048);
	CHECK(negotiate(d, 0) == 3);                     /* without VERSION_1 */
	CHECK(negotiate(d, features | 1ull << 50) == 3); /* what was not offered */
	CHECK(negotiate(d, features) == 15);
	wr(d, 12, 4, 0); /* too late for that */
	wr(d, 8, 4, 0);
	CHECK(rd(d, 12, 4) == (uint32_t)features);
	memset(g->mem.ram_hva + DATA + 0x1000, 0xa5, 1024);
	CHECK(request(d, 1, 3, 1024, true) == 0);
	CHECK(pread(d->fd, file, 1024, 3 * 512) == 1024 && file[0] == 0xa5 && file[1023] == 0xa5);
	memset(g->mem.ram_hva + DATA + 0x1000, 0, 1024);
	g->wrote = 0;
	CHECK(request(d, 0, 4, 512, false) == 0 && get(g, DATA + 0x1000, 4) == 0xa5a5a5a5u && g->wrote);
	CHECK(get(g, DEVICE + 4 + 8 * ((g->avail - 1u) % SIZE) + 4, 4) == 513);
	CHECK(request(d, 4, 0, 0, false) == 0);
	CHECK(request(d, 8, 0, 20, false) == 0 && !strcmp((char *)g->mem.ram_hva + DATA + 0x1000, "SN"));
	CHECK(request(d, 0, 2048, 512, false) == 1); /* behind the end */
	CHECK(request(d, 0, 2047, 1024, false) == 1);
	CHECK(request(d, 0, ~0ull, 512, false) == 1);
	CHECK(request(d, 0, 0, 100, false) == 1); /* no whole sectors */
	CHECK(request(d, 77, 0, 512, false) == 2);
	put(g, DATA + 0x1000, 3, 8);
	put(g, DATA + 0x1008, 2, 4);
	put(g, DATA + 0x100c, 0, 4);
	CHECK(request(d, 13, 0, 16, true) == 0); /* zeroes */
	CHECK(pread(d->fd, file, 1024, 3 * 512) == 1024 && file[0] == 0 && file[1023] == 0);
	put(g, DATA + 0x1000, 2047, 8);
	CHECK(request(d, 11, 0, 16, true) == 1);
	test_zeroes(d);
	CHECK(ftruncate(d->fd, 4096) == 0 && request(d, 0, 100, 512, false) == 1); /* the file shrank under us */
	CHECK(atomic_load(&d->wakes) > 0 && (rd(d, 0x1000, 1) & 1) && rd(d, 0x1000, 1) == 0);
	/* no room for a status: the device breaks, says so, and works again after a reset */
	desc(g, DESC, 0, DATA, 16, 0, 0);
	offer(g, 0);
	pci_mem_ops.write(&d->bus, NOTIFY, 2, 0);
	CHECK(wait_status(d, VIRTIO_NEEDS_RESET));
	CHECK(ftruncate(d->fd, 1 << 20) == 0);
	CHECK(negotiate(d, features) == 15 && request(d, 4, 0, 0, false) == 0);
	/* rings outside RAM */
	wr(d, 20, 1, 0);
	CHECK(rd(d, 20, 1) == 0);
	wr(d, 20, 1, 3);
	wr(d, 8, 4, 1);
	wr(d, 12, 4, 1);
	wr(d, 20, 1, 11);
	wr(d, 32, 8, 1ull << 40);
	wr(d, 28, 2, 1);
	wr(d, 20, 1, 15);
	CHECK(rd(d, 20, 1) & VIRTIO_NEEDS_RESET);
	/* the window in configuration space reaches the same registers */
	for (unsigned cap = pci_config_read(&d->bus, 0, 8, PCI_CAPABILITIES, 1); cap;
	     cap = pci_config_read(&d->bus, 0, 8, cap + 1, 1)) {
		if (pci_config_read(&d->bus, 0, 8, cap, 1) != 9 || pci_config_read(&d->bus, 0, 8, cap + 3, 1) != 5)
			continue;
		pci_config_write(&d->bus, 0, 8, cap + 4, 1, 4);
		pci_config_write(&d->bus, 0, 8, cap + 8, 4, 0x2000);
		pci_config_write(&d->bus, 0, 8, cap + 12, 4, 4);
		CHECK(pci_config_read(&d->bus, 0, 8, cap + 16, 4) == 2048);
	}
	disk_free(d);
	free(d);
}

static void test_readonly(struct guest *g)
{
	struct disk *d = calloc(1, sizeof(*d));

	d->g = g;
	disk_make(d, true, true);
	CHECK(negotiate(d, VIRTIO_F_VERSION_1 | 1ull << 5) == 15);
	CHECK(request(d, 0, 0, 512, false) == 0 && request(d, 1, 0, 512, true) == 1);
	disk_free(d);
	free(d);
}

int main(void)
{
	struct guest *g = guest_new();

	test_split(g);
	test_event_idx(g);
	test_hostile_split(g);
	test_indirect(g);
	test_setup(g);
	test_packed(g);
	test_hostile_packed(g);
	test_disk(g, false);
	test_disk(g, true);
	test_readonly(g);
	guest_free(g);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
