/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of booting that every loader shares: which loader, files, the memory map, and the three states in which a
 * guest can be entered (real, 32-bit flat, 64-bit).
 *
 * There is no firmware: the loaders leave memory and registers as the boot protocols say firmware and boot loader
 * would, and INT 10H and its like answer that they have no such function. Who needs a BIOS brings one as a ROM.
 */
#include "engine/load/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/board_map.h"
#include "engine/load/loader.h"
#include "engine/mtrr.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

#define KERNEL_MAX_BYTES (1ull << 30)

/* ---- files ---- */

static enum status open_regular(const char *name, const char *what, int *fd, uint64_t *size, struct error *e)
{
	struct stat st;
	enum status s;

	/* O_NONBLOCK: a FIFO without a writer must not hang us before we can see that it is one */
	*fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0) {
		s = errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND
		    : errno == EACCES || errno == EPERM ? ST_DENIED
							: ST_IO;
		return error_errno(e, s, "cannot open %s '%s'", what, name);
	}
	if (fstat(*fd, &st) < 0)
		s = error_errno(e, ST_IO, "cannot look at %s '%s'", what, name);
	else if (!S_ISREG(st.st_mode))
		s = error_set(e, ST_BAD_FILE, "%s '%s' is not a regular file: give a file", what, name);
	else if (st.st_size == 0)
		s = error_set(e, ST_BAD_FILE, "%s '%s' is empty: give another file", what, name);
	else {
		*size = (uint64_t)st.st_size;
		return ST_OK;
	}
	close(*fd);
	return s;
}

static enum status read_exactly(int fd, const char *name, const char *what, uint8_t *to, uint64_t size, struct error *e)
{
	uint64_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, to + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(e, ST_IO, "cannot read %s '%s'", what, name);
		if (n == 0)
			return error_set(e, ST_IO, "%s '%s' became shorter while it was read: try again", what, name);
		got += (uint64_t)n;
	}
	return ST_OK;
}

enum status boot_file_size(const char *name, const char *what, uint64_t *size, struct error *e)
{
	enum status s;
	int fd;

	s = open_regular(name, what, &fd, size, e);
	if (s == ST_OK)
		close(fd);
	return s;
}

enum status boot_file_read(struct boot_file *f, const char *name, const char *what, uint64_t max, struct error *e)
{
	enum status s;
	int fd;

	f->name = name;
	f->data = NULL;
	s = open_regular(name, what, &fd, &f->size, e);
	if (s != ST_OK)
		return s;
	if (f->size > max) {
		s = error_set(e, ST_TOO_BIG, "%s '%s' has %llu bytes, and at most %llu are taken: give another file",
			      what, name, (unsigned long long)f->size, (unsigned long long)max);
	} else if (!(f->data = malloc(f->size))) {
		s = error_set(e, ST_NO_MEMORY, "no host memory to read %s '%s'", what, name);
	} else {
		s = read_exactly(fd, name, what, f->data, f->size, e);
	}
	close(fd);
	if (s != ST_OK)
		boot_file_free(f);
	return s;
}

void boot_file_free(struct boot_file *f)
{
	free(f->data);
	f->data = NULL;
}

enum status boot_file_to_ram(struct vm *vm, const char *name, const char *what, uint64_t gpa, uint64_t size,
			     struct error *e)
{
	uint8_t *to = mem_ram(&vm->mem, gpa, size);
	uint64_t now;
	enum status s;
	int fd;

	if (!to)
		return error_set(e, ST_TOO_BIG, "%s '%s' does not fit the guest's memory: give more --memory", what,
				 name);
	s = open_regular(name, what, &fd, &now, e);
	if (s != ST_OK)
		return s;
	s = read_exactly(fd, name, what, to, size, e);
	close(fd);
	return s;
}

/* ---- memory ---- */

uint64_t boot_low_ram_end(const struct vm *vm)
{
	return vm->mem.ram_bytes < vm->mem.hole_start ? vm->mem.ram_bytes : vm->mem.hole_start;
}

static void map_add(struct boot_map *m, uint64_t base, uint64_t end, uint32_t type)
{
	BUG_ON(m->n == BOOT_MAP_MAX || base >= end);
	m->e[m->n].base = base;
	m->e[m->n].len = end - base;
	m->e[m->n].type = type;
	m->n++;
}

void boot_map_build(const struct vm *vm, struct boot_map *m)
{
	m->n = 0;
	map_add(m, 0, LOW_END, MAP_RAM);
	map_add(m, LOW_END, LOW_END + LOW_EBDA_BYTES, MAP_RESERVED);
	map_add(m, LOW_ACPI, LOW_TOP, MAP_RESERVED);
	map_add(m, LOW_TOP, boot_low_ram_end(vm), MAP_RAM);
	map_add(m, BOARD_ECAM_GPA, BOARD_ECAM_GPA + (uint64_t)BOARD_ECAM_BYTES, MAP_RESERVED);
	if (vm->mem.ram_bytes > vm->mem.hole_start)
		map_add(m, MEM_HOLE_END, MEM_HOLE_END + vm->mem.ram_bytes - vm->mem.hole_start, MAP_RAM);
}

enum status boot_put(struct vm *vm, uint64_t gpa, const void *data, uint64_t len, const char *what, struct error *e)
{
	void *to = mem_ram(&vm->mem, gpa, len);

	if (!to)
		return error_set(e, ST_TOO_BIG,
				 "%s (%llu bytes at 0x%llx) does not fit the guest's %llu MiB: give more --memory",
				 what, (unsigned long long)len, (unsigned long long)gpa,
				 (unsigned long long)(vm->mem.ram_bytes >> 20));
	memcpy(to, data, len);
	return ST_OK;
}

enum status boot_put_cmdline(struct vm *vm, const char *text, uint64_t limit, struct error *e)
{
	size_t len = strlen(text);

	if (limit > LOW_CMDLINE_MAX - 1)
		limit = LOW_CMDLINE_MAX - 1;
	if (len > limit)
		return error_set(e, ST_TOO_BIG,
				 "the command line has %zu characters and this guest takes %llu: shorten --append", len,
				 (unsigned long long)limit);
	return boot_put(vm, LOW_CMDLINE, text, len + 1, "the command line", e);
}

/* BIOS data area: the words that kernels still look for (equipment, memory size, where the EBDA is, COM1's port). */
static void write_bda(struct vm *vm)
{
	uint8_t *low = mem_ram(&vm->mem, 0, LOW_TOP);

	BUG_ON(!low); /* MEM_MIN_BYTES is more than that */
	memset(low, 0, LOW_TOP);
	put16(low + LOW_BDA + 0x00, 0x3f8);
	put16(low + LOW_BDA + 0x0e, LOW_END >> 4);
	put16(low + LOW_BDA + 0x10, 1u << 9); /* one serial port */
	put16(low + LOW_BDA + 0x13, LOW_END >> 10);
	low[LOW_END] = 1; /* EBDA: its size in KiB */
}

/*
 * Interrupt vectors of real mode, for code that asks a BIOS although the boot protocol does not promise one (Xen's
 * trampoline does): a service answers with CF set and AH = 86H, "no such function"; an exception or an interrupt of the
 * 8259s returns.
 */
static void write_ivt(struct vm *vm)
{
	static const uint8_t code[] = {
		0xcf,			/* iret, where the PC's first BIOS had its dummy */
		0x55,			/* push %bp */
		0x89, 0xe5,		/* mov %sp, %bp */
		0x80, 0x4e, 0x06, 0x01, /* orb $1, 6(%bp): CF of the FLAGS to return to */
		0x5d,			/* pop %bp */
		0xb4, 0x86,		/* mov $0x86, %ah */
		0xcf,			/* iret */
	};
	uint8_t *low = mem_ram(&vm->mem, 0, LOW_TOP);

	BUG_ON(!low);
	memcpy(low + LOW_IRET, code, sizeof(code));
	for (unsigned i = 0; i < 256; i++) {
		bool service = i >= 0x10 && !(i >= 0x70 && i < 0x78);

		put16(low + 4 * i, (LOW_IRET & 0xffff) + service);
		put16(low + 4 * i + 2, 0xf000);
	}
}

/* ---- entry states ---- */

static void set_segment(struct x86_seg *s, uint16_t sel, uint64_t base, uint32_t limit, uint16_t attr)
{
	*s = (struct x86_seg){.sel = sel, .attr = attr, .limit = limit, .base = base};
}

#define ATTR_DATA16 (SA_P | SA_S | SA_RW | SA_ACCESSED)
#define ATTR_CODE16 (ATTR_DATA16 | SA_CODE)
#define ATTR_DATA32 (ATTR_DATA16 | SA_DB | SA_G)
#define ATTR_CODE32 (ATTR_CODE16 | SA_DB | SA_G)
#define ATTR_CODE64 (ATTR_CODE16 | SA_L | SA_G)
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20

void boot_enter_real(struct vcpu *v, uint16_t sel, uint16_t ip)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		set_segment(&v->regs.seg[i], sel, (uint64_t)sel << 4, 0xffff, i == SEG_CS ? ATTR_CODE16 : ATTR_DATA16);
	v->regs.rip = ip;
	v->regs.rflags = FL_ONE;
	v->regs.gdtr = (struct x86_dtable){.limit = 0xffff};
	v->regs.idtr = (struct x86_dtable){.limit = 0x3ff};
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attr)
{
	uint64_t d = (attr & SA_G) ? limit >> 12 : limit;

	return (d & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
	       ((d >> 16) & 0xf) << 48 | (uint64_t)(attr >> 8) << 52 | (uint64_t)(base >> 24) << 56;
}

static void enter_protected(struct vm *vm, struct vcpu *v, uint64_t rip, uint16_t code_attr)
{
	const uint64_t gdt[5] = {
		[BOOT_CS / 8] = descriptor(0, 0xffffffff, code_attr),
		[BOOT_DS / 8] = descriptor(0, 0xffffffff, ATTR_DATA32),
		[BOOT_TR / 8] = descriptor(0, 0x67, SA_P | SD_TSS_BUSY),
	};

	mem_write(&vm->mem, LOW_GDT, gdt, sizeof(gdt));
	v->regs.gdtr = (struct x86_dtable){.base = LOW_GDT, .limit = sizeof(gdt) - 1};
	v->regs.idtr = (struct x86_dtable){0};
	for (unsigned i = 0; i < SEG_COUNT; i++)
		set_segment(&v->regs.seg[i], BOOT_DS, 0, 0xffffffff, ATTR_DATA32);
	set_segment(&v->regs.seg[SEG_CS], BOOT_CS, 0, 0xffffffff, code_attr);
	set_segment(&v->regs.ldtr, 0, 0, 0, SD_LDT);
	set_segment(&v->regs.tr, BOOT_TR, 0, 0x67, SA_P | SD_TSS_BUSY);
	v->regs.rip = rip;
	v->regs.rflags = FL_ONE;
	v->regs.gpr[R_SP] = LOW_STACK_TOP;
	v->regs.cr0 = CR0_PE | CR0_ET;
	v->regs.cr4 = 0;
}

void boot_enter_flat32(struct vm *vm, struct vcpu *v, uint32_t eip)
{
	enter_protected(vm, v, eip, ATTR_CODE32);
}

#define MAPPED_GIB 4u

void boot_enter_long(struct vm *vm, struct vcpu *v, uint64_t rip)
{
	const uint64_t pml4 = LOW_PAGE_TABLES, pdpt = pml4 + PAGE_SIZE_4K, pd = pdpt + PAGE_SIZE_4K;
	uint8_t *t = mem_ram(&vm->mem, pml4, (2 + MAPPED_GIB) * PAGE_SIZE_4K);

	BUG_ON(!t);
	memset(t, 0, 2 * PAGE_SIZE_4K);
	put64(t, pdpt | PTE_P | PTE_W);
	for (uint64_t i = 0; i < MAPPED_GIB; i++)
		put64(t + PAGE_SIZE_4K + 8 * i, (pd + i * PAGE_SIZE_4K) | PTE_P | PTE_W);
	for (uint64_t i = 0; i < 512 * MAPPED_GIB; i++)
		put64(t + 2 * PAGE_SIZE_4K + 8 * i, i << 21 | PTE_P | PTE_W | PTE_PS);

	enter_protected(vm, v, rip, ATTR_CODE64);
	v->regs.cr3 = pml4;
	v->regs.cr4 = CR4_PAE;
	v->regs.efer = EFER_LME | EFER_LMA;
	v->regs.cr0 |= CR0_PG;
}

/* ---- which loader ---- */

enum status boot_check(const struct vm_config *cfg, struct error *e)
{
	unsigned given = !!cfg->kernel + !!cfg->multiboot + !!cfg->flat + !!cfg->rom + !!cfg->bios;
	uint64_t size;
	enum status s;

	if (given == 0)
		return error_set(e, ST_INVALID,
				 "nothing to boot: give --kernel F, --multiboot F, --flat F@ADDR, --bios B or --rom F");
	if (given > 1)
		return error_set(e, ST_INVALID, "give one of --kernel, --multiboot, --flat, --bios and --rom, not several");
	if (cfg->initrd && !cfg->kernel)
		return error_set(e, ST_INVALID, "--initrd belongs to --kernel: give a kernel too");
	if (cfg->nmodules && !cfg->multiboot)
		return error_set(e, ST_INVALID, "--module belongs to --multiboot: give a Multiboot kernel too");
	if (cfg->cmdline && cfg->cmdline[0] && !cfg->kernel && !cfg->multiboot)
		return error_set(e, ST_INVALID, "--append belongs to --kernel or --multiboot: give one of them too");
	if (cfg->nmodules > VM_MAX_MODULES)
		return error_set(e, ST_INVALID, "at most %d modules are taken", VM_MAX_MODULES);

	if (cfg->kernel && (s = boot_file_size(cfg->kernel, "the kernel", &size, e)) != ST_OK)
		return s;
	if (cfg->initrd && (s = boot_file_size(cfg->initrd, "the initrd", &size, e)) != ST_OK)
		return s;
	if (cfg->multiboot && (s = boot_file_size(cfg->multiboot, "the Multiboot kernel", &size, e)) != ST_OK)
		return s;
	if (cfg->flat && (s = boot_file_size(cfg->flat, "the flat program", &size, e)) != ST_OK)
		return s;
	if (cfg->bios && (s = boot_file_size(cfg->bios, "the firmware", &size, e)) != ST_OK)
		return s;
	if (cfg->rom && (s = boot_file_size(cfg->rom, "the ROM", &size, e)) != ST_OK)
		return s;
	return ST_OK;
}

static enum status load_kernel(struct vm *vm, struct error *e)
{
	struct boot_file f;
	enum status s = boot_file_read(&f, vm->cfg.kernel, "the kernel", KERNEL_MAX_BYTES, e);

	if (s != ST_OK)
		return s;
	s = elf_is(f.data, f.size) ? load_elf_pvh(vm, &f, e) : load_linux(vm, &f, e);
	boot_file_free(&f);
	return s;
}

enum status boot_load(struct vm *vm, struct error *e)
{
	enum status s = boot_check(&vm->cfg, e);

	if (s != ST_OK)
		return s;
	write_bda(vm);
	if (vm->cfg.bios)
		return load_bios(vm, e);
	if (vm->cfg.rom)
		return load_rom(vm, e);
	write_ivt(vm);
	mtrr_as_firmware(vm);
	board_place_pci(vm);
	if ((s = acpi_write_tables(vm, e)) != ST_OK)
		return s;
	if (vm->cfg.kernel)
		return load_kernel(vm, e);
	return vm->cfg.multiboot ? load_multiboot(vm, e) : load_flat(vm, e);
}
