// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Hardware task switches with 16-bit and 32-bit TSSs (SDM 3A chapter 7), and the stack pointers that a TSS holds.
 *
 * The switch has two halves. Before the commit everything can fail in the old task: descriptors, both TSS images are
 * read, the old one is checked to be writable. Behind it registers, selectors and CR3 are the new task's; the hidden
 * parts are loaded one by one, and what fails there is raised in the new task (#TS mostly), with the segments that were
 * not yet loaded unusable.
 */
#include "translator/task.h"
#include "translator/sys_ops.h"

#define TSS32_BYTES 104
#define TSS16_BYTES 44

struct tss {
	bool wide;
	uint16_t link;
	uint32_t cr3, eip, eflags;
	uint32_t gpr[8];
	uint16_t seg[SEG_COUNT];
	uint16_t ldt;
	bool trap;
};

static unsigned tss_bytes(bool wide)
{
	return wide ? TSS32_BYTES : TSS16_BYTES;
}

static bool tss_is_wide(unsigned attr)
{
	return (attr & 8) != 0;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t x;
	__builtin_memcpy(&x, p, 4);
	return x;
}
static uint16_t get16(const uint8_t *p)
{
	uint16_t x;
	__builtin_memcpy(&x, p, 2);
	return x;
}
static void put32(uint8_t *p, uint32_t x)
{
	__builtin_memcpy(p, &x, 4);
}
static void put16(uint8_t *p, uint16_t x)
{
	__builtin_memcpy(p, &x, 2);
}

/* sys_read takes up to 64 bytes at a time. */
static bool tss_read_raw(struct vcpu *v, uint64_t base, uint8_t *buf, unsigned n)
{
	for (unsigned at = 0; at < n; at += 4)
		if (!sys_read(v, base + at, buf + at, 4))
			return false;
	return true;
}

static bool tss_read(struct vcpu *v, uint64_t base, bool wide, struct tss *t)
{
	uint8_t b[TSS32_BYTES];

	if (!tss_read_raw(v, base, b, tss_bytes(wide)))
		return false;
	*t = (struct tss){.wide = wide, .link = get16(b)};
	if (wide) {
		t->cr3 = get32(b + 28);
		t->eip = get32(b + 32);
		t->eflags = get32(b + 36);
		for (unsigned i = 0; i < 8; i++)
			t->gpr[i] = get32(b + 40 + 4 * i);
		for (unsigned i = 0; i < SEG_COUNT; i++)
			t->seg[i] = get16(b + 72 + 4 * i);
		t->ldt = get16(b + 96);
		t->trap = b[100] & 1;
		return true;
	}
	t->eip = get16(b + 14);
	t->eflags = get16(b + 16);
	for (unsigned i = 0; i < 8; i++)
		t->gpr[i] = get16(b + 18 + 2 * i) | 0xffff0000u;
	for (unsigned i = 0; i < 4; i++)
		t->seg[i] = get16(b + 34 + 2 * i);
	t->ldt = get16(b + 42);
	return true;
}

/* The dynamic fields of the old task. The range has been checked for writing, so only a page table changed by another
 * processor in between can make it fail. */
static bool tss_save(struct vcpu *v, uint32_t eip, uint32_t eflags)
{
	const struct x86_regs *r = &v->regs;
	bool wide = tss_is_wide(r->tr.attr);
	unsigned first = wide ? 32 : 14, n = wide ? 64 : 28;
	uint8_t b[64];

	if (wide) {
		put32(b, eip);
		put32(b + 4, eflags);
		for (unsigned i = 0; i < 8; i++)
			put32(b + 8 + 4 * i, (uint32_t)r->gpr[i]);
		for (unsigned i = 0; i < SEG_COUNT; i++)
			put32(b + 40 + 4 * i, r->seg[i].sel);
	} else {
		put16(b, (uint16_t)eip);
		put16(b + 2, (uint16_t)eflags);
		for (unsigned i = 0; i < 8; i++)
			put16(b + 4 + 2 * i, (uint16_t)r->gpr[i]);
		for (unsigned i = 0; i < 4; i++)
			put16(b + 20 + 2 * i, r->seg[i].sel);
	}
	return sys_write(v, r->tr.base + first, b, n);
}

static bool tss_writable(struct vcpu *v, uint64_t base, unsigned bytes)
{
	struct mmu_page p;
	uint64_t last = (uint32_t)(base + bytes - 1);

	base = (uint32_t)base;
	return mmu_translate(v, base, ACC_WRITE | ACC_SYSTEM, &p) && mmu_translate(v, last, ACC_WRITE | ACC_SYSTEM, &p);
}

/* ---- the second half: hidden parts, in the new task ---- */

static bool load_ldt(struct vcpu *v, uint16_t sel)
{
	struct x86_seg *l = &v->regs.ldtr;
	uint64_t d;

	seg_set_null(l, sel);
	if (sel_null(sel))
		return true;
	if (sel & SEL_TI)
		return fault_sel(v, VEC_TS, sel);
	if (!desc_read(v, sel, VEC_TS, &d))
		return false;
	if (attr_sys(desc_attr(d)) != SD_LDT || !(desc_attr(d) & SA_P))
		return fault_sel(v, VEC_TS, sel);
	return desc_cache(v, sel, d, l);
}

static bool load_cs(struct vcpu *v, uint16_t sel)
{
	unsigned cpl = sel_rpl(sel);
	uint64_t d;

	if (sel_null(sel))
		return fault_sel(v, VEC_TS, sel);
	if (!desc_read(v, sel, VEC_TS, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (!attr_code(attr) || (attr_conforming(attr) ? attr_dpl(attr) > cpl : attr_dpl(attr) != cpl))
		return fault_sel(v, VEC_TS, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_NP, sel);
	return desc_cache(v, sel, d, &v->regs.seg[SEG_CS]);
}

static bool load_ss(struct vcpu *v, uint16_t sel, unsigned cpl)
{
	uint64_t d;

	if (sel_null(sel))
		return fault_sel(v, VEC_TS, sel);
	if (!desc_read(v, sel, VEC_TS, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (!attr_writable(attr) || attr_dpl(attr) != cpl || sel_rpl(sel) != cpl)
		return fault_sel(v, VEC_TS, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_SS, sel);
	return desc_cache(v, sel, d, &v->regs.seg[SEG_SS]);
}

static bool load_data(struct vcpu *v, unsigned seg, uint16_t sel, unsigned cpl)
{
	uint64_t d;

	if (sel_null(sel))
		return true;
	if (!desc_read(v, sel, VEC_TS, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (!attr_readable(attr))
		return fault_sel(v, VEC_TS, sel);
	if (!attr_conforming(attr) && (attr_dpl(attr) < cpl || attr_dpl(attr) < sel_rpl(sel)))
		return fault_sel(v, VEC_TS, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_NP, sel);
	return desc_cache(v, sel, d, &v->regs.seg[seg]);
}

static bool load_segments(struct vcpu *v, const struct tss *t)
{
	struct x86_regs *r = &v->regs;
	unsigned cpl = sel_rpl(t->seg[SEG_CS]);

	if (!load_ldt(v, t->ldt))
		return false;
	if (vcpu_v86(v)) {
		for (unsigned i = 0; i < SEG_COUNT; i++)
			seg_set_v86(&r->seg[i], t->seg[i]);
	} else if (!load_ss(v, t->seg[SEG_SS], cpl) || !load_cs(v, t->seg[SEG_CS]) ||
		   !load_data(v, SEG_ES, t->seg[SEG_ES], cpl) || !load_data(v, SEG_DS, t->seg[SEG_DS], cpl) ||
		   !load_data(v, SEG_FS, t->seg[SEG_FS], cpl) || !load_data(v, SEG_GS, t->seg[SEG_GS], cpl)) {
		return false;
	}
	return cs_check_ip(v, &r->seg[SEG_CS], r->rip);
}

/* Registers and selectors of the new task, hidden parts unusable but for the privilege level. */
static void adopt(struct vcpu *v, const struct tss *t)
{
	struct x86_regs *r = &v->regs;

	r->rip = t->eip;
	for (unsigned i = 0; i < 8; i++)
		r->gpr[i] = t->gpr[i];
	for (unsigned i = 0; i < SEG_COUNT; i++)
		seg_set_null(&r->seg[i], t->seg[i]);
	unsigned cpl = t->eflags & FL_VM ? 3 : sel_rpl(t->seg[SEG_CS]);
	r->seg[SEG_SS].attr = (uint16_t)(cpl << SA_DPL_SHIFT);
	rflags_write(v, t->eflags, t->wide ? ~0ull : 0xffff);
	if (!t->wide)
		r->rflags &= ~(uint64_t)FL_VM;
}

/* ---- the switch ---- */

static bool new_tss(struct vcpu *v, const struct task_request *q, uint64_t *d)
{
	/* IRET and gates report a bad link as #TS, JMP and CALL as #GP (SDM 3A table 7-1) */
	uint8_t vector = q->cause == TASK_IRET ? VEC_TS : VEC_GP;

	if (sel_null(q->sel) || (q->sel & SEL_TI))
		return fault_sel(v, vector, q->sel);
	if (!desc_read(v, q->sel, vector, d))
		return false;
	unsigned attr = desc_attr(*d), type = attr_sys(attr);
	bool busy = type == SD_TSS16_BUSY || type == SD_TSS_BUSY, avail = type == SD_TSS16_AVL || type == SD_TSS_AVL;
	if (q->cause == TASK_IRET ? !busy : !avail)
		return fault_sel(v, vector, q->sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_NP, q->sel);
	if (desc_limit(*d) < tss_bytes(tss_is_wide(attr)) - 1)
		return fault_sel(v, VEC_TS, q->sel);
	return true;
}

bool task_switch(struct vcpu *v, const struct task_request *q, bool *trap)
{
	struct x86_regs *r = &v->regs;
	struct tss t;
	uint64_t d;

	*trap = false;
	if (vcpu_long_mode(v) || !new_tss(v, q, &d)) {
		if (vcpu_long_mode(v))
			fault_gp0(v);
		return false;
	}
	unsigned attr = desc_attr(d);
	bool nest = q->cause == TASK_CALL || q->cause == TASK_GATE;
	uint64_t base = desc_base(d);
	uint16_t old_sel = r->tr.sel;
	if (!tss_writable(v, r->tr.base, tss_bytes(tss_is_wide(r->tr.attr))) || (nest && !tss_writable(v, base, 2)) ||
	    !tss_read(v, base, tss_is_wide(attr), &t))
		return false;

	uint32_t flags = (uint32_t)r->rflags;
	if (q->cause == TASK_IRET)
		flags &= ~FL_NT;
	if (!tss_save(v, (uint32_t)q->next_rip, flags))
		return false;
	if (q->cause == TASK_JMP || q->cause == TASK_IRET)
		if (!desc_type_update(v, old_sel, 0, 2))
			return false;
	if (nest) {
		if (!sys_write(v, base, &old_sel, 2))
			return false;
		t.eflags |= FL_NT;
	}
	if (q->cause != TASK_IRET && !desc_type_update(v, q->sel, 2, 0))
		return false;

	/* committed: the new task from here on */
	r->tr = (struct x86_seg){.sel = q->sel, .attr = (uint16_t)(attr | 2), .limit = desc_limit(d), .base = base};
	adopt(v, &t);
	r->cr0 |= CR0_TS;
	r->dr[7] &= ~0x155ull;
	if (t.wide && (r->cr0 & CR0_PG)) {
		if (!cr3_load(v, t.cr3))
			return false;
	}
	if (!load_segments(v, &t))
		return false;
	if (q->has_error) {
		struct xstack s;
		xstack_current(v, &s);
		if (!xstack_push(v, &s, q->error, t.wide ? 4 : 2))
			return false;
		r->gpr[R_SP] = xstack_merge(&s, r->gpr[R_SP]);
	}
	*trap = t.trap;
	return true;
}

bool task_switch_gate(struct vcpu *v, uint64_t gate, struct task_request *q, bool *trap)
{
	q->sel = gate_sel(gate);
	return task_switch(v, q, trap);
}

/* ---- stack pointers ---- */

static bool task_stack(struct vcpu *v, unsigned dpl, uint16_t *ss, uint32_t *esp)
{
	const struct x86_seg *tr = &v->regs.tr;

	if (tss_is_wide(tr->attr)) {
		unsigned at = 4 + 8 * dpl;
		if (at + 5 > tr->limit)
			return fault_sel(v, VEC_TS, tr->sel);
		return sys_read(v, tr->base + at, esp, 4) && sys_read(v, tr->base + at + 4, ss, 2);
	}
	unsigned at = 2 + 4 * dpl;
	uint16_t sp;
	if (at + 3 > tr->limit)
		return fault_sel(v, VEC_TS, tr->sel);
	if (!sys_read(v, tr->base + at, &sp, 2) || !sys_read(v, tr->base + at + 2, ss, 2))
		return false;
	*esp = sp;
	return true;
}

bool task_rsp(struct vcpu *v, unsigned n, bool ist, uint64_t *rsp)
{
	const struct x86_seg *tr = &v->regs.tr;
	unsigned at = ist ? 36 + 8 * (n - 1) : 4 + 8 * n;

	if (at + 7 > tr->limit)
		return fault_sel(v, VEC_TS, tr->sel);
	if (!sys_read(v, tr->base + at, rsp, 8))
		return false;
	if (!is_canonical(*rsp)) {
		fault_set_error(v, VEC_SS, 0);
		return false;
	}
	return true;
}

bool task_inner_stack(struct vcpu *v, unsigned cpl, struct xstack *s)
{
	uint16_t sel;
	uint32_t esp;
	uint64_t d;

	if (!task_stack(v, cpl, &sel, &esp))
		return false;
	if (sel_null(sel)) {
		fault_set_error(v, VEC_TS, 0);
		return false;
	}
	if (!desc_read(v, sel, VEC_TS, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (sel_rpl(sel) != cpl || attr_dpl(attr) != cpl || !attr_writable(attr))
		return fault_sel(v, VEC_TS, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_SS, sel);
	if (!desc_cache(v, sel, d, &s->ss))
		return false;
	s->sp = esp;
	s->error = sel & 0xfffcu;
	s->acc = cpl == 3 ? ACC_USER : 0;
	xstack_shape(s, false);
	return true;
}
