/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A serial port with its two 16-byte FIFOs, before a chardev.
 *
 * Threads: device lock held; the chardev's receive callbacks too.
 */
#ifndef STEELYARD_UART16550_H
#define STEELYARD_UART16550_H

#include "engine/bus.h"
#include "engine/chardev.h"
#include "engine/clock.h"
#include "engine/irq.h"

struct uart;

/* NULL when the host has no memory. */
struct uart *uart_new(struct clock *clock, struct irq_line irq);
/* Sends what still waits and lets go of the chardev. */
void uart_free(struct uart *u);
void uart_reset(struct uart *u);
/* Connects the host end (NULL: a cable with nobody there). The chardev outlives the connection. */
void uart_attach(struct uart *u, struct chardev *c);
/* Hands waiting output to the chardev now. */
void uart_flush(struct uart *u);

extern const struct io_ops uart_ops; /* 8 ports */

#endif
