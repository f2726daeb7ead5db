// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A wire between two machines: a Unix socket of packets, one packet a frame. Whoever comes first listens at the path, the
 * second connects; a listener takes one peer at a time and the next when that one has gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/net/net.h"

#define BATCH 64u

struct wire {
	struct net *net;
	int listen_fd, fd; /* -1: none */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": not made by us */
	uint8_t buf[NET_FRAME_MAX];
};

static unsigned wire_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct wire *w = ctx;
	int fd = w->fd >= 0 ? w->fd : w->listen_fd;

	(void)timeout_ms;
	if (!max || fd < 0 || !w->net->has_room(w->net->dev))
		return 0;
	p[0] = (struct pollfd){.fd = fd, .events = POLLIN};
	return 1;
}

static void drop_peer(struct wire *w)
{
	close(w->fd);
	w->fd = -1;
}

static void wire_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	struct wire *w = ctx;

	if (!n || !p[0].revents)
		return;
	if (w->fd < 0) {
		w->fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		return;
	}
	for (unsigned i = 0; i < BATCH && w->net->has_room(w->net->dev); i++) {
		ssize_t got = recv(w->fd, w->buf, sizeof(w->buf), MSG_TRUNC);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			drop_peer(w);
			return;
		}
		if ((size_t)got <= sizeof(w->buf))
			w->net->receive(w->net->dev, NET_STEER, w->buf, (unsigned)got);
	}
}

static void wire_send(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct wire *w = ctx;

	(void)queue; /* one wire */
	if (w->fd >= 0 && send(w->fd, frame, bytes, MSG_NOSIGNAL) < 0 && (errno == EPIPE || errno == ECONNRESET))
		drop_peer(w); /* a full socket drops the frame, as a wire would */
}

static void wire_close(void *ctx)
{
	struct wire *w = ctx;

	if (w->fd >= 0)
		close(w->fd);
	if (w->listen_fd >= 0) {
		close(w->listen_fd);
		if (w->path[0])
			unlink(w->path);
	}
	free(w);
}

static const struct net_ops wire_ops = {
	.prepare = wire_prepare, .poll = wire_poll, .send = wire_send, .close = wire_close};

enum status net_socket_open(struct net *n, const struct net_config *cfg, struct error *e)
{
	struct wire *w = calloc(1, sizeof(*w));
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;

	if (!w)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	n->ops = &wire_ops;
	n->ctx = w;
	w->net = n;
	w->listen_fd = -1;
	w->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		return error_errno(e, ST_IO, "cannot make a socket");
	if (strlen(cfg->path) >= sizeof(a.sun_path))
		return error_set(e, ST_INVALID, "the socket's path '%s' is longer than %zu characters", cfg->path,
				 sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, cfg->path);
	if (connect(w->fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return ST_OK;
	if (errno == ECONNREFUSED && lstat(cfg->path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return error_set(e, ST_INVALID, "'%s' is a file and no socket: give another path", cfg->path);
	if (errno == ECONNREFUSED)
		unlink(cfg->path); /* of somebody who has died */
	else if (errno != ENOENT)
		return error_errno(e, ST_BUSY, "cannot connect to the socket '%s'", cfg->path);
	w->listen_fd = w->fd;
	w->fd = -1;
	if (bind(w->listen_fd, (struct sockaddr *)&a, sizeof(a)) != 0)
		return error_errno(e, ST_DENIED, "cannot listen at the socket '%s'", cfg->path);
	strcpy(w->path, cfg->path); /* from here on it is ours to remove */
	if (listen(w->listen_fd, 1) != 0)
		return error_errno(e, ST_DENIED, "cannot listen at the socket '%s'", cfg->path);
	return ST_OK;
}
