// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Decoding by shape: see insn_shape.h.
 *
 * How long a shape is follows from its own bytes alone, so that two different shapes are never mistaken for one another.
 * Whether the rest of an instruction is really nothing but a displacement and an immediate is libzydis' word
 * (insn.by_shape, and the lengths of the two must add up): a mistake in the tables here costs time, not correctness.
 */
#include "translator/insn_shape.h"

#include <sys/mman.h>

#include <Zydis/Mnemonic.h>

#include "translator/int_op.h"

/* What follows an opcode byte. */
enum { NOTHING, MODRM, ESCAPE, VEX2, VEX3, PREFIX, UNKNOWN };

#define X4(k) k, k, k, k
#define X8(k) X4(k), X4(k)
#define X16(k) X8(k), X8(k)
#define ALU_ROW(prefix) MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, NOTHING, prefix

static const uint8_t one_byte[256] = {
	/* 00 */ ALU_ROW(NOTHING), MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, NOTHING, ESCAPE,
	/* 10 */ ALU_ROW(NOTHING), ALU_ROW(NOTHING),
	/* 20 */ MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, PREFIX, NOTHING,
	/* 28 */ MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, PREFIX, NOTHING,
	/* 30 */ MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, PREFIX, NOTHING,
	/* 38 */ MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, PREFIX, NOTHING,
	/* 40 */ X16(NOTHING),
	/* 50 */ X16(NOTHING),
	/* 60 */ NOTHING, NOTHING, UNKNOWN, MODRM, PREFIX, PREFIX, PREFIX, PREFIX,
	/* 68 */ NOTHING, MODRM, NOTHING, MODRM, X4(NOTHING),
	/* 70 */ X16(NOTHING),
	/* 80 */ X8(MODRM), X4(MODRM), MODRM, MODRM, MODRM, UNKNOWN,
	/* 90 */ X16(NOTHING),
	/* a0 */ X16(NOTHING),
	/* b0 */ X16(NOTHING),
	/* c0 */ MODRM, MODRM, NOTHING, NOTHING, VEX3, VEX2, MODRM, MODRM, X8(NOTHING),
	/* d0 */ X4(MODRM), X4(NOTHING), X8(MODRM),
	/* e0 */ X16(NOTHING),
	/* f0 */ PREFIX, NOTHING, PREFIX, PREFIX, NOTHING, NOTHING, MODRM, MODRM, X4(NOTHING), NOTHING, NOTHING, MODRM, MODRM,
};

static const uint8_t two_byte[256] = {
	/* 00 */ MODRM, MODRM, MODRM, MODRM, NOTHING, NOTHING, NOTHING, NOTHING,
	/* 08 */ NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, MODRM, NOTHING, UNKNOWN,
	/* 10 */ X16(MODRM),
	/* 20 */ X16(MODRM),
	/* 30 */ X8(NOTHING), ESCAPE, NOTHING, ESCAPE, NOTHING, X4(NOTHING),
	/* 40 */ X16(MODRM),
	/* 50 */ X16(MODRM),
	/* 60 */ X16(MODRM),
	/* 70 */ X4(MODRM), MODRM, MODRM, MODRM, NOTHING, X8(MODRM),
	/* 80 */ X16(NOTHING),
	/* 90 */ X16(MODRM),
	/* a0 */ NOTHING, NOTHING, NOTHING, MODRM, MODRM, MODRM, UNKNOWN, UNKNOWN,
	/* a8 */ NOTHING, NOTHING, NOTHING, MODRM, MODRM, MODRM, MODRM, MODRM,
	/* b0 */ X16(MODRM),
	/* c0 */ X8(MODRM), X8(NOTHING),
	/* d0 */ X16(MODRM),
	/* e0 */ X16(MODRM),
	/* f0 */ X16(MODRM),
};

static ALWAYS_INLINE unsigned byte_at(uint64_t w, unsigned k)
{
	return (unsigned)(w >> (8 * k)) & 0xff;
}

/* Length of the shape that w's bytes begin with, or 0: none that this table can keep. */
static ALWAYS_INLINE unsigned shape_length(uint64_t w, unsigned bits)
{
	bool addr16 = bits == 16;
	unsigned n = 0, b = byte_at(w, 0), next = one_byte[b];

	while (next == PREFIX) {
		addr16 ^= b == 0x67 && bits != 64;
		if (++n == 4)
			return 0;
		b = byte_at(w, n);
		next = one_byte[b];
	}
	if (bits == 64 && (b & 0xf0) == 0x40) {
		b = byte_at(w, ++n);
		next = one_byte[b];
	}
	n++;
	switch (next) {
	case NOTHING:
		return n;
	case MODRM:
		break;
	case ESCAPE:
		b = byte_at(w, n++);
		next = two_byte[b];
		if (next == NOTHING)
			return n;
		if (next == UNKNOWN)
			return 0;
		n += next == ESCAPE;
		break;
	case VEX2:
	case VEX3: /* outside 64-bit mode they are LDS and LES when they name memory */
		if (bits != 64 && byte_at(w, n) < 0xc0)
			return 0;
		n += next == VEX2 ? 2 : 3;
		break;
	default:
		return 0;
	}
	if (n > 6)
		return 0;
	b = byte_at(w, n++);
	return n + (b < 0xc0 && (b & 7) == 4 && !addr16);
}

static ALWAYS_INLINE uint64_t load_bytes(const uint8_t *p, unsigned n)
{
	uint64_t w = 0;

	if (LIKELY(n >= 8)) {
		__builtin_memcpy(&w, p, 8);
		return w;
	}
	for (unsigned k = 0; k < n; k++)
		w |= (uint64_t)p[k] << (8 * k);
	return w;
}

static ALWAYS_INLINE struct shape *shape_place(struct shapes *s, uint64_t key, unsigned bits)
{
	return &s->shape[(key + bits) * 0x9e3779b97f4a7c15ull >> (64 - SHAPE_BITS)];
}

static ALWAYS_INLINE uint64_t shape_key(uint64_t w, unsigned length)
{
	return length == 8 ? w : w & ((1ull << (8 * length)) - 1);
}

static ALWAYS_INLINE uint64_t load_field(const uint8_t *p, unsigned n, bool sign)
{
	switch (n) {
	case 1:
		return sign ? (uint64_t)(int8_t)*p : *p;
	case 2: {
		uint16_t x;
		__builtin_memcpy(&x, p, 2);
		return sign ? (uint64_t)(int16_t)x : x;
	}
	case 4: {
		uint32_t x;
		__builtin_memcpy(&x, p, 4);
		return sign ? (uint64_t)(int32_t)x : x;
	}
	default: {
		uint64_t x;
		__builtin_memcpy(&x, p, 8);
		return x;
	}
	}
}

struct shape *shape_find(struct shapes *s, const uint8_t *bytes, unsigned n, unsigned bits)
{
	uint64_t w = load_bytes(bytes, n), key;
	unsigned length = shape_length(w, bits);
	struct shape *e;
	struct insn *i;

	if (UNLIKELY(!length))
		return NULL;
	key = shape_key(w, length);
	e = shape_place(s, key, bits);
	i = &e->insn;
	if (UNLIKELY(e->key != key || e->bits != bits || i->len > n))
		return NULL;
	if (LIKELY(n >= sizeof(i->raw))) {
		__builtin_memcpy(i->raw, &w, 8);
		__builtin_memcpy(i->raw + 7, bytes + 7, 8);
	} else {
		for (unsigned k = 0; k < i->len; k++)
			i->raw[k] = bytes[k];
	}
	if (i->disp_len)
		i->disp = (int64_t)load_field(bytes + i->disp_off, i->disp_len, true);
	if (i->imm_len) {
		i->imm[0] = load_field(bytes + i->imm_off, i->imm_len, i->imm_signed);
		if (UNLIKELY(e->by_count)) {
			insn_count_flags(i);
			e->fn = NULL;
		}
	}
	return e;
}

enum decode_result shape_decode(struct shapes *s, struct shape **out, const uint8_t *bytes, unsigned n, unsigned bits)
{
	struct shape *known = shape_find(s, bytes, n, bits);
	uint64_t w = load_bytes(bytes, n);
	unsigned length = shape_length(w, bits);
	struct shape *e = &s->other;
	enum decode_result r;

	*out = known ? known : e;
	if (known)
		return DECODE_OK;
	*e = (struct shape){.bits = 0};
	r = insn_decode(&e->insn, bytes, n, bits);
	if (r != DECODE_OK || !length || !e->insn.by_shape ||
	    (unsigned)(e->insn.len - e->insn.disp_len - e->insn.imm_len) > length)
		return r;
	e->key = shape_key(w, length);
	e->bits = (uint8_t)bits;
	e->by_count = e->insn.imm_len && insn_is_shift(&e->insn);
	*shape_place(s, e->key, bits) = *e;
	*out = shape_place(s, e->key, bits);
	return DECODE_OK;
}

enum status shapes_create(struct shapes **out, struct error *e)
{
	void *p = mmap(NULL, sizeof(struct shapes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return error_errno(e, ST_NO_MEMORY, "cannot map the table of decoded shapes");
	*out = p;
	return ST_OK;
}

void shapes_free(struct shapes *s)
{
	if (s)
		munmap(s, sizeof(*s));
}
