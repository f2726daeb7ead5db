/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port I/O at CPL 3: IOPL, the I/O permission bitmap of the TSS, its edges and its limit; string I/O. */
#define GUEST32
#include "lib.inc"
#define MAP (tss + 0x68)
/* Port 80H is a POST port: anything may be written there. */
test_main:
	CASE(1)			/* all bits set, IOPL 0 */
	USER(user_out8, 1f)
1:	EXC(13, 0)
	CASE(2)			/* the bit cleared */
	andb $~1, MAP + 0x80 / 8
	USER(user_out8, 1f)
1:	EXV(0x30)
	CASE(3)			/* a word needs two bits, a doubleword four */
	USER(user_out16, 1f)
1:	EXC(13, 0)
	andb $~3, MAP + 0x80 / 8
	USER(user_out16, 1f)
1:	EXV(0x30)
	USER(user_out32, 1f)
1:	EXC(13, 0)
	movb $0xf0, MAP + 0x80 / 8
	USER(user_out32, 1f)
1:	EXV(0x30)
	CASE(4)			/* bits in two bytes of the map */
	movb $0x7f, MAP + 0x80 / 8
	movb $0xff, MAP + 0x88 / 8
	USER(user_cross, 1f)
1:	EXC(13, 0)
	movb $0xfe, MAP + 0x88 / 8
	USER(user_cross, 1f)
1:	EXV(0x30)
	CASE(5)			/* IOPL 3 */
	movb $0xff, MAP + 0x80 / 8
	TRY(1f)
	mov $U_DATA, %eax
	mov %eax, %ds
	pushl $U_DATA
	pushl $ustack_top
	pushl $0x3002
	pushl $U_CODE32
	pushl $user_out32
	iret
1:	EXV(0x30)
	CASE(6)			/* the last port: the byte behind the map counts */
	movb $0x7f, MAP + 0x1fff
	USER(user_last, 1f)
1:	EXV(0x30)
	USER(user_last16, 1f)
1:	EXC(13, 0)
	CASE(7)			/* a map beyond the TSS's limit forbids everything */
	movw $0x67, gdt + SEL_TSS
	andb $~2, gdt + SEL_TSS + 5
	mov $SEL_TSS, %eax
	ltr %ax
	movb $0, MAP + 0x80 / 8
	USER(user_out8, 1f)
1:	EXC(13, 0)
	movw $0x68 + 0x80 / 8, gdt + SEL_TSS	/* the map ends just before the byte that is read with it */
	andb $~2, gdt + SEL_TSS + 5
	mov $SEL_TSS, %eax
	ltr %ax
	movw $0x68 + 0x80 / 8 + 1, gdt + SEL_TSS
	andb $~2, gdt + SEL_TSS + 5
	mov $SEL_TSS, %eax
	ltr %ax
	USER(user_out8, 1f)
1:	EXV(0x30)
	CASE(8)			/* string I/O obeys it, and faults before it moves anything */
	movb $0xff, MAP + 0x80 / 8
	USER(user_outs, 1f)
1:	EXC(13, 0)
	EQ(%ecx, 4)
	movb $0, MAP + 0x80 / 8
	USER(user_outs, 1f)
1:	EXV(0x30)
	EQ(%ecx, 0)
	ret

user_out8:
	out %al, $0x80
	int $0x30
user_out16:
	out %ax, $0x80
	int $0x30
user_out32:
	out %eax, $0x80
	int $0x30
user_cross:
	out %ax, $0x87
	int $0x30
user_last:
	mov $0xffff, %edx
	in %dx, %al
	int $0x30
user_last16:
	mov $0xffff, %edx
	in %dx, %ax
	int $0x30
user_outs:
	mov $4, %ecx
	mov $0x80, %edx
	mov $case_no, %esi
	rep outsb
	int $0x30
