/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O thread. It sleeps in one ppoll until the earliest guest timer, a source, or its eventfd.
 *
 * A timer that some vCPU arms earlier than what the thread sleeps for writes the eventfd; one that is later does not,
 * and the thread finds it when it wakes for the old deadline. Most arming is of the second kind, so it costs no system
 * call.
 */
#include "engine/io.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/vm.h"

#define NS_PER_SEC 1000000000ull
#define TIMER_SLACK_NS 1000ul

struct io {
	struct vm *vm;
	pthread_t thread;
	bool started;
	_Atomic bool stop;
	int wake_fd, signal_fd;
	uint64_t sleep_until_ns; /* guest time; device lock */
	_Atomic uint64_t cpu_ns; /* of threads that ended */
	_Atomic clockid_t cpu_clock; /* of the thread that runs; 0: none */
	struct io_source source[IO_MAX_SOURCES];
	unsigned nsources;
};

void io_wake(struct io *io)
{
	uint64_t one = 1;

	if (io->started && pthread_equal(io->thread, pthread_self()))
		return;
	while (write(io->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The earliest deadline moved forward. Device lock held. */
static void clock_wake(void *ctx)
{
	struct io *io = ctx;
	const struct clock *c = &io->vm->clock;

	if (c->nheap && c->heap[0]->deadline_ns >= io->sleep_until_ns)
		return;
	io->sleep_until_ns = c->nheap ? c->heap[0]->deadline_ns : 0;
	io_wake(io);
}

enum status io_new(struct vm *vm, struct error *e)
{
	struct io *io = calloc(1, sizeof(*io));

	if (!io)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	io->vm = vm;
	io->signal_fd = -1;
	io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (io->wake_fd < 0) {
		free(io);
		return error_errno(e, ST_IO, "cannot create an eventfd");
	}
	vm->io = io;
	vm->clock.wake = clock_wake;
	vm->clock.wake_ctx = io;
	return ST_OK;
}

void io_free(struct vm *vm)
{
	struct io *io = vm->io;

	if (!io)
		return;
	vm->clock.wake = NULL;
	vm->io = NULL;
	close(io->wake_fd);
	if (io->signal_fd >= 0)
		close(io->signal_fd);
	free(io);
}

void io_add(struct io *io, const struct io_source *s)
{
	BUG_ON(io->nsources == IO_MAX_SOURCES || io->started);
	io->source[io->nsources++] = *s;
}

enum status io_take_signals(struct io *io, struct error *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	io->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return io->signal_fd < 0 ? error_errno(e, ST_IO, "cannot create a signalfd") : ST_OK;
}

static void take_signal(struct io *io)
{
	struct signalfd_siginfo si;

	while (read(io->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		vm_end(io->vm, VM_STOPPED, (int)si.ssi_signo, "ended by a signal");
}

/* Timers and sources under the lock; returns how long to sleep, or NULL for ever. */
static struct timespec *round_begin(struct io *io, struct pollfd *p, struct timespec *ts)
{
	struct vm *vm = io->vm;
	struct timespec *sleep = NULL;
	uint64_t next, now;

	pthread_mutex_lock(&vm->dev_lock);
	next = clock_run_timers(&vm->clock);
	for (unsigned i = 0; i < io->nsources; i++) {
		p[i] = (struct pollfd){.fd = -1};
		io->source[i].prepare(io->source[i].ctx, &p[i]);
	}
	/* what prepare armed counts too */
	next = vm->clock.nheap && vm->clock.heap[0]->deadline_ns < next ? vm->clock.heap[0]->deadline_ns : next;
	io->sleep_until_ns = atomic_load(&vm->clock.running) ? next : UINT64_MAX;
	now = clock_ns(&vm->clock);
	if (next != UINT64_MAX && atomic_load(&vm->clock.running)) {
		uint64_t ns = next > now ? next - now : 0;

		ts->tv_sec = (time_t)(ns / NS_PER_SEC);
		ts->tv_nsec = (long)(ns % NS_PER_SEC);
		sleep = ts;
	}
	pthread_mutex_unlock(&vm->dev_lock);
	return sleep;
}

static void *io_thread(void *arg)
{
	struct io *io = arg;
	struct pollfd p[IO_MAX_SOURCES + 2];
	struct timespec ts, *sleep;
	clockid_t cpu_clock;
	uint64_t count;

	pthread_setname_np(pthread_self(), "io");
	if (pthread_getcpuclockid(pthread_self(), &cpu_clock) == 0)
		atomic_store(&io->cpu_clock, cpu_clock);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	while (!atomic_load(&io->stop)) {
		unsigned n = io->nsources;

		sleep = round_begin(io, p, &ts);
		p[n] = (struct pollfd){.fd = io->wake_fd, .events = POLLIN};
		p[n + 1] = (struct pollfd){.fd = io->signal_fd, .events = POLLIN};
		if (ppoll(p, n + 2, sleep, NULL) < 0)
			continue;
		if (p[n].revents && read(io->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			break;
		if (p[n + 1].revents)
			take_signal(io);
		if (!n)
			continue;
		pthread_mutex_lock(&io->vm->dev_lock);
		for (unsigned i = 0; i < n; i++)
			io->source[i].ready(io->source[i].ctx, &p[i]);
		pthread_mutex_unlock(&io->vm->dev_lock);
	}
	atomic_store(&io->cpu_clock, 0);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	atomic_fetch_add(&io->cpu_ns, (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec);
	return NULL;
}

enum status io_start(struct io *io, struct error *e)
{
	sigset_t block, old;
	int err;

	/* Process-directed signals come by the signalfd, never to a handler here. */
	sigfillset(&block);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGFPE);
	sigdelset(&block, SIGILL);
	sigdelset(&block, SIGABRT);
	atomic_store(&io->stop, false);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	err = pthread_create(&io->thread, NULL, io_thread, io);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	io->started = !err;
	errno = err;
	return err ? error_errno(e, ST_NO_MEMORY, "cannot start the I/O thread") : ST_OK;
}

void io_stop(struct io *io)
{
	if (!io->started)
		return;
	atomic_store(&io->stop, true);
	io_wake(io);
	pthread_join(io->thread, NULL);
	io->started = false;
}

uint64_t io_cpu_ns(struct io *io)
{
	uint64_t ns = atomic_load(&io->cpu_ns);
	clockid_t id = atomic_load(&io->cpu_clock);
	struct timespec ts;

	if (id && clock_gettime(id, &ts) == 0)
		ns += (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
	return ns;
}
