/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One block: decode, find out which flags are dead where, emit.
 *
 * Deviations from the manual, all of them: when an instruction faults, arithmetic flags that it or an instruction after it
 * in the block would have overwritten before anything read them may be other than the processor's in the saved image.
 */
#include "translator/bt_trans.h"

#include <Zydis/Mnemonic.h>

#include "translator/vec.h"

/* ---- marks, links, records ---- */

void bt_mark(struct tctx *c, unsigned flags, unsigned fix)
{
	struct bt_mark *m;
	uint64_t off = (uint64_t)(c->e.p - c->host);

	flags |= c->fl_mem ? MARK_MEM : 0;
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

static uint32_t code_off(const struct tctx *c, const uint8_t *p)
{
	return (uint32_t)(p - c->bt->cache);
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

static void stub_add(struct tctx *c, uint8_t *from, uint32_t arg, bool mem, int32_t slot)
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
static void emit_service(struct tctx *c, uint32_t arg, bool mem)
{
	e_store_gs_imm(&c->e, false, GS_CPU(arg), arg);
	e_jmp_gs(&c->e, mem ? GS_CPU(exit_mem) : GS_CPU(exit_host));
}

static void align_rel32(struct tctx *c, unsigned opcode_bytes)
{
	unsigned mis = (unsigned)((uintptr_t)(c->e.p + opcode_bytes) & 3);

	if (mis)
		e_nop(&c->e, 4 - mis);
}

/* A jump to a guest address known now. cc < 0: unconditional. The condition's flags are in the host's. */
static void emit_goto(struct tctx *c, int cc, uint64_t target)
{
	struct bt *bt = c->bt;
	struct bt_link *l;
	uint32_t id;

	if (!c->code64)
		target = (uint32_t)target;
	if (bt->nlinks == BT_MAX_LINKS || bt->nslots == BT_MAX_SLOTS) {
		c->e.overflow = true;
		return;
	}
	id = bt->nlinks++;
	l = &bt->link[id];
	*l = (struct bt_link){ .from = c->block_index, .target = target, .fl_mem = c->fl_mem };
	l->slot = bt->nslots++;
	if ((target ^ c->lin) >> 12 == 0 && c->gpa2_page == UINT64_MAX) {
		align_rel32(c, cc < 0 ? 1 : 2);
		uint8_t *rel = cc < 0 ? e_jmp32(&c->e) : e_jcc32(&c->e, (enum cc)cc);

		l->patch = code_off(c, rel);
		stub_add(c, rel, SVC_ARG(SVC_LINK, id), c->fl_mem, (int32_t)l->slot);
	} else if (cc < 0) {
		e_jmp_gs(&c->e, GS_SLOT(l->slot));
		stub_add(c, NULL, SVC_ARG(SVC_LINK, id), c->fl_mem, (int32_t)l->slot);
	} else {
		stub_add(c, e_jcc32(&c->e, (enum cc)cc), SVC_ARG(SVC_LINK, id), c->fl_mem, (int32_t)l->slot);
	}
}

/* ---- flags ---- */

/* Host flags will be destroyed now: keep what is live. */
void bt_flags_spill(struct tctx *c, uint32_t live)
{
	if (c->fl_mem || !(live & FL_ARITH))
		return;
	bt_mark(c, MARK_STEP, 0);
	e_flags_save(&c->e, GS_CPU(fl));
	c->fl_mem = true;
	bt_mark(c, 0, 0);
}

void bt_flags_need(struct tctx *c, bool s1_free)
{
	if (!c->fl_mem)
		return;
	bt_mark(c, MARK_STEP, 0);
	if (!s1_free)
		e_store_gs(&c->e, S1, GS_CPU(tmp[0]));
	e_flags_load(&c->e, GS_CPU(fl));
	if (!s1_free)
		e_load_gs(&c->e, S1, GS_CPU(tmp[0]));
	c->fl_mem = false;
	bt_mark(c, 0, 0);
}

/* ---- memory ---- */

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
	bool w = c->code64, fold = window && (!c->code64 || addrsize == 8);
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
	} else if (base != S0 || index != NO_REG || d) {
		e_lea(e, c->code64 && addrsize == 8, S0, base, index, scale, d);
	}
	if (window && !biased)
		e_alu_gs(e, w, ALU_ADD, S0, bias);
	if (seg_has_base(c, r->seg))
		e_alu_gs(e, w, ALU_ADD, S0, segbase);
	return fold;
}

/* S0 = host address of the operand, checked for `size` bytes; the flags' live part has been saved by the caller. S1 is
 * lost unless s1_busy. */
static void emit_window(struct tctx *c, unsigned acc, unsigned size, unsigned seg, unsigned base, unsigned index,
			unsigned scale, int64_t disp, unsigned addrsize, bool s1_busy)
{
	struct emit *e = &c->e;
	struct bt_rec *r;
	uint32_t id, site;
	uint8_t *slow;

	if (c->bt->nsites == BT_MAX_SITES) {
		e->overflow = true;
		return;
	}
	site = c->bt->nsites++;
	r = bt_rec_new(c, &id);
	r->size = (uint8_t)size;
	r->acc = (uint8_t)(acc | ((c->key & BK_USER) ? ACC_USER : 0));
	r->site = site;
	r->addr32 = !c->code64;
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
	} else if (!s1_busy && *bt_wild(c->bt, c->gpa + c->guest_off) && size <= 64) {
		int32_t table = GS_CPU(tlb) + (int32_t)(bt_tlb_table(c->key, acc & ACC_WRITE) * sizeof(struct bt_tlb_entry) * BT_TLB_SIZE);

		r->inline_tlb = true;
		emit_linear(c, r, false, base, index, scale, disp, addrsize);
		e_mov_rr(e, false, S1, S0);
		e_shr_imm(e, false, S1, 8);
		e_alu_imm32(e, false, ALU_AND, S1, (BT_TLB_SIZE - 1) << 4);
		e_gs_base_op(e, true, ALU_SUB << 3 | 3, S0, S1, table);
		e_alu_imm32(e, true, ALU_CMP, S0, 4096 - (int32_t)size);
		slow = e_jcc32(e, CC_A);
		e_gs_base_op(e, true, ALU_ADD << 3 | 3, S0, S1, table + 8);
	} else {
		r->disp = emit_linear(c, r, true, base, index, scale, disp, addrsize) ? disp : 0;
		e_alu_gs(e, true, ALU_CMP, S0, GS_SITE(site, limit));
		slow = e_jcc32(e, CC_AE);
		e_alu_gs(e, true, ALU_ADD, S0, GS_SITE(site, hva));
	}
	r->resume = code_off(c, e->p);
	stub_add(c, slow, SVC_ARG(SVC_ACCESS, id), true, -1);
	c->access_rec[c->naccess++ & 3] = id;
}

static void emit_operand(struct tctx *c, const struct insn *i, unsigned acc, unsigned size)
{
	int64_t disp = i->disp;

	if (i->rip_rel)
		disp += (int64_t)(c->lin + c->guest_off + i->len);
	emit_window(c, acc, size, i->seg, i->base, i->index, i->scale, disp, i->addrsize, false);
}

static void emit_stack(struct tctx *c, unsigned acc, unsigned base, int32_t disp)
{
	emit_window(c, acc, c->code64 ? 8 : 4, SEG_SS, base, NO_REG, 1, disp, c->code64 ? 8 : 4, true);
}

static void emit_sp_add(struct tctx *c, int32_t n)
{
	e_lea(&c->e, c->code64, R_SP, R_SP, NO_REG, 1, n);
}

/* ---- instructions ---- */

/* Hands the instruction to the interpreter's function; end: what follows is looked up afresh. */
static void emit_callout(struct tctx *c, const struct insn *i, bool end)
{
	uint32_t id;
	struct bt_rec *r = bt_rec_new(c, &id);

	r->insn = bt_arena(c->bt, sizeof(*i));
	if (!r->insn) {
		c->e.overflow = true;
		return;
	}
	*r->insn = *i;
	emit_service(c, SVC_ARG(end ? SVC_END : SVC_CALLOUT, id), c->fl_mem);
	r->resume = r->next = code_off(c, c->e.p);
	c->fl_mem = false;
}

static bool writes_reg(const struct insn *i, unsigned k)
{
	if (k == 0)
		return !(i->row->flags & ISA_DST_READ);
	return k == 1 && (i->row->flags & ISA_SRC_WRITE);
}

static unsigned spilled_regs(const struct insn *i)
{
	unsigned m = 0;

	for (unsigned k = 0; k < i->nops; k++)
		if (i->op[k].kind == OPK_GPR && (i->op[k].reg == R_14 || i->op[k].reg == R_15))
			m |= 1u << (i->op[k].reg - R_14);
	return m;
}

/* A low register without a part in the instruction, for operands that cannot name R15 (AH..BH beside a REX prefix). */
static unsigned free_low_reg(const struct insn *i)
{
	static const uint8_t cand[] = { R_DI, R_SI, R_BP };

	for (unsigned k = 0; k < sizeof(cand); k++) {
		bool used = false;

		for (unsigned o = 0; o < i->nops; o++)
			used |= i->op[o].kind == OPK_GPR && i->op[o].reg == cand[k];
		if (!used)
			return cand[k];
	}
	return NO_REG;
}

/* COPY: false when it has to be a callout. */
static bool emit_copy(struct tctx *c, const struct insn *i, uint32_t live_in, uint32_t live_out)
{
	struct emit *e = &c->e;
	struct recode rc;
	unsigned spilled = c->code64 ? spilled_regs(i) : 0, size = 0, acc = ACC_READ;
	uint32_t writes = (i->fl_write | i->fl_undef) & FL_ARITH;
	bool need = (i->fl_read & FL_ARITH) || (i->fl_undef & live_out) || (writes && (live_out & FL_ARITH & ~i->fl_write));
	bool mem = i->has_mem, step = false;
	struct emit save = *e;
	unsigned save_marks = c->nmarks, save_stubs = c->nstubs, save_access = c->naccess;
	bool save_fl = c->fl_mem;
	uint32_t save_sites = c->bt->nsites, save_recs = c->bt->nrecs;

	for (unsigned k = 0; k < i->nops; k++) {
		if (i->op[k].kind == OPK_REL || i->op[k].kind == OPK_FAR || i->op[k].kind == OPK_SREG ||
		    i->op[k].kind == OPK_CR || i->op[k].kind == OPK_DR)
			return false;
		if (i->op[k].kind == OPK_MEM) {
			size = i->op[k].bytes;
			if (writes_reg(i, k))
				acc = ACC_WRITE;
		}
	}
	recode_identity(&rc);
	if (mem) {
		if (!size || i->addrsize == 2 || spilled == 3)
			return false;
		if (!c->code64 && i->seg >= SEG_FS && !(c->key & (i->seg == SEG_FS ? BK_FS_FLAT4G : BK_GS_FLAT4G)))
			return false;
		bt_flags_spill(c, live_in);
		emit_operand(c, i, acc, size);
		rc.mem_base = S0;
		if (spilled) {
			rc.gpr[spilled == 1 ? R_14 : R_15] = S1;
			e_load_gs(e, S1, GS_GPR(spilled == 1 ? R_14 : R_15));
		}
	} else {
		if (spilled & 1)
			e_load_gs(e, R_14, GS_GPR(R_14));
		if (spilled & 2)
			e_load_gs(e, R_15, GS_GPR(R_15));
	}
	if (need)
		bt_flags_need(c, !spilled);
	if (!recode_insn(e, i, &rc)) {
		unsigned r = mem && !spilled ? free_low_reg(i) : NO_REG;

		if (r != NO_REG) { /* S0 cannot be named beside AH..BH: lend a low register, keep its value in S1 */
			bt_mark(c, MARK_STEP, 0);
			e_mov_rr(e, true, S1, r);
			bt_mark(c, MARK_FIX | MARK_STEP, r);
			e_mov_rr(e, true, r, S0);
			rc.mem_base = (uint8_t)r;
			step = recode_insn(e, i, &rc);
			e_mov_rr(e, true, r, S1);
		}
		if (!step) {
			*e = save;
			c->nmarks = save_marks;
			c->nstubs = save_stubs;
			c->naccess = save_access;
			c->fl_mem = save_fl;
			c->bt->nsites = save_sites;
			c->bt->nrecs = save_recs;
			bt_mark(c, 0, 0);
			return false;
		}
	}
	if (writes)
		c->fl_mem = false;
	bt_mark(c, MARK_STEP, 0);
	for (unsigned k = 0; k < i->nops && spilled; k++) {
		if (i->op[k].kind == OPK_GPR && (i->op[k].reg == R_14 || i->op[k].reg == R_15) && writes_reg(i, k))
			e_store_gs(e, rc.gpr[i->op[k].reg], GS_GPR(i->op[k].reg));
	}
	return true;
}

static void emit_lea(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	unsigned dst = i->op[0].reg, base = i->base, index = i->index, to = dst;
	bool w = i->opsize == 8 && i->addrsize == 8;
	bool spilled = c->code64 && (dst == R_14 || dst == R_15);

	if (spilled)
		to = S0;
	if (i->rip_rel || (base == NO_REG && index == NO_REG)) {
		uint64_t a = (uint64_t)i->disp + (i->rip_rel ? c->lin + c->guest_off + i->len : 0);

		e_mov_imm(e, to, w ? a : (uint32_t)a);
	} else {
		if (c->code64 && (base == R_14 || base == R_15)) {
			e_load_gs(e, S0, GS_GPR(base));
			base = S0;
		}
		if (c->code64 && (index == R_14 || index == R_15)) {
			unsigned t = base == S0 ? S1 : S0;

			e_load_gs(e, t, GS_GPR(index));
			index = t;
		}
		e_lea(e, w, to, base, index, i->scale, (int32_t)i->disp);
	}
	if (spilled)
		e_store_gs(e, to, GS_GPR(dst));
}

/* the value to push or jump to: a register into S1 or itself */
static unsigned reg_value(struct tctx *c, unsigned reg)
{
	if (c->code64 && (reg == R_14 || reg == R_15)) {
		e_load_gs(&c->e, S1, GS_GPR(reg));
		return S1;
	}
	return reg;
}

static bool emit_push(struct tctx *c, const struct insn *i, uint32_t live_in)
{
	struct emit *e = &c->e;
	unsigned word = c->code64 ? 8 : 4;
	unsigned from = NO_REG;

	if (i->stacksize != word || (i->has_mem && (i->addrsize == 2 || i->seg >= SEG_FS)) || i->op[0].kind == OPK_SREG)
		return false;
	bt_flags_spill(c, live_in);
	if (i->op[0].kind == OPK_MEM) {
		emit_operand(c, i, ACC_READ, word);
		e_mem_op(e, c->code64, 0x8b, S1, S0, NO_REG, 1, 0);
		from = S1;
	}
	emit_stack(c, ACC_WRITE, R_SP, -(int32_t)word);
	if (i->op[0].kind == OPK_IMM) {
		e_rex(e, c->code64, 0, 0, S0, false);
		emit8(e, 0xc7); /* mov $imm32, (S0); R15 needs no displacement */
		emit8(e, S0 & 7);
		emit32(e, (uint32_t)i->imm[0]);
	} else {
		if (from == NO_REG)
			from = reg_value(c, i->op[0].reg);
		e_mem_op(e, c->code64, 0x89, from, S0, NO_REG, 1, 0);
	}
	bt_mark(c, MARK_STEP, 0);
	emit_sp_add(c, -(int32_t)word);
	return true;
}

static bool emit_pop(struct tctx *c, const struct insn *i, uint32_t live_in)
{
	struct emit *e = &c->e;
	unsigned word = c->code64 ? 8 : 4, dst = i->op[0].reg, to = dst;
	bool spilled = c->code64 && (dst == R_14 || dst == R_15);

	if (i->stacksize != word || i->op[0].kind != OPK_GPR)
		return false;
	bt_flags_spill(c, live_in);
	emit_stack(c, ACC_READ, R_SP, 0);
	if (spilled)
		to = S1;
	e_mem_op(e, c->code64, 0x8b, to, S0, NO_REG, 1, 0);
	if (spilled)
		e_store_gs(e, to, GS_GPR(dst));
	if (dst != R_SP) {
		bt_mark(c, MARK_STEP, 0);
		emit_sp_add(c, (int32_t)word);
	}
	return true;
}

static void emit_leave(struct tctx *c, uint32_t live_in)
{
	bt_flags_spill(c, live_in);
	emit_stack(c, ACC_READ, R_BP, 0);
	e_mem_op(&c->e, c->code64, 0x8b, S1, S0, NO_REG, 1, 0);
	bt_mark(c, MARK_STEP, 0);
	e_lea(&c->e, c->code64, R_SP, R_BP, NO_REG, 1, c->code64 ? 8 : 4);
	e_mov_rr(&c->e, c->code64, R_BP, S1);
}

/* S0 holds the target address: jump through the jump cache, or ask. Flags are in fl, or dead. */
static void emit_indirect(struct tctx *c)
{
	struct emit *e = &c->e;
	uint8_t *miss;
	int32_t table = GS_CPU(jc) + (int32_t)(bt_jc_class(c->key) * sizeof(struct bt_jc));

	e_movzx16(e, S1, S0);
	e_gs_idx_op(e, true, 0x3b, S0, S1, table + (int32_t)offsetof(struct bt_jc, lin));
	miss = e_jcc32(e, CC_NE);
	e_gs_idx_op(e, false, 0xff, 4, S1, table + (int32_t)offsetof(struct bt_jc, host));
	e_patch32(e, miss, e->p);
	e_store_gs(e, S0, GS_REGS(rip));
	emit_service(c, SVC_ARG(SVC_DISPATCH, 0), true);
}

static void emit_push_return(struct tctx *c, uint64_t ret, bool s1_free)
{
	struct emit *e = &c->e;

	if (!c->code64)
		ret = (uint32_t)ret;
	if (!c->code64 || (int64_t)ret == (int32_t)ret) {
		e_rex(e, c->code64, 0, 0, S0, false);
		emit8(e, 0xc7);
		emit8(e, S0 & 7);
		emit32(e, (uint32_t)ret);
	} else if (s1_free) {
		e_mov_imm(e, S1, ret);
		e_mem_op(e, true, 0x89, S1, S0, NO_REG, 1, 0);
	} else { /* two halves would not be one store: build it in a lent register */
		bt_mark(c, MARK_STEP, 0);
		e_store_gs(e, R_AX, GS_CPU(tmp[1]));
		e_mov_imm(e, R_AX, ret);
		e_mem_op(e, true, 0x89, R_AX, S0, NO_REG, 1, 0);
		e_load_gs(e, R_AX, GS_CPU(tmp[1]));
	}
}

static bool emit_call(struct tctx *c, const struct insn *i, uint32_t live_in, uint32_t live_out)
{
	struct emit *e = &c->e;
	int32_t word = c->code64 ? 8 : 4;
	uint64_t next = c->lin + c->guest_off + i->len;
	bool direct = i->op[0].kind == OPK_REL;

	if ((c->code64 ? i->stacksize != 8 : i->opsize != 4) ||
	    (i->has_mem && (i->addrsize == 2 || (i->seg >= SEG_FS && !c->code64))))
		return false;
	bt_flags_spill(c, live_in | live_out);
	if (!direct) {
		if (i->op[0].kind == OPK_MEM) {
			emit_operand(c, i, ACC_READ, (unsigned)word);
			e_mem_op(e, c->code64, 0x8b, S1, S0, NO_REG, 1, 0);
		} else {
			unsigned r = reg_value(c, i->op[0].reg);

			if (r != S1)
				e_mov_rr(e, c->code64, S1, r);
		}
	}
	emit_stack(c, ACC_WRITE, R_SP, -word);
	emit_push_return(c, next, direct);
	bt_mark(c, MARK_STEP, 0);
	emit_sp_add(c, -word);
	if (direct) {
		emit_goto(c, -1, next + i->imm[0]);
	} else {
		e_mov_rr(e, c->code64, S0, S1);
		emit_indirect(c);
	}
	return true;
}

static bool emit_jmp(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;

	if (i->op[0].kind == OPK_REL) {
		if (!c->code64 && i->opsize != 4)
			return false;
		emit_goto(c, -1, c->lin + c->guest_off + i->len + i->imm[0]);
		return true;
	}
	if ((!c->code64 && i->opsize != 4) || (c->code64 && i->op[0].bytes != 8) ||
	    (i->has_mem && (i->addrsize == 2 || (i->seg >= SEG_FS && !c->code64))))
		return false;
	bt_flags_spill(c, FL_ARITH);
	if (i->op[0].kind == OPK_MEM) {
		emit_operand(c, i, ACC_READ, c->code64 ? 8 : 4);
		e_mem_op(e, c->code64, 0x8b, S0, S0, NO_REG, 1, 0);
	} else {
		unsigned r = reg_value(c, i->op[0].reg);

		e_mov_rr(e, c->code64, S0, r);
	}
	bt_mark(c, 0, 0);
	emit_indirect(c);
	return true;
}

static bool emit_ret(struct tctx *c, const struct insn *i, uint32_t live_in)
{
	struct emit *e = &c->e;
	int32_t word = c->code64 ? 8 : 4;

	if (c->code64 ? i->stacksize != 8 : i->opsize != 4)
		return false;
	bt_flags_spill(c, live_in);
	emit_stack(c, ACC_READ, R_SP, 0);
	e_mem_op(e, c->code64, 0x8b, S0, S0, NO_REG, 1, 0);
	bt_mark(c, MARK_STEP, 0);
	emit_sp_add(c, word + (i->nops && i->op[0].kind == OPK_IMM ? (int32_t)(uint16_t)i->imm[0] : 0));
	emit_indirect(c);
	return true;
}

static void emit_jcxz(struct tctx *c, const struct insn *i, bool loop)
{
	struct emit *e = &c->e;
	uint64_t next = c->lin + c->guest_off + i->len;
	uint8_t *over;

	if (loop) {
		bt_mark(c, MARK_STEP, 0);
		e_lea(e, i->addrsize == 8, R_CX, R_CX, NO_REG, 1, -1);
	}
	if (i->addrsize == 4)
		emit8(e, 0x67);
	emit8(e, 0xe3);
	over = e->p;
	emit8(e, 0);
	emit_goto(c, -1, loop ? next + i->imm[0] : next);
	if (!e->overflow)
		*over = (uint8_t)(e->p - over - 1);
	emit_goto(c, -1, loop ? next : next + i->imm[0]);
}

/* Instructions with an emitter of their own. 1: done, -1: done and the block ends here, 0: none. */
static int emit_special(struct tctx *c, const struct insn *i, uint32_t live_in)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_LEAVE:
		if (i->stacksize != (c->code64 ? 8 : 4))
			return 0;
		emit_leave(c, live_in);
		return 1;
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		emit_jcxz(c, i, false);
		return -1;
	case ZYDIS_MNEMONIC_LOOP:
		if (i->addrsize == 2)
			return 0;
		emit_jcxz(c, i, true);
		return -1;
	case ZYDIS_MNEMONIC_CLD: /* DF is clear in translated code */
		return 1;
	default:
		return 0;
	}
}

static bool is_nothing(const struct insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1:
		return !i->lock;
	default:
		return false;
	}
}

/* What the mode does not allow must fault, and some forms are not what their row says: the interpreter does it. */
static bool must_interpret(const struct tctx *c, const struct insn *i)
{
	uint32_t f = i->row->flags;
	bool vec = false, mmx = false;

	if (f & (ISA_PRIV | ISA_SENSITIVE))
		return true;
	if ((f & ISA_FPU) && !(c->key & BK_FPU))
		return true;
	for (unsigned k = 0; k < i->nops; k++) {
		vec |= i->op[k].kind == OPK_XMM || i->op[k].kind == OPK_YMM;
		mmx |= i->op[k].kind == OPK_MM;
	}
	if ((f & ISA_MMX) && !(c->key & BK_MMX))
		return true;
	if (i->enc == ENC_VEX && (vec || (f & ISA_AVX))) {
		if (!(c->key & BK_AVX))
			return true;
	} else if ((f & (ISA_SSE | ISA_AVX)) || vec) {
		if (!(c->key & BK_SSE))
			return true;
	}
	if (mmx && !(c->key & BK_MMX))
		return true;
	if ((vec || mmx || (f & (ISA_FPU | ISA_MMX | ISA_SSE | ISA_AVX))) && !vec_host_runs(c->v, i))
		return true;
	if (i->enc == ENC_EVEX || i->enc == ENC_OTHER)
		return true;
	if (i->lock && !((f & ISA_LOCKABLE) && i->nops && i->op[0].kind == OPK_MEM))
		return true;
	if (c->code64 ? (f & ISA_NO64) : (f & ISA_ONLY64))
		return true;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: /* a bit string in memory reaches beyond the operand */
		return i->op[0].kind == OPK_MEM && i->op[1].kind != OPK_IMM;
	case ZYDIS_MNEMONIC_XLAT:
		return true;
	default:
		return false;
	}
}

/* ---- decode and flags analysis ---- */

static bool ends_block(const struct insn *i)
{
	if (!i->row)
		return true;
	switch (i->row->bt) {
	case BT_END:
	case BT_JCC:
	case BT_JMP:
	case BT_CALL:
	case BT_RET:
		return true;
	case BT_OTHER: /* the rest touches nothing that a translation depends on */
		switch (i->mnemonic) {
		case ZYDIS_MNEMONIC_IRET:
		case ZYDIS_MNEMONIC_IRETD:
		case ZYDIS_MNEMONIC_IRETQ:
		case ZYDIS_MNEMONIC_SYSCALL:
		case ZYDIS_MNEMONIC_SYSRET:
		case ZYDIS_MNEMONIC_SYSENTER:
		case ZYDIS_MNEMONIC_SYSEXIT:
		case ZYDIS_MNEMONIC_STI:
		case ZYDIS_MNEMONIC_STD:
		case ZYDIS_MNEMONIC_STAC:
		case ZYDIS_MNEMONIC_CLAC:
		case ZYDIS_MNEMONIC_JCXZ:
		case ZYDIS_MNEMONIC_JECXZ:
		case ZYDIS_MNEMONIC_JRCXZ:
		case ZYDIS_MNEMONIC_LOOP:
		case ZYDIS_MNEMONIC_LOOPE:
		case ZYDIS_MNEMONIC_LOOPNE:
			return true;
		default:
			return false;
		}
	case BT_COPY:
		for (unsigned k = 0; k < i->nops; k++)
			if (i->op[k].kind == OPK_REL)
				return true;
		return false;
	default:
		return false;
	}
}

/* What is known of the flags at a place in the code, from the few instructions there. */
struct flags_at {
	uint32_t read; /* certainly read before they are written */
	uint32_t left; /* neither read nor written as far as we looked */
};

#define FLAGS_LOOKAHEAD 12

static void flags_look(const struct tctx *c, uint64_t lin, struct flags_at *f)
{
	const uint8_t *page = c->page;
	uint64_t at = c->lin >> 12;

	for (unsigned n = 0; n < FLAGS_LOOKAHEAD && f->left; n++) {
		struct insn i;
		unsigned off;

		if (!c->code64)
			lin = (uint32_t)lin;
		if (lin >> 12 != at) { /* without side effects: no A bit, no fault */
			uint64_t gpa;

			if (!mmu_peek(c->v, lin, &gpa) || !(page = mem_ram(&c->v->vm->mem, gpa & ~0xfffull, 4096)))
				return;
			at = lin >> 12;
		}
		off = (unsigned)(lin & 0xfff);
		if (insn_decode(&i, page + off, 4096 - off > 15 ? 15 : 4096 - off, c->bits) != DECODE_OK || !i.row)
			return;
		f->read |= i.fl_read & f->left;
		f->left &= ~(i.fl_read | i.fl_write);
		if ((i.row->bt == BT_JMP || i.row->bt == BT_CALL) && i.op[0].kind == OPK_REL)
			lin += i.len + i.imm[0];
		else if (ends_block(&i))
			return;
		else
			lin += i.len;
	}
}

static struct flags_at flags_of(const struct tctx *c, uint64_t lin)
{
	struct flags_at f = { .left = FL_ARITH };

	flags_look(c, lin, &f);
	return f;
}

static uint32_t flags_wanted(const struct tctx *c, uint64_t lin)
{
	struct flags_at f = flags_of(c, lin);

	return f.read | f.left;
}

/*
 * Flags that matter behind the block's last instruction.
 *
 * CALL and RET: no calling convention passes arithmetic flags, so what is not certainly read counts as dead. The code
 * behind every CALL is looked at when the CALL is translated: the first that reads flags there (hand-written code that
 * returns a condition) makes every RET of this machine keep them, from before it can be reached.
 */
static uint32_t live_at_end(struct tctx *c, const struct insn *i, uint64_t next)
{
	switch (i->row ? i->row->bt : BT_END) {
	case BT_JMP:
		return i->op[0].kind == OPK_REL ? flags_wanted(c, next + i->imm[0]) : FL_ARITH;
	case BT_CALL:
		if (!c->bt->ret_flags && flags_of(c, next).read)
			c->need_ret_flags = true;
		return i->op[0].kind == OPK_REL ? flags_of(c, next + i->imm[0]).read : 0;
	case BT_RET:
		return c->bt->ret_flags ? FL_ARITH : 0;
	case BT_JCC:
		return flags_wanted(c, next + i->imm[0]) | flags_wanted(c, next);
	default:
		return ends_block(i) ? FL_ARITH : flags_wanted(c, next);
	}
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
	off = mem_ram_offset(&c->v->vm->mem, p.gpa + (lin2 - p.gva));
	if (off == UINT64_MAX)
		return false;
	codemap_mark(c->v->vm->codemap, c->v, off >> 12);
	p.hva = c->v->vm->mem.ram_hva + (off & ~0xfffull);
	n = fetch(c, 0, buf);
	for (unsigned k = 0; n < 15; k++)
		buf[n++] = p.hva[k];
	if (insn_decode(i, buf, n, c->bits) != DECODE_OK)
		return false;
	c->gpa2_page = (p.gpa + (lin2 - p.gva)) & ~0xfffull;
	return true;
}

static bool decode_block(struct tctx *c)
{
	unsigned off = 0;

	while (c->n < c->max_insns) {
		struct insn *i = &c->insn[c->n];
		uint8_t buf[15];
		enum decode_result r;

		if (((c->lin + off) ^ c->lin) >> 12)
			break; /* exactly at the page's end */
		r = insn_decode(i, buf, fetch(c, off, buf), c->bits);
		if (r == DECODE_SHORT) {
			if (c->n)
				break;
			if (!decode_straddler(c, i))
				return false;
			c->n = 1;
			c->off[0] = 0;
			off = i->len;
			break;
		}
		if (r != DECODE_OK || !i->row) {
			if (c->n == 0)
				return false;
			break; /* #UD is raised when execution gets there */
		}
		c->off[c->n++] = (uint16_t)off;
		off += i->len;
		if (ends_block(i))
			break;
	}
	c->guest_len = off;
	return c->n > 0;
}

static void find_live_flags(struct tctx *c)
{
	uint32_t live = live_at_end(c, &c->insn[c->n - 1], c->lin + c->guest_len);

	for (unsigned k = c->n; k-- > 0;) {
		c->live_out[k] = live & FL_ARITH;
		live = (live & ~c->insn[k].fl_write) | (c->insn[k].fl_read & FL_ARITH);
		c->live_in[k] = live & FL_ARITH;
	}
}

/* ---- a block ---- */

/* Emits instruction k. true: control never falls behind it. */
static bool emit_insn(struct tctx *c, unsigned k)
{
	const struct insn *i = &c->insn[k];
	uint32_t in = c->live_in[k], out = c->live_out[k];
	uint64_t next = c->lin + c->guest_off + i->len;
	int s;

	if (!must_interpret(c, i)) {
		s = emit_special(c, i, in);
		if (s)
			return s < 0;
		switch (i->row->bt) {
		case BT_COPY:
			if (is_nothing(i) || emit_copy(c, i, in, out))
				return false;
			break;
		case BT_LEA:
			if (i->addrsize != 2 && i->opsize >= 4) {
				emit_lea(c, i);
				return false;
			}
			break;
		case BT_PUSH:
			if (emit_push(c, i, in))
				return false;
			break;
		case BT_POP:
			if (emit_pop(c, i, in))
				return false;
			break;
		case BT_JCC:
			if (!c->code64 && i->opsize != 4)
				break;
			bt_flags_need(c, true);
			emit_goto(c, i->opcode & 15, next + i->imm[0]);
			emit_goto(c, -1, next);
			return true;
		case BT_JMP:
			if (emit_jmp(c, i))
				return true;
			break;
		case BT_CALL:
			if (emit_call(c, i, in, out))
				return true;
			break;
		case BT_RET:
			if (emit_ret(c, i, in))
				return true;
			break;
		case BT_OTHER:
		case BT_END:
			if (is_nothing(i))
				return false;
			break;
		default:
			break;
		}
	}
	emit_callout(c, i, ends_block(i));
	return ends_block(i);
}

static void emit_stubs(struct tctx *c)
{
	for (unsigned k = 0; k < c->nstubs; k++) {
		struct tstub *s = &c->stub[k];
		uint32_t kind = s->arg >> 28, id = s->arg & 0x0fffffff;

		c->guest_off = s->guest_off;
		c->fl_mem = s->fl_mem;
		if (s->from)
			e_patch32(&c->e, s->from, c->e.p);
		if (kind == SVC_LINK) {
			struct bt_link *l = &c->bt->link[id];

			/* past the branch decision: the boundary is the link's target, which only single-stepping reaches */
			bt_mark(c, MARK_STEP, 0);
			l->patch_stub = code_off(c, c->e.p);
			if (s->from)
				e_jmp_gs(&c->e, GS_SLOT(s->slot));
			l->stub = code_off(c, c->e.p);
		} else {
			bt_mark(c, 0, 0);
			if (kind == SVC_ACCESS && c->bt->rec[id].inline_tlb) {
				const struct bt_rec *r = &c->bt->rec[id];

				e_gs_base_op(&c->e, true, ALU_ADD << 3 | 3, S0, S1,
					     GS_CPU(tlb) + (int32_t)(bt_tlb_table(c->key, r->acc & ACC_WRITE) *
								     sizeof(struct bt_tlb_entry) * BT_TLB_SIZE));
			}
		}
		emit_service(c, s->arg, s->mem);
	}
}

static void publish_slots(struct tctx *c)
{
	for (unsigned k = 0; k < c->nstubs; k++) {
		struct tstub *s = &c->stub[k];

		if (s->slot < 0)
			continue;
		for (unsigned n = 0; n < c->bt->vm->ncpus; n++)
			if (c->bt->vm->vcpu[n])
				bt_slots(c->bt->vm->vcpu[n])[s->slot] =
					(uint64_t)bt_host(c->bt, c->bt->link[s->arg & 0x0fffffff].stub);
	}
}

static struct bt_block *emit_block(struct tctx *c)
{
	struct bt *bt = c->bt;
	struct bt_block *b = &bt->block[c->block_index];
	bool closed = false;

	emit_init(&c->e, bt->cache_next, (uint64_t)(bt->cache + BT_CACHE_BYTES - bt->cache_next));
	c->host = c->e.p;
	c->nmarks = c->nstubs = c->naccess = 0;
	c->fl_mem = false;
	for (unsigned k = 0; k < c->n && !c->e.overflow; k++) {
		unsigned first = c->naccess;

		c->guest_off = c->off[k];
		c->cur_len = c->insn[k].len;
		bt_mark(c, 0, 0);
		closed = emit_insn(c, k);
		for (unsigned a = first; a < c->naccess; a++) /* behind the instruction, when C did all of it */
			if (!closed)
				bt->rec[c->access_rec[a & 3]].next = code_off(c, c->e.p);
	}
	if (!closed) {
		c->guest_off = c->guest_len;
		bt_mark(c, 0, 0);
		if (c->gpa2_page != UINT64_MAX || c->guest_len) /* go on behind the block */
			emit_goto(c, -1, c->lin + c->guest_len);
	}
	emit_stubs(c);
	c->guest_off = 0;
	b->host = code_off(c, c->host);
	b->host_mem = b->host;
	if (c->live_in[0]) {
		c->fl_mem = true;
		bt_mark(c, MARK_STEP, 0);
		b->host_mem = code_off(c, c->e.p);
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
	b->key = c->key;
	b->guest_len = (uint16_t)c->guest_len;
	b->ninsns = (uint16_t)c->n;
	b->host_end = code_off(c, c->e.p);
	b->links_in = 0;
	publish_slots(c);
	bt->cache_next = (uint8_t *)(((uintptr_t)c->e.p + 15) & ~15ull);
	bt->nblocks++;
	c->v->count.bt_blocks++;
	c->v->count.bt_block_insns += c->n;
	c->v->count.bt_code_bytes += (uint64_t)(c->e.p - c->host);
	return b;
}

struct bt_block *bt_translate(struct bt *bt, struct vcpu *v, uint64_t lin, uint64_t gpa, uint32_t key, bool *step)
{
	struct tctx c = {
		.bt = bt, .v = v, .lin = lin, .gpa = gpa, .key = key, .code64 = key & BK_CODE64,
		.bits = key & BK_CODE64 ? 64 : 32, .gpa2_page = UINT64_MAX, .max_insns = BT_MAX_BLOCK_INSNS,
	};
	struct bt_block *b;
	uint64_t off = mem_ram_offset(&v->vm->mem, gpa);

	*step = false;
	if (off == UINT64_MAX || bt->nblocks == BT_MAX_BLOCKS) {
		*step = off == UINT64_MAX;
		return NULL;
	}
	c.block_index = bt->nblocks;
	codemap_mark(v->vm->codemap, v, off >> 12); /* before its bytes are read */
	c.page = v->vm->mem.ram_hva + (off & ~0xfffull);
	if (!decode_block(&c)) {
		*step = true;
		return NULL;
	}
	for (;;) {
		uint32_t recs = bt->nrecs, links = bt->nlinks, sites = bt->nsites, slots = bt->nslots;

		find_live_flags(&c);
		if (c.need_ret_flags) {
			bt->ret_flags = true; /* every RET translated so far goes */
			return NULL;
		}
		b = emit_block(&c);
		if (b || !c.too_long)
			return b;
		/* the emitted code outgrew a table of the context: half as many instructions */
		bt->nrecs = recs, bt->nlinks = links, bt->nsites = sites, bt->nslots = slots;
		c.n = c.n / 2 ? c.n / 2 : 1;
		c.guest_len = c.n == 1 ? c.insn[0].len : c.off[c.n];
		c.too_long = false;
	}
}
