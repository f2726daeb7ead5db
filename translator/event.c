// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Events: exceptions, external interrupts, NMIs and software interrupts, through the real-mode vector table or the IDT
 * (SDM 3A chapter 6, 20.1.4 for real mode, 20.3 for v86 mode).
 *
 * deliver() changes the guest's registers only when nothing can fail any more (a task switch aside). What fails becomes
 * the next event: event_exception() walks the table of double faults (SDM 3A table 6-5) until one is delivered or the
 * processor shuts down.
 */
#include "translator/mmu_tlb.h"
#include "translator/task.h"

struct event {
	uint8_t vector;
	bool soft; /* INT n and kin: gate DPL is checked, EXT stays 0 */
	bool has_error;
	uint32_t error;
	uint64_t rip;   /* to be saved */
	uint64_t flags; /* to be saved */
};

static uint32_t idt_error(uint8_t vector)
{
	return (uint32_t)vector << 3 | 2;
}

static bool fault_with(struct vcpu *v, uint8_t vector, uint32_t error)
{
	fault_set_error(v, vector, error);
	return false;
}

/* ---- real mode, and v86 mode with interrupt redirection: a vector table at base ---- */

static bool deliver_ivt(struct vcpu *v, const struct event *e, uint64_t base, uint64_t limit)
{
	struct x86_regs *r = &v->regs;
	struct xstack s;
	uint32_t entry;

	if (e->vector * 4u + 3 > limit)
		return fault_with(v, VEC_GP, idt_error(e->vector));
	unsigned acc = vcpu_cpl(v) == 3 ? ACC_USER : 0;
	if (!mmu_read(v, (uint32_t)(base + e->vector * 4u), &entry, 4, acc))
		return false;
	xstack_current(v, &s);
	if (!xstack_push(v, &s, e->flags & 0xffff, 2) || !xstack_push(v, &s, r->seg[SEG_CS].sel, 2) ||
	    !xstack_push(v, &s, e->rip & 0xffff, 2))
		return false;
	r->gpr[R_SP] = xstack_merge(&s, r->gpr[R_SP]);
	r->seg[SEG_CS].sel = (uint16_t)(entry >> 16);
	r->seg[SEG_CS].base = (uint64_t)(entry >> 16) << 4;
	r->rip = entry & 0xffff;
	return true;
}

static bool deliver_real(struct vcpu *v, const struct event *e)
{
	if (!deliver_ivt(v, e, v->regs.idtr.base, v->regs.idtr.limit))
		return false;
	v->regs.rflags &= ~(uint64_t)(FL_IF | FL_TF | FL_AC | FL_RF);
	return true;
}

/* ---- protected and long mode ---- */

/* What the frame is built from, once the gate has been understood. */
struct frame {
	uint16_t cs;
	uint64_t cs_desc;
	uint64_t rip;
	unsigned size; /* of one push: 2, 4, 8 */
	bool inner;    /* to a more privileged level: another stack */
	unsigned cpl;  /* the new one */
	bool trap_gate;
	struct xstack s;
};

static bool choose_stack(struct vcpu *v, struct frame *f, unsigned ist)
{
	xstack_current(v, &f->s);
	f->s.acc = f->cpl == 3 ? ACC_USER : 0;
	if (!vcpu_long_mode(v))
		return !f->inner || task_inner_stack(v, f->cpl, &f->s);
	/* Long mode: no stack segment, 16-byte alignment (SDM 3A 6.14.2 - 6.14.5) */
	if (ist) {
		if (!task_rsp(v, ist, true, &f->s.sp))
			return false;
	} else if (f->inner) {
		if (!task_rsp(v, f->cpl, false, &f->s.sp))
			return false;
	}
	xstack_shape(&f->s, true);
	f->s.sp &= ~15ull;
	return true;
}

static bool push_frame(struct vcpu *v, struct frame *f, const struct event *e)
{
	const struct x86_regs *r = &v->regs;
	struct xstack *s = &f->s;
	unsigned n = f->size;
	bool v86 = vcpu_v86(v);

	if (v86 && !(xstack_push(v, s, r->seg[SEG_GS].sel, n) && xstack_push(v, s, r->seg[SEG_FS].sel, n) &&
		     xstack_push(v, s, r->seg[SEG_DS].sel, n) && xstack_push(v, s, r->seg[SEG_ES].sel, n)))
		return false;
	if ((f->inner || vcpu_long_mode(v)) &&
	    !(xstack_push(v, s, r->seg[SEG_SS].sel, n) && xstack_push(v, s, r->gpr[R_SP], n)))
		return false;
	return xstack_push(v, s, e->flags, n) && xstack_push(v, s, r->seg[SEG_CS].sel, n) &&
	       xstack_push(v, s, e->rip, n) && (!e->has_error || xstack_push(v, s, e->error, n));
}

/* The code segment of an interrupt or trap gate. */
static bool gate_code(struct vcpu *v, struct frame *f)
{
	unsigned cpl = vcpu_cpl(v);
	bool lm = vcpu_long_mode(v);

	if (sel_null(f->cs))
		return fault_with(v, VEC_GP, 0);
	if (!desc_read(v, f->cs, VEC_GP, &f->cs_desc))
		return false;
	unsigned attr = desc_attr(f->cs_desc);
	if (!attr_code(attr) || attr_dpl(attr) > cpl)
		return fault_sel(v, VEC_GP, f->cs);
	if (lm && (attr & (SA_L | SA_DB)) != SA_L)
		return fault_sel(v, VEC_GP, f->cs);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_NP, f->cs);
	f->inner = !attr_conforming(attr) && attr_dpl(attr) < cpl;
	f->cpl = f->inner ? attr_dpl(attr) : cpl;
	if (vcpu_v86(v) && (!f->inner || f->cpl != 0))
		return fault_sel(v, VEC_GP, f->cs);
	return true;
}

static bool deliver_task(struct vcpu *v, const struct event *e, uint64_t gate)
{
	struct task_request q = {.cause = TASK_GATE, .next_rip = e->rip, .has_error = e->has_error, .error = e->error};
	bool trap = false;

	/* the image of EFLAGS in the old TSS is e->flags */
	v->regs.rflags = (v->regs.rflags & ~(uint64_t)FL_RF) | (e->flags & FL_RF);
	if (!task_switch_gate(v, gate, &q, &trap))
		return false;
	if (!trap)
		return true;
	/* the T flag of the new TSS: its #DB is the next event */
	v->fault = (struct x86_fault){.vector = VEC_DB, .trap = true, .addr = DR6_BT};
	return false;
}

static bool deliver_gate(struct vcpu *v, const struct event *e)
{
	struct x86_regs *r = &v->regs;
	bool lm = vcpu_long_mode(v);
	unsigned entry = lm ? 16 : 8;
	uint64_t gate, high = 0;

	if ((e->vector + 1u) * entry - 1 > r->idtr.limit)
		return fault_with(v, VEC_GP, idt_error(e->vector));
	uint64_t at = r->idtr.base + (uint64_t)e->vector * entry;
	if (!sys_read(v, at, &gate, 8) || (lm && !sys_read(v, at + 8, &high, 8)))
		return false;

	unsigned attr = desc_attr(gate), type = attr_sys(attr);
	bool known = type == SD_INT || type == SD_TRAP ||
		     (!lm && (type == SD_INT16 || type == SD_TRAP16 || type == SD_TASK));
	if (!known || (e->soft && attr_dpl(attr) < vcpu_cpl(v)))
		return fault_with(v, VEC_GP, idt_error(e->vector));
	if (!(attr & SA_P))
		return fault_with(v, VEC_NP, idt_error(e->vector));
	if (type == SD_TASK)
		return deliver_task(v, e, gate);

	bool wide = type == SD_INT || type == SD_TRAP;
	struct frame f = {.cs = gate_sel(gate),
			  .size = lm     ? 8
				  : wide ? 4
					 : 2,
			  .trap_gate = type == SD_TRAP || type == SD_TRAP16,
			  .rip = wide ? gate_offset(gate) : gate & 0xffff};
	struct x86_seg cs;
	if (lm)
		f.rip |= high << 32;
	if (!gate_code(v, &f) || !choose_stack(v, &f, lm ? gate >> 32 & 7 : 0))
		return false;
	if (lm ? !is_canonical(f.rip) : f.rip > desc_limit(f.cs_desc))
		return fault_with(v, VEC_GP, 0);
	if (!push_frame(v, &f, e) || !desc_cache(v, f.cs, f.cs_desc, &cs))
		return false;

	/* committed */
	if (vcpu_v86(v)) {
		seg_set_null(&r->seg[SEG_DS], 0);
		seg_set_null(&r->seg[SEG_ES], 0);
		seg_set_null(&r->seg[SEG_FS], 0);
		seg_set_null(&r->seg[SEG_GS], 0);
	}
	cs.sel = (uint16_t)((f.cs & ~SEL_RPL) | f.cpl);
	r->seg[SEG_CS] = cs;
	if (f.inner) {
		if (lm)
			seg_set_null_ss(&r->seg[SEG_SS], f.cpl);
		else
			r->seg[SEG_SS] = f.s.ss;
	}
	r->gpr[R_SP] = lm ? f.s.sp : xstack_merge(&f.s, r->gpr[R_SP]);
	r->rip = f.rip;
	r->rflags &= ~(uint64_t)(FL_TF | FL_NT | FL_RF | FL_VM);
	if (!f.trap_gate)
		r->rflags &= ~(uint64_t)FL_IF;
	return true;
}

static bool deliver(struct vcpu *v, const struct event *e)
{
	bool ok = vcpu_real_mode(v) ? deliver_real(v, e) : deliver_gate(v, e);

	if (ok) {
		v->int_shadow = false;
	} else if (!e->soft && v->fault.has_error && v->fault.vector >= VEC_TS && v->fault.vector <= VEC_GP) {
		/* EXT: the cause lies outside the program (SDM 3A 6.13) */
		v->fault.error |= 1;
	}
	return ok;
}

/* ---- exceptions ---- */

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum fault_class fault_class(uint8_t vector)
{
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP:
		return CONTRIBUTORY;
	case VEC_PF:
		return PAGE_FAULT;
	}
	return BENIGN;
}

/* What an exception does besides its frame. */
static void exception_effects(struct vcpu *v, const struct x86_fault *f)
{
	struct x86_regs *r = &v->regs;

	v->count.exceptions++;
	if (f->vector == VEC_PF)
		r->cr2 = f->addr;
	if (f->vector == VEC_DB && !f->soft) {
		r->dr[6] = (r->dr[6] & ~0xfull) | f->addr | DR6_FIXED;
		r->dr[7] &= ~(uint64_t)DR7_GD;
	}
}

/* RF in the saved flags: set for faults, so that an instruction breakpoint does not fire again; #DB, traps and
 * interrupts leave it (SDM 3B 18.3.1.1). */
static uint64_t saved_flags(const struct vcpu *v, const struct x86_fault *f)
{
	bool fault = !f->soft && !f->trap && f->vector != VEC_DB && f->vector != VEC_BP && f->vector != VEC_OF;

	return v->regs.rflags | (fault ? FL_RF : 0);
}

enum xr event_exception(struct vcpu *v, const struct x86_fault *first)
{
	struct x86_fault f = *first;

	for (;;) {
		struct event e = {.vector = f.vector,
				  .soft = f.soft,
				  .has_error = f.has_error && !vcpu_real_mode(v),
				  .error = f.error,
				  .rip = v->regs.rip,
				  .flags = saved_flags(v, &f)};
		v->delivering = true;
		v->delivering_vector = f.vector;
		exception_effects(v, &f);
		if (deliver(v, &e)) {
			v->delivering = false;
			return XR_JUMP;
		}
		enum fault_class a = fault_class(f.vector), b = fault_class(v->fault.vector);
		if (f.vector == VEC_DF && b != BENIGN) {
			v->delivering = false;
			return XR_SHUTDOWN;
		}
		if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN))
			f = (struct x86_fault){.vector = VEC_DF, .has_error = true};
		else
			f = v->fault;
	}
}

/* ---- interrupts ---- */

static enum xr event_external(struct vcpu *v, uint8_t vector)
{
	struct event e = {.vector = vector, .rip = v->regs.rip, .flags = v->regs.rflags};

	if (deliver(v, &e))
		return XR_JUMP;
	struct x86_fault f = v->fault;
	return event_exception(v, &f);
}

enum xr event_interrupt(struct vcpu *v, uint8_t vector)
{
	v->count.interrupts++;
	return event_external(v, vector);
}

enum xr event_nmi(struct vcpu *v)
{
	v->nmi_blocked = true;
	return event_external(v, VEC_NMI);
}

enum xr event_inject(struct vcpu *v)
{
	struct x86_inject in = v->inject;
	struct x86_fault f = {.vector = in.vector, .has_error = in.has_error, .error = in.error};

	v->inject.kind = INJECT_NONE;
	switch ((enum inject_kind)in.kind) {
	case INJECT_NONE:
		break;
	case INJECT_INTERRUPT:
		return event_interrupt(v, in.vector);
	case INJECT_NMI:
		return event_nmi(v);
	case INJECT_EXCEPTION:
		/* what an exception does to registers has been done: the same once more */
		f.addr = in.vector == VEC_PF ? v->regs.cr2 : v->regs.dr[6] & 0xf;
		return event_exception(v, &f);
	}
	return XR_JUMP;
}

/* INT n in v86 mode with CR4.VME: does the TSS's redirection bitmap send it to the 8086 program's own table
 * (SDM 3A 20.3.3)? The 32 bytes lie below the I/O permission bitmap. */
static bool vme_redirected(struct vcpu *v, uint8_t vector, bool *redirect)
{
	const struct x86_seg *tr = &v->regs.tr;
	unsigned type = attr_sys(tr->attr);
	uint16_t iomap;
	uint8_t bits;

	*redirect = false;
	if (!(v->regs.cr4 & CR4_VME) || (type != SD_TSS_AVL && type != SD_TSS_BUSY) || tr->limit < 103)
		return true;
	if (!sys_read(v, tr->base + 102, &iomap, 2))
		return false;
	if (iomap < 32 || iomap - 32u + vector / 8 > tr->limit)
		return true;
	if (!sys_read(v, tr->base + iomap - 32u + vector / 8, &bits, 1))
		return false;
	*redirect = !(bits >> (vector & 7) & 1);
	return true;
}

static bool soft_v86(struct vcpu *v, struct event *e, bool *done)
{
	unsigned iopl = (v->regs.rflags & FL_IOPL) >> FL_IOPL_SHIFT;
	bool redirect;

	*done = false;
	if (!vme_redirected(v, e->vector, &redirect))
		return false;
	if (!redirect) {
		if (iopl < 3)
			return fault_with(v, VEC_GP, 0);
		return true;
	}
	*done = true;
	if (iopl < 3) {
		/* the program sees its virtual IF and IOPL 3 */
		e->flags = (e->flags & ~(uint64_t)FL_IF) | FL_IOPL | (v->regs.rflags & FL_VIF ? FL_IF : 0);
	}
	if (!deliver_ivt(v, e, 0, 0xffff))
		return false;
	v->regs.rflags &= ~(uint64_t)(FL_TF | FL_NT | (iopl < 3 ? FL_VIF : FL_IF));
	return true;
}

enum xr event_soft(struct vcpu *v, uint8_t vector, uint64_t next_rip)
{
	struct event e = {.vector = vector, .soft = true, .rip = next_rip, .flags = v->regs.rflags};
	bool done;

	/* Only INT n, which has two bytes at least, is sensitive to IOPL and redirected; INT3, INTO and INT1 are not.
	 */
	if (vcpu_v86(v) && next_rip - v->regs.rip >= 2) {
		if (!soft_v86(v, &e, &done))
			return XR_FAULT;
		if (done)
			return XR_JUMP;
	}
	v->count.exceptions++;
	return deliver(v, &e) ? XR_JUMP : XR_FAULT;
}
