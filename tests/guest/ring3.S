/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ring 3 that computes for a while before each event: what the hybrid path runs directly (docs/hybrid.md), and every way to
 * leave it. The same checks hold on any path. Selectors are those of Linux, because the host's are.
 *
 * User code waits in `spin`, on a page of its own, long enough to be run directly, and comes to the event then.
 */
#define GUEST64
#include "lib.inc"
#define R_CODE0 0x38
#define R_DATA3 0x2b
#define R_CODE3 0x33
#define PAGES 0x40000000	/* linear: 512 pages by `pt` */
#define P_RO (PAGES + 0x1000)
#define P_MAP (PAGES + 0x2000)
#define P_AD (PAGES + 0x3000)
#define P_CODE (PAGES + 0x4000)
#define P_NONE (PAGES + 0x5000)
#define P_NX (PAGES + 0x6000)
#define PTE_OF(lin) pt + ((lin) - PAGES) / 4096 * 8
#define WARM_UP 60000000
#define ROUNDS 2500000

	.macro user3 entry, resume
	TRY(\resume)
	push $R_DATA3
	push $ustack_top
	push $0x202
	push $R_CODE3
	push $\entry
	iretq
	.endm
	.macro wrmsr_ msr, lo, hi
	mov $\msr, %ecx
	mov $\lo, %eax
	mov $\hi, %edx
	wrmsr
	.endm
	.macro set_pte lin, value
	movl $\value, PTE_OF(\lin)
	invlpg \lin
	.endm

test_main:
	/* descriptors, gates and the way into them */
	lgdt gdtr3
	push $R_CODE0
	push $1f
	lretq
1:	mov $idt, %edi
	mov $256, %ecx
1:	movw $R_CODE0, 2(%rdi)
	add $16, %rdi
	loop 1b
	wrmsr_ 0xc0000081, 0, 0x00230038	/* STAR: SYSRET to 33H with 2BH, SYSCALL to 38H */
	wrmsr_ 0xc0000082, on_syscall, 0
	wrmsr_ 0xc0000084, 0x700, 0		/* FMASK: TF, IF, DF */
	mov %cr0, %rax
	bts $18, %rax				/* AM */
	mov %rax, %cr0
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	mov %cr4, %rax
	bt $0, %ebx
	jnc 2f
	bts $16, %rax				/* FSGSBASE */
	movl $1, has_fsgsbase
2:	mov %rax, %cr4
	mov $1, %eax
	cpuid
	bt $26, %ecx
	jnc 3f
	mov %cr4, %rax
	bts $18, %rax				/* OSXSAVE, and all of XCR0 */
	mov %rax, %cr4
	mov $0xd, %eax
	xor %ecx, %ecx
	cpuid
	xor %ecx, %ecx
	xor %edx, %edx
	xsetbv
	bt $2, %eax
	jnc 3f
	movl $1, has_avx
3:	/* a table of small pages, and a second root with the same in it but for one of them */
	mov $pt + 7, %eax
	mov %eax, pd + 4096
	mov $pt2 + 7, %eax
	mov %eax, pd2
	mov $pml4, %esi
	mov $pml4_2, %edi
	mov $512, %ecx
	rep movsq
	mov $pdpt, %esi
	mov $pdpt_2, %edi
	mov $512, %ecx
	rep movsq
	movl $pdpt_2 + 7, pml4_2
	movl $pd2 + 7, pdpt_2 + 8
	movl $page_b + 7, pt2 + 16
	movl $page_a + 5, PTE_OF(P_RO)
	movl $page_a + 7, PTE_OF(P_MAP)
	movl $page_a + 7, PTE_OF(P_AD)
	movl $page_c + 7, PTE_OF(P_CODE)
	movl $page_a + 7, PTE_OF(P_NX)
	btsl $31, PTE_OF(P_NX) + 4
	mov %cr3, %rax
	mov %rax, %cr3
	movl $0x1111, page_a
	movl $0x2222, page_b

	CASE(1)				/* long enough for anybody to notice */
	mov $WARM_UP, %r15d
	user3 u_int, 1f
1:	EXV(0x30)
	CASE(2)				/* registers of all kinds survive */
	mov $4, %ebx
2:	movabs $0x1122334455667788, %r8
	movabs $0x99aabbccddeeff00, %r13
	mov %ebx, %ebp
	user3 u_state, 1f
1:	EXV(0x30)
	EQ(%r14d, 0x600d)
	movabs $0x1122334455667788, %rax
	cmp %rax, %r8
	jne fail
	movabs $0x99aabbccddeeff00, %rax
	cmp %rax, %r13
	jne fail
	cmp %ebx, %ebp
	jne fail
	dec %ebx
	jnz 2b
	CASE(3)				/* page faults: nothing there, read-only, not to be executed */
	mov $P_NONE, %ebx
	user3 u_load, 1f
1:	EXC(14, 4)
	EQ(ex_cr2, P_NONE)
	EQ(ex_ip, u_load_at)
	mov $P_RO, %ebx
	user3 u_store, 1f
1:	EXC(14, 7)
	EQ(ex_cr2, P_RO)
	EQ(page_a, 0x1111)
	mov $P_NX, %ebx
	user3 u_call, 1f
1:	EXC(14, 0x15)
	EQ(ex_ip, P_NX)
	CASE(4)				/* other faults */
	user3 u_divide, 1f
1:	EXC(0, 0)
	user3 u_invalid, 1f
1:	EXC(6, 0)
	EQ(ex_ip, u_invalid_at)
	user3 u_hlt, 1f
1:	EXC(13, 0)
	EQ(ex_ip, u_hlt_at)
	user3 u_in, 1f
1:	EXC(13, 0)
	user3 u_align, 1f
1:	EXC(17, 0)
	user3 u_int3, 1f
1:	EXC(3, 0)
	EQ(ex_ip, u_int3_at + 1)
	user3 u_x87, 1f
1:	EXC(16, 0)
	user3 u_simd, 1f
1:	EXC(19, 0)
	CASE(5)				/* SYSCALL and back, three times */
	movl $0, calls
	user3 u_syscall, 1f
1:	EXV(0x30)
	EQ(calls, 3)
	EQ(seen_rcx, u_syscall_behind)
	mov seen_r11, %eax
	and $0x601, %eax
	EQ(%eax, 0x601)			/* IF, DF and CF were set */
	EQ(%r12d, 0xabcd)
	CASE(6)				/* a single step */
	xor %eax, %eax
	mov %rax, %dr6
	user3 u_step, 1f
1:	EXC(1, 0)
	EQ(ex_ip, u_step_at)
	mov %dr6, %rax
	bt $14, %eax
	jnc fail
	CASE(7)				/* CPUID says what it says in ring 0 */
	user3 u_cpuid, 1f
1:	EXV(0x30)
	mov %ebx, %r8d
	mov %ecx, %r9d
	mov %edx, %r10d
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	cmp %ebx, %r8d
	jne fail
	cmp %ecx, %r9d
	jne fail
	cmp %edx, %r10d
	jne fail
	CASE(8)				/* the TSC goes on */
	mov $5, %ebp
2:	rdtsc
	shl $32, %rdx
	lea (%rax,%rdx), %r12
	user3 u_rdtsc, 1f
1:	EXV(0x30)
	cmp %r12, %r13
	jbe fail
	rdtsc
	shl $32, %rdx
	add %rdx, %rax
	cmp %r13, %rax
	jbe fail
	dec %ebp
	jnz 2b
	CASE(9)				/* code that ring 3 changes, in a page that it executes */
	movl $0xb8, page_c		/* mov $0, %eax; ret */
	movl $0xc300, page_c + 4
	mov $6, %ebp
2:	user3 u_modify, 1f
1:	EXV(0x30)
	cmp %ebp, %eax
	jne fail
	dec %ebp
	jnz 2b
	mov $3, %ebp			/* and that ring 0 changes */
2:	mov %ebp, page_c + 1
	user3 u_call_code, 1f
1:	EXV(0x30)
	cmp %ebp, %eax
	jne fail
	dec %ebp
	jnz 2b
	CASE(10)			/* a mapping that changes: another page, no page, read-only, writable again */
	mov $4, %ebp
2:	set_pte P_MAP, page_a + 7
	mov $P_MAP, %ebx
	user3 u_look, 1f
1:	EXV(0x30)
	EQ(%eax, 0x1111)
	set_pte P_MAP, page_b + 7
	user3 u_look, 1f
1:	EXV(0x30)
	EQ(%eax, 0x2222)
	set_pte P_MAP, 0
	user3 u_load, 1f
1:	EXC(14, 4)
	set_pte P_MAP, page_a + 5
	user3 u_store, 1f
1:	EXC(14, 7)
	set_pte P_MAP, page_a + 7
	user3 u_store_back, 1f
1:	EXV(0x30)
	EQ(page_a, 0x1111)
	set_pte P_MAP, page_a + 5
	user3 u_store, 1f
1:	EXC(14, 7)
	dec %ebp
	jnz 2b
	CASE(11)			/* accessed and dirty bits */
	mov $4, %ebp
2:	set_pte P_AD, page_a + 7
	mov $P_AD, %ebx
	user3 u_look, 1f
1:	EXV(0x30)
	EQ(PTE_OF(P_AD), page_a + 0x27)
	user3 u_store_back, 1f
1:	EXV(0x30)
	EQ(PTE_OF(P_AD), page_a + 0x67)
	dec %ebp
	jnz 2b
	CASE(12)			/* two address spaces */
	set_pte P_MAP, page_a + 7
	mov $4, %ebp
	mov $P_MAP, %ebx
2:	mov $pml4_2, %eax
	mov %rax, %cr3
	user3 u_look, 1f
1:	EXV(0x30)
	EQ(%eax, 0x2222)
	mov $pml4, %eax
	mov %rax, %cr3
	user3 u_look, 1f
1:	EXV(0x30)
	EQ(%eax, 0x1111)
	dec %ebp
	jnz 2b
	CASE(13)			/* bases that ring 3 sets */
	cmpl $0, has_fsgsbase
	je 3f
	user3 u_bases, 1f
1:	EXV(0x30)
	mov $0xc0000100, %ecx
	rdmsr
	EQ(%eax, 0x12345678)
	EQ(%edx, 0x7f)
	inc %ecx
	rdmsr
	EQ(%eax, 0x23456780)
3:	CASE(14)			/* a device: the local APIC's version register */
	mov $0xfee00030, %ebx
	mov (%rbx), %r12d
	user3 u_look, 1f
1:	EXV(0x30)
	cmp %eax, %r12d
	jne fail
	ret

on_syscall:
	incl calls
	mov %rcx, seen_rcx
	mov %r11, seen_r11
	sysretq

	.code64
	.balign 4096
/* ---- user code: pages without anything that could not run directly ---- */
spin:	mov $ROUNDS, %r15d
spin_r15:
	add $3, %r14
	xor %r15, %r14
	dec %r15d
	jnz spin_r15
	ret

u_int:	call spin_r15
	int $0x30

u_state:
	fninit
	fldpi
	fld1
	movdqa mark, %xmm3
	cmpl $0, has_avx
	je 1f
	vmovups mark, %ymm7
1:	call spin
	xor %r14d, %r14d
	fldpi
	fcomip %st(2), %st
	jne 9f
	movdqa %xmm3, %xmm4
	pcmpeqb mark, %xmm4
	pmovmskb %xmm4, %eax
	cmp $0xffff, %eax
	jne 9f
	cmpl $0, has_avx
	je 2f
	vextractf128 $1, %ymm7, %xmm5
	vpcmpeqb mark + 16, %xmm5, %xmm5
	vpmovmskb %xmm5, %eax
	vzeroupper
	cmp $0xffff, %eax
	jne 9f
2:	mov $0x600d, %r14d
9:	fninit
	int $0x30

u_load:	call spin
u_load_at:
	mov (%rbx), %eax
	int $0x30
u_look:	mov (%rbx), %eax
	call spin
	mov (%rbx), %ecx
	cmp %eax, %ecx
	je 1f
	xor %eax, %eax
1:	int $0x30
u_store:
	call spin
	movl $0x9999, (%rbx)
	int $0x30
u_store_back:
	call spin
	mov (%rbx), %eax
	mov %eax, (%rbx)
	call spin
	int $0x30
u_call:	call spin
	call *%rbx
	int $0x30
u_divide:
	call spin
	xor %ecx, %ecx
	div %ecx
u_invalid:
	call spin
u_invalid_at:
	ud2
u_hlt:	call spin
u_hlt_at:
	hlt
u_in:	call spin
	in $0x60, %al
u_align:
	call spin
	pushf
	orl $1 << 18, (%rsp)
	popf
	mov mark + 1, %eax
u_int3:	call spin
u_int3_at:
	int3
u_x87:	call spin
	fninit
	fldcw cw_zero_divide
	fld1
	fldz
	fdivrp
	fwait
u_simd:	call spin
	ldmxcsr mxcsr_zero_divide
	xorps %xmm0, %xmm0
	divss one, %xmm0
	movss one, %xmm1
	xorps %xmm2, %xmm2
	divss %xmm2, %xmm1
u_syscall:
	mov $3, %ebx
1:	call spin
	mov $0xabcd, %r12d
	std
	stc
	syscall
u_syscall_behind:
	cld
	dec %ebx
	jnz 1b
	int $0x30
u_step:	call spin
	pushf
	orl $0x100, (%rsp)
	popf
	nop
u_step_at:
	int $0x30
u_modify:			/* the immediate of the code in P_CODE becomes EBP */
	call spin
	mov $P_CODE, %ebx
	mov %ebp, 1(%rbx)
	call *%rbx
	push %rax
	call spin
	pop %rax
	int $0x30
u_call_code:
	call spin
	mov $P_CODE, %ebx
	call *%rbx
	int $0x30
u_bases:
	call spin
	movabs $0x7f12345678, %rax
	wrfsbase %rax
	mov $0x23456780, %eax
	wrgsbase %rax
	call spin
	int $0x30
u_cpuid:
	call spin
	jmp u_cpuid_at
u_rdtsc:
	call spin
	jmp u_rdtsc_at

	.balign 4096
/* ---- user code on a page that may not ---- */
u_cpuid_at:
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	int $0x30
u_rdtsc_at:
	rdtsc
	shl $32, %rdx
	lea (%rax,%rdx), %r13
	int $0x30
	.balign 4096

	.data
	.balign 32
mark:	.quad 0x0123456789abcdef, 0x1032547698badcfe, 0x2143658709cbedaf, 0x3254769801dcbeaf
cw_zero_divide: .word 0x37b, 0
mxcsr_zero_divide: .long 0x1d80
one:	.float 1.0
has_fsgsbase: .long 0
has_avx: .long 0
calls:	.long 0
seen_rcx: .quad 0
seen_r11: .quad 0
	.balign 8
gdt3:	.quad 0
	descriptor 0, 0xfffff, 0x9b, 0xc
	descriptor 0, 0xfffff, 0x93, 0xc
	descriptor 0, 0xfffff, 0xfb, 0xc
	descriptor 0, 0xfffff, 0xfb, 0xc
	descriptor 0, 0xfffff, 0xf3, 0xc
	descriptor 0, 0xfffff, 0xfb, 0xa
	descriptor 0, 0xfffff, 0x9b, 0xa
	descriptor 0, 0xfffff, 0x93, 0xc
gdt3_end:
	.balign 8
	.word 0
gdtr3:	.word gdt3_end - gdt3 - 1
	.quad gdt3

	.bss
	.balign 4096
pt:	.skip 4096
pt2:	.skip 4096
pd2:	.skip 4096
pdpt_2:	.skip 4096
pml4_2:	.skip 4096
page_a:	.skip 4096
page_b:	.skip 4096
page_c:	.skip 4096
