/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMCALL and VMMCALL where nobody answers: #UD, or a KVM that says "no such call" in RAX. Some KVMs made by software loop in
 * them for ever, which is what the watchdog of the kvm path is for.
 */
#define GUEST64
#include "lib.inc"
#define NO_SUCH_CALL -1000
#define CALL_IT(insn) \
	TRY(8f); \
	mov $0x7fff0000, %eax; \
	insn; \
	NO_EXC; \
	EQ(%eax, NO_SUCH_CALL); \
	jmp 9f; \
8:	EXC(6, 0); \
9:
test_main:
	CALL_IT(vmcall)
	CASE(2)
	CALL_IT(vmmcall)
	ret
