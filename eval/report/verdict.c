// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Can this run show what it is asked? Two controls in the same blocks as everything else: native against itself, which must
 * come out as 1, and native with a known slowdown, which must be found, and found as large as it is. What they show is said before
 * any result. The group "cpu" is judged where there is one: the others, whose work is mostly the host's kernel's, are coarser and
 * are named with what they can show.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/report/effects.h"

#define WANTED 0.01
#define SLACK 0.001 /* figures are shown to a tenth of a percent */

struct effect verdict_group(const struct results *r, const char *group, enum results_phase phase, enum results_metric m)
{
	return effect_control(r, -1, group, 1, phase, m);
}

static void count_flaws(const struct results *r, struct verdict *v)
{
	for (unsigned i = 0; i < r->nsamples; i++) {
		const struct results_sample *s = &r->sample[i];
		double apart = s->guest_wall_ns > 0 ? fabs(s->guest_wall_ns - s->wall_ns) : 0;

		if (s->pilot)
			continue;
		/* the guest's clock: more than 0.5 % and 1 ms, whoever noticed it */
		v->clock +=
			s->clock || (s->path >= 0 && s->timed && apart > 0.005 * s->wall_ns && apart * s->repeat > 1e6);
		v->unquiet += s->unquiet;
		v->untimed += s->ok && !s->timed;
		v->invalid += s->ok && !s->valid;
	}
}

/* The farthest end of a control's interval from 1; 0: unknown. */
static double farthest(const struct stats_ratio *c)
{
	return c->n < 2 ? 0 : fmax(fabs(c->lo - 1), fabs(c->hi - 1));
}

static double percent(double fraction)
{
	return ceil(fraction * 1000 - 1e-6) / 10;
}

/* As many blocks would have an interval of the control that is as narrow as what is wanted, if they vary as these do. 0: too many. */
static unsigned blocks_wanted(const struct stats_ratio *c)
{
	double spread = (log(c->hi) - log(c->lo)) / 2 / stats_t_quantile(0.975, c->n - 1) * sqrt(c->n);

	for (unsigned n = c->n; n <= 200; n++)
		if (stats_t_quantile(0.975, n - 1) * spread / sqrt(n) <= WANTED)
			return n;
	return 0;
}

static bool has_group(const struct results *r, const char *group)
{
	for (unsigned w = 0; w < r->nworkloads; w++)
		if (results_in_group(r, w, group))
			return true;
	return false;
}

/* Groups of the run whose control is wider than what is wanted. */
static void add_coarser(const struct results *r, struct verdict *v)
{
	size_t at = strlen(v->text);
	const char *group, *between = " Coarser groups: ";

	for (unsigned i = 0; i < r->ngroups && (group = r->group[i]) && at < sizeof(v->text); i++) {
		struct effect e = verdict_group(r, group, v->phase, METRIC_CPU);
		double far = farthest(&e.t);

		if (!(far > fmax(v->resolution, WANTED)))
			continue;
		at += (size_t)snprintf(v->text + at, sizeof(v->text) - at, "%s%s %.1f %%", between, group,
				       percent(far));
		between = ", ";
	}
	if (*between == ',' && at < sizeof(v->text))
		snprintf(v->text + at, sizeof(v->text) - at, ".");
}

static void add_blocks(struct verdict *v)
{
	size_t at = strlen(v->text);
	unsigned n = blocks_wanted(&v->control.t);

	if (v->resolution <= WANTED || n == v->control.t.n)
		return;
	if (n)
		snprintf(v->text + at, sizeof(v->text) - at, " About %u such blocks would show %g %%.", n,
			 WANTED * 100);
	else
		snprintf(v->text + at, sizeof(v->text) - at,
			 " 200 such blocks would not show %g %%: the host is too busy for it.", WANTED * 100);
}

static void add_inject(const struct results *r, struct verdict *v)
{
	const struct stats_ratio *j = &v->inject.t;
	size_t at = strlen(v->text);

	if (r->inject <= 0)
		return;
	if (j->n < 2)
		snprintf(v->text + at, sizeof(v->text) - at, " The injected slowdown was not measured.");
	else
		snprintf(v->text + at, sizeof(v->text) - at, " An injected slowdown of %g %% %s: %.4f [%.4f, %.4f].",
			 r->inject,
			 !v->inject_found   ? "is NOT found"
			 : !v->inject_holds ? "is found, but not as large as it is"
					    : "is found",
			 j->ratio, j->lo, j->hi);
}

struct verdict verdict_of(const struct results *r)
{
	struct verdict v = {.metric = METRIC_CPU,
			    .group = has_group(r, "cpu") ? "cpu" : "all",
			    .phase = effect_has(r, RESULTS_NATIVE, -1, PHASE_STEADY) ? PHASE_STEADY : PHASE_COLD};
	const struct stats_ratio *c = &v.control.t, *j = &v.inject.t;

	count_flaws(r, &v);
	v.control = effect_control(r, -1, v.group, 1, v.phase, METRIC_CPU);
	if (r->inject > 0)
		v.inject = effect_inject(r, -1, v.group, v.phase, METRIC_CPU);
	v.inject_found = j->n > 1 && j->lo > 1;
	v.inject_holds = v.inject_found && j->lo <= 1 + r->inject / 100 + SLACK && j->hi >= 1 + r->inject / 100 - SLACK;
	if (!r->nsamples) {
		snprintf(v.text, sizeof(v.text), "No workload was run, so there is no ratio to judge.");
		return v;
	}
	if (c->n < 2) {
		snprintf(v.text, sizeof(v.text), "Resolution unknown: %s.",
			 v.control.nfailed ? "a workload failed natively"
			 : c->n            ? "one block has no interval"
					   : "no block has every workload natively twice");
		return v;
	}
	v.resolution = fmax(farthest(c), WANTED);
	v.sufficient = v.resolution <= WANTED && (r->inject <= 0 || v.inject_holds);
	snprintf(v.text, sizeof(v.text),
		 "%s: %.1f %%. Native against itself gives %.4f [%.4f, %.4f] for the mean of %s%s over %u blocks, so "
		 "differences below %.1f %% mean nothing here.",
		 v.resolution > WANTED ? "Resolution insufficient" : "Resolution", percent(v.resolution), c->ratio,
		 c->lo, c->hi, strcmp(v.group, "all") ? "group " : "all workloads",
		 strcmp(v.group, "all") ? v.group : "", c->n, percent(v.resolution));
	add_blocks(&v);
	add_inject(r, &v);
	add_coarser(r, &v);
	return v;
}
