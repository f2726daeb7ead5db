// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * String instructions, with and without REP (SDM 2B REP).
 *
 * Registers are brought up to date element by element, or chunk by chunk where a chunk cannot fault, so that a fault or
 * an interrupt in the middle finds the state that the manual describes. One call does a bounded amount of work and then
 * returns XR_AGAIN; with TF set or breakpoints enabled that amount is one element, because every element may trap.
 *
 * REP MOVS, STOS, CMPS and SCAS going up run as the host's own REP over the part where the operands stay in one page of RAM:
 * overlapping operands behave as they do on a processor because a processor does it, and so do flags.
 */
#include "translator/int_op.h"

#define MAX_ELEMENTS 2048u     /* one at a time */
#define MAX_CHUNK_BYTES 65536u /* by the host's REP */

static ALWAYS_INLINE void advance(struct vcpu *v, unsigned reg, const struct insn *i, int64_t by)
{
	/* 16-bit addresses keep the upper bits, 32-bit ones clear the upper half */
	gpr_write(v, reg, i->addrsize, v->regs.gpr[reg] + (uint64_t)by);
}

static ALWAYS_INLINE int64_t step_of(const struct vcpu *v, const struct insn *i)
{
	return v->regs.rflags & FL_DF ? -(int64_t)i->opsize : (int64_t)i->opsize;
}

/* Single-stepping, or breakpoints are set: every element is looked at. */
static ALWAYS_INLINE bool watched(const struct vcpu *v)
{
	return (v->regs.rflags & FL_TF) || (v->regs.dr[7] & 0xff);
}

static ALWAYS_INLINE unsigned element_limit(const struct vcpu *v)
{
	return UNLIKELY(watched(v)) ? 1 : MAX_ELEMENTS;
}

/* Elements that can be done at once at seg:off going up, at most max; *host: where. 0: go element by element. */
static uint64_t chunk_at(struct vcpu *v, const struct insn *i, unsigned seg, uint64_t off, unsigned acc, uint64_t max,
			 uint8_t **host)
{
	uint64_t bytes = PAGE_SIZE_4K, n, wrap = i->addrsize == 8 ? 0 : 1ull << (i->addrsize * 8);

	*host = mem_hit(v, i->code_bits == 64, seg, off, 1, acc);
	if (!*host)
		return 0;
	bytes -= (uintptr_t)*host & (PAGE_SIZE_4K - 1);
	if (wrap && wrap - off < bytes)
		bytes = wrap - off;
	n = bytes / i->opsize;
	return n < max ? n : max;
}

static ALWAYS_INLINE void host_movs(void *dst, const void *src, uint64_t n, unsigned size)
{
	switch (size) {
	case 1:
		asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	case 2:
		asm volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	case 4:
		asm volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	default:
		asm volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	}
}

static ALWAYS_INLINE void host_stos(void *dst, uint64_t val, uint64_t n, unsigned size)
{
	switch (size) {
	case 1:
		asm volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	case 2:
		asm volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	case 4:
		asm volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	default:
		asm volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	}
}

#define HOST_COMPARE(insn, ...)                                                                                        \
	do {                                                                                                           \
		if (equal)                                                                                             \
			asm volatile("repe " insn "; lahf; seto %%al" : __VA_ARGS__ : : "cc", "memory");               \
		else                                                                                                   \
			asm volatile("repne " insn "; lahf; seto %%al" : __VA_ARGS__ : : "cc", "memory");              \
	} while (0)

/* The flags of the last comparison, as LAHF and SETO left them in AX. */
static ALWAYS_INLINE void flags_from_ax(struct vcpu *v, uint64_t ax)
{
	v->regs.rflags = (v->regs.rflags & ~(uint64_t)FL_ARITH) | (ax >> 8 & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) | (ax & 1) << 11;
}

/* Elements that were compared: until one ends the repetition, at most n (> 0). */
static uint64_t host_scas(struct vcpu *v, const void *p, uint64_t ax, uint64_t n, unsigned size, bool equal)
{
	uint64_t left = n;

	switch (size) {
	case 1:
		HOST_COMPARE("scasb", "+D"(p), "+c"(left), "+a"(ax));
		break;
	case 2:
		HOST_COMPARE("scasw", "+D"(p), "+c"(left), "+a"(ax));
		break;
	case 4:
		HOST_COMPARE("scasl", "+D"(p), "+c"(left), "+a"(ax));
		break;
	default:
		HOST_COMPARE("scasq", "+D"(p), "+c"(left), "+a"(ax));
		break;
	}
	flags_from_ax(v, ax);
	return n - left;
}

static uint64_t host_cmps(struct vcpu *v, const void *a, const void *b, uint64_t n, unsigned size, bool equal)
{
	uint64_t left = n, ax = 0;

	switch (size) {
	case 1:
		HOST_COMPARE("cmpsb", "+S"(a), "+D"(b), "+c"(left), "+a"(ax));
		break;
	case 2:
		HOST_COMPARE("cmpsw", "+S"(a), "+D"(b), "+c"(left), "+a"(ax));
		break;
	case 4:
		HOST_COMPARE("cmpsl", "+S"(a), "+D"(b), "+c"(left), "+a"(ax));
		break;
	default:
		HOST_COMPARE("cmpsq", "+S"(a), "+D"(b), "+c"(left), "+a"(ax));
		break;
	}
	flags_from_ax(v, ax);
	return n - left;
}

/* ---- one element ---- */

static bool movs_one(struct vcpu *v, const struct insn *i)
{
	int64_t step = step_of(v, i);
	uint64_t val;

	if (!seg_read(v, i, i->seg, gpr_read(v, R_SI, i->addrsize), i->opsize, &val) ||
	    !seg_write(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), i->opsize, val))
		return false;
	advance(v, R_SI, i, step);
	advance(v, R_DI, i, step);
	return true;
}

static bool stos_one(struct vcpu *v, const struct insn *i)
{
	if (!seg_write(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), i->opsize, v->regs.gpr[R_AX]))
		return false;
	advance(v, R_DI, i, step_of(v, i));
	return true;
}

static bool lods_one(struct vcpu *v, const struct insn *i)
{
	uint64_t val;

	if (!seg_read(v, i, i->seg, gpr_read(v, R_SI, i->addrsize), i->opsize, &val))
		return false;
	gpr_write(v, R_AX, i->opsize, val);
	advance(v, R_SI, i, step_of(v, i));
	return true;
}

static bool cmps_one(struct vcpu *v, const struct insn *i)
{
	int64_t step = step_of(v, i);
	uint64_t a, b;

	/* processors read [rDI] first, which decides which of two faults it is */
	if (!seg_read(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), i->opsize, &b) ||
	    !seg_read(v, i, i->seg, gpr_read(v, R_SI, i->addrsize), i->opsize, &a))
		return false;
	alu2(ALU_CMP, i->opsize, a, b, &v->regs.rflags);
	advance(v, R_SI, i, step);
	advance(v, R_DI, i, step);
	return true;
}

static bool scas_one(struct vcpu *v, const struct insn *i)
{
	uint64_t b;

	if (!seg_read(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), i->opsize, &b))
		return false;
	alu2(ALU_CMP, i->opsize, v->regs.gpr[R_AX], b, &v->regs.rflags);
	advance(v, R_DI, i, step_of(v, i));
	return true;
}

/* ---- chunks: elements done (0: none possible) ---- */

static uint64_t movs_chunk(struct vcpu *v, const struct insn *i, uint64_t max)
{
	uint8_t *src, *dst;
	uint64_t n = chunk_at(v, i, i->seg, gpr_read(v, R_SI, i->addrsize), ACC_READ, max, &src);

	if (n)
		n = chunk_at(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), ACC_WRITE, n, &dst);
	if (!n)
		return 0;
	host_movs(dst, src, n, i->opsize);
	tlb_note_write(v, dst, n * i->opsize);
	advance(v, R_SI, i, (int64_t)(n * i->opsize));
	advance(v, R_DI, i, (int64_t)(n * i->opsize));
	return n;
}

static uint64_t stos_chunk(struct vcpu *v, const struct insn *i, uint64_t max)
{
	uint8_t *dst;
	uint64_t n = chunk_at(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), ACC_WRITE, max, &dst);

	if (!n)
		return 0;
	host_stos(dst, v->regs.gpr[R_AX], n, i->opsize);
	tlb_note_write(v, dst, n * i->opsize);
	advance(v, R_DI, i, (int64_t)(n * i->opsize));
	return n;
}

static uint64_t cmps_chunk(struct vcpu *v, const struct insn *i, uint64_t max)
{
	uint8_t *a, *b;
	uint64_t n = chunk_at(v, i, i->seg, gpr_read(v, R_SI, i->addrsize), ACC_READ, max, &a);

	if (n)
		n = chunk_at(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), ACC_READ, n, &b);
	if (!n)
		return 0;
	n = host_cmps(v, a, b, n, i->opsize, i->rep == 0xf3);
	advance(v, R_SI, i, (int64_t)(n * i->opsize));
	advance(v, R_DI, i, (int64_t)(n * i->opsize));
	return n;
}

static uint64_t scas_chunk(struct vcpu *v, const struct insn *i, uint64_t max)
{
	uint8_t *p;
	uint64_t n = chunk_at(v, i, SEG_ES, gpr_read(v, R_DI, i->addrsize), ACC_READ, max, &p);

	if (!n)
		return 0;
	n = host_scas(v, p, v->regs.gpr[R_AX], n, i->opsize, i->rep == 0xf3);
	advance(v, R_DI, i, (int64_t)(n * i->opsize));
	return n;
}

/* ---- the repetition ---- */

static ALWAYS_INLINE enum xr repeat(struct vcpu *v, const struct insn *i,
				    bool (*one)(struct vcpu *, const struct insn *),
				    uint64_t (*chunk)(struct vcpu *, const struct insn *, uint64_t), bool compares)
{
	unsigned budget = element_limit(v), chunk_budget = MAX_CHUNK_BYTES / i->opsize;
	uint64_t cx, n;

	if (!i->rep)
		return one(v, i) ? XR_NEXT : XR_FAULT;
	while ((cx = gpr_read(v, R_CX, i->addrsize)) != 0) {
		n = 0;
		if (chunk && !(v->regs.rflags & FL_DF) && !watched(v)) {
			if (!chunk_budget)
				return XR_AGAIN;
			n = chunk(v, i, cx < chunk_budget ? cx : chunk_budget);
			chunk_budget -= (unsigned)n;
		}
		if (!n) {
			if (!budget--)
				return XR_AGAIN;
			if (!one(v, i))
				return XR_FAULT;
			n = 1;
		}
		gpr_write(v, R_CX, i->addrsize, cx - n);
		if (compares && !(v->regs.rflags & FL_ZF) == (i->rep == 0xf3))
			break;
	}
	return XR_NEXT;
}

enum xr int_movs(struct vcpu *v, const struct insn *i)
{
	return repeat(v, i, movs_one, movs_chunk, false);
}

enum xr int_stos(struct vcpu *v, const struct insn *i)
{
	return repeat(v, i, stos_one, stos_chunk, false);
}

enum xr int_lods(struct vcpu *v, const struct insn *i)
{
	return repeat(v, i, lods_one, NULL, false);
}

enum xr int_cmps(struct vcpu *v, const struct insn *i)
{
	return repeat(v, i, cmps_one, cmps_chunk, true);
}

enum xr int_scas(struct vcpu *v, const struct insn *i)
{
	return repeat(v, i, scas_one, scas_chunk, true);
}
