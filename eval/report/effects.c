// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every ratio is made the same way. Levels as they were sampled (Kalibera & Jones 2013): executions in an item of the plan, items in
 * a block, blocks. An item - one machine, or one native pass - gives the median logarithm of its executions, so that one that a
 * neighbour of the host fell upon has no say; a side of a block gives the mean of its items; the block's value is one side less the
 * other. Medians, unlike means, of different numbers of executions differ where noise is skewed: items of both sides have as many.
 * Blocks are the units of Student's interval, blocks and items those of the bootstrap. Drift of the host is in both sides
 * of a block and cancels.
 *
 * The geometric mean of a group needs every one of its workloads: one that failed in any block disables it and is named
 * (Fleming & Wallace 1986; leaving failures out would reward them). A block in which one was merely too short to be timed is
 * left out.
 */
#include "eval/report/effects.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NATIVE_TWICE (1u << PASS_0 | 1u << PASS_1)

double sample_value(const struct results_sample *s, enum results_metric m)
{
	return m == METRIC_CPU ? s->cpu_ns : s->wall_ns;
}

/* ---- collecting ---- */

/* The logarithms of one workload on both sides, block by block. */
struct collected {
	struct boot_block *block;
	unsigned *id; /* of the block */
	unsigned n;
	double *values; /* what block[] points into */
};

static bool on_side(const struct results_sample *s, const struct effect_side *side)
{
	if (s->path != side->path || s->phase != side->phase || s->pilot)
		return false;
	return side->path != RESULTS_NATIVE || ((side->passes >> s->pass & 1) && s->cpus == side->cpus);
}

static bool counts(const struct results_sample *s)
{
	return s->valid && s->timed;
}

/* The work that a path did: its samples' scale. 0: no sample. */
static unsigned scale_of(const struct results *r, const struct effect_side *side, unsigned workload)
{
	for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++) {
		const struct results_sample *s = &r->sample[r->by_workload[i]];

		if (on_side(s, side) && counts(s))
			return s->scale;
	}
	return 0;
}

/* The median of each item's executions. Samples of an item have one order, and stand together. */
static unsigned take_side(const struct results *r, const struct effect_side *side, unsigned workload, unsigned scale,
			  unsigned block, enum results_metric m, double *out)
{
	unsigned n = 0, from = 0, count = 0, order = 0;

	/* out[from..] holds the executions of the item that is being read; out[0..n - 1] is done, and n <= from */
	for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++) {
		const struct results_sample *s = &r->sample[r->by_workload[i]];

		if (s->block != block || s->scale != scale || !on_side(s, side) || !counts(s))
			continue;
		if (count && s->order != order) {
			out[n++] = stats_median(out + from, count);
			from = n;
			count = 0;
		}
		order = s->order;
		out[from + count++] = log(sample_value(s, m));
	}
	if (count)
		out[n++] = stats_median(out + from, count);
	return n;
}

static void collected_free(struct collected *c)
{
	free(c->block);
	free(c->id);
	free(c->values);
}

static struct collected collect(const struct results *r, const struct effect_side *a, const struct effect_side *b,
				unsigned workload, enum results_metric m)
{
	unsigned scale = scale_of(r, a, workload), total = 0;
	struct collected c = {0};
	double *at;

	for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++)
		total += on_side(&r->sample[r->by_workload[i]], a) || on_side(&r->sample[r->by_workload[i]], b);
	if (!scale || !total)
		return c;
	c.block = malloc(r->nblocks * sizeof(*c.block));
	c.id = malloc(r->nblocks * sizeof(*c.id));
	c.values = at = malloc(2 * total * sizeof(*c.values));
	if (!c.block || !c.id || !c.values)
		return c;
	for (unsigned k = 0; k < r->nblocks; k++) {
		unsigned na = take_side(r, a, workload, scale, k, m, at),
			 nb = na ? take_side(r, b, workload, scale, k, m, at + na) : 0;

		if (!nb)
			continue;
		c.block[c.n] = (struct boot_block){at, at + na, na, nb};
		c.id[c.n++] = k;
		at += na + nb;
	}
	return c;
}

static double block_log(const struct collected *c, unsigned k)
{
	return stats_mean(c->block[k].path, c->block[k].npath) - stats_mean(c->block[k].native, c->block[k].nnative);
}

/* ---- one workload ---- */

static uint64_t seed_of(const struct results *r, const struct effect_side *a, unsigned workload, enum results_metric m)
{
	return r->seed * 1000003 + (uint64_t)(a->path + 2) * 10007 + workload * 101 + (uint64_t)a->phase * 7 + m +
	       a->passes * 31;
}

static struct effect effect_of(const struct results *r, const struct effect_side *a, const struct effect_side *b,
			       unsigned workload, enum results_metric m)
{
	struct collected c = collect(r, a, b, workload, m);
	double *logs = c.n ? malloc(c.n * sizeof(*logs)) : NULL, pa = 0, pb = 0;
	struct effect e = {.p = 1};

	for (unsigned k = 0; logs && k < c.n; k++) {
		logs[k] = block_log(&c, k);
		pa += stats_mean(c.block[k].path, c.block[k].npath) / c.n;
		pb += stats_mean(c.block[k].native, c.block[k].nnative) / c.n;
	}
	if (logs) {
		e.t = stats_ratio(logs, c.n);
		e.boot = bootstrap_ratio(c.block, c.n, BOOTSTRAP_RESAMPLES, seed_of(r, a, workload, m));
		e.p = stats_p_value(logs, c.n, 1);
		e.path_ns = exp(pa);
		e.native_ns = exp(pb);
	}
	for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++) {
		const struct results_sample *s = &r->sample[r->by_workload[i]];

		e.wrong |= on_side(s, a) && s->ok && !s->valid;
	}
	free(logs);
	collected_free(&c);
	return e;
}

static struct effect_side side_of(const struct results *r, int path, enum results_phase phase)
{
	struct effect_side s = {
		.path = path, .phase = phase, .passes = NATIVE_TWICE, .cpus = path < 0 ? 1 : r->path[path].cpus};

	return s;
}

/* What path is compared with: native in the same phase; where native has no such phase, in the other. */
static struct effect_side native_for(const struct results *r, int path, enum results_phase phase)
{
	struct effect_side s = side_of(r, path, phase);

	s.path = RESULTS_NATIVE;
	s.passes = NATIVE_TWICE | (path >= 0 && r->path[path].slow ? 1u << PASS_SLOW : 0);
	return s;
}

struct effect effect_workload(const struct results *r, int path, unsigned workload, enum results_phase phase,
			      enum results_metric m)
{
	struct effect_side a = side_of(r, path, phase), b = native_for(r, path, phase);

	return effect_of(r, &a, &b, workload, m);
}

struct effect effect_warmup(const struct results *r, int path, unsigned workload, enum results_metric m)
{
	struct effect_side a = side_of(r, path, PHASE_COLD), b = side_of(r, path, PHASE_STEADY);

	return effect_of(r, &a, &b, workload, m);
}

bool effect_has(const struct results *r, int path, int workload, enum results_phase phase)
{
	for (unsigned i = 0; i < r->nsamples; i++) {
		const struct results_sample *s = &r->sample[i];

		if (s->path == path && s->phase == phase && !s->pilot &&
		    (workload < 0 || s->workload == (unsigned)workload))
			return true;
	}
	return false;
}

unsigned effect_scale(const struct results *r, int path, unsigned workload, enum results_phase phase)
{
	struct effect_side a = side_of(r, path, phase);

	return scale_of(r, &a, workload);
}

unsigned effect_blocks(const struct results *r, int path, unsigned workload, enum results_phase phase,
		       enum results_metric m, double *logs, unsigned max)
{
	struct effect_side a = side_of(r, path, phase), b = native_for(r, path, phase);
	struct collected c = collect(r, &a, &b, workload, m);
	unsigned n = r->nblocks < max ? r->nblocks : max;

	for (unsigned k = 0; k < n; k++)
		logs[k] = NAN;
	for (unsigned k = 0; k < c.n; k++)
		if (c.id[k] < n)
			logs[c.id[k]] = block_log(&c, k);
	collected_free(&c);
	return n;
}

/* ---- groups ---- */

/* Does side a have a sample of it that failed, or none at all where others of the path have some? */
static bool has_failed(const struct results *r, const struct effect_side *a, unsigned workload)
{
	bool any = false;

	for (unsigned i = r->first[workload]; i < r->first[workload + 1]; i++) {
		const struct results_sample *s = &r->sample[r->by_workload[i]];

		if (!on_side(s, a))
			continue;
		any = true;
		if (!s->valid)
			return true;
	}
	return !any;
}

static void note_failure(struct effect *e, unsigned workload)
{
	if (e->nfailed < sizeof(e->failed) / sizeof(e->failed[0]))
		e->failed[e->nfailed] = (int)workload;
	e->nfailed++;
}

static struct effect group_of(const struct results *r, const struct effect_side *a, const struct effect_side *b,
			      const char *group, enum results_metric m)
{
	double *sum = calloc(r->nblocks + 1, sizeof(*sum));
	unsigned *have = calloc(r->nblocks + 1, sizeof(*have)), workloads = 0, n = 0;
	struct effect e = {.p = 1};

	for (unsigned w = 0; sum && have && w < r->nworkloads; w++) {
		if (!results_in_group(r, w, group))
			continue;
		workloads++;
		if (has_failed(r, a, w)) {
			note_failure(&e, w);
			continue;
		}
		struct collected c = collect(r, a, b, w, m);

		for (unsigned k = 0; k < c.n; k++) {
			sum[c.id[k]] += block_log(&c, k);
			have[c.id[k]]++;
		}
		collected_free(&c);
	}
	/* a path that ran nothing has no list of failures: it has a reason of its own */
	if (e.nfailed == workloads)
		e.nfailed = 0;
	else if (!e.nfailed && sum && have) {
		for (unsigned k = 0; k < r->nblocks; k++)
			if (workloads && have[k] == workloads)
				sum[n++] = sum[k] / workloads;
		e.t = stats_ratio(sum, n);
		e.boot = bootstrap_logs(sum, n, BOOTSTRAP_RESAMPLES, seed_of(r, a, (unsigned)group[0] + 64, m));
		e.p = stats_p_value(sum, n, 1);
	}
	free(sum);
	free(have);
	return e;
}

struct effect effect_group(const struct results *r, int path, const char *group, enum results_phase phase,
			   enum results_metric m)
{
	struct effect_side a = side_of(r, path, phase), b = native_for(r, path, phase);

	return group_of(r, &a, &b, group, m);
}

struct effect effect_control(const struct results *r, int workload, const char *group, unsigned cpus,
			     enum results_phase phase, enum results_metric m)
{
	struct effect_side a = {RESULTS_NATIVE, 1u << PASS_1, cpus, phase},
			   b = {RESULTS_NATIVE, 1u << PASS_0, cpus, phase};

	return workload >= 0 ? effect_of(r, &a, &b, (unsigned)workload, m) : group_of(r, &a, &b, group, m);
}

struct effect effect_inject(const struct results *r, int workload, const char *group, enum results_phase phase,
			    enum results_metric m)
{
	struct effect_side a = {RESULTS_NATIVE, 1u << PASS_INJECT, 1, phase},
			   b = {RESULTS_NATIVE, NATIVE_TWICE, 1, phase};

	return workload >= 0 ? effect_of(r, &a, &b, (unsigned)workload, m) : group_of(r, &a, &b, group, m);
}

struct effect effect_versus(const struct results *r, int p, int q, const char *group, enum results_phase phase,
			    enum results_metric m)
{
	struct effect_side a = side_of(r, p, phase), b = side_of(r, q, phase);

	return group_of(r, &a, &b, group, m);
}

/* ---- boots ---- */

static double boot_value(const struct results_boot *b, enum boot_figure f)
{
	switch (f) {
	case BOOT_CPU:
		return b->cpu_ns * 1e-9;
	case BOOT_WALL:
		return b->wall_ns * 1e-9;
	case BOOT_START:
		return b->start_ns * 1e-9;
	case BOOT_KERNEL:
		return b->kernel_ns * 1e-9;
	case BOOT_INIT:
		return b->init_ns * 1e-9;
	default:
		return b->over_ram_kb / 1024;
	}
}

struct stats_ratio effect_boot(const struct results *r, int path, enum boot_figure f)
{
	double *sum = calloc(r->nblocks + 1, sizeof(*sum));
	unsigned *have = calloc(r->nblocks + 1, sizeof(*have)), n = 0;
	struct stats_ratio out = {0};

	/* several boots of one block are one value */
	for (unsigned i = 0; sum && have && i < r->nboots; i++) {
		const struct results_boot *b = &r->boot[i];
		double v = boot_value(b, f);

		if (b->path != path || !b->ok || b->pilot || !(v > 0))
			continue;
		sum[b->block] += log(v);
		have[b->block]++;
	}
	if (sum && have) {
		for (unsigned k = 0; k < r->nblocks; k++)
			if (have[k])
				sum[n++] = sum[k] / have[k];
		out = stats_ratio(sum, n);
	}
	free(sum);
	free(have);
	return out;
}
