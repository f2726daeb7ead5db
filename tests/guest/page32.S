/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 32-bit paging with and without PSE, then PAE with NX: error codes, A and D, WP, large pages, mapping changes. */
#define GUEST32
#include "lib.inc"
#define WIN 0x40000000
#define PHYS 0x1000000
#define PTE(n) pt + (n) * 4
#define PTE8(n) pt + (n) * 8
test_main:
	CASE(1)
	/* page directory: 4 MiB identity pages, and one table of 4 KiB pages for WIN */
	mov $pgdir, %edi
	mov $0x87, %eax
	mov $1024, %ecx
1:	mov %eax, (%edi)
	add $4, %edi
	add $0x400000, %eax
	loop 1b
	movl $pt + 7, pgdir + (WIN >> 22) * 4
	mov $pt, %edi
	mov $PHYS + 7, %eax
	mov $1024, %ecx
1:	mov %eax, (%edi)
	add $4, %edi
	add $4096, %eax
	loop 1b
	mov %cr4, %eax
	or $0x10, %eax
	mov %eax, %cr4
	mov $pgdir, %eax
	mov %eax, %cr3
	mov %cr0, %eax
	or $0x80010000, %eax
	mov %eax, %cr0
	CASE(2)			/* A, then D */
	mov WIN, %eax
	EQ(PTE(0), PHYS + 0x27)
	testl $0x20, pgdir + (WIN >> 22) * 4
	jz fail
	movl $0x1234, WIN + 4
	EQ(PTE(0), PHYS + 0x67)
	EQ(PHYS + 4, 0x1234)
	CASE(3)			/* large page: A and D in the directory */
	movl $0x800087, pgdir + ((WIN >> 22) + 1) * 4
	mov %cr3, %eax
	mov %eax, %cr3
	mov WIN + 0x400000, %eax
	EQ(pgdir + ((WIN >> 22) + 1) * 4, 0x8000a7)
	movl $0x4321, WIN + 0x401000
	EQ(pgdir + ((WIN >> 22) + 1) * 4, 0x8000e7)
	EQ(0x801000, 0x4321)
	CASE(4)			/* not present */
	movl $0, PTE(3)
	invlpg WIN + 0x3000
	TRY(1f)
	mov WIN + 0x3004, %ecx
1:	EXC(14, 0)
	EQ(ex_cr2, WIN + 0x3004)
	TRY(1f)
	movl $1, WIN + 0x3004
1:	EXC(14, 2)
	CASE(5)			/* no I bit in the error code without NX */
	mov $WIN + 0x3000, %ecx
	TRY(1f)
	jmp *%ecx
1:	EXC(14, 0)
	CASE(6)			/* WP */
	movl $PHYS + 0x4005, PTE(4)
	invlpg WIN + 0x4000
	TRY(1f)
	movl $1, WIN + 0x4000
1:	EXC(14, 3)
	mov %cr0, %eax
	btr $16, %eax
	mov %eax, %cr0
	movl $0x66, WIN + 0x4000
	EQ(PHYS + 0x4000, 0x66)
	bts $16, %eax
	mov %eax, %cr0
	CASE(7)			/* CPL 3 */
	movl $PHYS + 0x5003, PTE(5)
	invlpg WIN + 0x5000
	USER(user_read5, 1f)
1:	EXC(14, 5)
	USER(user_write5, 1f)
1:	EXC(14, 7)
	USER(user_write4, 1f)
1:	EXC(14, 7)
	USER(user_read3, 1f)
1:	EXC(14, 4)
	CASE(8)			/* reserved bit 21 of a 4 MiB page */
	movl $0x00a00087, pgdir + ((WIN >> 22) + 1) * 4
	mov %cr3, %eax
	mov %eax, %cr3
	TRY(1f)
	mov WIN + 0x400000, %ecx
1:	EXC(14, 9)
	CASE(9)			/* PSE off: the same entry is a pointer to a table */
	movl $pt + 0x87, pgdir + ((WIN >> 22) + 1) * 4
	mov %cr4, %eax
	btr $4, %eax
	/* our own code lies in a large page: turn paging off meanwhile */
	mov %cr0, %ebx
	btr $31, %ebx
	mov %ebx, %cr0
	mov %eax, %cr4
	movl $pt0 + 7, pgdir
	mov $pt0, %edi
	mov $7, %eax
	mov $1024, %ecx
1:	mov %eax, (%edi)
	add $4, %edi
	add $4096, %eax
	loop 1b
	bts $31, %ebx
	mov %ebx, %cr0
	EQ(WIN + 0x400004, 0x1234)
	btr $31, %ebx
	mov %ebx, %cr0
	CASE(10)		/* PAE: four directories, loaded with CR3 */
	mov $pdpt_pae, %edi
	mov $pd + 1, %eax
	mov $4, %ecx
1:	mov %eax, (%edi)
	add $8, %edi
	add $4096, %eax
	loop 1b
	mov $pd, %edi
	mov $0x87, %eax
	mov $2048, %ecx
1:	mov %eax, (%edi)
	add $8, %edi
	add $0x200000, %eax
	loop 1b
	mov $pt, %edi
	mov $PHYS + 7, %eax
	mov $512, %ecx
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $8, %edi
	add $4096, %eax
	loop 1b
	movl $pt + 7, pd + 4096
	mov $pdpt_pae, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	bts $5, %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	bts $11, %eax
	wrmsr
	bts $31, %ebx
	mov %ebx, %cr0
	mov WIN, %eax
	EQ(PTE8(0), PHYS + 0x27)
	movl $0x5678, WIN + 4
	EQ(PTE8(0), PHYS + 0x67)
	CASE(11)		/* NX */
	movl $0x80000000, PTE8(2) + 4
	invlpg WIN + 0x2000
	movb $0xc3, WIN + 0x2000
	mov $WIN + 0x2000, %ecx
	TRY(1f)
	call *%ecx
	jmp fail
1:	EXC(14, 0x11)
	CASE(12)		/* not present, fetch */
	movl $0, PTE8(3)
	invlpg WIN + 0x3000
	mov $WIN + 0x3000, %ecx
	TRY(1f)
	jmp *%ecx
1:	EXC(14, 0x10)
	CASE(13)		/* PDPTEs are read at MOV CR3 only */
	movl $0, pdpt_pae + 8
	mov WIN, %eax
	mov WIN + 0x1000, %eax
	mov %cr3, %eax
	mov %eax, %cr3
	TRY(1f)
	mov WIN, %ecx
1:	EXC(14, 0)
	CASE(14)		/* a reserved bit in a PDPTE: #GP(0) at MOV CR3 */
	movl $pd + 4096 + 7, pdpt_pae + 8
	mov %cr3, %eax
	TRY(1f)
	mov %eax, %cr3
	jmp fail
1:	EXC(13, 0)
	ret

user_read5:
	mov WIN + 0x5000, %ecx
user_write5:
	movl $1, WIN + 0x5000
user_write4:
	movl $1, WIN + 0x4000
user_read3:
	mov WIN + 0x3000, %ecx

	.bss
	.balign 4096
pgdir:	.skip 4096
pt:	.skip 4096
pt0:	.skip 4096
pdpt_pae: .skip 4096
