/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the decoder, the policy table and the re-encoder. The input is code; it is walked through in 16-, 32- and
 * 64-bit mode.
 *
 *  - insn_decode's answer is consistent, depends on the instruction's own bytes only, and a truncated instruction is none;
 *  - where Capstone accepts the bytes too, it sees the same length (known(): what it is known to see otherwise);
 *  - what recode_insn writes decodes, in 64-bit mode, to the whole of what it wrote, to the same mnemonic, and accesses
 *    memory where it was told to;
 *  - no sensitive row has the policy COPY, and a COPY row always has an instruction behind it.
 */
#include <capstone/capstone.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "translator/recode.h"

#define INPUT_MAX 64u
#define INSN_MAX 15u

static const unsigned modes[] = {16, 32, 64};

static void describe(char *out, const uint8_t *p, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		sprintf(out + 3 * k, "%02x ", p[k]);
}
#define FAIL(bits, p, n, what)                                    \
	do {                                                      \
		char hex[3 * 32 + 1] = "";                        \
		describe(hex, p, (n) < 32 ? (n) : 32);            \
		FUZZ_FAIL("%s: %u-bit code %s", what, bits, hex); \
	} while (0)

static void check_table(void)
{
	for (unsigned k = 0; k < isa_row_count(); k++) {
		const struct isa_row *r = isa_row(k);

		if (r && (r->flags & ISA_SENSITIVE) && r->bt == BT_COPY)
			FUZZ_FAIL("%s is sensitive and copied", r->name);
	}
}

static bool same_insn(const struct insn *a, const struct insn *b)
{
	return a->row == b->row && a->mnemonic == b->mnemonic && a->len == b->len && a->nops == b->nops &&
	       a->has_mem == b->has_mem && a->disp == b->disp && a->imm[0] == b->imm[0] && a->imm[1] == b->imm[1];
}

static void check_fields(const struct insn *i, const uint8_t *p, unsigned n, unsigned bits)
{
	if (i->len == 0 || i->len > INSN_MAX || i->len > n)
		FAIL(bits, p, n, "length");
	if (memcmp(i->raw, p, i->len))
		FAIL(bits, p, n, "raw bytes");
	if (i->nops > INSN_MAX_OPS || i->code_bits != bits)
		FAIL(bits, p, i->len, "operands or mode");
	if (i->opcode_off >= i->len || i->modrm_off >= i->len || i->sib_off >= i->len || i->vex_off >= i->len ||
	    (i->disp_off && i->disp_off + i->disp_len > i->len) || (i->imm_off && i->imm_off + i->imm_len > i->len))
		FAIL(bits, p, i->len, "an offset beyond the instruction");
	if (i->modrm_off && i->raw[i->modrm_off] != i->modrm)
		FAIL(bits, p, i->len, "ModRM");
	for (unsigned k = 0; k < i->nops; k++)
		if (i->op[k].kind == OPK_GPR && i->op[k].reg > 15)
			FAIL(bits, p, i->len, "register number");
	if (i->has_mem && ((i->base > 15 && i->base != NO_REG) || i->seg >= SEG_COUNT))
		FAIL(bits, p, i->len, "memory operand");
}

static void check_again(const struct insn *i, const uint8_t *p, unsigned bits)
{
	struct insn again;

	if (insn_decode(&again, p, i->len, bits) != DECODE_OK || !same_insn(i, &again))
		FAIL(bits, p, i->len, "depends on what follows");
	for (unsigned n = 0; n < i->len; n++)
		if (insn_decode(&again, p, n, bits) == DECODE_OK)
			FAIL(bits, p, i->len, "decodes without its last bytes");
}

/* ---- Capstone ---- */

/* Where the second opinion is known to be wrong, or a matter of vendors. */
static bool known(const struct insn *i, unsigned bits)
{
	/* a 16-bit displacement for near branches with an operand-size prefix in 64-bit code: AMD's rule */
	if (bits == 64 && i->pfx66 && i->enc == ENC_LEGACY &&
	    ((i->map == 0 && (i->opcode == 0xe8 || i->opcode == 0xe9)) || (i->map == 1 && (i->opcode & 0xf0) == 0x80)))
		return true;
	/* with 66 and one of F2 and F3 before it a one-byte opcode, it forgets 66 */
	if (i->enc == ENC_LEGACY && i->map == 0 && i->pfx66 && (i->pfxf2 || i->pfxf3) && i->imm_len)
		return true;
	if (i->enc == ENC_EVEX) /* its EVEX lengths go wrong with rounding in register forms */
		return true;
	/* UD0 and UD1 without ModRM, EXTRQ and INSERTQ with immediates as VMREAD and VMWRITE */
	return i->enc == ENC_LEGACY && i->map == 1 && (i->opcode == 0xff || i->opcode == 0xb9 || i->opcode == 0x78);
}

static void check_capstone(csh cs, const struct insn *i, const uint8_t *p, unsigned n, unsigned bits)
{
	cs_insn *c;

	if (known(i, bits) || cs_disasm(cs, p, n, 0x1000, 1, &c) != 1)
		return;
	if (c->size != i->len) {
		fprintf(stderr, "Capstone: %u bytes, %s %s; here %u, %s\n", c->size, c->mnemonic, c->op_str, i->len,
			i->row->name);
		FAIL(bits, p, n, "length differs from Capstone's");
	}
	cs_free(c, 1);
}

/* ---- recoding ---- */

static void recode_once(const struct insn *i, const uint8_t *p, unsigned bits, const struct recode *r)
{
	uint8_t buf[32];
	struct insn out;
	struct emit e;
	unsigned n;

	emit_init(&e, buf, sizeof(buf));
	if (!recode_insn(&e, i, r)) {
		if (e.p != buf)
			FAIL(bits, p, i->len, "refused, but something was emitted");
		return;
	}
	n = (unsigned)(e.p - buf);
	if (n == 0 || n > INSN_MAX || insn_decode(&out, buf, n, 64) != DECODE_OK || out.len != n) {
		fprintf(stderr, "from %s, for %u-bit code:\n", i->row->name, bits);
		FAIL(64u, buf, n, "recoded to what does not decode");
	}
	if (out.row != i->row) {
		fprintf(stderr, "from %s, for %u-bit code, to %s:\n", i->row->name, bits, out.row->name);
		FAIL(64u, buf, n, "recoded to another instruction");
	}
	if (out.row->flags & ISA_SENSITIVE && i->row->bt == BT_COPY)
		FAIL(bits, p, i->len, "a copy of something sensitive");
	if (i->has_mem && i->row->bt == BT_COPY &&
	    (!out.has_mem || out.index != NO_REG || out.disp != r->mem_disp || out.rip_rel ||
	     (r->mem_gs ? out.seg != SEG_GS || out.base != NO_REG
			: out.base != r->mem_base || out.seg == SEG_GS || out.seg == SEG_FS)))
		FAIL(bits, p, i->len, "a copy accesses other memory");
}

static void check_recode(const struct insn *i, const uint8_t *p, unsigned bits)
{
	static const uint8_t swapped[16] = {3, 2, 9, 0, 4, 13, 7, 6, 15, 1, 8, 10, 5, 12, 11, 14};
	struct recode r;

	recode_identity(&r);
	if (i->has_mem) {
		r.mem_base = R_15;
		recode_once(i, p, bits, &r);
		r.mem_base = R_BP;
		r.mem_disp = 0;
		recode_once(i, p, bits, &r);
		r.mem_base = R_SP;
		r.mem_disp = -129;
		recode_once(i, p, bits, &r);
		memcpy(r.gpr, swapped, sizeof(swapped));
		r.mem_gs = i->row->bt != BT_LEA;
		r.mem_disp = 0x12345678;
		recode_once(i, p, bits, &r);
	} else {
		recode_once(i, p, bits, &r);
		memcpy(r.gpr, swapped, sizeof(swapped));
		recode_once(i, p, bits, &r);
	}
}

static void walk(csh cs, const uint8_t *p, unsigned n, unsigned bits)
{
	for (unsigned at = 0; at < n;) {
		unsigned left = n - at < INSN_MAX ? n - at : INSN_MAX;
		struct insn i;

		if (insn_decode(&i, p + at, left, bits) != DECODE_OK || !i.row) { /* no row: #UD */
			at++;
			continue;
		}
		check_fields(&i, p + at, left, bits);
		check_again(&i, p + at, bits);
		check_capstone(cs, &i, p + at, left, bits);
		check_recode(&i, p + at, bits);
		at += i.len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const cs_mode cs_modes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
	static csh cs[3];
	uint8_t buf[INPUT_MAX];

	if (!cs[0]) {
		check_table();
		for (unsigned m = 0; m < 3; m++)
			if (cs_open(CS_ARCH_X86, cs_modes[m], &cs[m]) != CS_ERR_OK)
				FUZZ_FAIL("Capstone does not open");
	}
	if (size > INPUT_MAX)
		size = INPUT_MAX;
	memcpy(buf, data, size);
	for (unsigned m = 0; m < 3; m++)
		walk(cs[m], buf, (unsigned)size, modes[m]);
	return 0;
}
