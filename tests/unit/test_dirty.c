/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of written pages: a guest that stores to known pages, by every kind of store, on bt and on the interpreter, told by
 * the test when to begin and telling it when it is done; and KVM's log, played by the test. Every set of pages is compared exactly.
 */
#include "tests/unit/kvm_scene.h"

#include <pthread.h>

#include "engine/dirty.h"

#define CODE 0x300000ull
#define STACK 0x380000ull
#define MAIL 0x200000ull /* the phase; the next page: the answer */
#define PHASES_AT 0x400000ull
#define STORES 40
#define RAM_BYTES (32ull << 20)
#define WORDS (RAM_BYTES / 4096 / 64)
#define END 0x80000000u

/* rbx: MAIL. Phase ecx: rdx = ecx pages. */
extern const uint8_t dirty_guest[], dirty_guest_end[], dirty_storm[], dirty_storm_end[];
__asm__(".pushsection .rodata\n"
	"dirty_guest:\n"
	"xor %ecx, %ecx\n"
	"1: inc %ecx\n"
	"2: pause\n"
	"mov (%rbx), %eax\n"
	"test %eax, %eax\n"
	"js 9f\n"
	"cmp %eax, %ecx\n"
	"jne 2b\n"
	"mov %ecx, %edx\n"
	"shl $12, %edx\n"
	"lea 0x400000(%rdx), %rdi\n"
	"mov $40, %esi\n"
	"3: movb %cl, (%rdi)\n"
	"addl $1, 8(%rdi)\n"
	"mov %rdi, 16(%rdi)\n"
	"add $0x7000, %rdi\n"
	"dec %esi\n"
	"jnz 3b\n"
	"movups %xmm0, 0x800ff8(%rdx)\n" /* two pages at once */
	"lock incl 0x880000(%rdx)\n"
	"mov %ecx, %r8d\n"
	"lea 0x900ff0(%rdx), %rdi\n"
	"mov $32, %ecx\n"
	"rep stosb\n"
	"mov %r8d, %ecx\n"
	"push %rcx\n"
	"pop %rax\n"
	"movb %cl, 4f+1(%rip)\n" /* its own code */
	"4: mov $0, %al\n"
	"movb %al, 0x1004(%rbx)\n"
	"lea 0xc00000(%rdx), %rdi\n" /* code in a page that is clean until it is changed */
	"call *%rdi\n"
	"movb %cl, 1(%rdi)\n"
	"call *%rdi\n"
	"movb %al, 0x1008(%rbx)\n"
	"mov %ecx, 0x1000(%rbx)\n"
	"jmp 1b\n"
	"9: mov $21, %al\n"
	"out %al, $0xf4\n"
	"dirty_guest_end:\n"
	/* r9: a random number; stores all over 16 MiB until the mail says END, and into its own code */
	"dirty_storm:\n"
	"1: mov %r9, %rax\n"
	"shl $13, %rax\n"
	"xor %rax, %r9\n"
	"mov %r9, %rax\n"
	"shr $7, %rax\n"
	"xor %rax, %r9\n"
	"mov %r9, %rax\n"
	"shl $17, %rax\n"
	"xor %rax, %r9\n"
	"mov %r9d, %edi\n"
	"and $0xffffff, %edi\n"
	"mov %r9d, 0x400000(%rdi)\n"
	"xor $0x155000, %edi\n"
	"lock incl 0x400000(%rdi)\n"
	"test $0x3ff000, %edi\n"
	"jnz 2f\n"
	"movb %r9b, 3f+1(%rip)\n"
	"push %r9\n"
	"pop %rcx\n"
	"2: nop\n"
	"3: mov $0, %al\n"
	"mov (%rbx), %eax\n"
	"test %eax, %eax\n"
	"jns 1b\n"
	"4: mov $21, %al\n"
	"out %al, $0xf4\n"
	"jmp 4b\n"
	"dirty_storm_end:\n"
	".popsection\n");

struct run {
	struct vm *vm;
	enum vm_outcome outcome;
};

static void *run_it(void *ctx)
{
	struct run *r = ctx;

	r->outcome = vm_run(r->vm);
	return NULL;
}

static volatile uint32_t *word(struct vm *vm, uint64_t gpa)
{
	return mem_ram(&vm->mem, gpa, 4);
}

/* Long mode, all RAM mapped by pages of 2 MiB that are marked as accessed and written already. */
static void prepare(struct vm *vm, const uint8_t *code, const uint8_t *end)
{
	uint64_t e;

	e = 0x2023;
	mem_write(&vm->mem, 0x1000, &e, 8);
	e = 0x3023;
	mem_write(&vm->mem, 0x2000, &e, 8);
	for (uint64_t i = 0; i < RAM_BYTES >> 21; i++) {
		e = i << 21 | 0xe3;
		mem_write(&vm->mem, 0x3000 + 8 * i, &e, 8);
	}
	mem_write(&vm->mem, CODE, code, (uint64_t)(end - code));
	for (unsigned n = 0; n < vm->ncpus; n++) {
		struct x86_regs *g = &vm->vcpu[n]->regs;

		g->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP;
		g->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
		g->cr3 = 0x1000;
		g->efer = EFER_LME | EFER_LMA;
		for (unsigned i = 0; i < SEG_COUNT; i++)
			g->seg[i] = (struct x86_seg){.sel = 16,
						     .limit = 0xffffffff,
						     .attr = SA_P | SA_S | SA_RW | SA_ACCESSED | SA_DB | SA_G};
		g->seg[SEG_CS] = (struct x86_seg){.sel = 8,
						  .limit = 0xffffffff,
						  .attr = SA_P | SA_S | SA_RW | SA_ACCESSED | SA_CODE | SA_L | SA_G};
		g->rip = CODE;
		g->gpr[R_BX] = MAIL;
		g->gpr[R_SP] = STACK + 0x4000 * n;
		g->gpr[R_9] = 0x9e3779b97f4a7c15ull * (n + 1);
		vm->vcpu[n]->run_state = VCPU_RUNNABLE;
	}
}

/* false: the guest has not answered, or has executed old code */
static bool phase(struct vm *vm, uint32_t n)
{
	*word(vm, MAIL) = n;
	for (unsigned i = 0; i < 20000 && *word(vm, MAIL + 0x1000) != n; i++)
		usleep(1000);
	return *word(vm, MAIL + 0x1000) == n && *word(vm, MAIL + 0x1004) == n && *word(vm, MAIL + 0x1008) == n;
}

static void expect(uint64_t *bits, uint64_t gpa)
{
	bits[gpa >> 18] |= 1ull << (gpa >> 12 & 63);
}

static void expect_phase(uint64_t *bits, uint32_t n)
{
	uint64_t at = (uint64_t)n << 12;

	for (unsigned i = 0; i < STORES; i++)
		expect(bits, PHASES_AT + at + i * 0x7000ull);
	expect(bits, 0x800000 + at);
	expect(bits, 0x801000 + at);
	expect(bits, 0x880000 + at);
	expect(bits, 0x900000 + at);
	expect(bits, 0x901000 + at);
	expect(bits, 0xc00000 + at);
	expect(bits, STACK - 8);
	expect(bits, CODE);
	expect(bits, MAIL + 0x1000);
}

static bool collected(struct vm *vm, const uint64_t *want)
{
	uint64_t got[WORDS], pages = 0, n = 0;
	struct error e = {0};

	if (vm_dirty_words(vm) != WORDS || vm_dirty_collect(vm, got, &pages, &e) != ST_OK) {
		printf("collect: %s\n", e.msg);
		return false;
	}
	for (unsigned w = 0; w < WORDS; w++) {
		n += (uint64_t)__builtin_popcountll(got[w]);
		if (got[w] != want[w])
			printf("pages from %#x on: %#llx, not %#llx\n", w * 64, (unsigned long long)got[w],
			       (unsigned long long)want[w]);
	}
	return n == pages && !memcmp(got, want, sizeof(got));
}

/* ThreadSanitizer knows nothing of translated code */
static bool runs(enum path_id p)
{
	struct error e = {0};

	if (exec_paths[p]->available(&e) == ST_OK)
		return true;
	printf("SKIP %s\n", e.msg);
	return false;
}

static void test_path(struct tally *t, enum path_id first, enum path_id second)
{
	static const uint8_t halt[] = {0xf4};
	static const uint8_t mov_ret[] = {0xb0, 0x55, 0xc3};
	uint64_t want[WORDS] = {0}, none[WORDS] = {0}, pages;
	char file[] = "/tmp/steelyard-dirty-XXXXXX";
	struct vm_config cfg = {.path = first,
				.memory_bytes = RAM_BYTES,
				.ncpus = 1,
				.debug_exit_port = 0xf4,
				.flat = file,
				.flat_addr = FLAT_ADDR};
	struct run r = {0};
	struct error e = {0};
	pthread_t thread;
	int fd;

	if (!runs(first) || !runs(second))
		return;
	fd = mkstemp(file);
	if (fd < 0 || write(fd, halt, 1) != 1)
		abort();
	close(fd);
	TRUE(vm_create(&r.vm, &cfg, &e) == ST_OK);
	unlink(file);
	if (!r.vm)
		return;
	prepare(r.vm, dirty_guest, dirty_guest_end);
	for (unsigned i = 0; i < 8; i++)
		mem_write(&r.vm->mem, 0xc00000 + i * 4096, mov_ret, sizeof(mov_ret));
	TRUE(vm_dirty_collect(r.vm, want, &pages, &e) == ST_INVALID);
	if (pthread_create(&thread, NULL, run_it, &r))
		abort();
	TRUE(phase(r.vm, 1)); /* windows and entries are there */
	TRUE(vm_dirty_start(r.vm, &e) == ST_OK);
	TRUE(vm_dirty_start(r.vm, &e) == ST_BUSY);
	TRUE(phase(r.vm, 2));
	expect_phase(want, 2);
	TRUE(collected(r.vm, want));
	TRUE(collected(r.vm, none));
	TRUE(phase(r.vm, 3));
	memset(want, 0, sizeof(want));
	expect_phase(want, 3);
	TRUE(collected(r.vm, want));
	/* a device, in two pages */
	pthread_mutex_lock(&r.vm->dev_lock);
	switch_ram_written(r.vm, 0xb00ffe, 4);
	pthread_mutex_unlock(&r.vm->dev_lock);
	memset(want, 0, sizeof(want));
	expect(want, 0xb00000);
	expect(want, 0xb01000);
	TRUE(collected(r.vm, want));
	/* two phases, a change of path between them */
	memset(want, 0, sizeof(want));
	TRUE(phase(r.vm, 4));
	expect_phase(want, 4);
	TRUE(vm_switch_path(r.vm, -1, second, "a test", &e) == ST_OK);
	TRUE(phase(r.vm, 5));
	expect_phase(want, 5);
	EQ(switch_path_of(r.vm, 0), second);
	TRUE(collected(r.vm, want));
	/* off, and on again */
	TRUE(vm_dirty_stop(r.vm, &e) == ST_OK);
	TRUE(vm_dirty_stop(r.vm, &e) == ST_OK);
	TRUE(phase(r.vm, 6));
	TRUE(vm_dirty_start(r.vm, &e) == ST_OK);
	TRUE(collected(r.vm, none));
	TRUE(phase(r.vm, 7));
	memset(want, 0, sizeof(want));
	expect_phase(want, 7);
	TRUE(collected(r.vm, want));
	*word(r.vm, MAIL) = END;
	pthread_join(thread, NULL);
	EQ(r.outcome, VM_DEBUG_EXIT);
	EQ(atomic_load(&r.vm->exit_value), GUEST_VALUE);
	vm_destroy(r.vm);
}

/* ---- a copy of a running guest ---- */

#define ROUNDS 40

static uint64_t copy_written(struct vm *vm, uint8_t *to, struct tally *t)
{
	uint64_t bits[WORDS], pages = 0;
	struct error e = {0};

	TRUE(vm_dirty_collect(vm, bits, &pages, &e) == ST_OK);
	for (uint64_t p = 0; p < RAM_BYTES / 4096; p++)
		if (bits[p / 64] >> (p & 63) & 1)
			memcpy(to + p * 4096, vm->mem.ram_hva + p * 4096, 4096);
	return pages;
}

/* Two vCPUs store all over memory and into their code, a device does too, the path changes: what is copied by the log is
 * the memory. */
static void test_storm(struct tally *t)
{
	static const uint8_t halt[] = {0xf4};
	static const enum path_id path[] = {PATH_BT, PATH_INTERP};
	char file[] = "/tmp/steelyard-dirty-XXXXXX";
	struct vm_config cfg = {.path = PATH_BT,
				.memory_bytes = RAM_BYTES,
				.ncpus = 2,
				.debug_exit_port = 0xf4,
				.flat = file,
				.flat_addr = FLAT_ADDR};
	uint8_t *copy;
	struct run r = {0};
	struct error e = {0};
	pthread_t thread;
	uint64_t pages = 0;
	int fd;

	if (!runs(PATH_BT))
		return;
	copy = malloc(RAM_BYTES);
	fd = mkstemp(file);
	if (!copy || fd < 0 || write(fd, halt, 1) != 1)
		abort();
	close(fd);
	TRUE(vm_create(&r.vm, &cfg, &e) == ST_OK);
	unlink(file);
	if (!r.vm)
		abort();
	prepare(r.vm, dirty_storm, dirty_storm_end);
	if (pthread_create(&thread, NULL, run_it, &r))
		abort();
	usleep(20000);
	TRUE(vm_pause(r.vm, &e) == ST_OK);
	TRUE(vm_dirty_start(r.vm, &e) == ST_OK);
	memcpy(copy, r.vm->mem.ram_hva, RAM_BYTES);
	vm_resume(r.vm);
	for (unsigned i = 0; i < ROUNDS; i++) {
		usleep(3000);
		pthread_mutex_lock(&r.vm->dev_lock);
		memset(r.vm->mem.ram_hva + 0x1800000 + i * 5000, (int)i + 1, 5000);
		switch_ram_written(r.vm, 0x1800000 + i * 5000, 5000);
		pthread_mutex_unlock(&r.vm->dev_lock);
		if (i % 7 == 6)
			TRUE(vm_switch_path(r.vm, (int)(i & 1), path[i / 14 & 1], "a test", &e) == ST_OK);
		TRUE(vm_pause(r.vm, &e) == ST_OK);
		pages += copy_written(r.vm, copy, t);
		TRUE(!memcmp(copy, r.vm->mem.ram_hva, RAM_BYTES));
		vm_resume(r.vm);
	}
	TRUE(pages > 4 * ROUNDS); /* more than the device's own */
	*word(r.vm, MAIL) = END;
	pthread_join(thread, NULL);
	EQ(r.outcome, VM_DEBUG_EXIT);
	vm_destroy(r.vm);
	free(copy);
}

/* ---- KVM's log ---- */

struct kvm_log {
	struct scene s; /* first */
	struct tally *t;
	pthread_t thread;
	_Atomic bool ready;
};

static bool logged(const struct fake_kvm *k)
{
	bool ram = false, ok = true;

	for (unsigned i = 0; i < KVM_SLOTS_MAX; i++) {
		const struct kvm_userspace_memory_region *r = &k->slot[i];

		if (!r->memory_size)
			continue;
		if (r->flags & KVM_MEM_READONLY)
			ok &= !(r->flags & KVM_MEM_LOG_DIRTY_PAGES);
		else
			ram |= r->flags & KVM_MEM_LOG_DIRTY_PAGES;
	}
	return ram && ok;
}

static void *log_it(void *ctx)
{
	struct kvm_log *l = ctx;
	struct scene *s = &l->s;
	struct tally *t = l->t;
	uint64_t want[WORDS] = {0}, none[WORDS] = {0}, got[WORDS], pages = 0;
	struct error e = {0};

	TRUE(vm_dirty_stop(s->vm, &e) == ST_OK); /* nothing to do, and the slots are there */
	TRUE(!logged(&s->k));
	TRUE(vm_dirty_start(s->vm, &e) == ST_OK);
	TRUE(logged(&s->k));
	TRUE(collected(s->vm, none));
	atomic_store(&s->k.stored_to, 0x123000);
	expect(want, 0x123000);
	TRUE(collected(s->vm, want));
	TRUE(collected(s->vm, none));
	/* a device: KVM does not see it */
	pthread_mutex_lock(&s->vm->dev_lock);
	switch_ram_written(s->vm, 0x555000, 1);
	pthread_mutex_unlock(&s->vm->dev_lock);
	memset(want, 0, sizeof(want));
	expect(want, 0x555000);
	TRUE(collected(s->vm, want));
	/* a failure is all pages, once */
	TRUE(vm_pause(s->vm, &e) == ST_OK); /* the vCPU's thread reads this too */
	s->k.fail = KVM_GET_DIRTY_LOG;
	vm_resume(s->vm);
	TRUE(vm_dirty_collect(s->vm, got, &pages, &e) == ST_OK);
	EQ(pages, RAM_BYTES / 4096);
	EQ(atomic_load(&s->k.failed), 1);
	TRUE(collected(s->vm, none));
	TRUE(vm_dirty_stop(s->vm, &e) == ST_OK);
	TRUE(!logged(&s->k));
	/* what KVM knows when the guest leaves it */
	TRUE(vm_dirty_start(s->vm, &e) == ST_OK);
	atomic_store(&s->k.stored_to, 0x1fff000);
	TRUE(vm_switch_path(s->vm, -1, PATH_BT, "a test", &e) == ST_OK);
	return NULL;
}

static void log_begins(void *ctx)
{
	struct kvm_log *l = ctx;

	if (pthread_create(&l->thread, NULL, log_it, l))
		abort();
}

static void test_kvm_log(struct tally *t)
{
	struct kvm_log l = {.t = t};
	uint64_t want[WORDS] = {0};

	if (!runs(PATH_BT))
		return;
	fake_kvm_init(&l.s.k);
	scene_run(&l.s, PATH_KVM, log_begins, 20000000);
	pthread_join(l.thread, NULL);
	TRUE(went_on(&l.s));
	expect(want, 0x1fff000);
	TRUE(collected(l.s.vm, want));
	TRUE(!logged(&l.s.k));
	scene_end(&l.s, t);
}

static void test_bt(struct tally *t)
{
	test_path(t, PATH_BT, PATH_INTERP);
	test_path(t, PATH_BT, PATH_BT);
}

static void test_interp(struct tally *t)
{
	test_path(t, PATH_INTERP, PATH_BT);
	test_path(t, PATH_INTERP, PATH_INTERP);
}

int main(void)
{
	void (*const tests[])(struct tally *) = {test_bt, test_interp, test_storm, test_kvm_log};
	struct tally tally = {0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
