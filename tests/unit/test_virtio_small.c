/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The small virtio devices without a guest: consoles and the balloon, their drivers hostile. A buffer that describes the same
 * memory again and again is longer than any RAM; the device has to stay one that can be reset, and the host one that
 * answers. And what a console says about its ports while the guest does not listen.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "engine/virtio/virtio_balloon.h"
#include "engine/virtio/virtio_console.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define REGS 0xc0000000u
#define TABLE 0x80000u /* of indirect descriptors */
#define DATA 0x100000u
#define SIZE 64u
#define PIECES 64u
#define F_MULTIPORT 2u

enum { WRITE = 2, INDIRECT = 4 };

struct scene {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
	uint16_t avail[8];
};

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static uint8_t *at(struct scene *s, uint64_t gpa)
{
	return s->mem.ram_hva + gpa;
}

static uint64_t ring_at(unsigned q, unsigned part)
{
	return q * 0x4000 + part * 0x1000;
}

static uint16_t load(struct scene *s, uint64_t gpa)
{
	return __atomic_load_n((const uint16_t *)at(s, gpa), __ATOMIC_ACQUIRE);
}

static void wr(struct scene *s, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&s->bus, REGS + off, size, val);
}

static void desc(struct scene *s, uint64_t table, unsigned i, uint64_t gpa, uint32_t len, unsigned flags, unsigned next)
{
	const struct {
		uint64_t gpa;
		uint32_t len;
		uint16_t flags, next;
	} d = {gpa, len, (uint16_t)flags, (uint16_t)next};

	memcpy(at(s, table + 16 * i), &d, sizeof(d));
}

/* Descriptor i of queue q is in use from here on; the device is notified. */
static void offer(struct scene *s, unsigned q, uint16_t i)
{
	memcpy(at(s, ring_at(q, 1) + 4 + 2 * (s->avail[q] % SIZE)), &i, 2);
	__atomic_store_n((uint16_t *)at(s, ring_at(q, 1) + 2), ++s->avail[q], __ATOMIC_RELEASE);
	wr(s, 0x3000 + 4 * q, 2, 0);
}

/* One buffer of PIECES times the same `bytes` bytes at DATA. */
static void offer_long(struct scene *s, unsigned q, uint32_t bytes)
{
	for (unsigned i = 0; i < PIECES; i++)
		desc(s, TABLE, i, DATA, bytes, i + 1 < PIECES, i + 1);
	desc(s, ring_at(q, 0), 0, TABLE, 16 * PIECES, INDIRECT, 0);
	offer(s, q, 0);
}

static bool is_used(struct scene *s, unsigned q)
{
	for (unsigned i = 0; i < 10000; i++) {
		if (load(s, ring_at(q, 2) + 2) == s->avail[q])
			return true;
		nap();
	}
	return false;
}

static struct scene *scene_new(void)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct error e;

	if (!s || mem_init(&s->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	s->dma = (struct dma){.mem = &s->mem};
	pci_bus_init(&s->bus, &(struct pci_bus_config){0});
	return s;
}

static void scene_add(struct scene *s, struct virtio *v)
{
	struct error e;

	if (!v || pci_add(&s->bus, virtio_pci_new(v, false), -1, &e) != ST_OK)
		abort();
	pci_reset(&s->bus);
	pci_place(&s->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&s->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
}

static void scene_free(struct scene *s)
{
	pci_bus_fini(&s->bus);
	mem_fini(&s->mem);
	free(s);
}

static void start(struct scene *s, unsigned queues, uint32_t features)
{
	wr(s, 20, 1, 0);
	memset(at(s, 0), 0, TABLE);
	wr(s, 20, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		wr(s, 8, 4, i);
		wr(s, 12, 4, i ? 1 : features | (uint32_t)VIRTIO_F_INDIRECT);
	}
	wr(s, 20, 1, 11);
	for (unsigned q = 0; q < queues; q++) {
		s->avail[q] = 0;
		wr(s, 22, 2, q);
		wr(s, 24, 2, SIZE);
		for (unsigned part = 0; part < 3; part++)
			wr(s, 32 + 8 * part, 8, ring_at(q, part));
		wr(s, 28, 2, 1);
	}
	wr(s, 20, 1, 15);
	CHECK(pci_mem_ops.read(&s->bus, REGS + 20, 1) == 15);
}

/* ---- the balloon ---- */

static void test_balloon(void)
{
	struct scene *s = scene_new();
	const uint32_t pfn[] = {0x200, 0x201, 0x100000, 0xffffffff};
	struct error e;

	scene_add(s, virtio_balloon_new(&s->dma, &e));
	start(s, 3, 0);
	/* pages of RAM are given, others are not there */
	memset(at(s, 0x200000), 0x5a, 0x3000);
	memcpy(at(s, DATA), pfn, sizeof(pfn));
	desc(s, ring_at(0, 0), 0, DATA, sizeof(pfn), 0, 0);
	offer(s, 0, 0);
	CHECK(is_used(s, 0) && *at(s, 0x200000) == 0 && *at(s, 0x201fff) == 0 && *at(s, 0x202000) == 0x5a);
	/* half a gigabyte of the number of one page */
	memset(at(s, DATA), 0, 8 << 20);
	offer_long(s, 0, 8 << 20);
	CHECK(is_used(s, 0));
	scene_free(s);
}

/* ---- consoles ---- */

struct reader {
	int fd;
	_Atomic uint64_t bytes;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	char buf[65536];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0)
		atomic_fetch_add(&r->bytes, (uint64_t)n);
	return NULL;
}

/* A port whose file is a pipe: it has room for 64 KiB, and somebody reads it. */
static void test_pipe(void)
{
	struct scene *s = scene_new();
	struct reader r = {0};
	const uint64_t small = 1 << 20, large = 8 << 20;
	struct virtio_console_port port = {0};
	char where[64];
	pthread_t thread;
	struct error e;
	int end[2];

	if (pipe2(end, O_CLOEXEC) != 0)
		abort();
	snprintf(where, sizeof(where), "file:/proc/self/fd/%d", end[1]);
	port.where = where;
	scene_add(s, virtio_console_new(&port, 1, &s->dma, &e));
	close(end[1]);
	start(s, 4, 0);
	desc(s, ring_at(1, 0), 0, DATA, (uint32_t)small, 0, 0);
	offer(s, 1, 0);
	for (unsigned i = 0; i < 20; i++)
		nap();
	CHECK(load(s, ring_at(1, 2) + 2) == 0); /* nobody reads yet */
	r.fd = end[0];
	CHECK(pthread_create(&thread, NULL, read_all, &r) == 0);
	CHECK(is_used(s, 1)); /* and the guest need not ask again */
	/* half a gigabyte: a reset does not wait for the end of it */
	offer_long(s, 1, (uint32_t)large);
	for (unsigned i = 0; i < 5000 && atomic_load(&r.bytes) <= small; i++)
		nap();
	CHECK(atomic_load(&r.bytes) > small);
	wr(s, 20, 1, 0);
	CHECK(atomic_load(&r.bytes) < small + PIECES * large);
	scene_free(s);
	pthread_join(thread, NULL);
	close(end[0]);
}

enum { DEVICE_READY = 0, PORT_READY = 3, PORT_OPEN = 6 };

static void control(struct scene *s, uint16_t event)
{
	const struct {
		uint32_t id;
		uint16_t event, value;
	} m = {0, event, 1};

	memcpy(at(s, DATA), &m, sizeof(m));
	desc(s, ring_at(3, 0), 0, DATA, sizeof(m), 0, 0);
	offer(s, 3, 0);
	CHECK(is_used(s, 3));
}

static int client(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

/* Clients come and go forty times while the guest has no buffers for what is said of it; the last one stays. */
static void test_openings(void)
{
	struct scene *s = scene_new();
	char dir[] = "/tmp/steelyard-test.XXXXXX", path[64], where[80];
	struct virtio_console_port port = {.where = where};
	unsigned open = 2;
	struct error e;
	int last;

	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/port", dir);
	snprintf(where, sizeof(where), "unix:%s", path);
	scene_add(s, virtio_console_new(&port, 1, &s->dma, &e));
	start(s, 4, F_MULTIPORT);
	control(s, DEVICE_READY);
	control(s, PORT_READY);
	for (unsigned i = 0; i < 40; i++) {
		int fd = client(path);

		nap();
		close(fd);
		nap();
	}
	last = client(path);
	for (unsigned i = 0; i < 50; i++)
		nap();
	for (unsigned i = 0; i < SIZE; i++) {
		const uint8_t *p = at(s, DATA + 0x1000 + 0x100 * i);
		unsigned naps = open == 1 ? 50 : 10000; /* what has been opened may be closed again */
		uint16_t m[4];

		desc(s, ring_at(2, 0), i, DATA + 0x1000 + 0x100 * i, 0x100, WRITE, 0);
		offer(s, 2, (uint16_t)i);
		while (load(s, ring_at(2, 2) + 2) != s->avail[2] && naps--)
			nap();
		if (load(s, ring_at(2, 2) + 2) != s->avail[2])
			break;
		memcpy(m, p, sizeof(m));
		if (m[2] == PORT_OPEN)
			open = m[3];
	}
	CHECK(open == 1);
	scene_free(s);
	close(last);
	CHECK(rmdir(dir) == 0);
}

int main(void)
{
	test_balloon();
	test_pipe();
	test_openings();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
