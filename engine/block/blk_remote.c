// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of a storage daemon, and requests that wait for their end.
 *
 * `life` counts daemons: a ring whose number is not the present one belongs to a dead daemon, and what is in it is not looked at
 * any more. The watcher alone starts and ends daemons; it holds the lock when the state changes, not while a daemon starts.
 */
#include "engine/block/blk_remote.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/block/blk_wire.h"
#include "engine/mem.h"

#define ANSWER_MS 30000
#define END_MS 10000u
#define TRIES 6u /* to bring a daemon back, each after twice the time of the one before */
#define FIRST_PAUSE_MS 50u
#define BUSY_TRIES 30u /* the lock of a daemon that is just dying */
#define BUSY_PAUSE_MS 100u
#define FRUITLESS_MAX 10u
#define SHARE_BYTES ((uint64_t)REMOTE_RINGS * VHOST_RING_BYTES + REMOTE_BOUNCE)
#define STACK_BYTES (256u << 10)

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void say(struct blk_remote *rm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct blk_remote *rm, const char *fmt, ...)
{
	char text[BLK_TELL_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (rm->tell.fn)
		rm->tell.fn(rm->tell.ctx, text);
}

bool blk_remote_sees(const struct blk_remote *rm, const void *p, uint64_t len)
{
	uint64_t off;

	if (!rm->ram)
		return false;
	off = (uint64_t)((const uint8_t *)p - rm->ram->ram_hva);
	return off < rm->ram->ram_bytes && len <= rm->ram->ram_bytes - off;
}

bool blk_remote_attach(struct blk_remote *rm, unsigned n, int call, bool *fresh)
{
	struct remote_ring *x = &rm->ring[n];
	struct vhost_user_ring r = {.index = n, .size = VHOST_RING_SLOTS, .kick = x->kick, .call = call};
	enum status st;

	*fresh = x->life != rm->life;
	if (!*fresh && x->call == call)
		return true;
	if (*fresh) {
		vhost_ring_init(&x->ring, rm->share + (uint64_t)n * VHOST_RING_BYTES);
		r.desc = vhost_ring_desc(&x->ring);
		r.avail = vhost_ring_avail(&x->ring);
		r.used = vhost_ring_used(&x->ring);
		st = vhost_user_ring_start(&rm->vu, &r, NULL);
	} else {
		st = vhost_user_ring_call(&rm->vu, n, call, NULL);
	}
	if (st != ST_OK) {
		blk_remote_distrust(rm);
		return false;
	}
	x->call = call;
	x->life = rm->life;
	return true;
}

void blk_remote_distrust(struct blk_remote *rm)
{
	if (rm->state == REMOTE_UP && rm->daemon.pid > 0)
		kill(rm->daemon.pid, SIGKILL);
}

void blk_remote_abandon(struct blk_remote *rm)
{
	rm->abandoned = true;
	blk_remote_distrust(rm);
}

/* ---- requests that wait ---- */

static uint8_t *bounce(const struct blk_remote *rm)
{
	return rm->share + (uint64_t)REMOTE_RINGS * VHOST_RING_BYTES;
}

/* Waits for slot 0 of the waiting ring of that life: 0, EIO, or EAGAIN when the daemon died first. */
static int await(struct blk_remote *rm, unsigned life, bool watcher)
{
	struct vhost_ring *ring = &rm->ring[REMOTE_SYNC].ring;

	for (unsigned ms = 0;; ms += 20) {
		struct pollfd p = {.fd = rm->sync_call, .events = POLLIN}, dead = {.fd = -1, .events = POLLIN};
		bool ok = false, gone, came;
		uint64_t count;

		if (watcher)
			dead.fd = rm->daemon.pidfd;
		pthread_mutex_lock(&rm->lock);
		gone = rm->life != life || rm->state == REMOTE_DEAD;
		came = !gone && vhost_ring_take(ring, &ok) >= 0;
		if (!gone && ring->broken)
			blk_remote_distrust(rm);
		pthread_mutex_unlock(&rm->lock);
		if (came)
			return ok ? 0 : EIO;
		/* nobody else tells the watcher that the daemon is dead, or hangs */
		if (gone || (watcher && (ring->broken || poll(&dead, 1, 0) != 0 || ms > ANSWER_MS)))
			return EAGAIN;
		if (poll(&p, 1, 20) > 0 && read(rm->sync_call, &count, sizeof(count)) < 0 && errno != EAGAIN)
			return EIO;
	}
}

/* One piece that fits the bounce buffer, once. EAGAIN: the daemon died. */
static int attempt(struct blk_remote *rm, enum blk_op op, uint64_t off, uint8_t *buf, uint64_t len, bool watcher)
{
	static const uint32_t type[] = {[BLK_READ] = BLK_T_IN,
					[BLK_WRITE] = BLK_T_OUT,
					[BLK_FLUSH] = BLK_T_FLUSH,
					[BLK_DISCARD] = BLK_T_DISCARD,
					[BLK_ZEROES] = BLK_T_WRITE_ZEROES,
					[BLK_ZEROES_KEEP] = BLK_T_WRITE_ZEROES};
	struct iovec iov = {bounce(rm), len};
	struct vhost_ring_request rq = {
		.type = type[op], .keep = op == BLK_ZEROES_KEEP, .sector = off / BLK_SECTOR};
	unsigned life;
	uint64_t mark;
	bool fresh;
	int err;

	pthread_mutex_lock(&rm->lock);
	while (!watcher && rm->state == REMOTE_DOWN)
		pthread_cond_wait(&rm->changed, &rm->lock);
	if (rm->state == REMOTE_DEAD) {
		pthread_mutex_unlock(&rm->lock);
		return EIO;
	}
	life = rm->life;
	mark = rm->journal.seq;
	if (op == BLK_READ || op == BLK_WRITE) {
		rq.iov = &iov;
		rq.niov = 1;
	} else {
		rq.sectors = (uint32_t)(len / BLK_SECTOR);
	}
	if (op == BLK_WRITE)
		memcpy(bounce(rm), buf, len);
	if (!blk_remote_attach(rm, REMOTE_SYNC, rm->sync_call, &fresh)) {
		pthread_mutex_unlock(&rm->lock);
		pause_ms(BUSY_PAUSE_MS);
		return EAGAIN;
	}
	vhost_ring_put(&rm->ring[REMOTE_SYNC].ring, 0, &rq);
	pthread_mutex_unlock(&rm->lock);
	signal_fd(rm->ring[REMOTE_SYNC].kick);
	err = await(rm, life, watcher);
	if (!err && op == BLK_READ)
		memcpy(buf, bounce(rm), len);
	if (err || watcher)
		return err;
	pthread_mutex_lock(&rm->lock);
	rm->fruitless = 0;
	if (rm->life != life) /* acknowledged, but nobody would know of it again */
		err = EAGAIN;
	else if (op == BLK_FLUSH)
		blk_journal_flushed(&rm->journal, mark);
	else if (op != BLK_READ)
		blk_journal_add(&rm->journal, op, off, len, &(struct iovec){buf, len}, 1);
	pthread_mutex_unlock(&rm->lock);
	return err;
}

static uint64_t piece_max(const struct blk_remote *rm, enum blk_op op)
{
	return op == BLK_DISCARD   ? (uint64_t)rm->disk.discard_sectors * BLK_SECTOR
	       : blk_is_zeroes(op) ? (uint64_t)rm->disk.zeroes_sectors * BLK_SECTOR
				   : REMOTE_BOUNCE;
}

static int pieces(struct blk_remote *rm, enum blk_op op, uint64_t off, uint8_t *buf, uint64_t len, bool watcher)
{
	int err = 0;

	while (len && !err) {
		uint64_t n = len < piece_max(rm, op) ? len : piece_max(rm, op);

		do
			err = attempt(rm, op, off, buf, n, watcher);
		while (err == EAGAIN && !watcher);
		buf = buf ? buf + n : NULL;
		off += n;
		len -= n;
	}
	return err;
}

int blk_remote_do(struct blk_remote *rm, const struct blk_request *r)
{
	uint64_t off = r->offset;
	int err = 0;

	if (r->op == BLK_DISCARD && !rm->disk.discard)
		return 0;
	if (blk_is_zeroes(r->op) && !rm->disk.zeroes)
		return EOPNOTSUPP;
	pthread_mutex_lock(&rm->sync_lock);
	if (r->op == BLK_DISCARD || blk_is_zeroes(r->op))
		err = pieces(rm, r->op, off, NULL, r->bytes, false);
	for (unsigned i = 0; (r->op == BLK_READ || r->op == BLK_WRITE) && i < r->niov && !err; i++) {
		err = pieces(rm, r->op, off, r->iov[i].iov_base, r->iov[i].iov_len, false);
		off += r->iov[i].iov_len;
	}
	if (!err && (r->op == BLK_FLUSH || (r->op != BLK_READ && r->durable)))
		do
			err = attempt(rm, BLK_FLUSH, 0, NULL, 0, false);
		while (err == EAGAIN);
	pthread_mutex_unlock(&rm->sync_lock);
	return err;
}

/* ---- the watcher ---- */

static enum status meet(struct blk_remote *rm, struct vhost_user_disk *disk, struct error *e)
{
	struct vhost_user_region list[VHOST_USER_REGIONS] = {
		{.fd = rm->share_fd, .hva = rm->share, .bytes = SHARE_BYTES}};
	unsigned n = 1;
	enum status st;

	rm->vu = (struct vhost_user){.fd = rm->daemon.sock, .timeout_ms = ANSWER_MS};
	if (rm->ram)
		list[n++] = (struct vhost_user_region){rm->ram->memfd, rm->ram->ram_hva, rm->ram->ram_bytes, 0};
	st = vhost_user_begin(&rm->vu, REMOTE_RINGS, disk, e);
	return st == ST_OK ? vhost_user_memory(&rm->vu, list, n, e) : st;
}

/* Starts a daemon; a failure is told in its own words. */
static enum status start(struct blk_remote *rm, struct vhost_user_disk *disk, struct error *e)
{
	struct error why = {0};
	enum status st = ST_BUSY;

	for (unsigned i = 0; st == ST_BUSY && i < BUSY_TRIES; i++) {
		if (i)
			pause_ms(BUSY_PAUSE_MS);
		st = blk_daemon_start(&rm->daemon, rm->blockdev, rm->readonly, REMOTE_RINGS, e);
		if (st != ST_OK)
			return st;
		st = meet(rm, disk, &why);
		if (st == ST_OK)
			return st;
		blk_daemon_stop(&rm->daemon, 0, NULL);
		if (rm->daemon.said[0])
			st = blk_daemon_status(&rm->daemon);
	}
	if (st == ST_BUSY)
		return error_set(
			e, st,
			"the disk image '%s' is in use by another machine: stop that, or give --snapshot to both",
			rm->name);
	return error_set(e, st, "cannot use the disk image '%s': %s", rm->name,
			 rm->daemon.said[0] ? rm->daemon.said : why.msg);
}

/* No daemon is there, and nobody else uses the rings. */
static enum status replay(struct blk_remote *rm, struct error *e)
{
	for (struct blk_journal_entry *x = rm->journal.first; x; x = x->next)
		if (pieces(rm, x->op, x->offset, x->op == BLK_WRITE ? x->data : NULL, x->bytes, true) != 0)
			return error_set(e, ST_IO, "the disk '%s' does not take what was written before", rm->name);
	return ST_OK;
}

static enum status bring_back(struct blk_remote *rm, struct error *e)
{
	struct vhost_user_disk disk;
	enum status st = start(rm, &disk, e);

	if (st == ST_OK && (disk.bytes != rm->disk.bytes || disk.readonly != rm->disk.readonly))
		st = error_set(e, ST_BAD_FILE, "the disk image '%s' has another size than before", rm->name);
	if (st == ST_OK)
		st = replay(rm, e);
	if (st != ST_OK)
		blk_daemon_stop(&rm->daemon, 0, NULL);
	return st;
}

static void become(struct blk_remote *rm, enum remote_state state)
{
	pthread_mutex_lock(&rm->lock);
	rm->state = state;
	pthread_cond_broadcast(&rm->changed);
	for (unsigned i = 0; i < REMOTE_QUEUES; i++)
		if (rm->ring[i].taken)
			signal_fd(rm->ring[i].wake);
	pthread_mutex_unlock(&rm->lock);
}

static bool wants_end(struct blk_remote *rm)
{
	bool end;

	pthread_mutex_lock(&rm->lock);
	end = rm->end;
	pthread_mutex_unlock(&rm->lock);
	return end;
}

/* The daemon has died, or let go of us. */
static void revive(struct blk_remote *rm)
{
	struct error e = {.msg = "it dies again and again"};
	char how[BLK_DAEMON_TEXT];
	enum status st = ST_IO;
	bool hopeless;

	pthread_mutex_lock(&rm->lock);
	rm->state = REMOTE_DOWN;
	rm->life++;
	hopeless = ++rm->fruitless > FRUITLESS_MAX;
	if (rm->abandoned) {
		hopeless = true;
		error_set(&e, ST_IO, "its storage does not answer");
	}
	if (rm->journal.lost) {
		hopeless = true;
		error_set(&e, ST_IO, "more was written since the last flush than can be written again");
	}
	pthread_mutex_unlock(&rm->lock);
	blk_daemon_stop(&rm->daemon, 0, how);
	say(rm, "disk '%s': its storage daemon %s; requests wait for another one", rm->name, how);
	for (unsigned i = 0, ms = FIRST_PAUSE_MS; !hopeless && st != ST_OK && i < TRIES && !wants_end(rm); i++) {
		if (i)
			pause_ms(ms *= 2);
		pthread_mutex_lock(&rm->lock);
		rm->life++; /* the rings of a daemon that did not get far are no use either */
		pthread_mutex_unlock(&rm->lock);
		st = bring_back(rm, &e);
	}
	if (st == ST_OK)
		say(rm, "disk '%s': another storage daemon goes on", rm->name);
	else
		say(rm, "disk '%s': the guest gets I/O errors from now on: %s", rm->name, e.msg);
	become(rm, st == ST_OK ? REMOTE_UP : REMOTE_DEAD);
}

static void watch(struct blk_remote *rm)
{
	while (!wants_end(rm)) {
		struct pollfd p[] = {
			{.fd = rm->wake_fd, .events = POLLIN},
			{.fd = rm->daemon.pidfd, .events = POLLIN},
			{.fd = rm->daemon.sock, .events = POLLRDHUP},
			{.fd = rm->daemon.said_fd, .events = POLLIN},
		};

		if (poll(p, ARRAY_LEN(p), -1) < 0)
			continue;
		if (p[3].revents & POLLIN && blk_daemon_hear(&rm->daemon))
			say(rm, "disk '%s': %s", rm->name, rm->daemon.said);
		if (p[1].revents || p[2].revents)
			revive(rm);
		else if (p[3].revents & ~POLLIN)
			pause_ms(BUSY_PAUSE_MS); /* nobody holds its other end: it is ending */
	}
}

static void *watcher(void *arg)
{
	struct blk_remote *rm = arg;
	enum status st;

	pthread_setname_np(pthread_self(), "disk-daemon");
	st = start(rm, &rm->disk, &rm->error);
	pthread_mutex_lock(&rm->lock);
	rm->opened = true;
	pthread_mutex_unlock(&rm->lock);
	become(rm, st == ST_OK ? REMOTE_UP : REMOTE_DEAD);
	if (st == ST_OK)
		watch(rm);
	blk_daemon_stop(&rm->daemon, END_MS, NULL);
	return NULL;
}

/* ---- opening and closing ---- */

static enum status make_share(struct blk_remote *rm, struct error *e)
{
	rm->share_fd = memfd_create("steelyard-disk", MFD_CLOEXEC);
	if (rm->share_fd < 0 || ftruncate(rm->share_fd, (off_t)SHARE_BYTES) != 0)
		return error_errno(e, ST_IO, "cannot make the memory of a disk");
	rm->share = mmap(NULL, SHARE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, rm->share_fd, 0);
	if (rm->share == MAP_FAILED) {
		rm->share = NULL;
		return error_errno(e, ST_NO_MEMORY, "cannot map the memory of a disk");
	}
	rm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rm->sync_call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < REMOTE_RINGS; i++)
		rm->ring[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return rm->wake_fd >= 0 && rm->sync_call >= 0 && rm->ring[REMOTE_RINGS - 1].kick >= 0
		       ? ST_OK
		       : error_errno(e, ST_IO, "cannot create an eventfd");
}

static enum status begin_watching(struct blk_remote *rm, struct error *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&rm->watcher, &attr, watcher, rm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err) {
		errno = err;
		return error_errno(e, ST_NO_MEMORY, "cannot start a disk's thread");
	}
	pthread_mutex_lock(&rm->lock);
	while (!rm->opened || rm->state == REMOTE_DOWN)
		pthread_cond_wait(&rm->changed, &rm->lock);
	if (rm->state == REMOTE_DEAD && e)
		*e = rm->error;
	err = rm->state == REMOTE_DEAD;
	pthread_mutex_unlock(&rm->lock);
	if (!err)
		return ST_OK;
	pthread_join(rm->watcher, NULL);
	return rm->error.status;
}

static void release(struct blk_remote *rm)
{
	for (unsigned i = 0; i < REMOTE_RINGS; i++)
		if (rm->ring[i].kick >= 0)
			close(rm->ring[i].kick);
	if (rm->sync_call >= 0)
		close(rm->sync_call);
	if (rm->wake_fd >= 0)
		close(rm->wake_fd);
	if (rm->share)
		munmap(rm->share, SHARE_BYTES);
	if (rm->share_fd >= 0)
		close(rm->share_fd);
	blk_journal_fini(&rm->journal);
	pthread_cond_destroy(&rm->changed);
	pthread_mutex_destroy(&rm->lock);
	pthread_mutex_destroy(&rm->sync_lock);
	free(rm->blockdev);
	free(rm->name);
	free(rm);
}

enum status blk_remote_open(const struct blk_config *cfg, struct blk_remote **out, struct error *e)
{
	struct blk_remote *rm = calloc(1, sizeof(*rm));
	enum status st = ST_OK;

	*out = NULL;
	if (!rm)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	rm->share_fd = rm->wake_fd = rm->sync_call = -1;
	rm->daemon = (struct blk_daemon){.pidfd = -1, .sock = -1, .said_fd = -1};
	for (unsigned i = 0; i < REMOTE_RINGS; i++)
		rm->ring[i].kick = rm->ring[i].call = -1;
	rm->life = 1;
	rm->readonly = cfg->readonly || cfg->snapshot;
	rm->ram = cfg->ram;
	rm->tell = cfg->tell;
	pthread_mutex_init(&rm->sync_lock, NULL);
	pthread_mutex_init(&rm->lock, NULL);
	pthread_cond_init(&rm->changed, NULL);
	blk_journal_init(&rm->journal);
	rm->name = strdup(cfg->file);
	rm->blockdev = rm->name ? blk_daemon_describe(cfg, e) : NULL;
	if (!rm->blockdev)
		st = rm->name && e ? e->status : ST_NO_MEMORY;
	if (st == ST_OK)
		st = make_share(rm, e);
	if (st == ST_OK)
		st = begin_watching(rm, e);
	if (st == ST_OK)
		*out = rm;
	else
		release(rm);
	return st;
}

void blk_remote_close(struct blk_remote *rm)
{
	if (!rm)
		return;
	pthread_mutex_lock(&rm->lock);
	rm->end = true;
	pthread_mutex_unlock(&rm->lock);
	signal_fd(rm->wake_fd);
	pthread_join(rm->watcher, NULL);
	release(rm);
}
