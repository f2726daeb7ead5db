// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 16550A as Linux's driver probes and drives it; then every device of the board, port by port, under a guest that
 * writes and reads anything anywhere. The last line is the tally.
 */
#include "engine/pc/acpi_pm.h"
#include "engine/pc/debugport.h"
#include "engine/pc/i8042.h"
#include "engine/pc/pciconf.h"
#include "engine/pc/pic8259.h"
#include "engine/pc/pit8254.h"
#include "engine/pc/port92.h"
#include "engine/pc/rtc.h"
#include "engine/pc/uart16550.h"

#include "tests/unit/device_test.h"

/* ---- 16550 ---- */

enum { RBR = 0, THR = 0, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static void test_uart_probe(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wire w = {0};
	struct uart *u = uart_new(c, line_to(&w));

	/* Linux's autoconfig() */
	out8(&uart_ops, u, IER, 0);
	EQ(in8(&uart_ops, u, IER) & 0x0f, 0);
	out8(&uart_ops, u, IER, 0xff);
	EQ(in8(&uart_ops, u, IER), 0x0f);
	out8(&uart_ops, u, IER, 0);
	out8(&uart_ops, u, MCR, 0x1a);
	EQ(in8(&uart_ops, u, MSR) & 0xf0, 0x90);
	out8(&uart_ops, u, MCR, 0);
	out8(&uart_ops, u, LCR, 0xbf);
	out8(&uart_ops, u, FCR, 0);
	out8(&uart_ops, u, LCR, 0);
	out8(&uart_ops, u, FCR, 1);
	EQ(in8(&uart_ops, u, IIR) >> 6, 3);
	out8(&uart_ops, u, LCR, 0xbf);
	TRUE(in8(&uart_ops, u, 2) != 0); /* no EFR */
	out8(&uart_ops, u, LCR, 0);
	/* the THRE test of startup: enabling raises it each time, reading IIR takes it away */
	in8(&uart_ops, u, MSR);
	for (unsigned i = 0; i < 2; i++) {
		out8(&uart_ops, u, IER, 2);
		TRUE(w.level);
		EQ(in8(&uart_ops, u, IIR), 0xc2);
		TRUE(!w.level);
		EQ(in8(&uart_ops, u, IIR), 0xc1);
		out8(&uart_ops, u, IER, 0);
	}
	/* divisor latch and scratch */
	out8(&uart_ops, u, LCR, 0x83);
	uart_ops.write(u, 0, 2, 0x000c);
	EQ(uart_ops.read(u, 0, 2), 0x000c);
	out8(&uart_ops, u, LCR, 0x03);
	EQ(in8(&uart_ops, u, IER), 0);
	out8(&uart_ops, u, SCR, 0x5a);
	EQ(in8(&uart_ops, u, SCR), 0x5a);
	EQ(in8(&uart_ops, u, LSR), 0x60);
	EQ(in8(&uart_ops, u, MSR), 0xb0);
	uart_free(u);
	EQ(c->nheap, 0);
	free(c);
}

static void test_uart_transmit(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wire w = {0};
	struct uart *u = uart_new(c, line_to(&w));
	struct capture cap;

	capture_init(&cap);
	uart_attach(u, &cap.chr);
	out8(&uart_ops, u, FCR, 1);
	out8(&uart_ops, u, IER, 2);
	in8(&uart_ops, u, IIR);
	w.rises = 0;
	out8(&uart_ops, u, THR, 'a');
	EQ(w.rises, 1); /* a new edge for each */
	out8(&uart_ops, u, THR, 'b');
	EQ(w.rises, 2);
	EQ(cap.writes, 0);
	advance(c, 2 * MS); /* an echo leaves by itself */
	EQ(cap.writes, 1);
	for (unsigned i = 0; i < 79; i++)
		out8(&uart_ops, u, THR, 'x');
	out8(&uart_ops, u, THR, '\n');
	EQ(cap.writes, 2);
	EQ(cap.n, 82);
	for (unsigned i = 0; i < 1000; i++)
		out8(&uart_ops, u, THR, 'y');
	TRUE(cap.writes <= 4);
	uart_flush(u);
	EQ(cap.n, 1082);
	out8(&uart_ops, u, THR, 'z');
	uart_free(u);
	EQ(cap.n, 1083);
	TRUE(!cap.chr.dev);
	free(c);
}

static void test_uart_receive(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wire w = {0};
	struct uart *u = uart_new(c, line_to(&w));
	struct capture cap;

	capture_init(&cap);
	uart_attach(u, &cap.chr);
	/* without FIFOs: one byte at a time */
	EQ(cap.chr.can_receive(u), 1);
	cap.chr.receive(u, (const uint8_t *)"A", 1);
	EQ(cap.chr.can_receive(u), 0);
	EQ(in8(&uart_ops, u, LSR), 0x61);
	EQ(in8(&uart_ops, u, RBR), 'A');
	EQ(cap.resumes, 1);
	cap.chr.receive(u, (const uint8_t *)"BC", 2);
	EQ(in8(&uart_ops, u, LSR), 0x63); /* overrun */
	EQ(in8(&uart_ops, u, LSR), 0x61);
	EQ(in8(&uart_ops, u, RBR), 'C');
	/* FIFO, trigger level 8 */
	out8(&uart_ops, u, FCR, 0x81);
	out8(&uart_ops, u, IER, 5);
	EQ(cap.chr.can_receive(u), 16);
	cap.chr.receive(u, (const uint8_t *)"1234567", 7);
	TRUE(!w.level);
	cap.chr.receive(u, (const uint8_t *)"8", 1);
	TRUE(w.level);
	EQ(in8(&uart_ops, u, IIR), 0xc4);
	EQ(in8(&uart_ops, u, RBR), '1');
	TRUE(!w.level);
	advance(c, MS); /* the rest times out after four characters */
	TRUE(w.level);
	EQ(in8(&uart_ops, u, IIR), 0xcc);
	EQ(in8(&uart_ops, u, RBR), '2');
	TRUE(!w.level);
	for (unsigned i = 0; i < 6; i++)
		in8(&uart_ops, u, RBR);
	EQ(in8(&uart_ops, u, LSR), 0x60);
	advance(c, 100 * MS);
	TRUE(!w.level);
	/* full: the error comes first */
	cap.resumes = 0;
	cap.chr.receive(u, (const uint8_t *)"0123456789abcdefX", 17);
	EQ(in8(&uart_ops, u, IIR), 0xc6);
	EQ(in8(&uart_ops, u, LSR), 0x63);
	EQ(in8(&uart_ops, u, IIR), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		EQ(in8(&uart_ops, u, RBR), "0123456789abcdef"[i]);
	EQ(cap.resumes, 1);
	/* loopback: the cable is off, what goes out comes in, the modem lines follow */
	out8(&uart_ops, u, IER, 0);
	in8(&uart_ops, u, MSR);
	out8(&uart_ops, u, MCR, 0x10);
	EQ(in8(&uart_ops, u, MSR), 0x0b);
	EQ(cap.chr.can_receive(u), 0);
	out8(&uart_ops, u, THR, 'L');
	EQ(in8(&uart_ops, u, RBR), 'L');
	out8(&uart_ops, u, LCR, 0x43);
	EQ(in8(&uart_ops, u, LSR) & 0x11, 0x11);
	out8(&uart_ops, u, LCR, 0x03);
	out8(&uart_ops, u, MCR, 0x14);
	EQ(in8(&uart_ops, u, MSR), 0x40);
	out8(&uart_ops, u, MCR, 0x10);
	EQ(in8(&uart_ops, u, MSR), 0x04); /* trailing edge of RI */
	out8(&uart_ops, u, IER, 8);
	out8(&uart_ops, u, MCR, 0x12);
	EQ(in8(&uart_ops, u, IIR), 0xc0);
	TRUE(w.level);
	in8(&uart_ops, u, MSR);
	TRUE(!w.level);
	EQ(cap.n, 0);
	uart_free(u);
	EQ(c->nheap, 0);
	free(c);
}

/* ---- all of them, by a guest that knows nothing ---- */

static uint32_t rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*s >> 33);
}

static void ignore_exit(void *ctx, uint32_t value)
{
	(void)ctx;
	(void)value;
}

static void test_garbage(struct tally *t)
{
	struct clock *c = fake_clock();
	struct wall wall = {c, 0};
	struct wire w = {0};
	unsigned calls = 0;
	bool a20 = true;
	uint64_t seed = 2;
	struct i8042_config kcfg = {line_to(&w), line_to(&w), c, &a20, count_call, &calls};
	struct acpi_pm_config acfg = {.smi_enable = 0xf1, .smi_disable = 0xf0, .power_off = count_call, .ctx = &calls};
	struct port92 p92;
	struct pciconf pci;
	struct debugport dbg;
	struct capture cap;
	struct pic *pic = pic_new(intr_set, &w);
	struct pit *pit = pit_new(c, line_to(&w));
	struct rtc *rtc = rtc_new(c, line_to(&w), wall_now, &wall);
	struct i8042 *kbc = i8042_new(&kcfg);
	struct acpi_pm *pm = acpi_pm_new(c, line_to(&w), &acfg);
	struct uart *uart = uart_new(c, line_to(&w));
	const struct {
		const struct io_ops *ops;
		void *dev;
		unsigned len;
	} row[] = {
		{&pic_master_ops, pic, 2},      {&pic_slave_ops, pic, 2},
		{&pic_elcr_ops, pic, 2},        {&pit_ops, pit, 4},
		{&pit_port61_ops, pit, 1},      {&rtc_ops, rtc, 2},
		{&i8042_data_ops, kbc, 1},      {&i8042_cmd_ops, kbc, 1},
		{&acpi_pm_ops, pm, 0x24},       {&acpi_smi_ops, pm, 2},
		{&uart_ops, uart, 8},           {&port92_ops, &p92, 1},
		{&pciconf_ops, &pci, 8},        {&debugport_console_ops, &dbg, 1},
		{&debugport_exit_ops, &dbg, 4}, {&debugport_post_ops, &dbg, 1},
	};

	port92_init(&p92, &a20, count_call, &calls);
	pciconf_init(&pci, count_call, &calls);
	debugport_init(&dbg, c, ignore_exit, NULL);
	capture_init(&cap);
	uart_attach(uart, &cap.chr);
	for (unsigned i = 0; i < 2000000; i++) {
		unsigned k = rnd(&seed) % (sizeof(row) / sizeof(row[0])), size = 1u << rnd(&seed) % 3;
		unsigned off = rnd(&seed) % row[k].len;

		if (off + size > row[k].len)
			continue;
		if (rnd(&seed) & 1)
			row[k].ops->write(row[k].dev, off, size, rnd(&seed));
		else
			row[k].ops->read(row[k].dev, off, size);
		if (pic_intr(pic))
			pic_ack(pic);
		if (!(rnd(&seed) & 63))
			pic_set_line(pic, rnd(&seed) & 31, rnd(&seed) & 1);
		if (!(rnd(&seed) & 15) && cap.chr.can_receive(uart))
			cap.chr.receive(uart, (const uint8_t *)"garbage", rnd(&seed) % 8);
		if (!(rnd(&seed) & 7)) {
			atomic_store(&c->stopped_at_ns, clock_ns(c) + (1ull << rnd(&seed) % 32));
			clock_run_timers(c);
		}
	}
	TRUE(c->nheap <= 8);
	uart_free(uart);
	acpi_pm_free(pm);
	i8042_free(kbc);
	rtc_free(rtc);
	pit_free(pit);
	pic_free(pic);
	debugport_fini(&dbg);
	EQ(c->nheap, 0);
	free(c);
}

int main(void)
{
	void (*const tests[])(struct tally *) = {
		test_uart_probe,
		test_uart_transmit,
		test_uart_receive,
		test_garbage,
	};
	struct tally tally = {0};

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
