// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Segmentation (SDM 3A chapters 3 and 5): logical to linear addresses, data and stack accesses, descriptors, and the
 * loading of data segment registers.
 *
 * In real and v86 mode the hidden parts are used as they are: their limit and base, no type checks. So a real mode with
 * large limits left over from protected mode works as on a processor.
 *
 * Deviation: an alignment check (#AC) is made before the page walk, not after it. Loading a null selector into FS or GS
 * clears the base, as Intel's processors and AMD's recent ones do.
 */
#include "translator/desc.h"
#include "translator/mmu_tlb.h"

/* ---- faults ---- */

enum xr fault_set(struct vcpu *v, uint8_t vector)
{
	v->fault = (struct x86_fault){.vector = vector};
	return XR_FAULT;
}

enum xr fault_set_error(struct vcpu *v, uint8_t vector, uint32_t error)
{
	v->fault = (struct x86_fault){.vector = vector, .has_error = true, .error = error};
	return XR_FAULT;
}

/* ---- linear addresses ---- */

uint64_t insn_ea(const struct vcpu *v, const struct insn *i)
{
	const struct x86_regs *r = &v->regs;
	uint64_t ea = (uint64_t)i->disp;

	if (i->base != NO_REG)
		ea += r->gpr[i->base & 15];
	if (i->index != NO_REG)
		ea += r->gpr[i->index & 15] * i->scale;
	if (i->rip_rel)
		ea += r->rip + i->len;
	return i->addrsize == 8 ? ea : i->addrsize == 4 ? (uint32_t)ea : (uint16_t)ea;
}

static bool seg_fault(struct vcpu *v, unsigned seg)
{
	fault_set_error(v, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
	return false;
}

/* Limit of a segment that is not flat by mode. */
static inline bool seg_within(const struct x86_seg *s, uint64_t off, unsigned n)
{
	uint64_t last = off + n - 1;

	if ((s->attr & (SA_S | SA_CODE | SA_DC)) == (SA_S | SA_DC))
		return off > s->limit && last <= (s->attr & SA_DB ? 0xffffffffull : 0xffffull);
	return last <= s->limit;
}

bool seg_linear(struct vcpu *v, unsigned seg, uint64_t off, unsigned n, unsigned acc, uint64_t *lin)
{
	const struct x86_seg *s = &v->regs.seg[seg];

	if (vcpu_code64(v)) {
		if (seg >= SEG_FS)
			off += s->base;
		if (!is_canonical(off) || !is_canonical(off + n - 1))
			return seg_fault(v, seg);
		*lin = off;
		return true;
	}
	off = (uint32_t)off;
	if (!vcpu_real_mode(v) && !vcpu_v86(v)) {
		if (!(s->attr & SA_P))
			return seg_fault(v, seg);
		if (acc & ACC_WRITE ? !attr_writable(s->attr) : !(acc & ACC_EXEC) && !attr_readable(s->attr))
			return seg_fault(v, seg);
	}
	if (!seg_within(s, off, n))
		return seg_fault(v, seg);
	*lin = (uint32_t)(s->base + off);
	return true;
}

/* Natural alignment of an operand of n bytes for #AC (SDM 3A table 6-7). */
static unsigned ac_mask(unsigned n)
{
	switch (n) {
	case 2:
		return 1;
	case 4:
	case 6:
		return 3;
	case 8:
	case 10:
		return 7;
	}
	return 0;
}

static bool ac_ok(struct vcpu *v, uint64_t lin, unsigned n)
{
	if (!(v->regs.cr0 & CR0_AM) || vcpu_cpl(v) != 3 || !(lin & ac_mask(n)))
		return true;
	fault_set_error(v, VEC_AC, 0);
	return false;
}

/* The common case: 64-bit code, no alignment check. */
static inline bool data_linear(struct vcpu *v, unsigned seg, uint64_t off, unsigned n, unsigned acc, uint64_t *lin)
{
	if (__builtin_expect(vcpu_code64(v) && !(v->regs.rflags & FL_AC), 1)) {
		uint64_t a = seg >= SEG_FS ? off + v->regs.seg[seg].base : off;
		if (is_canonical(a) && is_canonical(a + n - 1)) {
			*lin = a;
			return true;
		}
		return seg_fault(v, seg);
	}
	if (!seg_linear(v, seg, off, n, acc, lin))
		return false;
	return !(v->regs.rflags & FL_AC) || ac_ok(v, *lin, n);
}

static inline bool one_page(uint64_t lin, unsigned n)
{
	return (lin & (PAGE_SIZE_4K - 1)) + n <= PAGE_SIZE_4K;
}

bool mem_load(struct vcpu *v, unsigned seg, uint64_t off, void *buf, unsigned n)
{
	unsigned acc = ACC_READ | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	uint64_t lin;

	if (!data_linear(v, seg, off, n, acc, &lin))
		return false;
	struct tlb_entry *e = tlb_lookup(v, lin, acc);
	if (__builtin_expect(e && e->hva && one_page(lin, n), 1)) {
		tlb_copy(buf, e->hva + (lin & (PAGE_SIZE_4K - 1)), n);
		return true;
	}
	return mmu_read(v, lin, buf, n, acc);
}

bool mem_store(struct vcpu *v, unsigned seg, uint64_t off, const void *buf, unsigned n)
{
	unsigned acc = ACC_WRITE | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	uint64_t lin;

	if (!data_linear(v, seg, off, n, acc, &lin))
		return false;
	struct tlb_entry *e = tlb_lookup(v, lin, acc);
	if (__builtin_expect(e && e->hva && !(e->flags & TLB_ROM) && one_page(lin, n), 1)) {
		uint8_t *p = e->hva + (lin & (PAGE_SIZE_4K - 1));
		tlb_copy(p, buf, n);
		tlb_note_write(v, p, n);
		return true;
	}
	return mmu_write(v, lin, buf, n, acc);
}

/* ---- the current stack ---- */

static uint64_t stack_mask(const struct vcpu *v)
{
	return vcpu_code64(v) ? ~0ull : v->regs.seg[SEG_SS].attr & SA_DB ? 0xffffffffull : 0xffffull;
}

uint64_t stack_sp(const struct vcpu *v)
{
	return v->regs.gpr[R_SP] & stack_mask(v);
}

bool stack_push(struct vcpu *v, uint64_t *sp, uint64_t val, unsigned size)
{
	uint64_t to = (*sp - size) & stack_mask(v);

	if (!mem_store(v, SEG_SS, to, &val, size))
		return false;
	*sp = to;
	return true;
}

bool stack_pop(struct vcpu *v, uint64_t *sp, uint64_t *val, unsigned size)
{
	*val = 0;
	if (!mem_load(v, SEG_SS, *sp, val, size))
		return false;
	*sp = (*sp + size) & stack_mask(v);
	return true;
}

void stack_commit(struct vcpu *v, uint64_t sp)
{
	uint64_t mask = stack_mask(v);

	if (mask == 0xffff)
		v->regs.gpr[R_SP] = (v->regs.gpr[R_SP] & ~mask) | (sp & mask);
	else
		v->regs.gpr[R_SP] = sp & mask;
}

/* ---- stacks of events and far transfers ---- */

void xstack_shape(struct xstack *s, bool code64)
{
	s->code64 = code64;
	s->mask = code64 ? ~0ull : s->ss.attr & SA_DB ? 0xffffffffull : 0xffffull;
}

void xstack_current(const struct vcpu *v, struct xstack *s)
{
	s->ss = v->regs.seg[SEG_SS];
	s->sp = v->regs.gpr[R_SP];
	s->acc = vcpu_cpl(v) == 3 ? ACC_USER : 0;
	s->error = 0;
	xstack_shape(s, vcpu_code64(v));
}

static bool xstack_linear(struct vcpu *v, const struct xstack *s, uint64_t sp, unsigned n, uint64_t *lin)
{
	sp &= s->mask;
	if (s->code64) {
		*lin = sp;
		if (is_canonical(sp) && is_canonical(sp + n - 1))
			return true;
	} else {
		*lin = (uint32_t)(s->ss.base + sp);
		if (seg_within(&s->ss, sp, n))
			return true;
	}
	fault_set_error(v, VEC_SS, s->error);
	return false;
}

bool xstack_room(struct vcpu *v, struct xstack *s, unsigned n)
{
	uint64_t lin;

	return xstack_linear(v, s, s->sp - n, n, &lin);
}

bool xstack_push(struct vcpu *v, struct xstack *s, uint64_t val, unsigned size)
{
	uint64_t lin;

	if (!xstack_linear(v, s, s->sp - size, size, &lin) || !mmu_write(v, lin, &val, size, s->acc | ACC_WRITE))
		return false;
	s->sp = (s->sp - size) & s->mask;
	return true;
}

bool xstack_pop(struct vcpu *v, struct xstack *s, uint64_t *val, unsigned size)
{
	uint64_t lin;

	*val = 0;
	if (!xstack_linear(v, s, s->sp, size, &lin) || !mmu_read(v, lin, val, size, s->acc))
		return false;
	s->sp = (s->sp + size) & s->mask;
	return true;
}

/* ---- descriptors ---- */

static bool sys_linear(struct vcpu *v, uint64_t *lin, unsigned n)
{
	if (!vcpu_long_mode(v)) {
		*lin = (uint32_t)*lin;
	} else if (!is_canonical(*lin) || !is_canonical(*lin + n - 1)) {
		fault_gp0(v);
		return false;
	}
	return true;
}

bool sys_read(struct vcpu *v, uint64_t lin, void *buf, unsigned n)
{
	return sys_linear(v, &lin, n) && mmu_read(v, lin, buf, n, ACC_READ | ACC_SYSTEM);
}

bool sys_write(struct vcpu *v, uint64_t lin, const void *buf, unsigned n)
{
	return sys_linear(v, &lin, n) && mmu_write(v, lin, buf, n, ACC_WRITE | ACC_SYSTEM);
}

bool desc_locate(const struct vcpu *v, uint16_t sel, unsigned bytes, uint64_t *lin)
{
	const struct x86_regs *r = &v->regs;
	uint64_t base = r->gdtr.base, limit = r->gdtr.limit;

	if (sel & SEL_TI) {
		if (!(r->ldtr.attr & SA_P))
			return false;
		base = r->ldtr.base;
		limit = r->ldtr.limit;
	}
	*lin = base + (sel & 0xfff8u);
	return (sel & 0xfff8u) + bytes - 1 <= limit;
}

bool desc_read(struct vcpu *v, uint16_t sel, uint8_t vector, uint64_t *d)
{
	uint64_t lin;

	if (!desc_locate(v, sel, 8, &lin))
		return fault_sel(v, vector, sel);
	return sys_read(v, lin, d, 8);
}

bool desc_read_high(struct vcpu *v, uint16_t sel, uint8_t vector, uint64_t *high)
{
	uint64_t lin;

	if (!desc_locate(v, sel, 16, &lin))
		return fault_sel(v, vector, sel);
	return sys_read(v, lin + 8, high, 8);
}

bool desc_type_update(struct vcpu *v, uint16_t sel, uint8_t set, uint8_t clear)
{
	uint64_t lin;
	void *host;

	if (!desc_locate(v, sel, 8, &lin))
		return true; /* the table shrank under us: nothing to mark */
	lin += 4;            /* the doubleword that holds the type, as processors access it */
	if (!sys_linear(v, &lin, 4) || !mmu_rmw_ptr(v, lin, 4, ACC_WRITE | ACC_SYSTEM, &host))
		return false;
	if (host) {
		if (set)
			__atomic_fetch_or((uint32_t *)host, (uint32_t)set << 8, __ATOMIC_SEQ_CST);
		if (clear)
			__atomic_fetch_and((uint32_t *)host, ~((uint32_t)clear << 8), __ATOMIC_SEQ_CST);
		mmu_rmw_done(v, host, 4);
	}
	return true;
}

bool desc_cache(struct vcpu *v, uint16_t sel, uint64_t d, struct x86_seg *out)
{
	uint16_t attr = desc_attr(d);

	if ((attr & SA_S) && !(attr & SA_ACCESSED)) {
		if (!desc_type_update(v, sel, SA_ACCESSED, 0))
			return false;
		attr |= SA_ACCESSED;
	}
	*out = (struct x86_seg){.sel = sel, .attr = attr, .limit = desc_limit(d), .base = desc_base(d)};
	return true;
}

/* ---- segment registers ---- */

void seg_set_v86(struct x86_seg *s, uint16_t sel)
{
	*s = (struct x86_seg){.sel = sel,
			      .attr = SA_P | SA_S | SA_RW | SA_ACCESSED | SA_DPL,
			      .limit = 0xffff,
			      .base = (uint64_t)sel << 4};
}

void seg_drop_privileged(struct vcpu *v, unsigned cpl)
{
	static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned i = 0; i < sizeof(data); i++) {
		struct x86_seg *s = &v->regs.seg[data[i]];
		if ((s->attr & SA_P) && !attr_conforming(s->attr) && attr_dpl(s->attr) < cpl)
			seg_set_null(s, 0);
	}
}

static bool seg_load_ss(struct vcpu *v, uint16_t sel)
{
	unsigned cpl = vcpu_cpl(v);
	uint64_t d;

	if (sel_null(sel)) {
		if (!vcpu_code64(v) || cpl == 3 || sel_rpl(sel) != cpl) {
			fault_gp0(v);
			return false;
		}
		seg_set_null_ss(&v->regs.seg[SEG_SS], cpl);
		return true;
	}
	if (!desc_read(v, sel, VEC_GP, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (sel_rpl(sel) != cpl || attr_dpl(attr) != cpl || !attr_writable(attr))
		return fault_sel(v, VEC_GP, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_SS, sel);
	return desc_cache(v, sel, d, &v->regs.seg[SEG_SS]);
}

bool seg_load(struct vcpu *v, unsigned seg, uint16_t sel)
{
	struct x86_seg *s = &v->regs.seg[seg];
	uint64_t d;

	if (vcpu_v86(v)) {
		seg_set_v86(s, sel);
		return true;
	}
	if (vcpu_real_mode(v)) {
		s->sel = sel;
		s->base = (uint64_t)sel << 4;
		s->attr = (uint16_t)((s->attr & (SA_DB | SA_G)) | SA_P | SA_S | SA_RW | SA_ACCESSED);
		return true;
	}
	if (seg == SEG_CS) {
		fault_set(v, VEC_UD);
		return false;
	}
	if (seg == SEG_SS)
		return seg_load_ss(v, sel);
	if (sel_null(sel)) {
		seg_set_null(s, sel);
		return true;
	}
	if (!desc_read(v, sel, VEC_GP, &d))
		return false;
	unsigned attr = desc_attr(d);
	if (!attr_readable(attr))
		return fault_sel(v, VEC_GP, sel);
	if (!attr_conforming(attr) && (sel_rpl(sel) > attr_dpl(attr) || vcpu_cpl(v) > attr_dpl(attr)))
		return fault_sel(v, VEC_GP, sel);
	if (!(attr & SA_P))
		return fault_sel(v, VEC_NP, sel);
	return desc_cache(v, sel, d, s);
}

/* ---- RIP and flags ---- */

bool cs_check_ip(struct vcpu *v, const struct x86_seg *cs, uint64_t ip)
{
	if (vcpu_long_mode(v) && (cs->attr & SA_L) ? is_canonical(ip) : ip <= cs->limit)
		return true;
	fault_gp0(v);
	return false;
}

bool rip_set(struct vcpu *v, uint64_t target, unsigned opsize)
{
	if (!vcpu_code64(v))
		target = opsize == 2 ? (uint16_t)target : (uint32_t)target;
	if (!cs_check_ip(v, &v->regs.seg[SEG_CS], target))
		return false;
	v->regs.rip = target;
	return true;
}

void rflags_write(struct vcpu *v, uint64_t val, uint64_t mask)
{
	/* bits 3, 5, 15 and 63-22 are fixed zeros */
	const uint64_t real =
		FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID;

	mask &= real;
	v->regs.rflags = ((v->regs.rflags & ~mask) | (val & mask)) & real;
	v->regs.rflags |= FL_ONE;
}
