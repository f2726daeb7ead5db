// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ports, and the interrupt flag (SDM 1 18.5, SDM 3A 20.3.2, 20.4).
 *
 * INS and OUTS work in slices: after some iterations, or as soon as a request waits, they return XR_AGAIN with their
 * registers exact, so that interrupts get in; with TF set or breakpoints enabled after each one. INS makes sure that its destination can be written before it reads the
 * port: a page fault must not swallow a byte.
 */
#include <stdatomic.h>

#include "engine/vm.h"
#include "translator/sys_ops.h"

#define IO_SLICE 256

/* ---- permission ---- */

/* IOPL, or the TSS's bitmap (SDM 1 18.5.2). */
static bool io_allowed(struct vcpu *v, unsigned port, unsigned bytes)
{
	const struct x86_regs *r = &v->regs;
	unsigned iopl = (r->rflags & FL_IOPL) >> FL_IOPL_SHIFT, type = attr_sys(r->tr.attr);
	uint16_t iomap, bits;

	if (vcpu_real_mode(v) || (!vcpu_v86(v) && vcpu_cpl(v) <= iopl))
		return true;
	if (!(r->tr.attr & SA_P) || (type != SD_TSS_AVL && type != SD_TSS_BUSY) || r->tr.limit < 103) {
		fault_gp0(v);
		return false;
	}
	if (!sys_read(v, r->tr.base + 102, &iomap, 2))
		return false;
	/* two bytes are read always: the bitmap ends with a byte of ones for that */
	uint32_t at = iomap + port / 8;
	if (at + 1 > r->tr.limit) {
		fault_gp0(v);
		return false;
	}
	if (!sys_read(v, r->tr.base + at, &bits, 2))
		return false;
	if (bits >> (port & 7) & ((1u << bytes) - 1)) {
		fault_gp0(v);
		return false;
	}
	return true;
}

/* ---- IN and OUT ---- */

/* E4-E7 have an immediate port, EC-EF use DX; odd opcodes have the operand size. */
static unsigned io_bytes(const struct insn *i)
{
	return !(i->opcode & 1) ? 1 : prefix_size(i) == 2 ? 2 : 4;
}
static uint16_t io_port(const struct vcpu *v, const struct insn *i)
{
	return i->opcode & 8 ? (uint16_t)v->regs.gpr[R_DX] : (uint8_t)i->imm[0];
}

enum xr sys_in(struct vcpu *v, const struct insn *i)
{
	unsigned bytes = io_bytes(i);
	uint16_t port = io_port(v, i);

	if (!io_allowed(v, port, bytes))
		return XR_FAULT;
	gpr_write(v, R_AX, vm_pio_read(v, port, bytes), bytes);
	return XR_NEXT;
}

enum xr sys_out(struct vcpu *v, const struct insn *i)
{
	unsigned bytes = io_bytes(i);
	uint16_t port = io_port(v, i);
	uint64_t val = v->regs.gpr[R_AX];

	if (!io_allowed(v, port, bytes))
		return XR_FAULT;
	vm_pio_write(v, port, bytes, bytes == 4 ? (uint32_t)val : bytes == 2 ? (uint16_t)val : (uint8_t)val);
	return XR_NEXT;
}

/* ---- INS and OUTS ---- */

static uint64_t reg_masked(const struct vcpu *v, unsigned reg, const struct insn *i)
{
	uint64_t x = v->regs.gpr[reg];

	return i->addrsize == 8 ? x : i->addrsize == 4 ? (uint32_t)x : (uint16_t)x;
}

static void reg_step(struct vcpu *v, unsigned reg, const struct insn *i, int64_t by)
{
	gpr_write(v, reg, v->regs.gpr[reg] + (uint64_t)by, i->addrsize);
}

/* Can n bytes be written there? */
static bool store_allowed(struct vcpu *v, unsigned seg, uint64_t off, unsigned n)
{
	unsigned acc = ACC_WRITE | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	struct mmu_page p;
	uint64_t lin;

	if (!seg_linear(v, seg, off, n, acc, &lin) || !mmu_translate(v, lin, acc, &p))
		return false;
	uint64_t last = lin + n - 1;
	if (!vcpu_long_mode(v))
		last = (uint32_t)last;
	return !((lin ^ last) >> PAGE_SHIFT_4K) || mmu_translate(v, last, acc, &p);
}

static bool ins_once(struct vcpu *v, const struct insn *i, unsigned bytes)
{
	uint64_t off = reg_masked(v, R_DI, i), val;

	if (!store_allowed(v, SEG_ES, off, bytes))
		return false;
	val = vm_pio_read(v, (uint16_t)v->regs.gpr[R_DX], bytes);
	if (!mem_store(v, SEG_ES, off, &val, bytes))
		return false;
	reg_step(v, R_DI, i, v->regs.rflags & FL_DF ? -(int64_t)bytes : bytes);
	return true;
}

static bool outs_once(struct vcpu *v, const struct insn *i, unsigned bytes)
{
	uint64_t val = 0;

	if (!mem_load(v, i->seg, reg_masked(v, R_SI, i), &val, bytes))
		return false;
	vm_pio_write(v, (uint16_t)v->regs.gpr[R_DX], bytes, val);
	reg_step(v, R_SI, i, v->regs.rflags & FL_DF ? -(int64_t)bytes : bytes);
	return true;
}

static enum xr io_string(struct vcpu *v, const struct insn *i, bool in)
{
	unsigned bytes = io_bytes(i), slice = (v->regs.rflags & FL_TF) || (v->regs.dr[7] & 0xff) ? 1 : IO_SLICE;

	/* processors look at the permission even when nothing is to be transferred */
	if (!io_allowed(v, (uint16_t)v->regs.gpr[R_DX], bytes))
		return XR_FAULT;
	if (i->rep && !reg_masked(v, R_CX, i))
		return XR_NEXT;
	for (unsigned k = 0; k < slice; k++) {
		if (in ? !ins_once(v, i, bytes) : !outs_once(v, i, bytes))
			return XR_FAULT;
		if (!i->rep)
			return XR_NEXT;
		reg_step(v, R_CX, i, -1);
		if (!reg_masked(v, R_CX, i))
			return XR_NEXT;
		if (atomic_load_explicit(&v->request, memory_order_relaxed))
			break;
	}
	return XR_AGAIN;
}

unsigned insn_ports(const struct vcpu *v, const struct insn *i, uint16_t *port)
{
	insn_fn *fn = i->row->exec;
	bool string = fn == sys_ins || fn == sys_outs;

	if ((!string && fn != sys_in && fn != sys_out) || (string && i->rep && !reg_masked(v, R_CX, i)))
		return 0;
	*port = io_port(v, i);
	return io_bytes(i);
}

enum xr sys_ins(struct vcpu *v, const struct insn *i)
{
	return io_string(v, i, true);
}

enum xr sys_outs(struct vcpu *v, const struct insn *i)
{
	return io_string(v, i, false);
}

/* ---- the interrupt flag ---- */

/* Which flag CLI and STI change here: IF, VIF (CR4.VME or PVI), or none (#GP). */
static uint64_t interrupt_flag(const struct vcpu *v)
{
	const struct x86_regs *r = &v->regs;
	unsigned iopl = (r->rflags & FL_IOPL) >> FL_IOPL_SHIFT, cpl = vcpu_cpl(v);

	if (vcpu_real_mode(v))
		return FL_IF;
	if (vcpu_v86(v))
		return iopl == 3 ? FL_IF : r->cr4 & CR4_VME ? FL_VIF : 0;
	if (cpl <= iopl)
		return FL_IF;
	return cpl == 3 && (r->cr4 & CR4_PVI) ? FL_VIF : 0;
}

enum xr sys_cli(struct vcpu *v, const struct insn *i)
{
	uint64_t flag = interrupt_flag(v);

	(void)i;
	if (!flag)
		return fault_gp0(v);
	v->regs.rflags &= ~flag;
	return XR_NEXT;
}

enum xr sys_sti(struct vcpu *v, const struct insn *i)
{
	uint64_t flag = interrupt_flag(v);

	(void)i;
	if (!flag || (flag == FL_VIF && (v->regs.rflags & FL_VIP)))
		return fault_gp0(v);
	/* the shadow only when IF was clear (SDM 2B "STI") */
	if (!(v->regs.rflags & flag))
		v->int_shadow = true;
	v->regs.rflags |= flag;
	return XR_NEXT;
}

enum xr sys_hlt(struct vcpu *v, const struct insn *i)
{
	(void)v;
	(void)i;
	return XR_HLT;
}
