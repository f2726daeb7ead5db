/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor itself: cases run in a forked child.
 *
 * The child stays in one signal handler nearly all the time. Each case ends in an exception - the INT3 behind the code, or
 * a fault - and the kernel hands the complete user state to the handler: registers, vector number, error code, CR2 and the
 * XSAVE image. The handler stores it, writes the next case's state over the same frame and returns into it. That costs
 * one exception and one sigreturn a case, and shows everything that an exception handler of a kernel would see. 32-bit
 * code runs through the selector of 32-bit user code, whose descriptor every x86-64 Linux keeps, 16-bit code through an
 * entry of the local descriptor table. Returning to a 16-bit stack segment, the kernel restores bits 31-16 of ESP too (its
 * "espfix"); what it leaves in bits 63-32 cannot be seen outside 64-bit mode and is not compared there.
 *
 * The data pages are shared memory, seen at three aliases by the code under test and once more, writable, by the handler.
 * Segment registers belong to the test: the handler's entry takes DS, ES, FS, GS and the two bases, which a signal frame
 * does not carry, gives the C library its FS base back, and its end loads those of the next case.
 *
 * A case that single-steps (dcase.steps) stays in the handler for each #DB: its registers become a number in dout.
 */
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#undef PF_W /* elf.h names a flag of segments in files so */

#include "tests/diff/diff.h"

#define ALT_STACK_BYTES (256u << 10)
/* uc_flags of a signal frame (asm/ucontext.h, which cannot be included beside the C library's) */
#define UC_SIGCONTEXT_SS 2
#define UC_STRICT_RESTORE_SS 4

/* What parent and child share. */
struct native_shared {
	_Atomic uint32_t submitted; /* batches handed to the child */
	_Atomic uint32_t finished;  /* batches done */
	uint32_t count;
	_Atomic uint32_t at; /* the case that runs, for the watchdog */
	struct host_ok ok;
	struct dcase in[BATCH_CASES];
	struct dout out[BATCH_CASES];
	uint8_t code[CODE_BYTES] __attribute__((aligned(4096)));
	uint8_t data[DATA_PAGES * 4096] __attribute__((aligned(4096)));
};

struct native {
	struct native_shared *sh;
	int fd;
	pid_t child;
};

/* The child's state: reachable from the handler only through a variable. It exists once in each child process. */
static struct native_child {
	struct native_shared *sh;
	uint32_t at;
	bool running;
	gregset_t home;
} child;

/* What the handler's entry and end exchange with it: out of the case, into the next one. */
struct native_segs {
	uint16_t ds, es, fs, gs;
	uint64_t fs_base, gs_base;
};
extern struct native_segs native_out, native_in;
extern uint64_t native_tls;    /* FS base of the C library */
extern uint32_t native_bases;  /* 1: RDFSBASE and its kin work; 2: the next case is 64-bit code */
struct native_segs native_out, native_in;
uint64_t native_tls;
uint32_t native_bases;

static void futex_wait(_Atomic uint32_t *p, uint32_t old)
{
	struct timespec t = {.tv_nsec = 200000000};

	syscall(SYS_futex, p, FUTEX_WAIT, old, &t, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *p)
{
	syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static const uint8_t reg_order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint8_t *window_bytes(const struct dcase *c, unsigned first)
{
	return child.sh->data + 4096u * (c->window + 1u) - WIN_BYTES / 2 + first;
}

static void load_state(ucontext_t *uc, const struct dcase *c)
{
	greg_t *g = uc->uc_mcontext.gregs;
	unsigned first, n = case_window_part(c, &first);

	for (unsigned i = 0; i < 16; i++)
		g[reg_order[i]] = (greg_t)c->in.gpr[i];
	g[REG_RIP] = (greg_t)c->in.rip;
	g[REG_EFL] = (greg_t)c->in.rflags;
	g[REG_CSGSFS] = (greg_t)((uint64_t)c->in.seg[SEG_CS] | (uint64_t)c->in.seg[SEG_SS] << 48);
	/* SS is ours, whatever its descriptor says: the kernel must not repair it */
	uc->uc_flags |= UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	native_in.ds = c->in.seg[SEG_DS];
	native_in.es = c->in.seg[SEG_ES];
	native_in.fs = c->in.seg[SEG_FS];
	native_in.gs = c->in.seg[SEG_GS];
	native_in.fs_base = c->in.fs_base;
	native_in.gs_base = c->in.gs_base;
	native_bases = (native_bases & 1) | (c->mode == 64 ? 2 : 0);
	xsave_from_state((uint8_t *)uc->uc_mcontext.fpregs, &c->in);
	memcpy(window_bytes(c, first), c->in.mem + first, n);
}

static void store_registers(const ucontext_t *uc, struct dstate *st)
{
	const greg_t *g = uc->uc_mcontext.gregs;

	for (unsigned i = 0; i < 16; i++)
		st->gpr[i] = (uint64_t)g[reg_order[i]];
	st->rip = (uint64_t)g[REG_RIP];
	st->rflags = (uint64_t)g[REG_EFL];
	st->seg[SEG_CS] = (uint16_t)g[REG_CSGSFS];
	st->seg[SEG_SS] = (uint16_t)((uint64_t)g[REG_CSGSFS] >> 48);
	st->seg[SEG_DS] = native_out.ds;
	st->seg[SEG_ES] = native_out.es;
	st->seg[SEG_FS] = native_out.fs;
	st->seg[SEG_GS] = native_out.gs;
	st->fs_base = native_out.fs_base;
	st->gs_base = native_out.gs_base;
}

static void store_state(const ucontext_t *uc, const struct dcase *c, struct dout *o)
{
	const greg_t *g = uc->uc_mcontext.gregs;
	unsigned first, n = case_window_part(c, &first);

	store_registers(uc, &o->st);
	o->vector = (uint8_t)g[REG_TRAPNO];
	o->error = (uint32_t)g[REG_ERR];
	o->cr2 = o->vector == VEC_PF ? (uint64_t)g[REG_CR2] : 0;
	o->bases = native_bases & 1;
	o->ran = true;
	o->skip = false;
	xsave_to_state((const uint8_t *)uc->uc_mcontext.fpregs, &o->st);
	memcpy(o->st.mem + first, window_bytes(c, first), n);
}

/* A #DB on the way through a case that single-steps; true: it goes on. */
static bool store_step(ucontext_t *uc, const struct dcase *c, struct dout *o)
{
	if (uc->uc_mcontext.gregs[REG_TRAPNO] != VEC_DB || o->steps >= c->steps)
		return false;
	store_registers(uc, &o->st);
	o->step_rip[o->steps] = o->st.rip;
	o->step_hash[o->steps++] = step_hash(c, &o->st);
	native_in = native_out;
	uc->uc_flags |= UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	native_bases = (native_bases & 1) | (o->st.seg[SEG_CS] == SEL_CODE64 ? 2 : 0);
	return true;
}

static void on_exception(ucontext_t *uc)
{
	struct native_shared *sh = child.sh;

	if (!child.running) { /* the INT3 in run_batch */
		memcpy(child.home, uc->uc_mcontext.gregs, sizeof(child.home));
		child.running = true;
		child.at = 0;
	} else {
		if (store_step(uc, &sh->in[child.at], &sh->out[child.at]))
			return;
		store_state(uc, &sh->in[child.at], &sh->out[child.at]);
		child.at++;
	}
	if (child.at < sh->count) {
		sh->out[child.at].steps = 0;
		atomic_store_explicit(&sh->at, child.at, memory_order_relaxed);
		load_state(uc, &sh->in[child.at]);
		return;
	}
	child.running = false;
	memcpy(uc->uc_mcontext.gregs, child.home, sizeof(child.home));
	native_in = (struct native_segs){.fs_base = native_tls};
	native_bases |= 2;
	uc->uc_mcontext.fpregs->cwd = 0x37f;
	uc->uc_mcontext.fpregs->swd = 0;
	uc->uc_mcontext.fpregs->ftw = 0;
	uc->uc_mcontext.fpregs->mxcsr = 0x1f80;
}

/* AC, NT and ID may be set by a case and survive the delivery of a signal: compiled code must not run with AC, and the
 * next case would inherit the others, which a signal return does not write. */
void native_signal_entry(int sig, siginfo_t *si, void *context);
void native_handler(int sig, siginfo_t *si, void *context);
void native_handler(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)si;
	on_exception(context);
}
__asm__(".pushsection .text\n"
	".globl native_signal_entry\n"
	"native_signal_entry:\n"
	"	pushfq\n"
	"	andl $~0x244000, (%rsp)\n"
	"	popfq\n"
	"	mov %ds, native_out(%rip)\n"
	"	mov %es, native_out+2(%rip)\n"
	"	mov %fs, native_out+4(%rip)\n"
	"	mov %gs, native_out+6(%rip)\n"
	"	testb $1, native_bases(%rip)\n"
	"	jz 1f\n"
	"	rdfsbase %rax\n"
	"	mov %rax, native_out+8(%rip)\n"
	"	rdgsbase %rax\n"
	"	mov %rax, native_out+16(%rip)\n"
	"	mov native_tls(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"1:	push %rax\n"
	"	call native_handler\n"
	"	pop %rax\n"
	"	mov native_in(%rip), %ds\n"
	"	mov native_in+2(%rip), %es\n"
	"	mov native_in+6(%rip), %gs\n"
	"	testb $1, native_bases(%rip)\n"
	"	jz 2f\n"
	"	mov native_in+4(%rip), %fs\n"
	"	testb $2, native_bases(%rip)\n"
	"	jz 2f\n"
	"	mov native_in+8(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	mov native_in+16(%rip), %rax\n"
	"	wrgsbase %rax\n"
	"2:	ret\n"
	".popsection\n");

static __attribute__((noinline)) void run_batch(void)
{
	__asm__ volatile("int3" ::: "memory", "cc", "rbx", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
			 "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static bool map_shared(int fd, uint64_t at, size_t len, int prot, off_t off)
{
	void *p = mmap((void *)at, len, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, off);

	if (p == MAP_FAILED)
		return false;
	for (size_t i = 0; i < len; i += 4096) /* present, so that a forbidden write says "protection" */
		(void)*(volatile uint8_t *)(at + i);
	return (uint64_t)p == at;
}

static bool map_data(int fd, uint64_t base)
{
	off_t off = offsetof(struct native_shared, data);

	return map_shared(fd, base + 4096, 8192, PROT_READ | PROT_WRITE, off + 4096) &&
	       map_shared(fd, base + 3 * 4096, 4096, PROT_READ, off + 3 * 4096);
}

/* A GS segment with a small base for both modes, by the 32-bit system call set_thread_area. */
static bool set_gs(void)
{
	struct user_desc *d = mmap((void *)0x30000000, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	long r = -1;

	if (d == MAP_FAILED)
		return false;
	*d = (struct user_desc){.entry_number = 12, .base_addr = GS_BASE, .limit = 0xfffff, .seg_32bit = 1,
				.limit_in_pages = 1, .useable = 1};
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(243), "b"(d) : "memory", "r8", "r9", "r10", "r11");
	munmap(d, 4096);
	if (r)
		return false;
	__asm__ volatile("mov %0,%%gs" ::"r"((uint16_t)GS_SELECTOR));
	return true;
}

static bool set_ldt(void)
{
	for (unsigned i = 0; i < seg_row_count; i++) {
		const struct x86_seg *r = &seg_rows[i];
		struct user_desc d = {
			.entry_number = r->sel >> 3,
			.base_addr = (unsigned)r->base,
			.limit = r->attr & SA_G ? r->limit >> 12 : r->limit,
			.seg_32bit = (r->attr & SA_DB) != 0,
			.contents = (r->attr & (SA_CODE | SA_DC)) >> 2,
			.read_exec_only = !(r->attr & SA_RW),
			.limit_in_pages = (r->attr & SA_G) != 0,
			.seg_not_present = !(r->attr & SA_P),
			.useable = (r->attr & SA_AVL) != 0,
		};

		if (r->sel & 4 && syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)))
			return false;
	}
	return true;
}

static void child_main(struct native_shared *sh, int fd)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t ss = {.ss_size = ALT_STACK_BYTES};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ss.ss_sp = mmap(NULL, ALT_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ss.ss_sp == MAP_FAILED || sigaltstack(&ss, NULL))
		_exit(1);
	if (!map_shared(fd, CODE_BASE, CODE_BYTES, PROT_READ | PROT_EXEC, offsetof(struct native_shared, code)) ||
	    !map_data(fd, DATA_NORMAL) || !map_data(fd, DATA_HIGH))
		_exit(2);
	sh->ok.low = map_data(fd, DATA_LOW);
	sa.sa_sigaction = native_signal_entry;
	sigemptyset(&sa.sa_mask);
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	sh->ok.gs = set_gs();
	sh->ok.ldt = set_ldt();
	sh->ok.base = (getauxval(AT_HWCAP2) & 2) != 0; /* HWCAP2_FSGSBASE */
	native_bases = sh->ok.base;
	syscall(SYS_arch_prctl, ARCH_GET_FS, &native_tls);
	child.sh = sh;
	atomic_store(&sh->finished, 1);
	futex_wake(&sh->finished);
	for (uint32_t done = 1;; done++) {
		while (atomic_load(&sh->submitted) == done)
			futex_wait(&sh->submitted, done);
		run_batch();
		atomic_store(&sh->finished, done + 1);
		futex_wake(&sh->finished);
	}
}

bool native_wait(struct native *n)
{
	uint32_t want = atomic_load(&n->sh->submitted), done;

	while ((done = atomic_load(&n->sh->finished)) != want) {
		if (waitpid(n->child, NULL, WNOHANG) == n->child) {
			n->child = 0;
			return false;
		}
		futex_wait(&n->sh->finished, done);
	}
	return true;
}

struct native *native_start(char *why, size_t why_len)
{
	struct native *n = calloc(1, sizeof(*n));

	unsigned a, b = 0, c, d;

	if (!n)
		return NULL;
	n->fd = -1;
	if (!__get_cpuid_count(13, 2, &a, &b, &c, &d) || b != 576) {
		snprintf(why, why_len, "the processor has no AVX state at the usual place");
		goto fail;
	}
	n->fd = memfd_create("diff", MFD_CLOEXEC);
	if (n->fd < 0 || ftruncate(n->fd, sizeof(*n->sh)) < 0) {
		snprintf(why, why_len, "memfd: %s", strerror(errno));
		goto fail;
	}
	n->sh = mmap(NULL, sizeof(*n->sh), PROT_READ | PROT_WRITE, MAP_SHARED, n->fd, 0);
	if (n->sh == MAP_FAILED) {
		n->sh = NULL;
		snprintf(why, why_len, "mmap: %s", strerror(errno));
		goto fail;
	}
	__get_cpuid_count(0, 0, &a, &b, &c, &d);
	n->sh->ok.amd = b == 0x68747541; /* "Auth" */
	for (unsigned i = 0; i < sizeof(n->sh->data); i++)
		n->sh->data[i] = (uint8_t)(i * 7 + 1);
	memset(n->sh->code, 0xcc, CODE_BYTES);
	atomic_store(&n->sh->submitted, 1);
	fflush(NULL);
	n->child = fork();
	if (n->child == 0) {
		child_main(n->sh, n->fd);
		_exit(0);
	}
	if (n->child < 0 || !native_wait(n)) {
		snprintf(why, why_len, "the native child could not be set up");
		goto fail;
	}
	return n;
fail:
	native_stop(n);
	return NULL;
}

struct host_ok native_ok(const struct native *n)
{
	return n->sh->ok;
}

unsigned native_position(const struct native *n)
{
	return atomic_load(&n->sh->at);
}

struct dcase *native_cases(struct native *n)
{
	return n->sh->in;
}

struct dout *native_outs(struct native *n)
{
	return n->sh->out;
}

const uint8_t *native_page(const struct native *n, unsigned page)
{
	return n->sh->data + 4096u * page;
}

void native_submit(struct native *n, unsigned count)
{
	struct native_shared *sh = n->sh;

	sh->count = count;
	for (unsigned i = 0; i < count; i++)
		if (i == 0 || sh->in[i].slot != sh->in[i - 1].slot)
			memcpy(&sh->code[sh->in[i].slot * SLOT_BYTES], sh->in[i].code, SLOT_BYTES);
	atomic_fetch_add(&sh->submitted, 1);
	futex_wake(&sh->submitted);
}

void native_stop(struct native *n)
{
	if (!n)
		return;
	if (n->child > 0) {
		kill(n->child, SIGKILL);
		waitpid(n->child, NULL, 0);
	}
	if (n->sh)
		munmap(n->sh, sizeof(*n->sh));
	if (n->fd >= 0)
		close(n->fd);
	free(n);
}
