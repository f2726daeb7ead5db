/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where control sockets are: one folder for each user, one NAME.sock for each machine; and how a machine takes its place
 * there.
 *
 * Threads: any; the file system is the only state.
 */
#ifndef STEELYARD_CONTROL_PATH_H
#define STEELYARD_CONTROL_PATH_H

#include <sys/stat.h>

#include "engine/status.h"

#define CONTROL_NAME_BYTES 48 /* the longest name */
#define CONTROL_PATH_BYTES 108 /* of struct sockaddr_un, its NUL included */

/* Letters, digits, "." "_" "-", beginning with a letter or a digit. */
bool control_name_ok(const char *name);
/* The user's folder: $XDG_RUNTIME_DIR/steelyard, or /tmp/steelyard-UID where there is none. It must be the user's own and
 * closed to others: ST_DENIED. create false: ST_NOT_FOUND when it is not there. */
enum status control_dir(char *out, size_t n, bool create, struct error *e);
/* The socket of a machine: NAME in the folder, or the path itself when it contains a "/". */
enum status control_path_of(const char *name, char out[CONTROL_PATH_BYTES], bool create, struct error *e);

/* A socket that listens, and what was made in the file system. */
struct control_place {
	int fd; /* -1: none */
	char path[CONTROL_PATH_BYTES];
	dev_t dev;
	ino_t ino;
};
/* Binds and listens, mode 0600. A socket that nobody listens on is replaced; ST_BUSY when a machine is there already,
 * ST_INVALID when the path is something else. */
enum status control_claim(struct control_place *p, const char *path, struct error *e);
/* Closes, and removes the file if it is still ours. */
void control_release(struct control_place *p);

/* Connects, without waiting. The descriptor, or -1 with errno. */
int control_connect_fd(const char *path);

#endif
