/* SPDX-License-Identifier: GPL-2.0-or-later */
/* String instructions that cross pages and fault in the middle: the state at the fault, and the restart after it. */
#define GUEST64
#include "lib.inc"
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
	/* a pattern in physical pages 0-7 */
	mov $PHYS, %edi
	mov $0x8000, %ecx
1:	mov %ecx, %eax
	imul $0x9d, %eax
	stosb
	loop 1b
	movq $0, PTE(3)
	invlpg WIN + 0x3000
	CASE(1)			/* REP MOVSB, the source ends at a missing page */
	mov $WIN + 0x2f00, %esi
	mov $WIN + 0x10000, %edi
	mov $0x200, %ecx
	TRY(1f)
0:	rep movsb
	jmp fail
1:	EXC(14, 0)
	EQ(ex_cr2, WIN + 0x3000)
	EQ(ex_ip, 0b)
	EQ(%ecx, 0x100)
	EQ(%esi, WIN + 0x3000)
	EQ(%edi, WIN + 0x10100)
	CASE(2)			/* and goes on when the page is there */
	movq $PHYS + 0x3007, PTE(3)
	rep movsb
	EQ(%ecx, 0)
	mov $WIN + 0x2f00, %esi
	mov $WIN + 0x10000, %edi
	mov $0x200, %ecx
	repe cmpsb
	jne fail
	CASE(3)			/* the destination ends: nothing of the element is lost */
	movq $0, PTE(3)
	invlpg WIN + 0x3000
	mov $WIN + 0x4001, %esi
	mov $WIN + 0x2ff1, %edi
	mov $5, %ecx
	TRY(1f)
	rep movsq
	jmp fail
1:	EXC(14, 2)
	EQ(ex_cr2, WIN + 0x3000)
	EQ(%ecx, 4)
	EQ(%esi, WIN + 0x4009)
	EQ(%edi, WIN + 0x2ff9)
	CASE(4)			/* downwards */
	std
	mov $WIN + 0x4010, %esi
	mov $WIN + 0x5000, %edi
	mov $0x100, %ecx
	TRY(1f)
	rep movsb
	jmp fail
1:	EXC(14, 0)
	EQ(ex_cr2, WIN + 0x3fff)
	EQ(%ecx, 0xef)
	EQ(%esi, WIN + 0x3fff)
	EQ(%edi, WIN + 0x4fef)
	testl $0x400, ex_flags
	jz fail
	cld
	CASE(5)			/* REP STOSD */
	mov $WIN + 0x2fe2, %edi
	mov $20, %ecx
	mov $0x01020304, %eax
	TRY(1f)
	rep stosl
	jmp fail
1:	EXC(14, 2)
	EQ(%ecx, 13)
	EQ(%edi, WIN + 0x2ffe)
	EQ(ex_cr2, WIN + 0x3000)
	EQ(PHYS + 0x2ffa, 0x01020304)
	CASE(6)			/* REPE CMPSW stops at the fault with the flags of the instruction before */
	mov $WIN + 0x2ffc, %esi
	mov $WIN + 0x2ffc, %edi
	mov $10, %ecx
	stc
	TRY(1f)
	repe cmpsw
	jmp fail
1:	EXC(14, 0)
	EQ(%ecx, 8)
	EQ(%esi, WIN + 0x3000)
	CASE(7)			/* REPNE SCASB */
	mov $WIN + 0x2ff0, %edi
	movb $0x5c, WIN + 0x2ff8
	mov $0x5c, %eax
	mov $WIN + 0x2ff0, %edi
	movl $0, (%rdi)
	movl $0, 4(%rdi)
	mov $100, %ecx
	repne scasb
	jne fail
	EQ(%ecx, 91)
	EQ(%edi, WIN + 0x2ff9)
	CASE(8)			/* REP LODSQ: nothing but RSI and RCX */
	mov $WIN + 0x2ff4, %esi
	mov $3, %ecx
	TRY(1f)
	rep lodsq
	jmp fail
1:	EXC(14, 0)
	EQ(%ecx, 2)
	EQ(%esi, WIN + 0x2ffc)
	CASE(9)			/* RCX 0: no access */
	xor %ecx, %ecx
	mov $WIN + 0x3000, %esi
	mov $WIN + 0x3000, %edi
	rep movsb
	rep stosb
	EQ(%esi, WIN + 0x3000)
	CASE(10)		/* large, page after page, each page made present by the handler */
	mov $PTE(0x20), %edi
	mov $0x20, %ecx
1:	movq $0, (%rdi)
	add $8, %rdi
	loop 1b
	mov %cr3, %rax
	mov %rax, %cr3
	movl $page_in, ex_hook
	movl $0, ex_count
	mov $WIN + 0x123, %esi
	mov $WIN + 0x20456, %edi
	mov $0x8000 - 0x3123, %ecx
	mov $0x2000, %ecx
	rep movsb
	movl $0, ex_hook
	EQ(ex_count, 3)
	mov $WIN + 0x123, %esi
	mov $WIN + 0x20456, %edi
	mov $0x2000, %ecx
	repe cmpsb
	jne fail
	CASE(11)		/* overlapping copies go byte by byte */
	mov $PHYS + 0x30000, %edi
	movb $0x7e, (%rdi)
	lea (%rdi), %rsi
	lea 1(%rdi), %rdi
	mov $4095, %ecx
	rep movsb
	cmpb $0x7e, PHYS + 0x30fff
	jne fail
	movl $0x04030201, PHYS + 0x30000
	mov $PHYS + 0x30000, %esi
	mov $PHYS + 0x30002, %edi
	mov $7, %ecx
	rep movsl
	cmpl $0x04030403, PHYS + 0x30004
	jne fail
	CASE(12)		/* 32-bit address size: ESI, EDI, ECX only, zero-extended */
	mov $-1, %rcx
	mov $0x20, %cl
	shl $32, %rcx
	or $0x10, %rcx
	mov $PHYS, %esi
	mov $PHYS + 0x40000, %edi
	addr32 rep movsb
	EQ(%ecx, 0)
	test %rcx, %rcx
	jnz fail
	CASE(13)		/* user page faults have the user bit */
	USER(user_copy, 1f)
1:	EXC(14, 4)
	EQ(%ecx, 0x10)
	ret

page_in:
	cmpl $14, ex_vec
	jne fail
	mov ex_cr2, %ecx
	sub $WIN, %ecx
	shr $12, %ecx
	mov %ecx, %edx
	shl $12, %edx
	add $PHYS + 7, %edx
	mov %edx, pt(,%rcx,8)
	ret
user_copy:
	mov $WIN + 0x2ff0, %esi
	mov $WIN + 0x10000, %edi
	mov $0x20, %ecx
	rep movsb

	.bss
	.balign 4096
pt:	.skip 4096
