/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of the integer instructions, declared by their rows. Private to translator/int_*.c. */
#ifndef STEELYARD_INT_OPS_H
#define STEELYARD_INT_OPS_H

#include "translator/insn.h"

#define ROW(m, fn, policy, fl) insn_fn fn;
#define FORM(f, fn, policy, fl) insn_fn fn;
#include "translator/isa_int.def"
#undef ROW
#undef FORM

#endif
