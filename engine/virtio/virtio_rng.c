// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random bytes from the host's kernel. A buffer gets at most so many bytes at a time: a driver that wants more gives
 * another, and no guest keeps the worker busy for long with one request.
 */
#include "engine/virtio/virtio_rng.h"

#include <stdlib.h>
#include <sys/random.h>

#include "engine/worker.h"

#define ID_ENTROPY 4u
#define CLASS_OTHER 0x00ff00u
#define SIZE 64u
#define BYTES_MAX 256u

struct virtio_rng {
	struct virtio v;
	struct worker *worker;
	struct vchain chain;
};

static bool rng_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct virtio_rng *d = ctx;
	struct vring *ring = &d->v.queue[0].ring;
	uint8_t buf[BYTES_MAX];
	enum vring_pop got = VRING_EMPTY;

	(void)p, (void)n;
	vring_want_notify(ring, false);
	for (unsigned i = 0; i < SIZE && (got = vring_pop(ring, &d->chain)) == VRING_GOT; i++) {
		/* Up to 256 bytes come whole (getrandom(2)). */
		uint32_t bytes = d->chain.in_bytes < sizeof(buf) ? (uint32_t)d->chain.in_bytes : (uint32_t)sizeof(buf);
		ssize_t have = getrandom(buf, bytes, 0);

		bytes = have > 0 ? (uint32_t)vchain_write(&d->chain, d->v.dma, 0, buf, (uint64_t)have) : 0;
		vring_push(ring, &d->chain, bytes);
	}
	if (got == VRING_BROKEN)
		virtio_fail(&d->v);
	virtio_signal(&d->v, 0);
	return vring_want_notify(ring, true);
}

static const struct worker_ops rng_worker_ops = {.run = rng_run};

static void rng_start(void *dev)
{
	worker_start(((struct virtio_rng *)dev)->worker);
}

static void rng_stop(void *dev)
{
	worker_stop(((struct virtio_rng *)dev)->worker);
}

static void rng_notify(void *dev, unsigned q)
{
	(void)q;
	worker_kick(((struct virtio_rng *)dev)->worker);
}

static int rng_doorbell(void *dev, unsigned q)
{
	(void)q;
	return worker_eventfd(((struct virtio_rng *)dev)->worker);
}

static void rng_free(void *dev)
{
	struct virtio_rng *d = dev;

	worker_free(d->worker);
	free(d);
}

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.id = ID_ENTROPY,
	.class = CLASS_OTHER,
	.old_device = 0x1005u,
	.start = rng_start,
	.stop = rng_stop,
	.notify = rng_notify,
	.doorbell = rng_doorbell,
	.free = rng_free,
};

struct virtio *virtio_rng_new(const struct dma *dma, struct error *e)
{
	struct virtio_rng *d = calloc(1, sizeof(*d));

	if (!d) {
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->worker = worker_new("rng", &rng_worker_ops, d, e);
	if (!d->worker) {
		free(d);
		return NULL;
	}
	virtio_init(&d->v, &rng_ops, d, dma, 0, 1, SIZE);
	return &d->v;
}
