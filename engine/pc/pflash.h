/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flash chip in which firmware keeps its variables. Threads: device lock held.
 */
#ifndef STEELYARD_PFLASH_H
#define STEELYARD_PFLASH_H

#include "engine/bus.h"
#include "engine/status.h"

struct pflash;

#define PFLASH_BLOCK 4096u
#define PFLASH_MAX (8u << 20)

/* first: a file with what the chip holds when it is new. file: what keeps it, made where it does not exist, of the same size; NULL:
 * nothing, the chip forgets with the machine. ST_BUSY: another machine has the file; ST_BAD_FILE, ST_NOT_FOUND, ST_DENIED, ... */
enum status pflash_new(const char *first, const char *file, struct pflash **out, struct error *e);
void pflash_free(struct pflash *p);
/* The chip's reset line; what it holds stays. */
void pflash_reset(struct pflash *p);
uint64_t pflash_bytes(const struct pflash *p);

extern const struct io_ops pflash_ops;

#endif
