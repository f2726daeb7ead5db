/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an x86 does around its instructions: segmentation, privilege, far transfers, tasks, events.
 * Shared by the interpreter and the translator. Owner thread only.
 */
#ifndef STEELYARD_SYSTEM_H
#define STEELYARD_SYSTEM_H

#include "engine/vcpu.h"
#include "translator/insn.h"
#include "translator/mmu.h"

/* ---- faults as data: set v->fault, return XR_FAULT ---- */
enum xr fault_set(struct vcpu *v, uint8_t vector);			   /* #UD #NM #DE #BR #MF #XM ... */
enum xr fault_set_error(struct vcpu *v, uint8_t vector, uint32_t error); /* #GP #SS #NP #TS #AC */
static inline enum xr fault_gp0(struct vcpu *v)
{
	return fault_set_error(v, VEC_GP, 0);
}

/* ---- linear addresses ---- */
/* Effective address of i's memory operand (offset, truncated to the address size). */
uint64_t insn_ea(const struct vcpu *v, const struct insn *i);
/* How many ports i, IN, OUT, INS or OUTS, is about to access, from *port on; 0: another instruction, or a repetition that is over. */
unsigned insn_ports(const struct vcpu *v, const struct insn *i, uint16_t *port);
/* seg:off -> linear with limit, type, canonical checks for an access of n bytes (SDM 3A 5.3, 5.5; expand-down; 64-bit mode
 * rules). acc: ACC_*. false: v->fault = #GP(0) or #SS(0). */
bool seg_linear(struct vcpu *v, unsigned seg, uint64_t off, unsigned n, unsigned acc, uint64_t *lin);
/* Data access through a segment at the current CPL; false: v->fault (also #AC where enabled). */
bool mem_load(struct vcpu *v, unsigned seg, uint64_t off, void *buf, unsigned n);
bool mem_store(struct vcpu *v, unsigned seg, uint64_t off, const void *buf, unsigned n);
/* Stack: size 2, 4, 8; uses SS and the stack's own address size. pop does not move SP until the caller says so
 * (stack_commit) so that a later fault leaves it unchanged: *sp is the running stack pointer, start with stack_sp(v). */
uint64_t stack_sp(const struct vcpu *v);
bool stack_push(struct vcpu *v, uint64_t *sp, uint64_t val, unsigned size);
bool stack_pop(struct vcpu *v, uint64_t *sp, uint64_t *val, unsigned size);
void stack_commit(struct vcpu *v, uint64_t sp);

/* ---- segments ---- */
/* MOV/POP to ES CS(#UD) SS DS FS GS, L*S: every check of the manual, in every mode. false: v->fault. */
bool seg_load(struct vcpu *v, unsigned seg, uint16_t sel);

/* ---- RIP ---- */
/* Sets RIP to a near target: truncated to opsize bytes outside 64-bit mode, checked against CS limit / canonical.
 * false: v->fault = #GP(0). */
bool rip_set(struct vcpu *v, uint64_t target, unsigned opsize);

/* ---- flags ---- */
/* New RFLAGS as POPF/IRET write them: mask says which bits may change. */
void rflags_write(struct vcpu *v, uint64_t val, uint64_t mask);

/* ---- privilege ---- */
/* IRET, SYSRET, SYSEXIT have set CS, SS and RIP. */
static inline void note_user(struct vcpu *v)
{
	if (__builtin_expect(v->user_entered != NULL, 0) && vcpu_cpl(v) == 3)
		v->user_entered(v);
}

/* ---- events ---- */
/* Delivers an exception through the IDT (all modes, privilege changes, IST, task gates, error codes, double and triple
 * fault by SDM 3A table 6-5). RIP is the one to save (trap: already advanced). XR_JUMP or XR_SHUTDOWN. */
enum xr event_exception(struct vcpu *v, const struct x86_fault *f);
/* External interrupt or NMI at the current boundary. XR_JUMP or XR_SHUTDOWN. */
enum xr event_interrupt(struct vcpu *v, uint8_t vector);
enum xr event_nmi(struct vcpu *v);
/* v->inject, what another path had begun to deliver; XR_JUMP without one. Before anything else in run(). */
enum xr event_inject(struct vcpu *v);
/* INT n with RIP already behind the instruction. XR_JUMP, or XR_SHUTDOWN, or XR_FAULT (v86 IOPL, gate DPL: caller delivers
 * the fault with RIP at the instruction). */
enum xr event_soft(struct vcpu *v, uint8_t vector, uint64_t next_rip);

/* ---- what a mode change must tell the path ---- */
/* Called by system code after CR0, CR4, EFER, CR3, a segment register or RFLAGS.{IF,TF,VM,AC} changed in a way that a path
 * may have cached. The default does nothing; the translator reads v->regs afresh after BT_END instructions. */

#endif
