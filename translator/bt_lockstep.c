/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The translator one block at a time.
 *
 * In a machine with bt->single, every block begins with a counter: bt_run() sets it to 2, the first block entered brings it
 * to 1, the second to 0 and leaves there. So a run() executes exactly one block, and the way to the next one - a patched
 * jump, a slot, the jump cache - is part of what is tested: the boundary that it reports is the one of the code that it
 * arrived at. A group's translation without groups continues an instruction that has begun and has no counter.
 */
#include "translator/bt_trans.h"
#include "translator/lockstep.h"

void bt_emit_single(struct tctx *c)
{
	struct emit *e = &c->e;
	uint32_t id;
	uint8_t *out;

	if (c->key & BK_NOGROUP)
		return;
	c->guest_off = 0;
	c->cur_len = c->insn[0].len;
	c->cur = 0;
	c->cur_live = c->live_in[0];
	bt_mark(c, 0, 0);
	bt_flags_spill(c, c->live_in[0], true);
	bt_rec_new(c, &id);
	bt_mark(c, MARK_STEP, 0);
	e_gs_op(e, false, 0x83, ALU_SUB, GS_CPU(single_left)); /* sub $1, %gs:single_left */
	emit8(e, 1);
	out = e_jcc32(e, CC_E);
	bt_stub_add(c, out, SVC_ARG(SVC_BOUNDARY, id), true, -1);
}

/* Touches neither registers nor flags, and may happen twice. */
void bt_emit_single_insn(struct tctx *c, unsigned n)
{
	e_store_gs_imm(&c->e, false, c->key & BK_NOGROUP ? GS_CPU(single_more) : GS_CPU(single_done), n);
}

/* A service may drop a translation that has to be made anew: then the access that asked for it has not happened. */
static bool begun_only(struct vcpu *v)
{
	const struct bt_cpu *cpu = bt_cpu(v);
	const struct bt_rec *r = &cpu->bt->rec[cpu->arg & 0x0fffffff];

	return cpu->single_left == 1 && cpu->arg >> 28 == SVC_ACCESS &&
	       v->regs.rip == cpu->bt->block[r->block].gva + r->guest_off;
}

bool bt_lockstep_insns(struct vcpu *v, uint64_t clock_before, unsigned *insns)
{
	const struct bt_cpu *cpu = bt_cpu(v);

	if (cpu->single_left == 2) { /* interpreted, or a fault on the way to it */
		*insns = v->insn_clock > clock_before ? (unsigned)(v->insn_clock - clock_before) : 1;
		return true;
	}
	*insns = cpu->single_done + (cpu->single_more ? cpu->single_more - 1 : 0) - begun_only(v);
	return *insns != 0;
}

void bt_lockstep(struct vcpu *v, unsigned max_insns)
{
	struct bt *bt = bt_cpu(v)->bt;

	bt->single = true;
	bt->single_insns = max_insns;
	bt_flush_cache(v);
}

bool bt_lockstep_code(struct vcpu *v, uint64_t rip, struct bt_lockstep_code *out)
{
	struct bt *bt = bt_cpu(v)->bt;

	for (uint32_t i = bt->nblocks; i-- > 1;) {
		const struct bt_block *b = &bt->block[i];

		if (b->gva != rip || (b->key & BK_NOGROUP))
			continue;
		*out = (struct bt_lockstep_code){
			.host = bt_host(bt, b->host), .insns = b->ninsns, .guest_len = b->guest_len};
		if (i + 1 < bt->nblocks && bt->block[i + 1].host <= b->host)
			return false;
		out->host_len = b->host_end - b->host;
		return true;
	}
	return false;
}
