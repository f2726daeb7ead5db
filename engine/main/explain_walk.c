// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The page walk as a row of tables: CR3, an entry in each, the page and what is behind it. The machine looks (engine/walk.c), this
 * draws.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/control/control_client.h"
#include "engine/main/explain.h"

static void size_text(uint64_t bytes, char *out, size_t n)
{
	static const char unit[] = "KMGT";
	unsigned u = 0;

	for (bytes >>= 10; bytes >= 1024 && u < 3; u++)
		bytes >>= 10;
	snprintf(out, n, "%" PRIu64 " %ciB", bytes, unit[u]);
}

static void join(json_t *words, char *out, size_t n)
{
	size_t i, at = 0;
	json_t *w;

	out[0] = 0;
	json_array_foreach(words, i, w) if (json_is_string(w) && at < n) at +=
		(size_t)snprintf(out + at, n - at, "%s%s", at ? " " : "", json_string_value(w));
}

/* An entry in its table: the table's address, the index, the value and its flags. */
static bool draw_entry(struct explain *x, json_t *e, unsigned i, bool last, bool mapped)
{
	const char *level = json_string_value(json_object_get(e, "level"));
	json_t *index = json_object_get(e, "index"), *covers = json_object_get(e, "covers_bytes");
	uint64_t at, value;
	char flags[120], size[32];

	if (!level || !json_is_integer(index) || !json_is_integer(covers) || !explain_address(e, "at", &at) ||
	    !explain_address(e, "value", &value))
		return false;
	join(json_object_get(e, "flags"), flags, sizeof(flags));
	size_text((uint64_t)json_integer_value(covers), size, sizeof(size));
	fprintf(x->dot,
		"e%u [shape=plain, label=<<table border=\"0\" cellborder=\"1\" cellspacing=\"0\"><tr><td "
		"bgcolor=\"#eeeeee\"><b>",
		i);
	explain_html(x->dot, level);
	fprintf(x->dot,
		"</b>, one for each %s</td></tr><tr><td>entry %" JSON_INTEGER_FORMAT " at 0x%" PRIx64
		"</td></tr><tr><td bgcolor=\"%s\">0x%016" PRIx64 "<br/>",
		size, json_integer_value(index), at,
		explain_kinds[last && !mapped ? EXPLAIN_EXIT
			      : last          ? EXPLAIN_COPIED
					      : EXPLAIN_CHECK]
			.colour,
		value);
	explain_html(x->dot, *flags ? flags : "no flag");
	fprintf(x->dot, "</td></tr></table>>];\n");
	fprintf(x->text, "%-6s [%3" JSON_INTEGER_FORMAT "] at 0x%-12" PRIx64 " = 0x%016" PRIx64 "  %s\n", level,
		json_integer_value(index), at, value, *flags ? flags : "no flag");
	return true;
}

static const char *yes(const json_t *w, const char *field, const char *word)
{
	return json_is_true(json_object_get(w, field)) ? word : "";
}

static bool draw_page(struct explain *x, const json_t *w, uint64_t linear)
{
	json_t *bytes = json_object_get(w, "page_bytes");
	const char *memory = json_string_value(json_object_get(w, "memory"));
	uint64_t physical, page;
	char size[32], rights[64];

	if (!json_is_integer(bytes) || json_integer_value(bytes) < 4096 || !memory ||
	    !explain_address(w, "physical", &physical))
		return false;
	page = (uint64_t)json_integer_value(bytes);
	size_text(page, size, sizeof(size));
	snprintf(rights, sizeof(rights), "read%s%s%s", yes(w, "write", ", write"), yes(w, "execute", ", execute"),
		 *yes(w, "user", "x") ? ", for ring 3 too" : ", not for ring 3");
	fprintf(x->dot,
		"page [shape=plain, label=<<table border=\"0\" cellborder=\"1\" cellspacing=\"0\"><tr><td "
		"bgcolor=\"%s\"><b>page of %s</b></td></tr>"
		"<tr><td>physical 0x%" PRIx64 " + offset 0x%" PRIx64 "<br/>= 0x%" PRIx64
		"</td></tr><tr><td>%s</td></tr></table>>];\n",
		explain_kinds[EXPLAIN_COPIED].colour, size, physical - (linear & (page - 1)), linear & (page - 1),
		physical, rights);
	fprintf(x->dot, "memory [shape=cylinder, fillcolor=\"%s\", label=\"",
		explain_kinds[!strcmp(memory, "RAM") || !strcmp(memory, "ROM") ? EXPLAIN_COPIED : EXPLAIN_HELPER]
			.colour);
	explain_quoted(x->dot, memory);
	fprintf(x->dot, "\"];\npage -> memory;\n");
	fprintf(x->text, "physical 0x%" PRIx64 " in a page of %s: %s; there is %s\n", physical, size, rights, memory);
	return true;
}

static enum status draw_walk(struct explain *x, const json_t *w, const char *from)
{
	const char *mode = json_string_value(json_object_get(w, "mode")),
		   *why = json_string_value(json_object_get(w, "why"));
	json_t *entries = json_object_get(w, "entries"), *e;
	bool mapped = json_is_true(json_object_get(w, "mapped"));
	size_t n = json_array_size(entries), i;
	uint64_t linear, cr3;

	if (!mode || !json_is_array(entries) || n > 5 || !explain_address(w, "linear", &linear) ||
	    !explain_address(w, "cr3", &cr3))
		return error_set(&x->e, ST_BAD_FILE, "%s is not what \"steelyard vm walk NAME ADDRESS -o json\" writes",
				 from);
	explain_begin(x, "walk", "LR");
	fprintf(x->dot, "label=\"page walk of 0x%" PRIx64 ", paging %s\"; labelloc=\"t\";\n", linear, mode);
	fprintf(x->dot, "cr3 [label=\"CR3\\n0x%" PRIx64 "\"];\n", cr3);
	fprintf(x->text, "linear 0x%" PRIx64 ", paging %s, CR3 0x%" PRIx64 "\n", linear, mode, cr3);
	json_array_foreach(entries, i, e) if (!draw_entry(x, e, (unsigned)i, i + 1 == n, mapped)) return error_set(
		&x->e, ST_BAD_FILE, "%s: entry %zu of the walk cannot be read", from, i);
	if (mapped && !draw_page(x, w, linear))
		return error_set(&x->e, ST_BAD_FILE, "%s: the page of the walk cannot be read", from);
	if (!mapped) {
		fprintf(x->dot, "page [fillcolor=\"%s\", label=\"page fault: ", explain_kinds[EXPLAIN_EXIT].colour);
		explain_quoted(x->dot, why ? why : "not mapped");
		fprintf(x->dot, "\"];\n");
		fprintf(x->text, "not mapped: %s\n", why ? why : "no reason given");
	}
	fprintf(x->dot, n ? "cr3 -> e0;\n" : "cr3 -> page [label=\"no tables\"];\n");
	for (i = 0; i + 1 < n; i++)
		fprintf(x->dot, "e%zu -> e%zu;\n", i, i + 1);
	if (n)
		fprintf(x->dot, "e%zu -> page;\n", n - 1);
	fprintf(x->dot,
		"legend [shape=plain, label=<<table border=\"0\" cellborder=\"1\" cellspacing=\"0\">"
		"<tr><td align=\"left\" bgcolor=\"%s\">an entry that leads to a table</td></tr>"
		"<tr><td align=\"left\" bgcolor=\"%s\">an entry that maps, and memory</td></tr>"
		"<tr><td align=\"left\" bgcolor=\"%s\">a device: every access leaves guest code</td></tr>"
		"<tr><td align=\"left\" bgcolor=\"%s\">where the walk ends in a fault</td></tr></table>>];\n}\n",
		explain_kinds[EXPLAIN_CHECK].colour, explain_kinds[EXPLAIN_COPIED].colour,
		explain_kinds[EXPLAIN_HELPER].colour, explain_kinds[EXPLAIN_EXIT].colour);
	return ST_OK;
}

static enum status ask(struct explain *x, const char *name, const char *address, json_t **ok)
{
	struct control_conn conn = {.fd = -1};
	enum control_exit ex = control_conn_open(&conn, name);

	if (ex == CONTROL_EXIT_OK)
		ex = control_call(&conn, CV_WALK, json_pack("{s:s, s:i}", "address", address, "vcpu", x->vcpu),
				  x->timeout_ms, ok);
	if (ex != CONTROL_EXIT_OK)
		error_set(&x->e, ex == CONTROL_EXIT_USAGE ? ST_INVALID : ST_NOT_FOUND, "%s", conn.text);
	control_conn_close(&conn);
	return x->e.status;
}

enum status explain_walk(struct explain *x, const char *name, const char *address)
{
	json_t *o = NULL, *w;
	enum status st;

	if (!address) {
		o = explain_load(x, name);
		if (!o)
			return x->e.status;
	} else if (ask(x, name, address, &o) != ST_OK) {
		return x->e.status;
	}
	w = json_object_get(o, "walk");
	st = draw_walk(x, w ? w : o, name);
	json_decref(o);
	return st;
}
