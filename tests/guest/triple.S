/* SPDX-License-Identifier: GPL-2.0-or-later */
/* No IDT at all: the third fault shuts the processor down. */
#define GUEST32
#include "lib.inc"
test_main:
	movw $0, idtr
	lidt idtr
	ud2
