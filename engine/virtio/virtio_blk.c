// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk. Each queue has a worker, an engine (engine/block/blk_queue.c) and as many requests as the ring is long; a
 * notification kicks the worker, which pops, checks, submits, and pushes what has completed: no lock is held while the host
 * works, and the interrupt comes from the worker. While it is awake the driver need not notify.
 *
 * A request that makes no sense as a request (no room for the status, header cut short) breaks the device, as a wrong
 * descriptor does; one that asks for what there is not (past the end, a write to a read-only disk, an unknown type) gets
 * its status.
 */
#include "engine/virtio/virtio_blk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/block/blk_wire.h"

#define ID_BLOCK 2u
#define CLASS_SCSI 0x010000u
#define QUEUES_MAX 8u
#define DEPTH 256u
#define SEG_MAX 254u
#define HEADER_BYTES 16u
#define RANGES_MAX 16u
#define RANGE_SECTORS_MAX (1u << 22) /* 2 GiB in one request */

struct queue;

struct request {
	struct blk_request blk;
	struct queue *q;
	struct request *free_next;
	uint8_t type, status, *status_at;
	unsigned range, nranges; /* of a discard: one request to the image after the other */
	struct blk_wire_range ranges[RANGES_MAX];
	struct iovec *data; /* inside chain.iov */
	unsigned ndata;
	struct vchain chain;
};

struct queue {
	struct virtio_blk *d;
	unsigned n;
	struct worker *worker;
	struct blk_queue *blk;
	struct request *pool, *free;
	unsigned used; /* of the pool: the rest has never been touched, and costs no memory */
};

struct virtio_blk {
	struct virtio v;
	struct blk_image *image;
	char serial[VIRTIO_BLK_SERIAL];
	struct blk_wire_config config;
	unsigned nqueues;
	struct queue queue[QUEUES_MAX];
};

/* ---- completing ---- */

static void complete(struct request *r)
{
	struct queue *q = r->q;
	struct vring *ring = &q->d->v.queue[q->n].ring;
	const struct dma *dma = q->d->v.dma;
	uint32_t written = 1;

	if (r->type == BLK_T_IN && r->status == BLK_S_OK)
		for (unsigned i = 0; i < r->ndata; i++) {
			dma_wrote(dma, r->data[i].iov_base, r->data[i].iov_len);
			written += (uint32_t)r->data[i].iov_len;
		}
	else if (r->type == BLK_T_GET_ID)
		written = (uint32_t)r->chain.in_bytes;
	__atomic_store_n(r->status_at, r->status, __ATOMIC_RELAXED);
	dma_wrote(dma, r->status_at, 1);
	vring_push(ring, &r->chain, written);
	r->free_next = q->free;
	q->free = r;
}

static bool next_range(struct request *r);

static void on_done(struct blk_request *b, int err)
{
	struct request *r = (struct request *)b;

	r->status = err ? BLK_S_IOERR : BLK_S_OK;
	if (!err && r->nranges && next_range(r))
		return;
	complete(r);
}

/* ---- starting ---- */

static bool in_image(const struct virtio_blk *d, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = bytes / BLK_SECTOR;

	return bytes % BLK_SECTOR == 0 && sector <= d->config.capacity && sectors <= d->config.capacity - sector;
}

/* Submits the next range of a discard or of zeroes; false: there is none. */
static bool next_range(struct request *r)
{
	const struct blk_wire_range *g = &r->ranges[r->range];

	if (r->range == r->nranges)
		return false;
	r->range++;
	if (r->type == BLK_T_WRITE_ZEROES)
		r->blk.op = g->flags & BLK_RANGE_UNMAP ? BLK_ZEROES : BLK_ZEROES_KEEP;
	r->blk.offset = g->sector * BLK_SECTOR;
	r->blk.bytes = (uint64_t)g->sectors * BLK_SECTOR;
	blk_submit(r->q->blk, &r->blk);
	return true;
}

static uint8_t take_ranges(struct request *r)
{
	const struct virtio_blk *d = r->q->d;
	uint64_t bytes = r->chain.out_bytes - HEADER_BYTES;

	if (!bytes || bytes % sizeof(struct blk_wire_range) || bytes > sizeof(r->ranges))
		return BLK_S_IOERR;
	r->nranges = (unsigned)(bytes / sizeof(struct blk_wire_range));
	vchain_read(&r->chain, HEADER_BYTES, r->ranges, bytes);
	for (unsigned i = 0; i < r->nranges; i++) {
		const struct blk_wire_range *g = &r->ranges[i];

		if (g->flags & ~(r->type == BLK_T_WRITE_ZEROES ? BLK_RANGE_UNMAP : 0u))
			return BLK_S_UNSUPP;
		if (g->sectors > RANGE_SECTORS_MAX || !in_image(d, g->sector, (uint64_t)g->sectors * BLK_SECTOR))
			return BLK_S_IOERR;
	}
	return BLK_S_OK;
}

/* iov without its first `skip` bytes; returns how many pieces are left, *first the first. */
static unsigned skip_bytes(struct iovec *iov, unsigned n, uint64_t skip, struct iovec **first)
{
	while (n && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		n--;
	}
	if (n) {
		iov->iov_base = (uint8_t *)iov->iov_base + skip;
		iov->iov_len -= skip;
	}
	*first = iov;
	return n;
}

/* Cuts the last writable byte, which takes the status, off the data. */
static uint8_t *cut_status(struct vchain *c)
{
	struct iovec *last = &c->iov[c->nout + c->nin - 1];

	last->iov_len--;
	if (!last->iov_len)
		c->nin--;
	return (uint8_t *)last->iov_base + last->iov_len;
}

static void get_id(struct request *r)
{
	vchain_write(&r->chain, r->q->d->v.dma, 0, r->q->d->serial, VIRTIO_BLK_SERIAL);
}

static enum blk_op op_of(uint8_t type)
{
	switch (type) {
	case BLK_T_IN:
		return BLK_READ;
	case BLK_T_OUT:
		return BLK_WRITE;
	case BLK_T_DISCARD:
		return BLK_DISCARD;
	case BLK_T_WRITE_ZEROES:
		return BLK_ZEROES;
	default:
		return BLK_FLUSH;
	}
}

/* What can be said without the image: BLK_S_OK means submit it. *answered: it is complete as it is. */
static uint8_t judge(struct request *r, const struct blk_wire_header *h, bool *answered)
{
	struct virtio_blk *d = r->q->d;
	bool writes = h->type == BLK_T_OUT || h->type == BLK_T_DISCARD || h->type == BLK_T_WRITE_ZEROES;

	if (writes && blk_image_readonly(d->image))
		return BLK_S_IOERR;
	switch (h->type) {
	case BLK_T_IN:
	case BLK_T_OUT:
		return in_image(d, h->sector, r->blk.bytes) ? BLK_S_OK : BLK_S_IOERR;
	case BLK_T_FLUSH:
		return BLK_S_OK;
	case BLK_T_GET_ID:
		get_id(r);
		*answered = true;
		return BLK_S_OK;
	case BLK_T_DISCARD:
		return d->v.features & BLK_F_DISCARD ? take_ranges(r) : BLK_S_UNSUPP;
	case BLK_T_WRITE_ZEROES:
		return d->v.features & BLK_F_WRITE_ZEROES ? take_ranges(r) : BLK_S_UNSUPP;
	default:
		return BLK_S_UNSUPP;
	}
}

/* false: the device is broken. */
static bool begin(struct request *r)
{
	struct vchain *c = &r->chain;
	struct virtio_blk *d = r->q->d;
	bool answered = false;
	struct blk_wire_header h;

	if (c->in_bytes < 1 || vchain_read(c, 0, &h, sizeof(h)) != HEADER_BYTES)
		return false;
	r->type = h.type <= BLK_T_WRITE_ZEROES ? (uint8_t)h.type : UINT8_MAX;
	r->nranges = r->range = 0;
	r->ndata = 0;
	r->blk = (struct blk_request){.op = op_of(r->type), .offset = h.sector * BLK_SECTOR, .done = on_done};
	r->blk.bytes = h.type == BLK_T_IN ? c->in_bytes - 1 : h.type == BLK_T_OUT ? c->out_bytes - HEADER_BYTES : 0;
	r->blk.durable =
		!virtio_has(&d->v, BLK_F_FLUSH); /* a driver that cannot flush gets writes that need none (5.2.6.2) */
	r->status = judge(r, &h, &answered);
	r->status_at = cut_status(c);
	if (h.type == BLK_T_IN) {
		r->data = c->iov + c->nout;
		r->ndata = c->nin;
	} else if (h.type == BLK_T_OUT) {
		r->ndata = skip_bytes(c->iov, c->nout, HEADER_BYTES, &r->data);
	}
	r->blk.iov = r->data;
	r->blk.niov = r->ndata;
	if (r->status != BLK_S_OK || answered || (h.type <= BLK_T_OUT && !r->blk.bytes))
		complete(r);
	else if (!r->nranges || !next_range(r))
		blk_submit(r->q->blk, &r->blk);
	return true;
}

/* ---- the worker ---- */

/* A free request at the head of the list, or none. */
static struct request *free_request(struct queue *q)
{
	if (!q->free && q->used < DEPTH) {
		q->free = &q->pool[q->used++];
		q->free->q = q;
	}
	return q->free;
}

static void take_all(struct queue *q)
{
	struct vring *ring = &q->d->v.queue[q->n].ring;
	struct request *r;

	while ((r = free_request(q))) {
		switch (vring_pop(ring, &r->chain)) {
		case VRING_EMPTY:
			return;
		case VRING_BROKEN:
			virtio_fail(&q->d->v);
			return;
		case VRING_GOT:
			break;
		}
		q->free = r->free_next;
		if (!begin(r)) {
			r->free_next = q->free;
			q->free = r;
			ring->broken = true;
			virtio_fail(&q->d->v);
			return;
		}
	}
}

static bool queue_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct queue *q = ctx;
	struct vring *ring = &q->d->v.queue[q->n].ring;

	(void)p, (void)n;
	vring_want_notify(ring, false);
	take_all(q);
	blk_push(q->blk);
	blk_reap(q->blk, false);
	blk_push(q->blk); /* what completions have submitted */
	virtio_signal(&q->d->v, q->n);
	return free_request(q) && vring_want_notify(ring, true);
}

static void queue_drain(void *ctx)
{
	struct queue *q = ctx;

	blk_push(q->blk);
	while (blk_reap(q->blk, true))
		blk_push(q->blk);
}

static const struct worker_ops queue_ops = {.run = queue_run, .drain = queue_drain};

/* ---- the device ---- */

static void blk_config_read(void *dev, unsigned off, uint8_t *buf, unsigned len)
{
	struct virtio_blk *d = dev;

	virtio_config_copy(&d->config, sizeof(d->config), off, buf, len);
}

static void blk_start(void *dev)
{
	struct virtio_blk *d = dev;

	for (unsigned i = 0; i < d->nqueues; i++)
		if (d->v.queue[i].enabled)
			worker_start(d->queue[i].worker);
}

static void blk_stop(void *dev)
{
	struct virtio_blk *d = dev;

	for (unsigned i = 0; i < d->nqueues; i++)
		if (d->v.queue[i].enabled)
			worker_stop(d->queue[i].worker);
}

static void blk_notify(void *dev, unsigned q)
{
	struct virtio_blk *d = dev;

	if (d->v.queue[q].enabled)
		worker_kick(d->queue[q].worker);
}

static int blk_doorbell(void *dev, unsigned q)
{
	return worker_eventfd(((struct virtio_blk *)dev)->queue[q].worker);
}

static void blk_free(void *dev)
{
	struct virtio_blk *d = dev;

	for (unsigned i = 0; i < d->nqueues; i++) {
		worker_free(d->queue[i].worker);
		blk_queue_free(d->queue[i].blk);
		free(d->queue[i].pool);
	}
	blk_image_close(d->image);
	free(d);
}

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.id = ID_BLOCK,
	.class = CLASS_SCSI,
	.old_device = 0x1001u,
	.config_read = blk_config_read,
	.start = blk_start,
	.stop = blk_stop,
	.notify = blk_notify,
	.doorbell = blk_doorbell,
	.free = blk_free,
};

static uint64_t describe(struct virtio_blk *d)
{
	const struct blk_image *img = d->image;
	uint64_t features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY;

	d->config = (struct blk_wire_config){
		.capacity = blk_image_bytes(img) / BLK_SECTOR,
		.seg_max = SEG_MAX,
		.blk_size = blk_image_block(img),
		.physical_exp = blk_image_block(img) == BLK_SECTOR ? 3 : 0,
		.num_queues = (uint16_t)d->nqueues,
		.max_discard_sectors = RANGE_SECTORS_MAX,
		.max_discard_seg = RANGES_MAX,
		.discard_alignment = blk_image_block(img) / BLK_SECTOR,
		.max_zeroes_sectors = RANGE_SECTORS_MAX,
		.max_zeroes_seg = RANGES_MAX,
		.zeroes_may_unmap = blk_image_discards(img),
	};
	/* Without a cache there is nothing to flush, and saying so is what makes the guest rely on it. */
	if (blk_image_flushes(img))
		features |= BLK_F_FLUSH;
	if (blk_image_readonly(img))
		features |= BLK_F_RO;
	else
		features |= BLK_F_WRITE_ZEROES;
	if (blk_image_discards(img))
		features |= BLK_F_DISCARD;
	return features | (d->nqueues > 1 ? BLK_F_MQ : 0);
}

static enum status queue_new(struct virtio_blk *d, unsigned n, struct error *e)
{
	struct queue *q = &d->queue[n];
	char name[16];

	q->d = d;
	q->n = n;
	snprintf(name, sizeof(name), "disk-q%u", n);
	q->pool = calloc(DEPTH, sizeof(*q->pool));
	if (!q->pool)
		return error_set(e, ST_NO_MEMORY, "no memory for a disk's queue");
	q->worker = worker_new(name, &queue_ops, q, e);
	return q->worker ? blk_queue_new(d->image, q->worker, DEPTH, &q->blk, e) : ST_NO_MEMORY;
}

struct virtio *virtio_blk_new(const struct virtio_blk_config *cfg, const struct dma *dma, struct error *e)
{
	struct virtio_blk *d = calloc(1, sizeof(*d));

	if (!d) {
		blk_image_close(cfg->image);
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->image = cfg->image;
	if (cfg->serial)
		memcpy(d->serial, cfg->serial, strnlen(cfg->serial, sizeof(d->serial)));
	while (d->nqueues < cfg->queues && d->nqueues < QUEUES_MAX) {
		enum status st = queue_new(d, d->nqueues, e);

		d->nqueues++;
		if (st != ST_OK) {
			blk_free(d);
			return NULL;
		}
	}
	virtio_init(&d->v, &blk_ops, d, dma, describe(d), d->nqueues, DEPTH);
	return &d->v;
}
