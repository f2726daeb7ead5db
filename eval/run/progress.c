// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a person sees while it runs: one line that is written over on a terminal, a line for each item elsewhere. The time left is
 * the number of items of each kind that are to come times what such an item has taken so far; a kind that has not been seen yet
 * counts as the average of those that have.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "eval/run/runner.h"

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned kind_of(const struct plan_item *it)
{
	return (unsigned)(it->path + 1);
}

void progress_begin(struct runner *r)
{
	r->progress.begun_ns = now_ns();
	r->progress.terminal = isatty(STDERR_FILENO);
}

static double seconds_left(const struct runner *r, unsigned at, unsigned n)
{
	const struct progress *p = &r->progress;
	double sum = 0, all = 0;
	unsigned count = 0;

	for (unsigned k = 0; k <= SPEC_MAX_PATHS; k++) {
		all += p->spent_s[k];
		count += p->count[k];
	}
	for (unsigned i = at; i < n; i++) {
		unsigned k = kind_of(&r->plan.item[i]);

		if (count && item_pending(r, &r->plan.item[i]))
			sum += p->count[k] ? p->spent_s[k] / p->count[k] : all / count;
	}
	return sum;
}

static const char *name_of(const struct runner *r, const struct plan_item *it, char *text, size_t n)
{
	const char *pass = plan_pass_name(it->pass);

	if (it->path < 0)
		snprintf(text, n, "native %s", pass ? pass : "");
	else
		snprintf(text, n, "%s", r->spec.path[it->path].row->name);
	return text;
}

static void say_head(const struct runner *r, const struct plan_item *it, char *text, size_t n)
{
	char name[40];

	if (it->pass == PLAN_PASS_REFERENCE)
		snprintf(text, n, "checksums");
	else
		snprintf(text, n, "%s %u/%u  %-14s", it->pilot ? "pilot" : "block", it->block + 1,
			 it->pilot ? r->spec.pilot_blocks : r->progress.blocks, name_of(r, it, name, sizeof(name)));
}

void progress_item(struct runner *r, const struct plan_item *it, unsigned at, unsigned n)
{
	double left = seconds_left(r, at, n);
	char head[100];

	r->progress.item_ns = now_ns();
	if (!r->progress.terminal)
		return;
	say_head(r, it, head, sizeof(head));
	fprintf(stderr, "\r\033[K%s  item %u of %u%s", head, at + 1, n, it->pilot ? " before the blocks" : "");
	if (left > 0)
		fprintf(stderr, ", %u:%02u left", (unsigned)left / 60, (unsigned)left % 60);
	fflush(stderr);
}

void progress_done(struct runner *r, const struct plan_item *it, const char *said)
{
	struct progress *p = &r->progress;
	double took = (double)(now_ns() - p->item_ns) * 1e-9;
	char head[100];

	p->spent_s[kind_of(it)] += took;
	p->count[kind_of(it)]++;
	if (p->terminal && !said[0])
		return;
	say_head(r, it, head, sizeof(head));
	fprintf(stderr, "%s%s %s%s%.1f s\n", p->terminal ? "\r\033[K" : "", head, said, said[0] ? "; " : "", took);
}

void progress_waits(const struct runner *r, double busy, double steal)
{
	const struct spec_quiet *q = &r->spec.quiet;

	fprintf(stderr,
		"%swaits for a quiet host, up to %u s altogether (--quiet-wait-s): others keep %.1f CPUs busy (limit "
		"%g), %.1f %% "
		"of the time is stolen (limit %g %%)\n",
		r->progress.terminal ? "\r\033[K" : "", q->wait_s, busy, q->max_load, steal, q->max_steal);
}

void progress_end(struct runner *r)
{
	if (r->progress.terminal)
		fprintf(stderr, "\r\033[K");
}
