/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Halted with interrupts off: only --timeout or a person ends it. */
#define GUEST32
#include "lib.inc"
test_main:
	cli
	hlt
	jmp fail
