/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the loaders share: where things lie in low memory, files, the memory map, ELF images, entry states.
 * Private to engine/load/boot.c, load_*.c, acpi.c, elf_image.c, kernel_unpack.c.
 *
 * Nothing in a file is believed: every offset and size is checked against the file and against RAM before it is used.
 */
#ifndef STEELYARD_LOADER_H
#define STEELYARD_LOADER_H

#include "engine/load/boot.h"
#include "engine/mem.h"
#include "engine/status.h"

struct vcpu;
struct vm;

/* Low memory as the loaders use it. Below 640 KiB all of it belongs to the guest once it runs. */
#define LOW_BDA 0x400u /* BIOS data area: words that old code looks at */
#define LOW_STACK_TOP 0x7000u
#define LOW_BOOT_PARAMS 0x7000u /* Linux "zero page" */
#define LOW_GDT 0x8000u
#define LOW_PAGE_TABLES 0x9000u /* PML4, PDPT, four page directories */
#define LOW_BOOT_INFO 0x10000u  /* PVH or Multiboot information, up to LOW_CMDLINE */
#define LOW_CMDLINE 0x20000u
#define LOW_CMDLINE_MAX 0x10000u
#define LOW_END 0x9fc00u /* extended BIOS data area from here to 640 KiB */
#define LOW_EBDA_BYTES 0x400u
#define LOW_ACPI 0xe0000u /* tables but the RSDP */
#define LOW_ACPI_BYTES 0x10000u
#define LOW_RSDP 0xf0000u
#define LOW_IRET 0xfff53u /* what the interrupt vectors of real mode lead to */
#define LOW_TOP 0x100000u

/* ---- files ---- */

struct boot_file {
	const char *name; /* the user's, not owned */
	uint8_t *data;
	uint64_t size;
};
/* Reads a regular file of 1..max bytes. what: "the kernel", for messages. */
enum status boot_file_read(struct boot_file *f, const char *name, const char *what, uint64_t max, struct error *e);
void boot_file_free(struct boot_file *f);
/* Reads exactly size bytes of a file into guest RAM at gpa, which the caller has found to be RAM. */
enum status boot_file_to_ram(struct vm *vm, const char *name, const char *what, uint64_t gpa, uint64_t size,
			     struct error *e);

static inline uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	__builtin_memcpy(&v, p, 2);
	return v;
}
static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, 4);
	return v;
}
static inline uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, 8);
	return v;
}
static inline void put16(uint8_t *p, uint16_t v)
{
	__builtin_memcpy(p, &v, 2);
}
static inline void put32(uint8_t *p, uint32_t v)
{
	__builtin_memcpy(p, &v, 4);
}
static inline void put64(uint8_t *p, uint64_t v)
{
	__builtin_memcpy(p, &v, 8);
}

/* ---- memory ---- */

enum { MAP_RAM = 1, MAP_RESERVED = 2 }; /* E820 types, the same in PVH and Multiboot */
#define BOOT_MAP_MAX 16
struct boot_map {
	unsigned n;
	struct {
		uint64_t base, len;
		uint32_t type;
	} e[BOOT_MAP_MAX];
};
void boot_map_build(const struct vm *vm, struct boot_map *m);
/* End of RAM below the hole. */
uint64_t boot_low_ram_end(const struct vm *vm);
/* Copies into RAM; ST_TOO_BIG when the range is not all RAM. */
enum status boot_put(struct vm *vm, uint64_t gpa, const void *data, uint64_t len, const char *what, struct error *e);
/* Command line at LOW_CMDLINE, zero-terminated; limit: longest text the guest takes, without the zero. */
enum status boot_put_cmdline(struct vm *vm, const char *text, uint64_t limit, struct error *e);

/* ---- ELF (elf_image.c) ---- */

#define ELF_MAX_SEGMENTS 32
struct elf_image {
	const uint8_t *data;
	uint64_t size;
	bool elf64;
	uint64_t entry;      /* as in the file */
	uint64_t entry_phys; /* through the segment that holds it, where it is a virtual address */
	uint64_t start, end; /* physical extent of all segments, end exclusive */
	unsigned nseg;
	struct {
		uint64_t paddr, vaddr, off, filesz, memsz;
	} seg[ELF_MAX_SEGMENTS];
	unsigned nnotes;
	struct {
		uint64_t off, len;
	} note[ELF_MAX_SEGMENTS];
};
bool elf_is(const uint8_t *data, uint64_t size);
/* Reads and checks the headers of an x86 executable. Nothing in *out is owned. */
enum status elf_parse(struct elf_image *out, const uint8_t *data, uint64_t size, const char *name, struct error *e);
/* Copies the segments to their physical addresses, all at or above LOW_TOP, and clears what the file has not got. */
enum status elf_load(struct vm *vm, const struct elf_image *img, const char *name, struct error *e);

/* ---- entry states ---- */

/* Real mode at sel:ip (SDM 3A 9.1 and 20.1). */
void boot_enter_real(struct vcpu *v, uint16_t sel, uint16_t ip);
/* 32-bit protected mode, flat segments 10H and 18H, paging off; a GDT is written to LOW_GDT. */
void boot_enter_flat32(struct vm *vm, struct vcpu *v, uint32_t eip);
/* 64-bit mode at CPL 0; the first 4 GiB are mapped to themselves by tables at LOW_PAGE_TABLES. */
void boot_enter_long(struct vm *vm, struct vcpu *v, uint64_t rip);

/* ---- loaders ---- */

enum status load_linux(struct vm *vm, const struct boot_file *f, struct error *e);
enum status load_elf_pvh(struct vm *vm, const struct boot_file *f, struct error *e);
enum status load_multiboot(struct vm *vm, struct error *e);
enum status load_flat(struct vm *vm, struct error *e);
enum status load_rom(struct vm *vm, struct error *e);

/* ---- kernel_unpack.c ---- */

enum unpack_result {
	UNPACK_OK,
	UNPACK_UNKNOWN, /* a compression that is not known here */
	UNPACK_BAD,     /* known, and damaged */
	UNPACK_MEMORY,
};
/* Unpacks a kernel's payload. *out is malloc'ed on UNPACK_OK. *kind: name of the compression, for messages. */
enum unpack_result kernel_unpack(const uint8_t *in, uint64_t in_size, uint8_t **out, uint64_t *out_size,
				 const char **kind);

/* ---- acpi.c ---- */

/* The tables as bytes, and what in them depends on where they lie. */
enum acpi_fix_kind { ACPI_FIX_POINTER, ACPI_FIX_CHECKSUM };
struct acpi_fix {
	enum acpi_fix_kind kind;
	uint32_t at;	     /* offset in bytes: of a pointer into them, or of a checksum */
	uint32_t start, len; /* what the checksum covers; len of a pointer: its bytes */
};
#define ACPI_MAX_FIXES 64
#define ACPI_RSDP_BYTES 36
#define ACPI_RSDP_OLD_BYTES 20 /* those of ACPI 1.0, which have a checksum of their own */
#define ACPI_RSDP_SUM 8
#define ACPI_RSDP_SUM_ALL 32
#define ACPI_RSDP_RSDT 16
#define ACPI_RSDP_XSDT 24
struct acpi_image {
	uint32_t origin; /* guest-physical address of bytes[0] */
	uint32_t used;
	uint8_t bytes[LOW_ACPI_BYTES];
	uint8_t rsdp[ACPI_RSDP_BYTES];
	struct acpi_fix fix[ACPI_MAX_FIXES];
	unsigned nfixes;
};
/* Where the tables say that BARs may go, and where configuration space is. */
struct acpi_place {
	uint32_t pci_start, ecam;
	uint64_t high_start, high_last; /* BARs above 4 GiB */
};
/* What firmware has programmed. ecam: what the host bridge decodes, 0 for nothing yet. [bars, bars_last]: what BARs above 4 GiB
 * span, all zero for none. */
struct acpi_place acpi_place(const struct vm *vm, uint64_t ecam, uint64_t bars, uint64_t bars_last);
/* Builds all tables for origin. The machine's tables always fit: a failure is our own bug. Their length does not depend on the
 * place. */
void acpi_build(const struct vm *vm, struct acpi_image *t, uint32_t origin, const struct acpi_place *place);
/* Writes them to LOW_ACPI and the RSDP to LOW_RSDP, as firmware would have left them. */
enum status acpi_write_tables(struct vm *vm, struct error *e);

/* ---- load_bios.c ---- */

/* Loads the ROM of --bios and fills fw_cfg with what it asks for. */
enum status load_bios(struct vm *vm, struct error *e);

#endif
