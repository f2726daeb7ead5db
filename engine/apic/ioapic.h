/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC (Intel 82093AA data sheet): 24 pins, each with a redirection entry.
 *
 * Owner: the board. Threads: everything here runs under the device lock.
 */
#ifndef STEELYARD_IOAPIC_H
#define STEELYARD_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/bus.h"

#define IOAPIC_PINS 24
#define IOAPIC_BYTES 0x1000u

struct ioapic;
struct vm;

/* Also stores it in vm->ioapic, where the local APICs find it for their end-of-interrupt broadcasts. NULL: no memory.
 */
struct ioapic *ioapic_new(struct vm *vm, uint8_t id);
void ioapic_free(struct ioapic *io);
void ioapic_reset(struct ioapic *io);

/* Registers: IOREGSEL at 0, IOWIN at 10H. dev: struct ioapic. */
extern const struct io_ops ioapic_ops;

/* The level at a pin; has the type of irq_line.set. A pin past the last is ignored. */
void ioapic_set_pin(void *ioapic, unsigned pin, bool level);
/* What is in the chip. pins: levels; irr: edges that wait behind a mask. */
struct ioapic_state {
	uint8_t id, select;
	uint32_t pins, irr;
	uint64_t redir[IOAPIC_PINS];
};
void ioapic_save(const struct ioapic *io, struct ioapic_state *s);
/* The levels of the pins stay as they are: those belong to the devices. */
void ioapic_load(struct ioapic *io, const struct ioapic_state *s);
/* As pic_lend (engine/pc/pic8259.h). */
void ioapic_lend(struct ioapic *io, void (*out)(void *ctx, unsigned pin, bool level), void *ctx);
/* A local APIC ended a level-triggered vector. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

/* One pin whose edges have an end, too: ended(ctx) when a local APIC ends the vector that the pin's entry has. May set pins. */
void ioapic_watch(struct ioapic *io, unsigned pin, void (*ended)(void *ctx), void *ctx);
/* Would an edge at that pin be sent now, with a vector? Not while the chip is lent. */
bool ioapic_hears(const struct ioapic *io);
/* Is it that pin's? Any thread, no lock. */
bool ioapic_watches(const struct ioapic *io, uint8_t vector);
void ioapic_ended(struct ioapic *io);

#endif
