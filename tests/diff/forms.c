/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of instruction forms and its encoder: from a row, an operand size and a register or memory operand to bytes.
 *
 * Everything that the row leaves open is drawn at random: registers, one of the many ways to address memory, redundant
 * REX prefixes, address-size and segment overrides, LOCK where it is allowed, immediates.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/diff/forms.h"

#define F(n, mo, en, p, ma, o, x, s, r, mb, im, a, u) {n, mo, en, p, ma, (uint8_t)(o), x, s, r, mb, im, a, u, NULL},
#define T(n, mo, a, u, b) {n, mo, FIX, 0, 0, 0, NM, SN, RG, 0, I0, a, u, b},
const struct form_row form_rows[] = {
#include "tests/diff/forms.def"
};
#undef F
#undef T
const unsigned form_row_count = sizeof(form_rows) / sizeof(form_rows[0]);

static bool add_form(struct form_table *t, const struct form_row *row, unsigned size, bool mem, unsigned seq, const char *name)
{
	if (t->n % 256 == 0) {
		struct form *f = realloc(t->form, (t->n + 256) * sizeof(*f));
		unsigned *s = realloc(t->simple, (t->n + 256) * sizeof(*s)), *v = realloc(t->vec, (t->n + 256) * sizeof(*v));

		if (f)
			t->form = f;
		if (s)
			t->simple = s;
		if (v)
			t->vec = v;
		if (!f || !s || !v)
			return false;
	}
	struct form *f = &t->form[t->n];

	*f = (struct form){.row = row, .mode = (uint8_t)t->mode, .size = (uint8_t)size, .mem = mem, .seq = (uint8_t)seq};
	snprintf(f->name, sizeof(f->name), "%s", name);
	if (!seq && row->attr & A_SIMPLE)
		t->simple[t->nsimple++] = t->n;
	if (!seq && row->attr & A_VEC && !(row->attr & (A_VSIB | A_RDI | A_IMPL | A_IMG | A_AMD)) && row->rm != 0)
		t->vec[t->nvec++] = t->n;
	t->n++;
	return true;
}

static const char *size_name(unsigned size)
{
	switch (size) {
	case 1:
		return ".8";
	case 2:
		return ".16";
	case 4:
		return ".32";
	case 8:
		return ".64";
	case 16:
		return ".x";
	case 32:
		return ".y";
	default:
		return "";
	}
}

bool forms_build(struct form_table *t, unsigned mode)
{
	static const uint8_t sizes[] = {SB, SW, SD, SQ, SX, SY, SN};
	static const char *const seqs[] = {"sequence a", "sequence b", "sequence c", "sequence d",
					   "vector sequence a", "vector sequence b"};
	unsigned bit = mode == 64 ? M64 : mode == 32 ? M32 : M16;

	t->mode = mode;
	for (unsigned i = 0; i < form_row_count; i++) {
		const struct form_row *row = &form_rows[i];

		if (!(row->modes & bit) || (row->attr & A_AMD && !t->ok.amd) || (row->attr & A_BASE && !t->ok.base) ||
		    (row->attr & A_LONG && mode != 64 && !t->compat))
			continue;
		for (unsigned s = 0; s < sizeof(sizes); s++) {
			if (!(row->sizes & sizes[s]) || (sizes[s] == SQ && mode != 64))
				continue;
			if (sizes[s] == SD && mode == 64 && row->attr & A_D64)
				continue;
			for (unsigned mem = 0; mem < 2; mem++) {
				char name[48];

				if (!(row->rm & (mem ? ME : RG)))
					continue;
				snprintf(name, sizeof(name), "%s%s%s", row->name, size_name(sizes[s]),
					 mem && row->rm == RM ? ".m" : "");
				if (!add_form(t, row, sizes[s] == SN ? 0 : sizes[s], mem, SEQ_NONE, name))
					return false;
			}
		}
	}
	for (unsigned i = 0; i < sizeof(seqs) / sizeof(seqs[0]); i++)
		if (!add_form(t, &form_rows[0], 4, false, i < 4 ? SEQ_INT : SEQ_VEC, seqs[i]))
			return false;
	return true;
}

void forms_free(struct form_table *t)
{
	free(t->form);
	free(t->simple);
	free(t->vec);
}

/* ---- the encoder ---- */
static void put(struct encoding *e, unsigned b)
{
	if (e->len < sizeof(e->bytes))
		e->bytes[e->len++] = (uint8_t)b;
}

static void put_n(struct encoding *e, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(e, (unsigned)(v >> (8 * i)) & 0xff);
}

static unsigned pick_reg(struct rng *r, unsigned mode, const struct form_row *row, int fixed_base)
{
	for (;;) {
		unsigned n = rng_below(r, mode == 64 && !(row->attr & A_MMX) ? 16 : 8);

		if (fixed_base < 0 || (n != (unsigned)fixed_base && n != R_SP && (n & 3) != ((unsigned)fixed_base & 3)))
			return n;
	}
}

/* A register for an address, or 0xff after many refusals. */
static unsigned pick_address_reg(struct rng *r, unsigned mode, uint32_t avoid)
{
	for (unsigned i = 0; i < 64; i++) {
		unsigned n = rng_below(r, mode == 64 ? 16 : 8);

		if (!(avoid & (1u << n)))
			return n;
	}
	return 0xff;
}

static uint64_t fixed_target(struct rng *r, struct encoding *e)
{
	unsigned off = rng_below(r, WIN_BYTES - e->mem_bytes);
	struct dcase c = {.alias = e->alias, .window = e->window};

	if (e->window != WIN_MIDDLE) /* around the edge */
		off = WIN_BYTES / 2 - e->mem_bytes + rng_below(r, 2 * e->mem_bytes);
	return case_window_gva(&c) + off;
}

/* ---- segments ---- */
void form_segments(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e)
{
	static const uint16_t odd[] = {SEL_LIMIT, SEL_LIMIT, SEL_LIMIT, SEL_DOWN32, SEL_DOWN16, SEL_READ_ONLY, SEL_FLAT_LDT, 0};

	/* what a mask leaves out may violate a limit or not; of XSAVE's image, a component that is not there */
	bool masked = f->row->attr & (A_RDI | A_VSIB | A_IMG) || (f->row->attr & A_NDS && f->row->rm == ME);

	if (f->row->op == 0xae && f->row->ext < 2)
		masked = false;
	e->sel[SEG_CS] = t->mode == 64 ? SEL_CODE64 : t->mode == 32 ? SEL_CODE32 : SEL_CODE16;
	e->sel[SEG_SS] = e->sel[SEG_DS] = e->sel[SEG_ES] = SEL_DATA;
	e->sel[SEG_GS] = t->ok.gs ? GS_SELECTOR : 0;
	e->gs_base = t->ok.gs ? GS_BASE : 0;
	e->sel[SEG_FS] = 0;
	e->fs_base = t->mode == 64 && t->ok.base ? FS_BASE : 0;
	if (t->mode == 64 || !t->ok.ldt)
		return;
	if (t->ok.base)
		e->sel[SEG_FS] = SEL_DATA16;
	if (t->mode == 32 && !rng_chance(r, 8))
		return;
	if (t->mode == 32 && rng_chance(r, 3))
		e->sel[SEG_CS] = SEL_CODE32B;
	for (unsigned s = SEG_ES; s <= SEG_DS; s++) {
		unsigned k = rng_below(r, 16);

		if (s == SEG_CS)
			continue;
		if (k < 9 || (t->mode == 16 && !t->ok.low))
			e->sel[s] = SEL_DATA16;
		else if (k < 12 && !f->seq && !masked)
			e->sel[s] = odd[rng_below(r, sizeof(odd) / sizeof(odd[0]))];
	}
	/* a stack segment is present and writable */
	if (e->sel[SEG_SS] == SEL_READ_ONLY || e->sel[SEG_SS] == 0)
		e->sel[SEG_SS] = SEL_DATA16;
}

uint64_t form_offset(const struct encoding *e, unsigned mode, unsigned seg, unsigned addr_bytes, uint64_t lin)
{
	struct dcase c = {.alias = e->alias};
	uint64_t base = seg_base(e->sel[seg]);

	if (mode == 64)
		return lin - (seg == SEG_FS ? e->fs_base : seg == SEG_GS ? e->gs_base : 0);
	if (base == SEG16_BASE)
		lin += DATA_NORMAL - case_data_base(&c);
	else if (addr_bytes == 2)
		lin += DATA_LOW - case_data_base(&c);
	return lin - base;
}

/* A prefix for a memory operand whose segment is *seg, or 0: one of eight has one. In 64-bit mode four do nothing. */
static unsigned pick_override(const struct form_table *t, const struct form *f, struct rng *r, uint8_t *seg)
{
	static const uint8_t prefix[SEG_COUNT] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
	unsigned s = rng_below(r, SEG_COUNT);

	if (!rng_chance(r, 8) || (s == SEG_GS && !t->ok.gs) || (s == SEG_FS && !t->ok.base))
		return 0;
	/* a branch target out of other slots' code would lead into them */
	if (f->row->attr & A_BRI && s == SEG_CS)
		return 0;
	if (t->mode != 64 || s >= SEG_FS)
		*seg = (uint8_t)s;
	return prefix[s];
}

struct modrm {
	unsigned override;  /* a segment prefix */
	uint8_t bytes[6];
	unsigned len, rex;  /* rex: bits X and B */
	unsigned rip_field; /* offset of a RIP-relative displacement, 0: none */
};

static void modrm_put(struct modrm *m, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		m->bytes[m->len++] = (uint8_t)(v >> (8 * i));
}

/* 16-bit addressing (SDM 2A table 2-1) */
static void encode_mem16(unsigned mode, bool image, struct rng *r, struct encoding *e, unsigned reg, struct modrm *m)
{
	static const uint8_t base[8] = {R_BX, R_BX, R_BP, R_BP, R_SI, R_DI, R_BP, R_BX};
	static const uint8_t index[8] = {R_SI, R_DI, R_SI, R_DI, 0xff, 0xff, 0xff, 0xff};
	struct enc_addr *a = &e->addr;

	for (unsigned tries = 0; tries < 64; tries++) {
		unsigned md = rng_below(r, 3), rm = rng_below(r, 8);

		a->addr_bytes = 2;
		a->scale = 1;
		a->base = base[rm];
		a->index = index[rm];
		a->disp = 0;
		m->len = 0;
		m->bytes[m->len++] = (uint8_t)(md << 6 | reg << 3 | rm);
		if (md == 0 && rm == 6 && image)
			continue;
		if (md == 0 && rm == 6) {
			a->base = 0xff;
			a->fixed = true;
			a->target = fixed_target(r, e);
			modrm_put(m, form_offset(e, mode, a->seg, 2, a->target), 2);
			return;
		}
		if (e->avoid & (1u << a->base) || (a->index != 0xff && e->avoid & (1u << a->index)))
			continue;
		if (a->base == R_BP && !m->override)
			a->seg = SEG_SS;
		if (md == 1) {
			a->disp = (int8_t)rng_next(r);
			modrm_put(m, (uint64_t)a->disp, 1);
		} else if (md == 2) {
			a->disp = (int16_t)rng_next(r);
			modrm_put(m, (uint64_t)a->disp, 2);
		}
		return;
	}
	/* every base is taken: an absolute address */
	m->len = 0;
	m->bytes[m->len++] = (uint8_t)(reg << 3 | 6);
	a->base = a->index = 0xff;
	a->fixed = true;
	a->target = fixed_target(r, e);
	modrm_put(m, form_offset(e, mode, a->seg, 2, a->target), 2);
}

/* The few ways to write [register + disp8] for sequences. */
static void encode_mem_fixed(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, unsigned reg,
			     unsigned base, struct modrm *m)
{
	struct enc_addr *a = &e->addr;

	a->base = (uint8_t)base;
	a->disp = (int8_t)(rng_below(r, 192) - 96);
	if (f->row->attr & A_ALIGN && !rng_chance(r, 16))
		a->disp &= ~31;
	if (t->mode != 64 && base == R_BP)
		a->seg = SEG_SS;
	m->rex = base >> 3;
	if (t->mode == 16)
		m->bytes[m->len++] = (uint8_t)(0x40 | reg << 3 | (base == R_BX ? 7 : base == R_BP ? 6 : base == R_SI ? 4 : 5));
	else
		m->bytes[m->len++] = (uint8_t)(0x40 | reg << 3 | (base & 7));
	if ((base & 7) == 4)
		m->bytes[m->len++] = 0x24;
	modrm_put(m, (uint64_t)a->disp, 1);
}

static unsigned default_address(unsigned mode)
{
	return mode / 8;
}

static void encode_mem(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, unsigned reg,
		       int fixed_base, struct modrm *m)
{
	struct enc_addr *a = &e->addr;
	unsigned mod, kind = rng_below(r, 16);
	bool vsib = f->row->attr & A_VSIB, image = f->row->attr & A_IMG; /* an image goes where there is room for it */

	a->present = true;
	a->base = a->index = 0xff;
	a->scale = 1;
	a->addr_bytes = (uint8_t)default_address(t->mode);
	a->seg = SEG_DS;
	reg &= 7;
	if (fixed_base >= 0) {
		encode_mem_fixed(t, f, r, e, reg, (unsigned)fixed_base, m);
		return;
	}
	m->override = pick_override(t, f, r, &a->seg);
	if (rng_chance(r, t->mode == 16 ? 4 : 16)) {
		if (t->mode == 64 || t->mode == 16)
			a->addr_bytes = 4;
		else if (t->ok.low && !vsib)
			a->addr_bytes = 2;
	}
	if (vsib && t->mode == 16)
		a->addr_bytes = 4;
	if (t->mode == 64 && a->addr_bytes == 8 && rng_chance(r, 3))
		e->alias = ALIAS_HIGH;
	if (a->addr_bytes == 2) {
		encode_mem16(t->mode, image, r, e, reg, m);
		return;
	}
	mod = rng_below(r, 3);
	if (!vsib && !image && e->alias == ALIAS_NORMAL && kind < 3) { /* absolute, or relative to RIP */
		bool sib = kind == 0;

		a->fixed = true;
		a->target = fixed_target(r, e);
		m->bytes[m->len++] = (uint8_t)(reg << 3 | (sib ? 4 : 5));
		if (sib)
			m->bytes[m->len++] = 0x25;
		else if (t->mode == 64)
			m->rip_field = m->len;
		modrm_put(m, form_offset(e, t->mode, a->seg, a->addr_bytes, a->target), 4);
		return;
	}
	if (mod)
		a->disp = mod == 1 ? (int8_t)rng_next(r) : (int32_t)rng_next(r);
	if (rng_chance(r, 4) && mod == 2)
		a->disp = (int32_t)DATA_NORMAL + (int32_t)(rng_next(r) & 0xffff);
	a->base = (uint8_t)pick_address_reg(r, t->mode, e->avoid);
	if (t->mode != 64 && (a->base == R_SP || a->base == R_BP) && !m->override)
		a->seg = SEG_SS;
	if (vsib) {
		a->index = 0xff;
		a->scale = 1;
		m->rex = a->base >> 3 & 1;
		m->bytes[m->len++] = (uint8_t)(mod << 6 | reg << 3 | 4);
		/* the vector index register is e->rm */
		m->rex |= (e->rm >> 3 & 1) << 1;
		m->bytes[m->len++] = (uint8_t)((e->rm & 7) << 3 | (a->base & 7));
		if (mod == 0 && (a->base & 7) == 5) {
			m->bytes[0] = (uint8_t)(0x40 | reg << 3 | 4);
			m->bytes[m->len++] = 0;
		}
	} else if (kind < 7 || (a->base & 7) == 4) { /* base + index * scale, or a SIB byte without index */
		unsigned scale = rng_below(r, 4), index = kind == 3 ? 4 : pick_address_reg(r, t->mode, e->avoid | 1u << R_SP);

		if (index == 0xff)
			index = 4;
		m->rex = (a->base >> 3 & 1) | (index >> 3 & 1) << 1;
		if (index != 4) {
			a->index = (uint8_t)index;
			a->scale = (uint8_t)(1u << scale);
		}
		if (kind == 4 && (a->base & 7) != 4 && index != 4) { /* index * scale + disp32 */
			a->base = 0xff;
			if (!m->override)
				a->seg = SEG_DS;
			a->disp = (int32_t)rng_next(r);
			m->rex &= 2;
			m->bytes[m->len++] = (uint8_t)(reg << 3 | 4);
			m->bytes[m->len++] = (uint8_t)(scale << 6 | (index & 7) << 3 | 5);
			modrm_put(m, (uint64_t)a->disp, 4);
			return;
		}
		if (mod == 0 && (a->base & 7) == 5) {
			mod = 1;
			a->disp = (int8_t)rng_next(r);
		}
		m->bytes[m->len++] = (uint8_t)(mod << 6 | reg << 3 | 4);
		m->bytes[m->len++] = (uint8_t)(scale << 6 | (index & 7) << 3 | (a->base & 7));
	} else {
		if (mod == 0 && (a->base & 7) == 5) {
			mod = 1;
			a->disp = (int8_t)rng_next(r);
		}
		m->rex = a->base >> 3 & 1;
		m->bytes[m->len++] = (uint8_t)(mod << 6 | reg << 3 | (a->base & 7));
	}
	if (mod)
		modrm_put(m, (uint64_t)a->disp, mod == 1 ? 1 : 4);
}

/* The immediate of a direct far jump or call: behind the code, or nowhere. */
static uint64_t far_target(const struct form *f, struct rng *r, const struct encoding *e)
{
	static const uint16_t sels[] = {SEL_CODE16, SEL_CODE16, SEL_CODE32, SEL_CODE32B, SEL_CODE32, SEL_CODE16, SEL_EXEC_ONLY,
					SEL_ABSENT_CODE, SEL_ABSENT_CONF, SEL_DATA, 0, 0x5f, 0x10};
	uint16_t sel = sels[rng_below(r, sizeof(sels) / sizeof(sels[0]))];
	uint64_t lin = CODE_BASE + e->slot * SLOT_BYTES + 16 + rng_below(r, SLOT_BYTES - 16), off = lin - seg_base(sel);

	(void)f;
	if (rng_chance(r, 16))
		off = CODE_BYTES + rng_below(r, 3 * CODE_BYTES);
	return (off & (e->size == 2 ? 0xffff : 0xffffffff)) | (uint64_t)sel << (8 * e->size);
}

static unsigned imm_bytes(const struct form *f, struct rng *r, struct encoding *e, uint64_t *val)
{
	unsigned room, n;

	*val = rng_chance(r, 3) ? (uint64_t)(int64_t)(int8_t)rng_next(r) : rng_next(r);
	switch (f->row->imm) {
	case IB:
		if (f->row->attr & A_INT) {
			/* not 0x80, which is a system call */
			static const uint8_t vec[] = {0, 1, 3, 4, 5, 8, 13, 14, 0x20, 0x7f, 0x81, 0xff};

			*val = vec[rng_below(r, sizeof(vec))];
		}
		/* a double shift of 16 bits by more than 16 has an undefined result */
		if (f->row->attr & A_CNT_DBL && e->size == 2)
			*val = rng_below(r, 17);
		else if (f->row->attr & (A_CNT_DBL | A_CNT_ROT | A_CNT_SH) && rng_chance(r, 2))
			*val = rng_below(r, e->size * 8 + 1);
		e->imm8 = (uint8_t)*val;
		return 1;
	case IW:
		*val = rng_below(r, 64);
		return 2;
	case IZ:
		return e->size > 4 ? 4 : e->size;
	case IV:
		return e->size;
	case IVREG:
		*val = (uint64_t)rng_below(r, f->mode == 64 ? 16 : 8) << 4;
		return 1;
	case IENT:
		*val = rng_below(r, 64) | (rng_chance(r, 2) ? (uint64_t)rng_below(r, 4) << 16 : 0);
		return 3;
	case IREL8:
		room = SLOT_BYTES - 16;
		*val = rng_below(r, room);
		return 1;
	case IRELZ:
		*val = rng_below(r, SLOT_BYTES - 24);
		n = f->size ? f->size == 2 ? 2 : 4 : f->mode == 16 ? 2 : 4;
		if (rng_chance(r, 16)) /* far out of the mapped code */
			*val = n == 2 ? CODE_BYTES + rng_below(r, CODE_BYTES)
				      : (uint64_t)(int64_t)(int32_t)(rng_next(r) & 0x3ffffff) + 0x100000;
		return n;
	case IBB:
		*val = rng_next(r);
		return 2;
	case ID0:
		*val = 0xd0;
		return 1;
	case IFAR:
		*val = far_target(f, r, e);
		return e->size + 2;
	case IMOFFS:
		e->addr.present = e->addr.fixed = true;
		e->addr.base = e->addr.index = 0xff;
		if (f->mode == 64 && rng_chance(r, 2))
			e->alias = ALIAS_HIGH;
		e->addr.target = fixed_target(r, e);
		*val = form_offset(e, f->mode, e->addr.seg, e->addr.addr_bytes, e->addr.target);
		return e->addr.addr_bytes;
	default:
		return 0;
	}
}

static void put_vex(struct rng *r, const struct form *f, struct encoding *e, unsigned rex, unsigned opcode)
{
	const struct form_row *row = f->row;
	unsigned pp = row->pfx == 0x66 ? 1 : row->pfx == 0xf3 ? 2 : row->pfx == 0xf2 ? 3 : 0;
	unsigned w = (row->attr & A_W1) || ((row->attr & A_WSZ) && f->size == 8) ? 1 : 0;
	unsigned vvvv = row->attr & A_NDS ? e->vvvv : 0;
	unsigned low = (~vvvv & 15) << 3 | (f->size == 32 ? 4 : 0) | pp;

	if (row->map == 1 && !w && !(rex & 3) && rng_chance(r, 2)) {
		put(e, 0xc5);
		put(e, (rex & 4 ? 0 : 0x80) | low);
	} else {
		put(e, 0xc4);
		put(e, (~rex & 7) << 5 | row->map);
		put(e, w << 7 | low);
	}
	put(e, opcode);
}

static void encode_fixed(const struct form_row *row, struct encoding *e)
{
	for (const char *p = row->bytes; p[0] && p[1]; p += 2) {
		char two[3] = {p[0], p[1], 0};

		put(e, (unsigned)strtoul(two, NULL, 16));
	}
}

/* Prefixes that do nothing: REPs before what does not repeat, a segment that a later prefix overrides, a REX that is not
 * the last prefix. (REPs before LOOPE and LOOPNE make one of the other on some processors.) */
static void put_odd_prefixes(const struct form_table *t, const struct form_row *row, struct rng *r, struct encoding *e, bool seg)
{
	bool rep_means_something = (row->op & 0xf8) == 0x90 || (row->op & 0xfc) == 0x6c || (row->op & 0xfe) == 0xe0;

	if (row->map == 0 && !row->pfx && !(row->attr & (A_STR | A_VEC)) && !rep_means_something && rng_chance(r, 24))
		put(e, rng_chance(r, 2) ? 0xf2 : 0xf3);
	if (!seg)
		return;
	if (rng_chance(r, 4))
		put(e, 0x26 + 8 * rng_below(r, 4));
	if (t->mode == 64 && rng_chance(r, 8))
		put(e, 0x40 + rng_below(r, 16));
}

static uint32_t implied_registers(const struct form_row *row)
{
	uint32_t avoid = 0;

	if (row->attr & A_IMPL)
		avoid |= 1u << R_AX | 1u << R_CX | 1u << R_DX | 1u << R_BX;
	if (row->attr & (A_STACK | A_RET | A_IRET))
		avoid |= 1u << R_SP;
	if (row->attr & A_STR)
		avoid |= 1u << R_SI | 1u << R_DI | 1u << R_CX;
	if (row->attr & A_RDI)
		avoid |= 1u << R_DI;
	if (row->attr & A_LEAVE)
		avoid |= 1u << R_BP;
	return avoid;
}

void form_encode(const struct form_table *t, const struct form *f, struct rng *r, struct encoding *e, int fixed_base)
{
	const struct form_row *row = f->row;
	struct modrm m = {.len = 0};
	unsigned rex = 0, opcode = row->op, cc = row->attr & A_CC ? rng_below(r, 16) : 0;
	uint64_t imm;
	unsigned nimm;
	bool byte_regs;

	e->size = f->size;
	e->mem_bytes = row->mb ? row->mb : f->size ? f->size : 1;
	e->far = e->size == 8 && t->ok.amd ? 4 : e->size; /* AMD's processors ignore REX.W here */
	if (row->attr & A_FARPTR)
		e->mem_bytes = e->far + 2u;
	if (row->attr & A_IMG)
		e->mem_bytes = image_bytes(f);
	e->avoid = implied_registers(row);
	if (row->enc == FIX) {
		encode_fixed(row, e);
		return;
	}
	e->reg = (uint8_t)pick_reg(r, t->mode, row, fixed_base);
	e->rm = (uint8_t)pick_reg(r, t->mode, row, fixed_base);
	e->vvvv = (uint8_t)pick_reg(r, t->mode, row, fixed_base);
	if (row->attr & A_VSIB && !rng_chance(r, 16)) { /* destination, index and mask differ */
		unsigned n = t->mode == 64 ? 15 : 7;

		e->rm = (uint8_t)((e->reg + 1) & n);
		e->vvvv = (uint8_t)((e->reg + 2) & n);
	}
	if (row->attr & A_BITOFF)
		e->avoid |= 1u << e->reg;
	if (row->attr & A_CNT_DBL && row->imm == I0)
		e->avoid |= 1u << R_CX;
	if (row->ext >= 0)
		e->reg = (uint8_t)row->ext;
	if (row->ext >= RR) {
		if (f->mem) {
			encode_mem(t, f, r, e, e->reg, fixed_base, &m);
		} else {
			m.bytes[m.len++] = (uint8_t)(0xc0 | (e->reg & 7) << 3 | (e->rm & 7));
			m.rex = e->rm >> 3;
		}
		if (row->ext == RR)
			rex |= (e->reg >> 3) << 2;
		rex |= m.rex;
	} else if (row->ext == OR_) {
		e->reg = e->rm;
		rex |= e->rm >> 3;
		opcode |= e->rm & 7;
	}
	if (t->mode == 64 && !f->mem && row->attr & (A_STACK | A_RET | A_IRET | A_LEAVE | A_RDI | A_XLAT) && rng_chance(r, 3))
		e->alias = ALIAS_HIGH;
	opcode += cc;
	if (row->attr & A_W && f->size != 1)
		opcode |= 1;
	byte_regs = f->size == 1 || row->mb == 1;
	e->locked = false;
	if (row->attr & A_STR) { /* ES:RDI is never overridden, DS:RSI may be */
		e->addr.addr_bytes = (uint8_t)default_address(t->mode);
		e->addr.seg = SEG_DS;
		m.override = pick_override(t, f, r, &e->addr.seg);
		if (t->mode == 32 ? t->ok.low && rng_chance(r, 8) : rng_chance(r, 8))
			e->addr.addr_bytes = t->mode == 32 ? 2 : 4;
		else if (t->mode == 64 && rng_chance(r, 3))
			e->alias = ALIAS_HIGH;
	}
	if (row->imm == IMOFFS || row->attr & A_XLAT) {
		e->addr.seg = SEG_DS;
		e->addr.addr_bytes = (uint8_t)default_address(t->mode);
		m.override = pick_override(t, f, r, &e->addr.seg);
	}
	if (row->enc == LEG)
		put_odd_prefixes(t, row, r, e, m.override != 0);
	if (m.override)
		put(e, m.override);
	if ((e->addr.present || row->attr & A_STR) && e->addr.addr_bytes && e->addr.addr_bytes != default_address(t->mode))
		put(e, 0x67);
	if (row->enc == LEG) {
		bool w = f->size == 8 && !(row->attr & A_D64);
		/* has its operand size from a prefix: not MOVD and its like, but the images of x87 state */
		bool sized = !(row->attr & (A_OVER | A_VEC)) || (row->attr & A_IMG && row->map == 0);

		if (row->attr & A_LOCK && f->mem && rng_chance(r, 4)) {
			put(e, 0xf0);
			e->locked = true;
		}
		if (f->size == 2 ? t->mode != 16 : f->size == 4 && t->mode == 16 && sized)
			put(e, 0x66);
		if (row->pfx)
			put(e, row->pfx);
		if (t->mode == 64) {
			/* a redundant REX makes SPL..DIL of AH..BH; elsewhere it changes nothing */
			if (w)
				rex |= 8;
			if (rex || rng_chance(r, byte_regs ? 4 : 16))
				put(e, 0x40 | rex);
		}
		if (row->map)
			put(e, 0x0f);
		if (row->map == 2)
			put(e, 0x38);
		if (row->map == 3)
			put(e, 0x3a);
		put(e, opcode);
	} else {
		put_vex(r, f, e, rex, opcode);
	}
	unsigned at = e->len;

	for (unsigned i = 0; i < m.len; i++)
		put(e, m.bytes[i]);
	nimm = imm_bytes(f, r, e, &imm);
	put_n(e, imm, nimm);
	if (m.rip_field) {
		uint64_t next = CODE_BASE + e->slot * SLOT_BYTES + e->len;
		uint32_t disp = (uint32_t)(form_offset(e, 64, e->addr.seg, 8, e->addr.target) - next);

		memcpy(&e->bytes[at + m.rip_field], &disp, 4);
	}
}
