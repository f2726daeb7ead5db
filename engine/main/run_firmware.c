// SPDX-License-Identifier: GPL-2.0-or-later
/* --bios NAME[,vars=F] and --boot order=LETTERS[,menu]. */
#include "engine/main/run_firmware.h"

#include <string.h>

#include "engine/load/boot.h"
#include "engine/main/verbs.h"

#define VARS ",vars="

int run_bios_option(struct run_firmware *f, struct vm_config *cfg, const char *arg)
{
	const char *vars = strstr(arg, VARS);
	size_t len = vars ? (size_t)(vars - arg) : strlen(arg);
	char name[sizeof(f->bios)];
	struct error e = {0};

	if (len >= sizeof(name) || (vars && strlen(vars) >= sizeof(f->vars)))
		return verb_usage("--bios: a name has more than %zu characters", sizeof(name) - 1);
	snprintf(name, sizeof(name), "%.*s", (int)len, arg);
	if (vars && !vars[strlen(VARS)])
		return verb_usage("--bios %s: which file for the variables? Give vars=F", name);
	if (bios_find(name, f->bios, sizeof(f->bios), &e) != ST_OK)
		return verb_fail(&e);
	cfg->bios = f->bios;
	cfg->bios_vars_template = bios_vars(name);
	if (!vars)
		return EXIT_OK;
	if (!cfg->bios_vars_template)
		return verb_usage("--bios %s: vars=F belongs to ovmf, the firmware that keeps variables", name);
	snprintf(f->vars, sizeof(f->vars), "%s", vars + strlen(VARS));
	cfg->bios_vars = f->vars;
	return EXIT_OK;
}

int run_boot_option(struct run_firmware *f, struct vm_config *cfg, const char *arg)
{
	static const char order[] = "order=";
	const char *end, *word = arg;

	for (bool more = true; more; word = end + 1) {
		size_t len;

		end = strchr(word, ',');
		more = end != NULL;
		end = end ? end : word + strlen(word);
		len = (size_t)(end - word);
		if (len == 4 && !strncmp(word, "menu", 4)) {
			cfg->boot_menu = true;
		} else if (len > strlen(order) && !strncmp(word, order, strlen(order))) {
			len -= strlen(order);
			if (len >= sizeof(f->order) || strspn(word + strlen(order), "cdn") < len)
				return verb_usage("--boot %s: the order is of c (disks), d (CDs) and n (networks), as in order=dc", arg);
			snprintf(f->order, sizeof(f->order), "%.*s", (int)len, word + strlen(order));
			cfg->boot_order = f->order;
		} else {
			return verb_usage("--boot %s: give order=LETTERS, menu or both", arg);
		}
	}
	return EXIT_OK;
}
