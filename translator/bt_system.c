/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System instructions that kernels execute all the time, without leaving translated code: CLI, STI, PUSHF, POPF, SWAPGS,
 * RDTSC, MOV from a segment register, SGDT and SIDT (EDK II finds its services behind the IDT, millions of times). Only their plain case, at the privilege where nothing can fault; the rest is a callout.
 *
 * Interrupts: bt_cpu.irq_waiting says that one waits for IF. It is set by bt_run.c, through which every arrival passes (a
 * kick), so an instruction that sets IF needs to look at nothing else.
 */
#include "translator/bt_trans.h"

#include <Zydis/Mnemonic.h>

#define GS_RFLAGS GS_REGS(rflags)
#define GS_SEG(s, field) (GS_REGS(seg) + (int32_t)((s) * sizeof(struct x86_seg) + offsetof(struct x86_seg, field)))

/* what POPF may change besides arithmetic flags and IF is left to the interpreter */
#define POPF_RARE (FL_TF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_VIF | FL_VIP | FL_ID)

static void gs_imm32(struct emit *e, enum alu op, int32_t disp, uint32_t imm) /* op $imm, %gs:disp (32 bits) */
{
	e_gs_op(e, false, 0x81, op, disp);
	emit32(e, imm);
}

static void gs_cmp8_0(struct emit *e, int32_t disp)
{
	e_gs_op(e, false, 0x80, ALU_CMP, disp);
	emit8(e, 0);
}

static void test_imm32(struct emit *e, unsigned reg, uint32_t imm)
{
	e_rex(e, false, 0, 0, reg, false);
	emit8(e, 0xf7);
	emit8(e, (uint8_t)(0xc0 | (reg & 7)));
	emit32(e, imm);
}

/* byte register forms of S0 and S1 have REX by themselves */
static void gs_byte(struct emit *e, uint8_t op, unsigned reg, int32_t disp)
{
	e_gs_op(e, false, op, reg, disp);
}

static void gs_movzx8(struct emit *e, unsigned reg, int32_t disp)
{
	emit8(e, 0x65);
	e_rex(e, false, reg, 0, 0, false);
	emit8(e, 0x0f), emit8(e, 0xb6);
	emit8(e, (uint8_t)((reg & 7) << 3 | 4));
	emit8(e, 0x25);
	emit32(e, (uint32_t)disp);
}

/* A jump to the interpreter's function for this instruction. Flags are in fl, or dead. */
static void callout_if(struct tctx *c, const struct insn *i, uint8_t *from)
{
	uint32_t id;
	struct bt_rec *r = bt_rec_new(c, &id);

	r->insn = bt_arena(c->bt, sizeof(*i));
	if (!r->insn) {
		c->e.overflow = true;
		return;
	}
	*r->insn = *i;
	bt_stub_add(c, from, SVC_ARG(SVC_END, id), true, -1);
}

static void emit_sti(struct tctx *c, const struct insn *i)
{
	struct emit *e = &c->e;
	uint8_t *set;

	bt_flags_spill(c, c->cur_live, true);
	e_gs_op(e, false, 0xf7, 0, GS_RFLAGS); /* testl */
	emit32(e, FL_IF);
	set = e_jcc32(e, CC_NE);
	gs_cmp8_0(e, GS_CPU(irq_waiting));
	callout_if(c, i, e_jcc32(e, CC_NE));
	gs_imm32(e, ALU_OR, GS_RFLAGS, FL_IF);
	e_patch32(e, set, e->p);
}

/* The image is put together in its place on the stack: no register is free for it. */
static void emit_pushf(struct tctx *c, unsigned word)
{
	struct emit *e = &c->e;
	int32_t d;

	bt_flags_spill(c, FL_ARITH, true);
	d = bt_emit_stack(c, ACC_WRITE, R_SP, -(int32_t)word, false);
	e_load_gs32(e, S1, GS_RFLAGS);
	e_alu_imm32(e, false, ALU_AND, S1, (int32_t) ~(FL_ARITH | FL_RF | FL_VM));
	e_mem_op(e, word == 8, 0x89, S1, S0, NO_REG, 1, d);
	gs_movzx8(e, S1, GS_CPU(fl) + 1);
	e_alu_imm32(e, false, ALU_AND, S1, FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF);
	e_mem_op(e, false, 0x08, S1, S0, NO_REG, 1, d); /* orb */
	gs_movzx8(e, S1, GS_CPU(fl));
	e_rex(e, false, 0, 0, S1, false); /* shl $3: bit 11 of the image */
	emit8(e, 0xc1), emit8(e, 0xe0 | (S1 & 7)), emit8(e, 3);
	e_mem_op(e, false, 0x08, S1, S0, NO_REG, 1, d + 1);
	bt_mark(c, MARK_STEP, 0);
	e_lea(e, c->code64, R_SP, R_SP, NO_REG, 1, -(int32_t)word);
}

static void emit_popf(struct tctx *c, const struct insn *i, unsigned word)
{
	struct emit *e = &c->e;
	uint8_t *same, *clears;
	int32_t d = bt_emit_stack(c, ACC_READ, R_SP, 0, false);

	e_mem_op(e, false, 0x8b, S1, S0, NO_REG, 1, d);
	c->s0_group = -1;
	e_load_gs32(e, S0, GS_RFLAGS);
	e_alu_rr(e, false, ALU_XOR, S0, S1);
	test_imm32(e, S0, POPF_RARE);
	callout_if(c, i, e_jcc32(e, CC_NE));
	e_alu_imm32(e, false, ALU_AND, S0, FL_IF); /* does IF change? */
	same = e_jcc32(e, CC_E);
	test_imm32(e, S1, FL_IF);
	clears = e_jcc32(e, CC_E);
	gs_cmp8_0(e, GS_CPU(irq_waiting));
	callout_if(c, i, e_jcc32(e, CC_NE));
	e_patch32(e, same, e->p);
	e_patch32(e, clears, e->p);
	gs_byte(e, 0x88, S1, GS_CPU(fl) + 1);
	e_shr_imm(e, false, S1, 11);
	e_alu_imm32(e, false, ALU_AND, S1, 1);
	gs_byte(e, 0x88, S1, GS_CPU(fl));
	bt_mark(c, MARK_STEP, 0);
	e_gs_op(e, false, ALU_XOR << 3 | 1, S0, GS_RFLAGS);
	e_lea(e, c->code64, R_SP, R_SP, NO_REG, 1, (int32_t)word);
	c->fl_mem = true;
}

static void emit_swapgs(struct tctx *c)
{
	struct emit *e = &c->e;

	c->s0_group = -1;
	e_load_gs(e, S0, GS_SEG(SEG_GS, base));
	e_load_gs(e, S1, GS_REGS(kernel_gs_base));
	bt_mark(c, MARK_STEP, 0);
	e_store_gs(e, S1, GS_SEG(SEG_GS, base));
	e_store_gs(e, S0, GS_REGS(kernel_gs_base));
	c->ready = 0; /* groups do not mix segments, but cost nothing to forget here */
}

static void emit_rdtsc(struct tctx *c, bool p)
{
	struct emit *e = &c->e;

	bt_flags_spill(c, c->cur_live, true);
	emit8(e, 0x0f);
	if (p)
		emit8(e, 0x01), emit8(e, 0xf9);
	else
		emit8(e, 0x31);
	emit8(e, 0x48), emit8(e, 0xc1), emit8(e, 0xe2), emit8(e, 32); /* shl $32, %rdx */
	e_alu_rr(e, true, ALU_OR, R_AX, R_DX);
	e_alu_gs(e, true, ALU_ADD, R_AX, GS_REGS(tsc_offset));
	e_mov_rr(e, true, R_DX, R_AX);
	e_shr_imm(e, true, R_DX, 32);
	e_mov_rr(e, false, R_AX, R_AX);
	if (p)
		e_load_gs32(e, R_CX, GS_REGS(tsc_aux));
}

static bool emit_mov_from_sreg(struct tctx *c, const struct insn *i)
{
	unsigned dst = i->op[0].reg;
	struct emit *e = &c->e;

	if (i->op[0].kind != OPK_GPR || i->op[0].bytes < 4 || i->op[1].kind != OPK_SREG || (c->code64 && dst >= R_14))
		return false;
	emit8(e, 0x65); /* movzwl %gs:sel, dst */
	e_rex(e, false, dst, 0, 0, false);
	emit8(e, 0x0f), emit8(e, 0xb7);
	emit8(e, (uint8_t)((dst & 7) << 3 | 4));
	emit8(e, 0x25);
	emit32(e, (uint32_t)GS_SEG(i->op[1].reg, sel));
	return true;
}

/* The limit and the base of GDTR or IDTR to memory. At CPL 0, where UMIP has no say. */
static void emit_store_table(struct tctx *c, const struct insn *i, int32_t table)
{
	unsigned base_bytes = c->code64 ? 8 : 4;
	int32_t d = bt_emit_operand(c, i, ACC_WRITE, 2 + base_bytes);
	struct emit *e = &c->e;

	e_load_gs(e, S1, table + (int32_t)offsetof(struct x86_dtable, base));
	e_mem_op(e, base_bytes == 8, 0x89, S1, S0, NO_REG, 1, d + 2);
	e_load_gs32(e, S1, table + (int32_t)offsetof(struct x86_dtable, limit));
	emit8(e, 0x66);
	e_mem_op(e, false, 0x89, S1, S0, NO_REG, 1, d);
}

static bool can_store_table(const struct tctx *c, const struct insn *i)
{
	bool flat = c->code64 || (i->seg < SEG_FS && i->seg != SEG_CS) ||
		    (i->seg >= SEG_FS && (c->key & (i->seg == SEG_FS ? BK_FS_FLAT4G : BK_GS_FLAT4G)));

	return !(c->key & BK_USER) && i->has_mem && i->addrsize != 2 && flat;
}

/* Can it be emitted here? next: the instruction behind it, or NULL. */
bool bt_system_inline(const struct tctx *c, const struct insn *i, const struct insn *next)
{
	unsigned word = c->code64 ? 8 : 4;
	bool user = c->key & BK_USER;

	if (i->lock)
		return false;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_CLI:
		return !user;
	case ZYDIS_MNEMONIC_STI: /* its shadow ends with an instruction that is no code at all */
		return !user && next && next->row && bt_is_nothing(next);
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
		return i->stacksize == word;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		return !user && i->stacksize == word;
	case ZYDIS_MNEMONIC_SWAPGS:
		return !user && c->code64;
	case ZYDIS_MNEMONIC_RDTSCP:
		if (!cpuid_has(c->bt->vm, CF_RDTSCP))
			return false;
		/* fall through */
	case ZYDIS_MNEMONIC_RDTSC:
		return (c->key & BK_TSC) && !c->bt->vm->clock.is_virtual;
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
		return can_store_table(c, i);
	case ZYDIS_MNEMONIC_MOV:
		return i->op[0].kind == OPK_GPR && i->nops > 1 && i->op[1].kind == OPK_SREG;
	default:
		return false;
	}
}

bool bt_emit_system(struct tctx *c, const struct insn *i)
{
	const struct insn *next = c->cur + 1 < c->n ? &c->insn[c->cur + 1] : NULL;
	unsigned word = c->code64 ? 8 : 4;

	if (!bt_system_inline(c, i, next))
		return false;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_CLI:
		bt_flags_spill(c, c->cur_live, true);
		gs_imm32(&c->e, ALU_AND, GS_RFLAGS, ~FL_IF);
		return true;
	case ZYDIS_MNEMONIC_STI:
		emit_sti(c, i);
		return true;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
		emit_pushf(c, word);
		return true;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		emit_popf(c, i, word);
		return true;
	case ZYDIS_MNEMONIC_SWAPGS:
		emit_swapgs(c);
		return true;
	case ZYDIS_MNEMONIC_SGDT:
		emit_store_table(c, i, GS_REGS(gdtr));
		return true;
	case ZYDIS_MNEMONIC_SIDT:
		emit_store_table(c, i, GS_REGS(idtr));
		return true;
	case ZYDIS_MNEMONIC_RDTSC:
		emit_rdtsc(c, false);
		return true;
	case ZYDIS_MNEMONIC_RDTSCP:
		emit_rdtsc(c, true);
		return true;
	default:
		return emit_mov_from_sreg(c, i);
	}
}
