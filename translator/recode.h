/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An instruction written again for the host with its operands elsewhere: the heart of same-ISA execution.
 *
 * The result is 64-bit code with the same effect on other registers and another address. Works for legacy (with or without
 * REX, 16/32/64-bit source), VEX and EVEX encodings; used by the translator for copies and by the interpreter to run
 * x87/MMX/SSE/AVX instructions on the processor.
 */
#ifndef STEELYARD_RECODE_H
#define STEELYARD_RECODE_H

#include "translator/emit.h"
#include "translator/insn.h"

struct recode {
	/* Guest general register n is found in host register gpr[n]. Only explicit ModRM/VEX/opcode register operands can
	 * be moved; implicit ones (CL of a shift, RAX of MUL, RSI of MOVS) cannot. */
	uint8_t gpr[16];
	/* The memory operand becomes [mem_base + mem_disp] (no index, no segment). NO_REG: the instruction has none. */
	uint8_t mem_base;
	int32_t mem_disp;
	/* The memory operand becomes %gs:[mem_disp] (mem_base ignored). */
	bool mem_gs;
};

/* gpr[n] = n, no memory operand. */
void recode_identity(struct recode *r);
/* false: this instruction cannot be recoded (high-byte register with a REX-needing mapping, implicit operand that moves,
 * an encoding that 64-bit mode has not got). Nothing has been emitted then. A 32-bit source's "inc eax" (40+r) becomes
 * FF /0; operand-size prefixes are adapted for 16-bit sources; address-size and segment prefixes are dropped. */
bool recode_insn(struct emit *e, const struct insn *i, const struct recode *r);

#endif
