// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * results.jsonl: append-only, one record a line, every record with the schema version and the run's id.
 *   run      what was asked, and the environment
 *   boot     one start of a path: times to the first line of init, status, reason of a failure
 *            resident memory of the guest's RAM and of all else then
 *   sample   one workload once; path "native" has pass 0, 1 and, for slow paths, "slow"; without "timed" it has a result,
 *            but took less than the host's clock could tell then, and wall_ns and cpu_ns are null
 *   scaling  of eval smp: time with one processor over time with "cpus" of them
 *   ratio    what follows: effect and interval; workload "geomean" of a group, or of all when the group is null
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eval/quick.h"

static void first_value(const char *file, const char *key, char *out, size_t n)
{
	FILE *f = fopen(file, "r");
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

static void command_line(const char *command, char *out, size_t n)
{
	FILE *f = popen(command, "r");

	out[0] = 0;
	if (f && !fgets(out, (int)n, f))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	if (f)
		pclose(f);
}

/* What our own program says to these arguments, as JSON; NULL when it says none. */
static json_t *ask_ourselves(const char *self, char *const argv[])
{
	posix_spawn_file_actions_t fa;
	json_t *j = NULL;
	int pipe_fd[2];
	FILE *f;
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return NULL;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, pipe_fd[1], STDOUT_FILENO);
	if (posix_spawn(&pid, self, &fa, NULL, argv, environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&fa);
	close(pipe_fd[1]);
	f = fdopen(pipe_fd[0], "r");
	if (f && pid > 0)
		j = json_loadf(f, 0, NULL);
	if (f)
		fclose(f);
	else
		close(pipe_fd[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return j;
}

/* What the probe measured of this host's KVM, in short. Without it nobody can say later what a "kvm" in these results was. */
static json_t *kvm_verdict_json(const struct eval *ev)
{
	char *const argv[] = {(char *)ev->self, (char *)"probe", (char *)"--quick", (char *)"--json", NULL};
	json_t *probe = ask_ourselves(ev->self, argv), *summary = json_incref(json_object_get(probe, "summary"));

	json_decref(probe);
	return summary ? summary : json_null();
}

json_t *environment_json(const struct eval *ev)
{
	static const struct {
		const char *name, *file, *key;
	} facts[] = {
		{"cpu", "/proc/cpuinfo", "model name"},
		{"cpu_flags", "/proc/cpuinfo", "flags"},
		{"microcode", "/proc/cpuinfo", "microcode"},
		{"clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource", NULL},
		{"thp", "/sys/kernel/mm/transparent_hugepage/enabled", NULL},
		{"memory", "/proc/meminfo", "MemTotal"},
	};
	static const struct {
		const char *name, *command;
	} programs[] = {
		{"compiler", "gcc --version 2>/dev/null"},
		{"qemu", "qemu-system-x86_64 --version 2>/dev/null"},
		{"commit", "git rev-parse HEAD 2>/dev/null"},
	};
	json_t *env = json_object(), *files = json_array();
	char value[8192], path[4200];
	struct utsname u;
	FILE *f;

	for (unsigned i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
		first_value(facts[i].file, facts[i].key, value, sizeof(value));
		json_object_set_new(env, facts[i].name, json_string(value));
	}
	first_value("/proc/cpuinfo", "flags", value, sizeof(value));
	json_object_set_new(env, "under_hypervisor", json_boolean(strstr(value, " hypervisor")));
	for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		command_line(programs[i].command, value, sizeof(value));
		json_object_set_new(env, programs[i].name, json_string(value));
	}
	uname(&u);
	json_object_set_new(env, "kernel", json_string(u.release));
	json_object_set_new(env, "kvm", kvm_verdict_json(ev));
	json_object_set_new(env, "load_before", json_real(ev->load_before));
	json_object_set_new(env, "load_after", json_real(ev->load_after));
	snprintf(path, sizeof(path), "%s/../MANIFEST", ev->guest_dir);
	f = fopen(path, "r");
	while (f && fgets(value, sizeof(value), f)) {
		value[strcspn(value, "\n")] = 0;
		if (value[0] != '#')
			json_array_append_new(files, json_string(value));
	}
	if (f)
		fclose(f);
	json_object_set_new(env, "guest_files", files);
	return env;
}

static json_t *record(const struct eval *ev, const char *type)
{
	return json_pack("{s:i, s:s, s:s}", "schema", EVAL_SCHEMA, "run", ev->run_id, "type", type);
}

static void put(FILE *f, json_t *j)
{
	json_dumpf(j, f, JSON_COMPACT);
	fputc('\n', f);
	json_decref(j);
}

static json_t *group_json(const struct eval_group *g)
{
	return g ? json_string(g->name) : json_null();
}

static void put_samples(const struct eval *ev, FILE *f, const struct eval_run *r, unsigned block, const char *path,
			const char *pass, unsigned cpus, unsigned scale)
{
	if (!r->ran)
		return;
	for (unsigned w = 0; w < ev->nworkloads; w++) {
		const struct eval_sample *s = &r->w[w];
		json_t *j = record(ev, "sample");

		json_object_set_new(j, "block", json_integer(block));
		json_object_set_new(j, "order", json_integer(r->order));
		json_object_set_new(j, "path", json_string(path));
		json_object_set_new(j, "pass", json_string(pass));
		json_object_set_new(j, "workload", json_string(ev->workload[w]));
		json_object_set_new(j, "group", group_json(workload_group(ev->workload[w])));
		json_object_set_new(j, "cpus", json_integer(cpus));
		json_object_set_new(j, "scale", json_integer(scale));
		json_object_set_new(j, "ok", json_boolean(s->ok));
		if (s->ok) {
			json_object_set_new(j, "repeat", json_integer(s->repeat));
			json_object_set_new(j, "timed", json_boolean(s->timed));
			json_object_set_new(j, "wall_ns",
					    s->timed ? json_integer((json_int_t)s->wall_ns) : json_null());
			json_object_set_new(j, "cpu_ns", s->timed ? json_integer((json_int_t)s->cpu_ns) : json_null());
			json_object_set_new(j, "guest_wall_ns", json_integer((json_int_t)s->guest_wall_ns));
			json_object_set_new(j, "checksum", json_string(s->checksum));
		}
		put(f, j);
	}
}

static json_t *ratio_json(const struct eval *ev, const char *path, const char *what, const struct eval_group *g,
			  enum metric m, const struct stats_ratio *r)
{
	json_t *j = record(ev, "ratio");

	json_object_set_new(j, "path", json_string(path));
	json_object_set_new(j, "workload", json_string(what));
	json_object_set_new(j, "group", group_json(g));
	json_object_set_new(j, "metric", json_string(m == METRIC_CPU ? "cpu" : "wall"));
	json_object_set_new(j, "n", json_integer(r->n));
	json_object_set_new(j, "ratio", r->n ? json_real(r->ratio) : json_null());
	json_object_set_new(j, "lo", r->n > 1 ? json_real(r->lo) : json_null());
	json_object_set_new(j, "hi", r->n > 1 ? json_real(r->hi) : json_null());
	return j;
}

static json_t *run_json(const struct eval *ev)
{
	json_t *j = record(ev, "run"), *list = json_array();

	for (unsigned w = 0; w < ev->nworkloads; w++)
		json_array_append_new(list, json_string(ev->workload[w]));
	json_object_set_new(j, "workloads", list);
	json_object_set_new(j, "blocks", json_integer(ev->nblocks));
	json_object_set_new(j, "scale", json_integer(ev->scale));
	json_object_set_new(j, "slow_scale", json_integer(ev->slow_scale));
	json_object_set_new(j, "memory_mb", json_integer(ev->memory_mb));
	json_object_set_new(j, "seed", json_integer((json_int_t)ev->seed));
	json_object_set_new(j, "command", json_string(ev->command));
	json_object_set_new(j, "environment", environment_json(ev));
	return j;
}

static void put_path(const struct eval *ev, FILE *f, unsigned b, unsigned p)
{
	const struct eval_run *r = &ev->path_run[b][p];
	json_t *j;

	if (!r->ran)
		return;
	j = record(ev, "boot");
	json_object_set_new(j, "block", json_integer(b));
	json_object_set_new(j, "order", json_integer(r->order));
	json_object_set_new(j, "path", json_string(ev->path[p]->name));
	json_object_set_new(j, "cpus", json_integer(ev->path_cpus[p]));
	json_object_set_new(j, "ok", json_boolean(r->ok));
	json_object_set_new(j, "status", json_integer(r->status));
	json_object_set_new(j, "why", json_string(r->why));
	json_object_set_new(j, "wall_ns", json_integer((json_int_t)r->boot_wall_ns));
	json_object_set_new(j, "cpu_ns", json_integer((json_int_t)r->boot_cpu_ns));
	json_object_set_new(j, "ram_kb", json_integer((json_int_t)r->ram_kb));
	json_object_set_new(j, "over_ram_kb", json_integer((json_int_t)r->over_ram_kb));
	put(f, j);
	if (ev->path[p]->boot_only)
		return;
	put_samples(ev, f, r, b, ev->path[p]->name, "0", ev->path_cpus[p],
		    ev->path[p]->slow ? ev->slow_scale : ev->scale);
}

/* One over many for native and each path; nothing when all have one processor. */
static void put_scaling(const struct eval *ev, FILE *f)
{
	for (int k = -1; ev->cpus && k < (int)ev->npaths / 2; k++)
		for (unsigned w = 0; w < ev->nworkloads; w++)
			for (int m = METRIC_CPU; m <= METRIC_WALL; m++) {
				struct stats_ratio r = scaling_ratio(ev, k, w, (enum metric)m);
				json_t *j = ratio_json(ev, k < 0 ? "native" : ev->path[2 * k]->name, ev->workload[w],
						       workload_group(ev->workload[w]), (enum metric)m, &r);

				json_object_set_new(j, "type", json_string("scaling"));
				json_object_set_new(j, "cpus", json_integer(ev->cpus));
				put(f, j);
			}
}

int report_jsonl(const struct eval *ev, const char *path)
{
	FILE *f = fopen(path, "a");

	if (!f) {
		fprintf(stderr, "steelyard eval: %s: %s\n", path, strerror(errno));
		return 1;
	}
	put(f, run_json(ev));
	for (unsigned b = 0; b < ev->nblocks; b++) {
		put_samples(ev, f, &ev->native[b][0], b, "native", "0", 1, ev->scale);
		put_samples(ev, f, &ev->native[b][1], b, "native", "1", ev->cpus ? ev->cpus : 1, ev->scale);
		put_samples(ev, f, &ev->native_slow[b], b, "native", "slow", 1, ev->slow_scale);
		for (unsigned p = 0; p < ev->npaths; p++)
			put_path(ev, f, b, p);
	}
	put_scaling(ev, f);
	for (unsigned p = 0; p < ev->npaths && !ev->cpus; p++)
		for (int m = METRIC_CPU; m <= METRIC_WALL && !ev->path[p]->boot_only; m++) {
			const struct eval_group *g;
			struct stats_ratio r;

			for (unsigned w = 0; w < ev->nworkloads; w++) {
				r = analysis_ratio(ev, p, w, (enum metric)m);
				put(f, ratio_json(ev, ev->path[p]->name, ev->workload[w],
						  workload_group(ev->workload[w]), (enum metric)m, &r));
			}
			r = analysis_suite(ev, p, NULL, (enum metric)m);
			put(f, ratio_json(ev, ev->path[p]->name, "geomean", NULL, (enum metric)m, &r));
			for (unsigned i = 0; (g = group_at(i)); i++) {
				r = analysis_suite(ev, p, g, (enum metric)m);
				if (analysis_group_used(ev, g))
					put(f, ratio_json(ev, ev->path[p]->name, "geomean", g, (enum metric)m, &r));
			}
		}
	if (ferror(f) | fclose(f)) {
		fprintf(stderr, "steelyard eval: %s: cannot write\n", path);
		return 1;
	}
	return 0;
}

static json_t *scaling_json(const struct eval *ev)
{
	json_t *list = json_array();

	for (int k = -1; k < (int)ev->npaths / 2; k++)
		for (unsigned w = 0; w < ev->nworkloads; w++) {
			struct stats_ratio wall = scaling_ratio(ev, k, w, METRIC_WALL),
					   cpu = scaling_ratio(ev, k, w, METRIC_CPU);

			json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:f, s:f, s:b}", "path",
							      k < 0 ? "native" : ev->path[2 * k]->name, "workload",
							      ev->workload[w], "cpus", ev->cpus, "n", wall.n, "wall",
							      wall.ratio, "cpu", cpu.ratio, "checksum_differs",
							      scaling_differs(ev, k, w)));
		}
	return list;
}

void report_summary_json(const struct eval *ev)
{
	json_t *j = run_json(ev), *list = json_array();

	if (ev->cpus)
		json_object_set_new(j, "scaling", scaling_json(ev));
	for (unsigned p = 0; p < ev->npaths && !ev->cpus; p++) {
		struct stats_ratio cpu = analysis_suite(ev, p, NULL, METRIC_CPU),
				   boot = analysis_boot(ev, p, METRIC_CPU), memory = analysis_memory(ev, p);
		const char *why = analysis_path_failure(ev, p);
		json_t *row = json_object(), *rows = json_array(), *groups = json_object();

		json_object_set_new(row, "path", json_string(ev->path[p]->name));
		json_object_set_new(row, "ok", json_boolean(!why));
		json_object_set_new(row, "why", json_string(why ? why : ""));
		json_object_set_new(row, "boot_cpu_s", boot.n ? json_real(boot.ratio) : json_null());
		json_object_set_new(row, "cpu_ratio", cpu.n ? json_real(cpu.ratio) : json_null());
		for (unsigned w = 0; w < ev->nworkloads; w++) {
			struct stats_ratio r = analysis_ratio(ev, p, w, METRIC_CPU);

			json_array_append_new(rows, json_pack("{s:s, s:f, s:i, s:b}", "workload", ev->workload[w],
							      "cpu_ratio", r.ratio, "n", r.n, "checksum_differs",
							      analysis_checksum_differs(ev, p, w)));
		}
		if (memory.n)
			json_object_set_new(row, "over_ram_mib", json_real(memory.ratio));
		for (unsigned i = 0; group_at(i); i++) {
			struct stats_ratio r = analysis_suite(ev, p, group_at(i), METRIC_CPU);

			if (r.n)
				json_object_set_new(groups, group_at(i)->name, json_real(r.ratio));
		}
		json_object_set_new(row, "group_cpu_ratio", groups);
		json_object_set_new(row, "workloads", rows);
		json_array_append_new(list, row);
	}
	json_object_set_new(j, "type", json_string("summary"));
	json_object_set_new(j, "paths", list);
	json_dumpf(j, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(j);
}
