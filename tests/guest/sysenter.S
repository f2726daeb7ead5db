/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYSENTER and SYSEXIT in 32-bit protected mode, where every vendor has them (AMD has not in long mode: syscall.S). */
#define GUEST32
#include "lib.inc"
#define RING3_FLAGS 0xcc5
test_main:
	CASE(1)			/* with SYSENTER_CS null: #GP(0) */
	mov $0x174, %ecx
	xor %eax, %eax
	xor %edx, %edx
	wrmsr
	USER(user_enter, 1f)
1:	EXC(13, 0)
	TRY(1f)
	sysexit
1:	EXC(13, 0)
	CASE(2)			/* in and out */
	mov $K_CODE32, %eax
	wrmsr
	inc %ecx
	mov $kstack0_top - 64, %eax
	wrmsr
	inc %ecx
	mov $on_sysenter, %eax
	wrmsr
	mov $0x174, %ecx
	rdmsr
	EQ(%eax, K_CODE32)
	USER(user_enter, 1f)
1:	EXV(0x30)
	EQ(seen_cs, K_CODE32)
	EQ(seen_ss, K_DATA)
	EQ(seen_sp, kstack0_top - 64)
	EQ(%ebx, 0x2468)
	EQ(%esi, U_CODE32)
	EQ(%edi, U_DATA)
	EQ(%ebp, ustack_top - 32)
	mov seen_flags, %eax	/* only IF, VM and RF are cleared (SDM 2B SYSENTER) */
	and $RING3_FLAGS, %eax
	EQ(%eax, 0x401)
	CASE(3)			/* SYSEXIT at CPL 3: #GP(0) */
	USER(user_exit, 1f)
1:	EXC(13, 0)
	CASE(4)			/* SYSENTER at CPL 0 goes the same way */
	TRY(1f)
	sysenter
	jmp fail
1:	EXV(0x30)
	EQ(%esi, U_CODE32)
	ret

user_enter:
	push $0x403		/* DF, CF */
	popf
	sysenter
user_after:
	mov %cs, %esi
	mov %ss, %edi
	mov %esp, %ebp
	cld
	int $0x30
on_sysenter:
	pushf
	pop seen_flags
	cld
	mov %cs, %eax
	mov %eax, seen_cs
	mov %ss, %eax
	mov %eax, seen_ss
	mov %esp, seen_sp
	mov $0x2468, %ebx
	mov $user_after, %edx
	mov $ustack_top - 32, %ecx
	sysexit
user_exit:
	mov $user_after, %edx
	mov $ustack_top, %ecx
	sysexit

	.bss
	.balign 4
seen_cs: .skip 4
seen_ss: .skip 4
seen_sp: .skip 4
seen_flags: .skip 4
