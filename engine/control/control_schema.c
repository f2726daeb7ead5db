// SPDX-License-Identifier: GPL-2.0-or-later
/* The tables of the control protocol, and the one function that checks an object against a row's fields. */
#include "engine/control/control_schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/exec.h"
#include "engine/pc/keyboard.h"
#include "engine/pc/vga.h"

const struct control_code_row control_codes[CONTROL_CODES_COUNT] = {
#define X(name, word, exit, what) [CONTROL_##name] = {word, what, CONTROL_EXIT_##exit},
	CONTROL_CODES(X)
#undef X
};

const struct control_word_row control_states[CONTROL_STATES_COUNT] = {
#define X(name, word, what) [CONTROL_STATE_##name] = {word, what},
	CONTROL_STATES(X)
#undef X
};

#define IN(state) (1u << CONTROL_STATE_##state)
#define ALIVE (IN(RUNNING) | IN(PAUSED) | IN(SHUTDOWN))
#define ALWAYS (ALIVE | IN(SHUTOFF) | IN(CRASHED))
#define NS_MAX INT64_MAX
#define UINT(name, max, what) {name, CT_UINT, SET_NONE, true, max, what}
#define TEXT(name, max, what) {name, CT_STRING, SET_NONE, true, max, what}
#define STATE_NOW {"state", CT_WORD, SET_STATES, true, 0, "the state now"}

const struct control_verb control_verbs[CV_COUNT] = {
	[CV_STATUS] = {"status", "what the machine is and does", ALWAYS, true,
		.result = {TEXT("name", 64, "the machine's name"),
			   UINT("pid", INT32_MAX, "its process"),
			   UINT("protocol", 1000, "version of this protocol"),
			   STATE_NOW,
			   {"path", CT_WORD, SET_PATHS, true, 0, "the path that runs vCPU 0"},
			   {"paths", CT_WORDS, SET_PATHS, true, 0, "the path of each vCPU"},
			   {"wanted", CT_WORDS, SET_PATHS, true, 0, "the path that each vCPU shall be on: another one until it has changed"},
			   UINT("vcpus", 64, "virtual CPUs"),
			   UINT("memory_bytes", NS_MAX, "guest memory"),
			   UINT("uptime_ns", NS_MAX, "host time since the machine was made"),
			   UINT("guest_ns", NS_MAX, "guest time since power-on: stands still while paused"),
			   UINT("cpu_ns", NS_MAX, "CPU time of the process"),
			   UINT("resets", UINT32_MAX, "resets since power-on"),
			   UINT("clients", CONTROL_CLIENTS, "clients of this socket")}},
	[CV_PAUSE] = {"pause", "stop guest code and guest time", IN(RUNNING) | IN(SHUTDOWN), true,
		.result = {STATE_NOW, UINT("guest_ns", NS_MAX, "guest time at which it stands")}},
	[CV_RESUME] = {"resume", "go on after pause", IN(PAUSED), true,
		.result = {STATE_NOW}},
	[CV_STOP] = {"stop", "press the power button; with force, end the machine at once", ALIVE, true,
		.arg = {{"force", CT_BOOL, SET_NONE, false, 0, "end at once, the guest is not asked"}},
		.result = {{"how", CT_WORD, SET_STOP, true, 0, "what was done; the end itself is the event `ended`"}}},
	[CV_RESET] = {"reset", "press the reset button", ALIVE, true,
		.result = {UINT("resets", UINT32_MAX, "resets before this one; the event `reset` says when it is done")}},
	[CV_NMI] = {"nmi", "send an NMI to every vCPU", ALIVE, true,
		.result = {UINT("vcpus", 64, "vCPUs that were sent one; a paused one takes it when it goes on")}},
	[CV_STATS] = {"stats", "counters and times, as `run --json` prints them", ALWAYS, true,
		.result = {{"stats", CT_OBJECT, SET_NONE, true, 0, "the same fields as `run --json`, but for the outcome"}}},
	[CV_SWITCH] = {"switch", "continue the guest on another execution path", ALIVE, true,
		.arg = {{"path", CT_WORD, SET_PATHS, true, 0, "where to go on"},
			{"vcpu", CT_UINT, SET_NONE, false, 63, "this vCPU alone; without it, all"}},
		.result = {{"paths", CT_WORDS, SET_PATHS, true, 0, "the path of each vCPU at this moment; the event `switched` says when one has changed"}}},
	[CV_WALK] = {"walk", "the page walk of a linear address, as `steelyard explain walk` draws it", ALIVE, true,
		.arg = {{"address", CT_STRING, SET_NONE, true, 18, "the linear address in hexadecimal, as 0xffffffff81000000"},
			{"vcpu", CT_UINT, SET_NONE, false, 63, "with this vCPU's tables; without it, those of vCPU 0"}},
		.result = {{"walk", CT_OBJECT, SET_NONE, true, 0, "what `docs/explain.md` describes"}}},
	[CV_SCREEN] = {"screen", "what the screen of a machine with firmware shows, as text", ALIVE, true,
		.result = {{"graphics", CT_BOOL, SET_NONE, true, 0, "a graphics mode, or no mode yet: there is no text"},
			   UINT("columns", VGA_MAX_COLUMNS, "characters in a row"),
			   UINT("rows", VGA_MAX_ROWS, "rows"),
			   UINT("cursor_column", UINT32_MAX, "where the cursor is, from 0"),
			   UINT("cursor_row", UINT32_MAX, "from 0; `rows` and more: nowhere"),
			   TEXT("text", VGA_TEXT_BYTES, "the rows as lines of UTF-8 without trailing blanks")}},
	[CV_TYPE] = {"type", "type on the keyboard", ALIVE, true,
		.arg = {{"text", CT_STRING, SET_NONE, true, KEYBOARD_TEXT_MAX, "ASCII (a newline is Enter), and names of keys as `<enter>`, `<f12>`, `<ctrl-alt-delete>`; `<lt>` is the character itself"}},
		.result = {UINT("moves", KEYBOARD_EVENTS_MAX, "how often a key goes down or up; the guest takes them in its own time")}},
	[CV_SUBSCRIBE] = {"subscribe", "send events to this client from now on", ALWAYS, false,
		.arg = {{"events", CT_WORDS, SET_EVENTS, false, CE_COUNT, "these alone; without it, all"}},
		.result = {{"events", CT_WORDS, SET_EVENTS, true, 0, "what is sent from now on"}}},
	[CV_UNSUBSCRIBE] = {.name = "unsubscribe", .what = "send no more events", .states = ALWAYS},
};

const struct control_event control_events[CE_COUNT] = {
	[CE_PAUSED] = {.name = "paused", .what = "guest code and guest time stand still"},
	[CE_RESUMED] = {.name = "resumed", .what = "they go on"},
	[CE_SHUTDOWN] = {.name = "shutdown", .what = "the power button was pressed"},
	[CE_RESET] = {"reset", "the machine has been reset and starts again",
		{UINT("resets", UINT32_MAX, "resets since power-on"), TEXT("why", 400, "who wanted it")}},
	[CE_NMI] = {"nmi", "an NMI was sent", {UINT("vcpus", 64, "to so many vCPUs")}},
	[CE_SWITCHED] = {"switched", "a vCPU goes on on another path; or could not, when `from` and `to` are the same",
		{UINT("vcpu", 63, "which"),
		 {"from", CT_WORD, SET_PATHS, true, 0, "the path that it left"},
		 {"to", CT_WORD, SET_PATHS, true, 0, "the path that runs it now"},
		 TEXT("cause", 20, "asked, back, cannot, unsound, stalled or fail: a row of `engine/switch.c`"),
		 TEXT("why", 400, "the reason")}},
	[CE_STALLED] = {"stalled", "a vCPU does not leave guest code, and another one waits for it: told again as long as it lasts",
		{UINT("vcpu", 63, "which"), TEXT("why", 400, "a sentence")}},
	[CE_DISK] = {"disk", "a disk has news: a request failed, or its storage daemon died, or another one goes on",
		{TEXT("why", 512, "a sentence")}},
	[CE_CLIENT_DROPPED] = {"client-dropped", "another client was disconnected", {TEXT("why", 400, "the reason")}},
	[CE_DROPPED] = {"dropped", "this client is disconnected: its last line", {TEXT("why", 400, "the reason")}},
	[CE_ENDED] = {"ended", "the machine has ended: the last event",
		{STATE_NOW,
		 {"outcome", CT_WORD, SET_OUTCOMES, true, 0, "how it ended"},
		 UINT("status", 255, "exit status of `steelyard run`"),
		 TEXT("text", 400, "a sentence, or empty")}},
};

const char *control_type_name(enum control_type t)
{
	static const char *const name[] = {"true or false", "number", "string", "word", "list of words", "object"};

	return (unsigned)t < ARRAY_LEN(name) ? name[t] : "?";
}

static const char *path_word(unsigned i)
{
	for (unsigned k = 0; k < PATH_COUNT; k++)
		if (exec_paths[k] && i-- == 0)
			return exec_paths[k]->name;
	return NULL;
}

const char *control_set_word(enum control_set set, unsigned i)
{
	static const char *const stop[] = {"power-button", "forced"};
	static const char *const outcome[] = {"poweroff", "debug-exit", "triple-fault", "reset",
					      "stopped",  "timeout",	"failed"};

	switch (set) {
	case SET_STATES:
		return i < CONTROL_STATES_COUNT ? control_states[i].word : NULL;
	case SET_PATHS:
		return path_word(i);
	case SET_EVENTS:
		return i < CE_COUNT ? control_events[i].name : NULL;
	case SET_STOP:
		return i < ARRAY_LEN(stop) ? stop[i] : NULL;
	case SET_OUTCOMES:
		return i < ARRAY_LEN(outcome) ? outcome[i] : NULL;
	case SET_NONE:
		break;
	}
	return NULL;
}

const char *control_set_what(enum control_set set)
{
	static const char *const what[] = {
		"", "a state", "a path of `run --help`", "an event", "power-button or forced", "an outcome of `run --json`"};

	return (unsigned)set < ARRAY_LEN(what) ? what[set] : "";
}

static bool in_set(enum control_set set, const char *word)
{
	const char *w;

	for (unsigned i = 0; (w = control_set_word(set, i)); i++)
		if (!strcmp(w, word))
			return true;
	return false;
}

/* "a, b or c" */
static void list_set(enum control_set set, char *out, size_t n)
{
	size_t at = 0;
	const char *w;

	out[0] = 0;
	for (unsigned i = 0; (w = control_set_word(set, i)) && at < n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%s",
				       !i ? "" : control_set_word(set, i + 1) ? ", " : " or ", w);
}

static bool check_word(const struct control_field *f, json_t *v, char *text, size_t n)
{
	char words[200];

	if (json_is_string(v) && in_set(f->set, json_string_value(v)))
		return true;
	list_set(f->set, words, sizeof(words));
	snprintf(text, n, "\"%s\" is one of: %s", f->name, words);
	return false;
}

static bool check_value(const struct control_field *f, json_t *v, char *text, size_t n)
{
	size_t i;
	json_t *w;

	switch (f->type) {
	case CT_BOOL:
		snprintf(text, n, "\"%s\" is true or false", f->name);
		return json_is_boolean(v);
	case CT_UINT:
		snprintf(text, n, "\"%s\" is a number from 0 to %" PRIu64, f->name, f->max);
		return json_is_integer(v) && json_integer_value(v) >= 0 && (uint64_t)json_integer_value(v) <= f->max;
	case CT_STRING:
		snprintf(text, n, "\"%s\" is a string of %" PRIu64 " bytes at most", f->name, f->max);
		return json_is_string(v) && json_string_length(v) <= f->max;
	case CT_WORD:
		return check_word(f, v, text, n);
	case CT_WORDS:
		snprintf(text, n, "\"%s\" is a list of words", f->name);
		if (!json_is_array(v) || (f->max && json_array_size(v) > f->max))
			return false;
		json_array_foreach(v, i, w)
			if (!check_word(f, w, text, n))
				return false;
		return true;
	case CT_OBJECT:
		snprintf(text, n, "\"%s\" is an object", f->name);
		return json_is_object(v);
	}
	return false;
}

static const struct control_field *field_find(const struct control_field *fields, const char *name)
{
	for (; fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

enum control_code control_check(const struct control_field *fields, json_t *obj, char *text, size_t n)
{
	const char *key;
	json_t *v;

	text[0] = 0;
	json_object_foreach(obj, key, v) {
		const struct control_field *f = field_find(fields, key);

		if (!f) {
			snprintf(text, n, "there is no argument \"%.40s\" here", key);
			return CONTROL_BAD_ARGUMENT;
		}
		if (!check_value(f, v, text, n))
			return CONTROL_BAD_ARGUMENT;
	}
	for (; fields->name; fields++) {
		if (!fields->required || json_object_get(obj, fields->name))
			continue;
		snprintf(text, n, "\"%s\" is missing: %s", fields->name, fields->what);
		return CONTROL_BAD_ARGUMENT;
	}
	text[0] = 0;
	return CONTROL_OK;
}

/* ---- the schema as JSON ---- */

static json_t *fields_json(const struct control_field *f)
{
	json_t *list = json_array();

	for (; f->name; f++) {
		json_t *o = json_pack("{s:s, s:s, s:b, s:s}", "name", f->name, "type", control_type_name(f->type),
				      "required", f->required, "what", f->what);
		const char *w;

		if (f->type == CT_UINT || f->type == CT_STRING)
			json_object_set_new(o, "max", json_integer((json_int_t)f->max));
		if (f->set != SET_NONE) {
			json_t *words = json_array();

			for (unsigned i = 0; (w = control_set_word(f->set, i)); i++)
				json_array_append_new(words, json_string(w));
			json_object_set_new(o, "words", words);
		}
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *verb_json(const struct control_verb *v)
{
	json_t *o = json_pack("{s:s, s:s, s:o, s:o}", "name", v->name, "what", v->what, "args", fields_json(v->arg),
			      "result", fields_json(v->result));
	json_t *states = json_array();

	for (unsigned s = 0; s < CONTROL_STATES_COUNT; s++)
		if (v->states & 1u << s)
			json_array_append_new(states, json_string(control_states[s].word));
	json_object_set_new(o, "states", states);
	return o;
}

json_t *control_schema_json(void)
{
	json_t *verbs = json_array(), *events = json_array(), *codes = json_array(), *states = json_array();

	for (unsigned i = 0; i < CV_COUNT; i++)
		json_array_append_new(verbs, verb_json(&control_verbs[i]));
	for (unsigned i = 0; i < CE_COUNT; i++)
		json_array_append_new(events, json_pack("{s:s, s:s, s:o}", "name", control_events[i].name, "what",
							control_events[i].what, "data",
							fields_json(control_events[i].data)));
	for (unsigned i = 0; i < CONTROL_CODES_COUNT; i++)
		json_array_append_new(codes, json_pack("{s:s, s:i, s:s}", "code", control_codes[i].word, "exit",
						       (int)control_codes[i].exit, "what", control_codes[i].what));
	for (unsigned i = 0; i < CONTROL_STATES_COUNT; i++)
		json_array_append_new(states, json_pack("{s:s, s:s}", "state", control_states[i].word, "what",
							control_states[i].what));
	return json_pack("{s:i, s:i, s:o, s:o, s:o, s:o}", "protocol", CONTROL_PROTOCOL, "line_bytes",
			 CONTROL_LINE_BYTES, "verbs", verbs, "events", events, "errors", codes, "states", states);
}
