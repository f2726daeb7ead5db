/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code pages of a machine: one bit and one generation for each 4 KiB page of RAM. See codemap.h for the protocol.
 *
 * The arrays are anonymous mappings: pages of RAM that never hold code cost nothing.
 */
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "translator/codemap.h"

static void *map_zeroed(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

enum status codemap_create(struct codemap **out, uint64_t span, struct error *e)
{
	struct codemap *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(e, ST_NO_MEMORY, "not enough memory for the map of code pages");
	c->npages = (span + 4095) / 4096;
	c->bits = map_zeroed((c->npages + 63) / 64 * 8);
	c->gen = map_zeroed(c->npages * sizeof(*c->gen));
	if (!c->bits || !c->gen) {
		codemap_free(c);
		return error_errno(e, ST_NO_MEMORY, "cannot map %llu bytes for the map of code pages",
				   (unsigned long long)(c ? span / 4096 * 4 : 0));
	}
	pthread_spin_init(&c->log_lock, PTHREAD_PROCESS_PRIVATE);
	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	*out = c;
	return ST_OK;
}

void codemap_free(struct codemap *c)
{
	if (!c)
		return;
	if (c->bits)
		munmap((void *)c->bits, (c->npages + 63) / 64 * 8);
	if (c->gen)
		munmap((void *)c->gen, c->npages * sizeof(*c->gen));
	free((void *)c->clean);
	free((void *)c->code);
	free(c);
}

void codemap_mark(struct codemap *c, struct vcpu *v, uint64_t page)
{
	uint64_t bit = 1ull << (page & 63);

	if (page >= c->npages)
		return;
	if (atomic_load(&c->log_on) ? codemap_log_mark(c, page) : codemap_test(c, page)) {
		/* by another thread a moment ago, perhaps: the bytes may be looked at when it is through */
		while (atomic_load(&c->marking))
			__builtin_ia32_pause();
		return;
	}
	atomic_fetch_add(&c->marking, 1);
	if (atomic_fetch_or(&c->bits[page >> 6], bit) & bit) {
		atomic_fetch_sub(&c->marking, 1);
		while (atomic_load(&c->marking))
			__builtin_ia32_pause();
		return;
	}
	atomic_fetch_add(&c->epoch, 1);
	/* a store that another thread has made but that still waits in its processor's buffer must be visible to the reader
	 * of the bytes, or its writer must see the mark */
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	if (c->marked)
		c->marked(c->ctx, v, page);
	atomic_fetch_sub(&c->marking, 1);
}

void codemap_clear(struct codemap *c, uint64_t page)
{
	if (page >= c->npages)
		return;
	codemap_log_clear(c, page);
	/* whoever found the mark still there and read bytes under it has them under the old generation */
	atomic_fetch_add(&c->gen[page], 1);
	atomic_fetch_add(&c->epoch, 1);
}

void codemap_written(struct codemap *c, struct vcpu *v, uint64_t off, uint64_t len)
{
	uint64_t first = off >> 12, last = (off + len - 1) >> 12;
	bool any = false, log = atomic_load(&c->log_on);

	for (uint64_t p = first; p <= last && p < c->npages; p++) {
		if (!codemap_test(c, p) || (log && !codemap_log_written(c, p)))
			continue;
		atomic_fetch_add(&c->gen[p], 1);
		any = true;
	}
	if (any)
		atomic_fetch_add(&c->epoch, 1);
	if (any && c->written)
		c->written(c->ctx, v, off, len);
}
