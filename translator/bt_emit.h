/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The few host instructions that the translator writes itself. Register numbers are enum x86_gpr. */
#ifndef STEELYARD_BT_EMIT_H
#define STEELYARD_BT_EMIT_H

#include "translator/emit.h"
#include "translator/insn.h"

#define S0 R_15
#define S1 R_14

enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
enum cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

static inline unsigned rex_bits(bool w, unsigned reg, unsigned index, unsigned base)
{
	return (w ? 8u : 0) | (reg > 7 ? 4u : 0) | (index > 7 ? 2u : 0) | (base > 7 ? 1u : 0);
}
static inline void e_rex(struct emit *e, bool w, unsigned reg, unsigned index, unsigned base, bool force)
{
	unsigned rex = rex_bits(w, reg, index, base);

	if (rex || force)
		emit8(e, (uint8_t)(0x40 | rex));
}
/* [REX] op and up to three bytes behind it, lowest first */
static inline void e_rex_op(struct emit *e, unsigned rex, uint64_t bytes, unsigned n)
{
	if (rex)
		emit_word(e, bytes << 8 | 0x40 | rex, n + 1);
	else
		emit_word(e, bytes, n);
}
/* 65 [REX] op modrm sib disp32 */
static inline void e_gs_rm(struct emit *e, unsigned rex, uint8_t op, unsigned modrm, unsigned sib, bool has_sib, int32_t disp)
{
	uint64_t bytes = op | modrm << 8 | sib << 16;
	unsigned n = has_sib ? 3 : 2;

	if (rex) {
		bytes = bytes << 8 | 0x40 | rex;
		n++;
	}
	emit_word(e, bytes << 8 | 0x65, n + 1);
	emit32(e, (uint32_t)disp);
}
/* op reg, %gs:[disp32] (direction by opcode) */
static inline void e_gs_op(struct emit *e, bool w, uint8_t op, unsigned reg, int32_t disp)
{
	e_gs_rm(e, rex_bits(w, reg, 0, 0), op, (reg & 7) << 3 | 4, 0x25, true, disp);
}
static inline void e_load_gs(struct emit *e, unsigned reg, int32_t disp)
{
	e_gs_op(e, true, 0x8b, reg, disp);
}
static inline void e_load_gs32(struct emit *e, unsigned reg, int32_t disp)
{
	e_gs_op(e, false, 0x8b, reg, disp);
}
static inline void e_store_gs(struct emit *e, unsigned reg, int32_t disp)
{
	e_gs_op(e, true, 0x89, reg, disp);
}
static inline void e_alu_gs(struct emit *e, bool w, enum alu op, unsigned reg, int32_t disp)
{
	e_gs_op(e, w, (uint8_t)(op << 3 | 3), reg, disp);
}
/* movl $imm, %gs:[disp] (w: sign-extended to 64 bits) */
static inline void e_store_gs_imm(struct emit *e, bool w, int32_t disp, uint32_t imm)
{
	e_gs_op(e, w, 0xc7, 0, disp);
	emit32(e, imm);
}
static inline void e_jmp_gs(struct emit *e, int32_t disp)
{
	e_gs_op(e, false, 0xff, 4, disp);
}
/* op reg, %gs:[disp32 + index*8] */
static inline void e_gs_idx_op(struct emit *e, bool w, uint8_t op, unsigned reg, unsigned index, int32_t disp)
{
	e_gs_rm(e, rex_bits(w, reg, index, 0), op, (reg & 7) << 3 | 4, 0xc0 | (index & 7) << 3 | 5, true, disp);
}
/* op reg, %gs:disp32(base), base not RSP or R12 */
static inline void e_gs_base_op(struct emit *e, bool w, uint8_t op, unsigned reg, unsigned base, int32_t disp)
{
	e_gs_rm(e, rex_bits(w, reg, 0, base), op, 0x80 | (reg & 7) << 3 | (base & 7), 0, false, disp);
}
static inline void e_shr_imm(struct emit *e, bool w, unsigned reg, uint8_t n)
{
	e_rex_op(e, rex_bits(w, 0, 0, reg), 0xc1 | (0xe8u | (reg & 7)) << 8 | (uint32_t)n << 16, 3);
}
static inline void e_mov_rr(struct emit *e, bool w, unsigned dst, unsigned src)
{
	e_rex_op(e, rex_bits(w, src, 0, dst), 0x89 | (0xc0 | (src & 7) << 3 | (dst & 7)) << 8, 2);
}
static inline void e_movzx16(struct emit *e, unsigned dst, unsigned src)
{
	e_rex(e, false, dst, 0, src, false);
	emit8(e, 0x0f), emit8(e, 0xb7);
	emit8(e, (uint8_t)(0xc0 | (dst & 7) << 3 | (src & 7)));
}
static inline void e_alu_rr(struct emit *e, bool w, enum alu op, unsigned dst, unsigned src)
{
	e_rex_op(e, rex_bits(w, src, 0, dst), (op << 3 | 1u) | (0xc0 | (src & 7) << 3 | (dst & 7)) << 8, 2);
}
static inline void e_alu_imm32(struct emit *e, bool w, enum alu op, unsigned dst, int32_t imm)
{
	e_rex(e, w, 0, 0, dst, false);
	if (imm >= -128 && imm <= 127) {
		emit8(e, 0x83);
		emit8(e, (uint8_t)(0xc0 | op << 3 | (dst & 7)));
		emit8(e, (uint8_t)imm);
	} else {
		emit8(e, 0x81);
		emit8(e, (uint8_t)(0xc0 | op << 3 | (dst & 7)));
		emit32(e, (uint32_t)imm);
	}
}
/* dst = val, flags untouched */
static inline void e_mov_imm(struct emit *e, unsigned dst, uint64_t val)
{
	if (val <= 0xffffffffu) {
		e_rex(e, false, 0, 0, dst, false);
		emit8(e, (uint8_t)(0xb8 | (dst & 7)));
		emit32(e, (uint32_t)val);
	} else if ((int64_t)val == (int32_t)val) {
		e_rex(e, true, 0, 0, dst, false);
		emit8(e, 0xc7);
		emit8(e, (uint8_t)(0xc0 | (dst & 7)));
		emit32(e, (uint32_t)val);
	} else {
		e_rex(e, true, 0, 0, dst, false);
		emit8(e, (uint8_t)(0xb8 | (dst & 7)));
		emit64(e, val);
	}
}
/* op with ModRM/SIB for [base + index*scale + disp]; base/index may be NO_REG. Used for LEA and for loads/stores. */
static inline void e_mem_op(struct emit *e, bool w, uint8_t op, unsigned reg, unsigned base, unsigned index, unsigned scale,
			    int32_t disp)
{
	unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0, mod;

	unsigned rex = rex_bits(w, reg, index == NO_REG ? 0 : index, base == NO_REG ? 0 : base), modrm = (reg & 7) << 3;

	index = index == NO_REG ? 4 : index;
	if (base == NO_REG) {
		e_rex_op(e, rex, op | (modrm | 4) << 8 | (ss << 6 | (index & 7) << 3 | 5) << 16, 3);
		emit32(e, (uint32_t)disp);
		return;
	}
	mod = disp == 0 && (base & 7) != R_BP ? 0 : disp >= -128 && disp <= 127 ? 1 : 2;
	if (index != 4 || (base & 7) == R_SP)
		e_rex_op(e, rex, op | (mod << 6 | modrm | 4) << 8 | (ss << 6 | (index & 7) << 3 | (base & 7)) << 16, 3);
	else
		e_rex_op(e, rex, op | (mod << 6 | modrm | (base & 7)) << 8, 2);
	if (mod)
		emit_word(e, (uint32_t)disp, mod == 1 ? 1 : 4);
}
static inline void e_lea(struct emit *e, bool w, unsigned reg, unsigned base, unsigned index, unsigned scale, int32_t disp)
{
	e_mem_op(e, w, 0x8d, reg, base, index, scale, disp);
}
/* jcc/jmp rel32 to a place not known yet: returns the address of the rel32 */
static inline uint8_t *e_jcc32(struct emit *e, enum cc cc)
{
	emit_word(e, 0x0f | (0x80ull | cc) << 8, 6);
	return e->p - 4;
}
static inline uint8_t *e_jmp32(struct emit *e)
{
	emit_word(e, 0xe9, 5);
	return e->p - 4;
}
static inline void e_patch32(struct emit *e, uint8_t *at, const uint8_t *to)
{
	int32_t rel = (int32_t)(to - (at + 4));

	if (!e->overflow)
		__builtin_memcpy(at, &rel, 4);
}
/* host flags -> fl; S1 is clobbered */
static inline void e_flags_save(struct emit *e, int32_t gs_fl)
{
	e_mov_rr(e, true, S1, R_AX);
	emit8(e, 0x9f);			      /* lahf */
	emit8(e, 0x0f), emit8(e, 0x90), emit8(e, 0xc0); /* seto %al */
	emit8(e, 0x66);			      /* mov %ax, %gs:fl: 66 goes before 65 */
	e_gs_op(e, false, 0x89, R_AX, gs_fl);
	e_mov_rr(e, true, R_AX, S1);
}
/* fl -> host flags; S1 is clobbered */
static inline void e_flags_load(struct emit *e, int32_t gs_fl)
{
	e_mov_rr(e, true, S1, R_AX);
	emit8(e, 0x65), emit8(e, 0x0f), emit8(e, 0xb7), emit8(e, 0x04), emit8(e, 0x25); /* movzwl %gs:fl, %eax */
	emit32(e, (uint32_t)gs_fl);
	emit8(e, 0x04), emit8(e, 0x7f); /* add $0x7f, %al */
	emit8(e, 0x9e);			/* sahf */
	e_mov_rr(e, true, R_AX, S1);
}
/* n bytes of no-operation, n < 16 */
static inline void e_nop(struct emit *e, unsigned n)
{
	static const uint8_t nop[9][9] = {
		{ 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0x0f, 0x1f, 0x40, 0 }, { 0x0f, 0x1f, 0x44, 0, 0 },
		{ 0x66, 0x0f, 0x1f, 0x44, 0, 0 }, { 0x0f, 0x1f, 0x80, 0, 0, 0, 0 }, { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
		{ 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
	};

	while (n) {
		unsigned k = n > 9 ? 9 : n;

		emit_bytes(e, nop[k - 1], k);
		n -= k;
	}
}

#endif
