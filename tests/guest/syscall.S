/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, FS and GS bases, IRETQ between modes. */
#define GUEST64
#include "lib.inc"
	.macro wrmsr_ msr, lo, hi
	mov $\msr, %ecx
	mov $\lo, %eax
	mov $\hi, %edx
	wrmsr
	.endm
test_main:
	wrmsr_ 0xc0000081, 0, 0x003b0028	/* STAR: SYSRET base 38H | 3, SYSCALL base 28H */
	wrmsr_ 0xc0000082, on_syscall, 0
	wrmsr_ 0xc0000083, on_cstar, 0
	wrmsr_ 0xc0000084, 0x601, 0		/* FMASK: IF, DF, CF */
	CASE(1)
	USER(user1, 1f)
1:	EXV(0x30)
	EQ(%r12d, 0x1357)
	EQ(seen_cs, K_CODE64)
	EQ(seen_ss, K_DATA2)
	EQ(seen_rcx, user1_after)
	mov seen_r11, %eax
	and $0xcc5, %eax
	EQ(%eax, 0x401 + 0x80)		/* CF, DF and SF were set */
	mov seen_flags, %eax
	and $0xcc5, %eax
	EQ(%eax, 0x80)			/* the mask cleared CF and DF */
	EQ(%r13d, U_CODE64)
	EQ(%r14d, U2_DATA)
	CASE(2)			/* SYSRET to 32-bit code */
	USER(user2, 1f)
1:	EXV(0x30)
	EQ(seen_cs, U2_CODE32)
	CASE(3)			/* SYSCALL with SCE clear: #UD */
	mov $0xc0000080, %ecx
	rdmsr
	btr $0, %eax
	wrmsr
	USER(user1, 1f)
1:	EXC(6, 0)
	mov $0xc0000080, %ecx
	rdmsr
	bts $0, %eax
	wrmsr
	CASE(4)			/* SYSRET at CPL 3: #GP(0) */
	USER(user_sysret, 1f)
1:	EXC(13, 0)
	xor %eax, %eax
	cpuid
	cmp $0x756e6547, %ebx
	jne 5f
	wrmsr_ 0x174, K_CODE64, 0
	wrmsr_ 0x175, kstack0_top, 0
	wrmsr_ 0x176, on_sysenter, 0
	USER(user_enter, 1f)
1:	EXV(0x30)
	EQ(%r12d, 0x2468)
	EQ(seen_cs, K_CODE64)
	EQ(%r13d, U_CODE64)
5:	CASE(6)			/* SWAPGS and the base MSRs */
	wrmsr_ 0xc0000101, 0x1000000, 0
	wrmsr_ 0xc0000102, 0x2000000, 0
	movl $0xaaaa, 0x1000010
	movl $0xbbbb, 0x2000010
	EQ(%gs:0x10, 0xaaaa)
	swapgs
	EQ(%gs:0x10, 0xbbbb)
	mov $0xc0000101, %ecx
	rdmsr
	EQ(%eax, 0x2000000)
	mov $0xc0000102, %ecx
	rdmsr
	EQ(%eax, 0x1000000)
	swapgs
	CASE(7)			/* a 64-bit base */
	mov $0xc0000100, %ecx
	mov $0x1000000, %eax
	mov $0x7fff, %edx
	wrmsr
	mov $0x7fff00000000, %rax
	neg %rax
	EQ(%fs:0x10(%rax), 0xaaaa)
	CASE(8)			/* loading a selector sets the base from the descriptor: zero for flat data */
	mov $U_DATA, %eax
	mov %eax, %fs
	EQ(%fs:0x1000010, 0xaaaa)
	CASE(9)			/* RDFSBASE and friends */
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	bt $0, %ebx
	jnc 6f
	TRY(1f)
	rdfsbase %rax
	jmp fail
1:	EXC(6, 0)
	mov %cr4, %rax
	bts $16, %rax
	mov %rax, %cr4
	mov $0x123456789abc, %rax
	wrfsbase %rax
	rdfsbase %rcx
	cmp %rax, %rcx
	jne fail
	mov $0x2000000, %eax
	wrgsbase %rax
	EQ(%gs:0x10, 0xbbbb)
	rdgsbase %rcx
	EQ(%ecx, 0x2000000)
	mov $0x8000, %eax
	shl $32, %rax
	TRY(1f)
	wrfsbase %rax
	jmp fail
1:	EXC(13, 0)
6:	CASE(10)		/* IRETQ to compatibility mode at CPL 3 and back by INT */
	TRY(1f)
	push $U2_DATA
	push $ustack_top
	push $2
	push $U2_CODE32
	push $user32
	iretq
1:	EXV(0x30)
	EQ(ex_cs, U2_CODE32)
	EQ(%ebx, 6)
	CASE(11)		/* a step over SYSCALL whose mask clears TF ends behind SYSRET, which traps at once */
	wrmsr_ 0xc0000084, 0x701, 0
	movl $0, seen_cs
	USER(user_step, 1f)
1:	EXV(1)
	EQ(ex_cs, U_CODE64)
	EQ(ex_ip, user_stepped)
	EQ(seen_cs, K_CODE64)
	CASE(12)		/* without TF in the mask it ends at the kernel's first instruction */
	wrmsr_ 0xc0000084, 0x601, 0
	USER(user_step, 1f)
1:	EXV(1)
	EQ(ex_cs, K_CODE64)
	EQ(ex_ip, on_syscall)
	ret

	.code64
user1:	mov $0x80, %al
	test %al, %al		/* SF */
	stc
	std
	syscall
user1_after:
	cld
	mov %cs, %r13d
	mov %ss, %r14d
	int $0x30
on_syscall:
	mov %rcx, seen_rcx
	mov %r11, seen_r11
	mov %rsp, user_sp
	mov $kstack0_top, %esp
	pushfq
	pop seen_flags
	mov %cs, %eax
	mov %eax, seen_cs
	mov %ss, %eax
	mov %eax, seen_ss
	mov $0x1357, %r12d
	mov user_sp, %rsp
	cmpl $1, ret32
	je 1f
	sysretq
1:	movl $0, ret32
	mov $user2_32, %ecx
	sysretl
on_cstar:
	ud2
user2:	movl $1, ret32
	syscall
	.code32
user2_32:
	mov $U2_DATA, %eax
	mov %eax, %ds
	mov %cs, %eax
	mov %eax, seen_cs
	int $0x30
	.code64
user_step:
	pushfq
	orl $0x100, (%rsp)
	popfq			/* the step begins behind the next instruction */
	syscall
user_stepped:
	nop
	int $0x30
user_sysret:
	sysretq
user_enter:
	mov $user_entered, %edx
	sysenter
user_entered:
	mov %cs, %r13d
	int $0x30
on_sysenter:
	mov $0x2468, %r12d
	mov %cs, %eax
	mov %eax, seen_cs
	mov $user_entered, %edx
	mov $ustack_top, %ecx
	sysexitq
	.code32
user32:	mov $5, %ebx
	.byte 0x43		/* INC EBX */
	int $0x30
	.code64

	.bss
	.balign 8
seen_rcx: .skip 8
seen_r11: .skip 8
seen_flags: .skip 8
seen_cs: .skip 8
seen_ss: .skip 8
user_sp: .skip 8
ret32:	.skip 8
