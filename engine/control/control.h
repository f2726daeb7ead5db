/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket of a machine: a thread that answers requests (engine/control/control_schema.h) and sends events.
 *
 * Life: control_open, then vm_create, control_start, vm_run, control_stop, vm_destroy, control_close.
 * Threads: the server has one of its own and shares nothing with the machine's but what vm.h allows any thread; a client that
 * does not read, or sends nonsense, costs the machine nothing. control_event: any thread.
 */
#ifndef STEELYARD_CONTROL_H
#define STEELYARD_CONTROL_H

#include "engine/control/control_path.h"
#include "engine/control/control_schema.h"

struct control;
struct switch_event;
struct vm;

struct control_config {
	const char *name; /* the machine's */
	const char *path; /* of the socket */
	/* The counters as JSON, for the verb stats; a new reference. Server's thread. */
	json_t *(*stats)(void *ctx);
	void *ctx;
};

/* Takes its place in the file system; clients that connect from now on wait. */
enum status control_open(struct control **out, const struct control_config *cfg, struct error *e);
enum status control_start(struct control *c, struct vm *vm, struct error *e);

/* How the machine ended, for the last event. */
struct control_end {
	bool crashed;
	const char *outcome; /* a word of SET_OUTCOMES */
	int status;
	const char *text;
};
/* Tells the clients, gives them a second to read it, ends the thread. Legal without control_start. */
void control_stop(struct control *c, const struct control_end *end);
/* Removes the socket. NULL is legal. */
void control_close(struct control *c);

/* For struct vm_config, with the struct control as context: the machine's own events. */
void control_on_reset(void *control, struct vm *vm, unsigned resets, const char *why);
void control_on_switch(void *control, struct vm *vm, const struct switch_event *ev);
void control_on_stall(void *control, struct vm *vm, unsigned vcpu, const char *text);
void control_on_disk(void *control, struct vm *vm, const char *text);

/* Sends an event to who subscribed; data is consumed, NULL is legal. Never waits: when too many are on their way, this one
 * is lost and the next one's number tells. Any thread, any lock. */
void control_event(struct control *c, enum control_event_id id, json_t *data);

#endif
