/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A row of forms.def: one opcode with everything that the generator must know about it. */
#ifndef STEELYARD_TESTS_DIFF_FORMS_H
#define STEELYARD_TESTS_DIFF_FORMS_H

#include "tests/diff/diff.h"

enum { M32 = 1, M64 = 2, ALL = 3 };
/* Encodings: legacy opcode; VEX; fixed bytes (in name order: op holds the index into the template). */
enum form_enc { LEG, VEX, FIX };
/* ext: the ModRM reg field, or how the opcode holds its operands */
enum { RR = -1 /* ModRM /r */, NM = -2 /* no ModRM */, OR_ = -3 /* register in the opcode */ };
enum { RG = 1, ME = 2, RM = 3 };
/* sizes */
enum { SB = 1, SW = 2, SD = 4, SQ = 8, SX = 16, SY = 32, SN = 64, SV = SW | SD | SQ, SA = SB | SV, SXY = SX | SY };
enum form_imm { I0, IB /* 8 bits */, IW /* 16 bits */, IZ /* operand size, at most 32 bits */, IV /* operand size */, IENT, IMOFFS, IREL8, IRELZ, IVREG };

#define A_W (1u << 0)	    /* opcode bit 0: 0 for bytes, 1 for wider */
#define A_LOCK (1u << 1)    /* LOCK allowed with a memory destination */
#define A_D64 (1u << 2)	    /* 64-bit operand without REX.W in 64-bit mode, and no 32-bit one */
#define A_ALIGN (1u << 3)   /* misaligned memory is #GP */
#define A_STACK (1u << 4)   /* RSP points into the window */
#define A_STR (1u << 5)	    /* RSI and RDI point into the window, RCX is small */
#define A_DIV (1u << 6)
#define A_CNT_SH (1u << 7)  /* shift: count in CL or the immediate; undefined flags depend on it */
#define A_CNT_ROT (1u << 8)
#define A_CNT_DBL (1u << 9)
#define A_BITOFF (1u << 10) /* the register operand is a bit offset */
#define A_VEC (1u << 11)    /* x87 or vector state matters */
#define A_MMX (1u << 12)    /* registers 0-7 only */
#define A_BRI (1u << 13)    /* indirect branch: the operand is a code address */
#define A_RET (1u << 14)    /* the word on top of the stack is a code address */
#define A_FAR (1u << 15)    /* the memory operand (A_BRI) or stack (A_RET) holds a far pointer */
#define A_SIMPLE (1u << 16) /* fit for sequences: touches its operands and flags only */
#define A_NDS (1u << 17)    /* VEX.vvvv is an operand */
#define A_W1 (1u << 18)	    /* VEX.W or REX.W is 1 */
#define A_WSZ (1u << 19)    /* VEX.W by operand size (32 or 64) */
#define A_IMPL (1u << 20)   /* implicit accumulator operands: RAX, RDX, RCX, RBX stay out of addresses */
#define A_SEL (1u << 21)    /* the register or memory operand is a selector */
#define A_CC (1u << 22)	    /* opcode + 0..15, chosen at random */
#define A_L1 (1u << 23)	    /* VEX.L of an opmask-free 256-bit only form */
#define A_XLAT (1u << 24)
#define A_RDI (1u << 25)    /* stores at [RDI] */
#define A_CX8 (1u << 26)    /* cmpxchg8b/16b: memory equals the accumulator half of the time */
#define A_LEAVE (1u << 27)  /* RBP points into the window */
#define A_VSIB (1u << 28)
#define A_OVER (1u << 29)   /* no operand-size override at random: the prefix changes the instruction */
#define A_NOADDR (1u << 30) /* memory operand is never accessed (LEA, NOP) */
#define A_INT (1u << 31)    /* immediate is a vector: INT n */

struct form_row {
	const char *name;
	uint8_t modes, enc, pfx, map, op;
	int8_t ext;
	uint8_t sizes, rm, mb, imm;
	uint32_t attr, undef;
	const char *bytes; /* FIX: hexadecimal */
};
extern const struct form_row form_rows[];
extern const unsigned form_row_count;

/* How the memory operand of an encoding is addressed, for the state generator. */
struct enc_addr {
	bool present;
	bool fixed;	  /* the address is in the code: target is known */
	uint8_t base, index, scale; /* 0xff: none */
	uint8_t addr_bytes;
	bool gs;
	int64_t disp;
	uint64_t target;  /* fixed: linear address */
};
struct encoding {
	uint8_t bytes[SLOT_BYTES];
	unsigned len;
	unsigned size;	  /* operand size */
	unsigned mem_bytes;
	struct enc_addr addr;
	uint8_t reg, rm, vvvv; /* register fields */
	uint8_t imm8;
	bool locked;
	uint8_t alias, window;
	unsigned slot;
	uint32_t avoid;	  /* registers that must not be address registers */
};
/* Appends one instruction of form f to e. fixed_base >= 0: a memory operand is [fixed_base + disp8], and no explicit
 * operand is that register or RSP. */
void form_encode(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, int fixed_base);

#endif
