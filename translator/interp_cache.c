// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fetching and decoding for the interpreter: see interp_cache.h.
 *
 * The order that makes self-modifying code safe: read the page's generation, mark it in the codemap, then read its bytes.
 * Whoever writes the page afterwards advances the generation, and so does whoever takes the mark away.
 */
#include "translator/interp_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <Zydis/Mnemonic.h>

static void pool_reset(struct interp *in)
{
	in->pool_used = in->stubs_used = 0;
	in->epoch++;
	for (unsigned k = 0; k < RUN_HASH_SIZE; k++)
		in->hash[k] = NULL;
}

struct interp *interp_new(struct vcpu *v)
{
	struct interp *in = calloc(1, sizeof(*in));

	(void)v;
	if (!in)
		return NULL;
	in->pool =
		mmap(NULL, RUN_POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in->pool == MAP_FAILED) {
		free(in);
		return NULL;
	}
	in->stubs = mmap(NULL, STUB_POOL_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in->stubs == MAP_FAILED)
		in->stubs = NULL;
	pool_reset(in); /* epoch 1: an empty jump entry, key 0, never matches */
	return in;
}

void interp_free(struct interp *in)
{
	if (!in)
		return;
	munmap(in->pool, RUN_POOL_BYTES);
	if (in->stubs)
		munmap(in->stubs, STUB_POOL_BYTES);
	free(in);
}

/* ---- decoding a run ---- */

/* Does the run end behind i? At jumps that never fall through, and where mode, mappings or the shadow may change. */
static bool ends_run(const struct insn *i)
{
	if (!i->row)
		return true;
	switch (i->row->bt) {
	case BT_END:
	case BT_JMP:
	case BT_CALL:
	case BT_RET:
		return true;
	case BT_CALLOUT:
	case BT_OTHER:
		return (i->row->flags & ISA_PRIV) || i->mnemonic == ZYDIS_MNEMONIC_STI ||
		       i->mnemonic == ZYDIS_MNEMONIC_HLT;
	default:
		return false;
	}
}

insn_fn *interp_choose(const struct insn *i)
{
	insn_fn *fn;

	if (!i->row || (i->row->flags & (ISA_PRIV | ISA_NO64 | ISA_ONLY64 | ISA_NOREAL)) || i->enc != ENC_LEGACY ||
	    (i->lock && (!(i->row->flags & ISA_LOCKABLE) || i->op[0].kind != OPK_MEM)))
		return interp_exec_checked;
	fn = int_fast(i);
	return fn ? fn : i->row->exec;
}

static insn_fn *choose_fn(struct vcpu *v, struct interp *in, struct dinsn *d)
{
	insn_fn *fn = in->runs ? interp_vec_plan(v, in, d) : NULL;

	return fn ? fn : interp_choose(&d->i);
}

static void decode_run(struct vcpu *v, struct interp *in, struct run *r, const uint8_t *page, unsigned off)
{
	unsigned max = in->runs ? RUN_MAX_INSNS : RUN_STEP_INSNS;
	uint8_t bytes[15];

	while (r->n < max && off < PAGE_SIZE_4K) {
		struct dinsn *d = &r->insn[r->n];
		unsigned room = (unsigned)PAGE_SIZE_4K - off, n = room < sizeof(bytes) ? room : sizeof(bytes);

		/* once: another processor may be writing them */
		for (unsigned k = 0; k < n; k++)
			bytes[k] = ((const volatile uint8_t *)page)[off + k];
		if (insn_decode(&d->i, bytes, n, r->bits) != DECODE_OK)
			return;
		d->fn = choose_fn(v, in, d);
		r->n++;
		r->bytes += d->i.len;
		off += d->i.len;
		if (ends_run(&d->i))
			return;
	}
}

/* Announces that the page at gpa holds decoded code; where its generation is and what it is now. false: no such page.
 */
static bool watch_page(struct vcpu *v, struct interp *in, uint64_t gpa, const _Atomic uint32_t **gen_now, uint32_t *gen)
{
	struct codemap *c = v->vm->codemap;
	uint64_t ram = mem_ram_offset(&v->vm->mem, gpa) >> PAGE_SHIFT_4K;

	*gen_now = &in->rom_gen;
	*gen = 0;
	if (ram == UINT64_MAX >> PAGE_SHIFT_4K)
		return true;
	if (!c || ram >= c->npages)
		return false;
	*gen_now = &c->gen[ram];
	*gen = codemap_gen(c, ram); /* first: a mark that goes meanwhile takes this generation with it */
	codemap_mark(c, v, ram);
	return true;
}

static struct run *run_make(struct vcpu *v, struct interp *in, uint64_t gpa, const uint8_t *page, unsigned bits)
{
	const uint64_t need = sizeof(struct run) + RUN_MAX_INSNS * sizeof(struct dinsn);
	struct run *r, **bucket;

	if (in->pool_used + need > RUN_POOL_BYTES)
		pool_reset(in);
	r = (struct run *)(in->pool + in->pool_used);
	*r = (struct run){.gpa = gpa, .bits = bits};
	if (!watch_page(v, in, gpa, &r->gen_now, &r->gen))
		return NULL;
	decode_run(v, in, r, page, gpa & (PAGE_SIZE_4K - 1));
	if (!r->n)
		return NULL;
	in->pool_used += (sizeof(struct run) + r->n * sizeof(struct dinsn) + 63) & ~63ull;
	bucket = &in->hash[(gpa ^ gpa >> 14) % RUN_HASH_SIZE];
	r->next = *bucket;
	*bucket = r;
	return r;
}

/* Stale runs on the way are dropped from their bucket. */
static struct run *run_by_gpa(struct interp *in, uint64_t gpa, unsigned bits)
{
	struct run **p = &in->hash[(gpa ^ gpa >> 14) % RUN_HASH_SIZE];

	while (*p) {
		struct run *r = *p;

		if (!run_fresh(r)) {
			*p = r->next;
			continue;
		}
		if (r->gpa == gpa && r->bits == bits)
			return r;
		p = &r->next;
	}
	return NULL;
}

const struct run *interp_lookup(struct vcpu *v, struct interp *in, uint64_t lin, unsigned bits)
{
	unsigned acc = ACC_EXEC | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	struct run_jump *j = &in->jump[(lin ^ lin >> 13) % RUN_JUMPS];
	struct mmu_page page;
	struct run *r;
	uint64_t gpa;

	if (bits == 64 && (uint64_t)((int64_t)(lin << 16) >> 16) != lin)
		return NULL;
	if (bits != 64 && v->regs.rip > v->regs.seg[SEG_CS].limit)
		return NULL;
	/* a fault here is found again, and reported, by interp_fetch */
	if (!mmu_translate(v, lin, acc, &page) || !page.hva)
		return NULL;
	gpa = page.gpa + (lin - page.gva);
	r = run_by_gpa(in, gpa, bits);
	if (!r) {
		vcpu_vec_sync(v);
		r = run_make(v, in, gpa, page.hva, bits);
	}
	if (r)
		*j = (struct run_jump){
			.lin = lin, .flush = v->count.tlb_flushes, .key = run_key(v, in, bits), .run = r};
	return r;
}

/* ---- instructions in two pages ---- */

static struct run_cross *cross_slot(struct interp *in, uint64_t lin)
{
	return &in->cross[(lin >> PAGE_SHIFT_4K) % RUN_CROSSES];
}

static const struct insn *cross_find(struct vcpu *v, struct interp *in, uint64_t lin, unsigned bits)
{
	const struct run_cross *x = cross_slot(in, lin);

	if (x->lin != lin || x->flush != v->count.tlb_flushes || x->key != run_key(v, in, bits))
		return NULL;
	for (unsigned k = 0; k < 2; k++) {
		if (atomic_load_explicit(x->gen_now[k], memory_order_relaxed) != x->gen[k])
			return NULL;
	}
	return &x->i;
}

/* Decodes in->scratch, which was found to cross pages, once more with both pages watched, and keeps it. */
static void cross_keep(struct vcpu *v, struct interp *in, uint64_t lin, unsigned bits)
{
	unsigned acc = ACC_EXEC | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	struct run_cross *x = cross_slot(in, lin);
	unsigned off = lin & (PAGE_SIZE_4K - 1), room = (unsigned)PAGE_SIZE_4K - off;
	struct mmu_page page;
	uint8_t bytes[15];

	x->key = 0; /* no key is: epochs begin at 1 */
	for (unsigned k = 0, n = 0; k < 2; k++, off = 0) {
		if (!mmu_translate(v, lin + n, acc, &page) || !page.hva ||
		    !watch_page(v, in, page.gpa + (lin + n - page.gva), &x->gen_now[k], &x->gen[k]))
			return;
		for (; n < (k ? in->scratch.len : room); n++)
			bytes[n] = ((const volatile uint8_t *)page.hva)[off++];
	}
	if (insn_decode(&x->i, bytes, in->scratch.len, bits) != DECODE_OK)
		return;
	x->lin = lin;
	x->flush = v->count.tlb_flushes;
	x->key = run_key(v, in, bits);
}

/* ---- one instruction, cached or not ---- */

const struct insn *interp_fetch(struct vcpu *v, struct interp *in)
{
	const struct run *r = interp_find(v, in);
	unsigned bits = vcpu_code_bits(v), n = 15, got;
	uint64_t lin = v->regs.rip;
	bool limited = false;
	const struct insn *cross;
	uint8_t bytes[15];

	if (r)
		return &r->insn[0].i;
	if (bits == 64) {
		cross = cross_find(v, in, lin, bits);
		if (cross)
			return cross;
	}
	vcpu_vec_sync(v);
	if (bits != 64) {
		const struct x86_seg *cs = &v->regs.seg[SEG_CS];

		if (v->regs.rip > cs->limit) {
			fault_gp0(v);
			return NULL;
		}
		if (cs->limit - v->regs.rip < 14) {
			n = (unsigned)(cs->limit - v->regs.rip) + 1;
			limited = true;
		}
		lin = (uint32_t)(cs->base + v->regs.rip);
	}
	got = mmu_fetch(v, lin, bytes, n, NULL);
	if (!got)
		return NULL;
	switch (insn_decode(&in->scratch, bytes, got, bits)) {
	case DECODE_OK:
		if (bits == 64 && (lin & (PAGE_SIZE_4K - 1)) + in->scratch.len > PAGE_SIZE_4K)
			cross_keep(v, in, lin, bits);
		return &in->scratch;
	case DECODE_SHORT:
		/* the missing byte's fault, or the limit's */
		if (got == n && limited)
			fault_gp0(v);
		return NULL;
	case DECODE_TOO_LONG:
		fault_gp0(v);
		return NULL;
	default:
		fault_set(v, VEC_UD);
		return NULL;
	}
}
