/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of engine/block/ share. */
#ifndef STEELYARD_BLOCK_INT_H
#define STEELYARD_BLOCK_INT_H

#include <pthread.h>

#include "engine/block/block.h"

struct blk_overlay;
struct blk_remote;

#define BLK_RECONNECT_S 10 /* a network server may be away so long before requests fail */

struct blk_image {
	int fd;        /* through the page cache */
	int direct_fd; /* -1: none */
	uint64_t bytes;
	unsigned block, direct_align;
	bool readonly, device, threads;
	enum blk_cache cache;
	struct blk_overlay *overlay; /* NULL: none */
	struct blk_remote *remote;   /* NULL: fd */
	char *name;
	struct blk_tell tell;
	_Atomic int told; /* the kind of error that was told last */
};

/* May r's buffers and offset go past the page cache? */
bool blk_direct_ok(const struct blk_image *img, const struct blk_request *r);
/* Does a write of this image or request have to be on the medium when it is done? */
static inline bool blk_durable(const struct blk_image *img, const struct blk_request *r)
{
	const struct blk_cache_row *row = blk_cache_row(img->cache);

	return row->flush && (r->durable || row->durable);
}

/* What failed to open, by errno. */
enum status blk_open_error(struct error *e, const char *file);
/* A request has failed: told when it is another kind of failure than the last. */
void blk_image_failed(struct blk_image *img, const struct blk_request *r, int err);
/* Below any overlay. */
int blk_base_read(const struct blk_image *img, void *buf, uint64_t len, uint64_t off);
/* The format that a file's first bytes say, or BLK_RAW. */
enum blk_format blk_format_seen(int fd);

/* blk_overlay.c: reads fall through to base where nothing was written. */
struct blk_overlay *blk_overlay_new(const struct blk_image *base, uint64_t bytes, struct error *e);
void blk_overlay_free(struct blk_overlay *o);
int blk_overlay_do(struct blk_overlay *o, const struct blk_request *r);

/* Whole pieces, whatever the kernel returns in one call; 0 or an errno. EIO at the file's end. */
int blk_read_all(int fd, void *buf, uint64_t len, uint64_t off);
int blk_write_all(int fd, const void *buf, uint64_t len, uint64_t off);

#endif
