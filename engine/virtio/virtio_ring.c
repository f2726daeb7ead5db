// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Split and packed virtqueues. The driver runs while we read: each word is loaded once with an atomic of its size, each
 * descriptor copied once, and everything is decided on the copy.
 *
 * A chain is at most as long as the ring, indirect descriptors included (2.7.5.3.1), which also ends loops. A descriptor
 * of no bytes is passed over; one that leaves RAM, or a readable one behind a writable one, breaks the ring.
 */
#include "engine/virtio/virtio_ring.h"

#include <string.h>

#define DESC_BYTES 16u
#define F_NEXT 1u
#define F_WRITE 2u
#define F_INDIRECT 4u
#define F_PACKED_AVAIL (1u << 7)
#define F_PACKED_USED (1u << 15)
#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u
#define EVENT_ENABLE 0u
#define EVENT_DISABLE 1u
#define EVENT_DESC 2u
#define EVENT_WRAP 0x8000u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t a, b; /* split: flags, next; packed: id, flags */
};
_Static_assert(sizeof(struct desc) == DESC_BYTES, "a descriptor as the driver writes it");

static uint16_t load16(const void *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}

static void store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}

static void load_desc(struct desc *d, const uint8_t *p)
{
	uint64_t low = __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	uint64_t high = __atomic_load_n((const uint64_t *)(p + 8), __ATOMIC_RELAXED);

	*d = (struct desc){
		.addr = low, .len = (uint32_t)high, .a = (uint16_t)(high >> 32), .b = (uint16_t)(high >> 48)};
}

/* ---- setting up ---- */

static void *area(const struct dma *dma, uint64_t gpa, uint64_t bytes, unsigned align)
{
	return gpa % align ? NULL : dma_at(dma, gpa, bytes);
}

bool vring_init(struct vring *r, const struct dma *dma, const _Atomic bool *master, const struct vring_config *cfg)
{
	uint64_t n = cfg->size;

	*r = (struct vring){.dma = dma, .master = master, .size = cfg->size, .avail_wrap = true, .used_wrap = true};
	r->packed = cfg->features & VIRTIO_F_PACKED;
	r->event_idx = cfg->features & VIRTIO_F_EVENT_IDX;
	r->indirect = cfg->features & VIRTIO_F_INDIRECT;
	r->broken = true;
	if (n == 0 || n > VRING_SIZE_MAX || (!r->packed && (n & (n - 1))))
		return false;
	r->desc = area(dma, cfg->desc, n * DESC_BYTES, 16);
	r->driver = area(dma, cfg->driver, r->packed ? 4 : 6 + 2 * n, r->packed ? 4 : 2);
	r->device = area(dma, cfg->device, r->packed ? 4 : 6 + 8 * n, 4);
	r->broken = !r->desc || !r->driver || !r->device;
	return !r->broken;
}

/* ---- taking ---- */

static bool add_piece(struct vring *r, struct vchain *c, const struct desc *d, bool write)
{
	unsigned n = c->nout + c->nin;
	void *p;

	if (d->len == 0)
		return true;
	p = dma_at(r->dma, d->addr, d->len);
	if (!p || n == VRING_SIZE_MAX || (!write && c->nin))
		return false;
	c->iov[n] = (struct iovec){p, d->len};
	if (write) {
		c->nin++;
		c->in_bytes += d->len;
	} else {
		c->nout++;
		c->out_bytes += d->len;
	}
	return true;
}

/* The table of an indirect descriptor: split tables are linked lists too, packed ones are arrays (2.8.7). */
static bool add_indirect(struct vring *r, struct vchain *c, const struct desc *d, unsigned *budget)
{
	unsigned n = d->len / DESC_BYTES, i = 0;
	const uint8_t *table = dma_at(r->dma, d->addr, d->len);

	if (!r->indirect || !table || d->addr % 8 || d->len == 0 || d->len % DESC_BYTES || n > UINT16_MAX)
		return false;
	for (;;) {
		struct desc e;
		unsigned flags;

		if ((*budget)-- == 0)
			return false;
		load_desc(&e, table + i * DESC_BYTES);
		flags = r->packed ? e.b : e.a;
		if ((flags & F_INDIRECT) || !add_piece(r, c, &e, flags & F_WRITE))
			return false;
		if (r->packed ? i + 1 == n : !(flags & F_NEXT))
			return true;
		i = r->packed ? i + 1 : e.b;
		if (i >= n)
			return false;
	}
}

static bool walk_split(struct vring *r, struct vchain *c)
{
	unsigned i = c->id, budget = r->size;

	for (;;) {
		struct desc d;

		if (i >= r->size || budget == 0)
			return false;
		load_desc(&d, r->desc + i * DESC_BYTES);
		if (d.a & F_INDIRECT)
			return !(d.a & F_NEXT) && add_indirect(r, c, &d, &budget);
		budget--;
		if (!add_piece(r, c, &d, d.a & F_WRITE))
			return false;
		if (!(d.a & F_NEXT))
			return true;
		i = d.b;
	}
}

static enum vring_pop pop_split(struct vring *r, struct vchain *c)
{
	uint16_t waiting = (uint16_t)(load16(r->driver + 2) - r->next_avail);

	if (waiting == 0)
		return VRING_EMPTY;
	if (waiting > r->size)
		return VRING_BROKEN;
	c->id = load16(r->driver + 4 + 2 * (r->next_avail & (r->size - 1)));
	if (!walk_split(r, c))
		return VRING_BROKEN;
	r->next_avail++;
	return VRING_GOT;
}

static bool packed_available(const struct vring *r)
{
	uint16_t flags = load16(r->desc + r->next_avail * DESC_BYTES + 14);

	return !!(flags & F_PACKED_AVAIL) == r->avail_wrap && !!(flags & F_PACKED_USED) != r->avail_wrap;
}

static void packed_advance(const struct vring *r, uint16_t *at, bool *wrap, unsigned n)
{
	*at = (uint16_t)(*at + n);
	if (*at >= r->size) {
		*at = (uint16_t)(*at - r->size);
		*wrap = !*wrap;
	}
}

static enum vring_pop pop_packed(struct vring *r, struct vchain *c)
{
	unsigned i = r->next_avail, budget = r->size;

	if (!packed_available(r))
		return VRING_EMPTY;
	for (;;) {
		struct desc d;

		if (c->slots == r->size || budget == 0)
			return VRING_BROKEN;
		load_desc(&d, r->desc + i * DESC_BYTES);
		c->slots++;
		c->id = d.a;
		if (d.b & F_INDIRECT) {
			if ((d.b & F_NEXT) || !add_indirect(r, c, &d, &budget))
				return VRING_BROKEN;
			break;
		}
		budget--;
		if (!add_piece(r, c, &d, d.b & F_WRITE))
			return VRING_BROKEN;
		if (!(d.b & F_NEXT))
			break;
		i = i + 1 == r->size ? 0 : i + 1;
	}
	packed_advance(r, &r->next_avail, &r->avail_wrap, c->slots);
	return VRING_GOT;
}

enum vring_pop vring_pop(struct vring *r, struct vchain *c)
{
	enum vring_pop got;

	if (r->broken || (r->master && !atomic_load_explicit(r->master, memory_order_relaxed)))
		return VRING_EMPTY;
	c->id = c->slots = c->nout = c->nin = 0;
	c->out_bytes = c->in_bytes = 0;
	got = r->packed ? pop_packed(r, c) : pop_split(r, c);
	r->broken = got == VRING_BROKEN;
	return got;
}

void vring_unpop(struct vring *r, const struct vchain *c)
{
	if (!r->packed) {
		r->next_avail--;
		return;
	}
	if (r->next_avail < c->slots) {
		r->next_avail = (uint16_t)(r->next_avail + r->size);
		r->avail_wrap = !r->avail_wrap;
	}
	r->next_avail = (uint16_t)(r->next_avail - c->slots);
}

/* ---- giving back ---- */

/*
 * Split: entries behind the used index are ours until it moves. Packed: the driver looks at entries in order, so nothing of
 * a batch is visible before the flags of its first entry are, which vring_publish stores.
 */
void vring_fill(struct vring *r, const struct vchain *c, uint32_t written, unsigned index)
{
	uint16_t flags = (uint16_t)((r->used_wrap ? F_PACKED_AVAIL | F_PACKED_USED : 0) | (written ? F_WRITE : 0));
	uint8_t *p;

	if (!r->packed) {
		p = r->device + 4 + 8 * ((uint16_t)(r->next_used + index) & (r->size - 1));
		__atomic_store_n((uint32_t *)p, c->id, __ATOMIC_RELAXED);
		__atomic_store_n((uint32_t *)(p + 4), written, __ATOMIC_RELAXED);
		dma_wrote(r->dma, p, 8);
		return;
	}
	p = r->desc + r->next_used * DESC_BYTES;
	__atomic_store_n((uint32_t *)(p + 8), written, __ATOMIC_RELAXED);
	__atomic_store_n((uint16_t *)(p + 12), c->id, __ATOMIC_RELAXED);
	if (index == 0) {
		r->held = p + 14;
		r->held_flags = flags;
	} else {
		store16(p + 14, flags);
		dma_wrote(r->dma, p + 8, 8);
	}
	packed_advance(r, &r->next_used, &r->used_wrap, c->slots);
	r->added = (uint16_t)(r->added + c->slots);
}

void vring_publish(struct vring *r, unsigned n)
{
	if (n == 0)
		return;
	if (r->packed) {
		store16(r->held, r->held_flags);
		dma_wrote(r->dma, r->held - 6, 8); /* all of it that vring_fill has written */
		return;
	}
	r->next_used = (uint16_t)(r->next_used + n);
	r->added = (uint16_t)(r->added + n);
	store16(r->device + 2, r->next_used);
	dma_wrote(r->dma, r->device + 2, 2);
}

void vring_push(struct vring *r, const struct vchain *c, uint32_t written)
{
	vring_fill(r, c, written, 0);
	vring_publish(r, 1);
}

/* Did `next` pass `event` on its last `added` steps? (2.7.7.1) */
static bool passed_event(uint16_t event, uint16_t next, uint16_t added)
{
	return (uint16_t)(next - event - 1) < added;
}

bool vring_should_signal(struct vring *r)
{
	uint16_t added = r->added, event, flags;

	if (!added || r->broken)
		return false;
	r->added = 0;
	atomic_thread_fence(memory_order_seq_cst); /* the entries are visible before we look at what the driver wants */
	if (!r->packed)
		return r->event_idx ? passed_event(load16(r->driver + 4 + 2 * r->size), r->next_used, added)
				    : !(load16(r->driver) & AVAIL_NO_INTERRUPT);
	flags = load16(r->driver + 2) & 3;
	if (flags != EVENT_DESC || !r->event_idx)
		return flags != EVENT_DISABLE;
	event = load16(r->driver);
	if (!!(event & EVENT_WRAP) != r->used_wrap)
		return passed_event((uint16_t)((event & ~EVENT_WRAP) - r->size), r->next_used, added);
	return passed_event(event & (uint16_t)~EVENT_WRAP, r->next_used, added);
}

bool vring_want_notify(struct vring *r, bool want)
{
	uint8_t *p = r->device;
	unsigned bytes = r->packed ? 4 : 2;

	if (r->broken || (r->master && !atomic_load_explicit(r->master, memory_order_relaxed)))
		return false;
	if (r->packed && want && r->event_idx) {
		store16(p, (uint16_t)(r->next_avail | (r->avail_wrap ? EVENT_WRAP : 0)));
		store16(p + 2, EVENT_DESC);
	} else if (r->packed) {
		store16(p + 2, want ? EVENT_ENABLE : EVENT_DISABLE);
	} else if (!r->event_idx) {
		store16(p, want ? 0 : USED_NO_NOTIFY);
	} else if (want) {
		p += 4 + 8 * r->size;
		store16(p, r->next_avail);
	} else {
		return false;
	}
	dma_wrote(r->dma, p, bytes);
	if (!want)
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	return r->packed ? packed_available(r) : load16(r->driver + 2) != r->next_avail;
}

/* ---- bytes ---- */

static uint64_t copy(const struct iovec *iov, unsigned n, uint64_t off, uint8_t *buf, uint64_t len,
		     const struct dma *dma)
{
	uint64_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		uint64_t part;
		uint8_t *p;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = iov[i].iov_len - off < len - done ? iov[i].iov_len - off : len - done;
		p = (uint8_t *)iov[i].iov_base + off;
		if (dma) {
			memcpy(p, buf + done, part);
			dma_wrote(dma, p, part);
		} else {
			memcpy(buf + done, p, part);
		}
		done += part;
		off = 0;
	}
	return done;
}

uint64_t vchain_read(const struct vchain *c, uint64_t off, void *buf, uint64_t len)
{
	return copy(c->iov, c->nout, off, buf, len, NULL);
}

uint64_t vchain_write(const struct vchain *c, const struct dma *dma, uint64_t off, const void *buf, uint64_t len)
{
	return copy(c->iov + c->nout, c->nin, off, (uint8_t *)buf, len, dma);
}
