/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operands and flags for the integer instructions (int_*.c), inline.
 *
 * Flags: the arithmetic is done by the host's own instruction, and LAHF + SETO bring its flags over, so that undefined
 * flags are the processor's too. PUSHFQ would need the red zone.
 *
 * Memory: mem_hit() is the common case (64-bit code or a flat segment, page in the soft TLB, RAM, one page) without a
 * call; everything else goes through mem_load/mem_store, which also raise the faults.
 */
#ifndef STEELYARD_INT_OP_H
#define STEELYARD_INT_OP_H

#include "translator/int_ops.h"
#include "translator/mmu_tlb.h"
#include "translator/system.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---- registers ---- */

static ALWAYS_INLINE uint64_t trunc_to(uint64_t val, unsigned n)
{
	return n == 8 ? val : val & ((1ull << (n * 8)) - 1);
}

static ALWAYS_INLINE uint64_t sext_from(uint64_t val, unsigned n)
{
	switch (n) {
	case 1:
		return (uint64_t)(int64_t)(int8_t)val;
	case 2:
		return (uint64_t)(int64_t)(int16_t)val;
	case 4:
		return (uint64_t)(int64_t)(int32_t)val;
	default:
		return val;
	}
}

static ALWAYS_INLINE uint64_t gpr_read(const struct vcpu *v, unsigned reg, unsigned n)
{
	return trunc_to(v->regs.gpr[reg], n);
}

/* 32-bit results clear the upper half, 8- and 16-bit results keep it (SDM 1 3.4.1.1). */
static ALWAYS_INLINE void gpr_write(struct vcpu *v, unsigned reg, unsigned n, uint64_t val)
{
	uint64_t *g = &v->regs.gpr[reg];

	if (n == 8)
		*g = val;
	else if (n == 4)
		*g = (uint32_t)val;
	else if (n == 2)
		*g = (*g & ~0xffffull) | (uint16_t)val;
	else
		*g = (*g & ~0xffull) | (uint8_t)val;
}

static ALWAYS_INLINE uint64_t opreg_read(const struct vcpu *v, const struct insn_op *o)
{
	if (UNLIKELY(o->high8))
		return (uint8_t)(v->regs.gpr[o->reg] >> 8);
	return gpr_read(v, o->reg, o->bytes);
}

static ALWAYS_INLINE void opreg_write(struct vcpu *v, const struct insn_op *o, uint64_t val)
{
	if (UNLIKELY(o->high8))
		v->regs.gpr[o->reg] = (v->regs.gpr[o->reg] & ~0xff00ull) | (uint64_t)(uint8_t)val << 8;
	else
		gpr_write(v, o->reg, o->bytes, val);
}

/* ---- flags ---- */

static ALWAYS_INLINE void flags_put(struct vcpu *v, uint64_t fl, uint64_t mask)
{
	v->regs.rflags = (v->regs.rflags & ~mask) | (fl & mask);
}

/* AX after LAHF and SETO AL, as RFLAGS bits. */
static ALWAYS_INLINE uint64_t flags_of_ax(uint64_t ax)
{
	return (ax >> 8 & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) | (ax & 1) << 11;
}
/* AX for GIVE_FLAGS: for instructions whose undefined flags are old flags on some processors. */
static ALWAYS_INLINE uint64_t ax_of_flags(uint64_t fl)
{
	return (fl & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) << 8 | (fl >> 11 & 1);
}
#define GIVE_FLAGS "addb $0x7f, %%al\n\tsahf\n\t"
#define TAKE_FLAGS "\n\tseto %%al\n\tlahf"

/* Condition codes 0-15 of Jcc, SETcc, CMOVcc (SDM 1 appendix B). */
static ALWAYS_INLINE bool cond_true(uint64_t fl, unsigned cc)
{
	bool r;

	switch (cc >> 1 & 7) {
	case 0:
		r = fl & FL_OF;
		break;
	case 1:
		r = fl & FL_CF;
		break;
	case 2:
		r = fl & FL_ZF;
		break;
	case 3:
		r = fl & (FL_CF | FL_ZF);
		break;
	case 4:
		r = fl & FL_SF;
		break;
	case 5:
		r = fl & FL_PF;
		break;
	case 6:
		r = !(fl & FL_SF) != !(fl & FL_OF);
		break;
	default:
		r = (fl & FL_ZF) || !(fl & FL_SF) != !(fl & FL_OF);
		break;
	}
	return r != (cc & 1);
}

enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST, ALU_COUNT };

#define ALU_CASE(name, a, b, ax)                                                        \
	switch (n) {                                                                    \
	case 1:                                                                         \
		asm(name "b %b2, %b1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                  \
	case 2:                                                                         \
		asm(name "w %w2, %w1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                  \
	case 4:                                                                         \
		asm(name "l %k2, %k1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                  \
	default:                                                                        \
		asm(name "q %q2, %q1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b) : "cc"); \
		break;                                                                  \
	}                                                                               \
	break
#define ALU_CASE_CARRY(name, a, b, ax)                                                                             \
	switch (n) {                                                                                               \
	case 1:                                                                                                    \
		asm("bt $0, %k3\n\t" name "b %b2, %b1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "r"(*fl) : "cc"); \
		break;                                                                                             \
	case 2:                                                                                                    \
		asm("bt $0, %k3\n\t" name "w %w2, %w1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "r"(*fl) : "cc"); \
		break;                                                                                             \
	case 4:                                                                                                    \
		asm("bt $0, %k3\n\t" name "l %k2, %k1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "r"(*fl) : "cc"); \
		break;                                                                                             \
	default:                                                                                                   \
		asm("bt $0, %k3\n\t" name "q %q2, %q1" TAKE_FLAGS : "=&a"(ax), "+r"(a) : "r"(b), "r"(*fl) : "cc"); \
		break;                                                                                             \
	}                                                                                                          \
	break

/* a OP b on n bytes. *fl: RFLAGS in and out. Bits of the result above n bytes are those of a. */
static ALWAYS_INLINE uint64_t alu2(enum alu op, unsigned n, uint64_t a, uint64_t b, uint64_t *fl)
{
	uint64_t ax;

	switch (op) {
	case ALU_ADD:
		ALU_CASE("add", a, b, ax);
	case ALU_OR:
		ALU_CASE("or", a, b, ax);
	case ALU_ADC:
		ALU_CASE_CARRY("adc", a, b, ax);
	case ALU_SBB:
		ALU_CASE_CARRY("sbb", a, b, ax);
	case ALU_AND:
		ALU_CASE("and", a, b, ax);
	case ALU_SUB:
		ALU_CASE("sub", a, b, ax);
	case ALU_XOR:
		ALU_CASE("xor", a, b, ax);
	case ALU_CMP:
		ALU_CASE("cmp", a, b, ax);
	default:
		ALU_CASE("test", a, b, ax);
	}
	*fl = (*fl & ~(uint64_t)FL_ARITH) | flags_of_ax(ax);
	return a;
}

/* ---- memory ---- */

/* Offset of the memory operand; the flat case without a call. */
static ALWAYS_INLINE uint64_t op_ea(const struct vcpu *v, const struct insn *i)
{
	uint64_t ea;

	if (UNLIKELY(i->addrsize != 8))
		return insn_ea(v, i);
	ea = (uint64_t)i->disp;
	if (i->base != NO_REG)
		ea += v->regs.gpr[i->base];
	if (i->index != NO_REG)
		ea += v->regs.gpr[i->index] * i->scale;
	if (i->rip_rel)
		ea += v->regs.rip + i->len;
	return ea;
}

MEM_RACY(ALWAYS_INLINE) void host_store(void *p, uint64_t val, unsigned n)
{
	switch (n) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)val;
		break;
	case 2:
		*(volatile mem16 *)p = (uint16_t)val;
		break;
	case 4:
		*(volatile mem32 *)p = (uint32_t)val;
		break;
	default:
		*(volatile mem64 *)p = val;
		break;
	}
}

MEM_RACY(ALWAYS_INLINE) uint64_t host_load(const void *p, unsigned n)
{
	switch (n) {
	case 1:
		return *(const volatile uint8_t *)p;
	case 2:
		return *(const volatile mem16 *)p;
	case 4:
		return *(const volatile mem32 *)p;
	default:
		return *(const volatile mem64 *)p;
	}
}

/* Host address of seg:off for n bytes in one page of RAM when everything is as usual, else NULL (nothing said about
 * why). */
static ALWAYS_INLINE uint8_t *mem_hit(struct vcpu *v, bool code64, unsigned seg, uint64_t off, unsigned n, unsigned acc)
{
	const struct x86_seg *s = &v->regs.seg[seg];
	const struct tlb_entry *e;
	uint64_t lin = off;

	if (LIKELY(code64)) {
		if (seg >= SEG_FS)
			lin += s->base;
		if (UNLIKELY((uint64_t)((int64_t)(lin << 16) >> 16) != lin))
			return NULL;
	} else if (s->base || s->limit != 0xffffffff || off > 0xffffffff ||
		   (s->attr & (SA_P | SA_S | SA_RW | SA_CODE | SA_DC)) != (SA_P | SA_S | SA_RW)) {
		return NULL;
	}
	if (vcpu_cpl(v) == 3) {
		acc |= ACC_USER;
		if (UNLIKELY(v->regs.rflags & FL_AC)) /* #AC may be due */
			return NULL;
	}
	e = tlb_lookup(v, lin, acc);
	if (UNLIKELY(!e || !e->hva || (lin & (PAGE_SIZE_4K - 1)) > PAGE_SIZE_4K - n))
		return NULL;
	if ((acc & ACC_WRITE) && UNLIKELY(e->flags & TLB_ROM))
		return NULL;
	return e->hva + (lin & (PAGE_SIZE_4K - 1));
}

static ALWAYS_INLINE bool seg_read(struct vcpu *v, const struct insn *i, unsigned seg, uint64_t off, unsigned n,
				   uint64_t *val)
{
	const uint8_t *p = mem_hit(v, i->code_bits == 64, seg, off, n, ACC_READ);

	if (LIKELY(p != NULL)) {
		*val = host_load(p, n);
		return true;
	}
	*val = 0;
	return mem_load(v, seg, off, val, n);
}

static ALWAYS_INLINE bool seg_write(struct vcpu *v, const struct insn *i, unsigned seg, uint64_t off, unsigned n,
				    uint64_t val)
{
	uint8_t *p = mem_hit(v, i->code_bits == 64, seg, off, n, ACC_WRITE);

	if (LIKELY(p != NULL)) {
		host_store(p, val, n);
		tlb_note_write(v, p, n);
		return true;
	}
	return mem_store(v, seg, off, &val, n);
}

/* Operand k as an unsigned number of its size; immediates extended as insn_decode did. */
static ALWAYS_INLINE bool op_read(struct vcpu *v, const struct insn *i, unsigned k, uint64_t *val)
{
	const struct insn_op *o = &i->op[k];

	if (o->kind == OPK_GPR) {
		*val = opreg_read(v, o);
		return true;
	}
	if (o->kind == OPK_MEM)
		return seg_read(v, i, i->seg, op_ea(v, i), o->bytes, val);
	*val = i->imm[0];
	return true;
}

static ALWAYS_INLINE bool op_write(struct vcpu *v, const struct insn *i, unsigned k, uint64_t val)
{
	const struct insn_op *o = &i->op[k];

	if (o->kind == OPK_GPR) {
		opreg_write(v, o, val);
		return true;
	}
	return seg_write(v, i, i->seg, op_ea(v, i), o->bytes, val);
}

/* ---- read-modify-write of operand 0 ----
 *
 *	struct rmw r;
 *	if (!rmw_begin(v, i, &r))
 *		return XR_FAULT;
 *	do
 *		new = f(r.old);
 *	while (!rmw_end(v, i, &r, new));
 *	if (r.failed)
 *		return XR_FAULT;
 *
 * With LOCK (r.lock) rmw_end is a compare-exchange on the host's memory and f runs again with a new r.old when it lost.
 */
struct rmw {
	uint64_t old;
	uint64_t off;
	void *host; /* NULL: slow way */
	uint8_t bytes, seg;
	bool reg, lock, failed;
};

bool rmw_begin_slow(struct vcpu *v, const struct insn *i, struct rmw *r);
void rmw_end_slow(struct vcpu *v, const struct insn *i, struct rmw *r, uint64_t val);
bool rmw_exchange(struct rmw *r, uint64_t val);

static ALWAYS_INLINE bool rmw_begin_at(struct vcpu *v, const struct insn *i, struct rmw *r, unsigned seg, uint64_t off,
				       unsigned n)
{
	r->reg = r->failed = false;
	r->lock = i->lock;
	r->seg = seg;
	r->bytes = n;
	r->off = off;
	r->host = mem_hit(v, i->code_bits == 64, seg, off, n, ACC_WRITE);
	if (UNLIKELY(!r->host))
		return rmw_begin_slow(v, i, r);
	r->old = host_load(r->host, n);
	return true;
}

static ALWAYS_INLINE bool rmw_begin(struct vcpu *v, const struct insn *i, struct rmw *r)
{
	if (i->op[0].kind == OPK_GPR) {
		r->reg = true;
		r->lock = r->failed = false;
		r->old = opreg_read(v, &i->op[0]);
		return true;
	}
	return rmw_begin_at(v, i, r, i->seg, op_ea(v, i), i->op[0].bytes);
}

static ALWAYS_INLINE bool rmw_end(struct vcpu *v, const struct insn *i, struct rmw *r, uint64_t val)
{
	if (r->reg) {
		opreg_write(v, &i->op[0], val);
		return true;
	}
	if (UNLIKELY(!r->host)) {
		rmw_end_slow(v, i, r, val);
		return true;
	}
	if (r->lock) {
		if (!rmw_exchange(r, val))
			return false;
	} else {
		host_store(r->host, val, r->bytes);
	}
	tlb_note_write(v, r->host, r->bytes);
	return true;
}

/* Instructions that we run on the host and a host may lack: the guest is told (CPUID) that they are not there. */
#define NEED_HOST(v, feature)                                   \
	do {                                                    \
		if (UNLIKELY(!__builtin_cpu_supports(feature))) \
			return fault_set(v, VEC_UD);            \
	} while (0)

/* ---- shape-specific handlers of the common instructions (int_fast.c) ---- */
insn_fn *int_fast(const struct insn *i);

#endif
