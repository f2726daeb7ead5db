/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 4-level paging: every bit of the error code, A and D, WP, NX, SMEP, SMAP, reserved bits, sizes, global pages, INVLPG. */
#define GUEST64
#include "lib.inc"
/* A page table of 4 KiB pages for the 2 MiB at 1 GiB; page n is at 1 GiB + n * 4 KiB and maps physical 16 MiB + n * 4 KiB. */
#define WIN 0x40000000
#define PHYS 0x1000000
#define PTE(n) pt + (n) * 8
test_main:
	movl $pt + 7, pd + 4096
	mov $PHYS + 7, %eax
	mov $pt, %edi
	mov $512, %ecx
1:	mov %rax, (%rdi)
	add $8, %rdi
	add $4096, %rax
	loop 1b
	mov %cr3, %rax
	mov %rax, %cr3
	CASE(1)			/* a read sets A and not D, in every level */
	mov WIN, %eax
	EQ(PTE(0), PHYS + 0x27)
	testl $0x20, pd + 4096
	jz fail
	testl $0x20, pml4
	jz fail
	testl $0x40, pd + 4096
	jnz fail
	CASE(2)			/* a write sets D */
	movl $0x11223344, WIN + 8
	EQ(PTE(0), PHYS + 0x67)
	EQ(PHYS + 8, 0x11223344)
	CASE(3)			/* a read first, then a write, through the TLB */
	mov WIN + 0x1000, %eax
	movl $1, WIN + 0x1000
	EQ(PTE(1), PHYS + 0x1067)
	CASE(4)			/* a read-modify-write of a page that was only read */
	mov WIN + 0x2000, %eax
	lock incl WIN + 0x2000
	EQ(PTE(2), PHYS + 0x2067)
	CASE(5)			/* not present: read, write, fetch */
	movq $0, PTE(3)
	invlpg WIN + 0x3000
	TRY(1f)
	mov WIN + 0x3004, %ecx
1:	EXC(14, 0)
	EQ(ex_cr2, WIN + 0x3004)
	TRY(1f)
	movb $1, WIN + 0x3005
1:	EXC(14, 2)
	CASE(6)			/* a fetch has its bit in the error code when NXE is set */
	mov $WIN + 0x3010, %ecx
	TRY(1f)
	jmp *%rcx
1:	EXC(14, 0x10)
	CASE(7)			/* write protection: CPL 0 with WP */
	movq $PHYS + 0x4005, PTE(4)
	invlpg WIN + 0x4000
	mov WIN + 0x4000, %ecx
	TRY(1f)
	movl $1, WIN + 0x4000
1:	EXC(14, 3)
	CASE(8)			/* and without WP */
	mov %cr0, %rax
	btr $16, %rax
	mov %rax, %cr0
	movl $0x55, WIN + 0x4000
	EQ(PHYS + 0x4000, 0x55)
	EQ(PTE(4), PHYS + 0x4065)
	bts $16, %rax
	mov %rax, %cr0
	TRY(1f)
	movl $1, WIN + 0x4000
1:	EXC(14, 3)
	CASE(9)			/* CPL 3 and a supervisor page */
	movq $PHYS + 0x5003, PTE(5)
	invlpg WIN + 0x5000
	USER(user_read5, 1f)
1:	EXC(14, 5)
	USER(user_write5, 1f)
1:	EXC(14, 7)
	USER(user_exec5, 1f)
1:	EXC(14, 0x15)
	CASE(10)		/* CPL 3 and a read-only page */
	USER(user_write4, 1f)
1:	EXC(14, 7)
	CASE(11)		/* no-execute */
	movl $0x80000000, PTE(6) + 4
	invlpg WIN + 0x6000
	movb $0xc3, WIN + 0x6000
	mov $WIN + 0x6000, %ecx
	TRY(1f)
	call *%rcx
	jmp fail
1:	EXC(14, 0x11)
	movl $0, PTE(6) + 4
	invlpg WIN + 0x6000
	call *%rcx
	CASE(12)		/* a reserved bit: error code bit 3 */
	movl $0x00080000, PTE(7) + 4
	invlpg WIN + 0x7000
	TRY(1f)
	mov WIN + 0x7000, %ecx
1:	EXC(14, 9)
	TRY(1f)
	movl $1, WIN + 0x7000
1:	EXC(14, 0xb)
	CASE(13)		/* rights are those of all levels: a read-only PDE */
	mov pd + 4096, %eax
	and $~2, %eax
	mov %eax, pd + 4096
	mov %cr3, %rax
	mov %rax, %cr3
	TRY(1f)
	movl $1, WIN + 0x1000
1:	EXC(14, 3)
	orl $2, pd + 4096
	CASE(14)		/* a large page with a reserved bit set (bit 13) */
	movl $0x01002000 + 0x87, pd + 4096 + 8
	mov %cr3, %rax
	mov %rax, %cr3
	TRY(1f)
	mov WIN + 0x200000, %ecx
1:	EXC(14, 9)
	CASE(15)		/* a 2 MiB page: A, D, the right byte */
	movl $0x01000087, pd + 4096 + 8
	invlpg WIN + 0x200000
	movl $0x77, PHYS + 0x12345
	EQ(WIN + 0x200000 + 0x12345, 0x77)
	EQ(pd + 4096 + 8, 0x010000a7)
	movl $0x78, WIN + 0x200000 + 0x12345
	EQ(pd + 4096 + 8, 0x010000e7)
	CASE(16)		/* changed mapping, then INVLPG */
	movl $0x101, PHYS + 0x8000
	movl $0x102, PHYS + 0x9000
	EQ(WIN + 0x8000, 0x101)
	movq $PHYS + 0x9007, PTE(8)
	invlpg WIN + 0x8000
	EQ(WIN + 0x8000, 0x102)
	CASE(17)		/* changed mapping, then MOV CR3 */
	movq $PHYS + 0x8007, PTE(8)
	mov %cr3, %rax
	mov %rax, %cr3
	EQ(WIN + 0x8000, 0x101)
	CASE(18)		/* a global page outlives MOV CR3, not INVLPG nor a change of CR4.PGE */
	mov %cr4, %rax
	bts $7, %rax
	mov %rax, %cr4
	movq $PHYS + 0x8107, PTE(8)
	invlpg WIN + 0x8000
	EQ(WIN + 0x8000, 0x101)
	movq $PHYS + 0x9107, PTE(8)
	invlpg WIN + 0x8000
	EQ(WIN + 0x8000, 0x102)
	movq $PHYS + 0x8107, PTE(8)
	mov %cr4, %rax
	btr $7, %rax
	mov %rax, %cr4
	EQ(WIN + 0x8000, 0x101)
	CASE(19)		/* an access across two pages: the second faults, nothing is written */
	movl $0xaaaaaaaa, WIN + 0x2ffc
	TRY(1f)
	movl $0x12345678, WIN + 0x2ffe
1:	EXC(14, 2)
	EQ(ex_cr2, WIN + 0x3000)
	EQ(WIN + 0x2ffc, 0xaaaaaaaa)
	CASE(20)		/* code across two pages, the second not there: CR2 is its start, RIP the instruction's */
	movb $0xb8, WIN + 0x2ffe
	mov $WIN + 0x2ffe, %ecx
	TRY(1f)
	jmp *%rcx
1:	EXC(14, 0x10)
	EQ(ex_cr2, WIN + 0x3000)
	EQ(ex_ip, WIN + 0x2ffe)
	CASE(21)		/* SMEP */
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	mov %ebx, %r12d
	bt $7, %r12d
	jnc 3f
	movb $0xc3, WIN + 0xa000
	mov $WIN + 0xa000, %edi
	call *%rdi
	/* the guest itself lies in user pages: give it supervisor ones */
	call supervisor_low
	mov %cr4, %rax
	bts $20, %rax
	mov %rax, %cr4
	TRY(1f)
	call *%rdi
	jmp fail
1:	EXC(14, 0x11)
	mov %cr4, %rax
	btr $20, %rax
	mov %rax, %cr4
	CASE(22)		/* SMAP, STAC, CLAC */
	bt $20, %r12d
	jnc 3f
	bts $21, %rax
	mov %rax, %cr4
	TRY(1f)
	mov WIN + 0xa000, %ecx
1:	EXC(14, 1)
	TRY(1f)
	movl $1, WIN + 0xa000
1:	EXC(14, 3)
	.byte 0x0f, 0x01, 0xcb	/* STAC */
	movl $0x99, WIN + 0xa000
	EQ(WIN + 0xa000, 0x99)
	.byte 0x0f, 0x01, 0xca	/* CLAC */
	TRY(1f)
	mov WIN + 0xa000, %ecx
1:	EXC(14, 1)
	mov %cr4, %rax
	btr $21, %rax
	mov %rax, %cr4
3:	ret

/* Clears U in the pages of the first 64 MiB, where this guest is. */
supervisor_low:
	mov $32, %ecx
	mov $pd, %esi
1:	andl $~4, (%rsi)
	add $8, %rsi
	loop 1b
	mov %cr3, %rax
	mov %rax, %cr3
	ret

user_read5:
	mov WIN + 0x5000, %ecx
user_write5:
	movl $1, WIN + 0x5000
user_exec5:
	mov $WIN + 0x5000, %ecx
	jmp *%rcx
user_write4:
	movl $1, WIN + 0x4000

	.bss
	.balign 4096
pt:	.skip 4096
