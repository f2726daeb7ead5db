/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the flash chip with the firmware's variables. The input's first byte says whether a file keeps them and how large that
 * file is; what follows are bus cycles of every size, at any place, and resets. A model of the array alone says what must be true
 * whatever the guest does: programming clears bits, erasing sets those of one block, nothing else changes a byte; and what the chip
 * says it holds is what the file holds afterwards.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/pc/pflash.h"
#include "tests/fuzz/fuzz.h"

#define CHIP_BYTES (4 * PFLASH_BLOCK)
#define OPS_MAX 4096u

struct input {
	const uint8_t *p;
	size_t left;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t val = 0;

	for (unsigned k = 0; k < bytes && in->left; k++, in->left--)
		val |= (uint64_t)*in->p++ << 8 * k;
	return val;
}

static int file_of(const char *name, unsigned bytes, char path[64])
{
	int fd = memfd_create(name, 0);

	if (fd < 0 || ftruncate(fd, bytes) != 0)
		FUZZ_FAIL("no file");
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

/* The array as a guest reads it. */
static void look(struct pflash *p, uint8_t *out)
{
	pflash_ops.write(p, 0, 1, 0xff); /* the end of a command that waits for its second cycle, or read array */
	pflash_ops.write(p, 0, 1, 0xff);
	for (unsigned at = 0; at < CHIP_BYTES; at += 8) {
		uint64_t v = pflash_ops.read(p, at, 8);

		memcpy(out + at, &v, 8);
	}
}

static void check_change(const uint8_t *before, const uint8_t *after, uint64_t off)
{
	unsigned block = (unsigned)(off / PFLASH_BLOCK * PFLASH_BLOCK);
	bool erased = true;

	if (!memcmp(before, after, CHIP_BYTES))
		return;
	if (off >= CHIP_BYTES)
		FUZZ_FAIL("a cycle behind the end changed the chip");
	for (unsigned i = block; i < block + PFLASH_BLOCK; i++)
		erased &= after[i] == 0xff;
	for (unsigned i = 0; i < CHIP_BYTES; i++) {
		bool in_block = i >= block && i < block + PFLASH_BLOCK;

		if (after[i] == before[i] || (in_block && erased))
			continue;
		if (i != off || (after[i] & ~before[i]))
			FUZZ_FAIL("byte %x: %02x became %02x by a cycle at %llx", i, before[i], after[i], (unsigned long long)off);
	}
}

/* A command that is given whole, so that the array can be looked at before and after it. */
static void whole(struct pflash *p, struct input *in, uint8_t command)
{
	uint8_t before[CHIP_BYTES], after[CHIP_BYTES];
	uint64_t off = take(in, 2);
	uint8_t second = (uint8_t)take(in, 1);

	look(p, before);
	pflash_ops.write(p, off, 1, command);
	pflash_ops.write(p, off, 1, second);
	look(p, after);
	check_change(before, after, off);
}

static void operate(struct pflash *p, struct input *in)
{
	static const uint8_t commands[] = {0x40, 0x10, 0x20, 0x50, 0x70, 0xff, 0x90, 0xe8};
	uint8_t code = (uint8_t)take(in, 1);
	unsigned size = 1u << (code >> 6);
	uint64_t off;

	switch (code & 7) {
	case 0:
	case 1:
		off = take(in, 2);
		pflash_ops.write(p, off, size, take(in, size));
		break;
	case 2:
		pflash_ops.read(p, take(in, 2), size);
		break;
	case 3:
		pflash_ops.read(p, take(in, 8), size);
		off = take(in, 8);
		pflash_ops.write(p, off, size, take(in, size));
		break;
	case 4:
		pflash_reset(p);
		break;
	case 5: /* a command, not its second cycle */
		pflash_ops.write(p, take(in, 2) % CHIP_BYTES, 1, commands[code >> 3 & 7]);
		break;
	default:
		whole(p, in, commands[code >> 3 & 7]);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned sizes[] = {0, CHIP_BYTES, 1, PFLASH_BLOCK, CHIP_BYTES + 1, CHIP_BYTES - 1};
	uint8_t chip[CHIP_BYTES], file[CHIP_BYTES];
	struct input in = {.p = data, .left = size};
	uint8_t which = (uint8_t)take(&in, 1);
	unsigned bytes = sizes[(which >> 1) % 6];
	bool keeps = which & 1;
	char first[64], kept[64];
	int a = file_of("first", CHIP_BYTES, first), b = file_of("kept", bytes, kept);
	struct pflash *p = NULL;
	struct error e;
	enum status st = pflash_new(first, keeps ? kept : NULL, &p, &e);

	if ((st == ST_OK) != (!keeps || bytes == 0 || bytes == CHIP_BYTES))
		FUZZ_FAIL("a file of %u bytes: status %d", bytes, (int)st);
	if (st == ST_OK) {
		if (pflash_bytes(p) != CHIP_BYTES)
			FUZZ_FAIL("%llu bytes", (unsigned long long)pflash_bytes(p));
		for (unsigned k = 0; in.left && k < OPS_MAX; k++)
			operate(p, &in);
		look(p, chip);
		if (keeps && (pread(b, file, CHIP_BYTES, 0) != CHIP_BYTES || memcmp(file, chip, CHIP_BYTES)))
			FUZZ_FAIL("the file holds something else than the chip");
		pflash_free(p);
	}
	close(a);
	close(b);
	return 0;
}
