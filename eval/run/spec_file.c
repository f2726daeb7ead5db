// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A spec as JSON: a file that a person writes, or the object "spec" of a run record, which repeats that run.
 *
 *   {"base": "quick", "name": "mine", "workloads": ["sieve", "@os", {"name": "fib", "scale": 50}],
 *    "paths": ["bt", {"name": "bt", "cpus": 2}, "qemu-tcg"], "blocks": 10, "seed": 7, "quiet": {"wait_s": 600}}
 *
 * "base" is a built-in spec and says what the file does not; without it, "quick" does. "@os" is a group. Numbers are the rows of
 * eval/run/spec.c. What is in no row is an error: a misspelt "blokcs" must not cost a night.
 */
#include <stdio.h>
#include <string.h>

#include "engine/status.h"
#include "eval/run/spec.h"

/* Appends to a list with commas; false when it is full. */
static bool append(char *list, size_t n, const char *what)
{
	size_t at = strlen(list);

	return (size_t)snprintf(list + at, n - at, "%s%s", at ? "," : "", what) < n - at;
}

static bool only_keys(json_t *o, const char *const *keys, const char *where, char *text, size_t n)
{
	const char *key;
	json_t *v;

	json_object_foreach(o, key, v)
	{
		unsigned i = 0;

		while (keys[i] && strcmp(keys[i], key))
			i++;
		if (keys[i])
			continue;
		snprintf(text, n, "%s: there is no \"%.40s\" here", where, key);
		return false;
	}
	return true;
}

static bool number_of(json_t *o, const char *key, unsigned most, unsigned *out, char *text, size_t n)
{
	json_t *v = json_object_get(o, key);

	if (!v)
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > most) {
		snprintf(text, n, "workloads: %s must be a whole number from 1 to %u", key, most);
		return false;
	}
	*out = (unsigned)json_integer_value(v);
	return true;
}

static bool take_workloads(json_t *list, struct eval_spec *s, char *text, size_t n)
{
	static const char *const keys[] = {"name", "group", "scale", "slow_scale", "iterations", NULL};
	char names[SPEC_MAX_WORKLOADS * 40] = "";
	size_t i;
	json_t *v;

	if (!json_is_array(list)) {
		snprintf(text, n, "workloads must be a list of names");
		return false;
	}
	json_array_foreach(list, i, v)
	{
		const char *name =
			json_is_object(v) ? json_string_value(json_object_get(v, "name")) : json_string_value(v);
		const struct eval_group *g = name && name[0] == '@' ? group_find(name + 1) : NULL;

		if (!name || (json_is_object(v) && !only_keys(v, keys, "workloads", text, n))) {
			if (!name)
				snprintf(text, n, "workloads: \"name\" must be a string");
			return false;
		}
		if (name[0] == '@' && !g) {
			snprintf(text, n, "no group is called \"%.40s\"; steelyard eval list has them", name + 1);
			return false;
		}
		for (unsigned k = 0; g && workload_at(k); k++)
			if (workload_group(workload_at(k)) == g && !append(names, sizeof(names), workload_at(k)))
				goto full;
		if (!g && (strchr(name, ',') || !append(names, sizeof(names), name)))
			goto full;
	}
	if (!spec_workloads(s, names, text, n))
		return false;
	json_array_foreach(
		list, i,
		v) for (unsigned k = 0; json_is_object(v) && k < s->nworkloads;
			k++) if (!strcmp(s->workload[k].name, json_string_value(json_object_get(v, "name"))) &&
				 !(number_of(v, "scale", 10000, &s->workload[k].scale, text, n) &&
				   number_of(v, "slow_scale", 10000, &s->workload[k].slow_scale, text, n) &&
				   number_of(v, "iterations", 100, &s->workload[k].iterations, text, n))) return false;
	return true;
full:
	snprintf(text, n, "workloads: a name that is none, or more than %d", SPEC_MAX_WORKLOADS);
	return false;
}

static bool take_paths(json_t *list, struct eval_spec *s, char *text, size_t n)
{
	static const char *const keys[] = {"name", "cpus", "peer", "slow", "boot_only", NULL};
	char names[SPEC_MAX_PATHS * 60] = "", one[60];
	size_t i;
	json_t *v;

	if (!json_is_array(list)) {
		snprintf(text, n, "paths must be a list of names");
		return false;
	}
	json_array_foreach(list, i, v)
	{
		const char *name =
			json_is_object(v) ? json_string_value(json_object_get(v, "name")) : json_string_value(v);
		json_t *cpus = json_object_get(v, "cpus");

		if (json_is_object(v) && !only_keys(v, keys, "paths", text, n))
			return false;
		if (!name || strchr(name, ',') || (cpus && !json_is_integer(cpus))) {
			snprintf(text, n, "paths: \"name\" must be a path's, \"cpus\" a whole number");
			return false;
		}
		if (cpus)
			snprintf(one, sizeof(one), "%.40s:%" JSON_INTEGER_FORMAT, name, json_integer_value(cpus));
		if (!append(names, sizeof(names), cpus ? one : name)) {
			snprintf(text, n, "there may be %d paths at most", SPEC_MAX_PATHS);
			return false;
		}
	}
	return spec_paths(s, names, text, n);
}

static bool take_quiet(json_t *o, struct eval_spec *s, char *text, size_t n)
{
	static const char *const keys[] = {"max_load", "max_steal", "wait_s", NULL};
	char key[40];
	const char *k;
	json_t *v;

	if (!json_is_object(o)) {
		snprintf(text, n, "quiet must be an object");
		return false;
	}
	if (!only_keys(o, keys, "quiet", text, n))
		return false;
	json_object_foreach(o, k, v)
	{
		snprintf(key, sizeof(key), "quiet_%s", k);
		if (!json_is_number(v)) {
			snprintf(text, n, "quiet: %s must be a number", k);
			return false;
		}
		if (!spec_set(s, key, json_number_value(v), text, n))
			return false;
	}
	return true;
}

static bool take(struct eval_spec *s, const char *key, json_t *v, char *text, size_t n)
{
	if (!strcmp(key, "base") || !strcmp(key, "phases") || !strcmp(key, "workloads") || !strcmp(key, "paths") ||
	    !strcmp(key, "scale") || !strcmp(key, "slow_scale") || !strcmp(key, "cpus"))
		return true; /* these have their turn before the others, or follow from them */
	if (!strcmp(key, "quiet"))
		return take_quiet(v, s, text, n);
	if (!strcmp(key, "name")) {
		if (!json_is_string(v) || json_string_length(v) >= sizeof(s->name)) {
			snprintf(text, n, "name must be a string of %zu characters at most", sizeof(s->name) - 1);
			return false;
		}
		snprintf(s->name, sizeof(s->name), "%s", json_string_value(v));
		return true;
	}
	if (!json_is_number(v)) {
		snprintf(text, n, "\"%.40s\" is no number, or nothing that a spec has", key);
		return false;
	}
	return spec_set(s, key, json_number_value(v), text, n);
}

bool spec_from_json(json_t *o, struct eval_spec *s, char *text, size_t n)
{
	static const char *const first[] = {"scale", "slow_scale"};
	json_t *base = json_object_get(o, "base"), *v;
	const struct eval_suite *row = suite_find(base ? json_string_value(base) : "quick");
	const char *key;

	if (!json_is_object(o) || !row) {
		snprintf(text, n,
			 json_is_object(o) ? "base must be a built-in spec; steelyard eval list has them"
					   : "this is no JSON object");
		return false;
	}
	if (!spec_builtin(row, s, text, n))
		return false;
	if (json_object_get(o, "paths"))
		s->cpus = 1; /* each says its own */
	for (unsigned i = 0; i < ARRAY_LEN(first); i++)
		if ((v = json_object_get(o, first[i])) &&
		    (!json_is_number(v) || !spec_set(s, first[i], json_number_value(v), text, n))) {
			if (!json_is_number(v))
				snprintf(text, n, "\"%s\" must be a number", first[i]);
			return false;
		}
	if ((v = json_object_get(o, "workloads")) && !take_workloads(v, s, text, n))
		return false;
	if ((v = json_object_get(o, "paths")) && !take_paths(v, s, text, n))
		return false;
	if ((v = json_object_get(o, "cpus")) &&
	    (!json_is_number(v) || !spec_set(s, "cpus", json_number_value(v), text, n))) {
		if (!json_is_number(v))
			snprintf(text, n, "\"cpus\" must be a number");
		return false;
	}
	json_object_foreach(o, key, v) if (!take(s, key, v, text, n)) return false;
	if (json_object_get(o, "blocks") && !json_object_get(o, "blocks_max") && !s->pilot_blocks)
		s->blocks_max = s->blocks;
	return spec_check(s, text, n);
}

bool spec_read(const char *file, struct eval_spec *s, char *text, size_t n)
{
	json_error_t err;
	json_t *o = json_load_file(file, JSON_REJECT_DUPLICATES, &err);
	char why[300];
	bool fine;

	if (!o) {
		if (err.line > 0)
			snprintf(text, n, "%s, line %d: %s", file, err.line, err.text);
		else
			snprintf(text, n, "%s", err.text);
		return false;
	}
	fine = spec_from_json(o, s, why, sizeof(why));
	if (!fine)
		snprintf(text, n, "%s: %s", file, why);
	json_decref(o);
	return fine;
}
