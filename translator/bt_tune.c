/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User code: which accesses have windows, and which the inline TLB.
 *
 * A window is the cheaper check where it stays: what it reads is not on the way from an address to its data. But it is a cache
 * line of one instruction's own, and moving it costs as much as some thirty checks of the inline TLB, whose entries all instructions
 * share. A large program has tens of thousands of accesses that meet another page each time they run; a small loop has ten that
 * stay for thousands of rounds.
 *
 * So a block's stage is 0 at first: the inline TLB everywhere. When a kick (the guest's timer sends some hundreds a second) has
 * found the thread in it, or it is a loop all by itself, it is worth a trial (odd stages): a translation with windows and a counter of its
 * executions. When it is found once more, or a window has moved BT_USER_MOVES times, it is judged: accesses whose window
 * moved more often than once in BT_MOVE_PAYS executions become wild, the others keep their windows, and the counter goes (even
 * stages). Windows that begin to move fast later bring their block another trial, a few times.
 *
 * All this is about time. A stage that was other code's, because its memory holds new code or addresses share a place in the
 * table, costs at most some translations.
 */
#include "translator/bt_int.h"

/* What a kick finds is judged after so many executions: fewer say nothing. */
#define TRIAL_MIN 256
#define STAGE_LAST 8

static void next_stage(struct bt *bt, struct vcpu *v, struct bt_block *b)
{
	atomic_store_explicit(bt_stage(bt, b->gpa), (uint8_t)(b->stage + 1), memory_order_relaxed);
	bt_retranslate(bt, v, b);
}

void bt_found_in(struct vcpu *v, const struct bt_block *b)
{
	struct bt_cpu *cpu = bt_cpu(v);

	if ((b->key & BK_USER) && (!b->stage || bt_in_trial(b)) && !cpu->bt->single)
		cpu->found = (uint32_t)(b - cpu->bt->block);
}

/* The end of b's trial. */
static void judge(struct bt *bt, struct vcpu *v, struct bt_block *b, uint64_t runs)
{
	const struct bt_site *site = bt_sites(v);
	uint32_t index = (uint32_t)(b - bt->block);

	for (uint32_t k = b->rec0; k < bt->nrecs && bt->rec[k].block == index; k++) {
		const struct bt_rec *r = &bt->rec[k];

		if (r->windowed && (uint64_t)site[r->site].moves * BT_MOVE_PAYS > runs)
			*bt_wild(bt, b->gpa + r->guest_off) = 1;
	}
	next_stage(bt, v, b);
}

void bt_tune_found(struct vcpu *v)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_block *b = &cpu->bt->block[cpu->found];

	cpu->found = 0;
	if (!b->valid)
		return;
	if (!b->stage)
		next_stage(cpu->bt, v, b);
	else if (bt_sites(v)[b->site0].since >= TRIAL_MIN)
		judge(cpu->bt, v, b, bt_sites(v)[b->site0].since);
}

static bool moves_in_kernel(struct bt *bt, struct vcpu *v, struct bt_block *b, const struct bt_rec *r)
{
	if (++bt_sites(v)[r->site].moves < BT_MOVES)
		return false;
	*bt_wild(bt, b->gpa + r->guest_off) = 1;
	bt_retranslate(bt, v, b);
	return true;
}

bool bt_tune_moves(struct vcpu *v, struct bt_block *b, const struct bt_rec *r)
{
	struct bt *bt = bt_cpu(v)->bt;
	struct bt_site *s = &bt_sites(v)[r->site];
	uint64_t now, each;

	if (!(b->key & BK_USER))
		return moves_in_kernel(bt, v, b, r);
	if (++s->moves < BT_USER_MOVES)
		return false;
	if (bt_in_trial(b)) {
		judge(bt, v, b, bt_sites(v)[b->site0].since);
		return true;
	}
	now = __builtin_ia32_rdtsc();
	each = (now - s->since) / BT_USER_MOVES;
	s->since = now;
	s->moves = 0;
	if (each >= (b->stage < STAGE_LAST ? BT_MOVE_CYCLES : BT_MOVE_CYCLES_MIN))
		return false;
	if (b->stage < STAGE_LAST) {
		next_stage(bt, v, b);
	} else {
		*bt_wild(bt, b->gpa + r->guest_off) = 1;
		bt_retranslate(bt, v, b);
	}
	return true;
}
