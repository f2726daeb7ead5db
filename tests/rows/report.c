/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rows were executed where. A folder holds files of counts, SUITE.PATH or SUITE.PATH.WHAT: diff.bt, guest.interp.smc,
 * boot.bt.amd64. The files of one suite and path are one column.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/status.h"
#include "tests/rows/rows.h"

static const struct column {
	const char *file, *title;
} columns[] = {
	{"diff.interp", "diff interp"},   {"diff.bt", "diff bt"},	{"guest.interp", "guests interp"},
	{"guest.bt", "guests bt"},	  {"boot.interp", "boot interp"}, {"boot.bt", "boot bt"},
};
#define COLUMNS ARRAY_LEN(columns)

struct report {
	uint64_t *count[COLUMNS];
	unsigned files[COLUMNS];
};

static bool executed(const struct report *r, unsigned row, const char *suite)
{
	for (unsigned c = 0; c < COLUMNS; c++)
		if (r->count[c][row] && !strncmp(columns[c].file, suite, strlen(suite)))
			return true;
	return false;
}

static bool read_folder(struct report *r, const char *folder)
{
	struct dirent **list;
	int n = scandir(folder, &list, NULL, alphasort);
	bool ok = n >= 0;

	if (n < 0)
		printf("cannot read folder %s\n", folder);
	for (int i = 0; i < n; i++) {
		char name[600];

		snprintf(name, sizeof(name), "%s/%s", folder, list[i]->d_name);
		for (unsigned c = 0; c < COLUMNS; c++) {
			size_t len = strlen(columns[c].file);

			if (strncmp(list[i]->d_name, columns[c].file, len) || (list[i]->d_name[len] && list[i]->d_name[len] != '.'))
				continue;
			ok &= counts_read(name, r->count[c]);
			r->files[c]++;
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return ok;
}

static double percent(unsigned part, unsigned all)
{
	return all ? 100.0 * part / all : 0;
}

struct summary {
	unsigned rows, diff, guest, boot, any;
};

static struct summary summarize(const struct report *r, enum row_file f)
{
	struct summary s = {0};

	for (unsigned row = 0; row < nrows; row++) {
		if (rows[row].file != f)
			continue;
		s.rows++;
		s.diff += executed(r, row, "diff");
		s.guest += executed(r, row, "guest");
		s.boot += executed(r, row, "boot");
		s.any += executed(r, row, "");
	}
	return s;
}

static void print_summary(const struct report *r, FILE *f, const char *prefix)
{
	for (unsigned k = 0; k < ROW_FILES; k++) {
		struct summary s = summarize(r, (enum row_file)k);

		fprintf(f, "%s%-12s %4u of %4u rows executed, %5.1f %%  (diff %u, guests %u, boot %u)\n", prefix, row_file_name[k],
			s.any, s.rows, percent(s.any, s.rows), s.diff, s.guest, s.boot);
	}
}

static void write_text(const struct report *r, FILE *f)
{
	fprintf(f, "Executions of the rows of translator/isa_*.def\n\n");
	print_summary(r, f, "");
	for (unsigned k = 0; k < ROW_FILES; k++) {
		fprintf(f, "\n%-18s", row_file_name[k]);
		for (unsigned c = 0; c < COLUMNS; c++)
			fprintf(f, "%15s", columns[c].title);
		fprintf(f, "\n");
		for (unsigned row = 0; row < nrows; row++) {
			if (rows[row].file != k)
				continue;
			fprintf(f, "%-18s", rows[row].name);
			for (unsigned c = 0; c < COLUMNS; c++)
				fprintf(f, "%15" PRIu64, r->count[c][row]);
			fprintf(f, "%s\n", executed(r, row, "") ? "" : "  never");
		}
	}
}

static void write_html(const struct report *r, FILE *f)
{
	fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Steelyard: coverage by instruction row</title>\n"
	      "<style>:root{color-scheme:light dark}body{font:15px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}"
	      "th,td{padding:2px 10px;border-bottom:1px solid #8884;text-align:right}th:first-child,td:first-child{text-align:left}"
	      "thead th{position:sticky;top:0;background:Canvas}.none{color:#c33}.zero{opacity:.4}</style>\n"
	      "<h1>Coverage by instruction row</h1>\n<p>How often each row of translator/isa_*.def was executed, by suite and "
	      "path. A row in red was never.</p>\n<table><thead><tr><th>table<th>rows<th>executed<th>%<th>in diff<th>in guests"
	      "<th>in the boot</thead>\n", f);
	for (unsigned k = 0; k < ROW_FILES; k++) {
		struct summary s = summarize(r, (enum row_file)k);

		fprintf(f, "<tr><td><a href=\"#%s\">%s</a><td>%u<td>%u<td>%.1f<td>%u<td>%u<td>%u\n", row_file_name[k],
			row_file_name[k], s.rows, s.any, percent(s.any, s.rows), s.diff, s.guest, s.boot);
	}
	fputs("</table>\n", f);
	for (unsigned k = 0; k < ROW_FILES; k++) {
		fprintf(f, "<h2 id=\"%s\">%s</h2>\n<table><thead><tr><th>row", row_file_name[k], row_file_name[k]);
		for (unsigned c = 0; c < COLUMNS; c++)
			fprintf(f, "<th>%s", columns[c].title);
		fputs("</thead>\n", f);
		for (unsigned row = 0; row < nrows; row++) {
			if (rows[row].file != k)
				continue;
			fprintf(f, "<tr%s><td>%s", executed(r, row, "") ? "" : " class=\"none\"", rows[row].name);
			for (unsigned c = 0; c < COLUMNS; c++)
				fprintf(f, "<td%s>%" PRIu64, r->count[c][row] ? "" : " class=\"zero\"", r->count[c][row]);
			fputs("\n", f);
		}
		fputs("</table>\n", f);
	}
	fputs("</html>\n", f);
}

static bool write_file(const struct report *r, const char *name, void (*write)(const struct report *, FILE *))
{
	FILE *f = fopen(name, "w");

	if (f)
		write(r, f);
	if (!f || (ferror(f) | fclose(f))) {
		printf("cannot write %s\n", name);
		return false;
	}
	return true;
}

int rows_report(const char *folder, const char *text, const char *html)
{
	struct report r = {0};
	bool ok = true;

	for (unsigned c = 0; c < COLUMNS; c++)
		ok &= (r.count[c] = calloc(nrows, sizeof(uint64_t))) != NULL;
	ok = ok && read_folder(&r, folder) && write_file(&r, text, write_text) && write_file(&r, html, write_html);
	if (ok) {
		for (unsigned c = 0; c < COLUMNS; c++)
			if (!r.files[c])
				printf("rows: no counts of %s\n", columns[c].title);
		print_summary(&r, stdout, "rows ");
	}
	for (unsigned c = 0; c < COLUMNS; c++)
		free(r.count[c]);
	return ok ? 0 : 1;
}
