/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC (SDM 3A 11): xAPIC by MMIO, x2APIC by MSRs, timer in one-shot, periodic and TSC-deadline mode.
 *
 * Threads: the registers belong to the owner vCPU's thread, except what other threads do: lapic_deliver sets IRR bits
 * atomically and kicks. The timer fires on the I/O thread and does no more than that.
 */
#ifndef STEELYARD_LAPIC_H
#define STEELYARD_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

struct lapic;
struct vcpu;
struct vm;

enum apic_delivery { DELIVER_FIXED, DELIVER_LOWEST, DELIVER_SMI, DELIVER_RSVD, DELIVER_NMI, DELIVER_INIT, DELIVER_SIPI, DELIVER_EXTINT };

struct lapic *lapic_new(struct vcpu *v);
void lapic_free(struct lapic *l);
void lapic_reset(struct lapic *l);
/* INIT: as reset, but IA32_APIC_BASE (and so the mode) and the ID stay (SDM 3A 10.4.7.3). Owner thread. */
void lapic_reset_init(struct lapic *l);

/* MMIO page at APIC base; off 0..0xfff, any size (only aligned 32-bit accesses have an effect). Owner thread, no lock. */
uint64_t lapic_mmio_read(void *l, uint64_t off, unsigned size);
void lapic_mmio_write(void *l, uint64_t off, unsigned size, uint64_t val);
/* x2APIC MSRs 800H-8FFH. false: #GP. Owner thread. */
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val);
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val);
/* IA32_APIC_BASE and IA32_TSC_DEADLINE. write false: #GP. Owner thread. */
uint64_t lapic_base(const struct lapic *l);
bool lapic_set_base(struct lapic *l, uint64_t val);
uint64_t lapic_tsc_deadline(const struct lapic *l);
void lapic_set_tsc_deadline(struct lapic *l, uint64_t guest_tsc);
/* The guest has written its TSC: a deadline that is set stays what it is, so it may be nearer now, or have passed. Owner thread. */
void lapic_tsc_moved(struct lapic *l);
/* Guest-physical page of the MMIO window, or UINT64_MAX when disabled or in x2APIC mode. */
uint64_t lapic_mmio_gpa(const struct lapic *l);

uint8_t lapic_cr8(const struct lapic *l); /* TPR bits 7-4 */
void lapic_set_cr8(struct lapic *l, uint8_t v);

/* A message on the APIC bus to every vCPU that dest selects. Any thread. source: the sending vCPU or NULL. */
void lapic_send(struct vm *vm, uint8_t vector, enum apic_delivery mode, bool logical, uint32_t dest, bool level,
		bool x2apic_dest);
/* Sets one vector in this APIC's IRR and kicks its vCPU. Any thread. */
void lapic_deliver(struct lapic *l, uint8_t vector, bool level);
/* Highest deliverable vector, or -1. Owner thread. */
int lapic_pending(struct lapic *l);
/* Moves it from IRR to ISR and returns it, or -1. Owner thread. */
int lapic_ack(struct lapic *l);
/* Does the 8259's INTR reach this CPU (LINT0 as ExtINT unmasked, or APIC disabled by hardware)? Owner thread. */
bool lapic_accepts_extint(const struct lapic *l);
/* LINT1 as NMI: does an external NMI reach it? */
bool lapic_accepts_nmi(const struct lapic *l);

/* INIT and SIPI that arrived and wait for the owner thread, which takes them between two runs of guest code. */
struct lapic_startup {
	bool init, sipi;
	uint8_t vector; /* of the SIPI: execution starts at vector << 12 */
};
/* Takes them (they are no longer pending). Owner thread. */
struct lapic_startup lapic_take_startup(struct lapic *l);

/* All registers as a page of KVM's form and the manual's offsets (SDM 3A table 11-1), the current count and the ID included.
 * World stopped, device lock held; also the next two. */
#define LAPIC_PAGE_BYTES 1024
void lapic_save(struct lapic *l, uint8_t page[LAPIC_PAGE_BYTES]);
/* The same back; base and the TSC deadline are apart. The timer goes on with the count that is left. */
void lapic_load(struct lapic *l, uint64_t base, const uint8_t page[LAPIC_PAGE_BYTES], uint64_t tsc_deadline);
/* Somebody else does this APIC's work from now on: its timer stops, nothing is pending here any more. */
void lapic_lend(struct lapic *l);
/* INIT's part that concerns nobody but the APIC, without a lock: lapic_reset_init. Device lock held, world stopped. */
void lapic_quiet(struct lapic *l);
/* Who does its work says that the guest has set IA32_APIC_BASE. Owner thread. */
void lapic_note_base(struct lapic *l, uint64_t val);
/* An INIT, or a SIPI, has come while somebody else did this APIC's work: its owner takes it next. Any thread. */
void lapic_latch_init(struct lapic *l);
void lapic_latch_sipi(struct lapic *l, uint8_t vector);
/* An INIT has arrived that the owner has not taken. */
bool lapic_init_pending(const struct lapic *l);
/* Will a vCPU that waits for a SIPI now, or does not, wait for one when it has taken what has arrived? */
bool lapic_sipi_awaited(const struct lapic *l, bool waits);

/* Messages of devices, while somebody else does the APICs' work (struct vm: msi_lent). */
struct msi_lent {
	void (*send)(void *ctx, uint8_t vector, enum apic_delivery mode, bool logical, uint32_t dest, bool level);
	void *ctx;
};

#endif
