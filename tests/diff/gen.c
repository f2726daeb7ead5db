/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cases: an encoding, and register and memory states that make it do something.
 *
 * Operands are random with a taste for the values at which arithmetic turns (0, 1, -1, the extremes of each size).
 * Address registers are solved for afterwards, so that a memory operand meets the window; one case in six has its window
 * at a page boundary where something faults. Sequences join simple forms: what one instruction leaves in registers and
 * flags is the next one's input, which is what a translator's liveness and register tricks must survive.
 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "tests/diff/forms.h"

static uint64_t random_value(struct rng *r)
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

static void random_lanes(struct rng *r, uint8_t *p, unsigned n)
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

static void random_vectors(struct rng *r, struct dstate *s)
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
	/* exceptions that are already flagged must be masked: a pending #MF belongs to no instruction */
	fsw = (uint16_t)(rng_next(r) & 0x7f & fcw & 0x3f);
	fsw |= (uint16_t)(rng_next(r) & 0x7f00);
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

static void plain_vectors(struct dstate *s, uint64_t seed)
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

/* ---- one state for an encoding ---- */
struct work {
	const struct form *f;
	struct encoding *e;
	struct rng *r;
	struct dcase *c;
};

static void mem_put(struct dcase *c, uint64_t gva, uint64_t v, unsigned n)
{
	uint64_t off = gva - case_window_gva(c);

	for (unsigned i = 0; i < n; i++)
		if (off + i < WIN_BYTES)
			c->in.mem[off + i] = (uint8_t)(v >> (8 * i));
}

static uint64_t mem_get(const struct dcase *c, uint64_t gva)
{
	uint64_t off = gva - case_window_gva(c), v = 0;

	if (off <= WIN_BYTES - 8)
		memcpy(&v, &c->in.mem[off], 8);
	return v;
}

/* An address in the window for n bytes; at the edge where the window has one. */
static uint64_t window_address(struct work *w, unsigned n, bool aligned)
{
	unsigned off, half = WIN_BYTES / 2;

	if (n > 64)
		n = 64;
	if (w->c->window == WIN_MIDDLE)
		off = rng_chance(w->r, 8) ? half - n + rng_below(w->r, 2 * n) : 40 + rng_below(w->r, WIN_BYTES - 80 - n);
	else
		off = half - n - 8 + rng_below(w->r, 2 * n + 16);
	if (aligned)
		off &= ~(n - 1);
	return case_window_gva(w->c) + off;
}

static uint64_t code_target(struct work *w)
{
	uint64_t slot = CODE_BASE + w->e->slot * SLOT_BYTES;

	switch (rng_below(w->r, 24)) {
	case 0:
		return DATA_NORMAL + 0x1f00 + rng_below(w->r, 256); /* no-execute */
	case 1:
		return CODE_BASE + 0x800000 + rng_below(w->r, 4096); /* not mapped */
	case 2:
		if (w->c->mode == 64)
			return 0x1234000000000000 | rng_next(w->r) >> 20;
		return rng_below(w->r, 4096);
	default:
		return slot + w->e->len + rng_below(w->r, SLOT_BYTES - w->e->len);
	}
}

static uint16_t random_selector(struct work *w)
{
	static const uint16_t sel[] = {0, 1, 3, SEL_CODE32, SEL_DATA, SEL_DATA, SEL_DATA, SEL_CODE32, 0x28, 0x10, 0x18,
				       0x88, 0x2f, 0x0f, SEL_CODE64, 0x2a};

	return sel[rng_below(w->r, sizeof(sel) / sizeof(sel[0]))];
}

static void solve_address(struct work *w, uint64_t *target)
{
	struct enc_addr *a = &w->e->addr;
	uint64_t *g = w->c->in.gpr, off = *target - (a->gs ? GS_BASE : 0), v;
	uint64_t mask = a->addr_bytes == 8 ? ~0ull : a->addr_bytes == 4 ? 0xffffffffull : 0xffffull;
	unsigned reg;

	if (a->fixed) {
		*target = a->target;
		return;
	}
	off -= (uint64_t)a->disp;
	if (w->f->row->attr & A_VSIB)
		reg = a->base;
	else if (a->base != 0xff && a->base == a->index) {
		unsigned k = a->scale + 1u;

		reg = a->base;
		v = (off & mask) / k;
		*target -= (off & mask) % k;
		off = v;
	} else if (a->base != 0xff) {
		reg = a->base;
		if (a->index != 0xff)
			off -= g[a->index] * a->scale;
	} else {
		reg = a->index;
		v = (off & mask) / a->scale;
		*target -= (off & mask) % a->scale;
		off = v;
	}
	if (reg == 0xff)
		return;
	g[reg] = (g[reg] & ~mask) | (off & mask);
	if (w->c->mode == 32)
		g[reg] &= 0xffffffff;
}

static void solve_vsib(struct work *w)
{
	unsigned x = w->e->rm, lane = w->f->row->attr & A_W1 ? 8 : 4;
	uint8_t *lo = w->c->in.fx + 160 + 16 * x, *hi = w->c->in.ymmh + 16 * x;

	for (unsigned i = 0; i < 16; i += lane) {
		int64_t a = (int)rng_below(w->r, 33) - 16, b = (int)rng_below(w->r, 33) - 16;

		memcpy(lo + i, &a, lane);
		memcpy(hi + i, &b, lane);
	}
}

static void solve_operands(struct work *w)
{
	const struct form_row *row = w->f->row;
	struct encoding *e = w->e;
	struct dcase *c = w->c;
	uint64_t *g = c->in.gpr, target = 0, mask32 = c->mode == 32 ? 0xffffffffull : ~0ull;
	bool mem = e->addr.present;

	if (row->attr & A_STACK || row->attr & A_RET)
		g[R_SP] = window_address(w, 16, !rng_chance(w->r, 8)) + (c->window == WIN_MIDDLE ? rng_below(w->r, 4) * 8 : 0);
	if (row->attr & A_LEAVE)
		g[R_BP] = window_address(w, 16, !rng_chance(w->r, 8));
	if (row->attr & A_STR) {
		uint64_t m = e->addr.addr_bytes == 8 ? ~0ull : e->addr.addr_bytes == 4 ? 0xffffffffull : 0xffffull;
		uint64_t si = window_address(w, e->size, rng_chance(w->r, 2)) - (e->addr.gs ? GS_BASE : 0);
		uint64_t di = window_address(w, e->size, rng_chance(w->r, 2)), cx = rng_below(w->r, 40 / e->size + 3);

		g[R_SI] = (g[R_SI] & ~m) | (si & m);
		g[R_DI] = (g[R_DI] & ~m) | (di & m);
		if (row->pfx)
			g[R_CX] = (g[R_CX] & ~m) | cx;
		if (rng_chance(w->r, 3))
			c->in.rflags ^= FL_DF;
		if (rng_chance(w->r, 2)) /* something for CMPS and SCAS to find equal */
			memset(c->in.mem + rng_below(w->r, 128), (int)g[R_AX], 100);
	}
	if (row->attr & A_DIV && !rng_chance(w->r, 4)) {
		uint64_t sign = row->ext == 7 && rng_chance(w->r, 2) ? ~0ull : 0;

		g[R_DX] = sign ? sign & mask32 : rng_below(w->r, 4);
		if (e->size == 1)
			g[R_AX] = (g[R_AX] & ~0xff00ull) | (sign & 0xff00);
	}
	if (row->attr & A_CNT_DBL && row->imm == I0)
		g[R_CX] = e->size == 2 ? rng_below(w->r, 17) : rng_below(w->r, 256);
	else if (row->attr & (A_CNT_SH | A_CNT_ROT) && row->imm == I0 && rng_chance(w->r, 2))
		g[R_CX] = rng_below(w->r, e->size * 8 + 2);
	if (row->attr & A_BITOFF && mem)
		g[e->reg] = (uint64_t)((int64_t)rng_below(w->r, 401) - 200) & mask32;
	if (row->imm == IREL8 && row->attr & A_IMPL)
		g[R_CX] = rng_below(w->r, 4) == 3 ? g[R_CX] : rng_below(w->r, 3);
	if (row->attr & A_RDI)
		g[R_DI] = window_address(w, e->mem_bytes, false);
	if (row->attr & A_XLAT)
		g[R_BX] = (window_address(w, 1, false) - (uint8_t)g[R_AX]) & mask32;
	if (row->attr & A_VSIB)
		solve_vsib(w);
	if (mem) {
		bool aligned = row->attr & A_ALIGN ? !rng_chance(w->r, 8) : rng_chance(w->r, 2);

		target = window_address(w, e->mem_bytes, aligned);
		/* a locked access across a cache line stops the whole host */
		if (row->attr & A_LOCK && (target & 63) + e->mem_bytes > 64)
			target &= ~63ull;
		if (row->attr & A_BITOFF && c->window == WIN_MIDDLE)
			target = case_window_gva(c) + 96 + rng_below(w->r, 8) * 8;
		if (c->mode == 64 && e->addr.addr_bytes == 8 && !(row->attr & A_ALIGN) && !(c->in.rflags & FL_AC) &&
		    rng_chance(w->r, 100))
			target = 0x1234000000000000 | rng_next(w->r) >> 20;
		solve_address(w, &target);
	}
	if (row->attr & A_CX8 && rng_chance(w->r, 2)) {
		uint64_t v = mem_get(c, target);

		g[R_AX] = e->mem_bytes == 16 ? v : v & 0xffffffff;
		g[R_DX] = e->mem_bytes == 16 ? mem_get(c, target + 8) : v >> 32;
	}
	if (row->attr & A_SEL) {
		uint16_t sel = random_selector(w);

		if (mem)
			mem_put(c, target, sel, 2);
		else if (row->attr & A_STACK)
			mem_put(c, g[R_SP], sel, 2);
		else
			g[e->rm] = (g[e->rm] & ~0xffffull) | sel;
	}
	if (row->attr & (A_BRI | A_RET)) {
		uint64_t t = code_target(w);
		uint16_t sel = c->mode == 64 && rng_chance(w->r, 2) ? SEL_CODE64 : SEL_CODE32;

		if (rng_chance(w->r, 8))
			sel = (uint16_t)(rng_chance(w->r, 2) ? 0 : "\x2b\x28\x10\x88\x2f\x0b"[rng_below(w->r, 6)]);
		if (row->attr & A_RET) {
			mem_put(c, g[R_SP], t, e->size);
			if (row->attr & A_FAR) {
				mem_put(c, g[R_SP] + e->size, sel, e->size);
				mem_put(c, g[R_SP] + 2 * e->size + (row->imm == IW ? e->imm8 : 0), rng_next(w->r), e->size);
			}
		} else if (mem) {
			mem_put(c, target, t, e->size);
			if (row->attr & A_FAR)
				mem_put(c, target + 4, sel, 2);
		} else {
			g[e->rm] = t;
		}
	}
	if (row->op == 0x9d && row->enc == LEG && row->attr & A_STACK) /* POPF: no single-stepping */
		mem_put(c, g[R_SP], rng_next(w->r) & ~(uint64_t)FL_TF, 8);
}

/* Flags that depend on a shift count (SDM 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD) */
static uint32_t count_undefined(const struct form_row *row, const struct encoding *e, uint64_t cx)
{
	unsigned count = (row->imm == IB ? e->imm8 : (uint8_t)cx) & (e->size == 8 ? 63 : 31);
	uint32_t u = 0;

	if (count == 0)
		return 0;
	if (count != 1)
		u |= FL_OF;
	if (row->attr & (A_CNT_SH | A_CNT_DBL))
		u |= FL_AF;
	if (row->attr & A_CNT_SH && count >= e->size * 8)
		u |= FL_CF;
	return u;
}

static void fill_registers(struct dcase *c, struct rng *r, unsigned mode)
{
	for (unsigned i = 0; i < 16; i++) {
		c->in.gpr[i] = random_value(r);
		if (mode == 32)
			c->in.gpr[i] = i < 8 ? c->in.gpr[i] & 0xffffffff : 0;
	}
	for (unsigned i = 0; i < WIN_BYTES; i += 8) {
		uint64_t v = rng_next(r);

		memcpy(&c->in.mem[i], &v, 8);
	}
	c->in.rflags = FL_ONE | FL_IF | (rng_next(r) & FL_ARITH) | (rng_chance(r, 8) ? FL_DF : 0);
	c->in.cs = mode == 64 ? SEL_CODE64 : SEL_CODE32;
	c->in.ss = c->in.ds = c->in.es = SEL_DATA;
}

static enum window random_window(struct rng *r)
{
	unsigned n = rng_below(r, 24);

	return n == 0 ? WIN_LOW_EDGE : n == 1 ? WIN_READ_ONLY : n == 2 ? WIN_HIGH_EDGE : n == 3 ? WIN_READ_ONLY : WIN_MIDDLE;
}

/* ---- sequences ---- */
struct flag_use {
	uint32_t tested, written;
};

static bool flags_of(const uint8_t *code, unsigned len, unsigned mode, struct flag_use *u)
{
	ZydisDecoder d;
	ZydisDecodedInstruction i;

	ZydisDecoderInit(&d, mode == 64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
			 mode == 64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, code, len, &i)) || i.length != len)
		return false;
	u->tested = i.cpu_flags ? i.cpu_flags->tested : 0;
	u->written = i.cpu_flags ? i.cpu_flags->modified | i.cpu_flags->set_0 | i.cpu_flags->set_1 : 0;
	return true;
}

/* Flags that the code from `off` on may read, or leave behind at its end. */
static uint32_t live_flags(const ZydisDecoder *d, const struct dcase *c, uint64_t off)
{
	ZydisDecodedInstruction i;
	uint32_t live;

	if (off >= c->len || !ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(d, NULL, c->code + off, c->len - off, &i)))
		return FL_ARITH;
	live = live_flags(d, c, off + i.length);
	if (i.meta.category == ZYDIS_CATEGORY_COND_BR)
		live |= live_flags(d, c, off + i.length + (uint64_t)i.raw.imm[0].value.s);
	else if (i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
		return FL_ARITH;
	if (!i.cpu_flags)
		return live;
	live &= ~(i.cpu_flags->modified | i.cpu_flags->set_0 | i.cpu_flags->set_1 | i.cpu_flags->undefined);
	return (live | i.cpu_flags->tested) & FL_ARITH;
}

uint32_t fault_dead_flags(const struct dcase *c, const struct dout *want)
{
	ZydisDecoder d;

	ZydisDecoderInit(&d, c->mode == 64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
			 c->mode == 64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
	return FL_ARITH & ~live_flags(&d, c, want->st.rip - c->in.rip);
}

/* Appends instructions; returns the flags that are undefined at the end, and in *any those that ever were. */
static uint32_t gen_sequence(const struct form_table *t, struct rng *r, struct encoding *e, int base, uint32_t *any,
			     bool *alignment)
{
	unsigned want = 2 + rng_below(r, 6);
	uint32_t undef = 0;

	*any = 0;
	*alignment = false;
	for (unsigned tries = 0; want && tries < 64 && e->len < SLOT_BYTES - 20; tries++) {
		const struct form *f = &t->form[t->simple[rng_below(r, t->nsimple)]];
		struct encoding one = {.slot = e->slot};
		struct flag_use use, jcc_use = {0, 0};
		uint8_t jcc[2];
		uint32_t after;
		bool jump = rng_chance(r, 4);

		form_encode(t, f, r, &one, base);
		if (one.len > 15 || !flags_of(one.bytes, one.len, t->mode, &use) || use.tested & undef)
			continue;
		jcc[0] = (uint8_t)(0x70 + rng_below(r, 16));
		jcc[1] = (uint8_t)one.len;
		if (jump && (!flags_of(jcc, 2, t->mode, &jcc_use) || jcc_use.tested & undef))
			jump = false;
		if (f->row->attr & (A_CNT_SH | A_CNT_ROT | A_CNT_DBL))
			after = undef | FL_OF | (f->row->attr & A_CNT_ROT ? 0 : FL_AF) | (f->row->attr & A_CNT_SH ? FL_CF : 0);
		else
			after = (undef & ~use.written) | f->row->undef;
		if (jump) {
			memcpy(&e->bytes[e->len], jcc, 2);
			e->len += 2;
			after |= undef;
		}
		memcpy(&e->bytes[e->len], one.bytes, one.len);
		e->len += one.len;
		undef = after;
		*any |= undef;
		want--;
	}
	return undef;
}

static void gen_sequence_cases(const struct form_table *t, struct rng *r, struct encoding *e, struct dcase *out)
{
	static const uint8_t bases[] = {R_BX, R_SI, R_BP, R_DI, R_13, R_9};
	int base = bases[rng_below(r, t->mode == 64 ? 6 : 4)];
	uint32_t undef, any;
	bool alignment;

	undef = gen_sequence(t, r, e, base, &any, &alignment);
	for (unsigned s = 0; s < CODE_STATES; s++) {
		struct dcase *c = &out[s];

		fill_registers(c, r, t->mode);
		c->vec = false;
		c->loose = 0;
		c->undef_bits = 0;
		plain_vectors(&c->in, c->seed);
		c->alias = t->mode == 64 && rng_chance(r, 2) ? ALIAS_HIGH : ALIAS_NORMAL;
		c->window = (uint8_t)(rng_chance(r, 4) ? random_window(r) : WIN_MIDDLE);
		c->in.gpr[base] = case_window_gva(c) + WIN_BYTES / 2 - 4 + rng_below(r, 8);
		c->fl_undef = c->window == WIN_MIDDLE ? undef : undef | any;
	}
}

void gen_cases(const struct form_table *t, unsigned form, uint64_t seed, unsigned slot, struct dcase out[CODE_STATES])
{
	const struct form *f = &t->form[form];
	struct rng r = {seed ^ (uint64_t)form << 48};
	struct encoding e = {.slot = slot, .window = (uint8_t)random_window(&r)};

	rng_next(&r);
	for (unsigned s = 0; s < CODE_STATES; s++) {
		out[s].seed = seed;
		out[s].form = form;
		out[s].state_no = (uint8_t)s;
		out[s].mode = (uint8_t)t->mode;
		out[s].slot = (uint16_t)slot;
	}
	if (f->seq)
		gen_sequence_cases(t, &r, &e, out);
	else
		form_encode(t, f, &r, &e, -1);
	for (unsigned s = 0; s < CODE_STATES; s++) {
		struct dcase *c = &out[s];
		struct work w = {f, &e, &r, c};

		c->len = (uint8_t)e.len;
		memset(c->code, 0xcc, SLOT_BYTES);
		memcpy(c->code, e.bytes, e.len);
		c->in.rip = CODE_BASE + slot * SLOT_BYTES;
		if (f->seq)
			continue;
		fill_registers(c, &r, t->mode);
		c->alias = e.alias;
		c->window = e.addr.fixed ? e.window : (uint8_t)random_window(&r);
		if (f->row->attr & A_RDI) /* bytes that the mask leaves out may fault or not */
			c->window = WIN_MIDDLE;
		c->vec = (f->row->attr & A_VEC) != 0;
		if (c->vec) {
			random_vectors(&r, &c->in);
			if (rng_chance(&r, 2))
				random_lanes(&r, c->in.mem, WIN_BYTES);
		} else {
			plain_vectors(&c->in, seed);
		}
		c->loose = f->row->attr & (A_VSIB | A_MMX) ? LOOSE_VEC : 0;
		if (f->row->attr & (A_FAR | A_RDI) || f->row->imm == IENT || (f->row->attr & A_STR && f->row->op == 0xa6))
			c->loose |= LOOSE_ADDR;
		if (f->row->attr & A_NDS && f->row->rm == ME) /* masked moves */
			c->loose |= LOOSE_ADDR;
		if (f->row->op == 0x61 && f->row->attr & A_STACK)
			c->loose |= LOOSE_GPR;
		c->undef_reg = e.reg;
		/* LAR: the limit's bits 19-16 (SDM 2A LAR) */
		c->undef_bits = f->row->enc == LEG && f->row->map == 1 && f->row->op == 2 ? 0xf0000 : 0;
		/* whether #AC or #PF comes first is the processor's choice too */
		if (rng_chance(&r, 64) && c->window == WIN_MIDDLE && !c->loose && !(f->row->attr & A_VEC))
			c->in.rflags |= FL_AC;
		solve_operands(&w);
		c->fl_undef = f->row->undef;
		if (f->row->attr & (A_CNT_SH | A_CNT_ROT | A_CNT_DBL))
			c->fl_undef = count_undefined(f->row, &e, c->in.gpr[R_CX]);
	}
}
