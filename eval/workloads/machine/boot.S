/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image's entry from a multiboot loader (flat 32-bit protected mode, EBX: the loader's information), its way into 64-bit mode
 * with 4-level paging, its handlers, and the loops that need ring 0. All pages are user pages, so that ring 3 needs none of its own.
 */
#include "eval/workloads/machine/image.h"

#define TABLES 0x700000		/* PML4, PDPT, four page directories: below the window's frames */

	.macro descriptor limit, access, flags
	.word (\limit) & 0xffff, 0
	.byte 0, \access, ((\flags) << 4) | (((\limit) >> 16) & 15), 0
	.endm

	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov	$stack_top, %esp
	mov	%eax, %ebp
	mov	$tss, %eax
	mov	%ax, gdt + SEL_TSS + 2
	shr	$16, %eax
	mov	%al, gdt + SEL_TSS + 4
	mov	%ah, gdt + SEL_TSS + 7
	lgdt	gdtr
	ljmp	$SEL_CODE32, $1f
1:	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	/* both PICs: moved away from the exceptions and masked */
	mov	$0x11, %al
	out	%al, $0x20
	out	%al, $0xa0
	mov	$0x20, %al
	out	%al, $0x21
	mov	$0x28, %al
	out	%al, $0xa1
	mov	$4, %al
	out	%al, $0x21
	mov	$2, %al
	out	%al, $0xa1
	mov	$1, %al
	out	%al, $0x21
	out	%al, $0xa1
	mov	$0xff, %al
	out	%al, $0x21
	out	%al, $0xa1
	/* 4 GiB one to one in pages of 2 MiB; the last GiB, where devices are, not cached */
	mov	$TABLES, %edi
	mov	$6 * 1024, %ecx
	xor	%eax, %eax
	rep stosl
	movl	$TABLES + 0x1007, TABLES
	mov	$TABLES + 0x1000, %edi
	mov	$TABLES + 0x2007, %eax
	mov	$4, %ecx
2:	mov	%eax, (%edi)
	add	$4096, %eax
	add	$8, %edi
	loop	2b
	mov	$TABLES + 0x2000, %edi
	mov	$0x87, %eax
	mov	$2048, %ecx
3:	mov	%eax, (%edi)
	cmp	$0xc0000000, %eax
	jb	4f
	orl	$0x10, (%edi)
4:	add	$0x200000, %eax
	add	$8, %edi
	loop	3b
	mov	$TABLES, %eax
	mov	%eax, %cr3
	mov	%cr4, %eax
	or	$0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	mov	%eax, %cr4
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x101, %eax		/* SCE, LME */
	wrmsr
	mov	%cr0, %eax
	or	$0x80010022, %eax	/* PG, WP, NE, MP */
	and	$~4, %eax
	mov	%eax, %cr0
	ljmp	$SEL_CODE64, $5f
	.code64
5:	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	$stack_top, %esp
	mov	$SEL_TSS, %eax
	ltr	%ax
	/* gates for whatever is not expected */
	mov	$traps, %eax
	xor	%r12d, %r12d
6:	mov	%r12d, %edi
	mov	%rax, %rsi
	xor	%edx, %edx
	push	%rax
	call	image_gate
	pop	%rax
	add	$16, %rax
	inc	%r12d
	cmp	$256, %r12d
	jne	6b
	lidt	idtr
	mov	%ebp, %edi
	mov	%ebx, %esi
	call	image_main
	mov	$EXIT_DONE, %al
	out	%al, $PORT_EXIT
7:	cli
	hlt
	jmp	7b

/* ---- exceptions that nobody expected: the item ends ---- */
	.balign 16
traps:
	.set vec, 0
	.rept 256
	.balign 16
	.if (vec == 8) || ((vec >= 10) && (vec <= 14)) || (vec == 17)
	.else
	push	$0
	.endif
	.byte	0x68		/* push imm32, whatever the value */
	.long	vec
	jmp	trap
	.set vec, vec + 1
	.endr
trap:
	pop	trap_vector
	pop	trap_error
	pop	trap_rip
	mov	%cr2, %rax
	mov	%rax, trap_cr2
	mov	$SEL_DATA, %eax
	mov	%eax, %ss
	mov	guard_sp, %rsp
	test	%rsp, %rsp
	jz	8f
	mov	$1, %eax
	jmp	guard_out
8:	mov	$EXIT_MULTIBOOT, %al
	out	%al, $PORT_EXIT
	jmp	8b

	.globl guarded_call
guarded_call:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, guard_sp
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	sub	$8, %rsp
	call	*%rax
	add	$8, %rsp
	xor	%eax, %eax
guard_out:
	cli
	cld
	movq	$0, guard_sp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

/* ---- handlers of items: they count, and go on ---- */
	.globl on_fault, on_fault_error, on_fetch_fault, on_minor_fault, on_interrupt, on_timer, on_soft, on_syscall, on_leave_user, on_spurious
	.balign 64
on_fault_error:
	add	$8, %rsp
on_fault:
	incq	handler_count
	mov	%rdx, (%rsp)
	iretq
	.balign 64
on_fetch_fault:				/* the return address that the CALL pushed */
	incq	handler_count
	mov	32(%rsp), %rax
	mov	(%rax), %rdx
	mov	%rdx, 8(%rsp)
	addq	$8, 32(%rsp)
	add	$8, %rsp
	iretq
	.balign 64
on_minor_fault:				/* the PTE of CR2 gets its present bit */
	incq	handler_count
	mov	%cr2, %rax
	sub	$WINDOW, %rax
	shr	$12, %rax
	orb	$1, WINDOW_TABLES(, %rax, 8)
	add	$8, %rsp
	iretq
	.balign 64
on_timer:
	push	%rax
	push	%rdx
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, handler_tsc
	pop	%rdx
	pop	%rax
on_interrupt:
	push	%rax
	incq	handler_count
	mov	$0xfee000b0, %eax
	movl	$0, (%rax)
	pop	%rax
on_spurious:
	iretq
	.balign 64
on_soft:
	incq	handler_count
	iretq
	.balign 64
on_syscall:
	incq	handler_count
	sysretq
on_leave_user:
	mov	$SEL_DATA, %eax
	mov	%eax, %ss
	mov	user_sp, %rsp
	pop	%rbx
	pop	%rbp
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	ret

/* ---- loops ---- */
	.globl user_call
user_call:
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbp
	push	%rbx
	mov	%rsp, user_sp
	mov	%rdi, %rax
	mov	%rsi, %rdi
	push	$SEL_USER_DATA | 3
	push	$user_stack_top
	push	$2
	push	$SEL_USER64 | 3
	push	%rax
	iretq
	.globl user_syscalls
	.balign 64
user_syscalls:
1:	syscall
	dec	%rdi
	jnz	1b
	int	$VEC_LEAVE_USER

	.globl loop_undefined, loop_divide, loop_fault, loop_fetch_fault, loop_soft, loop_hypercall, loop_hypercall_amd
	.balign 64
loop_undefined:
	lea	2f(%rip), %rdx
1:	ud2
2:	dec	%rdi
	jnz	1b
	ret
	.balign 64
loop_divide:
	lea	2f(%rip), %rdx
	xor	%ecx, %ecx
1:	div	%ecx
2:	dec	%rdi
	jnz	1b
	ret
	.balign 64
loop_fault:				/* RSI: where */
	lea	2f(%rip), %rdx
1:	mov	(%rsi), %rax
2:	dec	%rdi
	jnz	1b
	ret
	.balign 64
loop_fetch_fault:
1:	call	*%rsi
	dec	%rdi
	jnz	1b
	ret
	.balign 64
loop_soft:
1:	int	$VEC_SOFT
	dec	%rdi
	jnz	1b
	ret
/* A function number that no hypervisor has; #UD goes on behind. */
	.balign 64
loop_hypercall:
	push	%rbx
	lea	2f(%rip), %rdx
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%esi, %esi
1:	mov	$0x7fff1234, %eax
	vmcall
2:	dec	%rdi
	jnz	1b
	pop	%rbx
	ret
	.balign 64
loop_hypercall_amd:
	push	%rbx
	lea	2f(%rip), %rdx
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%esi, %esi
1:	mov	$0x7fff1234, %eax
	vmmcall
2:	dec	%rdi
	jnz	1b
	pop	%rbx
	ret

/* Clearing CR0.PG in compatibility mode leaves IA-32e mode, setting it enters it again (SDM 3A 10.8.5). */
	.globl loop_mode_switch
	.balign 64
loop_mode_switch:
	push	%rbx
	mov	%rdi, %r8
	mov	%cr0, %rbx
	mov	$SEL_DATA, %eax		/* ring 3 left none */
	mov	%eax, %ds
1:	ljmp	*to_compat
	.code32
compat:
	mov	%ebx, %eax
	and	$0x7fffffff, %eax
	mov	%eax, %cr0
	jmp	2f
2:	incl	handler_count
	mov	%ebx, %cr0
	ljmp	$SEL_CODE64, $3f
	.code64
3:	dec	%r8
	jnz	1b
	pop	%rbx
	ret

	.globl touch_pages
	.balign 64
touch_pages:
	.rept 1024
	mov	(%rdi), %rax
	add	$4096, %rdi
	.endr
	ret

	.data
	.balign 8
to_compat:
	.long	compat
	.word	SEL_CODE32
	.balign 16
gdt:	.quad	0
	descriptor 0xfffff, 0x9b, 0xa
	descriptor 0xfffff, 0x93, 0xc
	descriptor 0xfffff, 0xfb, 0xc
	descriptor 0xfffff, 0xf3, 0xc
	descriptor 0xfffff, 0xfb, 0xa
	descriptor 0xfffff, 0x9b, 0xc
	descriptor 0x67, 0x89, 0	/* TSS; its base is set at the start */
	.quad	0
gdt_end:
	.balign 8
	.word	0
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt, 0
	.balign 8
	.word	0
idtr:	.word	256 * 16 - 1
	.long	idt, 0
	.balign 16
tss:	.long	0, stack0_top, 0
	.fill	22, 4, 0
	.word	0, 0x68
	.globl handler_count, handler_tsc, trap_vector, trap_error, trap_rip, trap_cr2
	.balign 64
handler_count: .quad 0
handler_tsc: .quad 0
	.balign 64
trap_vector: .quad 0
trap_error: .quad 0
trap_rip: .quad 0
trap_cr2: .quad 0
guard_sp: .quad 0
user_sp: .quad 0

	.bss
	.globl idt
	.balign 4096
idt:	.skip	4096
	.skip	65536
stack_top:
	.skip	8192
stack0_top:
	.skip	4096
user_stack_top:
	.section .note.GNU-stack, "", @progbits
