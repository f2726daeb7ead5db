/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network card with three pairs of queues through its PCI registers: the control queue as drivers use it and as hostile ones do,
 * frames that leave from each queue, and frames that come back into the queue from which their flow was sent. And whose file a wire
 * between two machines takes away, and whose not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "engine/virtio/virtio_net.h"
#include "tests/unit/check.h"

#define RAM_BYTES (16ull << 20)
#define REGS 0xc0000000u
#define PAIRS 3u
#define CONTROL (2 * PAIRS)
#define SIZE 8u
#define RING(q) (0x10000u + (q) * 0x4000u)
#define DESC(q) RING(q)
#define DRIVER(q) (RING(q) + 0x1000u)
#define DEVICE(q) (RING(q) + 0x2000u)
#define DATA(q) (0x100000u + (q) * 0x10000u)
#define HEADER 12u
#define F_CTRL_VQ (1ull << 17)
#define F_MQ (1ull << 22)

enum { NEXT = 1, WRITE = 2 };
enum { OK, ERR, NO_ANSWER = 0xee };

struct card {
	struct mem mem;
	struct dma dma;
	struct pci_bus bus;
	struct net *net;
	uint16_t avail[CONTROL + 1];
	uint8_t frame[64]; /* the last one sent; reply: the worker gives it back, into a queue of the backend's choice */
	unsigned frame_bytes, queue;
	_Atomic unsigned sent;
	_Atomic bool reply;
	_Atomic unsigned into;
};

/* ---- a backend ---- */

static unsigned peer_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	(void)ctx, (void)p, (void)max, (void)timeout_ms;
	return 0;
}

/* The reply has source and destination exchanged, as a peer's has. */
static void peer_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	struct card *c = ctx;
	uint8_t f[sizeof(c->frame)];

	(void)p, (void)n;
	if (!atomic_exchange(&c->reply, false))
		return;
	memcpy(f, c->frame, sizeof(f));
	memcpy(f + 26, c->frame + 30, 4);
	memcpy(f + 30, c->frame + 26, 4);
	memcpy(f + 34, c->frame + 36, 2);
	memcpy(f + 36, c->frame + 34, 2);
	c->net->receive(c->net->dev, atomic_load(&c->into), f, c->frame_bytes);
}

static void peer_send(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct card *c = ctx;

	memcpy(c->frame, frame, bytes < sizeof(c->frame) ? bytes : sizeof(c->frame));
	c->frame_bytes = bytes;
	c->queue = queue;
	atomic_fetch_add(&c->sent, 1);
}

static void peer_close(void *ctx)
{
	(void)ctx;
}

static const struct net_ops peer_ops = {.prepare = peer_prepare, .poll = peer_poll, .send = peer_send, .close = peer_close};

/* ---- a driver ---- */

static uint64_t rd(struct card *c, unsigned off, unsigned size)
{
	return pci_mem_ops.read(&c->bus, REGS + off, size);
}

static void wr(struct card *c, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&c->bus, REGS + off, size, val);
}

static void put(struct card *c, uint64_t gpa, uint64_t val, unsigned bytes)
{
	memcpy(c->mem.ram_hva + gpa, &val, bytes);
}

static unsigned used(struct card *c, unsigned q)
{
	return __atomic_load_n((uint16_t *)(c->mem.ram_hva + DEVICE(q) + 2), __ATOMIC_ACQUIRE);
}

static void desc(struct card *c, unsigned q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	put(c, DESC(q) + 16 * i, addr, 8);
	put(c, DESC(q) + 16 * i + 8, len, 4);
	put(c, DESC(q) + 16 * i + 12, flags, 2);
	put(c, DESC(q) + 16 * i + 14, i + 1, 2);
}

static void offer(struct card *c, unsigned q, unsigned head)
{
	put(c, DRIVER(q) + 4 + 2 * (c->avail[q] % SIZE), head, 2);
	c->avail[q]++;
	__atomic_store_n((uint16_t *)(c->mem.ram_hva + DRIVER(q) + 2), c->avail[q], __ATOMIC_RELEASE);
	wr(c, 0x3000 + 4 * q, 2, q);
}

static bool wait_used(struct card *c, unsigned q, unsigned n)
{
	for (unsigned i = 0; i < 10000 && used(c, q) != (uint16_t)n; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return used(c, q) == (uint16_t)n;
}

static bool needs_reset(struct card *c)
{
	for (unsigned i = 0; i < 10000 && !(rd(c, 20, 1) & VIRTIO_NEEDS_RESET); i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return rd(c, 20, 1) & VIRTIO_NEEDS_RESET;
}

static void up(struct card *c, uint64_t features, unsigned queues)
{
	wr(c, 20, 1, 0); /* from here on the rings are the driver's */
	memset(c->mem.ram_hva + RING(0), 0, RING(CONTROL + 1) - RING(0));
	memset(c->avail, 0, sizeof(c->avail));
	wr(c, 20, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		wr(c, 8, 4, i);
		wr(c, 12, 4, (uint32_t)((features | VIRTIO_F_VERSION_1) >> 32 * i));
	}
	wr(c, 20, 1, 11);
	for (unsigned q = 0; q < queues; q++) {
		wr(c, 22, 2, q);
		wr(c, 24, 2, SIZE);
		wr(c, 32, 8, DESC(q));
		wr(c, 40, 8, DRIVER(q));
		wr(c, 48, 8, DEVICE(q));
		wr(c, 28, 2, 1);
	}
	wr(c, 20, 1, 15);
	CHECK(rd(c, 20, 1) == 15);
}

/* bytes of a command; answer: where it may go. NO_ANSWER: none was written */
static unsigned control_on(struct card *c, unsigned q, unsigned class, unsigned command, unsigned pairs, unsigned bytes, unsigned answer)
{
	put(c, DATA(q), class | command << 8 | pairs << 16, 4);
	put(c, DATA(q) + 16, NO_ANSWER, 1);
	desc(c, q, 0, DATA(q), bytes, answer ? NEXT : 0);
	desc(c, q, 1, DATA(q) + 16, answer, WRITE);
	offer(c, q, 0);
	CHECK(wait_used(c, q, c->avail[q]));
	return c->mem.ram_hva[DATA(q) + 16];
}

static unsigned control(struct card *c, unsigned class, unsigned command, unsigned pairs)
{
	return control_on(c, CONTROL, class, command, pairs, 4, 1);
}

/* An IPv4 frame of UDP from a port; true: it left from this pair. */
static bool sends(struct card *c, unsigned pair, unsigned port)
{
	static const uint8_t frame[42] = {[12] = 8, [14] = 0x45, [23] = 17, [26] = 10, 0, 2, 15, 10, 0, 2, 2, [37] = 53};
	unsigned q = 2 * pair + 1, before = atomic_load(&c->sent);
	uint8_t *p = c->mem.ram_hva + DATA(q);

	memset(p, 0, HEADER);
	memcpy(p + HEADER, frame, sizeof(frame));
	p[HEADER + 34] = (uint8_t)(port >> 8);
	p[HEADER + 35] = (uint8_t)port;
	desc(c, q, 0, DATA(q), HEADER + sizeof(frame), 0);
	offer(c, q, 0);
	return wait_used(c, q, c->avail[q]) && atomic_load(&c->sent) == before + 1 && c->queue == pair && c->frame_bytes == sizeof(frame) &&
	       c->frame[35] == (uint8_t)port;
}

/* The pair in which the reply to what was sent last comes in. Every pair has a buffer. */
static unsigned replied(struct card *c, unsigned into)
{
	unsigned before[PAIRS], pair = PAIRS;

	for (unsigned i = 0; i < PAIRS; i++)
		before[i] = used(c, 2 * i);
	atomic_store(&c->into, into);
	atomic_store(&c->reply, true);
	wr(c, 0x3000 + 4, 2, 1);
	for (unsigned k = 0; k < 10000 && pair == PAIRS; k++) {
		for (unsigned i = 0; i < PAIRS; i++)
			if (used(c, 2 * i) != before[i])
				pair = i;
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	if (pair < PAIRS)
		offer(c, 2 * pair, 0);
	return pair;
}

static void buffers(struct card *c)
{
	for (unsigned i = 0; i < PAIRS; i++)
		for (unsigned k = 0; k < 2; k++) {
			desc(c, 2 * i, 0, DATA(2 * i), 2048, WRITE);
			offer(c, 2 * i, 0);
		}
}

static struct card *card_new(void)
{
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	static const struct pci_bus_config cfg = {0};
	struct card *c = calloc(1, sizeof(*c));
	struct virtio *v;
	struct error e;

	if (!c || mem_init(&c->mem, RAM_BYTES, &e) != ST_OK)
		abort();
	c->dma = (struct dma){.mem = &c->mem};
	pci_bus_init(&c->bus, &cfg);
	c->net = calloc(1, sizeof(*c->net));
	*c->net = (struct net){.ops = &peer_ops, .ctx = c, .pcap_fd = -1, .queues = PAIRS};
	v = virtio_net_new(c->net, mac, &c->dma, &e);
	CHECK(v && pci_add(&c->bus, virtio_pci_new(v, false), -1, &e) == ST_OK);
	pci_reset(&c->bus);
	pci_place(&c->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
	pci_config_write(&c->bus, 0, 8, PCI_COMMAND, 2, PCI_CMD_MEMORY | PCI_CMD_MASTER);
	return c;
}

static void card_free(struct card *c)
{
	pci_bus_fini(&c->bus);
	mem_fini(&c->mem);
	free(c);
}

/* ---- tests ---- */

static void test_control(struct card *c)
{
	up(c, F_CTRL_VQ | F_MQ, CONTROL + 1);
	CHECK(rd(c, 18, 2) == CONTROL + 1 && rd(c, 0x2000 + 8, 2) == PAIRS);
	for (unsigned n = 0; n <= PAIRS + 2; n++)
		CHECK(control(c, 4, 0, n) == (n >= 1 && n <= PAIRS ? OK : ERR));
	CHECK(control(c, 4, 0, 0xffff) == ERR);
	CHECK(control(c, 4, 1, 2) == ERR); /* receive-side scaling */
	CHECK(control(c, 0, 0, 1) == ERR); /* promiscuous: not offered */
	CHECK(control(c, 0xff, 0xff, 2) == ERR);
	for (unsigned bytes = 1; bytes < 4; bytes++)
		CHECK(control_on(c, CONTROL, 4, 0, 2, bytes, 1) == ERR);
	CHECK(control_on(c, CONTROL, 4, 0, 2, 4096, 1) == OK); /* more than the command: what follows is nothing */
	CHECK(control_on(c, CONTROL, 4, 0, 2, 4, 0) == NO_ANSWER);
	CHECK(control_on(c, CONTROL, 4, 0, 2, 4, 16) == OK); /* one byte of them is written */
	CHECK(c->mem.ram_hva[DATA(CONTROL) + 17] == 0);
	desc(c, CONTROL, 0, RAM_BYTES - 2, 4, 0);
	offer(c, CONTROL, 0);
	CHECK(needs_reset(c));
	/* Without VIRTIO_NET_F_MQ the control queue is the third one, and knows one pair. */
	up(c, F_CTRL_VQ, 3);
	CHECK(control_on(c, 2, 4, 0, 1, 4, 1) == ERR);
	CHECK(sends(c, 0, 7));
	up(c, 0, 2);
	CHECK(sends(c, 0, 7));
}

static void test_flows(struct card *c)
{
	up(c, F_CTRL_VQ | F_MQ, CONTROL + 1);
	buffers(c);
	for (unsigned pair = 0; pair < PAIRS; pair++) /* all of them send, one receives */
		CHECK(sends(c, pair, 1000 + pair) && replied(c, NET_STEER) == 0);
	CHECK(replied(c, 2) == 0);
	CHECK(control(c, 4, 0, PAIRS) == OK);
	for (unsigned port = 1; port < 200; port += 7) {
		unsigned pair = port % PAIRS;

		CHECK(sends(c, pair, port) && replied(c, NET_STEER) == pair);
		pair = (pair + 1) % PAIRS; /* the flow moves to another processor */
		CHECK(sends(c, pair, port) && replied(c, NET_STEER) == pair);
	}
	for (unsigned pair = 0; pair < PAIRS; pair++)
		CHECK(replied(c, pair) == pair); /* the backend's choice */
	CHECK(control(c, 4, 0, 2) == OK);
	for (unsigned port = 1; port < 50; port++)
		CHECK(sends(c, port % PAIRS, port) && replied(c, NET_STEER) < 2);
	CHECK(replied(c, 2) < 2);
	up(c, F_CTRL_VQ | F_MQ, CONTROL + 1); /* a reset forgets */
	buffers(c);
	CHECK(sends(c, 2, 9) && replied(c, NET_STEER) == 0);
}

/* Each frame cut anywhere: nothing behind its end is looked at (the sanitizers see to that), and a whole one is symmetric. */
static void test_hash(void)
{
	uint8_t four[42] = {[12] = 8, [14] = 0x45, [23] = 6, [26] = 1, 2, 3, 4, 5, 6, 7, 8, 0x12, 0x34, 0, 80};
	uint8_t back[42] = {[12] = 8, [14] = 0x45, [23] = 6, [26] = 5, 6, 7, 8, 1, 2, 3, 4, 0, 80, 0x12, 0x34};
	uint8_t six[58] = {[12] = 0x86, 0xdd, 0x60, [20] = 17, [22] = 0xfe, [37] = 1, [38] = 0xfd, [53] = 2, 1, 2, 3, 4};
	uint32_t whole = net_flow(four, sizeof(four));

	CHECK(whole && whole == net_flow(back, sizeof(back)) && net_flow(six, sizeof(six)));
	back[35] ^= 1;
	CHECK(whole != net_flow(back, sizeof(back)));
	for (unsigned n = 0; n < sizeof(six); n++) {
		uint8_t *cut = malloc(n ? n : 1);

		memcpy(cut, six, n);
		CHECK(n >= 54 || !net_flow(cut, n));
		memcpy(cut, four, n < sizeof(four) ? n : sizeof(four));
		CHECK(n >= 34 || !net_flow(cut, n));
		free(cut);
	}
	four[14] = 0x4f; /* a header as long as it can be: the ports lie behind the end */
	CHECK(net_flow(four, sizeof(four)) == net_flow(four, 34));
	four[14] = 0x45;
	four[21] = 1; /* a fragment that is not the first: what lies there are no ports */
	CHECK(net_flow(four, sizeof(four)) == net_flow(four, 34));
}

/* ---- the socket of a wire ---- */

static void test_wire(void)
{
	char dir[] = "/tmp/steelyard-test.XXXXXX", path[64];
	const struct net_config cfg = {.kind = NET_SOCKET, .path = path};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct net *first, *second;
	struct error e = {0};
	struct stat st;
	int fd;

	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/wire", dir);
	memcpy(a.sun_path, path, sizeof(path));
	/* a file of the user's is none of ours */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, "precious", 8) == 8 && close(fd) == 0);
	CHECK(net_open(&cfg, &first, &e) != ST_OK && !first && strstr(e.msg, path));
	CHECK(stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 8);
	unlink(path);
	/* the socket of one who has died is taken over */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && close(fd) == 0);
	CHECK(net_open(&cfg, &first, &e) == ST_OK && net_open(&cfg, &second, &e) == ST_OK);
	net_close(second);
	CHECK(stat(path, &st) == 0 && S_ISSOCK(st.st_mode)); /* the listener's */
	net_close(first);
	CHECK(stat(path, &st) != 0 && errno == ENOENT);
	CHECK(rmdir(dir) == 0);
}

int main(void)
{
	struct card *c = card_new();

	test_control(c);
	test_flows(c);
	test_hash();
	test_wire();
	card_free(c);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
