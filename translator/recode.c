/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Re-encoding: the same operation, other registers, another address, always 64-bit code.
 *
 * An instruction is taken apart into the fields that its encoding gives it (ModRM.reg, ModRM.rm, VEX.vvvv, the low
 * opcode bits), each field is classified once - opcode extension, general register, byte register, something else - and
 * then the fields are put together again with new numbers. Prefixes are not copied: whichever of them carry meaning are
 * computed from the source's effective operand size and from the opcode, because 66 says "16 bits" in 32- and 64-bit
 * code, "32 bits" in 16-bit code, and is part of the opcode for most of the vector instructions (SDM 2A 2.1.1, 2.1.2).
 *
 * Registers that an instruction uses without naming them in a field (CL of a shift, DX:AX of MUL) cannot move: such an
 * instruction is recoded only under a mapping that leaves those registers where they are.
 *
 * Some encodings that 64-bit mode has not got have an equivalent there: INC/DEC 40-4F (FF /0, /1), group 82 (80), XCHG
 * with the accumulator (87 /r), and the accumulator's MOV with an absolute address (88-8B).
 */
#include "translator/recode.h"

#define BIT(r) (1u << (r))

/* What a field of the encoding names. */
enum field_kind {
	F_FIXED, /* opcode extension or no meaning: copied */
	F_GPR,   /* general register: mapped */
	F_BYTE,  /* byte register: mapped, AH..BH or SPL..DIL by the presence of REX */
	F_OTHER, /* vector, MMX, segment, mask register: keeps its number */
};

/* The new instruction in parts, before it is written. */
struct parts {
	uint8_t opcode;
	uint8_t map; /* legacy: 0-3 */
	bool pfx66, pfxf2, pfxf3, lock;
	bool w;
	bool modrm;                /* has a ModRM byte */
	bool mem;                  /* its r/m is the memory operand */
	uint8_t mod3_reg, mod3_rm; /* numbers, 0-31; mod3_rm when !mem */
	bool opreg;                /* register in the low opcode bits: mod3_rm */
	bool need_rex, no_rex;
	bool evex;
};

void recode_identity(struct recode *r)
{
	for (unsigned n = 0; n < 16; n++)
		r->gpr[n] = (uint8_t)n;
	r->mem_base = NO_REG;
	r->mem_disp = 0;
	r->mem_gs = false;
}

static bool is_in(uint8_t x, const uint8_t *list, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (list[k] == x)
			return true;
	return false;
}
#define IN(x, ...) is_in((x), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* ---- what an opcode's bits mean ---- */

/* ModRM.reg extends the opcode (SDM 2D table A-6). */
static bool reg_is_extension(unsigned map, uint8_t op, enum insn_enc enc)
{
	if (enc != ENC_LEGACY) {
		if (map == 1)
			return IN(op, 0x71, 0x72, 0x73, 0xae);
		return map == 2 && op == 0xf3;
	}
	if (map == 0)
		return IN(op, 0x80, 0x81, 0x82, 0x83, 0x8f, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7,
			  0xfe, 0xff) ||
		       (op >= 0xd8 && op <= 0xdf);
	if (map == 1)
		return IN(op, 0x00, 0x01, 0x0d, 0x71, 0x72, 0x73, 0xae, 0xba, 0xc7) || (op >= 0x18 && op <= 0x1f) ||
		       (op >= 0x90 && op <= 0x9f);
	return false;
}

/* Byte-sized general-register operands. */
static bool rm_is_byte(const struct insn *i)
{
	uint8_t op = i->opcode;

	if (i->enc != ENC_LEGACY)
		return false;
	if (i->map == 0)
		return (op < 0x40 && ((op & 7) == 0 || (op & 7) == 2)) ||
		       IN(op, 0x80, 0x82, 0x84, 0x86, 0x88, 0x8a, 0xc0, 0xc6, 0xd0, 0xd2, 0xf6, 0xfe);
	if (i->map == 1)
		return (op >= 0x90 && op <= 0x9f) || IN(op, 0xb0, 0xb6, 0xbe, 0xc0);
	return i->map == 2 && op == 0xf0 && i->pfxf2; /* CRC32 r, r/m8 */
}

static bool reg_is_byte(const struct insn *i)
{
	uint8_t op = i->opcode;

	if (i->enc != ENC_LEGACY)
		return false;
	if (i->map == 0)
		return (op < 0x40 && ((op & 7) == 0 || (op & 7) == 2)) || IN(op, 0x84, 0x86, 0x88, 0x8a);
	return i->map == 1 && IN(op, 0xb0, 0xc0);
}

/* Of an instruction with a general register and one of another kind in its ModRM: is the general one in ModRM.reg?
 * MOVMSKPS, CVT(T)SS2SI, PEXTRW 0F C5, PMOVMSKB, KMOV r,k, VCVT(T)SS2USI; everywhere else it is in r/m. */
static bool mixed_gpr_in_reg(unsigned map, uint8_t op, enum insn_enc enc)
{
	if (map != 1)
		return false;
	return IN(op, 0x2c, 0x2d, 0x50, 0xc5, 0xd7) || (enc == ENC_VEX && op == 0x93) ||
	       (enc == ENC_EVEX && (op == 0x78 || op == 0x79));
}

/* 66/F2/F3 belong to the opcode, and W is the source's own; otherwise 66 and W say the operand size. */
static bool prefixes_are_opcode(const struct insn *i)
{
	uint8_t op = i->opcode;

	switch (i->map) {
	case 1:
		return (op >= 0x0d && op <= 0x18) || (op >= 0x28 && op <= 0x2f) || (op >= 0x50 && op <= 0x7f) ||
		       IN(op, 0xae, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6) || op >= 0xd0;
	case 2:
		return op != 0xf0 && op != 0xf1;
	case 3:
		return true;
	default:
		return false;
	}
}

/* General registers used without being named in a field (mask of 1 << enum x86_gpr). */
static uint32_t implicit_gprs(const struct insn *i)
{
	uint8_t op = i->opcode;
	unsigned ext = (i->modrm >> 3) & 7;
	bool reg_form = i->modrm_off && i->modrm >= 0xc0;

	if (i->enc == ENC_VEX) {
		if (i->map == 2)
			return op == 0xf6 ? BIT(R_DX) : 0; /* MULX */
		if (i->map != 3)
			return 0;
	}
	if (i->enc == ENC_EVEX)
		return 0;
	switch (i->map) {
	case 0:
		if (op < 0x40 && (op & 6) == 4)
			return BIT(R_AX);
		switch (op) {
		case 0x50 ... 0x5f:
		case 0x68:
		case 0x6a:
		case 0x8f:
		case 0x9c:
		case 0x9d:
			return BIT(R_SP);
		case 0x98:
		case 0x9e:
		case 0x9f:
		case 0xa8:
		case 0xa9:
			return BIT(R_AX);
		case 0x99:
			return BIT(R_AX) | BIT(R_DX);
		case 0xc8:
		case 0xc9:
			return BIT(R_SP) | BIT(R_BP);
		case 0xd2:
		case 0xd3:
			return BIT(R_CX);
		case 0xf6:
			return ext >= 4 ? BIT(R_AX) : 0;
		case 0xf7:
			return ext >= 4 ? BIT(R_AX) | BIT(R_DX) : 0;
		case 0xdf:
			return i->modrm == 0xe0 ? BIT(R_AX) : 0; /* FNSTSW AX */
		case 0xff:
			return ext == 6 ? BIT(R_SP) : 0;
		default:
			return 0;
		}
	case 1:
		switch (op) {
		case 0x30 ... 0x37:
		case 0xa2:
			return BIT(R_AX) | BIT(R_BX) | BIT(R_CX) | BIT(R_DX);
		case 0xa0:
		case 0xa1:
		case 0xa8:
		case 0xa9:
			return BIT(R_SP);
		case 0xa5:
		case 0xad:
			return BIT(R_CX);
		case 0xae: /* XSAVE, XRSTOR, XSAVEOPT; TPAUSE, UMWAIT */
			return (!reg_form && ext >= 4 && ext <= 6) || (reg_form && ext == 6 && (i->pfx66 || i->pfxf2))
				       ? BIT(R_AX) | BIT(R_DX)
				       : 0;
		case 0xb0:
		case 0xb1:
			return BIT(R_AX);
		case 0xc7: /* CMPXCHG8B; XRSTORS, XSAVEC, XSAVES */
			if (reg_form)
				return 0;
			return ext == 1 ? BIT(R_AX) | BIT(R_BX) | BIT(R_CX) | BIT(R_DX) : BIT(R_AX) | BIT(R_DX);
		default:
			return 0;
		}
	case 3:
		switch (op) {
		case 0x60:
		case 0x61: /* PCMPESTRM, PCMPESTRI */
			return BIT(R_AX) | BIT(R_DX) | (op == 0x61 ? BIT(R_CX) : 0);
		case 0x63: /* PCMPISTRI */
			return BIT(R_CX);
		default:
			return 0;
		}
	default:
		return 0;
	}
}

/* Control transfers, string and port instructions, implicit memory operands, encodings without 64-bit counterpart. */
static bool not_recodable(const struct insn *i)
{
	uint8_t op = i->opcode;
	unsigned ext = (i->modrm >> 3) & 7;
	bool reg_form = i->modrm_off && i->modrm >= 0xc0;

	if (i->enc == ENC_OTHER || i->rep)
		return true;
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++)
		if (i->op[k].kind == OPK_REL || i->op[k].kind == OPK_FAR)
			return true;
	if (i->enc != ENC_LEGACY) {
		if (i->map == 1) /* VMASKMOVDQU: memory at RDI; KCONCATH, KCONCATL of Knights Corner */
			return i->enc == ENC_VEX && IN(op, 0xf7, 0x95, 0x97);
		/* VSIB memory operands */
		return i->map == 2 &&
		       ((op >= 0x90 && op <= 0x93) ||
			(i->enc == ENC_EVEX && ((op >= 0xa0 && op <= 0xa3) || op == 0xc6 || op == 0xc7)));
	}
	switch (i->map) {
	case 0:
		if (op >= 0x40 && op <= 0x4f)
			return i->code_bits == 64;
		if (op < 0x40 && (op & 6) == 6)
			return true;
		/* one push or pop moves 8 or 2 bytes in 64-bit code */
		if ((op >= 0x50 && op <= 0x5f) || IN(op, 0x68, 0x6a, 0x8f, 0x9c, 0x9d, 0xc8, 0xc9) ||
		    (op == 0xff && ext == 6))
			return i->code_bits != 64 && i->stacksize != 2;
		if (op == 0x63)
			return i->code_bits != 64; /* ARPL */
		/* FLDENV, FNSTENV, FRSTOR, FNSAVE: layout and size of the image depend on mode and operand size */
		if ((op == 0xd9 || op == 0xdd) && !reg_form && (ext == 4 || ext == 6))
			return true;
		if ((op == 0xc6 || op == 0xc7) && ext == 7) /* XABORT, XBEGIN */
			return true;
		return IN(op, 0x60, 0x61, 0x62, 0x6c, 0x6d, 0x6e, 0x6f, 0x9a, 0xc4, 0xc5, 0xce, 0xd4, 0xd5, 0xd6, 0xd7,
			  0xf4) ||
		       (op >= 0xa4 && op <= 0xa7) || (op >= 0xaa && op <= 0xaf) || (op >= 0xe0 && op <= 0xef) ||
		       IN(op, 0xc2, 0xc3, 0xca, 0xcb, 0xcc, 0xcd, 0xcf) || (op == 0xff && ext >= 2 && ext <= 5);
	case 1:
		if (op == 0x01)
			return ext != 4 &&
			       ext != 6; /* SMSW, LMSW only: descriptor tables have their size from the mode */
		if (op == 0xc7)          /* VMX; RDPID, whose register has the width of the mode */
			return reg_form ? ext == 7 && i->pfxf3 && i->code_bits != 64 : ext >= 6;
		if (op == 0xae) /* UMONITOR: a register holds an address of the mode's size */
			return reg_form && ext == 6 && i->pfxf3;
		if (op == 0x78 || op == 0x79)
			return !i->pfx66 && !i->pfxf2; /* VMREAD, VMWRITE */
		return IN(op, 0x05, 0x07, 0x0f, 0x34, 0x35, 0x37, 0xa6, 0xa7, 0xaa) || (op >= 0x20 && op <= 0x27) ||
		       op == 0xf7; /* MASKMOVQ, MASKMOVDQU: memory at RDI */
	case 2: /* INVEPT, INVVPID, INVPCID; key locker; MOVDIR64B: a register holds the destination's address */
		return (op >= 0x80 && op <= 0x82) || (IN(op, 0xd8, 0xdc, 0xdd, 0xde, 0xdf) && i->pfxf3) ||
		       IN(op, 0xf8, 0xfa, 0xfb);
	case 3:
		return op == 0xf0; /* HRESET */
	default:
		return false;
	}
}

/* ---- fields ---- */

static void operand_kinds(const struct insn *i, bool *gpr, bool *other)
{
	*gpr = *other = false;
	for (unsigned k = 0; k < i->nops && k < INSN_MAX_OPS; k++) {
		switch (i->op[k].kind) {
		case OPK_GPR:
			*gpr = true;
			break;
		case OPK_MEM:
		case OPK_IMM:
		case OPK_REL:
		case OPK_FAR:
			break;
		default:
			*other = true;
		}
	}
}

/* A field's new number. false: not expressible. */
static bool map_field(struct parts *p, const struct recode *r, enum field_kind kind, unsigned num, bool had_rex,
		      uint8_t *out)
{
	switch (kind) {
	case F_FIXED:
	case F_OTHER:
		*out = (uint8_t)num;
		return true;
	case F_GPR:
		*out = r->gpr[num & 15];
		return *out < 16;
	case F_BYTE:
		if (!had_rex && num >= 4 && num <= 7) { /* AH CH DH BH */
			uint8_t host = r->gpr[num - 4];
			if (host > R_BX)
				return false;
			p->no_rex = true;
			*out = (uint8_t)(host + 4);
			return true;
		}
		*out = r->gpr[num & 15];
		if (*out >= 4)
			p->need_rex = true; /* SPL BPL SIL DIL, or an extended register */
		return *out < 16;
	}
	return false;
}

/* ---- writing ---- */

struct out {
	uint8_t b[24];
	unsigned n;
};

static void put(struct out *o, unsigned byte)
{
	if (o->n < sizeof(o->b))
		o->b[o->n] = (uint8_t)byte;
	o->n++;
}

static void put_modrm(struct out *o, const struct parts *p, const struct recode *r)
{
	unsigned reg = (p->mod3_reg & 7u) << 3, base = r->mem_base & 7u;
	bool disp8 = false, disp32 = false;

	if (!p->mem) {
		put(o, 0xc0 | reg | (p->mod3_rm & 7u));
		return;
	}
	if (r->mem_gs) {
		/* ModRM 00 r/m 100, SIB without base and index: disp32 alone (00 101 is RIP-relative in 64-bit mode) */
		put(o, reg | 4);
		put(o, 0x25);
		disp32 = true;
	} else {
		if (r->mem_disp == 0 && base != 5)
			;
		else if (r->mem_disp >= -128 && r->mem_disp <= 127 && (!p->evex || r->mem_disp == 0))
			disp8 = true; /* EVEX scales disp8: only a zero means the same for every tuple */
		else
			disp32 = true;
		put(o, (disp8 ? 0x40u : disp32 ? 0x80u : 0u) | reg | base);
		if (base == 4)
			put(o, 0x24);
	}
	for (unsigned k = 0; k < (disp8 ? 1u : disp32 ? 4u : 0u); k++)
		put(o, (uint32_t)r->mem_disp >> (8 * k));
}

static void put_opcode(struct out *o, const struct parts *p)
{
	if (p->map)
		put(o, 0x0f);
	if (p->map == 2)
		put(o, 0x38);
	if (p->map == 3)
		put(o, 0x3a);
	put(o, p->opreg ? (p->opcode & 0xf8u) | (p->mod3_rm & 7u) : p->opcode);
}

static bool put_imm(struct out *o, const struct insn *i, uint8_t mask)
{
	if (i->imm_len > 8 || i->imm_off + i->imm_len > sizeof(i->raw))
		return false;
	for (unsigned k = 0; k < i->imm_len; k++)
		put(o, i->raw[i->imm_off + k] & mask);
	return true;
}

static bool finish(struct emit *e, const struct out *o)
{
	if (o->n > 15)
		return false;
	emit_bytes(e, o->b, o->n);
	return true;
}

/* The last of F2 and F3 in front of the opcode is the one that counts. */
static uint8_t last_rep_prefix(const struct insn *i)
{
	uint8_t last = 0;

	for (unsigned k = 0; k < i->opcode_off && k < sizeof(i->raw); k++)
		if (i->raw[k] == 0xf2 || i->raw[k] == 0xf3)
			last = i->raw[k];
	return last;
}

static bool base_ok(const struct recode *r)
{
	return r->mem_gs || r->mem_base < 16;
}

/* ---- legacy encodings ---- */

static bool recode_legacy(struct emit *e, const struct insn *i, const struct recode *r)
{
	struct parts p = {.opcode = i->opcode, .map = i->map, .lock = i->lock};
	uint8_t op = i->opcode, rep = last_rep_prefix(i);
	unsigned rexr = i->rex & 4 ? 8 : 0, rexb = i->rex & 1 ? 8 : 0;
	bool had_rex = i->rex != 0, other, gpr, fixed_imm = false;
	struct out o = {.n = 0};

	if (prefixes_are_opcode(i)) {
		p.pfxf2 = rep == 0xf2;
		p.pfxf3 = rep == 0xf3;
		p.pfx66 = i->pfx66 && !rep;
		p.w = (i->rex & 8) != 0;
	} else {
		bool small = i->code_bits == 16 ? !i->pfx66 : i->pfx66;
		p.w = (i->rex & 8) != 0;
		p.pfx66 = small && !p.w;
		if (p.map == 1 && op == 0xc7 && i->modrm < 0xc0)
			p.pfx66 = false; /* 66 makes another instruction of it */
		if (p.map == 0 && op >= 0xd8 && op <= 0xdf)
			p.pfx66 = p.w = false;
		if (p.map == 1 && IN(op, 0x01, 0x09, 0x1e, 0xb8, 0xbc, 0xbd, 0xc7))
			p.pfxf3 = rep == 0xf3;
		if (p.map == 2)
			p.pfxf2 = rep == 0xf2;
	}
	operand_kinds(i, &gpr, &other);

	if (p.map == 0 && op == 0x90 && (!rexb || rep == 0xf3)) {
		p.pfxf3 = rep == 0xf3; /* NOP, PAUSE */
		p.pfx66 = p.w = false;
	} else if (p.map == 0 && op >= 0x90 && op <= 0x97) {
		p.opcode = 0x87;
		p.modrm = true;
		if (!map_field(&p, r, F_GPR, R_AX, had_rex, &p.mod3_reg) ||
		    !map_field(&p, r, F_GPR, (op & 7) | rexb, had_rex, &p.mod3_rm))
			return false;
	} else if (p.map == 0 && op >= 0x40 && op <= 0x4f) {
		p.opcode = 0xff;
		p.modrm = true;
		p.mod3_reg = op >= 0x48;
		if (!map_field(&p, r, F_GPR, op & 7, false, &p.mod3_rm))
			return false;
	} else if (p.map == 0 && op >= 0xa0 && op <= 0xa3) {
		/* moffs -> 8A 8B 88 89 */
		p.opcode = (uint8_t)((op & 2 ? 0x88 : 0x8a) | (op & 1));
		p.modrm = p.mem = fixed_imm = true;
		if (!map_field(&p, r, op & 1 ? F_GPR : F_BYTE, R_AX, had_rex, &p.mod3_reg))
			return false;
	} else if ((p.map == 0 && ((op >= 0x50 && op <= 0x5f) || (op >= 0xb0 && op <= 0xbf))) ||
		   (p.map == 1 && op >= 0xc8 && op <= 0xcf)) {
		p.opreg = true;
		if (!map_field(&p, r, p.map == 0 && op >= 0xb0 && op <= 0xb7 ? F_BYTE : F_GPR, (op & 7) | rexb, had_rex,
			       &p.mod3_rm))
			return false;
	} else if (i->modrm_off) {
		enum field_kind reg = F_FIXED, rm = F_FIXED;
		bool hint_nop = p.map == 1 && ((op >= 0x18 && op <= 0x1f) || op == 0x0d);
		unsigned n_reg = (i->modrm >> 3) & 7, n_rm = i->modrm & 7;

		p.modrm = true;
		p.mem = i->modrm < 0xc0;
		if (!reg_is_extension(p.map, op, ENC_LEGACY)) {
			n_reg |= rexr;
			reg = F_OTHER;
			if (gpr && (!other || mixed_gpr_in_reg(p.map, op, ENC_LEGACY)))
				reg = reg_is_byte(i) ? F_BYTE : F_GPR;
		}
		if (!p.mem && !hint_nop && !(p.map == 0 && op >= 0xd8 && op <= 0xdf)) {
			n_rm |= rexb;
			rm = F_OTHER;
			if (gpr && (!other || !mixed_gpr_in_reg(p.map, op, ENC_LEGACY)))
				rm = rm_is_byte(i) ? F_BYTE : F_GPR;
		}
		/* an XMM or MMX instruction with a visible accumulator has no other general register in its ModRM */
		if (!map_field(&p, r, reg, n_reg, had_rex, &p.mod3_reg) ||
		    (!p.mem && !map_field(&p, r, rm, n_rm, had_rex, &p.mod3_rm)))
			return false;
		if (p.map == 0 && op == 0x82)
			p.opcode = 0x80;
	}
	if (p.mem && !base_ok(r))
		return false;

	unsigned rex = (p.w ? 8u : 0) | (p.mod3_reg & 8 ? 4u : 0);
	if (p.mem)
		rex |= !r->mem_gs && (r->mem_base & 8) ? 1u : 0;
	else
		rex |= p.mod3_rm & 8 ? 1u : 0;
	if ((rex || p.need_rex) && p.no_rex)
		return false;

	if (p.lock)
		put(&o, 0xf0);
	if (p.mem && r->mem_gs)
		put(&o, 0x65);
	if (p.pfx66)
		put(&o, 0x66);
	if (p.pfxf2)
		put(&o, 0xf2);
	if (p.pfxf3)
		put(&o, 0xf3);
	if (rex || p.need_rex)
		put(&o, 0x40 | rex);
	put_opcode(&o, &p);
	if (p.modrm)
		put_modrm(&o, &p, r);
	if (!fixed_imm && !put_imm(&o, i, 0xff))
		return false;
	return finish(e, &o);
}

/* ---- VEX and EVEX ---- */

/* W chooses the size of a general register or memory operand and is ignored outside 64-bit mode (SDM 2A 2.3.5.3). */
static bool vex_w_is_size(unsigned map, uint8_t op, unsigned pp, bool gpr)
{
	return gpr || (map == 1 && pp >= 2 && (op == 0x78 || op == 0x79 || op == 0x7b)) ||
	       (map == 1 && (op == 0x2a || op == 0x2c || op == 0x2d || op == 0x6e || (op == 0x7e && pp == 1))) ||
	       (map == 3 && (op == 0x16 || op == 0x22));
}

static bool recode_vex(struct emit *e, const struct insn *i, const struct recode *r)
{
	const uint8_t *v = i->raw + i->vex_off;
	bool three = v[0] == 0xc4, gpr, other, long_code = i->code_bits == 64;
	unsigned len = three ? 3 : 2, last = v[len - 1];
	struct parts p = {.opcode = v[len]};
	unsigned rr = v[1] & 0x80 ? 0 : 8, rb = three && !(v[1] & 0x20) ? 8 : 0;
	unsigned map = three ? v[1] & 31u : 1, vvvv = (~last >> 3) & 15, l = (last >> 2) & 1, pp = last & 3;
	uint8_t imm_mask = 0xff;
	struct out o = {.n = 0};

	operand_kinds(i, &gpr, &other);
	p.w = three && (last & 0x80);
	if (!long_code) {
		rr = rb = 0;
		vvvv &= 7;
		if (vex_w_is_size(map, p.opcode, pp, gpr))
			p.w = false;
		/* the fourth register is imm8[7:4]; bit 7 is ignored here, but not in 64-bit mode */
		if (map == 3 && i->imm_len == 1 &&
		    ((p.opcode >= 0x48 && p.opcode <= 0x4c) || (p.opcode >= 0x5c && p.opcode <= 0x5f) ||
		     (p.opcode >= 0x68 && p.opcode <= 0x6f) || (p.opcode >= 0x78 && p.opcode <= 0x7f)))
			imm_mask = 0x7f;
	}
	if (i->modrm_off) {
		bool in_reg = mixed_gpr_in_reg(map, p.opcode, ENC_VEX);
		enum field_kind reg = F_OTHER, rm = F_OTHER;
		unsigned n_reg = (i->modrm >> 3) & 7, n_rm = i->modrm & 7;
		uint8_t new_vvvv;

		p.modrm = true;
		p.mem = i->modrm < 0xc0;
		if (reg_is_extension(map, p.opcode, ENC_VEX))
			reg = F_FIXED;
		else {
			n_reg |= rr;
			if (gpr && (!other || in_reg))
				reg = F_GPR;
		}
		n_rm |= rb;
		if (gpr && (!other || !in_reg))
			rm = F_GPR;
		if (!map_field(&p, r, reg, n_reg, false, &p.mod3_reg) ||
		    (!p.mem && !map_field(&p, r, rm, n_rm, false, &p.mod3_rm)))
			return false;
		/* BMI: vvvv names a general register in map 2; RORX (map 3) and the conversions of map 1 leave it
		 * unused */
		if (gpr && !other && map == 2) {
			if (!map_field(&p, r, F_GPR, vvvv, false, &new_vvvv))
				return false;
			vvvv = new_vvvv;
		}
	}
	if (p.mem && !base_ok(r))
		return false;

	bool x_r = p.mod3_reg & 8, x_b = p.mem ? !r->mem_gs && (r->mem_base & 8) : (p.mod3_rm & 8) != 0;
	/* vvvv that names nothing must be 1111b, which is register number 0 in the complement that we keep */
	unsigned tail = ((~vvvv & 15) << 3) | (l << 2) | pp;

	if (p.mem && r->mem_gs)
		put(&o, 0x65);
	if (!x_b && !p.w && map == 1) {
		put(&o, 0xc5);
		put(&o, (x_r ? 0 : 0x80u) | tail);
	} else {
		put(&o, 0xc4);
		put(&o, (x_r ? 0 : 0x80u) | 0x40 | (x_b ? 0 : 0x20u) | map);
		put(&o, (p.w ? 0x80u : 0) | tail);
	}
	put(&o, p.opcode);
	if (p.modrm)
		put_modrm(&o, &p, r);
	return put_imm(&o, i, imm_mask) && finish(e, &o);
}

static bool recode_evex(struct emit *e, const struct insn *i, const struct recode *r)
{
	const uint8_t *v = i->raw + i->vex_off;
	struct parts p = {.opcode = v[4], .evex = true, .modrm = true};
	unsigned map = v[1] & 7u, n_reg, n_rm;
	bool gpr, other, in_reg, long_code = i->code_bits == 64;
	uint8_t p0 = v[1], p1 = v[2], p2 = v[3];
	enum field_kind reg = F_OTHER, rm = F_OTHER;
	struct out o = {.n = 0};

	if (!i->modrm_off)
		return false;
	operand_kinds(i, &gpr, &other);
	in_reg = mixed_gpr_in_reg(map, p.opcode, ENC_EVEX);
	if (!long_code) {
		p0 |= 0xf0; /* eight registers of each kind */
		p1 |= 0x40;
		p2 |= 0x08;
		if (vex_w_is_size(map, p.opcode, p1 & 3, gpr))
			p1 &= 0x7f;
	}
	p.mem = i->modrm < 0xc0;
	n_reg = ((i->modrm >> 3) & 7u) | (p0 & 0x80 ? 0 : 8u) | (p0 & 0x10 ? 0 : 16u);
	n_rm = (i->modrm & 7u) | (p0 & 0x20 ? 0 : 8u) | (p0 & 0x40 ? 0 : 16u);
	if (reg_is_extension(map, p.opcode, ENC_EVEX)) {
		reg = F_FIXED;
		n_reg &= 7;
	} else if (gpr && (!other || in_reg)) {
		reg = F_GPR;
	}
	if (gpr && (!other || !in_reg))
		rm = F_GPR;
	if (!map_field(&p, r, reg, n_reg, false, &p.mod3_reg) ||
	    (!p.mem && !map_field(&p, r, rm, n_rm, false, &p.mod3_rm)))
		return false;
	if (p.mem) {
		if (!base_ok(r))
			return false;
		p.mod3_rm = r->mem_gs ? 0 : r->mem_base;
	}
	p0 = (uint8_t)(map | (p.mod3_reg & 8 ? 0 : 0x80) | (p.mod3_rm & 16 ? 0 : 0x40) | (p.mod3_rm & 8 ? 0 : 0x20) |
		       (p.mod3_reg & 16 ? 0 : 0x10));
	if (p.mem && r->mem_gs)
		put(&o, 0x65);
	put(&o, 0x62);
	put(&o, p0);
	put(&o, p1);
	put(&o, p2);
	put(&o, p.opcode);
	put_modrm(&o, &p, r);
	return put_imm(&o, i, 0xff) && finish(e, &o);
}

bool recode_insn(struct emit *e, const struct insn *i, const struct recode *r)
{
	uint32_t stay;

	if (not_recodable(i))
		return false;
	stay = implicit_gprs(i);
	for (unsigned n = 0; n < 16; n++)
		if ((stay & BIT(n)) && r->gpr[n] != n)
			return false;
	switch (i->enc) {
	case ENC_LEGACY:
		return recode_legacy(e, i, r);
	case ENC_VEX:
		return i->vex_off < 12 && recode_vex(e, i, r);
	case ENC_EVEX:
		return i->vex_off < 10 && recode_evex(e, i, r);
	default:
		return false;
	}
}
