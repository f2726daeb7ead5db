// SPDX-License-Identifier: GPL-2.0-or-later
/* A client of a control socket: lines out, lines in, replies told from events. */
#include "engine/control/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/control/control_path.h"

#define PIECE_BYTES 16384u
#define CONNECT_TRIES 50
#define CONNECT_NAP_NS 20000000L

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int left_ms(int64_t until)
{
	int64_t left = until - now_ms();

	return until < 0 ? -1 : left < 0 ? 0 : (int)left;
}

static enum control_exit failed_to_connect(struct control_conn *c, const char *name)
{
	c->nobody = errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED;
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
		snprintf(c->text, sizeof(c->text),
			 "there is no machine \"%.80s\": \"steelyard vm list\" shows those that run", name);
		return CONTROL_EXIT_NOT_FOUND;
	case EACCES:
	case EPERM:
		snprintf(c->text, sizeof(c->text), "machine \"%.80s\" is another user's", name);
		return CONTROL_EXIT_DENIED;
	case ECONNREFUSED:
		snprintf(c->text, sizeof(c->text), "machine \"%.80s\" has died and left its socket behind", name);
		return CONTROL_EXIT_UNREACHABLE;
	default:
		snprintf(c->text, sizeof(c->text), "cannot reach machine \"%.80s\": %s", name, strerror(errno));
		return CONTROL_EXIT_UNREACHABLE;
	}
}

static enum control_exit no_path(struct control_conn *c, const struct error *e)
{
	snprintf(c->text, sizeof(c->text), "%s", e->msg);
	switch (e->status) {
	case ST_INVALID:
		return CONTROL_EXIT_USAGE;
	case ST_NOT_FOUND:
		return CONTROL_EXIT_NOT_FOUND;
	case ST_DENIED:
		return CONTROL_EXIT_DENIED;
	default:
		return CONTROL_EXIT_FAILED;
	}
}

enum control_exit control_conn_open(struct control_conn *c, const char *name)
{
	char path[CONTROL_PATH_BYTES];
	struct error e = {0};

	*c = (struct control_conn){.fd = -1};
	if (control_path_of(name, path, false, &e) != ST_OK)
		return no_path(c, &e);
	for (unsigned i = 0; i < CONNECT_TRIES; i++) { /* EAGAIN: so many others are waiting to be accepted */
		c->fd = control_connect_fd(path);
		if (c->fd >= 0 || errno != EAGAIN)
			break;
		nanosleep(&(struct timespec){.tv_nsec = CONNECT_NAP_NS}, NULL);
	}
	if (c->fd < 0)
		return failed_to_connect(c, name);
	c->events = json_array();
	return CONTROL_EXIT_OK;
}

void control_conn_close(struct control_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	json_decref(c->events);
	free(c->buf);
	*c = (struct control_conn){.fd = -1};
}

static enum control_exit broken(struct control_conn *c, const char *text)
{
	snprintf(c->text, sizeof(c->text), "%s", text);
	return CONTROL_EXIT_UNREACHABLE;
}

static enum control_exit send_all(struct control_conn *c, const char *line, int64_t until)
{
	size_t n = strlen(line), done = 0;

	while (done < n) {
		ssize_t w = send(c->fd, line + done, n - done, MSG_NOSIGNAL);
		struct pollfd p = {.fd = c->fd, .events = POLLOUT};

		if (w > 0)
			done += (size_t)w;
		else if (w < 0 && errno != EAGAIN && errno != EINTR)
			return CONTROL_EXIT_OK; /* what the machine said before it hung up is read next */
		else if (left_ms(until) == 0 || poll(&p, 1, left_ms(until)) < 0)
			break;
	}
	if (done == n)
		return CONTROL_EXIT_OK;
	snprintf(c->text, sizeof(c->text), "the machine does not read its control socket");
	return CONTROL_EXIT_TIMED_OUT;
}

/* A whole line out of the buffer, as JSON: false when there is none yet. *line is NULL when it was no JSON. */
static bool take_line(struct control_conn *c, json_t **line)
{
	char *end = c->n ? memchr(c->buf, '\n', c->n) : NULL;
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - c->buf);
	*line = json_loadb(c->buf, n, 0, NULL);
	memmove(c->buf, end + 1, c->n - n - 1);
	c->n -= n + 1;
	return true;
}

static enum control_exit next_line(struct control_conn *c, int64_t until, json_t **line)
{
	while (!take_line(c, line)) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		char *more;
		ssize_t n;

		if (c->eof || c->n > CONTROL_REPLY_BYTES)
			return broken(c, c->eof ? "the machine has closed its control socket"
						: "what answers on the socket is no machine");
		if (poll(&p, 1, left_ms(until)) == 0) {
			snprintf(c->text, sizeof(c->text), "the machine has not answered in time");
			return CONTROL_EXIT_TIMED_OUT;
		}
		more = realloc(c->buf, c->n + PIECE_BYTES);
		if (!more)
			return broken(c, "out of memory");
		c->buf = more;
		n = recv(c->fd, c->buf + c->n, PIECE_BYTES, MSG_DONTWAIT);
		if (n > 0)
			c->n += (size_t)n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			c->eof = true;
	}
	return json_is_object(*line) ? CONTROL_EXIT_OK
				     : (json_decref(*line), broken(c, "what answers on the socket is no machine"));
}

static enum control_exit take_error(struct control_conn *c, json_t *error)
{
	const char *word = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));

	snprintf(c->text, sizeof(c->text), "%s", message ? message : "the machine refused");
	for (unsigned i = 0; word && i < CONTROL_CODES_COUNT; i++)
		if (!strcmp(control_codes[i].word, word))
			return control_codes[i].exit;
	return CONTROL_EXIT_FAILED;
}

static char *request_line(int id, enum control_verb_id verb, json_t *args)
{
	json_t *o = json_object();
	char *text, *line;
	size_t n;

	json_object_set_new(o, "id", json_integer(id));
	json_object_set_new(o, "do", json_string(control_verbs[verb].name));
	json_object_set_new(o, "args", args ? args : json_object());
	text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(o);
	n = text ? strlen(text) : 0;
	line = text ? realloc(text, n + 2) : NULL;
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + n, "\n", 2);
	return line;
}

enum control_exit control_call(struct control_conn *c, enum control_verb_id verb, json_t *args, int timeout_ms,
			       json_t **ok)
{
	int64_t until = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	char *line = request_line(++c->next_id, verb, args);
	enum control_exit ex;
	json_t *reply, *id;

	*ok = NULL;
	if (!line)
		return broken(c, "out of memory");
	ex = send_all(c, line, until);
	free(line);
	while (ex == CONTROL_EXIT_OK) {
		ex = next_line(c, until, &reply);
		if (ex != CONTROL_EXIT_OK)
			break;
		id = json_object_get(reply, "id");
		if (json_object_get(reply, "event")) {
			json_array_append(c->events, reply);
		} else if (json_is_null(id) || (json_is_integer(id) && json_integer_value(id) == c->next_id)) {
			*ok = json_incref(json_object_get(reply, "ok"));
			if (!*ok)
				ex = take_error(c, json_object_get(reply, "error"));
			json_decref(reply);
			break;
		}
		json_decref(reply);
	}
	return ex;
}

enum control_exit control_next_event(struct control_conn *c, int timeout_ms, json_t **event)
{
	int64_t until = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	enum control_exit ex;

	*event = json_incref(json_array_get(c->events, 0));
	if (*event) {
		json_array_remove(c->events, 0);
		return CONTROL_EXIT_OK;
	}
	for (;;) {
		ex = next_line(c, until, event);
		if (ex != CONTROL_EXIT_OK || json_object_get(*event, "event"))
			return ex;
		json_decref(*event);
	}
}
