/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several processors under stress, on the bare machine. Each case states what the architecture promises and counts or checks
 * it while all processors take part:
 *
 *   1  start by INIT and SIPI               8  code changed under the protocol of a breakpoint in its first byte
 *   2  locked instructions, every width,    9  code pages exchanged through their page table entry
 *      aligned, across lines and pages     10  IPIs from all to all: fixed, logical, broadcast, to self, with HLT
 *   3  a spinning lock and a plain counter, 11 NMIs
 *      also on a page that holds code      12  INIT and SIPI again and again, whatever the others do
 *   4  memory order: store buffers          6  shoot-down by INVLPG, CR3, CR4.PGE of what is read
 *   5  memory order: messages, loads, and   7  shoot-down of the right to write
 *      two writers seen by two readers
 *
 * Volume 3A of Intel's manual: 8.1 (locks), 8.2 (order), 8.1.3 (code), 4.10.5 (shoot-down), 10.6 (IPIs), 8.4 (start).
 * The bootstrap processor says what comes next; the others follow its phase.
 */
#include "stress.h"

unsigned ncpus;
volatile bool over;
volatile uint32_t flushed[MAX_CPUS][16];
uint64_t pt[512] __attribute__((aligned(4096)));
static volatile uint32_t alive;
static volatile uint32_t phase;

/* ---- all together ---- */

static volatile uint32_t meeting[2] __attribute__((aligned(64)));

void meet(void)
{
	uint32_t round = meeting[1];

	if (__atomic_add_fetch(&meeting[0], 1, __ATOMIC_SEQ_CST) == ncpus) {
		meeting[0] = 0;
		__atomic_store_n(&meeting[1], round + 1, __ATOMIC_SEQ_CST);
	}
	while (meeting[1] == round)
		relax();
}

/* ---- 2: locked instructions ---- */

#define LOCKED_ROUNDS 1500
#define HOT_ROUNDS 2000000
static uint8_t arena[3 * 4096] __attribute__((aligned(4096)));
static __uint128_t wide __attribute__((aligned(16)));
static uint64_t pair __attribute__((aligned(8)));
static uint32_t bits __attribute__((aligned(64)));

/* Where a word of the test lies in arena: aligned, unaligned in a line, across a line, across a page. */
static const uint32_t place[] = {0, 9, 61, 4093};
#define PLACES (sizeof(place) / sizeof(place[0]))
#define AT(type, k, slot) ((type *)(arena + place[k] + (slot)*128u * (place[k] < 4000)))

static uint32_t hot __attribute__((aligned(64)));

static void locked(void)
{
	for (unsigned i = 0; i < HOT_ROUNDS; i++)
		__asm__ volatile("lock incl %0" : "+m"(hot));
	for (unsigned i = 0; i < LOCKED_ROUNDS; i++) {
		uint64_t old, b, c;

		for (unsigned k = 0; k < PLACES - 1; k++) {
			uint8_t eight = 3;
			uint32_t tmp = 5, cmp;

			__asm__ volatile("lock incw %0" : "+m"(*AT(uint16_t, k, 1)));
			__asm__ volatile("lock addl $7, %0" : "+m"(*AT(uint32_t, k, 2)));
			__asm__ volatile("lock xadd %1, %0" : "+m"(*AT(uint32_t, k, 3)), "+r"(tmp));
			__asm__ volatile("lock subq $-11, %0" : "+m"(*AT(uint64_t, k, 4)));
			__asm__ volatile("lock addb %1, %0" : "+m"(*AT(uint8_t, k, 5)) : "q"(eight));
			cmp = *(volatile uint32_t *)AT(uint32_t, k, 6);
			do
				tmp = cmp + 13;
			while (!__atomic_compare_exchange_n(AT(uint32_t, k, 6), &cmp, tmp, false, __ATOMIC_SEQ_CST,
							    __ATOMIC_SEQ_CST));
			old = *(volatile uint64_t *)AT(uint64_t, k, 7);
			for (bool done = false; !done;) { /* CMPXCHG8B, which alone may be unaligned */
				uint32_t lo = (uint32_t)old, hi = (uint32_t)(old >> 32);
				uint64_t new = old + 0x100000001ull;

				__asm__ volatile("lock cmpxchg8b %0"
						 : "+m"(*AT(uint64_t, k, 7)), "+a"(lo), "+d"(hi), "=@ccz"(done)
						 : "b"((uint32_t) new), "c"((uint32_t)(new >> 32)));
				old = (uint64_t)hi << 32 | lo;
			}
		}
		/* one word across two pages: everybody uses it in the same way */
		__asm__ volatile("lock addl $7, %0" : "+m"(*(uint32_t *)(arena + 4093)));
		__asm__ volatile("lock incq %0" : "+m"(*(uint64_t *)(arena + 8188)));
		old = pair;
		do
			b = old + 2;
		while (!__atomic_compare_exchange_n(&pair, &old, b, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
		b = (uint64_t)wide;
		c = (uint64_t)(wide >> 64);
		for (bool done = false; !done;)
			__asm__ volatile(
				"mov %1, %%rbx; mov %2, %%rcx; add $1, %%rbx; add $2, %%rcx; lock cmpxchg16b %0"
				: "+m"(wide), "+a"(b), "+d"(c), "=@ccz"(done)
				:
				: "rbx", "rcx", "memory");
		__asm__ volatile("lock btcl %1, %0" : "+m"(bits) : "r"(me()));
	}
}

static void check_locked(void)
{
	uint64_t n = (uint64_t)LOCKED_ROUNDS * ncpus;

	for (unsigned k = 0; k < PLACES - 1; k++) {
		const uint64_t want[] = {(uint16_t)n,      (uint32_t)(7 * n),  (uint32_t)(5 * n),         11 * n,
					 (uint8_t)(3 * n), (uint32_t)(13 * n), n << 32 | (n & 0xffffffff)};
		const uint64_t got[] = {*AT(uint16_t, k, 1), *AT(uint32_t, k, 2), *AT(uint32_t, k, 3),
					*AT(uint64_t, k, 4), *AT(uint8_t, k, 5),  *AT(uint32_t, k, 6),
					*AT(uint64_t, k, 7)};

		for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
			if (got[i] != want[i])
				fail(0x200 + k * 16 + i, got[i], want[i]);
	}
	if (*(uint32_t *)(arena + 4093) != 7 * n)
		fail(0x240, *(uint32_t *)(arena + 4093), 7 * n);
	if (*(uint64_t *)(arena + 8188) != n)
		fail(0x241, *(uint64_t *)(arena + 8188), n);
	if (hot != HOT_ROUNDS * ncpus)
		fail(0x245, hot, HOT_ROUNDS * ncpus);
	if (pair != 2 * n)
		fail(0x242, pair, 2 * n);
	if ((uint64_t)wide != n || (uint64_t)(wide >> 64) != 2 * n)
		fail(0x243, (uint64_t)wide, (uint64_t)(wide >> 64));
	if (bits != (LOCKED_ROUNDS & 1 ? (1u << ncpus) - 1 : 0))
		fail(0x244, bits, 0);
}

/* ---- 3: a lock ---- */

#define LOCK_ROUNDS 3000
struct spin {
	uint32_t word, counter;
};
static struct spin on_data __attribute__((aligned(64)));
/* A lock and a function on one page: what is written there is looked at as code. */
extern struct spin on_code;
uint32_t beside_code(uint32_t x);
__asm__(".text\n.balign 64\n"
	".globl on_code\non_code:\n"
	"	.long 0, 0\n"
	".globl beside_code\nbeside_code:\n"
	"	lea 1(%rdi, %rdi, 2), %eax\n"
	"	ret\n");

static void under_lock(struct spin *s, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		while (__atomic_exchange_n(&s->word, 1, __ATOMIC_ACQUIRE))
			while (*(volatile uint32_t *)&s->word)
				relax();
		*(volatile uint32_t *)&s->counter = *(volatile uint32_t *)&s->counter + 1;
		__atomic_store_n(&s->word, 0, __ATOMIC_RELEASE);
		if (s == &on_code && beside_code(i) != i * 3 + 1)
			fail(0x302, i, 0);
	}
}

/* ---- 4 and 5: memory order. A batch of independent places lets the processors run freely between two meetings. ---- */

#define BATCH 256
#define BATCHES 24
struct place2 {
	volatile uint32_t x __attribute__((aligned(64)));
	volatile uint32_t y __attribute__((aligned(64)));
};
static struct place2 spot[BATCH];
static volatile uint32_t seen[MAX_CPUS][BATCH][2];

enum order {
	ORDER_SB_FENCE,
	ORDER_SB_XCHG,
	ORDER_SB_ADD,
	ORDER_MP,
	ORDER_LB,
	ORDER_R,
	ORDER_2W,
	ORDER_IRIW,
	ORDER_KINDS
};

static void order_step(enum order what, unsigned who, unsigned i)
{
	struct place2 *s = &spot[i];
	volatile uint32_t *mine = who & 1 ? &s->y : &s->x, *other = who & 1 ? &s->x : &s->y;
	uint32_t one = 1;

	switch (what) {
	case ORDER_SB_FENCE: /* a store, a fence, a load of what the other stores: one of them sees the other */
		*mine = 1;
		__asm__ volatile("mfence" : : : "memory");
		seen[who][i][0] = *other;
		break;
	case ORDER_SB_XCHG:
		__asm__ volatile("xchg %0, %1" : "+r"(one), "+m"(*mine) : : "memory");
		seen[who][i][0] = *other;
		break;
	case ORDER_SB_ADD: /* any locked instruction is a fence */
		*mine = 1;
		__asm__ volatile("lock addl $0, -8(%%rsp)" : : : "memory", "cc");
		seen[who][i][0] = *other;
		break;
	case ORDER_MP: /* a message and its flag: stores are not reordered, nor are loads */
		if (!who) {
			s->x = 1;
			s->y = 1;
		} else {
			seen[who][i][0] = s->y;
			seen[who][i][1] = s->x;
		}
		break;
	case ORDER_LB: /* a load is not reordered with a later store */
		seen[who][i][0] = *other;
		*mine = 1;
		break;
	case ORDER_R: /* a store and a fenced load against two stores of the same words */
		if (!who) {
			s->x = 1;
			s->y = 1;
		} else {
			s->y = 2;
			__asm__ volatile("mfence" : : : "memory");
			seen[who][i][0] = s->x;
		}
		break;
	case ORDER_2W: /* two stores each, crosswise: the last of both words are not the first stores of both */
		*mine = 1;
		*other = 2;
		break;
	case ORDER_IRIW: /* two writers, two readers: the readers agree on the order */
		if (who < 2) {
			*mine = 1;
		} else {
			seen[who][i][0] = *mine;
			seen[who][i][1] = *other;
		}
		break;
	case ORDER_KINDS:
		break;
	}
}

static bool order_wrong(enum order what, unsigned i)
{
	const struct place2 *s = &spot[i];

	switch (what) {
	case ORDER_SB_FENCE:
	case ORDER_SB_XCHG:
	case ORDER_SB_ADD:
		return !seen[0][i][0] && !seen[1][i][0];
	case ORDER_MP:
		return seen[1][i][0] && !seen[1][i][1];
	case ORDER_LB:
		return seen[0][i][0] && seen[1][i][0];
	case ORDER_R:
		return s->y == 2 && !seen[1][i][0];
	case ORDER_2W:
		return s->x == 1 && s->y == 1;
	case ORDER_IRIW:
		return seen[2][i][0] && !seen[2][i][1] && seen[3][i][0] && !seen[3][i][1];
	case ORDER_KINDS:
		break;
	}
	return false;
}

static void memory_order(enum order what)
{
	unsigned who = me(), users = what == ORDER_IRIW ? 4 : 2;

	for (unsigned batch = 0; batch < BATCHES; batch++) {
		if (!who)
			for (unsigned i = 0; i < BATCH; i++) {
				spot[i].x = spot[i].y = 0;
				for (unsigned k = 0; k < users; k++)
					seen[k][i][0] = seen[k][i][1] = 0;
			}
		meet();
		for (unsigned i = 0; who < users && i < BATCH; i++)
			order_step(what, who, i);
		meet();
		for (unsigned i = 0; !who && i < BATCH; i++)
			if (order_wrong(what, i))
				fail(0x400 + what, i, batch);
	}
}

/* ---- 10, 11: IPIs ---- */

#define CALLS 60
static volatile uint32_t asked[MAX_CPUS][MAX_CPUS], answered[MAX_CPUS][MAX_CPUS];
static volatile uint32_t finished;
static volatile uint32_t selves[MAX_CPUS][16], nmis[MAX_CPUS][16];

/* Answers whoever has asked; several may have sent the same vector before it was taken. */
__attribute__((interrupt)) static void on_call(struct frame *f)
{
	uint32_t i = me();

	(void)f;
	apic_write(0xb0, 0);
	for (unsigned from = 0; from < ncpus; from++)
		answered[from][i] = asked[from][i];
}

__attribute__((interrupt)) static void on_self(struct frame *f)
{
	(void)f;
	selves[me()][0]++;
	apic_write(0xb0, 0);
}

static void call_all(void)
{
	uint32_t i = me(), before;

	apic_write(0xe0, 0xffffffff); /* flat logical destinations, a bit each */
	apic_write(0xd0, 1u << (24 + i));
	meet();
	__asm__ volatile("sti");
	for (uint32_t n = 1; n <= CALLS; n++) {
		for (unsigned to = 0; to < ncpus; to++)
			asked[i][to] = n;
		switch (n % 3) {
		case 0:
			ipi(0, ICR_FIXED | TO_OTHERS | VEC_CALL);
			break;
		case 1:
			for (unsigned to = 0; to < ncpus; to++)
				if (to != i)
					ipi(to, ICR_FIXED | VEC_CALL);
			break;
		default:
			ipi(((1u << ncpus) - 1) & ~(1u << i), ICR_FIXED | LOGICAL | VEC_CALL);
		}
		for (unsigned to = 0; to < ncpus; to++)
			while (to != i && answered[i][to] != n)
				relax();
		before = selves[i][0];
		if (n & 1) {
			ipi(0, ICR_FIXED | TO_SELF | VEC_SELF);
			while (selves[i][0] == before)
				relax();
		} else { /* nothing may come between STI and the HLT that the interrupt ends */
			__asm__ volatile("cli");
			ipi(0, ICR_FIXED | TO_SELF | VEC_SELF);
			__asm__ volatile("sti; hlt");
		}
		if (selves[i][0] != before + 1)
			fail(0xa00, selves[i][0], before + 1);
	}
	/* who is done still has to answer */
	__atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
	while (finished != ncpus)
		relax();
	__asm__ volatile("cli");
}

/* One wakes the other from HLT, in turn: a wake-up that got lost would end it. */
static volatile uint32_t ball;

static void halted_turns(void)
{
	uint32_t i = me();

	for (uint32_t n = 0; n < 4 * CALLS; n++) {
		if (n % ncpus != i)
			continue;
		while (ball != n) {
			__asm__ volatile("sti; hlt; cli");
		}
		ball = n + 1;
		ipi((i + 1) % ncpus, ICR_FIXED | VEC_CALL);
	}
}

__attribute__((interrupt)) static void on_nmi(struct frame *f)
{
	(void)f;
	nmis[me()][0]++;
}

static void take_nmis(void)
{
	if (me()) {
		while (!over) {
			relax();
			if (me() & 1)
				__asm__ volatile("hlt"); /* interrupts are off: only the NMI ends it */
		}
		__atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
		return;
	}
	for (uint32_t n = 0; n < CALLS; n++) {
		uint32_t to = 1 + n % (ncpus - 1), before = nmis[to][0];

		ipi(to, ICR_FIXED | ICR_NMI);
		while (nmis[to][0] == before)
			relax();
		if (nmis[to][0] != before + 1)
			fail(0xb00, nmis[to][0], before + 1);
	}
	over = true;
	while (finished != ncpus - 1) { /* one may fall between the look at `over` and the HLT */
		ipi(0, ICR_FIXED | ICR_NMI | TO_OTHERS);
		delay();
	}
}

/* ---- the course ---- */

static void enter(uint32_t n)
{
	meet();
	if (!me()) {
#ifdef TRACE
		outb(0xe9, (uint8_t)('a' + (n & 15)));
#endif
		over = false;
		finished = 0;
		for (unsigned k = 0; k < MAX_CPUS; k++)
			flushed[k][0] = 0;
		phase = n;
	}
	meet();
}

static void course(void)
{
	enter(2);
	locked();
	meet();
	if (!me())
		check_locked();
	enter(3);
	under_lock(&on_data, LOCK_ROUNDS);
	under_lock(&on_code, LOCK_ROUNDS / 20);
	meet();
	if (on_data.counter != LOCK_ROUNDS * ncpus || on_code.counter != LOCK_ROUNDS / 20 * ncpus)
		fail(0x300, on_data.counter, on_code.counter);
	enter(4);
	for (unsigned what = 0; what < ORDER_KINDS; what++)
		if (what != ORDER_IRIW || ncpus >= 4)
			memory_order((enum order)what);
	enter(6);
	read_shootdown();
	enter(7);
	write_shootdown();
	enter(8);
	patched_code();
	enter(0x82);
	plain_code();
	enter(9);
	code_pages();
	enter(10);
	call_all();
	enter(0xa1);
	halted_turns();
	enter(11);
	take_nmis();
	enter(12);
}

/* 12: an INIT may find a processor anywhere; SIPI begins at the trampoline. */
static volatile uint32_t restarts[MAX_CPUS][16];

void ap_main(uint32_t n)
{
	apic_write(0xf0, 0x1ff);
	restarts[n][0]++;
	__atomic_add_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	while (!phase)
		relax();
	if (phase < 12)
		course();
	for (uint64_t i = 0;; i++) {
		if (restarts[n][0] % 3 == 0)
			__asm__ volatile("hlt");
		else if (restarts[n][0] % 3 == 1)
			relax();
		else
			__asm__ volatile("lock incq %0" : "+m"(pair));
	}
}

static void restart_all(void)
{
	for (unsigned n = 0; n < 20; n++)
		for (unsigned k = 1; k < ncpus; k++) {
			uint32_t before = restarts[k][0];

			ipi(k, ICR_INIT);
			delay();
			if (restarts[k][0] != before)
				fail(0xc00, k, n);
			ipi(k, ICR_SIPI);
			while (restarts[k][0] == before)
				relax();
		}
}

void stress_main(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	ncpus = b >> 16 & 0xff;
	if (ncpus < 2 || ncpus > MAX_CPUS)
		fail(0x100, ncpus, 0);
	apic_write(0xf0, 0x1ff);
	set_gate(2, on_nmi);
	set_gate(3, on_breakpoint);
	set_gate(14, (void (*)(struct frame *))(void *)on_fault);
	set_gate(VEC_SHOOT, on_shoot);
	set_gate(VEC_CALL, on_call);
	set_gate(VEC_SELF, on_self);
	pt[0] = (uint64_t)frames[0] | P | W;
	pd[WINDOW >> 21] = (uint64_t)pt | P | W;
	flush_cr3();
	alive = 1;
	ipi(0, ICR_INIT | TO_OTHERS);
	delay();
	ipi(0, ICR_SIPI | TO_OTHERS);
	while (alive != ncpus)
		relax();
	phase = 1;
	course();
	restart_all();
}
