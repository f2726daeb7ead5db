/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The big program behind "bigstart": 4096 different functions, about 200 KiB of code, each run once. The start of a large
 * program looks like this: much code, little repetition, page faults on the file. The assembler repeats one pattern with
 * other numbers, because a compiler takes long for so many. A function has its number in eax, an array of 64 words in
 * ecx or rcx, and edx to itself.
 */
#include "workload.h"

#define FUNCTIONS 4096

#ifdef __x86_64__
#define ARRAY "%rcx"
#define POINTER ".quad"
#else
#define ARRAY "%ecx"
#define POINTER ".long"
#endif

__asm__(".set big_n, 0\n"
	".rept 4096\n"
	"	.text\n"
	"	.p2align 4\n"
	"3:	imull	$(2 * big_n + 1), %eax, %eax\n"
	"	rorl	$(big_n % 13 + 3), %eax\n"
	"	testl	$(1 << (big_n % 31)), %eax\n"
	"	jz	1f\n"
	"	xorl	(big_n % 64 * 4)(" ARRAY "), %eax\n"
	"	incl	(big_n % 61 * 4)(" ARRAY ")\n"
	"	jmp	2f\n"
	"1:	addl	$(77 * big_n + 5), %eax\n"
	"2:\n"
	"	.if	big_n & 1\n"
	"	movl	%eax, %edx\n"
	"	shrl	$11, %edx\n"
	"	xorl	%edx, %eax\n"
	"	.endif\n"
	"	ret\n"
	"	.section .data.rel.ro.big, \"aw\"\n"
	"	.if	big_n == 0\n"
	"	.p2align 3\n"
	"	.globl	big_function\n"
	"big_function:\n"
	"	.endif\n"
	"	" POINTER "	3b\n"
	"	.set	big_n, big_n + 1\n"
	".endr\n"
	".text\n");
extern const void *const big_function[FUNCTIONS];

uint32_t wl_big_program(void)
{
	uint32_t array[64] = {0}, x = 1;

	for (unsigned i = 0; i < FUNCTIONS; i++) {
		uint32_t *a = array;

		/* The red zone of the 64-bit ABI is below the stack pointer: the call must not write there. */
#ifdef __x86_64__
		__asm__ volatile("sub $128, %%rsp\n\tcall *%2\n\tadd $128, %%rsp"
				 : "+a"(x), "+c"(a)
				 : "r"(big_function[i])
				 : "edx", "cc", "memory");
#else
		__asm__ volatile("call *%2" : "+a"(x), "+c"(a) : "r"(big_function[i]) : "edx", "cc", "memory");
#endif
	}
	return x;
}
