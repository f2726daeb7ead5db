// SPDX-License-Identifier: GPL-2.0-or-later
/* The layout of the area: descriptors, available ring, used ring, then the slots. */
#include "engine/block/vhost_ring.h"

#include <string.h>

#include "engine/block/blk_wire.h"

#define AVAIL_AT 4096u
#define USED_AT 8192u
#define SLOTS_AT 12288u

#define INDIRECT 4u
#define NEXT 1u
#define WRITE 2u
#define STATUS_NONE 0xffu

struct descriptor {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct available {
	uint16_t flags, idx;
	uint16_t slot[VHOST_RING_SLOTS];
};

struct used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} entry[VHOST_RING_SLOTS];
};

struct slot {
	struct blk_wire_header header;
	struct blk_wire_range range;
	uint8_t status, padding[15];
	struct descriptor table[VHOST_RING_SEGMENTS + 2];
};

_Static_assert(SLOTS_AT + VHOST_RING_SLOTS * sizeof(struct slot) <= VHOST_RING_BYTES, "the area holds all slots");

static struct descriptor *descriptors(const struct vhost_ring *r)
{
	return (struct descriptor *)r->area;
}

static struct available *available(const struct vhost_ring *r)
{
	return (struct available *)(r->area + AVAIL_AT);
}

static struct used *used(const struct vhost_ring *r)
{
	return (struct used *)(r->area + USED_AT);
}

static struct slot *slot_at(const struct vhost_ring *r, unsigned n)
{
	return (struct slot *)(r->area + SLOTS_AT) + n;
}

void vhost_ring_init(struct vhost_ring *r, uint8_t *area)
{
	*r = (struct vhost_ring){.area = area};
	memset(area, 0, SLOTS_AT);
}

const void *vhost_ring_desc(const struct vhost_ring *r)
{
	return descriptors(r);
}

const void *vhost_ring_avail(const struct vhost_ring *r)
{
	return available(r);
}

const void *vhost_ring_used(const struct vhost_ring *r)
{
	return used(r);
}

static void add(struct slot *s, unsigned *n, const void *at, uint64_t len, unsigned flags)
{
	s->table[*n] = (struct descriptor){(uintptr_t)at, (uint32_t)len, (uint16_t)flags, (uint16_t)(*n + 1)};
	++*n;
}

void vhost_ring_put(struct vhost_ring *r, unsigned n, const struct vhost_ring_request *rq)
{
	struct slot *s = slot_at(r, n);
	unsigned count = 0;

	BUG_ON(n >= VHOST_RING_SLOTS || r->out[n] || rq->niov > VHOST_RING_SEGMENTS);
	s->header.type = rq->type;
	s->header.reserved = 0;
	s->header.sector = rq->sector;
	s->status = STATUS_NONE;
	add(s, &count, &s->header, sizeof(s->header), NEXT);
	if (rq->type == BLK_T_DISCARD || rq->type == BLK_T_WRITE_ZEROES) {
		s->header.sector = 0;
		s->range.sector = rq->sector;
		s->range.sectors = rq->sectors;
		s->range.flags = rq->type == BLK_T_WRITE_ZEROES && !rq->keep ? BLK_RANGE_UNMAP : 0;
		add(s, &count, &s->range, sizeof(s->range), NEXT);
	}
	for (unsigned i = 0; i < rq->niov; i++)
		add(s, &count, rq->iov[i].iov_base, rq->iov[i].iov_len, NEXT | (rq->type == BLK_T_IN ? WRITE : 0));
	add(s, &count, &s->status, 1, WRITE);
	descriptors(r)[n] =
		(struct descriptor){(uintptr_t)s->table, count * (uint32_t)sizeof(s->table[0]), INDIRECT, 0};
	r->out[n] = true;
	available(r)->slot[r->next_avail++ % VHOST_RING_SLOTS] = (uint16_t)n;
	__atomic_store_n(&available(r)->idx, r->next_avail, __ATOMIC_RELEASE);
}

int vhost_ring_take(struct vhost_ring *r, bool *ok)
{
	uint16_t idx = __atomic_load_n(&used(r)->idx, __ATOMIC_ACQUIRE);
	uint32_t id;

	if (r->broken || idx == r->next_used)
		return -1;
	id = __atomic_load_n(&used(r)->entry[r->next_used % VHOST_RING_SLOTS].id, __ATOMIC_RELAXED);
	if ((uint16_t)(idx - r->next_used) > VHOST_RING_SLOTS || id >= VHOST_RING_SLOTS || !r->out[id]) {
		r->broken = true;
		return -1;
	}
	r->next_used++;
	r->out[id] = false;
	*ok = __atomic_load_n(&slot_at(r, id)->status, __ATOMIC_RELAXED) == 0;
	return (int)id;
}
