/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `steelyard probe`, and what the rest of the program asks of it: the verdict, and the path that `auto` takes.
 *
 * Facts come first and cost nothing (probe_host.c). Where they speak against KVM, auto asks no further. Else the verdict
 * decides: this boot's from the cache (probe_cache.c), or tiny guests that run now (probe_run.c), judged in
 * probe_verdict.c.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastpath/probe_int.h"

#define EXIT_USAGE 2

enum probe_level probe_verdict_for(const struct host_facts *f, const struct probe_options *o, struct probe_verdict *v)
{
	const bool full = o->effort == PROBE_FULL;

	if (o->fresh || !probe_cache_load(f, v) || (full && v->quick)) {
		memset(v, 0, sizeof(*v));
		if (f->kvm == KVM_OPENS && o->effort != PROBE_CACHED_ONLY) {
			probe_measure(f, !full, o->patience, v);
			/* a quick look on a busy host may miss what another would see: not for the whole boot */
			if (full || probe_complete(v))
				probe_cache_store(f, v);
		}
	}
	probe_judge(f, v);
	return v->level;
}

enum probe_level probe_verdict(struct probe_verdict *v)
{
	struct host_facts f;

	probe_host(&f);
	return probe_verdict_for(&f, &(struct probe_options){.effort = PROBE_QUICK}, v);
}

const char *probe_choose(const struct host_facts *f, struct probe_verdict *v)
{
	const enum probe_effort effort = probe_facts_against_kvm(f) ? PROBE_CACHED_ONLY : PROBE_QUICK;

	probe_verdict_for(f, &(struct probe_options){.effort = effort}, v);
	return probe_auto_path(v);
}

static int print_json(const struct host_facts *f, const struct probe_verdict *v)
{
	json_t *root = probe_facts_json(f);
	int r;

	if (!root) {
		fprintf(stderr, "steelyard: no memory for the answer\n");
		return 1;
	}
	json_object_set_new(root, "verdict", probe_verdict_json(v));
	json_object_set_new(root, "summary", probe_summary(f, v));
	json_object_set_new(root, "auto", json_pack("{s:s,s:s}", "path", probe_auto_path(v), "why", v->auto_why));
	r = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(root);
	return r == 0 ? 0 : 1;
}

static void help(void)
{
	printf("usage: steelyard probe [--quick] [--fresh] [--json] [--patience N] [--kvm-device FILE] | --ring3\n"
	       "Says what this host offers for running guests, and which path --path auto takes. Tiny guests measure "
	       "what\n"
	       "KVM does in each mode of the processor: does it run, how fast, what do events cost, is it as the "
	       "manuals say.\n"
	       "  --quick            what decides, in at most 2 seconds (else all of it, at most 20)\n"
	       "  --fresh            measures, although this boot has been measured\n"
	       "  --patience N       N times as long, 1 to 100: for a host that is itself emulated\n"
	       "  --json             for programs\n"
	       "  --kvm-device FILE  instead of " PROBE_KVM_DEVICE "\n"
	       "  --ring3            instead: loops of 64-bit ring 3 beside the same on the host, in pairs\n");
}

int probe_main(int argc, char **argv)
{
	/* everything that is said of the device also goes into JSON, which is UTF-8 */
	static const char printable[] = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`"
					"abcdefghijklmnopqrstuvwxyz{|}~";
	struct probe_options o = {.effort = PROBE_FULL};
	const char *device = NULL;
	struct host_facts f;
	struct probe_verdict v;
	bool json = false, ring3 = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--quick") == 0) {
			o.effort = PROBE_QUICK;
		} else if (strcmp(argv[i], "--fresh") == 0) {
			o.fresh = true;
		} else if (strcmp(argv[i], "--patience") == 0 && i + 1 < argc) {
			char *end;
			unsigned long n = strtoul(argv[++i], &end, 10);

			if (*end || n < 1 || n > 100) {
				fprintf(stderr, "steelyard: --patience takes a number from 1 to 100\n");
				return EXIT_USAGE;
			}
			o.patience = (unsigned)n;
		} else if (strcmp(argv[i], "--ring3") == 0) {
			ring3 = true;
		} else if (strcmp(argv[i], "--kvm-device") == 0 && i + 1 < argc) {
			device = argv[++i];
			if (device[strspn(device, printable)]) {
				fprintf(stderr, "steelyard: --kvm-device takes a name of printable ASCII characters\n");
				return EXIT_USAGE;
			}
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			help();
			return 0;
		} else {
			fprintf(stderr,
				"steelyard: probe does not know '%s': \"steelyard probe --help\" lists its options\n",
				argv[i]);
			return EXIT_USAGE;
		}
	}
	probe_host_device(&f, device);
	if (ring3)
		return probe_ring3(&f);
	probe_verdict_for(&f, &o, &v);
	if (json)
		return print_json(&f, &v);
	probe_print(&f, &v);
	return 0;
}
