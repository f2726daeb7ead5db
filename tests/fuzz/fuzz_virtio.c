/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: virtio devices behind PCI, driven by a guest that does what the input says: memory (rings, descriptors,
 * requests), registers, configuration space, notifications, resets. The first byte says which device; a short operation
 * brings it up properly, so that inputs get to the rings soon. With the first byte's top bit the rings alone are the
 * target, without a device: what they hand out must lie in RAM, and no longer than allowed.
 *
 * The first byte's 0x40 makes the device a transitional one.
 *
 * Devices work in threads of their own, which the end of the input waits for.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/virtio/virtio_balloon.h"
#include "engine/virtio/virtio_blk.h"
#include "engine/virtio/virtio_console.h"
#include "engine/virtio/virtio_net.h"
#include "engine/virtio/virtio_rng.h"
#include "engine/virtio/virtio_vsock.h"
#include "tests/fuzz/fuzz.h"

#define RAM_BYTES MEM_MIN_BYTES
#define WINDOW 0x8000u /* where the input writes; rings and requests of a proper start are in it */
#define REGS 0xc0000000u
#define PORTS 0xc000u
#define DEVFN 8u
#define OPS_MAX 512u
#define QUEUES 5u /* that a start by the book brings up */

enum op { OP_MEMORY, OP_REGISTER, OP_NOTIFY, OP_START, OP_CONFIG, OP_RESET, OP_READ, OP_WAIT, OP_OFFER, OPS };

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
	uint16_t avail[QUEUES];
	int client; /* of the vsock device; 0: none */
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

/* ---- a network that sends everything back ---- */

static unsigned echo_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	(void)ctx, (void)p, (void)max, (void)timeout_ms;
	return 0;
}

static void echo_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	(void)ctx, (void)p, (void)n;
}

static void echo_send(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct net *n = ctx;

	if (queue >= n->queues)
		FUZZ_FAIL("a frame from queue %u of %u", queue, n->queues);
	n->receive(n->dev, NET_STEER, frame, bytes);
}

static void echo_close(void *ctx)
{
	(void)ctx;
}

static const struct net_ops echo_ops = {
	.prepare = echo_prepare, .poll = echo_poll, .send = echo_send, .close = echo_close};

static struct virtio *make_card(struct machine *m, unsigned queues, struct error *e)
{
	static const uint8_t mac[6] = {2};
	struct net *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	*n = (struct net){.ops = &echo_ops, .ctx = n, .big = true, .trusted = true, .pcap_fd = -1, .queues = queues};
	return virtio_net_new(n, mac, &m->dma, e);
}

static struct virtio *make_net(struct machine *m, struct error *e)
{
	return make_card(m, 1, e);
}

static struct virtio *make_net_mq(struct machine *m, struct error *e)
{
	return make_card(m, 2, e);
}

static struct virtio *make_disk(struct machine *m, struct error *e)
{
	struct virtio_blk_config cfg = {.queues = 1};
	struct blk_config image = {.threads = true};
	int fd = memfd_create("disk", 0);
	char file[64];

	if (fd < 0 || ftruncate(fd, 1 << 16) != 0)
		return NULL;
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	image.file = file;
	if (blk_image_open(&image, &cfg.image, e) != ST_OK)
		return NULL;
	close(fd);
	return virtio_blk_new(&cfg, &m->dma, e);
}

static struct virtio *make_rng(struct machine *m, struct error *e)
{
	return virtio_rng_new(&m->dma, e);
}

static struct virtio *make_balloon(struct machine *m, struct error *e)
{
	return virtio_balloon_new(&m->dma, e);
}

static struct virtio *make_console(struct machine *m, struct error *e)
{
	static const struct virtio_console_port ports[] = {{"file:/dev/null", NULL}, {"file:/dev/null", "second"}};

	return virtio_console_new(ports, 2, &m->dma, e);
}

/* The client, where there is one, connects before the driver is there: the first packet it leads to is a request. */
static struct virtio *make_vsock(struct machine *m, struct error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct virtio_vsock_config cfg = {.cid = 3, .path = a.sun_path};
	struct virtio *v;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/steelyard-fuzz-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
		 (int)getpid());
	unlink(a.sun_path);
	v = virtio_vsock_new(&cfg, &m->dma, e);
	m->client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (v && connect(m->client, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	    write(m->client, "CONNECT 1024\nhello", 18) != 18)
		FUZZ_FAIL("no client");
	return v;
}

static struct virtio *(*const devices[])(struct machine *m, struct error *e) = {make_disk,    make_net,     make_rng,
										make_balloon, make_console, make_vsock, make_net_mq};

/* ---- a guest ---- */

static void reg(struct machine *m, unsigned off, unsigned size, uint64_t val)
{
	pci_mem_ops.write(&m->bus, REGS + off, size, val);
}

/* A start by the book: queues of 8 in WINDOW, descriptors where the input writes them. */
static void start(struct machine *m, uint64_t features)
{
	reg(m, 20, 1, 0);
	reg(m, 20, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		reg(m, 0, 4, i);
		reg(m, 8, 4, i);
		reg(m, 12, 4,
		    (uint32_t)((features | VIRTIO_F_VERSION_1) >> 32 * i) &
			    (uint32_t)pci_mem_ops.read(&m->bus, REGS + 4, 4));
	}
	reg(m, 20, 1, 11);
	for (unsigned q = 0; q < QUEUES; q++) {
		reg(m, 22, 2, q);
		reg(m, 24, 2, 8);
		reg(m, 32, 8, q * 0x1000);
		reg(m, 40, 8, q * 0x1000 + 0x400);
		reg(m, 48, 8, q * 0x1000 + 0x800);
		reg(m, 28, 2, 1);
		m->avail[q] = 0;
	}
	reg(m, 20, 1, 15);
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
		off = (unsigned)take(in, 2) % (0x4000 - 8);
		reg(m, off, size, take(in, size));
		break;
	case OP_NOTIFY:
		if (code & 0x20) { /* the ports of a transitional device */
			off = (unsigned)take(in, 1) % 64;
			pci_io_ops.write(&m->bus, PORTS + off, size < 4 ? size : 4, take(in, 4));
			pci_io_ops.read(&m->bus, PORTS + off, size < 4 ? size : 4);
			break;
		}
		reg(m, 0x3000 + 4 * (code >> 6), 2, 0);
		break;
	case OP_START:
		start(m, take(in, 8));
		break;
	case OP_CONFIG:
		off = (unsigned)take(in, 1) & ~(size < 4 ? size - 1 : 3u);
		if (off >= PCI_BAR(0) && off < PCI_BAR(6))
			break; /* the registers stay where we look for them */
		pci_config_write(&m->bus, 0, DEVFN, off, size < 4 ? size : 4, (uint32_t)take(in, 4));
		break;
	case OP_RESET:
		reg(m, 20, 1, 0);
		break;
	case OP_READ:
		off = (unsigned)take(in, 2) % (0x4000 - 8);
		pci_mem_ops.read(&m->bus, REGS + off, size);
		pci_config_read(&m->bus, 0, DEVFN, off & 0xfc, 4);
		break;
	case OP_WAIT:
		usleep(100);
		break;
	case OP_OFFER: /* the next descriptor chain of queue q begins at a descriptor of the input's choice */
		n = code & 0x20 ? QUEUES - 1 : code >> 6;
		off = n * 0x1000 + 0x400;
		m->mem.ram_hva[off + 4 + 2 * (m->avail[n] % 8)] = (uint8_t)take(in, 1);
		m->avail[n]++;
		memcpy(m->mem.ram_hva + off + 2, &m->avail[n], 2);
		reg(m, 0x3000 + 4 * n, 2, 0);
		break;
	case OPS:
		break;
	}
}

static void check_chain(const struct machine *m, const struct vchain *c, unsigned size)
{
	uint64_t bytes = 0;

	if (c->nout + c->nin > size)
		FUZZ_FAIL("%u pieces from a ring of %u", c->nout + c->nin, size);
	for (unsigned i = 0; i < c->nout + c->nin; i++) {
		const uint8_t *p = c->iov[i].iov_base;

		bytes += c->iov[i].iov_len;
		if (p < m->mem.ram_hva || c->iov[i].iov_len > RAM_BYTES - (uint64_t)(p - m->mem.ram_hva))
			FUZZ_FAIL("a piece outside RAM");
	}
	if (bytes != c->out_bytes + c->in_bytes)
		FUZZ_FAIL("%llu bytes in pieces, %llu said", (unsigned long long)bytes,
			  (unsigned long long)(c->out_bytes + c->in_bytes));
}

static void rings_only(struct machine *m, struct input *in)
{
	struct vring_config cfg = {.features = (uint64_t)take(in, 1) << 28 | (uint64_t)take(in, 1) << 34};
	struct vchain c;
	struct vring r;

	cfg.size = (uint16_t)take(in, 2);
	cfg.desc = take(in, 3);
	cfg.driver = take(in, 3);
	cfg.device = take(in, 3);
	for (unsigned off = 0; in->left && off < WINDOW; off++)
		m->mem.ram_hva[off] = (uint8_t)take(in, 1);
	if (!vring_init(&r, &m->dma, NULL, &cfg))
		return;
	for (unsigned k = 0; k < 600 && vring_pop(&r, &c) == VRING_GOT; k++) {
		check_chain(m, &c, cfg.size);
		if (k % 3 == 0) {
			vring_unpop(&r, &c);
			if (vring_pop(&r, &c) == VRING_EMPTY)
				FUZZ_FAIL("a chain that was put back is gone");
			if (r.broken)
				return;
		}
		vring_push(&r, &c, (uint32_t)c.in_bytes);
		vring_should_signal(&r);
		vring_want_notify(&r, k % 2);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pci_bus_config cfg = {.msi = ignore_msi};
	struct input in = {.p = data, .left = size};
	uint8_t which = (uint8_t)take(&in, 1);
	struct machine *m = calloc(1, sizeof(*m));
	struct error e;

	if (!m || mem_init(&m->mem, RAM_BYTES, &e) != ST_OK)
		FUZZ_FAIL("no machine");
	m->dma = (struct dma){.mem = &m->mem, .wrote = wrote, .ctx = m};
	if (which & 0x80) {
		rings_only(m, &in);
	} else {
		struct virtio *v = devices[(which & 0x3f) % (sizeof(devices) / sizeof(devices[0]))](m, &e);

		pci_bus_init(&m->bus, &cfg);
		if (!v || pci_add(&m->bus, virtio_pci_new(v, which & 0x40), -1, &e) != ST_OK)
			FUZZ_FAIL("no device");
		pci_reset(&m->bus);
		pci_place(&m->bus, &(struct pci_ranges){REGS, REGS + (1u << 20), 0xc000, 0xd000});
		pci_config_write(&m->bus, 0, DEVFN, PCI_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEMORY | PCI_CMD_MASTER);
		for (unsigned k = 0; in.left && k < OPS_MAX; k++)
			operate(m, &in);
		pci_bus_fini(&m->bus);
		if (m->client > 0)
			close(m->client);
	}
	mem_fini(&m->mem);
	free(m);
	return 0;
}
