/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual-8086 mode: entering by IRET, real-mode segments, IOPL-sensitive instructions, leaving by exceptions and INT n. */
#define GUEST32
#include "lib.inc"
#define BLOB 0x10000
/* Enters v86 code at BLOB + label with the given EFLAGS. */
#define V86(label, flags, resume) TRY(resume); mov $(label - blob), %edi; mov $(flags), %esi; jmp to_v86
test_main:
	mov $blob, %esi
	mov $BLOB, %edi
	mov $blob_end - blob, %ecx
	rep movsb
	CASE(1)			/* HLT is #GP(0); the frame has all segment registers */
	V86(v_hlt, 0x20002, 1f)
1:	EXC(13, 0)
	EQ(ex_ip, v_hlt_at - blob)
	cmpw $0x1000, ex_cs
	jne fail
	testl $0x20000, ex_flags
	jz fail
	mov ex_frame, %eax
	cmpl $0xff0, (%eax)	/* ESP */
	jne fail
	cmpl $0x2000, 4(%eax)	/* SS */
	jne fail
	cmpl $0x1234, 8(%eax)	/* ES */
	jne fail
	cmpl $0x1000, 12(%eax)	/* DS */
	jne fail
	cmpl $0x4321, 16(%eax)	/* FS */
	jne fail
	cmpl $0x5678, 20(%eax)	/* GS */
	jne fail
	EQ(%ebx, 0x1234)
	mov %gs, %eax		/* nulled on the way in */
	EQ(%eax, 0)
	CASE(2)			/* memory through real-mode segments */
	movl $0, 0x10000 + 0x900
	V86(v_mem, 0x20002, 1f)
1:	EXC(13, 0)
	EQ(0x10000 + 0x900, 0x99aa)
	EQ(%ecx, 0x99aa)
	CASE(3)			/* CLI, STI, PUSHF, POPF, IRET, INT n with IOPL 0: #GP(0) */
	V86(v_cli, 0x20002, 1f)
1:	EXC(13, 0)
	V86(v_pushf, 0x20002, 1f)
1:	EXC(13, 0)
	V86(v_popf, 0x20002, 1f)
1:	EXC(13, 0)
	V86(v_iret, 0x20002, 1f)
1:	EXC(13, 0)
	V86(v_int, 0x20002, 1f)
1:	EXC(13, 0)
	CASE(4)			/* with IOPL 3 they work; INT n goes to the protected-mode IDT */
	V86(v_flags, 0x23002, 1f)
1:	EXV(0x30)
	test $0x200, %ebx
	jz fail
	testl $0x20000, ex_flags
	jz fail
	CASE(5)			/* I/O is decided by the bitmap even with IOPL 3 */
	V86(v_out, 0x23002, 1f)
1:	EXC(13, 0)
	CASE(6)			/* a 64 KiB limit */
	V86(v_limit, 0x20002, 1f)
1:	EXC(13, 0)
	V86(v_slimit, 0x20002, 1f)
1:	EXC(12, 0)
	CASE(7)			/* INT3 and #UD */
	V86(v_int3, 0x23002, 1f)
1:	EXC(3, 0)
	V86(v_sldt, 0x20002, 1f)
1:	EXC(6, 0)
	V86(v_arpl, 0x20002, 1f)
1:	EXC(6, 0)
	CASE(8)			/* privileged: #GP(0) */
	V86(v_cr, 0x23002, 1f)
1:	EXC(13, 0)
	V86(v_lmsw, 0x23002, 1f)
1:	EXC(13, 0)
	CASE(9)			/* the instruction pointer is 16 bits */
	V86(v_wrap, 0x20002, 1f)
1:	EXC(13, 0)
	EQ(ex_ip, v_far_at - blob)
	ret

to_v86:
	pushl $0x5678		/* GS FS DS ES SS ESP EFLAGS CS EIP */
	pushl $0x4321
	pushl $0x1000
	pushl $0x1234
	pushl $0x2000
	pushl $0xff0
	push %esi
	pushl $0x1000
	push %edi
	mov $0x1234, %ebx
	iret

	.balign 16
blob:
	.code16
v_hlt:	nop
v_hlt_at:
	hlt
v_mem:	movw $0x99aa, 0x900	/* DS 1000H */
	mov $0x1080, %ax
	mov %ax, %es
	movzwl %es:0x100, %ecx
	hlt
v_cli:	cli
v_pushf: pushf
v_popf:	push $2
	popf
v_iret:	iret
v_int:	int $0x30
v_flags:
	sti
	pushf
	pop %bx
	cli
	push %cs
	pop %ax
	movzwl %bx, %ebx
	int $0x30
v_out:	out %al, $0x80
v_limit:
	mov $0xffff, %bx
	mov (%bx), %ax
v_slimit:
	mov $0xffff, %bp
	mov (%bp), %ax
v_int3:	int3
v_sldt:	sldt %ax
v_arpl:	.byte 0x63, 0xc0
v_cr:	mov %cr0, %eax
v_lmsw:	lmsw %ax
v_wrap:	ljmp $0x0fff, $(v_far - blob + 16)
v_far:	nop
	ljmp $0x1000, $(v_far_at - blob)
v_far_at:
	hlt
blob_end:
	.code32
