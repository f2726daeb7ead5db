/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: one guest, two machines, the interpreter and the translator; block by block the same, or the first difference.
 *
 * Both machines live on this thread. Nothing in them depends on the host: time is virtual (NS_PER_INSN for each instruction
 * that the interpreter has executed, standing still inside a block), the wall clock is fixed, random-number instructions are
 * hidden, timers fire and interrupts are delivered only here, between two blocks, in both machines. So a run can be
 * repeated exactly, and is when RAM differs: a first run compares all of it now and then, a second compares the places that
 * differed after every block, a third cuts that block into single instructions.
 *
 * A step: the translator executes one block (bt_lockstep.c) and says where it is; the interpreter executes until it is
 * there too. An instruction that the translator does in pieces (REP) is waited for. Then everything is compared.
 *
 * Arithmetic flags: the translator does not compute those that nobody reads. Flags that differ at a boundary are "unsure"
 * until written anew; reading one is a difference. An event's frame shows them to the guest all the same: at an interrupt
 * the translator gets the interpreter's, in the frame of an exception they are made equal (the deviation that bt_trans.c
 * describes).
 */
#include "engine/main/lockstep.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/load/boot.h"
#include "engine/main/lockstep_int.h"
#include "engine/main/verbs.h"

#define NS_PER_INSN 10u       /* a 100 MHz machine: timers tick, and delay loops end */
#define RAM_INSNS 1000000u    /* between two comparisons of all RAM */
#define BLOCK_INSNS_MAX 4096u /* how far the interpreter may go to find the translator */
#define REP_PIECES_MAX 1000000u
#define IDLE_MAX 4u
#define CLOCK_BLOCKS 4096u /* between two looks at the host's clock */
#define LINE_MAX_BEHIND (1u << 20)

static uint64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static enum ls_end ended(struct ls *l, enum ls_end end, const char *text)
{
	snprintf(l->text, sizeof(l->text), "%s", text);
	return end;
}

/* ---- life ---- */

static void line_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
	struct ls_line *line = c->backend;

	if (line->n + len > line->cap) {
		size_t cap = (line->cap + len) * 2;
		uint8_t *p = cap < LINE_MAX_BEHIND ? realloc(line->buf, cap) : NULL;

		if (!p)
			return; /* the other side is missing all of this: the difference is found anyway */
		line->buf = p;
		line->cap = cap;
	}
	memcpy(line->buf + line->n, buf, len);
	line->n += len;
}

static enum status make_one(struct ls *l, unsigned side, enum path_id path, struct error *e)
{
	struct vm_config cfg = *l->o->cfg;
	struct ls_line *line = &l->line[side];
	enum status st;

	cfg.path = path;
	cfg.serial = cfg.debugcon = NULL;
	cfg.virtual_time = true;
	st = vm_create(&l->vm[side], &cfg, e);
	if (st != ST_OK)
		return st;
	cpuid_drop_random(&l->vm[side]->cpuid);
	line->chr = (struct chardev){.write = line_write, .backend = line};
	l->vm[side]->serial = l->vm[side]->debugcon = &line->chr;
	board_connect(l->vm[side]);
	l->v[side] = l->vm[side]->vcpu[0];
	l->v[side]->tid = gettid();
	st = l->v[side]->ops->vcpu_init(l->v[side], e);
	l->path_ready[side] = st == ST_OK;
	return st;
}

static enum status make(struct ls *l, struct error *e)
{
	enum status st;

	l->before = calloc(1, sizeof(*l->before));
	if (!l->before)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	if ((st = make_one(l, LS_INTERP, PATH_INTERP, e)) != ST_OK || (st = make_one(l, LS_BT, PATH_BT, e)) != ST_OK)
		return st;
	bt_lockstep(l->v[LS_BT], 0);
	return ST_OK;
}

static void unmake(struct ls *l)
{
	for (unsigned s = 0; s < LS_SIDES; s++) {
		struct vm *vm = l->vm[s];

		if (!vm)
			continue;
		if (l->path_ready[s] && l->v[s]->ops->vcpu_fini)
			l->v[s]->ops->vcpu_fini(l->v[s]);
		vm->serial = vm->debugcon = NULL;
		board_connect(vm);
		vm_destroy(vm);
		free(l->line[s].buf);
	}
	free(l->before);
}

/* ---- time, events, output ---- */

static uint64_t run_timers(struct ls *l)
{
	uint64_t next[LS_SIDES], now = l->insns * NS_PER_INSN + l->idle_ns;

	for (unsigned s = 0; s < LS_SIDES; s++) {
		struct vm *vm = l->vm[s];

		clock_set_virtual(&vm->clock, now);
		next[s] = vm->clock.nheap ? vm->clock.heap[0]->deadline_ns : UINT64_MAX;
		if (next[s] > now)
			continue;
		pthread_mutex_lock(&vm->dev_lock);
		next[s] = clock_run_timers(&vm->clock);
		pthread_mutex_unlock(&vm->dev_lock);
	}
	return next[LS_INTERP] == next[LS_BT] ? next[LS_INTERP] : 0;
}

/* Interrupts at this boundary, and the way out of HLT. */
static enum ls_end between(struct ls *l)
{
	struct vcpu *a = l->v[LS_INTERP], *b = l->v[LS_BT];
	uint64_t next = run_timers(l);
	enum xr x, y;
	bool p, q;

	while (l->halted && !vcpu_has_event(a)) {
		uint64_t now = l->insns * NS_PER_INSN + l->idle_ns;

		if (next == UINT64_MAX)
			return ended(l, LS_IDLE, "halted, and no timer is armed");
		if (next < now)
			return ended(l, LS_OUTPUT, "their timers differ");
		l->idle_ns += next - now;
		next = run_timers(l);
	}
	l->halted = false;
	if (vcpu_has_event(a)) {
		b->regs.rflags = (b->regs.rflags & ~(uint64_t)l->unsure) | (a->regs.rflags & l->unsure);
		l->unsure = 0;
		l->events++;
	}
	p = lockstep_event(a, &x);
	q = lockstep_event(b, &y);
	if (p != q || x != y)
		return ended(l, LS_OUTPUT, p ? "an interrupt for interp only" : q ? "an interrupt for bt only" : "");
	return x == XR_SHUTDOWN ? LS_GUEST : LS_GOING;
}

/* What both have said goes out; false when they said different things. */
static bool match_output(struct ls *l)
{
	struct ls_line *a = &l->line[LS_INTERP], *b = &l->line[LS_BT];
	size_t n = a->n < b->n ? a->n : b->n;

	if (!n)
		return a->n < LINE_MAX_BEHIND / 4 && b->n < LINE_MAX_BEHIND / 4;
	if (memcmp(a->buf, b->buf, n))
		return false;
	if (l->out) {
		fwrite(a->buf, 1, n, l->out);
		fflush(l->out);
	}
	memmove(a->buf, a->buf + n, a->n - n);
	memmove(b->buf, b->buf + n, b->n - n);
	a->n -= n;
	b->n -= n;
	return true;
}

/* ---- one block ---- */

/* Is the instruction at RIP a string instruction with a repeat prefix, perhaps half done? */
static bool at_rep(struct vcpu *v)
{
	uint64_t lin = vcpu_code64(v) ? v->regs.rip : v->regs.seg[SEG_CS].base + v->regs.rip;
	bool rep = false;

	for (unsigned k = 0; k < 15; k++) {
		const uint8_t *p = lockstep_ram(v, lin + k, 1);

		if (!p)
			return false;
		if (*p == 0xf2 || *p == 0xf3)
			rep = true;
		else if (rep &&
			 ((*p >= 0xa4 && *p <= 0xa7) || (*p >= 0xaa && *p <= 0xaf) || (*p >= 0x6c && *p <= 0x6f)))
			return true;
		else if (*p != 0x66 && *p != 0x67 && *p != 0x26 && *p != 0x2e && *p != 0x36 && *p != 0x3e &&
			 *p != 0x64 && *p != 0x65 && !(rep && (*p & 0xf0) == 0x40 && vcpu_code64(v)))
			return false;
	}
	return false;
}

/* Returns how many instructions that were, 0 where it cannot be told. */
static unsigned run_bt(struct ls *l, struct exit *x)
{
	struct vcpu *v = l->v[LS_BT];
	unsigned idle = 0, insns;

	for (unsigned n = 0; n < REP_PIECES_MAX; n++) {
		uint64_t clock = v->insn_clock;

		atomic_fetch_and(&v->request, ~(uint32_t)REQ_EXIT);
		x->reason = EXIT_KICK;
		x->text[0] = 0;
		v->ops->run(v, x);
		if (x->reason != EXIT_KICK || atomic_load(&l->vm[LS_BT]->outcome) != VM_RUNNING)
			break;
		if (!bt_lockstep_insns(v, clock, &insns)) {
			if (++idle == IDLE_MAX)
				break;
			n--;
			continue;
		}
		if (!at_rep(v))
			return n ? 0 : insns;
	}
	return 0;
}

/* The arithmetic flags in the frame of an exception that has just been delivered. */
static void equalize_frame(struct ls *l)
{
	struct vcpu *a = l->v[LS_INTERP], *b = l->v[LS_BT];
	unsigned word = vcpu_long_mode(a) ? 8 : 4;
	uint64_t sp = a->regs.gpr[R_SP] + (vcpu_long_mode(a) ? 0 : a->regs.seg[SEG_SS].base);

	/* behind RIP and CS, with or without an error code */
	for (unsigned k = 2; k <= 3; k++) {
		uint32_t *x = lockstep_ram(a, sp + k * word, 4), *y = lockstep_ram(b, sp + k * word, 4);

		if (x && y && !((*x ^ *y) & ~FL_ARITH))
			*y = *x;
	}
}

static enum ls_end ending(struct ls *l, enum xr x, const struct exit *e)
{
	int o = atomic_load(&l->vm[LS_INTERP]->outcome), p = atomic_load(&l->vm[LS_BT]->outcome);
	char text[sizeof(l->text)];

	if (x == XR_CANNOT || e->reason == EXIT_CANNOT || e->reason == EXIT_FAIL) {
		snprintf(text, sizeof(text), "a path cannot go on %.100s", e->text);
		return ended(l, LS_HOST, text);
	}
	if ((x == XR_HLT) != (e->reason == EXIT_HLT) || (x == XR_SHUTDOWN) != (e->reason == EXIT_SHUTDOWN) || o != p) {
		snprintf(text, sizeof(text), "interp %s (%d), bt %s (%d)",
			 x == XR_HLT        ? "halts"
			 : x == XR_SHUTDOWN ? "shuts down"
					    : "runs",
			 o,
			 e->reason == EXIT_HLT        ? "halts"
			 : e->reason == EXIT_SHUTDOWN ? "shuts down"
						      : "runs",
			 p);
		return ended(l, LS_ENDING, text);
	}
	l->halted = x == XR_HLT;
	if (x == XR_SHUTDOWN)
		return ended(l, LS_GUEST, "triple fault");
	return o == VM_RUNNING ? LS_GOING : ended(l, LS_GUEST, "");
}

/* The translator's place may be one that it has passed before in this step (a REP in a loop): go on to where it fits. */
static enum xr meet(struct ls *l, enum xr x)
{
	struct vcpu *a = l->v[LS_INTERP];
	uint64_t rip = l->v[LS_BT]->regs.rip;
	struct lockstep_trace trace = l->trace;
	struct x86_regs *first;
	enum xr y = x;

	if (x != XR_JUMP || ls_state_equal(l) || !(first = malloc(sizeof(*first))))
		return x;
	*first = a->regs;
	while (y == XR_JUMP && !ls_state_equal(l) && l->trace.n < BLOCK_INSNS_MAX)
		y = interp_lockstep(a, rip, l->trace.n + 1, BLOCK_INSNS_MAX, &l->trace);
	if (y != XR_JUMP || !ls_state_equal(l)) { /* nowhere: what is reported is the first time */
		a->regs = *first;
		l->trace = trace;
		y = x;
	}
	free(first);
	return y;
}

static enum ls_end block(struct ls *l)
{
	struct vcpu *a = l->v[LS_INTERP], *b = l->v[LS_BT];
	uint64_t exceptions = a->count.exceptions;
	unsigned insns;
	enum ls_end end;
	struct exit e;
	bool same;
	enum xr x;

	memcpy(l->before, &a->regs, offsetof(struct x86_regs, xsave));
	insns = run_bt(l, &e);
	l->trace.n = 0;
	l->trace.unsure = l->unsure;
	l->trace.bad_read = 0;
	x = interp_lockstep(a, b->regs.rip, insns ? insns : 1, insns ? insns : BLOCK_INSNS_MAX, &l->trace);
	vcpu_vec_sync(a);
	if (!insns)
		x = meet(l, x);
	l->insns += l->trace.n;
	l->blocks++;
	if (a->count.exceptions != exceptions)
		equalize_frame(l);
	end = ending(l, x, &e);
	same = ls_state_equal(l);
	if (l->trace.bad_read)
		return ended(l, LS_FLAGS, "");
	if (x == XR_AGAIN)
		return ended(l, LS_PATH, "");
	if (end != LS_GOING && end != LS_GUEST)
		return end;
	return same ? end : ended(l, LS_STATE, "");
}

static enum ls_end check_memory(struct ls *l, bool now)
{
	if (l->watch_from) {
		if (l->insns < l->watch_from || ls_watch_equal(l))
			return LS_GOING;
		return ended(l, LS_MEMORY, "");
	}
	if (!now && l->insns - l->ram_good < RAM_INSNS)
		return LS_GOING;
	if (!ls_ram_equal(l))
		return ended(l, LS_MEMORY, "");
	l->ram_good = l->insns;
	return LS_GOING;
}

static enum ls_end drive(struct ls *l, uint64_t deadline)
{
	enum ls_end end = LS_GOING, mem;

	do {
		if (l->fine_from && !l->fine && l->insns >= l->fine_from) {
			l->fine = true;
			bt_lockstep(l->v[LS_BT], 1);
		}
		end = between(l);
		if (end == LS_GOING)
			end = block(l);
		if (end == LS_GOING && !match_output(l))
			end = ended(l, LS_OUTPUT, "serial output");
		if (end == LS_GOING)
			end = check_memory(l, false);
		if (end == LS_GOING && l->max_insns && l->insns >= l->max_insns)
			end = LS_LIMIT;
		if (end == LS_GOING && deadline && l->blocks % CLOCK_BLOCKS == 0 && host_ns() >= deadline)
			end = LS_TIMEOUT;
	} while (end == LS_GOING);
	if (end == LS_LIMIT || end == LS_GUEST || end == LS_IDLE || end == LS_TIMEOUT) {
		mem = check_memory(l, true);
		end = mem == LS_GOING ? end : mem;
	} else if (end != LS_HOST && !l->watch_from && !l->fine && !ls_ram_equal(l)) {
		end = LS_MEMORY; /* perhaps a wrong store long ago, and only now somebody has read it */
	}
	return end;
}

/* ---- the runs ---- */

static bool different(enum ls_end end)
{
	return end >= LS_STATE && end <= LS_MEMORY;
}

static enum ls_end run_once(struct ls *l, uint64_t deadline)
{
	enum status st = make(l, &l->error);

	return st == ST_OK ? drive(l, deadline) : LS_HOST;
}

/* Runs again up to a difference that is known, with more looking: in which block did RAM become different, in which
 * instruction did anything? *l becomes the run that knows most. */
static enum ls_end narrow(struct ls *l, enum ls_end end)
{
	for (unsigned pass = 0; pass < 2; pass++) {
		struct ls *more = calloc(1, sizeof(*more));
		bool ram = end == LS_MEMORY && !l->watch_from;
		enum ls_end got;

		if (!more || (!ram && l->fine_from)) {
			free(more);
			break;
		}
		more->o = l->o;
		memcpy(more->watch, l->watch, sizeof(l->watch));
		more->nwatch = l->nwatch;
		more->watch_from = ram ? (l->ram_good ? l->ram_good : 1) : l->watch_from;
		if (!ram)
			more->fine_from = l->insns > l->trace.n ? l->insns - l->trace.n : 1;
		more->max_insns = l->insns + BLOCK_INSNS_MAX;
		got = run_once(more, 0);
		if (!different(got)) {
			unmake(more);
			free(more);
			break;
		}
		unmake(l);
		*l = *more;
		for (unsigned s = 0; s < LS_SIDES; s++) { /* they point into the struct */
			l->line[s].chr.backend = &l->line[s];
			l->vm[s]->serial = l->vm[s]->debugcon = &l->line[s].chr;
			board_connect(l->vm[s]);
		}
		free(more);
		end = got;
	}
	return end;
}

static int summary(struct ls *l, enum ls_end end, uint64_t ns)
{
	static const char *const why[] = {[LS_LIMIT] = "the limit",
					  [LS_GUEST] = "the guest ended",
					  [LS_IDLE] = "the guest idles",
					  [LS_TIMEOUT] = "the time is over"};

	if (end == LS_HOST) {
		if (!l->error.msg[0])
			error_set(&l->error, ST_IO, "lockstep: %s", l->text);
		return verb_fail(&l->error);
	}
	if (different(end)) {
		ls_report(l, end, stderr);
		return EXIT_DIFFERENT;
	}
	fprintf(stderr,
		"steelyard: lockstep: no difference in %" PRIu64 " instructions, %" PRIu64 " blocks, %" PRIu64
		" interrupts, %" PRIu64 " comparisons of RAM; %.1f s; end: %s%s%s\n",
		l->insns, l->blocks, l->events, l->rams, (double)ns / 1e9, why[end], l->text[0] ? ", " : "", l->text);
	return end == LS_TIMEOUT ? EXIT_TIMEOUT : EXIT_OK;
}

bool lockstep_paths_ok(const char *arg)
{
	return !strcmp(arg, "interp,bt") || !strcmp(arg, "bt,interp");
}

static bool open_output(struct ls *l, const char *spec, bool *close_it)
{
	*close_it = false;
	if (!strcmp(spec, "stdio"))
		l->out = stdout;
	else if (!strncmp(spec, "file:", 5))
		*close_it = (l->out = fopen(spec + 5, "w")) != NULL;
	return l->out || !strcmp(spec, "none");
}

int lockstep_main(const struct lockstep_options *o)
{
	struct ls *l = calloc(1, sizeof(*l));
	uint64_t begin = host_ns(), deadline = o->timeout_s > 0 ? begin + (uint64_t)(o->timeout_s * 1e9) : 0;
	enum ls_end end;
	bool close_it;
	FILE *out;
	int status;

	if (!l)
		return EXIT_HOST;
	l->o = o;
	l->max_insns = o->max_insns;
	if (o->cfg->ncpus != 1 || !open_output(l, o->serial, &close_it)) {
		free(l);
		return verb_usage(
			"--lockstep wants one CPU, and stdio, none or a file that can be written as --serial");
	}
	if (boot_check(o->cfg, &l->error) != ST_OK) {
		status = verb_fail(&l->error);
		free(l);
		return status;
	}
	out = l->out;
	end = run_once(l, deadline);
	if (different(end))
		end = narrow(l, end);
	status = summary(l, end, host_ns() - begin);
	unmake(l);
	free(l);
	if (close_it)
		fclose(out);
	return status;
}
