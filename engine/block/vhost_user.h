/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The asking side of vhost-user ("Vhost-user Protocol", QEMU's docs/interop/vhost-user.rst): negotiates with a process that
 * serves a disk, gives it the memory that it may reach, and starts its rings. Everything is asked with a reply, so an error is known
 * where it happens. The answers are checked as a stranger's: length, kind and values, and none is waited for longer than timeout_ms.
 *
 * Threads: one at a time.
 */
#ifndef STEELYARD_VHOST_USER_H
#define STEELYARD_VHOST_USER_H

#include "engine/status.h"

#define VHOST_USER_REGIONS 2u

struct vhost_user {
	int fd; /* a connected socket, the caller's */
	int timeout_ms;
};

/* Memory as the other side shall see it: addresses in requests and rings are our own. */
struct vhost_user_region {
	int fd;
	void *hva;
	uint64_t bytes, offset;
};

/* What it says of the disk; checked: capacity fits 63 bits of bytes, the block is a power of two from 512 to 65536. */
struct vhost_user_disk {
	uint64_t bytes;
	unsigned block;
	unsigned discard_sectors, zeroes_sectors; /* the most in one request, at least 1 */
	bool readonly, flush, discard, zeroes;
};

struct vhost_user_ring {
	unsigned index, size;
	const void *desc, *avail, *used;
	int kick, call;
};

/* ST_IO: no answer, or the connection is closed; ST_BAD_FILE: an answer that makes no sense; ST_UNSUPPORTED: fewer than
 * `rings` rings, or no virtio 1. */
enum status vhost_user_begin(struct vhost_user *v, unsigned rings, struct vhost_user_disk *disk, struct error *e);
enum status vhost_user_memory(struct vhost_user *v, const struct vhost_user_region *list, unsigned n, struct error *e);
/* Starts a ring whose indices are 0. */
enum status vhost_user_ring_start(struct vhost_user *v, const struct vhost_user_ring *r, struct error *e);
/* Another eventfd for a ring that runs. */
enum status vhost_user_ring_call(struct vhost_user *v, unsigned index, int call, struct error *e);

#endif
