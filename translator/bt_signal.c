/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals as the translator's asynchronous exits.
 *
 * BT_KICK_SIGNAL  somebody set vcpu->request (or wants a barrier): leave at the boundary of the current guest instruction
 * SIGTRAP         the single step that brings a kick from the middle of a commit to the next boundary
 * SIGSEGV         in generated code: a misaligned SSE operand (#GP)
 * SIGFPE          in generated code: #DE, #MF, #XM
 * SIGPROF         looks where the thread is, and changes nothing (bt_sample.c)
 *
 * The handlers run on an alternate stack with SS_AUTODISARM: RSP holds the guest's stack pointer in generated code, any value
 * at all, and the kernel must not mistake it for a place on the alternate stack.
 */
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "translator/bt_int.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
#define ALTSTACK_BYTES (256u << 10)

/* The vCPU whose guest code this thread executes: signal handlers have no argument to find it by. */
static __thread struct vcpu *thread_vcpu;

extern const char bt_resume_to[];

struct vcpu *bt_thread_vcpu(void)
{
	return thread_vcpu;
}

static const struct bt_mark *mark_at(const struct bt_block *b, uint32_t off)
{
	uint32_t lo = 0, hi = b->nmarks;

	off -= b->host;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (b->marks[mid].host_off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &b->marks[lo - 1] : NULL;
}

const struct bt_mark *bt_mark_of_pc(struct vcpu *v, uint64_t pc, const struct bt_block **block)
{
	struct bt *bt = bt_cpu(v)->bt;
	uint64_t off = pc - (uint64_t)bt->cache;

	if (off >= BT_CACHE_BYTES)
		return NULL;
	*block = bt_block_of_pc(bt, (uint32_t)off);
	return *block ? mark_at(*block, (uint32_t)off) : NULL;
}

/* greg indices in the order of enum x86_gpr, without R14 and R15 which live in memory */
static const uint8_t greg_of[14] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
				     REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13 };

/* Guest state out of the signal frame: exact at the start of the instruction that m belongs to. */
static void take_state(struct vcpu *v, const greg_t *g, const struct bt_block *b, const struct bt_mark *m)
{
	struct bt_cpu *cpu = bt_cpu(v);

	for (unsigned n = 0; n < 14; n++)
		v->regs.gpr[n] = (uint64_t)g[greg_of[n]];
	if (m->flags & MARK_FIX)
		v->regs.gpr[m->fix] = (uint64_t)g[REG_R14];
	if (!(m->flags & MARK_MEM)) {
		uint32_t f = (uint32_t)g[REG_EFL];

		cpu->fl = (uint16_t)(((f & 0xd5) | 2) << 8 | ((f >> 11) & 1));
	}
	v->regs.rip = b->gva + m->guest_off;
	if (!(b->key & BK_CODE64))
		v->regs.rip = (uint32_t)v->regs.rip;
}

static void try_leave(struct vcpu *v, ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint64_t pc = (uint64_t)g[REG_RIP];
	const struct bt_block *b;
	const struct bt_mark *m;

	bt_cpu(v)->left_pc = pc;
	if (pc >= (uint64_t)bt_resume_from && pc < (uint64_t)bt_resume_to) {
		g[REG_RIP] = (greg_t)bt_leave;
		g[REG_EFL] &= ~(greg_t)FL_TF;
		return;
	}
	if (pc > (uint64_t)bt_refill_list && pc < (uint64_t)bt_refill_listed) { /* marked as listed, and not yet in the list */
		g[REG_EFL] |= FL_TF;
		return;
	}
	if (pc >= (uint64_t)bt_refill && pc < (uint64_t)bt_refill_slow) { /* C does it over, and sees the request */
		g[REG_RIP] = pc < (uint64_t)bt_refill_saved ? (greg_t)bt_exit_mem : (greg_t)bt_refill_slow;
		g[REG_EFL] &= ~(greg_t)FL_TF;
		return;
	}
	m = bt_mark_of_pc(v, pc, &b);
	if (!m) { /* C code or an exit: it will look at vcpu->request itself */
		g[REG_EFL] &= ~(greg_t)FL_TF;
		return;
	}
	if (m->flags & MARK_STEP) {
		g[REG_EFL] |= FL_TF;
		return;
	}
	g[REG_EFL] &= ~(greg_t)FL_TF;
	take_state(v, g, b, m);
	bt_found_in(v, b);
	g[REG_RIP] = (greg_t)bt_leave;
}

static void barrier_ack(struct bt_cpu *cpu)
{
	uint32_t want = atomic_load(&cpu->barrier_want);

	if (atomic_load(&cpu->barrier_done) != want) {
		atomic_store(&cpu->barrier_done, want);
		syscall(SYS_futex, &cpu->barrier_done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static bool in_generated(struct vcpu *v, uint64_t pc)
{
	return v && bt_cpu(v)->bt && pc - (uint64_t)bt_cpu(v)->bt->cache < BT_CACHE_BYTES;
}

static void on_kick(int sig, siginfo_t *si, void *ctx)
{
	struct vcpu *v = thread_vcpu;
	ucontext_t *uc = ctx;

	(void)sig, (void)si;
	if (!v || !bt_cpu(v)->bt)
		return;
	if (v->exit_now)
		*v->exit_now = 1;
	/* A barrier needs every access either done or not begun: the code between a window's check and its use begins
	 * again, because generated code is left at an instruction boundary whatever the reason of the signal. */
	try_leave(v, uc);
	if (!(uc->uc_mcontext.gregs[REG_EFL] & FL_TF))
		barrier_ack(bt_cpu(v));
}

static void default_action(int sig)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	sigaction(sig, &sa, NULL);
}

static void on_trap(int sig, siginfo_t *si, void *ctx)
{
	struct vcpu *v = thread_vcpu;
	ucontext_t *uc = ctx;

	(void)si;
	if (!v || !bt_cpu(v)->bt) {
		default_action(sig);
		return;
	}
	try_leave(v, uc);
	if (!(uc->uc_mcontext.gregs[REG_EFL] & FL_TF))
		barrier_ack(bt_cpu(v));
}

/* A host fault at a guest instruction: the guest's own. */
static void on_fault(int sig, siginfo_t *si, void *ctx)
{
	struct vcpu *v = thread_vcpu;
	ucontext_t *uc = ctx;
	greg_t *g = uc->uc_mcontext.gregs;
	const struct bt_block *b;
	const struct bt_mark *m;

	if (!in_generated(v, (uint64_t)g[REG_RIP]) || !(m = bt_mark_of_pc(v, (uint64_t)g[REG_RIP], &b)) ||
	    (sig == SIGSEGV && g[REG_TRAPNO] != VEC_GP)) {
		default_action(sig); /* ours: the instruction runs again and the process dies with the right signal */
		return;
	}
	take_state(v, g, b, m);
	g[REG_EFL] &= ~(greg_t)FL_TF;
	if (sig == SIGSEGV)
		fault_set_error(v, VEC_GP, 0);
	else if (g[REG_TRAPNO] == VEC_DE || si->si_code == FPE_INTDIV)
		fault_set(v, VEC_DE);
	else if (g[REG_TRAPNO] == VEC_MF)
		fault_set(v, VEC_MF);
	else
		fault_set(v, v->regs.cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
	bt_cpu(v)->host_fault = true;
	g[REG_RIP] = (greg_t)bt_leave;
}

void bt_signals_install(void)
{
	static const int faults[] = { SIGSEGV, SIGFPE };
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGSEGV);
	sa.sa_sigaction = on_kick;
	sigaction(BT_KICK_SIGNAL, &sa, NULL);
	sa.sa_sigaction = on_trap;
	sigaction(SIGTRAP, &sa, NULL);
	sa.sa_sigaction = on_fault;
	for (unsigned i = 0; i < ARRAY_LEN(faults); i++)
		sigaction(faults[i], &sa, NULL);
}

enum status bt_signals_thread(struct vcpu *v, struct error *e)
{
	struct bt_cpu *cpu = bt_cpu(v);
	stack_t ss = { .ss_size = ALTSTACK_BYTES, .ss_flags = (int)SS_AUTODISARM };
	sigset_t set;

	cpu->altstack = mmap(NULL, ALTSTACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cpu->altstack == MAP_FAILED) {
		cpu->altstack = NULL;
		return error_errno(e, ST_NO_MEMORY, "bt: cannot map a signal stack");
	}
	ss.ss_sp = cpu->altstack;
	if (sigaltstack(&ss, NULL))
		return error_errno(e, ST_UNSUPPORTED, "bt: cannot set up a signal stack");
	sigemptyset(&set);
	sigaddset(&set, BT_KICK_SIGNAL);
	sigaddset(&set, SIGTRAP);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGFPE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	thread_vcpu = v;
	return bt_sample_start(v, e);
}

void bt_signals_thread_end(struct vcpu *v)
{
	struct bt_cpu *cpu = bt_cpu(v);
	stack_t ss = { .ss_flags = SS_DISABLE };

	bt_sample_stop(v);
	thread_vcpu = NULL;
	sigaltstack(&ss, NULL);
	if (cpu->altstack)
		munmap(cpu->altstack, ALTSTACK_BYTES);
	cpu->altstack = NULL;
}

void bt_barrier(struct vcpu *self)
{
	struct vm *vm = self ? self->vm : NULL;

	/* What the caller has written comes before the look at in_guest, as the store to in_guest comes before all that its
	 * vCPU then reads: one that is outside, asleep in HLT say, need not be woken. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned n = 0; vm && n < vm->ncpus; n++) {
		struct vcpu *v = vm->vcpu[n];
		struct bt_cpu *cpu = bt_cpu(v);
		uint32_t want;

		if (v == self || !atomic_load(&cpu->live) || !v->tid || !__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST))
			continue;
		/* C code may have a host address in hand that generated code is about to use: with a request it goes back to the
		 * dispatcher instead, and the access begins again. */
		atomic_fetch_or(&v->request, REQ_EVENT);
		want = atomic_fetch_add(&cpu->barrier_want, 1) + 1;
		syscall(SYS_tgkill, getpid(), v->tid, BT_KICK_SIGNAL);
		for (;;) {
			uint32_t done = atomic_load(&cpu->barrier_done);

			if ((int32_t)(done - want) >= 0 || !atomic_load(&cpu->live))
				break;
			struct timespec ts = { .tv_nsec = 10 * 1000 * 1000 };

			syscall(SYS_futex, &cpu->barrier_done, FUTEX_WAIT_PRIVATE, done, &ts, NULL, 0);
		}
	}
}
