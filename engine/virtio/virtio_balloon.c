// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that the guest gives, into the balloon or by a report, become a hole in the memfd: the host has them back, and the
 * guest reads zeroes until it writes again. A page that holds decoded code loses it, as with any other write.
 *
 * Queues: 0 inflate, 1 deflate, 2 reports. (The standard counts queues that are not there too; drivers do not, and 2 is
 * the third that there is.)
 *
 * A buffer can name the same memory hundreds of times, and each page costs a system call. So of one list so much is read and no
 * more (drivers give at most a page of it), and one buffer is done at a time: whoever stops the device waits for that.
 */
#include "engine/virtio/virtio_balloon.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker.h"

#define ID_BALLOON 5u
#define CLASS_OTHER 0x00ff00u
#define SIZE 128u
#define PAGE 4096ull
#define F_MUST_TELL_HOST (1ull << 0)
#define F_DEFLATE_ON_OOM (1ull << 2)
#define F_REPORTING (1ull << 5)
#define BATCH 256u
#define LIST_BYTES 65536u

enum { INFLATE, DEFLATE, REPORT, QUEUES };

struct config {
	_Atomic uint32_t asked, given;
	uint32_t free_page_command, poison;
};

struct virtio_balloon {
	struct virtio v;
	struct worker *worker;
	struct config config;
	struct vchain chain;
};

/* [gpa, gpa+len): whole pages of RAM inside it go back to the host. */
static void give_back(struct virtio_balloon *d, uint64_t gpa, uint64_t len)
{
	const struct mem *mem = d->v.dma->mem;
	uint64_t from = (gpa + PAGE - 1) & ~(PAGE - 1), to = (gpa + len) & ~(PAGE - 1);
	void *hva;

	if (from < gpa || gpa + len < gpa || to <= from || !(hva = dma_at(d->v.dma, from, to - from)))
		return;
	/* Where the host cannot, nothing is lost but the saving. */
	if (fallocate(mem->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)mem_ram_offset(mem, from),
		      (off_t)(to - from)) == 0)
		dma_wrote(d->v.dma, hva, to - from);
}

/* A list of page numbers; neighbours go together. */
static void inflate(struct virtio_balloon *d)
{
	uint32_t pfn[BATCH];
	uint64_t off = 0, bytes, start = 0, n = 0;

	while (off < LIST_BYTES && (bytes = vchain_read(&d->chain, off, pfn, sizeof(pfn))) >= sizeof(*pfn)) {
		for (unsigned i = 0; i < bytes / sizeof(*pfn); i++) {
			if (n && pfn[i] == start + n) {
				n++;
				continue;
			}
			give_back(d, start * PAGE, n * PAGE);
			start = pfn[i];
			n = 1;
		}
		off += bytes;
	}
	give_back(d, start * PAGE, n * PAGE);
}

static void report(struct virtio_balloon *d)
{
	const struct mem *mem = d->v.dma->mem;

	for (unsigned i = 0; i < d->chain.nin; i++) {
		const struct iovec *v = &d->chain.iov[d->chain.nout + i];
		uint64_t off = (uint64_t)((uint8_t *)v->iov_base - mem->ram_hva);

		give_back(d, mem_ram_gpa(mem, off), v->iov_len);
	}
}

static bool serve(struct virtio_balloon *d, unsigned q)
{
	struct vring *ring = &d->v.queue[q].ring;
	enum vring_pop got;

	vring_want_notify(ring, false);
	got = vring_pop(ring, &d->chain);
	if (got == VRING_GOT) {
		if (q == INFLATE)
			inflate(d);
		else if (q == REPORT)
			report(d);
		vring_push(ring, &d->chain, 0);
	}
	if (got == VRING_BROKEN)
		virtio_fail(&d->v);
	virtio_signal(&d->v, q);
	return vring_want_notify(ring, true);
}

static bool balloon_run(void *ctx, const struct pollfd *p, unsigned n)
{
	bool more = false;

	(void)p, (void)n;
	for (unsigned q = 0; q < QUEUES; q++)
		more |= serve(ctx, q);
	return more;
}

static const struct worker_ops balloon_worker_ops = {.run = balloon_run};

static void balloon_config_read(void *dev, unsigned off, uint8_t *buf, unsigned len)
{
	struct virtio_balloon *d = dev;
	uint32_t c[4] = {atomic_load(&d->config.asked), atomic_load(&d->config.given), 0, 0};

	virtio_config_copy(c, sizeof(c), off, buf, len);
}

static void balloon_config_write(void *dev, unsigned off, const uint8_t *buf, unsigned len)
{
	struct virtio_balloon *d = dev;
	uint32_t given;

	if (off != 4 || len != 4)
		return;
	memcpy(&given, buf, sizeof(given));
	atomic_store(&d->config.given, given);
}

static void balloon_start(void *dev)
{
	worker_start(((struct virtio_balloon *)dev)->worker);
}

static void balloon_stop(void *dev)
{
	worker_stop(((struct virtio_balloon *)dev)->worker);
}

static void balloon_notify(void *dev, unsigned q)
{
	(void)q;
	worker_kick(((struct virtio_balloon *)dev)->worker);
}

static int balloon_doorbell(void *dev, unsigned q)
{
	(void)q;
	return worker_eventfd(((struct virtio_balloon *)dev)->worker);
}

static void balloon_free(void *dev)
{
	struct virtio_balloon *d = dev;

	worker_free(d->worker);
	free(d);
}

static const struct virtio_ops balloon_ops = {
	.name = "virtio-balloon",
	.id = ID_BALLOON,
	.class = CLASS_OTHER,
	.old_device = 0x1002u,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.start = balloon_start,
	.stop = balloon_stop,
	.notify = balloon_notify,
	.doorbell = balloon_doorbell,
	.free = balloon_free,
};

struct virtio *virtio_balloon_new(const struct dma *dma, struct error *e)
{
	struct virtio_balloon *d = calloc(1, sizeof(*d));

	if (!d) {
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->worker = worker_new("balloon", &balloon_worker_ops, d, e);
	if (!d->worker) {
		free(d);
		return NULL;
	}
	virtio_init(&d->v, &balloon_ops, d, dma, F_MUST_TELL_HOST | F_DEFLATE_ON_OOM | F_REPORTING, QUEUES, SIZE);
	return &d->v;
}

void virtio_balloon_ask(struct virtio *v, uint32_t pages)
{
	struct virtio_balloon *d = v->dev;

	atomic_store(&d->config.asked, pages);
	virtio_config_changed(v);
}

uint32_t virtio_balloon_given(struct virtio *v)
{
	return atomic_load(&((struct virtio_balloon *)v->dev)->config.given);
}
