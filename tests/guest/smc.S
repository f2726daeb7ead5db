/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that writes code: the next instruction, the same block, the same page, another page, through another mapping. */
#define GUEST64
#include "lib.inc"
test_main:
	CASE(1)			/* the very next instruction */
	mov $10, %r13d
1:	mov $1, %eax
	movb %r13b, 2f + 1
	jmp 2f			/* the manual wants a jump or a serializing instruction on other processors */
2:	mov $0x55, %eax
	cmp %r13d, %eax
	jne fail
	dec %r13d
	jnz 1b
	CASE(2)			/* without even a jump: SDM 3A 11.6, processors since the Pentium check by linear address */
	mov $10, %r13d
1:	movb %r13b, 2f + 1
2:	mov $0x55, %eax
	cmp %r13d, %eax
	jne fail
	dec %r13d
	jnz 1b
	CASE(3)			/* an instruction before the store, in a loop */
	xor %ebx, %ebx
	mov $100, %ecx
1:	add $1, %ebx
	addb $1, 1b + 2		/* the immediate of that ADD grows */
	loop 1b
	cmp $5050, %ebx
	jne fail_wrap
	CASE(4)			/* a function on another page, rewritten and called */
	mov $200, %r13d
1:	mov $page_a, %edi
	movb $0xb8, (%rdi)
	mov %r13d, 1(%rdi)
	movb $0xc3, 5(%rdi)
	call *%rdi
	cmp %r13d, %eax
	jne fail
	dec %r13d
	jnz 1b
	CASE(5)			/* by REP MOVSB */
	mov $tmpl_a, %esi
	mov $page_a, %edi
	mov $tmpl_b - tmpl_a, %ecx
	rep movsb
	mov $page_a, %edi
	call *%rdi
	cmp $0xaaaa, %eax
	jne fail
	mov $tmpl_b, %esi
	mov $page_a, %edi
	mov $tmpl_end - tmpl_b, %ecx
	rep movsb
	mov $page_a, %edi
	call *%rdi
	cmp $0xbbbb, %eax
	jne fail
	CASE(6)			/* by a vector store */
	movups tmpl_a, %xmm0
	movups %xmm0, page_a
	call *%rdi
	cmp $0xaaaa, %eax
	jne fail
	CASE(7)			/* by a locked instruction and by XCHG */
	movl $0xc3c3c3c3, page_a + 8
	lock addl $1, page_a + 1
	call *%rdi
	cmp $0xaaab, %eax
	jne fail
	mov $0x1234, %ecx
	xchg %ecx, page_a + 1
	call *%rdi
	cmp $0x1234, %eax
	jne fail
	CASE(8)			/* through another linear address of the same page */
	movl $0x87, pd + 4096	/* 1 GiB -> 0 */
	mov %cr3, %rax
	mov %rax, %cr3
	mov $300, %r13d
1:	mov %r13d, 0x40000000 + page_a + 1
	call *%rdi
	cmp %r13d, %eax
	jne fail
	dec %r13d
	jnz 1b
	CASE(9)			/* executed through the other address, written through the first */
	lea 0x40000000(%rdi), %r8
	call *%r8
	movl $0x4711, page_a + 1
	call *%r8
	cmp $0x4711, %eax
	jne fail
	CASE(10)		/* an instruction that crosses a page boundary, its second page written */
	mov $page_b - 2, %edi
	movb $0xb8, (%rdi)	/* MOV EAX, imm32 with three bytes of the immediate on the next page */
	movb $0xc3, 5(%rdi)
	mov $300, %r13d
1:	mov %r13d, 1(%rdi)
	call *%rdi
	cmp %r13d, %eax
	jne fail
	dec %r13d
	jnz 1b
	movb $0x7f, page_b + 1	/* the immediate's byte 2 */
	call *%rdi
	cmp $0x7f0001, %eax
	jne fail
	CASE(11)		/* data on the code page, written many times: slow perhaps, but right */
	mov $1000, %ecx
1:	incl near_data
	loop 1b
	cmpl $1000, near_data
	jne fail
	CASE(12)		/* the mapping changes: the same linear address, other code */
	movl $0xb8, page_a
	movl $0x1111, page_a + 1
	movb $0xc3, page_a + 5
	movl $0x2222, page_c + 1
	movb $0xb8, page_c
	movb $0xc3, page_c + 5
	movl $pt + 7, pd + 4096
	movl $page_a + 7, pt
	mov %cr3, %rax
	mov %rax, %cr3
	mov $0x40000000, %edi
	mov $20, %r13d
1:	movl $page_a + 7, pt
	invlpg (%rdi)
	call *%rdi
	cmp $0x1111, %eax
	jne fail
	movl $page_c + 7, pt
	invlpg (%rdi)
	call *%rdi
	cmp $0x2222, %eax
	jne fail
	dec %r13d
	jnz 1b
	CASE(13)		/* a store that faults must not have invalidated or changed anything */
	movl $page_c + 5, pt
	invlpg (%rdi)
	TRY(2f)
	movl $0x9999, 1(%rdi)
	jmp fail
2:	EXC(14, 3)
	call *%rdi
	cmp $0x2222, %eax
	jne fail
	CASE(14)		/* a loop that patches its own end condition */
	mov $0, %ecx
1:	inc %ecx
	cmp $50, %ecx
	jne 3f
	movb $0x90, 4f
	movb $0x90, 4f + 1
3:	cmp $1000, %ecx
	ja fail
4:	jmp 1b
	cmp $50, %ecx
	jne fail
	CASE(15)		/* PUSH onto the code stream */
	mov %rsp, %r12
	mov $page_a + 64, %esp
	movl $0x90909090, page_a + 56
	movl $0xc3909090, page_a + 60
	mov $page_a + 56, %edi
	xchg %rsp, %r12
	call *%rdi
	xchg %rsp, %r12
	push $0x5a6a6a58	/* junk, must be executed as written: 58 6a 6a 5a */
	movabs $0xc3c3c3585a9c6a50, %rax	/* push rax; push -100; pop rdx; pop rax; ret */
	mov %rax, (%rsp)
	mov %r12, %rsp
	mov $0x77, %eax
	call *%rdi
	cmp $-100, %rdx
	jne fail
	ret

/* 100 additions of an 8-bit sign-extended immediate that grows from 1 to 100: their sum */
fail_wrap:
	jmp fail

tmpl_a:	mov $0xaaaa, %eax
	ret
	.balign 16
tmpl_b:	nop
	nop
	mov $0xbbbb, %eax
	ret
	.balign 16
tmpl_end:
	.balign 4
near_data: .long 0

	.bss
	.balign 4096
pt:	.skip 4096
page_a:	.skip 4096
	.skip 4096
page_b:	.skip 4096
page_c:	.skip 4096
