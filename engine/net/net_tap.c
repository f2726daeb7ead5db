// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A tap interface of the host (linux/if_tun.h). Frames carry the virtio header, so offloads pass from the guest's driver to
 * the host's stack and back untouched. Each queue is a descriptor of its own; the host's kernel sends a flow into the queue from which
 * it last came.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/net/net.h"

#define BATCH 64u

struct tap {
	struct net *net;
	int fd[NET_QUEUES_MAX];
	unsigned nfds;
	uint8_t buf[NET_HEADER_BYTES + NET_FRAME_MAX];
};

static unsigned tap_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct tap *t = ctx;

	(void)timeout_ms;
	if (max < t->nfds || !t->net->has_room(t->net->dev))
		return 0;
	for (unsigned q = 0; q < t->nfds; q++)
		p[q] = (struct pollfd){.fd = t->fd[q], .events = POLLIN};
	return t->nfds;
}

static void receive_from(struct tap *t, unsigned q)
{
	for (unsigned i = 0; i < BATCH && t->net->has_room(t->net->dev); i++) {
		ssize_t got = read(t->fd[q], t->buf, sizeof(t->buf));

		if (got <= (ssize_t)NET_HEADER_BYTES)
			return;
		t->net->receive(t->net->dev, q, t->buf, (unsigned)got);
	}
}

static void tap_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	for (unsigned q = 0; q < n; q++)
		if (p[q].revents)
			receive_from(ctx, q);
}

static void tap_send(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes)
{
	struct tap *t = ctx;

	while (write(t->fd[queue], frame, bytes) < 0 && errno == EINTR)
		;
}

static void tap_offloads(void *ctx, unsigned tun_f)
{
	struct tap *t = ctx;

	(void)ioctl(t->fd[0], TUNSETOFFLOAD, (unsigned long)tun_f);
}

static void tap_close(void *ctx)
{
	struct tap *t = ctx;

	for (unsigned q = 0; q < t->nfds; q++)
		close(t->fd[q]);
	free(t);
}

static const struct net_ops tap_ops = {
	.prepare = tap_prepare, .poll = tap_poll, .send = tap_send, .offloads = tap_offloads, .close = tap_close};

static enum status open_queue(struct tap *t, const char *ifname, struct error *e)
{
	bool several = t->net->queues > 1;
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (several ? IFF_MULTI_QUEUE : 0))};
	int bytes = NET_HEADER_BYTES, fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return error_errno(e, ST_DENIED, "cannot open /dev/net/tun");
	t->fd[t->nfds++] = fd;
	strncpy(ifr.ifr_name, ifname, sizeof(ifr.ifr_name) - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) != 0)
		return error_errno(e, ST_DENIED,
				   "cannot use the tap interface '%s': make it with \"ip tuntap add %s mode tap%s user $USER\"", ifname,
				   ifname, several ? " multi_queue" : "");
	if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) != 0)
		return error_errno(e, ST_UNSUPPORTED, "the tap interface '%s' cannot carry offloads", ifname);
	return ST_OK;
}

enum status net_tap_open(struct net *n, const struct net_config *cfg, struct error *e)
{
	struct tap *t = calloc(1, sizeof(*t));
	enum status st = ST_OK;

	if (!t)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	n->ops = &tap_ops;
	n->ctx = t;
	n->header = n->big = true;
	t->net = n;
	while (st == ST_OK && t->nfds < n->queues)
		st = open_queue(t, cfg->ifname, e);
	return st;
}
