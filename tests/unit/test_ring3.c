/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ring 3 run directly: which pages may be (fastpath/ring3_scan.c), and a KVM that fails, or answers nonsense, while the path
 * tries it out: the run ends with one line that says what to do, a guest that was to change to the path stays on bt, and
 * nothing stays open.
 */
#include "tests/unit/kvm_scene.h"

#include "engine/hybrid.h"
#include "fastpath/ring3_int.h"

#define PAGE 4096

/* ---- pages ---- */

static const struct {
	const char *what;
	enum ring3_scan want;
	unsigned at, n;
	uint8_t code[16];
} pages[] = {
	{"nothing but NOPs", R3_SCAN_CLEAN, 0, 1, {0x90}},
	{"CPUID", R3_SCAN_UNFIT, 100, 2, {0x0f, 0xa2}},
	{"CPUID as the first instruction", R3_SCAN_UNFIT, 0, 2, {0x0f, 0xa2}},
	{"CPUID at the end", R3_SCAN_UNFIT, PAGE - 2, 2, {0x0f, 0xa2}},
	{"CPUID's bytes as an immediate", R3_SCAN_CLEAN, 100, 5, {0xb8, 0x0f, 0xa2, 0x00, 0x00}},
	{"CPUID with a prefix", R3_SCAN_UNFIT, 100, 3, {0x66, 0x0f, 0xa2}},
	{"RDTSC", R3_SCAN_UNFIT, 200, 2, {0x0f, 0x31}},
	{"RDTSCP", R3_SCAN_UNFIT, 200, 3, {0x0f, 0x01, 0xf9}},
	{"XGETBV", R3_SCAN_UNFIT, 200, 3, {0x0f, 0x01, 0xd0}},
	{"VMMCALL", R3_SCAN_UNFIT, 200, 3, {0x0f, 0x01, 0xd9}},
	{"XTEST", R3_SCAN_CLEAN, 200, 3, {0x0f, 0x01, 0xd6}},
	{"XSAVE", R3_SCAN_UNFIT, 300, 3, {0x0f, 0xae, 0x20}},
	{"XRSTOR", R3_SCAN_UNFIT, 300, 3, {0x0f, 0xae, 0x2b}},
	{"LFENCE", R3_SCAN_CLEAN, 300, 3, {0x0f, 0xae, 0xe8}},
	{"FXSAVE", R3_SCAN_CLEAN, 300, 3, {0x0f, 0xae, 0x03}},
	{"XSAVEC", R3_SCAN_UNFIT, 300, 3, {0x0f, 0xc7, 0x23}},
	{"CMPXCHG16B", R3_SCAN_CLEAN, 300, 4, {0x48, 0x0f, 0xc7, 0x0b}},
	{"RDPID", R3_SCAN_UNFIT, 300, 4, {0xf3, 0x0f, 0xc7, 0xf8}},
	{"RDRAND", R3_SCAN_CLEAN, 300, 3, {0x0f, 0xc7, 0xf0}},
	{"MOV to FS", R3_SCAN_UNFIT, 400, 2, {0x8e, 0xe0}},
	{"a conditional jump with 8E", R3_SCAN_CLEAN, 400, 6, {0x0f, 0x8e, 0xc0, 0x00, 0x00, 0x00}},
	{"POP GS", R3_SCAN_UNFIT, 400, 2, {0x0f, 0xa9}},
	{"SLDT", R3_SCAN_UNFIT, 400, 3, {0x0f, 0x00, 0xc0}},
	{"SYSCALL", R3_SCAN_CLEAN, 400, 2, {0x0f, 0x05}},
	{"0F at the end", R3_SCAN_OPEN, PAGE - 1, 1, {0x0f}},
	{"an immediate that goes on behind the end", R3_SCAN_OPEN, PAGE - 3, 3, {0xb8, 0x00, 0x0f}},
};

static void test_pages(struct tally *t)
{
	static const uint8_t cpuid[PAGE] = {0xa2}, jump[PAGE] = {0x84, 1, 0, 0, 0};
	uint8_t page[PAGE];

	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		enum ring3_scan got;

		memset(page, 0x90, PAGE);
		memcpy(page + pages[i].at, pages[i].code, pages[i].n);
		got = ring3_scan(page, NULL);
		if (got != pages[i].want)
			printf("%s: %d instead of %d\n", pages[i].what, (int)got, (int)pages[i].want);
		TRUE(got == pages[i].want);
	}
	memset(page, 0x90, PAGE);
	page[PAGE - 1] = 0x0f;
	EQ(ring3_scan(page, cpuid), R3_SCAN_UNFIT);
	EQ(ring3_scan(page, jump), R3_SCAN_CLEAN);
}

/* ---- a KVM that fails ---- */

/* mov $21, %al; out %al, $0xf4, behind a loop of a few milliseconds for those who change meanwhile */
static const uint8_t slow_code[] = {0x66, 0xb9, 0x00, 0x00, 0x40, 0x00, 0x66, 0x49, 0x75, 0xfc, 0xb0, GUEST_VALUE, 0xe6, 0xf4};

/* The scene is on hybrid. */
static void scene_make(struct scene *s)
{
	fake_kvm_init(&s->k);
	s->played = &hybrid_ops;
	s->path = PATH_HYBRID;
	s->code = slow_code;
	s->code_bytes = sizeof(slow_code);
}

static const struct {
	unsigned long request;
	const char *name;
} requests[] = {
	{FAKE_OPEN, "open"},
	{KVM_CREATE_VM, "KVM_CREATE_VM"},
	{KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR"},
	{KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION"},
	{KVM_CREATE_VCPU, "KVM_CREATE_VCPU"},
	{KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE"},
	{FAKE_MAP, "mmap"},
	{KVM_SET_CPUID2, "KVM_SET_CPUID2"},
	{KVM_GET_SREGS, "KVM_GET_SREGS"},
	{KVM_SET_XCRS, "KVM_SET_XCRS"},
	{KVM_SET_MSRS, "KVM_SET_MSRS"},
	{KVM_RUN, "KVM_RUN"},
};

static int run_internal_error(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)k;
	(void)n;
	r->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	return 0;
}

static void test_requests(struct tally *t)
{
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct scene s = {0};
		bool ok;

		scene_make(&s);
		s.k.fail = requests[i].request;
		s.k.run = run_internal_error;
		scene_run(&s, PATH_HYBRID, NULL, 0);
		ok = s.outcome == VM_FAILED && strstr(s.text, "hybrid") && !strchr(s.text, '\n');
		if (!ok)
			printf("%s fails: outcome %d, \"%s\" \"%s\"\n", requests[i].name, s.outcome, s.text, s.e.msg);
		TRUE(ok);
		TRUE(atomic_load(&s.k.failed) > 0);
		scene_end(&s, t);
	}
}

/* KVM_RUN comes back, with anything. */
static int run_nonsense(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	r->exit_reason = (k->arg + n) % 40;
	r->io.direction = KVM_EXIT_IO_OUT;
	r->io.port = (__u16)(n * 37 + k->arg);
	k->state.regs.rsp = n & 1 ? R3_AT(R3_STACK) + n * 8 : (uint64_t)n << 40;
	k->state.regs.rip = n & 2 ? R3_AT(R3_STUBS) + n : n;
	k->state.sregs.cs.dpl = k->state.sregs.ss.dpl = n & 4 ? 3 : 0;
	return 0;
}

static int run_interrupted(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)r;
	k->state.events.exception.injected = n & 1;
	errno = EINTR;
	return -1;
}

static void test_answers(struct tally *t)
{
	for (unsigned i = 0; i < 40; i++) {
		struct scene s = {0};

		scene_make(&s);
		s.k.run = i ? run_nonsense : run_interrupted;
		s.k.arg = i;
		scene_run(&s, PATH_HYBRID, NULL, 0);
		TRUE(s.outcome == VM_FAILED && strstr(s.text, "use --path bt"));
		scene_end(&s, t);
	}
}

static void ask_hybrid(void *ctx)
{
	struct scene *s = ctx;
	struct error e;

	vm_switch_path(s->vm, -1, PATH_HYBRID, "the test", &e);
}

/* A guest on bt that shall change: it stays, and the events say so. */
static void test_change(struct tally *t)
{
	struct scene s = {0};
	struct switch_event ev;

	scene_make(&s);
	s.k.run = run_internal_error;
	scene_run(&s, PATH_BT, ask_hybrid, 1000000);
	TRUE(s.outcome == VM_DEBUG_EXIT && s.vm && switch_path_of(s.vm, 0) == PATH_BT);
	TRUE(s.vm && switch_event(s.vm, 0, &ev) && ev.cause == SWITCH_FAIL && strstr(ev.why, "hybrid"));
	scene_end(&s, t);
}

int main(void)
{
	struct tally tally = {0}, *t = &tally;

	test_pages(t);
	test_requests(t);
	test_answers(t);
	test_change(t);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
