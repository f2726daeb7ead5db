// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The launchers by name.
 */
#include "eval/run/launcher.h"

#include <string.h>

#include "engine/status.h"

static const struct launcher launcher_local = {.name = "local", .what = "this process runs everything, here"};

static const struct launcher *const launchers[] = {&launcher_local, &launcher_slurm};

const struct launcher *launcher_at(unsigned i)
{
	return i < ARRAY_LEN(launchers) ? launchers[i] : NULL;
}

const struct launcher *launcher_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(launchers); i++)
		if (!strcmp(launchers[i]->name, name))
			return launchers[i];
	return NULL;
}
