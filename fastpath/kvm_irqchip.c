/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interrupt controllers in the kernel: local APICs, I/O APIC and the 8259 pair, where the host is worth it.
 *
 * While the vCPUs are on kvm they are KVM's, which halts, wakes, sends IPIs and counts APIC timers without coming to us. The
 * machine's own models are lent (pic_lend, ioapic_lend, lapic_lend, vm->msi_lent): they keep the levels of their inputs and hand
 * changes and messages on. With the world stopped, kvm_chips_enter takes everything in, kvm_chips_leave brings it back; a vCPU's
 * mp_state travels with its other registers (kvm_state.c).
 *
 * INIT and SIPI. A vCPU of KVM's takes them when it runs, and when it is asked for its mp_state; it may be sent them at any time that the
 * chips are in the kernel, whether struct vcpu or KVM has its registers. In the first case its mp_state is a mark (kvm_mp_mark), from
 * which kvm_chips_leave tells what has come, for the machine's APIC to remember; in the second kvm_pull makes it take them and
 * then fetches its registers.
 *
 * Messages of devices come from any thread at any time: vm->msi_gate keeps them out while the APICs' state is on its way.
 *
 * GSIs, as KVM counts inputs: 0 to 23 are the I/O APIC's pins, from CHIP_PIC_GSI on those of the pair. So a line that the
 * board wires to both is two lines, and the wiring (IRQ 0 on pin 2) stays the board's affair.
 *
 * The PIT stays ours, on every path: giving one to KVM starts every count anew, which would fire a one-shot twice and move the phase
 * of the others; what it would save is one KVM_IRQ_LINE for each tick of a timer that guests leave alone once they have an APIC.
 *
 * What the kernel's chips hold less exactly than ours: the low half of TPR is lost when control registers are sent; an edge
 * that comes to a masked pin is not kept; local APIC timers go on while the machine is paused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/board.h"
#include "engine/apic/ioapic.h"
#include "engine/apic/lapic.h"
#include "engine/msr.h"
#include "engine/pc/pic8259.h"
#include "fastpath/kvm_int.h"

#define CHIP_PIC_GSI IOAPIC_PINS
#define PIC_LINES 16
#define PIC_CASCADE 2
#define MSI_ADDRESS 0xfee00000u
#define REDIR_MASKED (1ull << 16)
#define REDIR_LEVEL (1ull << 15)

/* ---- whose ---- */

static bool asked_user(const struct kvm_machine *m)
{
	return m->vm->cfg.kvm_irqchip == KVM_IRQCHIP_USER;
}

static bool asked_kernel(const struct kvm_machine *m)
{
	return m->vm->cfg.kvm_irqchip == KVM_IRQCHIP_KERNEL;
}

static bool lacks_caps(const struct kvm_machine *m)
{
	static const int need[] = {KVM_CAP_IRQCHIP, KVM_CAP_IRQ_ROUTING, KVM_CAP_MP_STATE, KVM_CAP_SIGNAL_MSI};

	for (unsigned i = 0; i < ARRAY_LEN(need); i++)
		if (m->sys->ioctl(m->sys, m->dev, KVM_CHECK_EXTENSION, (void *)(uintptr_t)need[i]) <= 0)
			return true;
	return false;
}

static bool software(const struct kvm_machine *m)
{
	return !m->host.native;
}

static bool always(const struct kvm_machine *m)
{
	(void)m;
	return true;
}

/* The first row that applies decides. */
static const struct chip_row {
	bool (*applies)(const struct kvm_machine *m);
	bool kernel;
	const char *why;
} chip_rows[] = {
	{asked_user, false, "asked for"},
	{lacks_caps, false, "this host's KVM has no interrupt controllers"},
	{asked_kernel, true, "asked for"},
	{software, false, "a KVM made by software: nothing is known of its interrupt controllers, and exits cost it no more than they do"},
	{always, true, "VT-x or AMD-V: halts, IPIs and timers without exits"},
};

enum status kvm_chips_create(struct kvm_machine *m, struct error *e)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[IOAPIC_PINS + PIC_LINES];
	} r = {0};
	unsigned i;

	for (i = 0; !chip_rows[i].applies(m); i++)
		;
	m->chips = chip_rows[i].kernel;
	m->chips_why = chip_rows[i].why;
	if (!m->chips)
		return asked_kernel(m) ? error_set(e, ST_UNSUPPORTED, "kvm: --kvm-irqchip kernel: %s (use auto)", m->chips_why) : ST_OK;
	for (i = 0; i < IOAPIC_PINS; i++)
		r.entry[r.head.nr++] = (struct kvm_irq_routing_entry){
			.gsi = i, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = i}};
	for (i = 0; i < PIC_LINES; i++)
		if (i != PIC_CASCADE)
			r.entry[r.head.nr++] = (struct kvm_irq_routing_entry){
				.gsi = CHIP_PIC_GSI + i,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {.irqchip = i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, .pin = i % 8}};
	if (kvm_vm_ioctl(m, KVM_CREATE_IRQCHIP, NULL) != 0 || kvm_vm_ioctl(m, KVM_SET_GSI_ROUTING, &r) != 0)
		return error_errno(e, ST_UNSUPPORTED, "kvm: no interrupt controllers in the kernel (use --kvm-irqchip user)");
	return ST_OK;
}

/* ---- inputs: device lock held ---- */

static int set_gsi(struct kvm_machine *m, unsigned gsi, bool level)
{
	struct kvm_irq_level l = {.irq = gsi, .level = level};

	return kvm_vm_ioctl(m, KVM_IRQ_LINE, &l);
}

/* An interrupt that does not arrive is the guest's death in any case: it is said, not left to be found out. */
static void line_failed(struct kvm_machine *m, const char *what)
{
	char text[120];

	snprintf(text, sizeof(text), "kvm: the host does not take %s (%s)", what, strerror(errno));
	vm_end(m->vm, VM_FAILED, 0, text);
}

static void lent_pin(void *ctx, unsigned pin, bool level)
{
	if (set_gsi(ctx, pin, level) != 0)
		line_failed(ctx, "an interrupt line");
}

static void lent_line(void *ctx, unsigned n, bool level)
{
	lent_pin(ctx, CHIP_PIC_GSI + n, level);
}

static void lent_message(void *ctx, uint8_t vector, enum apic_delivery mode, bool logical, uint32_t dest, bool level)
{
	struct kvm_machine *m = ctx;
	struct kvm_msi msi = {.address_lo = MSI_ADDRESS | (dest & 0xff) << 12 | (logical ? 4 : 0),
			      .data = vector | (uint32_t)mode << 8 | (level ? 0xc000 : 0)};

	if (kvm_vm_ioctl(m, KVM_SIGNAL_MSI, &msi) < 0)
		line_failed(m, "a message-signalled interrupt");
}

/* ---- the 8259 pair ---- */

static void pic_out(const struct pic_chip_state *c, uint8_t elcr_mask, struct kvm_pic_state *k)
{
	*k = (struct kvm_pic_state){.last_irr = c->line, .irr = c->irr, .imr = c->imr, .isr = c->isr,
				    .priority_add = (c->lowest + 1) & 7, .irq_base = c->base, .read_reg_select = c->read_isr,
				    .poll = c->poll, .special_mask = c->special_mask,
				    .init_state = c->init_step ? c->init_step - 1 : 0, .auto_eoi = c->aeoi,
				    .rotate_on_auto_eoi = c->rotate_aeoi, .special_fully_nested_mode = c->sfnm,
				    .init4 = c->has_icw4, .elcr = c->elcr, .elcr_mask = elcr_mask};
}

static void pic_in(const struct kvm_pic_state *k, struct pic_chip_state *c)
{
	bool single = c->single; /* KVM's chips do not know it */

	*c = (struct pic_chip_state){.irr = k->irr, .imr = k->imr, .isr = k->isr, .line = k->last_irr, .elcr = k->elcr,
				     .base = k->irq_base, .lowest = (k->priority_add + 7) & 7,
				     .init_step = k->init_state ? k->init_state + 1 : 0, .has_icw4 = k->init4, .single = single,
				     .read_isr = k->read_reg_select, .poll = k->poll, .special_mask = k->special_mask,
				     .sfnm = k->special_fully_nested_mode, .aeoi = k->auto_eoi,
				     .rotate_aeoi = k->rotate_on_auto_eoi};
}

/* ---- in: device lock held ---- */

/* The APIC of vCPU i: base, registers, deadline. */
static bool apic_in(struct kvm_machine *m, unsigned i)
{
	struct vcpu *v = m->vm->vcpu[i];
	struct kvm_cpu *c = m->cpu[i];
	struct kvm_one_msr base = {.head.nmsrs = 1, .entry = {.index = MSR_APIC_BASE, .data = lapic_base(v->lapic)}};
	struct kvm_one_msr deadline = {.head.nmsrs = 1, .entry = {.index = MSR_TSC_DEADLINE, .data = lapic_tsc_deadline(v->lapic)}};
	struct kvm_lapic_state page;
	struct kvm_mp_state left;

	_Static_assert(sizeof(page.regs) == LAPIC_PAGE_BYTES, "one form");
	if (lapic_init_pending(v->lapic))
		lapic_quiet(v->lapic); /* its owner does the rest of the INIT when it comes to it */
	lapic_save(v->lapic, (uint8_t *)page.regs);
	/* what is left of INIT and SIPI there is of a machine that has been reset since. Others may send them before the owner comes */
	if (kvm_cpu_ioctl(c, KVM_GET_MP_STATE, &left) != 0 || !kvm_mp_mark(c))
		return false;
	/* the deadline is of the guest's TSC, which must be right before */
	return kvm_cpu_ioctl(c, KVM_SET_MSRS, &base) == 1 && kvm_cpu_ioctl(c, KVM_SET_LAPIC, &page) == 0 && kvm_tsc_send(c) &&
	       (!deadline.entry.data || kvm_cpu_ioctl(c, KVM_SET_MSRS, &deadline) == 1);
}

static bool chip_set(struct kvm_machine *m, unsigned id, const struct kvm_irqchip *from)
{
	struct kvm_irqchip chip = *from;

	chip.chip_id = id;
	return kvm_vm_ioctl(m, KVM_SET_IRQCHIP, &chip) == 0;
}

/* The I/O APIC masked first, so that setting the lines sends nothing; then the APICs, then what may send to them. */
static bool all_in(struct kvm_machine *m, const struct ioapic_state *io, const struct pic_state *pic)
{
	static const uint8_t elcr_mask[2] = {0xf8, 0xde};
	struct kvm_irqchip chip = {0};

	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		chip.chip.ioapic.redirtbl[i].bits = REDIR_MASKED;
	chip.chip.ioapic.base_address = BOARD_IOAPIC_GPA;
	if (!chip_set(m, KVM_IRQCHIP_IOAPIC, &chip))
		return false;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		if (set_gsi(m, i, io->pins >> i & 1) < 0)
			return false;
	for (unsigned i = 0; i < PIC_LINES; i++)
		if (i != PIC_CASCADE && set_gsi(m, CHIP_PIC_GSI + i, pic->chip[i / 8].line >> i % 8 & 1) < 0)
			return false;
	for (unsigned i = 0; i < m->vm->ncpus; i++)
		if (!apic_in(m, i))
			return false;
	chip.chip.ioapic.id = io->id;
	chip.chip.ioapic.ioregsel = io->select;
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		bool level = io->redir[i] & REDIR_LEVEL;

		chip.chip.ioapic.redirtbl[i].bits = io->redir[i];
		/* an edge that has been sent is not sent again; KVM sends what is set here */
		if ((level ? io->pins : io->irr) >> i & 1)
			chip.chip.ioapic.irr |= 1u << i;
	}
	if (!chip_set(m, KVM_IRQCHIP_IOAPIC, &chip))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		memset(&chip, 0, sizeof(chip));
		pic_out(&pic->chip[i], elcr_mask[i], &chip.chip.pic);
		if (!chip_set(m, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, &chip))
			return false;
	}
	return true;
}

enum status kvm_chips_enter(struct kvm_machine *m, struct error *e)
{
	struct vm *vm = m->vm;
	struct ioapic_state io;
	struct pic_state pic;
	enum status st = ST_OK;

	for (unsigned i = 0; i < vm->ncpus && st == ST_OK; i++)
		if (!m->cpu[i])
			st = kvm_cpu_new(m, vm->vcpu[i], e);
	if (st != ST_OK)
		return st;
	pthread_mutex_lock(&vm->dev_lock);
	pthread_rwlock_wrlock(&vm->msi_gate);
	ioapic_save(vm->ioapic, &io);
	pic_save(board_pic(vm), &pic);
	if (all_in(m, &io, &pic)) {
		m->msi = (struct msi_lent){lent_message, m};
		vm->msi_lent = &m->msi;
		ioapic_lend(vm->ioapic, lent_pin, m);
		pic_lend(board_pic(vm), lent_line, m);
		for (unsigned i = 0; i < vm->ncpus; i++)
			lapic_lend(vm->vcpu[i]->lapic);
		m->lent = true;
	} else {
		st = error_errno(e, ST_UNSUPPORTED, "kvm: the kernel's interrupt controllers do not take the machine's state");
	}
	pthread_rwlock_unlock(&vm->msi_gate);
	pthread_mutex_unlock(&vm->dev_lock);
	return st;
}

/* ---- out: device lock held ---- */

/* And the gate, for writing. */
static void unlend(struct kvm_machine *m)
{
	m->vm->msi_lent = NULL;
	ioapic_lend(m->vm->ioapic, NULL, NULL);
	pic_lend(board_pic(m->vm), NULL, NULL);
	m->lent = false;
}

/* What the mark says of INIT and SIPI (kvm_mp_mark) goes to the machine's APIC. INIT has reset the one in KVM: this comes first. */
static bool startup_out(struct kvm_machine *m, unsigned i)
{
	struct lapic *l = m->vm->vcpu[i]->lapic;
	struct kvm_cpu *c = m->cpu[i];
	struct kvm_mp_state mp;
	struct kvm_sregs s;

	if (kvm_cpu_ioctl(c, KVM_GET_MP_STATE, &mp) != 0)
		return false;
	if (mp.mp_state == (c->waits_sipi ? KVM_MP_STATE_INIT_RECEIVED : KVM_MP_STATE_HALTED))
		return true;
	if (!c->waits_sipi)
		lapic_latch_init(l);
	if (mp.mp_state != KVM_MP_STATE_RUNNABLE)
		return true;
	if (kvm_cpu_ioctl(c, KVM_GET_SREGS, &s) != 0)
		return false;
	if (s.cs.base == (uint64_t)s.cs.selector << 4) /* else it is the bootstrap processor, which INIT starts */
		lapic_latch_sipi(l, (uint8_t)(s.cs.selector >> 8));
	return true;
}

static bool apic_out(struct kvm_machine *m, unsigned i)
{
	struct vcpu *v = m->vm->vcpu[i];
	struct kvm_cpu *c = m->cpu[i];
	struct kvm_one_msr base = {.head.nmsrs = 1, .entry = {.index = MSR_APIC_BASE}};
	struct kvm_one_msr deadline = {.head.nmsrs = 1, .entry = {.index = MSR_TSC_DEADLINE}};
	struct kvm_lapic_state page;

	if (!startup_out(m, i))
		return false;
	if (kvm_cpu_ioctl(c, KVM_GET_MSRS, &base) != 1 || kvm_cpu_ioctl(c, KVM_GET_LAPIC, &page) != 0)
		return false;
	if (kvm_cpu_ioctl(c, KVM_GET_MSRS, &deadline) != 1)
		deadline.entry.data = 0; /* the guest's CPUID has none */
	lapic_load(v->lapic, base.entry.data, (const uint8_t *)page.regs, deadline.entry.data);
	return true;
}

static bool chip_get(struct kvm_machine *m, unsigned id, struct kvm_irqchip *chip)
{
	memset(chip, 0, sizeof(*chip));
	chip->chip_id = id;
	return kvm_vm_ioctl(m, KVM_GET_IRQCHIP, chip) == 0;
}

/* The APICs first: what the others still have to say goes to them. */
static bool apics_out(struct kvm_machine *m)
{
	bool ok = true;

	pthread_rwlock_wrlock(&m->vm->msi_gate);
	for (unsigned i = 0; i < m->vm->ncpus && ok; i++)
		ok = apic_out(m, i);
	if (ok)
		unlend(m);
	pthread_rwlock_unlock(&m->vm->msi_gate);
	return ok;
}

static bool all_out(struct kvm_machine *m)
{
	struct ioapic_state io;
	struct pic_state pic;
	struct kvm_irqchip chip, apic;

	ioapic_save(m->vm->ioapic, &io);
	pic_save(board_pic(m->vm), &pic);
	if (!chip_get(m, KVM_IRQCHIP_IOAPIC, &apic))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		if (!chip_get(m, i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, &chip))
			return false;
		pic_in(&chip.chip.pic, &pic.chip[i]);
	}
	if (!apics_out(m))
		return false;
	io.id = (uint8_t)apic.chip.ioapic.id;
	io.select = (uint8_t)apic.chip.ioapic.ioregsel;
	io.irr = 0;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io.redir[i] = apic.chip.ioapic.redirtbl[i].bits;
	ioapic_load(m->vm->ioapic, &io);
	pic_load(board_pic(m->vm), &pic);
	return true;
}

static void give_back(struct kvm_machine *m)
{
	pthread_rwlock_wrlock(&m->vm->msi_gate);
	unlend(m);
	pthread_rwlock_unlock(&m->vm->msi_gate);
}

void kvm_chips_leave(struct kvm_machine *m)
{
	/* All of them, also those whose threads have not got here yet: when they do, the others may be back already. */
	for (unsigned i = 0; i < m->vm->ncpus; i++)
		kvm_pull(m->vm->vcpu[i]);
	pthread_mutex_lock(&m->vm->dev_lock);
	if (m->lent && !all_out(m)) {
		line_failed(m, "questions about its interrupt controllers");
		give_back(m);
	}
	pthread_mutex_unlock(&m->vm->dev_lock);
}

void kvm_chips_fini(struct kvm_machine *m)
{
	pthread_mutex_lock(&m->vm->dev_lock);
	if (m->lent)
		give_back(m);
	pthread_mutex_unlock(&m->vm->dev_lock);
}

/* ---- one vCPU ---- */

bool kvm_waits(const struct vcpu *v)
{
	const struct kvm_machine *m = v->vm->path_vm[PATH_KVM];

	return m && m->chips;
}

bool kvm_mp_load(struct kvm_cpu *c)
{
	/* ours ignores everything but SIPI while it waits for one: KVM calls that "INIT received" */
	static const uint32_t state[] = {[VCPU_RUNNABLE] = KVM_MP_STATE_RUNNABLE,
					 [VCPU_HALTED] = KVM_MP_STATE_HALTED,
					 [VCPU_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED};
	bool init = lapic_init_pending(c->v->lapic); /* and its owner has not come to it yet */
	struct kvm_mp_state mp = {.mp_state = init ? KVM_MP_STATE_INIT_RECEIVED : state[c->v->run_state]};

	return !c->m->chips || kvm_cpu_ioctl(c, KVM_SET_MP_STATE, &mp) == 0;
}

bool kvm_mp_store(struct kvm_cpu *c)
{
	struct kvm_mp_state mp;

	if (!c->m->chips)
		return true;
	if (kvm_cpu_ioctl(c, KVM_GET_MP_STATE, &mp) != 0)
		return false;
	c->v->run_state = mp.mp_state == KVM_MP_STATE_RUNNABLE ? VCPU_RUNNABLE
			  : mp.mp_state == KVM_MP_STATE_HALTED ? VCPU_HALTED
							       : VCPU_WAIT_SIPI;
	return true;
}

/* While struct vcpu has the truth KVM has a mark, which an INIT that comes meanwhile, or an INIT and a SIPI, or a SIPI that is
 * waited for, changes to something else. */
bool kvm_mp_mark(struct kvm_cpu *c)
{
	struct kvm_mp_state mp;

	c->waits_sipi = lapic_sipi_awaited(c->v->lapic, c->v->run_state == VCPU_WAIT_SIPI);
	mp.mp_state = c->waits_sipi ? KVM_MP_STATE_INIT_RECEIVED : KVM_MP_STATE_HALTED;
	return !c->m->chips || kvm_cpu_ioctl(c, KVM_SET_MP_STATE, &mp) == 0;
}

/* The question makes the vCPU take INIT and SIPI, and its registers are others then: nothing may be on its way into KVM, and what
 * is in the shared page is fetched anew. */
bool kvm_mp_idle(struct kvm_cpu *c)
{
	struct kvm_mp_state mp;

	return c->m->chips && !c->run->kvm_dirty_regs && !c->unfinished && kvm_cpu_ioctl(c, KVM_GET_MP_STATE, &mp) == 0 &&
	       kvm_refresh(c) && mp.mp_state != KVM_MP_STATE_RUNNABLE;
}
