/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts: PIT through the PICs, local APIC timer, I/O APIC, self-IPI, NMI, HLT, the STI and MOV SS shadows, TPR. */
#define GUEST64
#include "lib.inc"
/* both are mapped again below 2 GiB, where an absolute address reaches */
#define LAPIC 0x40000000
#define IOAPIC 0x40200000
#define ICR (LAPIC + 0x300)
/* Waits with interrupts on until counter of vector v reaches n; gives up by falling into the run's timeout. */
#define WAIT_FOR(v, n) 77: sti; hlt; cli; cmpl $(n), counts + (v) * 4; jb 77b
#define PIO(port, val) mov $(val), %al; out %al, $(port)
test_main:
	movl $0xfee00097, pd + 4096
	movl $0xfec00097, pd + 4096 + 8
	mov %cr3, %rax
	mov %rax, %cr3
	movl $on_irq, irq_hook
	CASE(1)			/* nothing is pending: STI takes nothing */
	sti
	nop
	nop
	cli
	EQ(total, 0)
	CASE(2)			/* software interrupt */
	int $0x33
	EQ(counts + 0x33 * 4, 1)
	CASE(3)			/* PIT channel 0 at 1 kHz through the PIC, HLT wakes */
	PIO(0x43, 0x34)
	PIO(0x40, 0xa9)
	PIO(0x40, 0x04)
	PIO(0x21, 0xfe)
	WAIT_FOR(0x20, 3)
	CASE(4)			/* masked: nothing comes */
	PIO(0x21, 0xff)
	mov counts + 0x20 * 4, %ebx
	call delay
	sti
	nop
	cli
	cmp %ebx, counts + 0x20 * 4
	jne fail
	CASE(5)			/* pending while IF is clear, delivered once by STI, after the instruction behind STI */
	PIO(0x21, 0xfe)
	call delay
	xor %ebx, %ebx
	mov counts + 0x20 * 4, %r12d
	sti
	mov counts + 0x20 * 4, %ebx
	nop
	cli
	cmp %r12d, %ebx		/* still in the shadow */
	jne fail
	cmp %r12d, counts + 0x20 * 4
	je fail
	CASE(6)			/* the shadow of MOV SS */
	call delay
	mov counts + 0x20 * 4, %r12d
	mov %ss, %ecx
	pushfq
	orl $0x200, (%rsp)
	call drain
	call delay
	mov counts + 0x20 * 4, %r12d
	sti
	mov %ss, %ecx		/* STI's shadow */
	cli
	popfq
	cli
	PIO(0x21, 0xff)
	call drain
	CASE(7)			/* one-shot local APIC timer */
	movl $0x1ff, LAPIC + 0xf0
	movl $0xb, LAPIC + 0x3e0	/* divide by 1 */
	movl $0x41, LAPIC + 0x320
	movl $100000, LAPIC + 0x380
	WAIT_FOR(0x41, 1)
	call delay
	sti
	nop
	cli
	EQ(counts + 0x41 * 4, 1)
	EQ(LAPIC + 0x390, 0)
	CASE(8)			/* periodic */
	movl $0x20042, LAPIC + 0x320
	movl $100000, LAPIC + 0x380
	WAIT_FOR(0x42, 5)
	movl $0x10042, LAPIC + 0x320
	call drain
	CASE(9)			/* self-IPI: pending in IRR, delivered, then gone */
	movl $0, ICR + 0x10
	movl $0x44043, ICR
	testl $8, LAPIC + 0x200 + 0x20
	jz fail
	EQ(counts + 0x43 * 4, 0)
	sti
	nop
	nop
	cli
	EQ(counts + 0x43 * 4, 1)
	EQ(LAPIC + 0x220, 0)
	CASE(10)		/* priorities: the higher vector first */
	movl $0, order_n
	movl $0, order
	movl $0x44051, ICR
	movl $0x44091, ICR
	movl $0x44071, ICR
	sti
	nop
	nop
	nop
	nop
	cli
	EQ(order, 0x00517191)
	CASE(11)		/* TPR by CR8 holds back what is not above it */
	mov $7, %eax
	mov %rax, %cr8
	EQ(LAPIC + 0x80, 0x70)
	movl $0x44072, ICR
	sti
	nop
	nop
	cli
	EQ(counts + 0x72 * 4, 0)
	movl $0x44082, ICR
	sti
	nop
	nop
	cli
	EQ(counts + 0x82 * 4, 1)
	sti
	xor %eax, %eax
	mov %rax, %cr8
	nop
	nop
	cli
	EQ(counts + 0x72 * 4, 1)
	CASE(12)		/* NMI by IPI to itself, with IF clear; blocked until IRET */
	movl $on_nmi, ex_hook
	movl $0, nmis
	movl $0, ICR + 0x10
	movl $0x4400, ICR	/* destination: APIC ID 0, delivery NMI */
	mov $10000, %ecx
1:	cmpl $0, nmis
	jne 2f
	dec %ecx
	jnz 1b
2:	EQ(nmis, 1)
	movl $0, ex_hook
	CASE(13)		/* the I/O APIC: the PIT on input 2, edge, vector 61H */
	movl $0x14, IOAPIC
	movl $0x61, IOAPIC + 0x10
	movl $0x15, IOAPIC
	movl $0, IOAPIC + 0x10
	WAIT_FOR(0x61, 3)
	movl $0x14, IOAPIC
	movl $0x10061, IOAPIC + 0x10
	call drain
	CASE(14)		/* TSC-deadline mode, where it is offered */
	mov $1, %eax
	cpuid
	bt $24, %ecx
	jnc 1f
	movl $0x40045, LAPIC + 0x320
	mfence
	rdtsc
	add $1000000, %eax
	adc $0, %edx
	mov $0x6e0, %ecx
	wrmsr
	WAIT_FOR(0x45, 1)
	rdmsr
	or %edx, %eax
	jnz fail
1:	CASE(15)		/* an interrupt at CPL 3 goes to the stack in the TSS and back */
	movl $0x20046, LAPIC + 0x320
	movl $50000, LAPIC + 0x380
	TRY(1f)
	push $U_DATA
	push $ustack_top
	push $0x202
	push $U_CODE64
	push $user_loop
	iretq
1:	EXV(0x30)
	movl $0x10046, LAPIC + 0x320
	call drain
	CASE(16)		/* interrupts between the elements of a long REP STOSB do not disturb it */
	movl $0x20047, LAPIC + 0x320
	movl $5000, LAPIC + 0x380
	sti
	mov $0x1000000, %edi
	mov $0x200000, %ecx
	mov $0x3c, %eax
	rep stosb
	cli
	movl $0x10047, LAPIC + 0x320
	EQ(%edi, 0x1200000)
	cmpb $0x3c, 0x11fffff
	jne fail
	call drain
	CASE(17)		/* a vector below 16 is illegal: error status bit 5 */
	movl $0, LAPIC + 0x280
	movl $0x44005, ICR
	movl $0, LAPIC + 0x280
	testl $0x20, LAPIC + 0x280
	jz fail
	ret

/* A few milliseconds by the PM timer's cousin: the PIT's count, polled. */
delay:
	mov $3, %r14d
1:	call read_pit
	mov %eax, %r15d
2:	call read_pit
	cmp %r15d, %eax
	mov %eax, %r15d
	jbe 2b			/* counts down; a reload makes it larger */
	dec %r14d
	jnz 1b
	ret
read_pit:
	xor %eax, %eax
	out %al, $0x43
	in $0x40, %al
	mov %al, %ah
	in $0x40, %al
	xchg %al, %ah
	movzwl %ax, %eax
	ret
drain:	mov $20, %r14d
1:	sti
	nop
	nop
	cli
	dec %r14d
	jnz 1b
	ret

/* EAX: vector */
on_irq:
	incl counts(,%rax,4)
	incl total
	mov order_n, %ecx
	cmp $4, %ecx
	jae 1f
	mov %al, order(%rcx)
1:	incl order_n
	cmp $0x30, %eax
	jb 2f
	cmp $0x30, %eax
	je 4f
	cmp $0x33, %eax
	je 3f
	movl $0, LAPIC + 0xb0
	jmp 3f
2:	cmp $0x28, %eax
	jb 5f
	mov $0x20, %al
	out %al, $0xa0
5:	mov $0x20, %al
	out %al, $0x20
3:	ret
4:	/* INT 30H from CPL 3: leave for good */
	mov ex_resume, %eax
	movl $0, ex_resume
	mov ex_sp, %rsp
	mov $K_DATA, %ecx
	mov %ecx, %ss
	jmp *%rax
on_nmi:
	incl nmis
	ret
user_loop:
	cmpl $3, counts + 0x46 * 4
	jb user_loop
	int $0x30

	.data
	.balign 8
total:	.quad 0
order:	.long 0
order_n: .long 0
nmis:	.quad 0
	.bss
	.balign 8
counts:	.skip 1024
