/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses that share one check.
 *
 * Inside a block, addresses are base register + constant most of the time: fields of a structure, a stack frame, pushes and
 * pops. Registers are numbered by value - an anchor that nobody knows, plus a constant - and accesses off one anchor whose
 * offsets lie close together form a group. The first one emitted checks the whole range and keeps the host address of its
 * start; the others are plain accesses. A range that is not inside one page, or not all RAM with the rights that all of its
 * members need, sends execution to a translation of the same code without groups (BK_NOGROUP).
 *
 * Deviation from the manual: the dirty bit of a page may be set by a group's check although a fault between the check and
 * the write keeps the write from happening.
 */
#include "translator/bt_trans.h"

#include <Zydis/Mnemonic.h>

/* a longer range would too often lie across a page boundary */
#define GROUP_MAX_BYTES 512

struct value {
	uint16_t anchor;
	int32_t delta;
};

struct numbering {
	struct value reg[16];
	uint16_t next;
};

static void renumber(struct numbering *n, unsigned reg)
{
	n->reg[reg] = (struct value){ .anchor = n->next++ };
}

static void renumber_all(struct numbering *n)
{
	for (unsigned r = 0; r < 16; r++)
		renumber(n, r);
}

/* Writes no general register but its explicit operands. */
static bool explicit_only(const struct insn *i)
{
	if ((i->row->flags & (ISA_FPU | ISA_MMX | ISA_SSE | ISA_AVX)) || insn_is_shift(i))
		return true;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_BSWAP:
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_TZCNT:
	case ZYDIS_MNEMONIC_LZCNT:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_RORX:
	case ZYDIS_MNEMONIC_SARX:
	case ZYDIS_MNEMONIC_SHLX:
	case ZYDIS_MNEMONIC_SHRX:
	case ZYDIS_MNEMONIC_ANDN:
	case ZYDIS_MNEMONIC_XCHG:
	case ZYDIS_MNEMONIC_XADD:
		return true;
	case ZYDIS_MNEMONIC_IMUL:
		return i->nops >= 2;
	default:
		return i->opcode >= 0x40 && i->opcode <= 0x4f && i->map == 1 ? true : /* CMOVcc */
			       i->opcode >= 0x90 && i->opcode <= 0x9f && i->map == 1;  /* SETcc */
	}
}

static void effects_of_copy(struct numbering *n, const struct insn *i, unsigned word)
{
	const struct insn_op *d = &i->op[0], *s = &i->op[1];
	bool whole = d->kind == OPK_GPR && d->bytes == word && !d->high8;

	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (whole && s->kind == OPK_GPR) {
			n->reg[d->reg] = n->reg[s->reg];
			return;
		}
		break;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (whole && s->kind == OPK_IMM && (int64_t)i->imm[0] == (int16_t)i->imm[0]) {
			n->reg[d->reg].delta += i->mnemonic == ZYDIS_MNEMONIC_ADD ? (int32_t)i->imm[0] : -(int32_t)i->imm[0];
			return;
		}
		break;
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
		if (whole) {
			n->reg[d->reg].delta += i->mnemonic == ZYDIS_MNEMONIC_INC ? 1 : -1;
			return;
		}
		break;
	default:
		break;
	}
	if (!explicit_only(i)) {
		renumber_all(n);
		return;
	}
	for (unsigned k = 0; k < i->nops; k++)
		if (i->op[k].kind == OPK_GPR && bt_writes_reg(i, k))
			renumber(n, i->op[k].reg);
}

/* What one instruction adds to a delta fits 16 bits, so that those of a block stay far from overflow. */
_Static_assert(BT_MAX_BLOCK_INSNS <= 1 << 10, "deltas of a block below 2^25");

static void effects(const struct tctx *c, struct numbering *n, unsigned k, unsigned word)
{
	const struct insn *i = &c->insn[k];

	if (bt_is_nothing(i))
		return;
	if (c->interpret[k]) {
		renumber_all(n);
		return;
	}
	switch (i->row->bt) {
	case BT_COPY:
		effects_of_copy(n, i, word);
		break;
	case BT_LEA:
		if (i->op[0].bytes == word && i->addrsize == word && i->base != NO_REG && i->index == NO_REG && !i->rip_rel &&
		    i->disp == (int16_t)i->disp) {
			struct value v = n->reg[i->base];

			v.delta += (int32_t)i->disp;
			n->reg[i->op[0].reg] = v;
		} else {
			renumber(n, i->op[0].reg);
		}
		break;
	case BT_JCC:
		break;
	case BT_PUSH:
		n->reg[R_SP].delta -= (int32_t)word;
		break;
	case BT_POP:
		n->reg[R_SP].delta += (int32_t)word;
		if (i->op[0].kind == OPK_GPR)
			renumber(n, i->op[0].reg);
		break;
	default:
		if (i->mnemonic == ZYDIS_MNEMONIC_LEAVE) {
			n->reg[R_SP] = n->reg[R_BP];
			n->reg[R_SP].delta += (int32_t)word;
			renumber(n, R_BP);
		} else {
			renumber_all(n);
		}
	}
}

/* A write does not join a group of reads from before a conditional branch: the page might be one that is only read. */
static void join(struct tctx *c, unsigned k, unsigned which, unsigned part, uint16_t anchor, int32_t off, unsigned size, bool write)
{
	for (unsigned g = 0; g < c->ngroups; g++) {
		struct tgroup *p = &c->group[g];
		int32_t lo = off < p->lo ? off : p->lo, hi = off + (int32_t)size > p->hi ? off + (int32_t)size : p->hi;

		if (p->anchor != anchor || hi - lo > GROUP_MAX_BYTES || (write && !p->write && p->part != part))
			continue;
		p->lo = lo;
		p->hi = hi;
		p->write |= write;
		p->members++;
		c->member[k][which] = (struct tmember){ .group = (int8_t)g, .off = off };
		return;
	}
	if (c->ngroups == TCTX_GROUPS)
		return;
	c->group[c->ngroups] = (struct tgroup){ .anchor = anchor, .part = (uint16_t)part, .lo = off, .hi = off + (int32_t)size, .write = write, .members = 1 };
	c->member[k][which] = (struct tmember){ .group = (int8_t)c->ngroups++, .off = off };
}

static void join_operand(struct tctx *c, const struct numbering *n, unsigned k, unsigned part, const struct insn *i, unsigned word)
{
	unsigned size, acc;

	if (!bt_memory_operand(i, &size, &acc) || i->base == NO_REG || i->index != NO_REG || i->rip_rel || i->seg >= SEG_FS ||
	    i->addrsize != word || i->disp < -(1 << 20) || i->disp > 1 << 20)
		return;
	join(c, k, 0, part, n->reg[i->base].anchor, n->reg[i->base].delta + (int32_t)i->disp, size, acc == ACC_WRITE);
}

/* Fills member[] and group[] for the block's instructions, in the order in which bt_code.c emits their accesses. */
void bt_find_groups(struct tctx *c)
{
	struct numbering n = { .next = 1 };
	unsigned word = c->code64 ? 8 : 4, part = 0;

	c->ngroups = 0;
	for (unsigned k = 0; k < c->n; k++)
		c->member[k][0].group = c->member[k][1].group = -1;
	if (c->key & BK_NOGROUP)
		return;
	renumber_all(&n);
	for (unsigned k = 0; k < c->n; k++) {
		const struct insn *i = &c->insn[k];
		struct value sp = n.reg[R_SP];
		unsigned second = i->has_mem;

		if (!c->interpret[k] && !bt_is_nothing(i)) {
			switch (i->row->bt) {
			case BT_COPY:
			case BT_JMP:
				join_operand(c, &n, k, part, i, word);
				break;
			case BT_PUSH:
			case BT_CALL:
				join_operand(c, &n, k, part, i, word);
				join(c, k, second, part, sp.anchor, sp.delta - (int32_t)word, word, true);
				break;
			case BT_POP:
			case BT_RET:
				join(c, k, 0, part, sp.anchor, sp.delta, word, false);
				break;
			default:
				if (i->mnemonic == ZYDIS_MNEMONIC_LEAVE)
					join(c, k, 0, part, n.reg[R_BP].anchor, n.reg[R_BP].delta, word, false);
			}
		}
		effects(c, &n, k, word);
		part += i->row->bt == BT_JCC;
	}
}
