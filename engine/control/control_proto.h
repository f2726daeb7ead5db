/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of the control protocol: a request in, a reply or an event out. Nothing but bytes and JSON, so that tests and
 * the fuzzer need no socket.
 *
 *   {"id": 7, "do": "switch", "args": {"path": "interp"}}
 *   {"id": 7, "ok": {"paths": ["interp"]}}
 *   {"id": 8, "error": {"code": "wrong-state", "message": "..."}}
 *   {"event": "paused", "seq": 3, "guest_ns": 123, "data": {}}
 *
 * Threads: pure functions.
 */
#ifndef STEELYARD_CONTROL_PROTO_H
#define STEELYARD_CONTROL_PROTO_H

#include "engine/control/control_schema.h"

#define CONTROL_TEXT_BYTES 400

struct control_request {
	const struct control_verb *verb; /* NULL unless control_parse returned CONTROL_OK */
	json_t *id;			 /* NULL: none that could be read; the reply says null */
	json_t *args;			 /* an object, checked against the verb's row; NULL: none */
	json_t *root;			 /* owns the two */
	char text[CONTROL_TEXT_BYTES];	 /* why not */
};

/* One line without its newline. *rq is always to be released. */
enum control_code control_parse(const char *line, size_t n, struct control_request *rq);
void control_request_release(struct control_request *rq);

/* A line with its newline, for the caller to free; NULL when there is no memory. ok and data are consumed; NULL is an empty
 * object. id may be NULL. */
char *control_reply_ok(json_t *id, json_t *ok);
char *control_reply_error(json_t *id, enum control_code code, const char *text);
char *control_event_line(enum control_event_id id, uint64_t seq, uint64_t guest_ns, json_t *data);

/* A JSON string of bytes that may be no UTF-8 (a file's name): what cannot be shown becomes "?". */
json_t *control_text(const char *s);

#endif
