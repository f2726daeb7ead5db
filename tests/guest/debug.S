/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single-stepping by TF, hardware breakpoints on execution, write, access and ports, ICEBP, RF, general detect. */
#define GUEST64
#include "lib.inc"
test_main:
	movl $on_db, ex_hook
	CASE(1)			/* TF: a trap behind each instruction */
	call reset
	pushfq
	orl $0x100, (%rsp)
	popfq
0:	nop
	nop
	pushfq
	andl $~0x100, (%rsp)
	popfq
9:	EQ(hits, 5)
	EQ(trace, 0b + 1)	/* the first trap is behind the instruction after POPF */
	EQ(trace + 8, 0b + 2)
	EQ(trace + 32, 9b)	/* POPF that clears TF still traps */
	EQ(dr6_seen, 0x4000)
	CASE(2)			/* a branch traps at its target, a REP at each element */
	call reset
	mov $3, %ecx
	mov $buf, %edi
	pushfq
	orl $0x100, (%rsp)
	popfq
0:	rep stosb
1:	jmp 2f
	nop
2:	pushfq
	andl $~0x100, (%rsp)
	popfq
	EQ(trace, 0b)
	EQ(trace + 8, 0b)
	EQ(trace + 16, 1b)
	EQ(trace + 24, 2b)
	CASE(3)			/* execution breakpoint: a fault before the instruction, RF lets it through */
	call reset
	movl $1, set_rf
	mov $bp_here, %eax
	mov %rax, %db0
	mov $0x402, %eax
	mov %rax, %db7
	mov $1, %ebx
bp_here:
	inc %ebx
	EQ(hits, 1)
	EQ(trace, bp_here)
	EQ(dr6_seen, 1)
	EQ(%ebx, 2)
	CASE(4)			/* the same in a loop: each time */
	call reset
	movl $1, set_rf
	mov $bp_loop, %eax
	mov %rax, %db0
	mov $10, %ecx
bp_loop:
	dec %ecx
	jnz bp_loop
	EQ(hits, 10)
	movl $0, set_rf
	CASE(5)			/* data write of 4 bytes: a trap behind the instruction */
	call reset
	mov $buf + 8, %eax
	mov %rax, %db1
	mov $0x00d00408, %eax	/* G1, W, 4 bytes */
	mov %rax, %db7
	mov buf + 8, %ecx
	movb $1, buf + 7
	EQ(hits, 0)
	movb $1, buf + 11
0:	nop
	EQ(hits, 1)
	EQ(trace, 0b)
	EQ(dr6_seen, 2)
	movq $1, buf + 4	/* overlaps */
	EQ(hits, 2)
	CASE(6)			/* data access: reads too; a push; a string instruction */
	call reset
	mov $0x00f00408, %eax
	mov %rax, %db7
	mov buf + 8, %ecx
	EQ(hits, 1)
	mov $buf, %esi
	mov $buf2, %edi
	mov $32, %ecx
	rep movsb
	NE(hits, 1)
	EQ(%ecx, 0)
	CASE(7)			/* disabled */
	call reset
	mov $0x400, %eax
	mov %rax, %db7
	mov buf + 8, %ecx
	movl $0, buf + 8
	EQ(hits, 0)
	CASE(8)			/* ICEBP */
	call reset
	.byte 0xf1
0:	EQ(hits, 1)
	EQ(trace, 0b)
	CASE(9)			/* general detect: MOV DR is #DB with DR6.BD */
	call reset
	mov $0x2400, %eax
	mov %rax, %db7
	movl $2, skip_by
0:	mov %db0, %rax		/* skipped by the handler, which has cleared GD: 3 bytes */
	nop
	movl $0, skip_by
	EQ(hits, 1)
	EQ(dr6_seen, 0x2000)
	mov %db7, %rax
	test $0x2000, %eax
	jnz fail
	CASE(10)		/* DR4 and DR5 are aliases without CR4.DE, #UD with it */
	movl $0, ex_hook
	mov %cr4, %rax
	bts $3, %rax
	mov %rax, %cr4
	TRY(1f)
	.byte 0x0f, 0x21, 0xe1	/* MOV RCX, DR4 */
	jmp fail
1:	EXC(6, 0)
	btr $3, %rax
	mov %rax, %cr4
	.byte 0x0f, 0x21, 0xe1
	CASE(11)		/* MOV SS holds back #DB by one instruction */
	movl $on_db, ex_hook
	call reset
	mov %ss, %ecx
	pushfq
	orl $0x100, (%rsp)
	popfq
	mov %ecx, %ss
0:	nop
1:	pushfq
	andl $~0x100, (%rsp)
	popfq
	EQ(trace, 1b)
	CASE(12)		/* fixed bits of DR6 and DR7 */
	movl $0, ex_hook
	xor %eax, %eax
	mov %rax, %db6
	mov %rax, %db7
	mov %db6, %rax
	EQ(%eax, 0xffff0ff0)
	mov %db7, %rax
	EQ(%eax, 0x400)
	mov $1, %eax
	shl $32, %rax
	TRY(1f)
	mov %rax, %db7
	jmp fail
1:	EXC(13, 0)
	CASE(13)		/* an interrupt clears TF: the handler is not stepped */
	movl $on_db, ex_hook
	movl $on_irq, irq_hook
	call reset
	pushfq
	orl $0x100, (%rsp)
	popfq
	int $0x40
0:	nop
	pushfq
	andl $~0x100, (%rsp)
	popfq
	EQ(in_irq_hits, 0)
	EQ(trace, 0b + 1)
	CASE(14)		/* REP OUTS and REP INS trap at each element too */
	call reset
	mov $3, %ecx
	mov $buf, %esi
	mov $0x80, %edx
	pushfq
	orl $0x100, (%rsp)
	popfq
0:	rep outsb
1:	pushfq
	andl $~0x100, (%rsp)
	popfq
	EQ(trace, 0b)
	EQ(trace + 8, 0b)
	EQ(trace + 16, 1b)
	call reset
	mov $3, %ecx
	mov $buf, %edi
	pushfq
	orl $0x100, (%rsp)
	popfq
0:	rep insb
1:	pushfq
	andl $~0x100, (%rsp)
	popfq
	EQ(trace, 0b)
	EQ(trace + 8, 0b)
	EQ(trace + 16, 1b)
	CASE(15)		/* breakpoint on a port, with CR4.DE: a trap behind the instruction */
	call reset
	mov %cr4, %rax
	bts $3, %rax
	mov %rax, %cr4
	mov $0x80, %eax
	mov %rax, %db0
	mov $0x00020402, %eax	/* G0, I/O, 1 byte */
	mov %rax, %db7
	xor %eax, %eax
	out %al, $0x84
	out %al, $0x7f
	EQ(hits, 0)
	out %al, $0x80
0:	nop
	EQ(hits, 1)
	EQ(trace, 0b)
	EQ(dr6_seen, 1)
	mov $0x7d, %edx
	in (%dx), %eax		/* four ports, the last one is watched */
	EQ(hits, 2)
	mov $2, %ecx
	mov $0x80, %edx
	mov $buf, %esi
	rep outsb
	EQ(hits, 4)
	rep outsb		/* nothing to do */
	EQ(hits, 4)
	mov $0x400, %eax
	mov %rax, %db7
	mov %cr4, %rax
	btr $3, %rax
	mov %rax, %cr4
	CASE(16)		/* MOV SS from a watched place: the trap comes behind the next instruction */
	call reset
	mov %ss, buf + 8
	mov $buf + 8, %eax
	mov %rax, %db1
	mov $0x00700408, %eax	/* G1, access, 2 bytes */
	mov %rax, %db7
	mov buf + 8, %ss
	nop
0:	nop
	nop
	EQ(hits, 1)
	EQ(trace, 0b)
	EQ(dr6_seen, 2)
	mov $0x400, %eax
	mov %rax, %db7
	movl $0, ex_hook
	ret

reset:	movl $0, hits
	movl $0, trace
	movl $0, dr6_seen
	xor %eax, %eax
	mov %rax, %db6
	ret
on_db:	cmpl $1, ex_vec
	jne fail
	mov hits, %ecx
	cmp $16, %ecx
	jae 1f
	mov ex_ip, %rax
	mov %rax, trace(,%rcx,8)
1:	incl hits
	mov %db6, %rax
	and $0xe00f, %eax
	mov %eax, dr6_seen
	xor %eax, %eax
	mov %rax, %db6
	cmpl $0, set_rf
	je 2f
	orl $0x10000, ex_flags
2:	cmpl $0, skip_by
	je 3f
	mov $0x400, %eax
	mov %rax, %db7
	addq $3, ex_ip
3:	ret
on_irq:	mov hits, %ecx
	mov %ecx, in_irq_hits
	ret

	.bss
	.balign 8
hits:	.skip 8
trace:	.skip 128
dr6_seen: .skip 8
set_rf:	.skip 8
skip_by: .skip 8
in_irq_hits: .skip 8
buf:	.skip 64
buf2:	.skip 64
