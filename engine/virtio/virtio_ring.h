/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtqueue's rings, split and packed (virtio 1.2, 2.7 and 2.8): takes the driver's buffers out and gives them back.
 *
 * This is the one place that believes nothing: every index, address, length and flag of the driver's is read once, checked,
 * and only then used. What breaks the rules breaks the ring: vring_pop says so once, the device asks for a reset, and
 * nothing is taken any more. Buffers that were popped before stay valid, for they are pointers into RAM.
 *
 * Threads: one owner, the device's worker.
 */
#ifndef STEELYARD_VIRTIO_RING_H
#define STEELYARD_VIRTIO_RING_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "engine/dma.h"

#define VRING_SIZE_MAX 256u

/* Feature bits of the rings */
#define VIRTIO_F_INDIRECT (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_PACKED (1ull << 34)

struct vring {
	const struct dma *dma;
	const _Atomic bool *master; /* the device may access memory now; NULL: always */
	uint16_t size;
	bool packed, event_idx, indirect, broken;
	uint8_t *desc, *driver, *device; /* host addresses; split: descriptors, available, used */
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap; /* packed */
	uint8_t *held;              /* packed: flags of the first entry that is not published, and their value */
	uint16_t held_flags;
	uint16_t added; /* used entries since the driver was last told, or need not be */
};

/* One buffer: readable pieces first, then writable ones. */
struct vchain {
	uint16_t id, slots; /* slots: of a packed ring */
	uint16_t nout, nin;
	uint64_t out_bytes, in_bytes;
	struct iovec iov[VRING_SIZE_MAX];
};

struct vring_config {
	uint16_t size; /* a power of two for split rings, at most VRING_SIZE_MAX */
	uint64_t desc, driver, device;
	uint64_t features;
};

enum vring_pop { VRING_EMPTY, VRING_GOT, VRING_BROKEN };

/* false: sizes, alignments or addresses are wrong; the ring is then broken. */
bool vring_init(struct vring *r, const struct dma *dma, const _Atomic bool *master, const struct vring_config *cfg);
enum vring_pop vring_pop(struct vring *r, struct vchain *c);
/* Takes the last popped buffer back: the next pop gives it again. */
void vring_unpop(struct vring *r, const struct vchain *c);
/* Gives a buffer back; the driver does not see it before vring_publish. `index`: 0 for the first since then, 1 for the next... */
void vring_fill(struct vring *r, const struct vchain *c, uint32_t written, unsigned index);
void vring_publish(struct vring *r, unsigned n);
/* One buffer: fill and publish. */
void vring_push(struct vring *r, const struct vchain *c, uint32_t written);
/* Does the driver want to hear of what was pushed since the last call? */
bool vring_should_signal(struct vring *r);
/* The driver need not / shall notify. After vring_want_notify(r, true) returns true there is something to pop already. */
bool vring_want_notify(struct vring *r, bool want);

/* Bytes [off, off+len) of the readable (writable) part to (from) buf; returns how many there were. */
uint64_t vchain_read(const struct vchain *c, uint64_t off, void *buf, uint64_t len);
/* Also tells dma. */
uint64_t vchain_write(const struct vchain *c, const struct dma *dma, uint64_t off, const void *buf, uint64_t len);

#endif
