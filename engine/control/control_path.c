// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Places of control sockets.
 *
 * The folder is looked at, not believed: /tmp is everybody's, so a folder there may be somebody else's trap. It must be a
 * real folder, ours, and closed to group and others. The socket itself is mode 0600 from the moment it exists: bind(2)
 * takes the mode from the descriptor.
 *
 * A socket file outlives its process. Whether somebody is behind it, connect(2) tells: ECONNREFUSED means nobody. Two
 * machines that find the same dead socket would each replace it, the second one the first one's fresh socket; so looking,
 * removing, binding and listening happen under a lock on the folder.
 */
#include "engine/control/control_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 16
#define LOCK_TRIES 100
#define LOCK_NAP_NS 20000000L

bool control_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > CONTROL_NAME_BYTES)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
			continue;
		if (i == 0 || !strchr("._-", c))
			return false;
	}
	return true;
}

static bool own_folder(const char *path, struct stat *st)
{
	return lstat(path, st) == 0 && S_ISDIR(st->st_mode) && st->st_uid == geteuid();
}

enum status control_dir(char *out, size_t n, bool create, struct error *e)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	int len;

	if (xdg && *xdg == '/' && own_folder(xdg, &st))
		len = snprintf(out, n, "%s/steelyard", xdg);
	else
		len = snprintf(out, n, "/tmp/steelyard-%u", (unsigned)geteuid());
	if (len < 0 || (size_t)len >= n)
		return error_set(e, ST_INVALID, "XDG_RUNTIME_DIR is too long a path for a socket");
	if (create && mkdir(out, 0700) != 0 && errno != EEXIST)
		return error_errno(e, ST_IO, "cannot make the folder of control sockets %s", out);
	if (lstat(out, &st) != 0)
		return errno == ENOENT ? error_set(e, ST_NOT_FOUND, "no machine runs: there is no %s", out)
				       : error_errno(e, ST_DENIED, "cannot look at %s", out);
	if (!own_folder(out, &st) || (st.st_mode & 077))
		return error_set(e, ST_DENIED,
				 "%s must be a folder of your own with mode 0700: remove it, or set XDG_RUNTIME_DIR",
				 out);
	return ST_OK;
}

enum status control_path_of(const char *name, char out[CONTROL_PATH_BYTES], bool create, struct error *e)
{
	char dir[CONTROL_PATH_BYTES];
	enum status st;
	int len;

	if (strchr(name, '/')) {
		len = snprintf(out, CONTROL_PATH_BYTES, "%s", name);
	} else {
		if (!control_name_ok(name))
			return error_set(e, ST_INVALID,
					 "\"%.60s\" is no name of a machine: give 1 to %d letters, digits, \".\", "
					 "\"_\" or \"-\"",
					 name, CONTROL_NAME_BYTES);
		if ((st = control_dir(dir, sizeof(dir), create, e)) != ST_OK)
			return st;
		len = snprintf(out, CONTROL_PATH_BYTES, "%s/%s.sock", dir, name);
	}
	if (len < 0 || len >= CONTROL_PATH_BYTES)
		return error_set(e, ST_INVALID, "the path of a control socket has %d characters at most",
				 CONTROL_PATH_BYTES - 1);
	return ST_OK;
}

int control_connect_fd(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/* Makes room for the socket. */
static enum status clear_way(const char *path, struct error *e)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? ST_OK : error_errno(e, ST_IO, "cannot look at %s", path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(e, ST_INVALID, "%s is there and is no socket: remove it or choose another --control",
				 path);
	fd = control_connect_fd(path);
	if (fd >= 0 || errno == EAGAIN) {
		if (fd >= 0)
			close(fd);
		return error_set(e, ST_BUSY,
				 "a machine listens on %s already: stop it, or choose another --name or --control",
				 path);
	}
	if (errno != ECONNREFUSED)
		return error_errno(e, ST_IO, "cannot tell who listens on %s", path);
	return unlink(path) == 0 ? ST_OK : error_errno(e, ST_IO, "cannot replace the dead socket %s", path);
}

static enum status bind_listen(struct control_place *p, struct error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	memcpy(a.sun_path, p->path, sizeof(a.sun_path));
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return error_errno(e, ST_IO, "cannot create a socket");
	if (fchmod(p->fd, 0600) != 0 || bind(p->fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
		return error_errno(e, ST_IO, "cannot make the control socket %s", p->path);
	if (listen(p->fd, BACKLOG) != 0 || lstat(p->path, &st) != 0)
		return error_errno(e, ST_IO, "cannot listen on %s", p->path);
	p->dev = st.st_dev;
	p->ino = st.st_ino;
	return ST_OK;
}

/* The lock on the folder of path: its descriptor, or -1. */
static int folder_lock(const char *path, struct error *e)
{
	char dir[CONTROL_PATH_BYTES];
	char *slash;
	int fd;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		error_errno(e, ST_IO, "cannot open the folder of the control socket %s", path);
		return -1;
	}
	/* Never for ever: the folder may be one that others can lock as well. */
	for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if (i < LOCK_TRIES && (errno == EWOULDBLOCK || errno == EINTR)) {
			nanosleep(&(struct timespec){.tv_nsec = LOCK_NAP_NS}, NULL);
			continue;
		}
		error_errno(e, ST_IO, "cannot lock the folder of the control socket %s", path);
		close(fd);
		return -1;
	}
	return fd;
}

enum status control_claim(struct control_place *p, const char *path, struct error *e)
{
	enum status st;
	int lock;

	*p = (struct control_place){.fd = -1};
	if (!*path || strlen(path) >= sizeof(p->path))
		return error_set(e, ST_INVALID, "the path of a control socket has 1 to %d characters",
				 CONTROL_PATH_BYTES - 1);
	memcpy(p->path, path, strlen(path) + 1);
	lock = folder_lock(path, e);
	if (lock < 0)
		return ST_IO;
	st = clear_way(path, e);
	if (st == ST_OK)
		st = bind_listen(p, e);
	close(lock);
	if (st != ST_OK)
		control_release(p);
	return st;
}

void control_release(struct control_place *p)
{
	struct stat st;

	if (p->fd < 0)
		return;
	if (p->ino && lstat(p->path, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->ino)
		unlink(p->path);
	close(p->fd);
	p->fd = -1;
}
