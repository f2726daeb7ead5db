/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every port read and written with every size, but for the one that ends the run. Resets are legal answers. */
#define GUEST32
#include "lib.inc"
test_main:
	xor %ebx, %ebx
1:	mov %ebx, %edx
	lea 4(%ebx), %ecx	/* a 4-byte access up to 3 below reaches the exit port */
	cmp $PORT_EXIT, %ecx
	jb 2f
	cmp $PORT_EXIT + 3, %ebx	/* it is four ports wide */
	jbe 3f
2:	in %dx, %al
	in %dx, %ax
	in %dx, %eax
	mov $0x5a5aa5a5, %eax
	test $1, %bl
	cmovz %ebx, %eax
	/* reset and power-off ports are tried last */
	cmp $0x64, %edx
	je 3f
	cmp $0x92, %edx
	je 3f
	cmp $0xcf9, %edx
	je 3f
	out %al, %dx
	cmp $0x5c, %edx
	jb 4f
	cmp $0x95, %edx
	jb 3f
	cmp $0xcf0, %edx
	jb 4f
	cmp $0xd00, %edx
	jb 3f
4:	cmp $0x600, %edx	/* the ACPI block */
	jb 5f
	cmp $0x680, %edx
	jb 3f
5:	out %ax, %dx
	out %eax, %dx
3:	inc %ebx
	cmp $0x10000, %ebx
	jb 1b
	ret
