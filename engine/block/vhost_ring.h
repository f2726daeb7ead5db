/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's side of a split ring (virtio 1.2, 2.7) of disk requests, in memory that the device shares. A request is a slot: one
 * descriptor that points to a table of the slot's own, a header, a status. Requests go in by slot and come back by slot.
 *
 * The device is another process: an index or a slot that cannot be breaks the ring, and nothing else.
 *
 * Threads: one at a time.
 */
#ifndef STEELYARD_VHOST_RING_H
#define STEELYARD_VHOST_RING_H

#include <sys/uio.h>

#include "engine/status.h"

#define VHOST_RING_SLOTS 256u
#define VHOST_RING_SEGMENTS 256u
#define VHOST_RING_BYTES (320u << 12) /* of shared memory; what is not used is never touched */

struct vhost_ring {
	uint8_t *area; /* VHOST_RING_BYTES, page-aligned */
	uint16_t next_avail, next_used;
	bool broken;
	bool out[VHOST_RING_SLOTS]; /* with the device */
};

/* What a slot is to do. iov: in shared memory; BLK_T_IN and BLK_T_OUT. sectors: of a discard. */
struct vhost_ring_request {
	uint32_t type; /* BLK_T_ of blk_wire.h */
	uint64_t sector;
	const struct iovec *iov;
	unsigned niov;
	uint32_t sectors;
	bool keep; /* of BLK_T_WRITE_ZEROES: the space is not given back */
};

/* Empty, indices 0. */
void vhost_ring_init(struct vhost_ring *r, uint8_t *area);
const void *vhost_ring_desc(const struct vhost_ring *r);
const void *vhost_ring_avail(const struct vhost_ring *r);
const void *vhost_ring_used(const struct vhost_ring *r);
/* The slot is free. The device sees it at once, and is to be kicked. */
void vhost_ring_put(struct vhost_ring *r, unsigned slot, const struct vhost_ring_request *rq);
/* The next slot that has come back, -1: none. *ok: the device says that it is done. */
int vhost_ring_take(struct vhost_ring *r, bool *ok);

#endif
