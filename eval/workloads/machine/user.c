// SPDX-License-Identifier: GPL-2.0-or-later
/* Items that need no privilege: the same code in the image and in its twin on the host. */
#include "eval/workloads/machine/machine.h"

/* loops.S */
void loop_empty(uint64_t n);
void loop_rdtsc(uint64_t n);
void loop_cpuid(uint64_t n);
void loop_lock_add(uint64_t n, volatile uint64_t *word);
void loop_movsb(uint64_t n, uint8_t *to, const uint8_t *from);
uint64_t loop_xsave(uint64_t n, void *area, uint32_t mask, uint64_t xmm0);
void loop_load(uint64_t n, const void *word);
uint64_t loop_pages(uint64_t n, const void *first, uint64_t pages, uint64_t begin);
uint64_t loop_call_direct(uint64_t n);
uint64_t loop_call_page(uint64_t n);
uint64_t loop_call_indirect(uint64_t n);
uint64_t loop_call_targets(uint64_t n);
extern const uint8_t self_begin[], self_end[];

/* What the running item counts; begin clears it. */
static struct {
	uint64_t seen;
	uint64_t want;
	uint64_t page;
	uint32_t mask;
	char text[160];
} now;
static volatile uint64_t word __attribute__((aligned(64)));
static uint8_t area[2][4096] __attribute__((aligned(4096)));

#define TIMED(...)                               \
	({                                       \
		uint64_t begun_ = machine_tsc(); \
		__VA_ARGS__;                     \
		machine_tsc() - begun_;          \
	})

static const char *begin(void)
{
	now.seen = now.want = now.page = 0;
	word = 0;
	return NULL;
}

static const char *end(uint64_t ops)
{
	if (now.seen == ops)
		return NULL;
	return machine_reason(now.text, sizeof(now.text), "wrong result: ", now.seen, " operations seen, done ", ops);
}

static const char *end_sum(uint64_t ops)
{
	(void)ops;
	if (now.seen == now.want)
		return NULL;
	return machine_reason(now.text, sizeof(now.text), "wrong result: the code that was written gave ", now.seen,
			      ", not ", now.want);
}

static uint64_t run_loop(uint64_t n)
{
	return TIMED(loop_empty(n));
}
const struct machine_ops machine_loop = {NULL, run_loop, NULL};

static uint64_t run_rdtsc(uint64_t n)
{
	return TIMED(loop_rdtsc(n));
}
const struct machine_ops machine_rdtsc = {NULL, run_rdtsc, NULL};

static uint64_t run_cpuid(uint64_t n)
{
	return TIMED(loop_cpuid(n));
}
const struct machine_ops machine_cpuid = {NULL, run_cpuid, NULL};

static uint64_t run_call_direct(uint64_t n)
{
	return TIMED(now.seen += loop_call_direct(n));
}
const struct machine_ops machine_call_direct = {begin, run_call_direct, end};

static uint64_t run_call_page(uint64_t n)
{
	return TIMED(now.seen += loop_call_page(n));
}
const struct machine_ops machine_call_page = {begin, run_call_page, end};

static uint64_t run_call_indirect(uint64_t n)
{
	return TIMED(now.seen += loop_call_indirect(n));
}
const struct machine_ops machine_call_indirect = {begin, run_call_indirect, end};

static uint64_t run_call_targets(uint64_t n)
{
	return TIMED(now.seen += loop_call_targets(n));
}
const struct machine_ops machine_call_targets = {begin, run_call_targets, end};

static uint64_t run_lock_add(uint64_t n)
{
	uint64_t t = TIMED(loop_lock_add(n, &word));

	now.seen = word;
	return t;
}
const struct machine_ops machine_lock_add = {begin, run_lock_add, end};

static const char *begin_movsb(void)
{
	for (unsigned i = 0; i < 4096; i++) {
		area[0][i] = (uint8_t)(i * 7 + 1);
		area[1][i] = 0;
	}
	return NULL;
}
static uint64_t run_movsb(uint64_t n)
{
	return TIMED(loop_movsb(n, area[1], area[0]));
}
static const char *end_movsb(uint64_t ops)
{
	for (unsigned i = 0; i < 4096; i++)
		if (area[1][i] != area[0][i])
			return machine_reason(now.text, sizeof(now.text), "wrong result: byte ", i,
					      " was not copied in ", ops);
	return NULL;
}
const struct machine_ops machine_rep_movsb = {begin_movsb, run_movsb, end_movsb};

#define XMM0 0x0123456789abcdefull
static const char *begin_xsave(void)
{
	/* XRSTOR looks at the header, 64 bytes at 512 (SDM 1 13.8) */
	for (unsigned i = 0; i < 4096; i++)
		area[0][i] = 0;
	begin();
	return machine_xsave(&now.mask);
}
static uint64_t run_xsave(uint64_t n)
{
	return TIMED(now.seen += loop_xsave(n, area[0], now.mask, XMM0) == XMM0 ? n : 0);
}
const struct machine_ops machine_xsave_pair = {begin_xsave, run_xsave, end};

static const char *begin_pages(void)
{
	begin();
	return machine_pages() ? NULL : "no memory for 4096 pages";
}
static uint64_t run_tlb_hot(uint64_t n)
{
	return TIMED(loop_load(n, machine_pages()));
}
const struct machine_ops machine_tlb_hot = {begin_pages, run_tlb_hot, NULL};

static uint64_t run_tlb_cold(uint64_t n)
{
	return TIMED(now.page = loop_pages(n, machine_pages(), MACHINE_PAGES, now.page));
}
static const char *end_tlb_cold(uint64_t ops)
{
	now.seen = now.page;
	return end(ops);
}
const struct machine_ops machine_tlb_cold = {begin_pages, run_tlb_cold, end_tlb_cold};

static const char *begin_code(void)
{
	begin();
	return machine_code() ? NULL : "no memory that may be written and executed";
}

typedef uint64_t code_function(uint64_t n);
static uint64_t call_code(uint8_t *at, uint64_t n)
{
	code_function *f = (code_function *)(uintptr_t)at;

	/* The bytes are in memory before they are fetched; the same processor needs no more than a branch (SDM 3A 8.1.3). */
	__asm__ volatile("" ::: "memory");
	return f(n);
}

/* mov $imm32, %eax; ret; two bytes more */
static uint64_t run_codegen_small(uint64_t n)
{
	uint8_t *code = machine_code();
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++) {
		uint64_t value = now.want & 0xffffff;
		uint8_t *at = code + (i & 63) * 64;

		*(volatile uint64_t *)at = 0xb8 | value << 8 | 0x9090c3ull << 40;
		now.seen += call_code(at, 0);
		now.want += value + 1;
		now.seen++;
	}
	return machine_tsc() - begun;
}
const struct machine_ops machine_codegen_small = {begin_code, run_codegen_small, end_sum};

#define LARGE 512
/* xor %eax, %eax; LARGE times add $imm32, %eax; ret */
static uint64_t run_codegen_large(uint64_t n)
{
	uint8_t *code = machine_code();
	uint64_t begun = machine_tsc();

	for (uint64_t i = 0; i < n; i++) {
		uint32_t add = (uint32_t)(now.want & 0xff) + 1;
		uint8_t *p = code;

		*p++ = 0x31;
		*p++ = 0xc0;
		for (unsigned k = 0; k < LARGE; k++, p += 5) {
			p[0] = 0x05;
			*(uint32_t *)(p + 1) = add;
		}
		*p = 0xc3;
		now.seen += call_code(code, 0);
		now.want += (uint64_t)add * LARGE;
	}
	return machine_tsc() - begun;
}
const struct machine_ops machine_codegen_large = {begin_code, run_codegen_large, end_sum};

static const char *begin_codegen_self(void)
{
	uint8_t *code = machine_code();

	for (size_t i = 0; code && i < (size_t)(self_end - self_begin); i++)
		code[i] = self_begin[i];
	return begin_code();
}
static uint64_t run_codegen_self(uint64_t n)
{
	uint8_t *code = machine_code();
	uint64_t t = TIMED(now.seen += call_code(code, n));

	now.want += n * (n + 1) / 2;
	return t;
}
const struct machine_ops machine_codegen_self = {begin_codegen_self, run_codegen_self, end_sum};
