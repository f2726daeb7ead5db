/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of the system instructions, declared by their rows, and what their files share. Private to far.c,
 * task.c and sys_*.c. */
#ifndef STEELYARD_SYS_OPS_H
#define STEELYARD_SYS_OPS_H

#include "translator/desc.h"
#include "translator/insn.h"

#define ROW(m, fn, policy, fl) insn_fn fn;
#define FORM(f, fn, policy, fl) insn_fn fn;
#include "translator/isa_sys.def"
#undef ROW
#undef FORM

/* CR3 as a task switch and MOV write it: PDPTEs where PAE paging needs them, flush. false: v->fault = #GP(0). */
bool cr3_load(struct vcpu *v, uint64_t val);

/* Is the guest's processor an AMD (or Hygon) one? Slow: ask only where the two vendors differ. */
bool vendor_amd(const struct vcpu *v);

/* User-mode instruction prevention (SDM 3A 2.5): SGDT SIDT SLDT SMSW STR. */
static inline bool umip_blocks(const struct vcpu *v)
{
	return (v->regs.cr4 & CR4_UMIP) && vcpu_cpl(v) > 0;
}

/* Operand size that the prefixes ask for, in bytes. */
static inline unsigned prefix_size(const struct insn *i)
{
	if (i->code_bits == 64 && (i->rex & 8))
		return 8;
	return (i->code_bits == 16) != i->pfx66 ? 2 : 4;
}
/* Of a far pointer's offset in memory: AMD's processors have no 64-bit ones, whatever REX.W says (APM 3 LSS, CALL far). It
 * still is the size of what a far CALL pushes. */
static inline unsigned far_size(const struct vcpu *v, const struct insn *i)
{
	unsigned n = prefix_size(i);

	return n == 8 && vendor_amd(v) ? 4 : n;
}

/* ---- operands ---- */
static inline uint64_t gpr_read(const struct vcpu *v, const struct insn_op *o)
{
	uint64_t x = v->regs.gpr[o->reg & 15];

	return o->bytes == 8 ? x : o->bytes == 4 ? (uint32_t)x : o->bytes == 2 ? (uint16_t)x : (uint8_t)x;
}
/* Writes of 4 bytes clear the upper half, of 2 bytes keep the rest (SDM 1 3.4.1.1). */
static inline void gpr_write(struct vcpu *v, unsigned reg, uint64_t val, unsigned bytes)
{
	uint64_t *x = &v->regs.gpr[reg & 15];

	if (bytes == 8)
		*x = val;
	else if (bytes == 4)
		*x = (uint32_t)val;
	else if (bytes == 2)
		*x = (*x & ~0xffffull) | (uint16_t)val;
	else
		*x = (*x & ~0xffull) | (uint8_t)val;
}
/* A 16-bit source in a register or memory. */
static inline bool read_rm16(struct vcpu *v, const struct insn *i, const struct insn_op *o, uint16_t *val)
{
	if (o->kind == OPK_GPR) {
		*val = (uint16_t)v->regs.gpr[o->reg & 15];
		return true;
	}
	return mem_load(v, i->seg, insn_ea(v, i), val, 2);
}
/* A 16-bit system value: memory takes 16 bits, a register its operand size, zero-extended. */
static inline bool write_rm16(struct vcpu *v, const struct insn *i, const struct insn_op *o, uint64_t val)
{
	uint16_t x = (uint16_t)val;

	if (o->kind == OPK_GPR) {
		gpr_write(v, o->reg, val, prefix_size(i));
		return true;
	}
	return mem_store(v, i->seg, insn_ea(v, i), &x, 2);
}

#endif
