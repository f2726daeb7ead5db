/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random bytes as code, in 32-bit protected mode at CPL 0: whatever they do to the guest, the host must live. Each round
 * fills a page from a generator and jumps into it; every exception starts the next round. The guest may destroy itself
 * (a triple fault, a hang): the runner accepts all of that.
 */
#define GUEST32
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
	mov %edx, (%edi)
	add $4, %edi
	loop 1b
	mov %eax, seed
	TRY(round)
	mov $arena, %edi
	mov %eax, %ebx
	mov $arena + 512, %esi
	movl $0x90909090, arena + 256
	movl $0x0b0f0b0f, arena + 260
	jmp *%edi

	.data
	.balign 8
rounds:	.long 0
seed:	.long 12345
	.bss
	.balign 4096
arena:	.skip 4096
