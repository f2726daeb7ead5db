// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Far transfers: JMP, CALL, RET and IRET to another segment, through call gates and to other tasks (SDM 3A 5.8, SDM 2
 * under each instruction). The fast system calls are in sys_call.c.
 *
 * The target offset is checked before anything changes; the accessed bit of a descriptor may be set although a later
 * check faults, as on a processor.
 */
#include "translator/sys_ops.h"
#include "translator/task.h"

static bool gp0(struct vcpu *v)
{
	fault_gp0(v);
	return false;
}

static uint64_t cut(uint64_t x, unsigned bytes)
{
	return bytes == 2 ? (uint16_t)x : bytes == 4 ? (uint32_t)x : x;
}

/* In real and v86 mode CS gets a selector and a base; limit and attributes stay. */
static void set_cs_real(struct vcpu *v, uint16_t sel, uint64_t ip)
{
	struct x86_seg *cs = &v->regs.seg[SEG_CS];

	cs->sel = sel;
	cs->base = (uint64_t)sel << 4;
	if (!vcpu_v86(v))
		cs->attr = (uint16_t)((cs->attr & (SA_DB | SA_G)) | SA_P | SA_S | SA_RW | SA_ACCESSED);
	v->regs.rip = ip;
}

static bool real_or_v86(const struct vcpu *v)
{
	return vcpu_real_mode(v) || vcpu_v86(v);
}

/* After a task switch: the T flag of the new TSS is a trap. */
static enum xr task_done(struct vcpu *v, bool trap)
{
	if (!trap)
		return XR_JUMP;
	v->fault = (struct x86_fault){.vector = VEC_DB, .trap = true, .addr = DR6_BT};
	return XR_FAULT;
}

/* A code segment for long mode must not have both L and D. */
static bool bad_long_cs(const struct vcpu *v, unsigned attr)
{
	return vcpu_long_mode(v) && (attr & (SA_L | SA_DB)) == (SA_L | SA_DB);
}

/* ---- JMP and CALL ---- */

struct far {
	const struct insn *i;
	uint16_t sel;
	uint64_t off;
	unsigned size; /* operand size, also of the pushes without a gate */
	bool call;
	uint64_t next; /* return address */
};

static enum xr far_real(struct vcpu *v, const struct far *f)
{
	if (f->off > v->regs.seg[SEG_CS].limit)
		return fault_gp0(v);
	if (f->call) {
		uint64_t sp = stack_sp(v);
		if (!stack_push(v, &sp, v->regs.seg[SEG_CS].sel, f->size) || !stack_push(v, &sp, f->next, f->size))
			return XR_FAULT;
		stack_commit(v, sp);
	}
	set_cs_real(v, f->sel, f->off);
	return XR_JUMP;
}

static enum xr far_code(struct vcpu *v, const struct far *f, uint64_t d)
{
	unsigned attr = desc_attr(d), cpl = vcpu_cpl(v);
	struct xstack s;
	struct x86_seg cs;

	if (!attr_code(attr) || bad_long_cs(v, attr) ||
	    (attr_conforming(attr) ? attr_dpl(attr) > cpl : sel_rpl(f->sel) > cpl || attr_dpl(attr) != cpl)) {
		fault_sel(v, VEC_GP, f->sel);
		return XR_FAULT;
	}
	if (!(attr & SA_P)) {
		fault_sel(v, VEC_NP, f->sel);
		return XR_FAULT;
	}
	if (!desc_cache(v, f->sel, d, &cs))
		return XR_FAULT;
	cs.sel = (uint16_t)((f->sel & ~SEL_RPL) | cpl);
	/* the pushes have the width, and the checks, of the code that is called */
	xstack_current(v, &s);
	xstack_shape(&s, vcpu_long_mode(v) && (attr & SA_L));
	if (f->call && (!xstack_push(v, &s, v->regs.seg[SEG_CS].sel, f->size) || !xstack_push(v, &s, f->next, f->size)))
		return XR_FAULT;
	if (!cs_check_ip(v, &cs, f->off))
		return XR_FAULT;
	if (f->call)
		v->regs.gpr[R_SP] = s.code64 ? s.sp : xstack_merge(&s, v->regs.gpr[R_SP]);
	v->regs.seg[SEG_CS] = cs;
	v->regs.rip = f->off;
	return XR_JUMP;
}

/* CALL through a gate to a more privileged level: another stack, parameters copied (SDM 3A 5.8.5). */
static bool gate_call_inner(struct vcpu *v, const struct far *f, uint64_t gate, unsigned size, unsigned dpl,
			    struct xstack *s)
{
	struct x86_regs *r = &v->regs;
	struct xstack old;
	unsigned count = size == 8 ? 0 : gate >> 32 & 31;
	uint64_t param[31];

	xstack_current(v, &old);
	*s = old;
	if (vcpu_long_mode(v)) {
		if (!task_rsp(v, dpl, false, &s->sp))
			return false;
		s->acc = 0;
		xstack_shape(s, true);
	} else if (!task_inner_stack(v, dpl, s) || !xstack_room(v, s, size * (4 + count))) {
		return false;
	}
	for (unsigned k = 0; k < count; k++)
		if (!xstack_pop(v, &old, &param[k], size))
			return false;
	if (!xstack_push(v, s, r->seg[SEG_SS].sel, size) || !xstack_push(v, s, r->gpr[R_SP], size))
		return false;
	for (unsigned k = count; k-- > 0;)
		if (!xstack_push(v, s, param[k], size))
			return false;
	return xstack_push(v, s, r->seg[SEG_CS].sel, size) && xstack_push(v, s, f->next, size);
}

static enum xr far_gate(struct vcpu *v, const struct far *f, uint64_t gate)
{
	struct x86_regs *r = &v->regs;
	bool lm = vcpu_long_mode(v);
	unsigned cpl = vcpu_cpl(v);
	unsigned size = lm ? 8 : attr_sys(desc_attr(gate)) == SD_CALL ? 4 : 2;
	uint16_t sel = gate_sel(gate);
	uint64_t off = size == 2 ? gate & 0xffff : gate_offset(gate), high = 0, d;
	struct xstack s;
	struct x86_seg cs;

	if (lm) {
		if (!desc_read_high(v, f->sel, VEC_GP, &high))
			return XR_FAULT;
		if (high >> 40 & 0x1f) {
			fault_sel(v, VEC_GP, f->sel);
			return XR_FAULT;
		}
		off |= high << 32;
	}
	if (sel_null(sel))
		return fault_gp0(v);
	if (!desc_read(v, sel, VEC_GP, &d))
		return XR_FAULT;
	unsigned attr = desc_attr(d);
	bool same = attr_conforming(attr) || attr_dpl(attr) == cpl;
	if (!attr_code(attr) || attr_dpl(attr) > cpl || (!f->call && !same) ||
	    (lm && (attr & (SA_L | SA_DB)) != SA_L)) {
		fault_sel(v, VEC_GP, sel);
		return XR_FAULT;
	}
	if (!(attr & SA_P)) {
		fault_sel(v, VEC_NP, sel);
		return XR_FAULT;
	}
	if (!desc_cache(v, sel, d, &cs))
		return XR_FAULT;
	unsigned dpl = same ? cpl : attr_dpl(attr);
	cs.sel = (uint16_t)((sel & ~SEL_RPL) | dpl);
	xstack_current(v, &s);
	if (!f->call) {
		/* nothing to push */
	} else if (same) {
		if (!xstack_push(v, &s, r->seg[SEG_CS].sel, size) || !xstack_push(v, &s, f->next, size))
			return XR_FAULT;
	} else if (!gate_call_inner(v, f, gate, size, dpl, &s)) {
		return XR_FAULT;
	}
	if (!cs_check_ip(v, &cs, off))
		return XR_FAULT;
	if (!same && lm)
		seg_set_null_ss(&r->seg[SEG_SS], dpl);
	else if (!same)
		r->seg[SEG_SS] = s.ss;
	if (f->call)
		r->gpr[R_SP] = s.code64 ? s.sp : xstack_merge(&s, r->gpr[R_SP]);
	r->seg[SEG_CS] = cs;
	r->rip = off;
	return XR_JUMP;
}

static enum xr far_system(struct vcpu *v, const struct far *f, uint64_t d)
{
	unsigned attr = desc_attr(d), type = attr_sys(attr);
	bool lm = vcpu_long_mode(v), ok;
	struct task_request q = {.sel = f->sel, .cause = f->call ? TASK_CALL : TASK_JMP, .next_rip = f->next};
	bool trap;

	ok = type == SD_CALL ||
	     (!lm && (type == SD_CALL16 || type == SD_TASK || type == SD_TSS_AVL || type == SD_TSS16_AVL));
	if (!ok || attr_dpl(attr) < vcpu_cpl(v) || attr_dpl(attr) < sel_rpl(f->sel)) {
		fault_sel(v, VEC_GP, f->sel);
		return XR_FAULT;
	}
	if (!(attr & SA_P)) {
		fault_sel(v, VEC_NP, f->sel);
		return XR_FAULT;
	}
	if (type == SD_CALL || type == SD_CALL16)
		return far_gate(v, f, d);
	if (type == SD_TASK ? !task_switch_gate(v, d, &q, &trap) : !task_switch(v, &q, &trap))
		return XR_FAULT;
	return task_done(v, trap);
}

static enum xr far_go(struct vcpu *v, const struct insn *i, bool call)
{
	struct far f = {.i = i, .call = call, .size = prefix_size(i), .next = v->regs.rip + i->len};
	uint64_t d;

	if (i->has_mem) {
		unsigned n = far_size(v, i);
		uint8_t b[10];
		if (!mem_load(v, i->seg, insn_ea(v, i), b, n + 2))
			return XR_FAULT;
		if (n == 8)
			__builtin_memcpy(&f.off, b, 8);
		else
			f.off = b[0] | b[1] << 8 | (n == 4 ? (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24 : 0);
		f.sel = (uint16_t)(b[n] | b[n + 1] << 8);
	} else {
		f.off = cut(i->imm[0], f.size);
		f.sel = (uint16_t)i->imm[1];
	}
	if (real_or_v86(v))
		return far_real(v, &f);
	if (sel_null(f.sel))
		return fault_gp0(v);
	if (!desc_read(v, f.sel, VEC_GP, &d))
		return XR_FAULT;
	return desc_attr(d) & SA_S ? far_code(v, &f, d) : far_system(v, &f, d);
}

enum xr far_jmp(struct vcpu *v, const struct insn *i)
{
	return far_go(v, i, false);
}

enum xr far_call(struct vcpu *v, const struct insn *i)
{
	return far_go(v, i, true);
}

/* ---- RET and IRET ---- */

/* The code segment that a return goes to; only outwards or to the same level. */
static bool return_cs(struct vcpu *v, uint16_t sel, struct x86_seg *cs)
{
	unsigned rpl = sel_rpl(sel);
	uint64_t d;

	if (sel_null(sel))
		return gp0(v);
	if (!desc_read(v, sel, VEC_GP, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (!attr_code(attr) || rpl < vcpu_cpl(v) || bad_long_cs(v, attr) ||
	    (attr_conforming(attr) ? attr_dpl(attr) > rpl : attr_dpl(attr) != rpl))
		return fault_sel(v, VEC_GP, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_NP, sel);
	return desc_cache(v, sel, d, cs);
}

/* The stack segment of a return; cs is the code segment returned to. */
static bool return_ss(struct vcpu *v, uint16_t sel, const struct x86_seg *cs, struct x86_seg *ss)
{
	unsigned rpl = sel_rpl(cs->sel);
	uint64_t d;

	if (sel_null(sel)) {
		/* null is fine in 64-bit mode inside the kernel */
		if (!vcpu_long_mode(v) || !(cs->attr & SA_L) || rpl == 3 || sel_rpl(sel) != rpl)
			return gp0(v);
		seg_set_null_ss(ss, rpl);
		return true;
	}
	if (!desc_read(v, sel, VEC_GP, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (sel_rpl(sel) != rpl || !attr_writable(attr) || attr_dpl(attr) != rpl)
		return fault_sel(v, VEC_GP, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_SS, sel);
	return desc_cache(v, sel, d, ss);
}

/* RSP for the stack segment and mode returned to. */
static void return_sp(struct vcpu *v, uint64_t sp)
{
	struct xstack s = {.ss = v->regs.seg[SEG_SS], .sp = sp};

	xstack_shape(&s, vcpu_code64(v));
	v->regs.gpr[R_SP] = s.code64 ? sp : xstack_merge(&s, v->regs.gpr[R_SP]);
}

enum xr far_ret(struct vcpu *v, const struct insn *i)
{
	struct x86_regs *r = &v->regs;
	unsigned size = prefix_size(i);
	uint64_t ip, sel, sp, ss_sel, skip = i->imm_len ? (uint16_t)i->imm[0] : 0;
	struct xstack s;
	struct x86_seg cs, ss;

	xstack_current(v, &s);
	if (!xstack_pop(v, &s, &ip, size) || !xstack_pop(v, &s, &sel, size))
		return XR_FAULT;
	sel &= 0xffff;
	s.sp = (s.sp + skip) & s.mask;
	if (real_or_v86(v)) {
		if (ip > r->seg[SEG_CS].limit)
			return fault_gp0(v);
		r->gpr[R_SP] = xstack_merge(&s, r->gpr[R_SP]);
		set_cs_real(v, (uint16_t)sel, ip);
		return XR_JUMP;
	}
	if (!return_cs(v, (uint16_t)sel, &cs))
		return XR_FAULT;
	if (sel_rpl(cs.sel) == vcpu_cpl(v)) {
		if (!cs_check_ip(v, &cs, ip))
			return XR_FAULT;
		/* the stack keeps its segment; the pops have had the width that it had before */
		r->seg[SEG_CS] = cs;
		r->gpr[R_SP] = s.code64 ? cut(s.sp, vcpu_code64(v) ? 8 : 4) : xstack_merge(&s, r->gpr[R_SP]);
		r->rip = ip;
		return XR_JUMP;
	}
	if (!xstack_pop(v, &s, &sp, size) || !xstack_pop(v, &s, &ss_sel, size) ||
	    !return_ss(v, (uint16_t)ss_sel, &cs, &ss) || !cs_check_ip(v, &cs, ip))
		return XR_FAULT;
	r->seg[SEG_CS] = cs;
	r->seg[SEG_SS] = ss;
	return_sp(v, sp + skip);
	r->rip = ip;
	seg_drop_privileged(v, sel_rpl(cs.sel));
	return XR_JUMP;
}

static enum xr iret_real(struct vcpu *v, unsigned size)
{
	struct x86_regs *r = &v->regs;
	uint64_t ip, sel, flags, mask = FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT;
	unsigned iopl = (r->rflags & FL_IOPL) >> FL_IOPL_SHIFT;
	struct xstack s;

	bool vme = vcpu_v86(v) && iopl < 3;
	if (vme && !((r->cr4 & CR4_VME) && size == 2))
		return fault_gp0(v);
	xstack_current(v, &s);
	if (!xstack_pop(v, &s, &ip, size) || !xstack_pop(v, &s, &sel, size) || !xstack_pop(v, &s, &flags, size))
		return XR_FAULT;
	if (ip > r->seg[SEG_CS].limit)
		return fault_gp0(v);
	if (vme) {
		/* the virtual IF; a pending virtual interrupt or TF goes to the monitor (SDM 3A 20.3.3.4) */
		if ((flags & FL_TF) || ((flags & FL_IF) && (r->rflags & FL_VIP)))
			return fault_gp0(v);
		flags = (flags & ~(uint64_t)FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
		mask = (mask & ~(uint64_t)(FL_IF | FL_IOPL)) | FL_VIF;
	} else if (vcpu_v86(v)) {
		mask &= ~(uint64_t)FL_IOPL;
	}
	if (size == 4)
		mask |= FL_RF | FL_AC | FL_ID;
	r->gpr[R_SP] = xstack_merge(&s, r->gpr[R_SP]);
	set_cs_real(v, (uint16_t)sel, ip);
	rflags_write(v, flags, mask);
	return XR_JUMP;
}

/* From ring 0 to v86 mode: nine doublewords, three of which have been popped. */
static enum xr iret_v86(struct vcpu *v, struct xstack *s, uint64_t ip, uint64_t cs, uint64_t flags)
{
	static const uint8_t order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	struct x86_regs *r = &v->regs;
	uint64_t sp, sel[5];

	if (!xstack_pop(v, s, &sp, 4))
		return XR_FAULT;
	for (unsigned k = 0; k < 5; k++)
		if (!xstack_pop(v, s, &sel[k], 4))
			return XR_FAULT;
	if (ip > 0xffff)
		return fault_gp0(v);
	rflags_write(v, flags, ~0ull);
	seg_set_v86(&r->seg[SEG_CS], (uint16_t)cs);
	for (unsigned k = 0; k < 5; k++)
		seg_set_v86(&r->seg[order[k]], (uint16_t)sel[k]);
	r->gpr[R_SP] = (uint32_t)sp;
	r->rip = ip;
	return XR_JUMP;
}

static enum xr iret_task(struct vcpu *v, const struct insn *i)
{
	struct task_request q = {.cause = TASK_IRET, .next_rip = v->regs.rip + i->len};
	bool trap;

	if (vcpu_long_mode(v))
		return fault_gp0(v);
	if (!sys_read(v, v->regs.tr.base, &q.sel, 2) || !task_switch(v, &q, &trap))
		return XR_FAULT;
	return task_done(v, trap);
}

static enum xr iret_protected(struct vcpu *v, const struct insn *i, unsigned size)
{
	struct x86_regs *r = &v->regs;
	unsigned cpl = vcpu_cpl(v), iopl = (r->rflags & FL_IOPL) >> FL_IOPL_SHIFT;
	uint64_t ip, sel, flags, sp = 0, ss_sel = 0;
	struct xstack s;
	struct x86_seg cs, ss;

	if (r->rflags & FL_NT)
		return iret_task(v, i);
	xstack_current(v, &s);
	if (!xstack_pop(v, &s, &ip, size) || !xstack_pop(v, &s, &sel, size) || !xstack_pop(v, &s, &flags, size))
		return XR_FAULT;
	if ((flags & FL_VM) && cpl == 0 && size == 4 && !vcpu_long_mode(v))
		return iret_v86(v, &s, ip, sel, flags);
	/* 64-bit mode pops SS:RSP always, and before it looks at any selector */
	bool all = vcpu_code64(v);
	if (all && (!xstack_pop(v, &s, &sp, size) || !xstack_pop(v, &s, &ss_sel, size)))
		return XR_FAULT;
	if (!return_cs(v, (uint16_t)sel, &cs))
		return XR_FAULT;
	bool outer = sel_rpl(cs.sel) != cpl, pop_ss = outer || all;
	if (pop_ss && !all && (!xstack_pop(v, &s, &sp, size) || !xstack_pop(v, &s, &ss_sel, size)))
		return XR_FAULT;
	if (!cs_check_ip(v, &cs, ip) || (pop_ss && !return_ss(v, (uint16_t)ss_sel, &cs, &ss)))
		return XR_FAULT;

	uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT;
	if (size != 2)
		mask |= FL_RF | FL_AC | FL_ID;
	if (cpl <= iopl)
		mask |= FL_IF;
	if (cpl == 0)
		mask |= FL_IOPL | (size != 2 ? FL_VIF | FL_VIP : 0);
	r->seg[SEG_CS] = cs;
	if (pop_ss)
		r->seg[SEG_SS] = ss;
	return_sp(v, pop_ss ? sp : s.sp);
	r->rip = ip;
	rflags_write(v, flags, mask);
	if (outer)
		seg_drop_privileged(v, sel_rpl(cs.sel));
	return XR_JUMP;
}

enum xr far_iret(struct vcpu *v, const struct insn *i)
{
	unsigned size = prefix_size(i);
	enum xr x = real_or_v86(v) ? iret_real(v, size) : iret_protected(v, i, size);

	if (x == XR_JUMP) {
		v->nmi_blocked = false;
		note_user(v);
	}
	return x;
}
