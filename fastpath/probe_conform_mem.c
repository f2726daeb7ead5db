/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Conformance, second half: debugging, page tables, memory slots, events, hypercalls. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "fastpath/probe_int.h"

#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_UD 6
#define DR7_WRITE_4 0xd0401u /* breakpoint 0: four bytes, writes; bit 10 is always one */
#define FLAG_IF 0x200u
#define KVM_ENOSYS_GUEST 1000 /* what KVM answers a hypercall that it does not know, negated */

#define LABEL(name) extern const char pg_##name[]
LABEL(nops);
LABEL(trap_flag);
LABEL(store);
LABEL(load);
LABEL(flush_invlpg);
LABEL(flush_cr3);
LABEL(pte_plain);
LABEL(pte_own);
LABEL(dirty);
LABEL(self_modify);
LABEL(string_out);
LABEL(outs);
LABEL(spin);
LABEL(window);
LABEL(ud);
LABEL(vmcall);
LABEL(vmmcall);

static void fails_why(struct probe *p, struct probe_item_result *r)
{
	item_fails(r, "%s", p->g.why);
}

/* ---- debugging ---- */

void item_single_step(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const enum probe_mode m = i == PROBE_ITEM_STEP3 ? PROBE_LONG3 : PROBE_LONG0;
	const struct kvm_guest_debug on = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
	struct guest *g = &p->g;
	struct kvm_regs regs;

	if (!guest_start(p, m, pg_nops, 0))
		return fails_why(p, r);
	if (ioctl(g->cpu, KVM_SET_GUEST_DEBUG, &on) < 0)
		return item_fails(r, "KVM_SET_GUEST_DEBUG: %s", strerror(errno));
	for (unsigned step = 1; step <= 3; step++) {
		guest_run(g, &p->dog);
		if (g->stop != KVM_EXIT_DEBUG) {
			guest_explain(g);
			return item_fails(r, "step %u: %s", step, g->why);
		}
		if (!guest_regs(g, &regs))
			return fails_why(p, r);
		if (regs.rip != guest_rip(m, pg_nops) + step)
			return item_fails(r, "after step %u RIP is %#llx instead of %#llx", step, regs.rip,
					  (unsigned long long)guest_rip(m, pg_nops) + step);
	}
	item_holds(r, "three instructions, three stops");
}

void item_trap_flag(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	(void)i;
	if (guest_start(p, PROBE_LONG3, pg_trap_flag, 0) && guest_until_exception(p, VECTOR_DB))
		item_holds(r, "#DB behind the instruction after POPF");
	else
		fails_why(p, r);
}

void item_watch_host(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_guest_debug on = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP};
	struct guest *g = &p->g;

	(void)i;
	if (!guest_start(p, PROBE_LONG3, pg_store, 0) || !guest_set_rbx(g, PG_TEST))
		return fails_why(p, r);
	on.arch.debugreg[0] = PG_TEST;
	on.arch.debugreg[7] = DR7_WRITE_4;
	if (ioctl(g->cpu, KVM_SET_GUEST_DEBUG, &on) < 0)
		return item_fails(r, "KVM_SET_GUEST_DEBUG: %s", strerror(errno));
	guest_run(g, &p->dog);
	if (g->stop == KVM_EXIT_DEBUG && (g->run->debug.arch.dr6 & 1))
		return item_holds(r, "debug exit with DR6.B0");
	guest_explain(g);
	if (g->stop == KVM_EXIT_IO)
		guest_fail(g, "the store went by without a stop");
	fails_why(p, r);
}

void item_watch_guest(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_debugregs d = {.db[0] = PG_TEST, .dr6 = 0xffff0ff0, .dr7 = DR7_WRITE_4};
	struct guest *g = &p->g;

	(void)i;
	if (!guest_start(p, PROBE_LONG3, pg_store, 0) || !guest_set_rbx(g, PG_TEST))
		return fails_why(p, r);
	if (ioctl(g->cpu, KVM_SET_DEBUGREGS, &d) < 0)
		return item_fails(r, "KVM_SET_DEBUGREGS: %s", strerror(errno));
	if (guest_until_exception(p, VECTOR_DB))
		item_holds(r, "#DB behind the store");
	else if (g->stop == KVM_EXIT_IO && g->run->io.port == PG_DONE)
		item_fails(r, "the store went by without #DB");
	else
		fails_why(p, r);
}

/* ---- page tables ---- */

#define OLD_WORD 0x11111111u
#define NEW_WORD 0x22222222u

/* Ring 0 runs this code to its end, with RBX, R8 and R9 as said; then the vCPU is where it was. */
static bool in_ring0(struct probe *p, const char *label, uint64_t rbx, uint64_t r8, uint64_t r9)
{
	struct guest *g = &p->g;
	struct kvm_sregs s, s3;
	struct kvm_regs r, r3;

	guest_settle(g);
	if (!guest_sregs(g, &s3) || !guest_regs(g, &r3))
		return false;
	s = s3;
	r = r3;
	guest_mode_sregs(PROBE_LONG0, 0, &s);
	r.rip = guest_rip(PROBE_LONG0, label);
	r.rsp = PG_STACK0;
	r.rbx = rbx;
	r.r8 = r8;
	r.r9 = r9;
	if (!guest_set_sregs(g, &s) || !guest_set_regs(g, &r) || !guest_until(p, PG_DONE))
		return false;
	guest_settle(g);
	return guest_set_sregs(g, &s3) && guest_set_regs(g, &r3);
}

/*
 * Ring 3 reads a word; its page-table entry is changed, by userspace or by ring 0, and flushed; ring 3 reads again. In
 * ring 3, because a KVM that emulates ring 0 walks the tables there for every access and would always be right.
 */
void item_pte(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_sregs s;
	struct kvm_regs regs;
	uint64_t other;
	bool ok;

	if (!guest_start(p, PROBE_LONG3, pg_pte_plain, 0) || !guest_set_rbx(g, PG_TEST))
		return fails_why(p, r);
	guest_put(g, PG_TEST, OLD_WORD);
	guest_put(g, PG_TEST + 4096, NEW_WORD);
	other = guest_word(g, guest_pte(PG_TEST + 4096));
	if (!guest_until(p, PG_NOTE))
		return fails_why(p, r);
	if (i != PROBE_ITEM_PTE_OWN)
		guest_put(g, guest_pte(PG_TEST), other);
	switch (i) {
	case PROBE_ITEM_PTE_OWN:
		ok = in_ring0(p, pg_pte_own, PG_TEST, guest_pte(PG_TEST), other);
		break;
	case PROBE_ITEM_PTE_INVLPG:
		ok = in_ring0(p, pg_flush_invlpg, PG_TEST, 0, 0);
		break;
	case PROBE_ITEM_PTE_CR3:
		ok = in_ring0(p, pg_flush_cr3, PG_TEST, 0, 0);
		break;
	default: /* by another root with the same mappings, without any guest code */
		guest_settle(g);
		ok = guest_sregs(g, &s);
		s.cr3 = PG_PML4_B;
		ok = ok && guest_set_sregs(g, &s);
	}
	if (!ok || !guest_until(p, PG_DONE) || !guest_regs(g, &regs))
		fails_why(p, r);
	else if ((uint32_t)regs.rsi != OLD_WORD)
		item_fails(r, "before the change the guest reads %#x for %#x", (unsigned)regs.rsi, OLD_WORD);
	else if ((uint32_t)regs.rdi != NEW_WORD)
		item_fails(r, "the guest still reads %s",
			   (uint32_t)regs.rdi == OLD_WORD ? "the old page" : "neither page");
	else
		item_holds(r, "the guest reads the new page");
}

void item_accessed_dirty(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	static const struct {
		const char *label, *name;
		uint64_t want;
	} access[] = {{pg_load, "load", 0x20}, {pg_store, "store", 0x60}};
	struct guest *g = &p->g;
	uint64_t got;

	(void)i;
	for (unsigned k = 0; k < ARRAY_LEN(access); k++) {
		if (!guest_start(p, PROBE_LONG3, access[k].label, 0) || !guest_set_rbx(g, PG_TEST))
			return fails_why(p, r);
		guest_put(g, guest_pte(PG_TEST), guest_word(g, guest_pte(PG_TEST)) & ~0x60ull);
		if (!guest_until(p, PG_DONE))
			return fails_why(p, r);
		got = guest_word(g, guest_pte(PG_TEST)) & 0x60;
		if (got != access[k].want)
			return item_fails(r, "after a %s: accessed %u, dirty %u", access[k].name,
					  (unsigned)got >> 5 & 1, (unsigned)got >> 6);
	}
	item_holds(r, "accessed by a load, both by a store");
}

void item_self_modify(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_regs regs;

	(void)i;
	if (!guest_start(p, PROBE_LONG3, pg_self_modify, 0) || !guest_until(p, PG_DONE) || !guest_regs(&p->g, &regs))
		fails_why(p, r);
	else if ((uint32_t)regs.rsi != 0x22222222)
		item_fails(r, "the old immediate, %#x, is still used", (unsigned)regs.rsi);
	else
		item_holds(r, "the new immediate is used");
}

/* ---- memory slots ---- */

/* Page tables may count as written: to AMD-V's nested paging, a walk is a write (APM 2 15.25.6). */
static bool is_page_table(unsigned page)
{
	return page >= PG_PML4 >> 12 && page <= PG_PML4_B >> 12;
}

static bool log_is(struct guest *g, const uint64_t want[8], struct probe_item_result *r, const char *when)
{
	uint64_t map[8] = {0};
	struct kvm_dirty_log log = {.slot = 0, .dirty_bitmap = map};

	if (ioctl(g->vm, KVM_GET_DIRTY_LOG, &log) < 0) {
		item_fails(r, "KVM_GET_DIRTY_LOG: %s", strerror(errno));
		return false;
	}
	for (unsigned page = 0; page < 512; page++) {
		bool is = map[page / 64] >> (page % 64) & 1, should = want[page / 64] >> (page % 64) & 1;

		if (is == should || is_page_table(page))
			continue;
		item_fails(r, "%s: page %#x is %s", when, page, is ? "logged and was not written" : "missing");
		return false;
	}
	return true;
}

void item_dirty_log(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_userspace_memory_region slot = {.memory_size = PG_MEM_BYTES, .flags = KVM_MEM_LOG_DIRTY_PAGES};
	uint64_t want[8] = {0};
	struct guest *g = &p->g;
	struct kvm_regs regs;

	(void)i;
	want[1] = 1u << 1 | 1u << 3 | 1u << 4; /* of PG_TEST, page 0x40 */
	if (!guest_start(p, PROBE_LONG3, pg_dirty, 0))
		return fails_why(p, r);
	slot.userspace_addr = (uintptr_t)g->mem;
	for (unsigned round = 0; round < 3; round++) {
		if (!guest_until(p, PG_DONE))
			return fails_why(p, r);
		/* Once without a log: a first access maps a page for writing, and some count that. */
		if (round == 0 && ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return item_fails(r, "KVM_MEM_LOG_DIRTY_PAGES: %s", strerror(errno));
		if (round && !log_is(g, want, r, round > 1 ? "written again after the log was read" : "first writes"))
			return;
		guest_settle(g);
		if (!guest_regs(g, &regs))
			return fails_why(p, r);
		regs.rip = guest_rip(PROBE_LONG3, pg_dirty);
		if (!guest_set_regs(g, &regs))
			return fails_why(p, r);
	}
	item_holds(r, "three pages, twice");
}

void item_readonly(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct kvm_userspace_memory_region slot = {
		.slot = 1, .guest_phys_addr = PG_MMIO, .memory_size = 4096, .flags = KVM_MEM_READONLY};
	struct guest *g = &p->g;

	(void)i;
	if (ioctl(p->sys, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) <= 0)
		return item_fails(r, "this KVM does not offer KVM_CAP_READONLY_MEM");
	if (!guest_start(p, PROBE_LONG3, pg_store, 0) || !guest_set_rbx(g, PG_MMIO))
		return fails_why(p, r);
	slot.userspace_addr = (uintptr_t)g->mem + PG_TEST;
	if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return item_fails(r, "KVM_MEM_READONLY: %s", strerror(errno));
	guest_put(g, PG_TEST, OLD_WORD);
	guest_run(g, &p->dog);
	if (g->stop == KVM_EXIT_MMIO && g->run->mmio.is_write && g->run->mmio.phys_addr == PG_MMIO &&
	    guest_word(g, PG_TEST) == OLD_WORD)
		return item_holds(r, "MMIO exit, memory unchanged");
	guest_explain(g);
	fails_why(p, r);
}

void item_string_io(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	static const char text[] = "steelyar";
	struct guest *g = &p->g;
	struct kvm_regs regs;
	char got[64] = "";
	size_t n = 0;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_string_out, 0) || !guest_regs(g, &regs))
		return fails_why(p, r);
	memcpy(g->mem + PG_TEST, text, sizeof(text));
	regs.rsi = PG_TEST;
	if (!guest_set_regs(g, &regs))
		return fails_why(p, r);
	while (guest_until(p, PG_NOTE)) {
		size_t bytes = (size_t)g->run->io.size * g->run->io.count;
		const char *data = (const char *)g->run + g->run->io.data_offset;

		if (n + bytes > sizeof(got) - 1 || g->run->io.data_offset + bytes > g->run_bytes)
			return item_fails(r, "more bytes than were written");
		memcpy(got + n, data, bytes);
		n += bytes;
	}
	if (g->stop != KVM_EXIT_IO || g->run->io.port != PG_DONE)
		fails_why(p, r);
	else if (strcmp(got, text) != 0)
		item_fails(r, "%zu bytes came, and not those that were written", n);
	else
		item_holds(r, "8 bytes, in order");
}

/* ---- events ---- */

/* A ring-3 or ring-0 loop of OUTs with interrupts on, stopped at one. */
static bool start_interruptible(struct probe *p, enum probe_mode m)
{
	struct guest *g = &p->g;
	struct kvm_regs regs;

	if (!guest_start(p, m, pg_outs, 0) || !guest_regs(g, &regs))
		return false;
	regs.rflags |= FLAG_IF;
	return guest_set_regs(g, &regs) && guest_until(p, PG_NOTE);
}

void item_irq(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const enum probe_mode m = i == PROBE_ITEM_IRQ3 ? PROBE_LONG3 : PROBE_LONG0;
	const struct kvm_interrupt irq = {.irq = PG_VECTOR_IRQ};
	struct guest *g = &p->g;

	if (!start_interruptible(p, m))
		return fails_why(p, r);
	if (!g->run->ready_for_interrupt_injection)
		return item_fails(r, "IF is set, yet ready_for_interrupt_injection is not");
	if (ioctl(g->cpu, KVM_INTERRUPT, &irq) < 0)
		return item_fails(r, "KVM_INTERRUPT: %s", strerror(errno));
	if (!guest_until_exception(p, PG_VECTOR_IRQ))
		return fails_why(p, r);
	if ((guest_word(g, PG_EXC_CS) & 3) != probe_modes[m].ring || guest_word(g, PG_EXC_HANDLER_CS) != PG_CS64)
		return item_fails(r, "from CS %#llx to CS %#llx", (unsigned long long)guest_word(g, PG_EXC_CS),
				  (unsigned long long)guest_word(g, PG_EXC_HANDLER_CS));
	if (!guest_until(p, PG_NOTE))
		return fails_why(p, r);
	item_holds(r, "through its gate and back");
}

void item_irq_window(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_window, 0) || !guest_until(p, PG_NOTE))
		return fails_why(p, r);
	if (g->run->ready_for_interrupt_injection)
		return item_fails(r, "IF is clear, yet ready_for_interrupt_injection is set");
	g->run->request_interrupt_window = 1;
	do
		guest_run(g, &p->dog);
	while (g->stop == STOP_SIGNAL);
	if (g->stop == KVM_EXIT_IRQ_WINDOW_OPEN)
		return item_holds(r, "exit behind STI");
	guest_explain(g);
	fails_why(p, r);
}

void item_nmi(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;

	(void)i;
	if (!start_interruptible(p, PROBE_LONG3))
		return fails_why(p, r);
	if (ioctl(g->cpu, KVM_NMI) < 0)
		return item_fails(r, "KVM_NMI: %s", strerror(errno));
	if (guest_until_exception(p, VECTOR_NMI))
		item_holds(r, "vector 2");
	else
		fails_why(p, r);
}

void item_triple(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_sregs s;

	(void)i;
	if (!guest_start(p, PROBE_LONG0, pg_ud, 0) || !guest_sregs(g, &s))
		return fails_why(p, r);
	s.idt.limit = 0;
	if (!guest_set_sregs(g, &s))
		return fails_why(p, r);
	guest_run(g, &p->dog);
	if (g->stop == KVM_EXIT_SHUTDOWN)
		return item_holds(r, "KVM_EXIT_SHUTDOWN");
	guest_explain(g);
	fails_why(p, r);
}

void item_immediate(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	struct guest *g = &p->g;
	struct kvm_regs before, after;

	(void)i;
	if (ioctl(p->sys, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) <= 0)
		return item_fails(r, "this KVM does not offer KVM_CAP_IMMEDIATE_EXIT");
	if (!guest_start(p, PROBE_LONG3, pg_outs, 0) || !guest_regs(g, &before))
		return fails_why(p, r);
	g->run->immediate_exit = 1;
	guest_run(g, &p->dog);
	g->run->immediate_exit = 0;
	if (!guest_regs(g, &after))
		return fails_why(p, r);
	if (g->stop == STOP_SIGNAL && before.rip == after.rip)
		return item_holds(r, "EINTR, RIP unchanged");
	guest_explain(g);
	fails_why(p, r);
}

void item_kick(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const enum probe_mode m = i == PROBE_ITEM_KICK3 ? PROBE_LONG3 : PROBE_LONG0;
	const struct itimerspec soon = {.it_value.tv_nsec = 5000000};
	struct sigaction sa = {.sa_sigaction = guest_on_kick, .sa_flags = SA_SIGINFO};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct guest *g = &p->g;
	struct kvm_regs regs;
	timer_t t;

	if (!guest_start(p, m, pg_spin, 0))
		return fails_why(p, r);
	ev.sigev_value.sival_ptr = g->run;
	sigaction(SIGUSR2, &sa, NULL);
	if (timer_create(CLOCK_MONOTONIC, &ev, &t) < 0 || timer_settime(t, 0, &soon, NULL) < 0)
		return item_fails(r, "no timer: %s", strerror(errno));
	guest_run(g, &p->dog);
	timer_delete(t);
	g->run->immediate_exit = 0;
	if (g->stop != STOP_SIGNAL) {
		guest_explain(g);
		return fails_why(p, r);
	}
	if (!guest_regs(g, &regs))
		return fails_why(p, r);
	if (regs.rip == guest_rip(m, pg_spin))
		item_holds(r, "EINTR, RIP in the loop");
	else
		item_fails(r, "RIP %#llx is not in the loop", regs.rip);
}

/* ---- hypercalls ---- */

void item_hypercall(struct probe *p, enum probe_item i, struct probe_item_result *r)
{
	const bool amd = !strcmp(p->facts->vendor, "AuthenticAMD") || !strcmp(p->facts->vendor, "HygonGenuine");
	const bool vmmcall = amd == (i == PROBE_ITEM_VMCALL);
	const char *name = vmmcall ? "VMMCALL" : "VMCALL";
	struct guest *g = &p->g;
	struct kvm_regs regs;

	if (!guest_start(p, PROBE_LONG0, vmmcall ? pg_vmmcall : pg_vmcall, 0) || !guest_regs(g, &regs))
		return fails_why(p, r);
	regs.rax = 0x7fff;
	if (!guest_set_regs(g, &regs))
		return fails_why(p, r);
	if (!guest_until(p, PG_DONE)) {
		if (i == PROBE_ITEM_VMCALL2 && g->stop == KVM_EXIT_IO && g->run->io.port == PG_EXCEPTION &&
		    guest_word(g, PG_EXC_VECTOR) == VECTOR_UD)
			return item_holds(r, "%s raises #UD", name);
		return item_fails(r, "%s: %s", name, g->why);
	}
	if (!guest_regs(g, &regs))
		return fails_why(p, r);
	if ((int)regs.rax == -KVM_ENOSYS_GUEST)
		item_holds(r, "%s answers -%d", name, KVM_ENOSYS_GUEST);
	else
		item_fails(r, "%s answers %lld instead of -%d", name, regs.rax, KVM_ENOSYS_GUEST);
}
