/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's side of the log of written pages (dirty.h).
 *
 * Each class of paths notices stores in its own way: KVM write-protects pages or has the processor log them, the paths that
 * decode send the first store to a page through C (translator/codemap_log.c). What they have noticed is fetched when somebody
 * collects and when the vCPUs change to the other class, with the guest standing still; stores by devices are put in here
 * directly. All of it comes together in one bitmap, the machine's.
 *
 * A source that fails is not an error to the user of the log: all pages are then reported, which is true enough.
 */
#include "engine/dirty.h"

#include <stdlib.h>

#include "engine/switch.h"
#include "engine/vm.h"

struct dirty {
	pthread_mutex_t
		lock; /* one user; and no vCPU ends, no machine begins meanwhile. Before the world's and the device lock */
	_Atomic bool on;  /* written with the guest standing still */
	_Atomic bool all; /* the source does not know */
	_Atomic uint64_t *
		bits; /* made by the first start, and there for good: a device may mark while the log goes off. Any thread */
};

enum status dirty_init(struct vm *vm, struct error *e)
{
	vm->dirty = calloc(1, sizeof(*vm->dirty));
	if (!vm->dirty)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	pthread_mutex_init(&vm->dirty->lock, NULL);
	return ST_OK;
}

void dirty_fini(struct vm *vm)
{
	if (!vm->dirty)
		return;
	pthread_mutex_destroy(&vm->dirty->lock);
	free((void *)vm->dirty->bits);
	free(vm->dirty);
	vm->dirty = NULL;
}

void dirty_lock(struct vm *vm)
{
	pthread_mutex_lock(&vm->dirty->lock);
}

void dirty_unlock(struct vm *vm)
{
	pthread_mutex_unlock(&vm->dirty->lock);
}

uint64_t vm_dirty_words(const struct vm *vm)
{
	return ((vm->mem.ram_bytes >> PAGE_SHIFT_4K) + 63) / 64;
}

bool vm_dirty_on(const struct vm *vm)
{
	return vm->dirty && atomic_load(&vm->dirty->on);
}

void dirty_mark(struct vm *vm, uint64_t gpa, uint64_t len)
{
	uint64_t off = mem_ram_offset(&vm->mem, gpa), last;

	if (!vm_dirty_on(vm) || off == UINT64_MAX || !len)
		return;
	last = (len > vm->mem.ram_bytes - off ? vm->mem.ram_bytes : off + len) - 1;
	for (uint64_t p = off >> PAGE_SHIFT_4K; p <= last >> PAGE_SHIFT_4K; p++)
		atomic_fetch_or(&vm->dirty->bits[p / 64], 1ull << (p & 63));
}

/* The path that speaks for its class, or NULL. */
static const struct exec_ops *source(const struct vm *vm, bool whole)
{
	for (unsigned p = 0; p < PATH_COUNT; p++)
		if ((vm->paths_begun & 1u << p) && vm->paths[p]->whole_machine == whole && vm->paths[p]->dirty_start)
			return vm->paths[p];
	return NULL;
}

static void fetch(struct vm *vm, bool whole)
{
	const struct exec_ops *ops = source(vm, whole);
	struct error e = {0};

	if (!ops || ops->dirty_fetch(vm, vm->dirty->bits, &e) != ST_OK)
		atomic_store(&vm->dirty->all, true);
}

static void begin(struct vm *vm, bool whole)
{
	const struct exec_ops *ops = source(vm, whole);
	struct error e = {0};

	if (!ops || ops->dirty_start(vm, &e) != ST_OK)
		atomic_store(&vm->dirty->all, true);
}

static void end(struct vm *vm, bool whole)
{
	const struct exec_ops *ops = source(vm, whole);

	if (ops)
		ops->dirty_stop(vm);
}

void dirty_world_leave(struct vm *vm, bool whole)
{
	if (!vm_dirty_on(vm))
		return;
	fetch(vm, whole);
	end(vm, whole);
}

void dirty_world_enter(struct vm *vm, bool whole)
{
	if (vm_dirty_on(vm))
		begin(vm, whole);
}

static enum status log_start(struct vm *vm, struct error *e)
{
	struct dirty *d = vm->dirty;
	enum status st;

	if (vm_dirty_on(vm))
		return error_set(e, ST_BUSY, "the log of written pages is on already");
	if ((st = vm_pause(vm, e)) != ST_OK)
		return st;
	if (!d->bits)
		d->bits = calloc(vm_dirty_words(vm), sizeof(*d->bits));
	if (d->bits) {
		for (uint64_t w = 0; w < vm_dirty_words(vm); w++)
			atomic_store(&d->bits[w], 0);
		atomic_store(&d->all, false);
		atomic_store(&d->on, true);
		begin(vm, switch_class(vm));
	} else {
		st = error_set(e, ST_NO_MEMORY, "not enough memory for the log of written pages");
	}
	vm_resume(vm);
	return st;
}

static enum status log_collect(struct vm *vm, uint64_t *bits, uint64_t *pages, struct error *e)
{
	uint64_t n = 0, npages = vm->mem.ram_bytes >> PAGE_SHIFT_4K;
	struct dirty *d = vm->dirty;
	enum status st;
	bool all;

	if (!vm_dirty_on(vm))
		return error_set(e, ST_INVALID, "the log of written pages is off");
	if ((st = vm_pause(vm, e)) != ST_OK)
		return st;
	fetch(vm, switch_class(vm));
	all = atomic_exchange(&d->all, false);
	for (uint64_t w = 0; w < vm_dirty_words(vm); w++) {
		bits[w] = atomic_exchange(&d->bits[w], 0);
		if (all)
			bits[w] = npages - w * 64 >= 64 ? ~0ull : (1ull << (npages & 63)) - 1;
		n += (uint64_t)__builtin_popcountll(bits[w]);
	}
	if (all) { /* it gets another chance */
		end(vm, switch_class(vm));
		begin(vm, switch_class(vm));
	}
	vm_resume(vm);
	*pages = n;
	return ST_OK;
}

static enum status log_stop(struct vm *vm, struct error *e)
{
	enum status st;

	if (!vm_dirty_on(vm))
		return ST_OK;
	if ((st = vm_pause(vm, e)) != ST_OK)
		return st;
	end(vm, switch_class(vm));
	atomic_store(&vm->dirty->on, false);
	vm_resume(vm);
	return ST_OK;
}

enum status vm_dirty_start(struct vm *vm, struct error *e)
{
	enum status st;

	dirty_lock(vm);
	st = log_start(vm, e);
	dirty_unlock(vm);
	return st;
}

enum status vm_dirty_collect(struct vm *vm, uint64_t *bits, uint64_t *pages, struct error *e)
{
	enum status st;

	dirty_lock(vm);
	st = log_collect(vm, bits, pages, e);
	dirty_unlock(vm);
	return st;
}

enum status vm_dirty_stop(struct vm *vm, struct error *e)
{
	enum status st;

	dirty_lock(vm);
	st = log_stop(vm, e);
	dirty_unlock(vm);
	return st;
}
