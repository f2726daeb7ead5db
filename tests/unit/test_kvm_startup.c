/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INIT and SIPI while vCPUs change between kvm, with the interrupt controllers in the kernel, and another path.
 *
 * The second vCPU is started, started anew and looked at in random orders of everything that may happen at such a moment: it
 * has left kvm or is about to, the others have gone ahead and come back before it gets its turn, the watchdog ticks. KVM is played
 * by the test, with two vCPUs that take INIT and SIPI as the real one does (SDM 3A 8.4.2; in KVM, when it runs the vCPU or is
 * asked for its mp_state). A few lines are the reference: what the second processor is at. It may never run when that waits, nor
 * from elsewhere.
 */
#include "tests/unit/fake_kvm.h"

#include <unistd.h>

#include "engine/apic/lapic.h"
#include "engine/run.h"
#include "engine/switch.h"

#include "tests/unit/device_test.h"

#define CPUS 2
#define CPU_FD 200000
#define SEQUENCES 20000
#define STEPS 14

struct startup_cpu {
	struct kvm_run *page;
	struct kvm_sync_regs state;
	struct kvm_lapic_state lapic;
	uint32_t mp_state;
	bool init, sipi;
	uint8_t vector;
	bool waits; /* in KVM_RUN: something for it to wait for had to come */
};

struct bench {
	struct fake_kvm k; /* first */
	struct startup_cpu cpu[CPUS];
	struct vm *vm;
	uint64_t r;
	struct tally *t;
	unsigned long fail; /* this request fails */
	/* the reference: the second processor */
	bool runs;
	uint8_t vector, next_vector;
	uint64_t rip;
	/* the scene */
	bool kvm, on_kvm; /* whose turn it is; where the second vCPU is */
	unsigned wrong;
	char said[STEPS + 1];
};

static uint64_t next(struct bench *b)
{
	b->r ^= b->r << 13;
	b->r ^= b->r >> 7;
	b->r ^= b->r << 17;
	return b->r;
}

/* ---- KVM ---- */

static void reset_by_init(struct startup_cpu *c)
{
	c->state.regs = (struct kvm_regs){.rip = 0xfff0, .rflags = 2};
	c->state.sregs.cs = (struct kvm_segment){.base = 0xffff0000u, .selector = 0xf000, .limit = 0xffff, .type = 0xb, .present = 1, .s = 1};
	c->state.sregs.cr0 = 0x60000010;
	c->mp_state = KVM_MP_STATE_INIT_RECEIVED;
	memset(&c->lapic.regs, 0, sizeof(c->lapic.regs));
	c->lapic.regs[0xf0] = (char)0xff;
}

static void take_events(struct startup_cpu *c)
{
	if (c->init)
		reset_by_init(c);
	if (c->sipi && c->mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		c->state.sregs.cs.selector = (__u16)(c->vector << 8);
		c->state.sregs.cs.base = (__u64)c->vector << 12;
		c->state.regs.rip = 0;
		c->mp_state = KVM_MP_STATE_RUNNABLE;
	}
	c->init = c->sipi = false;
}

static void wrong(struct bench *b, const char *what)
{
	if (b->wrong++ < 10)
		printf("%s: %s; the reference %s\n", b->said, what, b->runs ? "runs" : "waits");
}

/* One instruction of the second processor's, on whatever path. */
static void one_instruction(struct bench *b, uint64_t cr0, uint16_t selector, uint64_t rip)
{
	if (!b->runs)
		wrong(b, "it runs and should not");
	else if (selector != b->vector << 8 || (cr0 & 1) || rip != b->rip)
		wrong(b, "it runs elsewhere");
	b->rip++;
}

static int cpu_run(struct bench *b, unsigned i)
{
	struct startup_cpu *c = &b->cpu[i];
	struct kvm_run *r = c->page;

	if (r->kvm_dirty_regs & KVM_SYNC_X86_REGS)
		c->state.regs = r->s.regs.regs;
	if (r->kvm_dirty_regs & KVM_SYNC_X86_SREGS)
		c->state.sregs = r->s.regs.sregs;
	if (r->kvm_dirty_regs & KVM_SYNC_X86_EVENTS)
		c->state.events = r->s.regs.events;
	if (!r->immediate_exit) {
		take_events(c);
		if (c->mp_state == KVM_MP_STATE_HALTED)
			wrong(b, "it is halted");
		if (i == 1 && c->mp_state == KVM_MP_STATE_RUNNABLE)
			one_instruction(b, c->state.sregs.cr0, c->state.sregs.cs.selector, c->state.regs.rip++);
		atomic_fetch_or(&b->vm->vcpu[i]->request, REQ_EXIT);
	}
	c->state.sregs.ldt.unusable = 1; /* as VMX says of some; sent back it looks changed */
	r->s.regs = c->state;
	errno = EINTR;
	return -1;
}

#define PART(get, set, field)                                      \
	case get:                                                  \
		memcpy(arg, &c->field, sizeof(c->field));          \
		return 0;                                          \
	case set:                                                  \
		memcpy(&c->field, arg, sizeof(c->field));          \
		return 0

static int startup_ioctl(const struct kvm_sys *sys, int fd, unsigned long request, void *arg)
{
	struct bench *b = (struct bench *)(uintptr_t)sys;
	struct startup_cpu *c;

	if (request == KVM_CREATE_VCPU) {
		c = &b->cpu[(uintptr_t)arg];
		reset_by_init(c);
		atomic_fetch_add(&b->k.fds, 1);
		return CPU_FD + (int)(uintptr_t)arg;
	}
	if (fd < CPU_FD)
		return fake_ioctl(sys, fd, request, arg);
	c = &b->cpu[fd - CPU_FD];
	if (request == b->fail) {
		errno = EIO;
		return -1;
	}
	switch (request) {
	case KVM_RUN:
		return cpu_run(b, (unsigned)(fd - CPU_FD));
	case KVM_GET_MP_STATE:
		take_events(c);
		((struct kvm_mp_state *)arg)->mp_state = c->mp_state;
		return 0;
	case KVM_SET_MP_STATE:
		c->mp_state = ((struct kvm_mp_state *)arg)->mp_state;
		return 0;
	PART(KVM_GET_REGS, KVM_SET_REGS, state.regs);
	PART(KVM_GET_SREGS, KVM_SET_SREGS, state.sregs);
	PART(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, state.events);
	PART(KVM_GET_LAPIC, KVM_SET_LAPIC, lapic);
	default:
		return fake_ioctl(sys, fd, request, arg);
	}
}

static void *startup_map(const struct kvm_sys *sys, int fd, size_t bytes)
{
	struct bench *b = (struct bench *)(uintptr_t)sys;

	atomic_fetch_add(&b->k.maps, 1);
	return b->cpu[fd - CPU_FD].page = calloc(1, bytes);
}

static void startup_unmap(const struct kvm_sys *sys, void *p, size_t bytes)
{
	(void)bytes;
	atomic_fetch_sub(&((struct bench *)(uintptr_t)sys)->k.maps, 1);
	free(p);
}

/* ---- what may happen ---- */

static struct kvm_cpu *second(struct bench *b)
{
	return kvm_cpu(b->vm->vcpu[1]);
}

static void send_init(struct bench *b)
{
	b->runs = false;
	if (b->kvm) {
		b->cpu[1].init = true;
		b->cpu[1].sipi = false;
	} else {
		lapic_latch_init(b->vm->vcpu[1]->lapic);
	}
}

/* A guest sends each one twice, and the second one is no news. */
static void send_sipi(struct bench *b)
{
	if (!b->runs) {
		b->vector = ++b->next_vector;
		b->rip = 0;
		b->runs = true;
	}
	if (b->kvm) {
		b->cpu[1].sipi = true;
		b->cpu[1].vector = b->vector;
	} else {
		lapic_latch_sipi(b->vm->vcpu[1]->lapic, b->vector);
	}
}

/* switch_step's first half: it leaves kvm before it knows whether the others have gone ahead. */
static void leaves(struct bench *b)
{
	if (b->on_kvm)
		kvm_ops.pull(b->vm->vcpu[1]);
}

static void world(struct bench *b)
{
	struct error e = {0};

	if (b->kvm)
		kvm_ops.world_leave(b->vm);
	else if (kvm_ops.world_enter(b->vm, &e) != ST_OK)
		wrong(b, e.msg);
	b->kvm = !b->kvm;
}

/* The second vCPU's thread gets as far as it can. */
static void turn(struct bench *b)
{
	struct vcpu *v = b->vm->vcpu[1];
	struct exit x = {0};

	atomic_fetch_and(&v->request, ~REQ_EXIT);
	if (b->on_kvm != b->kvm) {
		leaves(b);
		b->on_kvm = b->kvm;
		v->ops = b->vm->paths[b->kvm ? PATH_KVM : PATH_INTERP];
	}
	run_take_startup(v);
	if (b->kvm)
		kvm_ops.run(v, &x);
	else if (v->run_state == VCPU_RUNNABLE)
		one_instruction(b, v->regs.cr0, v->regs.seg[SEG_CS].sel, v->regs.rip++);
}

static void tick(struct bench *b)
{
	atomic_fetch_add(&second(b)->ticks, 1);
}

/* In the middle of it is the wish to leave, too. */
static void kicked_turn(struct bench *b)
{
	struct exit x = {0};

	if (!b->kvm || !b->on_kvm)
		return;
	run_take_startup(b->vm->vcpu[1]);
	atomic_fetch_or(&b->vm->vcpu[1]->request, REQ_EXIT);
	kvm_ops.run(b->vm->vcpu[1], &x);
}

static const struct happening {
	char letter;
	void (*is)(struct bench *b);
} happenings[] = {{'i', send_init}, {'s', send_sipi}, {'l', leaves}, {'w', world}, {'w', world},
		  {'t', turn}, {'t', turn}, {'k', tick}, {'e', kicked_turn}};

static void sequence(struct bench *b)
{
	unsigned before = b->wrong;
	uint64_t rip;

	for (unsigned i = 0; i < STEPS; i++) {
		const struct happening *h = &happenings[next(b) % ARRAY_LEN(happenings)];

		b->said[i] = h->letter;
		b->said[i + 1] = 0;
		h->is(b);
	}
	/* what has been sent arrives in the end */
	for (unsigned i = 0; i < 3; i++)
		turn(b);
	rip = b->rip;
	turn(b);
	if (b->runs && b->rip == rip)
		wrong(b, "it does not run");
	if (b->wrong != before) { /* one thing wrong is not to be another one's reason */
		b->runs = false;
		send_init(b);
		turn(b);
		turn(b);
	}
	b->t->passed += b->wrong == before;
	b->t->failed += b->wrong != before;
}

static bool begin(struct bench *b, char *file, struct exec_ops *ops)
{
	struct vm_config cfg = {.path = PATH_INTERP,
				.memory_bytes = 32ull << 20,
				.ncpus = CPUS,
				.debug_exit_port = -1,
				.flat = file,
				.flat_addr = 0x7c00,
				.kvm_trust = true,
				.kvm_irqchip = KVM_IRQCHIP_KERNEL,
				.kvm_sys = &b->k.sys};
	struct error e = {0};
	int fd;

	strcpy(file, "/tmp/steelyard-startup-XXXXXX");
	fd = mkstemp(file);
	if (fd < 0 || write(fd, "\xf4", 1) != 1)
		abort();
	close(fd);
	if (vm_create(&b->vm, &cfg, &e) != ST_OK)
		return false;
	*ops = kvm_ops;
	ops->available = fake_kvm_available;
	b->vm->paths[PATH_KVM] = ops;
	if (vm_path_begin(b->vm, PATH_KVM, &e) != ST_OK)
		return false;
	b->vm->paths_begun |= 1u << PATH_KVM;
	for (unsigned i = 0; i < CPUS; i++) {
		b->vm->vcpu[i]->tid = gettid();
		if (ops->vcpu_init(b->vm->vcpu[i], &e) != ST_OK)
			return false;
	}
	return true;
}

/* A vCPU that has been told to go before it has begun, and whose registers KVM then does not take, or not give back. */
static void failures(struct bench *b)
{
	static const unsigned long requests[] = {KVM_SET_REGS, KVM_SET_VCPU_EVENTS, KVM_SET_SREGS, KVM_GET_MP_STATE,
						 KVM_GET_REGS, KVM_GET_VCPU_EVENTS, KVM_SET_MP_STATE};

	for (unsigned i = 0; i < ARRAY_LEN(requests); i++) {
		bool told;

		if (!b->kvm)
			world(b);
		send_init(b);
		send_sipi(b);
		turn(b);
		b->vm->vcpu[1]->regs.gpr[0]++;
		b->vm->vcpu[1]->regs.cr2++;
		b->vm->vcpu[1]->int_shadow = !b->vm->vcpu[1]->int_shadow;
		kicked_turn(b);
		b->fail = requests[i];
		atomic_store(&b->vm->outcome, VM_RUNNING);
		leaves(b);
		b->fail = 0;
		told = atomic_load(&b->vm->outcome) == VM_FAILED && strstr(b->vm->end_text, "does not give");
		if (!told)
			printf("request %u: outcome %d, \"%s\"\n", i, atomic_load(&b->vm->outcome), b->vm->end_text);
		b->t->passed += told;
		b->t->failed += !told;
	}
}

int main(void)
{
	struct tally tally = {0};
	struct bench *b = calloc(1, sizeof(*b));
	struct exec_ops ops;
	char file[40];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!b)
		return 1;
	fake_kvm_init(&b->k);
	b->k.sys.ioctl = startup_ioctl;
	b->k.sys.map = startup_map;
	b->k.sys.unmap = startup_unmap;
	b->r = 0x5eed5eed5eed5eedull;
	b->t = &tally;
	if (begin(b, file, &ops)) {
		for (unsigned i = 0; i < SEQUENCES; i++)
			sequence(b);
		failures(b);
	} else {
		tally.failed++;
	}
	for (unsigned i = 0; b->vm && i < CPUS; i++)
		kvm_ops.vcpu_fini(b->vm->vcpu[i]);
	vm_destroy(b->vm);
	unlink(file);
	tally.failed += atomic_load(&b->k.fds) != 0 || atomic_load(&b->k.maps) != 0;
	free(b);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
