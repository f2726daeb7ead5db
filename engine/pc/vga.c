// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The registers of the IBM VGA (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"): miscellaneous output,
 * sequencer, CRT controller, graphics and attribute controller, palette.
 *
 * There is no picture. What firmware, boot loaders and installers print goes in text mode to the 32 KiB at B8000H or B0000H, and
 * those are plain RAM of the machine: a store costs the guest nothing, and whoever wants to see the screen reads it there by
 * what the CRT controller says of its layout. So planes, latches and fonts do not exist, and graphics modes
 * can be set but not seen.
 *
 * Input status 1 is what programs wait on: display and vertical retrace follow the machine's clock at 70 Hz and 449 lines.
 */
#include "engine/pc/vga.h"

#include <stdlib.h>
#include <string.h>

#define FRAME_NS 14268071u /* 70.086 Hz */
#define LINE_NS (FRAME_NS / 449)
#define LINE_BLANK_NS (LINE_NS / 5)
#define SHOWN_LINES 400

/* Offsets from 3B0H. The colour CRT controller is at 24H, the monochrome one at 4. */
#define OFF_MONO_INDEX 0x04
#define OFF_MONO_STATUS 0x0a
#define OFF_ATTR 0x10
#define OFF_ATTR_READ 0x11
#define OFF_MISC_WRITE 0x12
#define OFF_SEQ_INDEX 0x14
#define OFF_DAC_MASK 0x16
#define OFF_DAC_READ_INDEX 0x17 /* read: state */
#define OFF_DAC_WRITE_INDEX 0x18
#define OFF_DAC_DATA 0x19
#define OFF_FEATURE_READ 0x1a
#define OFF_MISC_READ 0x1c
#define OFF_GR_INDEX 0x1e
#define OFF_COLOUR_INDEX 0x24
#define OFF_COLOUR_STATUS 0x2a

#define MISC_COLOUR 0x01u
#define MISC_SENSE 0x10u /* input status 0: a monitor is connected */
#define STATUS_BLANK 0x01u
#define STATUS_RETRACE 0x08u
#define ATTR_SHOW 0x20u
#define AR_MODE 0x10
#define AR_MODE_GRAPHICS 0x01u
#define GR_MISC 6
#define GR_MISC_GRAPHICS 0x01u
#define CR_COLUMNS 0x01
#define CR_OVERFLOW 0x07
#define CR_CELL 0x09
#define CR_START_HIGH 0x0c
#define CR_START_LOW 0x0d
#define CR_CURSOR_HIGH 0x0e
#define CR_CURSOR_LOW 0x0f
#define CR_PROTECT 0x11
#define CR_ROWS 0x12
#define CR_OFFSET 0x13
#define CR_PROTECTED 0x80u

struct vga {
	struct clock *clock;
	const struct mem *mem;
	uint8_t misc;
	uint8_t seq_index, seq[8];
	uint8_t cr_index, cr[32];
	uint8_t gr_index, gr[16];
	uint8_t ar_index, ar[32];
	bool ar_data; /* the next write to 3C0H is data */
	uint8_t dac_mask, dac_state;
	unsigned dac_read, dac_write; /* bytes into dac */
	uint8_t dac[768];
};

/* ---- registers ---- */

static uint8_t status1(struct vga *g)
{
	uint64_t at = clock_ns(g->clock) % FRAME_NS, line = at / LINE_NS;

	g->ar_data = false;
	if (line >= SHOWN_LINES)
		return STATUS_BLANK | STATUS_RETRACE;
	return at % LINE_NS < LINE_BLANK_NS ? STATUS_BLANK : 0;
}

static void cr_write(struct vga *g, uint8_t v)
{
	uint8_t i = g->cr_index & 31;

	if ((g->cr[CR_PROTECT] & CR_PROTECTED) && i < 8) {
		if (i == CR_OVERFLOW) /* but for one bit, the line compare's */
			g->cr[i] = (uint8_t)((g->cr[i] & ~0x10u) | (v & 0x10u));
		return;
	}
	g->cr[i] = v;
}

static void attr_write(struct vga *g, uint8_t v)
{
	if (!g->ar_data)
		g->ar_index = v;
	else if ((g->ar_index & 31) < 0x15)
		g->ar[g->ar_index & 31] = v;
	g->ar_data = !g->ar_data;
}

static uint8_t byte_read(struct vga *g, unsigned off)
{
	unsigned n;

	switch (off) {
	case OFF_MONO_INDEX:
	case OFF_COLOUR_INDEX:
		return g->cr_index;
	case OFF_MONO_INDEX + 1:
	case OFF_COLOUR_INDEX + 1:
		return g->cr[g->cr_index & 31];
	case OFF_MONO_STATUS:
	case OFF_COLOUR_STATUS:
		return status1(g);
	case OFF_ATTR:
		return g->ar_index;
	case OFF_ATTR_READ:
		return g->ar[g->ar_index & 31];
	case OFF_MISC_WRITE: /* input status 0 */
		return MISC_SENSE;
	case OFF_SEQ_INDEX:
		return g->seq_index;
	case OFF_SEQ_INDEX + 1:
		return g->seq[g->seq_index & 7];
	case OFF_DAC_MASK:
		return g->dac_mask;
	case OFF_DAC_READ_INDEX:
		return g->dac_state;
	case OFF_DAC_WRITE_INDEX:
		return (uint8_t)(g->dac_write / 3);
	case OFF_DAC_DATA:
		n = g->dac_read;
		g->dac_read = (n + 1) % sizeof(g->dac);
		return g->dac[n];
	case OFF_FEATURE_READ:
		return 0;
	case OFF_MISC_READ:
		return g->misc;
	case OFF_GR_INDEX:
		return g->gr_index;
	case OFF_GR_INDEX + 1:
		return g->gr[g->gr_index & 15];
	default:
		return 0xff;
	}
}

static void byte_write(struct vga *g, unsigned off, uint8_t v)
{
	switch (off) {
	case OFF_MONO_INDEX:
	case OFF_COLOUR_INDEX:
		g->cr_index = v;
		break;
	case OFF_MONO_INDEX + 1:
	case OFF_COLOUR_INDEX + 1:
		cr_write(g, v);
		break;
	case OFF_ATTR:
		attr_write(g, v);
		break;
	case OFF_MISC_WRITE:
		g->misc = v;
		break;
	case OFF_SEQ_INDEX:
		g->seq_index = v;
		break;
	case OFF_SEQ_INDEX + 1:
		g->seq[g->seq_index & 7] = v;
		break;
	case OFF_DAC_MASK:
		g->dac_mask = v;
		break;
	case OFF_DAC_READ_INDEX:
		g->dac_read = 3u * v;
		g->dac_state = 3;
		break;
	case OFF_DAC_WRITE_INDEX:
		g->dac_write = 3u * v;
		g->dac_state = 0;
		break;
	case OFF_DAC_DATA:
		g->dac[g->dac_write] = v & 0x3f;
		g->dac_write = (g->dac_write + 1) % sizeof(g->dac);
		break;
	case OFF_GR_INDEX:
		g->gr_index = v;
		break;
	case OFF_GR_INDEX + 1:
		g->gr[g->gr_index & 15] = v;
		break;
	default:
		break;
	}
}

/* Only the CRT controller of the chosen kind, colour or monochrome, answers. */
static bool answers(const struct vga *g, unsigned off)
{
	bool colour = g->misc & MISC_COLOUR;

	return off >= 0x20 ? colour : off < 0x10 ? !colour : true;
}

static uint64_t vga_read(void *dev, uint64_t off, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)(answers(dev, (unsigned)off + i) ? byte_read(dev, (unsigned)off + i) : 0xff) << 8 * i;
	return v;
}

/* A word to an index port sets index and data at once. */
static void vga_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	for (unsigned i = 0; i < size; i++)
		if (answers(dev, (unsigned)off + i))
			byte_write(dev, (unsigned)off + i, (uint8_t)(val >> 8 * i));
}

const struct io_ops vga_ops = {"vga", vga_read, vga_write};

/* ---- the screen ---- */

/* Code page 437, the characters that are not ASCII, as Unicode (IBM CDRA, code page 00437). */
static const uint16_t cp437_low[32] = {
	' ',    0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
	0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
	0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};
static const uint16_t cp437_high[129] = {
	0x2302, 0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
	0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff,
	0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1,
	0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593,
	0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
	0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560,
	0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518,
	0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5,
	0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264,
	0x2320, 0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, ' ',
};

static char *put_character(char *to, uint8_t c)
{
	unsigned u = c < 32 ? cp437_low[c] : c < 127 ? c : cp437_high[c - 127];

	if (u < 0x80) {
		*to++ = (char)u;
	} else if (u < 0x800) {
		*to++ = (char)(0xc0 | u >> 6);
		*to++ = (char)(0x80 | (u & 0x3f));
	} else {
		*to++ = (char)(0xe0 | u >> 12);
		*to++ = (char)(0x80 | (u >> 6 & 0x3f));
		*to++ = (char)(0x80 | (u & 0x3f));
	}
	return to;
}

static bool in_text_mode(const struct vga *g)
{
	return (g->ar_index & ATTR_SHOW) && !(g->ar[AR_MODE] & AR_MODE_GRAPHICS) && !(g->gr[GR_MISC] & GR_MISC_GRAPHICS);
}

void vga_screen(const struct vga *g, struct vga_screen *s, char text[VGA_TEXT_BYTES])
{
	unsigned map = g->gr[GR_MISC] >> 2 & 3, bytes = map == 1 || map == 0 ? 0x10000 : 0x8000;
	uint64_t base = map == 3 ? 0xb8000 : map == 2 ? 0xb0000 : 0xa0000;
	unsigned lines = g->cr[CR_ROWS] | (g->cr[CR_OVERFLOW] & 0x02u) << 7 | (g->cr[CR_OVERFLOW] & 0x40u) << 3;
	unsigned start = (unsigned)g->cr[CR_START_HIGH] << 8 | g->cr[CR_START_LOW];
	unsigned cursor = ((unsigned)g->cr[CR_CURSOR_HIGH] << 8 | g->cr[CR_CURSOR_LOW]) - start;
	unsigned pitch = g->cr[CR_OFFSET] ? 2u * g->cr[CR_OFFSET] : 80;
	char *to = text;

	*s = (struct vga_screen){0};
	*text = 0;
	if (!in_text_mode(g))
		return;
	s->text = true;
	s->columns = g->cr[CR_COLUMNS] + 1u;
	s->rows = (lines + 1) / ((g->cr[CR_CELL] & 31u) + 1);
	s->columns = s->columns > VGA_MAX_COLUMNS ? VGA_MAX_COLUMNS : s->columns;
	s->rows = s->rows > VGA_MAX_ROWS ? VGA_MAX_ROWS : s->rows;
	s->cursor_row = cursor / pitch < s->rows ? cursor / pitch : s->rows;
	s->cursor_column = cursor % pitch;
	for (unsigned row = 0; row < s->rows; row++) {
		char *end = to;

		for (unsigned col = 0; col < s->columns; col++) {
			uint64_t at = (uint64_t)(start + row * pitch + col) * 2 % bytes;
			uint8_t c = 0;

			mem_read(g->mem, base + at, &c, 1);
			to = put_character(to, c);
			if (to[-1] != ' ')
				end = to;
		}
		to = end;
		*to++ = '\n';
	}
	*to = 0;
}

/* ---- life ---- */

void vga_reset(struct vga *g)
{
	struct clock *clock = g->clock;
	const struct mem *mem = g->mem;

	*g = (struct vga){.clock = clock, .mem = mem, .misc = MISC_COLOUR, .dac_mask = 0xff};
}

struct vga *vga_new(struct clock *clock, const struct mem *mem)
{
	struct vga *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->clock = clock;
	g->mem = mem;
	vga_reset(g);
	return g;
}

void vga_free(struct vga *g)
{
	free(g);
}
