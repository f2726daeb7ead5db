/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors and selectors, private to the system half of the translator folder (seg.c, event.c, far.c, task.c,
 * sys_*.c).
 *
 * A descriptor travels as its raw 64 bits until every check is done. All functions that return bool set v->fault on
 * false.
 */
#ifndef STEELYARD_DESC_H
#define STEELYARD_DESC_H

#include "translator/mmu.h"
#include "translator/system.h"

#define SEL_RPL 3u
#define SEL_TI 4u
static inline bool sel_null(uint16_t sel)
{
	return !(sel & ~SEL_RPL);
}
static inline unsigned sel_rpl(uint16_t sel)
{
	return sel & SEL_RPL;
}
static inline bool is_canonical(uint64_t lin)
{
	return (uint64_t)((int64_t)(lin << 16) >> 16) == lin;
}
static inline uint16_t desc_attr(uint64_t d)
{
	return (uint16_t)((d >> 40 & 0xff) | (d >> 44 & 0xf00));
}
static inline unsigned attr_dpl(unsigned attr)
{
	return (attr & SA_DPL) >> SA_DPL_SHIFT;
}
static inline bool attr_code(unsigned attr)
{
	return (attr & (SA_S | SA_CODE)) == (SA_S | SA_CODE);
}
static inline bool attr_conforming(unsigned attr)
{
	return (attr & (SA_S | SA_CODE | SA_DC)) == (SA_S | SA_CODE | SA_DC);
}
static inline bool attr_readable(unsigned attr)
{
	return (attr & SA_S) && (!(attr & SA_CODE) || (attr & SA_RW));
}
static inline bool attr_writable(unsigned attr)
{
	return (attr & (SA_S | SA_CODE | SA_RW)) == (SA_S | SA_RW);
}
/* Type of a system descriptor, 0 for code and data. */
static inline unsigned attr_sys(unsigned attr)
{
	return attr & SA_S ? 0 : attr & SA_TYPE;
}
static inline uint32_t desc_limit(uint64_t d)
{
	uint32_t l = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
	return d >> 55 & 1 ? l << 12 | 0xfff : l;
}
static inline uint64_t desc_base(uint64_t d)
{
	return (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000u);
}
/* Gate fields: offset 31-0, selector, parameter count or IST. */
static inline uint32_t gate_offset(uint64_t d)
{
	return (uint32_t)((d & 0xffff) | (d >> 32 & 0xffff0000u));
}
static inline uint16_t gate_sel(uint64_t d)
{
	return (uint16_t)(d >> 16);
}

/* Implicit supervisor accesses: descriptor tables, TSS. 32-bit linear addresses wrap outside long mode; in long mode a
 * non-canonical one is #GP(0). */
bool sys_read(struct vcpu *v, uint64_t lin, void *buf, unsigned n);
bool sys_write(struct vcpu *v, uint64_t lin, const void *buf, unsigned n);

/* Linear address of sel's descriptor; false when the table ends before or there is no LDT (no fault set). bytes: 8, or
 * 16 for a system descriptor of long mode. */
bool desc_locate(const struct vcpu *v, uint16_t sel, unsigned bytes, uint64_t *lin);
/* Reads it; out of the table: vector (#GP, #TS, #NP) with the selector. */
bool desc_read(struct vcpu *v, uint16_t sel, uint8_t vector, uint64_t *d);
/* Bits 127-64 of a 16-byte system descriptor. */
bool desc_read_high(struct vcpu *v, uint16_t sel, uint8_t vector, uint64_t *high);
/* Sets (and clears) bits of the descriptor's type byte atomically: accessed, TSS busy. */
bool desc_type_update(struct vcpu *v, uint16_t sel, uint8_t set, uint8_t clear);
/* The hidden part for a register; marks a code or data descriptor accessed in memory first. */
bool desc_cache(struct vcpu *v, uint16_t sel, uint64_t d, struct x86_seg *out);

/* A fault about a selector: error code = selector without RPL. */
static inline bool fault_sel(struct vcpu *v, uint8_t vector, uint16_t sel)
{
	fault_set_error(v, vector, sel & 0xfffcu);
	return false;
}

/* Marks a data segment register unusable. */
static inline void seg_set_null(struct x86_seg *s, uint16_t sel)
{
	*s = (struct x86_seg){.sel = sel};
}
/* The segment registers as v86 mode has them. */
void seg_set_v86(struct x86_seg *s, uint16_t sel);
/* After a change to an outer privilege level: data segments that the new CPL may not use become null (SDM 3A 5.8.6). */
void seg_drop_privileged(struct vcpu *v, unsigned cpl);
/* SS for a null stack segment of long mode at that CPL. */
static inline void seg_set_null_ss(struct x86_seg *s, unsigned cpl)
{
	*s = (struct x86_seg){.sel = (uint16_t)cpl,
			      .attr = (uint16_t)(SA_S | SA_RW | SA_ACCESSED | cpl << SA_DPL_SHIFT)};
}

/* A stack other than the current SS:RSP, or the current one with other rights: for events and far transfers. */
struct xstack {
	struct x86_seg ss;
	uint64_t sp, mask; /* mask: 0xffff, 0xffffffff, ~0 */
	bool code64;       /* 64-bit stack: no limit, canonical */
	unsigned acc;      /* ACC_USER when the accesses have CPL 3 rights */
	uint32_t error;    /* error code of a #SS for this stack */
};
/* The current stack with the current CPL. */
void xstack_current(const struct vcpu *v, struct xstack *s);
/* Mask from ss.attr (or 64-bit). */
void xstack_shape(struct xstack *s, bool code64);
bool xstack_push(struct vcpu *v, struct xstack *s, uint64_t val, unsigned size);
bool xstack_pop(struct vcpu *v, struct xstack *s, uint64_t *val, unsigned size);
/* Can n more bytes be pushed? Segment checks only. */
bool xstack_room(struct vcpu *v, struct xstack *s, unsigned n);
/* The value RSP takes: only the low bits of mask change. */
static inline uint64_t xstack_merge(const struct xstack *s, uint64_t rsp)
{
	return (rsp & (s->mask == 0xffff ? 0xffffull << 16 : 0)) | (s->sp & s->mask);
}

/* Checks the EIP/RIP a far transfer goes to against the new CS; error 0. */
bool cs_check_ip(struct vcpu *v, const struct x86_seg *cs, uint64_t ip);

#endif
