// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Can this run show what it is asked? Two controls in the same blocks as everything else: native against itself, which must
 * come out as 1, and native with a known slowdown, which must be found. What they show is said before any result.
 */
#include <math.h>
#include <stdio.h>

#include "eval/effects.h"

#define WANTED 0.01

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

struct verdict verdict_of(const struct results *r)
{
	struct verdict v = {.metric = METRIC_CPU,
			    .phase = effect_has(r, RESULTS_NATIVE, -1, PHASE_STEADY) ? PHASE_STEADY : PHASE_COLD};
	const struct stats_ratio *c = &v.control.t, *j = &v.inject.t;
	double percent;
	int n;

	count_flaws(r, &v);
	v.control = effect_control(r, -1, "all", 1, v.phase, METRIC_CPU);
	if (r->inject > 0)
		v.inject = effect_inject(r, -1, "all", v.phase, METRIC_CPU);
	v.inject_found = j->n > 1 && j->lo > 1;
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
	v.resolution = fmax(fmax(fabs(c->lo - 1), fabs(c->hi - 1)), WANTED);
	v.sufficient = v.resolution <= WANTED && (r->inject <= 0 || v.inject_found);
	percent = ceil(v.resolution * 1000 - 1e-6) / 10;
	n = snprintf(v.text, sizeof(v.text),
		     "%s: %.1f %%. Native against itself gives %.4f [%.4f, %.4f] over %u blocks, so differences below "
		     "%.1f %% mean "
		     "nothing here.",
		     v.resolution > WANTED ? "Resolution insufficient" : "Resolution", percent, c->ratio, c->lo, c->hi,
		     c->n, percent);
	if (r->inject > 0 && n > 0 && n < (int)sizeof(v.text)) {
		if (j->n < 2)
			snprintf(v.text + n, sizeof(v.text) - (size_t)n, " The injected slowdown was not measured.");
		else
			snprintf(v.text + n, sizeof(v.text) - (size_t)n,
				 " An injected slowdown of %g %% %s: %.4f [%.4f, %.4f].", r->inject,
				 v.inject_found ? "is found" : "is NOT found", j->ratio, j->lo, j->hi);
	}
	return v;
}
