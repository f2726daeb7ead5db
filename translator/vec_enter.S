/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vec_enter(struct vec_run *): the guest's vector state into the processor, one instruction, and out again.
 *
 * Between the two there is nothing but the guest's instruction that touches a vector register, and behind it the host's
 * initial state is loaded, so that no host code ever runs with the guest's upper halves, control words or a pending x87
 * exception. XRSTOR and XSAVE are not waiting instructions: a pending exception passes through them (SDM 1 13.7, 13.8).
 * Offsets are those of struct vec_run in vec.h, checked in vec_exec.c.
 */
#define RUN_RFLAGS 128
#define RUN_STUB 136
#define RUN_IN 144
#define RUN_OUT 152
#define RUN_INIT 160
#define RUN_MASK 168
#define RUN_FX 172

	.text
	.globl vec_enter
	.type vec_enter, @function
vec_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rdi
	pushq RUN_STUB(%rdi)

	movq RUN_IN(%rdi), %rbx
	movl RUN_MASK(%rdi), %eax
	xorl %edx, %edx
	cmpl $0, RUN_FX(%rdi)
	jne 1f
	xrstor64 (%rbx)
	jmp 2f
1:	fxrstor64 (%rbx)
2:	pushq RUN_RFLAGS(%rdi)
	popfq
	movq 0(%rdi), %rax
	movq 8(%rdi), %rcx
	movq 16(%rdi), %rdx
	movq 24(%rdi), %rbx
	movq 40(%rdi), %rbp
	movq 48(%rdi), %rsi
	movq 64(%rdi), %r8
	movq 72(%rdi), %r9
	movq 80(%rdi), %r10
	movq 88(%rdi), %r11
	movq 96(%rdi), %r12
	movq 104(%rdi), %r13
	movq 112(%rdi), %r14
	movq 120(%rdi), %r15
	movq 56(%rdi), %rdi
	callq *(%rsp)

	pushfq
	pushq %rdi
	movq 24(%rsp), %rdi
	movq %rax, 0(%rdi)
	movq %rcx, 8(%rdi)
	movq %rdx, 16(%rdi)
	movq %rbx, 24(%rdi)
	movq %rbp, 40(%rdi)
	movq %rsi, 48(%rdi)
	popq 56(%rdi)
	movq %r8, 64(%rdi)
	movq %r9, 72(%rdi)
	movq %r10, 80(%rdi)
	movq %r11, 88(%rdi)
	movq %r12, 96(%rdi)
	movq %r13, 104(%rdi)
	movq %r14, 112(%rdi)
	movq %r15, 120(%rdi)
	popq RUN_RFLAGS(%rdi)

	movq RUN_OUT(%rdi), %rbx
	movq RUN_INIT(%rdi), %rbp
	movl RUN_MASK(%rdi), %eax
	xorl %edx, %edx
	cmpl $0, RUN_FX(%rdi)
	jne 3f
	xsave64 (%rbx)
	xrstor64 (%rbp)
	jmp 4f
3:	fxsave64 (%rbx)
	fxrstor64 (%rbp)
4:	addq $16, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	retq
	.size vec_enter, . - vec_enter
	.section .note.GNU-stack, "", @progbits
