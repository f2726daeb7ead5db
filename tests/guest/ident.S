/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who am I, what time is it, give me a random number: RDTSCP, RDPID, RDPMC, RDRAND, RDSEED. Each is what it should be where
 * CPUID shows it, and #UD where not.
 */
#define GUEST64
#include "lib.inc"
#define AUX 0x1234567
test_main:
	CASE(1)			/* RDTSCP: TSC and TSC_AUX, in order with RDTSC */
	mov $0x80000001, %eax
	cpuid
	mov %edx, %r13d
	bt $27, %r13d
	jnc 2f
	mov $0xc0000103, %ecx
	mov $AUX, %eax
	xor %edx, %edx
	wrmsr
	rdtsc
	shl $32, %rdx
	lea (%rdx, %rax), %rbx
	mov $-1, %rax
	mov $-1, %rdx
	mov $-1, %rcx
	rdtscp
	cmp $AUX, %rcx		/* the upper halves are zero */
	jne fail
	mov %rax, %rsi
	or %rdx, %rsi
	shr $32, %rsi
	jnz fail
	shl $32, %rdx
	add %rdx, %rax
	cmp %rbx, %rax
	jb fail
	mov %rax, %rbx
	rdtsc
	shl $32, %rdx
	add %rdx, %rax
	cmp %rbx, %rax
	jb fail
	CASE(2)			/* at CPL 3; not with CR4.TSD */
	USER(user_rdtscp, 1f)
1:	EXV(0x30)
	EQ(%ecx, AUX)
	mov %cr4, %rax
	or $4, %eax
	mov %rax, %cr4
	USER(user_rdtscp, 1f)
1:	EXC(13, 0)
	USER(user_rdtsc, 1f)
1:	EXC(13, 0)
	rdtscp			/* CPL 0 may */
	mov %cr4, %rax
	and $~4, %eax
	mov %rax, %cr4
	jmp 3f
2:	USER(user_rdtscp, 1f)
1:	EXC(6, 0)
3:	CASE(3)			/* RDPID */
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	mov %ebx, %r14d		/* leaf 7 EBX */
	bt $22, %ecx
	mov $-1, %rcx
	jnc 4f
	.byte 0xf3, 0x0f, 0xc7, 0xf9	/* RDPID RCX */
	cmp $AUX, %rcx
	jne fail
	jmp 5f
4:	TRY(1f)
	.byte 0xf3, 0x0f, 0xc7, 0xf9
	jmp fail
1:	EXC(6, 0)
5:	CASE(4)			/* RDPMC with CR4.PCE clear: CPL 3 may not */
	USER(user_rdpmc, 1f)
1:	EXC(13, 0)
	CASE(5)			/* RDRAND: CF tells success; OF, SF, ZF, AF, PF are cleared (SDM 2B) */
	mov $1, %eax
	cpuid
	bt $30, %ecx
	jnc 6f
	call random64
	mov %rax, %rbx
	call random64
	cmp %rax, %rbx		/* once in 2^64 */
	je fail
	mov $-1, %rax		/* 32 bits clear the upper half, 16 bits leave the rest alone */
7:	rdrand %eax
	jnc 7b
	mov %rax, %rcx
	shr $32, %rcx
	jnz fail
	mov $-1, %rax
8:	rdrand %ax
	jnc 8b
	shr $16, %rax
	mov $-1, %rcx
	shr $16, %rcx
	cmp %rcx, %rax
	jne fail
	jmp 9f
6:	TRY(1f)
	rdrand %eax
	jmp fail
1:	EXC(6, 0)
9:	CASE(6)			/* RDSEED: may run dry, then the register is zero */
	bt $18, %r14d
	jnc 6f
	mov $1000000, %ecx
2:	mov $-1, %rax
	rdseed %rax
	jc 3f
	test %rax, %rax
	jnz fail
	dec %ecx
	jnz 2b
	jmp fail
3:	ret
6:	TRY(1f)
	rdseed %rax
	jmp fail
1:	EXC(6, 0)
	ret

random64:
	or $-1, %eax		/* SF and PF set */
	rdrand %rax
	pushfq
	pop %rdx
	jnc random64
	test $0x8d4, %edx
	jnz fail
	ret
user_rdtscp:
	rdtscp
	int $0x30
user_rdtsc:
	rdtsc
	int $0x30
user_rdpmc:
	xor %ecx, %ecx
	rdpmc
	int $0x30
