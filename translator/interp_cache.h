/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter's decoded code, private to interp.c and interp_cache.c.
 *
 * A run is a straight line of decoded instructions in one page of guest-physical memory. Runs are found by linear
 * address in a direct-mapped table that any TLB flush outdates, and behind it by guest-physical address. A run is good
 * as long as its page's generation in the codemap is the one it was decoded at.
 */
#ifndef STEELYARD_INTERP_CACHE_H
#define STEELYARD_INTERP_CACHE_H

#include "translator/int_op.h"
#include "translator/interp.h"

#define RUN_MAX_INSNS 32
#define RUN_STEP_INSNS 4             /* when instructions are only stepped through, one here and one there */
#define RUN_POOL_BYTES (48ull << 20) /* address space; everything is forgotten when it is used up */
#define STUB_POOL_BYTES (8ull << 20)
#define RUN_HASH_SIZE (1u << 14)
#define RUN_JUMPS (1u << 13)

/* How interp_vec.c runs an instruction. */
struct vec_plan {
	void *stub;
	uint8_t gpr; /* guest register of the one general operand, or NO_REG */
	uint8_t mem_bytes, align_mask;
	bool store, flags;
};

struct dinsn {
	insn_fn *fn; /* what runs it: a shape-specific handler, the row's function, or the checking wrapper */
	struct vec_plan plan;
	struct insn i;
};

struct run {
	struct run *next; /* same bucket */
	uint64_t gpa;
	const _Atomic uint32_t *gen_now; /* the page's generation */
	uint32_t gen;
	uint16_t n, bytes;
	uint8_t bits;
	struct dinsn insn[];
};

struct run_jump {
	uint64_t lin;
	uint64_t flush; /* v->count.tlb_flushes at the time */
	uint64_t key;
	struct run *run;
};

/* An instruction that lies in two pages. */
struct run_cross {
	uint64_t lin, flush, key; /* as in struct run_jump */
	const _Atomic uint32_t *gen_now[2];
	uint32_t gen[2];
	struct insn i;
};
#define RUN_CROSSES 128

struct interp {
	bool runs;                /* runs are executed (the path "interp"), not only stepped into */
	bool look;                /* something may be pending */
	uint8_t held;             /* data breakpoints, as DR6 bits, that MOV SS or POP SS has hit */
	bool count_rows;          /* into vcpu->row_count (the path "interp") */
	_Atomic uint32_t rom_gen; /* generation of pages that nobody can write: 0 for ever */
	uint64_t epoch;           /* counts pool resets: part of the jump key */
	uint8_t *pool;
	uint64_t pool_used;
	uint8_t *stubs; /* executable; NULL where the host forbids that */
	uint64_t stubs_used;
	struct insn scratch; /* what cannot be cached: code in MMIO, at the end of a segment */
	struct run_cross cross[RUN_CROSSES];
	struct run *hash[RUN_HASH_SIZE];
	struct run_jump jump[RUN_JUMPS];
};

static ALWAYS_INLINE bool run_fresh(const struct run *r)
{
	return atomic_load_explicit(r->gen_now, memory_order_relaxed) == r->gen;
}

static ALWAYS_INLINE uint64_t run_key(const struct vcpu *v, const struct interp *in, unsigned bits)
{
	return in->epoch << 9 | (uint64_t)vcpu_cpl(v) << 7 | bits; /* bits is 64 at most, the CPL takes two bits */
}

/* Slow half of interp_find. */
const struct run *interp_lookup(struct vcpu *v, struct interp *in, uint64_t lin, unsigned bits);

/* The run at CS:RIP, decoded when need be. NULL: no run can begin here (interp_fetch knows more); no fault is reported.
 */
static ALWAYS_INLINE const struct run *interp_find(struct vcpu *v, struct interp *in)
{
	unsigned bits = vcpu_code_bits(v);
	uint64_t lin = bits == 64 ? v->regs.rip : (uint32_t)(v->regs.seg[SEG_CS].base + v->regs.rip);
	struct run_jump *j = &in->jump[(lin ^ lin >> 13) % RUN_JUMPS];
	const struct run *r;

	if (LIKELY(j->lin == lin && j->flush == v->count.tlb_flushes && j->key == run_key(v, in, bits) &&
		   run_fresh(j->run)))
		r = j->run;
	else
		r = interp_lookup(v, in, lin, bits);
	if (bits != 64 && r && v->regs.rip + r->bytes - 1 > v->regs.seg[SEG_CS].limit)
		return NULL;
	return r;
}

/* interp_vec.c: a quick way to run d->i on v, or NULL. */
insn_fn *interp_vec_plan(struct vcpu *v, struct interp *in, struct dinsn *d);

/* The instruction at CS:RIP, valid until the next call. NULL: v->fault. */
const struct insn *interp_fetch(struct vcpu *v, struct interp *in);

/* The checks of insn_precheck (those of vector instructions are in their functions), then the row's function. */
enum xr interp_exec_checked(struct vcpu *v, const struct insn *i);

#endif
