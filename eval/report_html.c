// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One self-contained page: opens from file://, fetches nothing, light or dark as the reader's system is.
 * The verdict stands first, then the picture, then every number.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/quick.h"

static const char *const style =
	":root{--bg:#fff;--fg:#1c1f23;--dim:#667;--line:#dde;--c0:#2364aa;--c1:#b5541c;--c2:#5a7d2a;--c3:#8a3b8f;--c4:#"
	"666}"
	"@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e8eb;--dim:#9aa3ad;--line:#333a44;--c0:#6aa7e8;--"
	"c1:#e8935c;"
	"--c2:#a3cc66;--c3:#d08ad6;--c4:#aaa}}"
	"body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem "
	"auto;padding:0 1rem}"
	"h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;font-variant-numeric:"
	"tabular-nums}"
	"th,td{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid "
	"var(--line)}td.n,th.n{text-align:right}"
	".dim{color:var(--dim)}.bad{color:var(--c1);font-weight:600}svg{width:100%;height:auto}svg "
	"text{fill:var(--fg);font-size:12px}"
	"svg .dim{fill:var(--dim)}svg .grid{stroke:var(--line)}div.wide{overflow-x:auto}code,pre{font-size:13px}"
	"pre{white-space:pre-wrap;overflow-wrap:anywhere}";

static void text(FILE *f, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc((unsigned char)*s < 32 ? ' ' : *s, f);
		}
	}
}

static void cell_ratio(FILE *f, const struct stats_ratio *r)
{
	if (!r->n)
		fputs("<td class=n>-</td><td class=dim></td>", f);
	else if (r->n == 1)
		fprintf(f, "<td class=n>%.2f</td><td class=dim>one block</td>", r->ratio);
	else
		fprintf(f, "<td class=n>%.2f</td><td class=dim>[%.2f, %.2f]</td>", r->ratio, r->lo, r->hi);
}

static void verdict(const struct eval *ev, FILE *f)
{
	struct stats_ratio c = analysis_control_suite(ev, NULL, METRIC_CPU);
	double resolution = analysis_resolution(ev);

	if (!c.n)
		fputs("<p class=bad>Resolution unknown: no block has a time of every workload in both native runs.</p>",
		      f);
	else if (!resolution)
		fputs("<p class=bad>Resolution unknown: one block has no interval.</p>", f);
	else
		fprintf(f,
			"<p%s>Resolution%s: native against itself gives %.3f [%.3f, %.3f]; differences below "
			"%.0f&thinsp;%% mean nothing here.</p>",
			resolution > 0.01 ? " class=bad" : "",
			resolution > 0.01 ? " insufficient for 1&thinsp;%" : " 1&thinsp;%", c.ratio, c.lo, c.hi,
			ceil(resolution * 100));
	fprintf(f,
		"<p class=dim>Kind %s: %s; %u blocks. Every workload runs in a fresh process, translation "
		"included.</p><ul>",
		ev->suite->name, ev->suite->what, ev->nblocks);
	for (unsigned p = 0; p < ev->npaths; p++) {
		const char *why = analysis_path_failure(ev, p);
		struct stats_ratio r = analysis_suite(ev, p, NULL, METRIC_CPU), boot = analysis_boot(ev, p, METRIC_CPU);

		fprintf(f, "<li><b>%s</b> <span class=dim>(%s)</span>: ", ev->path[p]->name, ev->path[p]->what);
		if (why) {
			fputs("<span class=bad>cannot run or failed here</span>: ", f);
			text(f, why);
		} else if (r.n) {
			fprintf(f, "%.2f times the CPU time of native; ", r.ratio);
			if (r.n > 1)
				fprintf(f, "%s; ", analysis_class(&r));
			fprintf(f, "boots in %.2f s of CPU", boot.ratio);
		} else if (ev->path[p]->boot_only) {
			fprintf(f, "boots in %.2f s of CPU", boot.ratio);
		} else {
			fputs("at least one workload has no valid result, so there is no mean", f);
		}
		fputs("</li>", f);
	}
	fputs("</ul>", f);
}

/* Horizontal bars on a logarithmic axis: one group a workload, one bar a path, the interval as a whisker. */
static void picture(const struct eval *ev, FILE *f)
{
	const double left = 110, width = 720, bar = 12;
	double max = 2, y = 10, axis;
	struct stats_ratio r;

	for (unsigned p = 0; p < ev->npaths; p++)
		for (unsigned w = 0; w < ev->nworkloads; w++) {
			r = analysis_ratio(ev, p, w, METRIC_CPU);
			if (r.n && fmax(r.ratio, r.hi) > max)
				max = fmax(r.ratio, r.hi);
		}
	axis = width / log(max * 1.1 / 0.8);
	double height = 40 + ev->nworkloads * (ev->npaths * bar + 10);
#define X(v) (left + axis * log(fmax((v), 0.8) / 0.8))
	fprintf(f, "<svg viewBox=\"0 0 900 %.0f\" role=img aria-label=\"CPU time relative to native\">", height);
	static const double ticks[] = {1, 1.25, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};
	for (unsigned i = 0; i < sizeof(ticks) / sizeof(ticks[0]) && ticks[i] <= max * 1.1; i++)
		fprintf(f,
			"<line class=grid x1=%.1f x2=%.1f y1=0 y2=%.0f /><text class=dim text-anchor=middle x=%.1f "
			"y=%.0f>%g</text>",
			X(ticks[i]), X(ticks[i]), height - 22, X(ticks[i]), height - 8, ticks[i]);
	for (unsigned w = 0; w < ev->nworkloads; w++, y += 10) {
		fprintf(f, "<text x=0 y=%.1f>%s</text>", y + bar, ev->workload[w]);
		for (unsigned p = 0; p < ev->npaths; p++, y += bar) {
			r = analysis_ratio(ev, p, w, METRIC_CPU);
			if (!r.n)
				continue;
			fprintf(f,
				"<rect x=%.1f y=%.1f width=%.1f height=%.1f fill=\"var(--c%u)\"><title>%s %s: "
				"%.3f</title></rect>",
				X(1), y, fmax(X(r.ratio) - X(1), 1), bar - 2, p % 5, ev->path[p]->name, ev->workload[w],
				r.ratio);
			if (r.n > 1)
				fprintf(f, "<line x1=%.1f x2=%.1f y1=%.1f y2=%.1f stroke=\"var(--fg)\"/>", X(r.lo),
					X(r.hi), y + bar / 2 - 1, y + bar / 2 - 1);
			fprintf(f, "<text x=%.1f y=%.1f class=dim>%.2f</text>", X(fmax(r.ratio, r.hi)) + 5, y + bar - 2,
				r.ratio);
		}
	}
#undef X
	fputs("</svg><p>", f);
	for (unsigned p = 0; p < ev->npaths; p++)
		fprintf(f, "<span style=\"color:var(--c%u)\">&#9632;</span> %s &nbsp; ", p % 5, ev->path[p]->name);
	fputs("<span class=dim>CPU time relative to native, logarithmic; 1 is native</span></p>", f);
}

static void mean_row(const struct eval *ev, FILE *f, const struct eval_group *g, enum metric m)
{
	struct stats_ratio r;

	fprintf(f, "<tr><td>geometric mean%s%s</td><td></td>", g ? ", " : "", g ? g->title : "");
	for (unsigned p = 0; p < ev->npaths; p++) {
		r = analysis_suite(ev, p, g, m);
		cell_ratio(f, &r);
	}
	r = analysis_control_suite(ev, g, m);
	cell_ratio(f, &r);
	fputs("</tr>", f);
}

static void table(const struct eval *ev, FILE *f, enum metric m)
{
	struct stats_ratio r;

	fprintf(f, "<h2>%s time, ratio to native</h2><div class=wide><table><tr><th>workload<th class=n>native ms",
		m == METRIC_CPU ? "CPU" : "Wall");
	for (unsigned p = 0; p < ev->npaths; p++)
		fprintf(f, "<th class=n>%s<th class=dim>95&thinsp;%%", ev->path[p]->name);
	fputs("<th class=n>native again<th class=dim>95&thinsp;%</tr>", f);
	for (unsigned w = 0; w < ev->nworkloads; w++) {
		fprintf(f, "<tr><td>%s</td><td class=n>%.1f</td>", ev->workload[w], analysis_native_ms(ev, w, m));
		for (unsigned p = 0; p < ev->npaths; p++) {
			r = analysis_ratio(ev, p, w, m);
			if (analysis_checksum_differs(ev, p, w))
				fputs("<td class=bad colspan=2>checksum differs</td>", f);
			else
				cell_ratio(f, &r);
		}
		r = analysis_control(ev, w, m);
		cell_ratio(f, &r);
		fputs("</tr>", f);
	}
	for (unsigned i = 0; ev->suite->by_group && group_at(i); i++)
		if (analysis_group_used(ev, group_at(i)))
			mean_row(ev, f, group_at(i), m);
	mean_row(ev, f, NULL, m);
	fputs("</table></div>", f);
}

static void boots(const struct eval *ev, FILE *f)
{
	struct stats_ratio r;

	fputs("<h2>Boot to the first line of init, seconds</h2><div class=wide><table><tr><th>path<th class=n>CPU<th "
	      "class=dim>95&thinsp;%"
	      "<th class=n>wall<th class=dim>95&thinsp;%<th class=n>MiB beside guest RAM<th class=dim>95&thinsp;%</tr>",
	      f);
	for (unsigned p = 0; p < ev->npaths; p++) {
		fprintf(f, "<tr><td>%s</td>", ev->path[p]->name);
		r = analysis_boot(ev, p, METRIC_CPU);
		cell_ratio(f, &r);
		r = analysis_boot(ev, p, METRIC_WALL);
		cell_ratio(f, &r);
		r = analysis_memory(ev, p);
		cell_ratio(f, &r);
		fputs("</tr>", f);
	}
	fputs("</table></div>", f);
}

static void sample_rows(const struct eval *ev, FILE *f, const struct eval_run *r, const char *name, unsigned scale)
{
	for (unsigned w = 0; r->ran && w < ev->nworkloads; w++) {
		const struct eval_sample *s = &r->w[w];

		fprintf(f, "<tr><td class=n>%u</td><td>%s</td><td>%s</td><td class=n>%u&thinsp;%%</td>", r->order, name,
			ev->workload[w], scale);
		if (s->ok && !s->timed)
			fprintf(f, "<td colspan=2>too short for the clock</td><td><code>%s</code></td></tr>",
				s->checksum);
		else if (s->ok)
			fprintf(f, "<td class=n>%.3f</td><td class=n>%.3f</td><td><code>%s</code></td></tr>",
				(double)s->cpu_ns * 1e-6, (double)s->wall_ns * 1e-6, s->checksum);
		else
			fputs("<td colspan=3 class=bad>no result</td></tr>", f);
	}
}

static void samples(const struct eval *ev, FILE *f)
{
	fputs("<h2>Every sample, in run order</h2><details><summary>show</summary><div class=wide><table><tr><th "
	      "class=n>run<th>path<th>workload"
	      "<th class=n>work<th class=n>CPU ms<th class=n>wall ms<th>checksum</tr>",
	      f);
	for (unsigned o = 0; o < ev->norder; o++)
		for (unsigned b = 0; b < ev->nblocks; b++) {
			for (unsigned i = 0; i < 2; i++)
				if (ev->native[b][i].order == o)
					sample_rows(ev, f, &ev->native[b][i], "native", ev->scale);
			if (ev->native_slow[b].order == o)
				sample_rows(ev, f, &ev->native_slow[b], "native", ev->slow_scale);
			for (unsigned p = 0; p < ev->npaths; p++)
				if (ev->path_run[b][p].order == o)
					sample_rows(ev, f, &ev->path_run[b][p], ev->path[p]->name,
						    ev->path[p]->slow ? ev->slow_scale : ev->scale);
		}
	fputs("</table></div></details>", f);
}

static void environment(const struct eval *ev, FILE *f)
{
	json_t *env = environment_json(ev);
	char *dump = json_dumps(env, JSON_INDENT(2));

	fputs("<h2>Environment</h2><details><summary>show</summary><pre>", f);
	text(f, dump ? dump : "");
	fputs("</pre></details><h2>The same again</h2><pre>", f);
	text(f, ev->command);
	if (!strstr(ev->command, "--seed"))
		fprintf(f, " --seed %llu", (unsigned long long)ev->seed);
	fputs("</pre>", f);
	free(dump);
	json_decref(env);
}

int report_html(const struct eval *ev, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		fprintf(stderr, "steelyard eval: %s: %s\n", path, strerror(errno));
		return 1;
	}
	fprintf(f,
		"<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
		"content=\"width=device-width\">"
		"<title>Steelyard: eval %s</title><style>%s</style></head><body><h1>How close to the bare "
		"machine?</h1>",
		ev->suite->name, style);
	verdict(ev, f);
	fputs("<h2>Workloads</h2>", f);
	picture(ev, f);
	table(ev, f, METRIC_CPU);
	table(ev, f, METRIC_WALL);
	boots(ev, f);
	samples(ev, f);
	environment(ev, f);
	fputs("</body></html>\n", f);
	if (ferror(f) | fclose(f)) {
		fprintf(stderr, "steelyard eval: %s: cannot write\n", path);
		return 1;
	}
	return 0;
}
