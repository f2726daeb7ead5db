/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The soft TLB itself, for code that wants the hit path inline (mmu.c, seg.c).
 *
 * Direct mapped, one entry per 4 KiB of linear address space; a large page fills one entry per 4 KiB touched. An entry
 * is valid when the low bits of its tag hold one of the two current generations: global pages carry one number,
 * all others the other, so that a CR3 load only takes a new number. What the page allows is a bit per kind of access
 * and privilege, computed once at the fill: CR0.WP, CR4.SMEP/SMAP and EFER.NXE are folded in (changing them flushes),
 * EFLAGS.AC is not and therefore counts as a privilege of its own.
 */
#ifndef STEELYARD_MMU_TLB_H
#define STEELYARD_MMU_TLB_H

#include "engine/vm.h"
#include "translator/codemap.h"
#include "translator/mmu.h"

#define TLB_ENTRIES 8192
/* Linear bits 47-12 of a tag are at bits 63-28; below them the generation. */
#define TLB_GEN_BITS 28

#define TLB_ROM 1u

struct tlb_entry {
	uint64_t tag;
	uint8_t *hva;  /* host address of the 4 KiB page, NULL: MMIO */
	uint64_t gpa;  /* of the 4 KiB page */
	uint16_t perm; /* TLB_PERM bits */
	uint8_t shift; /* log2 of the mapping's size */
	uint8_t flags; /* TLB_ROM */
	bool global;
};

/*
 * Which 2 MiB and 1 GiB regions have had a large mapping since the last global flush: INVLPG inside one must drop all
 * of it, also what others (the translator) keep of it. A set with four places per region; when they are full,
 * everything is flushed and the set starts again.
 */
#define TLB_LARGE_WAYS 4
#define TLB_2M_PLACES 1024
#define TLB_1G_PLACES 64

struct mmu {
	uint64_t gen;        /* of ordinary entries */
	uint64_t gen_global; /* of global entries; never equal to gen */
	uint64_t next_gen;
	unsigned users;     /* mmu_init calls not yet undone */
	unsigned phys_bits; /* MAXPHYADDR of the guest */
	bool has_1g, has_smap, has_rdtscp;
	uint64_t large_2m[TLB_2M_PLACES]; /* region << TLB_GEN_BITS | gen_global: stale when that moved */
	uint64_t large_1g[TLB_1G_PLACES];
	struct tlb_entry tlb[TLB_ENTRIES] __attribute__((aligned(64)));
};

enum tlb_priv { TLB_SUPER, TLB_USER, TLB_SUPER_AC, TLB_PRIVS };
enum tlb_kind { TLB_R, TLB_W, TLB_X };
#define TLB_PERM(kind, priv) (1u << ((kind)*TLB_PRIVS + (priv)))

static inline enum tlb_priv tlb_priv(const struct vcpu *v, unsigned acc)
{
	if (acc & ACC_USER)
		return TLB_USER;
	return !(acc & ACC_SYSTEM) && (v->regs.rflags & FL_AC) ? TLB_SUPER_AC : TLB_SUPER;
}
static inline unsigned tlb_need(const struct vcpu *v, unsigned acc)
{
	enum tlb_kind kind = acc & ACC_EXEC ? TLB_X : acc & ACC_WRITE ? TLB_W : TLB_R;
	return TLB_PERM(kind, tlb_priv(v, acc));
}
static inline struct tlb_entry *tlb_slot(struct mmu *m, uint64_t lin)
{
	return &m->tlb[(lin >> PAGE_SHIFT_4K) % TLB_ENTRIES];
}
static inline bool tlb_is(const struct mmu *m, const struct tlb_entry *e, uint64_t lin)
{
	uint64_t gen = e->tag ^ ((lin & ~(PAGE_SIZE_4K - 1)) << 16);
	return gen == m->gen || gen == m->gen_global;
}
/* The entry that allows the access, or NULL. */
static inline struct tlb_entry *tlb_lookup(struct vcpu *v, uint64_t lin, unsigned acc)
{
	struct tlb_entry *e = tlb_slot(v->mmu, lin);

	return tlb_is(v->mmu, e, lin) && (e->perm & tlb_need(v, acc)) ? e : NULL;
}

/* Bytes of a RAM page were written (or are about to be): tell whoever keeps decoded code. n bytes, one page. */
static inline void tlb_note_write(struct vcpu *v, const void *host, uint64_t n)
{
	struct codemap *c = v->vm->codemap;
	uint64_t off = (uint64_t)((const uint8_t *)host - v->vm->mem.ram_hva);

	if (c && __builtin_expect(codemap_test(c, off >> PAGE_SHIFT_4K), 0))
		codemap_written(c, v, off, n);
}

/* The guest's addresses need no alignment and the processor asks for none: types that tell the compiler so. */
typedef uint16_t mem16 __attribute__((aligned(1)));
typedef uint32_t mem32 __attribute__((aligned(1)));
typedef uint64_t mem64 __attribute__((aligned(1)));

/*
 * Guest memory belongs to whatever the guest lets race in it: two vCPUs may write the same bytes at the same moment, as two
 * processors may, and ThreadSanitizer has nothing to say about that. What it would call must not be inlined into code that
 * it instruments.
 */
#ifdef __SANITIZE_THREAD__
#define MEM_RACY(how) static __attribute__((noinline, unused, no_sanitize("thread")))
#else
#define MEM_RACY(how) static how
#endif

/* Copies of 1, 2, 4, 8 bytes are one host access; others go by eights and ones. Never libc's memcpy: it uses vectors.
 */
MEM_RACY(inline) void tlb_copy(void *dst, const void *src, unsigned n)
{
	switch (n) {
	case 1:
		*(volatile uint8_t *)dst = *(const volatile uint8_t *)src;
		return;
	case 2:
		*(volatile mem16 *)dst = *(const volatile mem16 *)src;
		return;
	case 4:
		*(volatile mem32 *)dst = *(const volatile mem32 *)src;
		return;
	case 8:
		*(volatile mem64 *)dst = *(const volatile mem64 *)src;
		return;
	}
	volatile uint8_t *d = dst;
	const volatile uint8_t *s = src;
	while (n >= 8) {
		*(volatile mem64 *)d = *(const volatile mem64 *)s;
		d += 8;
		s += 8;
		n -= 8;
	}
	while (n--)
		*d++ = *s++;
}

#endif
