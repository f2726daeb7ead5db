/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Single system calls, and files in a memory file system (/dev/shm, on hosts and in our guests). The checksum counts and
 * adds up what the calls returned; whatever differs from run to run (process numbers, times) stays out of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define FILE_BYTES (8u << 20)
#define PIECE 4096u

uint64_t wl_getpid(uint64_t scale)
{
	uint64_t n = 20000 * scale, same = 0;
	long pid = syscall(SYS_getpid);

	for (uint64_t i = 0; i < n; i++)
		same += syscall(SYS_getpid) == pid;
	return wl_mix(wl_mix(1, same), n);
}

uint64_t wl_vdsotime(uint64_t scale)
{
	uint64_t n = 100000 * scale, forward = 0, last = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct timespec t;
		uint64_t now;

		clock_gettime(CLOCK_MONOTONIC, &t);
		now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
		forward += now >= last;
		last = now;
	}
	return wl_mix(wl_mix(1, forward), n);
}

uint64_t wl_systime(uint64_t scale)
{
	uint64_t n = 15000 * scale, good = 0;
	struct timeval t;

	for (uint64_t i = 0; i < n; i++)
		good += syscall(SYS_gettimeofday, &t, NULL) == 0;
	return wl_mix(wl_mix(1, good), n);
}

static void shm_name(char *name, size_t n)
{
	snprintf(name, n, "/dev/shm/steelyard-%ld", (long)getpid());
}

uint64_t wl_pageread(uint64_t scale)
{
	static uint8_t piece[PIECE];
	char name[64];
	uint64_t sum = 0, seed = 9;
	int fd;

	for (uint32_t i = 0; i < PIECE; i++)
		piece[i] = 0;
	shm_name(name, sizeof(name));
	fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		exit(1);
	unlink(name);
	for (uint32_t at = 0; at < FILE_BYTES; at += PIECE) {
		piece[at / PIECE % PIECE] = (uint8_t)(at / PIECE);
		if (write(fd, piece, PIECE) != (ssize_t)PIECE)
			exit(1);
	}
	for (uint64_t i = 0; i < 3000 * scale; i++) {
		uint64_t r = wl_random(&seed);

		if (pread(fd, piece, PIECE, (off_t)(r % (FILE_BYTES / PIECE) * PIECE)) != (ssize_t)PIECE)
			exit(1);
		sum += piece[r >> 40 & (PIECE - 1)];
	}
	close(fd);
	return wl_mix(sum, scale);
}

uint64_t wl_create(uint64_t scale)
{
	uint64_t good = 0;
	char name[64];

	shm_name(name, sizeof(name));
	for (uint64_t i = 0; i < 250 * scale; i++) {
		int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

		good += fd >= 0;
		good += write(fd, &i, sizeof(i)) == (ssize_t)sizeof(i);
		close(fd);
		good += unlink(name) == 0;
	}
	return wl_mix(good, scale);
}

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
	caught += number == SIGUSR1;
}

uint64_t wl_signal(uint64_t scale)
{
	struct sigaction act = {.sa_handler = on_signal}, old;
	pid_t pid = getpid();

	caught = 0;
	sigaction(SIGUSR1, &act, &old);
	for (uint64_t i = 0; i < 1200 * scale; i++)
		kill(pid, SIGUSR1);
	sigaction(SIGUSR1, &old, NULL);
	return wl_mix((uint64_t)caught, scale);
}
