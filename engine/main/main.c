/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program: a table of verbs. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/main/verbs.h"
#if __has_include("fastpath/probe.h")
#include "fastpath/probe.h"
#define HAVE_PROBE 1
#endif
#if __has_include("eval/eval.h")
#include "eval/eval.h"
#define HAVE_EVAL 1
#endif
#include "mgmt/image.h"

#ifndef STEELYARD_VERSION
#define STEELYARD_VERSION "0.1"
#endif

struct verb {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *what;
};

static const struct verb verbs[] = {
	{"run", run_main, "run a guest: a kernel, a multiboot program, a flat binary or a ROM"},
	{"vm", vm_main, "list, pause, stop and ask machines that run"},
#ifdef HAVE_PROBE
	{"probe", probe_main, "what this host offers, and which path a guest would take"},
#endif
	{"image", image_main, "make a root image of Debian that boots"},
	{"explain", explain_main, "draw exits, hot blocks with their translations, page walks"},
#ifdef HAVE_EVAL
	{"eval", eval_main, "run workloads on every path that works here and compare them"},
#endif
};

int verb_fail(const struct error *e)
{
	fprintf(stderr, "steelyard: %s\n", e->msg);
	return e->status == ST_INVALID ? EXIT_USAGE : EXIT_HOST;
}

int verb_usage(const char *fmt, ...)
{
	va_list ap;

	fputs("steelyard: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

static void help(FILE *f)
{
	fputs("Usage: steelyard VERB [OPTION]...\n"
	      "Runs unmodified x86 guests along several execution paths and weighs them against the bare machine.\n\n"
	      "Verbs:\n",
	      f);
	for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
		fprintf(f, "  %-8s %s\n", verbs[i].name, verbs[i].what);
	fputs("\n\"steelyard VERB --help\" tells more; \"steelyard --version\" says which this is.\n", f);
}

/* The verb that a mistyped word may have meant: same first letter, or one contains the other. */
static const char *similar(const char *word)
{
	for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
		if (*word && (strstr(word, verbs[i].name) || strstr(verbs[i].name, word) || *word == *verbs[i].name))
			return verbs[i].name;
	return NULL;
}

/* A closed standard descriptor would become the next file that we open: guest memory, with a serial line's output in
 * it. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const char *hint;

	open_standard_files();

	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help(stdout);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("steelyard " STEELYARD_VERSION);
		return EXIT_OK;
	}
	for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].main(argc - 1, argv + 1);
	hint = similar(argv[1]);
	if (hint)
		return verb_usage("unknown verb \"%s\": did you mean \"%s\"? (\"steelyard --help\" lists all)", argv[1],
				  hint);
	return verb_usage("unknown verb \"%s\": \"steelyard --help\" lists them", argv[1]);
}
