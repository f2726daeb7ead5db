// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the samples say. A sample counts when its checksum is the native one; a ratio pairs a path with the native runs of
 * the same block (the geometric mean of the two), so that drift of the host cancels. A sample without a time has a checksum
 * to compare, and no ratio.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/quick.h"

static double value(const struct eval_sample *s, enum metric m)
{
	return (double)(m == METRIC_CPU ? s->cpu_ns : s->wall_ns);
}

static bool is_slow(const struct eval *ev, unsigned p)
{
	return ev->path[p]->slow && ev->slow_scale != ev->scale;
}

/* The native sample of block b, number i (0 or 1), at the scale of path p; NULL past the last. */
static const struct eval_sample *native_sample(const struct eval *ev, unsigned b, bool slow, unsigned w, unsigned i)
{
	if (slow)
		return i ? NULL : &ev->native_slow[b].w[w];
	return i < 2 ? &ev->native[b][i].w[w] : NULL;
}

/* log of the native time; false when there is none. */
static bool native_log(const struct eval *ev, unsigned b, bool slow, unsigned w, enum metric m, double *log_ns)
{
	const struct eval_sample *s;
	double sum = 0;
	unsigned n = 0;

	for (unsigned i = 0; (s = native_sample(ev, b, slow, w, i)); i++) {
		if (!s->timed)
			continue;
		sum += log(value(s, m));
		n++;
	}
	*log_ns = n ? sum / n : 0;
	return n > 0;
}

/* What the processor computes, or NULL when no native run of the block has told. */
static const char *native_checksum(const struct eval *ev, unsigned b, bool slow, unsigned w)
{
	const struct eval_sample *s;

	for (unsigned i = 0; (s = native_sample(ev, b, slow, w, i)); i++)
		if (s->ok)
			return s->checksum;
	return NULL;
}

/* A result that is not known to be wrong. */
static bool has_result(const struct eval *ev, unsigned b, unsigned p, unsigned w)
{
	const struct eval_sample *s = &ev->path_run[b][p].w[w];
	const char *checksum = native_checksum(ev, b, is_slow(ev, p), w);

	return s->ok && checksum && !strcmp(s->checksum, checksum);
}

/* log(path / native) in one block. */
static bool block_log(const struct eval *ev, unsigned b, unsigned p, unsigned w, enum metric m, double *out)
{
	const struct eval_sample *s = &ev->path_run[b][p].w[w];
	double native;

	if (!s->timed || !has_result(ev, b, p, w) || !native_log(ev, b, is_slow(ev, p), w, m, &native))
		return false;
	*out = log(value(s, m)) - native;
	return true;
}

struct stats_ratio analysis_ratio(const struct eval *ev, unsigned p, unsigned w, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		n += block_log(ev, b, p, w, m, &logs[n]);
	return stats_ratio(logs, n);
}

static bool in_group(const struct eval *ev, unsigned w, const struct eval_group *g)
{
	return !g || workload_group(ev->workload[w]) == g;
}

bool analysis_group_used(const struct eval *ev, const struct eval_group *g)
{
	for (unsigned w = 0; w < ev->nworkloads; w++)
		if (in_group(ev, w, g))
			return true;
	return false;
}

/* The mean of the logs of path p in one block: of native for q < 0, else of path q. false when a workload has none. */
static bool mean_log(const struct eval *ev, unsigned b, unsigned p, int q, const struct eval_group *g, enum metric m,
		     double *out)
{
	double sum = 0, lp, lq = 0;
	unsigned n = 0;

	for (unsigned w = 0; w < ev->nworkloads; w++) {
		if (!in_group(ev, w, g))
			continue;
		if (!block_log(ev, b, p, w, m, &lp) || (q >= 0 && !block_log(ev, b, (unsigned)q, w, m, &lq)))
			return false;
		sum += lp - lq;
		n++;
	}
	*out = n ? sum / n : 0;
	return n > 0;
}

static bool all_results(const struct eval *ev, unsigned b, unsigned p, const struct eval_group *g)
{
	for (unsigned w = 0; w < ev->nworkloads; w++)
		if (in_group(ev, w, g) && !has_result(ev, b, p, w))
			return false;
	return true;
}

struct stats_ratio analysis_suite(const struct eval *ev, unsigned p, const struct eval_group *g, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++) {
		if (!ev->path_run[b][p].ran)
			continue;
		if (!all_results(ev, b, p, g)) /* a failed workload leaves no mean to quote */
			return stats_ratio(logs, 0);
		n += mean_log(ev, b, p, -1, g, m, &logs[n]);
	}
	return stats_ratio(logs, n);
}

struct stats_ratio analysis_versus(const struct eval *ev, unsigned p, unsigned q, const struct eval_group *g,
				   enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		n += mean_log(ev, b, p, (int)q, g, m, &logs[n]);
	return stats_ratio(logs, n);
}

static bool control_log(const struct eval *ev, unsigned b, unsigned w, enum metric m, double *out)
{
	const struct eval_sample *x = &ev->native[b][0].w[w], *y = &ev->native[b][1].w[w];

	if (!x->timed || !y->timed)
		return false;
	*out = log(value(y, m)) - log(value(x, m));
	return true;
}

struct stats_ratio analysis_control(const struct eval *ev, unsigned w, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		n += control_log(ev, b, w, m, &logs[n]);
	return stats_ratio(logs, n);
}

struct stats_ratio analysis_control_suite(const struct eval *ev, const struct eval_group *g, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++) {
		double sum = 0, l;
		unsigned count = 0;
		bool whole = true;

		for (unsigned w = 0; w < ev->nworkloads && whole; w++) {
			if (!in_group(ev, w, g))
				continue;
			whole = control_log(ev, b, w, m, &l);
			sum += l;
			count++;
		}
		if (whole && count)
			logs[n++] = sum / count;
	}
	return stats_ratio(logs, n);
}

double analysis_resolution(const struct eval *ev)
{
	struct stats_ratio c = analysis_control_suite(ev, NULL, METRIC_CPU);

	return c.n < 2 ? 0 : fmax(0.01, fmax(c.hi - 1, 1 - c.lo));
}

static bool boot_log(const struct eval *ev, unsigned b, unsigned p, enum metric m, double *out)
{
	const struct eval_run *r = &ev->path_run[b][p];
	uint64_t ns = m == METRIC_CPU ? r->boot_cpu_ns : r->boot_wall_ns;

	*out = ns ? log((double)ns * 1e-9) : 0;
	return ns > 0;
}

struct stats_ratio analysis_boot(const struct eval *ev, unsigned p, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		n += boot_log(ev, b, p, m, &logs[n]);
	return stats_ratio(logs, n);
}

struct stats_ratio analysis_boot_versus(const struct eval *ev, unsigned p, unsigned q, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS], lp, lq;
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		if (boot_log(ev, b, p, m, &lp) && boot_log(ev, b, q, m, &lq))
			logs[n++] = lp - lq;
	return stats_ratio(logs, n);
}

struct stats_ratio analysis_memory(const struct eval *ev, unsigned p)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		if (ev->path_run[b][p].over_ram_kb)
			logs[n++] = log((double)ev->path_run[b][p].over_ram_kb / 1024);
	return stats_ratio(logs, n);
}

double analysis_native_ms(const struct eval *ev, unsigned w, enum metric m)
{
	double logs[EVAL_MAX_BLOCKS];
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		n += native_log(ev, b, false, w, m, &logs[n]);
	return stats_ratio(logs, n).ratio * 1e-6;
}

bool analysis_checksum_differs(const struct eval *ev, unsigned p, unsigned w)
{
	for (unsigned b = 0; b < ev->nblocks; b++)
		if (ev->path_run[b][p].w[w].ok && native_checksum(ev, b, is_slow(ev, p), w) && !has_result(ev, b, p, w))
			return true;
	return false;
}

bool analysis_path_empty(const struct eval *ev, unsigned p)
{
	for (unsigned b = 0; b < ev->nblocks; b++) {
		const struct eval_run *r = &ev->path_run[b][p];

		if (r->boot_wall_ns)
			return false;
		for (unsigned w = 0; w < ev->nworkloads; w++)
			if (r->w[w].ok)
				return false;
	}
	return true;
}

const char *analysis_path_failure(const struct eval *ev, unsigned p)
{
	for (unsigned b = 0; b < ev->nblocks; b++)
		if (ev->path_run[b][p].ran && !ev->path_run[b][p].ok)
			return ev->path_run[b][p].why;
	return NULL;
}

unsigned analysis_clock_disagreements(const struct eval *ev)
{
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++)
		for (unsigned p = 0; p < ev->npaths; p++)
			for (unsigned w = 0; w < ev->nworkloads; w++) {
				const struct eval_sample *s = &ev->path_run[b][p].w[w];
				int64_t diff = (int64_t)(s->guest_wall_ns - s->wall_ns);

				if (s->timed && s->guest_wall_ns && llabs(diff) > 1000000 &&
				    (uint64_t)llabs(diff) > s->wall_ns / 200)
					n++;
			}
	return n;
}

static unsigned run_untimed(const struct eval *ev, const struct eval_run *r)
{
	unsigned n = 0;

	for (unsigned w = 0; w < ev->nworkloads; w++)
		n += r->w[w].ok && !r->w[w].timed;
	return n;
}

unsigned analysis_untimed(const struct eval *ev)
{
	unsigned n = 0;

	for (unsigned b = 0; b < ev->nblocks; b++) {
		n += run_untimed(ev, &ev->native[b][0]) + run_untimed(ev, &ev->native[b][1]) +
		     run_untimed(ev, &ev->native_slow[b]);
		for (unsigned p = 0; p < ev->npaths; p++)
			n += run_untimed(ev, &ev->path_run[b][p]);
	}
	return n;
}

const char *analysis_class(const struct stats_ratio *r)
{
	static const struct {
		double bound;
		const char *name;
	} class[] = {{1.05, "near-native"}, {1.25, "within 1.25"}, {2, "within 2"}};

	if (r->n < 2)
		return "-";
	for (unsigned i = 0; i < sizeof(class) / sizeof(class[0]); i++)
		if (r->upper <= class[i].bound)
			return class[i].name;
	return "over 2";
}
