// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 8254's ticks on a host that has no time: those that nobody raised, or that the guest could not take yet, are owed and come one by one
 * behind the guest's end of interrupt, through an 8259 that is programmed as PCs do it. The last line is the tally.
 */
#include "engine/pc/pic8259.h"
#include "engine/pc/pit8254.h"

#include "tests/unit/device_test.h"

#define PERIOD 1193u /* ticks: 1000.15 Hz */

struct scene {
	struct clock *c;
	struct pic *pic;
	struct pit *pit;
};

static void to_ir0(void *ctx, unsigned n, bool level)
{
	struct scene *s = ctx;

	pic_set_line(s->pic, n, level);
}

static bool heard(void *ctx, unsigned n)
{
	const struct scene *s = ctx;

	(void)n;
	return pic_hears_ir0(s->pic);
}

static bool always(void *ctx, unsigned n)
{
	(void)ctx;
	(void)n;
	return true;
}

static void pit_program(struct pit *p, uint8_t control, uint16_t n)
{
	out8(&pit_ops, p, 3, control);
	out8(&pit_ops, p, 0, (uint8_t)n);
	out8(&pit_ops, p, 0, (uint8_t)(n >> 8));
}

static void scene_open(struct scene *s, uint8_t icw4)
{
	s->c = fake_clock();
	s->pic = pic_new(NULL, NULL);
	s->pit = pit_new(s->c, (struct irq_line){.set = to_ir0, .heard = heard, .ctx = s});
	pic_watch_ir0(s->pic, pit_ended, s->pit);
	out8(&pic_master_ops, s->pic, 0, 0x11);
	out8(&pic_master_ops, s->pic, 1, 0x30);
	out8(&pic_master_ops, s->pic, 1, 0x04);
	out8(&pic_master_ops, s->pic, 1, icw4);
	out8(&pic_master_ops, s->pic, 1, 0xfe);
	pit_program(s->pit, 0x34, PERIOD);
	while (pic_intr(s->pic)) { /* OUT rose with the control word */
		pic_ack(s->pic);
		out8(&pic_master_ops, s->pic, 0, 0x20);
	}
}

static void scene_close(struct scene *s)
{
	pit_free(s->pit);
	pic_free(s->pic);
	free(s->c);
}

static uint64_t periods(uint64_t n)
{
	return (n * PERIOD * SEC + PIT_HZ - 1) / PIT_HZ;
}

/* The host does nothing for n periods and a bit, then runs what is due. */
static void late(struct scene *s, uint64_t n)
{
	atomic_store(&s->c->stopped_at_ns, clock_ns(s->c) + periods(n) + 1000);
	clock_run_timers(s->c);
}

/* The guest takes and ends what there is. Ticks; none may be there before the end of the one before. */
static unsigned take(struct tally *t, struct scene *s, bool eoi)
{
	unsigned n = 0;

	for (; pic_intr(s->pic) && n < 100000; n++) {
		EQ(pic_ack(s->pic), 0x30);
		if (!eoi)
			continue;
		TRUE(!pic_intr(s->pic));
		out8(&pic_master_ops, s->pic, 1, 0xfe); /* no end */
		TRUE(!pic_intr(s->pic));
		out8(&pic_master_ops, s->pic, 0, 0x60);
	}
	return n;
}

static void test_late_host(struct tally *t)
{
	struct scene s;

	for (unsigned aeoi = 0; aeoi < 2; aeoi++) {
		scene_open(&s, aeoi ? 0x03 : 0x01);
		late(&s, 50);
		EQ(take(t, &s, !aeoi), 50);
		EQ(take(t, &s, !aeoi), 0);
		advance(s.c, periods(1)); /* and the phase is kept */
		EQ(take(t, &s, !aeoi), 1);
		scene_close(&s);
	}
}

/* A guest that polls the 8259 instead of being interrupted: no INTA cycle, with automatic EOI no end of interrupt either. */
static void test_polled(struct tally *t)
{
	struct scene s;

	for (unsigned aeoi = 0; aeoi < 2; aeoi++) {
		unsigned n = 0;

		scene_open(&s, aeoi ? 0x03 : 0x01);
		late(&s, 50);
		for (; pic_intr(s.pic) && n < 1000; n++) {
			out8(&pic_master_ops, s.pic, 0, 0x0c);
			EQ(in8(&pic_master_ops, s.pic, 0), 0x80);
			if (!aeoi)
				out8(&pic_master_ops, s.pic, 0, 0x20);
		}
		EQ(n, 50);
		scene_close(&s);
	}
}

/* The timers are on time; it is the processor that gets none. */
static void test_late_processor(struct tally *t)
{
	struct scene s;

	scene_open(&s, 0x01);
	advance(s.c, periods(80) + 1000);
	EQ(take(t, &s, true), 80);
	/* in service for three periods */
	advance(s.c, periods(1));
	EQ(pic_ack(s.pic), 0x30);
	advance(s.c, periods(3));
	TRUE(!pic_intr(s.pic));
	out8(&pic_master_ops, s.pic, 0, 0x20);
	EQ(take(t, &s, true), 3);
	scene_close(&s);
}

static void test_limits(struct tally *t)
{
	struct scene s;
	unsigned n;

	scene_open(&s, 0x01);
	late(&s, 5000);
	n = take(t, &s, true);
	TRUE(n >= 1000 && n <= 1002); /* a second's */
	/* a new count owes nothing */
	late(&s, 50);
	pit_program(s.pit, 0x34, PERIOD);
	n = take(t, &s, true);
	TRUE(n <= 2); /* the one raised, and OUT's rise by the control word */
	advance(s.c, periods(1));
	EQ(take(t, &s, true), 1);
	/* nobody hears: one edge is kept by the chip, as ever */
	out8(&pic_master_ops, s.pic, 1, 0xff);
	late(&s, 50);
	advance(s.c, periods(20));
	out8(&pic_master_ops, s.pic, 1, 0xfe);
	EQ(take(t, &s, true), 1);
	/* one shot is one */
	pit_program(s.pit, 0x30, PERIOD);
	take(t, &s, true);
	late(&s, 50);
	EQ(take(t, &s, true), 1);
	/* reset owes nothing */
	pit_program(s.pit, 0x34, PERIOD);
	late(&s, 50);
	pit_reset(s.pit);
	TRUE(take(t, &s, true) <= 1);
	advance(s.c, periods(50));
	EQ(take(t, &s, true), 0);
	scene_close(&s);
}

/* An end that never comes does not stop the clock. */
static void test_lost_end(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wire w = {0};
	struct pit *p = pit_new(c, (struct irq_line){.set = wire_set, .heard = always, .ctx = &w});

	pit_program(p, 0x34, PERIOD);
	w.rises = 0;
	advance(c, SEC);
	TRUE(w.rises >= 9 && w.rises <= 11);
	pit_free(p);
	free(c);
}

int main(void)
{
	struct tally t = {0};

	test_late_host(&t);
	test_polled(&t);
	test_late_processor(&t);
	test_limits(&t);
	test_lost_end(&t);
	printf("%u passed, %u failed\n", t.passed, t.failed);
	return t.failed != 0;
}
