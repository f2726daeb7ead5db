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

/* Accesses of one block that share a check (bt_group.c). Offsets count from the anchor, whatever that is. */
#define TCTX_GROUPS 16
struct tgroup {
	uint16_t anchor, part; /* part: of the block, where its first member is: how many conditional branches are before it */
	bool write;	   /* some member writes */
	uint8_t members, done; /* done: members emitted */
	int32_t lo, hi;
};
struct tmember {
	int8_t group; /* -1: none */
	int32_t off;
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
	bool windows;		/* where an access is not wild */
	unsigned bits, max_insns;
	bool too_long;
	bool need_ret_flags;	/* code behind a CALL reads flags: RETs must keep them */
	bool fl_mem;		/* flags are in bt_cpu.fl here */
	uint16_t guest_off;	/* of the instruction being emitted */
	uint8_t cur_len;	/* and its length */
	bool sampled;		/* marks tell kinds of code */
	uint8_t kind;		/* enum vcpu_sample */
	unsigned guest_len;
	unsigned n, nmarks, nstubs, naccess;
	unsigned nexits;	/* conditional branches that the block goes on behind, and where they lead, from its beginning */
	uint32_t exit[BT_MAX_SIDE_EXITS];
	uint32_t access_rec[4]; /* records of the current instruction's accesses */
	unsigned cur, cur_access; /* instruction being emitted, and its next access */
	uint32_t cur_live;	/* flags live before it */
	unsigned ngroups;
	uint32_t ready;		/* groups whose host address is in bt_cpu.group[] */
	int s0_group;		/* the group whose host address S0 holds, or -1 */
	struct tgroup group[TCTX_GROUPS];
	struct tmember member[BT_MAX_BLOCK_INSNS][2];
	struct insn insn[BT_MAX_BLOCK_INSNS];
	bool interpret[BT_MAX_BLOCK_INSNS]; /* bt_must_interpret */
	uint8_t copy_len[BT_MAX_BLOCK_INSNS], copy[BT_MAX_BLOCK_INSNS][SHAPE_COPY_MAX]; /* as in struct shape */
	uint16_t off[BT_MAX_BLOCK_INSNS];
	uint32_t live_in[BT_MAX_BLOCK_INSNS], live_out[BT_MAX_BLOCK_INSNS];
	struct bt_mark marks[TCTX_MARKS];
	struct tstub stub[TCTX_STUBS];
};

/* Host offsets from here on belong to the current guest instruction, with these MARK_*. */
void bt_mark(struct tctx *c, unsigned flags, unsigned fix);
/* Code from here on is of this kind (enum vcpu_sample), for samples; returns the kind before. Nothing else changes. */
unsigned bt_kind(struct tctx *c, unsigned kind);
struct bt_rec *bt_rec_new(struct tctx *c, uint32_t *id);
static inline uint32_t bt_code_off(const struct tctx *c, const uint8_t *p)
{
	return (uint32_t)(p - c->bt->cache);
}
/* Code behind the block's body that `from` (a rel32) jumps to: asks for arg. */
void bt_stub_add(struct tctx *c, uint8_t *from, uint32_t arg, bool mem, int32_t slot);
void bt_emit_service(struct tctx *c, uint32_t arg, bool mem);
/* A jump to a guest address known now. cc < 0: unconditional. The condition's flags are in the host's. */
void bt_emit_goto(struct tctx *c, int cc, uint64_t target);
struct bt_link *bt_link_new(struct tctx *c, uint64_t target, uint32_t *id);

/* The instruction at `at`, which is in guest RAM, as far as its page goes. Valid until the next call. NULL: none there, or it
 * continues in the next page (*more). */
struct shape *bt_decode(struct vcpu *v, const uint8_t *at, unsigned bits, bool *more);

/* bt_flags.c */
/* The host's flags are about to be destroyed: save them in fl when `live` says that somebody wants them. */
void bt_flags_spill(struct tctx *c, uint32_t live, bool s1_free);
/* The host's flags must hold the guest's. */
void bt_flags_need(struct tctx *c, bool s1_free);
void bt_find_live_flags(struct tctx *c);

/* bt_lockstep.c: the entry of a block counts, and leaves when it is not the first (bt->single). */
void bt_emit_single(struct tctx *c);
/* n instructions of the block have begun. */
void bt_emit_single_insn(struct tctx *c, unsigned n);

/* bt_hot.c: one more entry of this block. Touches neither flags nor guest registers; S0 and S1 are lost. */
void bt_emit_hot(struct tctx *c);

/* bt_group.c */
void bt_find_groups(struct tctx *c);

/* bt_window.c: S0 + the returned displacement is the host address of the access. S1 is lost unless s1_busy. */
int32_t bt_emit_operand(struct tctx *c, const struct insn *i, unsigned acc, unsigned size);
int32_t bt_emit_stack(struct tctx *c, unsigned acc, unsigned base, int32_t disp, bool s1_busy);

/* The element that a string instruction finds at [base]: S0 is its host address. */
void bt_emit_element(struct tctx *c, unsigned acc, unsigned size, unsigned seg, unsigned base, bool s1_busy);

/* bt_system.c */
bool bt_system_inline(const struct tctx *c, const struct insn *i, const struct insn *next);
bool bt_emit_system(struct tctx *c, const struct insn *i);

/* bt_code.c */
bool bt_writes_reg(const struct insn *i, unsigned k);
bool bt_is_nothing(const struct insn *i);
/* What a copy of s->insn looks like in front of its displacement and immediate. */
void bt_find_copy(const struct tctx *c, struct shape *s);
/* What the mode does not allow must fault, and some forms are not what their row says: the interpreter does it. */
bool bt_must_interpret(const struct tctx *c, const struct insn *i);
/* Size and direction (ACC_READ, ACC_WRITE) of the explicit memory operand. */
bool bt_memory_operand(const struct insn *i, unsigned *size, unsigned *acc);
/* Emits instruction k. true: control never falls behind it. */
bool bt_emit_insn(struct tctx *c, unsigned k);

#endif
