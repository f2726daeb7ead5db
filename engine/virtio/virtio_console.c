// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ports with a queue in and a queue out each, and a pair of queues for messages about ports (5.3.6.2): which there are, what
 * they are called, whether somebody listens. Queues 0 and 1 are port 0's, 2 and 3 the control pair, then port 1's and so on.
 *
 * What the guest says goes to the port's file or client as it comes; without a client it is dropped, as on a line with no
 * terminal. A client that does not read makes the guest wait: its buffer stays with us until the client has room; so does a file
 * that is a pipe.
 *
 * One buffer can be hundreds of times as long as the guest's memory. So a port is served in turns, of so many pieces.
 */
#include "engine/virtio/virtio_console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/worker.h"

#define ID_CONSOLE 3u
#define CLASS_COMMUNICATION 0x078000u
#define SIZE 64u
#define F_MULTIPORT (1ull << 1)
#define CTRL_IN 2u
#define CTRL_OUT 3u
#define MESSAGES 128u
#define PIECE_BYTES 1024u
#define TURN 64u /* pieces and buffers of a port, before the others have theirs */

enum event { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

struct message {
	uint32_t id;
	uint16_t event, value;
};

struct port {
	char name[VIRTIO_CONSOLE_NAME];
	int listen_fd, fd; /* -1: none; a file has an fd and no listen_fd */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	bool ready, open; /* the guest's end */
	bool holding;     /* a buffer of the guest's that has not gone out whole */
	uint64_t sent;    /* of it */
	struct vchain chain;
};

struct virtio_console {
	struct virtio v;
	struct worker *worker;
	unsigned nports;
	struct port port[VIRTIO_CONSOLE_PORTS];
	struct message todo[MESSAGES]; /* to the guest, a ring */
	unsigned todo_from, todo_to;
	struct vchain chain;
	unsigned polled[VIRTIO_CONSOLE_PORTS]; /* which entry of the last prepare, + 1 */
};

static struct vring *ring(struct virtio_console *d, unsigned q)
{
	return &d->v.queue[q].ring;
}

static unsigned queue_in(unsigned port)
{
	return port ? 2 + 2 * port : 0;
}

/* ---- control ---- */

/*
 * A guest that does not listen, or clients that come and go faster than it does, shall not lose what is so in the end. What
 * waits already is not said again, and of a port's openings two at most wait: a third takes the second away.
 */
static void tell(struct virtio_console *d, unsigned port, enum event what, uint16_t value)
{
	unsigned waiting = 0, last = 0;

	for (unsigned i = d->todo_from; i != d->todo_to; i++)
		if (d->todo[i % MESSAGES].id == port && d->todo[i % MESSAGES].event == what) {
			waiting++;
			last = i;
		}
	if (waiting && d->todo[last % MESSAGES].value == value)
		return;
	if (waiting < 2) {
		d->todo[d->todo_to++ % MESSAGES] = (struct message){port, (uint16_t)what, value};
		return;
	}
	for (d->todo_to--; last != d->todo_to; last++)
		d->todo[last % MESSAGES] = d->todo[(last + 1) % MESSAGES];
}
_Static_assert(MESSAGES >= 5 * VIRTIO_CONSOLE_PORTS, "of each port: added, console, name, and two openings");

static void hear(struct virtio_console *d, const struct message *m)
{
	struct port *p = m->id < d->nports ? &d->port[m->id] : NULL;

	if (m->event == DEVICE_READY && m->value) {
		for (unsigned i = 0; i < d->nports; i++)
			tell(d, i, DEVICE_ADD, 1);
	} else if (m->event == PORT_READY && m->value && p) {
		p->ready = true;
		if (m->id == 0)
			tell(d, 0, CONSOLE_PORT, 1);
		if (p->name[0])
			tell(d, m->id, PORT_NAME, 1);
		if (p->fd >= 0)
			tell(d, m->id, PORT_OPEN, 1);
	} else if (m->event == PORT_OPEN && p) {
		p->open = m->value;
	}
}

static enum vring_pop hear_all(struct virtio_console *d)
{
	enum vring_pop got = VRING_EMPTY;

	for (unsigned i = 0; i < SIZE && (got = vring_pop(ring(d, CTRL_OUT), &d->chain)) == VRING_GOT; i++) {
		struct message m;

		if (vchain_read(&d->chain, 0, &m, sizeof(m)) == sizeof(m))
			hear(d, &m);
		vring_push(ring(d, CTRL_OUT), &d->chain, 0);
	}
	return got;
}

static enum vring_pop tell_all(struct virtio_console *d)
{
	while (d->todo_from != d->todo_to) {
		const struct message *m = &d->todo[d->todo_from % MESSAGES];
		uint8_t buf[sizeof(*m) + VIRTIO_CONSOLE_NAME];
		size_t bytes = sizeof(*m), name = 0;
		enum vring_pop got = vring_pop(ring(d, CTRL_IN), &d->chain);

		if (got != VRING_GOT)
			return got;
		memcpy(buf, m, sizeof(*m));
		if (m->event == PORT_NAME) {
			name = strlen(d->port[m->id].name);
			memcpy(buf + bytes, d->port[m->id].name, name);
		}
		vring_push(ring(d, CTRL_IN), &d->chain,
			   (uint32_t)vchain_write(&d->chain, d->v.dma, 0, buf, bytes + name));
		d->todo_from++;
	}
	return VRING_EMPTY;
}

/* ---- data ---- */

static void drop_client(struct virtio_console *d, unsigned i)
{
	struct port *p = &d->port[i];

	close(p->fd);
	p->fd = -1;
	if (p->ready)
		tell(d, i, PORT_OPEN, 0);
}

/* Sends what is left of the held buffer; true: it is done with. *turn: what is left of the port's. */
static bool send_held(struct virtio_console *d, unsigned i, unsigned *turn)
{
	struct port *p = &d->port[i];
	uint8_t buf[PIECE_BYTES];

	while (p->fd >= 0 && p->sent < p->chain.out_bytes) {
		uint64_t n = vchain_read(&p->chain, p->sent, buf, sizeof(buf));
		ssize_t put;

		if (!*turn)
			return false;
		--*turn;
		put = p->listen_fd >= 0 ? send(p->fd, buf, n, MSG_NOSIGNAL) : write(p->fd, buf, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return false;
		if (put < 0 && p->listen_fd >= 0)
			drop_client(d, i);
		if (put < 0)
			break; /* a file that takes no more loses the rest */
		p->sent += (uint64_t)put;
	}
	return true;
}

/* *more: the turn is over, and there may be more. */
static enum vring_pop send_port(struct virtio_console *d, unsigned i, bool *more)
{
	struct port *p = &d->port[i];
	struct vring *out = ring(d, queue_in(i) + 1);
	unsigned turn = TURN;

	while (turn) {
		if (!p->holding) {
			enum vring_pop got = vring_pop(out, &p->chain);

			if (got != VRING_GOT)
				return got;
			p->holding = true;
			p->sent = 0;
			turn--;
		}
		if (!send_held(d, i, &turn))
			break;
		p->holding = false;
		vring_push(out, &p->chain, 0);
	}
	*more |= !turn;
	return VRING_EMPTY;
}

/* Does the guest have somewhere to put what comes in? */
static bool guest_listens(const struct virtio_console *d, const struct port *p)
{
	return virtio_has(&d->v, F_MULTIPORT) ? p->open : true;
}

static enum vring_pop receive_port(struct virtio_console *d, unsigned i)
{
	struct port *p = &d->port[i];
	struct vring *in = ring(d, queue_in(i));
	uint8_t buf[1024];
	enum vring_pop got = vring_pop(in, &d->chain);
	uint64_t room = d->chain.in_bytes < sizeof(buf) ? d->chain.in_bytes : sizeof(buf);
	ssize_t n;

	if (got != VRING_GOT)
		return got;
	n = room ? recv(p->fd, buf, room, 0) : 0;
	if (n > 0) {
		vring_push(in, &d->chain, (uint32_t)vchain_write(&d->chain, d->v.dma, 0, buf, (uint64_t)n));
	} else {
		vring_unpop(in, &d->chain);
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			drop_client(d, i);
	}
	return VRING_EMPTY;
}

/* ---- the worker ---- */

static unsigned console_prepare(void *ctx, struct pollfd *fds, unsigned max, int *timeout_ms)
{
	struct virtio_console *d = ctx;
	unsigned n = 0;

	(void)timeout_ms;
	for (unsigned i = 0; i < d->nports && n < max; i++) {
		struct port *p = &d->port[i];
		struct pollfd f = {.fd = p->fd >= 0 ? p->fd : p->listen_fd};

		d->polled[i] = 0;
		if (p->listen_fd < 0 && !p->holding)
			continue;
		/* A file says nothing; but it may be a pipe, and full. */
		if (p->listen_fd >= 0 &&
		    (p->fd < 0 || (guest_listens(d, p) && vring_want_notify(ring(d, queue_in(i)), true))))
			f.events |= POLLIN;
		if (p->fd >= 0 && p->holding)
			f.events |= POLLOUT;
		fds[n] = f;
		d->polled[i] = ++n;
	}
	return n;
}

static void poll_port(struct virtio_console *d, unsigned i, short revents)
{
	struct port *p = &d->port[i];

	if (p->listen_fd < 0)
		return; /* of a file only the wish to write wakes us, and that comes next */
	if (p->fd < 0 && (revents & POLLIN)) {
		p->fd = accept4(p->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (p->fd >= 0 && p->ready)
			tell(d, i, PORT_OPEN, 1);
	} else if (p->fd >= 0 && (revents & POLLIN)) {
		if (receive_port(d, i) == VRING_BROKEN)
			virtio_fail(&d->v);
	} else if (p->fd >= 0 && (revents & (POLLHUP | POLLERR))) {
		drop_client(d, i);
	}
}

static bool console_run(void *ctx, const struct pollfd *fds, unsigned n)
{
	struct virtio_console *d = ctx;
	bool broken = hear_all(d) == VRING_BROKEN, more = false;

	for (unsigned i = 0; i < d->nports; i++) {
		if (d->polled[i] && d->polled[i] <= n)
			poll_port(d, i, fds[d->polled[i] - 1].revents);
		broken |= send_port(d, i, &more) == VRING_BROKEN;
	}
	broken |= tell_all(d) == VRING_BROKEN;
	if (broken)
		virtio_fail(&d->v);
	for (unsigned q = 0; q < d->v.nqueues; q++)
		virtio_signal(&d->v, q);
	/* The control queue's buffers are news only while there is something to say. */
	vring_want_notify(ring(d, CTRL_IN), d->todo_from != d->todo_to);
	more |= vring_want_notify(ring(d, CTRL_OUT), true);
	for (unsigned i = 0; i < d->nports; i++)
		more |= !d->port[i].holding && vring_want_notify(ring(d, queue_in(i) + 1), true);
	return more;
}

static const struct worker_ops console_worker_ops = {.prepare = console_prepare, .run = console_run};

/* ---- the device ---- */

static void console_config_read(void *dev, unsigned off, uint8_t *buf, unsigned len)
{
	struct virtio_console *d = dev;
	const uint32_t config[3] = {80 | 25 << 16, d->nports, 0};

	virtio_config_copy(config, sizeof(config), off, buf, len);
}

static void console_start(void *dev)
{
	struct virtio_console *d = dev;

	d->todo_from = d->todo_to = 0;
	for (unsigned i = 0; i < d->nports; i++) {
		d->port[i].ready = d->port[i].open = d->port[i].holding = false;
		d->polled[i] = 0;
	}
	worker_start(d->worker);
}

static void console_stop(void *dev)
{
	worker_stop(((struct virtio_console *)dev)->worker);
}

static void console_notify(void *dev, unsigned q)
{
	(void)q;
	worker_kick(((struct virtio_console *)dev)->worker);
}

static int console_doorbell(void *dev, unsigned q)
{
	(void)q;
	return worker_eventfd(((struct virtio_console *)dev)->worker);
}

static void console_free(void *dev)
{
	struct virtio_console *d = dev;

	worker_free(d->worker);
	for (unsigned i = 0; i < d->nports; i++) {
		struct port *p = &d->port[i];

		if (p->fd >= 0)
			close(p->fd);
		if (p->listen_fd >= 0) {
			close(p->listen_fd);
			unlink(p->path);
		}
	}
	free(d);
}

static const struct virtio_ops console_ops = {
	.name = "virtio-console",
	.id = ID_CONSOLE,
	.class = CLASS_COMMUNICATION,
	.old_device = 0x1003u,
	.config_read = console_config_read,
	.start = console_start,
	.stop = console_stop,
	.notify = console_notify,
	.doorbell = console_doorbell,
	.free = console_free,
};

static enum status open_socket(struct port *p, const char *path, struct error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(a.sun_path))
		return error_set(e, ST_INVALID, "the socket's path '%s' is longer than %zu characters", path,
				 sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(e, ST_IO, "cannot make a socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1) != 0) {
		enum status st = error_errno(e, ST_DENIED, "cannot listen at the socket '%s'", path);

		close(fd);
		return st;
	}
	strcpy(p->path, path);
	p->listen_fd = fd;
	return ST_OK;
}

static enum status open_port(struct port *p, const struct virtio_console_port *c, struct error *e)
{
	p->fd = p->listen_fd = -1;
	if (c->name)
		strncpy(p->name, c->name, sizeof(p->name) - 1);
	if (!strncmp(c->where, "unix:", 5))
		return open_socket(p, c->where + 5, e);
	if (strncmp(c->where, "file:", 5))
		return error_set(e, ST_INVALID, "--console %s: give file:F or unix:F", c->where);
	p->fd = open(c->where + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
	return p->fd >= 0 ? ST_OK : error_errno(e, ST_DENIED, "cannot write '%s'", c->where + 5);
}

struct virtio *virtio_console_new(const struct virtio_console_port *port, unsigned n, const struct dma *dma,
				  struct error *e)
{
	struct virtio_console *d = calloc(1, sizeof(*d));

	if (!d) {
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->worker = worker_new("console", &console_worker_ops, d, e);
	while (d->worker && d->nports < n && d->nports < VIRTIO_CONSOLE_PORTS) {
		const struct virtio_console_port *c = &port[d->nports];

		if (open_port(&d->port[d->nports++], c, e) != ST_OK) {
			console_free(d);
			return NULL;
		}
	}
	if (!d->worker) {
		free(d);
		return NULL;
	}
	virtio_init(&d->v, &console_ops, d, dma, F_MULTIPORT, 2 + 2 * d->nports, SIZE);
	return &d->v;
}
