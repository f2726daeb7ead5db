// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MSRs, identification, time, and instructions that exist only when CPUID says so.
 *
 * The engine's functions behind WRMSR may reach timers and the C library: the vector state is put in memory first where
 * that can happen. MONITOR/MWAIT, when the guest has them, return at once: a spurious wake-up is always legal.
 */
#include "engine/cpuid.h"
#include "engine/msr.h"
#include "translator/mmu_tlb.h"
#include "translator/sys_ops.h"

/* ---- MSRs ---- */

/* Rows that only touch struct x86_regs, and are written on every context switch. */
static bool msr_is_plain(uint32_t index)
{
	return index == MSR_FS_BASE || index == MSR_GS_BASE || index == MSR_KERNEL_GS_BASE;
}

enum xr sys_rdmsr(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint32_t index = (uint32_t)r->gpr[R_CX];
	uint64_t val;

	(void)i;
	if (!msr_is_plain(index))
		vcpu_vec_sync(v);
	if (!msr_read(v, index, &val))
		return fault_gp0(v);
	r->gpr[R_AX] = (uint32_t)val;
	r->gpr[R_DX] = val >> 32;
	return XR_NEXT;
}

enum xr sys_wrmsr(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint32_t index = (uint32_t)r->gpr[R_CX];
	uint64_t efer = r->efer;

	(void)i;
	if (!msr_is_plain(index))
		vcpu_vec_sync(v);
	if (!msr_write(v, index, r->gpr[R_DX] << 32 | (uint32_t)r->gpr[R_AX]))
		return fault_gp0(v);
	/* NXE is folded into translations; the APIC page is a hole in RAM that may have moved */
	if (efer != r->efer || index == MSR_APIC_BASE)
		mmu_flush_all(v);
	return XR_NEXT;
}

/* ---- identification ---- */

enum xr sys_cpuid(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint32_t out[4];

	(void)i;
	vcpu_vec_sync(v);
	cpuid_query(v, (uint32_t)r->gpr[R_AX], (uint32_t)r->gpr[R_CX], out);
	r->gpr[R_AX] = out[0];
	r->gpr[R_BX] = out[1];
	r->gpr[R_CX] = out[2];
	r->gpr[R_DX] = out[3];
	return XR_NEXT;
}

static bool cpuid_bit(struct vcpu *v, uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t out[4];

	cpuid_query(v, leaf, 0, out);
	return out[reg] >> bit & 1;
}

enum xr sys_rdpid(struct vcpu *v, const struct insn *i)
{
	if (!cpuid_bit(v, 7, 2, 22))
		return fault_set(v, VEC_UD);
	gpr_write(v, i->op[0].reg, v->regs.tsc_aux & 0xffffffffu, i->code_bits == 64 ? 8 : 4);
	return XR_NEXT;
}

/* ---- time ---- */

static bool tsc_allowed(const struct vcpu *v)
{
	return !(v->regs.cr4 & CR4_TSD) || vcpu_cpl(v) == 0;
}

static void tsc_read(struct vcpu *v)
{
	uint64_t tsc = clock_tsc(&v->vm->clock) + (uint64_t)v->regs.tsc_offset;

	v->regs.gpr[R_AX] = (uint32_t)tsc;
	v->regs.gpr[R_DX] = tsc >> 32;
}

enum xr sys_rdtsc(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!tsc_allowed(v))
		return fault_gp0(v);
	tsc_read(v);
	return XR_NEXT;
}

enum xr sys_rdtscp(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!v->mmu->has_rdtscp)
		return fault_set(v, VEC_UD);
	if (!tsc_allowed(v))
		return fault_gp0(v);
	tsc_read(v);
	v->regs.gpr[R_CX] = (uint32_t)v->regs.tsc_aux;
	return XR_NEXT;
}

/* No performance counters: every index is out of range. */
enum xr sys_rdpmc(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return fault_gp0(v);
}

/* ---- SMAP's switch ---- */

static bool smap_switch(struct vcpu *v)
{
	if (v->mmu->has_smap && vcpu_cpl(v) == 0)
		return true;
	fault_set(v, VEC_UD);
	return false;
}

enum xr sys_stac(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!smap_switch(v))
		return XR_FAULT;
	v->regs.rflags |= FL_AC;
	return XR_NEXT;
}

enum xr sys_clac(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!smap_switch(v))
		return XR_FAULT;
	v->regs.rflags &= ~(uint64_t)FL_AC;
	return XR_NEXT;
}

/* ---- waiting ---- */

static bool has_monitor(struct vcpu *v)
{
	if (cpuid_bit(v, 1, 2, 3) && vcpu_cpl(v) == 0)
		return true;
	fault_set(v, VEC_UD);
	return false;
}

enum xr sys_monitor(struct vcpu *v, const struct insn *i)
{
	uint64_t addr = v->regs.gpr[R_AX];
	uint8_t byte;

	if (!has_monitor(v))
		return XR_FAULT;
	if ((uint32_t)v->regs.gpr[R_CX])
		return fault_gp0(v);
	/* the address is checked like a byte load */
	addr = i->addrsize == 8 ? addr : i->addrsize == 4 ? (uint32_t)addr : (uint16_t)addr;
	return mem_load(v, i->has_mem ? i->seg : SEG_DS, addr, &byte, 1) ? XR_NEXT : XR_FAULT;
}

enum xr sys_mwait(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return has_monitor(v) ? XR_NEXT : XR_FAULT;
}

/* ---- what the guest has not got ---- */

enum xr sys_ud(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return fault_set(v, VEC_UD);
}
