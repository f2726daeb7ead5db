// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * T(path) - T(native) = sum of parts + residual, in CPU time.
 *
 * bt says where its vCPU threads spend their time: `run --sample` looks at them a thousand times a second and charges the CPU
 * time since the last look to the kind of code that it finds (translator/bt_sample.c). Copied guest instructions are the
 * guest's own work and no part; what they take more than natively - longer code in the same caches - is the residual. Threads
 * beside the vCPUs are a part, measured by the kernel's clocks.
 *
 * Natively a system call runs the host's kernel, here the guest's: other code, on other page tables, with other defences against
 * speculation. The difference of the two, copied kernel code here less kernel time there, is a part of its own, and negative
 * where the guest's kernel has the easier way.
 *
 * The residual may be negative: a processor executes what the translator added beside the guest's own instructions, and a sample
 * that finds the one could as well have found the other. Then the parts are more than the overhead. "explained" counts that as
 * an error of theirs as large as time that nobody saw; "covered" only counts time that no part accounts for. Time of a vCPU thread
 * that no sample saw is neither explained nor covered. A path that is not sampled has no parts but its other threads.
 *
 * KVM's exits have been timed where they were served.
 *
 * The cross-check knows nothing of that: it multiplies counts of events with what one costs more on this path than natively, by
 * the machine micro suite of the same run. It can only see what has a counter.
 */
#include "eval/report/overhead.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/stats.h"

enum { PART_KERNELS = 8, PART_KERNEL = 10, PART_IO = 11, PART_EXITS = 12, PART_UNSEEN = 13 };
static const struct overhead_part parts[] = {
	{"check", "memory checks", "windows, groups and the soft TLB, checked in line before an access",
	 "sample_check"},
	{"flags", "flags", "arithmetic flags saved around checks", "sample_flags"},
	{"spill", "spilled registers", "R14 and R15, which live in memory", "sample_spill"},
	{"jump", "jumps", "indirect jumps, calls and returns through the jump cache, links between pages",
	 "sample_jump"},
	{"fill", "memory misses", "windows filled, page tables walked, TLBs flushed", "sample_fill"},
	{"dispatch", "dispatch", "into and out of translated code, blocks looked up, events looked for",
	 "sample_dispatch"},
	{"translate", "translation", "decoding, emitting, code made invalid", "sample_translate"},
	{"interp", "interpreter", "instructions that C functions execute, exceptions and interrupts delivered",
	 "sample_interp"},
	{"kernels", "kernel for kernel", "copied code of the guest's kernel, less the time of native in the host's",
	 NULL},
	{"device", "devices", "ports and device memory, on the vCPU's thread", "sample_device"},
	{"kernel", "host kernel", "system calls of the vCPU's thread: waiting, signals, memory", "sample_kernel"},
	{"io", "other threads", "device threads and all others of the process", NULL},
	{"exits", "KVM exits", "from the exit until the vCPU was back inside", NULL},
	{"unseen", "not sampled", "CPU time of vCPU threads that no sample saw: starts and ends of threads", NULL},
};
_Static_assert(sizeof(parts) / sizeof(parts[0]) == OVERHEAD_PARTS, "parts");

static const struct overhead_estimate estimates[] = {
	{"device", "io_reads", "port_in"},
	{"device", "io_writes", "port_out"},
	{"device", "mmio_reads", "mmio_read"},
	{"device", "mmio_writes", "mmio_write"},
	{"fill", "tlb_flushes", "cr3_write"},
	{"fill", "tlb_fills", "tlb_evict"},
	{"translate", "bt_blocks", "codegen_small"},
	{"translate", "bt_smc", "codegen_self"},
	{"jump", "bt_indirect_misses", "call_indirect"},
	{"interp", "exceptions", "page_fault"},
	{"interp", "interrupts", "ipi_self"},
	{"interp", "halts", "ipi_hlt"},
};

const struct overhead_part *overhead_part_at(unsigned i)
{
	return i < OVERHEAD_PARTS ? &parts[i] : NULL;
}

const struct overhead_estimate *overhead_estimate_at(unsigned i)
{
	return i < sizeof(estimates) / sizeof(estimates[0]) ? &estimates[i] : NULL;
}

static double cost_figure(const struct results_cost *c, enum cost_figure f)
{
	const double v[] = {c->p50, c->p95, c->p99, c->min, c->mean};

	return v[f];
}

double cost_of(const struct results *r, int path, const char *item, enum cost_figure f)
{
	double *v = malloc((r->ncosts + 1) * sizeof(*v)), m;
	unsigned n = 0;

	for (unsigned i = 0; v && i < r->ncosts; i++) {
		const struct results_cost *c = &r->cost[i];

		if (c->path == path && c->ok && !strcmp(c->item, item) && cost_figure(c, f) > 0)
			v[n++] = cost_figure(c, f);
	}
	m = v ? stats_median(v, n) : 0;
	free(v);
	return m;
}

static double counter(const struct results_sample *s, const char *name)
{
	return json_number_value(json_object_get(s->counters, name)) / s->repeat;
}

static double exits_ns(const struct results_sample *s)
{
	double sum = 0;
	const char *key;
	json_t *e;

	json_object_foreach(s->exits, key, e) sum += json_number_value(json_object_get(e, "ns"));
	return sum / s->repeat;
}

static void add_sample(const struct results *r, struct overhead *o, const struct results_sample *s)
{
	double seen = 0, copy, inside = 0;
	bool sampled;

	copy = counter(s, "sample_copy") + counter(s, "sample_copy_kernel");
	for (unsigned i = 0; i < OVERHEAD_PARTS; i++)
		seen += parts[i].counters ? counter(s, parts[i].counters) : 0;
	sampled = seen + copy > 0; /* other paths have the counters, and leave them at 0 */
	o->n++;
	o->path_ns += s->cpu_ns;
	o->sampled |= sampled || s->exits;
	for (unsigned i = 0; sampled && i < OVERHEAD_PARTS; i++)
		o->part_ns[i] += parts[i].counters ? counter(s, parts[i].counters) : 0;
	if (sampled) {
		/* hybrid: a system call of the host's in which the guest's own code ran */
		inside = fmin(counter(s, "hybrid_inside_us") * 1e3, counter(s, parts[PART_KERNEL].counters));
		o->part_ns[PART_KERNEL] -= inside;
		o->copy_ns += copy + inside;
		o->copy_kernel_ns += counter(s, "sample_copy_kernel");
		/* a look charges the time since the last one: one side of a marker may have a part of the other's */
		if (s->vcpu_ns > seen + copy)
			o->part_ns[PART_UNSEEN] += s->vcpu_ns - seen - copy;
	}
	if (s->vcpu_ns > 0)
		o->part_ns[PART_IO] += s->io_ns + s->other_ns;
	o->part_ns[PART_EXITS] += s->exits ? exits_ns(s) : 0;
	for (unsigned i = 0; s->counters && i < sizeof(estimates) / sizeof(estimates[0]); i++) {
		const struct overhead_estimate *e = &estimates[i];
		double each = cost_of(r, s->path, e->item, COST_P50) - cost_of(r, RESULTS_NATIVE, e->item, COST_P50);

		for (unsigned k = 0; each > 0 && k < OVERHEAD_PARTS; k++)
			if (!strcmp(parts[k].key, e->part))
				o->estimate_ns[k] += each * counter(s, e->counter);
	}
}

static void conclude(struct overhead *o)
{
	double known = 0;

	o->over_ns = o->path_ns - o->native_ns;
	for (unsigned i = 0; i < OVERHEAD_PARTS; i++) {
		if (!o->sampled && !parts[i].counters)
			known += o->part_ns[i];
		else
			known += o->sampled ? o->part_ns[i] : o->estimate_ns[i];
	}
	o->residual_ns = o->over_ns - known;
	o->small = o->over_ns < OVERHEAD_SMALL * o->native_ns;
	/* what no sample saw has a place, but no explanation */
	o->explained = o->over_ns > 0 ? 1 - (fabs(o->residual_ns) + o->part_ns[PART_UNSEEN]) / o->over_ns : 0;
	o->covered = o->over_ns > 0 ? 1 - (fmax(o->residual_ns, 0) + o->part_ns[PART_UNSEEN]) / o->over_ns : 0;
}

struct overhead overhead_workload(const struct results *r, int path, unsigned workload, enum results_phase phase)
{
	struct overhead o = {0};

	if (path < 0)
		return o;
	for (unsigned b = 0; b < r->nblocks; b++) {
		struct overhead here = {0};
		double native = 0, sys = 0;
		unsigned nn = 0, nsys = 0, scale = 0;

		for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++) {
			const struct results_sample *s = &r->sample[r->by_workload[i]];

			if (s->block == b && s->path == path && s->phase == phase && s->valid && s->timed &&
			    !s->pilot) {
				add_sample(r, &here, s);
				scale = s->scale;
			}
		}
		for (unsigned i = r->first[workload]; here.n && i < r->first[workload + 1]; i++) {
			const struct results_sample *s = &r->sample[r->by_workload[i]];

			if (s->block == b && s->path == RESULTS_NATIVE && s->phase == phase && s->valid && s->timed &&
			    !s->pilot && s->pass <= PASS_SLOW && s->scale == scale && s->cpus == r->path[path].cpus) {
				native += s->cpu_ns;
				nn++;
				sys += s->sys_ns >= 0 ? s->sys_ns : 0;
				nsys += s->sys_ns >= 0;
			}
		}
		if (!nn)
			continue;
		/* one block, one weight: means over its samples */
		o.n++;
		o.path_ns += here.path_ns / here.n;
		o.copy_ns += here.copy_ns / here.n;
		o.native_ns += native / nn;
		o.sampled |= here.sampled;
		if (here.sampled && nsys == nn)
			o.part_ns[PART_KERNELS] += here.copy_kernel_ns / here.n - sys / nn;
		for (unsigned i = 0; i < OVERHEAD_PARTS; i++) {
			o.part_ns[i] += here.part_ns[i] / here.n;
			o.estimate_ns[i] += here.estimate_ns[i] / here.n;
		}
	}
	if (!o.n)
		return o;
	o.path_ns /= o.n;
	o.native_ns /= o.n;
	o.copy_ns /= o.n;
	for (unsigned i = 0; i < OVERHEAD_PARTS; i++) {
		o.part_ns[i] /= o.n;
		o.estimate_ns[i] /= o.n;
	}
	conclude(&o);
	return o;
}

struct overhead overhead_group(const struct results *r, int path, const char *group, enum results_phase phase)
{
	struct overhead sum = {0};
	double residuals = 0, uncovered = 0;

	for (unsigned w = 0; w < r->nworkloads; w++) {
		struct overhead o;

		if (!results_in_group(r, w, group))
			continue;
		o = overhead_workload(r, path, w, phase);
		if (!o.n || o.small)
			continue;
		sum.n++;
		sum.sampled |= o.sampled;
		sum.path_ns += o.path_ns;
		sum.native_ns += o.native_ns;
		sum.over_ns += o.over_ns;
		sum.copy_ns += o.copy_ns;
		sum.residual_ns += o.residual_ns;
		residuals += fabs(o.residual_ns) + o.part_ns[PART_UNSEEN];
		uncovered += fmax(o.residual_ns, 0) + o.part_ns[PART_UNSEEN];
		for (unsigned i = 0; i < OVERHEAD_PARTS; i++) {
			sum.part_ns[i] += o.part_ns[i];
			sum.estimate_ns[i] += o.estimate_ns[i];
		}
	}
	sum.explained = sum.over_ns > 0 ? 1 - residuals / sum.over_ns : 0;
	sum.covered = sum.over_ns > 0 ? 1 - uncovered / sum.over_ns : 0;
	return sum;
}
