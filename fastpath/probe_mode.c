/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does a mode run at all, and how fast? First a handful of bytes that come out differently in every mode show that the
 * guest is where it was put; then a loop of eight instructions, whose checksum has to be the host's, is timed against the
 * same loop on the host. CPU time: what other processes take must not count.
 */
#include <string.h>

#include "fastpath/probe_int.h"

#define MAGIC 0x5eed1e55u
#define FIRST_ROUNDS 100u
#define MAX_ROUNDS (1u << 24)
#define RFLAGS_VM 0x20000u

extern const char pg_mode[], pg_loop16[], pg_loop32[], pg_loop64[];

static bool wants_paging(enum probe_mode m)
{
	return m == PROBE_PAGE32 || m == PROBE_PAE || m == PROBE_LONG0 || m == PROBE_LONG3 || m == PROBE_COMPAT;
}

/* What is wrong with the mode that pg_mode found itself in, or NULL. */
static const char *wrong_mode(struct guest *g, enum probe_mode m, const struct kvm_regs *r, const struct kvm_sregs *s)
{
	const unsigned bits = probe_modes[m].bits;
	const uint32_t eax = bits == 64 ? 0 : bits == 32 ? 0xffffffff : 0xffff;
	const bool paged = r->rsi == MAGIC;

	if ((uint32_t)r->rax != eax)
		return "its code ran with another operand size than the mode's";
	if (wants_paging(m) && !(s->cr0 >> 31))
		return "CR0.PG was dropped without an error: memory is not paged";
	if (wants_paging(m) && !paged)
		return "the page tables are not used: an aliased page reads as something else";
	if ((s->es.base == 0) == (m == PROBE_REAL || m == PROBE_V86))
		return "a segment load did not work as the mode's";
	if (m == PROBE_V86 && !(r->rflags & RFLAGS_VM))
		return "EFLAGS.VM was dropped";
	if (m != PROBE_REAL && m != PROBE_V86 && (r->rdi & 3) != probe_modes[m].ring)
		return "CS has another privilege level";
	return g->run->exit_reason == KVM_EXIT_IO ? NULL : "no exit";
}

static bool check_mode(struct probe *p, enum probe_mode m)
{
	struct guest *g = &p->g;
	struct kvm_regs r;
	struct kvm_sregs s;
	const char *wrong;

	if (!guest_start(p, m, pg_mode, 0))
		return false;
	guest_put(g, PG_TEST, MAGIC);
	if (!guest_sregs(g, &s) || !guest_regs(g, &r))
		return false;
	if (wants_paging(m) && !(s.cr0 >> 31)) {
		guest_fail(g, "KVM_SET_SREGS succeeds and drops CR0.PG: memory is not paged");
		return false;
	}
	if (m == PROBE_V86 && !(r.rflags & RFLAGS_VM)) {
		guest_fail(g, "KVM_SET_REGS succeeds and drops RFLAGS.VM");
		return false;
	}
	r.rdx = probe_modes[m].ring == 3 ? PG_DS_USER : PG_DS;
	if (wants_paging(m))
		r.rbx = PG_ALIAS;
	if (!guest_set_regs(g, &r) || !guest_until(p, PG_DONE) || !guest_regs(g, &r) || !guest_sregs(g, &s))
		return false;
	wrong = wrong_mode(g, m, &r, &s);
	if (wrong)
		guest_fail(g, "%s", wrong);
	return !wrong;
}

/* One timed run of the loop; *ns is CPU time. The checksum must be the host's. */
static bool time_loop(struct probe *p, enum probe_mode m, const char *label, unsigned rounds, uint64_t *ns)
{
	uint64_t data[16] = {0};
	uint32_t want[4] = {1, 2, 3, rounds};
	struct guest *g = &p->g;
	struct kvm_regs r;
	uint64_t begin;

	guest_settle(g);
	if (!guest_regs(g, &r))
		return false;
	r.rax = 1;
	r.rdx = 2;
	r.rdi = 3;
	r.rcx = rounds;
	r.rip = guest_rip(m, label);
	memset(g->mem + PG_DATA + 0x100, 0, sizeof(data));
	if (!guest_set_regs(g, &r))
		return false;
	begin = probe_cpu_ns();
	if (!guest_until(p, PG_DONE))
		return false;
	*ns = probe_cpu_ns() - begin;
	if (!guest_regs(g, &r))
		return false;
	pg_loop_host(want, data);
	if ((uint32_t)r.rax == want[0] && (uint32_t)r.rdx == want[1] && (uint32_t)r.rdi == want[2] && !(uint32_t)r.rcx)
		return true;
	guest_fail(g, "its results are wrong: %#x %#x %#x after %u rounds instead of %#x %#x %#x", (unsigned)r.rax,
		   (unsigned)r.rdx, (unsigned)r.rdi, rounds, want[0], want[1], want[2]);
	return false;
}

static double host_loop_ns(unsigned rounds)
{
	uint32_t r[4] = {1, 2, 3, rounds};
	uint64_t data[16] = {0}, begin = probe_cpu_ns();

	pg_loop_host(r, data);
	return (double)(probe_cpu_ns() - begin) / rounds / PG_LOOP_INSNS;
}

/* The best of several: whatever disturbs makes it longer. What an exit costs is taken off by a run of one round. */
static bool measure(struct probe *p, enum probe_mode m, const char *label, struct probe_mode_result *r)
{
	const uint64_t enough = p->quick ? 1500000 : 6000000;
	const unsigned repeats = p->quick ? 3 : 7;
	uint64_t ns = 0, least = UINT64_MAX, base = UINT64_MAX;
	double host = 1e9, h;
	unsigned rounds;

	for (rounds = FIRST_ROUNDS; rounds < MAX_ROUNDS; rounds *= 4) {
		if (!time_loop(p, m, label, rounds, &ns))
			return false;
		if (ns > enough / 4)
			break;
	}
	for (unsigned i = 0; i < repeats; i++) {
		if (!time_loop(p, m, label, rounds, &ns))
			return false;
		least = ns < least ? ns : least;
		if (!time_loop(p, m, label, 1, &ns))
			return false;
		base = ns < base ? ns : base;
		h = host_loop_ns(p->quick ? 1u << 18 : 1u << 20);
		host = h < host ? h : host;
	}
	r->ns_per_insn = least > base ? (double)(least - base) / (rounds - 1) / PG_LOOP_INSNS : 0;
	r->ratio = host > 0 ? r->ns_per_insn / host : 0;
	if (p->v->host_ns_per_insn == 0 || host < p->v->host_ns_per_insn)
		p->v->host_ns_per_insn = host;
	return true;
}

void probe_mode_test(struct probe *p, enum probe_mode m, struct probe_mode_result *r)
{
	const unsigned bits = probe_modes[m].bits;
	const char *label = bits == 64 ? pg_loop64 : bits == 32 ? pg_loop32 : pg_loop16;

	r->tried = true;
	r->runs = check_mode(p, m) && guest_start(p, m, label, 0) && measure(p, m, label, r);
	strcpy(r->evidence, r->runs ? "" : p->g.why);
}
