// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ACPI fixed hardware. Registers are little-endian and may be accessed by bytes (ACPI 6.4, 4.8.1), so reads and writes
 * go byte by byte, over a snapshot of the timer and with the sleep command looked at when the whole write is done.
 *
 * The SCI is asserted while an enabled event is pending and SCI_EN is set; with SCI_EN clear the events would be SMIs,
 * and there is no firmware that would take them.
 */
#include "engine/pc/acpi_pm.h"

#include <stdlib.h>

#define NS_PER_S 1000000000ull

enum pm_off { OFF_STS = 0, OFF_EN = 2, OFF_CNT = 4, OFF_TMR = 8, OFF_GPE_STS = 0x20, OFF_GPE_EN = 0x22 };

/* PM1 status and enable (4.8.3.1), bits in both */
#define PM1_TMR 0x0001u
#define PM1_GBL 0x0020u
#define PM1_PWRBTN 0x0100u
#define PM1_SLPBTN 0x0200u
#define PM1_RTC 0x0400u
#define PM1_EN_MASK (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)
/* PM1 control (4.8.3.2) */
#define CNT_SCI_EN 0x0001u
#define CNT_BM_RLD 0x0002u
#define CNT_SLP_TYP_SHIFT 10
#define CNT_SLP_TYP (7u << CNT_SLP_TYP_SHIFT)
#define CNT_SLP_EN 0x2000u
#define CNT_MASK (CNT_SCI_EN | CNT_BM_RLD | CNT_SLP_TYP)
/* TMR_STS is set when the top bit of the timer changes (4.8.3.3) */
#define TMR_HALF (1ull << 31)

struct acpi_pm {
	uint16_t sts, en, cnt;
	uint16_t gpe_sts, gpe_en;
	uint8_t smi_cmd, smi_data;
	uint64_t half_seen; /* the half of the timer's round that TMR_STS has taken notice of */
	struct clock *clock;
	struct timer timer;
	struct irq_line sci;
	struct acpi_pm_config cfg;
};

/* Ticks since power-on, more than the 32 bits that the register shows. */
static uint64_t pm_ticks(const struct acpi_pm *pm)
{
	return (uint64_t)((unsigned __int128)clock_ns(pm->clock) * PM_TIMER_HZ / NS_PER_S);
}

static void pm_update(struct acpi_pm *pm)
{
	uint64_t half = pm_ticks(pm) / TMR_HALF;
	bool sci;

	if (half != pm->half_seen) {
		pm->half_seen = half;
		pm->sts |= PM1_TMR;
	}
	sci = (pm->cnt & CNT_SCI_EN) && ((pm->sts & pm->en & PM1_EN_MASK) || (pm->gpe_sts & pm->gpe_en));
	irq_set(&pm->sci, sci);
	if ((pm->en & PM1_TMR) && !(pm->sts & PM1_TMR)) {
		uint64_t tick = (half + 1) * TMR_HALF;

		timer_arm(&pm->timer, (uint64_t)(((unsigned __int128)tick * NS_PER_S + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
	} else {
		timer_cancel(&pm->timer);
	}
}

static void pm_fire(void *ctx)
{
	pm_update(ctx);
}

static uint8_t pm_byte(const struct acpi_pm *pm, uint64_t off, uint32_t timer)
{
	unsigned shift = 8 * (off & 1);

	switch (off & ~1ull) {
	case OFF_STS:
		return (uint8_t)(pm->sts >> shift);
	case OFF_EN:
		return (uint8_t)(pm->en >> shift);
	case OFF_CNT:
		return (uint8_t)(pm->cnt >> shift);
	case OFF_TMR:
	case OFF_TMR + 2:
		return (uint8_t)(timer >> (8 * (off & 3)));
	case OFF_GPE_STS:
		return (uint8_t)(pm->gpe_sts >> shift);
	case OFF_GPE_EN:
		return (uint8_t)(pm->gpe_en >> shift);
	default: /* the holes between the blocks */
		return 0xff;
	}
}

static uint64_t pm_read(void *dev, uint64_t off, unsigned size)
{
	struct acpi_pm *pm = dev;
	uint32_t timer = (uint32_t)pm_ticks(pm);
	uint64_t val = 0;

	if (off < OFF_EN)
		pm_update(pm);
	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)pm_byte(pm, off + i, timer) << (8 * i);
	return val;
}

static void put_byte(uint16_t *reg, unsigned shift, uint8_t b)
{
	*reg = (uint16_t)((*reg & ~(0xffu << shift)) | (unsigned)b << shift);
}

static void pm_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct acpi_pm *pm = dev;
	uint16_t cnt = pm->cnt;

	for (unsigned i = 0; i < size; i++) {
		uint8_t b = (uint8_t)(val >> (8 * i));
		unsigned shift = 8 * ((off + i) & 1);

		switch ((off + i) & ~1ull) {
		case OFF_STS: /* ones clear */
			pm->sts &= (uint16_t) ~((unsigned)b << shift);
			break;
		case OFF_EN:
			put_byte(&pm->en, shift, b);
			break;
		case OFF_CNT:
			put_byte(&cnt, shift, b);
			break;
		case OFF_GPE_STS:
			pm->gpe_sts &= (uint16_t) ~((unsigned)b << shift);
			break;
		case OFF_GPE_EN:
			put_byte(&pm->gpe_en, shift, b);
			break;
		default: /* the timer is read-only */
			break;
		}
	}
	pm->en &= PM1_EN_MASK;
	/* SLP_EN and GBL_RLS are commands and read as zero. SCI_EN is writable, as on the PIIX4. */
	pm->cnt = cnt & CNT_MASK;
	pm_update(pm);
	if ((cnt & CNT_SLP_EN) && (cnt & CNT_SLP_TYP) >> CNT_SLP_TYP_SHIFT == pm->cfg.slp_typ_s5 && pm->cfg.power_off)
		pm->cfg.power_off(pm->cfg.ctx);
}

static uint64_t smi_read(void *dev, uint64_t off, unsigned size)
{
	const struct acpi_pm *pm = dev;
	uint64_t both = pm->smi_cmd | (uint64_t)pm->smi_data << 8;

	(void)size;
	return both >> (8 * (off & 1));
}

static void smi_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct acpi_pm *pm = dev;

	if (off == 1 || size == 2)
		pm->smi_data = (uint8_t)(off == 1 ? val : val >> 8);
	if (off == 1)
		return;
	/* What the firmware's SMI handler would do; the FADT names the values (ACPI 6.4, 5.2.9). */
	pm->smi_cmd = (uint8_t)val;
	if (pm->smi_cmd == pm->cfg.smi_enable)
		pm->cnt |= CNT_SCI_EN;
	else if (pm->smi_cmd == pm->cfg.smi_disable)
		pm->cnt &= (uint16_t)~CNT_SCI_EN;
	pm_update(pm);
}

const struct io_ops acpi_pm_ops = {"acpi pm", pm_read, pm_write};
const struct io_ops acpi_smi_ops = {"acpi smi", smi_read, smi_write};

bool acpi_pm_button_heard(const struct acpi_pm *pm)
{
	return (pm->cnt & CNT_SCI_EN) && (pm->en & PM1_PWRBTN);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->sts |= PM1_PWRBTN;
	pm_update(pm);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pm->sts = pm->en = pm->cnt = 0;
	pm->gpe_sts = pm->gpe_en = 0;
	pm->smi_cmd = pm->smi_data = 0;
	pm->half_seen = pm_ticks(pm) / TMR_HALF;
	pm_update(pm);
}

struct acpi_pm *acpi_pm_new(struct clock *clock, struct irq_line sci, const struct acpi_pm_config *cfg)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));

	if (!pm)
		return NULL;
	pm->clock = clock;
	pm->sci = sci;
	pm->cfg = *cfg;
	timer_init(&pm->timer, clock, pm_fire, pm);
	acpi_pm_reset(pm);
	return pm;
}

void acpi_pm_free(struct acpi_pm *pm)
{
	if (pm)
		timer_cancel(&pm->timer);
	free(pm);
}
