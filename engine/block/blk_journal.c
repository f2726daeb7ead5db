// SPDX-License-Identifier: GPL-2.0-or-later
/* A list. What does not fit is not kept, nor is anything before it: then a daemon's death ends the disk, as a broken one. */
#include "engine/block/blk_journal.h"

#include <stdlib.h>
#include <string.h>

void blk_journal_init(struct blk_journal *j)
{
	*j = (struct blk_journal){.end = &j->first};
}

static void drop_until(struct blk_journal *j, uint64_t seq)
{
	struct blk_journal_entry *x;

	while ((x = j->first) && x->seq <= seq) {
		j->first = x->next;
		j->held -= sizeof(*x) + (x->op == BLK_WRITE ? x->bytes : 0);
		free(x);
	}
	if (!j->first)
		j->end = &j->first;
}

void blk_journal_fini(struct blk_journal *j)
{
	drop_until(j, UINT64_MAX);
}

void blk_journal_add(struct blk_journal *j, enum blk_op op, uint64_t offset, uint64_t bytes, const struct iovec *iov,
		     unsigned niov)
{
	uint64_t data = op == BLK_WRITE ? bytes : 0, at = 0;
	struct blk_journal_entry *x = NULL;

	j->seq++;
	if (j->held + sizeof(*x) + data <= BLK_JOURNAL_BYTES)
		x = malloc(sizeof(*x) + data);
	if (!x) {
		drop_until(j, UINT64_MAX);
		j->lost = true;
		j->lost_seq = j->seq;
		return;
	}
	*x = (struct blk_journal_entry){.op = op, .seq = j->seq, .offset = offset, .bytes = bytes};
	for (unsigned i = 0; data && i < niov && at < data; i++) {
		uint64_t n = iov[i].iov_len < data - at ? iov[i].iov_len : data - at;

		memcpy(x->data + at, iov[i].iov_base, n);
		at += n;
	}
	j->held += sizeof(*x) + data;
	*j->end = x;
	j->end = &x->next;
}

void blk_journal_flushed(struct blk_journal *j, uint64_t seq)
{
	drop_until(j, seq);
	if (j->lost && j->lost_seq <= seq)
		j->lost = false;
}
