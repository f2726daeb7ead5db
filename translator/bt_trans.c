/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One block: decode, find out which flags are dead where, emit.
 *
 * Deviations from the manual, all of them: when an instruction faults, arithmetic flags that it or an instruction after it
 * in the block would have overwritten before anything read them may be other than the processor's in the saved image.
 */
#include "translator/bt_trans.h"

#include <stdlib.h>

/* ---- marks, links, records ---- */

void bt_mark(struct tctx *c, unsigned flags, unsigned fix)
{
	struct bt_mark *m;
	uint64_t off = (uint64_t)(c->e.p - c->host);

	flags |= (c->fl_mem ? MARK_MEM : 0) | (unsigned)c->kind << MARK_KIND_SHIFT;
	if (c->nmarks && c->marks[c->nmarks - 1].host_off == off)
		c->nmarks--;
	if (c->nmarks == TCTX_MARKS || off > 0xffff) {
		c->e.overflow = true;
		c->too_long = true;
		return;
	}
	m = &c->marks[c->nmarks++];
	m->host_off = (uint16_t)off;
	m->guest_off = c->guest_off;
	m->flags = (uint8_t)flags;
	m->fix = (uint8_t)fix;
}

unsigned bt_kind(struct tctx *c, unsigned kind)
{
	const struct bt_mark *m = c->nmarks ? &c->marks[c->nmarks - 1] : NULL;
	unsigned was = c->kind;

	if (!c->sampled || kind == was)
		return was;
	c->kind = (uint8_t)kind;
	bt_mark(c, m ? m->flags & (MARK_STEP | MARK_FIX) : 0, m ? m->fix : 0);
	return was;
}

struct bt_rec *bt_rec_new(struct tctx *c, uint32_t *id)
{
	struct bt_rec *r;

	if (c->bt->nrecs == BT_MAX_RECS) {
		c->e.overflow = true;
		*id = 0;
		return &c->bt->rec[0];
	}
	*id = c->bt->nrecs++;
	r = &c->bt->rec[*id];
	*r = (struct bt_rec){ .block = c->block_index, .guest_off = c->guest_off, .insn_len = c->cur_len };
	return r;
}

void bt_stub_add(struct tctx *c, uint8_t *from, uint32_t arg, bool mem, int32_t slot)
{
	struct tstub *s;

	if (c->nstubs == TCTX_STUBS) {
		c->e.overflow = c->too_long = true;
		return;
	}
	s = &c->stub[c->nstubs++];
	*s = (struct tstub){ .from = from, .arg = arg, .mem = mem, .slot = slot, .guest_off = c->guest_off, .fl_mem = c->fl_mem };
}

/* The way out that a stub takes: arg for bt_service, then the common exit. */
void bt_emit_service(struct tctx *c, uint32_t arg, bool mem)
{
	unsigned was = bt_kind(c, SAMPLE_DISPATCH);

	e_store_gs_imm(&c->e, false, GS_CPU(arg), arg);
	e_jmp_gs(&c->e, mem ? GS_CPU(exit_mem) : GS_CPU(exit_host));
	bt_kind(c, was);
}

static void align_rel32(struct tctx *c, unsigned opcode_bytes)
{
	unsigned mis = (unsigned)((uintptr_t)(c->e.p + opcode_bytes) & 3);

	if (mis)
		e_nop(&c->e, 4 - mis);
}

struct bt_link *bt_link_new(struct tctx *c, uint64_t target, uint32_t *id)
{
	struct bt *bt = c->bt;
	struct bt_link *l;

	if (bt->nlinks == BT_MAX_LINKS || bt->nslots == BT_MAX_SLOTS) {
		c->e.overflow = true;
		*id = 0;
		return &bt->link[0];
	}
	*id = bt->nlinks++;
	l = &bt->link[*id];
	*l = (struct bt_link){ .from = c->block_index, .target = target, .fl_mem = c->fl_mem, .slot = bt->nslots++ };
	return l;
}

void bt_emit_goto(struct tctx *c, int cc, uint64_t target)
{
	unsigned was = c->kind;
	struct bt_link *l;
	uint32_t id;

	/* the guest's own branch, or one that the guest has not got */
	if (cc < 0 && (c->guest_off == c->guest_len || (c->insn[c->cur].row->bt != BT_JMP && c->insn[c->cur].row->bt != BT_CALL) ||
		       (target ^ c->lin) >> 12))
		bt_kind(c, SAMPLE_JUMP);

	if (!c->code64)
		target = (uint32_t)target;
	l = bt_link_new(c, target, &id);
	if ((target ^ c->lin) >> 12 == 0 && c->gpa2_page == UINT64_MAX) {
		align_rel32(c, cc < 0 ? 1 : 2);
		uint8_t *rel = cc < 0 ? e_jmp32(&c->e) : e_jcc32(&c->e, (enum cc)cc);

		l->patch = bt_code_off(c, rel);
		bt_stub_add(c, rel, SVC_ARG(SVC_LINK, id), c->fl_mem, (int32_t)l->slot);
	} else if (cc < 0) {
		e_jmp_gs(&c->e, GS_SLOT(l->slot));
		bt_stub_add(c, NULL, SVC_ARG(SVC_LINK, id), c->fl_mem, (int32_t)l->slot);
	} else {
		bt_stub_add(c, e_jcc32(&c->e, (enum cc)cc), SVC_ARG(SVC_LINK, id), c->fl_mem, (int32_t)l->slot);
	}
	bt_kind(c, was);
}

/* ---- decode ---- */

struct shape *bt_decode(struct vcpu *v, const uint8_t *at, unsigned bits, bool *more)
{
	unsigned left = 4096 - ((unsigned)(at - v->vm->mem.ram_hva) & 0xfff);
	struct shape *s = shape_find(bt_cpu(v)->shapes, at, left, bits);
	enum decode_result r = DECODE_OK;

	if (s) {
		if (s->by_count)
			insn_count_flags(&s->insn);
	} else {
		vcpu_vec_sync(v); /* libzydis may use vector registers */
		r = shape_decode(bt_cpu(v)->shapes, &s, at, left, bits);
	}
	*more = r == DECODE_SHORT;
	return r == DECODE_OK ? s : NULL;
}

/* The bytes at guest offset `off` of the block: in the first page, or continued in the second. */
static unsigned fetch(struct tctx *c, unsigned off, uint8_t *buf)
{
	unsigned at = (unsigned)((c->lin + off) & 0xfff), n = 0;

	while (n < 15 && at + n < 4096) {
		buf[n] = c->page[at + n];
		n++;
	}
	return n;
}

/* The block's one instruction continues in the next page. */
static bool decode_straddler(struct tctx *c, struct insn *i)
{
	struct mmu_page p;
	uint64_t lin2 = (c->lin | 0xfff) + 1;
	unsigned n;
	uint8_t buf[15];
	uint64_t off;

	if (!c->code64)
		lin2 = (uint32_t)lin2;
	if (!mmu_translate(c->v, lin2, ACC_EXEC | (c->key & BK_USER ? ACC_USER : 0), &p) || !p.hva)
		return false;
	off = mem_offset(&c->v->vm->mem, p.gpa + (lin2 - p.gva));
	if (off == UINT64_MAX)
		return false;
	codemap_mark(c->v->vm->codemap, c->v, off >> 12);
	p.hva = c->v->vm->mem.ram_hva + (off & ~0xfffull);
	vcpu_vec_sync(c->v);
	n = fetch(c, 0, buf);
	for (unsigned k = 0; n < 15; k++)
		buf[n++] = p.hva[k];
	if (insn_decode(i, buf, n, c->bits) != DECODE_OK)
		return false;
	c->gpa2_page = (p.gpa + (lin2 - p.gva)) & ~0xfffull;
	return true;
}

/* Instruction k of the block, with what is known of its shape. */
static void take(struct tctx *c, unsigned k, struct shape *s)
{
	const struct insn *i = &s->insn;

	c->insn[k] = *i;
	if (s->mode != c->key + 1) {
		s->mode = c->key + 1;
		s->interpret = bt_must_interpret(c, i);
	}
	c->interpret[k] = s->interpret;
	c->copy_len[k] = SHAPE_NO_COPY;
	if (i->row->bt == BT_COPY && !s->interpret) {
		if (!s->copy_len)
			bt_find_copy(c, s);
		c->copy_len[k] = s->copy_len;
		__builtin_memcpy(c->copy[k], s->copy, SHAPE_COPY_MAX);
	}
}

/* A conditional branch forward, the last instruction so far: the block goes on behind it, as execution does more often than not. next:
 * where that is, from the block's beginning. */
static bool goes_on(struct tctx *c, const struct insn *i, unsigned next)
{
	if (i->row->bt != BT_JCC || (int64_t)i->imm[0] <= 0 || !(c->code64 || i->opsize == 4) || c->interpret[c->n - 1] ||
	    c->nexits == BT_MAX_SIDE_EXITS)
		return false;
	c->exit[c->nexits++] = next + (uint32_t)i->imm[0];
	return true;
}

/* Is a side exit's target here? Its block begins with the same instructions: they are translated once, there. */
static bool is_exit(const struct tctx *c, unsigned off)
{
	for (unsigned k = 0; k < c->nexits; k++)
		if (c->exit[k] == off)
			return true;
	return false;
}

static bool decode_block(struct tctx *c)
{
	unsigned off = 0;

	while (c->n < c->max_insns) {
		struct insn *i = &c->insn[c->n];
		struct shape *found;
		bool more;

		if (((c->lin + off) ^ c->lin) >> 12 || is_exit(c, off))
			break; /* exactly at the page's end, or where another block begins */
		found = bt_decode(c->v, c->page + ((c->lin + off) & 0xfff), c->bits, &more);
		if (more) {
			if (c->n)
				break;
			if (!decode_straddler(c, i))
				return false;
			c->interpret[0] = bt_must_interpret(c, i);
			c->copy_len[0] = SHAPE_NO_COPY;
			c->n = 1;
			c->off[0] = 0;
			off = i->len;
			break;
		}
		if (!found || !found->insn.row) {
			if (c->n == 0)
				return false;
			break; /* #UD is raised when execution gets there */
		}
		take(c, c->n, found);
		c->off[c->n++] = (uint16_t)off;
		off += i->len;
		if (bt_ends_block(i) && !goes_on(c, i, off)) {
			found = NULL;
			if (i->row->bt == BT_OTHER && !(((c->lin + off) ^ c->lin) >> 12))
				found = bt_decode(c->v, c->page + ((c->lin + off) & 0xfff), c->bits, &more);
			if (!bt_system_inline(c, i, found ? &found->insn : NULL))
				break;
		}
	}
	c->guest_len = off;
	return c->n > 0;
}

/* ---- a block ---- */

static void emit_stubs(struct tctx *c)
{
	for (unsigned k = 0; k < c->nstubs; k++) {
		struct tstub *s = &c->stub[k];
		uint32_t kind = s->arg >> 28, id = s->arg & 0x0fffffff;

		c->guest_off = s->guest_off;
		c->fl_mem = s->fl_mem;
		c->kind = c->sampled ? kind == SVC_LINK ? SAMPLE_JUMP : kind == SVC_ACCESS ? SAMPLE_FILL : SAMPLE_DISPATCH : 0;
		if (s->from)
			e_patch32(&c->e, s->from, c->e.p);
		if (kind == SVC_LINK) {
			struct bt_link *l = &c->bt->link[id];

			/* past the branch decision: the boundary is the link's target, which only single-stepping reaches */
			bt_mark(c, MARK_STEP, 0);
			l->patch_stub = bt_code_off(c, c->e.p);
			if (s->from)
				e_jmp_gs(&c->e, GS_SLOT(s->slot));
			l->stub = bt_code_off(c, c->e.p);
		} else {
			const struct bt_rec *r = &c->bt->rec[id];

			bt_mark(c, 0, 0);
			if (s->slot >= 0) { /* a group: perhaps straight to the translation without groups */
				e_jmp_gs(&c->e, GS_SLOT(s->slot));
				c->bt->link[r->link].stub = bt_code_off(c, c->e.p);
			}
			if (kind == SVC_ACCESS && !r->is_const) { /* back to the linear address */
				if (r->inline_tlb) {
					e_gs_base_op(&c->e, true, ALU_ADD << 3 | 3, S0, S1, r->table);
				} else {
					e_alu_gs(&c->e, c->code64, ALU_SUB, S0, GS_SITE(r->site, bias));
					if (r->disp)
						e_lea(&c->e, c->code64, S0, S0, NO_REG, 1, (int32_t)r->disp);
				}
				/* kernels map memory large: C gives them wider windows */
				if (r->inline_tlb || (c->key & BK_USER)) {
					e_store_gs_imm(&c->e, false, GS_CPU(arg), s->arg);
					e_jmp_gs(&c->e, GS_CPU(refill));
					continue;
				}
			}
		}
		bt_emit_service(c, s->arg, s->mem);
	}
}

static void publish_slots(struct tctx *c)
{
	for (unsigned k = 0; k < c->nstubs; k++) {
		struct tstub *s = &c->stub[k];

		uint32_t id = s->arg & 0x0fffffff, link = s->arg >> 28 == SVC_LINK ? id : c->bt->rec[id].link;

		if (s->slot < 0)
			continue;
		for (unsigned n = 0; n < c->bt->vm->ncpus; n++)
			if (c->bt->vm->vcpu[n])
				bt_slots(c->bt->vm->vcpu[n])[s->slot] = (uint64_t)bt_host(c->bt, c->bt->link[link].stub);
	}
}

/* One more of this instruction's row (vm_config.count_rows), flags untouched. The first instruction of a translation without
 * groups was counted when it began in the one with groups. */
static void emit_count(struct tctx *c, unsigned k)
{
	int32_t at = (int32_t)(offsetof(struct vcpu, row_count) + 8 * isa_row_number(c->insn[k].row));

	if (k == 0 && (c->key & BK_NOGROUP))
		return;
	e_load_gs(&c->e, S0, at);
	e_lea(&c->e, true, S0, S0, NO_REG, 1, 1);
	e_store_gs(&c->e, S0, at);
	c->s0_group = -1;
}

/* A jump to its own beginning ends the block. */
static bool is_loop(const struct tctx *c)
{
	const struct insn *i = &c->insn[c->n - 1];

	return (i->row->bt == BT_JCC || i->row->bt == BT_JMP) && i->op[0].kind == OPK_REL && i->imm[0] + c->guest_len == 0;
}

/* bt_tune.c. No kick finds a block in lockstep: there one has this, the next that. */
static unsigned stage_of(const struct tctx *c)
{
	unsigned stage = c->bt->single ? (unsigned)(c->gpa >> 2) % 3 : *bt_stage(c->bt, c->gpa);

	if (!(c->key & BK_USER))
		return 0;
	return stage ? stage : is_loop(c);
}

/* Are b's executions of interest? In a trial they are, and where code that was here before has been overwritten (bt_cold.c) until a
 * kick finds it: then it has paid. */
static bool is_counted(const struct tctx *c, const struct bt_block *b)
{
	return bt_in_trial(b) || (!b->stage && (c->key & BK_USER) && !c->bt->single &&
				  bt_history_watched(c->bt, mem_offset(&c->v->vm->mem, c->gpa) >> 12));
}

/* One more execution of the block, flags untouched. */
static void emit_counter(struct tctx *c, uint32_t site)
{
	e_load_gs(&c->e, S0, GS_SITE(site, since));
	e_lea(&c->e, true, S0, S0, NO_REG, 1, 1);
	e_store_gs(&c->e, S0, GS_SITE(site, since));
}

static struct bt_block *emit_block(struct tctx *c)
{
	struct bt *bt = c->bt;
	struct bt_block *b = &bt->block[c->block_index];
	bool closed = false;

	emit_init(&c->e, bt->cache_next, (uint64_t)(bt->cache + BT_CACHE_BYTES - bt->cache_next));
	c->host = c->e.p;
	b->site0 = bt->nsites;
	b->rec0 = bt->nrecs;
	b->stage = (uint8_t)stage_of(c);
	c->windows = !(c->key & BK_USER) || b->stage;
	b->counted = is_counted(c, b);
	if (b->counted && bt->nsites++ == BT_MAX_SITES) { /* the first counts executions */
		bt->nsites--;
		return NULL;
	}
	c->nmarks = c->nstubs = c->naccess = 0;
	c->fl_mem = false;
	c->kind = SAMPLE_COPY;
	c->ready = 0;
	c->s0_group = -1;
	for (unsigned g = 0; g < c->ngroups; g++)
		c->group[g].done = 0;
	if (bt->single)
		bt_emit_single(c);
	for (unsigned k = 0; k < c->n && !c->e.overflow; k++) {
		unsigned first = c->naccess;
		uint32_t ready = c->ready;

		c->guest_off = c->off[k];
		c->cur_len = c->insn[k].len;
		c->cur = k;
		c->cur_access = 0;
		c->cur_live = c->live_in[k];
		bt_mark(c, 0, 0);
		if (bt->hot && k == 0)
			bt_emit_hot(c);
		if (b->counted && k == 0)
			emit_counter(c, b->site0);
		if (bt->single)
			bt_emit_single_insn(c, k + 1);
		if (c->v->vm->cfg.count_rows)
			emit_count(c, k);
		closed = bt_emit_insn(c, k);
		for (unsigned a = first; a < c->naccess; a++) /* behind the instruction, when C did all of it */
			if (!closed && c->ready == ready)
				bt->rec[c->access_rec[a & 3]].next = bt_code_off(c, c->e.p);
		if (c->naccess > first)
			c->s0_group = -1;
	}
	if (!closed) {
		c->guest_off = c->guest_len;
		bt_mark(c, 0, 0);
		if (c->gpa2_page != UINT64_MAX || c->guest_len) /* go on behind the block */
			bt_emit_goto(c, -1, c->lin + c->guest_len);
	}
	emit_stubs(c);
	c->guest_off = 0;
	c->kind = c->sampled ? SAMPLE_FLAGS : 0;
	b->host = bt_code_off(c, c->host);
	b->host_mem = b->host;
	if (c->live_in[0]) {
		c->fl_mem = true;
		bt_mark(c, MARK_STEP, 0);
		b->host_mem = bt_code_off(c, c->e.p);
		e_flags_load(&c->e, GS_CPU(fl));
		e_patch32(&c->e, e_jmp32(&c->e), c->host);
	}
	if (c->e.overflow)
		return NULL;
	b->marks = bt_arena(bt, c->nmarks * sizeof(*c->marks));
	if (!b->marks)
		return NULL;
	for (unsigned k = 0; k < c->nmarks; k++)
		b->marks[k] = c->marks[k];
	b->nmarks = c->nmarks;
	b->gpa = c->gpa;
	b->gva = c->lin;
	b->gpa2_page = c->gpa2_page;
	b->two_pages = c->gpa2_page != UINT64_MAX;
	b->key = c->key;
	b->guest_len = (uint16_t)c->guest_len;
	b->ninsns = (uint16_t)c->n;
	b->host_end = bt_code_off(c, c->e.p);
	b->links_in = 0;
	b->nsites = bt->nsites - b->site0;
	publish_slots(c);
	bt->cache_next = (uint8_t *)(((uintptr_t)c->e.p + 15) & ~15ull);
	bt->nblocks++;
	c->v->count.bt_blocks++;
	c->v->count.bt_block_insns += c->n;
	c->v->count.bt_code_bytes += (uint64_t)(c->e.p - c->host);
	return b;
}

struct tctx *bt_tctx_new(void)
{
	return calloc(1, sizeof(struct tctx));
}

struct bt_block *bt_translate(struct bt *bt, struct vcpu *v, uint64_t lin, uint64_t gpa, uint32_t key, bool *step)
{
	struct tctx *c = bt->tctx;
	struct bt_block *b;
	uint64_t off = mem_offset(&v->vm->mem, gpa);

	c->bt = bt;
	c->v = v;
	c->lin = lin;
	c->gpa = gpa;
	c->gpa2_page = UINT64_MAX;
	c->key = key;
	c->code64 = key & BK_CODE64;
	c->bits = c->code64 ? 64 : 32;
	c->max_insns = bt->single_insns ? bt->single_insns : BT_MAX_BLOCK_INSNS;
	c->too_long = c->need_ret_flags = false;
	c->sampled = v->vm->cfg.sample_hz != 0;
	c->n = c->guest_len = c->nexits = 0;
	*step = false;
	if (off == UINT64_MAX || bt->nblocks == BT_MAX_BLOCKS) {
		*step = off == UINT64_MAX;
		return NULL;
	}
	if (bt->arena_end - bt->arena_p < (ptrdiff_t)(8 * (sizeof(c->marks) + sizeof(c->insn)))) /* more than one translation with its retries takes */
		vcpu_vec_sync(v); /* for malloc */
	c->block_index = bt->nblocks;
	codemap_mark(v->vm->codemap, v, off >> 12); /* before its bytes are read */
	c->page = v->vm->mem.ram_hva + (off & ~0xfffull);
	if (!decode_block(c)) {
		*step = true;
		return NULL;
	}
	for (;;) {
		uint32_t recs = bt->nrecs, links = bt->nlinks, sites = bt->nsites, slots = bt->nslots;

		bt_find_live_flags(c);
		if (c->need_ret_flags) {
			bt->ret_flags |= (uint8_t)(1u << bt_jc_class(key)); /* every RET translated so far goes */
			return NULL;
		}
		bt_find_groups(c);
		b = emit_block(c);
		if (b || !c->too_long)
			return b;
		/* the emitted code outgrew a table of the context: half as many instructions */
		bt->nrecs = recs, bt->nlinks = links, bt->nsites = sites, bt->nslots = slots;
		c->n = c->n / 2 ? c->n / 2 : 1;
		c->guest_len = c->n == 1 ? c->insn[0].len : c->off[c->n];
		c->too_long = false;
	}
}
