/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a control socket: connect, ask, wait for events. For the command line and the manager.
 *
 * Every call returns an exit status of the command line, and one line of text when that is not CONTROL_EXIT_OK.
 * Threads: a connection belongs to one at a time.
 */
#ifndef STEELYARD_CONTROL_CLIENT_H
#define STEELYARD_CONTROL_CLIENT_H

#include "engine/control/control_schema.h"

#define CONTROL_REPLY_BYTES (1u << 20) /* a longer line is no machine's */

struct control_conn {
	int fd;
	int next_id;
	bool eof;
	bool nobody; /* there is no such machine: no socket, or one that its machine has left behind */
	char *buf;
	size_t n;
	json_t *events; /* that came while a reply was waited for */
	char text[400]; /* why the last call did not return CONTROL_EXIT_OK */
};

/* name: of a machine, or a path with a "/". To be closed whatever comes back. */
enum control_exit control_conn_open(struct control_conn *c, const char *name);
void control_conn_close(struct control_conn *c);
/* Asks and waits for the reply. args is consumed, NULL is legal. *ok is the caller's. timeout_ms below 0: for ever. */
enum control_exit control_call(struct control_conn *c, enum control_verb_id verb, json_t *args, int timeout_ms, json_t **ok);
/* The next event of what was subscribed to; the caller's. CONTROL_EXIT_TIMED_OUT, CONTROL_EXIT_UNREACHABLE at the end. */
enum control_exit control_next_event(struct control_conn *c, int timeout_ms, json_t **event);

#endif
