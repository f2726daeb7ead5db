/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the probe's files share with each other and with their tests. */
#ifndef STEELYARD_PROBE_INT_H
#define STEELYARD_PROBE_INT_H

#include <jansson.h>
#include <linux/kvm.h>
#include <signal.h>

#include "fastpath/probe.h"
#include "fastpath/probe_guest.h"

#define PROBE_JSON_SCHEMA 1 /* of the verdict: changes whenever rows or meanings do */

/* ---- the tables of probe_items.def ---- */
enum { PROBE_RUNS_ON_AUTO, PROBE_NATIVE_ON_AUTO };
struct probe_mode_row {
	const char *name;
	unsigned bits, ring;
	bool auto_native;
	const char *what;
};
struct probe_item_row {
	const char *name;
	uint32_t modes; /* 1 << enum probe_mode */
	bool needed, quick;
	const char *what;
};
struct probe_cost_row {
	const char *name;
	bool quick;
	const char *what;
};
extern const struct probe_mode_row probe_modes[PROBE_MODES];
extern const struct probe_item_row probe_items[PROBE_ITEMS];
extern const struct probe_cost_row probe_costs[PROBE_COSTS];

/* ---- probe_guest.c: one machine with one vCPU, for one test ---- */

/* What ended a run: one of KVM's exit reasons, or one of these. */
enum { STOP_STUCK = -1, STOP_SIGNAL = -2, STOP_ERROR = -3 };

struct guest {
	int vm, cpu;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_bytes;
	int stop;
	int error; /* errno of STOP_ERROR */
	char why[PROBE_TEXT];
};

/* When the test's time began, for the parent to see. */
struct beat {
	_Atomic uint64_t wall_ns, cpu_ns; /* CLOCK_MONOTONIC, CPU time of the process */
};

/* Expiry of a test's time. The signal handler finds it by the timer. */
struct watchdog {
	struct kvm_run *volatile run;
	volatile sig_atomic_t expired;
	uint64_t started_ns, budget_ns, cpu_limit_ns;
	timer_t timer;
	struct beat *beat;
};

struct probe {
	const struct host_facts *facts;
	bool quick;
	int sys;
	struct kvm_cpuid2 *cpuid; /* the supported entries, with what the host has besides when asked */
	struct guest g;
	struct watchdog dog;
	struct probe_verdict *v; /* results go here: memory shared with the parent */
};

extern const char pg_begin[], pg_end[];
void pg_loop_host(uint32_t r[4], void *data);

/* How guest_start sets it up; 0 is the plain way. */
enum {
	GUEST_WIDE_CPUID = 1, /* features of the host that KVM does not offer, too */
	GUEST_NO_CPUID = 2,   /* the test sets its own */
	GUEST_XSAVE = 4,      /* CR4.OSXSAVE, XCR0 with AVX; implies WIDE */
	GUEST_UNTOUCHED = 8,  /* PG_FRESH stays unbacked */
};

/* A new machine in p->g, in this mode, about to run the code at label (pg_...). false: g->why. */
bool guest_start(struct probe *p, enum probe_mode m, const char *label, unsigned how);
void guest_end(struct probe *p);
/* Segments and control registers of a mode, into what KVM_GET_SREGS gave. */
void guest_mode_sregs(enum probe_mode m, unsigned how, struct kvm_sregs *s);
/* Address of a label for a mode: RIP. */
uint64_t guest_rip(enum probe_mode m, const char *label);
/* One KVM_RUN. Returns g->stop. */
int guest_run(struct guest *g, const struct watchdog *dog);
/* Runs until OUT to this port. false: something else came first, g->why says what. */
bool guest_until(struct probe *p, unsigned port);
/* Runs until the exception (its handler's OUT); then reads PG_EXC_*. */
bool guest_until_exception(struct probe *p, unsigned vector);
/* Lets a pending OUT finish, so that registers may be set. */
void guest_settle(struct guest *g);
/* A sentence about g->stop, into g->why. */
void guest_explain(struct guest *g);
/* Handler of a kick: makes the KVM_RUN whose struct kvm_run is the signal's value return at once. */
void guest_on_kick(int sig, siginfo_t *si, void *uc);
uint64_t guest_word(const struct guest *g, unsigned gpa);
uint32_t guest_word32(const struct guest *g, unsigned gpa);
void guest_put(struct guest *g, unsigned gpa, uint64_t value);
bool guest_regs(struct guest *g, struct kvm_regs *r);
bool guest_set_regs(struct guest *g, const struct kvm_regs *r);
bool guest_sregs(struct guest *g, struct kvm_sregs *s);
bool guest_set_sregs(struct guest *g, const struct kvm_sregs *s);
/* Changes what pg_ code finds in RBX, with guest_start's other registers. */
bool guest_set_rbx(struct guest *g, uint64_t rbx);
bool guest_msr(struct guest *g, uint32_t index, uint64_t value);
/* The gate of a vector in both IDTs. */
void guest_gate(struct guest *g, unsigned vector, const char *label);
void guest_fail(struct guest *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The page-table entry, in 64-bit paging, of a linear address below 6 MiB. */
unsigned guest_pte(unsigned linear);
/* Turns one vCPU's CPUID on. */
bool guest_set_cpuid(struct guest *g, const struct kvm_cpuid2 *c);
/* The supported entries; wide: with the features of the host's own CPUID that KVM leaves out. Caller frees. NULL: errno. */
struct kvm_cpuid2 *probe_supported_cpuid(int sys, bool wide);
struct kvm_cpuid_entry2 *probe_cpuid_leaf(struct kvm_cpuid2 *c, uint32_t leaf, uint32_t sub);

uint64_t probe_now_ns(void);
uint64_t probe_cpu_ns(void); /* of this thread */

/* ---- the tests ---- */
typedef void probe_item_fn(struct probe *p, enum probe_item i, struct probe_item_result *r);
typedef void probe_cost_fn(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg);
#define ITEM(id, name, modes, need, quick, fn, what) probe_item_fn fn;
#include "fastpath/probe_items.def"
#define COST(id, name, quick, fn, arg, what) probe_cost_fn fn;
#include "fastpath/probe_items.def"
void probe_mode_test(struct probe *p, enum probe_mode m, struct probe_mode_result *r);

/* ---- probe_run.c ---- */
/* The test's time begins anew: a machine is ready, the last one's guest has ended. */
void watchdog_rearm(struct probe *p);

void item_holds(struct probe_item_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void item_fails(struct probe_item_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void item_skips(struct probe_item_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Median and 95th percentile; sorts ns. */
void cost_set(struct probe_cost_result *r, double *ns, unsigned n);

/* Runs the guests. Fills v (measured true), unjudged. */
void probe_measure(const struct host_facts *f, bool quick, unsigned patience, struct probe_verdict *v);

/* What a test process is asked to run, and for how long; the tests of this file's machinery bring their own. */
struct probe_test {
	void (*run)(struct probe *p, const struct probe_test *t);
	/* The process that ran it is gone: why, in words. late: only because the time for all of it was up. */
	void (*lost)(struct probe_verdict *v, const struct probe_test *t, const char *why, bool late);
	unsigned index, arg;
	unsigned budget_ms;
};
/* Runs the tests one after the other in child processes until the deadline. Returns how many were lost. */
unsigned probe_run_tests(const struct host_facts *f, bool quick, const struct probe_test *t, unsigned n,
			 uint64_t deadline_ns, struct probe_verdict *v);

/* ---- probe_ring3.c ---- */
/* Runs the loops of ring 3 beside the host's and prints a table. Returns the exit status. */
int probe_ring3(const struct host_facts *f);

/* ---- probe_verdict.c ---- */
/* What the results mean: levels and reasons. Reads nothing but its arguments. */
void probe_judge(const struct host_facts *f, struct probe_verdict *v);
/* Did everything that was to be tried get its turn? */
bool probe_complete(const struct probe_verdict *v);
/* This item was to be tried, and was not: the time was up. */
bool probe_item_late(const struct probe_verdict *v, unsigned i);
/* What `auto` takes where the verdict is this: "kvm" or "bt". */
const char *probe_auto_path(const struct probe_verdict *v);
/* Facts alone: "auto" needs to ask no further. NULL: it needs the verdict. */
const char *probe_facts_against_kvm(const struct host_facts *f);

/* ---- probe_json.c ---- */
json_t *probe_facts_json(const struct host_facts *f);
json_t *probe_verdict_json(const struct probe_verdict *v);
/* false: not such a document. Levels and reasons are not read: judge again. */
bool probe_verdict_from_json(const json_t *j, struct probe_verdict *v);

/* ---- probe_cache.c ---- */
/* The file's name; false: no home. */
bool probe_cache_path(char *buf, size_t n);
bool probe_cache_load(const struct host_facts *f, struct probe_verdict *v);
/* Failure to store is no failure of the probe. */
bool probe_cache_store(const struct host_facts *f, const struct probe_verdict *v);

/* ---- probe_text.c ---- */
void probe_print(const struct host_facts *f, const struct probe_verdict *v);

#endif
