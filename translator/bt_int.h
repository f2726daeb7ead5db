/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The translator's own structures, shared by the bt_*.c files and nobody else.
 *
 * Host registers while translated code runs:
 *   guest RAX..R13 (RSP included) are in the host's registers of the same name;
 *   guest R14 and R15 live in vcpu->regs.gpr[]; host R14 (S1) and R15 (S0) are scratch;
 *   GS base is the struct vcpu, with the path area (struct bt_cpu and its tables) behind it;
 *   arithmetic flags are in the host's flags ("HOST") or, between a check that destroyed them and the next use, in
 *   bt_cpu.fl ("MEM"); x87/SSE/AVX state is in the host's registers (vcpu->vec_live).
 *
 * No safepoints: a kick is a signal. Its handler finds the guest instruction that the host PC belongs to, takes the guest's
 * registers out of the signal frame as they were at the start of that instruction (every instruction's host code is written
 * so that it can be begun again up to its last step; the few others are single-stepped to their end) and leaves.
 *
 * Memory: each access instruction has a "site" per vCPU: a window of guest-linear addresses that is known to be RAM with the
 * right permissions, as {bias, limit, host address}. The inline check is add/cmp/jae/add. Windows are filled on a miss and
 * forgotten on TLB flushes; a window for writing never contains a page that holds translated code. Where windows would move too
 * often, an access looks in the inline TLB instead, which all share: user code begins with that (bt_tune.c).
 *
 * A block goes on behind conditional branches forward, whose targets are exits on its side. Blocks lie in one guest page (or begin
 * in one and end with an instruction that continues in the next). A direct jump
 * inside a page is patched to the target block; one that leaves the page goes through a per-vCPU link slot, because the
 * target's mapping can change under it: slots are forgotten on TLB flushes like windows.
 *
 * Threads: struct bt is shared by all vCPUs of a machine: bt->lock guards translation, hash insertion and links. Lookups
 * read the hash without it. struct bt_cpu belongs to its vCPU's thread.
 */
#ifndef STEELYARD_BT_INT_H
#define STEELYARD_BT_INT_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "engine/vcpu.h"
#include "engine/vm.h"
#include "translator/codemap.h"
#include "translator/emit.h"
#include "translator/insn.h"
#include "translator/insn_shape.h"
#include "translator/interp.h"
#include "translator/system.h"

/* ---- block key: what the translation of the same bytes depends on ---- */
#define BK_CODE64 (1u << 0)
#define BK_USER (1u << 1)   /* CPL 3 */
#define BK_FPU (1u << 2)    /* x87 may run: !EM, !TS */
#define BK_SSE (1u << 3)    /* and legacy SSE: OSFXSR */
#define BK_AVX (1u << 4)    /* and VEX vector instructions */
#define BK_MMX (1u << 5)
#define BK_FS_FLAT4G (1u << 6) /* 32-bit: FS is usable for any access at base + offset */
#define BK_GS_FLAT4G (1u << 7)
#define BK_AC (1u << 8)	    /* EFLAGS.AC counts (SMAP, supervisor) */

#define BK_TSC (1u << 10)   /* RDTSC is allowed */
#define BK_NOGROUP (1u << 9) /* every access checked by itself: where a group's check failed */

#define BT_CACHE_BYTES (96ull << 20)
#define BT_MAX_BLOCK_INSNS 64
#define BT_MAX_SIDE_EXITS 6
#define BT_HASH_BITS 17
#define BT_JC_SIZE 65536u
#define BT_MAX_SITES (1u << 20)
#define BT_MAX_SLOTS (1u << 19)
#define BT_MAX_RECS (1u << 21)
#define BT_MAX_LINKS (1u << 20)
#define BT_MAX_BLOCKS (1u << 19)

/* One memory-access instruction's window on one vCPU. */
struct bt_site {
	uint64_t bias;	/* host offset into the window = address expression + bias; constant addresses: unused */
	uint64_t limit; /* 0: empty; else the first offset that does not fit */
	uint64_t hva;	/* of the window's first byte, which is the access itself for constant addresses; then 0 when empty */
	uint32_t len;	/* window length in bytes (0 when empty) */
	uint8_t listed; /* bit k: in bt_cpu.sites[k] */
	bool is_const;	/* the address is known: no limit to check */
	uint16_t moves;	/* of the window, since */
	uint64_t gva;	/* of the window's first byte */
	uint64_t since;	/* host TSC */
	uint32_t next, prev; /* windows for writing: list of their region (BT_REGION_SHIFT), site + 1, 0 ends */
	uint32_t region;     /* + 1; 0: in no list */
	uint32_t misfits;    /* how often a group's range could not have one window */
};
_Static_assert(sizeof(struct bt_site) == 64, "one site, one cache line");

/* The inline soft TLB, for accesses whose window moves all the time: one table for each kind of access and privilege.
 * An empty entry's page has another index, so that no address can match it; zero is such a page but for the first entry. */
#define BT_TLB_BITS 13
#define BT_TLB_SIZE (1u << BT_TLB_BITS)
struct bt_tlb_entry {
	uint64_t page;	/* linear address of the 4 KiB page */
	uint8_t *hva;
};
/* The same for large mappings, by 2 MiB: asked when the other has not got an address. All of an entry's 2 MiB is RAM, and holds no
 * code when it is for writing. */
#define BT_BIG_SHIFT 21
#define BT_BIG_SIZE 256u
enum { BT_TLB_SUPER, BT_TLB_USER, BT_TLB_AC, BT_TLB_PRIVS };
/* After so many moves of a window it is asked whether it pays (bt_tune.c). In kernel code, where C makes the moves, it does not. In
 * user code it does when it serves so many executions between two moves; and it need not be looked at when they were so many cycles of
 * the host's TSC apart. Where trials are used up it does not when they were less than so many apart. */
#define BT_MOVES 256
#define BT_USER_MOVES 64
#define BT_MOVE_CYCLES 8000
#define BT_MOVE_CYCLES_MIN 800
#define BT_MOVE_PAYS 32
/* A page loses all its blocks and is data again when the writes to it since its last translation have so many points: one that
 * hits a block is worth sixty that do not, so that a program that writes code over code is through after a few. */
#define BT_PAGE_POINTS_MAX 64
#define BT_PAGE_HIT 60
#define BT_PAGE_MISS 1
/* A group whose range misfits this often goes to the translation without groups without asking, until the next flush. */
#define BT_MISFITS_MAX 8
#define BT_WILD_BITS 16
#define BT_STAGE_BITS 20
/* Each time that code writes into its own page's blocks, these stay cold four times longer, up to so often. */
#define BT_HEAT_MAX 3
/* Windows for writing stay inside one region of RAM, so that a page that becomes a code page finds those that cover it. */
#define BT_REGION_SHIFT 21
/* Pages that slots and jumps of this vCPU lead to, as a filter for INVLPG: by hash of the linear page. */
#define BT_EXEC_FILTER_BITS 14

/* The jump cache: where code at a linear address is, by the address's low 16 bits; one for each of kernel and user, 32- and
 * 64-bit code. All entries of one are for one key; when another key of the same class comes, it is emptied. An empty entry's
 * address has other low bits than its index. */
#define BT_JC_CLASSES 4
struct bt_jc {
	uint64_t lin[BT_JC_SIZE];
	uint64_t host[BT_JC_SIZE];
};

/* How often a block has run before it is translated (bt_cold.c). */
#define BT_COLD_BITS 18

/* Why bt_find has no block. */
enum bt_miss {
	BT_FAULT, /* the fetch faults: v->fault */
	BT_STEP,  /* nothing that could be translated: let the interpreter do the next instruction */
	BT_COLD,  /* not worth it yet: bt_run_cold, in bt_cpu.cold_page */
};

struct bt_list {
	uint32_t *id;
	unsigned n, cap;
};

#define BT_BIG_ID (2 * BT_TLB_PRIVS * BT_TLB_SIZE)

/* The head of the path area. Generated code reaches every field at GS:[VCPU_PATH_AREA_OFFSET + offset]. */
struct bt_cpu {
	struct vcpu *self;
	uint64_t host_rsp;
	uint64_t target;	/* where bt_resume jumps */
	uint64_t s0;		/* S0 at an exit, and to be loaded on resume */
	uint64_t s1;		/* S1 likewise */
	uint64_t tmp[4];
	uint8_t bounce[128] __attribute__((aligned(64))); /* the bytes of a read that crosses a page */
	uint64_t group[16];	/* host addresses of the running block's access groups */
	uint16_t fl;		/* arithmetic flags: AH of LAHF in the high byte, OF in bit 0 */
	/* bt->single, per run(): block entries until it returns; instructions begun in the block, and in its translation
	 * without groups (where one that had begun begins again) */
	uint32_t single_left, single_done, single_more;
	uint32_t arg;		/* SVC_* << 28 | id */
	void *exit_host;	/* bt_exit_host, flags in the host's */
	void *exit_mem;		/* bt_exit_mem, flags already in fl */
	void *refill;		/* bt_refill */
	struct bt_rec *recs;	/* bt->rec, bt->cache, vm->mem.ram_hva for generated code */
	uint8_t *cache, *ram;
	struct bt *bt;
	struct interp *interp;
	struct shapes *shapes;
	const uint8_t *cold_page; /* of regs.rip, at BT_COLD */
	const uint8_t *code_page; /* of the instruction that C code executes */
	enum exit_reason pending; /* valid when have_pending */
	bool have_pending;
	bool irq_waiting;	/* an interrupt waits for IF */
	bool host_fault;	/* v->fault was set by a signal in generated code: deliver it */
	void *altstack;
	timer_t sampler;	/* valid when has_sampler */
	bool has_sampler;
	uint32_t found;		/* the block that a kick found the thread in, for bt_tune_found; 0: none */
	uint64_t left_pc;	/* where a kick found the thread, for a sample that comes with it */
	char pending_text[120];
	_Atomic uint32_t barrier_want, barrier_done; /* bt_barrier */
	_Atomic bool live;		  /* a thread runs this vCPU on bt */
	struct bt_list sites[2];	  /* filled: [0] in pages of this address space, [1] in global pages */
	struct bt_list slots[2];
	struct bt_list jumps[2];
	pthread_spinlock_t regions_lock; /* leaf: region[] and the lists that it heads; the owner and bt_marked */
	uint32_t *region;		 /* first site + 1 of each region of RAM */
	uint64_t global_lowest;		 /* lowest linear address of a global window since the last full flush */
	uint64_t exec_filter[1u << (BT_EXEC_FILTER_BITS - 6)];
	/* filled TLB entries: table * BT_TLB_SIZE + index; those of big[] behind them: BT_BIG_ID + table * BT_BIG_SIZE + index */
	struct bt_list tlbs[2];
	/* Entries for writing by hash of the RAM page that they were filled with last: index in the three tables + 1. Under
	 * regions_lock. */
	uint16_t tlb_of_page[BT_TLB_SIZE], tlb_next[BT_TLB_PRIVS * BT_TLB_SIZE];
	struct bt_tlb_entry tlb[2 * BT_TLB_PRIVS][BT_TLB_SIZE]; /* reads, then writes */
	struct bt_tlb_entry big[2 * BT_TLB_PRIVS][BT_BIG_SIZE];
	uint64_t big_written[BT_BIG_SIZE / 64]; /* by RAM offset, modulo: some entry for writing may cover it */
	uint8_t cold[1u << BT_COLD_BITS];
	uint32_t jc_key[BT_JC_CLASSES];	  /* the key that the entries of a class are for */
	struct bt_jc jc[BT_JC_CLASSES];
	uint64_t rest_since_ns, rest_used_ns; /* bt_rest.c: since when, and the process's CPU time then */
};
/* the tables behind it */
#define BT_SITES_OFFSET (VCPU_PATH_AREA_OFFSET + (8ull << 20))
#define BT_SLOTS_OFFSET (BT_SITES_OFFSET + (uint64_t)BT_MAX_SITES * sizeof(struct bt_site))
_Static_assert(BT_SLOTS_OFFSET + BT_MAX_SLOTS * 8 <= VCPU_PATH_AREA_OFFSET + VCPU_PATH_AREA_BYTES, "path area");
_Static_assert(sizeof(struct bt_cpu) <= (8 << 20), "bt_cpu fits");

static inline struct bt_cpu *bt_cpu(struct vcpu *v)
{
	return vcpu_path_area(v);
}
static inline struct bt_site *bt_sites(struct vcpu *v)
{
	return (struct bt_site *)((char *)v + BT_SITES_OFFSET);
}
static inline uint64_t *bt_slots(struct vcpu *v)
{
	return (uint64_t *)((char *)v + BT_SLOTS_OFFSET);
}
#define GS_CPU(field) ((int32_t)(VCPU_PATH_AREA_OFFSET + offsetof(struct bt_cpu, field)))
#define GS_REGS(field) ((int32_t)(offsetof(struct vcpu, regs) + offsetof(struct x86_regs, field)))
#define GS_GPR(n) ((int32_t)(GS_REGS(gpr) + 8 * (n)))
#define GS_SITE(id, field) ((int32_t)(BT_SITES_OFFSET + (uint64_t)(id) * sizeof(struct bt_site) + offsetof(struct bt_site, field)))
#define GS_SLOT(id) ((int32_t)(BT_SLOTS_OFFSET + (uint64_t)(id) * 8))

/* ---- services: what generated code asks of C ---- */
enum bt_svc {
	SVC_INDIRECT, /* id: record of an indirect branch whose target is not in the jump cache */
	SVC_LINK,     /* id: link; its target becomes regs.rip */
	SVC_ACCESS,   /* id: record of a memory access whose window missed; S0 is the linear address unless it is constant */
	SVC_CALLOUT,  /* id: record with a decoded instruction: run it, go on behind it */
	SVC_END,      /* the same, but find the next block afresh */
	SVC_BOUNDARY, /* id: record; one block has run (bt->single): leave run() at the record's instruction */
};
#define SVC_ARG(kind, id) (((uint32_t)(kind) << 28) | (uint32_t)(id))

/* host PC -> guest instruction, per block: ordered by host_off; an entry holds up to the next one */
struct bt_mark {
	uint16_t host_off;
	uint16_t guest_off;
	uint8_t flags; /* MARK_* */
	uint8_t fix;   /* MARK_FIX: this host register's guest value is in S1 */
};
#define MARK_MEM (1u << 0)  /* flags are in fl */
#define MARK_STEP (1u << 1) /* past the last restartable point: single-step out of here */
#define MARK_FIX (1u << 2)
#define MARK_KIND_SHIFT 3   /* enum vcpu_sample: what kind of code this is, where vm_config.sample_hz asks for it */

struct bt_rec {
	uint32_t block;	   /* index */
	uint16_t guest_off;
	uint8_t insn_len;
	uint8_t acc;	   /* ACC_* */
	uint16_t size;	   /* of the access or group in bytes */
	uint32_t site;
	uint32_t resume;   /* code-cache offset: continue with S0 = host address, or behind a callout */
	uint32_t next;	   /* code-cache offset behind the instruction; 0: dispatch */
	bool is_const;
	bool inline_tlb;
	bool windowed;	   /* has a window that moves */
	bool group;
	bool aligned;	   /* may fault for its alignment or for a pending #MF, which come before #PF: the interpreter knows */
	bool addr32;	   /* 32-bit address arithmetic */
	bool fl_mem;	   /* flags are in fl at this point (else they are dead or were saved by the exit stub) */
	uint8_t seg;	   /* SEG_SS: a bad address is #SS, else #GP */
	int64_t disp;	   /* folded into the site's bias, or the constant linear address */
	struct insn *insn; /* callouts */
	uint64_t last;	   /* highest offset in a page at which the access still fits */
	int32_t table, big; /* GS offsets of the TLB tables that serve it */
	int32_t sp_add;	   /* indirect branches: see emit_jump_lookup */
	uint32_t link;	   /* groups: the way to the translation without groups */
};

struct bt_link {
	uint32_t from;	      /* block index */
	uint32_t patch;	      /* code-cache offset of the rel32; 0: the target is in another page, only the slot serves */
	uint32_t patch_stub;  /* where the rel32 points when it is not patched: a jump through the slot */
	uint32_t stub;	      /* what an empty slot points to: SVC_LINK */
	uint32_t slot;
	uint64_t target;      /* RIP */
	bool fl_mem;	      /* leaves with flags in fl */
	uint32_t next_in;     /* next link into the same block, 0 ends (id 0 is not used) */
	uint32_t to;	      /* block index it is linked to, 0: not (patched links only) */
};

struct bt_block {
	/* what a lookup reads, in one cache line */
	uint64_t gpa;	    /* of the first instruction */
	uint64_t gva;	    /* linear = RIP (flat code only) */
	uint32_t key;
	_Atomic uint32_t hash_next;
	uint32_t host_mem;  /* code-cache offset of the entry with flags in MEM */
	uint16_t guest_len;
	uint8_t two_pages;
	uint8_t stage;	    /* of its accesses when it was translated: bt_tune.c */
	_Atomic bool valid;
	bool counted;	    /* the first of its sites counts its executions */
	uint64_t gpa2_page; /* two_pages: physical page of the last instruction's tail; else UINT64_MAX */
	uint32_t host;	    /* entry with flags in HOST */
	uint32_t host_end;
	uint32_t nmarks;
	uint16_t ninsns;
	struct bt_mark *marks;
	uint32_t page_next[2]; /* per-page lists: first and second page */
	uint32_t links_in;
	uint32_t site0, nsites;
	uint32_t rec0; /* its first record */
} __attribute__((aligned(32)));

struct bt {
	struct vm *vm;
	struct tctx *tctx;	 /* of the translation that is being made */
	pthread_mutex_t lock;
	uint8_t *cache;		 /* BT_CACHE_BYTES, readable, writable, executable */
	uint8_t *cache_next;
	struct bt_block *block;	 /* [BT_MAX_BLOCKS], index 0 unused; ordered by host address */
	uint32_t nblocks;
	struct bt_rec *rec;
	uint32_t nrecs;
	struct bt_link *link;
	uint32_t nlinks;
	uint32_t nsites, nslots;
	_Atomic uint32_t hash[1u << BT_HASH_BITS];
	uint32_t *page_blocks;	 /* per RAM page: first block index */
	uint64_t npages;
	uint8_t *page_heat;	 /* code pages that modify themselves: bt_is_cold */
	uint8_t *page_history;	 /* enum bt_history of the code that was in each page */
	uint8_t *page_writes;	 /* points of writes to a code page since the last block was made from it */
	void **arena;		 /* malloc'ed chunks: decoded instructions and marks */
	unsigned narena, cap_arena;
	char *arena_p, *arena_end;
	bool own_codemap;	 /* this path made vm->codemap */
	bool avx, bmi2;		 /* the host has it */
	uint8_t ret_flags;	 /* bit k: code of jump-cache class k reads flags behind a CALL */
	uint8_t wild[1u << BT_WILD_BITS]; /* by hash of an instruction's address: its window jumps about, use the TLB */
	_Atomic uint8_t stage[1u << BT_STAGE_BITS]; /* by hash of a block's address: bt_tune.c */
	uint64_t *hot;		 /* [BT_MAX_BLOCKS], entries of blocks (bt_hot.c); NULL: not counted */
	uint32_t epoch;		 /* counts cache flushes: indices from before one mean nothing */
	_Atomic uint32_t marks;	 /* counts pages that became code pages */
	/* Lockstep (bt_lockstep.c): run() executes one block and returns at the entry of the next, which it reaches by links,
	 * slots and the jump cache as always; or earlier, where it would ask the dispatcher. It takes no interrupts: the driver
	 * does. Code that goes round a loop without passing a block's entry is not emitted while this is set. */
	bool single;
	uint32_t single_insns;	 /* instructions in a block at most; 0: as always */
};

/* bt_cache.c */
enum status bt_cache_init(struct bt *bt, struct error *e);
void bt_cache_fini(struct bt *bt);
void *bt_arena(struct bt *bt, uint64_t bytes);
/* Block for the current state of v and key (bt_key, or with BK_NOGROUP), translated when missing; cold: not before it has run
 * often enough. global: its pages are mapped global. NULL: *miss says why. */
struct bt_block *bt_find(struct vcpu *v, uint32_t key, bool cold, enum bt_miss *miss, bool *global);
/* Host address to run at regs.rip with flags in fl; the jump cache first. NULL as bt_find. */
void *bt_find_host(struct vcpu *v, uint32_t key, enum bt_miss *miss);
struct bt_block *bt_block_of_pc(struct bt *bt, uint32_t cache_off);
/* Forgets every translation. Owner thread of v, outside generated code; stops the other vCPUs for it. */
void bt_flush_cache(struct vcpu *v);
/* Bytes of code that there are. Any thread. */
uint64_t bt_cache_used(struct bt *bt);
/* bt_rest.c. v halts: a machine that rests forgets its translations. Owner thread of v, outside generated code. */
void bt_rest(struct vcpu *v);
void bt_written(void *bt, struct vcpu *v, uint64_t ram_off, uint64_t len); /* codemap callback */
/* Links l to b on v: patches the jump or fills v's slot. */
void bt_link_to(struct vcpu *v, struct bt_link *l, struct bt_block *b, bool global);
uint32_t bt_key(const struct vcpu *v);
/* Can this state run translated? (32- or 64-bit flat code, no single-stepping, DF clear, ...) */
bool bt_can_run(const struct vcpu *v);
static inline unsigned bt_jc_class(uint32_t key)
{
	return (key & BK_CODE64 ? 1 : 0) + (key & BK_USER ? 2 : 0);
}
static inline uint8_t *bt_wild(struct bt *bt, uint64_t gpa)
{
	return &bt->wild[(gpa ^ gpa >> BT_WILD_BITS) & ((1u << BT_WILD_BITS) - 1)];
}
static inline _Atomic uint8_t *bt_stage(struct bt *bt, uint64_t gpa)
{
	return &bt->stage[gpa * 0x9e3779b97f4a7c15ull >> (64 - BT_STAGE_BITS)];
}
static inline unsigned bt_tlb_table(uint32_t key, bool write)
{
	return (write ? BT_TLB_PRIVS : 0) + (key & BK_USER ? BT_TLB_USER : key & BK_AC ? BT_TLB_AC : BT_TLB_SUPER);
}
static inline void *bt_host(const struct bt *bt, uint32_t off)
{
	return bt->cache + off;
}

/* bt_trans.c: what bt->tctx points to. NULL: no memory. */
struct tctx *bt_tctx_new(void);
/* Translates at (lin, gpa). lock held. NULL: *step, or no room (flush and retry). */
struct bt_block *bt_translate(struct bt *bt, struct vcpu *v, uint64_t lin, uint64_t gpa, uint32_t key, bool *step);

bool bt_ends_block(const struct insn *i); /* bt_flags.c */
/* Does code at lin read arithmetic flags before it writes them, as far as can be seen? */
bool bt_flags_read_at(struct vcpu *v, uint32_t key, uint64_t lin);

/* bt_cold.c */
/* How often did translations of code run that the guest's own user code has overwritten since? */
enum bt_history {
	BT_HISTORY_NONE,  /* nothing was overwritten */
	BT_HISTORY_WATCH, /* not known yet, or neither of the others */
	BT_HISTORY_BRIEF, /* seldom: translating them did not pay */
	BT_HISTORY_LONG,  /* often: they might have been translated at once */
};
/* Blocks that a write has dropped; of these so many counted their executions, in all so many. */
struct bt_dropped {
	uint64_t blocks, counted, runs;
};
/* Should a block made from this page now count its executions? */
static inline bool bt_history_watched(const struct bt *bt, uint64_t page)
{
	return page < bt->npages && bt->page_history[page] != BT_HISTORY_NONE;
}
/* b is about to be dropped by a write. lock held. */
void bt_history_drop(struct bt *bt, const struct bt_block *b, struct bt_dropped *d);
/* A write by v, or by a device, has dropped these of the page's blocks. lock held. */
void bt_history_learn(struct bt *bt, const struct vcpu *v, uint64_t page, const struct bt_dropped *d);
bool bt_is_cold(struct bt *bt, struct vcpu *v, uint64_t gpa);
/* Interprets the one instruction at regs.rip, which is b's and needs no watching (TF, RF, breakpoints), as interp_step. */
enum xr bt_step_in(struct vcpu *v, const struct bt_block *b);
/* Interprets from regs.rip on. The host address of translated code that has been reached, or NULL: dispatch at regs.rip. */
void *bt_run_cold(struct vcpu *v, uint32_t key);

/* bt_signal.c: the mark that a host PC in generated code belongs to, or NULL; the vCPU of the calling thread, or NULL. */
const struct bt_mark *bt_mark_of_pc(struct vcpu *v, uint64_t pc, const struct bt_block **block);
struct vcpu *bt_thread_vcpu(void);

/* bt_sample.c: for the vCPU's thread, with signals installed; nothing where cfg.sample_hz is 0. */
enum status bt_sample_start(struct vcpu *v, struct error *e);
void bt_sample_stop(struct vcpu *v);

/* bt_mem.c */
enum status bt_lists_init(struct bt_cpu *cpu, uint64_t span, struct error *e);
void bt_lists_fini(struct bt_cpu *cpu, uint64_t span);
void bt_jc_add(struct vcpu *v, uint64_t lin, uint32_t key, const struct bt_block *b, bool global);
void bt_jc_switch(struct vcpu *v, uint32_t key);
void bt_slot_set(struct vcpu *v, const struct bt_link *link, const void *host, bool global); /* lock held */
void bt_tlb_flushed(struct vcpu *v, enum tlb_flush kind, uint64_t lin); /* vcpu->tlb_flushed */
void bt_retranslate(struct bt *bt, struct vcpu *v, struct bt_block *b); /* forgets one block */
/* The windows of instructions that no longer exist. self: the calling vCPU, or NULL. */
void bt_forget_sites_of(struct bt *bt, struct vcpu *self, const struct bt_block *b);
void bt_forget_all(struct vcpu *v); /* windows, slots, jumps; slots become 0 */
void bt_marked(void *bt, struct vcpu *v, uint64_t page); /* codemap callback */
void bt_marked_all(void *bt);				 /* the same */
/* SVC_ACCESS. Returns the host address to go on at, or NULL to dispatch at regs.rip. */
void *bt_access(struct vcpu *v, struct bt_rec *r);

/* bt_tune.c: windows, or the inline TLB, for user code */
static inline bool bt_in_trial(const struct bt_block *b)
{
	return b->stage & 1;
}
/* In a signal's handler: the thread was in b. Behind it, when cpu->found says so. */
void bt_found_in(struct vcpu *v, const struct bt_block *b);
void bt_tune_found(struct vcpu *v);
/* The window of r, in b, is about to move. true: b has gone, to be translated in another way. */
bool bt_tune_moves(struct vcpu *v, struct bt_block *b, const struct bt_rec *r);

/* bt_run.c */
void *bt_raise(struct vcpu *v);		    /* delivers v->fault; NULL */
void *bt_pending(struct vcpu *v, enum xr x); /* XR_HLT, XR_SHUTDOWN, XR_CANNOT: leave run() with it; NULL */
static inline uint64_t bt_rip_behind(const struct bt *bt, const struct bt_rec *r)
{
	const struct bt_block *b = &bt->block[r->block];
	uint64_t rip = b->gva + r->guest_off + r->insn_len;

	return b->key & BK_CODE64 ? rip : (uint32_t)rip;
}
uint64_t bt_service(struct vcpu *v, uint32_t arg);
/* Not C functions: the guest's registers and flags are live in them, so no coverage counter may be. */
#define BT_NAKED __attribute__((naked, used, no_profile_instrument_function))
void bt_enter(void *host);
void bt_leave(void);
void bt_exit_host(void);
void bt_exit_mem(void);
void bt_refill(void); /* bt_refill.c */
extern const char bt_refill_saved[], bt_refill_slow[], bt_refill_list[], bt_refill_listed[];
extern const char bt_resume_from[], bt_resume_to[];

static inline void bt_flags_pull(struct vcpu *v)
{
	uint16_t fl = bt_cpu(v)->fl;

	v->regs.rflags = (v->regs.rflags & ~(uint64_t)FL_ARITH) | ((fl >> 8) & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) |
			 ((fl & 1u) << 11);
}
static inline void bt_flags_push(struct vcpu *v)
{
	uint32_t f = (uint32_t)v->regs.rflags;

	bt_cpu(v)->fl = (uint16_t)(((f & 0xd5) | 2) << 8 | ((f >> 11) & 1));
}

/* bt_signal.c */
/* Every other vCPU of the machine has passed an instruction boundary and drained its stores when this returns. */
void bt_barrier(struct vcpu *self);
void bt_signals_install(void);
enum status bt_signals_thread(struct vcpu *v, struct error *e);
void bt_signals_thread_end(struct vcpu *v);
#define BT_KICK_SIGNAL SIGUSR1

#endif
