/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The binary translator: x86 on x86-64, instruction by instruction the same (design: ARCHITECTURE.md, "The translator"). */
#ifndef STEELYARD_BT_H
#define STEELYARD_BT_H

#include "engine/exec.h"

extern const struct exec_ops bt_ops;

#endif
