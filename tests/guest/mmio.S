/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A write and a read of every size to every page of the hole below 4 GiB and to physical memory that is not there, then
 * code, stacks and page tables in such places.
 */
#define GUEST64
#include "lib.inc"
test_main:
	mov $0xc0000000, %ebx
1:	movb $0x5a, (%rbx)
	mov (%rbx), %al
	mov 8(%rbx), %ax
	mov %ax, 8(%rbx)
	mov 0x10(%rbx), %eax
	movl $-1, 0x10(%rbx)
	mov 0x20(%rbx), %rax
	mov %rax, 0x20(%rbx)
	mov 0xfff(%rbx), %cl
	add $0x1000, %rbx
	bt $32, %rbx
	jnc 1b
	CASE(2)			/* locked, string, vector and unaligned accesses to a device page */
	mov $0xfec00000, %ebx
	lock incl (%rbx)
	xchg %eax, 3(%rbx)
	lock cmpxchg8b 8(%rbx)
	mov $0xd0000ffa, %ebx
	mov %rax, (%rbx)
	mov (%rbx), %rax
	movups %xmm0, (%rbx)
	movups (%rbx), %xmm1
	mov $0xd0000000, %edi
	mov $0xd0001000, %esi
	mov $0x1800, %ecx
	rep movsb
	mov $0xd0000000, %edi
	mov $0x400, %ecx
	rep stosq
	CASE(3)			/* RAM that is not there reads as ones */
	mov $0x80000000, %ebx
	mov (%rbx), %eax
	EQ(%eax, -1)
	movl $0, (%rbx)
	mov (%rbx), %eax
	EQ(%eax, -1)
	CASE(4)			/* a stack where nothing is */
	mov %rsp, %r12
	mov $0x90000000, %esp
	push %rax
	pop %rcx
	call 5f
5:	mov %r12, %rsp
	mov $0x80000000, %ebx
	CASE(5)			/* code where nothing is: FF FF is #UD */
	TRY(1f)
	jmp *%rbx
1:	EXC(6, 0)
	CASE(6)			/* code in a device */
	mov $0xfee00000, %ebx
	TRY(1f)
	jmp *%rbx
1:	NE(ex_vec, -1)
	CASE(7)			/* a page table where nothing is: all ones, so reserved bits */
	movl $0x80000007, pd + 4096
	mov %cr3, %rax
	mov %rax, %cr3
	TRY(1f)
	mov 0x40000000, %ecx
	jmp fail
1:	EXC(14, 9)
	ret
