/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware (ACPI 6.4, 4.8): the PM1a event and control blocks, the power-management timer, one
 * general-purpose event block without sources, and the SMI command port that hands the hardware to the OS.
 *
 * Threads: device lock held.
 */
#ifndef STEELYARD_ACPI_PM_H
#define STEELYARD_ACPI_PM_H

#include "engine/bus.h"
#include "engine/clock.h"
#include "engine/irq.h"

#define PM_TIMER_HZ 3579545u

struct acpi_pm;

/* What the firmware tables say about this hardware, and who carries out a power-off. */
struct acpi_pm_config {
	uint8_t smi_enable, smi_disable; /* values at the SMI command port */
	uint8_t slp_typ_s5;
	void (*power_off)(void *ctx);
	void *ctx;
};

/* sci: level, active high. NULL when the host has no memory. */
struct acpi_pm *acpi_pm_new(struct clock *clock, struct irq_line sci, const struct acpi_pm_config *cfg);
void acpi_pm_free(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm);
/* Would the guest hear of the power button: has it enabled the event and the SCI? */
bool acpi_pm_button_heard(const struct acpi_pm *pm);
void acpi_pm_power_button(struct acpi_pm *pm);

/* 24H ports: PM1a_EVT at 0, PM1a_CNT at 4, PM_TMR (32 bits) at 8, GPE0 at 20H. */
extern const struct io_ops acpi_pm_ops;
extern const struct io_ops acpi_smi_ops; /* 2 ports: command and data */

#endif
