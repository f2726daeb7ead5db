/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * translator/recode.c against libzydis and against the processor.
 *
 * 1. Every opcode of every map, with and without prefixes, in 16-, 32- and 64-bit code, random ModRM and immediates, is
 *    decoded, re-encoded under random register permutations and memory forms, and decoded again: mnemonic, operand
 * kinds, sizes, mapped registers, immediates must match; a register that is used implicitly must not have moved.
 * 2. Register and memory forms of integer, BMI, SSE and AVX instructions run on the processor, original against
 * recoded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <Zydis/Zydis.h>

#include "engine/exec.h"
#include "engine/status.h"
#include "translator/recode.h"

/* For a link without the program's own table: the rows' functions reach the whole machine. */
extern const struct exec_ops *const exec_paths[PATH_COUNT] __attribute__((weak));
const struct exec_ops *const exec_paths[PATH_COUNT] = {NULL};

static unsigned passed, failed;

static uint64_t rng_state = 0x9e3779b97f4a7c15ull;
static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static void hex(char *out, const uint8_t *b, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		sprintf(out + 2 * k, "%02x", b[k]);
	out[2 * n] = 0;
}

struct dec {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

static bool decode(struct dec *d, const uint8_t *b, unsigned n, unsigned bits)
{
	ZydisDecoder dec;

	ZydisDecoderInit(&dec,
			 bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
			 : bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32
				      : ZYDIS_MACHINE_MODE_LEGACY_16,
			 bits == 64   ? ZYDIS_STACK_WIDTH_64
			 : bits == 32 ? ZYDIS_STACK_WIDTH_32
				      : ZYDIS_STACK_WIDTH_16);
	ZydisDecoderEnableMode(&dec, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(&dec, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(&dec, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(&dec, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, b, n, &d->z, d->op));
}

/* Class and number of a register; AH..BH are class 100. */
static void reg_id(ZydisRegister r, unsigned *cls, unsigned *num)
{
	*cls = ZydisRegisterGetClass(r);
	*num = (unsigned)ZydisRegisterGetId(r);
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_R15B) {
		*num = r - ZYDIS_REGISTER_AL;
		if (*num >= 4 && *num < 8) {
			*cls = 100;
			*num -= 4;
		} else if (*num >= 8) {
			*num -= 4;
		}
	}
}

static bool is_gpr_class(unsigned cls)
{
	return cls == ZYDIS_REGCLASS_GPR8 || cls == ZYDIS_REGCLASS_GPR16 || cls == ZYDIS_REGCLASS_GPR32 ||
	       cls == ZYDIS_REGCLASS_GPR64 || cls == 100;
}

static const char *compare(const struct dec *a, const struct dec *b, const struct recode *r)
{
	if (a->z.mnemonic != b->z.mnemonic)
		return "mnemonic";
	if (a->z.operand_count_visible != b->z.operand_count_visible)
		return "operand count";
	if ((a->z.attributes ^ b->z.attributes) & ZYDIS_ATTRIB_HAS_LOCK)
		return "LOCK";
	if (a->z.mnemonic == ZYDIS_MNEMONIC_NOP)
		return NULL; /* its operands mean nothing */
	for (unsigned k = 0; k < a->z.operand_count; k++) {
		const ZydisDecodedOperand *x = &a->op[k], *y = &b->op[k];
		unsigned cx, nx, cy, ny;

		if (k >= a->z.operand_count_visible) {
			if (x->type == ZYDIS_OPERAND_TYPE_REGISTER) {
				reg_id(x->reg.value, &cx, &nx);
				if (is_gpr_class(cx) && nx < 16 && r->gpr[nx] != nx)
					return "hidden register moved";
			}
			continue;
		}
		if (x->type != y->type)
			return "operand type";
		if (x->size != y->size && a->z.mnemonic != ZYDIS_MNEMONIC_LEA)
			return "operand size";
		switch (x->type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			reg_id(x->reg.value, &cx, &nx);
			reg_id(y->reg.value, &cy, &ny);
			if (cx != cy)
				return "register class";
			if (is_gpr_class(cx) && nx < 16)
				nx = r->gpr[nx];
			if (nx != ny)
				return "register number";
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			if (x->imm.value.u != y->imm.value.u)
				return "immediate";
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY: {
			int64_t disp = y->mem.disp.has_displacement ? y->mem.disp.value : 0;
			if (disp != r->mem_disp)
				return "displacement";
			if (y->mem.index != ZYDIS_REGISTER_NONE)
				return "index";
			if (r->mem_gs ? y->mem.segment != ZYDIS_REGISTER_GS || y->mem.base != ZYDIS_REGISTER_NONE
				      : y->mem.segment == ZYDIS_REGISTER_GS ||
						y->mem.base != (ZydisRegister)(ZYDIS_REGISTER_RAX + r->mem_base))
				return "memory base";
			break;
		}
		default:
			break;
		}
	}
	return NULL;
}

static void random_map(struct recode *r, unsigned kind)
{
	recode_identity(r);
	if (kind >= 1) {
		for (unsigned n = 15; n > 0; n--) {
			unsigned k = rng() % (n + 1);
			uint8_t t = r->gpr[n];
			r->gpr[n] = r->gpr[k];
			r->gpr[k] = t;
		}
	}
	switch (rng() % 4) {
	case 0:
		r->mem_gs = true;
		r->mem_disp = (int32_t)(rng() & 0x7fffffff);
		break;
	case 1:
		r->mem_base = rng() & 15;
		r->mem_disp = 0;
		break;
	case 2:
		r->mem_base = rng() & 15;
		r->mem_disp = (int8_t)rng();
		break;
	default:
		r->mem_base = rng() & 15;
		r->mem_disp = (int32_t)rng();
	}
}

static uint64_t recoded_count, refused_count;

static void check_one(const uint8_t *bytes, unsigned bits)
{
	struct insn i;
	struct dec a, b;

	if (insn_decode(&i, bytes, 15, bits) != DECODE_OK || !decode(&a, bytes, 15, bits))
		return;
	for (unsigned t = 0; t < 3; t++) {
		uint8_t buf[32];
		struct recode r;
		struct emit e;
		const char *why;
		unsigned n;

		random_map(&r, t);
		if (a.z.mnemonic == ZYDIS_MNEMONIC_LEA)
			r.mem_gs = false; /* no segment in an address that is not accessed */
		emit_init(&e, buf, sizeof(buf));
		if (!recode_insn(&e, &i, &r)) {
			refused_count++;
			if (e.p != e.start) {
				printf("FAIL refused, but bytes were emitted\n");
				failed++;
			}
			continue;
		}
		recoded_count++;
		n = (unsigned)(e.p - e.start);
		if (e.overflow)
			why = "overflow";
		else if (!decode(&b, buf, n, 64))
			why = "does not decode";
		else if (b.z.length != n)
			why = "length";
		else
			why = compare(&a, &b, &r);
		if (!why) {
			passed++;
			continue;
		}
		failed++;
		if (failed < 60) {
			char ha[40], hb[80];
			hex(ha, bytes, a.z.length);
			hex(hb, buf, n);
			printf("FAIL %s: %u-bit %s (%s) -> %s (%s)\n", why, bits, ha,
			       ZydisMnemonicGetString(a.z.mnemonic), hb,
			       why[0] == 'd' ? "?" : ZydisMnemonicGetString(b.z.mnemonic));
		}
	}
}

static void fill(uint8_t *b, unsigned from)
{
	for (unsigned k = from; k < 15; k++)
		b[k] = (uint8_t)rng();
}

static void sweep_legacy(unsigned bits, unsigned rounds)
{
	static const uint8_t prefix[][3] = {{0},          {0x66}, {0xf2}, {0xf3},       {0xf0},      {0x66, 0xf2},
					    {0x66, 0xf3}, {0x67}, {0x65}, {0x2e, 0x66}, {0xf0, 0x66}};

	for (unsigned map = 0; map < 4; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned p = 0; p < ARRAY_LEN(prefix); p++)
				for (unsigned t = 0; t < rounds; t++) {
					uint8_t b[15];
					unsigned n = 0;

					for (unsigned k = 0; k < 3 && prefix[p][k]; k++)
						b[n++] = prefix[p][k];
					if (bits == 64 && (t & 1))
						b[n++] = 0x40 | (rng() & 15);
					if (map)
						b[n++] = 0x0f;
					if (map == 2)
						b[n++] = 0x38;
					if (map == 3)
						b[n++] = 0x3a;
					b[n++] = (uint8_t)op;
					fill(b, n);
					if (t & 2)
						b[n] |= 0xc0;
					check_one(b, bits);
				}
}

static void sweep_vex(unsigned bits, unsigned rounds)
{
	for (unsigned map = 1; map < 4; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned t = 0; t < rounds; t++) {
				uint8_t b[15];
				unsigned n = 0;

				if (map == 1 && (t & 1)) {
					b[n++] = 0xc5;
				} else {
					b[n++] = 0xc4;
					b[n++] = (uint8_t)((rng() & 0xe0) | map);
				}
				if (bits != 64)
					b[1] |= 0xc0;
				fill(b, n);
				if (t & 2)
					b[n] |= 0x78;
				b[n + 1] = (uint8_t)op;
				if (t & 4)
					b[n + 2] |= 0xc0;
				check_one(b, bits);
			}
}

static void sweep_evex(unsigned bits, unsigned rounds)
{
	for (unsigned map = 1; map < 4; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned t = 0; t < rounds; t++) {
				uint8_t b[15];

				b[0] = 0x62;
				b[1] = (uint8_t)((rng() & 0xf0) | map);
				b[2] = (uint8_t)(rng() | 4);
				b[3] = (uint8_t)rng();
				b[4] = (uint8_t)op;
				fill(b, 5);
				if (bits != 64)
					b[1] |= 0xc0;
				if (t & 1) {
					b[2] |= 0x78;
					b[3] |= 8;
				}
				if (t & 2)
					b[5] |= 0xc0;
				if (t & 4)
					b[3] &= 0xf8;
				check_one(b, bits);
			}
}

/* ---- refusals that must be there ---- */

static void expect_refused(const char *what, const uint8_t *b, unsigned n, unsigned bits, unsigned from, unsigned to)
{
	uint8_t bytes[15] = {0}, buf[32];
	struct insn i;
	struct recode r;
	struct emit e;

	memcpy(bytes, b, n);
	recode_identity(&r);
	r.gpr[from] = (uint8_t)to;
	r.gpr[to] = (uint8_t)from;
	r.mem_base = R_SI;
	emit_init(&e, buf, sizeof(buf));
	if (insn_decode(&i, bytes, 15, bits) == DECODE_OK && recode_insn(&e, &i, &r)) {
		printf("FAIL %s must be refused\n", what);
		failed++;
	} else {
		passed++;
	}
}

static void test_refusals(void)
{
	expect_refused("shl eax,cl with CL moved", (uint8_t[]){0xd3, 0xe0}, 2, 64, R_CX, R_8);
	expect_refused("mul ecx with RDX moved", (uint8_t[]){0xf7, 0xe1}, 2, 64, R_DX, R_9);
	expect_refused("mov ah,al with RAX in R8", (uint8_t[]){0x88, 0xc4}, 2, 64, R_AX, R_8);
	expect_refused("movsb", (uint8_t[]){0xa4}, 1, 64, R_8, R_9);
	expect_refused("jmp rel8", (uint8_t[]){0xeb, 0x10}, 2, 64, R_8, R_9);
	expect_refused("call [mem]", (uint8_t[]){0xff, 0x10}, 2, 64, R_8, R_9);
	expect_refused("32-bit push eax", (uint8_t[]){0x50}, 1, 32, R_8, R_9);
	expect_refused("lds eax,[mem]", (uint8_t[]){0xc5, 0x00}, 2, 32, R_8, R_9);
	expect_refused("cmpxchg8b with RBX moved", (uint8_t[]){0x0f, 0xc7, 0x0e}, 3, 64, R_BX, R_9);
	expect_refused("mulx with RDX moved", (uint8_t[]){0xc4, 0xe2, 0x7b, 0xf6, 0xc1}, 5, 64, R_DX, R_9);
}

/* ---- on the processor ---- */

struct state {
	uint64_t gpr[16];
	uint64_t rflags;
	uint8_t mem[64];
};

typedef void stub_fn(struct state *s);

/* void stub(struct state *s): loads every register but RSP from *s, runs the instruction, stores them back. The
 * instruction's memory operand is [r15 + offsetof(mem)], so R15 keeps s and is no operand. */
static void build_stub(struct emit *e, const uint8_t *insn, unsigned n)
{
	static const uint8_t save[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0x89, 0xff};
	static const uint8_t restore[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};

	emit_bytes(e, save, sizeof(save));
	emit_bytes(e, (uint8_t[]){0x41, 0xff, 0xb7}, 3); /* push qword [r15 + rflags]; popfq */
	emit32(e, offsetof(struct state, rflags));
	emit8(e, 0x9d);
	for (unsigned g = 0; g < 15; g++)
		if (g != R_SP) {
			emit_bytes(e, (uint8_t[]){(uint8_t)(g & 8 ? 0x4d : 0x49), 0x8b, (uint8_t)(0x87 | (g & 7) << 3)},
				   3);
			emit32(e, g * 8);
		}
	emit_bytes(e, insn, n);
	for (unsigned g = 0; g < 15; g++)
		if (g != R_SP) {
			emit_bytes(e, (uint8_t[]){(uint8_t)(g & 8 ? 0x4d : 0x49), 0x89, (uint8_t)(0x87 | (g & 7) << 3)},
				   3);
			emit32(e, g * 8);
		}
	emit_bytes(e, (uint8_t[]){0x9c, 0x41, 0x8f, 0x87}, 4); /* pushfq; pop qword [r15 + rflags] */
	emit32(e, offsetof(struct state, rflags));
	emit_bytes(e, restore, sizeof(restore));
}

/* One instruction a row: bytes of a 64-bit form that uses neither RSP nor R15; memory operands are anything. */
static const struct {
	const char *name;
	uint8_t n, b[12];
} native_rows[] = {
	{"add eax,ecx", 2, {0x01, 0xc8}},
	{"adc rdx,rbx", 3, {0x48, 0x11, 0xda}},
	{"sbb r8w,si", 4, {0x66, 0x41, 0x19, 0xf0}},
	{"xor cl,dil", 3, {0x40, 0x30, 0xf9}},
	{"cmp bl,dl", 2, {0x38, 0xd3}},
	{"mov bx,0x1234", 4, {0x66, 0xbb, 0x34, 0x12}},
	{"mov r9,imm64", 10, {0x49, 0xb9, 1, 2, 3, 4, 5, 6, 7, 8}},
	{"mov sil,0x77", 3, {0x40, 0xb6, 0x77}},
	{"add word [rbx+8],0x1234", 6, {0x66, 0x81, 0x43, 0x08, 0x34, 0x12}},
	{"imul ecx,[rbx+rsi*4],0x12345", 7, {0x69, 0x0c, 0xb3, 0x45, 0x23, 0x01, 0x00}},
	{"lock xadd [rdi],rdx", 5, {0xf0, 0x48, 0x0f, 0xc1, 0x17}},
	{"xchg eax,ebp", 1, {0x95}},
	{"xchg [rcx],r10b", 3, {0x44, 0x86, 0x11}},
	{"bswap r11", 3, {0x49, 0x0f, 0xcb}},
	{"movzx ebx,bpl", 4, {0x40, 0x0f, 0xb6, 0xdd}},
	{"movsx r9,word [rax]", 4, {0x4c, 0x0f, 0xbf, 0x08}},
	{"movsxd rdi,ecx", 3, {0x48, 0x63, 0xf9}},
	{"setl r13b", 4, {0x41, 0x0f, 0x9c, 0xc5}},
	{"cmovbe esi,[rip+x]", 7, {0x0f, 0x46, 0x35, 1, 2, 3, 4}},
	{"bt rcx,17", 5, {0x48, 0x0f, 0xba, 0xe1, 0x11}},
	{"rol edi,5", 3, {0xc1, 0xc7, 0x05}},
	{"shrd rbx,rdi,9", 5, {0x48, 0x0f, 0xac, 0xfb, 0x09}},
	{"neg qword [rsi]", 3, {0x48, 0xf7, 0x1e}},
	{"not r12b", 3, {0x41, 0xf6, 0xd4}},
	{"test byte [rcx],0x55", 3, {0xf6, 0x01, 0x55}},
	{"popcnt ebx,esi", 4, {0xf3, 0x0f, 0xb8, 0xde}},
	{"movnti [rdx],ebx", 3, {0x0f, 0xc3, 0x1a}},
	{"movbe cx,[rax]", 5, {0x66, 0x0f, 0x38, 0xf0, 0x08}},
	{"movabs al,[moffs]", 9, {0xa0, 1, 2, 3, 4, 5, 6, 7, 8}},
	{"movabs [moffs],eax", 9, {0xa3, 1, 2, 3, 4, 5, 6, 7, 8}},
	{"inc dword [rbx]", 2, {0xff, 0x03}},
	{"andn ebx,ecx,edx", 5, {0xc4, 0xe2, 0x70, 0xf2, 0xda}},
	{"shlx rdi,[rax],r9", 5, {0xc4, 0xe2, 0xb1, 0xf7, 0x38}},
	{"rorx ecx,r14d,13", 6, {0xc4, 0xc3, 0x7b, 0xf0, 0xce, 0x0d}},
	{"blsr rsi,rbx", 5, {0xc4, 0xe2, 0xc8, 0xf3, 0xcb}},
	{"pext r10,rdx,[rbp+0]", 6, {0xc4, 0x62, 0xea, 0xf5, 0x55, 0x00}},
};

/* Recodes i under r into a stub at code and runs it on *s. false: refused. */
static bool run_recoded(uint8_t *code, const struct insn *i, const struct recode *r, struct state *s)
{
	uint8_t bytes[32];
	struct emit e;
	unsigned n;

	emit_init(&e, bytes, sizeof(bytes));
	if (!recode_insn(&e, i, r))
		return false;
	n = (unsigned)(e.p - e.start);
	emit_init(&e, code, 4096);
	build_stub(&e, bytes, n);
	((stub_fn *)(void *)code)(s);
	return true;
}

static void test_native_row(uint8_t *code, const char *name, const struct insn *i)
{
	struct recode id, r;
	struct state in, a, b;
	bool ok;

	for (unsigned k = 0; k < sizeof(in) / 8; k++)
		((uint64_t *)&in)[k] = rng();
	in.rflags = 0x202 | (rng() & FL_ARITH);
	/* the reference keeps its registers, with the memory operand at [r15 + mem] */
	recode_identity(&id);
	id.mem_base = R_15;
	id.mem_disp = offsetof(struct state, mem);
	a = in;
	ok = run_recoded(code, i, &id, &a);
	r = id;
	for (unsigned n = 14; n > 0; n--) {
		unsigned k = rng() % (n + 1);
		uint8_t x = r.gpr[n];

		if (n == R_SP || k == R_SP)
			continue;
		r.gpr[n] = r.gpr[k];
		r.gpr[k] = x;
	}
	for (unsigned n = 0; n < 15; n++)
		b.gpr[r.gpr[n]] = in.gpr[n];
	b.gpr[15] = 0;
	b.rflags = in.rflags;
	memcpy(b.mem, in.mem, sizeof(b.mem));
	ok = ok && run_recoded(code, i, &r, &b);
	ok = ok && a.rflags == b.rflags && !memcmp(a.mem, b.mem, sizeof(a.mem));
	for (unsigned n = 0; n < 15; n++)
		ok = ok && a.gpr[n] == b.gpr[r.gpr[n]];
	if (ok) {
		passed++;
	} else {
		failed++;
		printf("FAIL %s: refused, or the result differs\n", name);
	}
}

static void test_native(uint8_t *code)
{
	for (unsigned row = 0; row < ARRAY_LEN(native_rows); row++) {
		uint8_t bytes[15] = {0};
		struct insn i;

		memcpy(bytes, native_rows[row].b, native_rows[row].n);
		if (insn_decode(&i, bytes, 15, 64) != DECODE_OK || i.len != native_rows[row].n) {
			printf("FAIL %s does not decode\n", native_rows[row].name);
			failed++;
			continue;
		}
		for (unsigned t = 0; t < 40; t++)
			test_native_row(code, native_rows[row].name, &i);
	}
}

int main(void)
{
	uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned bits = 16; bits <= 64; bits *= 2) {
		sweep_legacy(bits, 16);
		sweep_vex(bits, 64);
		sweep_evex(bits, 48);
	}
	test_refusals();
	if (code == MAP_FAILED)
		printf("SKIP native part: no executable memory\n");
	else
		test_native(code);
	printf("recoded %llu, refused %llu\n", (unsigned long long)recoded_count, (unsigned long long)refused_count);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
