/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A storage daemon as a process: started on an image with one end of a socket, watched, ended. It is in a process group of its own, so
 * that Ctrl-C on our terminal is not for it, and it dies with the thread that started it, however that ends.
 *
 * Threads: one at a time; the starting one has to live as long as the daemon.
 */
#ifndef STEELYARD_BLK_DAEMON_H
#define STEELYARD_BLK_DAEMON_H

#include <sys/types.h>

#include "engine/block/block.h"

#define BLK_DAEMON_PROGRAM "qemu-storage-daemon"
#define BLK_DAEMON_TEXT 240u

struct blk_daemon {
	pid_t pid;                  /* 0: none */
	int pidfd;                  /* readable when it has ended */
	int sock;                   /* connected to its vhost-user server */
	int said_fd;                /* what it says, without waiting */
	char said[BLK_DAEMON_TEXT]; /* the last line */
};

/* The --blockdev argument, malloc'd; NULL and *e: what cfg names cannot be a disk. Looks at local files: ST_NOT_FOUND,
 * ST_DENIED, ST_BAD_FILE in our words, and a chain of backing files that never ends. */
char *blk_daemon_describe(const struct blk_config *cfg, struct error *e);
/* blockdev: what blk_daemon_describe gave. Being started is no promise that it stays. */
enum status blk_daemon_start(struct blk_daemon *d, const char *blockdev, bool readonly, unsigned rings,
			     struct error *e);
/* Reads what it has said meanwhile; true: d->said is another line. */
bool blk_daemon_hear(struct blk_daemon *d);
/* Asks it to end, which writes what it holds, and waits grace_ms; then kills it. how: BLK_DAEMON_TEXT bytes, or NULL. */
void blk_daemon_stop(struct blk_daemon *d, unsigned grace_ms, char *how);
/* Another status of an error that the daemon has explained in d->said. */
enum status blk_daemon_status(const struct blk_daemon *d);

#endif
