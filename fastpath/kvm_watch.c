/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Out of KVM_RUN from outside: kicks, and a watchdog over vCPUs that do not get on.
 *
 * Both are one signal. Its handler, on the vCPU's own thread, sets immediate_exit in the shared page, so it does not matter
 * whether it comes just before KVM_RUN or inside it. The run loop clears immediate_exit before it looks at the requests.
 *
 * The watchdog: some KVMs loop inside KVM_RUN for ever, others come back again and again for nothing. A timer ticks while the
 * vCPU is on this path. When the registers are the same at several ticks in a row that may be a guest waiting in a loop, so
 * KVM is asked to execute one instruction (KVM_GUESTDBG_SINGLESTEP): if that moves RIP, all is well and the guest may wait
 * as long as it likes; if nothing moves for some ticks more, the vCPU is stalled and another path goes on. A KVM may claim a
 * step and be where it was, so the claim alone does not count; a jump to itself looks the same, and loses nothing elsewhere.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fastpath/kvm_int.h"

#define TICK_NS 100000000L
#define SAME_TICKS 3
#define STEP_TICKS 3

/* The vCPU of this thread: a signal handler has no argument to find it by. */
static __thread struct vcpu *thread_vcpu;

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	struct kvm_cpu *c = thread_vcpu ? kvm_cpu(thread_vcpu) : NULL;

	(void)sig;
	(void)ctx;
	if (!c)
		return;
	if (si->si_code == SI_TIMER)
		atomic_fetch_add_explicit(&c->ticks, 1, memory_order_relaxed);
	*(volatile __u8 *)&c->run->immediate_exit = 1;
}

void kvm_kick(struct vcpu *v)
{
	int tid = v->tid;

	if (tid)
		syscall(SYS_tgkill, getpid(), tid, KVM_KICK_SIGNAL);
}

enum status kvm_watch_init(struct kvm_cpu *c, struct error *e)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART, .sa_sigaction = on_signal};
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_KICK_SIGNAL};
	sigset_t set;

	/* The translator's handlers run with everything blocked and so does this one: neither sees the other half done. */
	sigfillset(&sa.sa_mask);
	ev._sigev_un._tid = gettid();
	if (sigaction(KVM_KICK_SIGNAL, &sa, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &ev, &c->timer) != 0)
		return error_errno(e, ST_NO_MEMORY, "kvm: cannot create a timer for vCPU %u", c->v->id);
	c->has_timer = true;
	sigemptyset(&set);
	sigaddset(&set, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	thread_vcpu = c->v;
	return ST_OK;
}

void kvm_watch_fini(struct kvm_cpu *c)
{
	thread_vcpu = NULL;
	if (c->has_timer)
		timer_delete(c->timer);
	c->has_timer = false;
}

static void tick_every(struct kvm_cpu *c, long ns)
{
	struct itimerspec it = {.it_interval.tv_nsec = ns, .it_value.tv_nsec = ns};

	timer_settime(c->timer, 0, &it, NULL);
	c->ticking = ns != 0;
}

void kvm_watch_start(struct kvm_cpu *c)
{
	c->ticks_seen = atomic_load(&c->ticks);
	c->same = c->steps = 0;
	tick_every(c, TICK_NS);
}

static bool single_step(struct kvm_cpu *c, bool on)
{
	struct kvm_guest_debug d = {.control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP : 0};

	return kvm_cpu_ioctl(c, KVM_SET_GUEST_DEBUG, &d) == 0;
}

void kvm_watch_stop(struct kvm_cpu *c)
{
	if (c->ticking)
		tick_every(c, 0);
	if (c->steps)
		single_step(c, false);
	c->steps = c->same = 0;
}

/* FNV-1a over what changes when a guest gets on. */
static uint64_t sample(const struct kvm_cpu *c)
{
	const uint8_t *p = (const uint8_t *)&c->run->s.regs.regs;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < sizeof(c->run->s.regs.regs); i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h ^ c->run->s.regs.sregs.cr3 ^ c->run->s.regs.sregs.cr2 << 1 ^ c->v->count.interrupts << 32;
}

static void alive(struct kvm_cpu *c)
{
	if (c->steps)
		single_step(c, false);
	c->steps = c->same = 0;
}

void kvm_watch_stepped(struct kvm_cpu *c)
{
	if (sample(c) != c->sample)
		alive(c);
}

bool kvm_watch_look(struct kvm_cpu *c, struct exit *x)
{
	uint32_t now = atomic_load_explicit(&c->ticks, memory_order_relaxed);
	uint64_t s;

	if (now == c->ticks_seen)
		return true;
	c->ticks_seen = now;
	s = sample(c);
	if (s != c->sample || kvm_mp_idle(c)) {
		c->sample = s;
		alive(c);
		return true;
	}
	if (!c->steps) {
		if (++c->same < SAME_TICKS)
			return true;
		/* where KVM cannot step, the registers alone have to decide */
		(void)single_step(c, true);
		c->steps = 1;
		return true;
	}
	if (c->steps++ < STEP_TICKS)
		return true;
	kvm_leave(c, x, EXIT_STALLED, "no progress for %ld ms on kvm (last exit: %s)",
		  (SAME_TICKS + STEP_TICKS) * (TICK_NS / 1000000), kvm_exit_name(c->last_reason));
	return false;
}
