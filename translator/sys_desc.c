// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptor tables and descriptors as instructions see them: LGDT and kin, LLDT and LTR, LAR, LSL, VERR, VERW, ARPL,
 * and the far-pointer loads (SDM 2 under each instruction, SDM 3A 5.10).
 */
#include "translator/sys_ops.h"

/* ---- GDTR and IDTR ---- */

static enum xr dtable_store(struct vcpu *v, const struct insn *i, const struct x86_dtable *t)
{
	uint8_t b[10];

	if (umip_blocks(v))
		return fault_gp0(v);
	__builtin_memcpy(b, &t->limit, 2);
	__builtin_memcpy(b + 2, &t->base, 8);
	return mem_store(v, i->seg, insn_ea(v, i), b, i->code_bits == 64 ? 10 : 6) ? XR_NEXT : XR_FAULT;
}

static enum xr dtable_load(struct vcpu *v, const struct insn *i, struct x86_dtable *t)
{
	bool wide = i->code_bits == 64;
	uint8_t b[10] = {0};
	uint64_t base;

	if (!mem_load(v, i->seg, insn_ea(v, i), b, wide ? 10 : 6))
		return XR_FAULT;
	__builtin_memcpy(&base, b + 2, 8);
	if (wide && !is_canonical(base))
		return fault_gp0(v);
	if (!wide && prefix_size(i) == 2)
		base &= 0xffffff;
	__builtin_memcpy(&t->limit, b, 2);
	t->base = base;
	return XR_NEXT;
}

enum xr sys_sgdt(struct vcpu *v, const struct insn *i)
{
	return dtable_store(v, i, &v->regs.gdtr);
}

enum xr sys_sidt(struct vcpu *v, const struct insn *i)
{
	return dtable_store(v, i, &v->regs.idtr);
}

enum xr sys_lgdt(struct vcpu *v, const struct insn *i)
{
	return dtable_load(v, i, &v->regs.gdtr);
}

enum xr sys_lidt(struct vcpu *v, const struct insn *i)
{
	return dtable_load(v, i, &v->regs.idtr);
}

/* ---- LDTR and TR ---- */

enum xr sys_sldt(struct vcpu *v, const struct insn *i)
{
	if (umip_blocks(v))
		return fault_gp0(v);
	return write_rm16(v, i, &i->op[0], v->regs.ldtr.sel) ? XR_NEXT : XR_FAULT;
}

enum xr sys_str(struct vcpu *v, const struct insn *i)
{
	if (umip_blocks(v))
		return fault_gp0(v);
	return write_rm16(v, i, &i->op[0], v->regs.tr.sel) ? XR_NEXT : XR_FAULT;
}

/* A system descriptor of the GDT; 16 bytes in long mode. */
static bool system_desc(struct vcpu *v, uint16_t sel, uint64_t *d, uint64_t *base)
{
	uint64_t high = 0;

	if (sel & SEL_TI)
		return fault_sel(v, VEC_GP, sel);
	if (!desc_read(v, sel, VEC_GP, d))
		return false;
	if (vcpu_long_mode(v) && !desc_read_high(v, sel, VEC_GP, &high))
		return false;
	*base = desc_base(*d) | high << 32;
	if (!is_canonical(*base) || (high >> 40 & 0x1f))
		return fault_sel(v, VEC_GP, sel);
	return true;
}

static enum xr sel_fault(struct vcpu *v, uint8_t vector, uint16_t sel)
{
	fault_sel(v, vector, sel);
	return XR_FAULT;
}

enum xr sys_lldt(struct vcpu *v, const struct insn *i)
{
	uint64_t d, base;
	uint16_t sel;

	if (!read_rm16(v, i, &i->op[0], &sel))
		return XR_FAULT;
	if (sel_null(sel)) {
		seg_set_null(&v->regs.ldtr, sel);
		return XR_NEXT;
	}
	if (!system_desc(v, sel, &d, &base))
		return XR_FAULT;
	if (attr_sys(desc_attr(d)) != SD_LDT)
		return sel_fault(v, VEC_GP, sel);
	if (!(desc_attr(d) & SA_P))
		return sel_fault(v, VEC_NP, sel);
	v->regs.ldtr = (struct x86_seg){.sel = sel, .attr = desc_attr(d), .limit = desc_limit(d), .base = base};
	return XR_NEXT;
}

enum xr sys_ltr(struct vcpu *v, const struct insn *i)
{
	uint64_t d, base;
	uint16_t sel;

	if (!read_rm16(v, i, &i->op[0], &sel))
		return XR_FAULT;
	if (sel_null(sel))
		return fault_gp0(v);
	if (!system_desc(v, sel, &d, &base))
		return XR_FAULT;
	unsigned type = attr_sys(desc_attr(d));
	if (type != SD_TSS_AVL && (vcpu_long_mode(v) || type != SD_TSS16_AVL))
		return sel_fault(v, VEC_GP, sel);
	if (!(desc_attr(d) & SA_P))
		return sel_fault(v, VEC_NP, sel);
	if (!desc_type_update(v, sel, 2, 0))
		return XR_FAULT;
	v->regs.tr = (struct x86_seg){
		.sel = sel, .attr = (uint16_t)(desc_attr(d) | 2), .limit = desc_limit(d), .base = base};
	return XR_NEXT;
}

/* ---- looking at descriptors without loading them ---- */

static void set_zf(struct vcpu *v, bool zf)
{
	v->regs.rflags = (v->regs.rflags & ~(uint64_t)FL_ZF) | (zf ? FL_ZF : 0);
}

/* Reads sel's descriptor if it is visible from here. *seen false: no fault, ZF = 0. */
static bool look(struct vcpu *v, uint16_t sel, uint64_t *d, bool *seen)
{
	uint64_t lin;

	*seen = false;
	if (sel_null(sel) || !desc_locate(v, sel, 8, &lin))
		return true;
	if (!sys_read(v, lin, d, 8))
		return false;
	unsigned attr = desc_attr(*d), dpl = attr_dpl(attr);
	*seen = attr_conforming(attr) || (dpl >= vcpu_cpl(v) && dpl >= sel_rpl(sel));
	return true;
}

/* Types of system descriptors that LAR and LSL accept (SDM 2A tables 3-54, 3-59). */
#define T(t) (1u << (t))
#define LSL_TYPES (T(SD_TSS16_AVL) | T(SD_LDT) | T(SD_TSS16_BUSY) | T(SD_TSS_AVL) | T(SD_TSS_BUSY))
#define LSL_TYPES_LONG (T(SD_LDT) | T(SD_TSS_AVL) | T(SD_TSS_BUSY))
#define LAR_TYPES (LSL_TYPES | T(SD_CALL16) | T(SD_TASK) | T(SD_CALL))
#define LAR_TYPES_LONG (LSL_TYPES_LONG | T(SD_CALL))

static enum xr lar_lsl(struct vcpu *v, const struct insn *i, unsigned types, bool lsl)
{
	uint16_t sel;
	uint64_t d;
	bool ok;

	if (!read_rm16(v, i, &i->op[1], &sel) || !look(v, sel, &d, &ok))
		return XR_FAULT;
	if (ok && !(desc_attr(d) & SA_S))
		ok = types >> attr_sys(desc_attr(d)) & 1;
	set_zf(v, ok);
	if (ok)
		gpr_write(v, i->op[0].reg, lsl ? desc_limit(d) : d >> 32 & 0x00f0ff00u, prefix_size(i));
	return XR_NEXT;
}

enum xr sys_lar(struct vcpu *v, const struct insn *i)
{
	return lar_lsl(v, i, vcpu_long_mode(v) ? LAR_TYPES_LONG : LAR_TYPES, false);
}

enum xr sys_lsl(struct vcpu *v, const struct insn *i)
{
	return lar_lsl(v, i, vcpu_long_mode(v) ? LSL_TYPES_LONG : LSL_TYPES, true);
}

static enum xr verify(struct vcpu *v, const struct insn *i, bool write)
{
	uint16_t sel;
	uint64_t d;
	bool ok;

	if (!read_rm16(v, i, &i->op[0], &sel) || !look(v, sel, &d, &ok))
		return XR_FAULT;
	set_zf(v, ok && (write ? attr_writable(desc_attr(d)) : attr_readable(desc_attr(d))));
	return XR_NEXT;
}

enum xr sys_verr(struct vcpu *v, const struct insn *i)
{
	return verify(v, i, false);
}

enum xr sys_verw(struct vcpu *v, const struct insn *i)
{
	return verify(v, i, true);
}

enum xr sys_arpl(struct vcpu *v, const struct insn *i)
{
	uint16_t dst, src = (uint16_t)v->regs.gpr[i->op[1].reg & 15];

	if (!read_rm16(v, i, &i->op[0], &dst))
		return XR_FAULT;
	bool less = sel_rpl(dst) < sel_rpl(src);
	if (less) {
		dst = (uint16_t)((dst & ~SEL_RPL) | sel_rpl(src));
		if (i->op[0].kind == OPK_GPR)
			gpr_write(v, i->op[0].reg, dst, 2);
		else if (!mem_store(v, i->seg, insn_ea(v, i), &dst, 2))
			return XR_FAULT;
	}
	set_zf(v, less);
	return XR_NEXT;
}

/* ---- far pointers ---- */

enum xr sys_load_far(struct vcpu *v, const struct insn *i)
{
	unsigned size = far_size(v, i), seg;
	uint8_t b[10] = {0};
	uint64_t off;
	uint16_t sel;

	/* C4 LES, C5 LDS, 0F B2 LSS, 0F B4 LFS, 0F B5 LGS */
	switch (i->opcode) {
	case 0xc4:
		seg = SEG_ES;
		break;
	case 0xc5:
		seg = SEG_DS;
		break;
	case 0xb2:
		seg = SEG_SS;
		break;
	case 0xb4:
		seg = SEG_FS;
		break;
	default:
		seg = SEG_GS;
	}
	if (!mem_load(v, i->seg, insn_ea(v, i), b, size + 2))
		return XR_FAULT;
	__builtin_memcpy(&off, b, 8);
	__builtin_memcpy(&sel, b + size, 2);
	if (!seg_load(v, seg, sel))
		return XR_FAULT;
	gpr_write(v, i->op[0].reg, off, size);
	return XR_NEXT;
}
