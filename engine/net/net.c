// SPDX-License-Identifier: GPL-2.0-or-later
/* What the backends share: opening by kind, the dump in pcap's format (libpcap, "LINKTYPE_ETHERNET"), flows, checksums. */
#include "engine/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PCAP_MAGIC_NS 0xa1b23c4du
#define PCAP_SNAP 65535u
#define LINKTYPE_ETHERNET 1u

static enum status open_dump(struct net *n, const char *file, struct error *e)
{
	const uint32_t header[6] = {PCAP_MAGIC_NS, 2 | 4 << 16, 0, 0, PCAP_SNAP, LINKTYPE_ETHERNET};

	n->pcap_fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (n->pcap_fd < 0 || write(n->pcap_fd, header, sizeof(header)) != (ssize_t)sizeof(header))
		return error_errno(e, ST_DENIED, "cannot write the network dump '%s'", file);
	return ST_OK;
}

void net_dump(struct net *n, const uint8_t *frame, unsigned bytes)
{
	struct timespec ts;
	uint32_t head[4];
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)frame, bytes < PCAP_SNAP ? bytes : PCAP_SNAP}};

	if (n->pcap_fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	head[0] = (uint32_t)ts.tv_sec;
	head[1] = (uint32_t)ts.tv_nsec;
	head[2] = (uint32_t)iov[1].iov_len;
	head[3] = bytes;
	if (writev(n->pcap_fd, iov, 2) < 0) { /* the disk is full: half a dump is better than no network */
		close(n->pcap_fd);
		n->pcap_fd = -1;
	}
}

enum status net_open(const struct net_config *cfg, struct net **out, struct error *e)
{
	static enum status (*const by_kind[])(struct net *, const struct net_config *, struct error *) = {
		[NET_USER] = net_user_open, [NET_TAP] = net_tap_open, [NET_SOCKET] = net_socket_open};
	struct net *n = calloc(1, sizeof(*n));
	enum status st;

	*out = NULL;
	if (!n)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	n->pcap_fd = -1;
	n->queues = cfg->queues ? cfg->queues : 1;
	st = by_kind[cfg->kind](n, cfg, e);
	if (st == ST_OK && cfg->pcap)
		st = open_dump(n, cfg->pcap, e);
	if (st != ST_OK) {
		net_close(n);
		return st;
	}
	*out = n;
	return ST_OK;
}

void net_close(struct net *n)
{
	if (!n)
		return;
	if (n->ctx)
		n->ops->close(n->ctx);
	if (n->pcap_fd >= 0)
		close(n->pcap_fd);
	free(n);
}

#define ETH_BYTES 14u
#define ETH_IP4 0x0800u
#define ETH_IP6 0x86ddu
#define IP4_BYTES 20u
#define IP6_BYTES 40u
#define IP_TCP 6u
#define IP_UDP 17u

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Exclusive or does not mind which end is the source. */
static uint32_t xor_words(const uint8_t *p, unsigned bytes)
{
	uint32_t x = 0;

	for (unsigned i = 0; i < bytes; i += 4)
		x ^= be16(p + i) << 16 | be16(p + i + 2);
	return x;
}

/* Extension headers of IPv6 count as a protocol without ports: the flow is then that of the addresses. */
uint32_t net_flow(const uint8_t *frame, unsigned bytes)
{
	const uint8_t *ip = frame + ETH_BYTES;
	unsigned len = bytes - ETH_BYTES, head, protocol;
	uint32_t x;

	if (bytes < ETH_BYTES)
		return 0;
	if (be16(frame + 12) == ETH_IP4 && len >= IP4_BYTES) {
		bool fragment = be16(ip + 6) & 0x3fff;

		head = (ip[0] & 15u) * 4;
		protocol = ip[9];
		x = xor_words(ip + 12, 8);
		if (fragment) /* only the first has ports */
			head = len;
	} else if (be16(frame + 12) == ETH_IP6 && len >= IP6_BYTES) {
		head = IP6_BYTES;
		protocol = ip[6];
		x = xor_words(ip + 8, 32);
	} else {
		return 0;
	}
	x ^= protocol << 24;
	if ((protocol == IP_TCP || protocol == IP_UDP) && head + 4 <= len)
		x ^= be16(ip + head) ^ be16(ip + head + 2);
	x *= 0x9e3779b1u; /* 2^32 by the golden ratio: each bit reaches the upper ones */
	return x ^ x >> 16;
}

void net_checksum(uint8_t *frame, unsigned bytes, unsigned start, unsigned offset)
{
	uint64_t sum = 0;

	if (start >= bytes || offset + 2 > bytes - start)
		return;
	for (unsigned i = start; i + 1 < bytes; i += 2)
		sum += (unsigned)frame[i] << 8 | frame[i + 1];
	if ((bytes - start) & 1)
		sum += (unsigned)frame[bytes - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	if (sum == 0)
		sum = 0xffff; /* zero means "no checksum" in UDP, and both are the same number */
	frame[start + offset] = (uint8_t)(sum >> 8);
	frame[start + offset + 1] = (uint8_t)sum;
}
