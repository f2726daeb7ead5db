/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine micro-suite as both of its programs see it: the image, which is the whole software of a machine, and the twin,
 * which is a process on the host. Both have the same measuring code (measure.c) and the same items where ring 3 can do them
 * (user.c); what they say on their output is in measure.c. One thread; no libc in the image.
 */
#ifndef STEELYARD_MACHINE_H
#define STEELYARD_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * begin: makes the item ready; NULL, or the reason why this machine cannot do it (one line).
 * run: n operations; returns what they took in TSC ticks.
 * end: NULL, or what was wrong after `ops` operations in all: handlers that ran too rarely, wrong sums. Called also when begin said no.
 */
struct machine_item {
	const char *name;
	uint64_t batch;
	bool grow;
	const char *(*begin)(void);
	uint64_t (*run)(uint64_t n);
	const char *(*end)(uint64_t ops);
};

/* Operations of an item, from the programs' own tables; an item without run cannot be done here. */
struct machine_ops {
	const char *(*begin)(void);
	uint64_t (*run)(uint64_t n);
	const char *(*end)(uint64_t ops);
};

/* ---- measure.c ---- */
/* args: words "items=A,B" (default: all), "budget=TICKS" for each item. */
void machine_measure(const char *args);

/* ---- what image.c and native.c have each for themselves ---- */
/* Row i of the table, NULL run where this program cannot; false past the last. */
bool machine_row(unsigned i, struct machine_item *item);
/* A line goes out, at once. */
void machine_say(const char *line, size_t len);
/* Calls fn(item); NULL, or the reason why it did not come back (one line). */
const char *machine_guard(void (*fn)(const struct machine_item *item, uint64_t budget), const struct machine_item *item,
			  uint64_t budget);
/* 16 KiB that may be written and executed, at a page's start. */
uint8_t *machine_code(void);
/* 4096 pages of 4 KiB that may be read, one behind the other, each with memory of its own; NULL: no memory. */
uint8_t *machine_pages(void);
/* May XSAVE be used with x87, SSE and, in *mask, AVX? NULL, or the reason. */
const char *machine_xsave(uint32_t *mask);

/* ---- user.c: items for any ring ---- */
#define MACHINE_PAGES 4096
#define MACHINE_USER_ITEMS(X) \
	X(loop, machine_loop) \
	X(rdtsc, machine_rdtsc) \
	X(call_direct, machine_call_direct) \
	X(call_page, machine_call_page) \
	X(call_indirect, machine_call_indirect) \
	X(call_targets, machine_call_targets) \
	X(lock_add, machine_lock_add) \
	X(rep_movsb, machine_rep_movsb) \
	X(xsave, machine_xsave_pair) \
	X(tlb_hot, machine_tlb_hot) \
	X(tlb_cold, machine_tlb_cold) \
	X(codegen_small, machine_codegen_small) \
	X(codegen_large, machine_codegen_large) \
	X(codegen_self, machine_codegen_self) \
	X(cpuid, machine_cpuid)
#define X(name, ops) extern const struct machine_ops ops;
MACHINE_USER_ITEMS(X)
#undef X
/* The same as rows of a table. */
struct machine_named {
	const char *name;
	const struct machine_ops *ops;
};
#define MACHINE_USER_ROW(name, ops) {#name, &ops},

/* A reason with a number in it; the text is the caller's. */
const char *machine_reason(char *buf, size_t size, const char *before, uint64_t n, const char *between, uint64_t m);

static inline uint64_t machine_tsc(void)
{
	uint32_t lo, hi;

	/* What was begun before has an end before the clock is read (SDM 2B RDTSC). */
	__asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}
static inline void machine_cpuid_leaf(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "0"(leaf), "2"(sub));
}

#endif
