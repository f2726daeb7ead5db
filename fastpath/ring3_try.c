/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The direct executor tries the host out before it is used: the mechanisms that it rests on, each once, in a few pages of
 * its own, and the costs that the policy asks for. What "steelyard probe" says of a host is about KVM at large; this is about
 * exactly what happens here. A few milliseconds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fastpath/ring3_int.h"

/* Linear addresses of the trial: code, and two pages of data. */
#define CODE 0x400000ull
#define DATA 0x401000ull
#define TABLE_INDEX(lin) ((lin) >> 12 & 511)

#define ROUNDS 41
#define SPINS 400000u
#define INTERRUPTIONS 16u
#define SLOW 2u /* times the host's own time: then ring 3 is not run directly */

/* Pages of the trial, by hand: after it everything is forgotten. */
struct trial {
	struct ring3 *r;
	unsigned root, pdpt, pd, pt, code, data;
	const char *what; /* failed */
	struct ring3_event last;
	uint64_t rip, rax;
};

static void put(struct trial *t, unsigned table, unsigned index, unsigned page, uint64_t off)
{
	ring3_page(&t->r->map, table)[index] = ring3_table_entry(&t->r->map, page) & ~off;
}

static bool tables(struct trial *t)
{
	struct ring3_map *m = &t->r->map;

	t->root = ring3_take(m);
	t->pdpt = ring3_take(m);
	t->pd = ring3_take(m);
	t->pt = ring3_take(m);
	if (!t->pt)
		return false;
	put(t, t->root, 511, R3_PDPT, PTE_U);
	put(t, t->root, 0, t->pdpt, 0);
	put(t, t->pdpt, 0, t->pd, 0);
	put(t, t->pd, CODE >> 21, t->pt, 0);
	put(t, t->pt, TABLE_INDEX(CODE), t->code, PTE_W);
	return true;
}

/*
 * From the code's begin, with RBX at the data. KVM_RUN may come back before anything has happened, for a signal or because a page of the
 * host's had to be fetched: that says nothing about a mechanism, and it goes on where it was.
 */
static void begin(struct trial *t, struct ring3_event *ev)
{
	struct kvm_regs *g = &t->r->run->s.regs.regs;

	*g = (struct kvm_regs){.rip = CODE, .rflags = FL_ONE | FL_IF, .rbx = DATA, .rsp = DATA + 4096, .r9 = SPINS};
	ring3_send(t->r, t->root, 0, 0);
	ring3_enter(t->r, ev);
	for (unsigned i = 0; ev->stop == R3_INTERRUPTED && i < INTERRUPTIONS; i++)
		ring3_enter(t->r, ev);
	t->last = *ev;
	t->rip = g->rip;
	t->rax = g->rax;
}

static bool page_fault(const struct ring3_event *ev, uint64_t lin, uint32_t error)
{
	return ev->stop == R3_VECTOR && ev->vector == VEC_PF && ev->cr2 == lin && (ev->error & (PF_P | PF_W | PF_U)) == error;
}

static void code(struct trial *t, const void *bytes, size_t n)
{
	memcpy(ring3_page(&t->r->map, t->code), bytes, n);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_value);
	return v[ROUNDS / 2];
}

/* mov rax, [rbx]; mov esi, cs; mov edi, ss; mov [rbx], r9; syscall */
static const uint8_t touch[] = {0x48, 0x8b, 0x03, 0x8c, 0xce, 0x8c, 0xd7, 0x4c, 0x89, 0x0b, 0x0f, 0x05};
#define TOUCH_STORE 7u
#define TOUCH_SYSCALL 10u
/* 1: dec r9; jnz 1b; syscall */
static const uint8_t spin[] = {0x49, 0xff, 0xc9, 0x75, 0xfb, 0x0f, 0x05};

static bool mechanisms(struct trial *t)
{
	struct ring3_map *m = &t->r->map;
	const struct kvm_regs *g = &t->r->run->s.regs.regs;
	unsigned old = t->data, other = ring3_take(m);
	struct ring3_event ev;

	ring3_page(m, old)[0] = 1;
	ring3_page(m, other)[0] = 2;
	code(t, touch, sizeof(touch));
	t->what = "a page fault of ring 3 does not arrive as it should";
	begin(t, &ev);
	if (!page_fault(&ev, DATA, PF_U) || g->rip != CODE || ev.cs != R3_CS)
		return false;
	t->what = "an entry that has been added to the page tables is not seen";
	put(t, t->pt, TABLE_INDEX(DATA), old, PTE_W | PTE_D);
	begin(t, &ev);
	if (!page_fault(&ev, DATA, PF_U | PF_P | PF_W) || g->rip != CODE + TOUCH_STORE || g->rax != 1)
		return false;
	t->what = "ring 3 sees other segment selectors";
	if ((uint16_t)g->rsi != R3_CS || (uint16_t)g->rdi != R3_SS)
		return false;
	t->what = "SYSCALL is not noticed, or an entry that has become writable is not seen";
	put(t, t->pt, TABLE_INDEX(DATA), old, 0);
	begin(t, &ev);
	if (ev.stop != R3_SYSCALL || g->rip != CODE + TOUCH_SYSCALL || ring3_page(m, old)[0] != SPINS)
		return false;
	t->what = "new tables at another root do not take the place of the old ones";
	if (!tables(t))
		return false;
	put(t, t->pt, TABLE_INDEX(DATA), other, 0);
	begin(t, &ev);
	if (ev.stop != R3_SYSCALL || g->rax != 2)
		return false;
	t->what = "page tables are remembered although their memory went and came";
	put(t, t->pt, TABLE_INDEX(DATA), old, 0);
	if (!ring3_zap(t->r))
		return false;
	begin(t, &ev);
	return ev.stop == R3_SYSCALL && g->rax == SPINS;
}

static bool speed(struct trial *t)
{
	uint64_t own = ~0ull, direct = ~0ull;
	struct ring3_event ev;

	code(t, spin, sizeof(spin));
	for (unsigned k = 0; k < 5; k++) {
		uint64_t n = SPINS, from = ring3_cpu_ns(), used;

		__asm__ volatile("1: dec %0; jnz 1b" : "+r"(n));
		used = ring3_cpu_ns() - from;
		own = used < own ? used : own;
		from = ring3_cpu_ns();
		begin(t, &ev);
		if (ev.stop != R3_SYSCALL && ev.stop != R3_INTERRUPTED) {
			t->what = "a loop does not come to its end";
			return false;
		}
		used = ring3_cpu_ns() - from;
		direct = ev.stop == R3_SYSCALL && used < direct ? used : direct;
	}
	t->what = "64-bit ring 3 is not run directly but emulated, or the host is too busy to tell";
	/* the cost of going there and back is small beside the loop */
	return direct <= own * SLOW + 100000u;
}

static bool costs(struct trial *t)
{
	struct ring3 *r = t->r;
	uint64_t stay[ROUNDS], fill[ROUNDS];
	struct ring3_event ev;
	uint8_t image[XSAVE_AREA_BYTES] = {0};

	t->what = "the vector state does not go to and fro";
	code(t, touch, sizeof(touch));
	for (unsigned k = 0; k < ROUNDS; k++) {
		uint64_t from = ring3_cpu_ns();

		if (!kvm_xsave_fetch(&r->xsave, r->fd, image, sizeof(image)) || !kvm_xsave_send(&r->xsave, r->fd, image))
			return false;
		stay[k] = ring3_cpu_ns() - from;
		from = ring3_cpu_ns();
		begin(t, &ev);
		fill[k] = ring3_cpu_ns() - from;
		stay[k] += fill[k];
	}
	r->stay_ns = median(stay);
	r->fill_ns = median(fill);
	return true;
}

enum status ring3_try(struct ring3 *r, struct error *e)
{
	struct trial t = {.r = r, .code = ring3_take(&r->map), .data = ring3_take(&r->map), .what = "no pages"};
	bool ok = tables(&t) && mechanisms(&t) && speed(&t) && costs(&t);

	ring3_map_forget(&r->map);
	if (!ok)
		return error_set(e, ST_UNSUPPORTED,
				 "path hybrid cannot run here, use --path bt: in this host's KVM %s (stop %d, vector %u at %llx, RAX %llx)",
				 t.what, (int)t.last.stop, t.last.vector, (unsigned long long)t.rip, (unsigned long long)t.rax);
	if (!ring3_zap(r))
		return error_errno(e, ST_UNSUPPORTED, "hybrid: KVM does not take its memory back");
	return ST_OK;
}

/* ---- the table ---- */

static enum status available(struct error *e)
{
	int fd = kvm_sys_host.open(&kvm_sys_host, "/dev/kvm");

	if (fd < 0)
		return error_errno(e, errno == EACCES || errno == EPERM ? ST_DENIED : ST_UNSUPPORTED,
				   "path hybrid cannot run here, use --path bt (\"steelyard probe\" tells more): /dev/kvm");
	kvm_sys_host.close(&kvm_sys_host, fd);
	return ST_OK;
}

static void stop(void *direct)
{
	if (!direct)
		return;
	ring3_close(direct);
	free(direct);
}

static enum status start(struct vcpu *v, void **direct, struct error *e)
{
	struct ring3 *r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);
	enum status st;

	if (!r)
		return error_set(e, ST_NO_MEMORY, "not enough memory for a vCPU");
	memset(r, 0, sizeof(*r));
	r->v = v;
	r->sys = v->vm->cfg.kvm_sys ? v->vm->cfg.kvm_sys : &kvm_sys_host;
	r->dev = r->vm = r->fd = -1;
	st = ring3_open(r, e);
	if (st == ST_OK)
		st = ring3_try(r, e);
	if (st != ST_OK) {
		stop(r);
		return st;
	}
	*direct = r;
	return ST_OK;
}

static uint64_t stay_ns(const void *direct)
{
	return ((const struct ring3 *)direct)->stay_ns;
}

static uint64_t fill_ns(const void *direct)
{
	return ((const struct ring3 *)direct)->fill_ns;
}

const struct direct_ops ring3_direct = {
	.name = "ring3",
	.available = available,
	.start = start,
	.stop = stop,
	.unfit = ring3_unfit,
	.run = ring3_run,
	.stay_ns = stay_ns,
	.fill_ns = fill_ns,
};
