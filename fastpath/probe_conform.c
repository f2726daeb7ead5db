/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conformance, first half: changes of privilege, control registers, what CPUID and the TSC say, single instructions in
 * ring 0. Each test is one row of probe_items.def; several rows that differ in a detail share a function and ask which
 * row they are.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "fastpath/probe_int.h"

#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FMASK 0xc0000084u
#define MSR_TSC 0x10u
#define VECTOR_DE 0
#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_PF 14

/* C's view of the guests' labels. */
#define LABEL(name) extern const char pg_##name[]
LABEL(syscall);
LABEL(syscall_entry);
LABEL(iret);
LABEL(int);
LABEL(iret_v86);
LABEL(read_control);
LABEL(control);
LABEL(paging32);
LABEL(boot);
LABEL(limit32);
LABEL(store);
LABEL(load);
LABEL(jump);
LABEL(ud);
LABEL(divide);
LABEL(privileged);
LABEL(done);
LABEL(cpuid);
LABEL(rdtsc);
LABEL(xcr0);
LABEL(gs_base);
LABEL(cmpxchg16b);
LABEL(xsave);
LABEL(xrstor);
LABEL(xsaves);
LABEL(fxsave);
LABEL(x87);
LABEL(sse);
LABEL(avx);

#define VERDICT(word, value)                                                \
	void item_##word(struct probe_item_result *r, const char *fmt, ...) \
	{                                                                   \
		va_list ap;                                                 \
                                                                            \
		va_start(ap, fmt);                                          \
		vsnprintf(r->evidence, sizeof(r->evidence), fmt, ap);       \
		va_end(ap);                                                 \
		r->outcome = value;                                         \
	}
VERDICT(holds, PROBE_HOLDS)
VERDICT(fails, PROBE_FAILS)
VERDICT(skips, PROBE_INAPPLICABLE)

static void fails_why(struct probe *p, struct probe_item_result *r)
{
	item_fails(r, "%s", p->g.why);
}

/* ---- rings ---- */

static bool start_syscall(struct probe *p)
{
	const uint64_t target = PG_SUPER + PG_CODE + (uint64_t)(pg_syscall_entry - pg_begin);

	return guest_start(p, PROBE_LONG3, pg_syscall, 0) &&
	       guest_msr(&p->g, MSR_STAR, (uint64_t)PG_CS64 << 32 | (uint64_t)PG_CS32_USER << 48) &&
	       guest_msr(&p->g, MSR_LSTAR, target) && guest_msr(&p->g, MSR_FMASK, 0);
}

/* A target on a user page, when a supervisor page did not work: does it get there, and in which ring? */
static void syscall_to_user_page(struct probe *p, char *buf, size_t n)
{
	struct kvm_regs r;

	snprintf(buf, n, "not even with its target on a user page");
	if (start_syscall(p) && guest_msr(&p->g, MSR_LSTAR, PG_CODE + (uint64_t)(pg_syscall_entry - pg_begin)) &&
	    guest_until(p, PG_NOTE) && guest_regs(&p->g, &r))
		snprintf(buf, n, "with its target on a user page it gets there with CS %#x, ring %u", (unsigned)r.rsi,
			 (unsigned)r.rsi & 3);
}

/* At the target: CS as the guest reads it, CS as KVM says, and a privileged instruction. */
static bool enter_by_syscall(struct probe *p, struct probe_item_result *r)
{
	struct kvm_regs regs;
	struct kvm_sregs s;
	char first[PROBE_TEXT / 2], more[PROBE_TEXT / 2];

	if (!start_syscall(p) || !guest_until(p, PG_NOTE) || !guest_regs(&p->g, &regs) || !guest_sregs(&p->g, &s)) {
		snprintf(first, sizeof(first), "%.110s", p->g.why);
		syscall_to_user_page(p, more, sizeof(more));
		item_fails(r, "%s; %s", first, more);
		return false;
	}
	if ((regs.rsi & 3) || s.cs.dpl) {
		item_fails(r, "at its target CS is %#x and KVM says ring %u", (unsigned)regs.rsi, s.cs.dpl);
		return false;
	}
	if (!guest_until(p, PG_NOTE)) {
		item_fails(r, "MOV CR0 at its target: %s", p->g.why);
		return false;
	}
	return true;
}

void item_syscall(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	(void)i;
	if (enter_by_syscall(p, r))
		item_holds(r, "CS %#x at its target, MOV CR0 works there", PG_CS64);
}

void item_sysret(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_regs regs;

	(void)i;
	if (!enter_by_syscall(p, r)) {
		item_fails(r, "SYSCALL does not enter ring 0, so there is nothing to return from");
		return;
	}
	if (!guest_until(p, PG_DONE) || !guest_regs(&p->g, &regs))
		fails_why(p, r);
	else if ((unsigned)regs.r14 != PG_CS64_USER)
		item_fails(r, "CS is %#x behind SYSRET instead of %#x", (unsigned)regs.r14, PG_CS64_USER);
	else
		item_holds(r, "CS %#x behind SYSRET", PG_CS64_USER);
}

void item_iret(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_regs regs;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_iret, 0) || !guest_until(p, PG_NOTE) || !guest_regs(&p->g, &regs))
		fails_why(p, r);
	else if ((unsigned)regs.rsi != PG_CS64_USER)
		item_fails(r, "CS is %#x behind IRET instead of %#x", (unsigned)regs.rsi, PG_CS64_USER);
	else if (!guest_until_exception(p, VECTOR_GP))
		item_fails(r, "MOV CR0 behind IRET to ring 3 should raise #GP: %s", p->g.why);
	else
		item_holds(r, "CS %#x behind IRET, MOV CR0 raises #GP there", PG_CS64_USER);
}

void item_int(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_regs regs;

	(void)i;
	if (!guest_start(p, PROBE_LONG3, pg_int, 0) || !guest_until_exception(p, PG_VECTOR_INT) ||
	    !guest_regs(g, &regs)) {
		fails_why(p, r);
		return;
	}
	if (guest_word(g, PG_EXC_HANDLER_CS) != PG_CS64 || (uint16_t)guest_word(g, PG_EXC_CS) != PG_CS64_USER) {
		item_fails(r, "handler's CS %#x, saved CS %#x", (unsigned)guest_word(g, PG_EXC_HANDLER_CS),
			   (unsigned)guest_word(g, PG_EXC_CS));
		return;
	}
	if (regs.rsp > PG_STACK0 || regs.rsp < PG_STACK0 - 256) {
		item_fails(r, "handler's RSP %#llx is not on the stack that the TSS names", regs.rsp);
		return;
	}
	if (!guest_until(p, PG_DONE) || !guest_regs(g, &regs))
		fails_why(p, r);
	else if ((unsigned)regs.rsi != PG_CS64_USER || regs.rsp != PG_STACK3)
		item_fails(r, "CS %#x, RSP %#llx after its IRET", (unsigned)regs.rsi, regs.rsp);
	else
		item_holds(r, "handler in ring 0 on the TSS's stack, back in ring 3 with the old one");
}

/* One exception: code, what it should look like. */
static bool one_exception(struct probe *p, enum probe_mode m, const char *label, uint64_t rbx, unsigned vector,
			  unsigned error, uint64_t cr2)
{
	struct guest *g = &p->g;

	if (!guest_start(p, m, label, 0) || !guest_set_rbx(g, rbx))
		return false;
	if (!guest_until_exception(p, vector)) {
		char got[PROBE_TEXT];

		strcpy(got, g->why);
		guest_fail(g, "exception %u expected: %.200s", vector, got);
		return false;
	}
	if (guest_word(g, PG_EXC_ERROR) == error && (vector != VECTOR_PF || guest_word(g, PG_EXC_CR2) == cr2) &&
	    guest_word(g, PG_EXC_RIP) - guest_rip(m, label) < 8 && guest_word(g, PG_EXC_HANDLER_CS) == PG_CS64)
		return true;
	guest_explain(g);
	return false;
}

void item_exceptions(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const enum probe_mode m = i == PROBE_ITEM_EXC3 ? PROBE_LONG3 : PROBE_LONG0;
	const unsigned user = m == PROBE_LONG3 ? 4 : 0;
	const uint64_t hole = PG_MMIO + 0x1234; /* not mapped: only the page's neighbours are */

	if (one_exception(p, m, pg_divide, 0, VECTOR_DE, 0, 0) && one_exception(p, m, pg_ud, 0, VECTOR_UD, 0, 0) &&
	    (!user || one_exception(p, m, pg_privileged, 0, VECTOR_GP, 0, 0)) &&
	    one_exception(p, m, pg_load, 1ull << 62, VECTOR_GP, 0, 0) &&
	    one_exception(p, m, pg_load, hole, VECTOR_PF, user, hole) &&
	    one_exception(p, m, pg_store, hole, VECTOR_PF, user | 2, hole))
		item_holds(r, "#DE, #UD, #GP, #PF");
	else
		fails_why(p, r);
}

void item_iret_v86(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_regs regs;

	(void)i;
	if (!guest_start(p, PROBE_PROT32, pg_iret_v86, 0) || !guest_until_exception(p, VECTOR_GP) ||
	    !guest_regs(g, &regs))
		fails_why(p, r);
	else if ((uint16_t)guest_word(g, PG_EXC_CS) != PG_CODE >> 4 || (uint16_t)regs.rsi != PG_CODE >> 4)
		item_fails(r, "CS was %#x there", (unsigned)guest_word(g, PG_EXC_CS) & 0xffff);
	else
		item_holds(r, "CS %#x there, MOV CR0 raises #GP into 32-bit code", PG_CODE >> 4);
}

/* ---- control registers ---- */

/* Names the bits that should be there and are not, or the reverse. */
static bool same_control(struct probe_item_result *r, const char *whose, uint64_t cr0, uint64_t cr4, uint64_t efer,
			 const uint64_t want[3])
{
	if (cr0 == want[0] && cr4 == want[1] && efer == want[2])
		return true;
	item_fails(r, "%s: CR0 %#llx for %#llx, CR4 %#llx for %#llx, EFER %#llx for %#llx", whose,
		   (unsigned long long)cr0, (unsigned long long)want[0], (unsigned long long)cr4,
		   (unsigned long long)want[1], (unsigned long long)efer, (unsigned long long)want[2]);
	return false;
}

/* CR0: WP, AM, NE; CR4: TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT; EFER: SCE, LME, LMA, NXE. */
#define SOME_CR0 0x80050033ull
#define SOME_CR4 0x7fcull
#define SOME_EFER 0xd01ull

void item_control_ioctl(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const uint64_t want[3] = {SOME_CR0, SOME_CR4, SOME_EFER};
	struct guest *g = &p->g;
	struct kvm_regs regs;
	struct kvm_sregs s;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_read_control, 0) || !guest_sregs(g, &s)) {
		fails_why(p, r);
		return;
	}
	s.cr0 = SOME_CR0;
	s.cr4 = SOME_CR4;
	s.efer = SOME_EFER;
	if (!guest_set_sregs(g, &s) || !guest_sregs(g, &s)) {
		fails_why(p, r);
		return;
	}
	if (!same_control(r, "KVM_GET_SREGS after KVM_SET_SREGS", s.cr0, s.cr4, s.efer, want))
		return;
	if (!guest_until(p, PG_DONE) || !guest_regs(g, &regs))
		fails_why(p, r);
	else if (same_control(r, "the guest reads", regs.rsi, regs.rdi, regs.r10, want))
		item_holds(r, "CR0 %#llx, CR4 %#llx, EFER %#llx", SOME_CR0, SOME_CR4, SOME_EFER);
}

void item_control_guest(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const uint64_t want[3] = {SOME_CR0, SOME_CR4, SOME_EFER};
	struct guest *g = &p->g;
	struct kvm_regs regs;
	struct kvm_sregs s;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_control, 0) || !guest_regs(g, &regs)) {
		fails_why(p, r);
		return;
	}
	regs.rbx = SOME_CR0;
	regs.r8 = SOME_CR4;
	regs.r9 = SOME_EFER;
	if (!guest_set_regs(g, &regs) || !guest_until(p, PG_DONE) || !guest_regs(g, &regs) || !guest_sregs(g, &s))
		fails_why(p, r);
	else if (same_control(r, "the guest reads", regs.rsi, regs.rdi, regs.r10, want) &&
		 same_control(r, "KVM_GET_SREGS", s.cr0, s.cr4, s.efer, want))
		item_holds(r, "CR0 %#llx, CR4 %#llx, EFER %#llx", SOME_CR0, SOME_CR4, SOME_EFER);
}

void item_paging_guest(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const bool pae = i == PROBE_ITEM_PGPAE;
	struct guest *g = &p->g;
	struct kvm_regs regs;

	if (!guest_start(p, PROBE_PROT32, pg_paging32, 0) || !guest_regs(g, &regs)) {
		fails_why(p, r);
		return;
	}
	guest_put(g, PG_TEST, 0x600df00d);
	regs.rax = pae ? PG_PDPT_PAE : PG_PD32;
	regs.rdi = pae ? 0x620 : 0x600;
	regs.rbx = PG_ALIAS;
	if (!guest_set_regs(g, &regs) || !guest_until(p, PG_DONE) || !guest_regs(g, &regs))
		fails_why(p, r);
	else if (!(regs.rcx >> 31 & 1) || (uint32_t)regs.rsi != 0x600df00d)
		item_fails(r, "CR0 reads as %#x, an aliased page as %#x", (unsigned)regs.rcx, (unsigned)regs.rsi);
	else
		item_holds(r, "CR0 %#x, an aliased page reads right", (unsigned)regs.rcx);
}

void item_boot(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_regs regs;
	struct kvm_sregs s;

	(void)i;
	if (!guest_start(p, PROBE_REAL, pg_boot, 0)) {
		fails_why(p, r);
		return;
	}
	guest_put(g, PG_TEST, 0x600df00d);
	if (!guest_until(p, PG_DONE) || !guest_regs(g, &regs) || !guest_sregs(g, &s))
		fails_why(p, r);
	else if (regs.rsi != 0x123456789abcdef0 || (uint32_t)regs.rdi != 0x600df00d || !(s.efer >> 10 & 1))
		item_fails(r, "RSI %#llx, EDI %#x, EFER %#llx at the end", regs.rsi, (unsigned)regs.rdi, s.efer);
	else
		item_holds(r, "64-bit code ran with paging on");
}

void item_limit(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_regs regs;

	(void)i;
	if (!guest_start(p, PROBE_PROT32, pg_limit32, 0) || !guest_regs(g, &regs)) {
		fails_why(p, r);
		return;
	}
	regs.rdx = PG_DS16; /* ends at 0xffff */
	regs.rbx = 0xfffc;
	if (!guest_set_regs(g, &regs) || !guest_until(p, PG_DONE)) {
		fails_why(p, r);
		return;
	}
	if (!guest_start(p, PROBE_PROT32, pg_limit32, 0) || !guest_regs(g, &regs))
		return fails_why(p, r);
	regs.rdx = PG_DS16;
	regs.rbx = 0xfffd;
	if (!guest_set_regs(g, &regs) || !guest_until_exception(p, VECTOR_GP))
		item_fails(r, "a doubleword that ends behind the limit: %s", p->g.why[0] ? p->g.why : "no #GP");
	else
		item_holds(r, "the last doubleword reads, one byte further raises #GP");
}

void item_write_protect(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_sregs s;

	(void)i;
	for (unsigned wp = 0; wp < 2; wp++) {
		if (!guest_start(p, PROBE_LONG0, pg_store, 0) || !guest_set_rbx(g, PG_TEST) || !guest_sregs(g, &s))
			return fails_why(p, r);
		guest_put(g, guest_pte(PG_TEST), guest_word(g, guest_pte(PG_TEST)) & ~2ull);
		s.cr0 = wp ? s.cr0 | 0x10000 : s.cr0 & ~0x10000ull;
		if (!guest_set_sregs(g, &s))
			return fails_why(p, r);
		if (wp ? !guest_until_exception(p, VECTOR_PF) : !guest_until(p, PG_DONE))
			return item_fails(r, "store to a read-only page with WP %u: %s", wp, g->why);
	}
	item_holds(r, "WP 0 writes, WP 1 raises #PF");
}

void item_no_execute(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;

	(void)i;
	for (unsigned nx = 0; nx < 2; nx++) {
		if (!guest_start(p, PROBE_LONG3, pg_jump, 0) || !guest_set_rbx(g, PG_TEST))
			return fails_why(p, r);
		memcpy(g->mem + PG_TEST, pg_done, 8);
		guest_put(g, guest_pte(PG_TEST), guest_word(g, guest_pte(PG_TEST)) | (uint64_t)nx << 63);
		if (nx ? !guest_until_exception(p, VECTOR_PF) : !guest_until(p, PG_DONE))
			return item_fails(r, "jump to a page with NX %u: %s", nx, g->why);
	}
	item_holds(r, "NX 0 executes, NX 1 raises #PF, error code %#llx",
		   (unsigned long long)guest_word(g, PG_EXC_ERROR));
}

void item_supervisor(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	(void)i;
	if (one_exception(p, PROBE_LONG3, pg_load, PG_SUPER + PG_TEST, VECTOR_PF, 5, PG_SUPER + PG_TEST))
		item_holds(r, "#PF, error code 5");
	else
		fails_why(p, r);
}

/* ---- the processor that the guest sees ---- */

static bool guest_cpuid(struct probe *p, enum probe_mode m, struct kvm_cpuid2 *c, uint32_t leaf, struct kvm_regs *regs)
{
	if (!guest_start(p, m, pg_cpuid, GUEST_NO_CPUID) || !guest_set_cpuid(&p->g, c) || !guest_regs(&p->g, regs))
		return false;
	regs->rax = leaf;
	regs->rcx = 0;
	return guest_set_regs(&p->g, regs) && guest_until(p, PG_DONE) && guest_regs(&p->g, regs);
}

/* A brand string of our own and a feature taken away: what no processor would say by itself. */
void item_cpuid(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const enum probe_mode m = i == PROBE_ITEM_CPUID3 ? PROBE_LONG3 : PROBE_LONG0;
	struct kvm_cpuid2 *c = probe_supported_cpuid(p->sys, false);
	struct kvm_cpuid_entry2 *brand = c ? probe_cpuid_leaf(c, 0x80000002, 0) : NULL;
	struct kvm_cpuid_entry2 *feature = c ? probe_cpuid_leaf(c, 1, 0) : NULL;
	struct kvm_regs regs;

	if (!brand || !feature) {
		item_fails(r, "KVM_GET_SUPPORTED_CPUID: %s", c ? "leaf 1 or 80000002H is missing" : strerror(errno));
		goto out;
	}
	brand->eax = 0x65657453;
	brand->ebx = 0x7261796c;
	feature->ecx &= ~(1u << 23); /* POPCNT */
	feature->edx &= ~(1u << 19); /* CLFLUSH */
	if (!guest_cpuid(p, m, c, 0x80000002, &regs)) {
		fails_why(p, r);
	} else if ((uint32_t)regs.rax != brand->eax || (uint32_t)regs.rbx != brand->ebx) {
		item_fails(r, "the guest reads the host's brand string (EAX %#x), not the one set", (unsigned)regs.rax);
	} else if (!guest_cpuid(p, m, c, 1, &regs)) {
		fails_why(p, r);
	} else if ((regs.rcx >> 23 & 1) || (regs.rdx >> 19 & 1)) {
		item_fails(r, "features taken away are there: ECX %#x, EDX %#x", (unsigned)regs.rcx,
			   (unsigned)regs.rdx);
	} else {
		item_holds(r, "brand string and hidden features as set");
	}
out:
	free(c);
}

void item_cpuid_supported(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	static const struct {
		uint32_t leaf;
		bool ebx;
		unsigned bit;
		const char *name;
	} want[] = {
		{1, false, 0, "SSE3"},    {1, false, 9, "SSSE3"},   {1, false, 13, "CX16"}, {1, false, 19, "SSE4.1"},
		{1, false, 20, "SSE4.2"}, {1, false, 23, "POPCNT"}, {1, false, 25, "AES"},  {1, false, 26, "XSAVE"},
		{1, false, 28, "AVX"},    {7, true, 5, "AVX2"},     {7, true, 8, "BMI2"},   {7, true, 16, "AVX512F"},
		{7, true, 0, "FSGSBASE"},
	};
	struct kvm_cpuid2 *c = probe_supported_cpuid(p->sys, false);
	struct kvm_cpuid_entry2 *e;
	char missing[160] = "";
	uint32_t a, b, ecx, d;

	(void)i;
	if (!c)
		return item_fails(r, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	for (unsigned k = 0; k < ARRAY_LEN(want); k++) {
		if (!__get_cpuid_count(want[k].leaf, 0, &a, &b, &ecx, &d) ||
		    !((want[k].ebx ? b : ecx) >> want[k].bit & 1))
			continue;
		e = probe_cpuid_leaf(c, want[k].leaf, 0);
		if (!e || !((want[k].ebx ? e->ebx : e->ecx) >> want[k].bit & 1))
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s", want[k].name);
	}
	if (missing[0])
		item_fails(r, "it lacks, though the host has them:%s", missing);
	else
		item_holds(r, "nothing of what was looked for is missing");
	free(c);
}

/* Two origins far apart: the guest must read something a little above each. */
void item_tsc(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	static const uint64_t origin[] = {0, 1ull << 50};
	const enum probe_mode m = i == PROBE_ITEM_TSC3 ? PROBE_LONG3 : PROBE_LONG0;
	struct kvm_regs regs;

	for (unsigned k = 0; k < ARRAY_LEN(origin); k++) {
		uint64_t begin = __rdtsc(), most;

		if (!guest_start(p, m, pg_rdtsc, 0) || !guest_msr(&p->g, MSR_TSC, origin[k]) ||
		    !guest_until(p, PG_DONE) || !guest_regs(&p->g, &regs))
			return fails_why(p, r);
		most = __rdtsc() - begin;
		/* KVM makes writes that are within a second of each other one, so the first machine's clock may go on */
		if (regs.rax - origin[k] > most + 10000000000ull)
			return item_fails(r, "IA32_TSC set to %#llx, RDTSC reads %#llx (the host's is %#llx)",
					  (unsigned long long)origin[k], regs.rax, (unsigned long long)begin);
	}
	item_holds(r, "two origins 2^50 apart");
}

void item_xcr0(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_xcrs x = {0};
	struct guest *g = &p->g;
	struct kvm_regs regs;

	(void)i;
	if (!__builtin_cpu_supports("avx"))
		return item_skips(r, "this processor has no AVX");
	if (!guest_start(p, PROBE_LONG0, pg_xcr0, GUEST_XSAVE) || !guest_set_rbx(g, 3) || !guest_until(p, PG_DONE) ||
	    !guest_regs(g, &regs))
		return fails_why(p, r);
	if (ioctl(g->cpu, KVM_GET_XCRS, &x) < 0)
		return item_fails(r, "KVM_GET_XCRS: %s", strerror(errno));
	if (regs.rsi != 7 || regs.rdi != 3 || !x.nr_xcrs || x.xcrs[0].value != 3)
		item_fails(r, "set to 7, the guest reads %#llx; it writes 3, reads %#llx, KVM_GET_XCRS says %#llx",
			   regs.rsi, regs.rdi, x.xcrs[0].value);
	else
		item_holds(r, "7 by ioctl and 3 by XSETBV, both read back");
}

void item_gs_base(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_regs regs;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_gs_base, 0) || !guest_regs(g, &regs))
		return fails_why(p, r);
	guest_put(g, PG_TEST, 0x11);
	guest_put(g, PG_TEST + 4096, 0x22);
	regs.r8 = PG_TEST;
	regs.r9 = PG_TEST + 4096;
	if (!guest_set_regs(g, &regs) || !guest_until(p, PG_DONE) || !guest_regs(g, &regs))
		fails_why(p, r);
	else if (regs.rsi != 0x22 || regs.rdi != PG_TEST + 4096)
		item_fails(r, "behind SWAPGS a load gives %#llx for 0x22, GS.base is %#llx", regs.rsi, regs.rdi);
	else
		item_holds(r, "SWAPGS swaps, GS.base follows");
}

/* ---- instructions in ring 0 ---- */

/* RDX:RAX, zero, is what is there; RCX:RBX replaces it, and RBX is the address too. */
static bool right_cx16(const struct guest *g, const struct kvm_regs *r)
{
	return (r->rsi & 0xff) == 1 && guest_word(g, PG_TEST) == PG_TEST && guest_word(g, PG_TEST + 8) == 0x66;
}
/* The header of an XSAVE image is at 512; its first word names what is in it. */
static bool right_xsave(const struct guest *g, const struct kvm_regs *r)
{
	(void)r;
	return (guest_word(g, PG_TEST + 512) & ~7ull) == 0 && guest_word32(g, PG_TEST + 24) == 0x1f80;
}
static bool right_always(const struct guest *g, const struct kvm_regs *r)
{
	(void)g;
	(void)r;
	return true;
}
static bool right_fxsave(const struct guest *g, const struct kvm_regs *r)
{
	(void)r;
	return (uint16_t)guest_word(g, PG_TEST) == 0x37f && guest_word32(g, PG_TEST + 24) == 0x1f80;
}
static bool right_x87(const struct guest *g, const struct kvm_regs *r)
{
	(void)r;
	return guest_word32(g, PG_TEST) == 2;
}
static bool right_sse(const struct guest *g, const struct kvm_regs *r)
{
	(void)r;
	return guest_word(g, PG_TEST + 16) == 0xaa;
}
static bool right_avx(const struct guest *g, const struct kvm_regs *r)
{
	(void)r;
	return guest_word(g, PG_TEST + 32) == 0xaa && guest_word(g, PG_TEST + 56) == 0x88;
}

enum host_feature { ANY_HOST, HOST_CX16, HOST_AVX, HOST_AVX2, HOST_XSAVES };

static bool host_has(enum host_feature f)
{
	unsigned a = 0, b, c = 0, d;

	switch (f) {
	case HOST_CX16:
		return __get_cpuid(1, &a, &b, &c, &d) && (c >> 13 & 1);
	case HOST_AVX:
		return __builtin_cpu_supports("avx");
	case HOST_AVX2:
		return __builtin_cpu_supports("avx2");
	case HOST_XSAVES:
		return __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && (a >> 3 & 1);
	case ANY_HOST:
		break;
	}
	return true;
}

void item_ring0_insn(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	static const struct {
		enum probe_item item;
		const char *label;
		unsigned how;
		enum host_feature feature;
		uint32_t mask;         /* EDX and EAX: what XSAVE and its kin are asked for */
		uint64_t word, word24; /* memory before */
		bool (*right)(const struct guest *g, const struct kvm_regs *r);
	} insn[] = {
		{PROBE_ITEM_CX16, pg_cmpxchg16b, GUEST_WIDE_CPUID, HOST_CX16, 0, 0, 0, right_cx16},
		{PROBE_ITEM_XSAVE, pg_xsave, GUEST_XSAVE, HOST_AVX, ~0u, 0x55, 0x44, right_xsave},
		{PROBE_ITEM_XRSTOR, pg_xrstor, GUEST_XSAVE, HOST_AVX, ~0u, 0, 0x1f80, right_always},
		{PROBE_ITEM_XSAVES, pg_xsaves, GUEST_XSAVE, HOST_XSAVES, ~0u, 0x55, 0x44, right_always},
		{PROBE_ITEM_FXSAVE, pg_fxsave, 0, ANY_HOST, 0, 0x55, 0x44, right_fxsave},
		{PROBE_ITEM_X87, pg_x87, 0, ANY_HOST, 0, 0x55, 0x44, right_x87},
		{PROBE_ITEM_SSE, pg_sse, 0, ANY_HOST, 0, 0x55, 0x44, right_sse},
		{PROBE_ITEM_AVX, pg_avx, GUEST_XSAVE, HOST_AVX2, 0, 0x55, 0x44, right_avx},
	};
	struct guest *g = &p->g;
	struct kvm_regs regs;
	unsigned k = 0;

	while (insn[k].item != i)
		k++;
	if (!host_has(insn[k].feature))
		return item_skips(r, "this processor has no such instruction");
	if (!guest_start(p, PROBE_LONG0, insn[k].label, insn[k].how) || !guest_regs(g, &regs))
		return fails_why(p, r);
	guest_put(g, PG_TEST, insn[k].word);
	guest_put(g, PG_TEST + 24, insn[k].word24);
	regs.rax = regs.rdx = insn[k].mask;
	regs.rbx = PG_TEST;
	regs.rcx = 0x66;
	if (!guest_set_regs(g, &regs) || !guest_until(p, PG_DONE) || !guest_regs(g, &regs))
		return fails_why(p, r);
	if (insn[k].right(g, &regs))
		item_holds(r, "the result is right");
	else
		item_fails(r, "it runs, and the result is wrong: %#llx %#llx",
			   (unsigned long long)guest_word(g, PG_TEST), (unsigned long long)guest_word(g, PG_TEST + 8));
}
