/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 32-bit task switching: by JMP, CALL, IRET with NT, task gates for interrupts, a double fault through a task gate. */
#define GUEST32
#include "lib.inc"
#define BUSY(sel) testb $2, gdt + (sel) + 5
test_main:
	mov %cr3, %eax
	mov %eax, tss + 0x1c
	mov $tss2, %edi
	mov %eax, 0x1c(%edi)
	movl $task_entry, 0x20(%edi)
	movl $2, 0x24(%edi)
	movl $task_stack, 0x38(%edi)
	movl $0x1111, 0x28(%edi)	/* EAX */
	movl $0x2222, 0x2c(%edi)	/* ECX */
	movl $K_DATA, 0x48(%edi)
	movl $K_CODE32, 0x4c(%edi)
	movl $K_DATA, 0x50(%edi)
	movl $K_DATA, 0x54(%edi)
	movl $U_DATA, 0x58(%edi)	/* FS */
	movl $0, 0x5c(%edi)
	movl $0, 0x60(%edi)		/* LDT */
	movw $0x68, 0x66(%edi)
	CASE(1)			/* CALL: nested, back link, NT; the outgoing state is in the old TSS */
	mov $0x77, %ebx
	lcall $SEL_TSS2, $0
0:	EQ(%ebx, 0x77)
	EQ(seen_eax, 0x1111)
	EQ(seen_ecx, 0x2222)
	EQ(seen_fs, U_DATA)
	EQ(seen_link, SEL_TSS)
	testl $0x4000, seen_flags	/* NT in the new task */
	jz fail
	pushfl
	pop %eax
	test $0x4000, %eax	/* and not in ours */
	jnz fail
	str %eax
	EQ(%eax, SEL_TSS)
	BUSY(SEL_TSS)
	jz fail
	BUSY(SEL_TSS2)
	jnz fail
	EQ(tss + 0x20, 0b)
	mov %cr0, %eax		/* CR0.TS is set by every switch */
	test $8, %eax
	jz fail
	clts
	CASE(2)			/* the task resumes where it left */
	lcall $SEL_TSS2, $0
	EQ(seen_eax, 0x9999)
	clts
	CASE(3)			/* JMP: no nesting, the old task is available */
	movl $task_jmp, tss2 + 0x20
	movl $2, tss2 + 0x24
	ljmp $SEL_TSS2, $0
	EQ(seen_link, 0x55)
	testl $0x4000, seen_flags
	jnz fail
	clts
	CASE(4)			/* through a task gate in the GDT */
	movl $SEL_TSS2 << 16, gdt + SEL_TEST
	movl $0x8500, gdt + SEL_TEST + 4
	movl $task_entry, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $0x4444, tss2 + 0x28
	lcall $SEL_TEST, $0
	EQ(seen_eax, 0x4444)
	clts
	CASE(5)			/* an interrupt through a task gate in the IDT */
	movl $SEL_TSS2 << 16, idt + 0x50 * 8
	movl $0x8500, idt + 0x50 * 8 + 4
	movl $task_entry, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $0x5555, tss2 + 0x28
	int $0x50
	EQ(seen_eax, 0x5555)
	clts
	CASE(6)			/* an exception with an error code: it lies on the new task's stack */
	push idt + 13 * 8
	push idt + 13 * 8 + 4
	movl $SEL_TSS2 << 16, idt + 13 * 8
	movl $0x8500, idt + 13 * 8 + 4
	movl $task_error, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $task_stack, tss2 + 0x38
	mov $0x1238, %eax
0:	mov %eax, %gs
	EQ(seen_eax, 0x1238)
	EQ(seen_ecx, 0b)	/* the EIP saved in the old TSS */
	clts
	CASE(7)			/* #TS(selector): a TSS whose CS is no code segment */
	movl $1f, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $K_DATA, tss2 + 0x4c
	pop idt + 13 * 8 + 4
	pop idt + 13 * 8
	TRY(1f)
	movl $kstack_top - 64, tss2 + 0x38
	lcall $SEL_TSS2, $0
	jmp fail
1:	EXC(10, K_DATA)
	movl $K_CODE32, tss2 + 0x4c
	/* the fault belongs to the new task: go back to ours */
	str %eax
	EQ(%eax, SEL_TSS2)
	andb $~2, gdt + SEL_TSS + 5
	mov $SEL_TSS, %eax
	ltr %ax
	andb $~2, gdt + SEL_TSS2 + 5
	pushl $2
	popfl
	clts
	CASE(8)			/* #TS(selector): a TSS that is too short */
	movw $0x66, gdt + SEL_TSS2
	TRY(1f)
	lcall $SEL_TSS2, $0
	jmp fail
1:	EXC(10, SEL_TSS2)
	movw $0x67, gdt + SEL_TSS2
	CASE(9)			/* #GP(selector): a busy TSS */
	orb $2, gdt + SEL_TSS2 + 5
	TRY(1f)
	ljmp $SEL_TSS2, $0
	jmp fail
1:	EXC(13, SEL_TSS2)
	andb $~2, gdt + SEL_TSS2 + 5
	CASE(10)		/* #NP(selector) */
	andb $~0x80, gdt + SEL_TSS2 + 5
	TRY(1f)
	ljmp $SEL_TSS2, $0
	jmp fail
1:	EXC(11, SEL_TSS2)
	orb $0x80, gdt + SEL_TSS2 + 5
	CASE(11)		/* double fault through a task gate, from a broken stack */
	movl $SEL_TSS2 << 16, idt + 8 * 8
	movl $0x8500, idt + 8 * 8 + 4
	movl $task_df, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $task_stack, tss2 + 0x38
	movl $0x00000fff, gdt + SEL_TEST + 8
	movl $0x00409300, gdt + SEL_TEST + 12
	mov %esp, saved_sp
	mov $SEL_TEST + 8, %eax
	mov %eax, %ss
	mov $0x3000, %esp
	push %eax		/* #SS; its delivery faults too: #DF */
	jmp fail
after_df:
	clts
	EQ(seen_eax, 0)
	CASE(12)		/* the debug trap bit of a TSS: #DB before the first instruction */
	movl $2f, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $kstack_top - 512, tss2 + 0x38
	movw $1, tss2 + 0x64
	TRY(1f)
	lcall $SEL_TSS2, $0
2:	jmp fail
1:	EXC(1, 0)
	EQ(ex_ip, 2b)
	mov %db6, %eax
	test $0x8000, %eax
	jz fail
	ret

task_entry:
	mov %eax, seen_eax
	mov %ecx, seen_ecx
	mov %fs, %eax
	mov %eax, seen_fs
	movzwl tss2, %eax
	mov %eax, seen_link
	pushfl
	pop seen_flags
	mov $0x9999, %eax
	iret
	jmp task_entry
task_jmp:
	pushfl
	pop seen_flags
	movl $0x55, seen_link
	ljmp $SEL_TSS, $0
task_error:
	pop seen_eax
	mov tss + 0x20, %eax
	mov %eax, seen_ecx
	addl $2, tss + 0x20	/* skip MOV GS, EAX */
	iret
task_df:
	pop seen_eax
	movl $after_df, tss + 0x20
	movl $K_DATA, tss + 0x50
	mov saved_sp, %eax
	mov %eax, tss + 0x38
	iret

	.bss
seen_eax: .skip 4
seen_ecx: .skip 4
seen_fs: .skip 4
seen_link: .skip 4
seen_flags: .skip 4
saved_sp: .skip 4
	.skip 4096
task_stack:
	.skip 4
