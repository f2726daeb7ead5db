/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A decoded guest instruction, and the policy table that says what to do with it.
 *
 * libzydis decodes once (insn_decode); everything later - interpreter, translator, tests, coverage - reads struct insn.
 * One row of isa_int.def, isa_sys.def or isa_vec.def is all that the project knows about an instruction:
 *
 *     ROW(ADD, int_add, COPY, 0)
 *
 * mnemonic (Zydis name without ZYDIS_MNEMONIC_), interpreter function, translator policy, ISA_* flags.
 * A mnemonic without a row is #UD in the guest.
 *
 * Where one mnemonic covers instructions that have nothing in common (MOV r,r and MOV cr,r; near and far CALL; the two
 * MOVSD), the odd ones are forms, with a row of their own in the same files:
 *
 *     FORM(CALL_FAR, far_call, END, ISA_SENSITIVE)
 *
 * insn_decode sets insn.mnemonic to the Zydis mnemonic (CALL) and insn.row to the form's row.
 */
#ifndef STEELYARD_INSN_H
#define STEELYARD_INSN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/vcpu.h"

struct insn;

/* What an interpreter function did. */
enum xr {
	XR_NEXT,     /* done; the caller advances RIP by insn->len */
	XR_JUMP,     /* done; RIP has been set */
	XR_AGAIN,    /* a repeated string instruction did part of its work; state is consistent, RIP unchanged: look for
		      * interrupts and come back */
	XR_FAULT,    /* v->fault is set; no architectural change but what the manual allows (string progress) */
	XR_HLT,	     /* HLT: RIP must be advanced, then sleep */
	XR_SHUTDOWN, /* triple fault */
	XR_CANNOT,   /* nobody here can execute this: reported as a host failure with the bytes */
};

typedef enum xr insn_fn(struct vcpu *v, const struct insn *i);

/* What the translator does with an instruction. */
enum bt_policy {
	BT_COPY,     /* copy with operands re-mapped: register and memory forms */
	BT_CALLOUT,  /* call the interpreter function; translation goes on behind it */
	BT_END,	     /* call the interpreter function, then leave the block: it may change RIP, mode, privilege or mappings */
	BT_JCC,	     /* conditional branch on flags */
	BT_JMP,	     /* near JMP, direct and indirect */
	BT_CALL,     /* near CALL, direct and indirect */
	BT_RET,	     /* near RET */
	BT_PUSH,
	BT_POP,
	BT_LEA,
	BT_STRING,   /* MOVS STOS LODS SCAS CMPS, with and without REP */
	BT_OTHER,    /* an emitter of its own, found by mnemonic in translator/bt_code.c or bt_system.c */
};

/* ISA_* flags of a row */
#define ISA_PRIV (1u << 0)	 /* CPL 0 only (#GP otherwise) */
#define ISA_SENSITIVE (1u << 1)	 /* must never run as a copy, whatever the policy (design: Popek & Goldberg list) */
#define ISA_FPU (1u << 2)	 /* x87: #NM when CR0.EM or CR0.TS */
#define ISA_MMX (1u << 3)	 /* MMX: #UD when CR0.EM, #NM when CR0.TS */
#define ISA_SSE (1u << 4)	 /* SSE family: #UD when CR0.EM or !CR4.OSFXSR, #NM when CR0.TS */
#define ISA_AVX (1u << 5)	 /* VEX vector: #UD unless CR4.OSXSAVE and XCR0[2:1] = 3, #NM when CR0.TS */
#define ISA_LOCKABLE (1u << 6)	 /* LOCK allowed with a memory destination */
#define ISA_NO64 (1u << 7)	 /* #UD in 64-bit mode */
#define ISA_ONLY64 (1u << 8)	 /* #UD outside 64-bit mode */
#define ISA_NOREAL (1u << 9)	 /* #UD in real and v86 mode */
#define ISA_DST_WRITE (1u << 10) /* first operand is written without being read (MOV, SETcc, LEA, ...) */
#define ISA_DST_READ (1u << 11)	 /* first operand is only read (CMP, TEST, BT, PUSH, ...); neither flag: read and written */
#define ISA_SRC_WRITE (1u << 12) /* the second operand is written too (XCHG, XADD, MULX) */
/* bits 24-31: the feature that the host must have to run it (isa_vec.def); its absence is #UD */
enum isa_feature {
	IF_NONE, IF_SSE3, IF_SSSE3, IF_SSE41, IF_SSE42, IF_SSE4A, IF_AES, IF_PCLMUL, IF_SHA, IF_GFNI,
	IF_AVX, IF_AVX2, IF_AVX_INT /* AVX with XMM, AVX2 with YMM operands */, IF_FMA, IF_F16C,
	IF_VAES, IF_VPCLMUL /* both: AVX and the SSE feature with XMM operands */, IF_AVX_VNNI,
	IF_XSAVE, IF_XSAVEC, IF_XSAVEOPT, IF_COUNT,
};
#define ISA_NEEDS_SHIFT 24
#define ISA_NEEDS(f) ((uint32_t)IF_##f << ISA_NEEDS_SHIFT)

struct isa_row {
	const char *name;
	insn_fn *exec;
	uint8_t bt;	 /* enum bt_policy */
	uint32_t flags;	 /* ISA_* */
};

enum op_kind { OPK_NONE, OPK_GPR, OPK_SREG, OPK_CR, OPK_DR, OPK_MEM, OPK_IMM, OPK_REL, OPK_FAR, OPK_ST, OPK_MM, OPK_XMM, OPK_YMM,
	       OPK_ZMM, OPK_K };

/* The forms; their rows follow those of the mnemonics: isa_form_row(). */
enum isa_form {
	FORM_CALL_FAR, FORM_JMP_FAR, FORM_RET_FAR,
	FORM_MOV_CR, FORM_MOV_DR,		/* both directions */
	FORM_MOV_TO_SREG, FORM_MOV_FROM_SREG,
	FORM_PUSH_SREG, FORM_POP_SREG,
	FORM_MOVSD_STRING, FORM_CMPSD_STRING,	/* MOVSD and CMPSD alone are the SSE2 instructions */
	FORM_IMUL_ONE,				/* one operand: only read, as MUL's */
	FORM_BT_BITSTRING, FORM_BTX_BITSTRING,	/* BT / BTS BTR BTC with memory and a bit offset in a register: the
						 * offset is signed and reaches beyond the operand */
	FORM_COUNT,
};

struct insn_op {
	uint8_t kind;	/* enum op_kind */
	uint8_t reg;	/* register number; GPR: enum x86_gpr */
	bool high8;	/* AH CH DH BH: reg is R_AX..R_BX */
	uint8_t bytes;	/* operand size in bytes (1, 2, 4, 8, 10, 16, 32, ...) */
};

enum insn_enc { ENC_LEGACY, ENC_VEX, ENC_EVEX, ENC_OTHER };

#define NO_REG 0xff
#define INSN_MAX_OPS 4

struct insn {
	const struct isa_row *row;
	uint16_t mnemonic;	/* ZydisMnemonic */
	uint8_t len;
	uint8_t raw[15];
	uint8_t code_bits;	/* 16, 32, 64: the mode it was decoded in */
	uint8_t opsize;		/* effective operand size in bytes: 1, 2, 4, 8 (for 8-bit forms 1) */
	uint8_t addrsize;	/* effective address size in bytes: 2, 4, 8 */
	uint8_t stacksize;	/* width of one push/pop of this instruction in bytes, for stack instructions */
	uint8_t nops;		/* explicit and implicit visible operands, Intel order, destination first */
	struct insn_op op[INSN_MAX_OPS];
	bool lock;
	uint8_t rep;		/* 0, 0xf2 or 0xf3, only where it means REP/REPE/REPNE */
	/* the one memory operand (a LEA's and a string instruction's second one included; MOVS's destination is ES:DI) */
	bool has_mem;
	bool vsib;		/* gather: index is the number of a vector register */
	bool rip_rel;		/* disp counts from the next instruction */
	uint8_t seg;		/* enum x86_sreg, overrides applied */
	uint8_t base, index;	/* enum x86_gpr or NO_REG */
	uint8_t scale;		/* 1, 2, 4, 8 */
	int64_t disp;
	uint64_t imm[2];	/* sign- or zero-extended as the instruction does; REL: displacement from the next insn;
				 * FAR: imm[0] offset, imm[1] selector; ENTER: size and level */
	uint32_t fl_read;	/* FL_ARITH|FL_DF... bits that it tests */
	uint32_t fl_write;	/* bits that it sets to a defined value, unconditionally */
	uint32_t fl_undef;	/* bits that it may leave undefined or may leave unchanged (shift by CL) */
	/* encoding, for re-encoding; offsets into raw, 0 = absent (except opcode_off) */
	uint8_t enc;		/* enum insn_enc */
	uint8_t map;		/* legacy: 0 one-byte, 1 0F, 2 0F38, 3 0F3A; VEX/EVEX: its own number */
	uint8_t opcode;
	uint8_t opcode_off;
	uint8_t rex;		/* the REX byte or 0 */
	uint8_t vex_off;	/* first byte of C4, C5 or 62 */
	uint8_t modrm_off, modrm;
	uint8_t sib_off;
	uint8_t disp_off, disp_len;
	uint8_t imm_off, imm_len; /* all immediates together */
	bool imm_signed;	/* imm[0] is sign-extended */
	bool by_shape;		/* other bytes for disp and imm give the same instruction with another disp and imm[0], but
				 * for the flags of shifts (insn_shape.h) */
	bool pfx66, pfxf2, pfxf3; /* prefix bytes present, whatever they mean */
};

enum decode_result { DECODE_OK, DECODE_UD, DECODE_SHORT /* needs more bytes than given */, DECODE_TOO_LONG /* >15: #GP */ };

/* Decodes one instruction for code of `bits` (16, 32, 64). bytes/n: what can be fetched (n <= 15 is enough). No state. */
enum decode_result insn_decode(struct insn *i, const uint8_t *bytes, unsigned n, unsigned bits);
/* Shifts and rotates, SHLD and SHRD: which flags they write depends on an immediate count. insn_count_flags computes it. */
bool insn_is_shift(const struct insn *i);
void insn_count_flags(struct insn *i);
/* Row by mnemonic, or isa_form_row by form; NULL where the table has none. Mnemonics and then the forms: tests and
 * coverage go through all rows with isa_row(0 .. isa_row_count() - 1). */
const struct isa_row *isa_row(unsigned mnemonic);
const struct isa_row *isa_form_row(enum isa_form f);
unsigned isa_row_count(void);
/* The number under which isa_row() knows a row. */
unsigned isa_row_number(const struct isa_row *row);

#endif
