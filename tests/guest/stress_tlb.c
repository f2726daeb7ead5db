/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shoot-downs, and code that changes: one processor writes, tells the others by an IPI, and once all have answered nobody may
 * act on what was before (SDM 3A 4.10.5, 8.1.3).
 */
#include "stress.h"

/* ---- 6, 7, 9: shoot-downs ---- */

#define SHOTS 90
uint8_t frames[2][4096] __attribute__((aligned(4096)));
static volatile uint32_t shot, shot_kind, shot_acks;

static inline void invlpg(uint64_t a)
{
	__asm__ volatile("invlpg (%0)" : : "r"(a) : "memory");
}

void flush_cr3(void)
{
	uint64_t x;

	__asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(x) : : "memory");
}

/* Leaves out and in CR4.PGE: global pages go too. */
static void flush_global(void)
{
	uint64_t x, y;

	__asm__ volatile("mov %%cr4, %0; mov %0, %1; xor $0x80, %1; mov %1, %%cr4; mov %0, %%cr4"
			 : "=&r"(x), "=&r"(y)
			 :
			 : "memory");
}

static void flush(unsigned kind)
{
	if (kind == 0)
		invlpg(WINDOW);
	else if (kind == 1)
		flush_cr3();
	else
		flush_global();
}

__attribute__((interrupt)) void on_shoot(struct frame *f)
{
	(void)f;
	flush(shot_kind);
	flushed[me()][0] = shot;
	apic_write(0xb0, 0);
	__atomic_add_fetch(&shot_acks, 1, __ATOMIC_SEQ_CST);
}

/* The entry has been written: everybody else forgets the old one before this returns. */
static void shoot(uint32_t n, unsigned kind)
{
	shot = n;
	shot_kind = kind;
	shot_acks = 0;
	flush(kind);
	ipi(0, ICR_FIXED | TO_OTHERS | VEC_SHOOT);
	while (shot_acks != ncpus - 1)
		relax();
}

/* The page behind the window is exchanged; in the new one is the number of the exchange. */
void read_shootdown(void)
{
	if (me()) {
		__asm__ volatile("sti");
		while (!over) {
			uint32_t least = flushed[me()][0], got = *(volatile uint32_t *)(uint64_t)WINDOW;

			if (got < least)
				fail(0x600 + shot_kind, got, least);
		}
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t n = 1; n <= SHOTS; n++) {
		unsigned kind = n % 3;

		*(volatile uint32_t *)frames[n & 1] = n;
		__atomic_store_n(&pt[0], (uint64_t)frames[n & 1] | P | W | (kind == 2 ? G : 0), __ATOMIC_SEQ_CST);
		shoot(n, kind); /* after a global page comes INVLPG, which takes it along */
	}
	over = true;
}

/* Everybody counts in the window; while the right to write is gone nothing may change. */
static volatile uint32_t write_faults;

__attribute__((interrupt)) void on_fault(struct frame *f, uint64_t error)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	if (cr2 >> 12 != WINDOW >> 12 || (error & ~2ull) > 1)
		fail(0x700, cr2, f->ip);
	__atomic_add_fetch(&write_faults, 1, __ATOMIC_SEQ_CST);
	relax();
}

void write_shootdown(void)
{
	volatile uint32_t *word = (volatile uint32_t *)(uint64_t)(WINDOW + me() * 64);

	if (me()) {
		__asm__ volatile("sti");
		while (!over)
			++*word;
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t n = 1; n <= SHOTS / 3; n++) {
		uint32_t then[MAX_CPUS];
		uint64_t page = (uint64_t)frames[0];

		/* read-only, or not there at all */
		__atomic_store_n(&pt[0], n & 1 ? page | P : 0, __ATOMIC_SEQ_CST);
		shoot(n, n % 3);
		for (unsigned k = 0; k < ncpus; k++)
			then[k] = *(volatile uint32_t *)(frames[0] + k * 64);
		delay();
		for (unsigned k = 0; k < ncpus; k++)
			if (*(volatile uint32_t *)(frames[0] + k * 64) != then[k])
				fail(0x710 + n % 3, k, n);
		__atomic_store_n(&pt[0], page | P | W, __ATOMIC_SEQ_CST);
		delay();
	}
	over = true;
}

/* ---- 8: cross-modifying code ---- */

extern uint8_t patch_site[];
uint32_t patch_call(void);
__asm__(".text\n.balign 64\n"
	"patch_call:\n"
	"	xor %eax, %eax\n"
	"	.balign 16\n"
	"	nop; nop; nop; nop; nop; nop; nop\n"
	".globl patch_site\npatch_site:\n"
	"	mov $0, %eax\n" /* five bytes in two aligned words */
	"	ret\n");

/* What is executed instead while the first byte is INT3. */
__attribute__((interrupt)) void on_breakpoint(struct frame *f)
{
	if (f->ip != (uint64_t)patch_site + 1)
		fail(0x800, f->ip, 0);
	f->ip += 4;
}

static void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

void patched_code(void)
{
	if (me()) {
		__asm__ volatile("sti");
		while (!over) {
			uint32_t least = flushed[me()][0], got = patch_call();

			/* 0: the breakpoint; a mixture of two numbers never, for INT3 stands before it then */
			if (got && (got < least || got > shot + 1))
				fail(0x810, got, least);
		}
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t n = 1; n <= SHOTS; n++) {
		*(volatile uint8_t *)patch_site = 0xcc;
		shoot(n - 1, 1); /* the interrupt's return serializes */
		for (unsigned k = 0; k < 4; k++)
			*(volatile uint8_t *)(patch_site + 1 + k) = (uint8_t)(n >> 8 * k);
		shoot(n - 1, 1);
		*(volatile uint8_t *)patch_site = 0xb8;
		shoot(n, 0);
		if (patch_call() != n)
			fail(0x811, patch_call(), n);
	}
	over = true;
}

/* Plain: an aligned immediate is stored as one word; who has seen the number and serialized finds it in the code. */
extern uint8_t plain_site[];
uint32_t plain_call(void);
__asm__(".text\n.balign 64\n"
	"plain_call:\n"
	"	.byte 0x0f, 0x1f, 0x00\n" /* a NOP of three bytes */
	".globl plain_site\nplain_site:\n"
	"	mov $0, %eax\n"
	"	ret\n");
static volatile uint32_t plain_number;

void plain_code(void)
{
	uint32_t last = 0;

	if (!me()) {
		for (uint32_t n = 1; n <= 4 * SHOTS; n++) {
			*(volatile uint32_t *)(plain_site + 1) = n;
			plain_number = n;
			if (plain_call() != n)
				fail(0x820, plain_call(), n);
			for (unsigned k = 0; k < 20; k++)
				relax();
		}
		over = true;
		return;
	}
	while (!over) {
		uint32_t least = plain_number, got;

		serialize();
		got = plain_call();
		if (got < least || got < last)
			fail(0x821, got, least);
		last = got;
	}
}

/* 9: the same address, another page of code. */
void code_pages(void)
{
	uint32_t (*fn)(void) = (uint32_t(*)(void))(uint64_t)WINDOW;

	if (me()) {
		while (!flushed[me()][0]) { /* until there is code */
			__asm__ volatile("sti; nop; cli");
			relax();
		}
		__asm__ volatile("sti");
		while (!over) {
			uint32_t least = flushed[me()][0], got = fn();

			if (got < least)
				fail(0x900, got, least);
		}
		__asm__ volatile("cli");
		return;
	}
	for (uint32_t n = 1; n <= SHOTS; n++) {
		uint8_t *p = frames[n & 1];

		p[0] = 0xb8; /* mov $n, %eax; ret */
		*(volatile uint32_t *)(p + 1) = n;
		p[5] = 0xc3;
		__atomic_store_n(&pt[0], (uint64_t)p | P | W, __ATOMIC_SEQ_CST);
		shoot(n, n & 1);
	}
	over = true;
}
