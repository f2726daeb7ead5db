/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linear to physical: page walks (SDM 3A chapter 4) and the C side's soft TLB, for interpreter and translator alike.
 *
 * Threads: a vCPU's mmu belongs to its thread; another thread asks by REQ_FLUSH.
 */
#ifndef STEELYARD_MMU_H
#define STEELYARD_MMU_H

#include "engine/status.h"
#include "engine/vcpu.h"

/* access flags */
#define ACC_READ 0u
#define ACC_WRITE 1u
#define ACC_EXEC 2u
#define ACC_USER 4u   /* CPL 3 */
#define ACC_SYSTEM 8u /* implicit supervisor access (descriptor tables, TSS): SMAP ignores EFLAGS.AC */

/* The answer of a walk: the whole page of the mapping. */
struct mmu_page {
	uint64_t gva;	/* first linear address of the page (of its size) */
	uint64_t size;	/* 4096, 2 MiB, 4 MiB, 1 GiB; 4096 when paging is off */
	uint64_t gpa;	/* of gva */
	uint8_t *hva;	/* host address of the 4 KiB page that contains the access when RAM or ROM (for a read or fetch),
			 * or RAM (for a write); NULL: MMIO or a write to ROM */
	bool global;
	bool write_ok;	/* the same access kind may also write without another walk: W permission and D already set */
};

/* Counted: the second path of a vCPU gets the same mmu, the last mmu_fini frees it. */
enum status mmu_init(struct vcpu *v);
void mmu_fini(struct vcpu *v);
/* CR3 load (keep_global: CR4.PGE set and not a global flush), INVLPG, everything (mode change, CR0/CR4/EFER change). */
void mmu_flush(struct vcpu *v, bool keep_global);
void mmu_flush_page(struct vcpu *v, uint64_t lin);
void mmu_flush_all(struct vcpu *v);

/* Walks (or hits the soft TLB), sets A and D, checks rights. false: v->fault = #PF. lin is truncated to 32 bits outside
 * long mode by the caller; a non-canonical lin never comes here (segment code raises #GP/#SS first). */
bool mmu_translate(struct vcpu *v, uint64_t lin, unsigned acc, struct mmu_page *out);
/* For debuggers: no A/D, no fault, no rights. false: not mapped. */
bool mmu_peek(const struct vcpu *v, uint64_t lin, uint64_t *gpa);

/* Data access at a linear address: any alignment, page crossing, MMIO. An aligned 1/2/4/8-byte access to RAM is one host
 * access. n: 1..64; MMIO is split into pieces of at most 8 bytes. On a page-crossing write both pages are checked before
 * anything is written. false: v->fault. */
bool mmu_read(struct vcpu *v, uint64_t lin, void *buf, unsigned n, unsigned acc);
bool mmu_write(struct vcpu *v, uint64_t lin, const void *buf, unsigned n, unsigned acc);
/* Instruction bytes: up to n (<= 15) bytes at lin; returns how many could be fetched before a fault, with v->fault set
 * when fewer than n. gpa (may be NULL): physical address of the first byte, UINT64_MAX when it is not memory. */
unsigned mmu_fetch(struct vcpu *v, uint64_t lin, uint8_t *buf, unsigned n, uint64_t *gpa);
/* Host pointer for an atomic read-modify-write of n bytes that do not cross a page: rights for writing checked, A/D set,
 * code pages notified. *host is NULL for MMIO or when it crosses a page (the caller takes the slow, locked way). */
bool mmu_rmw_ptr(struct vcpu *v, uint64_t lin, unsigned n, unsigned acc, void **host);
/* After the store through mmu_rmw_ptr's pointer (host not NULL): notifies code pages once more, so that another vCPU
 * that decoded the old bytes between the two calls drops them too. */
void mmu_rmw_done(struct vcpu *v, const void *host, unsigned n);

#endif
