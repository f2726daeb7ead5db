// SPDX-License-Identifier: GPL-2.0-or-later
/* The page behind the tables of ratios: comparison, overhead, boot, warm-up, machine operations, samples, environment. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/changepoint.h"
#include "eval/report/page.h"

/* ---- overhead ---- */

static void overhead_table(const struct page *p, unsigned path, const char *phase)
{
	const char *label = p->r->path[path].label;

	fputs("<details><summary>In numbers</summary><div class=\"wide\"><table "
	      "class=\"sort\"><thead><tr><th>workload<th class=\"n\">overhead ms",
	      p->f);
	for (unsigned i = 0; overhead_part_at(i); i++)
		fprintf(p->f, "<th class=\"n\">%s", overhead_part_at(i)->title);
	fputs("<th class=\"n\">residual<th class=\"n\">explained %<th class=\"n\">covered %</tr></thead><tbody>", p->f);
	for (unsigned k = 0; k < 2; k++) {
		const char *name;

		for (unsigned i = 0; (name = k                      ? results_group_at(p->r, i)
					     : i < p->r->nworkloads ? p->r->workload[i].name
								    : NULL);
		     i++) {
			const char *kind = k ? "group " : "";
			const struct figure *over =
				figures_find(p->figures, "over/%s/%s/%s%s", phase, label, kind, name);

			if (!over)
				continue;
			fprintf(p->f, "<tr%s><th scope=\"row\">", k ? " class=\"mean\"" : "");
			page_text(p, name);
			fputs("</th>", p->f);
			page_cell(p, over, false);
			for (unsigned j = 0; overhead_part_at(j); j++)
				page_cell(p,
					  figures_find(p->figures, "part/%s/%s/%s%s/%s", phase, label, kind, name,
						       overhead_part_at(j)->key),
					  false);
			page_cell(p, figures_find(p->figures, "residual/%s/%s/%s%s", phase, label, kind, name), false);
			page_cell(p, figures_find(p->figures, "explained/%s/%s/%s%s", phase, label, kind, name), false);
			page_cell(p, figures_find(p->figures, "covered/%s/%s/%s%s", phase, label, kind, name), false);
			fputs("</tr>", p->f);
		}
	}
	fputs("</tbody></table></div></details>", p->f);
}

static bool has_overhead(const struct page *p, unsigned path, const char *phase)
{
	for (unsigned w = 0; w < p->r->nworkloads; w++)
		if (figures_find(p->figures, "explained/%s/%s/%s", phase, p->r->path[path].label,
				 p->r->workload[w].name))
			return true;
	return false;
}

static void overhead_legend(const struct page *p, unsigned path, const char *phase)
{
	fputs("<ul class=\"legend\">", p->f);
	for (unsigned i = 0; overhead_part_at(i); i++) {
		bool any = false;

		for (unsigned w = 0; w < p->r->nworkloads; w++)
			any |= figures_find(p->figures, "part/%s/%s/%s/%s", phase, p->r->path[path].label,
					    p->r->workload[w].name, overhead_part_at(i)->key) != NULL;
		if (any)
			fprintf(p->f, "<li title=\"%s\"><i class=\"q%u\"></i>%s</li>", overhead_part_at(i)->what, i,
				overhead_part_at(i)->title);
	}
	fprintf(p->f, "<li><i class=\"q%u\"></i>residual</li></ul>", OVERHEAD_PARTS);
}

void page_overhead(const struct page *p)
{
	struct picture_data d = {p->r, p->figures, p->figures->verdict.phase, 0};
	const char *phase = phase_name(d.phase), *group;
	bool any = false;

	fputs("<section id=\"overhead\"><h2>Where the time went</h2><p>CPU time of a path less CPU time of native, in "
	      "parts. <i>Explained</i> is what "
	      "the parts add up to: 1 - (|residual| + not sampled) / overhead. The residual is what the guest's own "
	      "instructions take "
	      "more than "
	      "natively, and what nobody saw; it is negative where the processor executes added code beside the "
	      "guest's own, so that "
	      "samples show more time at it than it costs. <i>Covered</i> counts only what no part accounts for. "
	      "Workloads within "
	      "2&nbsp;% of native have nothing to explain.</p>",
	      p->f);
	for (unsigned i = 0; i < p->r->npaths; i++) {
		if (!has_overhead(p, i, phase))
			continue;
		any = true;
		d.path = (int)i;
		fputs("<h3>", p->f);
		page_text(p, p->r->path[i].label);
		fputs("</h3><p>Explained (covered):", p->f);
		for (unsigned g = 0; (group = results_group_at(p->r, g)); g++) {
			const char *label = p->r->path[i].label;
			const struct figure *e =
				figures_find(p->figures, "explained/%s/%s/group %s", phase, label, group);

			if (!e)
				continue;
			fputs(" <b>", p->f);
			page_text(p, group);
			fputs("</b> ", p->f);
			page_figure(p, e, false);
			fputs("&nbsp;% (", p->f);
			page_figure(p, figures_find(p->figures, "covered/%s/%s/group %s", phase, label, group), false);
			fputs("&nbsp;%)", p->f);
		}
		fputs(".</p>", p->f);
		overhead_legend(p, i, phase);
		fputs("<figure><div class=\"wide\">", p->f);
		picture_find("overhead")->draw(p->f, &d, false);
		fputs("</div></figure>", p->f);
		overhead_table(p, i, phase);
	}
	if (!any)
		fputs("<p>No path of this run was sampled (<code>run --sample</code>), and none has timed exits or "
		      "costs of its operations.</p>",
		      p->f);
	fputs("</section>\n", p->f);
}

/* ---- boot ---- */

void page_boot(const struct page *p)
{
	static const struct {
		const char *key, *title;
	} column[] = {{"cpu", "CPU s"},        {"wall", "wall s"},  {"start", "to the machine, s"},
		      {"kernel", "kernel, s"}, {"init", "init, s"}, {"memory", "MiB beside RAM"}};
	struct picture_data d = {p->r, p->figures, p->figures->verdict.phase, 0};

	if (!p->r->nboots)
		return;
	fputs("<section id=\"boot\"><h2>Boot to the first line of init</h2><figure><div class=\"wide\">", p->f);
	picture_find("boot")->draw(p->f, &d, false);
	fputs("</div><figcaption>Host clock. Blue: the kernel to its first process; grey: the program until the "
	      "machine starts; violet: init until the "
	      "first workload.</figcaption></figure><div class=\"wide\"><table class=\"sort\"><thead><tr><th>path",
	      p->f);
	for (unsigned k = 0; k < sizeof(column) / sizeof(column[0]); k++)
		fprintf(p->f, "<th class=\"n\">%s", column[k].title);
	fputs("</tr></thead><tbody>", p->f);
	for (unsigned i = 0; i < p->r->npaths; i++) {
		if (!figures_find(p->figures, "boot/%s/wall", p->r->path[i].label))
			continue;
		fputs("<tr><th scope=\"row\">", p->f);
		page_text(p, p->r->path[i].label);
		fputs("</th>", p->f);
		for (unsigned k = 0; k < sizeof(column) / sizeof(column[0]); k++)
			page_cell(p, figures_find(p->figures, "boot/%s/%s", p->r->path[i].label, column[k].key), k < 2);
		fputs("</tr>", p->f);
	}
	fputs("</tbody></table></div></section>\n", p->f);
}

/* ---- warm-up ---- */

/* The times of one machine's executions of a workload, in their order. */
static unsigned series(const struct results *r, int path, unsigned w, unsigned block, double *x, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = r->first[w]; i < r->first[w + 1] && n < max; i++) {
		const struct results_sample *s = &r->sample[r->by_workload[i]];

		if (s->path == path && s->block == block && !s->pilot && s->valid && s->timed)
			x[n++] = s->cpu_ns;
	}
	return n;
}

static void warmup_classes(const struct page *p, unsigned path, unsigned w)
{
	unsigned count[SERIES_NO_STEADY + 1] = {0}, judged = 0;
	double x[512];

	for (unsigned b = 0; b < p->r->nblocks; b++) {
		unsigned n = series(p->r, (int)path, w, b, x, 512);
		struct changepoints c;

		if (!n)
			continue;
		changepoint_classify(x, n, &c);
		count[c.class]++;
		judged += c.class != SERIES_SHORT;
	}
	fputs("<td>", p->f);
	for (unsigned k = SERIES_FLAT; judged && k <= SERIES_NO_STEADY; k++)
		if (count[k])
			fprintf(p->f, "%s %u ", series_class_name((enum series_class)k), count[k]);
	if (!judged)
		fputs("<span class=\"dim\">too few</span>", p->f);
	fputs("</td>", p->f);
}

void page_warmup(const struct page *p)
{
	bool any = false;

	for (unsigned i = 0; i < p->r->npaths; i++)
		for (unsigned w = 0; w < p->r->nworkloads; w++)
			any |= figures_find(p->figures, "warmup/%s/%s", p->r->path[i].label, p->r->workload[w].name) !=
			       NULL;
	if (!any)
		return;
	fputs("<section id=\"warmup\"><h2>Warm-up</h2><p>CPU time of the first execution in a machine over that of "
	      "later ones. With eight "
	      "executions or more in a machine, the series is classed by changepoints; the number says how many "
	      "machines went so.</p>"
	      "<details><summary>Table</summary><div class=\"wide\"><table class=\"sort\"><thead><tr><th>workload",
	      p->f);
	for (unsigned i = 0; i < p->r->npaths; i++) {
		if (p->r->path[i].boot_only)
			continue;
		fputs("<th class=\"n\">", p->f);
		page_text(p, p->r->path[i].label);
		fputs("<th>series", p->f);
	}
	fputs("</tr></thead><tbody>", p->f);
	for (unsigned w = 0; w < p->r->nworkloads; w++) {
		fputs("<tr><th scope=\"row\">", p->f);
		page_text(p, p->r->workload[w].name);
		fputs("</th>", p->f);
		for (unsigned i = 0; i < p->r->npaths; i++) {
			if (p->r->path[i].boot_only)
				continue;
			page_cell(p,
				  figures_find(p->figures, "warmup/%s/%s", p->r->path[i].label, p->r->workload[w].name),
				  true);
			warmup_classes(p, i, w);
		}
		fputs("</tr>", p->f);
	}
	fputs("</tbody></table></div></details></section>\n", p->f);
}

/* ---- machine operations ---- */

static bool first_of_item(const struct results *r, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (!strcmp(r->cost[k].item, r->cost[i].item))
			return false;
	return true;
}

static bool has_costs(const struct results *r, int path)
{
	for (unsigned i = 0; i < r->ncosts; i++)
		if (r->cost[i].path == path)
			return true;
	return false;
}

static void cost_cell(const struct page *p, int path, const char *item)
{
	const char *label = results_path_label(p->r, path);
	const struct figure *p50 = figures_find(p->figures, "cost/%s/%s/p50", label, item),
			    *p99 = figures_find(p->figures, "cost/%s/%s/p99", label, item);
	const char *why = NULL;

	for (unsigned i = 0; !p50 && i < p->r->ncosts; i++)
		if (p->r->cost[i].path == path && !strcmp(p->r->cost[i].item, item) && p->r->cost[i].why)
			why = p->r->cost[i].why;
	page_cell(p, p50, false);
	fputs("<td class=\"n dim\">", p->f);
	if (why)
		page_text(p, why);
	else
		page_figure(p, p99, false);
	fputs("</td>", p->f);
}

void page_machine(const struct page *p)
{
	const struct results *r = p->r;

	if (!r->ncosts)
		return;
	fputs("<section id=\"machine\"><h2>Operations of the machine</h2><p>Nanoseconds for one operation, median and "
	      "99th percentile, in a "
	      "guest without an operating system; in the style of Adams and Agesen (2006).</p><div "
	      "class=\"wide\"><table class=\"sort\"><thead><tr><th>operation",
	      p->f);
	for (int i = RESULTS_NATIVE; i < (int)r->npaths; i++) {
		if (!has_costs(r, i))
			continue;
		fputs("<th class=\"n\">", p->f);
		page_text(p, results_path_label(r, i));
		fputs("<th class=\"n\">p99", p->f);
	}
	fputs("</tr></thead><tbody>", p->f);
	for (unsigned k = 0; k < r->ncosts; k++) {
		if (!first_of_item(r, k))
			continue;
		fputs("<tr><th scope=\"row\">", p->f);
		page_text(p, r->cost[k].item);
		fputs("</th>", p->f);
		for (int i = RESULTS_NATIVE; i < (int)r->npaths; i++)
			if (has_costs(r, i))
				cost_cell(p, i, r->cost[k].item);
		fputs("</tr>", p->f);
	}
	fputs("</tbody></table></div></section>\n", p->f);
}

/* ---- samples ---- */

void page_samples(const struct page *p)
{
	struct picture_data d = {p->r, p->figures, p->figures->verdict.phase, 0};

	fputs("<section id=\"samples\"><h2>Every sample in run order</h2><p>Each dot is one execution, relative to the "
	      "median of its workload on its path; "
	      "none is left out. Larger dots in the second colour are flagged: pilot, unquiet host, clock, "
	      "invalid.</p>",
	      p->f);
	for (d.path = RESULTS_NATIVE; d.path < (int)p->r->npaths; d.path++) {
		if (d.path >= 0 && !effect_has(p->r, d.path, -1, d.phase))
			continue;
		fputs("<figure><figcaption>", p->f);
		page_text(p, results_path_label(p->r, d.path));
		fputs("</figcaption><div class=\"wide\">", p->f);
		if (!picture_find("samples")->draw(p->f, &d, false))
			fputs("<p class=\"dim\">No timed sample in this phase.</p>", p->f);
		fputs("</div></figure>", p->f);
	}
	fputs("</section>\n", p->f);
}

/* ---- comparison ---- */

void page_compare(const struct page *p)
{
	const struct comparison *c = p->compare;

	if (!c)
		return;
	fprintf(p->f, "<section id=\"compare\"><h2>Compared with run ");
	page_text(p, c->a->run);
	fprintf(p->f,
		"</h2><p>Ratio to native in this run over the same in the other, CPU time; %u of %u differ at a "
		"false-discovery rate of "
		"%g&nbsp;%% (Benjamini and Hochberg). %u pairs of workload and path are in the other run only, %u in "
		"this one only.</p>",
		c->nsignificant, c->nrows, COMPARE_RATE * 100, c->only_a, c->only_b);
	if (c->nscales)
		fprintf(p->f, "<p class=\"bad\">%u of %u compare other amounts of work: that alone may be the difference.</p>",
			c->nscales, c->nrows);
	for (unsigned pass = 0; pass < 2; pass++) {
		fprintf(p->f,
			"<details%s><summary>%s</summary><div class=\"wide\"><table "
			"class=\"sort\"><thead><tr><th>workload<th>path<th>phase"
			"<th class=\"n\">other<th class=\"n\">this<th class=\"n\">this / other<th "
			"class=\"n\">q</tr></thead><tbody>",
			pass ? "" : " open", pass ? "All pairs" : "What differs");
		for (unsigned i = 0; i < c->nrows; i++) {
			const struct compare_row *row = &c->row[i];

			if (!pass && !row->significant)
				continue;
			fputs("<tr><th scope=\"row\">", p->f);
			page_text(p, row->workload);
			fputs("</th><td>", p->f);
			page_text(p, row->path);
			fprintf(p->f,
				"</td><td>%s</td><td class=\"n\" data-sort=\"%.9g\">%.3f</td><td class=\"n\" "
				"data-sort=\"%.9g\">%.3f</td><td class=\"n\" "
				"data-sort=\"%.9g\"><span class=\"%s\">%.3f</span>",
				phase_name(row->phase), row->a, row->a, row->b, row->b, row->ratio.ratio,
				!row->significant      ? ""
				: row->ratio.ratio > 1 ? "bad"
						       : "good",
				row->ratio.ratio);
			if (row->ratio.n > 1)
				fprintf(p->f, "<span class=\"iv\">[%.3f, %.3f]</span>", row->ratio.lo, row->ratio.hi);
			fprintf(p->f, "</td><td class=\"n\" data-sort=\"%.9g\">%.3g</td></tr>", row->q, row->q);
		}
		fputs("</tbody></table></div></details>", p->f);
	}
	if (c->nchanges) {
		fputs("<details open><summary>What is not the same in environment and spec</summary><div "
		      "class=\"wide\"><table><thead><tr><th>what<th>other<th>this"
		      "</tr></thead><tbody>",
		      p->f);
		for (unsigned i = 0; i < c->nchanges; i++) {
			fputs("<tr><th scope=\"row\">", p->f);
			page_text(p, c->change[i].what);
			fputs("</th><td class=\"wrap\">", p->f);
			page_text(p, c->change[i].a);
			fputs("</td><td class=\"wrap\">", p->f);
			page_text(p, c->change[i].b);
			fputs("</td></tr>", p->f);
		}
		fputs("</tbody></table></div></details>", p->f);
	}
	fputs("</section>\n", p->f);
}

/* ---- environment ---- */

static void value_text(const struct page *p, json_t *v)
{
	char *s;

	if (json_is_string(v)) {
		page_text(p, json_string_value(v));
		return;
	}
	if (json_is_array(v)) {
		for (size_t i = 0; i < json_array_size(v); i++) {
			if (i)
				fputs("<br>", p->f);
			value_text(p, json_array_get(v, i));
		}
		return;
	}
	s = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
	page_text(p, s ? s : "");
	free(s);
}

static void definitions(const struct page *p, json_t *o)
{
	const char *key;
	json_t *v;

	fputs("<dl>", p->f);
	json_object_foreach(o, key, v)
	{
		if (json_is_object(v))
			continue;
		fputs("<dt>", p->f);
		page_text(p, key);
		fputs("</dt><dd>", p->f);
		value_text(p, v);
		fputs("</dd>", p->f);
	}
	fputs("</dl>", p->f);
	json_object_foreach(o, key, v)
	{
		if (!json_is_object(v) || !json_object_size(v))
			continue;
		fputs("<details><summary>", p->f);
		page_text(p, key);
		fputs("</summary>", p->f);
		definitions(p, v);
		fputs("</details>", p->f);
	}
}

void page_environment(const struct page *p)
{
	const struct results *r = p->r;
	json_t *probe = json_object_get(r->head, "probe");

	fputs("<section id=\"environment\"><h2>Environment</h2>", p->f);
	definitions(p, json_object_get(r->head, "environment"));
	if (json_is_object(probe)) {
		fputs("<h3>What the probe found in this host's KVM</h3>", p->f);
		definitions(p, probe);
	}
	fputs("<details><summary>What was asked</summary>", p->f);
	definitions(p, json_object_get(r->head, "spec"));
	fputs("</details>", p->f);
	if (r->nevents) {
		fputs("<h3>What happened to the run</h3><div class=\"wide\"><table><tbody>", p->f);
		for (unsigned i = 0; i < r->nevents; i++) {
			fputs("<tr><td>", p->f);
			page_text(p, r->event[i].at ? r->event[i].at : "");
			fputs("</td><td>", p->f);
			page_text(p, r->event[i].what);
			fputs("</td><td class=\"wrap\">", p->f);
			page_text(p, r->event[i].why ? r->event[i].why : "");
			fputs("</td></tr>", p->f);
		}
		fputs("</tbody></table></div>", p->f);
	}
	if (r->nproblems) {
		fputs("<h3>Lines that could not be read</h3><ul class=\"small\">", p->f);
		for (unsigned i = 0; i < r->nproblems; i++) {
			fprintf(p->f, "<li>line %u: ", r->problem[i].line);
			page_text(p, r->problem[i].text);
			fputs("</li>", p->f);
		}
		fputs("</ul>", p->f);
	}
	fputs("<h2 id=\"again\">The same again</h2><pre>", p->f);
	page_text(p, r->command);
	fputs("</pre></section>\n", p->f);
}
