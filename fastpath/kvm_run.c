/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU on the kvm path: its file descriptor and the loop around KVM_RUN.
 *
 * Interrupts come from the machine's own local APIC and 8259s. KVM takes a vector without asking whether the guest may be
 * interrupted, so that is decided here, from the flags and the shadow of the last exit; when it may not be,
 * request_interrupt_window makes KVM come back as soon as it may. Where the interrupt controllers are the kernel's
 * (kvm_irqchip.c) there is nothing of that but NMIs, and KVM_RUN is also where a vCPU is halted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/apic/lapic.h"
#include "fastpath/kvm_int.h"

#define FINISH_MAX 100000
#define ALL_SYNCED (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/* ---- life ---- */

void kvm_cpu_free(struct kvm_cpu *c)
{
	if (!c)
		return;
	if (c->run)
		c->m->sys->unmap(c->m->sys, c->run, c->m->run_bytes);
	if (c->stats_fd >= 0)
		c->m->sys->close(c->m->sys, c->stats_fd);
	c->m->sys->close(c->m->sys, c->fd);
	kvm_xsave_fini(&c->xsave);
	free(c);
}

enum status kvm_cpu_new(struct kvm_machine *m, struct vcpu *v, struct error *e)
{
	struct kvm_cpu *c = aligned_alloc(64, (sizeof(*c) + 63) & ~(size_t)63);
	enum status st = ST_OK;

	if (!c)
		return error_set(e, ST_NO_MEMORY, "not enough memory for a vCPU");
	memset(c, 0, sizeof(*c));
	c->v = v;
	c->m = m;
	c->stats_fd = -1;
	c->fd = m->sys->ioctl(m->sys, m->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)v->id);
	if (c->fd < 0) {
		st = error_errno(e, ST_NO_MEMORY, "kvm: cannot create vCPU %u", v->id);
		free(c);
		return st;
	}
	c->run = m->sys->map(m->sys, c->fd, m->run_bytes);
	if (!c->run)
		st = error_errno(e, ST_NO_MEMORY, "kvm: cannot map vCPU %u", v->id);
	else if (!kvm_xsave_init(&c->xsave, m->sys, m->fd))
		st = error_set(e, ST_NO_MEMORY, "not enough memory for a vCPU");
	else if (!kvm_cpuid_send(m->sys, c->fd, v))
		st = error_errno(e, ST_UNSUPPORTED, "kvm: this host's KVM does not take the machine's CPUID (use --path bt)");
	if (st != ST_OK) {
		kvm_cpu_free(c);
		return st;
	}
	kvm_tsc_init(c);
	c->stats_fd = kvm_cpu_ioctl(c, KVM_GET_STATS_FD, NULL);
	__atomic_store_n(&m->cpu[v->id], c, __ATOMIC_RELEASE);
	return ST_OK;
}

enum status kvm_vcpu_init(struct vcpu *v, struct error *e)
{
	struct kvm_machine *m = v->vm->path_vm[PATH_KVM];
	enum status st;

	if (!m->cpu[v->id] && (st = kvm_cpu_new(m, v, e)) != ST_OK)
		return st;
	st = kvm_watch_init(m->cpu[v->id], e);
	if (st == ST_OK)
		v->path[PATH_KVM] = m->cpu[v->id];
	return st;
}

void kvm_vcpu_fini(struct vcpu *v)
{
	struct kvm_cpu *c = kvm_cpu(v);

	if (!c)
		return;
	kvm_watch_stop(c);
	kvm_watch_fini(c);
	v->path[PATH_KVM] = NULL;
	c->loaded = c->fresh = c->reload = false;
}

/* ---- KVM_RUN ---- */

static void count(_Atomic uint64_t *n, uint64_t add)
{
	atomic_fetch_add_explicit(n, add, memory_order_relaxed);
}

/* 0: an exit; -1: interrupted; 1: an error, x says it. */
static int enter(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_run *r = c->run;
	uint64_t begin = __builtin_ia32_rdtsc(), end;
	int ret;

	if (c->left_tsc && c->last_reason < KVM_EXIT_ROWS)
		count(&c->m->exit_tsc[c->last_reason], begin - c->left_tsc);
	if (r->kvm_dirty_regs)
		c->sent = r->s.regs;
	r->kvm_valid_regs = ALL_SYNCED;
	r->cr8 = lapic_cr8(c->v->lapic);
	ret = c->m->sys->ioctl(c->m->sys, c->fd, KVM_RUN, NULL);
	end = __builtin_ia32_rdtsc();
	count(&c->m->inside_tsc, end - begin);
	c->left_tsc = end;
	if (ret != 0 && errno != EINTR && errno != EAGAIN) {
		if (r->kvm_dirty_regs) /* KVM stores what it has, even when it did not take what it was given */
			r->s.regs = c->sent;
		kvm_leave(c, x, errno == EINVAL ? EXIT_CANNOT : EXIT_FAIL, "KVM_RUN: %s%s", strerror(errno),
			  errno == EINVAL ? " (state that this host's KVM does not take)" : "");
		return 1;
	}
	r->kvm_dirty_regs = 0;
	c->unfinished = c->fresh = false;
	if (c->m->chips)
		c->v->run_state = VCPU_RUNNABLE; /* KVM knows better: kvm_mp_store */
	c->v->count.kvm_exits++;
	if (ret == 0)
		return 0;
	c->last_reason = KVM_EXIT_INTR;
	count(&c->m->exits[KVM_EXIT_INTR], 1);
	return -1;
}

bool kvm_refresh(struct kvm_cpu *c)
{
	struct exit x;

	c->run->immediate_exit = 1;
	return enter(c, &x) <= 0;
}

/* What the machine wants to know after every exit. */
static void learn(struct kvm_cpu *c)
{
	kvm_store_event_state(c);
	if (c->run->cr8 != lapic_cr8(c->v->lapic))
		lapic_set_cr8(c->v->lapic, (uint8_t)c->run->cr8);
}

/* An instruction whose I/O has been done gets finished, without entering the guest. More I/O may come of it. false: x. */
static bool finish(struct kvm_cpu *c, struct exit *x)
{
	for (unsigned i = 0; c->unfinished && i < FINISH_MAX; i++) {
		int r;

		c->run->immediate_exit = 1;
		r = enter(c, x);
		if (r <= 0)
			learn(c);
		if (r > 0 || (r == 0 && kvm_handle_exit(c, x) == KVM_LEAVE))
			return false;
	}
	if (!c->unfinished)
		return true;
	kvm_leave(c, x, EXIT_FAIL, "KVM does not finish an instruction's I/O");
	return false;
}

/* An exit that another path has dealt with: KVM still wants to finish it, and may, on registers that are replaced next. */
static bool drop_unfinished(struct kvm_cpu *c, struct exit *x)
{
	for (unsigned i = 0; c->unfinished && i < FINISH_MAX; i++) {
		c->run->immediate_exit = 1;
		c->run->kvm_dirty_regs = 0;
		if (enter(c, x) > 0)
			return false;
	}
	return true;
}

/* ---- interrupts ---- */

static bool busy(const struct kvm_vcpu_events *e)
{
	return e->exception.injected || e->exception.pending || e->interrupt.injected || e->nmi.injected;
}

/* What is to be delivered goes in with the other events: a KVM_INTERRUPT would be undone by events sent after it. */
static void send_events(struct kvm_cpu *c)
{
	c->run->s.regs.events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING;
	c->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
}

static void inject(struct kvm_cpu *c)
{
	struct kvm_vcpu_events *e = &c->run->s.regs.events;
	struct vcpu *v = c->v;
	int vec;

	c->run->request_interrupt_window = 0;
	/* KVM holds an NMI back by itself while it is blocked */
	if (atomic_load(&v->nmi_pending) && atomic_exchange(&v->nmi_pending, false)) {
		e->nmi.pending = 1;
		send_events(c);
	}
	if (c->m->chips || !vcpu_interrupt_pending(v))
		return;
	if (!vcpu_has_event(v) || e->nmi.pending || busy(e)) {
		c->run->request_interrupt_window = 1;
		return;
	}
	vec = vcpu_take_interrupt(v);
	if (vec < 0)
		return;
	v->count.interrupts++;
	e->interrupt.injected = 1;
	e->interrupt.nr = (__u8)vec;
	e->interrupt.soft = 0;
	send_events(c);
	c->run->request_interrupt_window = vcpu_interrupt_pending(v);
}

/* ---- run ---- */

static void loop(struct kvm_cpu *c, struct exit *x)
{
	struct vcpu *v = c->v;
	struct exit y;
	int r;

	for (;;) {
		if (!kvm_watch_look(c, x)) {
			(void)finish(c, &y);
			return;
		}
		c->run->immediate_exit = 0;
		if (atomic_load(&v->request)) {
			if (atomic_load(&v->request) & REQ_EXIT)
				break;
			atomic_fetch_and(&v->request, ~(uint32_t)(REQ_EVENT | REQ_FLUSH));
		}
		/* an instruction in the middle of its I/O comes first; the events of now are those behind it */
		if (!c->unfinished)
			inject(c);
		r = enter(c, x);
		if (r > 0)
			return;
		learn(c);
		/* what is unfinished then is what this path cannot do: another one begins it anew */
		if (r == 0 && kvm_handle_exit(c, x) == KVM_LEAVE)
			return;
		if (c->reload && finish(c, x)) {
			c->reload = false;
			kvm_store_synced(c);
			kvm_pull(v);
			if (!kvm_load(c, x))
				return;
			kvm_watch_start(c);
		}
	}
	x->reason = EXIT_KICK;
	if (!finish(c, &y))
		*x = y;
}

void kvm_run_guest(struct vcpu *v, struct exit *x)
{
	struct kvm_cpu *c = kvm_cpu(v);

	x->text[0] = 0;
	c->left_tsc = 0;
	if (!c->loaded && !drop_unfinished(c, x))
		return;
	if (!kvm_load(c, x))
		return;
	if (!c->ticking)
		kvm_watch_start(c);
	loop(c, x);
	kvm_store_synced(c);
}
