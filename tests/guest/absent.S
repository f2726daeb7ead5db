/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions of processors that the guest has not got: virtualization, SMM, SMX, and those whose CPUID bit is clear. All
 * are #UD, at CPL 0 and CPL 3, and leave RIP where it was.
 */
#define GUEST64
#include "lib.inc"
	/* skips the entry while bit `bit` of register \reg (CPUID leaf \leaf) is set: then the instruction exists */
	.macro absent_if leaf, reg, bit, entry
	mov $\leaf, %eax
	xor %ecx, %ecx
	cpuid
	bt $\bit, %\reg
	jnc 9f
	movb $0xcc, \entry	/* INT3: told apart below */
9:
	.endm
test_main:
	CASE(1)			/* the guest shows nothing of these */
	mov $1, %eax
	cpuid
	test $(1 << 5 | 1 << 6), %ecx	/* VMX, SMX */
	jnz fail
	mov $0x80000001, %eax
	cpuid
	test $1 << 2, %ecx	/* SVM */
	jnz fail
	absent_if 7, ebx, 10, e_invpcid
	absent_if 1, ecx, 3, e_monitor
	absent_if 1, ecx, 3, e_mwait
	absent_if 7, ebx, 20, e_stac
	absent_if 7, ebx, 20, e_clac
	mov $first, %r12d
3:	CASE(2)			/* at CPL 0 */
	cmpb $0xcc, (%r12)
	je 4f
	TRY(1f)
	mov $buf, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	jmp *%r12
1:	EXC(6, 0)
	cmp %r12d, ex_ip
	jne fail
	CASE(3)			/* at CPL 3 */
	TRY(1f)
	mov $buf, %eax
	mov %r12d, %edi
	jmp to_user
1:	EXC(6, 0)
	cmp %r12d, ex_ip
	jne fail
4:	add $16, %r12d
	cmp $last, %r12d
	jb 3b
	ret

	.macro entry bytes:vararg
	.balign 16
	.byte \bytes
	jmp fail
	.endm
	.balign 16
first:
	entry 0x0f, 0x01, 0xc1			/* VMCALL */
	entry 0x0f, 0x01, 0xc2			/* VMLAUNCH */
	entry 0x0f, 0x01, 0xc3			/* VMRESUME */
	entry 0x0f, 0x01, 0xc4			/* VMXOFF */
	entry 0x0f, 0x01, 0xd4			/* VMFUNC */
	entry 0xf3, 0x0f, 0xc7, 0x30		/* VMXON (RAX) */
	entry 0x0f, 0xc7, 0x30			/* VMPTRLD */
	entry 0x0f, 0xc7, 0x38			/* VMPTRST */
	entry 0x66, 0x0f, 0xc7, 0x30		/* VMCLEAR */
	entry 0x0f, 0x78, 0xc8			/* VMREAD */
	entry 0x0f, 0x79, 0xc8			/* VMWRITE */
	entry 0x66, 0x0f, 0x38, 0x80, 0x08	/* INVEPT */
	entry 0x66, 0x0f, 0x38, 0x81, 0x08	/* INVVPID */
	entry 0x0f, 0x01, 0xd8			/* VMRUN */
	entry 0x0f, 0x01, 0xd9			/* VMMCALL */
	entry 0x0f, 0x01, 0xda			/* VMLOAD */
	entry 0x0f, 0x01, 0xdb			/* VMSAVE */
	entry 0x0f, 0x01, 0xdc			/* STGI */
	entry 0x0f, 0x01, 0xdd			/* CLGI */
	entry 0x0f, 0x01, 0xde			/* SKINIT */
	entry 0x0f, 0x01, 0xdf			/* INVLPGA */
	entry 0x0f, 0xaa			/* RSM, outside SMM */
	entry 0x0f, 0x37			/* GETSEC */
	.balign 16
e_invpcid:
	entry 0x66, 0x0f, 0x38, 0x82, 0x08
	.balign 16
e_monitor:
	entry 0x0f, 0x01, 0xc8
	.balign 16
e_mwait:
	entry 0x0f, 0x01, 0xc9
	.balign 16
e_stac:
	entry 0x0f, 0x01, 0xcb
	.balign 16
e_clac:
	entry 0x0f, 0x01, 0xca
	.balign 16
last:

	.bss
	.balign 16
buf:	.skip 64
