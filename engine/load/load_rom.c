/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A raw ROM: its last byte is the last byte below 4 GiB, where the reset vector is (SDM 3A 9.1.4), and its last 128 KiB
 * are also found below 1 MiB, as chipsets have it. The copy below 1 MiB is RAM, like a shadowed ROM: the program
 * may write there, and gets the ROM's bytes back at a reset.
 *
 * The registers stay as RESET leaves them: F000:FFF0 with the base of CS at FFFF0000H.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/load/loader.h"
#include "engine/vm.h"

#define ROM_TOP (1ull << 32)
#define ROM_MIN 16ull
#define ROM_MAX (16ull << 20) /* below that are the APICs */
#define ALIAS_MAX (128u << 10)

enum status load_rom(struct vm *vm, struct error *e)
{
	const char *name = vm->cfg.bios ? vm->cfg.bios : vm->cfg.rom;
	uint64_t padded, pad, alias;
	struct boot_file f;
	uint8_t *image;
	enum status s = boot_file_read(&f, name, "the ROM", ROM_MAX, e);

	if (s != ST_OK)
		return s;
	if (f.size < ROM_MIN) {
		s = error_set(e, ST_BAD_FILE,
			      "the ROM '%s' has %llu bytes and the reset vector alone takes 16: give another file",
			      f.name, (unsigned long long)f.size);
		boot_file_free(&f);
		return s;
	}
	padded = (f.size + PAGE_SIZE_4K - 1) & ~(PAGE_SIZE_4K - 1);
	pad = padded - f.size;
	image = malloc(padded);
	if (!image) {
		boot_file_free(&f);
		return error_set(e, ST_NO_MEMORY, "no host memory for the ROM '%s'", name);
	}
	memset(image, 0xff, pad);
	memcpy(image + pad, f.data, f.size);
	boot_file_free(&f);

	/* the ROM itself is there from the first start on: a reset only restores the shadow */
	if (!mem_rom(&vm->mem, ROM_TOP - padded, padded))
		s = mem_add_rom(&vm->mem, ROM_TOP - padded, image, padded, e);
	if (s == ST_OK) {
		alias = padded < ALIAS_MAX ? padded : ALIAS_MAX;
		s = boot_put(vm, LOW_TOP - alias, image + padded - alias, alias, "the ROM's shadow", e);
	}
	free(image);
	return s;
}
