// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Firmware that boots the machine as a PC: SeaBIOS, OVMF, or a file of the user's. Its image is a ROM (engine/load/load_rom.c); what it
 * has to know of the machine is in fw_cfg: memory map, processors, ACPI and SMBIOS tables with instructions how to place them, the
 * VGA BIOS, which serial line to talk on.
 *
 * The table loader's instructions (QEMU, "bios-linker-loader"): allocate memory for a file, add its address to a pointer
 * in another, correct a checksum. They are rows of 128 bytes.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/load/boot.h"
#include "engine/board_map.h"
#include "engine/pc/fwcfg.h"
#include "engine/load/loader.h"
#include "engine/pci/pci.h"
#include "engine/load/smbios.h"
#include "engine/vm.h"

static const struct {
	const char *word, *file, *package, *vars;
} firmwares[] = {
	{"seabios", "/usr/share/seabios/bios-256k.bin", "seabios", NULL},
	{"ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
};
#define VGA_BIOS "/usr/share/seabios/vgabios-isavga.bin"
#define NET_ROM "/usr/lib/ipxe/qemu/pxe-virtio.rom"
#define ROM_FILE_MAX (512u << 10)

enum status bios_find(const char *name, char *path, size_t bytes, struct error *e)
{
	const char *file = name, *package = NULL;

	for (unsigned i = 0; i < ARRAY_LEN(firmwares); i++)
		if (!strcmp(name, firmwares[i].word)) {
			file = firmwares[i].file;
			package = firmwares[i].package;
		}
	if (package && access(file, R_OK))
		return error_set(e, ST_NOT_FOUND, "--bios %s: %s: %s; Debian's package %s has it", name, file,
				 strerror(errno), package);
	if ((size_t)snprintf(path, bytes, "%s", file) >= bytes)
		return error_set(e, ST_INVALID, "--bios: the name has more than %zu characters", bytes - 1);
	return ST_OK;
}

const char *bios_vars(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(firmwares); i++)
		if (!strcmp(name, firmwares[i].word))
			return firmwares[i].vars;
	return NULL;
}

/* ---- tables ---- */

#define ACPI_FILE "etc/acpi/tables"
#define RSDP_FILE "etc/acpi/rsdp"
#define SCRIPT_FILE "etc/table-loader"

enum loader_command { LOADER_ALLOCATE = 1, LOADER_POINTER = 2, LOADER_CHECKSUM = 3 };
enum loader_zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

struct loader_row {
	uint32_t command;
	union {
		struct {
			char file[FWCFG_NAME_BYTES];
			uint32_t align;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char in[FWCFG_NAME_BYTES], to[FWCFG_NAME_BYTES];
			uint32_t at;
			uint8_t bytes;
		} __attribute__((packed)) pointer;
		struct {
			char file[FWCFG_NAME_BYTES];
			uint32_t at, start, len;
		} __attribute__((packed)) checksum;
		uint8_t pad[124];
	};
};

struct script {
	struct loader_row row[ACPI_MAX_FIXES + 8];
	unsigned n;
};

static void allocate(struct script *s, const char *file, uint32_t align, enum loader_zone zone)
{
	struct loader_row *r = &s->row[s->n++];

	r->command = LOADER_ALLOCATE;
	strcpy(r->allocate.file, file);
	r->allocate.align = align;
	r->allocate.zone = (uint8_t)zone;
}

static void pointer(struct script *s, const char *in, uint32_t at, uint32_t bytes)
{
	struct loader_row *r = &s->row[s->n++];

	r->command = LOADER_POINTER;
	strcpy(r->pointer.in, in);
	strcpy(r->pointer.to, ACPI_FILE);
	r->pointer.at = at;
	r->pointer.bytes = (uint8_t)bytes;
}

static void checksum(struct script *s, const char *file, uint32_t at, uint32_t start, uint32_t len)
{
	struct loader_row *r = &s->row[s->n++];

	r->command = LOADER_CHECKSUM;
	strcpy(r->checksum.file, file);
	r->checksum.at = at;
	r->checksum.start = start;
	r->checksum.len = len;
}

/* Pointers first: a checksum covers them. The bytes that checksums go to are zero in the files: whoever carries out the script may add
 * to them (SeaBIOS) or overwrite them with the sum of all bytes (EDK II). */
static void write_script(struct script *s, struct acpi_image *t)
{
	allocate(s, RSDP_FILE, 16, ZONE_FSEG);
	allocate(s, ACPI_FILE, 64, ZONE_HIGH);
	for (unsigned i = 0; i < t->nfixes; i++)
		if (t->fix[i].kind == ACPI_FIX_POINTER)
			pointer(s, ACPI_FILE, t->fix[i].at, t->fix[i].len);
	pointer(s, RSDP_FILE, ACPI_RSDP_RSDT, 4);
	pointer(s, RSDP_FILE, ACPI_RSDP_XSDT, 8);
	for (unsigned i = 0; i < t->nfixes; i++)
		if (t->fix[i].kind == ACPI_FIX_CHECKSUM) {
			checksum(s, ACPI_FILE, t->fix[i].at, t->fix[i].start, t->fix[i].len);
			t->bytes[t->fix[i].at] = 0;
		}
	checksum(s, RSDP_FILE, ACPI_RSDP_SUM, 0, ACPI_RSDP_OLD_BYTES);
	checksum(s, RSDP_FILE, ACPI_RSDP_SUM_ALL, 0, ACPI_RSDP_BYTES);
	t->rsdp[ACPI_RSDP_SUM] = t->rsdp[ACPI_RSDP_SUM_ALL] = 0;
}

/* Again when firmware selects the script: by then it has programmed the host bridge and the BARs. */
static enum status add_acpi(struct vm *vm, struct fwcfg *f, struct error *e)
{
	uint64_t bars, bars_last, ecam = board_pci_map(vm, &bars, &bars_last);
	struct acpi_place place = acpi_place(vm, ecam, bars, bars_last);
	struct {
		struct acpi_image image;
		struct script script;
	} *t = calloc(1, sizeof(*t));
	enum status st;

	if (!t)
		return error_set(e, ST_NO_MEMORY, "no host memory for the ACPI tables");
	acpi_build(vm, &t->image, 0, &place);
	write_script(&t->script, &t->image);
	st = fwcfg_add_file(f, ACPI_FILE, t->image.bytes, t->image.used, e);
	if (st == ST_OK)
		st = fwcfg_add_file(f, RSDP_FILE, t->image.rsdp, ACPI_RSDP_BYTES, e);
	if (st == ST_OK)
		st = fwcfg_add_file(f, SCRIPT_FILE, t->script.row,
				    t->script.n * (uint32_t)sizeof(struct loader_row), e);
	free(t);
	return st;
}

static enum status add_smbios(struct vm *vm, struct fwcfg *f, struct error *e)
{
	struct smbios *s = malloc(sizeof(*s));
	enum status st;

	if (!s)
		return error_set(e, ST_NO_MEMORY, "no host memory for the SMBIOS tables");
	smbios_build(s, vm->mem.ram_bytes, vm->ncpus, 0);
	st = fwcfg_add_file(f, "etc/smbios/smbios-tables", s->bytes, s->len, e);
	if (st == ST_OK)
		st = fwcfg_add_file(f, "etc/smbios/smbios-anchor", s->anchor, SMBIOS_ANCHOR_BYTES, e);
	free(s);
	return st;
}

/* RAM as it is: what firmware takes of it, it marks itself. */
static enum status add_e820(struct vm *vm, struct fwcfg *f, struct error *e)
{
	struct {
		uint64_t base, len;
		uint32_t type;
	} __attribute__((packed)) map[2];
	uint64_t gpa, len;
	unsigned n = 0;

	for (; n < ARRAY_LEN(map) && mem_ram_piece(&vm->mem, n, &gpa, &len); n++) {
		map[n].base = gpa;
		map[n].len = len;
		map[n].type = MAP_RAM;
	}
	return fwcfg_add_file(f, "etc/e820", map, n * (uint32_t)sizeof(map[0]), e);
}

/* Programs for the firmware to run, in the place of ROMs on cards: without the VGA's the screen stays dark, without iPXE SeaBIOS
 * does not boot from a network; nothing else needs them. OVMF has drivers of its own and does not look for these. */
static enum status add_option_roms(struct fwcfg *f, struct error *e)
{
	static const struct {
		const char *file, *name, *what;
	} roms[] = {
		{VGA_BIOS, "vgaroms/vgabios.bin", "the VGA BIOS"},
		{NET_ROM, "pci1af4,1041.rom", "the ROM of network cards"},
	};

	for (unsigned i = 0; i < ARRAY_LEN(roms); i++) {
		struct boot_file file;
		enum status st;

		if (access(roms[i].file, R_OK))
			continue;
		if ((st = boot_file_read(&file, roms[i].file, roms[i].what, ROM_FILE_MAX, e)) != ST_OK)
			return st;
		st = fwcfg_add_file(f, roms[i].name, file.data, (uint32_t)file.size, e);
		boot_file_free(&file);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

/* The devices of one letter by the names that Open Firmware would give them (IEEE 1275), which is how SeaBIOS and OVMF are told. */
static const struct boot_kind {
	char letter;
	uint16_t class;		/* base class and subclass */
	const char *node, *unit; /* before and behind the slot */
} boot_kinds[] = {
	{'c', 0x0100, "scsi", "disk@0,0"},
	{'c', 0x0108, "pci8086,5845", "namespace@1,0"},
	{'d', 0x0106, "pci8086,2922", "drive@0/disk@0"},
	{'n', 0x0200, "ethernet", "ethernet-phy@0"},
};

static enum status add_boot_order(struct vm *vm, struct fwcfg *f, struct error *e)
{
	uint16_t menu = htole16(vm->cfg.boot_menu);
	char list[PCI_SLOTS * 64 + 8];
	enum status st = fwcfg_add_key(f, FWCFG_BOOT_MENU, &menu, sizeof(menu), e);
	size_t n = 0;

	for (const char *c = vm->cfg.boot_order ? vm->cfg.boot_order : ""; *c; c++)
		for (unsigned slot = 0; slot < PCI_SLOTS && n + 64 < sizeof(list); slot++)
			for (unsigned k = 0; k < ARRAY_LEN(boot_kinds); k++)
				if (boot_kinds[k].letter == *c && board_pci_class(vm, slot) == boot_kinds[k].class)
					n += (size_t)snprintf(list + n, sizeof(list) - n, "/pci@i0cf8/%s@%x/%s\n",
							      boot_kinds[k].node, slot, boot_kinds[k].unit);
	if (st != ST_OK || !vm->cfg.boot_order)
		return st;
	/* Lines, and a zero at the end; what is not named does not boot. */
	n += (size_t)snprintf(list + n, sizeof(list) - n, "HALT");
	return fwcfg_add_file(f, "bootorder", list, (uint32_t)n + 1, e);
}

static enum status add_numbers(struct vm *vm, struct fwcfg *f, struct error *e)
{
	const uint8_t uuid[16] = {0};
	uint64_t ram = htole64(boot_low_ram_end(vm));
	uint16_t cpus = htole16((uint16_t)vm->ncpus), com1 = htole16(BOARD_COM1_PORT);
	enum status st;

	if ((st = fwcfg_add_key(f, FWCFG_UUID, uuid, sizeof(uuid), e)) != ST_OK ||
	    (st = fwcfg_add_key(f, FWCFG_RAM_SIZE, &ram, sizeof(ram), e)) != ST_OK ||
	    (st = fwcfg_add_key(f, FWCFG_NB_CPUS, &cpus, sizeof(cpus), e)) != ST_OK ||
	    (st = fwcfg_add_key(f, FWCFG_MAX_CPUS, &cpus, sizeof(cpus), e)) != ST_OK)
		return st;
	return vm->cfg.serial ? fwcfg_add_file(f, "etc/sercon-port", &com1, sizeof(com1), e) : ST_OK;
}

void bios_selected(struct vm *vm, const char *name)
{
	struct error e;

	/* The script comes first; OVMF lets BARs decode while it reads that, and not when it goes on to the tables. Without host memory
	 * for it the tables of power-on stay. */
	if (!strcmp(name, SCRIPT_FILE))
		add_acpi(vm, board_fwcfg(vm), &e);
}

enum status load_bios(struct vm *vm, struct error *e)
{
	struct fwcfg *f = board_fwcfg(vm);
	enum status st;

	if ((st = add_numbers(vm, f, e)) != ST_OK || (st = add_e820(vm, f, e)) != ST_OK ||
	    (st = add_acpi(vm, f, e)) != ST_OK || (st = add_smbios(vm, f, e)) != ST_OK ||
	    (st = add_option_roms(f, e)) != ST_OK || (st = add_boot_order(vm, f, e)) != ST_OK)
		return st;
	return load_rom(vm, e);
}
