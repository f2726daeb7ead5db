/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A terminal in raw mode that gets its settings back whatever happens to this process.
 * Threads: the owner's only.
 */
#ifndef STEELYARD_TERMINAL_H
#define STEELYARD_TERMINAL_H

#include <sys/types.h>
#include <termios.h>

#include "engine/status.h"

struct terminal {
	int fd;
	struct termios saved;
	pid_t guard;
	int guard_pipe;
	bool raw;
};

/* Is fd a terminal whose foreground job we are? */
bool terminal_is_ours(int fd);
/* Best called while the process has one thread: it forks. */
enum status terminal_raw(struct terminal *t, int fd, struct error *e);
/* Does nothing when not raw. */
void terminal_restore(struct terminal *t);

#endif
