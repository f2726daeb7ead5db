/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM machine of one vCPU's direct executor: memory slots, the hidden supervisor pages, the vCPU and its fixed state.
 *
 * Supervisor code there is, in all: one OUT for each vector, with the vector as the port, behind an IDT of 256 gates; and one
 * more where SYSCALL goes. On a KVM that leaves SYSCALL in ring 3 that one is never executed, since its page is the
 * supervisor's: the fetch faults.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/cpuid.h"
#include "fastpath/ring3_int.h"

#define HIDDEN_BYTES ((size_t)R3_PAGES * 4096)
#define HIDDEN_SLOT 0
#define RAM_SLOT 1
#define GIB (1ull << 30)

#define SEL_CODE0 0x10
#define SEL_TSS 0x40
#define GDT_BYTES 0x50
#define TSS_OFFSET 0x200 /* in the GDT's page */
#define TSS_LIMIT 0x67
#define OUT_IMM8 0xe6
#define JMP_SHORT 0xeb

static int vm_call(const struct ring3 *r, unsigned long request, void *arg)
{
	return r->sys->ioctl(r->sys, r->vm, request, arg);
}

static int cpu_call(const struct ring3 *r, unsigned long request, void *arg)
{
	return r->sys->ioctl(r->sys, r->fd, request, arg);
}

/* ---- memory ---- */

static int set_slot(const struct ring3 *r, unsigned slot, uint64_t gpa, uint64_t len, void *hva)
{
	struct kvm_userspace_memory_region m = {
		.slot = slot, .guest_phys_addr = gpa, .memory_size = len, .userspace_addr = (uintptr_t)hva};

	return vm_call(r, KVM_SET_USER_MEMORY_REGION, &m);
}

/* A slot that goes takes KVM's copies of all page tables with it, and the processor's TLB entries. */
bool ring3_zap(struct ring3 *r)
{
	r->resets++;
	return set_slot(r, HIDDEN_SLOT, r->map.gpa, 0, r->map.mem) == 0 && set_slot(r, HIDDEN_SLOT, r->map.gpa, HIDDEN_BYTES, r->map.mem) == 0;
}

static enum status make_memory(struct ring3 *r, struct error *e)
{
	const struct mem *mem = &r->v->vm->mem;
	uint64_t gpa, len, end = MEM_HOLE_END;

	for (unsigned i = 0; mem_ram_piece(mem, i, &gpa, &len); i++) {
		if (set_slot(r, RAM_SLOT + i, gpa, len, mem_ram(mem, gpa, len)) != 0)
			return error_errno(e, ST_NO_MEMORY, "hybrid: KVM does not take the guest's memory");
		if (gpa + len > end)
			end = gpa + len;
	}
	r->map.mem = mmap(NULL, HIDDEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->map.mem == MAP_FAILED) {
		r->map.mem = NULL;
		return error_errno(e, ST_NO_MEMORY, "hybrid: no memory for page tables");
	}
	r->map.gpa = (end + GIB - 1) & ~(GIB - 1);
	if (set_slot(r, HIDDEN_SLOT, r->map.gpa, HIDDEN_BYTES, r->map.mem) != 0)
		return error_errno(e, ST_NO_MEMORY, "hybrid: KVM does not take the page tables");
	r->map.scan = mmap(NULL, mem->ram_bytes / 4096 * sizeof(*r->map.scan), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->map.scan == MAP_FAILED) {
		r->map.scan = NULL;
		return error_errno(e, ST_NO_MEMORY, "hybrid: no memory for the map of code");
	}
	return ST_OK;
}

/* ---- the supervisor's pages ---- */

static void put_gate(struct ring3 *r, unsigned vector)
{
	uint64_t at = R3_AT(R3_STUBS) + vector * R3_STUB_BYTES, *gate = ring3_page(&r->map, R3_IDT) + (size_t)vector * 2;

	gate[0] = (at & 0xffff) | SEL_CODE0 << 16 | 0xee00ull << 32 | (at >> 16 & 0xffff) << 48;
	gate[1] = at >> 32;
}

static void put_stub(uint8_t *at, uint8_t port)
{
	const uint8_t code[R3_STUB_BYTES] = {OUT_IMM8, port, JMP_SHORT, 0x100 - R3_STUB_BYTES};

	memcpy(at, code, sizeof(code));
}

static void make_supervisor(struct ring3 *r)
{
	struct ring3_map *m = &r->map;
	uint64_t *gdt = ring3_page(m, R3_GDT), tss = R3_AT(R3_GDT) + TSS_OFFSET, stack = R3_AT(R3_STACK + 1);
	uint8_t *image = (uint8_t *)gdt + TSS_OFFSET;
	uint16_t iomap = TSS_LIMIT + 1;

	ring3_page(m, R3_PDPT)[0] = ring3_table_entry(m, R3_PD) & ~PTE_U;
	ring3_page(m, R3_PD)[0] = ring3_table_entry(m, R3_PT) & ~PTE_U;
	for (unsigned i = R3_IDT; i < R3_FREE; i++)
		ring3_page(m, R3_PT)[i] = ring3_table_entry(m, i) & ~PTE_U;
	for (unsigned i = 0; i < 256; i++) {
		put_gate(r, i);
		put_stub((uint8_t *)ring3_page(m, R3_STUBS) + (size_t)i * R3_STUB_BYTES, (uint8_t)i);
	}
	put_stub((uint8_t *)ring3_page(m, R3_LANDING), R3_PORT_LANDING);
	gdt[SEL_CODE0 / 8] = 0x00af9b000000ffffull;
	gdt[SEL_CODE0 / 8 + 1] = 0x00cf93000000ffffull;
	gdt[R3_CS32 / 8] = 0x00cffb000000ffffull;
	gdt[R3_SS / 8] = 0x00cff3000000ffffull;
	gdt[R3_CS / 8] = 0x00affb000000ffffull;
	gdt[SEL_TSS / 8] = TSS_LIMIT | (tss & 0xffffff) << 16 | 0x8bull << 40 | (tss >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = tss >> 32;
	memcpy(image + 4, &stack, sizeof(stack));
	memcpy(image + 102, &iomap, sizeof(iomap));
}

/* ---- the vCPU ---- */

static struct kvm_segment flat(unsigned selector, unsigned type, bool code64)
{
	return (struct kvm_segment){.selector = (__u16)selector,
				    .limit = 0xffffffff,
				    .type = (__u8)type,
				    .s = 1,
				    .dpl = 3,
				    .present = 1,
				    .db = !code64,
				    .l = code64,
				    .g = 1};
}

static bool make_user_state(struct ring3 *r)
{
	struct kvm_sregs *s = &r->user;

	if (cpu_call(r, KVM_GET_SREGS, s) != 0)
		return false;
	s->cs = flat(R3_CS, 0xb, true);
	s->ss = flat(R3_SS, 0x3, false);
	s->ds = s->es = s->fs = s->gs = (struct kvm_segment){.unusable = 1};
	s->ldt = (struct kvm_segment){.unusable = 1};
	s->tr = (struct kvm_segment){
		.selector = SEL_TSS, .base = R3_AT(R3_GDT) + TSS_OFFSET, .limit = TSS_LIMIT, .type = 0xb, .present = 1};
	s->gdt = (struct kvm_dtable){.base = R3_AT(R3_GDT), .limit = GDT_BYTES - 1};
	s->idt = (struct kvm_dtable){.base = R3_AT(R3_IDT), .limit = 4095};
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	return true;
}

/* SYSCALL lands with interrupts off, which tells it from a jump to the same place. */
static bool set_msrs(struct ring3 *r)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[3];
	} all = {.head.nmsrs = 3,
		 .entry = {{.index = MSR_STAR, .data = (uint64_t)SEL_CODE0 << 32 | 0x20ull << 48 | 3ull << 48},
			   {.index = MSR_LSTAR, .data = R3_AT(R3_LANDING)},
			   {.index = MSR_FMASK, .data = FL_TF | FL_IF | FL_DF | FL_AC | FL_NT}}};

	return cpu_call(r, KVM_SET_MSRS, &all) == 3;
}

static bool make_state(struct ring3 *r)
{
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = cpuid_xcr0_mask(r->v->vm)}};

	return kvm_cpuid_send(r->sys, r->fd, r->v) && make_user_state(r) && cpu_call(r, KVM_SET_XCRS, &x) == 0 && set_msrs(r);
}

enum status ring3_open(struct ring3 *r, struct error *e)
{
	enum status st;
	int bytes;

	r->dev = r->sys->open(r->sys, "/dev/kvm");
	if (r->dev < 0)
		return error_errno(e, ST_UNSUPPORTED, "path hybrid cannot run here, use --path bt: /dev/kvm");
	r->vm = r->sys->ioctl(r->sys, r->dev, KVM_CREATE_VM, NULL);
	if (r->vm < 0)
		return error_errno(e, ST_NO_MEMORY, "hybrid: KVM cannot create a machine");
	/* a processor without unrestricted guests wants four pages, between the local APIC and the ROM */
	if (vm_call(r, KVM_SET_TSS_ADDR, (void *)(uintptr_t)0xfeffd000u) != 0)
		return error_errno(e, ST_UNSUPPORTED, "hybrid: KVM cannot reserve the pages of real mode");
	st = make_memory(r, e);
	if (st != ST_OK)
		return st;
	ring3_map_init(&r->map, r->v);
	make_supervisor(r);
	r->fd = vm_call(r, KVM_CREATE_VCPU, NULL);
	bytes = r->sys->ioctl(r->sys, r->dev, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (r->fd < 0 || bytes < (int)sizeof(*r->run))
		return error_errno(e, ST_NO_MEMORY, "hybrid: KVM cannot create a vCPU");
	r->run_bytes = (size_t)bytes;
	r->run = r->sys->map(r->sys, r->fd, r->run_bytes);
	if (!r->run)
		return error_errno(e, ST_NO_MEMORY, "hybrid: cannot map KVM's vCPU");
	if (!kvm_xsave_init(&r->xsave, r->sys, r->vm))
		return error_set(e, ST_NO_MEMORY, "hybrid: no memory for a vCPU");
	if (!make_state(r))
		return error_errno(e, ST_UNSUPPORTED, "path hybrid cannot run here, use --path bt: KVM refuses the state of ring 3");
	return ST_OK;
}

void ring3_close(struct ring3 *r)
{
	if (r->run)
		r->sys->unmap(r->sys, r->run, r->run_bytes);
	kvm_xsave_fini(&r->xsave);
	if (r->fd >= 0)
		r->sys->close(r->sys, r->fd);
	if (r->vm >= 0)
		r->sys->close(r->sys, r->vm);
	if (r->dev >= 0)
		r->sys->close(r->sys, r->dev);
	if (r->map.mem)
		munmap(r->map.mem, HIDDEN_BYTES);
	if (r->map.scan)
		munmap(r->map.scan, r->v->vm->mem.ram_bytes / 4096 * sizeof(*r->map.scan));
}
