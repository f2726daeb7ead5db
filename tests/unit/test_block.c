/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that a storage daemon serves, without one: the protocol against answers that are right, cut at every byte, or wrong in one
 * place; the ring against a device that is right and one that is not; the journal; what configurations become; images that are cut.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/block/blk_daemon.h"
#include "engine/block/blk_extent.h"
#include "engine/block/blk_journal.h"
#include "engine/block/block_int.h"
#include "engine/block/vhost_ring.h"
#include "engine/block/vhost_user.h"
#include "tests/unit/check.h"
#include "engine/block/blk_wire.h"

#define FEATURES (1ull << 32 | 1ull << 30 | 1ull << 28 | 1ull << 9 | 1ull << 13)
#define SETS 6u /* the messages of a ring that starts */

/* ---- the protocol ---- */

struct script {
	uint8_t bytes[1024];
	size_t n;
	size_t at[32]; /* where each answer begins */
	unsigned count;
};

static void answer(struct script *s, uint32_t request, const void *payload, uint32_t len)
{
	const uint32_t head[3] = {request, 5, len};

	s->at[s->count++] = s->n;
	memcpy(s->bytes + s->n, head, sizeof(head));
	memcpy(s->bytes + s->n + sizeof(head), payload, len);
	s->n += sizeof(head) + len;
}

static void answer_number(struct script *s, uint32_t request, uint64_t n)
{
	answer(s, request, &n, sizeof(n));
}

static struct script good_script(uint64_t sectors, uint32_t block)
{
	static const uint32_t ring[SETS] = {8, 10, 9, 13, 12, 18};
	struct script s = {0};
	uint8_t config[72] = {0};

	memcpy(config + 12, &sectors, 8);
	memcpy(config + 12 + 20, &block, 4);
	config[4] = 60;
	answer_number(&s, 1, FEATURES);
	answer_number(&s, 15, 0x209);
	answer_number(&s, 16, 0);
	answer_number(&s, 3, 0);
	answer_number(&s, 17, 4);
	answer_number(&s, 2, 0);
	answer(&s, 24, config, sizeof(config));
	answer_number(&s, 5, 0);
	for (unsigned i = 0; i < SETS; i++)
		answer_number(&s, ring[i], 0);
	return s;
}

static enum status play(const struct script *s, size_t n, struct vhost_user_disk *disk)
{
	struct vhost_user v = {.timeout_ms = 2000};
	struct vhost_user_region region = {.fd = 0, .hva = disk, .bytes = 4096};
	struct vhost_user_ring ring = {.index = 1, .size = 256};
	struct error e = {0};
	enum status st;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0 || write(fd[1], s->bytes, n) != (ssize_t)n)
		abort();
	shutdown(fd[1], SHUT_WR);
	v.fd = fd[0];
	st = vhost_user_begin(&v, 4, disk, &e);
	if (st == ST_OK)
		st = vhost_user_memory(&v, &region, 1, &e);
	if (st == ST_OK)
		st = vhost_user_ring_start(&v, &ring, &e);
	if (st != ST_OK && !e.msg[0])
		st = ST_OK; /* a failure has a sentence */
	close(fd[0]);
	close(fd[1]);
	return st;
}

static void test_protocol(void)
{
	struct script s = good_script(2048, 4096), bad;
	struct vhost_user_disk disk;

	CHECK(play(&s, s.n, &disk) == ST_OK);
	CHECK(disk.bytes == 1 << 20 && disk.block == 4096 && disk.flush && disk.discard && !disk.zeroes &&
	      !disk.readonly);
	CHECK(disk.discard_sectors && disk.zeroes_sectors);
	for (size_t n = 0; n < s.n; n++)
		CHECK(play(&s, n, &disk) == ST_IO);
	for (unsigned i = 0; i < s.count; i++) {
		bad = s;
		bad.bytes[bad.at[i]] ^= 0x40; /* an answer to something else */
		CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
		bad = s;
		bad.bytes[bad.at[i] + 4] ^= 4; /* no answer */
		CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
		bad = s;
		bad.bytes[bad.at[i] + 8] ^= 1; /* another length */
		CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
		bad = s;
		if (bad.bytes[bad.at[i]] == 1 || bad.bytes[bad.at[i]] == 15 || bad.bytes[bad.at[i]] == 17 ||
		    bad.bytes[bad.at[i]] == 24)
			continue;
		bad.bytes[bad.at[i] + 12] = 1; /* refused */
		CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
	}
	bad = s;
	bad.bytes[12 + 4] = 0; /* no virtio 1 */
	CHECK(play(&bad, bad.n, &disk) == ST_UNSUPPORTED);
	bad = s;
	bad.bytes[bad.at[4] + 12] = 3; /* too few rings */
	CHECK(play(&bad, bad.n, &disk) == ST_UNSUPPORTED);
	bad = good_script(0, 512);
	CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
	bad = good_script(~0ull / 512, 512);
	CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
	bad = good_script(2048, 1000);
	CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
	bad = good_script(2048, 0);
	CHECK(play(&bad, bad.n, &disk) == ST_BAD_FILE);
}

/* ---- the ring ---- */

struct used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} entry[VHOST_RING_SLOTS];
};

/* What a device does with the n-th request: says OK or not, and gives it back as `id`. */
static void give_back(struct vhost_ring *r, uint16_t n, uint32_t id, uint8_t status)
{
	struct used *u = (struct used *)(uintptr_t)vhost_ring_used(r);
	const uint64_t *desc = vhost_ring_desc(r);
	const uint8_t *table = (const uint8_t *)(uintptr_t)desc[2 * (id % VHOST_RING_SLOTS)];
	uint32_t bytes = (uint32_t)desc[2 * (id % VHOST_RING_SLOTS) + 1];

	if (table) {
		uint64_t at;

		memcpy(&at, table + bytes - 16, 8);
		*(uint8_t *)(uintptr_t)at = status;
	}
	u->entry[n % VHOST_RING_SLOTS].id = id;
	__atomic_store_n(&u->idx, (uint16_t)(n + 1), __ATOMIC_RELEASE);
}

static void test_ring(void)
{
	uint8_t *area = mmap(NULL, VHOST_RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov[2] = {{area, 512}, {area + 512, 512}};
	const struct vhost_ring_request in = {.type = BLK_T_IN, .sector = 7, .iov = iov, .niov = 2};
	const struct vhost_ring_request zeroes = {.type = BLK_T_WRITE_ZEROES, .sector = 9, .sectors = 3};
	struct vhost_ring r;
	bool ok = false;

	if (area == MAP_FAILED)
		abort();
	vhost_ring_init(&r, area);
	CHECK(vhost_ring_take(&r, &ok) == -1 && !r.broken);
	for (unsigned i = 0; i < 3 * VHOST_RING_SLOTS; i++) { /* indices wrap */
		unsigned slot = i * 5 % VHOST_RING_SLOTS;

		vhost_ring_put(&r, slot, i % 2 ? &in : &zeroes);
		give_back(&r, (uint16_t)i, slot, i % 3 == 0);
		CHECK(vhost_ring_take(&r, &ok) == (int)slot && ok == (i % 3 != 0));
	}
	vhost_ring_init(&r, area);
	vhost_ring_put(&r, 3, &in);
	give_back(&r, 0, 4, 0); /* another one */
	CHECK(vhost_ring_take(&r, &ok) == -1 && r.broken && vhost_ring_take(&r, &ok) == -1);
	vhost_ring_init(&r, area);
	vhost_ring_put(&r, 3, &in);
	give_back(&r, 0, VHOST_RING_SLOTS + 3, 0);
	CHECK(vhost_ring_take(&r, &ok) == -1 && r.broken);
	vhost_ring_init(&r, area);
	vhost_ring_put(&r, 3, &in);
	give_back(&r, 0, 3, 0);
	give_back(&r, 1, 3, 0); /* twice */
	CHECK(vhost_ring_take(&r, &ok) == 3 && ok && vhost_ring_take(&r, &ok) == -1 && r.broken);
	vhost_ring_init(&r, area);
	vhost_ring_put(&r, 3, &in);
	give_back(&r, 5000, 3, 0); /* more than the ring holds */
	CHECK(vhost_ring_take(&r, &ok) == -1 && r.broken);
	munmap(area, VHOST_RING_BYTES);
}

/* ---- the journal ---- */

static void test_journal(void)
{
	static uint8_t data[1 << 20];
	struct iovec iov[2] = {{data, 300}, {data + 600, 724}};
	struct blk_journal j;
	uint64_t mark;

	memset(data, 1, 300);
	memset(data + 600, 2, 724);
	blk_journal_init(&j);
	blk_journal_add(&j, BLK_WRITE, 512, 1024, iov, 2);
	CHECK(j.first && j.first->offset == 512 && j.first->bytes == 1024);
	CHECK(j.first->data[299] == 1 && j.first->data[300] == 2 && j.first->data[1023] == 2);
	mark = j.seq;
	blk_journal_add(&j, BLK_DISCARD, 4096, 1 << 30, NULL, 0);
	CHECK(j.held < 4096);
	blk_journal_flushed(&j, mark); /* what came behind the flush stays */
	CHECK(j.first && j.first->op == BLK_DISCARD && !j.first->next);
	blk_journal_flushed(&j, mark); /* an older one says nothing new */
	CHECK(j.first);
	blk_journal_flushed(&j, j.seq);
	CHECK(!j.first && !j.held);
	iov[0] = (struct iovec){data, sizeof(data)};
	for (unsigned i = 0; i < BLK_JOURNAL_BYTES / sizeof(data) - 1; i++)
		blk_journal_add(&j, BLK_WRITE, i, sizeof(data), iov, 1);
	CHECK(!j.lost && j.held > BLK_JOURNAL_FLUSH);
	mark = j.seq;
	blk_journal_add(&j, BLK_WRITE, 0, sizeof(data), iov, 1);
	CHECK(j.lost && !j.held);
	blk_journal_flushed(&j, mark); /* it was asked for before */
	CHECK(j.lost);
	blk_journal_add(&j, BLK_WRITE, 0, sizeof(data), iov, 1);
	blk_journal_flushed(&j, j.seq);
	CHECK(!j.lost && !j.held);
	blk_journal_add(&j, BLK_WRITE, 0, sizeof(data), iov, 1);
	blk_journal_fini(&j);
}

/* ---- configurations ---- */

static bool describes(const char *file, const char *part)
{
	const struct blk_config cfg = {.file = file};
	struct error e = {0};
	char *text = blk_daemon_describe(&cfg, &e);
	bool is = part ? text && strstr(text, part) : !text && e.status == ST_INVALID && e.msg[0];

	free(text);
	return is;
}

static void test_describe(void)
{
	struct error e = {0};
	struct blk_config cfg = {.file = "nbd:unix:/s", .cache = BLK_UNSAFE, .readonly = true};
	char *text = blk_daemon_describe(&cfg, &e);

	CHECK(text && strstr(text, "\"no-flush\":true") && strstr(text, "\"read-only\":true") &&
	      strstr(text, "\"direct\":false"));
	free(text);
	CHECK(describes("nbd:host:99", "\"host\":\"host\",\"port\":\"99\""));
	CHECK(describes("nbd:host", "\"port\":\"10809\""));
	CHECK(describes("nbd:[::1]:99:exportname=a:b", "\"host\":\"::1\",\"port\":\"99\""));
	CHECK(describes("nbd:[::1]:99:exportname=a:b", "\"export\":\"a:b\""));
	CHECK(describes("nbd:unix:/a b", "\"path\":\"/a b\""));
	CHECK(describes("nbd:unix:", NULL) && describes("nbd::1", NULL));
	CHECK(describes("iscsi://h/iqn.x:y/3", "\"portal\":\"h\",\"target\":\"iqn.x:y\",\"lun\":3"));
	CHECK(describes("iscsi://h/iqn", NULL) && describes("iscsi:///iqn/1", NULL) &&
	      describes("iscsi://h/i/x", NULL));
	cfg.file = "iscsi://user%secret@h/iqn/1";
	CHECK(!blk_daemon_describe(&cfg, &e) && e.status == ST_UNSUPPORTED);
	cfg.file = "/nowhere/at/all";
	CHECK(!blk_daemon_describe(&cfg, &e) && e.status == ST_NOT_FOUND);
	for (unsigned i = 0; i < BLK_CACHES; i++)
		CHECK(blk_cache_row((enum blk_cache)i)->name);
	CHECK(blk_format_name(BLK_VMDK) && !blk_format_name(BLK_FORMATS));
}

/* ---- images ---- */

static void big(uint8_t *p, uint64_t v, unsigned bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static bool whole(const uint8_t *image, size_t n, enum blk_format f)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	bool is;

	if (fd < 0 || write(fd, image, n) != (ssize_t)n)
		abort();
	is = blk_extent_whole(fd, f);
	close(fd);
	return is;
}

/* Clusters of 4 KiB: header, references, L1, L2, data. */
static void test_extent(void)
{
	static uint8_t q[5 * 4096];
	char name[BLK_BACKING_MAX + 1];
	int fd = memfd_create("backing", MFD_CLOEXEC);

	memcpy(q, "QFI\xfb", 4);
	big(q + 4, 3, 4);
	big(q + 20, 12, 4);
	big(q + 24, 1 << 20, 8);
	big(q + 36, 1, 4);
	big(q + 40, 2 * 4096, 8);
	big(q + 48, 4096, 8);
	big(q + 56, 1, 4);
	big(q + 2 * 4096, 3 * 4096 | 1ull << 63, 8);
	big(q + 3 * 4096 + 80, 4 * 4096 | 1ull << 63, 8);
	CHECK(whole(q, sizeof(q), BLK_QCOW2) && whole(q, 4 * 4096 + 1, BLK_QCOW2));
	CHECK(!whole(q, 4 * 4096, BLK_QCOW2)); /* its data, its tables, its header */
	CHECK(!whole(q, 3 * 4096 + 100, BLK_QCOW2) && !whole(q, 2 * 4096, BLK_QCOW2) && !whole(q, 4096, BLK_QCOW2));
	CHECK(!whole(q, 40, BLK_QCOW2));
	CHECK(whole(q, 4096, BLK_VDI)); /* it is none: the daemon's */
	big(q + 72, 4, 8);
	CHECK(whole(q, 4 * 4096, BLK_QCOW2)); /* the data is in another file */
	big(q + 8, 200, 8);
	big(q + 16, 4, 4);
	memcpy(q + 200, "base", 4);
	CHECK(fd >= 0 && write(fd, q, sizeof(q)) == sizeof(q));
	CHECK(blk_extent_backing(fd, name) && !strcmp(name, "base"));
	CHECK(ftruncate(fd, 202) == 0 && !blk_extent_backing(fd, name));
	close(fd);
}

int main(void)
{
	test_protocol();
	test_ring();
	test_journal();
	test_describe();
	test_extent();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
