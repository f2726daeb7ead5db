// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A spec in memory. Every number is one row of one table: from it derive the keys of a file, the options of the command line,
 * their help, their limits and the sentence that is said when one is wrong.
 */
#include "eval/run/macro.h"
#include "eval/run/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"

enum number_kind { N_UINT, N_UINT64, N_REAL };
struct number {
	const char *key, *what;
	enum number_kind kind;
	size_t offset;
	double lo, hi;
};

#define AT(field) offsetof(struct eval_spec, field)
static const struct number numbers[] = {
	{"blocks", "blocks of every path; with a pilot, the fewest", N_UINT, AT(blocks), 1, SPEC_MAX_BLOCKS},
	{"blocks_max", "the most that the pilot may ask for", N_UINT, AT(blocks_max), 1, SPEC_MAX_BLOCKS},
	{"pilot_blocks", "blocks that only decide how many follow; 0: no pilot", N_UINT, AT(pilot_blocks), 0, 20},
	{"target", "half width of the interval that the pilot aims at, in percent", N_REAL, AT(target), 0.1, 100},
	{"together", "workloads of a block that share a boot of a path", N_UINT, AT(together), 1, SPEC_MAX_WORKLOADS},
	{"iterations", "executions of a workload in one machine, the first of them cold", N_UINT, AT(iterations), 1,
	 100},
	{"inject", "percent that the control \"inject\" is slower; 0: none", N_REAL, AT(inject), 0, 100},
	{"scale", "work in percent of the full workloads", N_UINT, AT(scale), 1, 10000},
	{"slow_scale", "the same on slow paths", N_UINT, AT(slow_scale), 1, 10000},
	{"machine", "blocks that have the machine micro-suite too", N_UINT, AT(machine), 0, SPEC_MAX_BLOCKS},
	{"peer_blocks", "the first blocks only have QEMU's work; 0: all have it", N_UINT, AT(peer_blocks), 0,
	 SPEC_MAX_BLOCKS},
	{"peer_iterations", "executions of a workload in one machine of QEMU's; 0: as in the others", N_UINT,
	 AT(peer_iterations), 0, 100},
	{"memory_mb", "guest memory in MiB", N_UINT, AT(memory_mb), 64, 1u << 20},
	{"cpus", "beside one processor, so many; 1: only one", N_UINT, AT(cpus), 1, 64},
	{"seed", "for every order (default: from the clock; it is stored)", N_UINT64, AT(seed), 0, 9007199254740992.0},
	{"quiet_wait_s", "how long the run may wait for a quiet host, in seconds", N_UINT, AT(quiet.wait_s), 0, 86400},
	{"quiet_max_load", "CPUs that others may keep busy", N_REAL, AT(quiet.max_load), 0, 1024},
	{"quiet_max_steal", "percent that the hypervisor may give to others", N_REAL, AT(quiet.max_steal), 0, 100},
};

bool spec_number_at(unsigned i, const char **key, const char **what, double *lo, double *hi, bool *whole)
{
	if (i >= ARRAY_LEN(numbers))
		return false;
	*key = numbers[i].key;
	*what = numbers[i].what;
	*lo = numbers[i].lo;
	*hi = numbers[i].hi;
	*whole = numbers[i].kind != N_REAL;
	return true;
}

/* "Each path with one and with so many": the list of paths again, by its names. */
static bool spread_cpus(struct eval_spec *s, char *text, size_t n)
{
	const struct eval_path *row[SPEC_MAX_PATHS];
	unsigned nrows = 0;

	for (unsigned i = 0; i < s->npaths; i++) {
		unsigned k = 0;

		while (k < nrows && row[k] != s->path[i].row)
			k++;
		if (k == nrows)
			row[nrows++] = s->path[i].row;
	}
	if (nrows * (s->cpus > 1 ? 2 : 1) > SPEC_MAX_PATHS) {
		snprintf(text, n, "there may be %d paths at most", SPEC_MAX_PATHS);
		return false;
	}
	s->npaths = 0;
	for (unsigned k = 0; k < nrows; k++) {
		s->path[s->npaths++] = (struct spec_path){row[k], 1};
		if (s->cpus > 1)
			s->path[s->npaths++] = (struct spec_path){row[k], s->cpus};
	}
	return true;
}

bool spec_set(struct eval_spec *s, const char *key, double value, char *text, size_t n)
{
	const struct number *row = NULL;
	char *at;

	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		if (!strcmp(numbers[i].key, key))
			row = &numbers[i];
	if (!row) {
		snprintf(text, n, "there is no number \"%.40s\"", key);
		return false;
	}
	if (!(value >= row->lo && value <= row->hi) || (row->kind != N_REAL && value != floor(value))) {
		snprintf(text, n, "%s must be a %s from %.15g to %.15g", row->key,
			 row->kind == N_REAL ? "number" : "whole number", row->lo, row->hi);
		return false;
	}
	at = (char *)s + row->offset;
	if (row->kind == N_REAL)
		memcpy(at, &value, sizeof(value));
	else if (row->kind == N_UINT64)
		memcpy(at, &(uint64_t){(uint64_t)value}, sizeof(uint64_t));
	else
		memcpy(at, &(unsigned){(unsigned)value}, sizeof(unsigned));
	if (row->offset == AT(cpus))
		return spread_cpus(s, text, n);
	for (unsigned i = 0; i < s->nworkloads; i++) {
		if (row->offset == AT(scale))
			s->workload[i].scale = s->scale;
		if (row->offset == AT(slow_scale))
			s->workload[i].slow_scale = s->slow_scale;
	}
	if (row->offset == AT(blocks) && s->blocks_max < s->blocks)
		s->blocks_max = s->blocks;
	return true;
}

/* ---- lists ---- */

static const char *known_workload(const char *name)
{
	for (unsigned i = 0; workload_at(i); i++)
		if (!strcmp(workload_at(i), name))
			return workload_at(i);
	return NULL;
}

static bool add_workload(struct eval_spec *s, const char *name, char *text, size_t n)
{
	const char *known = known_workload(name);

	if (!known) {
		snprintf(text, n, "\"%.40s\" is not a workload; steelyard eval list has them", name);
		return false;
	}
	for (unsigned i = 0; i < s->nworkloads; i++)
		if (s->workload[i].name == known) {
			snprintf(text, n, "workload %s is named twice", name);
			return false;
		}
	if (s->nworkloads == SPEC_MAX_WORKLOADS) {
		snprintf(text, n, "there may be %d workloads at most", SPEC_MAX_WORKLOADS);
		return false;
	}
	s->workload[s->nworkloads++] = (struct spec_workload){known, workload_group(known), s->scale, s->slow_scale, 0};
	return true;
}

bool spec_workloads(struct eval_spec *s, const char *list, char *text, size_t n)
{
	char *copy = strdup(list), *save = NULL;
	bool fine = copy != NULL;

	s->nworkloads = 0;
	for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w && fine; w = strtok_r(NULL, ",", &save))
		fine = add_workload(s, w, text, n);
	free(copy);
	return fine;
}

bool spec_series(struct eval_spec *s, const char *list, unsigned iterations, char *text, size_t n)
{
	char *copy = strdup(list), *save = NULL;
	bool fine = copy != NULL;

	for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w && fine; w = strtok_r(NULL, ",", &save)) {
		const char *known = known_workload(w);

		if (!known)
			snprintf(text, n, "\"%.40s\" is not a workload; steelyard eval list has them", w);
		fine = known != NULL;
		for (unsigned i = 0; i < s->nworkloads; i++)
			if (s->workload[i].name == known)
				s->workload[i].iterations = iterations;
	}
	free(copy);
	return fine;
}

bool spec_groups(struct eval_spec *s, const char *list, char *text, size_t n)
{
	char *copy = strdup(list), *save = NULL;
	bool fine = copy != NULL;

	s->nworkloads = 0;
	for (char *g = copy ? strtok_r(copy, ",", &save) : NULL; g && fine; g = strtok_r(NULL, ",", &save)) {
		const struct eval_group *group = group_find(g);

		if (!group) {
			snprintf(text, n, "no group is called \"%.40s\"; steelyard eval list has them", g);
			fine = false;
		}
		for (unsigned i = 0; fine && workload_at(i); i++)
			if (workload_group(workload_at(i)) == group)
				fine = add_workload(s, workload_at(i), text, n);
	}
	free(copy);
	return fine;
}

static bool add_path(struct eval_spec *s, const char *name, unsigned cpus, char *text, size_t n)
{
	const struct eval_path *row = eval_path_find(name);

	if (!row) {
		snprintf(text, n, "no path is called \"%.40s\"; steelyard eval list has them", name);
		return false;
	}
	for (unsigned i = 0; i < s->npaths; i++)
		if (s->path[i].row == row && s->path[i].cpus == cpus) {
			snprintf(text, n, "path %s is named twice", name);
			return false;
		}
	if (s->npaths == SPEC_MAX_PATHS) {
		snprintf(text, n, "there may be %d paths at most", SPEC_MAX_PATHS);
		return false;
	}
	s->path[s->npaths++] = (struct spec_path){row, cpus};
	return true;
}

bool spec_paths(struct eval_spec *s, const char *list, char *text, size_t n)
{
	char *copy = strdup(list), *save = NULL;
	bool fine = copy != NULL;

	s->npaths = 0;
	for (char *p = copy ? strtok_r(copy, ",", &save) : NULL; p && fine; p = strtok_r(NULL, ",", &save)) {
		char *colon = strchr(p, ':'), *end = NULL;
		unsigned long cpus = 1;

		if (colon) {
			*colon = 0;
			cpus = strtoul(colon + 1, &end, 10);
			if (end == colon + 1 || *end || cpus < 1 || cpus > 64) {
				snprintf(text, n, "%.40s:%.20s: give 1 to 64 processors", p, colon + 1);
				fine = false;
			}
		}
		fine = fine && add_path(s, p, (unsigned)cpus, text, n);
	}
	free(copy);
	return fine && (s->cpus < 2 || spread_cpus(s, text, n));
}

static bool in_list(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, name, n) && (!p[n] || p[n] == ','))
			return true;
	}
	return false;
}

bool spec_builtin(const struct eval_suite *row, struct eval_spec *s, char *text, size_t n)
{
	*s = (struct eval_spec){.blocks = row->blocks,
				.blocks_max = row->blocks_max,
				.pilot_blocks = row->pilot_blocks,
				.target = 2,
				.together = row->together,
				.iterations = row->iterations ? row->iterations : 3,
				.inject = 3,
				.peer_blocks = row->peer_blocks,
				.peer_iterations = row->peer_iterations,
				.scale = row->scale,
				.slow_scale = 1,
				.memory_mb = row->memory_mb ? row->memory_mb : 512,
				.machine = row->machine,
				.cpus = row->cpus ? row->cpus : 1,
				.quiet = {0.3, 2, row->wait_s}};
	snprintf(s->name, sizeof(s->name), "%s", row->name);
	if (row->workloads ? !spec_workloads(s, row->workloads, text, n) : !spec_groups(s, row->groups, text, n))
		return false;
	for (unsigned i = 0; row->longer && i < s->nworkloads; i++)
		if (in_list(row->longer, s->workload[i].name))
			s->workload[i].scale = row->longer_scale;
	return (!row->series || spec_series(s, row->series, row->series_iterations, text, n)) &&
	       spec_paths(s, row->paths, text, n);
}

bool spec_is_macro(const struct eval_spec *s)
{
	return s->nworkloads && macro_knows(s->workload[0].name);
}

bool spec_check(const struct eval_spec *s, char *text, size_t n)
{
	bool macro = spec_is_macro(s), mixed = false;

	for (unsigned i = 0; i < s->nworkloads; i++)
		mixed |= macro_knows(s->workload[i].name) != macro;
	if (!s->name[0] ||
	    strspn(s->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != strlen(s->name))
		snprintf(text, n, "name must be letters, digits, \"-\", \"_\" or \".\"");
	else if (mixed)
		snprintf(text, n,
			 "programs of the macro suite have a machine of their own: measure them apart from other "
			 "workloads");
	else if (macro && s->memory_mb < MACRO_MEMORY_MB)
		snprintf(text, n, "memory_mb must be %d or more for the macro suite", MACRO_MEMORY_MB);
	else if (!s->nworkloads && !s->machine)
		snprintf(text, n, "no workload is named");
	else if (s->blocks_max < s->blocks)
		snprintf(text, n, "blocks_max (%u) must not be below blocks (%u)", s->blocks_max, s->blocks);
	else if (s->pilot_blocks == 1)
		snprintf(text, n, "pilot_blocks must be 0, or at least 2: one block has no spread");
	else
		return true;
	return false;
}

json_t *spec_json(const struct eval_spec *s)
{
	json_t *o = json_object(), *list = json_array(), *paths = json_array(), *phases = json_array();

	for (unsigned i = 0; i < s->nworkloads; i++) {
		const struct spec_workload *w = &s->workload[i];
		json_t *one = json_pack("{s:s, s:s, s:i, s:i}", "name", w->name, "group", w->group->name, "scale",
					(int)w->scale, "slow_scale", (int)w->slow_scale);

		if (w->iterations)
			json_object_set_new(one, "iterations", json_integer((json_int_t)w->iterations));
		json_array_append_new(list, one);
	}
	for (unsigned i = 0; i < s->npaths; i++) {
		const struct eval_path *row = s->path[i].row;
		json_t *p = json_pack("{s:s, s:i, s:s}", "name", row->name, "cpus", (int)s->path[i].cpus, "peer",
				      eval_peer_words[row->peer]);

		if (row->slow)
			json_object_set_new(p, "slow", json_true());
		if (row->boot_only)
			json_object_set_new(p, "boot_only", json_true());
		json_array_append_new(paths, p);
	}
	json_object_set_new(o, "name", json_string(s->name));
	json_object_set_new(o, "workloads", list);
	json_object_set_new(o, "paths", paths);
	json_object_set_new(o, "blocks", json_integer((json_int_t)s->blocks));
	json_object_set_new(o, "blocks_max", json_integer((json_int_t)s->blocks_max));
	json_object_set_new(o, "pilot_blocks", json_integer((json_int_t)s->pilot_blocks));
	json_object_set_new(o, "target", json_real(s->target));
	json_object_set_new(o, "together", json_integer((json_int_t)s->together));
	json_object_set_new(o, "machine", json_integer((json_int_t)s->machine));
	json_object_set_new(o, "iterations", json_integer((json_int_t)s->iterations));
	json_object_set_new(o, "peer_blocks", json_integer((json_int_t)s->peer_blocks));
	json_object_set_new(o, "peer_iterations", json_integer((json_int_t)s->peer_iterations));
	json_object_set_new(o, "inject", json_real(s->inject));
	json_object_set_new(o, "seed", json_integer((json_int_t)s->seed));
	json_object_set_new(o, "memory_mb", json_integer((json_int_t)s->memory_mb));
	if (s->npaths)
		json_array_append_new(phases, json_string("boot"));
	json_array_append_new(phases, json_string("cold"));
	if (s->iterations > 1)
		json_array_append_new(phases, json_string("steady"));
	json_object_set_new(o, "phases", phases);
	json_object_set_new(o, "quiet",
			    json_pack("{s:f, s:f, s:i}", "max_load", s->quiet.max_load, "max_steal", s->quiet.max_steal,
				      "wait_s", (int)s->quiet.wait_s));
	return o;
}
