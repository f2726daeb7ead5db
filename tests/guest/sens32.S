/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 17 sensitive unprivileged instructions in 32-bit protected mode, at CPL 0 and CPL 3, through an LDT and call gates too. */
#define GUEST32
#include "lib.inc"
test_main:
	CASE(1)
	movl $0x0000ffff, ldt + 8
	movl $0x00cff200, ldt + 12	/* data, DPL 3 */
	movl $0x0000ffff, ldt + 16
	movl $0x00cf9a00, ldt + 20	/* code, DPL 0 */
	mov $SEL_LDT, %eax
	lldt %ax
	call checks
	USER(user_checks, 1f)
1:	EXV(0x30)
	CASE(2)			/* a selector of the LDT */
	mov $0x0f, %eax
	mov %eax, %gs
	EQ(%gs:case_no, 2)
	testl $0x100, ldt + 12
	jz fail
	ljmp $0x14, $1f
1:	mov %cs, %eax
	EQ(%eax, 0x14)
	ljmp $K_CODE32, $1f
1:	CASE(3)			/* PUSHF and POPF at CPL 3 */
	USER(user_popf, 1f)
1:	EXV(0x30)
	test $0x3200, %ebx
	jnz fail
	CASE(4)			/* a call gate from CPL 3 with two parameters, back by RET 8 */
	mov $gate_target, %eax
	mov %ax, gdt + SEL_TEST
	movw $K_CODE32, gdt + SEL_TEST + 2
	movw $0xec02, gdt + SEL_TEST + 4
	shr $16, %eax
	mov %ax, gdt + SEL_TEST + 6
	USER(user_gate, 1f)
1:	EXV(0x30)
	EQ(%ebx, 0x111 + 0x222)
	EQ(%esi, K_CODE32)
	EQ(%ecx, 0)		/* ESP came back right */
	CASE(5)			/* returning to CPL 3 nulls segment registers with kernel descriptors */
	mov $K_DATA, %eax
	mov %eax, %gs
	mov $U_DATA, %eax
	mov %eax, %fs
	USER(user_segs, 1f)
1:	EXV(0x30)
	EQ(%ebx, 0)
	EQ(%ecx, U_DATA)
	CASE(6)			/* INT n through a gate of DPL 3 raises to CPL 0 */
	movl $on_int, irq_hook
	movb $0xee, idt + 0x60 * 8 + 5
	USER(user_int, 1f)
1:	EQ(%ebx, 0x6060)
	movl $0, irq_hook
	CASE(7)			/* POP to segment registers */
	pushl $U_DATA
	pop %gs
	mov %gs, %eax
	EQ(%eax, U_DATA)
	pushl $0x1238
	TRY(1f)
	pop %gs
	jmp fail
1:	EXC(13, 0x1238)
	add $4, %esp
	CASE(8)			/* LDS, LES, LSS, LFS, LGS */
	movl $0x12345678, far_ptr
	movw $U_DATA, far_ptr + 4
	lgs far_ptr, %eax
	EQ(%eax, 0x12345678)
	mov %gs, %ecx
	EQ(%ecx, U_DATA)
	movl $0x9abcdef0, far_ptr
	movw $K_DATA, far_ptr + 4
	les far_ptr, %eax
	EQ(%eax, 0x9abcdef0)
	movl $0x13572468, far_ptr
	lfs far_ptr, %eax
	EQ(%eax, 0x13572468)
	mov %fs, %ecx
	EQ(%ecx, K_DATA)
	TRY(1f)
	lds far_ptr, %ax	/* 16 bits: the selector lies behind two bytes */
	jmp fail
1:	EXC(13, 0x1354)
	lds far_ptr, %eax
	EQ(%eax, 0x13572468)
	mov %ds, %ecx
	EQ(%ecx, K_DATA)
	mov %esp, far_ptr
	lss far_ptr, %esp
	CASE(9)			/* far jump and far call through memory */
	movl $1f, far_ptr
	movw $K_CODE32, far_ptr + 4
	ljmp *far_ptr
	jmp fail
1:	movl $far_fn, far_ptr
	mov %esp, %ebp
	lcall *far_ptr
	EQ(%eax, 0x5150)
	cmp %ebp, %esp
	jne fail
	CASE(10)		/* SMSW and LMSW: LMSW cannot clear PE */
	smsw %eax
	mov %eax, %ebx
	and $~1, %eax
	or $8, %eax
	lmsw %ax
	smsw %ecx
	test $1, %ecx
	jz fail
	test $8, %ecx
	jz fail
	clts
	CASE(11)		/* VERR, VERW, LAR, LSL on odd descriptors */
	movl $0x00001000, gdt + SEL_TEST + 8
	movl $0x00409700, gdt + SEL_TEST + 12	/* expand-down, limit 1000H */
	mov $SEL_TEST + 8, %eax
	verw %ax
	jnz fail
	lsl %eax, %ecx
	jnz fail
	EQ(%ecx, 0x1000)
	mov $SEL_TEST, %eax	/* the call gate: LAR shows it, LSL does not */
	lar %eax, %ecx
	jnz fail
	and $0xff00, %ecx
	EQ(%ecx, 0xec00)
	lsl %eax, %ecx
	jz fail
	verr %ax
	jz fail
	CASE(12)		/* STR and SLDT with memory operands store 16 bits */
	movl $-1, buf
	str buf
	EQ(buf, 0xffff0000 + SEL_TSS)
	movl $-1, buf
	sldt buf
	EQ(buf, 0xffff0000 + SEL_LDT)
	CASE(13)		/* LTR marks the TSS busy */
	mov $SEL_TSS2, %eax
	ltr %ax
	testb $2, gdt + SEL_TSS2 + 5
	jz fail
	str %eax
	EQ(%eax, SEL_TSS2)
	andb $~2, gdt + SEL_TSS + 5
	mov $SEL_TSS, %eax
	ltr %ax
	ret

checks:
	sgdt buf
	cmpw $SEL_TEST + 63, buf
	jne bad
	cmpl $gdt, buf + 2
	jne bad
	/* flags live across it */
	stc
	sidt buf
	jnc bad
	cmpw $2047, buf
	jne bad
	cmpl $idt, buf + 2
	jne bad
	sldt %eax
	cmp $SEL_LDT, %eax
	jne bad
	str %eax
	cmp $SEL_TSS, %eax
	jne bad
	smsw %eax
	test $1, %al
	jz bad
	pushfl
	pop %eax
	test $0x200, %eax
	jnz bad
	mov %cs, %edx
	and $3, %edx
	mov $U_CODE32, %ecx
	lar %ecx, %eax
	jnz bad
	and $0x00f0ff00, %eax
	cmp $0x00c0fb00, %eax
	jne bad
	lsl %ecx, %eax
	jnz bad
	cmp $-1, %eax
	jne bad
	verr %cx
	jnz bad
	verw %cx
	jz bad
	mov $K_DATA, %ecx
	verr %cx
	setz %al
	test %edx, %edx
	setz %ah
	cmp %al, %ah		/* visible at CPL 0 only */
	jne bad
	mov $0x0f, %ecx		/* of the LDT */
	verw %cx
	jnz bad
	mov %ss, %eax
	and $3, %eax
	cmp %edx, %eax
	jne bad
	ret
bad:	mov %cs, %eax
	test $3, %al
	jz fail
	ud2

user_checks:
	call checks
	int $0x30
user_popf:
	pushl $0x3202
	popfl
	pushfl
	pop %ebx
	int $0x30
user_gate:
	mov %esp, %ebp
	pushl $0x111
	pushl $0x222
	lcall $SEL_TEST + 3, $0
	mov %ebp, %ecx
	sub %esp, %ecx
	int $0x30
gate_target:
	mov 8(%esp), %ebx
	add 12(%esp), %ebx
	mov %cs, %esi
	lretl $8
user_segs:
	mov %gs, %ebx
	mov %fs, %ecx
	int $0x30
user_int:
	int $0x60
	mov $U_DATA, %eax
	mov %eax, %ds
	int $0x30
on_int:
	cmp $0x30, %eax
	je 1f
	cmp $0x60, %eax
	jne fail
	movl $0x6060, 4 + 16(%esp)	/* EBX of PUSHA */
	ret
1:	movl $0, irq_hook
	mov 4 + 16(%esp), %ebx
	mov ex_sp, %esp
	jmp *ex_resume
far_fn:
	mov $0x5150, %eax
	lretl

	.data
	.balign 8
buf:	.quad 0
far_ptr: .quad 0
