/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87, MMX, SSE and AVX for the interpreter: checks, the register image, and stubs that run on the host processor.
 *
 * The registers live in v->regs.xsave, an XSAVE area in the standard format (SDM 1 13.4). XSTATE_BV in it is to be
 * believed: a component whose bit is clear is in its initial state whatever its bytes say; vec_image() makes the bytes
 * say so too. While the translator runs, the registers are in the host's (vcpu->vec_live); everything here begins with
 * vcpu_vec_sync().
 *
 * Owner thread only.
 */
#ifndef STEELYARD_VEC_H
#define STEELYARD_VEC_H

#include "engine/vcpu.h"
#include "translator/insn.h"

/* ---- the XSAVE area (SDM 1 10.5.1, 13.4) ---- */
#define XS_FCW 0
#define XS_FSW 2
#define XS_FTW 4 /* abridged: one bit a physical register, 1 = not empty */
#define XS_FOP 6
#define XS_FIP 8
#define XS_FDP 16
#define XS_MXCSR 24
#define XS_MXCSR_MASK 28
#define XS_ST 32
#define XS_XMM 160
#define XS_LEGACY_BYTES 512
#define XS_XSTATE_BV 512
#define XS_XCOMP_BV 520
#define XS_HEADER_END 576

#define XC_X87 1u
#define XC_SSE 2u
#define XC_AVX 4u
#define XC_ALL (XC_X87 | XC_SSE | XC_AVX)

#define AVX_BYTES 256u /* component 2: the upper halves of YMM0-15 */

#define FCW_INIT 0x037f
/* What the control word becomes when this is loaded: bit 6 reads as one on every processor, bits 7 and 13-15 as zero. */
static inline uint16_t vec_x87_fcw(uint16_t fcw)
{
	return (fcw & 0x1f3f) | 0x40;
}
#define MXCSR_INIT 0x1f80u
#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_OE (1u << 3)
#define MXCSR_UE (1u << 4)
#define MXCSR_PE (1u << 5)
#define MXCSR_UM (1u << 11)
#define MXCSR_FTZ (1u << 15)
#define MXCSR_MM (1u << 17) /* AMD: misaligned operands allowed */
#define FSW_ES 0x80
#define FSW_B 0x8000

/* ---- running one instruction: vec_enter.S knows the offsets ---- */
struct vec_run {
	uint64_t gpr[16]; /*   0: in and out; RSP's is not used */
	uint64_t rflags;  /* 128: in and out */
	void *stub;       /* 136 */
	void *in;         /* 144: state to start with */
	void *out;        /* 152: where the state goes */
	void *init;       /* 160: an image of the initial state, for the host afterwards */
	uint32_t mask;    /* 168: components to load and save */
	uint32_t fx;      /* 172: the host has no XSAVE: FXSAVE does */
};
void vec_enter(struct vec_run *r);

#define VEC_STUBS 1024u
#define VEC_STUB_BYTES 16u
struct vec_stub_key {
	uint8_t raw[15];
	uint8_t len; /* 0: free */
	uint8_t code_bits;
};

#define VEC_AREA_BYTES 1152 /* legacy, header, AVX wherever the host has it (checked) */
struct vec {
	uint8_t in[VEC_AREA_BYTES] __attribute__((aligned(64)));
	uint8_t out[VEC_AREA_BYTES] __attribute__((aligned(64)));
	uint8_t init[VEC_AREA_BYTES] __attribute__((aligned(64)));
	uint8_t bounce[64] __attribute__((aligned(64)));
	uint64_t features; /* 1 << enum isa_feature */
	uint32_t mask;     /* XC_*: what the host manages */
	uint32_t avx_offset;
	uint32_t mxcsr_mask;
	bool fx;
	bool sha_unaligned; /* AMD's SHA instructions take unaligned memory operands, Intel's do not */
	uint8_t *code;      /* VEC_STUBS stubs, executable */
	struct vec_stub_key key[VEC_STUBS];
};

/* This vCPU's object, made at first use; NULL when the host has no executable memory for it. */
struct vec *vec_get(struct vcpu *v);
void vec_free(struct vcpu *v);

/* RESET state (SDM 3A table 9-1): FCW 0040H, MXCSR 1F80H, everything else zero, XCR0 = 1. */
void vec_reset(struct vcpu *v);

/* #UD and #NM by encoding, operands, CR0, CR4, XCR0 and the host's features; the registers' contents are not looked at,
 * so the answer holds for as long as those do. XR_NEXT or XR_FAULT. For instructions without a row of isa_vec.def:
 * XR_NEXT. */
enum xr vec_precheck(struct vcpu *v, const struct insn *i);
/* Can the host execute this form at all? Whoever copies instructions asks before: where not, vec_precheck gives #UD. i has a
 * row of isa_vec.def. Syncs the vector state on the first call. */
bool vec_host_runs(struct vcpu *v, const struct insn *i);
/* #MF when an unmasked x87 exception is pending: before every waiting instruction (SDM 1 8.6). vec_image() first. */
enum xr vec_check_pending(struct vcpu *v);

/* vec_inexact.c: i runs on c->in and c->bounce; would its results, with exponents of any size, be rounded? -1: not known,
 * i is none of the instructions with one rounding that can overflow or underflow. */
int vec_inexact(const struct vec *c, const struct insn *i, uint32_t mxcsr);

/* ---- the image ---- */
/* Syncs, and gives the bytes of components in initial state (x87, SSE) their values; returns v->regs.xsave. */
uint8_t *vec_image(struct vcpu *v);
/* Upper halves of the YMM registers; read: NULL when all are zero. write: made valid, NULL on a host without AVX. */
uint8_t *vec_upper(struct vcpu *v, bool write);
void vec_read_reg(struct vcpu *v, unsigned n, uint8_t buf[32]);
/* bytes 16: upper half untouched; 32: all of it. */
void vec_write_reg(struct vcpu *v, unsigned n, const uint8_t *buf, unsigned bytes);
/* Changes TOP: the data registers stay where they are, the image's stack order turns. */
void vec_set_top(uint8_t *image, unsigned top);
/* Sets ES and B from the flags and masks (SDM 1 8.1.3.3). */
void vec_update_es(uint8_t *image);
/* The memory operand's offset in its segment, and its linear address with rights and alignment checked. */
bool vec_mem_aligned(struct vcpu *v, const struct insn *i, unsigned n, unsigned align, unsigned acc, uint64_t *off);

/* May n bytes at seg:off be written? false: v->fault. Nothing is written. */
bool vec_probe_write(struct vcpu *v, unsigned seg, uint64_t off, unsigned n);

static inline uint16_t vec_get16(const uint8_t *p)
{
	uint16_t x;
	__builtin_memcpy(&x, p, 2);
	return x;
}
static inline uint32_t vec_get32(const uint8_t *p)
{
	uint32_t x;
	__builtin_memcpy(&x, p, 4);
	return x;
}
static inline uint64_t vec_get64(const uint8_t *p)
{
	uint64_t x;
	__builtin_memcpy(&x, p, 8);
	return x;
}
static inline void vec_put16(uint8_t *p, uint16_t x)
{
	__builtin_memcpy(p, &x, 2);
}
static inline void vec_put32(uint8_t *p, uint32_t x)
{
	__builtin_memcpy(p, &x, 4);
}
static inline void vec_put64(uint8_t *p, uint64_t x)
{
	__builtin_memcpy(p, &x, 8);
}
/* n is a multiple of 8. Never a library call: see the top. */
static inline void vec_copy(void *dst, const void *src, unsigned n)
{
	uint8_t *d = dst;
	const uint8_t *s = src;
	for (unsigned k = 0; k < n; k += 8)
		vec_put64(d + k, vec_get64(s + k));
}
static inline void vec_zero(void *dst, unsigned n)
{
	uint8_t *d = dst;
	for (unsigned k = 0; k < n; k += 8)
		vec_put64(d + k, 0);
}

/* ---- interpreter functions: rows of isa_vec.def ---- */
insn_fn vec_exec;
insn_fn vec_fxsave, vec_fxrstor, vec_xsave, vec_xrstor, vec_ldmxcsr, vec_stmxcsr;
insn_fn vec_fnstenv, vec_fldenv, vec_fnsave, vec_frstor;
insn_fn vec_maskmov_bytes, vec_maskmov_lanes, vec_gather;

#endif
