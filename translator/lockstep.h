/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the lockstep driver (engine/main/lockstep.c) needs of the two paths: small, exact steps. Owner thread of the vCPU,
 * outside ops->run().
 */
#ifndef STEELYARD_LOCKSTEP_H
#define STEELYARD_LOCKSTEP_H

#include "engine/vcpu.h"
#include "translator/insn.h"

/* ---- bt ---- */
/* Every ops->run() of the machine executes one block from now on; max_insns: in a block at most, 0: as always. Forgets
 * translations. */
void bt_lockstep(struct vcpu *v, unsigned max_insns);
/* How many instructions the last ops->run() has executed; one that faulted counts, a part of a REP counts as one. false: none.
 * clock_before: v->insn_clock before it. */
bool bt_lockstep_insns(struct vcpu *v, uint64_t clock_before, unsigned *insns);
/* The translation of the code at RIP as this vCPU is now. */
struct bt_lockstep_code {
	const uint8_t *host;
	uint32_t host_len;
	unsigned insns, guest_len;
};
bool bt_lockstep_code(struct vcpu *v, uint64_t rip, struct bt_lockstep_code *out);

/* ---- interp ---- */
#define LOCKSTEP_TRACE 128
struct lockstep_trace {
	uint32_t unsure;   /* arithmetic flags that the other path may hold otherwise: nobody may read them */
	uint64_t read_rip; /* somebody did: bad_read has the flags */
	uint32_t bad_read;
	unsigned n;                   /* instructions executed since the caller set it to 0, XR_AGAIN not counted */
	uint64_t rip[LOCKSTEP_TRACE]; /* of the first of them */
};
/* Executes until t->n >= min and the next instruction is at `rip`, until a halt, or until t->n >= max. Takes no events.
 * XR_JUMP, or why it stopped: XR_HLT, XR_SHUTDOWN, XR_CANNOT; XR_AGAIN: at max, and not at rip. */
enum xr interp_lockstep(struct vcpu *v, uint64_t rip, unsigned min, unsigned max, struct lockstep_trace *t);

/* Takes what is pending at this boundary, as a path does between two instructions. false: nothing, or not now. */
bool lockstep_event(struct vcpu *v, enum xr *x);

/* Decodes at the linear address of CS:RIP without side effects. */
bool lockstep_decode(struct vcpu *v, uint64_t rip, struct insn *i);
/* Host address of n bytes of RAM at a linear address, as this vCPU's paging has it; NULL: not mapped, not RAM, two pages. */
void *lockstep_ram(struct vcpu *v, uint64_t lin, unsigned n);

#endif
