/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contract between the machine and an execution path. A path is one const table; the machine owns the state
 * (struct vcpu), a path borrows it between run() and the return from run().
 */
#ifndef STEELYARD_EXEC_H
#define STEELYARD_EXEC_H

#include "engine/status.h"
#include "engine/vcpu.h"

enum exit_reason {
	EXIT_KICK,     /* a request is set in vcpu->request; the path has not consumed REQ_EXIT */
	EXIT_HLT,      /* HLT executed with nothing pending; RIP is behind it */
	EXIT_SHUTDOWN, /* triple fault */
	EXIT_CANNOT,   /* this path cannot execute the instruction at RIP: another one must (text says why) */
	EXIT_UNSOUND,  /* the guest is about to depend on something that this host is known to do wrong (text) */
	EXIT_STALLED,  /* the vCPU makes no progress on this path (text) */
	EXIT_FAIL,     /* the path broke: host failure (text) */
};

struct exit {
	enum exit_reason reason;
	char text[160];
};

struct exec_ops {
	const char *name; /* "interp", "bt", "kvm" */
	const char *what; /* one line for --help */
	/* Can this host run it? ST_OK, or ST_UNSUPPORTED / ST_DENIED with the reason. Mandatory. */
	enum status (*available)(struct error *e);
	/* Per machine; NULL when the path has no machine-wide object. Stores it in vm->path_vm (by index of the path). */
	enum status (*vm_init)(struct vm *vm, struct error *e);
	void (*vm_fini)(struct vm *vm);
	/* On the vCPU's own thread, before its first run(). Mandatory. */
	enum status (*vcpu_init)(struct vcpu *v, struct error *e);
	void (*vcpu_fini)(struct vcpu *v);
	/* Executes guest code until an exit. v->regs is exact on entry and on return: at an instruction boundary.
	 * Delivers interrupts itself at boundaries, by vcpu_has_event / vcpu_take_interrupt. Mandatory. */
	void (*run)(struct vcpu *v, struct exit *x);
	/* Makes run() look at v->request soon. Any thread, async-signal-safe. NULL: the path polls v->request. */
	void (*kick)(struct vcpu *v);
	/* After run() general, segment and control registers and the event state are exact in struct vcpu; the rest
	 * (MSRs with a field, debug registers, XCR0, regs.xsave) may still be elsewhere. pull brings it, and from then on
	 * struct vcpu is the truth, which the next run() starts from. Owner thread, outside run(). NULL: run() leaves
	 * nothing behind. */
	void (*pull)(struct vcpu *v);
	/* XCR0 bits of state that the path holds, and whose instructions it runs, beyond those that every path does
	 * (CPUID_XCR0_COMMON). A machine that offers more (--cpuid full) is never on a path without. */
	uint64_t more_xstate;
	/* Guest code stores to memory and nobody tells the codemap: all vCPUs of a machine are on this path, or none. */
	bool whole_machine;
	/* whole_machine only: the vCPUs come onto this path, perhaps from another: what the path remembers of page tables and
	 * memory is stale. No vCPU runs; after vm_init, any thread. NULL: nothing. */
	enum status (*world_enter)(struct vm *vm, struct error *e);
	/* whole_machine only: the vCPUs have left this path, which gives back what it held of the machine's interrupt controllers.
	 * No vCPU runs, those not yet pulled included; the device lock not held. NULL: nothing. */
	void (*world_leave)(struct vm *vm);
	/* Does the path itself wait for a halted vCPU's interrupt, and for INIT and SIPI? Then run() is called whatever
	 * run_state says. NULL: no. Owner thread. */
	bool (*waits)(const struct vcpu *v);
	/* Guest memory changed behind the path's back (loader, DMA): forget translations of [gpa, gpa+len). Any thread,
	 * the device lock held or not, while vCPUs run. NULL when the path keeps none. */
	void (*mem_dirty)(struct vm *vm, uint64_t gpa, uint64_t len);
	/* The log of written pages (engine/dirty.h), of all paths of this class. From dirty_start on, stores by guest code are
	 * noticed; dirty_fetch sets a bit for each page stored to since then or since the last fetch (bits may have more set
	 * already); dirty_stop forgets the rest, and is legal when the log is not on. A failure leaves it to the machine to take
	 * all pages for written. No vCPU runs; any thread. NULL: this path has another one that speaks for it. */
	enum status (*dirty_start)(struct vm *vm, struct error *e);
	enum status (*dirty_fetch)(struct vm *vm, _Atomic uint64_t *bits, struct error *e);
	void (*dirty_stop)(struct vm *vm);
	/* This path calls run() of the path `base`, which begins before it and ends after it. */
	bool has_base;
	enum path_id base;
	/* For a path that runs code which this one has not decoded: the map of code pages, NULL where the path has none. gpa is
	 * RAM. code_watch: stores to the page are noticed from now on, and each moves its generation, which is returned; owner
	 * thread, outside run(). code_watched: is it such a page? code_epoch moves when any page becomes one, ceases to be one,
	 * or is stored to. Any thread. */
	uint32_t (*code_watch)(struct vcpu *v, uint64_t gpa);
	bool (*code_watched)(struct vm *vm, uint64_t gpa, uint32_t *gen);
	uint32_t (*code_epoch)(struct vm *vm);
};

/* The table of paths, indexed by enum path_id; NULL where this build has none. engine/main/paths.c, the only place that
 * names them all. */
extern const struct exec_ops *const exec_paths[PATH_COUNT];

#endif
