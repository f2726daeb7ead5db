/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arithmetic flags in translated code: which are live where, where they are kept.
 */
#include "translator/bt_trans.h"

#include <Zydis/Mnemonic.h>

void bt_flags_spill(struct tctx *c, uint32_t live, bool s1_free)
{
	unsigned was;

	if (c->fl_mem || !(live & FL_ARITH))
		return;
	was = bt_kind(c, SAMPLE_FLAGS);
	bt_mark(c, MARK_STEP, 0);
	if (!s1_free)
		e_store_gs(&c->e, S1, GS_CPU(tmp[0]));
	e_flags_save(&c->e, GS_CPU(fl));
	if (!s1_free)
		e_load_gs(&c->e, S1, GS_CPU(tmp[0]));
	c->fl_mem = true;
	bt_mark(c, 0, 0);
	bt_kind(c, was);
}

void bt_flags_need(struct tctx *c, bool s1_free)
{
	unsigned was;

	if (!c->fl_mem)
		return;
	was = bt_kind(c, SAMPLE_FLAGS);
	bt_mark(c, MARK_STEP, 0);
	if (!s1_free)
		e_store_gs(&c->e, S1, GS_CPU(tmp[0]));
	e_flags_load(&c->e, GS_CPU(fl));
	if (!s1_free)
		e_load_gs(&c->e, S1, GS_CPU(tmp[0]));
	c->fl_mem = false;
	bt_mark(c, 0, 0);
	bt_kind(c, was);
}

/* ---- liveness ---- */

bool bt_ends_block(const struct insn *i)
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

#define FLAGS_LOOKAHEAD 16

static bool ret_keeps_flags(const struct bt *bt, uint32_t key)
{
	return bt->ret_flags >> bt_jc_class(key) & 1;
}

static struct flags_at flags_of(struct vcpu *v, uint32_t key, uint64_t lin)
{
	struct flags_at f = { .left = FL_ARITH };
	const uint8_t *page = NULL;
	uint64_t at = ~0ull;

	for (unsigned n = 0; n < FLAGS_LOOKAHEAD && f.left; n++) {
		const struct shape *s;
		const struct insn *i;
		bool more;

		if (!(key & BK_CODE64))
			lin = (uint32_t)lin;
		if (lin >> 12 != at) { /* without side effects: no A bit, no fault */
			uint64_t gpa, off;

			if (!mmu_peek(v, lin, &gpa) || (off = mem_offset(&v->vm->mem, gpa & ~0xfffull)) == UINT64_MAX)
				break;
			page = v->vm->mem.ram_hva + off;
			at = lin >> 12;
		}
		s = bt_decode(v, page + (lin & 0xfff), key & BK_CODE64 ? 64 : 32, &more);
		i = s ? &s->insn : NULL;
		if (!i || !i->row)
			break;
		if (i->mnemonic == ZYDIS_MNEMONIC_SYSCALL) /* keeps them in R11: nothing that code behind a CALL wants */
			break;
		f.read |= i->fl_read & f.left;
		f.left &= ~(i->fl_read | i->fl_write);
		if (i->row->bt == BT_RET && !ret_keeps_flags(bt_cpu(v)->bt, key)) { /* see live_at_end */
			f.left = 0;
			break;
		}
		if ((i->row->bt == BT_JMP || i->row->bt == BT_CALL) && i->op[0].kind == OPK_REL)
			lin += i->len + i->imm[0];
		else if (bt_ends_block(i))
			break;
		else
			lin += i->len;
	}
	return f;
}

bool bt_flags_read_at(struct vcpu *v, uint32_t key, uint64_t lin)
{
	return flags_of(v, key, lin).read != 0;
}

static uint32_t flags_wanted(const struct tctx *c, uint64_t lin)
{
	struct flags_at f = flags_of(c->v, c->key, lin);

	return f.read | f.left;
}

/*
 * Flags that matter behind the block's last instruction.
 *
 * RET: no calling convention returns arithmetic flags, so they count as dead. But the code behind every CALL is looked at
 * when the CALL is translated: the first that reads flags there (hand-written code that returns a condition) makes every
 * RET of its kind (user or kernel, 32 or 64 bits) keep them, from before it can be reached. Deviation: code that uses RET
 * as a jump to something that is not behind a CALL, and reads arithmetic flags there, finds others; and so may R11 hold others
 * when a SYSCALL follows a CALL with nothing between that writes flags.
 */
static uint32_t live_at_end(struct tctx *c, const struct insn *i, uint64_t next)
{
	switch (i->row ? i->row->bt : BT_END) {
	case BT_JMP:
		return i->op[0].kind == OPK_REL ? flags_wanted(c, next + i->imm[0]) : FL_ARITH;
	case BT_CALL:
		if (!ret_keeps_flags(c->bt, c->key) && flags_of(c->v, c->key, next).read)
			c->need_ret_flags = true;
		return i->op[0].kind == OPK_REL ? flags_wanted(c, next + i->imm[0]) : FL_ARITH;
	case BT_RET:
		return ret_keeps_flags(c->bt, c->key) ? FL_ARITH : 0;
	case BT_JCC:
		return flags_wanted(c, next + i->imm[0]) | flags_wanted(c, next);
	default:
		return bt_ends_block(i) ? FL_ARITH : flags_wanted(c, next);
	}
}

void bt_find_live_flags(struct tctx *c)
{
	uint32_t live = live_at_end(c, &c->insn[c->n - 1], c->lin + c->guest_len);

	for (unsigned k = c->n; k-- > 0;) {
		if (c->insn[k].row->bt == BT_JCC && k + 1 < c->n)
			live |= flags_wanted(c, c->lin + c->off[k] + c->insn[k].len + c->insn[k].imm[0]);
		c->live_out[k] = live & FL_ARITH;
		live = (live & ~c->insn[k].fl_write) | (c->insn[k].fl_read & FL_ARITH);
		c->live_in[k] = live & FL_ARITH;
	}
}

