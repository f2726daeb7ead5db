/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What translated code remembers about guest memory on one vCPU: windows of its access instructions, link slots that leave
 * a page, the jump cache. Everything here is a cache of page walks; a TLB flush forgets what it covers, and windows for
 * writing are also forgotten when a page that they cover becomes a code page.
 *
 * What has been filled is listed, so that a flush costs what was filled since the last one.
 */
#include <sys/mman.h>

#include "translator/bt_int.h"

static void list_add(struct bt_list *l, uint32_t id)
{
	if (l->n < l->cap)
		l->id[l->n++] = id;
}

static enum status list_init(struct bt_list *l, unsigned cap, struct error *e)
{
	l->id = mmap(NULL, cap * sizeof(*l->id), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->id == MAP_FAILED) {
		l->id = NULL;
		return error_errno(e, ST_NO_MEMORY, "cannot map the translator's lists");
	}
	l->cap = cap;
	l->n = 0;
	return ST_OK;
}

static void tlb_empty(struct bt_cpu *cpu, unsigned i)
{
	if (i >= BT_BIG_ID) {
		i -= BT_BIG_ID;
		cpu->big[i / BT_BIG_SIZE][i % BT_BIG_SIZE].page = i % BT_BIG_SIZE ? 0 : 1 << BT_BIG_SHIFT;
		return;
	}
	cpu->tlb[i / BT_TLB_SIZE][i % BT_TLB_SIZE].page = i % BT_TLB_SIZE ? 0 : 1 << 12;
}

static uint64_t regions_bytes(uint64_t span)
{
	return ((span >> BT_REGION_SHIFT) + 1) * sizeof(uint32_t);
}

enum status bt_lists_init(struct bt_cpu *cpu, uint64_t span, struct error *e)
{
	pthread_spin_init(&cpu->regions_lock, PTHREAD_PROCESS_PRIVATE);
	cpu->region = mmap(NULL, regions_bytes(span), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cpu->region == MAP_FAILED) {
		cpu->region = NULL;
		return error_errno(e, ST_NO_MEMORY, "cannot map the translator's lists");
	}
	for (unsigned k = 0; k < 2; k++) {
		/* twice as many slots and jumps as there can be distinct ones: duplicates force an early flush at worst */
		if (list_init(&cpu->sites[k], BT_MAX_SITES, e) || list_init(&cpu->slots[k], 2 * BT_MAX_SLOTS, e) ||
		    list_init(&cpu->jumps[k], 8 * BT_JC_SIZE, e) || list_init(&cpu->tlbs[k], 8 * BT_TLB_SIZE, e))
			return ST_NO_MEMORY;
	}
	for (unsigned t = 0; t < 2 * BT_TLB_PRIVS; t++)
		tlb_empty(cpu, t * BT_TLB_SIZE), tlb_empty(cpu, BT_BIG_ID + t * BT_BIG_SIZE); /* zero elsewhere */
	cpu->global_lowest = UINT64_MAX;
	for (unsigned k = 0; k < BT_JC_CLASSES; k++)
		cpu->jc[k].lin[0] = 1; /* zero elsewhere, which has another index */
	return ST_OK;
}

static void list_fini(struct bt_list *l)
{
	if (l->id)
		munmap(l->id, l->cap * sizeof(*l->id));
	l->id = NULL;
}

void bt_lists_fini(struct bt_cpu *cpu, uint64_t span)
{
	if (cpu->region)
		munmap(cpu->region, regions_bytes(span));
	cpu->region = NULL;
	for (unsigned k = 0; k < 2; k++) {
		list_fini(&cpu->sites[k]);
		list_fini(&cpu->slots[k]);
		list_fini(&cpu->jumps[k]);
		list_fini(&cpu->tlbs[k]);
	}
}

/* ---- forgetting ---- */

static void site_empty(struct bt_site *s)
{
	s->limit = 0;
	s->hva = 0;
	s->len = 0;
}

/* Of another vCPU, whose thread may be between the check and the use, or in the middle of filling it: only the word that the
 * check looks at is written. Who has passed the check finds the address that belongs to it. */
static void site_close(struct bt_site *s)
{
	if (s->is_const)
		s->hva = 0;
	else
		s->limit = 0;
}

static bool site_filled(const struct bt_site *s)
{
	return s->is_const ? s->hva != 0 : s->limit != 0;
}

/* regions_lock held */
static void region_remove(struct vcpu *v, struct bt_site *s)
{
	struct bt_site *site = bt_sites(v);

	if (!s->region)
		return;
	if (s->prev)
		site[s->prev - 1].next = s->next;
	else
		bt_cpu(v)->region[s->region - 1] = s->next;
	if (s->next)
		site[s->next - 1].prev = s->prev;
	s->region = s->next = s->prev = 0;
}

static void region_insert(struct vcpu *v, struct bt_site *s, uint64_t ram_off)
{
	struct bt_cpu *cpu = bt_cpu(v);
	uint32_t id = (uint32_t)(s - bt_sites(v)), region = (uint32_t)(ram_off >> BT_REGION_SHIFT);

	if (s->region == region + 1)
		return;
	pthread_spin_lock(&cpu->regions_lock);
	region_remove(v, s);
	s->region = region + 1;
	s->next = cpu->region[region];
	if (s->next)
		bt_sites(v)[s->next - 1].prev = id + 1;
	cpu->region[region] = id + 1;
	pthread_spin_unlock(&cpu->regions_lock);
}

static void forget_sites(struct vcpu *v, unsigned k)
{
	struct bt_list *l = &bt_cpu(v)->sites[k];
	struct bt_site *site = bt_sites(v);

	for (unsigned i = 0; i < l->n; i++) {
		site_empty(&site[l->id[i]]);
		site[l->id[i]].listed &= (uint8_t) ~(1u << k);
	}
	l->n = 0;
}

/* A slot's list entry is the slot's number; its stub is found through the link that owns it. */
static void forget_slots(struct vcpu *v, unsigned k)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_list *l = &cpu->slots[k];
	struct bt *bt = cpu->bt;

	for (unsigned i = 0; i < l->n; i++) {
		struct bt_link *link = &bt->link[l->id[i]];

		bt_slots(v)[link->slot] = (uint64_t)bt_host(bt, link->stub);
	}
	l->n = 0;
}

static void jc_empty(struct bt_cpu *cpu, uint32_t id)
{
	cpu->jc[id / BT_JC_SIZE].lin[id % BT_JC_SIZE] = id % BT_JC_SIZE ? 0 : 1;
}

static void forget_jumps(struct vcpu *v, unsigned k)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_list *l = &cpu->jumps[k];

	for (unsigned i = 0; i < l->n; i++)
		jc_empty(cpu, l->id[i]);
	l->n = 0;
}

static void forget_tlb(struct vcpu *v, unsigned k)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_list *l = &cpu->tlbs[k];

	for (unsigned i = 0; i < l->n; i++)
		tlb_empty(cpu, l->id[i]);
	l->n = 0;
}

static void forget(struct vcpu *v, unsigned k)
{
	forget_tlb(v, k);
	forget_sites(v, k);
	forget_slots(v, k);
	forget_jumps(v, k);
}

static bool exec_filter_test(const struct bt_cpu *cpu, uint64_t page)
{
	unsigned h = (unsigned)((page ^ page >> BT_EXEC_FILTER_BITS) & ((1u << BT_EXEC_FILTER_BITS) - 1));

	return cpu->exec_filter[h >> 6] >> (h & 63) & 1;
}

static void exec_filter_set(struct bt_cpu *cpu, uint64_t page)
{
	unsigned h = (unsigned)((page ^ page >> BT_EXEC_FILTER_BITS) & ((1u << BT_EXEC_FILTER_BITS) - 1));

	cpu->exec_filter[h >> 6] |= 1ull << (h & 63);
}

static void forget_page(struct vcpu *v, uint64_t lin)
{
	struct bt_site *site = bt_sites(v);
	bool code = exec_filter_test(bt_cpu(v), lin >> 12);

	for (unsigned k = 0; k < 2; k++) {
		struct bt_list *l = &bt_cpu(v)->sites[k];
		unsigned n = k && lin < bt_cpu(v)->global_lowest ? 0 : l->n;

		for (unsigned i = 0; i < n; i++) {
			struct bt_site *s = &site[l->id[i]];

			if (lin - s->gva < s->len || ((s->gva ^ lin) >> 12) == 0)
				site_empty(s);
		}
		if (code) {
			forget_slots(v, k);
			forget_jumps(v, k);
		}
	}
	for (unsigned t = 0; t < 2 * BT_TLB_PRIVS; t++) {
		unsigned i = lin >> 12 & (BT_TLB_SIZE - 1);

		if (bt_cpu(v)->tlb[t][i].page >> 12 == lin >> 12)
			tlb_empty(bt_cpu(v), t * BT_TLB_SIZE + i);
		i = lin >> BT_BIG_SHIFT & (BT_BIG_SIZE - 1);
		if (bt_cpu(v)->big[t][i].page >> BT_BIG_SHIFT == lin >> BT_BIG_SHIFT)
			tlb_empty(bt_cpu(v), BT_BIG_ID + t * BT_BIG_SIZE + i);
	}
}

void bt_tlb_flushed(struct vcpu *v, enum tlb_flush kind, uint64_t lin)
{
	uint8_t was = vcpu_doing(v, SAMPLE_FILL);

	switch (kind) {
	case TLB_FLUSH_PAGE:
		forget_page(v, lin);
		break;
	case TLB_FLUSH_ALL:
		forget(v, 1);
		bt_cpu(v)->global_lowest = UINT64_MAX;
		for (unsigned i = 0; i < ARRAY_LEN(bt_cpu(v)->exec_filter); i++)
			bt_cpu(v)->exec_filter[i] = 0;
		/* fall through */
	case TLB_FLUSH_LOCAL:
		forget(v, 0);
		break;
	}
	v->doing = was;
}

void bt_forget_all(struct vcpu *v)
{
	struct bt_cpu *cpu = bt_cpu(v);

	for (unsigned k = 0; k < 2; k++) {
		forget_sites(v, k);
		forget_tlb(v, k);
		cpu->slots[k].n = 0;
		forget_jumps(v, k);
	}
	/* the sites themselves are given back to the host */
	for (uint64_t i = 0; i <= mem_span(&v->vm->mem) >> BT_REGION_SHIFT; i++)
		cpu->region[i] = 0;
}

void bt_forget_sites_of(struct bt *bt, struct vcpu *self, const struct bt_block *b)
{
	for (unsigned n = 0; n < bt->vm->ncpus; n++) {
		struct vcpu *v = bt->vm->vcpu[n];
		struct bt_cpu *cpu = bt_cpu(v);

		if (!cpu->bt)
			continue;
		pthread_spin_lock(&cpu->regions_lock);
		for (uint32_t k = b->site0; k < b->site0 + b->nsites; k++) {
			struct bt_site *s = &bt_sites(v)[k];

			if (v != self) {
				site_close(s);
				continue;
			}
			site_empty(s);
			region_remove(v, s);
		}
		pthread_spin_unlock(&cpu->regions_lock);
	}
}

static struct bt_tlb_entry *write_entry(struct bt_cpu *cpu, unsigned i)
{
	return &cpu->tlb[BT_TLB_PRIVS + i / BT_TLB_SIZE][i % BT_TLB_SIZE];
}

/* Entry i of the tables for writing is about to be filled with the page at hva: into that page's list. */
static void write_entry_link(struct bt_cpu *cpu, unsigned i, const uint8_t *hva)
{
	const uint8_t *old = write_entry(cpu, i)->hva;
	unsigned to = (unsigned)((uint64_t)(hva - cpu->ram) >> 12) % BT_TLB_SIZE, from = to + 1;
	uint16_t *p;

	if (old)
		from = (unsigned)((uint64_t)(old - cpu->ram) >> 12) % BT_TLB_SIZE;
	if (from == to)
		return;
	pthread_spin_lock(&cpu->regions_lock);
	if (old) {
		for (p = &cpu->tlb_of_page[from]; *p != i + 1; p = &cpu->tlb_next[*p - 1])
			;
		*p = cpu->tlb_next[i];
	}
	cpu->tlb_next[i] = cpu->tlb_of_page[to];
	cpu->tlb_of_page[to] = (uint16_t)(i + 1);
	pthread_spin_unlock(&cpu->regions_lock);
}

/* Large entries for writing that cover a page; regions_lock held. */
static void forget_big_written(struct bt_cpu *cpu, uint64_t page)
{
	unsigned bit = page >> (BT_BIG_SHIFT - 12) & (BT_BIG_SIZE - 1);

	if (!(cpu->big_written[bit / 64] >> (bit & 63) & 1))
		return;
	for (unsigned i = BT_TLB_PRIVS * BT_BIG_SIZE; i < 2 * BT_TLB_PRIVS * BT_BIG_SIZE; i++) {
		uint64_t off = (uint64_t)(cpu->big[i / BT_BIG_SIZE][i % BT_BIG_SIZE].hva - cpu->ram);

		if ((off >> BT_BIG_SHIFT & (BT_BIG_SIZE - 1)) == bit)
			tlb_empty(cpu, BT_BIG_ID + i);
	}
	cpu->big_written[bit / 64] &= ~(1ull << (bit & 63));
}

/* Closes every window and entry through which the page at hva can be written. true: there were some. */
static bool close_writes(struct bt *bt, const struct vcpu *self, uint64_t page, const uint8_t *hva)
{
	bool found = false;

	for (unsigned n = 0; n < bt->vm->ncpus; n++) {
		struct vcpu *v = bt->vm->vcpu[n];
		struct bt_cpu *cpu = bt_cpu(v);

		if (!cpu->bt)
			continue;
		pthread_spin_lock(&cpu->regions_lock);
		forget_big_written(cpu, page);
		for (unsigned i = cpu->tlb_of_page[page % BT_TLB_SIZE]; i; i = cpu->tlb_next[i - 1])
			if (write_entry(cpu, i - 1)->hva == hva)
				tlb_empty(cpu, BT_TLB_PRIVS * BT_TLB_SIZE + i - 1);
		for (uint32_t i = cpu->region[page >> (BT_REGION_SHIFT - 12)], next; i; i = next) {
			struct bt_site *s = &bt_sites(v)[i - 1];

			next = s->next;
			if (site_filled(s) && (uint64_t)hva + 4095 - s->hva < s->len + 4095ull) {
				site_close(s);
				found = true;
			}
			/* the next one to come this way need not look at it; another thread's site may be in use just now */
			if (!site_filled(s) && v == self)
				region_remove(v, s);
		}
		pthread_spin_unlock(&cpu->regions_lock);
	}
	return found;
}

/*
 * A page became a code page: nobody may write to it through a window from now on. Behind the first barrier C code fills no
 * more windows with it. Generated code may have taken the page out of the inline TLB just before its entry went and fill a
 * window from it just after we looked (bt_refill.c): it has done so behind the next barrier, so we look again.
 */
void bt_marked(void *ctx, struct vcpu *self, uint64_t page)
{
	struct bt *bt = ctx;
	const uint8_t *hva = bt->vm->mem.ram_hva + (page << 12);

	atomic_fetch_add(&bt->marks, 1);
	bt_barrier(self);
	close_writes(bt, self, page, hva);
	do
		bt_barrier(self);
	while (bt->vm->ncpus > 1 && close_writes(bt, self, page, hva));
}

/* The same of all pages. Nobody is in guest code, or can have looked at a mark and not yet used what he saw; who waits in
 * vm_stop_others finds his windows gone, as after any other flush. */
void bt_marked_all(void *ctx)
{
	struct bt *bt = ctx;

	atomic_fetch_add(&bt->marks, 1);
	for (unsigned n = 0; n < bt->vm->ncpus; n++)
		if (bt_cpu(bt->vm->vcpu[n])->bt)
			mmu_flush_all(bt->vm->vcpu[n]);
}

/* ---- filling ---- */

void bt_jc_add(struct vcpu *v, uint64_t lin, uint32_t key, const struct bt_block *b, bool global)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_jc *jc = &cpu->jc[bt_jc_class(key)];
	uint32_t i = (uint32_t)lin & (BT_JC_SIZE - 1);
	struct bt_list *l = &cpu->jumps[global];

	if (l->n == l->cap)
		forget_jumps(v, global);
	jc_empty(cpu, bt_jc_class(key) * BT_JC_SIZE + i);
	jc->host[i] = (uint64_t)bt_host(cpu->bt, b->host_mem);
	jc->lin[i] = lin;
	exec_filter_set(cpu, lin >> 12);
	if (b->two_pages)
		exec_filter_set(cpu, (lin >> 12) + 1);
	list_add(l, bt_jc_class(key) * BT_JC_SIZE + i);
	/* invalidate() clears valid and then looks here: one of the two sees the other */
	atomic_thread_fence(memory_order_seq_cst);
	if (!b->valid)
		jc_empty(cpu, bt_jc_class(key) * BT_JC_SIZE + i);
}

/* The class's entries were for another key. */
void bt_jc_switch(struct vcpu *v, uint32_t key)
{
	struct bt_cpu *cpu = bt_cpu(v);
	unsigned class = bt_jc_class(key);

	for (unsigned k = 0; k < 2; k++) {
		struct bt_list *l = &cpu->jumps[k];
		unsigned n = 0;

		for (unsigned i = 0; i < l->n; i++) {
			if (l->id[i] / BT_JC_SIZE == class)
				jc_empty(cpu, l->id[i]);
			else
				l->id[n++] = l->id[i];
		}
		l->n = n;
	}
	cpu->jc_key[class] = key;
}

/* lock held */
void bt_slot_set(struct vcpu *v, const struct bt_link *link, const void *host, bool global)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_list *l = &cpu->slots[global];

	if (l->n == l->cap)
		forget_slots(v, global);
	bt_slots(v)[link->slot] = (uint64_t)host;
	exec_filter_set(cpu, link->target >> 12);
	exec_filter_set(cpu, (link->target >> 12) + 1);
	list_add(l, (uint32_t)(link - cpu->bt->link));
}

/* The run of pages [*a, *b) around `page`, inside [start, end), that hold no code; page does not. start and end are multiples
 * of 64, and the map's last word is whole. */
static void code_free_pages(const struct codemap *c, uint64_t page, uint64_t start, uint64_t end, uint64_t *a, uint64_t *b)
{
	uint64_t w = page >> 6, bits = atomic_load_explicit(&c->bits[w], memory_order_relaxed);
	uint64_t below = bits & ((1ull << (page & 63)) - 1), above = bits & ~((2ull << (page & 63)) - 1);

	while (!below && w > start >> 6)
		below = atomic_load_explicit(&c->bits[--w], memory_order_relaxed);
	*a = below ? (w << 6) + 64 - (unsigned)__builtin_clzll(below) : start;
	if (end > c->npages)
		end = c->npages;
	for (w = page >> 6; !above && w + 1 < (end + 63) >> 6;)
		above = atomic_load_explicit(&c->bits[++w], memory_order_relaxed);
	*b = above ? (w << 6) + (unsigned)__builtin_ctzll(above) : end;
}

/* The part of the mapping around RAM offset `off` that one window may cover: [*lo, *hi) in RAM offsets. */
static void window_range(const struct vm *vm, const struct mmu_page *p, uint64_t lin, uint64_t off, bool write, uint64_t *lo,
			 uint64_t *hi)
{
	uint64_t before = lin - p->gva, after = p->size - before, piece_lo, piece_hi;

	if (before > 0x3fffffff)
		before = 0x3ffff000 | (before & 0xfff);
	if (after > 0x40000000)
		after = 0x40000000;
	mem_bank(&vm->mem, off, &piece_lo, &piece_hi);
	*lo = off - piece_lo < before ? piece_lo : off - before;
	*hi = piece_hi - off < after ? piece_hi : off + after;
	if (write && p->size > 4096) {
		uint64_t region = off >> BT_REGION_SHIFT, a, b;

		code_free_pages(vm->codemap, off >> 12, region << (BT_REGION_SHIFT - 12), (region + 1) << (BT_REGION_SHIFT - 12), &a, &b);
		if (a << 12 > *lo)
			*lo = a << 12;
		if (b << 12 < *hi)
			*hi = b << 12;
	}
}

/* The interpreter does the whole instruction at regs.rip (which is r's). */
static void *do_by_interpreter(struct vcpu *v, struct bt_rec *r)
{
	struct bt *bt = bt_cpu(v)->bt;
	const struct bt_block *b = &bt->block[r->block];
	uint64_t rip = v->regs.rip;
	enum xr x;

	v->count.bt_slow_access++;
	v->doing = SAMPLE_INTERP;
	bt_flags_pull(v);
	x = bt_step_in(v, b);
	bt_flags_push(v);
	v->doing = SAMPLE_FILL;
	if (x != XR_JUMP && x != XR_AGAIN)
		return bt_pending(v, x);
	if (x == XR_AGAIN || !r->next || !b->valid || v->int_shadow)
		return NULL;
	/* did it simply go on to the next instruction of the block? */
	if (v->regs.rip == rip || v->regs.rip != bt_rip_behind(bt, r) || bt_key(v) != (b->key & ~BK_NOGROUP) || (v->regs.rflags & (FL_TF | FL_DF)))
		return NULL;
	return bt_host(bt, r->next);
}

static void tlb_fill(struct vcpu *v, uint32_t key, bool write, uint64_t lin, uint8_t *hva, bool global)
{
	struct bt_cpu *cpu = bt_cpu(v);
	unsigned t = bt_tlb_table(key, write), i = lin >> 12 & (BT_TLB_SIZE - 1);
	struct bt_list *l = &cpu->tlbs[global];

	if (l->n == l->cap)
		forget_tlb(v, global);
	hva = (uint8_t *)((uint64_t)hva & ~0xfffull);
	if (write)
		write_entry_link(cpu, (t - BT_TLB_PRIVS) * BT_TLB_SIZE + i, hva);
	cpu->tlb[t][i] = (struct bt_tlb_entry){ .page = lin & ~0xfffull, .hva = hva };
	list_add(l, t * BT_TLB_SIZE + i);
}

/* The 2 MiB around lin, which is at RAM offset off, when one mapping covers them. */
static void big_fill(struct vcpu *v, uint32_t key, bool write, const struct mmu_page *p, uint64_t lin, uint64_t off)
{
	struct bt_cpu *cpu = bt_cpu(v);
	const struct codemap *code = v->vm->codemap;
	uint64_t size = 1ull << BT_BIG_SHIFT, in = lin & (size - 1), lo = off - in;
	uint64_t start, end;
	unsigned t = bt_tlb_table(key, write), i = lin >> BT_BIG_SHIFT & (BT_BIG_SIZE - 1), bit = lo >> BT_BIG_SHIFT & (BT_BIG_SIZE - 1);
	struct bt_list *l = &cpu->tlbs[p->global];

	mem_bank(&v->vm->mem, off, &start, &end);
	if (p->size < size || (lo & (size - 1)) || lo < start || lo + size > end)
		return;
	if (l->n == l->cap)
		forget_tlb(v, p->global);
	if (write) {
		for (uint64_t w = lo >> 18; w < (lo + size) >> 18; w++)
			if (atomic_load_explicit(&code->bits[w], memory_order_relaxed))
				return;
		pthread_spin_lock(&cpu->regions_lock);
		cpu->big_written[bit / 64] |= 1ull << (bit & 63);
	}
	cpu->big[t][i] = (struct bt_tlb_entry){ .page = lin - in, .hva = v->vm->mem.ram_hva + lo };
	list_add(l, BT_BIG_ID + t * BT_BIG_SIZE + i);
	if (write)
		pthread_spin_unlock(&cpu->regions_lock);
}

static void site_fill(struct vcpu *v, const struct bt_rec *r, const struct mmu_page *p, uint64_t lin, uint64_t off)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt_site *s = &bt_sites(v)[r->site];
	uint64_t lo, hi;

	window_range(v->vm, p, lin, off, r->acc & ACC_WRITE, &lo, &hi);
	if (r->is_const)
		lo = off;
	s->gva = lin - (off - lo);
	s->len = (uint32_t)(hi - lo);
	s->hva = (uint64_t)v->vm->mem.ram_hva + lo;
	s->is_const = r->is_const;
	if (r->acc & ACC_WRITE)
		region_insert(v, s, off);
	if (p->global && s->gva < cpu->global_lowest)
		cpu->global_lowest = s->gva;
	if (!(s->listed & (1u << p->global))) {
		s->listed |= (uint8_t)(1u << p->global);
		list_add(&cpu->sites[p->global], r->site);
	}
	if (!r->is_const) {
		s->bias = (uint64_t)r->disp - s->gva;
		if (r->addr32)
			s->bias = (uint32_t)s->bias;
		s->limit = s->len - r->size + 1u;
	}
	v->count.bt_site_fills++;
}

/* A group's range has no window of its own: the code without groups, from this instruction on. */
static void *without_groups(struct vcpu *v, struct bt_rec *r)
{
	struct bt *bt = bt_cpu(v)->bt;
	uint32_t epoch = bt->epoch;
	struct bt_block *b;
	enum bt_miss miss;
	bool global;

	b = bt_find(v, bt_key(v) | BK_NOGROUP, false, &miss, &global);
	if (!b)
		return NULL; /* whatever it was, the dispatcher finds it again */
	if (bt->epoch == epoch && ++bt_sites(v)[r->site].misfits > BT_MISFITS_MAX)
		bt_link_to(v, &bt->link[r->link], b, global);
	return bt_host(bt, b->host_mem);
}

void *bt_access(struct vcpu *v, struct bt_rec *r)
{
	struct bt_cpu *cpu = bt_cpu(v);
	struct bt *bt = cpu->bt;
	struct bt_block *b = &bt->block[r->block];
	struct bt_site *s = &bt_sites(v)[r->site];
	uint64_t lin, off;
	bool write = r->acc & ACC_WRITE;
	struct mmu_page p;
	uint32_t marks;

	v->regs.rip = b->gva + r->guest_off;
	lin = r->is_const ? (uint64_t)r->disp : cpu->s0;
	if (r->addr32) {
		lin = (uint32_t)lin;
	} else if ((uint64_t)((int64_t)(lin << 16) >> 16) != lin) {
		if (r->group)
			return without_groups(v, r);
		if (r->aligned)
			return do_by_interpreter(v, r);
		fault_set_error(v, r->seg == SEG_SS ? VEC_SS : VEC_GP, 0);
		return bt_raise(v);
	}
	if ((lin & 0xfff) + r->size > 4096) {
		if (r->group)
			return without_groups(v, r);
		uint64_t end = lin + r->size - 1;

		if (write || r->size > 64 || (r->addr32 ? end >> 32 != 0 : (uint64_t)((int64_t)(end << 16) >> 16) != end))
			return do_by_interpreter(v, r);
		/* the instruction reads a copy that is misaligned in the same way */
		if (!mmu_read(v, lin, cpu->bounce + (lin & 63), r->size, r->acc))
			return r->aligned ? do_by_interpreter(v, r) : bt_raise(v);
		cpu->s0 = (uint64_t)(cpu->bounce + (lin & 63));
		return bt_host(bt, r->resume);
	}
again:
	marks = atomic_load(&bt->marks);
	if (!mmu_translate(v, lin, r->acc, &p))
		return r->group ? without_groups(v, r) : r->aligned ? do_by_interpreter(v, r) : bt_raise(v);
	off = mem_offset(&v->vm->mem, p.gpa + (lin - p.gva));
	if (off == UINT64_MAX || !p.hva || (write && codemap_test(v->vm->codemap, off >> 12)))
		return r->group ? without_groups(v, r) : do_by_interpreter(v, r);
	tlb_fill(v, b->key, write, lin, v->vm->mem.ram_hva + off, p.global);
	big_fill(v, b->key, write, &p, lin, off);
	if (!r->inline_tlb) {
		if (r->windowed && (s->len || (b->key & BK_USER)) && bt_tune_moves(v, b, r))
			return NULL;
		site_fill(v, r, &p, lin, off);
	}
	atomic_signal_fence(memory_order_seq_cst);
	if (atomic_load(&bt->marks) != marks) {
		tlb_empty(cpu, bt_tlb_table(b->key, write) * BT_TLB_SIZE + (lin >> 12 & (BT_TLB_SIZE - 1)));
		tlb_empty(cpu, BT_BIG_ID + bt_tlb_table(b->key, write) * BT_BIG_SIZE + (lin >> BT_BIG_SHIFT & (BT_BIG_SIZE - 1)));
		if (!r->inline_tlb)
			site_empty(s);
		goto again;
	}
	cpu->s0 = (uint64_t)(v->vm->mem.ram_hva + off);
	return bt_host(bt, r->resume);
}
