// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The board in a whole machine: devices answer at their ports, lines reach both interrupt controllers, and what a guest
 * can do to end or restart the machine ends or restarts it. The guest is a script in C behind a path of its own, so no
 * instruction is executed here. The last line is the tally.
 */
#include <unistd.h>

#include "engine/board.h"
#include "engine/board_map.h"
#include "engine/exec.h"
#include "engine/vm.h"

#include "tests/unit/device_test.h"

/* What a script gets to see: struct vcpu has no room for it, the path's own per-vCPU pointer has. */
struct script {
	void (*run)(struct vcpu *v);
	unsigned runs, irqs;
};

static enum status script_available(struct error *e)
{
	(void)e;
	return ST_OK;
}

static enum status script_init(struct vcpu *v, struct error *e)
{
	(void)v;
	(void)e;
	return ST_OK;
}

static void script_run(struct vcpu *v, struct exit *x)
{
	struct script *s = v->path[PATH_INTERP];

	s->runs++;
	s->run(v);
	while (!(atomic_load(&v->request) & REQ_EXIT))
		usleep(100);
	x->reason = EXIT_KICK;
}

static const struct exec_ops script_ops = {
	.name = "script",
	.what = "a test's own path",
	.available = script_available,
	.vcpu_init = script_init,
	.run = script_run,
};

static struct vm *make_vm(struct vm_config *cfg, struct script *s, char *file, struct error *e)
{
	static const uint8_t halt[] = {0xf4, 0xeb, 0xfd};
	struct vm *vm = NULL;
	int fd;

	strcpy(file, "/tmp/steelyard-board-XXXXXX");
	fd = mkstemp(file);
	if (fd < 0 || write(fd, halt, sizeof(halt)) != (ssize_t)sizeof(halt))
		abort();
	close(fd);
	cfg->memory_bytes = 64 << 20;
	cfg->ncpus = 1;
	cfg->ops = &script_ops;
	cfg->flat = file;
	cfg->flat_addr = 0x100000;
	if (vm_create(&vm, cfg, e) == ST_OK)
		vm->vcpu[0]->path[PATH_INTERP] = s;
	return vm;
}

static uint8_t in(struct vm *vm, uint16_t port)
{
	return (uint8_t)vm_pio_read(vm->vcpu[0], port, 1);
}

static void out(struct vm *vm, uint16_t port, uint8_t val)
{
	vm_pio_write(vm->vcpu[0], port, 1, val);
}

static void program_pic(struct vm *vm)
{
	static const uint8_t seq[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 0x04}, {0x21, 0x01},
					 {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 0x02}, {0xa1, 0x01}};

	for (unsigned i = 0; i < sizeof(seq) / sizeof(seq[0]); i++)
		out(vm, seq[i][0], seq[i][1]);
}

static uint32_t ioapic(struct vm *vm, uint32_t reg)
{
	vm_mmio_write(vm->vcpu[0], BOARD_IOAPIC_GPA, 4, reg);
	return (uint32_t)vm_mmio_read(vm->vcpu[0], BOARD_IOAPIC_GPA + 0x10, 4);
}

static void test_ports(struct tally *t)
{
	struct capture com, dbg;
	struct vm_config cfg = {.debug_exit_port = 0x3f6, .serial = NULL};
	struct error e = {0};
	struct script s = {0};
	char file[40];
	struct vm *vm = make_vm(&cfg, &s, file, &e);

	TRUE(vm != NULL);
	if (!vm) {
		printf("%s\n", e.msg);
		unlink(file);
		return;
	}
	capture_init(&com);
	capture_init(&dbg);
	vm->serial = &com.chr;
	vm->debugcon = &dbg.chr;
	board_connect(vm);
	out(vm, 0x3ff, 0x5a);
	EQ(in(vm, 0x3ff), 0x5a);
	EQ(in(vm, 0xe9), 0xe9);
	out(vm, 0xe9, '\n');
	out(vm, 0x3f8, '\n');
	EQ(dbg.n, 1);
	EQ(com.n, 1);
	out(vm, 0x80, 0x12);
	out(vm, 0xed, 0x34);
	EQ(in(vm, 0x5000), 0xff);
	EQ(vm_pio_read(vm->vcpu[0], 0x5000, 4) & 0xffffffffu, 0xffffffffu);
	vm_pio_write(vm->vcpu[0], 0xcf8, 4, 0x80000000u);
	EQ(vm_pio_read(vm->vcpu[0], 0xcf8, 4) & 0xffffffffu, 0x80000000u);
	EQ(vm_pio_read(vm->vcpu[0], 0xcfc, 4) & 0xffffffffu, 0x29c08086u);
	EQ(vm_mmio_read(vm->vcpu[0], BOARD_ECAM_GPA + 2, 2), 0x29c0u);
	vm_pio_write(vm->vcpu[0], 0xcf8, 4, 0x8000f800u);
	EQ(vm_pio_read(vm->vcpu[0], 0xcfc, 4) & 0xffffffffu, 0xffffffffu);
	out(vm, 0x70, 0x34);
	EQ(in(vm, 0x71), ((64 - 16) << 20) >> 16 & 0xff);
	EQ(in(vm, 0x92) & 2, 2);
	EQ(in(vm, 0x64) & 1, 0);
	EQ(in(vm, 0x4d1), 0x0e); /* the SCI and the two inputs of PCI */
	EQ(vm_pio_read(vm->vcpu[0], BOARD_PM1A_CNT_PORT, 2), 0);
	out(vm, BOARD_SMI_PORT, BOARD_ACPI_ENABLE);
	EQ(vm_pio_read(vm->vcpu[0], BOARD_PM1A_CNT_PORT, 2), 1);
	EQ(ioapic(vm, 1) >> 16, BOARD_IOAPIC_PINS - 1);
	/* a line reaches the 8259 */
	program_pic(vm);
	pthread_mutex_lock(&vm->dev_lock);
	board_isa_irq(vm, 4, true);
	pthread_mutex_unlock(&vm->dev_lock);
	TRUE(board_pic_intr(vm));
	EQ(board_pic_ack(vm), 0x24);
	/* the SCI, level-triggered, through the slave */
	out(vm, 0x20, 0x20);
	pthread_mutex_lock(&vm->dev_lock);
	TRUE(!board_power_button(vm)); /* nobody listens */
	pthread_mutex_unlock(&vm->dev_lock);
	vm_pio_write(vm->vcpu[0], BOARD_PM1A_EVT_PORT + 2, 2, 0x0100);
	TRUE(!board_pic_intr(vm));
	pthread_mutex_lock(&vm->dev_lock);
	TRUE(board_power_button(vm));
	pthread_mutex_unlock(&vm->dev_lock);
	TRUE(board_pic_intr(vm));
	EQ(board_pic_ack(vm), 0x29);
	out(vm, 0xa0, 0x20);
	out(vm, 0x20, 0x20);
	TRUE(board_pic_intr(vm));
	vm_pio_write(vm->vcpu[0], BOARD_PM1A_EVT_PORT, 2, 0x0100);
	TRUE(!board_pic_intr(vm));
	/* the debug exit fits into the two ports before COM1 */
	out(vm, 0x3f7, 5);
	EQ(atomic_load(&vm->outcome), VM_DEBUG_EXIT);
	EQ(atomic_load(&vm->exit_value), 5);
	vm->serial = vm->debugcon = NULL;
	board_connect(vm);
	vm_destroy(vm);
	unlink(file);
}

static void test_debug_exit_port(struct tally *t)
{
	static const struct {
		int port;
		bool ok;
	} row[] = {{-1, true},     {0xf4, true},   {0xffff, true},  {0x501, true},
		   {0x3f8, false}, {0xcf9, false}, {0x10000, false}};

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct vm_config cfg = {.debug_exit_port = row[i].port};
		struct error e = {0};
		struct script s = {0};
		char file[40];
		struct vm *vm = make_vm(&cfg, &s, file, &e);

		EQ(vm != NULL, row[i].ok);
		EQ(e.status, row[i].ok ? ST_OK : ST_INVALID);
		vm_destroy(vm);
		unlink(file); /* a reset loads it again */
	}
}

/* ---- scripts ---- */

static void run_poweroff(struct vcpu *v)
{
	vm_pio_write(v, BOARD_PM1A_CNT_PORT, 2, 0x2000 | BOARD_SLP_TYP_S5 << 10);
}

static void run_debug_exit(struct vcpu *v)
{
	vm_pio_write(v, 0xf4, 4, 0x21);
}

static void run_kbc_reset(struct vcpu *v)
{
	vm_pio_write(v, 0x64, 1, 0xfe);
}

/* The first life ends with a reset, the second finds the devices as new and powers off. */
static void run_reboot(struct vcpu *v)
{
	if (((struct script *)v->path[PATH_INTERP])->runs == 1) {
		vm_pio_write(v, 0x3ff, 1, 0x77);
		vm_pio_write(v, BOARD_RESET_PORT, 1, BOARD_RESET_VALUE);
	} else if (vm_pio_read(v, 0x3ff, 1) == 0) {
		run_poweroff(v);
	} else {
		vm_pio_write(v, 0xf4, 1, 99);
	}
}

/* Ten ticks of the PIT through the 8259 at 1 kHz, then off. */
static void run_ticks(struct vcpu *v)
{
	struct script *s = v->path[PATH_INTERP];

	program_pic(v->vm);
	vm_pio_write(v, 0x43, 1, 0x34);
	vm_pio_write(v, 0x40, 1, 1193 & 0xff);
	vm_pio_write(v, 0x40, 1, 1193 >> 8);
	for (unsigned i = 0; i < 100000 && s->irqs < 10; i++) {
		if (board_pic_intr(v->vm)) {
			s->irqs += board_pic_ack(v->vm) == 0x20;
			vm_pio_write(v, 0x20, 1, 0x20);
		}
		usleep(100);
	}
	run_poweroff(v);
}

static void test_ends(struct tally *t)
{
	static const struct {
		void (*run)(struct vcpu *v);
		bool no_reboot;
		enum vm_outcome outcome;
		int value;
		unsigned runs, irqs;
	} row[] = {
		{run_poweroff, false, VM_POWEROFF, 0, 1, 0},      {run_debug_exit, false, VM_DEBUG_EXIT, 0x21, 1, 0},
		{run_kbc_reset, true, VM_RESET_REQUEST, 0, 1, 0}, {run_reboot, false, VM_POWEROFF, 0, 2, 0},
		{run_ticks, false, VM_POWEROFF, 0, 1, 10},
	};

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct vm_config cfg = {.debug_exit_port = 0xf4, .no_reboot = row[i].no_reboot};
		struct error e = {0};
		struct script s = {.run = row[i].run};
		char file[40];
		struct vm *vm;

		vm = make_vm(&cfg, &s, file, &e);
		TRUE(vm != NULL);
		if (!vm) {
			unlink(file);
			continue;
		}
		EQ(vm_run(vm), row[i].outcome);
		EQ(atomic_load(&vm->exit_value), row[i].value);
		EQ(s.runs, row[i].runs);
		EQ(s.irqs, row[i].irqs);
		vm_destroy(vm);
		unlink(file); /* a reset loads it again */
	}
}

int main(void)
{
	void (*const tests[])(struct tally *) = {test_ports, test_debug_exit_port, test_ends};
	struct tally tally = {0};

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i](&tally);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
