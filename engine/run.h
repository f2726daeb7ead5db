/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU threads (private to the machine: engine/vm.c drives them).
 *
 * Lock order: world_lock is never taken with the device lock held; wait_lock and end_lock are leaves.
 */
#ifndef STEELYARD_RUN_H
#define STEELYARD_RUN_H

#include "engine/status.h"

struct vcpu;
struct vm;

/* vm->run becomes valid; no thread yet. */
enum status run_init(struct vm *vm, struct error *e);
void run_fini(struct vm *vm);
/* Guest time begins, unless the machine is paused: then vm_resume lets it. */
void run_clock_start(struct vm *vm);
/* Before each run_start: all vCPUs see the same time stamp counter, from 0 at power-on. No vCPU runs. */
void run_tsc_start(struct vm *vm);
/* One thread per vCPU. On failure none is left. */
enum status run_start(struct vm *vm, struct error *e);
/* All vCPU threads leave guest code, end and are joined. Failure: one does not leave it. None is joined then, and what they work
 * on must stay; once more is allowed. */
enum status run_stop(struct vm *vm, struct error *e);
/* CPU time of vCPU i's threads so far, in ns. Any thread. */
uint64_t run_cpu_ns(struct vm *vm, unsigned i);
/* Makes every vCPU leave guest code soon; does not wait. Any thread, any lock but wait_lock. */
void run_kick_all(struct vm *vm);
/* INIT and SIPI that wait for v (SDM 3A 8.4.2): the manual's wait-for-SIPI state ignores everything else. v's thread, before guest
 * code. */
void run_take_startup(struct vcpu *v);

#endif
