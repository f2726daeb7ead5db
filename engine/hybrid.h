/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hybrid path: the translator runs the guest, and a second executor, which can run 64-bit ring 3 directly and nothing else,
 * gets the code that runs long between two events. docs/hybrid.md has the measurements that the policy rests on.
 *
 * To the machine this is one path. Below it, struct vcpu goes to and fro between the translator's run() and direct_ops.run,
 * always at an instruction boundary. The direct executor delivers no events: it gives the vCPU back in front of the
 * instruction that would raise one, and the translator raises it.
 */
#ifndef STEELYARD_HYBRID_H
#define STEELYARD_HYBRID_H

#include "engine/exec.h"

/* Why the direct executor gave the vCPU back. One row each in engine/hybrid.c, with its counter. */
enum direct_end {
	DIRECT_REQUEST,	  /* vcpu->request is set: an interrupt, a barrier, the end */
	DIRECT_SYSCALL,	  /* in front of SYSCALL */
	DIRECT_FAULT,	  /* in front of an access that the guest's page tables refuse, or that is not to plain RAM */
	DIRECT_EXCEPTION, /* in front of (or, INT3, at) an instruction that raises another exception */
	DIRECT_TRAP,	  /* behind one that #DB follows: vcpu->inject has it */
	DIRECT_CODE,	  /* in front of code that must not run directly */
	DIRECT_STORE,	  /* in front of a store to a page of which decoded code is kept */
	DIRECT_BROKEN,	  /* the host does not go on; the state is right */
	DIRECT_ENDS,
};

struct direct_run {
	uint64_t cpu_ns; /* of this thread, from start to end */
	uint64_t fills;	 /* page faults answered on the way, each a round trip */
	uint64_t resets; /* of all hidden page tables */
};

/* What runs ring 3 directly: one const table. All calls on the vCPU's own thread, outside of the translator's run(). */
struct direct_ops {
	const char *name;
	enum status (*available)(struct error *e);
	/* Makes what belongs to this vCPU and tries it out. ST_UNSUPPORTED: the host does not run ring 3 directly, or wrongly. */
	enum status (*start)(struct vcpu *v, void **direct, struct error *e);
	void (*stop)(void *direct); /* NULL is legal */
	/* Why the state of now may not run directly; NULL: it may. */
	const char *(*unfit)(const void *direct);
	enum direct_end (*run)(void *direct, struct direct_run *out);
	/* CPU time, as measured by start(): a stay that does nothing; one page fault answered. */
	uint64_t (*stay_ns)(const void *direct);
	uint64_t (*fill_ns)(const void *direct);
};

extern const struct exec_ops hybrid_ops;
/* The one of this build; engine/main/paths.c. */
extern const struct direct_ops *const hybrid_direct;

#endif
