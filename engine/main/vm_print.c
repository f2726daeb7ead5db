// SPDX-License-Identifier: GPL-2.0-or-later
/* What `steelyard vm` shows: results, lists and events for people, the protocol's tables as Markdown. */
#include <inttypes.h>
#include <string.h>

#include "engine/main/vm_cmd.h"

void vm_print_json(json_t *o, FILE *f)
{
	json_dumpf(o, f, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
	fputc('\n', f);
}

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), t = strlen(tail);

	return n > t && !strcmp(s + n - t, tail);
}

/* Times and sizes get a unit; everything else is as it is. */
static void print_value(const char *name, const json_t *v, FILE *f)
{
	size_t i;
	json_t *w;

	if (json_is_integer(v) && ends_with(name, "_ns"))
		fprintf(f, "%.3f s", (double)json_integer_value(v) / 1e9);
	else if (json_is_integer(v) && ends_with(name, "_bytes") && json_integer_value(v) % (1 << 20) == 0)
		fprintf(f, "%" JSON_INTEGER_FORMAT "M", json_integer_value(v) >> 20);
	else if (json_is_integer(v))
		fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		fprintf(f, "%.3f", json_real_value(v));
	else if (json_is_string(v))
		fputs(json_string_value(v), f);
	else if (json_is_array(v))
		json_array_foreach(v, i, w)
		{
			if (i)
				fputs(", ", f);
			print_value(name, w, f);
		}
	else
		json_dumpf(v, f, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* What is in an object is named after it, but for the two that are nothing but a list of names. */
static void print_line(const char *of, const char *name, json_t *v, FILE *f)
{
	const char *dot = *of ? "." : "", *key;
	char whole[120];
	json_t *inner;
	int n;

	n = snprintf(whole, sizeof(whole), "%s%s%s", of, dot, name);
	if (json_is_object(v)) {
		bool list = !strcmp(name, "stats") || !strcmp(name, "counters");

		json_object_foreach(v, key, inner) print_line(list ? of : whole, key, inner, f);
		return;
	}
	if (ends_with(name, "_ns") || ends_with(name, "_bytes"))
		n = (int)(strrchr(whole, '_') - whole);
	fprintf(f, "%.*s%*s ", n, whole, n < 18 ? 18 - n : 0, "");
	print_value(name, v, f);
	fputc('\n', f);
}

void vm_print_fields(const struct control_field *fields, json_t *o, FILE *f)
{
	for (; fields->name; fields++) {
		json_t *v = json_object_get(o, fields->name);

		if (v)
			print_line("", fields->name, v, f);
	}
}

static const char *text_of(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "-";
}

static uint64_t count_of(json_t *o, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(o, name));
}

void vm_print_list(json_t *list, FILE *f)
{
	size_t i, widest = 4;
	json_t *o;

	json_array_foreach(list, i, o) if (strlen(text_of(o, "name")) > widest) widest = strlen(text_of(o, "name"));
	fprintf(f, "%-*s  %-11s %-6s %5s %8s %10s %10s %8s\n", (int)widest, "NAME", "STATE", "PATH", "VCPUS", "MEMORY",
		"CPU", "UPTIME", "PID");
	json_array_foreach(list, i, o)
	{
		fprintf(f, "%-*s  %-11s ", (int)widest, text_of(o, "name"), text_of(o, "state"));
		if (json_object_get(o, "pid"))
			fprintf(f, "%-6s %5" PRIu64 " %7" PRIu64 "M %8.1f s %8.1f s %8" PRIu64 "\n", text_of(o, "path"),
				count_of(o, "vcpus"), count_of(o, "memory_bytes") >> 20,
				(double)count_of(o, "cpu_ns") / 1e9, (double)count_of(o, "uptime_ns") / 1e9,
				count_of(o, "pid"));
		else
			fprintf(f, "%s\n", text_of(o, "why"));
	}
}

void vm_print_event(json_t *event, FILE *f)
{
	const char *key;
	json_t *v;

	fprintf(f, "%12.3f s  %s", (double)count_of(event, "guest_ns") / 1e9, text_of(event, "event"));
	json_object_foreach(json_object_get(event, "data"), key, v)
	{
		fprintf(f, "  %s: ", key);
		print_value(key, v, f);
	}
	fputc('\n', f);
}

/* ---- the protocol ---- */

/* Words of a set that no build changes; paths differ by build, so their row in the page is what they are. */
static void print_type(const struct control_field *f, FILE *out)
{
	fprintf(out, "%s", control_type_name(f->type));
	if (f->set != SET_NONE)
		fprintf(out, ": %s", control_set_what(f->set));
}

static void print_fields_of(const char *head, const struct control_field *f, const char *kind, FILE *out)
{
	for (; f->name; f++) {
		fprintf(out, "| %s | %s | `%s`%s | ", head, kind, f->name, f->required ? "" : " (optional)");
		print_type(f, out);
		fprintf(out, " | %s |\n", f->what);
		head = "";
	}
}

static void print_states(unsigned states, FILE *out)
{
	const char *comma = "";

	for (unsigned s = 0; s < CONTROL_STATES_COUNT; s++) {
		if (!(states & 1u << s))
			continue;
		fprintf(out, "%s%s", comma, control_states[s].word);
		comma = ", ";
	}
}

void vm_print_schema(FILE *out)
{
	char head[64];

	fprintf(out,
		"Protocol %d. A request is at most %d bytes, its newline included; an id at most %d. At most %d "
		"clients.\n\n",
		CONTROL_PROTOCOL, CONTROL_LINE_BYTES, CONTROL_ID_BYTES, CONTROL_CLIENTS);
	fputs("| verb | what it does | in state |\n|---|---|---|\n", out);
	for (unsigned i = 0; i < CV_COUNT; i++) {
		fprintf(out, "| `%s` | %s | ", control_verbs[i].name, control_verbs[i].what);
		print_states(control_verbs[i].states, out);
		fputs(" |\n", out);
	}
	fputs("\n| verb | in | field | type | what |\n|---|---|---|---|---|\n", out);
	for (unsigned i = 0; i < CV_COUNT; i++) {
		snprintf(head, sizeof(head), "`%s`", control_verbs[i].name);
		print_fields_of(head, control_verbs[i].arg, "args", out);
		print_fields_of(control_verbs[i].arg[0].name ? "" : head, control_verbs[i].result, "ok", out);
	}
	fputs("\n| event | when |\n|---|---|\n", out);
	for (unsigned i = 0; i < CE_COUNT; i++)
		fprintf(out, "| `%s` | %s |\n", control_events[i].name, control_events[i].what);
	fputs("\n| event | in | field | type | what |\n|---|---|---|---|---|\n", out);
	for (unsigned i = 0; i < CE_COUNT; i++) {
		snprintf(head, sizeof(head), "`%s`", control_events[i].name);
		print_fields_of(head, control_events[i].data, "data", out);
	}
	fputs("\n| state | meaning |\n|---|---|\n", out);
	for (unsigned i = 0; i < CONTROL_STATES_COUNT; i++)
		fprintf(out, "| `%s` | %s |\n", control_states[i].word, control_states[i].what);
	fputs("\n| error | exit status of `steelyard vm` | when |\n|---|---|---|\n", out);
	for (unsigned i = 0; i < CONTROL_CODES_COUNT; i++)
		fprintf(out, "| `%s` | %d | %s |\n", control_codes[i].word, (int)control_codes[i].exit,
			control_codes[i].what);
}
