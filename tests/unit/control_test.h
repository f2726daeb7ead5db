/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the control protocol and of its server share: arguments that a row takes, lines that are no request. */
#ifndef STEELYARD_CONTROL_TEST_H
#define STEELYARD_CONTROL_TEST_H

#include <string.h>

#include "engine/control/control_path.h"
#include "engine/control/control_proto.h"

/* A value that the field takes. */
static inline json_t *good_value(const struct control_field *f)
{
	switch (f->type) {
	case CT_BOOL:
		return json_true();
	case CT_UINT:
		return json_integer((json_int_t)f->max);
	case CT_STRING:
		return json_string("x");
	case CT_WORD:
		return json_string(control_set_word(f->set, 0));
	case CT_WORDS:
		return json_pack("[s]", control_set_word(f->set, 0));
	case CT_OBJECT:
		return json_object();
	}
	return NULL;
}

static inline json_t *good_args(const struct control_verb *v)
{
	json_t *args = json_object();

	for (const struct control_field *f = v->arg; f->name; f++)
		json_object_set_new(args, f->name, good_value(f));
	return args;
}

static const struct {
	const char *line;
	enum control_code code;
} bad_lines[] = {
	{"", CONTROL_BAD_REQUEST},
	{"status", CONTROL_BAD_REQUEST},
	{"GET / HTTP/1.1", CONTROL_BAD_REQUEST},
	{"{", CONTROL_BAD_REQUEST},
	{"[]", CONTROL_BAD_REQUEST},
	{"null", CONTROL_BAD_REQUEST},
	{"{}", CONTROL_BAD_REQUEST},
	{"{\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":null,\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":1.5,\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":[],\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":99999999999999999999,\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":1e999,\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":\"0123456789012345678901234567890123456789012345678901234567890123x\",\"do\":\"status\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":1}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":1}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"status\",\"args\":[]}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"status\",\"args\":null}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"status\",\"also\":1}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"status\",\"a\\r\\n\\u001b[2J\":1}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"status\",\"do\":\"stop\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"status\"} {}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"sta\\u0000tus\"}", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"\xff\xfe\"}", CONTROL_BAD_REQUEST},
	{"\x7f" "ELF\x02\x01\x01", CONTROL_BAD_REQUEST},
	{"{\"id\":1,\"do\":\"\"}", CONTROL_UNKNOWN_VERB},
	{"{\"id\":1,\"do\":\"statuses\"}", CONTROL_UNKNOWN_VERB},
	{"{\"id\":1,\"do\":\"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3"
	 "\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xe2\x82\xac\"}", CONTROL_UNKNOWN_VERB},
	{"{\"id\":1,\"do\":\"switch\"}", CONTROL_BAD_ARGUMENT},
};

#endif
