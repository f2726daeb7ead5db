/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why KVM_RUN came back, and what is done about it: one row for each reason.
 *
 * Port and memory-mapped I/O, MSRs: the machine does the access and the next KVM_RUN finishes the instruction, so after
 * such an exit RIP is still in front of it (struct kvm_cpu.unfinished). A reason without a function is one that a machine
 * like ours never has: the path gives up there, with what KVM said.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/apic/lapic.h"
#include "engine/msr.h"
#include "fastpath/kvm_int.h"

enum kvm_next kvm_leave(struct kvm_cpu *c, struct exit *x, enum exit_reason r, const char *fmt, ...)
{
	va_list ap;

	(void)c;
	x->reason = r;
	va_start(ap, fmt);
	vsnprintf(x->text, sizeof(x->text), fmt, ap);
	va_end(ap);
	return KVM_LEAVE;
}

static enum kvm_next exit_io(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_run *r = c->run;
	uint64_t off = r->io.data_offset;
	unsigned size = r->io.size;

	/* The page is KVM's to fill, but what it says is not believed unseen. */
	if ((size != 1 && size != 2 && size != 4) || off > c->m->run_bytes ||
	    (uint64_t)r->io.count * size > c->m->run_bytes - off)
		return kvm_leave(c, x, EXIT_FAIL, "KVM says port I/O of %u times %u bytes", r->io.count, size);
	c->unfinished = true;
	for (uint32_t i = 0; i < r->io.count; i++) {
		uint8_t *p = (uint8_t *)r + off + (uint64_t)i * size;
		uint64_t val = 0;

		if (r->io.direction == KVM_EXIT_IO_IN) {
			val = vm_pio_read(c->v, r->io.port, size);
			memcpy(p, &val, size);
		} else {
			memcpy(&val, p, size);
			vm_pio_write(c->v, r->io.port, size, val);
		}
	}
	return KVM_GO_ON;
}

static enum kvm_next exit_mmio(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_run *r = c->run;
	unsigned n = r->mmio.len;

	if (n < 1 || n > sizeof(r->mmio.data))
		return kvm_leave(c, x, EXIT_FAIL, "KVM says memory-mapped I/O of %u bytes", n);
	c->unfinished = true;
	/* devices know 1, 2, 4 and 8 bytes; what an odd access is made of is done from its beginning */
	for (unsigned at = 0; at < n;) {
		unsigned size = n - at >= 8 ? 8 : n - at >= 4 ? 4 : n - at >= 2 ? 2 : 1;
		uint64_t val = 0;

		if (r->mmio.is_write) {
			memcpy(&val, r->mmio.data + at, size);
			vm_mmio_write(c->v, r->mmio.phys_addr + at, size, val);
		} else {
			val = vm_mmio_read(c->v, r->mmio.phys_addr + at, size);
			memcpy(r->mmio.data + at, &val, size);
		}
		at += size;
	}
	return KVM_GO_ON;
}

/* MSRs that KVM does not switch are rows of engine/msr.c: the filter sends them here. They see struct vcpu, so that must be
 * right where their functions look: TSC offset and APIC are always, EFER travels with the control registers. */
static enum kvm_next exit_rdmsr(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_run *r = c->run;
	uint64_t val = 0;

	(void)x;
	c->v->regs.efer = r->s.regs.sregs.efer;
	c->unfinished = true;
	r->msr.error = !msr_read(c->v, r->msr.index, &val);
	r->msr.data = val;
	return KVM_GO_ON;
}

static enum kvm_next exit_wrmsr(struct kvm_cpu *c, struct exit *x)
{
	struct kvm_run *r = c->run;
	struct vcpu *v = c->v;
	int64_t tsc_offset = v->regs.tsc_offset;
	const char *unsound = kvm_host_unsound_msr(c->m, v, r->msr.index, r->msr.data);

	c->unfinished = true;
	if (unsound)
		return kvm_leave(c, x, EXIT_UNSOUND, "%s", unsound);
	v->regs.efer = r->s.regs.sregs.efer;
	v->regs.cr0 = r->s.regs.sregs.cr0;
	r->msr.error = !msr_write(v, r->msr.index, r->msr.data);
	if (!r->msr.error && !kvm_msr_written(c, x, r->msr.index))
		return KVM_LEAVE;
	if (v->regs.efer != r->s.regs.sregs.efer) {
		r->s.regs.sregs.efer = v->regs.efer;
		r->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
	}
	if (v->regs.tsc_offset != tsc_offset || r->msr.index == MSR_APIC_BASE)
		c->reload = true;
	return KVM_GO_ON;
}

static enum kvm_next exit_hlt(struct kvm_cpu *c, struct exit *x)
{
	if (vcpu_has_event(c->v))
		return KVM_GO_ON;
	return kvm_leave(c, x, EXIT_HLT, "%s", "");
}

static enum kvm_next exit_look(struct kvm_cpu *c, struct exit *x)
{
	(void)c;
	(void)x;
	return KVM_GO_ON;
}

static enum kvm_next exit_debug(struct kvm_cpu *c, struct exit *x)
{
	(void)x;
	kvm_watch_stepped(c);
	return KVM_GO_ON;
}

static enum kvm_next exit_shutdown(struct kvm_cpu *c, struct exit *x)
{
	return kvm_leave(c, x, EXIT_SHUTDOWN, "%s", "");
}

static enum kvm_next exit_fail_entry(struct kvm_cpu *c, struct exit *x)
{
	return kvm_leave(c, x, EXIT_CANNOT, "the processor does not enter the guest with this state (reason %#llx)",
			 (unsigned long long)c->run->fail_entry.hardware_entry_failure_reason);
}

static enum kvm_next exit_internal(struct kvm_cpu *c, struct exit *x)
{
	const struct kvm_run *r = c->run;
	char bytes[64] = "";

	if (r->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
		return kvm_leave(c, x, EXIT_CANNOT, "KVM internal error %u", r->internal.suberror);
	if (r->emulation_failure.ndata >= 3 &&
	    (r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		for (unsigned i = 0; i < r->emulation_failure.insn_size && i < 15; i++)
			snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", r->emulation_failure.insn_bytes[i]);
	return kvm_leave(c, x, EXIT_CANNOT, "KVM's emulator does not know the instruction%s%s", *bytes ? ", bytes" : "",
			 bytes);
}

static enum kvm_next exit_unknown(struct kvm_cpu *c, struct exit *x)
{
	return kvm_leave(c, x, EXIT_CANNOT, "KVM leaves for a reason of the hardware's, %#llx",
			 (unsigned long long)c->run->hw.hardware_exit_reason);
}

/* KVM handles the calls it knows; to a guest of ours a hypercall is an instruction that is not there. Another path raises
 * #UD; the next KVM_RUN here would only finish it. */
static enum kvm_next exit_hypercall(struct kvm_cpu *c, struct exit *x)
{
	return kvm_leave(c, x, EXIT_CANNOT, "hypercall %llu", (unsigned long long)c->run->hypercall.nr);
}

static const struct exit_row {
	const char *name;
	enum kvm_next (*handle)(struct kvm_cpu *c, struct exit *x);
} exits[KVM_EXIT_ROWS] = {
	[KVM_EXIT_UNKNOWN] = {"unknown", exit_unknown},
	[KVM_EXIT_EXCEPTION] = {"exception", NULL},
	[KVM_EXIT_IO] = {"io", exit_io},
	[KVM_EXIT_HYPERCALL] = {"hypercall", exit_hypercall},
	[KVM_EXIT_DEBUG] = {"debug", exit_debug},
	[KVM_EXIT_HLT] = {"hlt", exit_hlt},
	[KVM_EXIT_MMIO] = {"mmio", exit_mmio},
	[KVM_EXIT_IRQ_WINDOW_OPEN] = {"irq_window", exit_look},
	[KVM_EXIT_SHUTDOWN] = {"shutdown", exit_shutdown},
	[KVM_EXIT_FAIL_ENTRY] = {"fail_entry", exit_fail_entry},
	[KVM_EXIT_INTR] = {"intr", exit_look},
	[KVM_EXIT_SET_TPR] = {"set_tpr", exit_look},
	[KVM_EXIT_TPR_ACCESS] = {"tpr_access", NULL},
	[KVM_EXIT_NMI] = {"nmi", exit_look},
	[KVM_EXIT_INTERNAL_ERROR] = {"internal_error", exit_internal},
	[KVM_EXIT_SYSTEM_EVENT] = {"system_event", NULL},
	[KVM_EXIT_IOAPIC_EOI] = {"ioapic_eoi", NULL},
	[KVM_EXIT_X86_RDMSR] = {"rdmsr", exit_rdmsr},
	[KVM_EXIT_X86_WRMSR] = {"wrmsr", exit_wrmsr},
	[KVM_EXIT_DIRTY_RING_FULL] = {"dirty_ring_full", NULL},
	[KVM_EXIT_X86_BUS_LOCK] = {"bus_lock", exit_look},
	[KVM_EXIT_NOTIFY] = {"notify", exit_look},
};

const char *kvm_exit_name(uint32_t reason)
{
	return reason < KVM_EXIT_ROWS && exits[reason].name ? exits[reason].name : "other";
}

enum kvm_next kvm_handle_exit(struct kvm_cpu *c, struct exit *x)
{
	uint32_t reason = c->run->exit_reason;

	c->last_reason = reason;
	atomic_fetch_add_explicit(&c->m->exits[reason < KVM_EXIT_ROWS ? reason : 0], 1, memory_order_relaxed);
	if (reason < KVM_EXIT_ROWS && exits[reason].handle)
		return exits[reason].handle(c, x);
	return kvm_leave(c, x, EXIT_CANNOT, "KVM leaves with exit reason %u (%s), which this machine has no use for", reason,
			 kvm_exit_name(reason));
}
