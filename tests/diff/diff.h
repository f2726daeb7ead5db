/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differential testing of single instructions: the host processor is the oracle.
 *
 * A case is a few bytes of code, a complete user-mode register state and WIN_BYTES of memory. Every executor (the native
 * child process, an execution path, libunicorn) runs the code at the same linear addresses and reports the state at the
 * exception that ended it: the INT3 that follows the code, or a fault.
 *
 * Linear address map, the same in the native child and in the guest, all reachable from 32-bit code:
 *
 *   CODE_BASE  slots of SLOT_BYTES, code followed by INT3, mapped read + execute
 *   data       DATA_PAGES pages: none, read-write, read-write, read-only, none; visible at three aliases
 *
 * Segments with bases and limits, and 16-bit code and stacks, are entries of the local descriptor table (segs.c).
 *
 * The window that a case owns lies across one of the four page boundaries of data (enum window). Ordinary operands lie
 * in its core; the rest is for images of the vector state, and shows stray writes.
 *
 * 32- and 16-bit code runs twice in the guest: in legacy protected mode, and in the compatibility mode of long mode, which
 * is what it is natively (struct form_table: compat).
 */
#ifndef STEELYARD_TESTS_DIFF_H
#define STEELYARD_TESTS_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/vcpu.h"
#include "engine/x86.h"

#define CODE_BASE 0x10000000u
#define SLOT_BYTES 64
#define BATCH_CODES 128 /* encodings in a batch: one slot each */
#define CODE_STATES 8	/* register states that each encoding runs with */
#define BATCH_CASES (BATCH_CODES * CODE_STATES)
#define CODE_BYTES (BATCH_CODES * SLOT_BYTES)

#define DATA_PAGES 5
#define DATA_NORMAL 0x20000000ull
#define DATA_LOW 0xa000ull		/* within reach of 16-bit addresses */
#define DATA_HIGH 0x5a5a00000000ull	/* beyond the reach of 32-bit addresses */
#define GS_BASE 0x1230u			/* of the GS segment, in both modes */
#define GS_SELECTOR 0x63

/* The user selectors of Linux: the guest's descriptor table has the same. */
#define SEL_CODE32 0x23
#define SEL_DATA 0x2b
#define SEL_CODE64 0x33
/* The local descriptor table (segs.c) */
#define SEL_CODE16 0x07
#define SEL_DATA16 0x0f
#define SEL_CODE32B 0x17	/* with base */
#define SEL_LIMIT 0x1f		/* its limit is in the middle of the window */
#define SEL_DOWN32 0x27		/* expand-down, from there up */
#define SEL_DOWN16 0x2f
#define SEL_READ_ONLY 0x37
#define SEL_ABSENT 0x3f
#define SEL_EXEC_ONLY 0x47
#define SEL_ABSENT_CONF 0x4f
#define SEL_ABSENT_CODE 0x57
#define SEL_FLAT_LDT 0x67
#define LDT_LIMIT 0x67
/* Data segments that are not flat begin here: offset DATA_LOW is at DATA_NORMAL. */
#define SEG16_BASE (uint32_t)(DATA_NORMAL - DATA_LOW)
#define FS_BASE 0x4560u /* of FS in 64-bit mode, with a null selector */

/* Where the window lies: across the start of data page 1 + n. */
enum window { WIN_LOW_EDGE /* none | rw */, WIN_MIDDLE /* rw | rw */, WIN_READ_ONLY /* rw | ro */, WIN_HIGH_EDGE /* ro | none */ };
#define WIN_BYTES 2048
#define CORE_BYTES 256 /* in its middle */
enum alias { ALIAS_NORMAL, ALIAS_LOW, ALIAS_HIGH };

/* x87 and SSE part of the FXSAVE image that instructions can see: without the bytes that software owns. */
#define FX_BYTES 416
#define YMMH_BYTES 256

struct dstate {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint16_t seg[SEG_COUNT];   /* selectors */
	uint64_t fs_base, gs_base; /* in 64-bit mode */
	uint8_t mem[WIN_BYTES];
	uint8_t fx[FX_BYTES];
	uint8_t ymmh[YMMH_BYTES]; /* bits 255-128 of YMM0-15 */
};

struct dcase {
	struct dstate in;
	uint64_t seed;	    /* of the encoding: with the form it rebuilds the case */
	uint32_t form;	    /* index into forms of the mode; FORM_GOLDEN: none */
	uint8_t state_no;
	uint8_t mode;	    /* 16, 32 or 64 */
	uint8_t window;	    /* enum window */
	uint8_t alias;	    /* enum alias */
	uint16_t slot;
	uint8_t len;
	uint8_t code[SLOT_BYTES];
	uint32_t fl_undef;  /* flags that the manual leaves undefined after this case */
	uint8_t loose;	    /* LOOSE_* */
	uint8_t undef_reg;  /* this register's bits undef_bits are undefined after the case */
	uint32_t undef_bits;
	uint16_t undef_regs; /* registers of which nothing is defined: random numbers, time */
	uint16_t undef_mem, undef_mem_len; /* bytes of the window: x87 pointers */
	bool compat;	    /* only for a guest in long mode: 64-bit code is not there in legacy mode */
	bool image;	    /* the whole window matters, not its core alone */
	uint8_t steps;	    /* TF: so many single steps are compared before the case ends */
	bool vec;	    /* the vector state matters (it is always compared, but random only then) */
};
/* What the manual leaves to the processor when an instruction faults in the middle: */
#define LOOSE_VEC 1u  /* vector state: how far a gather got; whether an MMX instruction has made the x87 tags valid */
#define LOOSE_ADDR 2u /* which of several accesses faults first, and what earlier ones have written */
#define LOOSE_GPR 4u  /* registers that POPA has already popped */
#define FORM_GOLDEN 0xffffffffu
#define MAX_STEPS 24

struct dout {
	struct dstate st;
	uint64_t cr2;	    /* #PF only */
	uint32_t error;
	uint8_t vector;	    /* of the exception that ended the case */
	bool ran;	    /* false: the executor could not run it; text says why */
	bool skip;	    /* this executor has no opinion on the case */
	char text[96];
	bool bases;	    /* the FS and GS bases are known */
	uint8_t steps;	    /* #DB that single-stepping raised on the way */
	uint64_t step_rip[MAX_STEPS], step_hash[MAX_STEPS];
};

static inline uint64_t case_data_base(const struct dcase *c)
{
	return c->alias == ALIAS_LOW ? DATA_LOW : c->alias == ALIAS_HIGH ? DATA_HIGH : DATA_NORMAL;
}
static inline uint64_t case_window_gva(const struct dcase *c)
{
	return case_data_base(c) + 4096ull * (c->window + 1u) - WIN_BYTES / 2;
}
/* The part of the window that is there: [*first, *first + length). */
static inline unsigned case_window_part(const struct dcase *c, unsigned *first)
{
	*first = c->window == WIN_LOW_EDGE ? WIN_BYTES / 2 : 0;
	return c->window == WIN_LOW_EDGE || c->window == WIN_HIGH_EDGE ? WIN_BYTES / 2 : WIN_BYTES;
}

/* ---- random numbers: xoshiro-like quality is not needed, speed and replay are ---- */
struct rng {
	uint64_t s;
};
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}
static inline unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)(((rng_next(r) >> 32) * n) >> 32);
}
static inline bool rng_chance(struct rng *r, unsigned one_in)
{
	return rng_below(r, one_in) == 0;
}

/* ---- segs.c ---- */
extern const struct x86_seg seg_rows[];
extern const unsigned seg_row_count;
const struct x86_seg *seg_find(uint16_t sel);
uint64_t seg_base(uint16_t sel);

/* What this host lets a process do. */
struct host_ok {
	bool low;  /* DATA_LOW can be mapped */
	bool gs;   /* the GS segment is set up, and 32-bit code runs */
	bool ldt;  /* the local descriptor table is, with 16-bit code */
	bool base; /* WRFSBASE and its kin, so FS can be the test's */
	bool amd;  /* AMD's processor: SYSENTER is #UD in long mode */
};

/* ---- forms.c: rows of forms.def, expanded by operand size and register / memory operand ---- */
struct form_row;
struct form {
	const struct form_row *row;
	char name[40];
	uint8_t mode; /* 16, 32, 64 */
	uint8_t size; /* operand size in bytes: 1, 2, 4, 8; vector forms 16 or 32 */
	bool mem;
	uint8_t seq;  /* enum seq_kind: a sequence of simple forms */
};
enum seq_kind { SEQ_NONE, SEQ_INT, SEQ_VEC };
struct form_table {
	struct form *form;
	unsigned n;
	unsigned mode;
	unsigned *simple; /* indexes of the forms that sequences are made of */
	unsigned nsimple;
	unsigned *vec;	  /* and of vector instructions */
	unsigned nvec;
	bool compat;	  /* the guest is in long mode */
	struct host_ok ok;
};
bool forms_build(struct form_table *t, unsigned mode);
void forms_free(struct form_table *t);
/* Builds one encoding and CODE_STATES cases of it. */
void gen_cases(const struct form_table *t, unsigned form, uint64_t seed, unsigned slot, struct dcase out[CODE_STATES]);

/* Flags that the code from the faulting instruction on writes before it reads them. */
uint32_t fault_dead_flags(const struct dcase *c, const struct dout *want);

/* ---- native.c ---- */
struct native;
struct native *native_start(char *why, size_t why_len);
struct host_ok native_ok(const struct native *n);
/* The case that runs now, for the watchdog. */
unsigned native_position(const struct native *n);
/* Shared with the child: fill, submit, then wait. native_wait: false when the child died. */
struct dcase *native_cases(struct native *n);
struct dout *native_outs(struct native *n);
const uint8_t *native_page(const struct native *n, unsigned page);
void native_submit(struct native *n, unsigned count);
bool native_wait(struct native *n);
void native_stop(struct native *n);

/* ---- guestrun.c ---- */
struct exec_ops;
struct guestrun;
/* bt_cold: as in struct vm_config. count_rows: for guestrun_stop. */
struct guestrun *guestrun_start(const struct exec_ops *ops, unsigned bt_cold, unsigned mode, bool compat, bool count_rows, char *why,
				size_t why_len);
/* Hands a batch to the guest's thread; c and out stay valid until guestrun_wait. */
void guestrun_submit(struct guestrun *g, const struct dcase *c, unsigned count, struct dout *out);
void guestrun_wait(struct guestrun *g);
/* The case that runs now, for the watchdog. */
unsigned guestrun_position(const struct guestrun *g);
/* First byte of data page p in the guest, for the comparison of whole pages; NULL where there is none. */
uint8_t *guestrun_page(const struct guestrun *g, unsigned page);
/* Adds what vcpu->row_count holds to rows (VCPU_ROWS of them), unless that is NULL. */
void guestrun_stop(struct guestrun *g, uint64_t *rows);

/* ---- unicorn.c ---- */
struct unirun;
struct unirun *unirun_start(unsigned mode, char *why, size_t why_len);
void unirun_batch(struct unirun *u, const struct dcase *c, unsigned count, struct dout *out);
void unirun_stop(struct unirun *u);
/* Why libunicorn differs on this instruction, or NULL when no known reason covers it. */
const char *unirun_known(const struct dcase *c, const struct dout *want, const struct dout *got);

/* ---- known.c ---- */
/* Why a path may differ from the processor in this case, or NULL when that is an error. */
const char *path_known(const struct exec_ops *ops, const struct dcase *c, const struct dout *want, const struct dout *got);

/* ---- report.c ---- */
/* true when got agrees with want (the processor's). what: the first thing that differs. */
bool outs_agree(const struct dcase *c, const struct dout *want, const struct dout *got, char *what, size_t what_len);
void report_difference(const struct dcase *c, const char *form_name, const char *path, const struct dout *want,
		       const struct dout *got, const char *what);
bool golden_save(const char *folder, const struct dcase *c, const char *form_name, const char *path);
/* Reads one golden file; false when it is not one. */
bool golden_load(const char *file, struct dcase *c);
/* The case's registers between single steps, undefined ones left out, as one number. */
uint64_t step_hash(const struct dcase *c, const struct dstate *st);
/* A decoder for the mode, of the instruction at offset `at` of the case's code. */
struct ZydisDecoder_;
void case_decoder(struct ZydisDecoder_ *d, unsigned mode);
/* XSAVE image (standard format) <-> case state; components in their initial state are filled in. */
void xsave_to_state(const uint8_t *xsave, struct dstate *st);
void xsave_from_state(uint8_t *xsave, const struct dstate *st);

#endif
