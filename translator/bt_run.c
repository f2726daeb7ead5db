/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In and out of translated code, and what generated code asks of C.
 *
 * bt_enter() -> resume: guest registers into the host's -> code -> exit_host/exit_mem: registers back into vcpu->regs, host
 * stack -> bt_service() -> resume again, until a request or an exit is pending -> leave: bt_enter returns.
 *
 * While C runs below bt_service(), vcpu->regs is exact but for the arithmetic flags, which are in bt_cpu.fl
 * (bt_flags_pull/push), and the vector state, which is still in the host's registers (vcpu_vec_sync).
 */
#include <asm/prctl.h>
#include <cpuid.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "translator/bt.h"
#include "translator/bt_int.h"
#include "translator/vec.h"

/* x87, SSE, AVX: what the guest can have (engine/cpuid.c offers no more) */
#define XSAVE_MASK 7u

#define G(n) [g##n] "i"(GS_GPR(n))
#define GPR_OPERANDS G(0), G(1), G(2), G(3), G(4), G(5), G(6), G(7), G(8), G(9), G(10), G(11), G(12), G(13)

/*
 * The four ways between C and generated code. Not C functions: they are entered by jumps. A kick that arrives between
 * bt_resume_from and bt_resume_to finds regs complete, so its handler only has to leave.
 */
BT_NAKED void bt_enter(void *host __attribute__((unused)))
{
	__asm__ volatile("push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15\n"
			 "mov %%rsp, %%gs:%c[hrsp]\n"
			 "sub $8, %%rsp\n"
			 "mov %%rdi, %%rax\n"
			 ".globl bt_resume\n.hidden bt_resume\n"
			 "bt_resume:\n"
			 "test %%rax, %%rax\n"
			 "jz bt_leave\n"
			 ".globl bt_resume_from\n.hidden bt_resume_from\n"
			 "bt_resume_from:\n"
			 "cmpl $0, %%gs:%c[req]\n"
			 "jne bt_leave\n"
			 "mov %%rax, %%gs:%c[target]\n"
			 "movzwl %%gs:%c[fl], %%eax\n"
			 "add $0x7f, %%al\n"
			 "sahf\n"
			 "mov %%gs:%c[g1], %%rcx\n"
			 "mov %%gs:%c[g2], %%rdx\n"
			 "mov %%gs:%c[g3], %%rbx\n"
			 "mov %%gs:%c[g4], %%rsp\n"
			 "mov %%gs:%c[g5], %%rbp\n"
			 "mov %%gs:%c[g6], %%rsi\n"
			 "mov %%gs:%c[g7], %%rdi\n"
			 "mov %%gs:%c[g8], %%r8\n"
			 "mov %%gs:%c[g9], %%r9\n"
			 "mov %%gs:%c[g10], %%r10\n"
			 "mov %%gs:%c[g11], %%r11\n"
			 "mov %%gs:%c[g12], %%r12\n"
			 "mov %%gs:%c[g13], %%r13\n"
			 "mov %%gs:%c[s1], %%r14\n"
			 "mov %%gs:%c[s0], %%r15\n"
			 "mov %%gs:%c[g0], %%rax\n"
			 "jmp *%%gs:%c[target]\n"
			 ".globl bt_resume_to\n.hidden bt_resume_to\n"
			 "bt_resume_to:\n"
			 "ud2\n"
			 :
			 : GPR_OPERANDS, [hrsp] "i"(GS_CPU(host_rsp)), [target] "i"(GS_CPU(target)), [fl] "i"(GS_CPU(fl)),
			   [s0] "i"(GS_CPU(s0)), [s1] "i"(GS_CPU(s1)), [req] "i"(offsetof(struct vcpu, request)));
}

BT_NAKED void bt_leave(void)
{
	__asm__ volatile("mov %%gs:%c[hrsp], %%rsp\n"
			 "pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx\n"
			 "ret\n"
			 :
			 : [hrsp] "i"(GS_CPU(host_rsp)));
}

BT_NAKED void bt_exit_host(void)
{
	__asm__ volatile("mov %%rax, %%gs:%c[g0]\n"
			 "lahf\n"
			 "seto %%al\n"
			 "mov %%ax, %%gs:%c[fl]\n"
			 "jmp 1f\n"
			 ".globl bt_exit_mem\n.hidden bt_exit_mem\n"
			 "bt_exit_mem:\n"
			 "mov %%rax, %%gs:%c[g0]\n"
			 "1:\n"
			 "mov %%rcx, %%gs:%c[g1]\n"
			 "mov %%rdx, %%gs:%c[g2]\n"
			 "mov %%rbx, %%gs:%c[g3]\n"
			 "mov %%rsp, %%gs:%c[g4]\n"
			 "mov %%rbp, %%gs:%c[g5]\n"
			 "mov %%rsi, %%gs:%c[g6]\n"
			 "mov %%rdi, %%gs:%c[g7]\n"
			 "mov %%r8, %%gs:%c[g8]\n"
			 "mov %%r9, %%gs:%c[g9]\n"
			 "mov %%r10, %%gs:%c[g10]\n"
			 "mov %%r11, %%gs:%c[g11]\n"
			 "mov %%r12, %%gs:%c[g12]\n"
			 "mov %%r13, %%gs:%c[g13]\n"
			 "mov %%r14, %%gs:%c[s1]\n"
			 "mov %%r15, %%gs:%c[s0]\n"
			 "mov %%gs:%c[hrsp], %%rsp\n"
			 "sub $8, %%rsp\n"
			 "mov %%gs:%c[self], %%rdi\n"
			 "mov %%gs:%c[arg], %%esi\n"
			 "call bt_service\n"
			 "jmp bt_resume\n"
			 :
			 : GPR_OPERANDS, [hrsp] "i"(GS_CPU(host_rsp)), [fl] "i"(GS_CPU(fl)), [s0] "i"(GS_CPU(s0)),
			   [s1] "i"(GS_CPU(s1)), [self] "i"(GS_CPU(self)), [arg] "i"(GS_CPU(arg)));
}

/* ---- vector state ---- */

static void vec_save(struct vcpu *v)
{
	uint32_t mxcsr = 0x1f80;

	__asm__ volatile("xsave64 %0" : "+m"(v->regs.xsave) : "a"(XSAVE_MASK), "d"(0) : "memory");
	/* where the host's x87 last was is no business of the guest's */
	for (unsigned k = 8; k < 24; k++)
		v->regs.xsave[k] = 0;
	/* host code gets clean upper halves, masked exceptions and an empty x87 stack */
	if (bt_cpu(v)->bt->avx)
		__asm__ volatile("vzeroupper");
	__asm__ volatile("ldmxcsr %0; fninit" : : "m"(mxcsr));
	v->vec_live = false;
}

static void vec_load(struct vcpu *v)
{
	if (v->vec_live)
		return;
	__asm__ volatile("xrstor64 %0" : : "m"(v->regs.xsave), "a"(XSAVE_MASK), "d"(0) : "memory");
	v->vec_live = true;
}

/* ---- events ---- */

void *bt_pending(struct vcpu *v, enum xr x)
{
	struct bt_cpu *cpu = bt_cpu(v);

	cpu->have_pending = true;
	cpu->pending = x == XR_HLT ? EXIT_HLT : x == XR_SHUTDOWN ? EXIT_SHUTDOWN : EXIT_CANNOT;
	return NULL;
}

void *bt_raise(struct vcpu *v)
{
	uint8_t was = vcpu_doing(v, SAMPLE_INTERP);

	v->count.bt_faults++;
	bt_flags_pull(v);
	if (event_exception(v, &v->fault) == XR_SHUTDOWN)
		bt_pending(v, XR_SHUTDOWN);
	bt_flags_push(v);
	v->doing = was;
	return NULL;
}

/* A decoded instruction at its place in a block. Returns where to go on, NULL to look up regs.rip. */
static void *callout(struct vcpu *v, struct bt_rec *r, bool end)
{
	struct bt *bt = bt_cpu(v)->bt;
	const struct bt_block *b = &bt->block[r->block];
	enum xr x;

	v->count.bt_callouts++;
	v->regs.rip = b->gva + r->guest_off;
	v->doing = SAMPLE_INTERP;
	bt_flags_pull(v);
	x = interp_exec(v, r->insn);
	bt_flags_push(v);
	v->doing = SAMPLE_DISPATCH;
	switch (x) {
	case XR_NEXT:
	case XR_JUMP:
		break;
	case XR_AGAIN:
		return NULL;
	case XR_FAULT:
		return bt_raise(v);
	default:
		return bt_pending(v, x);
	}
	if (end || !b->valid || v->regs.rip != bt_rip_behind(bt, r))
		return NULL;
	return bt_host(bt, r->next);
}

/* The interpreter does the instruction at regs.rip, which translated code has begun; b: the block that it is in, or NULL. */
static void step_begun(struct vcpu *v, const struct bt_block *b)
{
	uint8_t was = vcpu_doing(v, SAMPLE_INTERP);
	enum xr x;

	bt_flags_pull(v);
	x = b ? bt_step_in(v, b) : interp_step(v, bt_cpu(v)->interp);
	bt_flags_push(v);
	v->doing = was;
	if (x != XR_JUMP && x != XR_AGAIN)
		bt_pending(v, x);
}

/* One that has not been begun. */
static void step(struct vcpu *v)
{
	if (v->vm->cfg.count_rows)
		interp_count_next(v, bt_cpu(v)->interp);
	step_begun(v, NULL);
}

/* Requests, interrupts, the shadow of STI: whatever lies between two blocks. true: go on in the guest. */
static bool between(struct vcpu *v)
{
	struct bt_cpu *cpu = bt_cpu(v);
	uint32_t req = atomic_load(&v->request);

	if (cpu->have_pending || (req & (REQ_EXIT | REQ_LOOK)))
		return false;
	if (req) {
		atomic_fetch_and(&v->request, ~(uint32_t)(REQ_EVENT | REQ_FLUSH));
		if (req & REQ_FLUSH)
			mmu_flush_all(v);
	}
	if (v->int_shadow) { /* one instruction behind STI, MOV SS, POP SS before anything else happens */
		step(v);
		if (cpu->bt->single)
			return false;
		if (cpu->have_pending || v->int_shadow)
			return true;
	}
	if (!cpu->bt->single && vcpu_has_event(v)) {
		uint8_t was = vcpu_doing(v, SAMPLE_INTERP);
		enum xr x = XR_JUMP;

		bt_flags_pull(v);
		if (atomic_load(&v->nmi_pending) && !v->nmi_blocked) {
			atomic_store(&v->nmi_pending, false);
			x = event_nmi(v);
		} else {
			int vec = vcpu_take_interrupt(v);

			if (vec >= 0)
				x = event_interrupt(v, (uint8_t)vec);
		}
		bt_flags_push(v);
		v->doing = was;
		if (x == XR_SHUTDOWN)
			bt_pending(v, x);
		req |= REQ_EVENT;
	}
	if ((req & REQ_EVENT) || cpu->irq_waiting)
		cpu->irq_waiting = vcpu_interrupt_pending(v);
	return true;
}

/* Finds code for regs.rip, stepping through what cannot be translated. NULL: leave (request or pending exit). */
static void *dispatch(struct vcpu *v)
{
	for (;;) {
		struct bt_cpu *cpu = bt_cpu(v);
		uint32_t key;
		enum bt_miss miss;
		void *host;

		if (!between(v) || cpu->have_pending)
			return NULL;
		if (v->int_shadow)
			continue;
		if (!bt_can_run(v)) {
			step(v);
			if (cpu->bt->single)
				return NULL;
			continue;
		}
		key = bt_key(v);
		host = bt_find_host(v, key, &miss);
		if (!host && miss == BT_COLD)
			host = bt_run_cold(v, key);
		else if (!host && miss == BT_STEP)
			step(v);
		else if (!host)
			bt_raise(v);
		if (host)
			return host;
		if (cpu->bt->single)
			return NULL;
	}
}

/* An indirect branch whose target is not in the jump cache; nothing of it has been done. The dispatcher puts it there. */
static void indirect(struct vcpu *v, const struct bt_rec *r)
{
	const struct bt_block *b = &bt_cpu(v)->bt->block[r->block];
	uint64_t target = bt_cpu(v)->s0, sp = v->regs.gpr[R_SP] + (uint64_t)(int64_t)r->sp_add;

	v->count.bt_indirect_misses++;
	if (r->sp_add < 0 || ((b->key & BK_CODE64) && (uint64_t)((int64_t)(target << 16) >> 16) != target)) {
		/* CALL still has to push; a non-canonical target is the branch's own #GP */
		v->regs.rip = b->gva + r->guest_off;
		step_begun(v, b);
		return;
	}
	v->regs.rip = b->key & BK_CODE64 ? target : (uint32_t)target;
	v->regs.gpr[R_SP] = b->key & BK_CODE64 ? sp : (uint32_t)sp;
}

static void *link_service(struct vcpu *v, struct bt_link *l)
{
	const struct bt *bt = bt_cpu(v)->bt;
	uint32_t epoch = bt->epoch;
	uint32_t key = bt_key(v);
	enum bt_miss miss;
	struct bt_block *b;
	bool global;
	void *host;

	v->regs.rip = l->target;
	if (atomic_load(&v->request))
		return NULL;
	b = bt_find(v, key, true, &miss, &global);
	if (b) {
		if (bt->epoch == epoch)
			bt_link_to(v, l, b, global);
		return bt_host(bt, b->host_mem);
	}
	if (bt->single)
		return NULL;
	host = NULL;
	if (miss == BT_COLD)
		host = bt_run_cold(v, key);
	else if (miss == BT_STEP)
		step(v);
	else
		bt_raise(v);
	return host;
}

/* Called by bt_exit_*: returns the code to go on at, or 0 to leave bt_enter. */
uint64_t bt_service(struct vcpu *v, uint32_t arg)
{
	struct bt *bt = bt_cpu(v)->bt;
	uint32_t id = arg & 0x0fffffff;
	void *host = NULL;

	v->doing = SAMPLE_DISPATCH;
	switch ((enum bt_svc)(arg >> 28)) {
	case SVC_INDIRECT:
		indirect(v, &bt->rec[id]);
		break;
	case SVC_LINK:
		host = link_service(v, &bt->link[id]);
		break;
	case SVC_ACCESS:
		v->doing = SAMPLE_FILL;
		host = bt_access(v, &bt->rec[id]);
		v->doing = SAMPLE_DISPATCH;
		break;
	case SVC_CALLOUT:
		host = callout(v, &bt->rec[id], false);
		break;
	case SVC_END:
		host = callout(v, &bt->rec[id], true);
		break;
	case SVC_BOUNDARY:
		v->regs.rip = bt->block[bt->rec[id].block].gva;
		break;
	}
	if (!host && !bt->single)
		host = dispatch(v);
	if (host)
		vec_load(v);
	return (uint64_t)host;
}

/* ---- the path ---- */

static void bt_run(struct vcpu *v, struct exit *x)
{
	struct bt_cpu *cpu = bt_cpu(v);
	void *host;

	v->doing = SAMPLE_DISPATCH;
	cpu->have_pending = false;
	if (v->inject.kind != INJECT_NONE && event_inject(v) == XR_SHUTDOWN)
		bt_pending(v, XR_SHUTDOWN);
	bt_flags_push(v);
	cpu->single_left = 2;
	cpu->single_done = cpu->single_more = 0;
	for (;;) {
		host = dispatch(v);
		if (!host)
			break;
		vec_load(v);
		bt_enter(host);
		if (cpu->found)
			bt_tune_found(v);
		if (cpu->host_fault) {
			cpu->host_fault = false;
			bt_raise(v);
		}
		if (cpu->have_pending || (atomic_load(&v->request) & (REQ_EXIT | REQ_LOOK)) || cpu->bt->single)
			break;
	}
	bt_flags_pull(v);
	vcpu_vec_sync(v);
	if (cpu->have_pending) {
		x->reason = cpu->pending;
		x->text[0] = 0;
		cpu->have_pending = false;
		if (x->reason == EXIT_HLT)
			bt_rest(v);
		return;
	}
	x->reason = EXIT_KICK;
}

static bool host_has_xsave(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE);
}

static enum status bt_available(struct error *e)
{
	void *p;

#ifdef __SANITIZE_THREAD__
	/* It keeps signals back until the thread calls a function of libc's, which generated code never does; and its
	 * functions behind every load and store use vector registers. */
	return error_set(e, ST_UNSUPPORTED, "bt: ThreadSanitizer delivers no signals to generated code (use --path interp)");
#endif
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return error_errno(e, ST_UNSUPPORTED, "bt: this host does not allow memory that is both writable and executable "
						      "(use --path interp)");
	munmap(p, 4096);
	if (!__builtin_cpu_supports("sse2") || !host_has_xsave())
		return error_set(e, ST_UNSUPPORTED, "bt: this processor or kernel has no XSAVE (use --path interp)");
	return ST_OK;
}

static enum status bt_vm_init(struct vm *vm, struct error *e)
{
	struct bt *bt;
	enum status st;

	bt = mmap(NULL, sizeof(*bt), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bt == MAP_FAILED)
		return error_errno(e, ST_NO_MEMORY, "bt: cannot map %zu bytes", sizeof(*bt));
	bt->vm = vm;
	vm->path_vm[PATH_BT] = bt;
	st = bt_cache_init(bt, e);
	if (st)
		return st;
	if (!vm->codemap) {
		st = codemap_create(&vm->codemap, mem_span(&vm->mem), e);
		if (st)
			return st;
		bt->own_codemap = true;
	}
	bt->avx = __builtin_cpu_supports("avx");
	bt->bmi2 = __builtin_cpu_supports("bmi2");
	vm->codemap->ctx = bt;
	vm->codemap->written = bt_written;
	vm->codemap->marked = bt_marked;
	vm->codemap->marked_all = bt_marked_all;
	bt_signals_install();
	return ST_OK;
}

static void bt_vm_fini(struct vm *vm)
{
	struct bt *bt = vm->path_vm[PATH_BT];

	if (!bt)
		return;
	if (vm->codemap) {
		vm->codemap->written = NULL;
		vm->codemap->marked = NULL;
		vm->codemap->marked_all = NULL;
		if (bt->own_codemap) {
			codemap_free(vm->codemap);
			vm->codemap = NULL;
		}
	}
	bt_cache_fini(bt);
	munmap(bt, sizeof(*bt));
	vm->path_vm[PATH_BT] = NULL;
}

static enum status bt_vcpu_init(struct vcpu *v, struct error *e)
{
	struct bt_cpu *cpu = bt_cpu(v);
	enum status st;

	cpu->self = v;
	cpu->exit_host = (void *)bt_exit_host;
	cpu->exit_mem = (void *)bt_exit_mem;
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, v))
		return error_errno(e, ST_UNSUPPORTED, "bt: cannot set the GS base");
	st = bt_lists_init(cpu, mem_span(&v->vm->mem), e);
	if (st)
		return st;
	st = shapes_create(&cpu->shapes, e);
	if (st)
		return st;
	cpu->interp = interp_new(v);
	if (!cpu->interp || mmu_init(v))
		return error_set(e, ST_NO_MEMORY, "bt: not enough memory for a vCPU");
	v->vec_save = vec_save;
	v->vec_live = false;
	v->tlb_flushed = bt_tlb_flushed;
	cpu->bt = v->vm->path_vm[PATH_BT];
	cpu->refill = (void *)bt_refill;
	cpu->recs = cpu->bt->rec;
	cpu->cache = cpu->bt->cache;
	cpu->ram = v->vm->mem.ram_hva;
	st = bt_signals_thread(v, e);
	if (st)
		return st;
	atomic_store(&cpu->live, true);
	return ST_OK;
}

static void bt_vcpu_fini(struct vcpu *v)
{
	struct bt_cpu *cpu = bt_cpu(v);

	atomic_store(&cpu->live, false);
	/* What the lists name outlives them, in the code cache and in struct vcpu: the next thread, after a reset, has empty ones. */
	if (cpu->bt && cpu->bt->cache)
		bt_tlb_flushed(v, TLB_FLUSH_ALL, 0);
	bt_signals_thread_end(v);
	v->tlb_flushed = NULL;
	v->vec_save = NULL;
	if (cpu->interp)
		interp_free(cpu->interp);
	cpu->interp = NULL;
	shapes_free(cpu->shapes);
	cpu->shapes = NULL;
	mmu_fini(v);
	vec_free(v);
	cpu->bt = NULL;
	bt_lists_fini(cpu, mem_span(&v->vm->mem));
}

static void bt_kick(struct vcpu *v)
{
	int tid = v->tid;

	if (tid)
		syscall(SYS_tgkill, getpid(), tid, BT_KICK_SIGNAL);
}

static void bt_mem_dirty(struct vm *vm, uint64_t gpa, uint64_t len)
{
	uint64_t off = mem_ram_offset(&vm->mem, gpa);

	if (vm->codemap && off != UINT64_MAX && len)
		codemap_written(vm->codemap, NULL, off, len);
}

static uint32_t bt_code_watch(struct vcpu *v, uint64_t gpa)
{
	struct codemap *c = v->vm->codemap;
	uint64_t page = mem_ram_offset(&v->vm->mem, gpa) >> PAGE_SHIFT_4K;
	uint32_t gen = codemap_gen(c, page);

	codemap_mark(c, v, page);
	return gen;
}

static bool bt_code_watched(struct vm *vm, uint64_t gpa, uint32_t *gen)
{
	uint64_t page = mem_ram_offset(&vm->mem, gpa) >> PAGE_SHIFT_4K;

	*gen = codemap_gen(vm->codemap, page);
	return codemap_test(vm->codemap, page);
}

static uint32_t bt_code_epoch(struct vm *vm)
{
	return atomic_load(&vm->codemap->epoch);
}

const struct exec_ops bt_ops = {
	.name = "bt",
	.what = "binary translator, same ISA: runs on any x86-64 Linux without privileges",
	.available = bt_available,
	.vm_init = bt_vm_init,
	.vm_fini = bt_vm_fini,
	.vcpu_init = bt_vcpu_init,
	.vcpu_fini = bt_vcpu_fini,
	.run = bt_run,
	.kick = bt_kick,
	.mem_dirty = bt_mem_dirty,
	.dirty_start = codemap_dirty_start,
	.dirty_fetch = codemap_dirty_fetch,
	.dirty_stop = codemap_dirty_stop,
	.code_watch = bt_code_watch,
	.code_watched = bt_code_watched,
	.code_epoch = bt_code_epoch,
};
