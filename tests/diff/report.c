/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comparison with the processor, the printed difference, and golden files: cases kept forever, as text. */
#include <capstone/capstone.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/diff/diff.h"

static const char *const seg_name[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs"};
static const char *const reg_name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static bool has_error_code(unsigned vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

/* Bytes of the FXSAVE image that a program can see and that processors agree on: not the last instruction's pointers
 * (they are the kernel's to save, AMD keeps them only for pending exceptions), MXCSR_MASK and padding. */
static bool fx_compared(unsigned i)
{
	return i < 6 ? i != 5 : i >= 24 && i < 28 ? true : i >= 32 && i < 160 ? (i & 15) < 10 : i >= 160;
}

/* A null selector loses its RPL when the kernel returns to user mode (SDM 2A IRET); step_hash() ignores it too. */
static bool same_selector(uint16_t a, uint16_t b)
{
	return a == b || (a < 4 && b < 4);
}

/* Every flag that user code can see: IOPL, VM, VIF and VIP are 0 before and after. */
#define FLAGS_COMPARED (0x3f7fd5u & ~(uint32_t)FL_RF)

static bool registers_agree(const struct dcase *c, const struct dout *want, const struct dout *got, char *what, size_t what_len)
{
	bool wide = c->mode == 64 && want->st.seg[SEG_CS] == SEL_CODE64, faulted = want->vector != VEC_BP;
	uint64_t gmask = wide ? ~0ull : 0xffffffff, fmask = FLAGS_COMPARED & ~c->fl_undef;

	if ((want->st.rip ^ got->st.rip) & gmask) {
		snprintf(what, what_len, "rip %#" PRIx64 ", not %#" PRIx64, got->st.rip, want->st.rip);
		return false;
	}
	for (unsigned i = 0; i < (c->mode == 64 ? 16 : 8); i++) {
		uint64_t loose = i == c->undef_reg ? c->undef_bits : 0;

		if (c->undef_regs & 1u << i || (faulted && c->loose & LOOSE_GPR && i != R_SP))
			continue;
		if ((want->st.gpr[i] ^ got->st.gpr[i]) & gmask & ~loose) {
			snprintf(what, what_len, "%s %#" PRIx64 ", not %#" PRIx64, reg_name[i], got->st.gpr[i], want->st.gpr[i]);
			return false;
		}
	}
	if ((want->st.rflags ^ got->st.rflags) & fmask) {
		snprintf(what, what_len, "flags %#" PRIx64 ", not %#" PRIx64 " (bits %#" PRIx64 ")", got->st.rflags,
			 want->st.rflags, (want->st.rflags ^ got->st.rflags) & fmask);
		return false;
	}
	for (unsigned i = 0; i < SEG_COUNT; i++)
		if (!same_selector(want->st.seg[i], got->st.seg[i])) {
			snprintf(what, what_len, "%s %x, not %x", seg_name[i], got->st.seg[i], want->st.seg[i]);
			return false;
		}
	if (wide && want->bases && got->bases &&
	    (want->st.fs_base != got->st.fs_base || want->st.gs_base != got->st.gs_base)) {
		snprintf(what, what_len, "fs and gs bases %#" PRIx64 " %#" PRIx64 ", not %#" PRIx64 " %#" PRIx64, got->st.fs_base,
			 got->st.gs_base, want->st.fs_base, want->st.gs_base);
		return false;
	}
	return true;
}

static bool steps_agree(const struct dout *want, const struct dout *got, char *what, size_t what_len)
{
	for (unsigned i = 0; i < want->steps && i < got->steps; i++)
		if (want->step_rip[i] != got->step_rip[i] || want->step_hash[i] != got->step_hash[i]) {
			snprintf(what, what_len, "step %u at rip %#" PRIx64 ", not %#" PRIx64 "%s", i, got->step_rip[i],
				 want->step_rip[i], want->step_rip[i] == got->step_rip[i] ? " (other registers)" : "");
			return false;
		}
	if (want->steps != got->steps) {
		snprintf(what, what_len, "%u single steps, not %u", got->steps, want->steps);
		return false;
	}
	return true;
}

static bool memory_agrees(const struct dcase *c, const struct dout *want, const struct dout *got, char *what, size_t what_len)
{
	unsigned first, n = case_window_part(c, &first);

	if (!memcmp(want->st.mem + first, got->st.mem + first, n))
		return true;
	for (unsigned i = first; i < first + n; i++)
		if (want->st.mem[i] != got->st.mem[i] && (i < c->undef_mem || i >= c->undef_mem + c->undef_mem_len)) {
			snprintf(what, what_len, "memory [%#" PRIx64 "] %02x, not %02x", case_window_gva(c) + i, got->st.mem[i],
				 want->st.mem[i]);
			return false;
		}
	return true;
}

bool outs_agree(const struct dcase *c, const struct dout *want, const struct dout *got, char *what, size_t what_len)
{
	bool faulted = want->vector != VEC_BP;
	bool loose_addr = faulted && c->loose & LOOSE_ADDR;

	if (!got->ran) {
		snprintf(what, what_len, "did not run: %s", got->text);
		return false;
	}
	if (!steps_agree(want, got, what, what_len))
		return false;
	if (want->vector != got->vector) {
		snprintf(what, what_len, "exception %u, not %u", got->vector, want->vector);
		return false;
	}
	if (has_error_code(want->vector) && !loose_addr && want->error != got->error) {
		snprintf(what, what_len, "error code %#x, not %#x", got->error, want->error);
		return false;
	}
	if (want->vector == VEC_PF && !loose_addr && want->cr2 != got->cr2) {
		snprintf(what, what_len, "fault address %#" PRIx64 ", not %#" PRIx64, got->cr2, want->cr2);
		return false;
	}
	if (!registers_agree(c, want, got, what, what_len))
		return false;
	if (!loose_addr && !memory_agrees(c, want, got, what, what_len))
		return false;
	if (faulted && c->loose & LOOSE_VEC)
		return true;
	for (unsigned i = 0; i < FX_BYTES; i++)
		if (fx_compared(i) && want->st.fx[i] != got->st.fx[i]) {
			if (i < 2 || (i >= 24 && i < 28) || i < 6)
				snprintf(what, what_len, "%s byte %u: %02x, not %02x", i < 2 ? "FCW" : i < 4 ? "FSW" : i < 6 ? "FTW" : "MXCSR",
					 i & 1, got->st.fx[i], want->st.fx[i]);
			else
				snprintf(what, what_len, "%s%u byte %u: %02x, not %02x", i < 160 ? "st/mm" : "xmm",
					 (i - (i < 160 ? 32 : 160)) / 16, i & 15, got->st.fx[i], want->st.fx[i]);
			return false;
		}
	for (unsigned i = 0; i < (c->mode == 64 ? YMMH_BYTES : 128); i++)
		if (want->st.ymmh[i] != got->st.ymmh[i]) {
			snprintf(what, what_len, "ymm%u byte %u: %02x, not %02x", i / 16, 16 + (i & 15), got->st.ymmh[i],
				 want->st.ymmh[i]);
			return false;
		}
	return true;
}

static void print_code(const struct dcase *c)
{
	csh cs;
	cs_insn *in = NULL;
	size_t n = 0;

	if (cs_open(CS_ARCH_X86, c->mode == 64 ? CS_MODE_64 : c->mode == 32 ? CS_MODE_32 : CS_MODE_16, &cs) != CS_ERR_OK)
		return;
	n = cs_disasm(cs, c->code, c->len, c->in.rip, 0, &in);
	for (size_t i = 0; i < n; i++)
		printf("    %#" PRIx64 ":  %-8s %s\n", in[i].address, in[i].mnemonic, in[i].op_str);
	if (!n)
		printf("    (not disassembled)\n");
	if (n)
		cs_free(in, n);
	cs_close(&cs);
	printf("    bytes:");
	for (unsigned i = 0; i < c->len; i++)
		printf(" %02x", c->code[i]);
	printf("\n");
}

static void print_hex(const char *name, const uint8_t *p, unsigned n)
{
	printf("    %-10s ", name);
	for (unsigned i = 0; i < n; i++)
		printf("%02x%s", p[i], i % 4 == 3 && i + 1 < n ? " " : "");
	printf("\n");
}

void report_difference(const struct dcase *c, const char *form_name, const char *path, const struct dout *want,
		       const struct dout *got, const char *what)
{
	printf("DIFF %s: %s, %u-bit: %s\n", path, form_name, c->mode, what);
	print_code(c);
	printf("    %-10s %18s %18s %18s\n", "", "before", "processor", path);
	for (unsigned i = 0; i < (c->mode == 64 ? 16 : 8); i++)
		printf("    %-10s %18" PRIx64 " %18" PRIx64 " %18" PRIx64 "%s\n", reg_name[i], c->in.gpr[i], want->st.gpr[i],
		       got->st.gpr[i], want->st.gpr[i] != got->st.gpr[i] ? "  <" : "");
	printf("    %-10s %18" PRIx64 " %18" PRIx64 " %18" PRIx64 "  (undefined %x)\n", "rflags", c->in.rflags, want->st.rflags,
	       got->st.rflags, c->fl_undef);
	printf("    %-10s %18" PRIx64 " %18" PRIx64 " %18" PRIx64 "\n", "rip", c->in.rip, want->st.rip, got->st.rip);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		printf("    %-10s %18x %18x %18x%s\n", seg_name[i], c->in.seg[i], want->st.seg[i], got->st.seg[i],
		       want->st.seg[i] != got->st.seg[i] ? "  <" : "");
	printf("    %-10s %18" PRIx64 " %18" PRIx64 " %18" PRIx64 "\n", "fs base", c->in.fs_base, want->st.fs_base, got->st.fs_base);
	printf("    %-10s %18" PRIx64 " %18" PRIx64 " %18" PRIx64 "\n", "gs base", c->in.gs_base, want->st.gs_base, got->st.gs_base);
	printf("    %-10s %18s %18u %18u\n", "exception", "", want->vector, got->vector);
	printf("    %-10s %18s %18x %18x\n", "error code", "", want->error, got->error);
	printf("    %-10s %18s %18" PRIx64 " %18" PRIx64 "\n", "cr2", "", want->cr2, got->cr2);
	printf("    window %#" PRIx64 " (%u)\n", case_window_gva(c), c->window);
	if (memcmp(want->st.mem, got->st.mem, WIN_BYTES))
		for (unsigned i = 0; i < WIN_BYTES; i += 32)
			if (memcmp(want->st.mem + i, got->st.mem + i, 32)) {
				char name[16];

				snprintf(name, sizeof(name), "+%02x before", i);
				print_hex(name, c->in.mem + i, 32);
				print_hex("processor", want->st.mem + i, 32);
				print_hex(path, got->st.mem + i, 32);
			}
	for (unsigned i = 0; i < FX_BYTES; i += 16) {
		bool differs = false;

		for (unsigned j = i; j < i + 16; j++)
			differs |= fx_compared(j) && want->st.fx[j] != got->st.fx[j];
		if (differs) {
			printf("    fx+%u (st0-7 at 32, xmm0-15 at 160)\n", i);
			print_hex("before", c->in.fx + i, 16);
			print_hex("processor", want->st.fx + i, 16);
			print_hex(path, got->st.fx + i, 16);
		}
	}
	if (c->form != FORM_GOLDEN)
		printf("    replay: --mode %u --form '=%s' --seed %#" PRIx64 " --n %u\n", c->mode, form_name, c->seed, CODE_STATES);
}

/* ---- golden files: "key value" lines ---- */
#define NO_SELECTOR 0xffff

static void write_hex(FILE *f, const char *key, const uint8_t *p, unsigned n)
{
	fprintf(f, "%s ", key);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%02x", p[i]);
	fprintf(f, "\n");
}

bool golden_save(const char *folder, const struct dcase *c, const char *form_name, const char *path)
{
	char name[512];
	FILE *f;

	snprintf(name, sizeof(name), "%s/%u-%016" PRIx64 "-%u.case", folder, c->mode, c->seed, c->state_no);
	f = fopen(name, "w");
	if (!f)
		return false;
	fprintf(f, "# %s, differed on %s\nmode %u\nwindow %u\nalias %u\nundef %x\nvec %u\nloose %u\n", form_name, path, c->mode,
		c->window, c->alias, c->fl_undef, c->vec, c->loose);
	fprintf(f, "undef_reg %u\nundef_bits %x\nundef_regs %x\n", c->undef_reg, c->undef_bits, c->undef_regs);
	fprintf(f, "compat %u\n", c->compat);
	fprintf(f, "undef_mem %u\nundef_mem_len %u\nsteps %u\n", c->undef_mem, c->undef_mem_len, c->steps);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		fprintf(f, "%s %x\n", seg_name[i], c->in.seg[i]);
	fprintf(f, "fs_base %" PRIx64 "\ngs_base %" PRIx64 "\n", c->in.fs_base, c->in.gs_base);
	write_hex(f, "code", c->code, c->len);
	for (unsigned i = 0; i < 16; i++)
		fprintf(f, "%s %" PRIx64 "\n", reg_name[i], c->in.gpr[i]);
	fprintf(f, "rflags %" PRIx64 "\n", c->in.rflags);
	/* The code is bound to its slot's address by RIP-relative operands and branch targets. */
	fprintf(f, "slot %u\n", c->slot);
	if (c->image)
		write_hex(f, "mem", c->in.mem, WIN_BYTES);
	else
		write_hex(f, "mem", c->in.mem + (WIN_BYTES - CORE_BYTES) / 2, CORE_BYTES);
	write_hex(f, "fx", c->in.fx, FX_BYTES);
	write_hex(f, "ymmh", c->in.ymmh, YMMH_BYTES);
	return fclose(f) == 0;
}

static unsigned read_hex(const char *s, uint8_t *p, unsigned max)
{
	unsigned n = 0, v;

	while (n < max && sscanf(s + 2 * n, "%2x", &v) == 1)
		p[n++] = (uint8_t)v;
	return n;
}

bool golden_load(const char *file, struct dcase *c)
{
	FILE *f = fopen(file, "r");
	char line[2 * WIN_BYTES + 64], key[16];
	bool code = false;
	int at;

	if (!f)
		return false;
	memset(c, 0, sizeof(*c));
	c->undef_reg = 0xff;
	c->in.seg[SEG_CS] = NO_SELECTOR;
	c->form = FORM_GOLDEN;
	memset(c->code, 0xcc, SLOT_BYTES);
	while (fgets(line, sizeof(line), f)) {
		const char *val;
		uint64_t v;

		if (line[0] == '#' || sscanf(line, "%15s %n", key, &at) != 1)
			continue;
		val = line + at;
		v = strtoull(val, NULL, 16);
		for (unsigned i = 0; i < 16; i++)
			if (!strcmp(key, reg_name[i]))
				c->in.gpr[i] = v;
		for (unsigned i = 0; i < SEG_COUNT; i++)
			if (!strcmp(key, seg_name[i]))
				c->in.seg[i] = (uint16_t)v;
		if (!strcmp(key, "mode"))
			c->mode = (uint8_t)atoi(val);
		else if (!strcmp(key, "window"))
			c->window = (uint8_t)(atoi(val) & 3);
		else if (!strcmp(key, "alias"))
			c->alias = (uint8_t)(atoi(val) % 3);
		else if (!strcmp(key, "undef"))
			c->fl_undef = (uint32_t)v;
		else if (!strcmp(key, "loose"))
			c->loose = (uint8_t)atoi(val);
		else if (!strcmp(key, "undef_reg"))
			c->undef_reg = (uint8_t)atoi(val);
		else if (!strcmp(key, "undef_bits"))
			c->undef_bits = (uint32_t)v;
		else if (!strcmp(key, "undef_regs"))
			c->undef_regs = (uint16_t)v;
		else if (!strcmp(key, "undef_mem"))
			c->undef_mem = (uint16_t)atoi(val);
		else if (!strcmp(key, "undef_mem_len"))
			c->undef_mem_len = (uint16_t)atoi(val);
		else if (!strcmp(key, "compat"))
			c->compat = v;
		else if (!strcmp(key, "steps"))
			c->steps = (uint8_t)(atoi(val) % (MAX_STEPS + 1));
		else if (!strcmp(key, "fs_base"))
			c->in.fs_base = v;
		else if (!strcmp(key, "gs_base"))
			c->in.gs_base = v;
		else if (!strcmp(key, "vec"))
			c->vec = v;
		else if (!strcmp(key, "slot"))
			c->slot = (uint16_t)(atoi(val) % BATCH_CODES);
		else if (!strcmp(key, "rflags"))
			c->in.rflags = (v & (FL_ARITH | FL_DF | FL_AC | FL_TF | FL_NT | FL_ID)) | FL_ONE | FL_IF;
		else if (!strcmp(key, "code"))
			code = (c->len = (uint8_t)read_hex(val, c->code, SLOT_BYTES - 1)) > 0;
		else if (!strcmp(key, "mem")) /* short ones are of the core */
			read_hex(val, c->in.mem + (strlen(val) < 2 * WIN_BYTES ? (WIN_BYTES - CORE_BYTES) / 2 : 0),
				 strlen(val) < 2 * WIN_BYTES ? CORE_BYTES : WIN_BYTES);
		else if (!strcmp(key, "fx"))
			read_hex(val, c->in.fx, FX_BYTES);
		else if (!strcmp(key, "ymmh"))
			read_hex(val, c->in.ymmh, YMMH_BYTES);
	}
	fclose(f);
	if (c->in.seg[SEG_CS] == NO_SELECTOR) { /* a file without segments: flat ones */
		c->in.seg[SEG_CS] = c->mode == 64 ? SEL_CODE64 : SEL_CODE32;
		c->in.seg[SEG_SS] = c->in.seg[SEG_DS] = c->in.seg[SEG_ES] = SEL_DATA;
		c->in.seg[SEG_GS] = GS_SELECTOR;
		c->in.gs_base = GS_BASE;
	}
	c->in.rip = CODE_BASE + c->slot * SLOT_BYTES - seg_base(c->in.seg[SEG_CS]);
	return code && (c->mode == 16 || c->mode == 32 || c->mode == 64);
}
