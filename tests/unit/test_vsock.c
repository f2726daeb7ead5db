/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio sockets without a guest: a driver that speaks packets, clients and servers that speak Unix sockets. Connections
 * both ways, data with credit, closes of either end, and a driver that lies.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "engine/virtio/virtio_vsock.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define REGS 0xc0000000u
#define SIZE 64u
#define CID 7u
#define DATA 0x100000u
#define BUFFER 4096u
#define HDR sizeof(struct vsock_header)
#define OURS 65536u /* what the driver says that it buffers */

struct scene {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
	char path[64], dir[32];
	uint16_t avail[2], used[2];
};

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static uint64_t ring_at(unsigned q, unsigned part)
{
	return q * 0x4000 + part * 0x1000;
}

static void put(struct scene *s, uint64_t gpa, uint64_t val, unsigned bytes)
{
	memcpy(s->mem.ram_hva + gpa, &val, bytes);
}

static uint64_t get(struct scene *s, uint64_t gpa, unsigned bytes)
{
	uint64_t val = 0;

	if (bytes == 2) /* the device's index, and it runs */
		return __atomic_load_n((const uint16_t *)(s->mem.ram_hva + gpa), __ATOMIC_ACQUIRE);
	memcpy(&val, s->mem.ram_hva + gpa, bytes);
	return val;
}

static void wr(struct scene *s, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&s->bus, REGS + off, size, val);
}

static uint64_t buffer_at(unsigned q, unsigned i)
{
	return DATA + (q * SIZE + i) * 0x11000ull;
}

static void offer(struct scene *s, unsigned q, unsigned i, uint32_t bytes)
{
	put(s, ring_at(q, 0) + 16 * i, buffer_at(q, i), 8);
	put(s, ring_at(q, 0) + 16 * i + 8, bytes, 4);
	put(s, ring_at(q, 0) + 16 * i + 12, q == 0 ? 2 : 0, 4);
	put(s, ring_at(q, 1) + 4 + 2 * (s->avail[q] % SIZE), i, 2);
	__atomic_store_n((uint16_t *)(s->mem.ram_hva + ring_at(q, 1) + 2), ++s->avail[q], __ATOMIC_RELEASE);
	wr(s, 0x3000 + 4 * q, 2, 0);
}

static void start(struct scene *s)
{
	wr(s, 20, 1, 0);
	memset(s->mem.ram_hva, 0, 0x10000);
	wr(s, 20, 1, 3);
	wr(s, 8, 4, 1);
	wr(s, 12, 4, 1);
	wr(s, 20, 1, 11);
	for (unsigned q = 0; q < 2; q++) {
		s->avail[q] = s->used[q] = 0;
		wr(s, 22, 2, q);
		wr(s, 24, 2, SIZE);
		for (unsigned part = 0; part < 3; part++)
			wr(s, 32 + 8 * part, 8, ring_at(q, part));
		wr(s, 28, 2, 1);
	}
	wr(s, 20, 1, 15);
	CHECK(pci_mem_ops.read(&s->bus, REGS + 20, 1) == 15);
	for (unsigned i = 0; i < 16; i++)
		offer(s, 0, i, BUFFER);
}

/* The next packet from the device; false: none. It is copied, and its buffer given again. */
static bool hear(struct scene *s, struct vsock_header *h, uint8_t *data)
{
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t at = ring_at(0, 2) + 4 + 8 * (s->used[0] % SIZE);
		uint32_t id, len;

		if (__atomic_load_n((uint16_t *)(s->mem.ram_hva + ring_at(0, 2) + 2), __ATOMIC_ACQUIRE) == s->used[0]) {
			nap();
			continue;
		}
		id = (uint32_t)get(s, at, 4);
		len = (uint32_t)get(s, at + 4, 4);
		s->used[0]++;
		memcpy(h, s->mem.ram_hva + buffer_at(0, id), HDR);
		if (len != HDR + h->len || h->src_cid != 2 || h->dst_cid != CID || h->type != 1)
			return false;
		if (data)
			memcpy(data, s->mem.ram_hva + buffer_at(0, id) + HDR, h->len);
		offer(s, 0, id, BUFFER);
		return true;
	}
	return false;
}

static bool hears(struct scene *s, uint16_t op, uint32_t guest_port, struct vsock_header *out)
{
	struct vsock_header h = {0};
	bool got = hear(s, &h, NULL);

	if (out)
		*out = h;
	if (got && h.op == op && h.dst_port == guest_port)
		return true;
	printf("     op %u for port %u instead of %u for %u\n", h.op, h.dst_port, op, guest_port);
	return false;
}

static bool silent(struct scene *s)
{
	for (unsigned i = 0; i < 20; i++)
		nap();
	return get(s, ring_at(0, 2) + 2, 2) == s->used[0];
}

static void say_raw(struct scene *s, const struct vsock_header *h, const void *data, uint32_t bytes)
{
	unsigned i = s->avail[1] % SIZE;

	memcpy(s->mem.ram_hva + buffer_at(1, i), h, HDR);
	memcpy(s->mem.ram_hva + buffer_at(1, i) + HDR, data, bytes);
	offer(s, 1, i, (uint32_t)HDR + bytes);
	for (unsigned k = 0; k < 5000 && get(s, ring_at(1, 2) + 2, 2) != s->avail[1]; k++)
		nap();
}

static void say(struct scene *s, uint16_t op, uint32_t from, uint32_t to, uint32_t forwarded, const void *data,
		uint32_t bytes)
{
	const struct vsock_header h = {.src_cid = CID,
				       .dst_cid = 2,
				       .src_port = from,
				       .dst_port = to,
				       .len = bytes,
				       .type = 1,
				       .op = op,
				       .flags = op == VSOCK_OP_SHUTDOWN ? 3 : 0,
				       .buf_alloc = OURS,
				       .fwd_cnt = forwarded};

	say_raw(s, &h, data, bytes);
}

static int client(struct scene *s, const char *line)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(a.sun_path, s->path, sizeof(s->path));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || write(fd, line, strlen(line)) < 0)
		return -1;
	return fd;
}

static int server(struct scene *s, unsigned port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", s->path, port);
	unlink(a.sun_path);
	return bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 4) == 0 ? fd : -1;
}

static bool reads(int fd, const char *want)
{
	char buf[128] = "";
	size_t n = 0;

	while (n < strlen(want)) {
		ssize_t got = read(fd, buf + n, strlen(want) - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	return !strcmp(buf, want);
}

/* ---- tests ---- */

/* A client asks for a port of the guest's; returns its socket, and our end's port. */
static int open_in(struct scene *s, uint32_t guest_port, uint32_t *host_port)
{
	struct vsock_header h;
	char line[32];
	int fd;

	snprintf(line, sizeof(line), "CONNECT %u\n", guest_port);
	fd = client(s, line);
	CHECK(fd >= 0 && hears(s, VSOCK_OP_REQUEST, guest_port, &h) && h.buf_alloc == 65536);
	*host_port = h.src_port;
	say(s, VSOCK_OP_RESPONSE, guest_port, *host_port, 0, "", 0);
	snprintf(line, sizeof(line), "OK %u\n", *host_port);
	CHECK(reads(fd, line));
	return fd;
}

static void test_in(struct scene *s)
{
	struct vsock_header h;
	uint8_t data[BUFFER];
	uint32_t port;
	int fd = open_in(s, 52, &port);

	say(s, VSOCK_OP_RW, 52, port, 0, "hello", 5);
	CHECK(reads(fd, "hello"));
	CHECK(write(fd, "from outside", 12) == 12 && hear(s, &h, data) && h.op == VSOCK_OP_RW && h.len == 12 &&
	      !memcmp(data, "from outside", 12) && h.fwd_cnt == 5 && h.dst_port == 52 && h.src_port == port);
	say(s, VSOCK_OP_CREDIT_REQUEST, 52, port, 12, "", 0);
	CHECK(hears(s, VSOCK_OP_CREDIT_UPDATE, 52, &h) && h.fwd_cnt == 5);
	/* the client ends its half, then the guest the whole */
	shutdown(fd, SHUT_WR);
	CHECK(hears(s, VSOCK_OP_SHUTDOWN, 52, &h) && h.flags == VSOCK_SHUT_SEND);
	say(s, VSOCK_OP_RW, 52, port, 12, "bye", 3);
	say(s, VSOCK_OP_SHUTDOWN, 52, port, 12, "", 0);
	CHECK(reads(fd, "bye") && read(fd, data, 1) == 0 && hears(s, VSOCK_OP_RST, 52, NULL));
	close(fd);
	/* a client that goes away */
	fd = open_in(s, 53, &port);
	CHECK(write(fd, "last words", 10) == 10);
	close(fd);
	CHECK(hear(s, &h, data) && h.op == VSOCK_OP_RW && !memcmp(data, "last words", 10));
	CHECK(hears(s, VSOCK_OP_SHUTDOWN, 53, &h) && h.flags == 3);
	say(s, VSOCK_OP_RST, 53, port, 10, "", 0);
	CHECK(silent(s));
	/* nobody listens in the guest */
	fd = client(s, "CONNECT 54\r\n");
	CHECK(hears(s, VSOCK_OP_REQUEST, 54, &h));
	say(s, VSOCK_OP_RST, 54, h.src_port, 0, "", 0);
	CHECK(read(fd, data, 1) == 0);
	close(fd);
}

static void test_hellos(struct scene *s)
{
	static const char *const bad[] = {"HELLO\n",
					  "CONNECT \n",
					  "CONNECT x\n",
					  "CONNECT 1 2\n",
					  "CONNECT -1\n",
					  "CONNECT 4294967296\n",
					  "CONNECT 00000000000000000000000000000000001\n"};
	struct vsock_header h;
	char c;
	int fd;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		fd = client(s, bad[i]);
		CHECK(fd >= 0 && read(fd, &c, 1) <= 0); /* ended, or reset with what it had not read */
		close(fd);
	}
	fd = client(s, "CONN");
	CHECK(silent(s));
	CHECK(write(fd, "ECT 4294967295\n", 15) == 15 && hears(s, VSOCK_OP_REQUEST, 4294967295u, &h));
	close(fd);
	CHECK(hears(s, VSOCK_OP_RST, 4294967295u, NULL));
}

static void test_out(struct scene *s)
{
	int listener = server(s, 9000), fd;
	char c;

	say(s, VSOCK_OP_REQUEST, 1000, 9000, 0, "", 0);
	CHECK(hears(s, VSOCK_OP_RESPONSE, 1000, NULL));
	fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	say(s, VSOCK_OP_RW, 1000, 9000, 0, "ping", 4);
	CHECK(reads(fd, "ping"));
	say(s, VSOCK_OP_REQUEST, 1000, 9000, 0, "", 0); /* it is there already */
	CHECK(hears(s, VSOCK_OP_RST, 1000, NULL) && read(fd, &c, 1) <= 0);
	close(fd);
	close(listener);
	say(s, VSOCK_OP_REQUEST, 1001, 9001, 0, "", 0);
	CHECK(hears(s, VSOCK_OP_RST, 1001, NULL));
	say(s, VSOCK_OP_RW, 1002, 9000, 0, "?", 1);
	CHECK(hears(s, VSOCK_OP_RST, 1002, NULL));
	say(s, VSOCK_OP_RST, 1003, 9000, 0, "", 0);
	CHECK(silent(s));
}

/* Neither side gets more than it said that it has room for. */
static void test_credit(struct scene *s)
{
	static uint8_t big[200000], back[200000];
	struct vsock_header h;
	uint32_t port, got = 0, sent = 0, done = 0;
	int fd = open_in(s, 60, &port);

	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 11 >> 2);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (got < OURS) { /* as much as the guest has room for, and no more */
		if (sent < sizeof(big)) {
			ssize_t n = write(fd, big + sent, sizeof(big) - sent);

			sent += n > 0 ? (uint32_t)n : 0;
		}
		if (!hear(s, &h, back + got) || h.op != VSOCK_OP_RW)
			break;
		got += h.len;
	}
	CHECK(got == OURS && silent(s));
	say(s, VSOCK_OP_CREDIT_UPDATE, 60, port, 1000, "", 0);
	CHECK(hear(s, &h, back + got) && h.op == VSOCK_OP_RW && h.len == 1000 && silent(s));
	CHECK(!memcmp(big, back, OURS + 1000));
	/* to the client: 64 KiB may wait here beside what the socket takes; more is told to be more */
	fcntl(fd, F_SETFL, 0);
	say(s, VSOCK_OP_RW, 60, port, 66536, big, 60000);
	while (done < 60000) {
		ssize_t n = read(fd, back + done, 60000 - done);

		if (n <= 0)
			break;
		done += (uint32_t)n;
	}
	CHECK(done == 60000 && !memcmp(big, back, 60000));
	while (hear(s, &h, NULL) && h.op == VSOCK_OP_RW)
		;
	CHECK(h.op == VSOCK_OP_CREDIT_UPDATE && h.fwd_cnt == 60000);
	for (unsigned i = 0; i < 20; i++) { /* the client reads no more: at some point the guest has sent too much */
		say(s, VSOCK_OP_RW, 60, port, ~0u, big, 60000);
		if (get(s, ring_at(0, 2) + 2, 2) != s->used[0] && hear(s, &h, NULL) && h.op == VSOCK_OP_RST)
			break;
	}
	while (h.op != VSOCK_OP_RST && hear(s, &h, NULL))
		;
	CHECK(h.op == VSOCK_OP_RST && h.dst_port == 60);
	while (!silent(s)) /* what was said to a connection that is no more */
		CHECK(hears(s, VSOCK_OP_RST, 60, NULL));
	close(fd);
}

static void test_lies(struct scene *s)
{
	struct vsock_header h = {
		.src_cid = CID + 1, .dst_cid = 2, .src_port = 70, .dst_port = 9000, .type = 1, .op = 1};
	uint32_t port;
	int fd;
	char c;

	say_raw(s, &h, "", 0); /* not its address */
	h.src_cid = CID;
	h.dst_cid = 99; /* not ours */
	say_raw(s, &h, "", 0);
	CHECK(silent(s));
	h.dst_cid = 2;
	h.type = 2;
	say_raw(s, &h, "", 0);
	CHECK(hears(s, VSOCK_OP_RST, 70, NULL));
	fd = open_in(s, 71, &port);
	h = (struct vsock_header){
		.src_cid = CID, .dst_cid = 2, .src_port = 71, .dst_port = port, .type = 1, .op = 5, .len = 100};
	say_raw(s, &h, "short", 5);
	CHECK(hears(s, VSOCK_OP_RST, 71, NULL) && read(fd, &c, 1) <= 0);
	close(fd);
	fd = open_in(s, 72, &port);
	say(s, 99, 72, port, 0, "", 0);
	CHECK(hears(s, VSOCK_OP_RST, 72, NULL) && read(fd, &c, 1) <= 0);
	close(fd);
	fd = open_in(s, 73, &port);
	wr(s, 20, 1, 0); /* a reset of the device ends what there is */
	CHECK(read(fd, &c, 1) <= 0);
	close(fd);
	start(s);
	fd = open_in(s, 74, &port);
	offer(s, 0, 20, HDR); /* a buffer with no room for data: every buffer before it is used first */
	for (unsigned i = 0; i < 17; i++) {
		CHECK(write(fd, "x", 1) == 1);
		for (unsigned k = 0; k < 5000 && get(s, ring_at(0, 2) + 2, 2) == s->used[0]; k++)
			if (pci_mem_ops.read(&s->bus, REGS + 20, 1) & VIRTIO_NEEDS_RESET)
				break;
			else
				nap();
		s->used[0]++;
	}
	CHECK(pci_mem_ops.read(&s->bus, REGS + 20, 1) & VIRTIO_NEEDS_RESET);
	close(fd);
	start(s);
}

static void test_many(struct scene *s)
{
	int fd[140];
	unsigned n;

	for (n = 0; n < ARRAY_LEN(fd); n++) /* more clients than there are places: the others wait in the backlog */
		if ((fd[n] = client(s, "CONN")) < 0)
			break;
	CHECK(n == ARRAY_LEN(fd));
	while (n--)
		close(fd[n]);
	fd[0] = client(s, "CONNECT 80\n");
	CHECK(hears(s, VSOCK_OP_REQUEST, 80, NULL));
	close(fd[0]);
	CHECK(hears(s, VSOCK_OP_RST, 80, NULL));
}

int main(void)
{
	struct scene *s = calloc(1, sizeof(*s));
	const struct pci_bus_config cfg = {0};
	struct virtio_vsock_config dev = {.cid = CID};
	struct virtio *v;
	struct error e;
	char longer[120];

	if (!s || mem_init(&s->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	s->dma = (struct dma){.mem = &s->mem};
	strcpy(s->dir, "/tmp/steelyard-vsock.XXXXXX");
	CHECK(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/v", s->dir);
	dev.path = s->path;
	pci_bus_init(&s->bus, &cfg);
	v = virtio_vsock_new(&dev, &s->dma, &e);
	CHECK(v && pci_add(&s->bus, virtio_pci_new(v, false), -1, &e) == ST_OK);
	CHECK(!virtio_vsock_new(&dev, &s->dma, &e) && e.status == ST_DENIED); /* the path is taken */
	memset(longer, 'x', sizeof(longer));
	longer[100] = 0;
	dev.path = longer;
	CHECK(!virtio_vsock_new(&dev, &s->dma, &e) && e.status == ST_INVALID);
	pci_reset(&s->bus);
	pci_place(&s->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&s->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	CHECK(pci_mem_ops.read(&s->bus, REGS + 0x2000, 8) == CID);
	start(s);
	test_in(s);
	test_hellos(s);
	test_out(s);
	test_credit(s);
	test_lies(s);
	test_many(s);
	pci_bus_fini(&s->bus);
	CHECK(access(s->path, F_OK) != 0 && errno == ENOENT);
	snprintf(longer, sizeof(longer), "%s_9000", s->path);
	unlink(longer);
	CHECK(rmdir(s->dir) == 0);
	mem_fini(&s->mem);
	free(s);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
