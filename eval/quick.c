// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * steelyard eval quick, bench and smp: workloads and the boot, natively and on each path, in one run.
 *
 * A block holds two native passes (the A/A control) and one boot of every path that runs all workloads; its order, and the
 * order of the workloads in each pass, come from a stored seed. "Quick" means few blocks, few workloads and small work;
 * "bench" is the whole suite, native before and after the paths, with means for each group. Slow paths get one block and
 * less work, and their ratio is to a native pass with the same work. "smp" has each path and the host with one processor
 * and with several, in the place of the two native passes and the one boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/eval.h"
#include "eval/quick.h"
#include "eval/run_cmd.h"

int report_main(int argc, char **argv);
int compare_main(int argc, char **argv);

static void usage(FILE *f, const struct eval_suite *suite)
{
	fprintf(f, "usage: steelyard eval %s [options]\n", suite ? suite->name : "KIND");
	for (unsigned i = 0; !suite && suite_at(i); i++)
		fprintf(f, "  %-17s %s\n", suite_at(i)->name, suite_at(i)->what);
	if (!suite)
		run_cmd_usage(f);
	if (!suite) {
		fprintf(f, "steelyard eval KIND --help lists the options\n");
		return;
	}
	fprintf(f,
		"  --workloads A,B   which kernels (default: %s)\n"
		"  --groups A,B      the kernels of these groups:\n",
		suite->workloads ? suite->workloads : "all");
	for (unsigned i = 0; group_at(i); i++)
		fprintf(f, "                      %-12s %s\n", group_at(i)->name, group_at(i)->title);
	fprintf(f, "  --paths A,B       which paths and peers (default: %s), of:\n", suite->paths);
	for (unsigned i = 0; eval_path_at(i); i++)
		fprintf(f, "                      %-12s %s\n", eval_path_at(i)->name, eval_path_at(i)->what);
	fprintf(f,
		"  --blocks N        blocks of every path, 1..%d (default %u; slow paths: one)\n"
		"  --scale P         work in percent of the full kernels (default %u)\n"
		"  --slow-scale P    the same for slow paths (default 1)\n"
		"  --memory M        guest memory in MiB (default 512)\n"
		"%s"
		"  --seed N          for the order (default: from the clock; it is stored)\n"
		"  --guest DIR       vmlinuz, initrd and workloads (default: guest/amd64 beside the program)\n"
		"  --out DIR         results.jsonl and a page go there (default %s)\n"
		"  --json            print the summary as JSON instead of tables\n",
		EVAL_MAX_BLOCKS, suite->blocks, suite->scale,
		suite->cpus ? "  --cpus N          one processor is compared with N (default 2)\n" : "",
		suite->out_dir);
}

static uint64_t next_random(uint64_t *s)
{
	*s += 0x9e3779b97f4a7c15ull;
	uint64_t z = *s;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void shuffle(unsigned *a, unsigned n, uint64_t *seed)
{
	for (unsigned i = 0; i < n; i++)
		a[i] = i;
	for (unsigned i = n; i > 1; i--) {
		unsigned j = (unsigned)(next_random(seed) % i), t = a[i - 1];

		a[i - 1] = a[j];
		a[j] = t;
	}
}

static bool parse_number(const char *s, unsigned long lo, unsigned long hi, unsigned *out, const char *what)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || end == s || *s == '-' || v < lo || v > hi) {
		fprintf(stderr, "steelyard eval: %s must be a number from %lu to %lu, not \"%s\"\n", what, lo, hi, s);
		return false;
	}
	*out = (unsigned)v;
	return true;
}

static bool parse_paths(struct eval *ev, char *list)
{
	char *save = NULL;

	for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		const struct eval_path *p = eval_path_find(name);

		if (!p) {
			fprintf(stderr, "steelyard eval: no path is called \"%s\"; see steelyard eval %s --help\n",
				name, ev->suite->name);
			return false;
		}
		for (unsigned i = 0; i < ev->npaths; i++)
			if (ev->path[i] == p)
				p = NULL;
		for (unsigned many = 0; p && many <= (ev->cpus != 0) && ev->npaths < EVAL_MAX_PATHS; many++) {
			ev->path_cpus[ev->npaths] = many ? ev->cpus : 1;
			ev->path[ev->npaths++] = p;
		}
	}
	return true;
}

static bool parse_workloads(struct eval *ev, char *list)
{
	char *save = NULL;

	for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (ev->nworkloads == EVAL_MAX_WORKLOADS || strlen(name) > 24 ||
		    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(name)) {
			fprintf(stderr, "steelyard eval: \"%.40s\" is not a workload\n", name);
			return false;
		}
		for (unsigned i = 0; i < ev->nworkloads; i++)
			if (!strcmp(ev->workload[i], name)) {
				fprintf(stderr, "steelyard eval: workload %s is named twice\n", name);
				return false;
			}
		ev->workload[ev->nworkloads++] = name;
	}
	if (!ev->nworkloads)
		fprintf(stderr, "steelyard eval: no workload is named\n");
	return ev->nworkloads > 0;
}

/* The whole suite, or the groups in the list. */
static bool take_groups(struct eval *ev, char *list)
{
	const struct eval_group *want[EVAL_MAX_WORKLOADS];
	char *save = NULL;
	unsigned n = 0;

	for (char *name = list ? strtok_r(list, ",", &save) : NULL; name; name = strtok_r(NULL, ",", &save)) {
		want[n] = group_find(name);
		if (!want[n]) {
			fprintf(stderr, "steelyard eval: no group is called \"%.40s\"; see steelyard eval %s --help\n",
				name, ev->suite->name);
			return false;
		}
		if (++n == ARRAY_LEN(want))
			break;
	}
	for (unsigned i = 0; workload_at(i) && ev->nworkloads < EVAL_MAX_WORKLOADS; i++) {
		bool in = !list && workload_group(workload_at(i))->in_bench;

		for (unsigned k = 0; k < n; k++)
			in |= workload_group(workload_at(i)) == want[k];
		if (in)
			ev->workload[ev->nworkloads++] = workload_at(i);
	}
	return true;
}

static double load_average(void)
{
	double l = 0;

	return getloadavg(&l, 1) == 1 ? l : 0;
}

/* The guest files must be there before an hour is spent. */
static bool check_guest_files(const struct eval *ev)
{
	static const char *const need[] = {"vmlinuz", "initrd", "workloads"};

	for (unsigned i = 0; i < ARRAY_LEN(need); i++) {
		char path[4200];

		snprintf(path, sizeof(path), "%s/%s", ev->guest_dir, need[i]);
		if (access(path, R_OK)) {
			fprintf(stderr,
				"steelyard eval: %s: %s; make guest builds the guest files, --guest DIR names another "
				"place\n",
				path, strerror(errno));
			return false;
		}
	}
	return true;
}

/* What the host does not have cannot be compared with it. */
static bool check_cpus(const struct eval *ev)
{
	cpu_set_t set;

	if (!ev->cpus || (!sched_getaffinity(0, sizeof(set), &set) && (unsigned)CPU_COUNT(&set) >= ev->cpus))
		return true;
	fprintf(stderr, "steelyard eval: --cpus %u: this host lets us use fewer; compare with what it has\n", ev->cpus);
	return false;
}

static bool make_folder(const char *dir)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
		return false;
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(path, 0777);
		*p = '/';
	}
	return !mkdir(path, 0777) || errno == EEXIST;
}

static void progress(const struct eval *ev, unsigned block, const char *name, const struct eval_run *r)
{
	fprintf(stderr, "block %u/%u  %-12s ", block + 1, ev->nblocks, name);
	if (!r->ok)
		fprintf(stderr, "failed: %s\n", r->why);
	else if (r->boot_wall_ns)
		fprintf(stderr, "boot to init %.2f s, %.2f s of CPU\n", (double)r->boot_wall_ns * 1e-9,
			(double)r->boot_cpu_ns * 1e-9);
	else
		fprintf(stderr, "done\n");
}

/* Items of a block: 0 and 1 are the native passes, 2.. the paths. */
static void order_items(const struct eval *ev, unsigned *items, uint64_t *seed)
{
	if (!ev->suite->by_group) {
		shuffle(items, ev->npaths + 2, seed);
		return;
	}
	shuffle(items + 1, ev->npaths, seed);
	items[0] = 0;
	for (unsigned i = 1; i <= ev->npaths; i++)
		items[i] += 2;
	items[ev->npaths + 1] = 1;
}

static void run_block(struct eval *ev, unsigned b, uint64_t *seed)
{
	unsigned items[EVAL_MAX_PATHS + 2], order[EVAL_MAX_WORKLOADS];
	bool slow_native = false;

	order_items(ev, items, seed);
	for (unsigned i = 0; i < ev->npaths + 2; i++) {
		unsigned p = items[i] - 2;

		shuffle(order, ev->nworkloads, seed);
		if (items[i] < 2) {
			native_run(ev, &ev->native[b][items[i]], ev->scale, ev->cpus && items[i] ? ev->cpus : 1, order);
			progress(ev, b, "native", &ev->native[b][items[i]]);
			continue;
		}
		/* What has failed fails again: its reason is known. */
		if ((b && ev->path[p]->slow) || (b && ev->path_run[0][p].ran && !ev->path_run[0][p].ok))
			continue;
		path_run_block(ev, ev->path[p], ev->path_cpus[p], &ev->path_run[b][p], order);
		progress(ev, b, ev->path[p]->name, &ev->path_run[b][p]);
		if (ev->path[p]->slow && ev->slow_scale != ev->scale && !slow_native) {
			native_run(ev, &ev->native_slow[b], ev->slow_scale, 1, order);
			slow_native = true;
		}
	}
}

static int run(struct eval *ev)
{
	char path[4200];
	uint64_t seed = ev->seed;
	unsigned good = 0;

	if (!check_guest_files(ev) || !check_cpus(ev))
		return 1;
	if (!make_folder(ev->out_dir)) {
		fprintf(stderr, "steelyard eval: cannot make %s: %s\n", ev->out_dir, strerror(errno));
		return 1;
	}
	ev->load_before = load_average();
	for (unsigned b = 0; b < ev->nblocks; b++)
		run_block(ev, b, &seed);
	ev->load_after = load_average();
	if (ev->json)
		report_summary_json(ev);
	else if (ev->cpus)
		scaling_table(ev);
	else
		report_table(ev);
	snprintf(path, sizeof(path), "%s/results.jsonl", ev->out_dir);
	if (report_jsonl(ev, path))
		return 1;
	if (!ev->json)
		printf("\nsamples: %s\n", path);
	snprintf(path, sizeof(path), "%s/report.html", ev->out_dir);
	if (!ev->cpus && report_html(ev, path))
		return 1;
	if (!ev->json && !ev->cpus)
		printf("page:    %s\n", path);
	for (unsigned p = 0; p < ev->npaths; p++)
		good += !analysis_path_failure(ev, p);
	if (ev->npaths && !good)
		fprintf(stderr, "steelyard eval: no path could run\n");
	return ev->npaths && !good;
}

static void remember_command(struct eval *ev, int argc, char **argv)
{
	size_t n = (size_t)snprintf(ev->command, sizeof(ev->command), "steelyard eval");

	for (int i = 1; i < argc && n < sizeof(ev->command); i++)
		n += (size_t)snprintf(ev->command + n, sizeof(ev->command) - n, " %s", argv[i]);
}

static int suite_main(const struct eval_suite *suite, int argc, char **argv)
{
	static const struct option options[] = {
		{"workloads", 1, 0, 'w'},  {"paths", 1, 0, 'p'},
		{"blocks", 1, 0, 'b'},     {"scale", 1, 0, 's'},
		{"slow-scale", 1, 0, 'S'}, {"memory", 1, 0, 'm'},
		{"seed", 1, 0, 'r'},       {"guest", 1, 0, 'g'},
		{"out", 1, 0, 'o'},        {"json", 0, 0, 'j'},
		{"help", 0, 0, 'h'},       {"groups", 1, 0, 'G'},
		{"cpus", 1, 0, 'c'},       {0},
	};
	struct eval *ev = calloc(1, sizeof(*ev));
	char *workloads = suite->workloads ? strdup(suite->workloads) : NULL, *path_list = strdup(suite->paths);
	char *groups = NULL, *end;
	struct timespec now;
	bool fine = true;
	int c, rc = 2;
	ssize_t n;

	if (!ev || (suite->workloads && !workloads) || !path_list) {
		fprintf(stderr, "steelyard eval: out of memory\n");
		rc = 1;
		goto out;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	*ev = (struct eval){.suite = suite,
			    .nblocks = suite->blocks,
			    .scale = suite->scale,
			    .slow_scale = 1,
			    .memory_mb = 512,
			    .cpus = suite->cpus,
			    .out_dir = suite->out_dir};
	ev->seed = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	snprintf(ev->run_id, sizeof(ev->run_id), "%" PRIu64, ev->seed);
	remember_command(ev, argc, argv);
	n = readlink("/proc/self/exe", ev->self, sizeof(ev->self) - 1);
	if (n > 0 && strrchr(ev->self, '/'))
		snprintf(ev->guest_dir, sizeof(ev->guest_dir), "%.*s/guest/amd64",
			 (int)(strrchr(ev->self, '/') - ev->self), ev->self);
	optind = 2;
	opterr = 0;
	while (fine && (c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			free(workloads);
			workloads = strdup(optarg);
			fine = workloads != NULL;
			break;
		case 'G':
			free(groups);
			free(workloads);
			workloads = NULL;
			groups = strdup(optarg);
			fine = groups != NULL;
			break;
		case 'p':
			free(path_list);
			path_list = strdup(optarg);
			break;
		case 'b':
			fine = parse_number(optarg, 1, EVAL_MAX_BLOCKS, &ev->nblocks, "--blocks");
			break;
		case 's':
			fine = parse_number(optarg, 1, 10000, &ev->scale, "--scale");
			break;
		case 'S':
			fine = parse_number(optarg, 1, 10000, &ev->slow_scale, "--slow-scale");
			break;
		case 'm':
			fine = parse_number(optarg, 64, 1u << 20, &ev->memory_mb, "--memory");
			break;
		case 'c':
			fine = suite->cpus;
			if (!fine)
				fprintf(stderr, "steelyard eval: --cpus is for eval smp\n");
			fine = fine && parse_number(optarg, 2, 64, &ev->cpus, "--cpus");
			break;
		case 'r':
			errno = 0;
			ev->seed = strtoull(optarg, &end, 10);
			fine = !errno && !*end && end != optarg;
			if (!fine)
				fprintf(stderr, "steelyard eval: --seed must be a number, not \"%s\"\n", optarg);
			break;
		case 'g':
			snprintf(ev->guest_dir, sizeof(ev->guest_dir), "%s", optarg);
			break;
		case 'o':
			ev->out_dir = optarg;
			break;
		case 'j':
			ev->json = true;
			break;
		case 'h':
			usage(stdout, suite);
			rc = 0;
			goto out;
		default:
			fprintf(stderr, "steelyard eval: %s %s; see steelyard eval %s --help\n", argv[optind - 1],
				c == ':' ? "needs a value" : "is not an option", suite->name);
			fine = false;
		}
	}
	if (fine && optind < argc) {
		fprintf(stderr, "steelyard eval: what is \"%s\"? See steelyard eval %s --help\n", argv[optind],
			suite->name);
		fine = false;
	}
	if (!path_list) {
		fprintf(stderr, "steelyard eval: out of memory\n");
		rc = 1;
	} else if (fine && (workloads ? parse_workloads(ev, workloads) : take_groups(ev, groups)) &&
		   parse_paths(ev, path_list)) {
		rc = run(ev);
	}
out:
	free(workloads);
	free(groups);
	free(path_list);
	free(ev);
	return rc;
}

int eval_main(int argc, char **argv)
{
	const struct eval_suite *suite = argc >= 2 ? suite_find(argv[1]) : NULL;
	int rc = run_cmd(argc, argv);

	if (rc >= 0)
		return rc;
	if (suite)
		return suite_main(suite, argc, argv);
	if (argc >= 2 && !strcmp(argv[1], "report"))
		return report_main(argc - 1, argv + 1);
	if (argc >= 2 && !strcmp(argv[1], "compare"))
		return compare_main(argc - 1, argv + 1);
	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		usage(stdout, NULL);
		return 0;
	}
	usage(stderr, NULL);
	return 2;
}
