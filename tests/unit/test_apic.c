/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Local APICs and the I/O APIC: priorities, messages, x2APIC, pins, timers. */
#include "engine/apic/ioapic.h"
#include "engine/apic/lapic.h"
#include "engine/msr.h"
#include "tests/unit/fake_machine.h"

#define L(v) ((v)->lapic)
static uint32_t lr(struct vcpu *v, unsigned off)
{
	return (uint32_t)lapic_mmio_read(L(v), off, 4);
}

static void lw(struct vcpu *v, unsigned off, uint32_t val)
{
	lapic_mmio_write(L(v), off, 4, val);
}

static void quiet(struct vcpu *v)
{
	while (lapic_ack(L(v)) >= 0)
		lw(v, 0xb0, 0);
	for (unsigned i = 0; i < 16; i++) /* what is nested in service */
		lw(v, 0xb0, 0);
}

static void test_lapic_priority(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];

	CHECK(lapic_accepts_extint(L(v)) && lapic_accepts_nmi(L(v)) && !lapic_accepts_extint(L(vm->vcpu[1])));
	lapic_deliver(L(v), 0x40, false);
	CHECK(lapic_pending(L(v)) == -1); /* software-disabled after reset */
	lw(v, 0xf0, 0x1ff);
	lw(vm->vcpu[1], 0xf0, 0x1ff);
	lapic_deliver(L(v), 0x40, false);
	lapic_deliver(L(v), 0x63, false);
	lapic_deliver(L(v), 0x61, true);
	CHECK(lapic_pending(L(v)) == 0x63);
	lapic_set_cr8(L(v), 6);
	CHECK(lapic_pending(L(v)) == -1 && lr(v, 0x80) == 0x60 && lr(v, 0xa0) == 0x60);
	atomic_store(&v->request, 0);
	lapic_set_cr8(L(v), 5);
	CHECK(atomic_load(&v->request) & REQ_EVENT);
	CHECK(lapic_ack(L(v)) == 0x63 && lapic_ack(L(v)) == -1 && lr(v, 0xa0) == 0x60);
	CHECK(lr(v, 0x130) == 1u << 3 && lr(v, 0x230) == 1u << 1 && lr(v, 0x1b0) == 1u << 1);
	lw(v, 0xb0, 0);
	CHECK(lapic_ack(L(v)) == 0x61);
	lw(v, 0xb0, 0);
	lapic_set_cr8(L(v), 0);
	CHECK(lapic_ack(L(v)) == 0x40);
	lw(v, 0xb0, 0);
	lw(v, 0xb0, 0);
	CHECK(lapic_pending(L(v)) == -1);
	lapic_deliver(L(v), 3, false);
	CHECK(lr(v, 0x280) == 0);
	lw(v, 0x280, 0);
	CHECK(lr(v, 0x280) == 0x40);
	lw(v, 0x280, 0);
	CHECK(lr(v, 0x280) == 0);
	v->regs.rflags |= FL_IF;
	CHECK(!vcpu_has_event(v));
	lapic_deliver(L(v), 0x20, false);
	CHECK(vcpu_has_event(v));
	v->int_shadow = true;
	CHECK(!vcpu_has_event(v));
	v->int_shadow = false;
	CHECK(vcpu_take_interrupt(v) == 0x20);
	quiet(v);
	CHECK(lr(v, 0x30) == 0x50014 && lr(v, 0x20) == 0 && lr(vm->vcpu[1], 0x20) == 1u << 24);
	CHECK(lapic_mmio_read(L(v), 0x31, 1) == 0 && lapic_mmio_read(L(v), 0x34, 4) == 0xffffffff);
}

static void test_lapic_messages(struct vm *vm)
{
	struct vcpu *a = vm->vcpu[0], *b = vm->vcpu[1], *c = vm->vcpu[2];

	lw(c, 0xf0, 0x1ff);
	lw(a, 0x310, 1u << 24);
	lw(a, 0x300, 0x4051);
	CHECK(lapic_pending(L(b)) == 0x51 && lapic_pending(L(a)) == -1 && lapic_pending(L(c)) == -1);
	lw(a, 0x300, 0xc4052); /* all but self */
	CHECK(lapic_pending(L(b)) == 0x52 && lapic_pending(L(c)) == 0x52 && lapic_pending(L(a)) == -1);
	lw(a, 0x300, 0x84053); /* all */
	lw(a, 0x300, 0x44054); /* self */
	CHECK(lapic_pending(L(b)) == 0x53 && lapic_pending(L(a)) == 0x54);
	lw(a, 0x300, 0x44003);
	lw(a, 0x280, 0);
	CHECK(lr(a, 0x280) == 0x20);
	quiet(a);
	quiet(b);
	quiet(c);
	lw(a, 0xd0, 1u << 24); /* logical, flat */
	lw(b, 0xd0, 2u << 24);
	lw(c, 0xd0, 4u << 24);
	lapic_send(vm, 0x60, DELIVER_FIXED, true, 6, false, false);
	CHECK(lapic_pending(L(a)) == -1 && lapic_pending(L(b)) == 0x60 && lapic_pending(L(c)) == 0x60);
	quiet(b);
	quiet(c);
	for (unsigned i = 0; i < 3; i++)
		lw(vm->vcpu[i], 0xe0, 0x0fffffff);
	lw(a, 0xd0, 0x11u << 24); /* logical, cluster */
	lw(b, 0xd0, 0x21u << 24);
	lw(c, 0xd0, 0x22u << 24);
	lapic_send(vm, 0x60, DELIVER_FIXED, true, 0x23, false, false);
	CHECK(lapic_pending(L(a)) == -1 && lapic_pending(L(b)) == 0x60 && lapic_pending(L(c)) == 0x60);
	quiet(b);
	quiet(c);
	lapic_set_cr8(L(a), 4);
	lapic_set_cr8(L(b), 2);
	lapic_set_cr8(L(c), 3);
	lapic_send(vm, 0x70, DELIVER_LOWEST, false, 0xff, false, false);
	CHECK(lapic_pending(L(a)) == -1 && lapic_pending(L(b)) == 0x70 && lapic_pending(L(c)) == -1);
	quiet(b);
	for (unsigned i = 0; i < 3; i++)
		lapic_set_cr8(L(vm->vcpu[i]), 0);
	lapic_send(vm, 0, DELIVER_NMI, false, 2, false, false);
	CHECK(atomic_load(&c->nmi_pending) && !atomic_load(&b->nmi_pending) && vcpu_has_event(c));
	atomic_store(&c->nmi_pending, false);
	lw(a, 0x310, 2u << 24);
	lw(a, 0x300, 0x4500);
	lw(a, 0x300, 0x4612);
	CHECK(atomic_load(&c->request) & REQ_EXIT);
	struct lapic_startup s = lapic_take_startup(L(c));
	CHECK(s.init && s.sipi && s.vector == 0x12);
	s = lapic_take_startup(L(c));
	CHECK(!s.init && !s.sipi);
}

static void test_lapic_x2apic(struct vm *vm)
{
	struct vcpu *a = vm->vcpu[0], *b = vm->vcpu[1];
	uint64_t val, base = lapic_base(L(b));

	CHECK(base == (0xfee00000u | 1u << 11) && lapic_base(L(a)) == (0xfee00000u | 1u << 11 | 1u << 8));
	CHECK(!lapic_msr_read(L(b), 0x802, &val) && !lapic_set_base(L(b), base | 1) && !lapic_set_base(L(b), ~0ull));
	CHECK(lapic_mmio_gpa(L(b)) == 0xfee00000u);
	for (unsigned i = 0; i < vm->cpuid.n; i++)
		if (vm->cpuid.entry[i].leaf == 1)
			vm->cpuid.entry[i].ecx &= ~(1u << 21);
	CHECK(!lapic_set_base(L(b), base | 1u << 10));
	for (unsigned i = 0; i < vm->cpuid.n; i++)
		if (vm->cpuid.entry[i].leaf == 1)
			vm->cpuid.entry[i].ecx |= 1u << 21; /* whatever this machine's table says */
	CHECK(lapic_set_base(L(b), base | 1u << 10));
	CHECK(lapic_mmio_gpa(L(b)) == UINT64_MAX && !lapic_set_base(L(b), base));
	CHECK(lapic_msr_read(L(b), 0x802, &val) && val == 1);
	CHECK(lapic_msr_read(L(b), 0x80d, &val) && val == 2);
	CHECK(!lapic_msr_read(L(b), 0x80e, &val) && !lapic_msr_write(L(b), 0x802, 1) &&
	      !lapic_msr_write(L(b), 0x80b, 1));
	CHECK(!lapic_msr_write(L(b), 0x832, 1u << 24) && !lapic_msr_write(L(b), 0x831, 0));
	CHECK(lapic_msr_write(L(b), 0x83f, 0x77) && lapic_pending(L(b)) == 0x77);
	CHECK(lapic_ack(L(b)) == 0x77 && lapic_msr_write(L(b), 0x80b, 0) && lapic_pending(L(b)) == -1);
	CHECK(lapic_msr_write(L(b), 0x830, 0xffffffffull << 32 | 0x4078));
	CHECK(lapic_pending(L(a)) == 0x78 && lapic_pending(L(b)) == 0x78);
	lapic_ack(L(b));
	lapic_msr_write(L(b), 0x80b, 0);
	CHECK(lapic_msr_write(L(b), 0x830, 2ull << 32 | 0x4879) &&
	      lapic_pending(L(b)) == 0x79); /* logical: cluster 0, bit 1 */
	quiet(a);
	CHECK(lapic_set_base(L(b), 0xfee00000u) && lapic_accepts_extint(L(b)) &&
	      !lapic_set_base(L(b), base | 1u << 10));
	CHECK(lapic_set_base(L(b), base) && lapic_pending(L(b)) == -1 && lr(b, 0xf0) == 0xff);
}

static void run_due(struct vm *vm)
{
	pthread_mutex_lock(&vm->dev_lock);
	clock_run_timers(&vm->clock);
	pthread_mutex_unlock(&vm->dev_lock);
}

static void test_lapic_timer(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];
	uint32_t left;

	clock_start(&vm->clock);
	v->regs.tsc_offset = clock_tsc_offset(&vm->clock);
	lw(v, 0x3e0, 0xb);
	lw(v, 0x320, 0x80);
	lw(v, 0x380, 2000000000u);
	left = lr(v, 0x390);
	CHECK(left < 2000000000u && left > 1000000000u && lr(v, 0x380) == 2000000000u);
	lw(v, 0x380, 1000);
	pause_ms(1);
	run_due(vm);
	CHECK(lapic_pending(L(v)) == 0x80 && lr(v, 0x390) == 0);
	quiet(v);
	lw(v, 0x3e0, 0x0); /* divide by 2 */
	lw(v, 0x320, 0x20081);
	lw(v, 0x380, 500000);
	for (unsigned i = 0; i < 3; i++) {
		pause_ms(3);
		run_due(vm);
		CHECK(lapic_pending(L(v)) == 0x81);
		quiet(v);
	}
	left = lr(v, 0x390);
	CHECK(left <= 500000);
	lw(v, 0x380, 0);
	pause_ms(2);
	run_due(vm);
	CHECK(lapic_pending(L(v)) == -1);
	lapic_set_tsc_deadline(L(v), 1);
	CHECK(lapic_tsc_deadline(L(v)) == 0 && lapic_pending(L(v)) == -1); /* another mode: ignored */
	lw(v, 0x320, 0x40082);
	lapic_set_tsc_deadline(L(v), 1);
	CHECK(lapic_pending(L(v)) == 0x82 && lapic_tsc_deadline(L(v)) == 0);
	quiet(v);
	lapic_set_tsc_deadline(L(v), UINT64_MAX);
	CHECK(lapic_tsc_deadline(L(v)) == UINT64_MAX);
	lapic_set_tsc_deadline(L(v), __builtin_ia32_rdtsc() + (uint64_t)v->regs.tsc_offset + vm->clock.tsc_khz);
	run_due(vm);
	pause_ms(3);
	run_due(vm);
	CHECK(lapic_pending(L(v)) == 0x82 && lapic_tsc_deadline(L(v)) == 0);
	quiet(v);
	lw(v, 0xf0, 0xff);
	CHECK(lr(v, 0x320) & 0x10000);
	lw(v, 0x320, 0x40082);
	CHECK(lr(v, 0x320) == 0x50082);
}

/* What changes under a timer that runs. */
static void test_lapic_timer_changes(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];
	unsigned fires = 0;
	uint32_t left;

	lw(v, 0xf0, 0x1ff);
	/* one-shot, made periodic before it ends: as slow as a timer that was periodic from the start */
	lw(v, 0x3e0, 0xb);
	lw(v, 0x320, 0x83);
	clock_stop(&vm->clock);
	lw(v, 0x380, 10);
	lw(v, 0x320, 0x20083);
	for (unsigned i = 0; i < 100; i++) {
		atomic_fetch_add(&vm->clock.stopped_at_ns, 1000);
		run_due(vm);
		fires += lapic_pending(L(v)) == 0x83;
		quiet(v);
	}
	CHECK(fires == 5); /* after 10 ns, then every 20 us */
	clock_start(&vm->clock);
	/* the divisor holds from now on, and the count goes on from where it is */
	lw(v, 0x320, 0x83);
	lw(v, 0x380, 1000000000u);
	lw(v, 0x3e0, 0xa); /* by 128 */
	left = lr(v, 0x390);
	CHECK(left > 500000000u && left < 1000000000u);
	lw(v, 0x380, 0);
	/* the deadline is the TSC's, whoever moves that */
	lw(v, 0x320, 0x40084);
	lapic_set_tsc_deadline(L(v), clock_tsc(&vm->clock) + (uint64_t)v->regs.tsc_offset + 3600000ull * vm->clock.tsc_khz);
	CHECK(lapic_pending(L(v)) == -1);
	CHECK(msr_write(v, MSR_TSC, lapic_tsc_deadline(L(v)) + 1));
	CHECK(lapic_pending(L(v)) == 0x84 && lapic_tsc_deadline(L(v)) == 0);
	quiet(v);
	lapic_set_tsc_deadline(L(v), clock_tsc(&vm->clock) + (uint64_t)v->regs.tsc_offset + 3600000ull * vm->clock.tsc_khz);
	CHECK(msr_write(v, MSR_TSC_ADJUST, 8000000ull * vm->clock.tsc_khz + (uint64_t)v->regs.tsc_offset));
	CHECK(lapic_pending(L(v)) == 0x84 && lapic_tsc_deadline(L(v)) == 0);
	quiet(v);
	lw(v, 0x320, 0x10000);
}

static void ioapic_set(struct vm *vm, unsigned reg, uint32_t val)
{
	ioapic_ops.write(vm->ioapic, 0, 4, reg);
	ioapic_ops.write(vm->ioapic, 0x10, 4, val);
}

static uint32_t ioapic_get(struct vm *vm, unsigned reg)
{
	ioapic_ops.write(vm->ioapic, 0, 4, reg);
	return (uint32_t)ioapic_ops.read(vm->ioapic, 0x10, 4);
}

static void count_end(void *ctx)
{
	++*(unsigned *)ctx;
}

/* Who has been told when the interrupt of an edge ends. */
static void test_ioapic_watch(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];
	struct ioapic *io = vm->ioapic;
	struct ioapic_state s;
	unsigned ends = 0;

	lw(v, 0xf0, 0x1ff);
	ioapic_watch(io, 2, count_end, &ends);
	CHECK(!ioapic_hears(io)); /* masked */
	ioapic_set(vm, 0x10 + 2 * 2, 0x51);
	CHECK(ioapic_hears(io));
	ioapic_set_pin(io, 2, true);
	lapic_deliver(L(v), 0x61, false);
	CHECK(lapic_ack(L(v)) == 0x61);
	lw(v, 0xb0, 0);
	CHECK(ends == 0 && lapic_ack(L(v)) == 0x51);
	CHECK(ends == 0);
	lw(v, 0xb0, 0);
	CHECK(ends == 1);
	ioapic_set_pin(io, 2, false);
	for (unsigned i = 0; i < 3; i++) { /* NMI, level, masked: no edge with an end */
		static const uint32_t entry[] = {0x451, 0x8051, 0x10051};

		ioapic_set(vm, 0x10 + 2 * 2, entry[i]);
		CHECK(!ioapic_hears(io));
	}
	ioapic_set(vm, 0x10 + 2 * 2, 0x151); /* lowest priority */
	CHECK(ioapic_hears(io));
	ioapic_save(io, &s);
	ioapic_reset(io);
	CHECK(!ioapic_hears(io));
	ioapic_load(io, &s);
	CHECK(ioapic_hears(io) && ioapic_watches(io, 0x51));
	ioapic_watch(io, IOAPIC_PINS, NULL, NULL);
	CHECK(!ioapic_hears(io));
	ioapic_reset(io);
	quiet(v);
}

static void test_ioapic(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];
	struct ioapic *io = vm->ioapic;

	lw(v, 0xf0, 0x1ff);
	CHECK(ioapic_get(vm, 1) == 0x170011 && ioapic_get(vm, 0x10) == 0x10000 && ioapic_get(vm, 0x3f) == 0x0);
	CHECK(ioapic_get(vm, 0x40) == 0 && ioapic_get(vm, 0xff) == 0);
	ioapic_set(vm, 0x10 + 2 * 20, 0x31); /* edge */
	ioapic_set_pin(io, 20, true);
	CHECK(lapic_pending(L(v)) == 0x31);
	quiet(v);
	ioapic_set_pin(io, 20, true);
	CHECK(lapic_pending(L(v)) == -1);
	ioapic_set_pin(io, 20, false);
	ioapic_set(vm, 0x10 + 2 * 20, 0x10031);
	ioapic_set_pin(io, 20, true);
	CHECK(lapic_pending(L(v)) == -1);
	ioapic_set(vm, 0x10 + 2 * 20, 0x31); /* the edge that came while masked */
	CHECK(lapic_pending(L(v)) == 0x31);
	quiet(v);
	ioapic_set_pin(io, 20, false);
	ioapic_set(vm, 0x10 + 2 * 21, 0x8032); /* level */
	ioapic_set_pin(io, 21, true);
	CHECK(lapic_ack(L(v)) == 0x32 && (ioapic_get(vm, 0x10 + 2 * 21) & 0x4000));
	lw(v, 0xb0, 0);
	CHECK(lapic_ack(L(v)) == 0x32); /* still high: again */
	ioapic_set_pin(io, 21, false);
	lw(v, 0xb0, 0);
	CHECK(lapic_ack(L(v)) == -1 && !(ioapic_get(vm, 0x10 + 2 * 21) & 0x4000));
	ioapic_set(vm, 0x11 + 2 * 21, 1u << 24);
	lw(vm->vcpu[1], 0xf0, 0x1ff);
	ioapic_set_pin(io, 21, true);
	CHECK(lapic_pending(L(v)) == -1 && lapic_pending(L(vm->vcpu[1])) == 0x32);
	ioapic_set_pin(io, 21, false);
	ioapic_eoi(io, 0x32);
	CHECK(!(ioapic_get(vm, 0x10 + 2 * 21) & 0x4000));
	ioapic_set_pin(io, 99, true);
}

static void test_apics(void)
{
	struct fake f;
	struct vm *vm = machine(3, &f, no_guest);

	test_lapic_priority(vm);
	test_lapic_messages(vm);
	test_lapic_x2apic(vm);
	test_ioapic_watch(vm);
	test_ioapic(vm);
	test_lapic_timer(vm);
	test_lapic_timer_changes(vm);
	vm_destroy(vm);
}

int main(void)
{
	fake_begin();
	test_apics();
	return fake_end();
}
