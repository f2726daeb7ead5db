// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A network card: a queue to receive, one to send, one worker for both and for the backend.
 *
 * Frames that come in while the driver has no buffers wait in a backlog; a backend that can wait is not asked for more
 * meanwhile, one that cannot loses frames when the backlog is full, as a card's memory would be.
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
#define RX 0u
#define TX 1u
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

#define HEADER_OLD_BYTES 10u
#define HDR_NEEDS_CSUM 1u
#define HDR_DATA_VALID 2u

/* 5.1.6 */
struct header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
_Static_assert(sizeof(struct header) == NET_HEADER_BYTES, "the header as the driver sees it");

struct config {
	uint8_t mac[6];
	uint16_t status, pairs, mtu;
};

struct virtio_net {
	struct virtio v;
	struct net *net;
	struct worker *worker;
	struct config config;
	struct vchain chain;
	unsigned header_bytes; /* of the driver's; an old one without mergeable buffers has no num_buffers */
	uint8_t tx[NET_HEADER_BYTES + NET_FRAME_MAX];
	/* frames that wait: a 4-byte length and the frame with its header, one behind the other */
	uint8_t *backlog;
	unsigned backlog_from, backlog_to;
	bool starved; /* there are buffers, and too few for the next frame: nobody tells when more come */
};

/* ---- receiving ---- */

/* Header and frame into the driver's buffers; false: there are not enough. A frame that does not fit one buffer, where one
 * is all it may have, is lost. */
static bool put_frame(struct virtio_net *d, const uint8_t *bytes, unsigned len)
{
	struct vring *ring = &d->v.queue[RX].ring;
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

static void flush_backlog(struct virtio_net *d)
{
	while (d->backlog_from < d->backlog_to) {
		uint32_t len;

		memcpy(&len, d->backlog + d->backlog_from, sizeof(len));
		if (!put_frame(d, d->backlog + d->backlog_from + sizeof(len), len))
			return;
		d->backlog_from += (unsigned)sizeof(len) + len;
	}
	d->backlog_from = d->backlog_to = 0;
}

/* Everything goes through the backlog, which is empty but for bursts: one place that knows the order. */
static void receive(void *dev, const uint8_t *frame, unsigned bytes)
{
	struct virtio_net *d = dev;
	struct header h = {.num_buffers = 1};
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
	len = d->header_bytes + bytes;
	if (sizeof(len) + len > BACKLOG_BYTES - d->backlog_to)
		return;
	at = d->backlog + d->backlog_to;
	memcpy(at, &len, sizeof(len));
	at += sizeof(len);
	memcpy(at, &h, d->header_bytes);
	memcpy(at + d->header_bytes, frame, bytes);
	d->backlog_to += (unsigned)sizeof(len) + len;
	flush_backlog(d);
}

static bool has_room(void *dev)
{
	return ((struct virtio_net *)dev)->backlog_from == ((struct virtio_net *)dev)->backlog_to;
}

/* ---- sending ---- */

static void send_chain(struct virtio_net *d, const struct vchain *c)
{
	uint8_t *frame = d->tx + sizeof(struct header);
	unsigned bytes;
	struct header h = {0};

	if (c->out_bytes <= d->header_bytes || c->out_bytes > d->header_bytes + NET_FRAME_MAX)
		return;
	vchain_read(c, 0, &h, d->header_bytes);
	memcpy(d->tx, &h, sizeof(h));
	bytes = (unsigned)vchain_read(c, d->header_bytes, frame, NET_FRAME_MAX);
	if (d->net->header) {
		net_dump(d->net, frame, bytes);
		d->net->ops->send(d->net->ctx, d->tx, bytes + (unsigned)sizeof(h));
		return;
	}
	if (h.flags & HDR_NEEDS_CSUM)
		net_checksum(frame, bytes, h.csum_start, h.csum_offset);
	net_dump(d->net, frame, bytes);
	d->net->ops->send(d->net->ctx, frame, bytes);
}

/* true: the batch was full. */
static bool send_all(struct virtio_net *d)
{
	struct vring *ring = &d->v.queue[TX].ring;

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

			send_chain(d, c); /* the backend may receive meanwhile, into the same chain */
			c->id = id;
			c->slots = slots;
			vring_push(ring, c, 0);
		}
	}
	return true;
}

/* ---- the worker ---- */

static unsigned net_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct virtio_net *d = ctx;

	if (d->starved)
		*timeout_ms = STARVED_MS;
	return d->net->ops->prepare(d->net->ctx, p, max, timeout_ms);
}

static bool net_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct virtio_net *d = ctx;
	struct vring *rx = &d->v.queue[RX].ring, *tx = &d->v.queue[TX].ring;
	bool more;

	vring_want_notify(tx, false);
	flush_backlog(d);
	d->net->ops->poll(d->net->ctx, p, n);
	more = send_all(d);
	virtio_signal(&d->v, TX);
	virtio_signal(&d->v, RX);
	/* New buffers are news only while frames wait for them. */
	d->starved = vring_want_notify(rx, !has_room(d));
	return more || vring_want_notify(tx, true);
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

	d->backlog_from = d->backlog_to = 0;
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
	free(d->backlog);
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

	if (!d || !(d->backlog = malloc(BACKLOG_BYTES))) {
		free(d);
		net_close(n);
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->net = n;
	n->receive = receive;
	n->has_room = has_room;
	n->dev = d;
	memcpy(d->config.mac, mac, sizeof(d->config.mac));
	d->config.status = 1; /* the link is up */
	d->config.pairs = 1;
	features |= n->big ? F_HOST_TSO4 | F_HOST_TSO6 : 0;
	features |= n->header ? F_GUEST_TSO4 | F_GUEST_TSO6 : 0;
	d->worker = worker_new("net", &net_worker_ops, d, e);
	if (!d->worker) {
		net_free(d);
		return NULL;
	}
	virtio_init(&d->v, &net_dev_ops, d, dma, features, 2, SIZE);
	return &d->v;
}
