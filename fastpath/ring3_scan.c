/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Code that may not run directly: instructions that ring 3 may execute and that would show it the host.
 *
 * A page is looked at as a whole before it becomes executable. Bytes that could be such an instruction are looked for first;
 * where there are some, decoding from eight places in front of them finds out whether they are an instruction or the inside
 * of another one: x86 code decoded from a wrong place is in step after a few instructions. A program that jumps into the
 * middle of its own instructions to find a CPUID there would see the host's.
 *
 * False alarms cost speed only: the translator runs that page.
 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "fastpath/ring3_int.h"

#define PAGE 4096u
#define BEFORE 48u /* bytes from the first place to the candidate */
#define PLACES 8u
#define MAX_LENGTH 15u
#define MODRM_SENSITIVE 0x20 /* a ModRM byte that every row takes */

/* Which ModRM bytes. */
enum modrm { ANY, NOT_TSX, MEMORY_456, MEMORY_3_UP_OR_7 };

static const struct row {
	bool two_bytes; /* 0F xx */
	uint8_t opcode;
	enum modrm modrm;
	const char *what;
} rows[] = {
	{true, 0xa2, ANY, "CPUID: the host's leaves"},
	{true, 0x31, ANY, "RDTSC: the host's counter"},
	{true, 0x01, NOT_TSX, "SGDT SIDT SMSW XGETBV RDTSCP VMCALL VMMCALL ...: the host's, or its hypervisor's"},
	{true, 0x00, ANY, "SLDT STR VERR VERW: the host's descriptors"},
	{true, 0x02, ANY, "LAR"},
	{true, 0x03, ANY, "LSL"},
	{true, 0xa1, ANY, "POP FS"},
	{true, 0xa9, ANY, "POP GS"},
	{true, 0xb2, ANY, "LSS"},
	{true, 0xb4, ANY, "LFS"},
	{true, 0xb5, ANY, "LGS"},
	{true, 0xae, MEMORY_456, "XSAVE XRSTOR XSAVEOPT: by the host's XCR0"},
	{true, 0xc7, MEMORY_3_UP_OR_7, "XSAVEC XSAVES XRSTORS, RDPID"},
	{false, 0x8e, ANY, "MOV to a segment register"},
};

static bool modrm_fits(enum modrm how, uint8_t b)
{
	unsigned reg = b >> 3 & 7;
	bool memory = b < 0xc0;

	switch (how) {
	case ANY:
		break;
	case NOT_TSX: /* XEND, XTEST: nothing of the host's */
		return b != 0xd5 && b != 0xd6;
	case MEMORY_456:
		return memory && reg >= 4 && reg <= 6;
	case MEMORY_3_UP_OR_7:
		return memory ? reg >= 3 : reg == 7;
	}
	return true;
}

static bool row_is(const struct row *r, bool two_bytes, uint8_t opcode, uint8_t modrm)
{
	return r->two_bytes == two_bytes && r->opcode == opcode && modrm_fits(r->modrm, modrm);
}

static bool any_row(bool two_bytes, uint8_t opcode, uint8_t modrm)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (row_is(&rows[i], two_bytes, opcode, modrm))
			return true;
	return false;
}

/* One instruction: is its opcode one of the rows? */
static bool sensitive(const ZydisDecodedInstruction *in)
{
	uint8_t modrm = (uint8_t)(in->raw.modrm.mod << 6 | in->raw.modrm.reg << 3 | in->raw.modrm.rm);

	if (in->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	return in->opcode_map == ZYDIS_OPCODE_MAP_0F ? any_row(true, in->opcode, modrm)
	       : in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && any_row(false, in->opcode, modrm);
}

/* Does decoding from `from` come to a sensitive instruction that has the byte `at` in it? What cannot be decoded is stepped over.
 * n: bytes known. */
static enum ring3_scan reaches(const ZydisDecoder *d, const uint8_t *code, unsigned n, unsigned from, unsigned at)
{
	ZydisDecodedInstruction in;

	while (from <= at) {
		ZyanStatus st = ZydisDecoderDecodeInstruction(d, NULL, code + from, n - from, &in);

		if (st == ZYDIS_STATUS_NO_MORE_DATA)
			return R3_SCAN_OPEN;
		if (!ZYAN_SUCCESS(st)) {
			from++;
			continue;
		}
		if (from + in.length > at && sensitive(&in))
			return R3_SCAN_UNFIT;
		from += in.length;
	}
	return R3_SCAN_CLEAN;
}

/* The worst that one of the places in front of `at` comes to. */
static enum ring3_scan worst(const ZydisDecoder *d, const uint8_t *code, unsigned n, unsigned at)
{
	unsigned first = at > BEFORE ? at - BEFORE : 0;
	enum ring3_scan all = R3_SCAN_CLEAN;

	for (unsigned k = 0; k < PLACES && first + k <= at; k++) {
		enum ring3_scan one = reaches(d, code, n, first + k, at);

		all = one > all ? one : all;
	}
	return all;
}

/* What is behind the known bytes could be anything. */
static bool candidate(const uint8_t *code, unsigned n, unsigned at)
{
	bool two = code[at] == 0x0f;
	unsigned op = two ? at + 1 : at;

	if (!two && code[at] != 0x8e)
		return false;
	return op >= n || any_row(two, code[op], op + 1 < n ? code[op + 1] : MODRM_SENSITIVE);
}

enum ring3_scan ring3_scan(const uint8_t *page, const uint8_t *next)
{
	uint8_t code[PAGE + MAX_LENGTH];
	unsigned n = next ? PAGE + MAX_LENGTH : PAGE;
	enum ring3_scan all = R3_SCAN_CLEAN;
	ZydisDecoder d;

	if (!ZYAN_SUCCESS(ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
	    !ZYAN_SUCCESS(ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE)))
		return R3_SCAN_UNFIT;
	memcpy(code, page, PAGE);
	if (next)
		memcpy(code + PAGE, next, MAX_LENGTH);
	for (unsigned at = 0; at < PAGE && all != R3_SCAN_UNFIT; at++) {
		enum ring3_scan one = candidate(code, n, at) ? worst(&d, code, n, at) : R3_SCAN_CLEAN;

		all = one > all ? one : all;
	}
	return all;
}
