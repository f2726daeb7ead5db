/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets between guest and host (virtio 1.2, 5.10), with Firecracker's convention for the host's end: a client connects to
 * the Unix socket PATH, says "CONNECT PORT\n" and reads "OK PORT\n"; a guest that connects to a port of the host (CID 2)
 * reaches whoever listens at PATH_PORT. Streams only. Device lock, or no vCPU runs.
 */
#ifndef STEELYARD_VIRTIO_VSOCK_H
#define STEELYARD_VIRTIO_VSOCK_H

#include "engine/virtio/virtio.h"

#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX 0xfffffffeu

/* A packet (5.10.6) */
struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "the header as the driver sees it");

#define VSOCK_STREAM 1u
enum vsock_op {
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE,
	VSOCK_OP_RST,
	VSOCK_OP_SHUTDOWN,
	VSOCK_OP_RW,
	VSOCK_OP_CREDIT_UPDATE,
	VSOCK_OP_CREDIT_REQUEST,
};
/* Flags of a shutdown: what its sender will not do any more */
#define VSOCK_SHUT_RECEIVE 1u
#define VSOCK_SHUT_SEND 2u

struct virtio_vsock_config {
	uint32_t cid;     /* the guest's address: VSOCK_CID_MIN to VSOCK_CID_MAX */
	const char *path; /* where clients connect; made here, and removed at the end */
};

/* NULL and *e: no memory, no thread, no socket at path. */
struct virtio *virtio_vsock_new(const struct virtio_vsock_config *cfg, const struct dma *dma, struct error *e);

#endif
