/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine without any instruction: buses, memory, clock, interrupt controllers, the life of a machine. Guest code is
 * a C function here, run by an execution path of this file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/chardev_host.h"
#include "engine/io.h"
#include "engine/ioapic.h"
#include "engine/lapic.h"
#include "engine/run.h"
#include "engine/vm.h"

static unsigned passed, failed;

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (cond) {                                                        \
			passed++;                                                  \
		} else {                                                           \
			failed++;                                                  \
			printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);  \
		}                                                                  \
	} while (0)

/* ---- a path whose guest is a C function ---- */

typedef void guest_fn(struct vcpu *v, struct exit *x);

struct fake {
	guest_fn *guest;
	_Atomic unsigned inside;    /* vCPUs in guest code */
	_Atomic unsigned exclusive; /* vCPUs that have stopped the others */
	_Atomic unsigned clashes, stops, wakes, marks;
	_Atomic uint64_t last;
};

static enum status fake_available(struct error *e)
{
	(void)e;
	return ST_OK;
}

static enum status fake_vcpu_init(struct vcpu *v, struct error *e)
{
	(void)v;
	(void)e;
	return ST_OK;
}

/* The test's object travels in the command line pointer, which no loader of these machines reads. */
static struct fake *fake_of(struct vcpu *v)
{
	return v->vm->path_vm[PATH_INTERP];
}

static void fake_run(struct vcpu *v, struct exit *x)
{
	if (atomic_load(&v->request) & REQ_EXIT) {
		x->reason = EXIT_KICK;
		return;
	}
	fake_of(v)->guest(v, x);
}

static const struct exec_ops fake_ops = {
	.name = "fake",
	.what = "guest code in C",
	.available = fake_available,
	.vcpu_init = fake_vcpu_init,
	.run = fake_run,
};

/* For a link without the program's own table. */
extern const struct exec_ops *const exec_paths[PATH_COUNT] __attribute__((weak));
const struct exec_ops *const exec_paths[PATH_COUNT] = { &fake_ops };

static char flat_file[] = "/tmp/steelyard-core-XXXXXX";

static struct vm *machine(unsigned ncpus, struct fake *f, guest_fn *guest)
{
	struct vm_config cfg = { .ops = &fake_ops,
				 .memory_bytes = 32ull << 20,
				 .ncpus = ncpus,
				 .debug_exit_port = 0xf4,
				 .flat = flat_file,
				 .flat_addr = 0x7c00 };
	struct error e = { 0 };
	struct vm *vm;

	if (vm_create(&vm, &cfg, &e) != ST_OK) {
		printf("vm_create: %s\n", e.msg);
		exit(1);
	}
	*f = (struct fake){ .guest = guest };
	vm->path_vm[PATH_INTERP] = f;
	return vm;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- bus ---- */

static uint64_t echo_read(void *dev, uint64_t off, unsigned size)
{
	return *(uint64_t *)dev + off + size * 0x100;
}

static void echo_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	*(uint64_t *)dev = val << 16 | off << 8 | size;
}

static void test_bus(void)
{
	static const struct io_ops echo = { .name = "echo", .read = echo_read, .write = echo_write };
	static const struct io_ops deaf = { .name = "deaf" };
	static struct bus b;
	uint64_t a = 0, c = 0;

	bus_add(&b, 0x100, 0x10, &echo, &a);
	bus_add(&b, 0x80, 0x10, &deaf, NULL);
	bus_add(&b, 0x110, 0x10, &echo, &c);
	bus_add(&b, ~0ull, 1, &echo, &c);
	CHECK(bus_read(&b, 0x104, 2) == 0x204);
	CHECK(bus_read(&b, 0x84, 4) == 0xffffffff);
	CHECK(b.unclaimed == 0);
	CHECK(bus_read(&b, 0x200, 8) == ~0ull && b.unclaimed == 1);
	CHECK(bus_read(&b, 0x10f, 2) == 0x000f); /* one byte from each: 10fh and 100h, low bytes */
	CHECK(bus_read(&b, 0xff, 2) == 0x00ff);
	bus_write(&b, 0x108, 1, 0xabcd);
	CHECK(a == 0xcd0801);
	bus_write(&b, 0x90, 4, 1);
	CHECK((bus_read(&b, ~0ull, 1) & 0xff) == ((c + 0x100) & 0xff));
}

/* ---- memory ---- */

static void test_mem(void)
{
	static const uint8_t rom[4096] = { 1, 2, 3 };
	struct error e = { 0 };
	uint64_t gpa, len, x = 0;
	struct mem m;

	CHECK(mem_init(&m, 4096, &e) == ST_INVALID && e.msg[0]);
	CHECK(mem_init(&m, (32ull << 20) + 1, &e) == ST_INVALID);
	CHECK(mem_init(&m, 1ull << 40, &e) == ST_NO_MEMORY);
	CHECK(mem_init(&m, 32ull << 20, &e) == ST_OK);
	CHECK(mem_ram(&m, 0, 32ull << 20) == m.ram_hva && !mem_ram(&m, 4, 32ull << 20));
	CHECK(!mem_ram(&m, MEM_HOLE_START, 1) && !mem_ram(&m, MEM_HOLE_END, 1) && !mem_ram(&m, ~0ull, 2));
	CHECK(mem_add_rom(&m, 0xfffff000u, rom, sizeof(rom), &e) == ST_OK);
	CHECK(mem_add_rom(&m, 0xfffff000u, rom, sizeof(rom), &e) != ST_OK);
	CHECK(mem_add_rom(&m, 0xfffff800u, rom, sizeof(rom), &e) != ST_OK);
	CHECK(mem_read(&m, 0xfffff001u, &x, 2) && x == 0x0302);
	CHECK(mem_write(&m, 0xfffff001u, &x, 2) && ((const uint8_t *)mem_rom(&m, 0xfffff000u, 1))[0] == 1);
	CHECK(!mem_read(&m, 0xffffffffu, &x, 2) && !mem_rom(&m, 0xffffffffu, 2));
	x = 0x1122334455667788;
	CHECK(mem_write(&m, (32ull << 20) - 8, &x, 8) && !mem_write(&m, (32ull << 20) - 7, &x, 8));
	CHECK(mem_ram_piece(&m, 0, &gpa, &len) && gpa == 0 && len == 32ull << 20 && !mem_ram_piece(&m, 1, &gpa, &len));
	mem_fini(&m);
	if (mem_init(&m, 4ull << 30, &e) != ST_OK) {
		printf("SKIP memory above the hole: %s\n", e.msg);
		return;
	}
	CHECK(mem_ram_piece(&m, 1, &gpa, &len) && gpa == MEM_HOLE_END && len == 1ull << 30);
	CHECK(mem_ram(&m, MEM_HOLE_END, 8) == m.ram_hva + MEM_HOLE_START && !mem_ram(&m, MEM_HOLE_START - 4, 8));
	CHECK(!mem_write(&m, MEM_HOLE_START - 4, &x, 8));
	mem_fini(&m);
}

/* ---- clock ---- */

struct tick {
	struct timer t;
	uint64_t *last;
	unsigned *order_errors;
	bool fired;
};

static void tick_fire(void *ctx)
{
	struct tick *k = ctx;

	if (k->t.deadline_ns < *k->last)
		++*k->order_errors;
	*k->last = k->t.deadline_ns;
	k->fired = true;
}

static void test_clock(void)
{
	static struct tick tick[300];
	unsigned order_errors = 0, fired = 0, wrong = 0;
	uint64_t last = 0, t0, t1;
	struct clock c;
	int64_t off;

	clock_init(&c);
	CHECK(c.tsc_khz > 100000 && c.tsc_khz < 20000000);
	CHECK(clock_ns(&c) == 0);
	pause_ms(2);
	CHECK(clock_ns(&c) == 0);
	clock_start(&c);
	off = clock_tsc_offset(&c);
	pause_ms(5);
	t0 = clock_ns(&c);
	t1 = clock_tsc_to_ns(&c, __builtin_ia32_rdtsc() + (uint64_t)off);
	CHECK(t0 >= 5000000 && t1 >= t0 && t1 - t0 < 5000000);
	clock_stop(&c);
	t0 = clock_ns(&c);
	pause_ms(2);
	CHECK(clock_ns(&c) == t0);
	clock_start(&c);
	CHECK(clock_ns(&c) >= t0);
	srand(7);
	for (unsigned i = 0; i < 300; i++) {
		timer_init(&tick[i].t, &c, tick_fire, &tick[i]);
		tick[i].last = &last;
		tick[i].order_errors = &order_errors;
		timer_arm(&tick[i].t, (uint64_t)rand() % 1000);
	}
	for (unsigned i = 0; i < 300; i += 3)
		timer_cancel(&tick[i].t);
	for (unsigned i = 1; i < 300; i += 6)
		timer_arm(&tick[i].t, (uint64_t)rand() % 500);
	tick[2].last = &t0;
	timer_arm(&tick[2].t, clock_ns(&c) + 1000000000000ull);
	CHECK(clock_run_timers(&c) == tick[2].t.deadline_ns);
	for (unsigned i = 0; i < 300; i++) {
		fired += tick[i].fired;
		wrong += tick[i].fired == (i % 3 == 0 || i == 2) || timer_armed(&tick[i].t) != (i == 2);
	}
	CHECK(fired == 199 && wrong == 0 && order_errors == 0);
}

/* ---- local APIC ---- */

static void no_guest(struct vcpu *v, struct exit *x)
{
	(void)v;
	x->reason = EXIT_HLT;
}

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
	CHECK(!lapic_msr_read(L(b), 0x80e, &val) && !lapic_msr_write(L(b), 0x802, 1) && !lapic_msr_write(L(b), 0x80b, 1));
	CHECK(!lapic_msr_write(L(b), 0x832, 1u << 24) && !lapic_msr_write(L(b), 0x831, 0));
	CHECK(lapic_msr_write(L(b), 0x83f, 0x77) && lapic_pending(L(b)) == 0x77);
	CHECK(lapic_ack(L(b)) == 0x77 && lapic_msr_write(L(b), 0x80b, 0) && lapic_pending(L(b)) == -1);
	CHECK(lapic_msr_write(L(b), 0x830, 0xffffffffull << 32 | 0x4078));
	CHECK(lapic_pending(L(a)) == 0x78 && lapic_pending(L(b)) == 0x78);
	lapic_ack(L(b));
	lapic_msr_write(L(b), 0x80b, 0);
	CHECK(lapic_msr_write(L(b), 0x830, 2ull << 32 | 0x4879) && lapic_pending(L(b)) == 0x79); /* logical: cluster 0, bit 1 */
	quiet(a);
	CHECK(lapic_set_base(L(b), 0xfee00000u) && lapic_accepts_extint(L(b)) && !lapic_set_base(L(b), base | 1u << 10));
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

static void test_ioapic(struct vm *vm)
{
	struct vcpu *v = vm->vcpu[0];
	struct ioapic *io = vm->ioapic;

	lw(v, 0xf0, 0x1ff);
	CHECK(ioapic_get(vm, 1) == 0x170020 && ioapic_get(vm, 0x10) == 0x10000 && ioapic_get(vm, 0x3f) == 0x0);
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
	ioapic_ops.write(io, 0x40, 4, 0x32);
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
	test_ioapic(vm);
	test_lapic_timer(vm);
	vm_destroy(vm);
}

static void test_reset_state(void)
{
	struct fake f;
	struct vm *vm = machine(2, &f, no_guest);
	struct vcpu *v = vm->vcpu[1];

	CHECK(v->run_state == VCPU_WAIT_SIPI && v->regs.rip == 0xfff0 && v->regs.seg[SEG_CS].base == 0xffff0000u);
	CHECK(vcpu_real_mode(v) && vcpu_cpl(v) == 0 && vcpu_code_bits(v) == 16 && v->regs.rflags == 2);
	CHECK(v->regs.cr0 == 0x60000010 && v->regs.dr[6] == 0xffff0ff0u && v->regs.dr[7] == 0x400);
	v->regs.cr0 = CR0_PE | CR0_PG | CR0_CD;
	v->regs.star = 5;
	v->regs.xsave[0] = 0x7f;
	vcpu_reset(v, true);
	CHECK(v->regs.cr0 == (CR0_ET | CR0_CD) && v->regs.star == 5 && v->regs.xsave[0] == 0x7f);
	vcpu_reset(v, false);
	CHECK(v->regs.star == 0 && v->regs.xsave[0] == 0x40);
	vm_destroy(vm);
}

/* ---- life ---- */

static void guest_poweroff(struct vcpu *v, struct exit *x)
{
	(void)x;
	vm_pio_write(v, 0x604, 2, 0x2000);
}

static void guest_debug_exit(struct vcpu *v, struct exit *x)
{
	(void)x;
	vm_pio_write(v, 0xf4, 1, 21);
}

static void guest_shutdown(struct vcpu *v, struct exit *x)
{
	(void)v;
	x->reason = EXIT_SHUTDOWN;
}

static void guest_cannot(struct vcpu *v, struct exit *x)
{
	(void)v;
	x->reason = EXIT_CANNOT;
	snprintf(x->text, sizeof(x->text), "no such instruction");
}

static void guest_spin(struct vcpu *v, struct exit *x)
{
	while (!(atomic_load(&v->request) & REQ_EXIT))
		;
	x->reason = EXIT_KICK;
}

static void guest_reset_twice(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	(void)x;
	CHECK(v->regs.rip == 0 || v->regs.rip == 0x7c00); /* loaded anew */
	CHECK(v->regs.gpr[R_BX] == 0 && *(uint32_t *)v->vm->mem.ram_hva + 0x5000 == 0x5000);
	v->regs.gpr[R_BX] = 5;
	if (atomic_fetch_add(&f->marks, 1) < 2)
		vm_pio_write(v, 0xcf9, 1, 6);
	else
		vm_pio_write(v, 0x604, 2, 0x2000);
	while (!(atomic_load(&v->request) & REQ_EXIT))
		;
}

/* One tick of the local APIC's timer wakes HLT again and again. */
static void guest_halts(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	if (v->regs.rflags & FL_IF) {
		if (vcpu_take_interrupt(v) == 0x90)
			atomic_fetch_add(&f->wakes, 1);
		vm_mmio_write(v, 0xfee000b0u, 4, 0);
	}
	if (atomic_load(&f->wakes) == 200) {
		vm_pio_write(v, 0x604, 2, 0x2000);
		return;
	}
	v->regs.rflags |= FL_IF;
	vm_mmio_write(v, 0xfee000f0u, 4, 0x1ff);
	vm_mmio_write(v, 0xfee003e0u, 4, 0xb);
	vm_mmio_write(v, 0xfee00320u, 4, 0x90);
	vm_mmio_write(v, 0xfee00380u, 4, 50000);
	x->reason = EXIT_HLT;
}

/* vCPU 0 and 1 play ping-pong by IPI, both asleep in between. */
static void guest_ping(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	if (!(v->regs.rflags & FL_IF)) {
		v->regs.rflags |= FL_IF;
		vm_mmio_write(v, 0xfee000f0u, 4, 0x1ff);
		if (v->id == 0) {
			CHECK(v->regs.seg[SEG_CS].base == 0 || v->regs.seg[SEG_CS].base == 0x7c00);
			vm_mmio_write(v, 0xfee00300u, 4, 0xc4500);
			vm_mmio_write(v, 0xfee00300u, 4, 0xc4608);
		} else {
			CHECK(v->regs.seg[SEG_CS].base == 0x8000 && v->regs.seg[SEG_CS].sel == 0x800 && v->regs.rip == 0);
			vm_mmio_write(v, 0xfee00300u, 4, 0xc4095);
		}
		x->reason = EXIT_HLT;
		return;
	}
	if (vcpu_take_interrupt(v) == 0x95) {
		vm_mmio_write(v, 0xfee000b0u, 4, 0);
		if (atomic_fetch_add(&f->wakes, 1) == 20000)
			vm_pio_write(v, 0x604, 2, 0x2000);
		vm_mmio_write(v, 0xfee00300u, 4, 0xc4095);
	}
	x->reason = EXIT_HLT;
}

/* All vCPUs stop the world against each other. */
static void guest_world(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	if (v->id == 0 && !(v->regs.rflags & FL_IF)) {
		v->regs.rflags |= FL_IF;
		vm_mmio_write(v, 0xfee000f0u, 4, 0x1ff);
		vm_mmio_write(v, 0xfee00300u, 4, 0xc4500);
		vm_mmio_write(v, 0xfee00300u, 4, 0xc4608);
	}
	atomic_fetch_add(&f->inside, 1);
	for (unsigned i = 0; i < 50 && !(atomic_load(&v->request) & REQ_EXIT); i++)
		if (atomic_load(&f->exclusive))
			atomic_fetch_add(&f->clashes, 1);
	atomic_fetch_sub(&f->inside, 1);
	vm_stop_others(v);
	if (atomic_fetch_add(&f->exclusive, 1) || atomic_load(&f->inside))
		atomic_fetch_add(&f->clashes, 1);
	if (atomic_fetch_add(&f->stops, 1) == 4000)
		vm_end(v->vm, VM_POWEROFF, 0, NULL);
	atomic_fetch_sub(&f->exclusive, 1);
	vm_resume_others(v);
	x->reason = EXIT_KICK;
}

static void *run_in_thread(void *vm)
{
	return (void *)(uintptr_t)vm_run(vm);
}

static void test_outcomes(void)
{
	struct vm *vm;
	struct fake f;

	vm = machine(2, &f, guest_poweroff);
	CHECK(vm_run(vm) == VM_POWEROFF);
	vm_destroy(vm);
	vm = machine(1, &f, guest_debug_exit);
	CHECK(vm_run(vm) == VM_DEBUG_EXIT && atomic_load(&vm->exit_value) == 21);
	vm_destroy(vm);
	vm = machine(1, &f, guest_shutdown);
	CHECK(vm_run(vm) == VM_TRIPLE_FAULT);
	vm_destroy(vm);
	vm = machine(1, &f, guest_cannot);
	CHECK(vm_run(vm) == VM_FAILED && strstr(vm->end_text, "no such instruction"));
	vm_destroy(vm);
	vm = machine(1, &f, guest_reset_twice);
	CHECK(vm_run(vm) == VM_POWEROFF && vm->resets == 2 && atomic_load(&f.marks) == 3);
	vm_destroy(vm);
	vm = machine(1, &f, guest_reset_twice);
	vm->cfg.no_reboot = true;
	CHECK(vm_run(vm) == VM_RESET_REQUEST && atomic_load(&f.marks) == 1);
	vm_destroy(vm);
}

static void test_sleep_and_messages(void)
{
	struct vm *vm;
	struct fake f;

	vm = machine(1, &f, guest_halts);
	CHECK(vm_run(vm) == VM_POWEROFF && atomic_load(&f.wakes) == 200 && vm->vcpu[0]->count.halts >= 200);
	CHECK(run_cpu_ns(vm, 0) > 0 && io_cpu_ns(vm->io) > 0);
	vm_destroy(vm);
	vm = machine(2, &f, guest_ping);
	CHECK(vm_run(vm) == VM_POWEROFF && atomic_load(&f.wakes) > 20000);
	vm_destroy(vm);
	vm = machine(4, &f, guest_world);
	CHECK(vm_run(vm) == VM_POWEROFF && atomic_load(&f.stops) > 4000 && atomic_load(&f.clashes) == 0);
	vm_destroy(vm);
}

static void test_two_machines(void)
{
	struct fake fa, fb;
	struct vm *a = machine(2, &fa, guest_spin), *b = machine(1, &fb, guest_halts);
	uint64_t t0, t1;
	pthread_t ta, tb;
	int64_t tsc0, tsc1;
	void *ra, *rb;

	CHECK(pthread_create(&ta, NULL, run_in_thread, a) == 0 && pthread_create(&tb, NULL, run_in_thread, b) == 0);
	pause_ms(20);
	vm_pause(a);
	vm_resume(a);
	t0 = clock_ns(&a->clock);
	tsc0 = (int64_t)__builtin_ia32_rdtsc() + a->vcpu[0]->regs.tsc_offset;
	vm_pause(a);
	vm_pause(a);
	t1 = clock_ns(&a->clock);
	CHECK(!a->vcpu[0]->in_guest && t1 > t0);
	pause_ms(50);
	CHECK(clock_ns(&a->clock) == t1);
	vm_resume(a);
	CHECK(clock_ns(&a->clock) == t1);
	vm_resume(a);
	tsc1 = (int64_t)__builtin_ia32_rdtsc() + a->vcpu[0]->regs.tsc_offset;
	t1 = clock_ns(&a->clock);
	/* The pause is in neither: between the two readings the counter went no further than the clock around them. */
	CHECK(tsc1 > tsc0 && clock_tsc_to_ns(&a->clock, (uint64_t)(tsc1 - tsc0)) < t1 - t0 + 1000000);
	CHECK(a->vcpu[0]->regs.tsc_offset == a->vcpu[1]->regs.tsc_offset);
	vm_pause(a);
	vm_end(a, VM_STOPPED, 0, "enough");
	pthread_join(ta, &ra);
	pthread_join(tb, &rb);
	CHECK((uintptr_t)ra == VM_STOPPED && (uintptr_t)rb == VM_POWEROFF);
	vm_destroy(a);
	vm_destroy(b);
}

static void test_bad_config(void)
{
	struct vm_config cfg = { .ops = &fake_ops, .memory_bytes = 32ull << 20, .ncpus = 0, .debug_exit_port = -1, .flat = flat_file };
	struct error e = { 0 };
	struct chardev *c;
	struct vm *vm;

	CHECK(vm_create(&vm, &cfg, &e) == ST_INVALID && !vm);
	cfg.ncpus = 65;
	CHECK(vm_create(&vm, &cfg, &e) == ST_INVALID && !vm);
	cfg.ncpus = 1;
	cfg.memory_bytes = 1;
	CHECK(vm_create(&vm, &cfg, &e) == ST_INVALID && !vm);
	cfg.memory_bytes = 32ull << 20;
	cfg.flat = "/nonexistent";
	CHECK(vm_create(&vm, &cfg, &e) != ST_OK && !vm && e.msg[0]);
	CHECK(chardev_open("none", &c, &e) == ST_OK && !c);
	CHECK(chardev_open("tape", &c, &e) == ST_INVALID && chardev_open("file:", &c, &e) == ST_INVALID);
	CHECK(chardev_open("file:/nonexistent/x", &c, &e) == ST_IO && chardev_open("unix:/nonexistent/x", &c, &e) == ST_IO);
}

/* Everything that a guest can say to a device, whatever it means. */
static void test_any_access(void)
{
	static const uint64_t page[] = { 0xfee00000u, 0xfec00000u, 0xfed00000u, 0xc0000000u, 0xfffff000u, 0x1fff000u,
					 1ull << 40, ~0xfffull };
	struct fake f;
	struct vm *vm = machine(2, &f, no_guest);
	struct vcpu *v = vm->vcpu[0];
	uint64_t sum = 0;

	srand(11);
	for (unsigned port = 0; port < 0x10000; port++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			sum += vm_pio_read(v, (uint16_t)port, size);
			vm_pio_write(v, (uint16_t)port, size, (uint64_t)rand());
		}
	for (unsigned i = 0; i < 400000; i++) {
		unsigned size = 1u << rand() % 4;
		uint64_t gpa = page[(unsigned)rand() % ARRAY_LEN(page)] + (unsigned)rand() % 4096;

		if (rand() % 2)
			gpa &= ~0xfull;
		sum += vm_mmio_read(v, gpa, size);
		vm_mmio_write(v, gpa, size, (uint64_t)rand() << 20 ^ (uint64_t)rand());
		if (rand() % 8 == 0)
			vm_pio_write(v, (uint16_t)(rand() % 0x400), 1u << rand() % 3, (uint64_t)rand());
		if (rand() % 64 == 0)
			vcpu_take_interrupt(v);
		if (rand() % 64 == 0)
			lapic_msr_write(L(v), 0x800 + (unsigned)rand() % 0x40, (uint64_t)rand());
	}
	CHECK(sum != 0);
	vm_destroy(vm);
}

int main(void)
{
	int fd = mkstemp(flat_file);

	setvbuf(stdout, NULL, _IOLBF, 0);

	if (fd < 0 || write(fd, "\xf4\xeb\xfd", 3) != 3) {
		perror(flat_file);
		return 1;
	}
	close(fd);
	test_bus();
	test_mem();
	test_clock();
	test_reset_state();
	test_apics();
	test_outcomes();
	test_sleep_and_messages();
	test_two_machines();
	test_bad_config();
	test_any_access();
	unlink(flat_file);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
