/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of written pages: which 4 KiB pages of RAM have been stored to, by guest code on any path or by a device. For
 * whoever copies a guest's memory while it runs.
 *
 * Exact or more: no store is missed. A page too many is reported only where a path could not say which ones it were (the
 * host failed; a reset), and then it is all of them.
 *
 * One log for a machine: it is on or off. Threads: any but a vCPU's, the device lock not held.
 */
#ifndef STEELYARD_DIRTY_H
#define STEELYARD_DIRTY_H

#include "engine/status.h"

struct vm;

/* Bit p: the page at RAM offset p << 12 (mem_ram_offset). 64 pages to a word. */
uint64_t vm_dirty_words(const struct vm *vm);

/* Every page counts as clean from now on. ST_BUSY: the log is on, or the guest does not stand still (vm_pause). */
enum status vm_dirty_start(struct vm *vm, struct error *e) __attribute__((warn_unused_result));
/* Pages stored to since vm_dirty_start or the last vm_dirty_collect, into bits[vm_dirty_words]; they count as clean again. The
 * guest stands still meanwhile; who wants to copy the pages before it goes on calls vm_pause first, which nests.
 * ST_INVALID: the log is off. ST_BUSY: as above, and nothing is lost. */
enum status vm_dirty_collect(struct vm *vm, uint64_t *bits, uint64_t *pages, struct error *e)
	__attribute__((warn_unused_result));
/* No more logging. ST_BUSY: as above, and it goes on. When it is off already: nothing. */
enum status vm_dirty_stop(struct vm *vm, struct error *e) __attribute__((warn_unused_result));
/* Is it on? Any thread; a vCPU's inside ops->run gets an answer that stays true until it returns. */
bool vm_dirty_on(const struct vm *vm);

/* ---- for engine/ ---- */

enum status dirty_init(struct vm *vm, struct error *e);
void dirty_fini(struct vm *vm);
/* Around what the functions above must not meet: a vCPU ends, the vCPUs are about to begin. Not by a vCPU that counts as running:
 * they are waited for under this lock. */
void dirty_lock(struct vm *vm);
void dirty_unlock(struct vm *vm);
/* [gpa, gpa+len) of RAM has been written by somebody whom no path watches. Any thread. */
void dirty_mark(struct vm *vm, uint64_t gpa, uint64_t len);
/* The vCPUs leave the paths that share this log's source, and come onto others: what is known is taken over. whole: the class
 * (exec.h, whole_machine). No vCPU runs. */
void dirty_world_leave(struct vm *vm, bool whole);
void dirty_world_enter(struct vm *vm, bool whole);

#endif
