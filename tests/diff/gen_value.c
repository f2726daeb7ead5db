/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values: integers and floating-point numbers with a taste for the points at which arithmetic turns, x87 and vector state,
 * and its images in memory as FXRSTOR, XRSTOR, FRSTOR and FLDENV read them.
 */
#include <string.h>

#include "tests/diff/forms.h"

uint64_t random_value(struct rng *r)
{
	static const uint64_t turning[] = {
		0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
		0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffffe,
		0xffffffff80000000, 0xffffffffffff8000, 0xffffffffffffff80,
	};
	uint64_t v = rng_next(r);

	switch (rng_below(r, 8)) {
	case 0:
	case 1:
		return turning[v % (sizeof(turning) / sizeof(turning[0]))];
	case 2:
		return v & 0xff;
	case 3:
		return (uint64_t)((int64_t)v >> (v & 63));
	case 4:
		return v & 0xffffffff;
	default:
		return v;
	}
}

void random_lanes(struct rng *r, uint8_t *p, unsigned n)
{
	static const uint64_t f64[] = {0, 1ull << 63, 0x3ff0000000000000, 0x7ff0000000000000, 0xfff0000000000000,
				       0x7ff8000000000000, 0x7ff0000000000001, 1, 0x000fffffffffffff, 0x7fefffffffffffff,
				       0x4330000000000000, 0x41dfffffffc00000, 0xc1e0000000000000, 0x43e0000000000000};
	static const uint32_t f32[] = {0, 0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 1,
				       0x007fffff, 0x7f7fffff, 0x4b000000, 0x4f000000, 0xcf000000, 0x3eaaaaab};

	for (unsigned i = 0; i + 8 <= n; i += 8) {
		uint64_t v = rng_next(r);
		uint32_t lo = (uint32_t)v, hi = (uint32_t)(v >> 32);

		switch (rng_below(r, 8)) {
		case 0:
			v = f64[v % (sizeof(f64) / sizeof(f64[0]))];
			break;
		case 1:
			v = f32[lo % 14] | (uint64_t)f32[hi % 14] << 32;
			break;
		case 2: /* numbers of ordinary size */
			v = (0x3c00000000000000 + (v & 0x08ffffffffffffff)) | (v & 1ull << 63);
			break;
		case 3:
			lo = (lo & 0x80ffffff) + 0x3c000000;
			hi = (hi & 0x80ffffff) + 0x3c000000;
			v = lo | (uint64_t)hi << 32;
			break;
		case 4:
			v = random_value(r);
			break;
		default:
			break;
		}
		memcpy(p + i, &v, 8);
	}
}

void random_vectors(struct rng *r, struct dstate *s)
{
	static const struct {
		uint16_t exponent;
		uint64_t mantissa;
	} special[6] = {{0, 0}, {0x7fff, 1ull << 63}, {0x7fff, 3ull << 62}, {0x7fff, 1ull << 63}, {0, 1ull << 63}, {0x3fff, 0}};
	uint16_t fcw, fsw;
	uint32_t mxcsr;

	random_lanes(r, s->fx + 160, 256);
	random_lanes(r, s->ymmh, YMMH_BYTES);
	fcw = (uint16_t)(0x40 | (rng_next(r) & 0xc00));
	fcw |= (uint16_t)("\3\3\3\2\0\3\3\3"[rng_below(r, 8)] << 8);
	fcw |= rng_chance(r, 16) ? rng_next(r) & 0x3f : 0x3f;
	/* exceptions that are already flagged are masked, but for a few: then an #MF is pending, the next instruction's */
	fsw = (uint16_t)(rng_next(r) & 0x3f & (rng_chance(r, 32) ? 0x3f : fcw));
	fsw |= (uint16_t)(rng_next(r) & 0x7f40);
	if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080;
	memcpy(s->fx, &fcw, 2);
	memcpy(s->fx + 2, &fsw, 2);
	s->fx[4] = (uint8_t)(rng_chance(r, 3) ? rng_next(r) : 0xff);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t m = rng_next(r) | 1ull << 63;
		uint16_t e = (uint16_t)rng_next(r);

		switch (rng_below(r, 8)) {
		case 0: /* zero, infinity, quiet and signalling NaN, pseudo-denormal, unnormal */
			e = (uint16_t)((e & 0x8000) | special[i % 6].exponent);
			m = special[i % 6].mantissa | (i % 6 > 2 ? m >> 8 : 0);
			break;
		case 1:
			e = (uint16_t)((e & 0x8000) | 0);
			m &= ~(1ull << 63);
			break;
		case 2:
			e = (uint16_t)((e & 0x8000) | (0x3fff + (e & 0x3f)));
			m = random_value(r) | 1ull << 63;
			break;
		case 3:
		case 4:
		case 5:
			e = (uint16_t)((e & 0x8000) | (0x3fe0 + (e & 0x3f)));
			break;
		default:
			break;
		}
		memcpy(s->fx + 32 + 16 * i, &m, 8);
		memcpy(s->fx + 40 + 16 * i, &e, 2);
	}
	mxcsr = 0x1f80 | (rng_next(r) & 0x603f);
	if (rng_chance(r, 8))
		mxcsr |= (uint32_t)(rng_next(r) & 0x8040);
	if (rng_chance(r, 16)) { /* unmasked; what is flagged already raises nothing */
		mxcsr &= ~0x1f80u;
		mxcsr |= (uint32_t)(rng_next(r) & 0x1f80);
	}
	memcpy(s->fx + 24, &mxcsr, 4);
}

void plain_vectors(struct dstate *s, uint64_t seed)
{
	uint16_t fcw = 0x37f;
	uint32_t mxcsr = 0x1f80;

	memset(s->fx, 0, FX_BYTES);
	memcpy(s->fx, &fcw, 2);
	memcpy(s->fx + 24, &mxcsr, 4);
	for (unsigned i = 0; i < 256; i += 8) {
		memcpy(s->fx + 160 + i, &seed, 8);
		memcpy(s->ymmh + i, &seed, 8);
		seed = seed * 5 + i;
	}
}


/* ---- images: the opcode and the ModRM extension say which ---- */
static bool is_xsave_family(const struct form_row *row)
{
	return row->map == 1 && !(row->op == 0xae && row->ext < 2);
}

unsigned image_bytes(const struct form *f)
{
	const struct form_row *row = f->row;

	if (row->map == 1)
		return is_xsave_family(row) ? 832 : 512;
	if (row->op == 0xd9) /* FLDENV, FNSTENV */
		return f->size == 2 ? 14 : 28;
	return f->size == 2 ? 94 : 108; /* FRSTOR, FNSAVE */
}

static void put_bytes(struct dcase *c, unsigned at, const void *p, unsigned n)
{
	if (at + n <= WIN_BYTES)
		memcpy(c->in.mem + at, p, n);
}

/* An XSAVE header, now and then one that XRSTOR refuses (SDM 1 13.8). */
static void fill_header(struct rng *r, struct dcase *c, unsigned at)
{
	uint64_t h[8] = {rng_next(r) & 7};
	bool compact = rng_chance(r, 4);

	if (compact) {
		h[1] = 1ull << 63 | (rng_next(r) & 7);
		h[0] &= h[1];
	}
	if (rng_chance(r, 12)) { /* not bits 3-19: the host may have enabled those components for its processes */
		unsigned bit = rng_below(r, 47);

		h[rng_below(r, 8)] ^= 1ull << (bit < 3 ? bit : bit + 17);
	}
	put_bytes(c, at, h, sizeof(h));
}

void image_fill(const struct form *f, struct rng *r, struct dcase *c, unsigned at)
{
	struct dstate st;
	uint32_t mxcsr;

	random_vectors(r, &st);
	if (rng_chance(r, 6)) { /* reserved bits of the control word, any status word */
		uint32_t any = (uint32_t)rng_next(r);

		memcpy(st.fx, &any, 4);
	}
	if (f->row->map != 1) {
		/* control, status and tag word, each in a field of the operand size; the rest is random already */
		uint16_t tag = (uint16_t)rng_next(r);

		put_bytes(c, at, st.fx, 2);
		put_bytes(c, at + f->size, st.fx + 2, 2);
		put_bytes(c, at + 2u * f->size, &tag, 2);
		return;
	}
	memcpy(&mxcsr, st.fx + 24, 4);
	if (rng_chance(r, 12))
		mxcsr ^= 1u << rng_below(r, 32);
	memcpy(st.fx + 24, &mxcsr, 4);
	put_bytes(c, at, st.fx, FX_BYTES);
	if (is_xsave_family(f->row)) {
		fill_header(r, c, at + 512);
		put_bytes(c, at + 576, st.ymmh, YMMH_BYTES);
	}
}
