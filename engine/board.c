// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The board: the one place that knows which device is where and which line goes to whom.
 *
 * Rows of one table put devices on the two buses. An ISA interrupt line drives an input of the 8259 pair and a pin of
 * the I/O APIC at the same time; which of the two the guest listens to is its own affair (Intel MP specification 3.6.2,
 * "mixed" wiring). INTR of the pair goes to the boot processor's LINT0.
 *
 * Ends of the machine (power-off, reset, debug exit) are reported with vm_end, after waiting console output has left.
 */
#include "engine/board.h"

#include <stddef.h>
#include <stdlib.h>

#include "engine/pc/acpi_pm.h"
#include "engine/board_map.h"
#include "engine/board_pci.h"
#include "engine/load/boot.h"
#include "engine/pc/debugport.h"
#include "engine/pc/fwcfg.h"
#include "engine/pc/i8042.h"
#include "engine/apic/ioapic.h"
#include "engine/pc/pciconf.h"
#include "engine/pc/pflash.h"
#include "engine/pc/pic8259.h"
#include "engine/pc/pit8254.h"
#include "engine/pc/port92.h"
#include "engine/pc/rtc.h"
#include "engine/switch.h"
#include "engine/pc/uart16550.h"
#include "engine/pc/vga.h"
#include "engine/vm.h"

struct board {
	struct vm *vm;
	struct pic *pic;
	struct ioapic *ioapic;
	struct pit *pit;
	struct rtc *rtc;
	struct i8042 *kbc;
	struct acpi_pm *pm;
	struct uart *com1;
	struct port92 *port92;
	struct pciconf *pciconf;
	struct debugport *debug, *firmware_log; /* the same device, or NULL */
	struct fwcfg *fwcfg;		        /* with firmware */
	struct vga *vga;		        /* with firmware */
	struct pflash *flash;	        /* with firmware that keeps variables */
	bool a20; /* the gate; open at power-on, when no firmware runs that would open it */
	struct port92 port92_state;
	struct pciconf pciconf_state;
	struct board_pci pci;
	struct debugport debug_state;
};

enum board_bus { ON_PIO, ON_MMIO };

struct board_row {
	enum board_bus bus;
	uint64_t base, len;
	const struct io_ops *ops;
	size_t dev; /* offset of the pointer in struct board */
};

#define DEV(field) offsetof(struct board, field)
static const struct board_row board_rows[] = {
	{ON_PIO, BOARD_PIC1_PORT, BOARD_PIC_LEN, &pic_master_ops, DEV(pic)},
	{ON_PIO, BOARD_PIC2_PORT, BOARD_PIC_LEN, &pic_slave_ops, DEV(pic)},
	{ON_PIO, BOARD_ELCR_PORT, BOARD_ELCR_LEN, &pic_elcr_ops, DEV(pic)},
	{ON_PIO, BOARD_PIT_PORT, BOARD_PIT_LEN, &pit_ops, DEV(pit)},
	{ON_PIO, BOARD_PORT61_PORT, 1, &pit_port61_ops, DEV(pit)},
	{ON_PIO, BOARD_KBC_DATA_PORT, 1, &i8042_data_ops, DEV(kbc)},
	{ON_PIO, BOARD_KBC_CMD_PORT, 1, &i8042_cmd_ops, DEV(kbc)},
	{ON_PIO, BOARD_RTC_PORT, BOARD_RTC_LEN, &rtc_ops, DEV(rtc)},
	{ON_PIO, BOARD_POST_PORT, 1, &debugport_post_ops, DEV(debug)},
	{ON_PIO, BOARD_DELAY_PORT, 1, &debugport_post_ops, DEV(debug)},
	{ON_PIO, BOARD_DEBUGCON_PORT, 1, &debugport_console_ops, DEV(debug)},
	{ON_PIO, BOARD_FIRMWARE_LOG_PORT, 1, &debugport_console_ops, DEV(firmware_log)},
	{ON_PIO, BOARD_FWCFG_PORT, BOARD_FWCFG_LEN, &fwcfg_ops, DEV(fwcfg)},
	{ON_PIO, BOARD_VGA_PORT, BOARD_VGA_LEN, &vga_ops, DEV(vga)},
	{ON_PIO, BOARD_PORT92_PORT, 1, &port92_ops, DEV(port92)},
	{ON_PIO, BOARD_SMI_PORT, BOARD_SMI_LEN, &acpi_smi_ops, DEV(pm)},
	{ON_PIO, BOARD_PM_PORT, BOARD_PM_LEN, &acpi_pm_ops, DEV(pm)},
	{ON_PIO, BOARD_COM1_PORT, BOARD_COM1_LEN, &uart_ops, DEV(com1)},
	{ON_PIO, BOARD_PCI_ADDR_PORT, 8, &pciconf_ops, DEV(pciconf)},
	{ON_MMIO, BOARD_IOAPIC_GPA, BOARD_IOAPIC_BYTES, &ioapic_ops, DEV(ioapic)},
};

/* ---- wires ---- */

static void isa_set_line(void *ctx, unsigned irq, bool level)
{
	struct board *b = ctx;

	pic_set_line(b->pic, irq, level);
	ioapic_set_pin(b->ioapic, irq == BOARD_IRQ_PIT ? BOARD_PIT_GSI : irq, level);
}

static struct irq_line isa_line(struct board *b, unsigned irq)
{
	return (struct irq_line){.set = isa_set_line, .ctx = b, .n = irq};
}

static bool pit_heard(void *ctx, unsigned n)
{
	const struct board *b = ctx;

	(void)n;
	return pic_hears_ir0(b->pic) || ioapic_hears(b->ioapic);
}

static void intr_changed(void *ctx, bool level)
{
	struct board *b = ctx;

	if (level && b->vm->vcpu[0])
		vcpu_kick(b->vm->vcpu[0], REQ_EVENT);
}

static void flush_output(struct board *b)
{
	if (b->com1)
		uart_flush(b->com1);
	outbuf_flush(&b->debug_state.console);
}

static void on_reset(void *ctx)
{
	struct board *b = ctx;

	flush_output(b);
	vm_end(b->vm, VM_RESET_REQUEST, 0, NULL);
}

static void on_power_off(void *ctx)
{
	struct board *b = ctx;

	flush_output(b);
	vm_end(b->vm, VM_POWEROFF, 0, NULL);
}

static void on_debug_exit(void *ctx, uint32_t value)
{
	struct board *b = ctx;

	flush_output(b);
	vm_end(b->vm, VM_DEBUG_EXIT, (int)value, NULL);
}

static void on_selected(void *ctx, const char *name)
{
	struct board *b = ctx;

	bios_selected(b->vm, name);
}

static void on_ram_written(void *ctx, uint64_t gpa, uint64_t len)
{
	struct board *b = ctx;

	switch_ram_written(b->vm, gpa, len);
}

/* ---- life ---- */

static bool make_devices(struct board *b)
{
	struct vm *vm = b->vm;
	struct i8042_config kbc = {
		.kbd = isa_line(b, BOARD_IRQ_KBD),
		.aux = isa_line(b, BOARD_IRQ_AUX),
		.clock = &vm->clock,
		.a20 = &b->a20,
		.reset = on_reset,
		.ctx = b,
	};
	struct acpi_pm_config pm = {
		.smi_enable = BOARD_ACPI_ENABLE,
		.smi_disable = BOARD_ACPI_DISABLE,
		.slp_typ_s5 = BOARD_SLP_TYP_S5,
		.power_off = on_power_off,
		.ctx = b,
	};

	/* The interrupt controllers first: the others set their lines while they are made. */
	b->pic = pic_new(intr_changed, b);
	b->ioapic = ioapic_new(vm, BOARD_IOAPIC_ID);
	if (!b->pic || !b->ioapic)
		return false;
	b->pit = pit_new(&vm->clock,
			 (struct irq_line){.set = isa_set_line, .heard = pit_heard, .ctx = b, .n = BOARD_IRQ_PIT});
	b->rtc = rtc_new(&vm->clock, isa_line(b, BOARD_IRQ_RTC), NULL, NULL);
	b->kbc = i8042_new(&kbc);
	b->pm = acpi_pm_new(&vm->clock, isa_line(b, BOARD_IRQ_SCI), &pm);
	b->com1 = uart_new(&vm->clock, isa_line(b, BOARD_IRQ_COM1));
	if (vm->cfg.bios) {
		struct fwcfg_config fwcfg = {.mem = &vm->mem, .ram_written = on_ram_written, .selected = on_selected, .ctx = b};

		b->fwcfg = fwcfg_new(&fwcfg);
		b->vga = vga_new(&vm->clock, &vm->mem);
		if (!b->fwcfg || !b->vga)
			return false;
		/* Its log would be in the way on a line that people read. */
		b->firmware_log = vm->debugcon != vm->serial ? b->debug : NULL;
	}
	if (b->pit) {
		pic_watch_ir0(b->pic, pit_ended, b->pit);
		ioapic_watch(b->ioapic, BOARD_PIT_GSI, pit_ended, b->pit);
	}
	return b->pit && b->rtc && b->kbc && b->pm && b->com1;
}

/* Does [base, base+len) touch a device's ports? */
static bool port_taken(uint64_t base, uint64_t len)
{
	for (unsigned i = 0; i < ARRAY_LEN(board_rows); i++) {
		const struct board_row *r = &board_rows[i];

		if (r->bus == ON_PIO && base < r->base + r->len && r->base < base + len)
			return true;
	}
	return false;
}

static enum status add_debug_exit(struct board *b, struct error *e)
{
	int port = b->vm->cfg.debug_exit_port;
	uint64_t len = BOARD_DEBUG_EXIT_LEN;

	if (port < 0)
		return ST_OK;
	if (port > 0xffff)
		return error_set(e, ST_INVALID, "debug exit port 0x%x: ports end at 0xffff", (unsigned)port);
	/* Four ports so that a 32-bit write arrives whole, fewer where something else follows. */
	while (len > 1 && ((uint64_t)port + len > 0x10000 || port_taken((uint64_t)port, len)))
		len--;
	if (port_taken((uint64_t)port, len))
		return error_set(e, ST_INVALID,
				 "debug exit port 0x%x belongs to another device: choose another, for example 0x%x",
				 (unsigned)port, (unsigned)BOARD_DEBUG_EXIT_PORT);
	bus_add(&b->vm->pio, (uint64_t)port, len, &debugport_exit_ops, b->debug);
	return ST_OK;
}

/* Right below the firmware's image, where its build has put it. */
static enum status add_flash(struct board *b, struct error *e)
{
	const struct vm_config *cfg = &b->vm->cfg;
	uint64_t rom, bytes;
	enum status st;

	if (!cfg->bios || !cfg->bios_vars_template)
		return ST_OK;
	if ((st = boot_file_size(cfg->bios, "the firmware", &rom, e)) != ST_OK ||
	    (st = pflash_new(cfg->bios_vars_template, cfg->bios_vars, &b->flash, e)) != ST_OK)
		return st;
	bytes = pflash_bytes(b->flash);
	rom = (rom + PFLASH_BLOCK - 1) & ~(uint64_t)(PFLASH_BLOCK - 1);
	if (rom + bytes > BOARD_FIRMWARE_MAX)
		return error_set(e, ST_TOO_BIG, "the firmware '%s' and its variables are more than %uM", cfg->bios, BOARD_FIRMWARE_MAX >> 20);
	bus_add(&b->vm->mmio, MEM_HOLE_END - rom - bytes, bytes, &pflash_ops, b->flash);
	return ST_OK;
}

static uint32_t pci_cycle_read(void *bus, unsigned nr, unsigned devfn, unsigned off, unsigned size)
{
	return pci_config_read(bus, nr, devfn, off, size);
}

static void pci_cycle_write(void *bus, unsigned nr, unsigned devfn, unsigned off, unsigned size, uint32_t val)
{
	pci_config_write(bus, nr, devfn, off, size, val);
}

static enum status connect_pci(struct board *b, struct error *e)
{
	b->pciconf->read = pci_cycle_read;
	b->pciconf->write = pci_cycle_write;
	b->pciconf->bus = &b->pci.bus;
	return board_pci_init(&b->pci, b->vm, b->pic, b->ioapic, e);
}

static void tell_sizes(struct board *b)
{
	uint64_t gpa, len, low = 0, high = 0;

	for (unsigned i = 0; mem_ram_piece(&b->vm->mem, i, &gpa, &len); i++) {
		if (gpa >= MEM_HOLE_END)
			high += len;
		else if (gpa + len > low)
			low = gpa + len;
	}
	rtc_set_sizes(b->rtc, low, high, b->vm->ncpus ? b->vm->ncpus : b->vm->cfg.ncpus);
}

void board_connect(struct vm *vm)
{
	uart_attach(vm->board->com1, vm->serial);
	vm->board->debug->console.chr = vm->debugcon;
}

enum status board_create(struct vm *vm, struct error *e)
{
	struct board *b = calloc(1, sizeof(*b));
	enum status st;

	if (!b)
		return error_set(e, ST_NO_MEMORY, "no memory for the board's devices");
	vm->board = b;
	b->vm = vm;
	b->port92 = &b->port92_state;
	b->pciconf = &b->pciconf_state;
	b->debug = &b->debug_state;
	b->a20 = true;
	port92_init(b->port92, &b->a20, on_reset, b);
	pciconf_init(b->pciconf, on_reset, b);
	debugport_init(b->debug, &vm->clock, on_debug_exit, b);
	if (!make_devices(b)) {
		board_free(vm);
		return error_set(e, ST_NO_MEMORY, "no memory for the board's devices");
	}
	for (unsigned i = 0; i < ARRAY_LEN(board_rows); i++) {
		const struct board_row *r = &board_rows[i];

		void *dev = *(void **)((char *)b + r->dev);

		if (dev)
			bus_add(r->bus == ON_PIO ? &vm->pio : &vm->mmio, r->base, r->len, r->ops, dev);
	}
	st = add_debug_exit(b, e);
	if (st == ST_OK)
		st = add_flash(b, e);
	if (st == ST_OK)
		st = connect_pci(b, e);
	if (st != ST_OK) {
		board_free(vm);
		return st;
	}
	tell_sizes(b);
	board_connect(vm);
	board_reset(vm);
	return ST_OK;
}

void board_free(struct vm *vm)
{
	struct board *b = vm->board;

	if (!b)
		return;
	pflash_free(b->flash);
	vga_free(b->vga);
	fwcfg_free(b->fwcfg);
	board_pci_fini(&b->pci);
	uart_free(b->com1);
	acpi_pm_free(b->pm);
	i8042_free(b->kbc);
	rtc_free(b->rtc);
	pit_free(b->pit);
	ioapic_free(b->ioapic);
	pic_free(b->pic);
	debugport_fini(b->debug);
	vm->board = NULL;
	free(b);
}

void board_reset(struct vm *vm)
{
	struct board *b = vm->board;

	flush_output(b);
	/* Controllers first: the devices then drive their lines low into a clean state. */
	pic_reset(b->pic);
	ioapic_reset(b->ioapic);
	pit_reset(b->pit);
	rtc_reset(b->rtc);
	i8042_reset(b->kbc);
	acpi_pm_reset(b->pm);
	uart_reset(b->com1);
	if (b->fwcfg) {
		fwcfg_reset(b->fwcfg);
		vga_reset(b->vga);
	}
	if (b->flash)
		pflash_reset(b->flash);
	b->a20 = true;
	port92_reset(b->port92);
	pciconf_reset(b->pciconf);
	board_pci_reset(&b->pci);
	b->debug->post = 0;
	/* What firmware does before it starts an operating system: the SCI is level-triggered in the 8259 too. */
	pic_elcr_ops.write(b->pic, BOARD_IRQ_SCI / 8, 1, 1u << BOARD_IRQ_SCI % 8);
}

void board_stop_devices(struct vm *vm)
{
	board_pci_reset(&vm->board->pci);
}

void board_place_pci(struct vm *vm)
{
	if (vm->board)
		board_pci_place(&vm->board->pci);
}

struct pic *board_pic(struct vm *vm)
{
	return vm->board->pic;
}

bool board_pic_intr(struct vm *vm)
{
	return pic_intr(vm->board->pic);
}

int board_pic_ack(struct vm *vm)
{
	int vector;

	pthread_mutex_lock(&vm->dev_lock);
	vector = pic_ack(vm->board->pic);
	pthread_mutex_unlock(&vm->dev_lock);
	return vector;
}

bool board_power_button(struct vm *vm)
{
	bool heard = acpi_pm_button_heard(vm->board->pm);

	if (heard)
		acpi_pm_power_button(vm->board->pm);
	return heard;
}

void board_isa_irq(struct vm *vm, unsigned irq, bool level)
{
	if (irq < BOARD_ISA_IRQS)
		isa_set_line(vm->board, irq, level);
}

struct fwcfg *board_fwcfg(struct vm *vm)
{
	return vm->board->fwcfg;
}

uint16_t board_pci_class(struct vm *vm, unsigned slot)
{
	return (uint16_t)pci_config_read(&vm->board->pci.bus, 0, slot << 3, PCI_CLASS + 1, 2);
}

uint64_t board_pci_map(struct vm *vm, uint64_t *first, uint64_t *last)
{
	struct pci_bus *b = &vm->board->pci.bus;

	pci_high_span(b, MEM_HOLE_END, first, last);
	return b->ecam_base;
}

struct i8042 *board_keyboard(struct vm *vm)
{
	return vm->board->kbc;
}

struct vga *board_vga(struct vm *vm)
{
	return vm->board->vga;
}

void board_flush(struct vm *vm)
{
	flush_output(vm->board);
}
