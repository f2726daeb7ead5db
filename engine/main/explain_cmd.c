// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The verb: options, what the pictures share, and their way out. Words go to stdout, or the picture with --dot; --out BASE writes
 * BASE.dot, and BASE.svg where Graphviz's dot is installed.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/main/explain.h"
#include "engine/main/verbs.h"
#include "eval/results_file.h"

const struct explain_kind_row explain_kinds[EXPLAIN_KINDS] = {
	[EXPLAIN_GUEST] = {"#ffffff", "the guest's"},
	[EXPLAIN_COPIED] = {"#d5e8d4", "copied: runs as it is"},
	[EXPLAIN_CHECK] = {"#fff2cc", "check or upkeep in the same code"},
	[EXPLAIN_HELPER] = {"#dae8fc", "helper call: a C function does it"},
	[EXPLAIN_EXIT] = {"#f8cecc", "exit: leaves guest code"},
	[EXPLAIN_COUNTER] = {"#e1d5e7", "counter: only because blocks are being counted"},
};

void explain_quoted(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
	}
}

void explain_html(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
			fprintf(f, "&#%d;", *s);
		else
			fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
	}
}

void explain_begin(struct explain *x, const char *name, const char *rankdir)
{
	fprintf(x->dot,
		"digraph %s {\n"
		"rankdir=%s; fontname=\"Helvetica\"; bgcolor=\"white\";\n"
		"node [shape=box, style=\"filled\", fillcolor=\"white\", fontname=\"Helvetica\", fontsize=11];\n"
		"edge [fontname=\"Helvetica\", fontsize=10, color=\"#555555\"];\n",
		name, rankdir);
}

void explain_end(struct explain *x, unsigned kinds)
{
	fprintf(x->dot, "legend [shape=plain, fillcolor=\"white\", label=<<table border=\"0\" cellborder=\"1\" "
			"cellspacing=\"0\">");
	for (unsigned k = 0; k < EXPLAIN_KINDS; k++)
		if (kinds & 1u << k)
			fprintf(x->dot, "<tr><td align=\"left\" bgcolor=\"%s\">%s</td></tr>", explain_kinds[k].colour,
				explain_kinds[k].word);
	fprintf(x->dot, "</table>>];\n}\n");
}

bool explain_address(const json_t *o, const char *field, uint64_t *v)
{
	const char *s = json_string_value(json_object_get(o, field));
	char *end;

	if (!s || strncmp(s, "0x", 2) || !s[2])
		return false;
	errno = 0;
	*v = strtoull(s + 2, &end, 16);
	return !*end && !errno && s[2] != '-' && s[2] != '+';
}

/* One object for each line that is one: what a run killed in its last line leaves behind is none. */
static json_t *load_lines(struct explain *x, FILE *f, const char *name)
{
	json_t *all = json_array();
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	while ((n = getline(&line, &cap, f)) > 0) {
		json_t *o = *line == '{' ? json_loadb(line, (size_t)n, 0, NULL) : NULL;

		if (json_is_object(o))
			json_array_append_new(all, o);
		else
			json_decref(o);
	}
	free(line);
	if (json_array_size(all))
		return all;
	error_set(&x->e, ST_BAD_FILE, "%s has no line that is a JSON object", name);
	json_decref(all);
	return NULL;
}

json_t *explain_load(struct explain *x, const char *file)
{
	FILE *f = fopen(file, "re");
	json_error_t je;
	json_t *all;

	if (!f) {
		error_errno(&x->e, ST_NOT_FOUND, "cannot read %s", file);
		return NULL;
	}
	all = json_loadf(f, JSON_REJECT_DUPLICATES, &je);
	if (!all)
		error_set(&x->e, ST_BAD_FILE, "%s is no JSON: line %d, %s", file, je.line, je.text);
	fclose(f);
	return all;
}

json_t *explain_load_lines(struct explain *x, const char *from)
{
	char *data = NULL;
	struct stat st;
	size_t len = 0;
	json_t *all;
	FILE *f;

	if (!stat(from, &st) && S_ISDIR(st.st_mode)) {
		x->e.status = ST_BAD_FILE;
		if (!results_file_read(from, &data, &len, x->e.msg, sizeof(x->e.msg)))
			return NULL;
		x->e.status = ST_OK;
		f = fmemopen(data, len ? len : 1, "r");
	} else {
		f = fopen(from, "re");
	}
	if (!f) {
		error_errno(&x->e, ST_NOT_FOUND, "cannot read %s", from);
		free(data);
		return NULL;
	}
	all = load_lines(x, f, from);
	fclose(f);
	free(data);
	return all;
}

/* ---- the verb ---- */

static void help(FILE *f)
{
	fputs("Usage: steelyard explain PICTURE ... [OPTION]...\n"
	      "Draws what a machine does, in the language of Graphviz, and says it in words.\n\n"
	      "Pictures:\n"
	      "  exits FILE|FOLDER     what the guest did that its path could not just run, and who handled it: from a "
	      "file\n"
	      "                        that \"run --json\" wrote to stderr, or a folder of \"eval\"\n"
	      "  block FILE            the hottest blocks with the guest's code and its translation side by side: "
	      "from\n"
	      "                        \"run --path bt --hot-blocks FILE\"\n"
	      "  walk NAME ADDRESS     the page walk of a linear address in a machine that runs or is paused\n"
	      "  walk FILE             the same from \"steelyard vm walk NAME ADDRESS -o json\"\n"
	      "\nOptions:\n"
	      "  --out BASE            write BASE.dot, and BASE.svg where dot is installed\n"
	      "  --dot                 print the picture instead of the words\n"
	      "  --costs FILE          exits: estimate times by what \"eval machine --json\" measured\n"
	      "  --top N               block: so many blocks, 1 to 64 (default 8)\n"
	      "  --vcpu N              walk: with this vCPU's tables (default 0)\n"
	      "  --help                this text\n",
	      f);
}

static enum status write_file(struct explain *x, const char *base, const char *dot)
{
	char name[4200];
	FILE *f;
	bool bad;

	snprintf(name, sizeof(name), "%s.dot", base);
	f = fopen(name, "we");
	if (!f)
		return error_errno(&x->e, ST_DENIED, "cannot write %s", name);
	fputs(dot, f);
	bad = ferror(f);
	if (fclose(f) || bad)
		return error_set(&x->e, ST_IO, "cannot write all of %s: is the disk full?", name);
	fprintf(stderr, "steelyard: wrote %s\n", name);
	return ST_OK;
}

/* dot -Tsvg, by the user's PATH. */
static enum status draw(struct explain *x, const char *base)
{
	char dot[4200], svg[4200];
	int status = 0;
	pid_t pid;

	snprintf(dot, sizeof(dot), "%s.dot", base);
	snprintf(svg, sizeof(svg), "%s.svg", base);
	pid = fork();
	if (pid < 0)
		return error_errno(&x->e, ST_NO_MEMORY, "cannot start dot");
	if (!pid) {
		int in = open(dot, O_RDONLY | O_CLOEXEC),
		    out = open(svg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

		if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0)
			_exit(125);
		execlp("dot", "dot", "-Tsvg", (char *)NULL);
		unlink(svg);
		_exit(errno == ENOENT ? 126 : 127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
		fprintf(stderr, "steelyard: no %s: dot is not installed (Debian: graphviz)\n", svg);
	else if (!WIFEXITED(status) || WEXITSTATUS(status))
		return error_set(&x->e, ST_IO, "dot -Tsvg <%s >%s failed", dot, svg);
	else
		fprintf(stderr, "steelyard: wrote %s\n", svg);
	return ST_OK;
}

static bool number(const char *s, int lo, int hi, int *out)
{
	char *end;
	long n = strtol(s, &end, 10);

	*out = (int)n;
	return end != s && !*end && n >= lo && n <= hi;
}

int explain_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"out", required_argument, NULL, 'o'},
		{"dot", no_argument, NULL, 'd'},
		{"costs", required_argument, NULL, 'c'},
		{"top", required_argument, NULL, 't'},
		{"vcpu", required_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct explain x = {.top = 8, .timeout_ms = 30000};
	const char *base = NULL, *what, *a, *b;
	char *dot = NULL, *text = NULL;
	size_t ndot = 0, ntext = 0;
	bool print_dot = false;
	enum status st;
	int o, n;

	opterr = 0;
	optind = 1;
	while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (o) {
		case 'o':
			base = optarg;
			break;
		case 'd':
			print_dot = true;
			break;
		case 'c':
			x.costs = optarg;
			break;
		case 't':
			if (!number(optarg, 1, 64, &n))
				return verb_usage("explain: --top %.40s: give a number from 1 to 64", optarg);
			x.top = (unsigned)n;
			break;
		case 'v':
			if (!number(optarg, 0, 63, &x.vcpu))
				return verb_usage("explain: --vcpu %.40s: give a number from 0 to 63", optarg);
			break;
		case 'h':
			help(stdout);
			return EXIT_OK;
		default:
			return verb_usage("explain: unknown option or no value: %s (\"steelyard explain --help\")",
					  argv[optind - 1]);
		}
	}
	what = optind < argc ? argv[optind++] : "";
	a = optind < argc ? argv[optind++] : NULL;
	b = optind < argc ? argv[optind++] : NULL;
	if ((strcmp(what, "exits") && strcmp(what, "block") && strcmp(what, "walk")) || !a || optind < argc ||
	    (b && *what != 'w'))
		return verb_usage(
			"explain: give \"exits FILE\", \"block FILE\", \"walk NAME ADDRESS\" or \"walk FILE\"");
	x.dot = open_memstream(&dot, &ndot);
	x.text = open_memstream(&text, &ntext);
	if (!x.dot || !x.text)
		return verb_usage("explain: no memory");
	st = *what == 'e' ? explain_exits(&x, a) : *what == 'b' ? explain_block(&x, a) : explain_walk(&x, a, b);
	fclose(x.dot);
	fclose(x.text);
	if (st == ST_OK) {
		if (base && (st = write_file(&x, base, dot)) == ST_OK)
			st = draw(&x, base);
		if (st == ST_OK)
			fputs(print_dot ? dot : text, stdout);
	}
	free(dot);
	free(text);
	return st == ST_OK ? EXIT_OK : verb_fail(&x.e);
}
