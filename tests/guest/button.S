/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that listens to its power button, polling, with interrupts off. It says "ready"; at the first press "pressed" and
 * nothing more, as a guest that takes its time; at the second one it powers off. tests/e2e/control.sh presses.
 */
#define GUEST32
#include "lib.inc"
#define SMI_PORT 0xb2
#define ACPI_ENABLE 0xf1
#define PM1_STS 0x600
#define PM1_EN 0x602
#define PM1_CNT 0x604
#define PWRBTN 0x100
#define SLP_EN 0x2000

	.macro say text
	mov $\text, %esi
	call print
	.endm

test_main:
	mov $ACPI_ENABLE, %al
	out %al, $SMI_PORT
	mov $PM1_EN, %dx
	mov $PWRBTN, %ax
	out %ax, %dx
	say msg_ready
	call wait_press
	say msg_pressed
	call wait_press
	mov $PM1_CNT, %dx
	mov $SLP_EN, %ax
	out %ax, %dx
1:	jmp 1b

wait_press:
	mov $PM1_STS, %dx
1:	in %dx, %ax
	test $PWRBTN, %ax
	jz 1b
	mov $PWRBTN, %ax	/* ones clear */
	out %ax, %dx
	ret

msg_ready: .asciz "ready\n"
msg_pressed: .asciz "pressed\n"
