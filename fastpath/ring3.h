/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 64-bit ring 3 run directly: for the hybrid path (engine/hybrid.h has the contract), by a KVM that need not be able to do
 * anything else.
 */
#ifndef STEELYARD_RING3_H
#define STEELYARD_RING3_H

#include "engine/hybrid.h"

extern const struct direct_ops ring3_direct;

#endif
