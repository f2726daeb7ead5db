/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host ends of serial lines: "stdio", "file:F", "unix:F", "none".
 *
 * Life: chardev_open, then the machine's (vm_create attaches, vm_destroy detaches), then chardev_close.
 * On a terminal, stdio is raw and Ctrl-A is the escape: Ctrl-A x quits, h helps, s shows the counters, Ctrl-A Ctrl-A
 * sends one Ctrl-A. Pipes and files pass through unchanged.
 */
#ifndef STEELYARD_CHARDEV_HOST_H
#define STEELYARD_CHARDEV_HOST_H

#include "engine/chardev.h"

struct vm;

/* *out is NULL for "none". ST_INVALID: a spec that makes no sense. */
enum status chardev_open(const char *spec, struct chardev **out, struct error *e);
/* Sends what is queued (for a second at most), restores the terminal, removes the socket. NULL is legal. */
void chardev_close(struct chardev *c);
/* Ctrl-A s calls fn, on the I/O thread with the device lock held. */
void chardev_on_stats(struct chardev *c, void (*fn)(void *ctx), void *ctx);
/* Does Ctrl-A work here? */
bool chardev_is_terminal(const struct chardev *c);

/* By the machine: input and queued output are served by its I/O thread from now on, and no longer. */
void chardev_attach(struct chardev *c, struct vm *vm);
void chardev_detach(struct chardev *c);

#endif
