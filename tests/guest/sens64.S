/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 17 sensitive instructions that are not privileged (Robin and Irvine 2000: what makes the classic x86 not
 * virtualizable), in 64-bit mode at CPL 0 and CPL 3: they must show the guest's state, never the host's.
 */
#define GUEST64
#include "lib.inc"
test_main:
	CASE(1)
	call checks
	CASE(101)
	USER(user_checks, 1f)
1:	EXV(0x30)
	CASE(2)			/* POPF at CPL 0 changes IF and IOPL, at CPL 3 it does not and does not fault */
	pushfq
	pop %rax
	or $0x3000, %eax
	push %rax
	popfq
	pushfq
	pop %rcx
	test $0x3000, %ecx
	jz fail
	and $~0x3000, %eax
	push %rax
	popfq
	USER(user_popf, 1f)
1:	EXV(0x30)
	test $0x3200, %ebx
	jnz fail
	CASE(3)			/* CLI and STI at CPL 3 with IOPL 0: #GP(0); with IOPL 3 they work */
	USER(user_cli, 1f)
1:	EXC(13, 0)
	TRY(1f)
	push $U_DATA
	push $ustack_top
	push $0x3002
	push $U_CODE64
	push $user_sti
	iretq
1:	EXV(0x30)
	test $0x200, %ebx
	jz fail
	CASE(4)			/* with UMIP, CPL 3 may not look */
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	bt $2, %ecx
	jnc 3f
	mov %cr4, %rax
	bts $11, %rax
	mov %rax, %cr4
	sgdt buf
	USER(user_sgdt, 1f)
1:	EXC(13, 0)
	USER(user_sidt, 1f)
1:	EXC(13, 0)
	USER(user_sldt, 1f)
1:	EXC(13, 0)
	USER(user_str, 1f)
1:	EXC(13, 0)
	USER(user_smsw, 1f)
1:	EXC(13, 0)
	mov %cr4, %rax
	btr $11, %rax
	mov %rax, %cr4
3:	CASE(5)			/* far CALL, JMP, RET across privilege: CPL 3 to kernel code is #GP */
	USER(user_far, 1f)
1:	EXC(13, K_CODE64)
	CASE(6)			/* a 64-bit call gate from CPL 3, and back by RET */
	mov $gate_target, %eax
	mov %ax, gdt + SEL_TEST
	movw $K_CODE64, gdt + SEL_TEST + 2
	movw $0xec00, gdt + SEL_TEST + 4
	shr $16, %eax
	mov %ax, gdt + SEL_TEST + 6
	movq $0, gdt + SEL_TEST + 8
	USER(user_gate, 1f)
1:	EXV(0x30)
	EQ(%ebx, 0xc0de)
	EQ(%r12d, K_CODE64)
	EQ(%r13d, U_CODE64)
	CASE(7)			/* the same, conforming: CPL stays 3 */
	movl $0x0000ffff, gdt + SEL_TEST + 16
	movl $0x00af9f00, gdt + SEL_TEST + 20
	USER(user_conf, 1f)
1:	EXV(0x30)
	cmp $SEL_TEST + 16 + 3, %r12d
	jne fail
	ret

/* Runs at both privilege levels; CPL 3 comes back by INT 30H. */
checks:
	sgdt buf
	cmpw $SEL_TEST + 63, buf
	jne bad
	cmpq $gdt, buf + 2
	jne bad
	/* flags live across it */
	stc
	sidt buf
	jnc bad
	cmpw $4095, buf
	jne bad
	cmpq $idt, buf + 2
	jne bad
	mov $-1, %rax
	sldt %eax
	cmp $0, %rax
	jne bad
	mov $-1, %rax
	str %eax
	cmp $SEL_TSS, %rax
	jne bad
	mov $-1, %rax
	smsw %rax
	mov %eax, %ecx
	and $0x80010033, %ecx
	cmp $0x80010033, %ecx
	jne bad
	mov $0xffff, %eax
	smsw %ax
	and $0x8, %eax
	jnz bad
	pushfq
	pop %rax
	test $0x200, %eax	/* the guest runs with interrupts off, the host process does not */
	jnz bad
	mov $K_CODE64, %ecx
	mov %cs, %edx
	and $3, %edx
	jz 1f
	/* CPL 3: kernel descriptors are invisible */
	lar %ecx, %eax
	jz bad
	verr %cx
	jz bad
	mov $U_CODE64, %ecx
1:	lar %ecx, %eax
	jnz bad
	and $0x00f0fd00, %eax
	mov $0x00a0f900, %r8d
	mov $0x00a09900, %r9d
	test %edx, %edx
	cmovz %r9d, %r8d
	cmp %r8d, %eax
	jne bad
	verr %cx
	jnz bad
	verw %cx
	jz bad
	mov $U_DATA, %ecx
	verw %cx
	jnz bad
	lsl %ecx, %eax
	jnz bad
	cmp $-1, %eax
	jne bad
	mov $SEL_TSS, %ecx	/* LSL of a TSS: its limit, for those who may see it */
	test %edx, %edx
	jnz 2f
	lsl %ecx, %eax
	jnz bad
	cmp $0x2068, %eax
	jne bad
2:	mov $0x1230, %ecx	/* beyond the table */
	lar %ecx, %eax
	jz bad
	lsl %ecx, %eax
	jz bad
	verr %cx
	jz bad
	xor %ecx, %ecx
	lar %ecx, %eax
	jz bad
	mov %cs, %eax
	mov $K_CODE64, %ecx
	mov $U_CODE64, %r8d
	test %edx, %edx
	cmovnz %r8d, %ecx
	cmp %ecx, %eax
	jne bad
	mov %ss, %eax
	mov $K_DATA, %ecx
	mov $U_DATA, %r8d
	test %edx, %edx
	cmovnz %r8d, %ecx
	cmp %ecx, %eax
	jne bad
	mov $U_DATA, %eax
	mov %eax, %fs
	push %fs
	pop %rcx
	cmp $U_DATA, %rcx
	jne bad
	push $0
	pop %fs
	mov %fs, %ecx
	test %ecx, %ecx
	jnz bad
	/* far call and far return to the same privilege */
	mov %cs, far_ptr + 4
	lcall *far_ptr
	cmp $0x4242, %eax
	jne bad
	ret
bad:	cmp %eax, %eax
	mov %cs, %eax
	test $3, %al
	jz fail
	ud2
far_target:
	mov $0x4242, %eax
	lretl

user_checks:
	call checks
	int $0x30
user_popf:
	push $0x3202
	popfq
	pushfq
	pop %rbx
	int $0x30
user_cli:
	cli
user_sti:
	sti
	pushfq
	pop %rbx
	cli
	int $0x30
user_sgdt:
	sgdt buf
user_sidt:
	sidt buf
user_sldt:
	sldt %eax
user_str:
	str %eax
user_smsw:
	smsw %eax
user_far:
	push $K_CODE64
	push $fail
	lretq
user_gate:
	lcall *gate_ptr
	mov %cs, %r13d
	int $0x30
gate_target:
	mov %cs, %r12d
	mov $0xc0de, %ebx
	lretq
user_conf:
	push $SEL_TEST + 16 + 3
	push $1f
	lretq
1:	mov %cs, %r12d
	int $0x30

	.data
	.balign 16
far_ptr: .long far_target
	.word 0
	.balign 16
gate_ptr: .long 0
	.word SEL_TEST + 3
	.balign 16
buf:	.quad 0, 0
