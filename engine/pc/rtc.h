/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The MC146818 real-time clock and the 128 bytes of CMOS RAM behind ports 0x70 and 0x71.
 * Threads: device lock held.
 */
#ifndef STEELYARD_RTC_H
#define STEELYARD_RTC_H

#include "engine/bus.h"
#include "engine/clock.h"
#include "engine/irq.h"

struct rtc;

/* Wall-clock time in nanoseconds since 1970, UTC. */
typedef int64_t rtc_wall_fn(void *ctx);

/* wall: NULL for the host's CLOCK_REALTIME. NULL when the host has no memory. */
struct rtc *rtc_new(struct clock *clock, struct irq_line irq, rtc_wall_fn *wall, void *wall_ctx);
void rtc_free(struct rtc *r);
/* Keeps the time that the guest has set, and the RAM: both are battery-backed. */
void rtc_reset(struct rtc *r);
/* Fills the CMOS bytes in which firmware tells the memory size and the number of processors. */
void rtc_set_sizes(struct rtc *r, uint64_t below_4g, uint64_t above_4g, unsigned ncpus);
/* Does bit 7 of port 0x70 hold NMIs back? */
bool rtc_nmi_masked(const struct rtc *r);

extern const struct io_ops rtc_ops; /* 2 ports */

#endif
