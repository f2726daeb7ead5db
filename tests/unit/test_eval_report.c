// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From records to the page: runs whose ratios, overheads and failures are known are written as JSON Lines, read, computed and
 * reported; and every figure that the page shows is the one that the summary has.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/report/compare.h"
#include "eval/report/effects.h"
#include "eval/report/figures.h"
#include "eval/report/page.h"
#include "eval/report/report.h"
#include "eval/results_file.h"
#include "tests/unit/check.h"

#define EXAMPLE "tests/golden/eval/example"

static char text[400];

/* ---- a run to order ---- */

struct order {
	unsigned blocks;
	double bt, inject, control, noise; /* ratios; relative noise */
	bool half, zero;                   /* vCPU time without samples: half of it, all of it */
	double coarse;                     /* of the second workload's control, where that is another */
	bool wrong;                        /* bt's fib has another checksum in the last block */
	bool sampled;
};

struct writer {
	char *data;
	size_t len;
	FILE *f;
	unsigned seq;
	struct rng rng;
};

/* The example's run record: with everything that the schema wants. */
static void begin(struct writer *w)
{
	char *data;
	size_t len;

	rng_seed(&w->rng, 11);
	w->seq = 1;
	w->f = open_memstream(&w->data, &w->len);
	if (!results_file_read(EXAMPLE, &data, &len, text, sizeof(text))) {
		printf("FAIL %s\n", text);
		exit(1);
	}
	fwrite(data, 1, (size_t)((char *)memchr(data, '\n', len) - data) + 1, w->f);
	free(data);
}

static void sample(struct writer *w, const char *path, const char *pass, unsigned block, const char *workload,
		   const char *group, unsigned iteration, double ns, bool valid, const char *more)
{
	fprintf(w->f,
		"{\"schema\":2,\"run\":\"20261122T190000-7\",\"type\":\"sample\",\"seq\":%u,\"block\":%u,\"path\":\"%"
		"s\",%s%s%s\"cpus\":1,"
		"\"workload\":\"%s\",\"group\":\"%s\",\"scale\":25,\"phase\":\"%s\",\"iteration\":%u,\"order\":%u,"
		"\"ok\":true,\"timed\":true,"
		"\"checksum\":\"00000000000f4240\",\"valid\":%s,\"wall_ns\":%.0f,\"cpu_ns\":%.0f,\"repeat\":1%s}\n",
		w->seq, block, path, pass ? "\"pass\":\"" : "", pass ? pass : "", pass ? "\"," : "", workload, group,
		iteration ? "steady" : "cold", iteration, w->seq, valid ? "true" : "false", ns * 1.1, ns, more);
	w->seq++;
}

static double noisy(struct writer *w, const struct order *o, double ns)
{
	return ns * exp(o->noise * rng_normal(&w->rng));
}

static struct results *run_of(const struct order *o)
{
	static const char *const workload[] = {"sieve", "getpid"}, *const group[] = {"int", "os"};
	struct writer w = {0};
	struct results *r;
	char parts[200] = "";

	begin(&w);
	if (o->sampled) /* of 2e8 ns: 1e8 is copied code, 9e7 known, 1e7 nobody's */
		strcpy(parts, ",\"threads\":{\"vcpu_ns\":195000000,\"io_ns\":4000000,\"other_ns\":1000000},"
			      "\"counters\":{\"sample_copy\":110000000,\"sample_check\":60000000,\"sample_dispatch\":"
			      "25000000,\"sample_interp\":0}");
	if (o->half)
		strcpy(parts, ",\"threads\":{\"vcpu_ns\":195000000,\"io_ns\":4000000,\"other_ns\":1000000},"
			      "\"counters\":{\"sample_copy\":55000000,\"sample_check\":40000000}");
	if (o->zero)
		strcpy(parts, ",\"threads\":{\"vcpu_ns\":195000000,\"io_ns\":4000000,\"other_ns\":1000000},"
			      "\"counters\":{\"sample_copy\":0,\"sample_check\":0}");
	for (unsigned b = 0; b < o->blocks; b++)
		for (unsigned k = 0; k < 2; k++) {
			double host = 1e8 * (1 + 0.2 * b); /* drift that blocks cancel */

			if (o->sampled)
				host = 1e8;
			for (unsigned i = 0; i < 3; i++) {
				sample(&w, "native", "0", b, workload[k], group[k], i, noisy(&w, o, host), true, "");
				sample(&w, "native", "1", b, workload[k], group[k], i,
				       noisy(&w, o, host * (k && o->coarse ? o->coarse : o->control)), true, "");
				sample(&w, "native", "inject", b, workload[k], group[k], i,
				       noisy(&w, o, host * o->inject), true, "");
				sample(&w, "bt", NULL, b, workload[k], group[k], i,
				       noisy(&w, o, host * o->bt * (i ? 1 : 1.5)),
				       !(o->wrong && k == 1 && b + 1 == o->blocks), parts);
			}
		}
	fclose(w.f);
	r = results_parse(w.data, w.len, "order", text, sizeof(text));
	if (!r) {
		printf("FAIL %s\n", text);
		exit(1);
	}
	CHECK(r->bad_lines == 0);
	if (r->bad_lines)
		printf("     %s\n", r->problem[0].text);
	free(w.data);
	return r;
}

/* ---- effects ---- */

static void exact(void)
{
	struct order o = {.blocks = 5, .bt = 2, .inject = 1.03, .control = 1};
	struct results *r = run_of(&o);
	struct effect e = effect_workload(r, 0, 0, PHASE_STEADY, METRIC_CPU);
	struct verdict v;

	near("ratio", e.t.ratio, 2, 1e-6);
	near("no scatter", e.t.hi - e.t.lo, 0, 1e-6);
	near("bootstrap", e.boot.ratio, 2, 1e-6);
	CHECK(e.t.n == 5);
	e = effect_workload(r, 0, 0, PHASE_COLD, METRIC_CPU);
	near("cold ratio", e.t.ratio, 3, 1e-6);
	near("warm-up", effect_warmup(r, 0, 1, METRIC_CPU).t.ratio, 1.5, 1e-6);
	near("native does not warm up", effect_warmup(r, RESULTS_NATIVE, 1, METRIC_CPU).t.ratio, 1, 1e-6);
	near("mean of all", effect_group(r, 0, "all", PHASE_STEADY, METRIC_WALL).t.ratio, 2, 1e-6);
	CHECK(effect_group(r, 0, "fp", PHASE_STEADY, METRIC_CPU).t.n == 0); /* nobody is in it */
	CHECK(effect_workload(r, 1, 0, PHASE_STEADY, METRIC_CPU).t.n == 0); /* interp did not run */
	CHECK(effect_group(r, 1, "all", PHASE_STEADY, METRIC_CPU).nfailed == 0);
	v = verdict_of(r);
	CHECK(v.sufficient && v.inject_found && v.inject_holds && v.resolution == 0.01);
	results_free(r);
}

static void verdicts(void)
{
	struct order o = {.blocks = 6, .bt = 1.5, .inject = 1.03, .control = 1.02};
	struct results *r = run_of(&o);
	struct verdict v = verdict_of(r);

	CHECK(!v.sufficient && v.inject_found && strstr(v.text, "Resolution insufficient: 2.0 %"));
	CHECK(!strcmp(v.group, "cpu")); /* sieve is in it, getpid is not */
	results_free(r);
	o = (struct order){.blocks = 6, .bt = 1.5, .inject = 1.1, .control = 1}; /* one that sees too much */
	r = run_of(&o);
	v = verdict_of(r);
	CHECK(!v.sufficient && v.inject_found && !v.inject_holds && strstr(v.text, "not as large as it is"));
	results_free(r);
	o = (struct order){.blocks = 6, .bt = 1.5, .inject = 1.03, .control = 1, .coarse = 1.05};
	r = run_of(&o);
	v = verdict_of(r);
	CHECK(v.sufficient && v.inject_holds && strstr(v.text, "Coarser groups: os 5.0 %."));
	results_free(r);
	o = (struct order){.blocks = 4, .bt = 1.5, .inject = 1.03, .control = 1, .noise = 0.01};
	r = run_of(&o);
	v = verdict_of(r);
	CHECK(!v.sufficient && strstr(v.text, " such blocks would show 1 %."));
	results_free(r);
	o.noise = 1;
	r = run_of(&o);
	v = verdict_of(r);
	CHECK(!v.sufficient && strstr(v.text, "too busy"));
	results_free(r);
	o = (struct order){.blocks = 6, .bt = 1.5, .inject = 1, .control = 1}; /* a harness that is blind */
	r = run_of(&o);
	v = verdict_of(r);
	CHECK(!v.sufficient && !v.inject_found && strstr(v.text, "NOT found"));
	results_free(r);
	o = (struct order){.blocks = 1, .bt = 1.5, .inject = 1.03, .control = 1};
	r = run_of(&o);
	v = verdict_of(r);
	CHECK(!v.sufficient && v.resolution == 0 && strstr(v.text, "one block has no interval"));
	results_free(r);
}

static void failures(void)
{
	struct order o = {.blocks = 4, .bt = 2, .inject = 1.03, .control = 1, .wrong = true};
	struct results *r = run_of(&o);
	struct effect e = effect_group(r, 0, "all", PHASE_STEADY, METRIC_CPU);
	struct figures *f = figures_build(r);

	CHECK(e.t.n == 0 && e.nfailed == 1 && e.failed[0] == 1);
	CHECK(effect_group(r, 0, "int", PHASE_STEADY, METRIC_CPU).t.n == 4);
	CHECK(effect_workload(r, 0, 1, PHASE_STEADY, METRIC_CPU).wrong);
	CHECK(f && !figures_find(f, "mean/steady/cpu/bt/all") && figures_find(f, "mean/steady/cpu/bt/int"));
	CHECK(f && f->verdict.invalid == 3);
	figures_free(f);
	results_free(r);
}

/* Counters that are there and 0: the path was not sampled. Half of the thread's time without a sample: not explained. */
static void unseen(void)
{
	struct order o = {.blocks = 3, .bt = 2, .inject = 1.03, .control = 1, .sampled = true, .half = true};
	struct results *r = run_of(&o);
	struct overhead w = overhead_workload(r, 0, 0, PHASE_STEADY);

	CHECK(w.sampled);
	near("not sampled", w.part_ns[13], 1e8, 1e3);
	near("so not explained", w.explained, -0.45, 1e-3); /* 1 - (45 + 100) / 100 */
	results_free(r);
	o = (struct order){.blocks = 3, .bt = 2, .inject = 1.03, .control = 1, .zero = true};
	r = run_of(&o);
	w = overhead_workload(r, 0, 0, PHASE_STEADY);
	CHECK(w.n == 3 && !w.sampled && w.part_ns[13] == 0);
	struct figures *f = figures_build(r);
	CHECK(f && figures_find(f, "over/steady/bt/sieve") && !figures_find(f, "explained/steady/bt/sieve"));
	figures_free(f);
	results_free(r);
}

static void overheads(void)
{
	struct order o = {.blocks = 3, .bt = 2, .inject = 1.03, .control = 1, .sampled = true};
	struct results *r = run_of(&o);
	struct overhead w = overhead_workload(r, 0, 0, PHASE_STEADY), g = overhead_group(r, 0, "all", PHASE_STEADY);

	CHECK(w.sampled && w.n == 3 && !w.small);
	near("overhead", w.over_ns, 1e8, 1e3);
	near("checks", w.part_ns[0], 6e7, 1e3);
	near("copied code", w.copy_ns, 1.1e8, 1e3);
	near("residual", w.residual_ns, 1e7, 1e3); /* 1e8 - 6e7 - 2.5e7 - 5e6 of other threads */
	near("explained", w.explained, 0.9, 1e-6);
	near("explained of all", g.explained, 0.9, 1e-6);
	near("overhead of all", g.over_ns, 2e8, 1e3);
	CHECK(overhead_workload(r, 1, 0, PHASE_STEADY).n == 0);
	results_free(r);
	o = (struct order){.blocks = 3, .bt = 1.01, .inject = 1.03, .control = 1};
	r = run_of(&o);
	w = overhead_workload(r, 0, 0, PHASE_STEADY);
	CHECK(w.n == 3 && w.small && overhead_group(r, 0, "all", PHASE_STEADY).n == 0);
	results_free(r);
}

/* ---- figures as people see them ---- */

static void digits(void)
{
	static const struct {
		double value, lo, hi;
		const char *unit, *text, *interval;
	} row[] = {
		{1.0113, 0.9721, 1.0520, "", "1.011", "[0.972, 1.052]"}, /* percents: three decimals */
		{2.464, 2.370, 2.562, "", "2.46", "[2.37, 2.56]"},
		{6.6573, 3.954, 11.214, "", "6.7", "[4.0, 11.2]"}, /* wide: no hundredths */
		{319.2, 269.1, 377.3, "", "319", "[269, 377]"},
		{2.24, 0.2025, 24.78, "", "2.2", "[0.20, 25]"}, /* no end is 0, for a ratio cannot be */
		{226, 0.79, 64414, "", "226", "[0.79, 64414]"},
		{1, 1, 1, "", "1.000", "[1.000, 1.000]"},
		{59.94, 0, 0, "", "59.9", ""},
		{5.2004, 0, 0, "%", "5.2", ""},
	};
	char shown[32], iv[64];

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct figure f = {.value = row[i].value, .lo = row[i].lo, .hi = row[i].hi, .n = 6, .unit = row[i].unit};

		figure_text(&f, shown, sizeof(shown));
		figure_interval(&f, iv, sizeof(iv));
		CHECK(!strcmp(shown, row[i].text) && !strcmp(iv, row[i].interval));
		if (strcmp(shown, row[i].text) || strcmp(iv, row[i].interval))
			printf("     %g: %s %s\n", row[i].value, shown, iv);
	}
}

/* Each path of a run has a colour of its own. */
static void colours(void)
{
	char *css = NULL, seen[PICTURE_PATH_COLOURS][8];
	size_t len;
	FILE *m = open_memstream(&css, &len);

	picture_style(m, true);
	fclose(m);
	for (unsigned i = 0; i < PICTURE_PATH_COLOURS; i++) {
		char key[16], *at;

		snprintf(key, sizeof(key), ".k%u{fill:", i);
		at = strstr(css, key);
		CHECK(at);
		snprintf(seen[i], sizeof(seen[i]), "%.7s", at ? at + strlen(key) : "");
		for (unsigned k = 0; k < i; k++)
			CHECK(strcmp(seen[k], seen[i]));
	}
	free(css);
}

/* ---- comparison ---- */

static void comparisons(void)
{
	struct order slow = {.blocks = 12, .bt = 2.2, .inject = 1.03, .control = 1, .noise = 0.01}, fast = slow;

	fast.bt = 2;
	struct results *a = run_of(&slow), *b = run_of(&fast);
	struct comparison *c = comparison_make(a, b), *same = comparison_make(a, a);

	CHECK(c && c->nrows == 4 && c->nsignificant == 4 && c->only_a == 0 && c->only_b == 0 && c->nchanges == 0);
	for (unsigned i = 0; c && i < c->nrows; i++) {
		near("b over a", c->row[i].ratio.ratio, 2 / 2.2, 0.02);
		CHECK(c->row[i].ratio.lo < 2 / 2.2 && c->row[i].ratio.hi > 2 / 2.2 && c->row[i].q >= c->row[i].p);
	}
	CHECK(same && same->nsignificant == 0 && same->nrows == 4);
	near("a over a", same ? same->row[0].ratio.ratio : 0, 1, 1e-12);
	comparison_free(c);
	comparison_free(same);
	results_free(a);
	results_free(b);
}

/* ---- the page ---- */

/* Of the last digit of the number that a text begins with. */
static double unit_of(const char *t)
{
	double unit = 1;

	t += strspn(t, "-0123456789");
	for (t += *t == '.'; *t >= '0' && *t <= '9'; t++)
		unit /= 10;
	return unit;
}

/* Every data-key of the page: is its value the summary's, and the text that one, rounded? */
static void page_of(const struct results *r, const struct comparison *cmp)
{
	struct figures *f = figures_build(r);
	json_t *summary = f ? figures_json(f, r) : NULL, *list = json_object_get(summary, "figures"), *e,
	       *index = json_object();
	char *html = NULL, *at, key[256];
	unsigned keys = 0, same = 0;
	struct page page = {NULL, r, f, cmp};
	size_t len, i;

	page.f = open_memstream(&html, &len);
	page_write(&page);
	fclose(page.f);
	CHECK(json_array_size(list) == f->n);
	json_array_foreach(list, i, e)
		json_object_set(index, json_string_value(json_object_get(e, "key")), json_object_get(e, "value"));
	CHECK(json_object_size(index) == f->n);
	for (at = html; (at = strstr(at, "data-key=\"")); at++) {
		double value, shown;
		char *v, *t;

		sscanf(at + 10, "%255[^\"]", key);
		v = strstr(at, "data-value=\"");
		e = json_object_get(index, key);
		keys++;
		if (!e || !v) {
			printf("FAIL the page's %s is not in the summary\n", key);
			continue;
		}
		value = strtod(v + 12, NULL);
		t = strchr(v, '>') + 1;
		same += value == json_real_value(e);
		if (sscanf(t, "%lf", &shown) == 1 && fabs(shown - value) > 0.51 * unit_of(t)) {
			printf("FAIL %s is %.6g and shown as %.6g\n", key, value, shown);
			same--;
		}
	}
	CHECK(keys > 30 && same == keys);
	/* asks nobody for anything */
	CHECK(!strstr(html, "http:") && !strstr(html, "https:") && !strstr(html, "@import") && !strstr(html, "url("));
	CHECK(strstr(html, "prefers-color-scheme:dark") && strstr(html, "@media print") && strstr(html, "</html>"));
	CHECK(strstr(html, r->command) != NULL);
	CHECK(!cmp == !strstr(html, "id=\"compare\""));
	json_decref(index);
	json_decref(summary);
	figures_free(f);
	free(html);
}

static void pictures(const struct results *r)
{
	struct figures *f = figures_build(r);
	const struct picture *p;

	for (unsigned i = 0; (p = picture_at(i)); i++) {
		struct picture_data d = {r, f, PHASE_STEADY, 0};
		char *svg = NULL;
		size_t len;
		FILE *m = open_memstream(&svg, &len);
		bool drawn = p->draw(m, &d, true);

		fclose(m);
		CHECK(drawn ? !strncmp(svg, "<svg xmlns=", 11) && strstr(svg, "</svg>") && !strstr(svg, "nan") &&
				      !strstr(svg, "inf\"")
			    : len == 0);
		CHECK(picture_find(p->name) == p);
		free(svg);
	}
	CHECK(!picture_find("none"));
	figures_free(f);
}

static void tables(const struct results *r)
{
	struct figures *f = figures_build(r);
	const struct csv_table *t;

	for (unsigned i = 0; (t = csv_table_at(i)); i++) {
		char *csv = NULL;
		size_t len;
		FILE *m = open_memstream(&csv, &len);
		unsigned rows = 0, columns = 0;

		t->write(m, r, f);
		fclose(m);
		for (const char *c = csv; *c && *c != '\n'; c++)
			columns += *c == ',';
		/* none of the names here has a comma: every row has as many */
		for (char *line = strtok(csv, "\n"); line; line = strtok(NULL, "\n"), rows++) {
			unsigned n = 0;

			for (const char *c = line; *c; c++)
				n += *c == ',';
			CHECK(n == columns);
		}
		CHECK(rows >= 1);
		if (!strcmp(t->name, "samples"))
			CHECK(rows == r->nsamples + 1);
		if (!strcmp(t->name, "figures"))
			CHECK(rows == f->n + 1);
		free(csv);
	}
	figures_free(f);
}

int main(void)
{
	struct order o = {.blocks = 4, .bt = 1.8, .inject = 1.03, .control = 1, .noise = 0.02, .sampled = true};
	struct results *r = run_of(&o), *example = results_load(EXAMPLE, text, sizeof(text));
	struct comparison *c;

	exact();
	digits();
	colours();
	verdicts();
	failures();
	overheads();
	unseen();
	comparisons();
	CHECK(example != NULL);
	c = example ? comparison_make(r, example) : NULL;
	page_of(r, NULL);
	if (example) {
		page_of(example, c);
		pictures(example);
		tables(example);
	}
	pictures(r);
	comparison_free(c);
	results_free(example);
	results_free(r);
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
