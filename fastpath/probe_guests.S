/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe's tiny guests, one after the other; C copies all of them to PG_CODE. They run at the physical address or, in
 * 16-bit modes, at the offset from pg_begin, so whatever is absolute here says AT(label). Each starts with what C put
 * into the registers and says PG_DONE when it is through. Bytes without a .code directive mean the same in every mode.
 */
#include "fastpath/probe_guest.h"

#define AT(label) (PG_CODE + (label)-pg_begin)

	.text
	.balign 4096
.macro GUEST name
	.balign 16
	.globl pg_\name
pg_\name:
.endm
.macro DONE
	out	%al, $PG_DONE
77:	jmp	77b
.endm

GUEST begin

/*
 * Which mode is this? EAX, zero before: 48H is REX.W (0 stays), DEC EAX (-1) or DEC AX (0xffff). ES is loaded with DX: its
 * base tells selectors from real-mode segments. EDI: CS. ESI: what is at DS:EBX, in 32- and 64-bit code.
 */
GUEST mode
	.byte 0x48, 0x90
	.byte 0x8e, 0xc2	/* mov %edx, %es */
	.byte 0x8c, 0xcf	/* mov %cs, %edi */
	.byte 0x8b, 0x33	/* mov (%ebx), %esi */
	.byte 0xe6, PG_DONE
	.byte 0xeb, 0xfe

/* ECX rounds of PG_LOOP_INSNS instructions: arithmetic, a store, a load. EAX, EDX, EDI are a checksum. */
.macro SPEED base
	.balign 16
1:	addl	$3, %eax
	xorl	%eax, %edx
	movl	%edx, (\base)
	leal	(%edi, %edx), %edi
	movl	64(\base), %esi
	addl	%esi, %edi
	decl	%ecx
	jnz	1b
.endm
	.code16
GUEST loop16
	SPEED %ebx
	DONE
	.code32
GUEST loop32
	SPEED %ebx
	DONE
	.code64
GUEST loop64
	SPEED %rbx
	DONE
/* void pg_loop_host(uint32_t r[4], void *data): the same on the host; r is EAX, EDX, EDI, ECX. */
GUEST loop_host
	push	%rbx
	push	%r12
	mov	%rdi, %r12
	mov	%rsi, %rbx
	mov	(%r12), %eax
	mov	4(%r12), %edx
	mov	8(%r12), %edi
	mov	12(%r12), %ecx
	SPEED %rbx
	mov	%eax, (%r12)
	mov	%edx, 4(%r12)
	mov	%edi, 8(%r12)
	mov	%ecx, 12(%r12)
	pop	%r12
	pop	%rbx
	ret

/*
 * Loops of 64-bit ring 3, RCX rounds, each for the guest and, as void pg_run_*(uint64_t rounds, void *data), for the host.
 * RBX: 256 bytes; operands from 64 on, results from 0 on.
 */
.macro RUN_INT
	xor	%eax, %eax
	xor	%edx, %edx
	xor	%edi, %edi
	.balign 64
1:	imul	$0x01000193, %rax, %rax
	add	64(%rbx), %rax
	xor	%rax, %rdx
	rol	$7, %rdx
	mov	%rdx, 16(%rbx)
	lea	3(%rdi, %rdx), %rdi
	dec	%rcx
	jnz	1b
	mov	%rax, (%rbx)
	mov	%rdi, 8(%rbx)
.endm
.macro RUN_SSE
	movups	64(%rbx), %xmm0
	movups	80(%rbx), %xmm1
	movups	96(%rbx), %xmm2
	pxor	%xmm3, %xmm3
	.balign 64
1:	mulps	%xmm1, %xmm0
	addps	%xmm2, %xmm0
	movups	%xmm0, 16(%rbx)
	paddd	%xmm0, %xmm3
	pslld	$1, %xmm3
	pxor	%xmm0, %xmm3
	dec	%rcx
	jnz	1b
	movups	%xmm3, (%rbx)
.endm
.macro RUN_AVX2
	vmovups	64(%rbx), %ymm0
	vmovups	96(%rbx), %ymm1
	vmovups	128(%rbx), %ymm2
	vpxor	%ymm3, %ymm3, %ymm3
	.balign 64
1:	vmulps	%ymm1, %ymm0, %ymm0
	vaddps	%ymm2, %ymm0, %ymm0
	vmovups	%ymm0, 32(%rbx)
	vpaddd	%ymm0, %ymm3, %ymm3
	vpslld	$1, %ymm3, %ymm3
	vpxor	%ymm0, %ymm3, %ymm3
	dec	%rcx
	jnz	1b
	vmovups	%ymm3, (%rbx)
	vzeroupper
.endm
.macro RUN_X87
	fninit
	fldl	72(%rbx)
	fldl	64(%rbx)
	.balign 64
1:	fmul	%st(1), %st
	fadd	%st(1), %st
	fsqrt
	dec	%rcx
	jnz	1b
	fstpt	(%rbx)
	fstp	%st(0)
.endm
.macro RUN name, body
	.balign 64
GUEST guest_\name
	\body
	DONE
	.balign 64
GUEST run_\name
	push	%rbx
	mov	%rdi, %rcx
	mov	%rsi, %rbx
	\body
	pop	%rbx
	ret
.endm
	RUN int, RUN_INT
	RUN sse, RUN_SSE
	RUN avx2, RUN_AVX2
	RUN x87, RUN_X87

/* ---- loops of exits, in any mode ---- */
GUEST spin
	.byte 0xeb, 0xfe
GUEST outs
	.byte 0xe6, PG_NOTE, 0xeb, 0xfc
GUEST halts
	.byte 0xf4, 0xeb, 0xfd
/* OUT, STI, then a loop. */
GUEST window
	.byte 0xe6, PG_NOTE, 0xfb, 0x90, 0xeb, 0xfe

/* ---- 64-bit ---- */
	.code64
GUEST mmio_reads
	mov	(%rbx), %eax
	jmp	pg_mmio_reads
GUEST mmio_writes
	mov	%eax, (%rbx)
	jmp	pg_mmio_writes
GUEST cpuids
	mov	%r12d, %eax
	xor	%ecx, %ecx
	cpuid
	dec	%r15
	jnz	pg_cpuids
	DONE
GUEST cpuid
	cpuid
	DONE
GUEST store
	mov	%eax, (%rbx)
	DONE
GUEST load
	mov	(%rbx), %eax
	DONE
GUEST jump
	jmp	*%rbx
GUEST ud
	ud2
	DONE
GUEST divide
	xor	%ecx, %ecx
	div	%ecx
	DONE
GUEST privileged
	mov	%cr0, %rax
	DONE
GUEST done
	DONE

/* SYSCALL: at its target ESI is CS, and MOV CR0 tells whether that is true; R14D is CS after SYSRET. */
GUEST syscall
	syscall
	mov	%cs, %r14d
	DONE
GUEST syscall_entry
	mov	%cs, %esi
	out	%al, $PG_NOTE
	mov	%cr0, %rdi
	out	%al, $PG_NOTE
	sysretq
/* IRET to ring 3; MOV CR0 must fault there. */
GUEST iret
	pushq	$PG_DS_USER
	pushq	$PG_STACK3
	pushq	$0x3002
	pushq	$PG_CS64_USER
	pushq	$AT(pg_iret_target)
	iretq
GUEST iret_target
	mov	%cs, %esi
	out	%al, $PG_NOTE
	mov	%cr0, %rdi
	DONE
/* INT n and back; the generic handler is at the other end. */
GUEST int
	int	$PG_VECTOR_INT
	mov	%cs, %esi
	DONE
/* CR0 is RBX, CR4 is R8, EFER is R9, read back into RSI, RDI, R10. */
GUEST control
	mov	%rbx, %cr0
	mov	%cr0, %rsi
	mov	%r8, %cr4
	mov	%cr4, %rdi
	mov	$0xc0000080, %ecx
	mov	%r9d, %eax
	xor	%edx, %edx
	wrmsr
	rdmsr
	mov	%eax, %r10d
	DONE
GUEST read_control
	mov	%cr0, %rsi
	mov	%cr4, %rdi
	mov	$0xc0000080, %ecx
	rdmsr
	mov	%eax, %r10d
	DONE
GUEST rdtsc
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	DONE
/* XCR0 into RSI, EBX into XCR0, XCR0 into RDI. */
GUEST xcr0
	xor	%ecx, %ecx
	xgetbv
	mov	%eax, %esi
	mov	%ebx, %eax
	xor	%edx, %edx
	xsetbv
	xgetbv
	mov	%eax, %edi
	DONE
/* WRMSR of GS.base and KERNEL_GS.base (R8, R9), SWAPGS, a load by GS into RSI, RDMSR of GS.base into RDI. */
GUEST gs_base
	mov	$0xc0000101, %ecx
	mov	%r8d, %eax
	xor	%edx, %edx
	wrmsr
	mov	$0xc0000102, %ecx
	mov	%r9d, %eax
	wrmsr
	swapgs
	mov	%gs:0, %esi
	mov	$0xc0000101, %ecx
	rdmsr
	mov	%eax, %edi
	DONE

/* ---- single instructions that a kernel needs in ring 0; RBX points to memory ---- */
GUEST cmpxchg16b
	lock cmpxchg16b (%rbx)
	setz	%sil
	DONE
GUEST xsave
	xsave64	(%rbx)
	DONE
GUEST xrstor
	xrstor64 (%rbx)
	DONE
GUEST xsaves
	xsaves64 (%rbx)
	xrstors64 (%rbx)
	DONE
GUEST fxsave
	fxsave64 (%rbx)
	fxrstor64 (%rbx)
	DONE
GUEST sse
	movdqu	(%rbx), %xmm0
	paddd	%xmm0, %xmm0
	movdqu	%xmm0, 16(%rbx)
	DONE
GUEST avx
	vmovdqu	(%rbx), %ymm0
	vpaddq	%ymm0, %ymm0, %ymm0
	vmovdqu	%ymm0, 32(%rbx)
	DONE
GUEST x87
	fninit
	fld1
	fadd	%st(0), %st(0)
	fistpl	(%rbx)
	DONE
GUEST vmcall
	vmcall
	DONE
GUEST vmmcall
	vmmcall
	DONE

/* ---- debugging ---- */
GUEST nops
	nop
	nop
	nop
	nop
	DONE
GUEST trap_flag
	pushf
	orl	$0x100, (%rsp)
	popf
	nop
	DONE

/* ---- paging, memory ---- */
/* Reads the word at RBX twice, with a pause for somebody to change its page-table entry. */
GUEST pte_plain
	mov	(%rbx), %esi
	out	%al, $PG_NOTE
	mov	(%rbx), %edi
	DONE
/* What ring 0 does in that pause. */
GUEST flush_invlpg
	invlpg	(%rbx)
	DONE
GUEST flush_cr3
	mov	%cr3, %rax
	mov	%rax, %cr3
	DONE
GUEST pte_own
	mov	%r9, (%r8)
	invlpg	(%rbx)
	DONE
/* Stores to pages 1, 3 and, its last byte, 4 of PG_TEST. */
GUEST dirty
	mov	%eax, PG_TEST + 0x1000
	mov	%eax, PG_TEST + 0x3010
	mov	%al, PG_TEST + 0x4fff
	DONE
/* Overwrites the immediate of an instruction that it has just run. */
GUEST self_modify
	mov	$2, %r15d
1:	mov	$0x11111111, %esi
	movl	$0x22222222, AT(1b) + 1
	dec	%r15d
	jnz	1b
	DONE
GUEST string_out
	mov	$8, %ecx
	mov	$PG_NOTE, %edx
	cld
	rep outsb
	DONE
/* R15 pages from RBX on, one store each. */
GUEST touch
	mov	%eax, (%rbx)
	add	$4096, %rbx
	dec	%r15
	jnz	pg_touch
	DONE
/* R15 times: entry at R8 becomes R9 or R10, flush, access. */
GUEST pte_changes
	mov	%r9, (%r8)
	invlpg	(%rbx)
	mov	(%rbx), %esi
	xchg	%r9, %r10
	dec	%r15
	jnz	pg_pte_changes
	DONE
GUEST cr3_loads
	mov	%cr3, %rax
1:	mov	%rax, %cr3
	mov	(%rbx), %esi
	dec	%r15
	jnz	1b
	DONE

/*
 * Ring 3 to ring 0 and back, R15 times: TSC before, in the handler and after. The two halves go to R8 and R9, arrays
 * of 64-bit differences. R10, R11 (not with SYSCALL), R12, R13 and R14 are free.
 */
.macro STAMP reg
	rdtsc
	shl	$32, %rdx
	or	%rax, %rdx
	mov	%rdx, \reg
.endm
.macro TRIP name, trap:vararg
GUEST trip_\name
	STAMP	%r12
	\trap
	STAMP	%r14
	sub	%r13, %r14
	sub	%r12, %r13
	mov	%r13, (%r8)
	mov	%r14, (%r9)
	add	$8, %r8
	add	$8, %r9
	dec	%r15
	jnz	pg_trip_\name
	DONE
.endm
	TRIP syscall, syscall
	TRIP int, int $PG_VECTOR_INT
	TRIP fault, .byte 0x8b, 0x33 /* mov (%rbx), %esi */
GUEST trip_syscall_entry
	STAMP	%r13
	sysretq
GUEST trip_int_entry
	STAMP	%r13
	iretq
GUEST trip_fault_entry
	STAMP	%r13
	add	$8, %rsp
	addq	$2, (%rsp)
	iretq

/* ---- 64-bit exceptions and interrupts: a stub for each vector, then all the same ---- */
GUEST stubs64
.set vector, 0
.rept PG_VECTORS
	.balign PG_STUB_BYTES
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	common64
.set vector, vector + 1
.endr
common64:
	push	%rax
	mov	8(%rsp), %rax
	mov	%rax, PG_EXC_VECTOR
	mov	16(%rsp), %rax
	mov	%rax, PG_EXC_ERROR
	mov	24(%rsp), %rax
	mov	%rax, PG_EXC_RIP
	mov	32(%rsp), %rax
	mov	%rax, PG_EXC_CS
	mov	%cr2, %rax
	mov	%rax, PG_EXC_CR2
	mov	%cs, %eax
	mov	%rax, PG_EXC_HANDLER_CS
	pop	%rax
	out	%al, $PG_EXCEPTION
	add	$16, %rsp
	iretq

/* ---- 32-bit ---- */
	.code32
GUEST stubs32
.set vector, 0
.rept PG_VECTORS
	.balign PG_STUB_BYTES
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
	.else
	pushl	$0
	.endif
	pushl	$vector
	jmp	common32
.set vector, vector + 1
.endr
common32:
	push	%eax
	mov	$PG_DS, %eax	/* what it was is lost: nobody who had another goes on from here */
	mov	%eax, %ds
	mov	4(%esp), %eax
	mov	%eax, PG_EXC_VECTOR
	mov	8(%esp), %eax
	mov	%eax, PG_EXC_ERROR
	mov	12(%esp), %eax
	mov	%eax, PG_EXC_RIP
	mov	16(%esp), %eax
	mov	%eax, PG_EXC_CS
	mov	%cr2, %eax
	mov	%eax, PG_EXC_CR2
	mov	%cs, %eax
	mov	%eax, PG_EXC_HANDLER_CS
	pop	%eax
	out	%al, $PG_EXCEPTION
	add	$8, %esp
	iret

/* A segment that ends before EBX: ES is loaded with DX. */
GUEST limit32
	mov	%edx, %es
	mov	%es:(%ebx), %eax
	DONE
/* Paging by the guest's own MOV CR3, CR4 (R8 is not there: EDI), CR0. */
GUEST paging32
	mov	%eax, %cr3
	mov	%edi, %cr4
	mov	%cr0, %ecx
	or	$0x80000000, %ecx
	mov	%ecx, %cr0
	jmp	1f
1:	mov	(%ebx), %esi
	mov	%cr0, %ecx
	DONE
/* IRET to virtual-8086 mode, whose INT n comes back as #GP or by the gate. */
GUEST iret_v86
	push	$0x2000		/* GS, FS, DS, ES */
	push	$0x2000
	push	$0x2000
	push	$0x2000
	push	$0x2800		/* SS */
	push	$0x7ff0
	push	$0x23002	/* VM, IOPL 3 */
	push	$(PG_CODE >> 4)
	push	$(pg_v86_target - pg_begin)
	iret
	.code16
GUEST v86_target
	mov	%cs, %si
	mov	%cr0, %eax
	DONE

/* ---- real mode ---- */
GUEST real_exception
	out	%al, $PG_EXCEPTION
	iret
/* From real mode to 64-bit mode, as a kernel does it. */
GUEST boot
	mov	$0x20, %eax	/* PAE */
	mov	%eax, %cr4
	mov	$PG_PML4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	mov	$0x100, %eax	/* LME */
	xor	%edx, %edx
	wrmsr
	mov	$0x80000011, %eax
	mov	%eax, %cr0
	ljmpl	$PG_CS64, $AT(pg_boot64)
	.code64
GUEST boot64
	movabs	$0x123456789abcdef0, %rsi
	mov	PG_ALIAS, %edi
	DONE

GUEST end
	nop
	.section .note.GNU-stack, "", @progbits
