// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * macro: runs one workload of the macro suite, the same static program in the guest and on the host.
 *
 *   macro                                  list the workloads
 *   macro --packages                       the Debian packages that the suite needs, one a line
 *   macro [--mark | --port] [--one-cpu | --cpus N] [--repeat N] [--slower P] [--tree DIR] [--keep] NAME [PERCENT]
 *
 * Before the clock starts it makes an empty folder on /tmp and the workload's input in it. Then the row's command runs there, by dash, with
 * a fixed environment, its output into a file whose checksum is the result. --mark, --port, --one-cpu, --cpus, --repeat, --slower and
 * the lines printed are those of the program "workloads" (wmain.c). A command that fails gives no result but a line on stderr and status 1.
 * --tree enters the Debian tree first (enter.c), in a child process: without it the present root is the tree. --keep leaves the folder
 * behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../harness.h"
#include "macro_tool.h"

#define WORK_DIR "/tmp/steelyard-macro"
#define SCRIPT_DIR "/usr/share/steelyard"
#define SHELL "/usr/bin/dash"

struct row {
	const char *name, *group, *packages;
	uint64_t amount, least;
	enum macro_input input;
	uint64_t input_bytes;
	const char *command, *what;
};

static const struct row table[] = {
#define MW(name, group, packages, amount, least, input, bytes, command, what) \
	{#name, #group, packages, amount, least, INPUT_##input, bytes, command, what},
#include "../macro.def"
};
#define NROWS (sizeof(table) / sizeof(table[0]))

struct order {
	enum mark_way way;
	bool keep;
	double slower; /* percent */
	unsigned cpus; /* 0: all that there are */
	unsigned long repeat, percent;
	const char *tree;
	const struct row *row;
};

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void work_dir_remove(void)
{
	if (!chdir("/"))
		nftw(WORK_DIR, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* An empty folder with the row's input, the present one from now on. */
static bool work_dir_make(const struct order *o, uint64_t n)
{
	const struct row *r = o->row;
	FILE *f;
	bool ok;

	work_dir_remove();
	if (mkdir(WORK_DIR, 0700) || chdir(WORK_DIR)) {
		fprintf(stderr, "macro: %s: %s\n", WORK_DIR, strerror(errno));
		return false;
	}
	if (r->input == INPUT_none)
		return true;
	f = fopen("in", "w");
	ok = f && input_write(f, r->input, r->input_bytes ? r->input_bytes : n);
	if (!ok || fclose(f)) {
		fprintf(stderr, "macro: %s: the input: %s\n", r->name, strerror(errno));
		return false;
	}
	return true;
}

/* Runs the command once; its output replaces what is in the file. Returns its status as the shell would say it. */
static int run_command(const struct row *r, uint64_t n, int result)
{
	char amount[40];
	char *argv[] = {"dash", "-c", (char *)r->command, NULL};
	char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=" WORK_DIR,
			"PWD=" WORK_DIR,
			"S=" SCRIPT_DIR,
			"LC_ALL=C",
			"TZ=UTC0",
			"PYTHONHASHSEED=0",
			"PYTHONDONTWRITEBYTECODE=1",
			"PERL_HASH_SEED=0",
			amount,
			NULL};
	int status = -1, null;
	pid_t pid;

	snprintf(amount, sizeof(amount), "N=%" PRIu64, n);
	if (ftruncate(result, 0) || lseek(result, 0, SEEK_SET) < 0)
		return -1;
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		null = open("/dev/null", O_RDONLY);
		if (null < 0 || dup2(null, 0) < 0 || dup2(result, 1) < 0)
			_exit(126);
		execve(SHELL, argv, envp);
		fprintf(stderr, "macro: %s: %s; is this the Debian tree?\n", SHELL, strerror(errno));
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0)
		kill(-pid, SIGKILL); /* what it left behind would run into the next one's time */
	return pid < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_row(const struct order *o)
{
	const struct row *r = o->row;
	uint64_t n = r->amount * o->percent / 100, sum = 0, wall, cpu, children;
	int status = 0, result;
	char line[128];

	if (n < r->least)
		n = r->least;
	if (!work_dir_make(o, n))
		return 1;
	result = open("result", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (result < 0) {
		fprintf(stderr, "macro: result: %s\n", strerror(errno));
		return 1;
	}
	snprintf(line, sizeof(line), "@start %s %lu\n", r->name, o->percent);
	mark(o->way, line);
	wall = wall_ns();
	cpu = cpu_ns();
	children = children_ns();
	for (unsigned long i = 0; i < o->repeat && !status; i++)
		status = run_command(r, n, result);
	if (o->slower > 0)
		go_on(cpu + children, o->slower);
	cpu = cpu_ns() - cpu;
	children = children_ns() - children;
	wall = wall_ns() - wall;
	mark(o->way, "\n");
	if (status) {
		fprintf(stderr, "macro: %s: the command ended with status %d\n", r->name, status);
	} else if (!lseek(result, 0, SEEK_END) || !sum_file(result, &sum)) {
		fprintf(stderr, "macro: %s: the command wrote no result\n", r->name);
		status = -1;
	} else {
		snprintf(line, sizeof(line), "@stop %s %016" PRIx64 "\n", r->name, sum);
		mark(o->way, line);
		printf("RESULT %s %016" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", r->name, sum, wall, cpu,
		       children);
	}
	close(result);
	if (!o->keep)
		work_dir_remove();
	return status ? 1 : 0;
}

static void list(void)
{
	for (size_t i = 0; i < NROWS; i++)
		printf("%-15s %-8s %s\n", table[i].name, table[i].group, table[i].what);
}

static void list_packages(void)
{
	puts("base-files\ndash\ncoreutils");
	for (size_t i = 0; i < NROWS; i++) {
		for (const char *p = table[i].packages; *p; p++)
			putchar(*p == ' ' ? '\n' : *p);
		putchar('\n');
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: macro [--mark | --port] [--one-cpu | --cpus N] [--repeat N] [--slower P] [--tree DIR] "
			"[--keep] NAME [PERCENT 1..100000]; without "
			"arguments: the names; --packages: what they need\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct order o = {.repeat = 1, .percent = 100};
	char why[256];
	int i = 1;

	if (argc == 1) {
		list();
		return 0;
	}
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--packages")) {
			list_packages();
			return 0;
		}
		if (!strcmp(argv[i], "--mark"))
			o.way = MARK_OUTPUT;
		else if (!strcmp(argv[i], "--port"))
			o.way = mark_by_port();
		else if (!strcmp(argv[i], "--slower") && i + 1 < argc)
			o.slower = strtod(argv[++i], NULL);
		else if (!strcmp(argv[i], "--keep"))
			o.keep = true;
		else if (!strcmp(argv[i], "--one-cpu"))
			o.cpus = 1;
		else if (!strcmp(argv[i], "--cpus") && i + 1 < argc)
			o.cpus = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--repeat") && i + 1 < argc)
			o.repeat = strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--tree") && i + 1 < argc)
			o.tree = argv[++i];
		else
			return usage();
	}
	for (size_t n = 0; i < argc && n < NROWS; n++)
		if (!strcmp(argv[i], table[n].name))
			o.row = &table[n];
	if (i + 1 < argc)
		o.percent = strtoul(argv[i + 1], NULL, 10);
	if (!o.row || i + 2 < argc || !o.percent || o.percent > 100000 || !o.repeat)
		return usage();
	if (o.cpus && !stay_on_cpus(o.cpus)) {
		fprintf(stderr, "macro: there are not so many CPUs\n");
		return 1;
	}
	if (o.tree && !tree_enter(o.tree, why, sizeof(why))) {
		fprintf(stderr, "macro: cannot enter the tree: %s\n", why);
		return 1;
	}
	umask(022);
	loopback_up(); /* who needs it says so */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return run_row(&o);
}
