/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An address space of devices: one for ports, one for memory-mapped I/O.
 *
 * A device sees offsets into its own range and its own state, never addresses or other devices; the board file
 * (engine/board.c) alone knows where things are.
 *
 * Accesses that no range claims go to the rest, if there is one: a bridge, whose devices come and go at run time.
 *
 * Threads: ranges are added before the first vCPU starts. Device callbacks run with the machine's device lock held
 * (struct vm: dev_lock), whoever calls.
 */
#ifndef STEELYARD_BUS_H
#define STEELYARD_BUS_H

#include "engine/status.h"

struct io_ops {
	const char *name;
	/* size: 1, 2, 4 (MMIO also 8). off + size never leaves the range. Either may be NULL: reads give all ones,
	 * writes are ignored. */
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
};

#define BUS_MAX_RANGES 48
struct bus_range {
	uint64_t base, len;
	const struct io_ops *ops;
	void *dev;
};
struct bus {
	struct bus_range range[BUS_MAX_RANGES]; /* sorted by base, no overlap */
	unsigned nranges;
	const struct io_ops *rest_ops;		/* takes what no range claims, at its full address; NULL: nobody */
	void *rest;
	uint64_t unclaimed;			/* accesses that nobody claimed, the rest neither */
};

/* A register to which a store of whatever value and size only wakes somebody who waits for this eventfd. */
struct doorbell {
	uint64_t gpa;
	int fd;
};
#define BUS_MAX_DOORBELLS 256

/* BUG_ON overlap or overflow of the table: the board is our own code. len 0 is a bug. */
void bus_add(struct bus *b, uint64_t base, uint64_t len, const struct io_ops *ops, void *dev);
/* Before the first vCPU starts. */
void bus_set_rest(struct bus *b, const struct io_ops *ops, void *dev);
/* Has addr a device of its own, which is not the rest? */
bool bus_claimed(const struct bus *b, uint64_t addr);
/* An access that straddles ranges is split into bytes. Unclaimed: reads all ones, writes ignored. */
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size);
void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val);

#endif
