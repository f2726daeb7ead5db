/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protected -> real -> protected -> long -> compatibility -> long -> protected -> real -> unreal -> protected, doing work in each. */
#define GUEST32
#include "lib.inc"
#define BLOB 0x8000
#define REAL(label) (label - blob + BLOB)
test_main:
	mov $blob, %esi
	mov $BLOB, %edi
	mov $blob_end - blob, %ecx
	rep movsb
	CASE(1)
	call to_real
	CASE(2)			/* what real mode found */
	EQ(REAL(r_sum), 0x1234 + 0x4321)
	EQ(REAL(r_int), 0x77)
	EQ(REAL(r_gp), 1)
	EQ(REAL(r_ud), 1)
	EQ(REAL(r_wrap), 0x5a)
	EQ(REAL(r_push), 2)
	EQ(REAL(r_de), 1)
	CASE(3)			/* long mode */
	mov $pml4, %edi
	movl $pdpt + 7, (%edi)
	movl $pd + 7, pdpt
	mov $pd, %edi
	mov $0x87, %eax
	mov $512, %ecx
1:	mov %eax, (%edi)
	add $8, %edi
	add $0x200000, %eax
	loop 1b
	mov $pml4, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	bts $8, %eax
	wrmsr
	rdmsr
	test $0x400, %eax	/* LMA only with PG */
	jnz fail
	mov %cr0, %eax
	bts $31, %eax
	mov %eax, %cr0
	rdmsr
	test $0x400, %eax
	jz fail
	CASE(4)			/* compatibility mode: still 32-bit code */
	mov $5, %eax
	.byte 0x40		/* INC EAX here, a REX prefix in 64-bit mode */
	nop
	cmp $6, %eax
	jne fail
	ljmp $K_CODE64, $2f
	.code64
2:	CASE(5)			/* 64-bit mode */
	movabs $0x123456789abcdef0, %rax
	mov %rax, %r15
	shr $32, %r15
	cmp $0x12345678, %r15d
	jne fail32
	mov $5, %eax
	.byte 0x40
	nop
	cmp $5, %eax
	jne fail32
	/* a 32-bit write clears the upper half */
	mov $-1, %rax
	mov $1, %eax
	cmp $1, %rax
	jne fail32
	mov %esp, %esp
	push $K_CODE32
	push $3f
	lretq
	.code32
3:	CASE(6)			/* compatibility again, then 64-bit by a far call through a 32-bit stack */
	mov $0xffff, %eax
	lcall $K_CODE64, $in64
	cmp $0x10000, %eax
	jne fail
	CASE(7)			/* out of long mode: PG, then LME */
	mov %cr0, %eax
	btr $31, %eax
	mov %eax, %cr0
	mov $0xc0000080, %ecx
	rdmsr
	test $0x400, %eax
	jnz fail
	btr $8, %eax
	wrmsr
	mov %cr4, %eax
	and $~0x20, %eax
	mov %eax, %cr4
	CASE(8)			/* real again */
	movl $0, REAL(r_sum)
	call to_real
	EQ(REAL(r_sum), 0x1234 + 0x4321)
	EQ(REAL(r_int), 0x77)
	CASE(9)			/* real mode keeps a 4 GiB limit that was loaded in protected mode */
	movl $1, REAL(r_unreal)
	movl $0x0badcafe, 0x200000
	call to_real
	EQ(REAL(r_big), 0x0badcafe)
	ret

	.code64
fail32:	jmp 1f
1:	push $K_CODE32
	push $fail
	lretq
in64:	lea 1(%rax), %rax
	/* the far call pushed 4-byte values */
	.byte 0xcb		/* LRET with 32-bit operands */
	.code32

/* Calls the blob in real mode, with interrupts off; comes back in protected mode. */
to_real:
	pushal
	mov %esp, saved_sp
	lidt REAL(r_idt)
	ljmp $CODE16, $REAL(r_start16)
back:	mov $K_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov saved_sp, %esp
	lidt idtr
	popal
	ret

	.balign 16
blob:
	.code16
r_start16:			/* 16-bit protected mode */
	mov $DATA16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $K_DATA, %ax
	mov %ax, %fs		/* 4 GiB limit, for the last case */
	mov $DATA16, %ax
	cmpl $1, REAL(r_unreal)
	je 1f
	mov %ax, %fs
1:	mov %cr0, %eax
	and $~1, %eax
	mov %eax, %cr0
	ljmp $0, $REAL(r_real)
r_real:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7000, %sp
	cmpl $1, REAL(r_unreal)
	jne 2f
	mov $0x200000, %eax
	mov %fs:(%eax), %ebx	/* beyond 64 KiB */
	mov %ebx, REAL(r_big)
2:	mov $0x1000, %ax
	mov %ax, %es		/* base 10000H */
	movw $0x1234, %es:0x10
	mov $0x1001, %ax
	mov %ax, %es
	mov %es:0, %ax
	add $0x4321, %ax
	movzwl %ax, %eax
	mov %eax, REAL(r_sum)
	/* interrupt vectors */
	movw $REAL(r_int40), 0x40 * 4
	movw $0, 0x40 * 4 + 2
	movw $REAL(r_int13), 13 * 4
	movw $0, 13 * 4 + 2
	movw $REAL(r_int6), 6 * 4
	movw $0, 6 * 4 + 2
	movw $REAL(r_int0), 0
	movw $0, 2
	int $0x40
	/* a word at offset FFFFH is #GP (#SS for the stack), not a wrap */
	movl $0, REAL(r_gp)
	mov $0xffff, %bx
	movw $REAL(r_after), REAL(r_resume)
	movw %es:(%bx), %ax
r_after:
	movl $0, REAL(r_ud)
	movw $REAL(r_after2), REAL(r_resume)
	.byte 0x0f, 0x00, 0xc0	/* SLDT is #UD in real mode */
r_after2:
	movl $0, REAL(r_de)
	movw $REAL(r_after3), REAL(r_resume)
	xor %cx, %cx
	div %cx
r_after3:
	/* 16-bit addresses wrap: BX + SI */
	mov $0x1000, %ax
	mov %ax, %es
	movb $0x5a, %es:0x0fff
	mov $0xffff, %bx
	mov $0x1000, %si
	movzbl %es:(%bx,%si), %eax
	mov %eax, REAL(r_wrap)
	/* PUSH moves SP by 2 */
	mov %sp, %ax
	push %ax
	sub %sp, %ax
	pop %dx
	movzwl %ax, %eax
	mov %eax, REAL(r_push)
	lgdtl REAL(r_gdt)
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $K_CODE32, $back
r_int40:
	movl $0x77, REAL(r_int)
	iret
r_int13:
	incl REAL(r_gp)
	jmp r_skip
r_int6:
	incl REAL(r_ud)
	jmp r_skip
r_int0:
	incl REAL(r_de)
r_skip:	push %bp
	mov %sp, %bp
	push %ax
	mov REAL(r_resume), %ax
	mov %ax, 2(%bp)
	pop %ax
	pop %bp
	iret
	.balign 8
r_idt:	.word 0x3ff
	.long 0
	.balign 8
r_gdt:	.word 0x7f
	.long gdt
	.balign 4
r_sum:	.long 0
r_int:	.long 0
r_gp:	.long 0
r_ud:	.long 0
r_de:	.long 0
r_wrap:	.long 0
r_push:	.long 0
r_big:	.long 0
r_unreal: .long 0
r_resume: .long 0
blob_end:
	.code32
	.bss
saved_sp: .skip 4
