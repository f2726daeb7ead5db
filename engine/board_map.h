/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things are on the board: ports, addresses, interrupt lines. One fact, one row: the board (engine/board.c) wires
 * by these, the firmware tables (ACPI) describe them to the guest. No code, no state.
 */
#ifndef STEELYARD_BOARD_MAP_H
#define STEELYARD_BOARD_MAP_H

/* Memory-mapped */
#define BOARD_IOAPIC_GPA 0xfec00000u
#define BOARD_IOAPIC_BYTES 0x1000u
#define BOARD_IOAPIC_ID 0
#define BOARD_IOAPIC_GSI_BASE 0
#define BOARD_IOAPIC_PINS 24
#define BOARD_LAPIC_GPA 0xfee00000u /* at reset; each vCPU handles its own window */

/* Ports: base and length */
#define BOARD_PIC1_PORT 0x20u
#define BOARD_PIC2_PORT 0xa0u
#define BOARD_PIC_LEN 2u
#define BOARD_ELCR_PORT 0x4d0u
#define BOARD_ELCR_LEN 2u
#define BOARD_PIT_PORT 0x40u
#define BOARD_PIT_LEN 4u
#define BOARD_PORT61_PORT 0x61u
#define BOARD_KBC_DATA_PORT 0x60u
#define BOARD_KBC_CMD_PORT 0x64u
#define BOARD_RTC_PORT 0x70u
#define BOARD_RTC_LEN 2u
#define BOARD_POST_PORT 0x80u
#define BOARD_DELAY_PORT 0xedu
#define BOARD_PORT92_PORT 0x92u
#define BOARD_SMI_PORT 0xb2u /* FADT SMI_CMD; 0xb3 is its data byte */
#define BOARD_SMI_LEN 2u
#define BOARD_DEBUGCON_PORT 0xe9u
#define BOARD_VGA_PORT 0x3b0u
#define BOARD_VGA_LEN 0x30u
#define BOARD_FIRMWARE_LOG_PORT 0x402u /* where SeaBIOS and OVMF write what they do */
#define BOARD_FWCFG_PORT 0x510u
#define BOARD_FWCFG_LEN 12u
#define BOARD_DEBUG_EXIT_PORT 0xf4 /* default; configurable */
#define BOARD_DEBUG_EXIT_LEN 4u
#define BOARD_COM1_PORT 0x3f8u
#define BOARD_COM1_LEN 8u
#define BOARD_COM1_HZ 1843200u
#define BOARD_RESET_PORT 0xcf9u /* inside PCI_CONFIG_ADDRESS, but byte accesses are the chipset's */
#define BOARD_PCI_ADDR_PORT 0xcf8u
#define BOARD_PCI_DATA_PORT 0xcfcu

/* ACPI fixed hardware (ACPI 6.4 4.8) */
#define BOARD_PM_PORT 0x600u
#define BOARD_PM_LEN 0x24u
#define BOARD_PM1A_EVT_PORT 0x600u
#define BOARD_PM1A_EVT_LEN 4u
#define BOARD_PM1A_CNT_PORT 0x604u
#define BOARD_PM1A_CNT_LEN 2u
#define BOARD_PM_TMR_PORT 0x608u
#define BOARD_PM_TMR_LEN 4u
#define BOARD_PM_TMR_32BIT 1 /* FADT flag TMR_VAL_EXT */
#define BOARD_GPE0_PORT 0x620u
#define BOARD_GPE0_LEN 4u /* two bytes of status, two of enable */
#define BOARD_ACPI_ENABLE 0xf1u
#define BOARD_ACPI_DISABLE 0xf0u
#define BOARD_SLP_TYP_S5 0u     /* \_S5: writing SLP_EN (0x2000) alone to PM1a_CNT powers off */
#define BOARD_RESET_VALUE 0x06u /* FADT RESET_VALUE for BOARD_RESET_PORT */

/* ISA interrupt lines; IRQ n is I/O APIC pin n except as said */
#define BOARD_IRQ_PIT 0
#define BOARD_PIT_GSI 2 /* IRQ 0 arrives on pin 2 (MADT override: edge, active high) */
#define BOARD_IRQ_KBD 1
#define BOARD_IRQ_CASCADE 2
#define BOARD_IRQ_COM1 4
#define BOARD_IRQ_RTC 8
#define BOARD_IRQ_SCI 9 /* level, active high (MADT override flags 0x000d) */
#define BOARD_IRQ_AUX 12
#define BOARD_ISA_IRQS 16

/* PCI: slot S's INTA is line S % 8; line n is I/O APIC pin 16 + n, and one of two level-triggered 8259 inputs: two lines to the
 * one, two to the other, and again (what SeaBIOS programs in the interrupt line registers of a Q35) */
#define BOARD_PCI_GSI 16u
#define BOARD_PCI_LINES 8u
#define BOARD_PCI_IRQ(line) (10u + ((line) >> 1 & 1u))
#define BOARD_PCI_IRQ_FIRST 10u
#define BOARD_PCI_IRQS 2u
#define BOARD_ECAM_GPA 0xe0000000u /* 256 buses; firmware puts them where it likes: board_ecam() */
#define BOARD_ECAM_BYTES 0x10000000u
#define BOARD_PCI_MEM_GPA 0xc0000000u /* where BARs go without firmware: from the end of low RAM to ECAM */
#define BOARD_PCI_MEM_BYTES 0x20000000u
#define BOARD_PCI_MEM_END 0xfec00000u	  /* behind ECAM they may go up to here */
#define BOARD_FIRMWARE_MAX 0x1000000u	  /* firmware and its variables, below 4 GiB */
#define BOARD_FIRMWARE_HOLE 0x80000000ull /* RAM ends here with firmware, which wants ECAM and BARs below 3 GiB (Q35) */
#define BOARD_PCI_IO_PORT 0xc000u
#define BOARD_PCI_IO_LEN 0x4000u

/* CMOS: index of the century byte (FADT CENTURY) */
#define BOARD_RTC_CENTURY 0x32u

#endif
