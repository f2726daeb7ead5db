// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * qcow2: docs/interop/qcow2.txt of QEMU, numbers are big-endian. VDI: the header of VirtualBox, little-endian, of which three fields say it.
 * VMDK: the sparse extent of VMware's "Virtual Disk Format 5.0", little-endian; addresses are sectors.
 */
#include "engine/block/blk_extent.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/block/block_int.h"

#define TABLES_MAX (64ull << 20)
#define L1_ENTRIES_MAX (4u << 20)
#define OFFSET_MASK 0x00fffffffffffe00ull
#define COMPRESSED (1ull << 62)
#define DATA_ELSEWHERE (1ull << 2)
#define EXTENDED_L2 (1ull << 4)

struct qcow2 {
	uint32_t magic, version;
	uint64_t backing_at;
	uint32_t backing_len, cluster_bits;
	uint64_t size;
	uint32_t crypt, l1_entries;
	uint64_t l1_at, refcounts_at;
	uint32_t refcount_clusters, snapshots;
	uint64_t snapshots_at, incompatible;
} __attribute__((packed));

struct vdi {
	uint8_t before[0x154];
	uint32_t map_at, data_at;
	uint8_t between[0x178 - 0x15c];
	uint32_t block_bytes, block_extra, blocks, allocated;
} __attribute__((packed));

struct vmdk {
	uint32_t magic, version, flags;
	uint64_t capacity, grain, descriptor_at, descriptor_sectors;
	uint32_t table_entries;
	uint64_t spare_at, directory_at, grains_at;
} __attribute__((packed));

struct tables {
	int fd;
	uint64_t end; /* of the file */
	unsigned cluster_bits;
	uint64_t incompatible;
	uint64_t budget;
	uint64_t *l2;
};

static bool read_at(int fd, void *buf, uint64_t len, uint64_t at)
{
	return at <= INT64_MAX - len && blk_read_all(fd, buf, len, at) == 0;
}

bool blk_extent_backing(int fd, char name[BLK_BACKING_MAX + 1])
{
	struct qcow2 h;
	uint64_t at;
	uint32_t len;

	name[0] = 0;
	if (blk_format_seen(fd) != BLK_QCOW2)
		return true;
	if (!read_at(fd, &h, offsetof(struct qcow2, cluster_bits), 0))
		return false;
	at = be64toh(h.backing_at);
	len = be32toh(h.backing_len);
	if (!at || !len || len > BLK_BACKING_MAX)
		return true; /* the daemon says what is wrong with it */
	if (!read_at(fd, name, len, at))
		return false;
	name[len] = 0;
	return true;
}

/* ---- qcow2 ---- */

static bool entry_whole(const struct tables *t, uint64_t entry)
{
	uint64_t at = entry & OFFSET_MASK;

	if (entry & COMPRESSED)
		at = entry & ((1ull << (62 - (t->cluster_bits - 8))) - 1);
	/* the last cluster of a file may be short: the rest of it was never written */
	return at < t->end || (t->incompatible & DATA_ELSEWHERE);
}

static bool l2_whole(const struct tables *t, uint64_t at)
{
	unsigned step = t->incompatible & EXTENDED_L2 ? 2 : 1;
	uint64_t bytes = 1ull << t->cluster_bits;

	if (!read_at(t->fd, t->l2, bytes, at))
		return false;
	for (uint64_t i = 0; i < bytes / 8; i += step)
		if (!entry_whole(t, be64toh(t->l2[i])))
			return false;
	return true;
}

static bool l1_whole(struct tables *t, uint64_t at, uint32_t n)
{
	uint64_t *l1 = malloc(8ull * n + 1);
	bool whole = l1 && read_at(t->fd, l1, 8ull * n, at);

	for (uint32_t i = 0; whole && i < n && t->budget >> t->cluster_bits; i++) {
		uint64_t l2 = be64toh(l1[i]) & OFFSET_MASK;

		if (!l2)
			continue;
		t->budget -= 1ull << t->cluster_bits;
		whole = l2_whole(t, l2);
	}
	free(l1);
	return whole;
}

static bool qcow2_whole(int fd, uint64_t end)
{
	struct tables t = {.fd = fd, .end = end, .budget = TABLES_MAX};
	struct qcow2 h;
	uint64_t refcounts;
	bool whole;

	if (!read_at(fd, &h, offsetof(struct qcow2, incompatible), 0))
		return false;
	t.cluster_bits = be32toh(h.cluster_bits);
	if (be32toh(h.version) >= 3 && !read_at(fd, &t.incompatible, 8, offsetof(struct qcow2, incompatible)))
		return false;
	t.incompatible = be64toh(t.incompatible);
	if (t.cluster_bits < 9 || t.cluster_bits > 21 || be32toh(h.l1_entries) > L1_ENTRIES_MAX)
		return true; /* the daemon says what is wrong with it */
	refcounts = (uint64_t)be32toh(h.refcount_clusters) << t.cluster_bits;
	if (be64toh(h.refcounts_at) > end || refcounts > end - be64toh(h.refcounts_at))
		return false;
	t.l2 = malloc(1ull << t.cluster_bits);
	whole = !t.l2 || l1_whole(&t, be64toh(h.l1_at), be32toh(h.l1_entries));
	free(t.l2);
	return whole;
}

/* ---- VDI ---- */

static bool vdi_whole(int fd, uint64_t end)
{
	struct vdi h;

	if (!read_at(fd, &h, sizeof(h), 0))
		return false;
	return (uint64_t)le32toh(h.data_at) <= end &&
	       (uint64_t)le32toh(h.allocated) * le32toh(h.block_bytes) <= end - le32toh(h.data_at);
}

/* ---- VMDK ---- */

static bool grains_whole(int fd, uint64_t end, uint64_t at, uint32_t n)
{
	uint32_t *table = malloc(4ull * n);
	bool whole = table && read_at(fd, table, 4ull * n, at);

	for (uint32_t i = 0; whole && i < n; i++)
		whole = le32toh(table[i]) * 512ull < end;
	free(table);
	return whole;
}

static bool vmdk_whole(int fd, uint64_t end)
{
	uint64_t budget = TABLES_MAX / 4, grain, covers, n;
	uint32_t entries, *directory;
	struct vmdk h;
	bool whole;

	if (!read_at(fd, &h, sizeof(h), 0))
		return false;
	entries = le32toh(h.table_entries);
	grain = le64toh(h.grain);
	covers = grain * entries;
	if (!entries || entries > 512 || !grain || grain > 1u << 20 || le64toh(h.directory_at) > INT64_MAX / 512 ||
	    le64toh(h.capacity) / covers >= budget)
		return true; /* strange, or its directory is at the end: the daemon's */
	n = le64toh(h.capacity) / covers + (le64toh(h.capacity) % covers != 0);
	directory = malloc(4 * n + 1);
	whole = directory && read_at(fd, directory, 4 * n, le64toh(h.directory_at) * 512);
	for (uint64_t i = 0; whole && i < n && budget >= entries; i++) {
		if (!directory[i])
			continue;
		budget -= entries;
		whole = grains_whole(fd, end, le32toh(directory[i]) * 512ull, entries);
	}
	free(directory);
	return whole;
}

bool blk_extent_whole(int fd, enum blk_format f)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < 0 || blk_format_seen(fd) != f)
		return true; /* the daemon says that it is none */
	switch (f) {
	case BLK_QCOW2:
		return qcow2_whole(fd, (uint64_t)end);
	case BLK_VDI:
		return vdi_whole(fd, (uint64_t)end);
	case BLK_VMDK:
		return vmdk_whole(fd, (uint64_t)end);
	default:
		return true; /* of VHDX the daemon looks for itself */
	}
}
