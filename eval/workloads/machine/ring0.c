// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Items that need ring 0: control registers, page tables, exceptions, ports, device memory, interrupts. Each counts what its
 * handlers saw, or reads back what it wrote, so that a figure is one of the operation that the table names.
 */
#include "eval/workloads/machine/image.h"
#include "eval/workloads/machine/machine.h"

static struct {
	uint64_t before; /* handler_count at the start */
	uint64_t wrong;
	uint64_t tsc_per_kcount; /* TSC ticks in 1024 of the local APIC's timer */
	char text[160];
} now;

#define TIMED(...)                               \
	({                                       \
		uint64_t begun_ = machine_tsc(); \
		__VA_ARGS__;                     \
		machine_tsc() - begun_;          \
	})

static inline uint64_t rdmsr(uint32_t nr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(nr));
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t nr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(nr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static const char *start(void)
{
	now.before = handler_count;
	now.wrong = 0;
	return NULL;
}

/* The handler ran once for each operation. */
static const char *end_count(uint64_t ops)
{
	if (handler_count - now.before == ops)
		return NULL;
	return machine_reason(now.text, sizeof(now.text), "wrong result: the handler ran ", handler_count - now.before,
			      " times, operations were ", ops);
}
static const char *end_right(uint64_t ops)
{
	if (!now.wrong)
		return NULL;
	return machine_reason(now.text, sizeof(now.text), "wrong result: ", now.wrong,
			      " wrong values in operations: ", ops);
}

/* ---- exceptions ---- */
static const char *begin_undefined(void)
{
	image_gate(VEC_UD, on_fault, 0);
	return start();
}
static uint64_t run_undefined(uint64_t n)
{
	return TIMED(loop_undefined(n));
}
static const char *begin_divide(void)
{
	image_gate(VEC_DE, on_fault, 0);
	return start();
}
static uint64_t run_divide(uint64_t n)
{
	return TIMED(loop_divide(n));
}
static void page_drop(unsigned n)
{
	*image_pte(n) &= ~1ull;
	invlpg(WINDOW + n * 4096ull);
}
static const char *begin_page_fault(void)
{
	image_gate(VEC_PF, on_fault_error, 0);
	page_drop(1);
	return start();
}
static uint64_t run_page_fault(uint64_t n)
{
	return TIMED(loop_fault(n, (void *)(WINDOW + 4096)));
}
static const char *end_fault(uint64_t ops)
{
	*image_pte(1) |= 1;
	return ops ? end_count(ops) : NULL;
}
static const char *begin_page_minor(void)
{
	image_gate(VEC_PF, on_minor_fault, 0);
	return start();
}
static uint64_t run_page_minor(uint64_t n)
{
	uint64_t begun;

	for (unsigned i = 0; i < n; i++)
		page_drop(i);
	begun = machine_tsc();
	for (unsigned i = 0; i < n; i++)
		*(volatile uint64_t *)(WINDOW + i * 4096ull);
	return machine_tsc() - begun;
}
static const char *begin_fetch_fault(void)
{
	image_gate(VEC_PF, on_fetch_fault, 0);
	page_drop(1);
	return start();
}
static uint64_t run_fetch_fault(uint64_t n)
{
	return TIMED(loop_fetch_fault(n, (void *)(WINDOW + 4096)));
}
static const char *begin_int_iret(void)
{
	image_gate(VEC_SOFT, on_soft, 0);
	return start();
}
static uint64_t run_int_iret(uint64_t n)
{
	return TIMED(loop_soft(n));
}

/* ---- system calls ---- */
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084
static const char *begin_syscall(void)
{
	wrmsr(MSR_STAR, (uint64_t)SEL_CODE64 << 32 | (uint64_t)SEL_USER32 << 48);
	wrmsr(MSR_LSTAR, (uint64_t)(uintptr_t)on_syscall);
	wrmsr(MSR_FMASK, 0x200);
	image_gate(VEC_LEAVE_USER, on_leave_user, 3);
	return start();
}
static uint64_t run_syscall(uint64_t n)
{
	return TIMED(user_call((void (*)(void))(uintptr_t)user_syscalls, n));
}

/* ---- paging ---- */
/* Page 2 has the frames of pages 2 and 3 by turns; each frame begins with its own number. */
static const char *begin_pte(void)
{
	for (unsigned i = 2; i <= 3; i++)
		*(volatile uint64_t *)(WINDOW_FRAMES + i * 4096ull) = i;
	return start();
}
static uint64_t run_pte(uint64_t n, bool touch)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++) {
		unsigned frame = 2 + (unsigned)(i & 1);

		*image_pte(2) = WINDOW_FRAMES + frame * 4096ull + 7;
		invlpg(WINDOW + 0x2000);
		if (touch)
			now.wrong += *(volatile uint64_t *)(WINDOW + 0x2000) != frame;
	}
	return machine_tsc() - begun;
}
static uint64_t run_pte_invlpg(uint64_t n)
{
	uint64_t t = run_pte(n, false);

	now.wrong += *(volatile uint64_t *)(WINDOW + 0x2000) != 2 + ((n - 1) & 1);
	return t;
}
static uint64_t run_pte_full(uint64_t n)
{
	touch_pages((void *)WINDOW);
	return run_pte_invlpg(n);
}
static uint64_t run_pte_touch(uint64_t n)
{
	return run_pte(n, true);
}
static const char *end_pte(uint64_t ops)
{
	*image_pte(2) = WINDOW_FRAMES + 0x2000 + 7;
	invlpg(WINDOW + 0x2000);
	return end_right(ops);
}
static uint64_t run_tlb_evict(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++) {
		invlpg(WINDOW);
		*(volatile uint64_t *)WINDOW;
	}
	return machine_tsc() - begun;
}
static uint64_t run_tlb_flush(uint64_t n)
{
	uint64_t begun = machine_tsc(), cr3 = cr3_read();

	for (uint64_t i = 0; i < n; i++) {
		unsigned page = (unsigned)(i & 63);

		if (!page)
			cr3_write(cr3);
		*(volatile uint64_t *)(WINDOW + page * 4160ull);
	}
	return machine_tsc() - begun;
}
static uint64_t run_cr3_write(uint64_t n)
{
	uint64_t begun = machine_tsc(), cr3 = cr3_read();

	for (uint64_t i = 0; i < n; i++)
		cr3_write(cr3);
	return machine_tsc() - begun;
}

/* ---- other registers ---- */
static uint64_t run_cr8_write(uint64_t n)
{
	uint64_t begun = machine_tsc(), seen;

	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("mov %0, %%cr8" : : "r"((n - i - 1) & 7) : "memory");
	begun = machine_tsc() - begun;
	__asm__ volatile("mov %%cr8, %0" : "=r"(seen));
	now.wrong += seen != 0;
	return begun;
}
static uint64_t run_cli_sti(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("cli\n\tsti" : : : "memory");
	begun = machine_tsc() - begun;
	__asm__ volatile("cli" : : : "memory");
	return begun;
}
static uint64_t run_mode_switch(uint64_t n)
{
	return TIMED(loop_mode_switch(n));
}
#define MSR_PAT 0x277
#define MSR_KERNEL_GS_BASE 0xc0000102
static uint64_t run_rdmsr(uint64_t n)
{
	uint64_t begun = machine_tsc(), first = rdmsr(MSR_PAT);

	begun = machine_tsc();
	for (uint64_t i = 0; i < n; i++)
		now.wrong += rdmsr(MSR_PAT) != first;
	return machine_tsc() - begun;
}
static uint64_t run_wrmsr(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++)
		wrmsr(MSR_KERNEL_GS_BASE, i);
	begun = machine_tsc() - begun;
	now.wrong += rdmsr(MSR_KERNEL_GS_BASE) != n - 1;
	return begun;
}
static const char *begin_hypercall(void)
{
	return begin_undefined();
}
static uint64_t run_hypercall(uint64_t n)
{
	uint32_t r[4];

	machine_cpuid_leaf(0, 0, r);
	/* "Auth" of AuthenticAMD, "Hygo" of HygonGenuine */
	return r[1] == 0x68747541 || r[1] == 0x6f677948 ? TIMED(loop_hypercall_amd(n)) : TIMED(loop_hypercall(n));
}
/* All of them are answered, or none. */
static const char *end_hypercall(uint64_t ops)
{
	return handler_count == now.before ? NULL : end_count(ops);
}

/* ---- ports and device memory ---- */
static uint64_t run_port_in(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++) {
		uint8_t v;

		__asm__ volatile("inb %1, %0" : "=a"(v) : "N"((uint16_t)PORT_DEBUG));
		now.wrong += v != 0xe9;
	}
	return machine_tsc() - begun;
}
static uint64_t run_port_out(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("outb %b0, $0x80" : : "a"(0));
	return machine_tsc() - begun;
}
#define IOAPIC_SELECT ((volatile uint32_t *)0xfec00000ul)
static const char *begin_ioapic(void)
{
	*IOAPIC_SELECT = 1; /* the version */
	if (*IOAPIC_SELECT != 1)
		return "there is no I/O APIC at FEC00000H";
	return start();
}
static uint64_t run_mmio_read(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++)
		now.wrong += *IOAPIC_SELECT != 1;
	return machine_tsc() - begun;
}
static uint64_t run_mmio_write(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++)
		*IOAPIC_SELECT = i & 1;
	begun = machine_tsc() - begun;
	now.wrong += *IOAPIC_SELECT != ((n - 1) & 1);
	return begun;
}

/* ---- the local APIC ---- */
#define APIC(reg) (*(volatile uint32_t *)(0xfee00000ul + (reg)))
#define APIC_ID 0x20
#define APIC_TPR 0x80
#define APIC_SVR 0xf0
#define APIC_ICR 0x300
#define APIC_LVT_TIMER 0x320
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE 0x3e0
#define SVR_ENABLE 0x100
#define ICR_SELF 0x40000
#define LVT_MASKED 0x10000
#define LVT_DEADLINE 0x40000
#define DIVIDE_BY_1 0xb

static const char *begin_apic(void)
{
	if (!(rdmsr(0x1b) & 0x800))
		return "the local APIC is off";
	APIC(APIC_SVR) = SVR_ENABLE | VEC_SPURIOUS;
	APIC(APIC_TPR) = 0;
	image_gate(VEC_SPURIOUS, on_spurious, 0);
	image_gate(VEC_IPI, on_interrupt, 0);
	image_gate(VEC_TIMER, on_timer, 0);
	return start();
}
static uint64_t run_apic_read(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++)
		now.wrong += APIC(APIC_ID) >> 24 != 0;
	return machine_tsc() - begun;
}
static uint64_t run_ipi_self(uint64_t n)
{
	uint64_t begun = machine_tsc();

	__asm__ volatile("sti" : : : "memory");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t count = handler_count;

		APIC(APIC_ICR) = ICR_SELF | VEC_IPI;
		while (handler_count == count)
			__asm__ volatile("pause");
	}
	__asm__ volatile("cli" : : : "memory");
	return machine_tsc() - begun;
}
static uint64_t run_ipi_hlt(uint64_t n)
{
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++) {
		APIC(APIC_ICR) = ICR_SELF | VEC_IPI;
		/* the shadow behind STI ends with HLT: the interrupt cannot come between them (SDM 2B STI) */
		__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
	}
	return machine_tsc() - begun;
}

/* How fast the timer counts is measured over a millisecond of a 1 to 5 GHz TSC. */
static const char *begin_timer(void)
{
	const char *why = begin_apic();
	uint64_t begun, ticks;
	uint32_t count;

	if (why)
		return why;
	APIC(APIC_LVT_TIMER) = LVT_MASKED | VEC_TIMER;
	APIC(APIC_TIMER_DIVIDE) = DIVIDE_BY_1;
	APIC(APIC_TIMER_INITIAL) = 0xffffffff;
	begun = machine_tsc();
	while (machine_tsc() - begun < 5000000)
		;
	count = 0xffffffff - APIC(APIC_TIMER_CURRENT);
	ticks = machine_tsc() - begun;
	APIC(APIC_TIMER_INITIAL) = 0;
	if (count < 1000)
		return "the local APIC's timer does not count";
	now.tsc_per_kcount = (ticks << 10) / count;
	APIC(APIC_LVT_TIMER) = VEC_TIMER;
	return NULL;
}
#define SHOT_TICKS 250000 /* of the TSC: about 100 us */

static uint64_t since(uint64_t due)
{
	return handler_tsc > due ? handler_tsc - due : 0;
}
static uint64_t run_timer(uint64_t n, bool halt)
{
	uint32_t count = (uint32_t)(((uint64_t)SHOT_TICKS << 10) / now.tsc_per_kcount);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t seen = handler_count, begun = machine_tsc();

		APIC(APIC_TIMER_INITIAL) = count;
		if (!halt)
			__asm__ volatile("sti" : : : "memory");
		while (handler_count == seen) {
			if (halt)
				__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
			else
				__asm__ volatile("pause");
		}
		__asm__ volatile("cli" : : : "memory");
		sum += since(begun + ((count * now.tsc_per_kcount) >> 10));
	}
	return sum;
}
static uint64_t run_timer_spin(uint64_t n)
{
	return run_timer(n, false);
}
static uint64_t run_timer_hlt(uint64_t n)
{
	return run_timer(n, true);
}
static const char *end_timer(uint64_t ops)
{
	APIC(APIC_LVT_TIMER) = LVT_MASKED | VEC_TIMER;
	APIC(APIC_TIMER_INITIAL) = 0;
	return ops ? end_count(ops) : NULL;
}
#define MSR_TSC_DEADLINE 0x6e0
static const char *begin_deadline(void)
{
	uint32_t r[4];
	const char *why = begin_apic();

	machine_cpuid_leaf(1, 0, r);
	if (why || !(r[2] & 1u << 24))
		return why ? why : "CPUID has no TSC deadline";
	APIC(APIC_LVT_TIMER) = LVT_DEADLINE | VEC_TIMER;
	__asm__ volatile("mfence" : : : "memory"); /* SDM 3A 11.5.4.1 */
	return NULL;
}
static uint64_t run_deadline(uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t seen = handler_count, due = machine_tsc() + SHOT_TICKS;

		wrmsr(MSR_TSC_DEADLINE, due);
		while (handler_count == seen)
			__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
		sum += since(due);
	}
	return sum;
}

void ring0_recover(void)
{
	end_timer(0);
	end_pte(0);
	end_fault(0);
	cr3_write(cr3_read());
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

struct ring0_row {
	const char *name;
	struct machine_ops ops;
};
static const struct ring0_row rows[] = {
	{"tlb_evict", {start, run_tlb_evict, NULL}},
	{"tlb_flush", {start, run_tlb_flush, NULL}},
	{"syscall", {begin_syscall, run_syscall, end_count}},
	{"int_iret", {begin_int_iret, run_int_iret, end_count}},
	{"undefined", {begin_undefined, run_undefined, end_count}},
	{"divide", {begin_divide, run_divide, end_count}},
	{"page_fault", {begin_page_fault, run_page_fault, end_fault}},
	{"page_minor", {begin_page_minor, run_page_minor, end_count}},
	{"fetch_fault", {begin_fetch_fault, run_fetch_fault, end_fault}},
	{"pte_invlpg", {begin_pte, run_pte_invlpg, end_pte}},
	{"pte_touch", {begin_pte, run_pte_touch, end_pte}},
	{"pte_full", {begin_pte, run_pte_full, end_pte}},
	{"cr3_write", {start, run_cr3_write, NULL}},
	{"cr8_write", {start, run_cr8_write, end_right}},
	{"cli_sti", {start, run_cli_sti, NULL}},
	{"mode_switch", {start, run_mode_switch, end_count}},
	{"rdmsr", {start, run_rdmsr, end_right}},
	{"wrmsr", {start, run_wrmsr, end_right}},
	{"hypercall", {begin_hypercall, run_hypercall, end_hypercall}},
	{"port_in", {start, run_port_in, end_right}},
	{"port_out", {start, run_port_out, NULL}},
	{"mmio_read", {begin_ioapic, run_mmio_read, end_right}},
	{"mmio_write", {begin_ioapic, run_mmio_write, end_right}},
	{"apic_read", {begin_apic, run_apic_read, end_right}},
	{"ipi_self", {begin_apic, run_ipi_self, end_count}},
	{"ipi_hlt", {begin_apic, run_ipi_hlt, end_count}},
	{"timer_spin", {begin_timer, run_timer_spin, end_timer}},
	{"timer_hlt", {begin_timer, run_timer_hlt, end_timer}},
	{"timer_deadline", {begin_deadline, run_deadline, end_timer}},
};

const struct machine_ops *ring0_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (same(rows[i].name, name))
			return &rows[i].ops;
	return NULL;
}
