/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hybrid path: when does ring 3 run directly?
 *
 * A stay in the direct executor costs `stay` of CPU time whatever it does. The translator needs k times as long as the processor,
 * so code that runs for t there saves (k - 1) t, and a stay pays from stay / (k - 1) on. stay is measured when the path starts; k is
 * a row below. How long code will run without an event nobody knows; there are two guesses:
 *
 *   by history   each time the guest enters ring 3 (IRET, SYSRET) the address space and the page of RIP are looked up; when what
 *                was entered there lasted long enough before, on average, it runs directly at once. So a program that computes
 *                is back in ring 3 as soon as the timer's handler is over. A page that is not known is taken for what its address space
 *                is on average.
 *   by patience  a tick finds the vCPU in ring 3, and it has been there for as long as would have paid: as in the ski-rental problem,
 *                who has paid that much in bt pays at most twice what was necessary.
 *
 * Guesses that turn out wrong teach the history, and make the ticks rarer, each time by half: a guest for which this path has
 * nothing is bt's but for a few ticks a second.
 */
#include "engine/hybrid.h"

#include <stdlib.h>

#include "engine/dirty.h"
#include "engine/apic/lapic.h"
#include "engine/vm.h"

#define KEYS 1024u
#define TICK_MIN_NS 1000000ull
#define TICK_MAX_NS 8000000ull
#define ANY_PAGE (~0ull)
#define WAIT_MAX 31u

/* The policy's numbers, and where they are from. */
static const struct policy {
	unsigned bt_percent; /* time of bt's code in percent of the processor's */
	unsigned weight;     /* of the past against the last stay */
	const char *because;
} policy = {167, 3, "docs/performance.md: int 1.85, fp 1.46, mem 1.47, the geometric mean of all 29"};

/* What each end of a stay means. */
static const struct end_row {
	size_t counter;
	bool elsewhere; /* ring 3 goes on on bt: it is this page that does not run directly */
	bool again;	/* perhaps nothing for the guest: look whether the stay can go on */
} ends[DIRECT_ENDS] = {
#define COUNTER(name) offsetof(struct vcpu_counters, name)
	[DIRECT_REQUEST] = {COUNTER(hybrid_requests), false, true},
	[DIRECT_SYSCALL] = {COUNTER(hybrid_syscalls), false, false},
	[DIRECT_FAULT] = {COUNTER(hybrid_faults), false, false},
	[DIRECT_EXCEPTION] = {COUNTER(hybrid_exceptions), false, false},
	[DIRECT_TRAP] = {COUNTER(hybrid_traps), false, false},
	[DIRECT_CODE] = {COUNTER(hybrid_code), true, false},
	[DIRECT_STORE] = {COUNTER(hybrid_stores), true, false},
	[DIRECT_BROKEN] = {COUNTER(hybrid_broken), true, false},
#undef COUNTER
};

/* How long code lasts that enters ring 3 in this page, in nanoseconds of CPU time, what it takes to go there not counted. */
struct key {
	uint64_t cr3, page;
	uint64_t expect;
	uint8_t wait, left; /* patience is to be had so many times before it is tried here again; doubles with each failure */
};

struct hybrid_cpu {
	struct vcpu *v;
	void *direct;
	uint64_t pays_ns, pays_tsc; /* a stay pays from here on */
	uint64_t cr3, page, since; /* of the last entry into ring 3 */
	bool expected; /* it was expected to last */
	bool deferred; /* patience was over, but an interrupt came first: at the next entry */
	struct timer tick; /* device lock */
	_Atomic uint64_t tick_ns;
	_Atomic bool inside;
	uint64_t inside_ns;
	struct key key[KEYS];
};

static struct hybrid_cpu *hybrid_cpu(const struct vcpu *v)
{
	return v->path[PATH_HYBRID];
}

static const struct exec_ops *base(const struct vcpu *v)
{
	return v->vm->paths[PATH_BT];
}

/* ---- history ---- */

static struct key *key_of(struct hybrid_cpu *h, uint64_t cr3, uint64_t page)
{
	return &h->key[((cr3 >> PAGE_SHIFT_4K) * 0x9e3779b1u ^ page * 0x85ebca6bu) % KEYS];
}

static bool key_is(const struct key *k, uint64_t cr3, uint64_t page)
{
	return k->expect && k->cr3 == cr3 && k->page == page;
}

static uint64_t expect(struct hybrid_cpu *h, uint64_t cr3, uint64_t page)
{
	const struct key *k = key_of(h, cr3, page);

	if (key_is(k, cr3, page))
		return k->expect;
	k = key_of(h, cr3, ANY_PAGE);
	return key_is(k, cr3, ANY_PAGE) ? k->expect : 0;
}

static struct key *learn_one(struct hybrid_cpu *h, uint64_t page, uint64_t ns)
{
	struct key *k = key_of(h, h->cr3, page);

	if (!key_is(k, h->cr3, page))
		*k = (struct key){.cr3 = h->cr3, .page = page, .expect = ns + 1};
	else
		k->expect = (k->expect * policy.weight + ns) / (policy.weight + 1) + 1;
	return k;
}

static void learn(struct hybrid_cpu *h, uint64_t ns)
{
	learn_one(h, h->page, ns);
	learn_one(h, ANY_PAGE, ns);
	if (ns >= h->pays_ns)
		atomic_store(&h->tick_ns, TICK_MIN_NS);
}

/* A stay that began or ended in this page did pay, or did not. */
static void learn_patience(struct hybrid_cpu *h, uint64_t page, bool paid)
{
	struct key *k = key_of(h, h->cr3, page);

	if (!key_is(k, h->cr3, page)) {
		if (paid)
			return;
		k = learn_one(h, page, 0);
	}
	k->wait = paid ? 0 : k->wait < WAIT_MAX ? (uint8_t)(k->wait * 2 + 1) : k->wait;
	k->left = k->wait;
}

/* Enough of it, here? */
static bool patience_over(struct hybrid_cpu *h)
{
	struct key *k = key_of(h, h->cr3, h->v->regs.rip >> PAGE_SHIFT_4K);

	if (h->cr3 != h->v->regs.cr3 || __builtin_ia32_rdtsc() - h->since < h->pays_tsc)
		return false;
	if (!key_is(k, h->cr3, h->v->regs.rip >> PAGE_SHIFT_4K) || !k->left)
		return true;
	k->left--;
	return false;
}

static void slower(struct hybrid_cpu *h)
{
	uint64_t ns = atomic_load(&h->tick_ns);

	if (ns < TICK_MAX_NS)
		atomic_store(&h->tick_ns, ns * 2);
}

/* ---- the two guesses ---- */

static void user_entered(struct vcpu *v)
{
	struct hybrid_cpu *h = hybrid_cpu(v);

	if (v->ops != &hybrid_ops)
		return;
	h->since = __builtin_ia32_rdtsc();
	h->cr3 = v->regs.cr3;
	h->page = v->regs.rip >> PAGE_SHIFT_4K;
	h->expected = expect(h, h->cr3, h->page) >= h->pays_ns || h->deferred || v->vm->cfg.hybrid_eager;
	h->deferred = false;
	if (h->expected)
		atomic_fetch_or(&v->request, REQ_LOOK);
}

/* I/O thread, device lock held. */
static void on_tick(void *ctx)
{
	struct hybrid_cpu *h = ctx;
	struct vcpu *v = h->v;

	if (!atomic_load(&h->inside) && !atomic_load(&v->sleeping) && __atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST) &&
	    __atomic_load_n(&v->ops, __ATOMIC_SEQ_CST) == &hybrid_ops)
		vcpu_kick(v, REQ_LOOK);
	timer_arm(&h->tick, clock_ns(&v->vm->clock) + atomic_load(&h->tick_ns));
}

/* Is there something that the translator must do first? */
static bool has_work(struct vcpu *v)
{
	return (atomic_load(&v->request) & (REQ_EXIT | REQ_FLUSH)) || atomic_load(&v->nmi_pending) || vcpu_interrupt_pending(v);
}

static bool worth(struct hybrid_cpu *h)
{
	struct vcpu *v = h->v;
	if (vcpu_cpl(v) != 3 || !vcpu_code64(v))
		return false;
	if (has_work(v)) {
		h->deferred = h->expected || patience_over(h);
		return false;
	}
	if (!h->expected && !patience_over(h)) {
		slower(h);
		return false;
	}
	if (vm_dirty_on(v->vm) || hybrid_direct->unfit(h->direct)) { /* nobody sees what is stored directly */
		v->count.hybrid_refused++;
		slower(h);
		return false;
	}
	return true;
}

/* ---- a stay ---- */

static void count(struct hybrid_cpu *h, enum direct_end end, const struct direct_run *run)
{
	struct vcpu_counters *c = &h->v->count;

	h->inside_ns += run->cpu_ns;
	c->hybrid_stays++;
	c->hybrid_fills += run->fills;
	c->hybrid_resets += run->resets;
	c->hybrid_inside_us = h->inside_ns / 1000;
	++*(uint64_t *)((char *)c + ends[end].counter);
}

/* Between two stays: may the next one begin? What was asked is nothing for the guest: a barrier, or an interrupt that went. */
static bool again(struct vcpu *v, enum direct_end end)
{
	if (!ends[end].again || hybrid_direct->unfit(hybrid_cpu(v)->direct))
		return false;
	atomic_fetch_and(&v->request, ~(uint32_t)(REQ_LOOK | REQ_EVENT));
	/* what sets the request first sets what it is about */
	if (!has_work(v))
		return true;
	atomic_fetch_or(&v->request, REQ_EVENT);
	return false;
}

static void direct(struct hybrid_cpu *h)
{
	uint64_t first = h->v->regs.rip >> PAGE_SHIFT_4K, used = 0, overhead = 0, useful;
	struct direct_run run;
	enum direct_end end;

	atomic_store(&h->inside, true);
	do {
		end = hybrid_direct->run(h->direct, &run);
		count(h, end, &run);
		used += run.cpu_ns;
		overhead += hybrid_direct->stay_ns(h->direct) + run.fills * hybrid_direct->fill_ns(h->direct);
	} while (again(h->v, end));
	atomic_store(&h->inside, false);
	/* What KVM needs for its own page tables after a change of address space looks like computing, and may be many times the cost
	 * of a stay. So only a stay that had to be ended from outside is believed to have been a long one. */
	useful = end == DIRECT_REQUEST && used > overhead ? used - overhead : 0;
	learn(h, useful);
	learn_patience(h, first, useful >= h->pays_ns);
	if (ends[end].elsewhere)
		learn_patience(h, h->v->regs.rip >> PAGE_SHIFT_4K, false);
	if (useful < h->pays_ns)
		slower(h);
	h->expected = false;
	h->since = __builtin_ia32_rdtsc();
}

static void hybrid_run(struct vcpu *v, struct exit *x)
{
	struct hybrid_cpu *h = hybrid_cpu(v);

	for (;;) {
		if (atomic_fetch_and(&v->request, ~(uint32_t)REQ_LOOK) & REQ_LOOK) {
			if (worth(h))
				direct(h);
		}
		base(v)->run(v, x);
		if (x->reason != EXIT_KICK || (atomic_load(&v->request) & REQ_EXIT))
			return;
	}
}

/* ---- the path ---- */

static enum status hybrid_available(struct error *e)
{
	enum status st = exec_paths[PATH_BT]->available(e);

	return st == ST_OK ? hybrid_direct->available(e) : st;
}

static enum status hybrid_vcpu_init(struct vcpu *v, struct error *e)
{
	struct hybrid_cpu *h = calloc(1, sizeof(*h));
	enum status st;

	if (!h)
		return error_set(e, ST_NO_MEMORY, "not enough memory for a vCPU");
	h->v = v;
	st = hybrid_direct->start(v, &h->direct, e);
	if (st != ST_OK) {
		free(h);
		return st;
	}
	h->pays_ns = hybrid_direct->stay_ns(h->direct) * 100 / (policy.bt_percent - 100);
	h->pays_tsc = clock_ns_to_tsc(&v->vm->clock, h->pays_ns);
	atomic_store(&h->tick_ns, TICK_MIN_NS);
	timer_init(&h->tick, &v->vm->clock, on_tick, h);
	v->path[PATH_HYBRID] = h;
	v->user_entered = user_entered;
	pthread_mutex_lock(&v->vm->dev_lock);
	timer_arm(&h->tick, clock_ns(&v->vm->clock) + TICK_MIN_NS);
	pthread_mutex_unlock(&v->vm->dev_lock);
	return ST_OK;
}

static void hybrid_vcpu_fini(struct vcpu *v)
{
	struct hybrid_cpu *h = hybrid_cpu(v);

	if (!h)
		return;
	pthread_mutex_lock(&v->vm->dev_lock);
	timer_cancel(&h->tick);
	pthread_mutex_unlock(&v->vm->dev_lock);
	v->user_entered = NULL;
	v->path[PATH_HYBRID] = NULL;
	hybrid_direct->stop(h->direct);
	free(h);
}

static void hybrid_kick(struct vcpu *v)
{
	base(v)->kick(v);
}

static void hybrid_mem_dirty(struct vm *vm, uint64_t gpa, uint64_t len)
{
	vm->paths[PATH_BT]->mem_dirty(vm, gpa, len);
}

const struct exec_ops hybrid_ops = {
	.name = "hybrid",
	.what = "bt, and 64-bit ring 3 that runs long in KVM: for hosts whose KVM does nothing else well",
	.available = hybrid_available,
	.vcpu_init = hybrid_vcpu_init,
	.vcpu_fini = hybrid_vcpu_fini,
	.run = hybrid_run,
	.kick = hybrid_kick,
	.mem_dirty = hybrid_mem_dirty,
	.has_base = true,
	.base = PATH_BT,
};
