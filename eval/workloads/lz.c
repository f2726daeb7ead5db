/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A byte-oriented LZ77: 32 KiB packed with a hash of three bytes, unpacked, compared. */
#include "workload.h"

#define BYTES 32768u
#define HASH_BITS 12
static uint8_t plain[BYTES], packed[2 * BYTES], back[BYTES];
static uint16_t head[1u << HASH_BITS]; /* position + 1 */

static uint32_t hash3(const uint8_t *p)
{
	return ((p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16) * 2654435761u) >> (32 - HASH_BITS);
}

/* token: 0..127 literals follow (n + 1); 128..255: match of n - 125 bytes, 16-bit distance */
static size_t pack(const uint8_t *in, size_t n, uint8_t *out)
{
	size_t o = 0, lit = 0, i = 0;

	for (unsigned h = 0; h < 1u << HASH_BITS; h++)
		head[h] = 0;
	while (i < n) {
		size_t len = 0, from = 0;

		if (i + 3 <= n) {
			uint32_t h = hash3(in + i);

			from = head[h];
			head[h] = (uint16_t)(i + 1);
			if (from--) {
				while (len < 130 && i + len < n && in[from + len] == in[i + len])
					len++;
			}
		}
		if (len < 3) {
			if (!lit || out[o - lit - 1] == 127) {
				out[o++] = 0;
				lit = 0;
			} else {
				out[o - lit - 1]++;
			}
			out[o++] = in[i++];
			lit++;
			continue;
		}
		out[o++] = (uint8_t)(len + 125);
		out[o++] = (uint8_t)(i - from);
		out[o++] = (uint8_t)((i - from) >> 8);
		i += len;
		lit = 0;
	}
	return o;
}

static size_t unpack(const uint8_t *in, size_t n, uint8_t *out)
{
	size_t o = 0;

	for (size_t i = 0; i < n;) {
		unsigned t = in[i++];

		if (t < 128) {
			for (unsigned l = 0; l <= t; l++)
				out[o++] = in[i++];
		} else {
			size_t from = o - (in[i] | (size_t)in[i + 1] << 8);

			i += 2;
			for (unsigned l = 0; l < t - 125; l++)
				out[o++] = out[from++];
		}
	}
	return o;
}

uint64_t wl_lz(uint64_t scale)
{
	static const char *const word[8] = {"iron ", "weighs ", "balance ", "beam ", "guest ", "page ", "the ", "of "};
	uint64_t seed = 21, sum = 0;

	for (unsigned i = 0; i < BYTES;) {
		const char *w = word[(wl_random(&seed) >> 50) & 7];

		while (*w && i < BYTES)
			plain[i++] = (uint8_t)*w++;
		if ((wl_random(&seed) >> 60) == 0 && i < BYTES)
			plain[i++] = (uint8_t)wl_random(&seed);
	}
	for (uint64_t rep = 0; rep < 45 * scale; rep++) {
		size_t n, m;

		plain[(rep * 4099) % BYTES] ^= (uint8_t)rep;
		n = pack(plain, BYTES, packed);
		m = unpack(packed, n, back);
		for (unsigned i = 0; i < BYTES; i += 127)
			sum = wl_mix(sum, back[i]);
		sum = wl_mix(sum, n + ((uint64_t)m << 32));
	}
	return sum;
}
