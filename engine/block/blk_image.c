// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images, raw ones above all. What is wrong with a file is said before the guest starts; what goes wrong later is the guest's I/O error.
 *
 * The lock on the file is an open-file-description lock (fcntl(2)): it belongs to this descriptor, not to the process, so
 * two machines of one process exclude each other too, and it goes with us however we end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/block/blk_remote.h"

#define DIRECT_ALIGN 4096u /* what every file system and device takes */
#define ZEROES_BYTES 65536u

const struct blk_cache_row *blk_cache_row(enum blk_cache c)
{
	static const struct blk_cache_row rows[BLK_CACHES] = {
		[BLK_WRITEBACK] = {"writeback", false, false, true},
		[BLK_NONE] = {"none", true, false, true},
		[BLK_WRITETHROUGH] = {"writethrough", false, true, true},
		[BLK_DIRECTSYNC] = {"directsync", true, true, true},
		[BLK_UNSAFE] = {"unsafe", false, false, false},
	};

	return &rows[c];
}

/* ---- opening ---- */

enum status blk_open_error(struct error *e, const char *file)
{
	enum status st = errno == ENOENT || errno == ENOTDIR                   ? ST_NOT_FOUND
			 : errno == EACCES || errno == EPERM || errno == EROFS ? ST_DENIED
									       : ST_IO;

	if (errno == EROFS || errno == EACCES || errno == EPERM)
		return error_errno(e, st, "cannot open the disk image '%s' for writing; with readonly it may do", file);
	return error_errno(e, st, "cannot open the disk image '%s'", file);
}

static enum status look_at(struct blk_image *img, const char *file, bool writes, struct error *e)
{
	struct stat st;
	int sector = BLK_SECTOR, ro = 0;

	if (fstat(img->fd, &st) != 0)
		return error_errno(e, ST_IO, "cannot look at the disk image '%s'", file);
	img->device = S_ISBLK(st.st_mode);
	if (!img->device && !S_ISREG(st.st_mode))
		return error_set(e, ST_BAD_FILE, "'%s' is no disk image: give a regular file or a block device", file);
	img->bytes = (uint64_t)st.st_size;
	if (img->device && (ioctl(img->fd, BLKGETSIZE64, &img->bytes) != 0 || ioctl(img->fd, BLKSSZGET, &sector) != 0))
		return error_errno(e, ST_IO, "cannot ask the block device '%s' for its size", file);
	img->block = sector >= (int)BLK_SECTOR && sector <= 4096 ? (unsigned)sector : BLK_SECTOR;
	if (img->device && img->bytes == 0)
		return error_set(e, ST_BAD_FILE, "the block device '%s' has no medium, or no file is attached to it",
				 file);
	/* root may open one for writing, and every write fails */
	if (img->device && writes && ioctl(img->fd, BLKROGET, &ro) == 0 && ro)
		return error_set(e, ST_DENIED, "the block device '%s' cannot be written to; with readonly it may do",
				 file);
	if (img->bytes == 0)
		return error_set(e, ST_BAD_FILE,
				 "the disk image '%s' is empty: make one with truncate -s 1G or the like", file);
	if (img->bytes % img->block)
		return error_set(e, ST_BAD_FILE,
				 "the disk image '%s' has %llu bytes, not a multiple of %u: it is truncated, or none",
				 file, (unsigned long long)img->bytes, img->block);
	return ST_OK;
}

/* A guest that got the tables of a qcow2 image for a disk would write into them. */
static enum status look_inside(const struct blk_image *img, const struct blk_config *cfg, struct error *e)
{
	enum blk_format seen = cfg->format_given ? BLK_RAW : blk_format_seen(img->fd);

	if (seen == BLK_RAW)
		return ST_OK;
	return error_set(e, ST_BAD_FILE,
			 "the disk image '%s' begins like a %s image: give format=%s, or format=raw if it is none",
			 cfg->file, blk_format_name(seen), blk_format_name(seen));
}

/* The requests that a killed machine had in io_uring hold its file, and the lock, until the kernel has done them: behind its back,
 * and for some moments after the process is gone. */
#define LOCK_TRIES 100
#define LOCK_NAP_NS 10000000

static enum status lock_file(const struct blk_image *img, const char *file, bool shared, struct error *e)
{
	struct flock l = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (fcntl(img->fd, F_OFD_SETLK, &l) == 0 || errno == ENOLCK || errno == EOPNOTSUPP)
			return ST_OK;
		if (errno != EAGAIN && errno != EACCES)
			return error_errno(e, ST_IO, "cannot lock the disk image '%s'", file);
		nanosleep(&(struct timespec){.tv_nsec = LOCK_NAP_NS}, NULL);
	}
	return error_set(e, ST_BUSY,
			 "the disk image '%s' is in use by another machine: stop that, or give --snapshot to both",
			 file);
}

static enum status open_direct(struct blk_image *img, const char *file, struct error *e)
{
	img->direct_fd = open(file, (img->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_DIRECT);
	img->direct_align = DIRECT_ALIGN;
	if (img->direct_fd < 0)
		return error_errno(e, ST_UNSUPPORTED,
				   "cache=%s: '%s' cannot be opened past the page cache, give cache=%s",
				   blk_cache_row(img->cache)->name, file,
				   blk_cache_row(img->cache)->durable ? "writethrough" : "writeback");
	return ST_OK;
}

static enum status open_raw(struct blk_image *img, const struct blk_config *cfg, struct error *e)
{
	bool ro = cfg->readonly || cfg->snapshot;
	enum status st;

	/* O_NONBLOCK: a FIFO must not hang us before we can see that it is one */
	img->fd = open(cfg->file, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	st = img->fd < 0 ? blk_open_error(e, cfg->file) : look_inside(img, cfg, e);
	if (st == ST_OK)
		st = look_at(img, cfg->file, !ro, e);
	/* from here on waiting is right: io_uring would refuse what it cannot do at once */
	if (st == ST_OK && fcntl(img->fd, F_SETFL, 0) != 0)
		st = error_errno(e, ST_IO, "cannot use the disk image '%s'", cfg->file);
	if (st == ST_OK)
		st = lock_file(img, cfg->file, ro, e);
	if (st == ST_OK && blk_cache_row(cfg->cache)->direct && !cfg->snapshot)
		st = open_direct(img, cfg->file, e);
	return st;
}

static enum status open_remote(struct blk_image *img, const struct blk_config *cfg, struct error *e)
{
	enum status st = blk_remote_open(cfg, &img->remote, e);

	if (st != ST_OK)
		return st;
	img->bytes = img->remote->disk.bytes;
	img->block = img->remote->disk.block;
	return ST_OK;
}

enum status blk_image_open(const struct blk_config *cfg, struct blk_image **out, struct error *e)
{
	struct blk_image *img = calloc(1, sizeof(*img));
	enum status st;

	*out = NULL;
	if (!img)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	img->fd = img->direct_fd = -1;
	img->readonly = cfg->readonly;
	img->cache = cfg->cache;
	img->threads = cfg->threads;
	img->tell = cfg->tell;
	img->name = strdup(cfg->file);
	st = cfg->format != BLK_RAW || blk_is_address(cfg->file) ? open_remote(img, cfg, e) : open_raw(img, cfg, e);
	if (st == ST_OK && cfg->snapshot && !cfg->readonly && !(img->overlay = blk_overlay_new(img, img->bytes, e)))
		st = e ? e->status : ST_NO_MEMORY;
	if (st != ST_OK) {
		blk_image_close(img);
		return st;
	}
	*out = img;
	return ST_OK;
}

void blk_image_close(struct blk_image *img)
{
	if (!img)
		return;
	blk_overlay_free(img->overlay);
	blk_remote_close(img->remote);
	if (img->direct_fd >= 0)
		close(img->direct_fd);
	if (img->fd >= 0)
		close(img->fd);
	free(img->name);
	free(img);
}

uint64_t blk_image_bytes(const struct blk_image *img)
{
	return img->bytes;
}

bool blk_image_readonly(const struct blk_image *img)
{
	return img->readonly;
}

enum blk_cache blk_image_cache(const struct blk_image *img)
{
	return img->overlay ? BLK_WRITEBACK : img->cache;
}

bool blk_image_flushes(const struct blk_image *img)
{
	return !blk_cache_row(blk_image_cache(img))->durable;
}

bool blk_image_discards(const struct blk_image *img)
{
	return !img->readonly && !img->overlay && (!img->remote || img->remote->disk.discard);
}

unsigned blk_image_block(const struct blk_image *img)
{
	return img->block;
}

/* ---- requests, one after the other ---- */

int blk_read_all(int fd, void *buf, uint64_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO; /* the file has become shorter */
		buf = (uint8_t *)buf + n;
		len -= (uint64_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int blk_write_all(int fd, const void *buf, uint64_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		buf = (const uint8_t *)buf + n;
		len -= (uint64_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

bool blk_direct_ok(const struct blk_image *img, const struct blk_request *r)
{
	uint64_t bits = r->offset | r->bytes;

	if (img->direct_fd < 0)
		return false;
	for (unsigned i = 0; i < r->niov; i++)
		bits |= (uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len;
	return bits % img->direct_align == 0;
}

static int move_bytes(const struct blk_image *img, const struct blk_request *r)
{
	uint64_t off = r->offset;
	int err = 0;

	for (unsigned i = 0; i < r->niov && !err; i++) {
		err = r->op == BLK_READ ? blk_read_all(img->fd, r->iov[i].iov_base, r->iov[i].iov_len, off)
					: blk_write_all(img->fd, r->iov[i].iov_base, r->iov[i].iov_len, off);
		off += r->iov[i].iov_len;
	}
	return err;
}

static int write_zeroes(int fd, uint64_t off, uint64_t bytes)
{
	static const uint8_t zeroes[ZEROES_BYTES];
	int err = 0;

	while (bytes && !err) {
		uint64_t n = bytes < sizeof(zeroes) ? bytes : sizeof(zeroes);

		err = blk_write_all(fd, zeroes, n, off);
		off += n;
		bytes -= n;
	}
	return err;
}

/*
 * A hole reads as zeroes, and so does space of a file that was never written; where the file system has neither, zeroes are
 * written. Who keeps the space is promised that later writes find it. Discarding is a wish: it may do nothing.
 */
static int punch(const struct blk_image *img, const struct blk_request *r)
{
	int how = r->op == BLK_ZEROES_KEEP ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;

	if (!r->bytes || fallocate(img->fd, how | FALLOC_FL_KEEP_SIZE, (off_t)r->offset, (off_t)r->bytes) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EINVAL)
		return errno;
	return r->op == BLK_DISCARD ? 0 : write_zeroes(img->fd, r->offset, r->bytes);
}

int blk_base_read(const struct blk_image *img, void *buf, uint64_t len, uint64_t off)
{
	struct iovec iov = {buf, len};

	if (!img->remote)
		return blk_read_all(img->fd, buf, len, off);
	return blk_remote_do(img->remote, &(struct blk_request){
						  .op = BLK_READ, .offset = off, .bytes = len, .iov = &iov, .niov = 1});
}

void blk_image_failed(struct blk_image *img, const struct blk_request *r, int err)
{
	static const char *const what[] = {[BLK_READ] = "a read",
					   [BLK_WRITE] = "a write",
					   [BLK_FLUSH] = "a flush",
					   [BLK_DISCARD] = "a discard",
					   [BLK_ZEROES] = "a write of zeroes",
					   [BLK_ZEROES_KEEP] = "a write of zeroes"};
	int kind = err << 4 | (int)r->op;
	char text[BLK_TELL_TEXT];

	if (!img->tell.fn || atomic_exchange(&img->told, kind) == kind)
		return;
	snprintf(text, sizeof(text),
		 "disk '%s': %s of %" PRIu64 " bytes at %" PRIu64 " has failed, the guest sees an I/O error: %s",
		 img->name ? img->name : "", what[r->op], r->bytes, r->offset, strerror(err));
	img->tell.fn(img->tell.ctx, text);
}

static int sync_data(const struct blk_image *img)
{
	while (fdatasync(img->fd) != 0)
		if (errno != EINTR)
			return errno;
	return 0;
}

int blk_image_do(struct blk_image *img, const struct blk_request *r)
{
	int err;

	if (img->overlay)
		return blk_overlay_do(img->overlay, r);
	if (img->remote) {
		struct blk_request copy = *r;

		copy.durable = blk_durable(img, r);
		return blk_remote_do(img->remote, &copy);
	}
	switch (r->op) {
	case BLK_READ:
		return move_bytes(img, r);
	case BLK_WRITE:
		err = move_bytes(img, r);
		break;
	case BLK_DISCARD:
	case BLK_ZEROES:
	case BLK_ZEROES_KEEP:
		err = punch(img, r);
		break;
	default:
		return blk_cache_row(img->cache)->flush ? sync_data(img) : 0;
	}
	return !err && blk_durable(img, r) ? sync_data(img) : err;
}
