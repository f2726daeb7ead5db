/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What things cost: exits, events, ioctls, memory. A sample is one event where a clock can be read around it, else the
 * mean over a run of many, less a run of one; a row gives the median and the 95th percentile of its samples. Wall time:
 * these are latencies. On a busy host the percentile says more about the host than about KVM.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fastpath/probe_int.h"

#define MAX_SAMPLES 400
#define FLAG_IF 0x200u

#define LABEL(name) extern const char pg_##name[]
LABEL(outs);
LABEL(halts);
LABEL(spin);
LABEL(mmio_reads);
LABEL(mmio_writes);
LABEL(cpuids);
LABEL(trip_syscall);
LABEL(trip_int);
LABEL(trip_fault);
LABEL(trip_syscall_entry);
LABEL(trip_int_entry);
LABEL(trip_fault_entry);
LABEL(touch);
LABEL(pte_changes);
LABEL(cr3_loads);

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void cost_set(struct probe_cost_result *r, double *ns, unsigned n)
{
	if (!n)
		return;
	qsort(ns, n, sizeof(ns[0]), by_value);
	r->samples = n;
	r->median_ns = n % 2 ? ns[n / 2] : (ns[n / 2 - 1] + ns[n / 2]) / 2;
	r->p95_ns = ns[(n * 95 + 99) / 100 - 1];
}

static void cost_fails(struct probe_cost_result *r, const char *why)
{
	r->samples = 0;
	snprintf(r->evidence, sizeof(r->evidence), "%s", why);
}

static void cost_fails_errno(struct probe_cost_result *r, const char *what)
{
	r->samples = 0;
	snprintf(r->evidence, sizeof(r->evidence), "%s: %s", what, strerror(errno));
}

static unsigned samples(const struct probe *p)
{
	return p->quick ? 40 : 300;
}

static enum probe_mode ring(unsigned arg)
{
	return arg == 3 ? PROBE_LONG3 : PROBE_LONG0;
}

/* Runs that each end with this exit; the first few, which build shadow tables, do not count. */
static bool time_exits(struct probe *p, int reason, double *ns, unsigned n)
{
	struct guest *g = &p->g;
	uint64_t begin;

	for (unsigned i = 0; i < n + 4; i++) {
		begin = probe_now_ns();
		guest_run(g, &p->dog);
		if (i >= 4)
			ns[i - 4] = (double)(probe_now_ns() - begin);
		if (g->stop != reason) {
			guest_explain(g);
			return false;
		}
	}
	return true;
}

void cost_exit(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	const bool halt = arg == 1;
	double ns[MAX_SAMPLES];

	(void)c;
	if (guest_start(p, ring(arg), halt ? pg_halts : pg_outs, 0) &&
	    time_exits(p, halt ? KVM_EXIT_HLT : KVM_EXIT_IO, ns, samples(p)))
		cost_set(r, ns, samples(p));
	else
		cost_fails(r, p->g.why);
}

void cost_mmio(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	double ns[MAX_SAMPLES];

	(void)c;
	if (guest_start(p, ring(arg), arg == 1 ? pg_mmio_writes : pg_mmio_reads, 0) && guest_set_rbx(&p->g, PG_MMIO) &&
	    time_exits(p, KVM_EXIT_MMIO, ns, samples(p)))
		cost_set(r, ns, samples(p));
	else
		cost_fails(r, p->g.why);
}

/* ---- many in a run ---- */

/* One run to PG_DONE with these registers; wall time. */
static bool time_run(struct probe *p, enum probe_mode m, const char *label, struct kvm_regs *regs, uint64_t count,
		     double *ns)
{
	struct guest *g = &p->g;
	uint64_t begin;

	guest_settle(g);
	regs->rip = guest_rip(m, label);
	regs->r15 = count;
	if (!guest_set_regs(g, regs))
		return false;
	begin = probe_now_ns();
	if (!guest_until(p, PG_DONE))
		return false;
	*ns = (double)(probe_now_ns() - begin);
	return true;
}

/* Fills ns with n means over count rounds, each less a run of one round. */
static bool time_many(struct probe *p, enum probe_mode m, const char *label, struct kvm_regs *regs, unsigned count,
		      double *ns, unsigned n)
{
	double all, one;

	for (unsigned i = 0; i < n; i++) {
		if (!time_run(p, m, label, regs, 1, &one) || !time_run(p, m, label, regs, count, &all))
			return false;
		ns[i] = all > one ? (all - one) / (count - 1) : 0;
	}
	return true;
}

void cost_cpuid(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	double ns[20];
	struct kvm_regs regs;

	(void)c;
	if (guest_start(p, ring(arg), pg_cpuids, 0) && guest_regs(&p->g, &regs) &&
	    time_many(p, ring(arg), pg_cpuids, &regs, 50, ns, ARRAY_LEN(ns)))
		cost_set(r, ns, ARRAY_LEN(ns));
	else
		cost_fails(r, p->g.why);
}

void cost_pte(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	const char *label = arg ? pg_cr3_loads : pg_pte_changes;
	struct guest *g = &p->g;
	double ns[20];
	struct kvm_regs regs;

	(void)c;
	if (!guest_start(p, PROBE_LONG0, label, 0) || !guest_regs(g, &regs))
		return cost_fails(r, g->why);
	regs.rbx = PG_TEST;
	regs.r8 = guest_pte(PG_TEST);
	regs.r9 = guest_word(g, guest_pte(PG_TEST));
	regs.r10 = guest_word(g, guest_pte(PG_TEST + 4096));
	if (time_many(p, PROBE_LONG0, label, &regs, 50, ns, ARRAY_LEN(ns)))
		cost_set(r, ns, ARRAY_LEN(ns));
	else
		cost_fails(r, g->why);
}

/* A new machine for each sample: a page is touched first only once. */
void cost_touch(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	const unsigned pages = PG_FRESH_PAGES;
	struct guest *g = &p->g;
	double ns[8], one, all;
	struct kvm_regs regs;

	(void)c;
	for (unsigned i = 0; i < ARRAY_LEN(ns); i++) {
		if (!guest_start(p, PROBE_LONG3, pg_touch, arg == 0 ? GUEST_UNTOUCHED : 0) || !guest_regs(g, &regs))
			return cost_fails(r, g->why);
		regs.rbx = PG_TEST;
		if (!time_run(p, PROBE_LONG3, pg_touch, &regs, 1, &one) ||
		    !time_run(p, PROBE_LONG3, pg_touch, &regs, 1, &one))
			return cost_fails(r, g->why);
		regs.rbx = PG_FRESH;
		if (arg == 2) {
			if (!time_run(p, PROBE_LONG3, pg_touch, &regs, pages, &all))
				return cost_fails(r, g->why);
			one -= (double)probe_now_ns(); /* what madvise takes counts */
			if (madvise(g->mem + PG_FRESH, pages * 4096, MADV_DONTNEED) < 0)
				return cost_fails_errno(r, "MADV_DONTNEED");
			one += (double)probe_now_ns();
			one = -one;
		}
		if (!time_run(p, PROBE_LONG3, pg_touch, &regs, pages, &all))
			return cost_fails(r, g->why);
		ns[i] = all > one ? (all - one) / pages : 0;
	}
	cost_set(r, ns, ARRAY_LEN(ns));
}

/* ---- privilege changes, by the guest's own TSC ---- */

static double tsc_per_ns(struct probe *p)
{
	int khz = ioctl(p->g.cpu, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? khz / 1e6 : 0;
}

void cost_trip(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	static const char *const trip[] = {pg_trip_fault, pg_trip_int, pg_trip_syscall};
	const char *label = trip[arg / 2];
	const unsigned n = 200;
	struct guest *g = &p->g;
	struct kvm_regs regs;
	double ns[MAX_SAMPLES], rate;

	(void)c;
	if (!guest_start(p, PROBE_LONG3, label, 0) || !guest_regs(g, &regs) ||
	    !guest_msr(g, 0xc0000081, (uint64_t)PG_CS64 << 32 | (uint64_t)PG_CS32_USER << 48) ||
	    !guest_msr(g, 0xc0000082, PG_SUPER + PG_CODE + (uint64_t)(pg_trip_syscall_entry - pg_begin)) ||
	    !guest_msr(g, 0xc0000084, 0))
		return cost_fails(r, g->why);
	guest_gate(g, PG_VECTOR_INT, pg_trip_int_entry);
	if (label == pg_trip_fault)
		guest_gate(g, 14, pg_trip_fault_entry);
	regs.rbx = PG_MMIO + 0x1000; /* not mapped */
	regs.r8 = PG_ARRAY;
	regs.r9 = PG_ARRAY + 0x8000;
	regs.r15 = n;
	if (!guest_set_regs(g, &regs) || !guest_until(p, PG_DONE))
		return cost_fails(r, g->why);
	rate = tsc_per_ns(p);
	if (rate == 0)
		return cost_fails_errno(r, "KVM_GET_TSC_KHZ");
	for (unsigned i = 0; i < n; i++) {
		int64_t ticks = (int64_t)guest_word(g, PG_ARRAY + (arg & 1) * 0x8000 + i * 8);

		if (ticks < 0)
			return cost_fails(r, "the guest's TSC differs between the rings");
		ns[i] = (double)ticks / rate;
	}
	cost_set(r, ns, n);
}

/* ---- events ---- */

void cost_irq(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	const struct kvm_interrupt irq = {.irq = PG_VECTOR_IRQ};
	struct guest *g = &p->g;
	double ns[MAX_SAMPLES];
	struct kvm_regs regs;
	uint64_t begin;

	(void)c;
	if (!guest_start(p, ring(arg), pg_outs, 0) || !guest_regs(g, &regs))
		return cost_fails(r, g->why);
	regs.rflags |= FLAG_IF;
	if (!guest_set_regs(g, &regs))
		return cost_fails(r, g->why);
	for (unsigned i = 0; i < samples(p); i++) {
		if (!guest_until(p, PG_NOTE))
			return cost_fails(r, g->why);
		begin = probe_now_ns();
		if (ioctl(g->cpu, KVM_INTERRUPT, &irq) < 0)
			return cost_fails_errno(r, "KVM_INTERRUPT");
		if (!guest_until_exception(p, PG_VECTOR_IRQ))
			return cost_fails(r, g->why);
		ns[i] = (double)(probe_now_ns() - begin);
	}
	cost_set(r, ns, samples(p));
}

/* Another thread that signals this one now and then. */
struct kicker {
	pthread_t target;
	struct kvm_run *run;
	_Atomic bool armed, end;
	_Atomic uint64_t sent_ns;
};

static void *kick_now_and_then(void *arg)
{
	const struct timespec wait = {.tv_nsec = 300000};
	struct kicker *k = arg;

	while (!k->end) {
		nanosleep(&wait, NULL);
		if (!k->armed)
			continue;
		k->armed = false;
		k->sent_ns = probe_now_ns();
		pthread_sigqueue(k->target, SIGUSR2, (union sigval){.sival_ptr = k->run});
	}
	return NULL;
}

void cost_kick(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	struct sigaction sa = {.sa_sigaction = guest_on_kick, .sa_flags = SA_SIGINFO};
	struct guest *g = &p->g;
	struct kicker k = {.target = pthread_self()};
	const unsigned n = p->quick ? 20 : 100;
	double ns[MAX_SAMPLES];
	unsigned done = 0;
	pthread_t thread;

	(void)c;
	if (!guest_start(p, ring(arg), pg_spin, 0))
		return cost_fails(r, g->why);
	k.run = g->run;
	sigaction(SIGUSR2, &sa, NULL);
	if (pthread_create(&thread, NULL, kick_now_and_then, &k) != 0)
		return cost_fails(r, "no thread to kick from");
	while (done < n) {
		g->run->immediate_exit = 0;
		k.armed = true;
		if (guest_run(g, &p->dog) != STOP_SIGNAL)
			break;
		ns[done++] = (double)(probe_now_ns() - k.sent_ns);
	}
	k.end = true;
	pthread_join(thread, NULL);
	if (done < n / 2) {
		guest_explain(g);
		return cost_fails(r, g->why);
	}
	cost_set(r, ns, done);
}

/* ---- ioctls ---- */

void cost_ioctl(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	union {
		struct kvm_regs regs;
		struct kvm_sregs sregs;
		struct kvm_fpu fpu;
		struct kvm_xsave xsave;
		struct kvm_msrs msrs;
		char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} a;
	static const struct {
		unsigned long request, before; /* before: fills what the request takes */
	} row[] = {
		{KVM_RUN, 0},
		{KVM_GET_REGS, 0},
		{KVM_SET_REGS, KVM_GET_REGS},
		{KVM_GET_SREGS, 0},
		{KVM_SET_SREGS, KVM_GET_SREGS},
		{KVM_GET_FPU, 0},
		{KVM_SET_FPU, KVM_GET_FPU},
		{KVM_GET_XSAVE, 0},
		{KVM_SET_XSAVE, KVM_GET_XSAVE},
		{KVM_GET_MSRS, 0},
	};
	const unsigned long request = row[arg].request;
	struct guest *g = &p->g;
	double ns[MAX_SAMPLES];
	uint64_t begin;
	int got;

	(void)c;
	memset(&a, 0, sizeof(a));
	if (!guest_start(p, PROBE_LONG0, pg_outs, 0))
		return cost_fails(r, g->why);
	if (request == KVM_GET_MSRS) {
		a.msrs.nmsrs = 1;
		a.msrs.entries[0].index = 0xc0000102;
	}
	if (row[arg].before && ioctl(g->cpu, row[arg].before, &a) < 0)
		return cost_fails_errno(r, "reading what is to be written");
	g->run->immediate_exit = 1;
	for (unsigned i = 0; i < samples(p); i++) {
		begin = probe_now_ns();
		got = ioctl(g->cpu, request, request == KVM_RUN ? NULL : &a);
		ns[i] = (double)(probe_now_ns() - begin);
		if (got < 0 && !(request == KVM_RUN && errno == EINTR))
			return cost_fails_errno(r, "the ioctl");
	}
	cost_set(r, ns, samples(p));
}

void cost_sync(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	const uint64_t both = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	const unsigned n = samples(p);
	struct probe_cost_result plain = {0};
	struct guest *g = &p->g;
	double ns[MAX_SAMPLES];
	uint64_t begin;

	(void)c;
	if ((ioctl(p->sys, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & (int)both) != (int)both)
		return cost_fails(r, "this KVM does not offer KVM_CAP_SYNC_REGS");
	if (!guest_start(p, PROBE_LONG0, pg_outs, 0) || !time_exits(p, KVM_EXIT_IO, ns, n))
		return cost_fails(r, g->why);
	cost_set(&plain, ns, n);
	g->run->kvm_valid_regs = both;
	for (unsigned i = 0; i < n; i++) {
		if (arg == 2 && i)
			g->run->kvm_dirty_regs = both;
		begin = probe_now_ns();
		guest_run(g, &p->dog);
		ns[i] = (double)(probe_now_ns() - begin) - plain.median_ns;
		if (g->stop != KVM_EXIT_IO) {
			guest_explain(g);
			return cost_fails(r, g->why);
		}
	}
	cost_set(r, ns, n);
}

void cost_slot(struct probe *p, enum probe_cost c, struct probe_cost_result *r, unsigned arg)
{
	struct kvm_userspace_memory_region slot = {.slot = 2, .guest_phys_addr = 0x10000000}, log = {0};
	uint64_t map[8];
	struct kvm_dirty_log get = {.dirty_bitmap = map};
	const unsigned n = p->quick ? 10 : 60;
	struct guest *g = &p->g;
	double ns[MAX_SAMPLES];
	uint64_t begin;
	bool ok = true;

	(void)c;
	if (!guest_start(p, PROBE_LONG3, pg_outs, 0) || !guest_until(p, PG_NOTE))
		return cost_fails(r, g->why);
	slot.userspace_addr = (uintptr_t)g->mem;
	log.memory_size = PG_MEM_BYTES;
	log.userspace_addr = (uintptr_t)g->mem;
	log.flags = KVM_MEM_LOG_DIRTY_PAGES;
	if (arg == 1 && ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &log) < 0)
		return cost_fails_errno(r, "KVM_MEM_LOG_DIRTY_PAGES");
	for (unsigned i = 0; i < n && ok; i++) {
		begin = probe_now_ns();
		switch (arg) {
		case 0:
			slot.memory_size = PG_MEM_BYTES;
			ok = ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0;
			slot.memory_size = 0;
			ok = ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0 && ok;
			break;
		case 1:
			ok = ioctl(g->vm, KVM_GET_DIRTY_LOG, &get) == 0;
			break;
		default:
			ok = guest_start(p, PROBE_LONG3, pg_outs, 0);
			guest_end(p);
			break;
		}
		ns[i] = (double)(probe_now_ns() - begin);
	}
	if (ok)
		cost_set(r, ns, n);
	else if (arg == 2)
		cost_fails(r, g->why);
	else
		cost_fails_errno(r, "the ioctl");
}
