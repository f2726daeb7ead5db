/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket of `steelyard run`: its options, and its part in the machine's life. */
#ifndef STEELYARD_RUN_CONTROL_H
#define STEELYARD_RUN_CONTROL_H

#include "engine/control/control.h"
#include "engine/vm.h"

struct run_control {
	const char *name, *path; /* --name, --control; NULL: not given */
	char own_name[CONTROL_NAME_BYTES + 1];
	struct control *control; /* NULL: none */
};

/* Takes the socket's place. A machine that nobody gave a name is vm-PID, and runs without a socket where it can have none; one
 * that was named must have it. stats: see struct control_config. */
enum status run_control_open(struct run_control *rc, json_t *(*stats)(void *ctx), void *ctx, struct error *e);
/* Before vm_create: the machine tells the socket's clients of resets. */
void run_control_listen(struct run_control *rc, struct vm_config *cfg);
/* From whoever is told of changes of path, and of vCPUs that do not come. */
void run_control_switched(struct run_control *rc, struct vm *vm, const struct switch_event *ev);
void run_control_stalled(struct run_control *rc, struct vm *vm, unsigned vcpu, const char *text);
void run_control_disk(struct run_control *rc, struct vm *vm, const char *text);
enum status run_control_start(struct run_control *rc, struct vm *vm, struct error *e);
void run_control_stop(struct run_control *rc, struct vm *vm, const char *outcome, int status);
void run_control_close(struct run_control *rc);

#endif
