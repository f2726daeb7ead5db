/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a boundary between two instructions owes: an interrupt that waits for STI, the end of RF. */
#define GUEST64
#include "lib.inc"
#define PIO(port, val) mov $(val), %al; out %al, $(port)
test_main:
	CASE(1)			/* pending before STI, and nothing but a loop behind the instruction behind STI */
	movl $on_irq, irq_hook
	PIO(0x43, 0x30)		/* PIT channel 0, once */
	PIO(0x40, 0x40)
	PIO(0x40, 0x00)
	PIO(0x21, 0xfe)
	PIO(0x20, 0x0a)		/* reads of port 20H give the IRR */
1:	in $0x20, %al
	test $1, %al
	jz 1b
	mov $200000000, %ecx
	sti
1:	dec %ecx
	jz fail
	cmpl $0, arrived
	je 1b
	cli
	EQ(arrived, 1)
	movl $0, irq_hook

	CASE(2)			/* RF, which a fault's frame and IRET set, is over after one instruction (SDM 3B 18.3.1.1) */
	movl $skip, ex_hook
	ud2
	nop
	TRY(2f)
	int $0x30
	jmp fail
2:	testl $0x10000, ex_flags
	jnz fail
	CASE(3)			/* the same with an instruction that is not simple, and a branch, in between */
	movl $skip, ex_hook
	ud2
	cpuid
	TRY(2f)
	jmp 1f
1:	int $0x30
	jmp fail
2:	testl $0x10000, ex_flags
	jnz fail
	ret

on_irq:
	movl $1, arrived
	PIO(0x21, 0xff)
	PIO(0x20, 0x20)
	ret
skip:				/* the faulting UD2, with RF as the frame has it */
	testl $0x10000, ex_flags
	jz fail
	addl $2, ex_ip
	movl $0, ex_hook
	ret

	.data
arrived: .long 0
