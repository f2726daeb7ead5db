// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Paging (SDM 3A chapter 4).
 *
 * A walk collects the entries on its way without touching them; only when the access is allowed are the accessed and
 * dirty flags set, each by a compare-exchange on guest memory, and the walk starts again when another processor changed
 * an entry meanwhile. So a faulting access leaves the tables as they were (the manual allows either).
 *
 * Deviations: linear-address bits above 47 are the caller's (seg.c raises #GP or #SS). With CR4.PCIDE every CR3 load
 * still flushes: translations may be dropped at any time (SDM 3A 4.10.4). Tables outside RAM and ROM read as all ones,
 * which is a reserved-bit fault.
 */
#include <stdlib.h>

#include "engine/apic/lapic.h"
#include "translator/mmu_tlb.h"

/* ---- life ---- */

static void tlb_wipe(struct mmu *m)
{
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		m->tlb[i].tag = 0;
	for (unsigned i = 0; i < TLB_2M_PLACES; i++)
		m->large_2m[i] = 0;
	for (unsigned i = 0; i < TLB_1G_PLACES; i++)
		m->large_1g[i] = 0;
	m->next_gen = 1;
}

static uint64_t tlb_new_gen(struct mmu *m)
{
	if (m->next_gen >> TLB_GEN_BITS) {
		tlb_wipe(m);
		/* both numbers are of the old era now */
		m->gen = m->next_gen++;
		m->gen_global = m->next_gen++;
	}
	return m->next_gen++;
}

enum status mmu_init(struct vcpu *v)
{
	uint32_t out[4];

	if (v->mmu) {
		v->mmu->users++;
		return ST_OK;
	}
	struct mmu *m = aligned_alloc(64, (sizeof(*m) + 63) & ~63ul);
	if (!m)
		return ST_NO_MEMORY;
	tlb_wipe(m);
	m->gen = m->next_gen++;
	m->gen_global = m->next_gen++;
	m->users = 1;
	cpuid_query(v, 0x80000008u, 0, out);
	m->phys_bits = out[0] & 0xff;
	if (m->phys_bits < 36 || m->phys_bits > 52)
		m->phys_bits = m->phys_bits > 52 ? 52 : 36;
	m->has_1g = cpuid_has(v->vm, CF_1GB);
	m->has_smap = cpuid_has(v->vm, CF_SMAP);
	m->has_rdtscp = cpuid_has(v->vm, CF_RDTSCP);
	v->mmu = m;
	return ST_OK;
}

void mmu_fini(struct vcpu *v)
{
	if (!v->mmu || --v->mmu->users)
		return;
	free(v->mmu);
	v->mmu = NULL;
}

/* ---- flushes ---- */

void mmu_flush(struct vcpu *v, bool keep_global)
{
	struct mmu *m = v->mmu;

	v->count.tlb_flushes++;
	if (v->tlb_flushed)
		v->tlb_flushed(v, keep_global && (v->regs.cr4 & CR4_PGE) ? TLB_FLUSH_LOCAL : TLB_FLUSH_ALL, 0);
	if (!m)
		return;
	m->gen = tlb_new_gen(m);
	if (!keep_global || !(v->regs.cr4 & CR4_PGE))
		m->gen_global = tlb_new_gen(m);
}

void mmu_flush_all(struct vcpu *v)
{
	mmu_flush(v, false);
}

/* The set of regions that hold large mappings: the place of a region, a free one, or NULL when its places are taken. */
static uint64_t *large_place(struct mmu *m, uint64_t *set, unsigned places, uint64_t region)
{
	const uint64_t gen_mask = (1ull << TLB_GEN_BITS) - 1;
	unsigned first = (unsigned)(region ^ region >> 10) * TLB_LARGE_WAYS % places;
	uint64_t *unused = NULL;

	for (unsigned k = first; k < first + TLB_LARGE_WAYS; k++) {
		if (set[k] == (region << TLB_GEN_BITS | m->gen_global))
			return &set[k];
		if ((set[k] & gen_mask) != m->gen_global)
			unused = &set[k];
	}
	return unused;
}

static bool large_known(struct mmu *m, uint64_t *set, unsigned places, uint64_t region)
{
	const uint64_t *p = large_place(m, set, places, region);

	return p && *p == (region << TLB_GEN_BITS | m->gen_global);
}

static uint64_t region_2m(uint64_t lin)
{
	return lin >> 21 & 0x7ffffff;
}
static uint64_t region_1g(uint64_t lin)
{
	return lin >> 30 & 0x3ffff;
}

static void large_note(struct vcpu *v, uint64_t *set, unsigned places, uint64_t region)
{
	struct mmu *m = v->mmu;
	uint64_t *p = large_place(m, set, places, region);

	if (!p) {
		mmu_flush_all(v);
		p = large_place(m, set, places, region);
	}
	*p = region << TLB_GEN_BITS | m->gen_global;
}

/* Before the entry of a large mapping is filled. */
static void large_fill(struct vcpu *v, uint64_t lin, unsigned shift)
{
	struct mmu *m = v->mmu;

	if (shift == 30) {
		large_note(v, m->large_1g, TLB_1G_PLACES, region_1g(lin));
		return;
	}
	large_note(v, m->large_2m, TLB_2M_PLACES, region_2m(lin));
	if (shift == 22)
		large_note(v, m->large_2m, TLB_2M_PLACES, region_2m(lin) ^ 1);
}

void mmu_flush_page(struct vcpu *v, uint64_t lin)
{
	struct mmu *m = v->mmu;

	if (m && (large_known(m, m->large_2m, TLB_2M_PLACES, region_2m(lin)) ||
		  large_known(m, m->large_1g, TLB_1G_PLACES, region_1g(lin)))) {
		mmu_flush_all(v);
		return;
	}
	v->count.tlb_flushes++;
	if (v->tlb_flushed)
		v->tlb_flushed(v, TLB_FLUSH_PAGE, lin);
	if (m) {
		struct tlb_entry *e = tlb_slot(m, lin);
		if (tlb_is(m, e, lin))
			e->tag = 0;
	}
}

/* ---- the walk ---- */

struct walk_entry {
	void *host; /* where it lies, NULL: not in RAM (no flags to set) */
	uint64_t val;
};

struct walk {
	uint64_t gpa;   /* of the mapping's first byte */
	unsigned shift; /* log2 of its size */
	bool user, writable, nx, global;
	uint32_t error; /* PF_P, PF_RSVD when the walk failed */
	unsigned n;
	bool wide;              /* 8-byte entries */
	struct walk_entry e[4]; /* the leaf is e[n - 1] */
};

static void walk_read(const struct vcpu *v, struct walk *w, uint64_t gpa)
{
	const struct mem *mem = &v->vm->mem;
	unsigned bytes = w->wide ? 8 : 4;
	struct walk_entry *e = &w->e[w->n++];
	const void *p = mem_rom(mem, gpa, bytes);

	e->host = p ? NULL : mem_ram(mem, gpa, bytes);
	if (!p)
		p = e->host;
	if (!p)
		e->val = w->wide ? ~0ull : 0xffffffffu;
	else if (w->wide)
		e->val = __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	else
		e->val = __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}

/* 32-bit paging (SDM 3A 4.3). PDEs and PTEs have no reserved bits but those of a 4 MiB page. */
static bool walk_32(const struct vcpu *v, uint64_t lin, struct walk *w)
{
	w->wide = false;
	walk_read(v, w, (v->regs.cr3 & 0xfffff000u) | (lin >> 20 & 0xffc));
	uint64_t pde = w->e[0].val;
	if (!(pde & PTE_P))
		return false;
	w->writable = pde & PTE_W;
	w->user = pde & PTE_U;
	if ((pde & PTE_PS) && (v->regs.cr4 & CR4_PSE)) {
		/* PSE-36: bits 20-13 are address bits 39-32, as far as the processor has them; 21 is reserved. */
		unsigned high = v->mmu->phys_bits < 40 ? v->mmu->phys_bits - 32 : 8;
		uint64_t rsvd = 0x3fe000u & ~(((1ull << high) - 1) << 13);
		if (pde & rsvd) {
			w->error = PF_P | PF_RSVD;
			return false;
		}
		w->gpa = (pde & 0xffc00000u) | (pde >> 13 & 0xff) << 32;
		w->shift = 22;
		w->global = pde & PTE_G;
		return true;
	}
	walk_read(v, w, (pde & 0xfffff000u) | (lin >> 10 & 0xffc));
	uint64_t pte = w->e[1].val;
	if (!(pte & PTE_P))
		return false;
	w->writable &= !!(pte & PTE_W);
	w->user &= !!(pte & PTE_U);
	w->gpa = pte & 0xfffff000u;
	w->shift = 12;
	w->global = pte & PTE_G;
	return true;
}

/* PAE (4.4) and 4-level paging (4.5) share everything below their roots. level: 4 PML4E, 3 PDPTE, 2 PDE, 1 PTE. */
static bool walk_wide(const struct vcpu *v, uint64_t lin, struct walk *w, uint64_t table, unsigned level, bool pae)
{
	uint64_t addr = ((1ull << v->mmu->phys_bits) - 1) & ~(PAGE_SIZE_4K - 1);
	uint64_t rsvd_all = 0x000ffffffffff000ull & ~addr;

	if (pae)
		rsvd_all |= 0x7ff0000000000000ull;
	if (!(v->regs.efer & EFER_NXE))
		rsvd_all |= PTE_NX;
	w->wide = true;
	w->user = w->writable = true;
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		walk_read(v, w, table + (lin >> shift & 0x1ff) * 8);
		uint64_t e = w->e[w->n - 1].val;
		if (!(e & PTE_P))
			return false;
		bool leaf = level == 1 || ((level == 2 || level == 3) && (e & PTE_PS));
		uint64_t rsvd = rsvd_all;
		if (level == 4 || (level == 3 && !v->mmu->has_1g))
			rsvd |= PTE_PS;
		if (leaf && level > 1)
			rsvd |= ((1ull << shift) - 1) & ~0x1fffull;
		if (e & rsvd) {
			w->error = PF_P | PF_RSVD;
			return false;
		}
		w->user &= !!(e & PTE_U);
		w->writable &= !!(e & PTE_W);
		w->nx |= !!(e & PTE_NX);
		if (leaf) {
			w->gpa = e & addr & ~((1ull << shift) - 1);
			w->shift = shift;
			w->global = e & PTE_G;
			return true;
		}
		table = e & addr;
	}
}

static bool walk_tables(const struct vcpu *v, uint64_t lin, struct walk *w)
{
	const struct x86_regs *r = &v->regs;

	w->n = 0;
	w->error = 0;
	w->nx = w->global = false;
	if (!(r->cr0 & CR0_PG)) {
		w->gpa = lin & ~(PAGE_SIZE_4K - 1);
		w->shift = 12;
		w->user = w->writable = true;
		return true;
	}
	if (r->efer & EFER_LMA)
		return walk_wide(v, lin, w, r->cr3 & ((1ull << v->mmu->phys_bits) - 1) & ~(PAGE_SIZE_4K - 1), 4, false);
	if (r->cr4 & CR4_PAE) {
		uint64_t pdpte = r->pdpte[lin >> 30 & 3];
		if (!(pdpte & PTE_P))
			return false;
		return walk_wide(v, lin, w, pdpte & ((1ull << v->mmu->phys_bits) - 1) & ~(PAGE_SIZE_4K - 1), 2, true);
	}
	return walk_32(v, lin, w);
}

/* What the mapping allows to whom, as TLB_PERM bits (SDM 3A 4.6.1), dirty flag aside. */
static unsigned walk_perm(const struct vcpu *v, const struct walk *w)
{
	const struct x86_regs *r = &v->regs;
	unsigned perm = 0;

	if (!(r->cr0 & CR0_PG))
		return 0xffff;
	bool super_w = w->writable || !(r->cr0 & CR0_WP);
	bool smap = w->user && (r->cr4 & CR4_SMAP);
	if (!smap)
		perm |= TLB_PERM(TLB_R, TLB_SUPER) | (super_w ? TLB_PERM(TLB_W, TLB_SUPER) : 0);
	perm |= TLB_PERM(TLB_R, TLB_SUPER_AC) | (super_w ? TLB_PERM(TLB_W, TLB_SUPER_AC) : 0);
	if (!w->nx && !(w->user && (r->cr4 & CR4_SMEP)))
		perm |= TLB_PERM(TLB_X, TLB_SUPER) | TLB_PERM(TLB_X, TLB_SUPER_AC);
	if (w->user) {
		perm |= TLB_PERM(TLB_R, TLB_USER);
		if (w->writable)
			perm |= TLB_PERM(TLB_W, TLB_USER);
		if (!w->nx)
			perm |= TLB_PERM(TLB_X, TLB_USER);
	}
	return perm;
}

/* Sets A everywhere and D in the leaf for a write. false: an entry changed, walk again. */
static bool walk_mark(struct vcpu *v, struct walk *w, bool write)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct walk_entry *e = &w->e[i];
		uint64_t want = e->val | PTE_A | (write && i == w->n - 1 ? PTE_D : 0);
		if (want == e->val || !e->host)
			continue;
		if (w->wide) {
			uint64_t old = e->val;
			if (!__atomic_compare_exchange_n((uint64_t *)e->host, &old, want, false, __ATOMIC_SEQ_CST,
							 __ATOMIC_SEQ_CST))
				return false;
		} else {
			uint32_t old = (uint32_t)e->val;
			if (!__atomic_compare_exchange_n((uint32_t *)e->host, &old, (uint32_t)want, false,
							 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
				return false;
		}
		e->val = want;
		tlb_note_write(v, e->host, w->wide ? 8 : 4);
	}
	return true;
}

static void fault_page(struct vcpu *v, uint64_t lin, unsigned acc, uint32_t error)
{
	const struct x86_regs *r = &v->regs;

	if (acc & ACC_WRITE)
		error |= PF_W;
	if (acc & ACC_USER)
		error |= PF_U;
	if ((acc & ACC_EXEC) && ((r->cr4 & CR4_SMEP) || ((r->cr4 & CR4_PAE) && (r->efer & EFER_NXE))))
		error |= PF_I;
	v->fault = (struct x86_fault){.vector = VEC_PF, .has_error = true, .error = error, .addr = lin};
}

/* Walks for one access and fills its entry. NULL: v->fault. */
static struct tlb_entry *tlb_fill(struct vcpu *v, uint64_t lin, unsigned acc)
{
	struct mmu *m = v->mmu;
	struct walk w;
	unsigned perm;

	v->count.tlb_fills++;
	do {
		if (!walk_tables(v, lin, &w)) {
			fault_page(v, lin, acc, w.error);
			return NULL;
		}
		perm = walk_perm(v, &w);
		if (!(perm & tlb_need(v, acc))) {
			fault_page(v, lin, acc, PF_P);
			return NULL;
		}
	} while (!walk_mark(v, &w, acc & ACC_WRITE));

	/* Until D is set, writes must come here again. */
	if (w.n && !(w.e[w.n - 1].val & PTE_D) && w.e[w.n - 1].host)
		perm &= ~(TLB_PERM(TLB_W, TLB_SUPER) | TLB_PERM(TLB_W, TLB_USER) | TLB_PERM(TLB_W, TLB_SUPER_AC));

	if (w.shift > 12)
		large_fill(v, lin, w.shift);
	struct tlb_entry *e = tlb_slot(m, lin);
	const struct mem *mem = &v->vm->mem;
	uint64_t page = w.gpa | (lin & ((1ull << w.shift) - 1) & ~(PAGE_SIZE_4K - 1));
	e->gpa = page & vm_a20_mask(v->vm);
	e->flags = 0;
	e->hva = NULL;
	if (!v->lapic || lapic_mmio_gpa(v->lapic) != e->gpa) {
		/* a ROM hides the RAM under it */
		e->hva = (uint8_t *)(uintptr_t)mem_rom(mem, e->gpa, PAGE_SIZE_4K);
		e->flags = e->hva ? TLB_ROM : 0;
		if (!e->hva)
			e->hva = mem_ram(mem, e->gpa, PAGE_SIZE_4K);
	}
	e->perm = (uint16_t)perm;
	e->shift = (uint8_t)w.shift;
	e->global = w.global && (v->regs.cr4 & CR4_PGE);
	e->tag = ((lin & ~(PAGE_SIZE_4K - 1)) << 16) | (e->global ? m->gen_global : m->gen);
	return e;
}

static inline struct tlb_entry *tlb_get(struct vcpu *v, uint64_t lin, unsigned acc)
{
	struct tlb_entry *e = tlb_lookup(v, lin, acc);

	return e ? e : tlb_fill(v, lin, acc);
}

/* The first byte of the next page; linear addresses wrap at 4 GiB outside long mode. */
static uint64_t next_page(const struct vcpu *v, uint64_t lin)
{
	uint64_t next = (lin | (PAGE_SIZE_4K - 1)) + 1;

	return vcpu_long_mode(v) ? next : (uint32_t)next;
}

/* ---- the interface ---- */

bool mmu_translate(struct vcpu *v, uint64_t lin, unsigned acc, struct mmu_page *out)
{
	struct tlb_entry *e = tlb_get(v, lin, acc);

	if (!e)
		return false;
	uint64_t mask = (1ull << e->shift) - 1;
	unsigned w = TLB_PERM(TLB_W, tlb_priv(v, acc));
	out->size = mask + 1;
	out->gva = lin & ~mask;
	out->gpa = e->gpa & ~mask;
	out->hva = (acc & ACC_WRITE) && (e->flags & TLB_ROM) ? NULL : e->hva;
	out->global = e->global;
	out->write_ok = (e->perm & w) && !(e->flags & TLB_ROM);
	return true;
}

bool mmu_peek(const struct vcpu *v, uint64_t lin, uint64_t *gpa)
{
	struct walk w;

	if (!v->mmu && (v->regs.cr0 & CR0_PG))
		return false;
	if (!walk_tables(v, lin, &w))
		return false;
	*gpa = w.gpa | (lin & ((1ull << w.shift) - 1));
	return true;
}

static void mmio_read(struct vcpu *v, uint64_t gpa, uint8_t *buf, unsigned n)
{
	while (n) {
		unsigned s = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
		uint64_t val = vm_mmio_read(v, gpa, s);
		tlb_copy(buf, &val, s);
		gpa += s;
		buf += s;
		n -= s;
	}
}

static void mmio_write(struct vcpu *v, uint64_t gpa, const uint8_t *buf, unsigned n)
{
	while (n) {
		unsigned s = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
		uint64_t val = 0;
		tlb_copy(&val, buf, s);
		vm_mmio_write(v, gpa, s, val);
		gpa += s;
		buf += s;
		n -= s;
	}
}

static void page_read(struct vcpu *v, const struct tlb_entry *e, uint64_t lin, uint8_t *buf, unsigned n)
{
	uint64_t off = lin & (PAGE_SIZE_4K - 1);

	if (e->hva)
		tlb_copy(buf, e->hva + off, n);
	else
		mmio_read(v, e->gpa + off, buf, n);
}

static void page_write(struct vcpu *v, const struct tlb_entry *e, uint64_t lin, const uint8_t *buf, unsigned n)
{
	uint64_t off = lin & (PAGE_SIZE_4K - 1);

	if (!e->hva) {
		mmio_write(v, e->gpa + off, buf, n);
	} else if (!(e->flags & TLB_ROM)) {
		tlb_copy(e->hva + off, buf, n);
		tlb_note_write(v, e->hva + off, n);
	}
}

bool mmu_read(struct vcpu *v, uint64_t lin, void *buf, unsigned n, unsigned acc)
{
	unsigned room = (unsigned)(PAGE_SIZE_4K - (lin & (PAGE_SIZE_4K - 1)));
	struct tlb_entry *e = tlb_get(v, lin, acc);

	if (!e)
		return false;
	if (__builtin_expect(n <= room, 1)) {
		page_read(v, e, lin, buf, n);
		return true;
	}
	/* Both pages are checked first: a device must not see half of an access that faults. */
	uint64_t next = next_page(v, lin);
	struct tlb_entry first = *e;
	e = tlb_get(v, next, acc);
	if (!e)
		return false;
	struct tlb_entry second = *e;
	page_read(v, &first, lin, buf, room);
	page_read(v, &second, next, (uint8_t *)buf + room, n - room);
	return true;
}

bool mmu_write(struct vcpu *v, uint64_t lin, const void *buf, unsigned n, unsigned acc)
{
	unsigned room = (unsigned)(PAGE_SIZE_4K - (lin & (PAGE_SIZE_4K - 1)));
	struct tlb_entry *e = tlb_get(v, lin, acc | ACC_WRITE);

	if (!e)
		return false;
	if (__builtin_expect(n <= room, 1)) {
		page_write(v, e, lin, buf, n);
		return true;
	}
	uint64_t next = next_page(v, lin);
	struct tlb_entry first = *e;
	e = tlb_get(v, next, acc | ACC_WRITE);
	if (!e)
		return false;
	struct tlb_entry second = *e;
	page_write(v, &first, lin, buf, room);
	page_write(v, &second, next, (const uint8_t *)buf + room, n - room);
	return true;
}

unsigned mmu_fetch(struct vcpu *v, uint64_t lin, uint8_t *buf, unsigned n, uint64_t *gpa)
{
	unsigned acc = ACC_EXEC | (vcpu_cpl(v) == 3 ? ACC_USER : 0);
	unsigned done = 0;

	if (gpa)
		*gpa = UINT64_MAX;
	while (done < n) {
		unsigned room = (unsigned)(PAGE_SIZE_4K - (lin & (PAGE_SIZE_4K - 1)));
		unsigned part = n - done < room ? n - done : room;
		if (vcpu_long_mode(v) && (uint64_t)((int64_t)(lin << 16) >> 16) != lin) {
			v->fault = (struct x86_fault){.vector = VEC_GP, .has_error = true};
			return done;
		}
		struct tlb_entry *e = tlb_get(v, lin, acc);
		if (!e)
			return done;
		if (!done && gpa && e->hva)
			*gpa = e->gpa + (lin & (PAGE_SIZE_4K - 1));
		page_read(v, e, lin, buf + done, part);
		done += part;
		lin = next_page(v, lin);
	}
	return done;
}

bool mmu_rmw_ptr(struct vcpu *v, uint64_t lin, unsigned n, unsigned acc, void **host)
{
	unsigned room = (unsigned)(PAGE_SIZE_4K - (lin & (PAGE_SIZE_4K - 1)));
	struct tlb_entry *e = tlb_get(v, lin, acc | ACC_WRITE);

	*host = NULL;
	if (!e)
		return false;
	if (n > room)
		return tlb_get(v, next_page(v, lin), acc | ACC_WRITE) != NULL;
	if (e->hva && !(e->flags & TLB_ROM)) {
		*host = e->hva + (lin & (PAGE_SIZE_4K - 1));
		tlb_note_write(v, *host, n);
	}
	return true;
}

void mmu_rmw_done(struct vcpu *v, const void *host, unsigned n)
{
	tlb_note_write(v, host, n);
}
