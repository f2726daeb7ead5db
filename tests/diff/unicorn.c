/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libunicorn as one more opinion, on integer forms that end without a fault: it does not deliver exceptions, and its x87
 * and vector units are software with results of their own. One encoding in SAMPLE is asked, because it is slow.
 *
 * Known differences are rows of a table with their reasons; others are printed. The processor stays the judge: what differs
 * here is libunicorn's failure, not ours.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

#include "tests/diff/diff.h"

#define SAMPLE 16

struct unirun {
	uc_engine *uc;
	unsigned mode;
	uint8_t *data; /* the data pages, at all their aliases */
};

struct known {
	ZydisMnemonic mnemonic;
	const char *why;
};
static const struct known known[] = {
	{ZYDIS_MNEMONIC_TEST, "F6 /1 and F7 /1, the undocumented twins of TEST, are #UD there"},
	{ZYDIS_MNEMONIC_JMP, "no descriptor tables are set up for far jumps"},
	{ZYDIS_MNEMONIC_CALL, "no descriptor tables are set up for far calls"},
	{ZYDIS_MNEMONIC_RET, "no descriptor tables are set up for far returns"},
	{ZYDIS_MNEMONIC_NEG, "LOCK NEG computes the flags of another value"},
	{ZYDIS_MNEMONIC_POPF, "it runs at CPL 0, where IOPL and IF can be written"},
	{ZYDIS_MNEMONIC_POPFD, "it runs at CPL 0, where IOPL and IF can be written"},
	{ZYDIS_MNEMONIC_POPFQ, "it runs at CPL 0, where IOPL and IF can be written"},
	{ZYDIS_MNEMONIC_SHLD, "an address relative to RIP forgets the immediate byte behind it"},
	{ZYDIS_MNEMONIC_SHRD, "an address relative to RIP forgets the immediate byte behind it"},
	{ZYDIS_MNEMONIC_BSF, "a source of zero clears the upper half of a 32-bit destination; processors leave it"},
	{ZYDIS_MNEMONIC_BSR, "a source of zero clears the upper half of a 32-bit destination; processors leave it"},
	{ZYDIS_MNEMONIC_CMPXCHG, "a failed 32-bit compare clears the destination register's upper half; processors leave it"},
};

static const int gpr64[16] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP, UC_X86_REG_RBP,
			      UC_X86_REG_RSI, UC_X86_REG_RDI, UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,
			      UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15};
static const int gpr32[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
			     UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};

static bool map_data(struct unirun *u, uint64_t base)
{
	return uc_mem_map_ptr(u->uc, base + 4096, 8192, UC_PROT_READ | UC_PROT_WRITE, u->data + 4096) == UC_ERR_OK &&
	       uc_mem_map_ptr(u->uc, base + 3 * 4096, 4096, UC_PROT_READ, u->data + 3 * 4096) == UC_ERR_OK;
}

struct unirun *unirun_start(unsigned mode, char *why, size_t why_len)
{
	struct unirun *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->mode = mode;
	if (mode == 16) {
		snprintf(why, why_len, "libunicorn has no 16-bit protected mode of its own");
		unirun_stop(u);
		return NULL;
	}
	u->data = aligned_alloc(4096, DATA_PAGES * 4096);
	if (!u->data || uc_open(UC_ARCH_X86, mode == 64 ? UC_MODE_64 : UC_MODE_32, &u->uc) != UC_ERR_OK ||
	    uc_mem_map(u->uc, CODE_BASE, CODE_BYTES, UC_PROT_READ | UC_PROT_EXEC) != UC_ERR_OK || !map_data(u, DATA_NORMAL) ||
	    !map_data(u, DATA_LOW) || (mode == 64 && !map_data(u, DATA_HIGH))) {
		snprintf(why, why_len, "libunicorn cannot be set up");
		unirun_stop(u);
		return NULL;
	}
	return u;
}

/* Its processor model: the instructions of the first 64-bit processors. Later ones stop libunicorn 2.0 with a fatal error. */
static bool in_its_isa(const ZydisDecodedInstruction *i)
{
	switch (i->meta.isa_set) {
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_CMPXCHG16B:
		return i->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	default:
		return false;
	}
}

/* Loads segment registers, which are ours to set up. */
static bool loads_segment(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_LDS || m == ZYDIS_MNEMONIC_LES || m == ZYDIS_MNEMONIC_LFS || m == ZYDIS_MNEMONIC_LGS ||
	       m == ZYDIS_MNEMONIC_LSS || m == ZYDIS_MNEMONIC_IRET || m == ZYDIS_MNEMONIC_IRETD || m == ZYDIS_MNEMONIC_IRETQ;
}

static bool asked(const struct dcase *c)
{
	ZydisDecoder d;
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];

	if (c->vec || c->in.rflags & (FL_AC | FL_TF))
		return false;
	if (c->form != FORM_GOLDEN && (c->seed * 0x9e3779b97f4a7c15ull >> 32) % SAMPLE)
		return false;
	for (unsigned s = SEG_ES; s <= SEG_DS; s++)
		if (seg_base(c->in.seg[s]) || (s != SEG_CS && c->in.seg[s] != SEL_DATA))
			return false; /* only flat segments */
	case_decoder(&d, c->mode);
	for (unsigned at = 0; at < c->len; at += i.length) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, c->code + at, c->len - at, &i, op)) || !in_its_isa(&i) ||
		    loads_segment(i.mnemonic))
			return false;
		if (i.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_GS | ZYDIS_ATTRIB_HAS_SEGMENT_FS))
			return false; /* the bases are ours */
		for (unsigned k = 0; k < i.operand_count_visible; k++)
			if (op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			    ZydisRegisterGetClass(op[k].reg.value) == ZYDIS_REGCLASS_SEGMENT)
				return false; /* so are the selectors */
	}
	return true;
}

static void run_case(struct unirun *u, const struct dcase *c, struct dout *o)
{
	const int *reg = u->mode == 64 ? gpr64 : gpr32;
	uint64_t end = c->in.rip + c->len, flags = c->in.rflags;
	unsigned first, n = case_window_part(c, &first), nregs = u->mode == 64 ? 16 : 8;
	uint64_t at = case_window_gva(c) + first;
	uc_err err;

	/* uc_mem_write writes to read-only memory too; stray pages keep what they have */
	uc_mem_write(u->uc, at, c->in.mem + first, n);
	uc_mem_write(u->uc, c->in.rip, c->code, SLOT_BYTES);
	uc_ctl_remove_cache(u->uc, c->in.rip, c->in.rip + SLOT_BYTES);
	for (unsigned i = 0; i < nregs; i++)
		uc_reg_write(u->uc, reg[i], &c->in.gpr[i]);
	uc_reg_write(u->uc, UC_X86_REG_EFLAGS, &flags);
	err = uc_emu_start(u->uc, c->in.rip, end, 0, 64);
	memset(&o->st, 0, sizeof(o->st));
	for (unsigned i = 0; i < nregs; i++)
		uc_reg_read(u->uc, reg[i], &o->st.gpr[i]);
	uc_reg_read(u->uc, UC_X86_REG_EFLAGS, &o->st.rflags);
	uc_reg_read(u->uc, u->mode == 64 ? UC_X86_REG_RIP : UC_X86_REG_EIP, &o->st.rip);
	uc_mem_read(u->uc, at, o->st.mem + first, n);
	memcpy(o->st.fx, c->in.fx, FX_BYTES);
	memcpy(o->st.ymmh, c->in.ymmh, YMMH_BYTES);
	memcpy(o->st.seg, c->in.seg, sizeof(o->st.seg));
	o->steps = 0;
	o->ran = true;
	o->vector = err == UC_ERR_OK && o->st.rip == end ? VEC_BP : 0xff;
	o->st.rip += o->vector == VEC_BP;
	if (err != UC_ERR_OK)
		snprintf(o->text, sizeof(o->text), "%s", uc_strerror(err));
}

void unirun_batch(struct unirun *u, const struct dcase *c, unsigned count, struct dout *out)
{
	for (unsigned i = 0; i < count; i++) {
		out[i].skip = !asked(&c[i]);
		if (!out[i].skip)
			run_case(u, &c[i], &out[i]);
	}
}

const char *unirun_known(const struct dcase *c, const struct dout *want, const struct dout *got)
{
	ZydisDecoder d;
	ZydisDecodedInstruction i;

	(void)got;
	if (want->vector != VEC_BP || want->st.rip != c->in.rip + c->len + 1)
		return "faults and taken branches are not visible through its interface";
	case_decoder(&d, c->mode);
	for (unsigned at = 0; at < c->len; at += i.length) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, c->code + at, c->len - at, &i)))
			break;
		for (unsigned k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			if (known[k].mnemonic == i.mnemonic)
				return known[k].why;
	}
	return NULL;
}

void unirun_stop(struct unirun *u)
{
	if (!u)
		return;
	if (u->uc)
		uc_close(u->uc);
	free(u->data);
	free(u);
}
