// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Control registers, debug registers, mode switches, and what invalidates translations (SDM 3A 2.5, 4.10.4, 9.8; SDM
 * 3B 18.2).
 *
 * A write checks everything first, loads the PDPTEs when PAE paging needs them, then takes effect; the soft TLB is
 * flushed whenever a bit that it has folded in changed.
 *
 * Deviation: bits of CR0 that the manual leaves undefined are dropped instead of kept.
 */
#include <stdatomic.h>

#include "engine/cpuid.h"
#include "engine/apic/lapic.h"
#include "engine/vm.h"
#include "translator/mmu_tlb.h"
#include "translator/sys_ops.h"

static uint64_t phys_mask(const struct vcpu *v)
{
	return (1ull << v->mmu->phys_bits) - 1;
}

/* ---- CR3 and the PDPTEs ---- */

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
}

/* SDM 3A 4.4.1: reserved bits in a present entry are #GP(0). */
static bool pdptes_load(struct vcpu *v, uint64_t cr3)
{
	uint64_t at = cr3 & 0xffffffe0u, rsvd = ~phys_mask(v) | 0x1e6;
	uint64_t e[4];

	for (unsigned i = 0; i < 4; i++) {
		const uint64_t *p = mem_ram(&v->vm->mem, at + 8 * i, 8);
		e[i] = p ? __atomic_load_n(p, __ATOMIC_RELAXED) : ~0ull;
		if ((e[i] & PTE_P) && (e[i] & rsvd)) {
			fault_gp0(v);
			return false;
		}
	}
	for (unsigned i = 0; i < 4; i++)
		v->regs.pdpte[i] = e[i];
	return true;
}

bool cr3_load(struct vcpu *v, uint64_t val)
{
	struct x86_regs *r = &v->regs;

	if (pae_paging(r->cr0, r->cr4, r->efer) && !pdptes_load(v, val))
		return false;
	r->cr3 = val;
	mmu_flush(v, true);
	return true;
}

static enum xr cr3_write(struct vcpu *v, uint64_t val)
{
	if (v->regs.cr4 & CR4_PCIDE)
		val &= ~(1ull << 63); /* "do not flush": we may */
	if (vcpu_long_mode(v) && (val & ~phys_mask(v)))
		return fault_gp0(v);
	return cr3_load(v, val) ? XR_NEXT : XR_FAULT;
}

/* ---- CR0 ---- */

/* The switch into or out of long mode that a change of PG makes (SDM 3A 9.8.5). */
static bool lma_change(struct vcpu *v, uint64_t val, uint64_t *efer)
{
	const struct x86_regs *r = &v->regs;

	*efer = r->efer;
	if (!((val ^ r->cr0) & CR0_PG))
		return true;
	if (val & CR0_PG) {
		if (!(r->efer & EFER_LME))
			return true;
		unsigned tss = r->tr.attr & SA_P ? attr_sys(r->tr.attr) : 0;
		if (!(r->cr4 & CR4_PAE) || (r->seg[SEG_CS].attr & SA_L) || tss == SD_TSS16_AVL || tss == SD_TSS16_BUSY)
			return false;
		*efer |= EFER_LMA;
		return true;
	}
	if (vcpu_code64(v) || (r->cr4 & CR4_PCIDE))
		return false;
	*efer &= ~(uint64_t)EFER_LMA;
	return true;
}

static enum xr cr0_write(struct vcpu *v, uint64_t val)
{
	const uint64_t known =
		CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
	struct x86_regs *r = &v->regs;
	uint64_t efer;

	if (val >> 32)
		return fault_gp0(v);
	val = (val & known) | CR0_ET;
	if (((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)) || !lma_change(v, val, &efer))
		return fault_gp0(v);
	uint64_t diff = val ^ r->cr0;
	if ((diff & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(val, r->cr4, efer) && !pdptes_load(v, r->cr3))
		return XR_FAULT;
	r->cr0 = val;
	r->efer = efer;
	if (diff & (CR0_PG | CR0_WP | CR0_PE))
		mmu_flush_all(v);
	return XR_NEXT;
}

/* ---- CR4 ---- */

static uint64_t cr4_known(const struct vcpu *v)
{
	static const struct {
		uint32_t bit;
		enum cpuid_feature f;
	} row[] = {
		{CR4_UMIP, CF_UMIP},     {CR4_FSGSBASE, CF_FSGSBASE}, {CR4_PCIDE, CF_PCID},
		{CR4_OSXSAVE, CF_XSAVE}, {CR4_SMEP, CF_SMEP},         {CR4_SMAP, CF_SMAP},
	};
	uint64_t known = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
			 CR4_OSFXSR | CR4_OSXMMEXCPT;

	for (unsigned i = 0; i < ARRAY_LEN(row); i++)
		if (cpuid_has(v->vm, row[i].f))
			known |= row[i].bit;
	return known;
}

static enum xr cr4_write(struct vcpu *v, uint64_t val)
{
	struct x86_regs *r = &v->regs;
	uint64_t diff = val ^ r->cr4;

	if (val & ~cr4_known(v))
		return fault_gp0(v);
	if (vcpu_long_mode(v) && !(val & CR4_PAE))
		return fault_gp0(v);
	if ((val & diff & CR4_PCIDE) && (!vcpu_long_mode(v) || (r->cr3 & 0xfff)))
		return fault_gp0(v);
	if ((diff & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && pae_paging(r->cr0, val, r->efer) &&
	    !pdptes_load(v, r->cr3))
		return XR_FAULT;
	r->cr4 = val;
	if (diff & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
		mmu_flush_all(v);
	return XR_NEXT;
}

/* ---- CR8: the task priority ---- */

static enum xr cr8_write(struct vcpu *v, uint64_t val)
{
	if (val > 15)
		return fault_gp0(v);
	if (v->lapic) {
		vcpu_vec_sync(v);
		lapic_set_cr8(v->lapic, (uint8_t)val);
		/* an interrupt may have become deliverable */
		atomic_fetch_or(&v->request, REQ_EVENT);
	}
	return XR_NEXT;
}

static enum xr cr_read(struct vcpu *v, unsigned cr, unsigned gpr, unsigned bytes)
{
	const struct x86_regs *r = &v->regs;
	uint64_t val;

	switch (cr) {
	case 0:
		val = r->cr0;
		break;
	case 2:
		val = r->cr2;
		break;
	case 3:
		val = r->cr3;
		break;
	case 4:
		val = r->cr4;
		break;
	case 8:
		val = v->lapic ? lapic_cr8(v->lapic) : 0;
		break;
	default:
		return fault_set(v, VEC_UD);
	}
	gpr_write(v, gpr, val, bytes);
	return XR_NEXT;
}

enum xr sys_mov_cr(struct vcpu *v, const struct insn *i)
{
	/* always 64 bits in 64-bit mode, 32 otherwise, whatever the prefixes */
	unsigned bytes = i->code_bits == 64 ? 8 : 4;

	if (i->op[0].kind == OPK_GPR)
		return cr_read(v, i->op[1].reg, i->op[0].reg, bytes);
	uint64_t val = v->regs.gpr[i->op[1].reg & 15];
	if (bytes == 4)
		val = (uint32_t)val;
	switch (i->op[0].reg) {
	case 0:
		return cr0_write(v, val);
	case 2:
		v->regs.cr2 = val;
		return XR_NEXT;
	case 3:
		return cr3_write(v, val);
	case 4:
		return cr4_write(v, val);
	case 8:
		return cr8_write(v, val);
	}
	return fault_set(v, VEC_UD);
}

/* ---- the machine status word ---- */

enum xr sys_clts(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->regs.cr0 &= ~(uint64_t)CR0_TS;
	return XR_NEXT;
}

enum xr sys_lmsw(struct vcpu *v, const struct insn *i)
{
	const uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
	uint16_t val;

	if (!read_rm16(v, i, &i->op[0], &val))
		return XR_FAULT;
	/* PE can be set, not cleared */
	return cr0_write(v, (v->regs.cr0 & ~(low & ~(uint64_t)CR0_PE)) | (val & low));
}

enum xr sys_smsw(struct vcpu *v, const struct insn *i)
{
	if (umip_blocks(v))
		return fault_gp0(v);
	return write_rm16(v, i, &i->op[0], v->regs.cr0) ? XR_NEXT : XR_FAULT;
}

/* ---- debug registers ---- */

enum xr sys_mov_dr(struct vcpu *v, const struct insn *i)
{
	bool write = i->op[0].kind == OPK_DR;
	unsigned n = write ? i->op[0].reg : i->op[1].reg, gpr = (write ? i->op[1].reg : i->op[0].reg) & 15;
	unsigned bytes = i->code_bits == 64 ? 8 : 4;
	struct x86_regs *r = &v->regs;

	if (n > 7)
		return fault_set(v, VEC_UD);
	if (n == 4 || n == 5) {
		if (r->cr4 & CR4_DE)
			return fault_set(v, VEC_UD);
		n += 2;
	}
	if (r->dr[7] & DR7_GD) {
		fault_set(v, VEC_DB);
		v->fault.addr = DR6_BD;
		return XR_FAULT;
	}
	if (!write) {
		gpr_write(v, gpr, r->dr[n], bytes);
		return XR_NEXT;
	}
	uint64_t val = bytes == 4 ? (uint32_t)r->gpr[gpr] : r->gpr[gpr];
	if (n >= 6 && val >> 32)
		return fault_gp0(v);
	if (n == 6)
		val = (val & 0xe00f) | DR6_FIXED;
	else if (n == 7)
		val = (val & 0xffff23ffu) | DR7_FIXED;
	r->dr[n] = val;
	return XR_NEXT;
}

/* ---- translations and caches ---- */

enum xr sys_invlpg(struct vcpu *v, const struct insn *i)
{
	uint64_t lin = insn_ea(v, i);

	/* no limit check, no fault (SDM 2A "INVLPG") */
	if (!vcpu_code64(v))
		lin = (uint32_t)(lin + v->regs.seg[i->seg].base);
	else if (i->seg >= SEG_FS)
		lin += v->regs.seg[i->seg].base;
	if (is_canonical(lin))
		mmu_flush_page(v, lin);
	return XR_NEXT;
}

enum xr sys_invpcid(struct vcpu *v, const struct insn *i)
{
	uint64_t d[2], type = gpr_read(v, &i->op[0]);

	if (!cpuid_has(v->vm, CF_INVPCID))
		return fault_set(v, VEC_UD);
	if (vcpu_cpl(v))
		return fault_gp0(v);
	if (!mem_load(v, i->seg, insn_ea(v, i), d, 16))
		return XR_FAULT;
	if (type > 3 || d[0] >> 12 || (type < 2 && !(v->regs.cr4 & CR4_PCIDE) && d[0]) ||
	    (type == 0 && !is_canonical(d[1])))
		return fault_gp0(v);
	if (type == 0)
		mmu_flush_page(v, d[1]);
	else
		mmu_flush(v, type != 2);
	return XR_NEXT;
}

/* INVD and WBINVD: memory is coherent, there is nothing to write back or to lose. */
enum xr sys_wbinvd(struct vcpu *v, const struct insn *i)
{
	(void)v;
	(void)i;
	return XR_NEXT;
}

/* ---- XCR0 ---- */

enum xr sys_xgetbv(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint32_t out[4];

	(void)i;
	if (!(r->cr4 & CR4_OSXSAVE))
		return fault_set(v, VEC_UD);
	if ((uint32_t)r->gpr[R_CX] == 1) {
		/* XINUSE: "in use" is always a legal answer */
		cpuid_query(v, 0xd, 1, out);
		if (!(out[0] & 4))
			return fault_gp0(v);
	} else if ((uint32_t)r->gpr[R_CX]) {
		return fault_gp0(v);
	}
	r->gpr[R_AX] = (uint32_t)r->xcr0;
	r->gpr[R_DX] = r->xcr0 >> 32;
	return XR_NEXT;
}

enum xr sys_xsetbv(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint64_t val = r->gpr[R_DX] << 32 | (uint32_t)r->gpr[R_AX];

	(void)i;
	if (!(r->cr4 & CR4_OSXSAVE))
		return fault_set(v, VEC_UD);
	/* bits 5-7 (AVX-512) go together and need 2 (AVX), which needs 1 (SSE); bit 0 is always set (SDM 1 13.3) */
	if (vcpu_cpl(v) || (uint32_t)r->gpr[R_CX] || (val & ~cpuid_xcr0_mask(v->vm)) || !(val & 1) ||
	    ((val & 4) && !(val & 2)) || ((val & 0xe0) && (val & 0xe6) != 0xe6))
		return fault_gp0(v);
	/* the path's copy of the vector state is saved under the old XCR0 */
	vcpu_vec_sync(v);
	r->xcr0 = val;
	return XR_NEXT;
}
