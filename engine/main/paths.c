/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of execution paths: the only place that names them all. */
#include "engine/exec.h"
#include "fastpath/kvm.h"
#include "translator/bt.h"
#include "translator/interp.h"

const struct exec_ops *const exec_paths[PATH_COUNT] = {
	[PATH_INTERP] = &interp_ops,
	[PATH_BT] = &bt_ops,
	[PATH_KVM] = &kvm_ops,
};
