/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing the execution path of a running guest: which path each vCPU is on, which it shall be on, what happened so far.
 *
 * Two classes of paths. Most share a soft TLB and the map of code pages, so that vCPUs of one machine may run on
 * different ones at the same time. A path with ops->whole_machine writes guest memory without telling the others: all
 * vCPUs of a machine are on it, or none; asking one vCPU onto or off such a path asks all of them.
 *
 * Asking (vm_switch_path in engine/vm.h) is for any thread. Changing is done by the owner thread, between two calls of
 * ops->run. Lock order: switcher lock is a leaf, except that it comes before wait_lock and below dev_lock.
 */
#ifndef STEELYARD_SWITCH_H
#define STEELYARD_SWITCH_H

#include "engine/exec.h"
#include "engine/status.h"

struct vm;

/* Why a vCPU changed its path. One row each in engine/switch.c. */
enum switch_cause {
	SWITCH_ASKED,	/* by a person or a program: vm_switch_path */
	SWITCH_BACK,	/* the pause after a SWITCH_CANNOT is over */
	SWITCH_CANNOT,	/* EXIT_CANNOT */
	SWITCH_UNSOUND, /* EXIT_UNSOUND */
	SWITCH_STALLED, /* EXIT_STALLED */
	SWITCH_FAIL,	/* EXIT_FAIL, or the path did not start */
	SWITCH_CAUSES,
};

/* One change of one vCPU, or one that was wanted and did not come about (from == to). */
struct switch_event {
	uint64_t seq;	/* counts from 0 */
	uint64_t at_ns; /* guest time */
	unsigned vcpu;
	enum path_id from, to;
	enum switch_cause cause;
	uint16_t cs;	/* where the guest goes on */
	uint64_t rip;
	char why[160];
};

/* How many events are kept: the latest. */
#define SWITCH_EVENTS 128

enum status switch_init(struct vm *vm, struct error *e);
void switch_fini(struct vm *vm);

/* Events so far, the forgotten ones included. Any thread. */
uint64_t switch_count(struct vm *vm);
/* Of one cause. Any thread. */
uint64_t switch_count_cause(struct vm *vm, enum switch_cause cause);
/* The event with this number; false: not yet, or forgotten. Any thread. */
bool switch_event(struct vm *vm, uint64_t seq, struct switch_event *out);
const char *switch_cause_name(enum switch_cause cause); /* one word */
/* The path that vCPU i is on. Any thread. */
enum path_id switch_path_of(struct vm *vm, unsigned i);
/* The class of paths that may run: whole_machine or not. No vCPU runs. */
bool switch_class(struct vm *vm);
/* The path that it shall be on: another one until it has changed. Any thread. */
enum path_id switch_wanted_of(struct vm *vm, unsigned i);
/* What people read: "kvm -> bt at 0010:ffffffff81000000: why". Returns buf. */
const char *switch_event_text(struct vm *vm, const struct switch_event *ev, char *buf, size_t n);
/* The latest events, one line each, the number of lines at most max. */
void switch_print(struct vm *vm, unsigned max, void *file);

/* ---- for engine/run.c and engine/vm.c ---- */

/* The vCPU's first path, before its thread runs. */
void switch_set_first(struct vm *vm, unsigned i, enum path_id path);
/* Before the vCPU threads start: the path that they begin on sees the memory as it is now. */
enum status switch_world_begin(struct vm *vm, struct error *e);
/* Owner thread, world entered. Starts the path that the vCPU shall begin with. */
enum status switch_start(struct vcpu *v, struct error *e);
/* Owner thread, at its end, not counted as running: every path that the vCPU was on ends on this thread. */
void switch_stop(struct vcpu *v);
/* Owner thread, between two runs: does what was asked. false: there was nothing to do. */
bool switch_step(struct vcpu *v);
/* Owner thread: ops->run came back with a reason for which the path cannot go on. Ends the machine when no other path can. */
void switch_fall(struct vcpu *v, const struct exit *x);
/* A device stored to [gpa, gpa+len) of RAM: what the paths have decoded of it is stale. Device lock held. */
void switch_ram_written(struct vm *vm, uint64_t gpa, uint64_t len);
/* Everything that the paths have decoded is stale. No vCPU runs. */
void switch_forget_code(struct vm *vm);

#endif
