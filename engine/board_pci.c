// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * PCI on the board. The bus gets what no other device claims, ports and memory alike. A message goes to the local APICs
 * (SDM 3A 10.11), an INTx line to the I/O APIC and to the 8259 pair at once, as the ISA lines do. Devices that interrupt
 * from a worker ask the I/O thread to drive the line: it is one of its sources.
 */
#include "engine/board_pci.h"

#include "engine/devices.h"
#include "engine/dirty.h"
#include "engine/io.h"
#include "engine/apic/ioapic.h"
#include "engine/apic/lapic.h"
#include "engine/pci/pci_host.h"
#include "engine/pci/pci_isa.h"
#include "engine/pc/pic8259.h"
#include "engine/vm.h"

/* Message address and data (SDM 3A 10.11.1, 10.11.2) */
#define MSI_ADDRESS_MASK 0xfffffffffff00000ull
#define MSI_ADDRESS 0xfee00000u
#define MSI_LOGICAL 0x4u
#define MSI_LEVEL 0x8000u

static void send_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct board_pci *p = ctx;

	if ((address & MSI_ADDRESS_MASK) != MSI_ADDRESS)
		return;
	lapic_send(p->vm, (uint8_t)data, (enum apic_delivery)(data >> 8 & 7), address & MSI_LOGICAL,
		   address >> 12 & 0xff, data & MSI_LEVEL, false);
}

/* A device has written to memory: decoded code there is stale. The paths that decode share one codemap. */
static void on_wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	struct vm *vm = ctx;
	unsigned begun = __atomic_load_n(&vm->paths_begun, __ATOMIC_ACQUIRE);

	dirty_mark(vm, gpa, len);
	for (unsigned p = 0; p < PATH_COUNT; p++)
		if ((begun & 1u << p) && vm->paths[p]->mem_dirty) {
			vm->paths[p]->mem_dirty(vm, gpa, len);
			return;
		}
}

static void set_line(void *ctx, unsigned n, bool level)
{
	struct board_pci *p = ctx;
	unsigned irq = BOARD_PCI_IRQ(n), *count = &p->pic_count[irq - BOARD_PCI_IRQ_FIRST];

	ioapic_set_pin(p->ioapic, BOARD_PCI_GSI + n, level);
	*count += level ? 1 : -1u;
	if (*count == level)
		pic_set_line(p->pic, irq, level);
}

/* RAM and the board's own devices come before what is on PCI. */
static void set_doorbells(void *ctx, const struct doorbell *list, unsigned n)
{
	struct board_pci *p = ctx;
	struct doorbell open[BUS_MAX_DOORBELLS];
	unsigned left = 0;

	for (unsigned i = 0; i < n; i++)
		if (!mem_ram(&p->vm->mem, list[i].gpa, 1) && !bus_claimed(&p->vm->mmio, list[i].gpa))
			open[left++] = list[i];
	doorbells_set(&p->vm->doorbells, open, left);
}

static uint8_t line_name(unsigned n)
{
	return BOARD_PCI_IRQ(n);
}

static void wake(void *ctx)
{
	struct board_pci *p = ctx;

	if (p->vm->io)
		io_wake(p->vm->io);
}

static void source_prepare(void *ctx, struct pollfd *fd)
{
	struct board_pci *p = ctx;

	(void)fd;
	if (atomic_load(&p->bus.intx_asked))
		pci_intx_update(&p->bus);
}

static void source_ready(void *ctx, const struct pollfd *fd)
{
	(void)ctx, (void)fd; /* prepare comes next */
}

static void tell_disk(void *ctx, const char *text)
{
	struct vm *vm = ctx;

	if (vm->cfg.on_disk)
		vm->cfg.on_disk(vm->cfg.on_disk_ctx, vm, text);
}

enum status board_pci_init(struct board_pci *p, struct vm *vm, struct pic *pic, struct ioapic *ioapic, struct error *e)
{
	const struct pci_bus_config cfg = {
		.msi = send_msi, .intx = set_line, .intx_wake = wake, .intx_name = line_name, .doorbells = set_doorbells, .ctx = p};
	const struct io_source source = {.prepare = source_prepare, .ready = source_ready, .ctx = p};
	struct devices_env env;
	enum status st;

	p->vm = vm;
	p->pic = pic;
	p->ioapic = ioapic;
	pci_bus_init(&p->bus, &cfg);
	bus_set_rest(&vm->mmio, &pci_mem_ops, &p->bus);
	bus_set_rest(&vm->pio, &pci_io_ops, &p->bus);
	if (vm->io)
		io_add(vm->io, &source);
	p->dma = (struct dma){.mem = &vm->mem, .wrote = on_wrote, .ctx = vm};
	st = pci_host_add(&p->bus, e);
	if (st == ST_OK && vm->cfg.bios)
		st = pci_isa_add(&p->bus, BOARD_PM_PORT, e);
	if (st != ST_OK)
		return st;
	env = (struct devices_env){.dma = &p->dma, .ncpus = vm->cfg.ncpus, .disk_tell = {tell_disk, vm}};
	return devices_add(&p->bus, &env, vm->cfg.devices, vm->cfg.ndevices, e);
}

void board_pci_fini(struct board_pci *p)
{
	pci_bus_fini(&p->bus);
}

void board_pci_reset(struct board_pci *p)
{
	pci_reset(&p->bus);
}

void board_pci_place(struct board_pci *p)
{
	const struct pci_ranges ranges = {
		.mem_base = BOARD_PCI_MEM_GPA,
		.mem_end = BOARD_PCI_MEM_GPA + (uint64_t)BOARD_PCI_MEM_BYTES,
		.io_base = BOARD_PCI_IO_PORT,
		.io_end = BOARD_PCI_IO_PORT + BOARD_PCI_IO_LEN,
	};

	pci_host_set_ecam(&p->bus, BOARD_ECAM_GPA);
	pci_place(&p->bus, &ranges);
	for (unsigned i = 0; i < BOARD_PCI_IRQS; i++) {
		unsigned irq = BOARD_PCI_IRQ_FIRST + i;
		uint8_t elcr = (uint8_t)pic_elcr_ops.read(p->pic, irq / 8, 1);

		pic_elcr_ops.write(p->pic, irq / 8, 1, elcr | 1u << irq % 8);
	}
}
