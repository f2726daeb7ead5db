/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random bytes as code in 64-bit mode, at CPL 3 and CPL 0 in turn; see garbage32.S. */
#define GUEST64
#include "lib.inc"
#ifndef ROUNDS
#define ROUNDS 20000
#endif
test_main:
	movl $ROUNDS, rounds
round:	mov $kstack_top, %esp
	decl rounds
	jz pass
	mov $arena, %edi
	mov $64, %ecx
	mov seed, %eax
1:	imul $1664525, %eax
	add $1013904223, %eax
	mov %eax, %edx
	bswap %edx
	xor %eax, %edx
	mov %edx, (%rdi)
	add $4, %rdi
	loop 1b
	mov %eax, seed
	TRY(round)
	mov $arena, %edi
	mov %eax, %ebx
	mov $arena + 512, %esi
	movl $0x90909090, arena + 256
	movl $0x0b0f0b0f, arena + 260
	testl $3, rounds
	jnz to_user
	jmp *%rdi

	.data
	.balign 8
rounds:	.long 0
seed:	.long 54321
	.bss
	.balign 4096
arena:	.skip 4096
