/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fuzz targets without a fuzzer: each file of tests/fuzz/corpus/TARGET and tests/golden/fuzz/TARGET in a process of
 * its own, so that one crash is one failure. Arguments: files, instead; the name of a file's folder is its target's.
 */
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/coverage.h"
#include "engine/exec.h"
#include "tests/fuzz/fuzz.h"

#define HANG_S 60u
#define FILE_MAX (1u << 20)

typedef int target_fn(const uint8_t *data, size_t size);
target_fn fuzz_decode_one, fuzz_load_one, fuzz_device_one, fuzz_translate_one, fuzz_control_one, fuzz_virtio_one,
	fuzz_nvme_one, fuzz_ahci_one, fuzz_pflash_one, fuzz_disk_one;

static const struct target {
	const char *name;
	target_fn *fn;
	enum path_id path; /* that it runs code on; PATH_INTERP also where it runs none */
} targets[] = {
	{"decode", fuzz_decode_one, PATH_INTERP},
	{"load", fuzz_load_one, PATH_INTERP},
	{"device", fuzz_device_one, PATH_INTERP},
	{"translate", fuzz_translate_one, PATH_BT},
	{"control", fuzz_control_one, PATH_INTERP},
	{"virtio", fuzz_virtio_one, PATH_INTERP},
	{"nvme", fuzz_nvme_one, PATH_INTERP},
	{"ahci", fuzz_ahci_one, PATH_INTERP},
	{"pflash", fuzz_pflash_one, PATH_INTERP},
	{"disk", fuzz_disk_one, PATH_INTERP},
};
#define TARGETS (sizeof(targets) / sizeof(targets[0]))

struct tally {
	unsigned passed, failed;
};

static void in_child(const struct target *t, const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = malloc(FILE_MAX), *exact;
	size_t n;

	if (!f || !data) {
		perror(path);
		_exit(1);
	}
	n = fread(data, 1, FILE_MAX, f);
	fclose(f);
	exact = malloc(n ? n : 1);
	if (!exact)
		_exit(1);
	memcpy(exact, data, n);
	free(data);
	signal(SIGALRM, SIG_DFL);
	alarm(HANG_S);
	t->fn(exact, n);
	coverage_write();
	_exit(0);
}

static void replay(const struct target *t, const char *path, struct tally *sum)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		in_child(t, path);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		status = -1;
	}
	if (status == 0) {
		sum->passed++;
		return;
	}
	sum->failed++;
	if (WIFSIGNALED(status))
		printf("FAIL %s: %s\n", path, WTERMSIG(status) == SIGALRM ? "no end" : strsignal(WTERMSIG(status)));
	else
		printf("FAIL %s: status %d\n", path, status);
}

static void replay_folder(const struct target *t, const char *top, struct tally *sum)
{
	char path[512];
	struct dirent *d;
	struct error e;
	DIR *dir;

	if (exec_paths[t->path]->available(&e) != ST_OK) {
		printf("SKIP %s/%s because %s\n", top, t->name, e.msg);
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", top, t->name);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", top, t->name, d->d_name);
		replay(t, path, sum);
	}
	if (dir)
		closedir(dir);
}

static const struct target *target_of(const char *path)
{
	for (unsigned k = 0; k < TARGETS; k++) {
		char part[32];

		snprintf(part, sizeof(part), "%s/", targets[k].name);
		if (strstr(path, part))
			return &targets[k];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct tally sum = {0};

	for (int k = 1; k < argc; k++) {
		const struct target *t = target_of(argv[k]);

		if (!t) {
			fprintf(stderr, "%s: in no target's folder\n", argv[k]);
			return 2;
		}
		replay(t, argv[k], &sum);
	}
	for (unsigned k = 0; argc < 2 && k < TARGETS; k++) {
		replay_folder(&targets[k], "tests/fuzz/corpus", &sum);
		replay_folder(&targets[k], "tests/golden/fuzz", &sum);
	}
	printf("%u passed, %u failed\n", sum.passed, sum.failed);
	return sum.failed || !sum.passed;
}
