/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing paths in mid-guest.
 *
 * What travels is struct vcpu, all of it: registers with hidden parts, MSRs, x87/SSE/AVX state, debug registers, the TSC's
 * offset, interrupt shadow, NMI blocking, the local APIC. ops->run leaves it exact, or ops->pull makes it so; an event whose
 * delivery a path had only begun is in v->inject and is delivered by the next path first. What does not travel are
 * caches: every change sets REQ_FLUSH, and REQ_EVENT, because a path may have taken that request and remembered
 * privately that an interrupt waits for IF.
 *
 * Code: the translator and the interpreter learn of stores to code pages by the codemap, and on each other's vCPUs too. A
 * path with whole_machine stores without telling. So the vCPUs change between the classes together: the first one
 * that comes by stops the others, gives all of them the new class, has everything decoded forgotten when a silent path is
 * left, and lets them go; each of them changes before it runs again (class_differs below).
 *
 * Falling: when a path cannot go on, the next in fall_to[] takes over at the same instruction. Whether and when to go back
 * is the table `back`: a rule for each reason. A guest is never ended because of a path unless no other is left.
 */
#include "engine/switch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/dirty.h"
#include "engine/vm.h"

#define NO_PATH PATH_COUNT
#define MS_NS 1000000ull
#define BACK_PAUSE_NS (10 * MS_NS)
#define BACK_MAX 8

/* Who goes on where a path cannot. The interpreter knows every instruction that any path knows. */
static const enum path_id fall_to[PATH_COUNT][2] = {
	[PATH_KVM] = {PATH_BT, PATH_INTERP},
	[PATH_HYBRID] = {PATH_BT, PATH_INTERP},
	[PATH_BT] = {PATH_INTERP, NO_PATH},
	[PATH_INTERP] = {NO_PATH, NO_PATH},
};

/* The policy: back to the path that a vCPU had to leave? */
static const struct back_row {
	const char *name;
	unsigned times; /* at most; the pause doubles each time */
	uint64_t pause_ns;
	const char *because;
} back[SWITCH_CAUSES] = {
	[SWITCH_ASKED] = {"asked", 0, 0, "who asked decides again"},
	[SWITCH_BACK] = {"back", 0, 0, "that is what going back is"},
	[SWITCH_CANNOT] = {"cannot", BACK_MAX, BACK_PAUSE_NS,
			   "one instruction that the path does not know: the code around it is over soon, unless it is a loop, "
			   "hence the longer and longer pauses and the end of them"},
	[SWITCH_UNSOUND] = {"unsound", 0, 0, "the guest has come to depend on what this host does wrong, and will go on to"},
	[SWITCH_STALLED] = {"stalled", 0, 0, "noticing it takes a second, and the same code would stall again"},
	[SWITCH_FAIL] = {"fail", 0, 0, "a failure of the host is not over because time has passed"},
};

struct switch_cpu {
	_Atomic int cur, want; /* enum path_id; cur is written by the owner */
	unsigned begun;	       /* bit p: path p's vcpu_init has succeeded on this thread. Owner */
	unsigned barred;       /* bit p: path p did not start on this vCPU. Owner */
	enum switch_cause cause;
	char why[160];
};

struct switcher {
	pthread_mutex_t lock; /* guards the events, cause, why and the back_ fields */
	uint64_t nevents, count[SWITCH_CAUSES];
	struct switch_event event[SWITCH_EVENTS];
	struct timer back_timer; /* device lock */
	bool back_wanted; /* nobody has asked for anything else since the timer was set */
	enum path_id back_to;
	unsigned back_done;
	_Atomic bool whole; /* the class that may run now. Written with the world stopped */
	struct switch_cpu cpu[VM_MAX_CPUS];
};

static void go_back(void *ctx)
{
	struct vm *vm = ctx;
	struct switcher *s = vm->switcher;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < vm->ncpus && s->back_wanted; i++) {
		s->cpu[i].cause = SWITCH_BACK;
		snprintf(s->cpu[i].why, sizeof(s->cpu[i].why), "the pause is over");
		atomic_store(&s->cpu[i].want, (int)s->back_to);
	}
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < vm->ncpus; i++)
		vcpu_kick(vm->vcpu[i], REQ_EXIT);
}

enum status switch_init(struct vm *vm, struct error *e)
{
	struct switcher *s = calloc(1, sizeof(*s));

	if (!s)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	timer_init(&s->back_timer, &vm->clock, go_back, vm);
	vm->switcher = s;
	return ST_OK;
}

void switch_fini(struct vm *vm)
{
	if (!vm->switcher)
		return;
	pthread_mutex_lock(&vm->dev_lock);
	timer_cancel(&vm->switcher->back_timer);
	pthread_mutex_unlock(&vm->dev_lock);
	pthread_mutex_destroy(&vm->switcher->lock);
	free(vm->switcher);
	vm->switcher = NULL;
}

/* ---- asking ---- */

static bool whole(const struct vm *vm, enum path_id p)
{
	return vm->paths[p]->whole_machine;
}

enum status vm_switch_path(struct vm *vm, int vcpu, enum path_id path, const char *why, struct error *e)
{
	struct switcher *s = vm->switcher;
	unsigned first = vcpu < 0 ? 0 : (unsigned)vcpu, last = vcpu < 0 ? vm->ncpus : (unsigned)vcpu + 1;
	enum status st;

	if ((unsigned)path >= PATH_COUNT || !vm->paths[path])
		return error_set(e, ST_UNSUPPORTED, "this execution path is not part of this build");
	if (vcpu >= 0 && (unsigned)vcpu >= vm->ncpus)
		return error_set(e, ST_INVALID, "there is no vCPU %d: this machine has %u", vcpu, vm->ncpus);
	if ((st = vm_path_holds(vm, path, e)) != ST_OK || (st = vm->paths[path]->available(e)) != ST_OK)
		return st;
	pthread_mutex_lock(&s->lock);
	s->back_wanted = false;
	if (whole(vm, path) != atomic_load(&s->whole))
		first = 0, last = vm->ncpus;
	for (unsigned i = first; i < last; i++) {
		s->cpu[i].cause = SWITCH_ASKED;
		snprintf(s->cpu[i].why, sizeof(s->cpu[i].why), "%s", why ? why : "asked");
		atomic_store(&s->cpu[i].want, (int)path);
	}
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = first; i < last; i++)
		vcpu_kick(vm->vcpu[i], REQ_EXIT);
	return ST_OK;
}

enum path_id switch_path_of(struct vm *vm, unsigned i)
{
	return (enum path_id)atomic_load(&vm->switcher->cpu[i].cur);
}

bool switch_class(struct vm *vm)
{
	return atomic_load(&vm->switcher->whole);
}

enum path_id switch_wanted_of(struct vm *vm, unsigned i)
{
	return (enum path_id)atomic_load(&vm->switcher->cpu[i].want);
}

/* ---- events ---- */

static void note(struct vcpu *v, enum path_id from, enum path_id to, enum switch_cause cause, const char *why)
{
	struct vm *vm = v->vm;
	struct switcher *s = vm->switcher;
	struct switch_event *ev, copy;

	pthread_mutex_lock(&s->lock);
	ev = &s->event[s->nevents % SWITCH_EVENTS];
	*ev = (struct switch_event){.seq = s->nevents++,
				    .at_ns = clock_ns(&vm->clock),
				    .vcpu = v->id,
				    .from = from,
				    .to = to,
				    .cause = cause,
				    .cs = v->regs.seg[SEG_CS].sel,
				    .rip = v->regs.rip};
	snprintf(ev->why, sizeof(ev->why), "%s", why);
	s->count[cause]++;
	copy = *ev;
	pthread_mutex_unlock(&s->lock);
	if (vm->cfg.on_switch)
		vm->cfg.on_switch(vm->cfg.on_switch_ctx, vm, &copy);
}

uint64_t switch_count(struct vm *vm)
{
	uint64_t n;

	pthread_mutex_lock(&vm->switcher->lock);
	n = vm->switcher->nevents;
	pthread_mutex_unlock(&vm->switcher->lock);
	return n;
}

uint64_t switch_count_cause(struct vm *vm, enum switch_cause cause)
{
	uint64_t n;

	pthread_mutex_lock(&vm->switcher->lock);
	n = (unsigned)cause < SWITCH_CAUSES ? vm->switcher->count[cause] : 0;
	pthread_mutex_unlock(&vm->switcher->lock);
	return n;
}

bool switch_event(struct vm *vm, uint64_t seq, struct switch_event *out)
{
	struct switcher *s = vm->switcher;
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = seq < s->nevents && seq + SWITCH_EVENTS >= s->nevents;
	if (ok)
		*out = s->event[seq % SWITCH_EVENTS];
	pthread_mutex_unlock(&s->lock);
	return ok;
}

const char *switch_cause_name(enum switch_cause cause)
{
	return (unsigned)cause < SWITCH_CAUSES ? back[cause].name : "unknown";
}

static const char *path_name(const struct vm *vm, enum path_id p)
{
	return vm->paths[p] ? vm->paths[p]->name : "none";
}

const char *switch_event_text(struct vm *vm, const struct switch_event *ev, char *buf, size_t n)
{
	if (ev->from == ev->to)
		snprintf(buf, n, "vCPU %u stays on %s at %04x:%" PRIx64 ": %s", ev->vcpu, path_name(vm, ev->to), ev->cs,
			 ev->rip, ev->why);
	else
		snprintf(buf, n, "vCPU %u %s -> %s at %04x:%" PRIx64 ": %s", ev->vcpu, path_name(vm, ev->from),
			 path_name(vm, ev->to), ev->cs, ev->rip, ev->why);
	return buf;
}

void switch_print(struct vm *vm, unsigned max, void *file)
{
	uint64_t n = switch_count(vm);
	struct switch_event ev;
	char text[320];
	FILE *f = file;

	for (uint64_t seq = n > max ? n - max : 0; seq < n; seq++)
		if (switch_event(vm, seq, &ev))
			fprintf(f, "%10" PRIu64 ".%03u s  %s (%s)\n", ev.at_ns / 1000000000u,
				(unsigned)(ev.at_ns / 1000000u % 1000u),
				switch_event_text(vm, &ev, text, sizeof(text)), switch_cause_name(ev.cause));
}

/* ---- changing: the owner thread ---- */

static void forget_code(struct vm *vm, uint64_t gpa, uint64_t len)
{
	for (unsigned p = 0; p < PATH_COUNT; p++)
		if ((vm->paths_begun & 1u << p) && vm->paths[p]->mem_dirty) {
			vm->paths[p]->mem_dirty(vm, gpa, len);
			break; /* the paths that decode share one codemap */
		}
}

void switch_ram_written(struct vm *vm, uint64_t gpa, uint64_t len)
{
	forget_code(vm, gpa, len);
	dirty_mark(vm, gpa, len);
}

void switch_forget_code(struct vm *vm)
{
	uint64_t gpa, len;

	for (unsigned i = 0; mem_ram_piece(&vm->mem, i, &gpa, &len); i++)
		forget_code(vm, gpa, len);
}

static enum status begin(struct vcpu *v, enum path_id p, struct error *e)
{
	struct vm *vm = v->vm;
	struct switch_cpu *c = &vm->switcher->cpu[v->id];
	enum status st = ST_OK;

	if (c->begun & 1u << p)
		return ST_OK;
	if ((st = vm_path_holds(vm, p, e)) != ST_OK)
		return st;
	if (vm->paths[p]->has_base && (st = begin(v, vm->paths[p]->base, e)) != ST_OK)
		return st;
	if (c->barred & 1u << p)
		return error_set(e, ST_UNSUPPORTED, "%s did not start before", path_name(vm, p));
	if (!(vm->paths_begun & 1u << p)) {
		vm_stop_others(v);
		if (!(vm->paths_begun & 1u << p) && (st = vm_path_begin(vm, p, e)) == ST_OK)
			vm->paths_begun |= 1u << p;
		vm_resume_others(v);
	}
	if (st == ST_OK)
		st = vm->paths[p]->vcpu_init(v, e);
	if (st == ST_OK)
		c->begun |= 1u << p;
	else
		c->barred |= 1u << p;
	return st;
}

/* May a vCPU on path p run now? */
static bool class_differs(const struct vm *vm, enum path_id p)
{
	return whole(vm, p) != atomic_load(&vm->switcher->whole);
}

/* No vCPU runs. */
static enum status world_enter(struct vm *vm, enum path_id p, struct error *e)
{
	return whole(vm, p) && vm->paths[p]->world_enter ? vm->paths[p]->world_enter(vm, e) : ST_OK;
}

static void world_leave(struct vm *vm)
{
	for (unsigned p = 0; p < PATH_COUNT; p++)
		if ((vm->paths_begun & 1u << p) && whole(vm, (enum path_id)p) && vm->paths[p]->world_leave)
			vm->paths[p]->world_leave(vm);
}

/* All vCPUs get path p's class. The caller has not yet changed itself. */
static enum status change_class(struct vcpu *v, enum path_id p, enum switch_cause cause, const char *why, struct error *e)
{
	struct vm *vm = v->vm;
	struct switcher *s = vm->switcher;
	enum status st = ST_OK;

	vm_stop_others(v);
	if (class_differs(vm, p)) {
		dirty_world_leave(vm, !whole(vm, p));
		st = world_enter(vm, p, e);
		if (st == ST_OK && !whole(vm, p)) {
			world_leave(vm);
			switch_forget_code(vm);
		}
		dirty_world_enter(vm, st == ST_OK ? whole(vm, p) : !whole(vm, p));
	}
	if (st == ST_OK && class_differs(vm, p)) {
		atomic_store(&s->whole, whole(vm, p));
		pthread_mutex_lock(&s->lock);
		for (unsigned i = 0; i < vm->ncpus; i++) {
			struct switch_cpu *c = &s->cpu[i];

			if (i == v->id || whole(vm, (enum path_id)atomic_load(&c->want)) == whole(vm, p))
				continue;
			c->cause = cause;
			snprintf(c->why, sizeof(c->why), "with vCPU %u: %.120s", v->id, why);
			atomic_store(&c->want, (int)p);
		}
		pthread_mutex_unlock(&s->lock);
	}
	vm_resume_others(v);
	return st;
}

static void leave(struct vcpu *v)
{
	if (v->ops->pull)
		v->ops->pull(v);
}

static void enter(struct vcpu *v, enum path_id p)
{
	__atomic_store_n(&v->ops, v->vm->paths[p], __ATOMIC_SEQ_CST);
	atomic_store(&v->vm->switcher->cpu[v->id].cur, (int)p);
	atomic_fetch_or(&v->request, REQ_EVENT | REQ_FLUSH);
}

bool switch_step(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct switcher *s = vm->switcher;
	struct switch_cpu *c = &s->cpu[v->id];
	enum path_id from = (enum path_id)atomic_load(&c->cur), to = (enum path_id)atomic_load(&c->want);
	enum switch_cause cause;
	struct error e = {0};
	char why[160];

	if (from == to && !class_differs(vm, to))
		return false;
	pthread_mutex_lock(&s->lock);
	cause = c->cause;
	memcpy(why, c->why, sizeof(why));
	pthread_mutex_unlock(&s->lock);
	leave(v);
	if ((from != to && begin(v, to, &e) != ST_OK) ||
	    (class_differs(vm, to) && change_class(v, to, cause, why, &e) != ST_OK)) {
		/* stays where it is; if the others have gone ahead, they come back */
		note(v, from, from, SWITCH_FAIL, e.msg);
		if (from == to) /* it may not run where it is, and cannot get the others back */
			vm_end(vm, VM_FAILED, 0, e.msg);
		atomic_compare_exchange_strong(&c->want, &(int){(int)to}, (int)from);
		return true;
	}
	if (from != to) {
		enter(v, to);
		note(v, from, to, cause, why);
	}
	return true;
}

static void plan_back(struct vm *vm, enum path_id p, enum switch_cause cause)
{
	struct switcher *s = vm->switcher;
	const struct back_row *row = &back[cause];

	pthread_mutex_lock(&vm->dev_lock);
	pthread_mutex_lock(&s->lock);
	s->back_wanted = s->back_done < row->times;
	s->back_to = p;
	if (s->back_wanted)
		timer_arm(&s->back_timer, clock_ns(&vm->clock) + (row->pause_ns << s->back_done++));
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&vm->dev_lock);
}

static enum switch_cause cause_of(enum exit_reason r)
{
	return r == EXIT_CANNOT ? SWITCH_CANNOT : r == EXIT_UNSOUND ? SWITCH_UNSOUND : r == EXIT_STALLED ? SWITCH_STALLED : SWITCH_FAIL;
}

void switch_fall(struct vcpu *v, const struct exit *x)
{
	struct vm *vm = v->vm;
	struct switcher *s = vm->switcher;
	struct switch_cpu *c = &s->cpu[v->id];
	enum path_id from = (enum path_id)atomic_load(&c->cur);
	enum switch_cause cause = cause_of(x->reason);
	char text[sizeof(x->text) + 64];
	struct error e;

	leave(v);
	for (unsigned i = 0; i < ARRAY_LEN(fall_to[0]) && !vm->cfg.no_fallback; i++) {
		enum path_id to = fall_to[from][i];

		if (to == NO_PATH || !vm->paths[to])
			continue;
		e = (struct error){0};
		if (vm->paths[to]->available(&e) != ST_OK || begin(v, to, &e) != ST_OK) {
			note(v, from, from, SWITCH_FAIL, e.msg);
			continue;
		}
		pthread_mutex_lock(&s->lock);
		c->cause = cause;
		snprintf(c->why, sizeof(c->why), "%s", x->text);
		pthread_mutex_unlock(&s->lock);
		atomic_store(&c->want, (int)to);
		if (class_differs(vm, to) && change_class(v, to, cause, x->text, &e) != ST_OK) {
			note(v, from, from, SWITCH_FAIL, e.msg);
			continue;
		}
		enter(v, to);
		note(v, from, to, cause, x->text);
		plan_back(vm, from, cause);
		return;
	}
	snprintf(text, sizeof(text), "path %s, vCPU %u: %.*s", v->ops->name, v->id, (int)sizeof(x->text), x->text);
	vm_end(vm, VM_FAILED, 0, text);
}

/* ---- a vCPU thread's begin and end ---- */

void switch_set_first(struct vm *vm, unsigned i, enum path_id path)
{
	atomic_store(&vm->switcher->cpu[i].cur, (int)path);
	atomic_store(&vm->switcher->cpu[i].want, (int)path);
	atomic_store(&vm->switcher->whole, whole(vm, path));
}

enum status switch_world_begin(struct vm *vm, struct error *e)
{
	enum status st;

	dirty_lock(vm);
	st = world_enter(vm, switch_path_of(vm, 0), e);
	dirty_unlock(vm);
	return st;
}

enum status switch_start(struct vcpu *v, struct error *e)
{
	return begin(v, switch_path_of(v->vm, v->id), e);
}

void switch_stop(struct vcpu *v)
{
	struct switch_cpu *c = &v->vm->switcher->cpu[v->id];

	dirty_lock(v->vm);
	leave(v);
	for (unsigned p = PATH_COUNT; p-- > 0;)
		if ((c->begun & 1u << p) && v->vm->paths[p]->vcpu_fini)
			v->vm->paths[p]->vcpu_fini(v);
	dirty_unlock(v->vm);
	c->begun = c->barred = 0;
}
