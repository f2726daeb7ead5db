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

/* The SIB byte that ModRM m asks for. */
static ALWAYS_INLINE bool has_sib(unsigned m, bool addr16)
{
	return (m < 0xc0) & ((m & 7) == 4) & !addr16;
}

/* Length of the shape that w's bytes begin with, or 0: none that this table can keep. */
static unsigned shape_length_slow(uint64_t w, unsigned bits)
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
	return n + has_sib(b, addr16);
}

/* The common shapes without a branch that a processor could guess wrong: [REX] [0F] opcode [ModRM [SIB]]. */
static ALWAYS_INLINE unsigned shape_length(uint64_t w, unsigned bits)
{
	unsigned n = bits == 64 && (w & 0xf0) == 0x40, b = byte_at(w, n), escape = b == 0x0f, next;

	n += escape;
	next = (escape ? two_byte : one_byte)[byte_at(w, n)];
	if (UNLIKELY(next > MODRM))
		return shape_length_slow(w, bits);
	n++;
	return n + (next == MODRM) + ((next == MODRM) & has_sib(byte_at(w, n), bits == 16));
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

static ALWAYS_INLINE uint16_t *shape_guess(struct shapes *s, const uint8_t *bytes)
{
	return &s->guess[(uintptr_t)bytes >> 1 & ((1u << SHAPE_GUESS_BITS) - 1)];
}

static ALWAYS_INLINE uint64_t load64(const uint8_t *p)
{
	uint64_t w;

	__builtin_memcpy(&w, p, 8);
	return w;
}

static ALWAYS_INLINE uint64_t field(uint64_t w, unsigned shift, uint64_t mask)
{
	return (uint64_t)((int64_t)(w << shift) >> shift) & mask;
}

/* What is before bytes[n] only, the rest zero. */
static struct shape *find_near_end(struct shapes *s, const uint8_t *bytes, unsigned n, unsigned bits)
{
	uint8_t copy[24] = {0};
	struct shape *e;

	for (unsigned k = 0; k < n; k++)
		copy[k] = bytes[k];
	e = shape_find(s, copy, sizeof(copy), bits);
	return e && e->insn.len <= n ? e : NULL;
}

/* The guess was wrong. */
static __attribute__((noinline)) struct shape *find_afresh(struct shapes *s, const uint8_t *bytes, uint64_t w, unsigned bits)
{
	unsigned length = shape_length(w, bits);
	uint64_t key = shape_key(w, length);
	struct shape *e = shape_place(s, key, bits);

	if (UNLIKELY(e->key != key || e->bits != bits || !length))
		return NULL;
	*shape_guess(s, bytes) = (uint16_t)(e - s->shape);
	return e;
}

struct shape *shape_find(struct shapes *s, const uint8_t *bytes, unsigned n, unsigned bits)
{
	uint64_t w;
	struct shape *e;
	struct insn *i;

	if (UNLIKELY(n < 24))
		return find_near_end(s, bytes, n, bits);
	w = load64(bytes);
	e = &s->shape[*shape_guess(s, bytes)];
	/* bytes that begin with a shape's bytes have that shape: its length follows from them */
	if (UNLIKELY(((w ^ e->key) & e->key_mask) || e->bits != bits)) {
		e = find_afresh(s, bytes, w, bits);
		if (!e)
			return NULL;
	}
	i = &e->insn;
	__builtin_memcpy(i->raw, &w, 8);
	__builtin_memcpy(i->raw + 7, bytes + 7, 8);
	i->disp = (int64_t)field(load64(bytes + e->disp_off), e->disp_shift, e->disp_mask);
	i->imm[0] = field(load64(bytes + e->imm_off), e->imm_shift, e->imm_mask) | e->imm_const;
	return LIKELY(!e->by_count) || (i->imm[0] & 31) ? e : NULL;
}

/* Prepares shape_find for others of this shape. */
static void find_fields(struct shape *e)
{
	const struct insn *i = &e->insn;

	e->disp_off = i->disp_off;
	e->disp_shift = (uint8_t)(64 - 8 * i->disp_len) & 63;
	e->disp_mask = i->disp_len ? ~0ull : 0;
	e->imm_off = i->imm_off;
	e->imm_shift = (uint8_t)(64 - 8 * i->imm_len) & 63;
	e->imm_mask = !i->imm_len ? 0 : i->imm_signed || i->imm_len == 8 ? ~0ull : (1ull << (8 * i->imm_len)) - 1;
	e->imm_const = i->imm_len ? 0 : i->imm[0];
}

enum decode_result shape_decode(struct shapes *s, struct shape **out, const uint8_t *bytes, unsigned n, unsigned bits)
{
	struct shape *e = shape_find(s, bytes, n, bits);
	uint64_t w = load_bytes(bytes, n);
	unsigned length = shape_length(w, bits);
	enum decode_result r;

	*out = e;
	if (e) {
		if (e->by_count)
			insn_count_flags(&e->insn);
		return DECODE_OK;
	}
	*out = e = &s->other;
	*e = (struct shape){.bits = 0};
	r = insn_decode(&e->insn, bytes, n, bits);
	if (r != DECODE_OK || !length || !e->insn.by_shape || (!e->insn.disp_len && e->insn.disp) ||
	    (unsigned)(e->insn.len - e->insn.disp_len - e->insn.imm_len) > length)
		return r;
	e->by_count = e->insn.imm_len && insn_is_shift(&e->insn);
	if (e->by_count && !(e->insn.imm[0] & 31))
		return r;
	e->key = shape_key(w, length);
	e->key_mask = shape_key(~0ull, length);
	e->bits = (uint8_t)bits;
	find_fields(e);
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
