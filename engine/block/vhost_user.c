// SPDX-License-Identifier: GPL-2.0-or-later
/* One message out, one message back. All numbers are in the host's byte order. */
#include "engine/block/vhost_user.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/block/blk_wire.h"

#define VERSION 1u
#define FLAG_REPLY (1u << 2)
#define FLAG_NEED_REPLY (1u << 3)

#define F_INDIRECT (1ull << 28)
#define F_PROTOCOL (1ull << 30)
#define F_VERSION_1 (1ull << 32)

#define PROTOCOL_MQ (1ull << 0)
#define PROTOCOL_REPLY_ACK (1ull << 3)
#define PROTOCOL_CONFIG (1ull << 9)

#define SECTORS_DEFAULT 32768u /* when it names no limit */

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	GET_CONFIG = 24,
};

struct header {
	uint32_t request, flags, size;
} __attribute__((packed));

struct state {
	uint32_t index, num;
};

struct addresses {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct memory {
	uint32_t n, padding;
	struct {
		uint64_t guest, bytes, user, offset;
	} region[VHOST_USER_REGIONS];
};

struct config {
	uint32_t offset, size, flags;
	struct blk_wire_config disk;
} __attribute__((packed));

static enum status bad(struct error *e, const char *what)
{
	return error_set(e, ST_BAD_FILE, "the storage daemon's answer to %s makes no sense", what);
}

static enum status send_message(struct vhost_user *v, uint32_t request, const void *payload, uint32_t size,
				const int *fds, unsigned nfds, struct error *e)
{
	struct header h = {request, VERSION | FLAG_NEED_REPLY, size};
	union {
		char buf[CMSG_SPACE(VHOST_USER_REGIONS * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)(uintptr_t)payload, size}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};
	ssize_t n;

	if (nfds) {
		struct cmsghdr *c;

		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	do
		n = sendmsg(v->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)(sizeof(h) + size))
		return ST_OK;
	return n < 0 ? error_errno(e, ST_IO, "the storage daemon cannot be asked")
		     : error_set(e, ST_IO, "the storage daemon takes no questions");
}

static enum status receive(struct vhost_user *v, void *buf, size_t len, struct error *e)
{
	size_t got = 0;

	while (got < len) {
		struct pollfd p = {.fd = v->fd, .events = POLLIN};
		int ready = poll(&p, 1, v->timeout_ms);
		ssize_t n;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0)
			return error_set(e, ST_IO, "the storage daemon does not answer in %d s", v->timeout_ms / 1000);
		/* File descriptors that come along are not taken: without room for them the kernel drops them. */
		n = recv(v->fd, (char *)buf + got, len - got, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return error_set(e, ST_IO, "the storage daemon has closed the connection");
		got += (size_t)n;
	}
	return ST_OK;
}

/* Exactly `size` bytes of an answer to `request`. */
static enum status receive_reply(struct vhost_user *v, uint32_t request, void *payload, uint32_t size, const char *what,
				 struct error *e)
{
	struct header h;
	enum status st = receive(v, &h, sizeof(h), e);

	if (st != ST_OK)
		return st;
	if (h.request != request || (h.flags & 3) != VERSION || !(h.flags & FLAG_REPLY) || h.size != size)
		return bad(e, what);
	return receive(v, payload, size, e);
}

static enum status get_number(struct vhost_user *v, uint32_t request, uint64_t *out, const char *what, struct error *e)
{
	enum status st = send_message(v, request, NULL, 0, NULL, 0, e);

	return st == ST_OK ? receive_reply(v, request, out, sizeof(*out), what, e) : st;
}

static enum status set(struct vhost_user *v, uint32_t request, const void *payload, uint32_t size, const int *fds,
		       unsigned nfds, const char *what, struct error *e)
{
	uint64_t refused = 0;
	enum status st = send_message(v, request, payload, size, fds, nfds, e);

	if (st == ST_OK)
		st = receive_reply(v, request, &refused, sizeof(refused), what, e);
	return st == ST_OK && refused ? error_set(e, ST_BAD_FILE, "the storage daemon refuses %s", what) : st;
}

static enum status set_number(struct vhost_user *v, uint32_t request, uint64_t n, const char *what, struct error *e)
{
	return set(v, request, &n, sizeof(n), NULL, 0, what, e);
}

static enum status get_config(struct vhost_user *v, struct blk_wire_config *c, struct error *e)
{
	struct config m = {.size = sizeof(m.disk)};
	enum status st = send_message(v, GET_CONFIG, &m, sizeof(m), NULL, 0, e);

	if (st == ST_OK)
		st = receive_reply(v, GET_CONFIG, &m, sizeof(m), "GET_CONFIG", e);
	*c = m.disk;
	return st;
}

static enum status describe(struct vhost_user_disk *d, const struct blk_wire_config *c, uint64_t features,
			    struct error *e)
{
	unsigned block = c->blk_size;

	if (!c->capacity)
		return error_set(e, ST_BAD_FILE, "it is empty");
	if (c->capacity > (uint64_t)INT64_MAX / 512 || block < 512 || block > 65536 || (block & (block - 1)))
		return bad(e, "GET_CONFIG");
	*d = (struct vhost_user_disk){
		.bytes = c->capacity * 512,
		.block = block,
		.discard_sectors = c->max_discard_sectors ? c->max_discard_sectors : SECTORS_DEFAULT,
		.zeroes_sectors = c->max_zeroes_sectors ? c->max_zeroes_sectors : SECTORS_DEFAULT,
		.readonly = features & BLK_F_RO,
		.flush = features & BLK_F_FLUSH,
		.discard = features & BLK_F_DISCARD,
		.zeroes = features & BLK_F_WRITE_ZEROES,
	};
	return ST_OK;
}

enum status vhost_user_begin(struct vhost_user *v, unsigned rings, struct vhost_user_disk *disk, struct error *e)
{
	const uint64_t must = F_VERSION_1 | F_PROTOCOL | F_INDIRECT;
	const uint64_t must_protocol = PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_CONFIG;
	const uint64_t known = must | BLK_F_RO | BLK_F_FLUSH | BLK_F_MQ | BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
	uint64_t features = 0, protocol = 0, n = 0;
	struct blk_wire_config c = {0};
	enum status st = get_number(v, GET_FEATURES, &features, "GET_FEATURES", e);

	if (st == ST_OK && (features & must) == must)
		st = get_number(v, GET_PROTOCOL_FEATURES, &protocol, "GET_PROTOCOL_FEATURES", e);
	if (st == ST_OK && ((features & must) != must || (protocol & must_protocol) != must_protocol))
		st = error_set(e, ST_UNSUPPORTED, "the storage daemon is too old: it has features %#llx and %#llx",
			       (unsigned long long)features, (unsigned long long)protocol);
	if (st == ST_OK)
		st = set_number(v, SET_PROTOCOL_FEATURES, must_protocol, "SET_PROTOCOL_FEATURES", e);
	if (st == ST_OK)
		st = set(v, SET_OWNER, NULL, 0, NULL, 0, "SET_OWNER", e);
	if (st == ST_OK)
		st = get_number(v, GET_QUEUE_NUM, &n, "GET_QUEUE_NUM", e);
	if (st == ST_OK && n < rings)
		st = error_set(e, ST_UNSUPPORTED, "the storage daemon has %llu rings, %u are wanted",
			       (unsigned long long)n, rings);
	if (st == ST_OK)
		st = set_number(v, SET_FEATURES, features & known, "SET_FEATURES", e);
	if (st == ST_OK)
		st = get_config(v, &c, e);
	return st == ST_OK ? describe(disk, &c, features, e) : st;
}

enum status vhost_user_memory(struct vhost_user *v, const struct vhost_user_region *list, unsigned n, struct error *e)
{
	struct memory m = {.n = n};
	int fds[VHOST_USER_REGIONS];

	BUG_ON(n > VHOST_USER_REGIONS);
	for (unsigned i = 0; i < n; i++) {
		m.region[i].guest = m.region[i].user = (uintptr_t)list[i].hva;
		m.region[i].bytes = list[i].bytes;
		m.region[i].offset = list[i].offset;
		fds[i] = list[i].fd;
	}
	return set(v, SET_MEM_TABLE, &m, (uint32_t)(8 + n * sizeof(m.region[0])), fds, n, "SET_MEM_TABLE", e);
}

enum status vhost_user_ring_call(struct vhost_user *v, unsigned index, int call, struct error *e)
{
	uint64_t n = index;

	return set(v, SET_VRING_CALL, &n, sizeof(n), &call, 1, "SET_VRING_CALL", e);
}

enum status vhost_user_ring_start(struct vhost_user *v, const struct vhost_user_ring *r, struct error *e)
{
	const struct state size = {r->index, r->size}, base = {r->index, 0}, enable = {r->index, 1};
	const struct addresses a = {
		.index = r->index,
		.desc = (uintptr_t)r->desc,
		.used = (uintptr_t)r->used,
		.avail = (uintptr_t)r->avail,
	};
	uint64_t n = r->index;
	enum status st = set(v, SET_VRING_NUM, &size, sizeof(size), NULL, 0, "SET_VRING_NUM", e);

	if (st == ST_OK)
		st = set(v, SET_VRING_BASE, &base, sizeof(base), NULL, 0, "SET_VRING_BASE", e);
	if (st == ST_OK)
		st = set(v, SET_VRING_ADDR, &a, sizeof(a), NULL, 0, "SET_VRING_ADDR", e);
	if (st == ST_OK)
		st = vhost_user_ring_call(v, r->index, r->call, e);
	if (st == ST_OK)
		st = set(v, SET_VRING_KICK, &n, sizeof(n), &r->kick, 1, "SET_VRING_KICK", e);
	if (st == ST_OK)
		st = set(v, SET_VRING_ENABLE, &enable, sizeof(enable), NULL, 0, "SET_VRING_ENABLE", e);
	return st;
}
