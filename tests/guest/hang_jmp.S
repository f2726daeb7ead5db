/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A jump to itself with interrupts off. */
#define GUEST64
#include "lib.inc"
test_main:
	cli
	jmp .
