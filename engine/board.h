/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board: every device of the machine outside the vCPUs, and the wires between them.
 *
 * Owner: struct vm. board_create fills vm->board, vm->pio and vm->mmio; vm->clock, vm->dev_lock, vm->mem, vm->serial
 * and vm->debugcon must be ready before. Where things are: engine/board_map.h.
 */
#ifndef STEELYARD_BOARD_H
#define STEELYARD_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

struct vm;
struct board;
struct fwcfg;
struct i8042;
struct ioapic;
struct pic;
struct vga;

/* ST_INVALID when the configured debug exit port is taken by another device; ST_NO_MEMORY. No vCPU runs yet. */
enum status board_create(struct vm *vm, struct error *e);
/* Sends waiting console output; vm->board becomes NULL. The chardevs are still open; the vCPU and I/O threads have
 * ended. */
void board_free(struct vm *vm);
/* All devices to their power-on state (the RTC keeps its time). Device lock held. */
void board_reset(struct vm *vm);

/* The devices on PCI do nothing any more until the guest starts them again. Device lock held, or no vCPU runs. */
void board_stop_devices(struct vm *vm);
/* What a firmware does with PCI before it starts an operating system; nothing without a board. No vCPU runs. */
void board_place_pci(struct vm *vm);

/* Connects vm->serial to COM1 and vm->debugcon to port 0xe9; board_create has done so. Again when they change, with no
 * vCPU running or the device lock held. */
void board_connect(struct vm *vm);

/* The 8259 pair, for whoever takes it over for a while. */
struct pic *board_pic(struct vm *vm);
/* Does the 8259 pair assert INTR? Any thread, no lock. */
bool board_pic_intr(struct vm *vm);
/* The interrupt acknowledge cycle: the vector of the winning request (IRQ 7's when it has gone away).
 * Takes the device lock: any thread that does not hold it. */
int board_pic_ack(struct vm *vm);

/* A person presses the power button: the guest gets the ACPI event. false: it does not listen, and nothing
 * has happened. Device lock held. */
bool board_power_button(struct vm *vm);
/* Drives ISA line irq (0-15): 8259 and I/O APIC. Device lock held. */
void board_isa_irq(struct vm *vm, unsigned irq, bool level);
/* What somebody may type on. Device lock held. */
struct i8042 *board_keyboard(struct vm *vm);
/* Both are there under --bios, else NULL. */
struct fwcfg *board_fwcfg(struct vm *vm);
struct vga *board_vga(struct vm *vm);
/* Class and subclass of the function in a PCI slot; 0xffff: nobody is there. No vCPU runs, or the device lock held. */
uint16_t board_pci_class(struct vm *vm, unsigned slot);
/* Where configuration space is in memory now; 0: nowhere. What the BARs above 4 GiB span: from *first to *last, 0 and 0: there are
 * none. Device lock held, or no vCPU runs. */
uint64_t board_pci_map(struct vm *vm, uint64_t *first, uint64_t *last);
/* Serial output that waits for its flush timer goes out now. Device lock held. */
void board_flush(struct vm *vm);

#endif
