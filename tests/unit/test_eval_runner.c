// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a run rests on: the log (every place at which a file can be torn, a write that fails, a lock), the plan (the same from the
 * same seed, and what every block must have), specs (their own JSON is a spec again, every number has its limits) and the pilot.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/run/runner.h"
#include "eval/schema.h"
#include "tests/unit/check.h"

static char folder[] = "/tmp/steelyard-eval-XXXXXX";

/* ---- the log ---- */

static char *slurp(const char *path, size_t *n)
{
	FILE *f = fopen(path, "r");
	char *buf = calloc(1, 1 << 20);

	*n = f ? fread(buf, 1, (1 << 20) - 1, f) : 0;
	if (f)
		fclose(f);
	return buf;
}

static void spew(const char *path, const char *buf, size_t n)
{
	FILE *f = fopen(path, "w");

	CHECK(f && fwrite(buf, 1, n, f) == n && !fclose(f));
}

static json_t *event(const char *why)
{
	return json_pack("{s:s, s:s, s:s}", "what", "waited", "at", "2026-11-22T19:00:00Z", "why", why);
}

/* The first record as it is in the golden folder. */
static json_t *golden_run(void)
{
	FILE *f = fopen("tests/golden/eval/example/results.jsonl", "r");
	char line[65536] = "";
	json_t *o;

	CHECK(f && fgets(line, sizeof(line), f));
	if (f)
		fclose(f);
	o = json_loads(line, 0, NULL);
	for (const char *const *k = (const char *const[]){"schema", "run", "type", "seq", NULL}; *k; k++)
		json_object_del(o, *k);
	return o;
}

struct seen {
	unsigned n;
	json_t *last;
};

static bool see(void *ctx, json_t *o)
{
	struct seen *s = ctx;

	s->n++;
	json_decref(s->last);
	s->last = json_incref(o);
	return true;
}

/* Whole lines among the first n bytes. */
static unsigned lines_in(const char *buf, size_t n, size_t *bytes)
{
	unsigned lines = 0;

	*bytes = 0;
	for (size_t i = 0; i < n; i++)
		if (buf[i] == '\n') {
			lines++;
			*bytes = i + 1;
		}
	return lines;
}

/* A file of four records, cut at every byte: what is whole is taken, the rest is cut off, and the next record stands behind it. */
static void test_torn(const char *dir)
{
	struct record_log log;
	char path[4200], *whole;
	size_t n;

	CHECK(record_create(&log, dir, "r-1"));
	snprintf(path, sizeof(path), "%s", log.path);
	CHECK(record_put(&log, "run", golden_run()));
	CHECK(record_put(&log, "event", event("one")) && record_put(&log, "event", event("zwei \xc3\xa9")));
	CHECK(record_put(&log, "event", event("three")) && log.seq == 4);
	record_close(&log);
	whole = slurp(path, &n);
	for (size_t cut = 0; cut <= n; cut++) {
		struct seen s = {0}, after = {0};
		size_t torn, good_bytes, bytes;
		unsigned lines = lines_in(whole, cut, &good_bytes), line;
		uint64_t good;
		char text[200], *now;
		bool fine;

		/* The long first line is looked at where something changes. */
		if (cut > 40 && cut < 1000 && cut % 97)
			continue;
		spew(path, whole, cut);
		CHECK(record_scan(path, see, &after, &good, &torn, &line, text, sizeof(text)));
		CHECK(after.n == lines && good == good_bytes && torn == cut - good_bytes);
		json_decref(after.last);
		fine = record_reopen(&log, dir, see, &s, &torn);
		CHECK(fine && s.n == lines && log.seq == lines && torn == cut - good_bytes);
		json_decref(s.last);
		if (fine && lines) {
			CHECK(!strcmp(log.run, "r-1") && record_put(&log, "event", event("after")));
			now = slurp(path, &bytes);
			CHECK(bytes > good_bytes && !memcmp(now, whole, good_bytes) && now[bytes - 1] == '\n');
			CHECK(lines_in(now, bytes, &bytes) == lines + 1);
			free(now);
		}
		record_close(&log);
	}
	free(whole);
}

static void test_refused(const char *dir)
{
	struct record_log log, second;
	struct seen s = {0};
	char path[4200], *whole, *bad;
	size_t n, torn;

	CHECK(record_create(&log, dir, "r-2"));
	CHECK(!record_create(&second, dir, "r-3") && strstr(second.error, "another evaluation"));
	record_close(&second);
	CHECK(record_put(&log, "run", golden_run()) && record_put(&log, "event", event("one")));
	/* A record that is none stops the log: nothing may follow what is missing. */
	CHECK(!record_put(&log, "event", json_pack("{s:s}", "what", "rumour")) && strstr(log.error, "wrong"));
	CHECK(!record_put(&log, "event", event("two")) && log.seq == 2);
	record_close(&log);
	CHECK(!record_create(&log, dir, "r-4") && strstr(log.error, "has results already"));
	record_close(&log);
	snprintf(path, sizeof(path), "%s/results.jsonl", dir);
	whole = slurp(path, &n);
	for (const char *const *k = (const char *const[]){"\"seq\":1", "r-2\",\"type\":\"event", "\"what\":", NULL}; *k;
	     k++) {
		bad = slurp(path, &n);
		memcpy(strstr(bad, *k) + 1, "#", 1);
		spew(path, bad, n);
		CHECK(!record_reopen(&log, dir, see, &s, &torn) && strstr(log.error, "line 2"));
		record_close(&log);
		spew(path, whole, n);
		free(bad);
	}
	spew(path, whole, n);
	CHECK(record_reopen(&log, dir, see, &s, &torn) && !torn);
	record_close(&log);
	CHECK(!record_reopen(&log, "/nonexistent/folder", see, &s, &torn) && log.error[0]);
	record_close(&log);
	json_decref(s.last);
	free(whole);
}

/* A write that comes back short is undone: only whole lines stay. */
static void test_no_room(const char *dir)
{
	struct rlimit was, limit;
	struct record_log log;
	struct stat st;
	struct seen s = {0};
	size_t torn;
	unsigned put = 0;

	CHECK(record_create(&log, dir, "r-5") && record_put(&log, "run", golden_run()));
	CHECK(!stat(log.path, &st) && !getrlimit(RLIMIT_FSIZE, &was));
	signal(SIGXFSZ, SIG_IGN);
	limit = was;
	limit.rlim_cur = (rlim_t)st.st_size + 1000;
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	while (put < 100 && record_put(&log, "event", event("until it is full")))
		put++;
	CHECK(put > 0 && put < 100 && log.error[0]);
	CHECK(!record_put(&log, "event", event("later")));
	CHECK(!setrlimit(RLIMIT_FSIZE, &was));
	record_close(&log);
	CHECK(record_reopen(&log, dir, see, &s, &torn) && s.n == put + 1 && !torn);
	CHECK(record_put(&log, "event", event("room again")));
	record_close(&log);
	json_decref(s.last);
}

/* ---- specs ---- */

static void test_specs(void)
{
	const char *key, *what;
	double lo, hi;
	bool whole;
	char text[400];

	for (unsigned i = 0; suite_at(i); i++) {
		struct eval_spec a, b;
		json_t *ja, *jb;

		CHECK(spec_builtin(suite_at(i), &a, text, sizeof(text)) && spec_check(&a, text, sizeof(text)));
		ja = spec_json(&a);
		CHECK(schema_check_fields(schema_spec(), ja, "spec", text, sizeof(text)));
		CHECK(spec_from_json(ja, &b, text, sizeof(text)));
		jb = spec_json(&b);
		CHECK(json_equal(ja, jb));
		json_decref(ja);
		json_decref(jb);
	}
	for (unsigned i = 0; spec_number_at(i, &key, &what, &lo, &hi, &whole); i++) {
		struct eval_spec s;

		CHECK(spec_builtin(suite_find("quick"), &s, text, sizeof(text)));
		CHECK(spec_set(&s, key, lo, text, sizeof(text)));
		CHECK(!spec_set(&s, key, lo - 1, text, sizeof(text)) && strstr(text, key));
		CHECK(!spec_set(&s, key, hi * 2 + 1, text, sizeof(text)) && strstr(text, key));
		CHECK(spec_set(&s, key, lo + 0.5, text, sizeof(text)) == !whole);
		CHECK(!spec_set(&s, key, 0.0 / 0.0, text, sizeof(text)) && what[0]);
	}
}

/* Some workloads are executed more often, and a run record says it again. */
static void test_series(void)
{
	struct eval_spec s, again;
	char text[200];
	unsigned more = 0;
	json_t *o;

	CHECK(spec_builtin(suite_find("full"), &s, text, sizeof(text)));
	o = spec_json(&s);
	CHECK(spec_from_json(o, &again, text, sizeof(text)) && again.nworkloads == s.nworkloads);
	for (unsigned i = 0; i < s.nworkloads; i++) {
		CHECK(again.workload[i].iterations == s.workload[i].iterations);
		more += s.workload[i].iterations >= 8; /* what changepoints need */
		CHECK(s.workload[i].scale ==
		      (strcmp(s.workload[i].name, "pchase") && strcmp(s.workload[i].name, "randupd") &&
				       strcmp(s.workload[i].name, "pagehop")
			       ? 15
			       : 40));
	}
	json_decref(o);
	CHECK(more == 4);
	CHECK(!spec_series(&s, "fib,nobody", 9, text, sizeof(text)) && strstr(text, "nobody"));
	o = json_pack("{s:[{s:s, s:i}]}", "workloads", "name", "fib", "iterations", 101);
	CHECK(!spec_from_json(o, &again, text, sizeof(text)) && strstr(text, "1 to 100"));
	json_decref(o);
}

/* ---- the environment ---- */

/* A kernel without /proc/modules has its modules here, built in or not. */
static void test_kvm_names(void)
{
	static const char *const names[] = {"kvm_pvm", "loop", "kvm", "xkvm"};
	char path[300], text[100], shorter[6];

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		CHECK(!mkdir(path, 0777));
	}
	environment_kvm(folder, text, sizeof(text));
	CHECK(!strcmp(text, "kvm kvm_pvm"));
	environment_kvm(folder, shorter, sizeof(shorter));
	CHECK(!strcmp(shorter, "kvm k"));
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		CHECK(!rmdir(path));
	}
	environment_kvm("/nowhere/at/all", text, sizeof(text));
	CHECK(!text[0]);
}

/* ---- the plan ---- */

static bool same_item(const struct plan_item *a, const struct plan_item *b)
{
	return a->order == b->order && a->block == b->block && a->path == b->path && a->pass == b->pass &&
	       a->cpus == b->cpus && a->nworkloads == b->nworkloads &&
	       !memcmp(a->workload, b->workload, a->nworkloads * sizeof(a->workload[0]));
}

/* How often block b has workload w on the path (or in the pass, for path -1). */
static unsigned times(const struct plan *p, unsigned b, int path, enum plan_pass pass, unsigned cpus, unsigned w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct plan_item *it = &p->item[i];

		for (unsigned k = 0; k < it->nworkloads; k++)
			n += it->block == b && it->path == path && it->pass == pass && it->cpus == cpus &&
			     it->workload[k] == w;
	}
	return n;
}

/* Natively a hand is the same backwards: drift is in all passes alike. A single path stands in the middle. */
static void test_plan_mirror(void)
{
	enum plan_pass pass[6];
	struct plan p = {0};
	struct eval_spec s;
	char text[200];

	for (unsigned seed = 0; seed < 20; seed++) {
		unsigned n = 0, before = 0;

		CHECK(spec_builtin(suite_find("quick"), &s, text, sizeof(text)) &&
		      spec_paths(&s, "bt", text, sizeof(text)));
		s.seed = seed;
		CHECK(plan_add_blocks(&p, &s, false, 0, 1) && p.n == 7);
		for (unsigned i = 0; i < p.n; i++) {
			if (p.item[i].path < 0 && n < 6)
				pass[n++] = p.item[i].pass;
			else
				before = n;
		}
		CHECK(n == 6 && before == 3);
		CHECK(pass[0] == pass[5] && pass[1] == pass[4] && pass[2] == pass[3]);
		CHECK(pass[0] != pass[1] && pass[1] != pass[2] && pass[2] != pass[0]);
		plan_free(&p);
	}
}

static void test_plan_of(const struct eval_suite *row)
{
	struct plan a = {0}, b = {0}, other = {0}, one = {0};
	struct eval_spec s;
	char text[200];
	bool differs = false, fine = true;

	CHECK(spec_builtin(row, &s, text, sizeof(text)));
	s.seed = 7;
	if (s.peer_blocks)
		s.peer_blocks = 2; /* so that the third has none */
	CHECK(plan_add_blocks(&a, &s, false, 0, 3) && plan_add_blocks(&b, &s, false, 0, 3) && a.n == b.n);
	for (unsigned i = 0; i < a.n; i++)
		fine &= same_item(&a.item[i], &b.item[i]) && a.item[i].order == i;
	CHECK(fine);
	for (unsigned blk = 0; blk < 3; blk++)
		for (unsigned w = 0; w < s.nworkloads; w++) {
			CHECK(times(&a, blk, -1, PLAN_PASS_0, 1, w) == 2 && times(&a, blk, -1, PLAN_PASS_1, 1, w) == 2);
			CHECK(times(&a, blk, -1, PLAN_PASS_INJECT, 1, w) == 2);
			for (unsigned p = 0; p < s.npaths; p++) {
				const struct eval_path *path = s.path[p].row;
				bool late = path->peer == PEER_QEMU && s.peer_blocks && blk >= s.peer_blocks;
				unsigned want = path->boot_only || late ? 0 : path->slow ? !blk : 1;

				CHECK(times(&a, blk, (int)p, PLAN_PASS_NONE, s.path[p].cpus, w) == want);
			}
		}
	/* A block alone, as a task of a sweep makes it, is what it is among the others. */
	CHECK(plan_add_blocks(&one, &s, false, 2, 1));
	fine = one.n > 0;
	for (unsigned i = 0; i < one.n; i++) {
		struct plan_item it = a.item[a.n - one.n + i];

		it.order = i;
		fine &= same_item(&one.item[i], &it);
	}
	CHECK(fine);
	s.seed = 8;
	CHECK(plan_add_blocks(&other, &s, false, 0, 3) && other.n == a.n);
	for (unsigned i = 0; i < a.n; i++)
		differs |= !same_item(&a.item[i], &other.item[i]);
	CHECK(differs);
	/* The pilot is no foretaste of the blocks. */
	plan_free(&other);
	s.seed = 7;
	CHECK(plan_add_blocks(&other, &s, true, 0, 1));
	CHECK(s.nworkloads ? other.item[0].pilot : !other.n);
	for (unsigned blk = 0; blk < 3; blk++) {
		unsigned native = 0;

		for (unsigned i = 0; i < a.n; i++)
			native += a.item[i].machine && a.item[i].block == blk && a.item[i].path < 0;
		CHECK(native == (blk < s.machine));
	}
	plan_free(&a);
	plan_free(&b);
	plan_free(&other);
	plan_free(&one);
}

/* ---- the pilot ---- */

static void pilot_sample(struct ledger *l, unsigned block, const char *path, const char *pass, json_int_t cpu_ns)
{
	json_t *o =
		json_pack("{s:s, s:i, s:s, s:i, s:s, s:i, s:i, s:i, s:b, s:b, s:b, s:I, s:[s]}", "type", "sample",
			  "block", (int)block, "path", path, "cpus", 1, "workload", "sieve", "scale", 25, "iteration",
			  1, "order", 3, "ok", 1, "valid", 1, "timed", 1, "cpu_ns", cpu_ns, "flags", "pilot");

	if (pass)
		json_object_set_new(o, "pass", json_string(pass));
	CHECK(ledger_take(l, o));
	json_decref(o);
}

/* Two blocks whose ratios to native differ by d percent. */
static unsigned blocks_for(double d, char *why, size_t n)
{
	struct eval_spec s;
	struct ledger l;
	unsigned blocks;

	CHECK(ledger_init(&l) && spec_builtin(suite_find("cpu"), &s, why, n));
	pilot_sample(&l, 0, "native", "0", 1000000);
	pilot_sample(&l, 1, "native", "0", 1000000);
	pilot_sample(&l, 0, "native", "1", 9000000); /* the other pass has no say */
	pilot_sample(&l, 0, "bt", NULL, 2000000);
	pilot_sample(&l, 1, "bt", NULL, (json_int_t)(2000000 * (1 + d / 100)));
	blocks = ledger_blocks(&l, &s, why, n);
	ledger_free(&l);
	return blocks;
}

static void test_pilot(void)
{
	struct eval_spec s;
	struct ledger l;
	char why[400];
	unsigned quiet = blocks_for(0.1, why, sizeof(why)), middle, wild;

	CHECK(quiet == 6 && strstr(why, "1 ratios"));
	middle = blocks_for(4, why, sizeof(why)); /* sd 2.8 %: (2.2 * 2.8 / 2)^2 */
	CHECK(middle >= 9 && middle <= 11);
	wild = blocks_for(50, why, sizeof(why));
	CHECK(wild == 30 && strstr(why, "allows 6 to 30"));
	CHECK(ledger_init(&l) && spec_builtin(suite_find("cpu"), &s, why, sizeof(why)));
	CHECK(ledger_blocks(&l, &s, why, sizeof(why)) == 6 && strstr(why, "no two ratios"));
	s.pilot_blocks = 0;
	CHECK(ledger_blocks(&l, &s, why, sizeof(why)) == 6 && strstr(why, "spec says so"));
	ledger_free(&l);
}

int main(void)
{
	char dir[3][100];

	CHECK(mkdtemp(folder));
	for (unsigned i = 0; i < 3; i++)
		snprintf(dir[i], sizeof(dir[i]), "%s/%u/deep", folder, i);
	test_torn(dir[0]);
	test_refused(dir[1]);
	test_no_room(dir[2]);
	test_specs();
	for (unsigned i = 0; suite_at(i); i++)
		test_plan_of(suite_at(i));
	test_plan_mirror();
	test_series();
	test_kvm_names();
	test_pilot();
	for (unsigned i = 0; i < 3; i++) {
		static const char *const names[] = {"/results.jsonl", "/.lock", "", "/.."};
		char path[400];

		for (unsigned k = 0; k < 4; k++) {
			snprintf(path, sizeof(path), "%s%s", dir[i], names[k]);
			if (k == 3)
				snprintf(path, sizeof(path), "%s/%u", folder, i);
			CHECK(!remove(path));
		}
	}
	CHECK(!rmdir(folder));
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
