/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that a storage daemon (qemu-storage-daemon) serves: qcow2, VDI, VHDX, VMDK, NBD, iSCSI. The daemon is our child; requests go to
 * it over vhost-user-blk, through rings of our own in memory that both share, with the guest's RAM as a second region: data is not
 * copied, the guest's descriptors never get there, and every front end that has a struct blk_queue works with every format.
 *
 * A thread watches the daemon. When it dies, another one is started, gets what the dead one had not flushed (blk_journal.h), then what
 * was under way; the guest sees requests that take long. When that cannot be done, every request fails from then on.
 */
#ifndef STEELYARD_BLK_REMOTE_H
#define STEELYARD_BLK_REMOTE_H

#include <pthread.h>

#include "engine/block/blk_daemon.h"
#include "engine/block/blk_journal.h"
#include "engine/block/block_int.h"
#include "engine/block/vhost_ring.h"
#include "engine/block/vhost_user.h"

#define REMOTE_QUEUES 16u
#define REMOTE_SYNC REMOTE_QUEUES /* the ring of requests that wait */
#define REMOTE_RINGS (REMOTE_QUEUES + 1)
#define REMOTE_BOUNCE (64u << 10)

enum remote_state { REMOTE_DOWN, REMOTE_UP, REMOTE_DEAD };

struct remote_ring {
	struct vhost_ring ring;
	int kick;
	int call;      /* the eventfd that the daemon has; not ours */
	unsigned life; /* of the daemon that knows it */
	bool taken;
	int wake; /* the eventfd of whoever has taken it */
};

struct blk_remote {
	char *name, *blockdev;
	bool readonly;
	const struct mem *ram;
	struct blk_tell tell;
	int share_fd, wake_fd, sync_call;
	uint8_t *share; /* rings, then the bounce buffer */
	pthread_t watcher;
	struct blk_daemon daemon;  /* the watcher's */
	pthread_mutex_t sync_lock; /* who waits; before `lock` */
	pthread_mutex_t lock;      /* all below; leaf but for `tell` */
	pthread_cond_t changed;
	enum remote_state state;
	bool opened, end;
	bool abandoned; /* it is not to be brought back */
	unsigned life;      /* counts daemons */
	unsigned fruitless; /* of them, that died in a row without having done anything */
	struct vhost_user vu;
	struct vhost_user_disk disk;
	struct remote_ring ring[REMOTE_RINGS];
	struct blk_journal journal;
	struct error error; /* why it is dead */
};

enum status blk_remote_open(const struct blk_config *cfg, struct blk_remote **out, struct error *e);
void blk_remote_close(struct blk_remote *rm);
/* The whole request, now, wherever its buffers are: 0 or an errno. Any thread. */
int blk_remote_do(struct blk_remote *rm, const struct blk_request *r);

/* ---- for a queue, with the lock held ---- */

/* The daemon of this life knows ring n, which is empty when it is new to it (*fresh). false: it does not answer. */
bool blk_remote_attach(struct blk_remote *rm, unsigned n, int call, bool *fresh);
/* A ring that makes no sense any more: the daemon is ended, which the watcher notices. */
void blk_remote_distrust(struct blk_remote *rm);
/* Somebody has to go on, and it does not answer: it is ended, and requests fail from then on. */
void blk_remote_abandon(struct blk_remote *rm);
/* Is [p, p+len) memory that the daemon sees? */
bool blk_remote_sees(const struct blk_remote *rm, const void *p, uint64_t len);

/* ---- a worker's queue ---- */

struct blk_rqueue;
typedef void blk_finish_fn(void *ctx, struct blk_request *r, int err);

struct blk_rqueue *blk_rqueue_new(struct blk_remote *rm, struct worker *w, blk_finish_fn *finish, void *ctx);
void blk_rqueue_free(struct blk_rqueue *q);
void blk_rqueue_submit(struct blk_rqueue *q, struct blk_request *r);
/* Moves what can be moved, both ways; calls finish. */
void blk_rqueue_run(struct blk_rqueue *q);
/* Sleeps until blk_rqueue_run may have something to do. */
void blk_rqueue_wait(struct blk_rqueue *q);

#endif
