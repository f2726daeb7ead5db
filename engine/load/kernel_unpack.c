/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unpacks what a bzImage carries, with the host's libraries instead of the guest's decompressor: a few tenths of a
 * second natively, against seconds of guest code at every boot.
 *
 * The payload is a compressed ELF file with its unpacked size behind it as 32 bits: gzip's own trailer, or put there by
 * the kernel's build (Documentation/arch/x86/boot.rst, payload_length). That size is a file's claim: it sizes the
 * buffer, within a limit, and a payload that unpacks to another size is damaged.
 */
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "engine/load/loader.h"

#define UNPACKED_MAX (512ull << 20)
#define LZMA_MEMORY_MAX (256ull << 20)
#define LZ4_LEGACY_BLOCK (8u << 20)

/* in -> out, exactly out_size bytes; false: damaged. */
typedef bool unpack_fn(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size);

static bool unpack_none(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	(void)in_size; /* the caller has made out_size of it */
	memcpy(out, in, out_size);
	return true;
}

static bool unpack_gzip(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	z_stream z = {.next_in = (Bytef *)in, .avail_in = (uInt)in_size, .next_out = out, .avail_out = (uInt)out_size};
	int r;

	if (inflateInit2(&z, 15 + 16) != Z_OK) /* 16: expect gzip's header */
		return false;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return r == Z_STREAM_END && z.total_out == out_size;
}

static bool run_lzma(lzma_stream *z, const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	lzma_ret r;

	z->next_in = in;
	z->avail_in = in_size;
	z->next_out = out;
	z->avail_out = out_size;
	r = lzma_code(z, LZMA_FINISH);
	/* .lzma without a size in its header and without an end marker stops for want of output space */
	lzma_end(z);
	return (r == LZMA_STREAM_END || r == LZMA_OK || r == LZMA_BUF_ERROR) && z->avail_out == 0;
}

static bool unpack_xz(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	lzma_stream z = LZMA_STREAM_INIT;

	return lzma_stream_decoder(&z, LZMA_MEMORY_MAX, 0) == LZMA_OK && run_lzma(&z, in, in_size, out, out_size);
}

static bool unpack_lzma(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	lzma_stream z = LZMA_STREAM_INIT;

	return lzma_alone_decoder(&z, LZMA_MEMORY_MAX) == LZMA_OK && run_lzma(&z, in, in_size, out, out_size);
}

/* One frame; the size word behind it is not part of it. */
static bool unpack_zstd(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	size_t frame = ZSTD_findFrameCompressedSize(in, in_size);
	size_t n;

	if (ZSTD_isError(frame))
		return false;
	n = ZSTD_decompress(out, out_size, in, frame);
	return !ZSTD_isError(n) && n == out_size;
}

/* LZ4's legacy frame: magic, then blocks of a 32-bit length and at most 8 MiB of output each. */
static bool unpack_lz4(const uint8_t *in, uint64_t in_size, uint8_t *out, uint64_t out_size)
{
	uint64_t pos = 4, done = 0;

	while (done < out_size) {
		uint64_t room = out_size - done;
		uint32_t len;
		int n;

		if (in_size - pos < 4)
			return false;
		len = get32(in + pos);
		pos += 4;
		if (len == 0x184c2102u) /* archives may be concatenated */
			continue;
		if (len == 0 || len > in_size - pos || len > (uint32_t)LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK))
			return false;
		n = LZ4_decompress_safe((const char *)in + pos, (char *)out + done, (int)len,
					(int)(room < LZ4_LEGACY_BLOCK ? room : LZ4_LEGACY_BLOCK));
		if (n <= 0)
			return false;
		pos += len;
		done += (uint64_t)n;
	}
	return true;
}

static const struct packing {
	const char *name;
	uint8_t magic[6];
	uint8_t magic_len;
	bool size_behind; /* the unpacked size is the payload's last word */
	unpack_fn *fn;
} packings[] = {
	{"gzip", {0x1f, 0x8b}, 2, true, unpack_gzip},
	{"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, true, unpack_xz},
	{"lzma", {0x5d, 0, 0}, 3, true, unpack_lzma},
	{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, true, unpack_zstd},
	{"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, true, unpack_lz4},
	{"uncompressed", {0x7f, 'E', 'L', 'F'}, 4, false, unpack_none},
};

enum unpack_result kernel_unpack(const uint8_t *in, uint64_t in_size, uint8_t **out, uint64_t *out_size,
				 const char **kind)
{
	*out = NULL;
	*kind = "unknown compression";
	for (unsigned i = 0; i < ARRAY_LEN(packings); i++) {
		const struct packing *p = &packings[i];

		if (in_size < 16 || memcmp(in, p->magic, p->magic_len) != 0)
			continue;
		*kind = p->name;
		*out_size = p->size_behind ? get32(in + in_size - 4) : in_size;
		if (*out_size == 0 || *out_size > UNPACKED_MAX || in_size > UNPACKED_MAX)
			return UNPACK_BAD;
		*out = malloc(*out_size);
		if (!*out)
			return UNPACK_MEMORY;
		if (p->fn(in, in_size, *out, *out_size))
			return UNPACK_OK;
		free(*out);
		*out = NULL;
		return UNPACK_BAD;
	}
	return UNPACK_UNKNOWN;
}
