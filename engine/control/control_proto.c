// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests are read strictly: one object, three keys, each of its type, nothing twice. A key that we do not know is an
 * error and not ignored, so that a client which hopes for a later protocol's argument learns that it is not heeded.
 */
#include "engine/control/control_proto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Requests need two levels; jansson's own limit lets a line of brackets recurse 2048 times. */
#define NESTING_MAX 16

json_t *control_text(const char *s)
{
	json_t *j = json_string(s);
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	j = json_string(copy ? copy : "");
	free(copy);
	return j;
}

/* How deep the brackets outside of strings go; a line that is no JSON may give any answer. */
static unsigned nesting(const char *line, size_t n)
{
	unsigned depth = 0, most = 0;
	bool in_string = false;

	for (size_t i = 0; i < n; i++) {
		char c = line[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			most = ++depth > most ? depth : most;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return most;
}

static bool id_ok(const json_t *id)
{
	return json_is_integer(id) || (json_is_string(id) && json_string_length(id) <= CONTROL_ID_BYTES);
}

static enum control_code refuse(struct control_request *rq, enum control_code code, const char *text)
{
	snprintf(rq->text, sizeof(rq->text), "%s", text);
	return code;
}

static enum control_code check_keys(struct control_request *rq)
{
	const char *key;
	json_t *v;

	json_object_foreach(rq->root, key, v)
	{
		if (!strcmp(key, "id") || !strcmp(key, "do") || !strcmp(key, "args"))
			continue;
		snprintf(rq->text, sizeof(rq->text), "a request has \"id\", \"do\" and \"args\", but no \"%.40s\"",
			 key);
		return CONTROL_BAD_REQUEST;
	}
	return CONTROL_OK;
}

static enum control_code find_verb(struct control_request *rq, const char *name, const struct control_verb **out)
{
	for (unsigned i = 0; i < CV_COUNT; i++) {
		if (strcmp(control_verbs[i].name, name))
			continue;
		*out = &control_verbs[i];
		return CONTROL_OK;
	}
	snprintf(rq->text, sizeof(rq->text), "there is no verb \"%.40s\"", name);
	return CONTROL_UNKNOWN_VERB;
}

/* A complaint may quote the request, and is shown on terminals: it stays one line that does nothing there. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static enum control_code parse(const char *line, size_t n, struct control_request *rq)
{
	const struct control_verb *verb;
	enum control_code code;
	json_error_t je;
	json_t *what;

	*rq = (struct control_request){0};
	if (nesting(line, n) > NESTING_MAX)
		return refuse(rq, CONTROL_BAD_REQUEST, "nested too deeply for a request");
	rq->root = json_loadb(line, n, JSON_REJECT_DUPLICATES, &je);
	if (!rq->root) {
		snprintf(rq->text, sizeof(rq->text), "no JSON: %.100s (column %d)", je.text, je.column);
		return CONTROL_BAD_REQUEST;
	}
	if (!json_is_object(rq->root))
		return refuse(rq, CONTROL_BAD_REQUEST, "a request is a JSON object on one line");
	rq->id = json_object_get(rq->root, "id");
	if (!id_ok(rq->id)) {
		rq->id = NULL;
		return refuse(rq, CONTROL_BAD_REQUEST,
			      "a request has an \"id\": a number, or a string of 64 bytes at most");
	}
	if ((code = check_keys(rq)) != CONTROL_OK)
		return code;
	what = json_object_get(rq->root, "do");
	if (!json_is_string(what))
		return refuse(rq, CONTROL_BAD_REQUEST, "\"do\" names a verb: a string");
	rq->args = json_object_get(rq->root, "args");
	if (rq->args && !json_is_object(rq->args))
		return refuse(rq, CONTROL_BAD_REQUEST, "\"args\" is an object");
	if ((code = find_verb(rq, json_string_value(what), &verb)) != CONTROL_OK)
		return code;
	code = control_check(verb->arg, rq->args, rq->text, sizeof(rq->text));
	if (code == CONTROL_OK)
		rq->verb = verb;
	return code;
}

enum control_code control_parse(const char *line, size_t n, struct control_request *rq)
{
	enum control_code code = parse(line, n, rq);

	make_printable(rq->text);
	return code;
}

void control_request_release(struct control_request *rq)
{
	json_decref(rq->root);
	*rq = (struct control_request){0};
}

/* Consumes o. */
static char *line_of(json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER), *line;
	size_t n;

	json_decref(o);
	if (!text)
		return NULL;
	n = strlen(text);
	line = realloc(text, n + 2);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + n, "\n", 2);
	return line;
}

static json_t *with_id(json_t *id)
{
	json_t *o = json_object();

	json_object_set_new(o, "id", id ? json_incref(id) : json_null());
	return o;
}

char *control_reply_ok(json_t *id, json_t *ok)
{
	json_t *o = with_id(id);

	json_object_set_new(o, "ok", ok ? ok : json_object());
	return line_of(o);
}

char *control_reply_error(json_t *id, enum control_code code, const char *text)
{
	json_t *o = with_id(id), *e = json_object();

	json_object_set_new(e, "code", json_string(control_codes[code].word));
	json_object_set_new(e, "message", control_text(text));
	json_object_set_new(o, "error", e);
	return line_of(o);
}

char *control_event_line(enum control_event_id id, uint64_t seq, uint64_t guest_ns, json_t *data)
{
	json_t *o = json_object();

	json_object_set_new(o, "event", json_string(control_events[id].name));
	json_object_set_new(o, "seq", json_integer((json_int_t)seq));
	json_object_set_new(o, "guest_ns", json_integer((json_int_t)guest_ns));
	json_object_set_new(o, "data", data ? data : json_object());
	return line_of(o);
}
