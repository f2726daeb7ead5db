// SPDX-License-Identifier: GPL-2.0-or-later
/* eval/run/machine_run.c: its tables agree with themselves and with those that name its items. */
#include <stdio.h>
#include <string.h>

#include "eval/run/machine.h"
#include "eval/report/overhead.h"
#include "tests/unit/check.h"

static void rows(void)
{
	unsigned n = 0;

	for (; machine_row_at(n); n++) {
		const struct machine_row *r = machine_row_at(n);

		CHECK(machine_row_find(r->name) == r);
		CHECK(r->name[0] && strspn(r->name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(r->name));
		CHECK(r->family[0] && strspn(r->family, "ABSK ") == strlen(r->family));
		CHECK(r->what[0]);
	}
	CHECK(n >= 40 && n <= MACHINE_ROWS_MAX);
	CHECK(!machine_row_find("no such item") && !machine_row_find(""));
}

static void paths(void)
{
	unsigned n = 0;

	for (; machine_path_at(n); n++)
		CHECK(machine_path_find(machine_path_at(n)->name) == machine_path_at(n) && machine_path_at(n)->what[0]);
	CHECK(n >= 4 && !machine_path_find("no such path"));
}

/* An estimate by an item that nobody measures would be nothing, in silence. */
static void estimates(void)
{
	const struct overhead_estimate *e;
	unsigned n = 0;

	for (; (e = overhead_estimate_at(n)); n++) {
		CHECK(machine_row_find(e->item));
		if (!machine_row_find(e->item))
			printf("FAIL no item is called %s\n", e->item);
	}
	CHECK(n > 0);
}

/* A child that cannot be started costs every item a reason, and ends. */
static void nowhere(void)
{
	static const char *const items[] = {"loop", "cpuid"};
	struct machine_request rq = {
		.self = "/nowhere/steelyard", .images = "/nowhere", .budget_ms = 1, .items = items, .nitems = 2};
	struct machine_cost cost[MACHINE_ROWS_MAX];

	machine_run(machine_path_find("native"), &rq, cost);
	for (unsigned i = 0; machine_row_at(i); i++) {
		bool asked = !strcmp(machine_row_at(i)->name, "loop") || !strcmp(machine_row_at(i)->name, "cpuid");

		CHECK(!!cost[i].row == asked);
		CHECK(!cost[i].ok && !!cost[i].why[0] == asked);
	}
}

int main(void)
{
	rows();
	paths();
	estimates();
	nowhere();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
