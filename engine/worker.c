// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The state word says what a kick has to do: AWAKE becomes KICKED and the worker looks again before it sleeps; ASLEEP
 * becomes KICKED and the eventfd is written; KICKED stays.
 *
 * Stopping is a handshake under the lock: the wish is a flag, the answer is `parked`.
 */
#include "engine/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_BYTES (512u << 10)

enum { AWAKE, ASLEEP, KICKED };

struct worker {
	const struct worker_ops *ops;
	void *ctx;
	pthread_t thread;
	int fd;
	_Atomic int state;
	_Atomic bool attention; /* stop or end is wanted */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stop, end, parked; /* the lock */
	bool ran;               /* the thread: since it was last stopped */
	char name[16];
};

static void wake(struct worker *w)
{
	uint64_t one = 1;

	while (write(w->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void worker_kick(struct worker *w)
{
	if (atomic_exchange(&w->state, KICKED) == ASLEEP)
		wake(w);
}

int worker_eventfd(struct worker *w)
{
	return w->fd;
}

/* Answers to stop and end; false: end. */
static bool attend(struct worker *w)
{
	bool go_on;

	pthread_mutex_lock(&w->lock);
	if (w->stop && w->ran && w->ops->drain) {
		pthread_mutex_unlock(&w->lock);
		w->ops->drain(w->ctx);
		pthread_mutex_lock(&w->lock);
	}
	while (w->stop && !w->end) {
		w->parked = true;
		pthread_cond_broadcast(&w->cond);
		pthread_cond_wait(&w->cond, &w->lock);
	}
	w->parked = false;
	w->ran = !w->stop;
	atomic_store(&w->attention, w->stop || w->end);
	go_on = !w->end;
	pthread_mutex_unlock(&w->lock);
	return go_on;
}

static void sleep_for(struct worker *w, struct pollfd *p, unsigned n, int timeout_ms)
{
	int awake = AWAKE;
	uint64_t count;

	p[n] = (struct pollfd){.fd = w->fd, .events = POLLIN};
	if (!atomic_compare_exchange_strong(&w->state, &awake, ASLEEP))
		timeout_ms = 0; /* kicked meanwhile */
	if (poll(p, n + 1, timeout_ms) < 0)
		for (unsigned i = 0; i <= n; i++)
			p[i].revents = 0;
	atomic_store(&w->state, AWAKE);
	if (p[n].revents && read(w->fd, &count, sizeof(count)) < 0)
		p[n].revents = 0; /* nothing there after all */
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct pollfd p[WORKER_FDS + 1];

	pthread_setname_np(pthread_self(), w->name);
	for (;;) {
		int timeout_ms = -1;
		unsigned n;

		if (atomic_load(&w->attention) && !attend(w))
			return NULL;
		n = w->ops->prepare ? w->ops->prepare(w->ctx, p, WORKER_FDS, &timeout_ms) : 0;
		sleep_for(w, p, n, timeout_ms);
		if (atomic_load(&w->attention))
			continue;
		while (w->ops->run(w->ctx, p, n) && !atomic_load(&w->attention))
			for (unsigned i = 0; i < n; i++)
				p[i].revents = 0;
	}
}

struct worker *worker_new(const char *name, const struct worker_ops *ops, void *ctx, struct error *e)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	if (!w) {
		error_set(e, ST_NO_MEMORY, "out of memory");
		return NULL;
	}
	w->ops = ops;
	w->ctx = ctx;
	w->stop = true;
	atomic_store(&w->attention, true);
	strncpy(w->name, name, sizeof(w->name) - 1);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd < 0) {
		error_errno(e, ST_IO, "cannot create an eventfd");
		free(w);
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* The paths' signals belong to vCPU threads, those that end the machine to the I/O thread. */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&w->thread, &attr, worker_thread, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!err)
		return w;
	errno = err;
	error_errno(e, ST_NO_MEMORY, "cannot start a device's thread");
	close(w->fd);
	free(w);
	return NULL;
}

void worker_start(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = false;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
	worker_kick(w);
}

void worker_stop(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	atomic_store(&w->attention, true);
	wake(w);
	while (!w->parked)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	worker_stop(w);
	pthread_mutex_lock(&w->lock);
	w->end = true;
	atomic_store(&w->attention, true);
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	close(w->fd);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
