/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which RAM pages hold code that somebody has decoded or translated, machine-wide.
 *
 * Every 4 KiB page of RAM has a generation. Whoever keeps decoded instructions remembers the page's generation; whoever
 * writes to a marked page calls codemap_written, which advances it. Decoded code whose generation is old is stale.
 *
 * The log of written pages (engine/dirty.h) uses the same bits: while it is on, a clean page is marked whether it holds code
 * or not, so its first store is noticed wherever a store to a code page is. codemap_log.c.
 *
 * Threads: any. Read the generation, then codemap_mark, then the bytes: codemap_clear advances the generation too.
 */
#ifndef STEELYARD_CODEMAP_H
#define STEELYARD_CODEMAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

struct vcpu;
struct vm;

struct codemap {
	uint64_t npages;
	_Atomic uint64_t *bits;	 /* 1: somebody wants to know of stores: the page holds code, or is clean in the log */
	_Atomic uint32_t *gen;
	_Atomic uint32_t epoch;	  /* moves with every change of a bit or a generation */
	_Atomic uint32_t marking; /* threads in codemap_mark whose page is not ready to be read yet */
	/* the translator's invalidation; NULL without one. Called after the generation moved. v: the writer, or NULL */
	void (*written)(void *ctx, struct vcpu *v, uint64_t ram_off, uint64_t len);
	/* called when a page becomes a code page, before its bytes are read: forget write windows to it */
	void (*marked)(void *ctx, struct vcpu *v, uint64_t page);
	/* every page is marked now: forget all write windows. No vCPU runs */
	void (*marked_all)(void *ctx);
	void *ctx;
	/* The log. A device's thread may come at any time, also when no vCPU runs: the lock guards log_on, clean, code, and
	 * bits that are cleared. The arrays are made by the first log and stay */
	_Atomic bool log_on;
	pthread_spinlock_t log_lock;
	_Atomic uint64_t *clean; /* 1: not stored to */
	_Atomic uint64_t *code;	 /* 1: page holds code */
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

/* codemap_log.c. RAM is pages [0, ram_pages). These three: no vCPU runs. */
enum status codemap_log_start(struct codemap *c, uint64_t ram_pages, struct error *e);
void codemap_log_fetch(struct codemap *c, uint64_t ram_pages, _Atomic uint64_t *bits);
void codemap_log_stop(struct codemap *c);
/* While the log is on: the page is to hold code; was it marked already? On or off: it holds none any more. A marked page has
 * been stored to: may it hold code? */
bool codemap_log_mark(struct codemap *c, uint64_t page);
void codemap_log_clear(struct codemap *c, uint64_t page);
bool codemap_log_written(struct codemap *c, uint64_t page);
/* exec.h's dirty_start, dirty_fetch, dirty_stop of the paths that share the map. */
enum status codemap_dirty_start(struct vm *vm, struct error *e);
enum status codemap_dirty_fetch(struct vm *vm, _Atomic uint64_t *bits, struct error *e);
void codemap_dirty_stop(struct vm *vm);

#endif
