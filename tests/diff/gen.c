/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cases: an encoding, and register and memory states that make it do something.
 *
 * Operands are random (gen_value.c). Address registers are solved for afterwards, so that a memory operand meets the
 * window; one case in six has its window at a page boundary where something faults. Sequences join simple forms: what one instruction leaves in registers and
 * flags is the next one's input, which is what a translator's liveness and register tricks must survive.
 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "tests/diff/forms.h"

/* ---- one state for an encoding ---- */
struct work {
	const struct form_table *t;
	const struct form *f;
	struct encoding *e;
	struct rng *r;
	struct dcase *c;
	uint64_t sp; /* where in the window the stack is */
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
		off = rng_chance(w->r, 8) ? half - n + rng_below(w->r, 2 * n)
					  : half - CORE_BYTES / 2 + 40 + rng_below(w->r, CORE_BYTES - 80 - n);
	else
		off = half - n - 8 + rng_below(w->r, 2 * n + 16);
	if (aligned)
		off &= ~(n - 1);
	return case_window_gva(w->c) + off;
}

/*
 * An offset in code segment sel for n bytes of instruction pointer. It must not lead into another slot, where anything may
 * be: behind the last slot there is nothing, behind twice that the limit of the segments that begin with the slots.
 */
static uint64_t code_target(struct work *w, uint16_t sel, unsigned n)
{
	uint64_t base = seg_base(sel), beyond = CODE_BYTES + rng_below(w->r, 3 * CODE_BYTES);

	switch (rng_below(w->r, 24)) {
	case 0:
		return n == 2 ? beyond : DATA_NORMAL + 0x1f00 + rng_below(w->r, 256) - base; /* no-execute */
	case 1:
		return n == 2 || base ? beyond : CODE_BASE + 0x800000 + rng_below(w->r, 4096); /* not mapped */
	case 2:
		if (w->c->mode == 64 && n == 8)
			return 0x1234000000000000 | rng_next(w->r) >> 20;
		return base ? beyond : rng_below(w->r, 4096);
	default:
		return CODE_BASE + w->e->slot * SLOT_BYTES - base + w->e->len + rng_below(w->r, SLOT_BYTES - w->e->len);
	}
}

static unsigned stack_width(const struct work *w)
{
	const struct x86_seg *ss = seg_find(w->e->sel[SEG_SS]);

	return w->c->mode == 64 ? 8 : ss && ss->attr & SA_DB ? 4 : 2;
}

/* A code selector for a far transfer. Legacy mode has no 64-bit code. */
static uint16_t far_selector(struct work *w)
{
	static const uint16_t good[] = {SEL_CODE32, SEL_CODE16, SEL_CODE32, SEL_CODE32B, SEL_EXEC_ONLY, SEL_CODE64, SEL_CODE64};
	static const uint16_t bad[] = {0, SEL_DATA, 0x28, 0x10, 0x88, 0x0b, SEL_ABSENT_CODE, SEL_ABSENT_CONF, SEL_DATA16, 0x5f,
				       0x22, 0x04};
	/* with a 16-bit stack the kernel leaves rubbish in bits 63-32 of RSP, which 64-bit code would use */
	bool lng = w->c->mode == 64 || (w->t->compat && stack_width(w) > 2);

	if (rng_chance(w->r, 8))
		return bad[rng_below(w->r, sizeof(bad) / sizeof(bad[0]))];
	return good[rng_below(w->r, lng ? 7 : 5)];
}

static uint16_t random_selector(struct work *w)
{
	static const uint16_t sel[] = {0, 1, 3, SEL_CODE32, SEL_DATA, SEL_DATA, SEL_DATA, SEL_CODE32, 0x28, 0x10, 0x18, 0x88,
				       SEL_DATA16, SEL_DATA16, SEL_CODE64, 0x2a, SEL_CODE16, SEL_CODE32B, SEL_LIMIT, SEL_DOWN32,
				       SEL_DOWN16, SEL_READ_ONLY, SEL_ABSENT, SEL_EXEC_ONLY, SEL_ABSENT_CONF, SEL_ABSENT_CODE,
				       SEL_FLAT_LDT, 0x5f, 0x6f, 0x0d, GS_SELECTOR, 0x04};

	return sel[rng_below(w->r, sizeof(sel) / sizeof(sel[0]))];
}

static void solve_address(struct work *w, uint64_t *target)
{
	struct enc_addr *a = &w->e->addr;
	uint64_t *g = w->c->in.gpr, v, off = form_offset(w->e, w->c->mode, a->seg, a->addr_bytes, *target);
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
	if (w->c->mode != 64)
		g[reg] &= 0xffffffff;
}

/* Puts the offset of a window address into a register, as many bytes of it as an address has. */
static void set_offset(struct work *w, unsigned reg, unsigned seg, unsigned addr_bytes, uint64_t lin)
{
	uint64_t m = addr_bytes == 8 ? ~0ull : addr_bytes == 4 ? 0xffffffffull : 0xffffull, *g = w->c->in.gpr;

	g[reg] = (g[reg] & ~m) | (form_offset(w->e, w->c->mode, seg, addr_bytes, lin) & m);
	if (w->c->mode != 64)
		g[reg] &= 0xffffffff;
}

/* An image of x87 or vector state, wholly on one side of an edge; the sides have room for the largest. */
static uint64_t solve_image(struct work *w)
{
	const struct form_row *row = w->f->row;
	struct dcase *c = w->c;
	unsigned n = w->e->mem_bytes, half = WIN_BYTES / 2, off;
	unsigned align = row->map != 1 ? 1 : n == 512 ? 16 : 64;

	if (c->window == WIN_MIDDLE)
		off = rng_below(w->r, WIN_BYTES - n);
	else
		off = rng_below(w->r, half - n) + (rng_chance(w->r, 2) ? half : 0);
	if (!rng_chance(w->r, 8))
		off &= ~(align - 1);
	image_fill(w->f, w->r, c, off);
	if (row->map == 1) {
		c->undef_mem = (uint16_t)(off + 6);
		c->undef_mem_len = 18; /* FOP, FIP, FDP */
	} else {
		c->undef_mem = (uint16_t)(off + 3 * w->f->size);
		c->undef_mem_len = (uint16_t)(4 * w->f->size);
	}
	c->image = true;
	c->in.gpr[R_AX] = rng_next(w->r) & 7; /* other components are not the guest's */
	c->in.gpr[R_DX] = 0;
	return case_window_gva(c) + off;
}

static void solve_iret(struct work *w)
{
	struct dcase *c = w->c;
	unsigned n = w->e->size;
	uint16_t sel = far_selector(w);
	uint64_t flags = rng_next(w->r) | (rng_chance(w->r, 2) ? FL_IF : 0);
	static const uint16_t stacks[] = {SEL_DATA, SEL_DATA, SEL_DATA, SEL_DATA16, SEL_LIMIT, SEL_FLAT_LDT, 0, SEL_CODE32, SEL_ABSENT};

	mem_put(c, w->sp, code_target(w, sel, n), n);
	mem_put(c, w->sp + n, sel, n);
	mem_put(c, w->sp + 2 * n, flags & ~(uint64_t)FL_NT, n);
	if (c->mode == 64) {
		mem_put(c, w->sp + 3 * n, random_value(w->r), n);
		mem_put(c, w->sp + 4 * n, stacks[rng_below(w->r, sizeof(stacks) / sizeof(stacks[0]))], n);
	}
}

static void solve_vsib(struct work *w)
{
	unsigned x = w->e->rm, lane = w->f->row->op & 1 ? 8 : 4; /* of indexes */
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
	uint64_t *g = c->in.gpr, target = 0, mask32 = c->mode != 64 ? 0xffffffffull : ~0ull;
	bool mem = e->addr.present;

	if (row->attr & (A_STACK | A_RET | A_IRET)) {
		w->sp = window_address(w, 16, !rng_chance(w->r, 8)) + (c->window == WIN_MIDDLE ? rng_below(w->r, 4) * 8 : 0);
		set_offset(w, R_SP, SEG_SS, stack_width(w), w->sp);
	}
	if (row->attr & A_LEAVE)
		set_offset(w, R_BP, SEG_SS, stack_width(w), window_address(w, 16, !rng_chance(w->r, 8)));
	if (row->attr & A_STR) {
		unsigned n = e->addr.addr_bytes;
		uint64_t m = n == 8 ? ~0ull : n == 4 ? 0xffffffffull : 0xffffull, cx = rng_below(w->r, 40 / e->size + 3);

		set_offset(w, R_SI, e->addr.seg, n, window_address(w, e->size, rng_chance(w->r, 2)));
		set_offset(w, R_DI, SEG_ES, n, window_address(w, e->size, rng_chance(w->r, 2)));
		if (row->pfx)
			g[R_CX] = (g[R_CX] & ~m) | cx;
		if (c->mode != 64)
			g[R_CX] &= 0xffffffff;
		if (rng_chance(w->r, 3))
			c->in.rflags ^= FL_DF;
		if (rng_chance(w->r, 2)) /* something for CMPS and SCAS to find equal */
			memset(c->in.mem + (WIN_BYTES - CORE_BYTES) / 2 + rng_below(w->r, 128), (int)g[R_AX], 100);
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
		set_offset(w, R_DI, SEG_DS, c->mode / 8, window_address(w, e->mem_bytes, false));
	if (row->attr & A_XLAT)
		set_offset(w, R_BX, e->addr.seg, c->mode / 8, window_address(w, 1, false) - (uint8_t)g[R_AX]);
	if (row->attr & A_VSIB)
		solve_vsib(w);
	if (mem) {
		bool aligned = row->attr & A_ALIGN ? !rng_chance(w->r, 8) : rng_chance(w->r, 2);

		target = row->attr & A_IMG ? solve_image(w) : window_address(w, e->mem_bytes, aligned);
		/* a locked access across a cache line stops the whole host */
		if (row->attr & A_LOCK && (target & 63) + e->mem_bytes > 64)
			target &= ~63ull;
		if (row->attr & A_BITOFF && c->window == WIN_MIDDLE)
			target = case_window_gva(c) + WIN_BYTES / 2 - 32 + rng_below(w->r, 8) * 8;
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
			mem_put(c, target + (row->attr & A_FARPTR ? e->far : 0), sel, 2);
		else if (row->attr & A_STACK)
			mem_put(c, w->sp, sel, 2);
		else
			g[e->rm] = (g[e->rm] & ~0xffffull) | sel;
	}
	if (row->attr & A_MXCSR) {
		uint32_t mxcsr = (uint32_t)rng_next(w->r) & 0xffff;

		if (rng_chance(w->r, 8))
			mxcsr ^= 1u << rng_below(w->r, 32);
		mem_put(c, target, mxcsr, 4);
	}
	if (row->attr & A_XCR)
		g[R_CX] = 0;
	if (row->attr & A_IRET)
		solve_iret(w);
	if (row->attr & (A_BRI | A_RET)) {
		bool far = row->attr & A_FAR;
		uint16_t sel = far ? far_selector(w) : e->sel[SEG_CS];
		uint64_t t = code_target(w, sel, e->size);

		if (row->attr & A_RET) {
			mem_put(c, w->sp, t, e->size);
			if (far) {
				mem_put(c, w->sp + e->size, sel, e->size);
				mem_put(c, w->sp + 2 * e->size + (row->imm == IW ? e->imm8 : 0), rng_next(w->r), e->size);
			}
		} else if (mem) {
			mem_put(c, target, t, e->size);
			if (far)
				mem_put(c, target + e->far, sel, 2);
		} else {
			g[e->rm] = t;
		}
	}
	if (row->op == 0x9d && row->enc == LEG && row->attr & A_STACK && !c->steps) /* POPF: no single-stepping */
		mem_put(c, w->sp, rng_next(w->r) & ~(uint64_t)FL_TF, 8);
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

static void fill_registers(struct dcase *c, struct rng *r, unsigned mode, const struct encoding *e)
{
	for (unsigned i = 0; i < 16; i++) {
		c->in.gpr[i] = random_value(r);
		if (mode != 64)
			c->in.gpr[i] = i < 8 ? c->in.gpr[i] & 0xffffffff : 0;
	}
	for (unsigned i = 0; i < WIN_BYTES; i += 8) {
		uint64_t v = rng_next(r);

		memcpy(&c->in.mem[i], &v, 8);
	}
	c->in.rflags = FL_ONE | FL_IF | (rng_next(r) & FL_ARITH) | (rng_chance(r, 8) ? FL_DF : 0);
	memcpy(c->in.seg, e->sel, sizeof(c->in.seg));
	c->in.fs_base = e->fs_base;
	c->in.gs_base = e->gs_base;
	c->in.rip = CODE_BASE + e->slot * SLOT_BYTES - seg_base(e->sel[SEG_CS]);
	c->undef_mem_len = 0;
	c->undef_regs = 0;
	c->undef_reg = 0xff;
	c->undef_bits = 0;
	c->loose = 0;
	c->steps = 0;
	c->image = false;
	c->compat = false;
}

/* TF from the first instruction on. */
static void single_step(struct dcase *c)
{
	c->in.rflags |= FL_TF;
	c->steps = MAX_STEPS;
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

	case_decoder(&d, mode);
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

	case_decoder(&d, c->mode);
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
		struct encoding one = *e;
		struct flag_use use, jcc_use = {0, 0};
		uint8_t jcc[2];
		uint32_t after;
		bool jump = rng_chance(r, 4);

		one.len = 0;
		one.addr = (struct enc_addr){.present = false};
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

/* x87 and vector instructions in a row: what one leaves pending (#MF), the next one sees. */
static void gen_vector_sequence(const struct form_table *t, struct rng *r, struct encoding *e, int base)
{
	for (unsigned want = 2 + rng_below(r, 4), tries = 0; want && tries < 32 && e->len < SLOT_BYTES - 20; tries++) {
		const struct form *f = &t->form[t->vec[rng_below(r, t->nvec)]];
		struct encoding one = *e;
		ZydisDecoder d;
		ZydisDecodedInstruction i;

		one.len = 0;
		one.addr = (struct enc_addr){.present = false};
		form_encode(t, f, r, &one, base);
		case_decoder(&d, t->mode);
		/* how far an MMX instruction that faults has made the x87 registers its own is the processor's choice */
		if (f->row->attr & A_MMX && (f->mem || f->row->op == 0x2a || (f->row->op & 0xfe) == 0x2c))
			continue;
		/* registers are results of some: the base has to survive */
		if (one.len > 15 || !ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, one.bytes, one.len, &i)) ||
		    i.length != one.len || (!f->mem && (one.reg == base || one.rm == base)))
			continue;
		memcpy(&e->bytes[e->len], one.bytes, one.len);
		e->len += one.len;
		want--;
	}
}

static void gen_sequence_cases(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, struct dcase *out)
{
	static const uint8_t bases[] = {R_BX, R_SI, R_BP, R_DI, R_13, R_9};
	int base = bases[rng_below(r, t->mode == 64 ? 6 : 4)];
	uint32_t undef = 0, any = 0;
	bool alignment, vec = f->seq == SEQ_VEC;

	if (vec)
		gen_vector_sequence(t, r, e, base);
	else
		undef = gen_sequence(t, r, e, base, &any, &alignment);
	for (unsigned s = 0; s < CODE_STATES; s++) {
		struct dcase *c = &out[s];
		struct work w = {.t = t, .f = f, .e = e, .r = r, .c = c};
		uint64_t at;

		fill_registers(c, r, t->mode, e);
		c->vec = vec;
		if (vec)
			random_vectors(r, &c->in);
		else
			plain_vectors(&c->in, c->seed);
		e->alias = c->alias = t->mode == 64 && rng_chance(r, 2) ? ALIAS_HIGH : ALIAS_NORMAL;
		c->window = (uint8_t)(rng_chance(r, 4) ? random_window(r) : WIN_MIDDLE);
		at = case_window_gva(c) + WIN_BYTES / 2 - 4 + rng_below(r, 8);
		if (vec && !rng_chance(r, 16))
			at = (at + 16) & ~31ull;
		set_offset(&w, (unsigned)base, base == R_BP && t->mode != 64 ? SEG_SS : SEG_DS, t->mode / 8, at);
		c->fl_undef = c->window == WIN_MIDDLE ? undef : undef | any;
		if (rng_chance(r, 16)) {
			single_step(c);
			c->fl_undef = undef | any;
		}
	}
}

static uint8_t loose_results(const struct form_row *row)
{
	uint8_t loose = row->attr & (A_VSIB | A_MMX) ? LOOSE_VEC : 0;

	if (row->attr & (A_FAR | A_RDI | A_IRET | A_FARPTR) || row->imm == IENT || (row->attr & A_STR && row->op == 0xa6))
		loose |= LOOSE_ADDR;
	if (row->attr & A_NDS && row->rm == ME) /* masked moves */
		loose |= LOOSE_ADDR;
	if (row->attr & A_IMG)
		loose |= LOOSE_ADDR | LOOSE_VEC;
	if (row->op == 0x61 && row->attr & A_STACK)
		loose |= LOOSE_GPR;
	return loose;
}

/* What the manual leaves open about this form's results. */
static void undefined_results(const struct form *f, const struct encoding *e, struct dcase *c)
{
	const struct form_row *row = f->row;

	/* LAR: the limit's bits 19-16 (SDM 2A LAR) */
	if (row->enc == LEG && row->map == 1 && row->op == 2) {
		c->undef_reg = e->reg;
		c->undef_bits = 0xf0000;
	}
	c->undef_regs = (uint16_t)(row->undef >> U_REGS_SHIFT & 15);
	if (row->undef & U_RM)
		c->undef_regs |= (uint16_t)(1u << e->rm);
	c->fl_undef = row->undef & U_FLAGS;
	if (row->attr & (A_CNT_SH | A_CNT_ROT | A_CNT_DBL))
		c->fl_undef = count_undefined(row, e, c->in.gpr[R_CX]);
}

static void gen_single(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, struct dcase *c)
{
	struct work w = {.t = t, .f = f, .e = e, .r = r, .c = c};

	fill_registers(c, r, t->mode, e);
	c->alias = e->alias;
	c->window = e->addr.fixed ? e->window : (uint8_t)random_window(r);
	if (f->row->attr & A_RDI) /* bytes that the mask leaves out may fault or not */
		c->window = WIN_MIDDLE;
	c->vec = (f->row->attr & A_VEC) != 0;
	if (c->vec) {
		random_vectors(r, &c->in);
		if (rng_chance(r, 2))
			random_lanes(r, c->in.mem + (WIN_BYTES - CORE_BYTES) / 2, CORE_BYTES);
	} else {
		plain_vectors(&c->in, c->seed);
	}
	c->loose = loose_results(f->row);
	c->compat = t->compat && f->row->attr & (A_FAR | A_IRET | A_LONG);
	/* whether #AC or #PF comes first is the processor's choice too */
	if (rng_chance(r, 32) && c->window == WIN_MIDDLE && !c->loose && !(f->row->attr & A_VEC))
		c->in.rflags |= FL_AC;
	/* a gather that faults in the middle may report the step in place of the fault (SDM 2 VGATHERDPS) */
	else if (rng_chance(r, 32) && !(f->row->attr & A_VSIB))
		single_step(c);
	solve_operands(&w);
	undefined_results(f, e, c);
}

void gen_cases(const struct form_table *t, unsigned form, uint64_t seed, unsigned slot, struct dcase out[CODE_STATES])
{
	const struct form *f = &t->form[form];
	struct rng r = {seed ^ (uint64_t)form << 48};
	struct encoding e = {.slot = slot, .window = (uint8_t)random_window(&r)};

	rng_next(&r);
	form_segments(t, f, &r, &e);
	for (unsigned s = 0; s < CODE_STATES; s++) {
		out[s].seed = seed;
		out[s].form = form;
		out[s].state_no = (uint8_t)s;
		out[s].mode = (uint8_t)t->mode;
		out[s].slot = (uint16_t)slot;
	}
	if (f->seq)
		gen_sequence_cases(t, f, &r, &e, out);
	else
		form_encode(t, f, &r, &e, -1);
	for (unsigned s = 0; s < CODE_STATES; s++) {
		struct dcase *c = &out[s];

		c->len = (uint8_t)e.len;
		memset(c->code, 0xcc, SLOT_BYTES);
		memcpy(c->code, e.bytes, e.len);
		if (!f->seq)
			gen_single(t, f, &r, &e, c);
	}
}
