/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two processors: INIT and SIPI, locked counters, cross-modifying code with a handshake, IPIs both ways, TLB shootdown, NMI. */
#define GUEST64
#include "lib.inc"
#include "ap.inc"
#define LAPIC 0x40000000
#define WIN 0x60000000
#define SPIN(cond_jump, mem, val, lab) lab: pause; cmpl $(val), mem; cond_jump lab##b
test_main:
	movl $0xfee00097, pd + 4096
	mov %cr3, %rax
	mov %rax, %cr3
	mov $0x34, %al		/* the PIT is our clock: about 1 kHz */
	out %al, $0x43
	mov $0xa9, %al
	out %al, $0x40
	mov $4, %al
	out %al, $0x40
	CASE(1)			/* start the other processor */
	mov $tramp, %esi
	mov $TRAMP, %edi
	mov $tramp_end - tramp, %ecx
	rep movsb
	movl $0x1ff, LAPIC + 0xf0
	movl $on_irq, irq_hook
	movl $0x01000000, LAPIC + 0x310
	movl $0x4500, LAPIC + 0x300
	call delay
	movl $0x01000000, LAPIC + 0x310
	movl $0x4608, LAPIC + 0x300
	mov $3000, %r12d	/* the other one is a thread that a loaded host may keep waiting */
1:	call delay
	cmpl $1, ap_alive
	je 2f
	dec %r12d
	jnz 1b
	jmp fail
2:	EQ(ap_id, 1)
	CASE(2)			/* LOCK INC from both, and XADD tickets */
	movl $1, phase
	mov $100000, %ecx
1:	lock incl counter
	loop 1b
	SPIN(jne, ap_phase, 1, 2)
	EQ(counter, 200000)
	CASE(3)			/* a lock by XCHG guards a plain counter */
	movl $2, phase
	mov $20000, %r12d
	call locked_loop
	SPIN(jne, ap_phase, 2, 2)
	EQ(guarded, 40000)
	CASE(4)			/* CMPXCHG16B from both */
	movl $3, phase
	mov $20000, %r12d
	call wide_loop
	SPIN(jne, ap_phase, 3, 2)
	cmpq $40000, wide
	jne fail
	cmpq $80000, wide + 8
	jne fail
	CASE(5)			/* code changed here, run there, after a handshake */
	movl $4, phase
	mov $1, %r12d
1:	mov %r12d, patch + 1
	mov %r12d, patch_seq
2:	pause
	cmp %r12d, patch_ack
	jne 2b
	mov patch_got, %eax
	cmp %r12d, %eax
	jne fail
	inc %r12d
	cmp $500, %r12d
	jne 1b
	movl $-1, patch_seq
	SPIN(jne, ap_phase, 4, 3)
	CASE(6)			/* IPI to the other, which waits in HLT with interrupts on */
	movl $5, phase
	mov $20, %r12d
1:	mov ipis, %ebx
	movl $0x01000000, LAPIC + 0x310
	movl $0x4050, LAPIC + 0x300
	mov $200000000, %ecx
2:	pause
	cmp %ebx, ipis
	jne 3f
	dec %ecx
	jnz 2b
	jmp fail
3:	dec %r12d
	jnz 1b
	movl $1, stop5
	movl $0x4050, LAPIC + 0x300
	SPIN(jne, ap_phase, 5, 4)
	CASE(7)			/* TLB shootdown: change a mapping, tell the other, who flushes and reads */
	movl $pt + 7, pd + 4096 + 256 * 8
	movl $0x1000007, pt
	mov %cr3, %rax
	mov %rax, %cr3
	movl $0x111, 0x1000000
	movl $0x222, 0x1001000
	movl $6, phase
	SPIN(jne, shoot_seen, 0x111, 1)
	movl $0x1001007, pt
	mfence
	movl $0x4051, LAPIC + 0x300
	SPIN(jne, shoot_seen, 0x222, 2)
	movl $1, stop6
	SPIN(jne, ap_phase, 6, 3)
	CASE(8)			/* broadcast to all but self, and to all */
	movl $7, phase
	mov ipis, %ebx
	movl $0xc4050, LAPIC + 0x300
1:	pause
	cmp %ebx, ipis
	je 1b
	movl $1, stop7
	movl $0xc4050, LAPIC + 0x300
	SPIN(jne, ap_phase, 7, 3)
	CASE(9)			/* NMI to the other one, which has interrupts off */
	movl $on_nmi, ex_hook
	movl $0x01000000, LAPIC + 0x310
	movl $0x4400, LAPIC + 0x300
	SPIN(jne, nmis, 1, 1)
	movl $0, ex_hook
	CASE(10)		/* INIT stops it; SIPI starts it again */
	movl $0, ap_alive
	movl $0x4500, LAPIC + 0x300
	call delay
	mov ticks, %ebx
	call delay
	cmp %ebx, ticks
	jne fail
	movl $100, phase
	movl $0x4608, LAPIC + 0x300
	SPIN(jne, ap_alive, 1, 1)
	ret

locked_loop:
1:	mov $1, %eax
2:	xchg %eax, lock_word
	test %eax, %eax
	jz 3f
	pause
	mov $1, %eax
	jmp 2b
3:	mov guarded, %ecx
	inc %ecx
	mov %ecx, guarded
	movl $0, lock_word
	dec %r12d
	jnz 1b
	ret
wide_loop:
	mov wide, %rax
	mov wide + 8, %rdx
1:	lea 1(%rax), %rbx
	lea 2(%rdx), %rcx
	lock cmpxchg16b wide
	jnz 1b
	dec %r12d
	jnz wide_loop
	ret
delay:	mov $3, %r14d
1:	call read_pit
	mov %eax, %r15d
2:	call read_pit
	cmp %r15d, %eax
	mov %eax, %r15d
	jbe 2b
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
on_irq:	movl $0, LAPIC + 0xb0
	cmp $0x51, %eax
	je 1f
	lock incl ipis
	ret
1:	mov %cr3, %rcx
	mov %rcx, %cr3
	mov WIN, %ecx
	mov %ecx, shoot_seen
	ret
on_nmi:	lock incl nmis
	ret

/* ---- the other processor ---- */
ap64:	mov $ap_stack_top, %esp
	lidt idtr
	movl $0x1ff, LAPIC + 0xf0
	mov LAPIC + 0x20, %eax
	shr $24, %eax
	mov %eax, ap_id
	movl $1, ap_alive
	cmpl $100, phase
	je ap_done
	SPIN(jb, phase, 1, 1)
	mov $100000, %ecx
2:	lock incl counter
	loop 2b
	movl $1, ap_phase
	SPIN(jb, phase, 2, 1)
	mov $20000, %r12d
	call locked_loop
	movl $2, ap_phase
	SPIN(jb, phase, 3, 1)
	mov $20000, %r12d
	call wide_loop
	movl $3, ap_phase
	SPIN(jb, phase, 4, 1)
	xor %r13d, %r13d
5:	pause
	mov patch_seq, %r12d
	cmp $-1, %r12d
	je 6f
	cmp %r13d, %r12d
	je 5b
	mov %r12d, %r13d
	xor %eax, %eax
	cpuid			/* serializes, as the manual asks */
	call patch
	mov %eax, patch_got
	mov %r12d, patch_ack
	jmp 5b
6:	movl $4, ap_phase
	SPIN(jb, phase, 5, 1)
7:	sti
	hlt
	cli
	cmpl $1, stop5
	jne 7b
	movl $5, ap_phase
	SPIN(jb, phase, 6, 1)
	mov %cr3, %rax
	mov %rax, %cr3
	mov WIN, %eax
	mov %eax, shoot_seen
	sti
8:	pause
	cmpl $1, stop6
	jne 8b
	cli
	movl $6, ap_phase
	SPIN(jb, phase, 7, 1)
9:	sti
	hlt
	cli
	cmpl $1, stop7
	jne 9b
	movl $7, ap_phase
10:	incl ticks
	pause
	jmp 10b
ap_done:
	hlt
	jmp ap_done

	.balign 64
patch:	mov $0x55, %eax
	ret

	.bss
	.balign 4096
pt:	.skip 4096
	.balign 64
wide:	.skip 16
	.balign 64
counter: .skip 64
guarded: .skip 4
lock_word: .skip 4
ap_alive: .skip 4
ap_id:	.skip 4
phase:	.skip 4
ap_phase: .skip 4
patch_seq: .skip 4
patch_ack: .skip 4
patch_got: .skip 4
ipis:	.skip 4
stop5:	.skip 4
stop6:	.skip 4
stop7:	.skip 4
shoot_seen: .skip 4
nmis:	.skip 4
ticks:	.skip 4
	.balign 4096
	.skip 4096
ap_stack_top:
