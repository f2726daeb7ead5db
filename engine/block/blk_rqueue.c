// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A worker's requests to a storage daemon. A request has a slot from its submission to its end, and a daemon's death does not take it
 * away: what is under way then is put into the next daemon's ring again, from the step where it was. A request may take
 * several steps: a discard goes in the pieces that the daemon takes, a durable write is a write and a flush.
 *
 * A network server may keep its connection and answer nothing: a request waits for that, as long as nobody waits for the request. Who
 * does (a device that is reset, the end of the machine) gives the disk up after a while in which nothing came back.
 *
 * Requests with buffers that the daemon does not see wait for their end (blk_remote_do), as do those of a queue that got no ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/block/blk_remote.h"
#include "engine/block/blk_wire.h"

#define NO_RING UINT32_MAX
#define WAIT_MS 50
#define GIVE_UP_MS 30000

struct step {
	struct blk_request *r; /* NULL in a slot that is used: a flush of our own */
	uint64_t at;           /* of a discard: bytes done */
	uint64_t mark;         /* of a flush: what it covers */
	bool used, flushing;
};

struct blk_rqueue {
	struct blk_remote *rm;
	int wake; /* a descriptor of the worker's eventfd: -1 with NO_RING */
	blk_finish_fn *finish;
	void *ctx;
	unsigned n; /* the ring */
	bool own_flush, kick;
	uint64_t waits_since_ms; /* somebody, for the end of requests, of which none has come back since; 0: nobody */
	struct blk_request *todo, **todo_end;
	unsigned nfree;
	uint16_t free[VHOST_RING_SLOTS];
	struct step slot[VHOST_RING_SLOTS];
	struct {
		struct blk_request *r;
		int err;
	} done[VHOST_RING_SLOTS]; /* to be told when the lock is free */
	unsigned ndone;
};

struct blk_rqueue *blk_rqueue_new(struct blk_remote *rm, struct worker *w, blk_finish_fn *finish, void *ctx)
{
	struct blk_rqueue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->rm = rm;
	q->finish = finish;
	q->ctx = ctx;
	q->n = NO_RING;
	q->wake = fcntl(worker_eventfd(w), F_DUPFD_CLOEXEC, 0);
	q->todo_end = &q->todo;
	while (q->nfree < VHOST_RING_SLOTS) {
		q->free[q->nfree] = (uint16_t)(VHOST_RING_SLOTS - 1 - q->nfree);
		q->nfree++;
	}
	pthread_mutex_lock(&rm->lock);
	for (unsigned i = 0; i < REMOTE_QUEUES && q->n == NO_RING && q->wake >= 0; i++)
		if (!rm->ring[i].taken) {
			rm->ring[i].taken = true;
			rm->ring[i].wake = q->wake;
			rm->ring[i].call = -1; /* the one before had another */
			q->n = i;
		}
	pthread_mutex_unlock(&rm->lock);
	return q;
}

void blk_rqueue_free(struct blk_rqueue *q)
{
	if (!q)
		return;
	while (q->own_flush) { /* the next owner of the ring shall not hear of it */
		blk_rqueue_wait(q);
		blk_rqueue_run(q);
	}
	pthread_mutex_lock(&q->rm->lock);
	if (q->n != NO_RING)
		q->rm->ring[q->n].taken = false;
	pthread_mutex_unlock(&q->rm->lock);
	if (q->wake >= 0)
		close(q->wake);
	free(q);
}

static bool seen(const struct blk_rqueue *q, const struct blk_request *r)
{
	if (q->n == NO_RING || r->niov > VHOST_RING_SEGMENTS)
		return false;
	if (r->op == BLK_DISCARD || blk_is_zeroes(r->op))
		return r->bytes && q->rm->disk.discard && q->rm->disk.zeroes;
	for (unsigned i = 0; i < r->niov; i++)
		if (!blk_remote_sees(q->rm, r->iov[i].iov_base, r->iov[i].iov_len))
			return false;
	return true;
}

void blk_rqueue_submit(struct blk_rqueue *q, struct blk_request *r)
{
	q->waits_since_ms = 0;
	if (!seen(q, r)) {
		q->finish(q->ctx, r, blk_remote_do(q->rm, r));
		return;
	}
	r->next = NULL;
	*q->todo_end = r;
	q->todo_end = &r->next;
}

/* ---- with the lock held ---- */

static void put(struct blk_rqueue *q, unsigned n)
{
	struct step *s = &q->slot[n];
	const struct blk_request *r = s->r;
	struct vhost_ring_request rq = {.type = BLK_T_FLUSH};

	if (s->flushing) {
		s->mark = q->rm->journal.seq;
	} else if (r->op == BLK_READ || r->op == BLK_WRITE) {
		rq.type = r->op == BLK_READ ? BLK_T_IN : BLK_T_OUT;
		rq.sector = r->offset / BLK_SECTOR;
		rq.iov = r->iov;
		rq.niov = r->niov;
	} else {
		uint64_t max = r->op == BLK_DISCARD ? q->rm->disk.discard_sectors : q->rm->disk.zeroes_sectors;
		uint64_t left = (r->bytes - s->at) / BLK_SECTOR;

		rq.type = r->op == BLK_DISCARD ? BLK_T_DISCARD : BLK_T_WRITE_ZEROES;
		rq.keep = r->op == BLK_ZEROES_KEEP;
		rq.sector = (r->offset + s->at) / BLK_SECTOR;
		rq.sectors = (uint32_t)(left < max ? left : max);
	}
	vhost_ring_put(&q->rm->ring[q->n].ring, n, &rq);
	q->kick = true;
}

static void begin(struct blk_rqueue *q, struct blk_request *r)
{
	unsigned n = q->free[--q->nfree];

	q->slot[n] = (struct step){.r = r, .used = true, .flushing = !r || r->op == BLK_FLUSH};
	put(q, n);
}

static void end(struct blk_rqueue *q, unsigned n, int err)
{
	struct step *s = &q->slot[n];

	if (s->r) {
		q->done[q->ndone].r = s->r;
		q->done[q->ndone++].err = err;
	} else {
		q->own_flush = false;
	}
	s->used = false;
	q->free[q->nfree++] = (uint16_t)n;
}

/* A write or a piece of a discard is done: the journal has it until a flush. */
static void written(struct blk_rqueue *q, struct step *s)
{
	struct blk_request *r = s->r;
	uint64_t max = r->op == BLK_DISCARD	  ? (uint64_t)q->rm->disk.discard_sectors * BLK_SECTOR
		       : blk_is_zeroes(r->op) ? (uint64_t)q->rm->disk.zeroes_sectors * BLK_SECTOR
					      : r->bytes;
	uint64_t n = r->bytes - s->at < max ? r->bytes - s->at : max;

	blk_journal_add(&q->rm->journal, r->op, r->offset + s->at, n, r->iov, r->niov);
	s->at += n;
}

static void came_back(struct blk_rqueue *q, unsigned n, bool ok)
{
	struct step *s = &q->slot[n];
	struct blk_request *r = s->r;

	q->waits_since_ms = 0;
	if (!ok) {
		end(q, n, EIO);
		return;
	}
	q->rm->fruitless = 0;
	if (s->flushing) {
		blk_journal_flushed(&q->rm->journal, s->mark);
		end(q, n, 0);
		return;
	}
	if (r->op == BLK_READ) {
		end(q, n, 0);
		return;
	}
	written(q, s);
	if (s->at == r->bytes && !r->durable) {
		end(q, n, 0);
		return;
	}
	s->flushing = s->at == r->bytes;
	put(q, n);
}

static void take_back(struct blk_rqueue *q)
{
	struct vhost_ring *ring = &q->rm->ring[q->n].ring;
	bool ok;
	int n;

	while (q->ndone < VHOST_RING_SLOTS && (n = vhost_ring_take(ring, &ok)) >= 0)
		came_back(q, (unsigned)n, ok);
	if (ring->broken)
		blk_remote_distrust(q->rm);
	if (q->rm->journal.held > BLK_JOURNAL_FLUSH && !q->own_flush && q->nfree) {
		q->own_flush = true;
		begin(q, NULL);
	}
}

static void hand_over(struct blk_rqueue *q)
{
	bool fresh;

	if (!blk_remote_attach(q->rm, q->n, q->wake, &fresh))
		return;
	if (fresh)
		for (unsigned n = 0; n < VHOST_RING_SLOTS; n++)
			if (q->slot[n].used)
				put(q, n);
	take_back(q);
	while (q->todo && q->nfree) {
		struct blk_request *r = q->todo;

		q->todo = r->next;
		if (!q->todo)
			q->todo_end = &q->todo;
		begin(q, r);
	}
}

static void give_up(struct blk_rqueue *q)
{
	for (unsigned n = 0; n < VHOST_RING_SLOTS; n++)
		if (q->slot[n].used)
			end(q, n, EIO);
}

/* ---- the worker ---- */

static void tell(struct blk_rqueue *q)
{
	unsigned n = q->ndone;

	q->ndone = 0;
	for (unsigned i = 0; i < n; i++)
		q->finish(q->ctx, q->done[i].r, q->done[i].err);
}

void blk_rqueue_run(struct blk_rqueue *q)
{
	uint64_t one = 1;
	bool dead, kick;

	if (q->n == NO_RING)
		return;
	pthread_mutex_lock(&q->rm->lock);
	dead = q->rm->state == REMOTE_DEAD;
	if (q->rm->state == REMOTE_UP)
		hand_over(q);
	else if (dead)
		give_up(q);
	kick = q->kick;
	q->kick = false;
	pthread_mutex_unlock(&q->rm->lock);
	while (kick && write(q->rm->ring[q->n].kick, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	tell(q);
	while (dead && q->todo) {
		struct blk_request *r = q->todo;

		q->todo = r->next;
		if (!q->todo)
			q->todo_end = &q->todo;
		q->finish(q->ctx, r, EIO);
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The worker waits so when it has been told to stop: whoever kicks it meanwhile wants something of the time behind its next start, which
 * begins with a kick. */
void blk_rqueue_wait(struct blk_rqueue *q)
{
	struct pollfd p = {.fd = q->wake, .events = POLLIN};
	uint64_t count;

	if (q->n == NO_RING)
		return;
	pthread_mutex_lock(&q->rm->lock);
	if (!q->waits_since_ms || q->rm->state != REMOTE_UP)
		q->waits_since_ms = now_ms();
	else if (now_ms() - q->waits_since_ms > GIVE_UP_MS)
		blk_remote_abandon(q->rm);
	pthread_mutex_unlock(&q->rm->lock);
	if (poll(&p, 1, WAIT_MS) > 0 && read(p.fd, &count, sizeof(count)) == sizeof(count))
		blk_rqueue_run(q);
}
