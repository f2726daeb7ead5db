/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hidden page tables: a TLB for ring 3 in the form of page tables, filled on faults from the guest's own.
 *
 * They may hold whatever a processor's TLB could: entries of the guest's tables as they were since the last flush. So they
 * are compared with the guest's tables only when the vCPu has flushed since (vcpu->count.tlb_flushes), and an entry is writable
 * only when the guest's has its dirty bit, executable only when the page was found fit, and there at all only when it has
 * its accessed bit; filling sets the bits, as a walk would (SDM 3A 4.8).
 *
 * A KVM with shadow page tables does not see that we, from outside, take something away from an entry: it has a copy. It
 * sees what we add, because the access that needs it faults and KVM walks. So an entry is never reduced where it is: the
 * page of the table and the pages above it are replaced by ones that KVM has not seen yet. When they are used up everything
 * is forgotten at once (ring3_zap). The measurements are in docs/hybrid.md.
 *
 * Stores to pages with decoded code must be told to the translator, so those are not mapped for writing; and a page that is
 * mapped for execution is made such a page, which is how a change of its bytes is noticed.
 */
#include <string.h>

#include "engine/apic/lapic.h"
#include "fastpath/ring3_int.h"

#define ADDRESS 0x000ffffffffff000ull
#define ENTRIES 512u
#define USER_ROOT_ENTRIES 511u /* the last leads to the hidden supervisor pages */
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define CODE_GROUP 8u /* pages of code that are looked at together */

/* struct ring3_map.scan: generation and verdict. */
#define SCAN_VERDICT 3u
_Static_assert(R3_SCAN_CLEAN <= SCAN_VERDICT && R3_SCAN_OPEN <= SCAN_VERDICT && R3_SCAN_UNFIT <= SCAN_VERDICT, "two bits");
#define SCAN_GEN_SHIFT 2

uint64_t *ring3_page(const struct ring3_map *m, unsigned page)
{
	return (uint64_t *)(m->mem + (size_t)page * 4096);
}

uint64_t ring3_table_entry(const struct ring3_map *m, unsigned page)
{
	return (m->gpa + (uint64_t)page * 4096) | TABLE_FLAGS;
}

static unsigned page_of(const struct ring3_map *m, uint64_t entry)
{
	return (unsigned)(((entry & ADDRESS) - m->gpa) >> PAGE_SHIFT_4K);
}

unsigned ring3_take(struct ring3_map *m)
{
	if (m->next == R3_PAGES) {
		m->full = true;
		return 0;
	}
	memset(ring3_page(m, m->next), 0, 4096);
	return m->next++;
}

void ring3_map_forget(struct ring3_map *m)
{
	memset(m->space, 0, sizeof(m->space));
	m->cur = NULL;
	m->next = R3_FREE;
	m->full = false;
}

void ring3_map_init(struct ring3_map *m, struct vcpu *v)
{
	m->v = v;
	ring3_map_forget(m);
}

/* ---- the guest's tables ---- */

/* What an entry leads to: a table, or a page of any size, of which the address moves as smaller levels are asked for. */
struct view {
	uint64_t *table; /* NULL: a page */
	uint64_t *entry; /* the last one read */
	uint64_t base;
	uint64_t flags; /* P, W, U: of all levels; NX: of any; A and D: of the last entry */
};

static bool view_root(const struct ring3_map *m, struct view *out)
{
	*out = (struct view){.table = mem_ram(&m->v->vm->mem, m->v->regs.cr3 & ADDRESS, 4096), .flags = PTE_P | PTE_W | PTE_U};
	return out->table != NULL;
}

/* Entry i of a table of this level (4 to 1). */
static bool view_child(const struct ring3_map *m, const struct view *p, unsigned level, unsigned i, struct view *c)
{
	unsigned shift = PAGE_SHIFT_4K + 9 * (level - 1);
	uint64_t e;

	*c = *p;
	if (!p->table) {
		c->base = p->base + ((uint64_t)i << shift);
		return true;
	}
	c->entry = &p->table[i];
	e = __atomic_load_n(c->entry, __ATOMIC_RELAXED);
	if (!(e & PTE_P) || (level == 4 && (e & PTE_PS)))
		return false;
	c->flags = (p->flags & e & (PTE_P | PTE_W | PTE_U)) | ((p->flags | e) & PTE_NX) | (e & (PTE_A | PTE_D));
	c->base = e & ADDRESS;
	c->table = NULL;
	if (level == 1)
		return true;
	if (e & PTE_PS) {
		c->base &= ~((1ull << shift) - 1);
		return true;
	}
	c->table = mem_ram(&m->v->vm->mem, c->base, 4096);
	return c->table != NULL;
}

static unsigned index_at(uint64_t lin, unsigned level)
{
	return (unsigned)(lin >> (PAGE_SHIFT_4K + 9 * (level - 1))) % ENTRIES;
}

/* The way down to lin: way[4] is the root's view, way[0] the page. */
static bool walk(const struct ring3_map *m, uint64_t lin, struct view way[5])
{
	if (!view_root(m, &way[4]))
		return false;
	for (unsigned level = 4; level >= 1; level--)
		if (!view_child(m, &way[level], level, index_at(lin, level), &way[level - 1]))
			return false;
	return true;
}

bool ring3_map_peek(const struct ring3_map *m, uint64_t lin, uint8_t *byte)
{
	struct view way[5];
	const uint8_t *p;

	if (!walk(m, lin, way) || !(p = mem_ram(&m->v->vm->mem, way[0].base + lin % 4096, 1)))
		return false;
	*byte = *p;
	return true;
}

/* ---- pages of RAM ---- */

static const struct exec_ops *translator(const struct ring3_map *m)
{
	return m->v->vm->paths[PATH_BT];
}

/* RAM with nothing over it. */
static bool plain(const struct ring3_map *m, uint64_t gpa)
{
	const struct vm *vm = m->v->vm;

	return mem_ram(&vm->mem, gpa, 4096) && !mem_rom(&vm->mem, gpa, 1) && gpa != lapic_mmio_gpa(m->v->lapic);
}

static uint32_t *scan_of(const struct ring3_map *m, uint64_t gpa)
{
	return &m->scan[mem_ram_offset(&m->v->vm->mem, gpa) >> PAGE_SHIFT_4K];
}

/* A page in its table: what lies behind it matters for code. */
struct place {
	struct view page;
	const struct view *table;
	unsigned i;
};

static bool place_at(const struct ring3_map *m, const struct view *table, unsigned i, struct place *p)
{
	p->table = table;
	p->i = i;
	return view_child(m, table, 1, i, &p->page);
}

/* The page behind, when it is in the same table and could be executed as well. */
static uint64_t page_behind(const struct ring3_map *m, const struct place *p)
{
	struct view c;

	if (p->i + 1 == ENTRIES || !view_child(m, p->table, 1, p->i + 1, &c) || !(c.flags & PTE_U) || (c.flags & PTE_NX) || !plain(m, c.base))
		return UINT64_MAX;
	return c.base;
}

static const uint8_t *bytes(const struct ring3_map *m, uint64_t gpa)
{
	return mem_ram(&m->v->vm->mem, gpa, 4096);
}

/* A page whose last instruction goes on on the next one is as good as that one's first bytes, which may change. */
static bool open_end_clean(const struct ring3_map *m, const struct place *p)
{
	uint64_t behind = page_behind(m, p);
	uint32_t gen;

	return behind != UINT64_MAX && translator(m)->code_watched(m->v->vm, behind, &gen) &&
	       ring3_scan(bytes(m, p->page.base), bytes(m, behind)) == R3_SCAN_CLEAN;
}

/* Was it found fit to run, and has nobody stored to it since? */
static bool known_clean(const struct ring3_map *m, const struct place *p)
{
	uint32_t gen, s = *scan_of(m, p->page.base);

	if (!translator(m)->code_watched(m->v->vm, p->page.base, &gen) || (s & ~SCAN_VERDICT) != gen << SCAN_GEN_SHIFT)
		return false;
	return (s & SCAN_VERDICT) == R3_SCAN_CLEAN || ((s & SCAN_VERDICT) == R3_SCAN_OPEN && open_end_clean(m, p));
}

static void look_at_code(const struct ring3_map *m, const struct place *p)
{
	uint64_t gpa = p->page.base, behind;
	uint32_t gen = translator(m)->code_watch(m->v, gpa) << SCAN_GEN_SHIFT, *s = scan_of(m, gpa);

	if ((*s & ~SCAN_VERDICT) != gen || !(*s & SCAN_VERDICT))
		*s = gen | ring3_scan(bytes(m, gpa), NULL);
	if ((*s & SCAN_VERDICT) == R3_SCAN_OPEN && (behind = page_behind(m, p)) != UINT64_MAX)
		translator(m)->code_watch(m->v, behind);
}

/* The most that may be in the hidden tables for this page of the guest's; 0: nothing. */
static uint64_t leaf(const struct ring3_map *m, const struct place *p)
{
	const struct view *page = &p->page;
	bool x, w;
	uint32_t gen;

	if (!(page->flags & PTE_U) || !(page->flags & PTE_A) || !plain(m, page->base))
		return 0;
	x = !(page->flags & PTE_NX) && known_clean(m, p);
	w = !x && (page->flags & PTE_W) && (page->flags & PTE_D) && !translator(m)->code_watched(m->v->vm, page->base, &gen);
	return page->base | PTE_P | PTE_U | PTE_A | (w ? PTE_W | PTE_D : 0) | (x ? 0 : PTE_NX);
}

/* Does the entry allow nothing that `most` does not? */
static bool within(uint64_t entry, uint64_t most)
{
	return (most & PTE_P) && !((entry ^ most) & ADDRESS) && !(entry & ~most & PTE_W) && !(most & ~entry & PTE_NX);
}

/* ---- comparing ---- */

static bool own(struct ring3_map *m, unsigned *page)
{
	unsigned fresh;

	if (*page >= m->pass)
		return true;
	fresh = ring3_take(m);
	if (!fresh)
		return false;
	memcpy(ring3_page(m, fresh), ring3_page(m, *page), 4096);
	*page = fresh;
	return true;
}

/* Takes out of the table, and of those below it, what the guest's no longer says; *page is another one then. false: full. */
static bool compare(struct ring3_map *m, unsigned *page, unsigned level, const struct view *guest)
{
	unsigned n = level == 4 ? USER_ROOT_ENTRIES : ENTRIES;

	for (unsigned i = 0; i < n; i++) {
		uint64_t e = ring3_page(m, *page)[i], now = 0;
		struct view c;
		struct place p;
		bool there;

		if (!(e & PTE_P))
			continue;
		there = view_child(m, guest, level, i, &c) && (c.flags & PTE_U);
		if (level == 1) {
			now = there && place_at(m, guest, i, &p) ? leaf(m, &p) : 0;
			if (within(e, now))
				continue;
		} else if (there) {
			unsigned sub = page_of(m, e);

			if (!compare(m, &sub, level - 1, &c))
				return false;
			if (sub == page_of(m, e))
				continue;
			now = ring3_table_entry(m, sub);
		}
		if (!own(m, page))
			return false;
		ring3_page(m, *page)[i] = now;
	}
	return true;
}

static bool up_to_date(struct ring3_map *m)
{
	struct ring3_space *s = m->cur;
	uint32_t epoch = translator(m)->code_epoch(m->v->vm);
	struct view root;

	if (s->flushes == m->v->count.tlb_flushes && s->epoch == epoch)
		return true;
	m->pass = m->next;
	if (!view_root(m, &root) || !compare(m, &s->root, 4, &root))
		return false;
	s->flushes = m->v->count.tlb_flushes;
	s->epoch = epoch;
	return true;
}

static struct ring3_space *space_of(struct ring3_map *m, uint64_t cr3)
{
	struct ring3_space *oldest = &m->space[0];

	for (unsigned i = 0; i < R3_SPACES; i++) {
		struct ring3_space *s = &m->space[i];

		if (s->root && s->cr3 == cr3)
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	*oldest = (struct ring3_space){.cr3 = cr3,
				       .root = ring3_take(m),
				       .flushes = m->v->count.tlb_flushes,
				       .epoch = translator(m)->code_epoch(m->v->vm)};
	if (oldest->root)
		ring3_page(m, oldest->root)[USER_ROOT_ENTRIES] = ring3_table_entry(m, R3_PDPT) & ~PTE_U;
	return oldest;
}

unsigned ring3_map_root(struct ring3_map *m)
{
	m->cur = space_of(m, m->v->regs.cr3 & ADDRESS);
	m->cur->used = ++m->clock;
	return m->cur->root && up_to_date(m) ? m->cur->root : 0;
}

/* ---- filling ---- */

/* Accessed in every entry of the way, dirty in the last (SDM 3A 4.8). false: somebody changes it at this moment. */
static bool set_bits(struct view way[5], bool write)
{
	for (unsigned level = 4; level-- > 0;) {
		bool last = !way[level].table;
		uint64_t bits = PTE_A | (last && write ? PTE_D : 0), old = __atomic_load_n(way[level].entry, __ATOMIC_RELAXED);

		if (level && way[level].entry == way[level - 1].entry) /* below a large page the entry is the same */
			continue;
		if (!(old & PTE_P))
			return false;
		if ((old & bits) != bits && !__atomic_compare_exchange_n(way[level].entry, &old, old | bits, false, __ATOMIC_SEQ_CST,
									  __ATOMIC_RELAXED))
			return false;
	}
	way[0].flags |= PTE_A | (write ? PTE_D : 0);
	return true;
}

/* The hidden table of level 1 for lin, made if need be. NULL: out of pages. */
static uint64_t *leaf_table(struct ring3_map *m, uint64_t lin)
{
	uint64_t *t = ring3_page(m, m->cur->root);

	for (unsigned level = 4; level > 1; level--) {
		uint64_t *e = &t[index_at(lin, level)];

		if (!(*e & PTE_P)) {
			unsigned page = ring3_take(m);

			if (!page)
				return NULL;
			*e = ring3_table_entry(m, page);
		}
		t = ring3_page(m, page_of(m, *e));
	}
	return t;
}

/* The neighbours in the same table, as far as the guest has accessed them. */
static void fill_around(const struct ring3_map *m, uint64_t *table, const struct view *guest)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct place p;

		if (!(table[i] & PTE_P) && place_at(m, guest, i, &p))
			table[i] = leaf(m, &p);
	}
}

static void look_around(const struct ring3_map *m, uint64_t lin, const struct view *guest)
{
	unsigned first = index_at(lin, 1) / CODE_GROUP * CODE_GROUP;

	for (unsigned i = first; i < first + CODE_GROUP; i++) {
		struct place p;

		if (place_at(m, guest, i, &p) && (p.page.flags & PTE_U) && (p.page.flags & PTE_A) && !(p.page.flags & PTE_NX) &&
		    plain(m, p.page.base))
			look_at_code(m, &p);
	}
}

enum ring3_fill ring3_map_fill(struct ring3_map *m, uint64_t lin, uint32_t error)
{
	bool write = error & PF_W, exec = error & PF_I;
	struct view way[5];
	struct place place;
	uint64_t *table, *e, most;
	uint32_t gen;

	if (!(error & PF_U) || lin >= R3_BASE || (lin + (1ull << 47)) >> 48 || !walk(m, lin, way) || !(way[0].flags & PTE_U) ||
	    (write && !(way[0].flags & PTE_W)) || (exec && (way[0].flags & PTE_NX)) || !plain(m, way[0].base) || !set_bits(way, write))
		return R3_REFUSED;
	if (write && translator(m)->code_watched(m->v->vm, way[0].base, &gen))
		return R3_CODE_STORE;
	if (!place_at(m, &way[1], index_at(lin, 1), &place))
		return R3_REFUSED;
	if (exec) {
		look_around(m, lin, &way[1]);
		if (!known_clean(m, &place))
			return R3_UNFIT_CODE;
		if (!up_to_date(m)) /* what has become code may have been writable somewhere */
			return R3_FULL;
	}
	table = leaf_table(m, lin);
	if (!table)
		return R3_FULL;
	e = &table[index_at(lin, 1)];
	most = leaf(m, &place);
	if (*e & PTE_P) {
		if (!within(*e, most)) { /* a TLB would have been asked to forget it by now, or will be: by this fault, for one */
			m->cur->flushes = ~0ull;
			return up_to_date(m) ? R3_FILLED : R3_FULL;
		}
		if (*e == most)
			return R3_REFUSED;
	}
	*e = most;
	fill_around(m, table, &way[1]);
	return R3_FILLED;
}
