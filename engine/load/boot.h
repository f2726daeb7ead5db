/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a firmware does before the guest's first instruction: tables in low memory, the program in RAM, vCPU 0's
 * registers.
 *
 * One loader is chosen by struct vm_config: kernel (Linux bzImage, or an ELF file with a PVH note), multiboot, flat,
 * bios or rom. A flat program at an address below 1 MiB starts in real mode at CS:IP = (ADDR >> 4):(ADDR & 15), DS = ES = SS =
 * CS, SP = 0; at or above 1 MiB it starts in 32-bit protected mode with flat segments (CS 10H, others 18H), paging and
 * interrupts off, EIP = ADDR, ESP = 7000H. A ROM ends at 4 GiB, its last 128 KiB are found below 1 MiB too, and it
 * starts at the reset vector F000:FFF0. Firmware (bios) is a ROM that finds
 * in fw_cfg what it has to know, the ACPI tables included. With every loader but these two the ACPI tables are in memory (RSDP at
 * F0000H).
 *
 * Threads: boot_load is called with no vCPU running: before the first start, and after every reset of the machine, with
 * the vCPUs in their state after RESET.
 */
#ifndef STEELYARD_BOOT_H
#define STEELYARD_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

struct vm;
struct vm_config;

/* The file of a firmware: name is a word of the table of known ones (seabios, ovmf) or a path. ST_NOT_FOUND names the package
 * that has it; ST_INVALID: longer than bytes. Any thread. */
enum status bios_find(const char *name, char *path, size_t bytes, struct error *e);

/* What the flash for its variables holds at first: a file, or NULL for firmware that has none. */
const char *bios_vars(const char *name);

/* Size of a regular, non-empty, readable file. */
enum status boot_file_size(const char *name, const char *what, uint64_t *size, struct error *e);

/* Is exactly one loader given, with what belongs to it, and are the files there? ST_INVALID (usage), ST_NOT_FOUND,
 * ST_DENIED, ST_BAD_FILE. Before a machine exists. */
enum status boot_check(const struct vm_config *cfg, struct error *e);

/* The guest's firmware selects a file of fw_cfg: tables that depend on where it has put things follow. Device lock held. */
void bios_selected(struct vm *vm, const char *name);

/* Writes guest memory and vCPU 0's registers. The message says what to do about a failure. */
enum status boot_load(struct vm *vm, struct error *e);

#endif
