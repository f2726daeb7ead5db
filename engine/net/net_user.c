// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User networking by libslirp: a NAT in this process, without privileges. The guest's network is 10.0.2.0/24: it is
 * 10.0.2.15 by DHCP, 10.0.2.2 is the host, 10.0.2.3 a name server that hands on to the host's; and fec0::/64.
 *
 * libslirp keeps its state in this thread alone. Its times are milliseconds of the host's monotonic clock.
 */
#include <arpa/inet.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <time.h>

#include "engine/net/net.h"

#define TIMERS_MAX 16u
#define NS_PER_MS 1000000

struct user_timer {
	SlirpTimerCb fire;
	void *opaque;
	int64_t at_ms; /* INT64_MAX: not armed */
	bool used;
};

struct user {
	struct net *net;
	Slirp *slirp;
	struct user_timer timer[TIMERS_MAX];
	/* while prepare or poll runs */
	struct pollfd *fds;
	const struct pollfd *ready;
	unsigned nfds, max;
};

static int64_t now_ns(void *opaque)
{
	struct timespec ts;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- what libslirp calls ---- */

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;

	if (u->net->receive)
		u->net->receive(u->net->dev, NET_STEER, buf, (unsigned)len);
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	(void)msg, (void)opaque; /* a guest may send what it likes; nobody wants to read of it */
}

static void *timer_create_cb(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct user *u = opaque;

	for (unsigned i = 0; i < TIMERS_MAX; i++)
		if (!u->timer[i].used) {
			u->timer[i] = (struct user_timer){cb, cb_opaque, INT64_MAX, true};
			return &u->timer[i];
		}
	return NULL;
}

static void timer_free_cb(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	(void)opaque;
	if (t)
		t->used = false;
}

static void timer_mod_cb(void *timer, int64_t at_ms, void *opaque)
{
	struct user_timer *t = timer;

	(void)opaque;
	if (t)
		t->at_ms = at_ms;
}

static void poll_fd_cb(int fd, void *opaque)
{
	(void)fd, (void)opaque; /* the next prepare asks for all of them */
}

static void notify_cb(void *opaque)
{
	(void)opaque; /* only this thread calls libslirp, and it goes through prepare before it sleeps */
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = now_ns,
	.timer_new = timer_create_cb,
	.timer_free = timer_free_cb,
	.timer_mod = timer_mod_cb,
	.register_poll_fd = poll_fd_cb,
	.unregister_poll_fd = poll_fd_cb,
	.notify = notify_cb,
};

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	short want = 0;

	if (u->nfds == u->max)
		return -1;
	want |= events & SLIRP_POLL_IN ? POLLIN : 0;
	want |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
	want |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
	u->fds[u->nfds] = (struct pollfd){.fd = fd, .events = want};
	return (int)u->nfds++;
}

static int get_revents(int idx, void *opaque)
{
	const struct user *u = opaque;
	short r = idx >= 0 && (unsigned)idx < u->nfds ? u->ready[idx].revents : 0;
	int events = 0;

	events |= r & POLLIN ? SLIRP_POLL_IN : 0;
	events |= r & POLLOUT ? SLIRP_POLL_OUT : 0;
	events |= r & POLLPRI ? SLIRP_POLL_PRI : 0;
	events |= r & POLLERR ? SLIRP_POLL_ERR : 0;
	events |= r & POLLHUP ? SLIRP_POLL_HUP : 0;
	return events;
}

/* ---- the backend ---- */

static unsigned user_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct user *u = ctx;
	uint32_t timeout = UINT32_MAX;
	int64_t now = now_ns(NULL) / NS_PER_MS;

	u->fds = p;
	u->nfds = 0;
	u->max = max;
	slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		int64_t left = u->timer[i].used ? u->timer[i].at_ms - now : INT64_MAX;

		if (u->timer[i].used && u->timer[i].at_ms != INT64_MAX && left < (int64_t)timeout)
			timeout = left > 0 ? (uint32_t)left : 0;
	}
	if (timeout != UINT32_MAX && (*timeout_ms < 0 || timeout < (uint32_t)*timeout_ms))
		*timeout_ms = timeout < INT32_MAX ? (int)timeout : INT32_MAX;
	return u->nfds;
}

static void user_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	struct user *u = ctx;
	int64_t now = now_ns(NULL) / NS_PER_MS;

	u->ready = p;
	u->nfds = n;
	slirp_pollfds_poll(u->slirp, 0, get_revents, u);
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct user_timer *t = &u->timer[i];

		if (t->used && t->at_ms <= now) {
			t->at_ms = INT64_MAX;
			t->fire(t->opaque);
		}
	}
}

static void user_send(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct user *u = ctx;

	(void)queue; /* one network behind all of them */
	slirp_input(u->slirp, frame, (int)bytes);
}

static void user_close(void *ctx)
{
	struct user *u = ctx;

	if (u->slirp)
		slirp_cleanup(u->slirp);
	free(u);
}

static const struct net_ops user_ops = {
	.prepare = user_prepare, .poll = user_poll, .send = user_send, .close = user_close};

static enum status add_forwards(struct user *u, const struct net_config *cfg, struct error *e)
{
	for (unsigned i = 0; i < cfg->nforwards; i++) {
		const struct net_forward *f = &cfg->forward[i];
		struct in_addr guest = f->guest;

		if (!guest.s_addr)
			guest.s_addr = inet_addr("10.0.2.15");
		if (slirp_add_hostfwd(u->slirp, f->udp, f->host, f->host_port, guest, f->guest_port) != 0)
			return error_errno(e, ST_BUSY, "cannot forward the host's port %u: give another", f->host_port);
	}
	return ST_OK;
}

enum status net_user_open(struct net *n, const struct net_config *cfg, struct error *e)
{
	SlirpConfig c = {
		.version = 3,
		.in_enabled = true,
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = "steelyard",
		.tftp_path = cfg->tftp,
		.bootfile = cfg->bootfile,
	};
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	n->ops = &user_ops;
	n->ctx = u;
	n->big = n->trusted = true;
	u->net = n;
	c.vnetwork.s_addr = inet_addr("10.0.2.0");
	c.vnetmask.s_addr = inet_addr("255.255.255.0");
	c.vhost.s_addr = inet_addr("10.0.2.2");
	c.vdhcp_start.s_addr = inet_addr("10.0.2.15");
	c.vnameserver.s_addr = inet_addr("10.0.2.3");
	inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &c.vhost6);
	inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
	u->slirp = slirp_new(&c, &callbacks, u);
	if (!u->slirp)
		return error_set(e, ST_UNSUPPORTED, "libslirp does not start");
	return add_forwards(u, cfg, e);
}
