/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disk images for block devices, and queues of requests to them: a raw file or a block device of the host, which this process
 * reads and writes itself, or what a storage daemon serves (blk_remote.h).
 *
 * struct blk_image is the medium: open, size, what its cache mode promises, the throw-away layer of --snapshot. Any thread
 * may use it. struct blk_queue is one worker's way to it: requests go in, complete in any order, and blk_reap calls their
 * `done` on the worker's thread. Requests of one image are not ordered among each other; a flush covers what had completed
 * when it was submitted.
 *
 * What the modes promise when a request is done (blk_cache_row):
 *     writeback    a write is in the host's page cache: it survives our end, not the host's; a flush is on the medium
 *     none         as writeback, past the page cache where the buffers are aligned for it
 *     writethrough a write is on the medium
 *     directsync   as writethrough, past the page cache
 *     unsafe       a flush does nothing: fast, for what may be lost when the host fails
 * With a storage daemon a write that is not flushed may be in its memory alone, and go with it and us.
 */
#ifndef STEELYARD_BLOCK_H
#define STEELYARD_BLOCK_H

#include <sys/uio.h>

#include "engine/status.h"
#include "engine/worker.h"

#define BLK_SECTOR 512u

enum blk_cache { BLK_WRITEBACK, BLK_NONE, BLK_WRITETHROUGH, BLK_DIRECTSYNC, BLK_UNSAFE, BLK_CACHES };

struct blk_cache_row {
	const char *name;
	bool direct;  /* past the page cache */
	bool durable; /* every write is on the medium */
	bool flush;   /* a flush is */
};

enum blk_format { BLK_RAW, BLK_QCOW2, BLK_VDI, BLK_VHDX, BLK_VMDK, BLK_FORMATS };

struct mem;

/* One sentence for a person, without a newline. Any thread, no lock held but leaves of the block layer. */
#define BLK_TELL_TEXT 512u
struct blk_tell {
	void (*fn)(void *ctx, const char *text); /* NULL: nobody listens */
	void *ctx;
};

struct blk_config {
	const char *file; /* or an address: nbd:..., iscsi://... */
	enum blk_format format;
	bool format_given; /* else a raw image that looks like another format is refused */
	enum blk_cache cache;
	bool readonly;
	bool snapshot;         /* writes go to a layer that ends with the image */
	bool threads;          /* no io_uring, where the host has it (tests) */
	const struct mem *ram; /* where most buffers are, or NULL: a storage daemon gets to see it */
	struct blk_tell tell;
};

struct blk_image;

const struct blk_cache_row *blk_cache_row(enum blk_cache c);
/* NULL past the last. */
const char *blk_format_name(enum blk_format f);
/* Is this no file, but what a storage daemon reaches over a network? */
bool blk_is_address(const char *file);

/* BLK_ZEROES: the range reads as zeroes and its space may be given back; BLK_ZEROES_KEEP: its space stays its own */
enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZEROES, BLK_ZEROES_KEEP };

static inline bool blk_is_zeroes(enum blk_op op)
{
	return op == BLK_ZEROES || op == BLK_ZEROES_KEEP;
}

struct blk_request {
	enum blk_op op;
	bool durable; /* a write that has to be on the medium whatever the mode says */
	uint64_t offset, bytes;
	struct iovec *iov; /* BLK_READ, BLK_WRITE: `bytes` in all */
	unsigned niov;
	void (*done)(struct blk_request *r, int err); /* err: 0, or an errno */
	struct blk_request *next;                     /* the queue's */
	int err;
};

/* Also takes the file's lock: one writer, or readers. ST_NOT_FOUND, ST_DENIED, ST_BAD_FILE, ST_BUSY, ST_UNSUPPORTED (the
 * cache mode), ... */
enum status blk_image_open(const struct blk_config *cfg, struct blk_image **out, struct error *e);
void blk_image_close(struct blk_image *img);
uint64_t blk_image_bytes(const struct blk_image *img);
bool blk_image_readonly(const struct blk_image *img);
enum blk_cache blk_image_cache(const struct blk_image *img);
/* Is there something to flush? */
bool blk_image_flushes(const struct blk_image *img);
/* Can it give space back? */
bool blk_image_discards(const struct blk_image *img);
/* Smallest unit that the medium likes, a power of two from 512 on. */
unsigned blk_image_block(const struct blk_image *img);
/* The whole request, now, on this thread: 0 or an errno. */
int blk_image_do(struct blk_image *img, const struct blk_request *r);

/* ---- a worker's queue ---- */

struct blk_queue;

/* Completions kick w. depth: the most requests at once. */
enum status blk_queue_new(struct blk_image *img, struct worker *w, unsigned depth, struct blk_queue **out,
			  struct error *e);
/* Nothing may be under way. */
void blk_queue_free(struct blk_queue *q);
/* "io_uring", "threads" or "daemon" */
const char *blk_queue_engine(const struct blk_queue *q);
/* The worker: r belongs to the queue until done. blk_push hands over what has been submitted since the last. */
void blk_submit(struct blk_queue *q, struct blk_request *r);
void blk_push(struct blk_queue *q);
/* Calls done for what has completed; returns how many are under way. wait: blocks for at least one, if there is one. */
unsigned blk_reap(struct blk_queue *q, bool wait);

#endif
