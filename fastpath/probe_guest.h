/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe's tiny guests: where what is in their 2 MiB of memory. C and assembly read this.
 * Linear addresses are physical ones, but for PG_ALIAS (PG_TEST again: tells paging from none) and PG_SUPER (the first
 * megabytes again, as supervisor pages). PG_MMIO is behind the end of memory.
 */
#ifndef STEELYARD_PROBE_GUEST_H
#define STEELYARD_PROBE_GUEST_H

#define PG_MEM_BYTES 0x200000

#define PG_IVT 0x0000
#define PG_GDT 0x1000
#define PG_TSS64 0x1800
#define PG_TSS32 0x1a00
#define PG_IDT64 0x2000
#define PG_IDT32 0x3000
#define PG_PML4 0x4000
#define PG_PDPT 0x5000
#define PG_PD 0x6000
#define PG_PT0 0x7000
#define PG_PT1 0x8000
#define PG_PT2 0x9000
#define PG_PD32 0xa000
#define PG_PT32 0xb000
#define PG_PDPT_PAE 0xc000
#define PG_PD_PAE 0xd000
#define PG_PML4_B 0xe000 /* a second root, the same mappings: loading it is a flush */
#define PG_CODE 0x10000  /* the guests' code; real mode sees it as segment 0x1000 */
#define PG_DATA 0x20000  /* what loops and handlers read and write; real mode's segment 0x2000 */
#define PG_STACK0 0x30000
#define PG_STACK3 0x38000
#define PG_TEST 0x40000 /* pages that tests read and write */
#define PG_ARRAY 0x60000
#define PG_FRESH 0x100000 /* pages that nobody has touched */
#define PG_FRESH_PAGES 256
#define PG_MMIO 0x200000
#define PG_ALIAS 0x3f0000
#define PG_SUPER 0x400000

/* What the exception handlers leave: 64-bit words from PG_EXC on. */
#define PG_EXC (PG_DATA + 0x800)
#define PG_EXC_VECTOR (PG_EXC + 0x00)
#define PG_EXC_ERROR (PG_EXC + 0x08)
#define PG_EXC_RIP (PG_EXC + 0x10)
#define PG_EXC_CS (PG_EXC + 0x18)
#define PG_EXC_CR2 (PG_EXC + 0x20)
#define PG_EXC_HANDLER_CS (PG_EXC + 0x28)

#define PG_VECTORS 80
#define PG_VECTOR_INT 0x41 /* software interrupt, DPL 3 */
#define PG_VECTOR_IRQ 0x42
#define PG_STUB_BYTES 16

/* Selectors. */
#define PG_CS64 0x08
#define PG_DS 0x10
#define PG_CS32 0x18
#define PG_CS32_USER 0x23
#define PG_DS_USER 0x2b
#define PG_CS64_USER 0x33
#define PG_CS16 0x38
#define PG_DS16 0x40
#define PG_TSS 0x48

/* Ports on which guests speak. */
#define PG_DONE 0xe0 /* at the end */
#define PG_EXCEPTION 0xe1
#define PG_NOTE 0xe2 /* on the way */

#define PG_LOOP_INSNS 8 /* in one round of the speed loop */

#endif
