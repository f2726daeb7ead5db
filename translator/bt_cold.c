/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code that has run only a few times is not worth a translation: a block costs the time of some ten interpretations of
 * it, and memory for good. So a block's first executions, as many as vm_config.bt_cold says, are interpreted here.
 *
 * Nothing is kept of such code but a count: instructions are decoded by shape from the guest's memory each time. So a page
 * that holds cold code only is not a code page, writes to it are plain writes, and a program that generates code and runs it
 * once or twice causes no invalidation at all.
 *
 * A count is found by the block's physical address, with the generation of its page, so that code that has been written
 * again counts afresh. Blocks whose counts collide share one, and are translated early: about time, not about correctness. (Were
 * the count one block's alone, two that take turns would stay cold for ever.) Code that writes into its own page again and
 * again, which is slow where there are translations, stays cold longer.
 *
 * What a page held before tells what to expect of it. Where user code has overwritten code, its successor's translations count
 * their executions; when they are overwritten in turn, the count says whether they have paid. If not, the next code there stays
 * cold four times longer, and if they ran often, a fourth of the time only. A write by the guest's kernel or by a device means that the
 * page serves something else now: nothing is known.
 */
#include "translator/bt_int.h"
#include "translator/int_op.h"

/*
 * Several vCPUs: a store to a page that holds translations reaches memory before they are invalidated. Who executed the new
 * bytes here in between, and then the old translation, would see the code go back in time (SDM 3A 8.1.3 allows stale code
 * until its reader serializes, not that). So code is cold there only while its page holds no translation at all: such a store
 * comes after the mark, and bytes that were read before the mark are not newer than what the translator reads behind it
 * (bt_marked).
 */
static bool page_is_marked(const struct vcpu *v, uint64_t page)
{
	atomic_thread_fence(memory_order_acquire); /* what has been read, was read before the mark is looked at */
	return v->vm->ncpus > 1 && page < v->vm->codemap->npages && codemap_test(v->vm->codemap, page);
}

/* Counts one execution of the block at gpa. true: it stays cold. */
bool bt_is_cold(struct bt *bt, struct vcpu *v, uint64_t gpa)
{
	uint64_t page = mem_offset(&v->vm->mem, gpa) >> 12, h;
	unsigned limit = v->vm->cfg.bt_cold;
	uint8_t *n;

	if (!limit || bt->single || page >= bt->npages || page_is_marked(v, page))
		return false;
	limit <<= 2 * bt->page_heat[page];
	if (bt->page_history[page] == BT_HISTORY_BRIEF)
		limit <<= 2;
	else if (bt->page_history[page] == BT_HISTORY_LONG)
		limit >>= 2;
	h = (gpa >> 12 ^ (uint64_t)codemap_gen(v->vm->codemap, page) << 32) * 0x9e3779b97f4a7c15ull;
	n = &bt_cpu(v)->cold[h >> (64 - BT_COLD_BITS) ^ (gpa >> 2 & 1023)]; /* those of a page side by side */
	if (*n >= limit || *n == UINT8_MAX) {
		*n = 0;
		return false;
	}
	++*n;
	return true;
}

/* Executions of a translation: fewer do not pay for making it; so many pay for it several times. */
#define RUNS_BRIEF 8
#define RUNS_LONG 32

void bt_history_drop(struct bt *bt, const struct bt_block *b, struct bt_dropped *d)
{
	d->blocks++;
	if (!b->counted)
		return;
	d->counted++;
	for (unsigned n = 0; n < bt->vm->ncpus; n++)
		if (bt_cpu(bt->vm->vcpu[n])->bt)
			d->runs += bt_sites(bt->vm->vcpu[n])[b->site0].since;
}

void bt_history_learn(struct bt *bt, const struct vcpu *v, uint64_t page, const struct bt_dropped *d)
{
	uint8_t *h = &bt->page_history[page];

	if (!v || vcpu_cpl(v) != 3)
		*h = BT_HISTORY_NONE;
	else if (!d->counted)
		*h = *h == BT_HISTORY_NONE ? BT_HISTORY_WATCH : *h;
	else if (d->runs < d->counted * RUNS_BRIEF)
		*h = BT_HISTORY_BRIEF;
	else
		*h = d->runs < d->counted * RUNS_LONG ? BT_HISTORY_WATCH : BT_HISTORY_LONG;
}

/* A CALL of len bytes is about to run: code behind it may want flags that translated RETs do not keep (bt_flags.c). */
static void before_call(struct vcpu *v, uint32_t key, unsigned len)
{
	struct bt *bt = bt_cpu(v)->bt;
	uint8_t bit = (uint8_t)(1u << bt_jc_class(key));

	if ((bt->ret_flags & bit) || !bt_flags_read_at(v, key, v->regs.rip + len))
		return;
	pthread_mutex_lock(&bt->lock);
	bt->ret_flags |= bit;
	pthread_mutex_unlock(&bt->lock);
	bt_flush_cache(v);
}

/* The instruction at regs.rip, which is in `page`, with what executes it. NULL: it continues in the next page, or is none. */
static ALWAYS_INLINE struct shape *decode(struct vcpu *v, const uint8_t *page, unsigned bits)
{
	unsigned off = v->regs.rip & 0xfff, n = 4096 - off;
	struct shapes *shapes = bt_cpu(v)->shapes;
	struct shape *s = shape_find(shapes, page + off, n, bits);

	if (UNLIKELY(!s)) {
		vcpu_vec_sync(v);
		if (shape_decode(shapes, &s, page + off, n, bits) != DECODE_OK)
			return NULL;
	}
	if (UNLIKELY(!s->fn)) {
		s->fn = interp_choose(&s->insn);
		s->ends = bt_ends_block(&s->insn);
	}
	return s;
}

enum xr bt_step_in(struct vcpu *v, const struct bt_block *b)
{
	struct bt_cpu *cpu = bt_cpu(v);
	const uint8_t *page = v->vm->mem.ram_hva + mem_offset(&v->vm->mem, b->gpa & ~0xfffull);
	unsigned bits = b->key & BK_CODE64 ? 64 : 32, len;
	uint64_t rip_mask = bits == 64 ? ~0ull : 0xffffffff;
	struct shape *s;
	enum xr x;

	if (b->gpa2_page != UINT64_MAX || !(s = decode(v, page, bits)))
		return interp_step(v, cpu->interp);
	len = s->insn.len;
	v->int_shadow = false;
	v->count.insns_interp++;
	v->insn_clock++;
	cpu->code_page = page;
	x = s->fn(v, &s->insn);
	cpu->code_page = NULL;
	if (x == XR_FAULT)
		return event_exception(v, &v->fault);
	if (x == XR_NEXT || x == XR_HLT)
		v->regs.rip = (v->regs.rip + len) & rip_mask;
	return x == XR_NEXT ? XR_JUMP : x;
}

/* Runs the instructions of one block from regs.rip on, which is in `page`. The result of the last one; at XR_NEXT and XR_JUMP
 * regs.rip is where to go on. *plain: its last instruction was one that changes nothing that a block's key depends on. */
static enum xr run_block(struct vcpu *v, uint32_t key, const uint8_t *page, bool *plain)
{
	unsigned bits = key & BK_CODE64 ? 64 : 32, n = 0, len;
	uint64_t at = v->regs.rip >> 12, rip_mask = bits == 64 ? ~0ull : 0xffffffff;
	uint64_t ram_page = (uint64_t)(page - v->vm->mem.ram_hva) >> 12;
	enum xr x = XR_NEXT;
	bool ends = false;

	*plain = true;
	bt_cpu(v)->code_page = page;
	while (!ends && n < BT_MAX_BLOCK_INSNS && v->regs.rip >> 12 == at) {
		struct shape *s = decode(v, page, bits);

		if (UNLIKELY(page_is_marked(v, ram_page)))
			break;
		if (UNLIKELY(!s)) {
			if (n)
				break;
			*plain = false;
			bt_cpu(v)->code_page = NULL;
			return interp_step(v, bt_cpu(v)->interp);
		}
		len = s->insn.len;
		ends = s->ends;
		if (ends) {
			unsigned policy = s->insn.row ? s->insn.row->bt : BT_END;

			*plain = policy == BT_JCC || policy == BT_JMP || policy == BT_CALL || policy == BT_RET;
			ends = policy != BT_JCC || (int64_t)s->insn.imm[0] < 0; /* as the translation would */
			if (policy == BT_CALL) {
				before_call(v, key, len);
				s = decode(v, page, bits); /* the look at what follows has used the table */
				if (!s || page_is_marked(v, ram_page)) {
					x = XR_JUMP;
					break;
				}
			}
		}
		n++;
		x = s->fn(v, &s->insn);
		if (x == XR_NEXT || x == XR_HLT)
			v->regs.rip = (v->regs.rip + len) & rip_mask;
		if (x != XR_NEXT || v->int_shadow)
			break;
	}
	bt_cpu(v)->code_page = NULL;
	v->count.bt_cold += n;
	return x;
}

void *bt_run_cold(struct vcpu *v, uint32_t key)
{
	struct bt_cpu *cpu = bt_cpu(v);
	enum bt_miss miss = BT_COLD;
	void *host = NULL;
	enum xr x;
	bool plain;

	v->doing = SAMPLE_INTERP;
	bt_flags_pull(v);
	do {
		x = run_block(v, key, cpu->cold_page, &plain);
		if ((x != XR_NEXT && x != XR_JUMP) || !plain || v->int_shadow || atomic_load(&v->request))
			break;
		host = bt_find_host(v, key, &miss);
	} while (!host && miss == BT_COLD);
	bt_flags_push(v);
	v->doing = SAMPLE_DISPATCH;
	if (x == XR_FAULT)
		return bt_raise(v);
	if (x != XR_NEXT && x != XR_JUMP && x != XR_AGAIN)
		return bt_pending(v, x);
	return host;
}
