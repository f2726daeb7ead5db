// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The image's twin on the host: the same measuring code and the same items where ring 3 can do them; system calls, faults and
 * exceptions are the host kernel's, as the table's column "native" says. Arguments are the image's words.
 */
#include "eval/workloads/machine/machine.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* What the running item needs; one thread. */
static struct {
	uint8_t *code, *pages, *fresh;
	volatile uint64_t signals;
	uint64_t before;
	char text[160];
} now;

static uint8_t *map(size_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void machine_say(const char *line, size_t len)
{
	while (len) {
		ssize_t n = write(1, line, len);

		if (n <= 0)
			_exit(1); /* nobody listens */
		line += n;
		len -= (size_t)n;
	}
}

const char *machine_guard(void (*fn)(const struct machine_item *item, uint64_t budget), const struct machine_item *item,
			  uint64_t budget)
{
	fn(item, budget);
	return NULL;
}

uint8_t *machine_code(void)
{
	if (!now.code)
		now.code = map(16384, PROT_READ | PROT_WRITE | PROT_EXEC);
	return now.code;
}

uint8_t *machine_pages(void)
{
	if (!now.pages) {
		now.pages = map(MACHINE_PAGES * 4096, PROT_READ | PROT_WRITE);
		if (now.pages) {
			madvise(now.pages, MACHINE_PAGES * 4096, MADV_NOHUGEPAGE);
			memset(now.pages, 1, MACHINE_PAGES * 4096);
		}
	}
	return now.pages;
}

const char *machine_xsave(uint32_t *mask)
{
	uint32_t r[4], lo, hi;

	machine_cpuid_leaf(1, 0, r);
	if (!(r[2] & 1u << 27))
		return "CPUID has no OSXSAVE";
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	*mask = lo & 7;
	return NULL;
}

#define TIMED(...)                               \
	({                                       \
		uint64_t begun_ = machine_tsc(); \
		__VA_ARGS__;                     \
		machine_tsc() - begun_;          \
	})

/* Goes on behind the instruction: its length is in RDX, which the loops below set. */
static void on_signal(int sig, siginfo_t *si, void *context)
{
	ucontext_t *u = context;

	(void)sig;
	(void)si;
	now.signals++;
	u->uc_mcontext.gregs[REG_RIP] += u->uc_mcontext.gregs[REG_RDX];
}

static const char *begin_signals(void)
{
	static const int which[] = {SIGILL, SIGFPE, SIGSEGV};
	struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

	for (unsigned i = 0; i < sizeof(which) / sizeof(which[0]); i++)
		sigaction(which[i], &a, NULL);
	now.before = now.signals;
	return NULL;
}
static const char *end_signals(uint64_t ops)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGILL, SIG_DFL);
	signal(SIGFPE, SIG_DFL);
	if (now.signals - now.before == ops)
		return NULL;
	return machine_reason(now.text, sizeof(now.text), "wrong result: signals ", now.signals - now.before,
			      ", operations ", ops);
}
static uint64_t run_undefined(uint64_t n)
{
	return TIMED(for (uint64_t i = 0; i < n; i++) __asm__ volatile("ud2" : : "d"(2ul)));
}
static uint64_t run_divide(uint64_t n)
{
	/* DIV of EDX:EAX by 0 faults whatever EDX is; the instruction has two bytes. */
	return TIMED(for (uint64_t i = 0; i < n; i++) {
		uint64_t two = 2, a = 1;

		__asm__ volatile("div %%ecx" : "+d"(two), "+a"(a) : "c"(0));
	});
}
static uint64_t run_page_fault(uint64_t n)
{
	/* page 0 is never mapped; three bytes */
	return TIMED(for (uint64_t i = 0; i < n; i++) {
		uint64_t a = 0;

		__asm__ volatile("mov (%%rax), %%rax" : "+a"(a) : "d"(3ul));
	});
}
static const char *begin_page_minor(void)
{
	if (!now.fresh)
		now.fresh = map(MACHINE_PAGES * 4096, PROT_READ | PROT_WRITE);
	if (!now.fresh)
		return "no memory";
	madvise(now.fresh, MACHINE_PAGES * 4096, MADV_NOHUGEPAGE);
	return NULL;
}
static uint64_t run_page_minor(uint64_t n)
{
	madvise(now.fresh, n * 4096, MADV_DONTNEED);
	return TIMED(for (uint64_t i = 0; i < n; i++) * (volatile uint8_t *)(now.fresh + i * 4096));
}
static uint64_t run_syscall(uint64_t n)
{
	return TIMED(for (uint64_t i = 0; i < n; i++) {
		long r = SYS_getpid;

		__asm__ volatile("syscall" : "+a"(r) : : "rcx", "r11", "memory");
	});
}

static const struct machine_ops machine_undefined = {begin_signals, run_undefined, end_signals},
				machine_divide = {begin_signals, run_divide, end_signals},
				machine_page_fault = {begin_signals, run_page_fault, end_signals},
				machine_page_minor = {begin_page_minor, run_page_minor, NULL},
				machine_syscall = {NULL, run_syscall, NULL};

static const struct machine_named native_rows[] = {
	MACHINE_USER_ITEMS(MACHINE_USER_ROW)
	{"undefined", &machine_undefined},
	{"divide", &machine_divide},
	{"page_fault", &machine_page_fault},
	{"page_minor", &machine_page_minor},
	{"syscall", &machine_syscall},
};

bool machine_row(unsigned i, struct machine_item *item)
{
	static const struct machine_item rows[] = {
#define X(name, family, batch, grow, native, what) {#name, batch, grow, NULL, NULL, NULL},
#include "eval/workloads/machine/machine.def"
#undef X
	};

	if (i >= sizeof(rows) / sizeof(rows[0]))
		return false;
	*item = rows[i];
	for (unsigned k = 0; k < sizeof(native_rows) / sizeof(native_rows[0]); k++)
		if (!strcmp(native_rows[k].name, item->name)) {
			item->begin = native_rows[k].ops->begin;
			item->run = native_rows[k].ops->run;
			item->end = native_rows[k].ops->end;
		}
	return true;
}

int main(int argc, char **argv)
{
	char args[4096];
	size_t n = 0;

	for (int i = 1; i < argc && n < sizeof(args); i++)
		n += (size_t)snprintf(args + n, sizeof(args) - n, "%s ", argv[i]);
	args[n < sizeof(args) ? n : sizeof(args) - 1] = 0;
	machine_measure(args);
	return 0;
}
