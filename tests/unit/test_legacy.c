/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transitional virtio devices by the registers of old drivers: a disk whose driver uses its queue before it says that it is
 * ready and has forgotten to let it access memory, as Linux once did; a network card whose driver has the short header;
 * that the modern interface is there all the same; and a driver that uses both at once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/virtio/virtio_blk.h"
#include "engine/virtio/virtio_net.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define REGS 0xc0000000u
#define PORTS 0xc000u
#define PAGE 4096u
#define DISK_PAGE 0x10u /* where the rings are, in pages */
#define DATA 0x100000u
#define F_FLUSH (1u << 9)
#define F_MRG (1u << 15)

enum { NEXT = 1, WRITE = 2 };
enum {
	OFFERED = 0,
	DRIVER = 4,
	RING_PAGE = 8,
	RING_SIZE = 12,
	SELECT = 14,
	NOTIFY = 16,
	STATUS = 18,
	ISR = 19,
	CONFIG = 20
};
/* of the common configuration (virtio 1.2, 4.1.4.3) */
enum { MODERN_SELECT = 8, MODERN_DRIVER = 12, MODERN_STATUS = 20 };

struct scene {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
	struct pci_function *f;
	_Atomic unsigned wakes;
	unsigned size;
	uint16_t avail[2];
	/* the network's other end */
	struct net *net;
	uint8_t frame[64];
	_Atomic unsigned frame_bytes;
	_Atomic bool reply;
};

static void on_wake(void *ctx)
{
	atomic_fetch_add(&((struct scene *)ctx)->wakes, 1);
}

static struct scene *scene_new(void)
{
	struct scene *s = calloc(1, sizeof(*s));
	const struct pci_bus_config cfg = {.intx_wake = on_wake, .ctx = s};
	struct error e;

	if (!s || mem_init(&s->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	s->dma = (struct dma){.mem = &s->mem};
	pci_bus_init(&s->bus, &cfg);
	return s;
}

static void scene_add(struct scene *s, struct virtio *v, bool transitional)
{
	struct error e;

	s->f = v ? virtio_pci_new(v, transitional) : NULL;
	if (!s->f || pci_add(&s->bus, s->f, -1, &e) != ST_OK)
		abort();
	pci_reset(&s->bus);
	pci_place(&s->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), PORTS, PORTS + 0x1000});
	pci_config_write(&s->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEMORY); /* not PCI_CMD_MASTER */
}

static void scene_free(struct scene *s)
{
	pci_bus_fini(&s->bus);
	mem_fini(&s->mem);
	free(s);
}

static uint32_t in(struct scene *s, unsigned reg, unsigned size)
{
	return (uint32_t)pci_io_ops.read(&s->bus, PORTS + reg, size);
}

static void out(struct scene *s, unsigned reg, unsigned size, uint32_t val)
{
	pci_io_ops.write(&s->bus, PORTS + reg, size, val);
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- a queue in one piece ---- */

static uint8_t *queue(struct scene *s, unsigned q)
{
	return s->mem.ram_hva + (DISK_PAGE + 0x10 * q) * PAGE;
}

static uint8_t *used(struct scene *s, unsigned q)
{
	return queue(s, q) + (16 * s->size + 6 + 2 * s->size + PAGE - 1) / PAGE * PAGE;
}

static void desc(struct scene *s, unsigned q, unsigned i, uint64_t addr, uint32_t len, unsigned flags)
{
	const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d = {addr, len, (uint16_t)flags, (uint16_t)(i + 1)};

	memcpy(queue(s, q) + 16 * i, &d, 16);
}

static void offer(struct scene *s, unsigned q, uint16_t head)
{
	uint8_t *avail = queue(s, q) + 16 * s->size;

	memcpy(avail + 4 + 2 * (s->avail[q] % s->size), &head, 2);
	__atomic_store_n((uint16_t *)(avail + 2), ++s->avail[q], __ATOMIC_RELEASE);
	out(s, NOTIFY, 2, q);
}

static bool is_used(struct scene *s, unsigned q)
{
	for (unsigned i = 0; i < 5000; i++) {
		if (__atomic_load_n((uint16_t *)(used(s, q) + 2), __ATOMIC_ACQUIRE) == s->avail[q])
			return true;
		nap();
	}
	return false;
}

static void set_queue(struct scene *s, unsigned q)
{
	out(s, SELECT, 2, q);
	s->size = in(s, RING_SIZE, 2);
	memset(queue(s, q), 0, 0x10 * PAGE);
	s->avail[q] = 0;
	out(s, RING_PAGE, 4, DISK_PAGE + 0x10 * q);
}

/* ---- a disk ---- */

static struct virtio *make_disk(struct scene *s, int *fd)
{
	char file[64];
	struct blk_config image = {.file = file, .threads = true};
	struct virtio_blk_config cfg = {.serial = "SN", .queues = 1};
	struct error e;

	*fd = memfd_create("disk", 0);
	if (*fd < 0 || ftruncate(*fd, 1 << 20) != 0)
		abort();
	snprintf(file, sizeof(file), "/proc/self/fd/%d", *fd);
	return blk_image_open(&image, &cfg.image, &e) == ST_OK ? virtio_blk_new(&cfg, &s->dma, &e) : NULL;
}

static unsigned request(struct scene *s, uint32_t type, uint64_t sector, uint32_t bytes)
{
	uint8_t *data = s->mem.ram_hva + DATA;

	memset(data, 0, 16);
	memcpy(data, &type, 4);
	memcpy(data + 8, &sector, 8);
	data[16] = 0xee;
	desc(s, 0, 0, DATA, 16, NEXT);
	desc(s, 0, 1, DATA + PAGE, bytes, NEXT | (type == 0 ? WRITE : 0));
	desc(s, 0, 2, DATA + 16, 1, WRITE);
	offer(s, 0, 0);
	return is_used(s, 0) ? data[16] : 0xff;
}

static void test_disk(void)
{
	struct scene *s = scene_new();
	uint8_t sector[512];
	int fd;

	scene_add(s, make_disk(s, &fd), true);
	CHECK(pci_config_read(&s->bus, 0, 8, 0, 4) == 0x10011af4u && pci_config_read(&s->bus, 0, 8, 8, 1) == 0);
	CHECK(pci_config_read(&s->bus, 0, 8, PCI_SUBSYSTEM, 2) == 2 &&
	      (pci_config_read(&s->bus, 0, 8, PCI_BAR(0), 4) & 1));
	CHECK(in(s, CONFIG, 4) == 2048 && in(s, CONFIG + 4, 4) == 0);
	out(s, STATUS, 1, 0);
	out(s, STATUS, 1, 1);
	out(s, STATUS, 1, 3);
	CHECK(in(s, STATUS, 1) == 3 && (in(s, OFFERED, 4) & F_FLUSH));
	out(s, DRIVER, 4, ~0u); /* more than there is */
	CHECK(in(s, DRIVER, 4) == (in(s, OFFERED, 4) & ~(1u << 27)));
	out(s, DRIVER, 4, F_FLUSH);
	out(s, SELECT, 2, 7);
	CHECK(in(s, RING_SIZE, 2) == 0 && in(s, RING_PAGE, 4) == 0);
	set_queue(s, 0);
	CHECK(s->size == 256 && in(s, RING_PAGE, 4) == DISK_PAGE && in(s, SELECT, 2) == 0);
	/* before DRIVER_OK, without bus mastering */
	memset(s->mem.ram_hva + DATA + PAGE, 0x5a, 512);
	CHECK(request(s, 1, 7, 512) == 0 && pread(fd, sector, 512, 7 * 512) == 512 && sector[511] == 0x5a);
	out(s, STATUS, 1, 7);
	CHECK(in(s, STATUS, 1) == 7);
	memset(s->mem.ram_hva + DATA + PAGE, 0, 512);
	CHECK(request(s, 0, 7, 512) == 0 && s->mem.ram_hva[DATA + PAGE] == 0x5a);
	CHECK(request(s, 4, 0, 0) == 0 && request(s, 0, 4096, 512) == 1);
	CHECK(atomic_load(&s->wakes) && (in(s, ISR, 1) & 1) && in(s, ISR, 1) == 0);
	/* with MSI-X on, the vectors come before the configuration */
	out(s, CONFIG, 2, 1);
	CHECK(in(s, CONFIG, 4) == 2048);
	pci_config_write(&s->bus, 0, 8, s->f->msix_cap + 2, 2, 0x8000);
	out(s, CONFIG, 2, 1);
	out(s, CONFIG + 2, 2, 99);
	CHECK(in(s, CONFIG, 2) == 1 && in(s, CONFIG + 2, 2) == VIRTIO_NO_VECTOR && in(s, CONFIG + 4, 4) == 2048);
	pci_config_write(&s->bus, 0, 8, s->f->msix_cap + 2, 2, 0);
	/* a ring that there cannot be: the device says so, and works again after a reset */
	out(s, STATUS, 1, 0);
	CHECK(in(s, STATUS, 1) == 0 && in(s, DRIVER, 4) == 0);
	out(s, STATUS, 1, 3);
	out(s, SELECT, 2, 0);
	out(s, RING_PAGE, 4, 0xfffffff0u);
	out(s, NOTIFY, 2, 0);
	out(s, NOTIFY, 2, 0xffff);
	CHECK(in(s, STATUS, 1) & VIRTIO_NEEDS_RESET);
	out(s, STATUS, 1, 0);
	out(s, NOTIFY, 2, 0); /* nobody has said that he is there */
	out(s, STATUS, 1, 3);
	set_queue(s, 0);
	out(s, STATUS, 1, 7);
	CHECK(request(s, 0, 7, 512) == 0);
	/* the modern registers are those of the same device */
	CHECK(pci_mem_ops.read(&s->bus, REGS + 0x2000, 8) == 2048 && pci_mem_ops.read(&s->bus, REGS + 20, 1) == 7);
	scene_free(s);
	close(fd);
	/* a disk that is not transitional has no ports */
	s = scene_new();
	scene_add(s, make_disk(s, &fd), false);
	CHECK(pci_config_read(&s->bus, 0, 8, 0, 4) == 0x10421af4u && in(s, STATUS, 1) == 0xff);
	scene_free(s);
	close(fd);
}

/* ---- a network ---- */

static unsigned net_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	(void)ctx, (void)p, (void)max, (void)timeout_ms;
	return 0;
}

static void net_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	struct scene *s = ctx;

	(void)p, (void)n;
	if (atomic_exchange(&s->reply, false))
		s->net->receive(s->net->dev, NET_STEER, (const uint8_t *)"a reply of twenty-four by", 25);
}

static void net_send(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct scene *s = ctx;

	(void)queue;
	memcpy(s->frame, frame, bytes < sizeof(s->frame) ? bytes : sizeof(s->frame));
	atomic_store(&s->frame_bytes, bytes);
	atomic_store(&s->reply, true);
}

static void net_closed(void *ctx)
{
	(void)ctx;
}

static const struct net_ops net_ops = {.prepare = net_prepare, .poll = net_poll, .send = net_send, .close = net_closed};

/* header: as the driver has agreed to it */
static void exchange(struct scene *s, uint32_t features, unsigned header)
{
	uint8_t *rx = s->mem.ram_hva + DATA, *tx = rx + PAGE;

	out(s, STATUS, 1, 0);
	out(s, STATUS, 1, 3);
	out(s, DRIVER, 4, features);
	set_queue(s, 0);
	set_queue(s, 1);
	out(s, STATUS, 1, 7);
	memset(rx, 0xaa, 2 * PAGE);
	memset(tx, 0, header);
	memcpy(tx + header, "a frame of eighteen", 19);
	desc(s, 0, 0, DATA, 1500, WRITE);
	offer(s, 0, 0);
	desc(s, 1, 0, DATA + PAGE, header + 19, 0);
	offer(s, 1, 0);
	CHECK(is_used(s, 1) && atomic_load(&s->frame_bytes) == 19 && !memcmp(s->frame, "a frame of eighteen", 19));
	out(s, NOTIFY, 2, 1);
	CHECK(is_used(s, 0) && !memcmp(rx + header, "a reply of twenty-four by", 25));
	CHECK(*(uint32_t *)(used(s, 0) + 8) == header + 25 && rx[header + 25] == 0xaa);
}

static void test_net(void)
{
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct scene *s = scene_new();
	struct error e;

	s->net = calloc(1, sizeof(*s->net));
	*s->net = (struct net){.ops = &net_ops, .ctx = s, .pcap_fd = -1, .queues = 1};
	scene_add(s, virtio_net_new(s->net, mac, &s->dma, &e), true);
	CHECK(pci_config_read(&s->bus, 0, 8, 0, 4) == 0x10001af4u && in(s, CONFIG + 2, 4) == 0x05040302u);
	exchange(s, 0, 10);
	exchange(s, F_MRG, 12);
	scene_free(s);
}

/* ---- both interfaces at once ---- */

static void modern(struct scene *s, unsigned reg, unsigned size, uint32_t val)
{
	pci_mem_ops.write(&s->bus, REGS + reg, size, val);
}

/* Features that nobody has offered, by the modern register, and a start by the old rules. */
static void test_unoffered(void)
{
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct scene *s = scene_new();
	struct error e;

	s->net = calloc(1, sizeof(*s->net));
	*s->net = (struct net){.ops = &net_ops, .ctx = s, .pcap_fd = -1, .queues = 1};
	scene_add(s, virtio_net_new(s->net, mac, &s->dma, &e), true);
	modern(s, MODERN_SELECT, 4, 0);
	modern(s, MODERN_DRIVER, 4, ~0u); /* a control queue among them, which this card has not */
	out(s, STATUS, 1, 3);
	out(s, NOTIFY, 2, 0);
	for (unsigned i = 0; i < 20; i++) {
		out(s, NOTIFY, 2, 0);
		nap();
	}
	CHECK((in(s, DRIVER, 4) & ~in(s, OFFERED, 4)) == 0);
	scene_free(s);
}

/* A device that runs is not started again, and keeps its features. */
static void test_started_twice(void)
{
	struct scene *s = scene_new();
	int fd;

	scene_add(s, make_disk(s, &fd), true);
	out(s, STATUS, 1, 3);
	out(s, DRIVER, 4, F_FLUSH);
	set_queue(s, 0);
	CHECK(request(s, 0, 7, 512) == 0);
	modern(s, MODERN_SELECT, 4, 1);
	modern(s, MODERN_DRIVER, 4, 1); /* VIRTIO_F_VERSION_1 */
	CHECK(pci_mem_ops.read(&s->bus, REGS + MODERN_DRIVER, 4) == 0);
	memset(used(s, 0) + 2, 0, 2); /* who starts again would do the first request again, and count it */
	modern(s, MODERN_STATUS, 1, VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK | 3);
	out(s, NOTIFY, 2, 0);
	for (unsigned i = 0; i < 20; i++)
		nap();
	CHECK(*(volatile uint16_t *)(used(s, 0) + 2) == 0);
	CHECK(request(s, 0, 7, 512) == 0 && in(s, DRIVER, 4) == F_FLUSH);
	modern(s, MODERN_STATUS, 1, 0);
	CHECK(in(s, STATUS, 1) == 0);
	/* what the modern interface has agreed to, the other does not change */
	modern(s, MODERN_DRIVER, 4, 1);
	modern(s, MODERN_STATUS, 1, VIRTIO_FEATURES_OK | 3);
	out(s, DRIVER, 4, F_FLUSH);
	CHECK((in(s, STATUS, 1) & VIRTIO_FEATURES_OK) && pci_mem_ops.read(&s->bus, REGS + MODERN_DRIVER, 4) == 1);
	scene_free(s);
	close(fd);
}

int main(void)
{
	test_disk();
	test_net();
	test_unoffered();
	test_started_twice();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
