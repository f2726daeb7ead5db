// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The PC's clock, keyboard and small devices, each through its io_ops, with a clock that stands still until the test moves it. What a driver
 * would do to find and use a device is done here in the order in which Linux does it, where that order is delicate. The
 * last line is the tally.
 */
#include "engine/pc/acpi_pm.h"
#include "engine/pc/debugport.h"
#include "engine/pc/i8042.h"
#include "engine/pc/pciconf.h"
#include "engine/pc/port92.h"
#include "engine/pc/rtc.h"

#include "tests/unit/device_test.h"

/* ---- RTC ---- */

static uint8_t cmos_get(struct rtc *r, uint8_t i)
{
	out8(&rtc_ops, r, 0, i);
	return in8(&rtc_ops, r, 1);
}

static void cmos_put(struct rtc *r, uint8_t i, uint8_t v)
{
	out8(&rtc_ops, r, 0, i);
	out8(&rtc_ops, r, 1, v);
}

static void test_rtc_time(struct tally *t)
{
	struct clock *c = fake_clock();
	/* 2024-02-29 23:59:58.5 UTC, a Thursday */
	struct wall wall = {c, 1709251198ll * (int64_t)SEC + 500000000};
	struct wire w = {0};
	struct rtc *r = rtc_new(c, line_to(&w), wall_now, &wall);

	EQ(cmos_get(r, 0x0d), 0x80);
	EQ(cmos_get(r, 0), 0x58);
	EQ(cmos_get(r, 2), 0x59);
	EQ(cmos_get(r, 4), 0x23);
	EQ(cmos_get(r, 6), 5);
	EQ(cmos_get(r, 7), 0x29);
	EQ(cmos_get(r, 8), 0x02);
	EQ(cmos_get(r, 9), 0x24);
	EQ(cmos_get(r, 0x32), 0x20);
	EQ(cmos_get(r, 0x0a) & 0x80, 0);
	advance(c, 499800000); /* 200 us before the update */
	EQ(cmos_get(r, 0x0a) & 0x80, 0x80);
	advance(c, 200000);
	EQ(cmos_get(r, 0x0a) & 0x80, 0);
	EQ(cmos_get(r, 0), 0x59);
	advance(c, SEC);
	EQ(cmos_get(r, 0), 0);
	EQ(cmos_get(r, 7), 1);
	EQ(cmos_get(r, 8), 3);
	/* 12 hours, binary */
	cmos_put(r, 0x0b, 0x04);
	EQ(cmos_get(r, 4), 12);
	EQ(cmos_get(r, 9), 24);
	advance(c, 13 * 3600 * SEC);
	EQ(cmos_get(r, 4), 0x81);
	/* mc146818_set_time: SET, divider reset, registers, and back */
	cmos_put(r, 0x0b, 0x82);
	cmos_put(r, 0x0a, 0x76);
	cmos_put(r, 9, 0x31);
	cmos_put(r, 8, 0x12);
	cmos_put(r, 7, 0x31);
	cmos_put(r, 4, 0x23);
	cmos_put(r, 2, 0x59);
	cmos_put(r, 0, 0x59);
	cmos_put(r, 0x32, 0x19);
	advance(c, 10 * SEC);
	EQ(cmos_get(r, 0), 0x59); /* stands still */
	cmos_put(r, 0x0b, 0x02);
	cmos_put(r, 0x0a, 0x26);
	advance(c, 490000000);
	EQ(cmos_get(r, 0), 0x59);
	advance(c, 20000000);
	EQ(cmos_get(r, 0), 0x00);
	EQ(cmos_get(r, 9), 0x32);
	EQ(cmos_get(r, 0x32), 0x19);
	EQ(cmos_get(r, 6), 6); /* 1932-01-01 was a Friday */
	rtc_reset(r);
	EQ(cmos_get(r, 9), 0x32);
	/* RAM, sizes, NMI */
	cmos_put(r, 0x40, 0xa5);
	EQ(cmos_get(r, 0x40), 0xa5);
	rtc_set_sizes(r, 3ull << 30, 1ull << 30, 2);
	EQ(cmos_get(r, 0x15) | cmos_get(r, 0x16) << 8, 640);
	EQ(cmos_get(r, 0x30) | cmos_get(r, 0x31) << 8, 0xffff);
	EQ(cmos_get(r, 0x34) | cmos_get(r, 0x35) << 8, ((3ull << 30) - (16 << 20)) >> 16);
	EQ(cmos_get(r, 0x5b) | cmos_get(r, 0x5c) << 8 | cmos_get(r, 0x5d) << 16, 1 << 14);
	EQ(cmos_get(r, 0x5f), 1);
	TRUE(!rtc_nmi_masked(r));
	out8(&rtc_ops, r, 0, 0x8f);
	TRUE(rtc_nmi_masked(r));
	rtc_free(r);
	EQ(c->nheap, 0);
	free(c);
}

/* With virtual time two runs of a machine see one clock, also when the guest sets it: the host's wall clock has no part in it. */
static void test_rtc_virtual(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wall wall = {c, 1709251198ll * (int64_t)SEC};
	struct wire w = {0};
	struct rtc *r;

	clock_make_virtual(c);
	r = rtc_new(c, line_to(&w), wall_now, &wall);
	EQ(cmos_get(r, 9), 0x26);
	cmos_put(r, 9, 0x31); /* while it runs */
	EQ(cmos_get(r, 9), 0x31);
	cmos_put(r, 0x0b, 0x82); /* held back, as setting is meant to be done */
	cmos_put(r, 8, 0x07);
	cmos_put(r, 4, 0x17);
	cmos_put(r, 0x0b, 0x02);
	EQ(cmos_get(r, 9), 0x31);
	EQ(cmos_get(r, 8), 0x07);
	EQ(cmos_get(r, 4), 0x17);
	rtc_free(r);
	free(c);
}

static void test_rtc_interrupts(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wall wall = {c, 1709251198ll * (int64_t)SEC + 500000000};
	struct wire w = {0};
	struct rtc *r = rtc_new(c, line_to(&w), wall_now, &wall);
	unsigned n = 0;

	cmos_get(r, 0x0c);
	advance(c, 2 * SEC);
	EQ(w.rises, 0);
	EQ(cmos_get(r, 0x0c), 0x70); /* flags without interrupts; midnight is the alarm's default */
	EQ(cmos_get(r, 0x0c), 0);
	cmos_put(r, 0x0b, 0x12); /* update-ended */
	advance(c, 499 * MS);
	TRUE(!w.level);
	advance(c, 2 * MS);
	TRUE(w.level);
	EQ(cmos_get(r, 0x0c) & 0xb0, 0x90);
	TRUE(!w.level);
	advance(c, SEC);
	EQ(w.rises, 2);
	advance(c, 5 * SEC);
	EQ(w.rises, 2); /* C has not been read */
	cmos_get(r, 0x0c);
	/* periodic, 1024 Hz */
	cmos_put(r, 0x0b, 0x42);
	w.rises = 0;
	for (unsigned i = 0; i < 10000; i++) {
		advance(c, MS / 10);
		if (w.level) {
			EQ(cmos_get(r, 0x0c) & 0xc0, 0xc0);
			n++;
		}
	}
	TRUE(n >= 1023 && n <= 1025);
	/* alarm: it is about 00:00:09 now */
	cmos_put(r, 0x0b, 0x22);
	cmos_get(r, 0x0c);
	cmos_put(r, 1, 0x30);
	cmos_put(r, 3, 0x02);
	cmos_put(r, 5, 0xc0); /* any hour */
	w.rises = 0;
	advance(c, 140 * SEC);
	EQ(w.rises, 0);
	advance(c, 4 * SEC);
	EQ(w.rises, 1);
	EQ(cmos_get(r, 2), 0x02);
	TRUE(cmos_get(r, 0x0c) & 0x20);
	advance(c, 3590 * SEC);
	EQ(w.rises, 1);
	advance(c, 20 * SEC);
	EQ(w.rises, 2);
	rtc_free(r);
	free(c);
}

/* ---- 8042 ---- */

static uint8_t kbc_take(struct tally *t, struct i8042 *k, uint8_t status)
{
	EQ(in8(&i8042_cmd_ops, k, 0) & 0x21, status);
	return in8(&i8042_data_ops, k, 0);
}

static void aux_send(struct i8042 *k, uint8_t b)
{
	out8(&i8042_cmd_ops, k, 0, 0xd4);
	out8(&i8042_data_ops, k, 0, b);
}

static void pass_ms(struct clock *c, unsigned ms)
{
	while (ms--) {
		atomic_store(&c->stopped_at_ns, clock_ns(c) + 1000000);
		clock_run_timers(c);
	}
}

/* The next byte that is typed, or 0 when none comes. */
static uint8_t typed(struct clock *c, struct i8042 *k)
{
	for (unsigned ms = 0; ms < 40; ms++) {
		if (in8(&i8042_cmd_ops, k, 0) & 1)
			return in8(&i8042_data_ops, k, 0);
		pass_ms(c, 1);
	}
	return 0;
}

static void typed_is(struct tally *t, struct clock *c, struct i8042 *k, const char *codes)
{
	for (; *codes; codes++)
		EQ(typed(c, k), (uint8_t)*codes);
	EQ(typed(c, k), 0);
}

/* With translation on, as test_i8042 has left it. */
static void typing(struct tally *t, struct clock *c, struct i8042 *k)
{
	struct error e;
	unsigned moves;
	char most[513];

	TRUE(i8042_type(k, "aB<f12>\n", &moves, &e) == ST_OK);
	EQ(moves, 10);
	typed_is(t, c, k, "\x1e\x9e" "\x2a\x30\xb0\xaa" "\x58\xd8" "\x1c\x9c");
	TRUE(i8042_type(k, "<alt-ctrl-delete><lt><shift-a><,>", &moves, &e) == ST_OK);
	typed_is(t, c, k, "\x1d\x38\xe0\x53\xe0\xd3\xb8\x9d" "\x2a\x33\xb3\xaa" "\x2a\x1e\x9e\xaa" "\x33\xb3");
	/* no key, or too many */
	TRUE(i8042_type(k, "<nokey>", &moves, &e) == ST_INVALID);
	TRUE(i8042_type(k, "<ctrl-ctrl-a>", &moves, &e) == ST_INVALID);
	TRUE(i8042_type(k, "<ctrl-", &moves, &e) == ST_INVALID);
	TRUE(i8042_type(k, "<>", &moves, &e) == ST_INVALID);
	TRUE(i8042_type(k, "\xc3\xa4", &moves, &e) == ST_INVALID);
	memset(most, 'A', sizeof(most));
	most[512] = 0;
	for (unsigned i = 0; i < 2; i++)
		TRUE(i8042_type(k, most, &moves, &e) == ST_OK);
	TRUE(i8042_type(k, "x", &moves, &e) == ST_BUSY);
	/* the keyboard says nothing while it is off, and forgets nothing */
	out8(&i8042_cmd_ops, k, 0, 0xad);
	EQ(typed(c, k), 0);
	out8(&i8042_cmd_ops, k, 0, 0xae);
	EQ(typed(c, k), 0x2a);
	EQ(typed(c, k), 0x1e);
	/* without translation it is set 2 */
	out8(&i8042_cmd_ops, k, 0, 0x60);
	out8(&i8042_data_ops, k, 0, 0x07);
	EQ(typed(c, k), 0xf0);
	EQ(typed(c, k), 0x1c);
	/* a reset ends it */
	i8042_reset(k);
	EQ(typed(c, k), 0);
}

static void test_i8042(struct tally *t)
{
	struct wire kbd = {0}, aux = {0};
	unsigned resets = 0;
	bool a20 = true;
	struct clock *c = fake_clock();
	struct i8042_config cfg = {line_to(&kbd), line_to(&aux), c, &a20, count_call, &resets};
	struct i8042 *k = i8042_new(&cfg);
	uint8_t ctr;

	EQ(in8(&i8042_cmd_ops, k, 0) & 0x03, 0);
	out8(&i8042_cmd_ops, k, 0, 0x20);
	ctr = kbc_take(t, k, 0x01);
	EQ(ctr, 0x65);
	out8(&i8042_cmd_ops, k, 0, 0xaa);
	EQ(kbc_take(t, k, 0x01), 0x55);
	out8(&i8042_cmd_ops, k, 0, 0x60);
	out8(&i8042_data_ops, k, 0, 0x74); /* both off, no interrupts */
	/* i8042_check_aux: loop, then the aux test */
	out8(&i8042_cmd_ops, k, 0, 0xd3);
	out8(&i8042_data_ops, k, 0, 0x5a);
	EQ(kbc_take(t, k, 0x21), 0x5a);
	out8(&i8042_cmd_ops, k, 0, 0xa9);
	EQ(kbc_take(t, k, 0x01), 0);
	out8(&i8042_cmd_ops, k, 0, 0xa8);
	out8(&i8042_cmd_ops, k, 0, 0x20);
	EQ(kbc_take(t, k, 0x01), 0x54);
	out8(&i8042_cmd_ops, k, 0, 0xa7);
	out8(&i8042_cmd_ops, k, 0, 0x20);
	EQ(kbc_take(t, k, 0x01), 0x74);
	/* the aux interrupt arrives */
	out8(&i8042_cmd_ops, k, 0, 0x60);
	out8(&i8042_data_ops, k, 0, 0x47);
	kbd.rises = aux.rises = 0;
	out8(&i8042_cmd_ops, k, 0, 0xd3);
	out8(&i8042_data_ops, k, 0, 0xa5);
	EQ(aux.rises, 1);
	EQ(kbd.rises, 0);
	EQ(kbc_take(t, k, 0x21), 0xa5);
	TRUE(!aux.level);
	/* keyboard: reset, identify (translated), LEDs, echo, nonsense */
	out8(&i8042_data_ops, k, 0, 0xff);
	EQ(kbc_take(t, k, 0x01), 0xfa);
	EQ(kbc_take(t, k, 0x01), 0xaa);
	EQ(kbd.rises, 2);
	out8(&i8042_data_ops, k, 0, 0xf2);
	EQ(kbc_take(t, k, 0x01), 0xfa);
	EQ(kbc_take(t, k, 0x01), 0xab);
	EQ(kbc_take(t, k, 0x01), 0x41);
	out8(&i8042_data_ops, k, 0, 0xed);
	EQ(kbc_take(t, k, 0x01), 0xfa);
	out8(&i8042_data_ops, k, 0, 0x07);
	EQ(kbc_take(t, k, 0x01), 0xfa);
	out8(&i8042_data_ops, k, 0, 0xf0);
	EQ(kbc_take(t, k, 0x01), 0xfa);
	out8(&i8042_data_ops, k, 0, 0x00);
	EQ(kbc_take(t, k, 0x01), 0xfa);
	EQ(kbc_take(t, k, 0x01), 2);
	out8(&i8042_data_ops, k, 0, 0xee);
	EQ(kbc_take(t, k, 0x01), 0xee);
	out8(&i8042_data_ops, k, 0, 0x01);
	EQ(kbc_take(t, k, 0x01), 0xfe);
	EQ(in8(&i8042_cmd_ops, k, 0) & 1, 0);
	/* mouse */
	aux_send(k, 0xff);
	EQ(kbc_take(t, k, 0x21), 0xfa);
	EQ(kbc_take(t, k, 0x21), 0xaa);
	EQ(kbc_take(t, k, 0x21), 0x00);
	aux_send(k, 0xf3);
	EQ(kbc_take(t, k, 0x21), 0xfa);
	aux_send(k, 200);
	EQ(kbc_take(t, k, 0x21), 0xfa);
	aux_send(k, 0xe9);
	EQ(kbc_take(t, k, 0x21), 0xfa);
	EQ(kbc_take(t, k, 0x21), 0);
	EQ(kbc_take(t, k, 0x21), 2);
	EQ(kbc_take(t, k, 0x21), 200);
	typing(t, c, k);
	/* A20, output port, reset */
	out8(&i8042_cmd_ops, k, 0, 0xd1);
	out8(&i8042_data_ops, k, 0, 0xdd);
	TRUE(!a20);
	out8(&i8042_cmd_ops, k, 0, 0xd0);
	EQ(kbc_take(t, k, 0x01) & 3, 1);
	out8(&i8042_cmd_ops, k, 0, 0xdf);
	TRUE(a20);
	out8(&i8042_cmd_ops, k, 0, 0xff);
	EQ(resets, 0);
	out8(&i8042_cmd_ops, k, 0, 0xfe);
	EQ(resets, 1);
	i8042_free(k);
	free(c);
}

/* ---- the small ones ---- */

static void exit_called(void *ctx, uint32_t value)
{
	*(uint32_t *)ctx = value + 1;
}

static void test_small(struct tally *t)
{
	struct clock *c = fake_clock();
	unsigned resets = 0;
	uint32_t exit_value = 0;
	bool a20 = true;
	struct port92 p92;
	struct pciconf pci;
	struct debugport dbg;
	struct capture cap;

	port92_init(&p92, &a20, count_call, &resets);
	EQ(in8(&port92_ops, &p92, 0), 2);
	out8(&port92_ops, &p92, 0, 0);
	TRUE(!a20);
	out8(&port92_ops, &p92, 0, 3);
	out8(&port92_ops, &p92, 0, 3);
	TRUE(a20);
	EQ(resets, 1);

	pciconf_init(&pci, count_call, &resets);
	pciconf_ops.write(&pci, 3, 1, 1);
	pciconf_ops.write(&pci, 0, 4, 0x80000000u);
	EQ(pciconf_ops.read(&pci, 0, 4), 0x80000000u);
	EQ((uint32_t)pciconf_ops.read(&pci, 4, 4), 0xffffffffu);
	EQ((uint16_t)pciconf_ops.read(&pci, 6, 2), 0xffff);
	out8(&pciconf_ops, &pci, 1, 0x02);
	EQ(resets, 1);
	out8(&pciconf_ops, &pci, 1, 0x06);
	EQ(resets, 2);
	EQ(pciconf_ops.read(&pci, 0, 4), 0x80000000u);

	capture_init(&cap);
	debugport_init(&dbg, c, exit_called, &exit_value);
	dbg.console.chr = &cap.chr;
	EQ(in8(&debugport_console_ops, &dbg, 0), 0xe9);
	for (const char *s = "hello\nworld"; *s; s++)
		out8(&debugport_console_ops, &dbg, 0, (uint8_t)*s);
	EQ(cap.writes, 1);
	advance(c, 2 * MS);
	EQ(cap.writes, 2);
	TRUE(cap.n == 11 && !memcmp(cap.text, "hello\nworld", 11));
	out8(&debugport_post_ops, &dbg, 0, 0x55);
	debugport_exit_ops.write(&dbg, 0, 4, 0x10);
	EQ(exit_value, 0x11);
	debugport_fini(&dbg);
	free(c);
}

/* ---- ACPI ---- */

static void test_acpi(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wire sci = {0};
	unsigned offs = 0;
	struct acpi_pm_config cfg = {.smi_enable = 0xf1, .smi_disable = 0xf0, .power_off = count_call, .ctx = &offs};
	struct acpi_pm *pm = acpi_pm_new(c, line_to(&sci), &cfg);

	advance(c, SEC);
	EQ(acpi_pm_ops.read(pm, 8, 4), PM_TIMER_HZ);
	EQ(acpi_pm_ops.read(pm, 9, 1), PM_TIMER_HZ >> 8 & 0xff);
	EQ(acpi_pm_ops.read(pm, 4, 2), 0);
	out8(&acpi_smi_ops, pm, 0, 0xf1);
	EQ(acpi_pm_ops.read(pm, 4, 2), 1);
	/* power button */
	acpi_pm_power_button(pm);
	TRUE(!sci.level);
	acpi_pm_ops.write(pm, 2, 2, 0x0100);
	TRUE(sci.level);
	EQ(acpi_pm_ops.read(pm, 0, 2), 0x0100);
	acpi_pm_ops.write(pm, 0, 2, 0x0100);
	TRUE(!sci.level);
	/* timer carry: bit 31 changes after 600 s */
	acpi_pm_ops.write(pm, 2, 2, 0x0001);
	advance(c, 598 * SEC);
	TRUE(!sci.level);
	advance(c, 2 * SEC);
	TRUE(sci.level);
	acpi_pm_ops.write(pm, 0, 2, 0x0001);
	TRUE(!sci.level);
	advance(c, 600 * SEC);
	TRUE(sci.level);
	acpi_pm_ops.write(pm, 0, 4, 0x0001);
	TRUE(!sci.level);
	/* general-purpose events: real registers, no events */
	acpi_pm_ops.write(pm, 0x22, 2, 0xffff);
	EQ(acpi_pm_ops.read(pm, 0x20, 4), 0xffff0000u);
	TRUE(!sci.level);
	/* S5 by a full write and by the high byte */
	acpi_pm_ops.write(pm, 4, 2, 0x0401);
	acpi_pm_ops.write(pm, 4, 2, 0x2401);
	EQ(offs, 0); /* another sleep type */
	acpi_pm_ops.write(pm, 4, 2, 0x2001);
	EQ(offs, 1);
	EQ(acpi_pm_ops.read(pm, 4, 2), 1);
	out8(&acpi_pm_ops, pm, 5, 0x20);
	EQ(offs, 2);
	acpi_pm_free(pm);
	EQ(c->nheap, 0);
	free(c);
}

int main(void)
{
	void (*const tests[])(struct tally *) = {
		test_rtc_time, test_rtc_virtual, test_rtc_interrupts, test_i8042, test_small, test_acpi,
	};
	struct tally tally = {0};

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
