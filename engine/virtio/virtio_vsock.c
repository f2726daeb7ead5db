// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections between ports of the guest and Unix sockets of the host. One worker does everything: it takes the guest's
 * packets, moves what they carry into a buffer of their connection and from there to the socket, reads sockets into the
 * guest's buffers, and sends what has to be said about connections.
 *
 * Credit (5.10.6.3): each side tells how much it buffers and how much of what came it has passed on. We buffer so many bytes for
 * each connection; a guest that sends more breaks that connection, not the device. We read from a socket no more than the
 * guest has room for, so a slow guest makes the client wait, and the other way round.
 *
 * Answers that no connection stands for any more (resets) wait in a ring. Packets are only taken and connections only
 * made while it has room for one answer to each connection and one more, so none is ever lost and nothing grows.
 */
#include "engine/virtio/virtio_vsock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/worker.h"

#define ID_VSOCK 19u
#define CLASS_COMMUNICATION 0x078000u
#define RX 0u
#define TX 1u
#define QUEUES 3u /* the third tells of events, of which there are none: a machine does not move */
#define SIZE 128u
#define CID_HOST 2u
#define CONNS 128u
#define ANSWERS (2 * CONNS)
#define BUFFER 65536u
#define HELLO_MAX 32u
#define PORT_FIRST (1u << 30) /* our ends of the connections that clients ask for */
#define PORT_DIGITS 11u       /* "_4294967295" */
#define PACKET_MAX 65536u
#define BOTH (VSOCK_SHUT_RECEIVE | VSOCK_SHUT_SEND)

enum state { UNUSED, HELLO, ASKED, OPEN };
/* What has to be told about a connection */
enum { SAY_REQUEST = 1, SAY_RESPONSE = 2, SAY_CREDIT = 4, SAY_SHUTDOWN = 8 };

struct conn {
	enum state state;
	int fd;
	char line[HELLO_MAX + 1]; /* of a client that has not said all of it */
	unsigned nline;
	uint32_t host_port, guest_port;
	unsigned say;
	uint32_t told; /* shutdown flags that the guest has been told of, or will be by SAY_SHUTDOWN */
	uint32_t shut; /* the guest's */
	bool readable; /* there may be something to read */
	bool hung_up;  /* the client is gone for good */
	/* to the guest */
	uint32_t sent, peer_alloc, peer_forwarded;
	/* from the guest: a ring */
	uint8_t *buf;
	uint32_t received, forwarded, announced; /* counts of bytes; announced: what the guest knows of forwarded */
	unsigned polled;                         /* which entry of the last prepare, + 1 */
};

struct answer {
	uint32_t host_port, guest_port;
};

struct virtio_vsock {
	struct virtio v;
	struct worker *worker;
	uint64_t cid;
	int listen_fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct conn conn[CONNS];
	struct answer answer[ANSWERS]; /* resets */
	unsigned answer_from, answer_to;
	uint32_t next_port;
	unsigned first; /* whose turn it is */
	unsigned listener_polled;
	struct vchain chain;
	uint8_t packet[sizeof(struct vsock_header) + PACKET_MAX];
};

/* ---- connections ---- */

static bool has_room(const struct virtio_vsock *d)
{
	return ANSWERS - (d->answer_to - d->answer_from) > CONNS;
}

static void say_reset(struct virtio_vsock *d, uint32_t host_port, uint32_t guest_port)
{
	d->answer[d->answer_to++ % ANSWERS] = (struct answer){host_port, guest_port};
}

static void drop(struct conn *c)
{
	if (c->state != UNUSED)
		close(c->fd);
	free(c->buf);
	*c = (struct conn){.fd = -1};
}

static void reset_conn(struct virtio_vsock *d, struct conn *c)
{
	if (c->state != HELLO)
		say_reset(d, c->host_port, c->guest_port);
	drop(c);
}

static struct conn *find(struct virtio_vsock *d, uint32_t host_port, uint32_t guest_port)
{
	for (unsigned i = 0; i < CONNS; i++) {
		struct conn *c = &d->conn[i];

		if (c->state > HELLO && c->host_port == host_port && c->guest_port == guest_port)
			return c;
	}
	return NULL;
}

/* A free place, or that of one whose client is gone and whose guest does not answer to that. */
static struct conn *place(struct virtio_vsock *d)
{
	struct conn *old = NULL;

	for (unsigned i = 0; i < CONNS; i++) {
		struct conn *c = &d->conn[i];

		if (c->state == UNUSED)
			return c;
		if (c->hung_up && c->told == BOTH && !c->say)
			old = c;
	}
	return old;
}

static struct conn *new_conn(struct virtio_vsock *d)
{
	struct conn *c = place(d);

	if (c && c->state != UNUSED)
		reset_conn(d, c);
	return c;
}

static bool give_buffer(struct conn *c)
{
	c->buf = malloc(BUFFER);
	return c->buf;
}

static uint32_t queued(const struct conn *c)
{
	return c->received - c->forwarded;
}

static uint32_t credit(const struct conn *c)
{
	uint32_t used = c->sent - c->peer_forwarded;

	return used < c->peer_alloc ? c->peer_alloc - used : 0;
}

static void shut(struct conn *c, uint32_t flags)
{
	if ((c->told | flags) == c->told)
		return;
	c->told |= flags;
	c->say |= SAY_SHUTDOWN;
}

/* ---- clients ---- */

static void accept_client(struct virtio_vsock *d)
{
	struct conn *c;
	int fd;

	if (!has_room(d) || !(c = new_conn(d)))
		return;
	fd = accept4(d->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		*c = (struct conn){.state = HELLO, .fd = fd};
}

static uint32_t free_port(struct virtio_vsock *d)
{
	for (;;) {
		uint32_t port = d->next_port;
		bool used = false;

		d->next_port = port == UINT32_MAX ? PORT_FIRST : port + 1;
		for (unsigned i = 0; i < CONNS; i++)
			used |= d->conn[i].state > HELLO && d->conn[i].host_port == port;
		if (!used)
			return port;
	}
}

/* The port in "CONNECT 1234\n". */
static bool parse_hello(const char *line, uint32_t *port)
{
	char *end;
	unsigned long n;

	if (strncmp(line, "CONNECT ", 8) || line[8] < '0' || line[8] > '9')
		return false;
	n = strtoul(line + 8, &end, 10);
	*port = (uint32_t)n;
	return n <= UINT32_MAX && (!strcmp(end, "\n") || !strcmp(end, "\r\n"));
}

/* Byte by byte: what is behind the line is the guest's. */
static void hear_hello(struct virtio_vsock *d, struct conn *c)
{
	do {
		ssize_t n = recv(c->fd, c->line + c->nline, 1, 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			c->readable = false;
			return;
		}
		if (n <= 0 || ++c->nline == HELLO_MAX) {
			drop(c);
			return;
		}
	} while (c->line[c->nline - 1] != '\n');
	if (!parse_hello(c->line, &c->guest_port) || !give_buffer(c)) {
		drop(c);
		return;
	}
	c->host_port = free_port(d);
	c->state = ASKED;
	c->say = SAY_REQUEST;
	c->readable = false;
}

/* The guest has accepted: from here on the socket is a stream. */
static void tell_client(struct virtio_vsock *d, struct conn *c)
{
	char line[HELLO_MAX];
	int n = snprintf(line, sizeof(line), "OK %u\n", c->host_port);

	c->state = OPEN;
	c->readable = true;
	if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		reset_conn(d, c);
}

/* ---- from the guest ---- */

static void take_credit(struct conn *c, const struct vsock_header *h)
{
	c->peer_alloc = h->buf_alloc;
	c->peer_forwarded = h->fwd_cnt;
}

/* The guest wants to reach a port of the host. false: nobody is there. */
static bool connect_out(struct virtio_vsock *d, const struct vsock_header *h)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct conn *c = new_conn(d);
	int fd;

	snprintf(a.sun_path, sizeof(a.sun_path), "%.*s_%u", (int)(sizeof(a.sun_path) - PORT_DIGITS - 1), d->path,
		 h->dst_port);
	fd = c ? socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
	if (fd < 0)
		return false;
	*c = (struct conn){.state = OPEN, .fd = fd, .host_port = h->dst_port, .guest_port = h->src_port};
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || !give_buffer(c)) {
		drop(c);
		return false;
	}
	take_credit(c, h);
	c->say = SAY_RESPONSE;
	c->readable = true;
	return true;
}

/* false: it did not fit what the guest was told that it may send. */
static bool take_data(struct conn *c, const uint8_t *data, uint32_t len)
{
	uint32_t at = c->received % BUFFER, part = BUFFER - at < len ? BUFFER - at : len;

	if (len > BUFFER - queued(c) || (c->shut & VSOCK_SHUT_SEND))
		return false;
	memcpy(c->buf + at, data, part);
	memcpy(c->buf, data + part, len - part);
	c->received += len;
	return true;
}

static void hear_conn(struct virtio_vsock *d, struct conn *c, const struct vsock_header *h, const uint8_t *data)
{
	take_credit(c, h);
	switch (h->op) {
	case VSOCK_OP_RESPONSE:
		if (c->state != ASKED)
			reset_conn(d, c);
		else
			tell_client(d, c);
		break;
	case VSOCK_OP_RST:
		drop(c);
		break;
	case VSOCK_OP_SHUTDOWN:
		c->shut |= h->flags & BOTH;
		break;
	case VSOCK_OP_RW:
		if (c->state != OPEN || !take_data(c, data, h->len))
			reset_conn(d, c);
		break;
	case VSOCK_OP_CREDIT_UPDATE:
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		c->say |= SAY_CREDIT;
		break;
	default:
		reset_conn(d, c);
	}
}

static void hear(struct virtio_vsock *d, unsigned bytes)
{
	const uint8_t *data = d->packet + sizeof(struct vsock_header);
	struct vsock_header h;
	struct conn *c;

	if (bytes < sizeof(h))
		return;
	memcpy(&h, d->packet, sizeof(h));
	if (h.src_cid != d->cid)
		return; /* who is that? */
	c = find(d, h.dst_port, h.src_port);
	if (h.dst_cid != CID_HOST || h.type != VSOCK_STREAM || (h.op == VSOCK_OP_RW && h.len > bytes - sizeof(h))) {
		if (c && h.dst_cid == CID_HOST)
			reset_conn(d, c);
		else if (h.op != VSOCK_OP_RST && h.dst_cid == CID_HOST)
			say_reset(d, h.dst_port, h.src_port);
		return;
	}
	if (c) {
		hear_conn(d, c, &h, data);
		return;
	}
	if (h.op == VSOCK_OP_RST || (h.op == VSOCK_OP_REQUEST && connect_out(d, &h)))
		return;
	say_reset(d, h.dst_port, h.src_port);
}

static enum vring_pop hear_all(struct virtio_vsock *d)
{
	struct vring *tx = &d->v.queue[TX].ring;
	enum vring_pop got = VRING_EMPTY;

	for (unsigned i = 0; i < SIZE && has_room(d) && (got = vring_pop(tx, &d->chain)) == VRING_GOT; i++) {
		hear(d, (unsigned)vchain_read(&d->chain, 0, d->packet, sizeof(d->packet)));
		vring_push(tx, &d->chain, 0);
	}
	return got;
}

/* ---- to the sockets ---- */

static void forward(struct virtio_vsock *d, struct conn *c)
{
	while (queued(c)) {
		uint32_t at = c->forwarded % BUFFER, part = BUFFER - at < queued(c) ? BUFFER - at : queued(c);
		ssize_t n = send(c->fd, c->buf + at, part, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			reset_conn(d, c);
			return;
		}
		c->forwarded += (uint32_t)n;
	}
	if (c->forwarded - c->announced >= BUFFER / 2)
		c->say |= SAY_CREDIT;
	if (queued(c))
		return;
	if (c->shut == BOTH)
		reset_conn(d, c); /* which is how a close is answered (5.10.6.5) */
	else if (c->shut & VSOCK_SHUT_SEND)
		shutdown(c->fd, SHUT_WR);
}

/* ---- to the guest ---- */

/* Header and d->packet's data into the chain that was popped. */
static void put(struct virtio_vsock *d, struct vsock_header *h)
{
	uint64_t n;

	h->src_cid = CID_HOST;
	h->dst_cid = d->cid;
	h->type = VSOCK_STREAM;
	memcpy(d->packet, h, sizeof(*h));
	n = vchain_write(&d->chain, d->v.dma, 0, d->packet, sizeof(*h) + h->len);
	vring_push(&d->v.queue[RX].ring, &d->chain, (uint32_t)n);
}

static struct vsock_header header(struct conn *c, uint16_t op)
{
	c->announced = c->forwarded;
	return (struct vsock_header){.src_port = c->host_port,
				     .dst_port = c->guest_port,
				     .op = op,
				     .buf_alloc = BUFFER,
				     .fwd_cnt = c->forwarded};
}

/* Reads the socket into the popped buffer; false: it is still there. */
static bool put_data(struct virtio_vsock *d, struct conn *c)
{
	uint64_t room = d->chain.in_bytes - sizeof(struct vsock_header);
	struct vsock_header h;
	ssize_t n;

	room = room < PACKET_MAX ? room : PACKET_MAX;
	room = room < credit(c) ? room : credit(c);
	n = recv(c->fd, d->packet + sizeof(h), room, 0);
	if (n < 0 && errno == EINTR)
		return false;
	c->readable = n > 0;
	if (n > 0) {
		h = header(c, VSOCK_OP_RW);
		h.len = (uint32_t)n;
		c->sent += (uint32_t)n;
		put(d, &h);
		return true;
	}
	if (n == 0)
		shut(c, c->hung_up ? BOTH : VSOCK_SHUT_SEND);
	else if (errno != EAGAIN)
		shut(c, BOTH);
	return false;
}

static bool wants_data(const struct conn *c)
{
	return c->state == OPEN && !(c->told & VSOCK_SHUT_SEND) && !(c->shut & VSOCK_SHUT_RECEIVE) && credit(c) &&
	       !(c->say & SAY_RESPONSE);
}

/* What a connection has to say; true: the buffer was used. */
static bool say(struct virtio_vsock *d, struct conn *c)
{
	static const struct {
		unsigned say;
		uint16_t op;
	} rows[] = {
		{SAY_REQUEST, VSOCK_OP_REQUEST},
		{SAY_RESPONSE, VSOCK_OP_RESPONSE},
		{SAY_SHUTDOWN, VSOCK_OP_SHUTDOWN},
		{SAY_CREDIT, VSOCK_OP_CREDIT_UPDATE},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (c->say & rows[i].say) {
			struct vsock_header h = header(c, rows[i].op);

			h.flags = rows[i].say == SAY_SHUTDOWN ? c->told : 0;
			c->say &= ~rows[i].say;
			put(d, &h);
			return true;
		}
	return wants_data(c) && c->readable && put_data(d, c);
}

static bool has_word(const struct conn *c)
{
	return c->state != UNUSED && (c->say || (c->readable && wants_data(c)));
}

/* Next in turn with something to say, or NULL. */
static struct conn *next_speaker(struct virtio_vsock *d)
{
	for (unsigned k = 0; k < CONNS; k++) {
		unsigned i = (d->first + k) % CONNS;

		if (!has_word(&d->conn[i]))
			continue;
		d->first = (i + 1) % CONNS;
		return &d->conn[i];
	}
	return NULL;
}

static bool has_words(const struct virtio_vsock *d)
{
	bool any = d->answer_from != d->answer_to;

	for (unsigned i = 0; i < CONNS; i++)
		any |= has_word(&d->conn[i]);
	return any;
}

static enum vring_pop say_all(struct virtio_vsock *d)
{
	struct vring *rx = &d->v.queue[RX].ring;
	struct conn *c = NULL;

	for (unsigned i = 0; i < SIZE && (d->answer_from != d->answer_to || (c = next_speaker(d))); i++) {
		enum vring_pop got = vring_pop(rx, &d->chain);

		if (got != VRING_GOT)
			return got;
		if (d->chain.in_bytes <= sizeof(struct vsock_header))
			return VRING_BROKEN; /* no driver gives such (5.10.6.1) */
		if (d->answer_from != d->answer_to) {
			const struct answer *a = &d->answer[d->answer_from++ % ANSWERS];
			struct vsock_header h = {
				.src_port = a->host_port, .dst_port = a->guest_port, .op = VSOCK_OP_RST};

			put(d, &h);
		} else if (!say(d, c)) {
			vring_unpop(rx, &d->chain);
		}
	}
	return VRING_EMPTY;
}

/* ---- the worker ---- */

static unsigned vsock_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct virtio_vsock *d = ctx;
	bool buffers = vring_want_notify(&d->v.queue[RX].ring, true);
	unsigned n = 0;

	(void)timeout_ms;
	d->listener_polled = 0;
	if (has_room(d) && place(d) && max) {
		p[n] = (struct pollfd){.fd = d->listen_fd, .events = POLLIN};
		d->listener_polled = ++n;
	}
	for (unsigned i = 0; i < CONNS; i++) {
		struct conn *c = &d->conn[i];
		short events = 0;

		c->polled = 0;
		if (c->state == HELLO || (wants_data(c) && buffers))
			events |= POLLIN;
		if (c->state == OPEN && queued(c))
			events |= POLLOUT;
		if (c->state == UNUSED || c->hung_up || n == max)
			continue;
		p[n] = (struct pollfd){.fd = c->fd, .events = events};
		c->polled = ++n;
	}
	return n;
}

static void look_at(struct virtio_vsock *d, struct conn *c, short revents)
{
	if (revents & (POLLHUP | POLLERR)) {
		c->hung_up = true; /* what it said before is read first; then its end is told */
		c->readable = true;
		if ((c->told & VSOCK_SHUT_SEND) || (c->shut & VSOCK_SHUT_RECEIVE))
			shut(c, BOTH);
	}
	if (revents & POLLIN)
		c->readable = true;
	if (c->state == HELLO && c->readable)
		hear_hello(d, c);
	else if (c->state == ASKED && c->hung_up)
		reset_conn(d, c);
}

static bool vsock_run(void *ctx, const struct pollfd *p, unsigned n)
{
	struct virtio_vsock *d = ctx;
	enum vring_pop heard, said;

	for (unsigned i = 0; i < CONNS; i++)
		if (d->conn[i].polled && d->conn[i].polled <= n)
			look_at(d, &d->conn[i], p[d->conn[i].polled - 1].revents);
	if (d->listener_polled && d->listener_polled <= n && (p[d->listener_polled - 1].revents & POLLIN))
		accept_client(d);
	heard = hear_all(d);
	for (unsigned i = 0; i < CONNS; i++)
		if (d->conn[i].state == OPEN)
			forward(d, &d->conn[i]);
	said = say_all(d);
	if (heard == VRING_BROKEN || said == VRING_BROKEN)
		virtio_fail(&d->v);
	virtio_signal(&d->v, RX);
	virtio_signal(&d->v, TX);
	return (has_room(d) && vring_want_notify(&d->v.queue[TX].ring, true)) ||
	       (has_words(d) && vring_want_notify(&d->v.queue[RX].ring, true));
}

static const struct worker_ops vsock_worker_ops = {.prepare = vsock_prepare, .run = vsock_run};

/* ---- the device ---- */

static void vsock_config_read(void *dev, unsigned off, uint8_t *buf, unsigned len)
{
	struct virtio_vsock *d = dev;

	virtio_config_copy(&d->cid, sizeof(d->cid), off, buf, len);
}

static void drop_all(struct virtio_vsock *d)
{
	for (unsigned i = 0; i < CONNS; i++)
		drop(&d->conn[i]);
	d->answer_from = d->answer_to = 0;
}

static void vsock_start(void *dev)
{
	worker_start(((struct virtio_vsock *)dev)->worker);
}

static void vsock_stop(void *dev)
{
	struct virtio_vsock *d = dev;

	worker_stop(d->worker);
	drop_all(d);
}

static void vsock_notify(void *dev, unsigned q)
{
	(void)q;
	worker_kick(((struct virtio_vsock *)dev)->worker);
}

static void vsock_free(void *dev)
{
	struct virtio_vsock *d = dev;

	worker_free(d->worker);
	drop_all(d);
	if (d->listen_fd >= 0) {
		close(d->listen_fd);
		unlink(d->path);
	}
	free(d);
}

static const struct virtio_ops vsock_ops = {
	.name = "virtio-vsock",
	.id = ID_VSOCK,
	.class = CLASS_COMMUNICATION,
	.config_read = vsock_config_read,
	.start = vsock_start,
	.stop = vsock_stop,
	.notify = vsock_notify,
	.free = vsock_free,
};

static enum status open_socket(struct virtio_vsock *d, const char *path, struct error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(a.sun_path) - PORT_DIGITS)
		return error_set(e, ST_INVALID, "--vsock: the path '%s' is longer than %zu characters", path,
				 sizeof(a.sun_path) - PORT_DIGITS - 1);
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(e, ST_IO, "cannot make a socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, CONNS) != 0) {
		enum status st = error_errno(e, ST_DENIED, "cannot listen at the socket '%s'", path);

		close(fd);
		return st;
	}
	strcpy(d->path, path);
	d->listen_fd = fd;
	return ST_OK;
}

struct virtio *virtio_vsock_new(const struct virtio_vsock_config *cfg, const struct dma *dma, struct error *e)
{
	struct virtio_vsock *d = calloc(1, sizeof(*d));

	if (!d) {
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	d->cid = cfg->cid;
	d->listen_fd = -1;
	d->next_port = PORT_FIRST;
	d->worker = worker_new("vsock", &vsock_worker_ops, d, e);
	if (!d->worker || open_socket(d, cfg->path, e) != ST_OK) {
		vsock_free(d);
		return NULL;
	}
	virtio_init(&d->v, &vsock_ops, d, dma, 0, QUEUES, SIZE);
	return &d->v;
}
