// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where a run happened: the host as its kernel shows it, the programs and files that were measured, and what the probe found about
 * KVM, without which nobody can say later what a "kvm" in these results was. What a host does not show is an empty string.
 */
#include <dirent.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/run/runner.h"
#include "eval/seal.h"

/* mk/build-info.mk says which sources and flags these are. */
#ifndef BUILD_COMMIT
#define BUILD_COMMIT ""
#endif
#ifndef BUILD_CFLAGS
#define BUILD_CFLAGS ""
#endif
#ifdef __clang__
#define BUILD_COMPILER __VERSION__
#else
#define BUILD_COMPILER "gcc " __VERSION__
#endif

/* The first line of a file, or what stands behind "key :" in it. */
static void first_value(const char *file, const char *key, char *out, size_t n)
{
	FILE *f = fopen(file, "re");
	char line[8192];

	out[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		char *v = key ? strchr(line, ':') : line;

		if (key && (strncmp(line, key, strlen(key)) || !v))
			continue;
		v += key ? 1 + strspn(v + 1, " \t") : 0;
		v[strcspn(v, "\n")] = 0;
		snprintf(out, n, "%s", v);
		break;
	}
	if (f)
		fclose(f);
}

/* Bytes that are no UTF-8 would be no JSON. */
static json_t *text_json(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("");
}

static json_t *mitigations_json(void)
{
	static const char folder[] = "/sys/devices/system/cpu/vulnerabilities";
	json_t *o = json_object();
	DIR *d = opendir(folder);
	char path[400], value[256];

	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		first_value(path, NULL, value, sizeof(value));
		json_object_set_new(o, e->d_name, text_json(value));
	}
	if (d)
		closedir(d);
	return o;
}

static json_t *packages_json(void)
{
	char *query[] = {(char *)"dpkg-query",
			 (char *)"-W",
			 (char *)"-f",
			 (char *)"${Package} ${Version}\n",
			 (char *)"qemu-system-x86",
			 (char *)"libc6",
			 (char *)"libzydis4.0",
			 (char *)"libzydis-dev",
			 (char *)"libjansson4",
			 (char *)"gcc",
			 (char *)"clang",
			 (char *)"libunicorn2",
			 NULL};
	char *qemu[] = {(char *)"qemu-system-x86_64", (char *)"--version", NULL};
	char unicorn[4200], *peer[] = {unicorn, (char *)"--version", NULL};
	json_t *o = json_object();
	char out[4096], *save = NULL;

	observe_output(query, out, sizeof(out)); /* some are not installed: it fails, and says the others */
	for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *space = strchr(line, ' ');

		if (!space)
			continue;
		*space = 0;
		if (space[1])
			json_object_set_new(o, line, text_json(space + 1));
	}
	if (observe_output(qemu, out, sizeof(out))) {
		out[strcspn(out, "\n")] = 0;
		json_object_set_new(o, "qemu-system-x86_64", text_json(out));
	}
	if (path_flat_program(unicorn, sizeof(unicorn)) && observe_output(peer, out, sizeof(out))) {
		out[strcspn(out, "\n")] = 0;
		json_object_set_new(o, "unicorn", text_json(out));
	}
	return o;
}

static void add_hash(json_t *o, const char *name, const char *file)
{
	char hash[65];

	seal_hash(file, hash);
	json_object_set_new(o, name, json_string(hash));
}

/* Of what is executed. */
static json_t *hashes_json(const struct runner *r)
{
	static const char *const names[] = {"vmlinuz", "initrd", "workloads"};
	const char *slash = strrchr(r->self, '/');
	json_t *o = json_object();
	char path[4300];

	add_hash(o, "steelyard", r->self);
	if (r->spec.machine) {
		snprintf(path, sizeof(path), "%.*s/machine/machine.elf", slash ? (int)(slash - r->self) : 0, r->self);
		add_hash(o, "machine", path);
	}
	for (unsigned i = 0; i < ARRAY_LEN(names) && r->spec.nworkloads; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->guest_dir, names[i]);
		if (spec_is_macro(&r->spec) && i)
			snprintf(path, sizeof(path), "%s", i == 1 ? r->macro.initrd : r->macro.driver);
		add_hash(o, names[i], path);
	}
	return o;
}

static void add_manifest(json_t *list, const char *path)
{
	char line[1024];
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (line[0] != '#')
			json_array_append_new(list, text_json(line));
	}
	if (f)
		fclose(f);
}

/* The packages of what the guests run. */
static json_t *guest_files_json(const struct runner *r)
{
	json_t *list = json_array();
	char path[4200];

	snprintf(path, sizeof(path), "%s/../MANIFEST", r->guest_dir);
	add_manifest(list, path);
	if (spec_is_macro(&r->spec))
		add_manifest(list, r->macro.manifest);
	return list;
}

static int is_kvm(const struct dirent *e)
{
	return !strncmp(e->d_name, "kvm", 3);
}

/* Not /proc/modules: a kernel without loadable modules has none, and shows those that it is built with here. */
void environment_kvm(const char *folder, char *out, size_t n)
{
	struct dirent **list = NULL;
	int count = scandir(folder, &list, is_kvm, alphasort);
	size_t at = 0;

	out[0] = 0;
	for (int i = 0; i < count; i++) {
		if (at < n)
			at += (size_t)snprintf(out + at, n - at, "%s%s", at ? " " : "", list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

json_t *environment_object(const struct runner *r)
{
	static const struct {
		const char *name, *file, *key;
	} facts[] = {
		{"cpu", "/proc/cpuinfo", "model name"},
		{"cpu_flags", "/proc/cpuinfo", "flags"},
		{"microcode", "/proc/cpuinfo", "microcode"},
		{"clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource", NULL},
		{"thp", "/sys/kernel/mm/transparent_hugepage/enabled", NULL},
		{"governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", NULL},
	};
	json_t *env = json_object();
	char value[8192];
	struct utsname u;
	double load = 0;
	cpu_set_t set;

	for (unsigned i = 0; i < ARRAY_LEN(facts); i++) {
		first_value(facts[i].file, facts[i].key, value, sizeof(value));
		json_object_set_new(env, facts[i].name, text_json(value));
	}
	snprintf(value, sizeof(value), " %s ", json_string_value(json_object_get(env, "cpu_flags")));
	json_object_set_new(env, "hypervisor", json_boolean(strstr(value, " hypervisor ")));
	environment_kvm("/sys/module", value, sizeof(value));
	json_object_set_new(env, "kvm_module", text_json(value));
	uname(&u);
	snprintf(value, sizeof(value), "%s %s", u.release, u.version);
	json_object_set_new(env, "kernel", text_json(value));
	json_object_set_new(env, "mitigations", mitigations_json());
	json_object_set_new(env, "ncpus", json_integer(sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set)));
	first_value("/proc/meminfo", "MemTotal", value, sizeof(value));
	json_object_set_new(env, "memory_kb", json_integer((json_int_t)strtoull(value, NULL, 10)));
	if (getloadavg(&load, 1) != 1)
		load = 0;
	json_object_set_new(env, "load", json_real(load));
	json_object_set_new(env, "packages", packages_json());
	json_object_set_new(env, "hashes", hashes_json(r));
	json_object_set_new(env, "guest_files", guest_files_json(r));
	json_object_set_new(env, "git_commit", BUILD_COMMIT[0] ? json_string(BUILD_COMMIT) : json_null());
	json_object_set_new(env, "compiler", json_string(BUILD_COMPILER));
	json_object_set_new(env, "cflags", json_string(BUILD_CFLAGS));
	return env;
}

static json_t *copied(json_t *from, const char *key)
{
	const char *s = json_string_value(json_object_get(from, key));

	return json_string(s ? s : "");
}

static json_t *strings_of(json_t *list)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(list, i, v) if (json_is_string(v)) json_array_append(out, v);
	return out;
}

/* The probe's summary in our words. */
json_t *environment_probe(const struct runner *r)
{
	char *argv[] = {(char *)r->self, (char *)"probe", (char *)"--quick", (char *)"--json", NULL};
	size_t size = 1 << 20;
	char *text = malloc(size), chosen[600];
	json_t *probe = NULL, *v, *out = NULL, *modes, *value, *automatic;
	const char *name;

	if (text) {
		observe_output(argv, text, size); /* its status is a verdict too */
		probe = json_loads(text, 0, NULL);
	}
	free(text);
	v = json_object_get(probe, "summary");
	if (v) {
		out = json_object();
		modes = json_object();
		automatic = json_object_get(v, "auto");
		snprintf(chosen, sizeof(chosen), "%s: %s", json_string_value(json_object_get(automatic, "path")),
			 json_string_value(json_object_get(automatic, "why")));
		json_object_set_new(out, "verdict", copied(v, "level"));
		json_object_set_new(out, "vendor", copied(v, "vendor"));
		json_object_set_new(out, "reason", copied(v, "reason"));
		json_object_set_new(out, "auto", text_json(automatic ? chosen : ""));
		json_object_foreach(json_object_get(v, "modes"), name, value) if (json_is_string(value))
			json_object_set(modes, name, value);
		json_object_set_new(out, "modes", modes);
		json_object_set_new(out, "failed", strings_of(json_object_get(v, "fails")));
		json_object_set_new(out, "late", strings_of(json_object_get(v, "late")));
		json_object_set_new(out, "quick", json_boolean(json_is_true(json_object_get(v, "quick"))));
	}
	json_decref(probe);
	return out ? out : json_null();
}
