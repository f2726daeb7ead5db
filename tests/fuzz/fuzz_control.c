/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: requests of the control protocol. A line is a request whose every part has been checked, or it is refused
 * with a code of the table and one line of text; either way the reply is one line of JSON with the same id, and reading
 * what was accepted a second time, written as we write it, gives the same.
 */
#include <string.h>

#include "engine/control/control_proto.h"
#include "tests/fuzz/fuzz.h"

static void check_line(char *line, json_t *id, const char *what)
{
	size_t n = line ? strlen(line) : 0;
	json_t *o, *got;

	if (!n || strchr(line, '\n') != line + n - 1)
		FUZZ_FAIL("%s: no line", what);
	o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	got = json_object_get(o, "id");
	if (!o || !got || (id ? !json_equal(got, id) : !json_is_null(got)))
		FUZZ_FAIL("%s: no JSON with the request's id: %s", what, line);
	json_decref(o);
	free(line);
}

static void check_refused(const struct control_request *rq, enum control_code code)
{
	if ((unsigned)code >= CONTROL_CODES_COUNT || rq->verb || !rq->text[0] || strpbrk(rq->text, "\n\r"))
		FUZZ_FAIL("code %d without one line of text: '%s'", (int)code, rq->text);
	check_line(control_reply_error(rq->id, code, rq->text), rq->id, "error");
}

static void check_accepted(const struct control_request *rq)
{
	char text[CONTROL_TEXT_BYTES];
	struct control_request again;
	char *line = json_dumps(rq->root, JSON_COMPACT);

	if (!rq->verb || !rq->id || rq->text[0])
		FUZZ_FAIL("accepted without verb or id, or with a complaint: '%s'", rq->text);
	if (control_check(rq->verb->arg, rq->args, text, sizeof(text)) != CONTROL_OK)
		FUZZ_FAIL("accepted with bad arguments: %s", text);
	if (!line || control_parse(line, strlen(line), &again) != CONTROL_OK || again.verb != rq->verb ||
	    !json_equal(again.root, rq->root))
		FUZZ_FAIL("not the same again: %s", line);
	control_request_release(&again);
	free(line);
	check_line(control_reply_ok(rq->id, NULL), rq->id, "ok");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_request rq;
	enum control_code code;

	if (size >= CONTROL_LINE_BYTES || memchr(data, '\n', size))
		return 0; /* the server cuts lines */
	code = control_parse((const char *)data, size, &rq);
	if (code == CONTROL_OK)
		check_accepted(&rq);
	else
		check_refused(&rq, code);
	control_request_release(&rq);
	return 0;
}
