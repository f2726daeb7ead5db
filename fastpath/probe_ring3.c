/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How close to native is 64-bit ring 3? Loops of four kinds, the same code in a guest and on the host, in blocks: host, guest,
 * host, each for a few tens of milliseconds of CPU time. A block's ratio is the guest's time over the mean of the host's two
 * around it; the host's second over its first is the control. Of the blocks' ratios the median is told, with the interval
 * between the 6th and the 16th of 21, which has the median in it with 97 % whatever the distribution is (binomial).
 * KVM_RUN, there and back, is part of the guest's time.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastpath/probe_int.h"

#define DATA_BYTES 256
#define OPERANDS 64
#define BLOCK_NS 80000000u
#define FIRST_ROUNDS 100000u
#define BUDGET_MS 60000u
#define DEADLINE_NS 240000000000ull
#define LOW 5 /* of the sorted blocks: the 6th */
#define HIGH (PROBE_LOOP_BLOCKS - 1 - LOW)

typedef void loop_fn(uint64_t rounds, void *data);
loop_fn pg_run_int, pg_run_sse, pg_run_avx2, pg_run_x87;
extern const char pg_guest_int[], pg_guest_sse[], pg_guest_avx2[], pg_guest_x87[];

static const struct loop_row {
	const char *name;
	const char *label;
	loop_fn *host;
	bool avx2, doubles;
} rows[PROBE_LOOPS] = {
	[PROBE_LOOP_INT] = {"integer", pg_guest_int, pg_run_int, false, false},
	[PROBE_LOOP_SSE] = {"SSE", pg_guest_sse, pg_run_sse, false, false},
	[PROBE_LOOP_AVX2] = {"AVX2", pg_guest_avx2, pg_run_avx2, true, false},
	[PROBE_LOOP_X87] = {"x87", pg_guest_x87, pg_run_x87, false, true},
};

static void operands(const struct loop_row *row, uint8_t *data)
{
	memset(data, 0, DATA_BYTES);
	for (unsigned i = 0; i < 24; i++) {
		float f = i < 8 ? 1.0f + (float)i : 0.75f - (float)i / 64;
		double d = i ? 1.5 : 3.0;

		if (!row->doubles)
			memcpy(data + OPERANDS + i * 4, &f, 4);
		else if (i < 2)
			memcpy(data + OPERANDS + i * 8, &d, 8);
	}
}

static uint64_t host_ns(const struct loop_row *row, uint64_t rounds, uint8_t *data)
{
	uint64_t begin;

	operands(row, data);
	begin = probe_cpu_ns();
	row->host(rounds, data);
	return probe_cpu_ns() - begin;
}

static bool guest_ns(struct probe *p, const struct loop_row *row, uint64_t rounds, uint64_t *ns)
{
	uint8_t *data = p->g.mem + PG_DATA + 0x100;
	struct kvm_regs r;
	uint64_t begin;

	guest_settle(&p->g);
	if (!guest_regs(&p->g, &r))
		return false;
	operands(row, data);
	r.rip = guest_rip(PROBE_LONG3, row->label);
	r.rcx = rounds;
	r.rbx = PG_DATA + 0x100;
	if (!guest_set_regs(&p->g, &r))
		return false;
	begin = probe_cpu_ns();
	if (!guest_until(p, PG_DONE))
		return false;
	*ns = probe_cpu_ns() - begin;
	return true;
}

static bool blocks(struct probe *p, const struct loop_row *row, struct probe_loop_result *res)
{
	uint8_t want[DATA_BYTES] __attribute__((aligned(256))); /* as the guest's */
	uint64_t rounds = FIRST_ROUNDS, ns, before, after;

	while ((ns = host_ns(row, rounds, want)) < BLOCK_NS / 2)
		rounds *= 2;
	for (unsigned i = 0; i < PROBE_LOOP_BLOCKS; i++) {
		watchdog_rearm(p);
		before = host_ns(row, rounds, want);
		if (!guest_ns(p, row, rounds, &ns))
			return false;
		if (memcmp(want, p->g.mem + PG_DATA + 0x100, DATA_BYTES) != 0) {
			guest_fail(&p->g, "its results are wrong");
			return false;
		}
		after = host_ns(row, rounds, want);
		res->ratio[i] = 2 * (double)ns / (double)(before + after);
		res->control[i] = (double)after / (double)before;
		res->blocks = i + 1;
	}
	return true;
}

static void run(struct probe *p, const struct probe_test *t)
{
	struct probe_loop_result *res = &p->v->loop[t->index];
	const struct loop_row *row = &rows[t->index];

	if (row->avx2 && !__builtin_cpu_supports("avx2"))
		snprintf(res->evidence, sizeof(res->evidence), "the processor has no AVX2");
	else if (!guest_start(p, PROBE_LONG3, row->label, GUEST_XSAVE) || !blocks(p, row, res))
		snprintf(res->evidence, sizeof(res->evidence), "%s", p->g.why);
}

static void lost(struct probe_verdict *v, const struct probe_test *t, const char *why, bool late)
{
	(void)late;
	v->loop[t->index].blocks = 0;
	snprintf(v->loop[t->index].evidence, sizeof(v->loop[t->index].evidence), "%s", why);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Sorts. */
static void print_median(double *v)
{
	qsort(v, PROBE_LOOP_BLOCKS, sizeof(*v), by_value);
	printf("  %6.4f [%6.4f, %6.4f]", v[PROBE_LOOP_BLOCKS / 2], v[LOW], v[HIGH]);
}

int probe_ring3(const struct host_facts *f)
{
	struct probe_test test[PROBE_LOOPS];
	struct probe_verdict *v = calloc(1, sizeof(*v));
	char trouble[2 * PROBE_TEXT];
	bool all = true;

	if (!v || probe_device_trouble(f, trouble, sizeof(trouble))) {
		fprintf(stderr, "steelyard: %s\n", v ? trouble : "no memory");
		free(v);
		return 1;
	}
	for (unsigned i = 0; i < PROBE_LOOPS; i++)
		test[i] = (struct probe_test){.run = run, .lost = lost, .index = i, .budget_ms = BUDGET_MS};
	probe_run_tests(f, false, test, PROBE_LOOPS, probe_now_ns() + DEADLINE_NS, v);
	printf("64-bit ring 3 in KVM over native, CPU time, median of %u blocks\n", PROBE_LOOP_BLOCKS);
	printf("%-9s %-25s %s\n", "loop", " guest / host", " control: host / host");
	for (unsigned i = 0; i < PROBE_LOOPS; i++) {
		struct probe_loop_result *r = &v->loop[i];

		printf("%-8s", rows[i].name);
		if (r->blocks == PROBE_LOOP_BLOCKS) {
			print_median(r->ratio);
			print_median(r->control);
			printf("\n");
		} else {
			printf("  not measured: %s\n", r->evidence);
			all = false;
		}
	}
	free(v);
	return all ? 0 : 1;
}
