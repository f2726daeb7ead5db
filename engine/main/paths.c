/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of execution paths: the only place that names them all. */
#include "engine/exec.h"
#include "engine/hybrid.h"
#include "fastpath/kvm.h"
#include "fastpath/ring3.h"
#include "translator/bt.h"
#include "translator/interp.h"

const struct exec_ops *const exec_paths[PATH_COUNT] = {
	[PATH_INTERP] = &interp_ops,
	[PATH_BT] = &bt_ops,
	[PATH_KVM] = &kvm_ops,
	[PATH_HYBRID] = &hybrid_ops,
};

const struct direct_ops *const hybrid_direct = &ring3_direct;
