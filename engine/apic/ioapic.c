/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC of the data sheet, version 11H, which has no EOI register: as the one in KVM, which does its work for a while.
 *
 * A level pin sends when it is high, unmasked and its Remote IRR is clear; sending sets Remote IRR, and the processor's
 * end of interrupt clears it and looks at the pin again. An edge pin sends at each rise; a rise while masked is kept in
 * IRR, as chipsets do, and goes out when the pin is unmasked. Every wire into the model is active high: the polarity
 * bit is stored and has no effect, because the board's devices assert by "true" whatever the electrical polarity would
 * be.
 */
#include "engine/apic/ioapic.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/apic/lapic.h"
#include "engine/vm.h"

#define IOREGSEL 0x00
#define IOWIN 0x10
#define REG_ID 0x00
#define REG_VERSION 0x01
#define REG_ARBITRATION 0x02
#define REG_REDIRECTION 0x10
#define VERSION 0x11u

#define RE_VECTOR 0xffull
#define RE_DELIVERY_SHIFT 8
#define RE_LOGICAL (1ull << 11)
#define RE_REMOTE_IRR (1ull << 14)
#define RE_LEVEL (1ull << 15)
#define RE_MASKED (1ull << 16)
#define RE_DEST_SHIFT 56
/* vector, delivery, destination mode, polarity, trigger, mask, destination */
#define RE_WRITABLE (0x1afffull | 0xffull << RE_DEST_SHIFT)

struct ioapic {
	struct vm *vm;
	uint8_t reset_id, id, select;
	uint32_t pins; /* levels at the pins */
	uint32_t irr;  /* edges that arrived while masked */
	uint64_t redir[IOAPIC_PINS];
	void (*lent)(void *ctx, unsigned pin, bool level); /* NULL: the chip is ours */
	void *lent_ctx;
	unsigned watched;               /* IOAPIC_PINS: none */
	_Atomic uint8_t watched_vector; /* that its edges are sent with; 0: they are not sent, or not with a vector */
	void (*ended)(void *ctx);
	void *ended_ctx;
};

struct ioapic *ioapic_new(struct vm *vm, uint8_t id)
{
	struct ioapic *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	io->vm = vm;
	io->reset_id = id;
	io->watched = IOAPIC_PINS;
	ioapic_reset(io);
	vm->ioapic = io;
	return io;
}

void ioapic_free(struct ioapic *io)
{
	if (io && io->vm->ioapic == io)
		io->vm->ioapic = NULL;
	free(io);
}

/* Something changed that watched_vector hangs on. */
static void look(struct ioapic *io)
{
	uint64_t re = io->watched < IOAPIC_PINS && !io->lent ? io->redir[io->watched] : RE_MASKED;
	unsigned delivery = re >> RE_DELIVERY_SHIFT & 7;
	bool sent = !(re & (RE_MASKED | RE_LEVEL)) && (delivery == DELIVER_FIXED || delivery == DELIVER_LOWEST);

	atomic_store_explicit(&io->watched_vector, sent ? (uint8_t)(re & RE_VECTOR) : 0, memory_order_relaxed);
}

void ioapic_watch(struct ioapic *io, unsigned pin, void (*ended)(void *ctx), void *ctx)
{
	io->watched = pin;
	io->ended = ended;
	io->ended_ctx = ctx;
	look(io);
}

bool ioapic_watches(const struct ioapic *io, uint8_t vector)
{
	return atomic_load_explicit(&io->watched_vector, memory_order_relaxed) == vector;
}

bool ioapic_hears(const struct ioapic *io)
{
	return !ioapic_watches(io, 0);
}

void ioapic_ended(struct ioapic *io)
{
	if (io->ended)
		io->ended(io->ended_ctx);
}

void ioapic_reset(struct ioapic *io)
{
	io->id = io->reset_id;
	io->select = 0;
	io->pins = io->irr = 0;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->redir[i] = RE_MASKED;
	look(io);
}

/* Sends what pin i has to say, if it may. */
static void pin_service(struct ioapic *io, unsigned i)
{
	uint64_t re = io->redir[i];
	bool level = re & RE_LEVEL;
	uint32_t bit = 1u << i;
	uint32_t dest;

	if (re & RE_MASKED)
		return;
	if (level ? !(io->pins & bit) || (re & RE_REMOTE_IRR) : !(io->irr & bit))
		return;
	io->irr &= ~bit;
	if (level)
		io->redir[i] |= RE_REMOTE_IRR;
	dest = (uint32_t)(re >> RE_DEST_SHIFT);
	lapic_send(io->vm, re & RE_VECTOR, (enum apic_delivery)(re >> RE_DELIVERY_SHIFT & 7), re & RE_LOGICAL, dest,
		   level, false);
}

void ioapic_set_pin(void *ioapic, unsigned pin, bool level)
{
	struct ioapic *io = ioapic;
	uint32_t bit;

	if (pin >= IOAPIC_PINS)
		return;
	bit = 1u << pin;
	if (io->lent) {
		bool was = io->pins & bit;

		io->pins = level ? io->pins | bit : io->pins & ~bit;
		if (was != level)
			io->lent(io->lent_ctx, pin, level);
		return;
	}
	if (level && !(io->pins & bit) && !(io->redir[pin] & RE_LEVEL))
		io->irr |= bit;
	io->pins = level ? io->pins | bit : io->pins & ~bit;
	if (level)
		pin_service(io, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if ((io->redir[i] & (RE_VECTOR | RE_REMOTE_IRR)) != (vector | RE_REMOTE_IRR))
			continue;
		io->redir[i] &= ~RE_REMOTE_IRR;
		pin_service(io, i);
	}
}

void ioapic_save(const struct ioapic *io, struct ioapic_state *s)
{
	*s = (struct ioapic_state){.id = io->id, .select = io->select, .pins = io->pins, .irr = io->irr};
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		s->redir[i] = io->redir[i];
}

void ioapic_load(struct ioapic *io, const struct ioapic_state *s)
{
	io->id = s->id & 0xf;
	io->select = s->select;
	io->irr = s->irr;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->redir[i] = s->redir[i] & (RE_WRITABLE | RE_REMOTE_IRR);
	look(io);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		pin_service(io, i);
}

void ioapic_lend(struct ioapic *io, void (*out)(void *ctx, unsigned pin, bool level), void *ctx)
{
	io->lent = out;
	io->lent_ctx = ctx;
	look(io);
}

static uint32_t reg_read(const struct ioapic *io)
{
	unsigned i = (io->select - REG_REDIRECTION) / 2u;

	switch (io->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return (uint32_t)io->id << 24;
	case REG_VERSION:
		return VERSION | (IOAPIC_PINS - 1) << 16;
	default:
		if (io->select < REG_REDIRECTION || i >= IOAPIC_PINS)
			return 0;
		return (uint32_t)(io->redir[i] >> (io->select & 1 ? 32 : 0));
	}
}

static void reg_write(struct ioapic *io, uint32_t val)
{
	unsigned i = (io->select - REG_REDIRECTION) / 2u;
	unsigned shift = io->select & 1 ? 32 : 0;
	uint64_t mask;

	if (io->select == REG_ID)
		io->id = val >> 24 & 0xf;
	if (io->select < REG_REDIRECTION || i >= IOAPIC_PINS)
		return;
	mask = RE_WRITABLE & (0xffffffffull << shift);
	io->redir[i] = (io->redir[i] & ~mask) | ((uint64_t)val << shift & mask);
	if (!(io->redir[i] & RE_LEVEL))
		io->redir[i] &= ~RE_REMOTE_IRR; /* Linux and others clear a stuck pin by making it edge for a moment */
	look(io);
	pin_service(io, i);
}

static uint64_t ioapic_read(void *dev, uint64_t off, unsigned size)
{
	struct ioapic *io = dev;

	(void)size;
	switch (off & ~3ull) {
	case IOREGSEL:
		return io->select >> (off & 3) * 8;
	case IOWIN:
		return reg_read(io) >> (off & 3) * 8;
	default:
		return 0;
	}
}

static void ioapic_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct ioapic *io = dev;

	if (off == IOREGSEL)
		io->select = (uint8_t)val;
	else if (off == IOWIN && size >= 4)
		reg_write(io, (uint32_t)val);
}

const struct io_ops ioapic_ops = {.name = "ioapic", .read = ioapic_read, .write = ioapic_write};
