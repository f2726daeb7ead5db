/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interpreter: readable, exact, the reference for every other path; and the translator's way out for one
 * instruction. */
#ifndef STEELYARD_INTERP_H
#define STEELYARD_INTERP_H

#include "engine/exec.h"
#include "translator/insn.h"

extern const struct exec_ops interp_ops;

/* Per-vCPU object of the interpreter (decode cache); bt creates one too. v->regs is its only other state. */
struct interp;
struct interp *interp_new(struct vcpu *v);
void interp_free(struct interp *in);

/* Executes the one instruction at CS:RIP with everything around it: pending events are NOT taken; TF and debug
 * registers, faults and their delivery are handled. Returns XR_JUMP (done, whatever happened), XR_AGAIN, XR_HLT,
 * XR_SHUTDOWN or XR_CANNOT. */
enum xr interp_step(struct vcpu *v, struct interp *in);

/* Counts the instruction at CS:RIP in v->row_count. */
void interp_count_next(struct vcpu *v, struct interp *in);

/* Executes an already decoded instruction that lies at v->regs.rip, without TF and debug-register handling: the
 * translator's callout. On XR_NEXT the function itself has advanced RIP and returns XR_JUMP. On XR_FAULT nothing was
 * delivered: the caller does event_exception(v, &v->fault). On XR_HLT RIP is behind
 * the instruction (interp_step too). Sets v->int_shadow for STI, MOV SS, POP SS; clears it else. */
enum xr interp_exec(struct vcpu *v, const struct insn *i);

/* What executes i: a handler for its shape, the row's function, or one that makes the checks first. It returns XR_NEXT, and
 * the caller advances RIP. Displacement and immediate may be others than i's, but for counts of shifts (insn_shape.h). */
insn_fn *interp_choose(const struct insn *i);

/* Checks before execution that depend on mode, from the row's flags: #UD, #NM, #GP for privilege, LOCK misuse.
 * XR_NEXT when fine, else XR_FAULT. */
enum xr insn_precheck(struct vcpu *v, const struct insn *i);

#endif
