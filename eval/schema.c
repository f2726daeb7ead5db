// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tables of results.jsonl, and the one function that checks an object against rows.
 *
 * A record says what was seen, never what follows from it: ratios, intervals and verdicts are computed again from the records
 * (eval report). A field that is not in a row is an error, so that a misspelt one is found by the test that writes it, not by
 * the reader who misses it.
 */
#include "eval/schema.h"

#include <inttypes.h>
#include <string.h>

#include "engine/status.h"
#include "eval/suites.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define FIELDS(...) ((const struct schema_field[]){__VA_ARGS__, {0}})
#define F(name, type, need, unit, what)                                          \
	{                                                                        \
		name, SCHEMA_##type, SCHEMA_##need, unit, what, NULL, NULL, NULL \
	}
#define FW(name, type, need, words, what)                                       \
	{                                                                       \
		name, SCHEMA_##type, SCHEMA_##need, "", what, words, NULL, NULL \
	}
#define FO(name, type, need, sub, what)                                       \
	{                                                                     \
		name, SCHEMA_##type, SCHEMA_##need, "", what, NULL, sub, #sub \
	}

static const char *const phase_words[] = {"boot", "cold", "steady", NULL};
static const char *const pass_words[] = {"0", "1", "slow", "inject", "reference", NULL};
static const char *const flag_words[] = {"pilot", "unquiet", "clock", "again", "late", "unlike", NULL};
static const char *const event_words[] = {"waited",  "unquiet",   "given-up",    "left-out", "interrupted",
					  "resumed", "submitted", "failed-task", NULL};

static const struct schema_field workload[] = {
	F("name", STRING, REQUIRED, "", "of `eval list`"),
	F("group", STRING, REQUIRED, "", "its group there"),
	F("scale", UINT, REQUIRED, "%", "how much of the full work"),
	F("slow_scale", UINT, REQUIRED, "%", "the same on slow paths"),
	F("iterations", UINT, OPTIONAL, "",
	  "executions in one machine, more than the spec's: a series that shows how the machine warms up"),
	{0},
};
static const struct schema_field spec_path[] = {
	F("name", STRING, REQUIRED, "", "of `eval list`"),
	F("cpus", UINT, REQUIRED, "", "virtual CPUs"),
	FW("peer", WORD, REQUIRED, eval_peer_words, "whose program runs the workloads"),
	F("slow", BOOL, OPTIONAL, "", "gets one block and the slow scale"),
	F("boot_only", BOOL, OPTIONAL, "", "is ended at the first line of init: boot records, no samples"),
	{0},
};
static const struct schema_field quiet[] = {
	F("max_load", REAL, REQUIRED, "",
	  "load of other processes above which an item waits, in CPUs that they keep busy"),
	F("max_steal", REAL, REQUIRED, "%", "time that the hypervisor gave to others, above which it waits"),
	F("wait_s", UINT, REQUIRED, "s",
	  "how long all items together may wait; then the run goes on and its records are flagged"),
	{0},
};
static const struct schema_field spec[] = {
	F("name", STRING, REQUIRED, "", "of the spec"),
	FO("workloads", OBJECTS, REQUIRED, workload, "what is run"),
	FO("paths", OBJECTS, REQUIRED, spec_path, "on what; native is always there"),
	F("blocks", UINT, REQUIRED, "", "blocks; with a pilot, the fewest"),
	F("blocks_max", UINT, REQUIRED, "", "the most that the pilot may ask for"),
	F("pilot_blocks", UINT, REQUIRED, "",
	  "blocks whose records are flagged `pilot` and only decide how many follow; 0: no pilot"),
	F("target", REAL, REQUIRED, "%", "half width of the interval that the pilot aims at"),
	F("together", UINT, REQUIRED, "", "workloads of one block that share a boot of a path"),
	F("machine", UINT, OPTIONAL, "", "blocks that have the machine micro-suite too: cost records"),
	F("iterations", UINT, REQUIRED, "",
	  "executions of a workload in one machine, and in one native pass: the first is cold, the others steady"),
	F("peer_blocks", UINT, OPTIONAL, "", "the first blocks only have QEMU's work; 0: all have it"),
	F("peer_iterations", UINT, OPTIONAL, "",
	  "executions of a workload in one machine of QEMU's; 0: as in the others"),
	F("inject", REAL, REQUIRED, "%",
	  "CPU time that the native pass `inject` spends more than its work took; 0: there is no such pass"),
	F("seed", UINT, REQUIRED, "", "of every order"),
	F("memory_mb", UINT, REQUIRED, "MiB", "memory of each guest"),
	FW("phases", WORDS, REQUIRED, phase_words, "what is looked at"),
	FO("quiet", OBJECT, REQUIRED, quiet, "when the host counts as quiet"),
	{0},
};
static const struct schema_field environment[] = {
	F("cpu", STRING, REQUIRED, "", "model name"),
	F("cpu_flags", STRING, REQUIRED, "", "as the kernel lists them"),
	F("microcode", STRING, REQUIRED, "", "its revision"),
	F("hypervisor", BOOL, REQUIRED, "", "the host is itself a guest"),
	F("kvm_module", STRING, REQUIRED, "", "the kernel's KVM modules; empty: none"),
	F("kernel", STRING, REQUIRED, "", "release and version"),
	F("mitigations", MAP_STRING, REQUIRED, "", "by vulnerability"),
	F("clocksource", STRING, REQUIRED, "", "of the kernel"),
	F("thp", STRING, REQUIRED, "", "transparent huge pages; the one in brackets holds"),
	F("governor", STRING, REQUIRED, "", "of CPU 0; empty: the kernel shows none"),
	F("ncpus", UINT, REQUIRED, "", "CPUs that may be used"),
	F("memory_kb", UINT, REQUIRED, "KiB", "memory of the host"),
	F("load", REAL, REQUIRED, "", "of the last minute, before the run"),
	F("packages", MAP_STRING, REQUIRED, "", "version by Debian package or program"),
	F("hashes", MAP_STRING, REQUIRED, "", "SHA-256 of the program, the kernel, the RAM disk, the workloads"),
	F("guest_files", STRINGS, REQUIRED, "", "lines of the guest files' MANIFEST"),
	F("git_commit", STRING, NULLABLE, "", "of the sources; null: the build did not know one"),
	F("compiler", STRING, REQUIRED, "", "that built the program"),
	F("cflags", STRING, REQUIRED, "", "with these"),
	{0},
};
static const struct schema_field probe[] = {
	F("verdict", STRING, REQUIRED, "", "on this host's KVM: native, partial, unusable"),
	F("vendor", STRING, REQUIRED, "", "VT-x, AMD-V, software or none"),
	F("reason", STRING, REQUIRED, "", "in a sentence"),
	F("auto", STRING, REQUIRED, "", "the path that `--path auto` takes, and why"),
	F("modes", MAP_STRING, REQUIRED, "", "verdict by mode of the processor"),
	F("failed", STRINGS, REQUIRED, "", "conformance items that fail"),
	F("late", STRINGS, OPTIONAL, "", "what there was no time to measure"),
	F("quick", BOOL, REQUIRED, "", "measured shortly"),
	{0},
};
static const struct schema_field threads[] = {
	F("vcpu_ns", UINT, REQUIRED, "ns", "CPU time of the vCPU threads"),
	F("io_ns", UINT, REQUIRED, "ns", "of the threads that serve devices"),
	F("other_ns", UINT, REQUIRED, "ns", "of all others"),
	{0},
};
static const struct schema_field split[] = {
	F("start_ns", UINT, OPTIONAL, "ns", "host clock from exec to the machine's start"),
	F("kernel_ns", UINT, OPTIONAL, "ns", "from there to the first process"),
	F("init_ns", UINT, OPTIONAL, "ns",
	  "from there to the first workload, with a pause of 0.1 s in which the observer looks at the memory"),
	{0},
};
static const struct schema_field kvm_exit[] = {
	F("count", UINT, REQUIRED, "", "times"),
	F("ns", UINT, REQUIRED, "ns", "host time until the vCPU was back inside, together"),
	{0},
};

static const struct schema_field common[] = {
	F("schema", UINT, REQUIRED, "", "2"),
	F("run", STRING, REQUIRED, "", "the run's id, the same in every record of a folder"),
	F("type", STRING, REQUIRED, "", "a heading of this page"),
	F("seq", UINT, REQUIRED, "", "0, 1, 2, ... in the order of the file"),
	{0},
};

static const struct schema_record records[] = {
	{"run", "The first record: what was asked, and where",
	 FIELDS(FO("spec", OBJECT, REQUIRED, spec, "what was asked, complete"),
		F("command", STRING, REQUIRED, "", "the command that repeats it"),
		F("started", TIME, REQUIRED, "", "when"),
		FO("environment", OBJECT, REQUIRED, environment, "the host and the build"),
		FO("probe", OBJECT, NULLABLE, probe, "what `steelyard probe` measured; null: nothing"),
		F("launcher", STRING, OPTIONAL, "", "of a sweep: who starts its tasks"),
		F("launcher_args", STRING, OPTIONAL, "", "of a sweep: what else the launcher was told"),
		F("block", BLOCK, OPTIONAL, "", "of a part of a sweep: the block that it is"),
		F("node", STRING, OPTIONAL, "", "of a part of a sweep: the name of its host"))},
	{"part", "Of a sweep: a block that a task of its own measured. Its records follow",
	 FIELDS(F("block", BLOCK, REQUIRED, "", "which"),
		F("records", UINT, REQUIRED, "", "so many of the next records are its own"),
		F("node", STRING, REQUIRED, "", "the name of its host"),
		F("part_run", STRING, REQUIRED, "", "the run id that the part had"),
		F("started", TIME, REQUIRED, "", "when"),
		FO("environment", OBJECT, REQUIRED, environment, "that host and the build"),
		FO("probe", OBJECT, NULLABLE, probe, "what `steelyard probe` measured there; null: nothing"),
		F("unlike", STRING, OPTIONAL, "",
		  "how that host differs from the one of the first part; the records then have the flag `unlike`"))},
	{"plan", "How many blocks are run, and why so many. A run with a pilot has one for it before this one",
	 FIELDS(F("pilot", BOOL, REQUIRED, "", "of the pilot"), F("blocks", UINT, REQUIRED, "", "blocks"),
		F("items", UINT, REQUIRED, "", "boots and native passes in them"),
		F("first", UINT, REQUIRED, "", "`order` of its first item"),
		F("why", STRING, REQUIRED, "", "the reason for the number"))},
	{"boot", "One start of a machine",
	 FIELDS(F("block", BLOCK, REQUIRED, "", "which"), F("path", STRING, REQUIRED, "", "name of a path"),
		F("cpus", UINT, REQUIRED, "", "virtual CPUs"), F("order", UINT, REQUIRED, "", "item of the plan"),
		F("ok", BOOL, REQUIRED, "", "the first line of init was seen"),
		F("why", STRING, OPTIONAL, "", "what went wrong, also behind that line"),
		F("status", UINT, REQUIRED, "", "exit status; 128 + signal"),
		F("wall_ns", UINT, NULLABLE, "ns", "host clock from exec to the first line of init"),
		F("cpu_ns", UINT, NULLABLE, "ns", "CPU time of the whole process until then"),
		F("ram_kb", UINT, OPTIONAL, "KiB", "resident then: guest RAM that was touched"),
		F("over_ram_kb", UINT, OPTIONAL, "KiB", "resident then: everything else"),
		FO("split", OBJECT, OPTIONAL, split, "the parts of the way"),
		FO("threads", OBJECT, OPTIONAL, threads, "cpu_ns by kinds of threads, where the machine says it"),
		F("counters", MAP_UINT, OPTIONAL, "", "of README.md, from power-on to that line"),
		FW("flags", WORDS, OPTIONAL, flag_words, "see sample"))},
	{"sample", "One workload once",
	 FIELDS(F("block", BLOCK, REQUIRED, "", "which"),
		F("path", STRING, REQUIRED, "", "name of a path, or `native`"),
		FW("pass", WORD, OPTIONAL, pass_words,
		   "of `native`: 0 and 1 are the same twice (the control), `slow` does what slow paths do, `inject` "
		   "does more, `reference` gave the "
		   "checksum that is right and has no say in ratios"),
		F("cpus", UINT, REQUIRED, "", "CPUs it had"), F("workload", STRING, REQUIRED, "", "its name"),
		F("group", STRING, REQUIRED, "", "its group"),
		F("scale", UINT, REQUIRED, "%", "how much of the full work"),
		FW("phase", WORD, REQUIRED, WORDS("cold", "steady"), "cold: the first execution in this machine"),
		F("iteration", UINT, REQUIRED, "", "0, 1, ... in this machine"),
		F("order", UINT, REQUIRED, "", "item of the plan"),
		F("ok", BOOL, REQUIRED, "", "it ended and gave a checksum"),
		F("why", STRING, OPTIONAL, "", "when not ok or not valid"),
		F("timed", BOOL, REQUIRED, "", "the host's clock could tell its beginning from its end"),
		F("checksum", STRING, NULLABLE, "", "16 hexadecimal digits"),
		F("valid", BOOL, REQUIRED, "", "ok, and the checksum is the native one"),
		F("wall_ns", UINT, NULLABLE, "ns", "host clock between the markers; null when not timed"),
		F("cpu_ns", UINT, NULLABLE, "ns", "CPU time of all threads of the process between them"),
		FO("threads", OBJECT, OPTIONAL, threads, "cpu_ns by kinds of threads, where the machine says it"),
		F("sys_ns", UINT, OPTIONAL, "ns",
		  "of `native`: what of cpu_ns was spent in the kernel, by its accounting"),
		F("guest_wall_ns", UINT, OPTIONAL, "ns", "by the guest's own clock: a cross-check"),
		F("repeat", UINT, REQUIRED, "",
		  "the work was done so many times between the markers, and times are divided by it; "
		  "`inject` is not in it"),
		FW("flags", WORDS, OPTIONAL, flag_words,
		   "`pilot`: has no say in ratios; `unquiet`: the host was not quiet; `clock`: guest and host clock "
		   "differ by more than 0.5 % and 1 ms; "
		   "`again`: in a second machine, because the first one died; `late`: written by `resume`; "
		   "`unlike`: of a sweep, on a host that is not like that of its first part"),
		F("counters", MAP_UINT, OPTIONAL, "", "of README.md, between the markers"),
		FO("exits", MAP_OBJECT, OPTIONAL, kvm_exit, "KVM's exits by name, between the markers"))},
	{"cost", "One item of the machine micro suite on one path",
	 FIELDS(F("block", BLOCK, REQUIRED, "", "which"),
		F("path", STRING, REQUIRED, "", "name of a path, or `native`"),
		F("cpus", UINT, OPTIONAL, "", "virtual CPUs"), F("order", UINT, OPTIONAL, "", "item of the plan"),
		F("item", STRING, REQUIRED, "", "what was done"),
		FW("unit", WORD, REQUIRED, WORDS("ns", "cpu_ns"), "host time for one operation, or CPU time"),
		F("n", UINT, REQUIRED, "", "samples"), F("batch", UINT, REQUIRED, "", "operations in a sample"),
		F("ok", BOOL, REQUIRED, "", "it could be measured"), F("why", STRING, OPTIONAL, "", "when not"),
		F("p50", REAL, OPTIONAL, "unit", "median"), F("p95", REAL, OPTIONAL, "unit", ""),
		F("p99", REAL, OPTIONAL, "unit", ""), F("min", REAL, OPTIONAL, "unit", ""),
		F("mean", REAL, OPTIONAL, "unit", ""), F("values", REALS, OPTIONAL, "unit", "at most 64 of them"),
		FW("flags", WORDS, OPTIONAL, flag_words, "see sample"))},
	{"event", "Something that happened to the run",
	 FIELDS(FW("what", WORD, REQUIRED, event_words,
		   "`waited` for the host to be quiet; `unquiet`: it would not be; `given-up`: a path, or a workload "
		   "on it, will not be tried again; `left-out`: a workload that the path cannot run on any host; "
		   "`interrupted` by a signal; `resumed`; `submitted`: tasks of a sweep; `failed-task`: one of them "
		   "ended without its block"),
		F("at", TIME, REQUIRED, "", "when"), F("why", STRING, REQUIRED, "", "in a sentence"),
		F("order", UINT, OPTIONAL, "", "item of the plan"), F("path", STRING, OPTIONAL, "", "which"),
		F("cpus", UINT, OPTIONAL, "", "virtual CPUs"), F("workload", STRING, OPTIONAL, "", "which"),
		F("block", BLOCK, OPTIONAL, "", "which"),
		F("job", STRING, OPTIONAL, "", "the launcher's name for the tasks"),
		F("wall_ns", UINT, OPTIONAL, "ns", "how long"))},
	{"end", "The last record of a run that was not killed",
	 FIELDS(F("finished", TIME, REQUIRED, "", "when"), F("load_after", REAL, REQUIRED, "", "of the last minute"),
		F("complete", BOOL, REQUIRED, "", "every item of the plan has its records"))},
};

const struct schema_record *schema_record_at(unsigned i)
{
	return i < ARRAY_LEN(records) ? &records[i] : NULL;
}

const struct schema_record *schema_record_find(const char *type)
{
	for (unsigned i = 0; type && i < ARRAY_LEN(records); i++)
		if (!strcmp(records[i].type, type))
			return &records[i];
	return NULL;
}

const struct schema_field *schema_common(void)
{
	return common;
}

const struct schema_field *schema_spec(void)
{
	return spec;
}

/* ---- the check ---- */

_Static_assert(SCHEMA_BLOCKS_MAX == 1000, "type_name() says it in words");

static const char *type_name(enum schema_type t)
{
	static const char *const name[] = {
		[SCHEMA_BOOL] = "true or false",
		[SCHEMA_UINT] = "whole number",
		[SCHEMA_BLOCK] = "whole number below 1000",
		[SCHEMA_REAL] = "number",
		[SCHEMA_STRING] = "string",
		[SCHEMA_TIME] = "time",
		[SCHEMA_WORD] = "word",
		[SCHEMA_WORDS] = "list of words",
		[SCHEMA_STRINGS] = "list of strings",
		[SCHEMA_REALS] = "list of numbers",
		[SCHEMA_OBJECT] = "object",
		[SCHEMA_OBJECTS] = "list of objects",
		[SCHEMA_MAP_STRING] = "strings by name",
		[SCHEMA_MAP_UINT] = "whole numbers by name",
		[SCHEMA_MAP_OBJECT] = "objects by name",
	};

	return (unsigned)t < ARRAY_LEN(name) ? name[t] : "?";
}

static bool is_word(const struct schema_field *f, json_t *v)
{
	for (const char *const *w = f->words; json_is_string(v) && *w; w++)
		if (!strcmp(*w, json_string_value(v)))
			return true;
	return false;
}

static bool is_uint(json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 0;
}

static bool is_block(json_t *v)
{
	return is_uint(v) && json_integer_value(v) < SCHEMA_BLOCKS_MAX;
}

/* 2026-11-22T18:55:43Z */
static bool is_time(json_t *v)
{
	static const char shape[] = "0000-00-00T00:00:00Z";
	const char *s = json_string_value(v);

	if (!s || json_string_length(v) != sizeof(shape) - 1)
		return false;
	for (unsigned i = 0; shape[i]; i++)
		if (shape[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
			return false;
	return true;
}

/* Has the value, or each of its elements, the row's type? Objects are looked into by the caller. */
static bool fits(const struct schema_field *f, json_t *v)
{
	const char *key;
	size_t i;
	json_t *e;

	switch (f->type) {
	case SCHEMA_BOOL:
		return json_is_boolean(v);
	case SCHEMA_UINT:
		return is_uint(v);
	case SCHEMA_BLOCK:
		return is_block(v);
	case SCHEMA_REAL:
		return json_is_number(v);
	case SCHEMA_STRING:
		return json_is_string(v);
	case SCHEMA_TIME:
		return is_time(v);
	case SCHEMA_WORD:
		return is_word(f, v);
	case SCHEMA_WORDS:
	case SCHEMA_STRINGS:
	case SCHEMA_REALS:
	case SCHEMA_OBJECTS:
		if (!json_is_array(v) || (f->type == SCHEMA_REALS && json_array_size(v) > SCHEMA_VALUES_MAX))
			return false;
		json_array_foreach(v, i, e) if (!(f->type == SCHEMA_WORDS     ? is_word(f, e)
						  : f->type == SCHEMA_STRINGS ? json_is_string(e)
						  : f->type == SCHEMA_REALS   ? json_is_number(e)
									      : json_is_object(e))) return false;
		return true;
	case SCHEMA_OBJECT:
		return json_is_object(v);
	case SCHEMA_MAP_STRING:
	case SCHEMA_MAP_UINT:
	case SCHEMA_MAP_OBJECT:
		if (!json_is_object(v))
			return false;
		json_object_foreach(v, key, e) if (!(f->type == SCHEMA_MAP_STRING ? json_is_string(e)
						     : f->type == SCHEMA_MAP_UINT ? is_uint(e)
										  : json_is_object(e))) return false;
		return true;
	}
	return false;
}

static void list_words(const struct schema_field *f, char *out, size_t n)
{
	size_t at = (size_t)snprintf(out, n, f->words ? ": " : "");

	for (const char *const *w = f->words; w && *w && at < n; w++)
		at += (size_t)snprintf(out + at, n - at, "%s%s", *w, w[1] ? ", " : "");
}

static bool check_value(const struct schema_field *f, json_t *v, const char *where, char *text, size_t n)
{
	char inner[160], words[200];
	const char *key;
	size_t i;
	json_t *e;

	if (f->need == SCHEMA_NULLABLE && json_is_null(v))
		return true;
	if (!fits(f, v)) {
		list_words(f, words, sizeof(words));
		snprintf(text, n, "%s: \"%s\" must be a %s%s", where, f->name, type_name(f->type), words);
		return false;
	}
	if (!f->sub)
		return true;
	snprintf(inner, sizeof(inner), "%s: %s", where, f->name);
	if (f->type == SCHEMA_OBJECT)
		return schema_check_fields(f->sub, v, inner, text, n);
	if (f->type == SCHEMA_OBJECTS) {
		json_array_foreach(v, i, e) if (!schema_check_fields(f->sub, e, inner, text, n)) return false;
		return true;
	}
	json_object_foreach(v, key, e) if (!schema_check_fields(f->sub, e, inner, text, n)) return false;
	return true;
}

static const struct schema_field *field_find(const struct schema_field *f, const char *name)
{
	for (; f && f->name; f++)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

static bool check_missing(const struct schema_field *f, json_t *obj, const char *where, char *text, size_t n)
{
	for (; f->name; f++) {
		if (f->need == SCHEMA_OPTIONAL || json_object_get(obj, f->name))
			continue;
		snprintf(text, n, "%s: \"%s\" is missing", where, f->name);
		return false;
	}
	return true;
}

bool schema_check_fields(const struct schema_field *fields, json_t *obj, const char *where, char *text, size_t n)
{
	const char *key;
	json_t *v;

	json_object_foreach(obj, key, v)
	{
		const struct schema_field *f = field_find(fields, key);

		if (!f) {
			snprintf(text, n, "%s: there is no \"%.40s\" here", where, key);
			return false;
		}
		if (!check_value(f, v, where, text, n))
			return false;
	}
	return check_missing(fields, obj, where, text, n);
}

bool schema_check(json_t *obj, char *text, size_t n)
{
	const struct schema_record *r = schema_record_find(json_string_value(json_object_get(obj, "type")));
	json_t *version = json_object_get(obj, "schema"), *v;
	const char *key;

	if (!json_is_integer(version)) {
		snprintf(text, n, "this is no record: it has no \"schema\"");
		return false;
	}
	if (json_integer_value(version) != EVAL_SCHEMA_VERSION) {
		snprintf(text, n, "schema %" JSON_INTEGER_FORMAT " is not this program's, %d",
			 json_integer_value(version), EVAL_SCHEMA_VERSION);
		return false;
	}
	if (!r) {
		snprintf(text, n, "there is no record of this type");
		return false;
	}
	json_object_foreach(obj, key, v)
	{
		const struct schema_field *f = field_find(common, key);

		f = f ? f : field_find(r->fields, key);
		if (!f) {
			snprintf(text, n, "%s: there is no \"%.40s\" here", r->type, key);
			return false;
		}
		if (!check_value(f, v, r->type, text, n))
			return false;
	}
	return check_missing(common, obj, r->type, text, n) && check_missing(r->fields, obj, r->type, text, n);
}

/* ---- the tables as a page ---- */

static void print_rows(FILE *f, const struct schema_field *fields)
{
	fprintf(f, "| field | type | unit | | meaning |\n|---|---|---|---|---|\n");
	for (; fields->name; fields++) {
		static const char *const need[] = {"", "may be absent", "may be null"};
		const char *name = fields->sub_name ? fields->sub_name : "";

		fprintf(f, "| `%s` | %s%s%s%s | %s | %s | %s", fields->name, type_name(fields->type), *name ? " `" : "",
			name, *name ? "`" : "", fields->unit, need[fields->need], fields->what);
		for (const char *const *w = fields->words; w && *w; w++)
			fprintf(f, "%s`%s`", w != fields->words ? ", " : *fields->what ? " (one of " : "(one of ", *w);
		fprintf(f, "%s |\n", fields->words ? ")" : "");
	}
	fprintf(f, "\n");
}

/* Tables within tables, each once, where it is first named. */
static void print_inner(FILE *f, const struct schema_field *fields, const struct schema_field **done, unsigned *ndone)
{
	for (; fields->name; fields++) {
		unsigned i = 0;

		while (i < *ndone && done[i] != fields->sub)
			i++;
		if (!fields->sub || i < *ndone || *ndone == 32)
			continue;
		done[(*ndone)++] = fields->sub;
		fprintf(f, "### `%s`\n\n", fields->sub_name);
		print_rows(f, fields->sub);
		print_inner(f, fields->sub, done, ndone);
	}
}

void schema_print(FILE *f)
{
	const struct schema_field *done[32];
	unsigned ndone = 0;

	fprintf(f, "## every record\n\n");
	print_rows(f, common);
	for (unsigned i = 0; i < ARRAY_LEN(records); i++) {
		fprintf(f, "## %s\n\n%s.\n\n", records[i].type, records[i].what);
		print_rows(f, records[i].fields);
		print_inner(f, records[i].fields, done, &ndone);
	}
}
