/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoding by shape: most instructions of a program differ from one decoded before in their displacement and immediate
 * alone. The bytes before those (prefixes, opcode, ModRM, SIB) are the shape; a table by shape keeps what libzydis made of
 * the first one, and the next of the same shape takes a few dozen host instructions. Code that is met again (it is interpreted several
 * times, looked at for flags, translated) has mostly the same shapes at the same places: where the bytes agree with the shape that was
 * there, their length need not be found out, on which everything behind an instruction waits.
 *
 * Threads: a table belongs to one vCPU's thread.
 */
#ifndef STEELYARD_INSN_SHAPE_H
#define STEELYARD_INSN_SHAPE_H

#include "engine/status.h"
#include "translator/insn.h"

#define SHAPE_BITS 11
#define SHAPE_GUESS_BITS 17
#define SHAPE_COPY_MAX 12
#define SHAPE_NO_COPY 0xff

struct shape {
	uint64_t key;	/* the shape's bytes, the first one lowest */
	uint64_t key_mask; /* as many bytes as they are */
	uint8_t bits;	/* code size; 0: empty */
	bool by_count;	/* a shift by an immediate, not by a multiple of 32: its flags depend on the count */
	/* where disp and imm[0] are; how far the 8 bytes there are shifted up and down again; what of it counts */
	uint8_t disp_off, disp_shift, imm_off, imm_shift;
	uint64_t disp_mask, imm_mask, imm_const;
	struct insn insn;
	/* What the translator finds out about instructions of this shape; zero at first. */
	bool ends;		/* beside fn: it ends a block */
	insn_fn *fn;		/* what executes it */
	uint32_t mode;		/* the block key + 1 that interpret is for */
	bool interpret;		/* bt_must_interpret in that mode */
	uint8_t copy_len;	/* of copy; 0: not known, SHAPE_NO_COPY: there is none */
	uint8_t copy[SHAPE_COPY_MAX]; /* a COPY without displacement and immediate (bt_code.c) */
};

struct shapes {
	struct shape shape[1u << SHAPE_BITS];
	struct shape other; /* what has no shape that could be kept */
	/* By where its bytes are, in steps of two: which shape the last instruction there had. A guess, which the bytes confirm. */
	uint16_t guess[1u << SHAPE_GUESS_BITS];
};

enum status shapes_create(struct shapes **out, struct error *e);
void shapes_free(struct shapes *s);

/* As insn_decode, but the result is in the table and valid until the next call; bytes of insn.raw behind insn.len are
 * undefined. n may be more than an instruction has. shape_find does it when the shape is known, without vector registers; it
 * does not compute the flags of shifts by an immediate. NULL: ask shape_decode, for which vcpu_vec_sync() must have been called,
 * as for insn_decode. */
struct shape *shape_find(struct shapes *s, const uint8_t *bytes, unsigned n, unsigned bits);
enum decode_result shape_decode(struct shapes *s, struct shape **out, const uint8_t *bytes, unsigned n, unsigned bits);

#endif
