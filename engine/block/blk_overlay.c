// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The throw-away layer: a sparse file without a name, in TMPDIR or else in memory, and a bit for each cluster that has been
 * written. A write of a part of a cluster first copies the rest from below. One lock: workers of several queues may meet in
 * a cluster, and a snapshot is for experiments, not for speed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/block/block_int.h"

#define CLUSTER 4096ull

struct blk_overlay {
	pthread_mutex_t lock;
	const struct blk_image *base;
	int fd;
	uint64_t bytes;
	uint8_t *written; /* a bit for each cluster */
};

static int nameless_file(void)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir && dir[0] ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0 ? fd : memfd_create("steelyard-snapshot", MFD_CLOEXEC);
}

struct blk_overlay *blk_overlay_new(const struct blk_image *base, uint64_t bytes, struct error *e)
{
	struct blk_overlay *o = calloc(1, sizeof(*o));
	uint64_t clusters = (bytes + CLUSTER - 1) / CLUSTER;

	if (!o || !(o->written = calloc(1, clusters / 8 + 1))) {
		free(o);
		error_set(e, ST_NO_MEMORY, "no memory for the map of --snapshot");
		return NULL;
	}
	pthread_mutex_init(&o->lock, NULL);
	o->base = base;
	o->bytes = bytes;
	o->fd = nameless_file();
	if (o->fd >= 0 && ftruncate(o->fd, (off_t)(clusters * CLUSTER)) == 0)
		return o;
	error_errno(e, ST_IO, "cannot make the temporary file of --snapshot");
	blk_overlay_free(o);
	return NULL;
}

void blk_overlay_free(struct blk_overlay *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	free(o->written);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static bool is_written(const struct blk_overlay *o, uint64_t cluster)
{
	return o->written[cluster / 8] >> cluster % 8 & 1;
}

/* The part of a cluster that no write covers comes from below. */
static int fill_cluster(struct blk_overlay *o, uint64_t cluster)
{
	uint64_t off = cluster * CLUSTER, len = o->bytes - off < CLUSTER ? o->bytes - off : CLUSTER;
	uint8_t buf[CLUSTER];
	int err = blk_base_read(o->base, buf, len, off);

	return err ? err : blk_write_all(o->fd, buf, len, off);
}

/* One piece inside one cluster. buf NULL: zeroes. */
static int piece(struct blk_overlay *o, bool write, uint8_t *buf, uint64_t off, uint64_t len)
{
	static const uint8_t zeroes[CLUSTER];
	uint64_t cluster = off / CLUSTER;
	int err = 0;

	if (!write)
		return is_written(o, cluster) ? blk_read_all(o->fd, buf, len, off)
					      : blk_base_read(o->base, buf, len, off);
	if (!is_written(o, cluster) && len < CLUSTER)
		err = fill_cluster(o, cluster);
	if (!err)
		err = blk_write_all(o->fd, buf ? buf : zeroes, len, off);
	if (!err)
		o->written[cluster / 8] |= (uint8_t)(1u << cluster % 8);
	return err;
}

static int range(struct blk_overlay *o, bool write, uint8_t *buf, uint64_t off, uint64_t len)
{
	int err = 0;

	while (len && !err) {
		uint64_t n = CLUSTER - off % CLUSTER < len ? CLUSTER - off % CLUSTER : len;

		err = piece(o, write, buf, off, n);
		buf = buf ? buf + n : NULL;
		off += n;
		len -= n;
	}
	return err;
}

int blk_overlay_do(struct blk_overlay *o, const struct blk_request *r)
{
	uint64_t off = r->offset;
	int err = 0;

	pthread_mutex_lock(&o->lock);
	if (blk_is_zeroes(r->op))
		err = range(o, true, NULL, off, r->bytes);
	for (unsigned i = 0; (r->op == BLK_READ || r->op == BLK_WRITE) && i < r->niov && !err; i++) {
		err = range(o, r->op == BLK_WRITE, r->iov[i].iov_base, off, r->iov[i].iov_len);
		off += r->iov[i].iov_len;
	}
	pthread_mutex_unlock(&o->lock);
	return err;
}
