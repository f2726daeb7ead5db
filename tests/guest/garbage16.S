/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random bytes as code in real mode: the whole first megabyte is noise, the interrupt table included. */
#define GUEST32
#include "lib.inc"
#define TRAMP 0x600
test_main:
	xor %edi, %edi
	mov $0x9fc00 / 4, %ecx
	mov $777, %eax
1:	imul $1664525, %eax
	add $1013904223, %eax
	mov %eax, %edx
	bswap %edx
	mov %edx, (%edi)
	add $4, %edi
	loop 1b
	/* every vector leads into the noise below 64 KiB */
	xor %edi, %edi
	mov $256, %ecx
1:	movw $0, 2(%edi)
	add $4, %edi
	loop 1b
	mov $tramp, %esi
	mov $TRAMP, %edi
	mov $tramp_end - tramp, %ecx
	rep movsb
	ljmp $CODE16, $TRAMP
	.code16
tramp:	mov $DATA16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov %cr0, %eax
	and $~1, %eax
	mov %eax, %cr0
	ljmp $0, $TRAMP + 2f - tramp
2:	xor %ax, %ax
	mov %ax, %ss
	mov $0x7000, %sp
	lidtl TRAMP + 3f - tramp
	ljmp $0x1000, $0x1234
	.balign 4
3:	.word 0x3ff
	.long 0
tramp_end:
	.code32
