/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is behind a network device: user networking (libslirp), a tap interface, a Unix socket to another machine; and a
 * dump of what passes. A backend moves Ethernet frames; it belongs to the device's worker, which calls everything here but
 * net_open and net_close.
 */
#ifndef STEELYARD_NET_H
#define STEELYARD_NET_H

#include <netinet/in.h>

#include "engine/status.h"
#include "engine/worker.h"

#define NET_FORWARDS 16u
#define NET_FRAME_MAX 65550u /* Ethernet header and 64 KiB of IP */
#define NET_QUEUES_MAX 16u
#define NET_STEER (~0u) /* the queue of a received frame: the device chooses */
#define NET_HEADER_BYTES 12u /* struct virtio_net_hdr with num_buffers: engine/virtio/virtio_net.c, linux/if_tun.h */

enum net_kind { NET_USER, NET_TAP, NET_SOCKET };

struct net_forward {
	bool udp;
	struct in_addr host, guest; /* 0.0.0.0: any; the guest's first address */
	uint16_t host_port, guest_port;
};

struct net_config {
	enum net_kind kind;
	uint8_t mac[6];
	bool mac_given;
	const char *pcap; /* NULL: no dump */
	struct net_forward forward[NET_FORWARDS];
	unsigned nforwards;
	unsigned queues;    /* pairs of them, to receive and to send; 0: one */
	const char *ifname; /* tap */
	const char *path;   /* socket */
	const char *tftp, *bootfile; /* user: a folder that guests read by TFTP, and what DHCP tells them to boot */
};

struct net;
struct net_ops {
	/* As worker_ops. poll calls net->receive for what came in. */
	unsigned (*prepare)(void *ctx, struct pollfd *p, unsigned max, int *timeout_ms);
	void (*poll)(void *ctx, const struct pollfd *p, unsigned n);
	/* A frame from the device's queue (< net->queues), behind a virtio_net_hdr where header is set. Dropped where it cannot go. */
	void (*send)(void *ctx, unsigned queue, const uint8_t *frame, unsigned bytes);
	/* The driver takes these offloads of received frames: TUN_F_*. NULL: none come */
	void (*offloads)(void *ctx, unsigned tun_f);
	void (*close)(void *ctx);
};

struct net {
	const struct net_ops *ops;
	void *ctx;
	bool header;  /* frames carry a virtio_net_hdr both ways */
	bool big;     /* takes TCP segments of up to 64 KiB */
	bool trusted; /* what comes in has right checksums */
	unsigned queues; /* at least 1 */
	/* Set by the device: takes a received frame. queue: the one that the backend would have it in, or NET_STEER */
	void (*receive)(void *dev, unsigned queue, const uint8_t *frame, unsigned bytes);
	/* Has the device room? A backend that can wait does so. */
	bool (*has_room)(void *dev);
	void *dev;
	int pcap_fd; /* -1: none */
};

enum status net_open(const struct net_config *cfg, struct net **out, struct error *e);
void net_close(struct net *n);
/* Frames without a header go to the dump, if there is one. */
void net_dump(struct net *n, const uint8_t *frame, unsigned bytes);

/* The backends; each fills n->ops and what it can. */
enum status net_user_open(struct net *n, const struct net_config *cfg, struct error *e);
enum status net_tap_open(struct net *n, const struct net_config *cfg, struct error *e);
enum status net_socket_open(struct net *n, const struct net_config *cfg, struct error *e);

/* A number that the frames of one flow share, both ways: of addresses, protocol and, where there are any, TCP's or UDP's ports. 0: no
 * IP. */
uint32_t net_flow(const uint8_t *frame, unsigned bytes);

/* Fills in the Internet checksum that a driver left to the device: the sum of [start, end) goes to start + offset. */
void net_checksum(uint8_t *frame, unsigned bytes, unsigned start, unsigned offset);

#endif
