/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two grey pictures: blended with saturation, blurred, compared. SSE2 on integers, unaligned loads. */
#include <emmintrin.h>

#include "workload.h"

#define W 256
#define H 64
static uint8_t a[H][W] __attribute__((aligned(16))), b[H][W] __attribute__((aligned(16))),
	out[H][W] __attribute__((aligned(16)));

static __m128i load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

static uint32_t pass(unsigned bright)
{
	const __m128i add = _mm_set1_epi8((char)bright), zero = _mm_setzero_si128();
	__m128i differences = zero;

	for (unsigned y = 1; y < H - 1; y++)
		for (unsigned x = 16; x < W - 16; x += 16) {
			__m128i c = load(&a[y][x]);
			__m128i side = _mm_avg_epu8(load(&a[y][x - 1]), load(&a[y][x + 1]));
			__m128i line = _mm_avg_epu8(load(&a[y - 1][x]), load(&a[y + 1][x]));
			__m128i blur = _mm_avg_epu8(c, _mm_avg_epu8(side, line)), other = load(&b[y][x]);
			__m128i lo = _mm_mullo_epi16(_mm_unpacklo_epi8(blur, zero), _mm_set1_epi16(3));
			__m128i hi = _mm_mullo_epi16(_mm_unpackhi_epi8(blur, zero), _mm_set1_epi16(3));

			blur = _mm_packus_epi16(_mm_srli_epi16(lo, 2), _mm_srli_epi16(hi, 2));
			blur = _mm_max_epu8(_mm_adds_epu8(blur, add), _mm_subs_epu8(other, add));
			differences = _mm_add_epi64(differences, _mm_sad_epu8(blur, other));
			_mm_store_si128((__m128i *)&out[y][x], blur);
		}
	return (uint32_t)_mm_cvtsi128_si32(differences) +
	       (uint32_t)_mm_cvtsi128_si32(_mm_shuffle_epi32(differences, 0x4e));
}

uint64_t wl_pixels(uint64_t scale)
{
	uint64_t seed = 8, sum = 0;

	for (unsigned y = 0; y < H; y++)
		for (unsigned x = 0; x < W; x++) {
			a[y][x] = (uint8_t)(wl_random(&seed) >> 56);
			b[y][x] = (uint8_t)(x + y * 3);
		}
	for (uint64_t rep = 0; rep < 1600 * scale; rep++) {
		a[rep % H][(rep * 37) % W] ^= 0x55;
		sum = wl_mix(sum, pass((unsigned)rep & 31) + ((uint64_t)out[1 + rep % (H - 2)][100] << 32));
	}
	return sum;
}
