/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory type range registers: kept and checked, without effect. RAM and devices of a virtual machine have the types that
 * the host gives them; but firmware (SeaBIOS, OVMF, U-Boot) and Xen take the registers for granted, as every processor
 * since the Pentium Pro has them, and Linux turns the PAT off where they are missing or off.
 *
 * Source: SDM 3A 11.11.
 */
#ifndef STEELYARD_MTRR_H
#define STEELYARD_MTRR_H

#include <stdbool.h>
#include <stdint.h>

struct vm;

#define MTRR_VARIABLE 8u		      /* pairs of base and mask from MSR 200H on */
#define MTRR_CAP (MTRR_VARIABLE | 1u << 8 | 1u << 10) /* IA32_MTRRCAP: so many, the fixed ones too, and WC */

/* May software write val into the MTRR with this MSR index? false: #GP(0). phys_bits: the guest's MAXPHYADDR. Any thread. */
bool mtrr_takes(uint32_t index, uint64_t val, unsigned phys_bits);

/* What a firmware leaves in the MTRRs of every processor: write-back, but for the devices' addresses below 4 GiB. For the
 * loaders that are their own firmware; no vCPU runs. */
void mtrr_as_firmware(struct vm *vm);

#endif
