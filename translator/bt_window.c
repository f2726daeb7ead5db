/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The check in front of a memory access, three ways: the instruction's own window; the inline TLB, where the window would
 * move all the time or nobody knows yet (bt_tune.c); none, where a group's check has been done.
 */
#include "translator/bt_trans.h"

static bool seg_has_base(const struct tctx *c, unsigned seg)
{
	(void)c;
	return seg == SEG_FS || seg == SEG_GS;
}

/* S0 = linear address of [seg: base + index*scale + disp]. S1 is used only when both registers are spilled. With a site,
 * the site's bias is added in place of disp as far as possible. */
static bool emit_linear(struct tctx *c, const struct bt_rec *r, bool window, unsigned base, unsigned index, unsigned scale,
			int64_t disp, unsigned addrsize)
{
	struct emit *e = &c->e;
	/* the way back from a miss adds disp again in a LEA, so the 64-bit offset of a MOV is not folded */
	bool w = c->code64, fold = window && (!c->code64 || (addrsize == 8 && disp == (int32_t)disp));
	int32_t segbase = GS_REGS(seg) + (int32_t)(r->seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, base));
	int32_t bias = GS_SITE(r->site, bias), d = fold ? 0 : (int32_t)disp;
	bool biased = false;

	if (c->code64 && (base == R_14 || base == R_15)) {
		e_load_gs(e, S0, GS_GPR(base));
		base = S0;
	}
	if (c->code64 && (index == R_14 || index == R_15)) {
		unsigned to = base == S0 ? S1 : S0;

		e_load_gs(e, to, GS_GPR(index));
		index = to;
	}
	if (fold && index == NO_REG && base != S0) { /* the load of the bias is off the address's path */
		e_gs_op(e, w, 0x8b, S0, bias);
		biased = true;
		if (base != NO_REG)
			e_alu_rr(e, w, ALU_ADD, S0, base);
	} else if (base == NO_REG && index == NO_REG) {
		e_mov_imm(e, S0, addrsize == 8 ? (uint64_t)disp : (uint32_t)disp);
	} else if (base != S0 || index != NO_REG || d || (c->code64 && addrsize == 4)) {
		e_lea(e, c->code64 && addrsize == 8, S0, base, index, scale, d);
	}
	if (window && !biased)
		e_alu_gs(e, w, ALU_ADD, S0, bias);
	if (seg_has_base(c, r->seg))
		e_alu_gs(e, w, ALU_ADD, S0, segbase);
	return fold;
}

/* S0 = host address of [lo, lo + size) of group g or, without one, of the operand. */
static void emit_check(struct tctx *c, unsigned acc, unsigned size, unsigned seg, unsigned base, unsigned index, unsigned scale,
		       int64_t disp, unsigned addrsize, bool s1_busy, bool group)
{
	struct emit *e = &c->e;
	struct bt_rec *r;
	uint32_t id, site;
	uint8_t *slow;
	int32_t slot = -1;
	int32_t table = GS_CPU(tlb) + (int32_t)(bt_tlb_table(c->key, acc & ACC_WRITE) * sizeof(struct bt_tlb_entry) * BT_TLB_SIZE);

	bt_flags_spill(c, c->cur_live, !s1_busy);
	if (c->bt->nsites == BT_MAX_SITES) {
		e->overflow = true;
		return;
	}
	site = c->bt->nsites++;
	r = bt_rec_new(c, &id);
	r->size = (uint16_t)size;
	r->acc = (uint8_t)(acc | ((c->key & BK_USER) ? ACC_USER : 0));
	r->site = site;
	r->addr32 = !c->code64;
	r->aligned = (c->insn[c->cur].row->flags & (ISA_FPU | ISA_MMX | ISA_SSE | ISA_AVX)) || size == 16;
	r->seg = (uint8_t)seg;
	r->fl_mem = c->fl_mem;
	if (base == NO_REG && index == NO_REG && !seg_has_base(c, seg)) {
		r->is_const = true;
		r->disp = (int64_t)(!c->code64 || addrsize == 4 ? (uint32_t)disp : (uint64_t)disp);
		e_load_gs(e, S0, GS_SITE(site, hva));
		e_rex(e, true, S0, 0, S0, false); /* test S0, S0 */
		emit8(e, 0x85);
		emit8(e, 0xc0 | (S0 & 7) << 3 | (S0 & 7));
		slow = e_jcc32(e, CC_E);
	} else if (!s1_busy && (!c->windows || *bt_wild(c->bt, c->gpa + c->guest_off))) {
		r->inline_tlb = true;
		emit_linear(c, r, false, base, index, scale, disp, addrsize);
		if (c->bt->bmi2) {
			emit_word(e, 0x08f7f07b43c4, 6); /* rorx $8, %r15d, %r14d: what comes round is masked */
		} else {
			e_mov_rr(e, false, S1, S0);
			e_shr_imm(e, false, S1, 8);
		}
		e_alu_imm32(e, false, ALU_AND, S1, (BT_TLB_SIZE - 1) << 4);
		e_gs_base_op(e, true, ALU_SUB << 3 | 3, S0, S1, table);
		e_alu_imm32(e, true, ALU_CMP, S0, 4096 - (int32_t)size);
		slow = e_jcc32(e, CC_A);
		e_gs_base_op(e, true, ALU_ADD << 3 | 3, S0, S1, table + 8);
	} else {
		r->windowed = true;
		r->disp = emit_linear(c, r, true, base, index, scale, disp, addrsize) ? disp : 0;
		e_alu_gs(e, true, ALU_CMP, S0, GS_SITE(site, limit));
		slow = e_jcc32(e, CC_AE);
		e_alu_gs(e, true, ALU_ADD, S0, GS_SITE(site, hva));
	}
	r->resume = bt_code_off(c, e->p);
	r->last = 4096 - size;
	r->table = table;
	r->big = GS_CPU(big) + (int32_t)(bt_tlb_table(c->key, acc & ACC_WRITE) * sizeof(struct bt_tlb_entry) * BT_BIG_SIZE);
	if (group) {
		uint32_t link;
		struct bt_link *l = bt_link_new(c, c->lin + c->guest_off, &link);

		r->group = true;
		r->link = link;
		slot = (int32_t)l->slot;
	}
	bt_stub_add(c, slow, SVC_ARG(SVC_ACCESS, id), true, slot);
	if (!group)
		c->access_rec[c->naccess++ & 3] = id;
}

static int32_t access_address(struct tctx *c, unsigned acc, unsigned size, unsigned seg, unsigned base, unsigned index,
			      unsigned scale, int64_t disp, unsigned addrsize, bool s1_busy)
{
	const struct tmember *m = &c->member[c->cur][c->cur_access++ & 1];
	struct tgroup *g;

	if (m->group < 0 || c->group[m->group].members < 2) {
		emit_check(c, acc, size, seg, base, index, scale, disp, addrsize, s1_busy, false);
		c->s0_group = -1;
		return 0;
	}
	g = &c->group[m->group];
	g->done++;
	if (!(c->ready & (1u << m->group))) {
		emit_check(c, g->write ? ACC_WRITE : ACC_READ, (unsigned)(g->hi - g->lo), seg, base, index, scale,
			   disp + g->lo - m->off, addrsize, s1_busy, true);
		if (g->done < g->members) {
			e_store_gs(&c->e, S0, GS_CPU(group) + 8 * m->group);
			c->ready |= 1u << m->group;
		}
	} else if (c->s0_group != m->group) {
		e_load_gs(&c->e, S0, GS_CPU(group) + 8 * m->group);
	}
	c->s0_group = m->group;
	return m->off - g->lo;
}

static int32_t emit_access(struct tctx *c, unsigned acc, unsigned size, unsigned seg, unsigned base, unsigned index,
			   unsigned scale, int64_t disp, unsigned addrsize, bool s1_busy)
{
	unsigned was = bt_kind(c, SAMPLE_CHECK);
	int32_t d = access_address(c, acc, size, seg, base, index, scale, disp, addrsize, s1_busy);

	bt_kind(c, was);
	return d;
}

int32_t bt_emit_operand(struct tctx *c, const struct insn *i, unsigned acc, unsigned size)
{
	int64_t disp = i->disp;

	if (i->rip_rel)
		disp += (int64_t)(c->lin + c->guest_off + i->len);
	return emit_access(c, acc, size, i->seg, i->base, i->index, i->scale, disp, i->addrsize, false);
}

int32_t bt_emit_stack(struct tctx *c, unsigned acc, unsigned base, int32_t disp, bool s1_busy)
{
	unsigned word = c->code64 ? 8 : 4;

	return emit_access(c, acc, word, SEG_SS, base, NO_REG, 1, disp, word, s1_busy);
}

void bt_emit_element(struct tctx *c, unsigned acc, unsigned size, unsigned seg, unsigned base, bool s1_busy)
{
	(void)emit_access(c, acc, size, seg, base, NO_REG, 1, 0, c->code64 ? 8 : 4, s1_busy);
}
