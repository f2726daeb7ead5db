/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs that write programs: what a just-in-time compiler does to its processor. The few encodings used mean the same in
 * 32-bit and 64-bit code; only how a function finds its two arguments (a number, an array) differs. x86 needs nothing
 * between writing an instruction and running it but a jump (SDM 3A 8.1.3), which a call is.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "workload.h"

typedef uint32_t generated(uint32_t x, uint32_t *array);

static uint8_t *code_area(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static uint8_t *put(uint8_t *p, const char *bytes, unsigned n)
{
	while (n--)
		*p++ = (uint8_t)*bytes++;
	return p;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++, v >>= 8)
		*p++ = (uint8_t)v;
	return p;
}

/* eax = the number, ecx or rcx = the array */
static uint8_t *prologue(uint8_t *p)
{
#ifdef __x86_64__
	return put(p, "\x89\xf8\x48\x89\xf1", 5); /* mov eax, edi; mov rcx, rsi */
#else
	return put(p, "\x8b\x44\x24\x04\x8b\x4c\x24\x08", 8);         /* mov eax, [esp + 4]; mov ecx, [esp + 8] */
#endif
}

/* One of eight statements drawn by r. */
static uint8_t *statement(uint8_t *p, uint64_t r)
{
	uint32_t value = (uint32_t)(r >> 16);
	char slot = (char)((r >> 8 & 15) * 4);

	switch (r & 7) {
	case 0:
		return put32(put(p, "\x05", 1), value); /* add eax, value */
	case 1:
		return put32(put(p, "\x35", 1), value); /* xor eax, value */
	case 2:
		return put32(put(p, "\x69\xc0", 2), value | 1); /* imul eax, eax, value */
	case 3:
		return put(p, (char[]){'\xc1', '\xc0', (char)(value % 31 + 1)}, 3); /* rol eax, n */
	case 4:
		return put(p, (char[]){'\x03', '\x41', slot}, 3); /* add eax, [rcx + slot] */
	case 5:
		return put(p, (char[]){'\x31', '\x41', slot}, 3); /* xor [rcx + slot], eax */
	case 6:
		p = put(p, "\xa9", 1); /* test eax, one bit; jz over the next; not eax */
		p = put32(p, 1u << (value & 31));
		return put(p, "\x74\x02\xf7\xd0", 4);
	default:
		return put(p, "\x89\xc2\xc1\xea\x07\x31\xd0", 7); /* mov edx, eax; shr edx, 7; xor eax, edx */
	}
}

static uint8_t *function(uint8_t *p, unsigned statements, uint64_t *seed)
{
	p = prologue(p);
	while (statements--)
		p = statement(p, wl_random(seed));
	*p++ = 0xc3; /* ret */
	return p;
}

static uint32_t call(const uint8_t *code, uint32_t x, uint32_t *array)
{
	__asm__ volatile("" : : : "memory"); /* what was written as data is code from here */
	return ((generated *)(uintptr_t)code)(x, array);
}

uint64_t wl_jitsmall(uint64_t scale)
{
	uint8_t *code = code_area(4096);
	uint32_t array[16] = {0}, x = 1;
	uint64_t seed = 41, sum = 0;

	for (uint64_t rep = 0; rep < 2500 * scale; rep++) {
		function(code, 16, &seed);
		for (unsigned i = 0; i < 50; i++)
			x = call(code, x, array);
		sum = wl_mix(sum, x);
	}
	munmap(code, 4096);
	return sum;
}

uint64_t wl_cold4000(uint64_t scale)
{
	enum { FUNCTIONS = 4000, BYTES = 1 << 20 };
	static uint8_t *entry[FUNCTIONS];
	uint32_t array[16] = {0}, x = 1;
	uint64_t seed = 43, sum = 0, left = 60 * scale; /* functions, times 25 */

	for (left *= 25; left;) {
		uint8_t *code = code_area(BYTES), *p = code;
		unsigned n = left < FUNCTIONS ? (unsigned)left : FUNCTIONS;

		for (unsigned i = 0; i < n; i++) {
			entry[i] = p;
			p = function(p, 24, &seed);
			p += -(uintptr_t)p & 15;
		}
		for (unsigned round = 0; round < 3; round++)
			for (unsigned i = 0; i < n; i++)
				x = call(entry[i], x, array);
		sum = wl_mix(sum, x);
		munmap(code, BYTES);
		left -= n;
	}
	return sum;
}

/*
 * mov edx, 64; again: add eax, IMMEDIATE; mov [place of IMMEDIATE], eax; rol eax, 3; dec edx; jnz again; ret. The store comes
 * four instructions before what it changes runs again.
 */
uint64_t wl_smc(uint64_t scale)
{
	uint8_t *code = code_area(4096), *p = prologue(code), *again, *immediate;
	uint32_t array[16] = {0}, x = 1;
	uint64_t sum = 0;

	p = put32(put(p, "\xba", 1), 64);
	again = p;
	p = put(p, "\x05", 1);
	immediate = p;
	p = put32(p, 7);
#ifdef __x86_64__
	p = put(p, "\x89\x05", 2); /* mov [rip + distance], eax */
	p = put32(p, (uint32_t)(immediate - (p + 4)));
#else
	p = put32(put(p, "\xa3", 1), (uint32_t)(uintptr_t)immediate); /* mov [address], eax */
#endif
	p = put(p, "\xc1\xc0\x03", 3);
#ifdef __x86_64__
	p = put(p, "\xff\xca", 2);
#else
	p = put(p, "\x4a", 1);
#endif
	p = put(p, "\x75", 1);
	*p = (uint8_t)(again - (p + 1));
	p++;
	*p = 0xc3;
	for (uint64_t rep = 0; rep < 200 * scale; rep++) {
		put32(immediate, (uint32_t)rep);
		x = call(code, x, array);
		sum = wl_mix(sum, x);
	}
	munmap(code, 4096);
	return sum;
}

uint64_t wl_unrolled(uint64_t scale)
{
	enum { BYTES = 256 << 10 };
	uint8_t *code = code_area(BYTES + 64);
	uint32_t array[16] = {0}, x = 1;
	uint64_t seed = 47, sum = 0;

	for (uint64_t rep = 0; rep < scale; rep++) {
		uint8_t *p = prologue(code), *end = p + BYTES;

		while (p < end)
			p = statement(p, wl_random(&seed));
		*p = 0xc3;
		for (unsigned i = 0; i < 8; i++)
			x = call(code, x, array);
		sum = wl_mix(sum, x);
	}
	munmap(code, BYTES + 64);
	return sum;
}
