// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The measuring code of image and twin. An item runs in batches: how many operations are timed together, and how many such batches
 * fit into the budget, is found out first; then come the batches that count. What is said, a line each:
 *
 *	@try NAME                               the item is made ready; what goes wrong from here on is its fault
 *	@start NAME                             the batches that count begin
 *	@stop NAME TICKS                        they have ended, TICKS after the other line by the TSC: the observer's clock checks that
 *	@item NAME batch=B batches=K n=N min=.. p50=.. p95=.. p99=.. mean=.. values=V,V,...
 *	@none NAME REASON                       no figure, and why
 *	@end                                    all items are through
 *
 * N = B * K operations count. Figures are thousandths of TSC ticks for one operation, percentiles those of the batches (the
 * smallest value that so many percent of them do not exceed); values are up to 64 batches, evenly taken, in the order in which they ran.
 */
#include "eval/workloads/machine/machine.h"

#define MAX_BATCHES 512
#define SHOWN 64
#define LINE 2048

struct line {
	size_t len;
	char text[LINE];
};

static void put(struct line *l, const char *s)
{
	while (*s && l->len < LINE - 1)
		l->text[l->len++] = *s++;
}

static void put_number(struct line *l, uint64_t n)
{
	char d[24];
	size_t i = sizeof(d) - 1;

	d[i] = 0;
	do
		d[--i] = (char)('0' + n % 10);
	while (n /= 10);
	put(l, d + i);
}

static void say(struct line *l)
{
	l->text[l->len++] = '\n';
	machine_say(l->text, l->len);
}

static void put_field(struct line *l, const char *name, uint64_t n)
{
	put(l, " ");
	put(l, name);
	put(l, "=");
	put_number(l, n);
}

const char *machine_reason(char *buf, size_t size, const char *before, uint64_t n, const char *between, uint64_t m)
{
	struct line l = {0};

	put(&l, before);
	put_number(&l, n);
	put(&l, between);
	put_number(&l, m);
	l.text[l.len] = 0;
	for (size_t i = 0; i < size; i++)
		buf[i] = l.text[i < l.len ? i : l.len];
	buf[size - 1] = 0;
	return buf;
}

static void say_word(const char *what, const char *name, const char *more)
{
	struct line l = {0};

	put(&l, what);
	put(&l, " ");
	put(&l, name);
	put(&l, *more ? " " : "");
	put(&l, more);
	say(&l);
}

/* Shell's sort, gaps of 3h + 1: no recursion, no memory. */
static void sort(uint64_t *a, unsigned n)
{
	for (unsigned gap = 364; gap; gap /= 3)
		for (unsigned i = gap; i < n; i++) {
			uint64_t v = a[i];
			unsigned k = i;

			for (; k >= gap && a[k - gap] > v; k -= gap)
				a[k] = a[k - gap];
			a[k] = v;
		}
}

/* The smallest of the sorted values that `percent` of them do not exceed. */
static uint64_t percentile(const uint64_t *a, unsigned n, unsigned percent)
{
	unsigned rank = (n * percent + 99) / 100;

	return a[rank ? rank - 1 : 0];
}

static void report(const struct machine_item *it, uint64_t *value, unsigned n, uint64_t batch)
{
	struct line values = {0}, l = {0};
	unsigned shown = n < SHOWN ? n : SHOWN;
	uint64_t sum = 0;

	for (unsigned i = 0; i < shown; i++) {
		put(&values, i ? "," : " values=");
		put_number(&values, value[i * n / shown]);
	}
	values.text[values.len] = 0;
	for (unsigned i = 0; i < n; i++)
		sum += value[i];
	sort(value, n);
	put(&l, "@item ");
	put(&l, it->name);
	put_field(&l, "batch", batch);
	put_field(&l, "batches", n);
	put_field(&l, "n", batch * n);
	put_field(&l, "min", value[0]);
	put_field(&l, "p50", percentile(value, n, 50));
	put_field(&l, "p95", percentile(value, n, 95));
	put_field(&l, "p99", percentile(value, n, 99));
	put_field(&l, "mean", sum / n);
	put(&l, values.text);
	say(&l);
}

/* A batch is long enough when it takes this part of the budget; the clock's own cost is far below. */
#define BATCH_PART 2000
#define WARM 24

static void measure(const struct machine_item *it, uint64_t budget)
{
	uint64_t value[MAX_BATCHES], batch = it->batch, ops = 0, t, begun, done;
	const char *why = it->begin ? it->begin() : NULL;
	struct line l = {0};
	unsigned n;

	if (why) {
		if (it->end)
			it->end(0);
		say_word("@none", it->name, why);
		return;
	}
	/* The first times are cold, for a translator more than once. */
	begun = machine_tsc();
	for (unsigned i = 0; i < WARM && machine_tsc() - begun < budget / 4; i++) {
		it->run(batch);
		ops += batch;
	}
	for (;;) {
		t = UINT64_MAX;
		for (unsigned i = 0; i < 3; i++) {
			uint64_t again = it->run(batch);

			ops += batch;
			t = again < t ? again : t;
		}
		if (!it->grow || t >= budget / BATCH_PART || batch >= 1u << 20)
			break;
		batch *= 2;
	}
	t = t ? t : 1;
	n = budget / t > MAX_BATCHES ? MAX_BATCHES : budget / t < 8 ? 8 : (unsigned)(budget / t);
	say_word("@start", it->name, "");
	begun = machine_tsc();
	done = begun;
	for (unsigned i = 0; i < n; i++) {
		value[i] = it->run(batch) * 1000 / batch;
		ops += batch;
		done = machine_tsc();
		/* What gets slower on the way, or has long waits around its batches, ends in time all the same. */
		if (i >= 7 && done - begun > 4 * budget)
			n = i + 1;
	}
	put(&l, "@stop ");
	put(&l, it->name);
	put(&l, " ");
	put_number(&l, done - begun);
	say(&l);
	why = it->end ? it->end(ops) : NULL;
	if (why)
		say_word("@none", it->name, why);
	else
		report(it, value, n, batch);
}

/* Is name in the list that ends at a space? No list: everything is. */
static bool listed(const char *list, const char *name)
{
	while (list && *list && *list != ' ') {
		size_t i = 0;

		while (name[i] && list[i] == name[i])
			i++;
		if (!name[i] && (list[i] == ',' || list[i] == ' ' || !list[i]))
			return true;
		while (*list && *list != ' ' && *list != ',')
			list++;
		if (*list == ',')
			list++;
	}
	return !list;
}

/* What is behind "NAME=" in args, or NULL. */
static const char *argument(const char *args, const char *name)
{
	for (; *args; args++) {
		size_t i = 0;

		while (name[i] && args[i] == name[i])
			i++;
		if (!name[i] && args[i] == '=')
			return args + i + 1;
		while (*args && *args != ' ')
			args++;
		if (!*args)
			break;
	}
	return NULL;
}

void machine_measure(const char *args)
{
	const char *list = argument(args, "items"), *ticks = argument(args, "budget");
	struct machine_item it;
	uint64_t budget = 0;

	for (; ticks && *ticks >= '0' && *ticks <= '9' && budget < 1ull << 50; ticks++)
		budget = budget * 10 + (uint64_t)(*ticks - '0');
	budget = budget ? budget : 50000000;
	for (unsigned i = 0; machine_row(i, &it); i++) {
		const char *why;

		if (!listed(list, it.name))
			continue;
		say_word("@try", it.name, "");
		if (!it.run) {
			say_word("@none", it.name, "ring 3 cannot");
			continue;
		}
		why = machine_guard(measure, &it, budget);
		if (why)
			say_word("@none", it.name, why);
	}
	machine_say("@end\n", 5);
}
