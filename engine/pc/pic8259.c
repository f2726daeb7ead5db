// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two 8259A (Intel 231468, "8259A Programmable Interrupt Controller") as a PC wires them: the slave's INT output is
 * the master's IR2; both chips decode ICW1-4 and OCW1-3 at an even and an odd port.
 *
 * Priorities rotate: "lowest" names the input of lowest priority, the one behind it is the highest. A chip asserts INT
 * when an unmasked request beats everything in service.
 *
 * Where this differs from the chip: an edge-triggered request stays latched when its line falls before the
 * acknowledge (the chip answers such a request with IRQ 7), because a device model may lower and raise a line faster
 * than any wire; the cascade input follows the slave's output, so nothing stale is left behind on IR2. The 8080 mode
 * (ICW4 bit 0 clear) and buffered mode have no effect here.
 */
#include "engine/pc/pic8259.h"

#include <stdatomic.h>
#include <stdlib.h>

#define CASCADE_IR 2u
#define CASCADE_BIT (1u << CASCADE_IR)

/* ICW1 and the command bytes at the even port */
#define ICW1_ICW4 0x01u
#define ICW1_SINGLE 0x02u
#define ICW1_SELECT 0x10u
#define OCW3_SELECT 0x08u
#define OCW3_POLL 0x04u
/* ICW4 */
#define ICW4_AEOI 0x02u
#define ICW4_SFNM 0x10u

enum init_step { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

struct chip {
	uint8_t irr, imr, isr;
	uint8_t line;      /* the inputs as they are */
	uint8_t elcr;      /* 1: level-triggered */
	uint8_t elcr_mask; /* inputs that may be level-triggered */
	uint8_t base;      /* vector of IR0 */
	uint8_t lowest;    /* input of lowest priority */
	enum init_step step;
	bool has_icw4, single;
	bool read_isr, poll;
	bool special_mask, sfnm;
	bool aeoi, rotate_aeoi;
	bool master;
};

struct pic {
	struct chip chip[2];
	_Atomic bool intr;
	void (*out)(void *ctx, bool level);
	void *ctx;
	void (*lent)(void *ctx, unsigned n, bool level); /* NULL: the chips are ours */
	void *lent_ctx;
	void (*ended)(void *ctx); /* IR0 */
	void *ended_ctx;
};

/* Distance from the top of the priority ring to the first set bit; 8: none. */
static unsigned chip_rank(const struct chip *c, uint8_t bits)
{
	unsigned rank;

	for (rank = 0; rank < 8; rank++)
		if (bits & (1u << ((c->lowest + 1u + rank) & 7)))
			break;
	return rank;
}

static unsigned chip_input(const struct chip *c, unsigned rank)
{
	return (c->lowest + 1u + rank) & 7;
}

/* The request that INT is asserted for, or -1. */
static int chip_pending(const struct chip *c)
{
	unsigned want = chip_rank(c, c->irr & (uint8_t)~c->imr);
	uint8_t busy = c->isr;

	if (want == 8 || c->step != INIT_DONE)
		return -1;
	/* Special mask mode: a masked in-service bit holds nobody back. */
	if (c->special_mask)
		busy &= (uint8_t)~c->imr;
	/* Special fully nested: the slave may interrupt its own earlier request. */
	if (c->sfnm && c->master)
		busy &= (uint8_t)~CASCADE_BIT;
	return want < chip_rank(c, busy) ? (int)chip_input(c, want) : -1;
}

static void chip_set_line(struct chip *c, unsigned ir, bool level)
{
	uint8_t bit = (uint8_t)(1u << ir);

	if (c->elcr & bit)
		c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
	else if (level && !(c->line & bit))
		c->irr |= bit;
	c->line = level ? c->line | bit : c->line & (uint8_t)~bit;
}

static void pic_update(struct pic *p)
{
	struct chip *m = &p->chip[0];
	bool intr;

	if (chip_pending(&p->chip[1]) >= 0) {
		chip_set_line(m, CASCADE_IR, true);
	} else {
		chip_set_line(m, CASCADE_IR, false);
		m->irr &= (uint8_t)~CASCADE_BIT;
	}
	intr = !p->lent && chip_pending(m) >= 0;
	if (intr != atomic_load_explicit(&p->intr, memory_order_relaxed)) {
		atomic_store(&p->intr, intr);
		if (p->out)
			p->out(p->ctx, intr);
	}
}

/* The chip's part of an INTA cycle for input ir. */
static void chip_ack(struct chip *c, unsigned ir)
{
	uint8_t bit = (uint8_t)(1u << ir);

	if (!(c->elcr & bit))
		c->irr &= (uint8_t)~bit;
	if (!c->aeoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->lowest = (uint8_t)ir;
}

int pic_ack(struct pic *p)
{
	struct chip *m = &p->chip[0], *s = &p->chip[1];
	int ir = chip_pending(m), vector;

	if (ir < 0)
		return m->base + 7;
	chip_ack(m, (unsigned)ir);
	vector = m->base + ir;
	if (ir == CASCADE_IR && !m->single) {
		int sir = chip_pending(s);

		if (sir >= 0)
			chip_ack(s, (unsigned)sir);
		vector = s->base + (sir >= 0 ? sir : 7);
		/* INT falls during INTA: what else the slave wants is a new edge. */
		chip_set_line(m, CASCADE_IR, false);
	}
	pic_update(p);
	if (ir == 0 && m->aeoi && p->ended)
		p->ended(p->ended_ctx);
	return vector;
}

void pic_watch_ir0(struct pic *p, void (*ended)(void *ctx), void *ctx)
{
	p->ended = ended;
	p->ended_ctx = ctx;
}

bool pic_hears_ir0(const struct pic *p)
{
	return !p->lent && p->chip[0].step == INIT_DONE && !(p->chip[0].imr & 1);
}

bool pic_intr(const struct pic *p)
{
	return atomic_load(&p->intr);
}

void pic_set_line(void *pic, unsigned n, bool level)
{
	struct pic *p = pic;

	if (n >= 16 || n == CASCADE_IR)
		return;
	if (p->lent) {
		struct chip *c = &p->chip[n / 8];
		uint8_t bit = (uint8_t)(1u << n % 8);
		bool was = c->line & bit;

		c->line = level ? c->line | bit : c->line & (uint8_t)~bit;
		if (was != level)
			p->lent(p->lent_ctx, n, level);
		return;
	}
	chip_set_line(&p->chip[n / 8], n % 8, level);
	pic_update(p);
}

/* OCW3 poll: the next read acts as INTA and names the input. */
static uint8_t chip_poll(struct chip *c)
{
	int ir = chip_pending(c);

	c->poll = false;
	if (ir < 0)
		return 0;
	chip_ack(c, (unsigned)ir);
	return (uint8_t)(0x80 | ir);
}

/* Ends the in-service request of highest priority and returns its input, or -1. */
static int chip_eoi_highest(struct chip *c)
{
	uint8_t bits = c->isr;
	unsigned rank;

	if (c->special_mask)
		bits &= (uint8_t)~c->imr;
	rank = chip_rank(c, bits);
	if (rank == 8)
		return -1;
	c->isr &= (uint8_t) ~(1u << chip_input(c, rank));
	return (int)chip_input(c, rank);
}

static void chip_ocw2(struct chip *c, uint8_t val)
{
	uint8_t ir = val & 7;
	int done;

	switch (val >> 5) { /* R, SL, EOI */
	case 0:             /* rotate in AEOI mode: clear */
		c->rotate_aeoi = false;
		break;
	case 4: /* set */
		c->rotate_aeoi = true;
		break;
	case 1: /* non-specific EOI */
		chip_eoi_highest(c);
		break;
	case 5: /* rotate on non-specific EOI */
		done = chip_eoi_highest(c);
		if (done >= 0)
			c->lowest = (uint8_t)done;
		break;
	case 3: /* specific EOI */
		c->isr &= (uint8_t) ~(1u << ir);
		break;
	case 7: /* rotate on specific EOI */
		c->isr &= (uint8_t) ~(1u << ir);
		c->lowest = ir;
		break;
	case 6: /* set priority */
		c->lowest = ir;
		break;
	default: /* 2: no operation */
		break;
	}
}

static void chip_ocw3(struct chip *c, uint8_t val)
{
	if (val & OCW3_POLL)
		c->poll = true;
	if (val & 0x02)
		c->read_isr = val & 0x01;
	if (val & 0x40)
		c->special_mask = val & 0x20;
}

static void chip_icw1(struct chip *c, uint8_t val)
{
	c->has_icw4 = val & ICW1_ICW4;
	c->single = val & ICW1_SINGLE;
	c->step = INIT_ICW2;
	c->imr = 0;
	c->isr = 0;
	/* The edge detectors forget; levels are still there. */
	c->irr &= c->elcr;
	c->lowest = 7;
	c->read_isr = c->poll = false;
	c->special_mask = c->sfnm = false;
	c->aeoi = c->rotate_aeoi = false;
}

static void chip_write_odd(struct chip *c, uint8_t val)
{
	switch (c->step) {
	case INIT_DONE: /* OCW1 */
		c->imr = val;
		break;
	case INIT_ICW2:
		c->base = val & 0xf8;
		c->step = !c->single ? INIT_ICW3 : c->has_icw4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW3: /* the wiring is the board's, whatever the guest believes */
		c->step = c->has_icw4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW4:
		c->aeoi = val & ICW4_AEOI;
		c->sfnm = val & ICW4_SFNM;
		c->step = INIT_DONE;
		break;
	}
}

static void chip_write(struct chip *c, uint64_t off, uint8_t val)
{
	if (off & 1)
		chip_write_odd(c, val);
	else if (val & ICW1_SELECT)
		chip_icw1(c, val);
	else if (val & OCW3_SELECT)
		chip_ocw3(c, val);
	else
		chip_ocw2(c, val);
}

static uint8_t chip_read(struct chip *c, uint64_t off)
{
	if (c->poll)
		return chip_poll(c);
	if (off & 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static uint64_t pic_read(struct pic *p, unsigned which, uint64_t off, unsigned size)
{
	uint8_t asked = p->chip[0].irr;
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)chip_read(&p->chip[which], off + i) << (8 * i);
	pic_update(p);
	/* Only a poll takes a request, and with automatic EOI that is its end. */
	if (p->chip[0].aeoi && asked & ~p->chip[0].irr & 1 && p->ended)
		p->ended(p->ended_ctx);
	return val;
}

static void pic_write(struct pic *p, unsigned which, uint64_t off, unsigned size, uint64_t val)
{
	uint8_t served = p->chip[0].isr;

	for (unsigned i = 0; i < size; i++)
		chip_write(&p->chip[which], off + i, (uint8_t)(val >> (8 * i)));
	pic_update(p);
	if (served & ~p->chip[0].isr & 1 && p->ended)
		p->ended(p->ended_ctx);
}

static uint64_t master_read(void *dev, uint64_t off, unsigned size)
{
	return pic_read(dev, 0, off, size);
}

static void master_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	pic_write(dev, 0, off, size, val);
}

static uint64_t slave_read(void *dev, uint64_t off, unsigned size)
{
	return pic_read(dev, 1, off, size);
}

static void slave_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	pic_write(dev, 1, off, size, val);
}

static uint64_t elcr_read(void *dev, uint64_t off, unsigned size)
{
	struct pic *p = dev;

	return size == 1 ? p->chip[off & 1].elcr : p->chip[0].elcr | (uint64_t)p->chip[1].elcr << 8;
}

static void elcr_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pic *p = dev;

	for (unsigned i = 0; i < size && off + i < 2; i++) {
		struct chip *c = &p->chip[off + i];

		c->elcr = (uint8_t)(val >> (8 * i)) & c->elcr_mask;
		c->irr = (c->irr & (uint8_t)~c->elcr) | (c->line & c->elcr);
	}
	pic_update(p);
}

const struct io_ops pic_master_ops = {"pic8259 master", master_read, master_write};
const struct io_ops pic_slave_ops = {"pic8259 slave", slave_read, slave_write};
const struct io_ops pic_elcr_ops = {"pic8259 elcr", elcr_read, elcr_write};

void pic_reset(struct pic *p)
{
	for (unsigned i = 0; i < 2; i++) {
		uint8_t line = p->chip[i].line;

		/* Masked until software has given vectors: the chip's own power-on state is undefined. The timer,
		 * keyboard, cascade, RTC and FPU inputs are always edge-triggered. */
		p->chip[i] = (struct chip){
			.line = line,
			.imr = 0xff,
			.lowest = 7,
			.master = i == 0,
			.elcr_mask = i == 0 ? 0xf8 : 0xde,
		};
	}
	pic_update(p);
}

void pic_save(const struct pic *p, struct pic_state *s)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct chip *c = &p->chip[i];

		s->chip[i] = (struct pic_chip_state){
			.irr = c->irr, .imr = c->imr, .isr = c->isr, .line = c->line, .elcr = c->elcr, .base = c->base,
			.lowest = c->lowest, .init_step = c->step == INIT_DONE ? 0 : (uint8_t)(c->step - INIT_ICW2 + 2),
			.has_icw4 = c->has_icw4, .single = c->single, .read_isr = c->read_isr, .poll = c->poll,
			.special_mask = c->special_mask, .sfnm = c->sfnm, .aeoi = c->aeoi, .rotate_aeoi = c->rotate_aeoi};
	}
}

void pic_load(struct pic *p, const struct pic_state *s)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct pic_chip_state *from = &s->chip[i];
		struct chip *c = &p->chip[i];

		c->elcr = from->elcr & c->elcr_mask;
		c->irr = (from->irr & (uint8_t)~c->elcr) | (c->line & c->elcr);
		c->imr = from->imr;
		c->isr = from->isr;
		c->base = from->base & 0xf8;
		c->lowest = from->lowest & 7;
		c->step = from->init_step >= 2 && from->init_step <= 4 ? (enum init_step)(INIT_ICW2 + from->init_step - 2) : INIT_DONE;
		c->has_icw4 = from->has_icw4;
		c->single = from->single;
		c->read_isr = from->read_isr;
		c->poll = from->poll;
		c->special_mask = from->special_mask;
		c->sfnm = from->sfnm;
		c->aeoi = from->aeoi;
		c->rotate_aeoi = from->rotate_aeoi;
	}
	pic_update(p);
}

void pic_lend(struct pic *p, void (*out)(void *ctx, unsigned n, bool level), void *ctx)
{
	p->lent = out;
	p->lent_ctx = ctx;
}

struct pic *pic_new(void (*intr)(void *ctx, bool level), void *ctx)
{
	struct pic *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->out = intr;
	p->ctx = ctx;
	pic_reset(p);
	return p;
}

void pic_free(struct pic *p)
{
	free(p);
}
