/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The script of "steelyard image build" in the program: whoever has the program has it, whole and of the same version. */
	.section .rodata
	.globl	image_script
	.globl	image_script_end
image_script:
	.incbin	"mgmt/image_build.sh"
image_script_end:
	.section .note.GNU-stack, "", @progbits
