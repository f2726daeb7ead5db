/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a storage daemon has done and not yet promised to keep: writes that it has acknowledged since the last flush that it has
 * acknowledged. When it dies, what it held in its own memory (tables of a qcow2 image, say) is gone, and the guest, which is told
 * nothing, would believe a later flush to cover it. So the next daemon is given these writes again, in their order.
 *
 * Threads: one at a time.
 */
#ifndef STEELYARD_BLK_JOURNAL_H
#define STEELYARD_BLK_JOURNAL_H

#include "engine/block/block.h"

#define BLK_JOURNAL_FLUSH (16u << 20) /* from so many bytes on a flush would do good */
#define BLK_JOURNAL_BYTES (64u << 20) /* the most that is kept */

struct blk_journal_entry {
	struct blk_journal_entry *next;
	enum blk_op op; /* BLK_WRITE, BLK_DISCARD, BLK_ZEROES, BLK_ZEROES_KEEP */
	uint64_t seq, offset, bytes;
	uint8_t data[]; /* of a write */
};

struct blk_journal {
	struct blk_journal_entry *first, **end;
	uint64_t seq;  /* of the last that was added */
	uint64_t held; /* bytes of memory */
	bool lost;     /* there were more than are kept, up to lost_seq */
	uint64_t lost_seq;
};

void blk_journal_init(struct blk_journal *j);
void blk_journal_fini(struct blk_journal *j);
/* Acknowledged: bytes at offset; iov: of a write. */
void blk_journal_add(struct blk_journal *j, enum blk_op op, uint64_t offset, uint64_t bytes, const struct iovec *iov,
		     unsigned niov);
/* A flush is acknowledged that was asked for when j->seq was this. */
void blk_journal_flushed(struct blk_journal *j, uint64_t seq);

#endif
