// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Decoding by shape against libzydis: the same bytes give the same instruction, whatever had been decoded before.
 *
 * Bytes are drawn so that shapes come again with other displacements and immediates; the table is small enough that
 * shapes drive each other out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "translator/insn_shape.h"

#define CASES 600000u

static unsigned passed, failed;
static uint64_t seed = 0x5eed;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void check(bool ok, const char *what)
{
	if (ok) {
		passed++;
		return;
	}
	failed++;
	printf("FAIL %s\n", what);
}

/* Up to three prefixes, perhaps a REX, an opcode of any map or a VEX prefix, random bytes behind. */
static void draw_bytes(uint8_t *p, unsigned bits)
{
	static const uint8_t prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x64, 0x65};
	static const uint8_t value[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x20, 0x1f};
	unsigned n = 0, kind = (unsigned)(draw() % 16);

	while (draw() % 4 == 0 && n < 3)
		p[n++] = prefix[draw() % sizeof(prefix)];
	if (bits == 64 && draw() % 2)
		p[n++] = (uint8_t)(0x40 | draw() % 16);
	if (kind < 2) {
		p[n++] = kind ? 0xc4 : 0xc5;
	} else if (kind < 7) {
		p[n++] = 0x0f;
		if (kind == 6)
			p[n++] = draw() % 2 ? 0x38 : 0x3a;
	}
	while (n < 15) {
		p[n++] = draw() % 2 ? (uint8_t)draw() : value[draw() % sizeof(value)];
	}
}

static bool same(const struct insn *a, const struct insn *b)
{
	struct insn x = *a, y = *b;

	if (x.len != y.len || memcmp(x.raw, y.raw, x.len))
		return false;
	memset(x.raw, 0, sizeof(x.raw));
	memset(y.raw, 0, sizeof(y.raw));
	return !memcmp(&x, &y, sizeof(x));
}

static void compare(struct shapes *s, const uint8_t *p, unsigned n, unsigned bits, unsigned *hits)
{
	static const char *const result[] = {"an instruction", "#UD", "too few bytes", "too long"};
	struct insn want;
	struct shape *got, *hit;
	enum decode_result rw, rg;
	char text[200];
	int len;

	memset(&want, 0, sizeof(want)); /* padding is compared too */
	rw = insn_decode(&want, p, n, bits);
	hit = shape_find(s, p, n, bits);
	*hits += hit != NULL;
	rg = shape_decode(s, &got, p, n, bits);
	if (rg == rw && (rw != DECODE_OK || (same(&want, &got->insn) && (!hit || hit == got)))) {
		passed++;
		return;
	}
	len = snprintf(text, sizeof(text), "shape, %u bits, %s: libzydis says %s, the table %s; bytes", bits,
		       hit ? "known" : "new", result[rw], result[rg]);
	for (unsigned k = 0; k < n; k++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, " %02x", p[k]);
	check(false, text);
}

int main(void)
{
	static const unsigned modes[] = {64, 32, 16};
	struct shapes *s;
	struct error e;
	unsigned hits = 0;

	if (shapes_create(&s, &e)) {
		printf("FAIL %s\n", e.msg);
		return 1;
	}
	for (unsigned k = 0; k < CASES && failed < 20; k++) {
		uint8_t bytes[24] = {0};
		unsigned bits = modes[draw() % 3];

		draw_bytes(bytes, bits);
		compare(s, bytes, draw() % 4 ? sizeof(bytes) : 15, bits, &hits);
		for (unsigned again = 0; again < 3; again++) { /* the same beginning, other bytes behind, perhaps fewer */
			for (unsigned at = 2 + (unsigned)(draw() % 6); at < 15; at++)
				bytes[at] = (uint8_t)(draw() % 3 ? draw() : 0);
			compare(s, bytes, draw() % 4 ? sizeof(bytes) : 1 + (unsigned)(draw() % 14), bits, &hits);
		}
	}
	check(hits > CASES / 4, "shape: hardly any instruction was found by its shape");
	printf("shapes: %u of %u found\n", hits, 4 * CASES);
	shapes_free(s);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
