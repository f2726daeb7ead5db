// SPDX-License-Identifier: GPL-2.0-or-later
/* The page from its head to the tables of ratios: what may be believed stands first, then the picture, then every number. */
#include "eval/report/page.h"

#include <stdlib.h>
#include <string.h>

#include "eval/report/report.h"

void page_text(const struct page *p, const char *s)
{
	xml_text(p->f, s);
}

void page_figure(const struct page *p, const struct figure *g, bool interval)
{
	char text[32], iv[64];

	if (!g) {
		fputs("<span class=\"dim\">-</span>", p->f);
		return;
	}
	figure_text(g, text, sizeof(text));
	figure_interval(g, iv, sizeof(iv));
	fputs("<span data-key=\"", p->f);
	page_text(p, g->key);
	fprintf(p->f, "\" data-value=\"%.17g\">%s</span>", g->value, text);
	if (interval && iv[0] && g->n < p->r->nblocks)
		fprintf(p->f, "<span class=\"iv\">%s %u blocks</span>", iv, g->n);
	else if (interval)
		fprintf(p->f, "<span class=\"iv\">%s</span>", iv[0] ? iv : g->n == 1 ? "one block" : "");
}

void page_cell(const struct page *p, const struct figure *g, bool interval)
{
	if (g)
		fprintf(p->f, "<td class=\"n\" data-sort=\"%.9g\">", g->value);
	else
		fputs("<td class=\"n\" data-sort=\"1e99\">", p->f);
	page_figure(p, g, interval);
	fputs("</td>", p->f);
}

void page_legend(const struct page *p, enum results_phase phase)
{
	fputs("<ul class=\"legend\">", p->f);
	for (unsigned i = 0; i < p->r->npaths; i++) {
		if (!effect_has(p->r, (int)i, -1, phase))
			continue;
		fprintf(p->f, "<li><i class=\"k%u\"></i>", i % PICTURE_PATH_COLOURS);
		page_text(p, p->r->path[i].label);
		fputs("</li>", p->f);
	}
	fputs("</ul>", p->f);
}

static const char *env(const struct page *p, const char *key)
{
	const char *s = json_string_value(json_object_get(json_object_get(p->r->head, "environment"), key));

	return s ? s : "";
}

static void head(const struct page *p)
{
	fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
	      "content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">"
	      ""
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
	      "script-src 'unsafe-inline'; "
	      "img-src data:\"><link rel=\"icon\" href=\"data:,\"><title>Steelyard: ",
	      p->f);
	page_text(p, p->r->spec);
	fputs(", ", p->f);
	page_text(p, p->r->run);
	fputs("</title><style>", p->f);
	fputs(page_style, p->f);
	picture_style(p->f, false);
	fputs("</style></head><body><header><h1>How close to the bare machine?</h1><p class=\"dim\">Spec <b>", p->f);
	page_text(p, p->r->spec);
	fprintf(p->f, "</b>, run <code>");
	page_text(p, p->r->run);
	fputs("</code>, started ", p->f);
	page_text(p, p->r->started);
	fputs(" on ", p->f);
	page_text(p, env(p, "cpu"));
	fputs(".</p></header>\n", p->f);
}

static void flaw(const struct page *p, const char *key, const char *text)
{
	const struct figure *g = figures_find(p->figures, "count/%s", key);

	if (!g || !(g->value > 0))
		return;
	fputs("<li>", p->f);
	page_figure(p, g, false);
	fprintf(p->f, " %s</li>", text);
}

static void verdict(const struct page *p)
{
	const struct verdict *v = &p->figures->verdict;
	json_t *probe = json_object_get(p->r->head, "probe");
	const char *level = json_string_value(json_object_get(probe, "verdict")),
		   *vendor = json_string_value(json_object_get(probe, "vendor")),
		   *automatic = json_string_value(json_object_get(probe, "auto"));

	fprintf(p->f, "<section id=\"verdict\"><div class=\"verdict%s\"><strong>%s</strong><p>",
		v->sufficient ? "" : " poor",
		v->sufficient   ? "Valid within its resolution"
		: v->resolution ? "Resolution insufficient"
				: "Resolution unknown");
	page_text(p, v->text);
	fputs("</p><ul class=\"small\">", p->f);
	if (!p->r->complete)
		fputs("<li class=\"bad\">The run did not end: what is here is what had been written.</li>", p->f);
	if (!strcmp(p->r->spec, "quick"))
		fputs("<li>Spec quick: few blocks and small work. It shows that everything runs, and roughly how fast; "
		      "it is no basis for a claim.</li>",
		      p->f);
	flaw(p, "bad_lines", "lines of the results could not be read; they are listed at the end.");
	flaw(p, "invalid", "samples have a checksum that is not the native one. Their workloads have no ratio.");
	flaw(p, "untimed", "samples have a result but no time: both markers had waited for a busy host.");
	flaw(p, "unquiet", "samples were taken while the host was not quiet.");
	flaw(p, "clock", "samples: the guest's clock and the host's differ by more than 0.5&nbsp;% and 1&nbsp;ms.");
	for (unsigned i = 0; i < p->r->nevents; i++) {
		if (strcmp(p->r->event[i].what, "unlike"))
			continue;
		fputs("<li class=\"bad\">The hosts of this sweep are not alike: ", p->f);
		page_text(p, p->r->event[i].why);
		fputs("</li>", p->f);
	}
	if (level) {
		fputs("<li>KVM here: ", p->f);
		page_text(p, level);
		fputs(" (", p->f);
		page_text(p, vendor);
		if (env(p, "kvm_module")[0]) {
			fputs("; modules ", p->f);
			page_text(p, env(p, "kvm_module"));
		}
		fputs("). ", p->f);
		if (automatic && automatic[0]) {
			fputs("<code>--path auto</code> takes ", p->f);
			page_text(p, automatic);
			fputs(". ", p->f);
		}
		if (vendor && strcmp(vendor, "VT-x") && strcmp(vendor, "AMD-V"))
			fputs("Nothing in this report was measured with VT-x or AMD-V by us.", p->f);
		fputs("</li>", p->f);
	}
	fputs("</ul></div>", p->f);
}

/* No failure, and yet no mean of all. */
static void left_out(const struct page *p, unsigned path)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return;
	left_out_text(f, p->r, (int)path, "");
	fclose(f);
	if (text && text[0]) {
		fputs("no mean of all:", p->f);
		page_text(p, text);
	}
	free(text);
}

/* The path's boot alone, or its reason, where there is no ratio. */
static void summary_row(const struct page *p, unsigned i, enum results_phase phase)
{
	const struct results_path *path = &p->r->path[i];
	const struct figure *mean = figures_find(p->figures, "mean/%s/cpu/%s/all", phase_name(phase), path->label);
	const struct stats_class *class;
	struct stats_ratio upper = {0};
	unsigned failed = 0;
	struct effect e;

	fputs("<tr><th scope=\"row\">", p->f);
	page_text(p, path->label);
	fputs("</th>", p->f);
	page_cell(p, mean, true);
	page_cell(p, figures_find(p->figures, "mean/%s/wall/%s/all", phase_name(phase), path->label), true);
	fputs("<td>", p->f);
	if (mean) {
		const struct figure *u =
			figures_find(p->figures, "upper/%s/cpu/%s/all", phase_name(phase), path->label);

		upper.n = mean->n;
		upper.upper = u ? u->value : 0;
		class = u ? stats_class(&upper) : NULL;
		fputs(class ? class->text : "one block, no class", p->f);
	}
	fputs("</td>", p->f);
	page_cell(p, figures_find(p->figures, "boot/%s/cpu", path->label), true);
	page_cell(p, figures_find(p->figures, "boot/%s/memory", path->label), false);
	fputs("<td class=\"wrap\">", p->f);
	e = effect_group(p->r, (int)i, "all", phase, METRIC_CPU);
	for (unsigned k = 0; k < e.nfailed && k < sizeof(e.failed) / sizeof(e.failed[0]); k++) {
		if (results_left_out(p->r, (int)i, (unsigned)e.failed[k]))
			continue;
		fputs(failed++ ? " " : "<span class=\"bad\">no mean, failed:</span> ", p->f);
		page_text(p, p->r->workload[e.failed[k]].name);
	}
	if (failed)
		fputs(". ", p->f);
	left_out(p, i);
	if (path->why)
		page_text(p, path->why);
	fputs("</td></tr>", p->f);
}

static void summary(const struct page *p)
{
	enum results_phase phase = p->figures->verdict.phase;
	const char *group;

	fprintf(p->f, "<div class=\"wide\"><table><thead><tr><th>path<th class=\"n\">CPU time, native = 1<th "
		      "class=\"n\">wall time<th>class"
		      "<th class=\"n\">boot, CPU s<th class=\"n\">MiB beside RAM<th>remarks</tr></thead><tbody>");
	for (unsigned i = 0; i < p->r->npaths; i++)
		summary_row(p, i, phase);
	fprintf(p->f,
		"</tbody></table></div><p class=\"small dim\">Geometric means of all workloads, %s phase, 95&nbsp;%% "
		"intervals over blocks. A class "
		"goes by the one-sided 95&nbsp;%% upper bound.</p>",
		phase_name(phase));
	fputs("<details><summary>Control and injected slowdown by group</summary><div "
	      "class=\"wide\"><table><thead><tr><th>group<th "
	      "class=\"n\">native again<th class=\"n\">slowed down</tr></thead><tbody>",
	      p->f);
	for (unsigned i = 0; (group = results_group_at(p->r, i)); i++) {
		const struct figure *c = figures_find(p->figures, "control/%s/cpu/group %s", phase_name(phase), group);

		if (!c)
			continue;
		fputs("<tr><th scope=\"row\">", p->f);
		page_text(p, group);
		fputs("</th>", p->f);
		page_cell(p, c, true);
		page_cell(p, figures_find(p->figures, "inject/%s/cpu/group %s", phase_name(phase), group), true);
		fputs("</tr>", p->f);
	}
	fputs("</tbody></table></div></details></section>\n", p->f);
}

static void forest(const struct page *p)
{
	struct picture_data d = {p->r, p->figures, p->figures->verdict.phase, 0};

	fputs("<section id=\"ratios\"><h2>CPU time relative to native</h2>", p->f);
	page_legend(p, d.phase);
	fputs("<figure><div class=\"wide\">", p->f);
	if (!picture_find("forest")->draw(p->f, &d, false))
		fputs("<p>No ratio: see the remarks above.</p>", p->f);
	fputs("</div><figcaption>A dot is the ratio, the line its 95&nbsp;% interval, a diamond the group's geometric "
	      "mean; logarithmic. The shaded "
	      "band ends at 1.05, the bound of near-native.</figcaption></figure></section>\n",
	      p->f);
}

static void ratio_row(const struct page *p, unsigned w, const char *phase, const char *metric)
{
	const char *name = p->r->workload[w].name;

	fputs("<tr><th scope=\"row\">", p->f);
	page_text(p, name);
	fputs("</th><td>", p->f);
	page_text(p, p->r->workload[w].group);
	fputs("</td>", p->f);
	page_cell(p, figures_find(p->figures, "native/%s/%s/%s", phase, metric, name), false);
	for (unsigned i = 0; i < p->r->npaths; i++) {
		const struct figure *g =
			figures_find(p->figures, "ratio/%s/%s/%s/%s", phase, metric, p->r->path[i].label, name);

		if (p->r->path[i].boot_only)
			continue;
		page_cell(p, g, true);
	}
	page_cell(p, figures_find(p->figures, "control/%s/%s/%s", phase, metric, name), true);
	fputs("</tr>", p->f);
}

static void mean_row(const struct page *p, const char *group, const char *phase, const char *metric)
{
	fputs("<tr class=\"mean\"><th scope=\"row\">geometric mean</th><td>", p->f);
	page_text(p, group);
	fputs("</td><td></td>", p->f);
	for (unsigned i = 0; i < p->r->npaths; i++)
		if (!p->r->path[i].boot_only)
			page_cell(
				p,
				figures_find(p->figures, "mean/%s/%s/%s/%s", phase, metric, p->r->path[i].label, group),
				true);
	page_cell(p, figures_find(p->figures, "control/%s/%s/group %s", phase, metric, group), true);
	fputs("</tr>", p->f);
}

static void ratios(const struct page *p, enum results_phase ph, enum results_metric m, bool open)
{
	const char *phase = phase_name(ph), *metric = metric_name(m), *group;

	if (!effect_has(p->r, RESULTS_NATIVE, -1, ph))
		return;
	fprintf(p->f,
		"<details%s><summary>%s time, %s</summary><div class=\"wide\"><table "
		"class=\"sort\"><thead><tr><th>workload<th>group"
		"<th class=\"n\">native ms",
		open ? " open" : "", m == METRIC_CPU ? "CPU" : "Wall",
		ph == PHASE_COLD ? "first execution (cold)" : "later executions (steady)");
	for (unsigned i = 0; i < p->r->npaths; i++) {
		if (p->r->path[i].boot_only)
			continue;
		fputs("<th class=\"n\">", p->f);
		page_text(p, p->r->path[i].label);
	}
	fputs("<th class=\"n\">native again</tr></thead><tbody>", p->f);
	for (unsigned w = 0; w < p->r->nworkloads; w++)
		ratio_row(p, w, phase, metric);
	for (unsigned i = 0; (group = results_group_at(p->r, i)); i++)
		mean_row(p, group, phase, metric);
	fputs("</tbody></table></div></details>", p->f);
}

static void tables(const struct page *p)
{
	enum results_phase first = p->figures->verdict.phase;

	fputs("<section id=\"tables\"><h2>Every ratio</h2>", p->f);
	for (unsigned k = 0; k < PHASES; k++) {
		enum results_phase ph = k ? (first == PHASE_COLD ? PHASE_STEADY : PHASE_COLD) : first;

		ratios(p, ph, METRIC_CPU, k == 0);
		ratios(p, ph, METRIC_WALL, false);
	}
	fputs("</section>\n", p->f);
}

void page_write(const struct page *p)
{
	head(p);
	fputs("<nav aria-label=\"Sections\"><a href=\"#verdict\">Verdict</a><a href=\"#ratios\">Ratios</a><a "
	      "href=\"#tables\">Tables</a>",
	      p->f);
	if (p->compare)
		fputs("<a href=\"#compare\">Comparison</a>", p->f);
	fputs("<a href=\"#overhead\">Overhead</a><a href=\"#boot\">Boot</a><a href=\"#machine\">Machine</a><a "
	      "href=\"#samples\">Samples</a>"
	      "<a href=\"#environment\">Environment</a></nav><main>\n",
	      p->f);
	verdict(p);
	summary(p);
	page_compare(p);
	forest(p);
	tables(p);
	page_overhead(p);
	page_boot(p);
	page_warmup(p);
	page_machine(p);
	page_samples(p);
	page_environment(p);
	fputs("</main><script>", p->f);
	fputs(page_script, p->f);
	fputs("</script></body></html>\n", p->f);
}
