/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The direct executor's own structures, shared by the ring3_*.c files.
 *
 * Each vCPU has a KVM machine of its own with one vCPU in it, so that what one of them forgets costs the others nothing.
 * Its memory: the guest's RAM where the guest has it, and behind that one slot with the hidden pages: page tables that we
 * write, and a little supervisor code at the upper end of the linear addresses, which every event of ring 3 ends in.
 *
 * All of it belongs to the vCPU's thread.
 */
#ifndef STEELYARD_RING3_INT_H
#define STEELYARD_RING3_INT_H

#include <linux/kvm.h>

#include "engine/vm.h"
#include "fastpath/kvm_int.h"
#include "fastpath/ring3.h"

/* The hidden pages, by number. From R3_FREE on they are page tables, each used once between two resets. */
enum { R3_PDPT, R3_PD, R3_PT, R3_IDT, R3_GDT, R3_STUBS, R3_STACK, R3_LANDING, R3_FREE, R3_PAGES = 2048 };

/* Linear address of hidden page 0; the root's last entry leads there. */
#define R3_BASE 0xffffff8000000000ull
#define R3_AT(page) (R3_BASE + (uint64_t)(page)*4096)
#define R3_STUB_BYTES 4
#define R3_PORT_LANDING 0xff /* a processor on which SYSCALL enters ring 0 speaks here */

/* What ring 3 sees in CS and SS. A KVM made by software loads the host's own. */
#define R3_CS 0x33
#define R3_CS32 0x23
#define R3_SS 0x2b

#define R3_SPACES 8

struct ring3_space {
	uint64_t cr3; /* the guest's */
	unsigned root; /* number of the hidden page; 0: none */
	uint64_t used;
	uint64_t flushes; /* vcpu->count.tlb_flushes when it was last compared with the guest's tables */
	uint32_t epoch;	  /* code_epoch, the same */
};

struct ring3_map {
	struct vcpu *v;
	uint8_t *mem;  /* the hidden pages */
	uint64_t gpa;  /* of page 0 */
	unsigned next; /* first page never used since the last reset */
	unsigned pass; /* pages from here on were taken by the comparison that is under way */
	uint64_t clock;
	struct ring3_space space[R3_SPACES], *cur;
	uint32_t *scan; /* one for each page of RAM: what the bytes of one generation were found to be (ring3_map.c) */
	bool full;	/* there was no page left: ring3_map_forget is due */
};

struct ring3 {
	struct vcpu *v;
	const struct kvm_sys *sys;
	int dev, vm, fd;
	struct kvm_run *run;
	size_t run_bytes;
	struct ring3_map map;
	struct kvm_sregs user; /* segments and control registers of ring 3, without bases and CR3 */
	struct kvm_xsave_buffer xsave;
	struct kvm_sync_regs sent; /* what a KVM_RUN that fails may have spoilt */
	bool broken;
	uint64_t stay_ns, fill_ns;
	uint64_t resets;
};

/* A stop of the vCPU, with the registers of ring 3 (struct ring3.run->s.regs.regs has them all exact). */
enum ring3_stop { R3_VECTOR, R3_SYSCALL, R3_INTERRUPTED, R3_STRANGE };
struct ring3_event {
	enum ring3_stop stop;
	uint8_t vector;
	uint32_t error;
	uint64_t cr2;
	uint16_t cs;
};

/* ring3_vm.c */
enum status ring3_open(struct ring3 *r, struct error *e);
void ring3_close(struct ring3 *r);
/* KVM forgets everything that it knows of the hidden page tables. */
bool ring3_zap(struct ring3 *r);

/* ring3_run.c */
uint64_t ring3_cpu_ns(void); /* CPU time of this thread */
/* The registers in the shared page, CR3 = this root, FS and GS bases: to be sent with the next KVM_RUN. */
void ring3_send(struct ring3 *r, unsigned root, uint64_t fs_base, uint64_t gs_base);
/* One KVM_RUN, and what came of it. */
void ring3_enter(struct ring3 *r, struct ring3_event *ev);
enum direct_end ring3_run(void *direct, struct direct_run *out);
const char *ring3_unfit(const void *direct);

/* ring3_map.c */
enum ring3_fill { R3_FILLED, R3_REFUSED, R3_UNFIT_CODE, R3_CODE_STORE, R3_FULL };
uint64_t *ring3_page(const struct ring3_map *m, unsigned page);
uint64_t ring3_table_entry(const struct ring3_map *m, unsigned page);
/* A zeroed page that KVM has not seen since the last reset. 0: none is left. */
unsigned ring3_take(struct ring3_map *m);
void ring3_map_init(struct ring3_map *m, struct vcpu *v);
/* All page tables go; the caller has made KVM forget them. */
void ring3_map_forget(struct ring3_map *m);
/* The tables for the guest's CR3 of now, with nothing in them that a TLB could not hold. The root's number; 0: out of pages. */
unsigned ring3_map_root(struct ring3_map *m);
/* Answers a page fault at lin by what the guest's page tables say. R3_FILLED: go on, with ring3_map_root's root. */
enum ring3_fill ring3_map_fill(struct ring3_map *m, uint64_t lin, uint32_t error);
/* A byte of guest memory as ring 3 reads it. */
bool ring3_map_peek(const struct ring3_map *m, uint64_t lin, uint8_t *byte);

/* ring3_scan.c */
/* May the page's code run directly? R3_SCAN_OPEN: that depends on the bytes behind its end. next: they, or NULL. */
enum ring3_scan { R3_SCAN_CLEAN = 1, R3_SCAN_OPEN, R3_SCAN_UNFIT };
enum ring3_scan ring3_scan(const uint8_t *page, const uint8_t *next);

/* ring3_try.c */
/* Does this host run ring 3 directly and right, and what does it cost? */
enum status ring3_try(struct ring3 *r, struct error *e);

#endif
