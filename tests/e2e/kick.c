// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kick PID MICROSECONDS    sends the translator's kick (SIGUSR1) to every vCPU thread of a machine, so far apart on average,
 *                          until the process is gone
 *
 * A kick without a request: generated code is left at an instruction boundary and entered again. Status 0 when it is gone, 1
 * when it has no vCPU threads within ten seconds.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_THREADS 64

static int vcpu_threads(int pid, int *tid)
{
	char path[64], name[400], comm[32];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && n < MAX_THREADS && (e = readdir(d))) {
		FILE *f;

		snprintf(name, sizeof(name), "%s/%s/comm", path, e->d_name);
		f = fopen(name, "r");
		if (f && fgets(comm, sizeof(comm), f) && !strncmp(comm, "vcpu", 4))
			tid[n++] = atoi(e->d_name);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	int pid = argc == 3 ? atoi(argv[1]) : 0, us = argc == 3 ? atoi(argv[2]) : 0, tid[MAX_THREADS], n = 0;
	unsigned seed = 1;

	if (pid <= 0 || us <= 0) {
		fprintf(stderr, "usage: kick PID MICROSECONDS\n");
		return 2;
	}
	for (int i = 0; i < 1000 && !(n = vcpu_threads(pid, tid)); i++)
		usleep(10000);
	if (!n)
		return 1;
	usleep(100000); /* the handler is there by now */
	for (unsigned k = 0; !syscall(SYS_tgkill, pid, tid[k], SIGUSR1); k = (k + 1) % (unsigned)n)
		usleep((unsigned)(rand_r(&seed) % (2 * us)));
	return 0;
}
