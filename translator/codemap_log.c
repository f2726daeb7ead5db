/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages have been stored to, for the paths that decode.
 *
 * They have all it takes: no store to a marked page of the codemap goes unnoticed, and no window lets generated code write to
 * one. So the log marks every page. The first store to a page comes here through codemap_written, the page is clean no
 * more, and if it holds no code its mark goes, so that the next stores to it run at full speed. Meanwhile the map of
 * what holds code is kept apart; when the log ends the marks are that map again.
 *
 * A page that becomes a code page while it is marked as clean needs no closing of windows: there is none that could be
 * written through. Against the store that takes its mark away at the same moment: the lock.
 */
#include <stdlib.h>

#include "engine/vm.h"
#include "translator/codemap.h"

static uint64_t words(const struct codemap *c)
{
	return (c->npages + 63) / 64;
}

/* All of RAM is clean and marked. log_lock held. */
static void arm(struct codemap *c, uint64_t ram_pages)
{
	for (uint64_t w = 0; w < (ram_pages + 63) / 64; w++) {
		uint64_t all = ram_pages - w * 64 >= 64 ? ~0ull : (1ull << (ram_pages & 63)) - 1;

		atomic_store(&c->clean[w], all);
		atomic_fetch_or(&c->bits[w], all);
	}
	atomic_fetch_add(&c->epoch, 1);
}

enum status codemap_log_start(struct codemap *c, uint64_t ram_pages, struct error *e)
{
	if (!c->clean)
		c->clean = calloc(words(c), sizeof(*c->clean));
	if (!c->code)
		c->code = calloc(words(c), sizeof(*c->code));
	if (!c->clean || !c->code)
		return error_set(e, ST_NO_MEMORY, "not enough memory for the log of written pages");
	pthread_spin_lock(&c->log_lock);
	for (uint64_t w = 0; w < words(c); w++)
		atomic_store(&c->code[w], atomic_load(&c->bits[w]));
	atomic_store(&c->log_on, true);
	arm(c, ram_pages);
	pthread_spin_unlock(&c->log_lock);
	if (c->marked_all)
		c->marked_all(c->ctx);
	return ST_OK;
}

void codemap_log_fetch(struct codemap *c, uint64_t ram_pages, _Atomic uint64_t *bits)
{
	pthread_spin_lock(&c->log_lock);
	for (uint64_t w = 0; w < (ram_pages + 63) / 64; w++) {
		uint64_t all = ram_pages - w * 64 >= 64 ? ~0ull : (1ull << (ram_pages & 63)) - 1;

		atomic_fetch_or(&bits[w], all & ~atomic_load(&c->clean[w]));
	}
	arm(c, ram_pages);
	pthread_spin_unlock(&c->log_lock);
	if (c->marked_all)
		c->marked_all(c->ctx);
}

void codemap_log_stop(struct codemap *c)
{
	pthread_spin_lock(&c->log_lock);
	if (atomic_exchange(&c->log_on, false))
		for (uint64_t w = 0; w < words(c); w++)
			atomic_store(&c->bits[w], atomic_load(&c->code[w]));
	pthread_spin_unlock(&c->log_lock);
}

bool codemap_log_mark(struct codemap *c, uint64_t page)
{
	bool was;

	pthread_spin_lock(&c->log_lock);
	atomic_fetch_or(&c->code[page >> 6], 1ull << (page & 63));
	was = codemap_test(c, page);
	pthread_spin_unlock(&c->log_lock);
	return was;
}

void codemap_log_clear(struct codemap *c, uint64_t page)
{
	uint64_t bit = 1ull << (page & 63);

	pthread_spin_lock(&c->log_lock);
	if (atomic_load(&c->log_on))
		atomic_fetch_and(&c->code[page >> 6], ~bit);
	if (!atomic_load(&c->log_on) || !(atomic_load(&c->clean[page >> 6]) & bit))
		atomic_fetch_and(&c->bits[page >> 6], ~bit);
	pthread_spin_unlock(&c->log_lock);
}

bool codemap_log_written(struct codemap *c, uint64_t page)
{
	uint64_t bit = 1ull << (page & 63);
	bool code = true;

	pthread_spin_lock(&c->log_lock);
	if (atomic_load(&c->log_on))
		code = atomic_load(&c->code[page >> 6]) & bit;
	if (atomic_load(&c->log_on) && (atomic_fetch_and(&c->clean[page >> 6], ~bit) & bit) && !code)
		atomic_fetch_and(&c->bits[page >> 6], ~bit);
	pthread_spin_unlock(&c->log_lock);
	return code;
}

/* ---- the paths' three operations ---- */

enum status codemap_dirty_start(struct vm *vm, struct error *e)
{
	return codemap_log_start(vm->codemap, vm->mem.ram_bytes >> PAGE_SHIFT_4K, e);
}

enum status codemap_dirty_fetch(struct vm *vm, _Atomic uint64_t *bits, struct error *e)
{
	if (!atomic_load(&vm->codemap->log_on))
		return error_set(e, ST_INVALID, "the log of written pages did not start");
	codemap_log_fetch(vm->codemap, vm->mem.ram_bytes >> PAGE_SHIFT_4K, bits);
	return ST_OK;
}

void codemap_dirty_stop(struct vm *vm)
{
	codemap_log_stop(vm->codemap);
}
