/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sampling profiler of the vCPU threads: a timer of the host's clock interrupts each thread vm_config.sample_hz times a second,
 * and the handler charges the CPU time since the last look to the kind of code that it finds. So a look weighs what it
 * stands for: time asleep weighs nothing, and looks that a busy host merged weigh as much as all of them. The counters of one
 * vCPU add up to its thread's CPU time.
 *
 * In translated code the block's marks know what an instruction of the host is for; C code says it in vcpu->doing, but that
 * the host's REP instructions in the interpreter's functions do the guest's own work. A thread that was in
 * the kernel is seen behind its SYSCALL. A page fault of the host's counts for the instruction that met it.
 *
 * A kick that waits together with a sample is delivered first, and has turned the thread to bt_leave by then: the sample counts for
 * where the kick found it.
 *
 * The handler only reads, but for counters that nobody else writes: whatever it interrupts goes on as if it had not been.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "translator/bt_int.h"

#define SAMPLE_SIGNAL SIGPROF

static uint64_t thread_cpu_ns(void)
{
	struct timespec t = { 0 };

	syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool behind_syscall(uint64_t pc)
{
	const uint8_t *p = (const uint8_t *)pc;

	return (pc & 0xfff) >= 2 && p[-2] == 0x0f && p[-1] == 0x05;
}

/* A REP instruction of the host's: in the interpreter's functions, the guest's own repetition on the guest's own bytes
 * (int_string.c:host_movs()), which takes no longer there. */
static bool at_repetition(uint64_t pc)
{
	const uint8_t *p = (const uint8_t *)pc;

	if ((pc & 0xfff) > 0xffc)
		return false;
	p += *p == 0x66;
	if (*p != 0xf2 && *p != 0xf3)
		return false;
	p += p[1] == 0x48 ? 2 : 1; /* REX.W */
	return *p >= 0xa4 && *p <= 0xaf && *p != 0xa8 && *p != 0xa9;
}

static unsigned kind_of(struct vcpu *v, uint64_t pc)
{
	const struct bt_block *b;
	const struct bt_mark *m;

	if (pc - (uint64_t)bt_cpu(v)->bt->cache < BT_CACHE_BYTES) {
		m = bt_mark_of_pc(v, pc, &b);
		if (m && m->flags >> MARK_KIND_SHIFT == SAMPLE_COPY && !(b->key & BK_USER))
			return SAMPLE_COPY_KERNEL;
		return m ? m->flags >> MARK_KIND_SHIFT : SAMPLE_DISPATCH;
	}
	if (pc >= (uint64_t)bt_refill && pc < (uint64_t)bt_refill_slow)
		return SAMPLE_FILL;
	if (v->doing == SAMPLE_INTERP && at_repetition(pc))
		return vcpu_cpl(v) == 3 ? SAMPLE_COPY : SAMPLE_COPY_KERNEL;
	return behind_syscall(pc) ? SAMPLE_KERNEL : v->doing;
}

static void charge(struct vcpu *v, unsigned kind, uint64_t ns)
{
	switch ((enum vcpu_sample)kind) {
#define X(name, NAME, text)                  \
	case SAMPLE_##NAME:                  \
		v->count.sample_##name += ns; \
		break;
		VCPU_SAMPLES(X)
#undef X
	case SAMPLE_KINDS:
		break;
	}
}

static void on_sample(int sig, siginfo_t *si, void *ctx)
{
	const ucontext_t *uc = ctx;
	uint64_t now, pc = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	struct vcpu *v = bt_thread_vcpu();

	(void)sig, (void)si;
	if (!v || !bt_cpu(v)->bt)
		return;
	now = thread_cpu_ns();
	if (pc == (uint64_t)bt_leave && bt_cpu(v)->left_pc)
		pc = bt_cpu(v)->left_pc;
	bt_cpu(v)->left_pc = 0;
	charge(v, kind_of(v, pc), now - v->sampled_ns);
	v->sampled_ns = now;
}

enum status bt_sample_start(struct vcpu *v, struct error *e)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART, .sa_sigaction = on_sample };
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SAMPLE_SIGNAL };
	struct itimerspec every = { 0 };
	uint64_t ns;
	sigset_t set;

	if (!v->vm->cfg.sample_hz)
		return ST_OK;
	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGSEGV);
	sigaction(SAMPLE_SIGNAL, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SAMPLE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	v->sampled_ns = thread_cpu_ns();
	ev._sigev_un._tid = (pid_t)syscall(SYS_gettid); /* sigev_notify_thread_id, which this libc has no name for */
	if (timer_create(CLOCK_MONOTONIC, &ev, &bt_cpu(v)->sampler))
		return error_errno(e, ST_UNSUPPORTED, "--sample: cannot make a timer");
	bt_cpu(v)->has_sampler = true;
	ns = 1000000000u / v->vm->cfg.sample_hz;
	every.it_interval = (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	every.it_value = every.it_interval;
	if (timer_settime(bt_cpu(v)->sampler, 0, &every, NULL))
		return error_errno(e, ST_UNSUPPORTED, "--sample: cannot start a timer");
	return ST_OK;
}

void bt_sample_stop(struct vcpu *v)
{
	if (!bt_cpu(v)->has_sampler)
		return;
	timer_delete(bt_cpu(v)->sampler);
	bt_cpu(v)->has_sampler = false;
}
