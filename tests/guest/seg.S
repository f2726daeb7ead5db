/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segment limits, expand-down segments, 16-bit stacks and code, conforming code, bases, call-gate stack switches. */
#define GUEST32
#include "lib.inc"
	.macro slot n, lo, hi
	movl $\lo, gdt + SEL_TEST + 8 * \n
	movl $\hi, gdt + SEL_TEST + 8 * \n + 4
	.endm
#define S(n) (SEL_TEST + 8 * (n))
test_main:
	CASE(1)			/* byte limit 0FFFH */
	slot 0, 0x00000fff, 0x00409300
	mov $S(0), %eax
	mov %eax, %gs
	mov %gs:0xfff, %cl
	mov %gs:0xffc, %ecx
	TRY(1f)
	mov %gs:0xffd, %ecx
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	mov %gs:0x1000, %cl
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	mov %gs:-1, %ecx
	jmp fail
1:	EXC(13, 0)
	CASE(2)			/* a base */
	mov $area, %eax
	mov %ax, gdt + S(0) + 2
	mov %eax, %ecx
	shr $16, %ecx
	mov %cl, gdt + S(0) + 4
	mov $S(0), %eax
	mov %eax, %gs
	movl $0x12345678, area + 0x10
	EQ(%gs:0x10, 0x12345678)
	movl $0x11, %gs:0x20
	EQ(area + 0x20, 0x11)
	CASE(3)			/* base + offset wraps at 4 GiB */
	slot 1, 0x1000ffff, 0x00cf9300
	mov $S(1), %eax
	mov %eax, %gs
	EQ(%gs:area - 0x1000 + 0x10, 0x12345678)
	slot 1, 0x0000ffff, 0xffcf9300
	mov %eax, %gs
	EQ(%gs:area + 0x01000010, 0x12345678)
	CASE(4)			/* expand-down: valid above the limit only */
	slot 2, 0x00000fff, 0x00409700
	mov $S(2), %eax
	mov %eax, %gs
	TRY(1f)
	mov %gs:0xfff, %cl
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	mov %gs:0xffe, %ecx
	jmp fail
1:	EXC(13, 0)
	mov %gs:0x1000, %ecx
	EQ(%gs:area + 0x10, 0x12345678)
	CASE(5)			/* 16-bit expand-down ends at FFFFH */
	slot 2, 0x00000fff, 0x00009700
	mov %eax, %gs
	mov %gs:0xfffc, %ecx
	TRY(1f)
	mov %gs:0xfffd, %ecx
	jmp fail
1:	EXC(13, 0)
	TRY(1f)
	mov %gs:0x10000, %cl
	jmp fail
1:	EXC(13, 0)
	CASE(6)			/* a 16-bit stack: SP only, wrapping inside 64 KiB */
	slot 3, 0x0000ffff, 0x00009300
	mov %esp, %ebp
	mov $S(3), %eax
	mov %eax, %ss
	mov $0x12340004, %esp
	push %eax
	push %eax
	EQ(%esp, 0x1234fffc)
	cmpl $S(3), 0xfffc
	jne 2f
	pop %ecx
	EQ(%esp, 0x12340000)
2:	mov $K_DATA, %ecx
	mov %ecx, %ss
	mov %ebp, %esp
	cmpl $S(3), 0xfffc
	jne fail
	CASE(7)			/* 16-bit code: operand and address size default to 16, IP wraps to #GP beyond the limit */
	mov $code16, %esi
	mov $0x9000, %edi
	mov $code16_end - code16, %ecx
	rep movsb
	mov $0xaaaaffff, %eax
	lcall $CODE16, $0x9000
	EQ(%eax, 0xaaaa0000)
	EQ(%ebx, 0x5678)
	CASE(8)			/* conforming code keeps the CPL */
	slot 4, 0x0000ffff, 0x00cf9f00
	lcall $S(4), $conf
	EQ(%eax, S(4))
	USER(user_conf, 1f)
1:	EXV(0x30)
	EQ(%eax, S(4) + 3)
	CASE(9)			/* code limit: a jump beyond it is #GP(0) at the jump */
	slot 5, 0x0000ffff, 0x00409b10
	movw $0xfff, gdt + S(5)
	movb $0x10, gdt + S(5) + 4
	TRY(1f)
	ljmp $S(5), $0x1000
1:	EXC(13, 0)
	EQ(ex_cs, K_CODE32)
	CASE(10)		/* instruction fetch beyond the limit: #GP(0) */
	mov $area, %eax
	mov %ax, gdt + S(5) + 2
	mov %eax, %ecx
	shr $16, %ecx
	mov %cl, gdt + S(5) + 4
	movb $0x90, area + 0xffe
	movb $0x90, area + 0xfff
	TRY(1f)
	ljmp $S(5), $0xffe
1:	EXC(13, 0)
	EQ(ex_ip, 0x1000)
	EQ(ex_cs, S(5))
	movb $0xb8, area + 0xffe	/* MOV EAX, imm32 over the limit */
	TRY(1f)
	ljmp $S(5), $0xffe
1:	EXC(13, 0)
	EQ(ex_ip, 0xffe)
	CASE(11)		/* a call gate from CPL 3 switches to the TSS's stack and copies nothing for count 0 */
	mov $gate, %eax
	mov %ax, gdt + S(6)
	movw $K_CODE32, gdt + S(6) + 2
	movw $0xec00, gdt + S(6) + 4
	shr $16, %eax
	mov %ax, gdt + S(6) + 6
	USER(user_gate, 1f)
1:	EXV(0x30)
	EQ(%ebx, kstack0_top - 16)
	CASE(12)		/* a gate of DPL 0 from CPL 3: #GP(gate) */
	movw $0x8c00, gdt + S(6) + 4
	USER(user_gate, 1f)
1:	EXC(13, S(6))
	CASE(13)		/* a gate that is not present: #NP(gate) */
	movw $0x6c00, gdt + S(6) + 4
	USER(user_gate, 1f)
1:	EXC(11, S(6))
	CASE(14)		/* LSS, and a 32-bit stack with ESP beyond the limit: #SS(0) */
	slot 7, 0x00000fff, 0x00409300
	mov %esp, %ebp
	mov $area, %eax
	mov %ax, gdt + S(7) + 2
	shr $16, %eax
	mov %al, gdt + S(7) + 4
	mov $S(7), %eax
	mov %eax, %ss
	mov $0x1000, %esp
	push %eax
	pop %ecx
	EQ(%ecx, S(7))
	mov $K_DATA, %eax
	mov %eax, %ss
	mov %ebp, %esp
	EQ(area + 0xffc, S(7))
	ret

conf:	mov %cs, %eax
	lret
gate:	mov %esp, %ebx
	lret
user_conf:
	lcall $S(4) + 3, $conf
	int $0x30
user_gate:
	lcall $S(6) + 3, $0
	int $0x30
	.code16
code16:	inc %ax			/* 40H: 16 bits here */
	movw $0x1234, 0xa000
	mov $0x5678, %ebx
	.byte 0x66		/* the far call pushed 32-bit values */
	lret
code16_end:
	.code32

	.bss
	.balign 4096
area:	.skip 8192
