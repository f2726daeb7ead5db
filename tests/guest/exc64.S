/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exceptions in 64-bit mode: error codes, the stack frame, IST, double fault, nested faults. */
#define GUEST64
#include "lib.inc"
test_main:
	CASE(1)
	xor %ecx, %ecx
	TRY(1f)
0:	div %rcx
	jmp fail
1:	EXC(0, 0)
	EQ(ex_ip, 0b)
	EQ(ex_cs, K_CODE64)
	/* the frame of the same privilege has SS:RSP too, and is aligned to 16 (SDM 3A 6.14.2) */
	mov ex_frame, %rax
	mov (%rax), %rbx
	cmp ex_sp, %rbx
	jne fail
	CASE(2)			/* INT64_MIN / -1 */
	mov $1, %eax
	shl $63, %rax
	cqo
	mov $-1, %rcx
	TRY(1f)
	idiv %rcx
	jmp fail
1:	EXC(0, 0)
	CASE(3)
	TRY(1f)
	int3
0:	jmp fail
1:	EXC(3, 0)
	EQ(ex_ip, 0b)
	CASE(4)			/* instructions that 64-bit mode has not got */
	TRY(1f)
	.byte 0x06
1:	EXC(6, 0)
	TRY(1f)
	.byte 0xce
1:	EXC(6, 0)
	TRY(1f)
	.byte 0x37
1:	EXC(6, 0)
	TRY(1f)
	.byte 0xea, 0, 0, 0, 0, 0, 0
1:	EXC(6, 0)
	CASE(5)			/* non-canonical data: #GP(0) */
	mov $0x8000, %eax
	shl $32, %rax
	TRY(1f)
	mov (%rax), %ebx
	jmp fail
1:	EXC(13, 0)
	CASE(6)			/* non-canonical by RSP or RBP: #SS(0) */
	mov %rax, %rbp
	TRY(1f)
	mov (%rbp), %ebx
	jmp fail
1:	EXC(12, 0)
	CASE(7)			/* non-canonical jump: #GP(0), RIP of the jump */
	TRY(1f)
0:	jmp *%rax
1:	EXC(13, 0)
	EQ(ex_ip, 0b)
	CASE(8)			/* an access that straddles the end of the canonical half */
	lea -4(%rax), %rcx
	TRY(1f)
	mov (%rcx), %rbx
	jmp fail
1:	EXC(13, 0)
	CASE(9)			/* #GP(selector) */
	mov $0x1238, %ecx
	TRY(1f)
	mov %ecx, %ds
	jmp fail
1:	EXC(13, 0x1238)
	CASE(10)		/* #NP(selector) */
	movl $0x0000ffff, gdt + SEL_TEST
	movl $0x00cf1300, gdt + SEL_TEST + 4
	mov $SEL_TEST, %ecx
	TRY(1f)
	mov %ecx, %fs
	jmp fail
1:	EXC(11, SEL_TEST)
	CASE(11)		/* null SS is legal at CPL 0 */
	xor %ecx, %ecx
	mov %ecx, %ss
	push %rax
	pop %rax
	mov $K_DATA, %ecx
	mov %ecx, %ss
	CASE(12)		/* L and D both set: #GP(selector) */
	movl $0x00ef9b00, gdt + SEL_TEST + 4
	TRY(1f)
	push $SEL_TEST
	push $fail
	lretq
1:	EXC(13, SEL_TEST)
	CASE(13)		/* an 8-byte gate's upper half is checked: a 16-byte gate with type bits in it */
	movl $0, idt + 0x41 * 16 + 12
	TRY(1f)
	int $0x41
	jmp fail
1:	EXV(0x41)
	CASE(14)		/* #DF: a gate that is not there for #UD, and #NP's neither */
	movb $0x0e, idt + 11 * 16 + 5
	movb $0x0e, idt + 6 * 16 + 5
	movb $2, idt + 8 * 16 + 4	/* IST 2 */
	TRY(1f)
	ud2
1:	EXC(8, 0)
	/* on the IST stack: error code, RIP, CS and RFLAGS are popped */
	cmpl $ist2_top - 16, ex_frame
	jne fail
	movb $0x8e, idt + 11 * 16 + 5
	movb $0x8e, idt + 6 * 16 + 5
	CASE(15)		/* contributory after #PF is #DF; #PF while delivering #GP is #PF */
	movl $0, pd + 512 * 4	/* 1 GiB is not mapped */
	movl $0, pd + 4096
	mov %cr3, %rcx
	mov %rcx, %cr3
	movb $0x0e, idt + 14 * 16 + 5
	TRY(1f)
	mov 0x40000000, %ecx
	jmp fail
1:	EXC(8, 0)
	movb $0x8e, idt + 14 * 16 + 5
	CASE(16)		/* #PF in the delivery of #GP: the IST of #GP leads to a page that is not there */
	movb $3, idt + 13 * 16 + 4
	movq $0x40001000, tss + 36 + 16
	TRY(1f)
	mov $0x1238, %ecx
	mov %ecx, %ds
	jmp fail
1:	EXC(14, 2)
	EQ(ex_cr2, 0x40000ff8)
	movb $0, idt + 13 * 16 + 4
	CASE(17)		/* #PF from CPL 0: read, write */
	TRY(1f)
	mov 0x40000123, %ecx
1:	EXC(14, 0)
	EQ(ex_cr2, 0x40000123)
	TRY(1f)
	movl $1, 0x40000ffd
1:	EXC(14, 2)
	EQ(ex_cr2, 0x40000ffd)
	TRY(1f)
	mov $0x40000008, %ecx
	jmp *%rcx
1:	EXC(14, 0x10)
	EQ(ex_ip, 0x40000008)
	CASE(18)		/* CPL 3 */
	USER(user_hlt, 1f)
1:	EXC(13, 0)
	EQ(ex_cs, U_CODE64)
	cmpl $kstack0_top - 16, ex_frame
	jne fail
	USER(user_int, 1f)
1:	EXC(13, 0x50 * 8 + 2)
	USER(user_read, 1f)
1:	EXC(14, 4)
	USER(user_write, 1f)
1:	EXC(14, 6)
	USER(user_back, 1f)
1:	EXV(0x30)
	EQ(%ebx, 0x12345678)
	mov %cr0, %rax
	or $0x40000, %eax
	mov %rax, %cr0
	USER(user_ac, 1f)
1:	EXC(17, 0)
	CASE(19)		/* misaligned SSE: #GP(0) */
	movaps aligned, %xmm0
	TRY(1f)
	movaps aligned + 8, %xmm0
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	addps aligned + 4, %xmm1
	jmp fail
1:	EXC(13, 0)
	movups aligned + 4, %xmm0
	CASE(20)		/* #XM */
	ldmxcsr mxcsr_zero
	xorps %xmm0, %xmm0
	movss one, %xmm1
	TRY(1f)
0:	divss %xmm0, %xmm1
	jmp fail
1:	EXC(19, 0)
	EQ(ex_ip, 0b)
	stmxcsr scratch
	testl $4, scratch
	jz fail
	ldmxcsr mxcsr_default
	CASE(21)		/* without OSXMMEXCPT it is #UD */
	mov %cr4, %rax
	btr $10, %rax
	mov %rax, %cr4
	ldmxcsr mxcsr_zero
	TRY(1f)
	divss %xmm0, %xmm1
1:	EXC(6, 0)
	bts $10, %rax
	mov %rax, %cr4
	ldmxcsr mxcsr_default
	CASE(22)		/* reserved MXCSR bits: #GP(0) */
	TRY(1f)
	ldmxcsr mxcsr_bad
1:	EXC(13, 0)
	CASE(23)		/* #MF comes with the next waiting instruction */
	fninit
	fldcw fcw_zero
	fld1
	fldz
	fdivrp
0:	nop
	TRY(1f)
2:	fwait
	jmp fail
1:	EXC(16, 0)
	EQ(ex_ip, 2b)
	fnclex
	fwait
	fninit
	CASE(24)		/* #NM by TS, #UD by EM */
	mov %cr0, %rax
	or $8, %eax
	mov %rax, %cr0
	TRY(1f)
	fld1
1:	EXC(7, 0)
	TRY(1f)
	addps %xmm0, %xmm0
1:	EXC(7, 0)
	and $~8, %eax
	or $4, %eax
	mov %rax, %cr0
	TRY(1f)
	addps %xmm0, %xmm0
1:	EXC(6, 0)
	TRY(1f)
	fld1
1:	EXC(7, 0)
	and $~4, %eax
	mov %rax, %cr0
	CASE(25)		/* without OSFXSR: #UD */
	mov %cr4, %rax
	btr $9, %rax
	mov %rax, %cr4
	TRY(1f)
	addps %xmm0, %xmm0
1:	EXC(6, 0)
	bts $9, %rax
	mov %rax, %cr4
	CASE(26)		/* non-canonical MSR values: #GP(0) */
	mov $0xc0000100, %ecx
	xor %eax, %eax
	mov $0x80000000, %edx
	TRY(1f)
	wrmsr
	jmp fail
1:	EXC(13, 0)
	CASE(27)		/* clearing PAE in long mode: #GP(0) */
	mov %cr4, %rax
	btr $5, %rax
	TRY(1f)
	mov %rax, %cr4
	jmp fail
1:	EXC(13, 0)
	CASE(28)		/* changing LME with paging on: #GP(0) */
	mov $0xc0000080, %ecx
	rdmsr
	btr $8, %eax
	TRY(1f)
	wrmsr
	jmp fail
1:	EXC(13, 0)
	ret

	.code64
user_hlt:
	hlt
user_int:
	int $0x50
user_read:
	mov 0x40000123, %ecx
user_write:
	movl $1, 0x40000123
user_ac:
	pushfq
	orl $0x40000, (%rsp)
	popfq
	mov scratch + 1, %eax
user_back:
	mov $0x12345678, %ebx
	int $0x30

	.data
	.balign 16
aligned: .fill 4, 8, 0
scratch: .quad 0, 0
mxcsr_zero: .long 0
mxcsr_default: .long 0x1f80
mxcsr_bad: .long 0x11f80
fcw_zero: .word 0x300
one:	.float 1.0
