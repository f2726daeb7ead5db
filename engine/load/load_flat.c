/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flat program: the file's bytes at an address, and execution starts with the first of them.
 *
 * Below 1 MiB it starts in real mode as CS:IP = (ADDR >> 4):(ADDR & 15) with every segment equal to CS, so that a
 * program assembled for offset 0 finds its data wherever it is put (at a multiple of 16). At or above 1 MiB it starts
 * in 32-bit flat protected mode. It may lie over the tables in low memory, which are written first.
 */
#include "engine/load/loader.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

enum status load_flat(struct vm *vm, struct error *e)
{
	const char *name = vm->cfg.flat;
	uint64_t addr = vm->cfg.flat_addr, size;
	enum status s = boot_file_size(name, "the flat program", &size, e);

	if (s != ST_OK)
		return s;
	if (addr >= vm->mem.hole_start)
		return error_set(e, ST_INVALID,
				 "a flat program at 0x%llx cannot be entered: give an address below 0xc0000000",
				 (unsigned long long)addr);
	if (!mem_ram(&vm->mem, addr, size))
		return error_set(e, ST_TOO_BIG,
				 "'%s' (%llu bytes) at 0x%llx does not fit the guest's %llu MiB: give more --memory",
				 name, (unsigned long long)size, (unsigned long long)addr,
				 (unsigned long long)(vm->mem.ram_bytes >> 20));
	/* first the entry, whose GDT is in low memory, then the program, which may lie there too */
	if (addr < LOW_TOP)
		boot_enter_real(vm->vcpu[0], (uint16_t)(addr >> 4), addr & 0xf);
	else
		boot_enter_flat32(vm, vm->vcpu[0], (uint32_t)addr);
	return boot_file_to_ram(vm, name, "the flat program", addr, size, e);
}
