/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VGA as text mode needs it: registers that a VGA BIOS sets and reads back, and the screen as text.
 * Threads: device lock held.
 */
#ifndef STEELYARD_VGA_H
#define STEELYARD_VGA_H

#include "engine/bus.h"
#include "engine/clock.h"
#include "engine/mem.h"

struct vga;

/* mem: where the characters lie. NULL when the host has no memory. */
struct vga *vga_new(struct clock *clock, const struct mem *mem);
void vga_free(struct vga *g);
void vga_reset(struct vga *g);

/* What the screen shows. */
struct vga_screen {
	bool text; /* false: a graphics mode, or no mode was set yet; the rest is 0 */
	unsigned columns, rows;
	unsigned cursor_column, cursor_row;
};
#define VGA_MAX_COLUMNS 160
#define VGA_MAX_ROWS 100
/* Longest text: each character up to three bytes of UTF-8, and a newline a row. */
#define VGA_TEXT_BYTES (VGA_MAX_ROWS * (VGA_MAX_COLUMNS * 3 + 1) + 1)
/* Fills s, and text with the rows as lines of UTF-8 without trailing blanks, zero-terminated. */
void vga_screen(const struct vga *g, struct vga_screen *s, char text[VGA_TEXT_BYTES]);

extern const struct io_ops vga_ops; /* ports 0x3b0 to 0x3df */

#endif
