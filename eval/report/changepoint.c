// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * PELT (Killick, Fearnhead & Eckley 2012): the best segmentation by squared distance from the segment's mean, with a price
 * for each change. The noise is measured from differences of neighbours, which a change of level touches once only, so the
 * price does not depend on the levels; it is 4 log n times the variance, with which independent normal noise is cut in fewer
 * than one of fifty series. Segments have at least two values. Outliers (Tukey's fences around the
 * neighbours) are replaced by the median of those before the search, as Krun does: one visit of another process is no level.
 *
 * Two segments are the same level when their means differ by less than the larger of the noise and one percent.
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/changepoint.h"
#include "eval/report/stats.h"

#define WINDOW 9 /* values around one that say whether it is an outlier */
#define MIN_SEGMENT 2u

static const char *const names[] = {"too short", "flat", "warm-up", "slowdown", "no steady state"};

const char *series_class_name(enum series_class c)
{
	return names[c];
}

struct search {
	unsigned n;
	double *x;          /* without outliers */
	double *sum, *sum2; /* of x[0..i-1], centred */
	double *best;       /* price of the best segmentation of x[0..i-1] */
	unsigned *from;     /* where its last segment begins */
	unsigned *candidate;
	double penalty;
};

static double cost(const struct search *s, unsigned from, unsigned to)
{
	double sum = s->sum[to] - s->sum[from], c = s->sum2[to] - s->sum2[from] - sum * sum / (to - from);

	return c > 0 ? c : 0;
}

static unsigned smooth(const double *x, unsigned n, double *out)
{
	unsigned outliers = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned from = i < WINDOW / 2 ? 0 : i - WINDOW / 2, to, m = 0;
		double near[WINDOW], q1, q3, fence;

		if (from + WINDOW > n)
			from = n > WINDOW ? n - WINDOW : 0;
		to = from + WINDOW < n ? from + WINDOW : n;
		for (unsigned k = from; k < to; k++)
			near[m++] = x[k];
		stats_sort(near, m);
		q1 = stats_sorted_quantile(near, m, 0.25);
		q3 = stats_sorted_quantile(near, m, 0.75);
		fence = 3 * fmax(q3 - q1, 0.01 * fabs(near[m / 2]));
		out[i] = x[i];
		/* the first value is the cold one, and a level of its own begins with one value that is far from those before */
		if (i > 0 && i + 1 < n && (x[i] < q1 - fence || x[i] > q3 + fence)) {
			double other = stats_sorted_quantile(near, m, 0.5);

			if (fabs(x[i] - x[i - 1]) > fence && fabs(x[i] - x[i + 1]) > fence) {
				out[i] = other;
				outliers++;
			}
		}
	}
	return outliers;
}

/* Standard deviation of the noise: differences of neighbours have twice its variance, and their median is not impressed by
 * the few that span a change. */
static double noise(const double *x, unsigned n, double *scratch)
{
	for (unsigned i = 1; i < n; i++)
		scratch[i - 1] = fabs(x[i] - x[i - 1]);
	stats_sort(scratch, n - 1);
	return stats_sorted_quantile(scratch, n - 1, 0.5) / 0.6744897501960817 / M_SQRT2;
}

static void pelt(struct search *s)
{
	unsigned nc = 1;

	s->candidate[0] = 0;
	s->best[0] = -s->penalty;
	for (unsigned t = MIN_SEGMENT; t <= s->n; t++) {
		unsigned kept = 0;

		s->best[t] = HUGE_VAL;
		for (unsigned k = 0; k < nc; k++) {
			unsigned f = s->candidate[k];
			double c;

			if (t - f < MIN_SEGMENT)
				continue;
			c = s->best[f] + cost(s, f, t) + s->penalty;
			if (c < s->best[t]) {
				s->best[t] = c;
				s->from[t] = f;
			}
		}
		for (unsigned k = 0; k < nc; k++) {
			unsigned f = s->candidate[k];

			if (t - f < MIN_SEGMENT || s->best[f] + cost(s, f, t) <= s->best[t])
				s->candidate[kept++] = f;
		}
		nc = kept;
		if (t + 1 >= 2 * MIN_SEGMENT)
			s->candidate[nc++] = t + 1 - MIN_SEGMENT; /* may begin a segment that ends at t + 1 */
	}
}

/* Short initial segments of one value (the cold run) exist where MIN_SEGMENT forbids them: split when it pays. */
static void split_first(struct search *s, struct changepoints *out)
{
	struct segment *f = &out->segment[0];
	double gain;

	if (f->n < MIN_SEGMENT + 1 || out->nsegments == CHANGEPOINT_MAX_SEGMENTS)
		return;
	gain = cost(s, 0, f->n) - cost(s, 1, f->n);
	if (gain <= s->penalty)
		return;
	memmove(&out->segment[1], &out->segment[0], out->nsegments * sizeof(*f));
	out->nsegments++;
	out->segment[0] = (struct segment){.start = 0, .n = 1};
	out->segment[1].start = 1;
	out->segment[1].n--;
}

static void take_segments(struct search *s, struct changepoints *out)
{
	unsigned cut[CHANGEPOINT_MAX_SEGMENTS + 1], n = 0, t = s->n;

	/* the last ones, when there are more than fit */
	while (t > 0 && n < CHANGEPOINT_MAX_SEGMENTS) {
		cut[n++] = s->from[t];
		t = s->from[t];
	}
	cut[n - 1] = 0;
	t = s->n;
	out->nsegments = n;
	for (unsigned k = 0; k < n; k++) {
		out->segment[n - 1 - k] = (struct segment){.start = cut[k], .n = t - cut[k]};
		t = cut[k];
	}
	split_first(s, out);
	for (unsigned k = 0; k < out->nsegments; k++) {
		struct segment *g = &out->segment[k];

		g->mean = stats_mean(s->x + g->start, g->n);
		g->deviation = sqrt(stats_variance(s->x + g->start, g->n));
	}
}

static void judge(struct changepoints *out, unsigned n, double sigma)
{
	const struct segment *last = &out->segment[out->nsegments - 1];
	double same = fmax(sigma, 0.01 * last->mean);
	bool faster_before = false;
	unsigned k = out->nsegments - 1;

	while (k > 0 && fabs(out->segment[k - 1].mean - last->mean) <= same)
		k--;
	out->steady_from = out->segment[k].start;
	out->steady_mean = last->mean;
	if (k == 0) {
		out->class = SERIES_FLAT;
		return;
	}
	if (out->steady_from > n - (n + 3) / 4) {
		out->class = SERIES_NO_STEADY;
		out->steady_from = n;
		return;
	}
	for (unsigned i = 0; i < k; i++)
		faster_before |= out->segment[i].mean < last->mean - same;
	out->class = faster_before ? SERIES_SLOWDOWN : SERIES_WARMUP;
}

static void *take(char **at, size_t bytes)
{
	void *p = *at;

	*at += bytes;
	return p;
}

void changepoint_classify(const double *x, unsigned n, struct changepoints *out)
{
	struct search s = {.n = n};
	double sigma, mean;
	char *memory, *at;

	*out = (struct changepoints){.class = SERIES_SHORT, .steady_from = n};
	if (n < CHANGEPOINT_MIN)
		return;
	memory = at = malloc((n + 1) * (5 * sizeof(double) + 2 * sizeof(unsigned)));
	if (!memory)
		return;
	s.x = take(&at, (n + 1) * sizeof(double));
	s.sum = take(&at, (n + 1) * sizeof(double));
	s.sum2 = take(&at, (n + 1) * sizeof(double));
	s.best = take(&at, (n + 1) * sizeof(double));
	double *scratch = take(&at, (n + 1) * sizeof(double));
	s.from = take(&at, (n + 1) * sizeof(unsigned));
	s.candidate = take(&at, (n + 1) * sizeof(unsigned));
	out->outliers = smooth(x, n, s.x);
	mean = stats_mean(s.x, n);
	/* a clock that tells few values makes differences of zero: a thousandth is noise in any case */
	sigma = fmax(noise(s.x, n, scratch), 0.001 * fabs(mean));
	s.penalty = 4 * log(n) * sigma * sigma;
	s.sum[0] = s.sum2[0] = 0;
	for (unsigned i = 0; i < n; i++) {
		double d = s.x[i] - mean;

		s.sum[i + 1] = s.sum[i] + d;
		s.sum2[i + 1] = s.sum2[i] + d * d;
		s.best[i] = HUGE_VAL;
	}
	pelt(&s);
	take_segments(&s, out);
	judge(out, n, sigma);
	free(memory);
}
