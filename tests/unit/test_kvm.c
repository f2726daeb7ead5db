/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kvm path on a KVM that fails. Every request of the host fails in turn, every exit reason comes back, KVM_RUN stalls in
 * several ways: the guest, four bytes that write to the debug exit, ends as it should because the translator goes on with
 * it, or the run ends with one line that names the failure; nothing hangs and nothing stays open.
 */
#include "tests/unit/kvm_scene.h"

#include <dirent.h>

#include "engine/board_map.h"
#include "engine/run.h"

#define EXIT_REASONS 64 /* more than <linux/kvm.h> has: tests/e2e/style.sh compares */

/* ---- every request fails ---- */

enum where {
	AT_CREATE, /* vm_create says it */
	AT_START,  /* the vCPU's thread ends the run */
	FALLS,	   /* the translator goes on */
	LOSES,	   /* the state is in KVM and does not come back: the run ends */
	IS_FINE,   /* the path does without */
};

/* When the path makes it, and how often it has to fail before it counts. */
enum {
	FROM_PAE = 1, /* not before a guest with PAE paging comes to kvm: test_requests_later */
	SOFTWARE = 2, /* on a KVM made by software alone */
	ALWAYS = 4,   /* the first failure is forgiven */
	IN_STALL = 8, /* by the watchdog alone: test_stalls */
	CHIPS = 16,   /* where the interrupt controllers are the kernel's */
	IN_CHIPS = 32, /* by a device alone: test_chips_lent */
	IN_LOG = 64,   /* by who asks for written pages alone: test_dirty.c */
	OTHER_RATE = 256, /* where KVM counts at another rate than the host: test_tsc in test_kvm_chips.c */
	IN_DOORBELL = 512, /* by a device that has one alone: test_doorbells in test_kvm_chips.c */
	WIDE = 1024, /* where KVM has more XSAVE state than 4096 bytes: test_kvm_xsave.c */
	IN_STARTUP = 128, /* by a vCPU that leaves before what it was to begin with has gone in: test_kvm_startup.c */
};

/* Every request of fastpath/kvm_*.c: tests/e2e/style.sh compares. */
static const struct {
	unsigned long request;
	const char *name;
	enum where where;
	unsigned how; /* 0: at once, everywhere */
} requests[] = {
	{FAKE_OPEN, "open", AT_CREATE, 0},
	{KVM_GET_API_VERSION, "KVM_GET_API_VERSION", AT_CREATE, 0},
	{KVM_CHECK_EXTENSION, "KVM_CHECK_EXTENSION", AT_CREATE, 0},
	{KVM_CREATE_VM, "KVM_CREATE_VM", AT_CREATE, 0},
	{KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", AT_CREATE, 0},
	{KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", AT_CREATE, 0},
	{KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", AT_CREATE, 0},
	{KVM_X86_SET_MSR_FILTER, "KVM_X86_SET_MSR_FILTER", AT_CREATE, 0},
	{KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", AT_START, 0},
	{KVM_CREATE_VCPU, "KVM_CREATE_VCPU", AT_START, 0},
	{FAKE_MAP, "mmap", AT_START, 0},
	{KVM_SET_CPUID2, "KVM_SET_CPUID2", AT_START, 0},
	{KVM_SET_XCRS, "KVM_SET_XCRS", FALLS, 0},
	{KVM_SET_XSAVE, "KVM_SET_XSAVE", FALLS, 0},
	{KVM_SET_MSRS, "KVM_SET_MSRS", FALLS, 0},
	{KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", FALLS, 0},
	{KVM_SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR", IS_FINE, 0},
	{KVM_HAS_DEVICE_ATTR, "KVM_HAS_DEVICE_ATTR", IS_FINE, 0},
	{KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", IS_FINE, 0},
	{KVM_SET_TSC_KHZ, "KVM_SET_TSC_KHZ", IS_FINE, OTHER_RATE},
	{KVM_SET_GUEST_DEBUG, "KVM_SET_GUEST_DEBUG", IS_FINE, IN_STALL},
	{KVM_ENABLE_CAP, "KVM_ENABLE_CAP", AT_CREATE, ALWAYS},
	{KVM_SET_SREGS, "KVM_SET_SREGS", FALLS, SOFTWARE},
	{KVM_GET_SREGS, "KVM_GET_SREGS", FALLS, SOFTWARE},
	{KVM_SET_SREGS2, "KVM_SET_SREGS2", FALLS, FROM_PAE},
	{KVM_GET_SREGS2, "KVM_GET_SREGS2", FALLS, FROM_PAE},
	{KVM_RUN, "KVM_RUN", FALLS, 0},
	{KVM_GET_XCRS, "KVM_GET_XCRS", LOSES, 0},
	{KVM_GET_XSAVE, "KVM_GET_XSAVE", LOSES, 0},
	{KVM_GET_XSAVE2, "KVM_GET_XSAVE2", IS_FINE, WIDE},
	{KVM_GET_MSRS, "KVM_GET_MSRS", LOSES, 0},
	{KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS", LOSES, 0},
	{KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP", AT_CREATE, CHIPS},
	{KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING", AT_CREATE, CHIPS},
	{KVM_CREATE_VCPU, "KVM_CREATE_VCPU", AT_START, CHIPS},
	{KVM_SET_IRQCHIP, "KVM_SET_IRQCHIP", AT_START, CHIPS},
	{KVM_IRQ_LINE, "KVM_IRQ_LINE", AT_START, CHIPS},
	{KVM_SET_LAPIC, "KVM_SET_LAPIC", AT_START, CHIPS},
	{KVM_SET_MP_STATE, "KVM_SET_MP_STATE", AT_START, CHIPS},
	{KVM_GET_MP_STATE, "KVM_GET_MP_STATE", AT_START, CHIPS},
	{KVM_GET_REGS, "KVM_GET_REGS", LOSES, CHIPS},
	{KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", LOSES, CHIPS},
	{KVM_SET_REGS, "KVM_SET_REGS", IS_FINE, CHIPS | IN_STARTUP},
	{KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", IS_FINE, CHIPS | IN_STARTUP},
	{KVM_GET_LAPIC, "KVM_GET_LAPIC", LOSES, CHIPS},
	{KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", LOSES, CHIPS},
	{KVM_IOEVENTFD, "KVM_IOEVENTFD", IS_FINE, CHIPS | IN_DOORBELL},
	{KVM_GET_STATS_FD, "KVM_GET_STATS_FD", IS_FINE, 0},
	{KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", IS_FINE, IN_CHIPS},
	{KVM_GET_DIRTY_LOG, "KVM_GET_DIRTY_LOG", IS_FINE, IN_LOG},
};

static enum kvm_chips_of chips_of(unsigned row)
{
	return requests[row].how & CHIPS ? KVM_IRQCHIP_KERNEL : KVM_IRQCHIP_USER;
}

static int run_internal_error(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)k;
	(void)n;
	r->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	r->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	r->internal.ndata = 0;
	return 0;
}

static void test_requests(struct tally *t)
{
	static const int errors[] = {EIO, EINVAL, ENOMEM, EBADF, EFAULT, ENOTTY};

	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct scene s = {.chips = chips_of(i)};
		bool ok = false;

		if (requests[i].how & FROM_PAE)
			continue;
		fake_kvm_init(&s.k);
		s.k.fail = requests[i].request;
		s.k.times = requests[i].how & ALWAYS ? 1000 : 1;
		s.k.err = errors[i % 6];
		s.k.run = run_internal_error;
		scene_run(&s, PATH_KVM, NULL, 0);
		switch (requests[i].where) {
		case AT_CREATE:
			ok = !s.vm && s.e.msg[0] && strstr(s.e.msg, "kvm");
			break;
		case AT_START:
			ok = s.outcome == VM_FAILED && strstr(s.text, "kvm");
			break;
		case FALLS:
		case IS_FINE:
			ok = went_on(&s);
			break;
		case LOSES:
			ok = s.outcome == VM_FAILED && (strstr(s.text, "does not give") || strstr(s.text, "does not take questions"));
			break;
		}
		if (!ok)
			printf("%s fails: outcome %d, \"%s\" \"%s\"\n", requests[i].name, s.outcome, s.text, s.e.msg);
		TRUE(ok);
		TRUE(requests[i].where == IS_FINE || (requests[i].how & (SOFTWARE | IN_CHIPS | IN_LOG | IN_STARTUP | OTHER_RATE | IN_DOORBELL | WIDE)) || atomic_load(&s.k.failed) > 0);
		scene_end(&s, t);
	}
}

/* ---- the same when a guest that runs on the translator shall change to kvm: it stays there, or comes back ---- */

static const uint8_t waiting_code[] = {
	0xba, 0xff, 0x03,	       /* mov $0x3ff, %dx: COM1's scratch register, which the test writes */
	0xec,			       /* 1: in (%dx), %al */
	0x3c, 0x5a,		       /* cmp $0x5a, %al */
	0x75, 0xfb,		       /* jne 1b */
	0xb0, GUEST_VALUE, 0xe6, 0xf4, /* mov $21, %al; out %al, $0xf4 */
};

/* The same behind PAE paging, in the segments of real mode, which begin at FLAT_ADDR: one large page, and its directory pointer. */
static const uint8_t pae_code[] = {
	0x66, 0xc7, 0x06, 0x00, 0x14, 0x01, 0xa0, 0x00, 0x00, /* movl $0xa001, 0x1400 */
	0x66, 0xc7, 0x06, 0x00, 0x24, 0x83, 0x00, 0x00, 0x00, /* movl $0x83, 0x2400 */
	0x66, 0xb8, 0x20, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0, /* mov $CR4.PAE, %eax; mov %eax, %cr4 */
	0x66, 0xb8, 0x00, 0x90, 0x00, 0x00, 0x0f, 0x22, 0xd8, /* mov $0x9000, %eax; mov %eax, %cr3 */
	0x66, 0xb8, 0x11, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, /* mov $(CR0.PG | CR0.ET | CR0.PE), %eax; mov %eax, %cr0 */
	0xba, 0xff, 0x03, 0xec, 0x3c, 0x5a, 0x75, 0xfb, 0xb0, GUEST_VALUE, 0xe6, 0xf4, /* as above */
};

static void change_then_tell(void *ctx)
{
	struct scene *s = ctx;
	struct error e = {0};

	if (s->k.arg++ == 0) {
		if (vm_switch_path(s->vm, -1, PATH_KVM, "the test", &e) != ST_OK)
			printf("vm_switch_path: %s\n", e.msg);
		timer_arm(&s->later, clock_ns(&s->vm->clock) + 30000000);
	} else {
		bus_write(&s->vm->pio, 0x3ff, 1, 0x5a);
	}
}

static void test_requests_later(struct tally *t)
{
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const bool pae = requests[i].how & FROM_PAE;
		struct scene s = {.code = pae ? pae_code : waiting_code,
				  .code_bytes = pae ? sizeof(pae_code) : sizeof(waiting_code),
				  .chips = chips_of(i)};
		bool ok, made;

		fake_kvm_init(&s.k);
		s.k.fail = requests[i].request;
		s.k.run = run_internal_error;
		s.k.times = 1000;
		scene_run(&s, PATH_BT, change_then_tell, 1000000);
		ok = requests[i].where == LOSES ? s.outcome == VM_FAILED : went_on(&s);
		TRUE(ok && s.vm && switch_count(s.vm) > 0);
		made = (requests[i].how & (SOFTWARE | IN_STALL | IN_CHIPS | IN_LOG | IN_STARTUP | OTHER_RATE | IN_DOORBELL | WIDE)) || atomic_load(&s.k.failed) > 0;
		TRUE(made);
		if (!ok || !made)
			printf("%s fails later: outcome %d%s\n", requests[i].name, s.outcome, made ? "" : ", and was not made");
		scene_end(&s, t);
	}
}

/* ---- every exit ---- */


/* The reason of this scene once, filled with noise; then what no path can ignore. */
static int run_reason(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	uint32_t reason = k->arg & 0xff, noise = k->arg >> 8;

	if (n > 2)
		return run_internal_error(k, r, n);
	for (unsigned i = 0; i < sizeof(r->padding); i++)
		r->padding[i] = (char)(noise * (i + 1) >> (i % 7));
	r->exit_reason = reason;
	if (reason == KVM_EXIT_IO && r->io.port == 0xf4)
		r->io.port = 0x80;
	return 0;
}

static void test_exits(struct tally *t)
{
	static const uint32_t noises[] = {0, 0xffffff, 0x010101, 0x5a17c3, 0x800001};

	for (unsigned reason = 0; reason < EXIT_REASONS; reason++) {
		for (unsigned i = 0; i < sizeof(noises) / sizeof(noises[0]); i++) {
			struct scene s = {0};
			bool ok;

			fake_kvm_init(&s.k);
			s.k.arg = reason | noises[i] << 8;
			s.k.run = run_reason;
			if (reason == KVM_EXIT_HLT) { /* halted it is, for ever: that is what the host says */
				scene_run(&s, PATH_KVM, end_it, 200000000);
				TRUE(s.outcome == VM_STOPPED && s.vm->vcpu[0]->count.halts > 0);
				scene_end(&s, t);
				continue;
			}
			scene_run(&s, PATH_KVM, NULL, 0);
			ok = reason == KVM_EXIT_SHUTDOWN ? s.outcome == VM_TRIPLE_FAULT : went_on(&s);
			/* what the noise wrote to ports may end the machine as well: by a reset, by power-off */
			if (reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO)
				ok = s.outcome != VM_TIMEOUT && s.outcome != VM_RUNNING;
			if (!ok)
				printf("exit %u, noise %x: outcome %d, \"%s\"\n", reason, noises[i], s.outcome, s.text);
			TRUE(ok);
			scene_end(&s, t);
		}
	}
}


static void test_io(struct tally *t)
{
	struct scene s = {0};
	struct kvm_exit_count row;

	fake_kvm_init(&s.k);
	s.k.run = run_outs;
	scene_run(&s, PATH_KVM, NULL, 0);
	EQ(s.outcome, VM_DEBUG_EXIT);
	TRUE(s.vm && atomic_load(&s.vm->exit_value) == GUEST_VALUE && switch_path_of(s.vm, 0) == PATH_KVM);
	TRUE(s.vm && kvm_exit_row(s.vm, 0, &row) && !strcmp(row.name, "io") && row.count == 1);
	scene_end(&s, t);
}

/* A WRMSR that KVM hands over, of an MSR that it keeps a copy of: the copy follows. */
static int run_wrmsr(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	if (n)
		return run_outs(k, r, n);
	r->exit_reason = KVM_EXIT_X86_WRMSR;
	r->msr.index = MSR_TSC_AUX;
	r->msr.data = 0x1234567;
	return 0;
}

static void test_wrmsr(struct tally *t)
{
	struct scene s = {0};

	fake_kvm_init(&s.k);
	s.k.run = run_wrmsr;
	scene_run(&s, PATH_KVM, NULL, 0);
	EQ(s.outcome, VM_DEBUG_EXIT);
	TRUE(*fake_msr(&s.k, MSR_TSC_AUX) == 0x1234567);
	if (s.vm)
		kvm_pull(s.vm->vcpu[0]);
	TRUE(s.vm && s.vm->vcpu[0]->regs.tsc_aux == 0x1234567);
	scene_end(&s, t);
}

/* A reset of the machine ends the vCPU threads and begins new ones on the same KVM. */
static int run_reset(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	run_outs(k, r, n);
	if (k->arg++ < 3) {
		r->io.port = BOARD_RESET_PORT;
		((uint8_t *)r)[4096] = BOARD_RESET_VALUE;
	}
	return 0;
}

static void test_reset(struct tally *t)
{
	struct scene s = {0};

	fake_kvm_init(&s.k);
	s.k.run = run_reset;
	scene_run(&s, PATH_KVM, NULL, 0);
	EQ(s.outcome, VM_DEBUG_EXIT);
	TRUE(s.vm && s.vm->resets == 3 && switch_path_of(s.vm, 0) == PATH_KVM);
	scene_end(&s, t);
}

/* ---- stalls ---- */

static int run_comes_back(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)n;
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	r->exit_reason = k->arg;
	return 0;
}

static int run_again(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)k;
	(void)r;
	(void)n;
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	errno = EAGAIN;
	return -1;
}

/* Never finishes an OUT: the shared page says the same port again and again. */
static int run_repeats_out(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	run_outs(k, r, n);
	r->io.port = 0x80;
	return 0;
}

static void test_stalls(struct tally *t)
{
	static const struct {
		int (*run)(struct fake_kvm *k, struct kvm_run *r, unsigned n);
		unsigned arg;
		const char *what;
	} row[] = {
		{NULL, 0, "blocks"},
		{run_comes_back, KVM_EXIT_INTR, "intr"},
		{run_comes_back, KVM_EXIT_IRQ_WINDOW_OPEN, "irq_window"},
		{run_comes_back, KVM_EXIT_DEBUG, "debug"},
		{run_again, 0, "EAGAIN"},
		{run_repeats_out, 0, "the same OUT"},
	};

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct scene s = {0};

		fake_kvm_init(&s.k);
		s.k.run = row[i].run;
		s.k.arg = row[i].arg;
		scene_run(&s, PATH_KVM, NULL, 0);
		if (!went_on(&s))
			printf("stall: %s\n", row[i].what);
		TRUE(went_on(&s));
		TRUE(s.vm && switch_count_cause(s.vm, SWITCH_STALLED) == 1);
		scene_end(&s, t);
	}
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct scene s = {0};

		if (!(requests[i].how & IN_STALL))
			continue;
		fake_kvm_init(&s.k);
		s.k.fail = requests[i].request;
		s.k.times = 1000;
		scene_run(&s, PATH_KVM, NULL, 0);
		TRUE(went_on(&s) && atomic_load(&s.k.failed) > 0);
		scene_end(&s, t);
	}
}

/* Heeds no signal, as a kernel may that loops for ever; until the test has seen enough. */
static int run_deaf(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)n;
	while (!__atomic_load_n(&k->arg, __ATOMIC_SEQ_CST))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return fake_blocked(r);
}

/* Nothing gets the guest out of there: the end is a failure that says so, and comes. */
static void test_deaf(struct tally *t)
{
	struct scene s = {.stall_ms = 200};

	fake_kvm_init(&s.k);
	s.k.run = run_deaf;
	scene_run(&s, PATH_KVM, end_it, 200000000);
	TRUE(s.outcome == VM_FAILED && s.vm && s.vm->lost);
	TRUE(strstr(s.text, "vCPU 0 has not left guest code on kvm") != NULL);
	__atomic_store_n(&s.k.arg, 1, __ATOMIC_SEQ_CST);
	scene_end(&s, t);
}

/* A vCPU inside KVM_RUN answers: a change of path, a pause, the end. */
static void ask_bt(void *ctx)
{
	struct scene *s = ctx;
	struct error e = {0};

	vm_switch_path(s->vm, 0, PATH_BT, "the test", &e);
}

static void test_kicks(struct tally *t)
{
	struct scene s = {0}, s2 = {0};

	fake_kvm_init(&s.k);
	scene_run(&s, PATH_KVM, ask_bt, 20000000);
	TRUE(went_on(&s));
	EQ(switch_count_cause(s.vm, SWITCH_ASKED), 1);
	scene_end(&s, t);
	fake_kvm_init(&s2.k);
	scene_run(&s2, PATH_KVM, end_it, 20000000);
	EQ(s2.outcome, VM_STOPPED);
	scene_end(&s2, t);
}

/* One instruction that KVM does not know is no reason to stay away; many are. */
static void test_back(struct tally *t)
{
	struct scene s = {.code = waiting_code, .code_bytes = sizeof(waiting_code)};

	fake_kvm_init(&s.k);
	s.k.run = run_internal_error;
	s.k.arg = 1; /* change_then_tell: only tells */
	scene_run(&s, PATH_KVM, change_then_tell, 200000000);
	TRUE(went_on(&s));
	/* 10 + 20 + 40 + 80 ms: there and back again, and nobody counts on a clock but for "more than once" */
	TRUE(s.vm && switch_count_cause(s.vm, SWITCH_BACK) >= 1);
	TRUE(s.vm && switch_count_cause(s.vm, SWITCH_CANNOT) > switch_count_cause(s.vm, SWITCH_BACK));
	scene_end(&s, t);
	s = (struct scene){0};
	fake_kvm_init(&s.k);
	s.k.run = run_internal_error;
	s.no_fallback = true;
	scene_run(&s, PATH_KVM, NULL, 0);
	EQ(s.outcome, VM_FAILED);
	TRUE(strstr(s.text, "path kvm") != NULL);
	scene_end(&s, t);
}

/* What a guest of a real processor is not told. */
static void test_immunity(struct tally *t)
{
	static const char *const claims[] = {"arch_capabilities", "amd_ssb_no", "btc_no", "autoibrs", "srso_no", "tsa_sq_no", "tsa_l1_no"};
	struct scene s = {0};
	unsigned before = 0, after = 0;
	const char *name;
	bool offered;

	fake_kvm_init(&s.k);
	scene_run(&s, PATH_BT, NULL, 0);
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; cpuid_row(s.vm, i, &name, &offered); i++)
			for (unsigned k = 0; k < sizeof(claims) / sizeof(claims[0]); k++)
				if (!strcmp(name, claims[k]) && offered)
					++*(pass ? &after : &before);
		cpuid_drop_immunity(&s.vm->cpuid);
	}
	TRUE(before >= 1);
	EQ(after, 0);
	scene_end(&s, t);
}

static unsigned open_files(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

int main(void)
{
	void (*const tests[])(struct tally *) = {test_requests, test_requests_later, test_exits, test_io, test_wrmsr,
						 test_reset,
						 test_stalls,	test_deaf,	     test_kicks,	     test_back,
						 test_immunity};
	struct tally tally = {0}, *t = &tally;
	unsigned before, i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	before = open_files();
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	EQ(open_files(), before);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
