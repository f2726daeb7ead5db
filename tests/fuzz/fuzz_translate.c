/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: guest code that nobody would write, on the translator. Neither a crash nor a hang of this process may come of
 * it, and no BUG_ON; a kick brings the translator back, whatever the code does.
 *
 *      byte 0   mode: real, 16-bit protected, 32-bit CPL 0 and 3, 64-bit CPL 0 and 3
 *      byte 1   options: paging off (32-bit CPL 0), IF, DF, AC with CR0.AM, CR0.TS, no SSE, nesting, IOPL 3
 *      then     code in pieces of 16 bytes, up to eight; each piece is a place to begin at, in a fresh machine
 *
 * Every vector leads to a HLT, which ends a run; else the time limit does. Where a run has ended by itself, the interpreter
 * runs the same from the same state, and general registers, control registers, segments and the memory in which data lies must
 * be the same (FUZZ_COMPARE=0 in the environment: not looked at).
 *
 * Without AddressSanitizer, because of its own nature: generated code is unknown to it, handlers run on an alternate stack
 * while RSP is the guest's, and the C code around them must leave vector registers alone, which its runtime does not. The
 * translator's signal handlers replace libFuzzer's, so a crash in the process is not reported by libFuzzer: the input that is
 * being executed is kept in the file that $FUZZ_LAST_INPUT names.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/board.h"
#include "engine/vm.h"
#include "tests/fuzz/fuzz.h"
#include "translator/insn.h"

#define PIECE 16u
#define PIECES 8u
#define RUN_NS 4000000L   /* then the run is ended by a kick */
#define KICK_NS 50000000L /* between kicks, as engine/run.c does */
#define KICKS 400u        /* then it hangs: 20 s */

/* The guest's memory: the same physical as linear addresses in every mode. */
#define GDT_GPA 0x1000u
#define IDT_GPA 0x2000u
#define TSS_GPA 0x3000u
#define HANDLER_GPA 0x4000u /* 16 bytes a vector */
#define STACK0_GPA 0x7ff0u  /* after a change of privilege */
#define TABLES_GPA 0x8000u  /* PML4, PDPT, four page directories */
#define CODE_GPA 0x10000u   /* segment 1000H in real mode */
#define DATA_GPA 0x20000u
#define DATA_BYTES 0x10000u
#define STACK_GPA 0x3fff0u
#define IMAGE_BYTES 0x40000u

#define SEL_CODE0 0x08
#define SEL_DATA0 0x10
#define SEL_CODE3 0x1b
#define SEL_DATA3 0x23
#define SEL_TSS 0x28
#define SEL_KERNEL64 0x38

enum mode { MODE_REAL, MODE_PROT16, MODE_FLAT32, MODE_USER32, MODE_LONG, MODE_USER64, MODE_COUNT };
enum {
	OPT_NO_PAGING = 1,
	OPT_IF = 2,
	OPT_DF = 4,
	OPT_AC = 8,
	OPT_TS = 16,
	OPT_NO_SSE = 32,
	OPT_NT = 64,
	OPT_IOPL = 128
};

struct input {
	enum mode mode;
	uint8_t options;
	uint8_t code[PIECE * PIECES];
	unsigned len;
};

/* One machine on one path, with its vCPU's thread. */
struct side {
	const struct exec_ops *ops;
	struct vm *vm;
	struct vcpu *v;
	pthread_t thread;
	sem_t go, done;
	struct exit x;
	enum status init;
	struct error err;
};

static bool is_long(enum mode m)
{
	return m == MODE_LONG || m == MODE_USER64;
}
static bool is_user(enum mode m)
{
	return m == MODE_USER32 || m == MODE_USER64;
}

/* ---- the machine's image ---- */

static struct x86_seg segment(uint16_t sel, unsigned attr, uint32_t base, uint32_t limit)
{
	return (struct x86_seg){.sel = sel, .attr = (uint16_t)attr, .limit = limit, .base = base};
}

static void put_descriptor(uint8_t *ram, const struct x86_seg *s)
{
	uint64_t limit = s->attr & SA_G ? s->limit >> 12 : s->limit, base = s->base;
	uint64_t d = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(s->attr & 0xff) << 40 |
		     (limit >> 16 & 15) << 48 | (uint64_t)(s->attr >> 8 & 15) << 52 | (base >> 24 & 0xff) << 56;

	memcpy(ram + GDT_GPA + (s->sel & ~7u), &d, 8);
}

/* Identity for the first 4 GiB in large pages; legacy PSE paging has them in one table. */
static void put_tables(uint8_t *ram, bool pae)
{
	uint64_t *t = (uint64_t *)(ram + TABLES_GPA);

	for (uint32_t k = 0; !pae && k < 1024; k++)
		((uint32_t *)t)[k] = k << 22 | PTE_P | PTE_W | PTE_U | PTE_PS;
	if (!pae)
		return;
	t[0] = (TABLES_GPA + 0x1000) | PTE_P | PTE_W | PTE_U;
	for (uint64_t k = 0; k < 4; k++)
		t[512 + k] = (TABLES_GPA + 0x2000 + 0x1000 * k) | PTE_P | PTE_W | PTE_U;
	for (uint64_t k = 0; k < 2048; k++)
		t[1024 + k] = k << 21 | PTE_P | PTE_W | PTE_U | PTE_PS;
}

static void put_vectors(uint8_t *ram, enum mode m)
{
	for (uint64_t n = 0; n < 256; n++) {
		uint64_t target = HANDLER_GPA + 16 * n, attr = n == VEC_BP || n == VEC_OF || n == 0x80 ? 0xee : 0x8e;
		uint64_t sel = is_long(m) ? SEL_KERNEL64 : SEL_CODE0;
		uint64_t gate = (target & 0xffff) | sel << 16 | attr << 40;
		uint32_t real = (uint32_t)target;

		memcpy(ram + target, "\xf4\xeb\xfd", 3);
		if (m == MODE_REAL)
			memcpy(ram + 4 * n, &real, 4);
		else
			memcpy(ram + IDT_GPA + n * (is_long(m) ? 16 : 8), &gate, 8);
	}
}

static void put_tss(uint8_t *ram, enum mode m)
{
	uint64_t stack = STACK0_GPA;
	uint32_t ss = SEL_DATA0;

	memcpy(ram + TSS_GPA + 4, &stack, 8);
	if (!is_long(m))
		memcpy(ram + TSS_GPA + 8, &ss, 4);
	ram[TSS_GPA + 0x66] = 0x68; /* the I/O permission map is beyond the limit */
}

static void put_protected(struct x86_regs *r, uint8_t *ram, const struct input *in)
{
	unsigned size = in->mode == MODE_PROT16 ? 0 : SA_DB, l = is_long(in->mode) ? SA_L : 0;
	uint32_t top = in->mode == MODE_PROT16 ? 0xffff : 0xffffffff, g = in->mode == MODE_PROT16 ? 0 : SA_G;
	uint32_t code_base = in->mode == MODE_PROT16 ? CODE_GPA : 0, data_base = in->mode == MODE_PROT16 ? DATA_GPA : 0;
	/* handlers are reached through SEL_CODE0: flat and 32-bit in every mode but the 64-bit ones */
	const struct x86_seg code0 = segment(SEL_CODE0, 0x9b | SA_DB | SA_G, 0, 0xffffffff);
	const struct x86_seg data0 = segment(SEL_DATA0, 0x93 | size | g, data_base, top);
	const struct x86_seg code3 = segment(SEL_CODE3, 0xfb | (l ? l : SA_DB) | SA_G, 0, 0xffffffff);
	const struct x86_seg data3 = segment(SEL_DATA3, 0xf3 | SA_DB | SA_G, 0, 0xffffffff);
	const struct x86_seg code64 = segment(SEL_KERNEL64, 0x9b | SA_L | SA_G, 0, 0xffffffff);
	const struct x86_seg code16 = segment(0x40, 0x9b, code_base, 0xffff);
	const struct x86_seg tss = {.sel = SEL_TSS, .attr = 0x8b, .limit = 0x67, .base = TSS_GPA};
	const struct x86_seg *all[] = {&code0, &data0, &code3, &data3, &code64, &code16, &tss};

	for (unsigned k = 0; k < ARRAY_LEN(all); k++)
		put_descriptor(ram, all[k]);
	put_tss(ram, in->mode);
	for (unsigned k = 0; k < SEG_COUNT; k++)
		r->seg[k] = is_user(in->mode) ? data3 : data0;
	r->seg[SEG_CS] = is_user(in->mode) ? code3 : l ? code64 : in->mode == MODE_PROT16 ? code16 : code0;
	r->tr = tss;
	r->gdtr = (struct x86_dtable){.base = GDT_GPA, .limit = 0x4f};
	r->idtr = (struct x86_dtable){.base = IDT_GPA, .limit = (uint16_t)(256 * (l ? 16 : 8) - 1)};
	r->cr0 |= CR0_PE;
	r->cr3 = TABLES_GPA;
	r->cr4 |= CR4_PSE;
	if (l) {
		r->cr4 |= CR4_PAE;
		r->efer = EFER_SCE | EFER_NXE | EFER_LME | EFER_LMA;
	}
	if (l || is_user(in->mode) || !(in->options & OPT_NO_PAGING))
		r->cr0 |= CR0_PG;
	put_tables(ram, l);
}

/* Memory and registers as every run of this input finds them. */
static void prepare(struct side *s, const struct input *in, unsigned piece)
{
	uint8_t *ram = s->vm->mem.ram_hva, o = in->options;
	struct x86_regs *r = &s->v->regs;

	pthread_mutex_lock(&s->vm->dev_lock);
	board_reset(s->vm);
	if (fallocate(s->vm->mem.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)s->vm->mem.ram_bytes))
		FUZZ_FAIL("cannot clear memory");
	pthread_mutex_unlock(&s->vm->dev_lock);
	vcpu_reset(s->v, false); /* takes the lock itself */
	memcpy(ram + CODE_GPA, in->code, in->len);
	memset(ram + CODE_GPA + in->len, 0xf4, PIECE);
	for (unsigned k = 0; k < DATA_BYTES; k++)
		ram[DATA_GPA + k] = (uint8_t)(k * 11 + (k >> 8));
	/* x87 as FNINIT leaves it: with an exception pending, the translator's FNSTENV stores its own code's address as FIP */
	r->xsave[0] = 0x7f;
	r->xsave[1] = 0x03;
	r->xsave[4] = 0;
	r->cr0 = CR0_ET | CR0_NE | CR0_MP | CR0_WP;
	r->cr4 = o & OPT_NO_SSE ? 0 : CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	r->xcr0 = o & OPT_NO_SSE ? 1 : 7;
	put_vectors(ram, in->mode);
	if (in->mode == MODE_REAL) {
		for (unsigned k = 0; k < SEG_COUNT; k++)
			r->seg[k] = segment(DATA_GPA >> 4, 0x93, DATA_GPA, 0xffff);
		r->seg[SEG_CS] = segment(CODE_GPA >> 4, 0x9b, CODE_GPA, 0xffff);
		r->seg[SEG_SS] = segment((STACK_GPA & ~0xffffu) >> 4, 0x93, STACK_GPA & ~0xffffu, 0xffff);
		r->idtr = (struct x86_dtable){.limit = 0x3ff};
	} else {
		put_protected(r, ram, in);
	}
	pthread_mutex_lock(&s->vm->dev_lock);
	if (s->ops->mem_dirty)
		s->ops->mem_dirty(s->vm, 0, s->vm->mem.ram_bytes);
	pthread_mutex_unlock(&s->vm->dev_lock);

	r->cr0 |= (o & OPT_TS ? CR0_TS : 0) | (o & OPT_AC ? CR0_AM : 0);
	r->rflags = FL_ONE | (o & OPT_IF ? FL_IF : 0) | (o & OPT_DF ? FL_DF : 0) | (o & OPT_AC ? FL_AC : 0) |
		    (o & OPT_NT ? FL_NT : 0) | (o & OPT_IOPL ? FL_IOPL : 0);
	for (unsigned k = 0; k < 16; k++)
		r->gpr[k] = in->mode <= MODE_PROT16 ? 0x1000 * k + 8 : DATA_GPA + 0x800 + 0xf00 * k;
	r->gpr[R_CX] = 3;
	r->gpr[R_SP] = in->mode == MODE_PROT16 || in->mode == MODE_REAL ? 0xfff0 : STACK_GPA;
	r->rip = (in->mode == MODE_PROT16 || in->mode == MODE_REAL ? 0 : CODE_GPA) + PIECE * piece;
	s->v->run_state = VCPU_RUNNABLE;
	s->v->int_shadow = s->v->delivering = s->v->nmi_blocked = false;
	atomic_store(&s->v->nmi_pending, false);
	atomic_store(&s->vm->outcome, VM_RUNNING);
	atomic_store(&s->v->request, REQ_FLUSH);
}

/* ---- a machine's thread ---- */

static void wait_sem(sem_t *s)
{
	while (sem_wait(s))
		;
}

/* false: not within ns. */
static bool wait_sem_for(sem_t *s, long ns)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ns;
	t.tv_sec += t.tv_nsec / 1000000000L;
	t.tv_nsec %= 1000000000L;
	while (sem_timedwait(s, &t))
		if (errno == ETIMEDOUT)
			return false;
	return true;
}

static void *side_thread(void *arg)
{
	struct side *s = arg;
	sigset_t all;

	/* libFuzzer's signals belong to its own thread: here RSP may be anything. The path opens what it wants. */
	sigfillset(&all);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	s->v->tid = gettid();
	s->init = s->ops->vcpu_init(s->v, &s->err);
	sem_post(&s->done);
	for (;;) {
		wait_sem(&s->go);
		s->x = (struct exit){.reason = EXIT_FAIL};
		s->v->in_guest = true;
		s->ops->run(s->v, &s->x);
		s->v->in_guest = false;
		vcpu_vec_sync(s->v);
		sem_post(&s->done);
	}
	return NULL;
}

static struct side *side_new(enum path_id path)
{
	struct side *s = calloc(1, sizeof(*s));
	char image[64];
	struct vm_config cfg = {.path = path,
				.memory_bytes = MEM_MIN_BYTES,
				.ncpus = 1,
				.debug_exit_port = -1,
				.flat = image,
				.flat_addr = 0x8000,
				.virtual_time = true};
	int fd = memfd_create("fuzz-image", 0);

	if (!s || fd < 0 || write(fd, "\xf4", 1) != 1)
		FUZZ_FAIL("no machine");
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
	if (vm_create(&s->vm, &cfg, &s->err) != ST_OK)
		FUZZ_FAIL("%s", s->err.msg);
	close(fd);
	cpuid_drop_random(&s->vm->cpuid);
	clock_start(&s->vm->clock);
	s->ops = exec_paths[path];
	s->v = s->vm->vcpu[0];
	sem_init(&s->go, 0, 0);
	sem_init(&s->done, 0, 0);
	if (pthread_create(&s->thread, NULL, side_thread, s))
		FUZZ_FAIL("no thread");
	wait_sem(&s->done);
	if (s->init != ST_OK)
		FUZZ_FAIL("%s", s->err.msg);
	return s;
}

/* true: it has ended by itself. */
static bool run(struct side *s)
{
	unsigned kicks = 0;

	sem_post(&s->go);
	if (!wait_sem_for(&s->done, RUN_NS)) {
		do {
			if (++kicks > KICKS)
				FUZZ_FAIL("%s does not answer a kick at rip %#llx", s->ops->name,
					  (unsigned long long)s->v->regs.rip);
			vcpu_kick(s->v, REQ_EXIT);
		} while (!wait_sem_for(&s->done, KICK_NS));
	}
	if (s->x.reason == EXIT_FAIL || s->x.reason == EXIT_CANNOT)
		FUZZ_FAIL("%s: %s at rip %#llx: %s", s->ops->name, s->x.reason == EXIT_FAIL ? "fails" : "cannot go on",
			  (unsigned long long)s->v->regs.rip, s->x.text);
	return !kicks && (s->x.reason == EXIT_HLT || s->x.reason == EXIT_SHUTDOWN);
}

/* ---- the second opinion ---- */

/* The deviation of bt_trans.c: arithmetic flags in the frame of a fault. Behind (E)IP and CS, with or without error code. */
static void equalize_frame(const struct side *a, const struct side *b)
{
	const struct x86_regs *r = &a->v->regs;
	bool l = vcpu_long_mode(a->v), real = !(r->cr0 & CR0_PE);
	const struct x86_seg *ss = &r->seg[SEG_SS];
	uint64_t sp =
		l ? r->gpr[R_SP] : ss->base + (ss->attr & SA_DB ? (uint32_t)r->gpr[R_SP] : (uint16_t)r->gpr[R_SP]);
	unsigned word = l ? 8 : real ? 2 : 4;

	for (unsigned k = 2; k <= (real ? 2 : 3); k++) {
		uint16_t *x = mem_ram(&a->vm->mem, sp + k * word, 2), *y = mem_ram(&b->vm->mem, sp + k * word, 2);

		if (x && y && !((*x ^ *y) & ~FL_ARITH))
			*y = *x;
	}
}

static unsigned vector_of(const struct side *s)
{
	return (unsigned)(s->v->regs.rip - 1 - HANDLER_GPA) / 16;
}

#define NEAR_END(a) ((uint32_t)(a) > 0xffffffffu - 64)

/* Accesses across the end of a 4 GiB segment may fault or wrap, as the processor likes (SDM 3A 5.3): the interpreter faults,
 * the translator wraps. Does the instruction at which the interpreter has stopped have one? */
static bool wraps(const struct side *a)
{
	const struct x86_regs *r = &a->v->regs;
	const uint32_t *frame = mem_ram(&a->vm->mem, r->seg[SEG_SS].base + (uint32_t)r->gpr[R_SP], 24);
	const uint8_t *code = frame ? mem_ram(&a->vm->mem, frame[1], 15) : NULL;
	struct insn i;
	uint64_t ea;

	if (vcpu_long_mode(a->v) || !(r->cr0 & CR0_PE))
		return false;
	if (NEAR_END(r->gpr[R_SI]) || NEAR_END(r->gpr[R_DI]) || NEAR_END(r->gpr[R_BP]) || NEAR_END(r->gpr[R_SP]) ||
	    NEAR_END(r->gpr[R_SP] - 64))
		return true;
	if (!code || insn_decode(&i, code, 15, 32) != DECODE_OK)
		return false;
	ea = (uint64_t)i.disp + (i.base < 16 ? r->gpr[i.base] : 0) + (i.index < 16 ? r->gpr[i.index] * i.scale : 0);
	/* from CPL 3, the stack pointer of then is in the frame */
	return (i.has_mem && NEAR_END(ea)) || NEAR_END(frame[4]) || NEAR_END(frame[4] - 64);
}

static void compare(const struct side *a, const struct side *b, unsigned piece)
{
	const struct x86_regs *p = &a->v->regs, *q = &b->v->regs;
	const uint8_t *m = a->vm->mem.ram_hva, *n = b->vm->mem.ram_hva;
	const char *what = NULL;

	if ((vector_of(a) == VEC_GP || vector_of(a) == VEC_SS) && wraps(a))
		return;
	equalize_frame(a, b);
	for (unsigned k = 0; k < 16 && !what; k++)
		if (p->gpr[k] != q->gpr[k])
			what = "a general register";
	for (unsigned k = 0; k < SEG_COUNT && !what; k++)
		if (p->seg[k].sel != q->seg[k].sel || p->seg[k].base != q->seg[k].base ||
		    p->seg[k].limit != q->seg[k].limit)
			what = "a segment";
	if (!what && (a->x.reason != b->x.reason || p->rip != q->rip))
		what = "where it ended";
	if (!what && ((p->rflags ^ q->rflags) & ~(uint64_t)FL_ARITH))
		what = "RFLAGS";
	if (!what &&
	    (p->cr0 != q->cr0 || p->cr2 != q->cr2 || p->cr3 != q->cr3 || p->cr4 != q->cr4 || p->efer != q->efer))
		what = "a control register";
	for (unsigned k = 0; k < DATA_BYTES && !what; k++)
		if (m[DATA_GPA + k] != n[DATA_GPA + k])
			what = "memory";
	if (!what)
		return;
	fprintf(stderr, "piece %u: %s differs between %s and %s\n", piece, what, a->ops->name, b->ops->name);
	vcpu_dump(a->v, stderr);
	vcpu_dump(b->v, stderr);
	for (unsigned k = 0, shown = 0; k < DATA_BYTES && shown < 8; k++)
		if (m[DATA_GPA + k] != n[DATA_GPA + k] && ++shown)
			fprintf(stderr, "  %05x: %02x %02x\n", DATA_GPA + k, m[DATA_GPA + k], n[DATA_GPA + k]);
	abort();
}

/* ---- the target ---- */

static void keep_input(const uint8_t *data, size_t size)
{
	static int fd = -1;
	const char *name = getenv("FUZZ_LAST_INPUT");

	if (fd < 0 && name)
		fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd >= 0 && (pwrite(fd, data, size, 0) != (ssize_t)size || ftruncate(fd, (off_t)size)))
		FUZZ_FAIL("cannot write %s", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct side *bt, *interp;
	const char *mode = getenv("FUZZ_COMPARE");
	bool second = !mode || strcmp(mode, "0");
	struct input in = {0};

	if (size < 3)
		return 0;
	keep_input(data, size);
	if (!bt)
		bt = side_new(PATH_BT);
	if (!interp && second)
		interp = side_new(PATH_INTERP);
	in.mode = data[0] % MODE_COUNT;
	in.options = data[1];
	in.len = size - 2 < sizeof(in.code) ? (unsigned)size - 2 : sizeof(in.code);
	memcpy(in.code, data + 2, in.len);
	for (unsigned piece = 0; PIECE * piece < in.len; piece++) {
		prepare(bt, &in, piece);
		if (!run(bt) || !second)
			continue;
		prepare(interp, &in, piece);
		if (run(interp))
			compare(interp, bt, piece);
	}
	return 0;
}
