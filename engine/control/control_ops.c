// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the verbs of the control protocol do to the machine. One function a verb, in one table; the server has checked the
 * arguments and the state before.
 *
 * Guest time stands still while the machine is paused: the TSC, the timers and the real-time clock go on where they were.
 * A guest sees no jump and no burst of lost ticks, and its wall clock is late by the pause, as under QEMU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/control/control_int.h"
#include "engine/pc/i8042.h"
#include "engine/apic/lapic.h"
#include "engine/switch.h"
#include "engine/pc/vga.h"
#include "engine/vm.h"
#include "engine/walk.h"

static json_t *count(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

enum control_state control_state_now(const struct control *c)
{
	switch ((enum vm_outcome)atomic_load(&c->vm->outcome)) {
	case VM_TRIPLE_FAULT:
	case VM_FAILED:
		return CONTROL_STATE_CRASHED;
	case VM_POWEROFF:
	case VM_DEBUG_EXIT:
	case VM_STOPPED:
	case VM_TIMEOUT:
		return CONTROL_STATE_SHUTOFF;
	case VM_RUNNING:
	case VM_RESET_REQUEST:
		break;
	}
	if (c->paused)
		return CONTROL_STATE_PAUSED;
	return atomic_load(&c->shutdown) ? CONTROL_STATE_SHUTDOWN : CONTROL_STATE_RUNNING;
}

static json_t *state_word(const struct control *c)
{
	return json_string(control_states[control_state_now(c)].word);
}

/* Of each vCPU: the one that it is on, or that it shall be on. */
static json_t *paths_of(struct vm *vm, enum path_id (*of)(struct vm *vm, unsigned i))
{
	json_t *a = json_array();

	for (unsigned i = 0; i < vm->ncpus; i++)
		json_array_append_new(a, json_string(vm->paths[of(vm, i)]->name));
	return a;
}

static uint64_t process_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static enum control_code do_status(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	struct vm *vm = c->vm;
	unsigned clients = 0;

	(void)cl;
	(void)rq;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		clients += c->client[i].fd >= 0;
	json_object_set_new(ok, "name", json_string(c->name));
	json_object_set_new(ok, "pid", json_integer(getpid()));
	json_object_set_new(ok, "protocol", json_integer(CONTROL_PROTOCOL));
	json_object_set_new(ok, "state", state_word(c));
	json_object_set_new(ok, "path", json_string(vm->paths[switch_path_of(vm, 0)]->name));
	json_object_set_new(ok, "paths", paths_of(vm, switch_path_of));
	json_object_set_new(ok, "wanted", paths_of(vm, switch_wanted_of));
	json_object_set_new(ok, "vcpus", json_integer((json_int_t)vm->ncpus));
	json_object_set_new(ok, "memory_bytes", count(vm->mem.ram_bytes));
	json_object_set_new(ok, "uptime_ns", count(control_now_ns() - c->start_ns));
	json_object_set_new(ok, "guest_ns", count(clock_ns(&vm->clock)));
	json_object_set_new(ok, "cpu_ns", count(process_cpu_ns()));
	json_object_set_new(ok, "resets", count(atomic_load(&vm->resets)));
	json_object_set_new(ok, "clients", json_integer((json_int_t)clients));
	return CONTROL_OK;
}

static enum control_code fail(struct control_request *rq, enum control_code code, const char *text)
{
	snprintf(rq->text, sizeof(rq->text), "%s", text);
	return code;
}

static enum control_code code_of(enum status st)
{
	switch (st) {
	case ST_OK:
		return CONTROL_OK;
	case ST_INVALID:
		return CONTROL_BAD_ARGUMENT;
	case ST_UNSUPPORTED:
	case ST_DENIED: /* the host denies it to the machine, not the machine to the client */
		return CONTROL_UNSUPPORTED;
	default:
		return CONTROL_FAILED;
	}
}

static enum control_code do_pause(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	struct error e = {0};
	enum status st = vm_pause(c->vm, &e);

	(void)cl;
	if (st != ST_OK)
		return fail(rq, code_of(st), e.msg);
	c->paused = true;
	/* What the guest has written so far is seen: the flush timer stands still with guest time. */
	pthread_mutex_lock(&c->vm->dev_lock);
	board_flush(c->vm);
	pthread_mutex_unlock(&c->vm->dev_lock);
	json_object_set_new(ok, "state", state_word(c));
	json_object_set_new(ok, "guest_ns", count(clock_ns(&c->vm->clock)));
	control_event(c, CE_PAUSED, NULL);
	return CONTROL_OK;
}

static void resume(struct control *c)
{
	c->paused = false;
	vm_resume(c->vm);
	control_event(c, CE_RESUMED, NULL);
}

static enum control_code do_resume(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	(void)cl;
	(void)rq;
	resume(c);
	json_object_set_new(ok, "state", state_word(c));
	return CONTROL_OK;
}

static enum control_code press_power(struct control *c, struct control_request *rq)
{
	bool heard;

	if (c->paused)
		return fail(rq, CONTROL_WRONG_STATE,
			    "a paused guest does not see its power button: resume it, or stop with force");
	pthread_mutex_lock(&c->vm->dev_lock);
	heard = board_power_button(c->vm);
	pthread_mutex_unlock(&c->vm->dev_lock);
	if (!heard)
		return fail(rq, CONTROL_WRONG_STATE, "the guest does not listen to its power button: stop with force");
	atomic_store(&c->shutdown, true);
	control_event(c, CE_SHUTDOWN, NULL);
	return CONTROL_OK;
}

static enum control_code do_stop(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	bool force = json_is_true(json_object_get(rq->args, "force"));
	enum control_code code = CONTROL_OK;

	(void)cl;
	if (force)
		vm_end(c->vm, VM_STOPPED, 0, "stopped through its control socket");
	else
		code = press_power(c, rq);
	json_object_set_new(ok, "how", json_string(force ? "forced" : "power-button"));
	return code;
}

static enum control_code do_reset(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	(void)cl;
	(void)rq;
	pthread_mutex_lock(&c->vm->dev_lock);
	board_flush(c->vm);
	pthread_mutex_unlock(&c->vm->dev_lock);
	json_object_set_new(ok, "resets", count(atomic_load(&c->vm->resets)));
	vm_end(c->vm, VM_RESET_REQUEST, 0, "reset through its control socket");
	return CONTROL_OK;
}

/* As a message of the APIC bus, which no LVT and no CMOS bit masks: it is for finding out what a hung guest does. */
static enum control_code do_nmi(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	json_t *data = json_object();

	(void)cl;
	(void)rq;
	lapic_send(c->vm, 0, DELIVER_NMI, false, UINT32_MAX, false, true);
	json_object_set_new(ok, "vcpus", count(c->vm->ncpus));
	json_object_set_new(data, "vcpus", count(c->vm->ncpus));
	control_event(c, CE_NMI, data);
	return CONTROL_OK;
}

static enum control_code do_stats(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	json_t *stats = c->cfg.stats ? c->cfg.stats(c->cfg.ctx) : NULL;

	(void)cl;
	if (!stats)
		return fail(rq, CONTROL_UNSUPPORTED, "this machine keeps no counters");
	json_object_set_new(ok, "stats", stats);
	return CONTROL_OK;
}

static enum control_code do_switch(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	const char *name = json_string_value(json_object_get(rq->args, "path"));
	json_t *vcpu = json_object_get(rq->args, "vcpu");
	struct error e = {0};
	enum path_id path = 0;

	(void)cl;
	while (path < PATH_COUNT && !(c->vm->paths[path] && !strcmp(c->vm->paths[path]->name, name)))
		path++;
	if (vm_switch_path(c->vm, vcpu ? (int)json_integer_value(vcpu) : -1, path, "asked through the control socket",
			   &e) != ST_OK)
		return fail(rq, code_of(e.status), e.msg);
	json_object_set_new(ok, "paths", paths_of(c->vm, switch_path_of));
	return CONTROL_OK;
}

/* Between two instructions: a running machine stands still for it. */
static enum control_code do_walk(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	const char *text = json_string_value(json_object_get(rq->args, "address"));
	uint64_t vcpu = (uint64_t)json_integer_value(json_object_get(rq->args, "vcpu")), linear;
	struct error e = {0};
	enum status st;
	struct walk w;
	char *end;

	(void)cl;
	linear = strtoull(text, &end, 16);
	if (strncmp(text, "0x", 2) || !text[2] || strspn(text + 2, "0123456789abcdefABCDEF") != strlen(text + 2))
		return fail(rq, CONTROL_BAD_ARGUMENT, "\"address\" is hexadecimal, as 0xffffffff81000000");
	if (vcpu >= c->vm->ncpus)
		return fail(rq, CONTROL_BAD_ARGUMENT, "\"vcpu\": the machine has not so many");
	st = vm_pause(c->vm, &e);
	if (st != ST_OK)
		return fail(rq, code_of(st), e.msg);
	walk_page(c->vm->vcpu[vcpu], linear, &w);
	json_object_set_new(ok, "walk", walk_json(&w, (unsigned)vcpu));
	vm_resume(c->vm);
	return CONTROL_OK;
}

static enum control_code do_screen(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	char *text = malloc(VGA_TEXT_BYTES);
	struct vga *vga = board_vga(c->vm);
	struct vga_screen s;

	(void)cl;
	if (!vga || !text) {
		free(text);
		return vga ? fail(rq, CONTROL_FAILED, "no host memory for the screen's text")
			   : fail(rq, CONTROL_UNSUPPORTED, "this machine has no screen: only --bios gives it one");
	}
	pthread_mutex_lock(&c->vm->dev_lock);
	vga_screen(vga, &s, text);
	pthread_mutex_unlock(&c->vm->dev_lock);
	json_object_set_new(ok, "graphics", json_boolean(!s.text));
	json_object_set_new(ok, "columns", count(s.columns));
	json_object_set_new(ok, "rows", count(s.rows));
	json_object_set_new(ok, "cursor_column", count(s.cursor_column));
	json_object_set_new(ok, "cursor_row", count(s.cursor_row));
	json_object_set_new(ok, "text", json_string(text));
	free(text);
	return CONTROL_OK;
}

static enum control_code do_type(struct control *c, struct control_client *cl, struct control_request *rq, json_t *ok)
{
	const char *text = json_string_value(json_object_get(rq->args, "text"));
	struct error e = {0};
	unsigned moves = 0;
	enum status st;

	(void)cl;
	pthread_mutex_lock(&c->vm->dev_lock);
	st = i8042_type(board_keyboard(c->vm), text, &moves, &e);
	pthread_mutex_unlock(&c->vm->dev_lock);
	if (st != ST_OK)
		return fail(rq, code_of(st), e.msg);
	json_object_set_new(ok, "moves", count(moves));
	return CONTROL_OK;
}

static enum control_code do_subscribe(struct control *c, struct control_client *cl, struct control_request *rq,
				      json_t *ok)
{
	json_t *words = json_object_get(rq->args, "events"), *list = json_array();

	(void)c;
	cl->events = words ? 0 : CONTROL_EVENTS_ALL;
	for (unsigned id = 0; id < CE_COUNT; id++) {
		size_t i;
		json_t *w;

		json_array_foreach(words, i, w) if (!strcmp(json_string_value(w), control_events[id].name))
			cl->events |= 1u << id;
		if (cl->events & 1u << id)
			json_array_append_new(list, json_string(control_events[id].name));
	}
	json_object_set_new(ok, "events", list);
	return CONTROL_OK;
}

static enum control_code do_unsubscribe(struct control *c, struct control_client *cl, struct control_request *rq,
					json_t *ok)
{
	(void)c;
	(void)rq;
	(void)ok;
	cl->events = 0;
	return CONTROL_OK;
}

typedef enum control_code serve_fn(struct control *c, struct control_client *cl, struct control_request *rq,
				   json_t *ok);

static serve_fn *const serve[CV_COUNT] = {
	[CV_STATUS] = do_status,       [CV_PAUSE] = do_pause,
	[CV_RESUME] = do_resume,       [CV_STOP] = do_stop,
	[CV_RESET] = do_reset,         [CV_NMI] = do_nmi,
	[CV_STATS] = do_stats,         [CV_SWITCH] = do_switch,
	[CV_WALK] = do_walk,           [CV_SCREEN] = do_screen,
	[CV_TYPE] = do_type,
	[CV_SUBSCRIBE] = do_subscribe, [CV_UNSUBSCRIBE] = do_unsubscribe,
};

enum control_code control_serve(struct control *c, struct control_client *cl, struct control_request *rq, json_t **ok)
{
	json_t *o = json_object();
	enum control_code code = serve[rq->verb - control_verbs](c, cl, rq, o);

	if (code != CONTROL_OK) {
		json_decref(o);
		o = NULL;
	}
	*ok = o;
	return code;
}
