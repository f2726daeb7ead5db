// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Four pictures: ratios with their intervals (forest plot), the overhead in parts, every sample in the order of the run, the boot in
 * parts. Sizes are in the units of the view box; a page scrolls a picture sideways before its text gets too small to read.
 */
#include "eval/report/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void xml_text(FILE *f, const char *s)
{
	for (; s && *s; s++) {
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

/* Fill colours have at least 3 : 1 against their ground (WCAG 2.1, 1.4.11); text is always in the ground's text colour. */
static const struct {
	const char *light, *dark;
} path_colour[PICTURE_PATH_COLOURS] = {
	{"#1f5fa8", "#6fb1f2"}, {"#b4531a", "#f0a066"}, {"#3d7d2c", "#8fd06f"},
	{"#7d3c98", "#d29be6"}, {"#6b6b6b", "#b8b8b8"}, {"#00777a", "#5fd0d0"},
	{"#7a6a00", "#d6c64a"}, {"#c2255c", "#ff8fb3"}, {"#34348c", "#a9a9ff"},
};
static const struct {
	const char *light, *dark;
} part_colour[OVERHEAD_PARTS + 1] = {
	{"#1f5fa8", "#5b9be0"}, {"#5a86c4", "#86b8ee"}, {"#7f97bd", "#b0cdf0"}, {"#00777a", "#35a8ab"},
	{"#3f918a", "#7fcfc6"}, {"#7d3c98", "#b573d0"}, {"#9a6bb5", "#d0a3e3"}, {"#b4531a", "#e58a4e"},
	{"#5c6b2f", "#a9bd63"}, {"#c0702f", "#f0b27f"}, {"#8a6d3b", "#c9a66b"}, {"#857a52", "#ddcf9c"},
	{"#a83232", "#e57373"}, {"#777777", "#9a9a9a"}, {"#8c8c8c", "#565d66"},
};

void picture_style(FILE *f, bool alone)
{
	if (alone) {
		fputs("text{font:12px "
		      "sans-serif;fill:#1c1f23}.dim{fill:#59626c}.grid{stroke:#d8dde3}.one{stroke:#1c1f23}"
		      ".near{fill:#3d7d2c;opacity:.12}",
		      f);
		for (unsigned i = 0; i < PICTURE_PATH_COLOURS; i++)
			fprintf(f, ".k%u{fill:%s;stroke:%s}", i, path_colour[i].light, path_colour[i].light);
		for (unsigned i = 0; i <= OVERHEAD_PARTS; i++)
			fprintf(f, ".q%u{fill:%s}", i, part_colour[i].light);
		return;
	}
	for (unsigned dark = 0; dark < 2; dark++) {
		fputs(dark ? "@media screen and (prefers-color-scheme:dark){:root{" : ":root{", f);
		for (unsigned i = 0; i < PICTURE_PATH_COLOURS; i++)
			fprintf(f, "--k%u:%s;", i, dark ? path_colour[i].dark : path_colour[i].light);
		for (unsigned i = 0; i <= OVERHEAD_PARTS; i++)
			fprintf(f, "--q%u:%s;", i, dark ? part_colour[i].dark : part_colour[i].light);
		fputs(dark ? "}}" : "}", f);
	}
	for (unsigned i = 0; i < PICTURE_PATH_COLOURS; i++)
		fprintf(f, ".k%u{fill:var(--k%u);stroke:var(--k%u);background:var(--k%u)}", i, i, i, i);
	for (unsigned i = 0; i <= OVERHEAD_PARTS; i++)
		fprintf(f, ".q%u{fill:var(--q%u);background:var(--q%u)}", i, i, i);
	fputs("svg text{fill:var(--fg);font:12px system-ui,sans-serif}svg .dim{fill:var(--dim)}svg "
	      ".grid{stroke:var(--line)}"
	      "svg .one{stroke:var(--fg)}svg .near{fill:var(--k2);opacity:.13}",
	      f);
}

/* title: what a reader hears who cannot see it. */
static void begin(FILE *f, double width, double height, const char *title, bool alone)
{
	fprintf(f, "<svg %sviewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"",
		alone ? "xmlns=\"http://www.w3.org/2000/svg\" " : "", width, height);
	xml_text(f, title);
	fputs("\">", f);
	if (alone) {
		fputs("<style>", f);
		picture_style(f, true);
		fputs("</style>", f);
	}
}

static void keyed(FILE *f, const struct figure *g)
{
	fputs(" data-key=\"", f);
	xml_text(f, g->key);
	fprintf(f, "\" data-value=\"%.17g\"", g->value);
}

static void tip(FILE *f, const char *what, const struct figure *g)
{
	char v[32], i[64];

	figure_text(g, v, sizeof(v));
	figure_interval(g, i, sizeof(i));
	fputs("<title>", f);
	xml_text(f, what);
	fprintf(f, ": %s%s%s %s</title>", v, g->unit[0] ? " " : "", g->unit, i);
}

/* ---- forest plot ---- */

struct axis {
	double left, width, lo, hi;
};

static double axis_x(const struct axis *a, double v)
{
	v = fmin(fmax(v, a->lo), a->hi);
	return a->left + a->width * log(v / a->lo) / log(a->hi / a->lo);
}

static const struct figure *forest_figure(const struct picture_data *d, unsigned p, unsigned w)
{
	return figures_find(d->f, "ratio/%s/cpu/%s/%s", phase_name(d->phase), d->r->path[p].label,
			    d->r->workload[w].name);
}

static void stretch(struct axis *a, const struct figure *g)
{
	if (!g || !(g->value > 0))
		return;
	a->lo = fmin(a->lo, g->lo > 0 ? fmax(g->lo, g->value / 3) : g->value);
	a->hi = fmax(a->hi, g->hi > 0 ? fmin(g->hi, g->value * 3) : g->value);
}

static void forest_mark(FILE *f, const struct axis *a, const struct figure *g, unsigned p, double y, bool mean,
			const char *what)
{
	double x;

	if (!g)
		return;
	x = axis_x(a, g->value);
	fprintf(f, "<g class=\"k%u\"", p % PICTURE_PATH_COLOURS);
	keyed(f, g);
	fputc('>', f);
	tip(f, what, g);
	if (g->hi > 0)
		fprintf(f, "<path d=\"M%.1f %.1fH%.1f\" stroke-width=\"2\"/>", axis_x(a, g->lo), y, axis_x(a, g->hi));
	if (mean)
		fprintf(f, "<path d=\"M%.1f %.1fl5 5 -5 5 -5 -5z\"/>", x, y - 5);
	else
		fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", x, y);
	fputs("</g>", f);
}

static void forest_grid(FILE *f, const struct axis *a, double height)
{
	static const double ticks[] = {0.1, 0.2, 0.5, 0.8, 1,   1.25, 1.5,  2,    3,    5,
				       10,  20,  50,  100, 200, 500,  1000, 2000, 5000, 10000};
	double last = -100;

	fprintf(f, "<rect class=\"near\" x=\"%.1f\" y=\"0\" width=\"%.1f\" height=\"%.0f\"/>", axis_x(a, 1),
		axis_x(a, 1.05) - axis_x(a, 1), height - 20);
	for (unsigned i = 0; i < sizeof(ticks) / sizeof(ticks[0]); i++) {
		double x = axis_x(a, ticks[i]);

		if (ticks[i] < a->lo || ticks[i] > a->hi)
			continue;
		fprintf(f, "<path class=\"%s\" d=\"M%.1f 0V%.0f\"/>", ticks[i] == 1 ? "one" : "grid", x, height - 20);
		if (x - last < 34 && ticks[i] != 1)
			continue;
		fprintf(f, "<text class=\"dim\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.0f\">%g</text>", x, height - 6,
			ticks[i]);
		last = x;
	}
}

static bool shown(const struct picture_data *d, unsigned p)
{
	return effect_has(d->r, (int)p, -1, d->phase);
}

static bool forest(FILE *f, const struct picture_data *d, bool alone)
{
	const struct results *r = d->r;
	struct axis a = {.left = 150, .width = 700, .lo = 0.9, .hi = 1.3};
	double y = 14, height, row;
	unsigned paths = 0, rows = 0, groups = 0;
	char what[160];

	for (unsigned p = 0; p < r->npaths; p++)
		paths += shown(d, p);
	for (unsigned w = 0; w < r->nworkloads; w++) {
		bool any = false;

		for (unsigned p = 0; p < r->npaths; p++) {
			const struct figure *g = forest_figure(d, p, w);

			stretch(&a, g);
			any |= g != NULL;
		}
		rows += any;
	}
	if (!rows)
		return false;
	a.lo *= 0.95, a.hi *= 1.1;
	groups = r->ngroups;
	row = fmax(paths * 8 + 8, 20);
	height = 34 + groups * (22 + row) + rows * row;
	begin(f, 880, height, "CPU time relative to native, with 95 % intervals, by group", alone);
	forest_grid(f, &a, height);
	for (unsigned g = 0; g < groups; g++) {
		bool title = false;

		for (unsigned w = 0; w < r->nworkloads; w++) {
			unsigned k = 0;
			bool any = false;

			if (strcmp(r->workload[w].group, r->group[g]))
				continue;
			for (unsigned p = 0; p < r->npaths; p++)
				any |= forest_figure(d, p, w) != NULL;
			if (!any)
				continue;
			if (!title) {
				fprintf(f, "<text x=\"0\" y=\"%.0f\" font-weight=\"600\" style=\"font-weight:600\">",
					y + 4);
				xml_text(f, r->group[g]);
				fputs("</text>", f);
				y += 20;
				title = true;
			}
			fprintf(f, "<text x=\"10\" y=\"%.1f\">", y + row / 2 - 4);
			xml_text(f, r->workload[w].name);
			fputs("</text>", f);
			for (unsigned p = 0; p < r->npaths; p++) {
				if (!shown(d, p))
					continue;
				snprintf(what, sizeof(what), "%.60s on %.60s", r->workload[w].name, r->path[p].label);
				forest_mark(f, &a, forest_figure(d, p, w), p, y + 8 * k++, false, what);
			}
			y += row;
		}
		if (!title)
			continue;
		fprintf(f, "<text class=\"dim\" x=\"10\" y=\"%.1f\">geometric mean</text>", y + row / 2 - 4);
		for (unsigned p = 0, k = 0; p < r->npaths; p++) {
			if (!shown(d, p))
				continue;
			snprintf(what, sizeof(what), "mean of %.60s on %.60s", r->group[g], r->path[p].label);
			forest_mark(f, &a,
				    figures_find(d->f, "mean/%s/cpu/%s/%s", phase_name(d->phase), r->path[p].label,
						 r->group[g]),
				    p, y + 8 * k++, true, what);
		}
		y += row + 2;
	}
	fputs("</svg>", f);
	return true;
}

/* ---- overhead ---- */

/* Part i of a workload's overhead; the residual behind the last. NULL: none. */
static const struct figure *part_of(const struct picture_data *d, const char *name, unsigned i)
{
	const char *label = d->r->path[d->path].label, *phase = phase_name(d->phase);

	return i < OVERHEAD_PARTS ? figures_find(d->f, "part/%s/%s/%s/%s", phase, label, name, overhead_part_at(i)->key)
				  : figures_find(d->f, "residual/%s/%s/%s", phase, label, name);
}

/* What makes it slower goes to the right of the line, what makes it faster to the left; each bar in its own scale. */
static void overhead_bar(FILE *f, const struct picture_data *d, const char *name, double y)
{
	double zero = 260, sum[2] = {0, 0}, x[2] = {zero, zero}, scale;
	const struct figure *g;

	for (unsigned i = 0; i <= OVERHEAD_PARTS; i++)
		if ((g = part_of(d, name, i)))
			sum[g->value < 0] += fabs(g->value);
	scale = fmin(sum[0] > 0 ? 380 / sum[0] : 1e9, sum[1] > 0 ? 130 / sum[1] : 1e9);
	for (unsigned i = 0; i <= OVERHEAD_PARTS; i++) {
		double w;

		g = part_of(d, name, i);
		if (!g || g->value == 0)
			continue;
		w = fabs(g->value) * scale;
		if (g->value < 0)
			x[1] -= w;
		fprintf(f, "<rect class=\"q%u\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"14\"", i, x[g->value < 0],
			y, w);
		keyed(f, g);
		fputc('>', f);
		tip(f, i < OVERHEAD_PARTS ? overhead_part_at(i)->title : "residual", g);
		fputs("</rect>", f);
		if (g->value > 0)
			x[0] += w;
	}
}

static bool overhead(FILE *f, const struct picture_data *d, bool alone)
{
	const struct results *r = d->r;
	const char *label = r->path[d->path].label, *phase = phase_name(d->phase);
	unsigned rows = 0;
	double y = 4;

	for (unsigned w = 0; w < r->nworkloads; w++)
		rows += figures_find(d->f, "explained/%s/%s/%s", phase, label, r->workload[w].name) != NULL;
	if (!rows)
		return false;
	begin(f, 880, 8 + rows * 20, "Overhead by parts, each workload in its own scale", alone);
	fprintf(f, "<path class=\"one\" d=\"M260 0V%u\"/>", 8 + rows * 20);
	for (unsigned w = 0; w < r->nworkloads; w++) {
		const char *name = r->workload[w].name;
		const struct figure *over = figures_find(d->f, "over/%s/%s/%s", phase, label, name),
				    *explained = figures_find(d->f, "explained/%s/%s/%s", phase, label, name);
		char text[32];

		if (!over || !explained)
			continue;
		fprintf(f, "<text x=\"10\" y=\"%.1f\">", y + 12);
		xml_text(f, name);
		fputs("</text>", f);
		overhead_bar(f, d, name, y);
		figure_text(over, text, sizeof(text));
		fprintf(f, "<text text-anchor=\"end\" x=\"735\" y=\"%.1f\"", y + 12);
		keyed(f, over);
		fprintf(f, ">%s ms</text><text class=\"dim\" x=\"745\" y=\"%.1f\"", text, y + 12);
		keyed(f, explained);
		fprintf(f, ">%.1f %% explained</text>", explained->value);
		y += 20;
	}
	fputs("</svg>", f);
	return true;
}

/* ---- every sample ---- */

static bool strip(FILE *f, const struct picture_data *d, bool alone)
{
	const struct results *r = d->r;
	double *median = calloc(r->nworkloads + 1, sizeof(*median)), *v = malloc((r->nsamples + 1) * sizeof(*v));
	unsigned any = 0, last = 0;
	bool done = false;

	if (!median || !v)
		goto out;
	for (unsigned w = 0; w < r->nworkloads; w++) {
		unsigned n = 0;

		for (unsigned i = r->first[w]; i < r->first[w + 1]; i++) {
			const struct results_sample *s = &r->sample[r->by_workload[i]];

			if (s->path == d->path && s->timed && s->phase == d->phase && s->pass <= PASS_1)
				v[n++] = s->cpu_ns;
		}
		median[w] = stats_median(v, n);
		any += n;
	}
	for (unsigned i = 0; i < r->nsamples; i++)
		last = r->sample[i].order > last ? r->sample[i].order : last;
	if (!any)
		goto out;
	begin(f, 880, 96, "Every sample in run order, relative to its workload's median", alone);
	fputs("<path class=\"grid\" d=\"M60 8H870M60 80H870\"/><path class=\"one\" d=\"M60 44H870\"/>"
	      "<text class=\"dim\" x=\"0\" y=\"12\">+10 %</text><text class=\"dim\" x=\"0\" y=\"48\">median</text>"
	      "<text class=\"dim\" x=\"0\" y=\"84\">-10 %</text>",
	      f);
	/* a zero-length line with a round end is a dot; one path element holds them all. Flagged ones stand out. */
	for (unsigned flagged = 0; flagged < 2; flagged++) {
		fprintf(f, "<path class=\"k%u\" stroke-width=\"%s\" stroke-linecap=\"round\" fill=\"none\" d=\"",
			flagged       ? 1u
			: d->path < 0 ? 4u
				      : (unsigned)d->path % PICTURE_PATH_COLOURS,
			flagged ? "5" : "3");
		for (unsigned i = 0; i < r->nsamples; i++) {
			const struct results_sample *s = &r->sample[i];
			bool flag = s->pilot || s->unquiet || s->clock || !s->valid;
			double y;

			if (s->path != d->path || !s->timed || s->phase != d->phase || s->pass > PASS_1 ||
			    flag != flagged || !(median[s->workload] > 0))
				continue;
			y = 44 - 360 * (s->cpu_ns / median[s->workload] - 1);
			fprintf(f, "M%.1f %.1fh0", 60 + 810.0 * s->order / (last ? last : 1), fmin(fmax(y, 4), 92));
		}
		fputs("\"/>", f);
	}
	fputs("</svg>", f);
	done = true;
out:
	free(median);
	free(v);
	return done;
}

/* ---- boot ---- */

static bool boot(FILE *f, const struct picture_data *d, bool alone)
{
	static const struct {
		const char *key, *title;
		unsigned colour;
	} split[] = {{"start", "program to machine", 4},
		     {"kernel", "kernel to its first process", 0},
		     {"init", "init to the first workload", 3}};
	const struct results *r = d->r;
	const struct figure *g;
	double max = 0, y = 4;
	unsigned rows = 0;

	for (unsigned p = 0; p < r->npaths; p++) {
		double sum = 0;

		for (unsigned k = 0; k < 3; k++)
			sum += (g = figures_find(d->f, "boot/%s/%s", r->path[p].label, split[k].key)) ? g->value : 0;
		g = figures_find(d->f, "boot/%s/wall", r->path[p].label);
		sum = fmax(sum, g ? g->value : 0);
		rows += sum > 0;
		max = fmax(max, sum);
	}
	if (!rows)
		return false;
	begin(f, 880, 8 + rows * 24, "Boot by parts, seconds on the host's clock", alone);
	for (unsigned p = 0; p < r->npaths; p++) {
		double x = 150;
		const struct figure *wall = figures_find(d->f, "boot/%s/wall", r->path[p].label);
		char text[32];

		if (!wall)
			continue;
		fprintf(f, "<text x=\"0\" y=\"%.0f\">", y + 13);
		xml_text(f, r->path[p].label);
		fputs("</text>", f);
		for (unsigned k = 0; k < 3; k++) {
			g = figures_find(d->f, "boot/%s/%s", r->path[p].label, split[k].key);
			if (!g)
				continue;
			fprintf(f,
				"<rect class=\"k%u\" stroke-width=\"0\" x=\"%.1f\" y=\"%.0f\" width=\"%.2f\" "
				"height=\"16\"",
				split[k].colour, x, y, fmax(640 * g->value / max, 0.5));
			keyed(f, g);
			fputc('>', f);
			tip(f, split[k].title, g);
			fputs("</rect>", f);
			x += 640 * g->value / max;
		}
		if (x == 150) {
			fprintf(f,
				"<rect class=\"k4\" stroke-width=\"0\" x=\"%.1f\" y=\"%.0f\" width=\"%.2f\" "
				"height=\"16\"/>",
				x, y, 640 * wall->value / max);
			x += 640 * wall->value / max;
		}
		figure_text(wall, text, sizeof(text));
		fprintf(f, "<text x=\"%.1f\" y=\"%.0f\"", x + 6, y + 13);
		keyed(f, wall);
		fprintf(f, ">%s s</text>", text);
		y += 24;
	}
	fputs("</svg>", f);
	return true;
}

static const struct picture pictures[] = {
	{"forest", "CPU time relative to native", false, forest},
	{"overhead", "Where the time went", true, overhead},
	{"samples", "Every sample in run order", true, strip},
	{"boot", "Boot", false, boot},
};

const struct picture *picture_at(unsigned i)
{
	return i < sizeof(pictures) / sizeof(pictures[0]) ? &pictures[i] : NULL;
}

const struct picture *picture_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(pictures) / sizeof(pictures[0]); i++)
		if (!strcmp(pictures[i].name, name))
			return &pictures[i];
	return NULL;
}
