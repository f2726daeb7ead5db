// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The Motorola MC146818A of the PC AT, with the AT's century byte, and its CMOS RAM.
 *
 * The time is the host's wall clock plus an offset that the guest changes by setting the clock; the guest's registers
 * are computed when they are read. While updates are held back (register B SET, or the divider in reset) the registers
 * stand still, and the offset is taken from them when updates go on.
 *
 * The three interrupt flags of register C need no timer to be right: reading C asks which second, alarm and period
 * boundaries have passed since the last look. A timer runs only when an enabled flag could raise the line.
 *
 * Where this differs from the chip: the update itself takes no time, so UIP is set for the 244 us before it; the day of
 * the week always follows from the date; daylight saving (register B bit 0) has no effect.
 */
#include "engine/pc/rtc.h"

#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ll
#define UIP_NS 244000
#define SEC_MAX 8000000000ll  /* the year 2223 */
#define SEC_MIN -5000000000ll /* 1811 */
#define RTC_HZ 32768u

enum rtc_reg {
	REG_SEC = 0,
	REG_SEC_ALARM,
	REG_MIN,
	REG_MIN_ALARM,
	REG_HOUR,
	REG_HOUR_ALARM,
	REG_WDAY,
	REG_MDAY,
	REG_MONTH,
	REG_YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
	REG_CENTURY = 0x32,
};

#define A_UIP 0x80u
#define A_DIVIDER 0x70u
#define A_DIVIDER_RUN 0x20u
#define A_DIVIDER_RESET 0x60u /* 11x */
#define A_RATE 0x0fu
#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define C_IRQF 0x80u
#define C_PF 0x40u
#define C_AF 0x20u
#define C_UF 0x10u
#define D_VRT 0x80u
#define HOUR_PM 0x80u
#define ALARM_ANY 0xc0u

/* CMOS bytes that PC firmware reads (Ralf Brown's list, CMOS.LST) */
#define CMOS_EQUIPMENT 0x14
#define CMOS_BASE_KB 0x15
#define CMOS_EXT_KB 0x17
#define CMOS_SUM_FIRST 0x10
#define CMOS_SUM_LAST 0x2d
#define CMOS_SUM 0x2e
#define CMOS_EXT2_KB 0x30
#define CMOS_ABOVE_16M 0x34
#define CMOS_ABOVE_4G 0x5b
#define CMOS_LAST_CPU 0x5f

/* With virtual time the machine is switched on at 2026-01-01 00:00:00 UTC. */
#define VIRTUAL_WALL_NS (1767225600ll * 1000000000ll)

struct rtc {
	uint8_t ram[128];
	uint8_t index;
	bool nmi_mask;
	int64_t offset_ns;     /* guest's time = wall + offset */
	int64_t looked_ns;     /* guest's time of the last look at the flags */
	uint64_t looked_clock; /* the same moment on the machine's clock */
	struct clock *clock;
	struct timer timer;
	struct irq_line irq;
	rtc_wall_fn *wall;
	void *wall_ctx;
};

static int64_t wall_host(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* What the guest's time is counted from: the host's wall clock, or with virtual time the machine's own. */
static int64_t wall_now(const struct rtc *r)
{
	return r->clock->is_virtual ? VIRTUAL_WALL_NS + (int64_t)clock_ns(r->clock) : r->wall(r->wall_ctx);
}

static int64_t rtc_now(const struct rtc *r)
{
	return wall_now(r) + r->offset_ns;
}

static int64_t floor_seconds(int64_t ns)
{
	return ns >= 0 ? ns / NS_PER_S : -((-ns + NS_PER_S - 1) / NS_PER_S);
}

static bool divider_reset(const struct rtc *r)
{
	return (r->ram[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

static bool rtc_frozen(const struct rtc *r)
{
	return (r->ram[REG_B] & B_SET) || divider_reset(r);
}

static uint8_t encode(const struct rtc *r, int v)
{
	return (uint8_t)(r->ram[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
	return r->ram[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, int h)
{
	if (r->ram[REG_B] & B_24H)
		return encode(r, h);
	return (uint8_t)(encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0));
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->ram[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* The clock registers as of now, unless they stand still. */
static void rtc_refresh(struct rtc *r)
{
	time_t t = (time_t)floor_seconds(rtc_now(r));
	struct tm tm;

	if (rtc_frozen(r) || !gmtime_r(&t, &tm))
		return;
	r->ram[REG_SEC] = encode(r, tm.tm_sec);
	r->ram[REG_MIN] = encode(r, tm.tm_min);
	r->ram[REG_HOUR] = encode_hour(r, tm.tm_hour);
	r->ram[REG_WDAY] = encode(r, tm.tm_wday + 1);
	r->ram[REG_MDAY] = encode(r, tm.tm_mday);
	r->ram[REG_MONTH] = encode(r, tm.tm_mon + 1);
	r->ram[REG_YEAR] = encode(r, (tm.tm_year + 1900) % 100);
	r->ram[REG_CENTURY] = encode(r, (tm.tm_year + 1900) / 100 % 100);
}

/* Takes the offset from the registers; sub_ns: how far into its second the guest's clock is. */
static void rtc_adopt(struct rtc *r, int64_t sub_ns)
{
	struct tm tm = {
		.tm_sec = decode(r, r->ram[REG_SEC]),
		.tm_min = decode(r, r->ram[REG_MIN]),
		.tm_hour = decode_hour(r, r->ram[REG_HOUR]),
		.tm_mday = decode(r, r->ram[REG_MDAY]),
		.tm_mon = decode(r, r->ram[REG_MONTH]) - 1,
		.tm_year = decode(r, r->ram[REG_CENTURY]) * 100 + decode(r, r->ram[REG_YEAR]) - 1900,
	};
	int64_t sec = (int64_t)timegm(&tm);

	/* Nonsense in the registers normalizes to some date; keep it where nanoseconds fit in 63 bits. */
	sec = sec > SEC_MAX ? SEC_MAX : sec < SEC_MIN ? SEC_MIN : sec;
	r->offset_ns = sec * NS_PER_S + sub_ns - wall_now(r);
	r->looked_ns = rtc_now(r);
}

static int64_t rtc_sub_ns(const struct rtc *r)
{
	int64_t now = rtc_now(r);

	return now - floor_seconds(now) * NS_PER_S;
}

/* Ticks of the 32768 Hz clock in a period, 0: none (register A, RS). */
static unsigned period_ticks(const struct rtc *r)
{
	unsigned rs = r->ram[REG_A] & A_RATE;

	if (!rs || (r->ram[REG_A] & A_DIVIDER) != A_DIVIDER_RUN)
		return 0;
	return 1u << ((rs <= 2 ? rs + 7 : rs) - 1);
}

static uint64_t clock_to_ticks(uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * RTC_HZ / NS_PER_S);
}

static bool alarm_field(uint8_t reg, int want, int have)
{
	return (reg & ALARM_ANY) == ALARM_ANY || want == have;
}

/* The first second after "after" that matches the alarm within a day, or INT64_MAX. Skips whole hours and minutes. */
static int64_t next_alarm(const struct rtc *r, int64_t after)
{
	int hour = decode_hour(r, r->ram[REG_HOUR_ALARM]);
	int min = decode(r, r->ram[REG_MIN_ALARM]), sec = decode(r, r->ram[REG_SEC_ALARM]);
	int64_t t = after + 1, end = t + 86400;

	while (t < end) {
		int64_t day = t % 86400 < 0 ? t % 86400 + 86400 : t % 86400;

		if (!alarm_field(r->ram[REG_HOUR_ALARM], hour, (int)(day / 3600)))
			t += 3600 - day % 3600;
		else if (!alarm_field(r->ram[REG_MIN_ALARM], min, (int)(day / 60 % 60)))
			t += 60 - day % 60;
		else if (!alarm_field(r->ram[REG_SEC_ALARM], sec, (int)(day % 60)))
			t++;
		else
			return t;
	}
	return INT64_MAX;
}

/* Sets the flags whose boundaries have passed since the last look. */
static void rtc_look(struct rtc *r)
{
	int64_t now = rtc_now(r), sec = floor_seconds(now), last = floor_seconds(r->looked_ns);
	uint64_t clk = clock_ns(r->clock);
	unsigned period = period_ticks(r);

	if (period && clock_to_ticks(clk) / period != clock_to_ticks(r->looked_clock) / period)
		r->ram[REG_C] |= C_PF;
	if (!rtc_frozen(r) && sec > last) {
		r->ram[REG_C] |= C_UF;
		if (next_alarm(r, last) <= sec)
			r->ram[REG_C] |= C_AF;
	}
	r->looked_ns = now;
	r->looked_clock = clk;
}

static void rtc_update_irq(struct rtc *r)
{
	/* Flags and enables have the same bit positions in C and B. */
	bool irq = r->ram[REG_C] & r->ram[REG_B] & (C_PF | C_AF | C_UF);

	r->ram[REG_C] = irq ? r->ram[REG_C] | C_IRQF : r->ram[REG_C] & (uint8_t)~C_IRQF;
	irq_set(&r->irq, irq);
}

/* Arms the timer for the first boundary that would raise the line. */
static void rtc_schedule(struct rtc *r)
{
	uint64_t at = UINT64_MAX, clk = r->looked_clock;
	unsigned period = period_ticks(r);
	uint8_t on = r->ram[REG_B];

	if (r->ram[REG_C] & C_IRQF) { /* the line is up until C is read */
		timer_cancel(&r->timer);
		return;
	}
	if ((on & B_PIE) && period) {
		uint64_t tick = (clock_to_ticks(clk) / period + 1) * period;

		at = (uint64_t)(((unsigned __int128)tick * NS_PER_S + RTC_HZ - 1) / RTC_HZ);
	}
	if ((on & (B_AIE | B_UIE)) && !rtc_frozen(r)) {
		int64_t sec = floor_seconds(r->looked_ns);
		int64_t next = on & B_UIE ? sec + 1 : next_alarm(r, sec);

		if (next != INT64_MAX) {
			uint64_t wait = (uint64_t)(next * NS_PER_S - r->looked_ns);

			at = clk + wait < at ? clk + wait : at;
		}
	}
	if (at == UINT64_MAX)
		timer_cancel(&r->timer);
	else
		timer_arm(&r->timer, at);
}

static void rtc_fire(void *ctx)
{
	struct rtc *r = ctx;

	rtc_look(r);
	rtc_update_irq(r);
	rtc_schedule(r);
}

static bool is_clock_reg(unsigned i)
{
	return i <= REG_YEAR ? !(i == REG_SEC_ALARM || i == REG_MIN_ALARM || i == REG_HOUR_ALARM) : i == REG_CENTURY;
}

static uint8_t reg_read(struct rtc *r, unsigned i)
{
	uint8_t val;

	if (is_clock_reg(i)) {
		rtc_refresh(r);
		return r->ram[i];
	}
	switch (i) {
	case REG_A:
		val = r->ram[REG_A];
		return !rtc_frozen(r) && rtc_sub_ns(r) >= NS_PER_S - UIP_NS ? val | A_UIP : val;
	case REG_C:
		rtc_look(r);
		rtc_update_irq(r);
		val = r->ram[REG_C];
		r->ram[REG_C] = 0;
		rtc_update_irq(r);
		rtc_schedule(r);
		return val;
	case REG_D:
		return D_VRT;
	default:
		return r->ram[i];
	}
}

/* Registers A and B can stop and start the updates. */
static void control_write(struct rtc *r, unsigned i, uint8_t val)
{
	bool was_frozen = rtc_frozen(r), was_reset = divider_reset(r);

	rtc_look(r);
	rtc_refresh(r);
	if (i == REG_A) {
		r->ram[REG_A] = val & (uint8_t)~A_UIP;
	} else {
		/* SET clears the update interrupt's enable (datasheet, register B). */
		r->ram[REG_B] = val & B_SET ? val & (uint8_t)~B_UIE : val;
	}
	if (was_frozen && !rtc_frozen(r))
		/* The first update comes half a second after the divider's reset ends. */
		rtc_adopt(r, was_reset ? NS_PER_S / 2 : rtc_sub_ns(r));
	rtc_update_irq(r);
	rtc_schedule(r);
}

static void reg_write(struct rtc *r, unsigned i, uint8_t val)
{
	switch (i) {
	case REG_A:
	case REG_B:
		control_write(r, i, val);
		return;
	case REG_C:
	case REG_D:
		return;
	default:
		break;
	}
	if (i > REG_YEAR && i != REG_CENTURY) {
		r->ram[i] = val;
		return;
	}
	rtc_look(r); /* what has passed, has passed by the old setting */
	rtc_refresh(r);
	r->ram[i] = val;
	if (is_clock_reg(i) && !rtc_frozen(r))
		rtc_adopt(r, rtc_sub_ns(r));
	rtc_update_irq(r);
	rtc_schedule(r);
}

static uint64_t rtc_read(void *dev, uint64_t off, unsigned size)
{
	struct rtc *r = dev;
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++) /* the index port cannot be read */
		val |= (uint64_t)((off + i) & 1 ? reg_read(r, r->index) : 0xff) << (8 * i);
	return val;
}

static void rtc_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct rtc *r = dev;

	for (unsigned i = 0; i < size; i++) {
		uint8_t b = (uint8_t)(val >> (8 * i));

		if ((off + i) & 1) {
			reg_write(r, r->index, b);
		} else {
			r->index = b & 0x7f;
			r->nmi_mask = b & 0x80;
		}
	}
}

const struct io_ops rtc_ops = {"rtc", rtc_read, rtc_write};

bool rtc_nmi_masked(const struct rtc *r)
{
	return r->nmi_mask;
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t above(uint64_t bytes, uint64_t start, uint64_t unit, uint64_t max)
{
	uint64_t n = bytes > start ? (bytes - start) / unit : 0;

	return n < max ? n : max;
}

void rtc_set_sizes(struct rtc *r, uint64_t below_4g, uint64_t above_4g, unsigned ncpus)
{
	unsigned sum = 0;

	r->ram[CMOS_EQUIPMENT] = 0x06; /* FPU and PS/2 pointing device */
	put_le(&r->ram[CMOS_BASE_KB], 640, 2);
	put_le(&r->ram[CMOS_EXT_KB], above(below_4g, 1u << 20, 1024, 0xffff), 2);
	put_le(&r->ram[CMOS_EXT2_KB], above(below_4g, 1u << 20, 1024, 0xffff), 2);
	put_le(&r->ram[CMOS_ABOVE_16M], above(below_4g, 16u << 20, 65536, 0xffff), 2);
	put_le(&r->ram[CMOS_ABOVE_4G], above(above_4g, 0, 65536, 0xffffff), 3);
	r->ram[CMOS_LAST_CPU] = (uint8_t)(ncpus - 1);
	for (unsigned i = CMOS_SUM_FIRST; i <= CMOS_SUM_LAST; i++)
		sum += r->ram[i];
	r->ram[CMOS_SUM] = (uint8_t)(sum >> 8); /* high byte first, unlike the others */
	r->ram[CMOS_SUM + 1] = (uint8_t)sum;
}

void rtc_reset(struct rtc *r)
{
	/* RESET clears the enables and flags; time, mode and RAM live on (datasheet, RESET). */
	r->ram[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE);
	r->ram[REG_C] = 0;
	r->index = 0;
	r->nmi_mask = false;
	r->looked_ns = rtc_now(r);
	r->looked_clock = clock_ns(r->clock);
	rtc_update_irq(r);
	rtc_schedule(r);
}

struct rtc *rtc_new(struct clock *clock, struct irq_line irq, rtc_wall_fn *wall, void *wall_ctx)
{
	struct rtc *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->clock = clock;
	r->irq = irq;
	r->wall = wall ? wall : wall_host;
	r->wall_ctx = wall_ctx;
	r->ram[REG_A] = A_DIVIDER_RUN | 0x06; /* as PC firmware leaves it: 1024 Hz */
	r->ram[REG_B] = B_24H;
	timer_init(&r->timer, clock, rtc_fire, r);
	rtc_reset(r);
	return r;
}

void rtc_free(struct rtc *r)
{
	if (r)
		timer_cancel(&r->timer);
	free(r);
}
