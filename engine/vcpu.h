/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual processor: its architectural state, owned by the machine and borrowed by an execution path.
 *
 * Threads: each vCPU has one host thread; the state is that thread's. Others touch only what is marked [any]:
 * the request word (vcpu_request), the interrupt latches of the local APIC, and nmi_pending.
 *
 * A path's own per-vCPU tables live in the address range right behind the struct (vcpu_path_area): generated code
 * can reach both with one segment base.
 */
#ifndef STEELYARD_VCPU_H
#define STEELYARD_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/x86.h"

struct vm;
struct vec;
struct lapic;
struct exec_ops;

/* A segment register with its hidden part. attr: SA_*. limit: in bytes, already scaled by G. A null or unusable
 * segment has SA_P clear. In real and v86 mode base = sel << 4. */
struct x86_seg {
	uint16_t sel;
	uint16_t attr;
	uint32_t limit;
	uint64_t base;
};

struct x86_dtable {
	uint64_t base;
	uint16_t limit;
};

/* A guest fault or trap, as data (SDM 3A 6.15). */
struct x86_fault {
	uint8_t vector;
	bool has_error;
	bool soft;	   /* INT n, INT3, INTO: the return address is the next instruction, DPL of the gate is checked */
	bool trap;	   /* #DB after the instruction: RIP has been advanced already */
	uint32_t error;
	uint64_t addr;	   /* #PF: the linear address for CR2; #DB: the bits to set in DR6 */
};

/* XSAVE area, standard (non-compacted) format: legacy region, header, then components at the host's CPUID 0DH
 * offsets. Large enough for AVX-512 and PKRU. */
#define XSAVE_AREA_BYTES 4096

struct x86_regs {
	uint64_t gpr[16];   /* enum x86_gpr; in 16/32-bit code only the low half is meaningful */
	uint64_t rip;	    /* offset in CS (not the linear address) */
	uint64_t rflags;    /* the full register; bit 1 always set */
	struct x86_seg seg[SEG_COUNT];
	struct x86_seg ldtr, tr;
	struct x86_dtable gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4;
	uint64_t xcr0;
	uint64_t efer;
	uint64_t dr[8];	    /* 4 and 5 unused */
	uint64_t pdpte[4];  /* PAE paging: loaded by MOV CR3 and friends (SDM 3A 4.4.1) */
	/* MSRs that instructions use; the others are in struct vcpu's msr[] (engine/msr.h) */
	uint64_t star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux, pat;
	int64_t tsc_offset; /* guest TSC = host TSC + tsc_offset, when the machine's clock runs */
	uint8_t xsave[XSAVE_AREA_BYTES] __attribute__((aligned(64)));
};

/* An event whose delivery a path had begun when the vCPU left it: it comes before the next instruction, on whatever path.
 * The local APIC has been acknowledged already, CR2 and DR6 have been set. */
enum inject_kind { INJECT_NONE, INJECT_INTERRUPT, INJECT_NMI, INJECT_EXCEPTION };
struct x86_inject {
	uint8_t kind; /* enum inject_kind */
	uint8_t vector;
	bool has_error;
	uint32_t error;
};

/* The paths; engine/exec.h has their table. */
enum path_id { PATH_INTERP, PATH_BT, PATH_KVM, PATH_HYBRID, PATH_COUNT };

/* vcpu->request bits */
#define REQ_EXIT (1u << 0)  /* leave ops->run() with EXIT_KICK: pause, stop, path switch */
#define REQ_EVENT (1u << 1) /* an interrupt, NMI, INIT or SIPI may be pending: look */
#define REQ_FLUSH (1u << 2) /* flush this vCPU's translations (remote request) */
#define REQ_LOOK (1u << 3)  /* bt: back to the path that it is the base of, with EXIT_KICK; that one consumes it */

enum tlb_flush { TLB_FLUSH_PAGE, TLB_FLUSH_LOCAL /* keeps global pages */, TLB_FLUSH_ALL };

enum vcpu_run_state {
	VCPU_RUNNABLE,
	VCPU_HALTED,	/* HLT: wakes on an interrupt */
	VCPU_WAIT_SIPI, /* an application processor after INIT */
};

/* Counters: one row each; printed by --stats, used by eval. All are counts since start. */
/* Where a vCPU's thread is, for `run --sample`: a row is a kind of code, and a counter of the CPU time (ns) that samples found there.
 * Those up to "jump" are kinds of translated code, told by its marks; C code says itself where it is (vcpu_doing). */
#define VCPU_SAMPLES(X)                                                              \
	X(copy, COPY, "guest instructions that run as they are")                     \
	X(check, CHECK, "checks in front of memory accesses")                        \
	X(flags, FLAGS, "saving and loading arithmetic flags")                       \
	X(spill, SPILL, "loading and storing R14 and R15")                           \
	X(jump, JUMP, "looking up jumps, links between blocks")                      \
	X(fill, FILL, "windows filled, page tables walked, TLBs flushed")            \
	X(dispatch, DISPATCH, "into and out of translated code, blocks looked up")   \
	X(translate, TRANSLATE, "translating, and making translations invalid")      \
	X(interp, INTERP, "the interpreter's functions, instructions written anew")  \
	X(device, DEVICE, "devices, on the vCPU's thread")                           \
	X(kernel, KERNEL, "system calls of the host")                                \
	X(copy_kernel, COPY_KERNEL, "as copy, of guest code that is not user code")
enum vcpu_sample {
#define X(name, NAME, text) SAMPLE_##NAME,
	VCPU_SAMPLES(X)
#undef X
	SAMPLE_KINDS
};

#define VCPU_COUNTERS(X)                                               \
	X(insns_interp, "instructions executed by the interpreter")    \
	X(interrupts, "external interrupts delivered")                 \
	X(exceptions, "exceptions delivered")                          \
	X(io_reads, "port reads")                                      \
	X(io_writes, "port writes")                                    \
	X(mmio_reads, "MMIO reads")                                    \
	X(mmio_writes, "MMIO writes")                                  \
	X(halts, "HLT waits")                                          \
	X(kicks, "kicks received")                                     \
	X(tlb_fills, "page-table walks")                               \
	X(tlb_flushes, "TLB flushes")                                  \
	X(bt_blocks, "blocks translated")                              \
	X(bt_block_insns, "guest instructions translated")             \
	X(bt_code_bytes, "bytes of host code emitted")                 \
	X(bt_cold, "instructions interpreted because their block is cold") \
	X(bt_lookups, "block lookups by the dispatcher")               \
	X(bt_indirect_misses, "indirect-branch cache misses")          \
	X(bt_callouts, "single instructions handed to the interpreter")\
	X(bt_site_fills, "memory-site windows filled")                 \
	X(bt_slow_access, "memory accesses done by a helper")          \
	X(bt_smc, "self-modifying-code invalidations")                 \
	X(bt_cache_flushes, "code-cache flushes")                      \
	X(bt_faults, "guest faults raised in translated code")         \
	X(kvm_exits, "returns from KVM_RUN")                           \
	X(hybrid_stays, "stays of 64-bit ring 3 outside of bt")        \
	X(hybrid_inside_us, "microseconds in them")                    \
	X(hybrid_fills, "page faults answered in them")                \
	X(hybrid_resets, "times that the hidden page tables began anew") \
	X(hybrid_refused, "stays that the vCPU's state did not allow") \
	X(hybrid_requests, "stays ended by an interrupt or a request") \
	X(hybrid_syscalls, "stays ended by SYSCALL")                   \
	X(hybrid_faults, "stays ended by a page fault of the guest's") \
	X(hybrid_exceptions, "stays ended by another exception")       \
	X(hybrid_traps, "stays ended by a single step")                \
	X(hybrid_code, "stays ended by code that may not run directly") \
	X(hybrid_stores, "stays ended by a store to a code page")      \
	X(hybrid_broken, "stays that the host broke off") \
	X(sample_copy, "sampled ns in copied guest code")              \
	X(sample_check, "sampled ns in memory checks")                 \
	X(sample_flags, "sampled ns saving and loading flags")         \
	X(sample_spill, "sampled ns around spilled registers")         \
	X(sample_jump, "sampled ns looking up jumps")                  \
	X(sample_fill, "sampled ns filling windows, walking tables")   \
	X(sample_dispatch, "sampled ns in the dispatcher")             \
	X(sample_translate, "sampled ns translating")                  \
	X(sample_interp, "sampled ns in the interpreter's functions")  \
	X(sample_device, "sampled ns in devices")                      \
	X(sample_kernel, "sampled ns in system calls")                 \
	X(sample_copy_kernel, "sampled ns in copied guest kernel code")

struct vcpu_counters {
#define X(name, text) uint64_t name;
	VCPU_COUNTERS(X)
#undef X
};

#define VCPU_ROWS 2048

struct vcpu {
	struct x86_regs regs;	     /* first: generated code addresses it at small offsets */

	_Atomic uint32_t request;    /* [any] REQ_*; set by vcpu_kick() */
	_Atomic bool nmi_pending;    /* [any] */
	bool nmi_blocked;	     /* until IRET */
	bool int_shadow;	     /* MOV SS / STI: no interrupt before the next instruction */
	struct x86_inject inject;    /* see there */
	bool in_guest;		     /* the owner thread is inside ops->run() */
	uint8_t doing;		     /* enum vcpu_sample: what the owner's C code does; its signal handler reads it */
	uint64_t sampled_ns;	     /* CPU time of the thread at the last sample */
	enum vcpu_run_state run_state;
	struct x86_fault fault;	     /* scratch: set by whoever returns "guest fault" */
	/* an exception whose delivery was begun, for double-fault detection (SDM 3A table 6-5) */
	bool delivering;
	uint8_t delivering_vector;

	struct vm *vm;
	unsigned id;		     /* 0-based; also the initial APIC ID */
	struct lapic *lapic;
	const struct exec_ops *ops;  /* the path that runs this vCPU now */
	void *path[PATH_COUNT];	     /* the paths' per-vCPU objects */
	/* told of every TLB flush (NULL: nobody caches translations but the soft TLB): the path's own caches follow */
	void (*tlb_flushed)(struct vcpu *v, enum tlb_flush kind, uint64_t lin);
	/* told when IRET, SYSRET or SYSEXIT has entered CPL 3; vector state may be live. NULL: nobody asks. Owner thread */
	void (*user_entered)(struct vcpu *v);
	volatile uint8_t *exit_now;  /* the translator's signal handler sets it: KVM's immediate_exit. NULL: none */
	struct mmu *mmu;	     /* soft TLB of translator/mmu.h, shared by bt and interp; NULL on other paths */
	struct vec *vec;	     /* translator/vec.h: stubs that run vector instructions; made at first use */
	/* The translator keeps x87/SSE/AVX state in the host's registers between callouts: true means regs.xsave is stale.
	 * Whoever reads or writes regs.xsave, or calls code that may use vector registers (libc, devices), first calls
	 * vcpu_vec_sync(). */
	bool vec_live;
	void (*vec_save)(struct vcpu *v);
	struct vcpu_counters count;
	uint64_t *msr;		     /* rows of engine/msr.c that have no field in regs */
	uint64_t insn_clock;	     /* instructions retired where a path counts them */

	pthread_t thread;
	bool thread_started;
	int tid;		     /* kernel thread id for tgkill, 0 before the thread runs */
	pthread_mutex_t wait_lock;   /* leaf lock: guards the sleep of a halted vCPU */
	pthread_cond_t wait_cond;
	_Atomic bool sleeping;	     /* [any] the owner sleeps on wait_cond, or is about to */
	uint64_t pause_tsc;	     /* host TSC of the last PAUSE, and of the first of those close together: vcpu_pause */
	uint64_t spin_tsc;
	uint64_t poll_ns;	     /* how long the next HLT looks for its end before it sleeps: engine/run.c */

	/* Instructions begun, by row of the paths' instruction table (translator/rows.h), where cfg.count_rows asks for it.
	 * Last, so that its pages stay untouched, and cost no memory, where it does not. */
	uint64_t row_count[VCPU_ROWS];
};

/* Says what the calling vCPU thread does from here on; returns what it did, for the caller to say again behind it. */
static inline uint8_t vcpu_doing(struct vcpu *v, uint8_t what)
{
	uint8_t was = v->doing;

	v->doing = what;
	return was;
}

/* Bytes of address space (lazily committed) behind struct vcpu for the path. */
#define VCPU_PATH_AREA_OFFSET 65536
#define VCPU_PATH_AREA_BYTES (256ull << 20)
static inline void *vcpu_path_area(struct vcpu *v)
{
	return (char *)v + VCPU_PATH_AREA_OFFSET;
}
_Static_assert(sizeof(struct vcpu) <= VCPU_PATH_AREA_OFFSET, "struct vcpu must fit before the path area");

static inline unsigned vcpu_cpl(const struct vcpu *v)
{
	/* CPL is the DPL of SS, as VMX and SVM keep it (SDM 3C 24.4.1); real mode 0, v86 mode 3. */
	return (v->regs.seg[SEG_SS].attr & SA_DPL) >> SA_DPL_SHIFT;
}
static inline bool vcpu_long_mode(const struct vcpu *v)
{
	return (v->regs.efer & EFER_LMA) != 0;
}
static inline bool vcpu_code64(const struct vcpu *v)
{
	return vcpu_long_mode(v) && (v->regs.seg[SEG_CS].attr & SA_L);
}
static inline bool vcpu_real_mode(const struct vcpu *v)
{
	return !(v->regs.cr0 & CR0_PE);
}
static inline bool vcpu_v86(const struct vcpu *v)
{
	return (v->regs.rflags & FL_VM) != 0;
}
/* Default operand/address size of the code segment in bits: 16, 32 or 64. */
static inline unsigned vcpu_code_bits(const struct vcpu *v)
{
	return vcpu_code64(v) ? 64 : (v->regs.seg[SEG_CS].attr & SA_DB) ? 32 : 16;
}

static inline void vcpu_vec_sync(struct vcpu *v)
{
	if (__builtin_expect(v->vec_live, 0))
		v->vec_save(v);
}

/* Allocates a vCPU (zeroed, 64-byte aligned, path area behind it). NULL when the host has no address space. */
struct vcpu *vcpu_alloc(struct vm *vm, unsigned id);
void vcpu_free(struct vcpu *v);

/* Power-on (RESET) or INIT state (SDM 3A table 9-1). INIT keeps the x87/SSE state, MSRs, CR0.CD/NW and TSC. */
void vcpu_reset(struct vcpu *v, bool init);

/* [any] Sets request bits and makes the vCPU notice: out of ops->run() via ops->kick, or out of its HLT sleep.
 * Async-signal-safe when the vCPU is not halted. */
void vcpu_kick(struct vcpu *v, uint32_t req);

/* The guest executed PAUSE: a loop of them waits for another vCPU, which may be waiting for this very host CPU. Owner
 * thread. */
void vcpu_pause(struct vcpu *v);

/* Is something pending that a vCPU with this state would take? (NMI, or an interrupt with IF set and no shadow;
 * INIT/SIPI are requests.) Owner thread. */
bool vcpu_has_event(struct vcpu *v);
/* Acknowledges the highest-priority maskable interrupt (local APIC first, then ExtINT from the 8259) and returns
 * its vector, or -1 when it has gone away. Owner thread; the caller has checked IF and the shadow. */
int vcpu_take_interrupt(struct vcpu *v);
/* Is there a maskable interrupt, whatever IF says? Owner thread. */
bool vcpu_interrupt_pending(struct vcpu *v);

/* Prints the registers of v as a person reads them, to FILE *f. */
void vcpu_dump(const struct vcpu *v, void *file);

#endif
