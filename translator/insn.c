/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoding: bytes to struct insn by libzydis, and the table of rows.
 *
 * Deviations from what libzydis reports:
 *  - MPX, CET, WBNOINVD and CLDEMOTE are decoded as on processors without them: the first two and the last are NOPs
 *    (kernels and C libraries count on that), WBNOINVD is WBINVD;
 *  - REP is reported for string instructions only, and F2 counts as REP there, as processors do;
 *  - flags that a shift or rotate leaves alone when its masked count is zero, and those of a repeated CMPS or SCAS with
 *    CX = 0, are reported as "may change" (fl_undef), never as written;
 *  - in 64-bit mode an operand-size prefix on near branches is ignored (Intel's rule; AMD truncates RIP to 16 bits).
 *
 * A row's function needs no declaration of its own: the rows declare them (int_ops.h does the same for int_*.c).
 *
 * libzydis is an ordinary library and may use vector registers: whoever has the guest's vector state in the host's
 * registers calls vcpu_vec_sync() before insn_decode().
 */
#include "translator/insn.h"

#include <Zydis/Zydis.h>

#include "engine/status.h"

#define ISA_ROWS (ZYDIS_MNEMONIC_MAX_VALUE + 1 + FORM_COUNT)
_Static_assert(ISA_ROWS <= VCPU_ROWS, "a vCPU has a counter for every row");

/* The functions that the rows name. */
#define ROW(m, fn, policy, fl) insn_fn fn;
#define FORM(f, fn, policy, fl) insn_fn fn;
#include "translator/isa_int.def"
#if __has_include("translator/isa_sys.def")
#include "translator/isa_sys.def"
#endif
#if __has_include("translator/isa_vec.def")
#include "translator/isa_vec.def"
#endif
#undef ROW
#undef FORM

#define ROW(m, fn, policy, fl) [ZYDIS_MNEMONIC_##m] = {#m, fn, BT_##policy, fl},
#define FORM(f, fn, policy, fl) [ZYDIS_MNEMONIC_MAX_VALUE + 1 + FORM_##f] = {#f, fn, BT_##policy, fl},

static const struct isa_row rows[ISA_ROWS] = {
#include "translator/isa_int.def"
#if __has_include("translator/isa_sys.def")
#include "translator/isa_sys.def"
#endif
#if __has_include("translator/isa_vec.def")
#include "translator/isa_vec.def"
#endif
};

#undef ROW
#undef FORM

const struct isa_row *isa_row(unsigned mnemonic)
{
	return mnemonic < ISA_ROWS && rows[mnemonic].exec ? &rows[mnemonic] : NULL;
}

const struct isa_row *isa_form_row(enum isa_form f)
{
	return isa_row(ZYDIS_MNEMONIC_MAX_VALUE + 1 + f);
}

unsigned isa_row_count(void)
{
	return ISA_ROWS;
}

unsigned isa_row_number(const struct isa_row *row)
{
	return (unsigned)(row - rows);
}

/* One decoder for each code size. Modes that are not named are off: see the top of the file. */
#define DECODER(mode, width)                                                                         \
	{                                                                                            \
		.machine_mode = ZYDIS_MACHINE_MODE_##mode, .stack_width = ZYDIS_STACK_WIDTH_##width, \
		.decoder_mode = {                                                                    \
			[ZYDIS_DECODER_MODE_LZCNT] = ZYAN_TRUE,                                      \
			[ZYDIS_DECODER_MODE_TZCNT] = ZYAN_TRUE,                                      \
		},                                                                                   \
	}
static const ZydisDecoder decoder16 = DECODER(LEGACY_16, 16);
static const ZydisDecoder decoder32 = DECODER(LEGACY_32, 32);
static const ZydisDecoder decoder64 = DECODER(LONG_64, 64);

/* ---- operands ---- */

static uint8_t gpr_number(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15)
		return (r - ZYDIS_REGISTER_AX) & 15;
	return NO_REG;
}

static bool reg_range(struct insn_op *o, ZydisRegister r, ZydisRegister first, unsigned n, enum op_kind kind)
{
	if (r < first || r >= first + n)
		return false;
	o->kind = kind;
	o->reg = r - first;
	return true;
}

static void reg_operand(struct insn_op *o, ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15) {
		o->kind = OPK_GPR;
		o->reg = gpr_number(r);
	} else if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_R15B) {
		/* AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B... */
		unsigned n = r - ZYDIS_REGISTER_AL;

		o->kind = OPK_GPR;
		o->high8 = n >= 4 && n < 8;
		o->reg = n < 4 ? n : n - 4;
	} else if (reg_range(o, r, ZYDIS_REGISTER_XMM0, 32, OPK_XMM) ||
		   reg_range(o, r, ZYDIS_REGISTER_YMM0, 32, OPK_YMM) ||
		   reg_range(o, r, ZYDIS_REGISTER_ZMM0, 32, OPK_ZMM) ||
		   reg_range(o, r, ZYDIS_REGISTER_ST0, 8, OPK_ST) || reg_range(o, r, ZYDIS_REGISTER_MM0, 8, OPK_MM) ||
		   reg_range(o, r, ZYDIS_REGISTER_ES, 6, OPK_SREG) || reg_range(o, r, ZYDIS_REGISTER_CR0, 16, OPK_CR) ||
		   reg_range(o, r, ZYDIS_REGISTER_DR0, 16, OPK_DR) || reg_range(o, r, ZYDIS_REGISTER_K0, 8, OPK_K)) {
		return;
	} else {
		o->kind = OPK_NONE;
	}
}

static void mem_fields(struct insn *i, const ZydisDecodedOperand *o)
{
	i->has_mem = true;
	i->seg = SEG_DS;
	if (o->mem.segment >= ZYDIS_REGISTER_ES && o->mem.segment <= ZYDIS_REGISTER_GS)
		i->seg = o->mem.segment - ZYDIS_REGISTER_ES;
	i->rip_rel = o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP;
	i->base = gpr_number(o->mem.base);
	i->vsib = o->mem.type == ZYDIS_MEMOP_TYPE_VSIB;
	if (i->vsib) {
		struct insn_op x;

		reg_operand(&x, o->mem.index);
		i->index = x.reg;
	} else {
		i->index = gpr_number(o->mem.index);
	}
	i->scale = o->mem.scale ? o->mem.scale : 1;
	i->disp = o->mem.disp.has_displacement ? o->mem.disp.value : 0;
}

static bool is_string(const struct insn *i)
{
	return i->enc == ENC_LEGACY && i->map == 0 &&
	       ((i->opcode >= 0xa4 && i->opcode <= 0xa7) || (i->opcode >= 0xaa && i->opcode <= 0xaf) ||
		(i->opcode >= 0x6c && i->opcode <= 0x6f));
}

/* A string instruction's operands are hidden ones to libzydis. Of two memory operands the one that can have a segment
 * override, SI's, is the one described. */
static void string_operands(struct insn *i, const ZydisDecodedInstruction *z)
{
	struct insn_op mem = {.kind = OPK_MEM, .bytes = i->opsize};
	struct insn_op acc = {.kind = OPK_GPR, .reg = R_AX, .bytes = i->opsize};
	struct insn_op port = {.kind = OPK_GPR, .reg = R_DX, .bytes = 2};
	unsigned op = i->opcode & 0xfe;

	i->has_mem = true;
	i->base = op == 0xaa || op == 0xae || op == 0x6c ? R_DI : R_SI;
	i->seg = i->base == R_DI ? SEG_ES : SEG_DS;
	if (i->base == R_SI) {
		for (unsigned s = 0; s < SEG_COUNT; s++) {
			static const uint64_t has[SEG_COUNT] = {
				ZYDIS_ATTRIB_HAS_SEGMENT_ES, ZYDIS_ATTRIB_HAS_SEGMENT_CS, ZYDIS_ATTRIB_HAS_SEGMENT_SS,
				ZYDIS_ATTRIB_HAS_SEGMENT_DS, ZYDIS_ATTRIB_HAS_SEGMENT_FS, ZYDIS_ATTRIB_HAS_SEGMENT_GS,
			};

			if ((z->attributes & has[s]) && (i->code_bits != 64 || s >= SEG_FS))
				i->seg = s;
		}
	}
	i->nops = 2;
	i->op[0] = op == 0x6e ? port : op == 0xac || op == 0xae ? acc : mem;
	i->op[1] = op == 0x6c ? port : op == 0xaa ? acc : mem;
}

static void operands(struct insn *i, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops, unsigned n)
{
	unsigned nimm = 0;

	for (unsigned k = 0; k < n; k++) {
		const ZydisDecodedOperand *zo = &ops[k];
		struct insn_op *o = &i->op[i->nops];

		/* the writemask of an EVEX instruction is not an operand here, so that four are always enough */
		if (zo->encoding == ZYDIS_OPERAND_ENCODING_MASK)
			continue;
		if (i->nops == INSN_MAX_OPS)
			break;
		*o = (struct insn_op){.bytes = zo->size / 8};
		switch (zo->type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			reg_operand(o, zo->reg.value);
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			o->kind = OPK_MEM;
			mem_fields(i, zo);
			break;
		case ZYDIS_OPERAND_TYPE_POINTER:
			o->kind = OPK_FAR;
			i->imm[0] = zo->ptr.offset;
			i->imm[1] = zo->ptr.segment;
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			o->kind = zo->imm.is_relative ? OPK_REL : OPK_IMM;
			if (nimm < 2)
				i->imm[nimm++] = zo->imm.value.u;
			break;
		default:
			break;
		}
		i->nops++;
	}
	/* other hidden memory operands that a segment override reaches: SDM 2A "XLAT", "MASKMOVQ" */
	if (!i->has_mem && (z->mnemonic == ZYDIS_MNEMONIC_XLAT || z->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
			    z->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU || z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU)) {
		for (unsigned k = n; k < z->operand_count; k++) {
			if (ops[k].type == ZYDIS_OPERAND_TYPE_MEMORY) {
				mem_fields(i, &ops[k]);
				/* XLAT's index is AL, zero-extended: its function adds it */
				i->index = NO_REG;
				break;
			}
		}
	}
}

/* ---- encoding ---- */

static void prefixes(struct insn *i, unsigned n)
{
	uint8_t last_rep = 0;

	for (unsigned k = 0; k < n; k++) {
		uint8_t b = i->raw[k];

		if (b == 0x66)
			i->pfx66 = true;
		else if (b == 0xf2 || b == 0xf3)
			last_rep = b;
		i->pfxf2 |= b == 0xf2;
		i->pfxf3 |= b == 0xf3;
	}
	i->rep = last_rep; /* is_string() decides later whether it stays */
}

static void encoding(struct insn *i, const ZydisDecodedInstruction *z)
{
	static const uint8_t escape_bytes[4] = {0, 1, 2, 2};

	prefixes(i, z->raw.prefix_count);
	i->opcode = z->opcode;
	i->map = z->opcode_map;
	if (z->attributes & ZYDIS_ATTRIB_HAS_REX)
		i->rex = i->raw[z->raw.rex.offset];
	if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM) {
		i->modrm_off = z->raw.modrm.offset;
		i->modrm = i->raw[i->modrm_off];
	}
	if (z->attributes & ZYDIS_ATTRIB_HAS_SIB)
		i->sib_off = z->raw.sib.offset;
	if (z->raw.disp.size) {
		i->disp_off = z->raw.disp.offset;
		i->disp_len = z->raw.disp.size / 8;
	}
	if (z->raw.imm[0].size) {
		i->imm_off = z->raw.imm[0].offset;
		i->imm_len = (z->raw.imm[0].size + z->raw.imm[1].size) / 8;
		i->imm_signed = z->raw.imm[0].is_signed;
	}
	switch (z->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		i->enc = ENC_LEGACY;
		i->opcode_off = z->raw.prefix_count + escape_bytes[i->map & 3];
		break;
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		i->enc = ENC_VEX;
		i->vex_off = z->raw.vex.offset;
		i->opcode_off = z->raw.vex.offset + z->raw.vex.size;
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		i->enc = ENC_EVEX;
		i->vex_off = z->raw.evex.offset;
		i->opcode_off = z->raw.evex.offset + 4;
		break;
	default:
		i->enc = ENC_OTHER;
		i->opcode_off = z->length - 1;
		break;
	}
}

/* Operand size by prefixes alone, in bytes (SDM 1 3.6.1). */
static unsigned prefix_opsize(const struct insn *i)
{
	if (i->code_bits == 64)
		return (i->rex & 8) ? 8 : i->pfx66 ? 2 : 4;
	return (i->code_bits == 32) != i->pfx66 ? 4 : 2;
}

/* ---- flags ---- */

bool insn_is_shift(const struct insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		return true;
	default:
		return false;
	}
}

void insn_count_flags(struct insn *i)
{
	unsigned bits = i->op[0].bytes * 8, count;
	bool rotate = i->mnemonic == ZYDIS_MNEMONIC_ROL || i->mnemonic == ZYDIS_MNEMONIC_ROR ||
		      i->mnemonic == ZYDIS_MNEMONIC_RCL || i->mnemonic == ZYDIS_MNEMONIC_RCR;
	bool carry = i->mnemonic == ZYDIS_MNEMONIC_RCL || i->mnemonic == ZYDIS_MNEMONIC_RCR;
	bool dbl = i->mnemonic == ZYDIS_MNEMONIC_SHLD || i->mnemonic == ZYDIS_MNEMONIC_SHRD;
	const struct insn_op *c = &i->op[dbl ? 2 : 1];
	uint32_t all = rotate ? FL_CF | FL_OF : FL_ARITH;

	i->fl_read = carry ? FL_CF : 0;
	i->fl_write = 0;
	i->fl_undef = all;
	if (c->kind != OPK_IMM)
		return;
	count = i->imm[0] & (bits == 64 ? 63 : 31);
	if (count == 0) {
		i->fl_undef = 0;
		return;
	}
	if (count >= bits)
		return; /* 8 and 16 bits only: leave it at "may change" */
	i->fl_write = rotate ? FL_CF : FL_CF | FL_PF | FL_ZF | FL_SF;
	if (count == 1)
		i->fl_write |= FL_OF;
	i->fl_undef = all & ~i->fl_write;
}

static void flags(struct insn *i, const ZydisDecodedInstruction *z)
{
	const ZydisAccessedFlags *f = z->cpu_flags;

	if (insn_is_shift(i)) {
		insn_count_flags(i);
		return;
	}
	if (z->mnemonic == ZYDIS_MNEMONIC_SYSCALL) /* libzydis says nothing of R11 := RFLAGS (SDM 2B SYSCALL) */
		i->fl_read = FL_ARITH;
	if (!f)
		return;
	i->fl_read |= f->tested;
	i->fl_undef = f->undefined;
	i->fl_write = (f->modified | f->set_0 | f->set_1) & ~f->undefined;
	if (i->rep && (i->opcode == 0xa6 || i->opcode == 0xa7 || i->opcode == 0xae || i->opcode == 0xaf)) {
		i->fl_undef |= i->fl_write;
		i->fl_write = 0;
	}
}

/* ---- the row ---- */

static const struct isa_row *find_row(const struct insn *i, const ZydisDecodedInstruction *z)
{
	bool far = z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_CALL:
		return far ? isa_form_row(FORM_CALL_FAR) : isa_row(z->mnemonic);
	case ZYDIS_MNEMONIC_JMP:
		return far ? isa_form_row(FORM_JMP_FAR) : isa_row(z->mnemonic);
	case ZYDIS_MNEMONIC_RET:
		return far ? isa_form_row(FORM_RET_FAR) : isa_row(z->mnemonic);
	case ZYDIS_MNEMONIC_MOV:
		if (i->op[0].kind == OPK_CR || i->op[1].kind == OPK_CR)
			return isa_form_row(FORM_MOV_CR);
		if (i->op[0].kind == OPK_DR || i->op[1].kind == OPK_DR)
			return isa_form_row(FORM_MOV_DR);
		if (i->op[0].kind == OPK_SREG)
			return isa_form_row(FORM_MOV_TO_SREG);
		if (i->op[1].kind == OPK_SREG)
			return isa_form_row(FORM_MOV_FROM_SREG);
		break;
	case ZYDIS_MNEMONIC_PUSH:
		if (i->op[0].kind == OPK_SREG)
			return isa_form_row(FORM_PUSH_SREG);
		break;
	case ZYDIS_MNEMONIC_POP:
		if (i->op[0].kind == OPK_SREG)
			return isa_form_row(FORM_POP_SREG);
		break;
	case ZYDIS_MNEMONIC_IMUL:
		if (i->nops == 1 || i->op[1].kind == OPK_NONE || (i->opcode & 0xfe) == 0xf6)
			return isa_form_row(FORM_IMUL_ONE);
		break;
	case ZYDIS_MNEMONIC_BT:
		if (i->has_mem && i->op[1].kind == OPK_GPR)
			return isa_form_row(FORM_BT_BITSTRING);
		break;
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		if (i->has_mem && i->op[1].kind == OPK_GPR)
			return isa_form_row(FORM_BTX_BITSTRING);
		break;
	case ZYDIS_MNEMONIC_MOVSD:
		if (is_string(i))
			return isa_form_row(FORM_MOVSD_STRING);
		break;
	case ZYDIS_MNEMONIC_CMPSD:
		if (is_string(i))
			return isa_form_row(FORM_CMPSD_STRING);
		break;
	default:
		break;
	}
	return isa_row(z->mnemonic);
}

/* Is the instruction the same but for disp and imm[0] whatever these fields hold? */
static bool by_shape(const struct insn *i, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
	if ((i->enc != ENC_LEGACY && i->enc != ENC_VEX) || z->raw.imm[1].size || i->disp_len == 8 ||
	    (i->map == 0 && i->enc == ENC_LEGACY && (i->opcode & 0xfc) == 0xa0)) /* the last: MOV with an absolute address */
		return false;
	for (unsigned k = 0; k < z->operand_count_visible; k++)
		if (ops[k].encoding == ZYDIS_OPERAND_ENCODING_IS4 || ops[k].type == ZYDIS_OPERAND_TYPE_POINTER)
			return false;
	return true;
}

enum decode_result insn_decode(struct insn *i, const uint8_t *bytes, unsigned n, unsigned bits)
{
	const ZydisDecoder *d = bits == 64 ? &decoder64 : bits == 32 ? &decoder32 : &decoder16;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	ZydisDecoderContext ctx;
	unsigned nops;
	ZyanStatus st;

	*i = (struct insn){.base = NO_REG, .index = NO_REG, .scale = 1, .code_bits = bits, .seg = SEG_DS};
	if (n > sizeof(i->raw))
		n = sizeof(i->raw);
	st = ZydisDecoderDecodeInstruction(d, &ctx, bytes, n, &z);
	if (!ZYAN_SUCCESS(st)) {
		if (st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
			return DECODE_TOO_LONG;
		if (st == ZYDIS_STATUS_NO_MORE_DATA)
			return n == sizeof(i->raw) ? DECODE_TOO_LONG : DECODE_SHORT;
		return DECODE_UD;
	}
	nops = z.operand_count_visible;
	if (z.mnemonic == ZYDIS_MNEMONIC_XLAT || z.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
	    z.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU || z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU)
		nops = z.operand_count;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeOperands(d, &ctx, &z, ops, nops)))
		return DECODE_UD;

	i->mnemonic = z.mnemonic;
	i->len = z.length;
	for (unsigned k = 0; k < z.length; k++)
		i->raw[k] = bytes[k];
	encoding(i, &z);
	if (!is_string(i))
		i->rep = 0;
	i->lock = (z.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
	i->opsize = z.operand_width / 8;
	i->addrsize = z.address_width / 8;
	if (is_string(i))
		string_operands(i, &z);
	else
		operands(i, &z, ops, z.operand_count_visible);
	flags(i, &z);
	if (bits == 64 && z.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && z.mnemonic != ZYDIS_MNEMONIC_IRET &&
	    z.mnemonic != ZYDIS_MNEMONIC_IRETD && z.mnemonic != ZYDIS_MNEMONIC_IRETQ)
		i->stacksize = i->pfx66 && !(i->rex & 8) && z.mnemonic != ZYDIS_MNEMONIC_CALL &&
					       z.mnemonic != ZYDIS_MNEMONIC_RET
				       ? 2
				       : 8;
	else
		i->stacksize = prefix_opsize(i);
	i->row = find_row(i, &z);
	i->by_shape = by_shape(i, &z, ops);
	return DECODE_OK;
}
