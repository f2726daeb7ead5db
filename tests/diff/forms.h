/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A row of forms.def: one opcode with everything that the generator must know about it. */
#ifndef STEELYARD_TESTS_DIFF_FORMS_H
#define STEELYARD_TESTS_DIFF_FORMS_H

#include "tests/diff/diff.h"

enum { M16 = 1, M32 = 2, M64 = 4, N64 = M16 | M32, ALL = 7 };
/* Encodings: legacy opcode; VEX; fixed bytes (in name order: op holds the index into the template). */
enum form_enc { LEG, VEX, FIX };
/* ext: the ModRM reg field, or how the opcode holds its operands */
enum { RR = -1 /* ModRM /r */, NM = -2 /* no ModRM */, OR_ = -3 /* register in the opcode */ };
enum { RG = 1, ME = 2, RM = 3 };
/* sizes */
enum { SB = 1, SW = 2, SD = 4, SQ = 8, SX = 16, SY = 32, SN = 64, SV = SW | SD | SQ, SA = SB | SV, SXY = SX | SY };
enum form_imm {
	I0,
	IB,	/* 8 bits */
	IW,	/* 16 bits */
	IZ,	/* operand size, at most 32 bits */
	IV,	/* operand size */
	IENT,	/* of ENTER: 16 and 8 bits */
	IMOFFS,
	IREL8,
	IRELZ,
	IVREG,
	IBB,	/* twice 8 bits */
	ID0,	/* the byte D0 */
	IFAR,	/* offset and selector */
};

#define A_W (1ull << 0)	    /* opcode bit 0: 0 for bytes, 1 for wider */
#define A_LOCK (1ull << 1)    /* LOCK allowed with a memory destination */
#define A_D64 (1ull << 2)	    /* 64-bit operand without REX.W in 64-bit mode, and no 32-bit one */
#define A_ALIGN (1ull << 3)   /* misaligned memory is #GP */
#define A_STACK (1ull << 4)   /* RSP points into the window */
#define A_STR (1ull << 5)	    /* RSI and RDI point into the window, RCX is small */
#define A_DIV (1ull << 6)
#define A_CNT_SH (1ull << 7)  /* shift: count in CL or the immediate; undefined flags depend on it */
#define A_CNT_ROT (1ull << 8)
#define A_CNT_DBL (1ull << 9)
#define A_BITOFF (1ull << 10) /* the register operand is a bit offset */
#define A_VEC (1ull << 11)    /* x87 or vector state matters */
#define A_MMX (1ull << 12)    /* registers 0-7 only */
#define A_BRI (1ull << 13)    /* indirect branch: the operand is a code address */
#define A_RET (1ull << 14)    /* the word on top of the stack is a code address */
#define A_FAR (1ull << 15)    /* the memory operand (A_BRI) or stack (A_RET) holds a far pointer */
#define A_SIMPLE (1ull << 16) /* fit for sequences: touches its operands and flags only */
#define A_NDS (1ull << 17)    /* VEX.vvvv is an operand */
#define A_W1 (1ull << 18)	    /* VEX.W or REX.W is 1 */
#define A_WSZ (1ull << 19)    /* VEX.W by operand size (32 or 64) */
#define A_IMPL (1ull << 20)   /* implicit accumulator operands: RAX, RDX, RCX, RBX stay out of addresses */
#define A_SEL (1ull << 21)    /* the register or memory operand is a selector */
#define A_CC (1ull << 22)	    /* opcode + 0..15, chosen at random */
#define A_L1 (1ull << 23)	    /* VEX.L of an opmask-free 256-bit only form */
#define A_XLAT (1ull << 24)
#define A_RDI (1ull << 25)    /* stores at [RDI] */
#define A_CX8 (1ull << 26)    /* cmpxchg8b/16b: memory equals the accumulator half of the time */
#define A_LEAVE (1ull << 27)  /* RBP points into the window */
#define A_VSIB (1ull << 28)
#define A_OVER (1ull << 29)   /* no operand-size override at random: the prefix changes the instruction */
#define A_NOADDR (1ull << 30) /* memory operand is never accessed (LEA, NOP) */
#define A_INT (1ull << 31)    /* immediate is a vector: INT n */
#define A_IRET (1ull << 32)   /* the stack holds a frame of IRET */
#define A_IMG (1ull << 33)    /* the memory operand is an image of x87 or vector state: gen_value.c */
#define A_FARPTR (1ull << 34) /* the memory operand is an offset and a selector */
#define A_AMD (1ull << 35)    /* AMD's processors only */
#define A_BASE (1ull << 36)   /* the host must let the test have FS */
#define A_MXCSR (1ull << 37)  /* the memory operand is an MXCSR */
#define A_LONG (1ull << 38)   /* the guest must be in long mode, as the process is */
#define A_XCR (1ull << 39)    /* ECX names an extended control register */

/* Undefined results beside flags, in the column of undefined flags: these registers, or the operand in ModRM.rm */
#define U_REGS_SHIFT 24
#define U_A (1u << 24)
#define U_C (1u << 25)
#define U_D (1u << 26)
#define U_B (1u << 27)
#define U_RM (1u << 28)
#define U_FLAGS 0xffffffu

struct form_row {
	const char *name;
	uint8_t modes, enc, pfx, map, op;
	int8_t ext;
	uint8_t sizes, rm, mb, imm;
	uint64_t attr;
	uint32_t undef;
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
	uint8_t seg;	  /* enum x86_sreg, overrides applied */
	int64_t disp;
	uint64_t target;  /* fixed: linear address */
};
struct encoding {
	uint8_t bytes[SLOT_BYTES];
	unsigned len;
	unsigned size;	  /* operand size */
	unsigned far;	  /* offset of the selector in a far pointer */
	unsigned mem_bytes;
	struct enc_addr addr;
	uint8_t reg, rm, vvvv; /* register fields */
	uint8_t imm8;
	uint16_t sel[SEG_COUNT]; /* the selectors that the case has */
	uint64_t fs_base, gs_base;
	bool locked;
	uint8_t alias, window;
	unsigned slot;
	uint32_t avoid;	  /* registers that must not be address registers */
};
/* Draws the segment registers of an encoding. */
void form_segments(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e);
/* The offset at which a segment register shows a linear address of the window, with 2, 4 or 8 bytes of address. */
uint64_t form_offset(const struct encoding *e, unsigned mode, unsigned seg, unsigned addr_bytes, uint64_t lin);
/* Appends one instruction of form f to e. fixed_base >= 0: a memory operand is [fixed_base + disp8], and no explicit
 * operand is that register or RSP. */
void form_encode(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, int fixed_base);

/* ---- gen_value.c ---- */
/* x87 and vector images in the window: bytes of an image of this row and operand size, and its contents. */
unsigned image_bytes(const struct form *f);
void image_fill(const struct form *f, struct rng *r, struct dcase *c, unsigned at);
void random_vectors(struct rng *r, struct dstate *s);
void plain_vectors(struct dstate *s, uint64_t seed);
void random_lanes(struct rng *r, uint8_t *p, unsigned n);
uint64_t random_value(struct rng *r);

#endif
