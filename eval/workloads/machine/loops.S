/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loops that image and twin share, where it matters which instructions there are and in which pages. All are functions of the
 * System V ABI with n > 0 in RDI and change only registers that a caller expects to lose; no position is built in.
 */
	.text
	.code64
	.globl loop_empty
	.balign 64
loop_empty:
1:	nop
	dec	%rdi
	jnz	1b
	ret

	.globl loop_rdtsc
	.balign 64
loop_rdtsc:
1:	rdtsc
	dec	%rdi
	jnz	1b
	ret

	.globl loop_cpuid
	.balign 64
loop_cpuid:
	push	%rbx
1:	xor	%eax, %eax
	xor	%ecx, %ecx
	cpuid
	dec	%rdi
	jnz	1b
	pop	%rbx
	ret

	.globl loop_lock_add
	.balign 64
loop_lock_add:				/* RSI: the word */
1:	lock addq $1, (%rsi)
	dec	%rdi
	jnz	1b
	ret

	.globl loop_movsb
	.balign 64
loop_movsb:				/* RSI: to, RDX: from */
	mov	%rdi, %r8
	mov	%rsi, %r9
	cld
1:	mov	%r9, %rdi
	mov	%rdx, %rsi
	mov	$4096, %ecx
	rep movsb
	dec	%r8
	jnz	1b
	ret

/* RSI: 64-byte aligned area; EDX: components. XMM0 comes back from the area: %rcx goes in, what the last XSAVE saw is there. */
	.globl loop_xsave
	.balign 64
loop_xsave:
	mov	%edx, %eax
	xor	%edx, %edx
	movq	%rcx, %xmm0
1:	xsave64	(%rsi)
	pxor	%xmm0, %xmm0
	xrstor64 (%rsi)
	dec	%rdi
	jnz	1b
	movq	%xmm0, %rax
	ret

	.globl loop_load
	.balign 64
loop_load:				/* RSI: the word */
1:	mov	(%rsi), %rax
	dec	%rdi
	jnz	1b
	ret

/* RSI: first page, RDX: how many, a power of 2, RCX: where to begin. Line i of page i, so that not all are in one set of a cache. */
	.globl loop_pages
	.balign 64
loop_pages:
	dec	%rdx
1:	mov	%ecx, %eax
	and	%edx, %eax
	mov	%eax, %r8d
	shl	$12, %rax
	and	$63, %r8d
	shl	$6, %r8d
	add	%r8, %rax
	mov	(%rsi, %rax), %rax
	inc	%ecx
	dec	%rdi
	jnz	1b
	mov	%rcx, %rax
	ret

/* The function called adds to RAX, which the end compares. */
	.balign 4096
	.globl loop_call_direct
loop_call_direct:
	xor	%eax, %eax
1:	call	leaf_near
	dec	%rdi
	jnz	1b
	ret
	.balign 64
leaf_near:
	inc	%rax
	ret
	.globl loop_call_page
	.balign 64
loop_call_page:
	xor	%eax, %eax
1:	call	leaf_far
	dec	%rdi
	jnz	1b
	ret
	.globl loop_call_indirect
	.balign 64
loop_call_indirect:
	xor	%eax, %eax
	lea	leaf_far(%rip), %rdx
1:	call	*%rdx
	dec	%rdi
	jnz	1b
	ret
	.globl loop_call_targets
	.balign 64
loop_call_targets:
	xor	%eax, %eax
	xor	%ecx, %ecx
	lea	leaf_far(%rip), %rdx
1:	lea	(%rdx, %rcx), %rsi
	add	$4096 + 64, %ecx
	call	*%rsi
	cmp	$8 * (4096 + 64), %ecx
	jne	2f
	xor	%ecx, %ecx
2:	dec	%rdi
	jnz	1b
	ret
/* Eight functions in eight pages, each a line further into its page than the one before. */
	.balign 4096
leaf_far:
	.rept 8
	inc	%rax
	ret
	.skip 4096 + 64 - 4, 0xcc
	.endr

/* To be copied where it may be written: n turns that add their own number by way of a changed operand. */
	.globl self_begin, self_end
	.balign 64
self_begin:
	xor	%edx, %edx
1:	mov	%edi, 2f + 1(%rip)
2:	mov	$0x11111111, %eax
	add	%rax, %rdx
	dec	%rdi
	jnz	1b
	mov	%rdx, %rax
	ret
self_end:
	.section .note.GNU-stack, "", @progbits
