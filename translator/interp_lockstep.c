/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter up to a given place, and what both paths of a lockstep run share.
 *
 * Arithmetic flags that nobody reads are not computed by the translator, so at a block's end the two paths may differ in
 * them. The driver says which (trace.unsure), and from there on every instruction is looked at: one that reads such a flag
 * before it has been written anew is a difference.
 */
#include "translator/interp_cache.h"
#include "translator/lockstep.h"
#include "translator/mmu_tlb.h"
#include "translator/system.h"

static void note(struct lockstep_trace *t, uint64_t rip, const struct insn *i)
{
	uint32_t bad = i ? i->fl_read & t->unsure : 0;

	if (t->n < LOCKSTEP_TRACE)
		t->rip[t->n] = rip;
	t->n++;
	if (bad && !t->bad_read) {
		t->bad_read = bad;
		t->read_rip = rip;
	}
	if (i)
		t->unsure &= ~i->fl_write;
}

static bool watched(const struct vcpu *v)
{
	return (v->regs.rflags & (FL_TF | FL_RF)) || (v->regs.dr[7] & 0xff) || v->int_shadow;
}

static enum xr one(struct vcpu *v, struct interp *in, struct lockstep_trace *t)
{
	uint64_t rip = v->regs.rip;
	struct insn i;
	bool decoded = lockstep_decode(v, rip, &i);
	enum xr x = interp_step(v, in);

	if (x != XR_AGAIN)
		note(t, rip, decoded ? &i : NULL);
	return x;
}

/* From one run of decoded code. XR_NEXT: its end, or the place to stop at. */
static enum xr some(struct vcpu *v, const struct run *r, uint64_t stop, unsigned min, unsigned max,
		    struct lockstep_trace *t)
{
	uint64_t rip_mask = r->bits == 64 ? ~0ull : 0xffffffff;

	for (const struct dinsn *d = r->insn, *end = d + r->n; d < end && t->n < max; d++) {
		uint64_t rip = v->regs.rip;
		enum xr x = d->fn(v, &d->i);

		v->count.insns_interp++;
		v->insn_clock++;
		if (x == XR_AGAIN)
			return XR_NEXT;
		note(t, rip, &d->i);
		if (x == XR_NEXT || x == XR_HLT)
			v->regs.rip = (v->regs.rip + d->i.len) & rip_mask;
		if (x == XR_FAULT)
			return event_exception(v, &v->fault);
		if (x != XR_NEXT)
			return x;
		if ((v->regs.rip == stop && t->n >= min) || !run_fresh(r) || watched(v))
			break;
	}
	return XR_NEXT;
}

enum xr interp_lockstep(struct vcpu *v, uint64_t stop, unsigned min, unsigned max, struct lockstep_trace *t)
{
	struct interp *in = v->path[PATH_INTERP];

	if (atomic_fetch_and(&v->request, ~REQ_FLUSH) & REQ_FLUSH)
		mmu_flush_all(v);
	do {
		const struct run *r = watched(v) ? NULL : interp_find(v, in);
		enum xr x = r ? some(v, r, stop, min, max, t) : one(v, in, t);

		if (x == XR_HLT || x == XR_SHUTDOWN || x == XR_CANNOT)
			return x;
		if (v->regs.rip == stop && t->n >= min)
			return XR_JUMP;
	} while (t->n < max);
	return XR_AGAIN;
}

bool lockstep_event(struct vcpu *v, enum xr *x)
{
	int vec;

	*x = XR_JUMP;
	atomic_fetch_and(&v->request, ~REQ_EVENT);
	if (!vcpu_has_event(v))
		return false;
	if (atomic_load(&v->nmi_pending) && !v->nmi_blocked) {
		atomic_store(&v->nmi_pending, false);
		*x = event_nmi(v);
		return true;
	}
	vec = vcpu_take_interrupt(v);
	if (vec < 0)
		return false;
	*x = event_interrupt(v, (uint8_t)vec);
	return true;
}

void *lockstep_ram(struct vcpu *v, uint64_t lin, unsigned n)
{
	uint64_t gpa;

	if (!vcpu_long_mode(v))
		lin = (uint32_t)lin;
	if ((lin & 0xfff) + n > PAGE_SIZE_4K || !mmu_peek(v, lin, &gpa))
		return NULL;
	return mem_ram(&v->vm->mem, gpa, n);
}

bool lockstep_decode(struct vcpu *v, uint64_t rip, struct insn *i)
{
	uint64_t lin = vcpu_code64(v) ? rip : (uint32_t)(v->regs.seg[SEG_CS].base + rip);
	uint8_t buf[15];
	unsigned n = 0;

	while (n < sizeof(buf)) {
		const uint8_t *p = lockstep_ram(v, lin + n, 1);

		if (!p)
			break;
		buf[n++] = *p;
	}
	return insn_decode(i, buf, n, vcpu_code_bits(v)) == DECODE_OK;
}
