/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is the result of a floating-point instruction inexact when an overflow or underflow is not masked?
 *
 * Unmasked, these exceptions are raised for the result rounded to the format's precision with an exponent of any size, and
 * the precision flag says whether that rounding lost bits (IEEE 754 7.4, 7.5; SDM 1 4.9.1.5). vec_exec runs everything
 * masked, where overflow always counts as inexact and underflow rounds to fewer bits, so the answer is computed here from
 * the operands: by integers, an exact value is odd times a power of two, and fits when the odd number is short enough.
 *
 * Rounding direction does not matter; nor which elements are out of range: for one that is in range both answers are the
 * same. Elements with an infinity or a NaN are exact, division by zero is.
 */
#include "translator/insn.h"
#include "translator/vec.h"

#define MXCSR_DAZ (1u << 6)

typedef unsigned __int128 wide;

struct value {
	bool finite, neg;
	wide m; /* 0, or odd */
	int e;  /* the value is m * 2^e */
};

static unsigned bits_of(wide m)
{
	uint64_t hi = (uint64_t)(m >> 64), lo = (uint64_t)m;

	return hi ? 128 - (unsigned)__builtin_clzll(hi) : lo ? 64 - (unsigned)__builtin_clzll(lo) : 0;
}

static struct value normal(bool neg, wide m, int e)
{
	uint64_t lo = (uint64_t)m;
	unsigned zeros;

	if (!m)
		return (struct value){.finite = true};
	zeros = lo ? (unsigned)__builtin_ctzll(lo) : 64 + (unsigned)__builtin_ctzll((uint64_t)(m >> 64));
	return (struct value){.finite = true, .neg = neg, .m = m >> zeros, .e = e + (int)zeros};
}

static struct value decode(uint64_t x, bool dbl, bool daz)
{
	unsigned frac_bits = dbl ? 52 : 23, exp_max = dbl ? 0x7ff : 0xff;
	unsigned exp = (unsigned)(x >> frac_bits) & exp_max;
	uint64_t frac = x & ((1ull << frac_bits) - 1);
	bool neg = (x >> (dbl ? 63 : 31)) & 1;

	if (exp == exp_max)
		return (struct value){0};
	if (!exp)
		return normal(neg, daz ? 0 : frac, 1 - (int)(exp_max >> 1) - (int)frac_bits);
	return normal(neg, frac | 1ull << frac_bits, (int)exp - (int)(exp_max >> 1) - (int)frac_bits);
}

static struct value product(struct value a, struct value b)
{
	if (!a.finite || !b.finite)
		return (struct value){0};
	return normal(a.neg != b.neg, a.m * b.m, a.e + b.e);
}

static struct value sum(struct value a, struct value b)
{
	int ta = a.e + (int)bits_of(a.m), tb = b.e + (int)bits_of(b.m);
	int top = ta > tb ? ta : tb, low = a.e < b.e ? a.e : b.e;

	if (!a.finite || !b.finite)
		return (struct value){0};
	if (!a.m || !b.m)
		return a.m ? a : b;
	/* so far apart that they cannot cancel, nor can the sum be short */
	if (top - low > 126)
		return normal(false, ~(wide)0, low);
	a.m <<= a.e - low;
	b.m <<= b.e - low;
	if (a.neg == b.neg)
		return normal(a.neg, a.m + b.m, low);
	return a.m > b.m ? normal(a.neg, a.m - b.m, low) : normal(b.neg, b.m - a.m, low);
}

static bool too_long(struct value x, unsigned precision)
{
	return x.finite && bits_of(x.m) > precision;
}

/* Operands are those of the formats themselves here: their odd numbers have 64 bits at most. */
static bool quotient_too_long(struct value a, struct value b)
{
	return a.finite && b.finite && b.m && (uint64_t)a.m % (uint64_t)b.m;
}

/* ---- which instruction ---- */

enum kind { K_NONE, K_ADD, K_MUL, K_DIV, K_HORIZONTAL, K_CONVERT, K_FMA };

struct shape {
	enum kind kind;
	bool dbl;           /* the operands' format */
	bool packed;
	bool neg[2];        /* second operand of a sum (the third of K_FMA) in even and odd elements */
	bool neg_product;
	unsigned precision; /* of the result */
	unsigned order;     /* K_FMA: 132, 213, 231 */
};

static bool eat(const char **s, const char *with)
{
	const char *p = *s;

	while (*with)
		if (*p++ != *with++)
			return false;
	*s = p;
	return true;
}

static void shape_fma(struct shape *s, const char **n)
{
	s->kind = K_FMA;
	s->neg_product = eat(n, "N");
	if (eat(n, "MADDSUB")) {
		s->neg[0] = true;
	} else if (eat(n, "MSUBADD")) {
		s->neg[1] = true;
	} else if (eat(n, "MSUB")) {
		s->neg[0] = s->neg[1] = true;
	} else if (!eat(n, "MADD")) {
		s->kind = K_NONE;
	}
	for (unsigned k = 0; k < 3 && **n >= '1' && **n <= '3'; k++)
		s->order = s->order * 10 + (unsigned)(*(*n)++ - '0');
}

static struct shape shape_of(const struct insn *i)
{
	struct shape s = {0};
	const char *n = i->row->name;

	if (i->enc == ENC_VEX)
		eat(&n, "V");
	if (eat(&n, "CVTPD2PS"))
		return (struct shape){.kind = K_CONVERT, .dbl = true, .packed = true, .precision = 24};
	if (eat(&n, "CVTSD2SS"))
		return (struct shape){.kind = K_CONVERT, .dbl = true, .precision = 24};
	if (eat(&n, "CVTPS2PH"))
		return (struct shape){.kind = K_CONVERT, .packed = true, .precision = 11};
	if (eat(&n, "ADDSUB")) {
		s.kind = K_ADD;
		s.neg[0] = true;
	} else if (eat(&n, "ADD")) {
		s.kind = K_ADD;
	} else if (eat(&n, "SUB")) {
		s.kind = K_ADD;
		s.neg[0] = s.neg[1] = true;
	} else if (eat(&n, "HADD")) {
		s.kind = K_HORIZONTAL;
	} else if (eat(&n, "HSUB")) {
		s.kind = K_HORIZONTAL;
		s.neg[0] = s.neg[1] = true;
	} else if (eat(&n, "MUL")) {
		s.kind = K_MUL;
	} else if (eat(&n, "DIV")) {
		s.kind = K_DIV;
	} else if (eat(&n, "F")) {
		shape_fma(&s, &n);
	}
	if ((n[0] != 'P' && n[0] != 'S') || (n[1] != 'S' && n[1] != 'D') || n[2])
		return (struct shape){0};
	s.packed = n[0] == 'P';
	s.dbl = n[1] == 'D';
	s.precision = s.dbl ? 53 : 24;
	return s;
}

/* ---- operands, as they were before the instruction ---- */

static uint64_t element(const struct vec *c, const struct insn *i, unsigned op, bool dbl, unsigned k)
{
	unsigned at = (dbl ? 8 : 4) * k;
	const uint8_t *p;

	if (i->op[op].kind == OPK_MEM)
		p = c->bounce + at;
	else if (at < 16)
		p = c->in + XS_XMM + 16 * (i->op[op].reg & 15) + at;
	else if (vec_get64(c->in + XS_XSTATE_BV) & XC_AVX)
		p = c->in + c->avx_offset + 16 * (i->op[op].reg & 15) + at - 16;
	else
		return 0;
	return dbl ? vec_get64(p) : vec_get32(p);
}

int vec_inexact(const struct vec *c, const struct insn *i, uint32_t mxcsr)
{
	const struct shape s = shape_of(i);
	/* a conversion's source: the last operand that is not an immediate; CVTPS2PH's destination is narrower */
	unsigned last = i->nops && i->op[i->nops - 1].kind == OPK_IMM ? i->nops - 2u : i->nops - 1u;
	unsigned first = i->enc == ENC_VEX && last > 1 ? last - 1 : 0, bytes, n;
	bool daz = mxcsr & MXCSR_DAZ;

	if (s.kind == K_NONE || i->nops < 2 || (s.kind == K_FMA && last != 2))
		return -1;
	bytes = i->op[last].kind == OPK_MEM ? i->op[last].bytes : i->op[last].kind == OPK_YMM ? 32 : 16;
	n = s.packed ? bytes / (s.dbl ? 8 : 4) : 1;
	for (unsigned k = 0; k < n; k++) {
		struct value a = decode(element(c, i, first, s.dbl, k), s.dbl, daz);
		struct value b = decode(element(c, i, last, s.dbl, k), s.dbl, daz);
		bool lost = false;

		switch (s.kind) {
		case K_ADD:
			b.neg ^= s.neg[k & 1];
			lost = too_long(sum(a, b), s.precision);
			break;
		case K_MUL:
			lost = too_long(product(a, b), s.precision);
			break;
		case K_DIV:
			lost = quotient_too_long(a, b);
			break;
		case K_CONVERT:
			lost = too_long(b, s.precision);
			break;
		case K_HORIZONTAL: { /* neighbours of either operand; which result they make does not matter */
			struct value a1, b1;

			if (k & 1)
				break;
			a1 = decode(element(c, i, first, s.dbl, k + 1), s.dbl, daz);
			b1 = decode(element(c, i, last, s.dbl, k + 1), s.dbl, daz);
			a1.neg ^= s.neg[0];
			b1.neg ^= s.neg[0];
			lost = too_long(sum(a, a1), s.precision) || too_long(sum(b, b1), s.precision);
			break;
		}
		case K_FMA: { /* a is operand 2, b operand 3 */
			struct value d = decode(element(c, i, 0, s.dbl, k), s.dbl, daz);
			struct value p = s.order == 132 ? product(d, b) : s.order == 213 ? product(a, d) : product(a, b);
			struct value t = s.order == 132 ? a : s.order == 213 ? b : d;

			p.neg ^= s.neg_product;
			t.neg ^= s.neg[k & 1];
			lost = too_long(sum(p, t), s.precision);
			break;
		}
		default:
			break;
		}
		if (lost)
			return 1;
	}
	return 0;
}
