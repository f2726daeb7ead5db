/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What boot.S, image.c and ring0.c of the image know of each other. Linear addresses are physical ones but for the window.
 *
 *	1 MiB   the image
 *	8 MiB   4096 pages for the items that walk (16 MiB)
 *	24 MiB  pages of code, page tables of the window, frames that its pages change between
 *	1 GiB   the window: 16 MiB in pages of 4 KiB
 */
#ifndef STEELYARD_MACHINE_IMAGE_H
#define STEELYARD_MACHINE_IMAGE_H

#define WINDOW 0x40000000
#define WINDOW_FRAMES 0x800000
#define CODE_PAGES 0x1800000
#define WINDOW_TABLES 0x1810000 /* 8 pages */
#define IMAGE_MEMORY 0x2000000  /* 32 MiB do */

#define PORT_EXIT 0xf4
#define PORT_DEBUG 0xe9
#define EXIT_DONE 21 /* process status 43 */
#define EXIT_MULTIBOOT 22

/* selectors; SYSRET wants user data and user 64-bit code behind user 32-bit code */
#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_USER32 0x18
#define SEL_USER_DATA 0x20
#define SEL_USER64 0x28
#define SEL_CODE32 0x30
#define SEL_TSS 0x38

#define VEC_UD 6
#define VEC_DE 0
#define VEC_PF 14
#define VEC_TIMER 0x40
#define VEC_IPI 0x41
#define VEC_SOFT 0x42
#define VEC_LEAVE_USER 0x43
#define VEC_SPURIOUS 0xff

#ifndef __ASSEMBLER__
#include <stdint.h>

/* ---- boot.S ---- */
/* Handlers that count and go on: at RDX; behind the instruction; at the caller. */
extern char on_fault[], on_fault_error[], on_fetch_fault[], on_minor_fault[], on_interrupt[], on_timer[], on_soft[],
	on_syscall[], on_leave_user[], on_spurious[];
extern volatile uint64_t handler_count, handler_tsc;
/* What an exception that nobody expected was. */
extern volatile uint64_t trap_vector, trap_error, trap_rip, trap_cr2;
/* Calls fn(a, b); 0, or 1 when an unexpected exception ended it. */
int guarded_call(void (*fn)(const void *a, uint64_t b), const void *a, uint64_t b);
/* fn(n) in ring 3 until it says INT VEC_LEAVE_USER. */
void user_call(void (*fn)(void), uint64_t n);
extern char user_syscalls[];
void loop_undefined(uint64_t n);
void loop_divide(uint64_t n);
void loop_fault(uint64_t n, const volatile void *at);
void loop_fetch_fault(uint64_t n, const volatile void *at);
void loop_soft(uint64_t n);
void loop_hypercall(uint64_t n);
void loop_hypercall_amd(uint64_t n);
void loop_mode_switch(uint64_t n);
/* 1024 loads, each by an instruction of its own and from a page of its own, from here on. */
void touch_pages(const volatile void *first);

/* ---- image.c ---- */
void image_gate(unsigned vector, const void *handler, unsigned dpl);
/* Entry of page n of the window. */
volatile uint64_t *image_pte(unsigned n);

/* ---- ring0.c ---- */
struct machine_ops;
/* NULL: no item of this program. */
const struct machine_ops *ring0_find(const char *name);
/* After an item that was left by an exception. */
void ring0_recover(void);

static inline void invlpg(uint64_t at)
{
	__asm__ volatile("invlpg (%0)" : : "r"(at) : "memory");
}
static inline uint64_t cr3_read(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}
static inline void cr3_write(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}
#endif
#endif
