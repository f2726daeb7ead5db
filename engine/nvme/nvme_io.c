// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * I/O queues. Each submission queue has a worker, an engine (engine/block/blk_queue.c) and so many requests; a doorbell
 * kicks the worker, which copies commands, checks, submits, and posts what has completed. It takes no lock but that of the
 * completion queue, for a moment. Completions that find no room wait in a list until the driver has read some: then the
 * worker is kicked again.
 *
 * Whatever a command says, the answer is a status; nothing in it can break the controller.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/nvme/nvme_int.h"

enum { IO_FLUSH = 0x00, IO_WRITE = 0x01, IO_READ = 0x02, IO_ZEROES = 0x08, IO_DATASET = 0x09 };

#define RW_FUA (1u << 30)
#define ZEROES_DEAC (1u << 25) /* the blocks may be deallocated (NVM Command Set 3.2.8) */
#define DATASET_DEALLOCATE (1u << 2)
#define FLAGS_FUSE_PSDT 0xc3u /* fused commands, and data by SGL: neither is offered */

struct range {
	uint32_t attributes, blocks;
	uint64_t start;
};
_Static_assert(sizeof(struct range) * NVME_RANGES_MAX == NVME_PAGE, "the ranges are at most a page");

struct nvme_request {
	struct blk_request blk;
	struct nvme_sq *sq;
	struct nvme_request *next;
	uint16_t cid, status;
	unsigned range, nranges; /* of a deallocation: one request to the image after the other */
	union {
		struct iovec iov[NVME_PIECES_MAX];
		struct range ranges[NVME_RANGES_MAX];
	};
};

/* ---- completing ---- */

static void finish(struct nvme_request *r, uint16_t status)
{
	r->status = status;
	r->next = NULL;
	*r->sq->done_end = r;
	r->sq->done_end = &r->next;
}

static bool next_range(struct nvme_request *r)
{
	const struct nvme *n = r->sq->n;

	if (r->range == r->nranges)
		return false;
	r->blk.offset = r->ranges[r->range].start << n->block_bits;
	r->blk.bytes = (uint64_t)r->ranges[r->range].blocks << n->block_bits;
	r->range++;
	blk_submit(r->sq->blk, &r->blk);
	return true;
}

static void on_done(struct blk_request *b, int err)
{
	struct nvme_request *r = (struct nvme_request *)b;

	if (!err && r->nranges && next_range(r))
		return;
	if (!err && b->op == BLK_READ)
		for (unsigned i = 0; i < b->niov; i++)
			dma_wrote(r->sq->n->dma, b->iov[i].iov_base, b->iov[i].iov_len);
	finish(r, !err ? NVME_OK : b->op == BLK_READ ? NVME_READ_ERROR : NVME_WRITE_FAULT);
}

/* Posts what is done, in its order, as far as there is room. */
static void post_done(struct nvme_sq *sq)
{
	bool any = false;

	while (sq->done && nvme_post(sq, sq->done->cid, sq->done->status, 0)) {
		struct nvme_request *r = sq->done;

		sq->done = r->next;
		r->next = sq->free;
		sq->free = r;
		any = true;
	}
	if (!sq->done)
		sq->done_end = &sq->done;
	if (any)
		nvme_interrupt(sq->n, sq->cq, false);
}

/* ---- starting: NVME_OK means that it was submitted ---- */

static bool in_namespace(const struct nvme *n, uint64_t start, uint64_t blocks)
{
	return start <= n->blocks && blocks <= n->blocks - start;
}

static uint16_t start_data(struct nvme_request *r, const struct nvme_command *c)
{
	struct nvme_sq *sq = r->sq;
	struct nvme *n = sq->n;
	uint64_t start = c->cdw10 | (uint64_t)c->cdw11 << 32, blocks = (c->cdw12 & 0xffff) + 1ull;
	uint64_t bytes = blocks << n->block_bits;
	uint16_t st;

	if (c->opcode != IO_ZEROES && bytes > NVME_TRANSFER_MAX)
		return NVME_BAD_FIELD;
	if (!in_namespace(n, start, blocks))
		return NVME_LBA_RANGE;
	if (c->opcode != IO_READ && blk_image_readonly(n->image))
		return NVME_WRITE_PROTECTED;
	r->blk.op = c->opcode == IO_READ ? BLK_READ : c->opcode == IO_WRITE ? BLK_WRITE
	       : c->cdw12 & ZEROES_DEAC	     ? BLK_ZEROES : BLK_ZEROES_KEEP;
	r->blk.offset = start << n->block_bits;
	r->blk.bytes = bytes;
	r->blk.durable = (c->cdw12 & RW_FUA) || !atomic_load_explicit(&n->cached, memory_order_relaxed);
	if (c->opcode != IO_ZEROES) {
		st = nvme_prp_map(n->dma, c, (uint32_t)bytes, r->iov, NVME_PIECES_MAX, &r->blk.niov);
		if (st != NVME_OK)
			return st;
		r->blk.iov = r->iov;
		atomic_fetch_add_explicit(c->opcode == IO_READ ? &sq->reads : &sq->writes, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(c->opcode == IO_READ ? &sq->read_blocks : &sq->written_blocks,
					  bytes / BLK_SECTOR, memory_order_relaxed);
	}
	blk_submit(sq->blk, &r->blk);
	return NVME_OK;
}

/* Deallocation is a wish (6.7.1.1): where the image cannot, it is granted and nothing happens. */
static uint16_t start_dataset(struct nvme_request *r, const struct nvme_command *c)
{
	struct nvme *n = r->sq->n;
	unsigned nranges = (c->cdw10 & 0xff) + 1;
	uint16_t st = nvme_prp_copy(n->dma, c, r->ranges, nranges * (uint32_t)sizeof(struct range), false);

	if (st != NVME_OK)
		return st;
	for (unsigned i = 0; i < nranges; i++)
		if (!in_namespace(n, r->ranges[i].start, r->ranges[i].blocks))
			return NVME_LBA_RANGE;
	if (!(c->cdw11 & DATASET_DEALLOCATE)) {
		finish(r, NVME_OK);
		return NVME_OK;
	}
	if (blk_image_readonly(n->image))
		return NVME_WRITE_PROTECTED;
	if (!blk_image_discards(n->image)) {
		finish(r, NVME_OK);
		return NVME_OK;
	}
	r->blk.op = BLK_DISCARD;
	r->nranges = nranges;
	next_range(r);
	return NVME_OK;
}

static uint16_t start(struct nvme_request *r, const struct nvme_command *c)
{
	if (c->flags & FLAGS_FUSE_PSDT)
		return NVME_BAD_FIELD;
	if (c->nsid != NVME_NSID && !(c->opcode == IO_FLUSH && c->nsid == NVME_NSID_ALL))
		return NVME_BAD_NAMESPACE;
	switch (c->opcode) {
	case IO_FLUSH:
		blk_submit(r->sq->blk, &r->blk);
		return NVME_OK;
	case IO_READ:
	case IO_WRITE:
	case IO_ZEROES:
		return start_data(r, c);
	case IO_DATASET:
		return start_dataset(r, c);
	default:
		return NVME_BAD_OPCODE;
	}
}

/* ---- the worker ---- */

static struct nvme_request *free_request(struct nvme_sq *sq)
{
	if (!sq->free && sq->used < NVME_DEPTH) {
		sq->free = &sq->pool[sq->used++];
		sq->free->sq = sq;
	}
	return sq->free;
}

static bool waiting(struct nvme_sq *sq)
{
	return sq->head != atomic_load_explicit(&sq->tail, memory_order_acquire);
}

static void take_all(struct nvme_sq *sq)
{
	struct nvme_request *r;

	while (waiting(sq) && (r = free_request(sq))) {
		struct nvme_command c;
		uint16_t st;

		memcpy(&c, sq->entries + sq->head * NVME_SQ_BYTES, sizeof(c));
		sq->head = sq->head + 1 == sq->size ? 0 : sq->head + 1;
		sq->free = r->next;
		r->cid = c.cid;
		r->nranges = r->range = 0;
		r->blk = (struct blk_request){.op = BLK_FLUSH, .done = on_done};
		st = start(r, &c);
		if (st != NVME_OK)
			finish(r, st);
	}
}

static bool io_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct nvme_sq *sq = ctx;

	(void)p, (void)n;
	if (!nvme_may_dma(sq->n))
		return false;
	take_all(sq);
	blk_push(sq->blk);
	blk_reap(sq->blk, false);
	blk_push(sq->blk); /* what completions have submitted */
	post_done(sq);
	return waiting(sq) && free_request(sq);
}

static void io_drain(void *ctx)
{
	struct nvme_sq *sq = ctx;

	blk_push(sq->blk);
	while (blk_reap(sq->blk, true))
		blk_push(sq->blk);
	if (nvme_may_dma(sq->n))
		post_done(sq);
}

static const struct worker_ops io_ops = {.run = io_run, .drain = io_drain};

/* ---- life ---- */

void nvme_io_forget(struct nvme_sq *sq)
{
	while (sq->done) {
		struct nvme_request *r = sq->done;

		sq->done = r->next;
		r->next = sq->free;
		sq->free = r;
	}
	sq->done_end = &sq->done;
}

enum status nvme_io_new(struct nvme *n, unsigned id, struct error *e)
{
	struct nvme_sq *sq = &n->sq[id];
	char name[16];

	sq->done_end = &sq->done;
	sq->pool = calloc(NVME_DEPTH, sizeof(*sq->pool));
	if (!sq->pool)
		return error_set(e, ST_NO_MEMORY, "no memory for a disk's queue");
	snprintf(name, sizeof(name), "nvme-q%u", id);
	sq->worker = worker_new(name, &io_ops, sq, e);
	return sq->worker ? blk_queue_new(n->image, sq->worker, NVME_DEPTH, &sq->blk, e) : ST_NO_MEMORY;
}

void nvme_io_free(struct nvme_sq *sq)
{
	worker_free(sq->worker);
	blk_queue_free(sq->blk);
	free(sq->pool);
}
