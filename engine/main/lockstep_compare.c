/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "the same state" means.
 *
 * Compared after every block: all that software can see of the processor. Not compared: the arithmetic flags when no
 * instruction reads them (lockstep.c), and the x87 opcode and pointers of the last instruction (SDM 1 8.1.8), which the
 * translator does not keep.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "engine/apic/lapic.h"
#include "engine/main/lockstep_int.h"
#include "engine/msr.h"
#include "translator/vec.h"

struct field {
	const char *name;
	uint16_t off, bytes;
};

#define F(f)                                                                        \
	{                                                                           \
#f, offsetof(struct x86_regs, f), sizeof(((struct x86_regs *)0)->f) \
	}
#define GPR(n, i)                                              \
	{                                                      \
		n, offsetof(struct x86_regs, gpr) + 8 * (i), 8 \
	}
#define SEG(n, f)                                                                                                      \
	{n " selector", offsetof(struct x86_regs, f.sel), 2}, {n " attributes", offsetof(struct x86_regs, f.attr), 2}, \
		{n " limit", offsetof(struct x86_regs, f.limit), 4},                                                   \
	{                                                                                                              \
		n " base", offsetof(struct x86_regs, f.base), 8                                                        \
	}

static const struct field fields[] = {
	GPR("rax", 0),
	GPR("rcx", 1),
	GPR("rdx", 2),
	GPR("rbx", 3),
	GPR("rsp", 4),
	GPR("rbp", 5),
	GPR("rsi", 6),
	GPR("rdi", 7),
	GPR("r8", 8),
	GPR("r9", 9),
	GPR("r10", 10),
	GPR("r11", 11),
	GPR("r12", 12),
	GPR("r13", 13),
	GPR("r14", 14),
	GPR("r15", 15),
	F(rip),
	SEG("es", seg[SEG_ES]),
	SEG("cs", seg[SEG_CS]),
	SEG("ss", seg[SEG_SS]),
	SEG("ds", seg[SEG_DS]),
	SEG("fs", seg[SEG_FS]),
	SEG("gs", seg[SEG_GS]),
	SEG("ldtr", ldtr),
	SEG("tr", tr),
	F(gdtr.base),
	F(gdtr.limit),
	F(idtr.base),
	F(idtr.limit),
	F(cr0),
	F(cr2),
	F(cr3),
	F(cr4),
	F(xcr0),
	F(efer),
	F(dr[0]),
	F(dr[1]),
	F(dr[2]),
	F(dr[3]),
	F(dr[6]),
	F(dr[7]),
	F(pdpte[0]),
	F(pdpte[1]),
	F(pdpte[2]),
	F(pdpte[3]),
	F(star),
	F(lstar),
	F(cstar),
	F(fmask),
	F(kernel_gs_base),
	F(sysenter_cs),
	F(sysenter_esp),
	F(sysenter_eip),
	F(tsc_aux),
	F(pat),
	F(tsc_offset),
};

static uint64_t field_get(const struct x86_regs *r, const struct field *f)
{
	uint64_t x = 0;

	memcpy(&x, (const char *)r + f->off, f->bytes);
	return x;
}

/* Differences that the run goes on with: *f (may be NULL) gets a line for each that counts. */
static bool fields_equal(struct ls *l, FILE *f)
{
	const struct x86_regs *a = &l->v[LS_INTERP]->regs, *b = &l->v[LS_BT]->regs;
	bool same = true;

	/* everything in front of the vector state, in one go where nothing differs */
	if (!f && a->rflags == b->rflags && !memcmp(a, b, offsetof(struct x86_regs, xsave)))
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
		uint64_t x = field_get(a, &fields[i]), y = field_get(b, &fields[i]);

		if (x == y)
			continue;
		same = false;
		if (f)
			fprintf(f, "  %-14s %016" PRIx64 "  %016" PRIx64 "\n", fields[i].name, x, y);
	}
	if ((a->rflags ^ b->rflags) & ~(uint64_t)FL_ARITH) {
		same = false;
		if (f)
			fprintf(f, "  %-14s %016" PRIx64 "  %016" PRIx64 "\n", "rflags", a->rflags, b->rflags);
	}
	return same;
}

/* ---- vector state ---- */

#define ST_BYTES 10

/* The bytes of a component: NULL when it is in its initial state. */
static const uint8_t *component(const struct vcpu *v, unsigned bit, unsigned off)
{
	return v->regs.xsave[XS_XSTATE_BV] & bit ? v->regs.xsave + off : NULL;
}

static bool bytes_equal(const uint8_t *a, const uint8_t *b, unsigned n)
{
	if (a && b)
		return !memcmp(a, b, n);
	for (unsigned i = 0; i < n; i++)
		if ((a ? a[i] : 0) != (b ? b[i] : 0))
			return false;
	return true;
}

static void print_bytes(FILE *f, const char *name, unsigned i, const uint8_t *a, const uint8_t *b, unsigned n)
{
	fprintf(f, "  %s%u", name, i);
	for (unsigned side = 0; side < 2; side++) {
		const uint8_t *p = side ? b : a;

		fprintf(f, "  ");
		for (unsigned k = n; k-- > 0;)
			fprintf(f, "%02x", p ? p[k] : 0);
	}
	fputc('\n', f);
}

static bool array_equal(FILE *f, const char *name, const uint8_t *a, const uint8_t *b, unsigned count, unsigned step,
			unsigned n)
{
	bool same = true;

	for (unsigned i = 0; i < count; i++) {
		const uint8_t *x = a ? a + i * step : NULL, *y = b ? b + i * step : NULL;

		if (bytes_equal(x, y, n))
			continue;
		same = false;
		if (f)
			print_bytes(f, name, i, x, y, n);
	}
	return same;
}

static bool word_equal(FILE *f, const char *name, uint32_t x, uint32_t y)
{
	if (x != y && f)
		fprintf(f, "  %-14s %08x  %08x\n", name, x, y);
	return x == y;
}

static bool vectors_equal(struct ls *l, FILE *f)
{
	const struct vcpu *v[LS_SIDES] = {l->v[LS_INTERP], l->v[LS_BT]};
	const uint8_t *x87[LS_SIDES], *sse[LS_SIDES], *avx[LS_SIDES];
	uint32_t avx_off = 0, avx_len = 0, fcw[LS_SIDES], fsw[LS_SIDES], ftw[LS_SIDES], mxcsr[LS_SIDES];
	bool has_avx = cpuid_xsave_component(l->vm[0], 2, &avx_off, &avx_len), same = true;

	for (unsigned s = 0; s < LS_SIDES; s++) {
		x87[s] = component(v[s], XC_X87, 0);
		sse[s] = component(v[s], XC_SSE, XS_XMM);
		avx[s] = has_avx ? component(v[s], XC_AVX, avx_off) : NULL;
		fcw[s] = x87[s] ? vec_get16(x87[s] + XS_FCW) : FCW_INIT;
		fsw[s] = x87[s] ? vec_get16(x87[s] + XS_FSW) : 0;
		ftw[s] = x87[s] ? x87[s][XS_FTW] : 0;
		mxcsr[s] = vec_get32(v[s]->regs.xsave + XS_MXCSR);
	}
	same &= word_equal(f, "fcw", fcw[0], fcw[1]);
	same &= word_equal(f, "fsw", fsw[0], fsw[1]);
	same &= word_equal(f, "ftw", ftw[0], ftw[1]);
	same &= word_equal(f, "mxcsr", mxcsr[0], mxcsr[1]);
	same &= array_equal(f, "st", x87[0] ? x87[0] + XS_ST : NULL, x87[1] ? x87[1] + XS_ST : NULL, 8, 16, ST_BYTES);
	same &= array_equal(f, "xmm", sse[0], sse[1], 16, 16, 16);
	if (has_avx)
		same &= array_equal(f, "ymm high ", avx[0], avx[1], 16, 16, 16);
	return same;
}

static bool others_equal(struct ls *l, FILE *f)
{
	const struct vcpu *a = l->v[LS_INTERP], *b = l->v[LS_BT];
	bool same = true;

	same &= word_equal(f, "int_shadow", a->int_shadow, b->int_shadow);
	same &= word_equal(f, "nmi_blocked", a->nmi_blocked, b->nmi_blocked);
	same &= word_equal(f, "cr8", lapic_cr8(a->lapic), lapic_cr8(b->lapic));
	for (unsigned i = 0; i < msr_slots(); i++) {
		const char *name;
		uint32_t index;

		if (a->msr[i] == b->msr[i])
			continue;
		same = false;
		if (f && msr_row(i, &index, &name))
			fprintf(f, "  %-14s %016" PRIx64 "  %016" PRIx64 "\n", name, a->msr[i], b->msr[i]);
	}
	return same;
}

bool ls_state_equal(struct ls *l)
{
	const struct x86_regs *a = &l->v[LS_INTERP]->regs, *b = &l->v[LS_BT]->regs;

	l->unsure = (uint32_t)((a->rflags ^ b->rflags) & FL_ARITH);
	return fields_equal(l, NULL) && vectors_equal(l, NULL) && others_equal(l, NULL);
}

void ls_state_diff(struct ls *l, FILE *f)
{
	fprintf(f, "  %-14s %-16s  %s\n", "differs", l->v[LS_INTERP]->ops->name, l->v[LS_BT]->ops->name);
	fields_equal(l, f);
	vectors_equal(l, f);
	others_equal(l, f);
}

/* ---- RAM ---- */

/* The next stretch that either file has data in: [*pos, *end). Holes read as zero in both. */
static bool next_data(struct ls *l, uint64_t *pos, uint64_t *end)
{
	uint64_t size = l->vm[0]->mem.ram_bytes, first = size, stop = size;

	for (unsigned s = 0; s < LS_SIDES; s++) {
		off_t at = lseek(l->vm[s]->mem.memfd, (off_t)*pos, SEEK_DATA);

		if (at >= 0 && (uint64_t)at < first)
			first = (uint64_t)at;
	}
	if (first >= size)
		return false;
	for (unsigned s = 0; s < LS_SIDES; s++) {
		off_t at = lseek(l->vm[s]->mem.memfd, (off_t)first, SEEK_HOLE);

		if (at >= 0 && (uint64_t)at > first && (uint64_t)at < stop)
			stop = (uint64_t)at;
	}
	*pos = first;
	*end = stop;
	return true;
}

#define WORD 8u

bool ls_ram_equal(struct ls *l)
{
	const uint8_t *a = l->vm[LS_INTERP]->mem.ram_hva, *b = l->vm[LS_BT]->mem.ram_hva;
	uint64_t pos = 0, end;

	l->rams++;
	l->nwatch = 0;
	for (; next_data(l, &pos, &end); pos = end) {
		if (!memcmp(a + pos, b + pos, end - pos))
			continue;
		for (uint64_t i = pos; i < end && l->nwatch < LS_WATCHES; i += WORD)
			if (memcmp(a + i, b + i, WORD))
				l->watch[l->nwatch++] = i;
	}
	return l->nwatch == 0;
}

bool ls_watch_equal(struct ls *l)
{
	for (unsigned i = 0; i < l->nwatch; i++)
		if (memcmp(l->vm[LS_INTERP]->mem.ram_hva + l->watch[i], l->vm[LS_BT]->mem.ram_hva + l->watch[i], WORD))
			return false;
	return true;
}
