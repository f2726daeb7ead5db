/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables (ACPI 6.4 chapter 5), made from engine/board_map.h so that they cannot disagree with the board. They are laid
 * one behind the other from their origin on; firmware that wants them elsewhere is told what to correct.
 *
 *     RSDP (F0000H) -> XSDT, RSDT -> FADT -> FACS, DSDT
 *                                 -> MADT
 *                                 -> MCFG
 *
 * The DSDT is a device list: the PCI host bridge with its interrupt routing, COM1, PS/2 keyboard and mouse, the real-time
 * clock, and \_S5 for power-off. There is no HPET and no processor object: what the MADT says of processors is all that
 * there is to say of them.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/load/aml.h"
#include "engine/board_map.h"
#include "engine/load/loader.h"
#include "engine/pci/pci.h"
#include "engine/vm.h"

#define HEADER_BYTES 36
#define FADT_BYTES 268 /* revision 5 */
#define FACS_BYTES 64
#define OEM_ID "STLYRD"
#define OEM_TABLE_ID "STEELYRD"
#define CREATOR_ID "STLY"

/* FADT flags (table 5.10) and IA-PC boot flags (table 5.11). PWR_BUTTON, bit 4, is clear: the button is fixed hardware, bit 8 of the
 * PM1 registers. */
#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_SLP_BUTTON (1u << 5) /* none as fixed hardware */
#define FADT_FIX_RTC (1u << 6)    /* the RTC's wake status is not in the fixed registers */
#define FADT_TMR_VAL_EXT (1u << 8)
#define FADT_RESET_REG_SUP (1u << 10)
#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_8042 (1u << 1)
#define BOOT_NO_VGA (1u << 2)

static uint8_t checksum(const uint8_t *p, uint32_t len)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

static uint8_t *table_alloc(struct acpi_image *t, uint32_t bytes, uint32_t align, uint32_t *gpa)
{
	uint8_t *p;

	t->used = (t->used + align - 1) & ~(align - 1);
	BUG_ON(t->used + bytes > LOW_ACPI_BYTES);
	*gpa = t->origin + t->used;
	p = t->bytes + t->used;
	t->used += bytes;
	return p;
}

/* Whoever moves the tables has to correct what is noted here. */
static void note(struct acpi_image *t, enum acpi_fix_kind kind, const uint8_t *at, uint32_t start, uint32_t len)
{
	BUG_ON(t->nfixes == ACPI_MAX_FIXES);
	t->fix[t->nfixes++] = (struct acpi_fix){kind, (uint32_t)(at - t->bytes), start, len};
}

/* The address of a table in another one. */
static void put_pointer(struct acpi_image *t, uint8_t *p, uint32_t gpa, unsigned width)
{
	if (width == 8)
		put64(p, gpa);
	else
		put32(p, gpa);
	note(t, ACPI_FIX_POINTER, p, 0, width);
}

static void table_finish(struct acpi_image *t, uint8_t *p, const char *sig, uint8_t revision, uint32_t len)
{
	memcpy(p, sig, 4);
	put32(p + 4, len);
	p[8] = revision;
	p[9] = 0;
	memcpy(p + 10, OEM_ID, 6);
	memcpy(p + 16, OEM_TABLE_ID, 8);
	put32(p + 24, 1);
	memcpy(p + 28, CREATOR_ID, 4);
	put32(p + 32, 1);
	p[9] = checksum(p, len);
	note(t, ACPI_FIX_CHECKSUM, p + 9, (uint32_t)(p - t->bytes), len);
}

/* ---- DSDT ---- */

static void device(struct aml *a, const char name[4], const char *hid, struct aml_crs *crs, int uid)
{
	struct aml_pkg dev = aml_device(a, name);

	aml_name_eisaid(a, "_HID", hid);
	if (uid >= 0)
		aml_name_int(a, "_UID", (uint32_t)uid);
	aml_name_crs(a, crs);
	aml_close(a, dev);
}

/* The guest says here whether it uses the I/O APIC (ACPI 6.4 5.8.1). */
static void write_pic_method(struct aml *a)
{
	struct aml_pkg m;

	aml_name_int(a, "PICF", 0);
	m = aml_method(a, "_PIC", 1);
	aml_store_arg0(a, "PICF");
	aml_close(a, m);
}

/* Where the interrupt pins of all slots arrive (6.2.13). */
static void write_routes(struct aml *a, const char name[4], bool apic)
{
	struct aml_pkg list = aml_name_list(a, name, PCI_SLOTS * 4);

	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++)
		for (uint32_t pin = 0; pin < 4; pin++) {
			uint32_t line = pci_intx_line(slot, pin);
			const uint32_t route[4] = {slot << 16 | 0xffff, pin, 0, apic ? BOARD_PCI_GSI + line : BOARD_PCI_IRQ(line)};

			aml_package(a, route, ARRAY_LEN(route));
		}
	aml_close(a, list);
}

/* What the host bridge hands on to BARs: two windows around ECAM, always two, so that the tables keep their length when firmware moves
 * ECAM. An ECAM that leaves no room below it has all of its windows behind it. */
static void write_windows(struct aml_crs *crs, uint32_t start, uint32_t ecam)
{
	uint32_t behind = ecam + BOARD_ECAM_BYTES, half = behind + (BOARD_PCI_MEM_END - behind) / 2;

	if (ecam > start)
		aml_crs_mem_window(crs, start, ecam - 1);
	else
		aml_crs_mem_window(crs, behind, half - 1);
	aml_crs_mem_window(crs, ecam > start ? behind : half, BOARD_PCI_MEM_END - 1);
}

static void write_pci_root(struct aml *a, const struct acpi_place *place)
{
	struct aml_crs root = {0}, ecam = {0};
	struct aml_pkg dev = aml_device(a, "PCI0"), m, cond;

	aml_name_eisaid(a, "_HID", "PNP0A08");
	aml_name_eisaid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_crs_bus(&root, 0, 255);
	aml_crs_io(&root, BOARD_PCI_ADDR_PORT, 8);
	aml_crs_io_window(&root, 0, BOARD_PCI_ADDR_PORT - 1);
	aml_crs_io_window(&root, BOARD_PCI_ADDR_PORT + 8, 0xffff);
	write_windows(&root, place->pci_start, place->ecam);
	aml_crs_mem64_window(&root, place->high_start, place->high_last);
	aml_name_crs(a, &root);
	write_routes(a, "PRTA", true);
	write_routes(a, "PRTP", false);
	m = aml_method(a, "_PRT", 0);
	cond = aml_if(a, "PICF");
	aml_return(a, "PRTA");
	aml_close(a, cond);
	aml_return(a, "PRTP");
	aml_close(a, m);
	aml_close(a, dev);
	aml_crs_mem(&ecam, place->ecam, BOARD_ECAM_BYTES);
	device(a, "MRES", "PNP0C02", &ecam, 1);
}

static uint32_t write_dsdt(struct acpi_image *t, const struct acpi_place *place)
{
	const uint32_t s5[4] = {BOARD_SLP_TYP_S5, BOARD_SLP_TYP_S5, 0, 0};
	struct aml_crs com1 = {0}, kbd = {0}, mouse = {0}, rtc = {0};
	uint32_t gpa, room = 8192;
	uint8_t *p = table_alloc(t, room, 16, &gpa);
	struct aml_pkg sb;
	struct aml a;

	aml_crs_io(&com1, BOARD_COM1_PORT, BOARD_COM1_LEN);
	aml_crs_irq(&com1, BOARD_IRQ_COM1);
	aml_crs_io(&kbd, BOARD_KBC_DATA_PORT, 1);
	aml_crs_io(&kbd, BOARD_KBC_CMD_PORT, 1);
	aml_crs_irq(&kbd, BOARD_IRQ_KBD);
	aml_crs_irq(&mouse, BOARD_IRQ_AUX);
	aml_crs_io(&rtc, BOARD_RTC_PORT, BOARD_RTC_LEN);
	aml_crs_irq(&rtc, BOARD_IRQ_RTC);

	aml_init(&a, p + HEADER_BYTES, room - HEADER_BYTES);
	aml_name_package(&a, "_S5_", s5, ARRAY_LEN(s5));
	write_pic_method(&a);
	sb = aml_scope(&a, "_SB_");
	write_pci_root(&a, place);
	device(&a, "COM1", "PNP0501", &com1, 1);
	device(&a, "PS2K", "PNP0303", &kbd, -1);
	device(&a, "PS2M", "PNP0F13", &mouse, -1);
	device(&a, "RTC_", "PNP0B00", &rtc, -1);
	aml_close(&a, sb);
	BUG_ON(a.overflow);
	table_finish(t, p, "DSDT", 2, HEADER_BYTES + aml_length(&a));
	return gpa;
}

/* ---- FACS and FADT ---- */

static uint32_t write_facs(struct acpi_image *t)
{
	uint32_t gpa;
	uint8_t *p = table_alloc(t, FACS_BYTES, 64, &gpa);

	memcpy(p, "FACS", 4);
	put32(p + 4, FACS_BYTES);
	p[32] = 2; /* version */
	return gpa;
}

/* Generic address of an I/O register (table 5.1). access: 1 byte, 2 word, 3 double word */
static void put_gas(uint8_t *p, uint32_t port, uint32_t bytes, uint8_t access)
{
	p[0] = 1; /* system I/O */
	p[1] = (uint8_t)(bytes * 8);
	p[2] = 0;
	p[3] = access;
	put64(p + 4, port);
}

static uint32_t write_fadt(struct acpi_image *t, uint32_t facs, uint32_t dsdt, bool vga)
{
	uint32_t gpa;
	uint8_t *p = table_alloc(t, FADT_BYTES, 16, &gpa);

	put_pointer(t, p + 36, facs, 4);
	put_pointer(t, p + 40, dsdt, 4);
	p[45] = 0; /* preferred profile: unspecified */
	put16(p + 46, BOARD_IRQ_SCI);
	put32(p + 48, BOARD_SMI_PORT);
	p[52] = BOARD_ACPI_ENABLE;
	p[53] = BOARD_ACPI_DISABLE;
	put32(p + 56, BOARD_PM1A_EVT_PORT);
	put32(p + 64, BOARD_PM1A_CNT_PORT);
	put32(p + 76, BOARD_PM_TMR_PORT);
	put32(p + 80, BOARD_GPE0_PORT);
	p[88] = BOARD_PM1A_EVT_LEN;
	p[89] = BOARD_PM1A_CNT_LEN;
	p[91] = BOARD_PM_TMR_LEN;
	p[92] = BOARD_GPE0_LEN;
	put16(p + 96, 0xfff); /* C2 and C3 latencies: too long, so not there */
	put16(p + 98, 0xfff);
	p[108] = BOARD_RTC_CENTURY;
	put16(p + 109, BOOT_LEGACY_DEVICES | BOOT_8042 | (vga ? 0 : BOOT_NO_VGA));
	put32(p + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
			       (BOARD_PM_TMR_32BIT ? FADT_TMR_VAL_EXT : 0) | FADT_RESET_REG_SUP);
	put_gas(p + 116, BOARD_RESET_PORT, 1, 1);
	p[128] = BOARD_RESET_VALUE;
	p[131] = 1;        /* minor version */
	put64(p + 132, 0); /* X_FIRMWARE_CTRL: the 32-bit field says it (5.2.9: not both) */
	put_pointer(t, p + 140, dsdt, 8);
	put_gas(p + 148, BOARD_PM1A_EVT_PORT, BOARD_PM1A_EVT_LEN, 2);
	put_gas(p + 172, BOARD_PM1A_CNT_PORT, BOARD_PM1A_CNT_LEN, 2);
	put_gas(p + 208, BOARD_PM_TMR_PORT, BOARD_PM_TMR_LEN, 3);
	put_gas(p + 220, BOARD_GPE0_PORT, BOARD_GPE0_LEN, 1);
	table_finish(t, p, "FACP", 5, FADT_BYTES);
	return gpa;
}

/* ---- MADT (5.2.12) ---- */

static uint8_t *madt_override(uint8_t *p, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	p[0] = 2;
	p[1] = 10;
	p[2] = 0; /* ISA */
	p[3] = irq;
	put32(p + 4, gsi);
	put16(p + 8, flags);
	return p + 10;
}

static uint32_t write_madt(struct acpi_image *t, unsigned ncpus)
{
	uint32_t gpa, bytes = HEADER_BYTES + 8 + 8 * ncpus + 12 + 2 * 10 + 6;
	uint8_t *start = table_alloc(t, bytes, 16, &gpa), *p = start + HEADER_BYTES;

	put32(p, BOARD_LAPIC_GPA);
	put32(p + 4, 1); /* PCAT_COMPAT: there are two 8259s too */
	p += 8;
	for (unsigned i = 0; i < ncpus; i++, p += 8) {
		p[0] = 0;
		p[1] = 8;
		p[2] = p[3] = (uint8_t)i;
		put32(p + 4, 1); /* enabled */
	}
	p[0] = 1;
	p[1] = 12;
	p[2] = BOARD_IOAPIC_ID;
	put32(p + 4, BOARD_IOAPIC_GPA);
	put32(p + 8, BOARD_IOAPIC_GSI_BASE);
	p += 12;
	p = madt_override(p, BOARD_IRQ_PIT, BOARD_PIT_GSI, 0);
	p = madt_override(p, BOARD_IRQ_SCI, BOARD_IRQ_SCI, 0x000d); /* level, active high */
	p[0] = 4;
	p[1] = 6;
	p[2] = 0xff; /* all processors */
	put16(p + 3, 0);
	p[5] = 1; /* LINT1 is NMI */
	p += 6;
	BUG_ON((uint32_t)(p - start) != bytes);
	table_finish(t, start, "APIC", 4, bytes);
	return gpa;
}

/* Where configuration space is in memory (PCI Firmware Specification 3.2, 4.1.2). */
static uint32_t write_mcfg(struct acpi_image *t, uint32_t ecam)
{
	uint32_t gpa, bytes = HEADER_BYTES + 8 + 16;
	uint8_t *p = table_alloc(t, bytes, 16, &gpa);

	put64(p + HEADER_BYTES + 8, ecam);
	p[HEADER_BYTES + 8 + 11] = 255; /* the last bus */
	table_finish(t, p, "MCFG", 1, bytes);
	return gpa;
}

/* ---- roots ---- */

static uint32_t write_root(struct acpi_image *t, const char *sig, const uint32_t *table, unsigned n, unsigned width)
{
	uint32_t gpa, bytes = HEADER_BYTES + n * width;
	uint8_t *p = table_alloc(t, bytes, 16, &gpa);

	for (unsigned i = 0; i < n; i++)
		put_pointer(t, p + HEADER_BYTES + width * i, table[i], width);
	table_finish(t, p, sig, 1, bytes);
	return gpa;
}

static void write_rsdp(uint8_t *p, uint32_t rsdt, uint32_t xsdt)
{
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, OEM_ID, 6);
	p[15] = 2;
	put32(p + ACPI_RSDP_RSDT, rsdt);
	put32(p + 20, ACPI_RSDP_BYTES);
	put64(p + ACPI_RSDP_XSDT, xsdt);
	p[ACPI_RSDP_SUM] = checksum(p, ACPI_RSDP_OLD_BYTES);
	p[ACPI_RSDP_SUM_ALL] = checksum(p, ACPI_RSDP_BYTES);
}

#define GIB (1ull << 30)
#define HIGH_BYTES (32 * GIB) /* of the window above 4 GiB while no BAR is there */

struct acpi_place acpi_place(const struct vm *vm, uint64_t ecam, uint64_t bars, uint64_t bars_last)
{
	struct acpi_place p = {.pci_start = (uint32_t)vm->mem.hole_start, .ecam = BOARD_ECAM_GPA};
	uint64_t gpa, len, end = MEM_HOLE_END;

	for (unsigned i = 0; mem_ram_piece(&vm->mem, i, &gpa, &len); i++)
		end = gpa + len > end ? gpa + len : end;
	p.high_start = (end + GIB - 1) & ~(GIB - 1);
	p.high_last = p.high_start + HIGH_BYTES - 1;
	if (bars >= p.high_start && bars <= bars_last) {
		p.high_start = bars & ~(GIB - 1);
		p.high_last = bars_last | (GIB - 1);
	}

	/* Firmware may put it anywhere; what is not in the hole is no place of this board's. */
	if (ecam >= p.pci_start && ecam + BOARD_ECAM_BYTES < BOARD_PCI_MEM_END)
		p.ecam = (uint32_t)ecam;
	return p;
}

void acpi_build(const struct vm *vm, struct acpi_image *t, uint32_t origin, const struct acpi_place *place)
{
	uint32_t table[3], rsdt, xsdt;

	*t = (struct acpi_image){.origin = origin};
	table[0] = write_facs(t);
	table[0] = write_fadt(t, table[0], write_dsdt(t, place), vm->cfg.bios != NULL);
	table[1] = write_madt(t, vm->ncpus);
	table[2] = write_mcfg(t, place->ecam);
	rsdt = write_root(t, "RSDT", table, ARRAY_LEN(table), 4);
	xsdt = write_root(t, "XSDT", table, ARRAY_LEN(table), 8);
	write_rsdp(t->rsdp, rsdt, xsdt);
}

enum status acpi_write_tables(struct vm *vm, struct error *e)
{
	struct acpi_place place = acpi_place(vm, BOARD_ECAM_GPA, 0, 0);
	struct acpi_image *t = malloc(sizeof(*t));

	if (!t)
		return error_set(e, ST_NO_MEMORY, "no host memory for the ACPI tables");
	acpi_build(vm, t, LOW_ACPI, &place);
	mem_write(&vm->mem, LOW_ACPI, t->bytes, LOW_ACPI_BYTES);
	mem_write(&vm->mem, LOW_RSDP, t->rsdp, sizeof(t->rsdp));
	free(t);
	return ST_OK;
}
