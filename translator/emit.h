/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes of host code into a buffer. Errors are sticky: emit freely, check `overflow` once (the idea is sljit's).
 * Memory operands with a segment override go through GS, whose base is the vCPU.
 */
#ifndef STEELYARD_EMIT_H
#define STEELYARD_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct emit {
	uint8_t *p;	/* next byte */
	uint8_t *start, *end;
	bool overflow;
};

static inline void emit_init(struct emit *e, void *buf, uint64_t bytes)
{
	e->p = e->start = buf;
	e->end = e->start + bytes;
	e->overflow = false;
}
static inline void emit_bytes(struct emit *e, const void *b, unsigned n)
{
	if ((uint64_t)(e->end - e->p) < n) {
		e->overflow = true;
		return;
	}
	__builtin_memcpy(e->p, b, n);
	e->p += n;
}
static inline void emit8(struct emit *e, uint8_t b)
{
	if (e->p == e->end) {
		e->overflow = true;
		return;
	}
	*e->p++ = b;
}
/* The low n bytes of v, n at most 8. */
static inline void emit_word(struct emit *e, uint64_t v, unsigned n)
{
	if (e->end - e->p < 8) {
		e->overflow = true;
		return;
	}
	__builtin_memcpy(e->p, &v, 8);
	e->p += n;
}
static inline void emit16(struct emit *e, uint16_t v)
{
	emit_bytes(e, &v, 2);
}
static inline void emit32(struct emit *e, uint32_t v)
{
	emit_bytes(e, &v, 4);
}
static inline void emit64(struct emit *e, uint64_t v)
{
	emit_bytes(e, &v, 8);
}

#endif
