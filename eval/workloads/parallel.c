/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work for several processors: WORKERS processes or threads with a fixed share each, kept on the CPUs that this process may
 * use, in turn. The work does not depend on how many there are, so the time on one CPU over that on two says what the second
 * one gives. Everything that the workers share is checked: a lost update, a wake-up that never comes or a stale translation
 * of an address changes the checksum or ends the program.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

#define WORKERS 4
#define PAGE 4096u

/* The n-th of the CPUs in set, counted round. */
static void keep_to(const cpu_set_t *set, unsigned n)
{
	unsigned k = n % (unsigned)CPU_COUNT(set);
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, set) && !k--)
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void allowed(cpu_set_t *set)
{
	if (sched_getaffinity(0, sizeof(*set), set))
		exit(1);
}

/* A share of work on memory of its own: arithmetic, branches, loads and stores all over 64 KiB. */
static uint64_t share(unsigned who, uint64_t scale)
{
	static __thread uint32_t table[16384];
	uint64_t random = 88172645463325252ull + who, sum = 0;

	for (uint32_t i = 0; i < 16384; i++)
		table[i] = i * 2654435761u;
	for (uint64_t i = 0; i < 220000 * scale; i++) {
		uint64_t r = wl_random(&random);
		uint32_t *a = &table[r & 16383], *b = &table[r >> 20 & 16383];

		if (*a > *b)
			*a -= *b ^ (uint32_t)r;
		else
			*b += *a >> 3;
		sum += *a;
	}
	return wl_mix(sum, who);
}

uint64_t wl_parproc(uint64_t scale)
{
	uint64_t sum = 0, part;
	int result[WORKERS][2], status;
	pid_t pid[WORKERS];
	cpu_set_t set;

	allowed(&set);
	for (unsigned n = 0; n < WORKERS; n++) {
		if (pipe(result[n]) || (pid[n] = fork()) < 0)
			exit(1);
		if (!pid[n]) {
			keep_to(&set, n);
			part = share(n, scale);
			_exit(write(result[n][1], &part, sizeof(part)) != sizeof(part));
		}
		close(result[n][1]);
	}
	for (unsigned n = 0; n < WORKERS; n++) {
		if (read(result[n][0], &part, sizeof(part)) != sizeof(part))
			exit(1);
		close(result[n][0]);
		while (waitpid(pid[n], &status, 0) < 0)
			if (errno != EINTR)
				exit(1);
		sum = wl_mix(sum, part);
	}
	return sum;
}

/* ---- threads: each runs job(team, its number) ---- */

struct team {
	void (*job)(struct team *t, unsigned who);
	uint64_t scale;
	cpu_set_t set;
	uint64_t result[WORKERS];
	uint32_t lock, waiting, round; /* lock: a spinning lock; waiting, round: a barrier of futexes */
	uint64_t counter, guarded, swapped;
	uint8_t *map; /* wl_shootdown */
	uint32_t phase;
};

struct member {
	struct team *team;
	unsigned who;
	pthread_t thread;
};

static void *member_main(void *arg)
{
	struct member *m = arg;

	keep_to(&m->team->set, m->who);
	m->team->job(m->team, m->who);
	return NULL;
}

static uint64_t run_team(struct team *t)
{
	struct member m[WORKERS];
	uint64_t sum = 0;

	allowed(&t->set);
	for (unsigned n = 0; n < WORKERS; n++) {
		m[n] = (struct member){.team = t, .who = n};
		if (pthread_create(&m[n].thread, NULL, member_main, &m[n]))
			exit(1);
	}
	for (unsigned n = 0; n < WORKERS; n++)
		pthread_join(m[n].thread, NULL);
	for (unsigned n = 0; n < WORKERS; n++)
		sum = wl_mix(sum, t->result[n]);
	return sum;
}

static void compute(struct team *t, unsigned who)
{
	t->result[who] = share(who, t->scale);
}

uint64_t wl_parthread(uint64_t scale)
{
	struct team t = {.job = compute, .scale = scale};

	return run_team(&t);
}

/* Every kind of locked instruction on shared words, with work in between. */
static void locked_updates(struct team *t, unsigned who)
{
	uint64_t n = 3600 * t->scale, random = who + 1;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t old;

		__atomic_fetch_add(&t->counter, who + 1, __ATOMIC_SEQ_CST);
		for (unsigned k = 0; k < 40; k++)
			wl_random(&random);
		old = __atomic_load_n(&t->swapped, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(&t->swapped, &old, old + 3, true, __ATOMIC_SEQ_CST,
						    __ATOMIC_RELAXED))
			__builtin_ia32_pause();
		while (__atomic_exchange_n(&t->lock, 1, __ATOMIC_ACQUIRE))
			while (__atomic_load_n(&t->lock, __ATOMIC_RELAXED))
				__builtin_ia32_pause();
		t->guarded += i & 7;
		__atomic_store_n(&t->lock, 0, __ATOMIC_RELEASE);
	}
	t->result[who] = random;
}

uint64_t wl_atomics(uint64_t scale)
{
	struct team t = {.job = locked_updates, .scale = scale};
	uint64_t sum = run_team(&t);

	return wl_mix(wl_mix(wl_mix(sum, t.counter), t.swapped), t.guarded);
}

/* Nobody goes on before all have come: the sleepers are woken by the last one. */
static void meet(struct team *t)
{
	uint32_t round = __atomic_load_n(&t->round, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&t->waiting, 1, __ATOMIC_ACQ_REL) == WORKERS) {
		__atomic_store_n(&t->waiting, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&t->round, round + 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, &t->round, FUTEX_WAKE_PRIVATE, WORKERS, NULL, NULL, 0);
		return;
	}
	while (__atomic_load_n(&t->round, __ATOMIC_ACQUIRE) == round)
		syscall(SYS_futex, &t->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
}

static void in_step(struct team *t, unsigned who)
{
	uint64_t random = who + 1;

	for (uint64_t i = 0; i < 40 * t->scale; i++) {
		uint64_t next = __atomic_load_n(&t->result[(who + 1) % WORKERS], __ATOMIC_RELAXED);

		for (unsigned k = 0; k < 20000; k++)
			wl_random(&random);
		meet(t);
		t->result[who] = wl_mix(next, random);
		meet(t);
	}
}

uint64_t wl_barrier(uint64_t scale)
{
	struct team t = {.job = in_step, .scale = scale};

	return run_team(&t);
}

/*
 * The first worker changes what a page is - its protection, and the memory behind the address - while the others read it.
 * Every change must be seen once the system call that made it has returned: who has read the phase that follows it must not
 * read through a translation from before.
 */
static void remap(struct team *t, unsigned who)
{
	for (uint32_t i = 1; i <= 12 * t->scale; i++) {
		if (!who) {
			uint8_t *p = mmap(t->map, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
					  -1, 0);

			if (p != t->map)
				exit(1);
			*(volatile uint32_t *)p = i;
			if (mprotect(p, PAGE, PROT_READ))
				exit(1);
			__atomic_store_n(&t->phase, i, __ATOMIC_RELEASE);
		}
		for (unsigned k = 0; who && k < 2000; k++) {
			uint32_t phase = __atomic_load_n(&t->phase, __ATOMIC_ACQUIRE);
			uint32_t seen = __atomic_load_n((uint32_t *)t->map, __ATOMIC_ACQUIRE);

			if (seen != i && (phase == i || (seen && seen != i - 1)))
				exit(1);
		}
		meet(t);
		if (__atomic_load_n((uint32_t *)t->map, __ATOMIC_ACQUIRE) != i)
			exit(1);
		t->result[who] = wl_mix(t->result[who], i);
		meet(t);
	}
}

uint64_t wl_shootdown(uint64_t scale)
{
	struct team t = {.job = remap, .scale = scale};

	t.map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t.map == MAP_FAILED)
		exit(1);
	return run_team(&t);
}

static void place(const void *set, unsigned side)
{
	keep_to(set, side);
}

/* One byte there and back between two processes that stay on different CPUs, where there are two. */
uint64_t wl_crosspipe(uint64_t scale)
{
	cpu_set_t set;
	uint64_t sum;

	allowed(&set);
	sum = wl_hops(100 * scale, place, &set);
	sched_setaffinity(0, sizeof(set), &set);
	return sum;
}
