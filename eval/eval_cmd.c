// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The command line of steelyard eval: a verb is a row of the table at the end; the name of a built-in spec alone is short for "run" with
 * it. A spec is the name of a built-in one or a file;
 * each of its numbers has an option of its own (eval/run/spec.c), whose name has "-" for "_".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/eval.h"
#include "eval/run/machine.h"
#include "eval/report/report.h"
#include "eval/run/runner.h"
#include "eval/schema.h"
#include "eval/seal.h"

static int complain(const char *text)
{
	fprintf(stderr, "steelyard eval: %s\n", text);
	return 2;
}

/* "blocks_max" as an option is "--blocks-max". */
static bool is_option(const char *arg, const char *key)
{
	if (strncmp(arg, "--", 2))
		return false;
	for (arg += 2; *key && (*arg == *key || (*arg == '-' && *key == '_')); arg++)
		key++;
	return !*key && !*arg;
}

static void run_usage(FILE *f)
{
	const char *key, *what;
	double lo, hi;
	bool whole;

	fprintf(f, "usage: steelyard eval run SPEC|FILE [options]      (steelyard eval list has the specs)\n"
		   "  --workloads A,B     these, in the place of the spec's\n"
		   "  --groups A,B        the workloads of these groups\n"
		   "  --paths A,B         these paths and peers; NAME:CPUS for more than one processor\n");
	for (unsigned i = 0; spec_number_at(i, &key, &what, &lo, &hi, &whole); i++) {
		char option[40];

		snprintf(option, sizeof(option), "--%s N", key);
		for (char *p = option; *p; p++)
			if (*p == '_')
				*p = '-';
		fprintf(f, "  %-19s %s\n", option, what);
	}
	fprintf(f, "  --launcher NAME     who runs the blocks:");
	for (unsigned i = 0; launcher_at(i); i++)
		fprintf(f, "%s %s (%s)", i ? ";" : "", launcher_at(i)->name, launcher_at(i)->what);
	fprintf(f, "\n"
		   "  --slurm-args TEXT   more arguments for sbatch, as a shell would split them\n"
		   "  --detach            of a sweep: leaves when its tasks are submitted; eval resume DIR waits and "
		   "merges\n");
	fprintf(f, "  --guest DIR         vmlinuz, initrd and workloads (default: guest/amd64 beside the program)\n"
		   "  --out DIR           the results folder (default: build/eval/SPEC-TIME)\n"
		   "  --rotate            a DIR that has results is renamed to DIR.1, DIR.2, ...; without it, it is an "
		   "error\n"
		   "  --json              the summary on the terminal in the place of the table\n"
		   "  --no-report         measures only; eval report DIR makes the rest later\n");
}

/* A value for the option at argv[*i]; NULL with a line said. */
static const char *value_of(int argc, char **argv, int *i)
{
	char text[200];

	if (*i + 1 < argc)
		return argv[++*i];
	snprintf(text, sizeof(text), "%.60s needs a value", argv[*i]);
	complain(text);
	return NULL;
}

static bool set_number(struct eval_spec *s, const char *key, const char *value, char *text, size_t n)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(value, &end);
	if (errno || end == value || *end) {
		snprintf(text, n, "--%s: \"%.40s\" is not a number", key, value);
		return false;
	}
	return spec_set(s, key, v, text, n);
}

static bool take_launcher(struct runner *r, const char *name, char *text, size_t n)
{
	const struct launcher *l = launcher_find(name);

	if (!l) {
		snprintf(text, n, "no launcher is called \"%.40s\"; see steelyard eval run --help", name);
		return false;
	}
	r->launcher = l->submit ? l : NULL;
	return true;
}

static bool take_launcher_args(struct runner *r, const char *args, char *text, size_t n)
{
	if (snprintf(r->launcher_args, sizeof(r->launcher_args), "%s", args) < (int)sizeof(r->launcher_args))
		return true;
	snprintf(text, n, "--slurm-args: more than %zu bytes", sizeof(r->launcher_args) - 1);
	return false;
}

static bool take_option(struct runner *r, const char *arg, const char *value, char *text, size_t n)
{
	const char *key, *what;
	double lo, hi;
	bool whole;

	if (!strcmp(arg, "--workloads"))
		return spec_workloads(&r->spec, value, text, n);
	if (!strcmp(arg, "--groups"))
		return spec_groups(&r->spec, value, text, n);
	if (!strcmp(arg, "--paths"))
		return spec_paths(&r->spec, value, text, n);
	if (!strcmp(arg, "--launcher"))
		return take_launcher(r, value, text, n);
	if (!strcmp(arg, "--slurm-args"))
		return take_launcher_args(r, value, text, n);
	if (!strcmp(arg, "--guest") || !strcmp(arg, "--out")) {
		snprintf(arg[2] == 'g' ? r->guest_dir : r->dir, sizeof(r->dir), "%s", value);
		return true;
	}
	for (unsigned i = 0; spec_number_at(i, &key, &what, &lo, &hi, &whole); i++)
		if (is_option(arg, key))
			return set_number(&r->spec, key, value, text, n);
	snprintf(text, n, "%.60s is not an option; see steelyard eval run --help", arg);
	return false;
}

static void know_places(struct runner *r)
{
	ssize_t n = readlink("/proc/self/exe", r->self, sizeof(r->self) - 1);

	if (n > 0 && strrchr(r->self, '/'))
		snprintf(r->guest_dir, sizeof(r->guest_dir), "%.*s/guest/amd64", (int)(strrchr(r->self, '/') - r->self),
			 r->self);
}

static void remember_command(struct runner *r, int argc, char **argv)
{
	size_t n = (size_t)snprintf(r->command, sizeof(r->command), "steelyard eval");
	bool seeded = false;

	for (int i = 1; i < argc && n < sizeof(r->command); i++) {
		seeded |= !strcmp(argv[i], "--seed");
		n += (size_t)snprintf(r->command + n, sizeof(r->command) - n, " %s", argv[i]);
	}
	if (!seeded && n < sizeof(r->command))
		snprintf(r->command + n, sizeof(r->command) - n, " --seed %" PRIu64, r->spec.seed);
}

static void default_folder(struct runner *r)
{
	time_t t = time(NULL);
	struct tm tm;
	char when[40];

	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", gmtime_r(&t, &tm));
	if (!r->dir[0])
		snprintf(r->dir, sizeof(r->dir), "build/eval/%s-%s", r->spec.name, when);
}

static bool take_spec(struct runner *r, const char *arg, char *text, size_t n)
{
	const struct eval_suite *row = suite_find(arg);
	struct timespec now;
	bool fine;

	if (!row && !strchr(arg, '/') && !strstr(arg, ".json")) {
		snprintf(text, n, "no spec is called \"%.40s\"; steelyard eval list has them, a file ends in .json",
			 arg);
		return false;
	}
	fine = row ? spec_builtin(row, &r->spec, text, n) : spec_read(arg, &r->spec, text, n);
	clock_gettime(CLOCK_REALTIME, &now);
	if (fine && !r->spec.seed)
		r->spec.seed = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	return fine;
}

static void free_runner(struct runner *r)
{
	record_close(&r->log);
	plan_free(&r->plan);
	ledger_free(&r->ledger);
	free(r);
}

static struct runner *new_runner(void)
{
	struct runner *r = calloc(1, sizeof(*r));

	if (!r || !ledger_init(&r->ledger)) {
		fprintf(stderr, "steelyard eval: out of memory\n");
		free(r);
		return NULL;
	}
	r->log.fd = r->log.lock_fd = r->stop_fd = r->part = -1;
	know_places(r);
	return r;
}

/* The folder's report and its seals. What a run that did not get to its end has is reported too. */
static int report_folder(const char *dir, bool json)
{
	struct report_options o = {.json = json};
	char text[400];
	int rc = eval_report(dir, &o);

	if (seal_write(dir, text, sizeof(text)))
		return rc;
	fprintf(stderr, "steelyard eval: %s\n", text);
	return 1;
}

/* Makes room for a new run where an older one is. */
static bool rotate(const char *dir, char *text, size_t n)
{
	char results[4200], aside[4200];

	snprintf(results, sizeof(results), "%.4000s/results.jsonl", dir);
	if (access(results, F_OK))
		return true;
	for (unsigned i = 1; i < 10000; i++) {
		snprintf(aside, sizeof(aside), "%.4000s.%u", dir, i);
		if (!access(aside, F_OK))
			continue;
		if (!rename(dir, aside))
			return true;
		break;
	}
	snprintf(text, n, "%.300s has results already, and cannot be renamed: %s", dir, strerror(errno));
	return false;
}

/* No path could run: the whole was in vain. */
static bool nothing_ran(const struct runner *r)
{
	for (unsigned i = 0; i < r->spec.npaths; i++)
		if (!ledger_given_up(&r->ledger, &r->spec.path[i], NULL))
			return false;
	return r->spec.npaths > 0;
}

/* Behind a run, new or resumed. */
static int conclude(const struct runner *r, int rc, bool report, bool json)
{
	if (rc == 1 || r->detached)
		return rc;
	if (report && report_folder(r->dir, json))
		return 1;
	if (!report)
		printf("results: %s\n", r->dir);
	if (!rc && nothing_ran(r)) {
		fprintf(stderr, "steelyard eval: no path could run\n");
		return 1;
	}
	return rc;
}

static int run_verb(int argc, char **argv)
{
	struct runner *r = new_runner();
	char text[600];
	bool fine, report = true, json = false, rotates = false, detach = false;
	const struct {
		const char *name;
		bool *to, value;
	} flags[] = {{"--rotate", &rotates, true},
		     {"--json", &json, true},
		     {"--no-report", &report, false},
		     {"--detach", &detach, true}};
	unsigned flag;
	int rc = 2, i = 2;

	if (!r)
		return 1;
	fine = argc > 2 && take_spec(r, argv[2], text, sizeof(text));
	if (argc < 3)
		snprintf(text, sizeof(text), "run needs a spec: steelyard eval list has them");
	while (fine && ++i < argc) {
		const char *arg = argv[i], *value;

		if (strncmp(arg, "--", 2)) {
			snprintf(text, sizeof(text), "what is \"%.60s\"? See steelyard eval run --help", arg);
			fine = false;
			break;
		}
		for (flag = 0; flag < ARRAY_LEN(flags) && strcmp(arg, flags[flag].name); flag++)
			;
		if (flag < ARRAY_LEN(flags)) {
			*flags[flag].to = flags[flag].value;
			continue;
		}
		value = value_of(argc, argv, &i);
		if (!value)
			goto out;
		fine = take_option(r, arg, value, text, sizeof(text));
	}
	r->detach = detach;
	if (fine && r->launcher)
		r->spec.pilot_blocks = 0;
	if (fine && !r->launcher && (detach || r->launcher_args[0])) {
		snprintf(text, sizeof(text), "--detach and --slurm-args need --launcher slurm");
		fine = false;
	}
	if (fine && spec_check(&r->spec, text, sizeof(text))) {
		default_folder(r);
		remember_command(r, argc, argv);
		rc = 1;
		if (runner_ready(r, !r->launcher, text, sizeof(text)) &&
		    (!r->launcher || r->launcher->ready(text, sizeof(text))) &&
		    (!rotates || rotate(r->dir, text, sizeof(text))))
			rc = conclude(r, runner_run(r), report, json);
		else
			complain(text);
	} else {
		complain(text);
	}
out:
	free_runner(r);
	return rc;
}

static int resume_verb(int argc, char **argv)
{
	struct runner *r;
	char text[200] = "";
	int rc = 2;

	if (argc < 3)
		return complain(
			"resume needs a results folder: steelyard eval resume DIR [--guest DIR] [--slurm-args TEXT] "
			"[--detach]");
	r = new_runner();
	if (!r)
		return 1;
	snprintf(r->dir, sizeof(r->dir), "%s", argv[2]);
	for (int i = 3; i < argc && !text[0]; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], "--detach")) {
			r->detach = true;
			continue;
		}
		if (!value || (strcmp(argv[i], "--guest") && strcmp(argv[i], "--slurm-args")))
			snprintf(text, sizeof(text), "%.60s%s", argv[i],
				 value ? " is no option of resume: --guest DIR, --slurm-args TEXT, --detach"
				       : " needs a value, or is no option of resume");
		else
			take_option(r, argv[i], value, text, sizeof(text));
		i++;
	}
	rc = text[0] ? complain(text) : conclude(r, runner_resume(r), true, false);
	free_runner(r);
	return rc;
}

/* What a task of a sweep runs. */
static int part_verb(int argc, char **argv)
{
	struct runner *r;
	char *end = NULL;
	unsigned long block = argc > 3 ? strtoul(argv[3], &end, 10) : 0;
	int rc;

	if ((argc != 4 && !(argc == 6 && !strcmp(argv[4], "--guest"))) || !end || end == argv[3] || *end ||
	    block >= SPEC_MAX_BLOCKS)
		return complain(
			"part needs the folder of a sweep and a block: steelyard eval part DIR BLOCK [--guest DIR]");
	r = new_runner();
	if (!r)
		return 1;
	snprintf(r->dir, sizeof(r->dir), "%s", argv[2]);
	if (argc == 6)
		snprintf(r->guest_dir, sizeof(r->guest_dir), "%s", argv[5]);
	rc = sweep_part(r, (unsigned)block);
	free_runner(r);
	return rc;
}

static int verify_verb(int argc, char **argv)
{
	char text[600];

	if (argc != 3)
		return complain("verify needs one results folder: steelyard eval verify DIR");
	return verify_folder(argv[2], summary_verify(argv[2], text, sizeof(text)) ? NULL : text);
}

static int schema_verb(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	schema_print(stdout);
	return 0;
}

static int list_verb(int argc, char **argv)
{
	char why[200];

	(void)argc;
	(void)argv;
	printf("specs\n");
	for (unsigned i = 0; suite_at(i); i++)
		printf("  %-13s %s\n", suite_at(i)->name, suite_at(i)->what);
	printf("\nworkloads\n");
	for (unsigned i = 0; workload_at(i); i++)
		printf("  %-13s %-5s %s\n", workload_at(i), workload_group(workload_at(i))->name, workload_what(i));
	printf("\ngroups\n");
	for (unsigned i = 0; group_at(i); i++)
		printf("  %-13s %s\n", group_at(i)->name, group_at(i)->title);
	printf("\npaths and peers beside native\n");
	for (unsigned i = 0; eval_path_at(i); i++) {
		const struct eval_path *p = eval_path_at(i);
		bool no = path_why_not(p, why, sizeof(why));

		printf("  %-13s %-44s %s%s\n", p->name, p->what, no ? "cannot run here: " : "can be tried here",
		       no ? why : "");
	}
	printf("\n\"can be tried\": steelyard probe says what this host's KVM is worth.\n");
	return 0;
}

/* The report's own parsers count from their verb. */
static int report_verb(int argc, char **argv)
{
	return report_main(argc - 1, argv + 1);
}

static int compare_verb(int argc, char **argv)
{
	return compare_main(argc - 1, argv + 1);
}

static int machine_verb(int argc, char **argv)
{
	return machine_main(argc - 1, argv + 1);
}

static const struct {
	const char *name, *args, *what;
	int (*run)(int argc, char **argv);
	bool own_help;
} verbs[] = {
	{"list", "", "specs, workloads, groups, paths and why one cannot run here", list_verb, false},
	{"run", "SPEC|FILE [options]", "measures, and writes the report; run --help has the options", run_verb, false},
	{"resume", "DIR [options]", "goes on with a run that was interrupted, killed or had no room", resume_verb,
	 false},
	{"part", "DIR BLOCK", "one block of a sweep, as its tasks run it (--launcher)", part_verb, false},
	{"report", "DIR [options]", "table, page, pictures and summary of a results folder", report_verb, true},
	{"compare", "A B [options]", "two results folders, with intervals", compare_verb, true},
	{"machine", "[options]", "what single operations cost: exits, faults, page tables, interrupts", machine_verb,
	 true},
	{"verify", "DIR", "checks a results folder: records, plan, checksums, summary, SHA256SUMS", verify_verb, false},
	{"schema", "", "the records and their fields, as docs/results.md has them", schema_verb, false},
};

static void usage(FILE *f)
{
	fprintf(f, "usage: steelyard eval VERB ...\n");
	for (unsigned i = 0; i < ARRAY_LEN(verbs); i++) {
		char head[60];

		snprintf(head, sizeof(head), "%s %s", verbs[i].name, verbs[i].args);
		fprintf(f, "  %-26s %s\n", head, verbs[i].what);
	}
	fprintf(f, "The name of a spec alone is short for \"run\" with it:\n");
	for (unsigned i = 0; suite_at(i); i++)
		fprintf(f, "  %-26s %s\n", suite_at(i)->name, suite_at(i)->what);
}

static bool asks_help(int argc, char **argv)
{
	return argc > 2 && (!strcmp(argv[argc - 1], "--help") || !strcmp(argv[argc - 1], "-h"));
}

/* eval quick ... becomes eval run quick ... */
static int short_form(int argc, char **argv)
{
	char **longer = calloc((size_t)argc + 2, sizeof(*longer));
	int rc;

	if (!longer) {
		fprintf(stderr, "steelyard eval: out of memory\n");
		return 1;
	}
	longer[0] = argv[0];
	longer[1] = (char *)"run";
	memcpy(longer + 2, argv + 1, ((size_t)argc - 1) * sizeof(*longer));
	rc = eval_main(argc + 1, longer);
	free(longer);
	return rc;
}

int eval_main(int argc, char **argv)
{
	for (unsigned i = 0; argc > 1 && i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].name, argv[1]))
			continue;
		if (asks_help(argc, argv) && !verbs[i].own_help) {
			if (verbs[i].run == run_verb)
				run_usage(stdout);
			else
				printf("usage: steelyard eval %s%s%s\n%s\n", verbs[i].name, *verbs[i].args ? " " : "",
				       verbs[i].args, verbs[i].what);
			return 0;
		}
		if (argc > 2 && !*verbs[i].args) {
			fprintf(stderr, "steelyard eval %s: what is \"%.60s\"? It takes no argument\n", verbs[i].name,
				argv[2]);
			return 2;
		}
		return verbs[i].run(argc, argv);
	}
	if (argc > 1 && suite_find(argv[1]))
		return short_form(argc, argv);
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		usage(stdout);
		return 0;
	}
	if (argc > 1)
		fprintf(stderr,
			"steelyard eval: \"%.60s\" is neither a verb nor a spec: steelyard eval --help has both\n",
			argv[1]);
	else
		fputs("steelyard eval: give a verb or a spec, such as \"run quick\": steelyard eval --help has both\n",
		      stderr);
	return 2;
}
