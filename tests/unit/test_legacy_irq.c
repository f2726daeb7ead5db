// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 8259 pair and the 8254, each through its io_ops, with a clock that stands still until the test moves it. The last line is the
 * tally. What a late host does to ticks is in test_ticks.c.
 */
#include "engine/pc/pic8259.h"
#include "engine/pc/pit8254.h"

#include "tests/unit/device_test.h"

/* ---- 8259 ---- */

static void pic_program(struct pic *p, uint8_t icw4)
{
	out8(&pic_master_ops, p, 0, 0x11);
	out8(&pic_master_ops, p, 1, 0x30);
	out8(&pic_master_ops, p, 1, 0x04);
	out8(&pic_master_ops, p, 1, icw4);
	out8(&pic_slave_ops, p, 0, 0x11);
	out8(&pic_slave_ops, p, 1, 0x38);
	out8(&pic_slave_ops, p, 1, 0x02);
	out8(&pic_slave_ops, p, 1, icw4);
}

static void pulse(struct pic *p, unsigned irq)
{
	pic_set_line(p, irq, false);
	pic_set_line(p, irq, true);
}

static void test_pic_basic(struct tally *t)
{
	struct wire w = {0};
	struct pic *p = pic_new(intr_set, &w);

	pulse(p, 0);
	TRUE(!pic_intr(p)); /* masked until programmed */
	pic_program(p, 0x01);
	/* Linux's probe of a present controller */
	out8(&pic_master_ops, p, 1, 0xfb);
	EQ(in8(&pic_master_ops, p, 1), 0xfb);
	out8(&pic_master_ops, p, 1, 0);
	TRUE(!pic_intr(p)); /* ICW1 forgot the edge */
	pulse(p, 4);
	TRUE(pic_intr(p) && w.level);
	pulse(p, 1);
	EQ(pic_ack(p), 0x31);
	TRUE(!pic_intr(p)); /* 4 waits behind 1 */
	pulse(p, 0);
	EQ(pic_ack(p), 0x30); /* 0 nests */
	out8(&pic_master_ops, p, 0, 0x0b);
	EQ(in8(&pic_master_ops, p, 0), 0x03);
	out8(&pic_master_ops, p, 0, 0x0a);
	EQ(in8(&pic_master_ops, p, 0), 0x10);
	out8(&pic_master_ops, p, 0, 0x20);
	out8(&pic_master_ops, p, 0, 0x61); /* specific EOI 1 */
	EQ(pic_ack(p), 0x34);
	out8(&pic_master_ops, p, 0, 0x20);
	/* mask and unmask a latched edge */
	out8(&pic_master_ops, p, 1, 0x08);
	pulse(p, 3);
	TRUE(!pic_intr(p));
	out8(&pic_master_ops, p, 1, 0);
	TRUE(pic_intr(p));
	out8(&pic_master_ops, p, 1, 0x08);
	EQ(pic_ack(p), 0x37); /* gone: spurious */
	out8(&pic_master_ops, p, 0, 0x0b);
	EQ(in8(&pic_master_ops, p, 0), 0);
	pic_free(p);
}

static void test_pic_slave(struct tally *t)
{
	struct wire w = {0};
	struct pic *p = pic_new(intr_set, &w);

	pic_program(p, 0x01);
	pulse(p, 12);
	pulse(p, 8);
	EQ(pic_ack(p), 0x38);
	TRUE(!pic_intr(p));
	pulse(p, 3);
	TRUE(!pic_intr(p)); /* IR2 is in service */
	out8(&pic_slave_ops, p, 0, 0x20);
	out8(&pic_master_ops, p, 0, 0x62);
	EQ(pic_ack(p), 0x3c);
	out8(&pic_slave_ops, p, 0, 0x20);
	out8(&pic_master_ops, p, 0, 0x20);
	EQ(pic_ack(p), 0x33);
	out8(&pic_master_ops, p, 0, 0x20);
	/* master's EOI first */
	pulse(p, 9);
	EQ(pic_ack(p), 0x39);
	pulse(p, 10);
	out8(&pic_master_ops, p, 0, 0x20);
	TRUE(!pic_intr(p));
	out8(&pic_slave_ops, p, 0, 0x20);
	EQ(pic_ack(p), 0x3a);
	out8(&pic_slave_ops, p, 0, 0x20);
	out8(&pic_master_ops, p, 0, 0x20);
	/* level-triggered: stays requested until the line falls; nothing stale on IR2 afterwards */
	out8(&pic_elcr_ops, p, 1, 0x02);
	pic_set_line(p, 9, false);
	pic_set_line(p, 9, true);
	EQ(pic_ack(p), 0x39);
	out8(&pic_slave_ops, p, 0, 0x20);
	out8(&pic_master_ops, p, 0, 0x20);
	TRUE(pic_intr(p));
	pic_set_line(p, 9, false);
	TRUE(!pic_intr(p));
	out8(&pic_elcr_ops, p, 0, 0xff);
	EQ(in8(&pic_elcr_ops, p, 0), 0xf8);
	EQ(pic_elcr_ops.read(p, 0, 2), 0x02f8);
	/* special fully nested: a higher slave request while IR2 is in service */
	pic_program(p, 0x11);
	out8(&pic_elcr_ops, p, 1, 0);
	pulse(p, 14);
	EQ(pic_ack(p), 0x3e);
	pulse(p, 8);
	EQ(pic_ack(p), 0x38);
	pic_free(p);
}

static void test_pic_modes(struct tally *t)
{
	struct wire w = {0};
	struct pic *p = pic_new(intr_set, &w);

	pic_program(p, 0x03); /* automatic EOI */
	pulse(p, 5);
	EQ(pic_ack(p), 0x35);
	out8(&pic_master_ops, p, 0, 0x0b);
	EQ(in8(&pic_master_ops, p, 0), 0);
	out8(&pic_master_ops, p, 0, 0x80); /* rotate in AEOI */
	pulse(p, 5);
	EQ(pic_ack(p), 0x35);
	pulse(p, 5);
	pulse(p, 6);
	EQ(pic_ack(p), 0x36); /* 5 is lowest now */
	EQ(pic_ack(p), 0x35);
	pic_program(p, 0x01);
	out8(&pic_master_ops, p, 0, 0xc3); /* lowest: 3, so 4 is highest */
	pulse(p, 0);
	pulse(p, 4);
	EQ(pic_ack(p), 0x34);
	out8(&pic_master_ops, p, 0, 0xa0); /* rotate on non-specific EOI: 4 becomes lowest */
	pulse(p, 4);
	EQ(pic_ack(p), 0x30);
	out8(&pic_master_ops, p, 0, 0xe0); /* rotate on specific EOI 0 */
	EQ(pic_ack(p), 0x34);
	out8(&pic_master_ops, p, 0, 0x20);
	/* special mask: a masked in-service input lets lower ones through */
	pic_program(p, 0x01);
	pulse(p, 1);
	EQ(pic_ack(p), 0x31);
	pulse(p, 6);
	TRUE(!pic_intr(p));
	out8(&pic_master_ops, p, 1, 0x02);
	out8(&pic_master_ops, p, 0, 0x68);
	TRUE(pic_intr(p));
	EQ(pic_ack(p), 0x36);
	/* poll */
	pic_program(p, 0x01);
	out8(&pic_master_ops, p, 0, 0x0c);
	EQ(in8(&pic_master_ops, p, 0), 0);
	pulse(p, 3);
	out8(&pic_master_ops, p, 0, 0x0c);
	EQ(in8(&pic_master_ops, p, 0), 0x83);
	TRUE(!pic_intr(p));
	out8(&pic_master_ops, p, 0, 0x0b);
	EQ(in8(&pic_master_ops, p, 0), 0x08);
	pic_free(p);
}

/* ---- 8254 ---- */

static uint16_t pit_count(struct pit *p, unsigned ch)
{
	uint8_t lo = in8(&pit_ops, p, ch);

	return (uint16_t)(in8(&pit_ops, p, ch) << 8 | lo);
}

static void pit_load(struct pit *p, unsigned ch, uint8_t control, uint16_t n)
{
	out8(&pit_ops, p, 3, (uint8_t)(ch << 6 | control));
	out8(&pit_ops, p, ch, (uint8_t)n);
	out8(&pit_ops, p, ch, (uint8_t)(n >> 8));
}

static bool out2(struct pit *p)
{
	return in8(&pit_port61_ops, p, 0) & 0x20;
}

static uint64_t ticks_ns(uint64_t ticks)
{
	return (ticks * SEC + PIT_HZ - 1) / PIT_HZ;
}

static void test_pit_irq(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wire w = {0};
	struct pit *p = pit_new(c, line_to(&w));

	advance(c, SEC);
	EQ(w.rises, 0);
	pit_load(p, 0, 0x34, 11932); /* mode 2, 100 Hz */
	w.rises = 0;
	advance(c, SEC);
	TRUE(w.rises >= 99 && w.rises <= 100);
	pit_load(p, 0, 0x36, 1193); /* mode 3, 1000.15 Hz */
	w.rises = 0;
	advance(c, SEC);
	EQ(w.rises, 1000);
	/* one-shot by mode 0, as Linux's clock event device does it */
	pit_load(p, 0, 0x30, 1193);
	TRUE(!w.level);
	w.rises = 0;
	advance(c, 999000);
	EQ(w.rises, 0);
	advance(c, 2000);
	EQ(w.rises, 1);
	advance(c, SEC);
	EQ(w.rises, 1);
	pit_load(p, 0, 0x38, 100); /* mode 4: one strobe */
	w.rises = 0;
	advance(c, SEC);
	EQ(w.rises, 1);
	/* a host that comes late finds one edge, and the phase kept */
	pit_load(p, 0, 0x34, 1000);
	w.rises = 0;
	atomic_store(&c->stopped_at_ns, clock_ns(c) + ticks_ns(10500));
	clock_run_timers(c);
	EQ(w.rises, 1);
	advance(c, ticks_ns(501));
	EQ(w.rises, 2);
	pit_free(p);
	EQ(c->nheap, 0);
	free(c);
}

static void test_pit_counts(struct tally *t)
{
	struct clock *c = fake_clock();
	struct pit *p = pit_new(c, (struct irq_line){0});
	uint16_t a;

	pit_load(p, 0, 0x34, 0); /* 65536 */
	advance(c, ticks_ns(1000));
	EQ(pit_count(p, 0), 65536 - 1000);
	out8(&pit_ops, p, 3, 0x00); /* latch */
	advance(c, ticks_ns(500));
	EQ(pit_count(p, 0), 65536 - 1000);
	a = pit_count(p, 0);
	TRUE(a >= 65536 - 1502 && a <= 65536 - 1499);
	/* read-back: count and status of channel 0 */
	out8(&pit_ops, p, 3, 0xc2);
	EQ(in8(&pit_ops, p, 0), 0xb4);
	a = pit_count(p, 0);
	TRUE(a >= 65536 - 1502 && a <= 65536 - 1499);
	out8(&pit_ops, p, 3, 0x34);
	out8(&pit_ops, p, 3, 0xe2); /* status only: the count is null */
	EQ(in8(&pit_ops, p, 0), 0xf4);
	/* BCD */
	pit_load(p, 0, 0x35, 0x1000);
	advance(c, ticks_ns(1));
	EQ(pit_count(p, 0), 0x0999);
	/* one-byte access */
	out8(&pit_ops, p, 3, 0x14);
	out8(&pit_ops, p, 0, 100);
	advance(c, ticks_ns(10));
	TRUE(in8(&pit_ops, p, 0) <= 91 && in8(&pit_ops, p, 0) >= 89);
	out8(&pit_ops, p, 3, 0x24);
	out8(&pit_ops, p, 0, 2);
	advance(c, ticks_ns(10));
	EQ(in8(&pit_ops, p, 0), 1);
	pit_free(p);
	free(c);
}

static void test_pit_channel2(struct tally *t)
{
	struct clock *c = fake_clock();
	struct pit *p = pit_new(c, (struct irq_line){0});
	unsigned toggles = 0;
	bool last;
	uint8_t msb;

	/* pit_calibrate_tsc: mode 0, 10 ms */
	out8(&pit_port61_ops, p, 0, (uint8_t)((in8(&pit_port61_ops, p, 0) & ~2) | 1));
	pit_load(p, 2, 0x30, 11932);
	TRUE(!out2(p));
	advance(c, 9990000);
	TRUE(!out2(p));
	advance(c, 20000);
	TRUE(out2(p));
	/* quick_pit_calibrate: the high byte falls once in 256 ticks */
	pit_load(p, 2, 0x30, 0xffff);
	in8(&pit_ops, p, 2);
	msb = in8(&pit_ops, p, 2);
	EQ(msb, 0xff);
	for (unsigned i = 0; i < 60; i++) {
		advance(c, ticks_ns(256));
		in8(&pit_ops, p, 2);
		EQ(in8(&pit_ops, p, 2), --msb);
	}
	/* the gate stops mode 0 and lets it go on */
	pit_load(p, 2, 0x30, 1000);
	advance(c, ticks_ns(400));
	out8(&pit_port61_ops, p, 0, 0);
	advance(c, SEC);
	TRUE(!out2(p));
	TRUE(pit_count(p, 2) / 10 == 60 || pit_count(p, 2) / 10 == 59);
	out8(&pit_port61_ops, p, 0, 1);
	advance(c, ticks_ns(590));
	TRUE(!out2(p));
	advance(c, ticks_ns(15));
	TRUE(out2(p));
	/* mode 3: a square wave while the gate is open */
	pit_load(p, 2, 0x36, 1000);
	TRUE(out2(p));
	advance(c, ticks_ns(510));
	TRUE(!out2(p));
	out8(&pit_port61_ops, p, 0, 0);
	TRUE(out2(p));
	/* mode 1: the gate triggers, and triggers again */
	pit_load(p, 2, 0x32, 1000);
	advance(c, SEC);
	TRUE(out2(p));
	out8(&pit_port61_ops, p, 0, 1);
	TRUE(!out2(p));
	advance(c, ticks_ns(900));
	out8(&pit_port61_ops, p, 0, 0);
	out8(&pit_port61_ops, p, 0, 1);
	advance(c, ticks_ns(900));
	TRUE(!out2(p));
	advance(c, ticks_ns(110));
	TRUE(out2(p));
	/* mode 5: a strobe of one tick after the trigger */
	out8(&pit_port61_ops, p, 0, 0);
	pit_load(p, 2, 0x3a, 10);
	out8(&pit_port61_ops, p, 0, 1);
	advance(c, ticks_ns(10));
	TRUE(!out2(p));
	advance(c, ticks_ns(2));
	TRUE(out2(p));
	/* the refresh bit moves by itself, the latched bits stay */
	out8(&pit_port61_ops, p, 0, 0xff);
	EQ(in8(&pit_port61_ops, p, 0) & 0x0f, 0x0f);
	last = in8(&pit_port61_ops, p, 0) & 0x10;
	for (unsigned i = 0; i < 1000; i++) {
		bool now;

		advance(c, 1000);
		now = in8(&pit_port61_ops, p, 0) & 0x10;
		toggles += now != last;
		last = now;
	}
	TRUE(toggles >= 65 && toggles <= 67);
	pit_free(p);
	free(c);
}

int main(void)
{
	void (*const tests[])(struct tally *) = {
		test_pic_basic, test_pic_slave, test_pic_modes, test_pit_irq, test_pit_counts, test_pit_channel2,
	};
	struct tally tally = {0};

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
