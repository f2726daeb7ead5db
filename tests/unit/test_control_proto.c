/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control protocol without a machine: the schema against itself, requests that are none, names and places of sockets.
 * What is legal comes from the tables; so do the things that are not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/check.h"
#include "tests/unit/control_test.h"

static char folder[] = "/tmp/steelyard-control-XXXXXX";

/* ---- the schema ---- */

static void check_fields_sane(const struct control_field *f, unsigned most)
{
	unsigned n = 0;

	for (; f->name; f++, n++) {
		CHECK(f->what && f->what[0] && !strchr(f->what, '|'));
		CHECK((f->type == CT_WORD || f->type == CT_WORDS) == (f->set != SET_NONE));
		CHECK((f->type == CT_UINT || f->type == CT_STRING) <= (f->max > 0));
		if (f->set != SET_NONE)
			CHECK(control_set_word(f->set, 0) && control_set_what(f->set)[0]);
	}
	CHECK(n < most); /* the row that ends them fits */
}

static void test_tables(void)
{
	json_t *o = control_schema_json();

	for (unsigned i = 0; i < CV_COUNT; i++) {
		CHECK(control_verbs[i].name && control_verbs[i].what && control_verbs[i].states);
		check_fields_sane(control_verbs[i].arg, CONTROL_MAX_ARGS);
		check_fields_sane(control_verbs[i].result, CONTROL_MAX_RESULTS);
		for (unsigned k = 0; k < i; k++)
			CHECK(strcmp(control_verbs[i].name, control_verbs[k].name));
	}
	for (unsigned i = 0; i < CE_COUNT; i++) {
		CHECK(control_events[i].name && control_events[i].what);
		check_fields_sane(control_events[i].data, CONTROL_MAX_DATA);
	}
	CHECK(json_array_size(json_object_get(o, "verbs")) == CV_COUNT);
	CHECK(json_array_size(json_object_get(o, "events")) == CE_COUNT);
	CHECK(json_array_size(json_object_get(o, "errors")) == CONTROL_CODES_COUNT);
	json_decref(o);
}

static enum control_code parse_code(const char *line)
{
	struct control_request rq;
	enum control_code code = control_parse(line, strlen(line), &rq);

	CHECK((code == CONTROL_OK) == (rq.verb != NULL));
	CHECK((code == CONTROL_OK) == !rq.text[0] && !strchr(rq.text, '\n'));
	control_request_release(&rq);
	return code;
}

/* Consumes args. */
static enum control_code ask(const struct control_verb *v, json_t *args)
{
	json_t *o = json_pack("{s:i, s:s, s:o}", "id", 1, "do", v->name, "args", args);
	char *line = json_dumps(o, JSON_COMPACT);
	enum control_code code = parse_code(line);

	free(line);
	json_decref(o);
	return code;
}

/* Every argument of every verb: right, of each wrong type, beyond its range, missing; and one too many. */
static void test_arguments(void)
{
	static const char *const strange[] = {
		"null", "true",      "-1",   "9223372036854775807", "1.5", "\"no such word\"", "[1]",
		"[[]]", "{\"a\":1}", "\"\"", "[\"no such word\"]"};

	for (unsigned i = 0; i < CV_COUNT; i++) {
		const struct control_verb *v = &control_verbs[i];
		json_t *args;

		CHECK(ask(v, good_args(v)) == CONTROL_OK);
		args = good_args(v);
		json_object_set_new(args, "surplus", json_true());
		CHECK(ask(v, args) == CONTROL_BAD_ARGUMENT);
		for (const struct control_field *f = v->arg; f->name; f++) {
			args = good_args(v);
			json_object_del(args, f->name);
			CHECK(ask(v, args) == (f->required ? CONTROL_BAD_ARGUMENT : CONTROL_OK));
			for (unsigned k = 0; k < ARRAY_LEN(strange); k++) {
				json_t *bad = json_loads(strange[k], JSON_DECODE_ANY, NULL);
				bool fits = (f->type == CT_BOOL && json_is_boolean(bad)) ||
					    (f->type == CT_OBJECT && json_is_object(bad)) ||
					    (f->type == CT_STRING && json_is_string(bad));

				args = good_args(v);
				json_object_set_new(args, f->name, bad);
				CHECK(ask(v, args) == (fits ? CONTROL_OK : CONTROL_BAD_ARGUMENT));
			}
		}
	}
}

static void test_parse(void)
{
	char deep[4096];
	struct control_request rq;
	char *line;

	for (unsigned i = 0; i < ARRAY_LEN(bad_lines); i++) {
		enum control_code code = control_parse(bad_lines[i].line, strlen(bad_lines[i].line), &rq);
		json_t *o;

		if (code != bad_lines[i].code)
			printf("%s\n", bad_lines[i].line);
		CHECK(code == bad_lines[i].code && !strpbrk(rq.text, "\r\n\033"));
		line = control_reply_error(rq.id, code, rq.text);
		o = json_loads(line, 0, NULL);
		CHECK(o && strchr(line, '\n') == line + strlen(line) - 1 &&
		      json_string_length(json_object_get(json_object_get(o, "error"), "message")));
		json_decref(o);
		free(line);
		control_request_release(&rq);
	}
	CHECK(parse_code("{\"id\":\"a\",\"do\":\"status\"}") == CONTROL_OK);
	CHECK(parse_code(" {\"args\":{},\"do\":\"status\",\"id\":-7} ") == CONTROL_OK);
	memset(deep, '[', sizeof(deep));
	CHECK(control_parse(deep, sizeof(deep), &rq) == CONTROL_BAD_REQUEST && strstr(rq.text, "nested"));
	control_request_release(&rq);
	/* a string full of brackets is no nesting */
	memcpy(deep, "{\"id\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\",\"do\":\"status\"}", 54);
	CHECK(control_parse(deep, 54, &rq) == CONTROL_OK);
	line = control_reply_ok(rq.id, NULL);
	CHECK(!strcmp(line, "{\"id\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\",\"ok\":{}}\n"));
	free(line);
	control_request_release(&rq);
}

/* ---- places ---- */

static void test_names(void)
{
	char path[CONTROL_PATH_BYTES], longest[CONTROL_NAME_BYTES + 2];
	struct error e = {0};

	memset(longest, 'a', sizeof(longest));
	longest[CONTROL_NAME_BYTES + 1] = 0;
	CHECK(!control_name_ok(longest));
	longest[CONTROL_NAME_BYTES] = 0;
	CHECK(control_name_ok(longest) && control_name_ok("a") && control_name_ok("web-1.lab_2"));
	CHECK(!control_name_ok("") && !control_name_ok(".x") && !control_name_ok("-x") && !control_name_ok("a b"));
	CHECK(!control_name_ok("../x") && !control_name_ok("a\n") && !control_name_ok("\xc3\xa4"));
	CHECK(control_path_of("a b", path, false, &e) == ST_INVALID);
	CHECK(control_path_of("./a b", path, false, &e) == ST_OK && !strcmp(path, "./a b"));
	setenv("XDG_RUNTIME_DIR", folder, 1);
	CHECK(control_path_of("m", path, false, &e) == ST_NOT_FOUND);
	CHECK(control_path_of("m", path, true, &e) == ST_OK && !strncmp(path, folder, strlen(folder)));
	CHECK(strstr(path, "/steelyard/m.sock"));
}

static void test_folder(void)
{
	char dir[128], other[128];
	struct error e = {0};

	snprintf(other, sizeof(other), "%s/steelyard", folder);
	CHECK(control_dir(dir, sizeof(dir), true, &e) == ST_OK && !strcmp(dir, other));
	chmod(dir, 0755);
	CHECK(control_dir(dir, sizeof(dir), true, &e) == ST_DENIED && strstr(e.msg, "0700"));
	rmdir(dir);
	CHECK(symlink("/tmp", dir) == 0);
	CHECK(control_dir(dir, sizeof(dir), true, &e) == ST_DENIED);
	unlink(dir);
	/* a runtime folder that is not ours, or none: the one in /tmp */
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	CHECK(control_dir(dir, sizeof(dir), false, &e) != ST_IO && !strncmp(dir, "/tmp/steelyard-", 15));
	setenv("XDG_RUNTIME_DIR", "/nowhere", 1);
	CHECK(control_dir(dir, sizeof(dir), false, &e) != ST_IO && !strncmp(dir, "/tmp/steelyard-", 15));
	setenv("XDG_RUNTIME_DIR", folder, 1);
}

static void socket_path(char *path, const char *name)
{
	snprintf(path, CONTROL_PATH_BYTES, "%s/%s.sock", folder, name);
}

static void test_claim(void)
{
	struct control_place a, b;
	char path[CONTROL_PATH_BYTES];
	struct error e = {0};
	struct stat st;
	FILE *f;

	socket_path(path, "claim");
	CHECK(control_claim(&a, path, &e) == ST_OK);
	CHECK(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
	/* somebody is there */
	CHECK(control_claim(&b, path, &e) == ST_BUSY && strstr(e.msg, "listens") && b.fd < 0);
	/* he dies without a word: his socket is replaced */
	close(a.fd);
	CHECK(control_claim(&b, path, &e) == ST_OK && b.ino != 0);
	/* and does not take ours away when he comes back */
	a.fd = dup(b.fd);
	control_release(&a);
	CHECK((a.ino == b.ino) == (access(path, F_OK) != 0));
	if (access(path, F_OK) == 0) {
		control_release(&b);
		CHECK(access(path, F_OK) != 0);
	} else {
		control_release(&b);
	}
	f = fopen(path, "w");
	fclose(f);
	CHECK(control_claim(&a, path, &e) == ST_INVALID && strstr(e.msg, "no socket") && access(path, F_OK) == 0);
	unlink(path);
	CHECK(control_claim(&a, "/nowhere/x.sock", &e) == ST_IO);
	CHECK(control_claim(&a, "", &e) == ST_INVALID);
}

int main(void)
{
	char dir[128];

	if (!mkdtemp(folder)) {
		perror(folder);
		return 1;
	}
	test_tables();
	test_arguments();
	test_parse();
	test_names();
	test_folder();
	test_claim();
	snprintf(dir, sizeof(dir), "%s/steelyard", folder);
	rmdir(dir);
	CHECK(rmdir(folder) == 0); /* nothing was left behind */
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
