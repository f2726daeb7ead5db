/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe's machine: 2 MiB of memory with descriptor tables, three sets of page tables and the code of probe_guests.S,
 * and one vCPU that starts in the mode asked for. Every test gets a new one: what a test breaks stays broken in it alone.
 *
 * Nothing here blocks for longer than the test's watchdog allows, as long as KVM_RUN heeds signals; when it does not, the
 * parent process ends us (probe_run.c).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fastpath/probe_int.h"

#define TSS_PAGES 0xfffbd000u /* three pages that VT-x without unrestricted guest wants, out of our way */

#define CR0_PE 1u
#define CR0_MP 2u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_PG 0x80000000u
#define CR4_PAE 0x20u
#define CR4_FX 0x600u /* OSFXSR, OSXMMEXCPT */
#define CR4_OSXSAVE 0x40000u
#define EFER_SCE 1u
#define EFER_LONG 0x500u /* LME, LMA */
#define EFER_NXE 0x800u

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_AD 0x60u

#define FLAGS_IOPL3 0x3002u
#define FLAGS_VM 0x20000u

uint64_t probe_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t probe_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void guest_fail(struct guest *g, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->why, sizeof(g->why), fmt, ap);
	va_end(ap);
}

/* ---- memory ---- */

uint64_t guest_word(const struct guest *g, unsigned gpa)
{
	uint64_t v;

	memcpy(&v, g->mem + gpa, sizeof(v));
	return v;
}

uint32_t guest_word32(const struct guest *g, unsigned gpa)
{
	return (uint32_t)guest_word(g, gpa);
}

void guest_put(struct guest *g, unsigned gpa, uint64_t value)
{
	memcpy(g->mem + gpa, &value, sizeof(value));
}

static void put32(struct guest *g, unsigned gpa, uint32_t value)
{
	memcpy(g->mem + gpa, &value, sizeof(value));
}

unsigned guest_pte(unsigned linear)
{
	static const unsigned table[] = {PG_PT0, PG_PT1, PG_PT2};

	return table[linear >> 21] + (linear >> 12 & 511) * 8;
}

/* Physical address of a page of the first 4 MiB of linear addresses. */
static uint32_t frame(unsigned page)
{
	return page == PG_ALIAS >> 12 ? PG_TEST : page << 12;
}

/* Accessed and dirty are set from the start, so that a walk writes nothing that a test has not asked for. */
static void make_page_tables(struct guest *g)
{
	const uint64_t table = PTE_P | PTE_W | PTE_U | PTE_AD;

	guest_put(g, PG_PML4, PG_PDPT | table);
	guest_put(g, PG_PML4_B, PG_PDPT | table);
	guest_put(g, PG_PDPT, PG_PD | table);
	guest_put(g, PG_PD, PG_PT0 | table);
	guest_put(g, PG_PD + 8, PG_PT1 | table);
	guest_put(g, PG_PD + 16, PG_PT2 | table);
	put32(g, PG_PD32, (uint32_t)(PG_PT32 | table));
	/* PDPTEs have neither W nor U (SDM 3A 4.4.1); the tables below are those of 64-bit mode */
	guest_put(g, PG_PDPT_PAE, PG_PD_PAE | PTE_P);
	guest_put(g, PG_PD_PAE, PG_PT0 | table);
	guest_put(g, PG_PD_PAE + 8, PG_PT1 | table);
	for (unsigned i = 0; i < 1024; i++) {
		if (i > PG_MMIO >> 12 && i != PG_ALIAS >> 12)
			continue;
		guest_put(g, guest_pte(i << 12), frame(i) | table);
		put32(g, PG_PT32 + i * 4, (uint32_t)(frame(i) | table));
	}
	for (unsigned i = 0; i < 512; i++)
		guest_put(g, PG_PT2 + i * 8, (uint64_t)i << 12 | PTE_P | PTE_W | PTE_AD);
}

static uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

void guest_gate(struct guest *g, unsigned vector, const char *label)
{
	uint64_t at = PG_SUPER + PG_CODE + (uint64_t)(label - pg_begin);

	guest_put(g, PG_IDT64 + vector * 16,
		  (at & 0xffff) | PG_CS64 << 16 | 0xee00ull << 32 | (at >> 16 & 0xffff) << 48);
}

static void make_tables(struct guest *g)
{
	extern const char pg_stubs64[], pg_stubs32[], pg_real_exception[];
	const uint64_t flat64[] = {
		[PG_CS64 / 8] = descriptor(0, 0xfffff, 0x9b, 0xa),
		[PG_DS / 8] = descriptor(0, 0xfffff, 0x93, 0xc),
		[PG_CS32 / 8] = descriptor(0, 0xfffff, 0x9b, 0xc),
		[PG_CS32_USER / 8] = descriptor(0, 0xfffff, 0xfb, 0xc),
		[PG_DS_USER / 8] = descriptor(0, 0xfffff, 0xf3, 0xc),
		[PG_CS64_USER / 8] = descriptor(0, 0xfffff, 0xfb, 0xa),
		[PG_CS16 / 8] = descriptor(PG_CODE, 0xffff, 0x9b, 0),
		[PG_DS16 / 8] = descriptor(PG_DATA, 0xffff, 0x93, 0),
		[PG_TSS / 8] = descriptor(PG_TSS64, 0xff, 0x8b, 0),
		[PG_TSS / 8 + 1] = 0,
	};

	for (unsigned i = 0; i < ARRAY_LEN(flat64); i++)
		guest_put(g, PG_GDT + i * 8, flat64[i]);
	/* Ring 0's stack, then a bitmap that allows the ports below 256: virtual-8086 mode asks it. */
	guest_put(g, PG_TSS64 + 4, PG_STACK0);
	put32(g, PG_TSS64 + 100, 0x68 << 16);
	put32(g, PG_TSS32 + 4, PG_STACK0);
	put32(g, PG_TSS32 + 8, PG_DS);
	put32(g, PG_TSS32 + 100, 0x68 << 16);
	g->mem[PG_TSS64 + 0x68 + 32] = g->mem[PG_TSS32 + 0x68 + 32] = 0xff;
	for (unsigned i = 0; i < PG_VECTORS; i++) {
		uint32_t at = PG_CODE + (uint32_t)(pg_stubs32 - pg_begin) + i * PG_STUB_BYTES;

		guest_gate(g, i, pg_stubs64 + i * PG_STUB_BYTES);
		guest_put(g, PG_IDT32 + i * 8,
			  (at & 0xffff) | PG_CS32 << 16 | 0xee00ull << 32 | (uint64_t)(at >> 16) << 48);
		if (i < 32)
			put32(g, PG_IVT + i * 4, (PG_CODE >> 4) << 16 | (uint32_t)(pg_real_exception - pg_begin));
	}
}

/* ---- registers ---- */

bool guest_regs(struct guest *g, struct kvm_regs *r)
{
	if (ioctl(g->cpu, KVM_GET_REGS, r) == 0)
		return true;
	guest_fail(g, "KVM_GET_REGS: %s", strerror(errno));
	return false;
}

bool guest_set_regs(struct guest *g, const struct kvm_regs *r)
{
	if (ioctl(g->cpu, KVM_SET_REGS, r) == 0)
		return true;
	guest_fail(g, "KVM_SET_REGS: %s", strerror(errno));
	return false;
}

bool guest_sregs(struct guest *g, struct kvm_sregs *s)
{
	if (ioctl(g->cpu, KVM_GET_SREGS, s) == 0)
		return true;
	guest_fail(g, "KVM_GET_SREGS: %s", strerror(errno));
	return false;
}

bool guest_set_sregs(struct guest *g, const struct kvm_sregs *s)
{
	if (ioctl(g->cpu, KVM_SET_SREGS, s) == 0)
		return true;
	guest_fail(g, "KVM_SET_SREGS: %s", strerror(errno));
	return false;
}

bool guest_set_rbx(struct guest *g, uint64_t rbx)
{
	struct kvm_regs r;

	if (!guest_regs(g, &r))
		return false;
	r.rbx = rbx;
	return guest_set_regs(g, &r);
}

bool guest_msr(struct guest *g, uint32_t index, uint64_t value)
{
	union {
		struct kvm_msrs list;
		char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} m = {.list.nmsrs = 1};

	m.list.entries[0] = (struct kvm_msr_entry){.index = index, .data = value};
	if (ioctl(g->cpu, KVM_SET_MSRS, &m) == 1)
		return true;
	guest_fail(g, "KVM_SET_MSRS refuses MSR %#x", index);
	return false;
}

bool guest_set_cpuid(struct guest *g, const struct kvm_cpuid2 *c)
{
	if (ioctl(g->cpu, KVM_SET_CPUID2, c) == 0)
		return true;
	guest_fail(g, "KVM_SET_CPUID2: %s", strerror(errno));
	return false;
}

static struct kvm_segment segment(unsigned selector, uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
	return (struct kvm_segment){
		.selector = (uint16_t)selector,
		.base = base,
		.limit = limit,
		.type = access & 15,
		.s = access >> 4 & 1,
		.dpl = access >> 5 & 3,
		.present = 1,
		.db = flags >> 2 & 1,
		.l = flags >> 1 & 1,
		.g = flags >> 3 & 1,
	};
}

static void set_data_segments(struct kvm_sregs *s, struct kvm_segment d)
{
	s->ds = s->es = s->fs = s->gs = d;
}

uint64_t guest_rip(enum probe_mode m, const char *label)
{
	uint64_t offset = (uint64_t)(label - pg_begin);

	return probe_modes[m].bits == 16 ? offset : PG_CODE + offset;
}

/* Segments and control registers of the mode; SDM 3A 9.8 and 9.9 have what belongs together. */
void guest_mode_sregs(enum probe_mode m, unsigned how, struct kvm_sregs *s)
{
	const struct kvm_segment data0 = segment(PG_DS, 0, 0xffffffff, 0x93, 0xc);
	const struct kvm_segment data3 = segment(PG_DS_USER, 0, 0xffffffff, 0xf3, 0xc);

	s->gdt.base = PG_GDT;
	s->gdt.limit = PG_TSS + 15;
	s->idt.base = PG_IDT32;
	s->idt.limit = PG_VECTORS * 8 - 1;
	s->tr = segment(PG_TSS, PG_TSS32, 0xff, 0x8b, 0);
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE;
	s->cr4 = CR4_FX;
	s->efer = 0;
	set_data_segments(s, data0);
	s->ss = data0;
	s->cs = segment(PG_CS32, 0, 0xffffffff, 0x9b, 0xc);
	switch (m) {
	case PROBE_REAL:
		s->cr0 = CR0_ET;
		s->idt.base = PG_IVT;
		s->idt.limit = 0x3ff;
		s->cs = segment(PG_CODE >> 4, PG_CODE, 0xffff, 0x9b, 0);
		set_data_segments(s, segment(PG_DATA >> 4, PG_DATA, 0xffff, 0x93, 0));
		s->ss = segment(0x2800, 0x28000, 0xffff, 0x93, 0);
		break;
	case PROBE_PROT16:
		s->cs = segment(PG_CS16, PG_CODE, 0xffff, 0x9b, 0);
		set_data_segments(s, segment(PG_DS16, PG_DATA, 0xffff, 0x93, 0));
		s->ss = s->ds;
		break;
	case PROBE_PAGE32:
		s->cr0 |= CR0_PG;
		s->cr3 = PG_PD32;
		break;
	case PROBE_PAE:
		s->cr0 |= CR0_PG;
		s->cr4 |= CR4_PAE;
		s->cr3 = PG_PDPT_PAE;
		break;
	case PROBE_LONG0:
	case PROBE_LONG3:
	case PROBE_COMPAT:
		s->cr0 |= CR0_PG;
		s->cr4 |= CR4_PAE | (how & GUEST_XSAVE ? CR4_OSXSAVE : 0);
		s->cr3 = PG_PML4;
		s->efer = EFER_LONG | EFER_SCE | EFER_NXE;
		s->idt.base = PG_IDT64;
		s->idt.limit = PG_VECTORS * 16 - 1;
		s->tr.base = PG_TSS64;
		s->cs = segment(PG_CS64, 0, 0xffffffff, 0x9b, 0xa);
		if (m == PROBE_LONG0)
			break;
		set_data_segments(s, data3);
		s->ss = data3;
		s->cs = m == PROBE_LONG3 ? segment(PG_CS64_USER, 0, 0xffffffff, 0xfb, 0xa)
					 : segment(PG_CS32_USER, 0, 0xffffffff, 0xfb, 0xc);
		break;
	case PROBE_V86:
		s->cs = segment(PG_CODE >> 4, PG_CODE, 0xffff, 0xf3, 0);
		set_data_segments(s, segment(PG_DATA >> 4, PG_DATA, 0xffff, 0xf3, 0));
		s->ss = segment(0x2800, 0x28000, 0xffff, 0xf3, 0);
		break;
	case PROBE_PROT32:
	case PROBE_MODES:
		break;
	}
}

static bool set_mode(struct guest *g, enum probe_mode m, const char *label, unsigned how)
{
	const unsigned bits = probe_modes[m].bits;
	struct kvm_regs r = {
		.rip = guest_rip(m, label),
		.rsp = bits == 16                 ? 0x7ff0
		       : probe_modes[m].ring == 3 ? PG_STACK3
						  : PG_STACK0,
		.rbx = bits == 16 ? 0x100 : PG_DATA + 0x100,
		.rflags = FLAGS_IOPL3 | (m == PROBE_V86 ? FLAGS_VM : 0),
	};
	struct kvm_sregs s;

	if (!guest_sregs(g, &s))
		return false;
	guest_mode_sregs(m, how, &s);
	return guest_set_sregs(g, &s) && guest_set_regs(g, &r);
}

static bool set_xcr0(struct guest *g, uint64_t value)
{
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = value}};

	if (ioctl(g->cpu, KVM_SET_XCRS, &x) == 0)
		return true;
	guest_fail(g, "KVM_SET_XCRS refuses %#llx: %s", (unsigned long long)value, strerror(errno));
	return false;
}

/* ---- life ---- */

bool guest_start(struct probe *p, enum probe_mode m, const char *label, unsigned how)
{
	struct kvm_userspace_memory_region slot = {.memory_size = PG_MEM_BYTES};
	struct guest *g = &p->g;
	uint64_t identity = TSS_PAGES - 4096;
	struct kvm_cpuid2 *c;
	int bytes;
	bool ok;

	guest_end(p);
	watchdog_rearm(p);
	g->mem = mmap(NULL, PG_MEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (g->mem == MAP_FAILED) {
		g->mem = NULL;
		guest_fail(g, "no memory for a guest: %s", strerror(errno));
		return false;
	}
	madvise(g->mem, PG_MEM_BYTES, MADV_NOHUGEPAGE);
	if (!(how & GUEST_UNTOUCHED))
		memset(g->mem + PG_FRESH, 0, PG_FRESH_PAGES * 4096);
	memcpy(g->mem + PG_CODE, pg_begin, (size_t)(pg_end - pg_begin));
	make_page_tables(g);
	make_tables(g);

	g->vm = ioctl(p->sys, KVM_CREATE_VM, 0);
	if (g->vm < 0) {
		guest_fail(g, "KVM_CREATE_VM: %s", strerror(errno));
		return false;
	}
	/* Only VT-x wants these, others may not know them. */
	ioctl(g->vm, KVM_SET_TSS_ADDR, (unsigned long)TSS_PAGES);
	ioctl(g->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	slot.userspace_addr = (uintptr_t)g->mem;
	if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0) {
		guest_fail(g, "KVM_SET_USER_MEMORY_REGION: %s", strerror(errno));
		return false;
	}
	g->cpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
	bytes = ioctl(p->sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (g->cpu < 0 || bytes < (int)sizeof(struct kvm_run)) {
		guest_fail(g, "KVM_CREATE_VCPU: %s", strerror(errno));
		return false;
	}
	g->run_bytes = (size_t)bytes;
	g->run = mmap(NULL, g->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, g->cpu, 0);
	if (g->run == MAP_FAILED) {
		g->run = NULL;
		guest_fail(g, "the vCPU's shared page: %s", strerror(errno));
		return false;
	}
	p->dog.run = g->run;
	if (!(how & GUEST_NO_CPUID)) {
		c = probe_supported_cpuid(p->sys, how & (GUEST_WIDE_CPUID | GUEST_XSAVE));
		ok = c && guest_set_cpuid(g, c);
		free(c);
		if (!ok)
			return false;
	}
	if ((how & GUEST_XSAVE) && !set_xcr0(g, 7))
		return false;
	if (!set_mode(g, m, label, how))
		return false;
	/* from here on guest code counts; what it takes to make a machine says nothing about the guest */
	watchdog_rearm(p);
	return true;
}

void guest_end(struct probe *p)
{
	struct guest *g = &p->g;

	p->dog.run = NULL; /* before the page goes: the signal may come at any time */
	if (g->run)
		munmap(g->run, g->run_bytes);
	if (g->cpu >= 0)
		close(g->cpu);
	if (g->vm >= 0)
		close(g->vm);
	if (g->mem)
		munmap(g->mem, PG_MEM_BYTES);
	*g = (struct guest){.vm = -1, .cpu = -1};
}

/* ---- running ---- */

int guest_run(struct guest *g, const struct watchdog *dog)
{
	if (ioctl(g->cpu, KVM_RUN, 0) == 0)
		g->stop = (int)g->run->exit_reason;
	else if (errno == EINTR || errno == EAGAIN)
		g->stop = dog->expired ? STOP_STUCK : STOP_SIGNAL;
	else
		g->stop = STOP_ERROR;
	g->error = g->stop == STOP_ERROR ? errno : 0;
	return g->stop;
}

static bool out_to(const struct guest *g, unsigned port)
{
	return g->stop == KVM_EXIT_IO && g->run->io.direction == KVM_EXIT_IO_OUT && g->run->io.port == port;
}

bool guest_until(struct probe *p, unsigned port)
{
	struct guest *g = &p->g;

	do
		guest_run(g, &p->dog);
	while (g->stop == STOP_SIGNAL);
	if (out_to(g, port))
		return true;
	guest_explain(g);
	return false;
}

bool guest_until_exception(struct probe *p, unsigned vector)
{
	struct guest *g = &p->g;

	if (!guest_until(p, PG_EXCEPTION))
		return false;
	if (guest_word(g, PG_EXC_VECTOR) == vector)
		return true;
	guest_explain(g);
	return false;
}

void guest_settle(struct guest *g)
{
	g->run->immediate_exit = 1;
	ioctl(g->cpu, KVM_RUN, 0);
	g->run->immediate_exit = 0;
}

static void explain_internal(struct guest *g, unsigned long long rip)
{
	const char *what = g->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION     ? "emulation failure"
			   : g->run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV ? "failure to deliver an event"
											 : "of another kind";
	char bytes[32] = "";
	unsigned at = (unsigned)(rip & 0x1fffff);

	if (rip < PG_MEM_BYTES + PG_SUPER && at < PG_MEM_BYTES - 8)
		for (unsigned i = 0; i < 6; i++)
			snprintf(bytes + 3 * i, 4, " %02x", g->mem[at + i]);
	guest_fail(g, "KVM_EXIT_INTERNAL_ERROR, %s, at RIP %#llx:%s", what, rip, bytes);
}

void guest_explain(struct guest *g)
{
	struct kvm_regs r = {0};
	unsigned long long rip;

	if (g->stop == STOP_ERROR) {
		guest_fail(g, "KVM_RUN: %s", strerror(g->error));
		return;
	}
	rip = ioctl(g->cpu, KVM_GET_REGS, &r) == 0 ? r.rip : 0;
	switch (g->stop) {
	case STOP_STUCK:
		guest_fail(g, "no end inside KVM_RUN (RIP %#llx) until the watchdog's signal", rip);
		return;
	case STOP_SIGNAL:
		guest_fail(g, "KVM_RUN ended by a signal at RIP %#llx", rip);
		return;
	case KVM_EXIT_IO:
		if (out_to(g, PG_EXCEPTION))
			guest_fail(g, "exception %llu (error code %#llx, CR2 %#llx) at %#llx:%#llx",
				   (unsigned long long)guest_word(g, PG_EXC_VECTOR),
				   (unsigned long long)guest_word(g, PG_EXC_ERROR),
				   (unsigned long long)guest_word(g, PG_EXC_CR2),
				   (unsigned long long)guest_word(g, PG_EXC_CS) & 0xffff,
				   (unsigned long long)guest_word(g, PG_EXC_RIP));
		else
			guest_fail(g, "port %#x at RIP %#llx instead of what was expected", g->run->io.port, rip);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		explain_internal(g, rip);
		return;
	case KVM_EXIT_SHUTDOWN:
		guest_fail(g, "triple fault, RIP %#llx", rip);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		guest_fail(g, "the processor refuses to enter the guest (KVM_EXIT_FAIL_ENTRY, reason %#llx)",
			   (unsigned long long)g->run->fail_entry.hardware_entry_failure_reason);
		return;
	case KVM_EXIT_MMIO:
		guest_fail(g, "access to physical address %#llx, where no memory is, at RIP %#llx",
			   (unsigned long long)g->run->mmio.phys_addr, rip);
		return;
	case KVM_EXIT_DEBUG:
		guest_fail(g, "debug exit (exception %u) at RIP %#llx", g->run->debug.arch.exception, rip);
		return;
	default:
		guest_fail(g, "exit reason %d at RIP %#llx", g->stop, rip);
	}
}

/* ---- CPUID ---- */

#define MAX_CPUID 256

/* Words whose bits KVM may lack although the processor has them; programs ask for these. */
static const struct {
	uint32_t leaf;
	enum { REG_EBX, REG_ECX, REG_EDX } reg;
	uint32_t bits;
} wide[] = {
	/* SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
	{1, REG_ECX, 0x76d83203},
	/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS */
	{7, REG_EBX, 0x000003a9},
};

struct kvm_cpuid_entry2 *probe_cpuid_leaf(struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < c->nent; i++)
		if (c->entries[i].function == leaf &&
		    (!(c->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || c->entries[i].index == sub))
			return &c->entries[i];
	return NULL;
}

static struct kvm_cpuid_entry2 *leaf_or_new(struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub, bool indexed)
{
	struct kvm_cpuid_entry2 *e = probe_cpuid_leaf(c, leaf, sub);

	if (!e && c->nent < MAX_CPUID) {
		e = &c->entries[c->nent++];
		*e = (struct kvm_cpuid_entry2){
			.function = leaf, .index = sub, .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
	}
	return e;
}

static void widen(struct kvm_cpuid2 *c)
{
	struct kvm_cpuid_entry2 *e;
	uint32_t r[4];

	for (unsigned i = 0; i < ARRAY_LEN(wide); i++) {
		e = leaf_or_new(c, wide[i].leaf, 0, wide[i].leaf == 7);
		__asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(wide[i].leaf), "c"(0));
		if (!e)
			return;
		if (wide[i].reg == REG_EBX)
			e->ebx |= r[1] & wide[i].bits;
		else
			e->ecx |= r[2] & wide[i].bits;
	}
	/* what XSAVE needs to know: SDM 1 13.2; x87, SSE and AVX, no supervisor state */
	for (unsigned sub = 0; sub < 3; sub++) {
		__asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(0xd), "c"(sub));
		e = leaf_or_new(c, 0xd, sub, true);
		if (!e || e->eax)
			continue;
		e->eax = sub == 0 ? r[0] & 7 : sub == 1 ? r[0] & 0xf : r[0];
		e->ebx = r[1];
		e->ecx = sub == 0 ? 576 + 256 : 0;
	}
}

struct kvm_cpuid2 *probe_supported_cpuid(int sys, bool all)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX_CPUID * sizeof(c->entries[0]));

	if (!c)
		return NULL;
	c->nent = MAX_CPUID;
	if (ioctl(sys, KVM_GET_SUPPORTED_CPUID, c) < 0) {
		free(c);
		return NULL;
	}
	if (all)
		widen(c);
	return c;
}

void guest_on_kick(int sig, siginfo_t *si, void *uc)
{
	struct kvm_run *run = si->si_value.sival_ptr;

	(void)sig;
	(void)uc;
	if (run)
		run->immediate_exit = 1;
}
