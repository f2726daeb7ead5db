/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host end of a serial line: the terminal, a file, a Unix socket, or nothing.
 * Threads: chardev_write: device lock held. Input arrives on the I/O thread, which takes the lock and calls receive.
 */
#ifndef STEELYARD_CHARDEV_H
#define STEELYARD_CHARDEV_H

#include "engine/status.h"

struct chardev {
	/* Writes bytes to the host; never blocks for long, drops what cannot be written. */
	void (*write)(struct chardev *c, const uint8_t *buf, unsigned len);
	/* Set by the device: how many bytes it can take now, and the bytes. Device lock held. */
	unsigned (*can_receive)(void *dev);
	void (*receive)(void *dev, const uint8_t *buf, unsigned len);
	/* Set by the backend: called by the device when it can take input again. */
	void (*resume_input)(struct chardev *c);
	void *dev;
	void *backend;
};

static inline void chardev_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
	if (c && c->write)
		c->write(c, buf, len);
}

#endif
