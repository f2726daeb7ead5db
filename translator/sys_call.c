// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fast system calls and the FS and GS bases (SDM 2B SYSCALL, SYSENTER, SWAPGS; SDM 3A 5.8.7, 5.8.8; AMD APM 3).
 *
 * Where the vendors differ, the guest's CPUID vendor decides: SYSCALL and SYSRET outside 64-bit code exist on AMD only,
 * SYSENTER and SYSEXIT in long mode on Intel only, and SYSRET with a non-canonical RCX is #GP in ring 0 on Intel but in
 * ring 3 on AMD.
 *
 * Deviation: SYSRET always loads SS with flat attributes, as Intel's processors do; AMD's leave the hidden part as it
 * was.
 */
#include "engine/cpuid.h"
#include "translator/sys_ops.h"

bool vendor_amd(const struct vcpu *v)
{
	uint32_t out[4];

	cpuid_query(v, 0, 0, out);
	/* "Auth"enticAMD, "Hygo"nGenuine */
	return out[1] == 0x68747541u || out[1] == 0x6f677948u;
}

/* The flat segments that these instructions load without looking at a descriptor. */
static void flat_cs(struct vcpu *v, uint16_t sel, unsigned dpl, bool code64)
{
	v->regs.seg[SEG_CS] = (struct x86_seg){
		.sel = sel,
		.attr = (uint16_t)(SA_P | SA_S | SA_CODE | SA_RW | SA_ACCESSED | SA_G | (code64 ? SA_L : SA_DB) |
				   dpl << SA_DPL_SHIFT),
		.limit = 0xffffffffu,
	};
}
static void flat_ss(struct vcpu *v, uint16_t sel, unsigned dpl)
{
	v->regs.seg[SEG_SS] = (struct x86_seg){
		.sel = sel,
		.attr = (uint16_t)(SA_P | SA_S | SA_RW | SA_ACCESSED | SA_G | SA_DB | dpl << SA_DPL_SHIFT),
		.limit = 0xffffffffu,
	};
}

enum xr sys_syscall(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint64_t next = r->rip + i->len;
	uint16_t cs = (uint16_t)(r->star >> 32 & 0xfffc);
	bool code64 = vcpu_code64(v);

	if (!(r->efer & EFER_SCE) || (!code64 && (vcpu_real_mode(v) || !vendor_amd(v))))
		return fault_set(v, VEC_UD);
	if (vcpu_long_mode(v)) {
		r->gpr[R_CX] = code64 ? next : (uint32_t)next;
		r->gpr[R_11] = r->rflags & ~(uint64_t)FL_RF;
		r->rip = code64 ? r->lstar : r->cstar;
		r->rflags = (r->rflags & ~(r->fmask | FL_RF)) | FL_ONE;
		flat_cs(v, cs, 0, true);
	} else {
		r->gpr[R_CX] = (uint32_t)next;
		r->rip = (uint32_t)r->star;
		r->rflags &= ~(uint64_t)(FL_IF | FL_RF | FL_VM);
		flat_cs(v, cs, 0, false);
	}
	flat_ss(v, (uint16_t)(cs + 8), 0);
	return XR_JUMP;
}

enum xr sys_sysret(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	bool to64 = (i->rex & 8) != 0 && vcpu_code64(v);
	uint16_t sel = (uint16_t)(r->star >> 48);

	if (!(r->efer & EFER_SCE) || (!vcpu_code64(v) && (vcpu_real_mode(v) || !vendor_amd(v))))
		return fault_set(v, VEC_UD);
	if (vcpu_cpl(v))
		return fault_gp0(v);
	if (to64 && !is_canonical(r->gpr[R_CX]) && !vendor_amd(v))
		return fault_gp0(v);
	r->rip = to64 ? r->gpr[R_CX] : (uint32_t)r->gpr[R_CX];
	if (vcpu_long_mode(v))
		rflags_write(v, r->gpr[R_11], ~(uint64_t)(FL_RF | FL_VM));
	else
		r->rflags |= FL_IF;
	r->rflags &= ~(uint64_t)(FL_RF | FL_VM);
	flat_cs(v, (uint16_t)((sel + (to64 ? 16 : 0)) | 3), 3, to64);
	flat_ss(v, (uint16_t)((sel + 8) | 3), 3);
	note_user(v);
	if (r->rflags & FL_TF) {
		/* unlike IRET, SYSRET traps at once when it has set TF */
		v->fault = (struct x86_fault){.vector = VEC_DB, .trap = true, .addr = DR6_BS};
		return XR_FAULT;
	}
	return XR_JUMP;
}

enum xr sys_sysenter(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	bool lm = vcpu_long_mode(v);
	uint16_t cs = (uint16_t)(r->sysenter_cs & 0xfffc);

	(void)i;
	if (lm && vendor_amd(v))
		return fault_set(v, VEC_UD);
	if (vcpu_real_mode(v) || !cs)
		return fault_gp0(v);
	r->rflags &= ~(uint64_t)(FL_VM | FL_IF | FL_RF);
	r->gpr[R_SP] = lm ? r->sysenter_esp : (uint32_t)r->sysenter_esp;
	r->rip = lm ? r->sysenter_eip : (uint32_t)r->sysenter_eip;
	flat_cs(v, cs, 0, lm);
	flat_ss(v, (uint16_t)(cs + 8), 0);
	return XR_JUMP;
}

enum xr sys_sysexit(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	bool to64 = (i->rex & 8) != 0 && vcpu_code64(v);
	uint16_t cs = (uint16_t)(r->sysenter_cs & 0xfffc);

	if (vcpu_real_mode(v) || vcpu_cpl(v))
		return fault_gp0(v);
	if (vcpu_long_mode(v) && vendor_amd(v))
		return fault_set(v, VEC_UD);
	if (!cs)
		return fault_gp0(v);
	if (to64 && (!is_canonical(r->gpr[R_CX]) || !is_canonical(r->gpr[R_DX])))
		return fault_gp0(v);
	r->gpr[R_SP] = to64 ? r->gpr[R_CX] : (uint32_t)r->gpr[R_CX];
	r->rip = to64 ? r->gpr[R_DX] : (uint32_t)r->gpr[R_DX];
	flat_cs(v, (uint16_t)((cs + (to64 ? 32 : 16)) | 3), 3, to64);
	flat_ss(v, (uint16_t)((cs + (to64 ? 40 : 24)) | 3), 3);
	note_user(v);
	return XR_JUMP;
}

/* ---- FS and GS ---- */

enum xr sys_swapgs(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	uint64_t gs = r->seg[SEG_GS].base;

	(void)i;
	r->seg[SEG_GS].base = r->kernel_gs_base;
	r->kernel_gs_base = gs;
	return XR_NEXT;
}

/* F3 0F AE /0 RDFSBASE, /1 RDGSBASE, /2 WRFSBASE, /3 WRGSBASE */
static unsigned base_seg(const struct insn *i)
{
	return i->modrm >> 3 & 1 ? SEG_GS : SEG_FS;
}

enum xr sys_rdbase(struct vcpu *v, const struct insn *i)
{
	if (!(v->regs.cr4 & CR4_FSGSBASE))
		return fault_set(v, VEC_UD);
	gpr_write(v, i->op[0].reg, v->regs.seg[base_seg(i)].base, i->rex & 8 ? 8 : 4);
	return XR_NEXT;
}

enum xr sys_wrbase(struct vcpu *v, const struct insn *i)
{
	uint64_t val = v->regs.gpr[i->op[0].reg & 15];

	if (!(v->regs.cr4 & CR4_FSGSBASE))
		return fault_set(v, VEC_UD);
	if (!(i->rex & 8))
		val = (uint32_t)val;
	if (!is_canonical(val))
		return fault_gp0(v);
	v->regs.seg[base_seg(i)].base = val;
	return XR_NEXT;
}
