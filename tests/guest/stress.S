/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several processors under stress: the program is stress.c, this is how they get there. Each processor has a stack and its
 * number, which its GS base points to; all share one IDT with handlers of stress.c and one set of page tables.
 */
#define GUEST64
#include "lib.inc"
#include "ap.inc"
#define STACK 16384
	.globl stress_fail, pd
test_main:
	movl $0xfee00097, pd + 4096	/* the local APIC at 1 GiB */
	mov %cr3, %rax
	mov %rax, %cr3
	mov $tramp, %esi
	mov $TRAMP, %edi
	mov $tramp_end - tramp, %ecx
	rep movsb
	mov $cpu_number, %eax
	xor %edx, %edx
	mov $0xc0000101, %ecx
	wrmsr
	jmp stress_main

stress_fail:
	mov %edi, case_no
	jmp fail

ap64:	mov 0x40000020, %ebx	/* the local APIC's ID is the processor's number */
	shr $24, %ebx
	mov %ebx, %eax
	imul $STACK, %eax, %eax
	lea ap_stacks + STACK(%rax), %rsp
	lea cpu_number(, %rbx, 8), %rax
	xor %edx, %edx
	mov $0xc0000101, %ecx
	wrmsr
	lidt idtr
	mov %ebx, %edi
	call ap_main
	jmp fail

	.data
	.balign 8
cpu_number:
	.quad 0, 1, 2, 3, 4, 5, 6, 7
	.bss
	.balign 4096
ap_stacks:
	.skip STACK * 8
