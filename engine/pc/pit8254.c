// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 8254 (Intel 231164, "8254 Programmable Interval Timer"): three counters at 1.193182 MHz.
 *
 * Nothing ticks here. A counter remembers the tick at which its count was loaded or triggered; its value and its output
 * are functions of the ticks since then. Only channel 0's output has an observer who does not ask, the interrupt line,
 * so only it has a timer: armed for the next rising edge of OUT.
 *
 * Where this differs from the chip: a count takes effect at the moment its last byte is written, also in modes 2 and 3
 * where the chip finishes the running period first; and channel 0's low phase lasts no longer than its rising edge
 * needs (the line is pulsed), except in mode 0.
 *
 * Periods that the host was late for are owed: a guest that counts ticks, or looks whether the timer works by counting some while the TSC
 * runs (Linux's check of the I/O APIC), must not see that its processor got no time. In modes 2 and 3 the next edge waits until the guest
 * has ended the interrupt of the one before, and an owed one follows at once; as KVM's PIT does. There is a bound, the ticks of
 * a second, and nothing is owed across a change of the channel or for a line that nobody hears.
 *
 * What is not made good: time that the host takes from a vCPU between its reads of the TSC and of channel 2, from which Linux gets the
 * TSC's frequency. The reads alone do not show it, and a count that ran on the vCPU's own time would contradict every other clock.
 */
#include "engine/pc/pit8254.h"

#include <stdlib.h>

#define NS_PER_S 1000000000ull
#define ENDED_NS 100000000u /* an interrupt that has not ended by then may have been lost */
#define REFRESH_NS 15085u /* port 0x61 bit 4: the DRAM refresh request, 18 PIT ticks */

/* Port 0x61 */
#define P61_GATE2 0x01u
#define P61_SPEAKER 0x02u
#define P61_WRITABLE 0x0fu
#define P61_REFRESH 0x10u
#define P61_OUT2 0x20u

enum pit_rw { RW_LATCH, RW_LSB, RW_MSB, RW_WORD };

struct channel {
	uint8_t mode; /* 0-5 */
	enum pit_rw rw;
	bool bcd;
	bool gate;
	bool null_count;            /* control word written, count not yet */
	bool armed;                 /* counting from start (modes 1 and 5: triggered) */
	uint32_t count;             /* 1..65536 (BCD: 1..10000) */
	uint64_t start;             /* tick of the load or trigger */
	uint64_t elapsed;           /* ticks counted when the gate closed (modes 0 and 4) */
	bool write_high, read_high; /* RW_WORD: the next byte is the high one */
	uint8_t write_low;
	bool count_latched, status_latched;
	uint16_t latch;
	uint8_t status;
};

struct pit {
	struct channel ch[3];
	uint8_t port61;
	struct clock *clock;
	struct timer timer;
	struct irq_line irq;
	uint64_t edges;     /* of channel 0 since its start, raised or owed */
	uint64_t owed;      /* of these, not raised */
	bool waits;         /* for the end of the one raised last, */
	uint64_t raised_ns; /* then */
};

static uint64_t pit_now(const struct pit *p)
{
	return (uint64_t)((unsigned __int128)clock_ns(p->clock) * PIT_HZ / NS_PER_S);
}

/* The first nanosecond at which pit_now() is at least tick. */
static uint64_t pit_tick_to_ns(uint64_t tick)
{
	return (uint64_t)(((unsigned __int128)tick * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static bool gate_pauses(const struct channel *c)
{
	return c->mode == 0 || c->mode == 4;
}

/* Ticks counted so far. */
static uint64_t channel_elapsed(const struct channel *c, uint64_t now)
{
	if (!c->gate && gate_pauses(c))
		return c->elapsed;
	return now > c->start ? now - c->start : 0;
}

static uint32_t channel_modulus(const struct channel *c)
{
	return c->bcd ? 10000 : 65536;
}

/* The counting element as a number below the modulus. */
static uint32_t channel_value(const struct channel *c, uint64_t now)
{
	uint64_t t = channel_elapsed(c, now);
	uint32_t n = c->count;

	if (!c->armed)
		return n % channel_modulus(c);
	switch (c->mode) {
	case 2:
		return c->gate ? (uint32_t)(n - t % n) % channel_modulus(c) : n % channel_modulus(c);
	case 3: /* steps of two, twice a period; odd counts begin one lower in the first half (datasheet, mode 3) */
		if (!c->gate)
			return (n & ~1u) % channel_modulus(c);
		t %= n;
		if (t >= (n + 1) / 2)
			t -= (n + 1) / 2;
		return ((n & ~1u) - 2 * (uint32_t)t) % channel_modulus(c);
	default: { /* counts through zero and on */
		uint32_t m = channel_modulus(c);

		return (uint32_t)((n + m - t % m) % m);
	}
	}
}

static bool channel_out(const struct channel *c, uint64_t now)
{
	uint64_t t = channel_elapsed(c, now);

	switch (c->mode) {
	case 0:
		return c->armed && t >= c->count;
	case 1:
		return !c->armed || t >= c->count;
	case 2:
		return !c->armed || !c->gate || t % c->count != c->count - 1;
	case 3:
		return !c->armed || !c->gate || t % c->count < (c->count + 1) / 2;
	default: /* 4, 5: one low tick */
		return !c->armed || t != c->count;
	}
}

/* Tick of the next rising edge of OUT after now, or UINT64_MAX. Gate open (channel 0's always is). */
static uint64_t channel_next_rise(const struct channel *c, uint64_t now)
{
	uint64_t t = channel_elapsed(c, now), at;

	if (!c->armed)
		return UINT64_MAX;
	switch (c->mode) {
	case 0:
	case 1:
		at = c->start + c->count;
		return t < c->count ? at : UINT64_MAX;
	case 2:
	case 3:
		return c->start + (t / c->count + 1) * c->count;
	default:
		at = c->start + c->count + 1;
		return t < c->count + 1 ? at : UINT64_MAX;
	}
}

static void pit_schedule(struct pit *p)
{
	uint64_t rise = channel_next_rise(&p->ch[0], pit_now(p));

	if (rise == UINT64_MAX)
		timer_cancel(&p->timer);
	else
		timer_arm(&p->timer, pit_tick_to_ns(rise));
}

static void pit_pulse(struct pit *p)
{
	irq_set(&p->irq, false);
	irq_set(&p->irq, true);
}

/* One of the edges that are owed, if there is one and the guest is done with the one before. */
static void pit_pay(struct pit *p)
{
	uint64_t now = clock_ns(p->clock);

	if (!p->owed || (p->waits && now < p->raised_ns + ENDED_NS))
		return;
	p->owed--;
	p->waits = true;
	p->raised_ns = now;
	pit_pulse(p);
}

static void pit_forget(struct pit *p)
{
	p->edges = p->owed = 0;
	p->waits = false;
}

static void pit_fire(void *ctx)
{
	struct pit *p = ctx;
	const struct channel *c = &p->ch[0];
	uint64_t edges = channel_elapsed(c, pit_now(p)) / c->count, second = PIT_HZ / c->count + 1;

	if ((c->mode == 2 || c->mode == 3) && p->irq.heard && p->irq.heard(p->irq.ctx, p->irq.n)) {
		p->owed += edges - p->edges;
		if (p->owed > second)
			p->owed = second;
		p->edges = edges;
		pit_pay(p);
	} else {
		pit_forget(p);
		p->edges = edges;
		pit_pulse(p);
	}
	pit_schedule(p);
}

void pit_ended(void *pit)
{
	struct pit *p = pit;

	p->waits = false;
	if (p->owed && p->irq.heard && p->irq.heard(p->irq.ctx, p->irq.n))
		pit_pay(p);
}

/* Channel 0 was reprogrammed: the line follows OUT as it is now. */
static void pit_changed(struct pit *p, unsigned n)
{
	if (n != 0)
		return;
	pit_forget(p);
	irq_set(&p->irq, channel_out(&p->ch[0], pit_now(p)));
	pit_schedule(p);
}

static uint32_t from_bcd(uint32_t v)
{
	return (v & 15) + 10 * (v >> 4 & 15) + 100 * (v >> 8 & 15) + 1000 * (v >> 12 & 15);
}

static uint16_t to_bcd(uint32_t v)
{
	return (uint16_t)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

static void channel_load(struct pit *p, struct channel *c, uint16_t raw)
{
	uint32_t n = c->bcd ? from_bcd(raw) % 10000 : raw;

	c->count = n ? n : channel_modulus(c);
	c->null_count = false;
	c->start = pit_now(p);
	c->elapsed = 0;
	/* Modes 1 and 5 wait for their trigger, a rising gate; a running one-shot goes on with the old count there,
	 * here it ends. */
	c->armed = c->mode != 1 && c->mode != 5;
}

static void channel_set_gate(struct pit *p, struct channel *c, bool gate)
{
	uint64_t now = pit_now(p);

	if (gate == c->gate)
		return;
	if (gate) {
		if (gate_pauses(c)) {
			c->start = now - c->elapsed;
		} else {
			c->start = now;
			c->armed = !c->null_count;
		}
	} else if (gate_pauses(c)) {
		c->elapsed = channel_elapsed(c, now);
	}
	c->gate = gate;
}

static void channel_latch_count(const struct pit *p, struct channel *c)
{
	uint32_t v;

	if (c->count_latched)
		return;
	v = channel_value(c, pit_now(p));
	c->latch = c->bcd ? to_bcd(v) : (uint16_t)v;
	c->count_latched = true;
	c->read_high = false;
}

static void channel_latch_status(const struct pit *p, struct channel *c)
{
	if (c->status_latched)
		return;
	c->status =
		(uint8_t)(channel_out(c, pit_now(p)) << 7 | c->null_count << 6 | c->rw << 4 | c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void pit_control(struct pit *p, uint8_t val)
{
	unsigned n = val >> 6;
	struct channel *c;

	if (n == 3) { /* read-back: bits 5 and 4 low select count and status, 3-1 the channels */
		for (unsigned i = 0; i < 3; i++) {
			if (!(val & (2u << i)))
				continue;
			if (!(val & 0x20))
				channel_latch_count(p, &p->ch[i]);
			if (!(val & 0x10))
				channel_latch_status(p, &p->ch[i]);
		}
		return;
	}
	c = &p->ch[n];
	if ((val >> 4 & 3) == RW_LATCH) {
		channel_latch_count(p, c);
		return;
	}
	c->rw = val >> 4 & 3;
	c->mode = val >> 1 & 7;
	if (c->mode > 5)
		c->mode &= 3;
	c->bcd = val & 1;
	c->null_count = true;
	c->armed = false;
	c->elapsed = 0;
	c->write_high = c->read_high = false;
	c->count_latched = c->status_latched = false;
	pit_changed(p, n);
}

static void channel_write(struct pit *p, unsigned n, uint8_t val)
{
	struct channel *c = &p->ch[n];

	switch (c->rw) {
	case RW_LATCH: /* never programmed */
		return;
	case RW_LSB:
		channel_load(p, c, val);
		break;
	case RW_MSB:
		channel_load(p, c, (uint16_t)(val << 8));
		break;
	case RW_WORD:
		if (!c->write_high) {
			c->write_low = val;
			c->write_high = true;
			if (c->mode != 0)
				return;
			c->armed = false; /* mode 0: the first byte stops the count and OUT goes low */
			break;
		}
		c->write_high = false;
		channel_load(p, c, (uint16_t)(val << 8 | c->write_low));
		break;
	}
	pit_changed(p, n);
}

static uint8_t channel_read(const struct pit *p, struct channel *c)
{
	uint16_t v;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->count_latched) {
		v = c->latch;
	} else {
		uint32_t now = channel_value(c, pit_now(p));

		v = c->bcd ? to_bcd(now) : (uint16_t)now;
	}
	if (c->rw == RW_WORD) {
		high = c->read_high;
		c->read_high = !high;
		if (high)
			c->count_latched = false;
	} else {
		high = c->rw == RW_MSB;
		c->count_latched = false;
	}
	return (uint8_t)(high ? v >> 8 : v);
}

static uint64_t pit_read(void *dev, uint64_t off, unsigned size)
{
	struct pit *p = dev;
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++) {
		uint8_t b = off + i < 3 ? channel_read(p, &p->ch[off + i]) : 0; /* the control register reads as zero */

		val |= (uint64_t)b << (8 * i);
	}
	return val;
}

static void pit_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pit *p = dev;

	for (unsigned i = 0; i < size; i++) {
		uint8_t b = (uint8_t)(val >> (8 * i));

		if (off + i < 3)
			channel_write(p, (unsigned)(off + i), b);
		else
			pit_control(p, b);
	}
}

static uint64_t port61_read(void *dev, uint64_t off, unsigned size)
{
	const struct pit *p = dev;
	uint8_t val = p->port61;

	(void)off;
	(void)size;
	if (clock_ns(p->clock) / REFRESH_NS & 1)
		val |= P61_REFRESH;
	if (channel_out(&p->ch[2], pit_now(p)))
		val |= P61_OUT2;
	return val;
}

static void port61_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pit *p = dev;

	(void)off;
	(void)size;
	p->port61 = val & P61_WRITABLE;
	channel_set_gate(p, &p->ch[2], val & P61_GATE2);
}

const struct io_ops pit_ops = {"pit8254", pit_read, pit_write};
const struct io_ops pit_port61_ops = {"port61", port61_read, port61_write};

void pit_reset(struct pit *p)
{
	for (unsigned i = 0; i < 3; i++)
		/* Stopped until programmed. OUT of an unprogrammed mode 3 is high. */
		p->ch[i] =
			(struct channel){.mode = 3, .rw = RW_WORD, .gate = i != 2, .count = 65536, .null_count = true};
	p->port61 = 0;
	pit_forget(p);
	timer_cancel(&p->timer);
	irq_set(&p->irq, false);
}

struct pit *pit_new(struct clock *clock, struct irq_line irq)
{
	struct pit *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->clock = clock;
	p->irq = irq;
	timer_init(&p->timer, clock, pit_fire, p);
	pit_reset(p);
	return p;
}

void pit_free(struct pit *p)
{
	if (p)
		timer_cancel(&p->timer);
	free(p);
}
