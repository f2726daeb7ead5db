// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 16550A (National Semiconductor PC16550D data sheet).
 *
 * Transmission takes no time: a byte written to THR is in the host's hands (or waits in the outbuf for the end of its
 * line) and THR is empty again, so LSR always shows an idle transmitter, and writing THR takes the THRE interrupt away
 * and raises it anew. Reception is limited by the FIFO: the chardev asks how much fits, and is told when room comes
 * back. The one thing here that knows a baud rate is the character timeout of the receive FIFO.
 *
 * Where this differs from a PC: the interrupt does not wait for MCR OUT2, as in other virtual machines; guests that
 * never set it would lose their interrupts only on real boards.
 */
#include "engine/pc/uart16550.h"

#include <stdlib.h>

#include "engine/pc/outbuf.h"

#define FIFO_LEN 16u
#define UART_HZ 1843200u
#define NS_PER_S 1000000000ull
#define TIMEOUT_CHARS 4u           /* data sheet, "FIFO interrupt mode operation" */
#define TIMEOUT_MAX_NS 20000000ull /* a divisor of zero or a silly one */

/* Registers; RBR/THR/IER give way to the divisor while LCR.DLAB is set */
enum uart_reg { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RDA 0x01u
#define IER_THRE 0x02u
#define IER_RLS 0x04u
#define IER_MSR 0x08u
#define IER_MASK 0x0fu
#define IIR_NONE 0x01u
#define IIR_MSR 0x00u
#define IIR_THRE 0x02u
#define IIR_RDA 0x04u
#define IIR_RLS 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_TRIGGER_SHIFT 6
#define LCR_BREAK 0x40u
#define LCR_DLAB 0x80u
#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_MASK 0x1fu
#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_BI 0x10u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u
#define MSR_DCTS 0x01u
#define MSR_DDSR 0x02u
#define MSR_TERI 0x04u
#define MSR_DDCD 0x08u
#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u
#define MSR_DELTAS 0x0fu

struct uart {
	uint8_t ier, fcr, lcr, mcr, msr, scr;
	uint8_t lsr_errors; /* OE and BI, until LSR is read */
	uint16_t divisor;
	bool thre_pending;    /* the THRE interrupt has not been taken notice of */
	bool timeout_pending; /* characters have waited in the FIFO for too long */
	uint8_t rx[FIFO_LEN];
	unsigned rx_head, rx_n;
	uint8_t rx_last; /* what an empty RBR shows */
	bool rx_blocked; /* the chardev found no room: tell it when there is some */
	struct outbuf out;
	struct clock *clock;
	struct timer timeout;
	struct irq_line irq;
	bool irq_level;
};

static unsigned rx_room(const struct uart *u)
{
	return (u->fcr & FCR_ENABLE ? FIFO_LEN : 1) - u->rx_n;
}

static unsigned rx_trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return u->fcr & FCR_ENABLE ? level[u->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* Nanoseconds of four characters at the programmed rate and format. */
static uint64_t timeout_ns(const struct uart *u)
{
	/* start bit, 5-8 data bits, parity, one stop bit (a second is within the tolerance of a timeout) */
	uint64_t bits = 1 + 5 + (u->lcr & 3) + (u->lcr >> 3 & 1) + 1;
	uint64_t ns = TIMEOUT_CHARS * bits * 16 * u->divisor * NS_PER_S / UART_HZ;

	return u->divisor && ns < TIMEOUT_MAX_NS ? ns : TIMEOUT_MAX_NS;
}

/* The identification of the pending interrupt of highest priority (data sheet, table IV). */
static uint8_t uart_iir(const struct uart *u)
{
	if ((u->ier & IER_RLS) && u->lsr_errors)
		return IIR_RLS;
	if ((u->ier & IER_RDA) && u->rx_n >= rx_trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->timeout_pending)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MSR) && (u->msr & MSR_DELTAS))
		return IIR_MSR;
	return IIR_NONE;
}

static void uart_update(struct uart *u)
{
	bool level = uart_iir(u) != IIR_NONE;

	if (level != u->irq_level) {
		u->irq_level = level;
		irq_set(&u->irq, level);
	}
}

/* The character timeout runs anew after every character that comes or goes. */
static void rx_restart_timeout(struct uart *u)
{
	u->timeout_pending = false;
	if ((u->fcr & FCR_ENABLE) && u->rx_n && u->rx_n < rx_trigger(u))
		timer_arm(&u->timeout, clock_ns(u->clock) + timeout_ns(u));
	else
		timer_cancel(&u->timeout);
}

static void rx_timed_out(void *ctx)
{
	struct uart *u = ctx;

	u->timeout_pending = u->rx_n > 0;
	uart_update(u);
}

static void rx_put(struct uart *u, uint8_t b)
{
	if (!rx_room(u)) {
		/* Overrun: the FIFO keeps what it has, the single register takes the new byte. */
		u->lsr_errors |= LSR_OE;
		if (!(u->fcr & FCR_ENABLE))
			u->rx[u->rx_head] = b;
		return;
	}
	u->rx[(u->rx_head + u->rx_n) % FIFO_LEN] = b;
	u->rx_n++;
}

/* Lets the chardev go on when half of the FIFO is free. */
static void rx_resume(struct uart *u)
{
	struct chardev *c = u->out.chr;

	if (!u->rx_blocked || (u->mcr & MCR_LOOP) || (u->rx_n && rx_room(u) < FIFO_LEN / 2))
		return;
	u->rx_blocked = false;
	if (c && c->resume_input)
		c->resume_input(c);
}

static void rx_clear(struct uart *u)
{
	u->rx_head = u->rx_n = 0;
	rx_restart_timeout(u);
}

static uint8_t rx_get(struct uart *u)
{
	if (u->rx_n) {
		u->rx_last = u->rx[u->rx_head];
		u->rx_head = (u->rx_head + 1) % FIFO_LEN;
		u->rx_n--;
		rx_restart_timeout(u);
		uart_update(u);
		rx_resume(u);
	}
	return u->rx_last;
}

static unsigned uart_can_receive(void *dev)
{
	struct uart *u = dev;
	unsigned room = u->mcr & MCR_LOOP ? 0 : rx_room(u);

	if (!room)
		u->rx_blocked = true;
	return room;
}

static void uart_receive(void *dev, const uint8_t *buf, unsigned len)
{
	struct uart *u = dev;

	if (u->mcr & MCR_LOOP)
		return;
	for (unsigned i = 0; i < len; i++)
		rx_put(u, buf[i]);
	if (!rx_room(u))
		u->rx_blocked = true;
	rx_restart_timeout(u);
	uart_update(u);
}

static void thr_write(struct uart *u, uint8_t b)
{
	u->thre_pending = false;
	uart_update(u);
	if (u->mcr & MCR_LOOP) {
		rx_put(u, b);
		rx_restart_timeout(u);
	} else {
		outbuf_put(&u->out, b);
	}
	u->thre_pending = true;
	uart_update(u);
}

/* The modem lines: a willing peer, or in loopback our own outputs. Changes set the deltas. */
static void modem_update(struct uart *u, bool deltas)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, old = u->msr, changed;

	if (u->mcr & MCR_LOOP)
		now = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
				(u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = old ^ now;
	u->msr = now | (old & MSR_DELTAS);
	if (!deltas) {
		u->msr = now;
		return;
	}
	u->msr |= (uint8_t)((changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) |
			    (old & ~now & MSR_RI ? MSR_TERI : 0) | (changed & MSR_DCD ? MSR_DDCD : 0));
}

static void ier_write(struct uart *u, uint8_t val)
{
	uint8_t old = u->ier;

	u->ier = val & IER_MASK;
	/* THR is empty: enabling its interrupt raises it (the data sheet's way to start a transmission). */
	if ((u->ier & ~old) & IER_THRE)
		u->thre_pending = true;
	uart_update(u);
}

static void fcr_write(struct uart *u, uint8_t val)
{
	uint8_t old = u->fcr;

	/* Bits 1-7 count only when bit 0 is written as one; changing bit 0 clears both FIFOs. */
	u->fcr = val & FCR_ENABLE ? val & (uint8_t)(FCR_ENABLE | 3u << FCR_TRIGGER_SHIFT) : 0;
	if (((u->fcr ^ old) & FCR_ENABLE) || ((val & FCR_ENABLE) && (val & FCR_CLEAR_RX)))
		rx_clear(u);
	rx_restart_timeout(u);
	uart_update(u);
	rx_resume(u);
}

static void mcr_write(struct uart *u, uint8_t val)
{
	u->mcr = val & MCR_MASK;
	modem_update(u, true);
	uart_update(u);
	rx_resume(u);
}

static void lcr_write(struct uart *u, uint8_t val)
{
	/* In loopback a break comes back as a break: a zero character and BI. */
	if ((val & ~u->lcr & LCR_BREAK) && (u->mcr & MCR_LOOP)) {
		rx_put(u, 0);
		u->lsr_errors |= LSR_BI;
		rx_restart_timeout(u);
	}
	u->lcr = val;
	uart_update(u);
}

static uint8_t lsr_read(struct uart *u)
{
	uint8_t val = (uint8_t)(LSR_THRE | LSR_TEMT | u->lsr_errors | (u->rx_n ? LSR_DR : 0));

	if (u->lsr_errors) {
		u->lsr_errors = 0;
		uart_update(u);
	}
	return val;
}

static uint8_t iir_read(struct uart *u)
{
	uint8_t val = uart_iir(u);

	if (val == IIR_THRE) { /* reading it is what resets this one */
		u->thre_pending = false;
		uart_update(u);
	}
	return val | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t modem_read(struct uart *u)
{
	uint8_t val = u->msr;

	if (val & MSR_DELTAS) {
		u->msr &= (uint8_t)~MSR_DELTAS;
		uart_update(u);
	}
	return val;
}

static uint8_t uart_read_reg(struct uart *u, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? (uint8_t)u->divisor : rx_get(u);
	case REG_IER:
		return dlab ? (uint8_t)(u->divisor >> 8) : u->ier;
	case REG_IIR_FCR:
		return iir_read(u);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		return lsr_read(u);
	case REG_MSR:
		return modem_read(u);
	default:
		return u->scr;
	}
}

static void uart_write_reg(struct uart *u, unsigned reg, uint8_t val)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			u->divisor = (uint16_t)((u->divisor & 0xff00) | val);
		else
			thr_write(u, val);
		break;
	case REG_IER:
		if (dlab)
			u->divisor = (uint16_t)((u->divisor & 0xff) | val << 8);
		else
			ier_write(u, val);
		break;
	case REG_IIR_FCR:
		fcr_write(u, val);
		break;
	case REG_LCR:
		lcr_write(u, val);
		break;
	case REG_MCR:
		mcr_write(u, val);
		break;
	case REG_SCR:
		u->scr = val;
		break;
	default: /* LSR and MSR: factory test only */
		break;
	}
}

static uint64_t uart_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)uart_read_reg(dev, (unsigned)(off + i)) << (8 * i);
	return val;
}

static void uart_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	for (unsigned i = 0; i < size; i++)
		uart_write_reg(dev, (unsigned)(off + i), (uint8_t)(val >> (8 * i)));
}

const struct io_ops uart_ops = {"uart16550", uart_read, uart_write};

void uart_flush(struct uart *u)
{
	outbuf_flush(&u->out);
}

void uart_reset(struct uart *u)
{
	outbuf_flush(&u->out);
	u->ier = u->fcr = u->mcr = u->scr = 0;
	u->lcr = 3; /* the data sheet says 0 and a divisor of nothing; firmware leaves 115200 8N1 */
	u->divisor = 1;
	u->lsr_errors = 0;
	u->thre_pending = false;
	u->rx_last = 0;
	rx_clear(u);
	modem_update(u, false);
	uart_update(u);
	rx_resume(u);
}

void uart_attach(struct uart *u, struct chardev *c)
{
	struct chardev *old = u->out.chr;

	outbuf_flush(&u->out);
	if (old && old->dev == u) {
		old->can_receive = NULL;
		old->receive = NULL;
		old->dev = NULL;
	}
	u->out.chr = c;
	u->rx_blocked = false;
	if (c) {
		c->can_receive = uart_can_receive;
		c->receive = uart_receive;
		c->dev = u;
	}
}

struct uart *uart_new(struct clock *clock, struct irq_line irq)
{
	struct uart *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->clock = clock;
	u->irq = irq;
	timer_init(&u->timeout, clock, rx_timed_out, u);
	outbuf_init(&u->out, clock);
	uart_reset(u);
	return u;
}

void uart_free(struct uart *u)
{
	if (!u)
		return;
	uart_attach(u, NULL);
	timer_cancel(&u->timeout);
	outbuf_fini(&u->out);
	free(u);
}
