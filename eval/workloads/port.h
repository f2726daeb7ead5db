/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Markers by the debug console, port 0xe9 of Bochs, QEMU and our machines: whoever runs the guest knows the moment of each byte.
 * Only for guests: on a bare PC that port is somebody else's. A machine without it reads something else there.
 */
#ifndef STEELYARD_WORKLOADS_PORT_H
#define STEELYARD_WORKLOADS_PORT_H

#include <stdbool.h>
#include <sys/io.h>

#define MARK_PORT 0xe9

static inline bool port_open(void)
{
	return !ioperm(MARK_PORT, 1, 1) && inb(MARK_PORT) == 0xe9;
}

static inline void port_say(const char *s)
{
	for (; *s; s++)
		outb((unsigned char)*s, MARK_PORT);
}

#endif
