/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host code for one guest instruction. Whatever is not here, or not in this mode, is a callout: the interpreter's function.
 */
#include "translator/bt_trans.h"

#include <Zydis/Mnemonic.h>

#include "translator/vec.h"

static void emit_sp_add(struct tctx *c, int32_t n)
{
	e_lea(&c->e, c->code64, R_SP, R_SP, NO_REG, 1, n);
}

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
	bt_emit_service(c, SVC_ARG(end ? SVC_END : SVC_CALLOUT, id), c->fl_mem);
	r->resume = r->next = bt_code_off(c, c->e.p);
	c->fl_mem = false;
	c->ready = 0;
	c->s0_group = -1;
}

bool bt_writes_reg(const struct insn *i, unsigned k)
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

bool bt_memory_operand(const struct insn *i, unsigned *size, unsigned *acc)
{
	*size = 0;
	*acc = ACC_READ;
	for (unsigned k = 0; k < i->nops; k++) {
		if (i->op[k].kind == OPK_MEM) {
			*size = i->op[k].bytes;
			if (bt_writes_reg(i, k))
				*acc = ACC_WRITE;
		}
	}
	return *size != 0;
}

/* Everything that a failed attempt to emit must put back. */
struct snapshot {
	struct emit e;
	unsigned nmarks, nstubs, naccess;
	bool fl_mem;
	int s0_group;
	uint32_t ready, nsites, nrecs, nlinks, nslots;
};

static void snapshot_take(const struct tctx *c, struct snapshot *s)
{
	*s = (struct snapshot){ c->e, c->nmarks, c->nstubs, c->naccess, c->fl_mem, c->s0_group, c->ready, c->bt->nsites,
				c->bt->nrecs, c->bt->nlinks, c->bt->nslots };
}

static void snapshot_restore(struct tctx *c, const struct snapshot *s)
{
	bool overflow = c->e.overflow;

	c->e = s->e;
	c->e.overflow = overflow;
	c->nmarks = s->nmarks;
	c->nstubs = s->nstubs;
	c->naccess = s->naccess;
	c->fl_mem = s->fl_mem;
	c->s0_group = s->s0_group;
	c->ready = s->ready;
	c->bt->nsites = s->nsites;
	c->bt->nrecs = s->nrecs;
	c->bt->nlinks = s->nlinks;
	c->bt->nslots = s->nslots;
	bt_mark(c, 0, 0);
}

/* S0 cannot be named beside AH..BH (it needs a REX prefix): lend a low register to the address, its value in S1. */
static bool emit_with_low_reg(struct tctx *c, const struct insn *i, struct recode *rc)
{
	struct emit *e = &c->e;
	unsigned r = free_low_reg(i);

	if (r == NO_REG)
		return false;
	bt_mark(c, MARK_STEP, 0);
	e_mov_rr(e, true, S1, r);
	bt_mark(c, MARK_FIX | MARK_STEP, r);
	e_mov_rr(e, true, r, S0);
	rc->mem_base = (uint8_t)r;
	if (!recode_insn(e, i, rc))
		return false;
	e_mov_rr(e, true, r, S1);
	return true;
}

/*
 * Where a copy finds its operands is known from its shape: memory at S0, R14 or R15 in S1 beside memory, in themselves
 * otherwise. So all copies of a shape begin with the same bytes; they are made once.
 */
static bool copy_operands(const struct insn *i, unsigned spilled, struct recode *rc)
{
	recode_identity(rc);
	for (unsigned k = 0; k < i->nops; k++)
		if (i->op[k].kind == OPK_REL || i->op[k].kind == OPK_FAR || i->op[k].kind == OPK_SREG || i->op[k].kind == OPK_CR ||
		    i->op[k].kind == OPK_DR)
			return false;
	if (!i->has_mem)
		return true;
	rc->mem_base = S0;
	if (spilled)
		rc->gpr[spilled == 1 ? R_14 : R_15] = S1;
	return i->addrsize != 2 && spilled != 3;
}

void bt_find_copy(const struct tctx *c, struct shape *s)
{
	const struct insn *i = &s->insn;
	uint8_t buf[16];
	struct recode rc;
	struct emit e;

	s->copy_len = SHAPE_NO_COPY;
	emit_init(&e, buf, sizeof(buf));
	if (!i->by_shape || !copy_operands(i, c->code64 ? spilled_regs(i) : 0, &rc) || !recode_insn(&e, i, &rc) || e.overflow ||
	    (unsigned)(e.p - buf) - i->imm_len > SHAPE_COPY_MAX)
		return;
	s->copy_len = (uint8_t)(e.p - buf - i->imm_len);
	for (unsigned k = 0; k < s->copy_len; k++)
		s->copy[k] = buf[k];
}

/* copy[], with the displacement behind its ModRM, which is its last byte when there is memory, and the immediate. */
static void emit_found_copy(struct tctx *c, const struct insn *i, int32_t disp)
{
	struct emit *e = &c->e;
	unsigned n = c->copy_len[c->cur], mod = disp == 0 ? 0 : disp >= -128 && disp <= 127 ? 1 : 2;

	emit_bytes(e, c->copy[c->cur], n);
	if (mod && !e->overflow) {
		e->p[-1] |= (uint8_t)(mod << 6);
		emit_word(e, (uint32_t)disp, mod == 1 ? 1 : 4);
	}
	if (i->imm_len)
		emit_word(e, i->imm[0], i->imm_len);
}

/* COPY: false when it has to be a callout. */
static bool emit_copy(struct tctx *c, const struct insn *i, uint32_t live_out)
{
	struct emit *e = &c->e;
	struct recode rc;
	struct snapshot snap;
	bool found = c->copy_len[c->cur] != SHAPE_NO_COPY;
	unsigned spilled = c->code64 ? spilled_regs(i) : 0, size, acc, was;
	uint32_t writes = (i->fl_write | i->fl_undef) & FL_ARITH;
	bool need = (i->fl_read & FL_ARITH) || (i->fl_undef & live_out) || (writes && (live_out & FL_ARITH & ~i->fl_write));
	int32_t disp = 0;

	if (!found && !copy_operands(i, spilled, &rc))
		return false;
	snapshot_take(c, &snap);
	if (i->has_mem) {
		if (!bt_memory_operand(i, &size, &acc))
			return false;
		if (!c->code64 && i->seg >= SEG_FS && !(c->key & (i->seg == SEG_FS ? BK_FS_FLAT4G : BK_GS_FLAT4G)))
			return false;
		disp = bt_emit_operand(c, i, acc, size);
		was = bt_kind(c, SAMPLE_SPILL);
		if (spilled)
			e_load_gs(e, S1, GS_GPR(spilled == 1 ? R_14 : R_15));
	} else {
		was = bt_kind(c, SAMPLE_SPILL);
		if (spilled & 1)
			e_load_gs(e, R_14, GS_GPR(R_14));
		if (spilled & 2) {
			e_load_gs(e, R_15, GS_GPR(R_15));
			c->s0_group = -1;
		}
	}
	bt_kind(c, was);
	if (need)
		bt_flags_need(c, !spilled);
	if (found) {
		emit_found_copy(c, i, disp);
	} else {
		rc.mem_disp = disp;
		if (!recode_insn(e, i, &rc) && !(i->has_mem && !spilled && emit_with_low_reg(c, i, &rc))) {
			snapshot_restore(c, &snap);
			return false;
		}
	}
	if (writes)
		c->fl_mem = false;
	bt_mark(c, MARK_STEP, 0);
	bt_kind(c, SAMPLE_SPILL);
	for (unsigned k = 0; k < i->nops && spilled; k++)
		if (i->op[k].kind == OPK_GPR && (i->op[k].reg == R_14 || i->op[k].reg == R_15) && bt_writes_reg(i, k))
			e_store_gs(e, i->has_mem ? S1 : i->op[k].reg, GS_GPR(i->op[k].reg));
	bt_kind(c, was);
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
	if (spilled || base >= R_14 || index >= R_14) /* NO_REG included */
		c->s0_group = -1;
	if (i->rip_rel || (base == NO_REG && index == NO_REG)) {
		uint64_t a = (uint64_t)i->disp + (i->rip_rel ? c->lin + c->guest_off + i->len : 0);

		e_mov_imm(e, to, w ? a : (uint32_t)a);
	} else {
		unsigned was = bt_kind(c, SAMPLE_SPILL);

		if (c->code64 && (base == R_14 || base == R_15)) {
			e_load_gs(e, S0, GS_GPR(base));
			base = S0;
		}
		if (c->code64 && (index == R_14 || index == R_15)) {
			unsigned t = base == S0 ? S1 : S0;

			e_load_gs(e, t, GS_GPR(index));
			index = t;
		}
		bt_kind(c, was);
		e_lea(e, w, to, base, index, i->scale, (int32_t)i->disp);
	}
	if (spilled) {
		unsigned was = bt_kind(c, SAMPLE_SPILL);

		e_store_gs(e, to, GS_GPR(dst));
		bt_kind(c, was);
	}
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

static bool emit_push(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	unsigned word = c->code64 ? 8 : 4, from = NO_REG;
	int32_t d;

	if (i->stacksize != word || (i->has_mem && (i->addrsize == 2 || i->seg >= SEG_FS)) || i->op[0].kind == OPK_SREG)
		return false;
	if (i->op[0].kind == OPK_MEM) {
		d = bt_emit_operand(c, i, ACC_READ, word);
		e_mem_op(e, c->code64, 0x8b, S1, S0, NO_REG, 1, d);
		from = S1;
	}
	d = bt_emit_stack(c, ACC_WRITE, R_SP, -(int32_t)word, from == S1);
	if (i->op[0].kind == OPK_IMM) {
		e_mem_op(e, c->code64, 0xc7, 0, S0, NO_REG, 1, d);
		emit32(e, (uint32_t)i->imm[0]);
	} else {
		if (from == NO_REG)
			from = reg_value(c, i->op[0].reg);
		e_mem_op(e, c->code64, 0x89, from, S0, NO_REG, 1, d);
	}
	bt_mark(c, MARK_STEP, 0);
	emit_sp_add(c, -(int32_t)word);
	return true;
}

static bool emit_pop(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	unsigned word = c->code64 ? 8 : 4, dst = i->op[0].reg, to = dst;
	bool spilled = c->code64 && (dst == R_14 || dst == R_15);
	int32_t d;

	if (i->stacksize != word || i->op[0].kind != OPK_GPR)
		return false;
	d = bt_emit_stack(c, ACC_READ, R_SP, 0, false);
	if (spilled)
		to = S1;
	e_mem_op(e, c->code64, 0x8b, to, S0, NO_REG, 1, d);
	if (spilled)
		e_store_gs(e, to, GS_GPR(dst));
	if (dst != R_SP) {
		bt_mark(c, MARK_STEP, 0);
		emit_sp_add(c, (int32_t)word);
	}
	return true;
}

static void emit_leave(struct tctx *c)
{
	int32_t d = bt_emit_stack(c, ACC_READ, R_BP, 0, false);

	e_mem_op(&c->e, c->code64, 0x8b, S1, S0, NO_REG, 1, d);
	bt_mark(c, MARK_STEP, 0);
	e_lea(&c->e, c->code64, R_SP, R_BP, NO_REG, 1, c->code64 ? 8 : 4);
	e_mov_rr(&c->e, c->code64, R_BP, S1);
}

/* Compares the target address in `target` with its entry of the jump cache, whose index goes to `index`. Not there: C does
 * the whole instruction; sp_add is what it adds to RSP, for CALL (whose target is not in S0) -1. Flags are in fl, or dead. */
static void emit_jump_lookup(struct tctx *c, unsigned target, unsigned index, int32_t sp_add)
{
	unsigned was = bt_kind(c, SAMPLE_JUMP);
	struct emit *e = &c->e;
	uint32_t id;
	struct bt_rec *r = bt_rec_new(c, &id);

	r->sp_add = sp_add;
	e_movzx16(e, index, target);
	e_gs_idx_op(e, true, 0x3b, target, index,
		    GS_CPU(jc) + (int32_t)(bt_jc_class(c->key) * sizeof(struct bt_jc) + offsetof(struct bt_jc, lin)));
	bt_stub_add(c, e_jcc32(e, CC_NE), SVC_ARG(SVC_INDIRECT, id), true, -1);
	bt_kind(c, was);
}

static void emit_jump_cached(struct tctx *c, unsigned index)
{
	e_gs_idx_op(&c->e, false, 0xff, 4, index,
		    GS_CPU(jc) + (int32_t)(bt_jc_class(c->key) * sizeof(struct bt_jc) + offsetof(struct bt_jc, host)));
}

static void emit_push_return(struct tctx *c, uint64_t ret, int32_t d, bool s1_free)
{
	struct emit *e = &c->e;

	if (!c->code64)
		ret = (uint32_t)ret;
	if (!c->code64 || (int64_t)ret == (int32_t)ret) {
		e_mem_op(e, c->code64, 0xc7, 0, S0, NO_REG, 1, d);
		emit32(e, (uint32_t)ret);
	} else if (s1_free) {
		e_mov_imm(e, S1, ret);
		e_mem_op(e, true, 0x89, S1, S0, NO_REG, 1, d);
	} else { /* two halves would not be one store: build it in a lent register */
		bt_mark(c, MARK_STEP, 0);
		e_store_gs(e, R_AX, GS_CPU(tmp[1]));
		e_mov_imm(e, R_AX, ret);
		e_mem_op(e, true, 0x89, R_AX, S0, NO_REG, 1, d);
		e_load_gs(e, R_AX, GS_CPU(tmp[1]));
	}
}

static bool emit_call(struct tctx *c, const struct insn *i, uint32_t live_out)
{
	struct emit *e = &c->e;
	int32_t word = c->code64 ? 8 : 4, d;
	uint64_t next = c->lin + c->guest_off + i->len;
	bool direct = i->op[0].kind == OPK_REL;

	if ((c->code64 ? i->stacksize != 8 : i->opsize != 4) ||
	    (i->has_mem && (i->addrsize == 2 || (i->seg >= SEG_FS && !c->code64))))
		return false;
	c->cur_live |= live_out;
	if (!direct) {
		bt_flags_spill(c, c->cur_live, true); /* the jump itself destroys them */
		if (i->op[0].kind == OPK_MEM) {
			d = bt_emit_operand(c, i, ACC_READ, (unsigned)word);
			e_mem_op(e, c->code64, 0x8b, S1, S0, NO_REG, 1, d);
		} else {
			unsigned r = reg_value(c, i->op[0].reg);

			if (r != S1)
				e_mov_rr(e, c->code64, S1, r);
		}
	}
	if (!direct) { /* before anything is written: a non-canonical target is the CALL's own fault */
		emit_jump_lookup(c, S1, S0, -1);
		c->s0_group = -1;
	}
	d = bt_emit_stack(c, ACC_WRITE, R_SP, -word, !direct);
	emit_push_return(c, next, d, direct);
	bt_mark(c, MARK_STEP, 0); /* a target read from the stack may just have been overwritten */
	emit_sp_add(c, -word);
	if (direct) {
		bt_emit_goto(c, -1, next + i->imm[0]);
	} else {
		e_movzx16(e, S0, S1);
		emit_jump_cached(c, S0);
	}
	return true;
}

static bool emit_jmp(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;

	if (i->op[0].kind == OPK_REL) {
		if (!c->code64 && i->opsize != 4)
			return false;
		bt_emit_goto(c, -1, c->lin + c->guest_off + i->len + i->imm[0]);
		return true;
	}
	if ((!c->code64 && i->opsize != 4) || (c->code64 && i->op[0].bytes != 8) ||
	    (i->has_mem && (i->addrsize == 2 || (i->seg >= SEG_FS && !c->code64))))
		return false;
	bt_flags_spill(c, FL_ARITH, true);
	if (i->op[0].kind == OPK_MEM) {
		int32_t d = bt_emit_operand(c, i, ACC_READ, c->code64 ? 8 : 4);

		e_mem_op(e, c->code64, 0x8b, S0, S0, NO_REG, 1, d);
	} else {
		unsigned r = reg_value(c, i->op[0].reg);

		e_mov_rr(e, c->code64, S0, r);
	}
	emit_jump_lookup(c, S0, S1, 0);
	emit_jump_cached(c, S1);
	return true;
}

static bool emit_ret(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	int32_t word = c->code64 ? 8 : 4, d;

	if (c->code64 ? i->stacksize != 8 : i->opsize != 4)
		return false;
	bt_flags_spill(c, c->cur_live, true);
	d = bt_emit_stack(c, ACC_READ, R_SP, 0, false);
	e_mem_op(e, c->code64, 0x8b, S0, S0, NO_REG, 1, d);
	word += i->nops && i->op[0].kind == OPK_IMM ? (int32_t)(uint16_t)i->imm[0] : 0;
	emit_jump_lookup(c, S0, S1, word);
	emit_sp_add(c, word);
	bt_mark(c, MARK_STEP, 0);
	emit_jump_cached(c, S1);
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
	bt_emit_goto(c, -1, loop ? next + i->imm[0] : next);
	if (!e->overflow)
		*over = (uint8_t)(e->p - over - 1);
	bt_emit_goto(c, -1, loop ? next : next + i->imm[0]);
}

/* As many elements of one REP run here; kicks single-step to its end. */
#define REP_MAX 128

/* C does the instruction, when the host jumps from here. Flags are in fl, or dead. *id: its record, whose `next` is to be set. */
static bool callout_from(struct tctx *c, const struct insn *i, uint8_t *from, uint32_t *id)
{
	struct bt_rec *r = bt_rec_new(c, id);

	r->insn = bt_arena(c->bt, sizeof(*i));
	if (!r->insn) {
		c->e.overflow = true;
		return false;
	}
	*r->insn = *i;
	bt_stub_add(c, from, SVC_ARG(SVC_CALLOUT, *id), true, -1);
	return true;
}

static void emit_xchg(struct emit *e, unsigned a, unsigned b)
{
	e_rex_op(e, rex_bits(true, a, 0, b), 0x87 | (0xc0 | (a & 7) << 3 | (b & 7)) << 8, 2);
}

/* To C unless all elements at [reg] are in its page. S0 is free. */
static bool emit_same_page(struct tctx *c, const struct insn *i, unsigned reg, uint32_t *id)
{
	struct emit *e = &c->e;

	e_lea(e, true, S0, reg, R_CX, i->opsize, -1);
	e_alu_rr(e, true, ALU_XOR, S0, reg);
	e_shr_imm(e, true, S0, 12);
	return callout_from(c, i, e_jcc32(e, CC_NE), id);
}

/*
 * REP MOVS and REP STOS of a few elements that stay in one page: kernels clear and copy their structures so. The host's own
 * instruction does it; guest RDI and RSI behind it are kept in S0 and S1 meanwhile. It is checked before that nothing can fault,
 * and what has been begun is single-stepped to its end, as the registers are neither those before nor those behind it.
 */
static bool emit_rep(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	unsigned n = i->opsize;
	bool movs = (i->opcode & 0xfe) == 0xa4;
	uint32_t id[3], ids = 0;

	if (!c->code64 || i->addrsize != 8 || i->lock || i->seg >= SEG_FS || (!movs && (i->opcode & 0xfe) != 0xaa))
		return false;
	bt_flags_spill(c, c->cur_live, true);
	e_lea(e, true, S0, R_CX, NO_REG, 1, -1); /* none at all is too many */
	e_alu_imm32(e, true, ALU_CMP, S0, REP_MAX);
	if (!callout_from(c, i, e_jcc32(e, CC_AE), &id[ids++]) || !emit_same_page(c, i, R_DI, &id[ids++]) ||
	    (movs && !emit_same_page(c, i, R_SI, &id[ids++])))
		return true;
	if (movs) {
		bt_emit_element(c, ACC_READ, n, i->seg, R_SI, false);
		e_mov_rr(e, true, S1, S0);
	}
	bt_emit_element(c, ACC_WRITE, n, SEG_ES, R_DI, movs);
	bt_mark(c, MARK_STEP, 0);
	emit_xchg(e, S0, R_DI);
	e_lea(e, true, S0, S0, R_CX, n, 0);
	if (movs) {
		emit_xchg(e, S1, R_SI);
		e_lea(e, true, S1, S1, R_CX, n, 0);
	}
	if (n == 2)
		emit8(e, 0x66);
	emit8(e, 0xf3);
	e_rex(e, n == 8, 0, 0, 0, false);
	emit8(e, (uint8_t)((movs ? 0xa4 : 0xaa) | (n != 1)));
	e_mov_rr(e, true, R_DI, S0);
	if (movs)
		e_mov_rr(e, true, R_SI, S1);
	for (unsigned k = 0; k < ids; k++)
		c->bt->rec[id[k]].resume = c->bt->rec[id[k]].next = bt_code_off(c, e->p);
	c->ready = 0; /* C may have been here */
	c->s0_group = -1;
	return true;
}

/* MOVS, STOS, LODS without REP. S1 carries the element between the two accesses of MOVS. */
static bool emit_string(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	unsigned n = i->opsize, word = c->code64 ? 8 : 4, from = R_AX, op = i->opcode & 0xfe;
	bool wide = n != 1;

	if (i->rep || i->lock || i->addrsize != word || i->seg >= SEG_FS || (op != 0xa4 && op != 0xaa && op != 0xac))
		return false;
	if (op != 0xaa) {
		from = op == 0xa4 ? S1 : R_AX;
		bt_emit_element(c, ACC_READ, n, i->seg, R_SI, false);
		if (n == 2)
			emit8(e, 0x66);
		e_mem_op(e, n == 8, wide ? 0x8b : 0x8a, from, S0, NO_REG, 1, 0);
	}
	if (op != 0xac) {
		bt_emit_element(c, ACC_WRITE, n, SEG_ES, R_DI, from == S1);
		if (n == 2)
			emit8(e, 0x66);
		e_mem_op(e, n == 8, wide ? 0x89 : 0x88, from, S0, NO_REG, 1, 0);
	}
	bt_mark(c, MARK_STEP, 0);
	if (op != 0xaa)
		e_lea(e, c->code64, R_SI, R_SI, NO_REG, 1, (int32_t)n);
	if (op != 0xac)
		e_lea(e, c->code64, R_DI, R_DI, NO_REG, 1, (int32_t)n);
	return true;
}

/* Instructions with an emitter of their own. 1: done, -1: done and the block ends here, 0: none. */
static int emit_special(struct tctx *c, const struct insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_LEAVE:
		if (i->stacksize != (c->code64 ? 8 : 4))
			return 0;
		emit_leave(c);
		return 1;
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		if (!c->code64 && i->opsize == 2) /* cuts EIP to 16 bits */
			return 0;
		emit_jcxz(c, i, false);
		return -1;
	case ZYDIS_MNEMONIC_LOOP:
		if (i->addrsize == 2 || (!c->code64 && i->opsize == 2))
			return 0;
		emit_jcxz(c, i, true);
		return -1;
	case ZYDIS_MNEMONIC_CLD: /* DF is clear in translated code */
		return 1;
	default:
		return 0;
	}
}

bool bt_is_nothing(const struct insn *i)
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

bool bt_must_interpret(const struct tctx *c, const struct insn *i)
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
	if (!c->code64 && i->has_mem && i->seg == SEG_CS) /* never writable, perhaps not readable */
		return true;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: /* a bit string in memory reaches beyond the operand */
		return i->op[0].kind == OPK_MEM && i->op[1].kind != OPK_IMM;
	case ZYDIS_MNEMONIC_XLAT:
		return true;
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_VZEROUPPER: /* outside 64-bit mode they leave registers 8-15 alone */
		return !c->code64;
	default:
		return false;
	}
}

/* Emits instruction k. true: control never falls behind it. */
bool bt_emit_insn(struct tctx *c, unsigned k)
{
	const struct insn *i = &c->insn[k];
	uint32_t out = c->live_out[k];
	uint64_t next = c->lin + c->guest_off + i->len;
	unsigned was;
	int s;

	was = bt_kind(c, SAMPLE_INTERP);
	if (bt_emit_system(c, i)) {
		bt_kind(c, was);
		return false;
	}
	bt_kind(c, was);
	if (!c->interpret[k]) {
		s = emit_special(c, i);
		if (s)
			return s < 0;
		switch (i->row->bt) {
		case BT_COPY:
			if (bt_is_nothing(i) || emit_copy(c, i, out))
				return false;
			break;
		case BT_LEA:
			if (i->addrsize != 2 && i->opsize >= 4) {
				emit_lea(c, i);
				return false;
			}
			break;
		case BT_PUSH:
			if (emit_push(c, i))
				return false;
			break;
		case BT_POP:
			if (emit_pop(c, i))
				return false;
			break;
		case BT_JCC:
			if (!c->code64 && i->opsize != 4)
				break;
			bt_flags_need(c, true);
			bt_emit_goto(c, i->opcode & 15, next + i->imm[0]);
			if (k + 1 < c->n)
				return false;
			bt_emit_goto(c, -1, next);
			return true;
		case BT_JMP:
			if (emit_jmp(c, i))
				return true;
			break;
		case BT_CALL:
			if (emit_call(c, i, out))
				return true;
			break;
		case BT_RET:
			if (emit_ret(c, i))
				return true;
			break;
		case BT_STRING:
			if (i->rep ? emit_rep(c, i) : emit_string(c, i))
				return false;
			break;
		case BT_OTHER:
		case BT_END:
			if (bt_is_nothing(i))
				return false;
			break;
		default:
			break;
		}
	}
	emit_callout(c, i, bt_ends_block(i));
	return bt_ends_block(i);
}

