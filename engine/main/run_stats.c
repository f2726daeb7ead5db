/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The counters of a machine: rows of VCPU_COUNTERS summed over the vCPUs, CPU time by thread, wall time. */
#include "engine/main/run_stats.h"

#include <inttypes.h>
#include <jansson.h>

#include "engine/io.h"
#include "engine/run.h"
#include "engine/switch.h"
#include "engine/vm.h"
#include "fastpath/kvm.h"

struct counter {
	const char *name, *text;
	size_t offset;
};

static const struct counter counters[] = {
#define X(name, text) {#name, text, offsetof(struct vcpu_counters, name)},
	VCPU_COUNTERS(X)
#undef X
};

#define SWITCHES_SHOWN 16

static uint64_t counter_of(const struct vcpu *v, const struct counter *c)
{
	return *(const uint64_t *)((const char *)&v->count + c->offset);
}

static uint64_t counter_sum(const struct vm *vm, const struct counter *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < vm->ncpus; i++)
		sum += counter_of(vm->vcpu[i], c);
	return sum;
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static void print_probe(const struct run_context *c, FILE *f)
{
	const json_t *p = c->probe;

	fprintf(f, "path %s because: %s\n", c->path, c->path_why);
	if (p)
		fprintf(f, "KVM of this host: %s (vendor: %s): %s\n", json_string_value(json_object_get(p, "level")),
			json_string_value(json_object_get(p, "vendor")), json_string_value(json_object_get(p, "reason")));
}

#define KERNEL_STATS 128

static unsigned kernel_stats(struct vm *vm, struct kvm_kernel_stat *s)
{
	unsigned n = kvm_kernel_stats(vm, s, KERNEL_STATS);

	return n < KERNEL_STATS ? n : KERNEL_STATS;
}

static void print_kernel(struct vm *vm, FILE *f)
{
	struct kvm_kernel_stat s[KERNEL_STATS];
	const char *why, *chips = kvm_irqchip(vm, &why), *tsc;

	if (chips)
		fprintf(f, "interrupt controllers of kvm: %s (%s)\n", chips, why);
	if (kvm_doorbells(vm))
		fprintf(f, "%16u  doorbells of devices in the kernel\n", kvm_doorbells(vm));
	tsc = kvm_tsc(vm, &why);
	if (tsc)
		fprintf(f, "time stamp counter of kvm: %s (%s)\n", tsc, why);
	for (unsigned i = 0, n = kernel_stats(vm, s); i < n; i++)
		fprintf(f, "%16" PRIu64 "  KVM: %s%s\n", s[i].value, s[i].name, s[i].machine ? ", machine" : "");
}

void run_stats_print(struct vm *vm, const struct run_context *c, FILE *f)
{
	struct kvm_exit_count k;

	fprintf(f, "path %s, %u vCPU%s, %" PRIu64 "M of memory\n", c->path, vm->ncpus, vm->ncpus == 1 ? "" : "s",
		vm->mem.ram_bytes >> 20);
	print_probe(c, f);
	fprintf(f, "%14.3f s  wall time (and %.3f s to make the machine)\n", seconds(c->wall_ns), seconds(c->setup_ns));
	for (unsigned i = 0; i < vm->ncpus; i++)
		fprintf(f, "%14.3f s  CPU time of vCPU %u\n", seconds(run_cpu_ns(vm, i)), i);
	fprintf(f, "%14.3f s  CPU time of the I/O thread\n", seconds(io_cpu_ns(vm->io)));
	for (unsigned i = 0; i < ARRAY_LEN(counters); i++)
		fprintf(f, "%16" PRIu64 "  %s\n", counter_sum(vm, &counters[i]), counters[i].text);
	for (unsigned i = 0; kvm_exit_row(vm, i, &k); i++)
		fprintf(f, "%16" PRIu64 "  exits from kvm, %s, %.3f s outside\n", k.count, k.name, seconds(k.ns));
	if (kvm_inside_ns(vm))
		fprintf(f, "%14.3f s  inside KVM_RUN\n", seconds(kvm_inside_ns(vm)));
	print_kernel(vm, f);
	fprintf(f, "%16u  resets\n", vm->resets);
	fprintf(f, "%16" PRIu64 "  changes of path%s\n", switch_count(vm), switch_count(vm) > SWITCHES_SHOWN ? ", the latest:" : "");
	switch_print(vm, SWITCHES_SHOWN, f);
}

static json_t *json_count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *json_kvm(struct vm *vm)
{
	json_t *all = json_object(), *exits = json_object(), *machine = json_object(), *cpus = json_object();
	struct kvm_kernel_stat s[KERNEL_STATS];
	const char *why, *chips = kvm_irqchip(vm, &why), *tsc;
	struct kvm_exit_count k;

	json_object_set_new(all, "inside_s", json_real(seconds(kvm_inside_ns(vm))));
	for (unsigned i = 0; kvm_exit_row(vm, i, &k); i++)
		json_object_set_new(exits, k.name,
				    json_pack("{s:I,s:f}", "count", (json_int_t)k.count, "outside_s", seconds(k.ns)));
	json_object_set_new(all, "exits", exits);
	if (chips)
		json_object_set_new(all, "irqchip", json_pack("{s:s,s:s}", "whose", chips, "why", why));
	json_object_set_new(all, "doorbells", json_count(kvm_doorbells(vm)));
	tsc = kvm_tsc(vm, &why);
	if (tsc)
		json_object_set_new(all, "tsc", json_pack("{s:s,s:s}", "how", tsc, "why", why));
	for (unsigned i = 0, n = kernel_stats(vm, s); i < n; i++)
		json_object_set_new(s[i].machine ? machine : cpus, s[i].name, json_count(s[i].value));
	json_object_set_new(all, "kernel", json_pack("{s:o,s:o}", "machine", machine, "vcpus", cpus));
	return all;
}

static json_t *json_switches(struct vm *vm)
{
	uint64_t n = switch_count(vm);
	json_t *all = json_object(), *list = json_array();
	struct switch_event ev;

	json_object_set_new(all, "count", json_count(n));
	for (unsigned c = 0; c < SWITCH_CAUSES; c++)
		json_object_set_new(all, switch_cause_name((enum switch_cause)c),
				    json_count(switch_count_cause(vm, (enum switch_cause)c)));
	for (uint64_t seq = n > SWITCHES_SHOWN ? n - SWITCHES_SHOWN : 0; seq < n; seq++)
		if (switch_event(vm, seq, &ev))
			json_array_append_new(list, json_pack("{s:I,s:f,s:i,s:s,s:s,s:s,s:I,s:I,s:s}", "seq", (json_int_t)ev.seq, "at_s",
							      seconds(ev.at_ns), "vcpu", (int)ev.vcpu, "from",
							      vm->paths[ev.from]->name, "to", vm->paths[ev.to]->name, "cause",
							      switch_cause_name(ev.cause), "cs", (json_int_t)ev.cs, "rip",
							      (json_int_t)ev.rip, "why", ev.why));
	json_object_set_new(all, "latest", list);
	return all;
}

json_t *run_stats_counters(struct vm *vm)
{
	json_t *sum = json_object();

	for (unsigned i = 0; i < ARRAY_LEN(counters); i++)
		json_object_set_new(sum, counters[i].name, json_count(counter_sum(vm, &counters[i])));
	return sum;
}

static void add_stats(struct vm *vm, const struct run_context *c, json_t *root)
{
	json_t *cpus = json_array();

	json_object_set_new(root, "path", json_string(c->path));
	json_object_set_new(root, "path_why", json_string(c->path_why));
	/* a copy: references are counted by whichever thread prints */
	json_object_set_new(root, "probe", c->probe ? json_deep_copy(c->probe) : json_null());
	json_object_set_new(root, "vcpus", json_integer((json_int_t)vm->ncpus));
	json_object_set_new(root, "memory_bytes", json_count(vm->mem.ram_bytes));
	json_object_set_new(root, "setup_s", json_real(seconds(c->setup_ns)));
	json_object_set_new(root, "wall_s", json_real(seconds(c->wall_ns)));
	for (unsigned i = 0; i < vm->ncpus; i++)
		json_array_append_new(cpus, json_real(seconds(run_cpu_ns(vm, i))));
	json_object_set_new(root, "vcpu_cpu_s", cpus);
	json_object_set_new(root, "io_cpu_s", json_real(seconds(io_cpu_ns(vm->io))));
	json_object_set_new(root, "resets", json_integer((json_int_t)vm->resets));
	json_object_set_new(root, "counters", run_stats_counters(vm));
	if (vm->paths_begun & 1u << PATH_KVM)
		json_object_set_new(root, "kvm", json_kvm(vm));
	json_object_set_new(root, "switches", json_switches(vm));
}

json_t *run_stats_object(struct vm *vm, const struct run_context *c)
{
	json_t *root = json_object();

	add_stats(vm, c, root);
	return root;
}

void run_stats_json(struct vm *vm, const struct run_context *c, const char *outcome, int status, FILE *f)
{
	json_t *root = json_object();

	json_object_set_new(root, "outcome", json_string(outcome));
	json_object_set_new(root, "status", json_integer(status));
	if (vm->end_text[0])
		json_object_set_new(root, "text", json_string(vm->end_text));
	add_stats(vm, c, root);
	json_dumpf(root, f, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
	fputc('\n', f);
	json_decref(root);
}
