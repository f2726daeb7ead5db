// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A worker's requests under way: by io_uring where the host allows it, else by a few threads.
 *
 * io_uring: the kernel writes the worker's eventfd when something completes. Reads and writes go through the ring; what the
 * kernel does in part, and what the ring has no business with (the throw-away layer, discards), is done at once, by
 * blk_image_do: rare, or asked for.
 *
 * A storage daemon: blk_rqueue.c.
 *
 * Threads: made with the first request, so that a disk that nobody uses has none. They take requests from a list and put
 * them on another.
 */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/block/blk_remote.h"

#define POOL_THREADS 4u
#define POOL_STACK (128u << 10)

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct blk_request *todo, **todo_end, *finished, **finished_end;
	pthread_t thread[POOL_THREADS];
	unsigned nthreads;
	bool end;
};

struct blk_queue {
	struct blk_image *img;
	struct worker *w;
	unsigned under_way;
	bool uring;
	struct blk_rqueue *remote; /* NULL: none of a storage daemon */
	struct io_uring ring;
	struct pool pool;
	struct blk_request *now, **now_end; /* done, and not told yet */
};

static void append(struct blk_request ***end, struct blk_request *r)
{
	r->next = NULL;
	**end = r;
	*end = &r->next;
}

static void finish_now(struct blk_queue *q, struct blk_request *r, int err)
{
	r->err = err;
	append(&q->now_end, r);
}

/* ---- threads ---- */

static void *pool_thread(void *arg)
{
	struct blk_queue *q = arg;
	struct pool *p = &q->pool;

	pthread_setname_np(pthread_self(), "disk");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct blk_request *r = p->todo;

		if (p->end)
			break;
		if (!r) {
			pthread_cond_wait(&p->work, &p->lock);
			continue;
		}
		p->todo = r->next;
		if (!p->todo)
			p->todo_end = &p->todo;
		pthread_mutex_unlock(&p->lock);
		r->err = blk_image_do(q->img, r);
		pthread_mutex_lock(&p->lock);
		append(&p->finished_end, r);
		pthread_cond_signal(&p->done);
		worker_kick(q->w);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_begin(struct blk_queue *q)
{
	struct pool *p = &q->pool;
	pthread_attr_t attr;
	sigset_t all, old;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (p->nthreads < POOL_THREADS && pthread_create(&p->thread[p->nthreads], &attr, pool_thread, q) == 0)
		p->nthreads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

static void pool_submit(struct blk_queue *q, struct blk_request *r)
{
	if (!q->pool.nthreads)
		pool_begin(q);
	if (!q->pool.nthreads) { /* the host gives no threads: then this one */
		finish_now(q, r, blk_image_do(q->img, r));
		return;
	}
	pthread_mutex_lock(&q->pool.lock);
	append(&q->pool.todo_end, r);
	pthread_cond_signal(&q->pool.work);
	pthread_mutex_unlock(&q->pool.lock);
}

static void pool_end(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->end = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
}

static struct blk_request *pool_take(struct pool *p, bool wait)
{
	struct blk_request *list;

	pthread_mutex_lock(&p->lock);
	while (wait && !p->finished)
		pthread_cond_wait(&p->done, &p->lock);
	list = p->finished;
	p->finished = NULL;
	p->finished_end = &p->finished;
	pthread_mutex_unlock(&p->lock);
	return list;
}

/* ---- io_uring ---- */

static void uring_submit(struct blk_queue *q, struct blk_request *r)
{
	const struct blk_image *img = q->img;
	int fd = blk_direct_ok(img, r) ? img->direct_fd : img->fd;
	struct io_uring_sqe *sqe = NULL;

	if (!img->overlay && (r->op < BLK_FLUSH || (r->op == BLK_FLUSH && blk_cache_row(img->cache)->flush)))
		sqe = io_uring_get_sqe(&q->ring);
	if (!sqe) {
		finish_now(q, r, blk_image_do(q->img, r));
		return;
	}
	if (r->op == BLK_READ)
		io_uring_prep_readv(sqe, fd, r->iov, r->niov, r->offset);
	else if (r->op == BLK_WRITE)
		io_uring_prep_writev2(sqe, fd, r->iov, r->niov, r->offset, blk_durable(img, r) ? RWF_DSYNC : 0);
	else
		io_uring_prep_fsync(sqe, img->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(sqe, r);
}

/*
 * Not done, but not for the medium's sake: interrupted, no way without waiting, taken back with the kernel's helper thread,
 * or an alignment or a flag that the file system does not take. A flush that the medium failed is never tried again: the
 * kernel reports such a failure once, and the next one would succeed (fsync(2)).
 */
static bool uring_declined(const struct blk_request *r, int res)
{
	return res == -EINTR || res == -EAGAIN || res == -ECANCELED ||
	       (r->op != BLK_FLUSH && (res == -EINVAL || res == -EOPNOTSUPP));
}

static void uring_reap(struct blk_queue *q, bool wait)
{
	struct io_uring_cqe *cqe;

	if (wait)
		io_uring_submit_and_wait(&q->ring, 1);
	while (io_uring_peek_cqe(&q->ring, &cqe) == 0) {
		struct blk_request *r = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&q->ring, cqe);
		if (r->op != BLK_FLUSH && res >= 0 ? (uint64_t)res != r->bytes : uring_declined(r, res))
			finish_now(q, r, blk_image_do(q->img, r));
		else
			finish_now(q, r, res < 0 ? -res : 0);
	}
}

/* The kernel may take a part of what is there, or nothing, when it is short of something: the worker comes again. */
static void uring_push(struct blk_queue *q)
{
	int n = 0;

	while (io_uring_sq_ready(&q->ring) && ((n = io_uring_submit(&q->ring)) > 0 || n == -EINTR))
		;
	if (io_uring_sq_ready(&q->ring))
		worker_kick(q->w);
}

/* ---- both ---- */

static void on_remote(void *ctx, struct blk_request *r, int err)
{
	finish_now(ctx, r, err);
}

enum status blk_queue_new(struct blk_image *img, struct worker *w, unsigned depth, struct blk_queue **out,
			  struct error *e)
{
	struct blk_queue *q = calloc(1, sizeof(*q));

	*out = q;
	if (!q)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	q->img = img;
	q->w = w;
	q->now_end = &q->now;
	if (img->remote && !img->overlay && !(q->remote = blk_rqueue_new(img->remote, w, on_remote, q)))
		return error_set(e, ST_NO_MEMORY, "no memory for a disk's queue");
	q->uring = !q->remote && !img->threads && io_uring_queue_init(depth, &q->ring, 0) == 0;
	if (q->uring && io_uring_register_eventfd(&q->ring, worker_eventfd(w)) != 0) {
		io_uring_queue_exit(&q->ring);
		q->uring = false;
	}
	q->pool.todo_end = &q->pool.todo;
	q->pool.finished_end = &q->pool.finished;
	pthread_mutex_init(&q->pool.lock, NULL);
	pthread_cond_init(&q->pool.work, NULL);
	pthread_cond_init(&q->pool.done, NULL);
	return ST_OK;
}

void blk_queue_free(struct blk_queue *q)
{
	if (!q)
		return;
	BUG_ON(q->under_way);
	blk_rqueue_free(q->remote);
	if (q->uring)
		io_uring_queue_exit(&q->ring);
	pool_end(&q->pool);
	pthread_cond_destroy(&q->pool.work);
	pthread_cond_destroy(&q->pool.done);
	pthread_mutex_destroy(&q->pool.lock);
	free(q);
}

const char *blk_queue_engine(const struct blk_queue *q)
{
	return q->remote ? "daemon" : q->uring ? "io_uring" : "threads";
}

void blk_submit(struct blk_queue *q, struct blk_request *r)
{
	q->under_way++;
	r->durable = blk_durable(q->img, r);
	if (q->remote)
		blk_rqueue_submit(q->remote, r);
	else if (q->uring)
		uring_submit(q, r);
	else
		pool_submit(q, r);
}

void blk_push(struct blk_queue *q)
{
	if (q->remote)
		blk_rqueue_run(q->remote);
	if (q->uring)
		uring_push(q);
}

unsigned blk_reap(struct blk_queue *q, bool wait)
{
	struct blk_request *list, *next;

	wait = wait && q->under_way && !q->now;
	if (q->remote) {
		blk_rqueue_run(q->remote);
		if (wait && !q->now)
			blk_rqueue_wait(q->remote);
	} else if (q->uring) {
		uring_reap(q, wait);
	}
	if (!q->remote && !q->uring)
		for (list = q->pool.nthreads ? pool_take(&q->pool, wait) : NULL; list; list = next) {
			next = list->next;
			append(&q->now_end, list);
		}
	while ((list = q->now)) { /* done may submit what is then done at once */
		q->now = NULL;
		q->now_end = &q->now;
		for (; list; list = next) {
			next = list->next;
			q->under_way--;
			if (list->err)
				blk_image_failed(q->img, list, list->err);
			list->done(list, list->err);
		}
	}
	return q->under_way;
}
