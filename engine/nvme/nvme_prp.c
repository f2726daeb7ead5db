// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Physical region pages (NVM Express 1.4, 4.3): where a command's data is. The first entry may begin inside a page; the
 * second is a page, or a list of pages where more than one is left. The last entry of a list page, where it does not do,
 * leads to the next list page.
 *
 * The driver runs meanwhile: each entry is loaded once. A list ends with the bytes, of which every list page but the first
 * takes 511 pages or more, so a list that leads to itself ends too.
 */
#include <string.h>

#include "engine/nvme/nvme_int.h"

struct map {
	const struct dma *dma;
	struct iovec *iov;
	unsigned max, n;
};

/* Pages that follow each other make one piece. */
static uint16_t add(struct map *m, uint64_t gpa, uint32_t len)
{
	uint8_t *p = dma_at(m->dma, gpa, len);
	struct iovec *last = m->n ? &m->iov[m->n - 1] : NULL;

	if (!p)
		return NVME_DATA_TRANSFER;
	if (last && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		return NVME_OK;
	}
	if (m->n == m->max)
		return NVME_BAD_FIELD;
	m->iov[m->n++] = (struct iovec){p, len};
	return NVME_OK;
}

static uint16_t add_list(struct map *m, uint64_t list, uint32_t bytes)
{
	if (list % sizeof(uint64_t))
		return NVME_PRP_OFFSET;
	for (;;) {
		unsigned room = (unsigned)((NVME_PAGE - list % NVME_PAGE) / sizeof(uint64_t));
		const uint64_t *entry = dma_at(m->dma, list, room * sizeof(uint64_t));

		if (!entry)
			return NVME_DATA_TRANSFER;
		for (unsigned i = 0; i < room; i++) {
			uint64_t page = __atomic_load_n(&entry[i], __ATOMIC_RELAXED);
			uint32_t part = bytes < NVME_PAGE ? bytes : NVME_PAGE;
			uint16_t st;

			if (page % NVME_PAGE)
				return NVME_PRP_OFFSET;
			if (i + 1 == room && bytes > NVME_PAGE) {
				list = page;
				break;
			}
			st = add(m, page, part);
			bytes -= part;
			if (st != NVME_OK || !bytes)
				return st;
		}
	}
}

uint16_t nvme_prp_map(const struct dma *dma, const struct nvme_command *c, uint32_t bytes, struct iovec *iov,
		      unsigned max, unsigned *n)
{
	struct map m = {.dma = dma, .iov = iov, .max = max};
	uint32_t first = NVME_PAGE - (uint32_t)(c->prp1 % NVME_PAGE);
	uint16_t st;

	*n = 0;
	if (c->prp1 % 4)
		return NVME_PRP_OFFSET;
	if (first > bytes)
		first = bytes;
	st = add(&m, c->prp1, first);
	bytes -= first;
	if (st == NVME_OK && bytes > NVME_PAGE)
		st = add_list(&m, c->prp2, bytes);
	else if (st == NVME_OK && bytes)
		st = c->prp2 % NVME_PAGE ? (uint16_t)NVME_PRP_OFFSET : add(&m, c->prp2, bytes);
	*n = m.n;
	return st;
}

uint16_t nvme_prp_copy(const struct dma *dma, const struct nvme_command *c, void *buf, uint32_t bytes, bool to_guest)
{
	struct iovec iov[2];
	unsigned n;
	uint16_t st;

	BUG_ON(bytes > NVME_PAGE);
	st = nvme_prp_map(dma, c, bytes, iov, ARRAY_LEN(iov), &n);
	for (unsigned i = 0; i < n && st == NVME_OK; i++) {
		if (to_guest) {
			memcpy(iov[i].iov_base, buf, iov[i].iov_len);
			dma_wrote(dma, iov[i].iov_base, iov[i].iov_len);
		} else {
			memcpy(buf, iov[i].iov_base, iov[i].iov_len);
		}
		buf = (uint8_t *)buf + iov[i].iov_len;
	}
	return st;
}
