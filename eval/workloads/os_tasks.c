/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes and threads: made, ended, and handing over to each other. Every child is waited for before the end, so that its
 * CPU time is known to its parent.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

static uint64_t wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			exit(1);
	return WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 1000;
}

uint64_t wl_fork(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 35 * scale; i++) {
		pid_t pid = fork();

		if (pid < 0)
			exit(1);
		if (!pid)
			_exit((int)(i & 63));
		sum = wl_mix(sum, wait_for(pid));
	}
	return sum;
}

static uint64_t run_self(const char *what)
{
	pid_t pid = fork();

	if (pid < 0)
		exit(1);
	if (!pid) {
		execl("/proc/self/exe", "workloads", what, (char *)NULL);
		_exit(127);
	}
	return wait_for(pid);
}

uint64_t wl_exec(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 5 * scale; i++)
		sum = wl_mix(sum, run_self("--nothing"));
	return sum;
}

uint64_t wl_bigstart(uint64_t scale)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 3 * scale; i++)
		sum = wl_mix(sum, run_self("--big"));
	return sum;
}

uint64_t wl_hops(uint64_t n, void (*place)(const void *arg, unsigned side), const void *arg)
{
	int there[2], back[2];
	uint64_t sum = 0;
	uint8_t byte;
	pid_t pid;

	if (pipe(there) || pipe(back) || (pid = fork()) < 0)
		exit(1);
	if (place)
		place(arg, !pid);
	if (!pid) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1) {
			byte = (uint8_t)(byte * 5 + 1);
			if (write(back[1], &byte, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	for (uint64_t i = 0; i < n; i++) {
		byte = (uint8_t)i;
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			exit(1);
		sum += byte;
	}
	close(there[1]);
	close(back[0]);
	return wl_mix(sum, wait_for(pid));
}

uint64_t wl_pingpong(uint64_t scale)
{
	return wl_hops(700 * scale, NULL, NULL);
}

static void *add_one(void *arg)
{
	*(uint64_t *)arg += 1;
	return NULL;
}

uint64_t wl_thread(uint64_t scale)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < 110 * scale; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, add_one, &n) || pthread_join(t, NULL))
			exit(1);
	}
	return wl_mix(n, scale);
}

struct baton {
	uint32_t turn; /* whose it is: 0 or 1; a futex */
	uint64_t rounds, sum;
};

static void take(struct baton *b, uint32_t me)
{
	while (__atomic_load_n(&b->turn, __ATOMIC_ACQUIRE) != me)
		syscall(SYS_futex, &b->turn, FUTEX_WAIT_PRIVATE, 1 - me, NULL, NULL, 0);
}

static void give(struct baton *b, uint32_t me)
{
	__atomic_store_n(&b->turn, 1 - me, __ATOMIC_RELEASE);
	syscall(SYS_futex, &b->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *partner(void *arg)
{
	struct baton *b = arg;

	for (uint64_t i = 0; i < b->rounds; i++) {
		take(b, 1);
		b->sum = b->sum * 3 + i;
		give(b, 1);
	}
	return NULL;
}

uint64_t wl_handover(uint64_t scale)
{
	struct baton b = {.rounds = 900 * scale};
	pthread_t t;

	if (pthread_create(&t, NULL, partner, &b))
		exit(1);
	for (uint64_t i = 0; i < b.rounds; i++) {
		take(&b, 0);
		b.sum ^= i << 7;
		give(&b, 0);
	}
	pthread_join(t, NULL);
	return wl_mix(b.sum, scale);
}
