/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The differential test: random instruction cases on the host processor and on the execution paths, compared.
 *
 *   diff [--n CASES] [--seed N|random] [--mode 16|32|64|all] [--paths interp,bt,cold] [--form NAME|=NAME] [--golden FOLDER]
 *        [--save FOLDER] [--row-counts FOLDER] [--unicorn] [--reports N] [--list]
 *
 * --n counts cases over all modes: 64-bit, and 32- and 16-bit, each in a guest in compatibility mode and in one in legacy
 * protected mode. Golden files are replayed first. Every form gets its turn: forms are dealt like cards, a quarter of the
 * encodings are sequences. The same seed gives the same cases; a reported difference names the encoding's own seed, which
 * with --form rebuilds it alone. --list prints the forms.
 * --row-counts: FOLDER/diff.PATH tells how often each row of the instruction tables was executed (translator/rows.h); what bt
 * interprets while it is cold has no counters, so the path cold has no such file.
 *
 * Status: 0 all agree, 1 a difference, 2 usage, 3 the test itself could not run. Where the native child cannot run at all
 * the test prints SKIP and passes.
 */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/exec.h"
#include "tests/diff/diff.h"
#include "translator/rows.h"

#define MAX_PATHS 4 /* interp, bt, cold, libunicorn */
#define HANG_SECONDS 60

struct path {
	const char *name;
	const struct exec_ops *ops;
	unsigned bt_cold; /* as in struct vm_config */
	struct guestrun *run;
	struct unirun *uni;
	struct dout *outs;
	uint64_t passed, failed, skipped, known;
	uint64_t rows[VCPU_ROWS]; /* --row-counts */
};

struct test {
	uint64_t n, seed;
	unsigned modes; /* bits: 16, 32, 64 */
	bool unicorn, list;
	const char *form, *golden, *save, *rows;
	unsigned reports;

	struct form_table forms;
	struct native *native;
	struct path path[MAX_PATHS];
	unsigned npaths;
	uint32_t *form_fails; /* by form and path */
	uint32_t *form_cases;
	unsigned *deck, deck_at, deck_n;
	struct rng rng;
	uint64_t passed, failed, skipped;
	struct dcase *cases;
	uint64_t by_vector[256]; /* native outcomes; VEC_BP is the INT3 behind the code, too */
	uint64_t steps;
	const char *why_stopped;
};

/* The watchdog can only print through a variable. */
static struct test *watched;

static void print_position(const struct test *t, const char *who, unsigned at)
{
	const struct dcase *c = &t->cases[at];

	dprintf(2, "%s: case %u, %s, mode %u, seed %#" PRIx64 "\n", who, at,
		c->form == FORM_GOLDEN ? "golden" : t->forms.form[c->form].name, c->mode, c->seed);
}

static void on_alarm(int sig)
{
	struct test *t = watched;

	(void)sig;
	print_position(t, "native", native_position(t->native));
	for (unsigned p = 0; p < t->npaths; p++)
		if (t->path[p].run)
			print_position(t, t->path[p].name, guestrun_position(t->path[p].run));
	dprintf(2, "a batch did not end within %d seconds\n0 passed, 1 failed\n", HANG_SECONDS);
	_exit(1);
}

static const char *form_name(const struct test *t, const struct dcase *c)
{
	return c->form == FORM_GOLDEN ? "golden" : t->forms.form[c->form].name;
}

/* Compares one path's batch with the processor's. */
static void judge(struct test *t, struct path *p, unsigned count)
{
	const struct dout *want = native_outs(t->native);
	char what[160];

	for (unsigned i = 0; i < count; i++) {
		const struct dcase *c = &t->cases[i];
		const char *why;

		if (p->outs[i].skip) {
			p->skipped++;
			continue;
		}
		if (outs_agree(c, &want[i], &p->outs[i], what, sizeof(what))) {
			p->passed++;
			continue;
		}
		why = p->uni ? unirun_known(c, &want[i], &p->outs[i]) : path_known(p->ops, c, &want[i], &p->outs[i]);
		if (why) {
			p->known++;
			continue;
		}
		p->failed++;
		if (c->form != FORM_GOLDEN) {
			uint32_t *fails = &t->form_fails[c->form * MAX_PATHS + (unsigned)(p - t->path)];

			if ((*fails)++)
				continue;
		}
		if (t->reports) {
			t->reports--;
			report_difference(c, form_name(t, c), p->name, &want[i], &p->outs[i], what);
		} else {
			printf("DIFF %s: %s, %u-bit: %s; seed %#" PRIx64 "\n", p->name, form_name(t, c), c->mode, what, c->seed);
		}
		if (t->save && c->form != FORM_GOLDEN && !golden_save(t->save, c, form_name(t, c), p->name))
			printf("cannot write to %s\n", t->save);
	}
}

/* Memory outside the windows must be untouched too. */
static void judge_pages(struct test *t, struct path *p, uint64_t failed_before)
{
	if (!p->run || p->failed != failed_before)
		return;
	for (unsigned page = 1; page <= 3; page++) {
		const uint8_t *a = native_page(t->native, page);
		uint8_t *b = guestrun_page(p->run, page);

		for (unsigned i = WIN_BYTES / 2; i < 4096 - WIN_BYTES / 2; i++)
			if (a[i] != b[i]) {
				printf("DIFF %s: a stray write to data page %u offset %#x in this batch (first form %s)\n", p->name, page,
				       i, form_name(t, &t->cases[0]));
				p->failed++;
				memcpy(b, a, 4096); /* once is enough */
				return;
			}
	}
}

static bool run_batch(struct test *t, unsigned count)
{
	alarm(HANG_SECONDS);
	native_submit(t->native, count);
	for (unsigned p = 0; p < t->npaths; p++)
		if (t->path[p].run)
			guestrun_submit(t->path[p].run, t->cases, count, t->path[p].outs);
	if (!native_wait(t->native)) {
		t->why_stopped = "the native child died";
		return false;
	}
	for (unsigned i = 0; i < count; i++) {
		t->by_vector[native_outs(t->native)[i].vector]++;
		t->steps += native_outs(t->native)[i].steps;
	}
	for (unsigned p = 0; p < t->npaths; p++) {
		uint64_t before = t->path[p].failed;

		if (!t->path[p].run && !t->path[p].uni)
			continue;

		if (t->path[p].run)
			guestrun_wait(t->path[p].run);
		else
			unirun_batch(t->path[p].uni, t->cases, count, t->path[p].outs);
		judge(t, &t->path[p], count);
		judge_pages(t, &t->path[p], before);
	}
	alarm(0);
	return true;
}

static bool form_wanted(const struct test *t, const char *name)
{
	if (!t->form)
		return true;
	return t->form[0] == '=' ? !strcmp(t->form + 1, name) : strstr(name, t->form) != NULL;
}

static bool make_deck(struct test *t)
{
	unsigned nseq = 0, n = 0;

	for (unsigned i = 0; i < t->forms.n; i++)
		nseq += t->forms.form[i].seq && form_wanted(t, t->forms.form[i].name);
	t->deck = malloc(sizeof(*t->deck) * (t->forms.n * 2 + 1));
	if (!t->deck)
		return false;
	for (unsigned i = 0; i < t->forms.n; i++)
		if (!t->forms.form[i].seq && form_wanted(t, t->forms.form[i].name))
			t->deck[n++] = i;
	for (unsigned i = 0, plain = n; nseq && (!plain ? i < nseq : i < plain / 3); i++)
		t->deck[n++] = t->forms.n - nseq + i % nseq;
	t->deck_n = t->deck_at = n;
	return n > 0;
}

static unsigned next_form(struct test *t)
{
	if (t->deck_at == t->deck_n) {
		for (unsigned i = t->deck_n; i > 1; i--) {
			unsigned j = rng_below(&t->rng, i), x = t->deck[j];

			t->deck[j] = t->deck[i - 1];
			t->deck[i - 1] = x;
		}
		t->deck_at = 0;
	}
	return t->deck[t->deck_at++];
}

static bool random_cases(struct test *t, uint64_t n)
{
	uint64_t number = 0;

	while (n) {
		unsigned codes = 0;

		for (; codes < BATCH_CODES && n; codes++) {
			unsigned f = next_form(t);

			gen_cases(&t->forms, f, t->seed + 0x632be59bd9b4e019ull * number++, codes, &t->cases[codes * CODE_STATES]);
			t->form_cases[f] += CODE_STATES;
			n -= n < CODE_STATES ? n : CODE_STATES;
		}
		if (!run_batch(t, codes * CODE_STATES))
			return false;
	}
	return true;
}

static bool golden_cases(struct test *t, unsigned mode, unsigned *files)
{
	struct dirent **list;
	int n = t->golden ? scandir(t->golden, &list, NULL, alphasort) : -1;
	bool ok = true;

	for (int i = 0; i < n; i++) {
		size_t len = strlen(list[i]->d_name);
		char name[600];

		snprintf(name, sizeof(name), "%s/%s", t->golden, list[i]->d_name);
		if (ok && len > 5 && !strcmp(list[i]->d_name + len - 5, ".case")) {
			struct dcase c;

			if (!golden_load(name, &c)) {
				printf("FAIL %s is not a golden case\n", name);
				t->failed++;
			} else if (c.mode == mode && (!c.compat || t->forms.compat)) {
				uint64_t before = 0, after = 0;

				for (unsigned p = 0; p < t->npaths; p++)
					before += t->path[p].failed;
				t->cases[0] = c;
				ok = run_batch(t, 1);
				for (unsigned p = 0; p < t->npaths; p++)
					after += t->path[p].failed;
				if (after != before)
					printf("FAIL %s\n", name);
				(*files)++;
			}
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return ok;
}

static void print_forms(const struct test *t)
{
	for (unsigned i = 0; i < t->forms.n; i++)
		for (unsigned p = 0; p < t->npaths; p++)
			if (t->form_fails[i * MAX_PATHS + p])
				printf("  %-32s %-8s %u of %u cases differ\n", t->forms.form[i].name, t->path[p].name,
				       t->form_fails[i * MAX_PATHS + p], t->form_cases[i]);
}

static bool counts_rows(const struct test *t, const struct path *path)
{
	return t->rows && path->ops && !path->bt_cold;
}

static bool start_paths(struct test *t, unsigned mode)
{
	char why[400] = "out of memory";

	for (unsigned p = 0; p < t->npaths; p++) {
		struct path *path = &t->path[p];

		path->outs = calloc(BATCH_CASES, sizeof(*path->outs));
		if (path->ops)
			path->run = guestrun_start(path->ops, path->bt_cold, mode, t->forms.compat, counts_rows(t, path), why,
						   sizeof(why));
		else
			path->uni = unirun_start(mode, why, sizeof(why));
		if (path->outs && !path->ops && !path->uni) {
			printf("SKIP %s: %s\n", path->name, why);
			continue;
		}
		if (!path->outs || (!path->run && !path->uni)) {
			printf("%s cannot run: %s\n", path->name, why);
			return false;
		}
	}
	return true;
}

static void stop_paths(struct test *t)
{
	for (unsigned p = 0; p < t->npaths; p++) {
		struct path *path = &t->path[p];

		guestrun_stop(path->run, path->rows);
		unirun_stop(path->uni);
		free(path->outs);
		path->run = NULL;
		path->uni = NULL;
		path->outs = NULL;
	}
}

static bool mode_possible(struct test *t, unsigned mode)
{
	const char *why = NULL;

	if (mode != 64 && !t->forms.ok.gs)
		why = "this kernel runs no 32-bit code";
	else if (mode == 16 && !t->forms.ok.ldt)
		why = "this kernel gives no local descriptor table to a process (modify_ldt)";
	if (why) {
		printf("SKIP %u-bit: %s\n", mode, why);
		t->skipped++;
	}
	return !why;
}

static void print_notes(const struct test *t)
{
	if (!t->forms.ok.low)
		printf("note: flat 16-bit addressing is left out: this user may not map page %#llx\n", DATA_LOW);
	if (!t->forms.ok.base)
		printf("note: the FS segment is left out: this kernel does not enable FSGSBASE\n");
	if (!t->forms.ok.ldt)
		printf("note: segments with limits are left out: no local descriptor table\n");
	if (!t->forms.ok.amd)
		printf("note: SYSENTER is left out: this is no AMD processor, where it is #UD in long mode\n");
}

static int test_mode(struct test *t, unsigned mode, bool compat, uint64_t n)
{
	const char *world = mode == 64 ? "" : compat ? " (compatibility mode)" : " (legacy mode)";
	unsigned golden = 0, used = 0;
	char why[200];
	int status = 3;

	t->rng.s = t->seed * 3 + mode + compat;
	memset(&t->forms, 0, sizeof(t->forms));
	t->native = native_start(why, sizeof(why));
	if (!t->native) {
		printf("SKIP %u-bit%s: %s\n", mode, world, why);
		t->skipped++;
		return 0;
	}
	t->forms.ok = native_ok(t->native);
	t->forms.compat = compat;
	if (!mode_possible(t, mode)) {
		native_stop(t->native);
		return 0;
	}
	if (mode == 64)
		print_notes(t);
	if (!forms_build(&t->forms, mode) || !start_paths(t, mode))
		goto out;
	t->form_fails = calloc(t->forms.n * MAX_PATHS, sizeof(*t->form_fails));
	t->form_cases = calloc(t->forms.n, sizeof(*t->form_cases));
	t->cases = native_cases(t->native);
	if (!t->form_fails || !t->form_cases)
		goto out;
	if (t->list) {
		for (unsigned i = 0; i < t->forms.n; i++)
			printf("%u %s\n", mode, t->forms.form[i].name);
		status = 0;
		goto out;
	}
	watched = t;
	if ((t->form || golden_cases(t, mode, &golden)) && (!make_deck(t) || random_cases(t, n)))
		status = 0;
	for (unsigned i = 0; i < t->forms.n; i++)
		used += t->form_cases[i] != 0;
	print_forms(t);
	printf("%u-bit%s: %u of %u forms, %u golden files\n", mode, world, used, t->forms.n, golden);
	if (t->why_stopped)
		printf("stopped: %s\n", t->why_stopped);
out:
	stop_paths(t);
	native_stop(t->native);
	free(t->deck);
	free(t->form_fails);
	free(t->form_cases);
	forms_free(&t->forms);
	t->deck = NULL;
	t->form_fails = t->form_cases = NULL;
	return status;
}

static int usage(void)
{
	fprintf(stderr, "usage: diff [--n CASES] [--seed N|random] [--mode 16|32|64|all] [--paths interp,bt,cold] [--form NAME]\n"
			"            [--golden FOLDER] [--save FOLDER] [--row-counts FOLDER] [--unicorn] [--reports N] [--list]\n");
	return 2;
}

static bool add_paths(struct test *t, const char *names)
{
	if (strstr(names, "interp"))
		t->path[t->npaths++] = (struct path){.name = "interp", .ops = exec_paths[PATH_INTERP]};
	if (strstr(names, "bt"))
		t->path[t->npaths++] = (struct path){.name = "bt", .ops = exec_paths[PATH_BT]};
	if (strstr(names, "cold")) /* bt that translates nothing that runs as seldom as a case */
		t->path[t->npaths++] = (struct path){.name = "cold", .ops = exec_paths[PATH_BT], .bt_cold = 255};
	return true;
}

/* How often each exception was what the processor did. A run of some length over all modes has seen every one that user
 * code can raise; a generator that has lost one would make its comparison vanish without a word. */
static void print_vectors(struct test *t)
{
	static const char *const name[20] = {"#DE", "#DB", "NMI", "end or INT3", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS",
					     "#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC", "#XM"};
	static const uint8_t expected[] = {VEC_DE, VEC_DB, VEC_BP, VEC_OF, VEC_BR, VEC_UD, VEC_NP,
					   VEC_SS, VEC_GP, VEC_PF, VEC_MF, VEC_AC, VEC_XM};
	bool whole = t->n >= 500000 && !t->form && t->modes == (16 | 32 | 64) && !t->skipped && !t->why_stopped;

	for (unsigned i = 0; i < sizeof(expected) && whole; i++)
		if (!t->by_vector[expected[i]]) {
			printf("FAIL no case ended in %s\n", name[expected[i]]);
			t->failed++;
		}
	printf("outcomes:");
	for (unsigned i = 0; i < 256; i++)
		if (t->by_vector[i])
			printf(" %s %" PRIu64 ",", i < 20 ? name[i] : "other", t->by_vector[i]);
	printf(" single steps on the way %" PRIu64 "\n", t->steps);
}

/* Where cases run, and the share of all that each gets. */
static const struct {
	uint8_t mode;
	bool compat;
	uint8_t share;
} worlds[] = {{64, true, 8}, {32, false, 4}, {32, true, 2}, {16, false, 3}, {16, true, 3}};

static bool save_rows(const struct test *t)
{
	for (unsigned p = 0; p < t->npaths; p++) {
		char name[600];
		FILE *f;

		if (!counts_rows(t, &t->path[p]))
			continue;
		snprintf(name, sizeof(name), "%s/diff.%s", t->rows, t->path[p].name);
		f = fopen(name, "w");
		if (f)
			rows_write(t->path[p].rows, f);
		if (!f || (ferror(f) | fclose(f))) {
			printf("cannot write %s\n", name);
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	unsigned shares = 0;

	struct test t = {.n = 1000000, .seed = 1, .golden = "tests/golden", .modes = 16 | 32 | 64, .reports = 12};
	const char *paths = "interp,bt,cold";
	int status = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(a, "--unicorn")) {
			t.unicorn = true;
			continue;
		}
		if (!strcmp(a, "--list")) {
			t.list = true;
			continue;
		}
		if (!v)
			return usage();
		i++;
		if (!strcmp(a, "--n"))
			t.n = strtoull(v, NULL, 0);
		else if (!strcmp(a, "--seed"))
			t.seed = !strcmp(v, "random") ? (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid() : strtoull(v, NULL, 0);
		else if (!strcmp(a, "--mode"))
			t.modes = strcmp(v, "all") ? (unsigned)atoi(v) & (16 | 32 | 64) : 16 | 32 | 64;
		else if (!strcmp(a, "--paths"))
			paths = v;
		else if (!strcmp(a, "--form"))
			t.form = v;
		else if (!strcmp(a, "--golden"))
			t.golden = v;
		else if (!strcmp(a, "--save"))
			t.save = v;
		else if (!strcmp(a, "--row-counts"))
			t.rows = v;
		else if (!strcmp(a, "--reports"))
			t.reports = (unsigned)atoi(v);
		else
			return usage();
	}
	add_paths(&t, paths);
	if (t.unicorn)
		t.path[t.npaths++] = (struct path){.name = "unicorn"};
	signal(SIGALRM, on_alarm);
	printf("seed %#" PRIx64 ", %" PRIu64 " cases\n", t.seed, t.n);
	for (unsigned w = 0; w < sizeof(worlds) / sizeof(worlds[0]); w++)
		shares += t.modes & worlds[w].mode ? worlds[w].share : 0;
	for (unsigned w = 0; w < sizeof(worlds) / sizeof(worlds[0]) && !status; w++)
		if (t.modes & worlds[w].mode && (worlds[w].compat || !t.list)) /* it has the same forms */
			status = test_mode(&t, worlds[w].mode, worlds[w].compat, t.n * worlds[w].share / shares);
	if (t.list)
		return status;
	print_vectors(&t);
	for (unsigned p = 0; p < t.npaths; p++) {
		printf("%s: %" PRIu64 " agree, %" PRIu64 " differ, %" PRIu64 " differ for a known reason, %" PRIu64 " not run\n",
		       t.path[p].name, t.path[p].passed, t.path[p].failed, t.path[p].known, t.path[p].skipped);
		t.passed += t.path[p].passed;
		if (t.path[p].ops)
			t.failed += t.path[p].failed;
	}
	if (t.rows && !save_rows(&t))
		status = 3;
	printf("%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " skipped\n", t.passed, t.failed + (status != 0), t.skipped);
	return status ? status : t.failed ? 1 : 0;
}
