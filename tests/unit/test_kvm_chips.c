/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kvm path's exits and interrupt controllers: what an exit costs in requests; the controllers' state into the kernel and
 * back; lines and messages while they are there; a vCPU that is halted in the kernel. KVM is played by the test.
 */
#include "tests/unit/kvm_scene.h"

#include <sched.h>
#include <sys/eventfd.h>

#include "engine/board.h"
#include "engine/apic/ioapic.h"
#include "engine/apic/lapic.h"
#include "engine/pc/pic8259.h"

/* ---- the steady state: an exit costs KVM_RUN and no other request ---- */

#define STEADY_RUNS 1000

static int run_steady(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	if (n == STEADY_RUNS / 10)
		k->arg = fake_requests(k);
	if (n == STEADY_RUNS) {
		k->arg = fake_requests(k) - k->arg;
		return run_outs(k, r, n);
	}
	r->s.regs.regs.rax = k->state.regs.rax = n; /* it gets on */
	r->exit_reason = n % 3 == 0 ? KVM_EXIT_MMIO : KVM_EXIT_IO;
	if (r->exit_reason == KVM_EXIT_MMIO) {
		r->mmio.phys_addr = 0xd0000000;
		r->mmio.len = 4;
		r->mmio.is_write = n & 1;
	} else {
		run_outs(k, r, n);
		r->io.direction = n & 1 ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
		r->io.port = 0x80;
	}
	return 0;
}

static void test_steady(struct tally *t)
{
	for (unsigned chips = KVM_IRQCHIP_USER; chips <= KVM_IRQCHIP_KERNEL; chips++) {
		struct scene s = {.chips = (enum kvm_chips_of)chips};

		fake_kvm_init(&s.k);
		s.k.run = run_steady;
		scene_run(&s, PATH_KVM, NULL, 0);
		EQ(s.outcome, VM_DEBUG_EXIT);
		EQ(s.k.arg, 0);
		scene_end(&s, t);
	}
}

/* ---- the interrupt controllers travel into the kernel and back ---- */

static uint64_t chip_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

struct chips_image {
	struct ioapic_state io;
	struct pic_state pic;
	uint8_t apic[LAPIC_PAGE_BYTES];
	uint64_t deadline, base;
};

static void chips_take(struct vm *vm, struct chips_image *c)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_lock(&vm->dev_lock);
	ioapic_save(vm->ioapic, &c->io);
	pic_save(board_pic(vm), &c->pic);
	lapic_save(vm->vcpu[0]->lapic, c->apic);
	pthread_mutex_unlock(&vm->dev_lock);
	c->deadline = lapic_tsc_deadline(vm->vcpu[0]->lapic);
	c->base = lapic_base(vm->vcpu[0]->lapic);
}

static void put_reg(uint8_t *page, unsigned off, uint32_t val)
{
	memcpy(page + off, &val, 4);
}

/* What a guest can have set. Every pin that may send is quiet: what is sent on the way is another test's. */
static void chips_random(struct vm *vm, uint64_t *r)
{
	static const uint16_t lvt[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};
	struct chips_image c = {0};
	bool deadline = chip_random(r) & 1;
	uint32_t initial = deadline ? 0 : (uint32_t)chip_random(r) | 0x10000;

	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		c.io.redir[i] = (chip_random(r) & 0xff0000000000a7ffull) | 1u << 16; /* masked */
	c.io.id = chip_random(r) & 15;
	c.io.select = chip_random(r) & 0x3f;
	for (unsigned i = 0; i < 2; i++) {
		struct pic_chip_state *p = &c.pic.chip[i];

		*p = (struct pic_chip_state){.irr = (uint8_t)chip_random(r) & (i ? 0xff : 0xfb), .imr = 0xff,
					     .isr = (uint8_t)chip_random(r), .base = chip_random(r) & 0xf8,
					     .lowest = chip_random(r) & 7, .init_step = (uint8_t)(chip_random(r) % 4),
					     .has_icw4 = chip_random(r) & 1, .read_isr = chip_random(r) & 1,
					     .poll = chip_random(r) & 1, .special_mask = chip_random(r) & 1,
					     .sfnm = chip_random(r) & 1, .aeoi = chip_random(r) & 1,
					     .rotate_aeoi = chip_random(r) & 1};
		p->init_step += p->init_step != 0;
	}
	put_reg(c.apic, 0x80, chip_random(r) & 0xff);
	put_reg(c.apic, 0xd0, (uint32_t)chip_random(r) & 0xff000000u);
	put_reg(c.apic, 0xe0, (uint32_t)chip_random(r) | 0x0fffffffu);
	put_reg(c.apic, 0xf0, 0x100 | (chip_random(r) & 0xff));
	for (unsigned i = 0; i < 8; i++) {
		put_reg(c.apic, 0x100 + 16 * i, (uint32_t)chip_random(r));
		put_reg(c.apic, 0x180 + 16 * i, (uint32_t)chip_random(r));
		put_reg(c.apic, 0x200 + 16 * i, (uint32_t)chip_random(r));
	}
	put_reg(c.apic, 0x280, chip_random(r) & 0xef);
	put_reg(c.apic, 0x300, chip_random(r) & 0xccfff);
	put_reg(c.apic, 0x310, (uint32_t)chip_random(r) & 0xff000000u);
	for (unsigned i = 0; i < 6; i++)
		put_reg(c.apic, lvt[i], (chip_random(r) & 0xff) | (i ? 1u << 16 : (deadline ? 2u : chip_random(r) & 1) << 17));
	put_reg(c.apic, 0x380, initial);
	put_reg(c.apic, 0x390, initial / 2);
	put_reg(c.apic, 0x3e0, chip_random(r) & 0xb);
	pthread_mutex_lock(&vm->dev_lock);
	lapic_load(vm->vcpu[0]->lapic, 0xfee00900, c.apic, deadline ? UINT64_MAX / 8 : 0);
	ioapic_load(vm->ioapic, &c.io);
	pic_load(board_pic(vm), &c.pic);
	pthread_mutex_unlock(&vm->dev_lock);
}

static void test_chips_travel(struct tally *t)
{
	struct scene s = {.chips = KVM_IRQCHIP_KERNEL};
	uint64_t r = 0x5eed5eed5eed5eedull;
	struct chips_image before, after;

	fake_kvm_init(&s.k);
	s.k.run = run_outs;
	scene_run(&s, PATH_KVM, NULL, 0); /* it has run; now it stands still, its clock too */
	EQ(s.outcome, VM_DEBUG_EXIT);
	if (!s.vm)
		return;
	clock_stop(&s.vm->clock);
	kvm_ops.world_leave(s.vm);
	for (unsigned i = 0; i < 500; i++) {
		chips_random(s.vm, &r);
		chips_take(s.vm, &before);
		EQ(kvm_ops.world_enter(s.vm, &s.e), ST_OK);
		EQ(lapic_pending(s.vm->vcpu[0]->lapic), -1); /* nothing is left here to be delivered twice */
		kvm_ops.world_leave(s.vm);
		chips_take(s.vm, &after);
		TRUE(!memcmp(&before.io, &after.io, sizeof(after.io)));
		TRUE(!memcmp(&before.pic, &after.pic, sizeof(after.pic)));
		TRUE(!memcmp(before.apic, after.apic, sizeof(after.apic)));
		TRUE(before.deadline == after.deadline && before.base == after.base);
	}
	scene_end(&s, t);
}

/* While they are lent: lines and messages go to the kernel, levels are remembered, and afterwards are looked at afresh. */
static void test_chips_lent(struct tally *t)
{
	struct scene s = {.chips = KVM_IRQCHIP_KERNEL};
	struct ioapic_state io;
	struct vm *vm;

	fake_kvm_init(&s.k);
	s.k.run = run_outs;
	scene_run(&s, PATH_KVM, NULL, 0);
	vm = s.vm;
	TRUE(vm != NULL && fake_seen(&s.k, KVM_CREATE_IRQCHIP) == 1);
	if (!vm)
		return;
	pthread_mutex_lock(&vm->dev_lock);
	board_isa_irq(vm, 10, true);
	TRUE(s.k.lines == (1ull << 10 | 1ull << (IOAPIC_PINS + 10)));
	board_isa_irq(vm, 10, true); /* no news */
	EQ(fake_seen(&s.k, KVM_IRQ_LINE), 24 + 15 + 2);
	ioapic_set_pin(vm->ioapic, 20, true);
	TRUE(s.k.lines >> 20 & 1);
	lapic_send(vm, 0x55, DELIVER_FIXED, true, 3, false, false);
	TRUE(s.k.msis == 1 && s.k.msi.address_lo == 0xfee03004u && s.k.msi.data == 0x55);
	ioapic_save(vm->ioapic, &io);
	EQ(io.pins, 1u << 10 | 1u << 20);
	pthread_mutex_unlock(&vm->dev_lock);
	s.k.fail = KVM_SIGNAL_MSI; /* a message that does not arrive is said, once */
	pthread_mutex_lock(&vm->dev_lock);
	lapic_send(vm, 0x55, DELIVER_FIXED, true, 3, false, false);
	pthread_mutex_unlock(&vm->dev_lock);
	TRUE(atomic_load(&s.k.failed) == 1 && s.k.msis == 1);
	/* the kernel's chip has pin 20 as a level to vector 0x61, not yet sent: it is when the chips come back */
	s.k.chip[KVM_IRQCHIP_IOAPIC].chip.ioapic.redirtbl[20].bits = 0x8061;
	s.k.lapic.regs[0xf0] = (char)0xff;
	s.k.lapic.regs[0xf1] = 1;
	kvm_ops.world_leave(vm);
	EQ(lapic_pending(vm->vcpu[0]->lapic), 0x61);
	pthread_mutex_lock(&vm->dev_lock);
	lapic_send(vm, 0x71, DELIVER_FIXED, false, 0, false, false);
	pthread_mutex_unlock(&vm->dev_lock);
	EQ(s.k.msis, 1);
	EQ(lapic_pending(vm->vcpu[0]->lapic), 0x71);
	scene_end(&s, t);
}

/* Devices send from threads of their own, also while the chips change hands: every message arrives, here or there. */
#define MESSAGES_FROM 0x30u
#define MESSAGES_TO 0xf0u

static void *send_messages(void *vm)
{
	for (unsigned v = MESSAGES_FROM; v < MESSAGES_TO; v++) {
		lapic_send(vm, (uint8_t)v, DELIVER_FIXED, false, 0, false, false);
		sched_yield();
	}
	return NULL;
}

static void test_chips_messages(struct tally *t)
{
	struct scene s = {.chips = KVM_IRQCHIP_KERNEL};
	uint8_t page[LAPIC_PAGE_BYTES] = {0};
	unsigned lost = 0;
	struct vm *vm;

	fake_kvm_init(&s.k);
	s.k.run = run_outs;
	scene_run(&s, PATH_KVM, NULL, 0);
	vm = s.vm;
	TRUE(vm != NULL);
	if (!vm)
		return;
	kvm_ops.world_leave(vm);
	put_reg(page, 0xf0, 0x1ff);
	for (unsigned round = 0; round < 50; round++) {
		pthread_t thread;
		uint8_t got[LAPIC_PAGE_BYTES];

		pthread_mutex_lock(&vm->dev_lock);
		lapic_load(vm->vcpu[0]->lapic, 0xfee00900, page, 0);
		pthread_mutex_unlock(&vm->dev_lock);
		if (pthread_create(&thread, NULL, send_messages, vm) != 0)
			abort();
		for (unsigned i = 0; i < 40; i++) {
			EQ(kvm_ops.world_enter(vm, &s.e), ST_OK);
			sched_yield();
			kvm_ops.world_leave(vm);
		}
		pthread_join(thread, NULL);
		pthread_mutex_lock(&vm->dev_lock);
		lapic_save(vm->vcpu[0]->lapic, got);
		pthread_mutex_unlock(&vm->dev_lock);
		for (unsigned v = MESSAGES_FROM; v < MESSAGES_TO; v++)
			lost += !(got[0x200 + (v & 0xe0) / 2 + (v & 0x1f) / 8] >> v % 8 & 1);
	}
	EQ(lost, 0);
	scene_end(&s, t);
}

/* A vCPU that is halted in the kernel is no stall, and can be called away; it is halted elsewhere too. */
static int run_halted(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)n;
	k->mp.mp_state = KVM_MP_STATE_HALTED;
	return fake_blocked(r);
}

static void test_halted(struct tally *t)
{
	struct scene s = {.chips = KVM_IRQCHIP_KERNEL};

	fake_kvm_init(&s.k);
	s.k.run = run_halted;
	scene_run(&s, PATH_KVM, end_it, 1500000000); /* twice what makes a stall */
	EQ(s.outcome, VM_STOPPED);
	TRUE(s.vm && switch_count(s.vm) == 0 && s.vm->vcpu[0]->run_state == VCPU_HALTED);
	scene_end(&s, t);
}

/* An INIT that nobody has taken when the vCPU leaves: the registers that arrive elsewhere are those behind it. */
static int run_then_init(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	k->init_waits = true;
	return run_outs(k, r, n);
}

static void test_init_waits(struct tally *t)
{
	struct scene s = {.chips = KVM_IRQCHIP_KERNEL};

	fake_kvm_init(&s.k);
	s.k.run = run_then_init;
	scene_run(&s, PATH_KVM, NULL, 0); /* its end pulls */
	EQ(s.outcome, VM_DEBUG_EXIT);
	TRUE(s.vm && !s.k.init_waits && s.vm->vcpu[0]->run_state == VCPU_WAIT_SIPI);
	TRUE(s.vm && s.vm->vcpu[0]->regs.rip == 0xfff0 && s.vm->vcpu[0]->regs.cr0 == 0x60000010);
	scene_end(&s, t);
}

/* ---- doorbells: in the kernel while the path is on and has the kernel's controllers, where the guest has put them ---- */

static void bells_set(struct vm *vm, const struct doorbell *list, unsigned n)
{
	pthread_mutex_lock(&vm->dev_lock);
	doorbells_set(&vm->doorbells, list, n);
	pthread_mutex_unlock(&vm->dev_lock);
}

static void test_doorbells(struct tally *t)
{
	static const struct doorbell bells[] = {{0xd0003000, 7}, {0xd0003004, 8}, {0xd0007000, 9}};

	for (unsigned user = 0; user < 2; user++) {
		struct scene s = {.chips = user ? KVM_IRQCHIP_USER : KVM_IRQCHIP_KERNEL};

		fake_kvm_init(&s.k);
		s.k.run = run_outs;
		scene_run(&s, PATH_KVM, NULL, 0);
		TRUE(s.vm != NULL);
		if (!s.vm)
			return;
		bells_set(s.vm, bells, 2);
		EQ(s.k.bells, user ? 0 : 2);
		if (!user) {
			EQ(s.k.bell.addr, bells[1].gpa);
			EQ(s.k.bell.fd, 8);
			EQ(s.k.bell.len, 0);
			bells_set(s.vm, bells + 1, 2);
			EQ(s.k.bells, 2);
			EQ(fake_seen(&s.k, KVM_IOEVENTFD), 4); /* one of them has stayed */
			EQ(kvm_doorbells(s.vm), 2);
			EQ(kvm_ops.world_enter(s.vm, &s.e), ST_OK); /* as after a reset */
			EQ(s.k.bells, 2);
		}
		kvm_ops.world_leave(s.vm);
		EQ(s.k.bells, 0);
		bells_set(s.vm, bells, 3);
		EQ(s.k.bells, 0);
		EQ(kvm_ops.world_enter(s.vm, &s.e), ST_OK);
		EQ(s.k.bells, user ? 0 : 3);
		/* one that the kernel does not take is left to the device, and not asked back */
		kvm_ops.world_leave(s.vm);
		s.k.fail = KVM_IOEVENTFD;
		EQ(kvm_ops.world_enter(s.vm, &s.e), ST_OK);
		EQ(s.k.bells, user ? 0 : 2);
		atomic_store(&s.vm->outcome, VM_RUNNING);
		bells_set(s.vm, bells + 1, 1); /* the first of them */
		EQ(s.k.bells, 0);
		EQ(atomic_load(&s.vm->outcome), VM_RUNNING);
		/* one that it does not give back ends the machine */
		bells_set(s.vm, bells + 2, 1);
		atomic_store(&s.k.failed, 0);
		bells_set(s.vm, NULL, 0);
		TRUE(user || (atomic_load(&s.vm->outcome) == VM_FAILED && strstr(s.vm->end_text, "doorbell")));
		s.k.fail = 0;
		scene_end(&s, t);
	}
}

/* A store to one on the host's own KVM, where it may be opened: by the kernel's hand, or the long way. */
static void test_doorbell_here(struct tally *t)
{
	static const uint8_t code[] = {0xc7, 0x06, 0x00, 0x30, 0x34, 0x12, /* movw $0x1234, 0x3000: DS begins at 0xd0000000 */
				       0xb0, GUEST_VALUE, 0xe6, 0xf4};
	struct error e = {0};

	if (kvm_ops.available(&e) != ST_OK) {
		printf("SKIP a doorbell on the host's KVM: %s\n", e.msg);
		return;
	}
	for (unsigned user = 0; user < 2; user++) {
		struct vm_config cfg = {.path = PATH_KVM, .memory_bytes = 32ull << 20, .ncpus = 1, .debug_exit_port = 0xf4,
					.flat_addr = FLAT_ADDR, .kvm_trust = true, .no_fallback = true,
					.kvm_irqchip = user ? KVM_IRQCHIP_USER : KVM_IRQCHIP_KERNEL};
		struct doorbell bell = {.gpa = 0xd0003000, .fd = eventfd(0, EFD_NONBLOCK)};
		char file[] = "/tmp/steelyard-bell-XXXXXX";
		int fd = mkstemp(file);
		uint64_t rung = 0;
		struct vm *vm;

		if (fd < 0 || bell.fd < 0 || write(fd, code, sizeof(code)) != (ssize_t)sizeof(code))
			abort();
		close(fd);
		cfg.flat = file;
		if (vm_create(&vm, &cfg, &e) != ST_OK) {
			printf("SKIP a doorbell on the host's KVM: %s\n", e.msg);
		} else {
			bells_set(vm, &bell, 1);
			vm->vcpu[0]->regs.seg[SEG_DS].base = 0xd0000000;
			EQ(vm_run(vm), VM_DEBUG_EXIT);
			EQ(read(bell.fd, &rung, sizeof(rung)) == sizeof(rung), !user);
			EQ(rung, !user);
			EQ(vm->vcpu[0]->count.mmio_writes, user);
			bells_set(vm, NULL, 0);
			vm_destroy(vm);
		}
		close(bell.fd);
		unlink(file);
	}
}

/* ---- the time stamp counter: by offset; without that, or at another rate, by value; what cannot be done is said ---- */

static void test_tsc(struct tally *t)
{
	static const struct {
		int khz, lacks;
		unsigned long fail;
		const char *how;
		bool by_offset;
	} rows[] = {
		{0, 0, 0, "offset", true},
		{0, 0, KVM_HAS_DEVICE_ATTR, "value", false},
		{1000, 0, 0, "scaled", false},
		{1000, 0, KVM_SET_TSC_KHZ, "other-rate", false},
		{1000, KVM_CAP_TSC_CONTROL, 0, "other-rate", false},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct scene s = {0};
		const char *how, *why = "";

		fake_kvm_init(&s.k);
		s.k.run = run_outs;
		s.k.tsc_khz = rows[i].khz;
		s.k.lacks = rows[i].lacks;
		s.k.fail = rows[i].fail;
		s.k.times = 1000;
		scene_run(&s, PATH_KVM, NULL, 0);
		EQ(s.outcome, VM_DEBUG_EXIT);
		how = s.vm ? kvm_tsc(s.vm, &why) : NULL;
		TRUE(how && !strcmp(how, rows[i].how) && *why);
		EQ(fake_seen(&s.k, KVM_SET_DEVICE_ATTR) > 0, rows[i].by_offset);
		TRUE(rows[i].by_offset || *fake_msr(&s.k, MSR_TSC) != 0);
		if (how && !strcmp(how, "scaled"))
			EQ((uint64_t)s.k.tsc_khz, s.vm->clock.tsc_khz);
		scene_end(&s, t);
	}
}

/* ---- the kernel's own figures ---- */

static void test_stats(struct tally *t)
{
	struct kvm_kernel_stat st[8];
	struct scene s = {.chips = KVM_IRQCHIP_KERNEL};

	fake_kvm_init(&s.k);
	s.k.run = run_outs;
	scene_run(&s, PATH_KVM, NULL, 0);
	TRUE(s.vm != NULL);
	if (!s.vm)
		return;
	EQ(kvm_kernel_stats(s.vm, st, 8), 4); /* two of the machine, two of its vCPU; no histogram */
	TRUE(st[0].machine && st[0].value == 7 && !strcmp(st[0].name, "halts"));
	TRUE(!st[3].machine && st[3].value == 11 && !strcmp(st[3].name, "exits_of_test_x"));
	EQ(kvm_kernel_stats(s.vm, st, 1), 4);
	for (s.k.stats_noise = 1; s.k.stats_noise < 3000; s.k.stats_noise++)
		TRUE(kvm_kernel_stats(s.vm, st, 8) <= 2 * 1024);
	scene_end(&s, t);
}

int main(void)
{
	void (*const tests[])(struct tally *) = {test_steady, test_chips_travel, test_chips_lent, test_chips_messages, test_halted, test_init_waits, test_doorbells, test_doorbell_here, test_tsc, test_stats};
	struct tally tally = {0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
