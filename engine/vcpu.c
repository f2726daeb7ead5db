/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual processor as an object: allocation, reset, kicks, pending events, a dump for people.
 *
 * Struct, path area and nothing else come from one mmap, of which only the pages touched cost memory. A kick is a bit
 * in v->request and then whatever it takes that the owner looks at the word: the path's own kick while guest code runs,
 * the condition variable while the vCPU sleeps in HLT. Sleeper and kicker each write their own word before they read
 * the other's (both sequentially consistent), so one of them always sees the other and no wake-up gets lost.
 */
#include "engine/vcpu.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/board.h"
#include "engine/cpuid.h"
#include "engine/exec.h"
#include "engine/apic/lapic.h"
#include "engine/msr.h"
#include "engine/vm.h"

#define VCPU_MAP_BYTES (VCPU_PATH_AREA_OFFSET + VCPU_PATH_AREA_BYTES)
#define PAT_RESET 0x0007040600070406ull
#define MXCSR_RESET 0x1f80u
#define XSAVE_MXCSR 24
#define XSAVE_XSTATE_BV 512

struct vcpu *vcpu_alloc(struct vm *vm, unsigned id)
{
	struct vcpu *v;

	v = mmap(NULL, VCPU_MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (v == MAP_FAILED)
		return NULL;
	v->vm = vm;
	v->id = id;
	v->msr = calloc(msr_slots() + 1, sizeof(*v->msr));
	v->lapic = lapic_new(v);
	if (!v->msr || !v->lapic) {
		vcpu_free(v);
		return NULL;
	}
	pthread_mutex_init(&v->wait_lock, NULL);
	pthread_cond_init(&v->wait_cond, NULL);
	vcpu_reset(v, false);
	return v;
}

void vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	lapic_free(v->lapic);
	free(v->msr);
	munmap(v, VCPU_MAP_BYTES);
}

static void reset_segments(struct x86_regs *r)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		r->seg[i] = (struct x86_seg){.limit = 0xffff, .attr = SA_P | SA_S | SA_RW | SA_ACCESSED};
	r->seg[SEG_CS].sel = 0xf000;
	r->seg[SEG_CS].base = 0xffff0000u;
	r->seg[SEG_CS].attr |= SA_CODE;
	r->ldtr = (struct x86_seg){.limit = 0xffff, .attr = SA_P | SD_LDT};
	r->tr = (struct x86_seg){.limit = 0xffff, .attr = SA_P | SD_TSS_BUSY};
	r->gdtr = (struct x86_dtable){.limit = 0xffff};
	r->idtr = (struct x86_dtable){.limit = 0xffff};
}

/* x87 after power-on: FCW 0040H, all tags "zero", which the abridged tag byte calls in use. */
static void reset_vector_state(struct x86_regs *r)
{
	memset(r->xsave, 0, sizeof(r->xsave));
	r->xsave[0] = 0x40;
	r->xsave[4] = 0xff;
	memcpy(r->xsave + XSAVE_MXCSR, &(uint32_t){MXCSR_RESET}, 4);
	r->xsave[XSAVE_XSTATE_BV] = 3;
}

void vcpu_reset(struct vcpu *v, bool init)
{
	struct x86_regs *r = &v->regs;
	uint32_t id[4] = {0x600, 0, 0, 0};

	vcpu_vec_sync(v);
	memset(r->gpr, 0, sizeof(r->gpr));
	if (v->vm && v->vm->cpuid.n)
		cpuid_query(v, 1, 0, id);
	r->gpr[R_DX] = id[0]; /* family, model, stepping */
	r->rip = 0xfff0;
	r->rflags = FL_ONE;
	reset_segments(r);
	r->cr0 = CR0_ET | (init ? r->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW);
	r->cr2 = r->cr3 = r->cr4 = 0;
	r->efer = 0;
	memset(r->dr, 0, sizeof(r->dr));
	r->dr[6] = DR6_FIXED;
	r->dr[7] = DR7_FIXED;
	memset(r->pdpte, 0, sizeof(r->pdpte));
	if (!init) {
		r->xcr0 = 1;
		r->star = r->lstar = r->cstar = r->fmask = r->kernel_gs_base = 0;
		r->sysenter_cs = r->sysenter_esp = r->sysenter_eip = 0;
		r->tsc_aux = 0;
		r->pat = PAT_RESET;
		r->tsc_offset = v->vm ? clock_tsc_offset(&v->vm->clock) : 0;
		reset_vector_state(r);
		msr_reset(v);
		lapic_reset(v->lapic);
	} else {
		lapic_reset_init(v->lapic);
	}
	atomic_store(&v->nmi_pending, false);
	v->nmi_blocked = v->int_shadow = false;
	v->delivering = false;
	v->inject.kind = INJECT_NONE;
	/* The bootstrap processor starts at the reset vector, the others wait to be told where (SDM 3A 8.4). */
	v->run_state = v->id == 0 ? VCPU_RUNNABLE : VCPU_WAIT_SIPI;
	atomic_fetch_or(&v->request, REQ_FLUSH);
}

void vcpu_kick(struct vcpu *v, uint32_t req)
{
	uint32_t old = atomic_fetch_or(&v->request, req);
	const struct exec_ops *ops;

	__atomic_fetch_add(&v->count.kicks, 1, __ATOMIC_RELAXED);
	if (atomic_load(&v->sleeping)) {
		pthread_mutex_lock(&v->wait_lock);
		pthread_cond_broadcast(&v->wait_cond);
		pthread_mutex_unlock(&v->wait_lock);
		return;
	}
	/* A bit that was set already has its kick under way. */
	if ((old & req) == req || !__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST))
		return;
	/* the owner may just be changing its path: then it looks at the request before it runs again */
	ops = __atomic_load_n(&v->ops, __ATOMIC_SEQ_CST);
	if (ops && ops->kick)
		ops->kick(v);
}

/*
 * What processors call pause-loop exiting (SDM 3C 25.1.3), with the same two numbers in the same units: PAUSEs less than
 * a gap apart belong to one loop, and a loop that has lasted a window gives the host CPU to whoever else wants it. On an
 * idle host that is a system call of a fraction of the window; on a busy one it keeps a vCPU from spinning through its
 * time slice while the holder of the lock, or the target of the IPI, waits for a turn.
 */
#define PAUSE_GAP_TSC 1024
#define PAUSE_WINDOW_TSC 8192

void vcpu_pause(struct vcpu *v)
{
	uint64_t now = __builtin_ia32_rdtsc();

	__builtin_ia32_pause();
	if (now - v->pause_tsc > PAUSE_GAP_TSC) {
		v->spin_tsc = now;
	} else if (now - v->spin_tsc > PAUSE_WINDOW_TSC && v->vm->ncpus > 1) {
		sched_yield();
		now = v->spin_tsc = __builtin_ia32_rdtsc();
	}
	v->pause_tsc = now;
}

bool vcpu_interrupt_pending(struct vcpu *v)
{
	if (lapic_pending(v->lapic) >= 0)
		return true;
	return lapic_accepts_extint(v->lapic) && v->vm->board && board_pic_intr(v->vm);
}

bool vcpu_has_event(struct vcpu *v)
{
	if (v->int_shadow)
		return false;
	if (atomic_load_explicit(&v->nmi_pending, memory_order_relaxed) && !v->nmi_blocked)
		return true;
	return (v->regs.rflags & FL_IF) && vcpu_interrupt_pending(v);
}

int vcpu_take_interrupt(struct vcpu *v)
{
	int vec = lapic_ack(v->lapic);

	if (vec < 0 && lapic_accepts_extint(v->lapic) && v->vm->board && board_pic_intr(v->vm)) {
		vcpu_vec_sync(v);
		vec = board_pic_ack(v->vm);
	}
	return vec;
}

/* ---- for people ---- */

static void dump_seg(FILE *f, const char *name, const struct x86_seg *s)
{
	fprintf(f, "%-3s %04x base %016" PRIx64 " limit %08x attr %03x\n", name, s->sel, s->base, s->limit, s->attr);
}

static const char *mode_name(const struct vcpu *v)
{
	if (vcpu_code64(v))
		return "64-bit";
	if (vcpu_long_mode(v))
		return "compatibility";
	if (vcpu_v86(v))
		return "virtual-8086";
	return vcpu_real_mode(v) ? "real" : "protected";
}

void vcpu_dump(const struct vcpu *v, void *file)
{
	static const char gpr_name[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	static const char seg_name[SEG_COUNT][3] = {"es", "cs", "ss", "ds", "fs", "gs"};
	static const char run_name[3][10] = {"runnable", "halted", "wait-sipi"};
	const struct x86_regs *r = &v->regs;
	FILE *f = file;

	fprintf(f, "vCPU %u: %s mode, CPL %u, %s, path %s\n", v->id, mode_name(v), vcpu_cpl(v),
		run_name[v->run_state % 3], v->ops ? v->ops->name : "none");
	for (unsigned i = 0; i < 16; i++)
		fprintf(f, "%-3s %016" PRIx64 "%s", gpr_name[i], r->gpr[i], i % 4 == 3 ? "\n" : "  ");
	fprintf(f, "rip %016" PRIx64 "  rflags %08" PRIx64 "  cr0 %08" PRIx64 "  cr2 %016" PRIx64 "\n", r->rip,
		r->rflags, r->cr0, r->cr2);
	fprintf(f, "cr3 %016" PRIx64 "  cr4 %08" PRIx64 "  efer %08" PRIx64 "  cr8 %x\n", r->cr3, r->cr4, r->efer,
		lapic_cr8(v->lapic));
	for (unsigned i = 0; i < SEG_COUNT; i++)
		dump_seg(f, seg_name[i], &r->seg[i]);
	dump_seg(f, "ldt", &r->ldtr);
	dump_seg(f, "tr", &r->tr);
	fprintf(f, "gdt %016" PRIx64 ":%04x  idt %016" PRIx64 ":%04x  dr6 %08" PRIx64 "  dr7 %08" PRIx64 "\n",
		r->gdtr.base, r->gdtr.limit, r->idtr.base, r->idtr.limit, r->dr[6], r->dr[7]);
	if (v->fault.vector)
		fprintf(f, "last fault: vector %u error %x address %016" PRIx64 "\n", v->fault.vector, v->fault.error,
			v->fault.addr);
}
