/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state as a whole: FXSAVE, FNSAVE, FNSTENV and the XSAVE family with their opposites, XGETBV and XSETBV. What is saved
 * comes back, what is not asked for stays, and the headers and faults are the manual's (SDM 1 chapter 13).
 */
#define GUEST64
#include "lib.inc"
#define ONE_HI 0x3fff		/* sign and exponent of 1.0 */
#define MXCSR_RZ 0x7f80		/* all masked, round to zero */
	/* x87: control word 27FH, ST0 = pi, ST1 = 1.0; XMM0 and XMM15 marked; MXCSR rounds to zero */
	.macro set_state
	fninit
	fldcw cw_27f
	fld1
	fldpi
	movdqa mark0, %xmm0
	movdqa mark1, %xmm15
	ldmxcsr mxcsr_rz
	.endm
	.macro clear_state
	fninit
	pxor %xmm0, %xmm0
	pxor %xmm15, %xmm15
	ldmxcsr mxcsr_usual
	.endm
	/* fails unless the state is that of set_state; the x87 stack is empty behind it */
	.macro check_x87
	fnstcw word
	cmpw $0x27f, word
	jne fail
	fldpi
	fcomip %st(1), %st
	jne fail
	jp fail
	fstp %st(0)
	fld1
	fcomip %st(1), %st
	jne fail
	jp fail
	fstp %st(0)
	.endm
	.macro check_xmm
	movdqa %xmm0, %xmm1
	pcmpeqb mark0, %xmm1
	pmovmskb %xmm1, %eax
	EQ(%eax, 0xffff)
	movdqa %xmm15, %xmm1
	pcmpeqb mark1, %xmm1
	pmovmskb %xmm1, %eax
	EQ(%eax, 0xffff)
	.endm
	.macro check_mxcsr value
	stmxcsr word
	EQ(word, \value)
	.endm
	.macro fill				/* the image, with a pattern */
	mov $image, %edi
	mov $1024, %ecx
	mov $0xa5, %al
	rep stosb
	.endm
	.macro zero_header
	movdqa %xmm2, %xmm3
	pxor %xmm2, %xmm2
	movdqa %xmm2, image + 512
	movdqa %xmm2, image + 528
	movdqa %xmm2, image + 544
	movdqa %xmm2, image + 560
	movdqa %xmm3, %xmm2
	.endm

test_main:
	CASE(1)			/* FNSTENV: words, 4 bytes apart; all exceptions are masked behind it */
	set_state
	fldcw cw_unmasked
	fnstenv image
	cmpw $0x240, image
	jne fail
	mov image + 4, %eax	/* TOP is 6 */
	and $0x3800, %eax
	EQ(%eax, 0x3000)
	mov image + 8, %eax	/* two valid registers, 6 and 7 */
	movzwl %ax, %eax
	EQ(%eax, 0x0fff)
	fnstcw word
	cmpw $0x27f, word
	jne fail
	CASE(2)			/* FLDENV brings control, status and tags back */
	fninit
	fldenv image
	fnstcw word
	cmpw $0x240, word
	jne fail
	fnstsw %ax
	and $0x3800, %eax
	EQ(%eax, 0x3000)
	fldcw cw_27f
	check_x87
	CASE(3)			/* FNSAVE: the environment and eight registers of 10 bytes, then as FNINIT */
	set_state
	fnsave image
	cmpw $0x27f, image
	jne fail
	cmpw $0x4000, image + 28 + 8	/* ST0, pi */
	jne fail
	cmpw $ONE_HI, image + 28 + 18
	jne fail
	fnstcw word
	cmpw $0x37f, word
	jne fail
	fnstsw %ax
	test %ax, %ax
	jnz fail
	CASE(4)
	frstor image
	check_x87
	CASE(5)			/* FXSAVE */
	set_state
	fill
	fxsave image
	cmpw $0x27f, image
	jne fail
	cmpb $0xc0, image + 4		/* abridged tags: registers 6 and 7 in use */
	jne fail
	EQ(image + 24, MXCSR_RZ)
	cmpw $0x4000, image + 32 + 8
	jne fail
	EQ(image + 160, 0x03020100)
	EQ(image + 160 + 240, 0x13121110)
	EQ(image + 512, 0xa5a5a5a5)	/* and not a byte more */
	clear_state
	fxrstor image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	CASE(6)
	set_state
	fill
	fxsave64 image
	clear_state
	fxrstor64 image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	CASE(7)			/* misaligned: #GP(0); a reserved bit of MXCSR: #GP(0) */
	TRY(1f)
	fxsave image + 8
	jmp fail
1:	EXC(13, 0)
	orl $1 << 31, image + 24
	TRY(1f)
	fxrstor image
	jmp fail
1:	EXC(13, 0)
	CASE(8)			/* CR0.TS: #NM, for all of them; without OSXSAVE the XSAVE family is #UD */
	mov %cr0, %rax
	or $8, %eax
	mov %rax, %cr0
	TRY(1f)
	fxsave image
	jmp fail
1:	EXC(7, 0)
	TRY(1f)
	fnsave image
	jmp fail
1:	EXC(7, 0)
	clts
	TRY(1f)
	xsave image
	jmp fail
1:	EXC(6, 0)
	TRY(1f)
	xgetbv
	jmp fail
1:	EXC(6, 0)
	mov $1, %eax
	cpuid
	test $1 << 27, %ecx	/* CPUID shows OSXSAVE */
	jnz fail
	test $1 << 26, %ecx
	jz done			/* the host has no XSAVE */
	mov %cr4, %rax
	or $1 << 18, %eax
	mov %rax, %cr4
	mov $1, %eax
	cpuid
	test $1 << 27, %ecx
	jz fail
	CASE(9)			/* XCR0: x87 alone at first; its bit 0 can not be cleared, nor AVX be without SSE */
	xor %ecx, %ecx
	xgetbv
	EQ(%eax, 1)
	EQ(%edx, 0)
	mov $2, %eax
	TRY(1f)
	xsetbv
	jmp fail
1:	EXC(13, 0)
	mov $5, %eax
	TRY(1f)
	xsetbv
	jmp fail
1:	EXC(13, 0)
	mov $3, %eax
	mov $0x55, %ecx		/* no such XCR */
	TRY(1f)
	xsetbv
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	xgetbv
	jmp fail
1:	EXC(13, 0)
	xor %ecx, %ecx
	xsetbv
	xgetbv
	EQ(%eax, 3)
	USER(user_xsetbv, 1f)	/* CPL 3 may not, but may look */
1:	EXC(13, 0)
	USER(user_xgetbv, 1f)
1:	EXV(0x30)
	EQ(%eax, 3)
	CASE(10)		/* XSAVE of all: XSTATE_BV says what is in the image, the rest of the header stays */
	set_state
	fill
	zero_header
	movb $0, image + 512
	mov $-1, %eax
	mov $-1, %edx
	xsave image
	EQ(image + 512, 3)
	EQ(image + 520, 0)
	EQ(image + 24, MXCSR_RZ)
	EQ(image + 576, 0xa5a5a5a5)
	clear_state
	mov $-1, %eax
	mov $-1, %edx
	xrstor image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	CASE(11)		/* only SSE is asked for: x87 stays out of the image, and out of XRSTOR's way */
	set_state
	fill
	zero_header
	mov $2, %eax
	xor %edx, %edx
	xsave64 image
	EQ(image + 512, 2)
	cmpw $0xa5a5, image
	jne fail
	pxor %xmm0, %xmm0
	pxor %xmm15, %xmm15
	mov $2, %eax
	xrstor64 image
	check_xmm
	check_x87
	CASE(12)		/* a component that the image has not gets its initial state */
	set_state
	fill
	zero_header
	movl $MXCSR_RZ, image + 24
	mov $3, %eax
	xor %edx, %edx
	xrstor image
	fnstcw word
	cmpw $0x37f, word
	jne fail
	pxor %xmm1, %xmm1
	pcmpeqb %xmm0, %xmm1
	pmovmskb %xmm1, %eax
	EQ(%eax, 0xffff)
	CASE(13)		/* bad headers: a component that XCR0 has not, a reserved byte; and a misaligned image */
	zero_header
	movb $8, image + 512
	mov $3, %eax
	TRY(1f)
	xrstor image
	jmp fail
1:	EXC(13, 0)
	zero_header
	movb $1, image + 512 + 16
	TRY(1f)
	xrstor image
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	xsave image + 16
	jmp fail
1:	EXC(13, 0)
	CASE(14)		/* XSAVEOPT, where CPUID has it: may leave initial components out, never others */
	mov $0xd, %eax
	mov $1, %ecx
	cpuid
	mov %eax, %r13d
	xor %edx, %edx
	bt $0, %r13d
	jnc 4f
	set_state
	fill
	zero_header
	mov $3, %eax
	xsaveopt image
	EQ(image + 512, 3)
	clear_state
	mov $3, %eax
	xrstor image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	set_state
	fill
	zero_header
	mov $3, %eax
	xsaveopt64 image
	clear_state
	mov $3, %eax
	xrstor64 image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	jmp 5f
4:	TRY(1f)
	xsaveopt image
	jmp fail
1:	EXC(6, 0)
	TRY(1f)
	xsaveopt64 image
	jmp fail
1:	EXC(6, 0)
5:	CASE(15)		/* XSAVEC: both words of the header, with the mark of the compacted format, nothing else of it */
	bt $1, %r13d
	jnc 6f
	set_state
	fill
	mov $3, %eax
	xsavec image
	EQ(image + 512, 3)
	EQ(image + 516, 0)
	EQ(image + 520, 3)
	EQ(image + 524, 0x80000000)
	EQ(image + 528, 0xa5a5a5a5)
	EQ(image + 572, 0xa5a5a5a5)
	EQ(image + 576, 0xa5a5a5a5)
	zero_header
	movb $3, image + 512
	movb $3, image + 520
	movb $0x80, image + 527
	clear_state
	mov $3, %eax
	xrstor image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	set_state
	fill
	zero_header
	mov $3, %eax
	xsavec64 image
	clear_state
	mov $3, %eax
	xrstor64 image
	check_xmm
	check_mxcsr MXCSR_RZ
	check_x87
	jmp 7f
6:	TRY(1f)
	xsavec image
	jmp fail
1:	EXC(6, 0)
	TRY(1f)
	xsavec64 image
	jmp fail
1:	EXC(6, 0)
7:	CASE(16)		/* CR0.TS: #NM */
	mov %cr0, %rax
	or $8, %eax
	mov %rax, %cr0
	mov $3, %eax
	TRY(1f)
	xsave image
	jmp fail
1:	EXC(7, 0)
	TRY(1f)
	xrstor image
	jmp fail
1:	EXC(7, 0)
	clts
done:	ret

user_xsetbv:
	xor %ecx, %ecx
	mov $3, %eax
	xor %edx, %edx
	xsetbv
	int $0x30
user_xgetbv:
	xor %ecx, %ecx
	xgetbv
	int $0x30

	.data
	.balign 16
mark0:	.byte 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
mark1:	.byte 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
cw_27f:	.word 0x27f
cw_unmasked: .word 0x240
	.balign 4
mxcsr_rz: .long MXCSR_RZ
mxcsr_usual: .long 0x1f80
	.bss
	.balign 64
image:	.skip 1024
word:	.skip 8
