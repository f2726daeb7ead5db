// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The image's own half of machine.h: output on the debug console's port, memory at fixed addresses, exceptions that end an item and
 * not the run. It needs 32 MiB of RAM, a local APIC, an I/O APIC for two items, and the debug exit port at its end.
 */
#include "eval/workloads/machine/image.h"
#include "eval/workloads/machine/machine.h"

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t middle;
	uint32_t high, zero;
};
extern struct gate idt[256];

void image_main(uint32_t magic, const uint32_t *info);
/* gcc may call these */
void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);

void *memset(void *to, int c, size_t n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void image_gate(unsigned vector, const void *handler, unsigned dpl)
{
	uint64_t at = (uint64_t)(uintptr_t)handler;

	idt[vector] = (struct gate){.low = (uint16_t)at,
				    .selector = SEL_CODE64,
				    .type = (uint8_t)(0x8e | dpl << 5),
				    .middle = (uint16_t)(at >> 16),
				    .high = (uint32_t)(at >> 32)};
}

volatile uint64_t *image_pte(unsigned n)
{
	return (volatile uint64_t *)WINDOW_TABLES + n;
}

void machine_say(const char *line, size_t len)
{
	__asm__ volatile("cld\n\trep outsb" : "+S"(line), "+c"(len) : "d"(PORT_DEBUG) : "memory");
}

uint8_t *machine_code(void)
{
	return (uint8_t *)CODE_PAGES;
}

uint8_t *machine_pages(void)
{
	return (uint8_t *)WINDOW;
}

#define CPUID1_XSAVE (1u << 26)
#define CR4_OSXSAVE (1u << 18)
const char *machine_xsave(uint32_t *mask)
{
	uint32_t r[4];
	uint64_t cr4;

	machine_cpuid_leaf(1, 0, r);
	if (!(r[2] & CPUID1_XSAVE))
		return "CPUID has no XSAVE";
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSXSAVE));
	machine_cpuid_leaf(0xd, 0, r);
	*mask = r[0] & 7;
	__asm__ volatile("xsetbv" : : "a"(*mask), "d"(0), "c"(0));
	return NULL;
}

struct guarded {
	void (*fn)(const struct machine_item *item, uint64_t budget);
	const struct machine_item *item;
};

static void call(const void *a, uint64_t budget)
{
	const struct guarded *g = a;

	g->fn(g->item, budget);
}

const char *machine_guard(void (*fn)(const struct machine_item *item, uint64_t budget), const struct machine_item *item,
			  uint64_t budget)
{
	static char text[120];
	struct guarded g = {fn, item};

	/* Nobody inherits another item's translations: the order does not matter. */
	cr3_write(cr3_read());
	if (!guarded_call(call, &g, budget))
		return NULL;
	ring0_recover();
	return machine_reason(text, sizeof(text), "an exception that the item does not cause: vector ", trap_vector,
			      " at ", trap_rip);
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The others are ring0.c's. */
static const struct machine_named user_rows[] = {
	MACHINE_USER_ITEMS(MACHINE_USER_ROW)
};

bool machine_row(unsigned i, struct machine_item *item)
{
	static const struct machine_item rows[] = {
#define X(name, family, batch, grow, native, what) {#name, batch, grow, NULL, NULL, NULL},
#include "eval/workloads/machine/machine.def"
#undef X
	};
	const struct machine_ops *ops;

	if (i >= sizeof(rows) / sizeof(rows[0]))
		return false;
	*item = rows[i];
	ops = ring0_find(item->name);
	for (unsigned k = 0; !ops && k < sizeof(user_rows) / sizeof(user_rows[0]); k++)
		if (same(user_rows[k].name, item->name))
			ops = user_rows[k].ops;
	if (ops) {
		item->begin = ops->begin;
		item->run = ops->run;
		item->end = ops->end;
	}
	return true;
}

/* The window's pages, all there. */
static void map_window(void)
{
	volatile uint64_t *directory = (volatile uint64_t *)0x703000; /* of the second GiB: boot.S */

	for (unsigned i = 0; i < MACHINE_PAGES; i++)
		*image_pte(i) = WINDOW_FRAMES + i * 4096ull + 7;
	for (unsigned i = 0; i < MACHINE_PAGES / 512; i++)
		directory[i] = WINDOW_TABLES + i * 4096ull + 7;
	cr3_write(cr3_read());
}

#define MULTIBOOT_MAGIC 0x2badb002u
#define MULTIBOOT_CMDLINE (1u << 2)

void image_main(uint32_t magic, const uint32_t *info)
{
	static char args[4096];
	const char *from = "";

	if (magic == MULTIBOOT_MAGIC && (info[0] & MULTIBOOT_CMDLINE))
		from = (const char *)(uintptr_t)info[4];
	/* Where the loader put it may be where an item writes. */
	for (size_t i = 0; i < sizeof(args) - 1 && from[i]; i++)
		args[i] = from[i];
	map_window();
	machine_measure(args);
}
