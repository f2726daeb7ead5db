/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks: where they are kept, found, linked and forgotten.
 *
 * A block is found by (guest-physical address, linear address, key). Blocks are only ever added until the cache is full;
 * then all go at once. An invalid block (its bytes were written) is taken out of hash, links, slots and jump caches; its
 * code stays until the flush, because another vCPU may still be inside it - it leaves at its next branch.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "translator/bt_int.h"

#define ARENA_CHUNK (1u << 20)

static void *map_lazy(uint64_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

enum status bt_cache_init(struct bt *bt, struct error *e)
{
	pthread_mutexattr_t attr;

	/* recursive: a page walk under the lock sets A bits, and a page table may share its page with code */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&bt->lock, &attr);
	bt->npages = (mem_span(&bt->vm->mem) + 4095) >> 12;
	bt->tctx = bt_tctx_new();
	bt->cache = map_lazy(BT_CACHE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
	bt->block = map_lazy((uint64_t)BT_MAX_BLOCKS * sizeof(*bt->block), PROT_READ | PROT_WRITE);
	bt->rec = map_lazy((uint64_t)BT_MAX_RECS * sizeof(*bt->rec), PROT_READ | PROT_WRITE);
	bt->link = map_lazy((uint64_t)BT_MAX_LINKS * sizeof(*bt->link), PROT_READ | PROT_WRITE);
	bt->page_writes = map_lazy(bt->npages, PROT_READ | PROT_WRITE);
	bt->page_heat = map_lazy(bt->npages, PROT_READ | PROT_WRITE);
	bt->page_history = map_lazy(bt->npages, PROT_READ | PROT_WRITE);
	bt->page_blocks = map_lazy(bt->npages * sizeof(*bt->page_blocks), PROT_READ | PROT_WRITE);
	if (bt->vm->cfg.count_blocks)
		bt->hot = map_lazy(BT_MAX_BLOCKS * sizeof(*bt->hot), PROT_READ | PROT_WRITE);
	if ((bt->vm->cfg.count_blocks && !bt->hot) || !bt->tctx || !bt->cache || !bt->block || !bt->rec || !bt->link || !bt->page_blocks || !bt->page_writes ||
	    !bt->page_heat || !bt->page_history)
		return error_errno(e, ST_NO_MEMORY, "cannot map the code cache (executable memory may be forbidden here: try "
						    "--path interp)");
	bt->cache_next = bt->cache + 16; /* offset 0 means "none" */
	bt->nblocks = bt->nrecs = bt->nlinks = 1;
	return ST_OK;
}

static void arena_free(struct bt *bt)
{
	while (bt->narena)
		munmap(bt->arena[--bt->narena], ARENA_CHUNK);
	bt->arena_p = bt->arena_end = NULL;
}

static void unmap(void *p, uint64_t bytes)
{
	if (p)
		munmap(p, bytes);
}

void bt_cache_fini(struct bt *bt)
{
	arena_free(bt);
	free(bt->arena);
	free(bt->tctx);
	unmap(bt->cache, BT_CACHE_BYTES);
	unmap(bt->block, (uint64_t)BT_MAX_BLOCKS * sizeof(*bt->block));
	unmap(bt->rec, (uint64_t)BT_MAX_RECS * sizeof(*bt->rec));
	unmap(bt->link, (uint64_t)BT_MAX_LINKS * sizeof(*bt->link));
	unmap(bt->hot, BT_MAX_BLOCKS * sizeof(*bt->hot));
	unmap(bt->page_writes, bt->npages);
	unmap(bt->page_heat, bt->npages);
	unmap(bt->page_history, bt->npages);
	unmap(bt->page_blocks, bt->npages * sizeof(*bt->page_blocks));
	pthread_mutex_destroy(&bt->lock);
}

void *bt_arena(struct bt *bt, uint64_t bytes)
{
	void *p;

	bytes = (bytes + 15) & ~15ull;
	if (bytes > (uint64_t)(bt->arena_end - bt->arena_p)) {
		if (bt->narena == bt->cap_arena) {
			unsigned cap = bt->cap_arena ? bt->cap_arena * 2 : 64;
			void **a = realloc(bt->arena, cap * sizeof(*a));

			if (!a)
				return NULL;
			bt->arena = a;
			bt->cap_arena = cap;
		}
		/* not malloc's: a flush returns it to the host */
		p = map_lazy(ARENA_CHUNK, PROT_READ | PROT_WRITE);
		if (!p)
			return NULL;
		bt->arena[bt->narena++] = p;
		bt->arena_p = p;
		bt->arena_end = bt->arena_p + ARENA_CHUNK;
	}
	p = bt->arena_p;
	bt->arena_p += bytes;
	return p;
}

/* ---- the key ---- */

static bool seg_flat4g(const struct x86_seg *s)
{
	return (s->attr & (SA_P | SA_S | SA_CODE | SA_DC | SA_RW)) == (SA_P | SA_S | SA_RW) && s->limit == 0xffffffffu;
}

bool bt_can_run(const struct vcpu *v)
{
	const struct x86_regs *r = &v->regs;
	const struct x86_seg *cs = &r->seg[SEG_CS];

	if (!(r->cr0 & CR0_PE) || (r->rflags & (FL_TF | FL_DF | FL_VM | FL_RF)) || (r->dr[7] & 0xff))
		return false;
	if ((r->cr0 & CR0_AM) && (r->rflags & FL_AC) && vcpu_cpl(v) == 3)
		return false;
	if (vcpu_code64(v))
		return true;
	if (!(cs->attr & SA_DB) || cs->base || cs->limit != 0xffffffffu)
		return false;
	for (unsigned s = SEG_ES; s <= SEG_DS; s++)
		if (s != SEG_CS && (r->seg[s].base || !seg_flat4g(&r->seg[s])))
			return false;
	return (r->seg[SEG_SS].attr & SA_DB) != 0;
}

uint32_t bt_key(const struct vcpu *v)
{
	const struct x86_regs *r = &v->regs;
	uint32_t k = 0;

	if (vcpu_code64(v))
		k |= BK_CODE64;
	else
		k |= (seg_flat4g(&r->seg[SEG_FS]) ? BK_FS_FLAT4G : 0) | (seg_flat4g(&r->seg[SEG_GS]) ? BK_GS_FLAT4G : 0);
	if (vcpu_cpl(v) == 3)
		k |= BK_USER;
	else if ((r->cr4 & CR4_SMAP) && (r->rflags & FL_AC))
		k |= BK_AC;
	if (!(k & BK_USER) || !(r->cr4 & CR4_TSD))
		k |= BK_TSC;
	if (!(r->cr0 & (CR0_EM | CR0_TS))) {
		k |= BK_FPU | BK_MMX;
		if (r->cr4 & CR4_OSFXSR)
			k |= BK_SSE;
		if ((r->cr4 & CR4_OSXSAVE) && (r->xcr0 & 6) == 6)
			k |= BK_AVX;
	}
	return k;
}

/* ---- hash and page lists ---- */

/* Blocks of one page lie side by side in the table, as they are looked up one after the other. */
static uint32_t hash_of(uint64_t gpa, uint64_t gva, uint32_t key)
{
	uint64_t h = (gpa >> 12 ^ (gva >> 12) * 0x9e3779b97f4a7c15ull ^ (uint64_t)key << 40) * 0xff51afd7ed558ccdull;

	return (uint32_t)(h >> (64 - BT_HASH_BITS)) ^ (gpa >> 5 & 127);
}

static struct bt_block *hash_find(struct bt *bt, struct vcpu *v, uint64_t gpa, uint64_t lin, uint32_t key, bool *global)
{
	uint32_t i = atomic_load_explicit(&bt->hash[hash_of(gpa, lin, key)], memory_order_acquire);

	for (; i; i = atomic_load_explicit(&bt->block[i].hash_next, memory_order_acquire)) {
		struct bt_block *b = &bt->block[i];
		struct mmu_page p;

		if (b->gpa != gpa || b->gva != lin || b->key != key || !b->valid)
			continue;
		if (!b->two_pages)
			return b;
		/* its last instruction continues in another page, which must still be the same one */
		uint64_t lin2 = (lin | 0xfff) + 1;

		if (!(key & BK_CODE64))
			lin2 = (uint32_t)lin2;
		if (!mmu_translate(v, lin2, ACC_EXEC | (key & BK_USER ? ACC_USER : 0), &p))
			return NULL;
		if (((p.gpa + (lin2 - p.gva)) & ~0xfffull) == b->gpa2_page) {
			*global &= p.global;
			return b;
		}
	}
	return NULL;
}

static uint32_t *page_list(struct bt *bt, uint64_t gpa)
{
	uint64_t off = mem_offset(&bt->vm->mem, gpa);

	return &bt->page_blocks[off >> 12];
}

static void insert(struct bt *bt, struct bt_block *b)
{
	uint32_t idx = (uint32_t)(b - bt->block), *pl = page_list(bt, b->gpa);
	_Atomic uint32_t *h = &bt->hash[hash_of(b->gpa, b->gva, b->key)];

	b->page_next[0] = *pl;
	*pl = idx;
	bt->page_writes[mem_offset(&bt->vm->mem, b->gpa) >> 12] = 0;
	if (b->gpa2_page != UINT64_MAX) {
		pl = page_list(bt, b->gpa2_page);
		b->page_next[1] = *pl;
		*pl = idx;
	}
	b->valid = true;
	b->hash_next = *h;
	atomic_store_explicit(h, idx, memory_order_release);
}

struct bt_block *bt_block_of_pc(struct bt *bt, uint32_t off)
{
	uint32_t lo = 1, hi = bt->nblocks;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (bt->block[mid].host <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 1 && off < bt->block[lo - 1].host_end ? &bt->block[lo - 1] : NULL;
}

static bool canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

struct bt_block *bt_find(struct vcpu *v, uint32_t key, bool cold, enum bt_miss *miss, bool *global)
{
	struct bt *bt = bt_cpu(v)->bt;
	uint64_t lin = v->regs.rip;
	struct bt_block *b;
	struct mmu_page p;
	uint64_t gpa;
	bool step;

	*miss = BT_FAULT;
	v->count.bt_lookups++;
	if (!(key & BK_CODE64)) {
		lin = (uint32_t)lin;
	} else if (!canonical(lin)) {
		fault_gp0(v);
		return NULL;
	}
	if (!mmu_translate(v, lin, ACC_EXEC | (key & BK_USER ? ACC_USER : 0), &p))
		return NULL;
	gpa = p.gpa + (lin - p.gva);
	*global = p.global;
	b = hash_find(bt, v, gpa, lin, key, global);
	if (b)
		return b;
	if (cold && p.hva && bt_is_cold(bt, v, gpa)) {
		*miss = BT_COLD;
		bt_cpu(v)->cold_page = p.hva;
		return NULL;
	}
	for (;;) {
		bool full = false;

		pthread_mutex_lock(&bt->lock);
		*global = p.global;
		b = hash_find(bt, v, gpa, lin, key, global); /* another vCPU may have been faster */
		if (!b) {
			uint8_t was = vcpu_doing(v, SAMPLE_TRANSLATE);

			b = bt_translate(bt, v, lin, gpa, key, &step);
			v->doing = was;
			if (b)
				insert(bt, b);
			else
				full = !step;
		}
		pthread_mutex_unlock(&bt->lock);
		if (!full)
			break;
		bt_flush_cache(v);
	}
	*miss = BT_STEP;
	if (b && b->two_pages)
		*global = false;
	return b;
}

void *bt_find_host(struct vcpu *v, uint32_t key, enum bt_miss *miss)
{
	struct bt_cpu *cpu = bt_cpu(v);
	uint64_t lin = v->regs.rip;
	struct bt_block *b;
	bool global;

	if (cpu->jc_key[bt_jc_class(key)] == key && cpu->jc[bt_jc_class(key)].lin[lin & (BT_JC_SIZE - 1)] == lin)
		return (void *)cpu->jc[bt_jc_class(key)].host[lin & (BT_JC_SIZE - 1)];
	if (cpu->jc_key[bt_jc_class(key)] != key)
		bt_jc_switch(v, key);
	b = bt_find(v, key, true, miss, &global);
	if (!b)
		return NULL;
	bt_jc_add(v, lin, key, b, global);
	return bt_host(cpu->bt, b->host_mem);
}

/* ---- links ---- */

static void patch_rel32(struct bt *bt, uint32_t at, uint32_t to)
{
	_Atomic int32_t *p = bt_host(bt, at);

	atomic_store_explicit(p, (int32_t)(to - (at + 4)), memory_order_release);
}

static void link_remove(struct bt *bt, struct bt_link *l)
{
	uint32_t id = (uint32_t)(l - bt->link), *p;

	if (!l->to)
		return;
	for (p = &bt->block[l->to].links_in; *p; p = &bt->link[*p].next_in) {
		if (*p == id) {
			*p = l->next_in;
			break;
		}
	}
	l->to = 0;
	if (l->patch)
		patch_rel32(bt, l->patch, l->patch_stub);
	for (unsigned n = 0; n < bt->vm->ncpus; n++)
		bt_slots(bt->vm->vcpu[n])[l->slot] = (uint64_t)bt_host(bt, l->stub);
}

void bt_link_to(struct vcpu *v, struct bt_link *l, struct bt_block *b, bool global)
{
	struct bt *bt = bt_cpu(v)->bt;
	uint32_t idx = (uint32_t)(b - bt->block), to = l->fl_mem ? b->host_mem : b->host;

	pthread_mutex_lock(&bt->lock);
	if (b->valid) {
		if (l->to != idx) {
			link_remove(bt, l);
			l->to = idx;
			l->next_in = b->links_in;
			b->links_in = (uint32_t)(l - bt->link);
		}
		if (l->patch && b->gpa2_page == UINT64_MAX)
			patch_rel32(bt, l->patch, to);
		else /* the mapping of another page may change: the slot is forgotten with the TLB */
			bt_slot_set(v, l, bt_host(bt, to), global);
	}
	pthread_mutex_unlock(&bt->lock);
}

/* ---- invalidation ---- */

static void invalidate(struct bt *bt, struct vcpu *self, struct bt_block *b)
{
	uint32_t idx = (uint32_t)(b - bt->block);
	_Atomic uint32_t *p = &bt->hash[hash_of(b->gpa, b->gva, b->key)];

	b->valid = false;
	bt_forget_sites_of(bt, self, b);
	for (; *p; p = &bt->block[*p].hash_next) {
		if (*p == idx) {
			*p = b->hash_next;
			break;
		}
	}
	while (b->links_in)
		link_remove(bt, &bt->link[b->links_in]);
	for (unsigned n = 0; n < bt->vm->ncpus; n++) {
		uint64_t *lin = &bt_cpu(bt->vm->vcpu[n])->jc[bt_jc_class(b->key)].lin[b->gva & (BT_JC_SIZE - 1)];

		if (*lin == b->gva)
			*lin = ~b->gva;
	}
}

void bt_retranslate(struct bt *bt, struct vcpu *v, struct bt_block *b)
{
	pthread_mutex_lock(&bt->lock);
	if (b->valid)
		invalidate(bt, v, b);
	pthread_mutex_unlock(&bt->lock);
}

/* Blocks of one page that overlap [gpa, gpa + len); true: blocks are left. */
static bool invalidate_page(struct bt *bt, struct vcpu *v, uint64_t page, uint64_t gpa, uint64_t len, struct bt_dropped *dropped)
{
	uint32_t *p = &bt->page_blocks[page];

	while (*p) {
		struct bt_block *b = &bt->block[*p];
		unsigned second = mem_ram_offset(&bt->vm->mem, b->gpa) >> 12 != page;
		uint64_t first_len = 4096 - (b->gpa & 0xfff);
		uint64_t from = second ? b->gpa2_page : b->gpa;
		uint64_t n = second ? b->guest_len - first_len : b->gpa2_page != UINT64_MAX ? first_len : b->guest_len;
		uint32_t next = b->page_next[second];

		if (b->valid && from < gpa + len && gpa < from + n) {
			bt_history_drop(bt, b, dropped);
			invalidate(bt, v, b);
		}
		if (!b->valid) {
			*p = next;
			continue;
		}
		p = &b->page_next[second];
	}
	return bt->page_blocks[page] != 0;
}

void bt_written(void *ctx, struct vcpu *v, uint64_t off, uint64_t len)
{
	struct bt *bt = ctx;
	bool any = false;
	unsigned points;

	pthread_mutex_lock(&bt->lock);
	for (uint64_t page = off >> 12; page <= (off + len - 1) >> 12 && page < bt->npages; page++) {
		uint64_t gpa = mem_ram_gpa(&bt->vm->mem, page << 12);

		if (!codemap_test(bt->vm->codemap, page))
			continue;
		/* compare in guest-physical terms: RAM above the hole is shifted */
		uint64_t from = page == off >> 12 ? gpa | (off & 0xfff) : gpa;
		uint64_t to = page == (off + len - 1) >> 12 ? (gpa | ((off + len - 1) & 0xfff)) + 1 : gpa + 4096;

		struct bt_dropped dropped = {0};
		bool left = invalidate_page(bt, v, page, from, to - from, &dropped);

		if (v && dropped.blocks && bt_cpu(v)->code_page == bt->vm->mem.ram_hva + (page << 12) &&
		    bt->page_heat[page] < BT_HEAT_MAX)
			bt->page_heat[page]++;
		points = bt->page_writes[page] + (dropped.blocks ? BT_PAGE_HIT : BT_PAGE_MISS);
		bt->page_writes[page] = (uint8_t)(points > UINT8_MAX ? UINT8_MAX : points);
		if (left && points >= BT_PAGE_POINTS_MAX)
			left = invalidate_page(bt, v, page, gpa, 4096, &dropped);
		if (!left)
			codemap_clear(bt->vm->codemap, page);
		if (dropped.blocks)
			bt_history_learn(bt, v, page, &dropped);
		any |= dropped.blocks != 0;
	}
	pthread_mutex_unlock(&bt->lock);
	if (v && any)
		v->count.bt_smc++;
}

uint64_t bt_cache_used(struct bt *bt)
{
	uint64_t bytes;

	pthread_mutex_lock(&bt->lock);
	bytes = (uint64_t)(bt->cache_next - bt->cache);
	pthread_mutex_unlock(&bt->lock);
	return bytes;
}

/* The whole pages of the first n bytes at p are not needed any more. */
static void give_back(void *p, uint64_t n)
{
	madvise(p, (n + 4095) & ~4095ull, MADV_DONTNEED);
}

void bt_flush_cache(struct vcpu *v)
{
	struct bt *bt = bt_cpu(v)->bt;

	vcpu_vec_sync(v); /* C libraries may use vector registers */
	vm_stop_others(v);
	pthread_mutex_lock(&bt->lock);
	for (unsigned i = 0; i < 1u << BT_HASH_BITS; i++)
		bt->hash[i] = 0;
	madvise(bt->page_blocks, bt->npages * sizeof(*bt->page_blocks), MADV_DONTNEED);
	for (unsigned n = 0; n < bt->vm->ncpus; n++)
		if (bt_cpu(bt->vm->vcpu[n])->bt)
			bt_forget_all(bt->vm->vcpu[n]);
	for (unsigned n = 0; n < bt->vm->ncpus; n++) {
		madvise(bt_sites(bt->vm->vcpu[n]), (uint64_t)bt->nsites * sizeof(struct bt_site), MADV_DONTNEED);
		madvise(bt_slots(bt->vm->vcpu[n]), ((uint64_t)bt->nslots * 8 + 4095) & ~4095ull, MADV_DONTNEED);
	}
	arena_free(bt);
	for (uint32_t i = 1; bt->hot && i < bt->nblocks; i++)
		bt->hot[i] = 0;
	give_back(bt->cache, (uint64_t)(bt->cache_next - bt->cache));
	give_back(bt->block, bt->nblocks * sizeof(*bt->block));
	give_back(bt->rec, bt->nrecs * sizeof(*bt->rec));
	give_back(bt->link, bt->nlinks * sizeof(*bt->link));
	bt->cache_next = bt->cache + 16;
	bt->nblocks = bt->nrecs = bt->nlinks = 1;
	bt->nsites = bt->nslots = 0;
	bt->epoch++;
	pthread_mutex_unlock(&bt->lock);
	vm_resume_others(v);
	v->count.bt_cache_flushes++;
}
