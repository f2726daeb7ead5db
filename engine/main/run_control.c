// SPDX-License-Identifier: GPL-2.0-or-later
/* The control socket of `steelyard run`. */
#include "engine/main/run_control.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum status run_control_open(struct run_control *rc, json_t *(*stats)(void *ctx), void *ctx, struct error *e)
{
	bool asked = rc->name || rc->path;
	const char *name = rc->name ? rc->name : rc->own_name;
	char path[CONTROL_PATH_BYTES];
	struct error why = {0};
	enum status st;

	snprintf(rc->own_name, sizeof(rc->own_name), "vm-%ld", (long)getpid());
	if (!control_name_ok(name))
		return error_set(e, ST_INVALID, "--name %.60s: give 1 to %d letters, digits, \".\", \"_\" or \"-\"",
				 name, CONTROL_NAME_BYTES);
	if (rc->path && !strcmp(rc->path, "none"))
		return ST_OK;
	if (rc->path)
		st = snprintf(path, sizeof(path), "%s", rc->path) < (int)sizeof(path)
			     ? ST_OK
			     : error_set(&why, ST_INVALID, "--control: the path of a socket has %d characters at most",
					 CONTROL_PATH_BYTES - 1);
	else
		st = control_path_of(name, path, true, &why);
	if (st == ST_OK)
		st = control_open(&rc->control, &(struct control_config){name, path, stats, ctx}, &why);
	if (st == ST_OK || !asked)
		return ST_OK;
	return error_set(e, st, "%s", why.msg);
}

void run_control_listen(struct run_control *rc, struct vm_config *cfg)
{
	if (!rc->control)
		return;
	cfg->on_reset = control_on_reset;
	cfg->on_reset_ctx = rc->control;
}

void run_control_switched(struct run_control *rc, struct vm *vm, const struct switch_event *ev)
{
	if (rc->control)
		control_on_switch(rc->control, vm, ev);
}

void run_control_stalled(struct run_control *rc, struct vm *vm, unsigned vcpu, const char *text)
{
	if (rc->control)
		control_on_stall(rc->control, vm, vcpu, text);
}

void run_control_disk(struct run_control *rc, struct vm *vm, const char *text)
{
	if (rc->control)
		control_on_disk(rc->control, vm, text);
}

enum status run_control_start(struct run_control *rc, struct vm *vm, struct error *e)
{
	return rc->control ? control_start(rc->control, vm, e) : ST_OK;
}

void run_control_stop(struct run_control *rc, struct vm *vm, const char *outcome, int status)
{
	enum vm_outcome o = (enum vm_outcome)atomic_load(&vm->outcome);

	if (rc->control)
		control_stop(rc->control, &(struct control_end){o == VM_TRIPLE_FAULT || o == VM_FAILED, outcome, status,
								vm->end_text});
}

void run_control_close(struct run_control *rc)
{
	control_close(rc->control);
	rc->control = NULL;
}
