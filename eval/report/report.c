// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * "steelyard eval report" and "compare": reads folders, builds figures once, hands them to whoever writes. A derived file is written
 * beside its place and renamed, so that a full disk leaves the old one.
 */
#include "eval/report/report.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eval/report/page.h"
#include "eval/seal.h"

#define NAME_MAX_BYTES 4200

static int complain(const char *name, const char *what)
{
	fprintf(stderr, "steelyard eval: %s: %s\n", name, what);
	return 1;
}

struct out {
	FILE *f;
	char name[NAME_MAX_BYTES], tmp[NAME_MAX_BYTES + 8];
};

static bool out_open(struct out *o, const char *name)
{
	snprintf(o->name, sizeof(o->name), "%s", name);
	snprintf(o->tmp, sizeof(o->tmp), "%s.part", o->name);
	o->f = fopen(o->tmp, "w");
	if (!o->f)
		complain(o->tmp, strerror(errno));
	return o->f != NULL;
}

/* 0, or 1 with a complaint. */
static int out_close(struct out *o, bool keep)
{
	bool bad = ferror(o->f) != 0;
	int err = errno;

	if (fclose(o->f)) {
		bad = true;
		err = errno;
	}
	if (!keep || bad || rename(o->tmp, o->name)) {
		if (keep && !bad)
			err = errno;
		unlink(o->tmp);
		return keep ? complain(o->name, strerror(err)) : 0;
	}
	return 0;
}

static bool folder(const char *dir)
{
	if (!mkdir(dir, 0777) || errno == EEXIST)
		return true;
	complain(dir, strerror(errno));
	return false;
}

/* What an option names, else the usual place; NULL: not wanted, or DIR is a file and has no places. */
static const char *place(const char *option, const char *dir, const char *usual, char *buf)
{
	struct stat st;

	if (option)
		return option[0] ? option : NULL;
	if (stat(dir, &st) || !S_ISDIR(st.st_mode))
		return NULL;
	snprintf(buf, NAME_MAX_BYTES, "%.4000s/%s", dir, usual);
	return buf;
}

static int write_summary(const char *name, const struct results *r, const struct figures *f)
{
	json_t *o = figures_json(f, r);
	struct out out;
	int rc = 1;

	if (!o)
		complain(name, "not enough memory");
	else if (out_open(&out, name)) {
		json_dumpf(o, out.f, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
		fputc('\n', out.f);
		rc = out_close(&out, true);
	}
	json_decref(o);
	return rc;
}

static int write_page(const char *name, const struct page *page)
{
	struct page p = *page;
	struct out out;

	if (!out_open(&out, name))
		return 1;
	p.f = out.f;
	page_write(&p);
	return out_close(&out, true);
}

static int write_tables(const char *dir, const struct results *r, const struct figures *f)
{
	char name[NAME_MAX_BYTES];
	const struct csv_table *t;
	struct out out;
	int rc = 0;

	if (!folder(dir))
		return 1;
	for (unsigned i = 0; !rc && (t = csv_table_at(i)); i++) {
		snprintf(name, sizeof(name), "%.4000s/%s.csv", dir, t->name);
		if (!out_open(&out, name))
			return 1;
		t->write(out.f, r, f);
		rc = out_close(&out, true);
	}
	return rc;
}

/* A path's label in a file's name. */
static void file_word(const char *label, char *out, unsigned n)
{
	unsigned i = 0;

	for (; label[i] && i + 1 < n; i++)
		out[i] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", label[i])
				 ? label[i]
				 : '-';
	out[i] = 0;
}

static int write_pictures(const char *dir, const struct results *r, const struct figures *f)
{
	char name[NAME_MAX_BYTES], word[64];
	const struct picture *pic;
	int rc = 0;

	if (!folder(dir))
		return 1;
	for (unsigned i = 0; !rc && (pic = picture_at(i)); i++)
		for (int p = pic->per_path ? RESULTS_NATIVE : 0; !rc && p < (pic->per_path ? (int)r->npaths : 1); p++) {
			struct picture_data d = {r, f, f->verdict.phase, p};
			struct out out;
			bool drawn;

			if (p == RESULTS_NATIVE && strcmp(pic->name, "samples"))
				continue;
			file_word(results_path_label(r, p), word, sizeof(word));
			snprintf(name, sizeof(name), "%.4000s/%s%s%s.svg", dir, pic->name, pic->per_path ? "-" : "",
				 pic->per_path ? word : "");
			if (!out_open(&out, name))
				return 1;
			drawn = pic->draw(out.f, &d, true);
			fputc('\n', out.f);
			rc = out_close(&out, drawn);
		}
	return rc;
}

/* A sealed folder stays sealed when the report adds to it; one that is not what its seal says gets no new one. */
static bool is_intact(const char *dir)
{
	char name[NAME_MAX_BYTES], why[400];

	snprintf(name, sizeof(name), "%.4000s/SHA256SUMS", dir);
	if (access(name, F_OK))
		return false;
	if (seal_verify(dir, SEAL_FILES, why, sizeof(why)))
		return true;
	fprintf(stderr, "steelyard eval: %s; SHA256SUMS stays as it is\n", why);
	return false;
}

static int write_all(const char *dir, const struct report_options *o, const struct page *page)
{
	char buf[NAME_MAX_BYTES];
	const char *to;
	int rc = 0;

	if ((to = place(o->summary, dir, "summary.json", buf)))
		rc |= write_summary(to, page->r, page->figures);
	if ((to = place(o->csv_dir, dir, "tables", buf)))
		rc |= write_tables(to, page->r, page->figures);
	if ((to = place(o->svg_dir, dir, "figures", buf)))
		rc |= write_pictures(to, page->r, page->figures);
	if ((to = place(o->html, dir, "report.html", buf))) {
		rc |= write_page(to, page);
		if (!rc && !o->quiet && !o->json)
			printf("\nThe page: %s\n", to);
	}
	return rc;
}

int eval_report(const char *dir, const struct report_options *o)
{
	struct results *r, *other = NULL;
	struct comparison *c = NULL;
	struct figures *f = NULL;
	char why[400];
	int rc = 1;

	r = results_load(dir, why, sizeof(why));
	if (r && o->other)
		other = results_load(o->other, why, sizeof(why));
	if (!r || (o->other && !other)) {
		fprintf(stderr, "steelyard eval: %s\n", why);
		results_free(r);
		return 1;
	}
	f = figures_build(r);
	if (other)
		c = comparison_make(other, r);
	if (!f || (other && !c)) {
		complain(dir, "not enough memory");
	} else {
		struct page page = {NULL, r, f, c};

		if (o->json) {
			json_t *j = figures_json(f, r);

			json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
			putchar('\n');
			json_decref(j);
		} else if (!o->quiet) {
			report_text(stdout, r, f);
		}
		bool seal = is_intact(dir);

		rc = write_all(dir, o, &page);
		/* the same files again need no new seal */
		if (seal && !seal_verify(dir, SEAL_EXACT, why, sizeof(why)) && !seal_write(dir, why, sizeof(why)))
			rc = complain(dir, why);
	}
	comparison_free(c);
	figures_free(f);
	results_free(other);
	results_free(r);
	if (fflush(stdout)) {
		fprintf(stderr, "steelyard eval: stdout: %s\n", strerror(errno));
		rc = 1;
	}
	return rc;
}

/* ---- verbs ---- */

static const struct option options[] = {
	{"html", required_argument, NULL, 'h'},    {"csv", required_argument, NULL, 'c'},
	{"svg", required_argument, NULL, 's'},     {"summary", required_argument, NULL, 'u'},
	{"json", no_argument, NULL, 'j'},          {"quiet", no_argument, NULL, 'q'},
	{"against", required_argument, NULL, 'a'}, {"no-files", no_argument, NULL, 'n'},
	{"help", no_argument, NULL, '?' + 1},      {NULL, 0, NULL, 0},
};

static void report_usage(FILE *f)
{
	fputs("usage: steelyard eval report DIR [options]\n"
	      "Computes everything again from DIR/results.jsonl (or .zst, .xz) and writes into DIR summary.json, "
	      "report.html,\n"
	      "figures/*.svg and tables/*.csv; the table goes to stdout.\n"
	      "  --html F       the page goes to F\n"
	      "  --csv D        the tables go to folder D\n"
	      "  --svg D        the pictures go to folder D\n"
	      "  --summary F    the summary goes to F\n"
	      "  --against D    the page compares DIR with the run in folder D\n"
	      "  --no-files     writes no file but those that an option names\n"
	      "  --json         the summary on stdout instead of the table\n"
	      "  --quiet        nothing on stdout\n",
	      f);
}

int report_main(int argc, char **argv)
{
	struct report_options o = {0};
	const char *const none = "";
	bool no_files = false;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			o.html = optarg;
			break;
		case 'c':
			o.csv_dir = optarg;
			break;
		case 's':
			o.svg_dir = optarg;
			break;
		case 'u':
			o.summary = optarg;
			break;
		case 'a':
			o.other = optarg;
			break;
		case 'n':
			no_files = true;
			break;
		case 'j':
			o.json = true;
			break;
		case 'q':
			o.quiet = true;
			break;
		case '?' + 1:
			report_usage(stdout);
			return 0;
		default:
			fprintf(stderr, "steelyard eval report: %s %s; see --help\n", argv[optind - 1],
				c == ':' ? "needs a value" : "is not an option");
			return 2;
		}
	}
	if (optind + 1 != argc) {
		fputs("steelyard eval report: give one results folder; see --help\n", stderr);
		return 2;
	}
	if (no_files) {
		o.html = o.html ? o.html : none;
		o.csv_dir = o.csv_dir ? o.csv_dir : none;
		o.svg_dir = o.svg_dir ? o.svg_dir : none;
		o.summary = o.summary ? o.summary : none;
	}
	return eval_report(argv[optind], &o);
}

static json_t *compare_json(const struct comparison *c)
{
	json_t *rows = json_array(), *changes = json_array();

	for (unsigned i = 0; i < c->nrows; i++) {
		const struct compare_row *row = &c->row[i];

		json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}",
						      "workload", row->workload, "path", row->path, "phase",
						      phase_name(row->phase), "scale_a", row->scale_a, "scale_b",
						      row->scale_b, "a", row->a, "b", row->b, "ratio",
						      row->ratio.ratio, "lo", row->ratio.lo, "hi", row->ratio.hi, "p",
						      row->p, "q", row->q, "significant", row->significant));
	}
	for (unsigned i = 0; i < c->nchanges; i++)
		json_array_append_new(changes, json_pack("{s:s, s:s, s:s}", "what", c->change[i].what, "a",
							 c->change[i].a, "b", c->change[i].b));
	return json_pack("{s:s, s:s, s:i, s:o, s:o}", "a", c->a->run, "b", c->b->run, "significant", c->nsignificant,
			 "rows", rows, "changes", changes);
}

static void compare_usage(FILE *f)
{
	fputs("usage: steelyard eval compare A B [--json] [--html F]\n"
	      "Two results folders: ratio of their ratios to native with intervals, what changed in the environment.\n"
	      "  --json     as one JSON object\n"
	      "  --html F   writes B's page with the comparison in it\n",
	      f);
}

int compare_main(int argc, char **argv)
{
	static const struct option compare_options[] = {{"json", no_argument, NULL, 'j'},
							{"html", required_argument, NULL, 'h'},
							{"help", no_argument, NULL, '?' + 1},
							{NULL, 0, NULL, 0}};
	struct report_options o = {.html = "", .csv_dir = "", .svg_dir = "", .summary = "", .quiet = true};
	struct results *a, *b = NULL;
	struct comparison *cmp = NULL;
	bool json = false;
	char why[400];
	int c, rc = 1;

	optind = 1;
	while ((c = getopt_long(argc, argv, ":", compare_options, NULL)) != -1) {
		if (c == 'j') {
			json = true;
		} else if (c == 'h') {
			o.html = optarg;
		} else if (c == '?' + 1) {
			compare_usage(stdout);
			return 0;
		} else {
			fprintf(stderr, "steelyard eval compare: %s %s; see --help\n", argv[optind - 1],
				c == ':' ? "needs a value" : "is not an option");
			return 2;
		}
	}
	if (optind + 2 != argc) {
		fputs("steelyard eval compare: give two results folders; see --help\n", stderr);
		return 2;
	}
	a = results_load(argv[optind], why, sizeof(why));
	if (a)
		b = results_load(argv[optind + 1], why, sizeof(why));
	if (!a || !b) {
		fprintf(stderr, "steelyard eval: %s\n", why);
	} else if (!(cmp = comparison_make(a, b))) {
		complain("compare", "not enough memory");
	} else if (json) {
		json_t *j = compare_json(cmp);

		rc = !j || json_dumpf(j, stdout, JSON_INDENT(1)) || putchar('\n') == EOF;
		json_decref(j);
	} else {
		compare_text(stdout, cmp);
		rc = 0;
	}
	if (!rc && o.html[0]) {
		o.other = argv[optind];
		rc = eval_report(argv[optind + 1], &o);
	}
	comparison_free(cmp);
	results_free(a);
	results_free(b);
	return rc;
}
