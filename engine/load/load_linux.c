/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux by its boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst).
 *
 * The usual way: the payload is unpacked here, the ELF kernel in it goes to its own physical addresses, and vCPU 0
 * enters it in the mode of its ELF class, 64-bit or 32-bit, with RSI pointing at boot_params, just as the kernel's
 * decompressor would. The kernel then runs at the address it was linked for: like "nokaslr", and just as true to the
 * protocol. Where the compression is not known here, the bzImage's own decompressor is entered instead, by its 64-bit
 * or 32-bit entry point.
 *
 *      low memory (loader.h)     kernel                             initrd        end of low RAM, initrd_addr_max
 *      |------------------| 1M ..|---------------| .. free ........|-------------|
 */
#include <stdlib.h>
#include <string.h>

#include "engine/load/loader.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

/* setup header: offsets in the file and in boot_params alike */
#define HDR_SETUP_SECTS 0x1f1
#define HDR_BOOT_FLAG 0x1fe
#define HDR_JUMP 0x200
#define HDR_MAGIC 0x202
#define HDR_VERSION 0x206
#define HDR_TYPE_OF_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_CODE32_START 0x214
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_CMD_LINE_PTR 0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_XLOADFLAGS 0x236
#define HDR_CMDLINE_SIZE 0x238
#define HDR_PAYLOAD_OFFSET 0x248
#define HDR_PAYLOAD_LENGTH 0x24c
#define HDR_SETUP_DATA 0x250
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_END_MAX 0x280

#define HDR_MAGIC_HDRS 0x53726448u /* "HdrS" */
#define LOADED_HIGH 0x01
#define KASLR_FLAG 0x02
#define XLF_KERNEL_64 0x01
#define TYPE_UNDEFINED_LOADER 0xff

/* boot_params outside the header (zero-page.rst) */
#define BP_ACPI_RSDP 0x070
#define BP_ALT_MEM_K 0x1e0
#define BP_E820_ENTRIES 0x1e8
#define BP_E820_TABLE 0x2d0
#define BP_BYTES 4096

struct linux_image {
	const struct boot_file *f;
	unsigned version;
	uint64_t setup_bytes; /* real-mode part; the protected-mode part follows */
	uint64_t header_end;
	uint64_t initrd_max; /* highest address an initrd may occupy */
	uint64_t cmdline_max;
	bool kernel64;
	/* the kernel uses memory from reserve_start to reserve_end before it has read the memory map */
	uint64_t reserve_start, reserve_end;
};

static enum status parse(struct linux_image *k, const struct boot_file *f, struct error *e)
{
	const uint8_t *d = f->data;
	unsigned sects;

	*k = (struct linux_image){.f = f};
	if (f->size < HDR_END_MAX || get16(d + HDR_BOOT_FLAG) != 0xaa55 || get32(d + HDR_MAGIC) != HDR_MAGIC_HDRS)
		return error_set(e, ST_BAD_FILE,
				 "'%s' is no Linux kernel: give a bzImage (the vmlinuz of a distribution) or an ELF "
				 "file with a PVH note",
				 f->name);
	k->version = get16(d + HDR_VERSION);
	if (k->version < 0x0203 || !(d[HDR_LOADFLAGS] & LOADED_HIGH))
		return error_set(e, ST_UNSUPPORTED,
				 "'%s' is a kernel of boot protocol %u.%02u, too old: give one of 2.4.18 or later",
				 f->name, k->version >> 8, k->version & 0xff);
	if (!get32(d + HDR_CODE32_START)) /* iPXE's: only its real-mode part knows how to go on, and asks a BIOS */
		return error_set(e, ST_UNSUPPORTED,
				 "'%s' has no 32-bit entry, it begins in real mode and needs a BIOS: boot it by --bios from a CD or a disk",
				 f->name);
	sects = d[HDR_SETUP_SECTS] ? d[HDR_SETUP_SECTS] : 4;
	k->setup_bytes = (sects + 1) * 512ull;
	if (k->setup_bytes >= f->size)
		return error_set(e, ST_BAD_FILE, "'%s' is a truncated Linux kernel: give the whole file", f->name);
	/* the jump at 200H leads over the header: its displacement tells where the header ends */
	k->header_end = HDR_MAGIC + d[HDR_JUMP + 1];
	if (k->header_end > HDR_END_MAX)
		k->header_end = HDR_END_MAX;
	k->initrd_max = get32(d + HDR_INITRD_ADDR_MAX);
	if (k->initrd_max == 0)
		k->initrd_max = 0x37ffffff;
	k->cmdline_max = k->version >= 0x0206 ? get32(d + HDR_CMDLINE_SIZE) : 255;
	k->kernel64 = k->version >= 0x020c && (get16(d + HDR_XLOADFLAGS) & XLF_KERNEL_64);
	return ST_OK;
}

/* ---- the kernel's place ---- */

/* Unpacked and loaded; entry: its physical entry point. ST_OK with *loaded false: unknown compression. */
static enum status load_unpacked(struct vm *vm, struct linux_image *k, bool *loaded, bool *is64, uint64_t *entry,
				 struct error *e)
{
	const uint8_t *d = k->f->data;
	uint64_t off, len, size = 0;
	struct elf_image img;
	const char *kind;
	uint8_t *elf;
	enum status s;

	*loaded = false;
	if (k->version < 0x0208)
		return ST_OK;
	off = k->setup_bytes + get32(d + HDR_PAYLOAD_OFFSET);
	len = get32(d + HDR_PAYLOAD_LENGTH);
	if (get32(d + HDR_PAYLOAD_OFFSET) == 0 || len == 0)
		return ST_OK;
	if (off > k->f->size || len > k->f->size - off)
		return error_set(e, ST_BAD_FILE,
				 "'%s' is a truncated Linux kernel (%llu bytes of %llu): give the whole file",
				 k->f->name, (unsigned long long)k->f->size, (unsigned long long)(off + len));
	switch (kernel_unpack(d + off, len, &elf, &size, &kind)) {
	case UNPACK_UNKNOWN:
		return ST_OK;
	case UNPACK_BAD:
		return error_set(e, ST_BAD_FILE, "'%s': the kernel in it (%s) is damaged: give another file",
				 k->f->name, kind);
	case UNPACK_MEMORY:
		return error_set(e, ST_NO_MEMORY, "no host memory to unpack '%s'", k->f->name);
	case UNPACK_OK:
		break;
	}
	s = elf_parse(&img, elf, size, k->f->name, e);
	if (s == ST_OK && img.entry_phys == UINT64_MAX)
		s = error_set(e, ST_BAD_FILE, "'%s': the kernel in it has its entry outside its segments", k->f->name);
	if (s == ST_OK)
		s = elf_load(vm, &img, k->f->name, e);
	if (s == ST_OK) {
		*loaded = true;
		*is64 = img.elf64;
		*entry = img.entry_phys;
		k->reserve_start = img.start;
		k->reserve_end = img.end;
	}
	free(elf);
	return s;
}

/* The bzImage as it is: the protected-mode part goes to 1 MiB and finds its own way from there. */
static enum status load_packed(struct vm *vm, struct linux_image *k, uint64_t *entry, struct error *e)
{
	const uint8_t *d = k->f->data;
	uint64_t size = k->f->size - k->setup_bytes;
	enum status s = boot_put(vm, LOW_TOP, d + k->setup_bytes, size, "the kernel", e);

	if (s != ST_OK)
		return s;
	*entry = LOW_TOP + (k->kernel64 ? 0x200 : 0);
	k->reserve_start = LOW_TOP;
	k->reserve_end = LOW_TOP + size;
	if (k->version >= 0x020a) {
		uint64_t pref = get64(d + HDR_PREF_ADDRESS), init = get32(d + HDR_INIT_SIZE);

		if (pref < vm->mem.hole_start && pref + init > k->reserve_end)
			k->reserve_end = pref + init;
	}
	if (k->reserve_end > boot_low_ram_end(vm))
		return error_set(e, ST_TOO_BIG, "'%s' needs %llu MiB to unpack itself: give more --memory", k->f->name,
				 (unsigned long long)((k->reserve_end + 0xfffff) >> 20));
	return ST_OK;
}

/* ---- the initrd ---- */

/* As high as it may be, out of the kernel's way; in a small machine below the kernel, where there is room up to 16 MiB.
 */
static bool place_initrd(const struct linux_image *k, uint64_t top, uint64_t size, uint64_t *gpa)
{
	const uint64_t page = ~(PAGE_SIZE_4K - 1);

	if (size <= top && ((top - size) & page) >= k->reserve_end)
		*gpa = (top - size) & page;
	else if (k->reserve_start <= top && size <= k->reserve_start && ((k->reserve_start - size) & page) >= LOW_TOP)
		*gpa = (k->reserve_start - size) & page;
	else
		return false;
	return true;
}

static enum status load_initrd(struct vm *vm, const struct linux_image *k, uint64_t *gpa, uint64_t *size,
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
	if (top > k->initrd_max + 1)
		top = k->initrd_max + 1;
	if (!place_initrd(k, top, *size, gpa))
		return error_set(
			e, ST_TOO_BIG,
			"the initrd '%s' (%llu MiB) does not fit beside the kernel, which ends at %llu MiB of %llu: "
			"give more --memory or a smaller initrd",
			vm->cfg.initrd, (unsigned long long)((*size + 0xfffff) >> 20),
			(unsigned long long)((k->reserve_end + 0xfffff) >> 20), (unsigned long long)(top >> 20));
	return boot_file_to_ram(vm, vm->cfg.initrd, "the initrd", *gpa, *size, e);
}

/* ---- boot_params ---- */

static void fill_boot_params(struct vm *vm, const struct linux_image *k, uint8_t *bp, uint64_t initrd,
			     uint64_t initrd_size)
{
	struct boot_map map;
	uint64_t ext_k = (boot_low_ram_end(vm) - LOW_TOP) >> 10;

	memset(bp, 0, BP_BYTES);
	memcpy(bp + HDR_SETUP_SECTS, k->f->data + HDR_SETUP_SECTS, k->header_end - HDR_SETUP_SECTS);
	bp[HDR_TYPE_OF_LOADER] = TYPE_UNDEFINED_LOADER;
	bp[HDR_LOADFLAGS] &= (uint8_t)~KASLR_FLAG;
	put32(bp + HDR_CODE32_START, LOW_TOP);
	put32(bp + HDR_RAMDISK_IMAGE, (uint32_t)initrd);
	put32(bp + HDR_RAMDISK_SIZE, (uint32_t)initrd_size);
	put32(bp + HDR_CMD_LINE_PTR, LOW_CMDLINE);
	if (k->version >= 0x0209)
		put64(bp + HDR_SETUP_DATA, 0);
	put64(bp + BP_ACPI_RSDP, LOW_RSDP);
	put32(bp + BP_ALT_MEM_K, (uint32_t)ext_k);

	boot_map_build(vm, &map);
	bp[BP_E820_ENTRIES] = (uint8_t)map.n;
	for (unsigned i = 0; i < map.n; i++) {
		uint8_t *p = bp + BP_E820_TABLE + 20 * i;

		put64(p, map.e[i].base);
		put64(p + 8, map.e[i].len);
		put32(p + 16, map.e[i].type);
	}
}

enum status load_linux(struct vm *vm, const struct boot_file *f, struct error *e)
{
	struct vcpu *v = vm->vcpu[0];
	uint64_t entry = 0, initrd, initrd_size;
	struct linux_image k;
	bool loaded, is64;
	uint8_t bp[BP_BYTES];
	enum status s;

	s = parse(&k, f, e);
	if (s != ST_OK)
		return s;
	is64 = k.kernel64;
	s = load_unpacked(vm, &k, &loaded, &is64, &entry, e);
	if (s == ST_OK && !loaded)
		s = load_packed(vm, &k, &entry, e);
	if (s == ST_OK)
		s = load_initrd(vm, &k, &initrd, &initrd_size, e);
	if (s == ST_OK)
		s = boot_put_cmdline(vm, vm->cfg.cmdline ? vm->cfg.cmdline : "", k.cmdline_max, e);
	if (s != ST_OK)
		return s;
	fill_boot_params(vm, &k, bp, initrd, initrd_size);
	s = boot_put(vm, LOW_BOOT_PARAMS, bp, sizeof(bp), "boot_params", e);
	if (s != ST_OK)
		return s;

	if (is64)
		boot_enter_long(vm, v, entry);
	else
		boot_enter_flat32(vm, v, (uint32_t)entry);
	v->regs.gpr[R_SI] = LOW_BOOT_PARAMS;
	return ST_OK;
}
