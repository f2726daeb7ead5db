/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels by the PVH boot ABI (Xen docs/misc/pvh.pandoc; include/xen/interface/hvm/start_info.h in Linux): a note
 * named "Xen" of type 18 gives a 32-bit physical entry point, which is entered in flat protected mode with EBX pointing
 * at struct hvm_start_info. A Linux vmlinux with CONFIG_PVH has it, and so do several small kernels.
 */
#include <string.h>

#include "engine/load/loader.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578u

/* Offsets in hvm_start_info, hvm_modlist_entry and hvm_memmap_table_entry */
#define START_BYTES 56
#define MODULE_BYTES 32
#define MEMMAP_BYTES 24

static bool find_pvh_entry(const struct elf_image *img, uint32_t *entry)
{
	for (unsigned i = 0; i < img->nnotes; i++) {
		const uint8_t *p = img->data + img->note[i].off;
		uint64_t left = img->note[i].len;

		while (left >= 12) {
			uint64_t namesz = get32(p), descsz = get32(p + 4), total;
			uint64_t name_pad = (namesz + 3) & ~3ull, desc_pad = (descsz + 3) & ~3ull;
			uint32_t type = get32(p + 8);

			total = 12 + name_pad + desc_pad;
			if (12 + name_pad + descsz > left)
				break;
			if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 && memcmp(p + 12, "Xen", 4) == 0 &&
			    descsz >= 4) {
				*entry = get32(p + 12 + name_pad);
				return true;
			}
			if (total > left)
				break;
			p += total;
			left -= total;
		}
	}
	return false;
}

static enum status place_initrd(struct vm *vm, const struct elf_image *img, uint64_t *gpa, uint64_t *size,
				struct error *e)
{
	uint64_t top = boot_low_ram_end(vm);
	enum status s;

	*gpa = *size = 0;
	if (!vm->cfg.initrd)
		return ST_OK;
	s = boot_file_size(vm->cfg.initrd, "the initrd", size, e);
	if (s != ST_OK)
		return s;
	if (*size > top || ((top - *size) & ~(PAGE_SIZE_4K - 1)) < img->end)
		return error_set(e, ST_TOO_BIG,
				 "the initrd '%s' (%llu MiB) does not fit above the kernel: give more --memory",
				 vm->cfg.initrd, (unsigned long long)((*size + 0xfffff) >> 20));
	*gpa = (top - *size) & ~(PAGE_SIZE_4K - 1);
	return boot_file_to_ram(vm, vm->cfg.initrd, "the initrd", *gpa, *size, e);
}

enum status load_elf_pvh(struct vm *vm, const struct boot_file *f, struct error *e)
{
	uint8_t info[START_BYTES + MODULE_BYTES + BOOT_MAP_MAX * MEMMAP_BYTES] = {0};
	uint8_t *module = info + START_BYTES, *memmap = module + MODULE_BYTES;
	uint64_t initrd, initrd_size;
	struct elf_image img;
	struct boot_map map;
	uint32_t entry = 0;
	enum status s;

	s = elf_parse(&img, f->data, f->size, f->name, e);
	if (s != ST_OK)
		return s;
	if (!find_pvh_entry(&img, &entry))
		return error_set(
			e, ST_BAD_FILE,
			"'%s' is an ELF file without a PVH note: give a bzImage or a PVH kernel, or use --multiboot",
			f->name);
	s = elf_load(vm, &img, f->name, e);
	if (s == ST_OK)
		s = place_initrd(vm, &img, &initrd, &initrd_size, e);
	if (s == ST_OK)
		s = boot_put_cmdline(vm, vm->cfg.cmdline ? vm->cfg.cmdline : "", LOW_CMDLINE_MAX, e);
	if (s != ST_OK)
		return s;

	boot_map_build(vm, &map);
	put32(info, START_MAGIC);
	put32(info + 4, 1); /* version */
	put32(info + 12, initrd_size ? 1 : 0);
	put64(info + 16, LOW_BOOT_INFO + START_BYTES);
	put64(info + 24, LOW_CMDLINE);
	put64(info + 32, LOW_RSDP);
	put64(info + 40, LOW_BOOT_INFO + START_BYTES + MODULE_BYTES);
	put32(info + 48, map.n);
	put64(module, initrd);
	put64(module + 8, initrd_size);
	for (unsigned i = 0; i < map.n; i++) {
		put64(memmap + MEMMAP_BYTES * i, map.e[i].base);
		put64(memmap + MEMMAP_BYTES * i + 8, map.e[i].len);
		put32(memmap + MEMMAP_BYTES * i + 16, map.e[i].type);
	}
	s = boot_put(vm, LOW_BOOT_INFO, info, sizeof(info), "the PVH start info", e);
	if (s != ST_OK)
		return s;
	boot_enter_flat32(vm, vm->vcpu[0], entry);
	vm->vcpu[0]->regs.gpr[R_BX] = LOW_BOOT_INFO;
	return ST_OK;
}
