/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe without KVM: its tables, what it makes of measurements (faked, so that hosts of every kind are at hand), JSON
 * there and back, the cache's key, and the machinery that survives tests which never return or crash.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fastpath/probe_int.h"
#include "tests/unit/check.h"

/* ---- hosts ---- */

static struct host_facts a_host(void)
{
	struct host_facts f = {.vendor = "GenuineIntel",
			       .model = "A processor",
			       .family = 6,
			       .vmx = true,
			       .kvm_device = PROBE_KVM_DEVICE,
			       .kvm = KVM_OPENS,
			       .kvm_api = KVM_API_VERSION,
			       .kvm_group = "kvm",
			       .kvm_module = "kvm_intel",
			       .kvm_vendor_module = true,
			       .kernel = "Linux 1.2.3",
			       .kernel_build = "#1",
			       .boot_id = "11111111-2222-3333-4444-555555555555"};
	return f;
}

/* Everything measured, everything fine. */
static void measured(struct probe_verdict *v)
{
	memset(v, 0, sizeof(*v));
	v->measured = true;
	v->measured_at = 1700000000;
	v->seconds = 3.5;
	v->host_ns_per_insn = 0.0625;
	for (unsigned m = 0; m < PROBE_MODES; m++) {
		v->mode[m].tried = v->mode[m].runs = true;
		v->mode[m].ns_per_insn = 0.0625;
		v->mode[m].ratio = 1;
	}
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		item_holds(&v->item[i], "as the manual says, row %u", i);
	for (unsigned c = 0; c < PROBE_COSTS; c++)
		v->cost[c] = (struct probe_cost_result){.samples = 100, .median_ns = 1000 + c, .p95_ns = 2000 + c};
}

/* ---- tables ---- */

static bool is_word(const char *s)
{
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

static void test_tables(void)
{
	for (unsigned m = 0; m < PROBE_MODES; m++) {
		CHECK(is_word(probe_modes[m].name) && probe_modes[m].what[0]);
		CHECK(probe_modes[m].bits == 16 || probe_modes[m].bits == 32 || probe_modes[m].bits == 64);
		CHECK(probe_modes[m].ring == 0 || probe_modes[m].ring == 3);
		for (unsigned k = 0; k < m; k++)
			CHECK(strcmp(probe_modes[m].name, probe_modes[k].name));
	}
	for (unsigned i = 0; i < PROBE_ITEMS; i++) {
		CHECK(is_word(probe_items[i].name) && probe_items[i].what[0]);
		CHECK(probe_items[i].modes && !(probe_items[i].modes >> PROBE_MODES));
		for (unsigned k = 0; k < i; k++)
			CHECK(strcmp(probe_items[i].name, probe_items[k].name));
	}
	for (unsigned c = 0; c < PROBE_COSTS; c++) {
		CHECK(is_word(probe_costs[c].name) && probe_costs[c].what[0]);
		for (unsigned k = 0; k < c; k++)
			CHECK(strcmp(probe_costs[c].name, probe_costs[k].name));
	}
	/* 16-bit guests see the code as one segment */
	CHECK(pg_end - pg_begin < 0x10000);
}

static void test_cost(void)
{
	double three[] = {30, 10, 20}, four[] = {4, 1, 3, 2}, many[100];
	struct probe_cost_result r = {0};

	cost_set(&r, three, 3);
	CHECK(r.samples == 3 && r.median_ns == 20 && r.p95_ns == 30);
	cost_set(&r, four, 4);
	CHECK(r.median_ns == 2.5 && r.p95_ns == 4);
	for (unsigned i = 0; i < 100; i++)
		many[i] = 100 - i;
	cost_set(&r, many, 100);
	CHECK(r.median_ns == 50.5 && r.p95_ns == 95);
}

/* ---- vendor and device ---- */

static void test_vendor(void)
{
	static const struct {
		bool vmx, svm;
		const char *module;
		enum kvm_access kvm;
		enum probe_vendor want;
	} row[] = {
		{true, false, "kvm_intel", KVM_OPENS, PROBE_VTX},       {false, true, "kvm_amd", KVM_OPENS, PROBE_AMDV},
		{false, false, "kvm_pvm", KVM_OPENS, PROBE_SOFTWARE},   {false, false, "", KVM_OPENS, PROBE_SOFTWARE},
		{false, false, "kvm_intel", KVM_OPENS, PROBE_SOFTWARE}, /* module without flag */
		{true, false, "kvm_pvm", KVM_OPENS, PROBE_SOFTWARE},    /* flag without module */
		{true, false, "kvm_amd", KVM_OPENS, PROBE_SOFTWARE},    /* the other vendor's */
		{true, false, "kvm_intel", KVM_ABSENT, PROBE_NO_KVM},
	};
	struct probe_verdict v;

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		struct host_facts f = a_host();

		f.vmx = row[i].vmx;
		f.svm = row[i].svm;
		f.kvm = row[i].kvm;
		snprintf(f.kvm_module, sizeof(f.kvm_module), "%s", row[i].module);
		f.kvm_vendor_module = !strcmp(row[i].module, "kvm_intel") || !strcmp(row[i].module, "kvm_amd");
		CHECK(probe_vendor(&f) == row[i].want);
		/* a software KVM may do everything right: auto still leaves it, and asks no guest for that */
		measured(&v);
		probe_judge(&f, &v);
		CHECK(v.level == PROBE_NATIVE && v.vendor == row[i].want);
		CHECK(v.auto_ok == (row[i].want == PROBE_VTX || row[i].want == PROBE_AMDV));
		CHECK(!v.auto_ok == (probe_facts_against_kvm(&f) != NULL));
		if (!v.auto_ok) {
			struct probe_verdict chosen;

			CHECK(!strcmp(probe_choose(&f, &chosen), "bt"));
			CHECK(!strcmp(chosen.auto_why, v.auto_why));
		}
	}
}

static void test_device(void)
{
	static const struct {
		enum kvm_access kvm;
		int error, api;
		const char *word;
	} row[] = {
		{KVM_ABSENT, ENOENT, -1, "modprobe kvm_intel"},
		{KVM_NO_PERMISSION, EACCES, -1, "usermod -aG kvm USER"},
		{KVM_BROKEN, ENOTTY, -1, "does not answer as KVM does"},
		{KVM_OLD_API, 0, 11, "version 11"},
	};
	char text[PROBE_TEXT];
	struct probe_verdict v;
	struct host_facts f = a_host();

	CHECK(!probe_device_trouble(&f, text, sizeof(text)));
	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		f.kvm = row[i].kvm;
		f.kvm_errno = row[i].error;
		f.kvm_api = row[i].api;
		CHECK(probe_device_trouble(&f, text, sizeof(text)) && strstr(text, row[i].word));
		CHECK(strstr(text, PROBE_KVM_DEVICE) && !strchr(text, '\n'));
		/* no guest runs, the verdict is the reason */
		CHECK(probe_verdict_for(&f, &(struct probe_options){.effort = PROBE_FULL}, &v) == PROBE_UNUSABLE);
		CHECK(!v.measured && !strcmp(v.reason, text) && !v.auto_ok);
	}
	f.kvm = KVM_ABSENT;
	f.vmx = false;
	CHECK(probe_device_trouble(&f, text, sizeof(text)) && strstr(text, "neither VT-x nor AMD-V"));
	f.hypervisor = true;
	CHECK(probe_device_trouble(&f, text, sizeof(text)) && strstr(text, "nested virtualization"));
}

/* ---- judgement ---- */

static void test_judge(void)
{
	struct host_facts f = a_host();
	struct probe_verdict v;

	measured(&v);
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_NATIVE && v.vendor == PROBE_VTX && v.auto_ok);

	/* an item that systems can live without */
	measured(&v);
	item_fails(&v.item[PROBE_ITEM_WATCH_GUEST], "no #DB");
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_PARTIAL && v.auto_ok);
	CHECK(v.mode[PROBE_LONG3].level == PROBE_PARTIAL && strstr(v.mode[PROBE_LONG3].reason, "watchpoint_of_guest"));
	CHECK(v.mode[PROBE_LONG0].level == PROBE_NATIVE);

	/* one that they cannot */
	measured(&v);
	item_fails(&v.item[PROBE_ITEM_SYSCALL], "stays in ring 3");
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_PARTIAL && !v.auto_ok && strstr(v.auto_why, "stays in ring 3"));
	CHECK(strstr(v.reason, "syscall_enters_ring0"));

	/* an item that does not apply is none that fails */
	measured(&v);
	item_skips(&v.item[PROBE_ITEM_XSAVES], "no such instruction");
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_NATIVE && v.auto_ok);

	/* speed */
	measured(&v);
	v.mode[PROBE_LONG0].ratio = 1.49;
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_NATIVE);
	v.mode[PROBE_LONG0].ratio = 1000;
	v.mode[PROBE_LONG0].ns_per_insn = 250;
	probe_judge(&f, &v);
	CHECK(v.mode[PROBE_LONG0].level == PROBE_PARTIAL && strstr(v.mode[PROBE_LONG0].reason, "emulated: 250 ns"));
	CHECK(v.level == PROBE_PARTIAL && !v.auto_ok && strstr(v.auto_why, "natively"));
	measured(&v);
	v.mode[PROBE_REAL].ratio = 900; /* as processors without unrestricted guest have it: a moment of the boot */
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_PARTIAL && v.auto_ok);

	/* a mode that does not run */
	measured(&v);
	v.mode[PROBE_PAE].runs = false;
	snprintf(v.mode[PROBE_PAE].evidence, PROBE_TEXT, "CR0.PG was dropped");
	probe_judge(&f, &v);
	CHECK(v.mode[PROBE_PAE].level == PROBE_UNUSABLE && !strcmp(v.mode[PROBE_PAE].reason, "CR0.PG was dropped"));
	CHECK(v.level == PROBE_PARTIAL && !v.auto_ok && strstr(v.auto_why, "PAE"));
	for (unsigned m = 0; m < PROBE_MODES; m++)
		v.mode[m].runs = false;
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_UNUSABLE);
}

static void test_judge_late(void)
{
	struct host_facts f = a_host();
	struct probe_verdict v;

	/* quick: what it leaves out does not count */
	measured(&v);
	v.quick = true;
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		if (!probe_items[i].quick)
			v.item[i].outcome = PROBE_UNTRIED;
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_NATIVE && v.auto_ok && probe_complete(&v));
	/* what was to be tried and was not does */
	v.item[PROBE_ITEM_SYSCALL].outcome = PROBE_UNTRIED;
	probe_judge(&f, &v);
	CHECK(v.mode[PROBE_LONG3].level == PROBE_PARTIAL && strstr(v.mode[PROBE_LONG3].reason, "not measured"));
	CHECK(!v.auto_ok && !probe_complete(&v));
	/* a mode that was not reached */
	measured(&v);
	v.mode[PROBE_V86] = (struct probe_mode_result){0};
	probe_judge(&f, &v);
	CHECK(!probe_complete(&v) && v.mode[PROBE_V86].level == PROBE_UNKNOWN && v.level == PROBE_PARTIAL &&
	      !v.auto_ok);
	/* nothing at all */
	memset(&v, 0, sizeof(v));
	v.measured = true;
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_UNKNOWN && !v.auto_ok);
}

/* The longest texts that there can be: lists are cut, nothing overflows. */
static void test_judge_long(void)
{
	struct host_facts f = a_host();
	struct probe_verdict v;

	measured(&v);
	for (unsigned i = 0; i < PROBE_ITEMS; i++) {
		v.item[i].outcome = PROBE_FAILS;
		memset(v.item[i].evidence, 'e', PROBE_TEXT - 1);
	}
	for (unsigned m = 0; m < PROBE_MODES; m++)
		v.mode[m].ratio = v.mode[m].ns_per_insn = 1e12;
	probe_judge(&f, &v);
	for (unsigned m = 0; m < PROBE_MODES; m++)
		CHECK(strlen(v.mode[m].reason) < sizeof(v.mode[m].reason));
	CHECK(strstr(v.mode[PROBE_LONG0].reason, "fails") && strlen(v.reason) < sizeof(v.reason));
	CHECK(strstr(v.mode[PROBE_LONG3].reason, ", ...") || strstr(v.mode[PROBE_LONG0].reason, ", ..."));
}

/* ---- JSON ---- */

static void same_verdict(const struct probe_verdict *a, const struct probe_verdict *b)
{
	CHECK(a->quick == b->quick && a->measured_at == b->measured_at && a->seconds == b->seconds);
	CHECK(a->level == b->level && a->auto_ok == b->auto_ok && !strcmp(a->reason, b->reason));
	for (unsigned m = 0; m < PROBE_MODES; m++) {
		CHECK(a->mode[m].tried == b->mode[m].tried && a->mode[m].runs == b->mode[m].runs);
		CHECK(a->mode[m].ratio == b->mode[m].ratio && a->mode[m].level == b->mode[m].level);
		CHECK(!strcmp(a->mode[m].evidence, b->mode[m].evidence));
		CHECK(!strcmp(a->mode[m].reason, b->mode[m].reason));
	}
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		CHECK(a->item[i].outcome == b->item[i].outcome && !strcmp(a->item[i].evidence, b->item[i].evidence));
	for (unsigned c = 0; c < PROBE_COSTS; c++)
		CHECK(a->cost[c].samples == b->cost[c].samples && a->cost[c].median_ns == b->cost[c].median_ns &&
		      a->cost[c].p95_ns == b->cost[c].p95_ns);
}

static void mixed(struct probe_verdict *v)
{
	measured(v);
	v->quick = true;
	item_fails(&v->item[PROBE_ITEM_SYSCALL], "a \"quoted\" evidence");
	item_skips(&v->item[PROBE_ITEM_XSAVES], "none");
	v->item[PROBE_ITEM_TF].outcome = PROBE_UNTRIED;
	v->mode[PROBE_V86] = (struct probe_mode_result){.tried = true, .evidence = "no"};
	v->cost[PROBE_COST_HLT] = (struct probe_cost_result){.evidence = "no exit"};
}

static void test_json(void)
{
	struct host_facts f = a_host();
	struct probe_verdict v, back;
	json_t *j, *facts, *again, *part;
	char *text;

	mixed(&v);
	probe_judge(&f, &v);
	j = probe_verdict_json(&v);
	text = json_dumps(j, 0);
	again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	CHECK(again != NULL);
	CHECK(probe_verdict_from_json(again, &back));
	probe_judge(&f, &back);
	same_verdict(&v, &back);

	/* the shape: one entry a row, each with its keys, in their types */
	CHECK(json_object_size(json_object_get(j, "modes")) == PROBE_MODES);
	CHECK(json_object_size(json_object_get(j, "conformance")) == PROBE_ITEMS);
	CHECK(json_object_size(json_object_get(j, "costs")) == PROBE_COSTS);
	CHECK(!strcmp(json_string_value(json_object_get(j, "level")), "partial"));
	CHECK(!strcmp(json_string_value(json_object_get(j, "vendor")), "VT-x"));
	CHECK(json_is_true(json_object_get(j, "complete")) == probe_complete(&v));
	part = json_object_get(json_object_get(j, "modes"), "v86");
	CHECK(json_is_null(json_object_get(part, "ratio")) && json_is_false(json_object_get(part, "runs")));
	part = json_object_get(json_object_get(j, "conformance"), "syscall_enters_ring0");
	CHECK(!strcmp(json_string_value(json_object_get(part, "outcome")), "fails"));
	CHECK(json_is_true(json_object_get(part, "needed")));
	part = json_object_get(json_object_get(j, "costs"), "exit_hlt");
	CHECK(json_is_null(json_object_get(part, "median_ns")));
	facts = probe_facts_json(&f);
	CHECK(json_is_object(json_object_get(facts, "cpu")) &&
	      json_is_object(json_object_get(facts, "virtualization")));
	CHECK(!strcmp(json_string_value(json_object_get(json_object_get(facts, "kvm"), "access")), "opens"));
	json_decref(facts);

	/* what is not such a document */
	json_object_set_new(again, "schema", json_integer(PROBE_JSON_SCHEMA + 1));
	CHECK(!probe_verdict_from_json(again, &back));
	json_object_set_new(again, "schema", json_integer(PROBE_JSON_SCHEMA));
	CHECK(probe_verdict_from_json(again, &back));
	part = json_object_get(json_object_get(again, "conformance"), "xcr0");
	json_object_set_new(part, "outcome", json_string("perhaps"));
	CHECK(!probe_verdict_from_json(again, &back));
	json_object_del(json_object_get(again, "conformance"), "xcr0");
	CHECK(!probe_verdict_from_json(again, &back));
	json_object_set_new(again, "modes", json_integer(7));
	CHECK(!probe_verdict_from_json(again, &back));
	CHECK(!probe_verdict_from_json(NULL, &back));
	json_decref(again);
	json_decref(j);
	free(text);
}

static const char *text_in(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "(none)";
}

static bool in_list(const json_t *list, const char *word)
{
	size_t i;
	json_t *w;

	json_array_foreach(list, i, w)
		if (!strcmp(json_string_value(w), word))
			return true;
	return false;
}

/* What results record: each mode's level, each failed item, what was too late, and the reason of `auto`. */
static void test_summary(void)
{
	struct host_facts f = a_host();
	struct probe_verdict v;
	json_t *j, *modes;

	mixed(&v);
	v.item[PROBE_ITEM_CX16].outcome = PROBE_UNTRIED;
	probe_judge(&f, &v);
	j = probe_summary(&f, &v);
	modes = json_object_get(j, "modes");
	CHECK(!strcmp(text_in(j, "level"), "partial") && !strcmp(text_in(j, "vendor"), "VT-x"));
	CHECK(!strcmp(text_in(j, "module"), "kvm_intel") && !strcmp(text_in(j, "access"), "opens"));
	CHECK(!strcmp(text_in(j, "reason"), v.reason) && json_is_true(json_object_get(j, "quick")));
	CHECK(json_integer_value(json_object_get(j, "measured_at")) == v.measured_at);
	CHECK(json_object_size(modes) == PROBE_MODES);
	for (unsigned m = 0; m < PROBE_MODES; m++)
		CHECK(!strcmp(text_in(modes, probe_modes[m].name), probe_level_name(v.mode[m].level)));
	CHECK(!strcmp(text_in(modes, "v86"), "unusable") && !strcmp(text_in(modes, "pae"), "native"));
	CHECK(json_array_size(json_object_get(j, "fails")) == 1);
	CHECK(in_list(json_object_get(j, "fails"), "syscall_enters_ring0"));
	CHECK(in_list(json_object_get(j, "late"), "cmpxchg16b_ring0"));
	CHECK(!in_list(json_object_get(j, "late"), "trap_flag")); /* not asked for in a quick look */
	CHECK(!strcmp(text_in(json_object_get(j, "auto"), "path"), "bt"));
	CHECK(!strcmp(text_in(json_object_get(j, "auto"), "why"), v.auto_why));
	json_decref(j);

	measured(&v);
	probe_judge(&f, &v);
	j = probe_summary(&f, &v);
	CHECK(!strcmp(text_in(j, "level"), "native") && !strcmp(text_in(json_object_get(j, "auto"), "path"), "kvm"));
	CHECK(!json_array_size(json_object_get(j, "fails")) && !json_array_size(json_object_get(j, "late")));
	json_decref(j);

	f.kvm = KVM_NO_PERMISSION;
	memset(&v, 0, sizeof(v));
	probe_judge(&f, &v);
	j = probe_summary(&f, &v);
	CHECK(json_is_false(json_object_get(j, "measured")) && !strcmp(text_in(j, "access"), "denied"));
	CHECK(!json_object_size(json_object_get(j, "modes")) && strstr(text_in(j, "reason"), "join its group"));
	CHECK(!strcmp(text_in(json_object_get(j, "auto"), "path"), "bt"));
	json_decref(j);
}

/* ---- cache ---- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

static void test_cache(void)
{
	char folder[] = "/tmp/steelyard-test-probe.XXXXXX", path[4096], command[4200];
	struct host_facts f = a_host(), other;
	struct probe_verdict v, back;

	if (!mkdtemp(folder)) {
		printf("FAIL no folder for the cache\n");
		failed++;
		return;
	}
	setenv("XDG_CACHE_HOME", folder, 1);
	CHECK(probe_cache_path(path, sizeof(path)) && !strncmp(path, folder, strlen(folder)));
	CHECK(!probe_cache_load(&f, &back));
	mixed(&v);
	probe_judge(&f, &v);
	CHECK(probe_cache_store(&f, &v));
	CHECK(probe_cache_load(&f, &back) && back.cached);
	probe_judge(&f, &back);
	same_verdict(&v, &back);

	/* whatever the verdict depends on */
#define OTHER(change)                                    \
	do {                                             \
		other = f;                               \
		change;                                  \
		CHECK(!probe_cache_load(&other, &back)); \
	} while (0)
	OTHER(other.boot_id[0] = '9');
	OTHER(other.boot_id[0] = 0);
	OTHER(strcpy(other.kernel, "Linux 1.2.4"));
	OTHER(strcpy(other.kernel_build, "#2"));
	OTHER(strcpy(other.model, "Another"));
	OTHER(other.stepping = 1);
	OTHER(other.vmx = false);
	OTHER(strcpy(other.kvm_module, "kvm_pvm"));
	OTHER(other.kvm_device = "/dev/kvm2");
	OTHER(other.kvm = KVM_NO_PERMISSION);
	CHECK(probe_cache_load(&f, &back));

	/* the cache alone answers; it was quick, so quick is what it can say */
	CHECK(probe_verdict_for(&f, &(struct probe_options){.effort = PROBE_CACHED_ONLY}, &back) == v.level);
	CHECK(back.cached && back.measured && back.quick);
	CHECK(probe_verdict_for(&f, &(struct probe_options){.effort = PROBE_QUICK}, &back) == v.level && back.cached);
	CHECK(probe_verdict_for(&f, &(struct probe_options){.effort = PROBE_CACHED_ONLY, .fresh = true}, &back) ==
	      PROBE_UNKNOWN);
	CHECK(!back.measured && !back.cached);

	/* damage */
	CHECK(truncate(path, 100) == 0 && !probe_cache_load(&f, &back));
	write_file(path, "{}");
	CHECK(!probe_cache_load(&f, &back));
	write_file(path, "[[[[[[[[");
	CHECK(!probe_cache_load(&f, &back));
	write_file(path, "{\"key\":null,\"verdict\":{\"schema\":1,\"measured\":true}}");
	CHECK(!probe_cache_load(&f, &back));
	CHECK(probe_cache_store(&f, &v) && probe_cache_load(&f, &back));

	/* nowhere to write */
	setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
	CHECK(!probe_cache_store(&f, &v) && !probe_cache_load(&f, &back));
	setenv("XDG_CACHE_HOME", "relative", 1);
	setenv("HOME", "/nobody", 1);
	CHECK(probe_cache_path(path, sizeof(path)) && !strncmp(path, "/nobody/.cache/", 15));
	unsetenv("HOME");
	CHECK(!probe_cache_path(path, sizeof(path)) && !probe_cache_store(&f, &v));
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	CHECK(system(command) == 0);
}

/* ---- who runs the tests ---- */

static void runs_well(struct probe *p, const struct probe_test *t)
{
	item_holds(&p->v->item[t->index], "ran");
}

/* As a KVM_RUN that heeds no signal. */
static void never_ends(struct probe *p, const struct probe_test *t)
{
	sigset_t all;

	(void)p;
	(void)t;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (;;)
		;
}

static void crashes(struct probe *p, const struct probe_test *t)
{
	(void)p;
	(void)t;
	signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would make an exit of it */
	raise(SIGSEGV);
}

static void goes_away(struct probe *p, const struct probe_test *t)
{
	(void)p;
	(void)t;
	_exit(7);
}

/* Waits for its own watchdog, as a guest_run that ends with STOP_STUCK. */
static void waits_for_alarm(struct probe *p, const struct probe_test *t)
{
	struct kvm_run run = {0};

	p->dog.run = &run;
	while (!p->dog.expired)
		;
	item_fails(&p->v->item[t->index], "expired, immediate_exit %u",
		   *(volatile __u8 *)&run.immediate_exit); /* a signal handler sets it */
	p->dog.run = NULL;
}

static void lost(struct probe_verdict *v, const struct probe_test *t, const char *why, bool late)
{
	item_fails(&v->item[t->index], "%s", why);
	if (late)
		v->item[t->index].outcome = PROBE_UNTRIED;
}

static void test_machinery(void)
{
	const struct probe_test t[] = {
		{runs_well, lost, 0, 0, 1000}, {never_ends, lost, 1, 0, 20},  {runs_well, lost, 2, 0, 1000},
		{crashes, lost, 3, 0, 1000},   {goes_away, lost, 4, 0, 1000}, {waits_for_alarm, lost, 5, 0, 20},
		{runs_well, lost, 6, 0, 1000},
	};
	struct host_facts f = a_host();
	struct probe_verdict v = {0};

	f.kvm_device = "/nowhere";
	CHECK(probe_run_tests(&f, true, t, ARRAY_LEN(t), probe_now_ns() + 60000000000ull, &v) == 3);
	CHECK(v.item[0].outcome == PROBE_HOLDS && v.item[2].outcome == PROBE_HOLDS && v.item[6].outcome == PROBE_HOLDS);
	CHECK(v.item[1].outcome == PROBE_FAILS && strstr(v.item[1].evidence, "had to be killed"));
	CHECK(v.item[3].outcome == PROBE_FAILS && strstr(v.item[3].evidence, "signal 11"));
	CHECK(v.item[4].outcome == PROBE_FAILS && strstr(v.item[4].evidence, "status 7"));
	CHECK(v.item[5].outcome == PROBE_FAILS && strstr(v.item[5].evidence, "immediate_exit 1"));

	/* as a program that was started with signals blocked and its children's ends ignored */
	const struct probe_test two[] = {{waits_for_alarm, lost, 0, 0, 20}, {runs_well, lost, 1, 0, 1000}};
	sigset_t all, before;

	memset(&v, 0, sizeof(v));
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	signal(SIGCHLD, SIG_IGN);
	CHECK(probe_run_tests(&f, true, two, ARRAY_LEN(two), probe_now_ns() + 60000000000ull, &v) == 0);
	CHECK(strstr(v.item[0].evidence, "expired") && v.item[1].outcome == PROBE_HOLDS);
	CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
	sigprocmask(SIG_SETMASK, &before, NULL);

	/* a deadline that has passed, and one that passes meanwhile */
	memset(&v, 0, sizeof(v));
	CHECK(probe_run_tests(&f, true, t, ARRAY_LEN(t), 0, &v) == 0);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		CHECK(v.item[i].outcome == PROBE_UNTRIED && !strcmp(v.item[i].evidence, "not measured: no time left"));
	const struct probe_test late[] = {{never_ends, lost, 0, 0, 60000}, {runs_well, lost, 1, 0, 1000}};

	CHECK(probe_run_tests(&f, true, late, ARRAY_LEN(late), probe_now_ns() + 20000000, &v) == 0);
	CHECK(v.item[0].outcome == PROBE_UNTRIED && strstr(v.item[0].evidence, "time for all of it was up") &&
	      v.item[1].outcome == PROBE_UNTRIED && strstr(v.item[1].evidence, "no time left"));

	/* several that stall one after the other, whatever they do with signals: each is a result, or is told to have had no time;
	 * what stands before them stays */
	struct probe_test stalls[12] = {{runs_well, lost, 0, 0, 1000}};
	unsigned done = 0, no_time = 0, running = 0;

	for (unsigned i = 1; i < ARRAY_LEN(stalls); i++)
		stalls[i] = (struct probe_test){i % 2 ? never_ends : waits_for_alarm, lost, i, 0, 40};
	memset(&v, 0, sizeof(v));
	probe_run_tests(&f, true, stalls, ARRAY_LEN(stalls), probe_now_ns() + 700000000, &v);
	for (unsigned i = 0; i < ARRAY_LEN(stalls); i++) {
		CHECK(v.item[i].evidence[0]);
		running += strstr(v.item[i].evidence, "still running") != NULL;
		no_time += strstr(v.item[i].evidence, "no time left") != NULL;
		done += v.item[i].outcome != PROBE_UNTRIED;
		CHECK(!no_time || v.item[i].outcome == PROBE_UNTRIED); /* in order: none behind the first that came too late */
	}
	CHECK(done + running + no_time == ARRAY_LEN(stalls) && running <= 1);
	CHECK(no_time > 0); /* six of them take 40 ms twice, and more, to be found out: 11 do not fit */
}

/* A whole quick look that is out of time before it begins: every row that was to be tried says so, the others say nothing. */
static void test_no_time(void)
{
	struct probe_verdict v = {0};
	struct host_facts f = a_host();
	unsigned late = 0;

	v.measured = v.quick = true;
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		if (probe_items[i].quick)
			snprintf(v.item[i].evidence, PROBE_TEXT, "not measured: no time left");
	for (unsigned m = 0; m < PROBE_MODES; m++)
		snprintf(v.mode[m].evidence, PROBE_TEXT, "not measured: no time left");
	probe_judge(&f, &v);
	CHECK(v.level == PROBE_UNKNOWN && !v.auto_ok && !probe_complete(&v));
	for (unsigned m = 0; m < PROBE_MODES; m++)
		CHECK(v.mode[m].level == PROBE_UNKNOWN && !strcmp(v.mode[m].reason, "not measured: no time left"));
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		late += probe_item_late(&v, i);
	json_t *j = probe_summary(&f, &v);

	CHECK(late > 0 && json_array_size(json_object_get(j, "late")) == late);
	json_decref(j);
}

/* Whole measurements of a device that is none of KVM's: every row has its reason, nothing is native. */
static void test_no_device(void)
{
	struct host_facts f = a_host();
	struct probe_verdict v = {0};

	f.kvm_device = "/dev/null";
	probe_measure(&f, true, 1, &v);
	probe_judge(&f, &v);
	CHECK(v.measured && v.level == PROBE_UNUSABLE && !v.auto_ok);
	for (unsigned m = 0; m < PROBE_MODES; m++)
		CHECK(v.mode[m].level == PROBE_UNUSABLE && strstr(v.mode[m].reason, "KVM_CREATE_VM"));
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		CHECK(v.item[i].outcome != PROBE_HOLDS);
}

int main(void)
{
	test_tables();
	test_cost();
	test_vendor();
	test_device();
	test_judge();
	test_judge_late();
	test_judge_long();
	test_json();
	test_summary();
	test_cache();
	test_machinery();
	test_no_time();
	test_no_device();
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
