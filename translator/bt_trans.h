/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of one translation, private to bt_trans.c and its emitters. */
#ifndef STEELYARD_BT_TRANS_H
#define STEELYARD_BT_TRANS_H

#include "translator/bt_emit.h"
#include "translator/bt_int.h"
#include "translator/recode.h"

#define TCTX_MARKS 1024
#define TCTX_STUBS 256

/* Code that is emitted behind the block's body. */
struct tstub {
	uint8_t *from;	/* rel32 to patch to the stub, or NULL */
	uint32_t arg;	/* SVC_ARG */
	bool mem;	/* leave by exit_mem */
	bool fl_mem;
	int32_t slot;	/* link slot, or -1 */
	uint16_t guest_off;
};

struct tctx {
	struct bt *bt;
	struct vcpu *v;
	struct emit e;
	uint8_t *host;		/* first byte of the block's code */
	const uint8_t *page;	/* host address of the guest page */
	uint64_t lin, gpa, gpa2_page;
	uint32_t key, block_index;
	bool code64;
	unsigned bits, max_insns;
	bool too_long;
	bool need_ret_flags;	/* code behind a CALL reads flags: RETs must keep them */
	bool fl_mem;		/* flags are in bt_cpu.fl here */
	uint16_t guest_off;	/* of the instruction being emitted */
	uint8_t cur_len;	/* and its length */
	unsigned guest_len;
	unsigned n, nmarks, nstubs, naccess;
	uint32_t access_rec[4]; /* records of the current instruction's accesses */
	struct insn insn[BT_MAX_BLOCK_INSNS];
	uint16_t off[BT_MAX_BLOCK_INSNS];
	uint32_t live_in[BT_MAX_BLOCK_INSNS], live_out[BT_MAX_BLOCK_INSNS];
	struct bt_mark marks[TCTX_MARKS];
	struct tstub stub[TCTX_STUBS];
};

/* Host offsets from here on belong to the current guest instruction, with these MARK_*. */
void bt_mark(struct tctx *c, unsigned flags, unsigned fix);
struct bt_rec *bt_rec_new(struct tctx *c, uint32_t *id);
/* The host's flags are about to be destroyed: save them in fl when `live` says that somebody wants them. S1 is lost. */
void bt_flags_spill(struct tctx *c, uint32_t live);
/* The host's flags must hold the guest's. S1 is lost when it is free. */
void bt_flags_need(struct tctx *c, bool s1_free);

#endif
