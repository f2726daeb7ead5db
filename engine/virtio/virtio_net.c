// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A network card: pairs of queues, one to receive and one to send, and one worker for all of them and for the backend.
 *
 * Frames that come in while the driver has no buffers wait in a backlog; a backend that can wait is not asked for more
 * meanwhile, one that cannot loses frames when the backlog is full, as a card's memory would be.
 *
 * With more than one pair there is a control queue, on which the driver says how many it uses (VIRTIO_NET_CTRL_MQ; nothing else is
 * known there). A frame is received in the queue from whose pair its flow last sent (5.1.6.5.6.1): a table of flows, by a hash that both
 * directions share, remembers; a flow that has not sent is spread by its hash. A backend with queues of its own chooses itself.
 *
 * Offloads: where the backend carries the virtio header (tap), it passes through. Else the device fills in the checksums
 * that the driver left open, and offers to take big TCP segments only where the backend takes them as they are.
 */
#include "engine/virtio/virtio_net.h"

#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>

#define ID_NET 1u
#define CLASS_ETHERNET 0x020000u
#define RX(pair) (2 * (pair))
#define TX(pair) (2 * (pair) + 1)
#define FLOWS 256u
#define SIZE 256u
#define BACKLOG_BYTES (1u << 20)
#define MERGE_MAX 64u
#define TX_BATCH 64u
#define STARVED_MS 1

#define F_CSUM (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_MAC (1ull << 5)
#define F_GUEST_TSO4 (1ull << 7)
#define F_GUEST_TSO6 (1ull << 8)
#define F_HOST_TSO4 (1ull << 11)
#define F_HOST_TSO6 (1ull << 12)
#define F_MRG_RXBUF (1ull << 15)
#define F_STATUS (1ull << 16)
#define F_CTRL_VQ (1ull << 17)
#define F_MQ (1ull << 22)

#define HEADER_OLD_BYTES 10u
#define HDR_NEEDS_CSUM 1u
#define HDR_DATA_VALID 2u

/* 5.1.6 */
struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct header) == NET_HEADER_BYTES, "the header as the driver sees it");

/* 5.1.6.5: what the driver says on the control queue; the device answers with a byte. */
struct __attribute__((packed)) control {
	uint8_t class, command;
	uint16_t pairs;
};
enum { CTRL_MQ = 4, CTRL_MQ_PAIRS_SET = 0 };
enum { CTRL_OK, CTRL_ERR };

struct config {
	uint8_t mac[6];
	uint16_t status, pairs, mtu;
};

/* Frames that wait for buffers of a pair: a 4-byte length and the frame with its header, one behind the other. */
struct backlog {
	uint8_t *bytes;
	unsigned from, to;
	bool starved; /* there are buffers, and too few for the next frame: nobody tells when more come */
};

struct virtio_net {
	struct virtio v;
	struct net *net;
	struct worker *worker;
	struct config config;
	struct vchain chain;
	unsigned header_bytes; /* of the driver's; an old one without mergeable buffers has no num_buffers */
	uint8_t tx[NET_HEADER_BYTES + NET_FRAME_MAX];
	unsigned pairs;   /* the driver receives in so many; 1 until it says more */
	unsigned control; /* queue; final from start to stop */
	uint8_t flow[FLOWS]; /* the pair that sent last; taken modulo pairs */
	struct backlog backlog[NET_QUEUES_MAX];
};

/* ---- receiving ---- */

/* Header and frame into the driver's buffers; false: there are not enough. A frame that does not fit one buffer, where one
 * is all it may have, is lost. */
static bool put_frame(struct virtio_net *d, unsigned pair, const uint8_t *bytes, unsigned len)
{
	struct vring *ring = &d->v.queue[RX(pair)].ring;
	bool merge = virtio_has(&d->v, F_MRG_RXBUF);
	struct vring before = *ring;
	struct {
		uint16_t id, slots;
		uint32_t written;
	} part[MERGE_MAX];
	unsigned n = 0, done = 0;
	uint8_t *num_buffers = NULL;

	while (done < len && n < MERGE_MAX) {
		switch (vring_pop(ring, &d->chain)) {
		case VRING_EMPTY:
			*ring = before;
			return false;
		case VRING_BROKEN:
			virtio_fail(&d->v);
			return true;
		case VRING_GOT:
			break;
		}
		if (n == 0 && d->header_bytes == sizeof(struct header) && d->chain.nin &&
		    d->chain.iov[d->chain.nout].iov_len >= sizeof(struct header))
			num_buffers =
				(uint8_t *)d->chain.iov[d->chain.nout].iov_base + offsetof(struct header, num_buffers);
		part[n].id = d->chain.id;
		part[n].slots = d->chain.slots;
		part[n].written = (uint32_t)vchain_write(&d->chain, d->v.dma, 0, bytes + done, len - done);
		done += part[n].written;
		n++;
		if (!merge)
			break;
	}
	if (done < len) {
		/* 5.1.6.3.1: a driver gives buffers that are large enough; this one has not */
		*ring = before;
		if (merge || vring_pop(ring, &d->chain) != VRING_GOT)
			virtio_fail(&d->v);
		else
			vring_push(ring, &d->chain, 0);
		return true;
	}
	if (num_buffers)
		memcpy(num_buffers, &(uint16_t){(uint16_t)n}, 2);
	for (unsigned i = 0; i < n; i++) {
		d->chain.id = part[i].id;
		d->chain.slots = part[i].slots;
		vring_fill(ring, &d->chain, part[i].written, i);
	}
	vring_publish(ring, n);
	return true;
}

static void flush_backlog(struct virtio_net *d, unsigned pair)
{
	struct backlog *b = &d->backlog[pair];

	while (b->from < b->to) {
		uint32_t len;

		memcpy(&len, b->bytes + b->from, sizeof(len));
		if (!put_frame(d, pair, b->bytes + b->from + sizeof(len), len))
			return;
		b->from += (unsigned)sizeof(len) + len;
	}
	b->from = b->to = 0;
}

static unsigned pair_of(const struct virtio_net *d, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	if (d->pairs == 1)
		return 0;
	return (queue == NET_STEER ? d->flow[net_flow(frame, bytes) % FLOWS] : queue) % d->pairs;
}

/* Everything goes through the backlog, which is empty but for bursts: one place that knows the order. */
static void receive(void *dev, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct virtio_net *d = dev;
	struct header h = {.num_buffers = 1};
	struct backlog *b;
	unsigned pair;
	uint32_t len;
	uint8_t *at;

	if (!d->net->header) {
		h.flags = d->net->trusted && virtio_has(&d->v, F_GUEST_CSUM) ? HDR_DATA_VALID : 0;
	} else {
		memcpy(&h, frame, sizeof(h));
		frame += sizeof(h);
		bytes -= (unsigned)sizeof(h);
	}
	net_dump(d->net, frame, bytes);
	pair = pair_of(d, queue, frame, bytes);
	b = &d->backlog[pair];
	len = d->header_bytes + bytes;
	if (sizeof(len) + len > BACKLOG_BYTES - b->to)
		return;
	at = b->bytes + b->to;
	memcpy(at, &len, sizeof(len));
	at += sizeof(len);
	memcpy(at, &h, d->header_bytes);
	memcpy(at + d->header_bytes, frame, bytes);
	b->to += (unsigned)sizeof(len) + len;
	flush_backlog(d, pair);
}

static bool has_room(void *dev)
{
	const struct virtio_net *d = dev;

	for (unsigned i = 0; i < d->pairs; i++)
		if (d->backlog[i].from != d->backlog[i].to)
			return false;
	return true;
}

/* ---- sending ---- */

static void send_chain(struct virtio_net *d, unsigned pair, const struct vchain *c)
{
	uint8_t *frame = d->tx + sizeof(struct header);
	unsigned bytes;
	struct header h = {0};

	if (c->out_bytes <= d->header_bytes || c->out_bytes > d->header_bytes + NET_FRAME_MAX)
		return;
	vchain_read(c, 0, &h, d->header_bytes);
	memcpy(d->tx, &h, sizeof(h));
	bytes = (unsigned)vchain_read(c, d->header_bytes, frame, NET_FRAME_MAX);
	if (d->pairs > 1)
		d->flow[net_flow(frame, bytes) % FLOWS] = (uint8_t)pair;
	if (d->net->header) {
		net_dump(d->net, frame, bytes);
		d->net->ops->send(d->net->ctx, pair, d->tx, bytes + (unsigned)sizeof(h));
		return;
	}
	if (h.flags & HDR_NEEDS_CSUM)
		net_checksum(frame, bytes, h.csum_start, h.csum_offset);
	net_dump(d->net, frame, bytes);
	d->net->ops->send(d->net->ctx, pair, frame, bytes);
}

/* true: the batch was full. */
static bool send_all(struct virtio_net *d, unsigned pair)
{
	struct vring *ring = &d->v.queue[TX(pair)].ring;

	for (unsigned i = 0; i < TX_BATCH; i++) {
		switch (vring_pop(ring, &d->chain)) {
		case VRING_EMPTY:
			return false;
		case VRING_BROKEN:
			virtio_fail(&d->v);
			return false;
		case VRING_GOT:
			break;
		}
		{
			struct vchain *c = &d->chain;
			uint16_t id = c->id, slots = c->slots;

			send_chain(d, pair, c); /* the backend may receive meanwhile, into the same chain */
			c->id = id;
			c->slots = slots;
			vring_push(ring, c, 0);
		}
	}
	return true;
}

/* ---- the control queue ---- */

static void forget_flows(struct virtio_net *d)
{
	for (unsigned i = 0; i < FLOWS; i++)
		d->flow[i] = (uint8_t)i;
}

static uint8_t set_pairs(struct virtio_net *d, unsigned pairs)
{
	if (!virtio_has(&d->v, F_MQ) || pairs < 1 || pairs > d->config.pairs)
		return CTRL_ERR;
	for (unsigned i = pairs; i < d->pairs; i++)
		d->backlog[i].from = d->backlog[i].to = 0; /* nothing is received there once the command has ended */
	d->pairs = pairs;
	forget_flows(d);
	return CTRL_OK;
}

static bool control_all(struct virtio_net *d)
{
	struct vring *ring = &d->v.queue[d->control].ring;
	struct vchain *c = &d->chain;

	for (unsigned i = 0; i < SIZE; i++) {
		struct control say = {0};
		uint8_t ack = CTRL_ERR;

		switch (vring_pop(ring, c)) {
		case VRING_EMPTY:
			return vring_want_notify(ring, true);
		case VRING_BROKEN:
			virtio_fail(&d->v);
			return false;
		case VRING_GOT:
			break;
		}
		if (vchain_read(c, 0, &say, sizeof(say)) == sizeof(say) && say.class == CTRL_MQ && say.command == CTRL_MQ_PAIRS_SET)
			ack = set_pairs(d, say.pairs);
		vring_push(ring, c, (uint32_t)vchain_write(c, d->v.dma, 0, &ack, sizeof(ack)));
	}
	return true;
}

/* ---- the worker ---- */

static unsigned net_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct virtio_net *d = ctx;

	for (unsigned i = 0; i < d->pairs; i++)
		if (d->backlog[i].starved)
			*timeout_ms = STARVED_MS;
	return d->net->ops->prepare(d->net->ctx, p, max, timeout_ms);
}

static bool net_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct virtio_net *d = ctx;
	unsigned queues = d->config.pairs;
	bool more = false;

	if (d->control) {
		more = control_all(d);
		virtio_signal(&d->v, d->control);
	}
	for (unsigned i = 0; i < queues; i++) {
		vring_want_notify(&d->v.queue[TX(i)].ring, false);
		flush_backlog(d, i);
	}
	d->net->ops->poll(d->net->ctx, p, n);
	/* Of all of them, also of those that the driver has just given up: what it put in before shall go. */
	for (unsigned i = 0; i < queues; i++)
		more |= send_all(d, i);
	for (unsigned i = 0; i < queues; i++) {
		struct backlog *b = &d->backlog[i];

		virtio_signal(&d->v, TX(i));
		virtio_signal(&d->v, RX(i));
		/* New buffers are news only while frames wait for them. */
		b->starved = vring_want_notify(&d->v.queue[RX(i)].ring, b->from != b->to);
		more |= vring_want_notify(&d->v.queue[TX(i)].ring, true);
	}
	return more;
}

static const struct worker_ops net_worker_ops = {.prepare = net_prepare, .run = net_run};

/* ---- the device ---- */

static void net_config_read(void *dev, unsigned off, uint8_t *buf, unsigned len)
{
	struct virtio_net *d = dev;

	virtio_config_copy(&d->config, sizeof(d->config), off, buf, len);
}

static void net_start(void *dev)
{
	struct virtio_net *d = dev;
	unsigned tun = (virtio_has(&d->v, F_GUEST_CSUM) ? TUN_F_CSUM : 0) |
		       (virtio_has(&d->v, F_GUEST_TSO4) ? TUN_F_TSO4 : 0) |
		       (virtio_has(&d->v, F_GUEST_TSO6) ? TUN_F_TSO6 : 0);

	for (unsigned i = 0; i < d->config.pairs; i++)
		d->backlog[i].from = d->backlog[i].to = 0;
	d->pairs = 1;
	/* 5.1.2: behind the pairs; a driver that knows of one pair only counts one. */
	d->control = !virtio_has(&d->v, F_CTRL_VQ) ? 0 : virtio_has(&d->v, F_MQ) ? RX(d->config.pairs) : RX(1);
	forget_flows(d);
	d->header_bytes = d->v.legacy && !virtio_has(&d->v, F_MRG_RXBUF) ? HEADER_OLD_BYTES : sizeof(struct header);
	if (d->net->ops->offloads)
		d->net->ops->offloads(d->net->ctx, tun);
	worker_start(d->worker);
}

static void net_stop(void *dev)
{
	worker_stop(((struct virtio_net *)dev)->worker);
}

static void net_notify(void *dev, unsigned q)
{
	(void)q;
	worker_kick(((struct virtio_net *)dev)->worker);
}

static int net_doorbell(void *dev, unsigned q)
{
	(void)q;
	return worker_eventfd(((struct virtio_net *)dev)->worker);
}

static void net_free(void *dev)
{
	struct virtio_net *d = dev;

	worker_free(d->worker);
	net_close(d->net);
	for (unsigned i = 0; i < NET_QUEUES_MAX; i++)
		free(d->backlog[i].bytes);
	free(d);
}

static const struct virtio_ops net_dev_ops = {
	.name = "virtio-net",
	.id = ID_NET,
	.class = CLASS_ETHERNET,
	.old_device = 0x1000u,
	.config_read = net_config_read,
	.start = net_start,
	.stop = net_stop,
	.notify = net_notify,
	.doorbell = net_doorbell,
	.free = net_free,
};

struct virtio *virtio_net_new(struct net *n, const uint8_t mac[6], const struct dma *dma, struct error *e)
{
	uint64_t features = F_MAC | F_STATUS | F_MRG_RXBUF | F_CSUM | F_GUEST_CSUM;
	struct virtio_net *d = calloc(1, sizeof(*d));

	if (!d) {
		net_close(n);
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->net = n;
	d->pairs = 1;
	BUG_ON(n->queues < 1 || n->queues > NET_QUEUES_MAX);
	for (unsigned i = 0; i < n->queues; i++)
		if (!(d->backlog[i].bytes = malloc(BACKLOG_BYTES))) {
			error_set(e, ST_NO_MEMORY, "out of memory");
			net_free(d);
			return NULL;
		}
	n->receive = receive;
	n->has_room = has_room;
	n->dev = d;
	memcpy(d->config.mac, mac, sizeof(d->config.mac));
	d->config.status = 1; /* the link is up */
	d->config.pairs = (uint16_t)n->queues;
	features |= n->big ? F_HOST_TSO4 | F_HOST_TSO6 : 0;
	features |= n->header ? F_GUEST_TSO4 | F_GUEST_TSO6 : 0;
	features |= n->queues > 1 ? F_CTRL_VQ | F_MQ : 0;
	d->worker = worker_new("net", &net_worker_ops, d, e);
	if (!d->worker) {
		net_free(d);
		return NULL;
	}
	virtio_init(&d->v, &net_dev_ops, d, dma, features, n->queues > 1 ? RX(n->queues) + 1 : 2, SIZE);
	return &d->v;
}
