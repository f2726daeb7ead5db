/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exceptions and their error codes in 32-bit protected mode, at CPL 0 and from CPL 3 (SDM 3A 6.15). */
#define GUEST32
#include "lib.inc"
test_main:
	CASE(1)			/* #DE */
	xor %edx, %edx
	xor %ecx, %ecx
	TRY(1f)
0:	div %ecx
	jmp fail
1:	EXC(0, 0)
	EQ(ex_ip, 0b)
	EQ(ex_cs, K_CODE32)
	CASE(2)			/* INT_MIN / -1 */
	mov $0x80000000, %eax
	cltd
	mov $-1, %ecx
	TRY(1f)
	idiv %ecx
	jmp fail
1:	EXC(0, 0)
	CASE(3)			/* #BP: a trap */
	TRY(1f)
	int3
0:	jmp fail
1:	EXC(3, 0)
	EQ(ex_ip, 0b)
	CASE(4)			/* #OF */
	mov $0x7fffffff, %eax
	inc %eax
	TRY(1f)
	into
0:	jmp fail
1:	EXC(4, 0)
	EQ(ex_ip, 0b)
	CASE(5)			/* no #OF */
	xor %eax, %eax
	into
	CASE(6)			/* #BR */
	mov $11, %eax
	TRY(1f)
0:	bound %eax, bounds
	jmp fail
1:	EXC(5, 0)
	EQ(ex_ip, 0b)
	mov $10, %eax
	bound %eax, bounds
	CASE(7)			/* #UD */
	TRY(1f)
0:	ud2
	jmp fail
1:	EXC(6, 0)
	EQ(ex_ip, 0b)
	CASE(8)			/* LOCK on a register */
	TRY(1f)
	.byte 0xf0, 0x01, 0xc0
	jmp fail
1:	EXC(6, 0)
	CASE(9)			/* #NM by CR0.TS */
	mov %cr0, %eax
	or $8, %eax
	mov %eax, %cr0
	TRY(1f)
	fld1
	jmp fail
1:	EXC(7, 0)
	clts
	CASE(10)		/* #GP: null selector in DS used */
	xor %eax, %eax
	mov %eax, %gs
	TRY(1f)
	mov %gs:0, %eax
	jmp fail
1:	EXC(13, 0)
	CASE(11)		/* #GP(selector): beyond the GDT */
	mov $0x1238, %eax
	TRY(1f)
	mov %eax, %gs
	jmp fail
1:	EXC(13, 0x1238)
	CASE(12)		/* #GP(selector): LDT selector with no LDT */
	mov $0x0f, %eax
	TRY(1f)
	mov %eax, %gs
	jmp fail
1:	EXC(13, 0x0c)
	CASE(13)		/* #NP(selector) */
	movl $0x0000ffff, gdt + SEL_TEST
	movl $0x00cf1300, gdt + SEL_TEST + 4
	mov $SEL_TEST, %eax
	TRY(1f)
	mov %eax, %gs
	jmp fail
1:	EXC(11, SEL_TEST)
	CASE(14)		/* #SS(selector): stack segment not present */
	TRY(1f)
	mov %eax, %ss
	jmp fail
1:	mov $SEL_TEST, %eax
	EXC(12, SEL_TEST)
	CASE(15)		/* #GP(selector): execute-only code into DS */
	movl $0x00cf9900, gdt + SEL_TEST + 4
	TRY(1f)
	mov %eax, %gs
	jmp fail
1:	EXC(13, SEL_TEST)
	CASE(16)		/* #GP(selector): read-only data into SS */
	movl $0x00cf9100, gdt + SEL_TEST + 4
	mov $SEL_TEST, %eax
	TRY(1f)
	mov %eax, %ss
	jmp fail
1:	EXC(13, SEL_TEST)
	CASE(17)		/* #GP(0): null into SS */
	xor %eax, %eax
	TRY(1f)
	mov %eax, %ss
	jmp fail
1:	EXC(13, 0)
	CASE(18)		/* the accessed bit is set by a load */
	movl $0x00cf9200, gdt + SEL_TEST + 4
	mov $SEL_TEST, %eax
	mov %eax, %gs
	EQ(gdt + SEL_TEST + 4, 0x00cf9300)
	CASE(19)		/* write to read-only data: #GP(0) */
	movl $0x00cf9100, gdt + SEL_TEST + 4
	mov $SEL_TEST, %eax
	mov %eax, %gs
	TRY(1f)
	movl $1, %gs:scratch
	jmp fail
1:	EXC(13, 0)
	CASE(20)		/* write to code: #GP(0) */
	TRY(1f)
	movl $1, %cs:scratch
	jmp fail
1:	EXC(13, 0)
	CASE(21)		/* INT n to a gate that is not there: #NP(n * 8 + 2) */
	movb $0x0e, idt + 0x41 * 8 + 5
	TRY(1f)
	int $0x41
	jmp fail
1:	EXC(11, 0x41 * 8 + 2)
	CASE(22)		/* beyond the IDT: #GP(n * 8 + 2) */
	movw $0x40 * 8 - 1, idtr
	lidt idtr
	TRY(1f)
	int $0x45
	jmp fail
1:	EXC(13, 0x45 * 8 + 2)
	movw $256 * 8 - 1, idtr
	lidt idtr
	CASE(23)		/* a gate that is no gate: #GP(n * 8 + 2) */
	movb $0x92, idt + 0x41 * 8 + 5
	TRY(1f)
	int $0x41
	jmp fail
1:	EXC(13, 0x41 * 8 + 2)
	CASE(24)		/* a gate whose code selector is null: #GP(0); EXT clear */
	movb $0x8e, idt + 0x42 * 8 + 5
	movw $0, idt + 0x42 * 8 + 2
	TRY(1f)
	int $0x42
	jmp fail
1:	EXC(13, 0)
	CASE(25)		/* a gate whose code selector is data: #GP(selector) */
	movw $K_DATA, idt + 0x42 * 8 + 2
	TRY(1f)
	int $0x42
	jmp fail
1:	EXC(13, K_DATA)
	CASE(26)		/* far jump to a non-present code segment: #NP(selector) */
	movl $0x00cf1b00, gdt + SEL_TEST + 4
	TRY(1f)
	ljmp $SEL_TEST, $fail
1:	EXC(11, SEL_TEST)
	CASE(27)		/* far jump to a null selector: #GP(0) */
	TRY(1f)
	ljmp $0, $fail
1:	EXC(13, 0)
	CASE(28)		/* LTR of a busy TSS: #GP(selector) */
	mov $SEL_TSS, %eax
	TRY(1f)
	ltr %ax
	jmp fail
1:	EXC(13, SEL_TSS)
	CASE(29)		/* IRET to a null CS: #GP(0) */
	TRY(1f)
	pushl $2
	pushl $0
	pushl $fail
	iret
1:	EXC(13, 0)
	CASE(30)		/* #AC needs CPL 3 */
	mov %cr0, %eax
	or $0x40000, %eax
	mov %eax, %cr0
	pushfl
	orl $0x40000, (%esp)
	popfl
	mov scratch + 1, %eax
	pushfl
	andl $~0x40000, (%esp)
	popfl
	CASE(31)		/* CPL 3: privileged instruction */
	USER(user_hlt, 1f)
1:	EXC(13, 0)
	EQ(ex_ip, user_hlt)
	EQ(ex_cs, U_CODE32)
	mov ex_frame, %eax	/* and the stack of CPL 3 was saved */
	cmpl $ustack_top, (%eax)
	jne fail
	cmpl $U_DATA, 4(%eax)
	jne fail
	cmp $kstack0_top - 8, %eax
	jne fail
	CASE(32)		/* CPL 3: INT n with DPL 0: #GP(n * 8 + 2) */
	USER(user_int, 1f)
1:	EXC(13, 0x50 * 8 + 2)
	CASE(33)		/* CPL 3: INT3 and INTO gates have DPL 3 */
	USER(user_int3, 1f)
1:	EXC(3, 0)
	CASE(34)		/* CPL 3: #AC */
	USER(user_ac, 1f)
1:	EXC(17, 0)
	CASE(35)		/* CPL 3: kernel data selector: #GP(selector) */
	USER(user_sel, 1f)
1:	EXC(13, K_DATA)
	CASE(36)		/* CPL 3: kernel code: #GP(selector) */
	USER(user_far, 1f)
1:	EXC(13, K_CODE32)
	CASE(37)		/* ring 3 came back by INT 30H */
	USER(user_back, 1f)
1:	EXV(0x30)
	EQ(%ebx, 0x12345678)
	CASE(38)		/* stack limit: #SS(0) */
	movl $0x00000fff, gdt + SEL_TEST + 8
	movl $0x0040f300, gdt + SEL_TEST + 12
	USER(user_ss, 1f)
1:	EXC(12, 0)
	CASE(39)		/* the page at 0 after all this: EFLAGS saved with RF for faults */
	TRY(1f)
	ud2
1:	EXC(6, 0)
	testl $0x10000, ex_flags
	jz fail
	CASE(40)		/* and without RF for traps */
	TRY(1f)
	int3
1:	EXC(3, 0)
	testl $0x10000, ex_flags
	jnz fail
	CASE(41)		/* instruction longer than 15 bytes: #GP(0) */
	TRY(1f)
	.fill 15, 1, 0x66
	nop
	jmp fail
1:	EXC(13, 0)
	CASE(42)		/* reserved CR4 bit: #GP(0) */
	mov %cr4, %eax
	or $0x80000000, %eax
	TRY(1f)
	mov %eax, %cr4
	jmp fail
1:	EXC(13, 0)
	CASE(43)		/* PG without PE: #GP(0) */
	mov %cr0, %ebx
	mov %ebx, %eax
	or $0x80000000, %eax
	and $~1, %eax
	TRY(1f)
	mov %eax, %cr0
	jmp fail
1:	EXC(13, 0)
	mov %cr0, %eax
	cmp %eax, %ebx
	jne fail
	CASE(44)		/* an MSR that is not there: #GP(0) */
	mov $0x12345, %ecx
	TRY(1f)
	rdmsr
	jmp fail
1:	EXC(13, 0)
	ret

user_hlt:
	hlt
user_int:
	int $0x50
user_int3:
	int3
user_ac:
	pushfl
	orl $0x40000, (%esp)
	popfl
	mov scratch + 1, %eax
	jmp user_back
user_sel:
	mov $K_DATA, %eax
	mov %eax, %es
	jmp user_back
user_far:
	ljmp $K_CODE32, $fail
user_back:
	mov $0x12345678, %ebx
	int $0x30
user_ss:
	mov $SEL_TEST + 8 + 3, %eax
	mov %eax, %ss
	mov $0x2000, %esp
	push %eax
	jmp user_back

	.data
bounds:	.long 0, 10
	.balign 8
scratch: .quad 0, 0
