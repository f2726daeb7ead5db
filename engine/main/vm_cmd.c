// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * steelyard vm: talks to running machines through their control sockets.
 *
 * Most verbs are rows of engine/control/control_schema.c: arguments that must be there follow the name, the others are options.
 * The rest is here: list asks everybody in the user's folder, events prints what comes, schema prints the protocol. Verbs
 * whose effect takes time (stop, switch) wait for it.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/control/control_path.h"
#include "engine/main/verbs.h"
#include "engine/main/vm_cmd.h"

#define ANSWER_MS 30000 /* a pause waits for vCPUs, everything else is quick */
#define LIST_MS 3000    /* for each machine */
#define STOP_MS 60000   /* a guest takes its time to power off */
#define TIMEOUT_MAX_S 1e6
#define SWITCH_LOOK_MS 10
#define SWITCH_WHY_MS 100

static const struct {
	enum control_exit status;
	const char *what;
} exits[] = {
#define X(name, value, what) {CONTROL_EXIT_##name, what},
	CONTROL_EXITS(X)
#undef X
};

static enum control_exit complain(enum control_exit ex, const char *text)
{
	if (ex != CONTROL_EXIT_OK)
		fprintf(stderr, "steelyard: %s\n", text);
	return ex;
}

static int timeout_or(const struct vm_cmd *cmd, int ms)
{
	return cmd->timeout_ms < 0 ? ms : cmd->timeout_ms;
}

static enum control_exit open_machine(struct vm_cmd *cmd)
{
	return complain(control_conn_open(&cmd->conn, cmd->name), cmd->conn.text);
}

/* ---- list ---- */

static json_t *one_of_list(const char *name)
{
	struct control_conn conn;
	json_t *ok = NULL;
	enum control_exit ex = control_conn_open(&conn, name);

	if (ex == CONTROL_EXIT_OK)
		ex = control_call(&conn, CV_STATUS, NULL, LIST_MS, &ok);
	/* What is not there any more, or was left behind by a dead process, is no machine. */
	if (ex != CONTROL_EXIT_OK && !conn.nobody)
		ok = json_pack("{s:s, s:s, s:s}", "name", name, "state", "unreachable", "why", conn.text);
	control_conn_close(&conn);
	return ok;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the sockets in dir, sorted; the caller frees. */
static char **names_in(const char *dir, size_t *count)
{
	char **names = NULL;
	size_t n = 0;
	struct dirent *d;
	DIR *f = opendir(dir);

	while (f && (d = readdir(f))) {
		size_t len = strlen(d->d_name);
		char **more;

		if (len <= 5 || strcmp(d->d_name + len - 5, ".sock"))
			continue;
		d->d_name[len - 5] = 0;
		if (!control_name_ok(d->d_name))
			continue;
		more = realloc(names, (n + 1) * sizeof(*names));
		if (!more)
			break;
		names = more;
		names[n] = strdup(d->d_name);
		n += names[n] != NULL;
	}
	if (f)
		closedir(f);
	if (n)
		qsort(names, n, sizeof(*names), by_name);
	*count = n;
	return names;
}

static enum control_exit vm_list(struct vm_cmd *cmd)
{
	char dir[CONTROL_PATH_BYTES];
	json_t *list = json_array(), *o;
	struct error e = {0};
	char **names = NULL;
	size_t n = 0, i;

	if (control_dir(dir, sizeof(dir), false, &e) == ST_OK) {
		names = names_in(dir, &n);
	} else if (e.status != ST_NOT_FOUND) {
		json_decref(list);
		return complain(e.status == ST_DENIED ? CONTROL_EXIT_DENIED : CONTROL_EXIT_FAILED, e.msg);
	}
	for (i = 0; i < n; i++) {
		o = one_of_list(names[i]);
		if (o)
			json_array_append_new(list, o);
		free(names[i]);
	}
	free(names);
	if (cmd->output == VM_OUT_JSON)
		vm_print_json(list, stdout);
	else if (cmd->output == VM_OUT_TABLE)
		vm_print_list(list, stdout);
	else
		json_array_foreach(list, i, o) puts(json_string_value(json_object_get(o, "name")));
	json_decref(list);
	return CONTROL_EXIT_OK;
}

/* ---- events ---- */

static json_t *event_words(const enum control_event_id *id, unsigned n)
{
	json_t *words = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(words, json_string(control_events[id[i]].name));
	return json_pack("{s:o}", "events", words);
}

static bool is_event(json_t *event, enum control_event_id id)
{
	const char *name = json_string_value(json_object_get(event, "event"));

	return name && !strcmp(name, control_events[id].name);
}

static enum control_exit vm_events(struct vm_cmd *cmd)
{
	enum control_exit ex = open_machine(cmd);
	json_t *ok = NULL, *event;
	bool last = false;

	if (ex != CONTROL_EXIT_OK)
		return ex;
	ex = control_call(&cmd->conn, CV_SUBSCRIBE, NULL, ANSWER_MS, &ok);
	json_decref(ok);
	while (ex == CONTROL_EXIT_OK && !last) {
		ex = control_next_event(&cmd->conn, cmd->timeout_ms, &event);
		if (ex != CONTROL_EXIT_OK)
			break;
		if (cmd->output == VM_OUT_JSON)
			vm_print_json(event, stdout);
		else
			vm_print_event(event, stdout);
		last = is_event(event, CE_ENDED);
		json_decref(event);
		if (fflush(stdout) != 0)
			return complain(CONTROL_EXIT_FAILED, "cannot write to stdout");
	}
	return complain(ex, cmd->conn.text);
}

static enum control_exit vm_schema(struct vm_cmd *cmd)
{
	json_t *o = control_schema_json();

	if (cmd->output == VM_OUT_JSON)
		vm_print_json(o, stdout);
	else
		vm_print_schema(stdout);
	json_decref(o);
	return CONTROL_EXIT_OK;
}

/* ---- verbs of the protocol ---- */

static enum control_exit show(struct vm_cmd *cmd, enum control_verb_id verb, json_t *ok)
{
	json_t *stats = json_object_get(ok, "stats");

	if (cmd->output == VM_OUT_JSON)
		vm_print_json(verb == CV_STATS && stats ? stats : ok, stdout);
	else if (verb == CV_SCREEN) /* as a person in front of it sees it */
		fputs(json_string_value(json_object_get(ok, "text")), stdout);
	else if (cmd->output == VM_OUT_TABLE)
		vm_print_fields(control_verbs[verb].result, ok, stdout);
	json_decref(ok);
	return CONTROL_EXIT_OK;
}

static enum control_exit vm_plain(struct vm_cmd *cmd, enum control_verb_id verb)
{
	enum control_exit ex = open_machine(cmd);
	json_t *ok = NULL;

	if (ex != CONTROL_EXIT_OK)
		return ex;
	ex = control_call(&cmd->conn, verb, json_incref(cmd->args), timeout_or(cmd, ANSWER_MS), &ok);
	return ex == CONTROL_EXIT_OK ? show(cmd, verb, ok) : complain(ex, cmd->conn.text);
}

/* Subscribes first, so that no end is missed. */
static enum control_exit subscribed(struct vm_cmd *cmd, const enum control_event_id *id, unsigned n)
{
	enum control_exit ex = open_machine(cmd);
	json_t *ok = NULL;

	if (ex != CONTROL_EXIT_OK)
		return ex;
	ex = complain(control_call(&cmd->conn, CV_SUBSCRIBE, event_words(id, n), ANSWER_MS, &ok), cmd->conn.text);
	json_decref(ok);
	return ex;
}

/* Waits for the end: stop is done when the machine is gone, with or without a last word. */
static enum control_exit vm_stop(struct vm_cmd *cmd)
{
	static const enum control_event_id wanted[] = {CE_ENDED};
	enum control_exit ex = subscribed(cmd, wanted, ARRAY_LEN(wanted));
	json_t *ok = NULL, *event = NULL;

	if (ex != CONTROL_EXIT_OK)
		return ex;
	ex = control_call(&cmd->conn, CV_STOP, json_incref(cmd->args), ANSWER_MS, &ok);
	if (ex == CONTROL_EXIT_UNREACHABLE && json_is_true(json_object_get(cmd->args, "force")))
		ex = CONTROL_EXIT_OK; /* it was gone before its reply was out */
	if (ex != CONTROL_EXIT_OK)
		return complain(ex, cmd->conn.text);
	ex = control_next_event(&cmd->conn, timeout_or(cmd, STOP_MS), &event);
	json_decref(event);
	if (ex == CONTROL_EXIT_TIMED_OUT) {
		json_decref(ok);
		return complain(
			ex, "the guest has heard the power button and has not ended yet: wait, or stop with --force");
	}
	return ok ? show(cmd, CV_STOP, ok) : CONTROL_EXIT_OK;
}

/* Are the vCPUs that were asked for (or all) on this path? */
static bool all_on(json_t *args, json_t *paths)
{
	const char *path = json_string_value(json_object_get(args, "path"));
	json_t *vcpu = json_object_get(args, "vcpu"), *w;
	size_t i;

	json_array_foreach(paths, i, w) if ((!vcpu || (size_t)json_integer_value(vcpu) == i) &&
					    strcmp(path, json_string_value(w))) return false;
	return true;
}

/* Does the event say why a vCPU that was asked for is not on the path, or not any more? */
static bool tells_why(struct vm_cmd *cmd, json_t *event)
{
	const char *path = json_string_value(json_object_get(cmd->args, "path"));
	json_t *data = json_object_get(event, "data"), *vcpu = json_object_get(cmd->args, "vcpu");
	const char *from = json_string_value(json_object_get(data, "from"));
	const char *to = json_string_value(json_object_get(data, "to"));

	if (!from || !to || !strcmp(to, path) || (vcpu && !json_equal(vcpu, json_object_get(data, "vcpu"))))
		return false;
	return !strcmp(from, to) || !strcmp(from, path);
}

/* They will not come: a path did not start or could not go on, or somebody has asked for another one meanwhile. The event that
 * says so may still be on its way. */
static enum control_exit vm_switch_refused(struct vm_cmd *cmd)
{
	const char *path = json_string_value(json_object_get(cmd->args, "path"));
	json_t *event, *data;
	char text[560];

	snprintf(text, sizeof(text), "not on %s: another path has been asked for since", path);
	while (control_next_event(&cmd->conn, SWITCH_WHY_MS, &event) == CONTROL_EXIT_OK) {
		data = json_object_get(event, "data");
		if (tells_why(cmd, event))
			snprintf(text, sizeof(text), "vCPU %d is not on %s but on %s: %.400s",
				 (int)json_integer_value(json_object_get(data, "vcpu")), path,
				 json_string_value(json_object_get(data, "to")), json_string_value(json_object_get(data, "why")));
		json_decref(event);
	}
	return complain(CONTROL_EXIT_FAILED, text);
}

/* Waits until the vCPUs have changed, or shall not any more; a paused machine changes when it goes on. */
static enum control_exit vm_switch(struct vm_cmd *cmd)
{
	static const enum control_event_id wanted[] = {CE_SWITCHED};
	enum control_exit ex = subscribed(cmd, wanted, ARRAY_LEN(wanted));
	int tries = timeout_or(cmd, ANSWER_MS) / SWITCH_LOOK_MS + 1;
	json_t *ok = NULL, *status = NULL;
	bool done = false, refused;

	if (ex == CONTROL_EXIT_OK)
		ex = complain(control_call(&cmd->conn, CV_SWITCH, json_incref(cmd->args), ANSWER_MS, &ok),
			      cmd->conn.text);
	while (ex == CONTROL_EXIT_OK && !done) {
		ex = complain(control_call(&cmd->conn, CV_STATUS, NULL, ANSWER_MS, &status), cmd->conn.text);
		if (ex != CONTROL_EXIT_OK)
			break;
		refused = !all_on(cmd->args, json_object_get(status, "wanted"));
		done = !refused && (all_on(cmd->args, json_object_get(status, "paths")) ||
				    !strcmp(json_string_value(json_object_get(status, "state")),
					    control_states[CONTROL_STATE_PAUSED].word));
		json_object_set(ok, "paths", json_object_get(status, "paths"));
		json_decref(status);
		if (refused)
			ex = vm_switch_refused(cmd);
		else if (!done && !tries--)
			ex = complain(CONTROL_EXIT_TIMED_OUT, "not all vCPUs have changed their path yet");
		else if (!done)
			nanosleep(&(struct timespec){.tv_nsec = SWITCH_LOOK_MS * 1000000L}, NULL);
	}
	if (ex == CONTROL_EXIT_OK)
		return show(cmd, CV_SWITCH, ok);
	json_decref(ok);
	return ex;
}

/* ---- the table and the options ---- */

struct vm_row {
	const char *name, *what;
	enum control_verb_id verb; /* CV_COUNT: a verb of this program alone */
	bool needs_name;
	enum control_exit (*fn)(struct vm_cmd *cmd); /* NULL: ask and show */
};

static const struct vm_row local_rows[] = {
	{"list", "the machines that run", CV_COUNT, false, vm_list},
	{"events", "print the machine's events until it ends", CV_COUNT, true, vm_events},
	{"schema", "print the protocol's tables", CV_COUNT, false, vm_schema},
};

/* Row i: the program's own verbs, then the protocol's. */
static bool row_at(unsigned i, struct vm_row *row)
{
	if (i < ARRAY_LEN(local_rows)) {
		*row = local_rows[i];
		return true;
	}
	i -= ARRAY_LEN(local_rows);
	for (unsigned v = 0; v < CV_COUNT; v++) {
		if (!control_verbs[v].cli || i--)
			continue;
		*row = (struct vm_row){control_verbs[v].name, control_verbs[v].what, (enum control_verb_id)v, true,
				       v == CV_STOP     ? vm_stop
				       : v == CV_SWITCH ? vm_switch
							: NULL};
		return true;
	}
	return false;
}

static const struct control_field *args_of(const struct vm_row *row)
{
	static const struct control_field none[1];

	return row->verb == CV_COUNT ? none : control_verbs[row->verb].arg;
}

static void synopsis(const struct vm_row *row, char *out, size_t n)
{
	int at = snprintf(out, n, "%s%s", row->name, row->needs_name ? " NAME" : "");

	for (const struct control_field *f = args_of(row); f->name; f++)
		at += f->required          ? snprintf(out + at, n - (size_t)at, " %s", f->name)
		      : f->type == CT_BOOL ? snprintf(out + at, n - (size_t)at, " [--%s]", f->name)
					   : snprintf(out + at, n - (size_t)at, " [--%s N]", f->name);
}

static void help(FILE *f)
{
	struct vm_row row;
	char text[128];

	fputs("Usage: steelyard vm VERB [NAME] [OPTION]...\n"
	      "Talks to machines that \"steelyard run --name NAME\" has started. NAME with a \"/\" is the path of a "
	      "socket.\n\n"
	      "Verbs:\n",
	      f);
	for (unsigned i = 0; row_at(i, &row); i++) {
		synopsis(&row, text, sizeof(text));
		fprintf(f, "  %-32s %s\n", text, row.what);
		for (const struct control_field *a = args_of(&row); a->name; a++)
			fprintf(f, "  %-32s   %s%s: %s\n", "", a->required ? "" : "--", a->name, a->what);
	}
	fputs("\nOptions:\n"
	      "  -o, --output FORMAT  table (default), json; list also knows name\n"
	      "  --timeout S          wait S seconds at most (default 30, stop 60; events has none)\n"
	      "  --help               this text\n"
	      "\nExit status:\n",
	      f);
	for (unsigned i = 0; i < ARRAY_LEN(exits); i++)
		fprintf(f, "  %d  %s\n", (int)exits[i].status, exits[i].what);
}

static int set_arg(struct vm_cmd *cmd, const struct control_field *f, const char *value)
{
	const struct control_field row[] = {*f, {0}};
	enum control_code code;
	char text[400], *end;
	unsigned long long n;
	json_t *alone;

	if (f->type == CT_UINT) {
		errno = 0;
		n = strtoull(value, &end, 10);
		if (*value < '0' || *value > '9' || *end || errno || n > f->max)
			return verb_usage("vm %s: %s is a number from 0 to %llu", cmd->verb, f->name,
					  (unsigned long long)f->max);
		json_object_set_new(cmd->args, f->name, json_integer((json_int_t)n));
		return EXIT_OK;
	}
	if (json_object_set_new(cmd->args, f->name, json_string(value)) != 0)
		return verb_usage("vm %s: %s is no text", cmd->verb, f->name);
	alone = json_pack("{s:s}", f->name, value);
	code = control_check(row, alone, text, sizeof(text));
	json_decref(alone);
	return code == CONTROL_OK ? EXIT_OK : verb_usage("vm %s: %s", cmd->verb, text);
}

static int set_output(struct vm_cmd *cmd, const char *word)
{
	static const char *const words[] = {[VM_OUT_TABLE] = "table", [VM_OUT_JSON] = "json", [VM_OUT_NAME] = "name"};

	for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(words[i], word))
			continue;
		cmd->output = (enum vm_output)i;
		return EXIT_OK;
	}
	return verb_usage("vm: -o %s: give table, json or name", word);
}

static int set_timeout(struct vm_cmd *cmd, const char *word)
{
	char *end;
	double s = strtod(word, &end);

	if (end == word || *end || !isfinite(s) || s <= 0 || s > TIMEOUT_MAX_S)
		return verb_usage("vm: --timeout %s: give seconds above 0", word);
	cmd->timeout_ms = (int)(s * 1e3) + 1;
	return EXIT_OK;
}

/* An option with or without its value; *used: how many words it took. */
static int take_option(struct vm_cmd *cmd, const struct vm_row *row, const char *word, const char *next, int *used)
{
	const struct control_field *f;

	*used = 2;
	for (f = args_of(row); f->name; f++)
		if (!f->required && !strncmp(word, "--", 2) && !strcmp(word + 2, f->name))
			break;
	if (f->name && f->type == CT_BOOL) {
		*used = 1;
		json_object_set_new(cmd->args, f->name, json_true());
		return EXIT_OK;
	}
	if (!f->name && strcmp(word, "-o") && strcmp(word, "--output") && strcmp(word, "--timeout"))
		return verb_usage("vm %s: unknown option %s (\"steelyard vm --help\" lists them)", cmd->verb, word);
	if (!next)
		return verb_usage("vm %s: %s needs a value", cmd->verb, word);
	if (f->name)
		return set_arg(cmd, f, next);
	return strcmp(word, "--timeout") ? set_output(cmd, next) : set_timeout(cmd, next);
}

static int parse(struct vm_cmd *cmd, const struct vm_row *row, int argc, char **argv)
{
	const struct control_field *f = args_of(row);
	int st = EXIT_OK, used;

	for (int i = 2; i < argc && st == EXIT_OK; i += used) {
		used = 1;
		if (argv[i][0] == '-' && argv[i][1]) {
			st = take_option(cmd, row, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used);
			continue;
		}
		while (f->name && !f->required)
			f++;
		if (row->needs_name && !cmd->name)
			cmd->name = argv[i];
		else if (f->name)
			st = set_arg(cmd, f++, argv[i]);
		else
			st = verb_usage("vm %s: what is \"%s\"?", cmd->verb, argv[i]);
	}
	while (f->name && !f->required)
		f++;
	if (st == EXIT_OK && row->needs_name && !cmd->name)
		st = verb_usage("vm %s: of which machine? \"steelyard vm list\" shows them", cmd->verb);
	if (st == EXIT_OK && f->name)
		st = verb_usage("vm %s %s: %s is missing: %s", cmd->verb, cmd->name, f->name, f->what);
	return st;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return argc > 1 && !strcmp(argv[1], "help");
}

int vm_main(int argc, char **argv)
{
	struct vm_cmd cmd = {.timeout_ms = -1, .conn = {.fd = -1}};
	struct vm_row row;
	unsigned i = 0;
	int st;

	if (wants_help(argc, argv)) {
		help(stdout);
		return EXIT_OK;
	}
	if (argc < 2)
		return verb_usage("vm: give a verb: \"steelyard vm --help\" lists them");
	while (row_at(i, &row) && strcmp(row.name, argv[1]))
		i++;
	if (!row_at(i, &row))
		return verb_usage("vm: unknown verb \"%s\": \"steelyard vm --help\" lists them", argv[1]);
	cmd.verb = row.name;
	cmd.args = json_object();
	st = parse(&cmd, &row, argc, argv);
	if (st == EXIT_OK)
		st = row.fn ? (int)row.fn(&cmd) : (int)vm_plain(&cmd, row.verb);
	control_conn_close(&cmd.conn);
	json_decref(cmd.args);
	return st;
}
