/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine without any instruction: buses, memory, clock, the life of a machine. */
#include "engine/chardev_host.h"
#include "engine/io.h"
#include "engine/apic/lapic.h"
#include "engine/run.h"
#include "tests/unit/fake_machine.h"

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
	static const struct io_ops echo = {.name = "echo", .read = echo_read, .write = echo_write};
	static const struct io_ops deaf = {.name = "deaf"};
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
	static const uint8_t rom[4096] = {1, 2, 3};
	struct error e = {0};
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
	CHECK(v->regs.gpr[R_BX] == 0 && *(uint32_t *)(v->vm->mem.ram_hva + 0x600) == 0);
	v->regs.gpr[R_BX] = *(uint32_t *)(v->vm->mem.ram_hva + 0x600) = 5;
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
			CHECK(v->regs.seg[SEG_CS].base == 0x8000 && v->regs.seg[SEG_CS].sel == 0x800 &&
			      v->regs.rip == 0);
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

/* vCPU 0, the first time: INIT and SIPI to all the others. */
static void start_others(struct vcpu *v)
{
	if (v->id == 0 && !(v->regs.rflags & FL_IF)) {
		v->regs.rflags |= FL_IF;
		vm_mmio_write(v, 0xfee000f0u, 4, 0x1ff);
		vm_mmio_write(v, 0xfee00300u, 4, 0xc4500);
		vm_mmio_write(v, 0xfee00300u, 4, 0xc4608);
	}
}

/* All vCPUs stop the world against each other. */
static void guest_world(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	start_others(v);
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
	struct error e;
	void *ra, *rb;

	CHECK(pthread_create(&ta, NULL, run_in_thread, a) == 0 && pthread_create(&tb, NULL, run_in_thread, b) == 0);
	pause_ms(20);
	CHECK(vm_pause(a, &e) == ST_OK);
	vm_resume(a);
	t0 = clock_ns(&a->clock);
	tsc0 = (int64_t)__builtin_ia32_rdtsc() + a->vcpu[0]->regs.tsc_offset;
	CHECK(vm_pause(a, &e) == ST_OK && vm_pause(a, NULL) == ST_OK);
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
	CHECK(vm_pause(a, &e) == ST_OK);
	vm_end(a, VM_STOPPED, 0, "enough");
	pthread_join(ta, &ra);
	pthread_join(tb, &rb);
	CHECK((uintptr_t)ra == VM_STOPPED && (uintptr_t)rb == VM_POWEROFF);
	vm_destroy(a);
	vm_destroy(b);
}

/* Guest code that no kick ends, until somebody says so: a host whose KVM_RUN does not come back. */
static void guest_deaf(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	atomic_fetch_add(&f->inside, 1);
	while (!atomic_load(&f->marks))
		pause_ms(1);
	atomic_fetch_sub(&f->inside, 1);
	x->reason = EXIT_KICK;
}

/* vCPU 0 does not listen, vCPU 1 needs the world stopped. */
static void guest_one_deaf(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	start_others(v);
	if (v->id == 0) {
		guest_deaf(v, x);
		return;
	}
	while (!atomic_load(&f->inside))
		pause_ms(1);
	vm_stop_others(v);
	atomic_fetch_add(&f->stops, !atomic_load(&f->inside));
	vm_resume_others(v);
	vm_end(v->vm, VM_POWEROFF, 0, NULL);
	x->reason = EXIT_KICK;
}

struct stall_log {
	struct fake *f;
	unsigned told, vcpu;
	char text[320];
};

/* The second time the deaf one hears. */
static void on_stall(void *ctx, struct vm *vm, unsigned vcpu, const char *text)
{
	struct stall_log *log = ctx;

	(void)vm;
	log->vcpu = vcpu;
	snprintf(log->text, sizeof(log->text), "%s", text);
	if (++log->told == 2)
		atomic_store(&log->f->marks, 1);
}

/* Nobody aborts because a vCPU does not come: a pause fails and the guest goes on, one that needs the world stopped waits and
 * tells, an end is a failure that names the vCPU. */
static void test_stalled(void)
{
	struct stall_log log = {0};
	struct error e = {0};
	struct fake f;
	pthread_t t;
	struct vm *vm = machine(1, &f, guest_deaf);
	uint64_t before;
	void *r;

	vm->cfg.stall_ms = 150;
	CHECK(pthread_create(&t, NULL, run_in_thread, vm) == 0);
	while (!atomic_load(&f.inside))
		pause_ms(1);
	CHECK(vm_pause(vm, &e) == ST_BUSY && strstr(e.msg, "vCPU 0") && strstr(e.msg, "on fake for 0.1 s"));
	before = clock_ns(&vm->clock);
	pause_ms(20);
	CHECK(clock_ns(&vm->clock) > before); /* not paused */
	atomic_store(&f.marks, 1);
	CHECK(vm_pause(vm, &e) == ST_OK && !atomic_load(&f.inside));
	vm_resume(vm);
	atomic_store(&f.marks, 0);
	while (!atomic_load(&f.inside))
		pause_ms(1);
	vm_end(vm, VM_STOPPED, 0, "enough");
	pthread_join(t, &r);
	CHECK((uintptr_t)r == VM_FAILED && vm->lost && strstr(vm->end_text, "vCPU 0") && strstr(vm->end_text, "fake"));
	/* here the process would end; had it lived on, the vCPU would find nothing missing */
	atomic_store(&f.marks, 1);
	vm_destroy(vm);

	vm = machine(2, &f, guest_one_deaf);
	vm->cfg.stall_ms = 100;
	vm->cfg.on_stall = on_stall;
	vm->cfg.on_stall_ctx = &log;
	log.f = &f;
	CHECK(vm_run(vm) == VM_POWEROFF && !vm->lost);
	CHECK(log.told == 2 && log.vcpu == 0 && strstr(log.text, "vCPU 0") && strstr(log.text, "0.2 s"));
	CHECK(atomic_load(&f.stops) == 1);
	vm_destroy(vm);
}

static void test_bad_config(void)
{
	struct vm_config cfg = {
		.ops = &fake_ops, .memory_bytes = 32ull << 20, .ncpus = 0, .debug_exit_port = -1, .flat = flat_file};
	struct error e = {0};
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
	CHECK(chardev_open("file:/nonexistent/x", &c, &e) == ST_IO &&
	      chardev_open("unix:/nonexistent/x", &c, &e) == ST_IO);
}

/* Everything that a guest can say to a device, whatever it means. */
static void test_any_access(void)
{
	static const uint64_t page[] = {0xfee00000u, 0xfec00000u, 0xfed00000u, 0xc0000000u,
					0xfffff000u, 0x1fff000u,  1ull << 40,  ~0xfffull};
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
			lapic_msr_write(v->lapic, 0x800 + (unsigned)rand() % 0x40, (uint64_t)rand());
	}
	CHECK(sum != 0);
	vm_destroy(vm);
}

int main(void)
{
	fake_begin();
	test_bus();
	test_mem();
	test_clock();
	test_reset_state();
	test_outcomes();
	test_sleep_and_messages();
	test_two_machines();
	test_stalled();
	test_bad_config();
	test_any_access();
	return fake_end();
}
