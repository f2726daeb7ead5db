/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hardware task switches (SDM 3A 7.3), private to the system half of the translator folder. */
#ifndef STEELYARD_TASK_H
#define STEELYARD_TASK_H

#include "translator/desc.h"

enum task_cause { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE /* interrupt or exception */ };

struct task_request {
	uint16_t sel; /* of the new TSS */
	enum task_cause cause;
	uint64_t next_rip; /* saved as EIP of the old task */
	bool has_error;    /* an exception's error code goes to the new stack */
	uint32_t error;
};

/* Protected mode outside long mode. true: RIP and all else belong to the new task; *trap: its T flag asks for #DB.
 * false: v->fault, raised in the old task or, when the switch had been committed, in the new one (SDM 3A table 7-1). */
bool task_switch(struct vcpu *v, const struct task_request *q, bool *trap);
/* A task gate: checks the gate's own TSS selector, then switches. */
bool task_switch_gate(struct vcpu *v, uint64_t gate, struct task_request *q, bool *trap);
/* The stack of a more privileged level from the current TSS of legacy protected mode, with all its checks (#TS, #SS).
 */
bool task_inner_stack(struct vcpu *v, unsigned cpl, struct xstack *s);
/* RSPn (n = 0..2) or ISTn (n = 1..7) of the 64-bit TSS. */
bool task_rsp(struct vcpu *v, unsigned n, bool ist, uint64_t *rsp);

#endif
