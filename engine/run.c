/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU threads: one loop over ops->run, with exits as data.
 *
 * A thread counts in vm->world_running whenever it may touch its vCPU or run guest code; it stops counting while it
 * sleeps in HLT or waits for SIPI (it then only reads), while it is parked for somebody who stopped the world, and
 * while it waits for its own turn in vm_stop_others. Whoever wants the world to stand still raises world_stop_depth,
 * kicks everybody with REQ_EXIT and waits for the count to fall. The loop clears REQ_EXIT before it reads the depth and
 * the quit flag; the others write those before they set REQ_EXIT: so either the loop sees the wish or the next ops->run
 * returns at once.
 *
 * Signals: the threads are created with the process-directed signals blocked, which the I/O thread takes; everything
 * synchronous and SIGUSR1 stays open for the paths.
 */
#include "engine/run.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/io.h"
#include "engine/apic/lapic.h"
#include "engine/switch.h"
#include "engine/vm.h"

/* How long a vCPU may take to leave guest code before it is kicked again, and before it counts as stalled (cfg.stall_ms). */
#define STOP_RETRY_MS 50
#define STALL_MS 20000

/* Looking for the end of a HLT (poll_halt): the bounds of its time, and how often between two offers of the host CPU. */
#define POLL_MIN_NS 10000u
#define POLL_MAX_NS 200000u
#define POLL_SPINS 16

struct run {
	_Atomic bool quit;
	unsigned started; /* threads to join */
	_Atomic uint64_t cpu_ns[VM_MAX_CPUS];	 /* of threads that ended */
	_Atomic clockid_t cpu_clock[VM_MAX_CPUS]; /* of the thread that runs; 0: none. One that has ended reads as 0 ns */
	unsigned pause_depth;
	int64_t pause_tsc_offset;
};

enum status run_init(struct vm *vm, struct error *e)
{
	vm->run = calloc(1, sizeof(*vm->run));
	return vm->run ? ST_OK : error_set(e, ST_NO_MEMORY, "out of memory");
}

void run_fini(struct vm *vm)
{
	free(vm->run);
	vm->run = NULL;
}

void run_kick_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->vcpu[i])
			vcpu_kick(vm->vcpu[i], REQ_EXIT);
}

/* ---- the world ---- */

/* An owner in vm_stop_others is waited for even when the machine ends: it may be working on what the others would free.
 */
static bool world_stopped(const struct vm *vm)
{
	return vm->world_owner || (atomic_load(&vm->world_stop_depth) && !atomic_load(&vm->run->quit));
}

static void world_enter(struct vm *vm)
{
	pthread_mutex_lock(&vm->world_lock);
	while (world_stopped(vm))
		pthread_cond_wait(&vm->world_cond, &vm->world_lock);
	vm->world_running++;
	pthread_mutex_unlock(&vm->world_lock);
}

static void world_leave(struct vm *vm)
{
	pthread_mutex_lock(&vm->world_lock);
	vm->world_running--;
	pthread_cond_broadcast(&vm->world_cond);
	pthread_mutex_unlock(&vm->world_lock);
}

/* Leaves for good: the run is over for this vCPU and so for all. Returns when none of the others is in guest code any more;
 * whoever sleeps or is parked finds the end before he enters it again. */
static void world_quit(struct vm *vm)
{
	pthread_mutex_lock(&vm->world_lock);
	vm->world_running--;
	pthread_cond_broadcast(&vm->world_cond);
	while (vm->world_running)
		pthread_cond_wait(&vm->world_cond, &vm->world_lock);
	pthread_mutex_unlock(&vm->world_lock);
}

/* Waits while somebody has the world stopped, without counting as running. world_lock held. */
static void park(struct vm *vm)
{
	vm->world_running--;
	pthread_cond_broadcast(&vm->world_cond);
	while (world_stopped(vm))
		pthread_cond_wait(&vm->world_cond, &vm->world_lock);
	vm->world_running++;
}

/* The vCPU that keeps somebody waiting. NULL: it is outside of guest code, in the kernel for its path or a device. */
static struct vcpu *straggler(const struct vm *vm, const struct vcpu *self)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->vcpu[i] != self && __atomic_load_n(&vm->vcpu[i]->in_guest, __ATOMIC_SEQ_CST))
			return vm->vcpu[i];
	return NULL;
}

static void kick_again(struct vm *vm, const struct vcpu *self)
{
	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct vcpu *v = vm->vcpu[i];

		if (v != self && __atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST)) {
			atomic_fetch_or(&v->request, REQ_EXIT);
			if (v->ops->kick)
				v->ops->kick(v);
		}
	}
}

/* Waits until at most `left` vCPUs run; a path that misses a kick is kicked again. false: one did not come in time. Rounds
 * are counted, not time, so that a process that was stopped itself accuses nobody. world_lock held. */
static bool wait_running(struct vm *vm, unsigned left, const struct vcpu *self)
{
	const unsigned limit_ms = vm->cfg.stall_ms ? vm->cfg.stall_ms : STALL_MS;

	for (unsigned waited_ms = 0; vm->world_running > left;) {
		struct timespec ts;

		if (waited_ms >= limit_ms)
			return false;
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += STOP_RETRY_MS * 1000000L;
		ts.tv_sec += ts.tv_nsec / 1000000000L;
		ts.tv_nsec %= 1000000000L;
		if (pthread_cond_timedwait(&vm->world_cond, &vm->world_lock, &ts) != ETIMEDOUT)
			continue;
		waited_ms += STOP_RETRY_MS;
		kick_again(vm, self);
	}
	return true;
}

/* Who stalls, and for how long somebody has waited for it now, as a failure of the host. */
static enum status say_stalled(struct vm *vm, const struct vcpu *self, unsigned rounds, struct error *e)
{
	const struct vcpu *v = straggler(vm, self);
	const unsigned ms = rounds * (vm->cfg.stall_ms ? vm->cfg.stall_ms : STALL_MS);

	if (!v)
		return error_set(e, ST_BUSY, "a vCPU has not come to a halt for %u.%u s: the host is very busy, or a device waits",
				 ms / 1000, ms / 100 % 10);
	return error_set(e, ST_BUSY, "vCPU %u has not left guest code on %s for %u.%u s: the host is very busy, or does not let go of it",
			 v->id, v->ops->name, ms / 1000, ms / 100 % 10);
}

/* The caller needs the others to stand still for what it has begun, and cannot give up: it waits on and says so. */
void vm_stop_others(struct vcpu *self)
{
	struct vm *vm = self->vm;
	unsigned rounds = 0;

	pthread_mutex_lock(&vm->world_lock);
	while (world_stopped(vm))
		park(vm);
	vm->world_owner = self;
	atomic_fetch_add(&vm->world_stop_depth, 1);
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->vcpu[i] != self)
			vcpu_kick(vm->vcpu[i], REQ_EXIT);
	while (!wait_running(vm, 1, self)) {
		struct vcpu *v = straggler(vm, self);
		struct error e = {0};

		say_stalled(vm, self, ++rounds, &e);
		pthread_mutex_unlock(&vm->world_lock);
		if (vm->cfg.on_stall)
			vm->cfg.on_stall(vm->cfg.on_stall_ctx, vm, v ? v->id : self->id, e.msg);
		pthread_mutex_lock(&vm->world_lock);
	}
	pthread_mutex_unlock(&vm->world_lock);
}

void vm_resume_others(struct vcpu *self)
{
	struct vm *vm = self->vm;

	pthread_mutex_lock(&vm->world_lock);
	BUG_ON(vm->world_owner != self);
	vm->world_owner = NULL;
	atomic_fetch_sub(&vm->world_stop_depth, 1);
	pthread_cond_broadcast(&vm->world_cond);
	pthread_mutex_unlock(&vm->world_lock);
}

enum status vm_pause(struct vm *vm, struct error *e)
{
	enum status st = ST_OK;

	pthread_mutex_lock(&vm->world_lock);
	atomic_fetch_add(&vm->world_stop_depth, 1);
	run_kick_all(vm);
	if (!wait_running(vm, 0, NULL)) {
		st = say_stalled(vm, NULL, 1, e);
		atomic_fetch_sub(&vm->world_stop_depth, 1);
		pthread_cond_broadcast(&vm->world_cond);
	} else if (vm->run->pause_depth++ == 0 && atomic_load(&vm->clock.running)) {
		vm->run->pause_tsc_offset = clock_tsc_offset(&vm->clock);
		clock_stop(&vm->clock);
	}
	pthread_mutex_unlock(&vm->world_lock);
	return st;
}

void vm_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->world_lock);
	BUG_ON(!vm->run->pause_depth);
	if (--vm->run->pause_depth == 0 && !atomic_load(&vm->clock.running)) {
		int64_t moved;

		clock_start(&vm->clock);
		io_wake(vm->io); /* it may have seen the clock stopped a moment ago and sleep for ever */
		/* The host's TSC went on meanwhile; the guest's did not. The same step for all keeps them in step. */
		moved = clock_tsc_offset(&vm->clock) - vm->run->pause_tsc_offset;
		/* Between run_stop and run_tsc_start the vCPUs belong to who resets them, and get their offset there. */
		for (unsigned i = 0; i < vm->ncpus && !atomic_load(&vm->run->quit); i++)
			vm->vcpu[i]->regs.tsc_offset += moved;
	}
	atomic_fetch_sub(&vm->world_stop_depth, 1);
	pthread_cond_broadcast(&vm->world_cond);
	pthread_mutex_unlock(&vm->world_lock);
}

void run_clock_start(struct vm *vm)
{
	pthread_mutex_lock(&vm->world_lock);
	if (!vm->run->pause_depth)
		clock_start(&vm->clock);
	pthread_mutex_unlock(&vm->world_lock);
}

void run_tsc_start(struct vm *vm)
{
	int64_t offset;

	pthread_mutex_lock(&vm->world_lock);
	atomic_store(&vm->run->quit, false);
	offset = clock_tsc_offset(&vm->clock);
	for (unsigned i = 0; i < vm->ncpus; i++)
		vm->vcpu[i]->regs.tsc_offset = offset;
	vm->run->pause_tsc_offset = offset; /* a pause that is in force goes on from here */
	pthread_mutex_unlock(&vm->world_lock);
}

/* ---- one vCPU ---- */

static uint64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void run_take_startup(struct vcpu *v)
{
	struct lapic_startup s = lapic_take_startup(v->lapic);

	if ((s.init || s.sipi) && v->ops->pull)
		v->ops->pull(v);
	if (s.init)
		vcpu_reset(v, true);
	if (s.sipi && v->run_state == VCPU_WAIT_SIPI) {
		struct x86_seg *cs = &v->regs.seg[SEG_CS];

		cs->sel = (uint16_t)(s.vector << 8);
		cs->base = (uint64_t)s.vector << 12;
		v->regs.rip = 0;
		v->run_state = VCPU_RUNNABLE;
	}
}

/* May a vCPU that is not running start to? Clears REQ_EVENT before it looks, so that what arrives later sets it again.
 */
static bool wakes(struct vcpu *v)
{
	if (v->run_state != VCPU_HALTED)
		return false;
	atomic_fetch_and(&v->request, ~REQ_EVENT);
	return vcpu_has_event(v);
}

/* Sleeps until there may be something to do. Only reads the vCPU: it is not counted as running here. */
static void doze(struct vcpu *v)
{
	pthread_mutex_lock(&v->wait_lock);
	atomic_store(&v->sleeping, true);
	while (!(atomic_load(&v->request) & REQ_EXIT) && !wakes(v))
		pthread_cond_wait(&v->wait_cond, &v->wait_lock);
	atomic_store(&v->sleeping, false);
	pthread_mutex_unlock(&v->wait_lock);
}

/*
 * Looks for the end of a HLT for v->poll_ns before the thread is given up: to sleep and to be woken costs two switches
 * of the host and, on a host that is itself a guest, an interrupt of its own; together more than most waits of two vCPUs
 * for each other. Who looks gives way to anybody who could use the host CPU. Returns true when there is something to do.
 */
static bool poll_halt(struct vcpu *v, uint64_t start_ns)
{
	if (!v->poll_ns)
		return false;
	do {
		for (unsigned i = 0; i < POLL_SPINS; i++) {
			if (atomic_load_explicit(&v->request, memory_order_acquire) &&
			    ((atomic_load(&v->request) & REQ_EXIT) || wakes(v)))
				return true;
			__builtin_ia32_pause();
		}
		sched_yield();
	} while (host_ns() - start_ns < v->poll_ns);
	return false;
}

/*
 * How long to look next time: as long as would have been enough, within bounds. A wait that was longer than the bound
 * says that looking is wasted; one that ended while the thread slept, but within the bound, that it should look longer.
 */
static void adapt_poll(struct vcpu *v, uint64_t waited_ns)
{
	if (v->vm->ncpus == 1 || v->vm->cfg.virtual_time || waited_ns > POLL_MAX_NS)
		v->poll_ns = 0;
	else if (waited_ns > v->poll_ns)
		v->poll_ns = v->poll_ns * 2 > POLL_MIN_NS ? v->poll_ns * 2 : POLL_MIN_NS;
	if (v->poll_ns > POLL_MAX_NS)
		v->poll_ns = POLL_MAX_NS;
}

static void halted(struct vcpu *v)
{
	uint64_t start_ns = host_ns();

	if (!poll_halt(v, start_ns)) {
		world_leave(v->vm);
		doze(v);
		world_enter(v->vm);
	}
	adapt_poll(v, host_ns() - start_ns);
}

static void handle_exit(struct vcpu *v, const struct exit *x)
{
	char text[sizeof(x->text) + 64];

	switch (x->reason) {
	case EXIT_KICK:
		break;
	case EXIT_HLT:
		v->count.halts++;
		v->run_state = VCPU_HALTED;
		break;
	case EXIT_SHUTDOWN:
		snprintf(text, sizeof(text), "triple fault on vCPU %u", v->id);
		vm_end(v->vm, VM_TRIPLE_FAULT, (int)v->id, text);
		break;
	case EXIT_CANNOT:
	case EXIT_UNSOUND:
	case EXIT_STALLED:
	case EXIT_FAIL:
		switch_fall(v, x);
		break;
	}
}

static void run_guest(struct vcpu *v)
{
	struct exit x;

	x.reason = EXIT_KICK;
	x.text[0] = 0;
	__atomic_store_n(&v->in_guest, true, __ATOMIC_SEQ_CST);
	v->ops->run(v, &x);
	__atomic_store_n(&v->in_guest, false, __ATOMIC_SEQ_CST);
	vcpu_vec_sync(v);
	handle_exit(v, &x);
}

static void vcpu_loop(struct vcpu *v)
{
	struct vm *vm = v->vm;

	for (;;) {
		atomic_fetch_and(&v->request, ~(REQ_EXIT | REQ_LOOK));
		if (atomic_load(&vm->run->quit) || atomic_load(&vm->outcome) != VM_RUNNING)
			return;
		if (atomic_load(&vm->world_stop_depth)) {
			pthread_mutex_lock(&vm->world_lock);
			park(vm);
			pthread_mutex_unlock(&vm->world_lock);
			continue;
		}
		if (switch_step(v))
			continue;
		run_take_startup(v);
		if (v->ops->waits && v->ops->waits(v)) {
			run_guest(v);
			continue;
		}
		if (v->run_state != VCPU_RUNNABLE && wakes(v)) {
			v->run_state = VCPU_RUNNABLE;
			atomic_fetch_or(&v->request, REQ_EVENT);
		}
		if (v->run_state == VCPU_RUNNABLE) {
			run_guest(v);
		} else if (v->run_state == VCPU_HALTED) {
			halted(v);
		} else {
			world_leave(vm);
			doze(v);
			world_enter(vm);
		}
	}
}

static uint64_t thread_cpu_ns(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts) != 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct vm *vm = v->vm;
	struct error e = {0};
	clockid_t cpu_clock;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	world_enter(vm);
	v->tid = gettid();
	if (pthread_getcpuclockid(pthread_self(), &cpu_clock) == 0)
		atomic_store(&vm->run->cpu_clock[v->id], cpu_clock);
	if (switch_start(v, &e) == ST_OK)
		vcpu_loop(v);
	else
		vm_end(vm, VM_FAILED, 0, e.msg);
	world_quit(vm); /* a path that runs a vCPU looks at the tables of the others: they stay until nobody runs */
	switch_stop(v);
	v->tid = 0;
	atomic_store(&vm->run->cpu_clock[v->id], 0);
	atomic_fetch_add(&vm->run->cpu_ns[v->id], thread_cpu_ns(CLOCK_THREAD_CPUTIME_ID));
	return NULL;
}

uint64_t run_cpu_ns(struct vm *vm, unsigned i)
{
	clockid_t id = atomic_load(&vm->run->cpu_clock[i]);

	return atomic_load(&vm->run->cpu_ns[i]) + (id ? thread_cpu_ns(id) : 0);
}

/* ---- all of them ---- */

enum status run_start(struct vm *vm, struct error *e)
{
	sigset_t block, old;
	int err = 0;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGHUP);
	sigaddset(&block, SIGWINCH);
	sigaddset(&block, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	for (unsigned i = 0; i < vm->ncpus && !err; i++) {
		err = pthread_create(&vm->vcpu[i]->thread, NULL, vcpu_thread, vm->vcpu[i]);
		vm->vcpu[i]->thread_started = !err;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		return ST_OK;
	if (run_stop(vm, e) != ST_OK)
		return e->status;
	errno = err;
	return error_errno(e, ST_NO_MEMORY, "cannot start a vCPU thread");
}

enum status run_stop(struct vm *vm, struct error *e)
{
	enum status st = ST_OK;

	pthread_mutex_lock(&vm->world_lock);
	atomic_store(&vm->run->quit, true);
	run_kick_all(vm);
	pthread_cond_broadcast(&vm->world_cond);
	if (!wait_running(vm, 0, NULL))
		st = say_stalled(vm, NULL, 1, e);
	pthread_mutex_unlock(&vm->world_lock);
	for (unsigned i = 0; i < vm->ncpus && st == ST_OK; i++) {
		if (!vm->vcpu[i]->thread_started)
			continue;
		pthread_join(vm->vcpu[i]->thread, NULL);
		vm->vcpu[i]->thread_started = false;
	}
	return st;
}
