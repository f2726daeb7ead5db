/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what a storage daemon answers, and what a disk image says of itself. The first byte chooses:
 *   0  replies of the vhost-user protocol, which are all there before the questions
 *   1  the used ring, and statuses, of a ring of requests
 *   2  a qcow2, VDI or VMDK image whose tables are looked at: it begins with the format's magic number
 * Whatever comes, there is a result in time; a ring gives back only what it was given, and once.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/block/blk_extent.h"
#include "engine/block/block_int.h"
#include "engine/block/vhost_ring.h"
#include "engine/block/vhost_user.h"
#include "tests/fuzz/fuzz.h"

static void fuzz_replies(const uint8_t *data, size_t size)
{
	struct vhost_user_disk disk = {0};
	struct vhost_user v = {.timeout_ms = 1};
	struct vhost_user_region region = {.fd = 0, .hva = &disk, .bytes = 4096};
	struct vhost_user_ring ring = {.size = 256, .kick = 0, .call = 0};
	struct error e = {0};
	enum status st;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
		abort();
	v.fd = fd[0];
	if (write(fd[1], data, size) < 0)
		size = 0;
	shutdown(fd[1], SHUT_WR);
	st = vhost_user_begin(&v, 2, &disk, &e);
	if (st == ST_OK && (!disk.bytes || disk.bytes % 512 || disk.block < 512 || disk.block > 65536 ||
			    !disk.discard_sectors || !disk.zeroes_sectors))
		FUZZ_FAIL("a disk that cannot be: %llu bytes", (unsigned long long)disk.bytes);
	if (st == ST_OK)
		st = vhost_user_memory(&v, &region, 1, &e);
	if (st == ST_OK)
		st = vhost_user_ring_start(&v, &ring, &e);
	if (st != ST_OK && (!e.msg[0] || strchr(e.msg, '\n')))
		FUZZ_FAIL("no line of text for status %d", (int)st);
	close(fd[0]);
	close(fd[1]);
}

/* Bytes are operations: put a request into a free slot, let the device write two bytes anywhere in the rings, take. */
static void fuzz_ring(const uint8_t *data, size_t size)
{
	uint8_t *area = mmap(NULL, VHOST_RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool mine[VHOST_RING_SLOTS] = {0}, ok;
	struct vhost_ring r;
	unsigned out = 0;
	int n;

	if (area == MAP_FAILED)
		abort();
	vhost_ring_init(&r, area);
	for (size_t i = 0; i + 4 <= size; i += 4) {
		const uint8_t *op = data + i;

		if (op[0] % 3 == 0 && !mine[op[1]]) {
			struct iovec iov = {area, op[2]};
			struct vhost_ring_request rq = {
				.type = op[3] % 14, .sector = op[2], .iov = &iov, .niov = op[2] & 1};

			vhost_ring_put(&r, op[1], &rq);
			mine[op[1]] = true;
			out++;
		} else if (op[0] % 3 == 1) {
			/* the used ring is what the device writes */
			uint8_t *used = (uint8_t *)(uintptr_t)vhost_ring_used(&r);

			used[(op[1] | (op[0] / 3 & 7) << 8) % 2052] = op[2];
		} else if (op[0] % 3 == 2) {
			while ((n = vhost_ring_take(&r, &ok)) >= 0) {
				if (n >= (int)VHOST_RING_SLOTS || !mine[n])
					FUZZ_FAIL("slot %d comes back and was not out", n);
				mine[n] = false;
				out--;
			}
		}
	}
	munmap(area, VHOST_RING_BYTES);
}

static void fuzz_image(const uint8_t *data, size_t size)
{
	static const enum blk_format format[] = {BLK_QCOW2, BLK_VDI, BLK_VMDK};
	char name[BLK_BACKING_MAX + 1];
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	if (blk_extent_backing(fd, name) && strlen(name) > BLK_BACKING_MAX)
		FUZZ_FAIL("a name of %zu bytes", strlen(name));
	for (unsigned i = 0; i < ARRAY_LEN(format); i++)
		(void)blk_extent_whole(fd, format[i]);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] % 3) {
	case 0:
		fuzz_replies(data + 1, size - 1);
		break;
	case 1:
		fuzz_ring(data + 1, size - 1);
		break;
	default:
		fuzz_image(data + 1, size - 1);
	}
	return 0;
}
