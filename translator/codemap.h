/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which RAM pages hold code that somebody has decoded or translated, machine-wide.
 *
 * Every 4 KiB page of RAM has a generation. Whoever keeps decoded instructions remembers the page's generation; whoever
 * writes to a marked page calls codemap_written, which advances it. Decoded code whose generation is old is stale.
 *
 * Threads: any. Read the generation, then codemap_mark, then the bytes: codemap_clear advances the generation too.
 */
#ifndef STEELYARD_CODEMAP_H
#define STEELYARD_CODEMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

struct vcpu;
struct vm;

struct codemap {
	uint64_t npages;
	_Atomic uint64_t *bits;	 /* 1: page holds code */
	_Atomic uint32_t *gen;
	_Atomic uint32_t epoch;	  /* moves with every change of a bit or a generation */
	_Atomic uint32_t marking; /* threads in codemap_mark whose page is not ready to be read yet */
	/* the translator's invalidation; NULL without one. Called after the generation moved. v: the writer, or NULL */
	void (*written)(void *ctx, struct vcpu *v, uint64_t ram_off, uint64_t len);
	/* called when a page becomes a code page, before its bytes are read: forget write windows to it */
	void (*marked)(void *ctx, struct vcpu *v, uint64_t page);
	void *ctx;
};

/* All offsets are RAM offsets (mem_ram_offset), pages are offset >> 12. */
static inline bool codemap_test(const struct codemap *c, uint64_t page)
{
	return (atomic_load_explicit(&c->bits[page >> 6], memory_order_relaxed) >> (page & 63)) & 1;
}
static inline uint32_t codemap_gen(const struct codemap *c, uint64_t page)
{
	return atomic_load_explicit(&c->gen[page], memory_order_acquire);
}
enum status codemap_create(struct codemap **out, uint64_t span, struct error *e);
void codemap_free(struct codemap *c);
void codemap_mark(struct codemap *c, struct vcpu *v, uint64_t page);
void codemap_clear(struct codemap *c, uint64_t page);
/* Guest or device bytes [off, off+len) were written and at least one page of them was marked. */
void codemap_written(struct codemap *c, struct vcpu *v, uint64_t off, uint64_t len);

#endif
