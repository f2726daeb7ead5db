/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk's queue over io_uring with a kernel that is in trouble: it takes requests one by one or not at all, and completes them with
 * what it says when it is short of something. This file's io_uring_submit stands before the library's: it hands over less
 * than there is, and makes of a request an empty one whose result the test has chosen (IORING_NOP_INJECT_RESULT).
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/block/block.h"
#include "tests/unit/check.h"

#define FILE_BYTES 65536u
#define PIECE 4096u
#define PIECES 8u
#define ROUNDS 2000u
#define INJECT_RESULT 1u /* of nop_flags, from Linux 6.11 on */

enum mood { WILLING, ONE_BY_ONE, EVERY_OTHER_TIME };

struct trouble {
	enum mood mood;
	bool inject;
	int result;
	unsigned calls;
};

/* The library's function has no argument to carry it: a test has one queue at a time. */
static struct trouble *trouble_now(void)
{
	static struct trouble t;

	return &t;
}

int io_uring_submit(struct io_uring *ring)
{
	struct trouble *t = trouble_now();
	unsigned all = ring->sq.sqe_tail, head = *ring->sq.khead;
	int n;

	t->calls++;
	if (t->mood == EVERY_OTHER_TIME && t->calls % 2)
		return -EAGAIN;
	if (t->inject && all != head) {
		struct io_uring_sqe *sqe = &ring->sq.sqes[head & *ring->sq.kring_mask];
		uint64_t data = sqe->user_data;

		*sqe = (struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = data};
		sqe->len = (uint32_t)t->result;
		sqe->rw_flags = (int)INJECT_RESULT;
		t->inject = false;
	}
	if (t->mood != WILLING && all - head > 1)
		ring->sq.sqe_tail = head + 1;
	n = io_uring_submit_and_wait(ring, 0);
	ring->sq.sqe_tail = all;
	return n;
}

/* ---- a queue that this thread drives ---- */

static bool idle_run(void *ctx, const struct pollfd *p, unsigned n)
{
	(void)ctx, (void)p, (void)n;
	return false;
}

struct rig {
	char file[32];
	struct blk_image *img;
	struct worker *worker;
	struct blk_queue *q;
};

static bool rig_up(struct rig *g, bool direct)
{
	static const struct worker_ops ops = {.run = idle_run};
	struct blk_config cfg = {.file = g->file, .cache = direct ? BLK_NONE : BLK_WRITEBACK};
	struct error e = {0};
	int fd;

	*g = (struct rig){.file = "/tmp/blkqueue.XXXXXX"};
	fd = mkstemp(g->file);
	CHECK(fd >= 0 && ftruncate(fd, FILE_BYTES) == 0);
	close(fd);
	*trouble_now() = (struct trouble){.mood = WILLING};
	CHECK(blk_image_open(&cfg, &g->img, &e) == ST_OK);
	g->worker = worker_new("test", &ops, NULL, &e);
	CHECK(g->img && g->worker && blk_queue_new(g->img, g->worker, PIECES, &g->q, &e) == ST_OK);
	return !strcmp(blk_queue_engine(g->q), "io_uring");
}

static void rig_down(struct rig *g)
{
	worker_free(g->worker);
	blk_queue_free(g->q);
	blk_image_close(g->img);
	unlink(g->file);
}

struct job {
	struct blk_request blk;
	struct iovec iov;
	bool done;
	int err;
	uint8_t data[PIECE];
};

static void job_done(struct blk_request *r, int err)
{
	struct job *j = (struct job *)r;

	j->done = true;
	j->err = err;
}

static void job_submit(struct rig *g, struct job *j, enum blk_op op, uint64_t off)
{
	j->done = false;
	j->err = -1;
	j->iov = (struct iovec){j->data, PIECE};
	j->blk = (struct blk_request){.op = op, .offset = off, .done = job_done};
	if (op <= BLK_WRITE) {
		j->blk.bytes = PIECE;
		j->blk.iov = &j->iov;
		j->blk.niov = 1;
	}
	blk_submit(g->q, &j->blk);
}

/* As the device's worker does it, without the waiting of blk_reap: that hands over what was left by itself. */
static bool settled(struct rig *g)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		blk_push(g->q);
		if (!blk_reap(g->q, false))
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	while (blk_reap(g->q, true))
		;
	return false;
}

static void fill(struct job *j, unsigned seed)
{
	for (unsigned i = 0; i < PIECE; i++)
		j->data[i] = (uint8_t)(seed * 31 + i * 7 + i / 256);
}

/* ---- tests ---- */

/* What the kernel leaves in the ring goes to it without another request's help. */
static void test_left_over(struct rig *g, enum mood mood)
{
	struct job *jobs = calloc(PIECES, sizeof(*jobs)), want;

	for (unsigned i = 0; i < PIECES; i++) {
		fill(&jobs[i], i + mood);
		job_submit(g, &jobs[i], BLK_WRITE, i * PIECE);
	}
	trouble_now()->mood = mood;
	CHECK(settled(g));
	for (unsigned i = 0; i < PIECES; i++)
		CHECK(jobs[i].done && jobs[i].err == 0);
	for (unsigned i = 0; i < PIECES; i++)
		job_submit(g, &jobs[i], BLK_READ, i * PIECE);
	CHECK(settled(g));
	for (unsigned i = 0; i < PIECES; i++) {
		fill(&want, i + mood);
		CHECK(jobs[i].done && jobs[i].err == 0 && !memcmp(jobs[i].data, want.data, PIECE));
	}
	trouble_now()->mood = WILLING;
	free(jobs);
}

static int with_result(struct rig *g, struct job *j, enum blk_op op, int result)
{
	trouble_now()->inject = true;
	trouble_now()->result = result;
	job_submit(g, j, op, PIECE);
	CHECK(settled(g) && j->done);
	return j->err;
}

static void test_results(struct rig *g)
{
	static const struct {
		enum blk_op op;
		int result, want;
	} rows[] = {
		{BLK_READ, 512, 0},           {BLK_READ, 0, 0},           {BLK_READ, -EINTR, 0},
		{BLK_READ, -EAGAIN, 0},       {BLK_READ, -ECANCELED, 0},  {BLK_READ, -EINVAL, 0},
		{BLK_READ, -EIO, EIO},        {BLK_WRITE, 512, 0},        {BLK_WRITE, -EINTR, 0},
		{BLK_WRITE, -EAGAIN, 0},      {BLK_WRITE, -ECANCELED, 0}, {BLK_WRITE, -EOPNOTSUPP, 0},
		{BLK_WRITE, -ENOSPC, ENOSPC}, {BLK_WRITE, -EIO, EIO},     {BLK_FLUSH, -EINTR, 0},
		{BLK_FLUSH, -EAGAIN, 0},      {BLK_FLUSH, -ECANCELED, 0}, {BLK_FLUSH, -EIO, EIO},
		{BLK_FLUSH, -ENOSPC, ENOSPC},
	};
	struct job j, want;

	if (with_result(g, &j, BLK_READ, -EIO) != EIO) {
		printf("SKIP results of the kernel's choice: Linux 6.11 can inject them\n");
		return;
	}
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fill(&j, i);
		job_submit(g, &j, BLK_WRITE, PIECE);
		CHECK(settled(g) && j.err == 0);
		if (rows[i].op == BLK_READ)
			memset(j.data, 0, PIECE);
		else
			fill(&j, i + 100);
		CHECK(with_result(g, &j, rows[i].op, rows[i].result) == rows[i].want);
		if (rows[i].want || rows[i].op == BLK_FLUSH)
			continue;
		memset(j.data, 0, PIECE);
		job_submit(g, &j, BLK_READ, PIECE);
		fill(&want, rows[i].op == BLK_WRITE ? i + 100 : i);
		CHECK(settled(g) && !memcmp(j.data, want.data, PIECE));
	}
}

int main(void)
{
	for (unsigned direct = 0; direct < 2; direct++) {
		struct rig g;

		if (rig_up(&g, direct)) {
			test_left_over(&g, ONE_BY_ONE);
			test_left_over(&g, EVERY_OTHER_TIME);
			test_results(&g);
		} else {
			printf("SKIP a kernel in trouble: this host has no io_uring for us\n");
		}
		rig_down(&g);
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
