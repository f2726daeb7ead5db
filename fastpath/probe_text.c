/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The probe's answer for people: facts, the verdict, then a table for each kind of measurement. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fastpath/probe_int.h"

static void print_features(const struct host_facts *f)
{
	unsigned missing = 0;

	printf("features     ");
	for (unsigned i = 0; i < f->nfeatures; i++)
		if (f->feature[i].present)
			printf(" %s", f->feature[i].name);
	printf("\nmissing      ");
	for (unsigned i = 0; i < f->nfeatures; i++) {
		if (!f->feature[i].present) {
			printf(" %s", f->feature[i].name);
			missing++;
		}
	}
	puts(missing ? "" : " none of those looked for");
}

static void print_facts(const struct host_facts *f)
{
	char buf[PROBE_TEXT];

	printf("processor     %s (%s family %u model %u stepping %u), %u CPU%s\n", f->model, f->vendor, f->family,
	       f->model_number, f->stepping, f->cpus, f->cpus == 1 ? "" : "s");
	print_features(f);
	printf("virtual       VT-x %s, AMD-V %s, ", f->vmx ? "yes" : "no", f->svm ? "yes" : "no");
	if (f->hypervisor)
		printf("this host runs under a hypervisor (%s)\n",
		       f->hypervisor_name[0] ? f->hypervisor_name : "nameless");
	else
		printf("no hypervisor below\n");
	if (!probe_device_trouble(f, buf, sizeof(buf)))
		snprintf(buf, sizeof(buf), "%s opens, API version %d", f->kvm_device, f->kvm_api);
	printf("kvm           %s; module %s\n", buf, f->kvm_module[0] ? f->kvm_module : "none");
	printf("memory        %llu MiB, %llu MiB available\n", (unsigned long long)(f->memory_bytes >> 20),
	       (unsigned long long)(f->memory_free_bytes >> 20));
	printf("kernel        %s\n", f->kernel);
	printf("perf counters %s%s%s\n", f->perf_counters ? "yes" : "no (",
	       f->perf_counters ? "" : strerror(f->perf_errno), f->perf_counters ? "" : ")");
}

static void print_when(const struct probe_verdict *v)
{
	time_t at = (time_t)v->measured_at;
	char when[40] = "";
	struct tm tm;

	if (localtime_r(&at, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("measured      %s in %.2f s, %s%s%s\n", when, v->seconds, v->quick ? "quick" : "full",
	       probe_complete(v) ? "" : "; not all, the time was up",
	       v->cached ? "; from this boot's cache, --fresh measures again" : "");
}

static void print_modes(const struct probe_verdict *v)
{
	printf("\n%-14s %-12s %10s %10s  %s\n", "mode", "verdict", "ns/insn", "x host", "why");
	for (unsigned m = 0; m < PROBE_MODES; m++) {
		const struct probe_mode_result *r = &v->mode[m];

		printf("%-14s %-12s ", probe_modes[m].name, probe_level_name(r->level));
		if (r->runs)
			printf("%10.3g %10.*f  %s\n", r->ns_per_insn, r->ratio < 100 ? 2 : 0, r->ratio, r->reason);
		else
			printf("%10s %10s  %s\n", "-", "-", r->reason);
	}
	printf("%-14s %-12s %10.3g %10.2f\n", "the host", "", v->host_ns_per_insn, 1.0);
}

/* Rows without a result: some were not asked for, some came after the time was up. */
static void print_untried(unsigned not_asked, unsigned late)
{
	if (not_asked)
		printf("%u more are not part of --quick\n", not_asked);
	if (late)
		printf("%u more were not tried: the time was up\n", late);
}

static void print_items(const struct probe_verdict *v)
{
	static const char *const word[] = {"-", "holds", "FAILS", "n/a"};
	unsigned not_asked = 0, late = 0;

	printf("\n%-23s %-7s %s\n", "conformance", "", "evidence");
	for (unsigned i = 0; i < PROBE_ITEMS; i++) {
		if (v->item[i].outcome == PROBE_UNTRIED && v->quick && !probe_items[i].quick)
			not_asked++;
		else if (v->item[i].outcome == PROBE_UNTRIED && !v->item[i].evidence[0])
			late++;
		else
			printf("%-23s %-7s %s\n", probe_items[i].name, word[v->item[i].outcome], v->item[i].evidence);
	}
	print_untried(not_asked, late);
}

static void print_costs(const struct probe_verdict *v)
{
	unsigned not_asked = 0, late = 0;

	printf("\n%-23s %10s %10s  %s\n", "cost", "median us", "p95 us", "of");
	for (unsigned c = 0; c < PROBE_COSTS; c++) {
		const struct probe_cost_result *r = &v->cost[c];

		if (r->samples)
			printf("%-23s %10.2f %10.2f  %s\n", probe_costs[c].name, r->median_ns / 1e3, r->p95_ns / 1e3,
			       probe_costs[c].what);
		else if (r->evidence[0])
			printf("%-23s %10s %10s  %s: %s\n", probe_costs[c].name, "-", "-", probe_costs[c].what,
			       r->evidence);
		else if (v->quick && !probe_costs[c].quick)
			not_asked++;
		else
			late++;
	}
	print_untried(not_asked, late);
}

void probe_print(const struct host_facts *f, const struct probe_verdict *v)
{
	print_facts(f);
	printf("verdict       %s (vendor: %s): %s\n", probe_level_name(v->level), probe_vendor_name(v->vendor),
	       v->reason);
	printf("auto          %s: %s\n", probe_auto_path(v), v->auto_why);
	if (!v->measured)
		return;
	print_when(v);
	print_modes(v);
	print_items(v);
	print_costs(v);
}
