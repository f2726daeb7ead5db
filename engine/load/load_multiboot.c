/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multiboot 1 (Multiboot Specification 0.6.96): ELF kernels, or any file with the "a.out kludge" addresses in its
 * header.
 *
 *      low memory (loader.h)     kernel            modules, each on a page
 *      |------------------| 1M ..|---------| ....  |------|  |------|
 *
 * The information structure, its strings and lists are at LOW_BOOT_INFO. A module is "FILE arguments": the file up to
 * the first blank, and the whole string goes to the kernel. A wish for a video mode (header flag 2) is accepted and not
 * granted: there is no display, and the flag in the information structure says so.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/load/loader.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

#define HEADER_SEARCH 8192
#define HEADER_MAGIC 0x1badb002u
#define BOOT_MAGIC 0x2badb002u
#define HF_PAGE_ALIGN (1u << 0)
#define HF_MEMORY (1u << 1)
#define HF_VIDEO (1u << 2)
#define HF_MANDATORY 0xffffu
#define HF_AOUT (1u << 16)

#define IF_MEMORY (1u << 0)
#define IF_CMDLINE (1u << 2)
#define IF_MODULES (1u << 3)
#define IF_MMAP (1u << 6)
#define IF_LOADER (1u << 9)

#define INFO_BYTES 120
#define MODULE_BYTES 16
#define MMAP_BYTES 24
#define KERNEL_MAX (1ull << 30)
#define PATH_BYTES 4096

/* Builds the block at LOW_BOOT_INFO; room is checked once, at the end. */
struct info {
	uint8_t buf[LOW_CMDLINE - LOW_BOOT_INFO];
	uint32_t used;
	bool overflow;
};

static uint32_t info_alloc(struct info *i, uint64_t bytes)
{
	uint32_t at = (i->used + 3) & ~3u;

	if (bytes > sizeof(i->buf) - at) {
		i->overflow = true;
		return 0;
	}
	i->used = at + (uint32_t)bytes;
	return at;
}

static uint32_t info_string(struct info *i, const char *s)
{
	size_t n = strlen(s) + 1;
	uint32_t at = info_alloc(i, n);

	if (!i->overflow)
		memcpy(i->buf + at, s, n);
	return LOW_BOOT_INFO + at;
}

static const uint8_t *find_header(const struct boot_file *f)
{
	uint64_t end = f->size < HEADER_SEARCH ? f->size : HEADER_SEARCH;

	for (uint64_t off = 0; off + 12 <= end; off += 4) {
		const uint8_t *p = f->data + off;

		if (get32(p) == HEADER_MAGIC && get32(p) + get32(p + 4) + get32(p + 8) == 0)
			return p;
	}
	return NULL;
}

/* Addresses in the header instead of ELF headers (3.1.3). */
static enum status load_aout(struct vm *vm, const struct boot_file *f, const uint8_t *h, uint64_t *entry, uint64_t *end,
			     struct error *e)
{
	uint64_t hoff = (uint64_t)(h - f->data), header, load, load_end, bss_end, off, size, total;
	uint8_t *to;

	if (f->size - hoff < 32)
		return error_set(e, ST_BAD_FILE, "'%s' ends within its Multiboot header: give the whole file", f->name);
	header = get32(h + 12), load = get32(h + 16), load_end = get32(h + 20), bss_end = get32(h + 24);
	*entry = get32(h + 28);
	if (load > header || header - load > hoff)
		return error_set(e, ST_BAD_FILE, "'%s' has a damaged Multiboot header (load address)", f->name);
	off = hoff - (header - load);
	size = load_end ? load_end - load : f->size - off;
	if ((load_end && load_end < load) || size > f->size - off)
		return error_set(e, ST_BAD_FILE, "'%s' has a damaged Multiboot header (end of data)", f->name);
	total = bss_end > load + size ? bss_end - load : size;
	if (load < LOW_TOP)
		return error_set(e, ST_BAD_FILE,
				 "'%s' wants to be loaded at 0x%llx, below 1 MiB: link it at 1 MiB or above", f->name,
				 (unsigned long long)load);
	to = mem_ram(&vm->mem, load, total);
	if (!to)
		return error_set(e, ST_TOO_BIG, "'%s' needs memory up to %llu MiB: give more --memory", f->name,
				 (unsigned long long)((load + total + 0xfffff) >> 20));
	memcpy(to, f->data + off, size);
	memset(to + size, 0, total - size);
	*end = load + total;
	return ST_OK;
}

static enum status load_kernel(struct vm *vm, const struct boot_file *f, uint64_t *entry, uint64_t *end,
			       struct error *e)
{
	const uint8_t *h = find_header(f);
	struct elf_image img;
	uint32_t flags;
	enum status s;

	if (!h)
		return error_set(e, ST_BAD_FILE,
				 "'%s' has no Multiboot header in its first 8 KiB: give a Multiboot 1 kernel", f->name);
	flags = get32(h + 4);
	if (flags & HF_MANDATORY & ~(HF_PAGE_ALIGN | HF_MEMORY | HF_VIDEO))
		return error_set(e, ST_UNSUPPORTED, "'%s' demands Multiboot features (0x%x) that do not exist here",
				 f->name, flags & HF_MANDATORY);
	if (flags & HF_AOUT) {
		s = load_aout(vm, f, h, entry, end, e);
	} else {
		s = elf_parse(&img, f->data, f->size, f->name, e);
		if (s == ST_OK)
			s = elf_load(vm, &img, f->name, e);
		*entry = img.entry_phys;
		*end = img.end;
	}
	if (s == ST_OK && *entry >> 32)
		return error_set(e, ST_BAD_FILE, "'%s' has its entry point outside its segments", f->name);
	return s;
}

static enum status load_modules(struct vm *vm, struct info *info, uint64_t free, uint32_t *list, struct error *e)
{
	*list = info_alloc(info, vm->cfg.nmodules * (uint64_t)MODULE_BYTES);
	for (unsigned i = 0; i < vm->cfg.nmodules; i++) {
		const char *text = vm->cfg.module[i];
		size_t len = strcspn(text, " ");
		char name[PATH_BYTES];
		uint64_t size;
		uint32_t str;
		enum status s;

		if (len == 0 || len >= sizeof(name))
			return error_set(e, ST_INVALID, "--module '%s' names no file: give FILE or \"FILE arguments\"",
					 text);
		memcpy(name, text, len);
		name[len] = 0;
		free = (free + PAGE_SIZE_4K - 1) & ~(PAGE_SIZE_4K - 1);
		s = boot_file_size(name, "the module", &size, e);
		if (s == ST_OK)
			s = boot_file_to_ram(vm, name, "the module", free, size, e);
		if (s != ST_OK)
			return s;
		str = info_string(info, text);
		if (!info->overflow) {
			put32(info->buf + *list + MODULE_BYTES * i, (uint32_t)free);
			put32(info->buf + *list + MODULE_BYTES * i + 4, (uint32_t)(free + size));
			put32(info->buf + *list + MODULE_BYTES * i + 8, str);
		}
		free += size;
	}
	return ST_OK;
}

/* Entries carry their size without the size field itself (3.3). */
static uint32_t write_mmap(struct vm *vm, struct info *info, uint32_t *bytes)
{
	struct boot_map map;
	uint32_t at;

	boot_map_build(vm, &map);
	*bytes = map.n * MMAP_BYTES;
	at = info_alloc(info, *bytes);
	for (unsigned i = 0; i < map.n && !info->overflow; i++) {
		uint8_t *p = info->buf + at + MMAP_BYTES * i;

		put32(p, MMAP_BYTES - 4);
		put64(p + 4, map.e[i].base);
		put64(p + 12, map.e[i].len);
		put32(p + 20, map.e[i].type);
	}
	return LOW_BOOT_INFO + at;
}

/* "FILE options", as boot loaders hand it on */
static enum status write_cmdline(struct vm *vm, struct error *e)
{
	const char *opts = vm->cfg.cmdline ? vm->cfg.cmdline : "", *file = vm->cfg.multiboot;
	size_t nf = strlen(file), no = strlen(opts);
	char *text = malloc(nf + no + 2);
	enum status s;

	if (!text)
		return error_set(e, ST_NO_MEMORY, "no host memory for the command line");
	memcpy(text, file, nf);
	text[nf] = no ? ' ' : 0;
	memcpy(text + nf + !!no, opts, no + 1);
	s = boot_put_cmdline(vm, text, LOW_CMDLINE_MAX, e);
	free(text);
	return s;
}

static enum status build(struct vm *vm, struct info *info, uint64_t entry, uint64_t end, struct error *e)
{
	uint32_t at = info_alloc(info, INFO_BYTES), list, mmap_bytes, mmap_at;
	uint8_t *p = info->buf + at;
	enum status s;

	s = load_modules(vm, info, end, &list, e);
	if (s == ST_OK)
		s = write_cmdline(vm, e);
	if (s != ST_OK)
		return s;
	mmap_at = write_mmap(vm, info, &mmap_bytes);
	put32(p, IF_MEMORY | IF_CMDLINE | IF_MODULES | IF_MMAP | IF_LOADER);
	put32(p + 4, LOW_END >> 10);
	put32(p + 8, (uint32_t)((boot_low_ram_end(vm) - LOW_TOP) >> 10));
	put32(p + 16, LOW_CMDLINE);
	put32(p + 20, vm->cfg.nmodules);
	put32(p + 24, LOW_BOOT_INFO + list);
	put32(p + 44, mmap_bytes);
	put32(p + 48, mmap_at);
	put32(p + 64, info_string(info, "Steelyard"));
	if (info->overflow)
		return error_set(e, ST_TOO_BIG, "the modules' argument strings are too long: shorten them");
	s = boot_put(vm, LOW_BOOT_INFO, info->buf, info->used, "the Multiboot information", e);
	if (s != ST_OK)
		return s;
	boot_enter_flat32(vm, vm->vcpu[0], (uint32_t)entry);
	vm->vcpu[0]->regs.gpr[R_AX] = BOOT_MAGIC;
	vm->vcpu[0]->regs.gpr[R_BX] = LOW_BOOT_INFO + at;
	return ST_OK;
}

enum status load_multiboot(struct vm *vm, struct error *e)
{
	uint64_t entry = UINT64_MAX, end = 0;
	struct boot_file f;
	struct info *info;
	enum status s = boot_file_read(&f, vm->cfg.multiboot, "the Multiboot kernel", KERNEL_MAX, e);

	if (s != ST_OK)
		return s;
	s = load_kernel(vm, &f, &entry, &end, e);
	boot_file_free(&f);
	if (s != ST_OK)
		return s;
	info = calloc(1, sizeof(*info));
	if (!info)
		return error_set(e, ST_NO_MEMORY, "no host memory for the Multiboot information");
	s = build(vm, info, entry, end, e);
	free(info);
	return s;
}
