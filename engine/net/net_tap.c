// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A tap interface of the host (linux/if_tun.h). Frames carry the virtio header, so offloads pass from the guest's driver to
 * the host's stack and back untouched.
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
	int fd;
	uint8_t buf[NET_HEADER_BYTES + NET_FRAME_MAX];
};

static unsigned tap_prepare(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms)
{
	struct tap *t = ctx;

	(void)timeout_ms;
	if (!max || !t->net->has_room(t->net->dev))
		return 0;
	p[0] = (struct pollfd){.fd = t->fd, .events = POLLIN};
	return 1;
}

static void tap_poll(void *ctx, const struct pollfd *p, unsigned n)
{
	struct tap *t = ctx;

	if (!n || !p[0].revents)
		return;
	for (unsigned i = 0; i < BATCH && t->net->has_room(t->net->dev); i++) {
		ssize_t got = read(t->fd, t->buf, sizeof(t->buf));

		if (got <= (ssize_t)NET_HEADER_BYTES)
			return;
		t->net->receive(t->net->dev, t->buf, (unsigned)got);
	}
}

static void tap_send(void *ctx, const uint8_t *frame, unsigned bytes)
{
	struct tap *t = ctx;

	while (write(t->fd, frame, bytes) < 0 && errno == EINTR)
		;
}

static void tap_offloads(void *ctx, unsigned tun_f)
{
	struct tap *t = ctx;

	(void)ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)tun_f);
}

static void tap_close(void *ctx)
{
	struct tap *t = ctx;

	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

static const struct net_ops tap_ops = {
	.prepare = tap_prepare, .poll = tap_poll, .send = tap_send, .offloads = tap_offloads, .close = tap_close};

enum status net_tap_open(struct net *n, const struct net_config *cfg, struct error *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct tap *t = calloc(1, sizeof(*t));
	int bytes = NET_HEADER_BYTES;

	if (!t)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	n->ops = &tap_ops;
	n->ctx = t;
	n->header = n->big = true;
	t->net = n;
	strncpy(ifr.ifr_name, cfg->ifname, sizeof(ifr.ifr_name) - 1);
	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return error_errno(e, ST_DENIED, "cannot open /dev/net/tun");
	if (ioctl(t->fd, TUNSETIFF, &ifr) != 0)
		return error_errno(
			e, ST_DENIED,
			"cannot use the tap interface '%s': make it with \"ip tuntap add %s mode tap user $USER\"",
			cfg->ifname, cfg->ifname);
	if (ioctl(t->fd, TUNSETVNETHDRSZ, &bytes) != 0)
		return error_errno(e, ST_UNSUPPORTED, "the tap interface '%s' cannot carry offloads", cfg->ifname);
	return ST_OK;
}
