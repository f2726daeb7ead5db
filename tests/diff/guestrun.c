/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cases on an execution path: a machine of one vCPU whose paging shows the case the same linear addresses as the native
 * child has, at CPL 3, with the selectors of a Linux process and the same local descriptor table.
 *
 * Every vector of the IDT leads to a HLT of its own at CPL 0, so each case is one ops->run: it ends with EXIT_HLT, RIP says
 * which vector it was and the kernel stack holds what the processor pushed. 64-bit cases run under 4-level paging, 32- and
 * 16-bit cases either so too, in compatibility mode, or in legacy protected mode under PAE paging (with NX, so that error
 * codes are the native ones).
 *
 * A path may keep per-thread state, so each guestrun has a thread; guestrun_batch hands it a batch and guestrun_wait waits.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/vm.h"
#include "tests/diff/diff.h"
#include "translator/rows.h"

#define KERNEL_BASE 0xc0000000u /* linear address of the first 64 KiB of RAM */
#define GDT_GPA 0x1000u
#define IDT_GPA 0x2000u
#define LDT_GPA 0x1800u
#define TSS_GPA 0x3000u
#define HANDLER_GPA 0x4000u	/* 16 bytes a vector */
#define STACK_TOP_GPA 0x7000u
#define TABLE_GPA 0x20000u
#define CODE_GPA 0x100000u
#define DATA_GPA 0x200000u

struct guestrun {
	const struct exec_ops *ops;
	unsigned mode;
	bool lng; /* long mode: for 64-bit code, or compatibility mode */
	struct vm *vm;
	uint8_t *ram;
	uint32_t next_table;
	struct x86_regs fresh;

	pthread_t thread;
	bool thread_started, quit;
	sem_t go, done;
	enum status init;
	struct error err;
	const struct dcase *cases;
	struct dout *outs;
	unsigned count;
	_Atomic unsigned at; /* for the watchdog */
};

/* ---- page tables ---- */
static uint64_t *table(struct guestrun *g, uint64_t gpa)
{
	return (uint64_t *)(g->ram + gpa);
}

static void map_page(struct guestrun *g, uint64_t lin, uint64_t gpa, uint64_t flags)
{
	uint64_t t = TABLE_GPA;
	unsigned top = g->lng ? 4 : 3;

	for (unsigned level = top; level > 1; level--) {
		uint64_t *e = &table(g, t)[(lin >> (12 + 9 * (level - 1))) & 511];

		if (!*e) {
			/* a PAE PDPTE has no rights (SDM 3A table 4-8) */
			*e = g->next_table | (level == 3 && top == 3 ? PTE_P : PTE_P | PTE_W | PTE_U | PTE_A);
			g->next_table += 4096;
		}
		t = *e & 0xfffff000;
	}
	table(g, t)[(lin >> 12) & 511] = gpa | flags | PTE_P | PTE_A;
}

static void build_tables(struct guestrun *g)
{
	static const uint64_t alias[] = {DATA_NORMAL, DATA_LOW, DATA_HIGH};

	g->next_table = TABLE_GPA + 4096;
	for (unsigned i = 0; i < 16; i++)
		map_page(g, KERNEL_BASE + 4096u * i, 4096u * i, PTE_W | PTE_D);
	for (unsigned i = 0; i < CODE_BYTES / 4096; i++)
		map_page(g, CODE_BASE + 4096u * i, CODE_GPA + 4096u * i, PTE_U);
	for (unsigned a = 0; a < (g->lng ? 3 : 2); a++)
		for (unsigned p = 1; p <= 3; p++)
			map_page(g, alias[a] + 4096 * p, DATA_GPA + 4096 * p, PTE_U | PTE_NX | (p < 3 ? PTE_W | PTE_D : 0));
}

/* ---- descriptors ---- */
static struct x86_seg segment(uint16_t sel, unsigned attr)
{
	return (struct x86_seg){.sel = sel, .attr = (uint16_t)attr, .limit = 0xffffffff};
}

/* What loading a selector makes of it. */
static struct x86_seg loaded(uint16_t sel)
{
	const struct x86_seg *row = sel & ~3 ? seg_find(sel) : NULL;
	struct x86_seg s = row ? *row : (struct x86_seg){.sel = sel};

	s.sel = sel;
	return s;
}

static void put_descriptor(struct guestrun *g, const struct x86_seg *s)
{
	uint64_t limit = s->attr & SA_G ? s->limit >> 12 : s->limit, base = s->base;
	uint64_t d = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(s->attr & 0xff) << 40 | (limit >> 16 & 15) << 48 |
		     (uint64_t)(s->attr >> 8 & 15) << 52 | (base >> 24 & 0xff) << 56;

	memcpy(g->ram + (s->sel & 4 ? LDT_GPA : GDT_GPA) + (s->sel & ~7u), &d, 8);
}

static void build_system(struct guestrun *g)
{
	struct x86_regs *r = &g->fresh;
	uint32_t stack = KERNEL_BASE + STACK_TOP_GPA;
	struct x86_seg seg[] = {
		segment(0x08, 0x9b | SA_DB | SA_G),
		segment(0x10, 0x9b | SA_L | SA_G),
		segment(0x18, 0x93 | SA_DB | SA_G),
	};
	struct x86_seg tss = {.sel = 0x40, .attr = 0x8b, .limit = 0x67, .base = KERNEL_BASE + TSS_GPA};

	for (unsigned i = 0; i < sizeof(seg) / sizeof(seg[0]); i++)
		put_descriptor(g, &seg[i]);
	for (unsigned i = 0; i < seg_row_count; i++)
		put_descriptor(g, &seg_rows[i]);
	put_descriptor(g, &tss);
	if (g->lng) {
		uint64_t rsp0 = stack;

		memcpy(g->ram + TSS_GPA + 4, &rsp0, 8);
	} else {
		uint32_t ss0 = 0x18;

		memcpy(g->ram + TSS_GPA + 4, &stack, 4);
		memcpy(g->ram + TSS_GPA + 8, &ss0, 4);
	}
	g->ram[TSS_GPA + 0x66] = 0x68; /* the I/O permission map is beyond the limit */
	for (unsigned v = 0; v < 256; v++) {
		uint64_t target = KERNEL_BASE + HANDLER_GPA + 16 * v;
		/* Linux lets user code call #BP and #OF */
		uint64_t attr = v == VEC_BP || v == VEC_OF ? 0xee : 0x8e, sel = g->lng ? 0x10 : 0x08;
		uint64_t gate = (target & 0xffff) | sel << 16 | attr << 40 | (target >> 16 & 0xffff) << 48;

		memcpy(g->ram + IDT_GPA + v * (g->lng ? 16 : 8), &gate, 8);
		g->ram[HANDLER_GPA + 16 * v] = 0xf4;
		g->ram[HANDLER_GPA + 16 * v + 1] = 0xeb;
		g->ram[HANDLER_GPA + 16 * v + 2] = 0xfd;
	}
	r->tr = tss;
	r->ldtr = (struct x86_seg){.sel = 0x50, .attr = 0x82, .limit = LDT_LIMIT, .base = KERNEL_BASE + LDT_GPA};
	put_descriptor(g, &r->ldtr);
	r->gdtr = (struct x86_dtable){.base = KERNEL_BASE + GDT_GPA, .limit = 127};
	r->idtr = (struct x86_dtable){.base = KERNEL_BASE + IDT_GPA, .limit = (uint16_t)(256 * (g->lng ? 16 : 8) - 1)};
	r->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	r->cr3 = TABLE_GPA;
	r->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE | CR4_UMIP;
	r->efer = EFER_NXE | (g->lng ? EFER_SCE | EFER_LME | EFER_LMA : 0);
	r->xcr0 = 7;
	if (!g->lng)
		for (unsigned i = 0; i < 4; i++)
			r->pdpte[i] = table(g, TABLE_GPA)[i];
}

/* ---- one case ---- */
static uint64_t stack_word(const struct guestrun *g, uint64_t *sp)
{
	uint64_t v = 0, gpa = *sp - KERNEL_BASE;
	unsigned n = g->lng ? 8 : 4;

	if (gpa <= 0x10000 - n)
		memcpy(&v, g->ram + gpa, n);
	*sp += n;
	return v;
}

/* Runs to the exception that ends the case; false: to something else. */
static bool run_to_handler(struct guestrun *g, struct vcpu *v, struct dout *o)
{
	struct exit x = {.reason = EXIT_KICK};
	uint64_t vector;

	v->run_state = VCPU_RUNNABLE;
	for (unsigned tries = 0; tries < 8 && x.reason == EXIT_KICK; tries++) {
		atomic_store(&v->request, 0);
		v->in_guest = true;
		g->ops->run(v, &x);
		v->in_guest = false;
	}
	vector = (v->regs.rip - 1 - (KERNEL_BASE + HANDLER_GPA)) / 16;
	o->ran = x.reason == EXIT_HLT && vector < 256;
	o->vector = (uint8_t)vector;
	if (!o->ran)
		snprintf(o->text, sizeof(o->text), "exit %d at rip %#llx: %.60s", x.reason, (unsigned long long)v->regs.rip,
			 x.reason == EXIT_HLT ? "hlt" : x.text);
	return o->ran;
}

/* The state that the exception interrupted: what it pushed, and what it left in registers. */
static void store_registers(const struct guestrun *g, const struct x86_regs *r, struct dout *o)
{
	uint64_t sp = r->gpr[R_SP];

	o->error = 0;
	if (o->vector == VEC_DF || (o->vector >= VEC_TS && o->vector <= VEC_PF) || o->vector == VEC_AC)
		o->error = (uint32_t)stack_word(g, &sp);
	memcpy(o->st.gpr, r->gpr, sizeof(o->st.gpr));
	o->st.rip = stack_word(g, &sp);
	o->st.seg[SEG_CS] = (uint16_t)stack_word(g, &sp);
	o->st.rflags = stack_word(g, &sp);
	o->st.gpr[R_SP] = stack_word(g, &sp);
	o->st.seg[SEG_SS] = (uint16_t)stack_word(g, &sp);
	o->st.seg[SEG_DS] = r->seg[SEG_DS].sel;
	o->st.seg[SEG_ES] = r->seg[SEG_ES].sel;
	o->st.seg[SEG_FS] = r->seg[SEG_FS].sel;
	o->st.seg[SEG_GS] = r->seg[SEG_GS].sel;
	o->st.fs_base = r->seg[SEG_FS].base;
	o->st.gs_base = r->seg[SEG_GS].base;
}

/* A #DB on the way through a case that single-steps: back to where it came from. */
static bool store_step(struct x86_regs *r, const struct dcase *c, struct dout *o)
{
	if (o->vector != VEC_DB || o->steps >= c->steps)
		return false;
	o->step_rip[o->steps] = o->st.rip;
	o->step_hash[o->steps++] = step_hash(c, &o->st);
	r->gpr[R_SP] = o->st.gpr[R_SP];
	r->rip = o->st.rip;
	r->rflags = o->st.rflags & ~(uint64_t)(FL_NT | FL_ID); /* a signal return does not write them */
	r->seg[SEG_CS] = loaded(o->st.seg[SEG_CS]);
	r->seg[SEG_SS] = loaded(o->st.seg[SEG_SS]);
	return true;
}

static void run_case(struct guestrun *g, struct vcpu *v, const struct dcase *c, struct dout *o)
{
	struct x86_regs *r = &v->regs;
	unsigned first, n = case_window_part(c, &first);
	uint8_t *win = g->ram + DATA_GPA + 4096u * (c->window + 1u) - WIN_BYTES / 2 + first;

	memcpy(r->gpr, c->in.gpr, sizeof(r->gpr));
	r->rip = c->in.rip;
	r->rflags = c->in.rflags;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		r->seg[i] = loaded(c->in.seg[i]);
	if (c->mode == 64) {
		r->seg[SEG_FS].base = c->in.fs_base;
		r->seg[SEG_GS].base = c->in.gs_base;
	}
	r->cr2 = 0;
	r->dr[6] = 0xffff0ff0;
	xsave_from_state(r->xsave, &c->in);
	memcpy(win, c->in.mem + first, n);
	v->int_shadow = false;
	v->delivering = false;
	o->skip = false;
	o->bases = true;
	o->steps = 0;
	do {
		if (!run_to_handler(g, v, o)) {
			vcpu_vec_sync(v);
			return;
		}
		store_registers(g, r, o);
	} while (store_step(r, c, o));
	vcpu_vec_sync(v);
	o->cr2 = o->vector == VEC_PF ? r->cr2 : 0;
	memcpy(o->st.mem + first, win, n);
	xsave_to_state(r->xsave, &o->st);
}

static void run_batch(struct guestrun *g, struct vcpu *v)
{
	for (unsigned i = 0; i < g->count; i++)
		if (i == 0 || g->cases[i].slot != g->cases[i - 1].slot)
			memcpy(g->ram + CODE_GPA + g->cases[i].slot * SLOT_BYTES, g->cases[i].code, SLOT_BYTES);
	if (g->ops->mem_dirty)
		g->ops->mem_dirty(g->vm, CODE_GPA, CODE_BYTES);
	for (unsigned i = 0; i < g->count; i++) {
		atomic_store(&g->at, i);
		run_case(g, v, &g->cases[i], &g->outs[i]);
	}
}

static void wait_sem(sem_t *s)
{
	while (sem_wait(s))
		;
}

static void *guest_thread(void *arg)
{
	struct guestrun *g = arg;
	struct vcpu *v = g->vm->vcpu[0];

	v->tid = gettid();
	g->init = g->ops->vcpu_init(v, &g->err);
	if (g->init == ST_OK) {
		struct x86_regs *r = &v->regs;

		r->ldtr = g->fresh.ldtr;
		r->tr = g->fresh.tr;
		r->gdtr = g->fresh.gdtr;
		r->idtr = g->fresh.idtr;
		r->cr0 = g->fresh.cr0;
		r->cr3 = g->fresh.cr3;
		r->cr4 = g->fresh.cr4;
		r->efer = g->fresh.efer;
		r->xcr0 = g->fresh.xcr0;
		memcpy(r->pdpte, g->fresh.pdpte, sizeof(r->pdpte));
	}
	sem_post(&g->done);
	for (wait_sem(&g->go); !g->quit; wait_sem(&g->go)) {
		run_batch(g, v);
		sem_post(&g->done);
	}
	if (g->init == ST_OK && g->ops->vcpu_fini)
		g->ops->vcpu_fini(v);
	v->tid = 0;
	return NULL;
}

/* vm_create loads something: one page of HLT. */
static int dummy_image(void)
{
	static const uint8_t page[4096] = {0xf4};
	int fd = memfd_create("diff-image", 0);

	if (fd >= 0 && write(fd, page, sizeof(page)) != (ssize_t)sizeof(page)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

struct guestrun *guestrun_start(const struct exec_ops *ops, unsigned bt_cold, unsigned mode, bool compat, bool count_rows, char *why,
				size_t why_len)
{
	struct guestrun *g = aligned_alloc(_Alignof(struct guestrun), sizeof(*g));
	char image[64];
	struct vm_config cfg = {.memory_bytes = MEM_MIN_BYTES, .ncpus = 1, .debug_exit_port = -1, .flat = image,
				.flat_addr = 0x8000, .count_rows = count_rows, .ops = ops, .bt_cold = bt_cold};
	int fd = dummy_image();
	enum status st;

	if (!g || fd < 0)
		return NULL;
	memset(g, 0, sizeof(*g));
	g->ops = ops;
	g->mode = mode;
	g->lng = mode == 64 || compat;
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
	st = vm_create(&g->vm, &cfg, &g->err);
	close(fd);
	if (st != ST_OK) {
		snprintf(why, why_len, "%s", g->err.msg);
		free(g);
		return NULL;
	}
	g->ram = g->vm->mem.ram_hva;
	build_tables(g);
	build_system(g);
	for (unsigned i = 0; i < DATA_PAGES * 4096; i++)
		g->ram[DATA_GPA + i] = (uint8_t)(i * 7 + 1);
	memset(g->ram + CODE_GPA, 0xcc, CODE_BYTES);
	clock_start(&g->vm->clock);
	sem_init(&g->go, 0, 0);
	sem_init(&g->done, 0, 0);
	if (pthread_create(&g->thread, NULL, guest_thread, g)) {
		snprintf(why, why_len, "cannot create a thread");
		guestrun_stop(g, NULL);
		return NULL;
	}
	g->thread_started = true;
	wait_sem(&g->done);
	if (g->init != ST_OK) {
		snprintf(why, why_len, "%s", g->err.msg);
		guestrun_stop(g, NULL);
		return NULL;
	}
	return g;
}

void guestrun_submit(struct guestrun *g, const struct dcase *c, unsigned count, struct dout *out)
{
	g->cases = c;
	g->count = count;
	g->outs = out;
	sem_post(&g->go);
}

void guestrun_wait(struct guestrun *g)
{
	wait_sem(&g->done);
}

unsigned guestrun_position(const struct guestrun *g)
{
	return atomic_load(&g->at);
}

uint8_t *guestrun_page(const struct guestrun *g, unsigned page)
{
	return g->ram + DATA_GPA + 4096u * page;
}

void guestrun_stop(struct guestrun *g, uint64_t *rows)
{
	if (!g)
		return;
	if (g->thread_started) {
		g->quit = true;
		sem_post(&g->go);
		pthread_join(g->thread, NULL);
	}
	if (rows)
		rows_add(rows, g->vm);
	vm_destroy(g->vm);
	free(g);
}
