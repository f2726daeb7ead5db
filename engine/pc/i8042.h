/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller of a PC AT with a PS/2 keyboard, on which somebody may type, and a mouse that nobody touches.
 *
 * Threads: device lock held.
 */
#ifndef STEELYARD_I8042_H
#define STEELYARD_I8042_H

#include "engine/bus.h"
#include "engine/clock.h"
#include "engine/irq.h"

struct i8042;

/* The controller's output port reaches the processor: its reset line and the A20 gate. */
struct i8042_config {
	struct irq_line kbd, aux;
	struct clock *clock;
	bool *a20; /* the gate's state, shared with port 0x92 */
	void (*reset)(void *ctx);
	void *ctx;
};

/* NULL when the host has no memory. */
struct i8042 *i8042_new(const struct i8042_config *cfg);
void i8042_free(struct i8042 *k);
void i8042_reset(struct i8042 *k);
/* Types a text (engine/pc/keyboard.h): keys go down and up one after the other, as fast as a quick person, and no faster than the
 * guest takes them. moves: how often a key moves. ST_INVALID: no such key; ST_BUSY: too much waits to be typed. */
enum status i8042_type(struct i8042 *k, const char *text, unsigned *moves, struct error *e);

extern const struct io_ops i8042_data_ops; /* port 0x60 */
extern const struct io_ops i8042_cmd_ops;  /* port 0x64 */

#endif
