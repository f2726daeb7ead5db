/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific registers as a table (engine/msr.c): one row each, with its owner, mask and reset value. */
#ifndef STEELYARD_MSR_H
#define STEELYARD_MSR_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* RDMSR / WRMSR semantics after the privilege check. false: #GP(0), nothing changed. Owner thread.
 * WRMSR to EFER, FS/GS base, APIC, TSC, PAT... has all effects on v->regs and the APIC; the caller flushes whatever
 * its path caches of them (efer changes: see mmu_flush_all). */
bool msr_read(struct vcpu *v, uint32_t index, uint64_t *val);
bool msr_write(struct vcpu *v, uint32_t index, uint64_t val);
/* Rows in v->msr[]; used by vcpu_alloc and vcpu_reset. */
unsigned msr_slots(void);
void msr_reset(struct vcpu *v);
/* i-th row for tables and state save: false past the last. */
bool msr_row(unsigned i, uint32_t *index, const char **name);

#endif
