/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the control server: the object, its clients, and what the verbs' functions get. */
#ifndef STEELYARD_CONTROL_INT_H
#define STEELYARD_CONTROL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/control/control.h"
#include "engine/control/control_proto.h"

#define CONTROL_OUT_BYTES (256u << 10) /* what may wait for a client that does not read */
#define CONTROL_EVENT_RING 64

struct control_client {
	int fd; /* -1: free */
	unsigned events; /* 1 << enum control_event_id */
	bool eof;	 /* it sends no more */
	bool discard;	 /* in the rest of a line that is too long */
	bool closing;	 /* nothing more is read or queued */
	uint64_t close_ns; /* closing: gone by then at the latest */
	unsigned long poll_at; /* in this round's array */
	size_t in_n, out_n, out_at, out_cap;
	char *out; /* out_n bytes from out_at on */
	char in[CONTROL_LINE_BYTES];
};

struct control {
	struct control_config cfg;
	char name[CONTROL_NAME_BYTES + 1];
	struct control_place place;
	struct vm *vm;
	pthread_t thread;
	bool started;
	int wake_fd;
	_Atomic bool stop;
	uint64_t start_ns;

	/* server's thread */
	struct control_client client[CONTROL_CLIENTS];
	bool paused; /* this server holds one vm_pause */
	uint64_t accept_ns; /* no accept before: descriptors were short */

	_Atomic bool shutdown; /* the power button was pressed since the last reset */

	pthread_mutex_t event_lock; /* leaf: the ring */
	struct control_queued {
		enum control_event_id id;
		char *line;
	} ring[CONTROL_EVENT_RING];
	unsigned ring_head, ring_n;
	uint64_t seq;
};

uint64_t control_now_ns(void);
enum control_state control_state_now(const struct control *c);
/* Serves one request that control_parse has accepted: fills *ok (may stay NULL), or returns a code and fills rq->text.
 * Server's thread. */
enum control_code control_serve(struct control *c, struct control_client *cl, struct control_request *rq, json_t **ok);

#endif
