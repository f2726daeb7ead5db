/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every row of isa_vec.def against the processor: the instruction's own bytes run in a stub with random x87, MMX, SSE,
 * AVX, general-register and memory contents; the interpreter's function runs on the same state in a guest. Registers,
 * flags, control words, memory and faults must be the same.
 *
 * Rounds: everything masked; x87 exceptions unmasked at random; SIMD exceptions unmasked at random; both. What
 * vec_exec.c names as deviations (DPPS and DPPD with exceptions unmasked) is not compared.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <Zydis/Mnemonic.h>

#include "engine/mem.h"
#include "engine/status.h"
#include "engine/vm.h"
#include "translator/interp.h"
#include "translator/mmu.h"
#include "translator/vec.h"

/* For a link without the program's own table. */
extern const struct exec_ops *const exec_paths[PATH_COUNT] __attribute__((weak));
const struct exec_ops *const exec_paths[PATH_COUNT] = {&interp_ops};

#define DATA_GVA 0x400000ull
#define DATA_BYTES 8192u /* between pages that are not there, on both sides */
#define MNEMONICS 4096

static uint64_t rng_state = 0x1234567887654321ull;
static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static unsigned passed, failed;
static unsigned covered[MNEMONICS], complained[MNEMONICS];

/* ---- the guest ---- */

static struct vm *vm;
static struct vcpu *v;
static uint8_t *guest; /* host address of DATA_GVA */

static bool make_guest(void)
{
	static const uint8_t hlt[4096] = {0xf4};
	struct vm_config cfg = {.memory_bytes = MEM_MIN_BYTES,
				.ncpus = 1,
				.debug_exit_port = -1,
				.flat_addr = 0x8000,
				.ops = &interp_ops};
	struct error e = {0};
	char image[64];
	uint64_t *ram;
	int fd = memfd_create("test-vec", 0);

	if (fd < 0 || write(fd, hlt, sizeof(hlt)) != (ssize_t)sizeof(hlt))
		return false;
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
	cfg.flat = image;
	if (vm_create(&vm, &cfg, &e) != ST_OK) {
		printf("vm_create: %s\n", e.msg);
		return false;
	}
	close(fd);
	v = vm->vcpu[0];
	if (mmu_init(v) != ST_OK)
		return false;
	/* PML4, PDPT, PD, and one PT for the data pages */
	ram = (uint64_t *)(void *)vm->mem.ram_hva;
	ram[0x1000 / 8] = 0x2000 | PTE_P | PTE_W;
	ram[0x2000 / 8] = 0x3000 | PTE_P | PTE_W;
	ram[0x3000 / 8 + 2] = 0x4000 | PTE_P | PTE_W;
	for (unsigned k = 0; k < DATA_BYTES / 4096; k++)
		ram[0x4000 / 8 + k] = (DATA_GVA + 4096 * k) | PTE_P | PTE_W;
	guest = vm->mem.ram_hva + DATA_GVA;
	v->regs.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
	v->regs.cr3 = 0x1000;
	v->regs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	v->regs.efer = EFER_LME | EFER_LMA;
	for (unsigned s = 0; s < SEG_COUNT; s++)
		v->regs.seg[s] = (struct x86_seg){
			.sel = 8, .limit = 0xffffffff, .attr = SA_P | SA_S | SA_RW | SA_ACCESSED | SA_G};
	v->regs.seg[SEG_CS].attr |= SA_CODE | SA_L;
	vec_reset(v);
	v->regs.xcr0 = cpuid_xcr0_mask(vm);
	mmu_flush_all(v);
	return vec_get(v) != NULL;
}

/* ---- the processor ---- */

static struct {
	struct vec_run run;
	uint8_t in[VEC_AREA_BYTES] __attribute__((aligned(64)));
	uint8_t out[VEC_AREA_BYTES] __attribute__((aligned(64)));
	uint8_t *code, *mem;
	sigjmp_buf back;
	volatile int sig;
	uint32_t sig_mxcsr;
} host;

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	const ucontext_t *uc = ctx;

	(void)si;
	host.sig = sig;
	host.sig_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
	siglongjmp(host.back, 1);
}

static bool make_host(void)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	static uint8_t stack[65536];
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, NULL);
	for (unsigned k = 0; k < ARRAY_LEN(sigs); k++)
		sigaction(sigs[k], &sa, NULL);
	host.code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	host.mem = mmap(NULL, 3 * DATA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (host.code == MAP_FAILED || host.mem == MAP_FAILED)
		return false;
	host.mem += DATA_BYTES;
	return !mprotect(host.mem, DATA_BYTES, PROT_READ | PROT_WRITE);
}

static void run_native(const struct insn *i)
{
	const struct vec *c = v->vec;

	memcpy(host.code, i->raw, i->len);
	host.code[i->len] = 0xc3;
	host.run.rflags = FL_ONE | FL_IF | (v->regs.rflags & FL_ARITH);
	host.run.stub = host.code;
	host.run.in = host.in;
	host.run.out = host.out;
	host.run.init = (void *)c->init;
	host.run.mask = c->mask;
	host.run.fx = c->fx;
	host.sig = 0;
	if (!sigsetjmp(host.back, 1))
		vec_enter(&host.run);
	else if (!c->fx)
		__asm__ volatile("xrstor64 (%0)" : : "r"(c->init), "a"(c->mask), "d"(0) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" : : "r"(c->init) : "memory");
}

/* ---- random cases ---- */

static unsigned random_bytes(uint8_t b[16])
{
	static const uint8_t prefix[] = {0, 0x66, 0xf2, 0xf3};
	unsigned r = (unsigned)rng(), n = 0;

	for (unsigned k = 0; k < 16; k += 8) {
		uint64_t x = rng();
		memcpy(b + k, &x, 8);
	}
	if (r & 1) {
		b[0] = r & 2 ? 0xc5 : 0xc4;
		if (b[0] == 0xc4)
			b[1] = (uint8_t)((b[1] & 0xe0) | (1 + (r >> 2) % 3));
		if (r & 0x100)
			b[b[0] == 0xc4 ? 2 : 1] |= 0x78;
		return 15;
	}
	if (prefix[(r >> 1) & 3])
		b[n++] = prefix[(r >> 1) & 3];
	if (r & 8)
		b[n++] = 0x40 | (rng() & 15);
	switch ((r >> 4) & 3) {
	case 0:
		b[n] = r & 0x7000 ? 0xd8 | (b[n] & 7) : 0x9b;
		break;
	case 1:
		b[n++] = 0x0f;
		break;
	case 2:
		b[n++] = 0x0f;
		b[n++] = 0x38;
		break;
	default:
		b[n++] = 0x0f;
		b[n++] = 0x3a;
	}
	return 15;
}

/* Bit patterns of every kind: integers, floats, doubles, zeros, denormals. */
static void random_vector(uint8_t *p, unsigned n)
{
	for (unsigned k = 0; k < n; k += 8) {
		uint64_t r = rng(), x;
		double d = (double)(int32_t)r / 256;
		float f[2] = {(float)(int16_t)r / 16, 1.0f / (float)(1 + (r >> 60))};

		switch (r % 7) {
		case 0:
			memcpy(&x, &d, 8);
			break;
		case 1:
		case 2:
			memcpy(&x, f, 8);
			break;
		case 3:
			x = rng() & rng() & rng();
			break;
		case 4:
			x = r & 0x8000000080000000ull;
			break;
		default:
			x = rng();
		}
		memcpy(p + k, &x, 8);
	}
}

static void random_st(uint8_t *p)
{
	long double l = (long double)(int64_t)rng() / 65536;

	if (rng() & 1)
		l = (int16_t)rng();
	memset(p, 0, 16);
	memcpy(p, &l, 10);
	if (rng() % 5 == 0) {
		vec_put64(p, rng());
		vec_put16(p + 8, (uint16_t)rng());
	}
}

static void random_state(unsigned unmask)
{
	uint8_t *x = v->regs.xsave;
	uint16_t fcw = (uint16_t)(0x7f | (rng() & 0xf00)), fsw = rng() & 0x7f3f;
	uint32_t mxcsr = MXCSR_MASKS | (rng() & 0x6000) | (rng() & rng() & 0x8040) | (rng() & rng() & 0x3f);

	for (unsigned n = 0; n < 16; n++)
		v->regs.gpr[n] = rng() & 1 ? rng() : rng() & 0xff;
	v->regs.rflags = FL_ONE | (rng() & FL_ARITH);
	memset(x, 0, XSAVE_AREA_BYTES);
	if (unmask & 1)
		fcw &= (uint16_t) ~(rng() & 0x3f);
	if (!(unmask & 1) || (rng() & 3))
		fsw &= fcw | 0xffc0;
	vec_put16(x + XS_FCW, fcw);
	vec_put16(x + XS_FSW, fsw);
	vec_update_es(x);
	x[XS_FTW] = rng() % 3 ? (uint8_t)(rng() | rng()) : 0xff;
	for (unsigned k = 0; k < 8; k++)
		random_st(x + XS_ST + 16 * k);
	if (unmask & 2)
		mxcsr &= (uint32_t) ~(rng() & rng() & MXCSR_MASKS);
	vec_put32(x + XS_MXCSR, mxcsr);
	random_vector(x + XS_XMM, 256);
	vec_put64(x + XS_XSTATE_BV, XC_X87 | XC_SSE);
	if ((v->vec->mask & XC_AVX) && (rng() & 1)) {
		random_vector(x + v->vec->avx_offset, AVX_BYTES);
		x[XS_XSTATE_BV] = XC_ALL;
	}
	random_vector(guest, DATA_BYTES);
}

static bool starts(const struct insn *i, const char *s)
{
	return !strncmp(i->row->name, s, strlen(s));
}

/* Makes i's memory operand point at DATA_GVA + off in the guest, at host.mem + off on the host. false: it cannot. */
static bool aim(const struct insn *i, uint64_t off)
{
	uint64_t index = 0, delta = (uint64_t)(uintptr_t)host.mem - DATA_GVA;
	unsigned base = i->base;

	if (i->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || i->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
	    i->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU) {
		v->regs.gpr[R_DI] = DATA_GVA + off;
		host.run.gpr[R_DI] = v->regs.gpr[R_DI] + delta;
		return true;
	}
	if (base == NO_REG || (!i->vsib && base == i->index))
		return false;
	if (starts(i, "XSAVE") || starts(i, "XRSTOR"))
		if (base == R_AX || base == R_DX || i->index == R_AX || i->index == R_DX)
			return false;
	if (!i->vsib && i->index != NO_REG)
		index = v->regs.gpr[i->index] * i->scale;
	v->regs.gpr[base] = DATA_GVA + off - index - (uint64_t)i->disp;
	host.run.gpr[base] = v->regs.gpr[base] + delta;
	return true;
}

static void small_indices(const struct insn *i)
{
	uint8_t *x = v->regs.xsave, idx[32];
	bool quad = strstr(i->row->name, "GATHERQ") != NULL;

	for (unsigned k = 0; k < 32; k += quad ? 8 : 4) {
		int64_t n = (int64_t)(rng() % 64) - (rng() % 8 == 0 ? 500 : 0);
		memcpy(idx + k, &n, quad ? 8 : 4);
	}
	memcpy(x + XS_XMM + 16 * i->index, idx, 16);
	if (x[XS_XSTATE_BV] & XC_AVX)
		memcpy(x + v->vec->avx_offset + 16 * i->index, idx + 16, 16);
}

/* An operand that FXRSTOR, XRSTOR, FRSTOR, FLDENV can take, sometimes with something wrong in it. */
static void state_operand(uint64_t off)
{
	uint8_t *p = guest + off;

	memcpy(p, v->regs.xsave, XS_LEGACY_BYTES);
	memset(p + XS_XSTATE_BV, 0, 64);
	p[XS_XSTATE_BV] = rng() & 7;
	if (rng() % 8 == 0)
		p[XS_XSTATE_BV + rng() % 64] = (uint8_t)rng();
	if (rng() % 8 == 0)
		p[XS_MXCSR + 3] = 1;
	v->regs.gpr[R_AX] = rng() & 7;
	v->regs.gpr[R_DX] = 0;
}

/* ---- comparing ---- */

static const char *compare_fault(const struct insn *i, enum xr r, const uint8_t *mem_before)
{
	unsigned vec = v->fault.vector;
	uint32_t mxcsr = vec_get32(v->regs.xsave + XS_MXCSR);

	/* with bytes masked out, whether their page is looked at depends on the processor (SDM 2B MASKMOVQ) */
	if (r == XR_NEXT && host.sig == SIGSEGV && strstr(i->row->name, "MASKMOV"))
		return NULL;
	if (r != XR_FAULT)
		return "the processor faults";
	if (host.sig == SIGILL   ? vec != VEC_UD
	    : host.sig == SIGFPE ? vec != VEC_XM && vec != VEC_MF
				 : vec != VEC_GP && vec != VEC_PF)
		return "another fault";
	if (vec == VEC_XM && mxcsr != host.sig_mxcsr)
		return "MXCSR at #XM";
	if (!starts(i, "FXSAVE") && !starts(i, "XSAVE") && !starts(i, "FNSAVE") &&
	    memcmp(guest, mem_before, DATA_BYTES))
		return "memory changed in spite of the fault";
	return NULL;
}

static const char *compare_done(const struct x86_regs *before, const uint64_t *host_before)
{
	const struct vec *c = v->vec;
	const uint8_t *o = host.out, *x = vec_image(v);

	for (unsigned n = 0; n < 16; n++) {
		bool touched = host.run.gpr[n] != host_before[n];

		if (n != R_SP && (touched ? v->regs.gpr[n] != host.run.gpr[n] : v->regs.gpr[n] != before->gpr[n]))
			return "general register";
	}
	if ((host.run.rflags ^ v->regs.rflags) & FL_ARITH)
		return "flags";
	if (memcmp(host.mem, guest, DATA_BYTES))
		return "memory";
	if (memcmp(o, x, 5))
		return "x87 control, status or tags";
	if (vec_get32(o + XS_MXCSR) != vec_get32(x + XS_MXCSR))
		return "MXCSR";
	for (unsigned k = 0; k < 8; k++)
		if (memcmp(o + XS_ST + 16 * k, x + XS_ST + 16 * k, 10))
			return "x87 data register";
	if (memcmp(o + XS_XMM, x + XS_XMM, 256))
		return "XMM register";
	for (unsigned k = 0; k < AVX_BYTES && (c->mask & XC_AVX); k++) {
		uint8_t a = o[XS_XSTATE_BV] & XC_AVX ? o[c->avx_offset + k] : 0;
		uint8_t b = x[XS_XSTATE_BV] & XC_AVX ? x[c->avx_offset + k] : 0;

		if (a != b)
			return "upper half of a YMM register";
	}
	return NULL;
}

static bool usable(const struct insn *i)
{
	if (!i->row || i->seg > SEG_DS || i->rip_rel || i->base == R_SP || (!i->vsib && i->index == R_SP) ||
	    i->addrsize != 8)
		return false;
	if (!(i->row->flags & (ISA_FPU | ISA_MMX | ISA_SSE | ISA_AVX)) && !(i->row->flags >> ISA_NEEDS_SHIFT))
		return false;
	for (unsigned k = 0; k < i->nops; k++)
		if (i->op[k].kind == OPK_GPR && i->op[k].reg == R_SP)
			return false;
	return true;
}

static bool is_dot_product(const struct insn *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_DPPS || i->mnemonic == ZYDIS_MNEMONIC_DPPD ||
	       i->mnemonic == ZYDIS_MNEMONIC_VDPPS || i->mnemonic == ZYDIS_MNEMONIC_VDPPD;
}

static void one_case(unsigned unmask)
{
	static uint8_t mem_before[DATA_BYTES];
	static struct x86_regs before;
	uint64_t host_before[16], off = 1024 + rng() % 64 * 64;
	unsigned where = rng() % 16;
	uint8_t bytes[16];
	const char *why;
	struct insn i;
	enum xr r;

	if (insn_decode(&i, bytes, random_bytes(bytes), 64) != DECODE_OK || !usable(&i) ||
	    ((unmask & 2) && is_dot_product(&i)))
		return;
	random_state(unmask);
	if (where == 0)
		off += rng() % 64;
	if (where == 1)
		off = DATA_BYTES - rng() % 64;
	if (starts(&i, "XRSTOR") || starts(&i, "FXRSTOR") || starts(&i, "FLDENV") || starts(&i, "FRSTOR")) {
		if (off > DATA_BYTES - 1024)
			off = 2048;
		state_operand(off);
	}
	if (starts(&i, "XSAVE"))
		v->regs.gpr[R_AX] = rng() & 7;
	if (i.vsib)
		small_indices(&i);
	if (starts(&i, "PCMPESTR") || starts(&i, "VPCMPESTR")) {
		v->regs.gpr[R_AX] = rng() % 20;
		v->regs.gpr[R_DX] = rng() % 20;
	}
	memcpy(host.run.gpr, v->regs.gpr, sizeof(host.run.gpr));
	if (i.has_mem && !aim(&i, off))
		return;
	for (unsigned n = 0; n < 16; n++)
		if (n != i.base && n != R_DI)
			host.run.gpr[n] = v->regs.gpr[n];
	memcpy(host_before, host.run.gpr, sizeof(host_before));
	memcpy(host.mem, guest, DATA_BYTES);
	memcpy(mem_before, guest, DATA_BYTES);
	memcpy(host.in, v->regs.xsave, VEC_AREA_BYTES);
	memset(host.out, 0, sizeof(host.out));
	before = v->regs;
	run_native(&i);
	r = i.row->exec(v, &i);
	if (host.sig)
		why = compare_fault(&i, r, mem_before);
	else
		why = r == XR_NEXT ? compare_done(&before, host_before) : "fault, where the processor has none";
	if (!why) {
		passed++;
		covered[i.mnemonic]++;
		return;
	}
	failed++;
	if (complained[i.mnemonic]++ < 3) {
		printf("FAIL %s: %s (vector %u, signal %d):", i.row->name, why, v->fault.vector, host.sig);
		for (unsigned k = 0; k < i.len; k++)
			printf(" %02x", bytes[k]);
		printf("\n");
	}
}

/* ---- checks that need no native run ---- */

static void expect_fault(const char *what, const char *bytes, unsigned n, unsigned vector)
{
	uint8_t b[15] = {0};
	struct insn i;
	enum xr r;

	memcpy(b, bytes, n);
	v->regs.gpr[R_AX] = DATA_GVA;
	r = insn_decode(&i, b, 15, 64) == DECODE_OK && i.row ? i.row->exec(v, &i) : XR_CANNOT;
	if (vector ? r == XR_FAULT && v->fault.vector == vector : r == XR_NEXT) {
		passed++;
	} else {
		failed++;
		printf("FAIL %s: result %d, vector %u instead of %u\n", what, r, v->fault.vector, vector);
	}
}

static void test_mode_checks(void)
{
	struct x86_regs save = v->regs;

	random_state(0);
	expect_fault("paddb xmm", "\x66\x0f\xfc\xc1", 4, 0);
	v->regs.cr4 &= ~(uint64_t)CR4_OSFXSR;
	expect_fault("paddb xmm without OSFXSR", "\x66\x0f\xfc\xc1", 4, VEC_UD);
	expect_fault("paddb mm without OSFXSR", "\x0f\xfc\xc1", 3, 0);
	v->regs.cr4 |= CR4_OSFXSR;
	v->regs.cr0 |= CR0_EM;
	expect_fault("paddb mm with EM", "\x0f\xfc\xc1", 3, VEC_UD);
	expect_fault("addps with EM", "\x0f\x58\xc1", 3, VEC_UD);
	expect_fault("fld1 with EM", "\xd9\xe8", 2, VEC_NM);
	v->regs.cr0 = (v->regs.cr0 & ~(uint64_t)CR0_EM) | CR0_TS;
	expect_fault("fld1 with TS", "\xd9\xe8", 2, VEC_NM);
	expect_fault("addps with TS", "\x0f\x58\xc1", 3, VEC_NM);
	expect_fault("wait with TS, without MP", "\x9b", 1, 0);
	v->regs.cr0 |= CR0_MP;
	expect_fault("wait with TS and MP", "\x9b", 1, VEC_NM);
	expect_fault("xsave with TS", "\x0f\xae\x20", 3, VEC_NM);
	v->regs.cr0 &= ~(uint64_t)(CR0_TS | CR0_MP);
	expect_fault("paddb zmm (EVEX)", "\x62\xf1\x75\x48\xfc\xc2", 6, VEC_UD);
	if (v->vec->mask & XC_AVX) {
		expect_fault("vaddps ymm", "\xc5\xf4\x58\xc2", 4, 0);
		v->regs.xcr0 = XC_X87 | XC_SSE;
		expect_fault("vaddps with XCR0.AVX clear", "\xc5\xf4\x58\xc2", 4, VEC_UD);
		v->regs.xcr0 = XC_ALL;
		v->regs.cr4 &= ~(uint64_t)CR4_OSXSAVE;
		expect_fault("vaddps without OSXSAVE", "\xc5\xf4\x58\xc2", 4, VEC_UD);
		expect_fault("xsave without OSXSAVE", "\x0f\xae\x20", 3, VEC_UD);
		v->regs.cr4 |= CR4_OSXSAVE;
	}
	/* 1.0 / 0.0 unmasked: nothing happens until the next waiting instruction */
	vec_put16(vec_image(v) + XS_FCW, 0x037b);
	vec_put16(v->regs.xsave + XS_FSW, 0x0004);
	vec_update_es(v->regs.xsave);
	expect_fault("fadd with an exception pending", "\xd8\xc1", 2, VEC_MF);
	expect_fault("paddb mm with an exception pending", "\x0f\xfc\xc1", 3, VEC_MF);
	expect_fault("fnstsw ax does not wait", "\xdf\xe0", 2, 0);
	expect_fault("fnclex does not wait", "\xdb\xe2", 2, 0);
	expect_fault("fadd after fnclex", "\xd8\xc1", 2, 0);
	v->regs = save;
}

int main(void)
{
	unsigned rows = 0, seen = 0;

	if (!make_host() || !make_guest()) {
		printf("SKIP no executable memory or no machine\n0 passed, 0 failed\n");
		return 0;
	}
	test_mode_checks();
	for (unsigned unmask = 0; unmask < 4; unmask++)
		for (unsigned k = 0; k < (unmask ? 300000u : 1000000u); k++)
			one_case(unmask);
	for (unsigned m = 0; m < MNEMONICS && m < isa_row_count(); m++) {
		const struct isa_row *row = isa_row(m);

		if (!row ||
		    (!(row->flags & (ISA_FPU | ISA_MMX | ISA_SSE | ISA_AVX)) && !(row->flags >> ISA_NEEDS_SHIFT)))
			continue;
		rows++;
		seen += covered[m] != 0;
	}
	printf("%u of %u rows compared\n", seen, rows);
	vec_free(v);
	mmu_fini(v);
	vm_destroy(vm);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
