/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What travels when a vCPU changes its path: random architectural states go kvm -> bt -> interp -> kvm, through the real KVM
 * where there is one, else through one that keeps state and executes nothing, and must come back bit for bit. What a host
 * cannot hold is a row of held[]: the state is made without it, and the row says so.
 *
 * Nothing is executed: each path's run() is entered with REQ_EXIT set. To have KVM take the state and give it back, the test says
 * that an exit is unfinished, which is a KVM_RUN with immediate_exit.
 */
#include "tests/unit/fake_kvm.h"

#include <unistd.h>

#include "engine/apic/lapic.h"
#include "engine/msr.h"
#include "engine/switch.h"

#include "tests/unit/device_test.h"

#define STATES 2000
#define XSAVE_BV 512
#define XSAVE_YMM 576
#define APIC_REGS 64 /* 16 bytes apart */
#define MSRS_MAX 256

struct rng {
	uint64_t s;
};

static uint64_t rnd(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s;
}

static uint64_t canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16);
}

/* ---- what a host may not hold ---- */

enum holds { HOLD_YMM, HOLD_SSE, HOLD_TSC_AUX, HOLD_PAGING32, HOLD_SHADOW, HOLD_SYSENTER64, HOLD_NMI, HOLD_EXCEPTION, HOLD_COUNT };

static const char *const held[HOLD_COUNT] = {
	[HOLD_YMM] = "YMM state (XCR0 bit 2)",
	[HOLD_SSE] = "XCR0 bit 1",
	[HOLD_TSC_AUX] = "TSC_AUX",
	[HOLD_PAGING32] = "CR0.PG outside long mode",
	[HOLD_SHADOW] = "an interrupt shadow",
	[HOLD_SYSENTER64] = "SYSENTER_ESP and SYSENTER_EIP above 4 GiB (AMD has 32 bits there)",
	[HOLD_NMI] = "an NMI half delivered",
	[HOLD_EXCEPTION] = "an exception half delivered, with its error code",
};

struct bench {
	struct vm *vm;
	struct vcpu *v;
	struct fake_kvm *fake; /* NULL: the host's KVM */
	bool has[HOLD_COUNT];
	struct rng r;
};

/* ---- random states ---- */

enum mode { MODE_REAL, MODE_PROT, MODE_PAE, MODE_LONG, MODE_COMPAT, MODE_USER, MODE_COUNT };

static struct x86_seg data_seg(struct rng *r, unsigned dpl, bool wide)
{
	bool g = rnd(r) & 1;
	uint32_t limit = g ? (uint32_t)rnd(r) | 0x100fff : (uint32_t)rnd(r) & 0xfffff; /* kvm_state.c says why G is never small */

	return (struct x86_seg){.sel = (uint16_t)((rnd(r) & 0xfff8) | dpl),
				.attr = (uint16_t)(SA_P | SA_S | SA_RW | SA_ACCESSED | dpl << SA_DPL_SHIFT | SA_DB |
						   (g || limit > 0xfffff ? SA_G : 0) | (rnd(r) & 1 ? SA_AVL : 0)),
				.limit = limit,
				.base = wide ? canonical(rnd(r)) : (uint32_t)rnd(r)};
}

static void make_segments(struct bench *b, enum mode m)
{
	struct x86_regs *g = &b->v->regs;
	struct rng *r = &b->r;
	unsigned dpl = m == MODE_USER ? 3 : 0;

	if (m == MODE_REAL) {
		for (unsigned i = 0; i < SEG_COUNT; i++) {
			g->seg[i] = (struct x86_seg){.sel = (uint16_t)rnd(r),
						     .limit = 0xffff,
						     .attr = SA_P | SA_S | SA_RW | SA_ACCESSED | (i == SEG_CS ? SA_CODE : 0)};
			g->seg[i].base = (uint64_t)g->seg[i].sel << 4;
		}
		return;
	}
	for (unsigned i = 0; i < SEG_COUNT; i++)
		g->seg[i] = data_seg(r, dpl, (i == SEG_FS || i == SEG_GS) && m >= MODE_LONG);
	g->seg[SEG_SS].base = m >= MODE_LONG ? 0 : g->seg[SEG_SS].base;
	g->seg[SEG_CS].attr |= SA_CODE;
	if (m == MODE_LONG || m == MODE_USER)
		g->seg[SEG_CS].attr = (uint16_t)((g->seg[SEG_CS].attr & ~SA_DB) | SA_L);
	if (m >= MODE_LONG)
		g->seg[SEG_CS].base = 0;
	g->tr = (struct x86_seg){.sel = (uint16_t)(rnd(r) & 0xfff8),
				 .attr = SA_P | SD_TSS_BUSY,
				 .limit = 0x67 + (uint32_t)(rnd(r) & 0xfff),
				 .base = m >= MODE_LONG ? canonical(rnd(r)) : (uint32_t)rnd(r)};
	g->ldtr = (struct x86_seg){.sel = (uint16_t)(rnd(r) & 0xfff8),
				   .attr = SA_P | SD_LDT,
				   .limit = (uint32_t)rnd(r) & 0xffff,
				   .base = m >= MODE_LONG ? canonical(rnd(r)) : (uint32_t)rnd(r)};
}

static void make_control(struct bench *b, enum mode m)
{
	struct x86_regs *g = &b->v->regs;
	struct rng *r = &b->r;

	g->cr0 = CR0_ET | CR0_NE | (rnd(r) & (CR0_MP | CR0_TS | CR0_WP | CR0_AM));
	g->cr4 = rnd(r) & (CR4_DE | CR4_TSD | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_PSE);
	g->cr2 = m >= MODE_LONG ? rnd(r) : (uint32_t)rnd(r);
	g->cr3 = 0;
	g->efer = rnd(r) & EFER_SCE;
	if (m != MODE_REAL)
		g->cr0 |= CR0_PE;
	if (m >= MODE_LONG) {
		g->cr0 |= CR0_PG;
		g->cr4 |= CR4_PAE | CR4_OSXSAVE;
		g->efer |= EFER_LME | EFER_LMA | (rnd(r) & EFER_NXE);
		g->cr3 = rnd(r) % b->vm->mem.ram_bytes & ~0xfffull;
	} else if (m == MODE_PAE && b->has[HOLD_PAGING32]) {
		g->cr0 |= CR0_PG;
		g->cr4 |= CR4_PAE;
		g->cr3 = rnd(r) % b->vm->mem.ram_bytes & ~0x1full;
		for (unsigned i = 0; i < 4; i++) {
			g->pdpte[i] = (rnd(r) % b->vm->mem.ram_bytes & ~0xfffull) | 1;
			mem_write(&b->vm->mem, g->cr3 + 8 * i, &g->pdpte[i], 8);
		}
	}
}

static void make_vectors(struct bench *b)
{
	struct x86_regs *g = &b->v->regs;
	uint8_t *x = g->xsave;
	uint64_t bv = b->has[HOLD_YMM] ? 7 : 3;
	uint32_t off = 0, size = 0;

	g->xcr0 = b->has[HOLD_YMM] ? 7 : b->has[HOLD_SSE] ? 3 : 1;
	memset(x, 0, XSAVE_AREA_BYTES);
	for (unsigned i = 0; i < 416; i++) /* x87 and XMM registers: 32 to 415 */
		x[i] = i < 32 ? 0 : (uint8_t)rnd(&b->r);
	for (unsigned i = 0; i < 8; i++) /* 80-bit registers in 16 bytes */
		memset(x + 32 + 16 * i + 10, 0, 6);
	*(uint16_t *)x = (uint16_t)(0x40 | (rnd(&b->r) & 0xf3f)); /* FCW */
	*(uint16_t *)(x + 2) = (uint16_t)(rnd(&b->r) & 0x7f00 & ~0x8000); /* FSW: condition codes and TOP, no exception */
	x[4] = (uint8_t)rnd(&b->r);
	*(uint32_t *)(x + 24) = (uint32_t)(rnd(&b->r) & 0xffff);
	*(uint32_t *)(x + 28) = 0;
	if (b->has[HOLD_YMM] && cpuid_xsave_component(b->vm, 2, &off, &size))
		for (unsigned i = 0; i < size; i++)
			x[off + i] = (uint8_t)rnd(&b->r);
	memcpy(x + XSAVE_BV, &bv, 8);
}

/* An event whose delivery a path had begun: none, an interrupt, an NMI, an exception with and without an error code. */
static void make_event(struct bench *b)
{
	static const struct x86_inject exceptions[] = {
		{INJECT_EXCEPTION, VEC_DE, false, 0}, {INJECT_EXCEPTION, VEC_DB, false, 0}, {INJECT_EXCEPTION, VEC_UD, false, 0},
		{INJECT_EXCEPTION, VEC_NM, false, 0}, {INJECT_EXCEPTION, VEC_GP, true, 0},  {INJECT_EXCEPTION, VEC_PF, true, 0},
		{INJECT_EXCEPTION, VEC_NP, true, 0},  {INJECT_EXCEPTION, VEC_SS, true, 0},  {INJECT_EXCEPTION, VEC_AC, true, 0},
	};
	struct vcpu *v = b->v;
	struct rng *r = &b->r;

	switch (rnd(r) % 8) {
	case 0:
		v->inject = (struct x86_inject){.kind = INJECT_INTERRUPT, .vector = (uint8_t)(32 + rnd(r) % 224)};
		break;
	case 1:
		if (b->has[HOLD_NMI])
			v->inject = (struct x86_inject){.kind = INJECT_NMI, .vector = VEC_NMI};
		break;
	case 2:
		/* real mode pushes no error code (SDM 3A 20.1.4), and KVM asks about that */
		if (!b->has[HOLD_EXCEPTION])
			break;
		v->inject = exceptions[rnd(r) % ARRAY_LEN(exceptions)];
		if (vcpu_real_mode(v))
			v->inject.has_error = false;
		else if (v->inject.has_error)
			v->inject.error = v->inject.vector == VEC_AC ? 0 : (uint32_t)(rnd(r) & 0xfff8);
		break;
	}
}

/* The local APIC with its timer, and interrupts that wait: IF, or CR8, keeps them from being delivered here. */
static void make_apic(struct bench *b)
{
	static const uint16_t lvt[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};
	struct vcpu *v = b->v;
	struct rng *r = &b->r;

	lapic_reset(v->lapic);
	lapic_mmio_write(v->lapic, 0xf0, 4, 0x1ff);
	lapic_mmio_write(v->lapic, 0xd0, 4, rnd(r) & 0xff000000u);
	lapic_mmio_write(v->lapic, 0xe0, 4, rnd(r) & 1 ? 0xffffffffu : 0x0fffffffu);
	for (unsigned i = 0; i < ARRAY_LEN(lvt); i++)
		lapic_mmio_write(v->lapic, lvt[i], 4, (16 + rnd(r) % 240) | (rnd(r) & 0x10000));
	lapic_mmio_write(v->lapic, 0x320, 4, (16 + rnd(r) % 240) | (rnd(r) & 0x30000));
	lapic_mmio_write(v->lapic, 0x3e0, 4, rnd(r) & 0xb);
	lapic_mmio_write(v->lapic, 0x380, 4, (uint32_t)rnd(r)); /* the machine's clock stands: no count is lost */
	lapic_mmio_write(v->lapic, 0x310, 4, rnd(r) & 0xff000000u);
	lapic_set_cr8(v->lapic, (uint8_t)(rnd(r) & 15));
	for (unsigned i = rnd(r) % 4; i--;) {
		unsigned top = v->regs.rflags & FL_IF ? (lapic_cr8(v->lapic) + 1u) * 16 : 256;

		if (top > 16)
			lapic_deliver(v->lapic, (uint8_t)(16 + rnd(r) % (top - 16)), rnd(r) & 1);
	}
}

static void make_state(struct bench *b, enum mode m)
{
	struct vcpu *v = b->v;
	struct x86_regs *g = &v->regs;
	struct rng *r = &b->r;

	vcpu_reset(v, false);
	for (unsigned i = 0; i < 16; i++)
		g->gpr[i] = rnd(r);
	g->rip = m == MODE_REAL ? rnd(r) & 0xffff : m == MODE_LONG || m == MODE_USER ? canonical(rnd(r)) : (uint32_t)rnd(r);
	g->rflags = FL_ONE | (rnd(r) & (FL_ARITH | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_ID));
	make_control(b, m);
	make_segments(b, m);
	g->gdtr = (struct x86_dtable){.base = m >= MODE_LONG ? canonical(rnd(r)) : (uint32_t)rnd(r), .limit = (uint16_t)rnd(r)};
	g->idtr = (struct x86_dtable){.base = m >= MODE_LONG ? canonical(rnd(r)) : (uint32_t)rnd(r), .limit = (uint16_t)rnd(r)};
	for (unsigned i = 0; i < 4; i++)
		g->dr[i] = canonical(rnd(r));
	g->dr[6] = DR6_FIXED | (rnd(r) & (0xf | DR6_BS | DR6_BD));
	g->dr[7] = DR7_FIXED | (rnd(r) & 0xffff03ffull);
	g->star = rnd(r);
	g->lstar = canonical(rnd(r));
	g->cstar = canonical(rnd(r));
	g->fmask = (uint32_t)rnd(r);
	g->kernel_gs_base = canonical(rnd(r));
	g->sysenter_cs = (uint16_t)rnd(r);
	g->sysenter_esp = b->has[HOLD_SYSENTER64] ? canonical(rnd(r)) : (uint32_t)rnd(r);
	g->sysenter_eip = b->has[HOLD_SYSENTER64] ? canonical(rnd(r)) : (uint32_t)rnd(r);
	g->tsc_aux = b->has[HOLD_TSC_AUX] ? (uint32_t)rnd(r) : 0;
	for (unsigned i = 0; i < 8; i++)
		((uint8_t *)&g->pat)[i] = "\0\1\4\5\6\7"[rnd(r) % 6];
	make_vectors(b);
	v->int_shadow = b->has[HOLD_SHADOW] && (rnd(r) & 1);
	v->nmi_blocked = rnd(r) & 1;
	atomic_store(&v->nmi_pending, v->nmi_blocked && (rnd(r) & 1)); /* one that waits for the IRET of another */
	make_event(b);
	make_apic(b);
	/* the rows that have no field: the machine's table, which no path may touch */
	for (unsigned i = 0; i < msr_slots(); i++)
		v->msr[i] = rnd(r);
}

/* ---- there and back ---- */

struct image {
	struct x86_regs regs;
	bool shadow, nmi_blocked, nmi_pending;
	struct x86_inject inject;
	uint8_t cr8;
	uint32_t apic[APIC_REGS];
	uint64_t msr[MSRS_MAX];
};

static void take(const struct vcpu *v, struct image *i)
{
	memset(i, 0, sizeof(*i));
	i->regs = v->regs;
	memset(i->regs.xsave + 28, 0, 4); /* MXCSR_MASK is the processor's, XRSTOR does not load it */
	i->shadow = v->int_shadow;
	i->nmi_blocked = v->nmi_blocked;
	i->nmi_pending = atomic_load(&v->nmi_pending);
	i->inject = v->inject;
	i->cr8 = lapic_cr8(v->lapic);
	for (unsigned k = 0; k < APIC_REGS; k++)
		i->apic[k] = (uint32_t)lapic_mmio_read(v->lapic, 16 * k, 4);
	memcpy(i->msr, v->msr, msr_slots() * sizeof(i->msr[0]));
}

/* Into the path and out again, without an instruction. */
static bool pass(struct bench *b, enum path_id p, struct exit *x)
{
	struct vcpu *v = b->v;
	const struct exec_ops *ops = b->vm->paths[p];

	v->ops = ops;
	atomic_store(&v->request, REQ_EXIT);
	if (p == PATH_KVM) {
		if (!kvm_load(kvm_cpu(v), x))
			return false;
		kvm_cpu(v)->unfinished = true;
	}
	ops->run(v, x);
	vcpu_vec_sync(v);
	if (ops->pull)
		ops->pull(v);
	return x->reason == EXIT_KICK;
}

static const struct {
	const char *name;
	size_t off, bytes;
} fields[] = {
#define F(f) {#f, offsetof(struct x86_regs, f), sizeof(((struct x86_regs *)0)->f)}
	F(gpr),	 F(rip),   F(rflags), F(seg),	 F(ldtr),     F(tr),	     F(gdtr.base),     F(gdtr.limit),	F(idtr.base),
	F(idtr.limit), F(cr0),	   F(cr2),    F(cr3),	 F(cr4),      F(xcr0),	     F(efer),	       F(dr),		F(star),
	F(lstar), F(cstar), F(fmask),  F(kernel_gs_base), F(sysenter_cs), F(sysenter_esp), F(sysenter_eip), F(tsc_aux), F(pat),
	F(tsc_offset), F(xsave),
#undef F
};

static unsigned compare(const struct image *want, const struct image *got, bool pae, const char *where)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const uint8_t *a = (const uint8_t *)&want->regs + fields[i].off, *b = (const uint8_t *)&got->regs + fields[i].off;

		for (size_t k = 0; k < fields[i].bytes; k++) {
			if (a[k] == b[k])
				continue;
			printf("%s: %s differs at byte %zu: %02x, not %02x\n", where, fields[i].name, k, b[k], a[k]);
			bad++;
			break;
		}
	}
	if (pae && memcmp(want->regs.pdpte, got->regs.pdpte, sizeof(got->regs.pdpte)))
		bad++, printf("%s: PDPTEs differ\n", where);
	if (want->shadow != got->shadow || want->nmi_blocked != got->nmi_blocked || want->cr8 != got->cr8 ||
	    want->nmi_pending != got->nmi_pending)
		bad++, printf("%s: shadow %d %d, NMI blocking %d %d, NMI waits %d %d, CR8 %d %d\n", where, want->shadow, got->shadow,
			      want->nmi_blocked, got->nmi_blocked, want->nmi_pending, got->nmi_pending, want->cr8, got->cr8);
	for (unsigned i = 0; i < APIC_REGS; i++)
		if (want->apic[i] != got->apic[i])
			bad++, printf("%s: local APIC register %x is %x, not %x\n", where, 16 * i, got->apic[i], want->apic[i]);
	if (memcmp(want->msr, got->msr, sizeof(got->msr)))
		bad++, printf("%s: the table of MSRs differs\n", where);
	if (want->inject.kind != got->inject.kind || (want->inject.kind && (want->inject.vector != got->inject.vector ||
									     want->inject.has_error != got->inject.has_error ||
									     want->inject.error != got->inject.error)))
		bad++, printf("%s: the event half delivered is %d %d, not %d %d\n", where, got->inject.kind, got->inject.vector,
			      want->inject.kind, want->inject.vector);
	return bad;
}

static void round_trip(struct bench *b, enum mode m, struct tally *t)
{
	static const enum path_id way[] = {PATH_KVM, PATH_BT, PATH_INTERP, PATH_KVM};
	struct image want, got;
	struct x86_inject inject;
	struct exit x;
	unsigned bad = 0;

	make_state(b, m);
	take(b->v, &want);
	for (unsigned i = 0; i < sizeof(way) / sizeof(way[0]) && !bad; i++) {
		/* bt and interp would deliver it, and that is what they are for; here only its way is of interest */
		inject = b->v->inject;
		if (way[i] != PATH_KVM)
			b->v->inject.kind = INJECT_NONE;
		if (!pass(b, way[i], &x)) {
			bad = 1;
			printf("mode %d, path %s: %s\n", m, b->vm->paths[way[i]]->name, x.text);
		}
		if (way[i] != PATH_KVM)
			b->v->inject = inject;
		take(b->v, &got);
		bad += compare(&want, &got, m == MODE_PAE, b->vm->paths[way[i]]->name);
	}
	if (bad)
		printf("mode %d\n", m);
	EQ(bad, 0);
}

/* Does this host keep it? Asked with the plainest state that has it. */
static bool keeps(struct bench *b, enum holds h)
{
	struct image want, got;
	struct exit x;

	memset(b->has, 0, sizeof(b->has));
	b->has[h] = true;
	make_state(b, h == HOLD_PAGING32 ? MODE_PAE : MODE_LONG);
	b->v->int_shadow = h == HOLD_SHADOW;
	b->v->inject = h == HOLD_NMI	     ? (struct x86_inject){.kind = INJECT_NMI, .vector = VEC_NMI}
		       : h == HOLD_EXCEPTION ? (struct x86_inject){INJECT_EXCEPTION, VEC_GP, true, 0x28}
					     : (struct x86_inject){0};
	take(b->v, &want);
	if (!pass(b, PATH_KVM, &x))
		return false;
	take(b->v, &got);
	return !memcmp(&want.regs.xcr0, &got.regs.xcr0, 8) && want.regs.cr0 == got.regs.cr0 && want.shadow == got.shadow &&
	       want.regs.tsc_aux == got.regs.tsc_aux && want.regs.sysenter_esp == got.regs.sysenter_esp && want.inject.kind == got.inject.kind &&
	       want.inject.vector == got.inject.vector && want.inject.error == got.inject.error;
}

/* ---- machines ---- */

static struct vm *bench_vm(struct bench *b, char *file, struct exec_ops *ops, struct error *e)
{
	struct vm_config cfg = {.path = PATH_BT,
				.memory_bytes = 32ull << 20,
				.ncpus = 1,
				.debug_exit_port = -1,
				.flat = file,
				.flat_addr = 0x7c00,
				.kvm_trust = true,
				.kvm_sys = b->fake ? &b->fake->sys : NULL};
	int fd;

	strcpy(file, "/tmp/steelyard-switch-XXXXXX");
	fd = mkstemp(file);
	if (fd < 0 || write(fd, "\xf4", 1) != 1)
		abort();
	close(fd);
	if (vm_create(&b->vm, &cfg, e) != ST_OK)
		return NULL;
	*ops = kvm_ops;
	if (b->fake)
		ops->available = fake_kvm_available;
	b->vm->paths[PATH_KVM] = ops;
	return b->vm;
}

static bool begin(struct bench *b, struct error *e)
{
	struct vm *vm = b->vm;

	if (msr_slots() > MSRS_MAX)
		return error_set(e, ST_TOO_BIG, "MSRS_MAX is below %u", msr_slots()), false;
	b->v = vm->vcpu[0];
	b->v->tid = gettid();
	for (unsigned p = 0; p < PATH_COUNT; p++) {
		if (p == PATH_HYBRID) /* bt holds its state */
			continue;
		if (vm->paths[p]->available(e) != ST_OK)
			return false;
		if (!(vm->paths_begun & 1u << p) && vm_path_begin(vm, (enum path_id)p, e) != ST_OK)
			return false;
		vm->paths_begun |= 1u << p;
		if (vm->paths[p]->vcpu_init(b->v, e) != ST_OK)
			return false;
	}
	return vm->paths[PATH_KVM]->world_enter(vm, e) == ST_OK;
}

static void finish(struct bench *b)
{
	for (unsigned p = PATH_COUNT; p-- > 0;)
		if (b->v && (b->vm->paths_begun & 1u << p))
			b->vm->paths[p]->vcpu_fini(b->v);
	vm_destroy(b->vm);
}

static void test_on(struct fake_kvm *fake, struct tally *t)
{
	struct bench b = {.fake = fake, .r = {0x9e3779b97f4a7c15u}};
	const char *name = fake ? "a KVM that keeps state" : "the host's KVM";
	struct exec_ops ops;
	struct error e = {0};
	bool has[HOLD_COUNT];
	char file[40];

	if (!bench_vm(&b, file, &ops, &e) || (!fake && ops.available(&e) != ST_OK)) {
		printf("SKIP %s: %s\n", name, e.msg);
		vm_destroy(b.vm);
		unlink(file);
		return;
	}
	unlink(file);
	if (!begin(&b, &e)) {
		printf("%s: %s\n", name, e.msg);
		TRUE(false);
	} else {
		for (unsigned i = 0; i < HOLD_COUNT; i++)
			has[i] = keeps(&b, (enum holds)i);
		has[HOLD_SSE] |= has[HOLD_YMM];
		memcpy(b.has, has, sizeof(has));
		/* the one played by the test holds all of it: what is lost there is lost by us */
		for (unsigned i = 0; i < HOLD_COUNT && fake; i++)
			TRUE(has[i]);
		for (unsigned i = 0; i < HOLD_COUNT; i++)
			if (!has[i])
				printf("SKIP %s does not hold %s\n", name, held[i]);
		for (unsigned i = 0; i < STATES; i++)
			round_trip(&b, (enum mode)(i % MODE_COUNT), t);
	}
	finish(&b);
}

int main(void)
{
	struct tally tally = {0};
	static const unsigned long none = 0;
	struct fake_kvm *fake = malloc(sizeof(*fake));

	setvbuf(stdout, NULL, _IOLBF, 0);
	fake_kvm_init(fake);
	fake->fail = none;
	test_on(fake, &tally);
	test_on(NULL, &tally);
	free(fake);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
