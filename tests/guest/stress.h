/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the guest "stress" share: stress.c tells what it does. */
#ifndef STRESS_H
#define STRESS_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_CPUS 8
#define LAPIC 0x40000000u
#define WINDOW 0x60000000u /* 2 MiB of 4 KiB pages */
#define P 1u
#define W 2u
#define G 0x100u
#define VEC_SHOOT 0x41
#define VEC_CALL 0x42
#define VEC_SELF 0x43
#define ICR_NMI 0x400u
#define ICR_INIT 0x4500u
#define ICR_SIPI 0x4608u
#define ICR_FIXED 0x4000u
#define TO_SELF (1u << 18)
#define TO_OTHERS (3u << 18)
#define LOGICAL (1u << 11)

struct frame {
	uint64_t ip, cs, flags, sp, ss;
};
struct gate {
	uint16_t lo, sel, attr, mid;
	uint32_t hi, zero;
};

extern struct gate idt[256];
extern uint64_t pd[2048];
void stress_fail(uint32_t n) __attribute__((noreturn));

/* stress.c */
extern unsigned ncpus;
extern volatile bool over;                      /* the present case is at its end: written by the bootstrap processor */
extern volatile uint32_t flushed[MAX_CPUS][16]; /* the number of the last shoot-down that each processor has obeyed */
extern uint64_t pt[512];                        /* of the window */
/* Nobody goes on before all have come. */
void meet(void);

/* stress_tlb.c: the cases that rest on shoot-downs, and their handlers; the two pages behind the window */
extern uint8_t frames[2][4096];
void read_shootdown(void);
void write_shootdown(void);
void patched_code(void);
void plain_code(void);
void code_pages(void);
void flush_cr3(void);
void on_shoot(struct frame *f);
void on_fault(struct frame *f, uint64_t error);
void on_breakpoint(struct frame *f);

/* ---- small things ---- */

static inline uint32_t me(void)
{
	uint32_t n;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(n));
	return n;
}

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("out %0, %1" : : "a"(v), "d"(port));
}

static inline void fail(uint32_t n, uint64_t a, uint64_t b)
{
	uint64_t val[2] = {a, b};

	for (unsigned i = 0; i < 2; i++) {
		for (int k = 60; k >= 0; k -= 4)
			outb(0xe9, (uint8_t) "0123456789abcdef"[val[i] >> k & 15]);
		outb(0xe9, ' ');
	}
	stress_fail(n);
}

static inline void apic_write(uint32_t reg, uint32_t v)
{
	*(volatile uint32_t *)(uint64_t)(LAPIC + reg) = v;
}

/* Interrupts stay out between the two halves of the command: a handler sends IPIs too. */
static inline void ipi(uint32_t to, uint32_t icr)
{
	uint64_t flags;

	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags));
	apic_write(0x310, to << 24);
	apic_write(0x300, icr);
	if (flags & 0x200)
		__asm__ volatile("sti");
}

static inline void set_gate(unsigned vec, void (*f)(struct frame *))
{
	uint64_t a = (uint64_t)f;

	idt[vec] = (struct gate){
		.lo = (uint16_t)a, .sel = 0x28, .attr = 0x8e00, .mid = (uint16_t)(a >> 16), .hi = (uint32_t)(a >> 32)};
}

static inline void delay(void)
{
	for (unsigned i = 0; i < 3000; i++)
		relax();
}

#endif
