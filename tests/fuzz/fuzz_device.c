/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: what a guest reaches without executing anything clever - every port, every device page, the local APICs,
 * the MSRs, CPUID - on the whole board, with time going on and bytes coming in on the serial line. Two vCPUs, virtual
 * time, one thread: the input is a list of operations, and the same input does the same again.
 *
 * Besides not crashing (the sanitizers look on), the devices have to
 *  - leave no timer that is due behind once all due ones have fired: the I/O thread would not sleep again;
 *  - deliver no interrupt with a vector that there is not;
 *  - refuse no byte for which they had said that there is room, and survive a reset in whatever state they are.
 *
 * An operation is a byte, the kind in its low half, then: bits 4-5 the size 1 << k (ports: at most 4), bit 6 the vCPU,
 * bit 7: the address is any, not one that a device claims. Address and value follow; what the input lacks is zero.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/board_map.h"
#include "engine/exec.h"
#include "engine/apic/lapic.h"
#include "engine/msr.h"
#include "engine/vm.h"
#include "tests/fuzz/fuzz.h"

enum op {
	OP_IN,
	OP_OUT,
	OP_OUT_AGAIN, /* to the same port as the last one: sequences of bytes are what most chips want */
	OP_MMIO_READ,
	OP_MMIO_WRITE,
	OP_RDMSR,
	OP_WRMSR,
	OP_CPUID,
	OP_TIME, /* goes on by 1 << k ns and a bit */
	OP_DEADLINE, /* goes on to the next timer's */
	OP_SERIAL, /* so many bytes come in */
	OP_INTERRUPT, /* the vCPU takes one */
	OP_CR8,
	OP_BUTTON,
	OP_LINE, /* drives an ISA line */
	OP_RESET,
};

#define CPUS 2u
#define PORTS_MAX 512u
#define OPS_MAX 4096u
#define TIME_SHIFT_MAX 38u /* four minutes and a half */
#define ROUNDS_MAX 4u
#define MEMORY_BYTES MEM_MIN_BYTES

struct input {
	const uint8_t *p;
	size_t left;
};

struct machine {
	struct vm *vm;
	struct chardev serial, debugcon;
	uint64_t now, sum;
	uint16_t port[PORTS_MAX]; /* that a device claims */
	unsigned nports;
	uint16_t last_port;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t val = 0;

	for (unsigned k = 0; k < bytes && in->left; k++, in->left--)
		val |= (uint64_t)*in->p++ << 8 * k;
	return val;
}

/* ---- a machine without a path ---- */

static enum status no_path(struct error *e)
{
	(void)e;
	return ST_OK;
}

static enum status no_vcpu(struct vcpu *v, struct error *e)
{
	(void)v, (void)e;
	return ST_OK;
}

static void no_run(struct vcpu *v, struct exit *x)
{
	(void)v;
	x->reason = EXIT_KICK;
}

static const struct exec_ops no_ops = {
	.name = "none", .what = "a test's own path", .available = no_path, .vcpu_init = no_vcpu, .run = no_run};

static void sum_bytes(struct chardev *c, const uint8_t *buf, unsigned len)
{
	uint64_t *sum = c->backend;

	for (unsigned k = 0; k < len; k++) /* the sanitizers look where they come from */
		*sum += buf[k];
}

static struct machine *machine_new(void)
{
	static const uint8_t hlt = 0xf4;
	struct machine *m = calloc(1, sizeof(*m));
	char image[64];
	struct vm_config cfg = {.memory_bytes = MEMORY_BYTES,
				.ncpus = CPUS,
				.debug_exit_port = BOARD_DEBUG_EXIT_PORT,
				.flat = image,
				.flat_addr = 0x8000,
				.ops = &no_ops,
				.virtual_time = true};
	int fd = memfd_create("fuzz-image", 0);
	struct error e;

	if (!m || fd < 0 || write(fd, &hlt, 1) != 1)
		FUZZ_FAIL("no machine");
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
	m->serial = m->debugcon = (struct chardev){.write = sum_bytes, .backend = &m->sum};
	if (vm_create(&m->vm, &cfg, &e) != ST_OK)
		FUZZ_FAIL("%s", e.msg);
	close(fd);
	m->vm->serial = &m->serial;
	m->vm->debugcon = &m->debugcon;
	board_connect(m->vm);
	for (unsigned k = 0; k < m->vm->pio.nranges; k++)
		for (uint64_t n = 0; n < m->vm->pio.range[k].len && m->nports < PORTS_MAX; n++)
			m->port[m->nports++] = (uint16_t)(m->vm->pio.range[k].base + n);
	return m;
}

static void machine_reset(struct machine *m)
{
	pthread_mutex_lock(&m->vm->dev_lock);
	board_reset(m->vm);
	pthread_mutex_unlock(&m->vm->dev_lock);
	for (unsigned k = 0; k < CPUS; k++)
		vcpu_reset(m->vm->vcpu[k], false);
	atomic_store(&m->vm->outcome, VM_RUNNING);
}

/* ---- operations ---- */

static void run_timers(struct machine *m)
{
	uint64_t next = 0;

	clock_set_virtual(&m->vm->clock, m->now);
	pthread_mutex_lock(&m->vm->dev_lock);
	for (unsigned k = 0; k < ROUNDS_MAX && next <= m->now; k++)
		next = clock_run_timers(&m->vm->clock);
	pthread_mutex_unlock(&m->vm->dev_lock);
	if (next <= m->now)
		FUZZ_FAIL("a timer is due again at %llu ns, and it is %llu ns", (unsigned long long)next,
			  (unsigned long long)m->now);
}

static void serial_in(struct machine *m, struct input *in, unsigned n)
{
	uint8_t buf[16];
	unsigned room;

	for (unsigned k = 0; k < n; k++)
		buf[k] = (uint8_t)take(in, 1);
	pthread_mutex_lock(&m->vm->dev_lock);
	room = m->serial.can_receive ? m->serial.can_receive(m->serial.dev) : 0;
	if (room && n)
		m->serial.receive(m->serial.dev, buf, n < room ? n : room);
	pthread_mutex_unlock(&m->vm->dev_lock);
}

static uint64_t device_page(const struct machine *m, const struct vcpu *v, unsigned which)
{
	const struct bus *b = &m->vm->mmio;
	uint64_t lapic = lapic_mmio_gpa(v->lapic);

	which %= b->nranges + 2;
	if (which < b->nranges)
		return b->range[which].base;
	if (which > b->nranges)
		return BOARD_ECAM_GPA;
	return lapic == UINT64_MAX ? BOARD_LAPIC_GPA : lapic;
}

static uint64_t mmio_address(struct machine *m, const struct vcpu *v, struct input *in, bool any)
{
	uint64_t where = take(in, any ? 5 : 2);

	return any ? where : device_page(m, v, (unsigned)(where >> 12)) + (where & 0xfff);
}

static uint32_t msr_index(struct input *in, bool any)
{
	uint32_t n = (uint32_t)take(in, any ? 4 : 1), index = 0, rows = 0;
	const char *name;

	if (any)
		return n;
	while (msr_row(rows, &index, &name))
		rows++;
	msr_row(n % rows, &index, &name);
	return index;
}

static void interrupt(struct vcpu *v)
{
	int vector;

	if (!vcpu_interrupt_pending(v))
		return;
	vector = vcpu_take_interrupt(v);
	if (vector < -1 || vector > 255)
		FUZZ_FAIL("interrupt with vector %d", vector);
}

static uint16_t any_port(const struct machine *m, struct input *in, bool any)
{
	return any ? (uint16_t)take(in, 2) : m->port[take(in, 1) % m->nports];
}

static void operate(struct machine *m, struct input *in)
{
	uint8_t code = (uint8_t)take(in, 1);
	struct vcpu *v = m->vm->vcpu[code >> 6 & 1];
	unsigned size = 1u << (code >> 4 & 3), port_size = size > 4 ? 4 : size;
	bool any = code & 0x80;
	uint32_t out[4];
	uint64_t a;

	switch ((enum op)(code & 15)) {
	case OP_IN:
		vm_pio_read(v, any_port(m, in, any), port_size);
		break;
	case OP_OUT:
		m->last_port = any_port(m, in, any);
		/* fall through */
	case OP_OUT_AGAIN:
		vm_pio_write(v, m->last_port, port_size, take(in, port_size));
		break;
	case OP_MMIO_READ:
		vm_mmio_read(v, mmio_address(m, v, in, any), size);
		break;
	case OP_MMIO_WRITE:
		a = mmio_address(m, v, in, any);
		vm_mmio_write(v, a, size, take(in, size));
		break;
	case OP_RDMSR:
		msr_read(v, msr_index(in, any), &a);
		break;
	case OP_WRMSR:
		a = msr_index(in, any);
		msr_write(v, (uint32_t)a, take(in, size));
		break;
	case OP_CPUID:
		a = take(in, 4);
		cpuid_query(v, (uint32_t)a, (uint32_t)take(in, 1), out);
		break;
	case OP_TIME:
		a = take(in, 1);
		m->now += (1ull << a % TIME_SHIFT_MAX) + a;
		run_timers(m);
		break;
	case OP_DEADLINE:
		if (m->vm->clock.nheap && m->vm->clock.heap[0]->deadline_ns - m->now < 1ull << TIME_SHIFT_MAX)
			m->now = m->vm->clock.heap[0]->deadline_ns;
		run_timers(m);
		break;
	case OP_SERIAL:
		serial_in(m, in, (code >> 4) + 1);
		break;
	case OP_INTERRUPT:
		interrupt(v);
		break;
	case OP_CR8:
		lapic_set_cr8(v->lapic, take(in, 1) & 15);
		break;
	case OP_BUTTON:
		pthread_mutex_lock(&m->vm->dev_lock);
		board_power_button(m->vm);
		pthread_mutex_unlock(&m->vm->dev_lock);
		break;
	case OP_LINE:
		pthread_mutex_lock(&m->vm->dev_lock);
		board_isa_irq(m->vm, code >> 4 & 15, take(in, 1) & 1);
		pthread_mutex_unlock(&m->vm->dev_lock);
		break;
	case OP_RESET:
		machine_reset(m);
		break;
	}
}

/* What the vCPUs' threads would do between two runs of guest code, and the main thread when the machine has ended. */
static void between(struct machine *m)
{
	if (atomic_load(&m->vm->outcome) != VM_RUNNING)
		machine_reset(m);
	for (unsigned k = 0; k < CPUS; k++) {
		struct vcpu *v = m->vm->vcpu[k];
		struct lapic_startup s;

		atomic_store(&v->request, 0);
		s = lapic_take_startup(v->lapic);
		if (s.init)
			vcpu_reset(v, true);
	}
}

static struct machine *kept;

/* LeakSanitizer does not look into the mapping of a vCPU, where its APIC hangs. */
static void machine_free(void)
{
	vm_destroy(kept->vm);
	free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.p = data, .left = size};
	struct machine *m = kept;

	if (!m) {
		m = kept = machine_new();
		atexit(machine_free);
	}
	m->last_port = 0;
	machine_reset(m);
	for (unsigned k = 0; in.left && k < OPS_MAX; k++) {
		operate(m, &in);
		between(m);
	}
	return 0;
}
